//! The functions that are called for every row of large tables, without a look at each value's kind.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float64Array, PrimitiveArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::kernels::arity::{binary, try_binary};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int32Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    TimeUnit, TimestampMicrosecondType,
};
use datafusion::arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ColumnarValue;

use super::calendar::{DAY, Fault, OVERFLOW, Outcome, SECOND, instant};
use super::infinite::{self, has_infinite, is_infinite, is_infinite_day};
use super::parts::{self, Whole};
use super::spans::between;
use super::words::Unit;
use super::{Name, Zone, whole_of};
use crate::functions::date_part;

fn out_of_range() -> Fault {
    Fault::new(OVERFLOW, "timestamp out of range")
}

/// What `name` gives for arrays whose other arguments are constant; `None` for what is computed row by row.
pub fn quick(
    name: Name,
    args: &[ColumnarValue],
    session: &Zone,
    given: &DataType,
) -> Option<Outcome<ArrayRef>> {
    match (name, args) {
        (Name::Extract | Name::DatePart, [ColumnarValue::Scalar(part), ColumnarValue::Array(values)]) => {
            let whole = whole_of(values.data_type())?;
            let part = parts::part_of(text(part)?, whole).ok()?;
            let scale = parts::scale(part, whole)?;
            let numbers = taken(part, whole, values, session)?;
            Some(numbers.map(|numbers| number_array(numbers, name, scale, given)))
        }
        (Name::DateTrunc, [ColumnarValue::Scalar(unit), ColumnarValue::Array(values)]) => {
            let times = times(values)?;
            let is_instant = values.data_type() != &DataType::Timestamp(TimeUnit::Microsecond, None);
            let whole = if is_instant { Whole::Instant } else { Whole::Timestamp };
            let unit = parts::cut_of(text(unit)?, whole).ok()?;
            Some(changed(times, given, |time| {
                if is_instant {
                    parts::cut_instant(unit, time, session)
                } else {
                    parts::cut_local(unit, time)
                }
            }))
        }
        (Name::ToTimestamp, [ColumnarValue::Array(values)]) if is_instant(values) => {
            Some(changed(times(values)?, given, |time| session.local(time)))
        }
        (Name::ToTimestamp, [ColumnarValue::Array(values)]) if values.data_type() == &DataType::Date32 => {
            let days = values.as_primitive_opt::<Date32Type>()?;
            let midnight = |day: i32| match is_infinite_day(day.into()) {
                true if day > 0 => Some(infinite::LAST),
                true => Some(-infinite::LAST),
                false => instant(day.into(), 0),
            };
            let fault = || Fault::new(OVERFLOW, "date out of range for timestamp");
            let found: Outcome<TimestampMicrosecondArray> =
                days.try_unary(|day| midnight(day).ok_or_else(fault));
            Some(found.map(|found| Arc::new(found) as ArrayRef))
        }
        (Name::ToDate, [ColumnarValue::Array(values)]) if !is_instant(values) => {
            let times = times(values)?;
            let day = |time: i64| match is_infinite(time) {
                true if time > 0 => i32::MAX,
                true => -i32::MAX,
                // Microseconds hold fewer days than days do.
                false => time.div_euclid(DAY) as i32,
            };
            let days: PrimitiveArray<Date32Type> = times.unary(day);
            Some(Ok(Arc::new(days)))
        }
        (Name::ToInstant, [ColumnarValue::Array(values)]) if !is_instant(values) => {
            Some(changed(times(values)?, given, |time| instant(0, session.instant(time)?)))
        }
        (Name::Timezone, [ColumnarValue::Scalar(zone), ColumnarValue::Array(values)]) => {
            let times = times(values)?;
            let zone = Zone::of_name(text(zone)?).ok()?;
            if is_instant(values) {
                return Some(changed(times, given, |time| zone.local(time)));
            }
            Some(changed(times, given, |time| instant(0, zone.instant(time)?)))
        }
        (Name::DayMinus, [later, earlier]) => {
            let (later, earlier) = both(later, earlier)?;
            if has_infinite(&later) || has_infinite(&earlier) {
                return None;
            }
            let later = later.as_primitive_opt::<Date32Type>()?;
            let earlier = earlier.as_primitive_opt::<Date32Type>()?;
            let days =
                binary::<_, _, _, Int32Type>(later, earlier, |later, earlier| later.wrapping_sub(earlier));
            days.ok().map(|days| Ok(Arc::new(days) as ArrayRef))
        }
        (Name::Between, [later, earlier]) => {
            let (later, earlier) = both(later, earlier)?;
            let (later, earlier) = (times(&later)?, times(&earlier)?);
            let spans = try_binary::<_, _, _, IntervalMonthDayNanoType>(later, earlier, |later, earlier| {
                if is_infinite(later) || is_infinite(earlier) {
                    return Err(ArrowError::ComputeError("told row by row".to_owned()));
                }
                let span =
                    between(later, earlier).map_err(|fault| ArrowError::ComputeError(fault.message))?;
                Ok(IntervalMonthDayNano::new(0, span.days, span.micros * 1000))
            });
            // What fails is told where rows are computed one by one.
            spans.ok().map(|spans| Ok(Arc::new(spans) as ArrayRef))
        }
        (Name::Finite, [ColumnarValue::Array(values)]) if !has_infinite(values) => {
            Some(Ok(Arc::clone(values)))
        }
        _ => None,
    }
}

