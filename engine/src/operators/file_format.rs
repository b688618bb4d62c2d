//! The formats that files are written in, and which types they can hold.

use std::sync::Arc;

use catalog::lake::types::stored_as;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How rows become the bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum FileFormat {
    Parquet {
        compression: ParquetCompression,
        /// Columns that every row group has a Bloom filter of.
        bloom_filters: Vec<String>,
    },
    Csv {
        layout: CsvLayout,
        compression: TextCompression,
    },
    /// One object on each line.
    Json {
        compression: TextCompression,
    },
}

/// How the pages of a Parquet file are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ParquetCompression {
    None,
    Snappy,
    Gzip,
    Brotli,
    Lz4,
    #[default]
    Zstd,
}

/// How a file of text is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum TextCompression {
    #[default]
    None,
    Gzip,
    Zstd,
}

/// How values stand in a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvLayout {
    /// The first line names the columns.
    pub has_header: bool,
    /// Between values.
    pub delimiter: u8,
    /// What stands for null.
    pub null: String,
    /// Around a value that holds a delimiter, a quote or a line's end.
    pub quote: u8,
    /// Before a quote in such a value.
    pub escape: u8,
}

impl ParquetCompression {
    /// The one called `name`, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "none" | "uncompressed" => Self::None,
            "snappy" => Self::Snappy,
            "gzip" => Self::Gzip,
            "brotli" => Self::Brotli,
            "lz4" | "lz4_raw" => Self::Lz4,
            "zstd" => Self::Zstd,
            _ => return None,
        })
    }

    /// In the words of the Parquet library.
    pub fn codec(self) -> Compression {
        match self {
            Self::None => Compression::UNCOMPRESSED,
            Self::Snappy => Compression::SNAPPY,
            Self::Gzip => Compression::GZIP(GzipLevel::default()),
            Self::Brotli => Compression::BROTLI(BrotliLevel::default()),
            // The other LZ4 has frames of Hadoop's own.
            Self::Lz4 => Compression::LZ4_RAW,
            Self::Zstd => Compression::ZSTD(ZstdLevel::default()),
        }
    }
}

impl TextCompression {
    /// The one called `name`, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "none" | "uncompressed" => Self::None,
            "gzip" => Self::Gzip,
            "zstd" => Self::Zstd,
            _ => return None,
        })
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

impl FileFormat {
    /// Parquet as this server's own tables have it.
    pub fn parquet() -> Self {
        Self::Parquet { compression: ParquetCompression::default(), bloom_filters: Vec::new() }
    }

    /// Its name, as EXPLAIN shows it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Parquet { .. } => "parquet",
            Self::Csv { .. } => "csv",
            Self::Json { .. } => "json",
        }
    }

    /// What the names of such files end with.
    pub fn extension(&self) -> String {
        match self {
            Self::Parquet { .. } => "parquet".to_owned(),
            Self::Csv { compression, .. } => format!("csv{}", compression.suffix()),
            Self::Json { compression } => format!("json{}", compression.suffix()),
        }
    }

    /// The column as a file holds it. Fails with 0A000 for a type that has no place in the format.
    pub fn field(&self, column: &Field) -> Result<Field> {
        let refused = || Error::NotSupported {
            message: format!(
                "column \"{}\" has a type that {} cannot hold: cast it",
                column.name(),
                self.name().to_uppercase()
            ),
        };
        let held = held(column.data_type()).ok_or_else(refused)?;
        if held.is_nested() && matches!(self, Self::Csv { .. }) {
            return Err(refused());
        }
        Ok(Field::new(column.name(), held, true))
    }
}

/// The type that values of `data_type` have in files: one that every reader knows.
fn held(data_type: &DataType) -> Option<DataType> {
    let inner = |field: &Arc<Field>| {
        Some(Arc::new(Field::new(field.name(), held(field.data_type())?, field.is_nullable())))
    };
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::FixedSizeList(item, _) => inner(item).map(DataType::List),
        DataType::Struct(fields) => {
            let fields: Option<Vec<Arc<Field>>> = fields.iter().map(inner).collect();
            fields.map(|fields| DataType::Struct(fields.into()))
        }
        plain => stored_as(plain).map(|(_, held)| held),
    }
}
