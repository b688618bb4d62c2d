//! The options of `COPY … TO STDOUT` and `COPY … FROM STDIN`.

use std::collections::HashSet;

use engine::{Error, Result};
use sqlparser::ast::{CopyLegacyCsvOption, CopyLegacyOption, CopyOption};

use super::classify::{folded, not_supported};

/// The formats of COPY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CopyFormat {
    Text,
    Csv,
    Binary,
}

/// How rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // PostgreSQL's words.
pub struct CopyOptions {
    pub format: CopyFormat,
    pub delimiter: u8,
    pub null: String,
    pub has_header: bool,
    pub quote: u8,
    pub escape: u8,
    /// Columns quoted whether they need it or not; one `*` for all.
    pub force_quote: Vec<String>,
}

/// Which way the rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the client.
    To,
    /// From it.
    From,
}

/// An option, whichever way it was written. `None` where the text has none of its own to say.
#[derive(Debug, Default)]
struct Written {
    format: Option<CopyFormat>,
    delimiter: Option<u8>,
    null: Option<String>,
    has_header: Option<bool>,
    quote: Option<u8>,
    escape: Option<u8>,
    force_quote: Option<Vec<String>>,
}

/// What the options mean together.
pub fn of(options: &[CopyOption], legacy: &[CopyLegacyOption], direction: Direction) -> Result<CopyOptions> {
    let mut written = Written::default();
    let mut seen = HashSet::new();
    for option in options {
        if !seen.insert(std::mem::discriminant(option)) {
            return Err(redundant());
        }
        modern(option, direction, &mut written)?;
    }
    for option in legacy {
        older(option, direction, &mut written)?;
    }
    checked(written, direction)
}

fn redundant() -> Error {
    Error::Syntax { message: "conflicting or redundant options".to_owned(), position: None }
}

/// Sets an option, which may not have been set before.
fn set<T>(place: &mut Option<T>, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(redundant()),
    }
}

fn modern(option: &CopyOption, direction: Direction, written: &mut Written) -> Result<()> {
    match option {
        CopyOption::Format(name) => {
            let format = match name.value.to_ascii_lowercase().as_str() {
                "text" => CopyFormat::Text,
                "csv" => CopyFormat::Csv,
                "binary" => CopyFormat::Binary,
                _ => return Err(invalid(format!("COPY format \"{}\" not recognized", name.value))),
            };
            set(&mut written.format, format)
        }
        CopyOption::Freeze(is_on) if !is_on || direction == Direction::To => Ok(()),
        CopyOption::Delimiter(letter) => set(&mut written.delimiter, byte(*letter, "delimiter")?),
        CopyOption::Null(text) => set(&mut written.null, text.clone()),
        CopyOption::Header(flag) => set(&mut written.has_header, *flag),
        CopyOption::Quote(letter) => set(&mut written.quote, byte(*letter, "quote")?),
        CopyOption::Escape(letter) => set(&mut written.escape, byte(*letter, "escape")?),
        CopyOption::ForceQuote(columns) => {
            set(&mut written.force_quote, columns.iter().map(folded).collect())
        }
        CopyOption::Encoding(name)
            if name.eq_ignore_ascii_case("utf8") || name.eq_ignore_ascii_case("utf-8") =>
        {
            Ok(())
        }
        other => Err(not_supported(&format!("COPY option {other}"))),
    }
}

fn older(option: &CopyLegacyOption, direction: Direction, written: &mut Written) -> Result<()> {
    match option {
        CopyLegacyOption::Binary => set(&mut written.format, CopyFormat::Binary),
        CopyLegacyOption::Delimiter(letter) => set(&mut written.delimiter, byte(*letter, "delimiter")?),
        CopyLegacyOption::Null(text) => set(&mut written.null, text.clone()),
        CopyLegacyOption::Header => set(&mut written.has_header, true),
        CopyLegacyOption::Csv(options) => {
            set(&mut written.format, CopyFormat::Csv)?;
            options.iter().try_for_each(|option| older_csv(option, direction, written))
        }
        other => Err(not_supported(&format!("COPY option {other}"))),
    }
}

