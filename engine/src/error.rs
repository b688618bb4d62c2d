//! What went wrong, as conditions that a client can tell apart.
//!
//! Ballista carries errors between processes as text alone. [`Error::to_stamp`] writes the SQLSTATE
//! and the message into that text so that both survive being wrapped, quoted and escaped on the way;
//! [`Error::from_stamp`] finds them again.

use ballista_core::error::BallistaError;
use catalog::{CatalogError, StoreFailure, Trouble};
use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;

use crate::SqlState;

/// The result of a step of a query.
pub type Result<T> = std::result::Result<T, Error>;

/// How errors begin that are owed to an executor that another one reads from.
pub const INTERMEDIATE_RESULTS: &str = "an executor's intermediate results";

/// A condition that ends a statement, told to the person who meets it.
///
/// `position` counts characters of the statement from 1, as the protocol does.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs)] // The messages say what each condition is; fields carry their usual names.
pub enum Error {
    #[error("{message}")]
    Syntax { message: String, position: Option<usize> },
    #[error("relation \"{name}\" does not exist")]
    UndefinedTable { name: String, position: Option<usize> },
    #[error("schema \"{name}\" does not exist")]
    UndefinedSchema { name: String, position: Option<usize> },
    #[error("column {} does not exist", quoted_column(column))]
    UndefinedColumn { column: String, suggestion: Option<String>, position: Option<usize> },
    #[error("column reference \"{column}\" is ambiguous")]
    AmbiguousColumn { column: String },
    #[error("{message}")]
    AmbiguousName { message: String },
    #[error("{message}")]
    UndefinedName { message: String },
    #[error("{message}")]
    DuplicateAlias { message: String },
    #[error("{message}")]
    InvalidColumnReference { message: String },
    #[error("{message}")]
    InvalidRecursion { message: String },
    #[error("{message}")]
    UndefinedFunction { message: String },
    #[error("{message}")]
    UndefinedObject { message: String },
    #[error("database \"{name}\" does not exist")]
    UndefinedDatabase { name: String },
    #[error("there is no parameter {name}")]
    UndefinedParameter { name: String },
    #[error("could not determine data type of parameter {name}")]
    IndeterminateType { name: String },
    #[error("{message}")]
    InvalidQuery { message: String },
    #[error("{message}")]
    Grouping { message: String },
    #[error("{message}")]
    Windowing { message: String },
    #[error("{message}")]
    TypeMismatch { message: String },
    #[error("{message}")]
    InvalidText { message: String },
    #[error("{message}")]
    InvalidBinary { message: String },
    #[error("{message}")]
    InvalidParameterValue { message: String },
    #[error("{message}")]
    InvalidEncoding { message: String },
    #[error("division by zero")]
    DivisionByZero,
    #[error("{message}")]
    OutOfRange { message: String },
    #[error("{message}")]
    DataException { message: String },
    #[error("{message}")]
    TooComplex { message: String, hint: String },
    #[error("{message}")]
    TooLarge { message: String, hint: String },
    #[error("{message}")]
    NotSupported { message: String },
    #[error("cannot execute {statement} in a read-only transaction")]
    ReadOnlyTransaction { statement: String },
    #[error("{message}")]
    NoActiveTransaction { message: String },
    #[error("sorry, too many clients already")]
    TooManyConnections,
    #[error("too many connections for role \"{role}\"")]
    TooManyConnectionsForRole { role: String },
    #[error("remaining connection slots are reserved for superusers")]
    ConnectionsReserved,
    #[error("password authentication failed for user \"{user}\"")]
    InvalidPassword { user: String },
    #[error("{message}")]
    InvalidAuthorization { message: String },
    #[error("{message}")]
    PermissionDenied { message: String },
    #[error("{message}")]
    ActiveTransaction { message: String },
    #[error("{message}")]
    InvalidGrant { message: String },
    #[error("parameter \"{name}\" cannot be changed")]
    FixedParameter { name: String },
    #[error("{message}")]
    ObjectInUse { message: String },
    #[error("{message}")]
    NotInState { message: String },
    #[error("{message}")]
    ReservedName { message: String },
    #[error("{message}")]
    InvalidDatetime { message: String },
    #[error("{message}")]
    InvalidTableDefinition { message: String },
    #[error("null value in column \"{column}\" violates not-null constraint")]
    NotNullViolation { column: String },
    #[error("{message}")]
    BadCopyFormat { message: String },
    #[error("{message}")]
    CopyRefused { message: String },
    #[error("{message}")]
    DuplicateColumn { message: String },
    #[error("{message}")]
    DuplicateObject { message: String },
    #[error("relation \"{name}\" already exists")]
    DuplicateTable { name: String },
    #[error("schema \"{name}\" already exists")]
    DuplicateSchema { name: String },
    #[error("{message}")]
    WrongObjectType { message: String },
    #[error("{message}")]
    InvalidObjectDefinition { message: String },
    #[error("{message}")]
    DependentObjects { message: String, detail: String },
    #[error("\"{location}\" already exists")]
    DuplicateLocation { location: String },
    #[error("another statement writes to \"{location}\"")]
    LocationBusy { location: String },
    #[error("could not serialize access due to a concurrent change of the catalog")]
    SerializationFailure,
    #[error("savepoint \"{name}\" does not exist")]
    UndefinedSavepoint { name: String },
    #[error("terminating connection due to idle-session timeout")]
    IdleSessionTimeout,
    #[error("terminating connection due to idle-in-transaction timeout")]
    IdleInTransactionTimeout,
    #[error("out of memory: {message}")]
    OutOfMemory { message: String },
    #[error("{message}")]
    DiskFull { message: String },
    #[error("{message}")]
    LimitReached { message: String, hint: String },
    #[error("canceling statement due to user request")]
    Cancelled,
    #[error("canceling statement due to statement timeout")]
    StatementTimeout,
    #[error("canceling statement due to planning timeout")]
    PlanningTimeout,
    #[error("terminating connection due to administrator command")]
    ShuttingDown,
    #[error("{message}")]
    NotReady { message: String },
    #[error("{message}")]
    ExecutorsLost { message: String, hint: String },
    #[error("{message}")]
    ExecutorLost { message: String },
    #[error("could not read data: {message}")]
    Io { message: String },
    #[error("could not read data: {message}")]
    AccessRefused { message: String },
    #[error("could not write data: {message}")]
    WriteFailed { message: String },
    #[error("could not write data: {message}")]
    WriteRefused { message: String },
    #[error("a file of the table is missing: {message}")]
    MissingFile { message: String },
    #[error("a file of the table is damaged: {message}")]
    CorruptFile { message: String },
    /// A table that is known and not served.
    #[error("{message}")]
    TableUnavailable { trouble: Trouble, message: String, hint: String },
    #[error("the catalog's database {problem}")]
    Catalog { failure: StoreFailure, problem: String },
    #[error("the catalog's database was lost during a commit: whether it was carried out is not known")]
    CommitUnknown,
    #[error("{message}")]
    Protocol { message: String },
    #[error("current transaction is aborted, commands ignored until end of transaction block")]
    InFailedTransaction,
    #[error("prepared statement \"{name}\" does not exist")]
    UndefinedStatement { name: String },
    #[error("portal \"{name}\" does not exist")]
    UndefinedPortal { name: String },
    #[error("cursor \"{name}\" does not exist")]
    UndefinedCursor { name: String },
    #[error("prepared statement \"{name}\" already exists")]
    DuplicateStatement { name: String },
    #[error("cursor \"{name}\" already exists")]
    DuplicatePortal { name: String },
    /// A condition that an executor met and stamped.
    #[error("{message}")]
    Stamped { sqlstate: SqlState, message: String },
    /// A bug of ours. The message goes to the log; the client is told only that it happened.
    #[error("internal error")]
    Internal { message: String },
}

