//! The parts of runs: stages, operators, tasks, exchanges, recoveries, lints, estimates. Of the runs of others nothing is
//! shown: plans tell what statements say.

use datafusion::arrow::array::RecordBatch;
use engine::QueryId;

use super::{count, micros_of, optional_count};
use crate::pg_catalog::{Columns, View, may_read_of};
use crate::profile::{Exchange, Lint, LiveProfile, Operator, Profile, Recovery, Stage, Task};

/// What `part` takes out of each run that the role may read, with the run's identifier.
fn parts<T>(view: &View, part: impl Fn(&Profile) -> Vec<T>) -> Vec<(QueryId, T)> {
    of_runs(view, |live| live.read(&part))
}

fn of_runs<T>(view: &View, part: impl Fn(&LiveProfile) -> Vec<T>) -> Vec<(QueryId, T)> {
    let records = view.context.coordinator.queries.records();
    let readable = records.iter().filter(|record| may_read_of(view, record.role_oid));
    let of_run = readable.flat_map(|record| {
        let parts = part(&record.profile);
        parts.into_iter().map(|part| (record.id.clone(), part))
    });
    of_run.collect()
}

/// How far one figure lies from another, in either direction.
fn ratio(predicted: u64, actual: u64) -> Option<f64> {
    (actual > 0).then(|| predicted.max(1) as f64 / actual as f64)
}

/// The stages of runs.
pub fn stages(view: &View) -> RecordBatch {
    let rows: Vec<(QueryId, Stage)> =
        parts(view, |profile| profile.stages.iter().map(Stage::without_operators).collect());
    Columns::new()
        .text("query_id", rows.iter().map(|(id, _)| id.as_str()))
        .int4("stage_id", rows.iter().map(|(_, s)| s.stage_id as i32))
        .text("state", rows.iter().map(|(_, s)| s.state.as_str()))
        .int4("partitions", rows.iter().map(|(_, s)| s.partitions as i32))
        .int4("tasks_total", rows.iter().map(|(_, s)| s.tasks_total as i32))
        .int4("tasks_finished", rows.iter().map(|(_, s)| s.tasks_finished as i32))
        .int4("tasks_running", rows.iter().map(|(_, s)| s.tasks_running as i32))
        .time("started_at", rows.iter().map(|(_, s)| s.started_at_ms.map(micros_of)))
        .float8("elapsed_ms", rows.iter().map(|(_, s)| s.elapsed_ms))
        .float8("compute_ms", rows.iter().map(|(_, s)| s.compute_ms))
        .optional_int8("rows", rows.iter().map(|(_, s)| optional_count(s.rows)))
        .optional_int8("bytes", rows.iter().map(|(_, s)| optional_count(s.bytes)))
        .int8("predicted_rows", rows.iter().map(|(_, s)| count(s.predicted_rows)))
        .int8("predicted_bytes", rows.iter().map(|(_, s)| count(s.predicted_bytes)))
        .optional_int8("spilled_bytes", rows.iter().map(|(_, s)| optional_count(s.spilled_bytes)))
        .optional_int8("peak_task_bytes", rows.iter().map(|(_, s)| optional_count(s.peak_task_bytes)))
        .int8("predicted_task_bytes", rows.iter().map(|(_, s)| count(s.predicted_task_bytes)))
        .float8("skew", rows.iter().map(|(_, s)| s.skew))
        .finish()
}

