//! Runs one plan as a job, and again as a whole when an executor is lost.
//!
//! Rows leave only after the job has succeeded, so running it again can never repeat one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ballista_core::JobId;
use ballista_core::serde::protobuf::{JobStatus, PartitionLocation, job_status::Status};
use datafusion::execution::context::SessionContext;
use engine::{Error, ExecutorId, Result};
use tokio::sync::{broadcast, mpsc};
use tracing::{info, warn};

use super::{Cluster, failure, fetch, watchdog};
use crate::query::{Permit, Plan, QueryContext, Rows};
use crate::session::Notice;

/// Between two runs, so that whatever failed may settle.
const RETRY_WAIT: Duration = Duration::from_millis(200);

/// How one run of a job ended, when it did not succeed.
enum Ended {
    /// An executor was lost, or something passing happened: run it again. With it, the tasks that had been begun.
    MayPass(Error, usize),
    /// It would fail again.
    Failed(Error),
}

/// Runs `plan` until it succeeds, fails for good, or has been run as often as allowed.
pub async fn run(cluster: &Cluster, context: &QueryContext, plan: Plan, permit: Permit) -> Result<Rows> {
    let session = Arc::new(SessionContext::new_with_state(plan.state.clone()));
    let _placement = cluster.membership.place(context.id.as_str(), &plan.tables);
    let retries_max = cluster.config.cluster.executor_loss_retries;
    let mut retries = 0;
    let mut recovery = Recovery::default();
    loop {
        let started_at = Instant::now();
        wait_for_executors(cluster, &plan).await?;
        let mut losses = cluster.membership.losses();
        let ended = match run_once(cluster, context, &session, &plan, &mut losses).await {
            Ok((job, locations)) => {
                let schema = plan.physical.schema();
                match fetch::rows(cluster, job, schema, locations).await {
                    Ok((rows, are_here)) => {
                        context.told.lock().extend(recovery.notice());
                        return Ok(if are_here { rows } else { rows.holding(permit) });
                    }
                    Err(error) if error.is_passing() => Ended::MayPass(error, 0),
                    Err(error) => Ended::Failed(error),
                }
            }
            Err(ended) => ended,
        };
        let error = match ended {
            Ended::Failed(error) => return Err(error),
            Ended::MayPass(error, _) if retries >= retries_max => return Err(given_up(retries, error)),
            Ended::MayPass(error, tasks) => {
                recovery.note(&error, tasks, started_at.elapsed() + RETRY_WAIT);
                error
            }
        };
        retries += 1;
        context.coordinator.queries.retried(&context.id);
        warn!(query.id = %context.id, retries, %error, "running the query again");
        tokio::time::sleep(RETRY_WAIT).await;
    }
}

/// What runs that came to nothing have cost.
#[derive(Debug, Default)]
struct Recovery {
    causes: Vec<String>,
    tasks: usize,
    time: Duration,
}

impl Recovery {
    fn note(&mut self, error: &Error, tasks: usize, time: Duration) {
        self.causes.push(match error {
            Error::ExecutorLost { which } => format!("executor {which} was lost"),
            other => other.to_string(),
        });
        self.tasks += tasks;
        self.time += time;
    }

    fn notice(&self) -> Option<Notice> {
        if self.causes.is_empty() {
            return None;
        }
        let (causes, tasks) = (self.causes.join("; "), self.tasks);
        let seconds = self.time.as_secs_f64();
        let message =
            format!("{causes}: the query was run again, {tasks} tasks anew, which added {seconds:.1} s");
        Some(Notice::info("00000", message))
    }
}

/// After the last attempt: what failed, or that executors kept being lost.
fn given_up(retries: usize, error: Error) -> Error {
    if !matches!(error, Error::ExecutorLost { .. }) {
        return error;
    }
    Error::ExecutorsLost {
        message: format!("the query was run {} times and each time lost executors: {error}", retries + 1),
        hint: "See sys.executors for which executors are alive, and the server's log for why others ended."
            .into(),
    }
}

/// Waits until an executor is alive that can read the plan's tables.
async fn wait_for_executors(cluster: &Cluster, plan: &Plan) -> Result<()> {
    let grace = cluster.config.cluster.executor_grace;
    let wait = async {
        loop {
            let changed = cluster.membership.changed();
            tokio::pin!(changed);
            // Enabled before looking, so that a change in between is not missed.
            changed.as_mut().enable();
            if cluster.can_read(&plan.tables) {
                return;
            }
            changed.await;
        }
    };
    tokio::time::timeout(grace.0, wait).await.map_err(|_| {
        let members = cluster.membership.members();
        let message = if !members.is_empty() && members.iter().all(|member| member.draining_since.is_some()) {
            format!("all executors were told to end, and none came in their place for {grace}")
        } else if members.is_empty() {
            format!("no executor was alive for {grace}")
        } else {
            "no executor can read the tables that lie on this machine's disk".to_owned()
        };
        Error::ExecutorsLost {
            message,
            hint: "Start the server with --executors N, join one with sluice executor (with --shared-path for tables on local paths), or SET sluice.route = local.".into(),
        }
    })
}

