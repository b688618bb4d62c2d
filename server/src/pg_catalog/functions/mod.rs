//! The functions that clients call on the catalog and the session. All answer from the snapshot, the
//! session or the moment; none opens a file.

mod describe;
mod format;
mod identifiers;
mod names;
mod privileges;
mod session;
mod tables;
mod text;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, ListBuilder, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Float32Type, Float64Type, Int64Type, TimeUnit,
};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use engine::functions::bounded::batch_bytes_max;
use engine::functions::floats;
use engine::functions::growth::{held_bytes, value_bytes};
use engine::functions::lists;
use engine::functions::style::{Dates, Display, Style};
use engine::{ByteSize, Error};

use super::{PG_TYPE, View};
pub use tables::is_table_function;

/// An argument of one call.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A number or an object identifier.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A number with all its digits.
    Number(String),
    /// Text.
    Text(String),
    /// Text that is a `json` or a `jsonb`.
    Json(String),
    /// A date or a timestamp.
    Time {
        /// As it is printed.
        text: String,
        /// As JSON has it.
        json: String,
    },
    /// A truth value.
    Bool(bool),
    /// An array.
    List(Vec<Value>),
}

impl Value {
    /// The number, or the one that a text is.
    fn int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Float(value) => Some(*value as i64),
            Self::Text(text) | Self::Number(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// The text, or that of a number.
    fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Json(text) | Self::Number(text) | Self::Time { text, .. } => {
                Some(text.clone())
            }
            Self::Int(value) => Some(value.to_string()),
            Self::Float(value) => Some(floats::double_shown(*value)),
            Self::Bool(value) => Some(if *value { "true" } else { "false" }.to_owned()),
            Self::List(items) => {
                let mut out = String::from("{");
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    match (item, item.text()) {
                        (Self::Bool(value), _) => out.push(if *value { 't' } else { 'f' }),
                        (Self::List(_), Some(text)) => out.push_str(&text),
                        (_, Some(text)) => lists::put_item(&text, &mut out),
                        (_, None) => out.push_str("NULL"),
                    }
                }
                out.push('}');
                Some(out)
            }
            Self::Null => None,
        }
    }

    fn is_null(&self) -> bool {
        *self == Self::Null
    }
}

/// Refuses arguments that are too large to be taken apart, each value of a list for itself (54000).
fn check_size(name: &str, args: &[ColumnarValue]) -> DataFusionResult<()> {
    /// A value of an argument takes so many times what it takes in a list.
    const TAKEN_APART: usize = 16;
    let bytes = |arg: &ColumnarValue| match arg {
        ColumnarValue::Array(array) => held_bytes(array),
        ColumnarValue::Scalar(scalar) => value_bytes(scalar),
    };
    let bytes = args.iter().map(bytes).fold(0, usize::saturating_add);
    if bytes.saturating_mul(TAKEN_APART) <= batch_bytes_max() {
        return Ok(());
    }
    Err(DataFusionError::External(Box::new(Error::TooLarge {
        message: format!("arguments of {} are too large for {name}", ByteSize(bytes as u64)),
        hint: "Ask for less, or give the process more --memory.".to_owned(),
    })))
}

type Outcome<T> = DataFusionResult<Option<T>>;

/// What a function does with the arguments of one row, by the type of its answer.
#[derive(Clone, Copy)]
enum Body {
    Bool(fn(&View, &[Value]) -> Outcome<bool>),
    Int4(fn(&View, &[Value]) -> Outcome<i32>),
    Int8(fn(&View, &[Value]) -> Outcome<i64>),
    Oid(fn(&View, &[Value]) -> Outcome<i64>),
    Text(fn(&View, &[Value]) -> Outcome<String>),
    /// Text that clients are told is of this type.
    Named(&'static str, fn(&View, &[Value]) -> Outcome<String>),
    Texts(fn(&View, &[Value]) -> Outcome<Vec<String>>),
    Time(fn(&View, &[Value]) -> Outcome<i64>),
    /// The name of the argument's type.
    TypeOf,
}

/// One function of the catalogue below.
struct Definition {
    name: &'static str,
    /// The fewest and the most arguments.
    arguments: std::ops::RangeInclusive<usize>,
    /// Gives null when any argument is null.
    is_strict: bool,
    /// Must run each time it is called, once.
    is_volatile: bool,
    body: Body,
}

const fn function(name: &'static str, arguments: std::ops::RangeInclusive<usize>, body: Body) -> Definition {
    Definition { name, arguments, is_strict: true, is_volatile: false, body }
}

/// The same, called also with nulls.
const fn of_nulls(name: &'static str, arguments: std::ops::RangeInclusive<usize>, body: Body) -> Definition {
    Definition { name, arguments, is_strict: false, is_volatile: false, body }
}

/// The same, for what it does.
const fn acting(name: &'static str, arguments: std::ops::RangeInclusive<usize>, body: Body) -> Definition {
    Definition { name, arguments, is_strict: false, is_volatile: true, body }
}

fn catalogue() -> impl Iterator<Item = &'static Definition> {
    [names::FUNCTIONS, privileges::FUNCTIONS, describe::FUNCTIONS, session::FUNCTIONS, text::FUNCTIONS]
        .into_iter()
        .flatten()
}

