//! Letters and bytes: `upper` and `lower` letter by letter, `chr`, `to_hex`, `encode` and `decode`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions::string;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::encodings::{self, Problem};
use super::{fault, is_of, text_at, texts};
use crate::functions::no_such_arguments;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    Upper,
    Lower,
    Chr,
    ToHex,
    Encode,
    Decode,
}

const ALL: [(&str, Function); 6] = [
    ("upper", Function::Upper),
    ("lower", Function::Lower),
    ("chr", Function::Chr),
    ("to_hex", Function::ToHex),
    ("encode", Function::Encode),
    ("decode", Function::Decode),
];

/// Every function of this file.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    ALL.map(|(name, function)| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(Letters { name, function, signature }))
    })
    .to_vec()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Letters {
    name: &'static str,
    function: Function,
    signature: Signature,
}

impl Letters {
    /// DataFusion's function, for texts of plain letters.
    fn plain(&self) -> Arc<ScalarUDF> {
        if self.function == Function::Upper { string::upper() } else { string::lower() }
    }
}

impl ScalarUDFImpl for Letters {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let is_text = |kind: &DataType| kind.is_string() || kind.is_null();
        let taken = match (self.function, types) {
            (Function::Upper | Function::Lower, [text]) if is_text(text) => {
                vec![if text.is_null() { DataType::Utf8 } else { text.clone() }]
            }
            (Function::Chr, [number]) if number.is_integer() || number.is_null() => vec![DataType::Int64],
            (Function::ToHex, [DataType::Int64 | DataType::UInt32 | DataType::UInt64]) => {
                vec![DataType::Int64]
            }
            (Function::ToHex, [number]) if number.is_integer() || number.is_null() => vec![DataType::Int32],
            (Function::Encode, [bytes, encoding])
                if (bytes.is_binary() || is_text(bytes)) && is_text(encoding) =>
            {
                vec![DataType::Binary, DataType::Utf8]
            }
            (Function::Decode, [text, encoding]) if is_text(text) && is_text(encoding) => {
                vec![DataType::Utf8, DataType::Utf8]
            }
            _ => {
                return Err(no_such_arguments(self.name));
            }
        };
        Ok(taken)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match self.function {
            Function::Upper | Function::Lower => self.plain().inner().return_type(types),
            Function::Chr | Function::ToHex | Function::Encode => Ok(DataType::Utf8),
            Function::Decode => Ok(DataType::Binary),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if matches!(self.function, Function::Upper | Function::Lower)
            && args.args.first().is_some_and(is_plain)
        {
            return self.plain().invoke_with_args(args);
        }
        let is_constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let kind = args.return_field.data_type().clone();
        let arrays: Vec<ArrayRef> =
            args.args.into_iter().map(|value| value.into_array(rows)).collect::<Result<_>>()?;
        let result = cast(&self.compute(&arrays, rows)?, &kind)?;
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// True when every letter has one byte.
fn is_plain(value: &ColumnarValue) -> bool {
    match value {
        ColumnarValue::Scalar(value) => value.try_as_str().flatten().is_none_or(str::is_ascii),
        ColumnarValue::Array(values) => match values.data_type() {
            DataType::Utf8 => values.as_string::<i32>().is_ascii(),
            DataType::LargeUtf8 => values.as_string::<i64>().is_ascii(),
            DataType::Utf8View => values.as_string_view().is_ascii(),
            _ => false,
        },
    }
}

/// The one letter that `changed` are, else `letter`: PostgreSQL changes no letter into two.
fn one(letter: char, mut changed: impl Iterator<Item = char>) -> char {
    match (changed.next(), changed.next()) {
        (Some(changed), None) => changed,
        // The only one whose plain small letter stands first.
        (Some('i'), Some(_)) if letter == '\u{130}' => 'i',
        _ => letter,
    }
}

impl Letters {
    fn compute(&self, args: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let wrong = || DataFusionError::Plan(format!("{} takes other arguments", self.name));
        let first = args.first().ok_or_else(wrong)?;
        Ok(match self.function {
            Function::Upper | Function::Lower => {
                let texts = texts(first)?;
                let is_upper = self.function == Function::Upper;
                let change = |letter: char| {
                    if is_upper {
                        one(letter, letter.to_uppercase())
                    } else {
                        one(letter, letter.to_lowercase())
                    }
                };
                let changed =
                    texts.iter().map(|text| text.map(|text| text.chars().map(change).collect::<String>()));
                Arc::new(changed.collect::<StringArray>())
            }
            Function::Chr => {
                let numbers = first.as_primitive::<Int64Type>();
                let letters = numbers.iter().map(|number| number.map(letter).transpose());
                Arc::new(letters.collect::<Result<StringArray>>()?)
            }
            Function::ToHex => match first.data_type() {
                DataType::Int32 => {
                    let numbers = first.as_primitive::<Int32Type>();
                    Arc::new(
                        numbers
                            .iter()
                            .map(|number| number.map(|n| format!("{n:x}")))
                            .collect::<StringArray>(),
                    )
                }
                _ => {
                    let numbers = first.as_primitive::<Int64Type>();
                    Arc::new(
                        numbers
                            .iter()
                            .map(|number| number.map(|n| format!("{n:x}")))
                            .collect::<StringArray>(),
                    )
                }
            },
            Function::Encode => {
                let bytes = first.as_binary::<i32>();
                let encodings = texts(args.get(1).ok_or_else(wrong)?)?;
                let encoded = (0..rows).map(|row| {
                    let Some(encoding) = text_at(&encodings, row).filter(|_| bytes.is_valid(row)) else {
                        return Ok(None);
                    };
                    encodings::encoded(bytes.value(row), encoding).map(Some).ok_or_else(|| unknown(encoding))
                });
                Arc::new(encoded.collect::<Result<StringArray>>()?)
            }
            Function::Decode => {
                let (values, encodings) = (texts(first)?, texts(args.get(1).ok_or_else(wrong)?)?);
                let decoded = (0..rows).map(|row| {
                    let (Some(text), Some(encoding)) = (text_at(&values, row), text_at(&encodings, row))
                    else {
                        return Ok(None);
                    };
                    match encodings::decoded(text, encoding) {
                        Some(Ok(bytes)) => Ok(Some(bytes)),
                        Some(Err(Problem::Invalid(reason))) => Err(fault(is_of::INVALID_PARAMETER, reason)),
                        Some(Err(Problem::Syntax)) => {
                            Err(fault(is_of::INVALID_TEXT, "invalid input syntax for type bytea".to_owned()))
                        }
                        None => Err(unknown(encoding)),
                    }
                });
                let decoded: Vec<Option<Vec<u8>>> = decoded.collect::<Result<_>>()?;
                Arc::new(decoded.iter().map(Option::as_deref).collect::<BinaryArray>())
            }
        })
    }
}

fn unknown(encoding: &str) -> DataFusionError {
    fault(is_of::INVALID_PARAMETER, format!("unrecognized encoding: \"{encoding}\""))
}

fn letter(number: i64) -> Result<String> {
    let refused = |sqlstate: &str, message: &str| Err(fault(sqlstate, message.to_owned()));
    match u32::try_from(number) {
        Err(_) if number < 0 => refused(is_of::INVALID_PARAMETER, "character number must be positive"),
        Ok(0) => refused(is_of::LIMIT, "null character not permitted"),
        Ok(code) if code <= 0x0010_FFFF => match char::from_u32(code) {
            Some(letter) => Ok(letter.to_string()),
            None => refused(is_of::LIMIT, "requested character not valid for encoding: surrogate"),
        },
        _ => refused(is_of::LIMIT, "requested character too large for encoding"),
    }
}
