//! Runs one task: a span, a count for the reports, and an error that survives the way back.
//!
//! Ballista reports a failed task as text, and decides by the error's type whether to run it again.
//! Every error is stamped here with its SQLSTATE and made to fail the job at once: whether anything is
//! run again is decided by the coordinator alone.
//!
//! A task has an account of its own with the process's memory, by which it can be told to end. Near the cap
//! no task starts beside others, and one that ran out of memory before is run alone.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::client_pool::BallistaClientPool;
use ballista_core::serde::protobuf::{
    RuntimeStatsReport, ShuffleWritePartition, TaskColumnStats, WindowStateReport,
};
use ballista_core::serde::scheduler::TaskKey;
use ballista_executor::execution_engine::{DefaultExecutionEngine, ExecutionEngine, QueryStageExecutor};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::{Gauge, Metric, MetricValue, MetricsSet};
use datafusion::prelude::SessionConfig;
use engine::memory::Pressure;
use engine::operators::stoppable;
use engine::runtime::NodeRuntime;
use engine::telemetry::{PEAK_MEMORY, ROWS_READ, TaskProgress};
use engine::{ClusterIdentity, Error, session_state};
use tokio::sync::{Mutex, Notify, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info_span};

use crate::client_pool::ClientPool;
use crate::shuffle_files::ShuffleFiles;
use crate::shuffle_reader;
use crate::stops::{Stop, Stops};

/// How many tasks run, and have run, in this process, and which may start.
#[derive(Debug, Default)]
pub struct TaskCounts {
    /// Tasks running now.
    pub running: AtomicUsize,
    /// Tasks finished since the start, failed ones included.
    pub finished: AtomicU64,
    ended: Notify,
    /// Jobs that are to stop.
    pub stops: Arc<Stops>,
    live: parking_lot::Mutex<HashMap<TaskKey, LiveTask>>,
    /// Held shared by ordinary tasks, and alone by those that must run alone.
    company: Arc<RwLock<()>>,
    /// Held by the one that is about to start.
    turn: Mutex<()>,
}

/// A task that runs, for those who look on.
#[derive(Debug)]
struct LiveTask {
    measures: Measures,
    peak_bytes: Arc<AtomicUsize>,
}

/// What tells how far a task is.
#[derive(Debug, Clone)]
struct Measures {
    stage: Arc<dyn QueryStageExecutor>,
    /// What reads files, or what other stages gave.
    leaves: Vec<Arc<dyn ExecutionPlan>>,
}

impl Measures {
    fn rows_read(&self) -> u64 {
        let rows = |leaf: &Arc<dyn ExecutionPlan>| leaf.metrics().and_then(|metrics| metrics.output_rows());
        self.leaves.iter().filter_map(rows).sum::<usize>() as u64
    }
}

impl TaskCounts {
    /// How far the tasks are that run now.
    pub fn progress(&self) -> Vec<TaskProgress> {
        // Their plans are looked at without the lock: tasks that begin or end do not wait for that.
        let tasks: Vec<(TaskKey, Measures, u64)> = self
            .live
            .lock()
            .iter()
            .map(|(key, task)| {
                (key.clone(), task.measures.clone(), task.peak_bytes.load(Ordering::Relaxed) as u64)
            })
            .collect();
        let progress = |(key, measures, peak_bytes): (TaskKey, Measures, u64)| {
            let metrics = measures.stage.collect_plan_metrics();
            TaskProgress {
                job_id: key.job_id.to_string(),
                stage_id: key.stage_id,
                task_id: key.task_id,
                rows_read: measures.rows_read(),
                rows: metrics.first().and_then(MetricsSet::output_rows).unwrap_or(0) as u64,
                spilled_bytes: metrics.iter().map(spilled_bytes).sum(),
                peak_bytes,
            }
        };
        tasks.into_iter().map(progress).collect()
    }
}

fn spilled_bytes(metrics: &MetricsSet) -> u64 {
    let of_writer = metrics.sum_by_name("spill_bytes").map_or(0, |value| value.as_usize());
    (metrics.spilled_bytes().unwrap_or(0) + of_writer) as u64
}

/// The nodes of `plan` that have no inputs.
fn leaves(plan: &Arc<dyn ExecutionPlan>) -> Vec<Arc<dyn ExecutionPlan>> {
    let inputs = plan.children();
    if inputs.is_empty() {
        return vec![Arc::clone(plan)];
    }
    inputs.into_iter().flat_map(leaves).collect()
}

