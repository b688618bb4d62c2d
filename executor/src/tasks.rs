//! Decodes the tasks that the coordinator sends, runs them on threads of their own, and tells how each ended.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ballista_core::JobId;
use ballista_core::error::BallistaError;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_core::serde::BallistaCodec;
use ballista_core::serde::protobuf::{
    FailedTask, MultiTaskDefinition, OperatorMetricsSet, SuccessfulTask, TaskStatus, task_status,
};
use ballista_core::serde::scheduler::from_proto::get_task_definition_vec;
use ballista_core::serde::scheduler::{TaskDefinition, TaskKey};
use datafusion::execution::TaskContext;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use engine::runtime::NodeRuntime;
use engine::{ExecutorId, codec, functions, panics, priority, session_state};
use futures::FutureExt;
use futures::future::{AbortHandle, AbortRegistration, Abortable};
use parking_lot::Mutex;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::stage_runner::StageRunner;
use crate::stops::Stop;

/// Plans are decoded on one of these while a small task computes on the other.
const SPARE_THREADS: usize = 2;

/// The threads that tasks run on.
pub struct Threads {
    usual: Runtime,
    spare: Runtime,
    count: usize,
}

/// What runs something on them.
#[derive(Debug, Clone)]
pub struct ThreadHandles {
    usual: Handle,
    /// Plans are decoded here, and a task runs here that the coordinator sends although all others are taken: it would
    /// wait for as long as these compute without a pause.
    spare: Handle,
    count: usize,
}

impl Threads {
    /// Threads that compute `count` partitions at once.
    pub fn start(count: usize, stack_bytes: usize) -> std::io::Result<Self> {
        let usual = threads(count, stack_bytes, priority::give_way)?;
        let spare = threads(SPARE_THREADS, stack_bytes, priority::as_usual)?;
        Ok(Self { usual, spare, count })
    }

    /// Handles of them.
    pub fn handles(&self) -> ThreadHandles {
        let (usual, spare) = (self.usual.handle().clone(), self.spare.handle().clone());
        ThreadHandles { usual, spare, count: self.count }
    }

    /// Ends them, without waiting for what still computes.
    pub fn shutdown_background(self) {
        self.usual.shutdown_background();
        self.spare.shutdown_background();
    }
}

fn threads(count: usize, stack_bytes: usize, at_start: fn()) -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(count)
        .thread_stack_size(stack_bytes)
        .thread_name("task")
        .on_thread_start(at_start)
        .enable_all()
        .build()
}

/// The tasks of this executor.
pub struct Tasks {
    runner: StageRunner,
    runtime: NodeRuntime,
    registry: Arc<BallistaFunctionRegistry>,
    codec: BallistaCodec<LogicalPlanNode, PhysicalPlanNode>,
    /// The folder of shuffle files, one folder within for each job.
    folder: PathBuf,
    threads: ThreadHandles,
    executor_id: ExecutorId,
    running: Mutex<HashMap<TaskKey, RunningTask>>,
    /// Stages that are being decoded.
    starting: AtomicUsize,
    /// Told when a task has ended, tasks have been decoded, or files are gone.
    changed: Notify,
    /// Files are removed here, whoever asks for it.
    home: Handle,
    statuses: mpsc::UnboundedSender<TaskStatus>,
}

impl Tasks {
    /// Runs tasks by `runner` on `threads`. How they end is told on the channel that is given back.
    pub fn new(
        runner: StageRunner,
        runtime: NodeRuntime,
        folder: PathBuf,
        threads: ThreadHandles,
        executor_id: ExecutorId,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<TaskStatus>) {
        let (statuses, ended) = mpsc::unbounded_channel();
        let tasks = Self {
            runner,
            runtime,
            registry: functions::registry(),
            codec: BallistaCodec::new(codec::logical(), codec::physical()),
            folder,
            threads,
            executor_id,
            running: Mutex::default(),
            starting: AtomicUsize::new(0),
            changed: Notify::new(),
            home: Handle::current(),
            statuses,
        };
        (Arc::new(tasks), ended)
    }

