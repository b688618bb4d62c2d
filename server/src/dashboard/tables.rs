//! The tables, and how their files suit queries.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Desk;
use crate::sys;

/// Every table and view, and the locations that cannot be read.
pub async fn list(State(desk): State<Desk>) -> Json<Value> {
    let snapshot = desk.coordinator.snapshot();
    let mut tables: Vec<Value> = snapshot
        .tables()
        .map(|table| {
            let health = sys::health(table);
            let has_files = table.view.is_none() && table.unavailable.is_none();
            let problem = table.unavailable.as_deref();
            let of_files = |figure: u64| has_files.then_some(figure);
            let format = match (&table.managed, &table.view) {
                (Some(_), _) => Some("parquet"),
                (None, None) => Some(table.files.format.name()),
                (None, Some(_)) => None,
            };
            json!({
                "schema_name": table.name.schema,
                "table_name": table.name.table,
                "kind": sys::kind(&snapshot, table),
                "format": format,
                "rows": of_files(table.statistics.rows),
                "files": of_files(table.statistics.files),
                "file_bytes": of_files(table.statistics.file_bytes),
                "median_file_bytes": health.median_file_bytes,
                "largest_file_bytes": health.largest_file_bytes,
                "partitioned_by": sys::partition_keys(table),
                "health": health.state,
                "advice": health.advice,
                "state": problem.map_or("served", |problem| problem.trouble.name()),
                "reason": problem.map(|problem| &problem.reason),
                "file": problem.and_then(|problem| problem.file.as_ref()),
            })
        })
        .collect();
    tables.extend(snapshot.troubles().iter().map(|trouble| {
        json!({
            "schema_name": Value::Null,
            "table_name": trouble.location,
            "kind": "location",
            "partitioned_by": [],
            "health": "unavailable",
            "advice": trouble.problem.advice,
            "state": trouble.problem.trouble.name(),
            "reason": trouble.problem.reason,
        })
    }));
    Json(json!({ "tables": tables }))
}
