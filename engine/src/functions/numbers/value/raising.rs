//! Powers: by multiplying for whole exponents, else by a logarithm (`power_var_int` and `power_var` of
//! `numeric.c`).

use super::exponentials::{DIGITS_LIMIT, LOG10_E, exponential};
use super::fault::Fault;
use super::groups::{GROUP, GROUP_DIGITS, Groups};
use super::logarithms::{logarithm, logarithm_exponent};
use super::number::{Finite, Number, RESULT_SCALE_MAX, SIGNIFICANT_DIGITS_MIN, WHOLE_DIGITS_MAX};

const OF_ZERO: Fault = Fault::Power("zero raised to a negative power is undefined");
const COMPLEX: Fault =
    Fault::Power("a negative number raised to a non-integer power yields a complex result");
/// The greatest power of 10000 that a number may have.
const WEIGHT_MAX: i32 = 32_767;
/// Groups that fit a double's digits.
const GROUPS_IN_DOUBLE: usize = 4;

impl Number {
    /// The number to the power of `exponent` (`numeric_power`).
    pub fn power(&self, exponent: &Self) -> Result<Self, Fault> {
        match (self, exponent) {
            (Self::Finite(base), Self::Finite(exponent)) => raise(base, exponent)?.stored(),
            (Self::NaN, _) if exponent.signum() == 0 => Ok(Self::ONE),
            (_, Self::NaN) if self.is_one() => Ok(Self::ONE),
            (Self::NaN, _) | (_, Self::NaN) => Ok(Self::NaN),
            _ => self.power_of_infinite(exponent),
        }
    }

    /// With an infinity for base or exponent, by the rules that POSIX has for `pow`.
    fn power_of_infinite(&self, exponent: &Self) -> Result<Self, Fault> {
        let direction = exponent.signum();
        match self.signum() {
            0 if direction < 0 => return Err(OF_ZERO),
            -1 if !exponent.is_whole() => return Err(COMPLEX),
            0 => return Ok(Self::ZERO),
            _ if direction == 0 || self.is_one() => return Ok(Self::ONE),
            _ => {}
        }
        if let (Self::Finite(_), Self::Infinity { .. }) = (self, exponent) {
            return Ok(match self.absolute().compare(&Self::ONE) {
                std::cmp::Ordering::Equal => Self::ONE,
                order if order.is_gt() == (direction > 0) => Self::infinity(false),
                _ => Self::ZERO,
            });
        }
        if direction < 0 {
            return Ok(Self::ZERO);
        }
        let is_odd = matches!(exponent, Self::Finite(exponent) if is_odd(&Groups::of_finite(exponent)));
        Ok(Self::infinity(self.signum() < 0 && is_odd))
    }

    fn is_one(&self) -> bool {
        self.compare(&Self::ONE).is_eq()
    }

    /// True without a fraction; the infinities count as whole.
    fn is_whole(&self) -> bool {
        match self {
            Self::Finite(value) => value.is_whole(),
            Self::Infinity { .. } => true,
            Self::NaN => false,
        }
    }
}

fn raise(base: &Finite, exponent: &Finite) -> Result<Groups, Fault> {
    if base.signum() == 0 && exponent.signum() < 0 {
        return Err(OF_ZERO);
    }
    let is_whole = exponent.is_whole();
    let whole = is_whole.then(|| Number::Finite(exponent.clone()).to_i32().ok()).flatten();
    let (base, exponent) = (Groups::of_finite(base), Groups::of_finite(exponent));
    match whole {
        Some(whole) => raise_to_whole(&base, whole),
        None if base.is_zero() => Ok(Groups::zero(SIGNIFICANT_DIGITS_MIN)),
        None if base.is_negative && !is_whole => Err(COMPLEX),
        None => {
            let is_negative = base.is_negative && is_odd(&exponent);
            let result = raise_by_logarithm(&Groups { is_negative: false, ..base }, &exponent)?;
            Ok(Groups { is_negative: is_negative && !result.is_zero(), ..result })
        }
    }
}

/// e to the power of the exponent times the base's logarithm, for a base above zero.
fn raise_by_logarithm(base: &Groups, exponent: &Groups) -> Result<Groups, Fault> {
    let logarithm_exponent = logarithm_exponent(base);
    let product = |digits: i32| {
        let scale = (digits - logarithm_exponent + 8).max(0);
        logarithm(base, scale).map(|logarithm| logarithm.times(exponent, scale))
    };
    // First with a few digits, to learn how many the result has.
    let estimate = product(0)?.nearest_double();
    if estimate.abs() > DIGITS_LIMIT * 3.01 {
        return if estimate > 0.0 { Err(Fault::Overflow) } else { Ok(Groups::zero(RESULT_SCALE_MAX)) };
    }
    let digits = (estimate * LOG10_E) as i32;
    let wanted = SIGNIFICANT_DIGITS_MIN - digits;
    let scale = wanted.max(base.scale).max(exponent.scale).clamp(0, RESULT_SCALE_MAX);
    exponential(&product((scale + digits).max(0))?, scale)
}

