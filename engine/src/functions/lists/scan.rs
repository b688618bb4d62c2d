//! Numbers and words in the texts of arrays, as PostgreSQL's input functions read them.

/// Why an item is not of its type.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its text is none of the type.
    Invalid,
    /// It is too large for the type.
    OutOfRange,
}

fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// A whole number between `least` and `most`.
pub fn whole(text: &str, least: i64, most: i64) -> Result<i64, Fault> {
    let trimmed = text.trim_matches(is_space);
    let (is_negative, digits) = match trimmed.as_bytes().first() {
        Some(b'-') => (true, &trimmed[1..]),
        Some(b'+') => (false, &trimmed[1..]),
        _ => (false, trimmed),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(Fault::Invalid);
    }
    let value = digits
        .bytes()
        .try_fold(0i128, |value, digit| value.checked_mul(10)?.checked_add(i128::from(digit - b'0')));
    let value = value.map(|value| if is_negative { -value } else { value }).ok_or(Fault::OutOfRange)?;
    match i64::try_from(value) {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        _ => Err(Fault::OutOfRange),
    }
}

/// A truth value: `true`, `yes`, `on`, `1` and what they begin with.
pub fn truth(text: &str) -> Result<bool, Fault> {
    let word = text.trim_matches(is_space).to_ascii_lowercase();
    let begins = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    if begins("true", 1) || begins("yes", 1) || word == "on" || word == "1" {
        return Ok(true);
    }
    if begins("false", 1) || begins("no", 1) || begins("off", 2) || word == "0" {
        return Ok(false);
    }
    Err(Fault::Invalid)
}

/// A number of `precision` digits, `scale` of them behind the point, as a count of its last digit.
pub fn exact(text: &str, precision: u8, scale: i8) -> Result<i128, Fault> {
    let trimmed = text.trim_matches(is_space);
    let (is_negative, unsigned) = match trimmed.as_bytes().first() {
        Some(b'-') => (true, &trimmed[1..]),
        Some(b'+') => (false, &trimmed[1..]),
        _ => (false, trimmed),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => {
            let digits = &unsigned[at + 1..];
            let bare = digits.strip_prefix(['+', '-']).unwrap_or(digits);
            if bare.is_empty() || !bare.bytes().all(|digit| digit.is_ascii_digit()) {
                return Err(Fault::Invalid);
            }
            (&unsigned[..at], digits.parse::<i64>().map_err(|_| Fault::OutOfRange)?)
        }
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let are_digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !are_digits(whole) || !are_digits(fraction) {
        return Err(Fault::Invalid);
    }
    let digits = format!("{whole}{fraction}");
    // So many of the digits are kept; the next one tells which way the last is rounded.
    let kept = whole.len() as i64 + exponent.clamp(-100_000, 100_000) + i64::from(scale);
    let digit_at = |at: i64| {
        usize::try_from(at).ok().and_then(|at| digits.as_bytes().get(at)).map_or(0, |digit| digit - b'0')
    };
    let mut value = 0i128;
    let most = 10i128.pow(u32::from(precision));
    for at in 0..kept.max(0) {
        if value == 0 && at >= digits.len() as i64 {
            break;
        }
        value = value * 10 + i128::from(digit_at(at));
        if value >= most {
            return Err(Fault::OutOfRange);
        }
    }
    if kept >= 0 && digit_at(kept) >= 5 {
        value += 1;
    }
    if value >= most {
        return Err(Fault::OutOfRange);
    }
    Ok(if is_negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_whole() {
        assert_eq!(whole(" -12 ", i32::MIN.into(), i32::MAX.into()), Ok(-12));
        assert_eq!(whole("2147483648", i32::MIN.into(), i32::MAX.into()), Err(Fault::OutOfRange));
        assert_eq!(whole(&"9".repeat(60), i64::MIN, i64::MAX), Err(Fault::OutOfRange));
        for text in ["", "-", "1.5", "1 2", "x"] {
            assert_eq!(whole(text, i64::MIN, i64::MAX), Err(Fault::Invalid), "{text}");
        }
    }

    #[test]
    fn exact_numbers_are_rounded_away_from_zero() {
        assert_eq!(exact("1.5", 38, 10), Ok(15_000_000_000));
        assert_eq!(exact("-1.25", 10, 1), Ok(-13));
        assert_eq!(exact("1e-2", 10, 1), Ok(0));
        assert_eq!(exact("12e2", 10, 0), Ok(1200));
        assert_eq!(exact("0.05", 10, 1), Ok(1));
        assert_eq!(exact(".5", 10, 0), Ok(1));
        assert_eq!(exact("100", 2, 0), Err(Fault::OutOfRange));
        assert_eq!(exact("99.5", 2, 0), Err(Fault::OutOfRange));
        for text in ["", ".", "1e", "1.2.3", "x"] {
            assert_eq!(exact(text, 38, 10), Err(Fault::Invalid), "{text}");
        }
    }

    #[test]
    fn words_of_truth_may_be_cut() {
        assert_eq!(truth(" T "), Ok(true));
        assert_eq!(truth("of"), Ok(false));
        assert_eq!(truth("o"), Err(Fault::Invalid));
        assert_eq!(truth(""), Err(Fault::Invalid));
    }
}
