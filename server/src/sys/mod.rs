//! The system as SQL: `sys.queries`, `sys.executors`.

use std::time::SystemTime;

use catalog::{Materialized, TableName};
use datafusion::arrow::array::RecordBatch;

use crate::pg_catalog::{Builder, Columns, View, may_read_of, shown_to};
use crate::query::{QueryRecord, QueryState};

/// Every view of the schema.
pub static RELATIONS: &[(&str, Builder)] = &[
    ("executors", executors),
    ("failed_sign_ins", failed_sign_ins),
    ("materialized_views", materialized_views),
    ("queries", queries),
    ("snapshots", snapshots),
];

/// Running queries, then the last finished ones.
fn queries(view: &View) -> RecordBatch {
    let coordinator = &view.context.coordinator;
    let records = coordinator.queries.records();
    let places = coordinator.admission.positions();
    let state = |record: &QueryRecord| {
        if record.state == QueryState::Running && places.contains_key(&record.id) {
            "queued"
        } else {
            record.state.as_str()
        }
    };
    let elapsed = |ended: Option<SystemTime>, started: SystemTime| {
        let until = ended.unwrap_or_else(SystemTime::now);
        Some(until.duration_since(started).unwrap_or_default().as_secs_f64() * 1000.0)
    };
    Columns::new()
        .text("query_id", records.iter().map(|r| r.id.as_str()))
        .int4("pid", records.iter().map(|r| r.process_id))
        .text("user_name", records.iter().map(|r| r.user.as_str()))
        .text("state", records.iter().map(state))
        .optional_int4("queue_position", records.iter().map(|r| places.get(&r.id).map(|place| *place as i32)))
        .text("route", records.iter().map(|r| r.route.as_str()))
        .time("started_at", records.iter().map(|r| Some(micros(r.started_at))))
        .time("ended_at", records.iter().map(|r| r.ended_at.map(micros)))
        .float8("elapsed_ms", records.iter().map(|r| elapsed(r.ended_at, r.started_at)))
        .int8("rows", records.iter().map(|r| i64::try_from(r.rows).unwrap_or(i64::MAX)))
        .int4("retries", records.iter().map(|r| i32::try_from(r.retries).unwrap_or(i32::MAX)))
        .optional_text("sqlstate", records.iter().map(|r| r.error.as_ref().map(|(code, _)| code)))
        .optional_text(
            "error",
            records.iter().map(|r| {
                r.error
                    .as_ref()
                    .filter(|_| r.state == QueryState::Failed && may_read_of(view, &r.user))
                    .map(|(_, message)| message)
            }),
        )
        .text("sql", records.iter().map(|r| shown_to(view, &r.user, &r.sql)))
        .finish()
}

/// The executors that are alive.
fn executors(view: &View) -> RecordBatch {
    let members = view.context.coordinator.cluster.members();
    let reports = || members.iter().map(|member| &member.report);
    let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    Columns::new()
        .text("executor_id", reports().map(|r| r.executor_id.as_str()))
        .text("state", members.iter().map(|m| if m.draining_since.is_some() { "draining" } else { "alive" }))
        .text("address", reports().map(|r| r.address.as_str()))
        .int4("process_id", reports().map(|r| r.process_id as i32))
        .int4("threads", reports().map(|r| r.threads as i32))
        .int8("memory_cap_bytes", reports().map(|r| bytes(r.memory_cap_bytes)))
        .int8("resident_bytes", reports().map(|r| bytes(r.resident_bytes)))
        .int8("resident_bytes_max", members.iter().map(|m| bytes(m.resident_bytes_max)))
        .int8("pool_reserved_bytes", reports().map(|r| bytes(r.pool_reserved_bytes)))
        .int8("pool_limit_bytes", reports().map(|r| bytes(r.pool_limit_bytes)))
        .int8("spilled_bytes", reports().map(|r| bytes(r.spilled_bytes)))
        .int4("tasks_running", reports().map(|r| r.tasks_running as i32))
        .int8("tasks_finished", reports().map(|r| bytes(r.tasks_finished)))
        .float8("heard_ms_ago", members.iter().map(|m| Some(m.heard_at.elapsed().as_secs_f64() * 1000.0)))
        .finish()
}

/// Queries whose rows are kept, and whether what they read has changed since. That of tables over files that
/// others may change cannot be told: it is null.
fn materialized_views(view: &View) -> RecordBatch {
    let snapshot = &view.snapshot;
    let all: Vec<_> = snapshot.metadata().materialized.iter().collect();
    let table = |name| snapshot.table(name);
    let is_stale = |of: &Materialized| {
        let states = of.inputs.iter().map(|(schema, name, then)| {
            let now = snapshot.table(&TableName::new(schema.as_str(), name.as_str()));
            match (then, now.map(|table| table.contents())) {
                (_, None) => Some(true),
                (Some(then), Some(now)) => Some(now.as_ref() != Some(then)),
                (None, Some(_)) => None,
            }
        });
        let states: Vec<Option<bool>> = states.collect();
        if states.contains(&Some(true)) {
            Some(true)
        } else if states.contains(&None) {
            None
        } else {
            Some(false)
        }
    };
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    Columns::new()
        .text("schema_name", all.iter().map(|(name, _)| name.schema.as_str()))
        .text("view_name", all.iter().map(|(name, _)| name.table.as_str()))
        .int8("snapshot", all.iter().map(|(_, of)| count(of.snapshot)))
        .optional_bool("is_stale", all.iter().map(|(_, of)| is_stale(of)))
        .int8("rows", all.iter().map(|(name, _)| count(table(name).map_or(0, |t| t.statistics.rows))))
        .int8("files", all.iter().map(|(name, _)| count(table(name).map_or(0, |t| t.statistics.files))))
        .int8(
            "file_bytes",
            all.iter().map(|(name, _)| count(table(name).map_or(0, |t| t.statistics.file_bytes))),
        )
        .text("definition", all.iter().map(|(_, of)| of.sql.as_str()))
        .finish()
}

/// The versions of the tables that this server writes, the newest last.
fn snapshots(view: &View) -> RecordBatch {
    let all = &view.context.snapshots;
    Columns::new()
        .int8("snapshot", all.iter().map(|row| i64::try_from(row.snapshot).unwrap_or(i64::MAX)))
        .time("committed_at", all.iter().map(|row| Some(row.committed_at)))
        .optional_text("changes", all.iter().map(|row| row.changes.as_ref()))
        .optional_text("author", all.iter().map(|row| row.author.as_ref()))
        .finish()
}

/// Roles and places whose last sign-ins failed.
fn failed_sign_ins(view: &View) -> RecordBatch {
    let places = view.context.coordinator.guard.list();
    Columns::new()
        .text("address", places.iter().map(|place| place.address.to_string()))
        .text("user_name", places.iter().map(|place| place.user.as_str()))
        .int4("failures", places.iter().map(|place| i32::try_from(place.failures).unwrap_or(i32::MAX)))
        .time("last_at", places.iter().map(|place| Some(micros(place.last_at))))
        .finish()
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
