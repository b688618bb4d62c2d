//! `CREATE EXTERNAL TABLE`, `REFRESH TABLE` and `DROP TABLE`: tables over files that lie somewhere already.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use catalog::table::external::{self, Declared, FileFooter};
use catalog::table::file_statistics::FileStatistics;
use catalog::{Change, DEFAULT_SCHEMA, ExternalFiles, Metadata, TableDefinition, TableName};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::MemoryCatalogProviderList;
use datafusion::datasource::listing::ListingTableUrl;
use engine::session_state::{Destination, StatementSettings, Thrift};
use engine::{Error, Result};
use futures::FutureExt;
use url::Url;

use super::{
    Outcome, change, change_from, current, metadata, must_own_schema, must_own_table, role_oid, snapshot,
    views,
};
use crate::coordinator::Coordinator;
use crate::found_tables::Look;
use crate::locations;
use crate::pg_catalog;
use crate::planning::Planned;
use crate::query::check_may_look_into;
use crate::session::{Notice, Session, TEMPORARY_SCHEMA};
use crate::sql::{ExternalTable, FilesAt, RelationKind, TableDrop};

const TAG: &str = "CREATE TABLE";

/// Opens the files, and keeps what they are as a table.
pub async fn create(
    coordinator: &Coordinator,
    session: &mut Session,
    wanted: &ExternalTable,
) -> Result<Outcome> {
    let name = name_for(&metadata(coordinator, session), wanted)?;
    must_be_superuser(coordinator, session, "create an external table")?;
    if is_taken(&snapshot(coordinator, session), &name) {
        return exists(wanted, name);
    }
    session.check_may_write("CREATE EXTERNAL TABLE")?;
    let url = allowed(coordinator, &wanted.files).await?;
    let mut definition = open(coordinator, name.clone(), &url, &wanted.files, &wanted.declared).await?;
    // Another session may have made it while the files were opened; from here on a conflict is told.
    let seen = snapshot(coordinator, session);
    if is_taken(&seen, &name) {
        return exists(wanted, name);
    }
    definition.oid = seen.free_oid(definition.oid);
    let changes = vec![Change::PutTable(Arc::new(definition))];
    change_from(coordinator, session, Arc::clone(seen.metadata()), changes, "CREATE EXTERNAL TABLE").await?;
    Ok(Outcome::tag(TAG))
}

/// Who names a location reads what lies there, whatever was granted on the tables over it.
fn must_be_superuser(coordinator: &Coordinator, session: &Session, what: &str) -> Result<()> {
    match current(&metadata(coordinator, session), session)?.is_superuser {
        true => Ok(()),
        false => Err(Error::PermissionDenied { message: format!("must be superuser to {what}") }),
    }
}

/// True for the name of a table that was made, or of one that was found and can be read: of one that cannot, the
/// statement says how.
fn is_taken(snapshot: &catalog::Snapshot, name: &TableName) -> bool {
    let is_made = snapshot.metadata().tables.contains_key(name);
    is_made || snapshot.table(name).is_some_and(|table| table.unavailable.is_none())
}

fn exists(wanted: &ExternalTable, name: TableName) -> Result<Outcome> {
    if !wanted.if_not_exists {
        return Err(Error::DuplicateTable { name: name.table });
    }
    let message = format!("relation \"{}\" already exists, skipping", name.table);
    Ok(Outcome::with_notices(TAG, vec![Notice::info("42P07", message)]))
}

/// The schema must be one that users' tables live in.
fn name_for(metadata: &Metadata, wanted: &ExternalTable) -> Result<TableName> {
    let schema = wanted.schema.clone().unwrap_or_else(|| DEFAULT_SCHEMA.to_owned());
    if pg_catalog::is_system_table(None, &wanted.table) {
        let message = format!("\"{}\" is the name of a system relation", wanted.table);
        return Err(Error::ReservedName { message });
    }
    if schema == DEFAULT_SCHEMA || metadata.schemas.contains_key(&schema) {
        return Ok(TableName::new(schema, wanted.table.as_str()));
    }
    if pg_catalog::is_system_schema(&schema) {
        let message = format!("permission denied for schema {schema}");
        return Err(Error::PermissionDenied { message });
    }
    Err(Error::UndefinedSchema { name: schema, position: None })
}

/// The place of `files`, which must be one that may be named.
pub async fn allowed(coordinator: &Coordinator, files: &FilesAt) -> Result<Url> {
    let url = locations::resolve_allowed(&files.location, &coordinator.allowed_locations())?;
    locations::check_apart(&url, &coordinator.reserved_locations().await?)?;
    Ok(url)
}

/// Reads what the table's columns come from, away from the threads that clients are heard on.
pub async fn open(
    coordinator: &Coordinator,
    name: TableName,
    url: &Url,
    files: &FilesAt,
    declared: &Declared,
) -> Result<TableDefinition> {
    forget_listings(coordinator);
    let state = planning_state(coordinator);
    let (url, files, declared) = (url.to_string(), files.files.clone(), declared.clone());
    on_planning_thread(coordinator, async move {
        if let Ok(place) = ListingTableUrl::parse(&url)
            && let Ok(store) = state.runtime_env().object_store(&place)
        {
            catalog::check_apart_from_foreign(&store, &place).await?;
        }
        external::open(&state, name, &url, files, &declared).await
    })
    .await
}

