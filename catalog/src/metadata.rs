//! What the catalog's store keeps: roles, grants, comments, declared keys, the tables that statements
//! made. Plain data, and the changes that lead from one version to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::role::{FIRST_ROLE_OID, Grant, GrantObject, PUBLIC_GRANTEE, Privilege, Role};
use crate::{DEFAULT_SCHEMA, TableDefinition, TableName};

/// What a comment is on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CommentTarget {
    /// The one database.
    Database,
    /// A schema.
    Schema(String),
    /// A table.
    Table(TableName),
    /// A column of a table.
    Column(TableName, String),
    /// A role.
    Role(String),
}

/// A primary key that its owner declares: nothing checks it, planners and clients may believe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryKey {
    /// The constraint's name.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<String>,
}

/// One version of it all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Grows with every commit.
    pub version: u64,
    /// Roles by name.
    pub roles: BTreeMap<String, Role>,
    /// Pairs of role and member, by object identifier.
    pub memberships: Vec<(u32, u32)>,
    /// Every grant.
    pub grants: Vec<Grant>,
    /// Every comment.
    pub comments: BTreeMap<CommentTarget, String>,
    /// Declared keys by table.
    pub primary_keys: BTreeMap<TableName, PrimaryKey>,
    /// The tables that statements made, beside those found in the server's locations.
    pub tables: BTreeMap<TableName, Arc<TableDefinition>>,
}

/// One step from a version to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields of what is changed.
pub enum Change {
    /// Adds a role or replaces the one with its object identifier.
    PutRole(Role),
    /// Removes a role with its memberships.
    DropRole { oid: u32 },
    /// Makes `member` a member of `role`.
    AddMember { role: u32, member: u32 },
    /// Ends a membership.
    RemoveMember { role: u32, member: u32 },
    /// Adds a grant or replaces the one of the same object, grantee and privilege.
    PutGrant(Grant),
    /// Takes a grant back.
    DropGrant { object: GrantObject, grantee: u32, privilege: Privilege },
    /// Sets a comment; `None` removes it.
    Comment { target: CommentTarget, text: Option<String> },
    /// Declares a primary key; `None` removes it.
    PrimaryKey { table: TableName, key: Option<PrimaryKey> },
    /// Adds a table or replaces the one of its name.
    PutTable(Arc<TableDefinition>),
    /// Removes a table with its grants, comments and key.
    DropTable(TableName),
}

impl Metadata {
    /// What a new catalog begins with: the first role, and a schema that every role may use.
    pub fn first() -> Self {
        let mut first = Self::default();
        let usage = |object, privilege| {
            Change::PutGrant(Grant {
                object,
                grantee: PUBLIC_GRANTEE,
                privilege,
                is_grantable: false,
                grantor: FIRST_ROLE_OID,
            })
        };
        let changes = [
            Change::PutRole(Role::first()),
            usage(GrantObject::Schema(DEFAULT_SCHEMA.to_owned()), Privilege::Usage),
            usage(GrantObject::Database, Privilege::Connect),
            usage(GrantObject::Database, Privilege::Temporary),
        ];
        changes.iter().for_each(|change| first.apply(change));
        first
    }