    /// Starts the tasks of one stage. The error says that they could not be decoded.
    pub async fn start(self: &Arc<Self>, definition: MultiTaskDefinition) -> Result<(), String> {
        let _starting = Starting::one_more(self);
        let this = Arc::clone(self);
        // Plans are as deep as statements: only the task threads have stacks for them.
        let decoded = self.threads.spare.spawn(async move { this.decode(definition) }).await;
        for task in decoded.map_err(|error| error.to_string())?? {
            let key = key_of(&task);
            let (abort, registration) = AbortHandle::new_pair();
            let stop = self.runner.stop_of(&key.job_id);
            let end = stop.token.child_token();
            let mut running = self.running.lock();
            let are_taken = running.values().filter(|task| !task.is_spare).count() >= self.threads.count;
            // One at most: the other decodes plans.
            let is_spare = are_taken && !running.values().any(|task| task.is_spare);
            running.insert(key, RunningTask { abort, end: end.clone(), is_spare });
            drop(running);
            let threads = if is_spare { &self.threads.spare } else { &self.threads.usual };
            threads.spawn(Arc::clone(self).run(task, registration, stop, end));
        }
        Ok(())
    }

    fn decode(&self, definition: MultiTaskDefinition) -> Result<Vec<TaskDefinition>, String> {
        let env = Arc::clone(&self.runtime.env);
        let functions = self.registry.as_ref();
        get_task_definition_vec(
            definition,
            Arc::new(move |_| Ok(Arc::clone(&env))),
            session_state::executor_config(&self.runtime),
            functions.scalar_functions.clone(),
            functions.aggregate_functions.clone(),
            functions.window_functions.clone(),
            functions.higher_order_functions.clone(),
            self.codec.clone(),
        )
        .map_err(|error| error.to_string())
    }

    async fn run(
        self: Arc<Self>,
        task: TaskDefinition,
        registration: AbortRegistration,
        stop: Stop,
        end: CancellationToken,
    ) {
        let started_at = now_ms();
        let key = key_of(&task);
        let (stage_attempt_num, launch_time) = (task.stage_attempt_num as u32, task.launch_time);
        let outcome = Abortable::new(self.compute(task, stop, end), registration);
        let (metrics, status) = match AssertUnwindSafe(outcome).catch_unwind().await {
            Ok(Ok((metrics, Ok(success)))) => (metrics, task_status::Status::Successful(success)),
            Ok(Ok((metrics, Err(error)))) => (metrics, failed(error)),
            Ok(Err(_)) => (Vec::new(), failed(BallistaError::Cancelled)),
            Err(panic) => {
                let text = panic_text(panic.as_ref());
                error!(job.id = %key.job_id, stage = key.stage_id, task = key.task_id, text, "a task panicked");
                let error = panics::error_of(panic.as_ref(), "a task");
                (Vec::new(), failed(BallistaError::General(error.to_stamp())))
            }
        };
        let status = TaskStatus {
            task_id: key.task_id as u32,
            job_id: key.job_id.clone().into(),
            stage_id: key.stage_id as u32,
            stage_attempt_num,
            launch_time,
            start_exec_time: started_at,
            end_exec_time: now_ms(),
            metrics,
            status: Some(status),
        };
        self.running.lock().remove(&key);
        self.changed.notify_waiters();
        // Nobody listens any more only when the process ends.
        let _ = self.statuses.send(status);
    }

    async fn compute(
        &self,
        task: TaskDefinition,
        stop: Stop,
        end: CancellationToken,
    ) -> (Vec<OperatorMetricsSet>, Result<SuccessfulTask, BallistaError>) {
        let identity = format!("{}/{}/{}", task.job_id, task.stage_id, task.task_id);
        let made = self.runner.stage_task(
            TaskKey { job_id: task.job_id, stage_id: task.stage_id, task_id: task.task_id },
            task.global_output_partition_ids,
            task.plan,
            &self.folder.to_string_lossy(),
            &task.session_config,
            stop,
            end,
        );
        let stage = match made {
            Ok(stage) => stage,
            Err(error) => return (Vec::new(), Err(error.into())),
        };
        let functions = task.function_registry;
        let context = TaskContext::new(
            Some(identity),
            task.session_id,
            task.session_config,
            functions.scalar_functions.clone(),
            functions.higher_order_functions.clone(),
            functions.aggregate_functions.clone(),
            functions.window_functions.clone(),
            Arc::clone(&self.runtime.env),
        );
        let outcome = stage.execute_query_stage(task.task_id, Arc::new(context)).await;
        let metrics: Result<Vec<OperatorMetricsSet>, BallistaError> =
            stage.collect_plan_metrics().into_iter().map(TryInto::try_into).collect();
        let success = outcome.map_err(BallistaError::from).and_then(|partitions| {
            Ok(SuccessfulTask {
                executor_id: self.executor_id.to_string(),
                partitions,
                runtime_stats: stage.collect_runtime_stats_reports(),
                task_column_stats: stage.collect_column_stats(),
                // Later stages go by it: a task that cannot tell it has failed.
                window_state: stage.collect_window_state_reports()?,
            })
        });
        (metrics.unwrap_or_default(), success)
    }

