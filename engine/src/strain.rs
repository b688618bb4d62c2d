//! How much longer than usual others may be silent, by what this process sees of its machine.
//!
//! A process that has ended, or whose machine is gone, and one that waits for its turn on a busy machine look alike from
//! outside. What tells them apart: timers of ours that fire late say how long a thread waits for its turn here, and the
//! kernel says which share of the time something waited for memory or, where our threads could not be put first, for a
//! processor (`/proc/pressure`, which not every system has).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The most that is allowed for.
pub const ALLOWANCE_MAX: Duration = Duration::from_secs(8);
/// Lateness counts for so long.
const REMEMBERED: Duration = Duration::from_secs(10);
/// What was seen late once is seen later still.
const TIMES_LATE: u32 = 4;
/// Of a timer, that every machine has.
const USUAL_LATENESS: Duration = Duration::from_millis(50);
/// Share of the time in which something waits, up to which all have their turn soon.
const USUAL_PRESSURE: f64 = 0.5;

/// What was seen of the machine's being busy.
#[derive(Debug, Default)]
pub struct Strain {
    late: Mutex<VecDeque<(Instant, Duration)>>,
    is_first: bool,
}

impl Strain {
    /// Of a process whose threads that watch others run before those that compute, or do not (see
    /// [`crate::priority::come_first`]).
    pub fn new(is_first: bool) -> Self {
        Self { late: Mutex::default(), is_first }
    }

    /// A timer fired so long after its time.
    pub fn late(&self, by: Duration) {
        let Some(by) = by.checked_sub(USUAL_LATENESS) else { return };
        let mut late = self.late.lock();
        late.retain(|(at, _)| at.elapsed() < REMEMBERED);
        late.push_back((Instant::now(), by));
    }

    /// How much longer than usual others may be silent.
    pub fn allowance(&self) -> Duration {
        let late = self.late.lock();
        let latest = late.iter().filter(|(at, _)| at.elapsed() < REMEMBERED).map(|(_, by)| *by).max();
        let by_timers = latest.unwrap_or_default() * TIMES_LATE;
        let processors = if self.is_first { 0.0 } else { share("cpu") - USUAL_PRESSURE };
        // What waits for memory waits wherever it stands in the queue for a processor.
        let by_pressure = [processors / (1.0 - USUAL_PRESSURE), share("memory")]
            .map(|share| ALLOWANCE_MAX.mul_f64(share.clamp(0.0, 1.0)));
        by_pressure.into_iter().chain([by_timers]).max().unwrap_or_default().min(ALLOWANCE_MAX)
    }
}

/// The share of the last ten seconds in which something waited for `resource`; 0 where the system does not tell.
fn share(resource: &str) -> f64 {
    let told = std::fs::read_to_string(format!("/proc/pressure/{resource}")).unwrap_or_default();
    share_of(&told).unwrap_or(0.0)
}

fn share_of(told: &str) -> Option<f64> {
    let some = told.lines().find(|line| line.starts_with("some "))?;
    let percent = some.split_ascii_whitespace().find_map(|part| part.strip_prefix("avg10="))?;
    Some(percent.parse::<f64>().ok()? / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_timers_stretch_what_is_allowed_up_to_a_bound() {
        let strain = Strain::new(true);
        strain.late(USUAL_LATENESS);
        let quiet = strain.allowance();
        strain.late(Duration::from_millis(1050));
        assert!(strain.allowance() >= Duration::from_secs(4).max(quiet));
        strain.late(Duration::from_secs(60));
        assert_eq!(strain.allowance(), ALLOWANCE_MAX);
    }

    #[test]
    fn the_kernels_figures_are_read() {
        let told = "some avg10=37.50 avg60=9.00 avg300=1.00 total=123\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=9\n";
        assert_eq!(share_of(told), Some(0.375));
        assert_eq!(share_of(""), None);
        assert_eq!(share_of("some avg10=x"), None);
    }
}
