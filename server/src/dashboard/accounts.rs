//! Queries as the pages are told of them.

use std::collections::HashMap;
use std::time::SystemTime;

use engine::QueryId;
use serde_json::{Map, Value, json};

use crate::coordinator::Coordinator;
use crate::profile::ms_of;
use crate::query::{QueryRecord, QueryState};

/// Places in the queue.
pub type Places = HashMap<QueryId, usize>;

/// How long a query has taken, or takes, in milliseconds.
pub fn elapsed_ms(record: &QueryRecord) -> f64 {
    let until = record.ended_at.unwrap_or_else(SystemTime::now);
    until.duration_since(record.started_at).unwrap_or_default().as_secs_f64() * 1000.0
}

/// Where a query stands, in a word.
pub fn state(record: &QueryRecord, places: &Places) -> &'static str {
    if record.state == QueryState::Running && places.contains_key(&record.id) {
        return "queued";
    }
    record.state.as_str()
}

/// One query in a few figures.
pub fn summary(record: &QueryRecord, places: &Places) -> Map<String, Value> {
    let counts = record.profile.counts();
    let (route, reason) = match record.route.split_once(": ") {
        Some((route, reason)) => (Some(route), Some(reason)),
        None => (None, None),
    };
    let (sqlstate, error) = match &record.error {
        Some((code, message)) => (Some(code), Some(message)),
        None => (None, None),
    };
    let summary = json!({
        "query_id": record.id.as_str(),
        "pid": record.process_id,
        "user_name": record.user,
        "state": state(record, places),
        "queue_position": places.get(&record.id),
        "sql": &*record.sql,
        "route": route,
        "reason": reason,
        "started_at_ms": ms_of(record.started_at),
        "ended_at_ms": record.ended_at.map(ms_of),
        "elapsed_ms": elapsed_ms(record),
        "rows": record.rows,
        "retries": record.retries,
        "sqlstate": sqlstate,
        "error": error,
        "tasks_total": counts.tasks_total,
        "tasks_finished": counts.tasks_finished,
        "tasks_running": counts.tasks_running,
        "exchanged_bytes": counts.exchanged_bytes,
        "spilled_bytes": counts.spilled_bytes,
        "lints": counts.lints,
    });
    let Value::Object(summary) = summary else { unreachable!("it was just made an object") };
    summary
}

/// One query with all that is known of it.
pub fn whole(record: &QueryRecord, places: &Places) -> Value {
    let mut whole = summary(record, places);
    if let Ok(Value::Object(profile)) = serde_json::to_value(record.profile.snapshot()) {
        whole.extend(profile);
    }
    Value::Object(whole)
}

/// The query of that identifier, with its place in the queue.
pub fn find(coordinator: &Coordinator, id: &str) -> Option<(QueryRecord, Places)> {
    let record = coordinator.queries.find(&QueryId::from(id.to_owned()))?;
    Some((record, coordinator.admission.positions()))
}
