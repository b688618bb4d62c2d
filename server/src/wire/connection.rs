//! One client's connection: sign-in, then message after message until it leaves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use datafusion::arrow::array::RecordBatch;
use engine::{Error, Result};
use futures::FutureExt;
use pgwire::messages::response::{CommandComplete, ReadyForQuery, TransactionStatus};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey,
};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use std::net::SocketAddr;
use std::result::Result as StdResult;
use tokio::io::{AsyncWriteExt, BufWriter, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::encode::{self, Display, RowEncoder, RowWriter};
use super::error_response::{self, Severity};
use super::frames::{Broken, FrameReader, STARTUP_BYTES_MAX};
use super::portal::{Cursor, Portal, Progress};
use super::sign_in::{self, Refused, SignedIn};
use super::stream::Stream;
use super::{extended_query, simple_query, startup};
use crate::commands;
use crate::coordinator::Coordinator;
use crate::query::{self, QueryContext};
use crate::session::{Charge, Notice, Scope, Session, SessionMemory, SettingDescription, Transaction};
use crate::sql::{self, Command, SessionFacts};

/// Rows are handed to the socket in pieces of about this size.
const SEND_BYTES: usize = 64 << 10;
/// What the buffer of an idle session may keep.
const IDLE_BYTES: usize = 4 << 10;
/// How long a client may take to read why its session ends.
const LAST_WORDS_LIMIT: std::time::Duration = std::time::Duration::from_secs(1);

/// A signed-in connection.
pub struct Connection {
    reader: FrameReader<ReadHalf<Stream>>,
    writer: BufWriter<WriteHalf<Stream>>,
    out: BytesMut,
    rows: Vec<u8>,
    /// The server.
    pub coordinator: Arc<Coordinator>,
    /// The session.
    pub session: Session,
    /// What it holds of what its client sent.
    pub memory: Arc<SessionMemory>,
    /// Bound statements by name.
    pub portals: HashMap<String, Portal>,
    /// Raised when the session should end as soon as it does nothing.
    drain: CancellationToken,
    /// Raised when the session must end at once.
    end: CancellationToken,
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
    end: CancellationToken,
}

impl Interrupts {
    /// The reason to stop, if there is one by now. A task that has used up its turn sees nothing in what
    /// it polls, however often; this it sees.
    pub fn by_now(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            Err(Error::Cancelled)
        } else if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            Err(Error::StatementTimeout)
        } else if self.end.is_cancelled() {
            Err(Error::ShuttingDown)
        } else {
            Ok(())
        }
    }

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
            () = self.end.cancelled() => Error::ShuttingDown,
        }
    }
}

/// How sessions are told to end.
#[derive(Debug, Clone)]
pub struct Ends {
    /// As soon as they do nothing.
    pub drain: CancellationToken,
    /// At once.
    pub cut_off: CancellationToken,
}

