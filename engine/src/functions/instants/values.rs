//! Values of arrays in a form that the rules of dates and times are written for, and arrays of what they give.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array,
    IntervalMonthDayNanoArray, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};

use super::calendar::{Fault, NOT_SUPPORTED, Outcome};
use super::spans::Span;

/// A local time.
pub const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
/// A time of day.
pub const TIME: DataType = DataType::Time64(TimeUnit::Microsecond);
/// An interval.
pub const SPAN: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// An instant.
pub fn instant_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(crate::functions::ZONE.into()))
}

/// What PostgreSQL would call a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Null,
    Text,
    Whole,
    Number,
    Date,
    Time,
    Timestamp,
    Instant,
    Span,
    Other,
}

impl Kind {
    /// Of an arrow type.
    pub fn of(kind: &DataType) -> Self {
        match kind {
            DataType::Null => Self::Null,
            kind if kind.is_string() => Self::Text,
            kind if kind.is_integer() => Self::Whole,
            kind if kind.is_numeric() => Self::Number,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Time32(_) | DataType::Time64(_) => Self::Time,
            DataType::Timestamp(_, None) => Self::Timestamp,
            DataType::Timestamp(_, Some(_)) => Self::Instant,
            DataType::Interval(_) | DataType::Duration(_) => Self::Span,
            _ => Self::Other,
        }
    }

    /// True for dates, times and intervals.
    pub fn is_temporal(self) -> bool {
        matches!(self, Self::Date | Self::Time | Self::Timestamp | Self::Instant | Self::Span)
    }

    /// The type as which values are computed with.
    pub fn data_type(self) -> Option<DataType> {
        Some(match self {
            Self::Text => DataType::Utf8,
            Self::Whole => DataType::Int64,
            Self::Number => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::Time => TIME,
            Self::Timestamp => TIMESTAMP,
            Self::Instant => instant_type(),
            Self::Span => SPAN,
            Self::Null | Self::Other => return None,
        })
    }
}

/// A value.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    Text(&'a str),
    Whole(i64),
    Float(f64),
    Day(i64),
    Time(i64),
    Timestamp(i64),
    Instant(i64),
    Span(Span),
}

/// The value of a row; `None` for NULL and for types that are not computed with.
pub fn value(array: &ArrayRef, row: usize) -> Option<Value<'_>> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Value::Text(array.as_string::<i64>().value(row)),
        DataType::Utf8View => Value::Text(array.as_string_view().value(row)),
        DataType::Int32 => Value::Whole(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Value::Whole(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Date32 => Value::Day(array.as_primitive::<Date32Type>().value(row).into()),
        DataType::Time64(TimeUnit::Microsecond) => {
            Value::Time(array.as_primitive::<Time64MicrosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let time = array.as_primitive::<TimestampMicrosecondType>().value(row);
            if zone.is_some() { Value::Instant(time) } else { Value::Timestamp(time) }
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            Value::Span(Span::new(value.months, value.days, value.nanoseconds / 1000))
        }
        _ => return None,
    })
}

/// What a row gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    Whole(i128),
    Float(f64),
    Text(String),
    Truth(bool),
    Span(Span),
}

impl From<i64> for Given {
    fn from(value: i64) -> Self {
        Self::Whole(value.into())
    }
}

fn too_large() -> Fault {
    Fault::new(NOT_SUPPORTED, "intervals of more than 2562047 hours are not supported")
}

/// The array of type `kind` of what the rows gave.
pub fn array(rows: Vec<Option<Given>>, kind: &DataType) -> Outcome<ArrayRef> {
    let wrong = || Fault::new("XX000", format!("a value that is no {kind}"));
    let whole = |given: Option<Given>| match given {
        None => Ok(None),
        Some(Given::Whole(value)) => i64::try_from(value).map(Some).map_err(|_| wrong()),
        Some(_) => Err(wrong()),
    };
    let longs = |rows: Vec<Option<Given>>| rows.into_iter().map(whole).collect::<Outcome<Vec<_>>>();
    let ints = |rows: Vec<Option<Given>>| -> Outcome<Vec<Option<i32>>> {
        let narrow = |value: i64| i32::try_from(value).map_err(|_| wrong());
        longs(rows)?.into_iter().map(|value| value.map(narrow).transpose()).collect()
    };
    Ok(match kind {
        DataType::Date32 => Arc::new(Date32Array::from(ints(rows)?)),
        DataType::Int32 => Arc::new(Int32Array::from(ints(rows)?)),
        DataType::Time64(_) => Arc::new(Time64MicrosecondArray::from(longs(rows)?)),
        DataType::Timestamp(_, zone) => {
            Arc::new(TimestampMicrosecondArray::from(longs(rows)?).with_timezone_opt(zone.clone()))
        }
        DataType::Decimal128(precision, scale) => {
            let values = rows.into_iter().map(|given| match given {
                None => Ok(None),
                Some(Given::Whole(value)) => Ok(Some(value)),
                Some(_) => Err(wrong()),
            });
            let values = values.collect::<Outcome<Decimal128Array>>()?;
            Arc::new(values.with_precision_and_scale(*precision, *scale).map_err(|_| wrong())?)
        }
        DataType::Float64 => {
            let values = rows.into_iter().map(|given| match given {
                None => Ok(None),
                Some(Given::Float(value)) => Ok(Some(value)),
                Some(_) => Err(wrong()),
            });
            Arc::new(values.collect::<Outcome<Float64Array>>()?)
        }
        DataType::Boolean => {
            let values = rows.into_iter().map(|given| match given {
                None => Ok(None),
                Some(Given::Truth(value)) => Ok(Some(value)),
                Some(_) => Err(wrong()),
            });
            Arc::new(values.collect::<Outcome<BooleanArray>>()?)
        }
        DataType::Utf8 => {
            let values = rows.into_iter().map(|given| match given {
                None => Ok(None),
                Some(Given::Text(value)) => Ok(Some(value)),
                Some(_) => Err(wrong()),
            });
            Arc::new(values.collect::<Outcome<StringArray>>()?)
        }
        DataType::Interval(_) => {
            let values = rows.into_iter().map(|given| match given {
                None => Ok(None),
                Some(Given::Span(span)) => {
                    let nanos = span.micros.checked_mul(1000).ok_or_else(too_large)?;
                    Ok(Some(IntervalMonthDayNano::new(span.months, span.days, nanos)))
                }
                Some(_) => Err(wrong()),
            });
            Arc::new(values.collect::<Outcome<IntervalMonthDayNanoArray>>()?)
        }
        _ => return Err(wrong()),
    })
}
