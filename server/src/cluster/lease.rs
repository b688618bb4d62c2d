//! How long an executor may be silent until it is held for lost, and until it gets nothing new.

use std::time::Duration;

use engine::strain::Strain;
use engine::telemetry::SILENCE_MAX;

use super::membership::Member;

/// However busy the machines are.
const LEASE_MAX: Duration = Duration::from_secs(10);
/// A report that is overdue by as much again makes an executor suspect.
const SUSPECT_AFTER: Duration = Duration::from_secs(1);

/// So long `member` may be silent: about two seconds on quiet machines, and longer by what this process sees of its own
/// delays and what the executor told of its own, last.
pub fn of(member: &Member, strain: &Strain) -> Duration {
    let allowance = strain.allowance().max(Duration::from_millis(member.report.allowance_ms));
    (SILENCE_MAX + allowance).min(LEASE_MAX)
}

/// True for an executor that may be lost: it gets nothing new while others can take it.
pub fn is_suspect(member: &Member) -> bool {
    member.heard_at.elapsed() > SUSPECT_AFTER
}
