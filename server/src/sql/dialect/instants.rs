//! Zones and intervals: what the planner reads with another meaning becomes calls of functions, and texts of intervals are
//! read here.

use engine::functions::instants::{IntervalFields, interval_text};
use engine::{Error, Result};
use sqlparser::ast::{
    DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArguments, Ident,
    Interval, ObjectName, ObjectNamePart, TimezoneInfo, UnaryOperator, Value,
};

use super::{call, cast, take};

/// Gives `expr` its meaning.
pub fn adapt(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::AtTimeZone { timestamp, time_zone } => {
            *expr = call("timezone", vec![take(time_zone), take(timestamp)]);
        }
        Expr::Interval(interval) => *expr = of_literal(interval)?,
        // The planner would put the sign before the first part of the text, and negate that alone.
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } if matches!(**inner, Expr::Interval(_)) => {
            **inner = Expr::Nested(Box::new(take(inner)));
        }
        Expr::Cast { expr: inner, data_type: DataType::Interval { fields, precision }, .. } => {
            let text = text(inner).map(str::to_owned);
            let Some(text) = text else {
                if fields.is_some() || precision.is_some() {
                    return Err(not_supported("a cast to an interval of some fields"));
                }
                return Ok(());
            };
            let named = fields.as_ref().map(|fields| fields.to_string().to_ascii_lowercase());
            let digits = precision.and_then(|digits| u32::try_from(digits).ok());
            let read = interval_text(&text, named.as_deref().map(fields_of), digits)?;
            let is_read_later = named.is_none() && digits.is_none() && depends_on_style(&text);
            *expr = if is_read_later { read_later(&text) } else { interval(read) };
        }
        Expr::Function(function) => return adapt_function(function),
        _ => {}
    }
    Ok(())
}

fn adapt_function(function: &mut Function) -> Result<()> {
    let name = match function.name.0.last() {
        Some(ObjectNamePart::Identifier(name)) => name.value.to_ascii_lowercase(),
        _ => return Ok(()),
    };
    match name.as_str() {
        "current_time" => Err(not_supported("the type time with time zone")),
        "make_interval" => {
            let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
            list.args = parts_of_interval(std::mem::take(&mut list.args))?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The time since then: of system tables `age` is of transactions.
pub fn adapt_age(function: &mut Function, reads_system: bool) {
    let FunctionArguments::List(list) = &function.args else { return };
    if super::is_named(&function.name, "age") && (list.args.len() == 2 || !reads_system) {
        function.name = ObjectName::from(vec![Ident::new("sluice_age")]);
    }
}

/// `localtime`, `localtimestamp` and a time with some digits, whose names stay what they are to the client.
pub fn adapt_local(expr: &mut Expr) {
    if let Expr::Cast { expr: inner, data_type: DataType::Timestamp(Some(digits), zone), .. } = expr
        && ![0, 3, 6].contains(digits)
    {
        let has_zone = matches!(zone, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz);
        let name = if has_zone { "sluice_timestamptz" } else { "sluice_timestamp" };
        let digits = Expr::value(Value::Number((*digits).min(6).to_string(), false));
        *expr = call(name, vec![take(inner), digits]);
        return;
    }
    let name = match expr {
        Expr::Function(function) => super::plain_name(function),
        Expr::Identifier(ident) if ident.quote_style.is_none() => Some(ident.value.to_ascii_lowercase()),
        _ => None,
    };
    let local = |expr: Expr| cast(expr, DataType::Timestamp(None, TimezoneInfo::None));
    match name.as_deref() {
        Some("localtimestamp") => *expr = local(call("now", Vec::new())),
        Some("localtime") => {
            *expr = cast(local(call("now", Vec::new())), DataType::Time(None, TimezoneInfo::None));
        }
        _ => {}
    }
}

/// All seven parts, in their order; those that are not given are 0.
fn parts_of_interval(args: Vec<FunctionArg>) -> Result<Vec<FunctionArg>> {
    const PARTS: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];
    let unknown = || Error::UndefinedFunction {
        message: "function make_interval does not exist with these arguments".to_owned(),
    };
    let mut parts: Vec<Option<FunctionArgExpr>> = vec![None; PARTS.len()];
    for (at, arg) in args.into_iter().enumerate() {
        let (place, value) = match arg {
            FunctionArg::Unnamed(value) => (at, value),
            FunctionArg::Named {
                name,
                arg,
                operator: FunctionArgOperator::RightArrow | FunctionArgOperator::Assignment,
            } => {
                let named = name.value.to_ascii_lowercase();
                (PARTS.iter().position(|part| *part == named).ok_or_else(unknown)?, arg)
            }
            FunctionArg::ExprNamed {
                name: Expr::Identifier(name),
                arg,
                operator: FunctionArgOperator::RightArrow | FunctionArgOperator::Assignment,
            } => {
                let named = name.value.to_ascii_lowercase();
                (PARTS.iter().position(|part| *part == named).ok_or_else(unknown)?, arg)
            }
            _ => return Err(unknown()),
        };
        match parts.get_mut(place) {
            Some(part @ None) => *part = Some(value),
            _ => return Err(unknown()),
        }
    }
    let zero = || FunctionArgExpr::Expr(Expr::value(Value::Number("0".to_owned(), false)));
    Ok(parts.into_iter().map(|part| FunctionArg::Unnamed(part.unwrap_or_else(zero))).collect())
}

/// `interval '…'`, with the fields that it names.
fn of_literal(literal: &Interval) -> Result<Expr> {
    let Some(text) = text(&literal.value) else {
        return Err(not_supported("an interval that is no text"));
    };
    let name = |field: &sqlparser::ast::DateTimeField| field.to_string().to_ascii_lowercase();
    let first = literal.leading_field.as_ref().map(name);
    let last = literal.last_field.as_ref().map(name).or_else(|| first.clone());
    let fields = match (&first, &last) {
        (Some(first), Some(last)) => Some(IntervalFields { first, last }),
        _ => None,
    };
    let digits = literal.fractional_seconds_precision.or(literal.leading_precision);
    let read = interval_text(text, fields, digits.and_then(|digits| u32::try_from(digits).ok()))?;
    if fields.is_none() && digits.is_none() && depends_on_style(text) {
        return Ok(read_later(text));
    }
    Ok(interval(read))
}

/// The text that [`read_later`] was given.
pub fn later_text(expr: &Expr) -> Option<String> {
    let Expr::Function(function) = expr else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))]
            if super::is_named(&function.name, "sluice_interval") =>
        {
            text(argument).map(str::to_owned)
        }
        _ => None,
    }
}

