//! `COPY … TO 'location' (…)` and `COPY … FROM 'location' (…)`.
//!
//! The parser knows the statement only to STDOUT and from STDIN, and with PostgreSQL's options: the location
//! and the options are taken out before it sees the text.

use engine::{Error, Result};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::hand_parsed::{Words, unexpected};

/// The location and the options as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFiles {
    /// To the location, or from there.
    pub is_to: bool,
    /// A folder or a file, or the URL of one.
    pub location: String,
    /// Names, in lower case, and values.
    pub options: Vec<(String, Value)>,
}

/// The value of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// None was written.
    None,
    /// A word, a text or a number.
    One(String),
    /// Words between parentheses.
    List(Vec<String>),
}

impl Value {
    /// The one value.
    pub fn one(&self, option: &str) -> Result<String> {
        match self {
            Self::One(text) => Ok(text.clone()),
            _ => Err(invalid(format!("COPY option {} requires a value", option.to_uppercase()))),
        }
    }

    /// True or false; true where only the option's name stands.
    pub fn flag(&self, option: &str) -> Result<bool> {
        let Self::One(text) = self else { return Ok(true) };
        match text.to_ascii_lowercase().as_str() {
            "true" | "on" | "1" => Ok(true),
            "false" | "off" | "0" => Ok(false),
            _ => Err(invalid(format!("COPY option {} requires a Boolean value", option.to_uppercase()))),
        }
    }

    /// One letter.
    pub fn byte(&self, option: &str) -> Result<u8> {
        match self.one(option)?.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'\r' | b'\n') => Ok(*byte),
            _ => Err(invalid(format!("COPY {option} must be a single one-byte character"))),
        }
    }

    /// What to say of an option that there is not (42601).
    pub fn unknown(option: &str) -> Error {
        let message = format!("option \"{option}\" not recognized for files at a location");
        Error::Syntax { message, position: None }
    }
}

/// A value that an option cannot have (22023).
pub fn invalid(message: impl Into<String>) -> Error {
    Error::InvalidParameterValue { message: message.into() }
}

/// Takes the location and the options out of a COPY, which becomes one to STDOUT or from STDIN.
pub fn take(tokens: &mut Vec<TokenWithSpan>) -> Result<Option<CopyFiles>> {
    if !Words::new(tokens).take("copy") {
        return Ok(None);
    }
    let mut depth = 0_usize;
    let mut found = None;
    for at in 0..tokens.len() {
        match &tokens[at].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            Token::Word(_) if depth == 0 => {
                let is_to = Words::new(&tokens[at..]).take("to");
                if is_to || Words::new(&tokens[at..]).take("from") {
                    let next = super::tables::next_token(tokens, at + 1);
                    found =
                        next.filter(|next| text(&tokens[*next].token).is_some()).map(|next| (is_to, next));
                    break;
                }
            }
            _ => {}
        }
    }
    let Some((is_to, at)) = found else { return Ok(None) };
    let location = text(&tokens[at].token).unwrap_or_default();
    let options = options(&tokens[at + 1..])?;
    let span = tokens[at].span;
    tokens.truncate(at);
    tokens.push(TokenWithSpan::new(Token::make_keyword(if is_to { "STDOUT" } else { "STDIN" }), span));
    Ok(Some(CopyFiles { is_to, location, options }))
}

fn text(token: &Token) -> Option<String> {
    match token {
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => Some(text.clone()),
        _ => None,
    }
}

fn options(tokens: &[TokenWithSpan]) -> Result<Vec<(String, Value)>> {
    let mut options = Vec::new();
    let mut words = Words::new(tokens);
    words.take("with");
    if words.peek().is_none() {
        return Ok(options);
    }
    if !words.take_token(&Token::LParen) {
        return Err(unexpected(words.peek()));
    }
    loop {
        let name = words.name()?;
        options.push((name, value(&mut words)?));
        if !words.take_comma() {
            break;
        }
    }
    if !words.take_token(&Token::RParen) {
        return Err(unexpected(words.peek()));
    }
    words.end()?;
    Ok(options)
}

fn value(words: &mut Words<'_>) -> Result<Value> {
    let one = match words.peek() {
        None => return Err(unexpected(None)),
        Some(Token::Comma | Token::RParen) => return Ok(Value::None),
        Some(Token::LParen) => {
            words.take_token(&Token::LParen);
            let names = words.names()?;
            if !words.take_token(&Token::RParen) {
                return Err(unexpected(words.peek()));
            }
            return Ok(Value::List(names));
        }
        Some(Token::Word(_)) => return words.name().map(Value::One),
        Some(Token::Number(digits, _)) => digits.clone(),
        Some(other) => text(other).ok_or_else(|| unexpected(Some(other)))?,
    };
    words.skip();
    Ok(Value::One(one))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use sqlparser::dialect::PostgreSqlDialect;
    use sqlparser::tokenizer::Tokenizer;

    /// What is taken out of `sql`, and what is left of it.
    pub(in super::super) fn taken(sql: &str) -> Result<Option<(CopyFiles, String)>> {
        let mut tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().expect("tokens");
        let copy = take(&mut tokens)?;
        let rest = tokens.iter().map(|token| token.token.to_string()).collect();
        Ok(copy.map(|copy| (copy, rest)))
    }

    #[test]
    fn both_directions_are_taken() {
        let (copy, rest) =
            taken("copy t (a, b) from 's3://x/*.csv' with (header off)").expect("read").expect("one");
        assert_eq!((copy.is_to, rest.as_str()), (false, "copy t (a, b) from STDIN"));
        assert_eq!(copy.options, [("header".to_owned(), Value::One("off".to_owned()))]);
    }

    #[test]
    fn other_copies_are_left_alone() {
        for sql in ["copy t to stdout (format csv)", "copy t from stdin", "select 'a' from 'b'"] {
            assert_eq!(taken(sql).expect("read"), None, "{sql}");
        }
    }
}
