//! What the tables of a plan are called and like.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use catalog::TableDefinition;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::parquet::file::metadata::ParquetMetaData;
use engine::cardinality::{self, Cardinality, Known, TableFacts};
use object_store::path::Path;

/// What the tables of a plan are called and like, by where their files lie.
pub(super) struct Tables(Vec<Table>);

pub(super) struct Table {
    pub(super) location: String,
    pub(super) name: String,
    pub(super) facts: TableFacts,
    pub(super) files: u64,
    /// The columns that its files are partitioned by.
    pub(super) keys: Vec<String>,
}

impl Tables {
    pub(super) fn of(tables: &[Arc<TableDefinition>]) -> Self {
        let entry = |table: &Arc<TableDefinition>| {
            let rows = table.statistics.rows.max(1) as f64;
            let fields = table.fields();
            let widths = fields
                .iter()
                .zip(&table.statistics.column_bytes)
                .map(|(field, bytes)| (field.name().clone(), *bytes as f64 / rows));
            let facts = TableFacts { widths: widths.collect() };
            Table {
                location: table.location.clone(),
                name: table.name.to_string(),
                facts,
                files: table.statistics.files,
                keys: table.partition_column_names(),
            }
        };
        let mut seen = BTreeSet::new();
        let mut tables: Vec<_> =
            tables.iter().map(entry).filter(|of| seen.insert(of.location.clone())).collect();
        // The longest location that a file lies below is its table's.
        tables.sort_by_key(|table| std::cmp::Reverse(table.location.len()));
        Self(tables)
    }

    pub(super) fn find(&self, location: &str) -> Option<&Table> {
        let below = |table: &&Table| location.starts_with(table.location.as_str());
        self.0.iter().find(below).or_else(|| self.0.first().filter(|_| self.0.len() == 1))
    }
}

pub(super) struct Facts<'a> {
    pub(super) tables: &'a Tables,
    pub(super) footers: &'a FileMetadataCache,
    pub(super) stages: &'a HashMap<usize, Cardinality>,
}

impl Known for Facts<'_> {
    fn stage(&self, stage: usize) -> Option<Cardinality> {
        self.stages.get(&stage).cloned()
    }

    fn table(&self, location: &str) -> Option<&TableFacts> {
        self.tables.find(location).map(|table| &table.facts)
    }

    fn footer(&self, file: &Path) -> Option<Arc<ParquetMetaData>> {
        cardinality::cached_footer(self.footers, file)
    }
}