fn quoted_column(column: &str) -> String {
    // PostgreSQL prints a bare name in quotes and a qualified one without.
    if column.contains('.') { column.to_owned() } else { format!("\"{column}\"") }
}

/// What helps when the catalog's database fails.
fn of_catalog(failure: StoreFailure) -> Option<&'static str> {
    Some(match failure {
        StoreFailure::DiskFull => "Free space where the catalog lies: the next statement then works.",
        StoreFailure::Io => "Look at the disk that the catalog lies on, and into the server's log.",
        StoreFailure::Busy => "Run the statement again when the other process has ended its transaction.",
        StoreFailure::ReadOnly => {
            "See that the server may write to the catalog: its file, its folder, or its database."
        }
        StoreFailure::Damaged => "Bring the catalog back from a backup; the server's log has more.",
        StoreFailure::DamagedIndex => {
            "Run REINDEX in the catalog's database, or bring it back from a backup."
        }
        StoreFailure::OutOfMemory => "The catalog's database needs more memory.",
        StoreFailure::TooManyConnections => "Give the catalog's database more connections, or close others.",
        StoreFailure::Unreachable => "Run the statement again when the catalog's database answers.",
        StoreFailure::Rejected | StoreFailure::Denied => {
            "See what the role of catalog.url may do in the catalog's database."
        }
        StoreFailure::Unknown => return None,
    })
}

const STAMP: &str = "sqlstate=";
const TABLE_DISK_FULL: &str = "no space left where the table's files lie";

