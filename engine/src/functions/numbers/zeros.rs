//! Floating-point numbers with one zero and one value that is no number. By their bits, which they are sorted and looked up by,
//! `-0` is less than `0`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

const NAME: &str = "sluice_one_zero";

/// `sluice_one_zero(x)` of a floating-point number.
pub fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(OneZero { signature: Signature::any(1, Volatility::Immutable) }))
}

/// `expr` with one zero.
pub fn one_zero(expr: Expr) -> Expr {
    match &expr {
        Expr::ScalarFunction(call) if call.func.name() == NAME => expr,
        _ => Expr::ScalarFunction(ScalarFunction::new_udf(function(), vec![expr])),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OneZero {
    signature: Signature,
}

impl ScalarUDFImpl for OneZero {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [kind @ (DataType::Float32 | DataType::Float64)] => Ok(kind.clone()),
            _ => Err(DataFusionError::Plan(format!("{NAME} takes a floating-point number"))),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(value) = args.args.into_iter().next() else {
            return Err(DataFusionError::Plan(format!("{NAME} takes a floating-point number")));
        };
        Ok(match value {
            ColumnarValue::Array(values) => ColumnarValue::Array(plain(values)),
            ColumnarValue::Scalar(value) => {
                let values = plain(value.to_array()?);
                ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?)
            }
        })
    }
}

/// `batch` in which what is no number is the same everywhere. By its bits, with a sign it is less than all numbers.
pub fn one_no_number(batch: RecordBatch) -> Result<RecordBatch> {
    if !batch.columns().iter().any(has_signed_no_number) {
        return Ok(batch);
    }
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Float32 => {
            let change = |value: f32| if value.is_nan() { f32::NAN } else { value };
            Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(change)) as ArrayRef
        }
        DataType::Float64 => {
            let change = |value: f64| if value.is_nan() { f64::NAN } else { value };
            Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(change)) as ArrayRef
        }
        _ => Arc::clone(column),
    });
    Ok(RecordBatch::try_new(batch.schema(), columns.collect())?)
}

fn has_signed_no_number(values: &ArrayRef) -> bool {
    match values.data_type() {
        DataType::Float32 => {
            let floats = values.as_primitive::<Float32Type>().values();
            floats.iter().any(|value| value.is_nan() && value.is_sign_negative())
        }
        DataType::Float64 => {
            let floats = values.as_primitive::<Float64Type>().values();
            floats.iter().any(|value| value.is_nan() && value.is_sign_negative())
        }
        _ => false,
    }
}

/// The values as they are, where none has to change.
fn plain(values: ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float32 => {
            let floats = values.as_primitive::<Float32Type>();
            let is_odd = |value: &f32| value.is_sign_negative() && (*value == 0.0 || value.is_nan());
            if !floats.values().iter().any(is_odd) {
                return values;
            }
            let change = |value: f32| if value.is_nan() { f32::NAN } else { value + 0.0 };
            Arc::new(floats.unary::<_, Float32Type>(change))
        }
        DataType::Float64 => {
            let floats = values.as_primitive::<Float64Type>();
            let is_odd = |value: &f64| value.is_sign_negative() && (*value == 0.0 || value.is_nan());
            if !floats.values().iter().any(is_odd) {
                return values;
            }
            let change = |value: f64| if value.is_nan() { f64::NAN } else { value + 0.0 };
            Arc::new(floats.unary::<_, Float64Type>(change))
        }
        _ => values,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Float64Array;

    #[test]
    fn there_is_one_zero() {
        let values: ArrayRef =
            Arc::new(Float64Array::from(vec![Some(-0.0), None, Some(-f64::NAN), Some(-1.5)]));
        let plain = plain(values);
        let plain = plain.as_primitive::<Float64Type>();
        assert!(plain.value(0).is_sign_positive() && plain.value(2).is_sign_positive());
        assert!(plain.is_null(1));
        assert_eq!(plain.value(3), -1.5);
    }
}
