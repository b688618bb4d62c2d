//! What a run was expected to do, and what it does and did: stages, operators, exchanges, tasks, recoveries.
//!
//! `EXPLAIN`, the views of `sys`, the dashboard and the history all show this one account, for both routes. A plan for
//! executors has the stages that Ballista cuts it into; a plan for this process is cut at its exchanges in the same way.

mod clock;
mod describe;
mod jobs;
mod live;
mod measure;
mod memory;
mod plan;
mod resolved;
mod sums;
mod tables;
mod walk;
mod wording;

use std::collections::VecDeque;
use std::sync::Arc;

use engine::cardinality::RowGroups;
use serde::{Deserialize, Serialize};

pub use clock::{ms_of, now_ms, time_at};
pub use jobs::JobProfiles;
pub use live::{Counts, LiveProfile};
pub use plan::{Destination, StagePlan, held_bytes, planned};

/// Tasks remembered of one run, at most; those that began first go first.
pub const TASKS_MAX: usize = 5000;

/// The account of one run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// From its start until it was admitted, in milliseconds.
    pub queued_ms: Option<f64>,
    /// Planning and routing, in milliseconds.
    pub planning_ms: Option<f64>,
    /// The tables it reads, after pruning.
    pub input: Vec<Input>,
    /// What it was expected to take.
    pub memory: Option<Memory>,
    /// Its stages, inputs before what reads them.
    pub stages: Vec<Stage>,
    /// What moves between them.
    pub exchanges: Vec<Exchange>,
    /// Exchanges that it did not need.
    pub avoided: Vec<Avoided>,
    /// Losses that it went on after.
    pub recoveries: Vec<Recovery>,
    /// What was found wrong with it.
    pub lint_list: Vec<Lint>,
    /// Its tasks on executors, in the order in which they were sent out.
    pub tasks: VecDeque<Task>,
    /// It runs on executors.
    pub is_distributed: bool,
    /// How often all of it was planned or begun anew.
    pub runs: u32,
}

/// A table that a run reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Input {
    /// `schema.name`.
    pub table: String,
    /// Files that are read.
    pub files: u64,
    /// Files that partitions and statistics ruled out, where that is known.
    pub files_pruned: Option<u64>,
    /// Bytes of the files that are read, as stored.
    pub bytes: u64,
    /// Rows in them.
    pub predicted_rows: u64,
    /// Row groups that will be read, and those that statistics rule out; only for who asks before it runs.
    #[serde(default)]
    pub predicted_row_groups: Option<RowGroups>,
    /// Row groups that were read, and those that statistics ruled out, once it has run.
    #[serde(default)]
    pub row_groups: Option<RowGroups>,
    /// Columns that its rows are filtered by.
    #[serde(default)]
    pub filter_columns: Vec<String>,
    /// Columns that its files are partitioned by.
    #[serde(default)]
    pub partition_columns: Vec<String>,
}

/// What a run was expected to take of memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Memory {
    /// The largest task at its peak, in bytes.
    pub predicted_task_bytes: u64,
    /// What a task may count on, in bytes.
    pub task_share_bytes: u64,
    /// All tasks of one process that run at once, in bytes.
    pub predicted_executor_bytes: u64,
    /// What operators of a process may take together, in bytes.
    pub executor_pool_bytes: u64,
    /// Written to disk because it does not fit, in bytes.
    pub predicted_spill_bytes: u64,
    /// The largest task at its peak as it was, in bytes.
    pub peak_task_bytes: Option<u64>,
    /// In words.
    pub verdict: String,
}

/// Where a stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum StageState {
    #[default]
    Waiting,
    Running,
    Finished,
    Failed,
}

impl StageState {
    /// As the views show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }
}

