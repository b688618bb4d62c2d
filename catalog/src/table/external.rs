//! Tables over files that lie somewhere: a single file, or a folder with optional Hive `key=value` folders.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ScalarValue, Statistics, TableReference};
use datafusion::config::{CsvOptions, JsonOptions};
use datafusion::datasource::TableType;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::arrow::ArrowFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl, PartitionedFile,
};
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::cache::cache_manager::{CachedFileMetadata, FileStatisticsCache};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::parquet::basic::Type as PhysicalType;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::definition::{
    Compression, ExternalFiles, ExternalFormat, TableDefinition, TableName, TableStatistics, stable_oid,
};
use crate::table::StringLayout;
use crate::table::file_statistics::{self, FileStatistics, KnownFiles};
use crate::table::managed::split;
use crate::{CatalogError, DATABASE, Result};

/// Footers, or first lines, that are read at once.
const FILES_READ_AT_ONCE: usize = 16;
/// Bytes of a value of a line, of which nothing is known.
const TEXT_ROW_BYTES: u64 = 100;

/// What a statement says of a table's columns.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    /// The columns in the files; none when the files tell.
    pub columns: Option<SchemaRef>,
    /// The columns that the folders' names hold, and their types where they are said; none when the folders
    /// tell.
    pub partitions: Vec<(String, Option<DataType>)>,
}

/// Opens a table: reads what its schema comes from, where it is not declared, and names its partition columns.
///
/// Fails with [`CatalogError::Location`] when there is no file, with [`CatalogError::Unreadable`] when one
/// cannot be read as what it is said to be, with [`CatalogError::Columns`] when files or folders do not fit
/// each other or what is declared.
pub async fn open(
    session: &dyn Session,
    name: TableName,
    location: &str,
    mut files: ExternalFiles,
    declared: &Declared,
) -> Result<TableDefinition> {
    let unreadable = |source: DataFusionError| CatalogError::Unreadable { name: name.table.clone(), source };
    let url = url(location, &files).map_err(unreadable)?;
    let options = listing_options(&files, location);
    let store = session.runtime_env().object_store(&url).map_err(unreadable)?;
    let found = listed(session, &url, &store, &options).await.map_err(unreadable)?;
    if found.is_empty() {
        let problem = match &files.format {
            _ if files.glob.is_some() => "holds no file that fits the pattern".to_owned(),
            ExternalFormat::Parquet => "holds no Parquet file".to_owned(),
            format => format!("holds no file of the kind *{}", format.extension()),
        };
        return Err(CatalogError::Location { location: location.to_owned(), problem });
    }
    let partition_names = options.infer_partitions(session, &url).await.map_err(unreadable)?;
    let wrong = |problem: String| CatalogError::Columns { problem };
    let declared_names = declared.partitions.iter().map(|(name, _)| name);
    if !declared.partitions.is_empty() && !declared_names.eq(&partition_names) {
        return Err(wrong(match partition_names.as_slice() {
            [] => "the location has no folders of the form column=value".to_owned(),
            names => format!("the location is partitioned by {}", names.join(", ")),
        }));
    }
    let columns = match &declared.columns {
        Some(columns) => {
            files.is_declared = true;
            if matches!(files.format, ExternalFormat::Parquet | ExternalFormat::Arrow) {
                let given = schema_of(session, &store, options.format.as_ref(), &found, &name).await?;
                check_declared(columns, &given)?;
            }
            Arc::clone(columns)
        }
        None => schema_of(session, &store, options.format.as_ref(), &found, &name).await?,
    };
    // A folder column wins over a column of the same name inside the files, as in Spark and Hive.
    let fields: Vec<_> =
        columns.fields().iter().filter(|field| !partition_names.contains(field.name())).cloned().collect();
    if fields.is_empty() && partition_names.is_empty() {
        let source = DataFusionError::Plan("its files have no columns".to_owned());
        return Err(unreadable(source));
    }
    let mut partition_columns = Vec::with_capacity(partition_names.len());
    for partition in partition_names {
        let declared = declared.partitions.iter().find(|(name, _)| *name == partition);
        let declared = declared.and_then(|(_, kind)| kind.clone());
        let data_type = declared.unwrap_or_else(|| partition_type(&found, &partition));
        partition_columns.push((partition, data_type));
    }
    let statistics = match files.format {
        ExternalFormat::Parquet => statistics(session, &store, &found, &fields).await.map_err(unreadable)?,
        _ => text_statistics(&found, &fields, &files.format),
    };
    Ok(TableDefinition {
        oid: stable_oid(&format!("{}.{}", name.schema, name.table)),
        location: location.to_owned(),
        statistics,
        // Metadata differs from file to file and says nothing about the rows.
        file_schema: StringLayout::Plain.apply(&Schema::new(fields)),
        partition_columns,
        files,
        analyzed: Arc::default(),
        managed: None,
        view: None,
        name,
    })
}

