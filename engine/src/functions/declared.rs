//! What a column takes of a value that is put into it, by the type that it was declared with: a text that is too long is refused,
//! blanks behind its length are cut (`varchar`, `bpchar`), a moment is rounded to its digits (`AdjustTimestampForTypmod`), a
//! `json` is checked. Texts of `char(n)` are kept without the blanks that pad them.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, ListArray, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{documents, no_such_arguments};
use crate::Error;
use crate::sqlstate::SqlState;

const NAME: &str = "sluice_declared";

/// `sluice_declared(value, type, modifier)`.
pub fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Declared { signature: Signature::any(3, Volatility::Immutable) }))
}

/// Whether values of a declared type are to be looked at.
pub fn is_checked(name: &str, modifier: i32) -> bool {
    Fit::of(name, modifier).is_some()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Declared {
    signature: Signature,
}

/// What is done to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// At most so many letters.
    Varying(usize),
    /// The same, without blanks at the end; any number of letters for `None`.
    Padded(Option<usize>),
    /// The first 63 bytes.
    Name,
    /// `"char"`: one byte, which may be written as `\\101`.
    Letter,
    Json,
    /// Rounded to this many microseconds.
    Rounded(i64),
}

impl Fit {
    fn of(name: &str, modifier: i32) -> Option<Self> {
        let length = usize::try_from(modifier - 4).ok();
        Some(match name {
            "varchar" => Self::Varying(length?),
            "bpchar" => Self::Padded(length),
            "name" => Self::Name,
            "char" => Self::Letter,
            "json" => Self::Json,
            "time" | "timestamp" | "timestamptz" => {
                let digits = u32::try_from(modifier).ok().filter(|digits| *digits < 6)?;
                Self::Rounded(10i64.pow(6 - digits))
            }
            _ => return None,
        })
    }

    fn text(self, text: &str) -> Result<&str> {
        match self {
            Self::Varying(length) => shortened(text, length, "character varying"),
            Self::Padded(length) => {
                let text = match length {
                    Some(length) => shortened(text, length, "character")?,
                    None => text,
                };
                Ok(text.trim_end_matches(' '))
            }
            Self::Name => Ok(&text[..text.floor_char_boundary(63)]),
            Self::Letter => letter(text),
            Self::Json => documents::check_json(text).map(|()| text),
            Self::Rounded(_) => Ok(text),
        }
    }

    /// To the nearest, halves away from zero.
    fn rounded(self, micros: i64) -> i64 {
        let Self::Rounded(unit) = self else { return micros };
        let half = unit / 2;
        match micros {
            0.. => micros.saturating_add(half) / unit * unit,
            _ => micros.saturating_sub(half) / unit * unit,
        }
    }

    fn apply(self, values: &ArrayRef) -> Result<ArrayRef> {
        const DAY: i64 = 86_400_000_000;
        Ok(match values.data_type() {
            kind if kind.is_string() => {
                let texts = cast(values, &DataType::Utf8)?;
                let fitted =
                    texts.as_string::<i32>().iter().map(|text| text.map(|text| self.text(text)).transpose());
                cast(&fitted.collect::<Result<StringArray>>()?, values.data_type())?
            }
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                let moments = values.as_primitive::<TimestampMicrosecondType>();
                let rounded: TimestampMicrosecondArray = moments.unary(|micros| self.rounded(micros));
                Arc::new(rounded.with_timezone_opt(zone.clone()))
            }
            DataType::Time64(TimeUnit::Microsecond) => {
                let times = values.as_primitive::<Time64MicrosecondType>();
                let rounded: Time64MicrosecondArray =
                    times.try_unary(|micros| match self.rounded(micros) {
                        DAY.. => Err(stamped("0A000", "the time 24:00:00 is not supported".to_owned())),
                        micros => Ok(micros),
                    })?;
                Arc::new(rounded)
            }
            DataType::List(item) => {
                let lists = values.as_list::<i32>();
                let fitted = self.apply(lists.values())?;
                Arc::new(ListArray::try_new(
                    Arc::clone(item),
                    lists.offsets().clone(),
                    fitted,
                    lists.nulls().cloned(),
                )?)
            }
            _ => Arc::clone(values),
        })
    }
}