/// Two columns, or a column and a constant, as arrays of one length.
fn both(left: &ColumnarValue, right: &ColumnarValue) -> Option<(ArrayRef, ArrayRef)> {
    let rows = match (left, right) {
        (ColumnarValue::Array(array), _) | (_, ColumnarValue::Array(array)) => array.len(),
        _ => return None,
    };
    Some((left.to_array(rows).ok()?, right.to_array(rows).ok()?))
}

fn text(value: &ScalarValue) -> Option<&str> {
    value.try_as_str().flatten()
}

fn is_instant(values: &ArrayRef) -> bool {
    matches!(values.data_type(), DataType::Timestamp(_, Some(_)))
}

fn times(values: &ArrayRef) -> Option<&TimestampMicrosecondArray> {
    values.as_primitive_opt::<TimestampMicrosecondType>()
}

fn changed(
    times: &TimestampMicrosecondArray,
    given: &DataType,
    change: impl Fn(i64) -> Option<i64>,
) -> Outcome<ArrayRef> {
    let change = |time: i64| if is_infinite(time) { Some(time) } else { change(time) };
    let found: TimestampMicrosecondArray = times.try_unary(|time| change(time).ok_or_else(out_of_range))?;
    let zone = match given {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    Ok(Arc::new(found.with_timezone_opt(zone)))
}

/// A part of each value, in units of its scale.
fn taken(part: Unit, whole: Whole, values: &ArrayRef, session: &Zone) -> Option<Outcome<Decimal128Array>> {
    if has_infinite(values) {
        return None;
    }
    if let Some(name) = quick_name(part)
        && whole != Whole::Instant
        && let Some(found) = date_part::quick_parts(name, values)
    {
        // There is no year 0.
        let shift = i32::from(part == Unit::Year);
        let number = |part: i32| i128::from(if part > 0 { part } else { part - shift });
        let numbers: Vec<i128> = found.into_iter().map(number).collect();
        return Some(Ok(PrimitiveArray::<Decimal128Type>::new(numbers.into(), values.nulls().cloned())));
    }
    match whole {
        Whole::Date => {
            let days = values.as_primitive_opt::<Date32Type>()?;
            Some(Ok(days.unary(|day| parts::of_day(part, day.into()).into())))
        }
        Whole::Timestamp => Some(Ok(times(values)?.unary(|time| parts::of_local(part, time, 0).into()))),
        Whole::Instant => Some(times(values)?.try_unary(|time| {
            let offset = session.offset_at(time.div_euclid(SECOND));
            let local = time.checked_add(offset * SECOND).ok_or_else(out_of_range)?;
            Ok(parts::of_local(part, local, offset).into())
        })),
        Whole::Time | Whole::Interval => None,
    }
}

fn quick_name(part: Unit) -> Option<&'static str> {
    Some(match part {
        Unit::Year => "year",
        Unit::Month => "month",
        Unit::Day => "day",
        _ => return None,
    })
}

fn number_array(numbers: Decimal128Array, name: Name, scale: u32, given: &DataType) -> ArrayRef {
    if name == Name::DatePart {
        let unit = 10f64.powi(scale as i32);
        let floats: Float64Array = numbers.unary(|number| number as f64 / unit);
        return Arc::new(floats);
    }
    Arc::new(numbers.with_data_type(given.clone()))
}
