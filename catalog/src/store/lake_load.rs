//! Reads the lake's current snapshot.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use sqlx::any::AnyRow;

use super::{Connection, Value, fetch, maybe_number, maybe_text, number, text};
use crate::definition::{TableDefinition, TableName, View};
use crate::lake::{
    self, Column, ColumnRow, DataFile, DeleteFile, FileColumn, FileValue, LakeSchema, ManagedTable,
    PartitionKey, Partitioning, SortColumn,
};
use crate::metadata::{Metadata, NextIds};
use crate::{CatalogError, Result};

/// Puts the lake of `snapshot`, or of the newest one, into `metadata`.
pub async fn load(
    connection: &mut Connection,
    metadata: &mut Metadata,
    data_folder: &str,
    snapshot: Option<u64>,
) -> Result<()> {
    let newest = "select snapshot_id, schema_version, next_catalog_id, next_file_id from ducklake_snapshot
         where snapshot_id = coalesce($1, (select max(snapshot_id) from ducklake_snapshot))";
    let wanted = vec![Value::Int(snapshot.map(|snapshot| snapshot as i64))];
    let found = fetch(connection, newest, wanted).await?;
    let Some(row) = found.first() else {
        return Err(CatalogError::NoSnapshot { snapshot: snapshot.unwrap_or(0) });
    };
    let snapshot = number(row, "snapshot_id")?;
    metadata.version = snapshot as u64;
    metadata.next = NextIds {
        catalog: number(row, "next_catalog_id")?,
        file: number(row, "next_file_id")?,
        schema_version: number(row, "schema_version")?,
    };
    metadata.data_folder = data_folder.to_owned();
    let schemas = schemas(connection, metadata, snapshot).await?;
    let mut parts = Parts::read(connection, snapshot).await?;
    let tables = "select table_id, cast(table_uuid as varchar) as uuid, schema_id, table_name, path,
         cast(path_is_relative as integer) as is_relative from ducklake_table
         where begin_snapshot <= $1 and (end_snapshot is null or end_snapshot > $1) order by table_id";
    for row in fetch(connection, tables, vec![Value::Int(Some(snapshot))]).await? {
        let Some((schema, schema_folder)) = schemas.get(&number(&row, "schema_id")?) else { continue };
        let folder = place(schema_folder, &metadata.data_folder, &row)?;
        let id = number(&row, "table_id")?;
        let name = TableName::new(schema.as_str(), text(&row, "table_name")?);
        let managed = parts.take(id, text(&row, "uuid")?, &folder, &metadata.data_folder)?;
        let mut definition: TableDefinition = lake::define(name.clone(), folder, managed);
        definition.oid = metadata.free_oid(definition.oid);
        metadata.tables.insert(name, Arc::new(definition));
    }
    let views = "select view_id, cast(view_uuid as varchar) as uuid, schema_id, view_name, \"sql\" as query
         from ducklake_view
         where begin_snapshot <= $1 and (end_snapshot is null or end_snapshot > $1) order by view_id";
    for row in fetch(connection, views, vec![Value::Int(Some(snapshot))]).await? {
        let Some((schema, _)) = schemas.get(&number(&row, "schema_id")?) else { continue };
        let name = TableName::new(schema.as_str(), text(&row, "view_name")?);
        let view =
            View { id: number(&row, "view_id")?, uuid: text(&row, "uuid")?, sql: text(&row, "query")? };
        // Its columns are not the lake's to know.
        let mut definition = TableDefinition::of_view(name.clone(), Arc::new(Schema::empty()), view);
        definition.oid = metadata.free_oid(definition.oid);
        metadata.tables.insert(name, Arc::new(definition));
    }
    Ok(())
}

/// A path of this machine, or a URL, as a URL that ends in `/`.
pub fn as_url(path: &str) -> String {
    let path = path.trim_end_matches('/');
    match path.contains("://") {
        true => format!("{path}/"),
        false => format!("file://{path}/"),
    }
}

async fn schemas(
    connection: &mut Connection,
    metadata: &mut Metadata,
    snapshot: i64,
) -> Result<HashMap<i64, (String, String)>> {
    let sql = "select schema_id, schema_name, path, cast(path_is_relative as integer) as is_relative
         from ducklake_schema where begin_snapshot <= $1 and (end_snapshot is null or end_snapshot > $1)";
    let mut by_id = HashMap::new();
    metadata.schemas.clear();
    for row in fetch(connection, sql, vec![Value::Int(Some(snapshot))]).await? {
        let (id, name) = (number(&row, "schema_id")?, text(&row, "schema_name")?);
        let folder = place(&metadata.data_folder, &metadata.data_folder, &row)?;
        metadata.schemas.insert(name.clone(), LakeSchema { id, folder: folder.clone() });
        by_id.insert(id, (name, folder));
    }
    Ok(by_id)
}

