//! The functions that wide numbers are computed by. Users write operators and casts.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::super::conversions;
use super::super::value;
use super::columns::of_rows;
use super::{Number, TYPE, error, is_wide, literal};

/// What a function gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    /// A number of any type as a wide one.
    Widened,
    /// What equal numbers have in common: their bytes without the scale.
    Key,
    /// The same in letters: what windows are ordered by cannot be bytes.
    Letters,
    Sum,
    Difference,
    Product,
    Quotient,
    Remainder,
    Negated,
}

const ALL: [(&str, Function); 9] = [
    ("sluice_wide", Function::Widened),
    ("sluice_wide_key", Function::Key),
    ("sluice_wide_letters", Function::Letters),
    ("sluice_wide_sum", Function::Sum),
    ("sluice_wide_difference", Function::Difference),
    ("sluice_wide_product", Function::Product),
    ("sluice_quotient", Function::Quotient),
    ("sluice_wide_remainder", Function::Remainder),
    ("sluice_wide_negated", Function::Negated),
];

/// Every function of this file.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    ALL.map(|(_, function)| udf(function)).to_vec()
}

fn udf(function: Function) -> Arc<ScalarUDF> {
    let signature = Signature::variadic_any(Volatility::Immutable);
    Arc::new(ScalarUDF::from(Call { function, signature }))
}

fn call(function: Function, args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(udf(function), args))
}

fn is(expr: &Expr, function: Function) -> bool {
    matches!(expr, Expr::ScalarFunction(call)
        if ALL.iter().any(|(name, known)| *known == function && *name == call.func.name()))
}

/// True for what one of these functions gives that is a wide number.
pub fn is_number(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call)
    if ALL.iter().any(|(name, known)| {
        !matches!(known, Function::Key | Function::Letters) && *name == call.func.name()
    }))
}

/// `expr`, a number of any type, as a wide one.
pub fn widened(expr: Expr) -> Expr {
    call(Function::Widened, vec![expr])
}

/// The number that was widened, where `expr` says no more than that.
pub fn narrow(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if is(expr, Function::Widened) => call.args.first(),
        _ => None,
    }
}

/// What equal numbers have in common, of a wide number. It is in their order.
pub fn key(expr: Expr) -> Expr {
    if is(&expr, Function::Key) { expr } else { call(Function::Key, vec![expr]) }
}

/// The same in letters, for windows.
pub fn letters(expr: Expr) -> Expr {
    call(Function::Letters, vec![expr])
}

/// `-` of a wide number.
pub fn negated(expr: Expr) -> Expr {
    call(Function::Negated, vec![expr])
}

/// The quotient of two decimals, where both are written in the statement.
pub fn quotient_of_literals(dividend: &Expr, divisor: &Expr) -> Option<Expr> {
    let (
        Some(ScalarValue::Decimal128(Some(left), _, left_scale)),
        Some(ScalarValue::Decimal128(Some(right), _, right_scale)),
    ) = (conversions::literal(dividend), conversions::literal(divisor))
    else {
        return None;
    };
    let quotient = Number::of_decimal(left, left_scale).divide(&Number::of_decimal(right, right_scale));
    Some(Expr::Literal(literal(&quotient.ok()?), None))
}

/// What an operator makes of two decimals that are written in the statement, where no decimal holds it.
pub fn long_result(left: &Expr, op: Operator, right: &Expr) -> Option<Expr> {
    let number = |expr: &Expr| match conversions::literal(expr)? {
        ScalarValue::Decimal128(Some(value), _, scale) => Some(Number::of_decimal(value, scale)),
        _ => None,
    };
    let (left, right) = (number(left)?, number(right)?);
    let result = match op {
        Operator::Plus => left.add(&right),
        Operator::Minus => left.subtract(&right),
        Operator::Multiply => left.multiply(&right),
        _ => return None,
    };
    let result = literal(&result.ok()?);
    is_wide(&result.data_type()).then_some(Expr::Literal(result, None))
}

/// An operator between two numbers, one of which is wide; `None` for those that do not compute.
pub fn computed(left: &Expr, op: Operator, right: &Expr) -> Option<Expr> {
    let function = match op {
        Operator::Plus => Function::Sum,
        Operator::Minus => Function::Difference,
        Operator::Multiply => Function::Product,
        Operator::Divide => Function::Quotient,
        Operator::Modulo => Function::Remainder,
        _ => return None,
    };
    Some(call(function, vec![left.clone(), right.clone()]))
}

/// Two letters for each byte, in the order of the bytes.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Call {
    function: Function,
    signature: Signature,
}

impl Call {
    fn wrong(&self) -> DataFusionError {
        DataFusionError::Plan(format!("{} takes other arguments", self.name()))
    }

    fn takes(&self, kinds: &[DataType]) -> bool {
        let is_number = |kind: &DataType| kind.is_numeric() || kind.is_null() || is_wide(kind);
        match (self.function, kinds) {
            (Function::Widened, [kind]) => is_number(kind) || kind.is_string(),
            (Function::Key | Function::Letters | Function::Negated, [kind]) => is_wide(kind),
            (
                Function::Sum
                | Function::Difference
                | Function::Product
                | Function::Quotient
                | Function::Remainder,
                [left, right],
            ) => is_number(left) && is_number(right),
            _ => false,
        }
    }

    fn compute(&self, args: &[ArrayRef]) -> Result<ArrayRef> {
        let one = |compute: fn(&Number) -> Number| of_rows(args, |numbers| Ok(compute(&numbers[0])));
        let two = |compute: fn(&Number, &Number) -> std::result::Result<Number, super::Fault>| {
            of_rows(args, |numbers| compute(&numbers[0], &numbers[1]).map_err(error))
        };
        let numbers = match self.function {
            Function::Widened if args[0].data_type() == &TYPE => return Ok(Arc::clone(&args[0])),
            Function::Widened => of_rows(args, |numbers| Ok(numbers[0].clone()))?,
            Function::Key => {
                let values = args[0].as_binary::<i64>();
                let keys = values.iter().map(|bytes| bytes.map(value::key));
                return Ok(Arc::new(keys.collect::<BinaryArray>()));
            }
            Function::Letters => {
                let values = args[0].as_binary::<i64>();
                let letters = values.iter().map(|bytes| bytes.map(|bytes| hex(value::key(bytes))));
                return Ok(Arc::new(letters.collect::<StringArray>()));
            }
            Function::Negated => one(Number::negated)?,
            Function::Sum => two(Number::add)?,
            Function::Difference => two(Number::subtract)?,
            Function::Product => two(Number::multiply)?,
            Function::Quotient => two(Number::divide)?,
            Function::Remainder => two(Number::remainder)?,
        };
        Ok(Arc::new(numbers))
    }
}

impl ScalarUDFImpl for Call {
    fn name(&self) -> &str {
        ALL.iter().find(|(_, known)| *known == self.function).map_or("", |(name, _)| name)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        match self.function {
            _ if !self.takes(kinds) => Err(self.wrong()),
            Function::Key => Ok(DataType::Binary),
            Function::Letters => Ok(DataType::Utf8),
            _ => Ok(TYPE),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let args: Vec<ArrayRef> =
            args.args.into_iter().map(|value| value.into_array(rows)).collect::<Result<_>>()?;
        let result = self.compute(&args)?;
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}
