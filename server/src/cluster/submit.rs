//! Runs one plan as a job. When an executor is lost, the job goes on with what is finished of it, or is run again as a
//! whole where that is little.
//!
//! Rows leave only after the job has succeeded, so running any of it again can never repeat one.

use std::sync::Arc;
use std::time::Duration;

use ballista_core::JobId;
use ballista_core::serde::protobuf::{JobStatus, PartitionLocation, job_status::Status};
use datafusion::execution::context::SessionContext;
use engine::{ByteSize, Error, ExecutorId, INTERMEDIATE_RESULTS, Result};
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use tracing::{info, warn};

use super::failure;
use super::mending::{Damage, Recovery, loss_may_follow};
use super::recovery::{Outcome, Trouble};
use super::{Cluster, fetch, mending, watchdog};
use crate::profile::{self, TaskState};
use crate::query::{Permit, Plan, QueryContext, Rows};

/// Between two runs, so that whatever failed may settle.
const RETRY_WAIT: Duration = Duration::from_millis(200);

/// Executors that are lost one after the other within so long cost one try.
const LOSSES_FOLLOW_IN: Duration = Duration::from_secs(1);

/// How one run of a job ended, when it did not succeed.
enum Ended {
    /// An executor was lost, or something passing happened: run it again. With it, the tasks that had been begun.
    MayPass(Error, usize),
    /// It would fail again.
    Failed(Error),
}

/// True for what a store did not answer, and not another executor.
fn is_of_store(error: &Error) -> bool {
    error.sqlstate().as_str() == "58030" && !error.to_string().contains(INTERMEDIATE_RESULTS)
}

/// Runs `plan` until it succeeds, fails for good, or has been run as often as allowed.
pub async fn run(cluster: &Cluster, context: &QueryContext, plan: Plan, permit: Permit) -> Result<Rows> {
    let session = Arc::new(SessionContext::new_with_state(plan.state.clone()));
    let _placement = cluster.membership.place(context.id.as_str(), &plan);
    let retries_max = cluster.config.cluster.executor_loss_retries;
    let mut retries = 0;
    let mut retried_at = None;
    let mut recovery = Recovery::default();
    loop {
        let started_at = Instant::now();
        wait_for_executors(cluster, context, &plan).await?;
        let ended = match run_once(cluster, context, &session, &plan, &mut recovery).await {
            Ok((job, locations)) => match fetched(cluster, &plan, job, locations, started_at.elapsed()).await
            {
                Ok((rows, are_here)) => {
                    context.told.lock().extend(recovery.notice());
                    return Ok(if are_here { rows } else { rows.holding(permit) });
                }
                Err(ended) => ended,
            },
            Err(ended) => ended,
        };
        let error = match ended {
            Ended::Failed(error) => return Err(error),
            // A store that refused for as long as it is asked again would do so for as long once more.
            Ended::MayPass(error, _)
                if is_of_store(&error) && started_at.elapsed() >= cluster.config.stores.retry_timeout.0 =>
            {
                return Err(error);
            }
            Ended::MayPass(error, _) if retries >= retries_max && !follows(retried_at) => {
                return Err(given_up(context, retries, error));
            }
            Ended::MayPass(error, tasks) => {
                let cost = started_at.elapsed() + RETRY_WAIT;
                recovery.run_again(&error, tasks, cost);
                context.profile.recovered(profile::Recovery {
                    at_ms: profile::now_ms(),
                    cause: error.to_string(),
                    kept_tasks: 0,
                    rerun_tasks: tasks,
                    added_ms: cost.as_secs_f64() * 1000.0,
                    was_whole: true,
                });
                context.profile.begin_again();
                error
            }
        };
        if !follows(retried_at) {
            retries += 1;
            retried_at = Some(Instant::now());
        }
        context.coordinator.queries.retried(&context.id);
        warn!(query.id = %context.id, retries, %error, "running the query again");
        tokio::time::sleep(RETRY_WAIT).await;
    }
}

