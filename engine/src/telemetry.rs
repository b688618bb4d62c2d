//! What an executor tells the coordinator while it lives: one message type, sent about twice a second.
//!
//! The stream it travels on is also the sign of life: when it breaks, the executor is lost.

use serde::{Deserialize, Serialize};

use crate::ExecutorId;

/// How often an executor reports.
pub const REPORT_INTERVAL: std::time::Duration = std::time::Duration::from_millis(500);
/// An executor that has been silent for this long is lost.
pub const SILENCE_MAX: std::time::Duration = std::time::Duration::from_millis(2000);

/// One report of one executor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecutorReport {
    /// Who reports.
    pub executor_id: ExecutorId,
    /// Process identifier on its own machine.
    pub process_id: u32,
    /// How many partitions it computes at once.
    pub threads: usize,
    /// The cap on its resident size, in bytes (`--memory`).
    pub memory_cap_bytes: u64,
    /// Its resident size now, in bytes.
    pub resident_bytes: u64,
    /// What operators have declared to the pool, in bytes.
    pub pool_reserved_bytes: u64,
    /// What they may declare in all, in bytes.
    pub pool_limit_bytes: u64,
    /// Spill files that exist now, in bytes.
    pub spilled_bytes: u64,
    /// Tasks running now.
    pub tasks_running: usize,
    /// Tasks finished since the start, failed ones included.
    pub tasks_finished: u64,
    /// Folders (with a trailing `/`) under which it can read tables on local paths; the server's own
    /// children read the same disks and say `/`.
    pub shared_paths: Vec<String>,
}
