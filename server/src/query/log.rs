//! Every query that runs, and the last ones that did: what `sys.queries` and the dashboard show.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use engine::{ByteSize, Error, QueryId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::journal::Journal;
use super::lint::{Linter, Repeats};
use super::{QueryContext, Route};
use crate::coordinator::Coordinator;
use crate::metrics::{Ended, Metrics};
use crate::profile::LiveProfile;
use crate::traces::{Asker, Traces};

/// Where a query stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
    /// Its object identifier: another role may come to have the name.
    pub role_oid: u32,
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
    /// What is known of it.
    pub profile: Arc<LiveProfile>,
    /// Ends it.
    pub cancel: CancellationToken,
    /// It reads nothing but the system's own tables: it is not remembered when it has ended well.
    pub only_watches: bool,
    /// Its place among those that run at the same time: the first that was free.
    pub slot: u32,
}

#[derive(Debug, Default)]
struct Inner {
    running: HashMap<QueryId, QueryRecord>,
    finished: VecDeque<QueryRecord>,
    /// Tasks that finished queries remember.
    tasks: usize,
}

/// The log, bounded.
#[derive(Debug)]
pub struct QueryLog {
    inner: Mutex<Inner>,
    finished_max: usize,
    journal: Journal,
    metrics: Arc<Metrics>,
    traces: Option<Traces>,
}

impl QueryLog {
    /// A log that remembers `finished_max` finished queries, also those that an earlier process has noted in `folder`, where
    /// they take up to `bytes_max`.
    pub fn open(
        folder: &Path,
        bytes_max: ByteSize,
        finished_max: usize,
        metrics: Arc<Metrics>,
        traces: Option<Traces>,
    ) -> std::io::Result<Arc<Self>> {
        let (journal, finished) = Journal::open(folder, bytes_max, finished_max)?;
        let mut inner = Inner::default();
        for record in finished {
            inner.remember(record, finished_max);
        }
        Ok(Arc::new(Self { inner: Mutex::new(inner), finished_max, journal, metrics, traces }))
    }

    /// Notes on disk what is still to be noted: the process ends.
    pub fn close(&self) {
        self.journal.close();
        if let Some(traces) = &self.traces {
            traces.close();
        }
    }

    /// Running queries first, then finished ones, latest first.
    pub fn records(&self) -> Vec<QueryRecord> {
        let inner = self.inner.lock();
        let mut records: Vec<_> = inner.running.values().cloned().collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.started_at));
        records.extend(inner.finished.iter().rev().cloned());
        records
    }

    /// Those that run, or wait to.
    pub fn running(&self) -> Vec<QueryRecord> {
        self.inner.lock().running.values().cloned().collect()
    }

    /// The query of that identifier.
    pub fn find(&self, id: &QueryId) -> Option<QueryRecord> {
        let inner = self.inner.lock();
        let finished = || inner.finished.iter().rev().find(|record| record.id == *id);
        inner.running.get(id).or_else(finished).cloned()
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
            role_oid: context.role_oid,
            sql: shortened(&context.sql),
            state: QueryState::Running,
            route: String::new(),
            started_at: SystemTime::now(),
            ended_at: None,
            rows: 0,
            retries: 0,
            error: None,
            profile: Arc::clone(&context.profile),
            cancel: context.cancel.clone(),
            only_watches: false,
            slot: 0,
        };
        let mut inner = self.inner.lock();
        let taken: HashSet<u32> = inner.running.values().map(|record| record.slot).collect();
        let slot = (0..).find(|slot| !taken.contains(slot)).unwrap_or(0);
        inner.running.insert(record.id.clone(), QueryRecord { slot, ..record });
        drop(inner);
        RecordHandle {
            log: Arc::clone(self),
            id: context.id.clone(),
            profile: Arc::clone(&context.profile),
            linter: Linter::new(context),
            began_at: Instant::now(),
            sql: Arc::clone(&context.sql),
            repeats: Arc::clone(&context.repeats),
            coordinator: Arc::clone(&context.coordinator),
            process_id: context.process_id,
        }
    }

    /// Its profile has ended before.
    fn end(&self, id: &QueryId, state: QueryState, error: Option<&Error>, asker: impl FnOnce() -> Asker) {
        let mut inner = self.inner.lock();
        let Some(mut record) = inner.running.remove(id) else { return };
        record.state = state;
        record.ended_at = Some(SystemTime::now());
        // A message may carry the value that it is about, of any length.
        record.error = error.map(|e| {
            let message: Arc<str> = Arc::from(e.to_string());
            (e.sqlstate().to_string(), shortened(&message).to_string())
        });
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
        let is_remembered = !(record.only_watches && state == QueryState::Finished);
        if is_remembered {
            inner.remember(record.clone(), self.finished_max);
        }
        drop(inner);
        let ended = Ended {
            state: state.as_str(),
            route: record.route.split_once(": ").map_or("", |(route, _)| route),
            elapsed,
            rows: record.rows,
            retries: record.retries,
        };
        record.profile.read(|profile| self.metrics.count(&ended, profile));
        if is_remembered {
            self.journal.note(&record);
        }
        if let Some(traces) = &self.traces {
            traces.ended(&record, asker);
        }
    }
}

