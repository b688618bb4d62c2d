//! Reads the values of a Bind message.

use bytes::{Buf, Bytes};
use datafusion::arrow::array::{Array, ArrayRef, StringArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use engine::{Error, Result};
use std::sync::Arc;

use super::encode::Format;
use crate::pg_catalog::types;
use crate::sql::input;

const UUID: u32 = 2950;
const JSONB: u32 = 3802;
const DAYS_TO_2000: i32 = 10_957;
const MICROS_TO_2000: i64 = DAYS_TO_2000 as i64 * 86_400_000_000;

/// The values of a Bind for parameters of `types`, told to the client as `oids`.
pub fn decode(
    values: &[Option<Bytes>],
    codes: &[i16],
    types: &[DataType],
    oids: &[u32],
) -> Result<Vec<ScalarValue>> {
    if values.len() != types.len() {
        return Err(Error::Protocol {
            message: format!(
                "bind message supplies {} parameters, but the prepared statement requires {}",
                values.len(),
                types.len()
            ),
        });
    }
    let format = |index: usize| match codes {
        [] => Ok(Format::Text),
        [one] => Format::from_code(*one),
        many => many.get(index).copied().map_or(Ok(Format::Text), Format::from_code),
    };
    values
        .iter()
        .enumerate()
        .map(|(index, value)| match (value, format(index)?) {
            (None, _) => Ok(ScalarValue::try_from(&types[index])?),
            (Some(value), Format::Text) => from_text(value, &types[index]),
            (Some(value), Format::Binary) => from_binary(value.clone(), &types[index], oids[index]),
        })
        .collect()
}

/// The value that a text stands for, as PostgreSQL reads it.
pub fn from_text(value: &[u8], data_type: &DataType) -> Result<ScalarValue> {
    let text = std::str::from_utf8(value).map_err(|_| Error::InvalidEncoding {
        message: "invalid byte sequence for encoding \"UTF8\"".into(),
    })?;
    if text.contains('\0') {
        let message = "invalid byte sequence for encoding \"UTF8\": 0x00".to_owned();
        return Err(Error::InvalidEncoding { message });
    }
    let invalid = || Error::InvalidText {
        message: format!(
            "invalid input syntax for type {}: \"{text}\"",
            types::of_data_type(data_type).sql_name
        ),
    };
    match data_type {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => {
            Ok(ScalarValue::Utf8(Some(text.to_owned())))
        }
        DataType::Boolean => match text.trim().to_ascii_lowercase().as_str() {
            "t" | "true" | "1" | "on" | "yes" | "y" => Ok(ScalarValue::Boolean(Some(true))),
            "f" | "false" | "0" | "off" | "no" | "n" => Ok(ScalarValue::Boolean(Some(false))),
            _ => Err(invalid()),
        },
        DataType::Binary | DataType::BinaryView | DataType::LargeBinary => {
            input::bytea(text).map(|bytes| ScalarValue::Binary(Some(bytes))).ok_or_else(invalid)
        }
        DataType::List(item) => {
            let items = array_items(text).ok_or_else(invalid)?;
            let texts: ArrayRef = Arc::new(StringArray::from(items));
            let values = parse(&texts, item.data_type()).map_err(|_| invalid())?;
            Ok(list(&values, item.data_type()))
        }
        DataType::Decimal128(..) if is_any_numeric(data_type) => exact_numeric(text).ok_or_else(invalid),
        other => {
            let text = match other {
                DataType::Date32 => input::date(text).to_owned(),
                DataType::Timestamp(..) => input::instant(text),
                DataType::Interval(_) => input::interval(text),
                _ => text.trim().to_owned(),
            };
            let texts: ArrayRef = Arc::new(StringArray::from(vec![text]));
            let parsed = parse(&texts, other).map_err(|_| invalid())?;
            Ok(ScalarValue::try_from_array(&parsed, 0)?)
        }
    }
}

/// True for `numeric` without precision and scale, as [`types::parameter_type`] stands for it.
fn is_any_numeric(data_type: &DataType) -> bool {
    types::parameter_type(types::NUMERIC.oid).as_ref() == Some(data_type)
}

/// A decimal with the digits it was sent with.
fn exact_numeric(text: &str) -> Option<ScalarValue> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty()
        || !all.bytes().all(|byte| byte.is_ascii_digit())
        || all.trim_start_matches('0').len() > 38
    {
        return None;
    }
    let scale = i8::try_from(fraction.len()).ok().filter(|scale| *scale <= 38)?;
    let precision = (all.len() as u8).clamp(scale.unsigned_abs().max(1), 38);
    Some(ScalarValue::Decimal128(Some(sign * all.parse::<i128>().ok()?), precision, scale))
}

