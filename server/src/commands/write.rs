//! `INSERT`, `CREATE TABLE … AS`, `DELETE` and `UPDATE`: rows are written to files, and the files committed at once or with
//! the transaction block.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use catalog::lake::{DeclaredType, NewColumn, NewFile, NewTable};
use catalog::table::external::Declared;
use catalog::{
    Change, ExternalFormat, GrantObject, PG_TYPE, PG_TYPMOD, Privilege, TableDefinition, TableName, Target,
    lake,
};
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use engine::functions::numbers::digits;
use engine::functions::numbers::wide::is_wide;
use engine::operators::WrittenFile;
use engine::{Error, Result};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::managed::{self, Named};
use super::{Outcome, change_from, export, rewrite, tables, views};
use crate::locations;
use crate::pg_catalog::types;
use crate::query::{self, QueryContext, Sink, Written};
use crate::session::{Charge, Notice, Session, TEMPORARY_SCHEMA};
use crate::sql::{self, CopyFrom, CopyIn, Explain, Query, RowChange, TableMake, Write, WriteTo};
use crate::writes::PendingFiles;

/// What is ready to be committed.
pub struct Ready {
    changes: Vec<Change>,
    files: Option<(PendingFiles, HashSet<String>, bool)>,
    export: Option<export::Ready>,
    tag: String,
    notices: Vec<Notice>,
}

impl Ready {
    /// Changes of the catalog alone.
    pub fn changes(changes: Vec<Change>, tag: String) -> Self {
        Self { changes, files: None, export: None, tag, notices: Vec::new() }
    }

    /// The same with other changes.
    pub fn with_changes(self, changes: Vec<Change>) -> Self {
        Self { changes, ..self }
    }

    /// The same with something more to tell.
    pub fn with_notice(mut self, notice: Notice) -> Self {
        self.notices.push(notice);
        self
    }
}

/// Writes the rows of `write`. Nothing is changed yet; dropping the future stops the work and removes the
/// files.
pub async fn prepare(context: &QueryContext, write: &Write, parameters: &[ScalarValue]) -> Result<Ready> {
    match &write.to {
        WriteTo::Insert { schema, table } => {
            let target = target(context, schema.as_deref(), table)?;
            check_privilege(context, &target, Privilege::Insert)?;
            let (pending, written) = run(context, write, parameters, &target, None).await?;
            let tag = format!("INSERT 0 {}", written.rows());
            let change = added(&target, written.table_files());
            Ok(ready(vec![change], pending, written, tag))
        }
        WriteTo::Rewrite => Err(Error::internal("files are rewritten by DELETE and UPDATE")),
        WriteTo::Create(make) => create(context, write, make, parameters).await,
        WriteTo::Location(to) => {
            let export = export::prepare(context, &write.query, parameters, to).await?;
            Ok(Ready { export: Some(export), ..Ready::changes(Vec::new(), String::new()) })
        }
    }
}

/// What `write` is expected to take, as `explain` wants it told. Nothing is written. Empty, with a notice, where there is
/// nothing to do.
pub async fn explain(
    context: &QueryContext,
    write: &Write,
    explain: Explain,
    parameters: &[ScalarValue],
) -> Result<(RecordBatch, Option<Notice>)> {
    let nothing = || RecordBatch::new_empty(query::explain_columns());
    let sink = match &write.to {
        WriteTo::Insert { schema, table } => {
            let target = target(context, schema.as_deref(), table)?;
            check_privilege(context, &target, Privilege::Insert)?;
            Sink::Table(target, None)
        }
        WriteTo::Create(make) => {
            let kind = (make.if_not_exists, make.is_temporary);
            let name = match managed::name_for(context, make.schema.as_deref(), &make.table, kind)? {
                Named::Free(name) => name,
                Named::Exists(notice) => return Ok((nothing(), Some(notice))),
            };
            if make.materialized.is_some() {
                views::check_sources(context, &write.query)?;
            }
            let columns = query::describe(context, &write.query, &[]).await?.columns;
            let (_, target) = made(context, make, &name, &columns)?;
            Sink::Table(target, make.partitions)
        }
        WriteTo::Location(_) | WriteTo::Rewrite => {
            return Err(Error::NotSupported { message: "EXPLAIN of COPY".into() });
        }
    };
    let mut rows = query::explain_write(context, &write.query, parameters, &sink, explain).await?;
    Ok((rows.next().await.transpose()?.unwrap_or_else(nothing), None))
}