/// A count that has been reached.
fn told(name: &'static str, value: u64) -> Arc<Metric> {
    let gauge = Gauge::new();
    gauge.set(value as usize);
    Arc::new(Metric::new(MetricValue::Gauge { name: name.into(), gauge }, None))
}

/// Makes stage executors that count, trace and stamp.
pub struct StageRunner {
    inner: DefaultExecutionEngine,
    clients: Arc<dyn BallistaClientPool>,
    runtime: NodeRuntime,
    shuffle_files: ShuffleFiles,
    counts: Arc<TaskCounts>,
}

impl StageRunner {
    /// A runner that gives tasks their memory from `runtime` and keeps its counts in `counts`.
    pub fn new(
        runtime: NodeRuntime,
        identity: &ClusterIdentity,
        shuffle_files: ShuffleFiles,
        counts: Arc<TaskCounts>,
    ) -> Self {
        let clients: Arc<dyn BallistaClientPool> =
            Arc::new(ClientPool::for_cap(runtime.pool.cap(), identity));
        let inner = DefaultExecutionEngine::with_client_pool(Arc::clone(&clients));
        Self { inner, clients, runtime, shuffle_files, counts }
    }
}

impl StageRunner {
    /// A hold on the token of `job`, for one of its tasks.
    pub fn stop_of(&self, job: &JobId) -> Stop {
        self.counts.stops.of(job)
    }

    /// What runs one task of a stage of `plan`, until `end` is cancelled, which is when its job is to `stop` or before.
    #[allow(clippy::too_many_arguments)] // All of them what the task is.
    pub fn stage_task(
        &self,
        key: TaskKey,
        global_output_partition_ids: Vec<usize>,
        plan: Arc<dyn ExecutionPlan>,
        work_dir: &str,
        config: &SessionConfig,
        stop: Stop,
        end: CancellationToken,
    ) -> Result<Arc<dyn QueryStageExecutor>> {
        let TaskKey { job_id, stage_id, task_id } = key;
        let span = info_span!("task", job.id = %job_id, stage = stage_id, task = task_id);
        let plan = shuffle_reader::streaming(plan, &self.clients, work_dir).map_err(stamp)?;
        let plan = stoppable(plan, &end).map_err(stamp)?;
        let leaves = leaves(&plan);
        let key = TaskKey { job_id: job_id.clone(), stage_id, task_id };
        let inner = self
            .inner
            .create_query_stage_exec(
                job_id.clone(),
                stage_id,
                task_id,
                global_output_partition_ids,
                plan,
                work_dir,
                config,
            )
            .map_err(stamp)?;
        Ok(Arc::new(StageTask {
            measures: Measures { stage: Arc::clone(&inner), leaves },
            peak_bytes: OnceLock::new(),
            inner,
            key,
            job_id,
            stop,
            end,
            span,
            runtime: self.runtime.clone(),
            shuffle_files: self.shuffle_files.clone(),
            counts: Arc::clone(&self.counts),
        }))
    }
}

#[derive(Debug)]
struct StageTask {
    inner: Arc<dyn QueryStageExecutor>,
    key: TaskKey,
    measures: Measures,
    peak_bytes: OnceLock<Arc<AtomicUsize>>,
    job_id: JobId,
    stop: Stop,
    /// Cancelled when the task has ended, however: what Ballista started for it would go on.
    end: CancellationToken,
    span: tracing::Span,
    runtime: NodeRuntime,
    shuffle_files: ShuffleFiles,
    counts: Arc<TaskCounts>,
}

