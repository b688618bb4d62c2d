//! Ballista's scheduler inside this process: how it is configured, served and told what to do.

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::JobId;
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::serde::BallistaCodec;
use ballista_core::serde::protobuf::job_status::Status;
use ballista_core::serde::protobuf::scheduler_grpc_server::{SchedulerGrpc, SchedulerGrpcServer};
use ballista_core::serde::protobuf::{JobStatus, PartitionLocation, UpdateTaskStatusParams};
use ballista_scheduler::cluster::{BallistaCluster, JobState};
use ballista_scheduler::config::{SchedulerConfig, TaskDistributionPolicy};
use ballista_scheduler::metrics::default_metrics_collector;
use ballista_scheduler::scheduler_server::{JobIdGenerator, SchedulerServer};
use ballista_scheduler::state::execution_stage::ExecutionStage;
use datafusion::execution::context::SessionContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use engine::config::Config;
use engine::{ClusterIdentity, Error, ExecutorId, Result, codec};
use tokio::net::TcpListener;
use tokio::sync::{MutexGuard, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tracing::{error, warn};

use super::launcher::Launcher;
use super::membership::Membership;
use super::recovery::{Finished, Ledger, Outcome, Told, Trouble};
use super::report_service::ReportService;
use super::scheduler_service::SchedulerService;
use super::slots::{self, CountedSlots, Progress};
use crate::profile::JobProfiles;

/// Job states that may wait to be looked at. A full channel would lose the last one.
const JOB_STATES_BUFFERED: usize = 64;
/// Ballista never declares an executor lost by itself: it would mend the graphs of jobs then.
const BALLISTA_TIMEOUT_SECONDS: u64 = 10 * 365 * 24 * 3600;
/// Whole graphs of jobs that have ended, with their plans; nobody asks for them.
const ENDED_KEPT_SECONDS: u64 = 1;

/// Ballista's scheduler.
#[derive(Clone)]
pub struct Scheduler {
    jobs: Arc<dyn JobState>,
    membership: Arc<Membership>,
    ledger: Arc<Ledger>,
    profiles: Arc<JobProfiles>,
    /// Held while Ballista is told how tasks ended, and while a graph is made anew: one must not cross the other.
    turn: Arc<tokio::sync::Mutex<()>>,
    inner: SchedulerServer<LogicalPlanNode, PhysicalPlanNode>,
}

impl Scheduler {
    /// Starts the scheduler and serves executors of its cluster on `listener` until `shutdown`.
    pub async fn start(
        config: &Config,
        listener: TcpListener,
        identity: &ClusterIdentity,
        (membership, profiles): (Arc<Membership>, Arc<JobProfiles>),
        shutdown: CancellationToken,
    ) -> Result<Self> {
        let options = options(config, &listener, identity)?;
        let stock = BallistaCluster::new_from_config(&options).await?;
        let ledger = Arc::new(Ledger::default());
        let (told, mut to_tell) = mpsc::unbounded_channel();
        let state = stock.cluster_state();
        let slots = CountedSlots::new(
            state,
            Arc::clone(&membership),
            Arc::clone(&ledger),
            Arc::clone(&profiles),
            told,
        );
        let jobs = stock.job_state();
        let cluster = BallistaCluster::new(Arc::new(slots), Arc::clone(&jobs));
        let endpoint = options.scheduler_endpoint();
        let launcher = Launcher::new(Arc::clone(&membership), Arc::clone(&profiles), endpoint.clone());
        let mut inner = SchedulerServer::new_with_task_launcher(
            endpoint,
            cluster,
            BallistaCodec::new(codec::logical(), codec::physical()),
            Arc::new(options),
            default_metrics_collector()?,
            Arc::new(launcher),
        );
        inner.init().await?;
        let limit = codec::MESSAGE_BYTES_MAX as usize;
        let scheduler = Self {
            jobs,
            membership: Arc::clone(&membership),
            ledger,
            profiles: Arc::clone(&profiles),
            turn: Arc::default(),
            inner: inner.clone(),
        };
        let service = SchedulerService::new(scheduler.clone(), inner);
        let service = SchedulerGrpcServer::new(service)
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit);
        let server = Server::builder()
            .tls_config(identity.server())
            .map_err(|error| Error::internal(error.to_string()))?
            .add_service(service)
            .add_service(FlightServiceServer::new(ReportService::new(membership, profiles)))
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                shutdown.cancelled_owned(),
            );
        tokio::spawn(async move {
            if let Err(error) = server.await {
                error!(%error, "the cluster's port failed");
            }
        });
        let this = scheduler.clone();
        tokio::spawn(async move {
            while let Some(told) = to_tell.recv().await {
                let _turn = this.turn().await;
                this.tell(told).await;
            }
        });
        Ok(scheduler)
    }

    /// Submits the plan as it is. The states of the job arrive on the channel.
    pub async fn submit(
        &self,
        name: &str,
        session: Arc<SessionContext>,
        plan: Arc<dyn ExecutionPlan>,
    ) -> Result<(JobId, mpsc::Receiver<JobStatus>)> {
        let (sender, states) = mpsc::channel(JOB_STATES_BUFFERED);
        let job = self.inner.submit_physical_plan(name, session, plan, Some(sender)).await?;
        Ok((job, states))
    }

    /// A job runs, or its rows are kept: its files stay. Tasks that fail for a reason that may pass are told on the
    /// channel, in place of failing the job.
    pub fn begin(&self, job: &JobId) -> mpsc::UnboundedReceiver<Trouble> {
        self.membership.begin(job);
        self.ledger.begin(job)
    }

    /// The turn to tell Ballista how tasks ended.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// An executor has joined, or joined again: what it still computes in vain is ended, and what it has of jobs that ended
    /// while it was on its way is removed.
    pub async fn tidy(&self, executor: &ExecutorId) {
        let strays = self.ledger.strays_of(executor.as_str());
        if let Err(error) = self.inner.state.executor_manager.cancel_running_tasks(strays).await {
            warn!(executor.id = %executor, %error, "tasks that nobody waits for could not be cancelled");
        }
        for job in self.membership.ended_lately() {
            self.clean_up(&job);
        }
    }

    /// Lets a job go on that executors were lost of, with what is finished of it, when that is worth it.
    pub async fn repair(&self, job: &JobId, worth: Duration) -> Result<Outcome> {
        let jobs = self.inner.state.task_manager.get_running_job_cache();
        let Some(info) = jobs.get(job) else { return Ok(Outcome::Ended) };
        let _turn = self.turn().await;
        let serving = self.membership.serving();
        let mut graph = info.execution_graph.write().await;
        let mut outcome = self.ledger.repair(&mut graph, &self.inner.scheduler_id, &serving, worth)?;
        drop(graph);
        if let Outcome::GoesOn(repair) = &mut outcome {
            let needless = std::mem::take(&mut repair.needless);
            if let Err(error) = self.inner.state.executor_manager.cancel_running_tasks(needless).await {
                warn!(job.id = %job, %error, "tasks that nobody waits for could not be cancelled");
            }
            self.tell(std::mem::take(&mut repair.told)).await;
        }
        Ok(outcome)
    }

    /// Finds who has the results at `locations` now. False when nobody has one.
    pub async fn find(&self, locations: &mut [PartitionLocation]) -> bool {
        let serving = self.membership.serving();
        for location in locations {
            let Some(of) = location.executor_meta.as_ref().map(|executor| executor.id.clone()) else {
                return false;
            };
            match serving.get(&of) {
                Some(server) if *server == of => {}
                Some(heir) => {
                    let heir = self.inner.state.executor_manager.get_executor_metadata(heir).await;
                    let Ok(heir) = heir else { return false };
                    location.executor_meta = Some(heir.into());
                }
                None => return false,
            }
        }
        true
    }

    /// Tells Ballista how tasks ended. It looks for tasks to hand out then.
    async fn tell(&self, told: Told) {
        for (executor_id, mut task_status) in told {
            task_status.retain(|status| self.ledger.counts(status));
            let params = UpdateTaskStatusParams { executor_id, task_status };
            if let Err(error) = self.inner.update_task_status(tonic::Request::new(params)).await {
                warn!(%error, "the scheduler does not take how tasks ended");
            }
        }
    }

    /// Stops a job's tasks and removes its files. A job that Ballista still plans cannot be cancelled,
    /// so this waits until it runs, or has ended.
    pub async fn cancel(&self, job: &JobId) {
        const PLANNING_MAX: Duration = Duration::from_secs(30);
        /// A job that nothing is known of is still to be queued, or ended a while ago.
        const UNKNOWN_MAX: Duration = Duration::from_secs(5);
        const LOOK_AGAIN: Duration = Duration::from_millis(10);
        const CANCELLED_WITHIN: Duration = Duration::from_secs(1);
        let asked_at = tokio::time::Instant::now();
        let planned = async {
            while !self.inner.state.task_manager.get_running_job_cache().contains_key(job) {
                let state = self.jobs.get_job_status(job).await.ok().flatten().and_then(|job| job.status);
                match state {
                    Some(Status::Successful(_) | Status::Failed(_)) => return,
                    None if asked_at.elapsed() > UNKNOWN_MAX => return,
                    _ => {}
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let _ = tokio::time::timeout(PLANNING_MAX, planned).await;
        // Tasks that compute without a pause do not notice that they are aborted.
        self.membership.stop(job);
        if let Err(error) = self.inner.cancel_job(job.clone()).await {
            warn!(job.id = %job, %error, "a job could not be cancelled");
        }
        // One that ended in the same moment is not cancelled, and has files.
        tokio::time::sleep(CANCELLED_WITHIN).await;
        self.clean_up(job);
    }

    /// Tasks of a job that have been begun so far.
    pub async fn tasks_begun(&self, job: &JobId) -> usize {
        self.progress(job).await.map_or(0, |progress| progress.tasks_begun())
    }

    /// What is finished of a job that runs.
    pub async fn finished(&self, job: &JobId) -> Finished {
        let jobs = self.inner.state.task_manager.get_running_job_cache();
        let Some(info) = jobs.get(job) else { return Finished::default() };
        let graph = info.execution_graph.read().await;
        self.ledger.finished(&graph, &self.membership.serving())
    }

    /// How far a job is, once it runs.
    pub async fn progress(&self, job: &JobId) -> Option<Progress> {
        let jobs = self.inner.state.task_manager.get_running_job_cache();
        let job = jobs.get(job)?;
        Some(slots::progress(&*job.execution_graph.read().await))
    }

    /// Who is alive, and for which jobs.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Removes the files of a job that has ended.
    pub fn clean_up(&self, job: &JobId) {
        self.inner.state.executor_manager.clean_up_job_data(job.clone());
    }

    /// The operators of a stage that runs, as they run.
    pub async fn stage_plan(&self, job: &JobId, stage: usize) -> Option<Arc<dyn ExecutionPlan>> {
        let jobs = self.inner.state.task_manager.get_running_job_cache();
        let graph = jobs.get(job)?.execution_graph.read().await;
        match graph.stages().get(&stage)? {
            ExecutionStage::Running(stage) => stage.plan.children().into_iter().next().cloned(),
            _ => None,
        }
    }

    /// Whose the tasks of jobs are.
    pub fn profiles(&self) -> &Arc<JobProfiles> {
        &self.profiles
    }

    /// What is kept of jobs.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Forgets an executor that is lost or has left. Ballista is not told why: it would mend the graphs of jobs.
    pub async fn forget(&self, executor: &ExecutorId) {
        self.profiles.gone(executor.as_str());
        let executors = &self.inner.state.executor_manager;
        if let Err(error) = executors.remove_executor(executor.as_str(), None).await {
            warn!(executor.id = %executor, %error, "a lost executor could not be removed");
        }
    }
}

/// Names jobs. Ballista's own generator keeps a thread that wakes every millisecond for as long as the server runs.
struct JobIds;

#[async_trait::async_trait]
impl JobIdGenerator for JobIds {
    async fn next_id(&self) -> String {
        engine::new_uuid()
    }
}

fn options(config: &Config, listener: &TcpListener, identity: &ClusterIdentity) -> Result<SchedulerConfig> {
    let address = listener.local_addr().map_err(|e| Error::internal(e.to_string()))?;
    // Executors report to the address they are told here.
    let (host, port) = match config.cluster.advertise.as_deref().and_then(|a| a.rsplit_once(':')) {
        Some((host, port)) => (host.to_owned(), port.parse().unwrap_or(address.port())),
        None => (address.ip().to_string(), address.port()),
    };
    let mut options = SchedulerConfig::default()
        .with_hostname(host)
        .with_port(port)
        .with_job_id_generator(Arc::new(JobIds))
        .with_scheduler_policy(TaskSchedulingPolicy::PushStaged);
    options.task_distribution = TaskDistributionPolicy::RoundRobin;
    options.executor_timeout_seconds = BALLISTA_TIMEOUT_SECONDS;
    options.no_executors_grace_period_seconds = BALLISTA_TIMEOUT_SECONDS;
    options.executor_termination_grace_period = 0;
    // Never by Ballista: files are removed when the rows are dropped, and a task would sleep for each job until then.
    options.finished_job_data_clean_up_interval_seconds = 0;
    options.finished_job_state_clean_up_interval_seconds = ENDED_KEPT_SECONDS;
    options.grpc_server_max_decoding_message_size = codec::MESSAGE_BYTES_MAX;
    options.grpc_server_max_encoding_message_size = codec::MESSAGE_BYTES_MAX;
    options.grpc_client_max_message_size = codec::MESSAGE_BYTES_MAX;
    // Ballista runs nothing again by itself; see cluster/submit.rs.
    options.task_max_failures = 1;
    options.stage_max_failures = 1;
    options.override_create_grpc_client_endpoint = Some(identity.peers());
    options.override_logical_codec = Some(codec::logical());
    options.override_physical_codec = Some(codec::physical());
    Ok(options)
}