/// Serves `socket` until the client leaves or the session is told to end; before it has signed in, until `newcomer` is
/// cancelled.
pub async fn serve_connection(
    coordinator: Arc<Coordinator>,
    socket: TcpStream,
    address: SocketAddr,
    ends: Ends,
    newcomer: Arc<CancellationToken>,
) {
    let limit = coordinator.config.limits.authentication_timeout.0;
    let signed_in = tokio::select! {
        signed_in = tokio::time::timeout(limit, sign_in::run(&coordinator, socket, address)) => signed_in,
        () = newcomer.cancelled() => return,
    };
    drop(newcomer);
    let SignedIn { mut reader, mut writer, startup, role, encryption } = match signed_in {
        Ok(Ok(signed_in)) => signed_in,
        Ok(Err(Refused::Telling(stream, error))) => return error_response::refuse(*stream, &error).await,
        Ok(Err(Refused::Silently)) | Err(_) => return,
    };
    let end = ends.cut_off.child_token();
    let asked = |name: &str| startup.settings.iter().find(|(asked, _)| asked == name);
    let application = asked("application_name").map_or("", |(_, value)| value.as_str());
    let registration =
        coordinator.sessions_open.register(role.oid, address, application, encryption, end.clone());
    let _registered =
        Registered { coordinator: Arc::clone(&coordinator), process_id: registration.process_id };
    let prepared_max = coordinator.config.limits.prepared_statements_max;
    let mut session = Session::new(registration.process_id, &role, startup.database.clone(), prepared_max);
    let on_or_off = |flag: bool| if flag { "on" } else { "off" };
    session.settings.set_fixed("is_superuser", on_or_off(role.is_superuser));
    session.settings.set_fixed("ssl", on_or_off(coordinator.tls.is_some()));
    session.settings.set_fixed("max_connections", &coordinator.config.limits.connections_max.to_string());
    // What a session may set for itself begins as the server was told.
    let (cluster, limits) = (&coordinator.config.cluster, &coordinator.config.limits);
    session.settings.set_fixed("sluice.broadcast_size", &cluster.broadcast_bytes_max.to_string());
    session.settings.set_fixed("sluice.target_partition_size", &cluster.target_partition_size.to_string());
    let planning_timeout = format!("{}ms", limits.planning_timeout.0.as_millis());
    session.settings.set_fixed("sluice.planning_timeout", &planning_timeout);
    session.settings.begin_as(&role);
    let metadata = Arc::clone(coordinator.snapshot().metadata());
    for (name, value) in &startup.settings {
        if let Err(error) = session.set(&metadata, name, Some(value), Scope::Start) {
            return error_response::refuse(&mut writer, &error).await;
        }
    }
    let memory = SessionMemory::open(&coordinator.client_memory, role.oid);
    let limits = &coordinator.config.limits;
    reader.signed_in(Arc::clone(&memory), limits.statement_bytes_max.as_usize(), sql::too_long(limits));
    let mut connection = Connection {
        reader,
        writer: BufWriter::with_capacity(0, writer),
        out: BytesMut::new(),
        rows: Vec::new(),
        coordinator,
        session,
        memory,
        portals: HashMap::new(),
        drain: ends.drain,
        end,
    };
    if connection.greet(&startup, registration.secret).await.is_ok() {
        connection.serve().await;
    }
}

/// Tells a client for whom there is no place.
pub async fn turn_away(coordinator: &Coordinator, socket: TcpStream, address: SocketAddr) {
    if let Refused::Telling(stream, error) = sign_in::turn_away(coordinator, socket, address).await {
        error_response::refuse(*stream, &error).await;
    }
}

