//! `CREATE SCHEMA`, `DROP SCHEMA` and `ALTER SCHEMA … OWNER TO`.

use catalog::{Change, GrantObject, Metadata, Privilege, TableName};
use engine::{Error, Result};

use super::{Outcome, change, current, denied, meant, metadata, must_be_member, must_own_schema, views};
use crate::coordinator::Coordinator;
use crate::pg_catalog;
use crate::session::{Notice, Session};
use crate::sql::SchemaChange;

/// Carries out one of them.
pub async fn run(coordinator: &Coordinator, session: &mut Session, wanted: &SchemaChange) -> Result<Outcome> {
    match wanted {
        SchemaChange::Create { name, owner, if_not_exists } => {
            create(coordinator, session, name.as_deref(), owner.as_deref(), *if_not_exists).await
        }
        SchemaChange::Drop { names, if_exists, is_cascade } => {
            drop(coordinator, session, names, *if_exists, *is_cascade).await
        }
        SchemaChange::OwnerTo { name, role: wanted } => {
            let metadata = metadata(coordinator, session);
            check_exists(&metadata, name)?;
            let (me, owner) = (current(&metadata, session)?, meant(&metadata, session, wanted)?);
            let object = GrantObject::Schema(name.clone());
            if metadata.owner_of(&object) != owner.oid {
                must_own_schema(&metadata, session, name)?;
                must_be_member(&metadata, session, owner)?;
                if !metadata.allows(me.oid, &GrantObject::Database, Privilege::Create) {
                    return Err(denied("for database postgres"));
                }
            }
            let mut changes = metadata.with_owner(&object, owner.oid);
            changes.push(Change::SetSchemaOwner { schema: name.clone(), owner: owner.oid });
            change(coordinator, session, changes, "ALTER SCHEMA").await?;
            Ok(Outcome::tag("ALTER SCHEMA"))
        }
    }
}

async fn create(
    coordinator: &Coordinator,
    session: &mut Session,
    name: Option<&str>,
    owner: Option<&str>,
    if_not_exists: bool,
) -> Result<Outcome> {
    const TAG: &str = "CREATE SCHEMA";
    let metadata = metadata(coordinator, session);
    let me = current(&metadata, session)?;
    let owner = owner.map_or(Ok(me), |owner| meant(&metadata, session, owner))?;
    let name = name.unwrap_or(&owner.name).to_owned();
    if !metadata.allows(me.oid, &GrantObject::Database, Privilege::Create) {
        return Err(denied("for database postgres"));
    }
    must_be_member(&metadata, session, owner)?;
    if name.starts_with("pg_")
        || name.starts_with("sluice ")
        || name.is_empty()
        || name.chars().any(char::is_control)
    {
        let message = format!("unacceptable schema name \"{name}\"");
        return Err(Error::ReservedName { message });
    }
    let is_alike = |known: &&String| known.to_lowercase() == name.to_lowercase();
    if metadata.schemas.keys().any(|known| is_alike(&known)) || pg_catalog::is_system_schema(&name) {
        if if_not_exists {
            let message = format!("schema \"{name}\" already exists, skipping");
            return Ok(Outcome::with_notices(TAG, vec![Notice::info("42P06", message)]));
        }
        return Err(Error::DuplicateSchema { name });
    }
    let changes = vec![
        Change::CreateSchema { name: name.clone(), uuid: engine::new_uuid() },
        Change::SetSchemaOwner { schema: name, owner: owner.oid },
    ];
    change(coordinator, session, changes, TAG).await?;
    Ok(Outcome::tag(TAG))
}

async fn drop(
    coordinator: &Coordinator,
    session: &mut Session,
    names: &[String],
    if_exists: bool,
    is_cascade: bool,
) -> Result<Outcome> {
    const TAG: &str = "DROP SCHEMA";
    let metadata = metadata(coordinator, session);
    let facts = session.facts();
    let (mut changes, mut notices) = (Vec::new(), Vec::new());
    for name in names {
        if !metadata.schemas.contains_key(name) {
            if pg_catalog::is_system_schema(name) {
                let message = format!("cannot drop schema {name} because it is required by the server");
                return Err(Error::DependentObjects { message, detail: String::new() });
            }
            if !if_exists {
                return Err(Error::UndefinedSchema { name: name.clone(), position: None });
            }
            let message = format!("schema \"{name}\" does not exist, skipping");
            notices.push(Notice::info("00000", message));
            continue;
        }
        must_own_schema(&metadata, session, name)?;
        if name == catalog::DEFAULT_SCHEMA {
            let message = "dropping the schema public is not supported".to_owned();
            return Err(Error::NotSupported { message });
        }
        let tables: Vec<TableName> =
            metadata.tables.keys().filter(|table| table.schema == *name).cloned().collect();
        if let (false, Some(table)) = (is_cascade, tables.first()) {
            return Err(Error::DependentObjects {
                message: format!("cannot drop schema {name} because other objects depend on it"),
                detail: format!("{} depends on schema {name}", table.table),
            });
        }
        let dependents = views::dependents(&metadata, &facts, &tables);
        let gone = tables.len() + dependents.len();
        if gone > 0 {
            notices.push(Notice::info("00000", format!("drop cascades to {gone} other objects")));
        }
        changes.extend(dependents.into_iter().chain(tables).map(Change::DropTable));
        changes.push(Change::DropSchema { name: name.clone() });
    }
    if !changes.is_empty() {
        change(coordinator, session, changes, TAG).await?;
    }
    Ok(Outcome::with_notices(TAG, notices))
}

fn check_exists(metadata: &Metadata, name: &str) -> Result<()> {
    match metadata.schemas.contains_key(name) {
        true => Ok(()),
        false => Err(Error::UndefinedSchema { name: name.to_owned(), position: None }),
    }
}