async fn listed(
    session: &dyn Session,
    url: &ListingTableUrl,
    store: &Arc<dyn ObjectStore>,
    options: &ListingOptions,
) -> DataFusionResult<Vec<ObjectMeta>> {
    url.list_all_files(session, store.as_ref(), &options.file_extension).await?.try_collect().await
}

/// The columns of the first of the files at `location`, in the order in which it has them.
pub async fn first_columns(
    session: &dyn Session,
    location: &str,
    files: &ExternalFiles,
) -> Result<SchemaRef> {
    let unreadable = |source: DataFusionError| CatalogError::Unreadable { name: "files".to_owned(), source };
    let url = url(location, files).map_err(unreadable)?;
    let options = listing_options(files, location);
    let store = session.runtime_env().object_store(&url).map_err(unreadable)?;
    let mut found =
        url.list_all_files(session, store.as_ref(), &options.file_extension).await.map_err(unreadable)?;
    match found.try_next().await.map_err(unreadable)? {
        Some(file) => options.format.infer_schema(session, &store, &[file]).await.map_err(unreadable),
        None => Ok(Arc::new(Schema::empty())),
    }
}

/// The files of `definition`: their URLs and sizes.
pub async fn files(session: &dyn Session, definition: &TableDefinition) -> Result<Vec<(String, u64)>> {
    let unreadable =
        |source: DataFusionError| CatalogError::Unreadable { name: definition.name.table.clone(), source };
    let url = url(&definition.location, &definition.files).map_err(unreadable)?;
    let options = listing_options(&definition.files, &definition.location);
    let store = session.runtime_env().object_store(&url).map_err(unreadable)?;
    let found =
        url.list_all_files(session, store.as_ref(), &options.file_extension).await.map_err(unreadable)?;
    let base = url.object_store();
    let file = |file: ObjectMeta| (format!("{}{}", base.as_str(), file.location), file.size);
    found.map_ok(file).try_collect().await.map_err(unreadable)
}

/// What the footer of a Parquet file tells of its layout.
#[derive(Debug, Clone)]
pub struct FileFooter {
    /// Its row groups, in order.
    pub row_groups: Vec<RowGroupSize>,
    /// Columns that at least one row group keeps no bounds of, save for those of floating point.
    pub columns_without_bounds: usize,
}

/// One row group.
#[derive(Debug, Clone, Copy)]
pub struct RowGroupSize {
    /// Rows in it.
    pub rows: u64,
    /// Its bytes as stored.
    pub bytes: u64,
}

