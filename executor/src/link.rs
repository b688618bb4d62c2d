//! The executor's side of its connection to the coordinator: reports, heartbeats, and how tasks ended.
//!
//! One connection carries all. The stream of reports is the sign of life: the coordinator holds an executor for lost as
//! soon as it breaks, far sooner than by the heartbeats of Ballista's scheduler, by which it registers. How a task ended
//! is told until the coordinator has answered, over as many connections as that takes: Ballista's own executor tells it
//! once, and its scheduler then waits for ever. An executor whose coordinator is gone waits for the next.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, PutResult};
use ballista_core::BALLISTA_PROTOCOL_VERSION;
use ballista_core::serde::protobuf::executor_resource::Resource;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    ExecutorOperatingSystemSpecification, ExecutorRegistration, ExecutorResource, ExecutorSpecification,
    ExecutorStatus, ExecutorStoppedParams, HeartBeatParams, TaskStatus, UpdateTaskStatusParams,
    executor_status,
};
use engine::runtime::NodeRuntime;
use engine::strain::Strain;
use engine::telemetry::{CoordinatorMessage, ExecutorReport, REPORT_INTERVAL, VERSION};
use engine::usage::UsageMeter;
use engine::{ClusterIdentity, ExecutorId, codec};
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::IntervalStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tracing::{debug, error, info, warn};

use crate::process::StartError;
use crate::stage_runner::TaskCounts;
use crate::tasks::Tasks;

const WELCOME_MAX: Duration = Duration::from_secs(5);
const RECONNECT_WAIT: Duration = Duration::from_millis(500);
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// How often something that the coordinator refuses is told, and how long after the first time: it may be busy.
const REFUSALS_MAX: u32 = 10;
const REFUSAL_WAIT: Duration = Duration::from_millis(100);

type Scheduler = SchedulerGrpcClient<Channel>;

/// What the reports are made from.
pub struct Reporter {
    /// This executor.
    pub executor_id: ExecutorId,
    /// The host that others reach it under.
    pub host: String,
    /// The port that others reach it under.
    pub port: u16,
    /// Partitions computed at once.
    pub threads: usize,
    /// Folders under which local tables can be read.
    pub shared_paths: Vec<String>,
    /// A server started it.
    pub is_supervised: bool,
    /// Executors that have ended and whose shuffle files are here now.
    pub inherited: Vec<ExecutorId>,
    /// Memory and spill files.
    pub runtime: NodeRuntime,
    /// Tasks.
    pub counts: Arc<TaskCounts>,
    /// Cancelled when the executor was told to end.
    pub draining: CancellationToken,
    /// How long its coordinator may be unreachable at first.
    pub join_timeout: Duration,
    /// What the process takes of its machine.
    pub usage: Mutex<UsageMeter>,
    /// What it sees of the machine's being busy.
    pub strain: Strain,
}

impl Reporter {
    fn report(&self) -> FlightData {
        let (cached_bytes, cache_reserved_bytes) = self.runtime.stores.cached_bytes();
        let report = ExecutorReport {
            version: VERSION.to_owned(),
            executor_id: self.executor_id.clone(),
            address: format!("{}:{}", self.host, self.port),
            process_id: std::process::id(),
            threads: self.threads,
            memory_cap_bytes: self.runtime.pool.cap().0,
            resident_bytes: self.runtime.pool.resident_bytes(),
            pool_reserved_bytes: self.runtime.env.memory_pool.reserved() as u64,
            pool_limit_bytes: self.runtime.pool.limit_bytes() as u64,
            spilled_bytes: self.runtime.spilled_bytes(),
            allowance_ms: self.strain.allowance().as_millis() as u64,
            is_draining: self.draining.is_cancelled(),
            tasks_running: self.counts.running.load(Ordering::Relaxed),
            tasks_finished: self.counts.finished.load(Ordering::Relaxed),
            tasks: self.counts.progress(),
            cached_bytes,
            cache_reserved_bytes,
            usage: self.usage.lock().look(),
            is_supervised: self.is_supervised,
            inherited: self.inherited.clone(),
            shared_paths: self.shared_paths.clone(),
        };
        let body = serde_json::to_vec(&report).expect("a report is plain data");
        FlightData::new().with_app_metadata(body)
    }

