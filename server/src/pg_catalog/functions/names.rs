//! Names of things and their identifiers: the `reg*` types, and what is visible without a schema.

use datafusion::error::Result as DataFusionResult;
use engine::Error;

use super::super::objects::{relation_name, relation_oid};
use super::super::shapes::functions;
use super::super::{PG_CATALOG_OID, View, database, is_system_schema, schema_oid, types};
use super::{Body, Definition, Outcome, Value, failed, function, of_nulls};

/// The functions of this family.
pub const FUNCTIONS: &[Definition] = &[
    function("pg_table_is_visible", 1..=1, Body::Bool(is_visible)),
    function("pg_type_is_visible", 1..=1, Body::Bool(is_visible_type)),
    function("pg_function_is_visible", 1..=1, Body::Bool(always)),
    function("pg_operator_is_visible", 1..=1, Body::Bool(always)),
    function("pg_opclass_is_visible", 1..=1, Body::Bool(always)),
    function("pg_opfamily_is_visible", 1..=1, Body::Bool(always)),
    function("pg_collation_is_visible", 1..=1, Body::Bool(always)),
    function("pg_conversion_is_visible", 1..=1, Body::Bool(always)),
    function("pg_statistics_obj_is_visible", 1..=1, Body::Bool(always)),
    function("pg_ts_config_is_visible", 1..=1, Body::Bool(always)),
    function("pg_ts_dict_is_visible", 1..=1, Body::Bool(always)),
    function("pg_ts_parser_is_visible", 1..=1, Body::Bool(always)),
    function("pg_ts_template_is_visible", 1..=1, Body::Bool(always)),
    of_nulls("format_type", 1..=2, Body::Text(format_type)),
    of_nulls("pg_typeof", 1..=1, Body::TypeOf),
    function("to_regclass", 1..=1, Body::Oid(to_regclass)),
    function("to_regtype", 1..=1, Body::Oid(to_regtype)),
    function("to_regproc", 1..=1, Body::Oid(to_regproc)),
    function("to_regnamespace", 1..=1, Body::Oid(to_regnamespace)),
    function("to_regrole", 1..=1, Body::Oid(to_regrole)),
    // What casts become: see sql/dialect.rs.
    function("sluice_regclass", 1..=1, Body::Oid(regclass)),
    function("sluice_regtype", 1..=1, Body::Oid(regtype)),
    function("sluice_regproc", 1..=1, Body::Oid(regproc)),
    function("sluice_regnamespace", 1..=1, Body::Oid(regnamespace)),
    function("sluice_regrole", 1..=1, Body::Oid(regrole)),
    function("sluice_oid", 1..=1, Body::Oid(oid)),
    function("sluice_regclass_text", 1..=1, Body::Text(regclass_text)),
    function("sluice_regtype_text", 1..=1, Body::Text(regtype_text)),
    function("sluice_regtypes_text", 1..=1, Body::Texts(regtypes_text)),
    function("sluice_regproc_text", 1..=1, Body::Text(regproc_text)),
    function("sluice_regnamespace_text", 1..=1, Body::Text(regnamespace_text)),
    function("sluice_regrole_text", 1..=1, Body::Text(regrole_text)),
];

fn always(_: &View, _: &[Value]) -> Outcome<bool> {
    Ok(Some(true))
}

fn is_visible_type(_: &View, call: &[Value]) -> Outcome<bool> {
    Ok(call[0].int().and_then(|oid| u32::try_from(oid).ok()).map(types::is_visible))
}

fn is_visible(view: &View, call: &[Value]) -> Outcome<bool> {
    let Some((schema, _)) = call[0].int().and_then(|oid| relation_name(view, oid)) else { return Ok(None) };
    Ok(Some(schema == PG_CATALOG_OID || view.context.search_path.iter().any(|s| schema_oid(s) == schema)))
}

fn format_type(_: &View, call: &[Value]) -> Outcome<String> {
    let modifier = call.get(1).and_then(Value::int).unwrap_or(-1);
    Ok(call[0].int().map(|oid| types::format(oid, modifier)))
}

/// `schema.name` or `name`, folded, with quotes taken off.
fn split(text: &str) -> (Option<String>, String) {
    let mut parts: Vec<String> = Vec::new();
    let mut part = String::new();
    let mut is_quoted = false;
    let mut letters = text.trim().chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                part.push('"');
                letters.next();
            }
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => parts.push(std::mem::take(&mut part)),
            other if is_quoted => part.push(other),
            other => part.push(other.to_ascii_lowercase()),
        }
    }
    (parts.pop(), part)
}

/// The identifier that a number or a name stands for.
fn lookup(call: &[Value], find: impl Fn(Option<&str>, &str) -> Option<i64>) -> (Option<i64>, String) {
    match &call[0] {
        Value::Text(text) if text.trim().parse::<i64>().is_err() => {
            let (schema, name) = split(text);
            (find(schema.as_deref(), &name), text.clone())
        }
        other => (other.int(), String::new()),
    }
}

fn to_regclass(view: &View, call: &[Value]) -> Outcome<i64> {
    Ok(lookup(call, |schema, name| relation_oid(view, schema, name)).0)
}

