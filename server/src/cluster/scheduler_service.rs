//! What executors may ask of Ballista's scheduler, and nothing else of it: its other calls would run plans and cancel
//! jobs.
//!
//! An executor tells how a task ended until it is answered, so it may tell it twice; the scheduler would count the
//! task's rows twice.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpc;
use ballista_core::serde::protobuf::{
    CancelJobParams, CancelJobResult, CleanJobDataParams, CleanJobDataResult, CreateUpdateSessionParams,
    CreateUpdateSessionResult, ExecuteQueryParams, ExecuteQueryResult, ExecutorStoppedParams,
    ExecutorStoppedResult, GetJobMetricsParams, GetJobMetricsResult, GetJobStatusParams, GetJobStatusResult,
    HeartBeatParams, HeartBeatResult, PollWorkParams, PollWorkResult, RegisterExecutorParams,
    RegisterExecutorResult, RemoveSessionParams, RemoveSessionResult, TaskStatus, UpdateTaskStatusParams,
    UpdateTaskStatusResult,
};
use ballista_core::utils::collect_plan_metrics;
use ballista_scheduler::scheduler_server::SchedulerServer;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use engine::ExecutorId;
use futures::stream::Pending;
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};
use tracing::debug;

use super::scheduler::Scheduler;
use super::slots;

/// Ends of tasks are remembered for so long, or until as many again were told: one is told again within moments, or never.
const REMEMBERED_FOR: Duration = Duration::from_secs(120);
const REMEMBERED_MAX: usize = 50_000;

/// Job, stage, attempt at the stage, task: one run of one task.
type Run = (String, u32, u32, u32);

fn run_of(status: &TaskStatus) -> Run {
    (status.job_id.clone(), status.stage_id, status.stage_attempt_num, status.task_id)
}

/// The latest ends of tasks that were told.
#[derive(Debug)]
struct Told {
    runs: HashSet<Run>,
    before: HashSet<Run>,
    turned_at: Instant,
}

impl Told {
    fn new() -> Self {
        Self { runs: HashSet::new(), before: HashSet::new(), turned_at: Instant::now() }
    }

    fn knows(&self, status: &TaskStatus) -> bool {
        let run = run_of(status);
        self.runs.contains(&run) || self.before.contains(&run)
    }

    fn remember(&mut self, runs: Vec<Run>) {
        if self.turned_at.elapsed() >= REMEMBERED_FOR || self.runs.len() >= REMEMBERED_MAX {
            self.turn();
        }
        self.runs.extend(runs);
    }

    /// Those that were new before are the older ones now.
    fn turn(&mut self) {
        self.before = std::mem::take(&mut self.runs);
        self.turned_at = Instant::now();
    }
}

/// The part of the scheduler that executors see.
pub struct SchedulerService {
    scheduler: Scheduler,
    inner: SchedulerServer<LogicalPlanNode, PhysicalPlanNode>,
    told: Mutex<Told>,
}

impl SchedulerService {
    /// Passes on to `inner`, which is within `scheduler`.
    pub fn new(scheduler: Scheduler, inner: SchedulerServer<LogicalPlanNode, PhysicalPlanNode>) -> Self {
        Self { scheduler, inner, told: Mutex::new(Told::new()) }
    }
}

impl SchedulerService {
    /// What the stages compute whose first tasks have ended: who accounts for them is to know what they count.
    async fn note_plans(&self, statuses: &[TaskStatus]) {
        for status in statuses {
            let stage = status.stage_id as usize;
            if let Some(profile) = self.scheduler.profiles().of(&status.job_id)
                && profile.wants_plan(stage)
                && let Some(plan) =
                    self.scheduler.stage_plan(&JobId::new(status.job_id.as_str()), stage).await
            {
                profile.resolved(stage, &plan);
            }
        }
    }

    /// Ballista forgets the end of a task, and waits for it for ever, that counts more or fewer operators than others of
    /// its stage: it is told such an end without what was counted.
    async fn drop_odd_counts(&self, statuses: &mut [TaskStatus]) {
        for status in statuses {
            let job = JobId::new(status.job_id.as_str());
            if let Some(plan) = self.scheduler.stage_plan(&job, status.stage_id as usize).await
                // The first is what writes shuffle files.
                && status.metrics.len() != 1 + collect_plan_metrics(plan.as_ref()).len()
            {
                debug!(job.id = status.job_id, stage = status.stage_id, "a task counts other operators");
                status.metrics.clear();
            }
        }
    }

    async fn has_tasks(&self, executor: &str) -> bool {
        for job in self.inner.state.task_manager.get_running_job_cache().values() {
            let graph = job.execution_graph.read().await;
            if slots::running_tasks(&graph).any(|(other, _)| other == executor) {
                return true;
            }
        }
        false
    }
}

fn not_offered<T>() -> Result<Response<T>, Status> {
    Err(Status::permission_denied("only executors are served here"))
}

