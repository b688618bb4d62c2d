//! What a failed job's text says, and whether running it again may help.

use engine::Error;

/// The error of a failed job. Executors stamp theirs; the rest is Ballista speaking for itself.
pub fn error_of(job_text: &str) -> Error {
    if let Some(stamped) = Error::from_stamp(job_text) {
        return stamped;
    }
    let speaks_of_executors = ["executor", "Executor", "connect", "FetchFailed", "transport", "h2 protocol"];
    if speaks_of_executors.iter().any(|word| job_text.contains(word)) {
        return Error::Io { message: "an executor did not answer".into() };
    }
    Error::internal(job_text)
}

/// True when `error` may be owed to an executor that was lost while the job ran.
pub fn may_be_owed_to_loss(error: &Error) -> bool {
    // What a user's own query did wrong stays wrong.
    let sqlstate = error.sqlstate();
    !(sqlstate.as_str().starts_with("22") || sqlstate.as_str().starts_with("42"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_win_and_lost_connections_pass() {
        let stamp = format!("Job failed: {}", Error::DivisionByZero.to_stamp());
        assert_eq!(error_of(&stamp).sqlstate().as_str(), "22012");
        assert!(!may_be_owed_to_loss(&error_of(&stamp)));
        assert!(error_of("Executor e1 lost").is_passing());
        assert_eq!(error_of("no idea").sqlstate().as_str(), "XX000");
    }
}
