//! Bytes as texts: `hex`, `base64` with lines of 76 letters, and `escape`.

/// A text that no bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// 22023, with what is wrong.
    Invalid(String),
    /// 22P02: an escape that is none.
    Syntax,
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const LINE: usize = 76;

/// `bytes` in an encoding; `None` when there is none of the name.
pub fn encoded(bytes: &[u8], encoding: &str) -> Option<String> {
    Some(match encoding.to_ascii_lowercase().as_str() {
        "hex" => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        "base64" => base64(bytes),
        "escape" => {
            let mut out = String::with_capacity(bytes.len());
            for byte in bytes {
                match byte {
                    b'\\' => out.push_str("\\\\"),
                    0 | 128.. => out.push_str(&format!("\\{byte:03o}")),
                    byte => out.push(char::from(*byte)),
                }
            }
            out
        }
        _ => return None,
    })
}

fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    let mut in_line = 0;
    for three in bytes.chunks(3) {
        if in_line == LINE {
            out.push('\n');
            in_line = 0;
        }
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at > three.len() { '=' } else { char::from(letter) });
        }
        in_line += 4;
    }
    out
}

/// The bytes that `text` says in an encoding; `None` when there is none of the name.
pub fn decoded(text: &str, encoding: &str) -> Option<Result<Vec<u8>, Problem>> {
    Some(match encoding.to_ascii_lowercase().as_str() {
        "hex" => of_hex(text),
        "base64" => of_base64(text),
        "escape" => of_escapes(text),
        _ => return None,
    })
}

fn of_hex(text: &str) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut half = None;
    for letter in text.chars() {
        if matches!(letter, ' ' | '\n' | '\t' | '\r') && half.is_none() {
            continue;
        }
        let wrong = || Problem::Invalid(format!("invalid hexadecimal digit: \"{letter}\""));
        let digit = letter.to_digit(16).ok_or_else(wrong)? as u8;
        match half.take() {
            Some(first) => bytes.push(first << 4 | digit),
            None => half = Some(digit),
        }
    }
    match half {
        Some(_) => Err(Problem::Invalid("invalid hexadecimal data: odd number of digits".to_owned())),
        None => Ok(bytes),
    }
}

fn of_base64(text: &str) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count, mut fill) = (0u32, 0, 0);
    for letter in text.chars() {
        if matches!(letter, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let value = if letter == '=' {
            if fill == 0 {
                fill = match count {
                    2 => 1,
                    3 => 2,
                    _ => {
                        return Err(Problem::Invalid(
                            "unexpected \"=\" while decoding base64 sequence".to_owned(),
                        ));
                    }
                };
            }
            0
        } else {
            let known = u8::try_from(letter).ok();
            let at = known.and_then(|letter| LETTERS.iter().position(|known| *known == letter));
            at.ok_or_else(|| {
                Problem::Invalid(format!("invalid symbol \"{letter}\" found while decoding base64 sequence"))
            })?
        };
        bits = bits << 6 | value as u32;
        count += 1;
        if count == 4 {
            bytes.push((bits >> 16) as u8);
            if fill == 0 || fill > 1 {
                bytes.push((bits >> 8) as u8);
            }
            if fill == 0 || fill > 2 {
                bytes.push(bits as u8);
            }
            (bits, count) = (0, 0);
        }
    }
    if count != 0 {
        return Err(Problem::Invalid("invalid base64 end sequence".to_owned()));
    }
    Ok(bytes)
}

fn of_escapes(text: &str) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        if *first != b'\\' {
            bytes.push(*first);
            rest = behind;
            continue;
        }
        match behind {
            [b'\\', behind @ ..] => {
                bytes.push(b'\\');
                rest = behind;
            }
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', behind @ ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = behind;
            }
            _ => return Err(Problem::Syntax),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_they_were_written() {
        for length in [0, 1, 2, 3, 56, 57, 58, 200] {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 37) as u8).collect();
            for encoding in ["hex", "base64", "escape"] {
                let text = encoded(&bytes, encoding).expect("an encoding");
                assert_eq!(decoded(&text, encoding), Some(Ok(bytes.clone())), "{encoding}: {text}");
            }
        }
        assert_eq!(encoded(b"ab", "base64").as_deref(), Some("YWI="));
        assert_eq!(encoded(&[0; 60], "base64").expect("known").find('\n'), Some(76));
        assert_eq!(encoded(&[0, 255, 92], "escape").as_deref(), Some(r"\000\377\\"));
        for (text, encoding) in
            [("YWI", "base64"), ("!!", "base64"), ("616", "hex"), ("zz", "hex"), ("\\9", "escape")]
        {
            assert!(decoded(text, encoding).expect("known").is_err(), "{text}");
        }
        assert_eq!(decoded("", "none"), None);
    }
}
