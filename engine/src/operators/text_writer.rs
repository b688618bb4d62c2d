//! Rows as lines of text: CSV, or one JSON object each.

use std::io::{self, Write};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::csv;
use datafusion::arrow::json;
use datafusion::error::Result;
use datafusion::parquet::arrow::async_writer::AsyncFileWriter;
use datafusion::parquet::errors::ParquetError;
use flate2::write::GzEncoder;

use super::file_format::{CsvLayout, TextCompression};
use super::upload::Upload;

/// PostgreSQL's form of a point in time.
const TIMESTAMP: &str = "%Y-%m-%d %H:%M:%S%.f";
const TIMESTAMP_TZ: &str = "%Y-%m-%d %H:%M:%S%.f%:z";

/// What makes text of rows.
pub enum TextForm {
    /// With the header still to come, or without one.
    Csv { layout: CsvLayout, needs_header: bool },
    /// One object on each line.
    Json,
}

/// A file of text on its way into a store.
pub struct TextWriter {
    form: TextForm,
    compressor: Compressor,
    upload: Upload,
    rows: u64,
    bytes: u64,
}

impl TextWriter {
    /// Writes to `upload`.
    pub fn new(form: TextForm, compression: TextCompression, upload: Upload) -> io::Result<Self> {
        Ok(Self { form, compressor: Compressor::new(compression)?, upload, rows: 0, bytes: 0 })
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends `rows`. None of them still makes a header.
    pub async fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        match &mut self.form {
            TextForm::Csv { layout, needs_header } => {
                let builder = csv::WriterBuilder::new()
                    .with_header(std::mem::take(needs_header))
                    .with_delimiter(layout.delimiter)
                    .with_null(layout.null.clone())
                    .with_quote(layout.quote)
                    .with_double_quote(layout.quote == layout.escape)
                    .with_escape(layout.escape)
                    .with_timestamp_format(TIMESTAMP.to_owned())
                    .with_timestamp_tz_format(TIMESTAMP_TZ.to_owned());
                builder.build(&mut self.compressor).write(rows)?;
            }
            TextForm::Json => {
                let builder = json::WriterBuilder::new()
                    .with_explicit_nulls(true)
                    .with_timestamp_format(TIMESTAMP.to_owned())
                    .with_timestamp_tz_format(TIMESTAMP_TZ.to_owned());
                let mut writer = builder.build::<_, json::writer::LineDelimited>(&mut self.compressor);
                writer.write(rows)?;
                writer.finish()?;
            }
        }
        self.rows += rows.num_rows() as u64;
        let bytes = self.compressor.take();
        self.send(bytes).await
    }

    /// Ends the file: its rows, its bytes, and the upload.
    pub async fn finish(mut self) -> Result<(u64, u64, Upload)> {
        let bytes = std::mem::replace(&mut self.compressor, Compressor::Plain(Vec::new())).finish()?;
        self.send(bytes).await?;
        self.upload.complete().await?;
        Ok((self.rows, self.bytes, self.upload))
    }

    async fn send(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.bytes += bytes.len() as u64;
        if bytes.is_empty() {
            return Ok(());
        }
        self.upload.write(bytes.into()).await.map_err(|error: ParquetError| error.into())
    }
}

/// Compresses into memory, from where the bytes are taken as they come.
enum Compressor {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Compressor {
    fn new(compression: TextCompression) -> io::Result<Self> {
        Ok(match compression {
            TextCompression::None => Self::Plain(Vec::new()),
            TextCompression::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::default())),
            TextCompression::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), 0)?),
        })
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(match self {
            Self::Plain(bytes) => bytes,
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        })
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(bytes) => Ok(bytes),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl Write for Compressor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(written) => {
                written.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    // The writers flush behind each batch; compressors that did so too would compress less.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