/// Refuses an INSERT into what cannot take rows, before anything of it is planned.
pub fn check_target(context: &QueryContext, write: &Write) -> Result<()> {
    match &write.to {
        WriteTo::Insert { schema, table } => target(context, schema.as_deref(), table).map(drop),
        _ => Ok(()),
    }
}

/// Commits what is ready, or keeps it for the end of the block.
pub async fn commit(context: &QueryContext, session: &mut Session, ready: Ready) -> Result<Outcome> {
    let Ready { changes, files, export, tag, notices } = ready;
    if let Some(export) = export {
        return Ok(Outcome::tag(export::commit(context, export).await?));
    }
    if !changes.is_empty() {
        let seen = Arc::clone(context.snapshot.metadata());
        // The files go with an error here, and with the block's end if it is not a commit.
        match change_from(&context.coordinator, session, seen, changes, "INSERT").await {
            Err(error @ Error::CommitUnknown) => {
                files.into_iter().for_each(|(pending, ..)| pending.leave());
                return Err(error);
            }
            outcome => outcome?,
        }
    }
    if let Some((pending, names, was_retried)) = files {
        // A session's own files go with the session.
        let is_own = session.temporary.as_ref().is_some_and(|own| own.holds(pending.table_folder()));
        match session.transaction.is_going_on() && !is_own {
            true => session.pending.files.push((pending, names, was_retried)),
            false => pending.keep(names, was_retried),
        }
    }
    Ok(Outcome::with_notices(tag, notices))
}

async fn create(
    context: &QueryContext,
    write: &Write,
    make: &TableMake,
    parameters: &[ScalarValue],
) -> Result<Ready> {
    let tag = write.to.statement();
    let done = |notice| Ready { notices: vec![notice], ..Ready::changes(Vec::new(), tag.to_owned()) };
    let kind = (make.if_not_exists, make.is_temporary);
    let name = match managed::name_for(context, make.schema.as_deref(), &make.table, kind)? {
        Named::Free(name) => name,
        Named::Exists(notice) => return Ok(done(notice)),
    };
    let restricted = make.materialized.as_ref().map(|_| context.as_owner(context.role_oid)).transpose()?;
    let context = restricted.as_ref().unwrap_or(context);
    if make.materialized.is_some() {
        views::check_sources(context, &write.query)?;
    }
    let columns = query::describe(context, &write.query, &[]).await?.columns;
    let given: Vec<String> = columns.fields().iter().map(|field| field.name().clone()).collect();
    let (table, target) = made(context, make, &name, &columns)?;
    let owned = Change::SetOwner { table: name.clone(), owner: context.role_oid };
    let mut changes = vec![Change::CreateTable(table), owned];
    if let Some(view) = &make.materialized {
        if write.query.parameters.keys().next().is_some() {
            return Err(Error::UndefinedParameter { name: "$1".to_owned() });
        }
        let names: Vec<String> = target.fields().iter().map(|field| field.name().clone()).collect();
        let sql = view.stored_text(&given, &names, |table| context.schema_of(table))?;
        let query = sql::view_query(&sql, &context.facts)?;
        let mut of = rewrite::materialized(context, &query, sql, make.partitions)?;
        if write.query.is_empty {
            // It was computed of nothing: it has changed since.
            of.is_unpopulated = true;
            of.inputs.iter_mut().for_each(|(.., contents)| *contents = Some(String::new()));
        }
        changes.push(Change::PutMaterialized { table: name, of: Arc::new(of) });
    }
    if write.query.is_empty {
        return Ok(Ready::changes(changes, tag.to_owned()));
    }
    let (pending, written) = run(context, write, parameters, &target, make.partitions).await?;
    let tag = format!("SELECT {}", written.rows());
    changes.push(added(&target, written.table_files()));
    Ok(ready(changes, pending, written, tag))
}

/// The table that `make` makes for rows of these `columns`.
fn made(
    context: &QueryContext,
    make: &TableMake,
    name: &TableName,
    columns: &Schema,
) -> Result<(Arc<NewTable>, Arc<TableDefinition>)> {
    let table = Arc::new(managed::new_table(name, renamed(columns, make)?, make)?);
    let target = Arc::new(managed::defined(context, &table)?);
    Ok((table, target))
}

