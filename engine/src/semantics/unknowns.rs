//! Literals in quotes have no type until what stands beside them has one: `n = '1.004'` compares two numbers, of which neither is
//! rounded to the digits of the other, and `b = 't'` two booleans.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, lit};

use crate::Error;
use crate::functions::numbers::conversions;

/// What a literal beside others is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Numeric,
    Boolean,
}

/// Gives the literals of `expr` the types of what they stand beside.
pub fn known(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { mut left, op, mut right }) if super::compares(op) => {
            let is_changed = read([left.as_mut(), right.as_mut()], schema)?;
            Ok(super::changed(Expr::BinaryExpr(BinaryExpr { left, op, right }), is_changed))
        }
        Expr::Between(mut between) => {
            let parts = [between.expr.as_mut(), between.low.as_mut(), between.high.as_mut()];
            let is_changed = read(parts, schema)?;
            Ok(super::changed(Expr::Between(between), is_changed))
        }
        Expr::InList(mut list) => {
            let parts = std::iter::once(list.expr.as_mut()).chain(&mut list.list);
            let is_changed = read(parts, schema)?;
            Ok(super::changed(Expr::InList(list), is_changed))
        }
        Expr::Case(mut case) => {
            let mut is_changed = false;
            if let Some(base) = case.expr.as_mut() {
                let whens = case.when_then_expr.iter_mut().map(|(when, _)| when.as_mut());
                is_changed |= read(std::iter::once(base.as_mut()).chain(whens), schema)?;
            }
            let thens = case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut());
            is_changed |= read(thens.chain(case.else_expr.as_deref_mut()), schema)?;
            Ok(super::changed(Expr::Case(case), is_changed))
        }
        Expr::ScalarFunction(mut call)
            if matches!(
                call.func.name(),
                "coalesce" | "nullif" | "greatest" | "least" | "make_array" | "nvl" | "ifnull"
            ) =>
        {
            let is_changed = read(&mut call.args, schema)?;
            Ok(super::changed(Expr::ScalarFunction(call), is_changed))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Reads the literals among `parts` as what the others are. True when there were some.
fn read<'a>(parts: impl IntoIterator<Item = &'a mut Expr>, schema: &DFSchema) -> Result<bool> {
    let mut parts: Vec<&mut Expr> = parts.into_iter().collect();
    if !parts.iter().any(|part| text_of(part).is_some()) {
        return Ok(false);
    }
    let beside = parts.iter().find_map(|part| {
        if text_of(part).is_some() {
            return None;
        }
        let kind = part.get_type(schema).ok()?;
        if kind.is_decimal() {
            Some(Beside::Numeric)
        } else {
            (kind == DataType::Boolean).then_some(Beside::Boolean)
        }
    });
    let Some(beside) = beside else { return Ok(false) };
    let mut is_changed = false;
    for part in &mut parts {
        let Some(text) = text_of(part) else { continue };
        **part = match beside {
            Beside::Boolean => lit(boolean(text)?),
            Beside::Numeric => {
                let literal = std::mem::take(*part);
                Expr::ScalarFunction(ScalarFunction::new_udf(conversions::bare(), vec![literal]))
            }
        };
        is_changed = true;
    }
    Ok(is_changed)
}

fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(
            ScalarValue::Utf8(Some(text))
            | ScalarValue::LargeUtf8(Some(text))
            | ScalarValue::Utf8View(Some(text)),
            _,
        ) => Some(text),
        _ => None,
    }
}

/// A boolean in one of the forms of `boolin` (bool.c): a word or the beginning of one, where that is no other's.
fn boolean(text: &str) -> Result<bool> {
    let word = text.trim_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']).to_ascii_lowercase();
    let begins = |whole: &str, least: usize| word.len() >= least && whole.starts_with(word.as_str());
    if begins("true", 1) || begins("yes", 1) || word == "on" || word == "1" {
        return Ok(true);
    }
    if begins("false", 1) || begins("no", 1) || begins("off", 2) || word == "0" {
        return Ok(false);
    }
    let message = format!("invalid input syntax for type boolean: \"{text}\"");
    Err(DataFusionError::External(Box::new(Error::InvalidText { message })))
}

#[cfg(test)]
mod tests {
    use super::boolean;

    #[test]
    fn booleans_are_read_as_postgres_reads_them() {
        for text in ["t", "tru", "TRUE", " yes ", "y", "on", "1"] {
            assert_eq!(boolean(text).ok(), Some(true), "{text}");
        }
        for text in ["f", "fals", "n", "no", "of", "OFF", "0"] {
            assert_eq!(boolean(text).ok(), Some(false), "{text}");
        }
        for text in ["", "o", "truee", "2", "nope"] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }
}
