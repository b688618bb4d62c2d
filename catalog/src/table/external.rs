//! Tables over files that lie somewhere: a single file, or a folder with optional Hive `key=value` folders.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::config::{CsvOptions, JsonOptions};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::arrow::ArrowFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::parquet::basic::Type as PhysicalType;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStore};

use crate::definition::{
    Compression, ExternalFiles, ExternalFormat, TableDefinition, TableName, TableStatistics, stable_oid,
};
use crate::table::StringLayout;
use crate::table::file_statistics::FileStatistics;
use crate::table::files::{self, Place};
use crate::table::footer::{self, Moment};
pub use crate::table::listed::provider;
use crate::table::managed::split;
use crate::table::widening::{self, Columns};
use crate::{CatalogError, Result};

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
    let unreadable =
        |source: DataFusionError| CatalogError::Unreadable { name: name.table.clone(), file: None, source };
    let place = Place::new(location, &files).map_err(unreadable)?;
    let format = format_of(&files);
    let store = session.runtime_env().object_store(&place.url).map_err(unreadable)?;
    let found = place.listed(session, store.as_ref()).await.map_err(unreadable)?;
    if let Some(foreign) = files::foreign(&place.url, &found) {
        let place =
            if foreign.folder.is_empty() { "the folder".to_owned() } else { format!("{}/", foreign.folder) };
        return Err(CatalogError::Foreign { place, format: foreign.format });
    }
    let found: Vec<ObjectMeta> = found.into_iter().filter(|file| place.is_own(file)).collect();
    if found.is_empty() {
        let problem = match &files.format {
            _ if files.glob.is_some() => "holds no file that fits the pattern".to_owned(),
            ExternalFormat::Parquet => "holds no Parquet file".to_owned(),
            format => format!("holds no file of the kind *{}", format.extension()),
        };
        return Err(CatalogError::Location { location: location.to_owned(), problem });
    }
    let partition_names = partition_names(&name, &place, &found)?;
    let wrong = |problem: String| CatalogError::Columns { problem };
    let declared_names = declared.partitions.iter().map(|(name, _)| name);
    if !declared.partitions.is_empty() && !declared_names.eq(&partition_names) {
        return Err(wrong(match partition_names.as_slice() {
            [] => "the location has no folders of the form column=value".to_owned(),
            names => format!("the location is partitioned by {}", names.join(", ")),
        }));
    }
    let looked_at = Files { session, name: &name, place: &place, store: &store, format: format.as_ref() };
    let columns = match &declared.columns {
        Some(columns) => {
            files.is_declared = true;
            if matches!(files.format, ExternalFormat::Parquet | ExternalFormat::Arrow) {
                looked_at.check_declared(&files.format, columns, &found).await?;
            }
            Arc::clone(columns)
        }
        None => looked_at.columns(&files.format, &found, &partition_names).await?,
    };
    // A folder column wins over a column of the same name inside the files, as in Spark and Hive.
    let fields: Vec<_> =
        columns.fields().iter().filter(|field| !partition_names.contains(field.name())).cloned().collect();
    if fields.is_empty() && partition_names.is_empty() {
        return Err(unreadable(DataFusionError::NotImplemented(
            "a table whose files have no columns".to_owned(),
        )));
    }
    let mut partition_columns = Vec::with_capacity(partition_names.len());
    for partition in partition_names {
        let declared = declared.partitions.iter().find(|(name, _)| *name == partition);
        let declared = declared.and_then(|(_, kind)| kind.clone());
        let data_type = declared.unwrap_or_else(|| partition_type(&place, &found, &partition));
        partition_columns.push((partition, data_type));
    }
    for file in &found {
        place.partition_values(&file.location, &partition_columns).map_err(|error| of_table(error, &name))?;
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
        unavailable: None,
        name,
    })
}

/// The same error, of a table that has a name.
pub(super) fn of_table(error: CatalogError, name: &TableName) -> CatalogError {
    match error {
        CatalogError::Types { file, problem, .. } => {
            CatalogError::Types { table: name.table.clone(), file, problem }
        }
        other => other,
    }
}

/// The keys of the folders, in the order in which they are met. Not each file has each.
fn partition_names(name: &TableName, place: &Place, found: &[ObjectMeta]) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for file in found {
        let values = place.folder_values(&file.location);
        for (at, (key, _)) in values.iter().enumerate() {
            if values[..at].iter().any(|(other, _)| other == key) {
                let file = place.shown(&file.location);
                let problem = format!("the folders of file {file} have two values of \"{key}\"");
                return Err(CatalogError::Types { table: name.table.clone(), file, problem });
            }
            if !names.contains(key) {
                names.push(key.clone());
            }
        }
    }
    Ok(names)
}

