//! The threads that plan, and who may have one.
//!
//! Planning computes without a pause, and what a statement asks of it may take as long as its timeout: a session that
//! plans holds a thread. They grow to a bound, of which a role has a share; its other statements queue for that, and those
//! of other roles are planned meanwhile. What is told to stop stops at its next pause, at the next rule of the planner, or
//! at the next value that it computes.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use engine::scope::Scope;
use engine::{Error, Result, panics};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// A role has so much of the threads; what is a moment's work has threads of its own.
const ROLE_SHARE: usize = 4;

/// No role has this object identifier.
const NOBODY: u32 = 0;

/// Who plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planned {
    /// A statement of the role with this object identifier.
    Role(u32),
    /// One that is so little that it waits for nobody.
    Little,
    /// Not a statement: files are looked at, for their columns.
    Files,
}

/// The threads that plan.
#[derive(Debug)]
pub struct Planning {
    runtime: Handle,
    places: Arc<Semaphore>,
    little: Arc<Semaphore>,
    roles: Mutex<HashMap<u32, Arc<Semaphore>>>,
    role_max: usize,
}

impl Planning {
    /// At most `threads_max` at once, on the blocking threads of `runtime`, whose stacks are large.
    pub fn new(runtime: Handle, threads_max: usize) -> Self {
        Self {
            runtime,
            places: Arc::new(Semaphore::new(threads_max)),
            little: Arc::new(Semaphore::new(threads_max)),
            roles: Mutex::default(),
            role_max: (threads_max / ROLE_SHARE).max(1),
        }
    }

    /// Does `work` on a thread of its own, in a place of `who`. Fails with 57014 when it takes longer than `limit`, the
    /// wait for a place included; it is given up then, as when nobody waits for it any more.
    pub async fn run<T: Send + 'static>(
        &self,
        who: Planned,
        limit: Option<Duration>,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let stop = CancellationToken::new();
        // Dropped with the one who waits.
        let _stop = stop.clone().drop_guard();
        let planned = async {
            let places = self.places(who).await?;
            let (runtime, scope) = (self.runtime.clone(), Scope::planning(stop.clone()));
            let working = self.runtime.spawn_blocking(move || {
                // Kept until the work has ended, whoever has stopped waiting for it.
                let _places = places;
                runtime.block_on(async {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => Err(Error::Cancelled),
                        outcome = scope.around(work) => outcome,
                    }
                })
            });
            match working.await {
                Ok(outcome) => outcome,
                Err(error) => Err(match error.try_into_panic() {
                    Ok(panic) => panics::error_of(panic.as_ref(), "planning"),
                    Err(_) => Error::ShuttingDown,
                }),
            }
        };
        match tokio::time::timeout(limit.unwrap_or(Duration::MAX), planned).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::PlanningTimeout),
        }
    }

    async fn places(&self, who: Planned) -> Result<Vec<tokio::sync::OwnedSemaphorePermit>> {
        let closed = |_| Error::ShuttingDown;
        let role = match who {
            Planned::Role(role) => role,
            Planned::Files => NOBODY,
            Planned::Little => {
                return Ok(vec![Arc::clone(&self.little).acquire_owned().await.map_err(closed)?]);
            }
        };
        // First of its own: what queues there holds nothing that others want.
        let own = Arc::clone(
            self.roles.lock().entry(role).or_insert_with(|| Arc::new(Semaphore::new(self.role_max))),
        );
        let own = own.acquire_owned().await.map_err(closed)?;
        Ok(vec![own, Arc::clone(&self.places).acquire_owned().await.map_err(closed)?])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_role_that_holds_all_its_threads_leaves_others_theirs() {
        let planning = Arc::new(Planning::new(Handle::current(), 8));
        let (free, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let stuck: Vec<_> = (0..10)
            .map(|_| {
                let (planning, held) = (Arc::clone(&planning), Arc::clone(&held));
                tokio::spawn(async move {
                    let work = async move {
                        let _ = held.lock().recv();
                        Ok(())
                    };
                    planning.run(Planned::Role(1), None, work).await
                })
            })
            .collect();
        while planning.places.available_permits() > 6 {
            tokio::task::yield_now().await;
        }
        for who in [Planned::Role(2), Planned::Little] {
            assert_eq!(
                planning.run(who, Some(Duration::from_secs(5)), async { Ok(7) }).await.expect("planned"),
                7
            );
        }
        drop(free);
        for one in stuck {
            one.await.expect("it ended").expect("it was planned");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_nobody_waits_for_is_told_to_stop() {
        let planning = Planning::new(Handle::current(), 1);
        let (told, stopped) = mpsc::channel();
        let work = async move {
            while Scope::current().expect("it is planned").check().is_ok() {
                std::thread::yield_now();
            }
            let _ = told.send(());
            Ok(())
        };
        let outcome = planning.run(Planned::Role(1), Some(Duration::from_millis(50)), work).await;
        assert!(matches!(outcome, Err(Error::PlanningTimeout)), "{outcome:?}");
        tokio::task::spawn_blocking(move || stopped.recv_timeout(Duration::from_secs(5)))
            .await
            .expect("a thread")
            .expect("it stopped");
        planning.run(Planned::Role(1), None, async { Ok(()) }).await.expect("the place is free again");
    }
}