/// The interval that `text` is in PostgreSQL's own style.
pub fn literal(text: &str) -> Result<Expr> {
    interval_text(text, None, None).map(interval)
}

/// An interval whose text has its meaning when the statement runs.
fn read_later(text: &str) -> Expr {
    call("sluice_interval", vec![Expr::value(Value::SingleQuotedString(text.to_owned()))])
}

/// True for a text whose first sign is that of the whole interval in the style of the standard.
fn depends_on_style(text: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_digit() || letter == '.';
    text.trim().strip_prefix('-').is_some_and(|rest| {
        let numbers = rest.split(|letter| !is_part(letter)).filter(|number| !number.is_empty()).count();
        numbers > 1 && !rest.contains('+')
    })
}

fn fields_of(named: &str) -> IntervalFields<'_> {
    match named.split_once(" to ") {
        Some((first, last)) => IntervalFields { first, last },
        None => IntervalFields { first: named, last: named },
    }
}

fn interval(text: String) -> Expr {
    Expr::Interval(Interval {
        value: Box::new(Expr::value(Value::SingleQuotedString(text))),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    })
}

fn text(expr: &Expr) -> Option<&str> {
    let Expr::Value(value) = expr else { return None };
    match &value.value {
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
        _ => None,
    }
}

fn not_supported(what: &str) -> Error {
    Error::NotSupported { message: format!("{what} is not supported") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(sql: &str) -> String {
        let dialect = sqlparser::dialect::PostgreSqlDialect {};
        let parser = sqlparser::parser::Parser::new(&dialect).try_with_sql(sql);
        let mut expr = parser.and_then(|mut parser| parser.parse_expr()).expect("parsed");
        adapt(&mut expr).expect("adapted");
        expr.to_string()
    }

    #[test]
    fn zones_and_intervals_are_told() {
        assert_eq!(adapted("t AT TIME ZONE 'EST'"), "timezone('EST', t)");
        assert_eq!(adapted("interval '1-2'"), "INTERVAL '14 months 0 days 0 microseconds'");
        assert_eq!(adapted("interval '90' day"), "INTERVAL '0 months 90 days 0 microseconds'");
        assert_eq!(adapted("make_interval(days => 3, secs => 1.5)"), "make_interval(0, 0, 0, 3, 0, 0, 1.5)");
    }
}
