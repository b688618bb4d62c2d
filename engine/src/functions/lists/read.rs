//! Texts as arrays, and arrays as arrays of other items.

use std::sync::Arc;

use chrono::{NaiveDate, NaiveDateTime};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int16Array, Int32Array, Int64Array, ListArray, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, Float32Type, Float64Type, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};

use super::leaves::{Lists, depth, leaf_of, with_leaf};
use super::scan::{self, Fault};
use super::{float, shown, stamped, text, type_name, unsupported};
use crate::Error;
use crate::functions::instants::infinite::{self, has_infinite};
use crate::functions::numbers::{conversions, wide};
use crate::functions::style::Display;

/// `value` as arrays of `leaf`, whose depth is that of what is there; texts are read as arrays of `dimensions`.
pub(super) fn lists(value: &ArrayRef, leaf: &DataType, dimensions: usize) -> Result<Lists> {
    if value.data_type().is_string() {
        return Lists::of(&read(value, leaf, dimensions)?);
    }
    let lists = Lists::of(value)?;
    cast_leaves(&lists, leaf)
}

fn cast_leaves(lists: &Lists, leaf: &DataType) -> Result<Lists> {
    let values = lists.values();
    let cast = match depth(values.data_type()) {
        0 => items(values, leaf)?,
        _ => cast_leaves(&Lists::of(values)?, leaf)?.into_array(),
    };
    lists.with_values(cast)
}

/// `values` as items of another type, with PostgreSQL's casts.
pub(super) fn items(values: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let from = values.data_type();
    if from == to {
        return Ok(Arc::clone(values));
    }
    if from.is_null() {
        return Ok(cast(values, to)?);
    }
    if from.is_string() {
        if to.is_string() {
            return Ok(cast(values, to)?);
        }
        let texts = cast(values, &DataType::Utf8)?;
        let texts: Vec<Option<&str>> = texts.as_string::<i32>().iter().collect();
        return of_texts(&texts, to);
    }
    if to.is_string() {
        let write = shown::writer(values, &Display::utc())?;
        let shown: StringArray = (0..values.len())
            .map(|at| {
                if values.is_null(at) {
                    return None;
                }
                if from == &DataType::Boolean {
                    return Some(values.as_boolean().value(at).to_string());
                }
                let mut item = String::new();
                write(at, &mut item);
                Some(item)
            })
            .collect();
        return Ok(cast(&shown, to)?);
    }
    if wide::is_wide(from) || wide::is_wide(to) {
        return conversions::converted(values, to);
    }
    let is_number = |kind: &DataType| kind.is_numeric();
    let are_times = |kind: &DataType| matches!(kind, DataType::Date32 | DataType::Timestamp(_, None));
    let may_be = (is_number(from) && is_number(to)) || (are_times(from) && are_times(to));
    if !may_be {
        return Err(unsupported(format!(
            "a cast of arrays of {} to arrays of {} is not supported",
            type_name(from),
            type_name(to)
        )));
    }
    if are_times(from) && has_infinite(values) {
        return Err(unsupported(
            "a cast of an array with infinite dates or times is not supported".to_owned(),
        ));
    }
    let values = if to.is_integer() { rounded(values)? } else { Arc::clone(values) };
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&values, to, &options).map_err(|error| match error {
        ArrowError::CastError(_)
        | ArrowError::InvalidArgumentError(_)
        | ArrowError::ArithmeticOverflow(_) => {
            stamped(&Error::OutOfRange { message: format!("{} out of range", type_name(to)) })
        }
        other => other.into(),
    })
}

/// The nearest whole numbers: of two the even one for floating-point numbers, the one further from zero for others.
fn rounded(values: &ArrayRef) -> Result<ArrayRef> {
    Ok(match values.data_type() {
        DataType::Float32 => {
            let values = values.as_primitive::<Float32Type>();
            Arc::new(values.unary::<_, Float32Type>(f32::round_ties_even))
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>();
            Arc::new(values.unary::<_, Float64Type>(f64::round_ties_even))
        }
        DataType::Decimal128(precision, scale) if *scale > 0 => {
            let unit = 10i128.pow(u32::from(scale.unsigned_abs()));
            let values = values.as_primitive::<Decimal128Type>();
            let rounded = values.unary::<_, Decimal128Type>(|value| {
                let half = value.signum() * (unit / 2);
                value.saturating_add(half) / unit
            });
            Arc::new(rounded.with_precision_and_scale((*precision).max(1), 0)?)
        }
        _ => Arc::clone(values),
    })
}