/// The query's columns as those of a table, under the names that the statement gives.
fn renamed(columns: &Schema, make: &TableMake) -> Result<Vec<NewColumn>> {
    if make.columns.len() > columns.fields().len() {
        let message = "too many column names were specified".to_owned();
        return Err(Error::Syntax { message, position: None });
    }
    let column = |(at, field): (usize, &Arc<Field>)| NewColumn {
        name: make.columns.get(at).map_or(field.name(), |column| &column.name).clone(),
        data_type: kept_type(field, make.materialized.is_some()),
        is_nullable: true,
        default: None,
        declared: declared_type(field, make.materialized.is_some()),
    };
    Ok(columns.fields().iter().enumerate().map(column).collect())
}

/// Whole numbers of a `numeric` that nobody gave a scale: rows that come later may have digits behind the point, which these do
/// not show. `is_final` says that none come. Others keep the scale that all their rows have.
fn is_open(field: &Field, is_final: bool) -> bool {
    !is_final && matches!(field.data_type(), DataType::Decimal128(_, 0)) && types::of_field(field).2 < 0
}

/// The type that the query's column is kept as.
fn kept_type(field: &Field, is_final: bool) -> DataType {
    match field.data_type() {
        _ if is_open(field, is_final) => digits::BARE,
        kind => kind.clone(),
    }
}

/// The type that the query's column is told to have, where Arrow has no such type.
fn declared_type(field: &Field, is_final: bool) -> Option<DeclaredType> {
    if is_wide(field.data_type()) || is_open(field, is_final) {
        return Some(DeclaredType { name: "numeric".to_owned(), modifier: -1 });
    }
    let told = |key: &str| field.metadata().get(key);
    let name = told(PG_TYPE)?.trim_start_matches('_').to_owned();
    let modifier = told(PG_TYPMOD)?.parse().ok()?;
    let is_kept = ["varchar", "bpchar", "name", "json", "time", "timestamp", "timestamptz"];
    let is_bare = name == "numeric" && modifier < 0;
    (is_bare || is_kept.contains(&name.as_str())).then_some(DeclaredType { name, modifier })
}

/// Writes the rows of `write` to `target`, to so many files of about one size where it is said.
pub async fn run(
    context: &QueryContext,
    write: &Write,
    parameters: &[ScalarValue],
    target: &Arc<TableDefinition>,
    partitions: Option<usize>,
) -> Result<(PendingFiles, Written)> {
    let pending = context.coordinator.writes.begin(context.id.as_str(), &target.location)?;
    let sink = Sink::Table(Arc::clone(target), partitions);
    let written = query::write(context, &write.query, parameters, &sink).await?;
    Ok((pending, written))
}

/// What was written, with the changes that take it in.
pub fn ready(changes: Vec<Change>, pending: PendingFiles, written: Written, tag: String) -> Ready {
    let name = |written: &WrittenFile| written.file.path.rsplit('/').next().unwrap_or_default().to_owned();
    let names = written.files.iter().map(name).collect();
    // Rows that are none leave the table as it is.
    let changes = if written.files.is_empty() {
        changes.into_iter().filter(|change| !matches!(change, Change::Files { .. })).collect()
    } else {
        changes
    };
    Ready { files: Some((pending, names, written.was_retried)), ..Ready::changes(changes, tag) }
}

fn added(target: &TableDefinition, files: Vec<NewFile>) -> Change {
    Change::Files {
        table: target.name.clone(),
        table_id: target.managed.as_ref().map_or(0, |managed| managed.id),
        removed: Vec::new(),
        added: Arc::new(files),
    }
}