/// What runs between two exchanges.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Stage {
    /// From 1 on; stages are numbered after those that they read.
    pub stage_id: usize,
    /// Where it stands.
    pub state: StageState,
    /// Partitions that it computes.
    pub partitions: usize,
    /// Tasks that they are computed in: as expected until all have been sent out. In the server a stage is one task.
    pub tasks_total: usize,
    /// Tasks that have succeeded.
    pub tasks_finished: usize,
    /// Tasks that run.
    pub tasks_running: usize,
    /// When its first task began, in milliseconds since 1970.
    pub started_at_ms: Option<f64>,
    /// From then to the end of its last task, in milliseconds.
    pub elapsed_ms: Option<f64>,
    /// What its operators have computed for, all tasks together, in milliseconds.
    pub compute_ms: Option<f64>,
    /// Rows that it has given.
    pub rows: Option<u64>,
    /// Bytes that it has given, as they were written.
    pub bytes: Option<u64>,
    /// Rows that it was expected to give.
    pub predicted_rows: u64,
    /// Bytes that it was expected to give, as written.
    pub predicted_bytes: u64,
    /// Bytes written to disk for want of memory.
    pub spilled_bytes: Option<u64>,
    /// The most that one of its tasks had of memory, in bytes.
    pub peak_task_bytes: Option<u64>,
    /// The same as expected.
    pub predicted_task_bytes: u64,
    /// Its longest task in medians of all; 1 when all are alike.
    pub skew: Option<f64>,
    /// Its operators, each before its inputs.
    pub operators: Vec<Operator>,
}

impl Stage {
    /// The same in figures alone.
    pub fn without_operators(&self) -> Self {
        Self {
            stage_id: self.stage_id,
            state: self.state,
            partitions: self.partitions,
            tasks_total: self.tasks_total,
            tasks_finished: self.tasks_finished,
            tasks_running: self.tasks_running,
            started_at_ms: self.started_at_ms,
            elapsed_ms: self.elapsed_ms,
            compute_ms: self.compute_ms,
            rows: self.rows,
            bytes: self.bytes,
            predicted_rows: self.predicted_rows,
            predicted_bytes: self.predicted_bytes,
            spilled_bytes: self.spilled_bytes,
            peak_task_bytes: self.peak_task_bytes,
            predicted_task_bytes: self.predicted_task_bytes,
            skew: self.skew,
            operators: Vec::new(),
        }
    }
}

/// One operator of a stage.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Operator {
    /// How far it lies below the stage's last.
    pub depth: usize,
    /// What it is.
    pub name: String,
    /// What it does it with: keys, conditions, tables.
    pub detail: String,
    /// The stage whose rows it reads.
    pub reads_stage: Option<usize>,
    /// Rows that it was expected to give.
    pub predicted_rows: u64,
    /// Rows that it has given.
    pub rows: Option<u64>,
    /// Bytes that it has given, where it counts them.
    pub bytes: Option<u64>,
    /// What it has computed for, all tasks together, in milliseconds.
    pub compute_ms: Option<f64>,
    /// Bytes written to disk for want of memory.
    pub spilled_bytes: Option<u64>,
    /// What else it counts, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<(String, u64)>,
}

/// How rows come from one stage to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ExchangeKind {
    Hash,
    RoundRobin,
    Broadcast,
    Gather,
    Merge,
    Forward,
    Result,
}

impl ExchangeKind {
    /// As `EXPLAIN` and the views show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::RoundRobin => "round robin",
            Self::Broadcast => "broadcast",
            Self::Gather => "gather",
            Self::Merge => "merge",
            Self::Forward => "forward",
            Self::Result => "result",
        }
    }
}

/// What moves between two stages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exchange {
    /// The stage that gives the rows.
    pub from_stage: usize,
    /// The one that reads them; none for the result.
    pub to_stage: Option<usize>,
    /// How.
    pub kind: ExchangeKind,
    /// By which columns.
    pub keys: Vec<String>,
    /// Into how many partitions.
    pub partitions: usize,
    /// As expected.
    pub predicted_rows: u64,
    /// As expected, as written.
    pub predicted_bytes: u64,
    /// Rows that moved.
    pub rows: Option<u64>,
    /// Bytes that moved, as written.
    pub bytes: Option<u64>,
    /// The largest partition, in bytes.
    pub largest_partition_bytes: Option<u64>,
    /// The one in the middle, in bytes.
    pub median_partition_bytes: Option<u64>,
}

