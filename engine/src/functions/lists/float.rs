//! Floating-point numbers as PostgreSQL prints and reads them.

use std::fmt::{LowerExp, Write};

/// Digits before the point from which on there is an exponent.
const SINGLE_DIGITS: i32 = 6;
const DOUBLE_DIGITS: i32 = 15;

/// Appends what `float4out` prints.
pub fn put_single(value: f32, out: &mut String) {
    put(value.into(), value, SINGLE_DIGITS, out);
}

/// Appends what `float8out` prints.
pub fn put_double(value: f64, out: &mut String) {
    put(value, value, DOUBLE_DIGITS, out);
}

/// `shown` has the fewest digits that read back as the same number when it is printed with an exponent.
fn put(value: f64, shown: impl LowerExp, exponent_from: i32, out: &mut String) {
    if value.is_nan() {
        return out.push_str("NaN");
    }
    if value.is_infinite() {
        return out.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    }
    if value.is_sign_negative() {
        out.push('-');
    }
    if value == 0.0 {
        return out.push('0');
    }
    let text = format!("{shown:e}");
    let (mantissa, exponent) = text.trim_start_matches('-').split_once('e').unwrap_or((&text, "0"));
    let digits = mantissa.replace('.', "");
    let power: i32 = exponent.parse().unwrap_or(0);
    if !(-4..exponent_from).contains(&power) {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let sign = if power < 0 { '-' } else { '+' };
        let _ = write!(out, "{first}{point}{rest}e{sign}{:02}", power.abs());
    } else if power < 0 {
        let _ = write!(out, "0.{}{digits}", "0".repeat((-power - 1) as usize));
    } else {
        let whole = power as usize + 1;
        if digits.len() <= whole {
            let _ = write!(out, "{digits}{}", "0".repeat(whole - digits.len()));
        } else {
            let _ = write!(out, "{}.{}", &digits[..whole], &digits[whole..]);
        }
    }
}

/// The number that `text` is; `None` where `float8in` refuses it.
pub fn read(text: &str) -> Option<f64> {
    let trimmed = text.trim_matches(|letter: char| letter.is_ascii_whitespace() || letter == '\x0b');
    let (sign, unsigned) = match trimmed.as_bytes().first()? {
        b'-' => (-1.0, &trimmed[1..]),
        b'+' => (1.0, &trimmed[1..]),
        _ => (1.0, trimmed),
    };
    let is_word = |word: &str| unsigned.eq_ignore_ascii_case(word);
    if is_word("nan") {
        return Some(f64::NAN);
    }
    if is_word("inf") || is_word("infinity") {
        return Some(sign * f64::INFINITY);
    }
    // Rust reads more words than these.
    let is_numeric = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    if !unsigned.bytes().next().is_some_and(|byte| byte.is_ascii_digit() || byte == b'.')
        || !unsigned.bytes().all(is_numeric)
    {
        return None;
    }
    unsigned.parse::<f64>().ok().map(|value| sign * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected texts are those of a PostgreSQL 15.
    #[test]
    fn floats_print_as_postgres_prints_them() {
        for (value, right) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (100.0, "100"),
            (-1.5, "-1.5"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (123_456_789_012_345.0, "123456789012345"),
            (1e15, "1e+15"),
            (1.234e20, "1.234e+20"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            let mut out = String::new();
            put_double(value, &mut out);
            assert_eq!(out, right);
        }
        let mut out = String::new();
        put_single(1.1, &mut out);
        assert_eq!(out, "1.1");
    }

    #[test]
    fn words_are_read_and_others_are_not() {
        assert_eq!(read(" -Infinity "), Some(f64::NEG_INFINITY));
        assert_eq!(read("1e3"), Some(1000.0));
        assert_eq!(read(".5"), Some(0.5));
        for text in ["", "x", "1x", "0x10", "1e", "- 1", "."] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
