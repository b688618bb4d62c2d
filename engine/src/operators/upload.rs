//! One object on its way into a store. It appears there whole when it is completed, and not at all else.
//!
//! A store of objects takes an upload in parts, and whoever knows its identifier and its parts may complete
//! it: so one process can write what another one commits.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use datafusion::parquet::arrow::async_writer::AsyncFileWriter;
use datafusion::parquet::errors::{ParquetError, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::buffered::BufWriter;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{MultipartId, ObjectStore};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

/// Bytes of one part of an upload. Stores ask for 5 MiB at least.
const PART_BYTES: usize = 8 << 20;
/// Parts under way at once, at most.
const PARTS_AT_ONCE_MAX: usize = 3;
/// Share of a pool that the parts under way of one upload may take.
const UPLOAD_SHARE: usize = 8;

/// How many parts of an upload are under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartsAtOnce(usize);

impl PartsAtOnce {
    /// As many as suit a pool of `limit` bytes.
    pub fn for_pool(limit: usize) -> Self {
        Self((limit / UPLOAD_SHARE / PART_BYTES).clamp(1, PARTS_AT_ONCE_MAX))
    }

    /// What an upload may hold in memory, in bytes: the part being filled and those under way.
    pub fn bytes_max(self) -> usize {
        PART_BYTES * (self.0 + 1)
    }
}

/// An object whose bytes lie in the store, and that nobody sees before it is completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedObject {
    /// Names the upload in the store.
    pub upload_id: String,
    /// What the store called its parts, in order.
    pub parts: Vec<String>,
}

/// An upload. Dropping it before its end takes back what the store was given.
pub struct Upload {
    to: To,
    tail: [u8; TAIL],
}

enum To {
    /// An object that its last byte completes.
    Object(Option<BufWriter>),
    /// An object that somebody else completes.
    Staged(Staging),
}

/// A Parquet file ends with the length of its footer in 4 bytes, and a magic number of 4.
const TAIL: usize = 8;

impl Upload {
    /// Starts an upload to `path`. Nothing is sent until a part is full.
    pub fn new(store: Arc<dyn ObjectStore>, path: Path, at_once: PartsAtOnce) -> Self {
        let writer = BufWriter::with_capacity(store, path, PART_BYTES).with_max_concurrency(at_once.0);
        Self { to: To::Object(Some(writer)), tail: [0; TAIL] }
    }

    /// Starts an upload to `path` that [`Self::staged`] tells how to complete.
    pub fn to_stage(store: Arc<dyn MultipartStore>, path: Path, at_once: PartsAtOnce) -> Self {
        Self { to: To::Staged(Staging::new(store, path, at_once)), tail: [0; TAIL] }
    }

    /// The length of the footer of the Parquet file that was uploaded.
    pub fn footer_bytes(&self) -> u64 {
        let [a, b, c, d, ..] = self.tail;
        u64::from(u32::from_le_bytes([a, b, c, d]))
    }

    /// What completes the object, once the upload has ended and where it is not completed yet.
    pub fn staged(&self) -> Option<StagedObject> {
        match &self.to {
            To::Object(_) => None,
            To::Staged(staging) => staging.staged.clone(),
        }
    }
}

impl AsyncFileWriter for Upload {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<()>> {
        if bytes.len() >= TAIL {
            self.tail.copy_from_slice(&bytes[bytes.len() - TAIL..]);
        } else {
            self.tail.rotate_left(bytes.len());
            self.tail[TAIL - bytes.len()..].copy_from_slice(&bytes);
        }
        async move {
            let put = match &mut self.to {
                To::Object(writer) => writer.as_mut().ok_or_else(completed)?.put(bytes).await,
                To::Staged(staging) => staging.put(bytes).await,
            };
            put.map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }

    fn complete(&mut self) -> BoxFuture<'_, Result<()>> {
        async move {
            match &mut self.to {
                To::Object(writer) => {
                    // Taken: from here on it must not be asked to take anything back, to which it says no by a panic.
                    let done = writer.take().ok_or_else(completed)?.shutdown().await;
                    // A store's own error is inside of the one of the file interface.
                    done.map_err(|error| ParquetError::External(Box::new(error)))?;
                }
                To::Staged(staging) => {
                    staging.end().await.map_err(|error| ParquetError::External(Box::new(error)))?;
                }
            }
            Ok(())
        }
        .boxed()
    }
}

fn completed() -> ParquetError {
    ParquetError::General("the upload was completed".to_owned())
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Parts that were sent would be kept, and paid for, until somebody takes them back.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let told = |outcome: std::result::Result<(), String>| {
            if let Err(error) = outcome {
                tracing::warn!(%error, "an upload could not be taken back");
            }
        };
        match &mut self.to {
            To::Object(writer) => {
                let Some(mut writer) = writer.take() else { return };
                runtime.spawn(async move { told(writer.abort().await.map_err(|error| error.to_string())) });
            }
            To::Staged(staging) if staging.staged.is_none() => {
                let Some(id) = staging.id.take() else { return };
                let (store, path) = (Arc::clone(&staging.store), staging.path.clone());
                let mut sent = std::mem::take(&mut staging.sent);
                runtime.spawn(async move {
                    // A part that arrives behind the end would be kept.
                    sent.shutdown().await;
                    told(store.abort_multipart(&path, &id).await.map_err(|error| error.to_string()));
                });
            }
            To::Staged(_) => {}
        }
    }
}

/// An upload in parts of one size, as some stores ask, save for the last.
struct Staging {
    store: Arc<dyn MultipartStore>,
    path: Path,
    at_once: PartsAtOnce,
    id: Option<MultipartId>,
    filling: BytesMut,
    sent: JoinSet<object_store::Result<(usize, PartId)>>,
    parts: Vec<Option<String>>,
    staged: Option<StagedObject>,
}

impl Staging {
    fn new(store: Arc<dyn MultipartStore>, path: Path, at_once: PartsAtOnce) -> Self {
        Self {
            store,
            path,
            at_once,
            id: None,
            filling: BytesMut::new(),
            sent: JoinSet::new(),
            parts: Vec::new(),
            staged: None,
        }
    }

    async fn put(&mut self, mut bytes: Bytes) -> object_store::Result<()> {
        while !bytes.is_empty() {
            let taken = bytes.split_to(bytes.len().min(PART_BYTES - self.filling.len()));
            self.filling.extend_from_slice(&taken);
            if self.filling.len() == PART_BYTES {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> object_store::Result<()> {
        let id = match &self.id {
            Some(id) => id.clone(),
            None => self.id.insert(self.store.create_multipart(&self.path).await?).clone(),
        };
        while self.sent.len() >= self.at_once.0 {
            self.arrived().await?;
        }
        let at = self.parts.len();
        self.parts.push(None);
        let part = std::mem::take(&mut self.filling).freeze();
        let (store, path) = (Arc::clone(&self.store), self.path.clone());
        self.sent.spawn(async move { Ok((at, store.put_part(&path, &id, at, part.into()).await?)) });
        Ok(())
    }

    async fn arrived(&mut self) -> object_store::Result<()> {
        let Some(arrived) = self.sent.join_next().await else { return Ok(()) };
        let (at, part) = arrived.map_err(|source| object_store::Error::JoinError { source })??;
        self.parts[at] = Some(part.content_id);
        Ok(())
    }

    async fn end(&mut self) -> object_store::Result<()> {
        if !self.filling.is_empty() || self.parts.is_empty() {
            self.send().await?;
        }
        while !self.sent.is_empty() {
            self.arrived().await?;
        }
        let parts = self.parts.drain(..).flatten().collect();
        self.staged = self.id.clone().map(|upload_id| StagedObject { upload_id, parts });
        Ok(())
    }
}