impl Error {
    /// An error of ours, with what the log should say.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal { message: message.into() }
    }

    /// What the client may try next, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UndefinedColumn { suggestion, .. } => suggestion
                .as_ref()
                .map(|name| format!("Perhaps you meant to reference the column \"{name}\".")),
            Self::TooComplex { hint, .. }
            | Self::TooLarge { hint, .. }
            | Self::LimitReached { hint, .. }
            | Self::ExecutorsLost { hint, .. }
            | Self::TableUnavailable { hint, .. } => Some(hint.clone()),
            Self::OutOfMemory { message } | Self::Stamped { message, .. }
                if message.contains("sluice.max_memory") =>
            {
                Some("The limit is the role's: an administrator can change it (ALTER ROLE … SET sluice.max_memory).".into())
            }
            Self::OutOfMemory { .. } => {
                Some("Give the process more --memory, or make the statement touch less at once.".into())
            }
            Self::DuplicateLocation { .. } => Some(
                "Name another place, or say OVERWRITE to put the new files in place of what is there.".into(),
            ),
            Self::LocationBusy { .. } => Some("Run the statement again when the other one has ended.".into()),
            Self::SerializationFailure => Some("Run the whole transaction again.".into()),
            Self::ConnectionsReserved => Some("Sign in as a superuser, or close other sessions.".into()),
            Self::Catalog { failure, .. } => of_catalog(*failure).map(str::to_owned),
            Self::CommitUnknown => Some("Look whether the change is there before the statement is run again.".into()),
            Self::DiskFull { message } if message == TABLE_DISK_FULL => {
                Some("Free space there, or choose another place with --warehouse.".into())
            }
            Self::DiskFull { .. } => Some("Raise spill_bytes_max, or free space in the data folder.".into()),
            Self::Stamped { sqlstate, .. } if sqlstate.as_str() == "53100" => Some(
                "Raise executor.spill_bytes_max or executor.shuffle_bytes_max, or free space in the work folders."
                    .into(),
            ),
            Self::Stamped { sqlstate, .. } if sqlstate.as_str() == "53200" => {
                Some("Give the executors more --executor-memory, or start more of them.".into())
            }
            _ => None,
        }
    }

    /// What `error` is, which somebody else keeps.
    pub fn from_datafusion_error(error: &DataFusionError) -> Self {
        told_as_it_is(from_datafusion(error))
    }

    /// The same failure where data was to be written, not read.
    pub fn of_write(self) -> Self {
        match self {
            Self::Io { message } => Self::WriteFailed { message },
            Self::AccessRefused { message } => Self::WriteRefused { message },
            Self::MissingFile { .. } => {
                Self::WriteRefused { message: "the bucket or folder does not exist".into() }
            }
            Self::DiskFull { .. } => Self::DiskFull { message: TABLE_DISK_FULL.into() },
            other => other,
        }
    }

    /// More about what happened, where there is something to say.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::DependentObjects { detail, .. } => Some(detail),
            _ => None,
        }
    }

    /// Where in the statement the error lies, counted in characters from 1.
    pub fn position(&self) -> Option<usize> {
        match self {
            Self::Syntax { position, .. }
            | Self::UndefinedTable { position, .. }
            | Self::UndefinedSchema { position, .. }
            | Self::UndefinedColumn { position, .. } => *position,
            _ => None,
        }
    }

    /// True when the same statement may well succeed if it is run again.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Io { .. } | Self::WriteFailed { .. } | Self::ExecutorLost { .. } => true,
            Self::Stamped { sqlstate, message } => {
                let refused = ["access", "denied", "does not exist"];
                sqlstate.as_str() == "58030" && !refused.iter().any(|word| message.contains(word))
            }
            _ => false,
        }
    }

    /// True when a plan that needs less memory may succeed.
    pub fn is_out_of_memory(&self) -> bool {
        self.sqlstate().as_str() == "53200"
    }

    /// True when memory ran out because rows are wider than batches of so many may have.
    pub fn is_too_wide(&self) -> bool {
        self.is_out_of_memory() && self.to_string().contains(crate::operators::wide_rows::TOO_WIDE)
    }

    /// Text that carries this error through a channel that knows only text.
    pub fn to_stamp(&self) -> String {
        /// A message may carry the value that it is about, of any length.
        const MESSAGE_BYTES_MAX: usize = 64 << 10;
        let mut message = match self {
            Self::Internal { message } => message.clone(),
            other => other.to_string(),
        };
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        let mut encoded = String::with_capacity(message.len());
        for byte in message.bytes() {
            if byte.is_ascii_alphanumeric() {
                encoded.push(char::from(byte));
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
        format!("{STAMP}{};message={encoded};", self.sqlstate())
    }

    /// Finds a stamp anywhere in `text`.
    pub fn from_stamp(text: &str) -> Option<Self> {
        let stamp = &text[text.find(STAMP)? + STAMP.len()..];
        let (code, rest) = stamp.split_once(';')?;
        let (message, _) = rest.strip_prefix("message=")?.split_once(';')?;
        let message = percent_encoding::percent_decode_str(message).decode_utf8_lossy().into_owned();
        let sqlstate = SqlState::from_text(code);
        Some(match sqlstate.as_str() {
            "XX000" => Self::Internal { message },
            "22012" => Self::DivisionByZero,
            _ => Self::Stamped { sqlstate, message },
        })
    }
}

impl From<CatalogError> for Error {
    fn from(error: CatalogError) -> Self {
        told_as_it_is(from_catalog(&error))
    }
}

fn from_catalog(error: &CatalogError) -> Error {
    match error {
        CatalogError::Location { .. } => Error::MissingFile { message: error.to_string() },
        CatalogError::Unreadable { name, file, source } => match told_as_it_is(from_datafusion(source)) {
            Error::Internal { message } | Error::CorruptFile { message } => {
                let file = file.as_ref().map(|file| format!(", file {file}")).unwrap_or_default();
                Error::CorruptFile { message: format!("table {name}{file}: {message}") }
            }
            other => other,
        },
        CatalogError::Types { table, problem, .. } => {
            Error::TypeMismatch { message: format!("table \"{table}\": {problem}") }
        }
        CatalogError::Foreign { .. } | CatalogError::ReadOnly { .. } => {
            Error::NotSupported { message: error.to_string() }
        }
        CatalogError::Unavailable { name, problem } => Error::TableUnavailable {
            trouble: problem.trouble,
            message: format!("table \"{name}\" cannot be read: {}", problem.reason),
            hint: sentence(&problem.advice),
        },
        CatalogError::Columns { .. } => Error::InvalidTableDefinition { message: error.to_string() },
        CatalogError::StoreFailed { failure: StoreFailure::Unknown, .. }
        | CatalogError::Store { .. }
        | CatalogError::NoCatalog
        | CatalogError::Taken => Error::internal(error.to_string()),
        CatalogError::StoreFailed { failure, problem } => {
            Error::Catalog { failure: *failure, problem: problem.clone() }
        }
        CatalogError::OutcomeUnknown => Error::CommitUnknown,
        CatalogError::NoSnapshot { .. } => Error::UndefinedObject { message: error.to_string() },
        CatalogError::Conflict => Error::SerializationFailure,
    }
}

/// As hints are written: with a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    format!("{}{}.", first.map(String::from).unwrap_or_default(), letters.as_str().trim_end_matches('.'))
}

