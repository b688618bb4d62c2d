//! One client's connection: sign-in, then message after message until it leaves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use engine::{Error, Result};
use futures::FutureExt;
use pgwire::messages::response::{CommandComplete, ReadyForQuery, TransactionStatus};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey,
};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use std::result::Result as StdResult;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::encode::{RowEncoder, Zone};
use super::error_response::{self, Severity};
use super::frames::{Broken, FrameReader, STARTUP_BYTES_MAX};
use super::portal::{Cursor, Portal};
use super::{extended_query, simple_query, startup};
use crate::coordinator::Coordinator;
use crate::session::{Session, SettingDescription, Transaction};

/// Rows are handed to the socket in pieces of about this size.
const SEND_BYTES: usize = 32 << 10;
/// How long a client may take to read why its session ends.
const LAST_WORDS_LIMIT: std::time::Duration = std::time::Duration::from_secs(1);

/// A signed-in connection.
pub struct Connection {
    reader: FrameReader<OwnedReadHalf>,
    writer: BufWriter<OwnedWriteHalf>,
    out: BytesMut,
    /// The server.
    pub coordinator: Arc<Coordinator>,
    /// The session.
    pub session: Session,
    /// Bound statements by name.
    pub portals: HashMap<String, Portal>,
    shutdown: CancellationToken,
}

/// Why a statement was left.
pub enum Left {
    /// It failed; the session goes on.
    Failed(Error),
    /// The client has gone.
    Gone,
}

impl From<Error> for Left {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What ends a statement from outside: a cancel, its timeout, the server's end.
pub struct Interrupts {
    /// Cancelled by cancel requests; also told to the query.
    pub cancel: CancellationToken,
    deadline: Option<Instant>,
    shutdown: CancellationToken,
}

impl Interrupts {
    /// Resolves with the reason to stop.
    pub async fn raised(&self) -> Error {
        let timeout = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.cancel.cancelled() => Error::Cancelled,
            () = timeout => Error::StatementTimeout,
            () = self.shutdown.cancelled() => Error::ShuttingDown,
        }
    }
}

/// Serves `socket` until the client leaves or `shutdown` asks sessions to end.
pub async fn serve_connection(
    coordinator: Arc<Coordinator>,
    mut socket: TcpStream,
    shutdown: CancellationToken,
) {
    let limit = coordinator.config.limits.authentication_timeout.0;
    let signed_in = tokio::time::timeout(limit, sign_in(&coordinator, &mut socket)).await;
    let startup = match signed_in {
        Ok(Ok(Some(startup))) => startup,
        Ok(Ok(None)) | Err(_) => return,
        Ok(Err(error)) => return error_response::refuse(socket, &error).await,
    };
    let (process_id, secret) = coordinator.cancels.register();
    let prepared_max = coordinator.config.limits.prepared_statements_max;
    let mut session = Session::new(process_id, startup.user.clone(), startup.database.clone(), prepared_max);
    for (name, value) in &startup.settings {
        if let Err(error) = session.settings.set_initial(name, value) {
            coordinator.cancels.forget(process_id);
            return error_response::refuse(socket, &error).await;
        }
    }
    let (read, write) = socket.into_split();
    let mut connection = Connection {
        reader: FrameReader::new(read),
        writer: BufWriter::with_capacity(0, write),
        out: BytesMut::with_capacity(2 * SEND_BYTES),
        coordinator: Arc::clone(&coordinator),
        session,
        portals: HashMap::new(),
        shutdown,
    };
    let _registered = Registered { coordinator, process_id };
    if connection.greet(&startup, secret).await.is_ok() {
        connection.serve().await;
    }
}

/// Takes the session off the list when the connection ends, however it ends.
struct Registered {
    coordinator: Arc<Coordinator>,
    process_id: i32,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.coordinator.cancels.forget(self.process_id);
    }
}

/// Reads first packets until one asks for a session; `None` when the connection has done its duty.
async fn sign_in(coordinator: &Coordinator, socket: &mut TcpStream) -> Result<Option<startup::Startup>> {
    const ENCRYPTION_REQUESTS_MAX: usize = 2;
    for _ in 0..=ENCRYPTION_REQUESTS_MAX {
        let mut reader = FrameReader::new(&mut *socket);
        let packet = match reader.startup_packet().await {
            Ok(packet) => packet,
            Err(Broken::Gone) => return Ok(None),
            Err(Broken::Protocol(error)) => return Err(error),
        };
        let has_more = reader.has_buffered();
        match startup::read(packet)? {
            startup::Request::Encryption => {
                // Bytes sent before the answer would be taken for a part of the session.
                if has_more {
                    let message = "received unencrypted data after SSL request".to_owned();
                    return Err(Error::Protocol { message });
                }
                if socket.write_all(b"N").await.is_err() {
                    return Ok(None);
                }
            }
            startup::Request::Cancel { process_id, secret } => {
                coordinator.cancels.cancel(process_id, &secret);
                return Ok(None);
            }
            startup::Request::Session(startup) => {
                if has_more {
                    let message = "received data before authentication".to_owned();
                    return Err(Error::Protocol { message });
                }
                if startup.database != catalog::DATABASE {
                    return Err(Error::UndefinedDatabase { name: startup.database });
                }
                return Ok(Some(startup));
            }
        }
    }
    Err(Error::Protocol { message: "too many encryption requests".into() })
}

