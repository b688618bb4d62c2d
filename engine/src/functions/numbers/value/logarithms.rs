//! Logarithms, by PostgreSQL's own series and precision (`ln_var` and `log_var` of `numeric.c`).

use std::f64::consts::LN_10;

use super::exponentials::LOG10_2;
use super::fault::Fault;
use super::groups::{GROUP, GROUP_DIGITS, Groups};
use super::number::{Number, RESULT_SCALE_MAX, SIGNIFICANT_DIGITS_MIN};

const OF_NEGATIVE: Fault = Fault::Logarithm("cannot take logarithm of a negative number");
const OF_ZERO: Fault = Fault::Logarithm("cannot take logarithm of zero");

impl Number {
    /// The natural logarithm (`numeric_ln`).
    pub fn ln(&self) -> Result<Self, Fault> {
        let value = match self {
            Self::Infinity { is_negative: true } => return Err(OF_NEGATIVE),
            Self::Finite(value) => Groups::of_finite(value),
            _ => return Ok(self.clone()),
        };
        let wanted = SIGNIFICANT_DIGITS_MIN - logarithm_exponent(&value);
        let scale = wanted.max(value.scale).clamp(0, RESULT_SCALE_MAX);
        logarithm(&value, scale)?.stored()
    }

    /// The logarithm to the base of ten.
    pub fn log10(&self) -> Result<Self, Fault> {
        Self::log(&Self::of_whole(10), self)
    }

    /// The logarithm of `value` to a base (`numeric_log`).
    pub fn log(base: &Self, value: &Self) -> Result<Self, Fault> {
        match (base, value) {
            (Self::Finite(base), Self::Finite(value)) => {
                logarithm_to(&Groups::of_finite(base), &Groups::of_finite(value))?.stored()
            }
            (Self::NaN, _) | (_, Self::NaN) => Ok(Self::NaN),
            _ if base.signum() < 0 || value.signum() < 0 => Err(OF_NEGATIVE),
            _ if base.signum() == 0 || value.signum() == 0 => Err(OF_ZERO),
            (Self::Infinity { .. }, Self::Infinity { .. }) => Ok(Self::NaN),
            (Self::Infinity { .. }, _) => Ok(Self::ZERO),
            _ => Ok(Self::infinity(false)),
        }
    }
}

/// The logarithm of `value` to `base`, with as many digits as PostgreSQL gives it.
fn logarithm_to(base: &Groups, value: &Groups) -> Result<Groups, Fault> {
    let (base_exponent, value_exponent) = (logarithm_exponent(base), logarithm_exponent(value));
    let exponent = value_exponent - base_exponent;
    let wanted = SIGNIFICANT_DIGITS_MIN - exponent;
    let scale = wanted.max(base.scale).max(value.scale).clamp(0, RESULT_SCALE_MAX);
    let base = logarithm(base, (scale + exponent - base_exponent + 8).max(0))?;
    let value = logarithm(value, (scale + exponent - value_exponent + 8).max(0))?;
    value.divided_by(&base, scale)
}

/// About where the first digit of a natural logarithm stands: 0 for ones (`estimate_ln_dweight`).
pub(crate) fn logarithm_exponent(value: &Groups) -> i32 {
    if value.is_negative || value.is_zero() {
        return 0;
    }
    if value.compare(&Groups::of_tenths(9)).is_ge() && value.compare(&Groups::of_tenths(11)).is_le() {
        // So near to one the logarithm is about what exceeds it.
        let excess = value.minus(&Groups::of_group(1));
        let digits = excess.group(0).checked_ilog10().unwrap_or(0);
        return excess.weight * GROUP_DIGITS + digits as i32;
    }
    let (mut digits, mut exponent) = (u64::from(value.group(0)), value.weight * GROUP_DIGITS);
    if value.groups.len() > 1 {
        digits = digits * GROUP + u64::from(value.group(1));
        exponent -= GROUP_DIGITS;
    }
    let logarithm = (digits as f64).ln() + f64::from(exponent) * LN_10;
    logarithm.abs().log10() as i32
}

/// The natural logarithm at `scale`.
pub(crate) fn logarithm(value: &Groups, scale: i32) -> Result<Groups, Fault> {
    if value.is_zero() {
        return Err(OF_ZERO);
    }
    if value.is_negative {
        return Err(OF_NEGATIVE);
    }
    let (roots, near) = near_one(value, scale);
    let inner = scale + (f64::from(roots + 1) * LOG10_2) as i32 + 8;
    let one = Groups::of_group(1);
    let ratio = near.minus(&one).divided_by(&near.plus(&one), inner)?;
    // The series yields half of the logarithm of the last root.
    let factor = Groups::of(&(dashu_int::IBig::ONE << (roots as usize + 1)), 0);
    Ok(series(&ratio, inner).times(&factor, scale))
}

/// A root of the value between 0.9 and 1.1, and how many times a square root was taken for it.
fn near_one(value: &Groups, scale: i32) -> (i32, Groups) {
    let (low, high) = (Groups::of_tenths(9), Groups::of_tenths(11));
    let mut roots = 0;
    let mut near = value.clone();
    while near.compare(&low).is_le() || near.compare(&high).is_ge() {
        // Great numbers are rounded before the point: only their first digits matter.
        near = near.root(scale - near.weight * GROUP_DIGITS / 2 + 8);
        roots += 1;
    }
    (roots, near)
}

/// z + z³/3 + z⁵/5 + …, until a term is zero at `scale`.
fn series(ratio: &Groups, scale: i32) -> Groups {
    let square = ratio.times(ratio, scale);
    let mut sum = ratio.clone();
    let mut power = ratio.clone();
    let mut divisor = 1;
    loop {
        divisor += 2;
        power = power.times(&square, scale);
        let term = power.over(divisor, scale);
        if term.is_zero() {
            return sum;
        }
        sum = sum.plus(&term);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::read(text).expect("a result")
    }

    #[test]
    fn logarithms_have_the_digits_of_postgres() {
        let ln = |text: &str| number(text).ln().map(|number| number.shown());
        assert_eq!(ln("2").expect("a result"), "0.6931471805599453");
        assert_eq!(ln("1").expect("a result"), "0.0000000000000000");
        assert_eq!(ln("0.99999999").expect("a result"), "-0.000000010000000050000000");
        assert_eq!(ln("0").expect_err("a fault").message(), "cannot take logarithm of zero");
        assert_eq!(ln("-Infinity").expect_err("a fault").sqlstate(), "2201E");
        assert_eq!(number("1000").log10().expect("a result").shown(), "3.0000000000000000");
        assert_eq!(
            Number::log(&number("2.0"), &number("64.0")).expect("a result").shown(),
            "6.0000000000000000"
        );
        assert_eq!(Number::log(&number("1"), &number("2")).expect_err("a fault"), Fault::DivisionByZero);
        assert_eq!(Number::log(&Number::infinity(false), &number("2")).expect("a result").shown(), "0");
    }
}