    /// Carries out one change.
    pub fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::PutRole(role) => {
                self.roles.retain(|_, known| known.oid != role.oid);
                self.roles.insert(role.name.clone(), role);
            }
            Change::DropRole { oid } => {
                self.roles.retain(|_, known| known.oid != oid);
                self.memberships.retain(|(role, member)| *role != oid && *member != oid);
            }
            Change::AddMember { role, member } => {
                self.memberships.retain(|pair| *pair != (role, member));
                self.memberships.push((role, member));
            }
            Change::RemoveMember { role, member } => self.memberships.retain(|pair| *pair != (role, member)),
            Change::PutGrant(grant) => {
                self.drop_grant(&grant.object, grant.grantee, grant.privilege);
                self.grants.push(grant);
            }
            Change::DropGrant { object, grantee, privilege } => self.drop_grant(&object, grantee, privilege),
            Change::Comment { target, text: Some(text) } => {
                self.comments.insert(target, text);
            }
            Change::Comment { target, text: None } => {
                self.comments.remove(&target);
            }
            Change::PrimaryKey { table, key: Some(key) } => {
                self.primary_keys.insert(table, key);
            }
            Change::PrimaryKey { table, key: None } => {
                self.primary_keys.remove(&table);
            }
            Change::PutTable(definition) => {
                self.tables.insert(definition.name.clone(), definition);
            }
            Change::DropTable(table) => {
                self.tables.remove(&table);
                self.primary_keys.remove(&table);
                self.grants.retain(|grant| grant.object != GrantObject::Table(table.clone()));
                self.comments.retain(|target, _| match target {
                    CommentTarget::Table(name) | CommentTarget::Column(name, _) => *name != table,
                    _ => true,
                });
            }
        }
    }

    fn drop_grant(&mut self, object: &GrantObject, grantee: u32, privilege: Privilege) {
        self.grants.retain(|g| !(g.object == *object && g.grantee == grantee && g.privilege == privilege));
    }

    /// The role of that object identifier.
    pub fn role_by_oid(&self, oid: u32) -> Option<&Role> {
        self.roles.values().find(|role| role.oid == oid)
    }

    /// The identifier for a role that is to be created.
    pub fn next_role_oid(&self) -> u32 {
        const FIRST_USER_OID: u32 = 16_384;
        self.roles.values().map(|role| role.oid + 1).max().unwrap_or(0).max(FIRST_USER_OID)
    }

    /// `role` and every role it is a member of, however far.
    pub fn roles_of(&self, role: u32) -> Vec<u32> {
        let mut found = vec![role];
        let mut at = 0;
        while at < found.len() {
            for (parent, member) in &self.memberships {
                if *member == found[at] && !found.contains(parent) {
                    found.push(*parent);
                }
            }
            at += 1;
        }
        found
    }

    /// True when `role` may do `privilege` on `object`: as a superuser, by a grant to it, to a role it
    /// inherits from, or to all.
    pub fn allows(&self, role: u32, object: &GrantObject, privilege: Privilege) -> bool {
        let Some(known) = self.role_by_oid(role) else { return false };
        let inherited = || if known.inherits { self.roles_of(role) } else { vec![role] };
        if known.is_superuser {
            return true;
        }
        let roles = inherited();
        self.grants.iter().any(|grant| {
            grant.object == *object
                && grant.privilege == privilege
                && (grant.grantee == PUBLIC_GRANTEE || roles.contains(&grant.grantee))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_come_by_grant_by_membership_and_to_all() {
        let mut metadata = Metadata::first();
        let table = GrantObject::Table(TableName::new("public", "orders"));
        let (reader, analyst) = (Role::new(16_384, "reader"), Role::new(16_385, "analyst"));
        for change in [
            Change::PutRole(reader),
            Change::PutRole(analyst),
            Change::AddMember { role: 16_384, member: 16_385 },
            Change::PutGrant(Grant {
                object: table.clone(),
                grantee: 16_384,
                privilege: Privilege::Select,
                is_grantable: false,
                grantor: FIRST_ROLE_OID,
            }),
        ] {
            metadata.apply(&change);
        }
        assert!(metadata.allows(16_385, &table, Privilege::Select));
        assert!(!metadata.allows(16_385, &table, Privilege::Insert));
        assert!(metadata.allows(FIRST_ROLE_OID, &table, Privilege::Insert));
        assert!(metadata.allows(16_385, &GrantObject::Schema("public".into()), Privilege::Usage));
        metadata.apply(&Change::RemoveMember { role: 16_384, member: 16_385 });
        assert!(!metadata.allows(16_385, &table, Privilege::Select));
    }
}
