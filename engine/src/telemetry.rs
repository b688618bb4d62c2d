//! What an executor tells the coordinator while it lives, about twice a second, and what it is answered.
//!
//! The stream it travels on is also the sign of life: when it breaks, the executor is lost.

use serde::{Deserialize, Serialize};

use crate::ExecutorId;
use crate::usage::Usage;

/// How often an executor reports.
pub const REPORT_INTERVAL: std::time::Duration = std::time::Duration::from_millis(500);
/// An executor that has been silent for this long is lost, where no machine is too busy to be heard in time.
pub const SILENCE_MAX: std::time::Duration = std::time::Duration::from_millis(2000);

/// What a node must be, for others to understand it: plans travel in a form that changes between versions.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The names under which a task that ends tells, among its metrics, the most it had of memory in bytes, and the rows it has
/// read.
pub const PEAK_MEMORY: &str = "sluice_peak_memory";
/// See [`PEAK_MEMORY`].
pub const ROWS_READ: &str = "sluice_rows_read";

/// What the coordinator answers on the stream of an executor's reports.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum CoordinatorMessage {
    /// First: the executor is taken in.
    Welcome {
        /// The jobs that it may have worked for before. Whatever it did for others is of no use to anybody.
        jobs: Vec<String>,
    },
    /// The executor is to finish what it has begun, and to end.
    Drain,
    /// Tasks of this job are to stop.
    Stop {
        /// Its name.
        job: String,
    },
}

/// One report of one executor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecutorReport {
    /// [`VERSION`] of its binary.
    pub version: String,
    /// Who reports.
    pub executor_id: ExecutorId,
    /// Where others reach it (`HOST:PORT`).
    pub address: String,
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
    /// How much longer than usual it may be silent, by what it sees of its machine, in milliseconds.
    pub allowance_ms: u64,
    /// It was told to end: it goes on with what it has begun and takes nothing new.
    pub is_draining: bool,
    /// Tasks running now.
    pub tasks_running: usize,
    /// Tasks finished since the start, failed ones included.
    pub tasks_finished: u64,
    /// How far those are that run.
    pub tasks: Vec<TaskProgress>,
    /// What is kept of remote objects in memory, in bytes.
    pub cached_bytes: u64,
    /// What is set aside of the pool for that, in bytes.
    pub cache_reserved_bytes: u64,
    /// Processors, disk and network.
    pub usage: Usage,
    /// The server that it reports to started it, and starts another in its place.
    pub is_supervised: bool,
    /// Executors that have ended and whose shuffle files it has taken over.
    pub inherited: Vec<ExecutorId>,
    /// Folders (with a trailing `/`) under which it can read tables on local paths; the server's own
    /// children read the same disks and say `/`.
    pub shared_paths: Vec<String>,
}

/// How far a task is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskProgress {
    /// Its job.
    pub job_id: String,
    /// Its stage.
    pub stage_id: usize,
    /// Its number in the stage.
    pub task_id: usize,
    /// Rows that it has read.
    pub rows_read: u64,
    /// Rows that it has given.
    pub rows: u64,
    /// Bytes it has written to disk for want of memory.
    pub spilled_bytes: u64,
    /// The most it had of memory, in bytes.
    pub peak_bytes: u64,
}
