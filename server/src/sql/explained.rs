//! `EXPLAIN` and its options, as PostgreSQL writes them; the parser knows other ones.

use engine::{Error, Result};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::hand_parsed::unexpected;

/// `EXPLAIN` before a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explain {
    /// The query runs, and what it did is shown.
    pub is_analyze: bool,
    /// The plan is shown as DataFusion prints it, too.
    pub is_verbose: bool,
    /// As one JSON document in place of lines.
    pub is_json: bool,
    /// What is expected is shown.
    pub costs: bool,
    /// Times are shown.
    pub timing: bool,
    /// What the whole took is shown.
    pub summary: bool,
}

/// Takes `EXPLAIN` and its options off the front of a statement, when it begins so.
pub fn take(tokens: &mut Vec<TokenWithSpan>) -> Result<Option<Explain>> {
    let mut at = 0;
    if !takes(tokens, &mut at, "explain") {
        return Ok(None);
    }
    let mut explain = Explain {
        is_analyze: false,
        is_verbose: false,
        is_json: false,
        costs: true,
        timing: true,
        summary: true,
    };
    if is_list(tokens, at) {
        skip_space(tokens, &mut at);
        at += 1;
        let mut summary = None;
        let mut measured = Vec::new();
        loop {
            option(tokens, &mut at, &mut explain, (&mut summary, &mut measured))?;
            skip_space(tokens, &mut at);
            match tokens.get(at).map(|token| &token.token) {
                Some(Token::Comma) => at += 1,
                Some(Token::RParen) => break,
                other => return Err(unexpected(other)),
            }
        }
        at += 1;
        explain.summary = summary.unwrap_or(explain.summary);
        if let (false, Some(name)) = (explain.is_analyze, measured.first()) {
            let message = format!("EXPLAIN option {} requires ANALYZE", name.to_ascii_uppercase());
            return Err(Error::InvalidParameterValue { message });
        }
    } else {
        explain.is_analyze = takes(tokens, &mut at, "analyze") || takes(tokens, &mut at, "analyse");
        explain.is_verbose = takes(tokens, &mut at, "verbose");
    }
    if takes(tokens, &mut at.clone(), "explain") {
        return Err(Error::NotSupported { message: "EXPLAIN of EXPLAIN".into() });
    }
    tokens.drain(..at);
    let is_text = |token: &TokenWithSpan| !matches!(token.token, Token::Whitespace(_) | Token::EOF);
    if !tokens.iter().any(is_text) {
        return Err(unexpected(None));
    }
    Ok(Some(explain))
}

fn skip_space(tokens: &[TokenWithSpan], at: &mut usize) {
    while matches!(tokens.get(*at).map(|token| &token.token), Some(Token::Whitespace(_))) {
        *at += 1;
    }
}

fn word(tokens: &[TokenWithSpan], at: &mut usize) -> Option<String> {
    skip_space(tokens, at);
    let text = match tokens.get(*at).map(|token| &token.token) {
        Some(Token::Word(word)) => word.value.to_ascii_lowercase(),
        Some(Token::SingleQuotedString(text)) => text.to_ascii_lowercase(),
        Some(Token::Number(digits, _)) => digits.clone(),
        _ => return None,
    };
    *at += 1;
    Some(text)
}

fn takes(tokens: &[TokenWithSpan], at: &mut usize, keyword: &str) -> bool {
    let mut ahead = *at;
    let is_it = word(tokens, &mut ahead).is_some_and(|word| word == keyword);
    if is_it {
        *at = ahead;
    }
    is_it
}

/// True when options in parentheses follow, and not a query in parentheses.
fn is_list(tokens: &[TokenWithSpan], mut at: usize) -> bool {
    skip_space(tokens, &mut at);
    if !matches!(tokens.get(at).map(|token| &token.token), Some(Token::LParen)) {
        return false;
    }
    at += 1;
    let begins_query = ["select", "with", "values", "table"];
    word(tokens, &mut at).is_some_and(|word| !begins_query.contains(&word.as_str()))
}

fn option(
    tokens: &[TokenWithSpan],
    at: &mut usize,
    explain: &mut Explain,
    (summary, measured): (&mut Option<bool>, &mut Vec<&'static str>),
) -> Result<()> {
    let name = match word(tokens, at) {
        Some(name) => name,
        None => return Err(unexpected(tokens.get(*at).map(|token| &token.token))),
    };
    let value = word(tokens, at);
    if name == "format" {
        explain.is_json = match value.as_deref() {
            Some("json") => true,
            Some("text") => false,
            Some(other @ ("xml" | "yaml")) => {
                return Err(Error::NotSupported { message: format!("EXPLAIN (FORMAT {other})") });
            }
            other => {
                let value = other.unwrap_or_default();
                let message = format!("unrecognized value for EXPLAIN option \"format\": \"{value}\"");
                return Err(Error::InvalidParameterValue { message });
            }
        };
        return Ok(());
    }
    let is_on = match value.as_deref() {
        None | Some("true" | "on" | "1") => true,
        Some("false" | "off" | "0") => false,
        Some(_) => {
            return Err(Error::Syntax {
                message: format!("{name} requires a Boolean value"),
                position: None,
            });
        }
    };
    match name.as_str() {
        "analyze" | "analyse" => explain.is_analyze = is_on,
        "verbose" => explain.is_verbose = is_on,
        "costs" => explain.costs = is_on,
        "timing" => {
            explain.timing = is_on;
            measured.extend(is_on.then_some("timing"));
        }
        "summary" => *summary = Some(is_on),
        "wal" => measured.extend(is_on.then_some("wal")),
        // Clients ask for them always; there is nothing of the kind here.
        "settings" | "buffers" | "generic_plan" => {}
        other => return Err(unrecognized(&format!("EXPLAIN option \"{other}\""))),
    }
    Ok(())
}

fn unrecognized(what: &str) -> Error {
    Error::Syntax { message: format!("unrecognized {what}"), position: None }
}