/// Text to values by Arrow's own parsers; what does not parse is an error, not null.
pub fn parse(
    texts: &ArrayRef,
    data_type: &DataType,
) -> std::result::Result<ArrayRef, datafusion::arrow::error::ArrowError> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(texts, data_type, &options)
}

fn list(values: &ArrayRef, item: &DataType) -> ScalarValue {
    let scalars: Vec<ScalarValue> =
        (0..values.len()).filter_map(|row| ScalarValue::try_from_array(values, row).ok()).collect();
    ScalarValue::List(ScalarValue::new_list_nullable(&scalars, item))
}

/// The items of a one-dimensional `{1,NULL,"a b"}`.
fn array_items(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    if inner.trim().is_empty() {
        return Some(items);
    }
    let mut letters = inner.chars().peekable();
    loop {
        let mut item = String::new();
        let mut was_quoted = false;
        while let Some(letter) = letters.peek().copied() {
            match letter {
                ',' => break,
                '{' | '}' => return None,
                '"' => {
                    letters.next();
                    was_quoted = true;
                    loop {
                        match letters.next()? {
                            '"' => break,
                            '\\' => item.push(letters.next()?),
                            other => item.push(other),
                        }
                    }
                }
                '\\' => {
                    letters.next();
                    item.push(letters.next()?);
                }
                // Around quotes blanks say nothing.
                blank if blank.is_whitespace() && (was_quoted || item.is_empty()) => {
                    letters.next();
                }
                other => {
                    letters.next();
                    item.push(other);
                }
            }
        }
        let is_null = !was_quoted && item.trim().eq_ignore_ascii_case("null");
        items.push((!is_null).then(|| if was_quoted { item } else { item.trim().to_owned() }));
        if letters.next().is_none() {
            return Some(items);
        }
    }
}

/// The value of PostgreSQL's binary format for type `oid`.
pub fn from_binary(mut value: Bytes, data_type: &DataType, oid: u32) -> Result<ScalarValue> {
    let invalid = || Error::InvalidBinary {
        message: format!("incorrect binary data format for type {}", types::of_data_type(data_type).sql_name),
    };
    let needs = |bytes: usize| if value.len() == bytes { Ok(()) } else { Err(invalid()) };
    Ok(match data_type {
        DataType::Boolean => {
            needs(1)?;
            ScalarValue::Boolean(Some(value[0] != 0))
        }
        DataType::Int16 => {
            needs(2)?;
            ScalarValue::Int16(Some(value.get_i16()))
        }
        DataType::Int32 => {
            needs(4)?;
            ScalarValue::Int32(Some(value.get_i32()))
        }
        DataType::Int64 if oid == types::OID.oid => {
            needs(4)?;
            ScalarValue::Int64(Some(value.get_u32().into()))
        }
        DataType::Int64 => {
            needs(8)?;
            ScalarValue::Int64(Some(value.get_i64()))
        }
        DataType::Float32 => {
            needs(4)?;
            ScalarValue::Float32(Some(value.get_f32()))
        }
        DataType::Float64 => {
            needs(8)?;
            ScalarValue::Float64(Some(value.get_f64()))
        }
        DataType::Utf8 if oid == UUID && value.len() == 16 => {
            let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
            ScalarValue::Utf8(Some(parts.join("-")))
        }
        DataType::Utf8 if oid == JSONB && value.first() == Some(&1) => {
            return from_text(&value[1..], data_type);
        }
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => return from_text(&value, data_type),
        DataType::Binary | DataType::BinaryView | DataType::LargeBinary => {
            ScalarValue::Binary(Some(value.to_vec()))
        }
        DataType::Date32 => {
            needs(4)?;
            ScalarValue::Date32(Some(value.get_i32().checked_add(DAYS_TO_2000).ok_or_else(invalid)?))
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            needs(8)?;
            ScalarValue::Time64Microsecond(Some(value.get_i64()))
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            needs(8)?;
            ScalarValue::Time64Nanosecond(Some(value.get_i64().checked_mul(1000).ok_or_else(invalid)?))
        }
        DataType::Timestamp(unit, zone) => {
            needs(8)?;
            let micros = value.get_i64().checked_add(MICROS_TO_2000).ok_or_else(invalid)?;
            let instant = ScalarValue::TimestampMicrosecond(Some(micros), zone.clone());
            instant.cast_to(&DataType::Timestamp(*unit, zone.clone()))?
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            needs(16)?;
            let nanos = value.get_i64().checked_mul(1000).ok_or_else(invalid)?;
            let (days, months) = (value.get_i32(), value.get_i32());
            ScalarValue::new_interval_mdn(months, days, nanos)
        }
        DataType::Decimal128(..) | DataType::Decimal256(..) => {
            return from_text(numeric(value).ok_or_else(invalid)?.as_bytes(), data_type);
        }
        DataType::List(item) => return array(value, item.data_type()).unwrap_or_else(|| Err(invalid())),
        // Types that the client knows by another name: the plain integer or text behind it.
        other => {
            let plain = match types::of_data_type(other) {
                types::INT2 => DataType::Int16,
                types::INT4 => DataType::Int32,
                types::INT8 => DataType::Int64,
                types::NUMERIC => DataType::Decimal128(38, 0),
                _ => return Err(invalid()),
            };
            return Ok(from_binary(value, &plain, oid)?.cast_to(other)?);
        }
    })
}

