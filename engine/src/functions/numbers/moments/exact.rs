//! Moments of whole numbers and decimals: their sums and squares are exact, and the quotient is rounded once.

use std::sync::Arc;

use dashu_int::{IBig, UBig};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Decimal256Array, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, Int64Type, UInt64Type, i256};
use datafusion::common::ScalarValue;
use datafusion::error::Result;

use super::super::conversions::numeric_overflow;
use super::super::digits::DIGITS_MAX;
use super::super::wide::columns::Builder;
use super::super::wide::{Finite, Number};
use super::Measure;
use super::sums::value_of;
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

fn number(value: i256, scale: u16) -> Number {
    let unscaled = match value.to_i128() {
        Some(value) => IBig::from(value),
        None => {
            let magnitude = IBig::from(UBig::from_le_bytes(&value.wrapping_abs().to_le_bytes()));
            if value < i256::ZERO { -magnitude } else { magnitude }
        }
    };
    Number::Finite(Finite { unscaled, scale })
}

impl Exact {
    /// Of values with `scale` digits behind the point.
    pub(crate) fn answer(measure: Measure, scale: i8) -> Answer<Self> {
        Arc::new(move |tallies: &[Self]| {
            let mut values = Builder::new(tallies.len());
            for tally in tallies {
                values.push(tally.value(measure, scale)?.as_ref());
            }
            Ok(Arc::new(values.finish()) as ArrayRef)
        })
    }

    fn value(&self, measure: Measure, scale: i8) -> Result<Option<Number>> {
        let scale = u16::from(scale.max(0).unsigned_abs());
        let (sum, squares) = (number(self.sum, scale), number(self.squares, 2 * scale));
        value_of(measure, self.count, &sum, &squares)
    }
}

impl Tally for Exact {
    type Item = i128;
    type Key = i128;

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

    fn key(item: &i128) -> i128 {
        *item
    }

    fn add(&mut self, value: &i128) -> Result<()> {
        let value = i256::from_i128(*value);
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

    fn measured(values: &[i128], measure: Measure, scale: i8) -> Option<String> {
        let mut tally = Exact::default();
        values.iter().for_each(|value| tally.add(value).expect("added"));
        tally.value(measure, scale).expect("fits").map(|value| value.shown())
    }

    #[test]
    fn quotients_and_roots_have_the_digits_of_postgres() {
        let shown = |text: &str| Some(text.to_owned());
        assert_eq!(measured(&[1, 2, 4], Measure::VarPop, 0), shown("1.5555555555555556"));
        assert_eq!(measured(&[1, 2, 4], Measure::StddevSamp, 0), shown("1.5275252316519467"));
        assert_eq!(measured(&[15, 20, 40], Measure::VarSamp, 1), shown("1.7500000000000000"));
        assert_eq!(measured(&[7], Measure::VarSamp, 0), None);
        assert_eq!(measured(&[7], Measure::StddevPop, 0), shown("0"));
        assert_eq!(measured(&[], Measure::VarPop, 0), None);
        assert_eq!(measured(&[1, 2, 4], Measure::Average, 0), shown("2.3333333333333333"));
    }
}
