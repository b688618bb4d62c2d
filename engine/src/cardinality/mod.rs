//! How many rows, of how many bytes, each operator of a plan is expected to give, and what it will hold for that.
//!
//! DataFusion's own statistics end where a value of text is compared or a key is not in a footer. Here every operator has
//! a figure: it follows what footers and ANALYZE tell of columns (bounds, different values, widths), by the rules of
//! Selinger et al., "Access Path Selection in a Relational Database Management System" (1979), with two changes for what
//! files tell. Numbers of different values are upper bounds; and those of a key are never more than the rows of the
//! table it comes from, however many rows a join makes of them.

mod columns;
mod filters;
mod footers;
mod joins;
mod row_groups;
mod state;

use std::sync::Arc;

use ballista_core::execution_plans::UnresolvedShuffleExec;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::datasource::physical_plan::parquet::CachedParquetMetaData;
use datafusion::datasource::physical_plan::parquet::metadata::CachedParquetMetaData as CachedStatistics;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, PhysicalExpr};
use object_store::path::Path;

pub use columns::{ColumnFacts, TableFacts};
pub use row_groups::{RowGroups, row_groups};

/// What an Arrow file has besides its columns and their values: schema, marks, ends.
const FILE_BYTES: f64 = 280.0;
/// The same for each column.
const FILE_COLUMN_BYTES: f64 = 150.0;
/// What an array has besides its values.
const ARRAY_BYTES: f64 = 115.0;
/// Rows of a batch.
const BATCH_ROWS: f64 = 8192.0;
/// Rows that a list is expected to have, which nothing tells.
const LIST_LENGTH: f64 = 4.0;

/// What an operator gives, all partitions together.
#[derive(Debug, Clone)]
pub struct Cardinality {
    /// Rows.
    pub rows: f64,
    /// One for each column of the operator's schema.
    pub columns: Vec<ColumnFacts>,
    /// That schema.
    pub schema: SchemaRef,
}

impl Cardinality {
    /// So many rows of which nothing but the schema is known.
    pub fn by_type(schema: SchemaRef, rows: f64) -> Self {
        Self { rows, columns: columns::by_type(&schema, rows), schema }
    }

    /// Bytes of one row in memory.
    pub fn row_bytes(&self) -> f64 {
        self.columns.iter().map(|column| column.width).sum()
    }

    /// Bytes of all rows in memory.
    pub fn bytes(&self) -> f64 {
        self.rows * self.row_bytes()
    }

    /// Bytes of all rows in `files` shuffle files, compressed.
    pub fn stored_bytes(&self, files: usize) -> f64 {
        let names: usize = self.schema.fields().iter().map(|field| field.name().len()).sum();
        let columns = self.columns.len() as f64;
        let header = FILE_BYTES + FILE_COLUMN_BYTES * columns + names as f64;
        let batches = (self.rows / BATCH_ROWS).max(0.0) * FILE_COLUMN_BYTES * columns;
        header * (files as f64).min(self.rows.max(1.0))
            + batches
            + self.columns.iter().map(|column| column.stored_bytes(self.rows)).sum::<f64>()
    }

    /// Bytes of all rows once they are cut into batches, those of `from` partitions for `into` others each, as Arrow counts
    /// them in memory.
    pub fn cut_bytes(&self, from: usize, into: usize) -> f64 {
        let from = from.max(1) as f64;
        let pieces = from * (into.max(1) as f64).min((self.rows / from).max(1.0));
        let batches = pieces + self.rows / BATCH_ROWS;
        self.bytes() + batches * self.columns.len() as f64 * ARRAY_BYTES
    }

    /// The same columns with so many rows.
    fn with_rows(mut self, rows: f64) -> Self {
        self.rows = rows.max(0.0);
        self
    }

    /// Different values of `keys` together.
    fn distinct(&self, keys: &[Arc<dyn PhysicalExpr>]) -> f64 {
        let facts: Vec<ColumnFacts> = keys.iter().map(|key| columns::of_expression(key, self)).collect();
        columns::distinct_together(&facts, self.rows)
    }
}

/// An operator with what is expected of it.
#[derive(Debug, Clone)]
pub struct Estimated {
    /// What it gives.
    pub output: Cardinality,
    /// Bytes that it holds at its fullest, in all its partitions together; 0 for what only passes on.
    pub held_bytes: f64,
    /// True when it writes to disk what does not fit.
    pub can_spill: bool,
    /// It sets memory aside for merging what it may have to write to disk, in each partition.
    pub sets_aside: bool,
    /// Its inputs, in the plan's order.
    pub inputs: Vec<Estimated>,
}

/// What is known from outside of the plan.
pub trait Known {
    /// What a stage gives whose rows an operator reads.
    fn stage(&self, stage: usize) -> Option<Cardinality>;
    /// What the table is like whose file lies at `location`.
    fn table(&self, location: &str) -> Option<&TableFacts>;
    /// The decoded footer of a Parquet file, when it is at hand.
    fn footer(&self, file: &Path) -> Option<Arc<ParquetMetaData>>;
}

/// The decoded footer of `file`, when `cache` has it.
pub fn cached_footer(cache: &FileMetadataCache, file: &Path) -> Option<Arc<ParquetMetaData>> {
    let entry = cache.get(file)?;
    let metadata = entry.file_metadata.as_any();
    // DataFusion has two types of the same name, for what statistics and what scans have read.
    let by_scan = metadata.downcast_ref::<CachedParquetMetaData>().map(|of| of.parquet_metadata());
    let by_statistics = || metadata.downcast_ref::<CachedStatistics>().map(|of| of.parquet_metadata());
    by_scan.or_else(by_statistics).map(Arc::clone)
}

