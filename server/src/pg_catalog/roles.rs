//! Roles as every client asks for them: `pg_authid` and the views over it.

use catalog::Role;
use datafusion::arrow::array::RecordBatch;

use super::View;
use super::columns::Columns;
use super::shapes::PG_CATALOG;

fn all(view: &View) -> Vec<&Role> {
    view.snapshot.metadata().roles.values().collect()
}

fn described(roles: &[&Role]) -> Columns {
    Columns::new()
        .oid("oid", roles.iter().map(|r| r.oid.into()))
        .name("rolname", roles.iter().map(|r| r.name.as_str()))
        .bool("rolsuper", roles.iter().map(|r| r.is_superuser))
        .bool("rolinherit", roles.iter().map(|r| r.inherits))
        .bool("rolcreaterole", roles.iter().map(|r| r.creates_roles))
        .bool("rolcreatedb", roles.iter().map(|r| r.creates_databases))
        .bool("rolcanlogin", roles.iter().map(|r| r.can_login))
        .bool("rolreplication", roles.iter().map(|_| false))
        .bool("rolbypassrls", roles.iter().map(|r| r.is_superuser))
        .int4("rolconnlimit", roles.iter().map(|r| r.connection_limit))
        .time("rolvaliduntil", roles.iter().map(|r| r.valid_until))
}

/// What `rolpassword` shows to everyone, the owner of the password included.
const HIDDEN: &str = "********";

/// Roles; what they sign in with is shown to nobody.
pub fn pg_authid(view: &View) -> RecordBatch {
    let roles = all(view);
    let passwords = roles.iter().map(|role| role.verifier.as_ref().map(|_| HIDDEN));
    described(&roles).optional_text("rolpassword", passwords).finish_as(PG_CATALOG, "pg_authid")
}

/// Roles, for everyone.
pub fn pg_roles(view: &View) -> RecordBatch {
    let roles = all(view);
    described(&roles).text("rolpassword", roles.iter().map(|_| HIDDEN)).finish_as(PG_CATALOG, "pg_roles")
}

/// Roles that may log in.
pub fn pg_user(view: &View) -> RecordBatch {
    let users: Vec<&Role> = all(view).into_iter().filter(|role| role.can_login).collect();
    Columns::new()
        .name("usename", users.iter().map(|r| r.name.as_str()))
        .oid("usesysid", users.iter().map(|r| r.oid.into()))
        .bool("usecreatedb", users.iter().map(|r| r.creates_databases))
        .bool("usesuper", users.iter().map(|r| r.is_superuser))
        .bool("usebypassrls", users.iter().map(|r| r.is_superuser))
        .text("passwd", users.iter().map(|_| HIDDEN))
        .time("valuntil", users.iter().map(|r| r.valid_until))
        .finish_as(PG_CATALOG, "pg_user")
}

/// Who is a member of what.
pub fn pg_auth_members(view: &View) -> RecordBatch {
    let known = &view.snapshot.metadata().memberships;
    Columns::new()
        .oid("roleid", known.iter().map(|known| i64::from(known.role)))
        .oid("member", known.iter().map(|known| i64::from(known.member)))
        .oid("grantor", known.iter().map(|known| i64::from(known.grantor)))
        .bool("admin_option", known.iter().map(|known| known.is_admin))
        .finish_as(PG_CATALOG, "pg_auth_members")
}
