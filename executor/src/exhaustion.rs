//! Memory that is not given back though nothing runs: only the end of the process gives it back.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use engine::memory::Pressure;
use engine::runtime::NodeRuntime;
use tracing::error;

use crate::stage_runner::TaskCounts;
use crate::tasks::Tasks;

/// So long nothing runs, and the process is at its cap all the same.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Resolves when the process holds so much memory that nothing needs that the next task would be ended at once.
pub async fn exhausted(runtime: &NodeRuntime, tasks: &Tasks, counts: &TaskCounts) {
    let mut since: Option<(Instant, u64)> = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let finished = counts.finished.load(Ordering::Relaxed);
        let is_at_rest = tasks.is_at_rest() && since.is_none_or(|(_, before)| before == finished);
        if *runtime.pressure.borrow() < Pressure::Critical || !is_at_rest {
            since = None;
            continue;
        }
        let (at, _) = *since.get_or_insert_with(|| (Instant::now(), finished));
        if at.elapsed() >= PATIENCE {
            let (resident_bytes, cap) = (runtime.pool.resident_bytes(), runtime.pool.cap());
            error!(resident_bytes, %cap, "the process is to end: it holds memory that nothing needs");
            return;
        }
    }
}
