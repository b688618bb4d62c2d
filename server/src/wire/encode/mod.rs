//! Arrow batches → DataRow messages. Column types are resolved once per batch, values written row by
//! row straight into the output buffer.

mod binary;
mod everyday;
mod numeric;
mod text;

use bytes::BufMut;
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Schema};
use engine::{Error, Result};
use pgwire::messages::data::{FieldDescription, RowDescription};

use crate::pg_catalog::types;
use engine::functions::numbers::digits;
pub use engine::functions::style::Display;
pub use everyday::batch as everyday;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// PostgreSQL's text.
    Text,
    /// PostgreSQL's `send` format.
    Binary,
}

impl Format {
    /// A format code of the protocol (08P01 for one that does not exist).
    pub fn from_code(code: i16) -> Result<Self> {
        match code {
            0 => Ok(Self::Text),
            1 => Ok(Self::Binary),
            _ => Err(Error::Protocol { message: format!("unsupported format code: {code}") }),
        }
    }

    /// The code of the protocol.
    pub fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }
}

/// Writes the values of one column.
trait Values {
    /// Appends the value of `row`.
    fn put(&self, row: usize, out: &mut Vec<u8>);

    /// Appends the value of `row` behind its length.
    fn put_field(&self, row: usize, out: &mut Vec<u8>) {
        with_length(out, |out| self.put(row, out));
    }
}

type Writer<'a> = Box<dyn Values + Send + 'a>;

/// Values of any length, written by a function.
struct Written<F>(F);

impl<F: Fn(usize, &mut Vec<u8>)> Values for Written<F> {
    fn put(&self, row: usize, out: &mut Vec<u8>) {
        (self.0)(row, out);
    }
}

fn written<'a>(write: impl Fn(usize, &mut Vec<u8>) + Send + 'a) -> Writer<'a> {
    Box::new(Written(write))
}

/// Values that are there as bytes.
struct Slices<F>(F);

impl<'a, F: Fn(usize) -> &'a [u8]> Values for Slices<F> {
    fn put(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice((self.0)(row));
    }

    fn put_field(&self, row: usize, out: &mut Vec<u8>) {
        let value = (self.0)(row);
        out.extend_from_slice(&(value.len() as i32).to_be_bytes());
        out.extend_from_slice(value);
    }
}

fn slices<'a>(value: impl Fn(usize) -> &'a [u8] + Send + 'a) -> Writer<'a> {
    Box::new(Slices(value))
}

/// Values that all take `N` bytes.
struct Sized<const N: usize, F>(F);

impl<const N: usize, F: Fn(usize) -> [u8; N]> Values for Sized<N, F> {
    fn put(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.0)(row));
    }

    fn put_field(&self, row: usize, out: &mut Vec<u8>) {
        const { assert!(N <= 16) };
        let mut field = [0u8; 20];
        field[..4].copy_from_slice(&(N as i32).to_be_bytes());
        field[4..4 + N].copy_from_slice(&(self.0)(row));
        out.extend_from_slice(&field[..4 + N]);
    }
}

fn sized<'a, const N: usize>(value: impl Fn(usize) -> [u8; N] + Send + 'a) -> Writer<'a> {
    Box::new(Sized(value))
}

/// One format for each of `columns` columns from the codes of a Bind: none, one for all, or one each.
pub fn formats(codes: &[i16], columns: usize) -> Result<Vec<Format>> {
    if columns > COLUMNS_MAX {
        return Err(Error::TooLarge {
            message: format!("the result has more than {COLUMNS_MAX} columns"),
            hint: "Select fewer columns.".into(),
        });
    }
    match codes {
        [] => Ok(vec![Format::Text; columns]),
        [one] => Ok(vec![Format::from_code(*one)?; columns]),
        many if many.len() == columns => many.iter().map(|code| Format::from_code(*code)).collect(),
        many => {
            Err(Error::Protocol { message: format!("{} result formats for {columns} columns", many.len()) })
        }
    }
}

/// PostgreSQL's own bound on the columns of a result; the protocol counts them in 16 bits.
const COLUMNS_MAX: usize = 1664;

/// RowDescription of `schema`.
pub fn row_description(schema: &Schema, formats: &[Format]) -> RowDescription {
    let describe = |(field, format): (&std::sync::Arc<datafusion::arrow::datatypes::Field>, &Format)| {
        let (oid, size, modifier) = types::of_field(field);
        let source = field.metadata().get(crate::query::SOURCE).and_then(|source| source.split_once('.'));
        let (table, column) = source
            .and_then(|(table, column)| Some((table.parse().ok()?, column.parse().ok()?)))
            .unwrap_or((0, 0));
        FieldDescription::new(field.name().clone(), table, column, oid, size, modifier, format.code())
    };
    RowDescription::new(schema.fields().iter().zip(formats).map(describe).collect())
}

/// Writes rows of one query.
#[derive(Debug, Clone)]
pub struct RowEncoder {
    formats: Vec<Format>,
    display: Display,
    kinds: Vec<Kind>,
}

/// How a column's PostgreSQL type differs from what its Arrow type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Held in 64 bits and sent in 32.
    Oid,
    /// An array of those.
    Oids,
    /// An array of types, whose text has their names.
    Types,
    /// An array of JSON, which is held as text.
    Jsons,
    /// An array whose text has spaces in place of braces.
    Vector,
    /// Text that is sent as 16 bytes.
    Uuid,
    /// Text that is sent behind the number of its version.
    Jsonb,
    /// Text that is sent with blanks behind it, so that it has so many letters.
    Padded(usize),
    /// An array of such texts.
    PaddedItems(usize),
    /// A `numeric` without precision, which is kept with more digits than it has.
    Bare,
}