/// Takes the session off the list when the connection ends, however it ends.
struct Registered {
    coordinator: Arc<Coordinator>,
    process_id: i32,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.coordinator.sessions_open.forget(self.process_id);
    }
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
        let reported: Vec<_> = crate::session::descriptions().filter(|setting| setting.is_reported).collect();
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
            let idle = self.idle_limit();
            let message = tokio::select! {
                message = self.reader.next(bytes_max.max(STARTUP_BYTES_MAX)) => message,
                () = self.end.cancelled() => {
                    return self.last_words(&Error::ShuttingDown).await;
                }
                () = self.drain.cancelled(), if !self.session.transaction.is_going_on() => {
                    return self.last_words(&Error::ShuttingDown).await;
                }
                error = idle => return self.last_words(&error).await,
            };
            let message = match message {
                Ok(message) => message,
                Err(Broken::Gone) => return,
                Err(Broken::Protocol(error)) => return self.last_words(&error).await,
                Err(Broken::Refused { tag, error }) => {
                    match tag {
                        _ if skip_to_sync => continue,
                        b'Q' => {
                            self.fail(&error);
                            self.end_implicit_transaction().await;
                            self.ready();
                        }
                        b'P' | b'B' => {
                            self.fail(&error);
                            skip_to_sync = true;
                        }
                        // What a client still sends of a COPY that has failed.
                        b'd' => continue,
                        _ => return self.last_words(&error).await,
                    }
                    if self.flush().await.is_err() {
                        return;
                    }
                    continue;
                }
            };
            if skip_to_sync
                && !matches!(message, PgWireFrontendMessage::Sync(_) | PgWireFrontendMessage::Terminate(_))
            {
                continue;
            }
            if let Err(error) = self.follow() {
                return self.last_words(&error).await;
            }
            let outcome = match message {
                PgWireFrontendMessage::Query(query) => simple_query::run(self, &query.query).await,
                PgWireFrontendMessage::Sync(_) => {
                    skip_to_sync = false;
                    self.end_implicit_transaction().await;
                    self.ready();
                    let flushed = self.flush().await.map_err(|()| Left::Gone);
                    self.shrink();
                    flushed
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
                    return self.last_words(&Error::Protocol { message }).await;
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
                    return self.last_words(&Error::ShuttingDown).await;
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

    /// Resolves when the session has idled for longer than its settings allow.
    fn idle_limit(&self) -> impl Future<Output = Error> + use<> {
        let in_block = self.session.transaction.is_block();
        let limit = self.session.settings.idle_timeout(in_block);
        async move {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
            if in_block { Error::IdleInTransactionTimeout } else { Error::IdleSessionTimeout }
        }
    }

    /// Gives back what a large message or result took: most sessions idle most of the time.
    pub fn shrink(&mut self) {
        if self.out.is_empty() && self.out.capacity() > IDLE_BYTES {
            self.out = BytesMut::new();
        }
        self.rows = Vec::new();
        self.reader.shrink();
    }

    /// A statement begins that is committed with those behind it, unless a transaction is going on.
    pub fn begin_implicit(&mut self, transaction: Transaction) {
        if !self.session.transaction.is_going_on() {
            self.session.begin(transaction);
        }
    }

    /// What a client sent together has ended: it is committed, unless it stands in a block. Its portals go, cursors WITH HOLD
    /// stay.
    pub async fn end_implicit_transaction(&mut self) {
        if self.session.transaction.is_explicit() {
            return;
        }
        let coordinator = Arc::clone(&self.coordinator);
        match commands::transaction::finish(&coordinator, &mut self.session, true).await {
            Ok(changed) => {
                self.end_portals(true);
                self.report(&changed);
            }
            Err(error) => self.fail(&error),
        }
    }

    /// A transaction has ended: portals go, but for cursors WITH HOLD of one that was committed.
    pub fn end_portals(&mut self, is_commit: bool) {
        self.portals.retain(|_, portal| portal.survives(is_commit));
    }

    /// Tells the client why its session ends.
    async fn last_words(&mut self, error: &Error) {
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
        // What was encoded before comes before.
        self.queue_rows();
        // Only a message longer than 2 GiB fails, and none of ours is.
        if let Err(error) = message.encode(&mut self.out) {
            debug!(%error, "a message could not be encoded");
        }
    }

    /// Queues CommandComplete.
    pub fn complete(&mut self, tag: String) {
        self.tell();
        self.send(PgWireBackendMessage::CommandComplete(CommandComplete::new(tag)));
    }

    /// Queues the error of a statement, which fails the transaction block it stands in.
    pub fn fail(&mut self, error: &Error) {
        if let Error::Internal { message } = error {
            tracing::error!(message, "internal error");
        }
        self.session.transaction.fail();
        // Whatever was half-read is over with the statement that failed, and gives its place back; but what was opened
        // before a savepoint goes on behind it.
        match self.session.last_savepoint().filter(|_| self.session.transaction == Transaction::Failed) {
            Some(number) => self.portals.retain(|_, portal| portal.savepoint < number || portal.is_kept()),
            None => self.end_portals(false),
        }
        self.session.effects.lock().clear();
        self.send(error_response::error(error, Severity::Error));
        if !self.session.transaction.is_explicit() {
            let changed = self.session.roll_back();
            self.report(&changed);
        }
    }

    /// Queues ReadyForQuery with the state of the transaction block.
    pub fn ready(&mut self) {
        let status = match self.session.transaction {
            Transaction::Idle | Transaction::Pipelined => TransactionStatus::Idle,
            Transaction::Open | Transaction::Implicit => TransactionStatus::Transaction,
            Transaction::Failed => TransactionStatus::Error,
        };
        self.send(PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(status)));
    }

    /// Queues the new values of `settings`.
    pub fn report(&mut self, settings: &[&'static SettingDescription]) {
        for setting in settings {
            if setting.name == "application_name" {
                let name = self.session.settings.get("application_name").unwrap_or_default();
                self.coordinator.sessions_open.rename(self.session.process_id, name);
            }
            let value = self.session.settings.get(setting.name).unwrap_or_default().to_owned();
            self.send(PgWireBackendMessage::ParameterStatus(ParameterStatus::new(
                setting.name.to_owned(),
                value,
            )));
        }
    }

    /// Sends what is queued.
    pub async fn flush(&mut self) -> StdResult<(), ()> {
        self.queue_rows();
        self.writer.write_all_buf(&mut self.out).await.map_err(|_| ())?;
        self.writer.flush().await.map_err(|_| ())
    }

    /// Looks whether the session's roles are still there.
    pub fn follow(&mut self) -> Result<()> {
        let snapshot = self.coordinator.snapshot();
        self.session.follow(snapshot.metadata())
    }

    /// The interrupts of a statement that starts now; cancel requests mean it until it ends.
    pub fn start_statement(&self, text: &str) -> Interrupts {
        let cancel = CancellationToken::new();
        self.coordinator.sessions_open.begin(self.session.process_id, text, cancel.clone());
        let timeout = self.session.settings.statement_timeout();
        Interrupts {
            cancel,
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            end: self.end.clone(),
        }
    }

    /// The statement is over.
    pub fn end_statement(&self) {
        let state = match self.session.transaction {
            Transaction::Idle | Transaction::Pipelined | Transaction::Implicit => "idle",
            Transaction::Open => "idle in transaction",
            Transaction::Failed => "idle in transaction (aborted)",
        };
        self.coordinator.sessions_open.end_statement(self.session.process_id, state);
    }

    /// Makes the changes of settings that a statement's functions asked for.
    pub fn apply_effects(&mut self) -> Result<()> {
        let effects = std::mem::take(&mut *self.session.effects.lock());
        if effects.is_empty() {
            return Ok(());
        }
        let metadata = Arc::clone(self.session.snapshot(self.coordinator.snapshot()).metadata());
        for (name, value, is_local) in effects {
            // The transaction that it was local to is over with the statement.
            if is_local && !self.session.transaction.is_going_on() {
                continue;
            }
            let scope = if is_local { Scope::Block } else { Scope::Session };
            let changed = self.session.set(&metadata, &name, value.as_deref(), scope)?;
            self.report(&changed);
        }
        Ok(())
    }

    /// Queues a notice, unless the session does not want its like.
    pub fn notify(&mut self, notice: &Notice) {
        let least = self.session.settings.get("client_min_messages").unwrap_or("notice");
        let is_wanted = match notice.severity {
            "WARNING" => least != "error",
            _ => least != "error" && least != "warning",
        };
        if is_wanted {
            self.send(error_response::notice(notice));
        }
    }

    /// What the message that came last is charged with, for those who keep it.
    pub fn take_message_charge(&mut self) -> Option<Charge> {
        self.reader.take_charge()
    }

    /// True when the client has sent a Sync behind the message that is carried out now: nothing else is committed with it.
    pub fn is_last_of_pipeline(&self) -> bool {
        self.reader.next_tag() == Some(b'S')
    }

    /// The client's next message; safe to drop.
    pub async fn next_message(&mut self, bytes_max: usize) -> StdResult<PgWireFrontendMessage, Broken> {
        self.reader.next(bytes_max).await
    }

    /// Waits for `work`, unless it is interrupted or the client goes.
    pub async fn guarded<T>(
        &mut self,
        interrupts: &Interrupts,
        work: impl Future<Output = Result<T>>,
    ) -> StdResult<T, Left> {
        let mut work = std::pin::pin!(work);
        let mut told_at = Instant::now();
        let outcome = loop {
            let next = self.session.settings.progress().and_then(|interval| told_at.checked_add(interval));
            let turn = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                error = interrupts.raised() => break Err(Left::Failed(error)),
                outcome = &mut work => break outcome.map_err(Left::Failed),
                () = self.reader.gone() => break Err(Left::Gone),
                () = turn => {}
            }
            told_at = Instant::now();
            self.tell_progress(interrupts).await?;
        };
        self.tell();
        outcome
    }

    /// Queues what the client is still to be told of its queries.
    fn tell(&mut self) {
        let told = std::mem::take(&mut *self.session.told.lock());
        for notice in told {
            self.notify(&notice);
        }
    }

    /// Tells the client how far the query is that it waits for.
    async fn tell_progress(&mut self, interrupts: &Interrupts) -> StdResult<(), Left> {
        let Some(profile) = self.session.profile.lock().clone() else { return Ok(()) };
        self.notify(&Notice::info("00000", format!("progress: {}", profile.progress())));
        self.write_out(interrupts).await
    }

    /// What statements may ask about the session.
    pub fn facts(&self) -> SessionFacts {
        self.session.facts()
    }

    /// Sends rows from `cursor`, at most `max_rows` (0: all). Gives their number, and whether some may
    /// be left.
    pub async fn send_rows(
        &mut self,
        cursor: &mut Cursor,
        encoder: &RowEncoder,
        writer: &impl RowWriter,
        max_rows: usize,
        interrupts: &Interrupts,
    ) -> StdResult<(usize, bool), Left> {
        let mut sent = 0;
        loop {
            if max_rows > 0 && sent == max_rows {
                return Ok((sent, true));
            }
            let Some((batch, mut row)) = self.next_batch(cursor, interrupts).await? else {
                return Ok((sent, false));
            };
            let everyday = encode::everyday(&batch)?;
            let encoded = encoder.batch(&everyday)?;
            while row < batch.num_rows() {
                if max_rows > 0 && sent == max_rows {
                    drop(encoded);
                    cursor.partial = Some((batch, row));
                    return Ok((sent, true));
                }
                writer.write_row(&encoded, row, &mut self.rows);
                row += 1;
                sent += 1;
                if self.rows.len() >= SEND_BYTES {
                    self.write_out(interrupts).await?;
                }
            }
        }
    }

    /// Passes over rows as [`Self::send_rows`] sends them.
    pub async fn skip_rows(
        &mut self,
        cursor: &mut Cursor,
        max_rows: usize,
        interrupts: &Interrupts,
    ) -> StdResult<(usize, bool), Left> {
        let mut passed = 0;
        loop {
            if max_rows > 0 && passed == max_rows {
                return Ok((passed, true));
            }
            let Some((batch, row)) = self.next_batch(cursor, interrupts).await? else {
                return Ok((passed, false));
            };
            let left = batch.num_rows() - row;
            if max_rows > 0 && passed + left > max_rows {
                cursor.partial = Some((batch, row + max_rows - passed));
                return Ok((max_rows, true));
            }
            passed += left;
        }
    }

    /// The next batch of `cursor` and its first unsent row; `None` after the last.
    async fn next_batch(
        &mut self,
        cursor: &mut Cursor,
        interrupts: &Interrupts,
    ) -> StdResult<Option<(RecordBatch, usize)>, Left> {
        if let Some(partial) = cursor.partial.take() {
            return Ok(Some(partial));
        }
        interrupts.by_now()?;
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
        Ok(next.transpose()?.map(|batch| (batch, 0)))
    }

    /// The rows of `portal`, which start to run now if they did not before; `None` when all are sent.
    pub async fn open(
        &mut self,
        portal: &mut Portal,
        interrupts: &Interrupts,
    ) -> StdResult<Option<Box<Cursor>>, Left> {
        match std::mem::take(&mut portal.progress) {
            Progress::Suspended(mut cursor) => {
                let going_on = async {
                    cursor.rows.go_on().await;
                    Ok(())
                };
                self.guarded(interrupts, going_on).await?;
                Ok(Some(cursor))
            }
            Progress::Done => {
                portal.progress = Progress::Done;
                Ok(None)
            }
            Progress::Bound => {
                let Some(Command::Query(query)) = &portal.prepared.command else {
                    return Err(Error::internal("a portal without a query was opened").into());
                };
                let text = Arc::clone(&portal.prepared.sql);
                let context =
                    QueryContext::new(&self.coordinator, &self.session, text, interrupts.cancel.clone());
                let context = match portal.declared.take() {
                    Some(declared) => context.seeing(&declared),
                    None => context,
                };
                let single_row = portal.prepared.single_row.as_deref();
                let rows = query::run_prepared(&context, query, single_row, &portal.parameters);
                let rows = self.guarded(interrupts, rows).await?;
                Ok(Some(Box::new(Cursor::new(rows))))
            }
        }
    }

    /// Where rows are encoded, which leave behind what is queued.
    pub fn rows(&mut self) -> &mut Vec<u8> {
        &mut self.rows
    }

    /// Rows that were encoded join what is queued, behind it.
    fn queue_rows(&mut self) {
        if !self.rows.is_empty() {
            self.out.extend_from_slice(&self.rows);
            self.rows.clear();
        }
    }

    /// Writes what is queued, then rows that were encoded. A client that does not read holds its query
    /// here; a cancel gets through, and leaves what was cut short to be written first.
    async fn write_out(&mut self, interrupts: &Interrupts) -> StdResult<(), Left> {
        self.queue_rows();
        interrupts.by_now()?;
        tokio::select! {
            biased;
            written = self.writer.write_all_buf(&mut self.out) => written.map_err(|_| Left::Gone),
            error = interrupts.raised() => Err(Left::Failed(error)),
        }
    }

    /// How values are printed.
    pub fn display(&self) -> Display {
        self.session.settings.display()
    }
}
