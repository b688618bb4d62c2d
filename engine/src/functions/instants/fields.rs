//! The fields that a text of a date, time or interval falls into, before any has a meaning.

/// What a field looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Number,
    Word,
    Signed,
    Date,
    Time,
    Zone,
}

/// A field, its letters small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub kind: Kind,
    pub text: String,
}

/// Why a text is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    Format,
    Range,
    Displacement,
    Zone(String),
}

const FIELDS_MAX: usize = 25;
const BYTES_MAX: usize = 128;

/// The fields of `text`.
pub fn split(text: &str) -> Result<Vec<Field>, Unread> {
    let bytes = text.as_bytes();
    let mut fields = Vec::new();
    let mut at = 0;
    let mut length = 0;
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let while_true = |from: usize, test: &dyn Fn(u8) -> bool| {
        let mut at = from;
        while at < bytes.len() && test(bytes[at]) {
            at += 1;
        }
        at
    };
    let digits = |from: usize| while_true(from, &|byte| byte.is_ascii_digit());
    let letters = |from: usize| while_true(from, &|byte| byte.is_ascii_alphabetic());
    while at < bytes.len() {
        let first = bytes[at];
        if is_space(first) {
            at += 1;
            continue;
        }
        if fields.len() >= FIELDS_MAX {
            return Err(Unread::Format);
        }
        let start = at;
        let mut sign = None;
        let kind = if first.is_ascii_digit() {
            at = digits(at);
            match byte(at) {
                b':' => {
                    at = while_true(at, &|byte| byte.is_ascii_digit() || byte == b':' || byte == b'.');
                    Kind::Time
                }
                parts @ (b'-' | b'/' | b'.') => {
                    at += 1;
                    if byte(at).is_ascii_digit() {
                        at = digits(at);
                        if byte(at) == parts {
                            at = while_true(at, &|byte| byte.is_ascii_digit() || byte == parts);
                            Kind::Date
                        } else if parts == b'.' {
                            Kind::Number
                        } else {
                            Kind::Date
                        }
                    } else {
                        at = while_true(at, &|byte| byte.is_ascii_alphanumeric() || byte == parts);
                        Kind::Date
                    }
                }
                _ => Kind::Number,
            }
        } else if first == b'.' {
            at = digits(at + 1);
            Kind::Number
        } else if first.is_ascii_alphabetic() {
            at = letters(at);
            let is_date = match byte(at) {
                b'-' | b'/' | b'.' => true,
                b'+' | b'0'..=b'9' => super::words::special(&text[start..at].to_ascii_lowercase()).is_none(),
                _ => false,
            };
            if is_date {
                at = while_true(at, &|byte| byte.is_ascii_alphanumeric() || b"+-/_.:".contains(&byte));
                Kind::Date
            } else {
                Kind::Word
            }
        } else if first == b'+' || first == b'-' {
            sign = Some(first);
            at = while_true(at + 1, &is_space);
            if byte(at).is_ascii_digit() {
                let from = at;
                at = while_true(at, &|byte| byte.is_ascii_digit() || b":.-".contains(&byte));
                push(&mut fields, Kind::Zone, sign, &text[from..at], &mut length)?;
                continue;
            } else if byte(at).is_ascii_alphabetic() {
                let from = at;
                at = letters(at);
                push(&mut fields, Kind::Signed, sign, &text[from..at], &mut length)?;
                continue;
            }
            return Err(Unread::Format);
        } else if first.is_ascii_punctuation() {
            at += 1;
            continue;
        } else {
            return Err(Unread::Format);
        };
        push(&mut fields, kind, sign, &text[start..at], &mut length)?;
    }
    Ok(fields)
}

fn push(
    fields: &mut Vec<Field>,
    kind: Kind,
    sign: Option<u8>,
    text: &str,
    length: &mut usize,
) -> Result<(), Unread> {
    let mut field: String = sign.map(char::from).into_iter().collect();
    field.push_str(&text.to_ascii_lowercase());
    *length += field.len() + 1;
    if *length > BYTES_MAX + FIELDS_MAX {
        return Err(Unread::Format);
    }
    fields.push(Field { kind, text: field });
    Ok(())
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// The whole number that a text begins with, as C's `strtol` reads it, and the rest.
pub fn whole(text: &str) -> Result<(i64, &str), Unread> {
    let bytes = text.as_bytes();
    let from = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let to = bytes[from..].iter().position(|byte| !byte.is_ascii_digit()).map_or(bytes.len(), |at| from + at);
    if to == from {
        return Ok((0, text));
    }
    let value: i32 = text[..to].parse().map_err(|_| Unread::Range)?;
    Ok((i64::from(value), &text[to..]))
}

/// The fraction `.5`, which must be all of the text. A point alone is 0.
pub fn fraction(text: &str) -> Result<f64, Unread> {
    let digits = text.strip_prefix('.').ok_or(Unread::Format)?;
    if digits.is_empty() {
        return Ok(0.0);
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Unread::Format);
    }
    text.parse().map_err(|_| Unread::Format)
}
