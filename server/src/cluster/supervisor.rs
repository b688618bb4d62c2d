//! Starts executors on this machine, restarts the ones that die, and stops them with the server.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::config::{Config, Secret};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Cluster;

const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// An executor that lived this long died of something new.
const LIVED_WELL: Duration = Duration::from_secs(30);

/// The children; dropping this stops them.
#[derive(Debug)]
pub struct Supervisor {
    children: JoinSet<()>,
}

/// How a child is started.
struct Recipe {
    program: PathBuf,
    arguments: Vec<String>,
    work_dir: PathBuf,
    secret: Secret,
}

impl Supervisor {
    /// Starts the configured number of executors, which join `coordinator` (`HOST:PORT`) and use files below `allowed`
    /// alone.
    pub fn start(
        config: &Config,
        config_file: Option<PathBuf>,
        coordinator: String,
        secret: &Secret,
        allowed: &[String],
        cluster: &Arc<Cluster>,
        shutdown: &CancellationToken,
    ) -> std::io::Result<Self> {
        let program = std::env::current_exe()?;
        let mut children = JoinSet::new();
        for index in 0..config.cluster.executors {
            let work_dir = config.server.data_dir.join("executors").join(index.to_string());
            let mut arguments = vec![
                "executor".to_owned(),
                "--coordinator".to_owned(),
                coordinator.clone(),
                "--threads".to_owned(),
                config.cluster.executor_threads.to_string(),
                "--memory".to_owned(),
                config.cluster.executor_memory.0.to_string(),
                "--supervisor".to_owned(),
                std::process::id().to_string(),
            ];
            for place in allowed {
                arguments.extend(["--location".to_owned(), place.clone()]);
            }
            if let Some(file) = &config_file {
                arguments.extend(["--config".to_owned(), file.to_string_lossy().into_owned()]);
            }
            let recipe = Recipe { program: program.clone(), arguments, work_dir, secret: secret.clone() };
            children.spawn(supervise(recipe, index, Arc::clone(cluster), shutdown.clone()));
        }
        Ok(Self { children })
    }

    /// Waits until every child has ended, after the shutdown.
    pub async fn stopped(mut self) {
        while self.children.join_next().await.is_some() {}
    }
}

async fn supervise(recipe: Recipe, index: usize, cluster: Arc<Cluster>, shutdown: CancellationToken) {
    let mut backoff = BACKOFF_FIRST;
    loop {
        let started_at = Instant::now();
        match spawn(&recipe).await {
            Ok(mut child) => {
                let process_id = child.id().unwrap_or_default();
                // Taken out: waiting for the child would close it, and with it end the child.
                let lifeline = child.stdin.take();
                info!(index, process_id, "executor process started");
                tokio::select! {
                    ended = child.wait() => {
                        // Known at once, before any connection is found broken.
                        cluster.membership.lost_process(process_id);
                        warn!(index, process_id, ?ended, "executor process ended");
                    }
                    () = shutdown.cancelled() => {
                        drop(lifeline);
                        stop(child).await;
                        return;
                    }
                }
            }
            Err(error) => error!(index, %error, "an executor process could not be started"),
        }
        if started_at.elapsed() > LIVED_WELL {
            backoff = BACKOFF_FIRST;
        }
        tokio::select! {
            () = tokio::time::sleep(backoff) => {}
            () = shutdown.cancelled() => return,
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

async fn spawn(recipe: &Recipe) -> std::io::Result<Child> {
    let mut child = Command::new(&recipe.program)
        .args(&recipe.arguments)
        .arg("--work-dir")
        .arg(&recipe.work_dir)
        // Whatever is set for executors of other machines.
        .args(["--listen", "127.0.0.1:0"])
        // Given the secret, and nothing else: it ends when this process does, which is how the child notices.
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(lifeline) = child.stdin.as_mut() {
        lifeline.write_all(format!("{}\n", recipe.secret.reveal()).as_bytes()).await?;
    }
    Ok(child)
}

/// Its standard input is closed, which tells the child to clean up and end; this makes sure.
async fn stop(mut child: Child) {
    const GRACE: Duration = Duration::from_secs(3);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}
