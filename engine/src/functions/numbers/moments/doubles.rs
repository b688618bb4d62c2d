//! Moments of floating-point numbers: PostgreSQL's way of Youngs and Cramer (`float8_accum`, `float8_regr_accum`), which does not
//! lose the digits that squares of large numbers would.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array};
use datafusion::arrow::datatypes::{Float32Type, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};

use super::super::{fault, is_of};
use super::Measure;
use super::tally::{Answer, Tally};

pub(crate) fn overflow() -> DataFusionError {
    fault(is_of::OUT_OF_RANGE, "value out of range: overflow".to_owned())
}

/// Doubles that are equal have one key: both zeros are, and all that are no number.
fn key(value: f64) -> i128 {
    match value {
        value if value.is_nan() => i128::MAX,
        0.0 => 0,
        value => i128::from(value.to_bits() as i64 ^ ((value.to_bits() as i64 >> 63) & i64::MAX)),
    }
}

fn double_column(values: impl Iterator<Item = f64>) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(values))
}

/// The columns of a state, row by row.
fn rows_of(columns: &[ArrayRef], mut take: impl FnMut(&[f64])) {
    let columns: Vec<_> = columns.iter().map(|column| column.as_primitive::<Float64Type>()).collect();
    let rows = columns.first().map_or(0, |column| column.len());
    let mut values = vec![0.0; columns.len()];
    for row in 0..rows {
        for (value, column) in values.iter_mut().zip(&columns) {
            *value = column.value(row);
        }
        take(&values);
    }
}

/// Sum and squares of one column.
#[derive(Debug, Clone, Default)]
pub(crate) struct Single {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Single {
    pub(super) fn answer(measure: Measure) -> Answer<Self> {
        Arc::new(move |tallies: &[Self]| {
            let values: Float64Array = tallies.iter().map(|tally| tally.value(measure)).collect();
            Ok(Arc::new(values) as ArrayRef)
        })
    }

    fn value(&self, measure: Measure) -> Option<f64> {
        let divisor = if measure.is_of_sample() { self.count - 1.0 } else { self.count };
        let variance = (divisor > 0.0).then(|| self.squares / divisor)?;
        Some(if measure.is_deviation() { variance.sqrt() } else { variance })
    }
}

impl Tally for Single {
    type Item = f64;
    type Key = i128;

    fn items(values: &[ArrayRef]) -> Vec<Option<f64>> {
        values.first().map_or_else(Vec::new, |values| values.as_primitive::<Float64Type>().iter().collect())
    }

    fn columns_of(items: &[f64], _: &[ScalarValue]) -> Result<Vec<ArrayRef>> {
        Ok(vec![double_column(items.iter().copied())])
    }

    fn key(item: &f64) -> i128 {
        key(*item)
    }

    fn add(&mut self, &value: &f64) -> Result<()> {
        let before = self.clone();
        self.count += 1.0;
        self.sum += value;
        if before.count == 0.0 {
            if !value.is_finite() {
                self.squares = f64::NAN;
            }
            return Ok(());
        }
        let apart = value * self.count - self.sum;
        self.squares += apart * apart / (self.count * before.count);
        if self.sum.is_infinite() || self.squares.is_infinite() {
            if before.sum.is_finite() && value.is_finite() {
                return Err(overflow());
            }
            self.squares = f64::NAN;
        }
        Ok(())
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        if other.count == 0.0 {
            return Ok(());
        }
        if self.count == 0.0 {
            *self = other.clone();
            return Ok(());
        }
        let count = self.count + other.count;
        let apart = self.sum / self.count - other.sum / other.count;
        let squares = self.squares + other.squares + self.count * other.count * apart * apart / count;
        if squares.is_infinite() && self.squares.is_finite() && other.squares.is_finite() {
            return Err(overflow());
        }
        *self = Self { count, sum: self.sum + other.sum, squares };
        Ok(())
    }

    fn to_columns(tallies: &[Self]) -> Vec<ArrayRef> {
        [|tally: &Self| tally.count, |tally: &Self| tally.sum, |tally: &Self| tally.squares]
            .map(|part| double_column(tallies.iter().map(part)))
            .to_vec()
    }

    fn from_columns(columns: &[ArrayRef]) -> Vec<Self> {
        let mut tallies = Vec::new();
        rows_of(columns, |values| {
            if let [count, sum, squares] = *values {
                tallies.push(Self { count, sum, squares });
            }
        });
        tallies
    }
}

/// Sums, squares and products of two columns; `y` is the first, as in PostgreSQL.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pair {
    count: f64,
    x: f64,
    xx: f64,
    y: f64,
    yy: f64,
    xy: f64,
}

