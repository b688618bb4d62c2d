//! `CREATE`, `ALTER` and `DROP ROLE`, and memberships. Who may do what is PostgreSQL 15's rule (its `user.c`).

use catalog::{Change, CommentTarget, FIRST_ROLE_OID, Membership as Member, Metadata, Role};
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use engine::{Error, Result};

use super::{Outcome, change, current, meant, metadata, role};
use crate::coordinator::Coordinator;
use crate::session::{Notice, Session, settings};
use crate::sql::{Membership, RoleChange, RoleOptions, RoleSetting};
use crate::wire::scram;

/// Carries out one change of roles.
pub async fn run(coordinator: &Coordinator, session: &mut Session, wanted: &RoleChange) -> Result<Outcome> {
    let metadata = metadata(coordinator, session);
    let iterations = coordinator.config.auth.scram_iterations;
    let (tag, changes, notices) = match wanted {
        RoleChange::Create { names, options, in_roles, members, admins } => {
            let joins = Joins { in_roles, members, admins };
            ("CREATE ROLE", create(&metadata, session, names, options, &joins, iterations)?, Vec::new())
        }
        RoleChange::Alter { name, options } => {
            ("ALTER ROLE", alter(&metadata, session, name, options, iterations)?, Vec::new())
        }
        RoleChange::Rename { name, to } => ("ALTER ROLE", rename(&metadata, session, name, to)?, Vec::new()),
        RoleChange::Set { name, setting } => {
            ("ALTER ROLE", alter_settings(&metadata, session, name, setting)?, Vec::new())
        }
        RoleChange::Drop { names, if_exists } => {
            let (changes, notices) = drop(&metadata, session, names, *if_exists)?;
            ("DROP ROLE", changes, notices)
        }
    };
    change(coordinator, session, changes, tag).await?;
    Ok(Outcome::with_notices(tag, notices))
}

/// Memberships that a new role begins with.
struct Joins<'a> {
    in_roles: &'a [String],
    members: &'a [String],
    admins: &'a [String],
}

fn create(
    metadata: &Metadata,
    session: &Session,
    names: &[String],
    options: &RoleOptions,
    joins: &Joins<'_>,
    iterations: u32,
) -> Result<Vec<Change>> {
    let maker = current(metadata, session)?;
    if !maker.is_superuser {
        for (wanted, what) in [
            (options.superuser, "superusers"),
            (options.replication, "replication users"),
            (options.bypass_rls, "bypassrls users"),
        ] {
            if wanted == Some(true) {
                return Err(denied(format!("must be superuser to create {what}")));
            }
        }
        if !maker.creates_roles {
            return Err(denied("permission denied to create role"));
        }
    }
    check_options(options)?;
    let mut changes = Vec::new();
    for (oid, name) in (metadata.next_role_oid()..).zip(names) {
        check_name(name)?;
        if metadata.roles.contains_key(name) {
            return Err(Error::DuplicateObject { message: format!("role \"{name}\" already exists") });
        }
        let mut created = with_options(Role::new(oid, name.as_str()), options, iterations)?;
        if !maker.is_superuser {
            // Who makes roles does not get out of limits by it: neither those of the role nor those of the session.
            let of_role = maker.settings.iter().map(|(name, value)| (name.as_str(), value));
            let of_session = session.settings.ceilings().iter().map(|(name, value)| (*name, value));
            let limits = of_role.chain(of_session).filter(|(name, _)| settings::is_limit(name));
            created.settings.extend(limits.map(|(name, value)| (name.to_owned(), value.clone())));
        }
        changes.push(Change::PutRole(created));
        let join = |role: u32, member: u32, is_admin: bool| {
            Change::AddMember(Member { role, member, is_admin, grantor: maker.oid })
        };
        for parent in joins.in_roles {
            let parent = meant(metadata, session, parent)?;
            check_may_add_members(metadata, session, parent)?;
            changes.push(join(parent.oid, oid, false));
        }
        for (members, is_admin) in [(joins.members, false), (joins.admins, true)] {
            for member in members {
                let member = meant(metadata, session, member)?;
                let roles = joins.in_roles.iter().filter_map(|name| metadata.roles.get(name));
                if roles.into_iter().any(|role| metadata.roles_of(role.oid).contains(&member.oid)) {
                    let message = format!("role \"{name}\" is a member of role \"{}\"", member.name);
                    return Err(Error::InvalidGrant { message });
                }
                changes.push(join(oid, member.oid, is_admin));
            }
        }
    }
    Ok(changes)
}

