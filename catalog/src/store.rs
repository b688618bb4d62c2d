//! Where versions of the catalog persist: SQLite in the data folder, or a PostgreSQL shared by a team.
//!
//! One set of statements serves both, through sqlx's `Any` driver; `tests/store.rs` runs the same suite
//! against each. A commit is one transaction that first moves the version on from the one it was made
//! from: of two that start from the same version, one fails with [`CatalogError::Conflict`].

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;

use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::{Any, AnyPool, Row, Transaction};

use crate::metadata::{Change, CommentTarget, Metadata, PrimaryKey};
use crate::role::{Grant, GrantObject, Privilege, Role};
use crate::{CatalogError, Result, TableDefinition, TableName, stored_definition};

/// The format of the tables below. A store of another format is refused, not guessed at.
const FORMAT: i64 = 1;

const TABLES: &[&str] = &[
    "create table if not exists sluice_catalog (
       id bigint primary key, format bigint not null, version bigint not null)",
    "create table if not exists sluice_roles (
       oid bigint primary key, name text not null unique, is_superuser bigint not null,
       can_login bigint not null, inherits bigint not null, creates_roles bigint not null,
       creates_databases bigint not null, connection_limit bigint not null, valid_until text not null,
       verifier text not null)",
    "create table if not exists sluice_memberships (
       role bigint not null, member bigint not null, primary key (role, member))",
    "create table if not exists sluice_grants (
       kind text not null, schema_name text not null, object_name text not null, grantee bigint not null,
       privilege text not null, is_grantable bigint not null, grantor bigint not null,
       primary key (kind, schema_name, object_name, grantee, privilege))",
    "create table if not exists sluice_comments (
       kind text not null, schema_name text not null, object_name text not null, column_name text not null,
       comment text not null, primary key (kind, schema_name, object_name, column_name))",
    "create table if not exists sluice_primary_keys (
       schema_name text not null, table_name text not null, constraint_name text not null,
       position bigint not null, column_name text not null,
       primary key (schema_name, table_name, position))",
    "create table if not exists sluice_external_tables (
       schema_name text not null, table_name text not null, oid bigint not null, location text not null,
       format text not null, file_schema text not null, partition_schema text not null,
       statistics text not null, primary key (schema_name, table_name))",
];

/// An open store.
#[derive(Debug, Clone)]
pub struct CatalogStore {
    pool: AnyPool,
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
    pub async fn open_file(path: &Path) -> Result<Self> {
        make_private(path).map_err(|error| CatalogError::Store {
            problem: format!("cannot be opened: {}: {error}", path.display()),
        })?;
        let url = format!("sqlite://{}?mode=rwc", path.display());
        // SQLite lets one writer in; one connection keeps ours from meeting each other.
        Self::open(&url, 1).await
    }

    /// Opens the store in a PostgreSQL database, `postgres://user:password@host/database`.
    pub async fn open_url(url: &str) -> Result<Self> {
        Self::open(url, 4).await
    }

