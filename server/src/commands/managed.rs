//! `CREATE TABLE`, `TRUNCATE` and `ALTER TABLE` of tables whose rows are ours to write.

use std::collections::HashSet;
use std::sync::Arc;

use catalog::lake::{ColumnChange, NewColumn, NewTable, SortColumn, types};
use catalog::{
    CatalogError, Change, DEFAULT_SCHEMA, GrantObject, Metadata, Privilege, TableDefinition, TableName,
};
use datafusion::arrow::datatypes::DataType;
use engine::functions::partition;
use engine::functions::style::Display;
use engine::{Error, Result};

use super::readers;
use super::{
    Outcome, change, change_from, current, meant, metadata, must_be_member, must_own_table, owned, role_oid,
    snapshot,
};
use crate::coordinator::Coordinator;
use crate::pg_catalog;
use crate::query::{QueryContext, check_may_look_into};
use crate::session::{Notice, Session, TEMPORARY_SCHEMA};
use crate::sql::input;
use crate::sql::{
    AlterStep, ColumnMake, DefaultValue, RelationKind, TableAlter, TableDrop, TableMake, check_column_name,
    declared,
};

/// PostgreSQL's bound.
const COLUMNS_MAX: usize = 1600;

/// What a name for a new table turned out to be.
pub enum Named {
    /// No table has it.
    Free(TableName),
    /// A table has it, and that is fine.
    Exists(Notice),
}

/// `CREATE TABLE` with columns.
pub async fn create(
    coordinator: &Arc<Coordinator>,
    session: &mut Session,
    make: &TableMake,
) -> Result<Outcome> {
    const TAG: &str = "CREATE TABLE";
    session.check_may_write(TAG)?;
    if make.is_temporary {
        super::open_temporary(coordinator, session)?;
    }
    let context = QueryContext::new(coordinator, session, Arc::from(TAG), Default::default());
    let kind = (make.if_not_exists, make.is_temporary);
    let name = match name_for(&context, make.schema.as_deref(), &make.table, kind)? {
        Named::Free(name) => name,
        Named::Exists(notice) => return Ok(Outcome::with_notices(TAG, vec![notice])),
    };
    let display = session.settings.display();
    let columns = make.columns.iter().map(|column| new_column(column, &display)).collect::<Result<_>>()?;
    let table = Arc::new(new_table(&name, columns, make)?);
    defined(&context, &table)?;
    let seen = Arc::clone(context.snapshot.metadata());
    let owned = owned(&seen, session, &name)?;
    change_from(coordinator, session, seen, vec![Change::CreateTable(table), owned], TAG).await?;
    Ok(Outcome::tag(TAG))
}

/// Where a table of that name would be, and whether the role may make it there.
pub fn name_for(
    context: &QueryContext,
    schema: Option<&str>,
    table: &str,
    (if_not_exists, is_temporary): (bool, bool),
) -> Result<Named> {
    let metadata = context.snapshot.metadata();
    if is_temporary {
        check_temporary(context, schema)?;
        check_name(table)?;
        return named_in(context, TableName::new(TEMPORARY_SCHEMA, table), if_not_exists);
    }
    let schema = match schema {
        Some(schema) => schema.to_owned(),
        None => {
            let first = context.search_path.iter().find(|schema| *schema != TEMPORARY_SCHEMA);
            first.cloned().unwrap_or_else(|| DEFAULT_SCHEMA.to_owned())
        }
    };
    if !metadata.schemas.contains_key(&schema) {
        if pg_catalog::is_system_schema(&schema) {
            return Err(Error::PermissionDenied {
                message: format!("permission denied for schema {schema}"),
            });
        }
        return Err(Error::UndefinedSchema { name: schema, position: None });
    }
    check_name(table)?;
    if pg_catalog::is_system_table(None, table) {
        let message = format!("\"{table}\" is the name of a system relation");
        return Err(Error::ReservedName { message });
    }
    let object = GrantObject::Schema(schema.clone());
    if !metadata.allows(context.role_oid, &object, Privilege::Create) {
        return Err(Error::PermissionDenied { message: format!("permission denied for {object}") });
    }
    let name = TableName::new(schema, table);
    if context.snapshot.table(&name).is_none() {
        if let Some(other) = alike(metadata, &name) {
            return Err(Error::DuplicateTable { name: other.table.clone() });
        }
        return Ok(Named::Free(name));
    }
    named_in(context, name, if_not_exists)
}

