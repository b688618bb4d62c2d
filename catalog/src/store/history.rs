//! Earlier snapshots: which there are, and the end of those that nobody needs any more.

use std::collections::{HashMap, HashSet};

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;

use super::borrowed::{Borrowed, Transaction};
use super::{
    CatalogStore, Connection, Value, fetch, insert, lake_commit, lake_load, maybe_text, now, number, run,
    text,
};
use crate::lake::values;
use crate::{CatalogError, Result};

/// A snapshot of the lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Its number.
    pub snapshot: u64,
    /// When it was committed, in microseconds since 1970.
    pub committed_at: i64,
    /// What it changed, in DuckLake's words; none where the lake stayed as it was.
    pub changes: Option<String>,
    /// Who made it: `sluice`, or what another engine says of itself.
    pub author: Option<String>,
}

/// A file that no snapshot knows any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadFile {
    /// `ducklake_data_file.data_file_id`.
    pub id: i64,
    /// Its URL.
    pub location: String,
}

/// Statements take so many numbers at once.
const IDS_AT_ONCE: usize = 500;

impl CatalogStore {
    /// Every snapshot there is, the newest last.
    pub async fn snapshots(&self) -> Result<Vec<SnapshotRow>> {
        let mut connection = Borrowed::of(&self.pool).await?;
        let snapshots = snapshots(&mut connection).await?;
        connection.give_back();
        Ok(snapshots)
    }

    /// Forgets the snapshots that were not the newest any more at `cutoff` (microseconds since 1970), and what only
    /// they knew. Gives their number. Their files are left for [`Self::dead_files`].
    pub async fn expire(&self, cutoff: i64) -> Result<u64> {
        let mut transaction = self.begin().await?;
        let all = snapshots(&mut transaction).await?;
        // A snapshot counts until the next one is committed.
        let ends = all.iter().skip(1).map(|next| next.committed_at);
        let expired: Vec<i64> = all
            .iter()
            .zip(ends)
            .filter(|(_, end)| *end < cutoff)
            .map(|(row, _)| row.snapshot as i64)
            .collect();
        for table in ["ducklake_snapshot", "ducklake_snapshot_changes"] {
            delete(&mut transaction, table, "snapshot_id", &expired).await?;
        }
        self.schedule_dead_files(&mut transaction).await?;
        forget_dead_relations(&mut transaction).await?;
        transaction.commit().await?;
        Ok(expired.len() as u64)
    }

    /// The folders of all schemas that any snapshot knows, as URLs that end in `/`.
    pub async fn schema_folders(&self) -> Result<Vec<String>> {
        let mut connection = Borrowed::of(&self.pool).await?;
        let sql = "select path, cast(path_is_relative as integer) as is_relative from ducklake_schema";
        let rows = fetch(&mut connection, sql, Vec::new()).await?;
        connection.give_back();
        rows.iter().map(|row| lake_load::place(&self.data_folder, &self.data_folder, row)).collect()
    }

    async fn schedule_dead_files(&self, transaction: &mut Transaction) -> Result<()> {
        let folders = self.table_folders(transaction).await?;
        let mut dead = Vec::new();
        for (table, id) in
            [("ducklake_data_file", "data_file_id"), ("ducklake_delete_file", "delete_file_id")]
        {
            let sql = format!(
                "select {id} as id, table_id, path, cast(path_is_relative as integer) as is_relative
                 from {table} f where {DEAD}"
            );
            let mut ids = Vec::new();
            for row in fetch(transaction, &sql, Vec::new()).await? {
                let folder = folders.get(&number(&row, "table_id")?).map_or("", String::as_str);
                let location = lake_load::place(folder, &self.data_folder, &row)?;
                ids.push(number(&row, "id")?);
                dead.push(vec![
                    Value::Int(Some(number(&row, "id")?)),
                    Value::text(&lake_commit::absolute(&location)),
                    Value::Bool(false),
                    Value::Time(now()),
                ]);
            }
            delete(transaction, table, id, &ids).await?;
            if table == "ducklake_data_file" {
                delete(transaction, "ducklake_file_column_stats", id, &ids).await?;
                delete(transaction, "ducklake_file_partition_value", id, &ids).await?;
            }
        }
        if dead.is_empty() {
            return Ok(());
        }
        let columns =
            "ducklake_files_scheduled_for_deletion(data_file_id, path, path_is_relative, schedule_start)";
        insert(transaction, self.dialect, columns, &dead).await
    }

    /// The folders of all tables that any snapshot knows, by the tables' identifiers.
    async fn table_folders(&self, connection: &mut Connection) -> Result<HashMap<i64, String>> {
        let mut schemas = HashMap::new();
        let sql =
            "select schema_id, path, cast(path_is_relative as integer) as is_relative from ducklake_schema";
        for row in fetch(connection, sql, Vec::new()).await? {
            let folder = lake_load::place(&self.data_folder, &self.data_folder, &row)?;
            schemas.insert(number(&row, "schema_id")?, folder);
        }
        let sql = "select table_id, schema_id, path, cast(path_is_relative as integer) as is_relative
             from ducklake_table";
        let mut folders = HashMap::new();
        for row in fetch(connection, sql, Vec::new()).await? {
            let schema = schemas.get(&number(&row, "schema_id")?).map_or("", String::as_str);
            folders.insert(number(&row, "table_id")?, lake_load::place(schema, &self.data_folder, &row)?);
        }
        Ok(folders)
    }

