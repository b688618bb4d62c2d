//! Statements that are invented, each asked of PostgreSQL 15 and of Sluice: what differs is told, in its smallest form.
//!
//! A question is right when both give the same rows, or the same error; it is refused when Sluice has an error where PostgreSQL has
//! rows, which is no wrong answer. Everything else is wrong.

mod casts;
mod decimals;
mod groups;
mod joins;
mod lists;
mod moments;
mod numbers;
pub mod shrinking;
mod subqueries;
mod templates;
mod texts;
mod windows;

use rand::rngs::StdRng;
use tokio_postgres::types::{FromSql, Kind, Type};
use tokio_postgres::{Client, Row, SimpleQueryMessage};

/// A family of questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `to_char`, `to_date`, `to_timestamp` and `to_number`.
    Templates,
    /// Dates, times, zones and intervals.
    Moments,
    /// Numbers of every type beside each other.
    Numbers,
    /// `numeric` in all places.
    Decimals,
    /// Texts and patterns.
    Texts,
    /// Arrays, rows of values, and what is held as text.
    Lists,
    /// Subqueries in all places.
    Subqueries,
    /// Joins of all kinds, and what names mean above them.
    Joins,
    /// Window functions.
    Windows,
    /// Groups, sets, DISTINCT, CTEs.
    Groups,
    /// Casts between all types.
    Casts,
}

/// A question: the same statement for both, but for a table that brings it to executors.
#[derive(Debug, Clone)]
pub struct Question {
    /// The statement.
    pub sql: String,
    /// The statement that asks the same of executors.
    pub on_executors: String,
}

impl Family {
    /// All of them.
    pub const ASKED: [Self; 11] = [
        Self::Templates,
        Self::Moments,
        Self::Numbers,
        Self::Decimals,
        Self::Texts,
        Self::Lists,
        Self::Subqueries,
        Self::Joins,
        Self::Windows,
        Self::Groups,
        Self::Casts,
    ];

    /// What makes the tables that the questions are about, on both servers.
    pub fn tables() -> impl Iterator<Item = &'static str> {
        ["create table one (x int)", "insert into one values (1)"]
            .into_iter()
            .chain(subqueries::TABLES.iter().copied())
            .chain(joins::TABLES.iter().copied())
            .chain(decimals::TABLES.iter().copied())
    }

    /// A question.
    pub fn invent(self, chance: &mut StdRng) -> Question {
        match self {
            Self::Templates => of_expression(&templates::invent(chance)),
            Self::Moments => of_expression(&moments::invent(chance)),
            Self::Numbers => of_expression(&numbers::invent(chance)),
            Self::Decimals => of_statement(decimals::invent(chance)),
            Self::Texts => of_expression(&texts::invent(chance)),
            Self::Lists => of_expression(&lists::invent(chance)),
            Self::Subqueries => of_statement(subqueries::invent(chance)),
            Self::Joins => of_statement(joins::invent(chance)),
            Self::Windows => of_statement(windows::invent(chance)),
            Self::Groups => of_statement(groups::invent(chance)),
            Self::Casts => of_expression(&casts::invent(chance)),
        }
    }
}

fn of_expression(expression: &str) -> Question {
    Question { sql: format!("select {expression}"), on_executors: format!("select {expression} from one") }
}

fn of_statement(sql: String) -> Question {
    Question { on_executors: sql.clone(), sql }
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Rows, as text.
    Rows(Vec<Vec<String>>),
    /// A SQLSTATE.
    Refused(String),
}

/// An array's bytes, whose mark of NULLs says whether it has any: PostgreSQL's slices keep that of the whole.
fn with_own_nulls(mut bytes: Vec<u8>) -> Vec<u8> {
    let number =
        |at: usize| bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, i32::from_be_bytes);
    let mut at = 12 + 8 * number(0) as usize;
    let mut has_null = false;
    while at < bytes.len() {
        let length = number(at);
        has_null |= length < 0;
        at += 4 + length.max(0) as usize;
    }
    if let Some(mark) = bytes.get_mut(7) {
        *mark = u8::from(has_null);
    }
    bytes
}

fn is_no_number(kind: &Type, bytes: &[u8]) -> bool {
    match *kind {
        Type::FLOAT8 => bytes.try_into().is_ok_and(|bytes| f64::from_be_bytes(bytes).is_nan()),
        Type::FLOAT4 => bytes.try_into().is_ok_and(|bytes| f32::from_be_bytes(bytes).is_nan()),
        _ => false,
    }
}

/// A value as it is sent.
struct Raw(Option<Vec<u8>>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Some(raw.to_vec())))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// How two answers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They do not.
    Same,
    /// Both refuse, under different codes.
    OtherCode,
    /// Sluice refuses what PostgreSQL answers.
    Refused,
    /// Other rows, or rows where there is an error.
    Wrong,
}

impl Answer {
    /// Asks one server.
    pub async fn of(client: &Client, sql: &str) -> Self {
        match client.simple_query(sql).await {
            Ok(messages) => {
                let row = |message| match message {
                    SimpleQueryMessage::Row(row) => {
                        Some((0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect())
                    }
                    _ => None,
                };
                let mut rows: Vec<Vec<String>> = messages.into_iter().filter_map(row).collect();
                // No question asks for the order of rows that have the same values.
                rows.sort();
                Self::Rows(rows)
            }
            Err(error) => Self::Refused(error.code().map_or("no code", |code| code.code()).to_owned()),
        }
    }

    /// Asks one server for its binary answer: every column begins with the OID of its type.
    pub async fn binary(client: &Client, sql: &str) -> Self {
        match client.query(sql, &[]).await {
            Ok(found) => {
                let value = |row: &Row, at: usize| match row.get::<_, Raw>(at) {
                    // The sign of what is no number is the processor's.
                    Raw(Some(bytes)) if is_no_number(row.columns()[at].type_(), &bytes) => {
                        format!("{} NaN", row.columns()[at].type_().oid())
                    }
                    Raw(Some(bytes)) => {
                        let kind = row.columns()[at].type_();
                        let bytes =
                            if matches!(kind.kind(), Kind::Array(_)) { with_own_nulls(bytes) } else { bytes };
                        format!("{} {bytes:02x?}", kind.oid())
                    }
                    Raw(None) => format!("{} NULL", row.columns()[at].type_().oid()),
                };
                let mut rows: Vec<Vec<String>> =
                    found.iter().map(|row| (0..row.len()).map(|at| value(row, at)).collect()).collect();
                rows.sort();
                Self::Rows(rows)
            }
            Err(error) => Self::Refused(error.code().map_or("no code", |code| code.code()).to_owned()),
        }
    }

    /// True when both are rows, or the same error.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Rows(_), Self::Rows(_)) => true,
            (ours, theirs) => ours == theirs,
        }
    }

    /// What `self`, Sluice's, is beside PostgreSQL's.
    pub fn beside(&self, postgres: &Self) -> Verdict {
        match (self, postgres) {
            (Self::Refused(ours), Self::Refused(theirs)) if ours != theirs => Verdict::OtherCode,
            (ours, theirs) if ours == theirs => Verdict::Same,
            (Self::Refused(code), Self::Rows(_)) if code != "XX000" && code != "57014" => Verdict::Refused,
            _ => Verdict::Wrong,
        }
    }
}
