//! Primary keys that their owner declares: nothing checks them, clients and BI tools read them.

use catalog::{Change, PrimaryKey, TableName};
use engine::{Error, Result};

use super::{Outcome, change, metadata, must_own_table, role_oid, snapshot};
use crate::coordinator::Coordinator;
use crate::query::check_may_look_into;
use crate::session::{Notice, Session};
use crate::sql::KeyChange;

/// Declares a key, or drops it.
pub async fn run(coordinator: &Coordinator, session: &mut Session, wanted: &KeyChange) -> Result<Outcome> {
    let metadata = metadata(coordinator, session);
    let table = find_table(coordinator, session, wanted.schema.as_deref(), &wanted.table)?;
    super::refuse_temporary(&table, "a primary key")?;
    must_own_table(&metadata, session, &table)?;
    let declared = metadata.primary_keys.get(&table);
    if wanted.columns.is_empty() {
        let is_there = declared.is_some_and(|key| Some(&key.name) == wanted.name.as_ref());
        if !is_there {
            let name = wanted.name.clone().unwrap_or_default();
            let message = format!("constraint \"{name}\" of relation \"{}\" does not exist", table.table);
            if wanted.if_exists {
                let notice = Notice::info("00000", format!("{message}, skipping"));
                return Ok(Outcome::with_notices("ALTER TABLE", vec![notice]));
            }
            return Err(Error::UndefinedObject { message });
        }
        change(coordinator, session, vec![Change::PrimaryKey { table, key: None }], "ALTER TABLE").await?;
        return Ok(Outcome::tag("ALTER TABLE"));
    }
    if declared.is_some() {
        let message = format!("multiple primary keys for table \"{}\" are not allowed", table.table);
        return Err(Error::InvalidTableDefinition { message });
    }
    for column in &wanted.columns {
        check_column(coordinator, session, &table, column)?;
    }
    let name = wanted.name.clone().unwrap_or_else(|| format!("{}_pkey", table.table));
    let key = Some(PrimaryKey { name, columns: wanted.columns.clone() });
    change(coordinator, session, vec![Change::PrimaryKey { table, key }], "ALTER TABLE").await?;
    Ok(Outcome::tag("ALTER TABLE"))
}

/// A table by name, looked up in the session's path when it has no schema (42P01).
pub fn find_table(
    coordinator: &Coordinator,
    session: &Session,
    schema: Option<&str>,
    table: &str,
) -> Result<TableName> {
    let snapshot = snapshot(coordinator, session);
    let metadata = snapshot.metadata();
    check_may_look_into(metadata, role_oid(metadata, session), schema)?;
    let schemas = schema.map_or_else(|| session.search_path(&snapshot), |schema| vec![schema.to_owned()]);
    let names = schemas.into_iter().map(|schema| TableName::new(schema, table));
    let found = names.into_iter().find(|name| snapshot.table(name).is_some());
    found.ok_or_else(|| {
        let name = schema.map_or_else(|| table.to_owned(), |schema| format!("{schema}.{table}"));
        Error::UndefinedTable { name, position: None }
    })
}

/// Fails with 42703 when the table has no such column.
pub fn check_column(
    coordinator: &Coordinator,
    session: &Session,
    table: &TableName,
    column: &str,
) -> Result<()> {
    let snapshot = snapshot(coordinator, session);
    if snapshot.table(table).is_some_and(|table| table.position(column).is_some()) {
        return Ok(());
    }
    Err(Error::UndefinedColumn { column: column.to_owned(), suggestion: None, position: None })
}
