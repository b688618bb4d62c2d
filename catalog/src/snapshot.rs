//! One immutable version of the catalog, and the place the current one is taken from.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::error::Result as DataFusionResult;
use parking_lot::RwLock;

use crate::definition::{TableDefinition, TableName};
use crate::table::{StringLayout, parquet};
use crate::{CatalogError, DEFAULT_SCHEMA, Metadata, Result};

struct Table {
    definition: Arc<TableDefinition>,
    // Made once per version: a provider holds no data, but its identity keys DataFusion's caches.
    view: Arc<dyn TableProvider>,
    plain: Arc<dyn TableProvider>,
}

/// One version of every schema and table. Cheap to share, never changed.
pub struct Snapshot {
    tables: Arc<BTreeMap<TableName, Table>>,
    names_by_oid: Arc<HashMap<u32, TableName>>,
    metadata: Arc<Metadata>,
}

impl Snapshot {
    /// The catalog of `definitions`, with what the store knows. Fails when a name stands twice.
    pub fn new(metadata: Metadata, definitions: Vec<TableDefinition>) -> Result<Self> {
        let mut tables: BTreeMap<TableName, Table> = BTreeMap::new();
        let mut oids = HashSet::new();
        for mut definition in definitions {
            while !oids.insert(definition.oid) {
                definition.oid += 1;
            }
            if let Some(first) = tables.get(&definition.name) {
                return Err(CatalogError::DuplicateTable {
                    name: definition.name.table.clone(),
                    first: first.definition.location.clone(),
                    second: definition.location.clone(),
                });
            }
            let provider = |layout| {
                parquet::provider(&definition, layout).map_err(|source| CatalogError::Unreadable {
                    name: definition.name.table.clone(),
                    source,
                })
            };
            let (view, plain) = (provider(StringLayout::View)?, provider(StringLayout::Plain)?);
            let table = Table { view, plain, definition: Arc::new(definition) };
            tables.insert(table.definition.name.clone(), table);
        }
        let names_by_oid = tables.values().map(|t| (t.definition.oid, t.definition.name.clone())).collect();
        Ok(Self {
            tables: Arc::new(tables),
            names_by_oid: Arc::new(names_by_oid),
            metadata: Arc::new(metadata),
        })
    }

    /// The same tables with other metadata.
    pub fn with_metadata(&self, metadata: Metadata) -> Self {
        Self {
            tables: Arc::clone(&self.tables),
            names_by_oid: Arc::clone(&self.names_by_oid),
            metadata: Arc::new(metadata),
        }
    }

    /// Grows with every change.
    pub fn version(&self) -> u64 {
        self.metadata.version
    }

    /// Roles, grants, comments and declared keys.
    pub fn metadata(&self) -> &Arc<Metadata> {
        &self.metadata
    }

    /// The table of that object identifier.
    pub fn table_by_oid(&self, oid: i64) -> Option<&Arc<TableDefinition>> {
        self.table(self.names_by_oid.get(&u32::try_from(oid).ok()?)?)
    }

    /// Every table, in the order of schema and name.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableDefinition>> {
        self.tables.values().map(|table| &table.definition)
    }

    /// The names of the schemas that users' tables live in; `public` is always one.
    pub fn schemas(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tables.keys().map(|name| name.schema.clone()).collect();
        names.push(DEFAULT_SCHEMA.to_owned());
        names.sort();
        names.dedup();
        names
    }

    /// The definition of a table.
    pub fn table(&self, name: &TableName) -> Option<&Arc<TableDefinition>> {
        self.tables.get(name).map(|table| &table.definition)
    }

    /// What DataFusion scans for a table, with strings in `layout`.
    pub fn provider(
        &self,
        name: &TableName,
        layout: StringLayout,
    ) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        Ok(self.tables.get(name).map(|table| match layout {
            StringLayout::View => Arc::clone(&table.view),
            StringLayout::Plain => Arc::clone(&table.plain),
        }))
    }

    /// The names of the tables in `schema`.
    pub fn table_names(&self, schema: &str) -> Vec<String> {
        self.tables.keys().filter(|n| n.schema == schema).map(|n| n.table.clone()).collect()
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("version", &self.version())
            .field("tables", &self.tables.len())
            .finish()
    }
}

/// Holds the current snapshot. Readers take it whole; a writer puts a new one in its place.
#[derive(Debug)]
pub struct SnapshotStore {
    current: RwLock<Arc<Snapshot>>,
}

impl SnapshotStore {
    /// Starts with `snapshot` as the current version.
    pub fn new(snapshot: Snapshot) -> Self {
        Self { current: RwLock::new(Arc::new(snapshot)) }
    }

    /// The current version, to be held for the length of a query.
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read())
    }

    /// The same tables with `metadata`, unless a later version is already in place.
    pub fn replace_metadata(&self, metadata: Metadata) {
        let mut current = self.current.write();
        if metadata.version > current.version() {
            *current = Arc::new(current.with_metadata(metadata));
        }
    }
}
