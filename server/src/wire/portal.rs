//! A bound statement, pulled as far as the client asks.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::ScalarValue;

use super::encode::Format;
use crate::query::{QueryContext, Rows};
use crate::session::{Charge, Listed, Prepared};

/// A portal: a prepared statement with values, and its rows once it runs.
#[derive(Debug)]
pub struct Portal {
    /// The statement.
    pub prepared: Arc<Prepared>,
    /// The values of its parameters.
    pub parameters: Vec<ScalarValue>,
    /// How its columns are sent.
    pub formats: Vec<Format>,
    /// How far it has come.
    pub progress: Progress,
    /// What SQL asked of it, when it is a cursor.
    pub hold: Hold,
    /// What a cursor sees: what there was when it was declared.
    pub declared: Option<Box<QueryContext>>,
    /// A cursor's place on the session's list.
    pub _listed: Option<Listed>,
    /// How many savepoints its session had set before it was opened.
    pub savepoint: u64,
    /// For its values.
    pub _charge: Charge,
}

/// How long a portal lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hold {
    /// To the end of its transaction.
    #[default]
    No,
    /// Past it, when that is a commit: `WITH HOLD`.
    Wanted,
    /// To the end of the session: its transaction was committed.
    Kept,
}

impl Portal {
    /// True when no transaction ends it.
    pub fn is_kept(&self) -> bool {
        self.hold == Hold::Kept
    }

    /// What the end of a transaction leaves of it.
    pub fn survives(&mut self, is_commit: bool) -> bool {
        if self.hold == Hold::Wanted && is_commit {
            self.hold = Hold::Kept;
        }
        self.hold == Hold::Kept
    }
}

/// How far a portal has come.
#[derive(Debug, Default)]
pub enum Progress {
    /// Not executed yet.
    #[default]
    Bound,
    /// Some rows are out.
    Suspended(Box<Cursor>),
    /// Nothing is left.
    Done,
}

/// Rows, and where in the current batch the next one is.
#[derive(Debug)]
pub struct Cursor {
    /// What is left.
    pub rows: Rows,
    /// A batch that is partly sent, and its first unsent row.
    pub partial: Option<(RecordBatch, usize)>,
}

impl Cursor {
    /// With the client, until it asks for more.
    pub fn suspended(mut self: Box<Self>) -> Progress {
        self.rows.rest();
        Progress::Suspended(self)
    }

    /// At the first row.
    pub fn new(rows: Rows) -> Self {
        Self { rows, partial: None }
    }
}
