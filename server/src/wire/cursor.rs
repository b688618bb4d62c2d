//! SQL's own portals and prepared statements: `DECLARE`, `FETCH`, `MOVE`, `CLOSE`, `PREPARE`, `EXECUTE`.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use engine::functions::numbers::wide::is_wide;
use engine::{Error, Result};
use pgwire::messages::PgWireBackendMessage;
use std::result::Result as StdResult;

use super::connection::{Connection, Interrupts, Left};
use super::encode::{self, DataRows, Display, Format, RowEncoder};
use super::extended_query;
use super::parameters;
use super::portal::{Cursor, Hold, Portal, Progress};
use super::simple_query::tag;
use crate::pg_catalog::types;
use crate::query::{self, QueryContext};
use crate::session::{OpenCursor, Prepared, Written, now};
use crate::sql::{Command, DeclareCursor, Fetch, Query};

/// `DECLARE`: checks the query, and runs it when its first rows are asked for.
pub async fn declare(
    connection: &mut Connection,
    declared: &DeclareCursor,
    parameters: Vec<ScalarValue>,
    interrupts: &Interrupts,
) -> StdResult<(), Left> {
    if !declared.is_held && !connection.session.transaction.is_block() {
        let message = "DECLARE CURSOR can only be used in transaction blocks".to_owned();
        return Err(Error::NoActiveTransaction { message }.into());
    }
    if connection.portals.contains_key(&declared.name) {
        return Err(Error::DuplicatePortal { name: declared.name.clone() }.into());
    }
    extended_query::check_portals(connection, &declared.name)?;
    let command = Command::Query(Box::new(declared.query.clone()));
    let text: Arc<str> = Arc::from(declared.text.as_str());
    // As in PostgreSQL it sees nothing of what happens between now and its first FETCH.
    let seen = QueryContext::new(
        &connection.coordinator,
        &connection.session,
        Arc::clone(&text),
        interrupts.cancel.clone(),
    );
    let prepared = extended_query::prepare(connection, text, Some(command), &[], interrupts).await?;
    if prepared.parameter_types.len() != parameters.len() {
        return Err(Error::UndefinedParameter { name: "$1".into() }.into());
    }
    let bytes = parameters::held_bytes(&parameters, &prepared.sql) + declared.statement.len();
    let charge = connection.memory.charge(bytes)?;
    let columns = prepared.columns.as_ref().map_or(0, |columns| columns.fields().len());
    let format = if declared.is_binary { Format::Binary } else { Format::Text };
    let told = OpenCursor {
        statement: Arc::clone(&declared.statement),
        is_held: declared.is_held,
        is_binary: declared.is_binary,
        declared_at: now(),
    };
    let portal = Portal {
        prepared: Arc::new(prepared),
        parameters,
        formats: vec![format; columns],
        progress: Progress::Bound,
        // Outside a block the statement is a transaction of its own, and it is about to be committed.
        hold: if declared.is_held { Hold::Wanted } else { Hold::No },
        declared: Some(Box::new(seen)),
        _listed: Some(connection.session.cursors.open(&declared.name, told)),
        savepoint: connection.session.savepoints_set(),
        _charge: charge,
    };
    connection.portals.insert(declared.name.clone(), portal);
    connection.complete("DECLARE CURSOR".into());
    Ok(())
}

