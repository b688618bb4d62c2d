//! Text → statements, with the position of what cannot be read.

use datafusion::sql::parser::DFParserBuilder;
use engine::config::LimitsConfig;
use engine::{Error, Result};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::Tokenizer;

use super::classify::{Command, classify};
use super::dialect::SessionFacts;
use super::limits;

/// How deep the parser itself may recurse; it runs on a large stack.
const PARSER_DEPTH_MAX: usize = 600;

/// One statement of a client's text.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// What it asks for.
    pub command: Command,
}

/// Splits `sql` into its statements. `facts` are what functions such as `current_user` stand for.
///
/// Fails with 42601 and a position, or 54000 and 54001 for text past the bounds in `limits`.
pub fn parse(sql: &str, limits: &LimitsConfig, facts: &SessionFacts) -> Result<Vec<Parsed>> {
    limits::check_length(sql, limits)?;
    if sql.contains('\0') {
        return Err(Error::InvalidEncoding {
            message: "invalid byte sequence for encoding \"UTF8\": 0x00".into(),
        });
    }
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, sql).tokenize_with_location().map_err(|error| {
        let position = position_of(sql, error.location.line, error.location.column);
        Error::Syntax { message: format!("syntax error: {}", error.message), position }
    })?;
    limits::check_tokens(&tokens, limits)?;
    let statements = DFParserBuilder::new(tokens)
        .with_dialect(&dialect)
        .with_recursion_limit(PARSER_DEPTH_MAX)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| syntax_error(sql, error.into()))?;
    statements.into_iter().map(|statement| Ok(Parsed { command: classify(statement, sql, facts)? })).collect()
}

/// The parser tells the place of an error only in its message: `… at Line: 1, Column: 8`.
fn syntax_error(sql: &str, error: Error) -> Error {
    let Error::Syntax { message, .. } = error else { return error };
    if message.contains("recursion limit exceeded") {
        return Error::TooComplex {
            message: "the statement is nested too deep".into(),
            hint: "Split it into common table expressions.".into(),
        };
    }
    let Some((said, place)) = message.rsplit_once(" at Line: ") else {
        let position = Some(sql.chars().count() + 1);
        return Error::Syntax { message: format!("syntax error: {message}"), position };
    };
    let mut numbers = place.split(", Column: ").map(|n| n.trim().parse::<u64>().ok());
    let position = match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(line), Some(column)) => position_of(sql, line, column),
        _ => None,
    };
    Error::Syntax { message: format!("syntax error: {said}"), position }
}

/// Characters from the start of `sql`, counted from 1, of a line and column that count from 1.
pub(super) fn position_of(sql: &str, line: u64, column: u64) -> Option<usize> {
    if line == 0 {
        return None;
    }
    let before: usize = sql
        .split_inclusive('\n')
        .take(usize::try_from(line).ok()? - 1)
        .map(|line| line.chars().count())
        .sum();
    Some(before + usize::try_from(column).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_one(sql: &str) -> Result<Vec<Parsed>> {
        parse(sql, &LimitsConfig::default(), &SessionFacts::for_tests())
    }

    #[test]
    fn a_syntax_error_tells_its_position() {
        let error = parse_one("select 1\nfrom t group where x").expect_err("a table is missing");
        assert_eq!(error.sqlstate().as_str(), "42601");
        assert_eq!(error.position(), Some(17), "{error:?}");
    }

    #[test]
    fn several_statements_and_none() {
        assert_eq!(parse_one("select 1; select 2;").expect("two statements").len(), 2);
        assert_eq!(parse_one(" ; -- nothing").expect("no statement").len(), 0);
    }

    #[test]
    fn a_zero_byte_is_an_encoding_error() {
        assert_eq!(parse_one("select '\0'").expect_err("refused").sqlstate().as_str(), "22021");
    }
}
