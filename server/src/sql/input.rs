//! Text of values as PostgreSQL's input functions accept it, written as Arrow's parsers read it.

/// The bytes of `\x0aff`, or of text with escapes such as `\000` and `\\`; `None` for neither.
pub fn bytea(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let value = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
        return Some(digits.chunks(2).map(|two| value(two[0]) << 4 | value(two[1])).collect());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next()? {
            b'\\' => bytes.push(b'\\'),
            first @ b'0'..=b'3' => {
                let octal = |digit: Option<u8>| digit.filter(|d| (b'0'..=b'7').contains(d)).map(|d| d - b'0');
                let (second, third) = (octal(rest.next())?, octal(rest.next())?);
                bytes.push((first - b'0') << 6 | second << 3 | third);
            }
            _ => return None,
        }
    }
    Some(bytes)
}

/// An instant with its seconds: `1996-07-01 00:00+00` is `1996-07-01 00:00:00+00:00`.
pub fn instant(text: &str) -> String {
    let text = text.trim();
    let Some((day, time)) = text.split_once([' ', 'T']) else { return text.to_owned() };
    let zone_at = time.find(['+', '-', 'Z', ' ']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(zone_at);
    let clock = if clock.matches(':').count() == 1 { format!("{clock}:00") } else { clock.to_owned() };
    // Arrow wants minutes in an offset.
    let digits = zone.trim_start_matches(['+', '-']);
    let is_hours =
        zone.starts_with(['+', '-']) && digits.len() <= 2 && digits.bytes().all(|b| b.is_ascii_digit());
    let zone = if is_hours { format!("{}{digits:0>2}:00", &zone[..1]) } else { zone.to_owned() };
    format!("{day} {clock}{zone}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_hex_and_with_escapes() {
        assert_eq!(bytea("\\x00Ff"), Some(vec![0, 255]));
        assert_eq!(bytea("a\\\\b\\001"), Some(vec![b'a', b'\\', b'b', 1]));
        assert_eq!(bytea("\\x0"), None);
    }

    #[test]
    fn times_are_completed() {
        assert_eq!(instant("1996-07-01 00:00+00"), "1996-07-01 00:00:00+00:00");
        assert_eq!(instant("1996-07-01 10:11:12.5"), "1996-07-01 10:11:12.5");
        assert_eq!(instant("1996-07-01"), "1996-07-01");
    }
}
