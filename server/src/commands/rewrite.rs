//! `REFRESH MATERIALIZED VIEW` and `OPTIMIZE`: the files of a table are written again, and the new ones take the
//! place of the old in one commit. Who reads meanwhile reads the old ones.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use catalog::lake::{DataFile, ManagedTable};
use catalog::{
    Change, GrantObject, Materialized, TableDefinition, TableName, Target, own_schema, target_schema,
};
use datafusion::arrow::datatypes::{DataType, Schema};
use engine::{ByteSize, Error, Result};

use super::managed;
use super::write::{self, Ready};
use crate::query::{self, QueryContext};
use crate::session::{Notice, TEMPORARY_SCHEMA};
use crate::sql::{self, RewriteTable, Write, WriteTo};

/// Writes the files. Nothing is changed yet.
pub async fn prepare(context: &QueryContext, wanted: &RewriteTable) -> Result<Ready> {
    let table = write::find(context, wanted.schema.as_deref(), &wanted.table)?;
    must_own(context, &table)?;
    match wanted.is_refresh {
        true => refresh(context, wanted, &table).await,
        false => optimize(context, wanted, &managed::writable(&table)?).await,
    }
}

fn must_own(context: &QueryContext, table: &TableDefinition) -> Result<()> {
    let metadata = context.snapshot.metadata();
    if table.name.schema == TEMPORARY_SCHEMA
        || metadata.owns(context.role_oid, &GrantObject::Table(table.name.clone()))
    {
        return Ok(());
    }
    let kind = super::kind_of(metadata, &table.name);
    Err(Error::PermissionDenied { message: format!("must be owner of {kind} {}", table.name.table) })
}

async fn refresh(
    context: &QueryContext,
    wanted: &RewriteTable,
    table: &Arc<TableDefinition>,
) -> Result<Ready> {
    let name = &table.name.table;
    let Some(known) = context.snapshot.metadata().materialized.get(&table.name).cloned() else {
        return Err(Error::WrongObjectType { message: format!("\"{name}\" is not a materialized view") });
    };
    let managed = table.managed.as_deref().ok_or_else(|| Error::internal("a table has no files of ours"))?;
    managed::writable(table)?;
    let context = context.as_owner(context.snapshot.metadata().owner(&table.name))?;
    let query = sql::view_query(&known.sql, &context.facts)?;
    let columns = query::describe(&context, &query, &[]).await?.columns;
    check_columns(&columns, table)?;
    let of = materialized(&context, &query, known.sql.clone(), known.partitions)?;
    let write = Write { to: WriteTo::Rewrite, query, text: Arc::clone(&wanted.text) };
    let (pending, written) = write::run(&context, &write, &[], table, known.partitions).await?;
    let replaced = Change::Files {
        table: table.name.clone(),
        table_id: managed.id,
        removed: managed.files.iter().map(|file| file.id).collect(),
        added: Arc::new(written.table_files()),
    };
    let of = Change::PutMaterialized { table: table.name.clone(), of: Arc::new(of) };
    let tag = "REFRESH MATERIALIZED VIEW".to_owned();
    Ok(write::ready(Vec::new(), pending, written, tag).with_changes(vec![replaced, of]))
}

/// The query must still give what the table holds.
fn check_columns(columns: &Schema, table: &TableDefinition) -> Result<()> {
    let is_text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
    let is_bytes = |kind: &DataType| matches!(kind, DataType::Binary | DataType::BinaryView);
    let fits = |found: &DataType, kept: &DataType| {
        found == kept
            || is_text(found) && is_text(kept)
            || is_bytes(found) && is_bytes(kept)
            || catalog::lake::types::stored_as(found).is_some_and(|(_, stored)| stored == *kept)
    };
    let kept = table.fields();
    let is_same = columns.fields().len() == kept.len()
        && columns.fields().iter().zip(&kept).all(|(found, kept)| fits(found.data_type(), kept.data_type()));
    if is_same {
        return Ok(());
    }
    let message = format!(
        "the query of materialized view \"{}\" gives other columns than when it was made: drop it and make it again",
        table.name.table
    );
    Err(Error::InvalidTableDefinition { message })
}

