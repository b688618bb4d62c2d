//! Why a table, or a location, is not served: told so that its owner can mend it.

use std::fmt;

/// What is the matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Its place does not answer. It is tried again.
    Away,
    /// A file is not what it says it is.
    Damaged,
    /// Its files, or the names of its folders, contradict each other.
    Conflict,
    /// It is of a kind that is not read here.
    Unsupported,
    /// Several files or folders have its name.
    Ambiguous,
    /// There is nothing.
    Empty,
}

impl Trouble {
    /// In a word, as `sys.tables` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Damaged => "damaged",
            Self::Conflict => "conflict",
            Self::Unsupported => "unsupported",
            Self::Ambiguous => "ambiguous",
            Self::Empty => "empty",
        }
    }
}

/// Why something is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// What is the matter.
    pub trouble: Trouble,
    /// A sentence, without a full stop.
    pub reason: String,
    /// The file it is about, as a path below the table's folder, where it is about one.
    pub file: Option<String>,
    /// What its owner can do.
    pub advice: String,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// A location that is not served, or of which not all can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocationTrouble {
    /// As the configuration names it.
    pub location: String,
    /// Why.
    pub problem: Unavailable,
}
