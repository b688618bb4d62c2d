//! Values as PostgreSQL's output functions print them.

use std::sync::Arc;

use bytes::BufMut;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use engine::functions::bytes::put_bytes;
use engine::functions::floats;
use engine::functions::instants::shown;
use engine::functions::numbers::{digits, wide};
use engine::functions::style::Display;
use engine::{Error, Result};

use super::{Writer, list_item, numeric, slices, written};
use crate::pg_catalog::types;

/// Writes values of `array`; nulls are the caller's.
pub fn writer<'a>(array: &'a ArrayRef, display: &Display) -> Result<Writer<'a>> {
    let style = display.style;
    macro_rules! integers {
        ($kind:ty) => {{
            let values = array.as_primitive::<$kind>().values();
            written(move |row, out| out.extend_from_slice(itoa::Buffer::new().format(values[row]).as_bytes()))
        }};
    }
    macro_rules! strings {
        ($values:expr) => {{
            let values = $values;
            slices(move |row| values.value(row).as_bytes())
        }};
    }
    macro_rules! bytes {
        ($values:expr) => {{
            let values = $values;
            written(move |row, out| put_bytes(values.value(row), &style, out))
        }};
    }
    Ok(match array.data_type() {
        DataType::Boolean => {
            let values = array.as_boolean();
            written(move |row, out| out.put_u8(if values.value(row) { b't' } else { b'f' }))
        }
        DataType::Int16 => integers!(Int16Type),
        DataType::Int32 => integers!(Int32Type),
        DataType::Int64 => integers!(Int64Type),
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>();
            written(move |row, out| {
                floats::put_single(values.value(row), style.float_digits, |part| {
                    out.put_slice(part.as_bytes())
                })
            })
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            written(move |row, out| {
                floats::put_double(values.value(row), style.float_digits, |part| {
                    out.put_slice(part.as_bytes())
                })
            })
        }
        DataType::Decimal128(_, scale) => {
            let (values, scale) = (array.as_primitive::<Decimal128Type>(), *scale);
            written(move |row, out| numeric::put_text_of(values.value(row), scale, out))
        }
        DataType::Decimal256(_, scale) => {
            let (values, scale) = (array.as_primitive::<Decimal256Type>(), *scale);
            written(move |row, out| numeric::put_text(&values.value(row).to_string(), scale, out))
        }
        DataType::Utf8 => strings!(array.as_string::<i32>()),
        DataType::LargeUtf8 => strings!(array.as_string::<i64>()),
        DataType::Utf8View => strings!(array.as_string_view()),
        DataType::Binary => bytes!(array.as_binary::<i32>()),
        DataType::LargeBinary => {
            let values = array.as_binary::<i64>();
            written(move |row, out| out.put_slice(wide::decode(values.value(row)).shown().as_bytes()))
        }
        DataType::BinaryView => bytes!(array.as_binary_view()),
        DataType::FixedSizeBinary(_) => bytes!(array.as_fixed_size_binary()),
        DataType::Date32 => {
            let values = array.as_primitive::<Date32Type>();
            written(move |row, out| shown::put_date(values.value(row).into(), &style, out))
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let values = array.as_primitive::<Time64MicrosecondType>();
            written(move |row, out| shown::put_time(values.value(row), out))
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            let values = array.as_primitive::<TimestampMicrosecondType>();
            written(move |row, out| shown::put_timestamp(values.value(row), &style, out))
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            let (values, display) = (array.as_primitive::<TimestampMicrosecondType>(), *display);
            written(move |row, out| shown::put_timestamptz(values.value(row), &display, out))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let values = array.as_primitive::<IntervalMonthDayNanoType>();
            written(move |row, out| {
                let value = values.value(row);
                shown::put_interval(value.months, value.days, value.nanoseconds / 1000, &style, out);
            })
        }
        DataType::Null => written(|_, _| {}),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            let display = *display;
            written(move |row, out| put_array(&list_item(array, row), &display, out))
        }
        other => {
            return Err(Error::NotSupported { message: format!("values of type {other} cannot be sent") });
        }
    })
}

