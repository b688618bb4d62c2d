//! Divisors, multiples and factorials. `gcd` and `lcm` take fractions too: those of the values at one scale.

use dashu_int::UBig;
use dashu_int::ops::Gcd;

use super::fault::Fault;
use super::number::Number;

/// Factorials above this one have too many digits (`numeric_fac` of `numeric.c`).
const FACTORIAL_MAX: i64 = 32_177;
/// So many factors are multiplied one by one.
const FACTORS_IN_A_ROW: u32 = 16;

impl Number {
    /// The greatest common divisor (`numeric_gcd`); NaN unless both are finite.
    pub fn gcd(&self, other: &Self) -> Result<Self, Fault> {
        let (Self::Finite(left), Self::Finite(right)) = (self, other) else { return Ok(Self::NaN) };
        let scale = left.places().max(right.places());
        let divisor = common_divisor(left.magnitude_at(scale), right.magnitude_at(scale));
        Self::stored(divisor.into(), scale)
    }

    /// The least common multiple (`numeric_lcm`); NaN unless both are finite.
    pub fn lcm(&self, other: &Self) -> Result<Self, Fault> {
        let (Self::Finite(left), Self::Finite(right)) = (self, other) else { return Ok(Self::NaN) };
        let scale = left.places().max(right.places());
        let (left, right) = (left.magnitude_at(scale), right.magnitude_at(scale));
        if left.is_zero() || right.is_zero() {
            return Self::stored(0.into(), scale);
        }
        let divisor = common_divisor(left.clone(), right.clone());
        Self::stored((left / divisor * right).into(), scale)
    }

    /// The product of all whole numbers up to `value` (`numeric_fac`).
    pub fn factorial(value: i64) -> Result<Self, Fault> {
        if value < 0 {
            return Err(Fault::OutOfRange("factorial of a negative number is undefined".to_owned()));
        }
        if value > FACTORIAL_MAX {
            return Err(Fault::Overflow);
        }
        let last = u32::try_from(value).map_err(|_| Fault::Overflow)?;
        Self::stored(product(1, last).into(), 0)
    }
}

fn common_divisor(left: UBig, right: UBig) -> UBig {
    match (left.is_zero(), right.is_zero()) {
        (true, _) => right,
        (_, true) => left,
        _ => left.gcd(right),
    }
}

/// The product of `first` to `last`, halved so that both factors are about as long.
fn product(first: u32, last: u32) -> UBig {
    if last < first + FACTORS_IN_A_ROW {
        return (first..=last).fold(UBig::ONE, |product, factor| product * factor);
    }
    let middle = first + (last - first) / 2;
    product(first, middle) * product(middle + 1, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::read(text).expect("a result")
    }

    #[test]
    fn divisors_and_multiples_of_fractions() {
        assert_eq!(number("330.3").gcd(&number("-462")).expect("a result").shown(), "0.3");
        assert_eq!(number("0").gcd(&number("-4.50")).expect("a result").shown(), "4.50");
        assert_eq!(number("330.3").lcm(&number("-462")).expect("a result").shown(), "508662.0");
        assert_eq!(number("0.00").lcm(&number("5")).expect("a result").shown(), "0.00");
        assert_eq!(Number::NaN.lcm(&number("5")).expect("a result").shown(), "NaN");
    }

    #[test]
    fn factorials_end_with_the_format() {
        assert_eq!(Number::factorial(0).expect("a result").shown(), "1");
        assert_eq!(Number::factorial(25).expect("a result").shown(), "15511210043330985984000000");
        assert_eq!(Number::factorial(-1).expect_err("a fault").sqlstate(), "22003");
        assert_eq!(Number::factorial(32_178).expect_err("a fault"), Fault::Overflow);
    }
}