/// True for a loss that follows another so closely that they are one.
fn follows(retried_at: Option<Instant>) -> bool {
    retried_at.is_some_and(|at| at.elapsed() <= LOSSES_FOLLOW_IN)
}

/// After the last attempt: what failed, or that executors kept being lost, to the server or to each other.
fn given_up(context: &QueryContext, retries: usize, error: Error) -> Error {
    let what = match &error {
        Error::ExecutorLost { message } => format!("executors were lost, at last: {message}"),
        error if error.to_string().contains(INTERMEDIATE_RESULTS) => {
            "executors were lost, or, as at last, could not read what others had computed".to_owned()
        }
        _ => return error,
    };
    warn!(query.id = %context.id, %error, "the query is not run again");
    let where_it_was = where_it_was(&context.profile.snapshot());
    Error::ExecutorsLost {
        message: match retries {
            0 => format!("the query was run once, and {what}{where_it_was}"),
            _ => format!("the query was run {} times, and each time {what}{where_it_was}", retries + 1),
        },
        hint: "See sys.executors for which executors are alive, and the server's log for why others ended, or did not answer."
            .into(),
    }
}

/// The stage whose task was lost or failed last, and what its tasks had of memory: a stage that kills executors is the first
/// suspect.
fn where_it_was(profile: &profile::Profile) -> String {
    let is_last_run = |task: &&profile::Task| task.run == profile.runs;
    let has_failed = |task: &&profile::Task| matches!(task.state, TaskState::Lost | TaskState::Failed);
    let failed = profile.tasks.iter().filter(is_last_run).filter(has_failed);
    let last = failed.max_by(|a, b| a.ended_at_ms.unwrap_or(0.0).total_cmp(&b.ended_at_ms.unwrap_or(0.0)));
    let Some(stage) = last.and_then(|task| profile.stage(task.stage_id)) else { return String::new() };
    let operator = stage.operators.first().map_or("its tasks", |operator| operator.name.as_str());
    let share = profile.memory.as_ref().map(|memory| ByteSize(memory.task_share_bytes));
    let memory = match (stage.peak_task_bytes, share) {
        (Some(peak), Some(share)) => format!(", whose tasks held up to {} of {share}", ByteSize(peak)),
        _ => String::new(),
    };
    format!(", in stage {} ({operator}{memory})", stage.stage_id)
}