/// The footers of Parquet files, given by their URLs and sizes.
pub async fn footers(session: &dyn Session, files: &[(String, u64)]) -> Result<Vec<FileFooter>> {
    let unreadable = |source: DataFusionError| CatalogError::Unreadable { name: "files".to_owned(), source };
    let read = |(location, size): &(String, u64)| {
        let (location, size) = (location.clone(), *size);
        async move {
            let (url, path) = split(&location)?;
            let store = session.runtime_env().object_store(&url)?;
            let meta = ObjectMeta {
                location: path,
                last_modified: Default::default(),
                size,
                e_tag: None,
                version: None,
            };
            let footer = DFParquetMetadata::new(store.as_ref(), &meta).fetch_metadata().await?;
            let is_blind = |at: &usize| {
                footer.row_groups().iter().any(|group| {
                    let column = group.column(*at);
                    let is_float = matches!(column.column_type(), PhysicalType::FLOAT | PhysicalType::DOUBLE);
                    let has_bounds = column.statistics().is_some_and(|s| {
                        s.min_bytes_opt().is_some() || s.null_count_opt() == Some(group.num_rows() as u64)
                    });
                    !is_float && !has_bounds
                })
            };
            let columns = footer.file_metadata().schema_descr().num_columns();
            Ok(FileFooter {
                columns_without_bounds: (0..columns).filter(is_blind).count(),
                row_groups: footer
                    .row_groups()
                    .iter()
                    .map(|group| RowGroupSize {
                        rows: group.num_rows().max(0) as u64,
                        bytes: group.compressed_size().max(0) as u64,
                    })
                    .collect(),
            })
        }
        .boxed()
    };
    let reads: Vec<_> = files.iter().map(read).collect();
    futures::stream::iter(reads).buffered(FILES_READ_AT_ONCE).try_collect().await.map_err(unreadable)
}

/// Looks into every file of `definition`, and notes what it tells. Text tells nothing.
pub async fn analyzed(session: &dyn Session, definition: &TableDefinition) -> Result<Vec<FileStatistics>> {
    if definition.files.format != ExternalFormat::Parquet {
        return Ok(Vec::new());
    }
    let unreadable =
        |source: DataFusionError| CatalogError::Unreadable { name: definition.name.table.clone(), source };
    let url = url(&definition.location, &definition.files).map_err(unreadable)?;
    let options = listing_options(&definition.files, &definition.location);
    let store = session.runtime_env().object_store(&url).map_err(unreadable)?;
    let found = listed(session, &url, &store, &options).await.map_err(unreadable)?;
    let look = |meta: ObjectMeta| {
        let (format, store) = (Arc::clone(&options.format), Arc::clone(&store));
        let columns = Arc::clone(&definition.file_schema);
        async move {
            let shown = meta.location.filename().unwrap_or_default().to_owned();
            let told = format.infer_stats_and_ordering(session, &store, columns, &meta).await;
            let told = told.map_err(|source| unreadable(source.context(format!("file {shown}"))))?;
            FileStatistics::of(&meta, &told)
        }
        .boxed()
    };
    let looks: Vec<_> = found.into_iter().map(look).collect();
    futures::stream::iter(looks).buffered(FILES_READ_AT_ONCE).try_collect().await
}

/// A scan of `definition` with its strings in `layout`, and about so many different values in columns.
pub fn provider(
    definition: &TableDefinition,
    layout: StringLayout,
    distinct_counts: Option<Arc<BTreeMap<String, u64>>>,
) -> DataFusionResult<Arc<dyn TableProvider>> {
    // A plan that travels says nothing of compression, and what reads it takes the bytes as they are.
    if layout == StringLayout::Plain && compression_of(&definition.files.format) != Compression::None {
        let name = &definition.name.table;
        let message =
            format!("the files of table \"{name}\" are compressed text, which is read in the server itself");
        return Err(DataFusionError::NotImplemented(message));
    }
    // The two layouts are different entries in the caches: a footer's statistics are kept per schema.
    let scope = TableReference::full(
        format!("{DATABASE}/{layout:?}"),
        definition.name.schema.as_str(),
        definition.name.table.as_str(),
    );
    let url = url(&definition.location, &definition.files)?.with_table_ref(scope);
    let options = listing_options(&definition.files, &definition.location)
        .with_table_partition_cols(definition.partition_columns.clone());
    let config = ListingTableConfig::new(url)
        .with_listing_options(options)
        .with_schema(layout.apply(&definition.file_schema));
    let file = (!definition.location.ends_with('/')).then(|| definition.location.clone());
    Ok(Arc::new(Listed {
        table: ListingTable::try_new(config)?,
        file_schema: layout.apply(&definition.file_schema),
        analyzed: Arc::clone(&definition.analyzed),
        noted: OnceLock::new(),
        distinct_counts,
        file,
    }))
}

