//! The tables, and how their files suit queries.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Desk;
use crate::sys;

/// Every table and view.
pub async fn list(State(desk): State<Desk>) -> Json<Value> {
    let snapshot = desk.coordinator.snapshot();
    let tables: Vec<Value> = snapshot
        .tables()
        .map(|table| {
            let health = sys::health(table);
            let has_files = table.view.is_none();
            let of_files = |figure: u64| has_files.then_some(figure);
            let format = match (&table.managed, has_files) {
                (Some(_), _) => Some("parquet"),
                (None, true) => Some(table.files.format.name()),
                (None, false) => None,
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
            })
        })
        .collect();
    Json(json!({ "tables": tables }))
}
