//! Starts an executor process: what it is made of, and how it ends.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::serde::protobuf::executor_grpc_server::ExecutorGrpcServer;
use engine::config::{Config, Secret};
use engine::runtime::NodeRuntime;
use engine::strain::Strain;
use engine::work_folder::WorkFolder;
use engine::{ClusterIdentity, ExecutorId, codec, priority};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tracing::{error, info, warn};

use crate::data_service::DataService;
use crate::exhaustion::exhausted;
use crate::link::{self, Link, Reporter};
use crate::shuffle_files::ShuffleFiles;
use crate::stage_runner::{StageRunner, TaskCounts};
use crate::supervision;
use crate::task_service::TaskService;
use crate::tasks::{Tasks, ThreadHandles};

/// An executor whose memory is not given back waits no longer for queries that need its files.
const EXHAUSTED_DRAIN_MAX: Duration = Duration::from_secs(5);

/// The subfolder of shuffle files.
const SHUFFLE: &str = "shuffle";

/// Why an executor could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `--coordinator` is missing or is not `HOST:PORT`.
    #[error("{0}")]
    Usage(String),
    /// Something on this machine or on the way to the coordinator is in the way.
    #[error("{0}")]
    Environment(String),
}

/// Runs an executor until `stop`, and then until the queries that it works for have ended. Tasks run on `threads`.
/// `is_supervised` says that a server started it and holds its standard input.
pub async fn run(
    config: Config,
    is_supervised: bool,
    threads: ThreadHandles,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let coordinator = coordinator_address(&config)?;
    let host = advertised_host(&config)?;
    let secret = if is_supervised { supervision::read_secret() } else { configured_secret(&config)? };
    let secret = secret.ok_or_else(no_secret)?;
    let identity = ClusterIdentity::of(secret.reveal()).map_err(environment)?;
    let executor_id = ExecutorId::generate();
    let (work_folder, inherited) = claim_work_folder(&config, &executor_id)?;
    if is_supervised {
        supervision::end_with_server(Arc::clone(&work_folder));
    }
    let runtime = node_runtime(&config, &work_folder)?;
    let listen = config.executor.listen;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| StartError::Environment(format!("cannot listen on {listen}: {error}")))?;
    let port = listener.local_addr().map_err(environment)?.port();
    let shuffle_folder = work_folder
        .subfolder(SHUFFLE)
        .map_err(|error| StartError::Environment(format!("cannot make the shuffle folder: {error}")))?;
    let shuffle_files = ShuffleFiles::watch(shuffle_folder.clone(), config.executor.shuffle_bytes_max);
    let counts = Arc::new(TaskCounts::default());
    let runner = StageRunner::new(runtime.clone(), &identity, shuffle_files, Arc::clone(&counts));
    let (tasks, ended) =
        Tasks::new(runner, runtime.clone(), shuffle_folder.clone(), threads, executor_id.clone());
    let reporter = Arc::new(Reporter {
        executor_id: executor_id.clone(),
        host,
        port,
        threads: config.executor_threads(),
        shared_paths: shared_paths(&config, is_supervised),
        is_supervised,
        inherited,
        runtime: runtime.clone(),
        counts: Arc::clone(&counts),
        draining: stop.clone(),
        join_timeout: config.executor.join_timeout.0,
        usage: Mutex::default(),
        strain: Strain::new(may_come_first()),
    });
    info!(executor.id = %executor_id, port, memory = %runtime.pool.cap(), threads = reporter.threads, "executor starting");
    let data = DataService::new(shuffle_folder.to_string_lossy().into_owned());
    serve(listener, &identity, TaskService::new(Arc::clone(&tasks)), data)?;
    let link = Link::new(coordinator.clone(), identity.clone(), reporter, Arc::clone(&tasks), ended);
    let ending = async {
        let is_exhausted = told_to_end(&runtime, &tasks, &counts, &stop).await;
        let patience = config.executor.drain_timeout;
        // It can run nothing, and takes the place of one that could.
        let patience = if is_exhausted { patience.0.min(EXHAUSTED_DRAIN_MAX) } else { patience.0 };
        (drained(patience, &tasks).await, is_exhausted)
    };
    let outcome = tokio::select! {
        refused = kept(link) => Err(refused.unwrap_or_else(|error| error)),
        (is_needed, is_exhausted) = ending => {
            // Where it is still needed, the coordinator must find it lost.
            if !is_needed && let Err(error) = link::leave(&coordinator, &identity, &executor_id).await {
                warn!(%error, "the coordinator does not know that this executor has left");
            }
            if is_exhausted && is_needed {
                // Whoever comes in its place has its files, as after any other sudden end.
                std::mem::forget(Arc::clone(&work_folder));
            }
            if is_exhausted { Err(not_given_back()) } else { Ok(()) }
        }
    };
    // One that still computes would write into a folder that is gone.
    tasks.end().await;
    drop(work_folder);
    outcome
}

/// Whether a thread of this process can be put before others.
fn may_come_first() -> bool {
    let tried = std::thread::Builder::new().name("priority".into()).spawn(priority::come_first);
    tried.is_ok_and(|tried| tried.join().unwrap_or(false))
}

