//! The open sessions: who they are, what they run, and how they are told to stop.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::SystemTime;

use engine::tls::Encryption;
use parking_lot::Mutex;
use rand::RngExt;
use tokio_util::sync::CancellationToken;

/// A session as others see it. Times are microseconds since 1970 (UTC).
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// Its number.
    pub process_id: i32,
    /// The object identifier of the signed-in role.
    pub role_oid: u32,
    /// Where its client is.
    pub address: SocketAddr,
    /// What its client calls itself.
    pub application_name: String,
    /// How its bytes are hidden, when they are, and the name in its client's certificate.
    pub encryption: Option<(Encryption, Option<String>)>,
    /// When it began.
    pub started_at: i64,
    /// When its current or last statement began.
    pub statement_at: Option<i64>,
    /// When it began or ended what it does.
    pub changed_at: Option<i64>,
    /// `active`, `idle` and their kin, as `pg_stat_activity` spells them.
    pub state: &'static str,
    /// The current or last statement.
    pub statement: Arc<str>,
}

#[derive(Debug)]
struct Entry {
    secret: [u8; 4],
    statement: Option<CancellationToken>,
    end: CancellationToken,
    session: OpenSession,
}

/// A new session's part in the registry.
#[derive(Debug)]
pub struct Registration {
    /// The session's number.
    pub process_id: i32,
    /// What a cancel request must know.
    pub secret: [u8; 4],
}

/// The open sessions by number.
#[derive(Debug)]
pub struct OpenSessions {
    next: AtomicI32,
    server_started_at: i64,
    sessions: Mutex<HashMap<i32, Entry>>,
}

impl Default for OpenSessions {
    fn default() -> Self {
        Self { next: AtomicI32::new(1), server_started_at: now(), sessions: Mutex::default() }
    }
}

/// Microseconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// What of a statement's text others see, at most; `track_activity_query_size` of PostgreSQL.
const STATEMENT_BYTES_SHOWN: usize = 1024;

fn shown(statement: &str) -> Arc<str> {
    let mut end = statement.len().min(STATEMENT_BYTES_SHOWN);
    while !statement.is_char_boundary(end) {
        end -= 1;
    }
    Arc::from(&statement[..end])
}

impl OpenSessions {
    /// A number and a secret for a new session of a role; `end` is raised when someone ends it.
    pub fn register(
        &self,
        role_oid: u32,
        address: SocketAddr,
        application_name: &str,
        encryption: Option<(Encryption, Option<String>)>,
        end: CancellationToken,
    ) -> Registration {
        let secret: [u8; 4] = rand::rng().random();
        let process_id = self.next.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let session = OpenSession {
            process_id,
            role_oid,
            address,
            application_name: application_name.to_owned(),
            encryption,
            started_at: now(),
            statement_at: None,
            changed_at: None,
            state: "idle",
            statement: Arc::from(""),
        };
        let entry = Entry { secret, statement: None, end, session };
        self.sessions.lock().insert(process_id, entry);
        Registration { process_id, secret }
    }

    /// The session is over.
    pub fn forget(&self, process_id: i32) {
        self.sessions.lock().remove(&process_id);
    }

    /// A statement begins; cancels now mean it.
    pub fn begin(&self, process_id: i32, statement: &str, cancel: CancellationToken) {
        if let Some(entry) = self.sessions.lock().get_mut(&process_id) {
            let at = Some(now());
            entry.statement = Some(cancel);
            entry.session.statement = shown(statement);
            entry.session.statement_at = at;
            entry.session.changed_at = at;
            entry.session.state = "active";
        }
    }

    /// The statement is over; `state` is what the session is in now.
    pub fn end_statement(&self, process_id: i32, state: &'static str) {
        if let Some(entry) = self.sessions.lock().get_mut(&process_id) {
            entry.statement = None;
            entry.session.changed_at = Some(now());
            entry.session.state = state;
        }
    }

    /// The client calls itself something else.
    pub fn rename(&self, process_id: i32, application_name: &str) {
        if let Some(entry) = self.sessions.lock().get_mut(&process_id) {
            entry.session.application_name = application_name.to_owned();
        }
    }

    /// Cancels a session's statement when the secret is right. The caller is told nothing.
    pub fn cancel_with_secret(&self, process_id: i32, secret: &[u8]) {
        let sessions = self.sessions.lock();
        let Some(entry) = sessions.get(&process_id) else { return };
        if entry.secret == secret
            && let Some(statement) = &entry.statement
        {
            statement.cancel();
        }
    }

    /// Cancels a session's statement; false when there is no such session.
    pub fn cancel_statement(&self, process_id: i32) -> bool {
        let sessions = self.sessions.lock();
        let Some(entry) = sessions.get(&process_id) else { return false };
        if let Some(statement) = &entry.statement {
            statement.cancel();
        }
        true
    }

    /// Ends a session; false when there is no such session.
    pub fn terminate(&self, process_id: i32) -> bool {
        let sessions = self.sessions.lock();
        let Some(entry) = sessions.get(&process_id) else { return false };
        entry.end.cancel();
        true
    }

    /// Every open session, by number.
    pub fn list(&self) -> Vec<OpenSession> {
        let mut sessions: Vec<_> = self.sessions.lock().values().map(|entry| entry.session.clone()).collect();
        sessions.sort_by_key(|session| session.process_id);
        sessions
    }

    /// How many sessions a role has.
    pub fn count_of(&self, role_oid: u32) -> usize {
        self.sessions.lock().values().filter(|entry| entry.session.role_oid == role_oid).count()
    }

    /// When the server began, in microseconds since 1970.
    pub fn server_started_at(&self) -> i64 {
        self.server_started_at
    }
}
