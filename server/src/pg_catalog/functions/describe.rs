//! What things are: their definitions, comments and sizes.

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::Int64Type;
use engine::Error;

use super::super::objects::key_definition;
use super::super::shapes::static_rows;
use super::super::{View, database, types};
use super::names::regclass;
use super::{Body, Definition, Outcome, Value, failed, function, of_nulls};

/// The functions of this family.
pub const FUNCTIONS: &[Definition] = &[
    function("pg_get_userbyid", 1..=1, Body::Named("name", owner)),
    function("pg_encoding_to_char", 1..=1, Body::Named("name", encoding_name)),
    function("pg_char_to_encoding", 1..=1, Body::Int4(encoding_number)),
    function("pg_get_expr", 2..=3, Body::Text(expression)),
    function("pg_get_indexdef", 1..=3, Body::Text(index_definition)),
    function("pg_get_constraintdef", 1..=2, Body::Text(constraint_definition)),
    function("pg_get_viewdef", 1..=2, Body::Text(view_definition)),
    function("pg_get_ruledef", 1..=2, Body::Text(nothing)),
    function("pg_get_triggerdef", 1..=2, Body::Text(nothing)),
    function("pg_get_functiondef", 1..=1, Body::Text(nothing)),
    function("pg_get_function_sqlbody", 1..=1, Body::Text(nothing)),
    function("pg_get_function_result", 1..=1, Body::Text(function_result)),
    function("pg_get_function_arguments", 1..=1, Body::Text(function_arguments)),
    function("pg_get_function_identity_arguments", 1..=1, Body::Text(function_arguments)),
    function("pg_get_serial_sequence", 2..=2, Body::Text(nothing)),
    function("pg_get_partkeydef", 1..=1, Body::Text(nothing)),
    function("pg_get_partition_constraintdef", 1..=1, Body::Text(nothing)),
    function("pg_get_statisticsobjdef_columns", 1..=1, Body::Text(nothing)),
    function("pg_get_replica_identity_index", 1..=1, Body::Text(nothing)),
    function("pg_relation_is_publishable", 1..=1, Body::Bool(never)),
    function("pg_relation_is_updatable", 2..=2, Body::Int4(|_, _| Ok(Some(0)))),
    function("pg_column_is_updatable", 3..=3, Body::Bool(never)),
    function("obj_description", 1..=2, Body::Text(object_comment)),
    function("col_description", 2..=2, Body::Text(column_comment)),
    function("shobj_description", 2..=2, Body::Text(object_comment)),
    function("pg_table_size", 1..=1, Body::Int8(table_size)),
    function("pg_relation_size", 1..=2, Body::Int8(table_size)),
    function("pg_total_relation_size", 1..=1, Body::Int8(table_size)),
    function("pg_indexes_size", 1..=1, Body::Int8(|_, _| Ok(Some(0)))),
    function("pg_database_size", 1..=1, Body::Int8(database_size)),
    function("pg_tablespace_size", 1..=1, Body::Int8(database_size)),
    function("pg_tablespace_location", 1..=1, Body::Text(|_, _| Ok(Some(String::new())))),
    of_nulls("getdatabaseencoding", 0..=0, Body::Named("name", |_, _| Ok(Some("UTF8".into())))),
    function("pg_partition_ancestors", 1..=1, Body::Oid(|_, _| Ok(None))),
    function("pg_partition_root", 1..=1, Body::Oid(|_, _| Ok(None))),
    function("pg_size_pretty", 1..=1, Body::Text(size_pretty)),
    of_nulls("pg_stat_get_numscans", 1..=1, Body::Int8(|_, _| Ok(Some(0)))),
    function("pg_stat_get_live_tuples", 1..=1, Body::Int8(live_rows)),
    function("pg_stat_get_dead_tuples", 1..=1, Body::Int8(|_, _| Ok(Some(0)))),
];

fn nothing(_: &View, _: &[Value]) -> Outcome<String> {
    Ok(None)
}

/// No column of the catalog holds an expression, and PostgreSQL reads none from a text.
fn expression(_: &View, _: &[Value]) -> Outcome<String> {
    Err(failed(Error::NotSupported { message: "cannot accept a value of type pg_node_tree".to_owned() }))
}

fn view_definition(view: &View, call: &[Value]) -> Outcome<String> {
    // By number, or by name.
    let table = regclass(view, call)?.and_then(|oid| view.snapshot.table_by_oid(oid));
    let kept = |name| view.snapshot.metadata().materialized.get(name).map(|of| of.sql.as_str());
    let sql = table.and_then(|table| match &table.view {
        Some(view) => Some(view.sql.as_str()),
        None => kept(&table.name),
    });
    Ok(sql.map(|sql| format!(" {sql};")))
}

