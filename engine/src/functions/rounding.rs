//! A number with a fraction that becomes a whole one is rounded, as in PostgreSQL: half away from zero for
//! `numeric`, half to even for floating-point numbers. DataFusion's casts cut the fraction off.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

const NAME: &str = "sluice_round";

/// `sluice_round(number)`: the nearest whole number, of a type with room for it.
pub fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Round { signature: Signature::any(1, Volatility::Immutable) }))
}

/// True for the function of this file.
pub fn is_ours(function: &ScalarUDF) -> bool {
    function.name() == NAME
}

/// True for types whose values may have a fraction.
pub fn has_fraction(data_type: &DataType) -> bool {
    rounded_type(data_type).is_some()
}

fn rounded_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Float32 | DataType::Float64 => Some(data_type.clone()),
        DataType::Decimal128(_, scale) if *scale > 0 => Some(DataType::Decimal128(38, 0)),
        DataType::Decimal256(_, scale) if *scale > 0 => Some(DataType::Decimal256(76, 0)),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Round {
    signature: Signature,
}

impl ScalarUDFImpl for Round {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let rounded = types.first().and_then(rounded_type);
        rounded.ok_or_else(|| DataFusionError::Plan(format!("{NAME} takes a number with a fraction")))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let wrong = || DataFusionError::Plan(format!("{NAME} takes one argument"));
        let value = args.args.into_iter().next().ok_or_else(wrong)?;
        let is_constant = matches!(value, ColumnarValue::Scalar(_));
        let values = value.into_array(args.number_rows)?;
        let rounded = round(&values)?;
        if is_constant {
            return Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&rounded, 0)?));
        }
        Ok(ColumnarValue::Array(rounded))
    }
}

fn round(values: &ArrayRef) -> Result<ArrayRef> {
    Ok(match values.data_type() {
        DataType::Float32 => {
            let values = values.as_primitive::<Float32Type>();
            Arc::new(values.unary::<_, Float32Type>(f32::round_ties_even))
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>();
            Arc::new(values.unary::<_, Float64Type>(f64::round_ties_even))
        }
        kind => {
            let whole = rounded_type(kind).unwrap_or(DataType::Decimal128(38, 0));
            // Arrow rounds half away from zero when digits go.
            cast_with_options(values, &whole, &CastOptions { safe: false, ..CastOptions::default() })?
        }
    })
}
