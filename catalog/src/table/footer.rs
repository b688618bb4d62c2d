//! What a Parquet file's footer must say for its rows to be what is counted: a file that contradicts itself is refused
//! as a whole, whether its rows are read or only counted.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::Session;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::file_format::{FileFormat, FileMeta};
use datafusion::datasource::physical_plan::parquet::metadata::{
    DFParquetMetadata, ordering_from_parquet_metadata,
};
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use datafusion::parquet::file::statistics::Statistics;
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_expr::utils::collect_columns;
use futures::FutureExt;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::footer_shape::{self, TRAILER_BYTES};
use super::trusted::{has_other_type, trusted, whole};

/// What a schema of as many columns as are read may take.
const SCHEMA_BYTES_MAX: u64 = 1 << 20;
/// What every Parquet file begins and ends with.
const MAGIC_BYTES: i64 = 4;

/// The footer of `file`, read once and kept, when it does not contradict itself or the file.
pub async fn checked(
    session: &dyn Session,
    store: &dyn ObjectStore,
    file: &ObjectMeta,
) -> Result<Arc<ParquetMetaData>, DataFusionError> {
    let damaged =
        |problem: &str| DataFusionError::ParquetError(Box::new(ParquetError::General(problem.to_owned())));
    if file.size == 0 {
        return Err(damaged("it has no bytes"));
    }
    let cache = session.runtime_env().cache_manager.get_file_metadata_cache();
    if !cache.get(&file.location).is_some_and(|known| known.is_valid_for(file)) {
        check_shape(store, file).await?;
    }
    let reader = DFParquetMetadata::new(store, file).with_file_metadata_cache(Some(cache));
    let footer = caught(reader.fetch_metadata()).await.map_err(in_plain_words)?;
    check(&footer, file.size).map_err(|problem| damaged(&problem))?;
    Ok(trusted(footer))
}

/// What the footer of `file` tells of its rows and their order, for the columns of `schema`, as far as it is to be believed.
/// `format` tells of files that are no Parquet.
pub async fn told(
    session: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    format: &dyn FileFormat,
    file: &ObjectMeta,
    schema: &SchemaRef,
) -> Result<FileMeta, DataFusionError> {
    if !format.is::<ParquetFormat>() {
        return caught(format.infer_stats_and_ordering(session, store, Arc::clone(schema), file)).await;
    }
    let footer = checked(session, store, file).await?;
    let statistics = DFParquetMetadata::statistics_from_parquet_metadata(&footer, schema)?;
    let ordering = caught(async { ordering_from_parquet_metadata(&footer, schema) }).await?;
    // Texts of numbers, say, are in another order than the numbers that the file has.
    let is_as_told = |order: &LexOrdering| {
        let keys = order.iter().flat_map(|key| collect_columns(&key.expr));
        keys.into_iter().all(|key| !has_other_type(&statistics, key.index()))
    };
    let ordering = ordering.filter(is_as_told);
    Ok(FileMeta::new(whole(statistics, &footer, schema)).with_ordering(ordering))
}

/// Refuses a file whose footer says too much of its columns to be decoded.
pub async fn check_shape(store: &dyn ObjectStore, file: &ObjectMeta) -> Result<(), DataFusionError> {
    let Some(end) = file.size.checked_sub(TRAILER_BYTES) else { return Ok(()) };
    let trailer = store.get_range(&file.location, end..file.size).await?;
    let footer = footer_shape::footer_bytes(&trailer).and_then(|length| end.checked_sub(length));
    let Some(start) = footer else { return Ok(()) };
    // The schema comes first: of a large footer the rest tells of row groups.
    let footer = store.get_range(&file.location, start..end.min(start + SCHEMA_BYTES_MAX)).await?;
    footer_shape::check(&footer).map_err(|problem| damaged(&problem))
}

/// What `read` gives. The reader of footers was seen to panic over numbers that lie: the file is damaged, then.
pub async fn caught<T>(read: impl Future<Output = Result<T, DataFusionError>>) -> Result<T, DataFusionError> {
    match AssertUnwindSafe(read).catch_unwind().await {
        Ok(read) => read,
        Err(_) => Err(damaged("its footer is not what it says it is")),
    }
}

fn damaged(problem: &str) -> DataFusionError {
    DataFusionError::ParquetError(Box::new(ParquetError::General(problem.to_owned())))
}

/// What the reader of footers says, in words of the one who has the file.
fn in_plain_words(error: DataFusionError) -> DataFusionError {
    let DataFusionError::ParquetError(inner) = &error else { return error };
    let (ParquetError::General(told) | ParquetError::EOF(told)) = inner.as_ref() else { return error };
    if told.starts_with("Failed to fetch metadata") {
        return error;
    }
    let is_no_footer = ["Corrupt footer", "smaller than", "footer size", "Metadata size", "metadata bytes"];
    let told = match is_no_footer.iter().any(|words| told.contains(words)) {
        true => "it does not end as a Parquet file does: it was cut off, or is none".to_owned(),
        false => format!("its footer cannot be read ({})", told.lines().next().unwrap_or_default().trim()),
    };
    DataFusionError::ParquetError(Box::new(ParquetError::General(told)))
}

