//! Values as DuckLake writes them in text: the bounds of columns, partition values and defaults.

use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::arrow::util::display::FormatOptions;
use datafusion::common::ScalarValue;

/// The text of a value; `None` for null and for types that have none.
pub fn to_text(value: &ScalarValue) -> Option<String> {
    if value.is_null() {
        return None;
    }
    Some(match value {
        ScalarValue::Boolean(Some(value)) => u8::from(*value).to_string(),
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => text.clone(),
        ScalarValue::Binary(Some(bytes))
        | ScalarValue::LargeBinary(Some(bytes))
        | ScalarValue::BinaryView(Some(bytes)) => bytes.iter().map(|byte| format!("{byte:02X}")).collect(),
        ScalarValue::Float32(Some(number)) => float_text(f64::from(*number), &number.to_string()),
        ScalarValue::Float64(Some(number)) => float_text(*number, &number.to_string()),
        ScalarValue::Date32(Some(days)) if days.unsigned_abs() >= LAST_DAY => infinity(*days > 0),
        ScalarValue::TimestampMicrosecond(Some(time), _) if time.unsigned_abs() >= LAST => {
            infinity(*time > 0)
        }
        other => displayed(other)?,
    })
}

/// `infinity` of dates and of microseconds, as DuckDB has them: the last numbers of their types, and the same below 0.
const LAST_DAY: u32 = i32::MAX.unsigned_abs();
const LAST: u64 = i64::MAX.unsigned_abs();

fn infinity(is_late: bool) -> String {
    if is_late { "infinity" } else { "-infinity" }.to_owned()
}

/// `1.0`, as other engines write it; not `1`.
fn float_text(number: f64, text: &str) -> String {
    match number {
        number if number.is_nan() => "nan".to_owned(),
        number if number.is_infinite() => if number > 0.0 { "inf" } else { "-inf" }.to_owned(),
        _ if text.contains(['.', 'e', 'E']) => text.to_owned(),
        _ => format!("{text}.0"),
    }
}

/// Dates, times, timestamps, integers, decimals.
fn displayed(value: &ScalarValue) -> Option<String> {
    let options = FormatOptions::new()
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f+00"));
    let options = CastOptions { safe: true, format_options: options };
    let value = match value.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            value.cast_to(&DataType::Timestamp(unit, Some("UTC".into()))).ok()?
        }
        DataType::Timestamp(_, None)
        | DataType::Date32
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..) => value.clone(),
        kind if kind.is_integer() => value.clone(),
        _ => return None,
    };
    let array = cast_with_options(&value.to_array().ok()?, &DataType::Utf8, &options).ok()?;
    match ScalarValue::try_from_array(&array, 0).ok()? {
        ScalarValue::Utf8(text) => text,
        _ => None,
    }
}

/// The value of type `kind` that `text` stands for; `None` when it stands for none.
pub fn from_text(text: &str, kind: &DataType) -> Option<ScalarValue> {
    match kind {
        DataType::Boolean => match text {
            "0" | "false" => Some(ScalarValue::Boolean(Some(false))),
            "1" | "true" => Some(ScalarValue::Boolean(Some(true))),
            _ => None,
        },
        DataType::Binary => hex(text).map(|bytes| ScalarValue::Binary(Some(bytes))),
        DataType::BinaryView => hex(text).map(|bytes| ScalarValue::BinaryView(Some(bytes))),
        DataType::FixedSizeBinary(16) => {
            let bytes = hex(&text.replace('-', "")).filter(|bytes| bytes.len() == 16)?;
            Some(ScalarValue::FixedSizeBinary(16, Some(bytes)))
        }
        // Before our era DuckDB writes `(BC)`: no bound rather than a wrong one.
        DataType::Date32 | DataType::Timestamp(..) if text.contains("BC") => None,
        DataType::Date32 if text.ends_with("infinity") => {
            Some(ScalarValue::Date32(Some(if text.starts_with('-') { -i32::MAX } else { i32::MAX })))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) if text.ends_with("infinity") => {
            let time = if text.starts_with('-') { -i64::MAX } else { i64::MAX };
            Some(ScalarValue::TimestampMicrosecond(Some(time), zone.clone()))
        }
        DataType::Timestamp(unit, Some(zone)) => {
            let zoned = text.strip_suffix("+00").map(|text| format!("{text}Z"));
            let zoned = ScalarValue::Utf8(Some(zoned.unwrap_or_else(|| text.to_owned())));
            let zoned = zoned.cast_to(&DataType::Timestamp(*unit, Some("UTC".into()))).ok()?;
            non_null(zoned.cast_to(&DataType::Timestamp(*unit, Some(zone.clone()))).ok()?)
        }
        _ => non_null(ScalarValue::Utf8(Some(text.to_owned())).cast_to(kind).ok()?),
    }
}

fn non_null(value: ScalarValue) -> Option<ScalarValue> {
    (!value.is_null()).then_some(value)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The texts are those that DuckDB 1.5.5 wrote for the same values.
    #[test]
    fn texts_are_duckdbs_and_come_back() {
        let zone = || Some("UTC".into());
        for (value, text) in [
            (ScalarValue::Boolean(Some(true)), "1"),
            (ScalarValue::Int32(Some(-3)), "-3"),
            (ScalarValue::UInt64(Some(u64::MAX)), "18446744073709551615"),
            (ScalarValue::Float64(Some(99.0)), "99.0"),
            (ScalarValue::Float32(Some(-0.1)), "-0.1"),
            (ScalarValue::Decimal128(Some(-1230), 15, 2), "-12.30"),
            (ScalarValue::Decimal128(Some(-1), 38, 10), "-0.0000000001"),
            (ScalarValue::Utf8(Some("Zürich ' quote".into())), "Zürich ' quote"),
            (ScalarValue::Binary(Some(vec![0, 255, 97])), "00FF61"),
            (ScalarValue::Date32(Some(19_756)), "2024-02-03"),
            (ScalarValue::Date32(Some(i32::MAX)), "infinity"),
            (ScalarValue::TimestampMicrosecond(Some(-i64::MAX), zone()), "-infinity"),
            (ScalarValue::TimestampMicrosecond(Some(-1_000_000), None), "1969-12-31 23:59:59"),
            (
                ScalarValue::TimestampMicrosecond(Some(1_706_933_106_789_012), None),
                "2024-02-03 04:05:06.789012",
            ),
            (
                ScalarValue::TimestampMicrosecond(Some(1_706_933_106_789_012), zone()),
                "2024-02-03 04:05:06.789012+00",
            ),
            (ScalarValue::Time64Microsecond(Some(3_723_000_004)), "01:02:03.000004"),
        ] {
            assert_eq!(to_text(&value).as_deref(), Some(text), "{value:?}");
            assert_eq!(from_text(text, &value.data_type()), Some(value), "{text}");
        }
        assert_eq!(from_text("0044-03-15 (BC)", &DataType::Date32), None);
        assert_eq!(from_text("nonsense", &DataType::Int32), None);
    }
}
