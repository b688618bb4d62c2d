//! JSON as PostgreSQL reads it, and the one text that it has for each `jsonb`.

/// Why a text is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is none.
    Invalid,
    /// It has `\u0000`, which no text may have, or half of a pair of surrogates.
    Unicode(&'static str),
    /// It is nested deeper than is read here.
    TooDeep,
    /// It has a number that `numeric` does not hold.
    NumberTooLarge,
    /// Its numbers have more digits, written out, than are kept here.
    TooLarge,
}

/// Digits of all numbers of a document that were written with an exponent.
const DIGITS_MAX: usize = 1 << 20;

const DEPTH_MAX: usize = 1000;
/// Digits before and behind the point of a `numeric`.
const WHOLE_DIGITS_MAX: i64 = 131_072;
const FRACTION_DIGITS_MAX: i64 = 16_383;

enum Json {
    Plain(&'static str),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Checks that `text` is JSON.
pub fn check(text: &str) -> Result<(), Fault> {
    read(text, false).map(|_| ())
}

/// The text of `text` as a `jsonb`.
pub fn normalised(text: &str) -> Result<String, Fault> {
    let json = read(text, true)?;
    let mut out = String::with_capacity(text.len());
    put(&json, &mut out);
    Ok(out)
}

fn read(text: &str, is_kept: bool) -> Result<Json, Fault> {
    let mut reader = Reader { bytes: text.as_bytes(), text, at: 0, is_kept, digits: 0 };
    let json = reader.value(0)?;
    reader.skip_spaces();
    if reader.at == reader.bytes.len() { Ok(json) } else { Err(Fault::Invalid) }
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// What is read is shown again: texts are decoded, numbers are those of `numeric`.
    is_kept: bool,
    /// Of numbers with an exponent, so far.
    digits: usize,
}

impl Reader<'_> {
    fn skip_spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.take(byte) { Ok(()) } else { Err(Fault::Invalid) }
    }

    fn value(&mut self, depth: usize) -> Result<Json, Fault> {
        if depth > DEPTH_MAX {
            return Err(Fault::TooDeep);
        }
        self.skip_spaces();
        match self.peek().ok_or(Fault::Invalid)? {
            b'{' => self.object(depth),
            b'[' => self.list(depth),
            b'"' => self.string().map(Json::Text),
            b'-' | b'0'..=b'9' => self.number().map(Json::Number),
            _ => {
                for word in ["true", "false", "null"] {
                    if self.text[self.at..].starts_with(word) {
                        self.at += word.len();
                        let goes_on = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
                        if self.peek().is_some_and(goes_on) {
                            return Err(Fault::Invalid);
                        }
                        return Ok(Json::Plain(word));
                    }
                }
                Err(Fault::Invalid)
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, Fault> {
        self.at += 1;
        let mut pairs = Vec::new();
        self.skip_spaces();
        if self.take(b'}') {
            return Ok(Json::Object(pairs));
        }
        loop {
            self.skip_spaces();
            if self.peek() != Some(b'"') {
                return Err(Fault::Invalid);
            }
            let key = self.string()?;
            self.skip_spaces();
            self.expect(b':')?;
            let value = self.value(depth + 1)?;
            pairs.push((key, value));
            self.skip_spaces();
            if self.take(b'}') {
                return Ok(Json::Object(pairs));
            }
            self.expect(b',')?;
        }
    }

    fn list(&mut self, depth: usize) -> Result<Json, Fault> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_spaces();
        if self.take(b']') {
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_spaces();
            if self.take(b']') {
                return Ok(Json::List(items));
            }
            self.expect(b',')?;
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest.find(|letter: char| matches!(letter, '"' | '\\') || letter < ' ');
            let end = end.ok_or(Fault::Invalid)?;
            if self.is_kept {
                out.push_str(&rest[..end]);
            }
            self.at += end;
            match self.bytes[self.at] {
                b'"' => {
                    self.at += 1;
                    return Ok(out);
                }
                b'\\' => {
                    self.at += 1;
                    let letter = self.escaped()?;
                    if self.is_kept {
                        out.push(letter);
                    }
                }
                _ => return Err(Fault::Invalid),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, Fault> {
        let escape = self.peek().ok_or(Fault::Invalid)?;
        self.at += 1;
        Ok(match escape {
            b'"' | b'\\' | b'/' => char::from(escape),
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.code_point(),
            _ => return Err(Fault::Invalid),
        })
    }

    fn code_point(&mut self) -> Result<char, Fault> {
        let first = self.four_digits()?;
        let (is_high, is_low) = ((0xd800..0xdc00).contains(&first), (0xdc00..0xe000).contains(&first));
        if !self.is_kept {
            // A `json` keeps its text: what it stands for is seen when it is taken out.
            return Ok('?');
        }
        if first == 0 {
            return Err(Fault::Unicode("unsupported Unicode escape sequence"));
        }
        if is_low {
            return Err(Fault::Invalid);
        }
        if !is_high {
            return char::from_u32(first).ok_or(Fault::Invalid);
        }
        self.expect(b'\\')?;
        self.expect(b'u')?;
        let second = self.four_digits()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(Fault::Invalid);
        }
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(Fault::Invalid)
    }

    fn four_digits(&mut self) -> Result<u32, Fault> {
        let digits = self.bytes.get(self.at..self.at + 4).ok_or(Fault::Invalid)?;
        let mut value = 0;
        for digit in digits {
            value = value * 16 + char::from(*digit).to_digit(16).ok_or(Fault::Invalid)?;
        }
        self.at += 4;
        Ok(value)
    }

    fn digits(&mut self) -> Result<&str, Fault> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(Fault::Invalid) } else { Ok(&self.text[start..self.at]) }
    }

    fn number(&mut self) -> Result<String, Fault> {
        let is_negative = self.take(b'-');
        let whole = self.digits()?.to_owned();
        if whole.len() > 1 && whole.starts_with('0') {
            return Err(Fault::Invalid);
        }
        let fraction = if self.take(b'.') { self.digits()?.to_owned() } else { String::new() };
        let mut exponent = 0i64;
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            let is_minus = self.take(b'-');
            if !is_minus {
                self.take(b'+');
            }
            let digits = self.digits()?;
            // More digits than these are of no number that is held.
            exponent = digits.parse().unwrap_or(i64::MAX / 4);
            if is_minus {
                exponent = -exponent;
            }
        }
        if self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80) {
            return Err(Fault::Invalid);
        }
        if !self.is_kept {
            return Ok(String::new());
        }
        let number = plain(is_negative, &whole, &fraction, exponent)?;
        self.digits += if exponent == 0 { 0 } else { number.len() };
        if self.digits > DIGITS_MAX { Err(Fault::TooLarge) } else { Ok(number) }
    }
}