impl Connection {
    async fn greet(&mut self, startup: &startup::Startup, secret: [u8; 4]) -> StdResult<(), ()> {
        if startup.minor_version > 0 || !startup.unknown_options.is_empty() {
            let options = startup.unknown_options.clone();
            self.send(PgWireBackendMessage::NegotiateProtocolVersion(NegotiateProtocolVersion::new(
                0, options,
            )));
        }
        self.send(PgWireBackendMessage::Authentication(Authentication::Ok));
        let reported: Vec<_> =
            crate::session::descriptions().iter().filter(|setting| setting.is_reported).collect();
        self.report(&reported);
        let key = SecretKey::Bytes(Bytes::copy_from_slice(&secret));
        self.send(PgWireBackendMessage::BackendKeyData(BackendKeyData::new(self.session.process_id, key)));
        self.ready();
        self.flush().await
    }

    async fn serve(&mut self) {
        let mut skip_to_sync = false;
        let bytes_max = self.coordinator.config.limits.message_bytes_max.as_usize();
        loop {
            let message = tokio::select! {
                message = self.reader.next(bytes_max.max(STARTUP_BYTES_MAX)) => message,
                () = self.shutdown.cancelled() => {
                    return self.end(&Error::ShuttingDown).await;
                }
            };
            let message = match message {
                Ok(message) => message,
                Err(Broken::Gone) => return,
                Err(Broken::Protocol(error)) => return self.end(&error).await,
            };
            if skip_to_sync
                && !matches!(message, PgWireFrontendMessage::Sync(_) | PgWireFrontendMessage::Terminate(_))
            {
                continue;
            }
            let outcome = match message {
                PgWireFrontendMessage::Query(query) => simple_query::run(self, &query.query).await,
                PgWireFrontendMessage::Sync(_) => {
                    skip_to_sync = false;
                    if !self.session.transaction.is_block() {
                        self.portals.clear();
                    }
                    self.ready();
                    self.flush().await.map_err(|()| Left::Gone)
                }
                PgWireFrontendMessage::Flush(_) => self.flush().await.map_err(|()| Left::Gone),
                PgWireFrontendMessage::Terminate(_) => return,
                message if message.is_extended_query() => extended_query::run(self, message).await,
                // What a client still sends of a COPY that has failed.
                PgWireFrontendMessage::CopyData(_)
                | PgWireFrontendMessage::CopyDone(_)
                | PgWireFrontendMessage::CopyFail(_) => Ok(()),
                _ => {
                    let message = "unexpected message outside of sign-in".to_owned();
                    return self.end(&Error::Protocol { message }).await;
                }
            };
            match outcome {
                // A client may send many messages before it asks for the answers.
                Ok(()) if self.out.len() >= SEND_BYTES => {
                    if self.flush().await.is_err() {
                        return;
                    }
                }
                Ok(()) => {}
                Err(Left::Gone) => return,
                Err(Left::Failed(Error::ShuttingDown)) => {
                    return self.end(&Error::ShuttingDown).await;
                }
                Err(Left::Failed(error)) => {
                    // Only the extended protocol comes here: it answers once and waits for Sync.
                    self.fail(&error);
                    skip_to_sync = true;
                    if self.flush().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Tells the client why its session ends.
    async fn end(&mut self, error: &Error) {
        self.send(error_response::error(error, Severity::Fatal));
        // A client that does not read must not keep the server from ending.
        let told = async {
            let _ = self.flush().await;
            let _ = self.writer.shutdown().await;
        };
        let _ = tokio::time::timeout(LAST_WORDS_LIMIT, told).await;
    }

    /// Queues a message.
    pub fn send(&mut self, message: PgWireBackendMessage) {
        // Only a message longer than 2 GiB fails, and none of ours is.
        if let Err(error) = message.encode(&mut self.out) {
            debug!(%error, "a message could not be encoded");
        }
    }

    /// Queues CommandComplete.
    pub fn complete(&mut self, tag: String) {
        self.send(PgWireBackendMessage::CommandComplete(CommandComplete::new(tag)));
    }

    /// Queues the error of a statement, which fails the transaction block it stands in.
    pub fn fail(&mut self, error: &Error) {
        if let Error::Internal { message } = error {
            tracing::error!(message, "internal error");
        }
        self.session.transaction.fail();
        // Whatever was half-read is over with the statement that failed, and gives its place back.
        self.portals.clear();
        self.send(error_response::error(error, Severity::Error));
    }

    /// Queues ReadyForQuery with the state of the transaction block.
    pub fn ready(&mut self) {
        let status = match self.session.transaction {
            Transaction::Idle => TransactionStatus::Idle,
            Transaction::Open => TransactionStatus::Transaction,
            Transaction::Failed => TransactionStatus::Error,
        };
        self.send(PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(status)));
    }

    /// Queues the new values of `settings`.
    pub fn report(&mut self, settings: &[&'static SettingDescription]) {
        for setting in settings {
            let value = self.session.settings.get(setting.name).unwrap_or_default().to_owned();
            self.send(PgWireBackendMessage::ParameterStatus(ParameterStatus::new(
                setting.name.to_owned(),
                value,
            )));
        }
    }

    /// Sends what is queued.
    pub async fn flush(&mut self) -> StdResult<(), ()> {
        self.writer.write_all_buf(&mut self.out).await.map_err(|_| ())?;
        self.writer.flush().await.map_err(|_| ())
    }

    /// The interrupts of a statement that starts now; cancel requests mean it until it ends.
    pub fn start_statement(&self) -> Interrupts {
        let cancel = CancellationToken::new();
        self.coordinator.cancels.set_statement(self.session.process_id, Some(cancel.clone()));
        let timeout = self.session.settings.statement_timeout();
        Interrupts {
            cancel,
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            shutdown: self.shutdown.clone(),
        }
    }

    /// The statement is over.
    pub fn end_statement(&self) {
        self.coordinator.cancels.set_statement(self.session.process_id, None);
    }

    /// Waits for `work`, unless it is interrupted or the client goes.
    pub async fn guarded<T>(
        &mut self,
        interrupts: &Interrupts,
        work: impl Future<Output = Result<T>>,
    ) -> StdResult<T, Left> {
        tokio::select! {
            biased;
            error = interrupts.raised() => Err(Left::Failed(error)),
            outcome = work => outcome.map_err(Left::Failed),
            () = self.reader.gone() => Err(Left::Gone),
        }
    }

    /// Sends rows from `cursor`, at most `max_rows` (0: all). Gives their number, and whether some may
    /// be left.
    pub async fn send_rows(
        &mut self,
        cursor: &mut Cursor,
        encoder: &RowEncoder,
        max_rows: usize,
        interrupts: &Interrupts,
    ) -> StdResult<(usize, bool), Left> {
        let mut sent = 0;
        loop {
            if max_rows > 0 && sent == max_rows {
                return Ok((sent, true));
            }
            let (batch, mut row) = match cursor.partial.take() {
                Some(partial) => partial,
                None => {
                    // Rows that are ready leave before the next ones are waited for.
                    let ready = cursor.rows.next().now_or_never();
                    let next = match ready {
                        Some(next) => next,
                        None => {
                            self.write_out(interrupts).await?;
                            tokio::select! {
                                biased;
                                error = interrupts.raised() => return Err(Left::Failed(error)),
                                next = cursor.rows.next() => next,
                                () = self.reader.gone() => return Err(Left::Gone),
                            }
                        }
                    };
                    match next {
                        Some(batch) => (batch?, 0),
                        None => return Ok((sent, false)),
                    }
                }
            };
            let encoded = encoder.batch(&batch)?;
            while row < batch.num_rows() {
                if max_rows > 0 && sent == max_rows {
                    drop(encoded);
                    cursor.partial = Some((batch, row));
                    return Ok((sent, true));
                }
                encoded.write_row(row, &mut self.out);
                row += 1;
                sent += 1;
                if self.out.len() >= SEND_BYTES {
                    self.write_out(interrupts).await?;
                }
            }
        }
    }

    /// Writes what is queued. A client that does not read holds its query here; a cancel gets through.
    async fn write_out(&mut self, interrupts: &Interrupts) -> StdResult<(), Left> {
        tokio::select! {
            biased;
            written = self.writer.write_all_buf(&mut self.out) => written.map_err(|_| Left::Gone),
            error = interrupts.raised() => Err(Left::Failed(error)),
        }
    }

    /// Where instants are shown.
    pub fn zone(&self) -> Zone {
        Zone::of_setting(self.session.settings.time_zone())
    }
}
