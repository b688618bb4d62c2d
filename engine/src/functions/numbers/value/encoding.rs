//! The bytes of a `numeric`, whose order is PostgreSQL's order. The scale stands last: two numbers that
//! differ in it alone have equal bytes before it.
//!
//! The first byte is the kind of number. Then come, of a number that is finite and not zero, the weight of
//! its first limb of nine digits, the limbs (each one more than its digits, so that a zero can end them), and
//! that zero; all complemented below zero. Then the scale of a finite number.

use dashu_int::ops::{DivRem, UnsignedAbs};
use dashu_int::{IBig, UBig};

use super::number::{Finite, Number};
use super::small;
use super::tens;

/// Decimal digits of a limb.
pub(crate) const LIMB_DIGITS: i32 = 9;
/// One more than the greatest limb.
pub(crate) const LIMB: u32 = 1_000_000_000;
/// What is added to a weight so that it is never below zero.
pub(crate) const WEIGHT_BIAS: i32 = 0x8000;
/// The weight of the first digit of a square of 131072 digits, and of many squares' sum.
const WEIGHT_MAX: i32 = 29_130;

/// The first byte.
pub(crate) mod class {
    pub(crate) const BELOW_ALL: u8 = 0;
    pub(crate) const NEGATIVE: u8 = 1;
    pub(crate) const ZERO: u8 = 2;
    pub(crate) const POSITIVE: u8 = 3;
    pub(crate) const ABOVE_ALL: u8 = 4;
    pub(crate) const NAN: u8 = 5;
}

impl Number {
    /// Appends the bytes of the number.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::NaN => out.push(class::NAN),
            Self::Infinity { is_negative: true } => out.push(class::BELOW_ALL),
            Self::Infinity { is_negative: false } => out.push(class::ABOVE_ALL),
            Self::Finite(value) => match value.small().filter(|small| small::fits(*small)) {
                Some(unscaled) => small::encode_small(unscaled, value.scale, out),
                None => encode_wide(value, out),
            },
        }
    }
}

/// The number of some bytes; NaN when they are none's.
pub fn decode(bytes: &[u8]) -> Number {
    if let Some((unscaled, scale)) = small::decode_small(bytes) {
        return Number::Finite(Finite { unscaled: unscaled.into(), scale });
    }
    match bytes.split_first() {
        Some((&class::BELOW_ALL, _)) => Number::infinity(true),
        Some((&class::ABOVE_ALL, _)) => Number::infinity(false),
        Some((&class::NEGATIVE, rest)) => decode_wide(rest, true).unwrap_or(Number::NaN),
        Some((&class::POSITIVE, rest)) => decode_wide(rest, false).unwrap_or(Number::NaN),
        _ => Number::NaN,
    }
}

/// The bytes without the scale: those of equal numbers are equal.
pub fn key(bytes: &[u8]) -> &[u8] {
    let has_scale = matches!(bytes.first(), Some(&(class::NEGATIVE | class::ZERO | class::POSITIVE)));
    let end = bytes.len().saturating_sub(if has_scale { 2 } else { 0 });
    bytes.get(..end).unwrap_or(bytes)
}

fn encode_wide(value: &Finite, out: &mut Vec<u8>) {
    let is_negative = value.signum() < 0;
    let scale = value.places();
    // Filled up with zeros until the last limb ends where limbs end behind the point.
    let padding = (LIMB_DIGITS - scale % LIMB_DIGITS) % LIMB_DIGITS;
    let mut limbs = limbs_of(&tens::shifted(&value.unscaled, padding).unsigned_abs());
    let count = i32::try_from(limbs.len()).unwrap_or(i32::MAX);
    let weight = count - 1 - (scale + padding) / LIMB_DIGITS;
    while limbs.last() == Some(&0) {
        limbs.pop();
    }
    let mask = if is_negative { u8::MAX } else { 0 };
    out.reserve(limbs.len() * 4 + 9);
    out.push(if is_negative { class::NEGATIVE } else { class::POSITIVE });
    let weight = u16::try_from(weight + WEIGHT_BIAS).unwrap_or(u16::MAX);
    out.extend(weight.to_be_bytes().map(|byte| byte ^ mask));
    for limb in limbs {
        out.extend((limb + 1).to_be_bytes().map(|byte| byte ^ mask));
    }
    out.extend([mask; 4]);
    out.extend(value.scale.to_be_bytes());
}

fn decode_wide(bytes: &[u8], is_negative: bool) -> Option<Number> {
    let mask = if is_negative { u8::MAX } else { 0 };
    let (digits, scale) = bytes.split_last_chunk::<2>()?;
    let scale = u16::from_be_bytes(*scale);
    let (weight, limbs) = digits.split_first_chunk::<2>()?;
    let weight = i32::from(u16::from_be_bytes(weight.map(|byte| byte ^ mask))) - WEIGHT_BIAS;
    let (limbs, rest) = limbs.as_chunks::<4>();
    let (end, limbs) = limbs.split_last()?;
    if !rest.is_empty() || *end != [mask; 4] || weight > WEIGHT_MAX {
        return None;
    }
    let limbs = limbs.iter().map(|limb| u32::from_be_bytes(limb.map(|byte| byte ^ mask)).checked_sub(1));
    let limbs = limbs.map(|limb| limb.filter(|limb| *limb < LIMB)).collect::<Option<Vec<_>>>()?;
    let last = weight.checked_sub(i32::try_from(limbs.len()).ok()?.checked_sub(1)?)?;
    let exponent = last * LIMB_DIGITS + i32::from(scale);
    let value = IBig::from(value_of(&limbs));
    let value = match usize::try_from(-exponent) {
        // Digits behind the scale can only be the zeros that fill the last limb.
        Ok(zeros) => tens::truncated(&value, zeros),
        Err(_) => tens::shifted(&value, exponent),
    };
    Some(Number::Finite(Finite { unscaled: if is_negative { -value } else { value }, scale }))
}

