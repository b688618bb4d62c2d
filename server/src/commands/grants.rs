//! `GRANT … ON … TO …` and `REVOKE`, as PostgreSQL 15 does them (its `aclchk.c`).

use catalog::{DATABASE, GrantObject, GrantProblem, Granted, Metadata, PUBLIC_GRANTEE, Privilege, TableName};
use engine::{Error, Result};

use super::{Outcome, change, current, kind_of, meant, metadata, role_oid};
use crate::coordinator::Coordinator;
use crate::pg_catalog;
use crate::query::check_may_look_into;
use crate::session::{Notice, Session};
use crate::sql::{GrantOn, Granting};

/// Carries out one GRANT or REVOKE.
pub async fn run(coordinator: &Coordinator, session: &mut Session, wanted: &Granting) -> Result<Outcome> {
    let metadata = metadata(coordinator, session);
    let me = current(&metadata, session)?.oid;
    if let Some(name) = &wanted.granted_by
        && meant(&metadata, session, name)?.oid != me
    {
        return Err(Error::NotSupported { message: "grantor must be current user".into() });
    }
    let objects = objects(coordinator, session, &wanted.on)?;
    let grantees = wanted
        .grantees
        .iter()
        .map(|name| match name {
            None => Ok(PUBLIC_GRANTEE),
            Some(name) => Ok(meant(&metadata, session, name)?.oid),
        })
        .collect::<Result<Vec<_>>>()?;
    let (mut changes, mut notices) = (Vec::new(), Vec::new());
    for object in &objects {
        let privileges = privileges(object, &wanted.privileges)?;
        let (grantor, may) = metadata.grantor(me, object, &privileges);
        let may_try = match wanted.is_grant {
            true => !may.is_empty() || metadata.allows_some(me, object, all_of(object)),
            false => may_revoke(&metadata, me, object, &privileges),
        };
        if !may_try {
            return Err(Error::PermissionDenied {
                message: format!("permission denied for {}", described(&metadata, object)),
            });
        }
        notices.extend(told(wanted, object, may.len(), privileges.len()));
        let granted = Granted { object, privileges: &may, grantor };
        let found = match wanted.is_grant {
            true => metadata.granting(&granted, &grantees, wanted.with_grant_option),
            false => metadata.revoking(&granted, &grantees, wanted.with_grant_option, wanted.is_cascade),
        };
        changes.extend(found.map_err(refused)?);
    }
    let tag = if wanted.is_grant { "GRANT" } else { "REVOKE" };
    change(coordinator, session, changes, tag).await?;
    Ok(Outcome::with_notices(tag, notices))
}

/// Whether `role` has enough of `object` to try to revoke `privileges` on it. As in PostgreSQL, what columns can have too is
/// revoked of them as well: who has nothing that a column can have is refused.
fn may_revoke(metadata: &Metadata, role: u32, object: &GrantObject, privileges: &[Privilege]) -> bool {
    let has_some = |wanted: &[Privilege], all: &[Privilege]| {
        !metadata.grantor(role, object, wanted).1.is_empty() || metadata.allows_some(role, object, all)
    };
    let of_columns: Vec<Privilege> =
        privileges.iter().copied().filter(|privilege| Privilege::OF_COLUMNS.contains(privilege)).collect();
    let is_about_columns = matches!(object, GrantObject::Table(_)) && !of_columns.is_empty();
    has_some(privileges, all_of(object))
        && (!is_about_columns || has_some(&of_columns, &Privilege::OF_COLUMNS))
}

/// What the client is told when not all of it could be done.
fn told(wanted: &Granting, object: &GrantObject, may: usize, asked: usize) -> Option<Notice> {
    let name = name_of(object);
    // Who asks for all gets what there is.
    let is_part = may < asked && !wanted.privileges.is_empty();
    let text = match (wanted.is_grant, may) {
        (true, 0) => format!("no privileges were granted for \"{name}\""),
        (true, _) if is_part => format!("not all privileges were granted for \"{name}\""),
        (false, 0) => format!("no privileges could be revoked for \"{name}\""),
        (false, _) if is_part => format!("not all privileges could be revoked for \"{name}\""),
        _ => return None,
    };
    Some(Notice::warning(if wanted.is_grant { "01007" } else { "01006" }, text))
}

fn refused(problem: GrantProblem) -> Error {
    match problem {
        GrantProblem::OptionForPublic => {
            Error::InvalidGrant { message: "grant options can only be granted to roles".into() }
        }
        GrantProblem::Circular => {
            Error::InvalidGrant { message: "grant options cannot be granted back to your own grantor".into() }
        }
        GrantProblem::Dependents => Error::DependentObjects {
            message: "dependent privileges exist".into(),
            detail: "Use CASCADE to revoke them too.".into(),
        },
    }
}

fn name_of(object: &GrantObject) -> &str {
    match object {
        GrantObject::Database => DATABASE,
        GrantObject::Schema(name) => name,
        GrantObject::Table(name) => &name.table,
    }
}

fn described(metadata: &Metadata, object: &GrantObject) -> String {
    let kind = match object {
        GrantObject::Database => "database",
        GrantObject::Schema(_) => "schema",
        GrantObject::Table(name) => kind_of(metadata, name),
    };
    format!("{kind} {}", name_of(object))
}

fn all_of(object: &GrantObject) -> &'static [Privilege] {
    match object {
        GrantObject::Table(_) => &Privilege::OF_TABLES,
        GrantObject::Schema(_) => &Privilege::OF_SCHEMAS,
        GrantObject::Database => &Privilege::OF_DATABASES,
    }
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
            let metadata = snapshot.metadata();
            let role = role_oid(metadata, session);
            schemas.iter().try_for_each(|schema| check_may_look_into(metadata, role, Some(schema)))?;
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
    let all = all_of(object);
    let kind = match object {
        GrantObject::Table(_) => "relation",
        GrantObject::Schema(_) => "schema",
        GrantObject::Database => "database",
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