fn alter(
    metadata: &Metadata,
    session: &Session,
    name: &str,
    options: &RoleOptions,
    iterations: u32,
) -> Result<Vec<Change>> {
    let target = meant(metadata, session, name)?;
    let me = current(metadata, session)?;
    if !me.is_superuser {
        if target.is_superuser || options.superuser.is_some() {
            return Err(denied("must be superuser to alter superuser roles or change superuser attribute"));
        }
        if options.replication.is_some() {
            return Err(denied(
                "must be superuser to alter replication roles or change replication attribute",
            ));
        }
        if options.bypass_rls.is_some() {
            return Err(denied("must be superuser to change bypassrls attribute"));
        }
        // Of one's own options only the password is one's own to change.
        let others = RoleOptions { password: None, ..options.clone() };
        let is_own_password =
            target.oid == me.oid && options.password.is_some() && others == RoleOptions::default();
        if !me.creates_roles && !is_own_password {
            return Err(denied("permission denied"));
        }
    }
    check_options(options)?;
    if target.oid == FIRST_ROLE_OID && options.superuser == Some(false) {
        let message = format!("role \"{}\" must stay a superuser", target.name);
        return Err(Error::NotSupported { message });
    }
    Ok(vec![Change::PutRole(with_options(target.clone(), options, iterations)?)])
}

fn rename(metadata: &Metadata, session: &Session, name: &str, to: &str) -> Result<Vec<Change>> {
    let target = role(metadata, name)?;
    if target.name == session.session_user() {
        return Err(Error::NotSupported { message: "session user cannot be renamed".into() });
    }
    if target.name == session.current_user() {
        return Err(Error::NotSupported { message: "current user cannot be renamed".into() });
    }
    if target.oid == FIRST_ROLE_OID || target.name == session.user {
        return Err(Error::NotSupported { message: format!("role \"{name}\" cannot be renamed") });
    }
    check_name(to)?;
    if metadata.roles.contains_key(to) {
        return Err(Error::DuplicateObject { message: format!("role \"{to}\" already exists") });
    }
    let me = current(metadata, session)?;
    if target.is_superuser && !me.is_superuser {
        return Err(denied("must be superuser to rename superusers"));
    }
    if !me.is_superuser && !me.creates_roles {
        return Err(denied("permission denied to rename role"));
    }
    Ok(vec![Change::PutRole(Role { name: to.to_owned(), ..target.clone() })])
}