/// Adds the rows of files that lie somewhere to a table.
pub async fn prepare_copy(context: &QueryContext, copy: &CopyFrom) -> Result<Ready> {
    let target = target(context, copy.schema.as_deref(), &copy.table)?;
    check_privilege(context, &target, Privilege::Insert)?;
    locations::must_be_superuser(context, "COPY from a location")?;
    let coordinator = &context.coordinator;
    let url = tables::allowed(coordinator, &copy.from).await?;
    let wanted = copied_columns(&target, &copy.columns)?;
    let name = TableName::new(query::COPIED_SCHEMA, "files");
    let is_csv = matches!(copy.from.files.format, ExternalFormat::Csv(_));
    // Lines have their values in the order of the columns; other files name theirs.
    let columns = is_csv.then(|| Arc::clone(&wanted));
    if let (ExternalFormat::Csv(csv), false) = (&copy.from.files.format, copy.from.is_header_told)
        && csv.has_header
    {
        let found = tables::first_columns(coordinator, &url, &copy.from).await?;
        check_header(&found, &wanted)?;
    }
    let declared = Declared { columns, partitions: Vec::new() };
    let files = tables::open(coordinator, name.clone(), &url, &copy.from, &declared).await?;
    let has: Vec<String> = files.fields().iter().map(|field| field.name().clone()).collect();
    let undefined =
        |column: &str| Error::UndefinedColumn { column: column.to_owned(), suggestion: None, position: None };
    let columns: Vec<String> = match copy.columns.is_empty() {
        true => has,
        false => wanted.fields().iter().map(|field| field.name().clone()).collect(),
    };
    for column in &columns {
        if target.position(column).is_none() || files.position(column).is_none() {
            return Err(undefined(column));
        }
    }
    let query = sql::insert_of_files(&target.name, &columns, &name, &context.facts)?;
    let mut context = context.clone();
    context.snapshot = Arc::new(context.snapshot.with_table(files));
    let to = WriteTo::Insert { schema: Some(target.name.schema.clone()), table: target.name.table.clone() };
    let write = Write { to, query, text: Arc::clone(&copy.text) };
    let (pending, written) = run(&context, &write, &[], &target, None).await?;
    let tag = format!("COPY {}", written.rows());
    let change = added(&target, written.table_files());
    Ok(ready(vec![change], pending, written, tag))
}

/// A header line that names other columns is a row, or that of other files.
fn check_header(found: &Schema, wanted: &Schema) -> Result<()> {
    let alike =
        |(found, wanted): (&Arc<Field>, &Arc<Field>)| found.name().eq_ignore_ascii_case(wanted.name());
    let width = found.fields().len();
    if width == wanted.fields().len() && found.fields().iter().zip(wanted.fields()).all(alike) {
        return Ok(());
    }
    let names: Vec<&str> = wanted.fields().iter().map(|field| field.name().as_str()).collect();
    let message = format!(
        "the first line of the files does not name the columns {}: say HEADER true to pass over it, or HEADER false",
        names.join(", ")
    );
    Err(Error::BadCopyFormat { message })
}

/// Rows that a client sends, as they come.
#[derive(Debug)]
pub struct Incoming {
    /// The rows.
    pub rows: RecordBatch,
    /// For as long as nobody else counts them.
    pub charge: Charge,
}

/// Where the rows of a COPY go.
pub struct CopyTarget {
    table: Arc<TableDefinition>,
    /// The columns that the data has, in its order.
    pub columns: SchemaRef,
}

/// The table of a COPY, and those of its columns that the data has.
pub fn copy_target(context: &QueryContext, copy: &CopyIn) -> Result<CopyTarget> {
    let table = target(context, copy.schema.as_deref(), &copy.table)?;
    check_privilege(context, &table, Privilege::Insert)?;
    let columns = copied_columns(&table, &copy.columns)?;
    Ok(CopyTarget { table, columns })
}

/// The columns of `table` called `names`; all when there is none.
fn copied_columns(table: &TableDefinition, names: &[String]) -> Result<SchemaRef> {
    let fields = table.fields();
    let field = |name: &String| {
        let found = fields.iter().find(|field| field.name() == name).cloned();
        found.ok_or_else(|| Error::UndefinedColumn { column: name.clone(), suggestion: None, position: None })
    };
    let columns =
        if names.is_empty() { fields } else { names.iter().map(field).collect::<Result<Vec<_>>>()? };
    let mut seen = HashSet::new();
    if let Some(twice) = columns.iter().find(|field| !seen.insert(field.name())) {
        return Err(managed::duplicate_column(twice.name()));
    }
    let columns = columns.into_iter().map(|field| field.with_nullable(true)).collect::<Vec<_>>();
    Ok(Arc::new(Schema::new(columns)))
}

