//! `CREATE VIEW` and `DROP VIEW`.

use std::collections::HashSet;
use std::sync::Arc;

use catalog::{Change, Metadata, NewView, StringLayout, TableDefinition, TableName};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use engine::{Error, Result};

use super::managed::{self, Named};
use super::{Outcome, change_from, must_own_table, owned};
use crate::coordinator::Coordinator;
use crate::query::{self, QueryContext, SOURCE};
use crate::session::{Session, TEMPORARY_SCHEMA};
use crate::sql::{self, SessionFacts, ViewMake};

const TAG: &str = "CREATE VIEW";

/// Makes a view, or puts it in the place of one.
pub async fn create(
    coordinator: &Arc<Coordinator>,
    session: &mut Session,
    make: &ViewMake,
) -> Result<Outcome> {
    session.check_may_write(TAG)?;
    let context = QueryContext::new(coordinator, session, Arc::clone(&make.text), Default::default());
    let replaced = replaced(&context, session, make)?;
    let name = match &replaced {
        Some(view) => view.name.clone(),
        None => match managed::name_for(
            &context,
            make.schema.as_deref(),
            &make.view,
            (make.if_not_exists, false),
        )? {
            Named::Free(name) => name,
            Named::Exists(notice) => return Ok(Outcome::with_notices(TAG, vec![notice])),
        },
    };
    if make.query.parameters.keys().next().is_some() {
        return Err(Error::UndefinedParameter { name: "$1".to_owned() });
    }
    check_sources(&context, &make.query)?;
    let columns = query::describe(&context, &make.query, &[]).await?.columns;
    let given: Vec<String> = columns.fields().iter().map(|field| field.name().clone()).collect();
    let columns = named_columns(&columns, &make.columns)?;
    if let Some(view) = &replaced {
        check_keeps(&view.file_schema, &columns)?;
    }
    let own =
        |table: &sql::TableReference| context.schema_of(&table.table).as_deref() == Some(TEMPORARY_SCHEMA);
    if make.query.tables.iter().any(own) {
        let message = "views over temporary tables are not supported".to_owned();
        return Err(Error::NotSupported { message });
    }
    let names: Vec<String> = columns.fields().iter().map(|field| field.name().clone()).collect();
    let sql = make.stored_text(&given, &names, |table| context.schema_of(table))?;
    // What is kept must be readable, and not read itself.
    let kept = sql::view_query(&sql, &context.facts)?;
    let seen = Arc::clone(context.snapshot.metadata());
    let over = dependents(&seen, &context.facts, std::slice::from_ref(&name));
    let is_of_view = |table: &sql::TableReference| {
        let schema = table.schema.as_deref().unwrap_or(catalog::DEFAULT_SCHEMA);
        let read = TableName::new(schema, table.table.as_str());
        read == name || over.contains(&read)
    };
    if kept.tables.iter().any(is_of_view) {
        let message = format!("view \"{}\" would read itself", name.table);
        return Err(Error::InvalidObjectDefinition { message });
    }
    let mut changes = vec![Change::PutView(Arc::new(NewView {
        name: name.clone(),
        uuid: engine::new_uuid(),
        sql,
        columns,
    }))];
    if replaced.is_none() {
        changes.push(owned(&seen, session, &name)?);
    }
    change_from(coordinator, session, seen, changes, TAG).await?;
    Ok(Outcome::tag(TAG))
}

/// Refuses what means nothing to others, or will not for long: tables of the session's own, and earlier snapshots.
pub fn check_sources(context: &QueryContext, query: &sql::Query) -> Result<()> {
    if let Some(table) = query.tables.iter().find(|table| sql::moment_of(&table.table).is_some()) {
        let message = format!("a view of \"{}\" at an earlier snapshot is not supported", table.shown());
        return Err(Error::NotSupported { message });
    }
    let is_own = |table: &sql::TableReference| match &table.schema {
        Some(schema) => schema == TEMPORARY_SCHEMA,
        None => context.schema_of(&table.table).as_deref() == Some(TEMPORARY_SCHEMA),
    };
    if query.tables.iter().any(is_own) {
        let message = "views over temporary tables are not supported".to_owned();
        return Err(Error::NotSupported { message });
    }
    Ok(())
}

