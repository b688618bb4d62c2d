//! Memory that is not given back though nothing runs: only the end of the process gives it back.

use std::time::{Duration, Instant};

use engine::memory::Pressure;
use engine::runtime::NodeRuntime;
use tracing::error;

use crate::tasks::Tasks;

/// So long nothing runs, and the process is near its cap all the same.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Resolves when the process holds memory that nothing needs, so much that no task has room. The files of finished tasks
/// stay, for whoever comes in its place.
pub async fn exhausted(runtime: &NodeRuntime, tasks: &Tasks) {
    let mut since: Option<Instant> = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if *runtime.pressure.borrow() == Pressure::Calm || !tasks.is_at_rest() {
            since = None;
        } else if since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
            let (resident_bytes, cap) = (runtime.pool.resident_bytes(), runtime.pool.cap());
            error!(resident_bytes, %cap, "the process ends: it holds memory that nothing needs");
            return;
        }
    }
}
