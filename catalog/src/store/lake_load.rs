//! Reads the lake's current snapshot.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use sqlx::any::AnyRow;

use super::{Connection, Value, consistency, fetch, maybe_number, maybe_text, number, text};
use crate::definition::{TableDefinition, TableName, View};
use crate::lake::{
    self, Column, ColumnRow, DataFile, DeclaredType, DeleteFile, FileColumn, FileValue, LakeSchema,
    ManagedTable, PartitionKey, Partitioning, SortColumn,
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
    let is_newest = snapshot.is_none();
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
    if is_newest {
        consistency::check(connection, snapshot, &metadata.next).await?;
    }
    metadata.data_folder = data_folder.to_owned();
    let schemas = schemas(connection, metadata, snapshot).await?;
    let mut parts = Parts::read(connection, snapshot).await?;
    let tables = "select table_id, cast(table_uuid as varchar) as uuid, schema_id, table_name, path,
         cast(path_is_relative as integer) as is_relative from ducklake_table
         where begin_snapshot <= $1 and (end_snapshot is null or end_snapshot > $1) order by table_id";
    for row in fetch(connection, tables, vec![Value::Int(Some(snapshot))]).await? {
        let (id, table) = (number(&row, "table_id")?, text(&row, "table_name")?);
        let schema_id = number(&row, "schema_id")?;
        let Some((schema, schema_folder)) = schemas.get(&schema_id) else {
            return Err(CatalogError::damaged(format_args!(
                "table \"{table}\" is in schema {schema_id}, which does not exist"
            )));
        };
        let folder = place(schema_folder, &metadata.data_folder, &row)?;
        let name = TableName::new(schema.as_str(), table);
        if let Some(other) = metadata.tables.get_mut(&name) {
            // Which of them is meant is not known.
            let damage = format!("two tables have this name: {id} is the other one");
            let other = Arc::make_mut(other);
            if let Some(managed) = &mut other.managed {
                Arc::make_mut(managed).damage = Some(damage);
            }
            parts.files.remove(&id);
            continue;
        }
        let managed = parts.take(id, text(&row, "uuid")?, &folder, &metadata.data_folder)?;
        if let Some(damage) = &managed.damage {
            tracing::warn!(table = %name, damage, "the catalog holds what cannot be: the table is not served");
        }
        let mut definition: TableDefinition = lake::define(name.clone(), folder, managed);
        definition.oid = metadata.free_oid(definition.oid);
        metadata.tables.insert(name, Arc::new(definition));
    }
    if let Some(table) = parts.files.keys().min() {
        return Err(CatalogError::damaged(format_args!(
            "it holds files of table {table}, which does not exist"
        )));
    }
    let views = "select view_id, cast(view_uuid as varchar) as uuid, schema_id, view_name, \"sql\" as query
         from ducklake_view
         where begin_snapshot <= $1 and (end_snapshot is null or end_snapshot > $1) order by view_id";
    for row in fetch(connection, views, vec![Value::Int(Some(snapshot))]).await? {
        let schema_id = number(&row, "schema_id")?;
        let Some((schema, _)) = schemas.get(&schema_id) else {
            let view = text(&row, "view_name")?;
            return Err(CatalogError::damaged(format_args!(
                "view \"{view}\" is in schema {schema_id}, which does not exist"
            )));
        };
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

/// True for a path or a URL whose steps go up.
fn leads_out(place: &str) -> bool {
    place.split('/').any(|step| step == "..")
}

/// What is in the lake, by table.
#[derive(Default)]
struct Parts {
    columns: BTreeMap<i64, Vec<(Version, ColumnRow)>>,
    files: HashMap<i64, Vec<FileRow>>,
    next_row_ids: HashMap<i64, u64>,
    partitionings: HashMap<i64, Partitioning>,
    sorts: HashMap<i64, Vec<SortColumn>>,
    inlined: HashSet<i64>,
    /// What is wrong with tables beside their files.
    damages: HashMap<i64, String>,
}

/// A row of `ducklake_column` that is not about the column's kind.
struct Version {
    order: i64,
    initial_default: Option<String>,
    default: Option<String>,
    is_literal: bool,
    declared: Option<DeclaredType>,
    begin: u64,
    end: Option<u64>,
}

/// The types that statements named, by table and column: each with the snapshots that it holds in.
struct DeclaredTypes(HashMap<(i64, i64), Vec<Declared>>);

/// From and to which snapshots a column is declared to be of a type.
type Declared = (i64, Option<i64>, DeclaredType);

impl DeclaredTypes {
    async fn read(connection: &mut Connection, snapshot: i64) -> Result<Self> {
        let sql = "select table_id, column_id, begin_snapshot, end_snapshot, \"value\" as declared
             from ducklake_column_tag where \"key\" = $1 and begin_snapshot <= $2";
        let which = vec![Value::text(DeclaredType::TAG), Value::Int(Some(snapshot))];
        let mut types: HashMap<_, Vec<_>> = HashMap::new();
        for row in fetch(connection, sql, which).await? {
            let text = maybe_text(&row, "declared")?.unwrap_or_default();
            if let Some(declared) = DeclaredType::from_text(&text) {
                let column = (number(&row, "table_id")?, number(&row, "column_id")?);
                let snapshots = (number(&row, "begin_snapshot")?, maybe_number(&row, "end_snapshot")?);
                types.entry(column).or_default().push((snapshots.0, snapshots.1, declared));
            }
        }
        Ok(Self(types))
    }

    /// That of the version of a column that begins with a snapshot.
    fn of(&self, table: i64, column: i64, begin: i64) -> Option<DeclaredType> {
        let known = self.0.get(&(table, column))?;
        let holds = |(from, to, _): &&Declared| *from <= begin && to.is_none_or(|to| begin < to);
        known.iter().find(holds).map(|(.., declared)| declared.clone())
    }
}

struct FileRow {
    file: DataFile,
    path: String,
    is_relative: bool,
    delete_path: Option<(String, bool)>,
    problem: Option<&'static str>,
    damage: Option<String>,
}

/// A count that no database keeps from being negative. What is, is told in `damage`.
fn count(row: &AnyRow, name: &str, damage: &mut Option<String>) -> Result<Option<u64>> {
    let Some(value) = maybe_number(row, name)? else { return Ok(None) };
    let counted = u64::try_from(value);
    if counted.is_err() {
        damage.get_or_insert_with(|| format!("its {name} is {value}"));
    }
    Ok(Some(counted.unwrap_or(0)))
}

impl Parts {
    async fn read(connection: &mut Connection, snapshot: i64) -> Result<Self> {
        let mut parts = Self::default();
        let at = || vec![Value::Int(Some(snapshot))];
        parts.read_columns(connection, snapshot).await?;
        parts.read_files(connection, snapshot).await?;
        let totals = "select table_id, record_count, next_row_id, file_size_bytes from ducklake_table_stats";
        for row in fetch(connection, totals, Vec::new()).await? {
            let (id, mut damage) = (number(&row, "table_id")?, None);
            let next_row_id = count(&row, "next_row_id", &mut damage)?.unwrap_or(0);
            for name in ["record_count", "file_size_bytes"] {
                count(&row, name, &mut damage)?;
            }
            parts.next_row_ids.insert(id, next_row_id);
            if let Some(damage) = damage {
                parts.damages.insert(id, format!("in ducklake_table_stats {damage}"));
            }
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
        let declared = DeclaredTypes::read(connection, snapshot).await?;
        let sql = "select column_id, begin_snapshot, end_snapshot, table_id, column_order, column_name,
             column_type, initial_default, default_value, cast(nulls_allowed as integer) as nullable,
             parent_column, default_value_type from ducklake_column
             where begin_snapshot <= $1 order by table_id, column_order, begin_snapshot";
        for row in fetch(connection, sql, vec![Value::Int(Some(snapshot))]).await? {
            let is_literal = maybe_text(&row, "default_value_type")?.is_none_or(|kind| kind != "expression");
            let end = maybe_number(&row, "end_snapshot")?.filter(|end| *end <= snapshot);
            let begin = number(&row, "begin_snapshot")?;
            let version = Version {
                declared: declared.of(number(&row, "table_id")?, number(&row, "column_id")?, begin),
                order: number(&row, "column_order")?,
                initial_default: maybe_text(&row, "initial_default")?,
                default: maybe_text(&row, "default_value")?,
                is_literal,
                begin: begin as u64,
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
        let mut damages: HashMap<i64, String> = HashMap::new();
        let sql = format!(
            "select s.data_file_id, s.column_id, s.column_size_bytes, s.value_count, s.null_count, s.min_value,
             s.max_value from ducklake_file_column_stats s
             join ducklake_data_file f on f.data_file_id = s.data_file_id {of_files}"
        );
        for row in fetch(connection, &sql, at()).await? {
            let (file, mut damage) = (number(&row, "data_file_id")?, None);
            known.entry(file).or_default().push(FileColumn {
                id: number(&row, "column_id")?,
                bytes: count(&row, "column_size_bytes", &mut damage)?.unwrap_or(0),
                values: count(&row, "value_count", &mut damage)?,
                nulls: count(&row, "null_count", &mut damage)?,
                min: maybe_text(&row, "min_value")?,
                max: maybe_text(&row, "max_value")?,
            });
            if let Some(damage) = damage {
                damages.insert(file, damage);
            }
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
            let mut damage = damages.remove(&id);
            let deleted = count(&row, "delete_count", &mut damage)?.unwrap_or(0);
            let rows = count(&row, "record_count", &mut damage)?;
            let file_bytes = count(&row, "file_size_bytes", &mut damage)?;
            let footer_bytes = count(&row, "footer_size", &mut damage)?.unwrap_or(0);
            let (Some(rows), Some(file_bytes)) = (rows, file_bytes) else {
                let table = number(&row, "table_id")?;
                return Err(CatalogError::damaged(format_args!(
                    "file {id} of table {table} has no length or no number of rows"
                )));
            };
            if deleted > rows {
                damage.get_or_insert_with(|| {
                    format!("its delete_count {deleted} is more than its record_count {rows}")
                });
            }
            if footer_bytes > file_bytes {
                damage.get_or_insert_with(|| {
                    format!("its footer_size {footer_bytes} is more than its file_size_bytes {file_bytes}")
                });
            }
            let delete_path = match maybe_text(&row, "delete_path")? {
                Some(path) => Some((path, number(&row, "delete_is_relative")? != 0)),
                None => None,
            };
            let file = DataFile {
                id,
                location: String::new(),
                rows,
                file_bytes,
                footer_bytes,
                begin_snapshot: number(&row, "begin_snapshot")? as u64,
                columns: known.remove(&id).unwrap_or_default(),
                partitioning: maybe_number(&row, "partition_id")?,
                partition: values.remove(&id).unwrap_or_default(),
                deletes: delete_path.is_some().then(|| DeleteFile { location: String::new(), rows: deleted }),
            };
            let (path, is_relative) = (text(&row, "path")?, number(&row, "is_relative")? != 0);
            let row_of_file = FileRow { file, path, is_relative, delete_path, problem, damage };
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
        let (mut problem, mut damage) = (None, self.damages.remove(&id));
        let mut columns: Vec<Column> = Vec::new();
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
                    declared: version
                        .declared
                        .clone()
                        .filter(|declared| declared.fits(&row.type_name, &parts)),
                    begin_snapshot: version.begin,
                    end_snapshot: version.end,
                }),
                Err(kind) if version.end.is_none() => {
                    problem = Some(format!("column \"{}\" has the type {kind}", row.name));
                }
                Err(_) => {}
            }
        }
        let mut names = HashSet::new();
        for column in columns.iter().filter(|column| column.end_snapshot.is_none()) {
            if !names.insert(column.field.name()) {
                let name = column.field.name();
                damage.get_or_insert_with(|| format!("it has the column \"{name}\" twice"));
            }
        }
        if leads_out(folder) {
            damage.get_or_insert_with(|| "its folder leads out of the warehouse".to_owned());
        }
        let under = |path: &str, is_relative: bool| match is_relative {
            true => format!("{folder}{path}"),
            false if path.contains("://") || !data_folder.starts_with("file://") => path.to_owned(),
            false => format!("file://{path}"),
        };
        let mut files: Vec<Arc<DataFile>> = Vec::new();
        let mut paths = HashSet::new();
        for mut row in self.files.remove(&id).unwrap_or_default() {
            row.file.location = under(&row.path, row.is_relative);
            let shown = row.path.rsplit('/').next().unwrap_or_default();
            if let Some(of_file) = &row.damage {
                damage.get_or_insert_with(|| format!("of file {shown}, {of_file}"));
            }
            if leads_out(&row.file.location) {
                damage.get_or_insert_with(|| format!("the path of file {shown} leads out of the warehouse"));
            }
            if !paths.insert(row.file.location.clone()) {
                damage.get_or_insert_with(|| format!("it has the file {shown} twice"));
            }
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
            next_row_id: self.next_row_ids.get(&id).copied().unwrap_or(0),
            partitioning: self.partitionings.remove(&id),
            sort: self.sorts.remove(&id).unwrap_or_default(),
            problem,
            damage,
        })
    }
}
