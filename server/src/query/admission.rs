//! Lets a bounded number of queries run; the next ones wait in order, and beyond a bound are refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The gate.
#[derive(Debug)]
pub struct Admission {
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// The right to run; returned when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Permit {
    _slot: Arc<OwnedSemaphorePermit>,
}

impl Admission {
    /// A gate for `running_max` queries, before which `waiting_max` may wait.
    pub fn new(running_max: usize, waiting_max: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(running_max)), waiting: AtomicUsize::new(0), waiting_max }
    }

    /// Waits for a slot. Fails with 53400 when too many wait already.
    pub async fn admit(&self) -> Result<Permit> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(Permit { _slot: Arc::new(slot) });
        }
        let _place = self.take_place()?;
        let slot = Arc::clone(&self.slots)
            .acquire_owned()
            .await
            .expect("the gate is never closed while the server runs");
        Ok(Permit { _slot: Arc::new(slot) })
    }

    fn take_place(&self) -> Result<Place<'_>> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.waiting_max {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::LimitReached {
                message: format!("{} queries are already waiting to run", self.waiting_max),
                hint: "Try again later, or raise server.queued_queries_max.".into(),
            });
        }
        Ok(Place(&self.waiting))
    }
}

/// A place in the queue; given up also when the waiting client leaves.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_queue_is_bounded_and_permits_return() {
        let admission = Admission::new(1, 0);
        let first = admission.admit().await.expect("a free slot");
        let refused = admission.admit().await.expect_err("nobody may wait");
        assert_eq!(refused.sqlstate().as_str(), "53400");
        drop(first);
        admission.admit().await.expect("the slot is free again");
    }
}
