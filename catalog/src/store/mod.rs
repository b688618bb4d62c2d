//! Where versions of the catalog persist: SQLite in the data folder, or a PostgreSQL shared by a team.
//!
//! One set of statements serves both, through sqlx's `Any` driver; `tests/store.rs` runs the same suite
//! against each. A version is a snapshot of the lake, in DuckLake's tables, and what belongs to it in ours.
//! A commit is one transaction that first adds the snapshot after the one it was made from: of two that
//! start from the same one, whoever wrote them, the second fails with [`CatalogError::Conflict`].

mod borrowed;
mod consistency;
mod failure;
mod foreign_lake;
mod history;
mod lake_commit;
mod lake_load;
mod lake_tables;
mod rights;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;

use borrowed::{Borrowed, Transaction};
pub use failure::StoreFailure;
pub use history::{DeadFile, SnapshotRow};
use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::{Any, AnyPool, AssertSqlSafe, Row};

use crate::metadata::{Change, CommentTarget, Metadata, PrimaryKey};
use crate::role::{FIRST_ROLE_OID, Role};
use crate::table::file_statistics::FileStatistics;
use crate::{
    CatalogError, DEFAULT_SCHEMA, ExternalFiles, Result, TableDefinition, TableName, stored_definition,
};

/// The format of the tables below. A store of another format is refused, not guessed at.
const FORMAT: i64 = 3;
/// The formats before that: without the lake, and with grants that two roles could not give alike. See [`rights`].
const EARLIER_FORMATS: [i64; 2] = [FORMAT_WITHOUT_LAKE, 2];
const FORMAT_WITHOUT_LAKE: i64 = 1;

const TABLES: &[&str] = &[
    "create table if not exists sluice_catalog (
       id bigint primary key, format bigint not null, version bigint not null)",
    "create table if not exists sluice_roles (
       oid bigint primary key, name text not null unique, is_superuser bigint not null,
       can_login bigint not null, inherits bigint not null, creates_roles bigint not null,
       creates_databases bigint not null, connection_limit bigint not null, valid_until text not null,
       verifier text not null)",
    "create table if not exists sluice_role_settings (
       role bigint not null, name text not null, value text not null, primary key (role, name))",
    "create table if not exists sluice_memberships (
       role bigint not null, member bigint not null, is_admin bigint not null, grantor bigint not null,
       primary key (role, member))",
    "create table if not exists sluice_privileges (
       kind text not null, schema_name text not null, object_name text not null, grantee bigint not null,
       privilege text not null, is_grantable bigint not null, grantor bigint not null,
       primary key (kind, schema_name, object_name, grantee, privilege, grantor))",
    "create table if not exists sluice_comments (
       kind text not null, schema_name text not null, object_name text not null, column_name text not null,
       comment text not null, primary key (kind, schema_name, object_name, column_name))",
    "create table if not exists sluice_primary_keys (
       schema_name text not null, table_name text not null, constraint_name text not null,
       position bigint not null, column_name text not null,
       primary key (schema_name, table_name, position))",
    "create table if not exists sluice_owners (
       schema_name text not null, table_name text not null, owner bigint not null,
       primary key (schema_name, table_name))",
    "create table if not exists sluice_schema_owners (
       schema_name text not null primary key, owner bigint not null)",
    // What it is made of, as JSON.
    "create table if not exists sluice_materialized_views (
       schema_name text not null, table_name text not null, made_of text not null,
       primary key (schema_name, table_name))",
    "create table if not exists sluice_distinct_counts (
       schema_name text not null, table_name text not null, column_name text not null, n bigint not null,
       primary key (schema_name, table_name, column_name))",
    "create table if not exists sluice_file_statistics (
       schema_name text not null, table_name text not null, path text not null, bytes bigint not null,
       modified bigint not null, told text not null, primary key (schema_name, table_name, path))",
    // The columns that a view had when it was made: the lake keeps its text alone.
    "create table if not exists sluice_views (
       schema_name text not null, view_name text not null, view_schema text not null,
       primary key (schema_name, view_name))",
    "create table if not exists sluice_external_tables (
       schema_name text not null, table_name text not null, oid bigint not null, location text not null,
       format text not null, file_schema text not null, partition_schema text not null,
       statistics text not null, primary key (schema_name, table_name))",
];

/// An open store.
#[derive(Debug, Clone)]
pub struct CatalogStore {
    pool: AnyPool,
    dialect: Dialect,
    /// Where the lake's files lie, a URL that ends in `/`.
    data_folder: String,
    /// Why the lake is not read and nothing is written, when that is so.
    unreadable: Option<String>,
}

/// What differs from one database to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Sqlite,
    Postgres,
}

type Connection = sqlx::AnyConnection;

/// A value of a statement.
#[derive(Debug, Clone)]
enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bool(bool),
    Uuid(String),
    Time(String),
}

impl Value {
    fn text(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

/// Where the lake's files are to lie.
#[derive(Debug, Clone)]
pub struct Warehouse {
    /// A path of this machine, or a URL.
    pub location: String,
    /// Somebody chose it: it counts more than what a lake that exists says of itself.
    pub is_chosen: bool,
    /// Where there is no catalog yet, one is made. Not so where something tells that there was one.
    pub may_begin: bool,
}

/// SQLite gives its journals the mode of the file.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let file = options.mode(0o600).open(path)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))
    }
    #[cfg(not(unix))]
    options.open(path).map(|_| ())
}