    async fn open(url: &str, connections_max: u32) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let pool = AnyPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(std::time::Duration::from_secs(10))
            .connect(url)
            .await?;
        let store = Self { pool };
        store.prepare().await?;
        Ok(store)
    }

    /// Makes the tables and the first version where there is none.
    async fn prepare(&self) -> Result<()> {
        let mut transaction = self.pool.begin().await?;
        for table in TABLES {
            sqlx::query(*table).execute(&mut *transaction).await?;
        }
        let found = sqlx::query("select format from sluice_catalog where id = 1")
            .fetch_optional(&mut *transaction)
            .await?;
        match found {
            Some(row) if row.try_get::<i64, _>(0)? == FORMAT => {}
            Some(row) => {
                let format: i64 = row.try_get(0)?;
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
        transaction.commit().await?;
        Ok(())
    }

    /// The current version.
    pub async fn load(&self) -> Result<Metadata> {
        let mut transaction = self.pool.begin().await?;
        let version = sqlx::query("select version from sluice_catalog where id = 1")
            .fetch_one(&mut *transaction)
            .await?
            .try_get::<i64, _>(0)?;
        let mut metadata = Metadata { version: version as u64, ..Metadata::default() };
        for row in rows(&mut transaction, "select * from sluice_roles order by oid").await? {
            metadata.apply(&Change::PutRole(role(&row)?));
        }
        for row in rows(&mut transaction, "select role, member from sluice_memberships").await? {
            metadata.memberships.push((oid(&row, "role")?, oid(&row, "member")?));
        }
        for row in rows(&mut transaction, "select * from sluice_grants").await? {
            metadata.grants.push(grant(&row)?);
        }
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
        for row in rows(&mut transaction, "select * from sluice_external_tables").await? {
            metadata.apply(&Change::PutTable(Arc::new(table(&row)?)));
        }
        transaction.commit().await?;
        Ok(metadata)
    }

    /// Commits `changes` on top of `from`, whole or not at all, and gives the new version.
    ///
    /// Fails with [`CatalogError::Conflict`] when another commit came first.
    pub async fn commit(&self, from: &Metadata, changes: &[Change]) -> Result<Metadata> {
        let mut transaction = self.pool.begin().await?;
        let moved =
            sqlx::query("update sluice_catalog set version = version + 1 where id = 1 and version = $1")
                .bind(from.version as i64)
                .execute(&mut *transaction)
                .await?;
        if moved.rows_affected() != 1 {
            return Err(CatalogError::Conflict);
        }
        let mut next = from.clone();
        next.version += 1;
        for change in changes {
            write(&mut transaction, change).await?;
            next.apply(change);
        }
        transaction.commit().await?;
        Ok(next)
    }
}

fn first_changes() -> Vec<Change> {
    let first = Metadata::first();
    let roles = first.roles.values().cloned().map(Change::PutRole);
    roles.chain(first.grants.iter().cloned().map(Change::PutGrant)).collect()
}

async fn rows(transaction: &mut Transaction<'static, Any>, sql: &'static str) -> Result<Vec<AnyRow>> {
    Ok(sqlx::query(sql).fetch_all(&mut **transaction).await?)
}

async fn write(transaction: &mut Transaction<'static, Any>, change: &Change) -> Result<()> {
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
                .execute(connection)
                .await?;
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
        }
        Change::AddMember { role, member } => {
            remove_member(transaction, *role, *member).await?;
            sqlx::query("insert into sluice_memberships values ($1, $2)")
                .bind(i64::from(*role))
                .bind(i64::from(*member))
                .execute(&mut **transaction)
                .await?;
        }
        Change::RemoveMember { role, member } => remove_member(transaction, *role, *member).await?,
        Change::PutGrant(grant) => {
            drop_grant(transaction, &grant.object, grant.grantee, grant.privilege).await?;
            let (kind, schema, object) = object_key(&grant.object);
            sqlx::query("insert into sluice_grants values ($1, $2, $3, $4, $5, $6, $7)")
                .bind(kind)
                .bind(schema)
                .bind(object)
                .bind(i64::from(grant.grantee))
                .bind(grant.privilege.as_str())
                .bind(i64::from(grant.is_grantable))
                .bind(i64::from(grant.grantor))
                .execute(&mut **transaction)
                .await?;
        }
        Change::DropGrant { object, grantee, privilege } => {
            drop_grant(transaction, object, *grantee, *privilege).await?;
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
                .bind(PARQUET)
                .bind(stored_definition::schema_to_text(&definition.file_schema)?)
                .bind(stored_definition::schema_to_text(&partitions)?)
                .bind(stored_definition::statistics_to_text(&definition.statistics))
                .execute(&mut **transaction)
                .await?;
        }
        Change::DropTable(name) => {
            for sql in [DELETE_TABLE, DELETE_KEY, DELETE_GRANTS, DELETE_COMMENTS] {
                of_table(transaction, sql, name).await?;
            }
        }
    }
    Ok(())
}

