//! The system tables clients ask before anything else, made from one catalog snapshot.
//!
//! They live in this process's memory and are built when a statement names them, so a statement over
//! them never lists a store. What depends on the catalog alone is built once per version of it.

mod acl;
#[cfg(test)]
mod cast_census;
mod columns;
mod database;
mod functions;
mod information_schema;
mod objects;
mod roles;
mod session;
mod shapes;
pub mod types;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use catalog::{DEFAULT_SCHEMA, Metadata, Snapshot};
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::session_state::SessionState;
use parking_lot::Mutex;

pub use columns::{Columns, PG_TYPE, PG_TYPMOD};
pub use database::{may_read_of, shown_to};
pub use shapes::{is_bool_column, is_regproc_column, is_regtypes_column, is_vector_column};

use crate::query::QueryContext;
use crate::sys;
use shapes::{INFORMATION_SCHEMA, PG_CATALOG};

/// The PostgreSQL version this server speaks as.
pub const SERVER_VERSION: &str = "15.8";
/// The text of `version()`. Clients look for `PostgreSQL` and a number at its start.
pub const VERSION: &str = concat!("PostgreSQL 15.8 (Sluice ", env!("CARGO_PKG_VERSION"), ")");

/// Object identifiers of what is the same in every database.
pub const PG_CATALOG_OID: i64 = 11;
/// `public`.
pub const PUBLIC_OID: i64 = 2200;
/// `information_schema`, as in the data files.
pub const INFORMATION_SCHEMA_OID: i64 = 13_207;
/// `sys`.
pub const SYS_OID: i64 = 13_999;
/// The one database.
pub const DATABASE_OID: i64 = 5;

/// What a relation is made from.
#[derive(Debug, Clone)]
pub struct View {
    /// The catalog.
    pub snapshot: Arc<Snapshot>,
    /// The run that asks.
    pub context: Arc<QueryContext>,
}

/// Makes a relation's rows.
pub type Builder = fn(&View) -> RecordBatch;

/// The relations of `pg_catalog` that depend on the catalog alone.
static OF_CATALOG: &[(&str, Builder)] = &[
    ("pg_attribute", objects::pg_attribute),
    ("pg_auth_members", roles::pg_auth_members),
    ("pg_authid", roles::pg_authid),
    ("pg_class", objects::pg_class),
    ("pg_constraint", objects::pg_constraint),
    ("pg_database", database::pg_database),
    ("pg_description", database::pg_description),
    ("pg_index", objects::pg_index),
    ("pg_matviews", objects::pg_matviews),
    ("pg_namespace", database::pg_namespace),
    ("pg_roles", roles::pg_roles),
    ("pg_shdescription", database::pg_shdescription),
    ("pg_stat_user_tables", objects::pg_stat_user_tables),
    ("pg_tables", objects::pg_tables),
    ("pg_tablespace", database::pg_tablespace),
    ("pg_user", roles::pg_user),
    ("pg_views", objects::pg_views),
];

/// Those that depend on the session or on the moment.
static OF_MOMENT: &[(&str, Builder)] = &[
    ("pg_cursors", session::pg_cursors),
    ("pg_prepared_statements", session::pg_prepared_statements),
    ("pg_settings", database::pg_settings),
    ("pg_stat_activity", database::pg_stat_activity),
    ("pg_stat_ssl", database::pg_stat_ssl),
];

/// The relations built from one version of the catalog.
#[derive(Debug, Default)]
pub struct Built {
    last: Mutex<BuiltVersion>,
}

#[derive(Debug, Default)]
struct BuiltVersion {
    // Its own allocation tells a version apart from the unfinished versions of transaction blocks.
    metadata: Option<Arc<Metadata>>,
    relations: HashMap<&'static str, RecordBatch>,
}

