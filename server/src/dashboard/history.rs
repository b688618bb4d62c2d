//! The queries of now and before, searched.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::accounts::{elapsed_ms, find, state, summary, whole};
use super::{Desk, refusal};
use crate::profile::ms_of;

/// Queries that one answer holds, at most.
const LIMIT_MAX: usize = 1000;

/// What is searched for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Search {
    /// In the text, the role, the error or the identifier.
    search: String,
    state: String,
    limit: Option<usize>,
    /// Those that began before.
    before_ms: Option<f64>,
}

/// The queries that fit, the latest first, and how long they took.
pub async fn search(State(desk): State<Desk>, Query(wanted): Query<Search>) -> Json<Value> {
    let places = desk.coordinator.admission.positions();
    let text = wanted.search.to_lowercase();
    let mut records = desk.coordinator.queries.records();
    records.retain(|record| {
        let holds = |of: &str| of.to_lowercase().contains(&text);
        (wanted.state.is_empty() || state(record, &places) == wanted.state)
            && wanted.before_ms.is_none_or(|before| ms_of(record.started_at) < before)
            && (text.is_empty()
                || holds(&record.sql)
                || holds(&record.user)
                || record.id.as_str().starts_with(&text)
                || record.error.as_ref().is_some_and(|(code, message)| holds(code) || holds(message)))
    });
    let mut took: Vec<f64> =
        records.iter().filter(|record| record.ended_at.is_some()).map(elapsed_ms).collect();
    took.sort_by(f64::total_cmp);
    let percentile = |share: f64| {
        let at = (took.len() as f64 * share).ceil() as usize;
        took.get(at.saturating_sub(1)).copied()
    };
    let failed = records.iter().filter(|record| record.error.is_some()).count();
    let limit = wanted.limit.unwrap_or(100).min(LIMIT_MAX);
    let queries: Vec<Value> =
        records.iter().take(limit).map(|record| Value::Object(summary(record, &places))).collect();
    Json(json!({
        "queries": queries,
        "matched": records.len(),
        "percentiles": {
            "count": took.len(),
            "failed": failed,
            "p50_ms": percentile(0.5),
            "p90_ms": percentile(0.9),
            "p99_ms": percentile(0.99),
            "max_ms": took.last(),
        },
    }))
}

/// All that is known of one query.
pub async fn one(State(desk): State<Desk>, Path(id): Path<String>) -> Response {
    match find(&desk.coordinator, &id) {
        Some((record, places)) => Json(whole(&record, &places)).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "no query of this identifier is remembered"),
    }
}
