//! Which account the tasks of a job belong to, and which place of its executor each has.

use std::collections::HashMap;
use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::serde::protobuf::TaskStatus;
use parking_lot::Mutex;

use super::live::LiveProfile;

/// Which account the tasks of a job belong to.
#[derive(Debug, Default)]
pub struct JobProfiles {
    jobs: Mutex<HashMap<String, Arc<LiveProfile>>>,
    /// By executor: what has each of its places.
    places: Mutex<HashMap<String, Vec<Option<TaskName>>>>,
}

/// Job, stage, task.
type TaskName = (String, usize, usize);

/// A job's place among them; given up when dropped.
#[derive(Debug)]
pub struct JobProfile {
    profiles: Arc<JobProfiles>,
    job: String,
}

impl Drop for JobProfile {
    fn drop(&mut self) {
        self.profiles.jobs.lock().remove(&self.job);
    }
}

impl JobProfiles {
    /// What the tasks of `job` tell belongs to `profile`, until the guard is dropped.
    pub fn enter(self: &Arc<Self>, job: &JobId, profile: &Arc<LiveProfile>) -> JobProfile {
        let job = job.as_str().to_owned();
        self.jobs.lock().insert(job.clone(), Arc::clone(profile));
        JobProfile { profiles: Arc::clone(self), job }
    }

    /// A task of a stage of `job` is sent to an executor, to compute `partitions` of the stage.
    pub fn sent(&self, executor: &str, job: &JobId, stage_id: usize, task_id: usize, partitions: &[usize]) {
        let Some(profile) = self.of(job.as_str()) else { return };
        let slot = {
            let mut all = self.places.lock();
            let places = all.entry(executor.to_owned()).or_default();
            let at = places.iter().position(Option::is_none).unwrap_or_else(|| {
                places.push(None);
                places.len() - 1
            });
            places[at] = Some((job.as_str().to_owned(), stage_id, task_id));
            at as u32
        };
        let partitions = partitions.iter().map(|partition| *partition as u32).collect();
        profile.sent(executor, stage_id, task_id, partitions, slot);
    }

    /// An executor did not take the tasks of a job that were sent to it.
    pub fn refused(&self, job: &JobId, executor: &str) {
        if let Some(places) = self.places.lock().get_mut(executor) {
            let is_it = |(of, ..): &TaskName| of == job.as_str();
            places
                .iter_mut()
                .filter(|place| place.as_ref().is_some_and(is_it))
                .for_each(|place| *place = None);
        }
        if let Some(profile) = self.of(job.as_str()) {
            profile.refused(executor);
        }
    }

    /// A task ended on `executor`; see [`LiveProfile::ended`].
    pub fn ended(&self, status: &TaskStatus, executor: &str, counts: bool) {
        if let Some(places) = self.places.lock().get_mut(executor) {
            let (stage, task) = (status.stage_id as usize, status.task_id as usize);
            let is_it = |(job, s, t): &TaskName| *job == status.job_id && (*s, *t) == (stage, task);
            places
                .iter_mut()
                .filter(|place| place.as_ref().is_some_and(is_it))
                .for_each(|place| *place = None);
        }
        if let Some(profile) = self.of(&status.job_id) {
            profile.ended(status, executor, counts);
        }
    }

    /// An executor is gone.
    pub fn gone(&self, executor: &str) {
        self.places.lock().remove(executor);
    }

    /// The account of `job`, while it runs.
    pub fn of(&self, job: &str) -> Option<Arc<LiveProfile>> {
        self.jobs.lock().get(job).cloned()
    }
}
