//! What a table is, as plain data: nothing here opens a file.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::lake::{DeclaredType, ManagedTable};
use crate::table::file_statistics::FileStatistics;
use crate::{CatalogError, Result, Unavailable};

/// The key of a field's metadata that names its PostgreSQL type, where Arrow has no such type.
pub const PG_TYPE: &str = "sluice.pg_type";

/// The key of a field's metadata that holds its type modifier, where Arrow's type does not say it.
pub const PG_TYPMOD: &str = "sluice.pg_typmod";

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

/// A table over files: those at one location, or those that the lake's snapshots know. Or a view.
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
    /// How the files are read, where they lie somewhere.
    pub files: ExternalFiles,
    /// What ANALYZE noted of each of those files; empty before it did.
    pub analyzed: Arc<Vec<FileStatistics>>,
    /// The files and columns of a table that this server writes; `None` for those that lie somewhere.
    pub managed: Option<Arc<ManagedTable>>,
    /// What a view stands for; `None` for a table.
    pub view: Option<Arc<View>>,
    /// Why it cannot be read, when that is known. It then may have no columns.
    pub unavailable: Option<Arc<Unavailable>>,
}

/// A query that a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// `ducklake_view.view_id`.
    pub id: i64,
    /// `ducklake_view.view_uuid`.
    pub uuid: String,
    /// The query. Names in it have their schemas.
    pub sql: String,
}

/// A query whose rows are kept, as those of a managed table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Materialized {
    /// The query. Names in it have their schemas.
    pub sql: String,
    /// The version of the catalog that the rows were computed of.
    pub snapshot: u64,
    /// The relations that were read, and what they held: [`TableDefinition::contents`].
    pub inputs: Vec<(String, String, Option<String>)>,
    /// So many files, where it was said.
    pub partitions: Option<usize>,
    /// Its rows were never computed: `WITH NO DATA`.
    #[serde(default)]
    pub is_unpopulated: bool,
}

/// How files that lie somewhere are read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalFiles {
    /// What they hold.
    pub format: ExternalFormat,
    /// Which of the location's files are the table's, where not all are: a pattern of names.
    pub glob: Option<String>,
    /// The statement told the columns; they are not those that the files were found to have.
    pub is_declared: bool,
}

/// What files hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ExternalFormat {
    #[default]
    Parquet,
    Csv(CsvReading),
    /// One object on each line.
    Json {
        compression: Compression,
    },
    /// Arrow's IPC files.
    Arrow,
}

/// How values stand in lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvReading {
    /// The first line of each file names the columns.
    pub has_header: bool,
    /// Between values.
    pub delimiter: u8,
    /// Around a value that holds a delimiter, a quote or a line's end.
    pub quote: u8,
    /// Before a quote in such a value, where it is not the quote itself.
    pub escape: Option<u8>,
    /// Lines that begin with it are passed over.
    pub comment: Option<u8>,
    /// Values may hold a line's end: then no file is cut in pieces.
    pub has_newlines: bool,
    /// Of the file as a whole.
    pub compression: Compression,
}

/// How a file of text is compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Default for CsvReading {
    fn default() -> Self {
        Self {
            has_header: true,
            delimiter: b',',
            quote: b'"',
            escape: None,
            comment: None,
            has_newlines: false,
            compression: Compression::None,
        }
    }
}

impl Compression {
    /// The one called `name`, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "none" | "uncompressed" => Self::None,
            "gzip" | "gz" => Self::Gzip,
            "bzip2" | "bz2" => Self::Bzip2,
            "xz" => Self::Xz,
            "zstd" | "zst" => Self::Zstd,
            _ => return None,
        })
    }

    /// What the names of such files end with.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Bzip2 => ".bz2",
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
        }
    }
}

impl ExternalFormat {
    /// Its name in `STORED AS`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv(_) => "csv",
            Self::Json { .. } => "json",
            Self::Arrow => "arrow",
        }
    }

    /// What the names of such files end with.
    pub fn extension(&self) -> String {
        let compression = match self {
            Self::Csv(csv) => csv.compression,
            Self::Json { compression } => *compression,
            Self::Parquet | Self::Arrow => Compression::None,
        };
        format!(".{}{}", self.name(), compression.suffix())
    }
}

