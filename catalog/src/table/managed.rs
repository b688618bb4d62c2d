//! Tables of the lake: the files that one snapshot knows, pruned by what the catalog keeps of them. Planning
//! asks no store for anything.
//!
//! A file has the column names of the snapshot that added it. Files whose columns lie otherwise than the
//! table's of now are scanned by themselves, and their columns put in order behind the scan.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PrunableStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DFSchema, ScalarValue, Statistics, project_schema};
use datafusion::datasource::TableType;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, lit};
use datafusion::physical_expr::expressions::{CastExpr, Column as ColumnExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, projection::ProjectionExpr};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;
use object_store::ObjectMeta;
use object_store::path::Path;

use super::StringLayout;
use crate::definition::TableDefinition;
use crate::lake::{Column, DataFile, FileLayout, ManagedTable, values};

/// A scan of a managed table with its strings in one layout.
#[derive(Debug)]
pub struct ManagedProvider {
    definition: Arc<TableDefinition>,
    managed: Arc<ManagedTable>,
    schema: SchemaRef,
    defaults: HashMap<String, Expr>,
    statistics: Vec<Arc<Statistics>>,
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
            statistics,
            schema,
            managed,
        })
    }

    /// The files that may hold rows that pass `filters`, by their places among the table's.
    fn pruned(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<usize>> {
        let all = || (0..self.managed.files.len()).collect();
        let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(all()) };
        let schema = DFSchema::try_from(Arc::clone(&self.schema))?;
        // What cannot be told from bounds prunes nothing.
        let Ok(filter) = state.create_physical_expr(filter, &schema) else { return Ok(all()) };
        let predicate =
            PruningPredicateBuilder::new().with_file_schema(Arc::clone(&self.schema)).build(filter);
        let Some(predicate) = predicate else { return Ok(all()) };
        let known = PrunableStatistics::new(self.statistics.clone(), Arc::clone(&self.schema));
        let Ok(may_match) = predicate.prune(&known) else { return Ok(all()) };
        Ok(may_match.into_iter().enumerate().filter_map(|(at, keep)| keep.then_some(at)).collect())
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
            layout.iter().zip(self.schema.fields()).all(|(name, f)| name.as_ref() == Some(f.name()));
        let names = layout.iter().zip(self.schema.fields());
        let in_file: Vec<Field> = names
            .filter_map(|(name, field)| {
                Some(field.as_ref().clone().with_name(name.as_ref()?).with_nullable(true))
            })
            .collect();
        let file_schema: SchemaRef =
            if is_plain { Arc::clone(&self.schema) } else { Arc::new(Schema::new(in_file)) };
        let wanted: Vec<usize> = if is_plain {
            projection.to_vec()
        } else {
            projection.iter().filter_map(|at| file_schema.index_of(layout[*at].as_ref()?).ok()).collect()
        };
        let mut store = None;
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
            if is_plain {
                part = part.with_statistics(Arc::clone(&self.statistics[*at]));
            }
            partitioned.push(part);
        }
        let store = store.ok_or_else(|| DataFusionError::Internal("a scan of no file".to_owned()))?;
        let groups = FileGroup::new(partitioned).split_files(state.config().target_partitions());
        let source = Arc::new(ParquetSource::new(TableSchema::from(Arc::clone(&file_schema))));
        let mut config = FileScanConfigBuilder::new(store, source).with_file_groups(groups);
        if is_plain {
            let each = files.iter().map(|at| self.statistics[*at].as_ref());
            config = config.with_statistics(Statistics::try_merge_iter(each, &self.schema)?);
        }
        let config = config.with_projection_indices(Some(wanted.clone()))?.with_limit(limit).build();
        let scan = ParquetFormat::default().create_physical_plan(state, config).await?;
        if is_plain {
            return Ok(scan);
        }
        let columns: Vec<&Column> = self.managed.current_columns().collect();
        let expressions = projection.iter().map(|at| {
            let field = self.schema.field(*at);
            let found = layout[*at].as_ref().and_then(|name| scan.schema().index_of(name).ok());
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
        if let Some(problem) = &self.managed.problem {
            return Err(refused(problem));
        }
        let kept = self.pruned(state, filters)?;
        if kept.iter().any(|at| self.managed.files[*at].deletes.is_some()) {
            return Err(refused("another engine deleted rows of its files without rewriting them"));
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
        Statistics::try_merge_iter(self.statistics.iter().map(AsRef::as_ref), &self.schema).ok()
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
