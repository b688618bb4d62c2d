//! What ANALYZE notes of each file of a table that lies somewhere, and how plans come to know it without opening one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics, TableReference};
use datafusion::datasource::file_format::FileMeta;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::cache::cache_manager::{CachedFileMetadata, FileStatisticsCache};
use datafusion::execution::cache::{Cache, CacheEntryInfo, SchemaFingerprint, TableScopedPath};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use object_store::ObjectMeta;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::lake::values;
use crate::{CatalogError, Result};

/// What was noted of one file. It holds for a file of these bytes and this moment, and for no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStatistics {
    /// Its path in its store.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written last, as its store tells: nanoseconds since 1970.
    pub modified: i64,
    /// Rows, bounds, nulls and order, as JSON.
    pub told: String,
}

/// [`FileStatistics::told`]. Each number says whether it is exact.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    rows: Option<(usize, bool)>,
    bytes: Option<(usize, bool)>,
    columns: Vec<ColumnTold>,
    /// What the rows are ordered by: columns by their place, descending, nulls first.
    order: Vec<(usize, bool, bool)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ColumnTold {
    nulls: Option<(usize, bool)>,
    bytes: Option<(usize, bool)>,
    min: Option<(String, bool)>,
    max: Option<(String, bool)>,
}

impl FileStatistics {
    /// What `found` tells of the file `meta`.
    pub fn of(meta: &ObjectMeta, found: &FileMeta) -> Result<Self> {
        let statistics = &found.statistics;
        let column = |column: &ColumnStatistics| ColumnTold {
            nulls: number(&column.null_count),
            bytes: number(&column.byte_size),
            min: bound(&column.min_value),
            max: bound(&column.max_value),
        };
        let order = found.ordering.iter().flat_map(|order| order.iter());
        let order = order.map(|key| {
            let place = key.expr.downcast_ref::<Column>()?.index();
            Some((place, key.options.descending, key.options.nulls_first))
        });
        let told = Told {
            rows: number(&statistics.num_rows),
            bytes: number(&statistics.total_byte_size),
            columns: statistics.column_statistics.iter().map(column).collect(),
            order: order.collect::<Option<_>>().unwrap_or_default(),
        };
        Ok(Self {
            path: meta.location.to_string(),
            bytes: meta.size,
            modified: moment(meta),
            told: serde_json::to_string(&told)
                .map_err(|error| CatalogError::Store { problem: error.to_string() })?,
        })
    }

    /// As DataFusion keeps it of a file with the columns of `schema`; `None` where it does not fit them.
    fn as_kept(&self, schema: &Schema, fingerprint: &Arc<SchemaFingerprint>) -> Option<CachedFileMetadata> {
        let told: Told = serde_json::from_str(&self.told).ok()?;
        if told.columns.len() != schema.fields().len() {
            return None;
        }
        let column = |(told, field): (&ColumnTold, &FieldRef)| {
            // Bounds of floats are none (`trusted`), though they were noted once.
            let bound = |told: &Option<(String, bool)>| match field.data_type().is_floating() {
                true => Precision::Absent,
                false => value(told, field.data_type()),
            };
            ColumnStatistics {
                null_count: precision(told.nulls),
                byte_size: precision(told.bytes),
                min_value: bound(&told.min),
                max_value: bound(&told.max),
                ..ColumnStatistics::new_unknown()
            }
        };
        let order = told.order.iter().map(|(place, descending, nulls_first)| {
            let expr = Arc::new(Column::new(schema.fields().get(*place)?.name(), *place));
            let options = SortOptions { descending: *descending, nulls_first: *nulls_first };
            Some(PhysicalSortExpr::new(expr, options))
        });
        let meta = ObjectMeta {
            location: Path::from(self.path.as_str()),
            last_modified: chrono::DateTime::from_timestamp_nanos(self.modified),
            size: self.bytes,
            e_tag: None,
            version: None,
        };
        let statistics = Statistics {
            num_rows: precision(told.rows),
            total_byte_size: precision(told.bytes),
            column_statistics: told.columns.iter().zip(schema.fields()).map(column).collect(),
        };
        let order = LexOrdering::new(order.collect::<Option<Vec<_>>>()?);
        Some(CachedFileMetadata::new(meta, Arc::clone(fingerprint), Arc::new(statistics), order))
    }
}

fn moment(meta: &ObjectMeta) -> i64 {
    meta.last_modified.timestamp_nanos_opt().unwrap_or(0)
}

fn number(known: &Precision<usize>) -> Option<(usize, bool)> {
    known.get_value().map(|number| (*number, known.is_exact() == Some(true)))
}

fn precision(told: Option<(usize, bool)>) -> Precision<usize> {
    match told {
        Some((number, true)) => Precision::Exact(number),
        Some((number, false)) => Precision::Inexact(number),
        None => Precision::Absent,
    }
}

fn bound(known: &Precision<ScalarValue>) -> Option<(String, bool)> {
    let text = values::to_text(known.get_value()?)?;
    Some((text, known.is_exact() == Some(true)))
}

fn value(told: &Option<(String, bool)>, kind: &DataType) -> Precision<ScalarValue> {
    let Some((text, is_exact)) = told else { return Precision::Absent };
    match values::from_text(text, kind) {
        Some(value) if *is_exact && values::to_text(&value).as_ref() == Some(text) => Precision::Exact(value),
        Some(value) => Precision::Inexact(value),
        None => Precision::Absent,
    }
}