impl Built {
    fn get(&self, view: &View, name: &'static str, build: Builder) -> RecordBatch {
        // What one session alone has is built for it alone.
        if view.snapshot.has_more() {
            return build(view);
        }
        let mut built = self.last.lock();
        let metadata = view.snapshot.metadata();
        if !built.metadata.as_ref().is_some_and(|known| Arc::ptr_eq(known, metadata)) {
            *built = BuiltVersion { metadata: Some(Arc::clone(metadata)), relations: HashMap::new() };
        }
        built.relations.entry(name).or_insert_with(|| build(view)).clone()
    }
}

/// One schema of relations that are made on demand.
#[derive(Debug)]
pub struct SystemSchema {
    view: View,
    name: &'static str,
}

impl SystemSchema {
    fn batch(&self, relation: &str) -> Option<RecordBatch> {
        let find = |list: &'static [(&'static str, Builder)]| list.iter().find(|(name, _)| *name == relation);
        match self.name {
            "sys" => find(sys::RELATIONS).map(|(_, build)| build(&self.view)),
            INFORMATION_SCHEMA => match find(information_schema::RELATIONS) {
                Some((_, build)) => Some(build(&self.view)),
                None => shapes::shape(INFORMATION_SCHEMA, relation)
                    .map(|_| columns::empty(INFORMATION_SCHEMA, relation)),
            },
            _ => {
                if let Some((name, build)) = find(OF_CATALOG) {
                    return Some(self.view.context.coordinator.system_tables.get(&self.view, name, *build));
                }
                if let Some((_, build)) = find(OF_MOMENT) {
                    return Some(build(&self.view));
                }
                shapes::static_rows(relation).cloned().or_else(|| {
                    shapes::shape(PG_CATALOG, relation).map(|_| columns::empty(PG_CATALOG, relation))
                })
            }
        }
    }
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        match self.name {
            "sys" => sys::RELATIONS.iter().map(|(name, _)| (*name).to_owned()).collect(),
            schema => shapes::relations(schema),
        }
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        let Some(batch) = self.batch(name) else { return Ok(None) };
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        Ok(Some(Arc::new(table)))
    }

    fn table_exist(&self, name: &str) -> bool {
        is_system_table(Some(self.name), name)
    }
}

/// The system's schemas as `context` sees them over `snapshot`.
pub fn schemas(context: &QueryContext, snapshot: &Arc<Snapshot>) -> Vec<(&'static str, Arc<SystemSchema>)> {
    let view = View { snapshot: Arc::clone(snapshot), context: Arc::new(context.clone()) };
    let schema = |name| (name, Arc::new(SystemSchema { view: view.clone(), name }));
    vec![schema(PG_CATALOG), schema("sys"), schema(INFORMATION_SCHEMA)]
}

/// True for relations of PostgreSQL's that never have rows here: what it keeps about things that do not
/// exist in this server.
pub fn is_empty_relation(name: &str) -> bool {
    let has_rows =
        |list: &'static [(&'static str, Builder)]| list.iter().any(|(relation, _)| *relation == name);
    shapes::shape(PG_CATALOG, name).is_some()
        && !has_rows(OF_CATALOG)
        && !has_rows(OF_MOMENT)
        && shapes::static_rows(name).is_none()
}

/// True when `schema.table` is one of the system's. Without a schema, `pg_catalog`'s are found.
pub fn is_system_table(schema: Option<&str>, table: &str) -> bool {
    match schema {
        None => shapes::shape(PG_CATALOG, table).is_some(),
        Some("sys") => sys::RELATIONS.iter().any(|(name, _)| *name == table),
        Some(schema @ (PG_CATALOG | INFORMATION_SCHEMA)) => shapes::shape(schema, table).is_some(),
        Some(_) => false,
    }
}

/// The columns of one of the system's relations, where they are PostgreSQL's.
pub fn column_names(schema: &str, table: &str) -> Option<Vec<(String, Option<String>)>> {
    let shape = shapes::shape(schema, table)?;
    Some(shape.iter().map(|(name, kind)| ((*name).to_owned(), Some(kind.to_string()))).collect())
}

