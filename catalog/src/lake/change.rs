//! What a statement makes of a managed table. Identifiers are given when a change is carried out, so that it
//! can be carried out again on a later version.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};

use super::columns::{numbered, type_name};
use super::{Column, DataFile, DeclaredType, ManagedTable, NewFile, PartitionKey, Partitioning, SortColumn};
use crate::definition::{ExternalFiles, TableDefinition, TableName, TableStatistics, stable_oid};

/// A table to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTable {
    /// Its name.
    pub name: TableName,
    /// Its `table_uuid`.
    pub uuid: String,
    /// Its columns.
    pub columns: Vec<NewColumn>,
    /// The columns that cut it into files, by name, with their transforms.
    pub partition_by: Vec<(String, String)>,
    /// The order of its rows.
    pub sort: Vec<SortColumn>,
}

/// A column to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// It may be null.
    pub is_nullable: bool,
    /// What a row gets that names no value, in DuckLake's text.
    pub default: Option<String>,
    /// The type that the statement named, where DuckLake's name does not say it.
    pub declared: Option<DeclaredType>,
}

/// A change of a table's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields of what is changed.
pub enum ColumnChange {
    Add(NewColumn),
    Drop {
        name: String,
    },
    Rename {
        name: String,
        to: String,
    },
    /// To a type that holds every value of the old one.
    Widen {
        name: String,
        data_type: DataType,
        declared: Option<DeclaredType>,
    },
    SetNullable {
        name: String,
        is_nullable: bool,
    },
    SetDefault {
        name: String,
        default: Option<String>,
    },
}

impl NewTable {
    /// The table with `id` in `folder`, as of `snapshot`. `None` when a column's type cannot be stored.
    pub fn define(&self, id: i64, partition_id: i64, folder: &str, snapshot: u64) -> Option<TableDefinition> {
        let mut next_id = 1;
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            columns.push(column.define(&mut next_id, columns.len() as i64 + 1, snapshot)?);
        }
        let key = |(name, transform): &(String, String)| {
            let column = columns.iter().find(|column: &&Column| column.field.name() == name)?;
            Some(PartitionKey { column: column.id, transform: transform.clone() })
        };
        let keys = self.partition_by.iter().map(key).collect::<Option<Vec<_>>>()?;
        let managed = ManagedTable {
            id,
            uuid: self.uuid.clone(),
            partitioning: (!keys.is_empty()).then_some(Partitioning { id: partition_id, keys }),
            sort: self.sort.clone(),
            columns,
            files: Vec::new(),
            next_row_id: 0,
            problem: None,
            damage: None,
        };
        Some(define(self.name.clone(), folder.to_owned(), managed))
    }
}

impl NewColumn {
    fn define(&self, next_id: &mut i64, order: i64, snapshot: u64) -> Option<Column> {
        let field = numbered(&self.name, &self.data_type, self.is_nullable, next_id)?;
        Some(Column {
            id: super::field_id(&field)?,
            type_name: type_name(&field),
            field,
            order,
            initial_default: None,
            default: self.default.clone(),
            declared: self.declared.clone(),
            begin_snapshot: snapshot,
            end_snapshot: None,
        })
    }
}

/// The definition of a managed table: what every table has is taken from `managed`.
pub fn define(name: TableName, location: String, managed: ManagedTable) -> TableDefinition {
    let fields: Vec<FieldRef> = managed.current_columns().map(|column| without_ids(&column.field)).collect();
    TableDefinition {
        oid: stable_oid(&managed.uuid),
        name,
        location,
        file_schema: Arc::new(Schema::new(fields)),
        partition_columns: Vec::new(),
        statistics: statistics(&managed),
        files: ExternalFiles::default(),
        analyzed: Arc::default(),
        managed: Some(Arc::new(managed)),
        view: None,
        unavailable: None,
    }
}