/// Changes what the sessions of a role begin with.
fn alter_settings(
    metadata: &Metadata,
    session: &Session,
    name: &str,
    wanted: &RoleSetting,
) -> Result<Vec<Change>> {
    let target = meant(metadata, session, name)?;
    let me = current(metadata, session)?;
    if !me.is_superuser {
        if target.is_superuser {
            return Err(denied("must be superuser to alter superusers"));
        }
        if !me.creates_roles && target.oid != me.oid {
            return Err(denied("permission denied"));
        }
    }
    let mut altered = target.clone();
    let set = |altered: &mut Role, name: &str, value: &str| {
        let (name, value, is_for_superusers) = settings::for_role(name, value)?;
        altered.settings.insert(name.to_owned(), value);
        Ok::<_, Error>(is_for_superusers.then_some(name))
    };
    let touched = match wanted {
        RoleSetting::To(name, value) => set(&mut altered, name, value)?,
        RoleSetting::FromCurrent(name) => set(&mut altered, name, session.settings.get(name)?)?,
        RoleSetting::Reset(name) => {
            let known = altered.settings.keys().find(|set| set.eq_ignore_ascii_case(name)).cloned();
            known.iter().for_each(|name| {
                altered.settings.remove(name);
            });
            let (name, _, is_for_superusers) = settings::for_role(name, session.settings.get(name)?)?;
            (is_for_superusers && known.is_some()).then_some(name)
        }
        RoleSetting::ResetAll => {
            // As in PostgreSQL, who is no superuser resets what it may, and leaves the rest.
            altered.settings.retain(|name, _| !me.is_superuser && settings::is_for_superusers(name));
            None
        }
    };
    match touched {
        Some(name) if !me.is_superuser => {
            Err(denied(format!("permission denied to set parameter \"{name}\"")))
        }
        _ => Ok(vec![Change::PutRole(altered)]),
    }
}

fn drop(
    metadata: &Metadata,
    session: &Session,
    names: &[String],
    if_exists: bool,
) -> Result<(Vec<Change>, Vec<Notice>)> {
    let me = current(metadata, session)?;
    if !me.is_superuser && !me.creates_roles {
        return Err(denied("permission denied to drop role"));
    }
    let (mut changes, mut notices) = (Vec::new(), Vec::new());
    for name in names {
        if ["current_user", "current_role", "session_user", "public"].contains(&name.as_str()) {
            return Err(Error::InvalidParameterValue {
                message: "cannot use special role specifier in DROP ROLE".into(),
            });
        }
        let Some(target) = metadata.roles.get(name) else {
            if !if_exists {
                return Err(Error::UndefinedObject { message: format!("role \"{name}\" does not exist") });
            }
            notices.push(Notice::info("00000", format!("role \"{name}\" does not exist, skipping")));
            continue;
        };
        if name == session.current_user() {
            return Err(Error::ObjectInUse { message: "current user cannot be dropped".into() });
        }
        if name == session.session_user() || *name == session.user {
            return Err(Error::ObjectInUse { message: "session user cannot be dropped".into() });
        }
        if target.is_superuser && !me.is_superuser {
            return Err(denied("must be superuser to drop superusers"));
        }
        if let Some(detail) = dependent(metadata, target) {
            let message = format!("role \"{name}\" cannot be dropped because some objects depend on it");
            return Err(Error::DependentObjects { message, detail });
        }
        changes.push(Change::DropRole { oid: target.oid });
        // Another role of this name must not inherit what was said of this one.
        changes.push(Change::Comment { target: CommentTarget::Role(name.clone()), text: None });
    }
    Ok((changes, notices))
}

/// What there is that names `role`.
fn dependent(metadata: &Metadata, role: &Role) -> Option<String> {
    if role.oid == FIRST_ROLE_OID {
        return Some("it is required by the database system".into());
    }
    let owner = |owner: &u32| *owner == role.oid;
    if let Some((table, _)) = metadata.owners.iter().find(|(_, of)| owner(of)) {
        return Some(format!("owner of table {}", table.table));
    }
    if let Some((schema, _)) = metadata.schema_owners.iter().find(|(_, of)| owner(of)) {
        return Some(format!("owner of schema {schema}"));
    }
    metadata.grant_that_names(role).map(|grant| format!("privileges for {}", grant.object))
}

