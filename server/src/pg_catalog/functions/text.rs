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
    // What is said to be a document, or a text: see sql/dialect/documents.rs.
    function("sluice_document", 1..=1, Body::Named("json", same_text)),
    function("sluice_plain_text", 1..=1, Body::Named("text", same_text)),
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

/// A value as JSON.
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
        Value::Time { json, .. } => format!("\"{json}\""),
        Value::Json(text) => text.clone(),
        Value::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
    }
}

/// A date or a timestamp in the form of ISO 8601, whose zone has its minutes (`JsonEncodeDateTime`).
pub(super) fn with_letter(text: &str) -> String {
    let (time, era) = text.strip_suffix(" BC").map_or((text, ""), |time| (time, " BC"));
    let time = time.replacen(' ', "T", 1);
    let zone = time.find('T').and_then(|at| time[at..].find(['+', '-']).map(|zone| at + zone));
    match zone {
        Some(zone) if !time[zone..].contains(':') => format!("{time}:00{era}"),
        _ => format!("{time}{era}"),
    }
}

fn json_object(_: &View, call: &[Value]) -> Outcome<String> {
    let invalid = |message: String| failed(Error::InvalidParameterValue { message });
    if !call.len().is_multiple_of(2) {
        return Err(invalid("argument list must have even number of elements".to_owned()));
    }
    let pair = |(at, pair): (usize, &[Value])| match &pair[0] {
        Value::Null => Err(invalid(format!("argument {} cannot be null", 2 * at + 1))),
        Value::List(_) | Value::Json(_) => {
            Err(invalid("key value must be scalar, not array, composite, or json".to_owned()))
        }
        key => {
            let key = match key {
                Value::Time { json, .. } => json.clone(),
                other => other.text().unwrap_or_default(),
            };
            let key = serde_json::Value::from(key).to_string();
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

/// True for a text that looks like a document: few texts begin and end so that are none.
pub(super) fn looks_like_json(text: &str) -> bool {
    (text.starts_with('{') && text.ends_with('}') || text.starts_with('[') && text.ends_with(']'))
        && serde_json::from_str::<serde_json::Value>(text).is_ok()
}

/// An item that an aggregate has gathered, which does not say whether it is JSON: it is told by its look.
fn gathered(item: &Value) -> String {
    match item {
        Value::Text(text) if looks_like_json(text) => text.clone(),
        other => json(other),
    }
}

fn same_text(_: &View, call: &[Value]) -> Outcome<String> {
    Ok(call[0].text())
}

fn json_items(_: &View, call: &[Value]) -> Outcome<String> {
    Ok(match &call[0] {
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(gathered).collect();
            Some(format!("[{}]", items.join(", ")))
        }
        _ => None,
    })
}