impl Pair {
    pub(super) fn answer(measure: Measure) -> Answer<Self> {
        Arc::new(move |tallies: &[Self]| {
            let values: Float64Array = tallies.iter().map(|tally| tally.value(measure)).collect();
            Ok(Arc::new(values) as ArrayRef)
        })
    }

    fn value(&self, measure: Measure) -> Option<f64> {
        if self.count < 1.0 {
            return None;
        }
        let has_width = self.xx != 0.0;
        match measure {
            Measure::CovarSamp => (self.count > 1.0).then(|| self.xy / (self.count - 1.0)),
            Measure::Corr => (has_width && self.yy != 0.0).then(|| self.xy / (self.xx * self.yy).sqrt()),
            Measure::RegrR2 if !has_width => None,
            Measure::RegrR2 if self.yy == 0.0 => Some(1.0),
            Measure::RegrR2 => Some((self.xy * self.xy) / (self.xx * self.yy)),
            Measure::RegrSlope => has_width.then(|| self.xy / self.xx),
            Measure::RegrIntercept => has_width.then(|| (self.y - self.x * self.xy / self.xx) / self.count),
            Measure::RegrAvgX => Some(self.x / self.count),
            Measure::RegrAvgY => Some(self.y / self.count),
            Measure::RegrSxx => Some(self.xx),
            Measure::RegrSyy => Some(self.yy),
            Measure::RegrSxy => Some(self.xy),
            _ => Some(self.xy / self.count),
        }
    }

    /// What cannot be told is no number; what became infinite of finite numbers is an overflow.
    fn check(&mut self, before: &Self, (y, x): (f64, f64)) -> Result<()> {
        let (fits_x, fits_y) = (before.x.is_finite() && x.is_finite(), before.y.is_finite() && y.is_finite());
        let is_lost = (fits_x && (self.x.is_infinite() || self.xx.is_infinite()))
            || (fits_y && (self.y.is_infinite() || self.yy.is_infinite()))
            || (fits_x && fits_y && self.xy.is_infinite());
        if is_lost {
            return Err(overflow());
        }
        for part in [&mut self.xx, &mut self.yy, &mut self.xy] {
            if part.is_infinite() {
                *part = f64::NAN;
            }
        }
        Ok(())
    }
}

impl Tally for Pair {
    type Item = (f64, f64);
    type Key = (i128, i128);

    fn items(values: &[ArrayRef]) -> Vec<Option<(f64, f64)>> {
        let [y, x] = values else { return Vec::new() };
        let rows = y.as_primitive::<Float64Type>().iter().zip(x.as_primitive::<Float64Type>().iter());
        rows.map(|(y, x)| y.zip(x)).collect()
    }

    fn columns_of(items: &[(f64, f64)], _: &[ScalarValue]) -> Result<Vec<ArrayRef>> {
        let (y, x) = (items.iter().map(|item| item.0), items.iter().map(|item| item.1));
        Ok(vec![double_column(y), double_column(x)])
    }

    fn key((y, x): &(f64, f64)) -> (i128, i128) {
        (key(*y), key(*x))
    }

    fn add(&mut self, &(y, x): &(f64, f64)) -> Result<()> {
        let before = self.clone();
        self.count += 1.0;
        self.x += x;
        self.y += y;
        if before.count == 0.0 {
            if !x.is_finite() {
                (self.xx, self.xy) = (f64::NAN, f64::NAN);
            }
            if !y.is_finite() {
                (self.yy, self.xy) = (f64::NAN, f64::NAN);
            }
            return Ok(());
        }
        let (apart_x, apart_y) = (x * self.count - self.x, y * self.count - self.y);
        let scale = 1.0 / (self.count * before.count);
        self.xx += apart_x * apart_x * scale;
        self.yy += apart_y * apart_y * scale;
        self.xy += apart_x * apart_y * scale;
        self.check(&before, (y, x))
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        if other.count == 0.0 {
            return Ok(());
        }
        if self.count == 0.0 {
            *self = other.clone();
            return Ok(());
        }
        let count = self.count + other.count;
        let apart_x = self.x / self.count - other.x / other.count;
        let apart_y = self.y / self.count - other.y / other.count;
        let weight = self.count * other.count;
        let merged = Self {
            count,
            x: self.x + other.x,
            xx: self.xx + other.xx + weight * apart_x * apart_x / count,
            y: self.y + other.y,
            yy: self.yy + other.yy + weight * apart_y * apart_y / count,
            xy: self.xy + other.xy + weight * apart_x * apart_y / count,
        };
        let is_lost =
            |sum: f64, left: f64, right: f64| sum.is_infinite() && left.is_finite() && right.is_finite();
        if is_lost(merged.xx, self.xx, other.xx)
            || is_lost(merged.yy, self.yy, other.yy)
            || is_lost(merged.xy, self.xy, other.xy)
        {
            return Err(overflow());
        }
        *self = merged;
        Ok(())
    }

