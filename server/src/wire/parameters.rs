//! Reads the values of a Bind message.

use bytes::{Buf, Bytes};
use datafusion::arrow::array::{
    Array, ArrayBuilder, ArrayRef, ListArray, StringArray, StringBuilder, new_empty_array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{CastOptions, cast_with_options, concat};
use datafusion::arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use engine::functions::numbers::conversions;
use engine::functions::numbers::wide::{self, Number};
use engine::functions::style::Display;
use engine::{Error, Result};
use std::sync::Arc;

use super::encode::Format;
use super::frames::EVERYDAY_BYTES_MAX;
use crate::pg_catalog::types;
use crate::session::{Charge, Prepared};
use crate::sql::input;

const UUID: u32 = 2950;
const JSONB: u32 = 3802;
const DAYS_TO_2000: i32 = 10_957;
const MICROS_TO_2000: i64 = DAYS_TO_2000 as i64 * 86_400_000_000;

/// A text that stands for one number or instant is no longer; PostgreSQL's own bounds are far below.
const PLAIN_BYTES_MAX: usize = 4096;
/// Of a text that is no value, what an error repeats.
const SHOWN_BYTES_MAX: usize = 1000;
/// Items of an array that are read before they are laid into one of their type.
const CHUNK_ITEMS: usize = 8192;
/// A text is copied into the plan wherever the parameter stands, and again where the plan is carried out.
const TEXT_COPIES: usize = 2;

/// The values of a Bind for `prepared`, in the session's style. What they take is asked of `charge` before they are made.
pub fn decode(
    values: &[Option<Bytes>],
    codes: &[i16],
    prepared: &Prepared,
    display: &Display,
    charge: &mut Charge,
) -> Result<Vec<ScalarValue>> {
    let (types, oids) = (&prepared.parameter_types, &prepared.parameter_oids);
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
        .map(|(index, value)| {
            let format = format(index)?;
            let Some(value) = value else { return Ok(ScalarValue::try_from(&types[index])?) };
            if value.len() > EVERYDAY_BYTES_MAX {
                charge.resize(charge.bytes() + expected_bytes(value, format, &types[index]))?;
            }
            match format {
                Format::Text => from_text_in(value, &types[index], display),
                Format::Binary => from_binary(value.clone(), &types[index], oids[index]),
            }
        })
        .collect()
}

/// What reading `value` takes at most, in bytes, from what can be seen without reading it.
fn expected_bytes(value: &[u8], format: Format, data_type: &DataType) -> usize {
    let DataType::List(item) = data_type else { return value.len() };
    let items = match format {
        Format::Text => value.iter().filter(|byte| **byte == b',').count() + 1,
        Format::Binary => value.len() / 4,
    };
    // The items in pieces, and all of them laid together: a text with its offset, or a number.
    let each = item.data_type().primitive_width().map_or(8, |width| width + 1);
    let texts = if item.data_type().is_primitive() { 0 } else { value.len() };
    2 * (items * each + texts)
}

/// What `values` take while a statement of the text `sql` is bound to them and runs, in bytes.
pub fn held_bytes(values: &[ScalarValue], sql: &str) -> usize {
    let held = |(index, value): (usize, &ScalarValue)| match value {
        small if small.size() <= EVERYDAY_BYTES_MAX => small.size(),
        // Shared by all that stand for it, and laid out once for those that compute with it.
        ScalarValue::List(_) => 2 * value.size(),
        _ => value.size() * (1 + TEXT_COPIES * occurrences(sql, index + 1)),
    };
    values.iter().enumerate().map(held).sum()
}

/// How often `$number` stands in `sql`, and once where it stands nowhere.
fn occurrences(sql: &str, number: usize) -> usize {
    let name = format!("${number}");
    let is_whole = |at: usize| !sql[at + name.len()..].starts_with(|next: char| next.is_ascii_digit());
    sql.match_indices(&name).filter(|(at, _)| is_whole(*at)).count().max(1)
}

/// As much of `text` as an error repeats.
fn shown(text: &str) -> std::borrow::Cow<'_, str> {
    if text.len() <= SHOWN_BYTES_MAX {
        return text.into();
    }
    format!("{} …", &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)]).into()
}

/// The value that a text stands for, as PostgreSQL reads it where clocks are those of UTC.
pub fn from_text(value: &[u8], data_type: &DataType) -> Result<ScalarValue> {
    from_text_in(value, data_type, &Display::utc())
}

