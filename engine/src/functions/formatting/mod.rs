//! `to_char`, `to_date`, `to_timestamp` and `to_number`, with PostgreSQL's templates. DataFusion's functions of these names
//! take others, and give a template that they do not know as it is.

mod numbers;
mod read;
mod shown;
mod template;
mod zone;

use std::sync::Arc;

use chrono::{DateTime, Datelike, NaiveDateTime};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, DurationMicrosecondType, Field, FieldRef,
    Float32Type, Float64Type, Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use self::numbers::{Number, Template};
use self::shown::{Moment, Zone};
use self::template::{Kind, Part, parts};
use self::zone::SessionZone;
use super::instants::infinite;
use crate::Error;
use crate::functions::no_such_arguments;
use crate::functions::numbers::wide;
use crate::sqlstate::SqlState;

/// SQLSTATEs of what goes wrong here.
mod is_of {
    pub(super) const INVALID_DATETIME: &str = "22007";
    pub(super) const OUT_OF_RANGE: &str = "22008";
    pub(super) const NUMBER_OUT_OF_RANGE: &str = "22003";
    pub(super) const INVALID_TEXT: &str = "22P02";
    pub(super) const NOT_SUPPORTED: &str = "0A000";
    pub(super) const SYNTAX: &str = "42601";
}

const MICROSECONDS: i64 = 1_000_000;
const DAY_MICROSECONDS: i64 = 86_400 * MICROSECONDS;
/// Digits of a floating-point number that are sure: C's `FLT_DIG` and `DBL_DIG`.
const SINGLE_DIGITS: usize = 6;
const DOUBLE_DIGITS: usize = 15;

/// The four functions.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    [Name::Char, Name::Date, Name::Timestamp, Name::Number]
        .map(|name| {
            // What they give depends on the session's zone, but for two.
            let volatility = match name {
                Name::Char | Name::Timestamp => Volatility::Stable,
                Name::Date | Name::Number => Volatility::Immutable,
            };
            Arc::new(ScalarUDF::from(Formatting { name, signature: Signature::user_defined(volatility) }))
        })
        .to_vec()
}

/// What a function makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Name {
    Char,
    Date,
    Timestamp,
    Number,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Formatting {
    name: Name,
    signature: Signature,
}

