//! Tables of the lake: the files that one snapshot knows, pruned by what the catalog keeps of them. Planning
//! asks no store for anything.
//!
//! A file has the column names of the snapshot that added it. Files whose columns lie otherwise than the
//! table's of now are scanned by themselves, and their columns put in order behind the scan.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, UInt64Type};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PrunableStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DFSchema, ScalarValue, Statistics, project_schema};
use datafusion::datasource::TableType;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, lit};
use datafusion::parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection};
use datafusion::physical_expr::expressions::{CastExpr, Column as ColumnExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, projection::ProjectionExpr};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};

use super::StringLayout;
use super::recorded::{self, RecordedPartition};
use crate::definition::TableDefinition;
use crate::lake::{Column, DataFile, DeleteFile, FileLayout, ManagedTable, values};
use crate::{CatalogError, FILE_COLUMN};

/// A scan of a managed table with its strings in one layout.
#[derive(Debug)]
pub struct ManagedProvider {
    definition: Arc<TableDefinition>,
    managed: Arc<ManagedTable>,
    schema: SchemaRef,
    /// The columns of the table; `schema` may have the file's behind them.
    columns: SchemaRef,
    defaults: HashMap<String, Expr>,
    statistics: Vec<Arc<Statistics>>,
    /// Those of the files that are read; all when not given.
    only: Option<Arc<HashSet<i64>>>,
    layout: StringLayout,
    /// About how many different values columns have, by name.
    distinct_counts: Option<Arc<BTreeMap<String, u64>>>,
}

impl ManagedProvider {
    /// `None` for a table that is not managed.
    pub fn new(definition: &Arc<TableDefinition>, layout: StringLayout) -> Option<Self> {
        let managed = Arc::clone(definition.managed.as_ref()?);
        let schema = layout.apply(&definition.file_schema);
        let columns: Vec<&Column> = managed.current_columns().collect();
        let default = |column: &&Column| {
            let value = values::from_text(column.default.as_deref()?, column.field.data_type())?;
            Some((column.field.name().clone(), lit(value)))
        };
        let statistics =
            managed.files.iter().map(|file| Arc::new(file_statistics(file, &columns, &schema))).collect();
        Some(Self {
            definition: Arc::clone(definition),
            defaults: columns.iter().filter_map(default).collect(),
            columns: Arc::clone(&schema),
            statistics,
            schema,
            managed,
            only: None,
            layout,
            distinct_counts: None,
        })
    }

    /// The same, told how many different values its columns have.
    pub fn with_distinct_counts(mut self, counts: Option<Arc<BTreeMap<String, u64>>>) -> Self {
        self.distinct_counts = counts;
        self
    }

    /// Puts what ANALYZE counted into `statistics`, which are those of all files.
    fn counted(&self, mut statistics: Statistics) -> Statistics {
        let Some(counts) = &self.distinct_counts else { return statistics };
        for (field, column) in self.columns.fields().iter().zip(&mut statistics.column_statistics) {
            if let Some(count) = counts.get(field.name()) {
                column.distinct_count = Precision::Inexact(*count as usize);
            }
        }
        statistics
    }

    /// The same over `only` some of the files, with the column [`FILE_COLUMN`] behind the table's own.
    pub fn of_files(mut self, only: Option<Arc<HashSet<i64>>>) -> Self {
        self.only = only;
        let mut fields: Vec<FieldRef> = self.columns.fields().iter().cloned().collect();
        fields.push(file_field());
        self.schema = Arc::new(Schema::new(fields));
        self
    }

    fn tells_file(&self) -> bool {
        self.schema.fields().len() > self.columns.fields().len()
    }