impl TableDefinition {
    /// A folder as a table without columns: a place that files are written to.
    pub fn of_folder(location: String) -> Self {
        Self {
            name: TableName::new("", ""),
            oid: 0,
            location,
            file_schema: SchemaRef::new(Schema::empty()),
            partition_columns: Vec::new(),
            statistics: TableStatistics::default(),
            files: ExternalFiles::default(),
            analyzed: Arc::default(),
            managed: None,
            view: None,
            unavailable: None,
        }
    }

    /// A table over files at `location` of which it is known only that they cannot be read.
    pub fn of_unavailable(name: TableName, location: String, problem: Unavailable) -> Self {
        Self {
            oid: stable_oid(&format!("{}.{}", name.schema, name.table)),
            name,
            unavailable: Some(Arc::new(problem)),
            ..Self::of_folder(location)
        }
    }

    /// Fails with [`CatalogError::Unavailable`] for a table that cannot be read.
    pub fn check_available(&self) -> Result<()> {
        match &self.unavailable {
            None => Ok(()),
            Some(problem) => Err(CatalogError::Unavailable {
                name: self.name.table.clone(),
                problem: problem.as_ref().clone(),
            }),
        }
    }

    /// Tells what the table holds from what it held before or will hold; `None` where only a look at its files
    /// can tell.
    pub fn contents(&self) -> Option<String> {
        let managed = self.managed.as_ref()?;
        let columns = managed.current_columns().map(|column| column.field.name().as_str());
        let files = managed.files.iter().map(|file| {
            let deletes = file.deletes.as_ref().map_or("", |deletes| deletes.location.as_str());
            format!("{}{deletes}", file.id)
        });
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for part in columns.map(str::to_owned).chain(files) {
            // FNV-1a, with an end to each part.
            for byte in part.bytes().chain([0xff]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        Some(format!("{}-{hash:016x}", managed.id))
    }

    /// A view of `columns`.
    pub fn of_view(name: TableName, columns: SchemaRef, view: View) -> Self {
        let oid = stable_oid(&view.uuid);
        Self { oid, name, file_schema: columns, view: Some(Arc::new(view)), ..Self::of_folder(String::new()) }
    }

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

    /// The same, told the types that statements named for them, where Arrow has no such types.
    pub fn declared_fields(&self) -> Vec<Field> {
        let mut fields = self.fields();
        for (at, field) in fields.iter_mut().enumerate() {
            if let Some(declared) = self.declared(at) {
                let name = declared.told_name(field.data_type());
                let metadata = [(PG_TYPE, name), (PG_TYPMOD, declared.modifier.to_string())];
                let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value));
                field.set_metadata(metadata.collect());
            }
        }
        fields
    }

    /// The type that a statement named for the column `at` of [`Self::fields`], where Arrow has no such type.
    pub fn declared(&self, at: usize) -> Option<&DeclaredType> {
        self.managed.as_ref()?.current_columns().nth(at)?.declared.as_ref()
    }

    /// Whether there is such a column.
    pub fn has_declared(&self) -> bool {
        self.managed
            .as_ref()
            .is_some_and(|managed| managed.current_columns().any(|column| column.declared.is_some()))
    }

    /// The place of a column among [`Self::fields`], counted from 0.
    pub fn position(&self, column: &str) -> Option<usize> {
        let in_files = self.file_schema.fields().iter().position(|field| field.name() == column);
        in_files.or_else(|| {
            let in_folders = self.partition_columns.iter().position(|(name, _)| name == column);
            in_folders.map(|at| self.file_schema.fields().len() + at)
        })
    }

    /// The columns that its files are partitioned by, in their order.
    pub fn partition_column_names(&self) -> Vec<String> {
        let Some(managed) = &self.managed else {
            return self.partition_columns.iter().map(|(name, _)| name.clone()).collect();
        };
        let keys = managed.partitioning.iter().flat_map(|of| &of.keys);
        let columns = keys.filter_map(|key| managed.current_columns().find(|column| column.id == key.column));
        columns.map(|column| column.field.name().clone()).collect()
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
