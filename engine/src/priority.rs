//! What computes for long gives way to what answers, and that to what says that the process lives, where they want the
//! same core.
//!
//! A thread begins with the priority of the one that starts it, whatever runs there: each sets its own.

use std::sync::OnceLock;

use rustix::process::{getpriority_process, setpriority_process};

/// Of threads that compute large queries, below those that answer.
const NICE: i32 = 5;
/// Of threads that tell and watch who lives, above those.
const FIRST_NICE: i32 = -10;

/// What the process was started with, when the first thread that asks is the one that it began with.
fn usual() -> i32 {
    static USUAL: OnceLock<i32> = OnceLock::new();
    *USUAL.get_or_init(|| getpriority_process(None).unwrap_or(0))
}

/// Gives the calling thread the priority that the process was started with.
pub fn as_usual() {
    let _ = setpriority_process(None, usual());
}

/// Lowers the priority of the calling thread, on Linux. Where it is refused, nothing is lost.
pub fn give_way() {
    let _ = setpriority_process(None, usual() + NICE);
}

/// Raises the priority of the calling thread, on Linux. False where the process may not.
pub fn come_first() -> bool {
    setpriority_process(None, usual() + FIRST_NICE).is_ok()
}