/// A table whose name differs from `name` in case alone: others that read the lake take the two for one.
pub fn alike<'a>(metadata: &'a Metadata, name: &TableName) -> Option<&'a TableName> {
    let lower = name.table.to_lowercase();
    metadata.tables.keys().find(|other| other.schema == name.schema && other.table.to_lowercase() == lower)
}

fn named_in(context: &QueryContext, name: TableName, if_not_exists: bool) -> Result<Named> {
    if context.snapshot.table(&name).is_none() {
        return Ok(Named::Free(name));
    }
    if !if_not_exists {
        return Err(Error::DuplicateTable { name: name.table });
    }
    let message = format!("relation \"{}\" already exists, skipping", name.table);
    Ok(Named::Exists(Notice::info("42P07", message)))
}

/// Refuses a table of the session's own that the role may not make, or that is to be in a schema of all.
fn check_temporary(context: &QueryContext, schema: Option<&str>) -> Result<()> {
    if schema.is_some_and(|schema| schema != TEMPORARY_SCHEMA) {
        let message = "cannot create temporary relation in non-temporary schema".to_owned();
        return Err(Error::InvalidTableDefinition { message });
    }
    let metadata = context.snapshot.metadata();
    if metadata.allows(context.role_oid, &GrantObject::Database, Privilege::Temporary) {
        return Ok(());
    }
    let message = "permission denied to create temporary tables in database \"postgres\"".to_owned();
    Err(Error::PermissionDenied { message })
}

fn new_column(column: &ColumnMake, display: &Display) -> Result<NewColumn> {
    Ok(NewColumn {
        name: column.name.clone(),
        data_type: column.data_type.clone(),
        is_nullable: column.is_nullable,
        default: stored_default(column.default.as_ref(), &column.name, &column.data_type, display)?,
        declared: column.declared.clone(),
    })
}

/// The text of a default as DuckLake keeps it; none for null.
fn stored_default(
    default: Option<&DefaultValue>,
    column: &str,
    data_type: &DataType,
    display: &Display,
) -> Result<Option<String>> {
    let Some(default) = default else { return Ok(None) };
    let text = default.text_for(column, data_type)?;
    // As the session reads it now.
    if let Some(read) = engine::functions::instants::read_text(&text, data_type, display) {
        return Ok(catalog::lake::values::to_text(&read?));
    }
    Ok(Some(match data_type {
        DataType::Binary => match input::bytea(&text) {
            Some(bytes) => bytes.iter().map(|byte| format!("{byte:02X}")).collect(),
            None => text,
        },
        DataType::Boolean => match text.to_ascii_lowercase().as_str() {
            "t" | "true" | "on" | "yes" | "y" | "1" => "1".to_owned(),
            "f" | "false" | "off" | "no" | "n" | "0" => "0".to_owned(),
            _ => text,
        },
        _ => text,
    }))
}

/// A table of `columns`, cut and sorted as `make` says.
pub fn new_table(name: &TableName, columns: Vec<NewColumn>, make: &TableMake) -> Result<NewTable> {
    if columns.len() > COLUMNS_MAX {
        let message = format!("tables can have at most {COLUMNS_MAX} columns");
        return Err(Error::TooLarge { message, hint: "Use arrays, or several tables.".into() });
    }
    let mut seen = HashSet::new();
    for column in &columns {
        check_name(&column.name)?;
        check_column_name(&column.name)?;
        // Others that read the lake take names that differ in case for one.
        if !seen.insert(column.name.to_lowercase()) {
            return Err(duplicate_column(&column.name));
        }
        check_default(column)?;
    }
    let find = |wanted: &str| columns.iter().find(|column| column.name == wanted);
    let missing =
        |column: &str| Error::UndefinedColumn { column: column.to_owned(), suggestion: None, position: None };
    for (column, transform) in &make.partition_by {
        let found = find(column).ok_or_else(|| missing(column))?;
        let stored = types::stored_as(&found.data_type).map(|(_, stored)| stored);
        if !stored.is_some_and(|stored| partition::is_defined(transform, &stored)) {
            let message = format!("column \"{column}\" cannot be partitioned by {transform}");
            return Err(Error::InvalidTableDefinition { message });
        }
    }
    for (column, ..) in &make.sorted_by {
        find(column).ok_or_else(|| missing(column))?;
    }
    let sort = |(column, is_descending, nulls_first): &(String, bool, bool)| SortColumn {
        column: column.clone(),
        is_descending: *is_descending,
        nulls_first: *nulls_first,
    };
    Ok(NewTable {
        name: name.clone(),
        uuid: engine::new_uuid(),
        partition_by: make.partition_by.clone(),
        sort: make.sorted_by.iter().map(sort).collect(),
        columns,
    })
}

