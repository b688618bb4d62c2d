//! `COMMENT ON`.

use catalog::{Change, CommentTarget, DATABASE, GrantObject};
use engine::{Error, Result};

use super::{Outcome, change, current, metadata, must_own_schema, must_own_table, role};
use crate::coordinator::Coordinator;
use crate::pg_catalog;
use crate::session::Session;
use crate::sql::{CommentOn, RelationKind};

/// Sets a comment, or takes it away.
pub async fn run(
    coordinator: &Coordinator,
    session: &mut Session,
    on: &CommentOn,
    text: Option<&str>,
) -> Result<Outcome> {
    let metadata = metadata(coordinator, session);
    let target = match on {
        CommentOn::Database(name) if name == DATABASE => CommentTarget::Database,
        CommentOn::Database(name) => return Err(Error::UndefinedDatabase { name: name.clone() }),
        CommentOn::Schema(name)
            if metadata.schemas.contains_key(name) || pg_catalog::is_system_schema(name) =>
        {
            CommentTarget::Schema(name.clone())
        }
        CommentOn::Schema(name) => return Err(Error::UndefinedSchema { name: name.clone(), position: None }),
        CommentOn::Role(name) => CommentTarget::Role(role(&metadata, name)?.name.clone()),
        CommentOn::Relation(said, schema, table) => {
            let name = super::keys::find_table(coordinator, session, schema.as_deref(), table)?;
            if let Some(relation) = super::snapshot(coordinator, session).table(&name) {
                let is = super::tables::kind_of(&metadata, relation);
                if is != *said && *said == RelationKind::Table {
                    let message = format!("\"{table}\" is not a table");
                    return Err(Error::WrongObjectType { message });
                }
                super::must_be(&metadata, relation, *said)?;
            }
            CommentTarget::Table(name)
        }
        CommentOn::Column(schema, table, column) => {
            let name = super::keys::find_table(coordinator, session, schema.as_deref(), table)?;
            super::keys::check_column(coordinator, session, &name, column)?;
            CommentTarget::Column(name, column.clone())
        }
    };
    match &target {
        CommentTarget::Table(table) | CommentTarget::Column(table, _) => {
            super::refuse_temporary(table, "COMMENT")?;
            must_own_table(&metadata, session, table)?;
        }
        CommentTarget::Schema(name) => must_own_schema(&metadata, session, name)?,
        CommentTarget::Database => {
            if !metadata.owns(current(&metadata, session)?.oid, &GrantObject::Database) {
                let message = format!("must be owner of database {DATABASE}");
                return Err(Error::PermissionDenied { message });
            }
        }
        CommentTarget::Role(name) => {
            let (me, target) = (current(&metadata, session)?, role(&metadata, name)?);
            let refused = |message: &str| Err(Error::PermissionDenied { message: message.to_owned() });
            if target.is_superuser && !me.is_superuser {
                return refused("must be superuser to comment on a superuser");
            }
            if !me.is_superuser && !me.creates_roles {
                return refused("must have CREATEROLE privilege");
            }
        }
    }
    let changed = Change::Comment { target, text: text.map(str::to_owned) };
    change(coordinator, session, vec![changed], "COMMENT").await?;
    Ok(Outcome::tag("COMMENT"))
}
