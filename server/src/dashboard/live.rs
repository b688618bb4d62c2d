//! What happens, as it happens: server-sent events for as long as somebody looks.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use engine::QueryId;
use futures::{Stream, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_stream::wrappers::IntervalStream;

use super::accounts::{Places, summary, whole};
use super::{Desk, tasks};
use crate::profile::now_ms;
use crate::query::QueryState;

/// Between two looks; the overview is told at every other.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is to be told besides the overview.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    query: Option<String>,
    tasks: Option<String>,
}

/// The events.
pub async fn events(
    State(desk): State<Desk>,
    Query(wanted): Query<Wanted>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let over = desk.shutdown.clone();
    let mut teller = Teller { desk, wanted, looks: 0, told_at_ms: now_ms(), query_is_over: false };
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let events = IntervalStream::new(looks)
        .flat_map(move |_| futures::stream::iter(teller.look()))
        .map(Ok)
        .take_until(over.cancelled_owned());
    Sse::new(events).keep_alive(KeepAlive::default())
}

struct Teller {
    desk: Desk,
    wanted: Wanted,
    looks: u64,
    told_at_ms: f64,
    query_is_over: bool,
}

impl Teller {
    fn look(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut tell = |name: &str, value: Value| {
            events.extend(Event::default().event(name).json_data(value).ok());
        };
        let is_full = self.looks.is_multiple_of(2);
        self.looks += 1;
        let places = self.desk.coordinator.admission.positions();
        if is_full {
            tell("overview", overview(&self.desk, &places));
        }
        if self.wanted.tasks.is_some() {
            let changed = tasks::changed(&self.desk.coordinator, self.told_at_ms);
            self.told_at_ms = now_ms();
            if !changed.is_empty()
                && let Ok(value) = serde_json::to_value(changed)
            {
                tell("tasks", value);
            }
        }
        if let Some(id) = self.wanted.query.as_ref().filter(|_| is_full && !self.query_is_over)
            && let Some(record) = self.desk.coordinator.queries.find(&QueryId::from(id.clone()))
        {
            self.query_is_over = record.state != QueryState::Running;
            tell("query", whole(&record, &places));
        }
        events
    }
}

fn overview(desk: &Desk, places: &Places) -> Value {
    let coordinator = &desk.coordinator;
    let own = &coordinator.runtime;
    let (cached, cache_reserved) = own.stores.cached_bytes();
    let reserved = (own.env.memory_pool.reserved() as u64).saturating_sub(cache_reserved);
    let executors: Vec<Value> = coordinator
        .cluster
        .members()
        .into_iter()
        .map(|member| {
            let report = &member.report;
            json!({
                "executor_id": report.executor_id.as_str(),
                "state": if member.draining_since.is_some() { "draining" } else { "alive" },
                "address": report.address,
                "process_id": report.process_id,
                "threads": report.threads,
                "memory_cap_bytes": report.memory_cap_bytes,
                "resident_bytes": report.resident_bytes,
                "resident_bytes_max": member.resident_bytes_max,
                "pool_reserved_bytes": report.pool_reserved_bytes.saturating_sub(report.cache_reserved_bytes),
                "pool_limit_bytes": report.pool_limit_bytes,
                "cached_bytes": report.cached_bytes,
                "spilled_bytes": report.spilled_bytes,
                "cpu_cores": report.usage.cpu_cores,
                "network_bytes_per_second": report.usage.network_bytes_per_second,
                "disk_bytes_per_second": report.usage.disk_bytes_per_second,
                "tasks_running": report.tasks_running,
                "tasks_finished": report.tasks_finished,
                "heard_ms_ago": member.heard_at.elapsed().as_secs_f64() * 1000.0,
            })
        })
        .collect();
    let records = coordinator.queries.records();
    let minute_ago = SystemTime::now() - Duration::from_secs(60);
    let ended = |state: QueryState| {
        let lately =
            records.iter().filter(|r| r.state == state && r.ended_at.is_some_and(|at| at > minute_ago));
        lately.count()
    };
    let running = records.iter().filter(|record| record.state == QueryState::Running);
    let queries: Vec<Value> = running.map(|record| Value::Object(summary(record, places))).collect();
    let usage = desk.samples.usage();
    let connections_max = coordinator.config.limits.connections_max;
    json!({
        "now_ms": now_ms(),
        "version": env!("CARGO_PKG_VERSION"),
        "server": {
            "started_at_ms": coordinator.sessions_open.server_started_at() as f64 / 1000.0,
            "memory_cap_bytes": own.pool.cap().0,
            "resident_bytes": own.pool.resident_bytes(),
            "pool_reserved_bytes": reserved,
            "pool_limit_bytes": own.pool.limit_bytes(),
            "cached_bytes": cached,
            "spilled_bytes": own.spilled_bytes(),
            "cpu_cores": usage.cpu_cores,
            "network_bytes_per_second": usage.network_bytes_per_second,
            "disk_bytes_per_second": usage.disk_bytes_per_second,
            "threads": coordinator.config.server_threads(),
            "connections": connections_max.saturating_sub(coordinator.connections.available_permits()),
            "connections_max": connections_max,
        },
        "executors": executors,
        "queries": queries,
        "queued": places.len(),
        "ended_last_minute": {
            "finished": ended(QueryState::Finished),
            "failed": ended(QueryState::Failed),
            "cancelled": ended(QueryState::Cancelled),
        },
    })
}
