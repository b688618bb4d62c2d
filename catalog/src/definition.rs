//! What a table is, as plain data: nothing here opens a file.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, SchemaRef};

use crate::lake::ManagedTable;

/// A table's name within the one database: schema and table, already folded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The schema, `public` unless said otherwise.
    pub schema: String,
    /// The table.
    pub table: String,
}

impl TableName {
    /// A name in schema `schema`.
    pub fn new(schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self { schema: schema.into(), table: table.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", crate::identifier::quote(&self.schema), crate::identifier::quote(&self.table))
    }
}

/// A table over Parquet files: those at one location, or those that the lake's snapshots know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDefinition {
    /// The table's name.
    pub name: TableName,
    /// Its object identifier in `pg_class`. Derived from the name, so it survives a restart.
    pub oid: u32,
    /// The file (`file:///data/orders.parquet`) or the folder (ending in `/`) that holds its rows.
    pub location: String,
    /// The columns in the files, with string and binary columns in their plain (not view) layout.
    pub file_schema: SchemaRef,
    /// Hive `key=value` folder columns, in the order of the folders. They follow the file columns.
    pub partition_columns: Vec<(String, DataType)>,
    /// What the footers told when the table was opened, or what its files told when they were written.
    pub statistics: TableStatistics,
    /// The files and columns of a table that this server writes; `None` for those that lie somewhere.
    pub managed: Option<Arc<ManagedTable>>,
}

impl TableDefinition {
    /// True when the rows lie on this machine's own disks rather than in an object store.
    pub fn is_on_local_path(&self) -> bool {
        self.location.starts_with("file:")
    }

    /// The folder on the local disk that holds the rows, for tables that are on one.
    pub fn local_path(&self) -> Option<std::path::PathBuf> {
        url::Url::parse(&self.location).ok().filter(|url| url.scheme() == "file")?.to_file_path().ok()
    }

    /// Every column as the table shows it: those of the files, then the partition columns.
    pub fn fields(&self) -> Vec<Field> {
        let in_files = self.file_schema.fields().iter().map(|field| field.as_ref().clone());
        let in_folders =
            self.partition_columns.iter().map(|(name, kind)| Field::new(name, kind.clone(), true));
        in_files.chain(in_folders).collect()
    }

    /// The place of a column among [`Self::fields`], counted from 0.
    pub fn position(&self, column: &str) -> Option<usize> {
        let in_files = self.file_schema.fields().iter().position(|field| field.name() == column);
        in_files.or_else(|| {
            let in_folders = self.partition_columns.iter().position(|(name, _)| name == column);
            in_folders.map(|at| self.file_schema.fields().len() + at)
        })
    }

    /// Bytes in memory of the rows in `file_bytes` of this table's files, counting only `columns`
    /// (indexes into file columns followed by partition columns).
    pub fn decoded_bytes(&self, file_bytes: u64, columns: &[usize]) -> u64 {
        let statistics = &self.statistics;
        let per_column = columns
            .iter()
            .map(|column| statistics.column_bytes.get(*column).copied().unwrap_or(statistics.rows * 8));
        let share = file_bytes as f64 / statistics.file_bytes.max(1) as f64;
        (per_column.sum::<u64>() as f64 * share) as u64
    }
}

/// How large a table is. Exact for one file; for a folder, taken from one file and scaled by bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableStatistics {
    /// Number of files.
    pub files: u64,
    /// Bytes of all files as stored.
    pub file_bytes: u64,
    /// Rows in all files.
    pub rows: u64,
    /// Bytes of each file column once decoded: whole values, not dictionary keys.
    pub column_bytes: Vec<u64>,
}

/// A stable object identifier for a name (`schema.table`), outside the range PostgreSQL keeps for itself
/// (below 16384).
///
/// FNV-1a over the name; the caller resolves the rare collision by probing upwards.
pub fn stable_oid(name: &str) -> u32 {
    const FIRST_USER_OID: u32 = 16_384;
    // Clients read oids as signed 32-bit numbers often enough to stay below 2^31.
    const RANGE: u32 = (1 << 31) - FIRST_USER_OID - 1;
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    FIRST_USER_OID + (hash % u64::from(RANGE)) as u32
}
