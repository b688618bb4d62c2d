//! What a client copies in, cut into rows and read as the types of the columns.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, StringBuilder};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use engine::{Error, Result};

use super::parameters;
use crate::pg_catalog::types;
use crate::sql::{CopyFormat, CopyOptions};

/// Rows of a batch, and bytes of their texts, at most.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 8 << 20;

/// Reads rows out of the data as it comes.
pub struct CopyRows {
    options: CopyOptions,
    /// The columns of the data.
    schema: SchemaRef,
    /// What is not a whole row yet.
    rest: BytesMut,
    row_bytes_max: usize,
    skips_header: bool,
    is_over: bool,
    has_begun: bool,
    line: u64,
    texts: Vec<StringBuilder>,
    values: Vec<Vec<ScalarValue>>,
    rows: usize,
    bytes: usize,
}

impl CopyRows {
    /// Reads rows of `schema`, none of them longer than `row_bytes_max`.
    pub fn new(options: &CopyOptions, schema: SchemaRef, row_bytes_max: usize) -> Self {
        let columns = schema.fields().len();
        Self {
            options: options.clone(),
            rest: BytesMut::new(),
            row_bytes_max,
            skips_header: options.has_header,
            is_over: false,
            has_begun: false,
            line: 0,
            texts: (0..columns).map(|_| StringBuilder::new()).collect(),
            values: vec![Vec::new(); columns],
            rows: 0,
            bytes: 0,
            schema,
        }
    }

