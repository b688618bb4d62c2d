//! Where a session stands in a transaction.

/// The state of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transaction {
    /// Outside of one: a statement is committed when it ends.
    #[default]
    Idle,
    /// Statements that a client sends one after the other without a Sync between them: they are committed together, and
    /// are no block, as in PostgreSQL.
    Pipelined,
    /// The statements of one simple message: a block without a BEGIN.
    Implicit,
    /// Inside a block.
    Open,
    /// Inside a block that an error has ended; only its end is accepted.
    Failed,
}

impl Transaction {
    /// True inside a block, failed or not.
    pub fn is_block(self) -> bool {
        matches!(self, Self::Implicit | Self::Open | Self::Failed)
    }

    /// True inside a block that BEGIN began.
    pub fn is_explicit(self) -> bool {
        matches!(self, Self::Open | Self::Failed)
    }

    /// True where what a statement changes waits for those behind it.
    pub fn is_going_on(self) -> bool {
        self != Self::Idle
    }

    /// An error inside a block fails it.
    pub fn fail(&mut self) {
        if *self == Self::Open {
            *self = Self::Failed;
        }
    }
}