    /// A report twice a second, and one at once when the executor is told to end.
    fn reports(self: &Arc<Self>) -> impl Stream<Item = FlightData> + Send + 'static {
        let this = Arc::clone(self);
        let mut interval = tokio::time::interval(REPORT_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let reporter = Arc::clone(self);
        let now_and_then = IntervalStream::new(interval).map(move |due| reporter.strain.late(due.elapsed()));
        let told = futures::stream::once(self.draining.clone().cancelled_owned());
        futures::stream::select(now_and_then, told).map(move |()| this.report())
    }

    fn registration(&self) -> ExecutorRegistration {
        let vcores = ExecutorResource { resource: Some(Resource::Vcores(self.threads as u32)) };
        ExecutorRegistration {
            id: self.executor_id.to_string(),
            host: Some(self.host.clone()),
            port: u32::from(self.port),
            grpc_port: u32::from(self.port),
            specification: Some(ExecutorSpecification { resources: vec![vcores] }),
            // The scheduler asks for it and uses none of it.
            os_info: Some(ExecutorOperatingSystemSpecification::default()),
            ballista_protocol_version: BALLISTA_PROTOCOL_VERSION,
        }
    }

    fn heartbeat(&self) -> HeartBeatParams {
        let status = executor_status::Status::Active(String::new());
        HeartBeatParams {
            executor_id: self.executor_id.to_string(),
            metrics: Vec::new(),
            status: Some(ExecutorStatus { status: Some(status) }),
            metadata: Some(self.registration()),
        }
    }
}

