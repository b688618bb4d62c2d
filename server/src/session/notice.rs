//! What a client is told besides its answer.

use crate::profile::Lint;

/// Something to tell that leaves the statement alone.
#[derive(Debug, Clone)]
pub struct Notice {
    /// `WARNING` or `NOTICE`.
    pub severity: &'static str,
    /// Its SQLSTATE.
    pub sqlstate: &'static str,
    /// What it says.
    pub message: String,
    /// What helps.
    pub hint: Option<String>,
}

impl Notice {
    /// A warning.
    pub fn warning(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "WARNING", sqlstate, message: message.into(), hint: None }
    }

    /// A notice without a condition of its own.
    pub fn info(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "NOTICE", sqlstate, message: message.into(), hint: None }
    }

    /// What was found wrong with a query.
    pub fn lint(lint: &Lint) -> Self {
        let message = format!("{}: {}", lint.code, lint.message);
        Self { hint: Some(lint.hint.clone()), ..Self::info("00000", message) }
    }
}