#[async_trait]
impl SchedulerGrpc for SchedulerService {
    async fn heart_beat_from_executor(
        &self,
        request: Request<HeartBeatParams>,
    ) -> Result<Response<HeartBeatResult>, Status> {
        let beat = request.get_ref();
        if !self.scheduler.membership().is_registered(&ExecutorId::from(beat.executor_id.clone())) {
            let params = RegisterExecutorParams { metadata: beat.metadata.clone() };
            let executor = ExecutorId::from(beat.executor_id.clone());
            self.inner.register_executor(Request::new(params)).await?;
            self.scheduler.tidy(&executor).await;
        }
        self.inner.heart_beat_from_executor(request).await
    }

    async fn update_task_status(
        &self,
        mut request: Request<UpdateTaskStatusParams>,
    ) -> Result<Response<UpdateTaskStatusResult>, Status> {
        let executor = ExecutorId::from(request.get_ref().executor_id.clone());
        if !self.scheduler.membership().is_registered(&executor) {
            // Ballista would not listen, and say that it has: it is told again by who has joined anew.
            return Err(Status::unavailable("the executor is held for lost: it must join again"));
        }
        // Held over the whole: what is told again while it is taken in is told twice.
        let mut told = self.told.lock().await;
        let _turn = self.scheduler.turn().await;
        let statuses = &mut request.get_mut().task_status;
        let all = statuses.len();
        statuses.retain(|status| !told.knows(status));
        let known = all - statuses.len();
        if known > 0 {
            debug!(known, "ends of tasks were told twice");
        }
        if statuses.is_empty() {
            return Ok(Response::new(UpdateTaskStatusResult { success: true }));
        }
        let runs: Vec<Run> = statuses.iter().map(run_of).collect();
        self.note_plans(statuses).await;
        statuses.retain(|status| {
            let counts = self.scheduler.ledger().passes(status, executor.as_str());
            self.scheduler.profiles().ended(status, executor.as_str(), counts);
            counts
        });
        self.drop_odd_counts(statuses).await;
        // Also none are passed on: Ballista looks for tasks to hand out then.
        let answer = self.inner.update_task_status(request).await?;
        told.remember(runs);
        Ok(answer)
    }

    async fn executor_stopped(
        &self,
        request: Request<ExecutorStoppedParams>,
    ) -> Result<Response<ExecutorStoppedResult>, Status> {
        let id = ExecutorId::from(request.get_ref().executor_id.clone());
        // A task may have been given to it in the moment in which it found that nobody needs it.
        if self.has_tasks(id.as_str()).await {
            self.scheduler.membership().lost(&id, "it ended while a task was on its way to it");
        } else {
            self.scheduler.membership().left(&id);
            self.scheduler.forget(&id).await;
        }
        Ok(Response::new(ExecutorStoppedResult {}))
    }

    async fn register_executor(
        &self,
        _: Request<RegisterExecutorParams>,
    ) -> Result<Response<RegisterExecutorResult>, Status> {
        not_offered()
    }

    async fn poll_work(&self, _: Request<PollWorkParams>) -> Result<Response<PollWorkResult>, Status> {
        not_offered()
    }

    async fn create_update_session(
        &self,
        _: Request<CreateUpdateSessionParams>,
    ) -> Result<Response<CreateUpdateSessionResult>, Status> {
        not_offered()
    }

    async fn remove_session(
        &self,
        _: Request<RemoveSessionParams>,
    ) -> Result<Response<RemoveSessionResult>, Status> {
        not_offered()
    }

    type ExecuteQueryPushStream = Pending<Result<GetJobStatusResult, Status>>;

    async fn execute_query_push(
        &self,
        _: Request<ExecuteQueryParams>,
    ) -> Result<Response<Self::ExecuteQueryPushStream>, Status> {
        not_offered()
    }

    async fn execute_query(
        &self,
        _: Request<ExecuteQueryParams>,
    ) -> Result<Response<ExecuteQueryResult>, Status> {
        not_offered()
    }

    async fn get_job_status(
        &self,
        _: Request<GetJobStatusParams>,
    ) -> Result<Response<GetJobStatusResult>, Status> {
        not_offered()
    }

    async fn get_job_metrics(
        &self,
        _: Request<GetJobMetricsParams>,
    ) -> Result<Response<GetJobMetricsResult>, Status> {
        not_offered()
    }

    async fn cancel_job(&self, _: Request<CancelJobParams>) -> Result<Response<CancelJobResult>, Status> {
        not_offered()
    }

    async fn clean_job_data(
        &self,
        _: Request<CleanJobDataParams>,
    ) -> Result<Response<CleanJobDataResult>, Status> {
        not_offered()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_is_told_twice_is_known() {
        let mut told = Told::new();
        let end = |task_id, stage_attempt_num| TaskStatus {
            job_id: "a".to_owned(),
            task_id,
            stage_attempt_num,
            ..TaskStatus::default()
        };
        assert!(!told.knows(&end(1, 0)));
        told.remember(vec![run_of(&end(1, 0))]);
        assert!(told.knows(&end(1, 0)) && !told.knows(&end(2, 0)) && !told.knows(&end(1, 1)));
        told.turn();
        assert!(told.knows(&end(1, 0)));
        told.turn();
        assert!(!told.knows(&end(1, 0)));
    }
}
