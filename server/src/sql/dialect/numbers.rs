//! Operators and casts of numbers that the planner does not read, or reads otherwise.

use engine::functions::numbers::digits::{Digits, shown};
use engine::{Error, Result};
use sqlparser::ast::{
    CastKind, DataType, ExactNumberInfo, Expr, Function, Ident, ObjectName, ObjectNamePart, Query,
    SelectItem, SetExpr, SetOperator, UnaryOperator, Value,
};

use super::{call, cast, take};
use crate::sql::names;

/// Rewrites `expr`, whose parts were rewritten.
pub fn adapt(expr: &mut Expr) {
    match expr {
        Expr::UnaryOp { op, expr: inner } => {
            let name = match op {
                UnaryOperator::Minus if !is_literal(inner) => "sluice_minus",
                UnaryOperator::Plus if !matches!(inner.as_ref(), Expr::Value(_)) => "sluice_plus",
                UnaryOperator::PGSquareRoot => {
                    **inner = cast(take(inner), DataType::Double(ExactNumberInfo::None));
                    "sqrt"
                }
                UnaryOperator::PGCubeRoot => "cbrt",
                UnaryOperator::PGAbs => "abs",
                UnaryOperator::BitwiseNot => "sluice_bitwise_not",
                _ => return,
            };
            *expr = call(name, vec![take(inner)]);
        }
        // The engine's is a `bigint`.
        Expr::Function(function) if function.over.is_some() && is_ntile(&function.name) => {
            *expr = cast(take(expr), DataType::Int(None));
        }
        Expr::Function(function) => rename(function),
        Expr::Value(value) => {
            if let Value::Number(digits, _) = &value.value
                && is_long(digits)
            {
                let text = Expr::value(Value::SingleQuotedString(digits.clone()));
                *expr = call("sluice_bare_numeric", vec![text]);
            } else if let Value::Number(digits, _) = &value.value
                && digits.contains(['e', 'E'])
                && let Some(plain) = without_exponent(digits)
            {
                *expr = plain;
            }
        }
        Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr: inner, data_type, .. } => {
            // No decimal has so many digits: it is read as what it becomes.
            if is_float(data_type)
                && let Expr::Value(value) = inner.as_ref()
                && let Value::Number(digits, _) = &value.value
                && digits.contains(['e', 'E'])
            {
                **inner = Expr::value(Value::SingleQuotedString(digits.clone()));
                return;
            }
            if let DataType::Numeric(ExactNumberInfo::None) | DataType::Decimal(ExactNumberInfo::None) =
                data_type
                && let Some(exact) = bare(inner)
            {
                *expr = exact;
            }
        }
        _ => {}
    }
}

/// Tells a cast that a value of VALUES is written with from one that the planner puts around it.
pub fn keep_cast(value: &mut Expr) {
    let is_cast = matches!(
        value,
        Expr::Cast {
            data_type: DataType::Numeric(
                ExactNumberInfo::PrecisionAndScale(..) | ExactNumberInfo::Precision(_)
            ) | DataType::Decimal(
                ExactNumberInfo::PrecisionAndScale(..) | ExactNumberInfo::Precision(_)
            ),
            ..
        }
    );
    if is_cast {
        *value = call("sluice_same", vec![take(value)]);
    }
}

/// `1e3` as 1000, which is a `numeric` too: the planner would give it a scale below zero.
fn without_exponent(digits: &str) -> Option<Expr> {
    let digits = Digits::read(digits)?;
    let scale = i8::try_from(digits.scale.max(0)).ok().filter(|scale| *scale < 38)?;
    let plain = shown(digits.at_scale(scale)?, scale);
    let precision = plain.len() as u64;
    let number = Expr::value(Value::Number(plain, false));
    Some(match scale {
        0 => cast(number, DataType::Numeric(ExactNumberInfo::PrecisionAndScale(precision, 0))),
        _ => number,
    })
}

/// Numbers that a recursion begins with have the scale of no literal: each round gives them one.
pub fn open_recursion(query: &mut Query) {
    let Some(with) = query.with.as_mut().filter(|with| with.recursive) else { return };
    for cte in &mut with.cte_tables {
        if let SetExpr::SetOperation { op: SetOperator::Union, left, .. } = cte.query.body.as_mut()
            && let SetExpr::Select(select) = left.as_mut()
        {
            for item in &mut select.projection {
                match item {
                    SelectItem::ExprWithAlias { expr, .. } if is_exact(expr) => {
                        *expr = call("sluice_wide", vec![take(expr)]);
                    }
                    SelectItem::UnnamedExpr(expr) if is_exact(expr) => {
                        let alias = Ident::with_quote('"', names::column_name(expr));
                        let expr = call("sluice_wide", vec![take(expr)]);
                        *item = SelectItem::ExprWithAlias { expr, alias };
                    }
                    _ => {}
                }
            }
        }
    }
}