/// The operators of their stages.
pub fn operators(view: &View) -> RecordBatch {
    let rows: Vec<(QueryId, (usize, usize, Operator))> = parts(view, |profile| {
        let of_stage = |stage: &Stage| {
            let operators = stage.operators.iter().cloned().enumerate();
            operators.map(|(at, operator)| (stage.stage_id, at, operator)).collect::<Vec<_>>()
        };
        profile.stages.iter().flat_map(of_stage).collect()
    });
    let counts = |operator: &Operator| {
        let counts = operator.counts.iter().map(|(name, value)| format!("{name}={value}"));
        counts.collect::<Vec<_>>().join(", ")
    };
    Columns::new()
        .text("query_id", rows.iter().map(|(id, _)| id.as_str()))
        .int4("stage_id", rows.iter().map(|(_, of)| of.0 as i32))
        .int4("operator_id", rows.iter().map(|(_, of)| of.1 as i32))
        .int4("depth", rows.iter().map(|(_, of)| of.2.depth as i32))
        .text("name", rows.iter().map(|(_, of)| of.2.name.as_str()))
        .text("detail", rows.iter().map(|(_, of)| of.2.detail.as_str()))
        .optional_int4("reads_stage", rows.iter().map(|(_, of)| of.2.reads_stage.map(|id| id as i32)))
        .int8("predicted_rows", rows.iter().map(|(_, of)| count(of.2.predicted_rows)))
        .optional_int8("rows", rows.iter().map(|(_, of)| optional_count(of.2.rows)))
        .optional_int8("bytes", rows.iter().map(|(_, of)| optional_count(of.2.bytes)))
        .float8("compute_ms", rows.iter().map(|(_, of)| of.2.compute_ms))
        .optional_int8("spilled_bytes", rows.iter().map(|(_, of)| optional_count(of.2.spilled_bytes)))
        .text("counts", rows.iter().map(|(_, of)| counts(&of.2)))
        .finish()
}

/// The tasks of runs on executors.
pub fn tasks(view: &View) -> RecordBatch {
    let rows: Vec<(QueryId, Task)> =
        of_runs(view, |live| live.read_tasks(|tasks| tasks.iter().cloned().collect()));
    let list = |task: &Task| task.partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let now = crate::profile::now_ms();
    Columns::new()
        .text("query_id", rows.iter().map(|(id, _)| id.as_str()))
        .int4("run", rows.iter().map(|(_, t)| t.run as i32))
        .int4("stage_id", rows.iter().map(|(_, t)| t.stage_id as i32))
        .int4("task_id", rows.iter().map(|(_, t)| t.task_id as i32))
        .int4("attempt", rows.iter().map(|(_, t)| t.attempt as i32))
        .text("executor_id", rows.iter().map(|(_, t)| t.executor_id.as_ref()))
        .text("state", rows.iter().map(|(_, t)| t.state.as_str()))
        .text("partitions", rows.iter().map(|(_, t)| list(t)))
        .time("started_at", rows.iter().map(|(_, t)| Some(micros_of(t.started_at_ms))))
        .time("ended_at", rows.iter().map(|(_, t)| t.ended_at_ms.map(micros_of)))
        .float8("elapsed_ms", rows.iter().map(|(_, t)| Some(t.ended_at_ms.unwrap_or(now) - t.started_at_ms)))
        .float8("compute_ms", rows.iter().map(|(_, t)| Some(t.compute_ms)))
        .float8("transfer_ms", rows.iter().map(|(_, t)| Some(t.transfer_ms)))
        .int8("rows_read", rows.iter().map(|(_, t)| count(t.rows_read)))
        .int8("rows", rows.iter().map(|(_, t)| count(t.rows)))
        .int8("bytes", rows.iter().map(|(_, t)| count(t.bytes)))
        .int8("spilled_bytes", rows.iter().map(|(_, t)| count(t.spilled_bytes)))
        .optional_int8("peak_bytes", rows.iter().map(|(_, t)| optional_count(t.peak_bytes)))
        .optional_text("error", rows.iter().map(|(_, t)| t.error.as_deref()))
        .finish()
}

