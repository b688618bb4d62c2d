//! `bytea` and its text: `\x0aff`, or letters with escapes such as `\000`, is read (`byteain`), and the first is written
//! (`byteaout`). DataFusion takes the letters of a text for bytes, and bytes for letters.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BinaryArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::texts::encodings::{Problem, decoded};
use crate::Error;
use crate::functions::style::Style;
use crate::sqlstate::SqlState;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Way {
    Read,
    Shown,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bytes {
    way: Way,
    signature: Signature,
}

/// `sluice_bytea(text)` and `sluice_bytea_text(bytea)`.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    [Way::Read, Way::Shown].map(function).to_vec()
}

fn function(way: Way) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Bytes { way, signature: Signature::user_defined(Volatility::Immutable) }))
}

/// The bytes that the text `expr` says.
pub fn read(expr: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(function(Way::Read), vec![expr]))
}

/// The text of the bytes `expr`.
pub fn shown(expr: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(function(Way::Shown), vec![expr]))
}

/// The bytes of `\x0aff`, or of a text with escapes such as `\000` and `\\`.
pub fn bytes_of(text: &str) -> Result<Vec<u8>> {
    let (text, encoding) = match text.strip_prefix("\\x") {
        Some(digits) => (digits, "hex"),
        None => (text, "escape"),
    };
    let (code, message) = match decoded(text, encoding) {
        Some(Ok(bytes)) => return Ok(bytes),
        Some(Err(Problem::Invalid(message))) => ("22023", message),
        _ => ("22P02", "invalid input syntax for type bytea".to_owned()),
    };
    let error = Error::Stamped { sqlstate: SqlState::from_text(code), message };
    Err(DataFusionError::Execution(error.to_stamp()))
}

/// The text of `bytea`: `\\x` and hexadecimal digits, or with escapes.
pub fn put_bytes(bytes: &[u8], style: &Style, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if !style.has_escapes {
        out.reserve(2 + 2 * bytes.len());
        out.extend_from_slice(b"\\x");
        for byte in bytes {
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        }
        return;
    }
    for byte in bytes {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b' '..=b'~' => out.push(*byte),
            byte => {
                out.push(b'\\');
                out.extend([byte >> 6, byte >> 3 & 7, byte & 7].map(|digit| DIGITS[usize::from(digit)]));
            }
        }
    }
}

fn text_of(bytes: &[u8], style: &Style) -> String {
    let mut out = Vec::new();
    put_bytes(bytes, style, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

impl Way {
    fn apply(self, values: &ArrayRef, style: &Style) -> Result<ArrayRef> {
        Ok(match self {
            Self::Read => {
                let texts = cast(values, &DataType::Utf8)?;
                let read = texts.as_string::<i32>().iter().map(|text| text.map(bytes_of).transpose());
                Arc::new(read.collect::<Result<BinaryArray>>()?)
            }
            Self::Shown => {
                let bytes = cast(values, &DataType::Binary)?;
                let shown =
                    bytes.as_binary::<i32>().iter().map(|bytes| bytes.map(|bytes| text_of(bytes, style)));
                Arc::new(shown.collect::<StringArray>())
            }
        })
    }
}

impl ScalarUDFImpl for Bytes {
    fn name(&self) -> &str {
        match self.way {
            Way::Read => "sluice_bytea",
            Way::Shown => "sluice_bytea_text",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [kind] = types else { return Err(super::no_such_arguments(self.name())) };
        let (fits, wanted) = match self.way {
            Way::Read => (kind.is_string(), DataType::Utf8),
            Way::Shown => (kind.is_binary(), DataType::Binary),
        };
        if fits || kind.is_null() { Ok(vec![wanted]) } else { Err(super::no_such_arguments(self.name())) }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.way {
            Way::Read => DataType::Binary,
            Way::Shown => DataType::Utf8,
        })
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let style = Style::of_options(&args.config_options);
        match args.args.as_slice() {
            [ColumnarValue::Array(values)] => Ok(ColumnarValue::Array(self.way.apply(values, &style)?)),
            [ColumnarValue::Scalar(value)] => {
                let applied = self.way.apply(&value.to_array()?, &style)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&applied, 0)?))
            }
            _ => Err(super::no_such_arguments(self.name())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_hex_and_with_escapes() {
        assert_eq!(bytes_of("\\x00 Ff").ok(), Some(vec![0, 255]));
        assert_eq!(bytes_of("a\\\\b\\001").ok(), Some(vec![b'a', b'\\', b'b', 1]));
        let style = Style::default();
        assert_eq!(text_of(&[0, 255, 16], &style), "\\x00ff10");
        let escape = Style { has_escapes: true, ..style };
        assert_eq!(text_of(b"a\\\x00\xff~", &escape), "a\\\\\\000\\377~");
        for (text, code) in [("\\x0", "22023"), ("\\x0g", "22023"), ("a\\8", "22P02"), ("\\", "22P02")] {
            let refused = bytes_of(text).expect_err(text);
            assert!(refused.to_string().contains(code), "{text}: {refused}");
        }
    }
}
