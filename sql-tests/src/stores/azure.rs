//! Azure Blob Storage by Azurite, Microsoft's emulator.

use std::path::Path;
use std::process::Stdio;

use anyhow::Context;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{BUCKET, free_ports, listening, variables};

const ACCOUNT: &str = "sluice";
/// Base64 of a text that says what it is.
const KEY: &str = "bm90IGEgc2VjcmV0LCBvbmx5IGZvciB0ZXN0cw==";

/// A running Azurite.
#[derive(Debug)]
pub struct AzureStore {
    endpoint: String,
    _server: Child,
    _folder: TempDir,
}

impl AzureStore {
    /// Starts the Azurite among the installed `stores`, with an empty container.
    pub async fn start(stores: &Path) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let [port] = free_ports()?;
        let node = stores.join("node");
        let server = Command::new("node")
            .arg(node.join("node_modules/azurite/dist/src/blob/main.js"))
            .args(["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence"])
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{KEY}"))
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        listening(port, "Azurite").await?;
        let endpoint = format!("http://127.0.0.1:{port}/{ACCOUNT}");
        let script = Path::new("sql-tests/stores/azure_container.js").canonicalize()?;
        let made = Command::new("node")
            .arg(script)
            .args([&endpoint, ACCOUNT, KEY, BUCKET])
            .current_dir(&node)
            .status()
            .await
            .context("node runs")?;
        anyhow::ensure!(made.success(), "the container could not be made");
        Ok(Self { endpoint, _server: server, _folder: folder })
    }

    /// The environment of a server that may enter.
    pub fn environment(&self) -> Vec<(String, String)> {
        variables([
            ("SLUICE_STORES__AZURE__ACCOUNT", ACCOUNT.into()),
            ("SLUICE_STORES__AZURE__ACCESS_KEY", KEY.into()),
            ("SLUICE_STORES__AZURE__ENDPOINT", self.endpoint.clone()),
            ("SLUICE_STORES__AZURE__ALLOW_HTTP", "true".into()),
        ])
    }
}
