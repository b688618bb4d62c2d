//! `FROM t AT (SNAPSHOT => 5)`: a table as it was. The parser does not read it, so it becomes part of the
//! table's name before the parser sees the text, behind a letter that no name has.

use engine::{Error, Result};
use sqlparser::keywords::{Keyword, RESERVED_FOR_TABLE_ALIAS};
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::tables::next_token;

const MARK: char = '\u{1}';

/// Which version of a table is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// The snapshot of that number.
    Snapshot(u64),
    /// The newest of that time, as written.
    Time(String),
}

/// The table that `name` means, and as of when; `None` for a name of the present.
pub fn moment_of(name: &str) -> Option<(&str, Moment)> {
    let (table, moment) = name.split_once(MARK)?;
    Some(match moment.parse() {
        Ok(number) => (table, Moment::Snapshot(number)),
        Err(_) => (table, Moment::Time(moment.to_owned())),
    })
}

/// The name without the moment.
pub fn present_name(name: &str) -> &str {
    name.split_once(MARK).map_or(name, |(table, _)| table)
}

/// Moves every `AT (… => …)` into the name before it.
pub fn take_moments(tokens: &mut Vec<TokenWithSpan>) -> Result<()> {
    let mut at = 0;
    while at < tokens.len() {
        if let Some((end, moment)) = moment_at(tokens, at)?
            && let Some(name) = (0..at).rev().find(|at| !is_space(&tokens[*at]))
            && let Token::Word(word) = &tokens[name].token
        {
            let plain = catalog::identifier::fold(&word.value, word.quote_style.is_some());
            let span = tokens[name].span;
            let quoted = |value: String| {
                Token::Word(Word { value, quote_style: Some('"'), keyword: Keyword::NoKeyword })
            };
            let mut rest: Vec<TokenWithSpan> = Vec::new();
            if !has_alias(tokens, end) {
                rest.push(TokenWithSpan::new(Token::make_keyword("AS"), span));
                rest.push(TokenWithSpan::new(quoted(plain.clone()), span));
            }
            tokens[name].token = quoted(format!("{plain}{MARK}{moment}"));
            let added = rest.len();
            tokens.splice(at..end, rest);
            at += added;
        } else {
            at += 1;
        }
    }
    Ok(())
}

/// The end of the clause that begins at `from`, and what it says.
fn moment_at(tokens: &[TokenWithSpan], from: usize) -> Result<Option<(usize, String)>> {
    let is_word = |at: usize, wanted: &str| {
        matches!(&tokens[at].token, Token::Word(word)
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
    };
    let is = |at: usize, token: Token| (tokens[at].token == token).then_some(at);
    let arrow = is_word(from, "at")
        .then(|| {
            let open = next_token(tokens, from + 1).and_then(|at| is(at, Token::LParen))?;
            let kind = next_token(tokens, open + 1)?;
            Some((kind, next_token(tokens, kind + 1).and_then(|at| is(at, Token::RArrow))?))
        })
        .flatten();
    let Some((kind, arrow)) = arrow else { return Ok(None) };
    let wrong = || Error::Syntax {
        message: "syntax error: AT takes (SNAPSHOT => number) or (TIMESTAMP => 'time')".to_owned(),
        position: None,
    };
    let value = next_token(tokens, arrow + 1).ok_or_else(wrong)?;
    let close = next_token(tokens, value + 1).and_then(|at| is(at, Token::RParen)).ok_or_else(wrong)?;
    let moment = match &tokens[value].token {
        Token::Number(number, _) if is_word(kind, "snapshot") || is_word(kind, "version") => number.clone(),
        Token::SingleQuotedString(time) if is_word(kind, "timestamp") => time.clone(),
        _ => return Err(wrong()),
    };
    Ok(Some((close + 1, moment)))
}

fn has_alias(tokens: &[TokenWithSpan], from: usize) -> bool {
    match next_token(tokens, from).map(|at| &tokens[at].token) {
        Some(Token::Word(word)) => {
            word.quote_style.is_some()
                || word.keyword == Keyword::AS
                || !RESERVED_FOR_TABLE_ALIAS.contains(&word.keyword)
        }
        _ => false,
    }
}

fn is_space(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlparser::dialect::PostgreSqlDialect;
    use sqlparser::tokenizer::Tokenizer;

    fn taken(sql: &str) -> String {
        let mut tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().expect("tokens");
        take_moments(&mut tokens).expect("taken");
        tokens.iter().map(|token| token.token.to_string()).collect::<String>().replace(MARK, "@")
    }

    #[test]
    fn moments_become_part_of_names() {
        assert_eq!(taken("select * from T at (snapshot => 5)"), "select * from \"t@5\" AS\"t\"");
        assert_eq!(
            taken("select * from s.t AT (VERSION => 5) x join u at (timestamp => '2024-01-01') on true"),
            "select * from s.\"t@5\"  x join \"u@2024-01-01\" AS\"u\" on true"
        );
        let other = "select at (1), x at time zone 'UTC' from t";
        assert_eq!(taken(other), other);
    }

    #[test]
    fn names_tell_their_moment() {
        assert_eq!(moment_of("t\u{1}5"), Some(("t", Moment::Snapshot(5))));
        assert_eq!(moment_of("t"), None);
        assert_eq!(present_name("t\u{1}2024-01-01"), "t");
    }
}
