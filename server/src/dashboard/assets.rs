//! The files of the pages, which are within the binary.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::refusal;

macro_rules! assets {
    ($($name:literal),* $(,)?) => {
        /// Every file by its name.
        static ASSETS: &[(&str, &str)] = &[$(($name, include_str!(concat!("assets/", $name)))),*];
    };
}

assets!(
    "api.js",
    "app.js",
    "chart.js",
    "dom.js",
    "executors.js",
    "favicon.svg",
    "format.js",
    "history.js",
    "index.html",
    "links.js",
    "marks.js",
    "memory_bar.js",
    "overview.js",
    "press_twice.js",
    "profile_stages.js",
    "profile_view.js",
    "query.js",
    "report.html",
    "report.js",
    "stage_graph.js",
    "style.css",
    "table.js",
    "tables.js",
    "task_canvas.js",
    "task_input.js",
    "task_layout.js",
    "task_legend.js",
    "task_marks.js",
    "task_store.js",
    "task_tip.js",
    "tasks.js",
    "theme.js",
);

/// The text of a file.
pub fn text(name: &str) -> Option<&'static str> {
    ASSETS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    }
}

/// The page.
pub async fn index() -> Response {
    answer("index.html")
}

/// One of its files.
pub async fn file(Path(name): Path<String>) -> Response {
    answer(&name)
}

fn answer(name: &str) -> Response {
    match text(name) {
        Some(text) => ([(header::CONTENT_TYPE, kind(name))], text).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "there is no such file"),
    }
}
