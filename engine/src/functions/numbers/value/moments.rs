//! Variances and standard deviations from a count, a sum and a sum of squares (`numeric_stddev_internal`).

use dashu_int::IBig;

use super::fault::Fault;
use super::number::{Finite, Number};
use super::quotients::{View, quotient_at, quotient_scale};
use super::tens;

impl Number {
    /// The sum without the format's limits, as PostgreSQL's aggregates keep it.
    pub fn gathered(&self, other: &Self) -> Self {
        let (Self::Finite(left), Self::Finite(right)) = (self, other) else {
            return self.add(other).unwrap_or(Self::NaN);
        };
        if let Ok(sum) = self.add(other) {
            return sum;
        }
        let scale = left.places().max(right.places());
        let unscaled = left.at_scale(scale) + right.at_scale(scale);
        Self::Finite(Finite { unscaled, scale: left.scale.max(right.scale) })
    }

    /// The square without the format's limits, for a sum of squares.
    pub fn squared(&self) -> Self {
        match self {
            Self::NaN => Self::NaN,
            Self::Infinity { .. } => Self::infinity(false),
            Self::Finite(value) => {
                let unscaled = &value.unscaled * &value.unscaled;
                Self::Finite(Finite { unscaled, scale: value.scale.saturating_mul(2) })
            }
        }
    }

    /// A gathered sum as a result, which the format limits (`make_result`).
    pub fn limited(&self) -> Result<Self, Fault> {
        match self {
            Self::Finite(value) => Self::stored(value.unscaled.clone(), value.places()),
            _ => Ok(self.clone()),
        }
    }

    /// The average of `count` numbers (`numeric_avg`).
    pub fn average(sum: &Self, count: i64) -> Result<Self, Fault> {
        sum.limited()?.divide(&Self::of_whole(count.into()))
    }
}

/// Which deviation is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// True for `…_samp`, which divides by one less.
    pub is_sample: bool,
    /// True for `stddev_…`, the root of the variance.
    pub is_root: bool,
}

impl Moment {
    /// The moment of `count` numbers; `None` (SQL's null) for too few. NaN and infinities count too, and make
    /// NaN.
    pub fn of(self, count: i64, sum: &Number, squares: &Number) -> Result<Option<Number>, Fault> {
        if count < 1 || (self.is_sample && count == 1) {
            return Ok(None);
        }
        let (Number::Finite(sum), Number::Finite(squares)) = (sum, squares) else {
            return Ok(Some(Number::NaN));
        };
        let scale = squares.places().max(sum.places() * 2);
        let spread = squares.at_scale(scale) * count
            - tens::shifted(&(&sum.unscaled * &sum.unscaled), scale - sum.places() * 2);
        if spread <= IBig::ZERO {
            return Ok(Some(Number::ZERO));
        }
        self.finish(count, View { unscaled: &spread, scale }).map(Some)
    }

    /// The variance or its root, of the squares' sum times the count less the sum's square.
    fn finish(self, count: i64, spread: View<'_>) -> Result<Number, Fault> {
        let divisor = IBig::from(count) * (count - i64::from(self.is_sample));
        let divisor = View { unscaled: &divisor, scale: 0 };
        let scale = quotient_scale(spread, divisor);
        let variance = quotient_at(spread, divisor, scale);
        if self.is_root {
            return Number::stored(super::roots::root_at(&variance, scale, scale), scale);
        }
        Number::stored(variance, scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_the_digits_of_postgres() {
        let of = |is_sample, is_root| {
            let (sum, squares) = (Number::of_decimal(60, 1), Number::of_decimal(1400, 2));
            Moment { is_sample, is_root }.of(3, &sum, &squares).expect("a result").expect("a result").shown()
        };
        assert_eq!(of(true, false), "1.00000000000000000000");
        assert_eq!(of(false, false), "0.66666666666666666667");
        assert_eq!(of(false, true), "0.81649658092772603273");
        let one = Moment { is_sample: true, is_root: false };
        assert!(one.of(1, &Number::ONE, &Number::ONE).expect("a result").is_none());
    }
}