/// The relations that `information_schema.tables` lists besides users' tables.
pub fn system_relations() -> Vec<(&'static str, String)> {
    let of = |schema: &'static str| shapes::relations(schema).into_iter().map(move |name| (schema, name));
    let ours = sys::RELATIONS.iter().map(|(name, _)| ("sys", (*name).to_owned()));
    of(PG_CATALOG).chain(of(INFORMATION_SCHEMA)).chain(ours).collect()
}

/// Functions that give rows of the system's own.
pub fn is_catalog_function(name: &str) -> bool {
    functions::is_table_function(name)
}

/// Functions that stand where a table may: the parser takes them for relations.
pub fn is_table_function(name: &str) -> bool {
    ["generate_series", "range", "unnest"].contains(&name) || functions::is_table_function(name)
}

/// Teaches a session those of the system's functions that a statement names.
pub fn register_functions(
    state: &mut SessionState,
    context: &QueryContext,
    snapshot: &Arc<Snapshot>,
    names: &BTreeSet<String>,
) {
    if !names.iter().any(|name| functions::is_known(name)) {
        return;
    }
    let view = View { snapshot: Arc::clone(snapshot), context: Arc::new(context.clone()) };
    functions::register(state, &view, names);
}

/// True for the schemas that every database of ours has, besides those of users' tables.
pub fn is_system_schema(name: &str) -> bool {
    name != DEFAULT_SCHEMA && database::SCHEMAS.iter().any(|(schema, _)| *schema == name)
}

/// The object identifier of a schema, whether it exists or not.
pub fn schema_oid(name: &str) -> i64 {
    match database::SCHEMAS.iter().find(|(schema, _)| *schema == name) {
        Some((_, oid)) => *oid,
        None => catalog::stable_oid(&format!("schema {name}")).into(),
    }
}

/// The identifier of a relation of `pg_catalog`.
pub fn class_oid(name: &str) -> Option<i64> {
    static_class(|_, relation, schema| relation == name && schema == PG_CATALOG_OID).map(|(oid, ..)| oid)
}

/// A relation of PostgreSQL's own, by what is asked of its identifier, name and schema.
fn static_class(wanted: impl Fn(i64, &str, i64) -> bool) -> Option<(i64, String, i64)> {
    static CLASSES: LazyLock<Vec<(i64, String, i64)>> = LazyLock::new(|| {
        let Some(batch) = shapes::static_rows("pg_class") else { return Vec::new() };
        let oids = batch.column(0).as_primitive::<Int64Type>();
        let names = batch.column(1).as_string::<i32>();
        let schemas = batch.column(2).as_primitive::<Int64Type>();
        (0..oids.len())
            .map(|row| (oids.value(row), names.value(row).to_owned(), schemas.value(row)))
            .collect()
    });
    CLASSES.iter().find(|(oid, name, schema)| wanted(*oid, name, *schema)).cloned()
}

/// True for system relations that only superusers read: PostgreSQL's own grants say so, and who failed to
/// sign in is like them.
pub fn is_for_superusers(schema: &str, relation: &str) -> bool {
    static HIDDEN: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let Some(batch) = shapes::static_rows("pg_class") else { return HashSet::new() };
        let (names, schemas) =
            (batch.column(1).as_string::<i32>(), batch.column(2).as_primitive::<Int64Type>());
        let Some(grants) = batch.column_by_name("relacl") else { return HashSet::new() };
        let of_all = |row: usize| {
            let items = grants.as_list::<i32>().value(row);
            items.as_string::<i32>().iter().flatten().any(|item| item.starts_with("=r"))
        };
        let hidden = |row: &usize| schemas.value(*row) == PG_CATALOG_OID && !of_all(*row);
        (0..batch.num_rows()).filter(hidden).map(|row| names.value(row).to_owned()).collect()
    });
    match schema {
        "sys" => relation == "failed_sign_ins",
        PG_CATALOG => HIDDEN.contains(relation) && relation != "pg_subscription",
        _ => false,
    }
}
