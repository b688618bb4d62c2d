//! Fetches the rows of a job that has succeeded, out of its kept result.
//!
//! A small result is fetched whole before its first row leaves: an executor lost meanwhile then costs
//! another run, not an error. A large one streams, partition after partition.

use std::collections::HashMap;
use std::sync::Arc;

use ballista_core::client::BallistaClient;
use ballista_core::error::BallistaError;
use ballista_core::extension::BallistaConfigGrpcEndpoint;
use ballista_core::serde::protobuf::PartitionLocation as WireLocation;
use ballista_core::serde::scheduler::PartitionLocation;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::memory_pool::MemoryConsumer;
use engine::{Error, Result};
use futures::{Stream, StreamExt, TryStreamExt};

use super::Cluster;
use super::submit::CleanUp;
use crate::query::Rows;

/// Results up to this many stored bytes are fetched before their first row leaves.
const WHOLE_BYTES_MAX: u64 = 8 << 20;
const IO_RETRIES: u8 = 2;
const IO_RETRY_WAIT_MS: u64 = 100;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const STREAM_WINDOW_BYTES: u32 = 4 << 20;

/// The rows of `job`. They hold `job`'s files until they are dropped.
pub async fn rows(
    cluster: &Cluster,
    job: CleanUp,
    schema: SchemaRef,
    locations: Vec<WireLocation>,
) -> Result<Rows> {
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
    let batches = batches(locations, cluster.identity.flight_peers());
    if stored > WHOLE_BYTES_MAX {
        let held = batches.map(move |batch| {
            let _held = &job;
            batch
        });
        return Ok(Rows::new(schema, held));
    }
    let reservation = MemoryConsumer::new("result").register(&cluster.runtime.env.memory_pool);
    let mut whole: Vec<RecordBatch> = Vec::new();
    let mut batches = Box::pin(batches);
    while let Some(batch) = batches.try_next().await? {
        let fits = reservation.try_grow(batch.get_array_memory_size()).is_ok();
        whole.push(batch);
        if !fits {
            // The rest is fetched as it is read, as if it were large.
            break;
        }
    }
    let held = futures::stream::iter(whole.into_iter().map(Ok)).chain(batches).map(move |batch| {
        let _held = (&job, &reservation);
        batch
    });
    Ok(Rows::new(schema, held))
}

/// One partition after the other, over one connection per executor.
fn batches(
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