/// Estimates `plan` and all below it.
pub fn estimate(plan: &Arc<dyn ExecutionPlan>, known: &dyn Known) -> Estimated {
    let inputs: Vec<Estimated> = plan.children().into_iter().map(|child| estimate(child, known)).collect();
    let mut output = output(plan, &inputs, known);
    output.schema = plan.schema();
    let (held_bytes, can_spill) = state::held(plan.as_ref(), &output, &inputs);
    let sets_aside = plan.is::<SortExec>() && plan.fetch().is_none();
    Estimated { output, held_bytes, can_spill, sets_aside, inputs }
}

fn output(plan: &Arc<dyn ExecutionPlan>, inputs: &[Estimated], known: &dyn Known) -> Cardinality {
    if let Some(stage) = plan.downcast_ref::<UnresolvedShuffleExec>()
        && let Some(output) = known.stage(stage.stage_id)
    {
        return output;
    }
    let Some(first) = inputs.first().map(|input| &input.output) else {
        return columns::of_leaf(plan, known);
    };
    let partitions = plan.output_partitioning().partition_count() as f64;
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let output = filters::kept(filter.predicate(), first);
        let output = filter.projection().as_ref().map_or_else(|| output.clone(), |of| picked(&output, of));
        return limited(output, filter.fetch().map(|rows| rows as f64 * partitions));
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let columns = projection.expr().iter().map(|of| columns::of_expression(&of.expr, first)).collect();
        return Cardinality { rows: first.rows, columns, schema: plan.schema() };
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return aggregated(aggregate, first, partitions);
    }
    if let Some(joined) = joins::output(plan.as_ref(), inputs) {
        return joined;
    }
    if let Some(union) = plan.downcast_ref::<UnionExec>() {
        return united(union, inputs);
    }
    if let Some(unnest) = plan.downcast_ref::<UnnestExec>() {
        let rows = first.rows * LIST_LENGTH;
        return Cardinality::by_type(unnest.schema(), rows);
    }
    if plan.is::<WindowAggExec>() || plan.is::<BoundedWindowAggExec>() {
        let mut output = first.clone();
        let all = columns::by_type(plan.schema().as_ref(), first.rows);
        output.columns.extend(all.into_iter().skip(first.columns.len()));
        return output;
    }
    let is_of_all = plan.is::<GlobalLimitExec>() || plan.is::<SortPreservingMergeExec>();
    let is_limit = is_of_all || plan.is::<LocalLimitExec>() || plan.is::<SortExec>();
    let each = if is_of_all { 1.0 } else { partitions };
    let fetch = plan.fetch().filter(|_| is_limit).map(|rows| rows as f64 * each);
    let same_width = first.columns.len() == plan.schema().fields().len();
    let output = if same_width { first.clone() } else { Cardinality::by_type(plan.schema(), first.rows) };
    limited(output, fetch)
}

fn limited(output: Cardinality, fetch: Option<f64>) -> Cardinality {
    let rows = fetch.map_or(output.rows, |most| output.rows.min(most));
    output.with_rows(rows)
}

fn picked(of: &Cardinality, projection: &[usize]) -> Cardinality {
    let columns = projection.iter().filter_map(|at| of.columns.get(*at).cloned()).collect();
    Cardinality { rows: of.rows, columns, schema: Arc::clone(&of.schema) }
}

fn aggregated(aggregate: &AggregateExec, input: &Cardinality, partitions: f64) -> Cardinality {
    let keys: Vec<Arc<dyn PhysicalExpr>> =
        aggregate.group_expr().expr().iter().map(|(key, _)| Arc::clone(key)).collect();
    let sets = aggregate.group_expr().groups().len().max(1) as f64;
    let is_of_part = *aggregate.mode() == AggregateMode::Partial;
    let groups = if keys.is_empty() { 1.0 } else { input.distinct(&keys) };
    let rows = if is_of_part {
        // Each partition sees a part of the rows, and of the groups those that are among them.
        let share = input.rows / partitions.max(1.0);
        columns::drawn(groups, share) * partitions * sets
    } else {
        groups * sets
    };
    let rows = rows.min((input.rows * sets).max(if keys.is_empty() { partitions } else { 0.0 })).max(1.0);
    let mut columns: Vec<ColumnFacts> = keys.iter().map(|key| columns::of_expression(key, input)).collect();
    let all = columns::by_type(aggregate.schema().as_ref(), rows).into_iter().skip(keys.len());
    let functions = aggregate.aggr_expr().iter().map(Some).chain(std::iter::repeat(None));
    columns.extend(all.zip(functions).map(|(mut facts, function)| {
        if function.is_some_and(|function| function.fun().name() == "count") {
            // Groups are of few sizes.
            facts.distinct = facts.distinct.min(4.0 * input.rows / rows.max(1.0) + 1.0);
        }
        facts
    }));
    columns.truncate(aggregate.schema().fields().len());
    let rows = aggregate.limit_options().map_or(rows, |limit| rows.min(limit.limit() as f64 * partitions));
    Cardinality { rows, columns, schema: aggregate.schema() }
}

fn united(union: &UnionExec, inputs: &[Estimated]) -> Cardinality {
    let rows = inputs.iter().map(|input| input.output.rows).sum();
    let columns = (0..union.schema().fields().len()).map(|at| {
        let of = inputs.iter().filter_map(|input| Some((input.output.columns.get(at)?, input.output.rows)));
        columns::united(of)
    });
    Cardinality { rows, columns: columns.collect(), schema: union.schema() }
}