/// The value that a text stands for, as PostgreSQL reads it in a session of this style.
pub fn from_text_in(value: &[u8], data_type: &DataType, display: &Display) -> Result<ScalarValue> {
    let text = std::str::from_utf8(value).map_err(|_| Error::InvalidEncoding {
        message: "invalid byte sequence for encoding \"UTF8\"".into(),
    })?;
    if text.contains('\0') {
        let message = "invalid byte sequence for encoding \"UTF8\": 0x00".to_owned();
        return Err(Error::InvalidEncoding { message });
    }
    let invalid = || Error::InvalidText {
        message: format!(
            "invalid input syntax for type {}: \"{}\"",
            types::of_data_type(data_type).sql_name,
            shown(text)
        ),
    };
    let is_long = matches!(
        data_type,
        DataType::Utf8
            | DataType::Utf8View
            | DataType::LargeUtf8
            | DataType::Binary
            | DataType::BinaryView
            | DataType::List(_)
    );
    if !is_long && text.len() > PLAIN_BYTES_MAX {
        return Err(invalid());
    }
    match data_type {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => {
            Ok(ScalarValue::Utf8(Some(text.to_owned())))
        }
        DataType::Boolean => match text.trim().to_ascii_lowercase().as_str() {
            "t" | "true" | "1" | "on" | "yes" | "y" => Ok(ScalarValue::Boolean(Some(true))),
            "f" | "false" | "0" | "off" | "no" | "n" => Ok(ScalarValue::Boolean(Some(false))),
            _ => Err(invalid()),
        },
        DataType::Binary | DataType::BinaryView => {
            input::bytea(text).map(|bytes| ScalarValue::Binary(Some(bytes))).ok_or_else(invalid)
        }
        DataType::List(item) => {
            let mut items = TextItems::new(item.data_type(), display);
            array_items(text, |text| items.take(text)).ok_or_else(invalid)?;
            let values = items.finish().ok_or_else(invalid)?;
            list(values, item.data_type()).ok_or_else(invalid)
        }
        DataType::Float64 => {
            let read =
                conversions::read_double(text).map_err(|error| Error::from_datafusion_error(&error))?;
            Ok(ScalarValue::Float64(Some(read)))
        }
        DataType::Float32 => {
            let read =
                conversions::read_single(text).map_err(|error| Error::from_datafusion_error(&error))?;
            Ok(ScalarValue::Float32(Some(read)))
        }
        DataType::LargeBinary => exact_numeric(text),
        DataType::Decimal128(..) if is_any_numeric(data_type) => exact_numeric(text),
        other => {
            if let Some(read) = engine::functions::instants::read_text(text, other, display) {
                return read;
            }
            let texts: ArrayRef = Arc::new(StringArray::from(vec![text.trim()]));
            let parsed = parse(&texts, other).map_err(|_| invalid())?;
            Ok(ScalarValue::try_from_array(&parsed, 0)?)
        }
    }
}

/// True for `numeric` without precision and scale, as [`types::parameter_type`] stands for it.
fn is_any_numeric(data_type: &DataType) -> bool {
    types::parameter_type(types::NUMERIC.oid).as_ref() == Some(data_type)
}

/// A value as a parameter of a `numeric` type: with its own digits where the type has none.
pub fn numeric_of(value: &ScalarValue, wanted: &DataType) -> Result<ScalarValue> {
    if !is_any_numeric(wanted) && *wanted != DataType::LargeBinary {
        return number_as(value, wanted);
    }
    match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => exact_numeric(text),
        ScalarValue::Decimal128(..) | ScalarValue::LargeBinary(_) => Ok(value.clone()),
        value => {
            let number = number_as(value, &wide::TYPE)?;
            Ok(match number {
                ScalarValue::LargeBinary(Some(bytes)) => wide::literal(&wide::decode(&bytes)),
                other => other,
            })
        }
    }
}

/// An array of numbers as a parameter of type `numeric[]`.
pub fn numbers_of(list: &ListArray) -> Result<ScalarValue> {
    let items = conversions::converted(list.values(), &wide::TYPE);
    let items = items.map_err(|error| Error::from_datafusion_error(&error))?;
    let field = Arc::new(Field::new_list_field(wide::TYPE, true));
    let list = ListArray::new(field, list.offsets().clone(), items, list.nulls().cloned());
    Ok(ScalarValue::List(Arc::new(list)))
}

/// A number, or the text of one, as a number of another type.
pub fn number_as(value: &ScalarValue, wanted: &DataType) -> Result<ScalarValue> {
    let one = value.to_array()?;
    let one = conversions::converted(&one, wanted).map_err(|error| Error::from_datafusion_error(&error))?;
    Ok(ScalarValue::try_from_array(&one, 0)?)
}

