//! Every query that runs, and the last ones that did: what `sys.queries` and the dashboard show.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use engine::{Error, QueryId};
use parking_lot::Mutex;
use tracing::{info, warn};

use super::{QueryContext, Route};

/// Where a query stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum QueryState {
    Running,
    Finished,
    Failed,
    Cancelled,
}

impl QueryState {
    /// The state as the views show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One query.
#[derive(Debug, Clone)]
pub struct QueryRecord {
    /// This run.
    pub id: QueryId,
    /// The session's number.
    pub process_id: i32,
    /// The role.
    pub user: String,
    /// The text.
    pub sql: Arc<str>,
    /// Where it stands.
    pub state: QueryState,
    /// Where it runs, and why; empty until that is decided.
    pub route: String,
    /// When it started.
    pub started_at: SystemTime,
    /// When it ended.
    pub ended_at: Option<SystemTime>,
    /// Rows given to the client so far.
    pub rows: u64,
    /// How often it was run again because an executor was lost.
    pub retries: u32,
    /// Why it failed: SQLSTATE and message.
    pub error: Option<(String, String)>,
}

#[derive(Debug, Default)]
struct Inner {
    running: HashMap<QueryId, QueryRecord>,
    finished: VecDeque<QueryRecord>,
}

/// The log, bounded.
#[derive(Debug)]
pub struct QueryLog {
    inner: Mutex<Inner>,
    finished_max: usize,
}

impl QueryLog {
    /// A log that remembers `finished_max` finished queries.
    pub fn new(finished_max: usize) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), finished_max })
    }

    /// Running queries first, then finished ones, latest first.
    pub fn records(&self) -> Vec<QueryRecord> {
        let inner = self.inner.lock();
        let mut records: Vec<_> = inner.running.values().cloned().collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.started_at));
        records.extend(inner.finished.iter().rev().cloned());
        records
    }

    /// When the oldest of the running queries started; now, where none runs.
    pub fn oldest_running(&self) -> SystemTime {
        let oldest = self.inner.lock().running.values().map(|record| record.started_at).min();
        oldest.unwrap_or_else(SystemTime::now)
    }

    /// Notes that a query was started again because an executor was lost.
    pub fn retried(&self, id: &QueryId) {
        if let Some(record) = self.inner.lock().running.get_mut(id) {
            record.retries += 1;
        }
    }

    pub(super) fn start(self: &Arc<Self>, context: &QueryContext) -> RecordHandle {
        let record = QueryRecord {
            id: context.id.clone(),
            process_id: context.process_id,
            user: context.user.clone(),
            sql: shortened(&context.sql),
            state: QueryState::Running,
            route: String::new(),
            started_at: SystemTime::now(),
            ended_at: None,
            rows: 0,
            retries: 0,
            error: None,
        };
        self.inner.lock().running.insert(record.id.clone(), record);
        RecordHandle { log: Arc::clone(self), id: context.id.clone() }
    }

    fn end(&self, id: &QueryId, state: QueryState, error: Option<&Error>) {
        let mut inner = self.inner.lock();
        let Some(mut record) = inner.running.remove(id) else { return };
        record.state = state;
        record.ended_at = Some(SystemTime::now());
        record.error = error.map(|e| (e.sqlstate().to_string(), e.to_string()));
        let elapsed = record.started_at.elapsed().unwrap_or_default();
        match error {
            Some(Error::Internal { message }) => warn!(
                query.id = %id, message, elapsed_ms = elapsed.as_millis() as u64, "query failed by a bug"
            ),
            _ => info!(
                query.id = %id,
                state = state.as_str(),
                route = record.route,
                rows = record.rows,
                elapsed_ms = elapsed.as_millis() as u64,
                "query ended"
            ),
        }
        if inner.finished.len() >= self.finished_max {
            inner.finished.pop_front();
        }
        inner.finished.push_back(record);
    }
}

/// Statements may be a megabyte long; a thousand of those are not worth remembering.
const SQL_BYTES_MAX: usize = 8192;

fn shortened(sql: &Arc<str>) -> Arc<str> {
    if sql.len() <= SQL_BYTES_MAX {
        return Arc::clone(sql);
    }
    let end = (0..=SQL_BYTES_MAX).rev().find(|at| sql.is_char_boundary(*at)).unwrap_or(0);
    Arc::from(format!("{} …", &sql[..end]))
}

/// One query's line in the log. Dropping it ends a query that nobody ended otherwise.
#[derive(Debug)]
pub struct RecordHandle {
    log: Arc<QueryLog>,
    id: QueryId,
}

impl RecordHandle {
    pub(super) fn routed(&self, route: &Route) {
        if let Some(record) = self.log.inner.lock().running.get_mut(&self.id) {
            record.route = route.to_string();
        }
    }

    pub(super) fn sent(&self, rows: usize) {
        if let Some(record) = self.log.inner.lock().running.get_mut(&self.id) {
            record.rows += rows as u64;
        }
    }

    /// How often it was started again.
    pub(super) fn retries(&self) -> u32 {
        self.log.inner.lock().running.get(&self.id).map_or(0, |record| record.retries)
    }

    pub(super) fn fail(&self, error: &Error) {
        let is_cancel = matches!(error, Error::Cancelled | Error::StatementTimeout | Error::PlanningTimeout);
        let state = if is_cancel { QueryState::Cancelled } else { QueryState::Failed };
        self.log.end(&self.id, state, Some(error));
    }

    pub(super) fn finish(&self) {
        self.log.end(&self.id, QueryState::Finished, None);
    }
}

impl Drop for RecordHandle {
    fn drop(&mut self) {
        // Rows that were dropped before their end: the client left, cancelled, or took what it wanted.
        self.log.end(&self.id, QueryState::Cancelled, None);
    }
}