/// The columns of the first of the files at `location`, in the order in which it has them.
pub async fn first_columns(
    session: &dyn Session,
    location: &str,
    files: &ExternalFiles,
) -> Result<SchemaRef> {
    let unreadable =
        |source: DataFusionError| CatalogError::Unreadable { name: "files".to_owned(), file: None, source };
    let place = Place::new(location, files).map_err(unreadable)?;
    let store = session.runtime_env().object_store(&place.url).map_err(unreadable)?;
    let found = place.listed(session, store.as_ref()).await.map_err(unreadable)?;
    match found.into_iter().find(|file| place.is_own(file)) {
        Some(file) => {
            if files.format == ExternalFormat::Parquet {
                footer::check_shape(store.as_ref(), &file).await.map_err(unreadable)?;
            }
            format_of(files).infer_schema(session, &store, &[file]).await.map_err(unreadable)
        }
        None => Ok(Arc::new(Schema::empty())),
    }
}

/// The files of `definition`: their URLs and sizes.
pub async fn files(session: &dyn Session, definition: &TableDefinition) -> Result<Vec<(String, u64)>> {
    definition.check_available()?;
    let unreadable = |source: DataFusionError| CatalogError::Unreadable {
        name: definition.name.table.clone(),
        file: None,
        source,
    };
    let place = Place::new(&definition.location, &definition.files).map_err(unreadable)?;
    let store = session.runtime_env().object_store(&place.url).map_err(unreadable)?;
    let found = place.listed(session, store.as_ref()).await.map_err(unreadable)?;
    let base = place.url.object_store();
    let file = |file: ObjectMeta| (format!("{}{}", base.as_str(), file.location), file.size);
    Ok(found.into_iter().filter(|file| place.is_own(file)).map(file).collect())
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
    let unreadable =
        |source: DataFusionError| CatalogError::Unreadable { name: "files".to_owned(), file: None, source };
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
    definition.check_available()?;
    let unreadable = |file: Option<String>, source: DataFusionError| CatalogError::Unreadable {
        name: definition.name.table.clone(),
        file,
        source,
    };
    let place = Place::new(&definition.location, &definition.files).map_err(|e| unreadable(None, e))?;
    let store = session.runtime_env().object_store(&place.url).map_err(|e| unreadable(None, e))?;
    let found = place.listed(session, store.as_ref()).await.map_err(|e| unreadable(None, e))?;
    let look = |meta: ObjectMeta| {
        let (format, store) = (format_of(&definition.files), Arc::clone(&store));
        let shown = place.shown(&meta.location);
        async move {
            check_file(session, &store, format.as_ref(), &meta, definition, &shown).await?;
            let told = footer::told(session, &store, format.as_ref(), &meta, &definition.file_schema).await;
            let told = told.map_err(|source| unreadable(Some(shown), source))?;
            FileStatistics::of(&meta, &told)
        }
        .boxed()
    };
    let looks: Vec<_> = found.into_iter().filter(|file| place.is_own(file)).map(look).collect();
    futures::stream::iter(looks).buffered(FILES_READ_AT_ONCE).try_collect().await
}

pub(super) fn compression_of(format: &ExternalFormat) -> Compression {
    match format {
        ExternalFormat::Csv(csv) => csv.compression,
        ExternalFormat::Json { compression } => *compression,
        ExternalFormat::Parquet | ExternalFormat::Arrow => Compression::None,
    }
}

/// How files of that kind are read.
pub(super) fn format_of(files: &ExternalFiles) -> Arc<dyn FileFormat> {
    let compressed = |compression: Compression| match compression {
        Compression::None => FileCompressionType::UNCOMPRESSED,
        Compression::Gzip => FileCompressionType::GZIP,
        Compression::Bzip2 => FileCompressionType::BZIP2,
        Compression::Xz => FileCompressionType::XZ,
        Compression::Zstd => FileCompressionType::ZSTD,
    };
    match &files.format {
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
    }
}

/// Refuses a file that is damaged, or has values that the columns of `table` do not hold.
pub(super) async fn check_file(
    session: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    format: &dyn FileFormat,
    file: &ObjectMeta,
    table: &TableDefinition,
    shown: &str,
) -> Result<()> {
    if !matches!(table.files.format, ExternalFormat::Parquet | ExternalFormat::Arrow) {
        return Ok(());
    }
    let name = &table.name.table;
    let unreadable = |source: DataFusionError| CatalogError::Unreadable {
        name: name.clone(),
        file: Some(shown.to_owned()),
        source,
    };
    let misfit = |problem: String| CatalogError::Types {
        table: name.clone(),
        file: shown.to_owned(),
        problem: format!("file {shown} does not fit: {problem}"),
    };
    let footer = match table.files.format {
        ExternalFormat::Parquet => Some(footer::checked(session, store, file).await.map_err(unreadable)?),
        _ => None,
    };
    if let Some(column) = footer.as_deref().and_then(footer::name_of_two) {
        return Err(misfit(format!("it has two columns \"{column}\"")));
    }
    let columns = footer::caught(format.infer_schema(session, store, std::slice::from_ref(file)));
    let columns = columns.await.map_err(unreadable)?;
    widening::check_fits(&table.file_schema, &columns, table.files.is_declared).map_err(misfit)?;
    let moments = footer.map(|footer| footer::moments(&footer, &columns)).unwrap_or_default();
    footer::check_moments(&moments, &table.file_schema).map_err(misfit)
}