/// A number with the digits it was sent with.
fn exact_numeric(text: &str) -> Result<ScalarValue> {
    let number = Number::read(text).map_err(|fault| Error::from_datafusion_error(&wide::error(fault)))?;
    Ok(wide::literal(&number))
}

/// Text to values by Arrow's own parsers; what does not parse is an error, not null.
pub fn parse(
    texts: &ArrayRef,
    data_type: &DataType,
) -> std::result::Result<ArrayRef, datafusion::arrow::error::ArrowError> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(texts, data_type, &options)
}

fn list(values: ArrayRef, item: &DataType) -> Option<ScalarValue> {
    i32::try_from(values.len()).ok()?;
    let field = Arc::new(Field::new_list_field(item.clone(), true));
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    let list = ListArray::try_new(field, offsets, values, None).ok()?;
    Some(ScalarValue::List(Arc::new(list)))
}

/// Pieces of one array.
fn joined(pieces: &[ArrayRef], item: &DataType) -> Option<ArrayRef> {
    match pieces {
        [] => Some(new_empty_array(item)),
        [one] => Some(Arc::clone(one)),
        many => concat(&many.iter().map(AsRef::as_ref).collect::<Vec<_>>()).ok(),
    }
}

/// Items of an array as they are read from a text, laid into arrays of their type piece by piece.
struct TextItems<'a> {
    item: &'a DataType,
    display: &'a Display,
    texts: StringBuilder,
    pieces: Vec<ArrayRef>,
}

impl<'a> TextItems<'a> {
    fn new(item: &'a DataType, display: &'a Display) -> Self {
        Self { item, display, texts: StringBuilder::new(), pieces: Vec::new() }
    }

    /// Takes the next; `None` when what there is are no values of the type.
    fn take(&mut self, text: Option<&str>) -> Option<()> {
        self.texts.append_option(text);
        if self.texts.len() >= CHUNK_ITEMS { self.lay() } else { Some(()) }
    }

    fn lay(&mut self) -> Option<()> {
        let texts = self.texts.finish();
        if !self.item.is_temporal() && !wide::is_wide(self.item) {
            let texts: ArrayRef = Arc::new(texts);
            self.pieces.push(parse(&texts, self.item).ok()?);
            return Some(());
        }
        let value = |text: Option<&str>| match text {
            None => ScalarValue::try_from(self.item).ok(),
            Some(text) => item_as(&from_text_in(text.as_bytes(), self.item, self.display).ok()?, self.item),
        };
        let values: Vec<ScalarValue> = texts.iter().map(value).collect::<Option<_>>()?;
        self.pieces.push(ScalarValue::iter_to_array(values).ok()?);
        Some(())
    }

    fn finish(mut self) -> Option<ArrayRef> {
        if !self.texts.is_empty() {
            self.lay()?;
        }
        joined(&self.pieces, self.item)
    }
}

/// A value as an item of an array.
fn item_as(value: &ScalarValue, item: &DataType) -> Option<ScalarValue> {
    if wide::is_wide(item) { number_as(value, item).ok() } else { value.cast_to(item).ok() }
}

