//! The one place where a condition becomes a SQLSTATE.
//!
//! Codes are those of PostgreSQL 15, appendix A.

use std::fmt;

use catalog::{StoreFailure, Trouble};

use crate::Error;

/// Five characters that clients act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// A code from its five characters; anything else is `XX000`.
    pub fn from_text(text: &str) -> Self {
        match <[u8; 5]>::try_from(text.as_bytes()) {
            Ok(code) if code.iter().all(u8::is_ascii_alphanumeric) => Self(code),
            _ => Self(*b"XX000"),
        }
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a SQLSTATE is five ASCII characters")
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Error {
    /// The SQLSTATE of this condition.
    pub fn sqlstate(&self) -> SqlState {
        let code: &[u8; 5] = match self {
            Error::Syntax { .. } => b"42601",
            Error::UndefinedTable { .. } => b"42P01",
            Error::UndefinedSchema { .. } => b"3F000",
            Error::UndefinedColumn { .. } | Error::UndefinedName { .. } => b"42703",
            Error::AmbiguousColumn { .. } | Error::AmbiguousName { .. } => b"42702",
            Error::DuplicateAlias { .. } => b"42712",
            Error::InvalidColumnReference { .. } => b"42P10",
            Error::InvalidRecursion { .. } => b"42P19",
            Error::UndefinedFunction { .. } => b"42883",
            Error::UndefinedObject { .. } => b"42704",
            Error::UndefinedDatabase { .. } => b"3D000",
            Error::UndefinedParameter { .. } => b"42P02",
            Error::IndeterminateType { .. } => b"42P18",
            Error::InvalidQuery { .. } => b"42000",
            Error::Grouping { .. } => b"42803",
            Error::Windowing { .. } => b"42P20",
            Error::TypeMismatch { .. } => b"42804",
            Error::InvalidText { .. } => b"22P02",
            Error::InvalidBinary { .. } => b"22P03",
            Error::InvalidParameterValue { .. } => b"22023",
            Error::InvalidEncoding { .. } => b"22021",
            Error::DivisionByZero => b"22012",
            Error::OutOfRange { .. } => b"22003",
            Error::DataException { .. } => b"22000",
            Error::TooComplex { .. } => b"54001",
            Error::TooLarge { .. } => b"54000",
            Error::NotSupported { .. } => b"0A000",
            Error::ReadOnlyTransaction { .. } => b"25006",
            Error::NoActiveTransaction { .. } => b"25P01",
            Error::TooManyConnections
            | Error::TooManyConnectionsForRole { .. }
            | Error::ConnectionsReserved => b"53300",
            Error::InvalidPassword { .. } => b"28P01",
            Error::InvalidAuthorization { .. } => b"28000",
            Error::PermissionDenied { .. } => b"42501",
            Error::ActiveTransaction { .. } => b"25001",
            Error::InvalidGrant { .. } => b"0LP01",
            Error::FixedParameter { .. } => b"55P02",
            Error::ObjectInUse { .. } => b"55006",
            Error::NotInState { .. } => b"55000",
            Error::ReservedName { .. } => b"42939",
            Error::InvalidDatetime { .. } => b"22007",
            Error::InvalidTableDefinition { .. } => b"42P16",
            Error::NotNullViolation { .. } => b"23502",
            Error::BadCopyFormat { .. } => b"22P04",
            Error::CopyRefused { .. } => b"57014",
            Error::DuplicateColumn { .. } => b"42701",
            Error::DuplicateObject { .. } => b"42710",
            Error::DuplicateTable { .. } | Error::DuplicateLocation { .. } => b"42P07",
            Error::DuplicateSchema { .. } => b"42P06",
            Error::WrongObjectType { .. } => b"42809",
            Error::InvalidObjectDefinition { .. } => b"42P17",
            Error::DependentObjects { .. } => b"2BP01",
            Error::SerializationFailure | Error::LocationBusy { .. } => b"40001",
            Error::UndefinedSavepoint { .. } => b"3B001",
            Error::IdleSessionTimeout => b"57P05",
            Error::IdleInTransactionTimeout => b"25P03",
            Error::OutOfMemory { .. } => b"53200",
            Error::DiskFull { .. } => b"53100",
            Error::LimitReached { .. } => b"53400",
            Error::Cancelled | Error::StatementTimeout | Error::PlanningTimeout => b"57014",
            Error::ShuttingDown => b"57P01",
            Error::NotReady { .. } => b"57P03",
            Error::ExecutorsLost { .. } => b"58000",
            Error::Io { .. }
            | Error::AccessRefused { .. }
            | Error::WriteFailed { .. }
            | Error::WriteRefused { .. } => b"58030",
            Error::ExecutorLost { .. } => b"58000",
            Error::MissingFile { .. } => b"58P01",
            Error::CorruptFile { .. } => b"XX001",
            Error::TableUnavailable { trouble, .. } => match trouble {
                Trouble::Away => b"58030",
                Trouble::Damaged => b"XX001",
                Trouble::Conflict => b"42804",
                Trouble::Unsupported => b"0A000",
                Trouble::Ambiguous => b"42P07",
                Trouble::Empty => b"58P01",
            },
            Error::Catalog { failure, .. } => match failure {
                StoreFailure::DiskFull => b"53100",
                StoreFailure::Io => b"58030",
                StoreFailure::Busy => b"55P03",
                StoreFailure::ReadOnly => b"25006",
                StoreFailure::Damaged => b"XX001",
                StoreFailure::DamagedIndex => b"XX002",
                StoreFailure::OutOfMemory => b"53200",
                StoreFailure::TooManyConnections => b"53300",
                StoreFailure::Unreachable => b"08001",
                StoreFailure::Rejected => b"08004",
                StoreFailure::Denied => b"42501",
                StoreFailure::Unknown => b"XX000",
            },
            Error::CommitUnknown => b"08007",
            Error::Protocol { .. } => b"08P01",
            Error::InFailedTransaction => b"25P02",
            Error::UndefinedStatement { .. } => b"26000",
            Error::UndefinedPortal { .. } | Error::UndefinedCursor { .. } => b"34000",
            Error::DuplicateStatement { .. } => b"42P05",
            Error::DuplicatePortal { .. } => b"42P03",
            Error::Stamped { sqlstate, .. } => return *sqlstate,
            Error::Internal { .. } => b"XX000",
        };
        SqlState(*code)
    }
}