impl ScalarUDFImpl for Formatting {
    fn name(&self) -> &str {
        match self.name {
            Name::Char => "to_char",
            Name::Date => "to_date",
            Name::Timestamp => "to_timestamp",
            Name::Number => "to_number",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let is_text = |kind: &DataType| kind.is_string() || kind.is_null();
        let taken = match (self.name, types) {
            (Name::Char, [value, template]) if is_text(template) => shown_as(value),
            (Name::Timestamp, [seconds]) if seconds.is_numeric() || seconds.is_null() => {
                return Ok(vec![DataType::Float64]);
            }
            (Name::Date | Name::Timestamp | Name::Number, [text, template])
                if is_text(text) && is_text(template) =>
            {
                Some(DataType::Utf8)
            }
            _ => None,
        };
        match taken {
            Some(first) => Ok(vec![first, DataType::Utf8]),
            None => Err(no_such_arguments(self.name())),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.name {
            Name::Char => DataType::Utf8,
            Name::Date => DataType::Date32,
            Name::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(super::ZONE.into())),
            Name::Number => wide::TYPE,
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let kind = self.return_type(&types)?;
        Ok(Arc::new(Field::new(self.name(), kind, true)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let zone = SessionZone::of(args.config_options.execution.time_zone.as_deref());
        let arrays: Vec<ArrayRef> =
            args.args.into_iter().map(|value| value.into_array(rows)).collect::<Result<_>>()?;
        let result: ArrayRef = match (self.name, arrays.as_slice()) {
            (Name::Timestamp, [seconds]) => of_seconds(seconds)?,
            (Name::Char, [values, templates]) => to_char(values, templates.as_string(), zone)?,
            (Name::Date, [texts, templates]) => {
                let days = read_each(texts, templates, |text, template| {
                    let read = read::read(text, template)?;
                    Ok(read.time.date().num_days_from_ce() - EPOCH_DAYS)
                })?;
                Arc::new(Date32Array::from(days))
            }
            (Name::Timestamp, [texts, templates]) => {
                let instants = read_each(texts, templates, |text, template| {
                    let read = read::read(text, template)?;
                    let instant = match read.offset {
                        Some(offset) => read.time.checked_sub_signed(chrono::TimeDelta::seconds(offset)),
                        None => zone.instant(read.time),
                    };
                    let instant = instant.ok_or_else(|| out_of_range(text))?;
                    Ok(rounded(instant.and_utc().timestamp_micros(), read.digits))
                })?;
                Arc::new(TimestampMicrosecondArray::from(instants).with_timezone(super::ZONE))
            }
            (Name::Number, [texts, templates]) => to_number(texts, templates)?,
            _ => return Err(wrong_arguments(self.name())),
        };
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// Days from the first of January of the year 1 to that of 1970.
const EPOCH_DAYS: i32 = 719_163;

fn wrong_arguments(name: &str) -> DataFusionError {
    DataFusionError::Plan(format!("{name} takes other arguments"))
}

/// The type as which `to_char` shows one, if it does.
fn shown_as(kind: &DataType) -> Option<DataType> {
    Some(match kind {
        DataType::Null => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Duration(_) => DataType::Duration(TimeUnit::Microsecond),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Int64 | DataType::UInt32 => DataType::Int64,
        kind if kind.is_integer() => DataType::Int32,
        DataType::Float16 | DataType::Float32 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Float64 | DataType::Decimal128(..) | DataType::Decimal256(..) => kind.clone(),
        kind if wide::is_wide(kind) => kind.clone(),
        _ => return None,
    })
}

/// A template of more bytes is refused: each of its letters takes many bytes once it is read.
const TEMPLATE_BYTES_MAX: usize = 16 << 10;

fn check_length(template: &str) -> Result<()> {
    if template.len() <= TEMPLATE_BYTES_MAX {
        return Ok(());
    }
    Err(DataFusionError::External(Box::new(Error::TooLarge {
        message: format!("a template may have {TEMPLATE_BYTES_MAX} bytes at most"),
        hint: "Join the texts of several templates with ||.".to_owned(),
    })))
}

/// Templates that were read, of which a batch has most often one.
struct Templates<T> {
    read: fn(&str) -> Result<T>,
    last: Option<(String, T)>,
}

impl<T> Templates<T> {
    fn new(read: fn(&str) -> Result<T>) -> Self {
        Self { read, last: None }
    }

    fn of(&mut self, template: &str) -> Result<&T> {
        if self.last.as_ref().is_none_or(|(text, _)| text != template) {
            check_length(template)?;
            self.last = Some((template.to_owned(), (self.read)(template)?));
        }
        let (_, read) = self.last.as_ref().expect("it was read just now");
        Ok(read)
    }
}

fn of_moments() -> Templates<Vec<Part>> {
    Templates::new(|template| Ok(parts(template, Kind::Moment)))
}

fn of_numbers() -> Templates<Template> {
    Templates::new(|template| Template::of(parts(template, Kind::Number)))
}

fn to_char(values: &ArrayRef, templates: &StringArray, zone: SessionZone) -> Result<ArrayRef> {
    let mut moments = of_moments();
    let mut numbers = of_numbers();
    let mut number = |at: usize, number: Number| numbers.of(templates.value(at))?.shown(&number).map(Some);
    let mut moment = |at: usize, moment: &Moment| match templates.value(at) {
        "" => Ok(None),
        template => moment.shown(moments.of(template)?).map(Some),
    };
    let rows = (0..values.len()).map(|at| -> Result<Option<String>> {
        if values.is_null(at) || templates.is_null(at) || is_infinite(values, at) {
            return Ok(None);
        }
        match values.data_type() {
            // As PostgreSQL takes it: for the instant at which it begins where the session is.
            DataType::Date32 => {
                let day = i64::from(values.as_primitive::<Date32Type>().value(at));
                let midnight = local_time(day * DAY_MICROSECONDS)?;
                let local = zone.instant(midnight).and_then(|instant| zone.local(instant));
                let (time, offset, name) = local.ok_or_else(|| out_of_range(&midnight.to_string()))?;
                moment(at, &Moment::of(time, Some(Zone { name: &name, offset })))
            }
            DataType::Timestamp(_, at_zone) => {
                let time = local_time(values.as_primitive::<TimestampMicrosecondType>().value(at))?;
                if at_zone.is_none() {
                    return moment(at, &Moment::of(time, None));
                }
                let (time, offset, name) = zone.local(time).ok_or_else(|| out_of_range(&time.to_string()))?;
                moment(at, &Moment::of(time, Some(Zone { name: &name, offset })))
            }
            DataType::Interval(_) => {
                let value = values.as_primitive::<IntervalMonthDayNanoType>().value(at);
                let (months, days) = (i64::from(value.months), i64::from(value.days));
                moment(at, &Moment::of_interval(months, days, value.nanoseconds / 1000))
            }
            DataType::Duration(_) => {
                let value = values.as_primitive::<DurationMicrosecondType>().value(at);
                moment(at, &Moment::of_interval(0, value / DAY_MICROSECONDS, value % DAY_MICROSECONDS))
            }
            DataType::Time64(_) => {
                let value = values.as_primitive::<Time64MicrosecondType>().value(at);
                moment(at, &Moment::of_interval(0, 0, value))
            }
            DataType::Int32 => number(at, Number::Whole(values.as_primitive::<Int32Type>().value(at))),
            DataType::Int64 => number(at, Number::Large(values.as_primitive::<Int64Type>().value(at))),
            DataType::Float32 => {
                let value = f64::from(values.as_primitive::<Float32Type>().value(at));
                number(at, Number::Float { value, digits: SINGLE_DIGITS })
            }
            DataType::Float64 => {
                let value = values.as_primitive::<Float64Type>().value(at);
                number(at, Number::Float { value, digits: DOUBLE_DIGITS })
            }
            DataType::Decimal128(..) => {
                number(at, Number::Exact(values.as_primitive::<Decimal128Type>().value_as_string(at)))
            }
            DataType::Decimal256(..) => {
                number(at, Number::Exact(values.as_primitive::<Decimal256Type>().value_as_string(at)))
            }
            DataType::LargeBinary => {
                let value = wide::decode(values.as_binary::<i64>().value(at));
                match value {
                    wide::Number::Finite(_) => number(at, Number::Exact(value.shown())),
                    other => {
                        let value = other.to_double().map_err(wide::error)?;
                        number(at, Number::Float { value, digits: DOUBLE_DIGITS })
                    }
                }
            }
            _ => Err(wrong_arguments("to_char")),
        }
    });
    let shown: StringArray = rows.collect::<Result<_>>()?;
    Ok(Arc::new(shown))
}

/// Each of `texts` as `read` reads it by its template.
fn read_each<T>(
    texts: &ArrayRef,
    templates: &ArrayRef,
    read: impl Fn(&str, &[Part]) -> Result<T>,
) -> Result<Vec<Option<T>>> {
    let mut known = of_moments();
    let rows = texts.as_string::<i32>().iter().zip(templates.as_string::<i32>());
    rows.map(|row| match row {
        (Some(text), Some(template)) => read(text, known.of(template)?).map(Some),
        _ => Ok(None),
    })
    .collect()
}

fn to_number(texts: &ArrayRef, templates: &ArrayRef) -> Result<ArrayRef> {
    let mut known = of_numbers();
    let rows = texts.as_string::<i32>().iter().zip(templates.as_string::<i32>());
    let mut numbers = wide::columns::Builder::new(texts.len());
    for row in rows {
        let digits = match row {
            (Some(text), Some(template)) => known.of(template)?.read(text)?,
            _ => None,
        };
        let number = digits.map(|digits| wide::Number::read(&digits)).transpose().map_err(wide::error)?;
        numbers.push(number.as_ref());
    }
    Ok(Arc::new(numbers.finish()))
}

/// An instant with so many digits of a fraction, rounded away from 2000 as in PostgreSQL.
fn rounded(micros: i64, digits: Option<u32>) -> i64 {
    const EPOCH: i64 = 946_684_800 * MICROSECONDS;
    let Some(digits) = digits.filter(|digits| *digits < 6) else { return micros };
    let unit = 10i64.pow(6 - digits);
    let since = micros.saturating_sub(EPOCH);
    EPOCH + since.signum() * ((since.abs() + unit / 2) / unit * unit)
}

/// `to_timestamp` of seconds since 1970.
/// True for `infinity`, of which `to_char` shows nothing.
fn is_infinite(values: &ArrayRef, at: usize) -> bool {
    if let Some(days) = values.as_primitive_opt::<Date32Type>() {
        return infinite::is_infinite_day(days.value(at).into());
    }
    let times = values.as_primitive_opt::<TimestampMicrosecondType>();
    times.is_some_and(|times| infinite::is_infinite(times.value(at)))
}

fn of_seconds(seconds: &ArrayRef) -> Result<ArrayRef> {
    let instants = seconds.as_primitive::<Float64Type>().iter().map(|seconds| {
        let Some(seconds) = seconds else { return Ok(None) };
        if seconds.is_nan() {
            return Err(fault(is_of::OUT_OF_RANGE, "timestamp cannot be NaN".to_owned()));
        }
        if seconds.is_infinite() {
            return Ok(Some(if seconds > 0.0 { infinite::LAST } else { -infinite::LAST }));
        }
        let micros = (seconds * MICROSECONDS as f64).round_ties_even();
        if !(MICROS_MIN..MICROS_MAX).contains(&micros) {
            return Err(fault(is_of::OUT_OF_RANGE, format!("timestamp out of range: \"{seconds}\"")));
        }
        Ok(Some(micros as i64))
    });
    let instants: TimestampMicrosecondArray = instants.collect::<Result<_>>()?;
    Ok(Arc::new(instants.with_timezone(super::ZONE)))
}

/// What PostgreSQL takes for an instant: from 4714 BC to the year 294276, in microseconds since 1970.
const MICROS_MIN: f64 = -210_866_803_200_000_000.0;
const MICROS_MAX: f64 = 9_223_371_331_200_000_000.0;

fn local_time(microseconds: i64) -> Result<NaiveDateTime> {
    let time = DateTime::from_timestamp_micros(microseconds).map(|time| time.naive_utc());
    time.ok_or_else(|| fault(is_of::OUT_OF_RANGE, "timestamp out of range".to_owned()))
}

fn out_of_range(text: &str) -> DataFusionError {
    fault(is_of::OUT_OF_RANGE, format!("timestamp out of range: \"{text}\""))
}

/// An error under PostgreSQL's SQLSTATE for it.
fn fault(sqlstate: &str, message: String) -> DataFusionError {
    DataFusionError::External(Box::new(Error::Stamped { sqlstate: SqlState::from_text(sqlstate), message }))
}
