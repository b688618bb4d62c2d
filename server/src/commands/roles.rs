//! `CREATE`, `ALTER` and `DROP ROLE`, memberships, `SET ROLE`.

use catalog::{Change, CommentTarget, FIRST_ROLE_OID, Metadata, Role};
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use engine::{Error, Result};

use super::{Outcome, change, current, denied, metadata, role};
use crate::coordinator::Coordinator;
use crate::session::{Notice, Session, settings};
use crate::sql::{Membership, RoleChange, RoleOptions, RoleSetting};
use crate::wire::scram;

/// `SET ROLE name`; without a name, back to the signed-in role.
pub fn set(coordinator: &Coordinator, session: &mut Session, name: Option<&str>) -> Result<Outcome> {
    let metadata = metadata(coordinator, session);
    if let Some(name) = name {
        let wanted = role(&metadata, name)?;
        let signed_in = role(&metadata, &session.user)?;
        if !signed_in.is_superuser && !metadata.roles_of(signed_in.oid).contains(&wanted.oid) {
            return Err(denied(&format!("to set role \"{name}\"")));
        }
    }
    let changed = session.settings.set("role", Some(name.unwrap_or("none")), false)?;
    Ok(Outcome { changed: changed.into_iter().collect(), ..Outcome::tag("SET") })
}

/// Whether the session's role may change `target`.
fn check_may_change(
    metadata: &Metadata,
    session: &Session,
    target: Option<&Role>,
    grants_super: bool,
) -> Result<()> {
    let current = current(metadata, session)?;
    let touches_super = grants_super || target.is_some_and(|role| role.is_superuser);
    if current.is_superuser || (current.creates_roles && !touches_super) {
        return Ok(());
    }
    Err(denied(if touches_super { "to change a superuser" } else { "to create, alter or drop role" }))
}

/// Changes what the sessions of `role` begin with. True when limits are among it.
fn alter_settings(role: &mut Role, session: &Session, wanted: &RoleSetting) -> Result<bool> {
    let (name, value) = match wanted {
        RoleSetting::To(name, value) => (name, value.clone()),
        RoleSetting::FromCurrent(name) => (name, session.settings.get(name)?.to_owned()),
        RoleSetting::Reset(name) => {
            let removed = role.settings.keys().find(|set| set.eq_ignore_ascii_case(name)).cloned();
            let removed = removed.and_then(|name| role.settings.remove_entry(&name));
            return Ok(removed.is_some_and(|(name, _)| settings::is_limit(&name)));
        }
        RoleSetting::ResetAll => {
            let all = std::mem::take(&mut role.settings);
            return Ok(all.keys().any(|name| settings::is_limit(name)));
        }
    };
    let (name, value, is_limit) = settings::for_role(name, &value)?;
    role.settings.insert(name.to_owned(), value);
    Ok(is_limit)
}

