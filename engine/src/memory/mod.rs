//! The cap on a process's memory, and what keeps it.
//!
//! `--memory` is the resident size (RSS) of the whole process. DataFusion's operators declare what they
//! hold to a pool; decoded Parquet pages, shuffle buffers, kernels' results and what the allocator keeps
//! back come on top. So [`CappedPool`] is one pool for the process that takes what it sees of that into
//! account, [`TaskMemory`] counts what one task has of it, and [`watch`] acts, step by step, when the process
//! nears its cap all the same.

mod accounts;
mod at_once;
mod pool;
mod resident;
mod task;
mod watch;

pub use pool::CappedPool;
pub use resident::{ResidentSize, machine_limit, use_small_pages};
pub use task::TaskMemory;
pub use watch::{Pressure, watch};

use crate::ByteSize;

/// The smallest cap that leaves operators something to work with.
pub const CAP_MIN: ByteSize = ByteSize::mib(192);
