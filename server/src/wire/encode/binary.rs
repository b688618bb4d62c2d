//! Values in the format of PostgreSQL's `send` functions: big-endian, dates counted from 2000.

use bytes::BufMut;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use engine::functions::instants::infinite::{is_infinite, is_infinite_day};
use engine::functions::numbers::{digits, wide};
use engine::functions::style::Display;
use engine::{Error, Result};

use super::{Values, Writer, list_item, numeric, sized, slices, text, written};
use crate::pg_catalog::types;

/// Days from 1970-01-01 to 2000-01-01.
pub const DAYS_TO_2000: i32 = 10_957;
/// The same in microseconds.
pub const MICROS_TO_2000: i64 = DAYS_TO_2000 as i64 * 86_400_000_000;

/// Object identifiers: held in 64 bits, sent in 32.
pub fn oid_writer(array: &ArrayRef) -> Result<Writer<'_>> {
    let values = array
        .as_primitive_opt::<Int64Type>()
        .ok_or_else(|| Error::internal("object identifiers are held in 64 bits"))?;
    Ok(sized(move |row| (values.value(row) as u32).to_be_bytes()))
}

/// The 16 bytes of a UUID that is held as its text. What is no UUID was refused when it was read.
pub fn uuid_writer(array: &ArrayRef) -> Result<Writer<'_>> {
    let text = text::writer(array, &Display::utc())?;
    Ok(written(move |row, out| {
        let mut digits = Vec::with_capacity(36);
        text.put(row, &mut digits);
        let digits: Vec<u8> = digits.into_iter().filter(u8::is_ascii_hexdigit).collect();
        let value = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
        out.extend(digits.chunks_exact(2).take(16).map(|two| value(two[0]) << 4 | value(two[1])));
    }))
}

/// JSON behind the one version of its format that there is.
pub fn jsonb_writer(array: &ArrayRef) -> Result<Writer<'_>> {
    let text = text::writer(array, &Display::utc())?;
    Ok(written(move |row, out| {
        out.push(1);
        text.put(row, out);
    }))
}

/// Arrays of object identifiers.
pub fn oids_writer(array: &ArrayRef) -> Writer<'_> {
    written(move |row, out| {
        let items = list_item(array, row);
        let Some(values) = items.as_primitive_opt::<Int64Type>() else { return };
        put_array_head(values.len(), false, types::OID.oid, out);
        for value in values.values() {
            out.put_i32(4);
            out.put_u32(*value as u32);
        }
    })
}

/// Arrays of JSON, whose binary format is its text.
pub fn jsons_writer(array: &ArrayRef) -> Writer<'_> {
    written(move |row, out| put_array(&list_item(array, row), types::JSON.oid, out))
}

/// Dimensions, whether there are nulls, the item's type; then, for one dimension, its length from 1 on.
fn put_array_head(length: usize, has_nulls: bool, item: u32, out: &mut Vec<u8>) {
    out.put_i32(i32::from(length > 0));
    out.put_i32(i32::from(has_nulls));
    out.put_u32(item);
    if length > 0 {
        out.put_i32(length as i32);
        out.put_i32(1);
    }
}

