//! Writes its input as files and gives one row for each: what a commit must know to take it in.
//!
//! A file is nobody's until a commit names it, so a task that is lost or run twice doubles no row: its files
//! have names of their own, and no commit names them.

use std::fmt;
use std::sync::Arc;

use catalog::lake::{FileValue, NewFile};
use catalog::table::managed::split;
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options, partition};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::parquet::arrow::AsyncArrowWriter;
use datafusion::parquet::arrow::arrow_writer::ArrowWriterOptions;
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use datafusion::parquet::schema::types::ColumnPath;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::StreamExt;
use object_store::ObjectStore;
use object_store::multipart::MultipartStore;
use serde::{Deserialize, Serialize};

use super::file_format::{FileFormat, ParquetCompression};
use super::summary::summarise;
use super::text_writer::{TextForm, TextWriter};
use super::upload::{PartsAtOnce, StagedObject, Upload};
use crate::Error;
use crate::object_stores::ObjectStores;

/// Where and how files are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteTarget {
    /// URL of the folder, ending in `/`.
    pub folder: String,
    /// The columns of the files, as `catalog::stored_definition::schema_to_text` writes a schema: with their
    /// names, field identifiers and whether they may be null. The input's columns are taken by place.
    pub schema: String,
    /// How the input's next columns, behind those of the files, cut it: rows with other values go to another
    /// file. The input comes sorted by them. What is behind these is not looked at.
    pub partition_by: Vec<PartitionColumn>,
    /// A file that has grown to this many bytes is followed by another.
    pub file_bytes_max: u64,
    /// What the files are called.
    pub names: FileNames,
    /// What they hold.
    pub format: FileFormat,
    /// Objects are left for the commit to complete; nobody sees one before. Not on a disk.
    pub is_staged: bool,
    /// No rows make a file too, one without any.
    pub writes_empty: bool,
}

/// What files are called. Save for the one file, each name is given once, whoever writes and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileNames {
    /// They begin with the statement's identifier.
    OfStatement(String),
    /// They begin with `part-` and the number of the partition, so that names have the order of the rows.
    OfPartitions,
    /// There is one.
    One(String),
}

/// A file that was written and that nobody knows yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenFile {
    /// What it holds. Only Parquet tells of its columns.
    pub file: NewFile,
    /// What completes it, where it is not complete.
    pub staged: Option<StagedObject>,
}

/// A column whose values cut the rows into files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionColumn {
    /// Its place among the keys, counted from 0.
    pub key: i64,
    /// Names it in the folders of the files: `name=value/`.
    pub name: String,
}

/// A row group is closed when it has this many rows, as in DataFusion and DuckDB (122,880 × 8) …
const ROW_GROUP_ROWS_MAX: usize = 1 << 20;
/// … or, encoded, so many bytes: what a writer holds in memory.
const ROW_GROUP_BYTES_MAX: usize = 64 << 20;
const PAGE_ROWS_MAX: usize = 20_000;
/// A column whose dictionary would be larger is written plain from there on. A quarter of the default: TPC-H's
/// lineitem comes out 4 % smaller and no slower.
const DICTIONARY_BYTES_MAX: usize = 256 << 10;

/// Writes files; see the module.
#[derive(Debug)]
pub struct WriteFiles {
    input: Arc<dyn ExecutionPlan>,
    target: Arc<WriteTarget>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl WriteFiles {
    /// Writes the rows of `input` to `target`: each of its partitions to files of its own.
    pub fn new(input: Arc<dyn ExecutionPlan>, target: WriteTarget) -> Result<Self> {
        Self::shared(input, Arc::new(target))
    }

    fn shared(input: Arc<dyn ExecutionPlan>, target: Arc<WriteTarget>) -> Result<Self> {
        let schema = catalog::stored_definition::schema_from_text(&target.schema)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Self::rows()),
            datafusion::physical_plan::Partitioning::UnknownPartitioning(
                input.output_partitioning().partition_count(),
            ),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Self { input, target, schema, properties: Arc::new(properties) })
    }

    /// The columns of what it gives: one text for each file, a [`WrittenFile`] as JSON.
    pub fn rows() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("file", DataType::Utf8, false)]))
    }

    /// The files that the rows in `batch` tell of.
    pub fn files(batch: &RecordBatch) -> crate::Result<Vec<WrittenFile>> {
        let told = |problem: String| Error::internal(format!("a writer told of no file: {problem}"));
        let texts = cast(batch.column(0), &DataType::Utf8).map_err(|error| told(error.to_string()))?;
        let texts = texts.as_any().downcast_ref::<StringArray>().map(|texts| texts.iter().flatten());
        texts
            .into_iter()
            .flatten()
            .map(|text| serde_json::from_str(text).map_err(|error| told(error.to_string())))
            .collect()
    }

    /// Where and how it writes.
    pub fn target(&self) -> &WriteTarget {
        &self.target
    }
}