    /// The files that may hold rows that pass `filters`, by their places among the table's.
    fn pruned(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<usize>> {
        let is_read =
            |at: &usize| self.only.as_ref().is_none_or(|only| only.contains(&self.managed.files[*at].id));
        let all = || (0..self.managed.files.len()).filter(is_read).collect();
        let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(all()) };
        let schema = DFSchema::try_from(Arc::clone(&self.schema))?;
        // What cannot be told from bounds prunes nothing.
        let Ok(filter) = state.create_physical_expr(filter, &schema) else { return Ok(all()) };
        let predicate =
            PruningPredicateBuilder::new().with_file_schema(Arc::clone(&self.columns)).build(filter);
        let Some(predicate) = predicate else { return Ok(all()) };
        let known = PrunableStatistics::new(self.statistics.clone(), Arc::clone(&self.columns));
        let Ok(may_match) = predicate.prune(&known) else { return Ok(all()) };
        let kept = may_match.into_iter().enumerate().filter_map(|(at, keep)| keep.then_some(at));
        Ok(kept.filter(is_read).collect())
    }

    /// A scan of `files`, which all have `layout`, that gives the columns in `projection`.
    async fn scan_files(
        &self,
        state: &dyn Session,
        layout: &FileLayout,
        files: &[usize],
        projection: &[usize],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let is_plain =
            layout.iter().zip(self.columns.fields()).all(|(name, f)| name.as_ref() == Some(f.name()));
        let names = layout.iter().zip(self.columns.fields());
        let in_file: Vec<Field> = names
            .filter_map(|(name, field)| {
                Some(field.as_ref().clone().with_name(name.as_ref()?).with_nullable(true))
            })
            .collect();
        let file_schema: SchemaRef =
            if is_plain { Arc::clone(&self.columns) } else { Arc::new(Schema::new(in_file)) };
        let file_column = file_schema.fields().len();
        let place = |at: &usize| match layout.get(*at) {
            None => Some(file_column),
            Some(name) => file_schema.index_of(name.as_ref()?).ok(),
        };
        let wanted: Vec<usize> = projection.iter().filter_map(place).collect();
        let mut store = None;
        let keys = if is_plain { recorded::keys(&self.managed) } else { None };
        let mut partitioned = Vec::with_capacity(files.len());
        for at in files {
            let file = &self.managed.files[*at];
            let (url, path) = split(&file.location)?;
            store.get_or_insert(url);
            let meta = ObjectMeta {
                location: path,
                last_modified: Default::default(),
                size: file.file_bytes,
                e_tag: None,
                version: None,
            };
            let mut part = PartitionedFile::from(meta);
            if let Some(deletes) = &file.deletes {
                part = part.with_extension(remaining_rows(state, file, deletes).await?);
            }
            if self.tells_file() {
                part = part.with_partition_values(vec![ScalarValue::Int64(Some(file.id))]);
            }
            if is_plain {
                part = part.with_statistics(Arc::clone(&self.statistics[*at]));
            }
            if let Some(recorded) =
                keys.as_ref().and_then(|keys| RecordedPartition::of(file, keys, &self.managed))
            {
                part = part.with_extension(recorded);
            }
            partitioned.push(part);
        }
        let store = store.ok_or_else(|| DataFusionError::Internal("a scan of no file".to_owned()))?;
        let groups = FileGroup::new(partitioned).split_files(state.config().target_partitions());
        let behind = if self.tells_file() { vec![file_field()] } else { Vec::new() };
        let table_schema =
            TableSchema::builder(Arc::clone(&file_schema)).with_table_partition_cols(behind).build();
        let source = Arc::new(ParquetSource::new(table_schema));
        let mut config = FileScanConfigBuilder::new(store, source).with_file_groups(groups);
        if is_plain {
            let each = files.iter().map(|at| self.statistics[*at].as_ref());
            let mut all = self.counted(Statistics::try_merge_iter(each, &self.columns)?);
            if self.tells_file() {
                all.column_statistics.push(ColumnStatistics::new_unknown());
            }
            config = config.with_statistics(all);
        }
        let config = config.with_projection_indices(Some(wanted.clone()))?.with_limit(limit).build();
        let scan = ParquetFormat::default().create_physical_plan(state, config).await?;
        if is_plain {
            return Ok(scan);
        }
        let columns: Vec<&Column> = self.managed.current_columns().collect();
        let expressions = projection.iter().map(|at| {
            let field = self.schema.field(*at);
            let name = match layout.get(*at) {
                None => Some(FILE_COLUMN),
                Some(name) => name.as_deref(),
            };
            let found = name.and_then(|name| scan.schema().index_of(name).ok());
            let expr: Arc<dyn PhysicalExpr> = match found {
                Some(place) => Arc::new(ColumnExpr::new(scan.schema().field(place).name(), place)),
                None => Arc::new(Literal::new(initial_value(columns[*at], field)?)),
            };
            Ok(ProjectionExpr { expr, alias: field.name().clone() })
        });
        let expressions = expressions.collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(ProjectionExec::try_new(expressions, scan)?))
    }
}