/// True for what is a `numeric` without precision as it is written.
fn is_exact(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => {
            matches!(&value.value, Value::Number(digits, _) if digits.contains(['.', 'e', 'E']))
        }
        Expr::Nested(inner) | Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => is_exact(inner),
        Expr::Cast { data_type, .. } => matches!(
            data_type,
            DataType::Numeric(ExactNumberInfo::None) | DataType::Decimal(ExactNumberInfo::None)
        ),
        _ => false,
    }
}

/// True for what has a sign as it is written.
fn is_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) | Expr::Interval(_) | Expr::TypedString(_) => true,
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } | Expr::UnaryOp { expr: inner, .. } => {
            is_literal(inner)
        }
        _ => false,
    }
}

/// True for a number that no decimal holds: it may stand beside a floating-point number.
fn is_long(digits: &str) -> bool {
    let is_decimal = |digits: Digits| {
        let scale = i8::try_from(digits.scale.max(0)).ok().filter(|scale| *scale < 38);
        scale.and_then(|scale| digits.at_scale(scale)).is_some()
    };
    !Digits::read(digits).is_some_and(is_decimal)
}

/// Refuses a scale below zero, which the planner takes for none.
pub fn check_scale(expr: &Expr) -> Result<()> {
    let Expr::Cast { data_type: DataType::Numeric(info) | DataType::Decimal(info), .. } = expr else {
        return Ok(());
    };
    match info {
        ExactNumberInfo::PrecisionAndScale(_, scale) if *scale < 0 => Err(Error::NotSupported {
            message: format!("a scale of {scale} is not supported: round(x, {scale}) rounds to it"),
        }),
        _ => Ok(()),
    }
}

fn is_ntile(name: &ObjectName) -> bool {
    matches!(name.0.as_slice(), [ObjectNamePart::Identifier(name)] if name.value.eq_ignore_ascii_case("ntile"))
}

fn is_float(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Double(_)
            | DataType::DoublePrecision
            | DataType::Float(_)
            | DataType::Real
            | DataType::Float4
            | DataType::Float8
    )
}

/// Aggregates under their other names.
fn rename(function: &mut Function) {
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return };
    let other = match name.value.to_ascii_lowercase().as_str() {
        "every" => "bool_and",
        "variance" => "var_samp",
        _ => return,
    };
    function.name = ObjectName::from(vec![Ident::new(other)]);
}

/// `inner` as a `numeric` without precision: a text has the digits that it says, and what is one keeps its own.
fn bare(inner: &mut Expr) -> Option<Expr> {
    if let Expr::Value(value) = inner {
        let Value::SingleQuotedString(text) = &value.value else { return None };
        let Some(digits) = Digits::read(text) else {
            return Some(call("sluice_bare_numeric", vec![take(inner)]));
        };
        let scale = i8::try_from(digits.scale.max(0)).ok().filter(|scale| *scale < 38);
        let Some((scale, number)) = scale.and_then(|scale| Some((scale, digits.at_scale(scale)?))) else {
            return Some(call("sluice_bare_numeric", vec![take(inner)]));
        };
        let number = shown(number, scale);
        let (is_negative, number) = match number.strip_prefix('-') {
            Some(number) => (true, number.to_owned()),
            None => (false, number),
        };
        let number = Expr::value(Value::Number(number, false));
        // Without a point it would be a whole number.
        let number = match scale {
            0 => cast(number, DataType::Numeric(ExactNumberInfo::PrecisionAndScale(38, 0))),
            _ => number,
        };
        return Some(match is_negative {
            true => {
                let negative = Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(number) };
                Expr::Nested(Box::new(negative))
            }
            false => number,
        });
    }
    // A parameter is told to be of the type.
    let mut innermost: &Expr = inner;
    while let Expr::Nested(within) = innermost {
        innermost = within;
    }
    if matches!(innermost, Expr::Value(value) if matches!(value.value, Value::Placeholder(_) | Value::Null)) {
        return None;
    }
    Some(call("sluice_bare_numeric", vec![take(inner)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_keep_the_digits_that_they_say() {
        let numeric = |text: &str| {
            let text = Expr::value(Value::SingleQuotedString(text.to_owned()));
            let mut expr = cast(text, DataType::Numeric(ExactNumberInfo::None));
            adapt(&mut expr);
            expr.to_string()
        };
        assert_eq!(numeric("1.25"), "1.25");
        assert_eq!(numeric(" -1.50 "), "(-1.50)");
        assert_eq!(numeric("1e3"), "1000::NUMERIC(38,0)");
        let mut large = cast(Expr::value(Value::Number("1e308".into(), false)), DataType::Real);
        adapt(&mut large);
        assert_eq!(large.to_string(), "'1e308'::REAL");
        assert_eq!(numeric("NaN"), "sluice_bare_numeric('NaN')");
    }
}