fn never(_: &View, _: &[Value]) -> Outcome<bool> {
    Ok(Some(false))
}

fn owner(view: &View, call: &[Value]) -> Outcome<String> {
    let oid = call[0].int().unwrap_or_default();
    let role = u32::try_from(oid).ok().and_then(|oid| view.snapshot.metadata().role_by_oid(oid));
    Ok(Some(role.map_or_else(|| format!("unknown (OID={oid})"), |role| role.name.clone())))
}

/// Numbers of PostgreSQL's encodings (`pg_enc`): UTF8 is the one there is.
const UTF8: i64 = 6;

fn encoding_name(_: &View, call: &[Value]) -> Outcome<String> {
    Ok(Some(match call[0].int() {
        Some(UTF8) => "UTF8".to_owned(),
        Some(0) => "SQL_ASCII".to_owned(),
        _ => String::new(),
    }))
}

fn encoding_number(_: &View, call: &[Value]) -> Outcome<i32> {
    let name = call[0].text().unwrap_or_default().to_ascii_uppercase();
    Ok(Some(if name == "UTF8" || name == "UTF-8" { UTF8 as i32 } else { -1 }))
}

fn quoted(columns: &[String]) -> String {
    columns.iter().map(|column| catalog::identifier::quote(column)).collect::<Vec<_>>().join(", ")
}

fn index_definition(view: &View, call: &[Value]) -> Outcome<String> {
    let Some((table, key)) = call[0].int().and_then(|oid| key_definition(view, oid)) else { return Ok(None) };
    let quote = catalog::identifier::quote;
    Ok(match call.get(1).and_then(Value::int) {
        None | Some(0) => Some(format!(
            "CREATE UNIQUE INDEX {} ON {}.{} USING btree ({})",
            quote(&key.name),
            quote(&table.name.schema),
            quote(&table.name.table),
            quoted(&key.columns)
        )),
        Some(column) => usize::try_from(column - 1).ok().and_then(|at| key.columns.get(at)).map(|c| quote(c)),
    })
}

fn constraint_definition(view: &View, call: &[Value]) -> Outcome<String> {
    let found = call[0].int().and_then(|oid| key_definition(view, oid));
    Ok(found.map(|(_, key)| format!("PRIMARY KEY ({}) NOT ENFORCED", quoted(&key.columns))))
}

/// The row of `pg_proc` with that identifier.
fn function_row(call: &[Value]) -> Option<(&'static datafusion::arrow::array::RecordBatch, usize)> {
    let rows = static_rows("pg_proc")?;
    let oids = rows.column(0).as_primitive::<Int64Type>();
    let at = oids.values().binary_search(&call[0].int()?).ok()?;
    Some((rows, at))
}

fn function_result(_: &View, call: &[Value]) -> Outcome<String> {
    Ok(result_text(call))
}

fn result_text(call: &[Value]) -> Option<String> {
    let (rows, at) = function_row(call)?;
    let returns = rows.column_by_name("prorettype").map_or(0, |c| c.as_primitive::<Int64Type>().value(at));
    let is_set = rows.column_by_name("proretset").is_some_and(|c| c.as_boolean().value(at));
    let kind = rows.column_by_name("prokind").map_or("f", |c| c.as_string::<i32>().value(at));
    (kind != "p").then(|| format!("{}{}", if is_set { "SETOF " } else { "" }, types::format(returns, -1)))
}

fn function_arguments(_: &View, call: &[Value]) -> Outcome<String> {
    Ok(arguments_text(call))
}

fn arguments_text(call: &[Value]) -> Option<String> {
    let (rows, at) = function_row(call)?;
    let types_of = |column: &str| -> Option<Vec<i64>> {
        let lists = rows.column_by_name(column)?.as_list::<i32>();
        lists.is_valid(at).then(|| lists.value(at).as_primitive::<Int64Type>().values().to_vec())
    };
    let texts_of = |column: &str| -> Option<Vec<String>> {
        let lists = rows.column_by_name(column)?.as_list::<i32>();
        let item = |items: datafusion::arrow::array::ArrayRef| {
            items.as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned()).collect()
        };
        lists.is_valid(at).then(|| item(lists.value(at)))
    };
    let all = types_of("proallargtypes").or_else(|| types_of("proargtypes")).unwrap_or_default();
    let (names, modes) = (texts_of("proargnames"), texts_of("proargmodes"));
    let argument = |(index, oid): (usize, &i64)| {
        let name = names.as_ref().and_then(|names| names.get(index)).filter(|name| !name.is_empty());
        let mode = modes.as_ref().and_then(|modes| modes.get(index)).map_or("i", String::as_str);
        let mode = match mode {
            "o" => "OUT ",
            "b" => "INOUT ",
            "v" => "VARIADIC ",
            "t" => return None,
            _ => "",
        };
        let name = name.map_or_else(String::new, |name| format!("{} ", catalog::identifier::quote(name)));
        Some(format!("{mode}{name}{}", types::format(*oid, -1)))
    };
    Some(all.iter().enumerate().filter_map(argument).collect::<Vec<_>>().join(", "))
}

