//! Items of arrays as PostgreSQL's output functions print them.

use std::fmt::Write;

use chrono::{Datelike, NaiveDate, NaiveDateTime};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::arrow::temporal_conversions::{date32_to_datetime, timestamp_us_to_datetime};
use datafusion::error::Result;

use super::leaves::{Lists, depth};
use super::text::put_item;
use super::unsupported;
use crate::functions::floats;

type Writer<'a> = Box<dyn Fn(usize, &mut String) + 'a>;

/// Writes the items of `values` that are not null.
pub(super) fn writer(values: &ArrayRef) -> Result<Writer<'_>> {
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
            Box::new(move |at, out| floats::put_single(values.value(at), |part| out.push_str(part)))
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>();
            Box::new(move |at, out| floats::put_double(values.value(at), |part| out.push_str(part)))
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
            Box::new(move |at, out| match date32_to_datetime(values.value(at)) {
                Some(time) => with_era(time.date(), "", out),
                None => out.push_str("infinity"),
            })
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            let values = values.as_primitive::<TimestampMicrosecondType>();
            Box::new(move |at, out| match timestamp_us_to_datetime(values.value(at)) {
                Some(time) => with_era(time.date(), &time_of_day(time), out),
                None => out.push_str("infinity"),
            })
        }
        other => return Err(unsupported(format!("arrays of {other} as text are not supported"))),
    })
}

fn time_of_day(time: NaiveDateTime) -> String {
    let text = time.format(" %H:%M:%S%.6f").to_string();
    match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole.to_owned(),
        _ => text.trim_end_matches('0').to_owned(),
    }
}

/// Years before the first one are counted from 1 BC.
fn with_era(date: NaiveDate, time: &str, out: &mut String) {
    let (year, era) = if date.year() > 0 { (date.year(), "") } else { (1 - date.year(), " BC") };
    let _ = write!(out, "{year:04}-{:02}-{:02}{time}{era}", date.month(), date.day());
}

/// Each array of `lists` as `array_out` prints it.
pub(super) fn texts(lists: &Lists) -> Result<Vec<Option<String>>> {
    let leaves = lists.leaves()?;
    let write = writer(leaves.values())?;
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