fn older_csv(option: &CopyLegacyCsvOption, direction: Direction, written: &mut Written) -> Result<()> {
    match option {
        CopyLegacyCsvOption::Header => set(&mut written.has_header, true),
        CopyLegacyCsvOption::Quote(letter) => set(&mut written.quote, byte(*letter, "quote")?),
        CopyLegacyCsvOption::Escape(letter) => set(&mut written.escape, byte(*letter, "escape")?),
        CopyLegacyCsvOption::ForceQuote(columns) => {
            set(&mut written.force_quote, columns.iter().map(folded).collect())
        }
        CopyLegacyCsvOption::ForceNotNull(_) if direction == Direction::To => {
            Err(unsupported("COPY force not null only available using COPY FROM"))
        }
        CopyLegacyCsvOption::ForceNotNull(_) => Err(not_supported("COPY option FORCE NOT NULL")),
    }
}

fn byte(letter: char, what: &str) -> Result<u8> {
    u8::try_from(letter)
        .ok()
        .filter(u8::is_ascii)
        .ok_or_else(|| unsupported(&format!("COPY {what} must be a single one-byte character")))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::InvalidParameterValue { message: message.into() }
}

fn unsupported(message: &str) -> Error {
    Error::NotSupported { message: message.to_owned() }
}

fn syntax(message: &str) -> Error {
    Error::Syntax { message: message.to_owned(), position: None }
}

/// As PostgreSQL's `ProcessCopyOptions` checks them, in its order.
fn checked(written: Written, direction: Direction) -> Result<CopyOptions> {
    let format = written.format.unwrap_or(CopyFormat::Text);
    let (is_csv, is_binary) = (format == CopyFormat::Csv, format == CopyFormat::Binary);
    if is_binary && written.delimiter.is_some() {
        return Err(syntax("cannot specify DELIMITER in BINARY mode"));
    }
    if is_binary && written.null.is_some() {
        return Err(syntax("cannot specify NULL in BINARY mode"));
    }
    let only_csv = |is_there: bool, what: &str| match is_there && !is_csv {
        true => Err(unsupported(&format!("COPY {what} available only in CSV mode"))),
        false => Ok(()),
    };
    let (has_quote, has_escape) = (written.quote.is_some(), written.escape.is_some());
    let quote = written.quote.unwrap_or(b'"');
    let found = CopyOptions {
        format,
        delimiter: written.delimiter.unwrap_or(if is_csv { b',' } else { b'\t' }),
        null: written.null.unwrap_or_else(|| if is_csv { String::new() } else { "\\N".to_owned() }),
        has_header: written.has_header.unwrap_or(false),
        quote,
        escape: written.escape.unwrap_or(quote),
        force_quote: written.force_quote.unwrap_or_default(),
    };
    check_delimiter(&found)?;
    if is_binary && found.has_header {
        return Err(unsupported("cannot specify HEADER in BINARY mode"));
    }
    only_csv(has_quote, "quote")?;
    if is_csv && found.delimiter == found.quote {
        return Err(invalid("COPY delimiter and quote must be different"));
    }
    only_csv(has_escape, "escape")?;
    only_csv(!found.force_quote.is_empty(), "force quote")?;
    if !found.force_quote.is_empty() && direction == Direction::From {
        return Err(unsupported("COPY force quote only available using COPY TO"));
    }
    if !is_binary && found.null.as_bytes().contains(&found.delimiter) {
        return Err(unsupported("COPY delimiter must not appear in the NULL specification"));
    }
    if is_csv && found.null.as_bytes().contains(&found.quote) {
        return Err(unsupported("CSV quote character must not appear in the NULL specification"));
    }
    Ok(found)
}

fn check_delimiter(found: &CopyOptions) -> Result<()> {
    if matches!(found.delimiter, b'\r' | b'\n') {
        return Err(invalid("COPY delimiter cannot be newline or carriage return"));
    }
    if found.null.contains(['\r', '\n']) {
        return Err(invalid("COPY null representation cannot use newline or carriage return"));
    }
    // What a text means by `\` and a letter would be no more to tell.
    let is_word = |byte: u8| matches!(byte, b'\\' | b'.' | b'a'..=b'z' | b'0'..=b'9');
    if found.format == CopyFormat::Text && is_word(found.delimiter) {
        return Err(invalid(format!("COPY delimiter cannot be \"{}\"", char::from(found.delimiter))));
    }
    Ok(())
}