impl DisplayAs for WriteFiles {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The folder is the server's own business.
        write!(
            f,
            "WriteFiles: format={}, columns={}",
            self.target.format.name(),
            self.schema.fields().len()
        )?;
        let keys: Vec<&str> = self.target.partition_by.iter().map(|key| key.name.as_str()).collect();
        if keys.is_empty() { Ok(()) } else { write!(f, ", partitioned by [{}]", keys.join(", ")) }
    }
}

impl ExecutionPlan for WriteFiles {
    fn name(&self) -> &str {
        "WriteFiles"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = <[_; 1]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("files are written of one input".to_owned()))?;
        Ok(Arc::new(Self::shared(input, Arc::clone(&self.target))?))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (store, folder) = split(&self.target.folder)?;
        let reservation = MemoryConsumer::new("WriteFiles").register(context.memory_pool());
        let store = match self.target.is_staged {
            false => Store::Objects(context.runtime_env().object_store(&store)?),
            true => Store::Uploads(ObjectStores::of(&context)?.uploads(store.as_ref())?),
        };
        let mut writer = PartitionWriter {
            store,
            folder,
            partition,
            target: Arc::clone(&self.target),
            schema: Arc::clone(&self.schema),
            reservation,
            at_once: at_once(context.memory_pool().as_ref()),
            open: None,
            written: Vec::new(),
        };
        let mut input = self.input.execute(partition, context)?;
        let files = async move {
            while let Some(batch) = input.next().await {
                writer.write(&batch?).await?;
            }
            writer.finish().await
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(Self::rows(), futures::stream::once(files))))
    }
}

fn properties(
    schema: &Schema,
    compression: ParquetCompression,
    bloom_filters: &[String],
) -> WriterProperties {
    let properties = WriterProperties::builder()
        .set_compression(compression.codec())
        .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES_MAX))
        .set_data_page_row_count_limit(PAGE_ROWS_MAX)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_created_by(concat!("sluice version ", env!("CARGO_PKG_VERSION")).to_owned());
    // A filter begins as large as a row group of different values needs, and is folded to those that came.
    let properties = bloom_filters.iter().fold(properties, |properties, name| {
        properties.set_column_bloom_filter_enabled(ColumnPath::new(vec![name.clone()]), true)
    });
    // Parquet's bounds leave NaN out, which is greater than all numbers: a reader that believes them loses rows.
    let floats = schema.fields().iter().filter(|field| field.data_type().is_floating());
    floats
        .fold(properties, |properties, field| {
            let column = ColumnPath::new(vec![field.name().clone()]);
            properties.set_column_statistics_enabled(column, EnabledStatistics::None)
        })
        .build()
}

/// The files of one partition of the input, one after the other.
struct PartitionWriter {
    store: Store,
    folder: object_store::path::Path,
    /// Its place among the partitions.
    partition: usize,
    target: Arc<WriteTarget>,
    schema: SchemaRef,
    reservation: MemoryReservation,
    at_once: PartsAtOnce,
    open: Option<OpenFile>,
    written: Vec<String>,
}

/// Where objects come to be at once, or are left to be completed.
enum Store {
    Objects(Arc<dyn ObjectStore>),
    Uploads(Arc<dyn MultipartStore>),
}

struct OpenFile {
    name: String,
    partition: Vec<FileValue>,
    writer: FileWriter,
}

enum FileWriter {
    Parquet(Box<AsyncArrowWriter<Upload>>),
    Text(Box<TextWriter>),
}

