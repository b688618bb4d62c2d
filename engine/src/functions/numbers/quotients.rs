//! `/` of two decimals: rounded half away from zero, with the sixteen digits behind the point that PostgreSQL gives a quotient of
//! ones to thousands. DataFusion's has four more than its dividend, and cuts.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, i256};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::conversions::{literal, numeric_overflow};
use super::digits::{self, DIGITS_MAX, digits_of};
use super::{fault, is_of};

const NAME: &str = "sluice_quotient";
/// Digits behind the point where the values are not known.
pub(super) const SCALE: i8 = 16;
const PRECISION: u8 = 38;

/// `sluice_quotient(dividend, divisor)` of two decimals.
pub fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Quotient { signature: Signature::any(2, Volatility::Immutable) }))
}

/// The quotient of two decimals, at once where both are written in the statement.
pub fn of(dividend: Expr, divisor: Expr) -> Expr {
    if let (
        Some(ScalarValue::Decimal128(Some(left), _, left_scale)),
        Some(ScalarValue::Decimal128(Some(right), _, right_scale)),
    ) = (literal(&dividend), literal(&divisor))
        && right != 0
    {
        let scale = digits::quotient_scale((left, left_scale), (right, right_scale)).min(37) as i8;
        if let Some(value) = quotient((left, left_scale), (right, right_scale), scale) {
            // No wider than it is, so that there is room for what is computed of it.
            let precision = digits_of(value).max(scale as usize).max(1) as u8;
            return Expr::Literal(ScalarValue::Decimal128(Some(value), precision, scale), None);
        }
    }
    Expr::ScalarFunction(ScalarFunction::new_udf(function(), vec![dividend, divisor]))
}

pub(super) fn quotient(dividend: (i128, i8), divisor: (i128, i8), scale: i8) -> Option<i128> {
    let by = i32::from(scale) + i32::from(divisor.1) - i32::from(dividend.1);
    let (left, right) = if by >= 0 {
        let factor = digits::power(by.unsigned_abs());
        if let Some(left) = factor.and_then(|factor| dividend.0.checked_mul(factor)) {
            return Some(rounded_quotient(left, divisor.0)).filter(|value| digits_of(*value) <= DIGITS_MAX);
        }
        (i256::from_i128(dividend.0).checked_mul(wide_power(by.unsigned_abs())?)?, i256::from_i128(divisor.0))
    } else {
        (i256::from_i128(dividend.0), i256::from_i128(divisor.0).checked_mul(wide_power(by.unsigned_abs())?)?)
    };
    let (whole, rest) = (left.checked_div(right)?, left.checked_rem(right)?);
    let (rest, divisor) = (rest.checked_abs()?, right.checked_abs()?);
    let is_away = rest >= divisor.checked_sub(rest)?;
    let whole = whole.to_i128()?;
    let is_negative = (left < i256::ZERO) != (right < i256::ZERO);
    let value = match (is_away, is_negative) {
        (false, _) => whole,
        (true, false) => whole.checked_add(1)?,
        (true, true) => whole.checked_sub(1)?,
    };
    (digits_of(value) <= DIGITS_MAX).then_some(value)
}

fn rounded_quotient(left: i128, right: i128) -> i128 {
    let (whole, rest) = (left / right, left % right);
    let is_away = rest != 0 && rest.unsigned_abs() >= right.unsigned_abs() - rest.unsigned_abs();
    match (is_away, (left < 0) != (right < 0)) {
        (false, _) => whole,
        (true, false) => whole + 1,
        (true, true) => whole - 1,
    }
}

fn wide_power(exponent: u32) -> Option<i256> {
    i256::from_i128(10).checked_pow(exponent)
}

fn scale_of(dividend: &DataType, divisor: &DataType) -> Option<i8> {
    match (dividend, divisor) {
        (DataType::Decimal128(_, left), DataType::Decimal128(_, right)) => {
            Some((*left).max(*right).clamp(SCALE, 37))
        }
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Quotient {
    signature: Signature,
}

impl ScalarUDFImpl for Quotient {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [left, right] => scale_of(left, right).map(|scale| DataType::Decimal128(PRECISION, scale)),
            _ => None,
        }
        .ok_or_else(|| DataFusionError::Plan(format!("{NAME} takes two decimals")))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let arrays: Vec<ArrayRef> =
            args.args.into_iter().map(|value| value.into_array(rows)).collect::<Result<_>>()?;
        let [left, right] = arrays.as_slice() else {
            return Err(DataFusionError::Plan(format!("{NAME} takes two decimals")));
        };
        let (DataType::Decimal128(_, left_scale), DataType::Decimal128(_, right_scale)) =
            (left.data_type(), right.data_type())
        else {
            return Err(DataFusionError::Plan(format!("{NAME} takes two decimals")));
        };
        let (left_scale, right_scale) = (*left_scale, *right_scale);
        let scale = left_scale.max(right_scale).clamp(SCALE, 37);
        let (left, right) = (left.as_primitive::<Decimal128Type>(), right.as_primitive::<Decimal128Type>());
        let rows = left.iter().zip(right.iter()).map(|row| {
            let (Some(left), Some(right)) = row else { return Ok(None) };
            if right == 0 {
                return Err(fault(is_of::DIVISION_BY_ZERO, "division by zero".to_owned()));
            }
            quotient((left, left_scale), (right, right_scale), scale).map(Some).ok_or_else(numeric_overflow)
        });
        let quotients: Decimal128Array = rows.collect::<Result<_>>()?;
        let quotients: ArrayRef = Arc::new(quotients.with_precision_and_scale(PRECISION, scale)?);
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&quotients, 0)?));
        }
        Ok(ColumnarValue::Array(quotients))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_are_rounded_half_away_from_zero() {
        assert_eq!(quotient((2, 0), (3, 0), 4), Some(6667));
        assert_eq!(quotient((-2, 0), (3, 0), 4), Some(-6667));
        assert_eq!(quotient((1, 0), (8, 0), 2), Some(13));
        assert_eq!(quotient((10i128.pow(37), 0), (3, 0), 0), Some(3333333333333333333333333333333333333));
        assert_eq!(quotient((10i128.pow(37), 0), (7, 30), 0), None);
        assert_eq!(quotient((10i128.pow(37), 20), (-7, 0), 20), Some(-1428571428571428571428571428571428571));
    }
}
