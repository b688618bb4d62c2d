//! What the catalog's store keeps: roles, grants, comments, declared keys, schemas, the tables that
//! statements made. Plain data, and the changes that lead from one version to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;

use crate::definition::{Materialized, View};
use crate::lake::{self, ColumnChange, LakeSchema, NewFile, NewTable};
use crate::role::{FIRST_ROLE_OID, Grant, GrantObject, Membership, PUBLIC_GRANTEE, Privilege, Role};
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

/// Identifiers that the lake gives next, and the version of its tables' shapes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NextIds {
    /// `ducklake_snapshot.next_catalog_id`.
    pub catalog: i64,
    /// `ducklake_snapshot.next_file_id`.
    pub file: i64,
    /// `ducklake_snapshot.schema_version`.
    pub schema_version: i64,
}

/// One version of it all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Grows with every commit: the lake's snapshot.
    pub version: u64,
    /// Identifiers that the lake gives next.
    pub next: NextIds,
    /// Where the lake's files lie: a URL that ends in `/`.
    pub data_folder: String,
    /// The lake's schemas by name.
    pub schemas: BTreeMap<String, LakeSchema>,
    /// Roles by name.
    pub roles: BTreeMap<String, Role>,
    /// Who is a member of which role.
    pub memberships: Vec<Membership>,
    /// Every grant.
    pub grants: Vec<Grant>,
    /// Every comment.
    pub comments: BTreeMap<CommentTarget, String>,
    /// Declared keys by table.
    pub primary_keys: BTreeMap<TableName, PrimaryKey>,
    /// Who owns a table that statements made, where it is not the first role.
    pub owners: BTreeMap<TableName, u32>,
    /// Who owns a schema, where it is not the first role.
    pub schema_owners: BTreeMap<String, u32>,
    /// The tables whose rows are those of a query.
    pub materialized: BTreeMap<TableName, Arc<Materialized>>,
    /// How many different values the columns of tables have, about, where ANALYZE counted them.
    pub distinct_counts: BTreeMap<TableName, Arc<BTreeMap<String, u64>>>,
    /// The tables that statements made, beside those found in the server's locations.
    pub tables: BTreeMap<TableName, Arc<TableDefinition>>,
}

/// A view to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewView {
    /// Its name.
    pub name: TableName,
    /// Its `view_uuid`.
    pub uuid: String,
    /// Its query. Names in it have their schemas.
    pub sql: String,
    /// Its columns, with strings and binary values in their plain layout.
    pub columns: SchemaRef,
}