/// The decimal text of PostgreSQL's binary numeric.
fn numeric(mut value: Bytes) -> Option<String> {
    if value.len() < 8 {
        return None;
    }
    let groups = value.get_u16();
    let weight = i32::from(value.get_i16());
    let sign = value.get_u16();
    let display_scale = usize::from(value.get_u16());
    if value.len() != usize::from(groups) * 2 || !matches!(sign, 0 | 0x4000) {
        return None;
    }
    let digits: Vec<u16> = (0..groups).map(|_| value.get_u16()).collect();
    let group = |power: i32| {
        let at = usize::try_from(weight - power).ok();
        at.and_then(|at| digits.get(at)).copied().unwrap_or(0)
    };
    let mut text = String::from(if sign == 0 { "" } else { "-" });
    for power in (0..=weight.max(0)).rev() {
        text.push_str(&format!("{:04}", group(power)));
    }
    let fraction: String =
        (1..=display_scale.div_ceil(4) as i32).map(|n| format!("{:04}", group(-n))).collect();
    if display_scale > 0 {
        text.push('.');
        text.push_str(&fraction[..display_scale]);
    }
    Some(text)
}

fn array(mut value: Bytes, item: &DataType) -> Option<Result<ScalarValue>> {
    if value.len() < 12 {
        return None;
    }
    let dimensions = value.get_i32();
    let _has_nulls = value.get_i32();
    let oid = value.get_u32();
    if dimensions == 0 {
        return Some(Ok(ScalarValue::List(ScalarValue::new_list_nullable(&[], item))));
    }
    if dimensions != 1 || value.len() < 8 {
        return None;
    }
    let count = value.get_i32();
    let _lower_bound = value.get_i32();
    let mut items = Vec::new();
    for _ in 0..count {
        if value.len() < 4 {
            return None;
        }
        let length = value.get_i32();
        if length < 0 {
            items.push(ScalarValue::try_from(item).ok()?);
            continue;
        }
        let length = length as usize;
        if value.len() < length {
            return None;
        }
        match from_binary(value.split_to(length), item, oid) {
            Ok(scalar) => items.push(scalar),
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Ok(ScalarValue::List(ScalarValue::new_list_nullable(&items, item))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_values_are_read_by_type() {
        assert_eq!(from_text(b" 42 ", &DataType::Int32).expect("a number"), ScalarValue::Int32(Some(42)));
        let error = from_text(b"abc", &DataType::Int32).expect_err("no number");
        assert_eq!(error.sqlstate().as_str(), "22P02");
        assert_eq!(
            from_text(b"\\x0aff", &DataType::Binary).expect("bytes"),
            ScalarValue::Binary(Some(vec![10, 255]))
        );
    }

    #[test]
    fn binary_numerics_become_decimals() {
        let words: [u16; 6] = [2, 0, 0, 2, 123, 4500];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        assert_eq!(numeric(Bytes::from(bytes)).as_deref(), Some("0123.45"));
    }

    #[test]
    fn decimals_keep_their_digits() {
        let any = types::parameter_type(types::NUMERIC.oid).expect("a type");
        assert_eq!(from_text(b"-1.50", &any).expect("a number"), ScalarValue::Decimal128(Some(-150), 3, 2));
        assert_eq!(from_text(b"7", &any).expect("a number"), ScalarValue::Decimal128(Some(7), 1, 0));
        assert_eq!(from_text(b"1,5", &any).expect_err("no number").sqlstate().as_str(), "22P02");
    }

    #[test]
    fn array_literals_have_quotes_and_nulls() {
        let items = array_items(r#"{1,NULL,"a ,b","x\"y"}"#).expect("an array");
        let expected = [Some("1"), None, Some("a ,b"), Some("x\"y")];
        assert_eq!(items.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
        let spaced = array_items(r#"{"p", "f" , g}"#).expect("an array");
        assert_eq!(
            spaced.iter().map(Option::as_deref).collect::<Vec<_>>(),
            [Some("p"), Some("f"), Some("g")]
        );
        assert!(array_items("{{1},{2}}").is_none());
    }
}