    /// Takes more data, and gives the batches that it fills.
    pub fn push(&mut self, data: &[u8]) -> Result<Vec<RecordBatch>> {
        let mut full = Vec::new();
        self.rest.extend_from_slice(data);
        while !self.is_over && self.take_row(false)? {
            if self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
                full.push(self.batch()?);
            }
        }
        if self.rest.len() > self.row_bytes_max {
            return Err(Error::TooLarge {
                message: format!("a row of the data is longer than {} bytes", self.row_bytes_max),
                hint: "Check the format, the delimiter and the quotes, or raise limits.message_bytes_max."
                    .into(),
            });
        }
        Ok(full)
    }

    /// The rows that are left when the data has ended.
    pub fn finish(mut self) -> Result<Option<RecordBatch>> {
        while !self.is_over && self.take_row(true)? {}
        if self.options.format == CopyFormat::Binary && !self.is_over && self.has_begun {
            return Err(bad("unexpected EOF in COPY data".to_owned()));
        }
        if self.rows == 0 { Ok(None) } else { self.batch().map(Some) }
    }

    /// Takes one row out of what there is; false when there is no whole one.
    fn take_row(&mut self, is_last: bool) -> Result<bool> {
        match self.options.format {
            CopyFormat::Binary => self.take_tuple(),
            CopyFormat::Text | CopyFormat::Csv => self.take_record(is_last),
        }
    }

    fn take_record(&mut self, is_last: bool) -> Result<bool> {
        let is_csv = self.options.format == CopyFormat::Csv;
        let end = if is_csv { self.csv_end()? } else { self.rest.iter().position(|byte| *byte == b'\n') };
        let mut record = match end {
            Some(end) => {
                let record = self.rest.split_to(end);
                self.rest.advance(1);
                record
            }
            None if is_last && !self.rest.is_empty() => self.rest.split(),
            None => return Ok(false),
        };
        self.line += 1;
        if record.last() == Some(&b'\r') {
            record.truncate(record.len() - 1);
        }
        if std::mem::take(&mut self.skips_header) {
            return Ok(true);
        }
        if record.as_ref() == b"\\." {
            self.is_over = true;
            return Ok(true);
        }
        let fields = if is_csv { self.csv_fields(&record)? } else { self.text_fields(&record)? };
        if fields.len() > self.texts.len() {
            return Err(bad("extra data after last expected column".to_owned()).on_line(self.line));
        }
        if fields.len() < self.texts.len() {
            let column = self.schema.field(fields.len()).name();
            return Err(bad(format!("missing data for column \"{column}\"")).on_line(self.line));
        }
        for (column, field) in self.texts.iter_mut().zip(fields) {
            match field {
                None => column.append_null(),
                Some(bytes) => {
                    let text = std::str::from_utf8(&bytes).ok().filter(|text| !text.contains('\0'));
                    let invalid = || Error::InvalidEncoding {
                        message: "invalid byte sequence for encoding \"UTF8\"".into(),
                    };
                    self.bytes += bytes.len();
                    column.append_value(text.ok_or_else(invalid)?);
                }
            }
        }
        self.rows += 1;
        Ok(true)
    }

    /// Values between delimiters, with backslashes as COPY's text format has them (PostgreSQL 15, COPY).
    fn text_fields(&self, record: &[u8]) -> Result<Vec<Option<Vec<u8>>>> {
        let null = self.options.null.as_bytes();
        let mut fields = Vec::with_capacity(self.texts.len());
        let (mut at, mut from) = (0, 0);
        let mut field = Vec::new();
        loop {
            match record.get(at) {
                Some(byte) if *byte != self.options.delimiter => {
                    if *byte != b'\\' {
                        field.push(*byte);
                        at += 1;
                        continue;
                    }
                    let (read, length) = unescaped(&record[at + 1..]);
                    field.extend(read);
                    at += 1 + length;
                }
                end => {
                    let raw = &record[from..at];
                    let value = std::mem::take(&mut field);
                    fields.push((raw != null).then_some(value));
                    if end.is_none() {
                        return Ok(fields);
                    }
                    at += 1;
                    from = at;
                }
            }
        }
    }

    /// Where the first record ends: at a line's end that is not in quotes.
    fn csv_end(&self) -> Result<Option<usize>> {
        let mut in_quotes = false;
        let mut at = 0;
        while at < self.rest.len() {
            let byte = self.rest[at];
            if in_quotes && byte == self.options.escape && self.options.escape != self.options.quote {
                at += 2;
                continue;
            }
            if byte == self.options.quote {
                in_quotes = !in_quotes;
            } else if byte == b'\n' && !in_quotes {
                return Ok(Some(at));
            }
            at += 1;
        }
        Ok(None)
    }

    fn csv_fields(&self, record: &[u8]) -> Result<Vec<Option<Vec<u8>>>> {
        let CopyOptions { delimiter, quote, escape, null, .. } = &self.options;
        let mut fields = Vec::with_capacity(self.texts.len());
        let mut at = 0;
        loop {
            let mut field = Vec::new();
            let mut was_quoted = false;
            let mut in_quotes = false;
            while let Some(byte) = record.get(at) {
                let next = record.get(at + 1);
                if in_quotes && byte == escape && next.is_some_and(|next| next == quote || next == escape) {
                    field.push(record[at + 1]);
                    at += 1;
                } else if byte == quote {
                    in_quotes = !in_quotes;
                    was_quoted = true;
                } else if byte == delimiter && !in_quotes {
                    break;
                } else {
                    field.push(*byte);
                }
                at += 1;
            }
            if in_quotes {
                return Err(bad("unterminated CSV quoted field".to_owned()).on_line(self.line));
            }
            // What is quoted is a value, also when it reads like null.
            let is_null = !was_quoted && field == null.as_bytes();
            fields.push((!is_null).then_some(field));
            if at >= record.len() {
                return Ok(fields);
            }
            at += 1;
        }
    }

    /// A tuple of the binary format: a count of fields, each behind its length.
    fn take_tuple(&mut self) -> Result<bool> {
        const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
        if !self.has_begun {
            let header = SIGNATURE.len() + 8;
            if self.rest.len() < header {
                return Ok(false);
            }
            if &self.rest[..SIGNATURE.len()] != SIGNATURE {
                return Err(bad("COPY file signature not recognized".to_owned()));
            }
            let mut extension = &self.rest[SIGNATURE.len() + 4..header];
            let extension = usize::try_from(extension.get_i32()).unwrap_or(usize::MAX);
            if self.rest.len() - header < extension {
                return Ok(false);
            }
            self.rest.advance(header + extension);
            self.has_begun = true;
        }
        let Some(mut count) = self.rest.get(..2) else { return Ok(false) };
        let count = count.get_i16();
        if count == -1 {
            self.is_over = true;
            return Ok(true);
        }
        let expected = self.values.len();
        if usize::try_from(count) != Ok(expected) {
            return Err(bad(format!("row field count is {count}, expected {expected}")));
        }
        let mut at = 2;
        let mut ranges = Vec::with_capacity(expected);
        for _ in 0..expected {
            let Some(mut length) = self.rest.get(at..at + 4) else { return Ok(false) };
            let length = length.get_i32();
            at += 4;
            let Ok(length) = usize::try_from(length) else {
                ranges.push(None);
                continue;
            };
            if self.rest.len() < at + length {
                return Ok(false);
            }
            ranges.push(Some(at..at + length));
            at += length;
        }
        let tuple: Bytes = self.rest.split_to(at).freeze();
        for ((column, field), range) in self.values.iter_mut().zip(self.schema.fields()).zip(ranges) {
            let value = match range {
                None => ScalarValue::try_from(field.data_type())?,
                Some(range) => {
                    let (oid, _) = types::oid_and_size(field.data_type());
                    parameters::from_binary(tuple.slice(range), field.data_type(), oid)?
                        .cast_to(field.data_type())?
                }
            };
            column.push(value);
        }
        self.rows += 1;
        self.bytes += at;
        Ok(true)
    }

    fn batch(&mut self) -> Result<RecordBatch> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let mut columns = Vec::with_capacity(self.texts.len());
        for (at, field) in self.schema.fields().iter().enumerate() {
            columns.push(match self.options.format {
                CopyFormat::Binary => ScalarValue::iter_to_array(std::mem::take(&mut self.values[at]))?,
                CopyFormat::Text | CopyFormat::Csv => read(self.texts[at].finish(), field.data_type())?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options);
        batch.map_err(|error| Error::internal(error.to_string()))
    }
}

