//! The simple protocol: a text of statements, run one by one, each answered as it runs.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use engine::{Error, Result};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::response::EmptyQueryResponse;
use std::result::Result as StdResult;

use super::connection::{Connection, Interrupts, Left};
use super::encode::{self, DataRows, Format, RowEncoder};
use super::frames::checked_text;
use super::portal::Cursor;
use super::{copy, copy_in, cursor};
use crate::commands;
use crate::query::{self, QueryContext, Rows};
use crate::session::Transaction;
use crate::sql::{self, Command, Explain, NamedColumns, TransactionCommand, Write};

/// Runs the statements of `text`. An error ends the text; ReadyForQuery follows in any case.
pub async fn run(connection: &mut Connection, text: &str) -> StdResult<(), Left> {
    match statements(connection, text).await {
        Ok(()) => {}
        Err(Left::Failed(error)) if !matches!(error, Error::ShuttingDown) => connection.fail(&error),
        Err(left) => return Err(left),
    }
    connection.end_implicit_transaction().await;
    connection.ready();
    connection.flush().await.map_err(|()| Left::Gone)?;
    connection.shrink();
    Ok(())
}

async fn statements(connection: &mut Connection, text: &str) -> StdResult<(), Left> {
    let limits = &connection.coordinator.config.limits;
    let parsed = sql::parse(checked_text(text)?, limits, &connection.facts())?;
    if parsed.is_empty() {
        connection.send(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new()));
        return Ok(());
    }
    let text: Arc<str> = Arc::from(text);
    let are_several = parsed.len() > 1;
    for statement in parsed {
        connection.follow()?;
        if are_several {
            // As in PostgreSQL: what comes together is committed together, where nothing in it says otherwise.
            connection.begin_implicit(Transaction::Implicit);
        }
        let interrupts = connection.start_statement(&text);
        let outcome = one(connection, &text, &statement.command, &interrupts).await;
        connection.end_statement();
        outcome?;
        connection.apply_effects()?;
    }
    Ok(())
}

async fn one(
    connection: &mut Connection,
    text: &Arc<str>,
    command: &Command,
    interrupts: &Interrupts,
) -> StdResult<(), Left> {
    enter(connection, command)?;
    let Command::Query(query) = command else {
        return run_command(connection, command, true, interrupts).await;
    };
    let context = QueryContext::new(
        &connection.coordinator,
        &connection.session,
        Arc::clone(text),
        interrupts.cancel.clone(),
    );
    let rows = connection.guarded(interrupts, query::run(&context, query, &[])).await?;
    let schema = if query.explain.is_some() { Arc::clone(rows.schema()) } else { rows.described(query) };
    let formats = encode::formats(&[], schema.fields().len())?;
    let description = encode::row_description(&schema, &formats);
    connection.send(PgWireBackendMessage::RowDescription(description));
    let encoder = RowEncoder::new(&schema, formats, connection.display());
    let mut cursor = Cursor::new(rows);
    let (sent, _) = connection.send_rows(&mut cursor, &encoder, &DataRows, 0, interrupts).await?;
    connection.complete(tag(query.explain.is_some(), sent));
    Ok(())
}

/// The tag of a query that gave `rows` rows.
pub fn tag(is_explain: bool, rows: usize) -> String {
    if is_explain { "EXPLAIN".to_owned() } else { format!("SELECT {rows}") }
}

/// A statement begins. In a failed block only its end is accepted.
pub fn enter(connection: &mut Connection, command: &Command) -> Result<()> {
    let ends_block = matches!(
        command,
        Command::Transaction(
            TransactionCommand::Commit { .. }
                | TransactionCommand::Rollback { .. }
                | TransactionCommand::RollbackTo { .. }
        )
    );
    if connection.session.transaction == Transaction::Failed && !ends_block {
        return Err(Error::InFailedTransaction);
    }
    if command.looks() {
        let coordinator = &connection.coordinator;
        connection.session.look(|| coordinator.snapshot());
    }
    Ok(())
}