/// `FETCH` and `MOVE`. `formats` are those of the Bind message; the simple protocol has none and sends
/// what the cursor was declared with, behind a description.
pub async fn fetch(
    connection: &mut Connection,
    fetch: &Fetch,
    formats: Option<Vec<Format>>,
    interrupts: &Interrupts,
) -> StdResult<(), Left> {
    let missing = || Error::UndefinedCursor { name: fetch.cursor.clone() };
    let is_between = |portal: &Portal| matches!(portal.progress, Progress::Suspended(_));
    if fetch.count == Some(0) && connection.portals.get(&fetch.cursor).is_some_and(is_between) {
        // It asks for the present row again, which is no longer here.
        return Err(Error::NotSupported { message: "cursors can only scan forward".into() }.into());
    }
    // Out of the map while it runs: a cursor that fails is gone.
    let mut portal = connection.portals.remove(&fetch.cursor).ok_or_else(missing)?;
    let columns = portal.prepared.columns.clone();
    let columns = columns.ok_or_else(|| Error::internal("a cursor was declared without columns"))?;
    let describes = formats.is_none();
    let formats = formats.unwrap_or_else(|| portal.formats.clone());
    if describes && !fetch.is_move {
        let description = encode::row_description(&columns, &formats);
        connection.send(PgWireBackendMessage::RowDescription(description));
    }
    let mut passed = 0;
    // Before the first row and behind the last there is none.
    if fetch.count != Some(0)
        && let Some(mut cursor) = connection.open(&mut portal, interrupts).await?
    {
        let max = fetch.count.map_or(0, |count| usize::try_from(count).unwrap_or(usize::MAX));
        let (rows, is_suspended) = if fetch.is_move {
            connection.skip_rows(&mut cursor, max, interrupts).await?
        } else {
            let encoder = RowEncoder::new(&columns, formats, connection.display());
            connection.send_rows(&mut cursor, &encoder, &DataRows, max, interrupts).await?
        };
        passed = rows;
        portal.progress = if is_suspended { cursor.suspended() } else { Progress::Done };
    }
    connection.portals.insert(fetch.cursor.clone(), portal);
    connection.complete(format!("{} {passed}", if fetch.is_move { "MOVE" } else { "FETCH" }));
    Ok(())
}

/// `CLOSE name`, or all.
pub fn close(connection: &mut Connection, name: Option<&str>) -> Result<()> {
    match name {
        None => connection.portals.clear(),
        Some(name) => {
            let missing = || Error::UndefinedCursor { name: name.to_owned() };
            connection.portals.remove(name).ok_or_else(missing)?;
        }
    }
    connection.complete(if name.is_none() { "CLOSE CURSOR ALL" } else { "CLOSE CURSOR" }.into());
    Ok(())
}

/// `PREPARE name (types) AS statement`: `written` is all of it, `text` the statement.
pub async fn prepare(
    connection: &mut Connection,
    (name, written): (&str, &Arc<str>),
    written_types: &[String],
    command: &Command,
    text: &str,
    interrupts: &Interrupts,
) -> StdResult<(), Left> {
    let oids = written_types
        .iter()
        .map(|written| {
            let unknown = || Error::UndefinedObject { message: format!("type \"{written}\" does not exist") };
            types::by_written_name(written).ok_or_else(unknown)
        })
        .collect::<Result<Vec<u32>>>()?;
    let command = Some(command.clone());
    let prepared = extended_query::prepare(connection, Arc::from(text), command, &oids, interrupts).await?;
    let charge = connection.memory.charge(written.len())?;
    let written = Written { text: Arc::clone(written), _charge: charge };
    connection.session.prepared.insert(name.to_owned(), Arc::new(prepared), Some(written))?;
    connection.complete("PREPARE".into());
    Ok(())
}

/// A prepared statement with the values of an `EXECUTE`.
pub async fn bind(
    connection: &mut Connection,
    name: &str,
    arguments: Option<&Query>,
    interrupts: &Interrupts,
) -> StdResult<(Arc<Prepared>, Vec<ScalarValue>), Left> {
    let prepared = connection.session.prepared.bind(name)?;
    let values = match arguments {
        None => Vec::new(),
        Some(query) => evaluate(connection, query, interrupts).await?,
    };
    if values.len() != prepared.parameter_types.len() {
        let message = format!("wrong number of parameters for prepared statement \"{name}\"");
        return Err(Error::Syntax { message, position: None }.into());
    }
    let display = connection.display();
    let given = values.into_iter().zip(&prepared.parameter_types).enumerate();
    let parameters = given
        .map(|(at, (value, wanted))| argument(at, value, wanted, &display))
        .collect::<Result<Vec<_>>>()?;
    Ok((prepared, parameters))
}

