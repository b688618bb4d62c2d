//! Bounds on a statement, checked on its tokens: before anything recursive touches it.
//!
//! A chain of 2,000 `+` was seen to overflow a 2 MiB stack in the planner, and a stack overflow takes
//! every session with it. Planning runs on large stacks; the bounds here keep it also quick.

use std::ops::ControlFlow;

use engine::config::LimitsConfig;
use engine::{Error, Result, SqlState};
use sqlparser::ast::{ObjectName, ObjectNamePart, Query, Select, Statement, Visit, Visitor};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::classify::folded;

/// Columns that one SELECT may list, as many as PostgreSQL lets it (`MaxTupleAttributeNumber`).
const COLUMNS_MAX: usize = 1664;

/// Checks how many columns each SELECT of `statement` lists.
pub fn check_columns(statement: &Statement) -> Result<()> {
    struct Widest(usize);
    impl Visitor for Widest {
        type Break = ();

        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
            self.0 = self.0.max(select.projection.len());
            ControlFlow::Continue(())
        }
    }
    let mut widest = Widest(0);
    let _ = statement.visit(&mut widest);
    if widest.0 <= COLUMNS_MAX {
        return Ok(());
    }
    Err(Error::Stamped {
        sqlstate: SqlState::from_text("54011"),
        message: format!("target lists can have at most {COLUMNS_MAX} entries"),
    })
}

/// Relations that a statement may read, those of a common table expression as often as it is named: where it is, its plan is
/// copied. Twenty that each name the one before twice are a million.
const READS_MAX: u64 = 10_000;

/// Checks how much the common table expressions of `statement` make of it.
pub fn check_reads(statement: &Statement) -> Result<()> {
    let mut reads = Reads { open: vec![Open::default()] };
    if statement.visit(&mut reads).is_continue() {
        return Ok(());
    }
    Err(Error::TooComplex {
        message: "the statement is too complex: its common table expressions are read too often".into(),
        hint: "Store the rows of one that is read many times in a table, and read that.".into(),
    })
}

#[derive(Default)]
struct Open {
    /// Its common table expressions that are yet to come, the next one last.
    to_come: Vec<String>,
    /// The others, and what each of them reads.
    known: Vec<(String, u64)>,
    reads: u64,
}

/// The queries that are open, the innermost last.
struct Reads {
    open: Vec<Open>,
}