/// True for the functions of this room.
pub fn is_known(name: &str) -> bool {
    static NAMES: LazyLock<HashSet<&'static str>> =
        LazyLock::new(|| catalogue().map(|definition| definition.name).collect());
    NAMES.contains(name) || is_table_function(name)
}

/// Registers those of `names` for one statement: making them all would cost more than a small plan.
pub fn register(state: &mut SessionState, view: &View, names: &BTreeSet<String>) {
    for definition in catalogue().filter(|definition| names.contains(definition.name)) {
        let counts = definition.arguments.clone().map(|count| match count {
            0 => TypeSignature::Nullary,
            count => TypeSignature::Any(count),
        });
        let volatility = if definition.is_volatile { Volatility::Volatile } else { Volatility::Stable };
        let function = CatalogFunction {
            definition,
            signature: Signature::one_of(counts.collect(), volatility),
            view: view.clone(),
        };
        let _ = state.register_udf(Arc::new(ScalarUDF::from(function)));
    }
    tables::register(state, names);
}

struct CatalogFunction {
    definition: &'static Definition,
    signature: Signature,
    view: View,
}

impl std::fmt::Debug for CatalogFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.definition.name)
    }
}

impl PartialEq for CatalogFunction {
    fn eq(&self, other: &Self) -> bool {
        self.definition.name == other.definition.name
    }
}

impl Eq for CatalogFunction {}

impl Hash for CatalogFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.definition.name.hash(state);
    }
}

impl ScalarUDFImpl for CatalogFunction {
    fn name(&self) -> &str {
        self.definition.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(match self.definition.body {
            Body::Bool(_) => DataType::Boolean,
            Body::Int4(_) => DataType::Int32,
            Body::Int8(_) | Body::Oid(_) => DataType::Int64,
            Body::Text(_) | Body::Named(..) | Body::TypeOf => DataType::Utf8,
            Body::Texts(_) => DataType::new_list(DataType::Utf8, true),
            Body::Time(_) => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        })
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        let field = Field::new(self.name(), self.return_type(&[])?, true);
        let told = match self.definition.body {
            Body::Oid(_) => Some("oid"),
            Body::Named(name, _) => Some(name),
            _ => None,
        };
        Ok(Arc::new(match told {
            Some(told) => field.with_metadata(HashMap::from([(PG_TYPE.into(), told.into())])),
            None => field,
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        if let (Body::TypeOf, Some(argument)) = (self.definition.body, args.arg_fields.first()) {
            let (oid, ..) = super::types::of_field(argument);
            let name = super::types::format(oid.into(), -1);
            return Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::Utf8(Some(name))));
        }
        check_size(self.name(), &args.args)?;
        // Constants are computed once, whatever the number of rows.
        let is_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)))
            && !(self.definition.is_volatile && args.args.is_empty());
        let rows = if is_constant { 1 } else { args.number_rows };
        let arrays: Vec<ArrayRef> =
            args.args.iter().map(|arg| arg.to_array(rows)).collect::<DataFusionResult<_>>()?;
        let display = Display::of_options(&args.config_options);
        let are_json: Vec<Option<bool>> = args.arg_fields.iter().map(|field| is_json(field)).collect();
        let call = |row: usize| {
            let values = arrays.iter().zip(&are_json).map(|(array, is_json)| {
                Ok(match value(array, row, &display)? {
                    Value::Text(text) if is_json.unwrap_or_else(|| text::looks_like_json(&text)) => {
                        Value::Json(text)
                    }
                    other => other,
                })
            });
            values.collect::<DataFusionResult<Vec<_>>>()
        };
        let calls: Vec<Option<Vec<Value>>> = (0..rows)
            .map(|row| {
                let arguments = call(row)?;
                let is_null = self.definition.is_strict && arguments.iter().any(Value::is_null);
                Ok((!is_null).then_some(arguments))
            })
            .collect::<DataFusionResult<_>>()?;
        macro_rules! answers {
            ($body:expr, $array:ty) => {
                Arc::new(
                    calls
                        .iter()
                        .map(|call| call.as_ref().map_or(Ok(None), |call| $body(&self.view, call)))
                        .collect::<DataFusionResult<$array>>()?,
                )
            };
        }
        let array: ArrayRef = match self.definition.body {
            Body::Bool(body) => answers!(body, BooleanArray),
            Body::Int4(body) => answers!(body, Int32Array),
            Body::Int8(body) | Body::Oid(body) => answers!(body, Int64Array),
            Body::Text(body) | Body::Named(_, body) => answers!(body, StringArray),
            Body::TypeOf => all_null(rows),
            Body::Time(body) => {
                let times = calls
                    .iter()
                    .map(|call| call.as_ref().map_or(Ok(None), |call| body(&self.view, call)))
                    .collect::<DataFusionResult<TimestampMicrosecondArray>>()?;
                Arc::new(times.with_timezone("+00:00"))
            }
            Body::Texts(body) => {
                let mut builder = ListBuilder::new(StringBuilder::new());
                for call in &calls {
                    let items = call.as_ref().map_or(Ok(None), |call| body(&self.view, call))?;
                    builder.append_option(items.map(|items| items.into_iter().map(Some)));
                }
                Arc::new(builder.finish())
            }
        };
        if is_constant {
            return Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// Whether values of `field` are documents, where it says so.
fn is_json(field: &Field) -> Option<bool> {
    Some(matches!(field.metadata().get(PG_TYPE)?.as_str(), "json" | "jsonb"))
}

fn all_null(rows: usize) -> ArrayRef {
    Arc::new(StringArray::new_null(rows))
}

fn is_finite(array: &ArrayRef, row: usize) -> bool {
    match array.data_type() {
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row).is_finite(),
        _ => array.as_primitive::<Float64Type>().value(row).is_finite(),
    }
}

