//! Reads a text as `numeric_in` of PostgreSQL 15 does. The exponent is C's `strtol`, so `1e 5` is a number.

use dashu_int::IBig;

use super::fault::Fault;
use super::number::{Finite, Number, SCALE_MAX, WHOLE_DIGITS_MAX};
use super::tens;

/// Exponents of this size are refused before the rest of the text is looked at.
const EXPONENT_LIMIT: i64 = (i32::MAX / 2) as i64;

impl Number {
    /// Reads a `numeric`: spaces around it, signs, a point, an exponent, NaN and infinities in any case.
    pub fn read(text: &str) -> Result<Self, Fault> {
        let wrong = || Fault::NotANumber(text.to_owned());
        let trimmed = trim(text);
        if let Some(special) = read_special(trimmed) {
            return Ok(special);
        }
        let (is_negative, rest) = split_sign(trimmed);
        let (mantissa, rest) = Mantissa::take(rest).ok_or_else(wrong)?;
        let (exponent, rest) = match rest.strip_prefix(['e', 'E']) {
            Some(rest) => take_exponent(rest).ok_or_else(wrong)?,
            None => (0, rest),
        };
        if exponent.abs() >= EXPONENT_LIMIT {
            return Err(Fault::Overflow);
        }
        if !rest.is_empty() {
            return Err(wrong());
        }
        mantissa.at_exponent(is_negative, exponent)
    }
}

/// The digits of a text before its exponent.
struct Mantissa<'a> {
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Mantissa<'a> {
    /// Takes the digits and the point from the front; `None` without a digit.
    fn take(text: &'a str) -> Option<(Self, &'a str)> {
        let (whole, rest) = split_digits(text);
        let (fraction, rest) = match rest.strip_prefix('.') {
            Some(rest) => split_digits(rest),
            None => ("", rest),
        };
        (!whole.is_empty() || !fraction.is_empty()).then_some((Self { whole, fraction }, rest))
    }

    fn at_exponent(&self, is_negative: bool, exponent: i64) -> Result<Number, Fault> {
        let scale = i64::try_from(self.fraction.len()).map_err(|_| Fault::Overflow)? - exponent;
        let (first, second) = self.significant();
        let digits = i64::try_from(first.len() + second.len()).map_err(|_| Fault::Overflow)?;
        if scale > i64::from(SCALE_MAX) || (digits > 0 && digits - scale > WHOLE_DIGITS_MAX) {
            return Err(Fault::Overflow);
        }
        let value = parse(first, second).ok_or(Fault::Overflow)?;
        let value = if is_negative { -value } else { value };
        let zeros = i32::try_from(-scale).unwrap_or(0);
        let scale = u16::try_from(scale.max(0)).map_err(|_| Fault::Overflow)?;
        Ok(Number::Finite(Finite { unscaled: tens::shifted(&value, zeros), scale }))
    }

    /// The digits without leading zeros.
    fn significant(&self) -> (&'a str, &'a str) {
        match self.whole.trim_start_matches('0') {
            "" => ("", self.fraction.trim_start_matches('0')),
            whole => (whole, self.fraction),
        }
    }
}

/// The number whose digits are those of both texts.
fn parse(first: &str, second: &str) -> Option<IBig> {
    if first.len() + second.len() <= 38 {
        let digits = first.bytes().chain(second.bytes());
        return Some(IBig::from(digits.fold(0u128, |value, digit| value * 10 + u128::from(digit - b'0'))));
    }
    IBig::from_str_radix(&[first, second].concat(), 10).ok()
}

/// Without the spaces that C's `isspace` knows.
fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

fn is_space(letter: char) -> bool {
    letter.is_ascii_whitespace() || letter == '\x0b'
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn split_sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// A number behind the `e`, and what follows it; as large as it gets when it is larger.
fn take_exponent(text: &str) -> Option<(i64, &str)> {
    let (is_negative, rest) = split_sign(text.trim_start_matches(is_space));
    let (digits, rest) = split_digits(rest);
    if digits.is_empty() {
        return None;
    }
    let value = digits.bytes().fold(0i64, |value, digit| {
        value.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(i64::MAX / 2)
    });
    Some((if is_negative { -value } else { value }, rest))
}

fn read_special(text: &str) -> Option<Number> {
    if text.eq_ignore_ascii_case("nan") {
        return Some(Number::NaN);
    }
    let (is_negative, name) = split_sign(text);
    let is_infinite = name.eq_ignore_ascii_case("inf") || name.eq_ignore_ascii_case("infinity");
    is_infinite.then_some(Number::Infinity { is_negative })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        Number::read(text).map_or_else(|fault| fault.sqlstate().to_owned(), |number| number.shown())
    }

    #[test]
    fn texts_are_read_as_postgres_reads_them() {
        for (text, shown) in [
            ("1", "1"),
            (" -1.50 ", "-1.50"),
            (".5", "0.5"),
            ("1.", "1"),
            ("+007", "7"),
            ("-0.00", "0.00"),
            ("1e3", "1000"),
            ("1.5e-3", "0.0015"),
            ("1.55e1", "15.5"),
            ("1e 5", "100000"),
            ("12.e+1", "120"),
            ("nan", "NaN"),
            ("-inf", "-Infinity"),
            ("+Infinity", "Infinity"),
            ("\t\x0b1\n", "1"),
            ("0e9", "0"),
            ("0e-3", "0.000"),
            ("123456789012345678901234567890123456789.5", "123456789012345678901234567890123456789.5"),
        ] {
            assert_eq!(read(text), shown, "{text}");
        }
    }

    #[test]
    fn wrong_texts_have_the_sqlstate_of_postgres() {
        for text in
            ["", ".", "-", "e1", "1e", "1 2", "0x1", "--1", "1_0", "-nan", "nanx", "1..2", "1.2.3", "1e+ 5"]
        {
            assert_eq!(read(text), "22P02", "{text}");
        }
        for text in ["1e131072", "1e-16384", "0e-16384", "1e1073741823x", "1e99999999999999999999999"] {
            assert_eq!(read(text), "22003", "{text}");
        }
        assert_eq!(read("1e20000000x"), "22P02");
        assert_eq!(read("1e131071").len(), 131_072);
    }
}
