//! Keeps connections to other executors open between shuffle reads.
//!
//! Ballista has such a pool, but keeps it to itself as soon as the execution engine is ours.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ballista_core::client::BallistaClient;
use ballista_core::client_pool::{BallistaClientPool, PooledClient};
use ballista_core::error::{BallistaError, Result};
use ballista_core::extension::BallistaConfigGrpcEndpoint;
use ballista_core::utils::GrpcClientConfig;
use engine::{ByteSize, ClusterIdentity};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

/// Idle connections kept to one executor.
const IDLE_PER_PEER_MAX: usize = 8;
const IO_RETRIES: u8 = 2;
const IO_RETRY_WAIT_MS: u64 = 100;
/// For all attempts, with what TLS takes.
const CONNECTING_MAX: Duration = Duration::from_secs(15);
/// What may be on its way of one part, unread: a share of the cap, within these bounds.
const STREAM_WINDOW_SHARE: u64 = 128;
const STREAM_WINDOW_BYTES_MIN: u64 = 1 << 20;
const STREAM_WINDOW_BYTES_MAX: u64 = 16 << 20;
/// Parts that one connection carries at once.
const STREAMS: u32 = 4;

type Idle = Arc<Mutex<HashMap<(String, u16), Vec<BallistaClient>>>>;

/// Connections by peer.
pub struct ClientPool {
    idle: Idle,
    peers: Arc<BallistaConfigGrpcEndpoint>,
    stream_window_bytes: u32,
    /// Connections live here. On the threads of a task they would wait while it computes, and be taken for dead.
    network: Handle,
}

impl ClientPool {
    /// The connections of a node whose memory is capped, on the threads of the calling runtime.
    pub fn for_cap(cap: ByteSize, identity: &ClusterIdentity) -> Self {
        let window = (cap.0 / STREAM_WINDOW_SHARE).clamp(STREAM_WINDOW_BYTES_MIN, STREAM_WINDOW_BYTES_MAX);
        Self {
            idle: Idle::default(),
            peers: identity.flight_peers(),
            stream_window_bytes: window as u32,
            network: Handle::current(),
        }
    }
}

impl std::fmt::Debug for ClientPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientPool").field("peers", &self.idle.lock().len()).finish()
    }
}

#[async_trait]
impl BallistaClientPool for ClientPool {
    async fn acquire(
        &self,
        host: &str,
        port: u16,
        _config: &GrpcClientConfig,
        _customize_endpoint: Option<Arc<BallistaConfigGrpcEndpoint>>,
    ) -> Result<PooledClient> {
        let peer = (host.to_owned(), port);
        let idle = self.idle.lock().get_mut(&peer).and_then(Vec::pop);
        let client = match idle {
            Some(client) => client,
            None => {
                let (host, peers, window) =
                    (host.to_owned(), Arc::clone(&self.peers), self.stream_window_bytes);
                let connecting = AbortOnDropHandle::new(self.network.spawn(async move {
                    BallistaClient::try_new(
                        &host,
                        port,
                        engine::codec::MESSAGE_BYTES_MAX as usize,
                        true,
                        Some(peers),
                        IO_RETRIES,
                        IO_RETRY_WAIT_MS,
                        window * STREAMS,
                        window,
                    )
                    .await
                }));
                let failed = |why: &str| BallistaError::GrpcConnectionError(format!("{peer:?}: {why}"));
                match tokio::time::timeout(CONNECTING_MAX, connecting).await {
                    Ok(Ok(connected)) => connected?,
                    Ok(Err(_)) => return Err(failed("the attempt to connect was ended")),
                    Err(_) => return Err(failed("it does not answer")),
                }
            }
        };
        let pool = Arc::clone(&self.idle);
        let give_back = move |client| {
            let mut pool = pool.lock();
            let idle = pool.entry(peer).or_default();
            if idle.len() < IDLE_PER_PEER_MAX {
                idle.push(client);
            }
        };
        Ok(PooledClient::new(client, Box::new(give_back)))
    }

    async fn evict_idle(&self) {
        self.idle.lock().clear();
    }
}
