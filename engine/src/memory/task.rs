//! What one task has of the process's pool, and the order to end it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use tokio_util::sync::CancellationToken;

use super::CappedPool;
use super::accounts::{Accounts, Bounds, Request, operator};
use crate::ByteSize;

/// The process's pool as one task sees it.
pub struct TaskMemory {
    pool: Arc<CappedPool>,
    reserved_bytes: AtomicUsize,
    /// The most that they had.
    peak_bytes: Arc<AtomicUsize>,
    /// What it may have, when that is less than the pool gives.
    share: Option<Share>,
    /// Cancelled when the task must end for the process to stay below its cap.
    condemned: CancellationToken,
    /// Cancelled when nothing of the task is left that could draw on it.
    gone: CancellationToken,
}

/// Share of a task's bound that operators which can spill go by. Few share it, and two that merge at once what they
/// spill would wait for each other.
const SPILLABLE_SHARE: f64 = 0.6;

/// A bound on one task, kept among its operators as the pool's is among those of all.
struct Share {
    bytes_max: usize,
    accounts: Accounts,
}

impl Share {
    fn grow(
        &self,
        reservation: &MemoryReservation,
        additional: usize,
        is_over: &dyn Fn() -> bool,
    ) -> DataFusionResult<()> {
        let request = Request {
            reservation,
            additional,
            bounds: &|| Bounds {
                allowed: (self.bytes_max as f64 * SPILLABLE_SHARE) as usize,
                ..Bounds::of(self.bytes_max)
            },
            is_too_much: &|| false,
            is_over,
        };
        if self.accounts.grow(&request) {
            return Ok(());
        }
        let (taken, largest) = self.accounts.told();
        Err(DataFusionError::ResourcesExhausted(format!(
            "{} asked for {} more; of the {} that sluice.max_memory leaves to this task, {taken} is taken ({largest})",
            operator(reservation.consumer().name()),
            ByteSize(additional as u64),
            ByteSize(self.bytes_max as u64),
        )))
    }
}

impl Drop for TaskMemory {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

impl TaskMemory {
    /// An account with `pool`, which lists it for as long as it lives; of at most `bytes_max`, when that is not 0.
    pub fn open(pool: &Arc<CappedPool>, bytes_max: usize) -> Arc<Self> {
        let task = Arc::new(Self {
            pool: Arc::clone(pool),
            reserved_bytes: AtomicUsize::new(0),
            peak_bytes: Arc::default(),
            share: (bytes_max > 0).then(|| Share { bytes_max, accounts: Accounts::default() }),
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

    /// The most that the task's operators have declared at once so far, in bytes; known also when the task is over.
    pub fn peak_bytes(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.peak_bytes)
    }

    fn grown(&self, additional: usize) {
        let now = self.reserved_bytes.fetch_add(additional, Ordering::Relaxed) + additional;
        self.peak_bytes.fetch_max(now, Ordering::Relaxed);
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
        if let Some(share) = &self.share {
            share.accounts.open(consumer);
        }
        self.pool.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        if let Some(share) = &self.share {
            share.accounts.close(consumer);
        }
        self.pool.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        if let Some(share) = &self.share {
            share.accounts.add(reservation.consumer(), additional);
        }
        self.pool.grow(reservation, additional);
        self.grown(additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        if let Some(share) = &self.share {
            share.accounts.take(reservation.consumer(), shrink);
        }
        self.pool.shrink(reservation, shrink);
        self.reserved_bytes.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DataFusionResult<()> {
        if self.is_condemned() {
            return Err(self.verdict());
        }
        if let Some(share) = &self.share {
            share.grow(reservation, additional, &|| self.is_condemned())?;
        }
        let is_granted = self.pool.try_grow_unless(reservation, additional, &|| self.is_condemned());
        if let Err(refusal) = is_granted {
            if let Some(share) = &self.share {
                share.accounts.take(reservation.consumer(), additional);
            }
            return Err(if self.is_condemned() { self.verdict() } else { refusal });
        }
        self.grown(additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.pool.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.pool.memory_limit()
    }
}
