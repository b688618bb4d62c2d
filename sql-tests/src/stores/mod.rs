//! Real stores that tables lie in, each started on free ports in a folder of its own and ended when dropped.

mod azure;
mod envoy;
mod gcs;
mod hdfs;
mod s3;

use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpStream;

pub use azure::AzureStore;
pub use envoy::Envoy;
pub use gcs::{FakeGcs, GcsStore};
pub use hdfs::HdfsStore;
pub use s3::{ACCESS_KEY, S3Store, SECRET_KEY};

/// The one bucket, or container, of each.
pub const BUCKET: &str = "lake";

/// Each is there within seconds; a minute says that it never will.
const START_LIMIT: Duration = Duration::from_secs(60);

fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    // All are held until all are known, so they differ.
    let listeners =
        (0..N).map(|_| std::net::TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let ports = listeners.iter().map(|listener| Ok(listener.local_addr()?.port()));
    let ports = ports.collect::<anyhow::Result<Vec<_>>>()?;
    ports.try_into().map_err(|_| anyhow::anyhow!("as many ports as listeners"))
}

/// Waits until something listens on `port`.
async fn listening(port: u16, what: &str) -> anyhow::Result<()> {
    let connected = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            // Nothing but the port tells: these programs say nothing when they are ready.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(START_LIMIT, connected).await.with_context(|| format!("{what} did not start"))
}

/// Waits for a line with `text` in it, and reads on so that the writer is never held up.
async fn line_with(
    output: impl AsyncRead + Unpin + Send + 'static,
    text: &'static str,
) -> anyhow::Result<()> {
    let (found, is_found) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut lines, mut found) = (BufReader::new(output).lines(), Some(found));
        while let Ok(Some(line)) = lines.next_line().await {
            if line.contains(text)
                && let Some(found) = found.take()
            {
                let _ = found.send(());
            }
        }
    });
    let waited = tokio::time::timeout(START_LIMIT, is_found).await;
    waited.context("it did not start")?.context("it ended before it had started")
}

fn variables<const N: usize>(pairs: [(&str, String); N]) -> Vec<(String, String)> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
