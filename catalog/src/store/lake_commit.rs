//! Writes what a commit makes of the lake: the difference of two versions, as the rows of one snapshot.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::{Connection, Dialect, Value, insert, run};
use crate::definition::TableDefinition;
use crate::lake::{self, Column, DataFile, DeclaredType, ManagedTable};
use crate::metadata::Metadata;
use crate::{CatalogError, Result};

/// The one dialect that DuckLake's readers know; a text that they cannot read fails when it is used.
const VIEW_DIALECT: &str = "duckdb";

/// Adds the snapshot that leads from `from` to `next`, committed `at` that time. Fails with [`CatalogError::Conflict`] when another
/// commit added it first.
pub async fn commit(
    connection: &mut Connection,
    dialect: Dialect,
    from: &Metadata,
    next: &Metadata,
    uuids: &HashMap<String, String>,
    at: &str,
) -> Result<()> {
    let snapshot = from.version as i64 + 1;
    add_snapshot(connection, dialect, snapshot, next, at).await?;
    let mut lake = Lake { connection, dialect, snapshot, from, next, told: Vec::new() };
    lake.schemas(uuids).await?;
    lake.tables().await?;
    lake.views().await?;
    // A commit that leaves the lake as it was has nothing to tell other engines.
    let told = (!lake.told.is_empty()).then(|| lake.told.join(","));
    let changes = vec![vec![Value::Int(Some(snapshot)), Value::Text(told), Value::text("sluice")]];
    insert(connection, dialect, "ducklake_snapshot_changes(snapshot_id, changes_made, author)", &changes)
        .await
}

/// The row that only one commit can add.
async fn add_snapshot(
    connection: &mut Connection,
    dialect: Dialect,
    snapshot: i64,
    next: &Metadata,
    at: &str,
) -> Result<()> {
    let row = vec![
        Value::Int(Some(snapshot)),
        Value::Time(at.to_owned()),
        Value::Int(Some(next.next.schema_version)),
        Value::Int(Some(next.next.catalog)),
        Value::Int(Some(next.next.file)),
    ];
    let table =
        "ducklake_snapshot(snapshot_id, snapshot_time, schema_version, next_catalog_id, next_file_id)";
    insert(connection, dialect, table, &[row]).await.map_err(|error| match error {
        CatalogError::Taken => CatalogError::Conflict,
        other => other,
    })
}

struct Lake<'a> {
    connection: &'a mut Connection,
    dialect: Dialect,
    snapshot: i64,
    from: &'a Metadata,
    next: &'a Metadata,
    told: Vec<String>,
}

