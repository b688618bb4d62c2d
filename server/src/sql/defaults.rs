//! The defaults of columns: literals, as DuckLake keeps them.

use datafusion::arrow::datatypes::DataType;
use engine::Result;
use sqlparser::ast::{DataType as SqlType, Expr, UnaryOperator, Value};

use super::classify::not_supported;
use super::tables::column_type;

/// A literal that stands where a row names no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultValue {
    /// Its text.
    pub text: String,
    /// What it is.
    pub kind: DefaultKind,
}

/// What a literal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefaultKind {
    /// Text in quotes, which is read as the column's type.
    Text,
    /// A number, which only some types take.
    Number,
    /// TRUE or FALSE.
    Boolean,
    /// A value of a type that is written with it.
    Of(DataType),
}

/// The literal in `value`; `None` for null.
pub fn literal(value: &Expr) -> Result<Option<DefaultValue>> {
    let found = |text: &str, kind| Ok(Some(DefaultValue { text: text.to_owned(), kind }));
    match value {
        Expr::Nested(inner) => literal(inner),
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => found(text, DefaultKind::Number),
            Value::Boolean(flag) => found(if *flag { "true" } else { "false" }, DefaultKind::Boolean),
            Value::Null => Ok(None),
            value => found(text(value)?, DefaultKind::Text),
        },
        Expr::UnaryOp { op, expr } => match (op, literal(expr)?) {
            (UnaryOperator::Plus, Some(number)) if number.kind == DefaultKind::Number => Ok(Some(number)),
            (UnaryOperator::Minus, Some(number))
                if number.kind == DefaultKind::Number && !number.text.starts_with('-') =>
            {
                found(&format!("-{}", number.text), DefaultKind::Number)
            }
            _ => Err(refused()),
        },
        Expr::Cast { expr, data_type, .. } => literal(expr)?.map(|inner| typed(inner, data_type)).transpose(),
        Expr::TypedString(written) => {
            let text = text(&written.value.value)?.to_owned();
            typed(DefaultValue { text, kind: DefaultKind::Text }, &written.data_type).map(Some)
        }
        _ => Err(refused()),
    }
}

fn refused() -> engine::Error {
    not_supported("a default that is not a literal")
}

fn text(value: &Value) -> Result<&str> {
    match value {
        Value::SingleQuotedString(text)
        | Value::EscapedStringLiteral(text)
        | Value::UnicodeStringLiteral(text) => Ok(text),
        Value::DollarQuotedString(text) => Ok(&text.value),
        _ => Err(refused()),
    }
}

/// `literal` as a value of `written`, where that changes nothing of it.
fn typed(literal: DefaultValue, written: &SqlType) -> Result<DefaultValue> {
    let kind = column_type(written)?;
    let keeps = match (&literal.kind, &kind) {
        (DefaultKind::Text, DataType::Utf8) => fits(&literal.text, written),
        (DefaultKind::Text, _) => true,
        (DefaultKind::Number, DataType::Utf8) => is_canonical(&literal.text) && fits(&literal.text, written),
        (DefaultKind::Number, kind) if kind.is_integer() => is_whole(&literal.text),
        (DefaultKind::Number, kind) => kind.is_numeric(),
        (DefaultKind::Boolean, kind) => matches!(kind, DataType::Boolean | DataType::Utf8),
        (DefaultKind::Of(known), kind) => known == kind,
    };
    match keeps {
        true => Ok(DefaultValue { text: literal.text, kind: DefaultKind::Of(kind) }),
        false => Err(refused()),
    }
}

/// True when a type of letters has room for `text`.
fn fits(text: &str, written: &SqlType) -> bool {
    let shown = written.to_string();
    let length = shown.split_once('(').and_then(|(_, rest)| rest.trim_end_matches(')').parse::<usize>().ok());
    let length =
        length.or_else(|| matches!(written, SqlType::Char(None) | SqlType::Character(None)).then_some(1));
    length.is_none_or(|length| text.chars().count() <= length)
}

/// True for a number that is written as PostgreSQL prints it.
fn is_canonical(number: &str) -> bool {
    let digits = number.trim_start_matches('-');
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(is_digits)
        && number != "-0"
}

fn is_whole(number: &str) -> bool {
    number.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit())
}

impl DefaultValue {
    /// Its text for a column of `of`; `None` where only an expression could tell (0A000), an error where the types do not go
    /// together (42804).
    pub fn text_for(&self, column: &str, of: &DataType) -> Result<String> {
        let is_number = of.is_numeric();
        let fits = match &self.kind {
            DefaultKind::Text => true,
            DefaultKind::Number if of.is_integer() => is_whole(&self.text),
            DefaultKind::Number => is_number || *of == DataType::Utf8 && is_canonical(&self.text),
            DefaultKind::Boolean => matches!(of, DataType::Boolean | DataType::Utf8),
            DefaultKind::Of(known) => known == of || is_plain_decimal(known) && of.is_decimal(),
        };
        if fits {
            return Ok(self.text.clone());
        }
        let of_literal = match self.kind {
            DefaultKind::Boolean => "boolean",
            DefaultKind::Number if !is_number && *of != DataType::Utf8 => match is_whole(&self.text) {
                true => "integer",
                false => "numeric",
            },
            _ => return Err(not_supported("a default of another type than its column")),
        };
        let (oid, _) = crate::pg_catalog::types::oid_and_size(of);
        let kind = crate::pg_catalog::types::format(oid.into(), -1);
        Err(engine::Error::TypeMismatch {
            message: format!(
                "column \"{column}\" is of type {kind} but default expression is of type {of_literal}"
            ),
        })
    }
}

/// A number without a precision is as it was written.
fn is_plain_decimal(kind: &DataType) -> bool {
    matches!(kind, DataType::Decimal128(38, 10))
}
