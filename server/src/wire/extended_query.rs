//! The extended protocol: Parse, Bind, Describe, Execute, Close. Errors end everything up to Sync.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use engine::{Error, Result};
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete, PortalSuspended,
};
use pgwire::messages::response::EmptyQueryResponse;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use std::result::Result as StdResult;
use tokio::sync::Semaphore;

use super::connection::{Connection, Interrupts, Left};
use super::encode::{self, DataRows, RowEncoder};
use super::frames::{EVERYDAY_BYTES_MAX, checked_text};
use super::parameters;
use super::portal::{Hold, Portal, Progress};
use super::simple_query::{enter, explain_write, run_with_formats, run_write, tag};
use crate::commands;
use crate::pg_catalog::types;
use crate::query::{self, QueryContext};
use crate::session::{Charge, Prepared, Transaction};
use crate::sql::{self, Command};

/// Binds of many bytes that are read at once, in the whole server.
static LARGE_BINDS: Semaphore = Semaphore::const_new(2);
/// Fewer are read soon enough to wait for nobody.
const SHORT_TURN_BYTES: usize = 1 << 20;
/// Of a prepared statement, or a portal.
const NAME_BYTES_MAX: usize = 10_000;
const STATEMENT: u8 = b'S';
/// The protocol counts parameters in 16 bits.
const PARAMETERS_MAX: usize = u16::MAX as usize;

/// Carries out one message.
pub async fn run(connection: &mut Connection, message: PgWireFrontendMessage) -> StdResult<(), Left> {
    match message {
        PgWireFrontendMessage::Parse(message) => {
            let interrupts = connection.start_statement(&message.query);
            let outcome = parse(connection, message, &interrupts).await;
            connection.end_statement();
            outcome
        }
        PgWireFrontendMessage::Bind(message) => Ok(bind(connection, message).await?),
        PgWireFrontendMessage::Describe(message) => Ok(describe(connection, &message)?),
        PgWireFrontendMessage::Execute(message) => {
            let name = message.name.as_deref().unwrap_or_default();
            let text = connection.portals.get(name).map(|portal| Arc::clone(&portal.prepared.sql));
            let interrupts = connection.start_statement(text.as_deref().unwrap_or_default());
            let outcome = execute(connection, message, &interrupts).await;
            connection.end_statement();
            outcome?;
            Ok(connection.apply_effects()?)
        }
        PgWireFrontendMessage::Close(message) => {
            close(connection, &message);
            Ok(())
        }
        _ => Err(Error::Protocol { message: "unexpected message".into() }.into()),
    }
}

async fn parse(connection: &mut Connection, message: Parse, interrupts: &Interrupts) -> StdResult<(), Left> {
    let name = message.name.unwrap_or_default();
    check_name(&name)?;
    if name.is_empty() {
        // As in PostgreSQL: the next one takes its place, whether it can be prepared or not.
        connection.session.prepared.remove("");
    }
    let text: Arc<str> = Arc::from(checked_text(&message.query)?);
    let limits = &connection.coordinator.config.limits;
    let mut parsed = sql::parse(&text, limits, &connection.facts())?;
    if parsed.len() > 1 {
        let message = "cannot insert multiple commands into a prepared statement".to_owned();
        return Err(Error::Syntax { message, position: None }.into());
    }
    let command = parsed.pop().map(|statement| statement.command);
    if let Some(command) = &command {
        enter(connection, command)?;
    }
    let prepared = prepare(connection, text, command, &message.type_oids, interrupts).await?;
    connection.session.prepared.insert(name, Arc::new(prepared), None)?;
    connection.send(PgWireBackendMessage::ParseComplete(ParseComplete::new()));
    Ok(())
}

