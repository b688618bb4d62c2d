//! Casts to texts of a length, and what is written as a phrase where the planner wants a function.

use engine::{Error, Result, SqlState};
use sqlparser::ast::{
    BinaryOperator, CastKind, CharacterLength, DataType, Expr, ObjectNamePart, UnaryOperator, Value,
};

use super::{call, take};

/// Rewrites `expr`, whose parts were rewritten.
pub fn adapt(expr: &mut Expr) {
    match expr {
        Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr: inner, data_type, .. } => {
            let Some((length, is_padded)) = length_of(data_type) else { return };
            // A parameter is told to be of the type.
            let is_parameter =
                matches!(inner.as_ref(), Expr::Value(value) if matches!(value.value, Value::Placeholder(_)));
            if !is_parameter {
                *data_type = DataType::Text;
            }
            let cut = call("left", vec![take(expr), number(length)]);
            // Blanks at its end say nothing.
            *expr = if is_padded { call("rtrim", vec![cut]) } else { cut };
        }
        Expr::Substring { expr: text, substring_from, substring_for, .. } => {
            let mut arguments = vec![take(text)];
            match (substring_from.as_mut(), substring_for.as_mut()) {
                (Some(from), for_length) => {
                    arguments.push(take(from));
                    arguments.extend(for_length.map(|length| take(length)));
                }
                (None, Some(length)) => arguments.extend([number(1), take(length)]),
                (None, None) => {}
            }
            *expr = call("substr", arguments);
        }
        Expr::SimilarTo { negated, expr: text, pattern, escape_char } => {
            let mut arguments = vec![take(pattern)];
            if let Some(escape) = escape_char.take() {
                arguments.push(Expr::Value(escape));
            }
            let similar = Expr::BinaryOp {
                left: Box::new(take(text)),
                op: BinaryOperator::PGRegexMatch,
                right: Box::new(call("sluice_similar_pattern", arguments)),
            };
            let similar = Expr::Nested(Box::new(similar));
            *expr = match negated {
                true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(similar) },
                false => similar,
            };
        }
        Expr::BinaryOp { left, op, right } if is_comparison(op) => {
            // Beside a padded text a literal is one, too.
            if is_padded(left) {
                trim_literal(right);
            } else if is_padded(right) {
                trim_literal(left);
            }
        }
        _ => {}
    }
}

/// Casts to `name`, which has 63 bytes, and to `"char"`, which has one letter.
pub fn adapt_names(expr: &mut Expr) {
    let Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr: inner, data_type, .. } = expr else {
        return;
    };
    let DataType::Custom(name, _) = &*data_type else { return };
    let Some(last) = name.0.last().and_then(ObjectNamePart::as_ident) else { return };
    let is_parameter =
        matches!(inner.as_ref(), Expr::Value(value) if matches!(value.value, Value::Placeholder(_)));
    let kind = match (last.value.to_ascii_lowercase().as_str(), last.quote_style) {
        _ if is_parameter => return,
        ("name", _) => "name",
        ("char", Some(_)) => "char",
        _ => return,
    };
    let text = super::cast(take(inner), DataType::Text);
    let kind = Expr::value(Value::SingleQuotedString(kind.to_owned()));
    *expr = call("sluice_declared", vec![text, kind, number(0)]);
}

/// Refuses (22025) an escape of more than one letter.
pub fn check_escape(expr: &Expr) -> Result<()> {
    let (Expr::Like { escape_char, .. }
    | Expr::ILike { escape_char, .. }
    | Expr::SimilarTo { escape_char, .. }) = expr
    else {
        return Ok(());
    };
    match escape_char.as_ref().map(|escape| &escape.value) {
        Some(Value::SingleQuotedString(text)) if text.chars().count() > 1 => Err(Error::Stamped {
            sqlstate: SqlState::from_text("22025"),
            message: "invalid escape string".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// How many letters a type has room for, and whether it is padded.
fn length_of(data_type: &DataType) -> Option<(u64, bool)> {
    let length = |length: &Option<CharacterLength>, default: Option<u64>| match length {
        Some(CharacterLength::IntegerLength { length, .. }) => Some(*length),
        Some(CharacterLength::Max) => None,
        None => default,
    };
    match data_type {
        DataType::Varchar(size) | DataType::CharacterVarying(size) | DataType::CharVarying(size) => {
            Some((length(size, None)?, false))
        }
        DataType::Char(size) | DataType::Character(size) => Some((length(size, Some(1))?, true)),
        _ => None,
    }
}

fn number(value: u64) -> Expr {
    Expr::value(Value::Number(value.to_string(), false))
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

/// True for what a cast to `char(n)` became.
fn is_padded(expr: &Expr) -> bool {
    let is_call =
        |expr: &Expr, wanted: &str| matches!(expr, Expr::Function(f) if f.name.to_string() == wanted);
    let Expr::Function(function) = expr else { return false };
    let sqlparser::ast::FunctionArguments::List(list) = &function.args else { return false };
    let first = match list.args.as_slice() {
        [sqlparser::ast::FunctionArg::Unnamed(sqlparser::ast::FunctionArgExpr::Expr(first))] => first,
        _ => return false,
    };
    is_call(expr, "rtrim") && is_call(first, "left")
}

/// Cuts the blanks at the end of a literal in quotes.
pub fn trim_literal(expr: &mut Expr) {
    if let Expr::Value(value) = expr
        && let Value::SingleQuotedString(text) = &mut value.value
    {
        text.truncate(text.trim_end_matches(' ').len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(sql: &str) -> String {
        let dialect = crate::sql::grammar::Grammar;
        let mut expr = sqlparser::parser::Parser::new(&dialect)
            .try_with_sql(sql)
            .and_then(|mut parser| parser.parse_expr())
            .expect("parsed");
        adapt(&mut expr);
        expr.to_string()
    }

    #[test]
    fn phrases_are_functions() {
        assert_eq!(adapted("a::varchar(3)"), "left(a::TEXT, 3)");
        assert_eq!(adapted("cast(a as char)"), "rtrim(left(CAST(a AS TEXT), 1))");
        assert_eq!(adapted("substring(a for 3)"), "substr(a, 1, 3)");
        assert_eq!(adapted("substring(a from 'x')"), "substr(a, 'x')");
        assert_eq!(adapted("a not similar to 'x' escape '#'"), "NOT (a ~ sluice_similar_pattern('x', '#'))");
    }
}