/// The folder or file of a row's `path`, relative to `parent` or not.
pub(super) fn place(parent: &str, data_folder: &str, row: &AnyRow) -> Result<String> {
    let path = maybe_text(row, "path")?.unwrap_or_default();
    Ok(match number(row, "is_relative")? {
        0 if path.contains("://") => path,
        0 if data_folder.starts_with("file://") => format!("file://{path}"),
        0 => path,
        _ => format!("{parent}{path}"),
    })
}

/// What is in the lake, by table.
#[derive(Default)]
struct Parts {
    columns: BTreeMap<i64, Vec<(Version, ColumnRow)>>,
    files: HashMap<i64, Vec<FileRow>>,
    next_row_ids: HashMap<i64, i64>,
    partitionings: HashMap<i64, Partitioning>,
    sorts: HashMap<i64, Vec<SortColumn>>,
    inlined: HashSet<i64>,
}

/// A row of `ducklake_column` that is not about the column's kind.
struct Version {
    order: i64,
    initial_default: Option<String>,
    default: Option<String>,
    is_literal: bool,
    begin: u64,
    end: Option<u64>,
}

struct FileRow {
    file: DataFile,
    path: String,
    is_relative: bool,
    delete_path: Option<(String, bool)>,
    problem: Option<&'static str>,
}

impl Parts {
    async fn read(connection: &mut Connection, snapshot: i64) -> Result<Self> {
        let mut parts = Self::default();
        let at = || vec![Value::Int(Some(snapshot))];
        parts.read_columns(connection, snapshot).await?;
        parts.read_files(connection, snapshot).await?;
        for row in
            fetch(connection, "select table_id, next_row_id from ducklake_table_stats", Vec::new()).await?
        {
            parts.next_row_ids.insert(number(&row, "table_id")?, number(&row, "next_row_id")?);
        }
        let sql = "select i.partition_id, i.table_id, c.column_id, c.transform
             from ducklake_partition_info i
             join ducklake_partition_column c on c.partition_id = i.partition_id and c.table_id = i.table_id
             where i.begin_snapshot <= $1 and (i.end_snapshot is null or i.end_snapshot > $1)
             order by i.partition_id, c.partition_key_index";
        for row in fetch(connection, sql, at()).await? {
            let id = number(&row, "partition_id")?;
            let partitioning = parts
                .partitionings
                .entry(number(&row, "table_id")?)
                .or_insert(Partitioning { id, keys: Vec::new() });
            let key =
                PartitionKey { column: number(&row, "column_id")?, transform: text(&row, "transform")? };
            partitioning.keys.push(key);
        }
        let sql = "select i.table_id, e.expression, e.sort_direction, e.null_order from ducklake_sort_info i
             join ducklake_sort_expression e on e.sort_id = i.sort_id and e.table_id = i.table_id
             where i.begin_snapshot <= $1 and (i.end_snapshot is null or i.end_snapshot > $1)
             order by i.sort_id, e.sort_key_index";
        for row in fetch(connection, sql, at()).await? {
            let words = |name: &str| Ok::<_, CatalogError>(text(&row, name)?.to_ascii_uppercase());
            parts.sorts.entry(number(&row, "table_id")?).or_default().push(SortColumn {
                column: text(&row, "expression")?.trim_matches('"').replace("\"\"", "\""),
                is_descending: words("sort_direction")? == "DESC",
                nulls_first: words("null_order")?.contains("FIRST"),
            });
        }
        parts.read_inlined(connection).await?;
        Ok(parts)
    }