fn comment(view: &View, wanted: impl Fn(i64, i64, i32) -> bool) -> Option<String> {
    let mut placed = database::placed_comments(view);
    placed.find(|((class, object, sub), _)| wanted(*class, *object, *sub)).map(|(_, text)| text.to_owned())
}

fn object_comment(view: &View, call: &[Value]) -> Outcome<String> {
    let Some(oid) = call[0].int() else { return Ok(None) };
    let class = call
        .get(1)
        .and_then(Value::text)
        .and_then(|name| super::super::static_class(|_, relation, _| relation == name).map(|(oid, ..)| oid));
    let fits = |found: i64| class.is_none_or(|class| class == found);
    if let Some(text) = comment(view, |class, object, sub| object == oid && sub == 0 && fits(class)) {
        return Ok(Some(text));
    }
    let Some(rows) = static_rows("pg_description") else { return Ok(None) };
    let objects = rows.column(0).as_primitive::<Int64Type>().values();
    let classes = rows.column(1).as_primitive::<Int64Type>().values();
    let found = objects.iter().zip(classes).position(|(object, class)| *object == oid && fits(*class));
    let texts = rows.column(3).as_string::<i32>();
    Ok(found.map(|at| texts.value(at).to_owned()))
}

fn column_comment(view: &View, call: &[Value]) -> Outcome<String> {
    let (Some(oid), Some(column)) = (call[0].int(), call[1].int()) else { return Ok(None) };
    Ok(comment(view, |_, object, sub| object == oid && i64::from(sub) == column))
}

fn table_size(view: &View, call: &[Value]) -> Outcome<i64> {
    let oid = match &call[0] {
        Value::Text(name) => super::super::objects::relation_oid(view, None, name),
        other => other.int(),
    };
    let Some(oid) = oid else { return Ok(None) };
    if let Some(table) = view.snapshot.table_by_oid(oid) {
        return Ok(Some(i64::try_from(table.statistics.file_bytes).unwrap_or(i64::MAX)));
    }
    Ok(super::super::objects::relation_name(view, oid).map(|_| 0))
}

fn database_size(view: &View, _: &[Value]) -> Outcome<i64> {
    let bytes: u64 = view.snapshot.tables().map(|table| table.statistics.file_bytes).sum();
    Ok(Some(i64::try_from(bytes).unwrap_or(i64::MAX)))
}

fn live_rows(view: &View, call: &[Value]) -> Outcome<i64> {
    let table = call[0].int().and_then(|oid| view.snapshot.table_by_oid(oid));
    Ok(table.map(|table| i64::try_from(table.statistics.rows).unwrap_or(i64::MAX)))
}

/// PostgreSQL's rule: the next unit from 10 of the one below, halves rounded up.
fn size_pretty(_: &View, call: &[Value]) -> Outcome<String> {
    let Some(mut size) = call[0].int() else { return Ok(None) };
    for unit in ["bytes", "kB", "MB", "GB"] {
        let limit = if unit == "bytes" { 10 * 1024 } else { 20 * 1024 - 1 };
        if size.abs() < limit {
            let shown = if unit == "bytes" { size } else { (size + 1) / 2 };
            return Ok(Some(format!("{shown} {unit}")));
        }
        // Half units are kept so that the last division can round.
        size = if unit == "bytes" { size >> 9 } else { size >> 10 };
    }
    Ok(Some(format!("{} TB", (size + 1) / 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_described_as_postgres_describes_them() {
        // set_config, generate_series and pg_get_keywords. Texts are those of a PostgreSQL 15.
        for (oid, arguments, result) in [
            (2078, "text, text, boolean", "text"),
            (1067, "integer, integer", "SETOF integer"),
            (
                1686,
                "OUT word text, OUT catcode \"char\", OUT barelabel boolean, OUT catdesc text, OUT baredesc text",
                "SETOF record",
            ),
        ] {
            let call = [Value::Int(oid)];
            assert_eq!(arguments_text(&call).as_deref(), Some(arguments));
            assert_eq!(result_text(&call).as_deref(), Some(result));
        }
        assert_eq!(result_text(&[Value::Int(1)]), None);
    }
}
