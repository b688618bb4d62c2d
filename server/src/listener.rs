//! Accepts clients, within a bound on their number.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::coordinator::Coordinator;
use crate::wire::{self, Ends};

/// How long sessions that were cut off may take to tell their clients.
const LAST_WORDS_LIMIT: std::time::Duration = std::time::Duration::from_secs(2);
/// Clients past the bound that are told so, or whose cancel is delivered, at once.
const TURNED_AWAY_AT_ONCE: usize = 64;

/// Serves clients on `listener` until `shutdown`. Sessions that idle then end at once; statements and
/// transactions that run may go on for the time the configuration gives them.
pub async fn run(coordinator: Arc<Coordinator>, listener: TcpListener, shutdown: CancellationToken) {
    let permits = Arc::clone(&coordinator.connections);
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY_AT_ONCE));
    let sessions = TaskTracker::new();
    let cut_off = CancellationToken::new();
    loop {
        let (socket, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
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
                let coordinator = Arc::clone(&coordinator);
                let ends = Ends { drain: shutdown.clone(), cut_off: cut_off.clone() };
                sessions.spawn(async move {
                    wire::serve_connection(coordinator, socket, address, ends).await;
                    // Held until here, also when the session panics: dropping it frees the place.
                    drop(permit);
                });
            }
            // A crowd of clients that get no place must not hold as many sockets as those that have one.
            Err(_) => {
                if let Ok(permit) = Arc::clone(&turned_away).try_acquire_owned() {
                    let (coordinator, shutdown) = (Arc::clone(&coordinator), shutdown.clone());
                    sessions.spawn(async move {
                        turn_away(&coordinator, socket, address, shutdown).await;
                        drop(permit);
                    });
                }
            }
        }
    }
    sessions.close();
    let end_limit = coordinator.config.limits.drain_timeout.0;
    if tokio::time::timeout(end_limit, sessions.wait()).await.is_err() {
        warn!("some statements did not end in time and are cut off");
        cut_off.cancel();
        let _ = tokio::time::timeout(LAST_WORDS_LIMIT, sessions.wait()).await;
    }
}

async fn turn_away(
    coordinator: &Coordinator,
    socket: TcpStream,
    address: SocketAddr,
    shutdown: CancellationToken,
) {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);
    tokio::select! {
        _ = tokio::time::timeout(PATIENCE, wire::turn_away(coordinator, socket, address)) => {}
        () = shutdown.cancelled() => {}
    }
}
