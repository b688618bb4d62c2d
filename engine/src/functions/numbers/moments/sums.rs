//! Sums, averages and moments of wide numbers.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, UInt64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;

use super::super::value::key;
use super::super::wide::columns::Builder;
use super::super::wide::{self, Moment, Number, decode};
use super::Measure;
use super::tally::{Answer, Tally};

/// The columns of one that is sent on.
pub(crate) const STATE: [DataType; 3] = [DataType::UInt64, wide::TYPE, wide::TYPE];

/// How many numbers there are, their sum, and that of their squares.
#[derive(Debug, Clone)]
pub(crate) struct Sums<const SQUARES: bool> {
    count: u64,
    sum: Number,
    squares: Number,
}

/// What is asked of sums.
pub(super) fn value_of(
    measure: Measure,
    count: u64,
    sum: &Number,
    squares: &Number,
) -> Result<Option<Number>> {
    let least = if measure.is_of_sample() { 2 } else { 1 };
    if count < least {
        return Ok(None);
    }
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let value = match measure {
        Measure::Sum => sum.limited(),
        Measure::Average => Number::average(sum, count),
        _ => {
            let moment = Moment { is_sample: measure.is_of_sample(), is_root: measure.is_deviation() };
            return moment.of(count, sum, squares).map_err(wide::error);
        }
    };
    value.map(Some).map_err(wide::error)
}

impl<const SQUARES: bool> Sums<SQUARES> {
    pub(crate) fn answer(measure: Measure) -> Answer<Self> {
        Arc::new(move |tallies: &[Self]| {
            let mut values = Builder::new(tallies.len());
            for tally in tallies {
                let value = value_of(measure, tally.count, &tally.sum, &tally.squares)?;
                values.push(value.as_ref());
            }
            Ok(Arc::new(values.finish()) as ArrayRef)
        })
    }
}

impl<const SQUARES: bool> Default for Sums<SQUARES> {
    fn default() -> Self {
        Self { count: 0, sum: Number::of_whole(0), squares: Number::of_whole(0) }
    }
}

impl<const SQUARES: bool> Tally for Sums<SQUARES> {
    type Item = Number;
    type Key = Vec<u8>;

    fn items(values: &[ArrayRef]) -> Vec<Option<Number>> {
        let Some(values) = values.first() else { return Vec::new() };
        values.as_binary::<i64>().iter().map(|bytes| bytes.map(decode)).collect()
    }

    fn columns_of(items: &[Number], _: &[ScalarValue]) -> Result<Vec<ArrayRef>> {
        let mut values = Builder::new(items.len());
        items.iter().for_each(|item| values.push(Some(item)));
        Ok(vec![Arc::new(values.finish())])
    }

    fn key(item: &Number) -> Vec<u8> {
        let mut bytes = Vec::new();
        item.encode(&mut bytes);
        let length = key(&bytes).len();
        bytes.truncate(length);
        bytes
    }

    fn add(&mut self, value: &Number) -> Result<()> {
        self.count += 1;
        self.sum = self.sum.gathered(value);
        if SQUARES {
            self.squares = self.squares.gathered(&value.squared());
        }
        Ok(())
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        self.count += other.count;
        self.sum = self.sum.gathered(&other.sum);
        if SQUARES {
            self.squares = self.squares.gathered(&other.squares);
        }
        Ok(())
    }

    fn to_columns(tallies: &[Self]) -> Vec<ArrayRef> {
        let counts = UInt64Array::from_iter_values(tallies.iter().map(|tally| tally.count));
        let column = |part: fn(&Self) -> &Number| -> ArrayRef {
            let mut values = Builder::new(tallies.len());
            tallies.iter().for_each(|tally| values.push(Some(part(tally))));
            Arc::new(values.finish())
        };
        vec![Arc::new(counts), column(|tally| &tally.sum), column(|tally| &tally.squares)]
    }

    fn from_columns(columns: &[ArrayRef]) -> Vec<Self> {
        let [counts, sums, squares] = columns else { return Vec::new() };
        let counts = counts.as_primitive::<UInt64Type>();
        let (sums, squares) = (sums.as_binary::<i64>(), squares.as_binary::<i64>());
        let rows = (0..counts.len()).map(|row| Self {
            count: counts.value(row),
            sum: decode(sums.value(row)),
            squares: decode(squares.value(row)),
        });
        rows.collect()
    }
}