/// Refuses a name of no letters, and control characters in one.
fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.chars().any(char::is_control) {
        let message = "a name must have letters, and no control characters".to_owned();
        return Err(Error::Syntax { message, position: None });
    }
    Ok(())
}

/// A name that stands twice among columns (42701).
pub fn duplicate_column(name: &str) -> Error {
    Error::DuplicateColumn { message: format!("column \"{name}\" specified more than once") }
}

fn check_default(column: &NewColumn) -> Result<()> {
    let Some(text) = &column.default else { return Ok(()) };
    let stored = types::stored_as(&column.data_type).map(|(_, stored)| stored);
    let value = stored.as_ref().and_then(|stored| catalog::lake::values::from_text(text, stored));
    match value {
        Some(_) => Ok(()),
        None => {
            let (oid, _) = pg_catalog::types::oid_and_size(&column.data_type);
            let kind = pg_catalog::types::format(oid.into(), -1);
            Err(Error::InvalidText { message: format!("invalid input syntax for type {kind}: \"{text}\"") })
        }
    }
}

/// The definition that `table` will have.
pub fn defined(context: &QueryContext, table: &Arc<NewTable>) -> Result<TableDefinition> {
    let own = context.temporary.as_ref().filter(|_| table.name.schema == TEMPORARY_SCHEMA);
    let mut next = Metadata::clone(own.unwrap_or(context.snapshot.metadata()));
    next.apply(&Change::CreateTable(Arc::clone(table)));
    if let Some(definition) = next.tables.get(&table.name) {
        return Ok(TableDefinition::clone(definition));
    }
    let is_refused = |column: &&NewColumn| types::stored_as(&column.data_type).is_none();
    let what = table.columns.iter().find(is_refused).map_or("", |column| column.name.as_str());
    Err(Error::NotSupported { message: format!("the type of column \"{what}\" cannot be stored in a table") })
}

/// Refuses a table that is not ours to write.
pub fn writable(table: &Arc<TableDefinition>) -> Result<Arc<TableDefinition>> {
    let name = &table.name.table;
    if let Some(damage) = table.managed.as_ref().and_then(|managed| managed.damage.as_ref()) {
        return Err(CatalogError::damaged_table(&table.name, damage).into());
    }
    match table.managed.as_ref().map(|managed| &managed.problem) {
        Some(None) => Ok(Arc::clone(table)),
        Some(Some(problem)) => Err(Error::NotSupported {
            message: format!("table \"{name}\" cannot be written here: {problem}"),
        }),
        None if table.view.is_some() => Err(Error::WrongObjectType {
            message: format!("\"{name}\" is a view: its tables can be changed"),
        }),
        None => {
            let message = format!("table \"{name}\" lies over files that are not Sluice's to change");
            Err(Error::NotSupported { message })
        }
    }
}

/// The tables that a statement names, and notices for those that may be missing.
fn named(
    coordinator: &Coordinator,
    session: &Session,
    wanted: &[(Option<String>, String)],
    if_exists: bool,
) -> Result<(Vec<Arc<TableDefinition>>, Vec<Notice>)> {
    let snapshot = snapshot(coordinator, session);
    let (mut found, mut notices) = (Vec::new(), Vec::new());
    let metadata = snapshot.metadata();
    for (schema, table) in wanted {
        check_may_look_into(metadata, role_oid(metadata, session), schema.as_deref())?;
        let path = || session.search_path(&snapshot);
        let schemas = schema.clone().map_or_else(path, |schema| vec![schema]);
        let mut names = schemas.into_iter().map(|schema| TableName::new(schema, table.as_str()));
        match names.find_map(|name| snapshot.table(&name).cloned()) {
            Some(definition) => found.push(definition),
            None if if_exists => {
                notices.push(Notice::info("00000", format!("relation \"{table}\" does not exist, skipping")));
            }
            None => return Err(Error::UndefinedTable { name: table.clone(), position: None }),
        }
    }
    Ok((found, notices))
}

