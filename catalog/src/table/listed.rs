//! The scan of a table whose files lie somewhere: they are listed when it is planned, and each is looked at once before
//! its rows count.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::TableParquetOptions;
use datafusion::common::stats::{NdvFallback, Precision};
use datafusion::common::{DFSchema, ScalarValue, Statistics, TableReference, project_schema};
use datafusion::datasource::TableType;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, PartitionedFile, helpers,
};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::cache::cache_manager::{CachedFileMetadata, FileStatisticsCache};
use datafusion::execution::cache::{SchemaFingerprint, TableScopedPath};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::StringLayout;
use super::external::{check_file, compression_of, format_of, of_table};
use super::file_statistics::{self, KnownFiles};
use super::files::{self, Place};
use super::footer;
use super::trusted::has_other_type;
use crate::definition::{Compression, ExternalFormat, TableDefinition};
use crate::{CatalogError, DATABASE};

/// A scan of `definition` with its strings in `layout`, and about so many different values in columns. `has_changed` is
/// told when files are met that the table, as it was opened, does not fit.
pub fn provider(
    definition: &Arc<TableDefinition>,
    layout: StringLayout,
    distinct_counts: Option<Arc<BTreeMap<String, u64>>>,
    has_changed: Arc<AtomicBool>,
) -> DataFusionResult<Arc<dyn TableProvider>> {
    let name = &definition.name;
    // A plan that travels says nothing of compression, and what reads it takes the bytes as they are.
    if layout == StringLayout::Plain && compression_of(&definition.files.format) != Compression::None {
        let message = format!(
            "the files of table \"{}\" are compressed text, which is read in the server itself",
            name.table
        );
        return Err(DataFusionError::NotImplemented(message));
    }
    // The two layouts are different entries in the caches: a footer's statistics are kept per schema.
    let scope =
        TableReference::full(format!("{DATABASE}/{layout:?}"), name.schema.as_str(), name.table.as_str());
    let mut place = Place::new(&definition.location, &definition.files)?;
    place.url = place.url.with_table_ref(scope);
    let format = format_of(&definition.files);
    let options = ListingOptions::new(Arc::clone(&format))
        .with_table_partition_cols(definition.partition_columns.clone());
    let file_schema = layout.apply(&definition.file_schema);
    let config = ListingTableConfig::new(place.url.clone())
        .with_listing_options(options)
        .with_schema(Arc::clone(&file_schema));
    // A file may lie beside the folders, and has then no value of theirs.
    let in_folders: Vec<_> = definition
        .partition_columns
        .iter()
        .map(|(name, kind)| Arc::new(Field::new(name, kind.clone(), true)))
        .collect();
    let schema = TableSchema::builder(Arc::clone(&file_schema)).with_table_partition_cols(in_folders).build();
    Ok(Arc::new(Listed {
        definition: Arc::clone(definition),
        place,
        format,
        table: ListingTable::try_new(config)?,
        fingerprint: Arc::new(SchemaFingerprint::from_schema(&file_schema)),
        file_schema,
        schema,
        noted: OnceLock::new(),
        distinct_counts,
        has_changed,
    }))
}

/// A table over files that remembers what their footers told, and what ANALYZE noted.
#[derive(Debug)]
struct Listed {
    definition: Arc<TableDefinition>,
    place: Place,
    format: Arc<dyn FileFormat>,
    /// Knows which filters folders can answer, and which order files have in common.
    table: ListingTable,
    file_schema: SchemaRef,
    schema: TableSchema,
    fingerprint: Arc<SchemaFingerprint>,
    /// What ANALYZE noted, ready for plans once the first of them asks.
    noted: OnceLock<Arc<HashMap<Path, CachedFileMetadata>>>,
    /// How many different values columns have, about.
    distinct_counts: Option<Arc<BTreeMap<String, u64>>>,
    has_changed: Arc<AtomicBool>,
}

