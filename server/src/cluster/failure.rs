//! What a failed job's text says, and whether running it again may help.

use engine::Error;

/// The error of a failed job. Executors stamp theirs; the rest is Ballista speaking for itself.
pub fn error_of(job_text: &str) -> Error {
    if let Some(stamped) = Error::from_stamp(job_text) {
        return stamped;
    }
    // The decoder of plans stops at 100 levels.
    if job_text.contains("recursion limit reached") {
        return Error::TooComplex {
            message: "the plan is nested too deep to be sent to executors".into(),
            hint: "SET sluice.route = local, or split the statement.".into(),
        };
    }
    // Ballista's own words; a user's names are never in its unstamped text.
    let speaks_of_loss = ["all executors were lost", "FetchFailed", "Executor Lost", "GrpcConnectionError"];
    if speaks_of_loss.iter().any(|words| job_text.contains(words)) {
        return Error::ExecutorLost { message: "an executor was lost".into() };
    }
    Error::internal(job_text)
}

/// True when `error` may be owed to an executor that was lost while the job ran.
pub fn may_be_owed_to_loss(error: &Error) -> bool {
    // Only what nobody can explain: every other condition is the statement's or the data's own.
    matches!(error, Error::Internal { .. })
}

/// True when the disk of an executor is full: another may have room. What is past a limit is past it everywhere.
pub fn has_no_room(error: &Error) -> bool {
    error.sqlstate().as_str() == "53100" && error.to_string().starts_with("no space left for")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_win_and_lost_connections_pass() {
        let stamp = format!("Job failed: {}", Error::DivisionByZero.to_stamp());
        assert_eq!(error_of(&stamp).sqlstate().as_str(), "22012");
        assert!(!may_be_owed_to_loss(&error_of(&stamp)));
        assert!(error_of("FetchFailed(e1)").is_passing());
        let full = Error::DiskFull { message: "no space left for shuffle files".into() };
        assert!(has_no_room(&error_of(&full.to_stamp())) && !full.is_passing());
        assert_eq!(error_of("no idea").sqlstate().as_str(), "XX000");
    }
}
