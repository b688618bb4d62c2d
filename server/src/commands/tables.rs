//! `CREATE EXTERNAL TABLE` and `DROP TABLE`: tables over files that lie somewhere already.

use std::sync::Arc;

use catalog::{Change, DEFAULT_SCHEMA, TableDefinition, TableName, table};
use datafusion::catalog::MemoryCatalogProviderList;
use engine::session_state::{Destination, StatementSettings};
use engine::{Error, Result};

use super::{Outcome, change, change_from, current, metadata, must_own_table, snapshot};
use crate::coordinator::Coordinator;
use crate::locations;
use crate::pg_catalog;
use crate::session::{Notice, Session};
use crate::sql::{ExternalTable, TableDrop};

const TAG: &str = "CREATE TABLE";
const DROP_TAG: &str = "DROP TABLE";

/// Opens the files, and keeps what they are as a table.
pub async fn create(
    coordinator: &Coordinator,
    session: &mut Session,
    wanted: &ExternalTable,
) -> Result<Outcome> {
    let name = name_for(wanted)?;
    if !current(&metadata(coordinator, session), session)?.is_superuser {
        // Who names a location reads what lies there, whatever was granted on the tables over it.
        let message = "must be superuser to create an external table".to_owned();
        return Err(Error::PermissionDenied { message });
    }
    if snapshot(coordinator, session).table(&name).is_some() {
        return exists(wanted, name);
    }
    session.check_may_write("CREATE EXTERNAL TABLE")?;
    let location = locations::resolve(&wanted.location)?;
    locations::check_allowed(&location, &coordinator.config.server.locations)?;
    let mut definition = open(coordinator, name.clone(), location.to_string()).await?;
    check_partitions(&definition, &wanted.partitioned_by)?;
    // Another session may have made it while the files were opened; from here on a conflict is told.
    let seen = snapshot(coordinator, session);
    if seen.table(&name).is_some() {
        return exists(wanted, name);
    }
    definition.oid = seen.free_oid(definition.oid);
    let changes = vec![Change::PutTable(Arc::new(definition))];
    change_from(coordinator, session, Arc::clone(seen.metadata()), changes, "CREATE EXTERNAL TABLE").await?;
    Ok(Outcome::tag(TAG))
}

fn exists(wanted: &ExternalTable, name: TableName) -> Result<Outcome> {
    if !wanted.if_not_exists {
        return Err(Error::DuplicateTable { name: name.table });
    }
    let message = format!("relation \"{}\" already exists, skipping", name.table);
    Ok(Outcome::with_notices(TAG, vec![Notice::info("42P07", message)]))
}

/// The schema must be one that users' tables live in.
fn name_for(wanted: &ExternalTable) -> Result<TableName> {
    let schema = match &wanted.schema {
        Some(schema) => schema.clone(),
        None => DEFAULT_SCHEMA.to_owned(),
    };
    if pg_catalog::is_system_table(None, &wanted.table) {
        let message = format!("\"{}\" is the name of a system relation", wanted.table);
        return Err(Error::ReservedName { message });
    }
    if schema == DEFAULT_SCHEMA {
        return Ok(TableName::new(schema, wanted.table.as_str()));
    }
    if pg_catalog::schema_oid(&schema) != 0 {
        let message = format!("permission denied for schema {schema}");
        return Err(Error::PermissionDenied { message });
    }
    Err(Error::UndefinedSchema { name: schema, position: None })
}

/// Reads the footers, away from the threads that clients are heard on.
async fn open(coordinator: &Coordinator, name: TableName, location: String) -> Result<TableDefinition> {
    let settings = StatementSettings {
        target_partitions: coordinator.config.server_threads(),
        time_zone: "UTC".to_owned(),
        broadcast_bytes_max: 0,
        prefer_hash_join: true,
    };
    let catalogs = Arc::new(MemoryCatalogProviderList::new());
    let state = coordinator.sessions.for_statement(Destination::Local, catalogs, &settings);
    let opened =
        coordinator.planning.spawn(async move { table::parquet::open(&state, name, &location).await }).await;
    let definition = opened.map_err(|error| match error.is_panic() {
        // A footer that lies about its length was seen to end the reader so.
        true => Error::CorruptFile { message: "no file of the location can be read as Parquet".into() },
        false => Error::ShuttingDown,
    })?;
    Ok(definition?)
}

/// `PARTITIONED BY` names the folders' columns; what it says must be so.
fn check_partitions(definition: &TableDefinition, wanted: &[String]) -> Result<()> {
    let found: Vec<&str> = definition.partition_columns.iter().map(|(name, _)| name.as_str()).collect();
    if wanted.is_empty() || found.iter().copied().eq(wanted.iter().map(String::as_str)) {
        return Ok(());
    }
    let message = match found.as_slice() {
        [] => "the location has no folders of the form column=value".to_owned(),
        found => format!("the location is partitioned by {}", found.join(", ")),
    };
    Err(Error::InvalidTableDefinition { message })
}

/// Forgets tables; their files stay.
pub async fn drop(coordinator: &Coordinator, session: &mut Session, wanted: &TableDrop) -> Result<Outcome> {
    let (mut changes, mut notices) = (Vec::new(), Vec::new());
    for (schema, table) in &wanted.names {
        let metadata = metadata(coordinator, session);
        let path = || session.settings.search_path();
        let schemas = schema.clone().map_or_else(path, |schema| vec![schema]);
        let names: Vec<_> =
            schemas.into_iter().map(|schema| TableName::new(schema, table.as_str())).collect();
        if let Some(name) = names.iter().find(|name| metadata.tables.contains_key(*name)) {
            must_own_table(&metadata, session, name)?;
            changes.push(Change::DropTable(name.clone()));
            continue;
        }
        let snapshot = snapshot(coordinator, session);
        if names.iter().any(|name| snapshot.table(name).is_some()) {
            let message =
                format!("table \"{table}\" was found in a location of the server and cannot be dropped");
            return Err(Error::NotSupported { message });
        }
        if !wanted.if_exists {
            return Err(Error::UndefinedTable { name: table.clone(), position: None });
        }
        notices.push(Notice::info("00000", format!("table \"{table}\" does not exist, skipping")));
    }
    if !changes.is_empty() {
        change(coordinator, session, changes, DROP_TAG).await?;
    }
    Ok(Outcome::with_notices(DROP_TAG, notices))
}