#[async_trait]
impl TableProvider for Listed {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        self.table.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let store = session.runtime_env().object_store(&self.place.url)?;
        let of_folders: Vec<&str> =
            self.definition.partition_columns.iter().map(|(name, _)| name.as_str()).collect();
        let (of_folders, of_rows): (Vec<Expr>, Vec<Expr>) = filters.iter().cloned().partition(|filter| {
            !of_folders.is_empty() && helpers::expr_applicable_for_cols(&of_folders, filter)
        });
        let files = self.files(session, &store, of_folders).await?;
        // A filter of rows may leave none of those that come first.
        let rows_wanted = limit.filter(|_| of_rows.is_empty());
        let (files, is_part) = self.known(session, &store, files, rows_wanted).await?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(&self.schema(), projection)?)));
        }
        let groups = FileGroup::new(files).split_files(session.config().target_partitions());
        let (groups, statistics) = with_sums(groups, self.schema.table_schema())?;
        let statistics = if is_part { statistics.to_inexact() } else { statistics };
        let ordering = self.table.try_create_output_ordering(session.execution_props(), &groups)?;
        let mixes_units = groups.iter().flat_map(FileGroup::iter).any(|file| self.has_other_unit(file));
        let is_parquet = self.definition.files.format == ExternalFormat::Parquet;
        let format = if mixes_units && is_parquet { without_pruning() } else { Arc::clone(&self.format) };
        let source = format.file_source(self.schema.clone());
        let config = FileScanConfigBuilder::new(self.place.url.object_store(), source)
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .with_output_ordering(ordering)
            .build();
        let plan = format.create_physical_plan(session, config).await?;
        Ok(told(plan, self.distinct_counts.as_deref()))
    }
}

impl Listed {
    /// True for a file that has instants in another unit than the table's. Where one is compared with a finer literal, the
    /// literal is cut to the file's unit, and its bounds say that rows are not there which are.
    fn has_other_unit(&self, file: &PartitionedFile) -> bool {
        let is_instant =
            |at: usize| matches!(self.file_schema.field(at).data_type(), DataType::Timestamp(..));
        (0..self.file_schema.fields().len()).any(|at| is_instant(at) && hides_bounds(file, at))
    }

