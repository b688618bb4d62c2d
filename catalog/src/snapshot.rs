//! One immutable version of the catalog, and the place the current one is taken from.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use parking_lot::RwLock;

use crate::definition::{TableDefinition, TableName};
use crate::table::managed::ManagedProvider;
use crate::table::view::ViewProvider;
use crate::table::{StringLayout, external};
use crate::{CatalogError, DEFAULT_SCHEMA, Metadata, Result};

#[derive(Clone)]
struct Table {
    definition: Arc<TableDefinition>,
    // Made once per definition: a provider holds no data, but its identity keys DataFusion's caches.
    view: Provider,
    plain: Provider,
}

/// A scan, or why there is none.
type Provider = std::result::Result<Arc<dyn TableProvider>, String>;

impl Table {
    fn new(
        definition: Arc<TableDefinition>,
        refused: &HashSet<String>,
        distinct_counts: Option<&Arc<BTreeMap<String, u64>>>,
    ) -> Self {
        if refused.contains(&definition.location) {
            let name = &definition.name.table;
            let problem = format!(
                "the location of table \"{name}\" is outside of those that this server was started with"
            );
            return Self { view: Err(problem.clone()), plain: Err(problem), definition };
        }
        if definition.view.is_some() {
            let provider = |layout: StringLayout| -> Provider {
                Ok(Arc::new(ViewProvider::new(layout.apply(&definition.file_schema))))
            };
            return Self {
                view: provider(StringLayout::View),
                plain: provider(StringLayout::Plain),
                definition,
            };
        }
        let provider = |layout| -> Provider {
            match ManagedProvider::new(&definition, layout) {
                Some(managed) => Ok(Arc::new(managed.with_distinct_counts(distinct_counts.cloned()))),
                None => external::provider(&definition, layout, distinct_counts.cloned())
                    .map_err(|problem| problem.to_string()),
            }
        };
        Self { view: provider(StringLayout::View), plain: provider(StringLayout::Plain), definition }
    }
}

/// One version of every schema and table. Cheap to share, never changed.
pub struct Snapshot {
    /// Those found in the server's locations when it started.
    found: Arc<BTreeMap<TableName, Table>>,
    /// Those and the ones that statements made, which win.
    tables: Arc<BTreeMap<TableName, Table>>,
    names_by_oid: Arc<HashMap<u32, TableName>>,
    metadata: Arc<Metadata>,
    /// Locations that must not be read any more.
    refused: Arc<HashSet<String>>,
    has_more: bool,
}

impl Snapshot {
    /// The catalog of the `definitions` that were found, with what the store knows. Fails when a name
    /// stands twice among the former. Tables at `refused` locations are known and not read.
    pub fn new(
        metadata: Metadata,
        definitions: Vec<TableDefinition>,
        refused: HashSet<String>,
    ) -> Result<Self> {
        let mut found: BTreeMap<TableName, Table> = BTreeMap::new();
        let mut oids: HashSet<u32> = metadata.tables.values().map(|definition| definition.oid).collect();
        for mut definition in definitions {
            while !oids.insert(definition.oid) {
                definition.oid += 1;
            }
            if let Some(first) = found.get(&definition.name) {
                return Err(CatalogError::DuplicateTable {
                    name: definition.name.table.clone(),
                    first: first.definition.location.clone(),
                    second: definition.location.clone(),
                });
            }
            found.insert(definition.name.clone(), Table::new(Arc::new(definition), &HashSet::new(), None));
        }
        Ok(Self::of(Arc::new(found), metadata, Arc::new(refused), None))
    }

