//! The row groups of a scan that its condition leaves, by the statistics of footers.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::physical_plan::parquet::{
    ParquetAccessPlan, ParquetFileMetrics, RowGroupAccessPlanFilter,
};
use datafusion::parquet::arrow::parquet_to_arrow_schema;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;

use object_store::path::Path;

/// Row groups of a table's files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowGroups {
    /// Those that are to be read.
    pub read: u64,
    /// Those in which no row fits, as their statistics tell.
    pub pruned: u64,
}

/// The row groups of all files of `scan`. None when `footer` has not that of each.
pub fn row_groups(
    scan: &FileScanConfig,
    footer: impl Fn(&Path) -> Option<Arc<ParquetMetaData>>,
) -> Option<RowGroups> {
    let files = scan.file_groups.iter().flat_map(|group| group.iter());
    // A file may be read in several ranges.
    let files: BTreeSet<_> = files.map(|file| &file.object_meta.location).collect();
    let schema = scan.file_source().table_schema().table_schema();
    let condition = scan.file_source().filter().and_then(|filter| {
        PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema)).try_build(filter).ok()
    });
    let mut groups = RowGroups::default();
    for location in files {
        let footer = footer(location)?;
        let all = footer.num_row_groups();
        let left = condition.as_ref().and_then(|condition| left(&footer, condition)).unwrap_or(all);
        groups.read += left as u64;
        groups.pruned += (all - left) as u64;
    }
    Some(groups)
}

/// How many row groups of one file `condition` leaves; none when its columns cannot be read.
fn left(footer: &ParquetMetaData, condition: &PruningPredicate) -> Option<usize> {
    let file = footer.file_metadata();
    let columns = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata()).ok()?;
    let mut filter = RowGroupAccessPlanFilter::new(ParquetAccessPlan::new_all(footer.num_row_groups()));
    let counts = ParquetFileMetrics::new(0, "", &ExecutionPlanMetricsSet::new());
    filter.prune_by_statistics(&columns, file.schema_descr(), footer.row_groups(), condition, &counts);
    Some(filter.remaining_row_group_count())
}
