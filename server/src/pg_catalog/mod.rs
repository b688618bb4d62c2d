//! The system tables clients ask before anything else, made from one catalog snapshot.
//!
//! They live in this process's memory and are built when a statement names them, so a statement over
//! them never lists a store.

mod columns;
mod functions;
mod relations;
pub mod types;

use std::sync::Arc;

use async_trait::async_trait;
use catalog::{DEFAULT_SCHEMA, Snapshot};
use datafusion::arrow::array::RecordBatch;
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::session_state::SessionState;

pub use columns::Columns;

use crate::query::QueryContext;
use crate::sys;

/// The PostgreSQL version this server speaks as.
pub const SERVER_VERSION: &str = "15.8";
/// The text of `version()`. Clients look for `PostgreSQL` and a number at its start.
pub const VERSION: &str = concat!("PostgreSQL 15.8 (Sluice ", env!("CARGO_PKG_VERSION"), ")");

/// Object identifiers of what is the same in every database.
pub const PG_CATALOG_OID: i64 = 11;
/// `public`.
pub const PUBLIC_OID: i64 = 2200;
/// `information_schema`.
pub const INFORMATION_SCHEMA_OID: i64 = 13_000;
/// `sys`.
pub const SYS_OID: i64 = 13_001;
/// The first role, `postgres`.
pub const OWNER_OID: i64 = 10;
/// The one database.
pub const DATABASE_OID: i64 = 5;

/// What a relation is made from.
#[derive(Debug, Clone)]
pub struct View {
    /// The catalog.
    pub snapshot: Arc<Snapshot>,
    /// The run that asks.
    pub context: QueryContext,
}

/// Makes a relation's rows.
pub type Builder = fn(&View) -> RecordBatch;

/// One schema of relations that are made on demand.
#[derive(Debug)]
pub struct SystemSchema {
    view: View,
    relations: &'static [(&'static str, Builder)],
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        self.relations.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        let batch = match self.relations.iter().find(|(relation, _)| *relation == name) {
            Some((_, build)) => build(&self.view),
            None if relations::is_empty_relation(name) => relations::empty(name),
            None => return Ok(None),
        };
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        Ok(Some(Arc::new(table)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.relations.iter().any(|(relation, _)| *relation == name) || relations::is_empty_relation(name)
    }
}

/// The system's schemas as `context` sees them over `snapshot`.
pub fn schemas(context: &QueryContext, snapshot: &Arc<Snapshot>) -> Vec<(&'static str, Arc<SystemSchema>)> {
    let view = View { snapshot: Arc::clone(snapshot), context: context.clone() };
    let schema = |relations| Arc::new(SystemSchema { view: view.clone(), relations });
    vec![("pg_catalog", schema(relations::RELATIONS)), ("sys", schema(sys::RELATIONS))]
}

/// True for relations that have no rows in this server: what PostgreSQL keeps about things that do
/// not exist here.
pub fn is_empty_relation(name: &str) -> bool {
    relations::is_empty_relation(name)
}

/// True when `schema.table` is one of the system's. Without a schema, `pg_catalog`'s are found.
pub fn is_system_table(schema: Option<&str>, table: &str) -> bool {
    let in_pg_catalog =
        || relations::RELATIONS.iter().any(|(name, _)| *name == table) || is_empty_relation(table);
    match schema {
        None | Some("pg_catalog") => in_pg_catalog(),
        Some("sys") => sys::RELATIONS.iter().any(|(name, _)| *name == table),
        // DataFusion's own.
        Some("information_schema") => {
            ["tables", "views", "columns", "schemata", "df_settings", "routines", "parameters"]
                .contains(&table)
        }
        Some(_) => false,
    }
}

/// Functions that stand where a table may: the parser takes them for relations.
pub fn is_table_function(name: &str) -> bool {
    ["generate_series", "range", "unnest"].contains(&name)
}

/// Teaches a session the functions that system statements call.
pub fn register_functions(state: &mut SessionState, context: &QueryContext, snapshot: &Arc<Snapshot>) {
    functions::register(state, &View { snapshot: Arc::clone(snapshot), context: context.clone() });
}

/// The object identifier of a schema, 0 when there is none.
pub fn schema_oid(name: &str) -> i64 {
    match name {
        "pg_catalog" => PG_CATALOG_OID,
        "information_schema" => INFORMATION_SCHEMA_OID,
        "sys" => SYS_OID,
        DEFAULT_SCHEMA => PUBLIC_OID,
        _ => 0,
    }
}
