//! One immutable version of the catalog, and the place the current one is taken from.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::catalog::TableProvider;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use parking_lot::RwLock;

use crate::definition::{TableDefinition, TableName};
use crate::table::managed::ManagedProvider;
use crate::table::view::ViewProvider;
use crate::table::{StringLayout, external};
use crate::{DEFAULT_SCHEMA, LocationTrouble, Metadata, Trouble, Unavailable};

#[derive(Clone)]
struct Table {
    definition: Arc<TableDefinition>,
    // Made once per definition: a provider holds no data, but its identity keys DataFusion's caches.
    view: Provider,
    plain: Provider,
    /// Files were met that it does not fit as it was opened.
    has_changed: Arc<AtomicBool>,
}

/// A scan, or why there is none.
type Provider = std::result::Result<Arc<dyn TableProvider>, String>;

impl Table {
    fn new(
        definition: Arc<TableDefinition>,
        refused: &HashSet<String>,
        distinct_counts: Option<&Arc<BTreeMap<String, u64>>>,
    ) -> Self {
        let has_changed = Arc::new(AtomicBool::new(false));
        let provider = |layout: StringLayout| -> Provider {
            let name = &definition.name.table;
            if let Some(problem) = &definition.unavailable {
                return Err(problem.reason.clone());
            }
            if refused.contains(&definition.location) {
                return Err(format!(
                    "the location of table \"{name}\" is outside of those that this server was started with"
                ));
            }
            if definition.view.is_some() {
                return Ok(Arc::new(ViewProvider::new(layout.apply(&definition.file_schema))));
            }
            match ManagedProvider::new(&definition, layout) {
                Some(managed) => Ok(Arc::new(managed.with_distinct_counts(distinct_counts.cloned()))),
                None => {
                    let has_changed = Arc::clone(&has_changed);
                    external::provider(&definition, layout, distinct_counts.cloned(), has_changed)
                        .map_err(|problem| problem.to_string())
                }
            }
        };
        let (view, plain) = (provider(StringLayout::View), provider(StringLayout::Plain));
        Self { view, plain, has_changed, definition }
    }
}

/// One version of every schema and table. Cheap to share, never changed.
pub struct Snapshot {
    /// Those found in the server's locations.
    found: Arc<BTreeMap<TableName, Table>>,
    /// The locations where that failed.
    troubles: Arc<Vec<LocationTrouble>>,
    /// Those and the ones that statements made, which win.
    tables: Arc<BTreeMap<TableName, Table>>,
    names_by_oid: Arc<HashMap<u32, TableName>>,
    metadata: Arc<Metadata>,
    /// Locations that must not be read any more.
    refused: Arc<HashSet<String>>,
    has_more: bool,
}

impl Snapshot {
    /// The catalog of the `definitions` that were found, and of `troubles` where that was not possible, with what the
    /// store knows. Tables at `refused` locations are known and not read.
    pub fn new(
        metadata: Metadata,
        definitions: Vec<TableDefinition>,
        troubles: Vec<LocationTrouble>,
        refused: HashSet<String>,
    ) -> Self {
        let found = found(&metadata, definitions, &BTreeMap::new());
        Self::of(Arc::new(found), Arc::new(troubles), Arc::new(metadata), Arc::new(refused), None)
    }

    /// The same with other tables that were found.
    pub fn with_found(&self, definitions: Vec<TableDefinition>, troubles: Vec<LocationTrouble>) -> Self {
        let found = found(&self.metadata, definitions, &self.found);
        // A version of its own: what is built from one is built again.
        let metadata = Arc::new(Metadata::clone(&self.metadata));
        Self::of(Arc::new(found), Arc::new(troubles), metadata, Arc::clone(&self.refused), Some(self))
    }

