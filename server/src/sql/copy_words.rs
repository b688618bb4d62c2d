//! What PostgreSQL takes in the options of COPY and the parser does not: it is spelled as what the parser takes.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::hand_parsed::Words;

/// `FORCE QUOTE *` names a column `*`; `HEADER off` is `HEADER false`, and so on.
pub fn spell(tokens: &mut Vec<TokenWithSpan>) {
    if !Words::new(tokens).take("copy") {
        return;
    }
    let mut depth = 0_usize;
    let mut before: Vec<String> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            Token::Whitespace(_) => {
                at += 1;
                continue;
            }
            Token::Mul if is_forced(&before) => {
                let column = Token::make_word("*", Some('"'));
                let span = tokens[at].span;
                let spelled =
                    if depth == 0 { vec![column] } else { vec![Token::LParen, column, Token::RParen] };
                let spelled = spelled.into_iter().map(|token| TokenWithSpan { token, span });
                tokens.splice(at..=at, spelled);
                at += if depth == 0 { 1 } else { 3 };
                before.clear();
                continue;
            }
            token if depth == 1 && is_flag(&before) => {
                if let Some(flag) = flag(token) {
                    tokens[at].token = Token::make_keyword(flag);
                }
            }
            _ => {}
        }
        before.push(tokens[at].token.to_string().to_ascii_lowercase());
        at += 1;
    }
}

fn is_forced(before: &[String]) -> bool {
    match before {
        [.., force, quote] if force == "force" && quote == "quote" => true,
        [.., force] => force == "force_quote",
        [] => false,
    }
}

/// True behind the name of an option that is on or off.
fn is_flag(before: &[String]) -> bool {
    matches!(before, [.., open, name]
        if matches!(open.as_str(), "(" | ",") && matches!(name.as_str(), "header" | "freeze"))
}

fn flag(token: &Token) -> Option<&'static str> {
    let text = token.to_string();
    match text.trim_matches('\'').to_ascii_lowercase().as_str() {
        "on" | "1" | "true" => Some("TRUE"),
        "off" | "0" | "false" => Some("FALSE"),
        _ => None,
    }
}
