//! What a table is, as plain data: nothing here opens a file.

use std::fmt;

use datafusion::arrow::datatypes::{DataType, SchemaRef};

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
        write!(
            f,
            "{}.{}",
            crate::identifier::quote(&self.schema),
            crate::identifier::quote(&self.table)
        )
    }
}

/// A table over Parquet files at one location.
#[derive(Debug, Clone)]
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

    /// Number of columns, partition columns included.
    pub fn column_count(&self) -> usize {
        self.file_schema.fields().len() + self.partition_columns.len()
    }
}

/// A stable object identifier for a name, outside the range PostgreSQL keeps for itself (below 16384).
///
/// FNV-1a over the name; the caller resolves the rare collision by probing upwards.
pub(crate) fn stable_oid(name: &TableName) -> u32 {
    const FIRST_USER_OID: u32 = 16_384;
    // Clients read oids as signed 32-bit numbers often enough to stay below 2^31.
    const RANGE: u32 = (1 << 31) - FIRST_USER_OID;
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in name.schema.bytes().chain([0]).chain(name.table.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    FIRST_USER_OID + (hash % u64::from(RANGE)) as u32
}
