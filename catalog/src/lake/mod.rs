//! Managed tables as plain data, in DuckLake's terms: their columns have identifiers that outlive their
//! names, and their rows are those of the data files that a snapshot knows.
//!
//! The layout is DuckLake's version 1.0 (<https://ducklake.select/docs/stable/specification/introduction>),
//! so that other engines can read and write the same tables.

mod change;
mod columns;
pub mod types;
pub mod values;

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

pub use change::{ColumnChange, NewColumn, NewTable, define, with_columns, with_files};
pub use columns::{Column, ColumnRow, DeclaredType, FileLayout, field_of, rows as column_rows};

/// The key of a field's metadata that holds its identifier, as Arrow's Parquet writer reads it.
pub const FIELD_ID: &str = "PARQUET:field_id";

/// The identifier of a column, where it has one.
pub fn field_id(field: &Field) -> Option<i64> {
    field.metadata().get(FIELD_ID)?.parse().ok()
}

/// A schema of the lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeSchema {
    /// `ducklake_schema.schema_id`.
    pub id: i64,
    /// Its folder, a URL that ends in `/`.
    pub folder: String,
}

/// What one table needs besides what every table has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedTable {
    /// `ducklake_table.table_id`.
    pub id: i64,
    /// `ducklake_table.table_uuid`.
    pub uuid: String,
    /// Every version of every column, in the order of the columns. Files were written under versions that
    /// have ended.
    pub columns: Vec<Column>,
    /// The files whose rows are the table's, in the order they were added.
    pub files: Vec<Arc<DataFile>>,
    /// The identifier of the next row.
    pub next_row_id: u64,
    /// How its rows are cut into files, when they are.
    pub partitioning: Option<Partitioning>,
    /// The order of the rows within a file, when there is one.
    pub sort: Vec<SortColumn>,
    /// Why it cannot be read or written here, when that is so.
    pub problem: Option<String>,
    /// What the catalog holds of it that cannot be, when there is such a thing. It is neither read nor written.
    pub damage: Option<String>,
}

/// How a table's rows are cut into files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partitioning {
    /// `ducklake_partition_info.partition_id`.
    pub id: i64,
    /// The keys, in order.
    pub keys: Vec<PartitionKey>,
}

/// One key of a partitioning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionKey {
    /// The column.
    pub column: i64,
    /// `identity`, `year`, `month`, `day`, `hour` or `bucket(N)`.
    pub transform: String,
}

/// A column that rows are sorted by within a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortColumn {
    /// The column's name.
    pub column: String,
    /// From the largest to the smallest.
    pub is_descending: bool,
    /// Nulls before values.
    pub nulls_first: bool,
}

/// A file of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// `ducklake_data_file.data_file_id`.
    pub id: i64,
    /// Its URL.
    pub location: String,
    /// Rows in it.
    pub rows: u64,
    /// Its length.
    pub file_bytes: u64,
    /// The length of its footer; 0 when nobody said.
    pub footer_bytes: u64,
    /// The snapshot that added it, which tells the names its columns have.
    pub begin_snapshot: u64,
    /// What is known of its columns.
    pub columns: Vec<FileColumn>,
    /// The partitioning that it was written under, if any (`ducklake_partition_info.partition_id`).
    pub partitioning: Option<i64>,
    /// Its values of the partition keys.
    pub partition: Vec<FileValue>,
    /// Rows of it that were deleted since, as another engine notes them.
    pub deletes: Option<DeleteFile>,
}

/// A file that names deleted rows of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteFile {
    /// Its URL.
    pub location: String,
    /// Rows it names.
    pub rows: u64,
}

/// A file that was written and that no snapshot knows yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewFile {
    /// Its path below the table's folder.
    pub path: String,
    /// Rows in it.
    pub rows: u64,
    /// Its length.
    pub file_bytes: u64,
    /// The length of its footer.
    pub footer_bytes: u64,
    /// What is known of its columns.
    pub columns: Vec<FileColumn>,
    /// Its values of the partition keys.
    pub partition: Vec<FileValue>,
}

/// What is known of one column of one file. Bounds are in DuckLake's text, see [`values`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileColumn {
    /// The column.
    pub id: i64,
    /// Its bytes as stored.
    pub bytes: u64,
    /// How many of its values are not null.
    pub values: Option<u64>,
    /// How many are null.
    pub nulls: Option<u64>,
    /// No value is less.
    pub min: Option<String>,
    /// No value is greater.
    pub max: Option<String>,
}

/// The one value of a partition key in a file; null is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileValue {
    /// The key's place, counted from 0.
    pub key: i64,
    /// The value.
    pub text: Option<String>,
}

/// A name as that of a folder. What could leave the folder, or cannot stand in a URL, is replaced.
pub fn folder_name(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let plain: String = name.chars().take(64).map(|c| if is_plain(c) { c } else { '_' }).collect();
    if plain.is_empty() { "_".to_owned() } else { plain }
}

/// The folder of a table within its schema's: no other table ever has it, of the same name or not.
pub fn table_folder(table: &NewTable) -> String {
    format!("{}-{}", folder_name(&table.name.table), table.uuid)
}

impl ManagedTable {
    /// The columns of now, with their identifiers.
    pub fn current_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.end_snapshot.is_none())
    }

    /// The schema that files are written with.
    pub fn write_schema(&self) -> SchemaRef {
        let fields: Vec<FieldRef> = self.current_columns().map(|column| Arc::clone(&column.field)).collect();
        Arc::new(Schema::new(fields))
    }

    /// Rows in all files, less those deleted.
    pub fn rows(&self) -> u64 {
        let rows = |file: &Arc<DataFile>| {
            file.rows.saturating_sub(file.deletes.as_ref().map_or(0, |deletes| deletes.rows))
        };
        self.files.iter().map(rows).sum()
    }
}
