//! Tables over Parquet files: a single file, or a folder with optional Hive `key=value` folders.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::TableReference;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use futures::TryStreamExt;

use crate::definition::{TableDefinition, TableName, TableStatistics, stable_oid};
use crate::table::StringLayout;
use crate::{CatalogError, DATABASE, Result};

/// Opens a discovered table: reads the footers its schema comes from and names its partition columns.
///
/// Fails with [`CatalogError::Location`] when there is no file, with [`CatalogError::Unreadable`] when none
/// can be read as Parquet.
pub async fn open(session: &dyn Session, name: TableName, location: &str) -> Result<TableDefinition> {
    let unreadable = |source: DataFusionError| CatalogError::Unreadable { name: name.table.clone(), source };
    let url = ListingTableUrl::parse(location).map_err(unreadable)?;
    let options = listing_options();
    let store = session.runtime_env().object_store(&url).map_err(unreadable)?;
    let mut files = url.list_all_files(session, store.as_ref(), ".parquet").await.map_err(unreadable)?;
    if files.try_next().await.map_err(unreadable)?.is_none() {
        let problem = "holds no Parquet file".to_owned();
        return Err(CatalogError::Location { location: location.to_owned(), problem });
    }
    drop(files);
    let partition_names = options.infer_partitions(session, &url).await.map_err(unreadable)?;
    let found = options.infer_schema(session, &url).await.map_err(unreadable)?;

    // A folder column wins over a column of the same name inside the files, as in Spark and Hive.
    let fields: Vec<_> =
        found.fields().iter().filter(|field| !partition_names.contains(field.name())).cloned().collect();
    if fields.is_empty() && partition_names.is_empty() {
        let source = DataFusionError::Plan("its files have no columns".to_owned());
        return Err(unreadable(source));
    }
    let mut partition_columns = Vec::with_capacity(partition_names.len());
    for partition in partition_names {
        let data_type = partition_type(session, &url, &partition).await.map_err(unreadable)?;
        partition_columns.push((partition, data_type));
    }
    Ok(TableDefinition {
        oid: stable_oid(&format!("{}.{}", name.schema, name.table)),
        location: location.to_owned(),
        statistics: statistics(session, &url, &fields).await.map_err(unreadable)?,
        // Metadata differs from file to file and says nothing about the rows.
        file_schema: StringLayout::Plain.apply(&Schema::new(fields)),
        partition_columns,
        managed: None,
        name,
    })
}

/// A scan of `definition` with its strings in `layout`.
pub fn provider(
    definition: &TableDefinition,
    layout: StringLayout,
) -> DataFusionResult<Arc<dyn TableProvider>> {
    // The two layouts are different entries in the caches: a footer's statistics are kept per schema.
    let scope = TableReference::full(
        format!("{DATABASE}/{layout:?}"),
        definition.name.schema.as_str(),
        definition.name.table.as_str(),
    );
    let url = ListingTableUrl::parse(&definition.location)?.with_table_ref(scope);
    let options = listing_options().with_table_partition_cols(definition.partition_columns.clone());
    let config = ListingTableConfig::new(url)
        .with_listing_options(options)
        .with_schema(layout.apply(&definition.file_schema));
    Ok(Arc::new(ListingTable::try_new(config)?))
}

fn listing_options() -> ListingOptions {
    ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet")
}

/// Sizes from the listing and the footer of the largest file, which the session's cache already holds.
async fn statistics(
    session: &dyn Session,
    url: &ListingTableUrl,
    fields: &[FieldRef],
) -> DataFusionResult<TableStatistics> {
    let store = session.runtime_env().object_store(url)?;
    let files: Vec<_> = url.list_all_files(session, store.as_ref(), ".parquet").await?.try_collect().await?;
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

/// What a short string takes in an array: its view or its offset, and a few letters.
const STRING_BYTES_MIN: u64 = 16;

/// `BIGINT` or `DATE` when every folder value reads as one, else text.
async fn partition_type(
    session: &dyn Session,
    url: &ListingTableUrl,
    partition: &str,
) -> DataFusionResult<DataType> {
    let store = session.runtime_env().object_store(url)?;
    let marker = format!("{partition}=");
    let mut files = url.list_all_files(session, store.as_ref(), ".parquet").await?;
    let (mut saw_value, mut all_integers, mut all_dates) = (false, true, true);
    while let Some(file) = files.try_next().await? {
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
    Ok(match (saw_value, all_integers, all_dates) {
        (true, true, _) => DataType::Int64,
        (true, _, true) => DataType::Date32,
        _ => DataType::Utf8,
    })
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
