//! A query's account as one file that needs no server: to keep, or to send to somebody.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::accounts::{find, whole};
use super::assets::text;
use super::{Desk, refusal};

/// The modules that the file is made of, those that are imported before those that import.
const MODULES: &[&str] = &[
    "dom.js",
    "format.js",
    "marks.js",
    "table.js",
    "stage_graph.js",
    "profile_stages.js",
    "profile_view.js",
    "report.js",
];

/// The report of one query.
pub async fn download(State(desk): State<Desk>, Path(id): Path<String>) -> Response {
    let Some((record, places)) = find(&desk.coordinator, &id) else {
        return refusal(StatusCode::NOT_FOUND, "no query of this identifier is remembered");
    };
    let profile = whole(&record, &places).to_string();
    let name = format!("attachment; filename=\"sluice-query-{}.html\"", record.id);
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, name)];
    (headers, page(&profile)).into_response()
}

fn page(profile: &str) -> String {
    let script: String = MODULES.iter().filter_map(|name| text(name)).map(script_of).collect();
    // What a client wrote must not end the element that holds it.
    let profile = profile.replace('<', "\\u003c");
    text("report.html")
        .unwrap_or_default()
        .replace("/*{{css}}*/", text("style.css").unwrap_or_default())
        .replace("/*{{script}}*/", &script)
        .replace("{{profile}}", &profile)
}

/// A module's text, to stand behind others in one: nothing is imported then.
fn script_of(module: &str) -> String {
    let lines = module.lines().filter(|line| !line.starts_with("import "));
    lines.map(|line| format!("{}\n", line.strip_prefix("export ").unwrap_or(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_needs_nothing_else() {
        let page = page(r#"{"sql": "</script><img src=x onerror=alert(1)>"}"#);
        assert!(!page.contains("</script><img"));
        let script = page.split("<script type=\"module\">").nth(1).expect("a script");
        assert!(!script.contains("\nimport ") && !script.contains("\nexport "));
        for module in MODULES {
            assert!(text(module).is_some(), "{module}");
            for line in text(module).unwrap_or_default().lines().filter(|line| line.starts_with("import ")) {
                let from = line.split('"').nth(1).unwrap_or_default().trim_start_matches("./");
                let (at, of) =
                    (MODULES.iter().position(|m| m == module), MODULES.iter().position(|m| *m == from));
                assert!(of < at && of.is_some(), "{module} imports {from}, which does not stand before it");
            }
        }
    }
}