impl Reads {
    fn add(&mut self, reads: u64) -> ControlFlow<()> {
        let Some(innermost) = self.open.last_mut() else { return ControlFlow::Continue(()) };
        innermost.reads = innermost.reads.saturating_add(reads);
        if innermost.reads > READS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Visitor for Reads {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        let to_come: Vec<String> = tables.map(|table| folded(&table.alias.name)).rev().collect();
        self.open.push(Open { to_come, ..Open::default() });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        let reads = self.open.pop().map_or(0, |query| query.reads);
        // The first queries within one are its common table expressions.
        if let Some(outer) = self.open.last_mut()
            && let Some(name) = outer.to_come.pop()
        {
            outer.known.push((name, reads));
            return ControlFlow::Continue(());
        }
        self.add(reads)
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let known = match relation.0.as_slice() {
            [ObjectNamePart::Identifier(name)] => {
                let name = folded(name);
                let mut known = self.open.iter().rev().flat_map(|query| query.known.iter().rev());
                known.find(|(known, _)| *known == name).map(|(_, reads)| *reads)
            }
            _ => None,
        };
        self.add(known.unwrap_or(1).max(1))
    }
}

/// Checks the length of the text, before it is even split into tokens.
pub fn check_length(sql: &str, limits: &LimitsConfig) -> Result<()> {
    if sql.len() as u64 > limits.statement_bytes_max.0 { Err(too_long(limits)) } else { Ok(()) }
}

/// What is said of a statement that is too long.
pub fn too_long(limits: &LimitsConfig) -> Error {
    Error::TooLarge {
        message: format!("the statement is longer than {}", limits.statement_bytes_max),
        hint: "Send long lists of values as a table or in several statements.".into(),
    }
}

/// Checks the number of tokens, the nesting, and the length of chains such as `a + b + c`.
pub fn check_tokens(tokens: &[TokenWithSpan], limits: &LimitsConfig) -> Result<()> {
    let significant = tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).count();
    if significant > limits.statement_tokens_max {
        return Err(Error::TooLarge {
            message: format!("the statement has more than {} tokens", limits.statement_tokens_max),
            hint: "Send long lists of values as a table or in several statements.".into(),
        });
    }
    // One counter per open parenthesis: operators since the last comma at that level, and set
    // operations, which nest just as deep.
    let mut chains = vec![Chain::default()];
    let mut before = &Token::EOF;
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket => {
                let outer = chains.last().expect("one level is always open");
                // `FROM ((` is read as a query in parentheses, and then as a join.
                let is_within = matches!(before, Token::LParen) && outer.is_relation;
                let is_relation = is_within || is_before_relation(before);
                let read_twice = outer.read_twice + usize::from(is_within || is_read_twice(before));
                chains.push(Chain { read_twice, is_relation, ..Chain::default() });
            }
            Token::RParen | Token::RBracket => {
                if chains.len() > 1 {
                    chains.pop();
                }
                // A subscript applies to what stands before it, and another may follow.
                if matches!(token.token, Token::RBracket) {
                    chains.last_mut().expect("one level is always open").count(&token.token);
                }
            }
            Token::SemiColon => chains = vec![Chain::default()],
            other => chains.last_mut().expect("one level is always open").count(other),
        }
        if !matches!(token.token, Token::Whitespace(_)) {
            before = &token.token;
        }
        let chain = chains.last().expect("one level is always open");
        if chain.read_twice > READ_TWICE_MAX {
            return Err(Error::TooComplex {
                message: format!(
                    "parentheses of joins, or functions with a syntax of their own, nest more than {READ_TWICE_MAX} deep"
                ),
                hint: "Compute the inner ones in a subquery of FROM.".into(),
            });
        }
        let depth = limits.statement_depth_max;
        let longest = chain.operators.max(chain.set_operations).max(chain.tables * TABLE_WEIGHT);
        if chains.len() > depth || longest > depth {
            return Err(Error::TooComplex {
                message: format!("the statement nests or chains more than {depth} deep"),
                hint: "Replace long chains of OR with IN, and long unions with a table of values.".into(),
            });
        }
    }
    Ok(())
}

fn is_before_relation(before: &Token) -> bool {
    matches!(before, Token::Word(word)
        if word.quote_style.is_none() && matches!(word.keyword, Keyword::FROM | Keyword::JOIN))
}

/// Calls that the parser reads by a syntax of their own, and once more as plain ones where that fails: each level takes twice
/// as long.
const READ_TWICE_MAX: usize = 10;

fn is_read_twice(before: &Token) -> bool {
    let Token::Word(word) = before else { return false };
    word.quote_style.is_none()
        && matches!(
            word.keyword,
            Keyword::OVERLAY
                | Keyword::POSITION
                | Keyword::STRUCT
                | Keyword::CEIL
                | Keyword::FLOOR
                | Keyword::SUBSTRING
                | Keyword::TRIM
                | Keyword::EXTRACT
                | Keyword::CONVERT
                | Keyword::TRY_CONVERT
                | Keyword::MAP
        )
}

/// Joining a table costs the planner more than an operator does: every join knows every column so far.
const TABLE_WEIGHT: usize = 4;

/// Operators written in signs of which the parser has dozens: `->`, `!~`, `@>` and their kin.
fn is_symbolic(token: &Token) -> bool {
    let text = token.to_string();
    text.len() > 1 && text.chars().all(|letter| "+-*/<>=~!@#%^&|?".contains(letter))
}

#[derive(Default)]
struct Chain {
    operators: usize,
    set_operations: usize,
    // Commas of a FROM list: each joins one more table.
    tables: usize,
    is_from: bool,
    /// What stands in the place of a table.
    is_relation: bool,
    /// Calls and joins around it that are read twice.
    read_twice: usize,
}

