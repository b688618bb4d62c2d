//! Cancel requests: they come on a connection of their own, with the key of the one they mean.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};

use parking_lot::Mutex;
use rand::RngExt;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
struct Entry {
    secret: [u8; 4],
    statement: Option<CancellationToken>,
}

/// The open sessions by number.
#[derive(Debug, Default)]
pub struct CancelRegistry {
    next: AtomicI32,
    sessions: Mutex<HashMap<i32, Entry>>,
}

impl CancelRegistry {
    /// A number and a secret for a new session.
    pub fn register(&self) -> (i32, [u8; 4]) {
        let secret: [u8; 4] = rand::rng().random();
        let process_id = self.next.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & i32::MAX;
        self.sessions.lock().insert(process_id, Entry { secret, statement: None });
        (process_id, secret)
    }

    /// The session is over.
    pub fn forget(&self, process_id: i32) {
        self.sessions.lock().remove(&process_id);
    }

    /// The statement that a cancel now means; none between statements.
    pub fn set_statement(&self, process_id: i32, statement: Option<CancellationToken>) {
        if let Some(entry) = self.sessions.lock().get_mut(&process_id) {
            entry.statement = statement;
        }
    }

    /// Cancels the session's statement when the secret is right. The caller is told nothing.
    pub fn cancel(&self, process_id: i32, secret: &[u8]) {
        let sessions = self.sessions.lock();
        let Some(entry) = sessions.get(&process_id) else { return };
        if entry.secret == secret
            && let Some(statement) = &entry.statement
        {
            statement.cancel();
        }
    }
}
