//! What a thread computes for at the moment: the planning of a statement, or one of its tasks.
//!
//! Functions are called without a word of the statement they belong to. Those that may take long or much ask here
//! whether they are to stop, whose memory they take, and how much a plan may still compute of itself.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::MemoryPool;
use tokio_util::sync::CancellationToken;

use crate::Error;

thread_local! {
    static CURRENT: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

/// What is computed for.
#[derive(Clone)]
pub struct Scope(Arc<Inner>);

struct Inner {
    stop: CancellationToken,
    work: Work,
}

enum Work {
    Planning {
        /// Microseconds that are left for values that the planner computes.
        budget_micros: AtomicU64,
    },
    Task {
        pool: Arc<dyn MemoryPool>,
        /// What an aggregate gives is kept for each row.
        is_window: bool,
    },
}

/// All that one planning may spend on values that it computes. What takes longer is left to execution.
const FOLDING_TIME: Duration = Duration::from_millis(500);

impl Scope {
    /// The planning of a statement, which ends soon after `stop`.
    pub fn planning(stop: CancellationToken) -> Self {
        let budget_micros = AtomicU64::new(FOLDING_TIME.as_micros() as u64);
        Self(Arc::new(Inner { stop, work: Work::Planning { budget_micros } }))
    }

    /// A task that ends soon after `stop`, and takes its memory of `pool`.
    pub fn task(stop: CancellationToken, pool: Arc<dyn MemoryPool>) -> Self {
        Self(Arc::new(Inner { stop, work: Work::Task { pool, is_window: false } }))
    }

    /// The same for the windows of a task.
    pub fn window(stop: CancellationToken, pool: Arc<dyn MemoryPool>) -> Self {
        Self(Arc::new(Inner { stop, work: Work::Task { pool, is_window: true } }))
    }

    /// What this thread computes for now.
    pub fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Does `work` for this scope.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Before(Option<Scope>);
        impl Drop for Before {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _before = Before(CURRENT.replace(Some(self.clone())));
        work()
    }

    /// Does `work` for this scope, on whatever threads it is polled.
    pub async fn around<T>(self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(move |context| self.during(|| work.as_mut().poll(context))).await
    }

    /// Fails once the statement is to stop.
    pub fn check(&self) -> Result<(), DataFusionError> {
        if self.0.stop.is_cancelled() {
            return Err(DataFusionError::External(Box::new(Error::Cancelled)));
        }
        Ok(())
    }

    /// The memory of a task.
    pub fn pool(&self) -> Option<&Arc<dyn MemoryPool>> {
        match &self.0.work {
            Work::Task { pool, .. } => Some(pool),
            Work::Planning { .. } => None,
        }
    }

    /// True within windows.
    pub fn is_window(&self) -> bool {
        matches!(self.0.work, Work::Task { is_window: true, .. })
    }

    /// True while a statement is planned.
    pub fn is_planning(&self) -> bool {
        matches!(self.0.work, Work::Planning { .. })
    }

    /// True when a plan may compute nothing more of itself.
    pub fn is_spent(&self) -> bool {
        match &self.0.work {
            Work::Planning { budget_micros } => budget_micros.load(Ordering::Relaxed) == 0,
            Work::Task { .. } => false,
        }
    }

    /// Takes `time` off what a plan may compute of itself.
    pub fn spend(&self, time: Duration) {
        if let Work::Planning { budget_micros } = &self.0.work {
            let spent = time.as_micros() as u64;
            let left = budget_micros.load(Ordering::Relaxed).saturating_sub(spent);
            budget_micros.store(left, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("is_planning", &self.is_planning()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_goes_back_to_what_it_did_before() {
        assert!(Scope::current().is_none());
        let outer = Scope::planning(CancellationToken::new());
        outer.during(|| {
            let stop = CancellationToken::new();
            let inner = Scope::planning(stop.clone());
            inner.during(|| {
                stop.cancel();
                assert!(Scope::current().expect("the inner").check().is_err());
            });
            let current = Scope::current().expect("the outer");
            assert!(current.check().is_ok() && !current.is_spent());
            current.spend(FOLDING_TIME);
        });
        assert!(outer.is_spent());
        assert!(Scope::current().is_none());
    }

    #[test]
    fn a_panic_leaves_nothing_behind() {
        let scope = Scope::planning(CancellationToken::new());
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            scope.during(|| panic!("as a function may"));
        }));
        assert!(caught.is_err());
        assert!(Scope::current().is_none());
    }
}