/// Writes values of `array`; nulls are the caller's.
pub fn writer(array: &ArrayRef) -> Result<Writer<'_>> {
    macro_rules! numbers {
        ($kind:ty) => {{
            let values = array.as_primitive::<$kind>().values();
            sized(move |row| values[row].to_be_bytes())
        }};
    }
    macro_rules! bytes {
        ($values:expr) => {{
            let values = $values;
            slices(move |row| values.value(row).as_ref())
        }};
    }
    Ok(match array.data_type() {
        DataType::Boolean => {
            let values = array.as_boolean();
            sized(move |row| [u8::from(values.value(row))])
        }
        DataType::Int16 => numbers!(Int16Type),
        DataType::Int32 => numbers!(Int32Type),
        DataType::Int64 => numbers!(Int64Type),
        DataType::Float32 => numbers!(Float32Type),
        DataType::Float64 => numbers!(Float64Type),
        DataType::Decimal128(_, scale) => {
            Box::new(Decimals { values: array.as_primitive::<Decimal128Type>().values(), scale: *scale })
        }
        DataType::Decimal256(_, scale) => {
            let (values, scale) = (array.as_primitive::<Decimal256Type>(), *scale);
            written(move |row, out| numeric::put_binary(&values.value(row).to_string(), scale.into(), out))
        }
        DataType::Utf8 => bytes!(array.as_string::<i32>()),
        DataType::LargeUtf8 => bytes!(array.as_string::<i64>()),
        DataType::Utf8View => bytes!(array.as_string_view()),
        DataType::Binary => bytes!(array.as_binary::<i32>()),
        DataType::LargeBinary => {
            let values = array.as_binary::<i64>();
            written(move |row, out| numeric::put_binary_number(&wide::decode(values.value(row)), out))
        }
        DataType::BinaryView => bytes!(array.as_binary_view()),
        DataType::FixedSizeBinary(_) => bytes!(array.as_fixed_size_binary()),
        DataType::Date32 => {
            let values = array.as_primitive::<Date32Type>().values();
            sized(move |row| {
                let days = values[row];
                // Infinity is the last number and the first, from wherever days are counted.
                let days = match is_infinite_day(days.into()) {
                    true if days > 0 => i32::MAX,
                    true => i32::MIN,
                    false => days.saturating_sub(DAYS_TO_2000),
                };
                days.to_be_bytes()
            })
        }
        DataType::Time64(TimeUnit::Microsecond) => numbers!(Time64MicrosecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let values = array.as_primitive::<TimestampMicrosecondType>().values();
            sized(move |row| {
                let time = values[row];
                let time = match is_infinite(time) {
                    true if time > 0 => i64::MAX,
                    true => i64::MIN,
                    false => time.saturating_sub(MICROS_TO_2000),
                };
                time.to_be_bytes()
            })
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let values = array.as_primitive::<IntervalMonthDayNanoType>();
            written(move |row, out| {
                let value = values.value(row);
                out.put_i64(value.nanoseconds / 1000);
                out.put_i32(value.days);
                out.put_i32(value.months);
            })
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            written(move |row, out| {
                let items = list_item(array, row);
                put_array(&items, types::of_data_type(items.data_type()).oid, out);
            })
        }
        // Told to the client as text, whose binary format is its text.
        _ => text::writer(array, &Display::utc())?,
    })
}

/// Writes decimals without the zeros at their ends.
pub fn bare_writer(array: &ArrayRef) -> Writer<'_> {
    let scale = digits::bare_scale(array.data_type()).unwrap_or(0);
    Box::new(Bare { values: array.as_primitive::<Decimal128Type>().values(), scale })
}

struct Bare<'a> {
    values: &'a [i128],
    scale: i8,
}

impl Values for Bare<'_> {
    fn put(&self, row: usize, out: &mut Vec<u8>) {
        let from = out.len();
        self.put_field(row, out);
        out.drain(from..from + 4);
    }

    fn put_field(&self, row: usize, out: &mut Vec<u8>) {
        let (value, scale) = digits::least(self.values[row], self.scale);
        numeric::put_binary_field(value, scale, out);
    }
}

/// Decimals of 128 bits.
struct Decimals<'a> {
    values: &'a [i128],
    scale: i8,
}

impl Values for Decimals<'_> {
    fn put(&self, row: usize, out: &mut Vec<u8>) {
        let from = out.len();
        self.put_field(row, out);
        out.drain(from..from + 4);
    }

    fn put_field(&self, row: usize, out: &mut Vec<u8>) {
        numeric::put_binary_field(self.values[row], self.scale, out);
    }
}

/// `array_send`: one dimension from 1 on.
fn put_array(items: &ArrayRef, item: u32, out: &mut Vec<u8>) {
    let nulls = items.logical_nulls();
    let has_nulls = nulls.as_ref().is_some_and(|nulls| nulls.null_count() > 0);
    put_array_head(items.len(), has_nulls, item, out);
    if items.is_empty() {
        return;
    }
    // A list of lists is told as an array of text, and each inner list is its text.
    let is_nested =
        matches!(items.data_type(), DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..));
    let utc = Display::utc();
    let is_bare = digits::bare_scale(items.data_type()).is_some();
    let write = match is_nested {
        true => text::writer(items, &utc),
        false if is_bare => Ok(bare_writer(items)),
        false => writer(items),
    };
    let Ok(write) = write else { return };
    for row in 0..items.len() {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            out.put_i32(-1);
        } else {
            write.put_field(row, out);
        }
    }
}