/// The rows of a materialized view are those of its query.
fn refuse_materialized(metadata: &Metadata, table: &TableDefinition) -> Result<()> {
    if metadata.materialized.contains_key(&table.name) {
        let message = format!("cannot change materialized view \"{}\"", table.name.table);
        return Err(Error::WrongObjectType { message });
    }
    Ok(())
}

/// `TRUNCATE`: the files are no more the table's. They stay for the snapshots that know them.
pub async fn truncate(
    coordinator: &Coordinator,
    session: &mut Session,
    wanted: &TableDrop,
) -> Result<Outcome> {
    const TAG: &str = "TRUNCATE TABLE";
    let metadata = metadata(coordinator, session);
    let (tables, notices) = named(coordinator, session, &wanted.names, wanted.if_exists)?;
    let role = current(&metadata, session)?.oid;
    let mut changes = Vec::new();
    for table in tables {
        refuse_materialized(&metadata, &table)?;
        let object = GrantObject::Table(table.name.clone());
        let is_own = table.name.schema == TEMPORARY_SCHEMA;
        if table.view.is_none() && !is_own && !metadata.allows(role, &object, Privilege::Truncate) {
            return Err(Error::PermissionDenied { message: format!("permission denied for {object}") });
        }
        let table = writable(&table)?;
        let Some(managed) = &table.managed else { continue };
        let removed: Vec<i64> = managed.files.iter().map(|file| file.id).collect();
        if !removed.is_empty() {
            let added = Arc::default();
            changes.push(Change::Files { table: table.name.clone(), table_id: managed.id, removed, added });
        }
    }
    if !changes.is_empty() {
        change(coordinator, session, changes, TAG).await?;
    } else {
        session.check_may_write(TAG)?;
    }
    Ok(Outcome::with_notices(TAG, notices))
}