/// The connection to one coordinator, made anew whenever it breaks.
pub struct Link {
    coordinator: String,
    identity: ClusterIdentity,
    reporter: Arc<Reporter>,
    tasks: Arc<Tasks>,
    ended: mpsc::UnboundedReceiver<TaskStatus>,
    /// Told, but not answered yet.
    untold: Vec<TaskStatus>,
    has_joined: bool,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0}")]
    Transport(String),
    #[error("it has another cluster secret than this executor (--secret-file, SLUICE_CLUSTER__SECRET)")]
    Stranger,
    #[error("{}", .0.message())]
    Status(#[from] Status),
    #[error("{0}")]
    Other(&'static str),
}

impl From<tonic::transport::Error> for Broken {
    fn from(error: tonic::transport::Error) -> Self {
        // What went wrong is told by the innermost error, and by its text alone.
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let text = cause.to_string();
        if text.contains("invalid peer certificate") { Self::Stranger } else { Self::Transport(text) }
    }
}

/// Tells `coordinator` that an executor which nobody needs any more has ended.
pub async fn leave(
    coordinator: &str,
    identity: &ClusterIdentity,
    executor_id: &ExecutorId,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let channel = identity.endpoint(coordinator)?.connect().await?;
    let params = ExecutorStoppedParams {
        executor_id: executor_id.to_string(),
        reason: "it was told to end".to_owned(),
    };
    SchedulerGrpcClient::new(channel).executor_stopped(params).await?;
    Ok(())
}

impl Link {
    /// A link to `coordinator` (`HOST:PORT`), over which is told what comes on `ended`.
    pub fn new(
        coordinator: String,
        identity: ClusterIdentity,
        reporter: Arc<Reporter>,
        tasks: Arc<Tasks>,
        ended: mpsc::UnboundedReceiver<TaskStatus>,
    ) -> Self {
        Self { coordinator, identity, reporter, tasks, ended, untold: Vec::new(), has_joined: false }
    }

    /// Keeps the connection for as long as the process lives. Ends only when the coordinator refuses this executor, or
    /// was not to be reached at the start.
    pub async fn keep(mut self) -> StartError {
        let started_at = Instant::now();
        loop {
            let Err(broken) = self.attend().await;
            let coordinator = &self.coordinator;
            let is_refused =
                matches!(&broken, Broken::Status(status) if status.code() == Code::FailedPrecondition);
            let is_unreachable = !self.has_joined && started_at.elapsed() > self.reporter.join_timeout;
            if is_refused || is_unreachable {
                return StartError::Environment(format!(
                    "cannot work for the coordinator at {coordinator}: {broken}"
                ));
            }
            warn!(coordinator, "not connected to the coordinator: {broken}");
            tokio::time::sleep(RECONNECT_WAIT).await;
        }
    }

    /// One connection, until it breaks.
    async fn attend(&mut self) -> Result<Infallible, Broken> {
        let channel = self.identity.endpoint(&self.coordinator)?.connect().await?;
        let limit = codec::MESSAGE_BYTES_MAX as usize;
        let scheduler = SchedulerGrpcClient::new(channel.clone())
            .max_encoding_message_size(limit)
            .max_decoding_message_size(limit);
        let answers = self.introduce(channel).await?;
        // Registers this executor: who is not registered is not listened to.
        scheduler.clone().heart_beat_from_executor(self.reporter.heartbeat()).await?;
        let beats = heartbeats(scheduler.clone(), Arc::clone(&self.reporter));
        let stops = listen(answers, Arc::clone(&self.reporter));
        self.has_joined = true;
        tokio::select! {
            broken = beats => Err(broken),
            broken = stops => Err(broken),
            broken = self.deliver(scheduler) => Err(broken),
        }
    }

    /// Begins to report, and waits to be taken in.
    async fn introduce(&mut self, channel: Channel) -> Result<Streaming<PutResult>, Broken> {
        let mut client = FlightServiceClient::new(channel);
        let welcome = async {
            let mut answers = client.do_put(self.reporter.reports()).await?.into_inner();
            let first = answers.message().await?.ok_or(Broken::Other("it ended the stream of reports"))?;
            Ok::<_, Broken>((first, answers))
        };
        let (first, answers) = tokio::time::timeout(WELCOME_MAX, welcome)
            .await
            .map_err(|_| Broken::Other("it does not answer"))??;
        let Some(CoordinatorMessage::Welcome { jobs }) = read(&first) else {
            return Err(Broken::Other("it answers with something unknown"));
        };
        let jobs: HashSet<String> = jobs.into_iter().collect();
        self.tasks.keep_only(&jobs);
        self.untold.retain(|status| jobs.contains(&status.job_id));
        info!(coordinator = self.coordinator, executor.id = %self.reporter.executor_id, "joined");
        Ok(answers)
    }

    /// Tells how tasks ended. What was told when a connection broke is told again on the next; the coordinator knows
    /// what it has heard.
    async fn deliver(&mut self, mut scheduler: Scheduler) -> Broken {
        let mut refusals = 0;
        loop {
            if self.untold.is_empty() {
                let Some(status) = self.ended.recv().await else {
                    return Broken::Other("the process ends");
                };
                self.untold.push(status);
            }
            while let Ok(status) = self.ended.try_recv() {
                self.untold.push(status);
            }
            let params = UpdateTaskStatusParams {
                executor_id: self.reporter.executor_id.to_string(),
                task_status: self.untold.clone(),
            };
            match scheduler.update_task_status(params).await {
                Ok(_) => {
                    self.untold.clear();
                    refusals = 0;
                }
                Err(status)
                    if matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown) =>
                {
                    return status.into();
                }
                Err(status) if refusals < REFUSALS_MAX => {
                    debug!(%status, "the coordinator does not take how tasks ended");
                    refusals += 1;
                    tokio::time::sleep(REFUSAL_WAIT).await;
                }
                Err(status) => {
                    error!(%status, tasks = self.untold.len(), "the coordinator does not take how tasks ended");
                    self.untold.clear();
                    refusals = 0;
                }
            }
        }
    }
}

fn read(answer: &PutResult) -> Option<CoordinatorMessage> {
    serde_json::from_slice(&answer.app_metadata).ok()
}

/// Those after the first.
async fn heartbeats(mut scheduler: Scheduler, reporter: Arc<Reporter>) -> Broken {
    let first = tokio::time::Instant::now() + HEARTBEAT_INTERVAL;
    let mut interval = tokio::time::interval_at(first, HEARTBEAT_INTERVAL);
    loop {
        interval.tick().await;
        if let Err(status) = scheduler.heart_beat_from_executor(reporter.heartbeat()).await {
            return status.into();
        }
    }
}

/// Ends the jobs that the coordinator names, or the executor itself.
async fn listen(mut answers: Streaming<PutResult>, reporter: Arc<Reporter>) -> Broken {
    loop {
        match answers.message().await {
            Ok(Some(answer)) => match read(&answer) {
                Some(CoordinatorMessage::Stop { job }) => reporter.counts.stops.stop(&job),
                Some(CoordinatorMessage::Drain) => {
                    info!("the coordinator asks this executor to end");
                    reporter.draining.cancel();
                }
                Some(CoordinatorMessage::Welcome { .. }) | None => {}
            },
            Ok(None) => return Broken::Other("it ended the stream of reports"),
            Err(status) => return status.into(),
        }
    }
}
