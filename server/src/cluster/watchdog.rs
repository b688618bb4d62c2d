//! Finds a job on which nothing happens although something could: an end of a task that was lost on its way, or a task
//! that nobody runs. Ballista would wait for ever.

use std::time::{Duration, Instant};

use ballista_core::JobId;
use engine::Error;

use super::Cluster;
use super::membership::Member;
use super::slots::Progress;

/// So many leases of executors go by while nothing happens to a job that is held for stuck: ten seconds where machines are
/// not too busy. Reports come twice a second, and tasks start at once.
const LEASES: u32 = 5;
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Resolves, with what its query is told, when `job`, called `name`, is stuck.
pub async fn stuck(cluster: &Cluster, job: &JobId, name: &str) -> Error {
    let mut last: Option<Progress> = None;
    let mut since = Instant::now();
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let progress = cluster.scheduler.progress(job).await;
        if progress != last || progress.as_ref().is_none_or(|progress| may_go_on(cluster, progress, name)) {
            since = Instant::now();
        }
        last = progress;
        if since.elapsed() > cluster.membership.lease_max() * LEASES {
            let seconds = since.elapsed().as_secs();
            return Error::ExecutorLost {
                message: format!("no executor did anything for it for {seconds} s"),
            };
        }
    }
}

/// True where an executor computes for the job, as far as it tells, or every slot that the job could have is taken.
fn may_go_on(cluster: &Cluster, progress: &Progress, name: &str) -> bool {
    let placed = cluster.membership.placed(name);
    let members = cluster.members();
    let mut its = members.iter().filter(|member| placed.contains(member.report.executor_id.as_str()));
    if progress.running_on.is_empty() {
        let is_taken = |member: &Member| member.report.tasks_running >= member.report.threads;
        return !placed.is_empty() && its.all(is_taken);
    }
    members.iter().any(|member| {
        progress.running_on.contains(member.report.executor_id.as_str()) && member.report.tasks_running > 0
    })
}
