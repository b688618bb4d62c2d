//! Looks at the resident size many times a second and acts in steps before the cap is reached.
//!
//! Memory that nobody declares (decoded pages, what kernels allocate, intermediate results on their way)
//! grows between two requests to the pool too. The steps: less for operators, which then spill (by
//! [`CappedPool::look`]); no new task beside others; the largest task ends, to be run again in
//! smaller pieces.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch::{Receiver, channel};
use tracing::warn;

use super::CappedPool;
use super::resident::release_idle_memory;

/// Shares of the cap.
const TIGHT: f64 = 0.88;
const CRITICAL: f64 = 0.97;
const INTERVAL: Duration = Duration::from_millis(50);
const INTERVAL_WHEN_BUSY: Duration = Duration::from_millis(5);
/// Share of the cap past which the process is looked at more often.
const BUSY: f64 = 0.6;
/// At the cap for so long, after what is free was given back, before a task is ended.
const PATIENCE: Duration = Duration::from_millis(20);
/// Between two tasks ended: memory is given back only once the first has noticed.
const NEXT_VICTIM: Duration = Duration::from_millis(300);
const RELEASE_IDLE_EVERY: Duration = Duration::from_secs(5);

/// How near the process is to its cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Not near.
    Calm,
    /// No further task is to start beside others.
    Tight,
    /// The largest task is to end.
    Critical,
}

impl Pressure {
    /// The pressure of a process with so many bytes resident below a cap of `cap_bytes`.
    fn at(resident_bytes: u64, cap_bytes: u64) -> Self {
        let share = resident_bytes as f64 / cap_bytes as f64;
        match share {
            share if share >= CRITICAL => Self::Critical,
            share if share >= TIGHT => Self::Tight,
            _ => Self::Calm,
        }
    }
}

/// Watches the process of `pool` from a thread of its own, for as long as somebody else holds the pool.
pub fn watch(pool: &Arc<CappedPool>) -> Receiver<Pressure> {
    let (sender, receiver) = channel(Pressure::Calm);
    let weak = Arc::downgrade(pool);
    let cap_bytes = pool.cap().0;
    let look = move || {
        let mut ended_at: Option<Instant> = None;
        let mut critical_since: Option<Instant> = None;
        let mut released_at = Instant::now();
        while let Some(pool) = weak.upgrade() {
            let resident_bytes = pool.look();
            let pressure = Pressure::at(resident_bytes, cap_bytes);
            sender.send_if_modified(|before| std::mem::replace(before, pressure) != pressure);
            let since = *critical_since.get_or_insert_with(Instant::now);
            if pressure != Pressure::Critical {
                critical_since = None;
            } else if since.elapsed() >= PATIENCE
                && ended_at.is_none_or(|at| at.elapsed() >= NEXT_VICTIM)
                && let Some(task) = pool.largest_task()
            {
                let reserved_bytes = task.reserved_bytes();
                warn!(
                    resident_bytes,
                    cap_bytes, reserved_bytes, "the largest task ends: the process is at its cap"
                );
                task.condemn();
                ended_at = Some(Instant::now());
            }
            drop(pool);
            if released_at.elapsed() >= RELEASE_IDLE_EVERY {
                release_idle_memory();
                released_at = Instant::now();
            }
            let is_busy = resident_bytes as f64 > cap_bytes as f64 * BUSY;
            std::thread::sleep(if is_busy { INTERVAL_WHEN_BUSY } else { INTERVAL });
        }
    };
    std::thread::Builder::new()
        .name("memory".into())
        .spawn(look)
        .expect("a thread can be started when the process starts");
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_rises_towards_the_cap() {
        let at = |share: f64| Pressure::at((share * 1e9) as u64, 1_000_000_000);
        assert_eq!(
            [at(0.5), at(0.9), at(0.98), at(1.2)],
            [Pressure::Calm, Pressure::Tight, Pressure::Critical, Pressure::Critical]
        );
    }
}
