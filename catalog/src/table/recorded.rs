//! What the catalog records of the rows of one file of a partitioned table: which value each partition key has in it.
//!
//! Plans may rely on it, so it is told only where every writer of the lake comes to the same value for the same row.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

use crate::lake::{DataFile, ManagedTable, PartitionKey, values};

/// One key that the rows of a table are cut into files by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RecordedKey {
    /// The column's name in the table.
    pub column: String,
    /// What is taken of its values: `identity`, `year`, …, `bucket(N)`.
    pub transform: String,
    /// The column's type as it is stored.
    pub data_type: DataType,
}

/// What all rows of a file have in common; an extension of its `PartitionedFile`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedPartition {
    /// The keys of the table, the same for all of its files.
    pub keys: Arc<[RecordedKey]>,
    /// The file's value of each.
    pub values: Vec<ScalarValue>,
}

impl RecordedPartition {
    /// `None` for a file that was written under another partitioning, or none, and where a value cannot be relied on.
    pub fn of(file: &DataFile, keys: &Arc<[RecordedKey]>, table: &ManagedTable) -> Option<Self> {
        let partitioning = table.partitioning.as_ref()?;
        if file.partitioning != Some(partitioning.id) || file.partition.len() != keys.len() {
            return None;
        }
        let value = |(at, key): (i64, &RecordedKey)| {
            let recorded = file.partition.iter().find(|value| value.key == at)?;
            let kind = if key.transform == "identity" { &key.data_type } else { &DataType::Int64 };
            match &recorded.text {
                Some(text) => values::from_text(text, kind),
                None => ScalarValue::try_from(kind).ok(),
            }
        };
        let values = (0..).zip(keys.iter()).map(value).collect::<Option<Vec<_>>>()?;
        Some(Self { keys: Arc::clone(keys), values })
    }
}

/// The keys of `table`; `None` when it has none, or one that cannot be relied on.
pub fn keys(table: &ManagedTable) -> Option<Arc<[RecordedKey]>> {
    let key = |key: &PartitionKey| {
        let column = table.current_columns().find(|column| column.id == key.column)?;
        let data_type = column.field.data_type().clone();
        // Of another type it may have been hashed, or cut, otherwise.
        let mut versions = table.columns.iter().filter(|version| version.id == key.column);
        let was_same = versions.all(|version| *version.field.data_type() == data_type);
        (was_same && is_reliable(&key.transform, &data_type)).then(|| RecordedKey {
            column: column.field.name().clone(),
            transform: key.transform.clone(),
            data_type,
        })
    };
    let keys: Vec<RecordedKey> = table.partitioning.as_ref()?.keys.iter().map(key).collect::<Option<_>>()?;
    (!keys.is_empty()).then(|| keys.into())
}

/// Floats have several zeros and texts of them. The calendar fields of an instant are those of its writer's time zone.
/// Hashes are taken of types whose bytes are no matter of choice.
fn is_reliable(transform: &str, data_type: &DataType) -> bool {
    let is_text = matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
    let is_plain = data_type.is_signed_integer() || is_text || *data_type == DataType::Date32;
    match transform {
        "identity" => {
            let is_exact =
                matches!(data_type, DataType::Boolean | DataType::Timestamp(..) | DataType::Decimal128(..));
            is_plain || is_exact
        }
        "year" | "month" | "day" | "hour" => {
            matches!(data_type, DataType::Date32 | DataType::Timestamp(_, None))
        }
        _ => is_plain && transform.starts_with("bucket("),
    }
}