impl Chain {
    fn count(&mut self, token: &Token) {
        match token {
            Token::Comma => {
                self.operators = 0;
                self.tables += usize::from(self.is_from);
            }
            Token::Word(word) => match word.keyword {
                Keyword::FROM => self.is_from = true,
                Keyword::WHERE | Keyword::GROUP | Keyword::ORDER | Keyword::SELECT => self.is_from = false,
                Keyword::JOIN => {
                    self.operators += 1;
                    self.tables += 1;
                }
                Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::CASE
                | Keyword::IS
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::BETWEEN
                | Keyword::COLLATE
                | Keyword::AT => self.operators += 1,
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT => {
                    self.set_operations += 1;
                    self.operators = 0;
                }
                Keyword::WHEN => self.operators = 0,
                _ => {}
            },
            Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::Eq
            | Token::Neq
            | Token::Lt
            | Token::Gt
            | Token::LtEq
            | Token::GtEq
            | Token::StringConcat
            | Token::Ampersand
            | Token::Pipe
            | Token::Caret
            | Token::Sharp
            | Token::ExclamationMark
            | Token::Tilde
            | Token::RBracket
            | Token::DoubleColon => self.operators += 1,
            other => self.operators += usize::from(is_symbolic(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlparser::dialect::PostgreSqlDialect;
    use sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn check(sql: &str) -> Result<()> {
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
            .tokenize_with_location()
            .expect("the test's text has tokens");
        check_tokens(&tokens, &LimitsConfig::default())
    }

    #[test]
    fn long_chains_are_refused_and_long_lists_are_not() {
        assert!(check(&format!("select 1{}", " + 1".repeat(2000))).is_err());
        assert!(check(&format!("select 1{}", " or true".repeat(20_000))).is_err());
        assert!(check(&format!("select 1{}", " union all select 1".repeat(5000))).is_err());
        assert!(check(&format!("select {}1", "(".repeat(10_000))).is_err());
        assert!(check(&format!("select 1{}", " is null".repeat(2000))).is_err());
        assert!(check(&format!("select x{}", "[1]".repeat(2000))).is_err());
        assert!(check(&format!("select x{}", " -> 'a'".repeat(2000))).is_err());
        assert!(check(&format!("select 1 from t{}", ", t".repeat(2000))).is_err());
        assert!(check(&format!("select 1 from t{}", ", t".repeat(50))).is_ok());
        assert!(check(&format!("select 1 in (1{})", ", 1".repeat(20_000))).is_ok());
        assert!(check(&format!("select 1{}", ", 1 + 1".repeat(1000))).is_ok());
    }

    #[test]
    fn common_tables_that_double_are_counted_where_they_are_named() {
        let reads = |sql: &str| {
            let parsed = sqlparser::parser::Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("parsed");
            check_reads(&parsed[0])
        };
        let doubled = |times: usize, next: &str| {
            let next = |at: usize| format!(", c{at} as ({})", next.replace("{}", &format!("c{}", at - 1)));
            let all: String = (1..=times).map(next).collect();
            format!("with c0 as (select 1 from t){all} select * from c{times}")
        };
        for next in [
            "select * from {} union all select * from {}",
            "select * from {} a join {} b on true",
            "select * from {} where x in (select x from {})",
            "select *, (select max(x) from {}) from (select * from {}) t",
            "with d as (select * from {}) select * from d, d e",
        ] {
            assert!(reads(&doubled(10, next)).is_ok(), "{next}");
            assert_eq!(reads(&doubled(40, next)).expect_err(next).sqlstate().as_str(), "54001");
        }
        // Names of others, and one that is hidden.
        assert!(reads(&doubled(40, "select * from public.{} a, public.{} b")).is_ok());
        assert!(reads(&doubled(40, "select * from {}")).is_ok());
        assert!(
            reads("with recursive r as (select 1 union all select * from r) select * from r, r s").is_ok()
        );
    }

    #[test]
    fn too_many_tokens_are_too_large() {
        let error = check(&format!("select 1{}", ", 1".repeat(60_000))).expect_err("refused");
        assert_eq!(error.sqlstate().as_str(), "54000");
    }
}
