//! Text → statements, with the position of what cannot be read.

use std::sync::Arc;

use super::grammar::Grammar;
use datafusion::error::DataFusionError;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use engine::config::LimitsConfig;
use engine::{Error, Result};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Whitespace};

use super::classify::{Command, classify};
use super::dialect::{self, SessionFacts};
use super::tables::{self, RelationKind};
use super::{copy_words, distribute, explained, hand_parsed, history, limits, numerals, strings};

/// How deep the parser itself may recurse; it runs on a large stack.
pub(super) const PARSER_DEPTH_MAX: usize = 600;

/// One statement of a client's text.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// What it asks for.
    pub command: Command,
}

/// Splits `sql` into its statements. `facts` are what functions such as `version()` stand for.
///
/// Fails with 42601 and a position, or 54000 and 54001 for text past the bounds in `limits`.
pub fn parse(sql: &str, limits: &LimitsConfig, facts: &SessionFacts) -> Result<Vec<Parsed>> {
    limits::check_length(sql, limits)?;
    if sql.contains('\0') {
        return Err(Error::InvalidEncoding {
            message: "invalid byte sequence for encoding \"UTF8\": 0x00".into(),
        });
    }
    let dialect = Grammar;
    let tokens = Tokenizer::new(&dialect, sql).tokenize_with_location().map_err(|error| {
        let position = position_of(sql, error.location.line, error.location.column);
        Error::Syntax { message: format!("syntax error: {}", error.message), position }
    })?;
    numerals::check(&tokens, sql)?;
    let tokens = spell_isnull(split_signs(strings::read(tokens)?));
    limits::check_tokens(&tokens, limits)?;
    let groups = tokens.split(|token| token.token == Token::SemiColon);
    let is_empty = |group: &&[TokenWithSpan]| {
        group.iter().all(|token| matches!(token.token, Token::Whitespace(_) | Token::EOF))
    };
    groups
        .filter(|group| !is_empty(group))
        .map(|group| Ok(Parsed { command: parse_one(group, &dialect, sql, facts)? }))
        .collect()
}

/// `a>-1` compares with -1: an operator of several characters ends in a sign only where it has one of those that make it
/// another word, as `@-` (scan.l).
fn split_signs(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut split = Vec::with_capacity(tokens.len());
    for token in tokens {
        let Token::CustomBinaryOperator(operator) = &token.token else {
            split.push(token);
            continue;
        };
        let bare = operator.trim_end_matches(['+', '-']);
        let base = match bare {
            "=" => Token::Eq,
            "<>" => Token::Neq,
            "<" => Token::Lt,
            ">" => Token::Gt,
            "<=" => Token::LtEq,
            ">=" => Token::GtEq,
            "*" => Token::Mul,
            "/" => Token::Div,
            _ => {
                split.push(token);
                continue;
            }
        };
        let signs = operator[bare.len()..].chars();
        let signs = signs.map(|sign| if sign == '-' { Token::Minus } else { Token::Plus });
        split.extend(
            std::iter::once(base).chain(signs).map(|part| TokenWithSpan { token: part, span: token.span }),
        );
    }
    split
}

/// `a ISNULL` is `a IS NULL`; the parser takes the word for a name.
fn spell_isnull(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is_isnull = |token: &TokenWithSpan| {
        matches!(&token.token, Token::Word(word)
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("isnull"))
    };
    if !tokens.iter().any(is_isnull) {
        return tokens;
    }
    let mut spelt: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 2);
    for token in tokens {
        let before = spelt.iter().rev().find(|token| !matches!(token.token, Token::Whitespace(_)));
        let is_behind_operand = before.is_some_and(|before| match &before.token {
            // Only AS makes a name of it: PostgreSQL has it for no column and no table.
            Token::Word(word) => word.quote_style.is_some() || word.keyword != Keyword::AS,
            Token::RParen
            | Token::RBracket
            | Token::Number(..)
            | Token::Placeholder(_)
            | Token::SingleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::DollarQuotedString(_)
            | Token::UnicodeStringLiteral(_)
            | Token::NationalStringLiteral(_) => true,
            _ => false,
        });
        if !is_behind_operand || !is_isnull(&token) {
            spelt.push(token);
            continue;
        }
        let span = token.span;
        let part = |token| TokenWithSpan { token, span };
        let space = Token::Whitespace(Whitespace::Space);
        spelt.extend([Token::make_keyword("IS"), space, Token::make_keyword("NULL")].map(part));
    }
    spelt
}