/// Files that are looked into to learn what a table is.
struct Files<'a> {
    session: &'a dyn Session,
    name: &'a TableName,
    place: &'a Place,
    store: &'a Arc<dyn ObjectStore>,
    format: &'a dyn FileFormat,
}

impl Files<'_> {
    /// What is in each of `files`.
    async fn schemas(&self, kind: &ExternalFormat, files: &[ObjectMeta]) -> Result<Vec<Looked>> {
        // Boxed: the compiler cannot tell the lifetimes of such a stream when it is sent to another thread.
        let read = |file: &ObjectMeta| {
            let (file, is_parquet) = (file.clone(), *kind == ExternalFormat::Parquet);
            async move {
                let shown = self.place.shown(&file.location);
                let unreadable = |source: DataFusionError| CatalogError::Unreadable {
                    name: self.name.table.clone(),
                    file: Some(shown.clone()),
                    source,
                };
                let footer = match is_parquet {
                    true => Some(footer::checked(self.session, self.store, &file).await.map_err(unreadable)?),
                    false => None,
                };
                if let Some(column) = footer.as_deref().and_then(footer::name_of_two) {
                    return Err(self.misfit(&shown, &format!("has two columns \"{column}\"")));
                }
                let files = std::slice::from_ref(&file);
                let schema = footer::caught(self.format.infer_schema(self.session, self.store, files));
                let schema = schema.await.map_err(unreadable)?;
                let moments = footer.map(|footer| footer::moments(&footer, &schema)).unwrap_or_default();
                let values = self.place.folder_values(&file.location);
                let keys = values.into_iter().map(|(key, _)| key).collect();
                Ok(Looked { shown, keys, schema, moments })
            }
            .boxed()
        };
        let reads: Vec<_> = files.iter().map(read).collect();
        futures::stream::iter(reads).buffered(FILES_READ_AT_ONCE).try_collect().await
    }

    /// The columns of all `files`: every column that any of them has, of a type that holds the values of each.
    async fn columns(
        &self,
        kind: &ExternalFormat,
        files: &[ObjectMeta],
        keys: &[String],
    ) -> Result<SchemaRef> {
        let looked = self.schemas(kind, files).await?;
        let mut columns = Columns::default();
        for file in &looked {
            // A file beside the folders, whose own values nobody would see.
            let is_hidden =
                |key: &&String| file.schema.field_with_name(key).is_ok() && !file.keys.contains(key);
            if let Some(key) = keys.iter().find(is_hidden) {
                return Err(self.misfit(&file.shown, &format!("has a column \"{key}\", which folders name")));
            }
            columns.add(&self.name.table, &file.schema, &file.shown)?;
        }
        let columns = columns.schema();
        for file in &looked {
            footer::check_moments(&file.moments, &columns)
                .map_err(|problem| self.misfit(&file.shown, &problem))?;
        }
        Ok(columns)
    }

    /// Files that tell their columns must have values that the declared types hold.
    async fn check_declared(
        &self,
        kind: &ExternalFormat,
        declared: &SchemaRef,
        files: &[ObjectMeta],
    ) -> Result<()> {
        for file in self.schemas(kind, files).await? {
            widening::check_fits(declared, &file.schema, true)
                .and_then(|()| footer::check_moments(&file.moments, declared))
                .map_err(|problem| self.misfit(&file.shown, &problem))?;
        }
        Ok(())
    }

    fn misfit(&self, file: &str, problem: &str) -> CatalogError {
        CatalogError::Types {
            table: self.name.table.clone(),
            file: file.to_owned(),
            problem: format!("file {file} does not fit: {problem}"),
        }
    }
}

/// What was found in a file.
struct Looked {
    shown: String,
    /// Of the folders above it.
    keys: Vec<String>,
    schema: SchemaRef,
    moments: Vec<Moment>,
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
fn partition_type(place: &Place, files: &[ObjectMeta], partition: &str) -> DataType {
    let (mut saw_value, mut all_integers, mut all_dates) = (false, true, true);
    for file in files {
        let values = place.folder_values(&file.location);
        let value = values.into_iter().find(|(key, _)| key == partition).and_then(|(_, value)| value);
        let Some(value) = value else { continue };
        saw_value = true;
        // `01` stays text: 1 is not `01`.
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
    fn only_days_that_exist_are_dates() {
        assert!(is_iso_date("2024-02-29"));
        assert!(!is_iso_date("2023-02-29"));
        assert!(!is_iso_date("2024-13-01"));
        assert!(!is_iso_date("20240101xx"));
    }
}
