//! From a socket to a signed-in role: encryption, the first packet, the proof of who the client is.
//!
//! Nothing here returns a session after an error: the caller tells the client (FATAL) and closes.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use catalog::{GrantObject, Privilege, Role};
use engine::config::AuthMethod;
use engine::tls::Encryption;
use engine::{Error, Result};
use pgwire::messages::startup::{Authentication, PasswordMessageFamily};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;

use super::frames::{Broken, FrameReader, STARTUP_BYTES_MAX};
use super::scram::Exchange;
use super::shape;
use super::startup::{self, Encryption as Requested, Request, Startup};
use super::stream::Stream;
use crate::auth::{self, Peer};
use crate::coordinator::Coordinator;

/// A client that has shown who it is.
pub struct SignedIn {
    /// What it reads from.
    pub reader: FrameReader<ReadHalf<Stream>>,
    /// What it is written to.
    pub writer: WriteHalf<Stream>,
    /// What it asked for.
    pub startup: Startup,
    /// Its role.
    pub role: Role,
    /// How its bytes are hidden, when they are, and the name in its certificate.
    pub encryption: Option<(Encryption, Option<String>)>,
}

/// Why there is no session.
pub enum Refused {
    /// Nothing is to be said: a cancel was delivered, or the client has gone.
    Silently,
    /// The client is told why.
    Telling(Box<Stream>, Error),
}

/// How a client's first packets end.
enum First {
    Session(Box<Stream>, Startup),
    Refused(Refused),
}

/// The first byte of a TLS handshake, which no startup packet begins with.
const TLS_HANDSHAKE: u8 = 0x16;
/// A client may ask for GSS and for TLS, once each.
const ENCRYPTION_REQUESTS_MAX: usize = 2;

/// Signs a client in.
pub async fn run(
    coordinator: &Coordinator,
    socket: TcpStream,
    address: SocketAddr,
) -> std::result::Result<SignedIn, Refused> {
    let (stream, startup) = match first_packets(coordinator, socket, address).await {
        First::Session(stream, startup) => (*stream, startup),
        First::Refused(refused) => return Err(refused),
    };
    let peer = Peer { address: address.ip().to_canonical(), is_encrypted: stream.is_encrypted() };
    let certificate = stream.certificate().map(<[u8]>::to_vec);
    let client_name = stream.client_name().map(str::to_owned);
    let encryption = stream.encryption().map(|encryption| (encryption.clone(), client_name.clone()));
    let (read, write) = tokio::io::split(stream);
    let (mut reader, mut writer) = (FrameReader::new(read), write);
    let shown = Shown { certificate: certificate.as_deref(), client_name: client_name.as_deref() };
    match authenticate(coordinator, &mut reader, &mut writer, &peer, &startup, shown).await {
        Ok(Some(role)) => Ok(SignedIn { reader, writer, startup, role, encryption }),
        Ok(None) => Err(Refused::Silently),
        Err(error) => {
            let stream = reader.into_inner().unsplit(writer);
            Err(Refused::Telling(Box::new(stream), error))
        }
    }
}

/// Answers a client for whom there is no place: a cancel is still delivered.
pub async fn turn_away(coordinator: &Coordinator, socket: TcpStream, address: SocketAddr) -> Refused {
    match first_packets(coordinator, socket, address).await {
        First::Session(stream, _) => Refused::Telling(stream, Error::TooManyConnections),
        First::Refused(refused) => refused,
    }
}