/// The value of an EXECUTE as the parameter's type, as it would be assigned to a column of it.
fn argument(at: usize, value: ScalarValue, wanted: &DataType, display: &Display) -> Result<ScalarValue> {
    let given = value.data_type();
    let is_text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
    let is_flag = |kind: &DataType| *kind == DataType::Boolean;
    // Only a text, which may be a literal of any type, becomes a flag; a flag becomes only a text.
    if is_flag(&given) != is_flag(wanted) && ![&given, wanted].into_iter().any(|k| is_text(k) || k.is_null())
    {
        let name = |kind: &DataType| types::format(types::oid_and_size(kind).0.into(), -1);
        let message = format!(
            "parameter ${} of type {} cannot be coerced to the expected type {}",
            at + 1,
            name(&given),
            name(wanted)
        );
        return Err(Error::TypeMismatch { message });
    }
    if types::of_data_type(wanted) == types::NUMERIC && !value.is_null() {
        return parameters::numeric_of(&value, wanted);
    }
    if let (ScalarValue::List(list), DataType::List(item)) = (&value, wanted)
        && is_wide(item.data_type())
    {
        return parameters::numbers_of(list);
    }
    // Numbers are rounded, where Arrow would cut them off.
    let value = match value {
        ScalarValue::LargeBinary(Some(_)) => parameters::number_as(&value, wanted)?,
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text))
            if wanted.is_temporal() || wanted.is_nested() =>
        {
            parameters::from_text_in(text.as_bytes(), wanted, display)?
        }
        ScalarValue::Float64(Some(number)) if wanted.is_integer() => {
            ScalarValue::Float64(Some(number.round_ties_even()))
        }
        value if given.is_decimal() && wanted.is_integer() => value.cast_to(&DataType::Decimal128(38, 0))?,
        value => value,
    };
    value.cast_to(wanted).map_err(Error::from)
}

/// The values of a query of one row.
async fn evaluate(
    connection: &mut Connection,
    query: &Query,
    interrupts: &Interrupts,
) -> StdResult<Vec<ScalarValue>, Left> {
    let text = Arc::from("EXECUTE");
    let context =
        QueryContext::new(&connection.coordinator, &connection.session, text, interrupts.cancel.clone());
    let rows = connection.guarded(interrupts, query::run(&context, query, &[])).await?;
    let mut cursor = Cursor::new(rows);
    let batch = connection.guarded(interrupts, async { cursor.rows.next().await.transpose() }).await?;
    let batch = batch.filter(|batch| batch.num_rows() > 0).ok_or_else(|| Error::internal("no arguments"))?;
    let columns = batch.columns().iter();
    let values = columns.map(|array| ScalarValue::try_from_array(array, 0).map_err(Error::from));
    Ok(values.collect::<Result<Vec<_>>>()?)
}

/// Runs what `EXECUTE` names, as the simple protocol answers it.
pub async fn execute(
    connection: &mut Connection,
    name: &str,
    arguments: Option<&Query>,
    formats: Option<Vec<Format>>,
    interrupts: &Interrupts,
) -> StdResult<(), Left> {
    let (prepared, parameters) = bind(connection, name, arguments, interrupts).await?;
    // As those of a Bind; until the statement has ended.
    let _charge = connection.memory.charge(parameters::held_bytes(&parameters, &prepared.sql))?;
    let (Some(Command::Query(query)), Some(columns)) = (&prepared.command, &prepared.columns) else {
        let Some(command) = &prepared.command else { return Ok(()) };
        if matches!(command, Command::Write(_) | Command::ChangeRows(_)) {
            return super::simple_query::run_write(connection, command, &parameters, interrupts).await;
        }
        return super::simple_query::run_command(connection, command, formats.is_none(), interrupts).await;
    };
    let describes = formats.is_none();
    let formats = formats.unwrap_or_else(|| vec![Format::Text; columns.fields().len()]);
    let text = Arc::clone(&prepared.sql);
    let context =
        QueryContext::new(&connection.coordinator, &connection.session, text, interrupts.cancel.clone());
    let rows = query::run_prepared(&context, query, prepared.single_row.as_deref(), &parameters);
    let rows = connection.guarded(interrupts, rows).await?;
    if describes {
        let description = encode::row_description(columns, &formats);
        connection.send(PgWireBackendMessage::RowDescription(description));
    }
    let encoder = RowEncoder::new(columns, formats, connection.display());
    let mut cursor = Cursor::new(rows);
    let (sent, _) = connection.send_rows(&mut cursor, &encoder, &DataRows, 0, interrupts).await?;
    connection.complete(tag(query.explain.is_some(), sent));
    Ok(())
}
