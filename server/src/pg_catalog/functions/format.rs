//! `format()`: `%s`, `%I`, `%L` and `%%`, with positions and widths (PostgreSQL 15, section 9.4.1).

use std::iter::Peekable;
use std::str::Chars;

use datafusion::error::{DataFusionError, Result as DataFusionResult};
use engine::{Error, SqlState};

use super::super::View;
use super::text::literal;
use super::{Outcome, Value, failed};

/// Letters of one value, at most: a width is a number of a client's.
const WIDTH_MAX: i64 = 1 << 20;

fn invalid(message: impl Into<String>) -> DataFusionError {
    failed(Error::InvalidParameterValue { message: message.into() })
}

/// What stands between `%` and its letter.
#[derive(Default)]
struct Specifier {
    position: Option<usize>,
    is_left: bool,
    width: i64,
}

struct Formatter<'a> {
    letters: Peekable<Chars<'a>>,
    call: &'a [Value],
    next: usize,
}

/// The text of `call`, whose first value is the template.
pub fn format(_: &View, call: &[Value]) -> Outcome<String> {
    let Some(template) = call[0].text() else { return Ok(None) };
    let mut formatter = Formatter { letters: template.chars().peekable(), call, next: 1 };
    let mut out = String::new();
    while let Some(letter) = formatter.letters.next() {
        if letter != '%' {
            out.push(letter);
        } else if formatter.letters.next_if_eq(&'%').is_some() {
            out.push('%');
        } else {
            formatter.fill(&mut out)?;
        }
    }
    Ok(Some(out))
}

impl Formatter<'_> {
    fn fill(&mut self, out: &mut String) -> DataFusionResult<()> {
        let specifier = self.specifier()?;
        let kind = self.letters.next().ok_or_else(|| invalid("unterminated format() type specifier"))?;
        if !matches!(kind, 's' | 'I' | 'L') {
            return Err(invalid(format!("unrecognized format() type specifier \"{kind}\"")));
        }
        let value = self.argument(specifier.position)?;
        let text = match (kind, shown(value)) {
            ('s', text) => text.unwrap_or_default(),
            ('I', Some(text)) => catalog::identifier::quote(&text),
            ('I', None) => {
                return Err(failed(Error::Stamped {
                    sqlstate: SqlState::from_text("22004"),
                    message: "null values cannot be formatted as an SQL identifier".to_owned(),
                }));
            }
            (_, text) => text.map_or_else(|| "NULL".to_owned(), |text| literal(&text)),
        };
        pad(out, &text, &specifier);
        Ok(())
    }

    fn specifier(&mut self) -> DataFusionResult<Specifier> {
        let mut specifier = Specifier::default();
        if let Some(number) = self.number()? {
            if self.letters.next_if_eq(&'$').is_none() {
                specifier.width = bounded(number)?;
                return Ok(specifier);
            }
            specifier.position = Some(position(number)?);
        }
        while self.letters.next_if_eq(&'-').is_some() {
            specifier.is_left = true;
        }
        if self.letters.next_if_eq(&'*').is_some() {
            let at = match self.number()? {
                Some(number) if self.letters.next_if_eq(&'$').is_some() => Some(position(number)?),
                Some(_) => return Err(invalid("width argument position must be ended by \"$\"")),
                None => None,
            };
            let width = self.argument(at)?.int().unwrap_or(0);
            specifier.is_left |= width < 0;
            specifier.width = bounded(width.saturating_abs())?;
        } else if let Some(number) = self.number()? {
            specifier.width = bounded(number)?;
        }
        Ok(specifier)
    }

    fn number(&mut self) -> DataFusionResult<Option<i64>> {
        let mut digits = String::new();
        while let Some(digit) = self.letters.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        if digits.is_empty() {
            return Ok(None);
        }
        let number = digits
            .parse::<i32>()
            .map_err(|_| failed(Error::OutOfRange { message: "number is out of range".to_owned() }))?;
        Ok(Some(i64::from(number)))
    }

    fn argument(&mut self, position: Option<usize>) -> DataFusionResult<&Value> {
        let at = position.unwrap_or(self.next);
        self.next = at + 1;
        self.call.get(at).ok_or_else(|| invalid("too few arguments for format()"))
    }
}

fn position(number: i64) -> DataFusionResult<usize> {
    match usize::try_from(number) {
        Ok(0) | Err(_) => Err(invalid("format specifies argument 0, but arguments are numbered from 1")),
        Ok(position) => Ok(position),
    }
}

fn bounded(width: i64) -> DataFusionResult<i64> {
    if width <= WIDTH_MAX {
        return Ok(width);
    }
    Err(failed(Error::TooLarge {
        message: format!("a width of {width} in format() is too large"),
        hint: format!("Widths go up to {WIDTH_MAX}."),
    }))
}

/// As a client would be sent it.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(if *value { "t" } else { "f" }.to_owned()),
        value => value.text(),
    }
}

fn pad(out: &mut String, text: &str, specifier: &Specifier) {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let missing = usize::try_from(specifier.width - length).unwrap_or(0);
    let blanks = " ".repeat(missing);
    let (before, behind) = if specifier.is_left { ("", blanks.as_str()) } else { (blanks.as_str(), "") };
    out.push_str(before);
    out.push_str(text);
    out.push_str(behind);
}