/// The one format of external tables so far.
const PARQUET: &str = "parquet";

/// Runs `sql`, whose parameters are a table's schema and name.
async fn of_table(
    transaction: &mut Transaction<'static, Any>,
    sql: &'static str,
    name: &TableName,
) -> Result<()> {
    sqlx::query(sql).bind(name.schema.clone()).bind(name.table.clone()).execute(&mut **transaction).await?;
    Ok(())
}

const DELETE_TABLE: &str = "delete from sluice_external_tables where schema_name = $1 and table_name = $2";
const DELETE_KEY: &str = "delete from sluice_primary_keys where schema_name = $1 and table_name = $2";
const DELETE_GRANTS: &str =
    "delete from sluice_grants where kind = 'table' and schema_name = $1 and object_name = $2";
const DELETE_COMMENTS: &str = "delete from sluice_comments where kind in ('table', 'column')
     and schema_name = $1 and object_name = $2";

async fn remove_member(transaction: &mut Transaction<'static, Any>, role: u32, member: u32) -> Result<()> {
    sqlx::query("delete from sluice_memberships where role = $1 and member = $2")
        .bind(i64::from(role))
        .bind(i64::from(member))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

async fn drop_grant(
    transaction: &mut Transaction<'static, Any>,
    object: &GrantObject,
    grantee: u32,
    privilege: Privilege,
) -> Result<()> {
    let (kind, schema, object) = object_key(object);
    sqlx::query(
        "delete from sluice_grants where kind = $1 and schema_name = $2 and object_name = $3
         and grantee = $4 and privilege = $5",
    )
    .bind(kind)
    .bind(schema)
    .bind(object)
    .bind(i64::from(grantee))
    .bind(privilege.as_str())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

fn object_key(object: &GrantObject) -> (&'static str, String, String) {
    match object {
        GrantObject::Database => ("database", String::new(), String::new()),
        GrantObject::Schema(name) => ("schema", name.clone(), String::new()),
        GrantObject::Table(name) => ("table", name.schema.clone(), name.table.clone()),
    }
}

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
    })
}

fn table(row: &AnyRow) -> Result<TableDefinition> {
    let format = text(row, "format")?;
    if format != PARQUET {
        let problem =
            format!("holds a table of format {format:?}, which this version of Sluice does not read");
        return Err(CatalogError::Store { problem });
    }
    let partitions = stored_definition::schema_from_text(&text(row, "partition_schema")?)?;
    Ok(TableDefinition {
        name: TableName::new(text(row, "schema_name")?, text(row, "table_name")?),
        oid: oid(row, "oid")?,
        location: text(row, "location")?,
        file_schema: stored_definition::schema_from_text(&text(row, "file_schema")?)?,
        partition_columns: stored_definition::partitions_of_schema(&partitions),
        statistics: stored_definition::statistics_from_text(&text(row, "statistics")?)?,
    })
}

fn grant(row: &AnyRow) -> Result<Grant> {
    let (schema, object) = (text(row, "schema_name")?, text(row, "object_name")?);
    let word = text(row, "privilege")?;
    let unknown = |what: String| CatalogError::Store { problem: format!("holds an unknown {what}") };
    Ok(Grant {
        object: match text(row, "kind")?.as_str() {
            "database" => GrantObject::Database,
            "schema" => GrantObject::Schema(schema),
            "table" => GrantObject::Table(TableName::new(schema, object)),
            other => return Err(unknown(format!("kind of object {other:?}"))),
        },
        grantee: oid(row, "grantee")?,
        privilege: Privilege::from_word(&word).ok_or_else(|| unknown(format!("privilege {word:?}")))?,
        is_grantable: row.try_get::<i64, _>("is_grantable")? != 0,
        grantor: oid(row, "grantor")?,
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

fn oid(row: &AnyRow, name: &str) -> Result<u32> {
    let value: i64 = row.try_get(name)?;
    u32::try_from(value)
        .map_err(|_| CatalogError::Store { problem: format!("holds {value} as an object identifier") })
}