impl Lake<'_> {
    fn now(&self) -> Value {
        Value::Int(Some(self.snapshot))
    }

    async fn insert(&mut self, table: &str, rows: &[Vec<Value>]) -> Result<()> {
        insert(self.connection, self.dialect, table, rows).await
    }

    /// Ends the rows of `table` that `what` names, and have not ended.
    async fn end(&mut self, table: &str, what: &str, mut values: Vec<Value>) -> Result<()> {
        values.insert(0, self.now());
        let sql = format!("update {table} set end_snapshot = $1 where {what} and end_snapshot is null");
        run(self.connection, sql, values).await
    }

    async fn schemas(&mut self, uuids: &HashMap<String, String>) -> Result<()> {
        let (from, next) = (self.from, self.next);
        for (name, schema) in from.schemas.iter().filter(|(name, _)| !next.schemas.contains_key(*name)) {
            self.end("ducklake_schema", "schema_id = $2", vec![Value::Int(Some(schema.id))]).await?;
            self.told.push(format!("dropped_schema:{}", schema.id));
            tracing::debug!(schema = name, "schema dropped");
        }
        for (name, schema) in next.schemas.iter().filter(|(name, _)| !from.schemas.contains_key(*name)) {
            let path = schema.folder.strip_prefix(&next.data_folder).unwrap_or(&schema.folder);
            let row = vec![
                Value::Int(Some(schema.id)),
                Value::Uuid(uuids.get(name).cloned().unwrap_or_default()),
                self.now(),
                Value::text(name),
                Value::text(path),
                Value::Bool(true),
            ];
            let table = "ducklake_schema(schema_id, schema_uuid, begin_snapshot, schema_name, path, path_is_relative)";
            self.insert(table, &[row]).await?;
            self.told.push(format!("created_schema:{}", quoted(name)));
        }
        Ok(())
    }

    async fn tables(&mut self) -> Result<()> {
        let (from, next) = (self.from, self.next);
        let old = by_id(from);
        let new = by_id(next);
        let mut dropped: Vec<_> = old.iter().filter(|(id, _)| !new.contains_key(*id)).collect();
        dropped.sort_by_key(|(id, _)| **id);
        for (id, _) in dropped {
            self.drop_table(*id).await?;
        }
        let mut kept: Vec<_> = new.iter().collect();
        kept.sort_by_key(|(id, _)| **id);
        for (id, table) in kept {
            match old.get(id) {
                Some(before) if Arc::ptr_eq(before, table) => {}
                Some(before) => self.change_table(before, table).await?,
                None => self.create_table(table).await?,
            }
        }
        Ok(())
    }

    async fn views(&mut self) -> Result<()> {
        let (from, next) = (self.from, self.next);
        let (old, new) = (views_by_id(from), views_by_id(next));
        for (id, view) in &old {
            if new.get(id).is_none_or(|now| now.name != view.name) {
                self.end("ducklake_view", "view_id = $2", vec![Value::Int(Some(*id))]).await?;
                self.told.push(format!("dropped_view:{id}"));
            }
        }
        for (id, definition) in &new {
            let Some(view) = &definition.view else { continue };
            if old.get(id).is_some_and(|then| then.name == definition.name) {
                continue;
            }
            let Some(schema) = next.schemas.get(&definition.name.schema) else {
                return Err(CatalogError::Store { problem: "has a view without a schema".to_owned() });
            };
            let row = vec![
                Value::Int(Some(*id)),
                Value::Uuid(view.uuid.clone()),
                self.now(),
                Value::Int(Some(schema.id)),
                Value::text(&definition.name.table),
                Value::text(VIEW_DIALECT),
                Value::text(&view.sql),
                Value::text(""),
            ];
            let columns = "ducklake_view(view_id, view_uuid, begin_snapshot, schema_id, view_name, dialect,
                 \"sql\", column_aliases)";
            self.insert(columns, &[row]).await?;
            let name = format!("{}.{}", quoted(&definition.name.schema), quoted(&definition.name.table));
            self.told.push(format!("created_view:{name}"));
        }
        Ok(())
    }

    async fn drop_table(&mut self, id: i64) -> Result<()> {
        for table in [
            "ducklake_table",
            "ducklake_column",
            "ducklake_data_file",
            "ducklake_delete_file",
            "ducklake_partition_info",
            "ducklake_sort_info",
            "ducklake_column_tag",
        ] {
            self.end(table, "table_id = $2", vec![Value::Int(Some(id))]).await?;
        }
        self.end("ducklake_tag", "object_id = $2", vec![Value::Int(Some(id))]).await?;
        self.told.push(format!("dropped_table:{id}"));
        Ok(())
    }

    async fn create_table(&mut self, table: &TableDefinition) -> Result<()> {
        let managed = managed(table)?;
        self.table_row(table, managed).await?;
        let name = format!("{}.{}", quoted(&table.name.schema), quoted(&table.name.table));
        self.told.push(format!("created_table:{name}"));
        for column in managed.current_columns() {
            self.add_column(managed.id, column).await?;
        }
        if let Some(partitioning) = &managed.partitioning {
            let info = vec![Value::Int(Some(partitioning.id)), Value::Int(Some(managed.id)), self.now()];
            self.insert("ducklake_partition_info(partition_id, table_id, begin_snapshot)", &[info]).await?;
            let keys: Vec<Vec<Value>> = (partitioning.keys.iter().zip(0..))
                .map(|(key, at)| {
                    vec![
                        Value::Int(Some(partitioning.id)),
                        Value::Int(Some(managed.id)),
                        Value::Int(Some(at)),
                        Value::Int(Some(key.column)),
                        Value::text(&key.transform),
                    ]
                })
                .collect();
            let columns = "ducklake_partition_column(partition_id, table_id, partition_key_index, column_id, transform)";
            self.insert(columns, &keys).await?;
        }
        if !managed.sort.is_empty() {
            self.sort_rows(managed).await?;
        }
        self.shape(managed.id).await?;
        let stats =
            vec![Value::Int(Some(managed.id)), Value::Int(Some(0)), Value::Int(Some(0)), Value::Int(Some(0))];
        self.insert("ducklake_table_stats(table_id, record_count, next_row_id, file_size_bytes)", &[stats])
            .await?;
        self.files(None, managed, table).await
    }

    async fn sort_rows(&mut self, managed: &ManagedTable) -> Result<()> {
        // The identifiers behind the table's are those of its partitioning and of its order.
        let id = managed.id + 1 + i64::from(managed.partitioning.is_some());
        let info = vec![Value::Int(Some(id)), Value::Int(Some(managed.id)), self.now()];
        self.insert("ducklake_sort_info(sort_id, table_id, begin_snapshot)", &[info]).await?;
        let rows: Vec<Vec<Value>> = (managed.sort.iter().zip(0..))
            .map(|(sort, at)| {
                vec![
                    Value::Int(Some(id)),
                    Value::Int(Some(managed.id)),
                    Value::Int(Some(at)),
                    Value::text(&quoted(&sort.column)),
                    Value::text("duckdb"),
                    Value::text(if sort.is_descending { "DESC" } else { "ASC" }),
                    Value::text(if sort.nulls_first { "NULLS_FIRST" } else { "NULLS_LAST" }),
                ]
            })
            .collect();
        let columns = "ducklake_sort_expression(sort_id, table_id, sort_key_index, expression, dialect,
             sort_direction, null_order)";
        self.insert(columns, &rows).await
    }

    async fn change_table(&mut self, before: &TableDefinition, after: &TableDefinition) -> Result<()> {
        let (old, new) = (managed(before)?, managed(after)?);
        let id = vec![Value::Int(Some(new.id))];
        let mut is_altered = false;
        if before.name != after.name {
            self.end("ducklake_table", "table_id = $2", id.clone()).await?;
            self.table_row(after, new).await?;
            let name = format!("{}.{}", quoted(&after.name.schema), quoted(&after.name.table));
            self.told.push(format!("created_table:{name}"));
            self.shape(new.id).await?;
        }
        let present = |table: &ManagedTable| -> Vec<Column> { table.current_columns().cloned().collect() };
        let (were, are) = (present(old), present(new));
        for column in were.iter().filter(|column| !are.contains(column)) {
            // What others say of a column outlives all but its end; what we say is said anew.
            let stays = are.iter().any(|kept| kept.id == column.id);
            for part in lake::column_rows(column) {
                const PART: &str = "table_id = $2 and column_id = $3";
                let mut which = vec![Value::Int(Some(new.id)), Value::Int(Some(part.id))];
                self.end("ducklake_column", PART, which.clone()).await?;
                let ours = if stays { " and \"key\" = $4" } else { "" };
                which.extend(stays.then(|| Value::text(DeclaredType::TAG)));
                self.end("ducklake_column_tag", &format!("{PART}{ours}"), which).await?;
            }
            is_altered = true;
        }
        for column in are.iter().filter(|column| !were.contains(column)) {
            self.add_column(new.id, column).await?;
            is_altered = true;
        }
        if is_altered {
            self.told.push(format!("altered_table:{}", new.id));
            self.shape(new.id).await?;
        }
        self.files(Some(old), new, after).await
    }

    /// Notes that the shape of a table is that of this schema version from now on.
    async fn shape(&mut self, table: i64) -> Result<()> {
        let version = self.next.next.schema_version;
        let row = vec![self.now(), Value::Int(Some(version)), Value::Int(Some(table))];
        self.insert("ducklake_schema_versions(begin_snapshot, schema_version, table_id)", &[row]).await
    }

    async fn table_row(&mut self, table: &TableDefinition, managed: &ManagedTable) -> Result<()> {
        let Some(schema) = self.next.schemas.get(&table.name.schema) else {
            return Err(CatalogError::Store { problem: "has a table without a schema".to_owned() });
        };
        let (path, is_relative) = match table.location.strip_prefix(&schema.folder) {
            Some(path) => (path.to_owned(), true),
            None => (absolute(&table.location), false),
        };
        let row = vec![
            Value::Int(Some(managed.id)),
            Value::Uuid(managed.uuid.clone()),
            self.now(),
            Value::Int(Some(schema.id)),
            Value::text(&table.name.table),
            Value::text(&path),
            Value::Bool(is_relative),
        ];
        let columns = "ducklake_table(table_id, table_uuid, begin_snapshot, schema_id, table_name, path,
             path_is_relative)";
        self.insert(columns, &[row]).await
    }

    async fn add_column(&mut self, table: i64, column: &Column) -> Result<()> {
        let rows: Vec<Vec<Value>> = lake::column_rows(column)
            .into_iter()
            .map(|part| {
                let is_whole = part.parent.is_none();
                let default = column.default.clone().filter(|_| is_whole);
                vec![
                    Value::Int(Some(part.id)),
                    self.now(),
                    Value::Int(Some(table)),
                    Value::Int(Some(if is_whole { column.order } else { part.id })),
                    Value::text(&part.name),
                    Value::text(&part.type_name),
                    Value::Text(column.initial_default.clone().filter(|_| is_whole)),
                    Value::Text(Some(default.unwrap_or_else(|| "NULL".to_owned()))),
                    Value::Bool(part.is_nullable),
                    Value::Int(part.parent),
                    Value::text("literal"),
                    Value::text("duckdb"),
                ]
            })
            .collect();
        let columns =
            "ducklake_column(column_id, begin_snapshot, table_id, column_order, column_name, column_type,
             initial_default, default_value, nulls_allowed, parent_column, default_value_type,
             default_value_dialect)";
        self.insert(columns, &rows).await?;
        let Some(declared) = &column.declared else { return Ok(()) };
        let tag = vec![
            Value::Int(Some(table)),
            Value::Int(Some(column.id)),
            self.now(),
            Value::text(DeclaredType::TAG),
            Value::text(&declared.to_text()),
        ];
        let columns = "ducklake_column_tag(table_id, column_id, begin_snapshot, \"key\", \"value\")";
        self.insert(columns, &[tag]).await
    }

    async fn files(
        &mut self,
        before: Option<&ManagedTable>,
        after: &ManagedTable,
        table: &TableDefinition,
    ) -> Result<()> {
        let old: HashSet<i64> = before.iter().flat_map(|t| t.files.iter().map(|file| file.id)).collect();
        let new: HashSet<i64> = after.files.iter().map(|file| file.id).collect();
        let added: Vec<&Arc<DataFile>> = after.files.iter().filter(|file| !old.contains(&file.id)).collect();
        let removed: Vec<i64> = old.difference(&new).copied().collect();
        if !added.is_empty() {
            self.told.push(format!("inserted_into_table:{}", after.id));
        }
        if !removed.is_empty() {
            self.told.push(format!("deleted_from_table:{}", after.id));
        }
        for id in removed {
            for rows in ["ducklake_data_file", "ducklake_delete_file"] {
                self.end(rows, "data_file_id = $2", vec![Value::Int(Some(id))]).await?;
            }
        }
        if added.is_empty() {
            return Ok(());
        }
        let mut row_id = before.map_or(0, |table| table.next_row_id) as i64;
        let (mut files, mut columns, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for file in &added {
            files.push(self.file_row(file, row_id, after, table));
            row_id += file.rows as i64;
            for known in &file.columns {
                let count = |count: Option<u64>| Value::Int(count.map(|count| count as i64));
                columns.push(vec![
                    Value::Int(Some(file.id)),
                    Value::Int(Some(after.id)),
                    Value::Int(Some(known.id)),
                    Value::Int(Some(known.bytes as i64)),
                    count(known.values),
                    count(known.nulls),
                    Value::Text(known.min.clone()),
                    Value::Text(known.max.clone()),
                ]);
            }
            for value in &file.partition {
                values.push(vec![
                    Value::Int(Some(file.id)),
                    Value::Int(Some(after.id)),
                    Value::Int(Some(value.key)),
                    Value::Text(value.text.clone()),
                ]);
            }
        }
        let table =
            "ducklake_data_file(data_file_id, table_id, begin_snapshot, path, path_is_relative, file_format,
             record_count, file_size_bytes, footer_size, row_id_start, partition_id)";
        self.insert(table, &files).await?;
        let table =
            "ducklake_file_column_stats(data_file_id, table_id, column_id, column_size_bytes, value_count,
             null_count, min_value, max_value)";
        self.insert(table, &columns).await?;
        let table =
            "ducklake_file_partition_value(data_file_id, table_id, partition_key_index, partition_value)";
        self.insert(table, &values).await?;
        self.statistics(after, &added, row_id).await
    }

    fn file_row(
        &self,
        file: &DataFile,
        row_id: i64,
        managed: &ManagedTable,
        table: &TableDefinition,
    ) -> Vec<Value> {
        let (path, is_relative) = match file.location.strip_prefix(&table.location) {
            Some(path) => (path.to_owned(), true),
            None => (absolute(&file.location), false),
        };
        vec![
            Value::Int(Some(file.id)),
            Value::Int(Some(managed.id)),
            self.now(),
            Value::Text(Some(path)),
            Value::Bool(is_relative),
            Value::text("parquet"),
            Value::Int(Some(file.rows as i64)),
            Value::Int(Some(file.file_bytes as i64)),
            Value::Int((file.footer_bytes > 0).then_some(file.footer_bytes as i64)),
            Value::Int(Some(row_id)),
            Value::Int(file.partitioning),
        ]
    }

    /// What DuckLake knows of a whole table: bounds that hold for all of its files, also for those that were
    /// taken out again.
    async fn statistics(
        &mut self,
        table: &ManagedTable,
        added: &[&Arc<DataFile>],
        next_row_id: i64,
    ) -> Result<()> {
        let rows: u64 = added.iter().map(|file| file.rows).sum();
        let bytes: u64 = added.iter().map(|file| file.file_bytes).sum();
        let id = Value::Int(Some(table.id));
        run(
            self.connection,
            "update ducklake_table_stats set record_count = record_count + $2, next_row_id = $3,
             file_size_bytes = file_size_bytes + $4 where table_id = $1"
                .to_owned(),
            vec![
                id.clone(),
                Value::Int(Some(rows as i64)),
                Value::Int(Some(next_row_id)),
                Value::Int(Some(bytes as i64)),
            ],
        )
        .await?;
        let had_rows = table.next_row_id > rows;
        for column in table.current_columns().filter(|column| !column.field.data_type().is_nested()) {
            self.column_statistics(table.id, column, added, had_rows).await?;
        }
        Ok(())
    }

    async fn column_statistics(
        &mut self,
        table: i64,
        column: &Column,
        added: &[&Arc<DataFile>],
        had_rows: bool,
    ) -> Result<()> {
        let sql = "select cast(contains_null as integer) as nulls, min_value, max_value
             from ducklake_table_column_stats where table_id = $1 and column_id = $2";
        let which = vec![Value::Int(Some(table)), Value::Int(Some(column.id))];
        let found = super::fetch(self.connection, sql, which.clone()).await?;
        let (mut has_nulls, mut bounds) = match found.first() {
            // Without a row nothing is known of the rows there are; and it must stay so.
            None if had_rows => return Ok(()),
            None => (false, Bounds::Empty),
            Some(row) => {
                let has_nulls = super::maybe_number(row, "nulls")?.is_none_or(|nulls| nulls != 0);
                match (super::maybe_text(row, "min_value")?, super::maybe_text(row, "max_value")?) {
                    (Some(min), Some(max)) => (has_nulls, Bounds::Known(min, max)),
                    (None, None) => (has_nulls, Bounds::Empty),
                    _ => (has_nulls, Bounds::Unknown),
                }
            }
        };
        for file in added {
            let known = file.columns.iter().find(|known| known.id == column.id);
            has_nulls |= known.is_none_or(|known| known.nulls != Some(0));
            bounds = bounds.with(known, column);
        }
        let sql = "delete from ducklake_table_column_stats where table_id = $1 and column_id = $2".to_owned();
        run(self.connection, sql, which).await?;
        // DuckDB believes what stands here: a row without bounds says that every value is null so far.
        let (min, max) = match bounds {
            Bounds::Known(min, max) => (Some(min), Some(max)),
            Bounds::Empty => (None, None),
            Bounds::Unknown => return Ok(()),
        };
        let row = vec![
            Value::Int(Some(table)),
            Value::Int(Some(column.id)),
            Value::Bool(has_nulls),
            Value::Text(min),
            Value::Text(max),
        ];
        let columns = "ducklake_table_column_stats(table_id, column_id, contains_null, min_value, max_value)";
        self.insert(columns, &[row]).await
    }
}

