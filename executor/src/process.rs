//! Starts an executor process: the one place that names Ballista's executor options.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;

use ballista_core::config::TaskSchedulingPolicy;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_executor::metrics::ExecutorMetricCollectionPolicy;
use engine::config::Config;
use engine::runtime::NodeRuntime;
use engine::work_folder::WorkFolder;
use engine::{ExecutorId, codec, functions, session_state};
use tracing::info;

use crate::report::Reporter;
use crate::shuffle_files::ShuffleFiles;
use crate::stage_runner::{StageRunner, TaskCounts};
use crate::supervision;

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

/// Runs an executor until it is told to stop. `is_supervised` says that a server started it and holds
/// its standard input.
pub async fn run(config: Config, is_supervised: bool) -> Result<(), StartError> {
    let coordinator = coordinator_address(&config)?;
    let work_folder = claim_work_folder(&config)?;
    if is_supervised {
        supervision::end_with_server(Arc::clone(&work_folder));
    }
    let runtime = node_runtime(&config, &work_folder)?;
    let (flight_port, grpc_port) = ports(config.executor.listen)?;
    let executor_id = ExecutorId::generate();
    let counts = Arc::new(TaskCounts::default());
    let shuffle_folder = work_folder
        .subfolder("shuffle")
        .map_err(|error| StartError::Environment(format!("cannot make the shuffle folder: {error}")))?;

    let shuffle_files = ShuffleFiles::watch(shuffle_folder.clone(), config.executor.shuffle_bytes_max);

    let env = Arc::clone(&runtime.env);
    let of_tasks = runtime.clone();
    let options = ExecutorProcessConfig {
        executor_id: executor_id.to_string(),
        bind_host: config.executor.listen.ip().to_string(),
        external_host: Some(advertised_host(&config)),
        port: flight_port,
        grpc_port,
        scheduler_host: coordinator.0.clone(),
        scheduler_port: coordinator.1,
        scheduler_connect_timeout_seconds: 10,
        vcores: config.executor_threads(),
        task_scheduling_policy: TaskSchedulingPolicy::PushStaged,
        work_dir: Some(shuffle_folder.to_string_lossy().into_owned()),
        grpc_max_decoding_message_size: codec::MESSAGE_BYTES_MAX,
        grpc_max_encoding_message_size: codec::MESSAGE_BYTES_MAX,
        executor_heartbeat_interval_seconds: 1,
        metric_collection_policy: ExecutorMetricCollectionPolicy::Off,
        // Zero leaves the pool alone: ours is one for the process, not a fixed share per task.
        memory_pool_size: Some(0),
        override_execution_engine: Some(Arc::new(StageRunner::new(
            runtime.clone(),
            shuffle_files,
            Arc::clone(&counts),
        ))),
        override_function_registry: Some(functions::registry()),
        override_runtime_producer: Some(Arc::new(move |_| Ok(Arc::clone(&env)))),
        override_config_producer: Some(Arc::new(move || session_state::executor_config(&of_tasks))),
        override_logical_codec: Some(codec::logical()),
        override_physical_codec: Some(codec::physical()),
        ..ExecutorProcessConfig::default()
    };
    info!(executor.id = %executor_id, memory = %runtime.pool.cap(), threads = options.vcores, "executor starting");

    let reporter = Arc::new(Reporter {
        executor_id,
        threads: options.vcores,
        shared_paths: shared_paths(&config, is_supervised),
        runtime,
        counts,
    });
    let reports = tokio::spawn(reporter.run(format!("{}:{}", coordinator.0, coordinator.1)));
    let result = start_executor_process(Arc::new(options)).await;
    reports.abort();
    drop(work_folder);
    result.map_err(|error| {
        StartError::Environment(format!(
            "cannot work for the coordinator at {}:{}: {error}",
            coordinator.0, coordinator.1
        ))
    })
}

fn coordinator_address(config: &Config) -> Result<(String, u16), StartError> {
    let address = config.executor.coordinator.as_deref().ok_or_else(|| {
        StartError::Usage("tell the executor where to join: --coordinator HOST:PORT".into())
    })?;
    address
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)))
        .ok_or_else(|| StartError::Usage(format!("--coordinator {address:?} is not HOST:PORT")))
}

fn claim_work_folder(config: &Config) -> Result<Arc<WorkFolder>, StartError> {
    let parent = &config.executor.work_dir;
    WorkFolder::claim(parent).map(Arc::new).map_err(|error| {
        StartError::Environment(format!("cannot use the work folder {}: {error}", parent.display()))
    })
}

fn node_runtime(config: &Config, work_folder: &WorkFolder) -> Result<NodeRuntime, StartError> {
    let executor = &config.executor;
    let allowed = (!executor.locations.is_empty()).then_some(executor.locations.as_slice());
    NodeRuntime::new(config, config.executor_memory(), work_folder, executor.spill_bytes_max, allowed)
        .map_err(|error| StartError::Environment(error.to_string()))
}

/// The data port and the task port: `listen`'s and the next one, or two free ones.
fn ports(listen: SocketAddr) -> Result<(u16, u16), StartError> {
    if listen.port() != 0 {
        return Ok((listen.port(), listen.port() + 1));
    }
    // Ballista binds by number, so free numbers are found by binding and letting go. Both are held
    // until both are known, so they differ.
    let free = || {
        let listener = TcpListener::bind((listen.ip(), 0))?;
        let port = listener.local_addr()?.port();
        Ok::<_, std::io::Error>((listener, port))
    };
    let unusable = |error| StartError::Environment(format!("cannot listen on {}: {error}", listen.ip()));
    let (_data_listener, data) = free().map_err(unusable)?;
    let (_task_listener, task) = free().map_err(unusable)?;
    Ok((data, task))
}

fn advertised_host(config: &Config) -> String {
    match (&config.executor.advertise, config.executor.listen.ip()) {
        (Some(host), _) => host.clone(),
        (None, IpAddr::V6(ip)) => format!("[{ip}]"),
        (None, ip) => ip.to_string(),
    }
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
