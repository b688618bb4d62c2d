//! `COPY (query) TO STDOUT`: rows in text, CSV or PostgreSQL's binary format, one message for each.

use std::sync::Arc;

use bytes::BufMut;
use datafusion::arrow::datatypes::Schema;
use engine::{Error, Result};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::{CopyDone, CopyOutResponse};
use std::result::Result as StdResult;

use super::connection::{Connection, Interrupts, Left};
use super::encode::{EncodedBatch, Format, RowEncoder, RowWriter};
use super::portal::Cursor;
use crate::query::{self, QueryContext};
use crate::sql::{CopyFormat, CopyOptions, CopyOut};

/// What a binary copy begins with (PostgreSQL 15, COPY): signature, flags, length of the extension.
const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with.
const BINARY_TRAILER: i16 = -1;

/// Runs the query and copies its rows out.
pub async fn run(
    connection: &mut Connection,
    copy: &CopyOut,
    interrupts: &Interrupts,
) -> StdResult<(), Left> {
    let context = QueryContext::new(
        &connection.coordinator,
        &connection.session,
        Arc::from(copy.text.as_str()),
        interrupts.cancel.clone(),
    );
    let rows = connection.guarded(interrupts, query::run(&context, &copy.query, &[])).await?;
    let schema = rows.described(&copy.query);
    let columns = schema.fields().len();
    let format = if copy.options.format == CopyFormat::Binary { Format::Binary } else { Format::Text };
    let formats = super::encode::formats(&[format.code()], columns)?;
    let codes = vec![format.code(); columns];
    let response = CopyOutResponse::new(format.code() as i8, columns as i16, codes);
    let writer = CopyWriter::new(&copy.options, &schema)?;
    connection.send(PgWireBackendMessage::CopyOutResponse(response));
    writer.begin(&schema, connection.rows());
    let encoder = RowEncoder::new(&schema, formats, connection.display());
    let mut cursor = Cursor::new(rows);
    let (sent, _) = connection.send_rows(&mut cursor, &encoder, &writer, 0, interrupts).await?;
    writer.end(sent == 0, connection.rows());
    connection.send(PgWireBackendMessage::CopyDone(CopyDone::new()));
    connection.complete(format!("COPY {sent}"));
    Ok(())
}

/// Writes rows as CopyData messages.
struct CopyWriter {
    options: CopyOptions,
    /// Columns that CSV quotes whether they need it or not.
    force_quote: Vec<bool>,
    /// The header of a binary copy goes with the first row, as PostgreSQL sends it.
    header_due: std::sync::atomic::AtomicBool,
}

impl CopyWriter {
    fn new(options: &CopyOptions, schema: &Schema) -> Result<Self> {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        for column in options.force_quote.iter().filter(|column| *column != "*") {
            if !names.contains(&column.as_str()) {
                let column = column.clone();
                return Err(Error::UndefinedColumn { column, suggestion: None, position: None });
            }
        }
        let is_forced =
            |name: &&str| options.force_quote.iter().any(|column| column == "*" || column == name);
        Ok(Self {
            force_quote: names.iter().map(is_forced).collect(),
            options: options.clone(),
            header_due: (options.format == CopyFormat::Binary).into(),
        })
    }

    fn begin(&self, schema: &Schema, out: &mut Vec<u8>) {
        if !self.options.has_header {
            return;
        }
        message(out, |out| {
            for (at, field) in schema.fields().iter().enumerate() {
                if at > 0 {
                    out.put_u8(self.options.delimiter);
                }
                let from = out.len();
                out.put_slice(field.name().as_bytes());
                self.escape_from(out, from, false);
            }
            out.put_u8(b'\n');
        });
    }

    fn end(&self, is_empty: bool, out: &mut Vec<u8>) {
        if self.options.format != CopyFormat::Binary {
            return;
        }
        message(out, |out| {
            if is_empty {
                out.put_slice(BINARY_HEADER);
            }
            out.put_i16(BINARY_TRAILER);
        });
    }

