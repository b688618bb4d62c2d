//! HTTP for people and probes: health, and one page of what runs.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use engine::ByteSize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::coordinator::Coordinator;

/// Serves the dashboard until `shutdown`.
pub async fn run(coordinator: Arc<Coordinator>, listener: TcpListener, shutdown: CancellationToken) {
    let is_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let router = Router::new()
        .route("/", get(page))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .layer(middleware::from_fn(move |request, next| protect(is_loopback, request, next)))
        .with_state(coordinator);
    let served = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
    if let Err(error) = served.await {
        error!(%error, "the dashboard failed");
    }
}

/// On loopback, answers only to loopback's own names: a page elsewhere whose name was made to point
/// here must not read it.
async fn protect(is_loopback: bool, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if is_loopback && !["localhost", "127.0.0.1", "[::1]"].contains(&name) {
        return (StatusCode::FORBIDDEN, "unknown host").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy = "default-src 'self'; style-src 'self' 'unsafe-inline'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 200 when the server takes queries and every supervised executor has joined.
async fn ready(State(coordinator): State<Arc<Coordinator>>) -> Response {
    let (alive, wanted) = (coordinator.cluster.members().len(), coordinator.config.cluster.executors);
    if alive >= wanted {
        (StatusCode::OK, format!("ready, {alive} executors\n")).into_response()
    } else {
        let text = format!("{alive} of {wanted} executors\n");
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn page(State(coordinator): State<Arc<Coordinator>>) -> Html<String> {
    let queries = coordinator.queries.records().into_iter().take(50).map(|query| {
        let until = query.ended_at.unwrap_or_else(std::time::SystemTime::now);
        let elapsed = until.duration_since(query.started_at).unwrap_or_default();
        row(&[
            query.state.as_str(),
            &query.route,
            &format!("{:.1} ms", elapsed.as_secs_f64() * 1000.0),
            &query.rows.to_string(),
            &query.retries.to_string(),
            &query.sql,
        ])
    });
    let executors = coordinator.cluster.members().into_iter().map(|member| {
        let report = member.report;
        let cap = ByteSize(report.memory_cap_bytes);
        row(&[
            report.executor_id.as_str(),
            &report.process_id.to_string(),
            &format!("{} / {cap}", ByteSize(report.resident_bytes)),
            &format!("{} / {}", ByteSize(report.pool_reserved_bytes), ByteSize(report.pool_limit_bytes)),
            &ByteSize(report.spilled_bytes).to_string(),
            &format!("{} / {}", report.tasks_running, report.threads),
            &report.tasks_finished.to_string(),
        ])
    });
    let own = &coordinator.runtime;
    Html(
        include_str!("page.html")
            .replace(
                "{{server}}",
                &escape(&format!(
                    "{} resident, {} of {} reserved, {} spilled",
                    ByteSize(own.pool.resident_bytes()),
                    ByteSize(own.env.memory_pool.reserved() as u64),
                    ByteSize(own.pool.limit_bytes() as u64),
                    ByteSize(own.spilled_bytes()),
                )),
            )
            .replace("{{executors}}", &executors.collect::<String>())
            .replace("{{queries}}", &queries.collect::<String>()),
    )
}

fn row(cells: &[&str]) -> String {
    let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
    format!("<tr>{cells}</tr>")
}

/// Text of clients is shown as text.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('{', "&#123;")
}
