//! What can be done from the pages.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::ExecutorId;
use tracing::info;

use super::{Desk, accounts, refusal};
use crate::query::QueryState;

/// Cancels a query that runs or waits.
pub async fn cancel(State(desk): State<Desk>, Path(id): Path<String>) -> Response {
    match accounts::find(&desk.coordinator, &id) {
        Some((record, _)) if record.state == QueryState::Running => {
            info!(query.id = id, "cancelled from the dashboard");
            record.cancel.cancel();
            StatusCode::NO_CONTENT.into_response()
        }
        _ => refusal(StatusCode::NOT_FOUND, "no such query runs"),
    }
}

/// Tells an executor to finish what it has begun, and to end. A supervised one is replaced.
pub async fn drain(State(desk): State<Desk>, Path(id): Path<String>) -> Response {
    if desk.coordinator.cluster.drain(&ExecutorId::from(id.clone())) {
        info!(executor.id = id, "drained from the dashboard");
        StatusCode::NO_CONTENT.into_response()
    } else {
        refusal(StatusCode::NOT_FOUND, "no such executor is alive")
    }
}