/// Gives `take` each item of a one-dimensional `{1,NULL,"a b"}`; `None` when it is malformed, or `take` says so.
fn array_items(text: &str, mut take: impl FnMut(Option<&str>) -> Option<()>) -> Option<()> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    if inner.trim().is_empty() {
        return Some(());
    }
    let mut letters = inner.chars().peekable();
    let mut item = String::new();
    loop {
        item.clear();
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
        take((!is_null).then(|| if was_quoted { item.as_str() } else { item.trim() }))?;
        if letters.next().is_none() {
            return Some(());
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
        DataType::Binary | DataType::BinaryView => ScalarValue::Binary(Some(value.to_vec())),
        DataType::Date32 => {
            needs(4)?;
            let days = match value.get_i32() {
                i32::MAX => i32::MAX,
                i32::MIN => -i32::MAX,
                days => days.checked_add(DAYS_TO_2000).ok_or_else(invalid)?,
            };
            ScalarValue::Date32(Some(days))
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
            let micros = match value.get_i64() {
                i64::MAX => i64::MAX,
                i64::MIN => -i64::MAX,
                micros => micros.checked_add(MICROS_TO_2000).ok_or_else(invalid)?,
            };
            let instant = ScalarValue::TimestampMicrosecond(Some(micros), zone.clone());
            instant.cast_to(&DataType::Timestamp(*unit, zone.clone()))?
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            needs(16)?;
            let nanos = value.get_i64().checked_mul(1000).ok_or_else(invalid)?;
            let (days, months) = (value.get_i32(), value.get_i32());
            ScalarValue::new_interval_mdn(months, days, nanos)
        }
        DataType::Decimal128(..) | DataType::Decimal256(..) | DataType::LargeBinary => {
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
    if value.len() != usize::from(groups) * 2 {
        return None;
    }
    match sign {
        0 | 0x4000 => {}
        0xC000 => return Some("NaN".to_owned()),
        0xD000 => return Some("Infinity".to_owned()),
        0xF000 => return Some("-Infinity".to_owned()),
        _ => return None,
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
    let count = usize::try_from(value.get_i32()).ok()?;
    let _lower_bound = value.get_i32();
    let null = ScalarValue::try_from(item).ok()?;
    let mut pieces = Vec::new();
    let mut items = Vec::with_capacity(count.min(CHUNK_ITEMS));
    for _ in 0..count {
        if items.len() == CHUNK_ITEMS {
            pieces.push(ScalarValue::iter_to_array(items.drain(..)).ok()?);
        }
        if value.len() < 4 {
            return None;
        }
        let length = value.get_i32();
        if length < 0 {
            items.push(null.clone());
            continue;
        }
        let length = length as usize;
        if value.len() < length {
            return None;
        }
        match from_binary(value.split_to(length), item, oid) {
            // Numerics come with digits of their own.
            Ok(scalar) if scalar.data_type() != *item => items.push(item_as(&scalar, item)?),
            Ok(scalar) => items.push(scalar),
            Err(error) => return Some(Err(error)),
        }
    }
    if !value.is_empty() {
        return None;
    }
    if !items.is_empty() {
        pieces.push(ScalarValue::iter_to_array(items).ok()?);
    }
    list(joined(&pieces, item)?, item).map(Ok)
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
        assert_eq!(from_text(b"1E+3", &any).expect("a number"), ScalarValue::Decimal128(Some(1000), 4, 0));
        assert_eq!(from_text(b"1.5e-3", &any).expect("a number"), ScalarValue::Decimal128(Some(15), 4, 4));
        assert_eq!(from_text(b"1,5", &any).expect_err("no number").sqlstate().as_str(), "22P02");
    }

    #[test]
    fn array_literals_have_quotes_and_nulls() {
        let items = |text| {
            let mut items = Vec::new();
            let read = array_items(text, |item| {
                items.push(item.map(str::to_owned));
                Some(())
            });
            read.map(|()| items)
        };
        let some = |text: &str| Some(text.to_owned());
        let read = items(r#"{1,NULL,"a ,b","x\"y"}"#).expect("an array");
        assert_eq!(read, [some("1"), None, some("a ,b"), some("x\"y")]);
        let spaced = items(r#"{"p", "f" , g}"#).expect("an array");
        assert_eq!(spaced, [some("p"), some("f"), some("g")]);
        assert!(items("{{1},{2}}").is_none());
        assert_eq!(occurrences("select $1, $10 || $1", 1), 2);
    }

    #[test]
    fn long_arrays_are_read_piece_by_piece() {
        let int4s = DataType::List(Arc::new(Field::new_list_field(DataType::Int32, true)));
        let count = 3 * CHUNK_ITEMS + 1;
        let text = format!("{{{}NULL}}", "7,".repeat(count - 1));
        let read = from_text(text.as_bytes(), &int4s).expect("an array");
        let mut binary: Vec<u8> =
            [1, 1, types::INT4.oid as i32, count as i32, 1].map(i32::to_be_bytes).concat();
        binary.extend([0, 0, 0, 4, 0, 0, 0, 7].repeat(count - 1));
        binary.extend((-1i32).to_be_bytes());
        let same = from_binary(Bytes::from(binary.clone()), &int4s, 0).expect("an array");
        assert_eq!(read, same);
        let ScalarValue::List(list) = read else { panic!("no list") };
        assert_eq!((list.value(0).len(), list.value(0).null_count()), (count, 1));
        binary.push(0);
        let error = from_binary(Bytes::from(binary), &int4s, 0).expect_err("a byte too much");
        assert_eq!(error.sqlstate().as_str(), "22P03");
        let error =
            from_text(format!("{{{}x}}", "7,".repeat(count)).as_bytes(), &int4s).expect_err("no number");
        assert!(error.sqlstate().as_str() == "22P02" && error.to_string().len() < 2 * SHOWN_BYTES_MAX);
    }
}