/// Describes `command` with the types that the client or `PREPARE` gave its parameters.
pub async fn prepare(
    connection: &mut Connection,
    text: Arc<str>,
    command: Option<Command>,
    type_oids: &[u32],
    interrupts: &Interrupts,
) -> StdResult<Prepared, Left> {
    let columns = match &command {
        Some(Command::Query(query)) => {
            let query = query.clone();
            return prepare_query(connection, text, query, type_oids, interrupts).await;
        }
        Some(Command::Write(write) | Command::ExplainWrite(write, _)) => {
            let context = QueryContext::new(
                &connection.coordinator,
                &connection.session,
                Arc::clone(&text),
                interrupts.cancel.clone(),
            );
            commands::write::check_target(&context, write)?;
            let query = Box::new(write.query.clone());
            let inner = prepare_query(connection, Arc::clone(&text), query, type_oids, interrupts).await?;
            let is_explained = matches!(command, Some(Command::ExplainWrite(..)));
            let columns = is_explained.then(crate::query::explain_columns);
            return Ok(Prepared { columns, command, single_row: None, ..inner });
        }
        Some(Command::ChangeRows(change)) if !(change.is_delete() && change.is_of_all()) => {
            let context = QueryContext::new(
                &connection.coordinator,
                &connection.session,
                Arc::clone(&text),
                interrupts.cancel.clone(),
            );
            let (context, query) = commands::write::described(&context, change)?;
            let query = Box::new(query);
            let inner = prepare_in(connection, &context, text, query, type_oids, interrupts).await?;
            return Ok(Prepared { columns: None, command, single_row: None, ..inner });
        }
        Some(Command::Declare(declared)) => {
            let query = Box::new(declared.query.clone());
            let inner = prepare_query(connection, Arc::clone(&text), query, type_oids, interrupts).await?;
            return Ok(Prepared { columns: None, command, single_row: None, ..inner });
        }
        Some(Command::Fetch(fetch)) if !fetch.is_move => {
            connection.portals.get(&fetch.cursor).and_then(|portal| portal.prepared.columns.clone())
        }
        Some(Command::Execute { name, .. }) => {
            connection.session.prepared.get(name).ok().and_then(|prepared| prepared.columns.clone())
        }
        other => other.as_ref().and_then(commands::columns),
    };
    Ok(Prepared {
        _charge: connection.memory.charge(Prepared::bytes_of(&text, type_oids.len()))?,
        sql: text,
        columns,
        command,
        parameter_types: Vec::new(),
        parameter_oids: Vec::new(),
        single_row: None,
    })
}

async fn prepare_query(
    connection: &mut Connection,
    text: Arc<str>,
    query: Box<sql::Query>,
    type_oids: &[u32],
    interrupts: &Interrupts,
) -> StdResult<Prepared, Left> {
    let context = QueryContext::new(
        &connection.coordinator,
        &connection.session,
        Arc::clone(&text),
        interrupts.cancel.clone(),
    );
    prepare_in(connection, &context, text, query, type_oids, interrupts).await
}

async fn prepare_in(
    connection: &mut Connection,
    context: &QueryContext,
    text: Arc<str>,
    query: Box<sql::Query>,
    type_oids: &[u32],
    interrupts: &Interrupts,
) -> StdResult<Prepared, Left> {
    // Before it is planned, which takes more.
    let charge = connection.memory.charge(Prepared::bytes_of(&text, type_oids.len()))?;
    // The client's own types come first, then those that the text tells.
    let last = query.parameters.keys().last().copied().unwrap_or(0).min(PARAMETERS_MAX);
    let type_oids: Vec<u32> = (1..=last.max(type_oids.len()))
        .map(|number| match type_oids.get(number - 1) {
            Some(oid) if *oid != 0 => *oid,
            _ => query.parameters.get(&number).copied().unwrap_or(0),
        })
        .collect();
    let declared: Vec<_> = type_oids.iter().map(|oid| types::parameter_type(*oid)).collect();
    let described = query::describe(context, &query, &declared);
    let description = connection.guarded(interrupts, described).await?;
    let parameter_oids = description
        .parameters
        .iter()
        .enumerate()
        .map(|(index, implied)| match type_oids.get(index) {
            Some(oid) if *oid != 0 && types::parameter_type(*oid).is_some() => *oid,
            _ => types::oid_and_size(implied).0,
        })
        .collect();
    Ok(Prepared {
        sql: text,
        command: Some(Command::Query(query)),
        parameter_types: description.parameters,
        parameter_oids,
        columns: Some(description.columns),
        single_row: description.single_row,
        _charge: charge,
    })
}