/// The view that is to be replaced.
fn replaced(
    context: &QueryContext,
    session: &Session,
    make: &ViewMake,
) -> Result<Option<Arc<TableDefinition>>> {
    if !make.or_replace {
        return Ok(None);
    }
    let mut path = context.search_path.iter().filter(|schema| *schema != TEMPORARY_SCHEMA);
    let first = || path.next().cloned().unwrap_or_default();
    let schema = make.schema.clone().unwrap_or_else(first);
    let Some(found) = context.snapshot.table(&TableName::new(schema, make.view.as_str())) else {
        return Ok(None);
    };
    if found.view.is_none() {
        return Err(Error::WrongObjectType { message: format!("\"{}\" is not a view", make.view) });
    }
    let metadata = context.snapshot.metadata();
    managed::must_be_able_to_create(metadata, context.role_oid, &found.name)?;
    must_own_table(metadata, session, &found.name)?;
    Ok(Some(Arc::clone(found)))
}

/// The query's columns as those of a relation, the first of them under the names in `names`.
pub fn named_columns(columns: &Schema, names: &[String]) -> Result<SchemaRef> {
    if names.len() > columns.fields().len() {
        let message = "CREATE VIEW specifies more column names than columns".to_owned();
        return Err(Error::Syntax { message, position: None });
    }
    let named = |(at, field): (usize, &Arc<Field>)| {
        let mut metadata = field.metadata().clone();
        metadata.remove(SOURCE);
        let name = names.get(at).unwrap_or(field.name());
        Field::new(name, field.data_type().clone(), true).with_metadata(metadata)
    };
    let columns = Schema::new(columns.fields().iter().enumerate().map(named).collect::<Vec<_>>());
    let mut seen = HashSet::new();
    match columns.fields().iter().find(|field| !seen.insert(field.name())) {
        Some(twice) => Err(managed::duplicate_column(twice.name())),
        None => Ok(StringLayout::Plain.apply(&columns)),
    }
}

/// A view keeps the columns it has: others read them.
fn check_keeps(old: &Schema, new: &Schema) -> Result<()> {
    let wrong = |message: String| Err(Error::InvalidTableDefinition { message });
    if new.fields().len() < old.fields().len() {
        return wrong("cannot drop columns from view".to_owned());
    }
    for (old, new) in old.fields().iter().zip(new.fields()) {
        if old.name() != new.name() {
            let (old, new) = (old.name(), new.name());
            return wrong(format!("cannot change name of view column \"{old}\" to \"{new}\""));
        }
        if old.data_type() != new.data_type() {
            return wrong(format!("cannot change data type of view column \"{}\"", old.name()));
        }
    }
    Ok(())
}

/// The views and materialized views whose queries name `relation`, with their texts.
pub fn readers(metadata: &Metadata, facts: &SessionFacts, relation: &TableName) -> Vec<(TableName, String)> {
    let reads = |text: &str| {
        let Ok(query) = sql::view_query(text, facts) else { return false };
        query.tables.iter().any(|table| {
            table.table == relation.table
                && table.schema.as_deref().unwrap_or(catalog::DEFAULT_SCHEMA) == relation.schema
        })
    };
    let views = metadata.tables.values().filter_map(|table| Some((&table.name, &table.view.as_ref()?.sql)));
    let kept = metadata.materialized.iter().map(|(name, of)| (name, &of.sql));
    let all = views.chain(kept).filter(|(_, text)| reads(text));
    all.map(|(name, text)| (name.clone(), text.clone())).collect()
}

/// The views that read any of `names`, and those that read them, however far.
pub fn dependents(metadata: &Metadata, facts: &SessionFacts, names: &[TableName]) -> Vec<TableName> {
    let mut found: Vec<TableName> = Vec::new();
    let mut looked_at = names.to_vec();
    while let Some(name) = looked_at.pop() {
        for (view, _) in readers(metadata, facts, &name) {
            if !names.contains(&view) && !found.contains(&view) {
                found.push(view.clone());
                looked_at.push(view);
            }
        }
    }
    found
}