/// Texts as arrays of `dimensions` dimensions.
fn read(texts: &ArrayRef, leaf: &DataType, dimensions: usize) -> Result<ArrayRef> {
    let texts = cast(texts, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    let mut all: Vec<Option<String>> = Vec::new();
    let mut lengths: Vec<Vec<usize>> = vec![Vec::new(); dimensions];
    let mut are_valid = Vec::with_capacity(texts.len());
    for literal in texts {
        are_valid.push(literal.is_some());
        let read = match literal {
            None => text::Literal { dimensions: Vec::new(), items: Vec::new() },
            Some(literal) => text::read(literal).map_err(|fault| refused(literal, fault))?,
        };
        match read.dimensions.len() {
            0 => lengths[0].push(0),
            found if found == dimensions => {
                let mut arrays = 1;
                for (level, length) in read.dimensions.iter().enumerate() {
                    lengths[level].extend(std::iter::repeat_n(*length, arrays));
                    arrays *= length;
                }
            }
            found => {
                return Err(unsupported(format!(
                    "texts of arrays of {found} dimensions are not supported where they have {dimensions} elsewhere"
                )));
            }
        }
        all.extend(read.items);
    }
    let items: Vec<Option<&str>> = all.iter().map(Option::as_deref).collect();
    let mut values = of_texts(&items, leaf)?;
    for (level, lengths) in lengths.into_iter().enumerate().rev() {
        let nulls = (level == 0).then(|| NullBuffer::from(std::mem::take(&mut are_valid)));
        let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(lengths);
        values = Arc::new(ListArray::try_new(field, offsets, values, nulls)?);
    }
    debug_assert_eq!(depth(values.data_type()), dimensions);
    Ok(values)
}

/// The items of an array whose text is `literal`, read as `leaf`; `None` where they cannot be.
pub(super) fn constants(literal: &str, leaf: &DataType) -> Option<Vec<ScalarValue>> {
    let text: ArrayRef = Arc::new(StringArray::from(vec![literal]));
    let lists = lists(&text, leaf, 1).ok()?;
    lists.row(0)?.map(|at| ScalarValue::try_from_array(lists.values(), at).ok()).collect()
}

/// The type of the array that the text of a literal is of.
pub(super) fn type_of_literal(literal: Option<&str>, kind: &DataType) -> DataType {
    let dimensions = literal.and_then(|literal| text::read(literal).ok()).map(|read| read.dimensions.len());
    let leaf = leaf_of(kind).clone();
    match dimensions {
        Some(dimensions @ 2..) => (0..dimensions).fold(leaf, |kind, _| super::leaves::list_of(kind)),
        _ => with_leaf(&DataType::Null, leaf),
    }
}

fn refused(literal: &str, fault: text::Fault) -> DataFusionError {
    match fault {
        text::Fault::Malformed => {
            stamped(&Error::InvalidText { message: format!("malformed array literal: \"{literal}\"") })
        }
        text::Fault::TooDeep(found) => stamped(&Error::Stamped {
            sqlstate: crate::SqlState::from_text("54000"),
            message: format!(
                "number of array dimensions ({found}) exceeds the maximum allowed ({})",
                text::DIMENSIONS_MAX
            ),
        }),
        text::Fault::Bounds => {
            unsupported("arrays whose subscripts do not begin with 1 are not supported".to_owned())
        }
    }
}

/// What `texts` say, each read as `kind`.
fn of_texts(texts: &[Option<&str>], kind: &DataType) -> Result<ArrayRef> {
    fn each<T>(
        texts: &[Option<&str>],
        kind: &DataType,
        read: impl Fn(&str) -> std::result::Result<T, Fault>,
    ) -> Result<Vec<Option<T>>> {
        let read = |text: &Option<&str>| match text {
            None => Ok(None),
            Some(text) => read(text).map(Some).map_err(|fault| unreadable(text, kind, &fault)),
        };
        texts.iter().map(read).collect()
    }
    macro_rules! whole {
        ($array:ty, $kind:ty) => {{
            let read = |text: &str| scan::whole(text, <$kind>::MIN.into(), <$kind>::MAX.into());
            let numbers = each(texts, kind, read)?.into_iter();
            Arc::new(numbers.map(|number| number.map(|number| number as $kind)).collect::<$array>())
        }};
    }
    Ok(match kind {
        DataType::Int16 => whole!(Int16Array, i16),
        DataType::Int32 => whole!(Int32Array, i32),
        DataType::Int64 => whole!(Int64Array, i64),
        DataType::Boolean => Arc::new(each(texts, kind, scan::truth)?.into_iter().collect::<BooleanArray>()),
        DataType::Float64 => Arc::new(Float64Array::from(each(texts, kind, double)?)),
        DataType::Float32 => Arc::new(Float32Array::from(each(texts, kind, single)?)),
        DataType::LargeBinary => {
            let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
            conversions::converted(&texts, kind)?
        }
        DataType::Decimal128(precision, scale) => {
            if texts.iter().flatten().any(|text| is_no_exact_number(text)) {
                return Err(unsupported("a numeric that is no number is not supported".to_owned()));
            }
            let numbers = each(texts, kind, |text| scan::exact(text, *precision, *scale))?;
            Arc::new(Decimal128Array::from(numbers).with_precision_and_scale(*precision, *scale)?)
        }
        DataType::Date32 => {
            let read = |text: &str| {
                if let Some(is_late) = infinite::read(text) {
                    return Ok(if is_late { i32::MAX } else { -i32::MAX });
                }
                let day = plain_date(text)?;
                Ok(day.signed_duration_since(NaiveDate::default()).num_days() as i32)
            };
            Arc::new(Date32Array::from(times(texts, kind, read)?))
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            let read = |text: &str| match infinite::read(text) {
                Some(is_late) => Some(if is_late { infinite::LAST } else { -infinite::LAST }),
                None => Some(plain_time(text)?.and_utc().timestamp_micros()),
            };
            Arc::new(TimestampMicrosecondArray::from(times(texts, kind, |text| {
                read(text).ok_or(Fault::Invalid)
            })?))
        }
        kind if kind.is_string() => cast(&StringArray::from(texts.to_vec()), kind)?,
        // There are no items.
        kind if texts.iter().all(Option::is_none) => {
            datafusion::arrow::array::new_null_array(kind, texts.len())
        }
        other => {
            return Err(unsupported(format!("texts of arrays of {} are not supported", type_name(other))));
        }
    })
}

fn double(text: &str) -> std::result::Result<f64, Fault> {
    let value = float::read(text).ok_or(Fault::Invalid)?;
    if is_lost(text, value) { Err(Fault::OutOfRange) } else { Ok(value) }
}

/// Rounded once: as a single number, not as a double one before.
fn single(text: &str) -> std::result::Result<f32, Fault> {
    let value = double(text)?;
    let value = text.trim().parse::<f32>().unwrap_or(value as f32);
    if is_lost(text, value.into()) { Err(Fault::OutOfRange) } else { Ok(value) }
}

/// True when digits were written and the number has become zero, or none at all.
fn is_lost(text: &str, value: f64) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let has_digits = mantissa.bytes().any(|digit| matches!(digit, b'1'..=b'9'));
    has_digits && (value.is_infinite() || value == 0.0)
}