impl CatalogStore {
    /// Opens the SQLite file `path`, which is created when it is missing. It holds what roles sign in
    /// with: only its owner may read it.
    pub async fn open_file(path: &Path, warehouse: &Warehouse) -> Result<Self> {
        make_private(path).map_err(|error| CatalogError::Store {
            problem: format!("cannot be opened: {}: {error}", path.display()),
        })?;
        let url = format!("sqlite://{}?mode=rwc", path.display());
        // SQLite lets one writer in; one connection keeps ours from meeting each other.
        Self::open(&url, 1, Dialect::Sqlite, warehouse).await
    }

    /// Opens the store in a PostgreSQL database, `postgres://user:password@host/database`.
    pub async fn open_url(url: &str, warehouse: &Warehouse) -> Result<Self> {
        Self::open(url, 4, Dialect::Postgres, warehouse).await
    }

    async fn open(url: &str, connections_max: u32, dialect: Dialect, warehouse: &Warehouse) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let pool = AnyPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(std::time::Duration::from_secs(10))
            .connect(url)
            .await?;
        if dialect == Dialect::Sqlite {
            let mut connection = Borrowed::of(&pool).await?;
            refuse_strangers(&mut connection).await?;
            // Readers of other processes then do not stand in the way of a commit.
            sqlx::query("pragma journal_mode = wal").execute(&mut *connection).await?;
            connection.give_back();
        }
        let data_folder = lake_load::as_url(&warehouse.location);
        let mut store = Self { pool, dialect, data_folder, unreadable: None };
        let unreadable = foreign_lake::reason(&store.pool).await;
        if let Err(error) = store.prepare(warehouse, unreadable.is_none()).await {
            // Waits until nothing of it holds the database any more: it may be opened again at once.
            store.pool.close().await;
            return Err(error);
        }
        store.unreadable = unreadable;
        Ok(store)
    }

    /// Ends its connections. SQLite then leaves one file, and none beside it.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Where the lake's files lie, a URL that ends in `/`.
    pub fn data_folder(&self) -> &str {
        &self.data_folder
    }

    /// Why its managed tables cannot be read and nothing can be changed, when another engine brought the lake to a
    /// version that is not known here.
    pub fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    fn check_readable(&self) -> Result<()> {
        match &self.unreadable {
            Some(reason) => Err(CatalogError::ReadOnly { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// A transaction that may write.
    async fn begin(&self) -> Result<Transaction> {
        self.check_readable()?;
        Transaction::writing(&self.pool, self.dialect).await
    }

    /// Makes the tables and the first version where there is none.
    async fn prepare(&mut self, warehouse: &Warehouse, is_known: bool) -> Result<()> {
        let mut transaction = self.begin().await?;
        for table in TABLES {
            sqlx::query(*table).execute(&mut *transaction).await?;
        }
        let is_new = is_known && lake_tables::create(&mut transaction, self.dialect).await?;
        let found = sqlx::query("select format from sluice_catalog where id = 1")
            .fetch_optional(&mut *transaction)
            .await?;
        let format = found.as_ref().map(|row| row.try_get::<i64, _>(0)).transpose()?;
        if is_new {
            if format.is_some_and(|format| format != FORMAT_WITHOUT_LAKE) {
                return Err(CatalogError::damaged("it has no snapshot any more"));
            }
            if format.is_none() && !warehouse.may_begin {
                return Err(CatalogError::NoCatalog);
            }
            first_lake(&mut transaction, self.dialect, warehouse).await?;
        }
        match format {
            Some(FORMAT) => {}
            Some(format) if EARLIER_FORMATS.contains(&format) => {
                rights::migrate(&mut transaction).await?;
                sqlx::query("update sluice_catalog set format = $1")
                    .bind(FORMAT)
                    .execute(&mut *transaction)
                    .await?;
            }
            Some(format) => {
                return Err(CatalogError::Store {
                    problem: format!("has format {format}; this version of Sluice reads format {FORMAT}"),
                });
            }
            None => {
                sqlx::query("insert into sluice_catalog (id, format, version) values (1, $1, 1)")
                    .bind(FORMAT)
                    .execute(&mut *transaction)
                    .await?;
                for change in first_changes() {
                    write(&mut transaction, &change).await?;
                }
            }
        }
        if is_known {
            self.check_lake(&mut transaction, warehouse).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Takes over where a lake that another engine made has its files.
    async fn check_lake(&mut self, transaction: &mut Transaction, warehouse: &Warehouse) -> Result<()> {
        let facts = "select \"key\" as k, \"value\" as v from ducklake_metadata where \"scope\" is null";
        let facts: HashMap<String, String> = fetch(transaction, facts, Vec::new())
            .await?
            .iter()
            .map(|row| Ok((text(row, "k")?, text(row, "v")?)))
            .collect::<Result<_>>()?;
        // Looked at before, in no transaction: whoever committed since, or kept that from being told, counts here.
        if let Some(reason) = foreign_lake::reason_of(|key| facts.get(key).cloned()) {
            return Err(CatalogError::Store { problem: format!("cannot be served yet: {reason}") });
        }
        let path = facts.get("data_path").map_or("", String::as_str);
        if !warehouse.is_chosen {
            if !path.contains("://") && !path.starts_with('/') {
                let problem =
                    format!("names the folder of its data as {path:?}: say with --warehouse where it is");
                return Err(CatalogError::Store { problem });
            }
            self.data_folder = lake_load::as_url(path);
        }
        Ok(())
    }

    /// The current version.
    pub async fn load(&self) -> Result<Metadata> {
        let mut metadata = Metadata::default();
        if let Some(reason) = &self.unreadable {
            foreign_lake::load_names(&self.pool, &mut metadata, &self.data_folder, reason).await;
        }
        let mut transaction = Transaction::reading(&self.pool, self.dialect).await?;
        if self.unreadable.is_none() {
            lake_load::load(&mut transaction, &mut metadata, &self.data_folder, None).await?;
        }
        for row in rows(&mut transaction, "select * from sluice_roles order by oid").await? {
            metadata.apply(&Change::PutRole(role(&row)?));
        }
        for row in rows(&mut transaction, "select * from sluice_role_settings").await? {
            let of = oid(&row, "role")?;
            if let Some(role) = metadata.roles.values_mut().find(|role| role.oid == of) {
                role.settings.insert(text(&row, "name")?, text(&row, "value")?);
            }
        }
        rights::load(&mut transaction, &mut metadata).await?;
        for row in rows(&mut transaction, "select * from sluice_comments").await? {
            metadata.comments.insert(comment_target(&row)?, row.try_get("comment")?);
        }
        let keys = "select * from sluice_primary_keys order by schema_name, table_name, position";
        for row in rows(&mut transaction, keys).await? {
            let table = TableName::new(text(&row, "schema_name")?, text(&row, "table_name")?);
            let name = text(&row, "constraint_name")?;
            let key = metadata.primary_keys.entry(table).or_insert(PrimaryKey { name, columns: Vec::new() });
            key.columns.push(row.try_get("column_name")?);
        }
        for row in rows(&mut transaction, "select * from sluice_owners").await? {
            let table = TableName::new(text(&row, "schema_name")?, text(&row, "table_name")?);
            metadata.owners.insert(table, oid(&row, "owner")?);
        }
        for row in rows(&mut transaction, "select * from sluice_materialized_views").await? {
            let name = TableName::new(text(&row, "schema_name")?, text(&row, "table_name")?);
            let of = serde_json::from_str(&text(&row, "made_of")?)
                .map_err(|error| CatalogError::damaged_table(&name, error))?;
            metadata.materialized.insert(name, Arc::new(of));
        }
        for row in rows(&mut transaction, "select * from sluice_distinct_counts").await? {
            let name = TableName::new(text(&row, "schema_name")?, text(&row, "table_name")?);
            let counts = Arc::make_mut(metadata.distinct_counts.entry(name).or_default());
            counts.insert(text(&row, "column_name")?, number(&row, "n")?.max(0) as u64);
        }
        for row in rows(&mut transaction, "select * from sluice_schema_owners").await? {
            metadata.schema_owners.insert(text(&row, "schema_name")?, oid(&row, "owner")?);
        }
        for row in rows(&mut transaction, "select * from sluice_views").await? {
            let name = TableName::new(text(&row, "schema_name")?, text(&row, "view_name")?);
            let columns = stored_definition::schema_from_text(&text(&row, "view_schema")?)
                .map_err(|error| CatalogError::damaged_table(&name, error))?;
            if let Some(view) = metadata.tables.get_mut(&name).filter(|table| table.view.is_some()) {
                Arc::make_mut(view).file_schema = columns;
            }
        }
        for row in rows(&mut transaction, "select * from sluice_external_tables").await? {
            metadata.apply(&Change::PutTable(Arc::new(table(&row)?)));
        }
        let mut analyzed: HashMap<TableName, Vec<FileStatistics>> = HashMap::new();
        for row in rows(&mut transaction, "select * from sluice_file_statistics").await? {
            let name = TableName::new(text(&row, "schema_name")?, text(&row, "table_name")?);
            analyzed.entry(name).or_default().push(file_statistics(&row)?);
        }
        for (name, files) in analyzed {
            if let Some(table) = metadata.tables.get_mut(&name).filter(|table| table.managed.is_none()) {
                Arc::make_mut(table).analyzed = Arc::new(files);
            }
        }
        transaction.commit().await?;
        Ok(metadata)
    }

    /// The lake as it was at `snapshot`: schemas and managed tables, and nothing else.
    ///
    /// Fails with [`CatalogError::NoSnapshot`] when there is none of that number, or none any more.
    pub async fn load_lake(&self, snapshot: u64) -> Result<Metadata> {
        self.check_readable()?;
        let mut transaction = Transaction::reading(&self.pool, self.dialect).await?;
        let mut metadata = Metadata::default();
        let loaded =
            lake_load::load(&mut transaction, &mut metadata, &self.data_folder, Some(snapshot)).await;
        if let Err(error) = loaded {
            return Err(transaction.undo(error).await);
        }
        transaction.commit().await?;
        Ok(metadata)
    }

    /// The names of the files that any snapshot ever knew, among those of the statement `write_id`.
    pub async fn files_of(&self, write_id: &str) -> Result<HashSet<String>> {
        self.check_readable()?;
        let mut connection = Borrowed::of(&self.pool).await?;
        let sql = "select path from ducklake_data_file where path like $1
             union all select path from ducklake_files_scheduled_for_deletion where path like $1";
        let found = fetch(&mut connection, sql, vec![Value::Text(Some(format!("%{write_id}%")))]).await?;
        connection.give_back();
        found
            .iter()
            .map(|row| Ok(text(row, "path")?.rsplit('/').next().unwrap_or_default().to_owned()))
            .collect()
    }

    /// The number of the current version.
    pub async fn version(&self) -> Result<u64> {
        let mut connection = Borrowed::of(&self.pool).await?;
        let row = sqlx::query("select max(snapshot_id) as n from ducklake_snapshot")
            .fetch_one(&mut *connection)
            .await?;
        let version = number(&row, "n")? as u64;
        connection.give_back();
        Ok(version)
    }

    /// Commits `changes` on top of `from`, whole or not at all, and gives the new version.
    ///
    /// Fails with [`CatalogError::Conflict`] when another commit came first, and with
    /// [`CatalogError::OutcomeUnknown`] when nobody can say any more whether it was carried out.
    pub async fn commit(&self, from: &Metadata, changes: &[Change]) -> Result<Metadata> {
        let mut next = from.clone();
        let mut uuids = HashMap::new();
        for change in changes {
            next.apply(change);
            if let Change::CreateSchema { name, uuid } = change {
                uuids.insert(name.clone(), uuid.clone());
            }
        }
        let at = now();
        let mut transaction = self.begin().await?;
        if let Err(error) = self.written(&mut transaction, from, &next, &uuids, changes, &at).await {
            return Err(transaction.undo(error).await);
        }
        next.version += 1;
        match transaction.commit().await {
            Ok(()) => Ok(next),
            Err(error) => match &error {
                CatalogError::StoreFailed { failure, .. } if failure.leaves_open() => {
                    tracing::warn!(%error, "a commit was not answered: the catalog is asked whether it was carried out");
                    match self.was_committed(next.version, &at).await {
                        Ok(true) => Ok(next),
                        Ok(false) => Err(error),
                        Err(_) => Err(CatalogError::OutcomeUnknown),
                    }
                }
                _ => Err(error),
            },
        }
    }

    async fn written(
        &self,
        transaction: &mut Transaction,
        from: &Metadata,
        next: &Metadata,
        uuids: &HashMap<String, String>,
        changes: &[Change],
        at: &str,
    ) -> Result<()> {
        lake_commit::commit(transaction, self.dialect, from, next, uuids, at).await?;
        for change in changes {
            write(transaction, change).await?;
        }
        Ok(())
    }

    /// True when the snapshot that this server committed at `at` is there.
    async fn was_committed(&self, snapshot: u64, at: &str) -> Result<bool> {
        if self.is_there(snapshot, at).await? {
            return Ok(true);
        }
        // A PostgreSQL may still be at it: whoever wants the same key waits for its end.
        let mut transaction = self.begin().await?;
        if self.dialect == Dialect::Postgres {
            sqlx::query(OUTCOME_WAIT).execute(&mut *transaction).await?;
        }
        let key = vec![vec![Value::Int(Some(snapshot as i64))]];
        match insert(&mut transaction, self.dialect, "ducklake_snapshot(snapshot_id)", &key).await {
            Ok(()) => {
                transaction.roll_back().await;
                Ok(false)
            }
            Err(error) => match transaction.undo(error).await {
                CatalogError::Taken => self.is_there(snapshot, at).await,
                error => Err(error),
            },
        }
    }

    async fn is_there(&self, snapshot: u64, at: &str) -> Result<bool> {
        let mut connection = Borrowed::of(&self.pool).await?;
        let is_there = history::snapshot_is_of(&mut connection, snapshot, at).await?;
        connection.give_back();
        Ok(is_there)
    }
}

/// A commit that nobody may ever end is not waited for: its outcome is not known, then.
const OUTCOME_WAIT: &str = "set local lock_timeout = '5s'";

/// Refuses a file that is the database of another program. One of DuckDB's that holds a lake is none.
async fn refuse_strangers(connection: &mut Connection) -> Result<()> {
    let tables =
        "select name from sqlite_master where type = 'table' and name not like 'sqlite\\_%' escape '\\'";
    let names: Vec<String> = fetch(connection, tables, Vec::new())
        .await?
        .iter()
        .map(|row| text(row, "name"))
        .collect::<Result<_>>()?;
    let is_known = |name: &String| name.starts_with("ducklake_") || name.starts_with("sluice_");
    match names.first() {
        Some(name) if !names.iter().any(is_known) => Err(CatalogError::Store {
            problem: format!("is that of another program, and holds its table \"{name}\""),
        }),
        _ => Ok(()),
    }
}

/// A lake with the schemas that DuckDB and PostgreSQL look into first.
async fn first_lake(transaction: &mut Transaction, dialect: Dialect, warehouse: &Warehouse) -> Result<()> {
    let fact = |key: &str, value: &str| vec![Value::text(key), Value::text(value)];
    let folder = lake_load::as_url(&warehouse.location);
    let facts = [
        fact("version", lake_tables::VERSION),
        fact("created_by", concat!("Sluice ", env!("CARGO_PKG_VERSION"))),
        fact("data_path", folder.strip_prefix("file://").unwrap_or(&folder)),
        fact("encrypted", "false"),
        // Rows that another engine would keep in the catalog are none that executors can read.
        fact("data_inlining_row_limit", "0"),
    ];
    insert(transaction, dialect, "ducklake_metadata(\"key\", \"value\")", &facts).await?;
    let snapshot = vec![
        Value::Int(Some(0)),
        Value::Time(now()),
        Value::Int(Some(0)),
        Value::Int(Some(2)),
        Value::Int(Some(0)),
    ];
    let columns =
        "ducklake_snapshot(snapshot_id, snapshot_time, schema_version, next_catalog_id, next_file_id)";
    insert(transaction, dialect, columns, &[snapshot]).await?;
    let changes = vec![Value::Int(Some(0)), Value::text("created_schema:\"main\",created_schema:\"public\"")];
    insert(transaction, dialect, "ducklake_snapshot_changes(snapshot_id, changes_made)", &[changes]).await?;
    let schema = |id: i64, name: &str| {
        vec![
            Value::Int(Some(id)),
            Value::Uuid(uuid()),
            Value::Int(Some(0)),
            Value::text(name),
            Value::Text(Some(format!("{name}/"))),
            Value::Bool(true),
        ]
    };
    let columns =
        "ducklake_schema(schema_id, schema_uuid, begin_snapshot, schema_name, path, path_is_relative)";
    insert(transaction, dialect, columns, &[schema(0, "main"), schema(1, DEFAULT_SCHEMA)]).await
}

/// A new identifier for what has one in the lake.
fn uuid() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// The time, as DuckLake writes it.
fn now() -> String {
    use datafusion::common::ScalarValue;
    let micros = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_micros() as i64);
    let value = ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()));
    crate::lake::values::to_text(&value).unwrap_or_default()
}

/// Runs a statement that gives no rows.
async fn run(connection: &mut Connection, sql: String, values: Vec<Value>) -> Result<()> {
    bound(sqlx::query(AssertSqlSafe(sql)), values).execute(connection).await?;
    Ok(())
}

/// The rows of a query.
async fn fetch(connection: &mut Connection, sql: &str, values: Vec<Value>) -> Result<Vec<AnyRow>> {
    Ok(bound(sqlx::query(AssertSqlSafe(sql.to_owned())), values).fetch_all(connection).await?)
}

/// Adds rows to `table(columns)`, as many at once as the databases take parameters for.
async fn insert(
    connection: &mut Connection,
    dialect: Dialect,
    table: &str,
    rows: &[Vec<Value>],
) -> Result<()> {
    const PARAMETERS_MAX: usize = 16_000;
    let width = rows.first().map_or(1, Vec::len);
    for rows in rows.chunks((PARAMETERS_MAX / width).max(1)) {
        let mut number = 0;
        let mut row = |values: &Vec<Value>| {
            let places = values.iter().map(|value| {
                number += 1;
                match (value, dialect) {
                    (Value::Uuid(_), Dialect::Postgres) => format!("cast(${number} as uuid)"),
                    (Value::Time(_), Dialect::Postgres) => format!("cast(${number} as timestamptz)"),
                    _ => format!("${number}"),
                }
            });
            format!("({})", places.collect::<Vec<_>>().join(", "))
        };
        let places: Vec<String> = rows.iter().map(&mut row).collect();
        let sql = format!("insert into {} values {}", table.replacen('(', " (", 1), places.join(", "));
        let values = rows.iter().flatten().cloned().collect();
        let inserted = bound(sqlx::query(AssertSqlSafe(sql)), values).execute(&mut *connection).await;
        inserted.map_err(|error| match &error {
            sqlx::Error::Database(inner) if inner.is_unique_violation() => CatalogError::Taken,
            _ => error.into(),
        })?;
    }
    Ok(())
}

type Statement<'a> = sqlx::query::Query<'a, Any, sqlx::any::AnyArguments>;

fn bound(query: Statement<'_>, values: Vec<Value>) -> Statement<'_> {
    values.into_iter().fold(query, |query, value| match value {
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::Bool(value) => query.bind(value),
        Value::Uuid(value) | Value::Time(value) => query.bind(value),
    })
}

fn first_changes() -> Vec<Change> {
    let first = Metadata::first();
    let roles = first.roles.values().cloned().map(Change::PutRole);
    roles.chain(first.grants.iter().cloned().map(Change::PutGrant)).collect()
}

async fn rows(transaction: &mut Transaction, sql: &'static str) -> Result<Vec<AnyRow>> {
    Ok(sqlx::query(sql).fetch_all(&mut **transaction).await?)
}

async fn forget_settings(transaction: &mut Transaction, role: u32) -> Result<()> {
    sqlx::query("delete from sluice_role_settings where role = $1")
        .bind(i64::from(role))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

async fn write(transaction: &mut Transaction, change: &Change) -> Result<()> {
    let connection = &mut **transaction;
    match change {
        Change::PutRole(role) => {
            sqlx::query("delete from sluice_roles where oid = $1")
                .bind(i64::from(role.oid))
                .execute(&mut *connection)
                .await?;
            sqlx::query("insert into sluice_roles values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
                .bind(i64::from(role.oid))
                .bind(role.name.clone())
                .bind(i64::from(role.is_superuser))
                .bind(i64::from(role.can_login))
                .bind(i64::from(role.inherits))
                .bind(i64::from(role.creates_roles))
                .bind(i64::from(role.creates_databases))
                .bind(i64::from(role.connection_limit))
                .bind(role.valid_until.map_or_else(String::new, |micros| micros.to_string()))
                .bind(role.verifier.clone().unwrap_or_default())
                .execute(&mut *connection)
                .await?;
            forget_settings(transaction, role.oid).await?;
            for (name, value) in &role.settings {
                sqlx::query("insert into sluice_role_settings values ($1, $2, $3)")
                    .bind(i64::from(role.oid))
                    .bind(name.clone())
                    .bind(value.clone())
                    .execute(&mut **transaction)
                    .await?;
            }
        }
        Change::DropRole { oid } => {
            sqlx::query("delete from sluice_roles where oid = $1")
                .bind(i64::from(*oid))
                .execute(&mut *connection)
                .await?;
            sqlx::query("delete from sluice_memberships where role = $1 or member = $1")
                .bind(i64::from(*oid))
                .execute(connection)
                .await?;
            forget_settings(transaction, *oid).await?;
        }
        Change::AddMember(membership) => rights::add_member(transaction, membership).await?,
        Change::RemoveMember { role, member } => rights::remove_member(transaction, *role, *member).await?,
        Change::PutGrant(grant) => rights::put_grant(transaction, grant).await?,
        Change::DropGrant { object, grantee, privilege, grantor } => {
            rights::drop_grant(transaction, object, *grantee, *privilege, *grantor).await?;
        }
        Change::Comment { target, text } => {
            let (kind, schema, object, column) = comment_key(target);
            sqlx::query(
                "delete from sluice_comments
                 where kind = $1 and schema_name = $2 and object_name = $3 and column_name = $4",
            )
            .bind(kind)
            .bind(schema.clone())
            .bind(object.clone())
            .bind(column.clone())
            .execute(&mut *connection)
            .await?;
            if let Some(text) = text {
                sqlx::query("insert into sluice_comments values ($1, $2, $3, $4, $5)")
                    .bind(kind)
                    .bind(schema)
                    .bind(object)
                    .bind(column)
                    .bind(text.clone())
                    .execute(connection)
                    .await?;
            }
        }
        Change::PrimaryKey { table, key } => {
            sqlx::query("delete from sluice_primary_keys where schema_name = $1 and table_name = $2")
                .bind(table.schema.clone())
                .bind(table.table.clone())
                .execute(&mut *connection)
                .await?;
            for (position, column) in key.iter().flat_map(|key| key.columns.iter().enumerate()) {
                sqlx::query("insert into sluice_primary_keys values ($1, $2, $3, $4, $5)")
                    .bind(table.schema.clone())
                    .bind(table.table.clone())
                    .bind(key.as_ref().map_or_else(String::new, |key| key.name.clone()))
                    .bind(position as i64)
                    .bind(column.clone())
                    .execute(&mut *connection)
                    .await?;
            }
        }
        Change::PutTable(definition) => {
            of_table(transaction, DELETE_TABLE, &definition.name).await?;
            let partitions = stored_definition::partitions_to_schema(&definition.partition_columns);
            sqlx::query("insert into sluice_external_tables values ($1, $2, $3, $4, $5, $6, $7, $8)")
                .bind(definition.name.schema.clone())
                .bind(definition.name.table.clone())
                .bind(i64::from(definition.oid))
                .bind(definition.location.clone())
                .bind(files_to_text(&definition.files)?)
                .bind(stored_definition::schema_to_text(&definition.file_schema)?)
                .bind(stored_definition::schema_to_text(&partitions)?)
                .bind(stored_definition::statistics_to_text(&definition.statistics))
                .execute(&mut **transaction)
                .await?;
            of_table(transaction, DELETE_FILE_STATISTICS, &definition.name).await?;
            for file in definition.analyzed.iter() {
                sqlx::query("insert into sluice_file_statistics values ($1, $2, $3, $4, $5, $6)")
                    .bind(definition.name.schema.clone())
                    .bind(definition.name.table.clone())
                    .bind(file.path.clone())
                    .bind(i64::try_from(file.bytes).unwrap_or(i64::MAX))
                    .bind(file.modified)
                    .bind(file.told.clone())
                    .execute(&mut **transaction)
                    .await?;
            }
        }
        Change::PutView(view) => {
            of_table(transaction, DELETE_VIEW, &view.name).await?;
            sqlx::query("insert into sluice_views values ($1, $2, $3)")
                .bind(view.name.schema.clone())
                .bind(view.name.table.clone())
                .bind(stored_definition::schema_to_text(&view.columns)?)
                .execute(&mut **transaction)
                .await?;
        }
        Change::PutMaterialized { table, of } => {
            of_table(transaction, DELETE_MATERIALIZED, table).await?;
            let of = serde_json::to_string(of.as_ref())
                .map_err(|error| CatalogError::Store { problem: error.to_string() })?;
            sqlx::query("insert into sluice_materialized_views values ($1, $2, $3)")
                .bind(table.schema.clone())
                .bind(table.table.clone())
                .bind(of)
                .execute(&mut **transaction)
                .await?;
        }
        Change::DistinctCounts { table, counts } => {
            of_table(transaction, DELETE_COUNTS, table).await?;
            for (column, count) in counts.iter() {
                sqlx::query("insert into sluice_distinct_counts values ($1, $2, $3, $4)")
                    .bind(table.schema.clone())
                    .bind(table.table.clone())
                    .bind(column.clone())
                    .bind(i64::try_from(*count).unwrap_or(i64::MAX))
                    .execute(&mut **transaction)
                    .await?;
            }
        }
        Change::SetSchemaOwner { schema, owner } => {
            of_schema(transaction, DELETE_SCHEMA_OWNER, schema).await?;
            if *owner != FIRST_ROLE_OID {
                sqlx::query("insert into sluice_schema_owners values ($1, $2)")
                    .bind(schema.clone())
                    .bind(i64::from(*owner))
                    .execute(&mut **transaction)
                    .await?;
            }
        }
        Change::DropSchema { name } => {
            for sql in [DELETE_SCHEMA_OWNER, DELETE_SCHEMA_GRANTS, DELETE_SCHEMA_COMMENTS] {
                of_schema(transaction, sql, name).await?;
            }
        }
        Change::SetOwner { table, owner } => {
            of_table(transaction, DELETE_OWNER, table).await?;
            if *owner != FIRST_ROLE_OID {
                sqlx::query("insert into sluice_owners values ($1, $2, $3)")
                    .bind(table.schema.clone())
                    .bind(table.table.clone())
                    .bind(i64::from(*owner))
                    .execute(&mut **transaction)
                    .await?;
            }
        }
        Change::RenameTable { from, to } => {
            for sql in RENAMES {
                sqlx::query(*sql)
                    .bind(from.schema.clone())
                    .bind(from.table.clone())
                    .bind(to.schema.clone())
                    .bind(to.table.clone())
                    .execute(&mut **transaction)
                    .await?;
            }
        }
        // The lake's own rows are the difference of two versions: see `lake_commit`.
        Change::CreateSchema { .. }
        | Change::CreateTable(_)
        | Change::Files { .. }
        | Change::Columns { .. } => {}
        Change::DropTable(name) => {
            for sql in [
                DELETE_TABLE,
                DELETE_VIEW,
                DELETE_MATERIALIZED,
                DELETE_COUNTS,
                DELETE_FILE_STATISTICS,
                DELETE_OWNER,
                DELETE_KEY,
                DELETE_GRANTS,
                DELETE_COMMENTS,
            ] {
                of_table(transaction, sql, name).await?;
            }
        }
    }
    Ok(())
}

/// How a table over all Parquet files of its location is kept; any other is kept as JSON.
const PARQUET: &str = "parquet";

fn files_to_text(files: &ExternalFiles) -> Result<String> {
    if *files == ExternalFiles::default() {
        return Ok(PARQUET.to_owned());
    }
    serde_json::to_string(files).map_err(|error| CatalogError::Store { problem: error.to_string() })
}

fn files_from_text(text: &str) -> Result<ExternalFiles> {
    if text == PARQUET {
        return Ok(ExternalFiles::default());
    }
    serde_json::from_str(text).map_err(|_| CatalogError::Store {
        problem: format!("holds a table of format {text:?}, which this version of Sluice does not read"),
    })
}

/// Runs `sql`, whose parameter is a schema's name.
async fn of_schema(transaction: &mut Transaction, sql: &'static str, name: &str) -> Result<()> {
    sqlx::query(sql).bind(name.to_owned()).execute(&mut **transaction).await?;
    Ok(())
}

const DELETE_SCHEMA_OWNER: &str = "delete from sluice_schema_owners where schema_name = $1";
const DELETE_SCHEMA_GRANTS: &str = "delete from sluice_privileges where kind = 'schema' and schema_name = $1";
const DELETE_SCHEMA_COMMENTS: &str = "delete from sluice_comments where kind = 'schema' and schema_name = $1";
const DELETE_MATERIALIZED: &str =
    "delete from sluice_materialized_views where schema_name = $1 and table_name = $2";
const DELETE_COUNTS: &str = "delete from sluice_distinct_counts where schema_name = $1 and table_name = $2";
const DELETE_FILE_STATISTICS: &str =
    "delete from sluice_file_statistics where schema_name = $1 and table_name = $2";
const DELETE_VIEW: &str = "delete from sluice_views where schema_name = $1 and view_name = $2";

/// Runs `sql`, whose parameters are a table's schema and name.
async fn of_table(transaction: &mut Transaction, sql: &'static str, name: &TableName) -> Result<()> {
    sqlx::query(sql).bind(name.schema.clone()).bind(name.table.clone()).execute(&mut **transaction).await?;
    Ok(())
}

const RENAMES: &[&str] = &[
    "update sluice_external_tables set schema_name = $3, table_name = $4
     where schema_name = $1 and table_name = $2",
    "update sluice_views set schema_name = $3, view_name = $4
     where schema_name = $1 and view_name = $2",
    "update sluice_materialized_views set schema_name = $3, table_name = $4
     where schema_name = $1 and table_name = $2",
    "update sluice_distinct_counts set schema_name = $3, table_name = $4
     where schema_name = $1 and table_name = $2",
    "update sluice_file_statistics set schema_name = $3, table_name = $4
     where schema_name = $1 and table_name = $2",
    "update sluice_owners set schema_name = $3, table_name = $4
     where schema_name = $1 and table_name = $2",
    "update sluice_primary_keys set schema_name = $3, table_name = $4
     where schema_name = $1 and table_name = $2",
    "update sluice_privileges set schema_name = $3, object_name = $4
     where kind = 'table' and schema_name = $1 and object_name = $2",
    "update sluice_comments set schema_name = $3, object_name = $4
     where kind in ('table', 'column') and schema_name = $1 and object_name = $2",
];

const DELETE_TABLE: &str = "delete from sluice_external_tables where schema_name = $1 and table_name = $2";
const DELETE_OWNER: &str = "delete from sluice_owners where schema_name = $1 and table_name = $2";
const DELETE_KEY: &str = "delete from sluice_primary_keys where schema_name = $1 and table_name = $2";
const DELETE_GRANTS: &str =
    "delete from sluice_privileges where kind = 'table' and schema_name = $1 and object_name = $2";
const DELETE_COMMENTS: &str = "delete from sluice_comments where kind in ('table', 'column')
     and schema_name = $1 and object_name = $2";

fn comment_key(target: &CommentTarget) -> (&'static str, String, String, String) {
    let none = String::new;
    match target {
        CommentTarget::Database => ("database", none(), none(), none()),
        CommentTarget::Schema(name) => ("schema", name.clone(), none(), none()),
        CommentTarget::Table(name) => ("table", name.schema.clone(), name.table.clone(), none()),
        CommentTarget::Column(name, column) => {
            ("column", name.schema.clone(), name.table.clone(), column.clone())
        }
        CommentTarget::Role(name) => ("role", none(), name.clone(), none()),
    }
}

fn role(row: &AnyRow) -> Result<Role> {
    let flag = |name: &str| row.try_get::<i64, _>(name).map(|value| value != 0);
    let verifier = text(row, "verifier")?;
    Ok(Role {
        oid: oid(row, "oid")?,
        name: text(row, "name")?,
        is_superuser: flag("is_superuser")?,
        can_login: flag("can_login")?,
        inherits: flag("inherits")?,
        creates_roles: flag("creates_roles")?,
        creates_databases: flag("creates_databases")?,
        connection_limit: i32::try_from(row.try_get::<i64, _>("connection_limit")?).unwrap_or(-1),
        valid_until: text(row, "valid_until")?.parse().ok(),
        verifier: (!verifier.is_empty()).then_some(verifier),
        settings: BTreeMap::new(),
    })
}

fn table(row: &AnyRow) -> Result<TableDefinition> {
    let name = TableName::new(text(row, "schema_name")?, text(row, "table_name")?);
    external_table(row, name.clone()).map_err(|error| match error {
        CatalogError::Store { problem } => CatalogError::damaged_table(&name, problem),
        other => other,
    })
}

fn external_table(row: &AnyRow, name: TableName) -> Result<TableDefinition> {
    let partitions = stored_definition::schema_from_text(&text(row, "partition_schema")?)?;
    Ok(TableDefinition {
        name,
        oid: oid(row, "oid")?,
        location: text(row, "location")?,
        file_schema: stored_definition::schema_from_text(&text(row, "file_schema")?)?,
        partition_columns: stored_definition::partitions_of_schema(&partitions),
        statistics: stored_definition::statistics_from_text(&text(row, "statistics")?)?,
        files: files_from_text(&text(row, "format")?)?,
        analyzed: Arc::default(),
        managed: None,
        view: None,
        unavailable: None,
    })
}

fn file_statistics(row: &AnyRow) -> Result<FileStatistics> {
    Ok(FileStatistics {
        path: text(row, "path")?,
        bytes: number(row, "bytes")?.max(0) as u64,
        modified: number(row, "modified")?,
        told: text(row, "told")?,
    })
}

fn comment_target(row: &AnyRow) -> Result<CommentTarget> {
    let (schema, object) = (text(row, "schema_name")?, text(row, "object_name")?);
    Ok(match text(row, "kind")?.as_str() {
        "schema" => CommentTarget::Schema(schema),
        "table" => CommentTarget::Table(TableName::new(schema, object)),
        "column" => CommentTarget::Column(TableName::new(schema, object), text(row, "column_name")?),
        "role" => CommentTarget::Role(object),
        _ => CommentTarget::Database,
    })
}

fn text(row: &AnyRow, name: &str) -> Result<String> {
    Ok(row.try_get(name)?)
}

fn maybe_text(row: &AnyRow, name: &str) -> Result<Option<String>> {
    Ok(row.try_get(name)?)
}

fn number(row: &AnyRow, name: &str) -> Result<i64> {
    Ok(row.try_get(name)?)
}

fn maybe_number(row: &AnyRow, name: &str) -> Result<Option<i64>> {
    Ok(row.try_get(name)?)
}

fn oid(row: &AnyRow, name: &str) -> Result<u32> {
    let value: i64 = row.try_get(name)?;
    u32::try_from(value)
        .map_err(|_| CatalogError::Store { problem: format!("holds {value} as an object identifier") })
}