    /// The files of now that lie in folders which pass `filters`.
    async fn files(
        &self,
        session: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        filters: Vec<Expr>,
    ) -> DataFusionResult<Vec<PartitionedFile>> {
        let name = &self.definition.name;
        let found = self.place.listed(session, store.as_ref()).await?;
        if let Some(foreign) = files::foreign(&self.place.url, &found) {
            self.has_changed.store(true, Ordering::Relaxed);
            let error = CatalogError::Foreign { place: foreign.folder, format: foreign.format };
            return Err(DataFusionError::External(Box::new(error)));
        }
        let is_parquet = self.definition.files.format == ExternalFormat::Parquet;
        let own: Vec<_> = found.into_iter().filter(|file| self.place.is_own(file)).collect();
        // There were some when it became a table: a place that is gone, or a disk that is not mounted, lists none.
        if own.is_empty() && self.place.url.is_collection() {
            self.has_changed.store(true, Ordering::Relaxed);
            let (location, problem) =
                (self.definition.location.clone(), "holds none of its files any more".to_owned());
            return Err(DataFusionError::External(Box::new(CatalogError::Location { location, problem })));
        }
        // Text without a byte is text without a row; a Parquet file without one is none.
        let own = own.into_iter().filter(|file| is_parquet || file.size > 0);
        let columns = &self.definition.partition_columns;
        let mut files = Vec::new();
        for meta in own {
            let values = self.place.partition_values(&meta.location, columns).map_err(|error| {
                self.has_changed.store(true, Ordering::Relaxed);
                DataFusionError::External(Box::new(of_table(error, name)))
            })?;
            let mut file = PartitionedFile::from(meta);
            file.partition_values = values;
            file.table_reference.clone_from(self.place.url.get_table_ref());
            files.push(file);
        }
        // A listing that does not find the one file it is of would be a table without rows.
        if files.is_empty() && !self.place.url.is_collection() {
            store.head(self.place.url.prefix()).await?;
        }
        let Some(filter) = conjunction(filters).filter(|_| !files.is_empty()) else { return Ok(files) };
        let fields: Vec<Field> =
            columns.iter().map(|(name, kind)| Field::new(name, kind.clone(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let column =
            |at: usize| ScalarValue::iter_to_array(files.iter().map(|f| f.partition_values[at].clone()));
        let arrays = (0..columns.len()).map(column).collect::<DataFusionResult<Vec<_>>>()?;
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
        let filter = session.create_physical_expr(filter, &DFSchema::try_from(schema)?)?;
        let kept = filter.evaluate(&batch)?.into_array(files.len())?;
        let kept = kept.as_boolean();
        let passes = |at: &usize| kept.is_valid(*at) && kept.value(*at);
        Ok(files.into_iter().enumerate().filter(|(at, _)| passes(at)).map(|(_, file)| file).collect())
    }

    /// `files` with what is known of each, as many as are needed for so many rows; true when those are not all.
    async fn known(
        &self,
        session: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        files: Vec<PartitionedFile>,
        rows_wanted: Option<usize>,
    ) -> DataFusionResult<(Vec<PartitionedFile>, bool)> {
        let seen = session.runtime_env().cache_manager.get_file_statistic_cache();
        let analyzed = &self.definition.analyzed;
        let cache = match seen {
            Some(seen) if !analyzed.is_empty() => {
                let noted = || Arc::new(file_statistics::noted(analyzed, &self.file_schema));
                let noted = Arc::clone(self.noted.get_or_init(noted));
                Some(Arc::new(KnownFiles::new(seen, noted)) as Arc<FileStatisticsCache>)
            }
            seen => seen,
        };
        let (count, at_once) = (files.len(), session.config_options().execution.meta_fetch_concurrency.get());
        // Boxed: the compiler cannot tell the lifetimes of such a stream when it is sent to another thread.
        let looks: Vec<_> =
            files.into_iter().map(|file| self.look(session, store, cache.clone(), file).boxed()).collect();
        let mut looks = futures::stream::iter(looks).buffered(at_once);
        let (mut known, mut rows) = (Vec::with_capacity(count), Precision::Exact(0));
        while let Some(file) = looks.next().await {
            let file = file?;
            let of_file = file.statistics.as_ref().map_or(Precision::Absent, |told| told.num_rows);
            rows = rows.add(&of_file);
            known.push(file);
            if let (Some(wanted), Precision::Exact(rows)) = (rows_wanted, rows)
                && rows > wanted
            {
                break;
            }
        }
        let is_part = known.len() < count;
        Ok((known, is_part))
    }

    /// `file` with its statistics: those of the cache when they hold for it, else the file is checked.
    async fn look(
        &self,
        session: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        cache: Option<Arc<FileStatisticsCache>>,
        file: PartitionedFile,
    ) -> DataFusionResult<PartitionedFile> {
        let meta = &file.object_meta;
        let key = TableScopedPath { table: file.table_reference.clone(), path: meta.location.clone() };
        let kept = cache.as_ref().and_then(|cache| cache.get(&key));
        if let Some(kept) = kept.filter(|kept| kept.is_valid_for(meta, &self.fingerprint)) {
            return Ok(with_statistics(file, Arc::clone(&kept.statistics), kept.ordering.clone()));
        }
        self.check(session, store, meta).await?;
        let told = footer::told(session, store, self.format.as_ref(), meta, &self.file_schema);
        let told = told.await.map_err(|source| {
            let shown = self.place.shown(&meta.location);
            let name = self.definition.name.table.clone();
            let error = CatalogError::Unreadable { name, file: Some(shown), source };
            DataFusionError::External(Box::new(error))
        })?;
        let (statistics, ordering) = (Arc::new(told.statistics), told.ordering);
        if let Some(cache) = cache {
            let (meta, fingerprint) = (meta.clone(), Arc::clone(&self.fingerprint));
            let kept = CachedFileMetadata::new(meta, fingerprint, Arc::clone(&statistics), ordering.clone());
            cache.put(&key, kept);
        }
        Ok(with_statistics(file, statistics, ordering))
    }

    async fn check(
        &self,
        session: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        meta: &ObjectMeta,
    ) -> DataFusionResult<()> {
        let shown = self.place.shown(&meta.location);
        let checked = check_file(session, store, self.format.as_ref(), meta, &self.definition, &shown).await;
        checked.map_err(|error| {
            self.has_changed.store(true, Ordering::Relaxed);
            DataFusionError::External(Box::new(error))
        })
    }
}

/// `groups` with what is known of each, and what is known of all.
fn with_sums(groups: Vec<FileGroup>, schema: &SchemaRef) -> DataFusionResult<(Vec<FileGroup>, Statistics)> {
    let sum = |group: FileGroup| {
        let files = group.iter().filter_map(|file| file.statistics.as_deref());
        let sum = Statistics::try_merge_iter_with_ndv_fallback(files, schema, NdvFallback::Max)?;
        Ok(group.with_statistics(Arc::new(sum)))
    };
    let groups = groups.into_iter().map(sum).collect::<DataFusionResult<Vec<_>>>()?;
    let sums = groups.iter().filter_map(|group| group.file_statistics(None));
    let all = Statistics::try_merge_iter_with_ndv_fallback(sums, schema, NdvFallback::Max)?;
    Ok((groups, all))
}

/// `file` with what is known of it. Folders tell every row's value; where there is no value, or no row, they tell no
/// bounds.
fn with_statistics(
    file: PartitionedFile,
    statistics: Arc<Statistics>,
    ordering: Option<LexOrdering>,
) -> PartitionedFile {
    let in_file = statistics.column_statistics.len();
    let is_empty = statistics.num_rows == Precision::Exact(0);
    let mut file = file.with_statistics(statistics).with_ordering(ordering);
    let values = file.partition_values.iter().map(|value| value.is_null() || is_empty).collect::<Vec<_>>();
    if let Some(statistics) = file.statistics.as_mut().filter(|_| values.contains(&true)) {
        let statistics = Arc::make_mut(statistics);
        let rows = statistics.num_rows;
        let columns = statistics.column_statistics.iter_mut().skip(in_file).zip(values);
        for (column, _) in columns.filter(|(_, has_none)| *has_none) {
            (column.min_value, column.max_value) = (Precision::Absent, Precision::Absent);
            (column.null_count, column.distinct_count) = (rows, Precision::Absent);
        }
    }
    file
}

/// The scan `plan`, whose statistics answer no more than they know, and tell of about so many different values.
fn told(plan: Arc<dyn ExecutionPlan>, counts: Option<&BTreeMap<String, u64>>) -> Arc<dyn ExecutionPlan> {
    let source = plan.downcast_ref::<DataSourceExec>().map(|scan| scan.data_source().as_ref() as &dyn Any);
    let Some(config) = source.and_then(|source| source.downcast_ref::<FileScanConfig>()) else { return plan };
    let columns = Arc::clone(config.file_source().table_schema().table_schema());
    let mut statistics = config.statistics();
    for (at, (column, field)) in statistics.column_statistics.iter_mut().zip(columns.fields()).enumerate() {
        if let Some(count) = counts.and_then(|counts| counts.get(field.name())) {
            column.distinct_count = Precision::Inexact(*count as usize);
        }
        if config.file_groups.iter().flat_map(FileGroup::iter).any(|file| hides_bounds(file, at)) {
            (column.min_value, column.max_value) = (Precision::Absent, Precision::Absent);
        }
        // Other writers leave NaN out of the bounds, and both zeros are one number.
        if field.data_type().is_floating() {
            column.min_value = std::mem::take(&mut column.min_value).to_inexact();
            column.max_value = std::mem::take(&mut column.max_value).to_inexact();
        }
    }
    let config = FileScanConfigBuilder::from(config.clone()).with_statistics(statistics).build();
    DataSourceExec::from_data_source(config)
}

/// Parquet, of whose files every row is read.
fn without_pruning() -> Arc<dyn FileFormat> {
    let mut options = TableParquetOptions::default();
    options.global.pruning = false;
    options.global.enable_page_index = false;
    options.global.bloom_filter_on_read = false;
    Arc::new(ParquetFormat::default().with_options(options))
}

/// The same of a file.
fn hides_bounds(file: &PartitionedFile, at: usize) -> bool {
    file.statistics.as_ref().is_some_and(|statistics| has_other_type(statistics, at))
}