/// `ALTER TABLE`, save for keys.
pub async fn alter(
    coordinator: &Arc<Coordinator>,
    session: &mut Session,
    wanted: &TableAlter,
) -> Result<Outcome> {
    let tag = match wanted.said {
        RelationKind::Table => "ALTER TABLE",
        RelationKind::View => "ALTER VIEW",
        RelationKind::MaterializedView => "ALTER MATERIALIZED VIEW",
    };
    let seen = metadata(coordinator, session);
    let names = [(wanted.schema.clone(), wanted.table.clone())];
    let (tables, mut notices) = named(coordinator, session, &names, wanted.if_exists)?;
    let Some(table) = tables.into_iter().next() else { return Ok(Outcome::with_notices(tag, notices)) };
    super::must_be(&seen, &table, wanted.said)?;
    if table.name.schema == TEMPORARY_SCHEMA {
        let message = "ALTER TABLE of a temporary table is not supported".to_owned();
        return Err(Error::NotSupported { message });
    }
    if !seen.tables.contains_key(&table.name) {
        let message = format!(
            "table \"{}\" was found in a location of the server and cannot be altered",
            table.name.table
        );
        return Err(Error::NotSupported { message });
    }
    must_own_table(&seen, session, &table.name)?;
    let mut changes = Vec::new();
    let mut views = readers::Readers::of(coordinator, session, &table.name)?;
    // Each step is looked at on top of those before it.
    let mut next = Metadata::clone(&seen);
    let mut name = table.name.clone();
    for step in &wanted.steps {
        let change = match step {
            AlterStep::Rename { to } => {
                must_be_able_to_create(&seen, role_oid(&seen, session), &name)?;
                let to = TableName::new(name.schema.as_str(), to.as_str());
                if pg_catalog::is_system_table(None, &to.table) {
                    let message = format!("\"{}\" is the name of a system relation", to.table);
                    return Err(Error::ReservedName { message });
                }
                check_name(&to.table)?;
                let taken =
                    snapshot(coordinator, session).table(&to).is_some() || next.tables.contains_key(&to);
                if taken {
                    return Err(Error::DuplicateTable { name: to.table });
                }
                if let Some(other) = alike(&next, &to).filter(|other| **other != name) {
                    return Err(Error::DuplicateTable { name: other.table.clone() });
                }
                let from = std::mem::replace(&mut name, to.clone());
                let rename = Change::RenameTable { from: from.clone(), to: to.clone() };
                for change in views.renamed(&next, &from, &to)? {
                    next.apply(&change);
                    changes.push(change);
                }
                rename
            }
            AlterStep::OwnerTo { role: wanted } => {
                let owner = meant(&seen, session, wanted)?;
                let object = GrantObject::Table(name.clone());
                if next.owner_of(&object) != owner.oid {
                    must_be_member(&seen, session, owner)?;
                    let me = current(&seen, session)?;
                    must_be_able_to_create(&seen, if me.is_superuser { me.oid } else { owner.oid }, &name)?;
                }
                for change in next.with_owner(&object, owner.oid) {
                    next.apply(&change);
                    changes.push(change);
                }
                Change::SetOwner { table: name.clone(), owner: owner.oid }
            }
            step => {
                let table = next.tables.get(&name).ok_or_else(|| Error::internal("a table went away"))?;
                refuse_materialized(&next, table)?;
                let table = writable(table)?;
                let Some(change) = column_change(&table, step, &mut notices, &session.settings.display())?
                else {
                    continue;
                };
                let change = Change::Columns { table: name.clone(), change };
                for dropped in views.kept(&next, &change, step).await? {
                    next.apply(&dropped);
                    changes.push(dropped);
                }
                change
            }
        };
        next.apply(&change);
        changes.push(change);
    }
    if !changes.is_empty() {
        refuse_after_rows(session, &table.name, &changes)?;
        change(coordinator, session, changes, tag).await?;
    }
    notices.extend(views.notice());
    Ok(Outcome::with_notices(tag, notices))
}

/// Refuses a name that `role` could not have given (42501).
pub(super) fn must_be_able_to_create(metadata: &Metadata, role: u32, name: &TableName) -> Result<()> {
    match metadata.allows(role, &GrantObject::Schema(name.schema.clone()), Privilege::Create) {
        true => Ok(()),
        false => {
            Err(Error::PermissionDenied { message: format!("permission denied for schema {}", name.schema) })
        }
    }
}

/// Files tell by their snapshot which names their columns have: within one, those cannot change.
fn refuse_after_rows(session: &Session, name: &TableName, changes: &[Change]) -> Result<()> {
    let writes = |change: &Change| matches!(change, Change::Files { table, .. } if table == name);
    let alters = |change: &Change| matches!(change, Change::Columns { .. });
    if session.pending.changes.iter().any(writes) && changes.iter().any(alters) {
        let message = "ALTER TABLE of a table that the same transaction wrote to is not supported".to_owned();
        return Err(Error::NotSupported { message });
    }
    Ok(())
}