    /// The files that are to be removed: no snapshot knows them.
    pub async fn dead_files(&self) -> Result<Vec<DeadFile>> {
        let mut connection = Borrowed::of(&self.pool).await?;
        let sql = "select data_file_id, path, cast(path_is_relative as integer) as is_relative
             from ducklake_files_scheduled_for_deletion";
        let rows = fetch(&mut connection, sql, Vec::new()).await?;
        connection.give_back();
        rows.iter()
            .map(|row| {
                let location = lake_load::place(&self.data_folder, &self.data_folder, row)?;
                Ok(DeadFile { id: number(row, "data_file_id")?, location })
            })
            .collect()
    }

    /// Forgets files that were removed.
    pub async fn forget_dead_files(&self, ids: &[i64]) -> Result<()> {
        let mut transaction = self.begin().await?;
        delete(&mut transaction, "ducklake_files_scheduled_for_deletion", "data_file_id", ids).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The URLs of all files that any snapshot knows.
    pub async fn living_files(&self) -> Result<HashSet<String>> {
        let mut connection = Borrowed::of(&self.pool).await?;
        let folders = self.table_folders(&mut connection).await?;
        let mut living = HashSet::new();
        for table in ["ducklake_data_file", "ducklake_delete_file"] {
            let sql = format!(
                "select table_id, path, cast(path_is_relative as integer) as is_relative from {table}"
            );
            for row in fetch(&mut connection, &sql, Vec::new()).await? {
                let folder = folders.get(&number(&row, "table_id")?).map_or("", String::as_str);
                living.insert(lake_load::place(folder, &self.data_folder, &row)?);
            }
        }
        connection.give_back();
        Ok(living)
    }
}

/// What ended, and was there in no snapshot that is left.
const DEAD: &str = "f.end_snapshot is not null and not exists (
    select 1 from ducklake_snapshot s
    where s.snapshot_id >= f.begin_snapshot and s.snapshot_id < f.end_snapshot)";

async fn snapshots(connection: &mut Connection) -> Result<Vec<SnapshotRow>> {
    let sql =
        "select s.snapshot_id, cast(s.snapshot_time as varchar) as committed_at, c.changes_made, c.author
         from ducklake_snapshot s left join ducklake_snapshot_changes c on c.snapshot_id = s.snapshot_id
         order by s.snapshot_id";
    fetch(connection, sql, Vec::new())
        .await?
        .iter()
        .map(|row| {
            // What cannot be told is kept.
            let at = micros(&text(row, "committed_at")?).unwrap_or(i64::MAX);
            Ok(SnapshotRow {
                snapshot: number(row, "snapshot_id")? as u64,
                committed_at: at,
                changes: maybe_text(row, "changes_made")?,
                author: maybe_text(row, "author")?,
            })
        })
        .collect()
}

/// The microseconds since 1970 of a time as DuckLake writes it.
fn micros(text: &str) -> Option<i64> {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    match values::from_text(text, &instant) {
        Some(ScalarValue::TimestampMicrosecond(at, _)) => at,
        _ => None,
    }
}

/// True when there is a snapshot of that number which a Sluice committed `at` that time.
pub(super) async fn snapshot_is_of(connection: &mut Connection, snapshot: u64, at: &str) -> Result<bool> {
    let sql = "select cast(s.snapshot_time as varchar) as committed_at
         from ducklake_snapshot s join ducklake_snapshot_changes c on c.snapshot_id = s.snapshot_id
         where s.snapshot_id = $1 and c.author = 'sluice'";
    let found = fetch(connection, sql, vec![Value::Int(Some(snapshot as i64))]).await?;
    let Some(row) = found.first() else { return Ok(false) };
    let committed_at = text(row, "committed_at")?;
    let Some(found) = micros(&committed_at) else {
        return Err(CatalogError::damaged(format_args!("snapshot {snapshot} has the time {committed_at:?}")));
    };
    Ok(Some(found) == micros(at))
}

/// Tables, views and schemas that no snapshot knows. The ended columns of tables that live on are kept: files
/// that are older have their names.
async fn forget_dead_relations(transaction: &mut Transaction) -> Result<()> {
    for table in ["ducklake_table", "ducklake_view", "ducklake_schema"] {
        let sql = format!(
            "delete from {table} where end_snapshot is not null and not exists (
               select 1 from ducklake_snapshot s
               where s.snapshot_id >= {table}.begin_snapshot and s.snapshot_id < {table}.end_snapshot)"
        );
        run(transaction, sql, Vec::new()).await?;
    }
    for of_table in [
        "ducklake_column",
        "ducklake_column_tag",
        "ducklake_table_stats",
        "ducklake_table_column_stats",
        "ducklake_partition_info",
        "ducklake_partition_column",
        "ducklake_sort_info",
        "ducklake_sort_expression",
        "ducklake_schema_versions",
    ] {
        let sql = format!(
            "delete from {of_table} where table_id is not null
             and not exists (select 1 from ducklake_table t where t.table_id = {of_table}.table_id)"
        );
        run(transaction, sql, Vec::new()).await?;
    }
    Ok(())
}

async fn delete(connection: &mut Connection, table: &str, column: &str, ids: &[i64]) -> Result<()> {
    for ids in ids.chunks(IDS_AT_ONCE) {
        let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
        run(connection, format!("delete from {table} where {column} in ({})", ids.join(", ")), Vec::new())
            .await?;
    }
    Ok(())
}