/// Carries out one change of roles.
pub async fn run(coordinator: &Coordinator, session: &mut Session, wanted: &RoleChange) -> Result<Outcome> {
    let metadata = metadata(coordinator, session);
    let iterations = coordinator.config.auth.scram_iterations;
    match wanted {
        RoleChange::Create { names, options, in_roles, members } => {
            check_may_change(&metadata, session, None, options.superuser == Some(true))?;
            let mut changes = Vec::new();
            for (next, name) in (metadata.next_role_oid()..).zip(names) {
                check_name(name)?;
                if metadata.roles.contains_key(name) {
                    return Err(Error::DuplicateObject {
                        message: format!("role \"{name}\" already exists"),
                    });
                }
                let mut created = with_options(Role::new(next, name.as_str()), options, iterations)?;
                let maker = current(&metadata, session)?;
                if !maker.is_superuser {
                    // Who makes roles does not get out of limits by it.
                    let limits = maker.settings.iter().filter(|(name, _)| settings::is_limit(name));
                    created.settings.extend(limits.map(|(name, value)| (name.clone(), value.clone())));
                }
                changes.push(Change::PutRole(created));
                for parent in in_roles {
                    changes.push(Change::AddMember { role: role(&metadata, parent)?.oid, member: next });
                }
                for member in members {
                    changes.push(Change::AddMember { role: next, member: role(&metadata, member)?.oid });
                }
            }
            change(coordinator, session, changes, "CREATE ROLE").await?;
            Ok(Outcome::tag("CREATE ROLE"))
        }
        RoleChange::Alter { name, options } => {
            let target = role(&metadata, name)?;
            let is_own_password = name == session.current_user()
                && options.password.is_some()
                && options
                    .superuser
                    .or(options.login)
                    .or(options.create_role)
                    .or(options.create_db)
                    .is_none();
            if !is_own_password {
                check_may_change(&metadata, session, Some(target), options.superuser == Some(true))?;
            }
            if target.oid == FIRST_ROLE_OID && options.superuser == Some(false) {
                let message = format!("role \"{name}\" must stay a superuser");
                return Err(Error::NotSupported { message });
            }
            let altered = with_options(target.clone(), options, iterations)?;
            change(coordinator, session, vec![Change::PutRole(altered)], "ALTER ROLE").await?;
            Ok(Outcome::tag("ALTER ROLE"))
        }
        RoleChange::Rename { name, to } => {
            let target = role(&metadata, name)?;
            check_may_change(&metadata, session, Some(target), false)?;
            check_name(to)?;
            if target.oid == FIRST_ROLE_OID || name == &session.user {
                return Err(Error::NotSupported { message: "session user cannot be renamed".into() });
            }
            if metadata.roles.contains_key(to) {
                return Err(Error::DuplicateObject { message: format!("role \"{to}\" already exists") });
            }
            let renamed = Role { name: to.clone(), ..target.clone() };
            change(coordinator, session, vec![Change::PutRole(renamed)], "ALTER ROLE").await?;
            Ok(Outcome::tag("ALTER ROLE"))
        }
        RoleChange::Set { name, setting } => {
            let target = role(&metadata, name)?;
            let mut altered = target.clone();
            let touches_limits = alter_settings(&mut altered, session, setting)?;
            let is_own = name == session.current_user() && !touches_limits;
            if !is_own {
                check_may_change(&metadata, session, Some(target), false)?;
            }
            if touches_limits && !current(&metadata, session)?.is_superuser {
                return Err(denied("to change the limits of a role"));
            }
            change(coordinator, session, vec![Change::PutRole(altered)], "ALTER ROLE").await?;
            Ok(Outcome::tag("ALTER ROLE"))
        }
        RoleChange::Drop { names, if_exists } => {
            let mut changes = Vec::new();
            let mut notices = Vec::new();
            for name in names {
                let Some(target) = metadata.roles.get(name) else {
                    if *if_exists {
                        notices
                            .push(Notice::info("00000", format!("role \"{name}\" does not exist, skipping")));
                        continue;
                    }
                    return Err(role(&metadata, name).err().unwrap_or_else(|| denied("")));
                };
                check_may_change(&metadata, session, Some(target), false)?;
                if target.oid == FIRST_ROLE_OID || name == &session.user || name == session.current_user() {
                    return Err(Error::NotSupported { message: "current user cannot be dropped".into() });
                }
                if let Some(grant) = metadata.grants.iter().find(|grant| grant.grantee == target.oid) {
                    return Err(Error::DependentObjects {
                        message: format!(
                            "role \"{name}\" cannot be dropped because some objects depend on it"
                        ),
                        detail: format!("privileges for {}", grant.object),
                    });
                }
                if let Some((table, _)) = metadata.owners.iter().find(|(_, owner)| **owner == target.oid) {
                    return Err(Error::DependentObjects {
                        message: format!(
                            "role \"{name}\" cannot be dropped because some objects depend on it"
                        ),
                        detail: format!("owner of table {}", table.table),
                    });
                }
                if let Some((schema, _)) =
                    metadata.schema_owners.iter().find(|(_, owner)| **owner == target.oid)
                {
                    return Err(Error::DependentObjects {
                        message: format!(
                            "role \"{name}\" cannot be dropped because some objects depend on it"
                        ),
                        detail: format!("owner of schema {schema}"),
                    });
                }
                changes.push(Change::DropRole { oid: target.oid });
                // Another role of this name must not inherit what was said of this one.
                changes.push(Change::Comment { target: CommentTarget::Role(name.clone()), text: None });
            }
            change(coordinator, session, changes, "DROP ROLE").await?;
            Ok(Outcome::with_notices("DROP ROLE", notices))
        }
    }
}