/// What moved between the stages of runs.
pub fn exchanges(view: &View) -> RecordBatch {
    let rows: Vec<(QueryId, Exchange)> = parts(view, |profile| profile.exchanges.clone());
    let bytes = |of: fn(&Exchange) -> Option<u64>| rows.iter().map(move |(_, e)| optional_count(of(e)));
    Columns::new()
        .text("query_id", rows.iter().map(|(id, _)| id.as_str()))
        .int4("from_stage", rows.iter().map(|(_, e)| e.from_stage as i32))
        .optional_int4("to_stage", rows.iter().map(|(_, e)| e.to_stage.map(|id| id as i32)))
        .text("kind", rows.iter().map(|(_, e)| e.kind.as_str()))
        .text("keys", rows.iter().map(|(_, e)| e.keys.join(", ")))
        .int4("partitions", rows.iter().map(|(_, e)| e.partitions as i32))
        .int8("predicted_rows", rows.iter().map(|(_, e)| count(e.predicted_rows)))
        .optional_int8("rows", bytes(|e| e.rows))
        .int8("predicted_bytes", rows.iter().map(|(_, e)| count(e.predicted_bytes)))
        .optional_int8("bytes", bytes(|e| e.bytes))
        .optional_int8("largest_partition_bytes", bytes(|e| e.largest_partition_bytes))
        .optional_int8("median_partition_bytes", bytes(|e| e.median_partition_bytes))
        .finish()
}

/// Losses that runs went on after.
pub fn recoveries(view: &View) -> RecordBatch {
    let rows: Vec<(QueryId, Recovery)> = parts(view, |profile| profile.recoveries.clone());
    Columns::new()
        .text("query_id", rows.iter().map(|(id, _)| id.as_str()))
        .time("noticed_at", rows.iter().map(|(_, r)| Some(micros_of(r.at_ms))))
        .text("cause", rows.iter().map(|(_, r)| r.cause.as_str()))
        .bool("was_whole", rows.iter().map(|(_, r)| r.was_whole))
        .int4("kept_tasks", rows.iter().map(|(_, r)| r.kept_tasks as i32))
        .int4("rerun_tasks", rows.iter().map(|(_, r)| r.rerun_tasks as i32))
        .float8("added_ms", rows.iter().map(|(_, r)| Some(r.added_ms)))
        .finish()
}

/// What was found wrong with runs.
pub fn lints(view: &View) -> RecordBatch {
    let rows: Vec<(QueryId, Lint)> = parts(view, |profile| profile.lint_list.clone());
    Columns::new()
        .text("query_id", rows.iter().map(|(id, _)| id.as_str()))
        .text("code", rows.iter().map(|(_, l)| l.code.as_str()))
        .text("message", rows.iter().map(|(_, l)| l.message.as_str()))
        .text("hint", rows.iter().map(|(_, l)| l.hint.as_str()))
        .finish()
}

/// What was expected of runs beside what came of them.
pub fn estimates(view: &View) -> RecordBatch {
    let rows = parts(view, |profile| {
        let of_exchange = profile.exchanges.iter().flat_map(|exchange| {
            [
                (exchange.from_stage, "exchange rows", exchange.predicted_rows, exchange.rows),
                (exchange.from_stage, "exchange bytes", exchange.predicted_bytes, exchange.bytes),
            ]
        });
        let of_stage =
            profile.stages.iter().filter(|stage| stage.predicted_task_bytes > 0).map(|stage| {
                (stage.stage_id, "task memory", stage.predicted_task_bytes, stage.peak_task_bytes)
            });
        let of_query = profile
            .memory
            .iter()
            .filter(|_| !profile.is_distributed)
            .map(|memory| (0, "query memory", memory.predicted_task_bytes, memory.peak_task_bytes));
        of_exchange.chain(of_stage).chain(of_query).collect::<Vec<_>>()
    });
    Columns::new()
        .text("query_id", rows.iter().map(|(id, _)| id.as_str()))
        .int4("stage_id", rows.iter().map(|(_, of)| of.0 as i32))
        .text("what", rows.iter().map(|(_, of)| of.1))
        .int8("predicted", rows.iter().map(|(_, of)| count(of.2)))
        .optional_int8("actual", rows.iter().map(|(_, of)| optional_count(of.3)))
        .float8("ratio", rows.iter().map(|(_, of)| of.3.and_then(|actual| ratio(of.2, actual))))
        .finish()
}
