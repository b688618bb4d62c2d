//! Where memberships and grants persist.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::borrowed::Transaction;
use super::{oid, rows, text};
use crate::metadata::Metadata;
use crate::role::{Grant, GrantObject, Membership, Privilege};
use crate::{CatalogError, Result, TableName};

/// Brings the tables of formats 1 and 2 up to date. There a grant was known by object, grantee and privilege alone, and its
/// grantor was whoever ran the statement: who had no option to pass it on did so for the owner.
const MIGRATIONS: &[&str] = &[
    "alter table sluice_memberships add column is_admin bigint not null default 0",
    "alter table sluice_memberships add column grantor bigint not null default 10",
    "insert into sluice_privileges (kind, schema_name, object_name, grantee, privilege, is_grantable, grantor)
     select g.kind, g.schema_name, g.object_name, g.grantee, g.privilege, g.is_grantable,
       case when exists (select 1 from sluice_grants h where h.kind = g.kind and h.schema_name = g.schema_name
           and h.object_name = g.object_name and h.privilege = g.privilege and h.grantee = g.grantor
           and h.is_grantable = 1)
         then g.grantor
         else coalesce(
           (select o.owner from sluice_owners o where g.kind = 'table' and o.schema_name = g.schema_name
              and o.table_name = g.object_name),
           (select s.owner from sluice_schema_owners s where g.kind = 'schema'
              and s.schema_name = g.schema_name), 10)
       end
     from sluice_grants g",
    // An owner needs no grant, and would be taken for one who took the privilege from itself.
    "delete from sluice_privileges where grantee = grantor",
    "drop table sluice_grants",
];

pub(super) async fn migrate(transaction: &mut Transaction) -> Result<()> {
    for step in MIGRATIONS {
        sqlx::query(*step).execute(&mut **transaction).await?;
    }
    Ok(())
}

/// Adds the memberships and grants there are to `metadata`.
pub(super) async fn load(transaction: &mut Transaction, metadata: &mut Metadata) -> Result<()> {
    for row in rows(transaction, "select * from sluice_memberships").await? {
        metadata.memberships.push(Membership {
            role: oid(&row, "role")?,
            member: oid(&row, "member")?,
            is_admin: row.try_get::<i64, _>("is_admin")? != 0,
            grantor: oid(&row, "grantor")?,
        });
    }
    for row in rows(transaction, "select * from sluice_privileges").await? {
        metadata.grants.push(grant(&row)?);
    }
    Ok(())
}

pub(super) async fn add_member(transaction: &mut Transaction, membership: &Membership) -> Result<()> {
    remove_member(transaction, membership.role, membership.member).await?;
    sqlx::query("insert into sluice_memberships (role, member, is_admin, grantor) values ($1, $2, $3, $4)")
        .bind(i64::from(membership.role))
        .bind(i64::from(membership.member))
        .bind(i64::from(membership.is_admin))
        .bind(i64::from(membership.grantor))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

pub(super) async fn remove_member(transaction: &mut Transaction, role: u32, member: u32) -> Result<()> {
    sqlx::query("delete from sluice_memberships where role = $1 and member = $2")
        .bind(i64::from(role))
        .bind(i64::from(member))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

pub(super) async fn put_grant(transaction: &mut Transaction, grant: &Grant) -> Result<()> {
    drop_grant(transaction, &grant.object, grant.grantee, grant.privilege, grant.grantor).await?;
    let (kind, schema, object) = object_key(&grant.object);
    sqlx::query("insert into sluice_privileges values ($1, $2, $3, $4, $5, $6, $7)")
        .bind(kind)
        .bind(schema)
        .bind(object)
        .bind(i64::from(grant.grantee))
        .bind(grant.privilege.as_str())
        .bind(i64::from(grant.is_grantable))
        .bind(i64::from(grant.grantor))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

pub(super) async fn drop_grant(
    transaction: &mut Transaction,
    object: &GrantObject,
    grantee: u32,
    privilege: Privilege,
    grantor: u32,
) -> Result<()> {
    let (kind, schema, object) = object_key(object);
    sqlx::query(
        "delete from sluice_privileges where kind = $1 and schema_name = $2 and object_name = $3
         and grantee = $4 and privilege = $5 and grantor = $6",
    )
    .bind(kind)
    .bind(schema)
    .bind(object)
    .bind(i64::from(grantee))
    .bind(privilege.as_str())
    .bind(i64::from(grantor))
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