    async fn read_columns(&mut self, connection: &mut Connection, snapshot: i64) -> Result<()> {
        let sql = "select column_id, begin_snapshot, end_snapshot, table_id, column_order, column_name,
             column_type, initial_default, default_value, cast(nulls_allowed as integer) as nullable,
             parent_column, default_value_type from ducklake_column
             where begin_snapshot <= $1 order by table_id, column_order, begin_snapshot";
        for row in fetch(connection, sql, vec![Value::Int(Some(snapshot))]).await? {
            let is_literal = maybe_text(&row, "default_value_type")?.is_none_or(|kind| kind != "expression");
            let end = maybe_number(&row, "end_snapshot")?.filter(|end| *end <= snapshot);
            let version = Version {
                order: number(&row, "column_order")?,
                initial_default: maybe_text(&row, "initial_default")?,
                default: maybe_text(&row, "default_value")?,
                is_literal,
                begin: number(&row, "begin_snapshot")? as u64,
                end: end.map(|end| end as u64),
            };
            let column = ColumnRow {
                id: number(&row, "column_id")?,
                parent: maybe_number(&row, "parent_column")?,
                name: text(&row, "column_name")?,
                type_name: text(&row, "column_type")?,
                is_nullable: maybe_number(&row, "nullable")? != Some(0),
            };
            self.columns.entry(number(&row, "table_id")?).or_default().push((version, column));
        }
        Ok(())
    }

    async fn read_files(&mut self, connection: &mut Connection, snapshot: i64) -> Result<()> {
        let at = || vec![Value::Int(Some(snapshot))];
        let of_files = "where f.begin_snapshot <= $1 and (f.end_snapshot is null or f.end_snapshot > $1)";
        let mut known: HashMap<i64, Vec<FileColumn>> = HashMap::new();
        let sql = format!(
            "select s.data_file_id, s.column_id, s.column_size_bytes, s.value_count, s.null_count, s.min_value,
             s.max_value from ducklake_file_column_stats s
             join ducklake_data_file f on f.data_file_id = s.data_file_id {of_files}"
        );
        for row in fetch(connection, &sql, at()).await? {
            let count =
                |name: &str| Ok::<_, CatalogError>(maybe_number(&row, name)?.map(|n| n.max(0) as u64));
            known.entry(number(&row, "data_file_id")?).or_default().push(FileColumn {
                id: number(&row, "column_id")?,
                bytes: count("column_size_bytes")?.unwrap_or(0),
                values: count("value_count")?,
                nulls: count("null_count")?,
                min: maybe_text(&row, "min_value")?,
                max: maybe_text(&row, "max_value")?,
            });
        }
        let mut values: HashMap<i64, Vec<FileValue>> = HashMap::new();
        let sql = format!(
            "select v.data_file_id, v.partition_key_index, v.partition_value
             from ducklake_file_partition_value v
             join ducklake_data_file f on f.data_file_id = v.data_file_id {of_files}
             order by v.partition_key_index"
        );
        for row in fetch(connection, &sql, at()).await? {
            let value = FileValue {
                key: number(&row, "partition_key_index")?,
                text: maybe_text(&row, "partition_value")?,
            };
            values.entry(number(&row, "data_file_id")?).or_default().push(value);
        }
        let sql = format!(
            "select f.data_file_id, f.table_id, f.begin_snapshot, f.path,
             cast(f.path_is_relative as integer) as is_relative, f.file_format, f.record_count,
             f.file_size_bytes, f.footer_size, f.partition_id, f.mapping_id, f.encryption_key, f.partial_max, d.path as delete_path,
             cast(d.path_is_relative as integer) as delete_is_relative, d.delete_count
             from ducklake_data_file f
             left join ducklake_delete_file d on d.data_file_id = f.data_file_id
               and d.begin_snapshot <= $1 and (d.end_snapshot is null or d.end_snapshot > $1)
             {of_files} order by f.data_file_id"
        );
        for row in fetch(connection, &sql, at()).await? {
            let id = number(&row, "data_file_id")?;
            let problem = match (
                maybe_text(&row, "encryption_key")?.is_some_and(|key| !key.is_empty()),
                maybe_number(&row, "mapping_id")?.is_some(),
                maybe_text(&row, "file_format")?
                    .is_some_and(|format| !format.eq_ignore_ascii_case("parquet")),
            ) {
                (true, _, _) => Some("its files are encrypted"),
                (_, true, _) => Some("its files' columns are mapped by name"),
                (_, _, true) => Some("its files are not Parquet"),
                _ => None,
            };
            let deleted = maybe_number(&row, "delete_count")?.unwrap_or(0);
            let delete_path = match maybe_text(&row, "delete_path")? {
                Some(path) => Some((path, number(&row, "delete_is_relative")? != 0)),
                None => None,
            };
            let file = DataFile {
                id,
                location: String::new(),
                rows: number(&row, "record_count")?.max(0) as u64,
                file_bytes: number(&row, "file_size_bytes")?.max(0) as u64,
                footer_bytes: maybe_number(&row, "footer_size")?.unwrap_or(0).max(0) as u64,
                begin_snapshot: number(&row, "begin_snapshot")? as u64,
                columns: known.remove(&id).unwrap_or_default(),
                partitioning: maybe_number(&row, "partition_id")?,
                partition: values.remove(&id).unwrap_or_default(),
                deletes: delete_path
                    .is_some()
                    .then(|| DeleteFile { location: String::new(), rows: deleted.max(0) as u64 }),
            };
            let (path, is_relative) = (text(&row, "path")?, number(&row, "is_relative")? != 0);
            let row_of_file = FileRow { file, path, is_relative, delete_path, problem };
            self.files.entry(number(&row, "table_id")?).or_default().push(row_of_file);
        }
        Ok(())
    }

