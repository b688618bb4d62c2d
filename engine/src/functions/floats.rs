//! Floating-point numbers as PostgreSQL prints them since version 12 (`float4out`, `float8out`): the fewest digits that read
//! back as the same number, and of two that are as near the one with the even last digit (Ryu's, which PostgreSQL uses too).

/// Digits before the point from which on there is an exponent.
const SINGLE_DIGITS: i32 = 6;
const DOUBLE_DIGITS: i32 = 15;
const ZEROS: &str = "0000000000000000";

/// Gives `put` the parts of what `float4out` prints, with so many `extra_float_digits`.
pub fn put_single(value: f32, extra: i8, put: impl FnMut(&str)) {
    if extra > 0 {
        let mut shortest = ryu::Buffer::new();
        let shortest = shortest.format(value);
        let (before, after) = (value.next_down().abs(), value.next_up().abs());
        let longer = within(shortest, value.into(), [before.into(), after.into()], 9);
        return show(value.into(), longer.as_deref().unwrap_or(shortest), SINGLE_DIGITS, put);
    }
    put_rounded(value.into(), SINGLE_DIGITS + i32::from(extra), put);
}

/// Gives `put` the parts of what `float8out` prints, with so many `extra_float_digits`.
pub fn put_double(value: f64, extra: i8, put: impl FnMut(&str)) {
    if extra > 0 {
        let mut shortest = ryu::Buffer::new();
        let shortest = shortest.format(value);
        let longer = within(shortest, value, [value.next_down().abs(), value.next_up().abs()], 17);
        return show(value, longer.as_deref().unwrap_or(shortest), DOUBLE_DIGITS, put);
    }
    put_rounded(value, DOUBLE_DIGITS + i32::from(extra), put);
}

/// What stands for `value` in the place of `shortest`, which lies in the middle between it and one of `neighbours`, and reads back
/// as it only because its last bit is even. PostgreSQL does not rely on that (`acceptBounds` of d2s.c). `None` for all others.
fn within(shortest: &str, value: f64, neighbours: [f64; 2], digits_max: usize) -> Option<String> {
    /// From here on what lies between two neighbours is a whole number; before, it has more digits than are ever printed.
    const WHOLE_FROM: f64 = 16_777_216.0;
    let value = value.abs();
    // Until here all are exact below.
    if !(WHOLE_FROM..1e38).contains(&value) {
        return None;
    }
    let is_between = |text: &str| {
        let Some(number) = whole(text) else { return false };
        let exact = value as u128;
        neighbours.iter().any(|neighbour| {
            let other = *neighbour as u128;
            number.abs_diff(exact) * 2 == other.abs_diff(exact)
                && number.abs_diff(other) == number.abs_diff(exact)
        })
    };
    if !is_between(shortest) {
        return None;
    }
    let sign = if shortest.starts_with('-') { "-" } else { "" };
    let digits = whole(shortest)?.to_string().trim_end_matches('0').len();
    (digits..digits_max).map(|digits| format!("{sign}{value:.digits$e}")).find(|text| !is_between(text))
}

/// The whole number that a text says, without its sign.
fn whole(text: &str) -> Option<u128> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let zeros = exponent.parse::<usize>().ok()?.checked_sub(fraction.len())?;
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    digits.checked_mul(10u128.checked_pow(u32::try_from(zeros).ok()?)?)
}

/// `%.*g`: rounded to so many digits.
fn put_rounded(value: f64, digits: i32, mut put: impl FnMut(&str)) {
    let digits = digits.max(1);
    if value == 0.0 {
        return put(if value.is_sign_negative() { "-0" } else { "0" });
    }
    let rounded = format!("{value:.*e}", (digits - 1) as usize);
    show(value, &rounded, digits, put);
}

/// What `float4out` prints in a new session.
pub fn single_shown(value: f32) -> String {
    single_with(value, SHORTEST)
}

/// What `float8out` prints in a new session.
pub fn double_shown(value: f64) -> String {
    double_with(value, SHORTEST)
}

/// `extra_float_digits` of a new session.
const SHORTEST: i8 = 1;

/// What `float4out` prints with so many `extra_float_digits`.
pub fn single_with(value: f32, extra: i8) -> String {
    let mut text = String::new();
    put_single(value, extra, |part| text.push_str(part));
    text
}