fn type_oid(text: &str) -> Option<i64> {
    types::by_written_name(text).map(i64::from)
}

fn to_regtype(_: &View, call: &[Value]) -> Outcome<i64> {
    Ok(match &call[0] {
        Value::Text(text) => text.trim().parse().ok().or_else(|| type_oid(text)),
        other => other.int(),
    })
}

fn to_regproc(_: &View, call: &[Value]) -> Outcome<i64> {
    Ok(call[0].text().and_then(|name| functions().oid(&name)))
}

fn to_regnamespace(view: &View, call: &[Value]) -> Outcome<i64> {
    let is_known = |name: &str| view.snapshot.has_schema(name) || is_system_schema(name);
    let known = |name: &str| is_known(name).then(|| schema_oid(name));
    Ok(lookup(call, |_, name| known(name)).0)
}

fn to_regrole(view: &View, call: &[Value]) -> Outcome<i64> {
    let roles = &view.snapshot.metadata().roles;
    Ok(lookup(call, |_, name| roles.get(name).map(|role| role.oid.into())).0)
}

/// A name that must stand for something.
fn required(found: Option<i64>, error: impl FnOnce(String) -> Error, call: &[Value]) -> Outcome<i64> {
    match found {
        Some(oid) => Ok(Some(oid)),
        None => Err(failed(error(call[0].text().unwrap_or_default()))),
    }
}

fn undefined(kind: &'static str) -> impl FnOnce(String) -> Error {
    move |name| Error::UndefinedObject { message: format!("{kind} \"{name}\" does not exist") }
}

/// The number of a relation that must be there.
pub(super) fn regclass(view: &View, call: &[Value]) -> Outcome<i64> {
    required(to_regclass(view, call)?, |name| Error::UndefinedTable { name, position: None }, call)
}

fn regtype(view: &View, call: &[Value]) -> Outcome<i64> {
    required(to_regtype(view, call)?, undefined("type"), call)
}

fn regproc(view: &View, call: &[Value]) -> Outcome<i64> {
    let missing = |name| Error::UndefinedFunction { message: format!("function \"{name}\" does not exist") };
    required(to_regproc(view, call)?, missing, call)
}

fn regnamespace(view: &View, call: &[Value]) -> Outcome<i64> {
    let missing = |name| Error::UndefinedSchema { name, position: None };
    required(to_regnamespace(view, call)?, missing, call)
}

fn regrole(view: &View, call: &[Value]) -> Outcome<i64> {
    required(to_regrole(view, call)?, undefined("role"), call)
}

/// `x::oid` of what may be a number, its text, or a function's name.
fn oid(_: &View, call: &[Value]) -> Outcome<i64> {
    let found = call[0].int().or_else(|| call[0].text().and_then(|name| functions().oid(&name)));
    required(
        found,
        |text| Error::InvalidText { message: format!("invalid input syntax for type oid: \"{text}\"") },
        call,
    )
}

fn regclass_text(view: &View, call: &[Value]) -> Outcome<String> {
    let Some(oid) = regclass(view, call)? else { return Ok(None) };
    let quote = catalog::identifier::quote;
    Ok(Some(match relation_name(view, oid) {
        Some((schema, name)) if is_visible(view, &[Value::Int(oid)])? == Some(true) || schema == 0 => {
            quote(&name)
        }
        Some((schema, name)) => format!("{}.{}", quote(&schema_name(schema)), quote(&name)),
        None if oid == 0 => "-".to_owned(),
        None => oid.to_string(),
    }))
}

fn schema_name(oid: i64) -> String {
    let known = database::SCHEMAS.iter().find(|(_, schema)| *schema == oid);
    known.map_or_else(|| oid.to_string(), |(name, _)| (*name).to_owned())
}

fn regtype_text(view: &View, call: &[Value]) -> Outcome<String> {
    Ok(regtype(view, call)?.map(|oid| if oid == 0 { "-".to_owned() } else { types::format(oid, -1) }))
}

fn regtypes_text(_: &View, call: &[Value]) -> Outcome<Vec<String>> {
    let Value::List(oids) = &call[0] else { return Ok(None) };
    Ok(Some(oids.iter().filter_map(Value::int).map(|oid| types::format(oid, -1)).collect()))
}

fn regproc_text(view: &View, call: &[Value]) -> Outcome<String> {
    Ok(regproc(view, call)?.map(|oid| functions().name(oid)))
}

fn regnamespace_text(view: &View, call: &[Value]) -> Outcome<String> {
    Ok(regnamespace(view, call)?.map(schema_name))
}

fn regrole_text(view: &View, call: &[Value]) -> DataFusionResult<Option<String>> {
    let Some(oid) = regrole(view, call)? else { return Ok(None) };
    let role = u32::try_from(oid).ok().and_then(|oid| view.snapshot.metadata().role_by_oid(oid));
    Ok(Some(role.map_or_else(|| oid.to_string(), |role| catalog::identifier::quote(&role.name))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_and_folded() {
        assert_eq!(split("Public.\"My.Table\""), (Some("public".into()), "My.Table".into()));
        assert_eq!(split("orders"), (None, "orders".into()));
    }
}
