//! Arithmetic that fails where PostgreSQL's does: whole numbers that overflow (22003), division of
//! floating-point numbers by zero (22012). DataFusion's operators wrap round and give infinity.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Datum};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::Error;

/// The operators that are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Checked {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// `name(a, b)`: two numbers of one type give one of that type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Arithmetic {
    name: &'static str,
    operation: Checked,
    signature: Signature,
}

const ALL: [(&str, Checked); 4] = [
    ("sluice_add", Checked::Add),
    ("sluice_subtract", Checked::Subtract),
    ("sluice_multiply", Checked::Multiply),
    ("sluice_divide", Checked::Divide),
];

/// Every function of this file.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let function = |(name, operation)| {
        let signature = Signature::any(2, Volatility::Immutable);
        Arc::new(ScalarUDF::from(Arithmetic { name, operation, signature }))
    };
    ALL.map(function).to_vec()
}

/// The function that checks `operator` between two values of `data_type`, when its result must be
/// checked.
pub fn checked(operator: Operator, data_type: &DataType) -> Option<Arc<ScalarUDF>> {
    let operation = match (operator, data_type.is_signed_integer(), is_float(data_type)) {
        (Operator::Plus, true, _) => Checked::Add,
        (Operator::Minus, true, _) => Checked::Subtract,
        (Operator::Multiply, true, _) => Checked::Multiply,
        (Operator::Divide, true, _) | (Operator::Divide, _, true) => Checked::Divide,
        _ => return None,
    };
    let (name, operation) = *ALL.iter().find(|(_, known)| *known == operation)?;
    let signature = Signature::any(2, Volatility::Immutable);
    Some(Arc::new(ScalarUDF::from(Arithmetic { name, operation, signature })))
}

/// True for the functions of this file.
pub fn is_ours(function: &ScalarUDF) -> bool {
    ALL.iter().any(|(name, _)| *name == function.name())
}

fn is_float(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float32 | DataType::Float64)
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types
            .first()
            .cloned()
            .ok_or_else(|| DataFusionError::Plan(format!("{} takes two arguments", self.name)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = <[ColumnarValue; 2]>::try_from(args.args)
            .map_err(|_| DataFusionError::Plan(format!("{} takes two arguments", self.name)))?;
        let are_constant = matches!((&left, &right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let data_type = left.data_type();
        let (left, right) = (Operand::new(left)?, Operand::new(right)?);
        let computed = match self.operation {
            Checked::Add => numeric::add(left.datum(), right.datum()),
            Checked::Subtract => numeric::sub(left.datum(), right.datum()),
            Checked::Multiply => numeric::mul(left.datum(), right.datum()),
            Checked::Divide => {
                if is_float(&data_type) && right.has_zero() {
                    return Err(stamped(&Error::DivisionByZero));
                }
                numeric::div(left.datum(), right.datum())
            }
        };
        let array = computed.map_err(|error| match error {
            ArrowError::ArithmeticOverflow(_) => stamped(&out_of_range(&data_type)),
            ArrowError::DivideByZero => stamped(&Error::DivisionByZero),
            other => DataFusionError::from(other),
        })?;
        if are_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// One side: an array, or one value for all rows.
enum Operand {
    Array(ArrayRef),
    Scalar(datafusion::arrow::array::Scalar<ArrayRef>, ArrayRef),
}

impl Operand {
    fn new(value: ColumnarValue) -> Result<Self> {
        Ok(match value {
            ColumnarValue::Array(array) => Self::Array(array),
            ColumnarValue::Scalar(scalar) => {
                let array = scalar.to_array()?;
                Self::Scalar(datafusion::arrow::array::Scalar::new(Arc::clone(&array)), array)
            }
        })
    }

    fn datum(&self) -> &dyn Datum {
        match self {
            Self::Array(array) => array,
            Self::Scalar(scalar, _) => scalar,
        }
    }

    /// True when a value that is not null is zero.
    fn has_zero(&self) -> bool {
        let (Self::Array(array) | Self::Scalar(_, array)) = self;
        match array.data_type() {
            DataType::Float32 => array.as_primitive::<Float32Type>().iter().flatten().any(|v| v == 0.0),
            _ => array.as_primitive::<Float64Type>().iter().flatten().any(|v| v == 0.0),
        }
    }
}

fn out_of_range(data_type: &DataType) -> Error {
    let name = match data_type {
        DataType::Int8 | DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        _ => "bigint",
    };
    Error::OutOfRange { message: format!("{name} out of range") }
}

fn stamped(error: &Error) -> DataFusionError {
    DataFusionError::Execution(error.to_stamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Float64Array, Int32Array};
    use datafusion::arrow::datatypes::Field;
    use datafusion::config::ConfigOptions;

    fn run(operator: Operator, left: ArrayRef, right: ScalarValue) -> Result<ColumnarValue> {
        let field = Arc::new(Field::new("x", left.data_type().clone(), true));
        let function = checked(operator, left.data_type()).expect("a checked operator");
        function.invoke_with_args(ScalarFunctionArgs {
            number_rows: left.len(),
            args: vec![ColumnarValue::Array(left), ColumnarValue::Scalar(right)],
            arg_fields: vec![Arc::clone(&field), Arc::clone(&field)],
            return_field: field,
            config_options: Arc::new(ConfigOptions::default()),
        })
    }

    #[test]
    fn overflow_and_division_by_zero_are_errors() {
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(i32::MAX)]));
        let overflow = run(Operator::Plus, Arc::clone(&numbers), ScalarValue::Int32(Some(1)));
        assert_eq!(Error::from(overflow.expect_err("too large")).sqlstate().as_str(), "22003");
        run(Operator::Plus, numbers, ScalarValue::Int32(Some(0))).expect("in range");
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None]));
        let zero = run(Operator::Divide, Arc::clone(&floats), ScalarValue::Float64(Some(0.0)));
        assert_eq!(Error::from(zero.expect_err("by zero")).sqlstate().as_str(), "22012");
        run(Operator::Divide, floats, ScalarValue::Float64(Some(2.0))).expect("in range");
    }
}
