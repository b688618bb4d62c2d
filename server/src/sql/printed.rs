//! Text that is written to be read again: a view as it is stored, a condition within the statement that a command becomes.
//!
//! sqlparser's own printing is not exact. It takes a quote behind a backslash, and two quotes, for escaped already, so that
//! a literal which a client had quoted rightly could end early and go on as a statement. So literals are printed in a form
//! that is exact, and everything that was printed is read at once, and refused when it is not the same.

use std::fmt::Display;
use std::ops::ControlFlow;

use super::grammar::Grammar;
use engine::{Error, Result};
use sqlparser::ast::{Expr, Query, Value, ValueWithSpan, VisitMut, VisitorMut};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::parse::PARSER_DEPTH_MAX;

/// The text of an expression. Fails with 0A000 where no text can be read as the same.
pub fn expression(expr: &Expr) -> Result<String> {
    exact(expr, |parser| parser.parse_expr())
}

/// The text of a query. Fails with 0A000 where no text can be read as the same.
pub fn query(query: &Query) -> Result<String> {
    exact(query, |parser| parser.parse_query().map(|query| *query))
}

/// A name, in quotes.
pub fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn exact<T: VisitMut + Clone + PartialEq + Display>(
    node: &T,
    read: impl Fn(&mut Parser<'_>) -> std::result::Result<T, ParserError>,
) -> Result<String> {
    let mut node = node.clone();
    let _ = node.visit(&mut Literals);
    let text = node.to_string();
    let dialect = Grammar;
    let again = Parser::new(&dialect).with_recursion_limit(PARSER_DEPTH_MAX).try_with_sql(&text).and_then(
        |mut parser| {
            let again = read(&mut parser)?;
            parser.expect_token(&Token::EOF)?;
            Ok(again)
        },
    );
    match again {
        Ok(again) if again == node => Ok(text),
        _ => Err(Error::NotSupported {
            message:
                "a name with quotes or backslashes in it, or an expression that cannot be written as text, \
                      is not supported here"
                    .to_owned(),
        }),
    }
}

/// Texts with quotes or backslashes, in the form that escapes both.
struct Literals;

impl VisitorMut for Literals {
    type Break = ();

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        if let Value::SingleQuotedString(text) = &value.value
            && text.contains(['\'', '\\'])
        {
            value.value = Value::EscapedStringLiteral(text.clone());
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Expr {
        let dialect = Grammar;
        let mut parser = Parser::new(&dialect).try_with_sql(text).expect("tokens");
        parser.parse_expr().expect("an expression")
    }

    fn text_of(expr: &Expr) -> Option<&str> {
        match expr {
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// A text as a literal.
    fn literal(text: &str) -> String {
        format!("'{}'", text.replace('\'', "''"))
    }

    #[test]
    fn a_literal_is_printed_as_what_it_is() {
        // Every text of up to six of these letters.
        const LETTERS: [&str; 5] = ["'", "\\", "a", "\n", "\""];
        for length in 0..=6_u32 {
            for number in 0..LETTERS.len().pow(length) {
                let mut rest = number;
                let mut text = String::new();
                for _ in 0..length {
                    text.push_str(LETTERS[rest % LETTERS.len()]);
                    rest /= LETTERS.len();
                }
                let printed = expression(&read(&literal(&text))).expect("it can be printed");
                assert_eq!(text_of(&read(&printed)), Some(text.as_str()), "{printed}");
            }
        }
    }

    #[test]
    fn a_literal_does_not_end_early() {
        let payload = r"\' || (select max(val) from vault.gold) AS text) ELSE email END --";
        let expr = read(&format!("email = {}", literal(payload)));
        let printed = expression(&expr).expect("it can be printed");
        let Expr::BinaryOp { right, .. } = read(&printed) else { panic!("{printed}") };
        assert_eq!(text_of(&right), Some(payload));
    }

    #[test]
    fn a_name_that_would_be_read_as_another_is_refused() {
        for text in [r#""\""" > 1"#, r#""a""""b" = 'x'"#, r#""\""||v from private_pay,d--" is null"#] {
            let expr = read(text);
            match expression(&expr) {
                Ok(printed) => assert_eq!(read(&printed), expr, "{printed}"),
                Err(error) => assert_eq!(error.sqlstate().as_str(), "0A000"),
            }
        }
        assert!(expression(&read(r#""a""b" = "c d""#)).is_ok());
    }
}