impl From<BallistaError> for Error {
    fn from(error: BallistaError) -> Self {
        from_ballista(&error)
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        told_as_it_is(from_datafusion(&error))
    }
}

/// What libraries tell by a text alone, under the SQLSTATE that PostgreSQL has for it.
fn told_as_it_is(error: Error) -> Error {
    let (Error::Internal { message } | Error::DataException { message } | Error::InvalidText { message }) =
        &error
    else {
        return error;
    };
    // A nested-loop join that was refused memory before its first rows: it means to spill, and has nothing to.
    if message.starts_with("Left side produced no data to spill") {
        return Error::OutOfMemory {
            message: "a nested-loop join got no memory for its first rows".to_owned(),
        };
    }
    // The regex crate's, as it tells them itself and as DataFusion and Arrow pass them on.
    let pattern =
        if message.contains("Compiled regex exceeds size limit") || message.contains("CompiledTooBig") {
            Some("it is too large once its repetitions are written out")
        } else if message.contains("regex parse error") {
            message
                .lines()
                .filter_map(|line| line.trim().strip_prefix("error: "))
                .next_back()
                .or(Some("it cannot be read"))
        } else {
            None
        };
    if let Some(problem) = pattern {
        return Error::Stamped {
            sqlstate: SqlState::from_text("2201B"),
            message: format!("invalid regular expression: {problem}"),
        };
    }
    if message.contains("failed to match any signature") {
        let name = message.split('\'').nth(1).unwrap_or_default();
        return Error::UndefinedFunction {
            message: format!("function {name} does not exist for arguments of these types"),
        };
    }
    if let Some((sqlstate, message)) = of_functions(message) {
        return Error::Stamped { sqlstate: SqlState::from_text(sqlstate), message: message.to_owned() };
    }
    if message.starts_with("Unable to represent ") {
        return Error::Stamped {
            sqlstate: SqlState::from_text("22015"),
            message: "interval field value out of range".to_owned(),
        };
    }
    error
}

/// What DataFusion's functions and Arrow's casts say of their arguments, in PostgreSQL's words.
fn of_functions(message: &str) -> Option<(&'static str, &'static str)> {
    let is_any = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    Some(if is_any(&["step can't be 0", "Step cannot be zero"]) {
        ("22023", "step size cannot equal zero")
    } else if is_any(&["negative count not allowed", "overlay start position must be"]) {
        ("22011", "negative substring length not allowed")
    } else if is_any(&["field position must not be zero"]) {
        ("22023", "field position must not be zero")
    } else if is_any(&["requires start to be 1 based"]) {
        ("22023", "invalid value for parameter \"start\"")
    } else if is_any(&["Regular expression did not compile"]) {
        ("2201B", "invalid regular expression: it cannot be read")
    } else if message.starts_with("value of ") && is_any(&["is out of range Int"]) {
        ("22003", "value out of range for its type")
    } else {
        return None;
    })
}

fn from_datafusion(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => from_datafusion(inner),
        DataFusionError::Collection(errors) => {
            errors.first().map_or_else(|| Error::internal("empty error"), from_datafusion)
        }
        DataFusionError::Shared(inner) => from_datafusion(inner),
        DataFusionError::ArrowError(inner, _) => from_arrow(inner),
        DataFusionError::ParquetError(inner) => from_parquet(inner),
        DataFusionError::ObjectStore(inner) => from_object_store(inner),
        DataFusionError::IoError(inner) => from_io(inner),
        DataFusionError::SQL(inner, _) => {
            Error::Syntax { message: syntax_message(&inner.to_string()), position: None }
        }
        DataFusionError::SchemaError(inner, _) => from_schema(inner),
        DataFusionError::NotImplemented(message) => match message.strip_prefix("Unsupported SQL type ") {
            Some(name) => Error::UndefinedObject {
                message: format!("type \"{}\" does not exist", first_line(name).to_ascii_lowercase()),
            },
            None => Error::NotSupported { message: first_line(message) },
        },
        DataFusionError::ResourcesExhausted(message) => from_exhausted(message),
        DataFusionError::Plan(message) => from_plan(message),
        DataFusionError::Configuration(message) => {
            Error::InvalidParameterValue { message: first_line(message) }
        }
        DataFusionError::Execution(message) => from_execution(message),
        DataFusionError::External(inner) => from_external(inner.as_ref()),
        DataFusionError::ExecutionJoin(inner) => crate::panics::error_in(&inner.to_string()),
        DataFusionError::Internal(message) if message.starts_with("Failed to coerce types") => {
            Error::TypeMismatch { message: first_line(message) }
        }
        DataFusionError::Internal(message) if message.contains("unnest on struct can only be applied") => {
            Error::NotSupported { message: "a row value can be unnested only as a column of its own".into() }
        }
        DataFusionError::Internal(message) if message.contains("failed to convert size to usize") => {
            Error::InvalidParameterValue { message: "a list cannot have a negative size".into() }
        }
        DataFusionError::Internal(message)
        | DataFusionError::Substrait(message)
        | DataFusionError::Ffi(message) => {
            Error::from_stamp(message).unwrap_or_else(|| Error::internal(message.as_str()))
        }
    }
}

