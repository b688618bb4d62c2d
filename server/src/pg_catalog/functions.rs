//! The functions that system statements call. All answer from the catalog snapshot or the session.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListBuilder, StringArray, StringBuilder,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{View, types};

type Body = fn(&View, &[ArrayRef], usize) -> DataFusionResult<ArrayRef>;

/// One function: any arguments, one type of result.
struct CatalogFunction {
    name: &'static str,
    returns: DataType,
    signature: Signature,
    body: Body,
    view: View,
}

impl std::fmt::Debug for CatalogFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for CatalogFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for CatalogFunction {}

impl Hash for CatalogFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for CatalogFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let rows = arrays.first().map_or(args.number_rows, |array| array.len());
        Ok(ColumnarValue::Array((self.body)(&self.view, &arrays, rows)?))
    }
}

fn list_of_text() -> DataType {
    DataType::new_list(DataType::Utf8, true)
}

/// The functions that may be called without an argument.
const ARGUMENTLESS: &[&str] = &["pg_is_in_recovery"];

/// Registers them all for one statement.
pub fn register(state: &mut SessionState, view: &View) {
    let functions: &[(&'static str, DataType, Body)] = &[
        ("pg_table_is_visible", DataType::Boolean, is_visible),
        ("pg_type_is_visible", DataType::Boolean, always),
        ("pg_function_is_visible", DataType::Boolean, always),
        ("has_table_privilege", DataType::Boolean, always),
        ("has_schema_privilege", DataType::Boolean, always),
        ("has_database_privilege", DataType::Boolean, always),
        ("pg_relation_is_publishable", DataType::Boolean, never),
        ("pg_is_in_recovery", DataType::Boolean, never),
        ("pg_get_userbyid", DataType::Utf8, owner),
        ("pg_encoding_to_char", DataType::Utf8, encoding),
        ("format_type", DataType::Utf8, format_type),
        ("pg_get_expr", DataType::Utf8, nothing),
        ("pg_get_indexdef", DataType::Utf8, nothing),
        ("pg_get_constraintdef", DataType::Utf8, nothing),
        ("obj_description", DataType::Utf8, nothing),
        ("col_description", DataType::Utf8, nothing),
        ("shobj_description", DataType::Utf8, nothing),
        ("pg_table_size", DataType::Int64, table_size),
        ("pg_relation_size", DataType::Int64, table_size),
        ("pg_total_relation_size", DataType::Int64, table_size),
        ("pg_size_pretty", DataType::Utf8, size_pretty),
        ("current_setting", DataType::Utf8, current_setting),
        ("current_schemas", list_of_text(), current_schemas),
    ];
    for (name, returns, body) in functions {
        // Up to four arguments of any kind.
        let least = usize::from(!ARGUMENTLESS.contains(name));
        let counts = (least..=4).map(|count| {
            if count == 0 {
                datafusion::logical_expr::TypeSignature::Nullary
            } else {
                datafusion::logical_expr::TypeSignature::Any(count)
            }
        });
        let function = CatalogFunction {
            name,
            returns: returns.clone(),
            signature: Signature::one_of(counts.collect(), Volatility::Stable),
            body: *body,
            view: view.clone(),
        };
        let _ = state.register_udf(Arc::new(ScalarUDF::from(function)));
    }
}

fn integers(array: &ArrayRef) -> DataFusionResult<Int64Array> {
    Ok(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

fn all_text(text: Option<&str>, rows: usize) -> ArrayRef {
    Arc::new(StringArray::from(vec![text; rows]))
}

fn is_visible(view: &View, arguments: &[ArrayRef], _: usize) -> DataFusionResult<ArrayRef> {
    let visible = |oid: i64| {
        view.snapshot.tables().any(|t| i64::from(t.oid) == oid && t.name.schema == catalog::DEFAULT_SCHEMA)
    };
    Ok(Arc::new(integers(&arguments[0])?.iter().map(|oid| oid.map(visible)).collect::<BooleanArray>()))
}

fn always(_: &View, _: &[ArrayRef], rows: usize) -> DataFusionResult<ArrayRef> {
    Ok(Arc::new(BooleanArray::from(vec![true; rows])))
}

fn never(_: &View, _: &[ArrayRef], rows: usize) -> DataFusionResult<ArrayRef> {
    Ok(Arc::new(BooleanArray::from(vec![false; rows])))
}

fn owner(_: &View, _: &[ArrayRef], rows: usize) -> DataFusionResult<ArrayRef> {
    Ok(all_text(Some("postgres"), rows))
}

fn encoding(_: &View, _: &[ArrayRef], rows: usize) -> DataFusionResult<ArrayRef> {
    Ok(all_text(Some("UTF8"), rows))
}

fn nothing(_: &View, _: &[ArrayRef], rows: usize) -> DataFusionResult<ArrayRef> {
    Ok(all_text(None, rows))
}

fn format_type(_: &View, arguments: &[ArrayRef], _: usize) -> DataFusionResult<ArrayRef> {
    let oids = integers(&arguments[0])?;
    let modifiers = arguments.get(1).map(integers).transpose()?;
    let formatted = oids.iter().enumerate().map(|(row, oid)| {
        let modifier = modifiers.as_ref().filter(|m| m.is_valid(row)).map_or(-1, |m| m.value(row));
        oid.map(|oid| types::format(oid, modifier))
    });
    Ok(Arc::new(formatted.collect::<StringArray>()))
}

fn table_size(view: &View, arguments: &[ArrayRef], _: usize) -> DataFusionResult<ArrayRef> {
    let size = |oid: i64| {
        let table = view.snapshot.tables().find(|t| i64::from(t.oid) == oid);
        table.map(|t| i64::try_from(t.statistics.file_bytes).unwrap_or(i64::MAX))
    };
    Ok(Arc::new(integers(&arguments[0])?.iter().map(|oid| oid.and_then(size)).collect::<Int64Array>()))
}

/// PostgreSQL's rule: the next unit from 10 of the one below, halves rounded up.
fn size_pretty(_: &View, arguments: &[ArrayRef], _: usize) -> DataFusionResult<ArrayRef> {
    let pretty = |bytes: i64| {
        let mut size = bytes;
        for unit in ["bytes", "kB", "MB", "GB"] {
            let limit = if unit == "bytes" { 10 * 1024 } else { 20 * 1024 - 1 };
            if size.abs() < limit {
                let shown = if unit == "bytes" { size } else { (size + 1) / 2 };
                return format!("{shown} {unit}");
            }
            // Half units are kept so that the last division can round.
            size = if unit == "bytes" { size >> 9 } else { size >> 10 };
        }
        format!("{} TB", (size + 1) / 2)
    };
    Ok(Arc::new(integers(&arguments[0])?.iter().map(|b| b.map(pretty)).collect::<StringArray>()))
}

fn current_setting(view: &View, arguments: &[ArrayRef], _: usize) -> DataFusionResult<ArrayRef> {
    let names = cast(&arguments[0], &DataType::Utf8)?;
    let value = |name: &str| {
        let settings = &view.context.settings;
        settings.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    };
    let values = names.as_string::<i32>().iter().map(|name| name.and_then(value));
    Ok(Arc::new(values.collect::<StringArray>()))
}

fn current_schemas(_: &View, arguments: &[ArrayRef], rows: usize) -> DataFusionResult<ArrayRef> {
    let with_system = arguments.first().and_then(|a| a.as_boolean_opt().cloned());
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in 0..rows {
        if with_system.as_ref().is_some_and(|flags| flags.is_valid(row) && flags.value(row)) {
            builder.values().append_value("pg_catalog");
        }
        builder.values().append_value(catalog::DEFAULT_SCHEMA);
        builder.append(true);
    }
    Ok(Arc::new(builder.finish()))
}