/// Parses the one statement in `tokens`.
fn parse_one(
    tokens: &[TokenWithSpan],
    dialect: &Grammar,
    sql: &str,
    facts: &SessionFacts,
) -> Result<Command> {
    let as_sent = tokens;
    let mut tokens = tokens.to_vec();
    if let Some(explain) = explained::take(&mut tokens)? {
        return match parse_one(&tokens, dialect, sql, facts)? {
            Command::Query(mut query) => {
                query.explain = Some(explain);
                Ok(Command::Query(query))
            }
            Command::Write(_) if explain.is_analyze => Err(Error::NotSupported {
                message: "EXPLAIN ANALYZE of a statement that writes; run it, and look at sys.stages".into(),
            }),
            Command::Write(write) => Ok(Command::ExplainWrite(write, explain)),
            _ => Err(Error::NotSupported {
                message: "EXPLAIN of a statement other than SELECT, INSERT and CREATE TABLE AS".into(),
            }),
        };
    }
    if let Some(command) = hand_parsed::parse(&tokens) {
        return command;
    }
    let is_user = spell_user_as_role(&mut tokens);
    let is_option_only = hand_parsed::take_option_for(&mut tokens);
    let said = spell_view_as_table(&mut tokens);
    copy_words::spell(&mut tokens);
    history::take_moments(&mut tokens)?;
    distribute::take_counts(&mut tokens)?;
    let clauses = tables::take_clauses(&mut tokens)?;
    let first = tokens.iter().find_map(|token| match &token.token {
        Token::Word(word) => Some(word.keyword),
        _ => None,
    });
    // DataFusion's own COPY knows neither STDIN nor STDOUT.
    let mut statement = if first == Some(Keyword::COPY) {
        let mut parser =
            Parser::new(dialect).with_recursion_limit(PARSER_DEPTH_MAX).with_tokens_with_locations(tokens);
        parser
            .parse_statement()
            // What is left was not read at all.
            .and_then(|statement| parser.expect_token(&Token::EOF).map(|_| statement))
            .map(|statement| Statement::Statement(Box::new(statement)))
            .map_err(|error| syntax_error(sql, DataFusionError::from(error).into()))?
    } else {
        let parsed = DFParserBuilder::new(tokens)
            .with_dialect(dialect)
            .with_recursion_limit(PARSER_DEPTH_MAX)
            .build()
            .and_then(|mut parser| parser.parse_statements())
            .map_err(|error| syntax_error(sql, error.into()))?;
        let mut parsed = parsed.into_iter();
        parsed.next().ok_or_else(|| Error::internal("a statement was parsed to none"))?
    };
    if let Statement::Statement(statement) = &mut statement {
        dialect::give_meaning(statement)?;
    }
    let mut command = classify(statement, clauses, sql, facts, is_user)?;
    if let Command::Granting(granting) = &mut command {
        granting.with_grant_option |= is_option_only;
    }
    if let (Command::AlterTable(alter), Some(said)) = (&mut command, said) {
        alter.said = said;
    }
    match &mut command {
        Command::Declare(declared) => declared.statement = Arc::from(written(as_sent, sql)),
        Command::Prepare { written: text, .. } => *text = Arc::from(written(as_sent, sql)),
        _ => {}
    }
    Ok(command)
}

/// What `sql` says in `tokens`, from the first word to the last, and the semicolon behind it.
fn written<'a>(tokens: &[TokenWithSpan], sql: &'a str) -> &'a str {
    let mut words = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
    let Some(first) = words.next() else { return "" };
    let last = words.next_back().unwrap_or(first);
    let (start, end) = (byte_of(sql, first.span.start), byte_of(sql, last.span.end));
    let rest = &sql[end..];
    let has_semicolon = rest.trim_start().starts_with(';');
    let end = if has_semicolon { end + rest.find(';').unwrap_or(0) + 1 } else { end };
    sql.get(start..end).unwrap_or(sql)
}

