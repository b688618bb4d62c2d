//! `GRANT … ON … TO …` and `REVOKE`.

use catalog::{Change, DATABASE, Grant, GrantObject, Metadata, PUBLIC_GRANTEE, Privilege, TableName};
use engine::{Error, Result};

use super::{Outcome, change, current, denied, metadata, role};
use crate::coordinator::Coordinator;
use crate::pg_catalog;
use crate::session::{Notice, Session};
use crate::sql::{GrantOn, Granting};

/// Carries out one GRANT or REVOKE.
pub async fn run(coordinator: &Coordinator, session: &mut Session, wanted: &Granting) -> Result<Outcome> {
    let metadata = metadata(coordinator, session);
    let objects = objects(coordinator, session, &wanted.on)?;
    let grantees = wanted
        .grantees
        .iter()
        .map(|name| match name {
            None => Ok(PUBLIC_GRANTEE),
            Some(name) => Ok(role(&metadata, name)?.oid),
        })
        .collect::<Result<Vec<_>>>()?;
    let mut changes = Vec::new();
    let mut refused = 0;
    for object in &objects {
        let privileges = privileges(object, &wanted.privileges)?;
        for privilege in privileges {
            if !may_grant(&metadata, session, object, privilege)? {
                refused += 1;
                continue;
            }
            for grantee in &grantees {
                changes.push(if wanted.is_grant {
                    Change::PutGrant(Grant {
                        object: object.clone(),
                        grantee: *grantee,
                        privilege,
                        is_grantable: wanted.with_grant_option,
                        grantor: current(&metadata, session)?.oid,
                    })
                } else {
                    Change::DropGrant { object: object.clone(), grantee: *grantee, privilege }
                });
            }
        }
    }
    if changes.is_empty() && refused > 0 {
        return Err(denied(&format!("for {}", objects[0])));
    }
    let tag = if wanted.is_grant { "GRANT" } else { "REVOKE" };
    change(coordinator, session, changes, tag).await?;
    let partly = || Notice::warning("01007", "not all privileges were granted or revoked");
    Ok(Outcome::with_notices(tag, (refused > 0).then(partly).into_iter().collect()))
}

/// Superusers own everything; others may pass on what they were given to pass on.
fn may_grant(
    metadata: &Metadata,
    session: &Session,
    object: &GrantObject,
    privilege: Privilege,
) -> Result<bool> {
    let current = current(metadata, session)?;
    let roles = metadata.roles_of(current.oid);
    let was_given = metadata.grants.iter().any(|grant| {
        grant.object == *object
            && grant.privilege == privilege
            && grant.is_grantable
            && roles.contains(&grant.grantee)
    });
    let is_owner = match object {
        GrantObject::Table(table) => roles.contains(&metadata.owner(table)),
        GrantObject::Schema(schema) => roles.contains(&metadata.schema_owner(schema)),
        GrantObject::Database => false,
    };
    Ok(current.is_superuser || is_owner || was_given)
}

fn objects(coordinator: &Coordinator, session: &Session, on: &GrantOn) -> Result<Vec<GrantObject>> {
    let snapshot = super::snapshot(coordinator, session);
    let check_schema = |name: &String| match snapshot.has_schema(name) || pg_catalog::is_system_schema(name) {
        false => Err(Error::UndefinedSchema { name: name.clone(), position: None }),
        true => Ok(name.clone()),
    };
    match on {
        GrantOn::Tables(tables) => tables
            .iter()
            .map(|(schema, table)| {
                let found = super::keys::find_table(coordinator, session, schema.as_deref(), table)?;
                super::refuse_temporary(&found, "GRANT and REVOKE")?;
                Ok(GrantObject::Table(found))
            })
            .collect(),
        GrantOn::AllTables(schemas) => {
            let schemas = schemas.iter().map(check_schema).collect::<Result<Vec<_>>>()?;
            let tables = snapshot.tables().filter(|table| schemas.contains(&table.name.schema));
            Ok(tables.map(|table| GrantObject::Table(TableName::clone(&table.name))).collect())
        }
        GrantOn::Schemas(schemas) => {
            schemas.iter().map(|name| Ok(GrantObject::Schema(check_schema(name)?))).collect()
        }
        GrantOn::Databases(databases) => databases
            .iter()
            .map(|name| match name.as_str() {
                DATABASE => Ok(GrantObject::Database),
                other => Err(Error::UndefinedDatabase { name: other.to_owned() }),
            })
            .collect(),
    }
}

/// The privileges that `words` name on `object`; all there are when there is no word.
fn privileges(object: &GrantObject, words: &[String]) -> Result<Vec<Privilege>> {
    let (all, kind): (&[Privilege], _) = match object {
        GrantObject::Table(_) => (&Privilege::OF_TABLES, "relation"),
        GrantObject::Schema(_) => (&Privilege::OF_SCHEMAS, "schema"),
        GrantObject::Database => (&Privilege::OF_DATABASES, "database"),
    };
    if words.is_empty() {
        return Ok(all.to_vec());
    }
    words
        .iter()
        .map(|word| {
            if word.contains('(') {
                let message = "privileges on columns are not supported".to_owned();
                return Err(Error::NotSupported { message });
            }
            let privilege = Privilege::from_word(word).filter(|privilege| all.contains(privilege));
            privilege.ok_or_else(|| Error::InvalidGrant {
                message: format!("invalid privilege type {word} for {kind}"),
            })
        })
        .collect()
}
