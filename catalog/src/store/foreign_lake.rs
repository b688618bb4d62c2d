//! A lake that another engine has brought to a version that is not known here: its tables have names, and nothing else
//! that could be told rightly. What is ours in the same database is read as ever, and nothing is written.

use sqlx::AnyPool;

use super::{fetch, lake_tables, number, text};
use crate::definition::{TableDefinition, TableName};
use crate::lake::{self, LakeSchema, ManagedTable};
use crate::metadata::Metadata;
use crate::{DEFAULT_SCHEMA, Trouble, Unavailable};

/// Why the lake in `pool` cannot be read, when it is such a one. A database without a lake has none.
pub async fn reason(pool: &AnyPool) -> Option<String> {
    // In no transaction: where the table is missing, a PostgreSQL ends it.
    let mut connection = pool.acquire().await.ok()?;
    let facts = "select \"key\" as k, \"value\" as v from ducklake_metadata where \"scope\" is null";
    let facts = fetch(&mut connection, facts, Vec::new()).await.ok()?;
    let fact = |key: &str| {
        let row = facts.iter().find(|row| text(row, "k").is_ok_and(|found| found == key))?;
        text(row, "v").ok()
    };
    reason_of(fact)
}

/// Why a lake of which `fact` is told cannot be read, when that is so.
pub fn reason_of(fact: impl Fn(&str) -> Option<String>) -> Option<String> {
    let version = fact("version")?;
    if version != lake_tables::VERSION {
        let known = lake_tables::VERSION;
        return Some(format!(
            "the catalog holds a DuckLake of version \"{version}\", of which this version of Sluice reads {known}"
        ));
    }
    let is_encrypted = fact("encrypted").is_some_and(|encrypted| encrypted == "true");
    is_encrypted.then(|| "the catalog holds an encrypted DuckLake, which is not read here".to_owned())
}

/// Puts the names of the lake's tables into `metadata`, as far as they can be read.
pub async fn load_names(pool: &AnyPool, metadata: &mut Metadata, data_folder: &str, reason: &str) {
    metadata.version = 1;
    metadata.data_folder = data_folder.to_owned();
    let Ok(mut connection) = pool.acquire().await else { return };
    let newest = "select max(snapshot_id) as n from ducklake_snapshot";
    if let Ok(rows) = fetch(&mut connection, newest, Vec::new()).await
        && let Some(version) = rows.first().and_then(|row| number(row, "n").ok())
    {
        metadata.version = version.max(1) as u64;
    }
    let schemas =
        "select schema_id as id, schema_name as name from ducklake_schema where end_snapshot is null";
    for row in fetch(&mut connection, schemas, Vec::new()).await.unwrap_or_default() {
        if let (Ok(id), Ok(name)) = (number(&row, "id"), text(&row, "name")) {
            metadata.schemas.insert(name, LakeSchema { id, folder: data_folder.to_owned() });
        }
    }
    let tables = "select t.table_id as id, s.schema_name as schema_name, t.table_name as table_name
         from ducklake_table t join ducklake_schema s on s.schema_id = t.schema_id and s.end_snapshot is null
         where t.end_snapshot is null order by t.table_id";
    for row in fetch(&mut connection, tables, Vec::new()).await.unwrap_or_default() {
        let (Ok(id), Ok(table)) = (number(&row, "id"), text(&row, "table_name")) else { continue };
        let schema = text(&row, "schema_name").unwrap_or_else(|_| DEFAULT_SCHEMA.to_owned());
        let name = TableName::new(schema, table);
        let managed = ManagedTable {
            id,
            uuid: String::new(),
            columns: Vec::new(),
            files: Vec::new(),
            next_row_id: 0,
            partitioning: None,
            sort: Vec::new(),
            problem: Some(reason.to_owned()),
            damage: None,
        };
        let problem = Unavailable {
            trouble: Trouble::Unsupported,
            reason: reason.to_owned(),
            file: None,
            advice: "read it with the engine that brought it to that version, or start a version of Sluice that knows it"
                .to_owned(),
        };
        let mut definition: TableDefinition = lake::define(name.clone(), data_folder.to_owned(), managed);
        definition.oid = metadata.free_oid(crate::stable_oid(&name.to_string()));
        definition.unavailable = Some(std::sync::Arc::new(problem));
        metadata.tables.insert(name, std::sync::Arc::new(definition));
    }
}