/// The number without exponent, with the digits that `numeric` keeps.
fn plain(is_negative: bool, whole: &str, fraction: &str, exponent: i64) -> Result<String, Fault> {
    let all = format!("{whole}{fraction}");
    let scale = (fraction.len() as i64 - exponent).max(0);
    let is_zero = all.bytes().all(|digit| digit == b'0');
    let significant = all.trim_start_matches('0').len() as i64 - fraction.len() as i64 + exponent;
    if scale > FRACTION_DIGITS_MAX || (!is_zero && significant > WHOLE_DIGITS_MAX) {
        return Err(Fault::NumberTooLarge);
    }
    let point = whole.len() as i64 + exponent;
    let digits = if is_zero {
        format!("0.{}", "0".repeat(scale as usize))
    } else if point <= 0 {
        format!("0.{}{all}", "0".repeat(-point as usize))
    } else if point as usize >= all.len() {
        format!("{all}{}", "0".repeat(point as usize - all.len()))
    } else {
        format!("{}.{}", &all[..point as usize], &all[point as usize..])
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if is_negative && !is_zero { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    Ok(format!("{sign}{whole}{point}{fraction}"))
}

fn put(json: &Json, out: &mut String) {
    match json {
        Json::Plain(word) => out.push_str(word),
        Json::Number(number) => out.push_str(number),
        Json::Text(text) => put_text(text, out),
        Json::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                put(item, out);
            }
            out.push(']');
        }
        Json::Object(pairs) => {
            // Shorter keys first; of several with one key the last.
            let mut sorted: Vec<&(String, Json)> = pairs.iter().collect();
            sorted
                .sort_by(|(left, _), (right, _)| left.len().cmp(&right.len()).then_with(|| left.cmp(right)));
            let next = sorted.iter().skip(1).map(|(key, _)| Some(key)).chain([None]);
            let last_of_key = sorted.iter().zip(next).filter(|((key, _), next)| Some(key) != *next);
            out.push('{');
            for (index, ((key, value), _)) in last_of_key.enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                put_text(key, out);
                out.push_str(": ");
                put(value, out);
            }
            out.push('}');
        }
    }
}

fn put_text(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            letter if letter < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => out.push(letter),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected texts are those of a PostgreSQL 15.
    #[test]
    fn one_text_for_each_value() {
        for (text, right) in [
            (r#"{"bb":1,"a":2,"a":3}"#, r#"{"a": 3, "bb": 1}"#),
            (
                r#"[1, 2.50, 1e3, -0, "\u00e9\/", -0.0, 1E-2, 12.5e1]"#,
                r#"[1, 2.50, 1000, 0, "é/", 0.0, 0.01, 125]"#,
            ),
            (r#" [ ] "#, "[]"),
            (r#"{"":null}"#, r#"{"": null}"#),
        ] {
            assert_eq!(normalised(text).as_deref(), Ok(right));
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in
            ["", "{bad", "01", "1.", ".5", "+1", "[1,]", "{\"a\"}", "nul", "'a'", "1 2", "\"\\x\"", "NaN"]
        {
            assert_eq!(check(text), Err(Fault::Invalid), "{text}");
        }
    }
}
