//! Accepts clients, within a bound on their number.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::coordinator::Coordinator;
use crate::wire::{self, Ends};

/// How long sessions that were cut off may take to tell their clients.
const LAST_WORDS_LIMIT: std::time::Duration = std::time::Duration::from_secs(2);
/// Clients past the bound that are told so, or whose cancel is delivered, at once.
const TURNED_AWAY_AT_ONCE: usize = 64;
/// A connection that has not signed in for so long gives its place to another, when there is no free one.
const NEWCOMER_PATIENCE: Duration = Duration::from_secs(1);
/// How long its end may take.
const GIVE_WAY_LIMIT: Duration = Duration::from_millis(100);

/// Connections in the order in which they came, of which those are alive that have not signed in yet. Whoever only opens
/// connections would otherwise take every place for as long as signing in may take.
#[derive(Default)]
struct Newcomers(VecDeque<(Instant, Weak<CancellationToken>)>);

impl Newcomers {
    /// One more; it gives way when the token is cancelled, and stops being one when the token is dropped.
    fn welcome(&mut self) -> Arc<CancellationToken> {
        while self.0.front().is_some_and(|(_, token)| token.strong_count() == 0) {
            self.0.pop_front();
        }
        // Some that are over stand behind one that is not.
        if self.0.len() == self.0.capacity() {
            self.0.retain(|(_, token)| token.strong_count() > 0);
        }
        let token = Arc::new(CancellationToken::new());
        self.0.push_back((Instant::now(), Arc::downgrade(&token)));
        token
    }

    /// Ends the one that waits for longest; false when none has waited for long.
    fn end_one(&mut self) -> bool {
        while let Some((came_at, token)) = self.0.front() {
            match token.upgrade() {
                Some(_) if came_at.elapsed() < NEWCOMER_PATIENCE => return false,
                Some(token) => {
                    token.cancel();
                    self.0.pop_front();
                    return true;
                }
                None => drop(self.0.pop_front()),
            }
        }
        false
    }
}

/// A place, free or made free.
async fn place(permits: &Arc<Semaphore>, newcomers: &mut Newcomers) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
        return Some(permit);
    }
    if !newcomers.end_one() {
        return None;
    }
    let place = tokio::time::timeout(GIVE_WAY_LIMIT, Arc::clone(permits).acquire_owned()).await;
    place.ok().and_then(Result::ok)
}

/// Serves clients on `listener` until `shutdown`. Sessions that idle then end at once; statements and
/// transactions that run may go on for the time the configuration gives them.
pub async fn run(coordinator: Arc<Coordinator>, listener: TcpListener, shutdown: CancellationToken) {
    let permits = Arc::clone(&coordinator.connections);
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY_AT_ONCE));
    let sessions = TaskTracker::new();
    let mut newcomers = Newcomers::default();
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
        match place(&permits, &mut newcomers).await {
            Some(permit) => {
                let newcomer = newcomers.welcome();
                let coordinator = Arc::clone(&coordinator);
                let ends = Ends { drain: shutdown.clone(), cut_off: cut_off.clone() };
                sessions.spawn(async move {
                    wire::serve_connection(coordinator, socket, address, ends, newcomer).await;
                    // Held until here, also when the session panics: dropping it frees the place.
                    drop(permit);
                });
            }
            // A crowd of clients that get no place must not hold as many sockets as those that have one.
            None => {
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