    fn of(
        found: Arc<BTreeMap<TableName, Table>>,
        troubles: Arc<Vec<LocationTrouble>>,
        metadata: Arc<Metadata>,
        refused: Arc<HashSet<String>>,
        previous: Option<&Self>,
    ) -> Self {
        let is_same = |previous: &&Self| {
            Arc::ptr_eq(&previous.found, &found)
                && previous.metadata.distinct_counts == metadata.distinct_counts
                && previous.metadata.tables.len() == metadata.tables.len()
                && previous.metadata.tables.values().zip(metadata.tables.values()).all(|(a, b)| a == b)
        };
        if let Some(previous) = previous.filter(is_same) {
            let (tables, names_by_oid) = (Arc::clone(&previous.tables), Arc::clone(&previous.names_by_oid));
            return Self { found, troubles, tables, names_by_oid, metadata, refused, has_more: false };
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
            troubles,
            tables: Arc::new(tables),
            names_by_oid: Arc::new(names_by_oid),
            metadata,
            refused,
            has_more: false,
        }
    }

    /// The same found tables with other metadata, and the tables it tells of.
    pub fn with_metadata(&self, metadata: Metadata) -> Self {
        let (found, troubles) = (Arc::clone(&self.found), Arc::clone(&self.troubles));
        Self::of(found, troubles, Arc::new(metadata), Arc::clone(&self.refused), Some(self))
    }

    /// The tables that were found in locations, as they were when they were opened, those that others hide included.
    pub fn found(&self) -> impl Iterator<Item = &Arc<TableDefinition>> {
        self.found.values().map(|table| &table.definition)
    }

    /// True for a table that met files, since it was opened, which it does not fit.
    pub fn has_changed(&self, name: &TableName) -> bool {
        self.found.get(name).is_some_and(|table| table.has_changed.load(Ordering::Relaxed))
    }

    /// The locations of which nothing, or not all, could be found.
    pub fn troubles(&self) -> &[LocationTrouble] {
        &self.troubles
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
            troubles: Arc::clone(&self.troubles),
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
        table.definition.check_available().map_err(|error| DataFusionError::External(Box::new(error)))?;
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

/// The `definitions` by their names, each with an identifier of its own. What is as in `previous` stays what it is.
fn found(
    metadata: &Metadata,
    definitions: Vec<TableDefinition>,
    previous: &BTreeMap<TableName, Table>,
) -> BTreeMap<TableName, Table> {
    let mut oids: HashSet<u32> = metadata.tables.values().map(|definition| definition.oid).collect();
    let mut by_name: BTreeMap<TableName, TableDefinition> = BTreeMap::new();
    for definition in definitions {
        let Some(first) = by_name.get_mut(&definition.name) else {
            by_name.insert(definition.name.clone(), definition);
            continue;
        };
        if first.location == definition.location {
            continue;
        }
        // Which of them is meant cannot be told; rows of the wrong one would look like the right ones.
        let problem = Unavailable {
            trouble: Trouble::Ambiguous,
            reason: "several files or folders of the locations have its name".to_owned(),
            file: None,
            advice: format!(
                "rename one of {} and {}, or give one another name with CREATE EXTERNAL TABLE",
                first.location, definition.location
            ),
        };
        let name = first.name.clone();
        *first = TableDefinition::of_unavailable(name, first.location.clone(), problem);
    }
    let table = |(name, mut definition): (TableName, TableDefinition)| {
        while !oids.insert(definition.oid) {
            definition.oid += 1;
        }
        let known = previous
            .get(&name)
            .filter(|known| *known.definition == definition && !known.has_changed.load(Ordering::Relaxed));
        let table = known.cloned();
        let table = table.unwrap_or_else(|| Table::new(Arc::new(definition), &HashSet::new(), None));
        (name, table)
    };
    by_name.into_iter().map(table).collect()
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

    /// Other tables that were found, with the metadata of now.
    pub fn replace_found(&self, definitions: Vec<TableDefinition>, troubles: Vec<LocationTrouble>) {
        let mut current = self.current.write();
        *current = Arc::new(current.with_found(definitions, troubles));
    }

    /// The same found tables with `metadata`, unless a later version is already in place.
    pub fn replace_metadata(&self, metadata: Metadata) {
        let mut current = self.current.write();
        if metadata.version > current.version() {
            *current = Arc::new(current.with_metadata(metadata));
        }
    }
}
