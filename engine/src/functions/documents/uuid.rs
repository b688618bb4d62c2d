//! The texts that PostgreSQL reads as a `uuid`.

/// The one text of the `uuid` that `text` is, if it is one: 32 digits, with a hyphen behind any four of them or none, in
/// braces or without.
pub fn normalised(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let inner = match bytes.strip_prefix(b"{") {
        Some(rest) => rest.strip_suffix(b"}")?,
        None => bytes,
    };
    let mut out = String::with_capacity(36);
    let mut digits = 0;
    let mut at = 0;
    while at < inner.len() {
        let byte = inner[at];
        if byte == b'-' {
            return None;
        }
        if digits == 32 || !byte.is_ascii_hexdigit() {
            return None;
        }
        if matches!(digits, 8 | 12 | 16 | 20) {
            out.push('-');
        }
        out.push(char::from(byte.to_ascii_lowercase()));
        digits += 1;
        at += 1;
        let may_have_hyphen = digits % 4 == 0 && digits < 32;
        if may_have_hyphen && inner.get(at) == Some(&b'-') {
            at += 1;
        }
    }
    (digits == 32).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_has_one_text() {
        let right = Some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".to_owned());
        for text in [
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            assert_eq!(normalised(text), right, "{text}");
        }
        for text in
            ["", "x", "a0eebc99", "a0eebc99--9c0b4ef8bb6d6bb9bd380a11", "a0eebc999c0b4ef8bb6d6bb9bd380a11-"]
        {
            assert_eq!(normalised(text), None, "{text}");
        }
    }
}