/// The name that two columns of a file have.
pub fn name_of_two(footer: &ParquetMetaData) -> Option<&str> {
    let columns = footer.file_metadata().schema_descr().root_schema().get_fields();
    let mut names = HashSet::new();
    columns.iter().map(|column| column.name()).find(|name| !names.insert(*name))
}

/// Refuses a footer whose numbers cannot all be true of a file of so many bytes.
fn check(footer: &ParquetMetaData, file_bytes: u64) -> Result<(), String> {
    let mut rows = 0_i64;
    for (at, group) in footer.row_groups().iter().enumerate() {
        let of_group = |problem: String| format!("in its row group {}, {problem}", at + 1);
        if group.num_rows() < 0 {
            return Err(of_group("there are fewer than no rows".to_owned()));
        }
        rows = rows.checked_add(group.num_rows()).ok_or("it claims more rows than there can be")?;
        for column in group.columns() {
            check_column(group, column, file_bytes).map_err(|problem| {
                of_group(format!("column \"{}\" {problem}", column.column_path().string()))
            })?;
        }
    }
    check_lengths(footer)?;
    let told = footer.file_metadata().num_rows();
    if told != rows {
        return Err(format!("it claims {told} rows and its row groups have {rows}"));
    }
    Ok(())
}

/// parquet-mr before 1.2.9 left the header of a dictionary out of a column's length: what is read by it ends too soon.
fn check_lengths(footer: &ParquetMetaData) -> Result<(), String> {
    let writer = footer.file_metadata().created_by().unwrap_or_default();
    let Some(version) = writer.strip_prefix("parquet-mr") else { return Ok(()) };
    let version = version.trim_start().strip_prefix("version").unwrap_or_default().trim_start();
    let mut numbers = version.split(['.', ' ', '-']).map_while(|number| number.parse::<u32>().ok());
    let version = [0; 3].map(|_: u32| numbers.next().unwrap_or(0));
    if version >= [1, 2, 9] {
        return Ok(());
    }
    let columns = footer.row_groups().iter().flat_map(RowGroupMetaData::columns);
    let mut places: Vec<(i64, i64, &ColumnChunkMetaData)> = columns
        .filter(|column| column.dictionary_page_offset().is_none())
        .map(|column| {
            let start = column.data_page_offset();
            (start, start.saturating_add(column.compressed_size()), column)
        })
        .collect();
    places.sort_by_key(|(start, ..)| *start);
    match places.windows(2).find(|pair| pair[0].1 < pair[1].0) {
        Some(pair) => {
            Err(format!("column \"{}\" is longer than its footer says", pair[0].2.column_path().string()))
        }
        None => Ok(()),
    }
}

fn check_column(
    group: &RowGroupMetaData,
    column: &ColumnChunkMetaData,
    file_bytes: u64,
) -> Result<(), String> {
    let (values, rows) = (column.num_values(), group.num_rows());
    let is_repeated = column.column_descr().max_rep_level() > 0;
    if values < 0 || (!is_repeated && values != rows) || (is_repeated && values < rows) {
        return Err(format!("has {values} values for {rows} rows"));
    }
    let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    let end = start.checked_add(column.compressed_size());
    let limit = i64::try_from(file_bytes).unwrap_or(i64::MAX) - MAGIC_BYTES;
    let is_empty = values == 0 && column.compressed_size() == 0;
    if !is_empty && (start < MAGIC_BYTES || column.compressed_size() < 0 || end.is_none_or(|end| end > limit))
    {
        return Err("lies where the file has nothing".to_owned());
    }
    Ok(())
}

/// The earliest and the latest moments of a column of a file, where the footer tells them.
#[derive(Debug, Clone)]
pub struct Moment {
    column: String,
    unit: TimeUnit,
    bounds: Vec<i64>,
}

/// What the footer tells of the file's columns of moments.
pub fn moments(footer: &ParquetMetaData, file: &Schema) -> Vec<Moment> {
    let of_column = |name: &str| {
        let chunks = footer.row_groups().iter().flat_map(RowGroupMetaData::columns);
        let bounds = chunks.filter(|chunk| chunk.column_path().parts() == [name]).filter_map(|chunk| {
            match chunk.statistics()? {
                Statistics::Int64(known) => Some([known.min_opt().copied(), known.max_opt().copied()]),
                _ => None,
            }
        });
        let bounds: Vec<i64> = bounds.flatten().flatten().collect();
        bounds.iter().min().into_iter().chain(bounds.iter().max()).copied().collect()
    };
    let columns = file.fields().iter().filter_map(|field| match field.data_type() {
        DataType::Timestamp(unit, _) if *unit != TimeUnit::Nanosecond => {
            Some(Moment { column: field.name().clone(), unit: *unit, bounds: of_column(field.name()) })
        }
        _ => None,
    });
    columns.collect()
}

/// Refuses moments that the finer unit of the column of `table` does not reach, with the column.
pub fn check_moments(moments: &[Moment], table: &Schema) -> Result<(), String> {
    for moment in moments {
        let Ok(own) = table.field_with_name(&moment.column) else { continue };
        let DataType::Timestamp(unit, _) = own.data_type() else { continue };
        let factor = per_second(*unit) / per_second(moment.unit);
        if factor > 1 && moment.bounds.iter().any(|bound| bound.checked_mul(factor).is_none()) {
            return Err(format!(
                "column \"{}\" has moments in it that the finer unit of other files does not reach",
                moment.column
            ));
        }
    }
    Ok(())
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}
