//! `numeric` as PostgreSQL has it: as many digits as a value needs, with a scale of its own, NaN and the infinities (decision 024).
//!
//! A decimal of Arrow's has the scale of its column. What has one for all rows, such as a column of `numeric(15, 2)`, a sum or
//! a product of such, is one: it is quick. Quotients, averages, roots and what is made of several scales are
//! *wide*: bytes (`LargeBinary`, which nothing else here is) in the order of the numbers, with the scale behind them.

pub mod calls;
pub(super) mod choices;
pub mod columns;
pub(super) mod mathematics;
pub mod stored;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;

use super::fault;
pub use super::value::{Fault, Finite, Moment, Number, decode, key};

/// The type of wide numbers.
pub const TYPE: DataType = DataType::LargeBinary;

/// True for the type of wide numbers.
pub fn is_wide(kind: &DataType) -> bool {
    *kind == TYPE
}

/// As what stops a query.
pub fn error(wrong: Fault) -> DataFusionError {
    fault(wrong.sqlstate(), wrong.message())
}

/// One value.
pub fn scalar(number: Option<&Number>) -> ScalarValue {
    ScalarValue::LargeBinary(number.map(|number| {
        let mut bytes = Vec::new();
        number.encode(&mut bytes);
        bytes
    }))
}

/// A literal for `number`: a decimal where it is finite and has room in one, since the scale of a literal is known.
pub fn literal(number: &Number) -> ScalarValue {
    let small = match number {
        Number::Finite(finite) => {
            i8::try_from(finite.scale).ok().filter(|scale| *scale <= 37).and_then(|scale| {
                let value = i128::try_from(&finite.unscaled).ok()?;
                let digits = super::digits::digits_of(value).max(scale as usize).max(1);
                let precision = u8::try_from(digits).ok().filter(|digits| *digits <= 38)?;
                Some(ScalarValue::Decimal128(Some(value), precision, scale))
            })
        }
        _ => None,
    };
    small.unwrap_or_else(|| scalar(Some(number)))
}

/// The text of one value; `None` for null and what is no wide number.
pub fn shown(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::LargeBinary(Some(bytes)) => Some(decode(bytes).shown()),
        _ => None,
    }
}
