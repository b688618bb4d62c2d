//! The row groups of a scan that its condition leaves, by the statistics of footers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::physical_plan::parquet::{
    ParquetAccessPlan, ParquetFileMetrics, RowGroupAccessPlanFilter, apply_file_schema_type_coercions,
};
use datafusion::parquet::arrow::parquet_to_arrow_schema;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::simplifier::PhysicalExprSimplifier;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapterFactory, replace_columns_with_literals,
};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

/// Row groups are looked for in so many files, at most: each takes some 0.1 ms.
const FILES_MAX: usize = 200;

/// Row groups of a table's files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowGroups {
    /// Those that are read.
    pub read: u64,
    /// Those in which no row fits, as their statistics tell.
    pub pruned: u64,
}

/// The row groups of all files of `scan`. None when `footer` has not that of each, and for very many files.
pub fn row_groups(
    scan: &FileScanConfig,
    footer: impl Fn(&Path) -> Option<Arc<ParquetMetaData>>,
) -> Option<RowGroups> {
    let files = scan.file_groups.iter().flat_map(|group| group.iter());
    // A file may be read in several ranges.
    let files: BTreeMap<_, _> = files.map(|file| (&file.object_meta.location, file)).collect();
    if files.len() > FILES_MAX {
        return None;
    }
    let condition = scan.file_source().filter();
    let mut groups = RowGroups::default();
    for (location, file) in files {
        let footer = footer(location)?;
        let all = footer.num_row_groups();
        let kept =
            condition.as_ref().and_then(|condition| kept(scan, file, &footer, condition)).unwrap_or(all);
        groups.read += kept as u64;
        groups.pruned += (all - kept) as u64;
    }
    Some(groups)
}

/// How many row groups of one file `condition` keeps; none when it cannot be asked of this file. It is about the table's
/// columns, of which a file may have fewer, and others; so it is made one about the file's, as a scan does.
fn kept(
    scan: &FileScanConfig,
    file: &PartitionedFile,
    footer: &ParquetMetaData,
    condition: &Arc<dyn PhysicalExpr>,
) -> Option<usize> {
    let table = scan.file_source().table_schema();
    let in_file = footer.file_metadata();
    let columns = parquet_to_arrow_schema(in_file.schema_descr(), in_file.key_value_metadata()).ok()?;
    let columns =
        Arc::new(apply_file_schema_type_coercions(table.file_schema(), &columns).unwrap_or(columns));
    let keys = table.table_partition_cols().iter().map(|key| key.name().clone());
    let values: HashMap<String, ScalarValue> = keys.zip(file.partition_values.iter().cloned()).collect();
    let condition = replace_columns_with_literals(Arc::clone(condition), &values).ok()?;
    let stock = || Arc::new(DefaultPhysicalExprAdapterFactory) as Arc<dyn PhysicalExprAdapterFactory>;
    let factory = scan.expr_adapter_factory.clone().unwrap_or_else(stock);
    let adapter = factory.create(Arc::clone(table.file_schema()), Arc::clone(&columns)).ok()?;
    let simplifier = PhysicalExprSimplifier::new(&columns);
    let condition = simplifier.simplify(adapter.rewrite(condition).ok()?).ok()?;
    let constant = condition.downcast_ref::<Literal>().map(Literal::value);
    if constant.is_some_and(|value| value.is_null() || *value == ScalarValue::from(false)) {
        return Some(0);
    }
    let condition =
        PruningPredicateBuilder::new().with_file_schema(Arc::clone(&columns)).try_build(condition).ok()?;
    let mut filter = RowGroupAccessPlanFilter::new(ParquetAccessPlan::new_all(footer.num_row_groups()));
    let counts = ParquetFileMetrics::new(0, "", &ExecutionPlanMetricsSet::new());
    filter.prune_by_statistics(&columns, in_file.schema_descr(), footer.row_groups(), &condition, &counts);
    Some(filter.remaining_row_group_count())
}