/// The byte of `sql` at a place whose line and column count from 1.
fn byte_of(sql: &str, place: Location) -> usize {
    let lines = usize::try_from(place.line).unwrap_or(usize::MAX).saturating_sub(1);
    let before: usize = sql.split_inclusive('\n').take(lines).map(str::len).sum();
    let column = usize::try_from(place.column).unwrap_or(usize::MAX).saturating_sub(1);
    sql[before..].char_indices().nth(column).map_or(sql.len(), |(at, _)| before + at)
}

/// `ALTER [MATERIALIZED] VIEW v RENAME TO w` is what `ALTER TABLE` does as well; the parser reads the latter. What was said
/// in place of a table.
fn spell_view_as_table(tokens: &mut Vec<TokenWithSpan>) -> Option<RelationKind> {
    let is_space = |token: &TokenWithSpan| matches!(token.token, Token::Whitespace(_));
    let words: Vec<usize> = (0..tokens.len()).filter(|at| !is_space(&tokens[*at])).take(3).collect();
    let keyword = |place: usize| match words.get(place).map(|at| &tokens[*at].token) {
        Some(Token::Word(word)) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    };
    let (removed, view) = match (keyword(0), keyword(1), keyword(2)) {
        (Some(Keyword::ALTER), Some(Keyword::VIEW), _) => (None, words[1]),
        (Some(Keyword::ALTER), Some(Keyword::MATERIALIZED), Some(Keyword::VIEW)) => {
            (Some(words[1]), words[2])
        }
        _ => return None,
    };
    tokens[view].token = Token::make_keyword("TABLE");
    match removed {
        Some(removed) => {
            tokens.remove(removed);
            Some(RelationKind::MaterializedView)
        }
        None => Some(RelationKind::View),
    }
}

/// `CREATE USER` is `CREATE ROLE … LOGIN`, and so on: sqlparser reads the latter. True when the word was
/// `USER`.
fn spell_user_as_role(tokens: &mut Vec<TokenWithSpan>) -> bool {
    let words: Vec<(usize, Keyword)> = tokens
        .iter()
        .enumerate()
        .filter_map(|(at, token)| match &token.token {
            Token::Word(word) => Some((at, word.keyword)),
            _ => None,
        })
        .collect();
    let of_roles = matches!(words.first(), Some((_, Keyword::CREATE | Keyword::ALTER | Keyword::DROP)));
    let Some((at, Keyword::USER | Keyword::ROLE)) = words.get(1).copied().filter(|_| of_roles) else {
        return false;
    };
    let is_user = words[1].1 == Keyword::USER;
    if let Token::Word(word) = &mut tokens[at].token {
        word.value = "ROLE".to_owned();
        word.keyword = Keyword::ROLE;
    }
    // Passwords are always kept encrypted; the old word says nothing.
    let is_encrypted = |token: &TokenWithSpan| matches!(&token.token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case("encrypted"));
    tokens.retain(|token| !is_encrypted(token));
    is_user
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
    fn a_sign_after_an_operator_is_one() {
        for sql in ["select 1 where 2>-1", "select 1<>-1, 2*-3, 1>=+1, 3=-3"] {
            assert_eq!(parse_one(sql).expect("a statement").len(), 1, "{sql}");
        }
    }

    #[test]
    fn several_statements_and_none() {
        assert_eq!(parse_one("select 1; select 2;").expect("two statements").len(), 2);
        assert_eq!(parse_one(" ; -- nothing").expect("no statement").len(), 0);
    }

    #[test]
    fn what_was_written_of_a_statement_is_kept() {
        let sql =
            "select 1;\n -- one\n declare \"ü\" cursor\nfor select 'ä'\n'b' ; prepare p as select 'ü' -- two";
        let parsed = parse_one(sql).expect("three statements");
        let Command::Declare(declared) = &parsed[1].command else { panic!("{:?}", parsed[1]) };
        assert_eq!(&*declared.statement, "declare \"ü\" cursor\nfor select 'ä'\n'b' ;");
        let Command::Prepare { written, .. } = &parsed[2].command else { panic!("{:?}", parsed[2]) };
        assert_eq!(&**written, "prepare p as select 'ü'");
    }

    #[test]
    fn a_zero_byte_is_an_encoding_error() {
        assert_eq!(parse_one("select '\0'").expect_err("refused").sqlstate().as_str(), "22021");
    }
}
