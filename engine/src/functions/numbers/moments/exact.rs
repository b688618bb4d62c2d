//! Moments of whole numbers and decimals: their sums and squares are exact, and the quotient is rounded once.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Decimal256Array, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, Int64Type, UInt64Type, i256};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use num_bigint::BigInt;

use super::super::conversions::numeric_overflow;
use super::super::digits::{DIGITS_MAX, quotient_scale_of};
use super::Measure;
use super::tally::{Answer, Tally};

/// Digits that sums and squares are sent with.
pub(super) const STATE: DataType = DataType::Decimal256(76, 0);
const PRECISION: u8 = DIGITS_MAX as u8;

/// Sum and squares of one column, unscaled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exact {
    count: u64,
    sum: i256,
    squares: i256,
}

fn big(value: i256) -> BigInt {
    BigInt::from_signed_bytes_le(&value.to_le_bytes())
}

fn ten_to(exponent: i32) -> BigInt {
    BigInt::from(10).pow(exponent.unsigned_abs())
}

/// `dividend / divisor`, neither of them below zero, rounded half up.
fn rounded(dividend: BigInt, divisor: BigInt) -> BigInt {
    (dividend * 2 + &divisor) / (divisor * 2)
}

impl Exact {
    /// Of values with `from` digits behind the point, with `to` digits.
    pub(super) fn answer(measure: Measure, from: i8, to: i8) -> Answer<Self> {
        Arc::new(move |tallies: &[Self]| {
            let values: Decimal128Array =
                tallies.iter().map(|tally| tally.value(measure, from, to)).collect::<Result<_>>()?;
            Ok(Arc::new(values.with_precision_and_scale(PRECISION, to)?) as ArrayRef)
        })
    }

    fn value(&self, measure: Measure, from: i8, to: i8) -> Result<Option<i128>> {
        let divisor = if measure.is_of_sample() { self.count.saturating_sub(1) } else { self.count };
        if divisor == 0 {
            return Ok(None);
        }
        let (sum, count) = (big(self.sum), BigInt::from(self.count));
        let squares = count.clone() * big(self.squares) - sum.clone() * sum;
        // Digits behind the point of the squares; of the quotient, as PostgreSQL gives it; and of what is asked for.
        let from = 2 * i32::from(from);
        let divisor = count * BigInt::from(divisor);
        let digits = quotient_scale_of((&squares.to_string(), from), (&divisor.to_string(), 0));
        let variance = scaled(squares, divisor, digits - from);
        let value = if measure.is_deviation() { root(variance * ten_to(digits)) } else { variance };
        let value = scaled(value, BigInt::from(1), i32::from(to) - digits);
        let value = i128::try_from(value).ok().filter(|value| value.unsigned_abs() < LIMIT);
        value.map(Some).ok_or_else(numeric_overflow)
    }
}

/// `dividend / divisor * 10^by`, rounded half up.
fn scaled(dividend: BigInt, divisor: BigInt, by: i32) -> BigInt {
    match by >= 0 {
        true => rounded(dividend * ten_to(by), divisor),
        false => rounded(dividend, divisor * ten_to(by)),
    }
}

/// One more than the largest value.
const LIMIT: u128 = 10u128.pow(PRECISION as u32);

/// The square root, rounded: half of the one of four times as much.
fn root(value: BigInt) -> BigInt {
    ((value * 4u8).sqrt() + 1u8) / 2u8
}

impl Tally for Exact {
    type Item = i128;

    fn items(values: &[ArrayRef]) -> Vec<Option<i128>> {
        let Some(values) = values.first() else { return Vec::new() };
        match values.data_type() {
            DataType::Int64 => {
                values.as_primitive::<Int64Type>().iter().map(|value| value.map(i128::from)).collect()
            }
            _ => values.as_primitive::<Decimal128Type>().iter().collect(),
        }
    }

    fn columns_of(items: &[i128], like: &[ScalarValue]) -> Result<Vec<ArrayRef>> {
        let values = Decimal128Array::from_iter_values(items.iter().copied());
        let kind = like.first().map(ScalarValue::data_type);
        Ok(vec![match kind {
            Some(DataType::Decimal128(precision, scale)) => {
                Arc::new(values.with_precision_and_scale(precision, scale)?)
            }
            _ => datafusion::arrow::compute::cast(
                &values.with_precision_and_scale(PRECISION, 0)?,
                &DataType::Int64,
            )?,
        }])
    }

    fn key(item: i128) -> (i128, i128) {
        (item, 0)
    }

    fn add(&mut self, value: i128) -> Result<()> {
        let value = i256::from_i128(value);
        self.count += 1;
        self.sum = self.sum.checked_add(value).ok_or_else(numeric_overflow)?;
        let square = value.checked_mul(value).ok_or_else(numeric_overflow)?;
        self.squares = self.squares.checked_add(square).ok_or_else(numeric_overflow)?;
        Ok(())
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        self.count += other.count;
        self.sum = self.sum.checked_add(other.sum).ok_or_else(numeric_overflow)?;
        self.squares = self.squares.checked_add(other.squares).ok_or_else(numeric_overflow)?;
        Ok(())
    }

    fn to_columns(tallies: &[Self]) -> Vec<ArrayRef> {
        let wide = |part: fn(&Self) -> i256| -> ArrayRef {
            Arc::new(
                Decimal256Array::from_iter_values(tallies.iter().map(part)).with_data_type(STATE.clone()),
            )
        };
        let counts = UInt64Array::from_iter_values(tallies.iter().map(|tally| tally.count));
        vec![Arc::new(counts), wide(|tally| tally.sum), wide(|tally| tally.squares)]
    }

    fn from_columns(columns: &[ArrayRef]) -> Vec<Self> {
        let [counts, sums, squares] = columns else { return Vec::new() };
        let (sums, squares) =
            (sums.as_primitive::<Decimal256Type>(), squares.as_primitive::<Decimal256Type>());
        let counts = counts.as_primitive::<UInt64Type>().values().iter();
        let rows = counts.zip(sums.values()).zip(squares.values());
        rows.map(|((count, sum), squares)| Self { count: *count, sum: *sum, squares: *squares }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(values: &[i128], measure: Measure, from: i8, to: i8) -> Option<i128> {
        let mut tally = Exact::default();
        values.iter().for_each(|value| tally.add(*value).expect("added"));
        tally.value(measure, from, to).expect("fits")
    }

    #[test]
    fn quotients_and_roots_are_rounded() {
        assert_eq!(measured(&[1, 2, 4], Measure::VarPop, 0, 16), Some(15_555_555_555_555_556));
        assert_eq!(measured(&[1, 2, 4], Measure::StddevSamp, 0, 16), Some(15_275_252_316_519_467));
        assert_eq!(measured(&[15, 20, 40], Measure::VarSamp, 1, 2), Some(175));
        assert_eq!(measured(&[7], Measure::VarSamp, 0, 16), None);
        assert_eq!(measured(&[7], Measure::StddevPop, 0, 16), Some(0));
        assert_eq!(measured(&[], Measure::VarPop, 0, 16), None);
    }
}
