//! How long a pattern may be. What reads one makes some hundred bytes of each of its letters before anything bounds that:
//! a pattern of five megabytes, which a statement may compute, took two gigabytes.

use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{Like, ScalarFunction};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::Error;
use crate::sqlstate::SqlState;

const NAME: &str = "sluice_pattern";
/// Bytes of a pattern.
const PATTERN_BYTES_MAX: usize = 64 << 10;
/// A constant up to this size needs no look when the statement runs.
const PLAIN_BYTES: usize = 1000;

/// Refuses regular expressions that are too long to be read.
pub fn check(patterns: &ColumnarValue) -> Result<()> {
    if longest(patterns) <= PATTERN_BYTES_MAX {
        return Ok(());
    }
    // PostgreSQL's words for one that is too large for it.
    Err(DataFusionError::External(Box::new(Error::Stamped {
        sqlstate: SqlState::from_text("2201B"),
        message: "invalid regular expression: regular expression is too complex".to_owned(),
    })))
}

fn longest(patterns: &ColumnarValue) -> usize {
    match patterns {
        ColumnarValue::Scalar(pattern) => pattern.try_as_str().flatten().map_or(0, str::len),
        ColumnarValue::Array(patterns) => {
            let longest = match patterns.data_type() {
                DataType::Utf8 => patterns.as_string::<i32>().iter().flatten().map(str::len).max(),
                DataType::LargeUtf8 => patterns.as_string::<i64>().iter().flatten().map(str::len).max(),
                DataType::Utf8View => patterns.as_string_view().iter().flatten().map(str::len).max(),
                _ => None,
            };
            longest.unwrap_or(0)
        }
    }
}

/// `sluice_pattern(text)`: the same text, unless it is too long for the pattern of a LIKE.
pub fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Pattern { signature: Signature::any(1, Volatility::Immutable) }))
}

/// `like`, with a look at its pattern where that may be long.
pub fn checked(like: Like) -> std::result::Result<Like, Like> {
    let is_plain = match like.pattern.as_ref() {
        Expr::Literal(value, _) => value.try_as_str().flatten().is_none_or(|text| text.len() <= PLAIN_BYTES),
        Expr::ScalarFunction(call) => call.func.name() == NAME,
        _ => false,
    };
    if is_plain {
        return Err(like);
    }
    let pattern = Expr::ScalarFunction(ScalarFunction::new_udf(function(), vec![*like.pattern]));
    Ok(Like { pattern: Box::new(pattern), ..like })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Pattern {
    signature: Signature,
}

impl ScalarUDFImpl for Pattern {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let [pattern] = types else {
            return Err(DataFusionError::Plan(format!("{NAME} takes one argument")));
        };
        Ok(pattern.clone())
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(pattern) = args.args.into_iter().next() else {
            return Err(DataFusionError::Plan(format!("{NAME} takes one argument")));
        };
        if longest(&pattern) > PATTERN_BYTES_MAX {
            return Err(DataFusionError::External(Box::new(Error::TooLarge {
                message: format!("a LIKE pattern may have {PATTERN_BYTES_MAX} bytes at most"),
                hint: "Use position(), starts_with() or =, which take texts of any length.".to_owned(),
            })));
        }
        Ok(pattern)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, StringArray, StringViewArray};
    use datafusion::common::ScalarValue;

    use super::*;

    #[test]
    fn patterns_are_measured_wherever_they_lie() {
        let long = "a".repeat(PATTERN_BYTES_MAX + 1);
        let arrays: [ArrayRef; 2] = [
            Arc::new(StringArray::from(vec![None, Some("a"), Some(long.as_str())])),
            Arc::new(StringViewArray::from(vec![None, Some("a"), Some(long.as_str())])),
        ];
        for array in arrays {
            assert!(check(&ColumnarValue::Array(Arc::clone(&array))).is_err());
            assert!(check(&ColumnarValue::Array(array.slice(0, 2))).is_ok());
        }
        assert!(check(&ColumnarValue::Scalar(ScalarValue::Utf8(Some(long)))).is_err());
        assert!(check(&ColumnarValue::Scalar(ScalarValue::Utf8(None))).is_ok());
    }
}
