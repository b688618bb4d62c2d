//! What a client copies in, cut into rows and read as the types of the columns.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use datafusion::arrow::array::{
    ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray, StringBuilder,
};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use datafusion::common::ScalarValue;
use engine::functions::style::Display;
use engine::{Error, Result};

use super::frames::EVERYDAY_BYTES_MAX;
use super::parameters;
use crate::pg_catalog::types;
use crate::session::Charge;
use crate::sql::{CopyFormat, CopyOptions};

/// Rows of a batch, and bytes of their texts, at most.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 8 << 20;
/// What a value takes beside its bytes: an offset of a text, and a scalar of the binary format.
const TEXT_BYTES: usize = 4;
const SCALAR_BYTES: usize = size_of::<ScalarValue>();
/// Data of so many bytes takes long enough to read that others would notice.
const LARGE_BYTES: usize = 1 << 20;
/// A row is copied so often at most while it is read: unescaped, and into a column that grows by doubling.
const ROW_COPIES: usize = 3;

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
    /// How far `rest` was searched for the end of its first row, and whether that is in quotes.
    searched: usize,
    in_quotes: bool,
    /// One field, unescaped.
    field: Vec<u8>,
    /// What the memory that `rest` lies in takes, in bytes, when that is more than everyday.
    kept_bytes: usize,
    /// For that, and for a row while it is read.
    charge: Charge,
    display: Display,
}