const UUID: u32 = 2950;
const JSONB: u32 = 3802;
const TYPES: u32 = 2211;

fn kind(oid: u32, modifier: i32) -> Kind {
    if let Ok(letters @ 1..) = usize::try_from(modifier - 4) {
        if oid == types::BPCHAR.oid {
            return Kind::Padded(letters);
        }
        if oid == types::BPCHAR.array_oid {
            return Kind::PaddedItems(letters);
        }
    }
    if oid == UUID {
        Kind::Uuid
    } else if oid == JSONB {
        Kind::Jsonb
    } else if types::is_sent_as_oid(oid) {
        Kind::Oid
    } else if oid == types::JSON.array_oid {
        Kind::Jsons
    } else if types::is_vector(oid) {
        Kind::Vector
    } else if oid == TYPES {
        Kind::Types
    } else if types::element(oid).is_some_and(types::is_sent_as_oid) {
        Kind::Oids
    } else {
        Kind::Plain
    }
}

impl RowEncoder {
    /// An encoder for columns of `schema` in `formats`, in the session's style.
    pub fn new(schema: &Schema, formats: Vec<Format>, display: Display) -> Self {
        let kind = |field: &std::sync::Arc<datafusion::arrow::datatypes::Field>| {
            let (oid, _, modifier) = types::of_field(field);
            match modifier < 0 && digits::bare_scale(field.data_type()).is_some() {
                true => Kind::Bare,
                false => kind(oid, modifier),
            }
        };
        let kinds = schema.fields().iter().map(kind).collect();
        Self { formats, display, kinds }
    }

    /// The columns of `batch`, which [`everyday::batch`] gave, ready to be written.
    pub fn batch<'a>(&self, batch: &'a RecordBatch) -> Result<EncodedBatch<'a>> {
        let columns = batch
            .columns()
            .iter()
            .zip(&self.formats)
            .zip(&self.kinds)
            .map(|((array, format), kind)| {
                // A parameter's value has the scale of its digits.
                let is_bare = digits::bare_scale(array.data_type()).is_some();
                let writer = match (format, kind) {
                    (Format::Text, Kind::Vector) => text::vector_writer(array),
                    (_, Kind::Padded(letters)) => {
                        text::padded_writer(text::writer(array, &self.display)?, *letters)
                    }
                    (Format::Text, Kind::PaddedItems(letters)) => {
                        text::padded_items_writer(array, *letters, &self.display)
                    }
                    (Format::Text, Kind::Bare) if is_bare => text::bare_writer(array),
                    (Format::Binary, Kind::Bare) if is_bare => binary::bare_writer(array),
                    (Format::Text, Kind::Types) => text::types_writer(array, &self.display),
                    (Format::Text, _) => text::writer(array, &self.display)?,
                    (Format::Binary, Kind::Oid) => binary::oid_writer(array)?,
                    (Format::Binary, Kind::Oids | Kind::Types) => binary::oids_writer(array),
                    (Format::Binary, Kind::Jsons) => binary::jsons_writer(array),
                    (Format::Binary, Kind::Uuid) => binary::uuid_writer(array)?,
                    (Format::Binary, Kind::Jsonb) => binary::jsonb_writer(array)?,
                    (Format::Binary, Kind::Plain | Kind::Vector | Kind::PaddedItems(_) | Kind::Bare) => {
                        binary::writer(array)?
                    }
                };
                let nulls = array.logical_nulls();
                Ok((nulls, writer))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(EncodedBatch { columns })
    }
}

/// A batch being written.
pub struct EncodedBatch<'a> {
    columns: Vec<(Option<datafusion::arrow::buffer::NullBuffer>, Writer<'a>)>,
}

impl EncodedBatch<'_> {
    /// How many columns.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Appends the value of one column of `row`; false, and nothing, when it is null.
    pub fn put_value(&self, column: usize, row: usize, out: &mut Vec<u8>) -> bool {
        let (nulls, write) = &self.columns[column];
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return false;
        }
        write.put(row, out);
        true
    }

    /// Appends the number of fields of `row`, and each behind its length.
    pub fn put_fields(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.columns.len() as i16).to_be_bytes());
        for (nulls, write) in &self.columns {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                out.extend_from_slice(&[0xff; 4]);
            } else {
                write.put_field(row, out);
            }
        }
    }
}

/// Writes a row as a message.
pub trait RowWriter {
    /// Appends `row` of `batch`.
    fn write_row(&self, batch: &EncodedBatch<'_>, row: usize, out: &mut Vec<u8>);
}

/// Rows as DataRow messages.
pub struct DataRows;

impl RowWriter for DataRows {
    fn write_row(&self, batch: &EncodedBatch<'_>, row: usize, out: &mut Vec<u8>) {
        out.put_u8(b'D');
        let frame_at = out.len();
        out.put_i32(0);
        batch.put_fields(row, out);
        patch_length(out, frame_at, 0);
    }
}

/// Writes a value behind its length.
fn with_length(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.put_i32(0);
    write(out);
    patch_length(out, at, 4);
}

/// Fills in the length at `at`; `own` is 4 when it does not count itself.
pub fn patch_length(out: &mut [u8], at: usize, own: usize) {
    let length = (out.len() - at - own) as i32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// A list's items for one row, whatever its offsets' width.
fn list_item(array: &ArrayRef, row: usize) -> ArrayRef {
    use datafusion::arrow::array::AsArray;
    match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        _ => array.as_fixed_size_list().value(row),
    }
}