/// Runs what is not a plain query. `describes` says whether to announce the columns of its rows.
pub async fn run_command(
    connection: &mut Connection,
    command: &Command,
    describes: bool,
    interrupts: &Interrupts,
) -> StdResult<(), Left> {
    run_with_formats(connection, command, (!describes).then(Vec::new), interrupts).await
}

/// The same with the formats of a Bind message, whose client knows the columns already.
pub async fn run_with_formats(
    connection: &mut Connection,
    command: &Command,
    formats: Option<Vec<Format>>,
    interrupts: &Interrupts,
) -> StdResult<(), Left> {
    match command {
        Command::Declare(declared) => cursor::declare(connection, declared, Vec::new(), interrupts).await,
        Command::Fetch(fetch) => cursor::fetch(connection, fetch, formats, interrupts).await,
        Command::Close { name } => Ok(cursor::close(connection, name.as_deref())?),
        Command::Prepare { name, types, command, text, written } => {
            cursor::prepare(connection, (name.as_str(), written), types, command, text, interrupts).await
        }
        Command::Execute { name, arguments } => {
            // One EXECUTE may prepare nothing and execute nothing but a statement: no deeper nesting.
            Box::pin(cursor::execute(connection, name, arguments.as_deref(), formats, interrupts)).await
        }
        Command::Copy(copy) => copy::run(connection, copy, interrupts).await,
        Command::CopyIn(copy) => copy_in::run(connection, copy, interrupts).await,
        Command::Write(_)
        | Command::ChangeRows(_)
        | Command::CopyFrom(_)
        | Command::Rewrite(_)
        | Command::Analyze(_) => run_write(connection, command, &[], interrupts).await,
        Command::ExplainWrite(write, explain) => {
            explain_write(connection, (write, *explain), &[], formats, interrupts).await
        }
        Command::Vacuum { tables, analyzes: true } => {
            vacuum_and_analyze(connection, tables, interrupts).await
        }
        command => run_plain(connection, command, formats, interrupts).await,
    }
}

/// Tells what a statement that writes is expected to take.
pub async fn explain_write(
    connection: &mut Connection,
    (write, explain): (&Write, Explain),
    parameters: &[ScalarValue],
    formats: Option<Vec<Format>>,
    interrupts: &Interrupts,
) -> StdResult<(), Left> {
    if write.to.is_temporary() {
        commands::open_temporary(&connection.coordinator, &mut connection.session)?;
    }
    let context = QueryContext::new(
        &connection.coordinator,
        &connection.session,
        Arc::clone(&write.text),
        interrupts.cancel.clone(),
    );
    let work = commands::write::explain(&context, write, explain, parameters);
    let (batch, notice) = connection.guarded(interrupts, work).await?;
    if let Some(notice) = &notice {
        connection.notify(notice);
    }
    send_batch(connection, batch, formats, interrupts).await?;
    connection.complete(tag(true, 0));
    Ok(())
}