/// `GRANT role TO role` and its opposite.
pub async fn membership(
    coordinator: &Coordinator,
    session: &mut Session,
    wanted: &Membership,
) -> Result<Outcome> {
    let metadata = metadata(coordinator, session);
    let mut changes = Vec::new();
    let mut notices = Vec::new();
    for parent in &wanted.roles {
        let parent = role(&metadata, parent)?;
        check_may_change(&metadata, session, Some(parent), false)?;
        for member in &wanted.members {
            let member = role(&metadata, member)?;
            let is_member = metadata.memberships.contains(&(parent.oid, member.oid));
            if wanted.is_grant && metadata.roles_of(parent.oid).contains(&member.oid) {
                let message = format!("role \"{}\" is a member of role \"{}\"", parent.name, member.name);
                return Err(Error::InvalidGrant { message });
            }
            if is_member == wanted.is_grant {
                let verb = if is_member { "is already" } else { "is not" };
                let text = format!("role \"{}\" {verb} a member of role \"{}\"", member.name, parent.name);
                notices.push(match wanted.is_grant {
                    true => Notice::info("00000", text),
                    false => Notice::warning("01000", text),
                });
            } else if wanted.is_grant {
                changes.push(Change::AddMember { role: parent.oid, member: member.oid });
            } else {
                changes.push(Change::RemoveMember { role: parent.oid, member: member.oid });
            }
        }
    }
    let tag = if wanted.is_grant { "GRANT ROLE" } else { "REVOKE ROLE" };
    change(coordinator, session, changes, tag).await?;
    Ok(Outcome::with_notices(tag, notices))
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.contains('\0') || ["public", "none"].contains(&name) || name.starts_with("pg_")
    {
        return Err(Error::ReservedName { message: format!("role name \"{name}\" is reserved") });
    }
    Ok(())
}

fn with_options(mut role: Role, options: &RoleOptions, iterations: u32) -> Result<Role> {
    let set = |to: &mut bool, from: Option<bool>| *to = from.unwrap_or(*to);
    set(&mut role.is_superuser, options.superuser);
    set(&mut role.can_login, options.login);
    set(&mut role.inherits, options.inherit);
    set(&mut role.creates_roles, options.create_role);
    set(&mut role.creates_databases, options.create_db);
    role.connection_limit = options.connection_limit.unwrap_or(role.connection_limit);
    if let Some(text) = &options.valid_until {
        role.valid_until = valid_until(text)?;
    }
    match &options.password {
        None => {}
        Some(None) => role.verifier = None,
        // PostgreSQL takes an empty password for none, with a notice.
        Some(Some(password)) if password.is_empty() => role.verifier = None,
        Some(Some(password)) => role.verifier = Some(scram::verifier(password, iterations)),
    }
    Ok(role)
}

/// Microseconds since 1970 of a point in time; `None` for `infinity`.
fn valid_until(text: &str) -> Result<Option<i64>> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("infinity") {
        return Ok(None);
    }
    let with_zone =
        |text: &str| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z").map(|t| t.timestamp_micros());
    let without = || {
        let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S%.f"];
        formats
            .iter()
            .find_map(|f| NaiveDateTime::parse_from_str(text, f).ok())
            .map(|t| t.and_utc().timestamp_micros())
    };
    let day = || {
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?;
        Some(day.and_utc().timestamp_micros())
    };
    let found = with_zone(text).ok().or_else(without).or_else(day);
    found.map(Some).ok_or_else(|| Error::InvalidDatetime {
        message: format!("invalid input syntax for type timestamp with time zone: \"{text}\""),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_password_is_a_point_in_time() {
        assert_eq!(valid_until("infinity").expect("never"), None);
        assert_eq!(valid_until("1970-01-02").expect("a day"), Some(86_400_000_000));
        assert_eq!(valid_until("1970-01-01 01:00:00+01").expect("an instant"), Some(0));
        assert_eq!(valid_until("soon").expect_err("no time").sqlstate().as_str(), "22007");
    }
}
