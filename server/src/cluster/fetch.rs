//! Fetches the rows of a job that has succeeded, out of its kept result.
//!
//! A result is fetched whole before its first row leaves, a small one into memory, others onto this machine's disk: an
//! executor lost meanwhile then costs another run, not an error, and a slow reader holds nothing of the executors'. One
//! past `server.result_bytes_kept_max`, or for which there is no disk, is fetched as it is read, partition after
//! partition.

use std::collections::HashMap;
use std::sync::Arc;

use ballista_core::client::BallistaClient;
use ballista_core::error::BallistaError;
use ballista_core::extension::BallistaConfigGrpcEndpoint;
use ballista_core::serde::protobuf::PartitionLocation as WireLocation;
use ballista_core::serde::scheduler::PartitionLocation;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::config::SpillCompression;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_plan::SpillManager;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, SpillMetrics};
use engine::runtime::NodeRuntime;
use engine::{Error, Result, panics};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::Cluster;
use super::submit::CleanUp;
use crate::query::Rows;

/// Results up to this many stored bytes are fetched into memory.
const WHOLE_BYTES_MAX: u64 = 8 << 20;
const IO_RETRIES: u8 = 2;
const IO_RETRY_WAIT_MS: u64 = 100;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const STREAM_WINDOW_BYTES: u32 = 4 << 20;

/// The rows of `job`, which hold its files until they are dropped; and whether all of them are here, so that nothing is
/// computed for them any more.
pub async fn rows(
    cluster: &Cluster,
    job: Arc<CleanUp>,
    schema: SchemaRef,
    locations: Vec<WireLocation>,
) -> Result<(Rows, bool)> {
    let mut locations = locations
        .into_iter()
        .map(|location| location.try_into().map_err(|error: BallistaError| Error::from(error)))
        .collect::<Result<Vec<PartitionLocation>>>()?;
    // The order of partitions is the order of rows where the plan sorts across them.
    locations.sort_by_key(|location| (location.partition_id.partition_id, location.map_partition_id));
    let stored: u64 = locations
        .iter()
        .map(|location| location.partition_stats.num_bytes().unwrap_or(u64::MAX / 1024))
        .sum();
    if stored > WHOLE_BYTES_MAX && stored <= cluster.config.server.result_bytes_kept_max.0 {
        match kept_on_disk(&cluster.runtime, batches(cluster, locations.clone())).await {
            Ok(batches) => return Ok((Rows::new(schema, batches), true)),
            Err(error @ Error::DiskFull { .. }) => {
                warn!(%error, "a result does not fit here: it is fetched as it is read");
            }
            Err(error) => return Err(error),
        }
    }
    let batches = batches(cluster, locations);
    if stored > WHOLE_BYTES_MAX {
        let held = batches.map(move |batch| {
            let _held = &job;
            batch
        });
        return Ok((Rows::new(schema, held), false));
    }
    let reservation = MemoryConsumer::new("result").register(&cluster.runtime.env.memory_pool);
    let mut whole: Vec<RecordBatch> = Vec::new();
    let mut batches = Box::pin(batches);
    let mut is_whole = true;
    while let Some(batch) = batches.try_next().await? {
        let fits = reservation.try_grow(batch.get_array_memory_size()).is_ok();
        whole.push(batch);
        if !fits {
            // The rest is fetched as it is read, as if it were large.
            is_whole = false;
            break;
        }
    }
    let held = futures::stream::iter(whole.into_iter().map(Ok)).chain(batches).map(move |batch| {
        let _held = (&job, &reservation);
        batch
    });
    Ok((Rows::new(schema, held), is_whole))
}

/// Fetches `batches` into a spill file, and gives them from there.
async fn kept_on_disk(
    runtime: &NodeRuntime,
    batches: impl Stream<Item = Result<RecordBatch>> + Send,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let mut batches = std::pin::pin!(batches.peekable());
    // As they were written, which is not to the letter what was planned.
    let schema = match batches.as_mut().peek().await {
        Some(Ok(batch)) => batch.schema(),
        _ => Arc::new(Schema::empty()),
    };
    let metrics = SpillMetrics::new(&ExecutionPlanMetricsSet::new(), 0);
    let files = SpillManager::new(Arc::clone(&runtime.env), metrics, schema)
        .with_compression_type(SpillCompression::Lz4Frame);
    let mut file = files.create_in_progress_file("result")?;
    while let Some(batch) = batches.try_next().await? {
        tokio::task::block_in_place(|| file.append_batch(&batch))?;
    }
    Ok(match file.finish()? {
        Some(file) => files.read_spill_as_stream(file, None)?.map_err(Error::from).boxed(),
        None => futures::stream::empty().boxed(),
    })
}

/// One partition after the other, unpacked on the threads that compute, a batch ahead of who reads.
fn batches(
    cluster: &Cluster,
    locations: Vec<PartitionLocation>,
) -> impl Stream<Item = Result<RecordBatch>> + Send + use<> {
    let fetched = fetched(locations, cluster.identity.flight_peers());
    let (sender, receiver) = mpsc::channel(1);
    let work = AbortOnDropHandle::new(cluster.compute.spawn(async move {
        let mut fetched = std::pin::pin!(fetched);
        while let Some(batch) = fetched.next().await {
            if sender.send(batch).await.is_err() {
                return;
            }
        }
    }));
    let end = futures::stream::once(work).filter_map(async |ended| match ended {
        Ok(()) => None,
        // What has stopped in the middle must not look as if it had ended.
        Err(error) => Some(Err(match error.try_into_panic() {
            Ok(panic) => panics::error_of(panic.as_ref(), "a result"),
            Err(_) => Error::ShuttingDown,
        })),
    });
    ReceiverStream::new(receiver).chain(end)
}

/// One partition after the other, over one connection per executor.
fn fetched(
    locations: Vec<PartitionLocation>,
    peers: Arc<BallistaConfigGrpcEndpoint>,
) -> impl Stream<Item = Result<RecordBatch>> + Send + use<> {
    let clients = Arc::new(tokio::sync::Mutex::new(HashMap::<String, BallistaClient>::new()));
    futures::stream::iter(locations)
        .then(move |location| {
            let (clients, peers) = (Arc::clone(&clients), Arc::clone(&peers));
            async move {
                let mut client = connect(&clients, &location, peers).await?;
                let stream = client
                    .fetch_partition(
                        &location.executor_meta.id,
                        &location.partition_id,
                        location.file_id,
                        location.layout(),
                        true,
                    )
                    .await?;
                Ok::<_, Error>(stream.map_err(Error::from))
            }
        })
        .try_flatten()
}

async fn connect(
    clients: &tokio::sync::Mutex<HashMap<String, BallistaClient>>,
    location: &PartitionLocation,
    peers: Arc<BallistaConfigGrpcEndpoint>,
) -> Result<BallistaClient> {
    let executor = &location.executor_meta;
    let mut clients = clients.lock().await;
    if let Some(client) = clients.get(&executor.id) {
        return Ok(client.clone());
    }
    let client = BallistaClient::try_new(
        &executor.host,
        executor.port,
        engine::codec::MESSAGE_BYTES_MAX as usize,
        true,
        Some(peers),
        IO_RETRIES,
        IO_RETRY_WAIT_MS,
        CONNECTION_WINDOW_BYTES,
        STREAM_WINDOW_BYTES,
    )
    .await?;
    clients.insert(executor.id.clone(), client.clone());
    Ok(client)
}
