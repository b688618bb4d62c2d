//! What can be wrong with a table or a location, told so that its owner can mend it.

use crate::{StoreFailure, Unavailable};

/// The result of a catalog operation.
pub type Result<T> = std::result::Result<T, CatalogError>;

/// Conditions that a caller can tell apart.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A location does not exist or holds nothing that is a table.
    #[error("location {location:?} {problem}")]
    Location {
        /// The location as the user wrote it.
        location: String,
        /// What is wrong with it, continuing the sentence.
        problem: String,
    },
    /// A table's files could not be read as what they claim to be.
    #[error("table {name:?} cannot be read: {source}")]
    Unreadable {
        /// The table's name.
        name: String,
        /// The file that it is about, as a path below the table's folder, where it is about one.
        file: Option<String>,
        /// The reader's complaint.
        source: datafusion::error::DataFusionError,
    },
    /// Files of one table have values of a column that no type holds, or a column twice.
    #[error("{problem}")]
    Types {
        /// The table's name.
        table: String,
        /// The last of the files, as a path below the table's folder.
        file: String,
        /// What contradicts what.
        problem: String,
    },
    /// The files are those of a table whose own log tells which of them count.
    #[error(
        "{place} is {} {format} table: which of its files count is written in its log, which is not read here",
        article(format)
    )]
    Foreign {
        /// The folder, for people.
        place: String,
        /// The format's name.
        format: &'static str,
    },
    /// A table that is known and not served.
    #[error("table {name:?} cannot be read: {problem}")]
    Unavailable {
        /// The table's name.
        name: String,
        /// Why.
        problem: Unavailable,
    },
    /// Files, folders and what a statement says of them do not fit each other.
    #[error("{problem}")]
    Columns {
        /// What does not fit.
        problem: String,
    },
    /// The database that keeps the catalog cannot be used, or holds what it should not.
    #[error("the catalog's database {problem}")]
    Store {
        /// What is wrong with it, continuing the sentence.
        problem: String,
    },
    /// Nothing can be changed.
    #[error("the catalog cannot be changed: {reason}")]
    ReadOnly {
        /// Why.
        reason: String,
    },
    /// The database that keeps the catalog failed, in a way that says what would help.
    #[error("the catalog's database {problem}")]
    StoreFailed {
        /// What kind of failure it is.
        failure: StoreFailure,
        /// What happened, continuing the sentence.
        problem: String,
    },
    /// The database was lost while it committed, and cannot be asked. The files of the commit may be part of a table.
    #[error("the catalog's database was lost during a commit: whether it was carried out is not known")]
    OutcomeUnknown,
    /// The database holds no catalog, and nobody said that it may be a new one.
    #[error("the catalog's database holds no catalog")]
    NoCatalog,
    /// A row of that key exists. Only inside of a commit.
    #[error("the catalog's database holds that key already")]
    Taken,
    /// There is no snapshot of that number, or none any more.
    #[error("snapshot {snapshot} does not exist")]
    NoSnapshot {
        /// The number.
        snapshot: u64,
    },
    /// Another change to the catalog was committed first.
    #[error("the catalog was changed by another session at the same time")]
    Conflict,
}

impl CatalogError {
    /// The catalog contradicts itself, or holds what cannot be.
    pub(crate) fn damaged(problem: impl std::fmt::Display) -> Self {
        Self::StoreFailed { failure: StoreFailure::Damaged, problem: format!("is damaged: {problem}") }
    }

    /// The same, of one table.
    pub fn damaged_table(table: &crate::TableName, problem: impl std::fmt::Display) -> Self {
        Self::damaged(format_args!("table \"{}\": {problem}", table.table))
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" }
}