impl StageTask {
    /// Waits while the process is near its cap and other tasks run, which will give memory back.
    async fn room(&self) {
        let mut pressure = self.runtime.pressure.clone();
        loop {
            let ended = self.counts.ended.notified();
            tokio::pin!(ended);
            // Enabled before looking, so that a task that ends in between is not missed.
            ended.as_mut().enable();
            let is_calm = *pressure.borrow_and_update() == Pressure::Calm;
            if is_calm || self.counts.running.load(Ordering::Relaxed) == 0 {
                return;
            }
            tokio::select! {
                () = ended => {}
                changed = pressure.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn run(&self, task_id: usize, context: Arc<TaskContext>) -> Result<Vec<ShuffleWritePartition>> {
        let company = Arc::clone(&self.counts.company);
        let (company, running) = if session_state::runs_alone(context.session_config()) {
            (Company::None(company.write_owned().await), Running::start(&self.counts))
        } else {
            let company = company.read_owned().await;
            // One after the other, so that each sees the one before it run.
            let _turn = self.counts.turn.lock().await;
            self.room().await;
            (Company::Others(company), Running::start(&self.counts))
        };
        let (memory, env) = self.runtime.for_task(session_state::memory_max(context.session_config()));
        let peak_bytes = self.peak_bytes.get_or_init(|| memory.peak_bytes());
        let _live = self.counts.enter(&self.key, &self.measures, peak_bytes);
        let place = Place { gone: memory.gone(), held: Some((company, running)) };
        let _end = self.end.clone().drop_guard();
        let context = with_runtime(&context, env);
        let outcome = tokio::select! {
            result = self.inner.execute_query_stage(task_id, context) => result,
            verdict = memory.condemnation() => Err(verdict),
            excess = self.shuffle_files.too_many_of(&self.job_id) => Err(excess),
            () = self.stop.token.cancelled() => Err(DataFusionError::External(Box::new(Error::Cancelled))),
        };
        drop(place);
        outcome
    }
}

/// With whom a task runs; held for as long as it does.
#[allow(dead_code)] // Guards are held, not read.
enum Company {
    Others(OwnedRwLockReadGuard<()>),
    None(OwnedRwLockWriteGuard<()>),
}

/// A task's place among those that run. It is given up when nothing of the task is left: what Ballista started for it
/// notices a moment after the task itself that it is over.
struct Place {
    gone: CancellationToken,
    held: Option<(Company, Running)>,
}

impl Drop for Place {
    fn drop(&mut self) {
        const WAIT_MAX: Duration = Duration::from_secs(10);
        let (gone, held) = (self.gone.clone(), self.held.take());
        tokio::spawn(async move {
            let _ = tokio::time::timeout(WAIT_MAX, gone.cancelled()).await;
            drop(held);
        });
    }
}

/// The same context over other resources.
fn with_runtime(context: &TaskContext, env: Arc<RuntimeEnv>) -> Arc<TaskContext> {
    Arc::new(TaskContext::new(
        context.task_id(),
        context.session_id(),
        context.session_config().clone(),
        context.scalar_functions().clone(),
        context.higher_order_functions().clone(),
        context.aggregate_functions().clone(),
        context.window_functions().clone(),
        env,
    ))
}

impl fmt::Display for StageTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl QueryStageExecutor for StageTask {
    async fn execute_query_stage(
        &self,
        task_id: usize,
        context: Arc<TaskContext>,
    ) -> Result<Vec<ShuffleWritePartition>> {
        self.run(task_id, context).instrument(self.span.clone()).await.map_err(stamp)
    }

    fn collect_plan_metrics(&self) -> Vec<MetricsSet> {
        let mut metrics = self.inner.collect_plan_metrics();
        if let Some(first) = metrics.first_mut() {
            let peak = self.peak_bytes.get().map_or(0, |bytes| bytes.load(Ordering::Relaxed) as u64);
            first.push(told(PEAK_MEMORY, peak));
            first.push(told(ROWS_READ, self.measures.rows_read()));
        }
        metrics
    }

    fn collect_runtime_stats_reports(&self) -> Vec<RuntimeStatsReport> {
        self.inner.collect_runtime_stats_reports()
    }

    fn collect_window_state_reports(&self) -> Result<Vec<WindowStateReport>> {
        self.inner.collect_window_state_reports()
    }

    fn collect_column_stats(&self) -> Vec<TaskColumnStats> {
        self.inner.collect_column_stats()
    }
}

impl TaskCounts {
    fn enter(self: &Arc<Self>, key: &TaskKey, measures: &Measures, peak_bytes: &Arc<AtomicUsize>) -> Live {
        let task = LiveTask { measures: measures.clone(), peak_bytes: Arc::clone(peak_bytes) };
        self.live.lock().insert(key.clone(), task);
        Live { counts: Arc::clone(self), key: key.clone() }
    }
}

/// Lets others look on for as long as the task runs.
struct Live {
    counts: Arc<TaskCounts>,
    key: TaskKey,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.counts.live.lock().remove(&self.key);
    }
}

/// Counts a task as running for as long as it lives, also when it is aborted.
struct Running(Arc<TaskCounts>);

impl Running {
    fn start(counts: &Arc<TaskCounts>) -> Self {
        counts.running.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counts))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
        self.0.finished.fetch_add(1, Ordering::Relaxed);
        self.0.ended.notify_waiters();
    }
}

fn stamp(error: DataFusionError) -> DataFusionError {
    let detail = error.to_string();
    let error = Error::from(error);
    debug!(sqlstate = %error.sqlstate(), detail, "task failed");
    DataFusionError::Execution(error.to_stamp())
}