fn column_change(
    table: &TableDefinition,
    step: &AlterStep,
    notices: &mut Vec<Notice>,
    display: &Display,
) -> Result<Option<ColumnChange>> {
    let Some(managed) = &table.managed else { return Ok(None) };
    let relation = &table.name.table;
    let find = |name: &str| managed.current_columns().find(|column| column.field.name() == name);
    let found = |name: &str| {
        find(name).ok_or_else(|| Error::UndefinedColumn {
            column: name.to_owned(),
            suggestion: None,
            position: None,
        })
    };
    let alike = |name: &str| {
        managed.current_columns().any(|column| column.field.name().to_lowercase() == name.to_lowercase())
    };
    let layout_uses = |name: &str, id: i64| {
        managed.sort.iter().any(|sort| sort.column == name)
            || managed.partitioning.iter().flat_map(|p| &p.keys).any(|key| key.column == id)
    };
    let in_use = |name: &str| Error::DependentObjects {
        message: format!(
            "column \"{name}\" of relation \"{relation}\" says how the table is partitioned or sorted"
        ),
        detail: "Such a column keeps its name and its type.".to_owned(),
    };
    Ok(Some(match step {
        AlterStep::AddColumn { column, if_not_exists } => {
            check_name(&column.name)?;
            if alike(&column.name) {
                let message = format!("column \"{}\" of relation \"{relation}\" already exists", column.name);
                if *if_not_exists {
                    notices.push(Notice::info("42701", format!("{message}, skipping")));
                    return Ok(None);
                }
                return Err(Error::DuplicateColumn { message });
            }
            let new = new_column(column, display)?;
            check_default(&new)?;
            if !new.is_nullable && new.default.is_none() && managed.rows() > 0 {
                let message =
                    format!("column \"{}\" of relation \"{relation}\" contains null values", new.name);
                return Err(Error::InvalidTableDefinition { message });
            }
            if types::stored_as(&new.data_type).is_none() && !new.data_type.is_nested() {
                let message = format!("the type of column \"{}\" cannot be stored in a table", new.name);
                return Err(Error::NotSupported { message });
            }
            ColumnChange::Add(new)
        }
        AlterStep::DropColumn { name, if_exists, .. } => {
            let Some(column) = find(name) else {
                if *if_exists {
                    let message =
                        format!("column \"{name}\" of relation \"{relation}\" does not exist, skipping");
                    notices.push(Notice::info("00000", message));
                    return Ok(None);
                }
                return Err(found(name).err().unwrap_or_else(|| Error::internal("a column went away")));
            };
            if layout_uses(name, column.id) {
                return Err(in_use(name));
            }
            if managed.current_columns().count() == 1 {
                let message = "tables without columns are not supported".to_owned();
                return Err(Error::NotSupported { message });
            }
            ColumnChange::Drop { name: name.clone() }
        }
        AlterStep::RenameColumn { name, to } => {
            found(name)?;
            check_name(to)?;
            check_column_name(to)?;
            if alike(to) && name.to_lowercase() != to.to_lowercase() {
                let message = format!("column \"{to}\" of relation \"{relation}\" already exists");
                return Err(Error::DuplicateColumn { message });
            }
            // A sort order names its columns.
            if managed.sort.iter().any(|sort| sort.column == *name) {
                return Err(in_use(name));
            }
            ColumnChange::Rename { name: name.clone(), to: to.clone() }
        }
        AlterStep::SetType { name, data_type, declared } => {
            let column = found(name)?;
            let is_same = column.field.data_type() == data_type && column.declared == *declared;
            if is_same {
                return Ok(None);
            }
            if layout_uses(name, column.id) {
                return Err(in_use(name));
            }
            let is_wider = types::widens(column.field.data_type(), data_type)
                && declared::widens(column.declared.as_ref(), declared.as_ref());
            if !is_wider {
                let message = format!(
                    "column \"{name}\" can only be changed to a type that holds every value of the one it has"
                );
                return Err(Error::NotSupported { message });
            }
            let (data_type, declared) = (data_type.clone(), declared.clone());
            ColumnChange::Widen { name: name.clone(), data_type, declared }
        }
        AlterStep::SetNullable { name, is_nullable } => {
            let column = found(name)?;
            let has_nulls = || {
                managed.files.iter().any(|file| {
                    let known = file.columns.iter().find(|known| known.id == column.id);
                    known.is_none_or(|known| known.nulls != Some(0))
                })
            };
            if !is_nullable && has_nulls() {
                let message = format!("column \"{name}\" of relation \"{relation}\" contains null values");
                return Err(Error::InvalidTableDefinition { message });
            }
            ColumnChange::SetNullable { name: name.clone(), is_nullable: *is_nullable }
        }
        AlterStep::SetDefault { name, default } => {
            let column = found(name)?;
            let default = stored_default(default.as_ref(), name, column.field.data_type(), display)?;
            check_default(&NewColumn {
                name: name.clone(),
                data_type: column.field.data_type().clone(),
                is_nullable: true,
                default: default.clone(),
                declared: None,
            })?;
            ColumnChange::SetDefault { name: name.clone(), default }
        }
        AlterStep::Rename { .. } | AlterStep::OwnerTo { .. } => return Ok(None),
    }))
}
