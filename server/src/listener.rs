//! Accepts clients, within a bound on their number.

use std::sync::Arc;

use engine::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::coordinator::Coordinator;
use crate::wire;

/// How long sessions may take to end when the server does.
const SESSIONS_END_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// Serves clients on `listener` until `shutdown`, then waits for their sessions to end.
pub async fn run(coordinator: Arc<Coordinator>, listener: TcpListener, shutdown: CancellationToken) {
    let permits = Arc::new(Semaphore::new(coordinator.config.limits.connections_max));
    let sessions = TaskTracker::new();
    loop {
        let socket = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    // Out of descriptors, most likely: give sessions time to end.
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = shutdown.cancelled() => break,
        };
        let _ = socket.set_nodelay(true);
        match Arc::clone(&permits).try_acquire_owned() {
            Ok(permit) => {
                let (coordinator, shutdown) = (Arc::clone(&coordinator), shutdown.clone());
                sessions.spawn(async move {
                    wire::serve_connection(coordinator, socket, shutdown).await;
                    // Held until here, also when the session panics: dropping it frees the place.
                    drop(permit);
                });
            }
            Err(_) => {
                sessions.spawn(refuse(socket, shutdown.clone()));
            }
        }
    }
    sessions.close();
    if tokio::time::timeout(SESSIONS_END_LIMIT, sessions.wait()).await.is_err() {
        warn!("some sessions did not end and are cut off");
    }
}

async fn refuse(socket: TcpStream, shutdown: CancellationToken) {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);
    tokio::select! {
        _ = tokio::time::timeout(PATIENCE, wire::refuse(socket, &Error::TooManyConnections)) => {}
        () = shutdown.cancelled() => {}
    }
}
