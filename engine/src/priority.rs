//! What computes for long gives way to what answers, where both want a core.

use std::sync::OnceLock;

use rustix::process::{getpriority_process, setpriority_process};

/// Of threads that compute large queries, below those that answer.
const NICE: i32 = 5;

/// Lowers the priority of the calling thread, on Linux. Where it is refused, nothing is lost.
pub fn give_way() {
    // Threads begin with the priority of the one that starts them, which may have given way itself: each sets the same.
    static TO: OnceLock<i32> = OnceLock::new();
    let to = *TO.get_or_init(|| getpriority_process(None).unwrap_or(0) + NICE);
    let _ = setpriority_process(None, to);
}