/// What is known of a table's files: what plans came to know since the start, and behind it what ANALYZE noted.
pub struct KnownFiles {
    seen: Arc<FileStatisticsCache>,
    noted: Arc<HashMap<Path, CachedFileMetadata>>,
}

impl KnownFiles {
    /// `seen`, and behind it `noted`.
    pub fn new(seen: Arc<FileStatisticsCache>, noted: Arc<HashMap<Path, CachedFileMetadata>>) -> Self {
        Self { seen, noted }
    }
}

/// `files` by path, of a table whose files have the columns of `schema`.
pub fn noted(files: &[FileStatistics], schema: &Schema) -> HashMap<Path, CachedFileMetadata> {
    let fingerprint = Arc::new(SchemaFingerprint::from_schema(schema));
    let kept = files.iter().filter_map(|file| file.as_kept(schema, &fingerprint));
    kept.map(|kept| (kept.meta.location.clone(), kept)).collect()
}

impl fmt::Debug for KnownFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KnownFiles: {} noted", self.noted.len())
    }
}

impl Cache<TableScopedPath, CachedFileMetadata> for KnownFiles {
    /// Whoever asks looks whether it holds for the file as it is now, and otherwise reads and puts it.
    fn get(&self, key: &TableScopedPath) -> Option<CachedFileMetadata> {
        self.seen.get(key).or_else(|| self.noted.get(&key.path).cloned())
    }

    fn put(&self, key: &TableScopedPath, value: CachedFileMetadata) -> Option<CachedFileMetadata> {
        self.seen.put(key, value)
    }

    fn remove(&self, key: &TableScopedPath) -> Option<CachedFileMetadata> {
        self.seen.remove(key)
    }

    fn contains_key(&self, key: &TableScopedPath) -> bool {
        self.seen.contains_key(key) || self.noted.contains_key(&key.path)
    }

    fn len(&self) -> usize {
        self.seen.len()
    }

    fn clear(&self) {
        self.seen.clear();
    }

    fn name(&self) -> String {
        self.seen.name()
    }

    fn cache_limit(&self) -> usize {
        self.seen.cache_limit()
    }

    fn update_cache_limit(&self, limit: usize) {
        self.seen.update_cache_limit(limit);
    }

    fn cache_ttl(&self) -> Option<Duration> {
        self.seen.cache_ttl()
    }

    fn update_cache_ttl(&self, ttl: Option<Duration>) {
        self.seen.update_cache_ttl(ttl);
    }

    fn drop_table_entries(&self, table: &TableReference) -> DataFusionResult<()> {
        self.seen.drop_table_entries(table)
    }

    fn list_entries(
        &self,
    ) -> datafusion::common::HashMap<TableScopedPath, CacheEntryInfo<CachedFileMetadata>> {
        self.seen.list_entries()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{Field, TimeUnit};

    use super::*;

    #[test]
    fn what_is_noted_comes_back() {
        let moment = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("name", DataType::Utf8View, true),
            Field::new("price", DataType::Decimal128(12, 2), true),
            Field::new("at", moment, true),
            Field::new("zoned", DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), true),
            Field::new("tags", DataType::new_list(DataType::Utf8, true), true),
        ]);
        let column = |min: ScalarValue, max: ScalarValue| ColumnStatistics {
            null_count: Precision::Exact(3),
            min_value: Precision::Exact(min),
            max_value: Precision::Inexact(max),
            byte_size: Precision::Inexact(80),
            ..ColumnStatistics::new_unknown()
        };
        let statistics = Statistics {
            num_rows: Precision::Exact(10),
            total_byte_size: Precision::Absent,
            column_statistics: vec![
                column(ScalarValue::Int64(Some(-1)), ScalarValue::Int64(Some(7))),
                column(ScalarValue::Utf8View(Some("a,\"b".into())), ScalarValue::Utf8View(Some("é".into()))),
                column(
                    ScalarValue::Decimal128(Some(-5), 12, 2),
                    ScalarValue::Decimal128(Some(12_345), 12, 2),
                ),
                column(
                    ScalarValue::TimestampNanosecond(Some(-1), None),
                    ScalarValue::TimestampNanosecond(Some(1_700_000_000_123_456_789), None),
                ),
                column(
                    ScalarValue::TimestampNanosecond(Some(1_700_000_000_123_456_001), Some("UTC".into())),
                    ScalarValue::TimestampNanosecond(Some(1_700_000_000_123_456_789), Some("UTC".into())),
                ),
                ColumnStatistics::new_unknown(),
            ],
        };
        let key = Arc::new(Column::new("name", 1));
        let options = SortOptions { descending: true, nulls_first: false };
        let ordering = LexOrdering::new([PhysicalSortExpr::new(key, options)]);
        let meta = ObjectMeta {
            location: Path::from("a/b c.parquet"),
            last_modified: chrono::DateTime::from_timestamp_nanos(1_700_000_000_000_000_001),
            size: 9,
            e_tag: None,
            version: None,
        };
        let found = FileMeta::new(statistics.clone()).with_ordering(ordering.clone());
        let file = FileStatistics::of(&meta, &found).expect("it is noted");
        let noted = noted(&[file], &schema);
        let kept = &noted[&meta.location];
        assert_eq!(*kept.statistics, statistics);
        assert_eq!(kept.ordering, ordering);
        let fingerprint = Arc::new(SchemaFingerprint::from_schema(&schema));
        assert!(kept.is_valid_for(&meta, &fingerprint));
        let changed = ObjectMeta { size: 10, ..meta };
        assert!(!kept.is_valid_for(&changed, &fingerprint));
    }
}
