//! Floating-point numbers as PostgreSQL reads them.

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
    fn words_are_read_and_others_are_not() {
        assert_eq!(read(" -Infinity "), Some(f64::NEG_INFINITY));
        assert_eq!(read("1e3"), Some(1000.0));
        assert_eq!(read(".5"), Some(0.5));
        for text in ["", "x", "1x", "0x10", "1e", "- 1", "."] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