fn file_field() -> FieldRef {
    Arc::new(Field::new(FILE_COLUMN, DataType::Int64, false))
}

/// The rows of `file` that `deletes` does not name.
async fn remaining_rows(
    state: &dyn Session,
    file: &DataFile,
    deletes: &DeleteFile,
) -> Result<ParquetRowSelection> {
    let (url, path) = split(&deletes.location)?;
    let store = state.runtime_env().object_store(&url)?;
    let bytes = store.get(&path).await?.bytes().await?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let place = builder.schema().index_of("pos")?;
    let mut deleted: Vec<usize> = Vec::with_capacity(deletes.rows as usize);
    for batch in builder.build()? {
        let rows = cast(batch?.column(place), &DataType::UInt64)?;
        deleted.extend(rows.as_primitive::<UInt64Type>().iter().flatten().map(|row| row as usize));
    }
    deleted.sort_unstable();
    deleted.dedup();
    let mut ranges = Vec::new();
    let mut from = 0;
    for row in deleted {
        if row > from {
            ranges.push(from..row);
        }
        from = row + 1;
    }
    let rows = file.rows as usize;
    if from < rows {
        ranges.push(from..rows);
    }
    Ok(ParquetRowSelection::new(RowSelection::from_consecutive_ranges(ranges.into_iter(), rows)))
}

/// What a column holds in files that are older than it.
fn initial_value(column: &Column, field: &Field) -> Result<ScalarValue> {
    let told = column.initial_default.as_deref().and_then(|text| values::from_text(text, field.data_type()));
    told.map_or_else(|| ScalarValue::try_from(field.data_type()), Ok)
}

#[async_trait]
impl TableProvider for ManagedProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_column_default(&self, column: &str) -> Option<&Expr> {
        self.defaults.get(column)
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let refused = |problem: &str| {
            let name = &self.definition.name.table;
            DataFusionError::NotImplemented(format!("table \"{name}\" cannot be read here: {problem}"))
        };
        if let Some(damage) = &self.managed.damage {
            let error = CatalogError::damaged_table(&self.definition.name, damage);
            return Err(DataFusionError::External(Box::new(error)));
        }
        if let Some(problem) = &self.managed.problem {
            return Err(refused(problem));
        }
        let kept = self.pruned(state, filters)?;
        // Which rows of a file were deleted cannot be told to executors: a plan that needs it runs here.
        if self.layout == StringLayout::Plain
            && kept.iter().any(|at| self.managed.files[*at].deletes.is_some())
        {
            return Err(refused("rows of its files were deleted by another engine"));
        }
        let projected = project_schema(&self.schema, projection)?;
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let wanted = projection.unwrap_or(&all);
        let mut groups: Vec<(FileLayout, Vec<usize>)> = Vec::new();
        for at in kept {
            let layout = self.managed.layout_of(&self.managed.files[at]);
            match groups.iter_mut().find(|(known, _)| *known == layout) {
                Some((_, files)) => files.push(at),
                None => groups.push((layout, vec![at])),
            }
        }
        let mut scans = Vec::with_capacity(groups.len());
        for (layout, files) in &groups {
            let scan = self.scan_files(state, layout, files, wanted, limit).await?;
            scans.push(in_shape(scan, &projected)?);
        }
        match scans.len() {
            0 => Ok(Arc::new(EmptyExec::new(projected))),
            1 => Ok(scans.remove(0)),
            _ => UnionExec::try_new(scans),
        }
    }

    fn statistics(&self) -> Option<Statistics> {
        if self.tells_file() {
            return None;
        }
        let all = Statistics::try_merge_iter(self.statistics.iter().map(AsRef::as_ref), &self.columns);
        all.ok().map(|all| self.counted(all))
    }
}