/// `GRANT role TO role` and its opposite.
pub async fn membership(
    coordinator: &Coordinator,
    session: &mut Session,
    wanted: &Membership,
) -> Result<Outcome> {
    let metadata = metadata(coordinator, session);
    let me = current(&metadata, session)?;
    let grantor = match &wanted.granted_by {
        Some(name) => meant(&metadata, session, name)?,
        None => me,
    };
    if grantor.oid != me.oid && !me.is_superuser {
        return Err(denied("must be superuser to set grantor"));
    }
    let mut changes = Vec::new();
    let mut notices = Vec::new();
    for parent in &wanted.roles {
        let parent = role(&metadata, parent)?;
        check_may_add_members(&metadata, session, parent)?;
        for member in &wanted.members {
            let member = meant(&metadata, session, member)?;
            if wanted.is_grant && metadata.roles_of(parent.oid).contains(&member.oid) {
                let message = format!("role \"{}\" is a member of role \"{}\"", parent.name, member.name);
                return Err(Error::InvalidGrant { message });
            }
            let known = metadata
                .memberships
                .iter()
                .find(|known| (known.role, known.member) == (parent.oid, member.oid));
            let put = |is_admin: bool| {
                Change::AddMember(Member {
                    role: parent.oid,
                    member: member.oid,
                    is_admin,
                    grantor: grantor.oid,
                })
            };
            match (wanted.is_grant, known) {
                (true, Some(known)) if known.is_admin || !wanted.is_admin => {
                    let text =
                        format!("role \"{}\" is already a member of role \"{}\"", member.name, parent.name);
                    notices.push(Notice::info("00000", text));
                }
                (true, _) => changes.push(put(wanted.is_admin)),
                (false, None) => {
                    let text =
                        format!("role \"{}\" is not a member of role \"{}\"", member.name, parent.name);
                    notices.push(Notice::warning("01000", text));
                }
                (false, Some(_)) if wanted.is_admin => changes.push(put(false)),
                (false, Some(_)) => {
                    changes.push(Change::RemoveMember { role: parent.oid, member: member.oid });
                }
            }
        }
    }
    let tag = if wanted.is_grant { "GRANT ROLE" } else { "REVOKE ROLE" };
    change(coordinator, session, changes, tag).await?;
    Ok(Outcome::with_notices(tag, notices))
}

/// Whether the session's role may say who the members of `of` are.
fn check_may_add_members(metadata: &Metadata, session: &Session, of: &Role) -> Result<()> {
    let me = current(metadata, session)?;
    if of.is_superuser {
        return match me.is_superuser {
            true => Ok(()),
            false => Err(denied("must be superuser to alter superusers")),
        };
    }
    if me.is_superuser || me.creates_roles || metadata.administers(me.oid, of.oid) {
        return Ok(());
    }
    Err(denied(format!("must have admin option on role \"{}\"", of.name)))
}

fn denied(message: impl Into<String>) -> Error {
    Error::PermissionDenied { message: message.into() }
}

/// There is nothing that replicates, and there are no policies to go round: what would give either is refused.
fn check_options(options: &RoleOptions) -> Result<()> {
    for (wanted, word) in [(options.replication, "REPLICATION"), (options.bypass_rls, "BYPASSRLS")] {
        if wanted == Some(true) {
            let message = format!("{word} is not supported");
            return Err(Error::NotSupported { message });
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    // The last three are quoted names to PostgreSQL; statements mean the session's own role by them here.
    const RESERVED: [&str; 5] = ["public", "none", "current_user", "current_role", "session_user"];
    if name.is_empty() || name.contains('\0') || RESERVED.contains(&name) || name.starts_with("pg_") {
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
        // A password to PostgreSQL too, but not one that anybody could sign in with.
        Some(Some(password)) if is_md5_verifier(password) => {
            let message =
                "MD5-encrypted passwords are not supported: give the password, or its SCRAM-SHA-256 verifier";
            return Err(Error::NotSupported { message: message.into() });
        }
        Some(Some(password)) => role.verifier = Some(scram::verifier(password, iterations)),
    }
    Ok(role)
}

/// True for what PostgreSQL takes for a password that has been hashed with MD5.
fn is_md5_verifier(password: &str) -> bool {
    password
        .strip_prefix("md5")
        .is_some_and(|hash| hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
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
