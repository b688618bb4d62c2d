//! Text, arrays and JSON as clients build them.

use engine::Error;
use engine::functions::floats;

use super::super::View;
use super::format::format;
use super::identifiers::parse_ident;
use super::{Body, Definition, Outcome, Value, failed, function, of_nulls};

/// The most arguments of a function that takes any number.
const ARGUMENTS_MAX: usize = 64;

/// The functions of this family.
pub const FUNCTIONS: &[Definition] = &[
    function("quote_ident", 1..=1, Body::Text(quote_ident)),
    function("quote_literal", 1..=1, Body::Text(quote_literal)),
    of_nulls("quote_nullable", 1..=1, Body::Text(quote_nullable)),
    of_nulls("format", 1..=ARGUMENTS_MAX, Body::Text(format)),
    function("parse_ident", 1..=2, Body::Texts(parse_ident)),
    of_nulls("json_build_object", 0..=ARGUMENTS_MAX, Body::Named("json", json_object)),
    of_nulls("jsonb_build_object", 0..=ARGUMENTS_MAX, Body::Named("json", json_object)),
    of_nulls("json_build_array", 0..=ARGUMENTS_MAX, Body::Named("json", json_array)),
    of_nulls("to_json", 1..=1, Body::Named("json", to_json)),
    of_nulls("to_jsonb", 1..=1, Body::Named("json", to_json)),
    // What json_agg becomes, over array_agg: see sql/dialect.rs.
    of_nulls("sluice_json_items", 1..=1, Body::Named("json", json_items)),
];

fn quote_ident(_: &View, call: &[Value]) -> Outcome<String> {
    Ok(call[0].text().map(|text| catalog::identifier::quote(&text)))
}

/// `text` in quotes.
pub fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

fn quote_literal(_: &View, call: &[Value]) -> Outcome<String> {
    Ok(call[0].text().map(|text| literal(&text)))
}

fn quote_nullable(_: &View, call: &[Value]) -> Outcome<String> {
    Ok(Some(call[0].text().map_or_else(|| "NULL".to_owned(), |text| literal(&text))))
}

/// A value as JSON. Text that a `json_*` function made is told from other text by its look: catalog
/// values never begin with a brace and end with one.
fn json(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Int(number) => number.to_string(),
        // JSON has no such numbers.
        Value::Float(number) if !number.is_finite() => format!("\"{}\"", floats::double_shown(*number)),
        Value::Float(number) => floats::double_shown(*number),
        Value::Number(digits) => digits.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::List(items) => format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(",")),
        Value::Text(text) => {
            let is_json = (text.starts_with('{') && text.ends_with('}')
                || text.starts_with('[') && text.ends_with(']'))
                && serde_json::from_str::<serde_json::Value>(text).is_ok();
            if is_json { text.clone() } else { serde_json::Value::from(text.as_str()).to_string() }
        }
    }
}

fn json_object(_: &View, call: &[Value]) -> Outcome<String> {
    let invalid = |message: String| failed(Error::InvalidParameterValue { message });
    if !call.len().is_multiple_of(2) {
        return Err(invalid("argument list must have even number of elements".to_owned()));
    }
    let pair = |(at, pair): (usize, &[Value])| match &pair[0] {
        Value::Null => Err(invalid(format!("argument {} cannot be null", 2 * at + 1))),
        Value::List(_) => Err(invalid("key value must be scalar, not array, composite, or json".to_owned())),
        key => {
            let key = serde_json::Value::from(key.text().unwrap_or_default()).to_string();
            Ok(format!("{key} : {}", json(&pair[1])))
        }
    };
    let pairs = call.chunks(2).enumerate().map(pair).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(format!("{{{}}}", pairs.join(", "))))
}

fn json_array(_: &View, call: &[Value]) -> Outcome<String> {
    Ok(Some(format!("[{}]", call.iter().map(json).collect::<Vec<_>>().join(", "))))
}

fn to_json(_: &View, call: &[Value]) -> Outcome<String> {
    Ok(if call[0].is_null() { None } else { Some(json(&call[0])) })
}

fn json_items(_: &View, call: &[Value]) -> Outcome<String> {
    Ok(match &call[0] {
        Value::List(items) => Some(format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(", "))),
        _ => None,
    })
}
