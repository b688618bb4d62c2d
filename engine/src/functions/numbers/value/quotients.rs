//! Division. PostgreSQL chooses a quotient's scale by the first base-10000 digits of its operands
//! (`select_div_scale` of `numeric.c`), so that at least 16 significant digits are shown.

use dashu_int::IBig;
use dashu_int::ops::UnsignedAbs;

use super::fault::Fault;
use super::number::{Finite, Number, RESULT_SCALE_MAX, SIGNIFICANT_DIGITS_MIN};
use super::tens;

/// Decimal digits of one of PostgreSQL's digits.
const GROUP_DIGITS: i32 = 4;

impl Number {
    /// The quotient (`numeric_div`), rounded half away from zero.
    pub fn divide(&self, other: &Self) -> Result<Self, Fault> {
        let (Self::Finite(dividend), Self::Finite(divisor)) = (self, other) else {
            return quotient_of_special(self, other);
        };
        if divisor.unscaled.is_zero() {
            return Err(Fault::DivisionByZero);
        }
        let scale = quotient_scale(View::of(dividend), View::of(divisor));
        Self::stored(dividend.quotient_at(divisor, scale), scale)
    }

    /// The quotient's whole part (`numeric_div_trunc`, SQL's `div`).
    pub fn quotient(&self, other: &Self) -> Result<Self, Fault> {
        let (Self::Finite(dividend), Self::Finite(divisor)) = (self, other) else {
            return quotient_of_special(self, other);
        };
        let scale = dividend.places().max(divisor.places());
        if divisor.unscaled.is_zero() {
            return Err(Fault::DivisionByZero);
        }
        if let Some((left, right)) = dividend.aligned_small(divisor) {
            return Ok(Self::of_whole(left.checked_div(right).ok_or(Fault::DivisionByZero)?));
        }
        Self::stored(dividend.at_scale(scale) / divisor.at_scale(scale), 0)
    }

    /// What a whole quotient leaves (`numeric_mod`), with the dividend's sign.
    pub fn remainder(&self, other: &Self) -> Result<Self, Fault> {
        let (Self::Finite(dividend), Self::Finite(divisor)) = (self, other) else {
            return remainder_of_special(self, other);
        };
        if divisor.unscaled.is_zero() {
            return Err(Fault::DivisionByZero);
        }
        let scale = dividend.places().max(divisor.places());
        if let Some((left, right)) = dividend.aligned_small(divisor) {
            return Self::stored(left.checked_rem(right).ok_or(Fault::DivisionByZero)?.into(), scale);
        }
        Self::stored(dividend.at_scale(scale) % divisor.at_scale(scale), scale)
    }
}

/// A decimal number whose scale may be any.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) unscaled: &'a IBig,
    pub(crate) scale: i32,
}

impl<'a> View<'a> {
    pub(crate) fn of(value: &'a Finite) -> Self {
        Self { unscaled: &value.unscaled, scale: value.places() }
    }

    /// The weight and the value of the first base-10000 digit.
    fn first_group(self) -> (i32, u32) {
        let digits = i32::try_from(tens::count(self.unscaled)).unwrap_or(i32::MAX);
        if digits == 0 {
            return (0, 0);
        }
        let first = digits - 1 - self.scale;
        let weight = first.div_euclid(GROUP_DIGITS);
        // As many digits as stand from the first one to the group's end.
        let taken = first - weight * GROUP_DIGITS + 1;
        let group = match usize::try_from(digits - taken) {
            Ok(rest) => leading(self.unscaled, rest),
            Err(_) => leading(&tens::shifted(self.unscaled, taken - digits), 0),
        };
        (weight, group)
    }
}

/// The digits before the last `rest` ones; there are at most four.
fn leading(value: &IBig, rest: usize) -> u32 {
    if let (Ok(small), Some(power)) = (i128::try_from(value), tens::SMALL.get(rest)) {
        let magnitude = small.unsigned_abs();
        let group = match (u64::try_from(magnitude), u64::try_from(*power)) {
            (Ok(magnitude), Ok(power)) => (magnitude / power).into(),
            _ => magnitude / power,
        };
        return u32::try_from(group).unwrap_or(0);
    }
    u32::try_from((value / tens::power(rest).as_ref()).unsigned_abs()).unwrap_or(0)
}