/// A listing table that remembers what the footers told of whole files, and what ANALYZE noted.
#[derive(Debug)]
struct Listed {
    table: ListingTable,
    file_schema: SchemaRef,
    analyzed: Arc<Vec<FileStatistics>>,
    /// The same, ready for plans once the first of them asks.
    noted: OnceLock<Arc<HashMap<Path, CachedFileMetadata>>>,
    /// How many different values columns have, about.
    distinct_counts: Option<Arc<BTreeMap<String, u64>>>,
    /// The URL of the one file it is over, which must be there: a listing that does not find it would be an empty
    /// table.
    file: Option<String>,
}

#[async_trait]
impl TableProvider for Listed {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        self.table.table_type()
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        self.table.supports_filters_pushdown(filters)
    }

    fn statistics(&self) -> Option<Statistics> {
        self.table.statistics()
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let seen = session.runtime_env().cache_manager.get_file_statistic_cache();
        let known = match seen {
            Some(seen) if !self.analyzed.is_empty() => {
                let noted = || Arc::new(file_statistics::noted(&self.analyzed, &self.file_schema));
                let noted = Arc::clone(self.noted.get_or_init(noted));
                Some(Arc::new(KnownFiles::new(seen, noted)) as Arc<FileStatisticsCache>)
            }
            seen => seen,
        };
        let plan = self.table.clone().with_cache(known).scan(session, projection, filters, limit).await?;
        if let Some(file) = self.file.as_ref().filter(|_| plan.is::<EmptyExec>()) {
            let url = ListingTableUrl::parse(file)?;
            session.runtime_env().object_store(&url)?.head(url.prefix()).await?;
        }
        Ok(told(plan, self.distinct_counts.as_deref()))
    }
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

/// True for a file whose column `at` has values, and bounds that are null: DataFusion says so of a file in which the column
/// has another type than the table's, and takes the other files' bounds for those of all.
fn hides_bounds(file: &PartitionedFile, at: usize) -> bool {
    let Some(statistics) = &file.statistics else { return false };
    let Some(column) = statistics.column_statistics.get(at) else { return false };
    let is_null = |bound: &Precision<ScalarValue>| bound.get_value().is_some_and(|value| value.is_null());
    let has_values = column.null_count != statistics.num_rows;
    has_values && (is_null(&column.min_value) || is_null(&column.max_value))
}

fn compression_of(format: &ExternalFormat) -> Compression {
    match format {
        ExternalFormat::Csv(csv) => csv.compression,
        ExternalFormat::Json { compression } => *compression,
        ExternalFormat::Parquet | ExternalFormat::Arrow => Compression::None,
    }
}

fn url(location: &str, files: &ExternalFiles) -> DataFusionResult<ListingTableUrl> {
    let url = ListingTableUrl::parse(location)?;
    match &files.glob {
        Some(glob) => url.with_glob(glob),
        None => Ok(url),
    }
}