async fn first_packets(coordinator: &Coordinator, socket: TcpStream, address: SocketAddr) -> First {
    let silently = First::Refused(Refused::Silently);
    let mut stream = Stream::Plain(socket);
    if let (Stream::Plain(socket), Some(tls)) = (&stream, &coordinator.tls) {
        let mut first = [0u8; 1];
        if !matches!(socket.peek(&mut first).await, Ok(1)) {
            return silently;
        }
        if first[0] == TLS_HANDSHAKE {
            let Stream::Plain(socket) = stream else { return silently };
            match tls.accept(socket, true).await {
                Ok(encrypted) => stream = Stream::Encrypted(Box::new(encrypted)),
                Err(error) => {
                    tracing::info!(%error, %address, "a TLS handshake failed");
                    return silently;
                }
            }
        }
    }
    for _ in 0..=ENCRYPTION_REQUESTS_MAX {
        let mut reader = FrameReader::new(&mut stream);
        let packet = match reader.startup_packet().await {
            Ok(packet) => packet,
            Err(Broken::Gone) => return silently,
            Err(Broken::Protocol(error) | Broken::Refused { error, .. }) => return tell(stream, error),
        };
        let has_more = reader.has_buffered();
        let request = match startup::read(packet) {
            Ok(request) => request,
            Err(error) => return tell(stream, error),
        };
        match request {
            // Bytes sent before the answer would be taken for a part of the session.
            Request::Encryption(_) if has_more => {
                return tell(stream, protocol("received unencrypted data after SSL request"));
            }
            Request::Encryption(kind) => {
                let offered = coordinator.tls.as_ref().filter(|_| kind == Requested::Tls);
                stream = match (offered, stream) {
                    (Some(tls), Stream::Plain(mut socket)) => {
                        if socket.write_all(b"S").await.is_err() {
                            return silently;
                        }
                        match tls.accept(socket, false).await {
                            Ok(encrypted) => Stream::Encrypted(Box::new(encrypted)),
                            Err(error) => {
                                tracing::info!(%error, %address, "a TLS handshake failed");
                                return silently;
                            }
                        }
                    }
                    // Asked for what is not offered: the client goes on as it is, or leaves.
                    (_, mut other) => {
                        if other.write_all(b"N").await.is_err() {
                            return silently;
                        }
                        other
                    }
                };
            }
            Request::Cancel { process_id, secret } => {
                coordinator.sessions_open.cancel_with_secret(process_id, &secret);
                return silently;
            }
            Request::Session(_) if has_more => {
                return tell(stream, protocol("received data before authentication"));
            }
            Request::Session(startup) => return First::Session(Box::new(stream), startup),
        }
    }
    tell(stream, protocol("too many encryption requests"))
}

fn tell(stream: Stream, error: Error) -> First {
    First::Refused(Refused::Telling(Box::new(stream), error))
}

fn protocol(message: &str) -> Error {
    Error::Protocol { message: message.to_owned() }
}

/// What the connection itself shows of both ends.
#[derive(Clone, Copy)]
struct Shown<'a> {
    certificate: Option<&'a [u8]>,
    client_name: Option<&'a str>,
}

/// The role that the client has shown to be; `None` when it left before.
async fn authenticate(
    coordinator: &Coordinator,
    reader: &mut FrameReader<ReadHalf<Stream>>,
    writer: &mut WriteHalf<Stream>,
    peer: &Peer,
    startup: &Startup,
    shown: Shown<'_>,
) -> Result<Option<Role>> {
    let config = &coordinator.config;
    let user = startup.user.as_str();
    if config.tls.require && !peer.is_encrypted {
        let message = "this server accepts only encrypted connections".to_owned();
        return Err(Error::InvalidAuthorization { message });
    }
    let asked = coordinator.snapshot().metadata().roles.get(user).cloned();
    match auth::method(&config.auth, peer, user) {
        AuthMethod::Trust => {}
        AuthMethod::Reject => {
            let message = format!("no rule of this server lets user \"{user}\" sign in this way");
            return Err(Error::InvalidAuthorization { message });
        }
        AuthMethod::Certificate => {
            if shown.client_name != Some(user) {
                wait_after_failure(coordinator, peer.address, user).await;
                let message = format!("certificate authentication failed for user \"{user}\"");
                return Err(Error::InvalidAuthorization { message });
            }
        }
        AuthMethod::ScramSha256 => {
            let verifier = asked.as_ref().filter(|role| !is_expired(role)).and_then(|r| r.verifier.clone());
            let known = verifier.as_deref();
            match prove(coordinator, reader, writer, user, known, shown.certificate).await? {
                Proof::Given => coordinator.guard.succeeded(peer.address, user),
                Proof::Gone => return Ok(None),
                Proof::Wrong => {
                    wait_after_failure(coordinator, peer.address, user).await;
                    return Err(Error::InvalidPassword { user: user.to_owned() });
                }
            }
        }
    }
    // As it is now: the proof may have taken long.
    let snapshot = coordinator.snapshot();
    let role =
        snapshot.metadata().roles.get(user).cloned().ok_or_else(|| Error::InvalidAuthorization {
            message: format!("role \"{user}\" does not exist"),
        })?;
    let proved = asked.map(|asked| (asked.oid, asked.verifier));
    if proved != Some((role.oid, role.verifier.clone())) || is_expired(&role) {
        return Err(Error::InvalidPassword { user: user.to_owned() });
    }
    if !role.can_login {
        let message = format!("role \"{user}\" is not permitted to log in");
        return Err(Error::InvalidAuthorization { message });
    }
    if startup.database != catalog::DATABASE {
        return Err(Error::UndefinedDatabase { name: startup.database.clone() });
    }
    if !snapshot.metadata().allows(role.oid, &GrantObject::Database, Privilege::Connect) {
        let message = format!("permission denied for database \"{}\"", catalog::DATABASE);
        return Err(Error::PermissionDenied { message });
    }
    let limit = usize::try_from(role.connection_limit).unwrap_or(usize::MAX);
    if coordinator.sessions_open.count_of(role.oid) >= limit {
        return Err(Error::TooManyConnectionsForRole { role: user.to_owned() });
    }
    let free = coordinator.connections.available_permits();
    if !role.is_superuser && free < config.limits.connections_reserved {
        return Err(Error::ConnectionsReserved);
    }
    Ok(Some(role))
}

