//! The text of a `numeric` (`numeric_out`): never an exponent, always all digits of its scale.

use dashu_int::IBig;
use dashu_int::ops::UnsignedAbs;

use super::number::{Finite, Number};

impl Number {
    /// The text that PostgreSQL shows.
    pub fn shown(&self) -> String {
        match self {
            Self::NaN => "NaN".to_owned(),
            Self::Infinity { is_negative: false } => "Infinity".to_owned(),
            Self::Infinity { is_negative: true } => "-Infinity".to_owned(),
            Self::Finite(value) => value.shown(),
        }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.shown())
    }
}

impl Finite {
    /// The text that PostgreSQL shows.
    pub fn shown(&self) -> String {
        let scale = usize::from(self.scale);
        let digits = magnitude_digits(&self.unscaled);
        let mut text = String::with_capacity(digits.len().max(scale) + 3);
        if self.signum() < 0 {
            text.push('-');
        }
        let whole = digits.len().saturating_sub(scale);
        let (whole, fraction) = digits.split_at_checked(whole).unwrap_or((&digits, ""));
        text.push_str(if whole.is_empty() { "0" } else { whole });
        if scale > 0 {
            text.push('.');
            text.extend(std::iter::repeat_n('0', scale - fraction.len()));
            text.push_str(fraction);
        }
        text
    }
}

fn magnitude_digits(value: &IBig) -> String {
    match i128::try_from(value).map(i128::unsigned_abs) {
        Ok(small) => u64::try_from(small).map_or_else(|_| small.to_string(), |tiny| tiny.to_string()),
        Err(_) => value.unsigned_abs().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_digits_of_the_scale_are_shown() {
        assert_eq!(Number::of_decimal(-5, 3).shown(), "-0.005");
        assert_eq!(Number::of_decimal(0, 2).shown(), "0.00");
        assert_eq!(Number::of_decimal(12345, 2).shown(), "123.45");
        assert_eq!(Number::of_decimal(12, -3).shown(), "12000");
        assert_eq!(Number::of_decimal(123, 3).shown(), "0.123");
        assert_eq!(Number::infinity(true).shown(), "-Infinity");
    }
}
