//! `DISTRIBUTE BY a, b INTO 10 PARTITIONS` and `DISTRIBUTE INTO 10 PARTITIONS`. The parser reads the keys alone: the
//! number becomes one of them, `'10 partitions'`, which `engine::exchange` knows.

use engine::{Error, Result};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::tables::next_token;

const PARTITIONS_MAX: usize = 10_000;

/// Moves every number of partitions among the keys.
pub fn take_counts(tokens: &mut Vec<TokenWithSpan>) -> Result<()> {
    let mut at = 0;
    while at < tokens.len() {
        if !is_word(tokens, at, "distribute") {
            at += 1;
            continue;
        }
        let Some(next) = next_token(tokens, at + 1) else { return Ok(()) };
        let (into, before) = if is_word(tokens, next, "by") {
            (into_behind(tokens, next + 1), Token::Comma)
        } else {
            (Some(next).filter(|next| is_word(tokens, *next, "into")), Token::make_keyword("BY"))
        };
        if let Some(into) = into {
            let (number, end) = counted(tokens, into)?;
            let span = tokens[into].span;
            let key = Token::SingleQuotedString(format!("{number} partitions"));
            let space = Token::Whitespace(sqlparser::tokenizer::Whitespace::Space);
            let added = [before, space, key].map(|token| TokenWithSpan::new(token, span));
            tokens.splice(into..end, added);
        }
        at = next + 1;
    }
    Ok(())
}

/// The INTO that belongs to the keys from `from` on.
fn into_behind(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => return None,
            Token::RParen => depth -= 1,
            Token::Word(word) if depth == 0 && word.keyword == Keyword::INTO => return Some(at),
            _ => {}
        }
    }
    None
}

/// The number behind the INTO at `into`, and where the clause ends.
fn counted(tokens: &[TokenWithSpan], into: usize) -> Result<(usize, usize)> {
    let wrong = || Error::Syntax {
        message: "syntax error: expected INTO n PARTITIONS behind DISTRIBUTE".to_owned(),
        position: None,
    };
    let number = next_token(tokens, into + 1).ok_or_else(wrong)?;
    let Token::Number(text, _) = &tokens[number].token else { return Err(wrong()) };
    let word =
        next_token(tokens, number + 1).filter(|at| is_word(tokens, *at, "partitions")).ok_or_else(wrong)?;
    let count = text.parse().ok().filter(|count| (1..=PARTITIONS_MAX).contains(count));
    let message = format!("a number of partitions is from 1 to {PARTITIONS_MAX}");
    Ok((count.ok_or(Error::InvalidParameterValue { message })?, word + 1))
}

fn is_word(tokens: &[TokenWithSpan], at: usize, wanted: &str) -> bool {
    matches!(&tokens[at].token, Token::Word(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlparser::dialect::PostgreSqlDialect;
    use sqlparser::tokenizer::Tokenizer;

    fn taken(sql: &str) -> Result<String> {
        let mut tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().expect("tokens");
        take_counts(&mut tokens)?;
        Ok(tokens.iter().map(|token| token.token.to_string()).collect())
    }

    #[test]
    fn numbers_become_keys() {
        for (sql, expected) in [
            (
                "select * from t distribute by a, f(b) into 10 partitions",
                "select * from t distribute by a, f(b) , '10 partitions'",
            ),
            (
                "select * from t distribute into 3 partitions order by a",
                "select * from t distribute BY '3 partitions' order by a",
            ),
            (
                "select * from (select * from t distribute by a) x",
                "select * from (select * from t distribute by a) x",
            ),
            ("insert into t select distribute from t", "insert into t select distribute from t"),
        ] {
            assert_eq!(taken(sql).expect("taken"), expected);
        }
        for (sql, sqlstate) in [
            ("select 1 distribute by a into 0 partitions", "22023"),
            ("select 1 distribute by a into ten partitions", "42601"),
            ("select 1 distribute into 10", "42601"),
        ] {
            assert_eq!(taken(sql).expect_err(sql).sqlstate().as_str(), sqlstate, "{sql}");
        }
    }
}
