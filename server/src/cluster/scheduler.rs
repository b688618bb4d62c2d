//! Ballista's scheduler inside this process: how it is configured, served and told what to do.

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::JobId;
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::serde::protobuf::job_status::Status;
use ballista_core::serde::protobuf::scheduler_grpc_server::{SchedulerGrpc, SchedulerGrpcServer};
use ballista_core::serde::protobuf::{ExecutorStoppedParams, JobStatus};
use ballista_scheduler::cluster::{BallistaCluster, JobState};
use ballista_scheduler::config::{SchedulerConfig, TaskDistributionPolicy};
use ballista_scheduler::scheduler_process::create_scheduler;
use ballista_scheduler::scheduler_server::SchedulerServer;
use datafusion::execution::context::SessionContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use engine::config::Config;
use engine::{ClusterIdentity, Error, ExecutorId, Result, codec};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tracing::{error, warn};

use super::membership::Membership;
use super::report_service::ReportService;
use super::scheduler_service::SchedulerService;
use super::slots::{self, CountedSlots, Progress};

/// Job states that may wait to be looked at. A full channel would lose the last one.
const JOB_STATES_BUFFERED: usize = 64;
/// Ballista's own detection, which ours precedes: seconds of silence, and how often it looks.
const BALLISTA_TIMEOUT_SECONDS: u64 = 20;
const BALLISTA_EXPIRE_INTERVAL_SECONDS: u64 = 2;
/// Jobs' files and states are dropped by us when their rows are; these are the backstop.
const BACKSTOP_CLEAN_UP_SECONDS: u64 = 24 * 3600;

/// Ballista's scheduler.
#[derive(Clone)]
pub struct Scheduler {
    jobs: Arc<dyn JobState>,
    membership: Arc<Membership>,
    inner: SchedulerServer<LogicalPlanNode, PhysicalPlanNode>,
}

impl Scheduler {
    /// Starts the scheduler and serves executors of its cluster on `listener` until `shutdown`.
    pub async fn start(
        config: &Config,
        listener: TcpListener,
        identity: &ClusterIdentity,
        membership: Arc<Membership>,
        shutdown: CancellationToken,
    ) -> Result<Self> {
        let options = options(config, &listener, identity)?;
        let stock = BallistaCluster::new_from_config(&options).await?;
        let slots = CountedSlots::new(stock.cluster_state(), Arc::clone(&membership));
        let jobs = stock.job_state();
        let cluster = BallistaCluster::new(Arc::new(slots), Arc::clone(&jobs));
        let inner = create_scheduler::<LogicalPlanNode, PhysicalPlanNode>(cluster, Arc::new(options)).await?;
        let limit = codec::MESSAGE_BYTES_MAX as usize;
        let service = SchedulerService::new(inner.clone(), Arc::clone(&membership));
        let scheduler = SchedulerGrpcServer::new(service)
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit);
        let server = Server::builder()
            .tls_config(identity.server())
            .map_err(|error| Error::internal(error.to_string()))?
            .add_service(scheduler)
            .add_service(FlightServiceServer::new(ReportService::new(Arc::clone(&membership))))
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                shutdown.cancelled_owned(),
            );
        tokio::spawn(async move {
            if let Err(error) = server.await {
                error!(%error, "the cluster's port failed");
            }
        });
        Ok(Self { jobs, membership, inner })
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

    /// Stops a job's tasks and removes its files. A job that Ballista still plans cannot be cancelled,
    /// so this waits until it runs.
    pub async fn cancel(&self, job: &JobId) {
        const PLANNING_MAX: Duration = Duration::from_secs(30);
        const LOOK_AGAIN: Duration = Duration::from_millis(10);
        let planned = async {
            while let Ok(Some(JobStatus { status: Some(Status::Queued(_)), .. })) =
                self.jobs.get_job_status(job).await
            {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let _ = tokio::time::timeout(PLANNING_MAX, planned).await;
        // Tasks that compute without a pause do not notice that they are aborted.
        self.membership.stop(job);
        if let Err(error) = self.inner.cancel_job(job.clone()).await {
            warn!(job.id = %job, %error, "a job could not be cancelled");
        }
    }

    /// Tasks of a job that have been begun so far.
    pub async fn tasks_begun(&self, job: &JobId) -> usize {
        self.progress(job).await.map_or(0, |progress| progress.tasks_begun())
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

    /// Forgets a lost executor.
    pub async fn forget(&self, executor: &ExecutorId) {
        let params = ExecutorStoppedParams {
            executor_id: executor.to_string(),
            reason: "the coordinator lost it".to_owned(),
        };
        if let Err(error) = self.inner.executor_stopped(tonic::Request::new(params)).await {
            warn!(executor.id = %executor, %error, "a lost executor could not be removed");
        }
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
        .with_scheduler_policy(TaskSchedulingPolicy::PushStaged);
    options.task_distribution = TaskDistributionPolicy::RoundRobin;
    options.executor_timeout_seconds = BALLISTA_TIMEOUT_SECONDS;
    options.expire_dead_executor_interval_seconds = BALLISTA_EXPIRE_INTERVAL_SECONDS;
    options.no_executors_grace_period_seconds = BALLISTA_TIMEOUT_SECONDS;
    options.executor_termination_grace_period = 0;
    options.finished_job_data_clean_up_interval_seconds = BACKSTOP_CLEAN_UP_SECONDS;
    options.finished_job_state_clean_up_interval_seconds = 60;
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