async fn run_once(
    cluster: &Cluster,
    context: &QueryContext,
    session: &Arc<SessionContext>,
    plan: &Plan,
    losses: &mut broadcast::Receiver<ExecutorId>,
) -> std::result::Result<(CleanUp, Vec<PartitionLocation>), Ended> {
    let name = context.id.as_str();
    let submitted = cluster.scheduler.submit(name, Arc::clone(session), Arc::clone(&plan.physical)).await;
    let (job, mut states) = submitted.map_err(Ended::Failed)?;
    info!(query.id = %context.id, job.id = %job, "job submitted");
    // Until it has succeeded, dropping the guard cancels the job: also when the client leaves.
    let mut guard = CleanUp::cancelling(cluster, job.clone());
    tokio::select! {
        biased;
        // A loss first: what Ballista makes of a job after one is what must never be trusted.
        lost = losses.recv() => {
            let tasks = cluster.scheduler.tasks_begun(&job).await;
            drop(guard);
            let which = lost.map_or_else(|_| "several".to_owned(), |id| id.to_string());
            Err(Ended::MayPass(Error::ExecutorLost { which }, tasks))
        }
        error = watchdog::stuck(cluster, &job, name) => {
            let tasks = cluster.scheduler.tasks_begun(&job).await;
            warn!(query.id = %context.id, job.id = %job, "the job is stuck");
            drop(guard);
            Err(Ended::MayPass(error, tasks))
        }
        outcome = outcome(&mut states) => match outcome {
            Ok(locations) if losses.is_empty() => {
                guard.succeeded();
                info!(query.id = %context.id, "job succeeded");
                Ok((guard, locations))
            }
            Ok(_) => Err(Ended::MayPass(Error::ExecutorLost { which: "one".into() }, 0)),
            Err(error) => {
                guard.succeeded();
                let tasks = cluster.scheduler.tasks_begun(&job).await;
                Err(sort_failure(error, tasks, losses).await)
            }
        },
    }
}

async fn outcome(states: &mut mpsc::Receiver<JobStatus>) -> Result<Vec<PartitionLocation>> {
    while let Some(state) = states.recv().await {
        match state.status {
            Some(Status::Successful(job)) => return Ok(job.partition_location),
            Some(Status::Failed(job)) => return Err(failure::error_of(&job.error)),
            Some(Status::Queued(_) | Status::Running(_)) | None => {}
        }
    }
    Err(Error::Io { message: "the scheduler lost the job".into() })
}

/// A job that failed just before its executor is found lost has often failed because of it.
async fn sort_failure(error: Error, tasks: usize, losses: &mut broadcast::Receiver<ExecutorId>) -> Ended {
    const LOSS_MAY_FOLLOW: Duration = Duration::from_millis(2500);
    if error.is_passing() {
        return Ended::MayPass(error, tasks);
    }
    if !failure::may_be_owed_to_loss(&error) {
        return Ended::Failed(error);
    }
    match tokio::time::timeout(LOSS_MAY_FOLLOW, losses.recv()).await {
        Ok(_) => Ended::MayPass(error, tasks),
        Err(_) => Ended::Failed(error),
    }
}

/// Cancels a job that has not succeeded, and removes the files of one that has, when dropped.
pub struct CleanUp {
    scheduler: super::scheduler::Scheduler,
    job: JobId,
    is_running: bool,
}

impl CleanUp {
    fn cancelling(cluster: &Cluster, job: JobId) -> Self {
        cluster.membership.begin(&job);
        Self { scheduler: cluster.scheduler.clone(), job, is_running: true }
    }

    fn succeeded(&mut self) {
        self.is_running = false;
    }
}

impl Drop for CleanUp {
    fn drop(&mut self) {
        self.scheduler.membership().end(&self.job);
        if self.is_running {
            let (scheduler, job) = (self.scheduler.clone(), self.job.clone());
            tokio::spawn(async move { scheduler.cancel(&job).await });
        } else {
            self.scheduler.clean_up(&self.job);
        }
    }
}
