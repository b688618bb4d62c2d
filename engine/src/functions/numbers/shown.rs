//! Floating-point numbers as texts, as PostgreSQL writes them: `1e+16`, `-Infinity`; and a `numeric` without precision, which is
//! kept with more digits than it has.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::digits;
use super::wide::decode;
use crate::functions::floats;
use crate::functions::style::Style;

const NAME: &str = "sluice_float_text";

/// `sluice_float_text(x)`: the text of a floating-point number.
pub fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Shown { signature: Signature::any(1, Volatility::Immutable) }))
}

/// The text of `expr`.
pub fn shown(expr: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(function(), vec![expr]))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Shown {
    signature: Signature,
}

impl ScalarUDFImpl for Shown {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(value) = args.args.into_iter().next() else {
            return Err(DataFusionError::Plan(format!("{NAME} takes a floating-point number")));
        };
        let extra = Style::of_options(&args.config_options).float_digits;
        let is_constant = matches!(value, ColumnarValue::Scalar(_));
        let values = value.into_array(if is_constant { 1 } else { args.number_rows })?;
        let texts: StringArray = match values.data_type() {
            DataType::Float32 => {
                let values = values.as_primitive::<Float32Type>();
                values.iter().map(|value| value.map(|value| floats::single_with(value, extra))).collect()
            }
            kind if let Some(scale) = digits::bare_scale(kind) => {
                let values = values.as_primitive::<Decimal128Type>();
                let text = |value| {
                    let (value, scale) = digits::least(value, scale);
                    digits::shown(value, scale)
                };
                values.iter().map(|value| value.map(text)).collect()
            }
            // What was a number of any scale when it was planned may have turned out to have one, or to be whole.
            DataType::Decimal128(_, scale) => {
                let scale = *scale;
                let values = values.as_primitive::<Decimal128Type>();
                values.iter().map(|value| value.map(|value| digits::shown(value, scale))).collect()
            }
            kind if kind.is_integer() => cast(&values, &DataType::Utf8)?.as_string::<i32>().clone(),
            DataType::LargeBinary => {
                let values = values.as_binary::<i64>();
                values.iter().map(|bytes| bytes.map(|bytes| decode(bytes).shown())).collect()
            }
            _ => {
                let values = cast(&values, &DataType::Float64)?;
                values
                    .as_primitive::<Float64Type>()
                    .iter()
                    .map(|value| value.map(|value| floats::double_with(value, extra)))
                    .collect()
            }
        };
        let texts: ArrayRef = Arc::new(texts);
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&texts, 0)?));
        }
        Ok(ColumnarValue::Array(texts))
    }
}
