//! Texts of the other kinds (`N'…'`, `U&'…'`, `B'…'`, `X'…'`), and those that go on in the next line.

use engine::{Error, Result};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

/// Reads them as PostgreSQL does. Refuses bit strings (0A000), and two texts in one line (42601).
pub fn read(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let mut read: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    // Where the last text stands in `read`, while nothing but space came behind it.
    let mut open: Option<(usize, Gap)> = None;
    // `OPTIONS ('name' 'value')` has two texts beside each other.
    let mut has_options = false;
    for mut token in tokens {
        let end = token.span.end;
        match &mut token.token {
            Token::NationalStringLiteral(text) | Token::UnicodeStringLiteral(text) => {
                token.token = Token::SingleQuotedString(std::mem::take(text));
                open = Some((read.len(), Gap::Nothing));
            }
            Token::SingleQuotedByteStringLiteral(_) | Token::HexStringLiteral(_) => {
                return Err(not_supported("bit strings are not supported: write bytes as '\\x1f'::bytea"));
            }
            Token::Word(word)
                if open.is_some()
                    && word.quote_style.is_none()
                    && word.value.eq_ignore_ascii_case("uescape") =>
            {
                return Err(not_supported("UESCAPE is not supported: escape with \\"));
            }
            Token::SingleQuotedString(text) => {
                if let Some((at, gap)) = open
                    && !has_options
                {
                    go_on(&mut read[at], text, gap)?;
                    read[at].span.end = end;
                    read.truncate(at + 1);
                    open = Some((at, Gap::Nothing));
                    continue;
                }
                open = Some((read.len(), Gap::Nothing));
            }
            Token::EscapedStringLiteral(_) => open = Some((read.len(), Gap::Nothing)),
            Token::Whitespace(space) => open = open.map(|(at, gap)| (at, gap.with(space))),
            other => {
                has_options = match other {
                    Token::Word(word) if word.keyword == Keyword::OPTIONS => true,
                    Token::SemiColon => false,
                    _ => has_options,
                };
                open = None;
            }
        }
        read.push(token);
    }
    Ok(read)
}

/// What stands between two texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    Nothing,
    Line,
    /// A comment that makes two of them.
    Comment,
}

impl Gap {
    fn with(self, space: &Whitespace) -> Self {
        match space {
            Whitespace::MultiLineComment(_) => Self::Comment,
            Whitespace::Newline | Whitespace::SingleLineComment { .. } if self == Self::Nothing => Self::Line,
            _ => self,
        }
    }
}

fn go_on(before: &mut TokenWithSpan, text: &str, gap: Gap) -> Result<()> {
    if gap != Gap::Line {
        let quoted = text.replace('\'', "''");
        let message = format!("syntax error at or near \"'{quoted}'\"");
        return Err(Error::Syntax { message, position: None });
    }
    match &mut before.token {
        Token::EscapedStringLiteral(_) if text.contains('\\') => {
            return Err(not_supported("escapes in the next line of a text are not supported"));
        }
        Token::SingleQuotedString(whole) | Token::EscapedStringLiteral(whole) => whole.push_str(text),
        _ => {}
    }
    Ok(())
}

fn not_supported(message: &str) -> Error {
    Error::NotSupported { message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::grammar::Grammar;
    use super::*;
    use sqlparser::tokenizer::Tokenizer;

    fn texts(sql: &str) -> Result<Vec<String>> {
        let tokens = Tokenizer::new(&Grammar, sql).tokenize_with_location().expect("tokens");
        let texts = read(tokens)?.into_iter().filter_map(|token| match token.token {
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => Some(text),
            _ => None,
        });
        Ok(texts.collect())
    }

    #[test]
    fn texts_go_on_in_the_next_line() {
        for (sql, whole) in [
            ("select 'a'\n'b'", "ab"),
            ("select 'a' -- and\n  'b'\n\n'c'", "abc"),
            ("select e'a\\n'\n'b'", "a\nb"),
            ("select n'abc'", "abc"),
            ("select U&'\\0041bc'", "Abc"),
        ] {
            assert_eq!(texts(sql).expect("read"), [whole], "{sql}");
        }
        assert_eq!(texts("select 'a', 'b'").expect("read"), ["a", "b"]);
        assert_eq!(texts("copy t to 'x' options ('a' 'b')").expect("read"), ["x", "a", "b"]);
    }

    #[test]
    fn what_is_none_is_refused() {
        for (sql, state) in [
            ("select 'a' 'b'", "42601"),
            ("select 'a' /* x */ 'b'", "42601"),
            ("select b'101'", "0A000"),
            ("select X'1F'", "0A000"),
            ("select U&'!0041' uescape '!'", "0A000"),
            ("select e'a'\n'\\n'", "0A000"),
        ] {
            assert_eq!(texts(sql).expect_err("refused").sqlstate().as_str(), state, "{sql}");
        }
    }
}