/// What `float8out` prints with so many `extra_float_digits`.
pub fn double_with(value: f64, extra: i8) -> String {
    let mut text = String::new();
    put_double(value, extra, |part| text.push_str(part));
    text
}

/// `shortest` has the digits of `value`, with a point and perhaps an exponent.
fn show(value: f64, shortest: &str, exponent_from: i32, mut put: impl FnMut(&str)) {
    if value.is_nan() {
        return put("NaN");
    }
    if value.is_infinite() {
        return put(if value > 0.0 { "Infinity" } else { "-Infinity" });
    }
    let unsigned = shortest.strip_prefix('-').unwrap_or(shortest);
    if unsigned.len() < shortest.len() {
        put("-");
    }
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut all = [0; 32];
    let mut count = 0;
    for digit in whole.bytes().chain(fraction.bytes()).take(all.len()) {
        all[count] = digit;
        count += 1;
    }
    let all = std::str::from_utf8(&all[..count]).unwrap_or_default();
    let from_first = all.trim_start_matches('0');
    let digits = from_first.trim_end_matches('0');
    if digits.is_empty() {
        return put("0");
    }
    // The power of ten of the first digit.
    let power =
        whole.len() as i32 - 1 - (all.len() - from_first.len()) as i32 + exponent.parse::<i32>().unwrap_or(0);
    if !(-4..exponent_from).contains(&power) {
        let (first, rest) = digits.split_at(1);
        put(first);
        if !rest.is_empty() {
            put(".");
            put(rest);
        }
        put(if power < 0 { "e-" } else { "e+" });
        if power.abs() < 10 {
            put("0");
        }
        put(itoa::Buffer::new().format(power.unsigned_abs()));
    } else if power < 0 {
        put("0.");
        put(&ZEROS[..(-power - 1) as usize]);
        put(digits);
    } else if digits.len() <= power as usize + 1 {
        put(digits);
        put(&ZEROS[..power as usize + 1 - digits.len()]);
    } else {
        let (whole, fraction) = digits.split_at(power as usize + 1);
        put(whole);
        put(".");
        put(fraction);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected texts are those of a PostgreSQL 15.
    #[test]
    fn a_number_in_the_middle_is_none_of_both() {
        assert_eq!(double_shown(864_691_124_160_167_952.0), "8.646911241601679e+17");
        assert_eq!(double_shown(-864_691_124_160_167_952.0), "-8.646911241601679e+17");
        assert_eq!(double_shown(9_007_199_254_740_992.0), "9.007199254740992e+15");
        assert_eq!(double_shown(1e23), "9.999999999999999e+22");
        assert_eq!(double_shown(1e22), "1e+22");
        assert_eq!(single_shown(16_777_216.0), "1.6777216e+07");
        assert_eq!(single_shown(38_000_192.0), "3.8000192e+07");
    }

    #[test]
    fn floats_print_as_postgres_prints_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (100.0, "100"),
            (1000.0, "1000"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e-7, "1e-07"),
            (123_456_789_012_345.0, "123456789012345"),
            (1e15, "1e+15"),
            (1.234e20, "1.234e+20"),
            (1e-300, "1e-300"),
            (-1.25e300, "-1.25e+300"),
            (5e-324, "5e-324"),
            (0.1 + 0.2, "0.30000000000000004"),
            (5_656_854_249_492_378.0 / 8.0, "707106781186547.2"),
            (5_656_854_249_492_382.0 / 8.0, "707106781186547.8"),
            (9_007_199_254_740_993.0, "9.007199254740992e+15"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double_shown(value), text);
        }
        for (value, text) in [
            (0.1, "0.1"),
            (1.1, "1.1"),
            (16_777_216.0, "1.6777216e+07"),
            (100_000.0, "100000"),
            (1e6, "1e+06"),
        ] {
            assert_eq!(single_shown(value), text);
        }
        for (value, extra, text) in [
            (0.1 + 0.2, 0, "0.3"),
            (1_004.3f64.sqrt(), 0, "31.6906926399535"),
            (1e15, 0, "1e+15"),
            (123_456_789.0, -8, "1.234568e+08"),
            (-0.0, 0, "-0"),
            (f64::NAN, -15, "NaN"),
            (2.5, -15, "2"),
        ] {
            assert_eq!(double_with(value, extra), text);
        }
        assert_eq!(single_with(431.773, 0), "431.773");
    }
}