/// Bounds of a column over all files.
enum Bounds {
    /// There is no value yet.
    Empty,
    /// From the least to the greatest.
    Known(String, String),
    /// A file does not tell its own.
    Unknown,
}

impl Bounds {
    fn with(self, file: Option<&lake::FileColumn>, column: &Column) -> Self {
        let (min, max) = match file {
            Some(known) if known.values == Some(0) => return self,
            Some(lake::FileColumn { min: Some(min), max: Some(max), .. }) => (min, max),
            _ => return Self::Unknown,
        };
        match self {
            Self::Empty => Self::Known(min.clone(), max.clone()),
            Self::Known(least, greatest) => {
                let value = |text: &str| lake::values::from_text(text, column.field.data_type());
                match (value(&least), value(min), value(&greatest), value(max)) {
                    (Some(old_min), Some(new_min), Some(old_max), Some(new_max)) => Self::Known(
                        if new_min < old_min { min.clone() } else { least },
                        if new_max > old_max { max.clone() } else { greatest },
                    ),
                    _ => Self::Unknown,
                }
            }
            Self::Unknown => Self::Unknown,
        }
    }
}

fn by_id(metadata: &Metadata) -> HashMap<i64, &Arc<TableDefinition>> {
    let managed = |table: &'_ Arc<TableDefinition>| table.managed.as_ref().map(|managed| managed.id);
    metadata.tables.values().filter_map(|table| Some((managed(table)?, table))).collect()
}

fn views_by_id(metadata: &Metadata) -> BTreeMap<i64, &Arc<TableDefinition>> {
    metadata.tables.values().filter_map(|table| Some((table.view.as_ref()?.id, table))).collect()
}

fn managed(table: &TableDefinition) -> Result<&ManagedTable> {
    let missing = || CatalogError::Store { problem: "mistook a table for one of the lake".to_owned() };
    table.managed.as_deref().ok_or_else(missing)
}

/// A URL as DuckLake writes it: files of this machine by their path.
pub(super) fn absolute(url: &str) -> String {
    url.strip_prefix("file://").unwrap_or(url).to_owned()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