/// `scan` with the types of `schema`, where a file's columns are others.
fn in_shape(scan: Arc<dyn ExecutionPlan>, schema: &SchemaRef) -> Result<Arc<dyn ExecutionPlan>> {
    let given = scan.schema();
    let same = |(a, b): (&Arc<Field>, &Arc<Field>)| a.data_type() == b.data_type();
    if given.fields().iter().zip(schema.fields()).all(same) {
        return Ok(scan);
    }
    let column = |(at, (from, to)): (usize, (&Arc<Field>, &Arc<Field>))| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(ColumnExpr::new(from.name(), at));
        let expr = if from.data_type() == to.data_type() {
            column
        } else {
            Arc::new(CastExpr::new(column, to.data_type().clone(), None))
        };
        ProjectionExpr { expr, alias: to.name().clone() }
    };
    let columns: Vec<_> = given.fields().iter().zip(schema.fields()).enumerate().map(column).collect();
    Ok(Arc::new(ProjectionExec::try_new(columns, scan)?))
}

/// The store and the path of a file's location. The path is what the store calls it: nothing is decoded.
pub fn split(location: &str) -> Result<(ObjectStoreUrl, Path)> {
    let wrong = || DataFusionError::Internal(format!("{location} is no location"));
    let (scheme, rest) = location.split_once("://").ok_or_else(wrong)?;
    let (host, path) = rest.split_once('/').ok_or_else(wrong)?;
    let store = ObjectStoreUrl::parse(format!("{scheme}://{host}"))?;
    let path = Path::parse(path).map_err(|error| DataFusionError::ObjectStore(Box::new(error.into())))?;
    Ok((store, path))
}

/// What the catalog knows of a file, for pruning and for the order of joins.
fn file_statistics(file: &DataFile, columns: &[&Column], schema: &Schema) -> Statistics {
    let is_whole = file.deletes.is_none();
    let precise = |value: usize| if is_whole { Precision::Exact(value) } else { Precision::Inexact(value) };
    let column = |(column, field): (&&Column, &Arc<Field>)| {
        let Some(known) = file.columns.iter().find(|known| known.id == column.id) else {
            return ColumnStatistics::new_unknown();
        };
        let bound = |text: &Option<String>| match field.data_type() {
            // Nobody notes a NaN, which is beyond all bounds.
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Precision::Absent,
            kind => match text.as_deref().and_then(|text| values::from_text(text, kind)) {
                // Long texts are cut short, to bounds that hold.
                Some(value) if is_whole && kind.is_primitive() => Precision::Exact(value),
                Some(value) => Precision::Inexact(value),
                None => Precision::Absent,
            },
        };
        ColumnStatistics {
            null_count: known.nulls.map_or(Precision::Absent, |nulls| precise(nulls as usize)),
            min_value: bound(&known.min),
            max_value: bound(&known.max),
            ..ColumnStatistics::new_unknown()
        }
    };
    Statistics {
        num_rows: precise(file.rows as usize),
        total_byte_size: Precision::Inexact(file.file_bytes as usize),
        column_statistics: columns.iter().zip(schema.fields()).map(column).collect(),
    }
}