/// Runs a statement that writes rows to a table, or changes some.
pub async fn run_write(
    connection: &mut Connection,
    command: &Command,
    parameters: &[ScalarValue],
    interrupts: &Interrupts,
) -> StdResult<(), Left> {
    let analyze = Arc::from("ANALYZE");
    let (what, text) = match command {
        Command::Write(write) => (write.to.statement(), &write.text),
        Command::CopyFrom(copy) => ("COPY FROM", &copy.text),
        Command::Rewrite(table) if table.is_refresh => ("REFRESH MATERIALIZED VIEW", &table.text),
        Command::Rewrite(table) => ("OPTIMIZE TABLE", &table.text),
        Command::Analyze(_) => ("ANALYZE", &analyze),
        Command::ChangeRows(change) if change.is_delete() => ("DELETE", &change.text),
        Command::ChangeRows(change) => ("UPDATE", &change.text),
        _ => {
            return Err(Error::internal("a statement that writes nothing was taken for one that does").into());
        }
    };
    connection.session.check_may_write(what)?;
    if let Command::Write(write) = command
        && write.to.is_temporary()
    {
        commands::open_temporary(&connection.coordinator, &mut connection.session)?;
    }
    let context = QueryContext::new(
        &connection.coordinator,
        &connection.session,
        Arc::clone(text),
        interrupts.cancel.clone(),
    );
    let work = async {
        match command {
            Command::ChangeRows(change) => {
                commands::write::prepare_change(&context, change, parameters).await
            }
            Command::Rewrite(table) => commands::rewrite::prepare(&context, table).await,
            Command::Analyze(tables) => commands::analyze::prepare(&context, tables).await,
            Command::CopyFrom(copy) => commands::write::prepare_copy(&context, copy).await,
            Command::Write(write) => commands::write::prepare(&context, write, parameters).await,
            _ => Err(Error::internal("a statement that writes nothing")),
        }
    };
    let ready = connection.guarded(interrupts, work).await?;
    // From here on nothing stops it half-way.
    let outcome = commands::write::commit(&context, &mut connection.session, ready).await?;
    for notice in &outcome.notices {
        connection.notify(notice);
    }
    connection.complete(outcome.tag);
    Ok(())
}

/// `VACUUM ANALYZE`, whose second part is stopped as ANALYZE is.
async fn vacuum_and_analyze(
    connection: &mut Connection,
    tables: &[NamedColumns],
    interrupts: &Interrupts,
) -> StdResult<(), Left> {
    let coordinator = Arc::clone(&connection.coordinator);
    let mut outcome = commands::vacuum::run(&coordinator, &mut connection.session, tables).await?;
    let text = Arc::from("VACUUM ANALYZE");
    let context = QueryContext::new(&coordinator, &connection.session, text, interrupts.cancel.clone());
    let ready = connection.guarded(interrupts, commands::analyze::prepare(&context, tables)).await?;
    let analyzed = commands::write::commit(&context, &mut connection.session, ready).await?;
    outcome.notices.extend(analyzed.notices);
    for notice in &outcome.notices {
        connection.notify(notice);
    }
    connection.complete(outcome.tag);
    Ok(())
}

async fn run_plain(
    connection: &mut Connection,
    command: &Command,
    formats: Option<Vec<Format>>,
    interrupts: &Interrupts,
) -> StdResult<(), Left> {
    let coordinator = Arc::clone(&connection.coordinator);
    let outcome = commands::run(&coordinator, &mut connection.session, command).await?;
    if let Some(is_commit) = outcome.ended {
        connection.end_portals(is_commit);
    }
    if let Some(number) = outcome.back_to {
        connection.portals.retain(|_, portal| portal.savepoint < number);
    }
    if matches!(command, Command::Discard { what } if what == "ALL") {
        connection.portals.clear();
    }
    for notice in &outcome.notices {
        connection.notify(notice);
    }
    if let Some(batch) = outcome.rows {
        send_batch(connection, batch, formats, interrupts).await?;
    }
    connection.report(&outcome.changed);
    connection.complete(outcome.tag);
    Ok(())
}

/// Sends rows that are here; announces their columns to a client that did not ask for `formats`.
async fn send_batch(
    connection: &mut Connection,
    batch: RecordBatch,
    formats: Option<Vec<Format>>,
    interrupts: &Interrupts,
) -> StdResult<(), Left> {
    let schema = batch.schema();
    let columns = schema.fields().len();
    let describes = formats.is_none();
    let formats = match formats {
        Some(formats) if formats.len() == columns => formats,
        _ => encode::formats(&[], columns)?,
    };
    if describes {
        let description = encode::row_description(&schema, &formats);
        connection.send(PgWireBackendMessage::RowDescription(description));
    }
    let encoder = RowEncoder::new(&schema, formats, connection.display());
    let mut cursor = Cursor::new(Rows::of_batch(batch));
    connection.send_rows(&mut cursor, &encoder, &DataRows, 0, interrupts).await?;
    Ok(())
}
