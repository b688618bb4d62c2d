//! Calls every function that every node knows, with arguments of all kinds and of growing sizes: none gives more than
//! `growth` says of it, and the planner computes nothing large of any. A function that comes with a newer DataFusion is
//! called too, and fails here until its growth is known.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, ListArray, StringArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF};
use tokio_util::sync::CancellationToken;

use super::bounded::{FOLDED_RESULT_MAX, unbounded};
use super::growth::{self, Arguments, ORDINARY, ORDINARY_ROW, held_bytes, value_bytes};
use super::numbers::wide;
use super::{arithmetic, registry};
use crate::scope::Scope;

/// Functions that none of the calls reaches. Some take maps, unions, structs, or a type that another argument names; others
/// are replaced before they are called, or answer of the file or the moment; `make_date` takes no such month, `to_number` no such
/// text, nor is one an operator, JSON or a `uuid`, and what makes instants takes more arguments; functions of angles,
/// buckets and shares take no such numbers. All but `map_entries` and its kin,
/// which give what they are given, give one value of those or a number.
const UNREACHED: [&str; 41] = [
    "acos",
    "arrow_cast",
    "arrow_try_cast",
    "asin",
    "atanh",
    "cast_to_type",
    "coalesce",
    "current_date",
    "current_time",
    "date_bin",
    "file_row_index",
    "get_field",
    "input_file_name",
    "make_date",
    "make_interval",
    "make_timestamp",
    "make_timestamptz",
    "map_entries",
    "map_extract",
    "map_keys",
    "map_values",
    "now",
    "nvl",
    "nvl2",
    "sluice_all",
    "sluice_any",
    "sluice_array_compare",
    "sluice_day_and_time",
    "sluice_declared",
    "sluice_json",
    "sluice_jsonb",
    "sluice_numeric",
    "sluice_percentile_cont",
    "sluice_percentile_disc",
    "sluice_single_row",
    "sluice_uuid",
    "to_number",
    "try_cast_to_type",
    "union_extract",
    "union_tag",
    "width_bucket",
];