/// Writes the rows that come in. An error among them ends it, and nothing of them stays.
pub async fn prepare_incoming(
    context: &QueryContext,
    target: &CopyTarget,
    incoming: mpsc::Receiver<Result<Incoming>>,
) -> Result<Ready> {
    let table = &target.table;
    let filled = filled_in(table, &target.columns)?;
    let pending = context.coordinator.writes.begin(context.id.as_str(), &table.location)?;
    let rows = ReceiverStream::new(incoming).map(move |batch| {
        let Incoming { rows, charge } = batch?;
        let rows = filled(&rows);
        drop(charge);
        rows
    });
    let written = query::write_rows(context, rows, table).await?;
    let tag = format!("COPY {}", written.rows());
    let change = added(table, written.table_files());
    Ok(ready(vec![change], pending, written, tag))
}

/// Makes whole rows of `table` of rows that have some of its columns: the others get their default.
fn filled_in(
    table: &TableDefinition,
    given: &SchemaRef,
) -> Result<impl Fn(&RecordBatch) -> Result<RecordBatch> + Send + use<>> {
    enum From {
        Given(usize),
        Default(ScalarValue),
    }
    let managed = table.managed.as_deref().ok_or_else(|| Error::internal("a table has no files of ours"))?;
    let mut from = Vec::new();
    for (field, column) in table.fields().iter().zip(managed.current_columns()) {
        from.push(match given.index_of(field.name()) {
            Ok(at) => From::Given(at),
            Err(_) => {
                let default = column.default.as_deref();
                let value = default.and_then(|text| lake::values::from_text(text, field.data_type()));
                From::Default(value.map_or_else(|| ScalarValue::try_from(field.data_type()), Ok)?)
            }
        });
    }
    let nullable = |field: Field| field.with_nullable(true);
    let schema = Arc::new(Schema::new(table.fields().into_iter().map(nullable).collect::<Vec<_>>()));
    Ok(move |batch: &RecordBatch| {
        let column = |from: &From| match from {
            From::Given(at) => Ok(Arc::clone(batch.column(*at))),
            From::Default(value) => value.to_array_of_size(batch.num_rows()),
        };
        let columns = from.iter().map(column).collect::<std::result::Result<Vec<_>, _>>()?;
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns);
        batch.map_err(|error| DataFusionError::from(error).into())
    })
}

/// Finds the files that hold rows which `change` means, and writes what they hold afterwards.
pub async fn prepare_change(
    context: &QueryContext,
    change: &RowChange,
    parameters: &[ScalarValue],
) -> Result<Ready> {
    let table = target(context, change.schema.as_deref(), &change.table)?;
    let privilege = if change.is_delete() { Privilege::Delete } else { Privilege::Update };
    check_privilege(context, &table, privilege)?;
    if change.reads_itself(&table) {
        check_privilege(context, &table, Privilege::Select)?;
    }
    let managed = table.managed.as_deref().ok_or_else(|| Error::internal("a table has no files of ours"))?;
    let word = if change.is_delete() { "DELETE" } else { "UPDATE" };
    let tag = |rows: u64| format!("{word} {rows}");
    let replaced = |removed: Vec<i64>, added: Vec<NewFile>| Change::Files {
        table: table.name.clone(),
        table_id: managed.id,
        removed,
        added: Arc::new(added),
    };
    let nothing = |changes: Vec<Change>, rows: u64| Ready::changes(changes, tag(rows));
    if change.is_delete() && change.is_of_all() {
        let all = managed.files.iter().map(|file| file.id).collect();
        return Ok(nothing(vec![replaced(all, Vec::new())], managed.rows()));
    }
    let mut context = context.clone();
    context.target = Some(Target { table: Arc::clone(&table), files: None });
    // An UPDATE is checked whole before anything runs.
    let rest = change.rest(&table)?;
    check_types(&context, change, &table).await?;
    let found = found(&context, &change.find(&table)?, parameters).await?;
    let meant: u64 = found.values().sum();
    if found.is_empty() {
        return Ok(nothing(Vec::new(), 0));
    }
    let rows_of = |id: &i64| {
        let file = managed.files.iter().find(|file| file.id == *id);
        file.map_or(0, |file| file.rows - file.deletes.as_ref().map_or(0, |deletes| deletes.rows))
    };
    let goes_whole = |(id, rows): &(&i64, &u64)| change.is_delete() && rows_of(id) == **rows;
    let rewritten: HashSet<i64> =
        found.iter().filter(|found| !goes_whole(found)).map(|(id, _)| *id).collect();
    let removed: Vec<i64> = found.keys().copied().collect();
    if rewritten.is_empty() {
        return Ok(nothing(vec![replaced(removed, Vec::new())], meant));
    }
    let before: u64 = rewritten.iter().map(rows_of).sum();
    let gone: u64 = if change.is_delete() { rewritten.iter().map(|id| found[id]).sum() } else { 0 };
    context.target = Some(Target { table: Arc::clone(&table), files: Some(Arc::new(rewritten)) });
    context.id = engine::QueryId::generate();
    let write = Write { to: WriteTo::Rewrite, query: rest, text: Arc::clone(&change.text) };
    let (pending, written) = run(&context, &write, parameters, &table, None).await?;
    if written.rows() != before - gone {
        let message = format!(
            "the rows that {word} means must be the same when they are looked for again: its condition is volatile"
        );
        return Err(Error::NotSupported { message });
    }
    let replaced = replaced(removed, written.table_files());
    let mut ready = ready(Vec::new(), pending, written, tag(meant));
    ready.changes = vec![replaced];
    Ok(ready)
}