/// Tasks that finished queries remember, together: beyond it, the oldest forget theirs.
const TASKS_KEPT: usize = 100_000;

impl Inner {
    fn remember(&mut self, record: QueryRecord, finished_max: usize) {
        if finished_max == 0 {
            return;
        }
        if self.finished.len() >= finished_max
            && let Some(oldest) = self.finished.pop_front()
        {
            self.tasks = self.tasks.saturating_sub(oldest.profile.tasks());
        }
        self.tasks += record.profile.tasks();
        self.finished.push_back(record);
        for record in &self.finished {
            if self.tasks <= TASKS_KEPT {
                return;
            }
            self.tasks = self.tasks.saturating_sub(record.profile.forget_tasks());
        }
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
    profile: Arc<LiveProfile>,
    linter: Linter,
    began_at: Instant,
    sql: Arc<str>,
    repeats: Arc<Mutex<Repeats>>,
    coordinator: Arc<Coordinator>,
    process_id: i32,
}

impl RecordHandle {
    pub(super) fn routed(&self, route: &Route) {
        if let Some(record) = self.log.inner.lock().running.get_mut(&self.id) {
            record.route = route.to_string();
        }
    }

    pub(super) fn only_watches(&self) {
        if let Some(record) = self.log.inner.lock().running.get_mut(&self.id) {
            record.only_watches = true;
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
        self.end(state, Some(error));
    }

    pub(super) fn finish(&self) {
        if !self.profile.is_over() {
            self.linter.after();
            self.repeats.lock().ended(&self.sql, self.began_at.elapsed());
        }
        self.end(QueryState::Finished, None);
    }

    /// What it did is added up outside of the log's lock: there may be thousands of tasks.
    fn end(&self, state: QueryState, error: Option<&Error>) {
        self.profile.end(state == QueryState::Finished);
        self.log.end(&self.id, state, error, || self.asker());
    }

    /// Whose query it is.
    fn asker(&self) -> Asker {
        let sessions = self.coordinator.sessions_open.list();
        let session = sessions.into_iter().find(|session| session.process_id == self.process_id);
        session.map_or_else(Asker::default, |session| Asker {
            address: session.address.to_string(),
            application_name: session.application_name,
        })
    }

    /// Looks the query over.
    pub(super) fn linter(&self) -> &Linter {
        &self.linter
    }
}

impl Drop for RecordHandle {
    fn drop(&mut self) {
        // Rows that were dropped before their end: the client left, cancelled, or took what it wanted.
        self.end(QueryState::Cancelled, None);
    }
}
