//! The grammar that texts are read by: sqlparser's PostgreSQL, but for what binds how tightly, and for one thing. There each
//! argument of a function is read as a whole for a name that it might be, and then once more, so that `replace(replace(…))`
//! took twice as long for each level: twenty took seven seconds. Names of arguments are plain here, as they are in PostgreSQL.

use std::any::TypeId;

use sqlparser::ast::{CastKind, ColumnOption, DataType, Expr, TrimWhereField, UnaryOperator, Value};
use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

const BASE: PostgreSqlDialect = PostgreSqlDialect {};

/// The dialect of clients' texts, and of those that are written here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Grammar;

/// How tightly a sign binds: more than all but `[`, `::` and `.`, as COLLATE does.
const SIGN: u8 = 120;

/// The four keywords that are next; `NoKeyword` where there is none.
fn words(parser: &Parser<'_>) -> [Keyword; 4] {
    [0, 1, 2, 3].map(|at| match &parser.peek_nth_token_ref(at).token {
        Token::Word(word) => word.keyword,
        _ => Keyword::NoKeyword,
    })
}

/// `trim(BOTH FROM text)` and `trim(FROM text)`: what is trimmed are blanks.
fn trim_of_blanks(parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
    if parser.peek_nth_token_ref(1).token != Token::LParen {
        return None;
    }
    let keyword = |at| match &parser.peek_nth_token_ref(at).token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    };
    let side = match (keyword(2), keyword(3)) {
        (Keyword::FROM, _) => None,
        (Keyword::BOTH, Keyword::FROM) => Some(TrimWhereField::Both),
        (Keyword::LEADING, Keyword::FROM) => Some(TrimWhereField::Leading),
        (Keyword::TRAILING, Keyword::FROM) => Some(TrimWhereField::Trailing),
        _ => return None,
    };
    for _ in 0..3 + usize::from(side.is_some()) {
        parser.next_token();
    }
    let text = parser.parse_expr().and_then(|text| {
        parser.expect_token(&Token::RParen)?;
        Ok(text)
    });
    Some(text.map(|text| Expr::Trim {
        expr: Box::new(text),
        trim_where: side,
        trim_what: None,
        trim_characters: None,
    }))
}

/// `interval(0) '…'`, whose digits the parser would drop.
fn interval_of_digits(parser: &mut Parser<'_>) -> Option<Expr> {
    let token = |at| &parser.peek_nth_token_ref(at).token;
    let (Token::LParen, Token::Number(digits, _), Token::RParen, Token::SingleQuotedString(text)) =
        (token(1), token(2), token(3), token(4))
    else {
        return None;
    };
    let precision = digits.parse().ok()?;
    let expr = Box::new(Expr::value(Value::SingleQuotedString(text.clone())));
    for _ in 0..5 {
        parser.next_token();
    }
    let data_type = DataType::Interval { fields: None, precision: Some(precision) };
    Some(Expr::Cast { kind: CastKind::Cast, expr, data_type, array: false, format: None })
}

macro_rules! as_in_base {
    ($($name:ident),* $(,)?) => { $(fn $name(&self) -> bool { BASE.$name() })* };
}

impl Dialect for Grammar {
    /// Words of other systems, which the parser would pass over and then not heed.
    fn parse_column_option(
        &self,
        parser: &mut Parser<'_>,
    ) -> Result<Option<Result<Option<ColumnOption>, ParserError>>, ParserError> {
        use Keyword::{AS, ASC, AUTO_INCREMENT, AUTOINCREMENT, DESC, IDENTITY, ON, SRID};
        match words(parser)[0] {
            AUTO_INCREMENT | AUTOINCREMENT | ASC | DESC | ON | AS | SRID | IDENTITY => {
                parser.expected_ref("',' or ')' after column definition", parser.peek_token_ref())
            }
            _ => Ok(None),
        }
    }