/// Wrapped errors keep their type somewhere down the chain of sources.
fn from_external(error: &(dyn std::error::Error + 'static)) -> Error {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(ours) = current.downcast_ref::<Error>() {
            return ours.clone();
        }
        if let Some(inner) = current.downcast_ref::<CatalogError>() {
            return from_catalog(inner);
        }
        if let Some(inner) = current.downcast_ref::<DataFusionError>() {
            return from_datafusion(inner);
        }
        if let Some(inner) = current.downcast_ref::<BallistaError>() {
            return from_ballista(inner);
        }
        if let Some(CatalogError::StoreFailed { failure, problem }) = current.downcast_ref::<CatalogError>() {
            return Error::Catalog { failure: *failure, problem: problem.clone() };
        }
        if let Some(inner) = current.downcast_ref::<ArrowError>() {
            return from_arrow(inner);
        }
        if let Some(inner) = current.downcast_ref::<ParquetError>() {
            return from_parquet(inner);
        }
        if let Some(inner) = current.downcast_ref::<object_store::Error>() {
            return from_object_store(inner);
        }
        if let Some(inner) = current.downcast_ref::<std::io::Error>() {
            return from_io(inner);
        }
        cause = current.source();
    }
    let message = error.to_string();
    Error::from_stamp(&message).unwrap_or_else(|| Error::internal(message))
}

/// What happens between nodes. A broken connection or a missing shuffle file passes when the work is
/// run again elsewhere.
fn from_ballista(error: &BallistaError) -> Error {
    match error {
        BallistaError::DataFusionError(inner) => from_datafusion(inner),
        BallistaError::ArrowError(inner) => from_arrow(inner),
        BallistaError::Cancelled => Error::Cancelled,
        BallistaError::IoError(inner) => from_io(inner),
        BallistaError::FetchFailed(..)
        | BallistaError::TonicError(_)
        | BallistaError::GrpcError(_)
        | BallistaError::GrpcConnectionError(_)
        | BallistaError::GrpcActionError(_) => {
            tracing::warn!(%error, "intermediate results could not be fetched");
            Error::Io { message: format!("{INTERMEDIATE_RESULTS} could not be fetched") }
        }
        BallistaError::NotImplemented(message) => Error::NotSupported { message: first_line(message) },
        BallistaError::SqlError(_)
        | BallistaError::TokioError(_)
        | BallistaError::General(_)
        | BallistaError::Internal(_)
        | BallistaError::Configuration(_) => {
            let message = error.to_string();
            Error::from_stamp(&message).unwrap_or_else(|| Error::internal(message))
        }
    }
}

fn from_arrow(error: &ArrowError) -> Error {
    match error {
        // Batches travel between nodes as IPC streams: a stream that ends early is a lost peer.
        ArrowError::IpcError(cause) => {
            tracing::warn!(error = cause, "intermediate results could not be read");
            Error::Io { message: format!("{INTERMEDIATE_RESULTS} could not be read") }
        }
        ArrowError::DivideByZero => Error::DivisionByZero,
        ArrowError::ArithmeticOverflow(message) => Error::OutOfRange { message: first_line(message) },
        ArrowError::CastError(message) | ArrowError::ParseError(message) => {
            from_cast(message).unwrap_or_else(|| Error::InvalidText { message: first_line(message) })
        }
        ArrowError::CsvError(message) | ArrowError::JsonError(message) => {
            Error::BadCopyFormat { message: first_line(message) }
        }
        ArrowError::OffsetOverflowError(_) | ArrowError::DictionaryKeyOverflowError => Error::TooLarge {
            message: "a value or a batch grew past what one array can hold".into(),
            hint: "Make the strings or lists that the statement builds shorter.".into(),
        },
        ArrowError::MemoryError(message) => Error::OutOfMemory { message: first_line(message) },
        ArrowError::IoError(_, inner) => from_io(inner),
        ArrowError::ExternalError(inner) => from_external(inner.as_ref()),
        ArrowError::NotYetImplemented(message) => Error::NotSupported { message: first_line(message) },
        ArrowError::ParquetError(message) => Error::CorruptFile { message: first_line(message) },
        ArrowError::InvalidArgumentError(message) | ArrowError::ComputeError(message)
            if message.contains("more than one row") =>
        {
            too_many_rows()
        }
        ArrowError::InvalidArgumentError(message) | ArrowError::ComputeError(message) => {
            Error::from_stamp(message)
                .unwrap_or_else(|| Error::DataException { message: first_line(message) })
        }
        other => {
            let message = other.to_string();
            Error::from_stamp(&message).unwrap_or_else(|| Error::internal(message))
        }
    }
}

/// Of a text that is no value, what an error repeats.
const REPEATED_BYTES_MAX: usize = 1000;

