//! `parse_ident()`: a qualified name, taken apart as PostgreSQL takes it.

use engine::Error;

use super::super::View;
use super::{Outcome, Value, failed};

/// The parts of the name that the first value is; what stands behind it is an error unless the second value is false.
pub fn parse_ident(_: &View, call: &[Value]) -> Outcome<Vec<String>> {
    let Some(text) = call[0].text() else { return Ok(None) };
    let is_strict = !matches!(call.get(1), Some(Value::Bool(false)));
    let invalid =
        || Error::InvalidParameterValue { message: format!("string is not a valid identifier: \"{text}\"") };
    let parts = parts(&text, is_strict).ok_or_else(invalid).map_err(failed);
    parts.map(Some)
}

fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

fn parts(text: &str, is_strict: bool) -> Option<Vec<String>> {
    let mut rest = text.trim_start_matches(is_space);
    let mut parts = Vec::new();
    loop {
        let (part, behind) = if rest.starts_with('"') { quoted(rest)? } else { plain(rest)? };
        parts.push(part);
        rest = behind.trim_start_matches(is_space);
        match rest.strip_prefix('.') {
            Some(behind) => rest = behind.trim_start_matches(is_space),
            None if is_strict && !rest.is_empty() => return None,
            None => return Some(parts),
        }
    }
}

/// A name in double quotes, and what stands behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text.strip_prefix('"')?;
    loop {
        let (inner, behind) = rest.split_once('"')?;
        name.push_str(inner);
        match behind.strip_prefix('"') {
            Some(behind) => {
                name.push('"');
                rest = behind;
            }
            None => return (!name.is_empty()).then_some((name, behind)),
        }
    }
}

/// A name without quotes, folded, and what stands behind it.
fn plain(text: &str) -> Option<(String, &str)> {
    let starts = |letter: char| letter.is_ascii_alphabetic() || letter == '_' || !letter.is_ascii();
    let goes_on = |letter: char| starts(letter) || letter.is_ascii_digit() || letter == '$';
    if !text.starts_with(starts) {
        return None;
    }
    let end = text.find(|letter| !goes_on(letter)).unwrap_or(text.len());
    Some((catalog::identifier::fold(&text[..end], false), &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let parsed = |text: &str| parts(text, true).map(|parts| parts.join("|"));
        assert_eq!(parsed("Schema . \"My\"\"Table\" "), Some("schema|My\"Table".to_owned()));
        for wrong in ["", ".", "a.", "a[]", "10.20", "\"\"", "\"a", "a b", " .a"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
        assert_eq!(parts("a.b c", false), Some(vec!["a".to_owned(), "b".to_owned()]));
    }
}
