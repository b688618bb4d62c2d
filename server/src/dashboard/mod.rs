//! HTTP for people and probes: the dashboard, health, and what runs as JSON.
//!
//! Pages are plain files; what they show comes from the same accounts as the views of `sys`. Nothing is computed for
//! viewers that are not there, but for one sample of each process every five seconds, which the time series are made of.

mod accounts;
mod actions;
mod assets;
mod doorman;
mod history;
mod live;
mod report;
mod samples;
mod tables;
mod tasks;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::coordinator::Coordinator;
use doorman::Doorman;
use samples::Samples;

/// What the handlers share.
#[derive(Clone)]
struct Desk {
    coordinator: Arc<Coordinator>,
    samples: Arc<Samples>,
    /// Streams of events end with the server.
    shutdown: CancellationToken,
}

/// Serves the dashboard until `shutdown`.
pub async fn run(coordinator: Arc<Coordinator>, listener: TcpListener, shutdown: CancellationToken) {
    let is_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let samples = Samples::start(&coordinator, shutdown.clone());
    let doorman = Arc::new(Doorman::new(Arc::clone(&coordinator), is_loopback));
    let desk = Desk { coordinator, samples, shutdown: shutdown.clone() };
    let guarded = Router::new()
        .route("/", get(assets::index))
        .route("/{name}", get(assets::file))
        .route("/api/live", get(live::events))
        .route("/api/tasks", get(tasks::since))
        .route("/api/queries", get(history::search))
        .route("/api/queries/{id}", get(history::one))
        .route("/api/queries/{id}/report", get(report::download))
        .route("/api/queries/{id}/cancel", post(actions::cancel))
        .route("/api/executors", get(samples::series))
        .route("/api/executors/{id}/drain", post(actions::drain))
        .route("/api/tables", get(tables::list))
        .layer(middleware::from_fn_with_state(doorman, doorman::admit));
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .merge(guarded)
        .layer(middleware::from_fn(move |request, next| doorman::protect(is_loopback, request, next)))
        .with_state(desk);
    let service = router.into_make_service_with_connect_info::<std::net::SocketAddr>();
    let served = axum::serve(listener, service).with_graceful_shutdown(shutdown.cancelled_owned());
    if let Err(error) = served.await {
        error!(%error, "the dashboard failed");
    }
}

/// 200 when the server takes queries and every supervised executor has joined.
async fn ready(State(desk): State<Desk>) -> Response {
    let coordinator = &desk.coordinator;
    let (alive, wanted) = (coordinator.cluster.members().len(), coordinator.config.cluster.executors);
    if alive >= wanted {
        (StatusCode::OK, format!("ready, {alive} executors\n")).into_response()
    } else {
        let text = format!("{alive} of {wanted} executors\n");
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

/// Figures for Prometheus. They tell nothing of what is run.
async fn metrics(State(desk): State<Desk>) -> Response {
    let text = desk.coordinator.metrics.exposition(&desk.coordinator);
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response()
}

/// An answer that says what is wrong.
fn refusal(status: StatusCode, text: &str) -> Response {
    (status, axum::Json(json!({ "error": text }))).into_response()
}