/// What Arrow says of a value that is none of the type that it is cast to, in PostgreSQL's words.
fn from_cast(message: &str) -> Option<Error> {
    if message.starts_with("Can't cast value") {
        let of = message.rsplit(' ').next().map_or("value", |name| number_name(name).unwrap_or("value"));
        return Some(Error::OutOfRange { message: format!("{of} out of range") });
    }
    let of_text = ["Cannot cast string '", "Cannot cast value '"];
    let rest = of_text.into_iter().find_map(|start| message.strip_prefix(start))?;
    let (text, name) = rest.strip_suffix(" type")?.rsplit_once("' to value of ")?;
    let name = match name {
        "Boolean" => "boolean",
        number => number_name(number)?,
    };
    let digits = text.trim_ascii().strip_prefix(['+', '-']).unwrap_or(text.trim_ascii());
    let is_whole =
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && name != "boolean";
    let text = match text.len() {
        0..=REPEATED_BYTES_MAX => text.to_owned(),
        _ => format!("{} …", &text[..text.floor_char_boundary(REPEATED_BYTES_MAX)]),
    };
    Some(if is_whole {
        Error::OutOfRange { message: format!("value \"{text}\" is out of range for type {name}") }
    } else {
        Error::InvalidText { message: format!("invalid input syntax for type {name}: \"{text}\"") }
    })
}

fn number_name(arrow: &str) -> Option<&'static str> {
    Some(match arrow {
        "Int16" => "smallint",
        "Int32" => "integer",
        "Int64" => "bigint",
        "UInt32" => "oid",
        "Float32" => "real",
        "Float64" => "double precision",
        _ => return None,
    })
}

fn too_many_rows() -> Error {
    Error::Stamped {
        sqlstate: SqlState::from_text("21000"),
        message: "more than one row returned by a subquery used as an expression".into(),
    }
}

fn from_parquet(error: &ParquetError) -> Error {
    match error {
        ParquetError::External(inner) => match from_external(inner.as_ref()) {
            Error::Internal { message } => Error::Io { message: first_line(&message) },
            other => other,
        },
        ParquetError::NYI(message) => Error::NotSupported { message: first_line(message) },
        // The reader of footers keeps of a store's error its text alone.
        ParquetError::General(message) if message.starts_with("Failed to fetch metadata for file") => {
            from_fetch(message)
        }
        ParquetError::General(message) => Error::CorruptFile { message: first_line(message) },
        other => Error::CorruptFile { message: first_line(&other.to_string()) },
    }
}

/// `Failed to fetch metadata for file PATH: Object Store error: …`
fn from_fetch(message: &str) -> Error {
    const STORE: &str = ": Object Store error: ";
    let Some((file, problem)) = message.split_once(STORE) else {
        return Error::CorruptFile { message: first_line(message) };
    };
    if let Some(stamped) = Error::from_stamp(problem) {
        return stamped;
    }
    let file = file_name(file.rsplit(' ').next().unwrap_or(file));
    let is_any = |texts: &[&str]| texts.iter().any(|text| problem.contains(text));
    if is_without_credentials(problem) {
        Error::AccessRefused {
            message: no_credentials(problem.split_whitespace().nth(1).unwrap_or_default()),
        }
    } else if is_any(&["not found"]) {
        Error::MissingFile { message: file }
    } else if is_any(&["403 Forbidden", "401 Unauthorized", "permissions", "valid authentication"]) {
        Error::AccessRefused { message: format!("the store refused access to {file}") }
    } else {
        unanswered(problem)
    }
}

fn from_object_store(error: &object_store::Error) -> Error {
    match error {
        // What is asked of a web server for a file that it does not have.
        object_store::Error::Generic { source, .. } if is_unlistable(&source.to_string()) => {
            Error::MissingFile { message: "there is none there, and a web server cannot be searched".into() }
        }
        object_store::Error::NotFound { path, .. } => Error::MissingFile { message: file_name(path) },
        object_store::Error::Generic { store, .. } if is_without_credentials(&error.to_string()) => {
            tracing::warn!(%error, "there are no credentials for a store");
            Error::AccessRefused { message: no_credentials(store) }
        }
        object_store::Error::Generic { source, .. } => match from_external(source.as_ref()) {
            Error::AccessRefused { message } => Error::AccessRefused { message },
            Error::MissingFile { message } => Error::MissingFile { message },
            told @ (Error::DiskFull { .. } | Error::Stamped { .. }) => told,
            _ => unanswered(&error.to_string()),
        },
        object_store::Error::Precondition { path, .. } => {
            Error::Io { message: format!("{} was replaced while it was read", file_name(path)) }
        }
        object_store::Error::PermissionDenied { path, .. }
        | object_store::Error::Unauthenticated { path, .. } => {
            Error::AccessRefused { message: format!("the store refused access to {}", file_name(path)) }
        }
        _ => unanswered(&error.to_string()),
    }
}

/// True when a store was asked without credentials: then those of the machine are tried, at an address that only machines
/// of a cloud have.
fn is_without_credentials(problem: &str) -> bool {
    ["169.254.169.254", "169.254.170.2", "metadata.google.internal", "fd00:ec2::254"]
        .iter()
        .any(|address| problem.contains(address))
}

fn no_credentials(store: &str) -> String {
    let settings = match store {
        "S3" => "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or [stores.s3]",
        "GCS" => "GOOGLE_SERVICE_ACCOUNT, or [stores.gcs]",
        "MicrosoftAzure" => "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or [stores.azure]",
        _ => "those of its section of [stores]",
    };
    format!("no credentials for the store: set {settings}")
}