    fn of(
        found: Arc<BTreeMap<TableName, Table>>,
        metadata: Metadata,
        refused: Arc<HashSet<String>>,
        previous: Option<&Self>,
    ) -> Self {
        let is_same = |previous: &&Self| {
            previous.metadata.distinct_counts == metadata.distinct_counts
                && previous.metadata.tables.len() == metadata.tables.len()
                && previous.metadata.tables.values().zip(metadata.tables.values()).all(|(a, b)| a == b)
        };
        if let Some(previous) = previous.filter(is_same) {
            let (tables, names_by_oid) = (Arc::clone(&previous.tables), Arc::clone(&previous.names_by_oid));
            return Self {
                found,
                tables,
                names_by_oid,
                metadata: Arc::new(metadata),
                refused,
                has_more: false,
            };
        }
        let mut tables = BTreeMap::clone(&found);
        for (name, definition) in &metadata.tables {
            let known = previous.and_then(|previous| previous.tables.get(name));
            let counts = metadata.distinct_counts.get(name);
            let is_counted = previous.is_some_and(|p| p.metadata.distinct_counts.get(name) == counts);
            let table = match known.filter(|table| is_counted && table.definition == *definition) {
                Some(table) => table.clone(),
                None => Table::new(Arc::clone(definition), &refused, counts),
            };
            tables.insert(name.clone(), table);
        }
        let names_by_oid = tables.values().map(|t| (t.definition.oid, t.definition.name.clone())).collect();
        Self {
            found,
            tables: Arc::new(tables),
            names_by_oid: Arc::new(names_by_oid),
            metadata: Arc::new(metadata),
            refused,
            has_more: false,
        }
    }

    /// The same found tables with other metadata, and the tables it tells of.
    pub fn with_metadata(&self, metadata: Metadata) -> Self {
        Self::of(Arc::clone(&self.found), metadata, Arc::clone(&self.refused), Some(self))
    }

    /// `wanted`, or the next object identifier that no table has.
    pub fn free_oid(&self, wanted: u32) -> u32 {
        (wanted..).find(|oid| !self.names_by_oid.contains_key(oid)).unwrap_or(wanted)
    }

    /// Grows with every change.
    pub fn version(&self) -> u64 {
        self.metadata.version
    }

    /// Roles, grants, comments, declared keys, and the tables that statements made.
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
        names.extend(self.metadata.schemas.keys().cloned());
        names.push(DEFAULT_SCHEMA.to_owned());
        names.sort();
        names.dedup();
        names
    }

    /// True when tables may be in the schema `name`.
    pub fn has_schema(&self, name: &str) -> bool {
        name == DEFAULT_SCHEMA || self.metadata.schemas.contains_key(name)
    }

    /// The same with one more table, which this version of the catalog does not know.
    pub fn with_table(&self, definition: TableDefinition) -> Self {
        self.with_tables([Arc::new(definition)])
    }

    /// The same with more tables.
    pub fn with_tables(&self, definitions: impl IntoIterator<Item = Arc<TableDefinition>>) -> Self {
        let mut tables = BTreeMap::clone(&self.tables);
        let mut names_by_oid = HashMap::clone(&self.names_by_oid);
        for definition in definitions {
            names_by_oid.entry(definition.oid).or_insert_with(|| definition.name.clone());
            tables.insert(definition.name.clone(), Table::new(definition, &HashSet::new(), None));
        }
        Self {
            found: Arc::clone(&self.found),
            tables: Arc::new(tables),
            names_by_oid: Arc::new(names_by_oid),
            metadata: Arc::clone(&self.metadata),
            refused: Arc::clone(&self.refused),
            has_more: true,
        }
    }

    /// True when it has tables that its version of the catalog does not know.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// The names of the files of the managed table in `folder`.
    pub fn file_names(&self, folder: &str) -> HashSet<String> {
        let table = self.tables().find(|table| table.managed.is_some() && table.location == folder);
        let files =
            table.and_then(|table| table.managed.as_ref()).into_iter().flat_map(|managed| &managed.files);
        files.filter_map(|file| file.location.rsplit('/').next().map(str::to_owned)).collect()
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
        let Some(table) = self.tables.get(name) else { return Ok(None) };
        let provider = match layout {
            StringLayout::View => &table.view,
            StringLayout::Plain => &table.plain,
        };
        provider.clone().map(Some).map_err(DataFusionError::Plan)
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

    /// The same found tables with `metadata`, unless a later version is already in place.
    pub fn replace_metadata(&self, metadata: Metadata) {
        let mut current = self.current.write();
        if metadata.version > current.version() {
            *current = Arc::new(current.with_metadata(metadata));
        }
    }
}