/// Refuses values of types that the columns do not take.
async fn check_types(context: &QueryContext, change: &RowChange, table: &TableDefinition) -> Result<()> {
    let Some((query, fields)) = change.typed_values(table)? else { return Ok(()) };
    let values = query::describe(context, &query, &[]).await?.columns;
    let mut pairs = values.fields().iter().zip(&fields);
    pairs.try_for_each(|(value, field)| query::assignments::check_type(value.data_type(), field))
}

/// Rows that are meant, by file.
async fn found(
    context: &QueryContext,
    query: &Query,
    parameters: &[ScalarValue],
) -> Result<HashMap<i64, u64>> {
    let mut rows = query::run(context, query, parameters).await?;
    let mut found = HashMap::new();
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let numbers = |at: usize| cast(batch.column(at), &DataType::Int64).map_err(DataFusionError::from);
        let (files, counts) = (numbers(0)?, numbers(1)?);
        let (files, counts) = (files.as_primitive::<Int64Type>(), counts.as_primitive::<Int64Type>());
        found.extend(files.values().iter().zip(counts.values()).map(|(file, count)| (*file, *count as u64)));
    }
    Ok(found)
}

/// The query that tells what `change` asks of its parameters, and the context it is planned in.
pub fn described(context: &QueryContext, change: &RowChange) -> Result<(QueryContext, Query)> {
    let table = target(context, change.schema.as_deref(), &change.table)?;
    let mut context = context.clone();
    context.target = Some(Target { table: Arc::clone(&table), files: None });
    Ok((context, change.rest(&table)?))
}

/// The table that a statement writes to.
fn target(context: &QueryContext, schema: Option<&str>, table: &str) -> Result<Arc<TableDefinition>> {
    let found = find(context, schema, table)?;
    if context.snapshot.metadata().materialized.contains_key(&found.name) {
        let message = format!("cannot change materialized view \"{table}\"");
        return Err(Error::WrongObjectType { message });
    }
    managed::writable(&found)
}

/// A relation by name.
pub fn find(context: &QueryContext, schema: Option<&str>, table: &str) -> Result<Arc<TableDefinition>> {
    query::check_may_look_into(context.snapshot.metadata(), context.role_oid, schema)?;
    let schemas = schema.map_or_else(|| context.search_path.clone(), |schema| vec![schema.to_owned()]);
    let mut names = schemas.into_iter().map(|schema| TableName::new(schema, table));
    let found = names.find_map(|name| context.snapshot.table(&name).cloned());
    let missing = || Error::UndefinedTable { name: table.to_owned(), position: None };
    found.ok_or_else(missing)
}

/// Refuses what the role was not given (42501).
pub fn check_privilege(context: &QueryContext, table: &TableDefinition, wanted: Privilege) -> Result<()> {
    if table.name.schema == TEMPORARY_SCHEMA {
        return Ok(());
    }
    let metadata = context.snapshot.metadata();
    let schema = GrantObject::Schema(table.name.schema.clone());
    let object = GrantObject::Table(table.name.clone());
    for (object, privilege) in [(schema, Privilege::Usage), (object, wanted)] {
        if !metadata.allows(context.role_oid, &object, privilege) {
            return Err(Error::PermissionDenied { message: format!("permission denied for {object}") });
        }
    }
    Ok(())
}