/// True when a web server said that it cannot be listed, which is what comes behind a file that it does not have.
fn is_unlistable(problem: &str) -> bool {
    let refused = ["404 Not Found", "405 Method Not Allowed", "501 Not Implemented"];
    problem.contains("PROPFIND") && refused.iter().any(|status| problem.contains(status))
}

/// What exactly happened is for the log: it names addresses that are not the client's to know. The status alone is told.
fn unanswered(problem: &str) -> Error {
    tracing::warn!(error = problem, "a store did not answer as it should");
    let status = problem.split_once("status code: ").and_then(|(_, status)| status.split(':').next());
    let message = match status {
        Some(status) => format!("the store answered {}", status.trim()),
        None if problem.contains("error sending request") => {
            "the store could not be reached, or did not answer in time".to_owned()
        }
        None => "the store did not answer as it should".to_owned(),
    };
    Error::Io { message }
}

fn from_io(error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            Error::DiskFull { message: "no space left for spill or shuffle files".into() }
        }
        std::io::ErrorKind::NotFound => Error::MissingFile { message: "no such file".into() },
        std::io::ErrorKind::PermissionDenied => Error::AccessRefused { message: "permission denied".into() },
        kind => match error.get_ref() {
            Some(inner) if inner.to_string().contains("exceeded the allowable limit") => {
                Error::DiskFull { message: "spill files take more than spill_bytes_max allows".into() }
            }
            Some(inner) => match from_external(inner) {
                Error::Internal { .. } => Error::Io { message: kind.to_string() },
                other => other,
            },
            None => Error::Io { message: kind.to_string() },
        },
    }
}

fn from_schema(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => Error::UndefinedColumn {
            column: match &field.relation {
                Some(relation) => format!("{}.{}", relation.table(), field.name),
                None => field.name.clone(),
            },
            suggestion: nearest(&field.name, valid_fields.iter().map(|c| c.name.as_str())),
            position: None,
        },
        SchemaError::AmbiguousReference { field } => Error::AmbiguousColumn { column: field.name.clone() },
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            Error::InvalidQuery { message: format!("column \"{name}\" specified more than once") }
        }
    }
}

/// Memory and disk limits share one DataFusion error; only its text tells them apart.
fn from_exhausted(message: &str) -> Error {
    if message.contains("disk") || message.contains("temporary file") {
        Error::DiskFull { message: first_line(message) }
    } else {
        Error::OutOfMemory { message: first_line(message) }
    }
}

/// DataFusion's planner reports most conditions as plain text. Table names never get here: they are
/// resolved before planning, where their absence is typed.
fn from_plan(message: &str) -> Error {
    if let Some(stamped) = Error::from_stamp(message) {
        return stamped;
    }
    let message = first_line(message);
    // What DataFusion's last check says of a plan of its own.
    if message.starts_with("Plan: [") {
        return Error::internal(message);
    }
    if message.starts_with("Invalid function") {
        let name = message.split('\'').nth(1).unwrap_or("").to_owned();
        return Error::UndefinedFunction { message: format!("function {name} does not exist") };
    }
    let is_of_other_types = message.starts_with("Function '") && message.contains(", but received ");
    if is_of_other_types || message.contains("failed to match any signature: no such arguments") {
        let name = message.split('\'').nth(1).unwrap_or_default();
        return Error::UndefinedFunction {
            message: format!("function {name} does not exist for arguments of these types"),
        };
    }
    if message.contains("No function matches")
        || message.contains("does not support")
        || message.contains("failed to match any signature")
    {
        return Error::UndefinedFunction { message };
    }
    if message.contains("must appear in the GROUP BY clause")
        || message.contains("could not be resolved from available columns")
    {
        return Error::Grouping { message };
    }
    if message.contains("Cannot infer common") || message.contains("coerc") || message.contains("Cannot cast")
    {
        return Error::TypeMismatch { message };
    }
    if let Some(table) = message.strip_prefix("table '").and_then(|rest| rest.split('\'').next()) {
        let name = table.rsplit('.').next().unwrap_or(table).to_owned();
        return Error::UndefinedTable { name, position: None };
    }
    if let Some((sqlstate, message)) = of_functions(&message) {
        return Error::Stamped { sqlstate: SqlState::from_text(sqlstate), message: message.to_owned() };
    }
    if message.starts_with("Too many columns!") {
        return Error::Syntax { message: "subquery must return only one column".into(), position: None };
    }
    if message.starts_with("Argument #") && message.contains("must be an INTEGER") {
        return Error::UndefinedFunction {
            message: "function generate_series does not exist for arguments of these types".into(),
        };
    }
    Error::InvalidQuery { message }
}

fn from_execution(message: &str) -> Error {
    if let Some(stamped) = Error::from_stamp(message) {
        return stamped;
    }
    // A task of a plan's: what it says is of our insides.
    if message.contains("panicked with message") {
        return crate::panics::error_in(message);
    }
    let line = first_line(message);
    if line.contains("more than one row") {
        return too_many_rows();
    }
    if line.to_ascii_lowercase().contains("divide by zero") {
        return Error::DivisionByZero;
    }
    // Ballista's shuffle writer tells other errors by their Debug form.
    if line.contains("StorageFull") || line.contains("No space left") {
        return Error::DiskFull { message: "no space left for shuffle files".into() };
    }
    if line.contains("IoError(") {
        return Error::Io { message: "shuffle files could not be written or read".into() };
    }
    if line.contains("ResourcesExhausted(") {
        return Error::OutOfMemory { message: "an operator could not get the memory it asked for".into() };
    }
    Error::DataException { message: line }
}