impl FileWriter {
    async fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        match self {
            Self::Parquet(writer) => writer.write(rows).await.map_err(unwritten),
            Self::Text(writer) => writer.write(rows).await.map_err(unwritten),
        }
    }

    /// Bytes it holds, save for those of the upload.
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Parquet(writer) => writer.memory_size(),
            Self::Text(_) => 0,
        }
    }

    /// Writes what it holds.
    async fn flush(&mut self) -> Result<()> {
        match self {
            Self::Parquet(writer) => writer.flush().await.map_err(unwritten),
            Self::Text(_) => Ok(()),
        }
    }

    /// Bytes the file has, or will have as far as is known.
    fn file_bytes(&self) -> u64 {
        match self {
            Self::Parquet(writer) => (writer.bytes_written() + writer.in_progress_size()) as u64,
            Self::Text(writer) => writer.bytes(),
        }
    }

    /// What the file of columns `schema` holds.
    async fn finish(self, schema: &SchemaRef) -> Result<WrittenFile> {
        match self {
            Self::Parquet(mut writer) => {
                let footer = writer.finish().await.map_err(unwritten)?;
                let mut file = summarise(&footer, schema, writer.bytes_written() as u64)?;
                let upload = writer.into_inner();
                file.footer_bytes = upload.footer_bytes();
                Ok(WrittenFile { file, staged: upload.staged() })
            }
            Self::Text(writer) => {
                let (rows, file_bytes, upload) = writer.finish().await.map_err(unwritten)?;
                let file = NewFile { rows, file_bytes, ..NewFile::default() };
                Ok(WrittenFile { file, staged: upload.staged() })
            }
        }
    }
}

