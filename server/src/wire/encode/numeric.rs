//! `numeric`: decimals of any width as text, and in PostgreSQL's groups of four digits.

use bytes::BufMut;
use engine::functions::numbers::wide::Number;

/// Writes digits of an unscaled value (with its sign) at `scale`.
pub fn put_text(unscaled: &str, scale: i8, out: &mut Vec<u8>) {
    let (sign, digits) = unscaled.strip_prefix('-').map_or(("", unscaled), |digits| ("-", digits));
    out.put_slice(sign.as_bytes());
    if scale <= 0 {
        out.put_slice(digits.as_bytes());
        if digits != "0" {
            out.put_bytes(b'0', usize::from(scale.unsigned_abs()));
        }
        return;
    }
    let scale = usize::from(scale.unsigned_abs());
    if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        out.put_slice(whole.as_bytes());
        out.put_u8(b'.');
        out.put_slice(fraction.as_bytes());
    } else {
        out.put_slice(b"0.");
        out.put_bytes(b'0', scale - digits.len());
        out.put_slice(digits.as_bytes());
    }
}

/// Writes an unscaled value at `scale` as text.
pub fn put_text_of(unscaled: i128, scale: i8, out: &mut Vec<u8>) {
    // Most decimals fit in 64 bits, whose digits are found much faster.
    match i64::try_from(unscaled) {
        Ok(small) => put_text(itoa::Buffer::new().format(small), scale, out),
        Err(_) => put_text(itoa::Buffer::new().format(unscaled), scale, out),
    }
}

const NEGATIVE: u16 = 0x4000;
/// Groups of four digits in the largest 128-bit value, and one for its alignment.
const GROUPS_MAX: usize = 11;

/// Writes an unscaled value at `scale` in PostgreSQL's binary form, behind its length.
pub fn put_binary_field(unscaled: i128, scale: i8, out: &mut Vec<u8>) {
    const POWERS: [u64; 4] = [1, 10, 100, 1000];
    let magnitude = unscaled.unsigned_abs();
    // Groups are aligned at the point: the fraction is filled up to whole groups.
    let (fraction_groups, fill) = match u32::try_from(scale) {
        Ok(scale) => (scale.div_ceil(4) as i32, POWERS[((4 - scale % 4) % 4) as usize]),
        Err(_) => return put_binary_slow(unscaled, scale, out),
    };
    let mut groups = [0u16; GROUPS_MAX];
    let mut count = 0;
    if let Some(mut rest) = u64::try_from(magnitude).ok().and_then(|small| small.checked_mul(fill)) {
        while rest > 0 {
            groups[count] = (rest % 10_000) as u16;
            rest /= 10_000;
            count += 1;
        }
    } else if let Some(mut rest) = magnitude.checked_mul(u128::from(fill)) {
        while rest > 0 {
            groups[count] = (rest % 10_000) as u16;
            rest /= 10_000;
            count += 1;
        }
    } else {
        return put_binary_slow(unscaled, scale, out);
    }
    let weight = if count == 0 { 0 } else { count as i32 - fraction_groups - 1 };
    let zeros = groups[..count].iter().take_while(|group| **group == 0).count();
    let kept = count - zeros;
    let sign = if unscaled < 0 { NEGATIVE } else { 0 };
    let mut field = [0u8; 12 + 2 * GROUPS_MAX];
    field[0..4].copy_from_slice(&(8 + 2 * kept as i32).to_be_bytes());
    field[4..6].copy_from_slice(&(kept as i16).to_be_bytes());
    field[6..8].copy_from_slice(&(weight as i16).to_be_bytes());
    field[8..10].copy_from_slice(&sign.to_be_bytes());
    field[10..12].copy_from_slice(&i16::from(scale).to_be_bytes());
    for (at, group) in groups[zeros..count].iter().rev().enumerate() {
        field[12 + 2 * at..14 + 2 * at].copy_from_slice(&group.to_be_bytes());
    }
    out.extend_from_slice(&field[..12 + 2 * kept]);
}

fn put_binary_slow(unscaled: i128, scale: i8, out: &mut Vec<u8>) {
    super::with_length(out, |out| put_binary(&unscaled.to_string(), scale.into(), out));
}

