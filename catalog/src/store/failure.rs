//! What a failure of the catalog's database is, from what SQLite and PostgreSQL say of it.

use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

use crate::CatalogError;

/// Why the database failed, by what would help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFailure {
    /// There is no space left.
    DiskFull,
    /// It could not be read or written.
    Io,
    /// Another process holds what is needed.
    Busy,
    /// It may not be written.
    ReadOnly,
    /// It is not what it should be.
    Damaged,
    /// An index of it is not what it should be.
    DamagedIndex,
    /// It has no memory left.
    OutOfMemory,
    /// It takes no more connections.
    TooManyConnections,
    /// It does not answer.
    Unreachable,
    /// It answers, and does not let the server in.
    Rejected,
    /// It does not let the server do this.
    Denied,
    /// Anything else.
    Unknown,
}

impl StoreFailure {
    /// True when a commit that ended so may have been carried out.
    pub(super) fn leaves_open(self) -> bool {
        matches!(self, Self::Io | Self::Unreachable | Self::Unknown)
    }

    fn is(self, problem: impl Into<String>) -> CatalogError {
        CatalogError::StoreFailed { failure: self, problem: problem.into() }
    }
}

impl From<sqlx::Error> for CatalogError {
    fn from(error: sqlx::Error) -> Self {
        use StoreFailure::*;
        match &error {
            sqlx::Error::Database(inner) => {
                if let Some(inner) = inner.try_downcast_ref::<SqliteError>() {
                    let code = sqlx::error::DatabaseError::code(inner).and_then(|code| code.parse().ok());
                    of_sqlite(code.unwrap_or(0), sqlx::error::DatabaseError::message(inner))
                } else if let Some(inner) = inner.try_downcast_ref::<PgDatabaseError>() {
                    of_postgres(inner.code(), inner.message())
                } else {
                    Unknown.is(format!("failed: {error}"))
                }
            }
            sqlx::Error::Io(inner) if inner.kind() == std::io::ErrorKind::StorageFull => {
                DiskFull.is("has no space left")
            }
            sqlx::Error::Io(inner) => Unreachable.is(format!("does not answer: {inner}")),
            sqlx::Error::Tls(inner) => Unreachable.is(format!("cannot be spoken to: {inner}")),
            sqlx::Error::Protocol(inner) => Unreachable.is(format!("does not answer as it should: {inner}")),
            sqlx::Error::PoolTimedOut => Unreachable.is("gave no connection in time"),
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Unreachable.is("is closed"),
            sqlx::Error::RowNotFound
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::AnyDriverError(_) => Self::damaged(format_args!("a row cannot be read: {error}")),
            _ => Unknown.is(format!("failed: {error}")),
        }
    }
}

/// By an extended result code (<https://www.sqlite.org/rescode.html>), whose low byte is the primary one.
fn of_sqlite(code: i32, message: &str) -> CatalogError {
    use StoreFailure::*;
    match (code, code & 0xff) {
        // Read at one version, and another was written meanwhile.
        (517, _) => CatalogError::Conflict,
        // A file beside the database that could not be made as long as it has to be.
        (4874, _) | (_, 13) => DiskFull.is("has no space left: nothing was changed"),
        (3082, _) | (_, 7) => OutOfMemory.is("has no memory left"),
        (8458, _) => CatalogError::damaged(message),
        (_, 10) => Io.is(format!("could not be read or written: {message}")),
        (_, 14) => Io.is(format!("cannot be opened: {message}")),
        (_, 5 | 6 | 15 | 17) => Busy.is(format!("is in use by another process: {message}")),
        (1032, _) => ReadOnly.is("was moved or removed while it was in use"),
        (_, 8) => ReadOnly.is(format!("may not be written: {message}")),
        (779, _) => DamagedIndex.is(format!("has a damaged index: {message}")),
        (_, 11 | 24 | 26) => CatalogError::damaged(message),
        (_, 3 | 23) => Denied.is(format!("refused: {message}")),
        _ => Unknown.is(format!("failed: {message} ({code})")),
    }
}

/// By an SQLSTATE, which counts as the one it is here where clients can act on it.
fn of_postgres(code: &str, message: &str) -> CatalogError {
    use StoreFailure::*;
    match code {
        "40001" | "40P01" => CatalogError::Conflict,
        "53100" => DiskFull.is(format!("has no space left: {message}")),
        "53200" => OutOfMemory.is(format!("has no memory left: {message}")),
        "53000" | "53300" | "53400" => TooManyConnections.is(format!("takes no more connections: {message}")),
        "25006" => ReadOnly.is(format!("may not be written: {message}")),
        "55P03" | "55006" | "57014" => Busy.is(format!("is in use: {message}")),
        "XX001" => CatalogError::damaged(message),
        "XX002" => DamagedIndex.is(format!("has a damaged index: {message}")),
        "42501" => Denied.is(format!("refused: {message}")),
        _ => match &code[..code.len().min(2)] {
            "08" | "57" => Unreachable.is(format!("does not answer: {message}")),
            "28" | "3D" => Rejected.is(format!("does not let the server in: {message}")),
            "58" => Io.is(format!("could not be read or written: {message}")),
            _ => Unknown.is(format!("failed: {message} ({code})")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(error: CatalogError) -> Option<StoreFailure> {
        match error {
            CatalogError::StoreFailed { failure, .. } => Some(failure),
            CatalogError::Conflict => None,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn result_codes_of_sqlite_are_told_apart() {
        use StoreFailure::*;
        for (code, expected) in [
            (13, DiskFull),
            // SHMSIZE, WRITE, FSYNC, SHORT_READ, NOMEM and CORRUPTFS of IOERR.
            (4874, DiskFull),
            (778, Io),
            (1034, Io),
            (522, Io),
            (3082, OutOfMemory),
            (8458, Damaged),
            (14, Io),
            (5, Busy),
            (261, Busy),
            (773, Busy),
            (6, Busy),
            (262, Busy),
            (15, Busy),
            (8, ReadOnly),
            (776, ReadOnly),
            (1032, ReadOnly),
            (1544, ReadOnly),
            (11, Damaged),
            (267, Damaged),
            (779, DamagedIndex),
            (26, Damaged),
            (7, OutOfMemory),
            (3, Denied),
            (1, Unknown),
        ] {
            assert_eq!(failure(of_sqlite(code, "told")), Some(expected), "{code}");
        }
        assert_eq!(failure(of_sqlite(517, "told")), None);
    }

    #[test]
    fn codes_of_postgres_are_told_apart() {
        use StoreFailure::*;
        for (code, expected) in [
            ("53100", DiskFull),
            ("53200", OutOfMemory),
            ("53300", TooManyConnections),
            ("57P01", Unreachable),
            ("57P02", Unreachable),
            ("57P03", Unreachable),
            ("08006", Unreachable),
            ("28P01", Rejected),
            ("28000", Rejected),
            ("3D000", Rejected),
            ("25006", ReadOnly),
            ("55P03", Busy),
            ("42501", Denied),
            ("58030", Io),
            ("58P01", Io),
            ("XX001", Damaged),
            ("XX002", DamagedIndex),
            ("42P01", Unknown),
            ("", Unknown),
        ] {
            assert_eq!(failure(of_postgres(code, "told")), Some(expected), "{code}");
        }
        for code in ["40001", "40P01"] {
            assert_eq!(failure(of_postgres(code, "told")), None);
        }
    }
}