/// Whether the session may open one more portal.
pub fn check_portals(connection: &Connection, name: &str) -> Result<()> {
    if !connection.portals.contains_key(name)
        && connection.portals.len() >= connection.coordinator.config.limits.prepared_statements_max
    {
        return Err(Error::LimitReached {
            message: "the session has too many open portals".into(),
            hint: "Close some of them, or raise limits.prepared_statements_max.".into(),
        });
    }
    Ok(())
}

/// Names are held, too.
fn check_name(name: &str) -> Result<()> {
    if name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(Error::TooLarge {
        message: format!("the name of a prepared statement or portal is longer than {NAME_BYTES_MAX} bytes"),
        hint: "Give it a shorter one.".into(),
    })
}

async fn bind(connection: &mut Connection, message: Bind) -> Result<()> {
    let name = message.portal_name.clone().unwrap_or_default();
    check_name(&name)?;
    if name.is_empty() {
        // As in PostgreSQL; what it holds makes room for what comes.
        connection.portals.remove("");
    }
    let prepared = connection.session.prepared.bind(message.statement_name.as_deref().unwrap_or_default())?;
    let (parameters, charge) = values(connection, &message, &prepared).await?;
    let columns = prepared.columns.as_ref().map_or(0, |columns| columns.fields().len());
    let formats = encode::formats(&message.result_column_format_codes, columns)?;
    if !name.is_empty() && connection.portals.contains_key(&name) {
        return Err(Error::DuplicatePortal { name });
    }
    check_portals(connection, &name)?;
    let portal = Portal {
        prepared,
        parameters,
        formats,
        progress: Progress::Bound,
        hold: Hold::No,
        declared: None,
        _listed: None,
        savepoint: connection.session.savepoints_set(),
        _charge: charge,
    };
    connection.portals.insert(name, portal);
    connection.send(PgWireBackendMessage::BindComplete(BindComplete::new()));
    Ok(())
}

/// The values of a Bind, and what they are charged with. Many bytes are read where they hold up nobody else, a few of
/// them at a time.
async fn values(
    connection: &mut Connection,
    message: &Bind,
    prepared: &Arc<Prepared>,
) -> Result<(Vec<ScalarValue>, Charge)> {
    let mut charge = connection.memory.nothing();
    let (values, codes) = (&message.parameters, &message.parameter_format_codes);
    let bytes: usize = values.iter().flatten().map(bytes::Bytes::len).sum();
    let display = connection.display();
    if bytes <= EVERYDAY_BYTES_MAX {
        let values = parameters::decode(values, codes, prepared, &display, &mut charge)?;
        charge.resize(parameters::held_bytes(&values, &prepared.sql))?;
        return Ok((values, charge));
    }
    let turn = match bytes > SHORT_TURN_BYTES {
        true => Some(LARGE_BINDS.acquire().await.map_err(|error| Error::internal(error.to_string()))?),
        false => None,
    };
    let of_message = connection.take_message_charge();
    let (values, codes, prepared) = (values.clone(), codes.clone(), Arc::clone(prepared));
    let work = move || -> Result<(Vec<ScalarValue>, Charge)> {
        // Held to the end, also when the session has gone meanwhile.
        let _held = (turn, of_message);
        let values = parameters::decode(&values, &codes, &prepared, &display, &mut charge)?;
        charge.resize(parameters::held_bytes(&values, &prepared.sql))?;
        Ok((values, charge))
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal(error.to_string()))?
}