/// Writes a number of any size in PostgreSQL's binary form.
pub fn put_binary_number(number: &Number, out: &mut Vec<u8>) {
    const NAN: u16 = 0xC000;
    const INFINITE: u16 = 0xD000;
    const BELOW_ALL: u16 = 0xF000;
    let sign = match number {
        Number::Finite(finite) => {
            return put_binary(&finite.unscaled.to_string(), finite.scale.into(), out);
        }
        Number::NaN => NAN,
        Number::Infinity { is_negative: false } => INFINITE,
        Number::Infinity { is_negative: true } => BELOW_ALL,
    };
    [0, 0, sign, 0].into_iter().for_each(|part| out.put_u16(part));
}

/// Writes the same in PostgreSQL's binary form (`numeric_send`): number of groups, weight of the
/// first, sign, digits after the point, then groups of four decimal digits.
pub fn put_binary(unscaled: &str, scale: i32, out: &mut Vec<u8>) {
    let (is_negative, digits) = unscaled.strip_prefix('-').map_or((false, unscaled), |digits| (true, digits));
    let mut digits = digits.trim_start_matches('0').to_owned();
    let mut scale = scale;
    if scale < 0 {
        digits.push_str(&"0".repeat(scale.unsigned_abs() as usize));
        scale = 0;
    }
    let display_scale = scale;
    // Groups are aligned at the point: pad the fraction to whole groups.
    let padding = (4 - scale % 4) % 4;
    digits.push_str(&"0".repeat(padding as usize));
    let fraction_groups = (scale + padding) / 4;
    let lead = (4 - digits.len() % 4) % 4;
    let padded = "0".repeat(lead) + &digits;
    let mut groups: Vec<i16> = padded
        .as_bytes()
        .chunks(4)
        .map(|four| four.iter().fold(0, |value, digit| value * 10 + i16::from(digit - b'0')))
        .collect();
    let mut weight = groups.len() as i32 - fraction_groups - 1;
    let leading_zeros = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading_zeros);
    weight -= leading_zeros as i32;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    out.put_i16(groups.len() as i16);
    out.put_i16(weight as i16);
    out.put_u16(if is_negative && !groups.is_empty() { NEGATIVE } else { 0 });
    out.put_i16(display_scale as i16);
    for group in groups {
        out.put_i16(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(unscaled: &str, scale: i8) -> String {
        let mut out = Vec::new();
        put_text(unscaled, scale, &mut out);
        String::from_utf8(out).expect("only ASCII is written")
    }

    fn words(unscaled: &str, scale: i8) -> Vec<i16> {
        let mut out = Vec::new();
        put_binary(unscaled, scale.into(), &mut out);
        out.chunks(2).map(|two| i16::from_be_bytes([two[0], two[1]])).collect()
    }

    #[test]
    fn text_keeps_every_digit() {
        assert_eq!(text("12345", 2), "123.45");
        assert_eq!(text("-5", 3), "-0.005");
        assert_eq!(text("7", -2), "700");
        assert_eq!(
            text("99999999999999999999999999999999999999", 0),
            "99999999999999999999999999999999999999"
        );
    }

    // Expected words were taken from numeric_send of a PostgreSQL 15.
    #[test]
    fn both_ways_to_binary_agree() {
        let values = [0, 1, -5, 12_345, 99_999, 100_000_000, i128::from(i64::MAX), i128::MAX, i128::MIN + 1];
        for value in values {
            for scale in [-2, 0, 1, 2, 3, 4, 8, 10, 38] {
                let (mut fast, mut slow) = (Vec::new(), Vec::new());
                put_binary_field(value, scale, &mut fast);
                put_binary_slow(value, scale, &mut slow);
                assert_eq!(fast, slow, "{value} at {scale}");
            }
        }
    }

    #[test]
    fn binary_groups_align_at_the_point() {
        assert_eq!(words("12345", 2), [2, 0, 0, 2, 123, 4500]);
        assert_eq!(words("-5", 3), [1, -1, 0x4000, 3, 50]);
        assert_eq!(words("0", 2), [0, 0, 0, 2]);
        assert_eq!(words("100000000", 0), [1, 2, 0, 0, 1]);
        assert_eq!(words("1", 8), [1, -2, 0, 8, 1]);
    }
}