/// The value of a row, in the session's style.
fn value(array: &ArrayRef, row: usize, display: &Display) -> DataFusionResult<Value> {
    if array.is_null(row) || array.data_type() == &DataType::Null {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        kind if kind.is_integer() => {
            let one = cast(&array.slice(row, 1), &DataType::Int64)?;
            Value::Int(one.as_primitive::<Int64Type>().value(0))
        }
        DataType::Float32 | DataType::Float64 if display.style.float_digits <= 0 && is_finite(array, row) => {
            Value::Number(lists::text_of(array, row, display)?.unwrap_or_default())
        }
        // As a double it would have more digits.
        DataType::Float32 if array.as_primitive::<Float32Type>().value(row).is_finite() => {
            Value::Number(floats::single_shown(array.as_primitive::<Float32Type>().value(row)))
        }
        kind if kind.is_floating() => {
            let one = cast(&array.slice(row, 1), &DataType::Float64)?;
            Value::Float(one.as_primitive::<datafusion::arrow::datatypes::Float64Type>().value(0))
        }
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::Utf8View => Value::Text(array.as_string_view().value(row).to_owned()),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Value::List(
                (0..items.len()).map(|at| value(&items, at, display)).collect::<DataFusionResult<_>>()?,
            )
        }
        kind if *kind == DataType::LargeBinary
            || engine::functions::numbers::digits::bare_scale(kind).is_some() =>
        {
            Value::Number(lists::text_of(array, row, display)?.unwrap_or_default())
        }
        kind if kind.is_decimal() || kind.is_string() => {
            let one = cast(&array.slice(row, 1), &DataType::Utf8)?;
            let text = one.as_string::<i32>().value(0).to_owned();
            if kind.is_decimal() { Value::Number(text) } else { Value::Text(text) }
        }
        kind => {
            let text = lists::text_of(array, row, display)?.unwrap_or_default();
            if !matches!(kind, DataType::Date32 | DataType::Timestamp(..)) {
                return Ok(Value::Text(text));
            }
            let iso = Display { style: Style { dates: Dates::Iso, ..display.style }, ..*display };
            let json = lists::text_of(array, row, &iso)?.unwrap_or_default();
            Value::Time { text, json: text::with_letter(&json) }
        }
    })
}

fn failed(error: engine::Error) -> DataFusionError {
    // Carried through DataFusion as a stamp, and read again on the way out.
    DataFusionError::Execution(error.to_stamp())
}
