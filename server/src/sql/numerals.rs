//! Numbers end where their letters begin: `123abc` is no number beside a name, as it would be to the tokenizer (scan.l).

use engine::{Error, Result};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::parse::position_of;

/// Refuses (42601) numbers and parameters that letters follow without a space.
pub fn check(tokens: &[TokenWithSpan], sql: &str) -> Result<()> {
    for (at, token) in tokens.iter().enumerate() {
        let what = match &token.token {
            Token::Number(..) => "numeric literal",
            // `0x1f`; one that is written as a text begins with an X.
            Token::HexStringLiteral(_) => "numeric literal",
            Token::Placeholder(name) if is_numbered(name) => "parameter",
            _ => continue,
        };
        let is_followed = tokens.get(at + 1).is_some_and(|next| {
            next.span.start == token.span.end
                && matches!(&next.token, Token::Word(word) if word.quote_style.is_none())
        });
        let is_odd = match &token.token {
            Token::Number(digits, has_suffix) => *has_suffix || digits.contains('_'),
            Token::Placeholder(name) => !name[1..].bytes().all(|byte| byte.is_ascii_digit()),
            _ => true,
        };
        if !is_followed && !is_odd {
            continue;
        }
        let Some(start) = position_of(sql, token.span.start.line, token.span.start.column) else { continue };
        let written = written_at(sql, start);
        if written.starts_with(['x', 'X']) {
            continue;
        }
        let message = format!("trailing junk after {what} at or near \"{written}\"");
        return Err(Error::Syntax { message, position: Some(start) });
    }
    Ok(())
}

/// True for `$1` and what begins like it.
fn is_numbered(name: &str) -> bool {
    name.strip_prefix('$').is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
}

/// The number and the letters behind it, from the character at `start`, counted from 1.
fn written_at(sql: &str, start: usize) -> String {
    let letters = sql.chars().skip(start - 1);
    letters
        .take_while(|letter| {
            letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '$') || !letter.is_ascii()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::grammar::Grammar;
    use super::*;
    use sqlparser::tokenizer::Tokenizer;

    fn said(sql: &str) -> Option<String> {
        let tokens = Tokenizer::new(&Grammar, sql).tokenize_with_location().expect("tokens");
        check(&tokens, sql).err().map(|error| error.to_string())
    }

    #[test]
    fn letters_behind_a_number_are_junk() {
        for junk in ["123abc", "0x0o", "1_2_3", "0.0e", "0.0e1a", ".0a", "0.a", "0x1F", "10L", "1é"] {
            let expected = format!("trailing junk after numeric literal at or near \"{junk}\"");
            assert_eq!(said(&format!("select {junk}")), Some(expected), "{junk}");
        }
        let expected = "trailing junk after parameter at or near \"$1a\"".to_owned();
        assert_eq!(said("select $1a"), Some(expected));
    }

    #[test]
    fn numbers_stay() {
        for sql in [
            "select 1 abc, 1.5, .5, 1., 1e5, 1.e5, 1e-5, 2::int, 3+a",
            "select x'1f', X'1F', a1, \"1a\", '1a'",
            "select $1, a[1:2], 1\"a\", 5.-x",
            "select $$1a$$, $a$1b$a$",
        ] {
            assert_eq!(said(sql), None, "{sql}");
        }
    }
}
