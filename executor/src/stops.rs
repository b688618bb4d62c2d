//! Which jobs are to stop. Ballista aborts their tasks, which notice it when they wait; these are told while they compute.

use std::collections::HashMap;
use std::sync::Arc;

use ballista_core::JobId;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// A token for each job that has tasks here, and how many of them hold it.
#[derive(Debug, Default)]
pub struct Stops(Mutex<HashMap<String, (CancellationToken, usize)>>);

impl Stops {
    /// The token of `job`, for one of its tasks.
    pub fn of(self: &Arc<Self>, job: &JobId) -> Stop {
        let mut jobs = self.0.lock();
        let (token, holders) = jobs.entry(job.as_str().to_owned()).or_default();
        *holders += 1;
        Stop { stops: Arc::clone(self), job: job.clone(), token: token.clone() }
    }

    /// Tells the tasks of `job` that run here.
    pub fn stop(&self, job: &str) {
        if let Some((token, _)) = self.0.lock().get(job) {
            token.cancel();
        }
    }
}

/// One task's hold on the token of its job.
#[derive(Debug)]
pub struct Stop {
    stops: Arc<Stops>,
    job: JobId,
    /// Cancelled when the job is to stop.
    pub token: CancellationToken,
}

impl Drop for Stop {
    fn drop(&mut self) {
        let mut jobs = self.stops.0.lock();
        if let Some((_, holders)) = jobs.get_mut(self.job.as_str()) {
            *holders -= 1;
            if *holders == 0 {
                jobs.remove(self.job.as_str());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_stopped_where_it_runs_and_forgotten_with_its_last_task() {
        let stops = Arc::new(Stops::default());
        let (one, other) = (stops.of(&JobId::from("a")), stops.of(&JobId::from("b")));
        stops.stop("a");
        assert!(one.token.is_cancelled() && !other.token.is_cancelled());
        drop(one);
        assert!(!stops.of(&JobId::from("a")).token.is_cancelled());
        drop(other);
        assert!(stops.0.lock().is_empty());
    }
}
