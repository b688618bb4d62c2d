//! What computes for long gives way to what answers, where both want a core.

/// Of threads that compute large queries.
const NICE: i32 = 5;

/// Lowers the priority of the calling thread, on Linux. Where it is refused, nothing is lost.
pub fn give_way() {
    let _ = rustix::process::nice(NICE);
}