/// The columns that the first file of `files` names, in its order.
pub async fn first_columns(coordinator: &Coordinator, url: &Url, files: &FilesAt) -> Result<SchemaRef> {
    let state = planning_state(coordinator);
    let (url, files) = (url.to_string(), files.files.clone());
    on_planning_thread(coordinator, async move { external::first_columns(&state, &url, &files).await }).await
}

fn planning_state(coordinator: &Coordinator) -> datafusion::execution::session_state::SessionState {
    let settings = StatementSettings {
        target_partitions: coordinator.config.server_threads(),
        time_zone: "UTC".to_owned(),
        style: String::new(),
        broadcast_bytes_max: 0,
        prefer_hash_join: true,
        task_memory: 0,
        memory_max: 0,
        thrift: Thrift::None,
    };
    let catalogs = Arc::new(MemoryCatalogProviderList::new());
    coordinator.sessions.for_statement(Destination::Local, catalogs, &settings)
}

async fn on_planning_thread<T: Send + 'static>(
    coordinator: &Coordinator,
    work: impl Future<Output = catalog::Result<T>> + Send + 'static,
) -> Result<T> {
    // A footer that lies about its length was seen to end the reader in a panic.
    let corrupt = || Error::CorruptFile {
        message: "no file of the location can be read as what it is said to be".into(),
    };
    let work = AssertUnwindSafe(work).catch_unwind();
    let work = async move { work.await.map_err(|_| corrupt())?.map_err(Error::from) };
    coordinator.planning.run(Planned::Files, None, work).await
}

/// Looks at the files of an external table again: columns, where they were not declared, and sizes.
pub async fn refresh(
    coordinator: &Coordinator,
    session: &mut Session,
    schema: Option<&str>,
    table: &str,
) -> Result<Outcome> {
    const TAG: &str = "REFRESH TABLE";
    let name = super::keys::find_table(coordinator, session, schema, table)?;
    let seen = metadata(coordinator, session);
    let known = seen.tables.get(&name).filter(|table| table.managed.is_none() && table.view.is_none());
    let known = known.cloned().ok_or_else(|| Error::WrongObjectType {
        message: format!("\"{table}\" is not a table that CREATE EXTERNAL TABLE made"),
    })?;
    must_own_table(&seen, session, &name)?;
    session.check_may_write(TAG)?;
    let mut definition = opened_again(coordinator, &known).await?;
    // Each says of which file, and of which moment, it holds.
    if definition.file_schema == known.file_schema {
        definition.analyzed = Arc::clone(&known.analyzed);
    }
    let changes = vec![Change::PutTable(Arc::new(definition))];
    change_from(coordinator, session, seen, changes, TAG).await?;
    Ok(Outcome::tag(TAG))
}

/// `REFRESH LOCATIONS`: every table of the locations is opened again.
pub async fn refresh_locations(coordinator: &Coordinator, session: &mut Session) -> Result<Outcome> {
    const TAG: &str = "REFRESH LOCATIONS";
    must_be_superuser(coordinator, session, "refresh the locations")?;
    forget_listings(coordinator);
    coordinator.look_at_locations(Look::All).await;
    let seen = coordinator.snapshot();
    let tables = seen.tables().filter(|table| table.unavailable.is_some()).count();
    let notice = |count: usize, what: &str| {
        Notice::info("01000", format!("{count} {what} cannot be read: sys.tables tells why"))
    };
    let mut notices = Vec::new();
    if tables > 0 {
        notices.push(notice(tables, if tables == 1 { "table" } else { "tables" }));
    }
    let locations = seen.troubles().len();
    if locations > 0 {
        notices.push(notice(locations, if locations == 1 { "location" } else { "locations" }));
    }
    Ok(Outcome::with_notices(TAG, notices))
}

/// `table`, which lies somewhere, as its files are now.
pub async fn opened_again(coordinator: &Coordinator, table: &TableDefinition) -> Result<TableDefinition> {
    let url = Url::parse(&table.location).map_err(|error| Error::internal(error.to_string()))?;
    let (files, declared) = as_it_was_made(table);
    let files = FilesAt { location: table.location.clone(), files, is_header_told: true };
    let opened = open(coordinator, table.name.clone(), &url, &files, &declared).await?;
    Ok(TableDefinition { oid: table.oid, ..opened })
}

/// What the statement that made `table` said of its files and columns.
fn as_it_was_made(table: &TableDefinition) -> (ExternalFiles, Declared) {
    let is_declared = table.files.is_declared;
    let partitions = table.partition_columns.iter().map(|(name, kind)| (name.clone(), Some(kind.clone())));
    let declared = Declared {
        columns: is_declared.then(|| Arc::clone(&table.file_schema)),
        partitions: if is_declared { partitions.collect() } else { Vec::new() },
    };
    (table.files.clone(), declared)
}