impl PartitionWriter {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let columns = self.schema.fields().len();
        let rows = self.checked(&batch.columns()[..columns], batch.num_rows())?;
        let keys = &batch.columns()[columns..columns + self.target.partition_by.len()];
        if keys.is_empty() {
            return self.append(&rows, Vec::new()).await;
        }
        for range in partition(keys)?.ranges() {
            let values = self.values(keys, range.start)?;
            let slice = rows.slice(range.start, range.end - range.start);
            if self.open.as_ref().is_some_and(|open| open.partition != values) {
                self.close().await?;
            }
            self.append(&slice, values).await?;
        }
        Ok(())
    }

    /// The columns as the files declare them. A null where none may be is the statement's error.
    fn checked(&self, columns: &[ArrayRef], rows: usize) -> Result<RecordBatch> {
        let column = |(field, column): (&Arc<Field>, &ArrayRef)| {
            if !field.is_nullable() && column.null_count() > 0 {
                let error = Error::NotNullViolation { column: field.name().clone() };
                return Err(DataFusionError::External(Box::new(error)));
            }
            if column.data_type() == field.data_type() {
                return Ok(Arc::clone(column));
            }
            // A value that does not fit is an error, not a null.
            let strict = CastOptions { safe: false, ..CastOptions::default() };
            Ok(cast_with_options(column, field.data_type(), &strict)?)
        };
        let columns = self.schema.fields().iter().zip(columns).map(column).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }

    fn values(&self, keys: &[ArrayRef], row: usize) -> Result<Vec<FileValue>> {
        let value = |(column, key): (&PartitionColumn, &ArrayRef)| {
            let value = ScalarValue::try_from_array(key, row)?;
            let text = (!value.is_null()).then(|| catalog::lake::values::to_text(&value)).flatten();
            Ok(FileValue { key: column.key, text })
        };
        self.target.partition_by.iter().zip(keys).map(value).collect()
    }

    async fn append(&mut self, rows: &RecordBatch, partition: Vec<FileValue>) -> Result<()> {
        if self.open.is_none() {
            self.open = Some(self.start(partition)?);
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        open.writer.write(rows).await?;
        let wanted = open.writer.memory_bytes() + self.at_once.bytes_max();
        if self.reservation.try_resize(wanted).is_err() {
            // A smaller row group costs a little at reading; no memory costs the statement.
            open.writer.flush().await?;
            self.reservation.try_resize(open.writer.memory_bytes() + self.at_once.bytes_max())?;
        }
        if open.writer.file_bytes() >= self.target.file_bytes_max {
            self.close().await?;
        }
        Ok(())
    }

    fn start(&mut self, partition: Vec<FileValue>) -> Result<OpenFile> {
        self.reservation.try_resize(self.at_once.bytes_max())?;
        let mut name = String::new();
        for (column, value) in self.target.partition_by.iter().zip(&partition) {
            let text = value.text.as_deref().unwrap_or(HIVE_NULL);
            name.push_str(&format!("{}={}/", encoded(&column.name), encoded(text)));
        }
        name.push_str(&self.file_name());
        // Parsed, not joined: what is encoded already stays as it is.
        let path = object_store::path::Path::parse(format!("{}/{name}", self.folder))
            .map_err(|error| DataFusionError::ObjectStore(Box::new(error.into())))?;
        let upload = match &self.store {
            Store::Objects(store) => Upload::new(Arc::clone(store), path, self.at_once),
            Store::Uploads(store) => Upload::to_stage(Arc::clone(store), path, self.at_once),
        };
        Ok(OpenFile { name, partition, writer: self.file_writer(upload)? })
    }

    fn file_name(&self) -> String {
        let unique = uuid::Uuid::new_v4().simple();
        let extension = self.target.format.extension();
        match &self.target.names {
            FileNames::OfStatement(write_id) => format!("{write_id}-{unique}.{extension}"),
            FileNames::OfPartitions => {
                format!("part-{:05}-{:03}-{unique}.{extension}", self.partition, self.written.len())
            }
            FileNames::One(name) => name.clone(),
        }
    }

    fn file_writer(&self, upload: Upload) -> Result<FileWriter> {
        let text = |form, compression, upload| {
            let writer = TextWriter::new(form, compression, upload).map_err(DataFusionError::from)?;
            Ok(FileWriter::Text(Box::new(writer)))
        };
        match &self.target.format {
            FileFormat::Parquet { compression, bloom_filters } => {
                let options = ArrowWriterOptions::new()
                    .with_properties(properties(&self.schema, *compression, bloom_filters))
                    .with_skip_arrow_metadata(true);
                let schema = Arc::clone(&self.schema);
                let writer = AsyncArrowWriter::try_new_with_options(upload, schema, options)?;
                Ok(FileWriter::Parquet(Box::new(writer)))
            }
            FileFormat::Csv { layout, compression } => {
                let needs_header = layout.has_header;
                text(TextForm::Csv { layout: layout.clone(), needs_header }, *compression, upload)
            }
            FileFormat::Json { compression } => text(TextForm::Json, *compression, upload),
        }
    }

    async fn close(&mut self) -> Result<()> {
        let Some(OpenFile { name, partition, writer }) = self.open.take() else { return Ok(()) };
        let mut written = writer.finish(&self.schema).await?;
        written.file.path = name;
        written.file.partition = partition;
        let text =
            serde_json::to_string(&written).map_err(|error| DataFusionError::External(Box::new(error)))?;
        self.written.push(text);
        self.reservation.free();
        Ok(())
    }

    async fn finish(mut self) -> Result<RecordBatch> {
        if self.target.writes_empty && self.open.is_none() && self.written.is_empty() {
            self.append(&RecordBatch::new_empty(Arc::clone(&self.schema)), Vec::new()).await?;
        }
        self.close().await?;
        let texts: ArrayRef = Arc::new(StringArray::from(self.written));
        Ok(RecordBatch::try_new(WriteFiles::rows(), vec![texts])?)
    }
}

/// Why a file could not be written, told as that.
fn unwritten(error: impl Into<DataFusionError>) -> DataFusionError {
    let error = Error::from(error.into()).of_write();
    DataFusionError::External(Box::new(error))
}

/// Hive's name of the folder of nulls.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// A value as a part of a path: what could cut or leave the folder is encoded.
fn encoded(text: &str) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    const PLAIN: &percent_encoding::AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b' ').remove(b':');
    match text {
        "." | ".." | "" => utf8_percent_encode(text, NON_ALPHANUMERIC).to_string(),
        text => utf8_percent_encode(text, PLAIN).to_string(),
    }
}
fn at_once(pool: &dyn MemoryPool) -> PartsAtOnce {
    match pool.memory_limit() {
        MemoryLimit::Finite(limit) => PartsAtOnce::for_pool(limit),
        MemoryLimit::Infinite | MemoryLimit::Unknown => PartsAtOnce::for_pool(usize::MAX),
    }
}