/// The first `length` letters of `text`, behind which it may have blanks alone.
fn shortened<'a>(text: &'a str, length: usize, kind: &str) -> Result<&'a str> {
    if text.len() <= length {
        return Ok(text);
    }
    match text.char_indices().nth(length) {
        None => Ok(text),
        Some((end, _)) if text[end..].bytes().all(|byte| byte == b' ') => Ok(&text[..end]),
        Some(_) => Err(stamped("22001", format!("value too long for type {kind}({length})"))),
    }
}

/// The byte of a `"char"`, which has a text here where it is one of ASCII (`charin`).
fn letter(text: &str) -> Result<&str> {
    static ASCII: LazyLock<String> = LazyLock::new(|| (0..128u8).map(char::from).collect());
    let byte = match text.as_bytes() {
        [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7'] => {
            (a - b'0') << 6 | (b - b'0') << 3 | (c - b'0')
        }
        [] => 0,
        [first, ..] => *first,
    };
    match usize::from(byte) {
        0 => Ok(""),
        at @ ..128 => Ok(&ASCII[at..=at]),
        _ => Err(stamped("0A000", "a \"char\" beyond ASCII is not supported".to_owned())),
    }
}

fn stamped(sqlstate: &str, message: String) -> DataFusionError {
    let error = Error::Stamped { sqlstate: SqlState::from_text(sqlstate), message };
    DataFusionError::Execution(error.to_stamp())
}

impl ScalarUDFImpl for Declared {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.first().cloned().ok_or_else(|| no_such_arguments(NAME))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, ColumnarValue::Scalar(name), ColumnarValue::Scalar(modifier)] = args.args.as_slice()
        else {
            return Err(no_such_arguments(NAME));
        };
        let modifier = match modifier {
            ScalarValue::Int32(Some(modifier)) => *modifier,
            _ => -1,
        };
        let Some(fit) = Fit::of(name.try_as_str().flatten().unwrap_or_default(), modifier) else {
            return Ok(value.clone());
        };
        Ok(match value {
            ColumnarValue::Array(values) => ColumnarValue::Array(fit.apply(values)?),
            ColumnarValue::Scalar(scalar) => {
                let fitted = fit.apply(&scalar.to_array()?)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&fitted, 0)?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_fitted_as_postgres_fits_them() {
        let fit = |name: &str, modifier: i32| Fit::of(name, modifier).expect("a type that is checked");
        assert_eq!(fit("varchar", 7).text("äöü  ").ok(), Some("äöü"));
        assert_eq!(fit("varchar", 7).text("a ").ok(), Some("a "));
        assert_eq!(fit("bpchar", 7).text("a ").ok(), Some("a"));
        assert_eq!(fit("bpchar", -1).text("a long one  ").ok(), Some("a long one"));
        let refused = fit("bpchar", 5).text("cd").expect_err("too long").to_string();
        assert!(refused.contains("22001") && refused.contains("character%281%29"), "{refused}");
        assert_eq!(fit("name", -1).text(&"ä".repeat(40)).map(str::len).ok(), Some(62));
        assert_eq!(fit("char", -1).text("\\101").ok(), Some("A"));
        assert_eq!(fit("char", -1).text("abc").ok(), Some("a"));
        assert!(fit("char", -1).text("é").is_err());
        assert_eq!(fit("timestamp", 0).rounded(1_500_000), 2_000_000);
        assert_eq!(fit("timestamp", 3).rounded(-1_500), -2_000);
        assert_eq!(Fit::of("varchar", -1), None);
        assert_eq!(Fit::of("timestamp", 6), None);
    }
}
