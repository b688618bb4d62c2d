//! What the session that asks has prepared and declared.

use datafusion::arrow::array::RecordBatch;

use super::View;
use super::columns::Columns;
use super::shapes::PG_CATALOG;

/// The session's open cursors. None of them can be read backwards.
pub fn pg_cursors(view: &View) -> RecordBatch {
    let cursors = view.context.cursors.list();
    let told = || cursors.iter().map(|(_, cursor)| cursor);
    Columns::new()
        .text("name", cursors.iter().map(|(name, _)| name))
        .text("statement", told().map(|cursor| &*cursor.statement))
        .bool("is_holdable", told().map(|cursor| cursor.is_held))
        .bool("is_binary", told().map(|cursor| cursor.is_binary))
        .all_bool("is_scrollable", cursors.len(), false)
        .time("creation_time", told().map(|cursor| Some(cursor.declared_at)))
        .finish_as(PG_CATALOG, "pg_cursors")
}

/// The session's prepared statements that have a name.
pub fn pg_prepared_statements(view: &View) -> RecordBatch {
    let statements = view.context.prepared.list();
    let types = |oids: &[u32]| oids.iter().copied().map(i64::from).collect::<Vec<i64>>();
    // As in PostgreSQL, a plan is for certain values only where there are any.
    let plans = |are_for_values: bool| {
        statements.iter().map(move |s| {
            let has_parameters = !s.prepared.parameter_oids.is_empty();
            if has_parameters == are_for_values { s.bound } else { 0 }
        })
    };
    Columns::new()
        .text("name", statements.iter().map(|s| &s.name))
        .text("statement", statements.iter().map(|s| &*s.statement))
        .time("prepare_time", statements.iter().map(|s| Some(s.prepared_at)))
        .regtypes("parameter_types", statements.iter().map(|s| types(&s.prepared.parameter_oids)))
        .bool("from_sql", statements.iter().map(|s| s.is_from_sql))
        .int8("generic_plans", plans(false))
        .int8("custom_plans", plans(true))
        .finish_as(PG_CATALOG, "pg_prepared_statements")
}