    /// The parser takes it for PostgreSQL's where it asks for the type.
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        BASE.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, letter: char) -> bool {
        BASE.is_delimited_identifier_start(letter)
    }

    fn is_identifier_start(&self, letter: char) -> bool {
        BASE.is_identifier_start(letter)
    }

    fn is_identifier_part(&self, letter: char) -> bool {
        BASE.is_identifier_part(letter)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        BASE.is_reserved_for_identifier(keyword)
    }

    fn is_custom_operator_part(&self, letter: char) -> bool {
        BASE.is_custom_operator_part(letter)
    }

    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        BASE.get_next_precedence(parser)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        BASE.prec_value(precedence)
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let op = match &parser.peek_token_ref().token {
            Token::Minus => UnaryOperator::Minus,
            Token::Plus => UnaryOperator::Plus,
            Token::PGSquareRoot => UnaryOperator::PGSquareRoot,
            Token::PGCubeRoot => UnaryOperator::PGCubeRoot,
            Token::AtSign => UnaryOperator::PGAbs,
            Token::Tilde => UnaryOperator::BitwiseNot,
            Token::Word(word) if word.keyword == Keyword::TRIM && word.quote_style.is_none() => {
                return trim_of_blanks(parser);
            }
            Token::Word(word) if word.keyword == Keyword::INTERVAL && word.quote_style.is_none() => {
                return interval_of_digits(parser).map(Ok);
            }
            _ => return BASE.parse_prefix(parser),
        };
        parser.next_token();
        // A sign belongs to the number, before any power of it; other operators take all that is computed behind them.
        let tightness = match op {
            UnaryOperator::Minus | UnaryOperator::Plus => SIGN,
            _ => BASE.prec_value(Precedence::PgOther),
        };
        Some(parser.parse_subexpr(tightness).map(|expr| Expr::UnaryOp { op, expr: Box::new(expr) }))
    }

    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        expr: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        let is_negated = match words(parser) {
            [Keyword::IS, Keyword::DISTINCT, Keyword::FROM, _] => false,
            [Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM] => true,
            _ => return BASE.parse_infix(parser, expr, precedence),
        };
        for _ in 0..3 + usize::from(is_negated) {
            parser.next_token();
        }
        let other = parser.parse_subexpr(BASE.prec_value(Precedence::Is));
        Some(other.map(|other| {
            let (one, other) = (Box::new(expr.clone()), Box::new(other));
            match is_negated {
                true => Expr::IsNotDistinctFrom(one, other),
                false => Expr::IsDistinctFrom(one, other),
            }
        }))
    }

    as_in_base!(
        supports_unicode_string_literal,
        supports_filter_during_aggregation,
        supports_group_by_expr,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_create_index_with_clause,
        supports_explain_with_utility_options,
        supports_listen_notify,
        supports_factorial_operator,
        supports_bitwise_shift_operators,
        supports_comment_on,
        supports_load_extension,
        supports_named_fn_args_with_colon_operator,
        supports_empty_projections,
        supports_nested_comments,
        supports_string_escape_constant,
        supports_numeric_literal_underscores,
        supports_array_typedef_with_brackets,
        supports_geometric_types,
        supports_set_names,
        supports_alter_column_type_using,
        supports_notnull_operator,
        supports_interval_options,
        supports_insert_table_alias,
        supports_create_table_like_parenthesized,
        supports_select_wildcard_with_alias,
        supports_comma_separated_trim,
        supports_xml_expressions,
        supports_comment_optimizer_hint,
    );
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use engine::config::LimitsConfig;

    use super::super::dialect::SessionFacts;

    /// Reads a statement in which `open` and `close` stand within each other. What comes of it is no matter.
    fn check_quick(statement: &str, open: &str, close: &str) {
        const DEPTH: usize = 22;
        let sql = statement.replace("{open}", &open.repeat(DEPTH)).replace("{close}", &close.repeat(DEPTH));
        let started = Instant::now();
        let _ = crate::sql::parse(&sql, &LimitsConfig::default(), &SessionFacts::for_tests());
        assert!(started.elapsed() < Duration::from_secs(1), "{open}…{close} took {:?}", started.elapsed());
    }

    #[test]
    fn what_nests_is_read_once() {
        for (open, close) in [
            ("replace(", ", 'a', 'b')"),
            ("coalesce(", ", null)"),
            ("abs(", ")"),
            ("overlay(", ", 1, 2)"),
            ("struct(", ")"),
            ("row(", ")"),
            ("array[", "]"),
            ("(", ")"),
            ("((", "))"),
            ("case when true then ", " end"),
            ("cast(", " as text)"),
            ("(select ", ")"),
            ("f(x => ", ")"),
            ("x in (", ")"),
            ("exists (select ", ")"),
            ("not ", ""),
            ("- ", ""),
            ("extract(year from ", ")"),
            ("substring(", " from 1 for 2)"),
            ("trim(both 'x' from ", ")"),
            ("position('a' in ", ")"),
            ("interval ", ""),
        ] {
            check_quick("select {open}1{close} from t", open, close);
        }
        for (open, close) in [
            ("(", ")"),
            ("(select * from ", ") t"),
            ("(select * from (", ") t) u"),
            ("lateral (select * from ", ") t"),
        ] {
            check_quick("select * from {open}t{close}", open, close);
        }
    }
}
