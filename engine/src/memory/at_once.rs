//! The pool for those who may not wait on the thread that asks: what is not there at once is refused.

use std::fmt;
use std::sync::Arc;

use datafusion::error::Result as DataFusionResult;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

use super::CappedPool;

/// The same pool; only that an operator which cannot spill is not made to wait for those that can.
#[derive(Debug)]
struct AtOnce(Arc<CappedPool>);

impl CappedPool {
    /// The same pool, which grants or refuses at once: for what is read on the network's threads.
    pub fn at_once(self: &Arc<Self>) -> Arc<dyn MemoryPool> {
        Arc::new(AtOnce(Arc::clone(self)))
    }
}

impl fmt::Display for AtOnce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl MemoryPool for AtOnce {
    fn name(&self) -> &str {
        "at once"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.0.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.0.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.0.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.0.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DataFusionResult<()> {
        self.0.try_grow_unless(reservation, additional, &|| true)
    }

    fn reserved(&self) -> usize {
        self.0.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.0.memory_limit()
    }
}
