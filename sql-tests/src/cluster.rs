//! One server with its executors, on free ports, stopped when dropped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio_postgres::{Client, NoTls};

/// Starting takes a second; a minute says that it never will.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What a cluster is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folders whose tables are served.
    pub locations: Vec<PathBuf>,
    /// Supervised executors.
    pub executors: usize,
    /// Partitions each of them computes at once.
    pub executor_threads: usize,
    /// The cap on each of them.
    pub executor_memory: String,
    /// The cap on the server.
    pub memory: String,
    /// Where the server keeps what it writes; a temporary folder when not given.
    pub data_dir: Option<PathBuf>,
    /// Where executors join; a free port of this machine when not given.
    pub cluster_listen: Option<SocketAddr>,
    /// Where the dashboard is served.
    pub dashboard: SocketAddr,
    /// Further flags of the server.
    pub flags: Vec<String>,
    /// Further environment variables of the server and its executors.
    pub environment: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            locations: Vec::new(),
            executors: 2,
            executor_threads: 1,
            executor_memory: "1GB".to_owned(),
            memory: "2GB".to_owned(),
            data_dir: None,
            cluster_listen: None,
            dashboard: SocketAddr::from(([127, 0, 0, 1], 0)),
            flags: Vec::new(),
            environment: Vec::new(),
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct TestCluster {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where the dashboard is.
    pub dashboard: SocketAddr,
    /// Where executors join.
    pub cluster: SocketAddr,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    folder: TempDir,
}

impl TestCluster {
    /// Starts `binary` and waits until every executor has joined.
    pub async fn start(binary: &Path, options: &Options) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let log = std::fs::File::create(folder.path().join("server.log"))?;
        let mut child = Command::new(binary)
            .arg("serve")
            .args(&options.locations)
            .args(["--listen", "127.0.0.1:0", "--dashboard", &options.dashboard.to_string()])
            .arg("--cluster-listen")
            .arg(options.cluster_listen.map_or("127.0.0.1:0".to_owned(), |address| address.to_string()))
            .args(["--memory", &options.memory])
            .args(["--executors", &options.executors.to_string()])
            .args(["--executor-threads", &options.executor_threads.to_string()])
            .args(["--executor-memory", &options.executor_memory, "--data-dir"])
            .arg(options.data_dir.clone().unwrap_or_else(|| folder.path().join("data")))
            .args(&options.flags)
            .envs(options.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let stdout = child.stdout.take().expect("standard output is piped");
        let mut lines = BufReader::new(stdout).lines();
        let announced = next_line(&mut lines, folder.path()).await?;
        let mut addresses = announced
            .split([' ', ','])
            .filter_map(|word| word.trim_start_matches("http://").parse::<SocketAddr>().ok());
        let (Some(address), Some(dashboard), Some(cluster)) =
            (addresses.next(), addresses.next(), addresses.next())
        else {
            bail!("the server announced itself as {announced:?}");
        };
        if options.executors > 0 {
            let joined = next_line(&mut lines, folder.path()).await?;
            anyhow::ensure!(joined.contains("executors joined"), "the server said {joined:?}");
        }
        Ok(Self { address, dashboard, cluster, child, lines, folder })
    }

    /// A new session.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        self.connect_with("").await
    }

    /// A new session with start-up options such as `-c sluice.route=cluster`.
    pub async fn connect_with(&self, options: &str) -> anyhow::Result<Client> {
        let mut config = self.config();
        if !options.is_empty() {
            config.options(options);
        }
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// How to connect.
    pub fn config(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host(self.address.ip().to_string()).port(self.address.port());
        config.user("postgres").dbname("postgres");
        config
    }

    /// The server's process.
    pub fn process_id(&self) -> u32 {
        self.child.id().expect("the server runs")
    }

    /// The folder that holds all that the server and its executors write.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The file that holds the secret of the cluster.
    pub fn secret_file(&self) -> PathBuf {
        self.data_dir().join("cluster.secret")
    }

    /// The executors' processes.
    pub async fn executor_processes(&self) -> anyhow::Result<Vec<u32>> {
        let client = self.connect().await?;
        let rows = client.query("select process_id from sys.executors", &[]).await?;
        Ok(rows.iter().map(|row| row.get::<_, i32>(0) as u32).collect())
    }

    /// What the server and its executors logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    /// Sends a signal to the server and waits for its end.
    pub async fn end(mut self, signal: &str) -> anyhow::Result<std::process::ExitStatus> {
        send_signal(signal, self.process_id()).await?;
        let ended = tokio::time::timeout(START_LIMIT, self.child.wait()).await;
        while let Ok(Some(_)) = self.lines.next_line().await {}
        Ok(ended.context("the server does not end")??)
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the server's last words:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

/// Sends a signal by its name, as `kill -s` does.
pub async fn send_signal(signal: &str, process_id: u32) -> anyhow::Result<()> {
    let status = Command::new("kill").args(["-s", signal, &process_id.to_string()]).status().await?;
    anyhow::ensure!(status.success(), "process {process_id} could not be sent {signal}");
    Ok(())
}

async fn next_line(lines: &mut Lines<BufReader<ChildStdout>>, folder: &Path) -> anyhow::Result<String> {
    let line = tokio::time::timeout(START_LIMIT, lines.next_line()).await;
    let log = || std::fs::read_to_string(folder.join("server.log")).unwrap_or_default();
    match line {
        Ok(Ok(Some(line))) => Ok(line),
        Ok(_) => bail!("the server ended:\n{}", log()),
        Err(_) => bail!("the server said nothing for {START_LIMIT:?}:\n{}", log()),
    }
}