fn describe(connection: &mut Connection, message: &Describe) -> Result<()> {
    let name = message.name.as_deref().unwrap_or_default();
    let (prepared, formats) = if message.target_type == STATEMENT {
        let prepared = connection.session.prepared.get(name)?;
        let oids = prepared.parameter_oids.clone();
        connection.send(PgWireBackendMessage::ParameterDescription(ParameterDescription::new(oids)));
        let columns = prepared.columns.as_ref().map_or(0, |columns| columns.fields().len());
        (prepared, encode::formats(&[], columns)?)
    } else {
        let portal =
            connection.portals.get(name).ok_or_else(|| Error::UndefinedPortal { name: name.to_owned() })?;
        (Arc::clone(&portal.prepared), portal.formats.clone())
    };
    connection.send(match &prepared.columns {
        Some(columns) => PgWireBackendMessage::RowDescription(encode::row_description(columns, &formats)),
        None => PgWireBackendMessage::NoData(NoData::new()),
    });
    Ok(())
}

async fn execute(
    connection: &mut Connection,
    message: Execute,
    interrupts: &Interrupts,
) -> StdResult<(), Left> {
    let name = message.name.unwrap_or_default();
    // Out of the map while it runs: a portal that fails is gone.
    let mut portal =
        connection.portals.remove(&name).ok_or_else(|| Error::UndefinedPortal { name: name.clone() })?;
    let max_rows = usize::try_from(message.max_rows).unwrap_or(0);
    let prepared = Arc::clone(&portal.prepared);
    if let Some(command) = &prepared.command {
        if command.is_undone() && !connection.is_last_of_pipeline() {
            connection.begin_implicit(Transaction::Pipelined);
        }
        enter(connection, command)?;
    }
    match &prepared.command {
        None => connection.send(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())),
        Some(Command::Query(query)) => {
            portal.progress = advance(connection, &mut portal, query, max_rows, interrupts).await?;
        }
        Some(Command::Declare(declared)) => {
            let values = std::mem::take(&mut portal.parameters);
            super::cursor::declare(connection, declared, values, interrupts).await?;
            portal.progress = Progress::Done;
        }
        Some(
            command @ (Command::Write(_)
            | Command::ChangeRows(_)
            | Command::CopyFrom(_)
            | Command::Rewrite(_)
            | Command::Analyze(_)),
        ) => {
            let values = std::mem::take(&mut portal.parameters);
            run_write(connection, command, &values, interrupts).await?;
            portal.progress = Progress::Done;
        }
        Some(Command::ExplainWrite(write, explain)) => {
            let values = std::mem::take(&mut portal.parameters);
            let formats = Some(portal.formats.clone());
            explain_write(connection, (write, *explain), &values, formats, interrupts).await?;
            portal.progress = Progress::Done;
        }
        Some(command) => {
            run_with_formats(connection, command, Some(portal.formats.clone()), interrupts).await?;
            portal.progress = Progress::Done;
        }
    }
    connection.portals.insert(name, portal);
    Ok(())
}

/// Sends the portal's next rows and tells how far it has come.
async fn advance(
    connection: &mut Connection,
    portal: &mut Portal,
    query: &sql::Query,
    max_rows: usize,
    interrupts: &Interrupts,
) -> StdResult<Progress, Left> {
    let is_explain = query.explain.is_some();
    let Some(mut cursor) = connection.open(portal, interrupts).await? else {
        connection.complete(tag(is_explain, 0));
        return Ok(Progress::Done);
    };
    let columns = portal.prepared.columns.as_ref();
    let columns = columns.ok_or_else(|| Error::internal("a query was prepared without columns"))?;
    let encoder = RowEncoder::new(columns, portal.formats.clone(), connection.display());
    let (sent, is_suspended) =
        connection.send_rows(&mut cursor, &encoder, &DataRows, max_rows, interrupts).await?;
    if is_suspended {
        connection.send(PgWireBackendMessage::PortalSuspended(PortalSuspended::new()));
        return Ok(cursor.suspended());
    }
    connection.complete(tag(is_explain, sent));
    Ok(Progress::Done)
}

fn close(connection: &mut Connection, message: &Close) {
    let name = message.name.as_deref().unwrap_or_default();
    if message.target_type == STATEMENT {
        connection.session.prepared.remove(name);
    } else {
        connection.portals.remove(name);
    }
    connection.send(PgWireBackendMessage::CloseComplete(CloseComplete::new()));
}