fn syntax_message(message: &str) -> String {
    first_line(message).trim_start_matches("sql parser error: ").to_owned()
}

/// DataFusion appends explanations over several lines; the first says what happened.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().trim().to_owned()
}

/// The last part of a path: enough to find the file, nothing about where the server keeps it.
fn file_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

/// The candidate that differs from `name` by at most a third of its letters.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    candidates
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= name.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

fn edit_distance(a: &str, b: &str) -> usize {
    datafusion::common::utils::datafusion_strsim::levenshtein(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_being_wrapped_and_escaped() {
        let stamp = Error::InvalidText { message: "invalid \"12x\";\nfor int".into() }.to_stamp();
        let wrapped = format!("Job failed: {:?}", format!("DataFusionError(Execution({stamp:?}))"));
        let found = Error::from_stamp(&wrapped).expect("the stamp is found");
        assert_eq!(found.sqlstate().as_str(), "22P02");
        assert_eq!(found.to_string(), "invalid \"12x\";\nfor int");
    }

    #[test]
    fn what_is_told_by_a_text_alone_has_its_sqlstate() {
        let internal = |message: &str| Error::from(DataFusionError::Internal(message.to_owned()));
        assert!(internal("Left side produced no data to spill").is_out_of_memory());
        let pattern = internal("regex parse error:\n    (\n    ^\nerror: unclosed group");
        assert_eq!(pattern.sqlstate().as_str(), "2201B");
        assert_eq!(pattern.to_string(), "invalid regular expression: unclosed group");
        assert_eq!(
            internal("Compiled regex exceeds size limit of 10485760 bytes.").sqlstate().as_str(),
            "2201B"
        );
        assert_eq!(internal("anything else").sqlstate().as_str(), "XX000");
    }

    #[test]
    fn a_plan_is_not_shown_to_clients() {
        let refused = r#"Plan: ["WindowAggExec", "  DataSourceExec: /data/t"] does not satisfy order requirements: [k]"#;
        let error = Error::from(DataFusionError::Plan(refused.to_owned()));
        assert_eq!(error.sqlstate().as_str(), "XX000");
        assert!(!error.to_string().contains("/data"), "{error}");
    }

    #[test]
    fn text_without_a_stamp_has_none() {
        assert!(Error::from_stamp("h2 protocol error").is_none());
        assert!(Error::from_stamp("sqlstate=22").is_none());
    }

    #[test]
    fn a_text_that_is_no_number_is_told_as_postgres_tells_it() {
        let told = |message: &str| {
            let error = ArrowError::CastError(message.to_owned());
            let error = Error::from(DataFusionError::ArrowError(Box::new(error), None));
            (error.sqlstate().as_str().to_owned(), error.to_string())
        };
        let is = |code: &str, message: &str| (code.to_owned(), message.to_owned());
        assert_eq!(
            told("Cannot cast string 'it's' to value of Int32 type"),
            is("22P02", "invalid input syntax for type integer: \"it's\"")
        );
        assert_eq!(
            told("Cannot cast string ' -99999' to value of Int16 type"),
            is("22003", "value \" -99999\" is out of range for type smallint")
        );
        assert_eq!(
            told("Cannot cast value '12' to value of Boolean type"),
            is("22P02", "invalid input syntax for type boolean: \"12\"")
        );
        assert_eq!(told("Can't cast value 3000000000 to type Int32"), is("22003", "integer out of range"));
    }

    #[test]
    fn a_store_is_quoted_without_its_address() {
        let told = |problem: &str| {
            let error = object_store::Error::Generic { store: "S3", source: problem.to_owned().into() };
            Error::from(DataFusionError::ObjectStore(Box::new(error))).to_string()
        };
        let refused = "Error performing GET http://10.0.0.1/b/k in 2.1s, after 5 retries - Server returned non-2xx status \
            code: 503 Service Unavailable: <Error>slow down</Error>";
        assert_eq!(told(refused), "could not read data: the store answered 503 Service Unavailable");
        let silent = "Error performing GET http://10.0.0.1/b/k in 2.1s - HTTP error: error sending request";
        assert_eq!(
            told(silent),
            "could not read data: the store could not be reached, or did not answer in time"
        );
        assert_eq!(told("who knows"), "could not read data: the store did not answer as it should");
    }

    #[test]
    fn a_wrapped_arrow_error_keeps_its_code() {
        let inner = DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None);
        let wrapped = DataFusionError::Context("Optimizer rule failed".into(), Box::new(inner));
        assert_eq!(Error::from(wrapped).sqlstate().as_str(), "22012");
        let external = DataFusionError::ParquetError(Box::new(ParquetError::External(Box::new(
            std::io::Error::from(std::io::ErrorKind::StorageFull),
        ))));
        assert_eq!(Error::from(external).sqlstate().as_str(), "53100");
    }

    #[test]
    fn a_misspelt_column_gets_a_suggestion() {
        assert_eq!(
            nearest("custmer_id", ["order_id", "customer_id"].into_iter()),
            Some("customer_id".into())
        );
        assert_eq!(nearest("x", ["customer_id"].into_iter()), None);
    }
}
