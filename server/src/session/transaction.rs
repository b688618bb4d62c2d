//! The transaction block a session is in. Nothing is written yet, so a block changes only settings,
//! but clients rely on its state and on the refusal of everything in a failed one.

/// The state of a block, as ReadyForQuery tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transaction {
    /// Outside a block.
    #[default]
    Idle,
    /// Inside a block.
    Open,
    /// Inside a block that an error has ended; only its end is accepted.
    Failed,
}

impl Transaction {
    /// True inside a block, failed or not.
    pub fn is_block(self) -> bool {
        self != Self::Idle
    }

    /// An error inside a block fails it.
    pub fn fail(&mut self) {
        if *self == Self::Open {
            *self = Self::Failed;
        }
    }
}
