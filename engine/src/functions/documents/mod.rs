//! `json`, `jsonb` and `uuid`, which are held as texts: what is cast to them is checked, and `jsonb` and `uuid` have one
//! text for each value.

mod json;
mod uuid;

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use self::json::Fault;
use super::lists::type_name;
use crate::{Error, SqlState};

/// What a text is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Json,
    Jsonb,
    Uuid,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Document {
    kind: Kind,
    signature: Signature,
}

/// `sluice_json(text)`, `sluice_jsonb(text)` and `sluice_uuid(text)`.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    [Kind::Json, Kind::Jsonb, Kind::Uuid]
        .map(|kind| {
            let signature = Signature::user_defined(Volatility::Immutable);
            Arc::new(ScalarUDF::from(Document { kind, signature }))
        })
        .to_vec()
}

/// Refuses (22P02) what is no JSON.
pub(super) fn check_json(text: &str) -> Result<()> {
    json::check(text).map_err(refused)
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Jsonb => "jsonb",
            Self::Uuid => "uuid",
        }
    }

    fn read(self, text: &str) -> Result<String> {
        match self {
            Self::Json => json::check(text).map(|()| text.to_owned()).map_err(refused),
            Self::Jsonb => json::normalised(text).map_err(refused),
            Self::Uuid => uuid::normalised(text).ok_or_else(|| {
                stamped(&Error::InvalidText {
                    message: format!("invalid input syntax for type uuid: \"{text}\""),
                })
            }),
        }
    }
}

impl ScalarUDFImpl for Document {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Json => "sluice_json",
            Kind::Jsonb => "sluice_jsonb",
            Kind::Uuid => "sluice_uuid",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [kind] if kind.is_string() || kind.is_null() => Ok(vec![DataType::Utf8]),
            [kind] => Err(stamped(&Error::Stamped {
                sqlstate: SqlState::from_text("42846"),
                message: format!("cannot cast type {} to {}", type_name(kind), self.kind.name()),
            })),
            _ => Err(DataFusionError::Plan(format!("{} takes one argument", self.name()))),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else {
            return Err(DataFusionError::Plan(format!("{} takes one argument", self.name())));
        };
        let is_constant = matches!(value, ColumnarValue::Scalar(_));
        let texts = cast(&value.to_array(if is_constant { 1 } else { args.number_rows })?, &DataType::Utf8)?;
        let texts = texts.as_string::<i32>().iter();
        let read = texts.map(|text| text.map(|text| self.kind.read(text)).transpose());
        let read: ArrayRef = Arc::new(read.collect::<Result<StringArray>>()?);
        debug_assert!(!is_constant || read.len() == 1);
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&read, 0)?));
        }
        Ok(ColumnarValue::Array(read))
    }
}

fn refused(fault: Fault) -> DataFusionError {
    stamped(&match fault {
        Fault::Invalid => Error::InvalidText { message: "invalid input syntax for type json".to_owned() },
        Fault::Unicode(message) => {
            Error::Stamped { sqlstate: SqlState::from_text("22P05"), message: message.to_owned() }
        }
        Fault::TooDeep => Error::TooComplex {
            message: "the document is nested too deeply".to_owned(),
            hint: "Nest it less deeply.".to_owned(),
        },
        Fault::TooLarge => Error::TooLarge {
            message: "the numbers of the document have too many digits".to_owned(),
            hint: "Write numbers with smaller exponents.".to_owned(),
        },
        Fault::NumberTooLarge => Error::OutOfRange { message: "value overflows numeric format".to_owned() },
    })
}

fn stamped(error: &Error) -> DataFusionError {
    DataFusionError::Execution(error.to_stamp())
}