    /// Rows that another engine keeps in the catalog's own database instead of in files.
    async fn read_inlined(&mut self, connection: &mut Connection) -> Result<()> {
        let sql = "select table_id, table_name from ducklake_inlined_data_tables";
        for row in fetch(connection, sql, Vec::new()).await? {
            let table = text(&row, "table_name")?.replace('"', "\"\"");
            let rows = format!("select 1 as n from \"{table}\" where end_snapshot is null limit 1");
            if !fetch(connection, &rows, Vec::new()).await?.is_empty() {
                self.inlined.insert(number(&row, "table_id")?);
            }
        }
        Ok(())
    }

    fn take(&mut self, id: i64, uuid: String, folder: &str, data_folder: &str) -> Result<ManagedTable> {
        let mut problem = None;
        let mut columns = Vec::new();
        let rows = self.columns.remove(&id).unwrap_or_default();
        for (version, row) in rows.iter().filter(|(_, row)| row.parent.is_none()) {
            let is_part = |(part, _): &&(Version, ColumnRow)| match version.end {
                None => part.end.is_none(),
                Some(end) => part.begin < end && part.end.is_none_or(|ended| ended > version.begin),
            };
            let parts: Vec<ColumnRow> = rows.iter().filter(is_part).map(|(_, row)| row.clone()).collect();
            let literal =
                |text: &Option<String>| text.clone().filter(|text| text != "NULL" && version.is_literal);
            match lake::field_of(row, &parts) {
                Ok(field) => columns.push(Column {
                    id: row.id,
                    field,
                    type_name: row.type_name.clone(),
                    order: version.order,
                    initial_default: version.initial_default.clone(),
                    default: literal(&version.default),
                    begin_snapshot: version.begin,
                    end_snapshot: version.end,
                }),
                Err(kind) if version.end.is_none() => {
                    problem = Some(format!("column \"{}\" has the type {kind}", row.name));
                }
                Err(_) => {}
            }
        }
        let under = |path: &str, is_relative: bool| match is_relative {
            true => format!("{folder}{path}"),
            false if path.contains("://") || !data_folder.starts_with("file://") => path.to_owned(),
            false => format!("file://{path}"),
        };
        let mut files = Vec::new();
        for mut row in self.files.remove(&id).unwrap_or_default() {
            row.file.location = under(&row.path, row.is_relative);
            if let (Some(deletes), Some((path, is_relative))) = (&mut row.file.deletes, &row.delete_path) {
                deletes.location = under(path, *is_relative);
            }
            problem = problem.or_else(|| row.problem.map(str::to_owned));
            let deletes = row.file.deletes.as_ref().map(|deletes| deletes.location.as_str());
            if std::iter::once(row.file.location.as_str())
                .chain(deletes)
                .any(|place| !place.starts_with(data_folder))
            {
                problem = Some("a file of it lies outside of the warehouse".to_owned());
            }
            files.push(Arc::new(row.file));
        }
        if self.inlined.contains(&id) {
            let hint = "DuckDB's ducklake_flush_inlined_data writes them to files";
            problem = Some(format!("rows of it lie in the catalog's database: {hint}"));
        }
        Ok(ManagedTable {
            id,
            uuid,
            columns,
            files,
            next_row_id: self.next_row_ids.get(&id).copied().unwrap_or(0).max(0) as u64,
            partitioning: self.partitionings.remove(&id),
            sort: self.sorts.remove(&id).unwrap_or_default(),
            problem,
        })
    }
}
