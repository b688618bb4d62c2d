//! A PostgreSQL 15 in a temporary folder: what answers are compared with, and a catalog's home.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;
use tokio::process::Command;

/// Where Debian's package postgresql-15 puts its programs.
const DEFAULT_PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// A running PostgreSQL, stopped when dropped.
#[derive(Debug)]
pub struct Oracle {
    /// Where it listens, on this machine.
    pub port: u16,
    folder: TempDir,
}

impl Oracle {
    /// Makes a new cluster and starts it. SLUICE_TEST_POSTGRES_BIN names another folder of programs.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        // PostgreSQL refuses to run as root, so the folder must be open to the user it runs as.
        let open: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(folder.path(), open)?;
        let port = free_port()?;
        let data = folder.path().join("data");
        let data_text = data.to_string_lossy().into_owned();
        let initdb = [
            "-D",
            &data_text,
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--lc-ctype=C.UTF-8",
        ];
        run(&program("initdb"), &initdb).await?;
        let socket = folder.path().to_string_lossy().into_owned();
        let options = format!("-p {port} -k {socket} -c listen_addresses=127.0.0.1 -c timezone=UTC");
        let log = folder.path().join("log").to_string_lossy().into_owned();
        run(&program("pg_ctl"), &["-D", &data_text, "-l", &log, "-o", &options, "-w", "start"]).await?;
        Ok(Self { port, folder })
    }

    /// The address for clients.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of its one database.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let data = self.folder.path().join("data").to_string_lossy().into_owned();
        let (name, arguments) = as_owner(&program("pg_ctl"), &["-D", &data, "-m", "immediate", "stop"]);
        let _ = std::process::Command::new(name).args(arguments).stdout(std::process::Stdio::null()).status();
    }
}

fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("SLUICE_TEST_POSTGRES_BIN").unwrap_or_else(|| DEFAULT_PROGRAMS.into());
    Path::new(&folder).join(name)
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The command that runs `program` as a user PostgreSQL accepts.
fn as_owner(program: &Path, arguments: &[&str]) -> (String, Vec<String>) {
    let own = program.to_string_lossy().into_owned();
    let arguments = arguments.iter().map(|argument| (*argument).to_owned());
    if !is_owned_by_root("/proc/self") {
        return (own, arguments.collect());
    }
    let switched = ["-u", "postgres", "--"].map(str::to_owned).into_iter();
    ("runuser".to_owned(), switched.chain([own]).chain(arguments).collect())
}

fn is_owned_by_root(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

async fn run(program: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let (name, arguments) = as_owner(program, arguments);
    // A server that was started keeps the streams it was given.
    let status = Command::new(&name)
        .args(&arguments)
        .current_dir("/")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .await
        .with_context(|| format!("{} is in Debian's package postgresql-15", program.display()))?;
    anyhow::ensure!(status.success(), "{name} {arguments:?} failed: {status}");
    Ok(())
}
