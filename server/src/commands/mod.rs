//! Statements that are not queries, one file for each family. What they change in the catalog is
//! committed at once, or with the transaction block they stand in.

pub mod analyze;
mod comments;
mod export;
mod grants;
mod keys;
mod layout;
mod locks;
mod managed;
mod readers;
pub mod rewrite;
mod roles;
mod schemas;
mod settings;
mod tables;
pub mod transaction;
pub mod vacuum;
mod views;
pub mod write;

use std::sync::Arc;

use catalog::{Change, GrantObject, Metadata, Role, Snapshot, TableDefinition, TableName};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use engine::{Error, Result};

use crate::coordinator::Coordinator;
use crate::session::{
    Notice, Session, SettingDescription, TEMPORARY_SCHEMA, Temporary, Transaction, is_temporary,
};
use crate::sql::{Command, RelationKind};

/// The columns a command gives, when it gives rows.
pub fn columns(command: &Command) -> Option<SchemaRef> {
    match command {
        Command::CheckLayout { .. } => Some(layout::columns()),
        command => settings::columns(command),
    }
}

/// What a command leaves to be told to the client.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The tag of CommandComplete.
    pub tag: String,
    /// Rows of a `SHOW`.
    pub rows: Option<RecordBatch>,
    /// Settings whose new value the client must be told.
    pub changed: Vec<&'static SettingDescription>,
    /// What to tell first.
    pub notices: Vec<Notice>,
    /// A transaction ended: by a commit, or not.
    pub ended: Option<bool>,
    /// It went back to a savepoint: cursors with this number, or a higher one, are closed.
    pub back_to: Option<u64>,
}

impl Outcome {
    fn tag(tag: impl Into<String>) -> Self {
        Self { tag: tag.into(), ..Self::default() }
    }

    fn with_notices(tag: impl Into<String>, notices: Vec<Notice>) -> Self {
        Self { notices, ..Self::tag(tag) }
    }
}

/// Carries out `command` in `session`. Queries, cursors and copies are not commands: they have rows of
/// their own.
pub async fn run(
    coordinator: &Arc<Coordinator>,
    session: &mut Session,
    command: &Command,
) -> Result<Outcome> {
    match command {
        Command::Set { name, value, is_local } => {
            settings::set(coordinator, session, name, value.as_deref(), *is_local)
        }
        Command::Show { name } => settings::show(session, name),
        Command::Reset { name } => settings::reset(coordinator, session, name.as_deref()),
        Command::Discard { what } => settings::discard(coordinator, session, what),
        Command::Deallocate { name } => settings::deallocate(session, name.as_deref()),
        Command::Transaction(step) => transaction::run(coordinator, session, step).await,
        Command::Accepted { tag } => Ok(Outcome::tag(*tag)),
        Command::Role(change) => roles::run(coordinator, session, change).await,
        Command::Membership(change) => roles::membership(coordinator, session, change).await,
        Command::Granting(granting) => grants::run(coordinator, session, granting).await,
        Command::Comment { on, text } => comments::run(coordinator, session, on, text.as_deref()).await,
        Command::CreateTable(table) => tables::create(coordinator, session, table).await,
        Command::DropTable(names) => tables::drop(coordinator, session, names).await,
        Command::RefreshTable { schema, table } => {
            tables::refresh(coordinator, session, schema.as_deref(), table).await
        }
        Command::RefreshLocations => tables::refresh_locations(coordinator, session).await,
        Command::CreateView(make) => views::create(coordinator, session, make).await,
        Command::CheckLayout { schema, table } => {
            layout::check(coordinator, session, schema.as_deref(), table).await
        }
        Command::Vacuum { tables, .. } => vacuum::run(coordinator, session, tables).await,
        Command::Lock(tables) => locks::run(coordinator, session, tables),
        Command::Schema(change) => schemas::run(coordinator, session, change).await,
        Command::MakeTable(make) => managed::create(coordinator, session, make).await,
        Command::Truncate(names) => managed::truncate(coordinator, session, names).await,
        Command::AlterTable(alter) => managed::alter(coordinator, session, alter).await,
        Command::Key(change) => keys::run(coordinator, session, change).await,
        Command::Query(_)
        | Command::Write(_)
        | Command::ExplainWrite(..)
        | Command::ChangeRows(_)
        | Command::Declare(_)
        | Command::Fetch(_)
        | Command::Close { .. }
        | Command::Prepare { .. }
        | Command::Execute { .. }
        | Command::Copy(_)
        | Command::CopyFrom(_)
        | Command::Rewrite(_)
        | Command::Analyze(_)
        | Command::CopyIn(_) => Err(Error::internal("a statement with rows was taken for a command")),
    }
}

/// Refuses what takes effect at once in a transaction that could still be rolled back.
fn must_be_outside_of_block(session: &Session, what: &str) -> Result<()> {
    let message = match session.transaction {
        Transaction::Idle => return Ok(()),
        Transaction::Pipelined => format!("{what} cannot be executed within a pipeline"),
        _ => format!("{what} cannot run inside a transaction block"),
    };
    Err(Error::ActiveTransaction { message })
}

/// The catalog as the session sees it, its block's own changes included.
fn metadata(coordinator: &Coordinator, session: &Session) -> Arc<Metadata> {
    session.metadata(coordinator.snapshot().metadata())
}

/// The tables as the session sees them, those of its block included.
fn snapshot(coordinator: &Coordinator, session: &Session) -> Arc<Snapshot> {
    session.snapshot(coordinator.snapshot())
}

/// Gives the session a place for tables of its own, before it makes one.
pub fn open_temporary(coordinator: &Coordinator, session: &mut Session) -> Result<()> {
    if session.temporary.is_none() {
        session.temporary = Some(Temporary::open(&coordinator.writes, coordinator.store.data_folder())?);
    }
    Ok(())
}