/// The identifiers are the files' business; plans are compared with their fields' metadata.
fn without_ids(field: &FieldRef) -> FieldRef {
    let kind = match field.data_type() {
        DataType::List(item) => DataType::List(without_ids(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(without_ids).collect()),
        DataType::Map(entries, is_sorted) => DataType::Map(without_ids(entries), *is_sorted),
        other => other.clone(),
    };
    Arc::new(Field::new(field.name(), kind, field.is_nullable()))
}

fn statistics(managed: &ManagedTable) -> TableStatistics {
    let rows = managed.rows();
    let column_bytes = managed.current_columns().map(|column| {
        let stored: u64 = managed
            .files
            .iter()
            .flat_map(|file| file.columns.iter().filter(|known| known.id == column.id))
            .map(|known| known.bytes)
            .sum();
        match column.field.data_type().primitive_width() {
            Some(width) => rows * width as u64,
            // Compressed text is about a third of what it is in memory.
            None => (stored * 3).max(rows * 16),
        }
    });
    TableStatistics {
        files: managed.files.len() as u64,
        file_bytes: managed.files.iter().map(|file| file.file_bytes).sum(),
        rows,
        column_bytes: column_bytes.collect(),
    }
}

/// `definition` with `change` to what is its own as a managed table.
fn changed(definition: &TableDefinition, change: impl FnOnce(&mut ManagedTable)) -> Option<TableDefinition> {
    let mut managed = ManagedTable::clone(definition.managed.as_ref()?);
    change(&mut managed);
    let mut next = define(definition.name.clone(), definition.location.clone(), managed);
    next.oid = definition.oid;
    Some(next)
}

/// `definition` without the files `removed` and with `added`, whose identifiers begin at `first_id`.
pub fn with_files(
    definition: &TableDefinition,
    removed: &[i64],
    added: &[NewFile],
    first_id: i64,
    snapshot: u64,
) -> Option<TableDefinition> {
    changed(definition, |managed| {
        managed.files.retain(|file| !removed.contains(&file.id));
        let partitioning = managed.partitioning.as_ref().map(|partitioning| partitioning.id);
        for (at, file) in added.iter().enumerate() {
            managed.files.push(Arc::new(DataFile {
                id: first_id + at as i64,
                location: format!("{}{}", definition.location, file.path),
                rows: file.rows,
                file_bytes: file.file_bytes,
                footer_bytes: file.footer_bytes,
                begin_snapshot: snapshot,
                columns: file.columns.clone(),
                partitioning,
                partition: file.partition.clone(),
                deletes: None,
            }));
            managed.next_row_id += file.rows;
        }
    })
}

/// `definition` with other columns. `None` when there is no such column, or the type cannot be stored.
pub fn with_columns(
    definition: &TableDefinition,
    change: &ColumnChange,
    snapshot: u64,
) -> Option<TableDefinition> {
    let mut is_done = false;
    let next = changed(definition, |managed| {
        is_done = match change {
            ColumnChange::Add(column) => {
                let mut next_id = managed.next_column_id();
                let order = managed.columns.iter().map(|column| column.order).max().unwrap_or(0) + 1;
                let added = column.define(&mut next_id, order, snapshot);
                if let Some(mut added) = added {
                    added.initial_default.clone_from(&added.default);
                    managed.columns.push(added);
                    true
                } else {
                    false
                }
            }
            ColumnChange::Drop { name } => end(managed, name, snapshot).is_some(),
            ColumnChange::Rename { name, to } => replace(managed, name, snapshot, |column| {
                column.field = Arc::new(column.field.as_ref().clone().with_name(to));
            }),
            ColumnChange::Widen { name, data_type, declared } => replace(managed, name, snapshot, |column| {
                column.declared.clone_from(declared);
                column.field = Arc::new(column.field.as_ref().clone().with_data_type(data_type.clone()));
                column.type_name = type_name(&column.field);
            }),
            ColumnChange::SetNullable { name, is_nullable } => replace(managed, name, snapshot, |column| {
                column.field = Arc::new(column.field.as_ref().clone().with_nullable(*is_nullable));
            }),
            ColumnChange::SetDefault { name, default } => {
                replace(managed, name, snapshot, |column| column.default.clone_from(default))
            }
        };
    });
    next.filter(|_| is_done)
}

/// Ends the present version of a column, and tells it.
fn end(managed: &mut ManagedTable, name: &str, snapshot: u64) -> Option<Column> {
    let at = managed
        .columns
        .iter()
        .position(|column| column.end_snapshot.is_none() && column.field.name() == name)?;
    let ended = managed.columns[at].clone();
    if ended.begin_snapshot == snapshot {
        managed.columns.remove(at);
    } else {
        managed.columns[at].end_snapshot = Some(snapshot);
    }
    Some(ended)
}

/// Ends the present version of a column and begins another, in the same place.
fn replace(managed: &mut ManagedTable, name: &str, snapshot: u64, edit: impl FnOnce(&mut Column)) -> bool {
    let Some(mut column) = end(managed, name, snapshot) else { return false };
    column.begin_snapshot = snapshot;
    edit(&mut column);
    let order = column.order;
    managed.columns.push(column);
    managed.columns.sort_by_key(|column| (column.order, column.end_snapshot.is_none()));
    debug_assert!(order > 0, "columns are counted from 1");
    true
}