/// How many digits a quotient has behind the point.
pub(crate) fn quotient_scale(dividend: View<'_>, divisor: View<'_>) -> i32 {
    let (left_weight, left_group) = dividend.first_group();
    let (right_weight, right_group) = divisor.first_group();
    // With equal first digits PostgreSQL takes the dividend for the smaller one.
    let weight = left_weight - right_weight - i32::from(left_group <= right_group);
    let wanted = SIGNIFICANT_DIGITS_MIN - weight * GROUP_DIGITS;
    wanted.max(dividend.scale).max(divisor.scale).clamp(0, RESULT_SCALE_MAX)
}

/// The quotient of two numbers at a scale, rounded half away from zero; the divisor is not zero.
pub(crate) fn quotient_at(dividend: View<'_>, divisor: View<'_>, scale: i32) -> IBig {
    let shift = scale + divisor.scale - dividend.scale;
    let numerator = tens::shifted(dividend.unscaled, shift);
    let denominator = tens::shifted(divisor.unscaled, -shift);
    let quotient = tens::rounded_quotient(&numerator, &denominator.unsigned_abs());
    quotient * divisor.unscaled.signum()
}

impl Finite {
    fn quotient_at(&self, divisor: &Self, scale: i32) -> IBig {
        match self.small_quotient_at(divisor, scale) {
            Some(small) => small.into(),
            None => quotient_at(View::of(self), View::of(divisor), scale),
        }
    }

    fn small_quotient_at(&self, divisor: &Self, scale: i32) -> Option<i128> {
        let (left, right) = (self.small()?, divisor.small()?);
        let shift = scale + divisor.places() - self.places();
        let left = left.checked_mul(tens::small(shift.max(0))?)?;
        let right = right.checked_mul(tens::small((-shift).max(0))?)?;
        let quotient = left.checked_div(right)?;
        let rest = (left - quotient * right).unsigned_abs();
        let is_away = rest >= right.unsigned_abs() - rest;
        Some(if is_away { quotient + left.signum() * right.signum() } else { quotient })
    }

    /// Both unscaled values at the greater scale, when they fit.
    pub(crate) fn aligned_small(&self, other: &Self) -> Option<(i128, i128)> {
        let (left, right) = (self.small()?, other.small()?);
        let by = self.places() - other.places();
        Some((left.checked_mul(tens::small((-by).max(0))?)?, right.checked_mul(tens::small(by.max(0))?)?))
    }
}

fn quotient_of_special(dividend: &Number, divisor: &Number) -> Result<Number, Fault> {
    match (dividend, divisor) {
        (Number::NaN, _) | (_, Number::NaN) => Ok(Number::NaN),
        (Number::Infinity { .. }, Number::Infinity { .. }) => Ok(Number::NaN),
        (Number::Infinity { is_negative }, _) => match divisor.signum() {
            0 => Err(Fault::DivisionByZero),
            sign => Ok(Number::infinity(*is_negative != (sign < 0))),
        },
        _ => Ok(Number::ZERO),
    }
}

fn remainder_of_special(dividend: &Number, divisor: &Number) -> Result<Number, Fault> {
    match (dividend, divisor) {
        (Number::NaN, _) | (_, Number::NaN) => Ok(Number::NaN),
        (Number::Infinity { .. }, _) if divisor.signum() == 0 => Err(Fault::DivisionByZero),
        (Number::Infinity { .. }, _) => Ok(Number::NaN),
        _ => Ok(dividend.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::read(text).expect("a result")
    }

    fn shown(result: Result<Number, Fault>) -> String {
        result.map_or_else(|fault| fault.sqlstate().to_owned(), |number| number.shown())
    }

    #[test]
    fn quotients_have_the_digits_of_postgres() {
        assert_eq!(shown(number("1").divide(&number("3"))), "0.33333333333333333333");
        assert_eq!(shown(number("10.0").divide(&number("3"))), "3.3333333333333333");
        assert_eq!(shown(number("-2").divide(&number("3"))), "-0.66666666666666666667");
        assert_eq!(shown(number("1e40").divide(&number("7"))), "1428571428571428571428571428571428571429");
        assert_eq!(shown(number("1").divide(&number("0.00"))), "22012");
        assert_eq!(shown(Number::infinity(true).divide(&number("-1"))), "Infinity");
    }

    #[test]
    fn whole_quotients_and_remainders() {
        assert_eq!(shown(number("7.5").quotient(&number("-2"))), "-3");
        assert_eq!(shown(number("-7.5").remainder(&number("2.00"))), "-1.50");
        assert_eq!(shown(number("1e50").remainder(&number("7"))), "2");
        assert_eq!(shown(number("3").remainder(&Number::infinity(true))), "3");
    }
}