    fn to_columns(tallies: &[Self]) -> Vec<ArrayRef> {
        let parts: [fn(&Self) -> f64; 6] =
            [|pair| pair.count, |pair| pair.x, |pair| pair.xx, |pair| pair.y, |pair| pair.yy, |pair| pair.xy];
        parts.map(|part| double_column(tallies.iter().map(part))).to_vec()
    }

    fn from_columns(columns: &[ArrayRef]) -> Vec<Self> {
        let mut tallies = Vec::new();
        rows_of(columns, |values| {
            if let [count, x, xx, y, yy, xy] = *values {
                tallies.push(Self { count, x, xx, y, yy, xy });
            }
        });
        tallies
    }
}

/// The sum of doubles.
#[derive(Debug, Clone)]
pub(crate) struct Total {
    count: f64,
    sum: f64,
}

impl Default for Total {
    /// Of nothing: negative zero is the number that leaves every other as it is.
    fn default() -> Self {
        Self { count: 0.0, sum: -0.0 }
    }
}

impl Total {
    /// For `sum`.
    pub(crate) fn sum() -> Answer<Self> {
        Self::answer(|tally| tally.sum)
    }

    /// For `avg`.
    pub(crate) fn average() -> Answer<Self> {
        Self::answer(|tally| (0.0 + tally.sum) / tally.count)
    }

    fn answer(value: fn(&Self) -> f64) -> Answer<Self> {
        Arc::new(move |tallies: &[Self]| {
            let values: Float64Array =
                tallies.iter().map(|tally| (tally.count > 0.0).then(|| value(tally))).collect();
            Ok(Arc::new(values) as ArrayRef)
        })
    }
}

impl Tally for Total {
    type Item = f64;
    type Key = i128;

    fn items(values: &[ArrayRef]) -> Vec<Option<f64>> {
        Single::items(values)
    }

    fn columns_of(items: &[f64], like: &[ScalarValue]) -> Result<Vec<ArrayRef>> {
        Single::columns_of(items, like)
    }

    fn key(item: &f64) -> i128 {
        key(*item)
    }

    fn add(&mut self, &value: &f64) -> Result<()> {
        let sum = self.sum + value;
        if sum.is_infinite() && self.sum.is_finite() && value.is_finite() {
            return Err(overflow());
        }
        *self = Self { count: self.count + 1.0, sum };
        Ok(())
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        if other.count > 0.0 {
            let count = self.count + other.count;
            self.add(&other.sum)?;
            self.count = count;
        }
        Ok(())
    }

    fn to_columns(tallies: &[Self]) -> Vec<ArrayRef> {
        [|tally: &Self| tally.count, |tally: &Self| tally.sum]
            .map(|part| double_column(tallies.iter().map(part)))
            .to_vec()
    }

    fn from_columns(columns: &[ArrayRef]) -> Vec<Self> {
        let mut tallies = Vec::new();
        rows_of(columns, |values| {
            if let [count, sum] = *values {
                tallies.push(Self { count, sum });
            }
        });
        tallies
    }
}

/// The sum of singles, which is a single.
#[derive(Debug, Clone, Default)]
pub(crate) struct SingleTotal(Option<f32>);

impl SingleTotal {
    /// For `sum`.
    pub(crate) fn sum() -> Answer<Self> {
        Arc::new(|tallies: &[Self]| Ok(Self::to_columns(tallies).remove(0)))
    }
}

impl Tally for SingleTotal {
    type Item = f32;
    type Key = i128;

    fn items(values: &[ArrayRef]) -> Vec<Option<f32>> {
        values.first().map_or_else(Vec::new, |values| values.as_primitive::<Float32Type>().iter().collect())
    }

    fn columns_of(items: &[f32], _: &[ScalarValue]) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(Float32Array::from_iter_values(items.iter().copied()))])
    }

    fn key(item: &f32) -> i128 {
        key(f64::from(*item))
    }

    fn add(&mut self, &value: &f32) -> Result<()> {
        let Some(before) = self.0 else {
            self.0 = Some(value);
            return Ok(());
        };
        let sum = before + value;
        if sum.is_infinite() && before.is_finite() && value.is_finite() {
            return Err(overflow());
        }
        self.0 = Some(sum);
        Ok(())
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        other.0.map_or(Ok(()), |sum| self.add(&sum))
    }

    fn to_columns(tallies: &[Self]) -> Vec<ArrayRef> {
        let sums: Float32Array = tallies.iter().map(|tally| tally.0).collect();
        vec![Arc::new(sums)]
    }

    fn from_columns(columns: &[ArrayRef]) -> Vec<Self> {
        Self::items(columns).into_iter().map(Self).collect()
    }
}
