//! What a client is told besides its answer.

/// Something to tell that leaves the statement alone.
#[derive(Debug, Clone)]
pub struct Notice {
    /// `WARNING` or `NOTICE`.
    pub severity: &'static str,
    /// Its SQLSTATE.
    pub sqlstate: &'static str,
    /// What it says.
    pub message: String,
}

impl Notice {
    /// A warning.
    pub fn warning(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "WARNING", sqlstate, message: message.into() }
    }

    /// A notice without a condition of its own.
    pub fn info(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "NOTICE", sqlstate, message: message.into() }
    }
}