fn list(elements: ArrayRef) -> ScalarValue {
    let field = Arc::new(Field::new_list_field(elements.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths([elements.len()]);
    ScalarValue::List(Arc::new(ListArray::new(field, offsets, elements, None)))
}

/// Values of all kinds, of a size.
fn kinds(size: usize) -> Vec<ScalarValue> {
    let text = |value: &str| ScalarValue::Utf8(Some(value.to_owned()));
    vec![
        text("a"),
        text(&"a".repeat(size)),
        ScalarValue::Int64(Some(size as i64)),
        list(Arc::new(StringArray::from_iter_values((0..size).map(|_| "a")))),
        text("g"),
        list(Arc::new(Int64Array::from_iter_values(0..size as i64))),
        ScalarValue::Float64(Some(size as f64)),
        ScalarValue::Date32(Some(size as i32)),
        ScalarValue::TimestampMicrosecond(Some(size as i64 * 86_400_000_000), None),
        ScalarValue::new_interval_mdn(0, 1, 0),
        ScalarValue::Boolean(Some(true)),
        ScalarValue::Binary(Some(vec![7; size])),
        text("day"),
        text("Int64"),
        text("md5"),
        text("base64"),
        wide::scalar(wide::Number::read(&"7".repeat(size)).ok().as_ref()),
    ]
}

/// Every way to choose `arity` of the first `among` kinds.
fn choices(arity: usize, among: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..among.pow(arity as u32)).map(move |number| {
        (0..arity).scan(number, |rest, _| Some(std::mem::replace(rest, *rest / among) % among)).collect()
    })
}

/// The call of `function` with `values`, as it takes them.
fn call(function: &ScalarUDF, values: &[ScalarValue]) -> Option<ScalarFunctionArgs> {
    let fields: Vec<_> =
        values.iter().map(|value| Arc::new(Field::new("value", value.data_type(), true))).collect();
    let coerced = fields_with_udf(&fields, function).ok()?;
    let values: Vec<ScalarValue> = values
        .iter()
        .zip(&coerced)
        .map(|(value, field)| value.cast_to(field.data_type()).ok())
        .collect::<Option<_>>()?;
    let literals: Vec<_> = values.iter().map(Some).collect();
    let told = ReturnFieldArgs { arg_fields: &coerced, scalar_arguments: &literals };
    let return_field = function.return_field_from_args(told).ok()?;
    Some(ScalarFunctionArgs {
        args: values.into_iter().map(ColumnarValue::Scalar).collect(),
        arg_fields: coerced,
        number_rows: 1,
        return_field,
        config_options: Arc::new(ConfigOptions::default()),
    })
}

fn size(value: &ColumnarValue) -> usize {
    match value {
        ColumnarValue::Array(array) => held_bytes(array),
        ColumnarValue::Scalar(scalar) => value_bytes(scalar),
    }
}

fn arrays(args: &ScalarFunctionArgs) -> usize {
    args.args.iter().map(size).sum()
}

/// Every function once, as the registry has it.
fn every() -> BTreeMap<String, Arc<ScalarUDF>> {
    let registry = registry();
    registry
        .scalar_functions
        .values()
        // Ours of numbers alone are called by operators, for the types that they are made for.
        .filter(|function| !arithmetic::is_ours(function))
        .map(|function| (function.name().to_owned(), Arc::clone(function)))
        .collect()
}

fn calls(function: &ScalarUDF, size: usize, arity_max: usize) -> Vec<ScalarFunctionArgs> {
    let kinds = kinds(size);
    let all = kinds.len();
    // Each added argument makes many more: only some kinds then.
    let arities = [(0, 1), (1, all), (2, all), (3, 8), (4, 5)];
    arities
        .into_iter()
        .filter(|(arity, _)| *arity <= arity_max)
        .flat_map(|(arity, among)| choices(arity, among))
        .filter_map(|chosen| {
            let values: Vec<ScalarValue> = chosen.into_iter().map(|kind| kinds[kind].clone()).collect();
            call(function, &values)
        })
        .collect()
}

#[test]
fn none_gives_more_than_is_said_of_it() {
    let mut wrong = Vec::new();
    let mut unreached = Vec::new();
    for (name, function) in every() {
        let inner = unbounded(&function);
        let growth = growth::of(&name);
        let mut reached = false;
        let mut worst: Option<(usize, usize, String)> = None;
        for args in [20, 700].into_iter().flat_map(|size| calls(&inner, size, 4)) {
            let (given, types) = (
                arrays(&args),
                format!("{:?}", args.args.iter().map(ColumnarValue::data_type).collect::<Vec<DataType>>()),
            );
            let most = match growth {
                Some(growth) => {
                    let args = Arguments::new(&args.args).expect("plain arguments");
                    (growth.at_most)(&args, 0).max(0) as usize
                }
                None => given * ORDINARY,
            };
            let Ok(Ok(result)) = catch_unwind(AssertUnwindSafe(|| inner.invoke_with_args(args))) else {
                continue;
            };
            reached = true;
            let gave = size(&result);
            if gave > most + ORDINARY_ROW && worst.as_ref().is_none_or(|(before, ..)| gave > *before) {
                worst = Some((gave, most, types));
            }
        }
        if let Some((gave, most, types)) = worst {
            wrong.push(format!("{name} of {types} gave {gave} bytes where at most {most} are said"));
        }
        if !reached && !UNREACHED.contains(&name.as_str()) {
            unreached.push(name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(unreached.is_empty(), "no call reaches {unreached:?}");
}

#[test]
fn the_planner_computes_nothing_large_of_any() {
    for (name, function) in every() {
        for args in calls(&function, 3000, 2) {
            // Each with a budget of its own, which it must keep to.
            let scope = Scope::planning(CancellationToken::new());
            let result = catch_unwind(AssertUnwindSafe(|| scope.during(|| function.invoke_with_args(args))));
            if let Ok(Ok(result)) = result {
                assert!(size(&result) <= FOLDED_RESULT_MAX, "{name} gave {} bytes", size(&result));
            }
        }
    }
}
