//! The columns that an INSERT names, and what stands in the rows of its VALUES: queries, and DEFAULT.

use std::collections::HashSet;

use catalog::{TableDefinition, lake};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use engine::{Error, Result};
use sqlparser::ast::{
    CastKind, DataType as SqlType, ExactNumberInfo, Expr, Ident, Insert, ObjectName, ObjectNamePart,
    SelectItem, SetExpr, SetOperator, SetQuantifier, Statement, TimezoneInfo, Value, Values,
};

use super::classify::{folded, last_name, not_supported, one_row};
use super::dialect;
use super::tables::holds_query;

/// Refuses a column that stands twice (42701), and one of another relation (42703).
pub fn check_columns(columns: &[ObjectName]) -> Result<()> {
    let mut seen = HashSet::new();
    for column in columns {
        if let [ObjectNamePart::Identifier(first), _, ..] = column.0.as_slice() {
            return Err(Error::UndefinedColumn { column: folded(first), suggestion: None, position: None });
        }
        let name = last_name(column);
        if !seen.insert(name.clone()) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(Error::DuplicateColumn { message });
        }
    }
    Ok(())
}

/// Writes rows of VALUES that hold queries as SELECTs: a query is planned there, and not among values.
pub fn select_values(body: &mut SetExpr) {
    let SetExpr::Values(Values { rows, .. }) = body else { return };
    if !rows.iter().flat_map(|row| &row.content).any(holds_query) {
        return;
    }
    let marked = |value: &Expr| match is_default(value) {
        true => Expr::Identifier(Ident::with_quote('"', DEFAULT)),
        false => value.clone(),
    };
    let select = |row: &Vec<Expr>| match one_row(row.iter().map(marked).collect()) {
        Statement::Query(query) => Some(query.body),
        _ => None,
    };
    let all = |left, right| {
        let (op, set_quantifier) = (SetOperator::Union, SetQuantifier::All);
        Box::new(SetExpr::SetOperation { op, set_quantifier, left, right })
    };
    if let Some(selects) = rows.iter().filter_map(|row| select(&row.content)).reduce(all) {
        *body = *selects;
    }
}

/// What DEFAULT becomes in a SELECT, where it is no word.
const DEFAULT: &str = "sluice default";

/// Puts what `read` gives for the value at a place in the place of it, in rows that [`select_values`] wrote.
pub fn read_selects(body: &mut SetExpr, read: &impl Fn(usize, &Expr) -> Result<Option<Expr>>) -> Result<()> {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            read_selects(left, read)?;
            read_selects(right, read)
        }
        SetExpr::Select(select) if select.from.is_empty() => {
            for (at, item) in select.projection.iter_mut().enumerate() {
                let (SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }) = item
                else {
                    continue;
                };
                if let Some(other) = read(at, value)? {
                    *value = other;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Refuses rows of other lengths than the columns that the INSERT names, or than each other (42601).
pub fn check_widths(insert: &Insert) -> Result<()> {
    let Some(SetExpr::Values(values)) = insert.source.as_ref().map(|source| source.body.as_ref()) else {
        return Ok(());
    };
    let mut widths = values.rows.iter().map(|row| row.content.len());
    let wrong = |message: &str| Err(Error::Syntax { message: message.to_owned(), position: None });
    let Some(width) = widths.next() else { return Ok(()) };
    if widths.any(|other| other != width) {
        return wrong("VALUES lists must all be the same length");
    }
    match insert.columns.len() {
        0 => Ok(()),
        columns if columns < width => wrong("INSERT has more expressions than target columns"),
        columns if columns > width => wrong("INSERT has more target columns than expressions"),
        _ => Ok(()),
    }
}

/// True for the word DEFAULT.
pub fn is_default(value: &Expr) -> bool {
    matches!(value, Expr::Identifier(ident)
        if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// True for what stands for the word in a SELECT.
pub fn is_marked_default(value: &Expr) -> bool {
    matches!(value, Expr::Identifier(ident) if ident.value == DEFAULT)
}

/// What DEFAULT stands for in the column of `table` at `place`.
pub fn default_of(table: &TableDefinition, place: usize) -> Result<Expr> {
    let fields = table.fields();
    let managed = table.managed.as_ref();
    let column = managed.and_then(|managed| managed.current_columns().nth(place));
    let text = column.and_then(|column| column.default.as_deref());
    let (Some(field), Some(text)) = (fields.get(place), text) else {
        return Ok(Expr::value(Value::Null));
    };
    let kind = field.data_type();
    let value = lake::values::from_text(text, kind);
    let refused = || not_supported(&format!("DEFAULT for column \"{}\"", field.name()));
    let quoted = |text: String| Expr::value(Value::SingleQuotedString(text));
    let cast = |text: String, to: SqlType| Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(quoted(text)),
        data_type: to,
        array: false,
        format: None,
    };
    let written = match kind {
        DataType::Boolean => SqlType::Boolean,
        DataType::Int16 => SqlType::SmallInt(None),
        DataType::Int32 => SqlType::Int(None),
        DataType::Int64 => SqlType::BigInt(None),
        DataType::Float32 => SqlType::Real,
        DataType::Float64 => SqlType::DoublePrecision,
        DataType::Decimal128(precision, scale) => {
            SqlType::Decimal(ExactNumberInfo::PrecisionAndScale(u64::from(*precision), i64::from(*scale)))
        }
        DataType::Date32 => SqlType::Date,
        DataType::Timestamp(_, None) => SqlType::Timestamp(None, TimezoneInfo::None),
        DataType::Timestamp(_, Some(_)) => SqlType::Timestamp(None, TimezoneInfo::WithTimeZone),
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => return Ok(quoted(text.to_owned())),
        DataType::Binary | DataType::BinaryView => {
            return dialect::bytea(&quoted(format!("\\x{text}"))).ok_or_else(refused);
        }
        _ => return Err(refused()),
    };
    // As Arrow prints it, which says the zone.
    let shown = value.and_then(|value| value.cast_to(&DataType::Utf8).ok());
    match shown {
        Some(ScalarValue::Utf8(Some(text))) => Ok(cast(text, written)),
        _ => Err(refused()),
    }
}
