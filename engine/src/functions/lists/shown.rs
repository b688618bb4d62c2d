//! Items of arrays as PostgreSQL's output functions print them.

use std::fmt::Write;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::error::Result;

use super::leaves::{Lists, depth};
use super::text::put_item;
use super::unsupported;
use crate::functions::numbers::{digits, wide};
use crate::functions::style::{Display, Style};
use crate::functions::{bytes, floats, instants};

type Writer<'a> = Box<dyn Fn(usize, &mut String) + 'a>;

/// Writes the items of `values` that are not null.
pub(super) fn writer<'a>(values: &'a ArrayRef, display: &Display) -> Result<Writer<'a>> {
    let style = display.style;
    macro_rules! numbers {
        ($kind:ty) => {{
            let values = values.as_primitive::<$kind>();
            Box::new(move |at, out: &mut String| {
                let _ = write!(out, "{}", values.value(at));
            })
        }};
    }
    macro_rules! decimals {
        ($kind:ty) => {{
            let values = values.as_primitive::<$kind>();
            Box::new(move |at, out: &mut String| out.push_str(&values.value_as_string(at)))
        }};
    }
    Ok(match values.data_type() {
        DataType::Null => Box::new(|_, _| {}),
        DataType::Boolean => {
            let values = values.as_boolean();
            Box::new(move |at, out| out.push(if values.value(at) { 't' } else { 'f' }))
        }
        DataType::Int8 => numbers!(Int8Type),
        DataType::Int16 => numbers!(Int16Type),
        DataType::Int32 => numbers!(Int32Type),
        DataType::Int64 => numbers!(Int64Type),
        DataType::UInt8 => numbers!(UInt8Type),
        DataType::UInt16 => numbers!(UInt16Type),
        DataType::UInt32 => numbers!(UInt32Type),
        DataType::UInt64 => numbers!(UInt64Type),
        DataType::Float32 => {
            let values = values.as_primitive::<Float32Type>();
            Box::new(move |at, out| {
                floats::put_single(values.value(at), style.float_digits, |part| out.push_str(part))
            })
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>();
            Box::new(move |at, out| {
                floats::put_double(values.value(at), style.float_digits, |part| out.push_str(part))
            })
        }
        kind if let Some(scale) = digits::bare_scale(kind) => {
            let values = values.as_primitive::<Decimal128Type>();
            Box::new(move |at, out| {
                let (value, scale) = digits::least(values.value(at), scale);
                out.push_str(&digits::shown(value, scale));
            })
        }
        DataType::LargeBinary => {
            let values = values.as_binary::<i64>();
            Box::new(move |at, out| out.push_str(&wide::decode(values.value(at)).shown()))
        }
        DataType::Decimal128(..) => decimals!(Decimal128Type),
        DataType::Decimal256(..) => decimals!(Decimal256Type),
        DataType::Utf8 => {
            let values = values.as_string::<i32>();
            Box::new(move |at, out| out.push_str(values.value(at)))
        }
        DataType::LargeUtf8 => {
            let values = values.as_string::<i64>();
            Box::new(move |at, out| out.push_str(values.value(at)))
        }
        DataType::Utf8View => {
            let values = values.as_string_view();
            Box::new(move |at, out| out.push_str(values.value(at)))
        }
        DataType::Date32 => {
            let values = values.as_primitive::<Date32Type>();
            Box::new(move |at, out| out.push_str(&instants::shown::date(values.value(at).into(), &style)))
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let values = values.as_primitive::<Time64MicrosecondType>();
            Box::new(move |at, out| out.push_str(&instants::shown::time(values.value(at))))
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            let values = values.as_primitive::<TimestampMicrosecondType>();
            Box::new(move |at, out| out.push_str(&instants::shown::timestamp(values.value(at), &style)))
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            let (values, display) = (values.as_primitive::<TimestampMicrosecondType>(), *display);
            Box::new(move |at, out| out.push_str(&instants::shown::instant(values.value(at), &display)))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let values = values.as_primitive::<IntervalMonthDayNanoType>();
            Box::new(move |at, out| {
                let value = values.value(at);
                let micros = value.nanoseconds / 1000;
                out.push_str(&instants::shown::interval(value.months, value.days, micros, &style));
            })
        }
        DataType::Binary => {
            let values = values.as_binary::<i32>();
            Box::new(move |at, out| put_bytes(values.value(at), &style, out))
        }
        DataType::BinaryView => {
            let values = values.as_binary_view();
            Box::new(move |at, out| put_bytes(values.value(at), &style, out))
        }
        other => return Err(unsupported(format!("arrays of {other} as text are not supported"))),
    })
}

fn put_bytes(value: &[u8], style: &Style, out: &mut String) {
    let mut text = Vec::new();
    bytes::put_bytes(value, style, &mut text);
    out.push_str(&String::from_utf8_lossy(&text));
}

/// The text of a value as its type's output function prints it. `None` for a null.
///
/// # Errors
///
/// When values of the type have no text here (0A000).
pub fn text_of(values: &ArrayRef, row: usize, display: &Display) -> Result<Option<String>> {
    if values.is_null(row) {
        return Ok(None);
    }
    if depth(values.data_type()) > 0 {
        return Ok(texts(&Lists::of(&values.slice(row, 1))?, display)?.pop().flatten());
    }
    let mut out = String::new();
    writer(values, display)?(row, &mut out);
    Ok(Some(out))
}

/// Each array of `lists` as `array_out` prints it.
pub(super) fn texts(lists: &Lists, display: &Display) -> Result<Vec<Option<String>>> {
    let leaves = lists.leaves()?;
    let write = writer(leaves.values(), display)?;
    let mut item = String::new();
    (0..lists.len())
        .map(|row| {
            let Some(range) = leaves.row(row) else { return Ok(None) };
            if range.is_empty() {
                return Ok(Some("{}".to_owned()));
            }
            let dimensions = lists.dimensions(row);
            let mut out = String::new();
            for (index, at) in range.clone().enumerate() {
                // Levels that begin here, and the comma between two items.
                let begins = |index: usize| {
                    let mut step = 1;
                    let mut begun = 0;
                    for length in dimensions.iter().rev() {
                        step *= (*length).max(1);
                        begun += usize::from(index.is_multiple_of(step));
                    }
                    begun
                };
                let levels = begins(index);
                if index > 0 {
                    (0..levels).for_each(|_| out.push('}'));
                    out.push(',');
                }
                (0..levels).for_each(|_| out.push('{'));
                if leaves.values().is_null(at) {
                    out.push_str("NULL");
                } else {
                    item.clear();
                    write(at, &mut item);
                    put_item(&item, &mut out);
                }
            }
            (0..depth(lists.data_type())).for_each(|_| out.push('}'));
            Ok(Some(out))
        })
        .collect()
}
