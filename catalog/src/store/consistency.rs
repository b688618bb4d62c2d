//! What must hold of the lake as a whole. What is wrong with one table is found when it is read (`lake_load`).

use super::{Connection, fetch, maybe_number};
use crate::metadata::NextIds;
use crate::{CatalogError, Result};

/// Tables of rows that are there from one snapshot to another.
const VERSIONED: &[&str] = &[
    "ducklake_schema",
    "ducklake_table",
    "ducklake_view",
    "ducklake_column",
    "ducklake_data_file",
    "ducklake_delete_file",
    "ducklake_partition_info",
    "ducklake_sort_info",
];

/// Identifiers that are counted by `next_catalog_id`.
const OF_THE_CATALOG: &[(&str, &str)] =
    &[("ducklake_schema", "schema_id"), ("ducklake_table", "table_id"), ("ducklake_view", "view_id")];

/// Those that are counted by `next_file_id`.
const OF_FILES: &[(&str, &str)] =
    &[("ducklake_data_file", "data_file_id"), ("ducklake_delete_file", "delete_file_id")];

/// Refuses a lake that a commit would make worse: rows of snapshots that are not there would come to life, and what is
/// new would get the identifiers of what is there.
pub(super) async fn check(connection: &mut Connection, newest: i64, next: &NextIds) -> Result<()> {
    if newest < 0 {
        return Err(CatalogError::damaged(format_args!("its newest snapshot has the number {newest}")));
    }
    for table in VERSIONED {
        let sql = format!(
            "select max(begin_snapshot) as begins, max(end_snapshot) as ends,
             max(case when end_snapshot < begin_snapshot then begin_snapshot end) as reversed from {table}"
        );
        let rows = fetch(connection, &sql, Vec::new()).await?;
        let Some(row) = rows.first() else { continue };
        let last = maybe_number(row, "begins")?.max(maybe_number(row, "ends")?);
        if let Some(last) = last.filter(|last| *last > newest) {
            return Err(CatalogError::damaged(format_args!(
                "{table} knows of snapshot {last}, and the newest one is {newest}"
            )));
        }
        if let Some(begin) = maybe_number(row, "reversed")? {
            return Err(CatalogError::damaged(format_args!(
                "a row of {table} that begins with snapshot {begin} ends before it"
            )));
        }
    }
    let counters = [("next_catalog_id", next.catalog, OF_THE_CATALOG), ("next_file_id", next.file, OF_FILES)];
    for (counter, value, tables) in counters {
        for (table, id) in tables {
            let sql = format!("select max({id}) as used from {table}");
            let rows = fetch(connection, &sql, Vec::new()).await?;
            let used = rows.first().map(|row| maybe_number(row, "used")).transpose()?.flatten();
            if let Some(used) = used.filter(|used| *used >= value) {
                return Err(CatalogError::damaged(format_args!(
                    "{counter} is {value}, and {table} has {used} already"
                )));
            }
        }
    }
    Ok(())
}