/// An exchange that a plan does without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Avoided {
    /// What it would be by.
    pub keys: Vec<String>,
    /// Why it is not needed.
    pub reason: String,
}

/// A loss, and what it cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recovery {
    /// When it was noticed, in milliseconds since 1970.
    pub at_ms: f64,
    /// What happened.
    pub cause: String,
    /// Finished tasks that were kept.
    pub kept_tasks: usize,
    /// Tasks that had begun and are run anew.
    pub rerun_tasks: usize,
    /// About how much longer the query takes for it, in milliseconds.
    pub added_ms: f64,
    /// The whole query was run again.
    pub was_whole: bool,
}

/// Something that makes a query slower than it need be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lint {
    /// Its name, which stays.
    pub code: String,
    /// What was found, with its measure.
    pub message: String,
    /// What helps.
    pub hint: String,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum TaskState {
    Running,
    Finished,
    Failed,
    /// Its executor was lost, or nobody needs it any more.
    Lost,
}

impl TaskState {
    /// As the views show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Lost => "lost",
        }
    }
}

/// One run of one task on an executor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    /// The run of the whole query that it belongs to, from 0 on.
    pub run: u32,
    /// Its stage.
    pub stage_id: usize,
    /// Its number in the stage.
    pub task_id: usize,
    /// How often one of its partitions had been begun before.
    pub attempt: u32,
    /// Where it runs.
    pub executor_id: Arc<str>,
    /// Its place among the tasks that the executor has at the same time: the first that was free.
    #[serde(default)]
    pub slot: u32,
    /// The partitions of the stage that it computes.
    pub partitions: Vec<u32>,
    /// Where it stands.
    pub state: TaskState,
    /// When it was sent out, then when it began, in milliseconds since 1970.
    pub started_at_ms: f64,
    /// When it ended.
    pub ended_at_ms: Option<f64>,
    /// Rows it has read so far.
    pub rows_read: u64,
    /// Rows it has given so far.
    pub rows: u64,
    /// Bytes it has written so far.
    pub bytes: u64,
    /// Bytes it wrote to disk for want of memory.
    pub spilled_bytes: u64,
    /// The most it had of memory, in bytes.
    pub peak_bytes: Option<u64>,
    /// How long it read, or waited for, what other stages had given, in milliseconds; the time of its partitions
    /// together.
    pub transfer_ms: f64,
    /// What its operators computed for, in milliseconds.
    pub compute_ms: f64,
    /// Why it failed.
    pub error: Option<String>,
}

impl Profile {
    /// Bytes that moved between stages, without the result.
    pub fn exchanged_bytes(&self) -> u64 {
        self.exchanges.iter().filter(|of| of.to_stage.is_some()).filter_map(|of| of.bytes).sum()
    }

    /// Bytes written to disk for want of memory.
    pub fn spilled_bytes(&self) -> u64 {
        self.stages.iter().filter_map(|stage| stage.spilled_bytes).sum()
    }

    /// Tasks of all stages: all, those that have finished, those that run.
    pub fn task_counts(&self) -> (usize, usize, usize) {
        self.stages.iter().fold((0, 0, 0), |(all, finished, running), stage| {
            (all + stage.tasks_total, finished + stage.tasks_finished, running + stage.tasks_running)
        })
    }

    /// The stage of that number.
    pub fn stage(&self, id: usize) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.stage_id == id)
    }

    fn stage_mut(&mut self, id: usize) -> Option<&mut Stage> {
        self.stages.iter_mut().find(|stage| stage.stage_id == id)
    }
}
