//! Patterns, in the syntax that they are matched in.

use std::collections::BTreeMap;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

use super::changed;
use crate::Error;
use crate::functions::texts;
use crate::sqlstate::SqlState;

/// Gives `expr` its meaning, before types are coerced.
pub fn meant(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_match(op) => {
            let is_text = right.get_type(schema).is_ok_and(|kind| kind.is_string());
            if !is_text || is_translated(&right) {
                return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
            }
            let right = Box::new(marked(texts::expression(*right)?));
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })))
        }
        Expr::Like(like) => {
            if let Expr::Literal(pattern, _) = like.pattern.as_ref()
                && let Some(pattern) = pattern.try_as_str().flatten()
                && like.escape_char.is_none_or(|escape| escape == '\\')
                && ends_in_escape(pattern)
            {
                let error = Error::Stamped {
                    sqlstate: SqlState::from_text("22025"),
                    message: "LIKE pattern must not end with escape character".to_owned(),
                };
                return Err(DataFusionError::Plan(error.to_stamp()));
            }
            Ok(Transformed::no(Expr::Like(like)))
        }
        Expr::ScalarFunction(mut call) if matches!(call.func.name(), "concat" | "concat_ws") => {
            let mut is_changed = false;
            for arg in &mut call.args {
                if arg.get_type(schema).is_ok_and(|kind| kind == DataType::Boolean) {
                    *arg = letter_of(std::mem::take(arg));
                    is_changed = true;
                }
            }
            Ok(changed(Expr::ScalarFunction(call), is_changed))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// What is true or false, as it is shown.
fn letter_of(truth: Expr) -> Expr {
    let letter = |letter: &str| Box::new(Expr::Literal(ScalarValue::Utf8(Some(letter.to_owned())), None));
    let is_false = Expr::Not(Box::new(truth.clone()));
    Expr::Case(Case {
        expr: None,
        when_then_expr: vec![(Box::new(truth), letter("t")), (Box::new(is_false), letter("f"))],
        else_expr: None,
    })
}

fn is_match(op: Operator) -> bool {
    use Operator::{RegexIMatch, RegexMatch, RegexNotIMatch, RegexNotMatch};
    matches!(op, RegexMatch | RegexIMatch | RegexNotMatch | RegexNotIMatch)
}

fn ends_in_escape(pattern: &str) -> bool {
    pattern.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

const MARK: &str = "sluice.translated";

/// A literal that is not to be translated again, where a plan is looked at twice.
fn marked(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(value, None) => {
            let mark = BTreeMap::from([(MARK.to_owned(), String::new())]);
            Expr::Literal(value, Some(FieldMetadata::new(mark)))
        }
        other => other,
    }
}

fn is_translated(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(_, Some(metadata)) => metadata.inner().contains_key(MARK),
        other => texts::is_expression(other),
    }
}