    /// Ends a task, if it runs here.
    pub fn cancel(&self, key: &TaskKey) {
        if let Some(task) = self.running.lock().get(key) {
            task.cancel();
        }
    }

    /// Removes what the stages `stages` of `job` wrote, or all that `job` did when there are none; once its tasks have
    /// ended, for one that still computes would write anew.
    pub fn remove_files(self: &Arc<Self>, job: &JobId, stages: Vec<u32>) {
        let this = Arc::clone(self);
        let job = job.clone();
        self.home.spawn(async move {
            let is_of_job = |key: &TaskKey| {
                key.job_id == job && (stages.is_empty() || stages.contains(&(key.stage_id as u32)))
            };
            this.when(|tasks| !tasks.running.lock().keys().any(is_of_job)).await;
            let folder = this.folder.join(job.as_str());
            let folders = match stages.as_slice() {
                [] => vec![folder],
                stages => stages.iter().map(|stage| folder.join(stage.to_string())).collect(),
            };
            for folder in folders {
                if let Err(error) = remove(&folder).await {
                    warn!(job.id = %job, %error, "files of a job could not be removed");
                }
            }
            this.changed.notify_waiters();
        });
    }

    /// Ends all tasks. Resolves when nothing of them is left.
    pub async fn end(&self) {
        const WAIT_MAX: Duration = Duration::from_secs(5);
        self.running.lock().values().for_each(RunningTask::cancel);
        let _ = tokio::time::timeout(WAIT_MAX, self.when(|tasks| tasks.running.lock().is_empty())).await;
    }

    /// Ends the tasks of all jobs but `jobs`, and removes what they wrote: nobody will ask for it.
    pub fn keep_only(self: &Arc<Self>, jobs: &HashSet<String>) {
        let mut strays = HashSet::new();
        for (key, task) in self.running.lock().iter() {
            if !jobs.contains(key.job_id.as_str()) {
                task.cancel();
                strays.insert(key.job_id.as_str().to_owned());
            }
        }
        let names =
            folders_in(&self.folder).filter_map(|folder| folder.file_name()?.to_str().map(str::to_owned));
        strays.extend(names.filter(|job| !jobs.contains(job)));
        if strays.is_empty() {
            return;
        }
        warn!(jobs = strays.len(), "work that nobody waits for is dropped");
        for job in strays {
            self.remove_files(&job.into(), Vec::new());
        }
    }

    /// Resolves when no task runs or is about to, and no job has files here.
    pub async fn idle(&self) {
        // Files go when the coordinator says so.
        self.when(|tasks| tasks.is_at_rest() && tasks.jobs_with_files() == 0).await;
    }

    /// True when no task runs or is about to.
    pub fn is_at_rest(&self) -> bool {
        self.running.lock().is_empty() && self.starting.load(Ordering::Relaxed) == 0
    }

    /// Jobs that have files here.
    pub fn jobs_with_files(&self) -> usize {
        folders_in(&self.folder).count()
    }

    async fn when(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Enabled before looking, so that a change in between is not missed.
            changed.as_mut().enable();
            if holds(self) {
                return;
            }
            changed.await;
        }
    }
}

/// How a task that runs is ended.
struct RunningTask {
    abort: AbortHandle,
    /// Cancelled before: it computes without a pause, and would be aborted at the next.
    end: CancellationToken,
    /// It runs on a spare thread.
    is_spare: bool,
}

impl RunningTask {
    fn cancel(&self) {
        self.end.cancel();
        self.abort.abort();
    }
}

/// A stage that is being decoded.
struct Starting<'a>(&'a Tasks);

impl<'a> Starting<'a> {
    fn one_more(tasks: &'a Tasks) -> Self {
        tasks.starting.fetch_add(1, Ordering::Relaxed);
        Self(tasks)
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.starting.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_waiters();
    }
}

fn key_of(task: &TaskDefinition) -> TaskKey {
    TaskKey { job_id: task.job_id.clone(), stage_id: task.stage_id, task_id: task.task_id }
}

fn failed(error: BallistaError) -> task_status::Status {
    task_status::Status::Failed(FailedTask::from(error))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn now_ms() -> u64 {
    chrono::Utc::now().timestamp_millis() as u64
}

fn folders_in(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

async fn remove(folder: &Path) -> std::io::Result<()> {
    match tokio::fs::remove_dir_all(folder).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
