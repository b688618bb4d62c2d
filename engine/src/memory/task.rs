//! What one task has of the process's pool, and the order to end it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use tokio_util::sync::CancellationToken;

use super::CappedPool;

/// The process's pool as one task sees it.
pub struct TaskMemory {
    pool: Arc<CappedPool>,
    reserved_bytes: AtomicUsize,
    /// Cancelled when the task must end for the process to stay below its cap.
    condemned: CancellationToken,
    /// Cancelled when nothing of the task is left that could draw on it.
    gone: CancellationToken,
}

impl Drop for TaskMemory {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

impl TaskMemory {
    /// An account with `pool`, which lists it for as long as it lives.
    pub fn open(pool: &Arc<CappedPool>) -> Arc<Self> {
        let task = Arc::new(Self {
            pool: Arc::clone(pool),
            reserved_bytes: AtomicUsize::new(0),
            condemned: CancellationToken::new(),
            gone: CancellationToken::new(),
        });
        pool.list(&task);
        task
    }

    /// What the task's operators have declared, in bytes.
    pub fn reserved_bytes(&self) -> usize {
        self.reserved_bytes.load(Ordering::Relaxed)
    }

    /// Cancelled when nothing of the task is left that could draw on its account.
    pub fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// Ends the task.
    pub fn condemn(&self) {
        self.condemned.cancel();
    }

    /// True once the task must end.
    pub fn is_condemned(&self) -> bool {
        self.condemned.is_cancelled()
    }

    /// Resolves, with the error that the task ends in, once it must end.
    pub async fn condemnation(&self) -> DataFusionError {
        self.condemned.cancelled().await;
        self.verdict()
    }

    fn verdict(&self) -> DataFusionError {
        DataFusionError::ResourcesExhausted(format!(
            "the process came too near its memory cap of {}, and this was its largest task",
            self.pool.cap()
        ))
    }
}

impl fmt::Debug for TaskMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskMemory").field("reserved_bytes", &self.reserved_bytes()).finish_non_exhaustive()
    }
}

impl fmt::Display for TaskMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task of {}", self.pool)
    }
}

impl MemoryPool for TaskMemory {
    fn name(&self) -> &str {
        "task"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.pool.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.pool.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.pool.grow(reservation, additional);
        self.reserved_bytes.fetch_add(additional, Ordering::Relaxed);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.pool.shrink(reservation, shrink);
        self.reserved_bytes.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DataFusionResult<()> {
        if self.is_condemned() {
            return Err(self.verdict());
        }
        let is_granted = self.pool.try_grow_unless(reservation, additional, &|| self.is_condemned());
        if self.is_condemned() && is_granted.is_err() {
            return Err(self.verdict());
        }
        is_granted?;
        self.reserved_bytes.fetch_add(additional, Ordering::Relaxed);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.pool.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.pool.memory_limit()
    }
}
