//! Powers of ten and what is counted with them. Those of everyday sizes are computed once.

use std::borrow::Cow;
use std::sync::LazyLock;

use dashu_int::ops::{BitTest, DivRem, UnsignedAbs};
use dashu_int::{IBig, UBig};

/// How many powers are kept: enough for numbers of some hundred digits.
const KEPT: usize = 512;
/// Powers that fit `u128`.
pub(crate) const SMALL: [u128; 39] = small_powers();

static POWERS: LazyLock<Vec<UBig>> = LazyLock::new(|| {
    let powers = std::iter::successors(Some(UBig::ONE), |power| Some(power * 10u8));
    powers.take(KEPT).collect()
});

const fn small_powers() -> [u128; 39] {
    let mut powers = [1u128; 39];
    let mut at = 1;
    while at < 39 {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
}

/// Ten to the power of `exponent`.
pub(crate) fn power(exponent: usize) -> Cow<'static, UBig> {
    match POWERS.get(exponent) {
        Some(power) => Cow::Borrowed(power),
        None => Cow::Owned(UBig::from(10u8).pow(exponent)),
    }
}

/// Ten to the power of `exponent` when it fits `i128`.
pub(crate) fn small(exponent: i32) -> Option<i128> {
    let power = SMALL.get(usize::try_from(exponent).ok()?)?;
    i128::try_from(*power).ok()
}

/// `value` times ten to the power of `exponent`; below zero nothing is multiplied.
pub(crate) fn shifted(value: &IBig, exponent: i32) -> IBig {
    match usize::try_from(exponent) {
        Ok(0) | Err(_) => value.clone(),
        Ok(_) if value.is_zero() => IBig::ZERO,
        Ok(exponent) => value * power(exponent).as_ref(),
    }
}

/// `value` over `divisor`, rounded half away from zero.
pub(crate) fn rounded_quotient(value: &IBig, divisor: &UBig) -> IBig {
    let (quotient, rest) = value.div_rem(divisor);
    if (rest.unsigned_abs() << 1) < *divisor {
        return quotient;
    }
    quotient + value.signum()
}

/// `value` without its last `digits` digits, rounded half away from zero.
pub(crate) fn rounded(value: &IBig, digits: usize) -> IBig {
    if digits == 0 {
        return value.clone();
    }
    if let Ok(small) = i128::try_from(value) {
        let magnitude = rounded_small(small.unsigned_abs(), digits);
        return if small < 0 { -IBig::from(magnitude) } else { magnitude.into() };
    }
    // Past all its digits and one more nothing is left to round up.
    if digits > count(value) {
        return IBig::ZERO;
    }
    rounded_quotient(value, power(digits).as_ref())
}

fn rounded_small(magnitude: u128, digits: usize) -> u128 {
    let Some(power) = SMALL.get(digits).copied() else { return 0 };
    if let (Ok(magnitude), Ok(power)) = (u64::try_from(magnitude), u64::try_from(power)) {
        let rest = magnitude % power;
        return (magnitude / power + u64::from(rest >= power - rest)).into();
    }
    let rest = magnitude % power;
    magnitude / power + u128::from(rest >= power - rest)
}

/// `value` without its last `digits` digits.
pub(crate) fn truncated(value: &IBig, digits: usize) -> IBig {
    if digits == 0 {
        return value.clone();
    }
    if digits >= count(value) {
        return IBig::ZERO;
    }
    value / power(digits).as_ref()
}

/// How many decimal digits `value` has; none for zero.
pub(crate) fn count(value: &IBig) -> usize {
    if let Ok(small) = i128::try_from(value) {
        return small.unsigned_abs().checked_ilog10().map_or(0, |digits| digits as usize + 1);
    }
    let magnitude = value.unsigned_abs();
    let least = ((magnitude.bit_len() - 1) as f64 * std::f64::consts::LOG10_2) as usize;
    least + 1 + usize::from(magnitude >= *power(least + 1).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_counted_at_the_edges() {
        for exponent in [1usize, 2, 37, 38, 39, 40, 200, 511, 512, 5000, 131_071] {
            let edge = IBig::from(power(exponent).into_owned());
            assert_eq!(count(&edge), exponent + 1, "10^{exponent}");
            assert_eq!(count(&(edge - 1)), exponent, "10^{exponent} - 1");
        }
        assert_eq!(count(&IBig::ZERO), 0);
    }

    #[test]
    fn rounding_is_half_away_from_zero() {
        assert_eq!(rounded(&IBig::from(-25), 1), IBig::from(-3));
        assert_eq!(rounded(&IBig::from(24), 1), IBig::from(2));
        assert_eq!(rounded(&IBig::from(50), 2), IBig::ONE);
        assert_eq!(rounded(&IBig::from(99), 3), IBig::ZERO);
        assert_eq!(truncated(&IBig::from(-99), 1), IBig::from(-9));
    }
}