fn listing_options(files: &ExternalFiles, location: &str) -> ListingOptions {
    let compressed = |compression: Compression| match compression {
        Compression::None => FileCompressionType::UNCOMPRESSED,
        Compression::Gzip => FileCompressionType::GZIP,
        Compression::Bzip2 => FileCompressionType::BZIP2,
        Compression::Xz => FileCompressionType::XZ,
        Compression::Zstd => FileCompressionType::ZSTD,
    };
    let format: Arc<dyn FileFormat> = match &files.format {
        ExternalFormat::Parquet => Arc::new(ParquetFormat::default()),
        ExternalFormat::Csv(csv) => Arc::new(
            CsvFormat::default()
                .with_options(CsvOptions::default())
                .with_has_header(csv.has_header)
                .with_delimiter(csv.delimiter)
                .with_quote(csv.quote)
                .with_escape(csv.escape)
                .with_comment(csv.comment)
                .with_newlines_in_values(csv.has_newlines)
                .with_file_compression_type(compressed(csv.compression)),
        ),
        ExternalFormat::Json { compression } => Arc::new(
            JsonFormat::default()
                .with_options(JsonOptions::default())
                .with_file_compression_type(compressed(*compression)),
        ),
        ExternalFormat::Arrow => Arc::new(ArrowFormat),
    };
    // A file that was named, or a pattern of names, says itself which files are meant.
    let is_chosen = files.glob.is_some() || !location.ends_with('/');
    let extension = if is_chosen { String::new() } else { files.format.extension() };
    ListingOptions::new(format).with_file_extension(extension)
}

/// Files that tell their columns must have values that the declared types hold.
fn check_declared(declared: &SchemaRef, given: &SchemaRef) -> Result<()> {
    for column in declared.fields() {
        let Ok(found) = given.field_with_name(column.name()) else { continue };
        if wider(column.data_type(), found.data_type()).as_ref() != Some(column.data_type()) {
            let (name, kind) = (column.name(), found.data_type());
            let problem =
                format!("column \"{name}\" is {kind} in the files, which its declared type does not hold");
            return Err(CatalogError::Columns { problem });
        }
    }
    Ok(())
}