/// The power by a whole exponent (`power_var_int`).
fn raise_to_whole(base: &Groups, exponent: i32) -> Result<Groups, Fault> {
    let scale = SIGNIFICANT_DIGITS_MIN.max(base.scale).clamp(0, RESULT_SCALE_MAX);
    match exponent {
        0 => return Ok(Groups { scale, ..Groups::of_group(1) }),
        1 => return Ok(base.clone().rounded(scale)),
        -1 => return Groups::of_group(1).divided_by(base, scale),
        2 => return Ok(base.times(base, scale)),
        _ if base.is_zero() => return Ok(Groups::zero(scale)),
        _ => {}
    }
    let estimate = f64::from(exponent) * decimal_logarithm(base);
    if estimate > 3.0 * WHOLE_DIGITS_LIMIT {
        return Err(Fault::Overflow);
    }
    if estimate + 1.0 < f64::from(-scale) {
        return Ok(Groups::zero(scale));
    }
    let digits = 1 + scale + estimate as i32 + f64::from(exponent).abs().ln() as i32 + 8;
    match multiply_out(base, exponent.unsigned_abs(), digits) {
        Some(result) if exponent < 0 => Groups::of_group(1).divided_by(&result, scale),
        Some(result) => Ok(result.rounded(scale)),
        None if exponent < 0 => Ok(Groups::zero(scale)),
        None => Err(Fault::Overflow),
    }
}

/// The digits before the point, less those of a first group.
const WHOLE_DIGITS_LIMIT: f64 = (WHOLE_DIGITS_MAX - GROUP_DIGITS as i64) as f64;

/// About the decimal logarithm of the magnitude, from the groups that fit a double.
fn decimal_logarithm(value: &Groups) -> f64 {
    let taken = value.groups.iter().take(GROUPS_IN_DOUBLE);
    let count = taken.len() as i32;
    let digits = taken.fold(0.0, |digits, group| digits * GROUP as f64 + f64::from(*group));
    digits.log10() + f64::from((value.weight - count + 1) * GROUP_DIGITS)
}

/// The base as often as `exponent` says, each product with as many digits as `digits` asks for; `None` when a
/// product gets too long to be stored.
fn multiply_out(base: &Groups, exponent: u32, digits: i32) -> Option<Groups> {
    let product = |left: &Groups, right: &Groups| {
        let scale = digits - (left.weight + right.weight) * GROUP_DIGITS;
        left.times(right, scale.min(left.scale + right.scale).max(0))
    };
    let mut square = base.clone();
    let mut result = if exponent & 1 == 1 { base.clone() } else { Groups::of_group(1) };
    let mut rest = exponent >> 1;
    while rest > 0 {
        square = product(&square, &square);
        if rest & 1 == 1 {
            result = product(&square, &result);
        }
        if square.weight > WEIGHT_MAX || result.weight > WEIGHT_MAX {
            return None;
        }
        rest >>= 1;
    }
    Some(result)
}

/// True for an odd whole number.
fn is_odd(value: &Groups) -> bool {
    value.end() == 0 && value.groups.last().is_some_and(|group| group % 2 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(base: &str, exponent: &str) -> String {
        let read = |text| Number::read(text).expect("a result");
        read(base)
            .power(&read(exponent))
            .map_or_else(|fault| fault.sqlstate().to_owned(), |number| number.shown())
    }

    #[test]
    fn powers_have_the_digits_of_postgres() {
        assert_eq!(shown("2", "10"), "1024.0000000000000000");
        assert_eq!(shown("2", "-1"), "0.5000000000000000");
        assert_eq!(shown("2", "0.5"), "1.4142135623730950");
        assert_eq!(shown("-2.5", "3"), "-15.6250000000000000");
        assert_eq!(shown("0", "0"), "1.0000000000000000");
        assert_eq!(shown("0", "0.5"), "0.0000000000000000");
        assert_eq!(shown("0", "-1"), "2201F");
        assert_eq!(shown("-1", "0.5"), "2201F");
        assert_eq!(shown("10", "131072"), "22003");
        assert_eq!(shown("1.1", "-1000000000"), "0.0000000000000000");
    }

    #[test]
    fn infinite_powers_follow_posix() {
        assert_eq!(shown("NaN", "0"), "1");
        assert_eq!(shown("1", "NaN"), "1");
        assert_eq!(shown("-1", "Infinity"), "1");
        assert_eq!(shown("0.5", "-Infinity"), "Infinity");
        assert_eq!(shown("-Infinity", "3"), "-Infinity");
        assert_eq!(shown("-Infinity", "-3"), "0");
        assert_eq!(shown("-Infinity", "0.5"), "2201F");
        assert_eq!(shown("0", "-Infinity"), "2201F");
    }
}