/// Waits until an executor is alive that can read the plan's tables.
async fn wait_for_executors(cluster: &Cluster, context: &QueryContext, plan: &Plan) -> Result<()> {
    let grace = cluster.config.cluster.executor_grace;
    let wait = async {
        loop {
            let changed = cluster.membership.changed();
            tokio::pin!(changed);
            // Enabled before looking, so that a change in between is not missed.
            changed.as_mut().enable();
            if cluster.can_read(&plan.tables) && !cluster.membership.placed(context.id.as_str()).is_empty() {
                return;
            }
            changed.await;
        }
    };
    tokio::time::timeout(grace.0, wait).await.map_err(|_| {
        if cluster.can_read(&plan.tables) {
            return Error::DiskFull { message: "no space left for shuffle files on any executor".into() };
        }
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
    recovery: &mut Recovery,
) -> std::result::Result<(CleanUp, Vec<PartitionLocation>), Ended> {
    let name = context.id.as_str();
    let started_at = Instant::now();
    let mut losses = cluster.membership.losses();
    let submitting = cluster.membership.submitting().await;
    let submitted = cluster.scheduler.submit(name, Arc::clone(session), Arc::clone(&plan.physical)).await;
    let (job, mut states) = submitted.map_err(Ended::Failed)?;
    let _profile = cluster.profiles.enter(&job, &context.profile);
    info!(query.id = %context.id, job.id = %job, "job submitted");
    // Until it has succeeded, dropping the guard cancels the job: also when the client leaves.
    let (mut guard, mut troubles) = CleanUp::cancelling(cluster, job.clone());
    drop(submitting);
    let mut damage = Damage::default();
    let mut has_lost = false;
    let mut stuck = std::pin::pin!(watchdog::stuck(cluster, &job, name));
    loop {
        tokio::select! {
            biased;
            lost = losses.recv() => {
                has_lost = true;
                let lost = lost.ok();
                lost.iter().for_each(|executor| context.profile.lost(executor));
                damage.lost(lost);
            }
            Some(trouble) = troubles.recv() => {
                if let Some(executor) = &trouble.full {
                    cluster.membership.avoid(name, executor);
                }
                damage.troubled(trouble);
            }
            () = settled(cluster, &job, &damage), if damage.is_there() => {
                let repaired = mend(cluster, context, plan, &job, &damage, recovery).await;
                if let Err(ended) = repaired {
                    drop(guard);
                    return Err(ended);
                }
                damage = Damage::default();
            }
            error = &mut stuck => {
                let tasks = cluster.scheduler.tasks_begun(&job).await;
                warn!(query.id = %context.id, job.id = %job, "the job is stuck");
                drop(guard);
                return Err(Ended::MayPass(error, tasks));
            }
            outcome = outcome(&mut states) => match outcome {
                Ok(mut locations) => {
                    while let Ok(lost) = losses.try_recv() {
                        damage.lost(Some(lost));
                    }
                    if damage.is_there() {
                        damage.settled(cluster, started_at.elapsed()).await;
                    }
                    guard.succeeded();
                    if !cluster.scheduler.find(&mut locations).await {
                        return Err(Ended::MayPass(damage.error(), 0));
                    }
                    info!(query.id = %context.id, "job succeeded");
                    return Ok((guard, locations));
                }
                Err(error) => {
                    guard.succeeded();
                    let tasks = cluster.scheduler.tasks_begun(&job).await;
                    return Err(sort_failure(cluster, error, tasks, has_lost, &mut losses).await);
                }
            },
        }
    }
}

/// Resolves when nothing is to be waited for any more before the job goes on.
async fn settled(cluster: &Cluster, job: &JobId, damage: &Damage) {
    let finished = cluster.scheduler.finished(job).await;
    // It is run again as a whole, then.
    let is_little = finished.all < cluster.config.cluster.kept_work_min.0;
    damage.settled(cluster, if is_little { Duration::ZERO } else { finished.out_of_reach }).await;
}

/// The rows of a job that has succeeded after `took`, and whether all of them are here. Those of an executor that ends
/// meanwhile are asked of the one that has its files then.
async fn fetched(
    cluster: &Cluster,
    plan: &Plan,
    job: CleanUp,
    mut locations: Vec<PartitionLocation>,
    took: Duration,
) -> std::result::Result<(Rows, bool), Ended> {
    const TRIES_MAX: usize = 3;
    let job = Arc::new(job);
    let mut tries = 0;
    loop {
        let mut losses = cluster.membership.losses();
        let rows = fetch::rows(cluster, Arc::clone(&job), plan.physical.schema(), locations.clone()).await;
        let error = match rows {
            Ok(rows) => return Ok(rows),
            Err(error) if error.is_passing() => error,
            Err(error) => return Err(Ended::Failed(error)),
        };
        tries += 1;
        let mut damage = Damage::default();
        damage.troubled(Trouble {
            error: Error::ExecutorLost { message: "an executor was lost".into() },
            full: None,
        });
        // It is noticed sooner or later than the rows are missed.
        let _ = tokio::time::timeout(RETRY_WAIT, async { damage.lost(losses.recv().await.ok()) }).await;
        damage.settled(cluster, took).await;
        if tries == TRIES_MAX || !cluster.scheduler.find(&mut locations).await {
            return Err(Ended::MayPass(error, 0));
        }
        info!(%error, "a result is asked for again");
    }
}

/// Lets the job go on after `damage`, with what is finished of it.
async fn mend(
    cluster: &Cluster,
    context: &QueryContext,
    plan: &Plan,
    job: &JobId,
    damage: &Damage,
    recovery: &mut Recovery,
) -> std::result::Result<(), Ended> {
    let started_at = Instant::now();
    if let Some(error) = damage.unexplained() {
        return Err(Ended::Failed(error));
    }
    if let Some(error) = damage.has_no_room()
        && !damage.has_loss()
        && cluster.membership.placed(context.id.as_str()).is_empty()
    {
        return Err(Ended::Failed(error));
    }
    wait_for_executors(cluster, context, plan).await.map_err(Ended::Failed)?;
    let tasks = cluster.scheduler.tasks_begun(job).await;
    let worth = cluster.config.cluster.kept_work_min.0;
    match cluster.scheduler.repair(job, worth).await {
        // An earlier repair has seen to it, or there is nothing more to see to.
        Ok(Outcome::Unconcerned | Outcome::Ended) => Ok(()),
        Ok(Outcome::GoesOn(repair)) => {
            let (kept, anew) = (repair.kept, repair.anew);
            let cause = damage.error();
            info!(query.id = %context.id, job.id = %job, kept, anew, %cause, "the job goes on");
            context.profile.given_up(&repair.given_up);
            let waited = damage.age() + started_at.elapsed();
            let cost = mending::cost(&repair, waited, cluster.slots());
            let added = profile::Recovery {
                at_ms: profile::now_ms(),
                cause: damage.error().to_string(),
                kept_tasks: kept,
                rerun_tasks: anew,
                added_ms: cost.as_secs_f64() * 1000.0,
                was_whole: false,
            };
            if recovery.has_mended(damage) {
                context.profile.recovered_further(&added);
            } else {
                context.coordinator.queries.retried(&context.id);
                context.profile.recovered(added);
            }
            let repairs = recovery.kept(damage, &repair, cost);
            let repairs_max = cluster.config.cluster.executor_loss_retries;
            if repairs > repairs_max {
                // What is kept may be what fails: without it the query may still come to its end.
                return Err(Ended::MayPass(damage.error(), tasks));
            }
            Ok(())
        }
        Ok(Outcome::Whole) => Err(match damage.out_of_memory() {
            // It is planned for less memory then.
            Some(error) => Ended::Failed(error),
            None => Ended::MayPass(damage.error(), tasks),
        }),
        Err(error) => {
            warn!(query.id = %context.id, job.id = %job, %error, "a job could not go on");
            Err(Ended::MayPass(damage.error(), tasks))
        }
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
async fn sort_failure(
    cluster: &Cluster,
    error: Error,
    tasks: usize,
    has_lost: bool,
    losses: &mut broadcast::Receiver<ExecutorId>,
) -> Ended {
    if error.is_passing() {
        return Ended::MayPass(error, tasks);
    }
    if !failure::may_be_owed_to_loss(&error) {
        return Ended::Failed(error);
    }
    if has_lost {
        return Ended::MayPass(error, tasks);
    }
    match tokio::time::timeout(loss_may_follow(cluster), losses.recv()).await {
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
    fn cancelling(cluster: &Cluster, job: JobId) -> (Self, mpsc::UnboundedReceiver<Trouble>) {
        let troubles = cluster.scheduler.begin(&job);
        (Self { scheduler: cluster.scheduler.clone(), job, is_running: true }, troubles)
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
            tokio::spawn(async move {
                scheduler.cancel(&job).await;
                // Not before: Ballista must not hear of tasks that do not count any more while it has the job.
                scheduler.ledger().end(&job);
            });
        } else {
            self.scheduler.ledger().end(&self.job);
            self.scheduler.clean_up(&self.job);
        }
    }
}
