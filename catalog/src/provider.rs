//! A snapshot as DataFusion sees it: one catalog (`postgres`) of schemas of tables.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::Result as DataFusionResult;

use crate::definition::TableName;
use crate::snapshot::Snapshot;
use crate::table::StringLayout;

/// The one database.
pub const DATABASE: &str = "postgres";
/// The schema that unqualified names mean.
pub const DEFAULT_SCHEMA: &str = "public";

/// The users' schemas of one snapshot, with strings in one layout.
#[derive(Debug)]
pub struct SnapshotCatalog {
    snapshot: Arc<Snapshot>,
    layout: StringLayout,
}

impl SnapshotCatalog {
    /// Shows `snapshot` to DataFusion with strings in `layout`.
    pub fn new(snapshot: Arc<Snapshot>, layout: StringLayout) -> Self {
        Self { snapshot, layout }
    }
}

impl CatalogProvider for SnapshotCatalog {
    fn schema_names(&self) -> Vec<String> {
        self.snapshot.schemas()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        self.snapshot.schemas().iter().any(|schema| schema == name).then(|| {
            Arc::new(SnapshotSchema {
                snapshot: Arc::clone(&self.snapshot),
                layout: self.layout,
                schema: name.to_owned(),
            }) as Arc<dyn SchemaProvider>
        })
    }
}

/// One schema of a snapshot.
#[derive(Debug)]
pub struct SnapshotSchema {
    snapshot: Arc<Snapshot>,
    layout: StringLayout,
    schema: String,
}

#[async_trait]
impl SchemaProvider for SnapshotSchema {
    fn table_names(&self) -> Vec<String> {
        self.snapshot.table_names(&self.schema)
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        self.snapshot.provider(&TableName::new(self.schema.as_str(), name), self.layout)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.snapshot.table(&TableName::new(self.schema.as_str(), name)).is_some()
    }
}
