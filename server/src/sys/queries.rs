//! What runs and ran, statement by statement.

use std::time::SystemTime;

use datafusion::arrow::array::RecordBatch;

use super::{count, micros, optional_count};
use crate::pg_catalog::{Columns, View, may_read_of, shown_to};
use crate::profile::Counts;
use crate::query::{QueryRecord, QueryState};

/// Running queries, then the last finished ones.
pub fn queries(view: &View) -> RecordBatch {
    let coordinator = &view.context.coordinator;
    let records = coordinator.queries.records();
    let counts: Vec<Counts> = records.iter().map(|record| record.profile.counts()).collect();
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
    let int4 = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
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
        .float8("queued_ms", counts.iter().map(|of| of.queued_ms))
        .float8("planning_ms", counts.iter().map(|of| of.planning_ms))
        .int8("rows", records.iter().map(|r| count(r.rows)))
        .int4("retries", records.iter().map(|r| i32::try_from(r.retries).unwrap_or(i32::MAX)))
        .int4("tasks_total", counts.iter().map(|of| int4(of.tasks_total)))
        .int4("tasks_finished", counts.iter().map(|of| int4(of.tasks_finished)))
        .int4("tasks_running", counts.iter().map(|of| int4(of.tasks_running)))
        .optional_int8("exchanged_bytes", counts.iter().map(|of| optional_count(of.exchanged_bytes)))
        .int8("spilled_bytes", counts.iter().map(|of| count(of.spilled_bytes)))
        .int4("lints", counts.iter().map(|of| int4(of.lints)))
        .optional_text("sqlstate", records.iter().map(|r| r.error.as_ref().map(|(code, _)| code)))
        .optional_text(
            "error",
            records.iter().map(|r| {
                r.error
                    .as_ref()
                    .filter(|_| r.state == QueryState::Failed && may_read_of(view, r.role_oid))
                    .map(|(_, message)| message)
            }),
        )
        .text("sql", records.iter().map(|r| shown_to(view, r.role_oid, &r.sql)))
        .finish()
}