impl CopyRows {
    /// Reads rows of `schema`, none of them longer than `row_bytes_max`; what they take is asked of `charge`. Dates are read as
    /// `display` says.
    pub fn new(
        options: &CopyOptions,
        schema: SchemaRef,
        row_bytes_max: usize,
        charge: Charge,
        display: Display,
    ) -> Self {
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
            searched: 0,
            in_quotes: false,
            field: Vec::new(),
            kept_bytes: 0,
            charge,
            display,
            schema,
        }
    }

    /// Takes more data. What is read of it comes by [`Self::next_full`].
    pub fn push(&mut self, data: Bytes) -> Result<()> {
        if self.is_over {
            return Ok(());
        }
        if self.rest.is_empty() {
            self.keep(data.len())?;
            self.rest = data.try_into_mut().unwrap_or_else(|data| BytesMut::from(&data[..]));
            return Ok(());
        }
        // Twice while it grows: it may move.
        self.keep(2 * (self.rest.len() + data.len()))?;
        self.rest.extend_from_slice(&data);
        drop(data);
        self.keep(self.rest.len())
    }

    /// Whether there is data that may hold a row.
    pub fn has_rows(&self) -> bool {
        !self.is_over && self.rest.len() > self.searched
    }

    /// Whether what there is takes long to read.
    pub fn is_large(&self) -> bool {
        self.rest.len() >= LARGE_BYTES
    }

    /// The next batch that the data fills; `None` when there is too little.
    pub fn next_full(&mut self) -> Result<Option<RecordBatch>> {
        while !self.is_over && self.take_row(false)? {
            if self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
                let batch = self.batch().map(Some);
                self.settle()?;
                return batch;
            }
        }
        self.settle()?;
        // What is left would keep all of the memory that the data came in.
        if self.kept_bytes > 0 && self.rest.len() < self.kept_bytes / 2 {
            self.rest = BytesMut::from(&self.rest[..]);
            self.keep(self.rest.len())?;
        }
        Ok(None)
    }

    /// Whether what is kept of a row is already too long for one.
    pub fn check_length(&self) -> Result<()> {
        if self.rest.len() <= self.row_bytes_max {
            return Ok(());
        }
        Err(Error::TooLarge {
            message: format!("a row of the data is longer than {} bytes", self.row_bytes_max),
            hint: "Check the format, the delimiter and the quotes, or raise limits.message_bytes_max.".into(),
        })
    }

    fn keep(&mut self, bytes: usize) -> Result<()> {
        self.kept_bytes = if bytes > EVERYDAY_BYTES_MAX { bytes } else { 0 };
        self.settle()
    }

    /// Has what is kept now, and nothing that was only for a while.
    fn settle(&mut self) -> Result<()> {
        self.charge.resize(self.kept_bytes + self.gathered_bytes())
    }

    /// What rows take that wait for their batch, in steps: columns grow by doubling.
    fn gathered_bytes(&self) -> usize {
        const STEP: usize = 1 << 20;
        self.bytes / STEP * STEP * 2
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
        let end = if is_csv { self.csv_end() } else { self.text_end() };
        let mut record = match end {
            Some(end) => {
                let record = self.rest.split_to(end);
                self.rest.advance(1);
                record
            }
            None if is_last && !self.rest.is_empty() => self.rest.split(),
            None => return Ok(false),
        };
        (self.searched, self.in_quotes) = (0, false);
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
        if record.len() > EVERYDAY_BYTES_MAX {
            self.charge.resize(self.kept_bytes + self.gathered_bytes() + record.len() * ROW_COPIES)?;
        }
        let fields = if is_csv { self.csv_fields(&record)? } else { self.text_fields(&record)? };
        if fields < self.texts.len() {
            let column = self.schema.field(fields).name();
            return Err(bad(format!("missing data for column \"{column}\"")).on_line(self.line));
        }
        if self.field.capacity() > EVERYDAY_BYTES_MAX {
            self.field = Vec::new();
        }
        self.rows += 1;
        Ok(true)
    }

    /// Takes `self.field` as the value of column `index`; `is_null` when it stands for none.
    fn take_field(&mut self, index: usize, is_null: bool) -> Result<()> {
        let Some(column) = self.texts.get_mut(index) else {
            return Err(bad("extra data after last expected column".to_owned()).on_line(self.line));
        };
        self.bytes += self.field.len() + TEXT_BYTES;
        if is_null {
            column.append_null();
        } else {
            let text = std::str::from_utf8(&self.field).ok().filter(|text| !text.contains('\0'));
            let invalid =
                || Error::InvalidEncoding { message: "invalid byte sequence for encoding \"UTF8\"".into() };
            column.append_value(text.ok_or_else(invalid)?);
        }
        self.field.clear();
        Ok(())
    }

    /// Values between delimiters, with backslashes as COPY's text format has them (PostgreSQL 15, COPY).
    fn text_fields(&mut self, record: &[u8]) -> Result<usize> {
        let (mut at, mut from, mut fields) = (0, 0, 0);
        loop {
            match record.get(at) {
                Some(byte) if *byte != self.options.delimiter => {
                    if *byte != b'\\' {
                        self.field.push(*byte);
                        at += 1;
                        continue;
                    }
                    let (read, length) = unescaped(&record[at + 1..]);
                    self.field.extend(read);
                    at += 1 + length;
                }
                end => {
                    let is_null = record[from..at] == *self.options.null.as_bytes();
                    self.take_field(fields, is_null)?;
                    fields += 1;
                    if end.is_none() {
                        return Ok(fields);
                    }
                    at += 1;
                    from = at;
                }
            }
        }
    }

    /// Where the first record ends.
    fn text_end(&mut self) -> Option<usize> {
        let end = self.rest[self.searched..].iter().position(|byte| *byte == b'\n');
        let end = end.map(|end| self.searched + end);
        self.searched = end.unwrap_or(self.rest.len());
        end
    }

    /// The same for CSV: at a line's end that is not in quotes. What was searched is not searched again.
    fn csv_end(&mut self) -> Option<usize> {
        let mut in_quotes = self.in_quotes;
        let mut at = self.searched;
        while at < self.rest.len() {
            let byte = self.rest[at];
            if in_quotes && byte == self.options.escape && self.options.escape != self.options.quote {
                at += 2;
                continue;
            }
            if byte == self.options.quote {
                in_quotes = !in_quotes;
            } else if byte == b'\n' && !in_quotes {
                return Some(at);
            }
            at += 1;
        }
        // Behind the end, when that is an escape whose letter is still to come.
        (self.searched, self.in_quotes) = (at, in_quotes);
        None
    }

    fn csv_fields(&mut self, record: &[u8]) -> Result<usize> {
        let (delimiter, quote, escape) = (self.options.delimiter, self.options.quote, self.options.escape);
        let (mut at, mut fields) = (0, 0);
        loop {
            let mut was_quoted = false;
            let mut in_quotes = false;
            while let Some(byte) = record.get(at).copied() {
                let next = record.get(at + 1).copied();
                let is_escaped = |next| next == quote || next == escape;
                if let Some(next) = next.filter(|next| in_quotes && byte == escape && is_escaped(*next)) {
                    self.field.push(next);
                    at += 1;
                } else if byte == quote {
                    in_quotes = !in_quotes;
                    was_quoted = true;
                } else if byte == delimiter && !in_quotes {
                    break;
                } else {
                    self.field.push(byte);
                }
                at += 1;
            }
            if in_quotes {
                return Err(bad("unterminated CSV quoted field".to_owned()).on_line(self.line));
            }
            // What is quoted is a value, also when it reads like null.
            let is_null = !was_quoted && self.field == self.options.null.as_bytes();
            self.take_field(fields, is_null)?;
            fields += 1;
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
        if at > EVERYDAY_BYTES_MAX {
            self.charge.resize(self.kept_bytes + self.gathered_bytes() + at * ROW_COPIES)?;
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
        self.bytes += at + expected * SCALAR_BYTES;
        Ok(true)
    }

    fn batch(&mut self) -> Result<RecordBatch> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let mut columns = Vec::with_capacity(self.texts.len());
        for (at, field) in self.schema.fields().iter().enumerate() {
            columns.push(match self.options.format {
                CopyFormat::Binary => ScalarValue::iter_to_array(std::mem::take(&mut self.values[at]))?,
                CopyFormat::Text | CopyFormat::Csv => {
                    read(self.texts[at].finish(), field.data_type(), &self.display)?
                }
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options);
        batch.map_err(|error| Error::internal(error.to_string()))
    }
}

/// Texts as values of `data_type`: all at once where Arrow reads what PostgreSQL does, else one by one.
fn read(texts: StringArray, data_type: &DataType, display: &Display) -> Result<ArrayRef> {
    if *data_type == DataType::Utf8 {
        return Ok(Arc::new(texts));
    }
    let is_same =
        data_type.is_integer() || data_type.is_floating() || matches!(data_type, DataType::Decimal128(..));
    let is_trimmed = || texts.iter().flatten().all(|text| !text.starts_with(' ') && !text.ends_with(' '));
    if is_same && is_trimmed() {
        let whole: ArrayRef = Arc::new(texts.clone());
        if let Ok(read) = parameters::parse(&whole, data_type)
            && !is_out_of_range(&read, &texts)
        {
            return Ok(read);
        }
    }
    let null = ScalarValue::try_from(data_type)?;
    let value = |text: Option<&str>| match text {
        None => Ok(null.clone()),
        Some(text) => {
            let value = parameters::from_text_in(text.as_bytes(), data_type, display)?;
            Ok::<_, Error>(value.cast_to(data_type)?)
        }
    };
    let values = texts.iter().map(value).collect::<Result<Vec<_>>>()?;
    Ok(ScalarValue::iter_to_array(values)?)
}

/// True where a floating-point number became infinite or zero, which its text may not say.
fn is_out_of_range(read: &ArrayRef, texts: &StringArray) -> bool {
    let is_odd = |at: usize, is_end: bool, is_zero: bool| {
        is_end || is_zero && texts.value(at).bytes().any(|byte| matches!(byte, b'1'..=b'9'))
    };
    if let Some(values) = read.as_primitive_opt::<Float64Type>() {
        let mut values = values.iter().enumerate();
        return values.any(|(at, value)| value.is_some_and(|v| is_odd(at, v.is_infinite(), v == 0.0)));
    }
    let Some(values) = read.as_primitive_opt::<Float32Type>() else { return false };
    let mut values = values.iter().enumerate();
    values.any(|(at, value)| value.is_some_and(|v| is_odd(at, v.is_infinite(), v == 0.0)))
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
        let pool = engine::memory::CappedPool::for_cap(engine::ByteSize(64 << 30));
        let session = crate::session::SessionMemory::open(&crate::session::ClientMemory::of(&pool), 1);
        let mut rows = CopyRows::new(
            &options(format),
            Arc::new(Schema::new(fields)),
            1000,
            session.nothing(),
            Display::utc(),
        );
        let mut found = Vec::new();
        let mut batches = Vec::new();
        for part in data.as_bytes().chunks(chunk) {
            rows.push(Bytes::copy_from_slice(part))?;
            while let Some(batch) = rows.next_full()? {
                batches.push(batch);
            }
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