/// Keeps `link` from a thread that nothing which computes can keep waiting.
async fn kept(link: Link) -> Result<StartError, StartError> {
    let (tell, told) = oneshot::channel();
    let keep = move || {
        priority::come_first();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let _ = tell.send(match runtime {
            Ok(runtime) => Ok(runtime.block_on(link.keep())),
            Err(error) => Err(environment(error)),
        });
    };
    std::thread::Builder::new().name("link".into()).spawn(keep).map_err(environment)?;
    told.await.map_err(environment)?
}

/// Serves the one port of an executor to nodes of its cluster.
fn serve(
    listener: TcpListener,
    identity: &ClusterIdentity,
    tasks: TaskService,
    data: DataService,
) -> Result<(), StartError> {
    let limit = codec::MESSAGE_BYTES_MAX as usize;
    let tasks =
        ExecutorGrpcServer::new(tasks).max_decoding_message_size(limit).max_encoding_message_size(limit);
    let data =
        FlightServiceServer::new(data).max_decoding_message_size(limit).max_encoding_message_size(limit);
    let server = Server::builder()
        .tls_config(identity.server())
        .map_err(environment)?
        .add_service(tasks)
        .add_service(data)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    tokio::spawn(async move {
        if let Err(error) = server.await {
            error!(%error, "the executor's port failed");
        }
    });
    Ok(())
}

/// Resolves when the executor is to end, because it was told to, or because its memory is not given back, when it gives
/// true. Then it tells its coordinator, which gives it nothing new.
async fn told_to_end(
    runtime: &NodeRuntime,
    tasks: &Tasks,
    counts: &TaskCounts,
    stop: &CancellationToken,
) -> bool {
    let is_exhausted = tokio::select! {
        () = stop.cancelled() => false,
        () = exhausted(runtime, tasks, counts) => true,
    };
    stop.cancel();
    is_exhausted
}

fn not_given_back() -> StartError {
    StartError::Environment(
        "the executor ended because its memory was not given back: start it again, where nothing does so by itself"
            .into(),
    )
}

/// Resolves when the executor may end: nobody needs it any more, or it has waited long enough, when it gives true.
/// Queries that still need it are run again without it.
async fn drained(patience: Duration, tasks: &Tasks) -> bool {
    info!(jobs = tasks.jobs_with_files(), "told to end: what has begun is finished first");
    let is_needed = tokio::time::timeout(patience, tasks.idle()).await.is_err();
    if is_needed {
        info!("ending after {patience:?}: what has not finished is run again elsewhere");
    } else {
        info!("nobody needs this executor any more");
    }
    is_needed
}

fn environment(error: impl std::fmt::Display) -> StartError {
    StartError::Environment(error.to_string())
}

fn configured_secret(config: &Config) -> Result<Option<Secret>, StartError> {
    config.cluster_secret().map_err(|error| StartError::Usage(error.to_string()))
}

fn no_secret() -> StartError {
    StartError::Usage(
        "an executor shows the cluster's secret: --secret-file FILE, or SLUICE_CLUSTER__SECRET (a server that was given \
         none keeps its own in cluster.secret in its data folder)"
            .into(),
    )
}

fn coordinator_address(config: &Config) -> Result<String, StartError> {
    let address = config.executor.coordinator.as_deref().ok_or_else(|| {
        StartError::Usage("tell the executor where to join: --coordinator HOST:PORT".into())
    })?;
    address
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse::<u16>().ok())
        .map(|_| address.to_owned())
        .ok_or_else(|| StartError::Usage(format!("--coordinator {address:?} is not HOST:PORT")))
}

/// The folder, and the executors before this one whose shuffle files are in it now: their queries may still need them.
fn claim_work_folder(
    config: &Config,
    executor_id: &ExecutorId,
) -> Result<(Arc<WorkFolder>, Vec<ExecutorId>), StartError> {
    let parent = &config.executor.work_dir;
    let (folder, inherited) =
        WorkFolder::inherit(parent, SHUFFLE, executor_id.as_str()).map_err(|error| {
            StartError::Environment(format!("cannot use the work folder {}: {error}", parent.display()))
        })?;
    Ok((Arc::new(folder), inherited.into_iter().map(ExecutorId::from).collect()))
}

fn node_runtime(config: &Config, work_folder: &WorkFolder) -> Result<NodeRuntime, StartError> {
    let executor = &config.executor;
    let allowed = (!executor.locations.is_empty()).then_some(executor.locations.as_slice());
    NodeRuntime::new(config, config.executor_memory(), work_folder, executor.spill_bytes_max, allowed)
        .map_err(|error| StartError::Environment(error.to_string()))
}

/// The host that others are told, as it stands in a URL.
fn advertised_host(config: &Config) -> Result<String, StartError> {
    let listen = config.executor.listen.ip();
    let host = match &config.executor.advertise {
        Some(host) => host.clone(),
        None if listen.is_unspecified() => {
            return Err(StartError::Usage(format!(
                "nobody can be told to connect to {listen}: name the host with --advertise HOST"
            )));
        }
        None => listen.to_string(),
    };
    Ok(match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => host,
    })
}

fn shared_paths(config: &Config, is_supervised: bool) -> Vec<String> {
    if is_supervised {
        return vec!["/".to_owned()];
    }
    let as_prefix = |path: &std::path::PathBuf| {
        let path = path.canonicalize().unwrap_or_else(|_| path.clone());
        format!("{}/", path.to_string_lossy().trim_end_matches('/'))
    };
    config.executor.shared_paths.iter().map(as_prefix).collect()
}