/// Numbers of up to so many limbs are taken apart limb by limb, longer ones in halves.
const LIMBS_IN_A_ROW: usize = 32;

/// The limbs of a number, the first one not zero.
fn limbs_of(value: &UBig) -> Vec<u32> {
    let digits = tens::count(&IBig::from(value.clone()));
    let mut limbs = vec![0; digits.div_ceil(LIMB_DIGITS as usize)];
    fill_limbs(value.clone(), &mut limbs);
    limbs
}

fn fill_limbs(mut value: UBig, limbs: &mut [u32]) {
    if limbs.len() > LIMBS_IN_A_ROW {
        let low = limbs.len() / 2;
        let (first, second) = value.div_rem(tens::power(low * LIMB_DIGITS as usize).as_ref());
        let (front, back) = limbs.split_at_mut(limbs.len() - low);
        fill_limbs(first, front);
        fill_limbs(second, back);
        return;
    }
    for limb in limbs.iter_mut().rev() {
        let (rest, digits) = value.div_rem(LIMB);
        *limb = digits;
        value = rest;
    }
}

fn value_of(limbs: &[u32]) -> UBig {
    if limbs.len() > LIMBS_IN_A_ROW {
        let low = limbs.len() / 2;
        let (front, back) = limbs.split_at_checked(limbs.len() - low).unwrap_or((limbs, &[]));
        return value_of(front) * tens::power(low * LIMB_DIGITS as usize).as_ref() + value_of(back);
    }
    limbs.iter().fold(UBig::ZERO, |value, limb| value * LIMB + *limb)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        Number::read(text).expect("a result").encode(&mut bytes);
        bytes
    }

    #[test]
    fn bytes_come_back_as_the_number() {
        let long = "7".repeat(1000);
        for text in [
            "0",
            "0.00",
            "1",
            "-1.50",
            "NaN",
            "Infinity",
            "-Infinity",
            "0.000000001",
            "1000000000",
            "-999999999999999999999999999999999999999999.123456789012345",
            "0.00000000000000000000000000000000000000000012",
            &long,
            &format!("-0.{long}"),
            "170141183460469231731687303715884105727",
            "-170141183460469231731687303715884105728",
        ] {
            assert_eq!(decode(&encoded(text)).shown(), text);
        }
        for text in ["1e131071", "-1e-16383", "9e-16383", "-123e131000"] {
            let number = Number::read(text).expect("a result");
            assert_eq!(decode(&encoded(text)).shown(), number.shown());
        }
    }

    #[test]
    fn bytes_are_in_the_order_of_the_numbers() {
        let numbers = [
            "-Infinity",
            "-1e100",
            "-1e39",
            "-1000000000",
            "-999999999",
            "-2",
            "-1.5",
            "-1.000000001",
            "-1",
            "-0.1",
            "-1e-50",
            "0",
            "1e-50",
            "0.1",
            "0.100000000000000000000000000000000000000000000000000001",
            "1",
            "1.000000001",
            "1.5",
            "2",
            "999999999",
            "1000000000",
            "1000000001",
            "1e39",
            "1e100",
            "1.1e100",
            "Infinity",
            "NaN",
        ];
        for pair in numbers.windows(2) {
            assert!(encoded(pair[0]) < encoded(pair[1]), "{pair:?}");
            assert!(key(&encoded(pair[0])) < key(&encoded(pair[1])), "{pair:?}");
        }
    }

    #[test]
    fn equal_numbers_have_equal_keys() {
        let long = format!("1.{}", "0".repeat(60));
        for (left, right) in [
            ("1", "1.00"),
            ("0", "0.000"),
            ("-1.5", "-1.500000000000"),
            ("1", &long),
            ("1e9", "1000000000.0"),
        ] {
            assert_eq!(key(&encoded(left)), key(&encoded(right)));
            assert_ne!(encoded(left).last_chunk::<2>(), encoded(right).last_chunk::<2>());
        }
    }

    #[test]
    fn malformed_bytes_are_not_a_number() {
        for bytes in [
            &[][..],
            &[9],
            &[1],
            &[3, 0, 0],
            &[3, 0xff, 0xff, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0],
            &[3, 0x80, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(decode(bytes).shown(), "NaN");
        }
        let mut state = 7u32;
        for _ in 0..20_000 {
            let mut bytes = encoded("-12345.6789012345678901234567890123456789012345");
            for _ in 0..3 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (state >> 8) as usize % bytes.len();
                bytes[at] = (state >> 24) as u8;
            }
            bytes.truncate(1 + (state >> 4) as usize % bytes.len());
            let _ = decode(&bytes);
            let _ = key(&bytes);
        }
    }
}
