//! The stream of tasks, in columns: there may be a hundred thousand.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use super::Desk;
use crate::coordinator::Coordinator;
use crate::profile::{ms_of, now_ms};
use crate::query::{QueryRecord, QueryState};

/// Tasks that one answer holds, at most; the latest are kept.
const TASKS_MAX: usize = 100_000;
/// The executor that stands for the server itself.
const SERVER: &str = "server";

/// Which tasks are wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Since {
    since_ms: f64,
}

/// Tasks in columns of one length; `executor` and `query` are indexes into the lists.
#[derive(Debug, Default, Serialize)]
pub struct TaskColumns {
    now_ms: f64,
    executors: Vec<String>,
    queries: Vec<String>,
    truncated: bool,
    query: Vec<usize>,
    stage: Vec<usize>,
    task: Vec<usize>,
    attempt: Vec<u32>,
    executor: Vec<usize>,
    slot: Vec<u32>,
    started_ms: Vec<f64>,
    ended_ms: Vec<Option<f64>>,
    state: Vec<&'static str>,
    rows: Vec<u64>,
    bytes: Vec<u64>,
    spilled_bytes: Vec<u64>,
    transfer_ms: Vec<f64>,
    partitions: Vec<usize>,
}

/// One task, before it is put into columns.
struct Row {
    query: usize,
    stage: usize,
    task: usize,
    attempt: u32,
    executor: usize,
    slot: u32,
    started_ms: f64,
    ended_ms: Option<f64>,
    state: &'static str,
    rows: u64,
    bytes: u64,
    spilled_bytes: u64,
    transfer_ms: f64,
    partitions: usize,
}

/// Tasks that run, or have changed since.
pub async fn since(State(desk): State<Desk>, Query(wanted): Query<Since>) -> Json<TaskColumns> {
    Json(changed(&desk.coordinator, wanted.since_ms))
}

/// Tasks that run, or have ended since `since_ms`.
pub fn changed(coordinator: &Coordinator, since_ms: f64) -> TaskColumns {
    let now = now_ms();
    let mut executors: HashMap<String, usize> = HashMap::new();
    let mut columns = TaskColumns { now_ms: now, ..TaskColumns::default() };
    let mut rows: Vec<Row> = Vec::new();
    for record in coordinator.queries.records() {
        // A task ends before its query does, and is told of a moment after it.
        const TOLD_WITHIN_MS: f64 = 2000.0;
        if record.ended_at.is_some_and(|ended| ms_of(ended) + TOLD_WITHIN_MS < since_ms) {
            continue;
        }
        let query = columns.queries.len();
        let before = rows.len();
        let mut index = |id: &str| {
            let next = executors.len();
            *executors.entry(id.to_owned()).or_insert(next)
        };
        record.profile.read_tasks(|tasks| {
            for task in tasks {
                if task.ended_at_ms.is_some_and(|ended| ended + TOLD_WITHIN_MS < since_ms) {
                    continue;
                }
                rows.push(Row {
                    query,
                    stage: task.stage_id,
                    task: task.task_id,
                    attempt: task.attempt + task.run,
                    executor: index(&task.executor_id),
                    slot: task.slot,
                    started_ms: task.started_at_ms,
                    ended_ms: task.ended_at_ms,
                    state: task.state.as_str(),
                    rows: task.rows,
                    bytes: task.bytes,
                    spilled_bytes: task.spilled_bytes,
                    transfer_ms: task.transfer_ms / task.partitions.len().max(1) as f64,
                    partitions: task.partitions.len(),
                });
            }
        });
        if record.route.starts_with("local") {
            rows.push(here(&record, query, index(SERVER), record.profile.counts().spilled_bytes));
        }
        if rows.len() > before {
            columns.queries.push(record.id.to_string());
        }
    }
    columns.truncated = rows.len() > TASKS_MAX;
    if columns.truncated {
        rows.sort_by(|a, b| b.started_ms.total_cmp(&a.started_ms));
        rows.truncate(TASKS_MAX);
    }
    let mut names: Vec<(usize, String)> = executors.into_iter().map(|(name, at)| (at, name)).collect();
    names.sort();
    columns.executors = names.into_iter().map(|(_, name)| name).collect();
    for row in rows {
        columns.push(row);
    }
    columns
}

/// A query that runs in the server, as a task of it.
fn here(record: &QueryRecord, query: usize, executor: usize, spilled_bytes: u64) -> Row {
    Row {
        query,
        stage: 0,
        task: 0,
        attempt: record.retries,
        executor,
        slot: record.slot,
        started_ms: ms_of(record.started_at),
        ended_ms: record.ended_at.map(ms_of),
        state: match record.state {
            QueryState::Running => "running",
            QueryState::Finished | QueryState::Cancelled => "finished",
            QueryState::Failed => "failed",
        },
        rows: record.rows,
        bytes: 0,
        spilled_bytes,
        transfer_ms: 0.0,
        partitions: 1,
    }
}

impl TaskColumns {
    fn push(&mut self, row: Row) {
        self.query.push(row.query);
        self.stage.push(row.stage);
        self.task.push(row.task);
        self.attempt.push(row.attempt);
        self.executor.push(row.executor);
        self.slot.push(row.slot);
        self.started_ms.push(row.started_ms);
        self.ended_ms.push(row.ended_ms);
        self.state.push(row.state);
        self.rows.push(row.rows);
        self.bytes.push(row.bytes);
        self.spilled_bytes.push(row.spilled_bytes);
        self.transfer_ms.push(row.transfer_ms);
        self.partitions.push(row.partitions);
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.query.is_empty()
    }
}
