//! One object on its way into a store. It appears there whole when it is completed, and not at all else.

use bytes::Bytes;
use datafusion::parquet::arrow::async_writer::AsyncFileWriter;
use datafusion::parquet::errors::{ParquetError, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;

/// Bytes of one part of an upload. Stores ask for 5 MiB at least.
const PART_BYTES: usize = 8 << 20;
/// Parts under way at once.
const PARTS_AT_ONCE: usize = 3;

/// What an upload may hold in memory: the part being filled and those under way.
pub const UPLOAD_BYTES_MAX: usize = PART_BYTES * (PARTS_AT_ONCE + 1);

/// An upload. Dropping it before it is completed takes back what the store was given.
pub struct Upload {
    writer: Option<BufWriter>,
    tail: [u8; TAIL],
}

/// A Parquet file ends with the length of its footer in 4 bytes, and a magic number of 4.
const TAIL: usize = 8;

impl Upload {
    /// Starts an upload to `path`. Nothing is sent until a part is full.
    pub fn new(store: Arc<dyn ObjectStore>, path: Path) -> Self {
        let writer = BufWriter::with_capacity(store, path, PART_BYTES).with_max_concurrency(PARTS_AT_ONCE);
        Self { writer: Some(writer), tail: [0; TAIL] }
    }

    /// The length of the footer of the Parquet file that was uploaded.
    pub fn footer_bytes(&self) -> u64 {
        let [a, b, c, d, ..] = self.tail;
        u64::from(u32::from_le_bytes([a, b, c, d]))
    }

    fn writer(&mut self) -> Result<&mut BufWriter> {
        self.writer.as_mut().ok_or_else(|| ParquetError::General("the upload was completed".to_owned()))
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
            let put = self.writer()?.put(bytes).await;
            put.map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }

    fn complete(&mut self) -> BoxFuture<'_, Result<()>> {
        async move {
            let done = self.writer()?.shutdown().await;
            // A store's own error is inside of the one of the file interface.
            done.map_err(|error| ParquetError::External(Box::new(error)))?;
            self.writer = None;
            Ok(())
        }
        .boxed()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(mut writer) = self.writer.take() else { return };
        // Parts that were sent would be kept, and paid for, until somebody takes them back.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = writer.abort().await {
                    tracing::warn!(%error, "an upload could not be taken back");
                }
            });
        }
    }
}
