//! `numeric`: decimals of any width as text, and in PostgreSQL's groups of four digits.

use bytes::{BufMut, BytesMut};

/// Writes digits of an unscaled value (with its sign) at `scale`.
pub fn put_text(unscaled: &str, scale: i8, out: &mut BytesMut) {
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

/// Writes the same in PostgreSQL's binary form (`numeric_send`): number of groups, weight of the
/// first, sign, digits after the point, then groups of four decimal digits.
pub fn put_binary(unscaled: &str, scale: i8, out: &mut BytesMut) {
    const NEGATIVE: u16 = 0x4000;
    let (is_negative, digits) = unscaled.strip_prefix('-').map_or((false, unscaled), |digits| (true, digits));
    let mut digits = digits.trim_start_matches('0').to_owned();
    let mut scale = i32::from(scale);
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
        let mut out = BytesMut::new();
        put_text(unscaled, scale, &mut out);
        String::from_utf8(out.to_vec()).expect("only ASCII is written")
    }

    fn words(unscaled: &str, scale: i8) -> Vec<i16> {
        let mut out = BytesMut::new();
        put_binary(unscaled, scale, &mut out);
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
    fn binary_groups_align_at_the_point() {
        assert_eq!(words("12345", 2), [2, 0, 0, 2, 123, 4500]);
        assert_eq!(words("-5", 3), [1, -1, 0x4000, 3, 50]);
        assert_eq!(words("0", 2), [0, 0, 0, 2]);
        assert_eq!(words("100000000", 0), [1, 2, 0, 0, 1]);
        assert_eq!(words("1", 8), [1, -2, 0, 8, 1]);
    }
}