/// The files of a table that lies somewhere: their URLs and sizes.
pub async fn files_of(coordinator: &Coordinator, table: &Arc<TableDefinition>) -> Result<Vec<(String, u64)>> {
    let (state, table) = (planning_state(coordinator), Arc::clone(table));
    on_planning_thread(coordinator, async move { external::files(&state, &table).await }).await
}

/// What each file of `table`, which lies somewhere, tells of its rows.
pub async fn analyzed(coordinator: &Coordinator, table: &TableDefinition) -> Result<Vec<FileStatistics>> {
    let (state, table) = (planning_state(coordinator), table.clone());
    on_planning_thread(coordinator, async move { external::analyzed(&state, &table).await }).await
}

/// What the footers of Parquet files tell of their row groups.
pub async fn footers_of(coordinator: &Coordinator, files: Vec<(String, u64)>) -> Result<Vec<FileFooter>> {
    let state = planning_state(coordinator);
    on_planning_thread(coordinator, async move { external::footers(&state, &files).await }).await
}

/// What was listed before is not trusted any more.
pub fn forget_listings(coordinator: &Coordinator) {
    if let Some(cache) = coordinator.runtime.env.cache_manager.get_list_files_cache() {
        cache.clear();
    }
}

/// Forgets tables or views; the files of external tables stay.
pub async fn drop(coordinator: &Coordinator, session: &mut Session, wanted: &TableDrop) -> Result<Outcome> {
    let (word, tag) = match wanted.kind {
        RelationKind::Table => ("table", "DROP TABLE"),
        RelationKind::View => ("view", "DROP VIEW"),
        RelationKind::MaterializedView => ("materialized view", "DROP MATERIALIZED VIEW"),
    };
    let (mut dropped, mut notices) = (Vec::new(), Vec::new());
    let snapshot = snapshot(coordinator, session);
    let metadata = Arc::clone(snapshot.metadata());
    for (schema, table) in &wanted.names {
        check_may_look_into(&metadata, role_oid(&metadata, session), schema.as_deref())?;
        let path = || session.search_path(&snapshot);
        let schemas = schema.clone().map_or_else(path, |schema| vec![schema]);
        let mut names = schemas.into_iter().map(|schema| TableName::new(schema, table.as_str()));
        let Some(found) = names.find_map(|name| snapshot.table(&name).cloned()) else {
            let is_known = |schema: &String| {
                snapshot.has_schema(schema)
                    || pg_catalog::is_system_schema(schema)
                    || schema == TEMPORARY_SCHEMA
            };
            if let (false, Some(schema)) = (wanted.if_exists, schema.as_ref().filter(|s| !is_known(s))) {
                return Err(Error::UndefinedSchema { name: schema.clone(), position: None });
            }
            if !wanted.if_exists {
                return Err(Error::UndefinedTable { name: table.clone(), position: None });
            }
            notices.push(Notice::info("00000", format!("{word} \"{table}\" does not exist, skipping")));
            continue;
        };
        if !metadata.tables.contains_key(&found.name) && found.name.schema != TEMPORARY_SCHEMA {
            let message =
                format!("table \"{table}\" was found in a location of the server and cannot be dropped");
            return Err(Error::NotSupported { message });
        }
        if kind_of(&metadata, &found) != wanted.kind {
            return Err(Error::WrongObjectType { message: format!("\"{table}\" is not a {word}") });
        }
        // Who owns a schema may drop what is in it.
        if must_own_schema(&metadata, session, &found.name.schema).is_err() {
            must_own_table(&metadata, session, &found.name)?;
        }
        if !dropped.contains(&found.name) {
            dropped.push(found.name.clone());
        }
    }
    let dependents = views::dependents(&metadata, &session.facts(), &dropped);
    if let (false, Some(view)) = (wanted.is_cascade, dependents.first()) {
        let name = &dropped[0].table;
        return Err(Error::DependentObjects {
            message: format!("cannot drop {word} {name} because other objects depend on it"),
            detail: format!("view {} depends on it: DROP … CASCADE drops both", view.table),
        });
    }
    if !dependents.is_empty() {
        let names: Vec<&str> = dependents.iter().map(|view| view.table.as_str()).collect();
        notices.push(Notice::info("00000", format!("drop cascades to view {}", names.join(", "))));
    }
    if !dropped.is_empty() {
        let changes = dependents.into_iter().chain(dropped).map(Change::DropTable).collect();
        change(coordinator, session, changes, tag).await?;
    }
    Ok(Outcome::with_notices(tag, notices))
}

/// What `relation` is.
pub(super) fn kind_of(metadata: &Metadata, relation: &TableDefinition) -> RelationKind {
    match (relation.view.is_some(), metadata.materialized.contains_key(&relation.name)) {
        (true, _) => RelationKind::View,
        (false, true) => RelationKind::MaterializedView,
        (false, false) => RelationKind::Table,
    }
}
