//! A snapshot as DataFusion sees it: one catalog (`postgres`) of schemas of tables.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::Result as DataFusionResult;
use parking_lot::RwLock;

use crate::definition::{TableDefinition, TableName};
use crate::snapshot::Snapshot;
use crate::table::StringLayout;
use crate::table::managed::ManagedProvider;
use crate::table::view::ViewProvider;

/// The one database.
pub const DATABASE: &str = "postgres";
/// The schema that unqualified names mean.
pub const DEFAULT_SCHEMA: &str = "public";

/// The schema that a statement finds the table under that it changes, apart from its other uses in the
/// statement: `of` the table's own schema.
pub fn target_schema(of: &str) -> String {
    format!("{}{of}", *TARGET)
}

/// The schema that [`target_schema`] was given; any other is itself.
pub fn own_schema(schema: &str) -> &str {
    schema.strip_prefix(TARGET.as_str()).unwrap_or(schema)
}

/// No statement can name it: a name that is known could be used to read a table that one may only change.
static TARGET: LazyLock<String> = LazyLock::new(|| format!("sluice target {} ", uuid::Uuid::new_v4()));

/// The table that a statement changes, as the statement sees it.
#[derive(Debug, Clone)]
pub struct Target {
    /// The table.
    pub table: Arc<TableDefinition>,
    /// Those of its files that are read; all when not given.
    pub files: Option<Arc<HashSet<i64>>>,
}

/// The column of a [`Target`] that tells which file a row is in.
pub const FILE_COLUMN: &str = "\u{1}file";

/// The columns that views were planned to have, in the place of those that the catalog remembers.
pub type PlannedViews = Arc<RwLock<BTreeMap<TableName, SchemaRef>>>;

/// The users' schemas of one snapshot, with strings in one layout.
#[derive(Debug)]
pub struct SnapshotCatalog {
    snapshot: Arc<Snapshot>,
    layout: StringLayout,
    target: Option<Target>,
    views: PlannedViews,
}

impl SnapshotCatalog {
    /// Shows `snapshot` to DataFusion with strings in `layout`.
    pub fn new(snapshot: Arc<Snapshot>, layout: StringLayout) -> Self {
        Self { snapshot, layout, target: None, views: PlannedViews::default() }
    }

    /// Shows views with the columns in `views`.
    pub fn with_views(mut self, views: PlannedViews) -> Self {
        self.views = views;
        self
    }

    /// Shows `target` besides, in its [`target_schema`].
    pub fn with_target(mut self, target: Option<Target>) -> Self {
        self.target = target;
        self
    }
}

impl CatalogProvider for SnapshotCatalog {
    fn schema_names(&self) -> Vec<String> {
        self.snapshot.schemas()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if let Some(target) = &self.target
            && name == target_schema(&target.table.name.schema)
        {
            return Some(Arc::new(TargetSchema { target: target.clone(), layout: self.layout }));
        }
        self.snapshot.schemas().iter().any(|schema| schema == name).then(|| {
            Arc::new(SnapshotSchema {
                snapshot: Arc::clone(&self.snapshot),
                layout: self.layout,
                schema: name.to_owned(),
                views: Arc::clone(&self.views),
            }) as Arc<dyn SchemaProvider>
        })
    }
}

/// The schema of the one table that a statement changes.
#[derive(Debug)]
struct TargetSchema {
    target: Target,
    layout: StringLayout,
}

#[async_trait]
impl SchemaProvider for TargetSchema {
    fn table_names(&self) -> Vec<String> {
        vec![self.target.table.name.table.clone()]
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        if !self.table_exist(name) {
            return Ok(None);
        }
        let provider = ManagedProvider::new(&self.target.table, self.layout);
        Ok(provider.map(|provider| Arc::new(provider.of_files(self.target.files.clone())) as _))
    }

    fn table_exist(&self, name: &str) -> bool {
        name == self.target.table.name.table
    }
}

/// One schema of a snapshot.
#[derive(Debug)]
pub struct SnapshotSchema {
    snapshot: Arc<Snapshot>,
    layout: StringLayout,
    schema: String,
    views: PlannedViews,
}

#[async_trait]
impl SchemaProvider for SnapshotSchema {
    fn table_names(&self) -> Vec<String> {
        self.snapshot.table_names(&self.schema)
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        let name = TableName::new(self.schema.as_str(), name);
        if let Some(columns) = self.views.read().get(&name) {
            return Ok(Some(Arc::new(ViewProvider::new(Arc::clone(columns)))));
        }
        self.snapshot.provider(&name, self.layout)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.snapshot.table(&TableName::new(self.schema.as_str(), name)).is_some()
    }
}
