//! A bound statement, pulled as far as the client asks.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::ScalarValue;

use super::encode::Format;
use crate::query::Rows;
use crate::session::Prepared;

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
    /// At the first row.
    pub fn new(rows: Rows) -> Self {
        Self { rows, partial: None }
    }
}
