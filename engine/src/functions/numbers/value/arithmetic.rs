//! Sums, differences, products and signs. A sum has the greater scale of its operands, a product the scales'
//! sum; what fits 128 bits is computed without the heap.

use dashu_int::IBig;
use dashu_int::ops::{Abs, UnsignedAbs};

use super::fault::Fault;
use super::number::{Finite, Number, SCALE_MAX};
use super::tens;

impl Number {
    /// The sum (`numeric_add`); opposite infinities make NaN.
    pub fn add(&self, other: &Self) -> Result<Self, Fault> {
        match (self, other) {
            (Self::Finite(left), Self::Finite(right)) => left.combine(right, i128::checked_add, |a, b| a + b),
            _ => Ok(sum_of_special(self, other, false)),
        }
    }

    /// The difference (`numeric_sub`); equal infinities make NaN.
    pub fn subtract(&self, other: &Self) -> Result<Self, Fault> {
        match (self, other) {
            (Self::Finite(left), Self::Finite(right)) => left.combine(right, i128::checked_sub, |a, b| a - b),
            _ => Ok(sum_of_special(self, other, true)),
        }
    }

    /// The product (`numeric_mul`), rounded where it has more digits than a number can hold; zero times
    /// infinity is NaN.
    pub fn multiply(&self, other: &Self) -> Result<Self, Fault> {
        let (Self::Finite(left), Self::Finite(right)) = (self, other) else {
            return Ok(product_of_special(self, other));
        };
        let scale = left.places() + right.places();
        let product = match (left.small(), right.small()) {
            (Some(a), Some(b)) => a.checked_mul(b).map(IBig::from),
            _ => None,
        };
        let product = product.unwrap_or_else(|| &left.unscaled * &right.unscaled);
        let excess = usize::try_from(scale - SCALE_MAX).unwrap_or(0);
        Self::stored(tens::rounded(&product, excess), scale.min(SCALE_MAX))
    }

    /// With the other sign (`numeric_uminus`).
    pub fn negated(&self) -> Self {
        match self {
            Self::NaN => Self::NaN,
            Self::Infinity { is_negative } => Self::infinity(!is_negative),
            Self::Finite(value) => Self::Finite(Finite { unscaled: -&value.unscaled, scale: value.scale }),
        }
    }

    /// Without a sign (`numeric_abs`).
    pub fn absolute(&self) -> Self {
        match self {
            Self::NaN => Self::NaN,
            Self::Infinity { .. } => Self::infinity(false),
            Self::Finite(value) => {
                Self::Finite(Finite { unscaled: value.unscaled.clone().abs(), scale: value.scale })
            }
        }
    }

    /// The sign as a number: -1, 0 or 1 (`numeric_sign`).
    pub fn sign(&self) -> Self {
        match self {
            Self::NaN => Self::NaN,
            _ => Self::of_whole(self.signum().into()),
        }
    }

    /// Digits shown behind the point; `None` unless finite.
    pub fn scale(&self) -> Option<i32> {
        match self {
            Self::Finite(value) => Some(value.places()),
            _ => None,
        }
    }

    /// The fewest digits behind the point that keep the value; `None` unless finite.
    pub fn min_scale(&self) -> Option<i32> {
        match self {
            Self::Finite(value) => Some(value.min_scale().into()),
            _ => None,
        }
    }

    /// Without zeros at the end of the fraction.
    pub fn trim_scale(&self) -> Self {
        let Self::Finite(value) = self else { return self.clone() };
        let scale = value.min_scale();
        let zeros = usize::from(value.scale - scale);
        Self::Finite(Finite { unscaled: tens::truncated(&value.unscaled, zeros), scale })
    }
}

impl Finite {
    /// A sum or a difference at the greater scale.
    fn combine(
        &self,
        other: &Self,
        small: fn(i128, i128) -> Option<i128>,
        wide: fn(IBig, IBig) -> IBig,
    ) -> Result<Number, Fault> {
        let scale = self.places().max(other.places());
        if let Some(result) = self.combine_small(other, small) {
            return Ok(Number::Finite(Finite {
                unscaled: result.into(),
                scale: self.scale.max(other.scale),
            }));
        }
        Number::stored(wide(self.at_scale(scale), other.at_scale(scale)), scale)
    }