/// What a table is made of by `query`, now.
pub fn materialized(
    context: &QueryContext,
    query: &sql::Query,
    sql: String,
    partitions: Option<usize>,
) -> Result<Materialized> {
    let read = query::tables_of(context, query)?;
    let mut inputs: BTreeMap<(String, String), Option<String>> = BTreeMap::new();
    for table in read {
        inputs.insert((table.name.schema.clone(), table.name.table.clone()), table.contents());
    }
    let inputs = inputs.into_iter().map(|((schema, table), contents)| (schema, table, contents)).collect();
    let snapshot = context.snapshot.version();
    Ok(Materialized { sql, snapshot, inputs, partitions, is_unpopulated: false })
}

async fn optimize(
    context: &QueryContext,
    wanted: &RewriteTable,
    table: &Arc<TableDefinition>,
) -> Result<Ready> {
    const TAG: &str = "OPTIMIZE TABLE";
    let managed = table.managed.as_deref().ok_or_else(|| Error::internal("a table has no files of ours"))?;
    let chosen = chosen(managed, context.file_bytes_max);
    if chosen.is_empty() {
        let notice = format!("the files of table \"{}\" are as they should be", table.name.table);
        return Ok(Ready::changes(Vec::new(), TAG.to_owned()).with_notice(Notice::info("00000", notice)));
    }
    let rows = |file: &Arc<DataFile>| file.rows - file.deletes.as_ref().map_or(0, |deletes| deletes.rows);
    let is_chosen = |file: &&Arc<DataFile>| chosen.contains(&file.id);
    let before: u64 = managed.files.iter().filter(is_chosen).map(rows).sum();
    let bytes: u64 = managed.files.iter().filter(is_chosen).map(|file| file.file_bytes).sum();
    let mut context = context.clone();
    context.target = Some(Target { table: Arc::clone(table), files: Some(Arc::new(chosen.clone())) });
    let name = TableName::new(target_schema(own_schema(&table.name.schema)), table.name.table.as_str());
    let columns: Vec<String> = table.fields().iter().map(|field| field.name().clone()).collect();
    let query = sql::columns_of(&name, &columns, &context.facts)?;
    let write = Write { to: WriteTo::Rewrite, query, text: Arc::clone(&wanted.text) };
    let (pending, written) = write::run(&context, &write, &[], table, None).await?;
    if written.rows() != before {
        return Err(Error::internal(format!("{} rows became {}", before, written.rows())));
    }
    let after: u64 = written.files.iter().map(|written| written.file.file_bytes).sum();
    let notice = format!(
        "{} files of {} became {} of {}",
        chosen.len(),
        ByteSize(bytes),
        written.files.len(),
        ByteSize(after)
    );
    let replaced = Change::Files {
        table: table.name.clone(),
        table_id: managed.id,
        removed: chosen.into_iter().collect(),
        added: Arc::new(written.table_files()),
    };
    let ready = write::ready(Vec::new(), pending, written, TAG.to_owned());
    Ok(ready.with_changes(vec![replaced]).with_notice(Notice::info("00000", notice)))
}

/// The files that are worth writing again: those of rows that were deleted, of columns that have changed, and
/// small ones that lie beside others of the same partition.
fn chosen(managed: &ManagedTable, file_bytes_max: u64) -> HashSet<i64> {
    let is_old = |file: &DataFile| {
        let names = managed.current_columns().map(|column| Some(column.field.name().clone()));
        file.deletes.is_some() || !managed.layout_of(file).iter().cloned().eq(names)
    };
    let mut chosen: HashSet<i64> = managed.files.iter().filter(|f| is_old(f)).map(|file| file.id).collect();
    let mut small: BTreeMap<Vec<Option<&str>>, Vec<i64>> = BTreeMap::new();
    for file in managed.files.iter().filter(|file| file.file_bytes < file_bytes_max / 2) {
        let partition = file.partition.iter().map(|value| value.text.as_deref()).collect();
        small.entry(partition).or_default().push(file.id);
    }
    for files in small.into_values().filter(|files| files.len() > 1) {
        chosen.extend(files);
    }
    chosen
}
