//! Statements that are invented, each asked of PostgreSQL 15 and of Sluice: what differs is told, in its smallest form.
//!
//! A question is right when both give the same rows, or the same error; it is refused when Sluice has an error where PostgreSQL has
//! rows, which is no wrong answer. Everything else is wrong.

mod templates;

use rand::rngs::StdRng;
use tokio_postgres::{Client, SimpleQueryMessage};

/// A family of questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `to_char`, `to_date`, `to_timestamp` and `to_number`.
    Templates,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Templates];

    /// An expression without columns.
    pub fn invent(self, chance: &mut StdRng) -> String {
        match self {
            Self::Templates => templates::invent(chance),
        }
    }
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Rows, as text.
    Rows(Vec<Vec<String>>),
    /// A SQLSTATE.
    Refused(String),
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
                Self::Rows(messages.into_iter().filter_map(row).collect())
            }
            Err(error) => Self::Refused(error.code().map_or("no code", |code| code.code()).to_owned()),
        }
    }

    /// What `self`, Sluice's, is beside PostgreSQL's.
    pub fn beside(&self, postgres: &Self) -> Verdict {
        match (self, postgres) {
            (Self::Refused(ours), Self::Refused(theirs)) if ours != theirs => Verdict::OtherCode,
            (ours, theirs) if ours == theirs => Verdict::Same,
            (Self::Refused(code), Self::Rows(_)) if code != "XX000" => Verdict::Refused,
            _ => Verdict::Wrong,
        }
    }
}