/// One step from a version to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields of what is changed.
pub enum Change {
    /// Adds a role or replaces the one with its object identifier.
    PutRole(Role),
    /// Removes a role with its memberships.
    DropRole { oid: u32 },
    /// Makes a role a member of another, or replaces what was said of that membership.
    AddMember(Membership),
    /// Ends a membership.
    RemoveMember { role: u32, member: u32 },
    /// Adds a grant or replaces the one of the same object, grantee, privilege and grantor.
    PutGrant(Grant),
    /// Takes a grant back.
    DropGrant { object: GrantObject, grantee: u32, privilege: Privilege, grantor: u32 },
    /// Sets a comment; `None` removes it.
    Comment { target: CommentTarget, text: Option<String> },
    /// Declares a primary key; `None` removes it.
    PrimaryKey { table: TableName, key: Option<PrimaryKey> },
    /// Adds a table or replaces the one of its name.
    PutTable(Arc<TableDefinition>),
    /// Removes a table with its grants, comments and key.
    DropTable(TableName),
    /// Gives a table to a role.
    SetOwner { table: TableName, owner: u32 },
    /// Gives a table another name; its grants, comments and key go along.
    RenameTable { from: TableName, to: TableName },
    /// Adds a schema.
    CreateSchema { name: String, uuid: String },
    /// Removes a schema that has no tables.
    DropSchema { name: String },
    /// Adds a table whose rows are ours to write.
    CreateTable(Arc<NewTable>),
    /// Takes files out of a table and others in. `table_id` tells that it is still the same table.
    Files { table: TableName, table_id: i64, removed: Vec<i64>, added: Arc<Vec<NewFile>> },
    /// Changes a table's columns.
    Columns { table: TableName, change: ColumnChange },
    /// Adds a view, or replaces the one of its name.
    PutView(Arc<NewView>),
    /// Says that a table's rows are those of a query, and what they were computed of.
    PutMaterialized { table: TableName, of: Arc<Materialized> },
    /// Notes how many different values columns have.
    DistinctCounts { table: TableName, counts: Arc<BTreeMap<String, u64>> },
    /// Gives a schema to a role.
    SetSchemaOwner { schema: String, owner: u32 },
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
                self.memberships.retain(|known| known.role != oid && known.member != oid);
            }
            Change::AddMember(membership) => {
                self.remove_member(membership.role, membership.member);
                self.memberships.push(membership);
            }
            Change::RemoveMember { role, member } => self.remove_member(role, member),
            Change::PutGrant(grant) => {
                self.drop_grant(&grant.object, grant.grantee, grant.privilege, grant.grantor);
                self.grants.push(grant);
            }
            Change::DropGrant { object, grantee, privilege, grantor } => {
                self.drop_grant(&object, grantee, privilege, grantor);
            }
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
                let is_of_lake =
                    |table: Arc<TableDefinition>| table.managed.is_some() || table.view.is_some();
                if self.tables.remove(&table).is_some_and(is_of_lake) {
                    self.next.schema_version += 1;
                }
                self.primary_keys.remove(&table);
                self.owners.remove(&table);
                self.materialized.remove(&table);
                self.distinct_counts.remove(&table);
                self.grants.retain(|grant| grant.object != GrantObject::Table(table.clone()));
                self.comments.retain(|target, _| match target {
                    CommentTarget::Table(name) | CommentTarget::Column(name, _) => *name != table,
                    _ => true,
                });
            }
            Change::SetOwner { table, owner: FIRST_ROLE_OID } => {
                self.owners.remove(&table);
            }
            Change::SetOwner { table, owner } => {
                self.owners.insert(table, owner);
            }
            Change::PutMaterialized { table, of } => {
                self.materialized.insert(table, of);
            }
            Change::DistinctCounts { table, counts } => {
                self.distinct_counts.insert(table, counts);
            }
            Change::SetSchemaOwner { schema, owner: FIRST_ROLE_OID } => {
                self.schema_owners.remove(&schema);
            }
            Change::SetSchemaOwner { schema, owner } => {
                self.schema_owners.insert(schema, owner);
            }
            lake => self.apply_to_lake(lake),
        }
    }

    /// Carries out a change of the lake, with identifiers from [`Self::next`], as of the snapshot after this
    /// version. What does not fit this version changes nothing: see [`Self::still_allows`].
    fn apply_to_lake(&mut self, change: Change) {
        let snapshot = self.version + 1;
        match change {
            Change::CreateSchema { name, .. } => {
                let folder = format!("{}{}/", self.data_folder, lake::folder_name(&name));
                self.schemas.insert(name, LakeSchema { id: self.next.catalog, folder });
                self.next.catalog += 1;
                self.next.schema_version += 1;
            }
            Change::DropSchema { name } => {
                self.schemas.remove(&name);
                self.schema_owners.remove(&name);
                self.grants.retain(|grant| grant.object != GrantObject::Schema(name.clone()));
                self.comments.remove(&CommentTarget::Schema(name));
                self.next.schema_version += 1;
            }
            Change::PutView(new) => {
                // Who looked it up before still finds it: what replaces a view is the same view.
                let known = self.tables.remove(&new.name).and_then(|table| table.view.clone());
                let uuid = known.map_or_else(|| new.uuid.clone(), |view| view.uuid.clone());
                let view = View { id: self.next.catalog, uuid, sql: new.sql.clone() };
                self.next.catalog += 1;
                self.next.schema_version += 1;
                let mut definition =
                    TableDefinition::of_view(new.name.clone(), Arc::clone(&new.columns), view);
                definition.oid = self.free_oid(definition.oid);
                self.tables.insert(new.name.clone(), Arc::new(definition));
            }
            Change::CreateTable(table) => {
                let Some(schema) = self.schemas.get(&table.name.schema) else { return };
                let folder = format!("{}{}/", schema.folder, lake::table_folder(&table));
                let id = self.next.catalog;
                let Some(mut definition) = table.define(id, id + 1, &folder, snapshot) else { return };
                self.next.catalog +=
                    1 + i64::from(!table.partition_by.is_empty()) + i64::from(!table.sort.is_empty());
                self.next.schema_version += 1;
                definition.oid = self.free_oid(definition.oid);
                self.tables.insert(table.name.clone(), Arc::new(definition));
            }
            Change::Files { table, removed, added, .. } => {
                let Some(definition) = self.tables.get(&table) else { return };
                let next = lake::with_files(definition, &removed, &added, self.next.file, snapshot);
                if let Some(next) = next {
                    self.next.file += added.len() as i64;
                    self.tables.insert(table, Arc::new(next));
                }
            }
            Change::Columns { table, change } => {
                let Some(definition) = self.tables.get(&table) else { return };
                if let Some(next) = lake::with_columns(definition, &change, snapshot) {
                    self.next.schema_version += 1;
                    self.tables.insert(table, Arc::new(next));
                }
            }
            Change::RenameTable { from, to } => self.rename(&from, &to),
            _ => {}
        }
    }

    fn rename(&mut self, from: &TableName, to: &TableName) {
        if let Some(definition) = self.tables.remove(from) {
            if definition.managed.is_some() || definition.view.is_some() {
                self.next.schema_version += 1;
            }
            let renamed = TableDefinition { name: to.clone(), ..TableDefinition::clone(&definition) };
            self.tables.insert(to.clone(), Arc::new(renamed));
        }
        if let Some(key) = self.primary_keys.remove(from) {
            self.primary_keys.insert(to.clone(), key);
        }
        if let Some(owner) = self.owners.remove(from) {
            self.owners.insert(to.clone(), owner);
        }
        if let Some(of) = self.materialized.remove(from) {
            self.materialized.insert(to.clone(), of);
        }
        if let Some(counts) = self.distinct_counts.remove(from) {
            self.distinct_counts.insert(to.clone(), counts);
        }
        for grant in &mut self.grants {
            if grant.object == GrantObject::Table(from.clone()) {
                grant.object = GrantObject::Table(to.clone());
            }
        }
        let comments = std::mem::take(&mut self.comments);
        self.comments = comments
            .into_iter()
            .map(|(target, text)| match target {
                CommentTarget::Table(name) if name == *from => (CommentTarget::Table(to.clone()), text),
                CommentTarget::Column(name, column) if name == *from => {
                    (CommentTarget::Column(to.clone(), column), text)
                }
                other => (other, text),
            })
            .collect();
    }

    /// `wanted`, or the next object identifier that no table has.
    pub(crate) fn free_oid(&self, wanted: u32) -> u32 {
        let is_taken = |oid: &u32| self.tables.values().any(|table| table.oid == *oid);
        (wanted..).find(|oid| !is_taken(oid)).unwrap_or(wanted)
    }

    /// True when `change`, which was decided on `from`, means the same on this later version: nothing that
    /// it touches has changed in between. Rows may always be added beside rows that others added.
    pub fn still_allows(&self, change: &Change, from: &Self) -> bool {
        let same_table = |name: &TableName| match (self.tables.get(name), from.tables.get(name)) {
            (Some(now), Some(then)) => Arc::ptr_eq(now, then) || now == then,
            (now, then) => now.is_none() && then.is_none(),
        };
        // Who decided on the change did so as the owner, or by what the owner had given.
        let same_owner = |name: &TableName| self.owner(name) == from.owner(name);
        let same_schema = |name: &String| {
            self.schemas.get(name) == from.schemas.get(name)
                && self.schema_owner(name) == from.schema_owner(name)
        };
        match change {
            Change::Files { table, table_id, removed, .. } => {
                let managed = |metadata: &Self| metadata.tables.get(table).and_then(|t| t.managed.clone());
                match (managed(self), managed(from)) {
                    (Some(now), Some(then)) => {
                        let keeps = |id: &i64| {
                            now.files.iter().any(|file| {
                                file.id == *id
                                    && then
                                        .files
                                        .iter()
                                        .any(|old| old.id == *id && old.deletes == file.deletes)
                            })
                        };
                        now.id == *table_id
                            && now.columns == then.columns
                            && now.partitioning == then.partitioning
                            && removed.iter().all(keeps)
                    }
                    // It was made by the same block, whose files have other identifiers on another version.
                    (None, None) => removed.is_empty(),
                    _ => false,
                }
            }
            Change::PutTable(table) => same_table(&table.name) && same_owner(&table.name),
            Change::PutView(view) => {
                same_table(&view.name)
                    && same_owner(&view.name)
                    && self.schemas.get(&view.name.schema) == from.schemas.get(&view.name.schema)
            }
            Change::PutMaterialized { table, .. } => {
                self.materialized.get(table) == from.materialized.get(table) && same_owner(table)
            }
            // About right is what they are in any case.
            Change::DistinctCounts { table, .. } => {
                self.tables.contains_key(table) == from.tables.contains_key(table)
            }
            Change::SetSchemaOwner { schema, .. } => same_schema(schema) && self.roles == from.roles,
            Change::SetOwner { table, .. } => {
                same_table(table) && same_owner(table) && self.roles == from.roles
            }
            Change::DropTable(name) | Change::Columns { table: name, .. } => {
                same_table(name) && same_owner(name)
            }
            Change::CreateTable(table) => {
                same_table(&table.name)
                    && self.schemas.get(&table.name.schema) == from.schemas.get(&table.name.schema)
            }
            Change::RenameTable { from: name, to } => same_table(name) && same_owner(name) && same_table(to),
            Change::CreateSchema { name, .. } => self.schemas.get(name) == from.schemas.get(name),
            Change::DropSchema { name } => {
                same_schema(name)
                    && self
                        .tables
                        .keys()
                        .filter(|table| table.schema == *name)
                        .eq(from.tables.keys().filter(|table| table.schema == *name))
            }
            Change::Comment { target, .. } => {
                let same_target = match target {
                    CommentTarget::Table(name) | CommentTarget::Column(name, _) => same_owner(name),
                    CommentTarget::Schema(name) => same_schema(name),
                    CommentTarget::Database | CommentTarget::Role(_) => true,
                };
                same_target && self.comments == from.comments && self.tables.len() == from.tables.len()
            }
            Change::PrimaryKey { table, .. } => {
                same_table(table)
                    && same_owner(table)
                    && self.primary_keys.get(table) == from.primary_keys.get(table)
            }
            Change::PutRole(_)
            | Change::DropRole { .. }
            | Change::AddMember(_)
            | Change::RemoveMember { .. } => self.same_rights(from),
            Change::PutGrant(Grant { object, .. }) | Change::DropGrant { object, .. } => {
                let same_object = match object {
                    GrantObject::Table(name) => {
                        let oid = |of: &Self| of.tables.get(name).map(|table| table.oid);
                        oid(self) == oid(from) && same_owner(name)
                    }
                    GrantObject::Schema(name) => same_schema(name),
                    _ => true,
                };
                same_object && self.same_rights(from)
            }
        }
    }

    fn same_rights(&self, from: &Self) -> bool {
        self.roles == from.roles && self.memberships == from.memberships && self.grants == from.grants
    }

    /// This version of a block, with who may do what as it is in `current`: what somebody else took back is gone at once.
    /// Of the block's own `changes`, made on top of `from`, those count that it could still commit.
    pub fn with_rights_of(&self, current: &Self, from: &Self, changes: &[Change]) -> Self {
        let mut rights = Self {
            roles: current.roles.clone(),
            memberships: current.memberships.clone(),
            grants: current.grants.clone(),
            owners: current.owners.clone(),
            schema_owners: current.schema_owners.clone(),
            ..Self::default()
        };
        for change in changes {
            let is_of_rights = matches!(
                change,
                Change::PutRole(_)
                    | Change::DropRole { .. }
                    | Change::AddMember(_)
                    | Change::RemoveMember { .. }
                    | Change::PutGrant(_)
                    | Change::DropGrant { .. }
                    | Change::SetOwner { .. }
                    | Change::SetSchemaOwner { .. }
                    | Change::DropTable(_)
                    | Change::RenameTable { .. }
                    | Change::DropSchema { .. }
            );
            if is_of_rights && current.still_allows(change, from) {
                rights.apply(change);
            }
        }
        let Self { roles, memberships, grants, owners, schema_owners, .. } = rights;
        Self { roles, memberships, grants, owners, schema_owners, ..self.clone() }
    }

    fn drop_grant(&mut self, object: &GrantObject, grantee: u32, privilege: Privilege, grantor: u32) {
        self.grants.retain(|g| {
            !(g.object == *object && g.grantee == grantee && g.privilege == privilege && g.grantor == grantor)
        });
    }

    fn remove_member(&mut self, role: u32, member: u32) {
        self.memberships.retain(|known| (known.role, known.member) != (role, member));
    }

    /// The role of that object identifier.
    pub fn role_by_oid(&self, oid: u32) -> Option<&Role> {
        self.roles.values().find(|role| role.oid == oid)
    }

    /// The identifier for a role that is to be created. It grows with the versions of the catalog, so that it is not one of a
    /// role that was dropped, of which sessions and the history may still know.
    pub fn next_role_oid(&self) -> u32 {
        const FIRST_USER_OID: u32 = 16_384;
        let of_version = u32::try_from(self.version).unwrap_or(u32::MAX / 2).saturating_add(FIRST_USER_OID);
        self.roles.values().map(|role| role.oid + 1).max().unwrap_or(0).max(of_version)
    }

    /// The role that owns `schema`.
    pub fn schema_owner(&self, schema: &str) -> u32 {
        self.schema_owners.get(schema).copied().unwrap_or(FIRST_ROLE_OID)
    }

    /// The role that owns `table`.
    pub fn owner(&self, table: &TableName) -> u32 {
        self.owners.get(table).copied().unwrap_or(FIRST_ROLE_OID)
    }
}