    fn combine_small(&self, other: &Self, combine: fn(i128, i128) -> Option<i128>) -> Option<i128> {
        let (left, right) = (self.small()?, other.small()?);
        let by = self.places() - other.places();
        match by {
            0 => combine(left, right),
            1.. => combine(left, right.checked_mul(tens::small(by)?)?),
            _ => combine(left.checked_mul(tens::small(-by)?)?, right),
        }
    }

    /// The digits without a sign, at a greater scale.
    pub(crate) fn magnitude_at(&self, scale: i32) -> dashu_int::UBig {
        self.at_scale(scale).unsigned_abs()
    }
}

/// A sum with at least one of NaN and the infinities; the second one's sign is turned for a difference.
fn sum_of_special(left: &Number, right: &Number, is_turned: bool) -> Number {
    match (left, right) {
        (Number::NaN, _) | (_, Number::NaN) => Number::NaN,
        (Number::Infinity { is_negative: a }, Number::Infinity { is_negative: b })
            if *a != (*b != is_turned) =>
        {
            Number::NaN
        }
        (Number::Infinity { is_negative }, _) => Number::infinity(*is_negative),
        (_, Number::Infinity { is_negative }) => Number::infinity(*is_negative != is_turned),
        (Number::Finite(_), Number::Finite(_)) => Number::NaN,
    }
}

fn product_of_special(left: &Number, right: &Number) -> Number {
    if left.is_nan() || right.is_nan() {
        return Number::NaN;
    }
    match left.signum() * right.signum() {
        0 => Number::NaN,
        sign => Number::infinity(sign < 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(result: Result<Number, Fault>) -> String {
        result.map_or_else(|fault| fault.sqlstate().to_owned(), |number| number.shown())
    }

    fn number(text: &str) -> Number {
        Number::read(text).expect("a result")
    }

    #[test]
    fn sums_have_the_greater_scale() {
        assert_eq!(shown(number("1.10").add(&number("2"))), "3.10");
        assert_eq!(shown(number("-0.5").add(&number("0.50"))), "0.00");
        assert_eq!(shown(number("1").subtract(&number("0.001"))), "0.999");
        let wide = "99999999999999999999999999999999999999999";
        assert_eq!(shown(number(wide).add(&number("0.1"))), format!("{wide}.1"));
        assert_eq!(shown(number("9e131071").add(&number("1e131071"))), "22003");
    }

    #[test]
    fn products_have_the_scales_together() {
        assert_eq!(shown(number("1.10").multiply(&number("2.0"))), "2.200");
        assert_eq!(shown(number("1e100000").multiply(&number("1e100000"))), "22003");
        assert_eq!(
            shown(number("-12345678901234567890123").multiply(&number("98765432109876543210.5"))),
            "-1219326311370217952255784788711395625659891.5"
        );
    }

    #[test]
    fn infinities_follow_postgres() {
        let (infinite, below) = (Number::infinity(false), Number::infinity(true));
        assert_eq!(shown(infinite.add(&below)), "NaN");
        assert_eq!(shown(infinite.subtract(&infinite)), "NaN");
        assert_eq!(shown(Number::ONE.subtract(&infinite)), "-Infinity");
        assert_eq!(shown(infinite.multiply(&Number::ZERO)), "NaN");
        assert_eq!(shown(infinite.multiply(&number("-2"))), "-Infinity");
    }

    #[test]
    fn scales_are_trimmed() {
        assert_eq!(number("8.4100").min_scale(), Some(2));
        assert_eq!(number("8.4100").trim_scale().shown(), "8.41");
        assert_eq!(number("100").min_scale(), Some(0));
        assert_eq!(number("100.000").trim_scale().shown(), "100");
        assert_eq!(Number::NaN.scale(), None);
    }
}
