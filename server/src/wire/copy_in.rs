//! `COPY table FROM STDIN`: the client's data is read, written and committed as an INSERT's rows are.

use datafusion::arrow::array::RecordBatch;
use engine::{Error, Result};
use pgwire::messages::copy::CopyInResponse;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use std::result::Result as StdResult;
use std::sync::Arc;
use tokio::sync::mpsc;

use super::connection::{Connection, Interrupts, Left};
use super::copy_rows::CopyRows;
use super::encode::Format;
use super::frames::Broken;
use crate::commands;
use crate::commands::write::Incoming;
use crate::query::QueryContext;
use crate::sql::{CopyFormat, CopyIn};

/// Batches read ahead of those that are written.
const BATCHES_AHEAD: usize = 2;

/// Asks the client for the data, and takes it in.
pub async fn run(connection: &mut Connection, copy: &CopyIn, interrupts: &Interrupts) -> StdResult<(), Left> {
    connection.session.check_may_write("COPY FROM")?;
    let context = QueryContext::new(
        &connection.coordinator,
        &connection.session,
        Arc::clone(&copy.text),
        interrupts.cancel.clone(),
    );
    let target = commands::write::copy_target(&context, copy)?;
    let code = if copy.options.format == CopyFormat::Binary { Format::Binary } else { Format::Text }.code();
    let columns = target.columns.fields().len();
    let answer = CopyInResponse::new(code as i8, columns as i16, vec![code; columns]);
    connection.send(PgWireBackendMessage::CopyInResponse(answer));
    connection.flush().await.map_err(|()| Left::Gone)?;

    let bytes_max = connection.coordinator.config.limits.message_bytes_max.as_usize();
    let charge = connection.memory.nothing();
    let rows =
        CopyRows::new(&copy.options, Arc::clone(&target.columns), bytes_max, charge, connection.display());
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    let writing = commands::write::prepare_incoming(&context, &target, receiver);
    let feeding = feed(connection, rows, sender, bytes_max, interrupts);
    let (fed, written) = tokio::join!(feeding, writing);
    // A writer that failed is why the data was not taken; data that failed is why the writer did.
    let ready = match (fed, written) {
        (Err(Stopped::ByWriter), Err(error)) | (Ok(()), Err(error)) => return Err(error.into()),
        (Err(Stopped::Left(left)), _) => return Err(left),
        (Err(Stopped::ByWriter), Ok(_)) => {
            return Err(Error::internal("a writer left before its rows").into());
        }
        (Ok(()), Ok(ready)) => ready,
    };
    let outcome = commands::write::commit(&context, &mut connection.session, ready).await?;
    connection.complete(outcome.tag);
    Ok(())
}

enum Stopped {
    /// Nobody takes the rows any more.
    ByWriter,
    Left(Left),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Left(Left::Failed(error))
    }
}

/// Reads what the client sends until it says that it is done. An error reaches the writer, too: it must not
/// take what came before for the whole.
async fn feed(
    connection: &mut Connection,
    rows: CopyRows,
    sender: mpsc::Sender<Result<Incoming>>,
    bytes_max: usize,
    interrupts: &Interrupts,
) -> StdResult<(), Stopped> {
    let fed = feed_rows(connection, rows, &sender, bytes_max, interrupts).await;
    if let Err(Stopped::Left(left)) = &fed {
        let error = match left {
            Left::Failed(error) => error.clone(),
            Left::Gone => Error::Cancelled,
        };
        let _ = sender.send(Err(error)).await;
    }
    fed
}

async fn feed_rows(
    connection: &mut Connection,
    mut rows: CopyRows,
    sender: &mpsc::Sender<Result<Incoming>>,
    bytes_max: usize,
    interrupts: &Interrupts,
) -> StdResult<(), Stopped> {
    let memory = Arc::clone(&connection.memory);
    let send = async |rows: RecordBatch| {
        let mut charge = memory.nothing();
        charge.resize_soon(rows.get_array_memory_size()).await?;
        sender.send(Ok(Incoming { rows, charge })).await.map_err(|_| Stopped::ByWriter)
    };
    loop {
        let message = tokio::select! {
            biased;
            error = interrupts.raised() => return Err(error.into()),
            () = sender.closed() => return Err(Stopped::ByWriter),
            message = connection.next_message(bytes_max) => message,
        };
        match message {
            Ok(PgWireFrontendMessage::CopyData(data)) => {
                // The rows are charged from here on.
                drop(connection.take_message_charge());
                rows.push(data.data)?;
                while rows.has_rows() {
                    // Long ones are read where they hold up nobody else.
                    let (read, batch) = if rows.is_large() {
                        let work = move || {
                            let batch = rows.next_full();
                            (rows, batch)
                        };
                        let done = tokio::task::spawn_blocking(work).await;
                        done.map_err(|error| Error::internal(error.to_string()))?
                    } else {
                        let batch = rows.next_full();
                        (rows, batch)
                    };
                    rows = read;
                    match batch? {
                        Some(batch) => send(batch).await?,
                        None => break,
                    }
                }
                rows.check_length()?;
            }
            Ok(PgWireFrontendMessage::CopyDone(_)) => {
                if let Some(batch) = rows.finish()? {
                    send(batch).await?;
                }
                return Ok(());
            }
            Ok(PgWireFrontendMessage::CopyFail(fail)) => {
                let message = format!("COPY from stdin failed: {}", fail.message);
                return Err(Error::CopyRefused { message }.into());
            }
            // Asked for before the data was: they say nothing here.
            Ok(PgWireFrontendMessage::Flush(_) | PgWireFrontendMessage::Sync(_)) => {}
            Ok(_) => {
                let message = "unexpected message during COPY from stdin".to_owned();
                return Err(Error::Protocol { message }.into());
            }
            Err(Broken::Gone) => return Err(Stopped::Left(Left::Gone)),
            Err(Broken::Protocol(error) | Broken::Refused { error, .. }) => return Err(error.into()),
        }
    }
}