/// Commits `changes`, or keeps them for the end of the block.
async fn change(
    coordinator: &Coordinator,
    session: &mut Session,
    changes: Vec<Change>,
    statement: &str,
) -> Result<()> {
    let current = metadata(coordinator, session);
    change_from(coordinator, session, current, changes, statement).await
}

/// The same on top of `current`, the version that the changes were decided on: 40001 when another commit
/// came between.
async fn change_from(
    coordinator: &Coordinator,
    session: &mut Session,
    current: Arc<Metadata>,
    changes: Vec<Change>,
    statement: &str,
) -> Result<()> {
    session.check_may_write(statement)?;
    let in_block = session.transaction.is_going_on();
    let (own, changes): (Vec<Change>, Vec<Change>) = changes.into_iter().partition(is_temporary);
    if !in_block {
        if !changes.is_empty() {
            coordinator.commit(&current, &changes, session.settings.is_serializable()).await?;
        }
        apply_own(session, &own, false);
        return Ok(());
    }
    apply_own(session, &own, true);
    if changes.is_empty() {
        return Ok(());
    }
    let pending = &mut session.pending;
    pending.from.get_or_insert_with(|| Arc::clone(&current));
    let mut overlay = Metadata::clone(&current);
    changes.iter().for_each(|change| overlay.apply(change));
    pending.overlay = Some(Arc::new(overlay));
    pending.changes.extend(changes);
    Ok(())
}

/// Carries out changes of the session's own tables.
fn apply_own(session: &mut Session, changes: &[Change], in_block: bool) {
    if let Some(temporary) = &mut session.temporary {
        changes.iter().for_each(|change| temporary.apply(change, in_block));
    }
}

/// Grants, comments and keys are kept for all: a table of the session's own has none.
fn refuse_temporary(table: &TableName, what: &str) -> Result<()> {
    if table.schema == TEMPORARY_SCHEMA {
        return Err(Error::NotSupported { message: format!("{what} on a temporary table is not supported") });
    }
    Ok(())
}

fn role<'a>(metadata: &'a Metadata, name: &str) -> Result<&'a Role> {
    metadata
        .roles
        .get(name)
        .ok_or_else(|| Error::UndefinedObject { message: format!("role \"{name}\" does not exist") })
}

/// The role that a statement means by `name`, which may be one of PostgreSQL's words for the session's own.
fn meant<'a>(metadata: &'a Metadata, session: &Session, name: &str) -> Result<&'a Role> {
    match name {
        "current_user" | "current_role" => current(metadata, session),
        "session_user" => role(metadata, session.session_user()),
        name => role(metadata, name),
    }
}

/// Refuses to give something to a role that the session's is no member of.
fn must_be_member(metadata: &Metadata, session: &Session, of: &Role) -> Result<()> {
    match metadata.is_member(current(metadata, session)?.oid, of.oid) {
        true => Ok(()),
        false => Err(Error::PermissionDenied { message: format!("must be member of role \"{}\"", of.name) }),
    }
}

/// The role whose privileges count.
fn current<'a>(metadata: &'a Metadata, session: &Session) -> Result<&'a Role> {
    role(metadata, session.current_user())
}

fn denied(what: &str) -> Error {
    Error::PermissionDenied { message: format!("permission denied {what}") }
}

/// Refuses what only the owner of a schema may do.
fn must_own_schema(metadata: &Metadata, session: &Session, name: &str) -> Result<()> {
    match metadata.owns(current(metadata, session)?.oid, &GrantObject::Schema(name.to_owned())) {
        true => Ok(()),
        false => Err(Error::PermissionDenied { message: format!("must be owner of schema {name}") }),
    }
}

/// The object identifier of the role whose privileges count; 0, which may do nothing, when there is no such role any more.
fn role_oid(metadata: &Metadata, session: &Session) -> u32 {
    metadata.roles.get(session.current_user()).map_or(0, |role| role.oid)
}

/// Refuses what only the owner of a table may do.
fn must_own_table(metadata: &Metadata, session: &Session, table: &TableName) -> Result<()> {
    if table.schema == TEMPORARY_SCHEMA {
        return Ok(());
    }
    if metadata.owns(current(metadata, session)?.oid, &GrantObject::Table(table.clone())) {
        return Ok(());
    }
    let kind = kind_of(metadata, table);
    Err(Error::PermissionDenied { message: format!("must be owner of {kind} {}", table.table) })
}

/// Refuses a relation of another kind than it is said to be (42809). A table may be anything.
fn must_be(metadata: &Metadata, relation: &TableDefinition, said: RelationKind) -> Result<()> {
    let is = tables::kind_of(metadata, relation);
    let kind = match said {
        RelationKind::View => "view",
        RelationKind::MaterializedView => "materialized view",
        RelationKind::Table => return Ok(()),
    };
    match is == said {
        true => Ok(()),
        false => {
            Err(Error::WrongObjectType { message: format!("\"{}\" is not a {kind}", relation.name.table) })
        }
    }
}

/// What PostgreSQL calls the kind of a relation.
fn kind_of(metadata: &Metadata, table: &TableName) -> &'static str {
    match metadata.tables.get(table) {
        Some(_) if metadata.materialized.contains_key(table) => "materialized view",
        Some(known) if known.view.is_some() => "view",
        _ => "table",
    }
}

/// The change that gives a table that `session` makes to its role.
fn owned(metadata: &Metadata, session: &Session, table: &TableName) -> Result<Change> {
    Ok(Change::SetOwner { table: table.clone(), owner: current(metadata, session)?.oid })
}