/// Writes decimals without the zeros at their ends.
pub fn bare_writer(array: &ArrayRef) -> Writer<'_> {
    let values = array.as_primitive::<Decimal128Type>();
    let scale = digits::bare_scale(array.data_type()).unwrap_or(0);
    written(move |row, out| {
        let (value, scale) = digits::least(values.value(row), scale);
        numeric::put_text_of(value, scale, out);
    })
}

/// Writes what `write` does, with blanks behind it so that it has so many letters.
pub fn padded_writer(write: Writer<'_>, letters: usize) -> Writer<'_> {
    written(move |row, out| {
        let from = out.len();
        write.put(row, out);
        let is_letter = |byte: &&u8| (**byte as i8) >= -0x40;
        let found = out[from..].iter().filter(is_letter).count();
        out.resize(out.len() + letters.saturating_sub(found), b' ');
    })
}

/// Writes arrays of such texts.
pub fn padded_items_writer<'a>(array: &'a ArrayRef, letters: usize, display: &Display) -> Writer<'a> {
    let display = *display;
    written(move |row, out| {
        let items = list_item(array, row);
        let Ok(texts) = cast(&items, &DataType::Utf8) else { return };
        let padded = texts.as_string::<i32>().iter().map(|text| text.map(|text| format!("{text:<letters$}")));
        let padded: ArrayRef = Arc::new(padded.collect::<StringArray>());
        put_array(&padded, &display, out);
    })
}

/// Writes arrays of types by their names.
pub fn types_writer<'a>(array: &'a ArrayRef, display: &Display) -> Writer<'a> {
    let display = *display;
    written(move |row, out| {
        let items = list_item(array, row);
        let Some(oids) = items.as_primitive_opt::<Int64Type>() else { return };
        let names = oids.iter().map(|oid| oid.map(|oid| types::format(oid, -1)));
        let names: ArrayRef = Arc::new(names.collect::<StringArray>());
        put_array(&names, &display, out);
    })
}

/// Writes `1 2 3`, as `int2vectorout` and `oidvectorout` do.
pub fn vector_writer(array: &ArrayRef) -> Writer<'_> {
    written(move |row, out| {
        let items = list_item(array, row);
        let options = FormatOptions::default();
        let Ok(formatter) = ArrayFormatter::try_new(items.as_ref(), &options) else { return };
        let items: Vec<String> = (0..items.len()).map(|at| formatter.value(at).to_string()).collect();
        out.put_slice(items.join(" ").as_bytes());
    })
}

/// `{1,NULL,"a b"}`, as `array_out` quotes.
fn put_array(items: &ArrayRef, display: &Display, out: &mut Vec<u8>) {
    out.put_u8(b'{');
    let is_bare = digits::bare_scale(items.data_type()).is_some();
    if let Ok(write) = if is_bare { Ok(bare_writer(items)) } else { writer(items, display) } {
        let is_nested = matches!(
            items.data_type(),
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
        );
        let nulls = items.logical_nulls();
        let mut item = Vec::new();
        for row in 0..items.len() {
            if row > 0 {
                out.put_u8(b',');
            }
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                out.put_slice(b"NULL");
                continue;
            }
            item.clear();
            write.put(row, &mut item);
            if is_nested || !needs_quotes(&item) {
                out.put_slice(&item);
            } else {
                put_quoted(&item, out);
            }
        }
    }
    out.put_u8(b'}');
}

fn needs_quotes(item: &[u8]) -> bool {
    item.is_empty()
        || item.eq_ignore_ascii_case(b"null")
        || item
            .iter()
            .any(|byte| matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\') || byte.is_ascii_whitespace())
}

fn put_quoted(item: &[u8], out: &mut Vec<u8>) {
    out.put_u8(b'"');
    for byte in item {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}
