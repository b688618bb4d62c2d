//! Casts of literals whose text PostgreSQL reads and DataFusion does not.

use sqlparser::ast::{DataType, ExactNumberInfo, Expr, Value};

use super::{call, system};
use crate::sql::input;

/// Rewrites the literal under a cast, or the cast.
pub fn adapt(expr: &mut Expr) {
    let (inner, data_type) = match expr {
        Expr::Cast { expr: inner, data_type, .. } => (inner, data_type),
        Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
            return system::adapt_escape(pattern, escape_char);
        }
        _ => return,
    };
    match data_type {
        DataType::Bytea => {
            if let Some(bytes) = bytea(inner) {
                *expr = bytes;
            }
        }
        DataType::Numeric(ExactNumberInfo::None) | DataType::Decimal(ExactNumberInfo::None) => {
            // A literal has the scale it is written with; without a point it has none.
            if let Expr::Value(value) = inner.as_ref()
                && let Value::Number(digits, _) = &value.value
            {
                if digits.contains(['.', 'e', 'E']) {
                    *expr = inner.as_ref().clone();
                } else {
                    *data_type = DataType::Numeric(ExactNumberInfo::PrecisionAndScale(38, 0));
                }
            }
        }
        _ => {}
    }
}

/// The bytes that a literal stands for where a `bytea` is wanted.
pub fn bytea(literal: &Expr) -> Option<Expr> {
    let bytes = text(literal).and_then(input::bytea)?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let literal = |text: String| Expr::value(Value::SingleQuotedString(text));
    Some(call("decode", vec![literal(hex), literal("hex".into())]))
}

fn text(expr: &Expr) -> Option<&str> {
    let Expr::Value(value) = expr else { return None };
    match &value.value {
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
        _ => None,
    }
}