fn is_no_exact_number(text: &str) -> bool {
    let text = text.trim().trim_start_matches(['+', '-']).to_ascii_lowercase();
    ["nan", "inf", "infinity"].contains(&text.as_str())
}

/// Days and times are read in their plain form alone: others depend on settings.
fn times<T>(
    texts: &[Option<&str>],
    kind: &DataType,
    read: impl Fn(&str) -> std::result::Result<T, Fault>,
) -> Result<Vec<Option<T>>> {
    let read = |text: &Option<&str>| match text {
        None => Ok(None),
        Some(text) => read(text).map(Some).map_err(|_| {
            unsupported(format!("\"{text}\" is not supported as a {} in an array", type_name(kind)))
        }),
    };
    texts.iter().map(read).collect()
}

fn plain_date(text: &str) -> std::result::Result<NaiveDate, Fault> {
    let has_form = text.len() == 10 && text.bytes().filter(|byte| *byte == b'-').count() == 2;
    if !has_form || text.starts_with("0000") {
        return Err(Fault::Invalid);
    }
    NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| Fault::Invalid)
}

fn plain_time(text: &str) -> Option<NaiveDateTime> {
    if !text.is_ascii() || text.len() < 10 || text.contains("60") {
        return None;
    }
    let date = plain_date(&text[..10]).ok()?;
    let time = &text[10..];
    if time.is_empty() {
        return date.and_hms_opt(0, 0, 0);
    }
    let digits = time.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    if digits > 6 {
        return None;
    }
    let time = time.strip_prefix([' ', 'T'])?;
    let form = if digits > 0 { "%H:%M:%S%.f" } else { "%H:%M:%S" };
    chrono::NaiveTime::parse_from_str(time, form).ok().map(|time| date.and_time(time))
}

fn unreadable(text: &str, kind: &DataType, fault: &Fault) -> DataFusionError {
    let name = type_name(kind);
    stamped(&match fault {
        Fault::Invalid => {
            Error::InvalidText { message: format!("invalid input syntax for type {name}: \"{text}\"") }
        }
        Fault::OutOfRange if kind.is_floating() => {
            Error::OutOfRange { message: format!("\"{text}\" is out of range for type {name}") }
        }
        Fault::OutOfRange if kind.is_integer() => {
            Error::OutOfRange { message: format!("value \"{text}\" is out of range for type {name}") }
        }
        Fault::OutOfRange => Error::OutOfRange { message: "numeric field overflow".to_owned() },
    })
}