/// Texts as values of `data_type`: all at once where Arrow reads what PostgreSQL does, else one by one.
fn read(texts: StringArray, data_type: &DataType) -> Result<ArrayRef> {
    if *data_type == DataType::Utf8 {
        return Ok(Arc::new(texts));
    }
    let is_same =
        data_type.is_integer() || data_type.is_floating() || matches!(data_type, DataType::Decimal128(..));
    let is_trimmed = || texts.iter().flatten().all(|text| !text.starts_with(' ') && !text.ends_with(' '));
    if is_same && is_trimmed() {
        let whole: ArrayRef = Arc::new(texts.clone());
        if let Ok(read) = parameters::parse(&whole, data_type) {
            return Ok(read);
        }
    }
    let null = ScalarValue::try_from(data_type)?;
    let value = |text: Option<&str>| match text {
        None => Ok(null.clone()),
        Some(text) => Ok::<_, Error>(parameters::from_text(text.as_bytes(), data_type)?.cast_to(data_type)?),
    };
    let values = texts.iter().map(value).collect::<Result<Vec<_>>>()?;
    Ok(ScalarValue::iter_to_array(values)?)
}

/// What stands behind a backslash, and how many bytes it takes.
fn unescaped(rest: &[u8]) -> (Vec<u8>, usize) {
    let Some(first) = rest.first() else { return (vec![b'\\'], 0) };
    let digits = |from: usize, max: usize, radix: u32| {
        let found =
            rest[from..].iter().take(max).take_while(|byte| char::from(**byte).is_digit(radix)).count();
        let text = std::str::from_utf8(&rest[from..from + found]).unwrap_or_default();
        (u32::from_str_radix(text, radix).ok().map(|value| value as u8), found)
    };
    let letter = match first {
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'0'..=b'7' => {
            let (value, count) = digits(0, 3, 8);
            return (value.into_iter().collect(), count);
        }
        b'x' => match digits(1, 2, 16) {
            (Some(value), count) if count > 0 => return (vec![value], 1 + count),
            _ => b'x',
        },
        other => *other,
    };
    (vec![letter], 1)
}

fn bad(message: String) -> Error {
    Error::BadCopyFormat { message }
}

trait OnLine {
    fn on_line(self, line: u64) -> Self;
}

impl OnLine for Error {
    fn on_line(self, line: u64) -> Self {
        match self {
            Self::BadCopyFormat { message } => {
                Self::BadCopyFormat { message: format!("{message} (line {line})") }
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Array, AsArray};
    use datafusion::arrow::datatypes::{Field, Schema};

    use super::*;

    fn options(format: CopyFormat) -> CopyOptions {
        let is_csv = format == CopyFormat::Csv;
        CopyOptions {
            format,
            delimiter: if is_csv { b',' } else { b'\t' },
            null: if is_csv { String::new() } else { "\\N".into() },
            has_header: false,
            quote: b'"',
            escape: b'"',
            force_quote: Vec::new(),
        }
    }

    fn texts(format: CopyFormat, data: &str, chunk: usize) -> Result<Vec<Option<String>>> {
        let fields = vec![Field::new("a", DataType::Utf8, true), Field::new("b", DataType::Utf8, true)];
        let mut rows = CopyRows::new(&options(format), Arc::new(Schema::new(fields)), 1000);
        let mut found = Vec::new();
        let mut batches = Vec::new();
        for part in data.as_bytes().chunks(chunk) {
            batches.extend(rows.push(part)?);
        }
        batches.extend(rows.finish()?);
        for batch in batches {
            for row in 0..batch.num_rows() {
                for column in batch.columns() {
                    let column = column.as_string::<i32>();
                    found.push(column.is_valid(row).then(|| column.value(row).to_owned()));
                }
            }
        }
        Ok(found)
    }

    #[test]
    fn data_is_read_however_it_is_cut() {
        let some = |text: &str| Some(text.to_owned());
        for chunk in [1, 3, 1000] {
            let text = "x\\ty\t\\N\n\\\\N\t\\x41\\101\r\n\\.\nignored";
            let found = texts(CopyFormat::Text, text, chunk).expect("rows");
            assert_eq!(found, [some("x\ty"), None, some("\\N"), some("AA")], "{chunk}");
            let csv = "\"a \"\"b\"\"\",\n\"\",\"two\nlines\"\nlast,1";
            let found = texts(CopyFormat::Csv, csv, chunk).expect("rows");
            assert_eq!(found, [some("a \"b\""), None, some(""), some("two\nlines"), some("last"), some("1")]);
        }
        for (format, wrong) in
            [(CopyFormat::Text, "a"), (CopyFormat::Text, "a\tb\tc"), (CopyFormat::Csv, "\"a,b")]
        {
            let error = texts(format, wrong, 1000).expect_err("a wrong row");
            assert_eq!(error.sqlstate().as_str(), "22P04", "{wrong}");
        }
    }
}