    /// Escapes the value that was written from `from` on.
    fn escape_from(&self, out: &mut Vec<u8>, from: usize, is_forced: bool) {
        match self.options.format {
            CopyFormat::Text => escape_text(out, from, self.options.delimiter),
            CopyFormat::Csv => quote_csv(out, from, &self.options, is_forced),
            CopyFormat::Binary => {}
        }
    }
}

impl RowWriter for CopyWriter {
    fn write_row(&self, batch: &EncodedBatch<'_>, row: usize, out: &mut Vec<u8>) {
        message(out, |out| {
            if self.options.format == CopyFormat::Binary {
                if self.header_due.swap(false, std::sync::atomic::Ordering::Relaxed) {
                    out.put_slice(BINARY_HEADER);
                }
                return batch.put_fields(row, out);
            }
            for column in 0..batch.columns() {
                if column > 0 {
                    out.put_u8(self.options.delimiter);
                }
                let from = out.len();
                if batch.put_value(column, row, out) {
                    self.escape_from(out, from, self.force_quote[column]);
                } else {
                    out.put_slice(self.options.null.as_bytes());
                }
            }
            out.put_u8(b'\n');
        });
    }
}

/// Writes one CopyData message.
fn message(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.put_u8(b'd');
    let at = out.len();
    out.put_i32(0);
    write(out);
    super::encode::patch_length(out, at, 0);
}

/// Backslashes before what ends a value or a row, as `CopyAttributeOutText` writes them.
fn escape_text(out: &mut Vec<u8>, from: usize, delimiter: u8) {
    let needs = |byte: &u8| *byte < 0x20 && (8..=13).contains(byte) || *byte == b'\\' || *byte == delimiter;
    let Some(first) = out[from..].iter().position(needs) else { return };
    let rest = out.split_off(from + first);
    for byte in rest.iter().copied() {
        let letter = match byte {
            8 => b'b',
            9 => b't',
            10 => b'n',
            11 => b'v',
            12 => b'f',
            13 => b'r',
            other if other == b'\\' || other == delimiter => other,
            plain => {
                out.put_u8(plain);
                continue;
            }
        };
        out.put_u8(b'\\');
        out.put_u8(letter);
    }
}

/// Quotes where the value needs them, as `CopyAttributeOutCSV` does.
fn quote_csv(out: &mut Vec<u8>, from: usize, options: &CopyOptions, is_forced: bool) {
    let value = &out[from..];
    let special =
        |byte: &u8| *byte == options.delimiter || *byte == options.quote || *byte == b'\n' || *byte == b'\r';
    let is_needed =
        is_forced || value == options.null.as_bytes() || value == b"\\." || value.iter().any(special);
    if !is_needed {
        return;
    }
    let value = out.split_off(from);
    out.put_u8(options.quote);
    for byte in value.iter().copied() {
        if byte == options.quote || byte == options.escape {
            out.put_u8(options.escape);
        }
        out.put_u8(byte);
    }
    out.put_u8(options.quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv() -> CopyOptions {
        CopyOptions {
            format: CopyFormat::Csv,
            delimiter: b',',
            null: String::new(),
            has_header: false,
            quote: b'"',
            escape: b'"',
            force_quote: Vec::new(),
        }
    }

    #[test]
    fn text_values_are_escaped() {
        let mut out = "x\ta\\b\nc".as_bytes().to_vec();
        escape_text(&mut out, 2, b'\t');
        assert_eq!(&out[..], b"x\ta\\\\b\\nc");
    }

    #[test]
    fn csv_values_are_quoted_where_they_must_be() {
        for (value, expected) in
            [("plain", "plain"), ("a,b", "\"a,b\""), ("say \"hi\"", "\"say \"\"hi\"\"\""), ("", "\"\"")]
        {
            let mut out = value.as_bytes().to_vec();
            quote_csv(&mut out, 0, &csv(), false);
            assert_eq!(&out[..], expected.as_bytes(), "{value}");
        }
    }
}
