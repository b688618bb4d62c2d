//! Arithmetic that fails where PostgreSQL's does: whole numbers that overflow, floating-point ones that do or come to nothing
//! (22003), and division of these by zero (22012). DataFusion's operators wrap round and give infinity.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Datum, Float64Array};
use datafusion::arrow::compute::cast;
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
        (Operator::Plus, true, _) | (Operator::Plus, _, true) => Checked::Add,
        (Operator::Minus, true, _) | (Operator::Minus, _, true) => Checked::Subtract,
        (Operator::Multiply, true, _) | (Operator::Multiply, _, true) => Checked::Multiply,
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
                if is_float(&data_type) && right.has_zero() && divides_by_zero(&left, &right)? {
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
        let array = match array.data_type() {
            DataType::Float32 => of_floats::<Float32Type>(array, self.operation, &left, &right)?,
            DataType::Float64 => of_floats::<Float64Type>(array, self.operation, &left, &right)?,
            _ => array,
        };
        if are_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// True when something that is a number is divided by zero: NaN is not.
fn divides_by_zero(left: &Operand, right: &Operand) -> Result<bool> {
    let (left, right) = (left.doubles()?, right.doubles()?);
    let rows = left.len().max(right.len());
    Ok((0..rows).any(|row| {
        value_at(&right, row) == Some(0.0) && value_at(&left, row).is_some_and(|left| !left.is_nan())
    }))
}

/// The value of a row, or the one for all of them.
fn value_at(values: &Float64Array, row: usize) -> Option<f64> {
    let row = if values.len() == 1 { 0 } else { row };
    (row < values.len() && values.is_valid(row)).then(|| values.value(row))
}

/// Looks over what came of floating-point numbers. Few results are infinite, no number or zero: only then is looked at what they
/// came of.
fn of_floats<T>(array: ArrayRef, operation: Checked, left: &Operand, right: &Operand) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: Into<f64> + Copy,
{
    let results = array.as_primitive::<T>();
    let may_vanish = matches!(operation, Checked::Multiply | Checked::Divide);
    let is_odd = |value: f64| !value.is_finite() || (may_vanish && value == 0.0);
    if !results.values().iter().any(|value| is_odd((*value).into())) {
        return Ok(array);
    }
    let (left, right) = (left.doubles()?, right.doubles()?);
    let mut has_nan = false;
    for (row, result) in results.iter().enumerate() {
        let (Some(result), Some(left), Some(right)) =
            (result.map(Into::<f64>::into), value_at(&left, row), value_at(&right, row))
        else {
            continue;
        };
        has_nan |= result.is_nan();
        if result.is_infinite() && left.is_finite() && right.is_finite() {
            return Err(stamped(&Error::OutOfRange { message: "value out of range: overflow".into() }));
        }
        let is_lost = may_vanish && result == 0.0 && left != 0.0 && right.is_finite();
        if is_lost && (operation == Checked::Divide || right != 0.0) {
            return Err(stamped(&Error::OutOfRange { message: "value out of range: underflow".into() }));
        }
    }
    if !has_nan {
        return Ok(array);
    }
    // What no number comes of has a sign here, by which it would be sorted; PostgreSQL has one such value.
    let positive = results.unary::<_, T>(|value| {
        let double: f64 = value.into();
        if double.is_nan() { not_a_number::<T>() } else { value }
    });
    Ok(Arc::new(positive))
}

fn not_a_number<T: ArrowPrimitiveType>() -> T::Native {
    let nan = match T::DATA_TYPE {
        DataType::Float32 => ScalarValue::Float32(Some(f32::NAN)),
        _ => ScalarValue::Float64(Some(f64::NAN)),
    };
    nan.to_array().map_or_else(|_| T::default_value(), |array| array.as_primitive::<T>().value(0))
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

    /// As doubles, for a look.
    fn doubles(&self) -> Result<Float64Array> {
        let (Self::Array(array) | Self::Scalar(_, array)) = self;
        Ok(cast(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
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