/// True once nobody may sign in as `role` any more.
pub fn is_expired(role: &Role) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
    role.valid_until.is_some_and(|until| i128::from(until) < now as i128)
}

/// Counts a failed sign-in, and waits for longer after each: whoever guesses learns slowly.
pub async fn wait_after_failure(coordinator: &Coordinator, peer: IpAddr, user: &str) {
    let wait = coordinator.guard.failed(peer, user);
    tracing::warn!(user, address = %peer, "a sign-in failed");
    tokio::time::sleep(wait).await;
}

enum Proof {
    Given,
    Wrong,
    Gone,
}

async fn prove(
    coordinator: &Coordinator,
    reader: &mut FrameReader<ReadHalf<Stream>>,
    writer: &mut WriteHalf<Stream>,
    user: &str,
    verifier: Option<&str>,
    certificate: Option<&[u8]>,
) -> Result<Proof> {
    let mut exchange = Exchange::new(certificate)?;
    if !send(writer, Authentication::SASL(exchange.mechanisms())).await {
        return Ok(Proof::Gone);
    }
    let Some(message) = password_message(reader).await? else { return Ok(Proof::Gone) };
    if !matches!(&message, PasswordMessageFamily::Raw(body) if shape::is_first_sasl_message(body)) {
        return Err(protocol("malformed SASL message"));
    }
    let first = message.into_sasl_initial_response().map_err(|_| protocol("malformed SASL message"))?;
    if !exchange.mechanisms().contains(&first.auth_method) {
        return Err(protocol("client selected an invalid SASL authentication mechanism"));
    }
    let iterations = coordinator.config.auth.scram_iterations;
    let answer = exchange.first(user, verifier, iterations, &first.data.unwrap_or_default())?;
    if !send(writer, Authentication::SASLContinue(Bytes::from(answer))).await {
        return Ok(Proof::Gone);
    }
    let Some(message) = password_message(reader).await? else { return Ok(Proof::Gone) };
    let last = message.into_sasl_response().map_err(|_| protocol("malformed SASL message"))?;
    match exchange.last(&last.data) {
        None => Ok(Proof::Wrong),
        Some(proof) => Ok(match send(writer, Authentication::SASLFinal(Bytes::from(proof))).await {
            true => Proof::Given,
            false => Proof::Gone,
        }),
    }
}

async fn send(writer: &mut WriteHalf<Stream>, message: Authentication) -> bool {
    let mut buffer = BytesMut::new();
    let encoded = PgWireBackendMessage::Authentication(message).encode(&mut buffer).is_ok();
    encoded && writer.write_all(&buffer).await.is_ok() && writer.flush().await.is_ok()
}

async fn password_message(
    reader: &mut FrameReader<ReadHalf<Stream>>,
) -> Result<Option<PasswordMessageFamily>> {
    match reader.next(STARTUP_BYTES_MAX).await {
        Ok(PgWireFrontendMessage::PasswordMessageFamily(message)) => Ok(Some(message)),
        Ok(_) => Err(protocol("expected a password response")),
        Err(Broken::Gone) => Ok(None),
        Err(Broken::Protocol(error) | Broken::Refused { error, .. }) => Err(error),
    }
}
