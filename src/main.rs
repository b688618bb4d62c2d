//! `sluice`: one binary that serves SQL, runs executors, and shows itself off.

mod demo;
mod tpch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use engine::config::{Config, ConfigError, ExecutorFlags, ServeFlags};
use engine::priority;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A SQL query server with distributed execution that speaks the Postgres wire protocol.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve tables to Postgres clients
    Serve(ServeFlags),
    /// Run tasks for a coordinator
    Executor(ExecutorFlags),
    /// Generate TPC-H data and serve it, by default with two executors of 2 GB
    Demo(demo::DemoFlags),
}

/// Wrong flags and settings, as sysexits.h has it.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    ::engine::panics::watch();
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        std::process::exit(if error.use_stderr() { USAGE.into() } else { 0 });
    });
    let outcome = match cli.verb {
        Verb::Serve(flags) => serve(&flags),
        Verb::Executor(flags) => executor(&flags),
        Verb::Demo(flags) => demo::run(&flags),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice: {error:#}");
            ExitCode::from(if error.is::<ConfigError>() { USAGE } else { 1 })
        }
    }
}

fn serve(flags: &ServeFlags) -> anyhow::Result<()> {
    let config = Config::for_server(flags)?;
    if flags.common.print_config {
        print!("{}", config.to_toml());
        return Ok(());
    }
    run_server(config, flags.common.config.clone(), |server| {
        println!(
            "serving {} tables on {}, dashboard on http://{}, executors join {}",
            server.table_names().len(),
            server.listen,
            server.dashboard,
            server.cluster
        );
    })
}

/// Serves until the process is told to stop. `announce` is called once the ports are open.
fn run_server(
    config: Config,
    config_file: Option<std::path::PathBuf>,
    announce: impl FnOnce(&server::Server),
) -> anyhow::Result<()> {
    log_to_stderr("info");
    priority::as_usual();
    let compute = runtime("compute", config.server_threads(), priority::give_way)?;
    let small = runtime("small", config.server_threads(), priority::as_usual)?;
    let planning = runtime("planning", config.server_threads(), priority::as_usual)?;
    let watching = runtime("watching", 1, priority::as_usual)?;
    let cluster = runtime("cluster", CLUSTER_THREADS, || {
        priority::come_first();
    })?;
    let threads = server::Threads {
        compute: compute.handle().clone(),
        small: small.handle().clone(),
        planning: planning.handle().clone(),
        watching: watching.handle().clone(),
        cluster: cluster.handle().clone(),
    };
    runtime("network", config.server_threads().max(2), priority::as_usual)?.block_on(async {
        let shutdown = stop_on_signal(true)?;
        let server = server::Server::start(config, config_file, threads, shutdown).await?;
        announce(&server);
        tokio::spawn(server.executors_joined(|executors| println!("{executors} executors joined")));
        server.run().await;
        anyhow::Ok(())
    })?;
    compute.shutdown_background();
    small.shutdown_background();
    planning.shutdown_background();
    watching.shutdown_background();
    cluster.shutdown_background();
    Ok(())
}

fn executor(flags: &ExecutorFlags) -> anyhow::Result<()> {
    let config = Config::for_executor(flags)?;
    if flags.common.print_config {
        print!("{}", config.to_toml());
        return Ok(());
    }
    // Ballista warns of each buffer of an exchange that it writes to disk, which is what it does past a bounded size.
    log_to_stderr("warn,sluice_executor=info,ballista_core::execution_plans::sort_shuffle=error");
    let is_supervised = flags.supervisor.is_some();
    priority::as_usual();
    let tasks = executor::Threads::start(config.executor_threads(), STACK_BYTES)?;
    let threads = tasks.handles();
    let outcome = runtime("executor", 2, priority::as_usual)?.block_on(async {
        // At a terminal an interrupt reaches every process; a server ends its executors itself, after its clients.
        let stop = stop_on_signal(!is_supervised)?;
        anyhow::Ok(executor::run(config, is_supervised, threads, stop).await)
    })?;
    tasks.shutdown_background();
    outcome.map_err(|error| match error {
        executor::StartError::Usage(problem) => anyhow::Error::new(ConfigError::new(problem)),
        other => anyhow::Error::new(other),
    })
}

/// Planning and running recurse as deep as a plan; the memory of a stack is taken only where it is
/// used, so a large one costs nothing.
const STACK_BYTES: usize = 256 << 20;

/// Threads that hear executors and hand out their tasks.
const CLUSTER_THREADS: usize = 2;

fn runtime(name: &str, threads: usize, at_start: fn()) -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_stack_size(STACK_BYTES)
        .thread_name(name)
        .on_thread_start(at_start)
        .enable_all()
        .build()
}

/// Cancelled when the process is told to terminate, or interrupted where that means it.
fn stop_on_signal(interrupts: bool) -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let shutdown = CancellationToken::new();
    let told = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            Some(()) = interrupt.recv(), if interrupts => {}
            _ = terminate.recv() => {}
        }
        told.cancel();
    });
    Ok(shutdown)
}

/// `SLUICE_LOG` chooses what is logged, `SLUICE_LOG_FORMAT=json` how; Ballista and DataFusion only warn.
fn log_to_stderr(default: &str) {
    // A task's part of a scan has fewer partitions than the scan says it has, and DataFusion warns of each.
    let quiet = "warn,sluice=info,sluice_server=info,sluice_engine=info,sluice_catalog=info,\
                 datafusion_datasource::file_scan_config=error";
    let default = if default == "info" { quiet } else { default };
    let filter = std::env::var("SLUICE_LOG").unwrap_or_else(|_| default.to_owned());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr);
    let _ = match std::env::var("SLUICE_LOG_FORMAT").as_deref() {
        Ok("json") => lines.json().flatten_event(true).try_init(),
        _ => lines.try_init(),
    };
}