/// The columns of all `files`: every column that any of them has, of a type that holds the values of each.
async fn schema_of(
    session: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    format: &dyn FileFormat,
    files: &[ObjectMeta],
    name: &TableName,
) -> Result<SchemaRef> {
    // Boxed: the compiler cannot tell the lifetimes of such a stream when it is sent to another thread.
    let read = |file: &ObjectMeta| {
        let file = file.clone();
        async move {
            let schema = format.infer_schema(session, store, std::slice::from_ref(&file)).await;
            let shown = file.location.filename().unwrap_or_default().to_owned();
            schema.map(|schema| (shown.clone(), schema)).map_err(|source| CatalogError::Unreadable {
                name: name.table.clone(),
                source: source.context(format!("file {shown}")),
            })
        }
        .boxed()
    };
    let reads: Vec<_> = files.iter().map(read).collect();
    let mut schemas = futures::stream::iter(reads).buffered(FILES_READ_AT_ONCE);
    let mut fields: Vec<Field> = Vec::new();
    while let Some((file, schema)) = schemas.try_next().await? {
        for field in schema.fields() {
            let Some(known) = fields.iter_mut().find(|known| known.name() == field.name()) else {
                fields.push(field.as_ref().clone().with_nullable(true));
                continue;
            };
            let wider = wider(known.data_type(), field.data_type()).ok_or_else(|| CatalogError::Columns {
                problem: format!(
                    "column \"{}\" is {} in file {} and {} in others",
                    field.name(),
                    field.data_type(),
                    file,
                    known.data_type(),
                ),
            })?;
            *known = known.clone().with_data_type(wider);
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// A type that holds every value of both.
fn wider(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::*;
    let bits = |kind: &DataType| kind.primitive_width().unwrap_or(0) * 8;
    let pick = |kind: &DataType| Some(kind.clone());
    Some(match (a, b) {
        (a, b) if a == b => return pick(a),
        (Null, other) | (other, Null) => return pick(other),
        (a, b) if a.is_signed_integer() && b.is_signed_integer() => {
            return pick(if bits(a) >= bits(b) { a } else { b });
        }
        (a, b) if a.is_unsigned_integer() && b.is_unsigned_integer() => {
            return pick(if bits(a) >= bits(b) { a } else { b });
        }
        (signed, unsigned) | (unsigned, signed)
            if signed.is_signed_integer() && unsigned.is_unsigned_integer() && bits(unsigned) < 64 =>
        {
            match bits(signed).max(bits(unsigned) * 2) {
                16 => Int16,
                32 => Int32,
                _ => Int64,
            }
        }
        (a, b) if a.is_floating() && b.is_floating() => {
            return pick(if bits(a) >= bits(b) { a } else { b });
        }
        // A double holds every integer of up to 53 bits.
        (float, int) | (int, float) if float.is_floating() && int.is_integer() && bits(int) <= 32 => Float64,
        (Decimal128(p, s), Decimal128(q, t)) => decimal(*p, *s, *q, *t)?,
        (Decimal128(p, s), int) | (int, Decimal128(p, s)) if int.is_integer() => {
            let digits = match bits(int) {
                8 => 3,
                16 => 5,
                32 => 10,
                _ => 20,
            };
            decimal(*p, *s, digits, 0)?
        }
        (Date32, Timestamp(unit, None)) | (Timestamp(unit, None), Date32) => Timestamp(*unit, None),
        (Timestamp(unit, zone), Timestamp(other, other_zone)) if zone == other_zone => {
            let finer =
                [TimeUnit::Nanosecond, TimeUnit::Microsecond, TimeUnit::Millisecond, TimeUnit::Second];
            let unit = finer.into_iter().find(|finer| finer == unit || finer == other)?;
            Timestamp(unit, zone.clone())
        }
        (a, b) if is_text(a) && is_text(b) => Utf8,
        (a, b) if is_bytes(a) && is_bytes(b) => Binary,
        (List(a), List(b)) => {
            let inner = wider(a.data_type(), b.data_type())?;
            List(Arc::new(a.as_ref().clone().with_data_type(inner).with_nullable(true)))
        }
        _ => return None,
    })
}

fn decimal(p: u8, s: i8, q: u8, t: i8) -> Option<DataType> {
    let scale = s.max(t);
    let whole = (p as i8 - s).max(q as i8 - t);
    let precision = u8::try_from(whole + scale).ok()?;
    (precision <= 38).then_some(DataType::Decimal128(precision, scale))
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_bytes(kind: &DataType) -> bool {
    matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// Sizes from the listing and the footer of the largest file, which the session's cache already holds.
async fn statistics(
    session: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    files: &[ObjectMeta],
    fields: &[FieldRef],
) -> DataFusionResult<TableStatistics> {
    let file_bytes: u64 = files.iter().map(|file| file.size).sum();
    let Some(sample) = files.iter().max_by_key(|file| file.size) else {
        return Ok(TableStatistics::default());
    };
    let footer = DFParquetMetadata::new(store.as_ref(), sample)
        .with_file_metadata_cache(Some(session.runtime_env().cache_manager.get_file_metadata_cache()))
        .fetch_metadata()
        .await?;
    let scale = file_bytes as f64 / sample.size.max(1) as f64;
    let rows = (footer.file_metadata().num_rows() as f64 * scale) as u64;
    let column_bytes = fields.iter().map(|field| {
        // Dictionary pages make the stored size of a column far smaller than its values.
        let stored: i64 = footer
            .row_groups()
            .iter()
            .flat_map(|group| group.columns())
            .filter(|column| column.column_path().parts().first() == Some(field.name()))
            .map(|column| column.uncompressed_size())
            .sum();
        match field.data_type().primitive_width() {
            Some(width) => rows * width as u64,
            None => ((stored.max(0) as f64 * scale) as u64).max(rows * STRING_BYTES_MIN),
        }
    });
    Ok(TableStatistics { files: files.len() as u64, file_bytes, rows, column_bytes: column_bytes.collect() })
}

/// Sizes of files that do not tell their rows: a guess from their bytes.
fn text_statistics(files: &[ObjectMeta], fields: &[FieldRef], format: &ExternalFormat) -> TableStatistics {
    /// What text compresses to.
    const COMPRESSED: u64 = 4;
    let file_bytes: u64 = files.iter().map(|file| file.size).sum();
    let bytes =
        if compression_of(format) != Compression::None { file_bytes * COMPRESSED } else { file_bytes };
    let columns = fields.len().max(1) as u64;
    TableStatistics {
        files: files.len() as u64,
        file_bytes,
        rows: bytes / TEXT_ROW_BYTES,
        column_bytes: vec![bytes / columns; fields.len()],
    }
}

/// What a short string takes in an array: its view or its offset, and a few letters.
const STRING_BYTES_MIN: u64 = 16;

/// `BIGINT` or `DATE` when every folder value reads as one, else text.
fn partition_type(files: &[ObjectMeta], partition: &str) -> DataType {
    let marker = format!("{partition}=");
    let (mut saw_value, mut all_integers, mut all_dates) = (false, true, true);
    for file in files {
        let value = file.location.parts().find_map(|part| {
            part.as_ref()
                .strip_prefix(&marker)
                .map(|v| percent_encoding::percent_decode_str(v).decode_utf8_lossy().into_owned())
        });
        let Some(value) = value else { continue };
        saw_value = true;
        // `01` stays text: folders are found by the text of a value, and 1 is not `01`. So does a column
        // with Hive's null, which no number can stand for.
        all_integers &= value.parse::<i64>().is_ok_and(|number| number.to_string() == value);
        all_dates &= is_iso_date(&value);
    }
    match (saw_value, all_integers, all_dates) {
        (true, true, _) => DataType::Int64,
        (true, _, true) => DataType::Date32,
        _ => DataType::Utf8,
    }
}

/// `YYYY-MM-DD` of a day that exists.
fn is_iso_date(value: &str) -> bool {
    let bytes = value.as_bytes();
    let is_shaped = bytes.len() == 10
        && bytes.iter().enumerate().all(|(i, b)| match i {
            4 | 7 => *b == b'-',
            _ => b.is_ascii_digit(),
        });
    if !is_shaped {
        return false;
    }
    let number = |range: std::ops::Range<usize>| value[range].parse::<u32>().unwrap_or(0);
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 0,
    };
    (1..=days).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_type_holds_the_values_of_both() {
        use DataType::*;
        let moment = |unit| Timestamp(unit, None);
        for (a, b, both) in [
            (Int32, Int64, Some(Int64)),
            (Int16, Int8, Some(Int16)),
            (Int32, UInt32, Some(Int64)),
            (Int64, UInt64, None),
            (Int32, Float32, Some(Float64)),
            (Int64, Float64, None),
            (Decimal128(10, 2), Decimal128(8, 4), Some(Decimal128(12, 4))),
            (Decimal128(12, 2), Int32, Some(Decimal128(12, 2))),
            (Decimal128(38, 2), Decimal128(38, 10), None),
            (Date32, moment(TimeUnit::Microsecond), Some(moment(TimeUnit::Microsecond))),
            (moment(TimeUnit::Millisecond), moment(TimeUnit::Nanosecond), Some(moment(TimeUnit::Nanosecond))),
            (Utf8, Utf8View, Some(Utf8)),
            (Null, Boolean, Some(Boolean)),
            (Int32, Utf8, None),
        ] {
            assert_eq!(wider(&a, &b), both, "{a} and {b}");
            assert_eq!(wider(&b, &a), both, "{b} and {a}");
        }
    }

    #[test]
    fn only_days_that_exist_are_dates() {
        assert!(is_iso_date("2024-02-29"));
        assert!(!is_iso_date("2023-02-29"));
        assert!(!is_iso_date("2024-13-01"));
        assert!(!is_iso_date("20240101xx"));
    }
}
