//! Reads messages off the socket, and decides from a message's header whether to read it at all.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use engine::{Error, Result};
use pgwire::messages::{DecodeContext, PgWireFrontendMessage, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::shape;
use crate::session::{Charge, SessionMemory};

/// Why a connection ends without an answer.
#[derive(Debug)]
pub enum Broken {
    /// The client closed it, or it failed.
    Gone,
    /// The client sent what is no message; the answer is FATAL.
    Protocol(Error),
    /// A message of type `tag` was read past without being held; the session goes on.
    Refused { tag: u8, error: Error },
}

/// Reads ahead at most this much while a statement runs, to notice that the client has gone.
const READ_AHEAD_BYTES_MAX: usize = 64 << 10;
/// Messages before sign-in, as PostgreSQL bounds its start-up packet.
pub const STARTUP_BYTES_MAX: usize = 10_000;
/// Messages that carry no more than a name, as PostgreSQL bounds them (`PQ_SMALL_MESSAGE_LIMIT`).
const SMALL_BYTES_MAX: usize = 10_000;
/// What a Parse message may hold beside its text: a name and the types of its parameters.
const PARSE_EXTRA_BYTES: usize = SMALL_BYTES_MAX + 4 * u16::MAX as usize;
/// A message larger than this is asked of the session's memory before it is held.
pub const EVERYDAY_BYTES_MAX: usize = 64 << 10;
/// By so much at a time, as its bytes arrive: a length alone takes nothing.
const STEP_BYTES: usize = 1 << 20;
/// A large message of which nothing more comes for so long holds memory that others wait for.
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// The reading half of a connection.
#[derive(Debug)]
pub struct FrameReader<R> {
    inner: R,
    buffer: BytesMut,
    context: DecodeContext,
    /// After sign-in; what comes before is small.
    bounds: Option<Bounds>,
    /// For the large message that is being read, or was handed out last.
    charge: Option<Charge>,
    dropping: Option<Dropping>,
}

/// What a session's messages are bounded by.
#[derive(Debug)]
struct Bounds {
    memory: Arc<SessionMemory>,
    statement_bytes_max: usize,
    too_long: Error,
}

/// A message that is read past.
#[derive(Debug)]
struct Dropping {
    tag: u8,
    left_bytes: usize,
    error: Error,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `inner`.
    pub fn new(inner: R) -> Self {
        let mut context = DecodeContext::new(ProtocolVersion::PROTOCOL3_0);
        context.awaiting_frontend_ssl = false;
        context.awaiting_frontend_startup = false;
        Self { inner, buffer: BytesMut::new(), context, bounds: None, charge: None, dropping: None }
    }

    /// From now on large messages are asked of `memory`, and statements longer than `statement_bytes_max` are refused by
    /// their length, with `too_long`.
    pub fn signed_in(&mut self, memory: Arc<SessionMemory>, statement_bytes_max: usize, too_long: Error) {
        self.charge = Some(memory.nothing());
        self.bounds = Some(Bounds { memory, statement_bytes_max, too_long });
    }

    /// What the message that was handed out last is charged with, for those who keep it.
    pub fn take_charge(&mut self) -> Option<Charge> {
        let nothing = self.bounds.as_ref().map(|bounds| bounds.memory.nothing());
        std::mem::replace(&mut self.charge, nothing)
    }

    /// What it reads from; bytes that were read ahead are lost.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The first message of a connection, which has no type: its length, then its body.
    pub async fn startup_packet(&mut self) -> std::result::Result<BytesMut, Broken> {
        while self.buffer.len() < 4 {
            self.fill().await?;
        }
        let length = self.length_at(0);
        if !(8..=STARTUP_BYTES_MAX).contains(&length) {
            return Err(protocol("invalid length of startup packet"));
        }
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Ok(self.buffer.split_to(length))
    }

    /// True when bytes were sent that nobody asked for yet.
    pub fn has_buffered(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The type of the next message, when it is here.
    pub fn next_tag(&self) -> Option<u8> {
        self.buffer.first().copied()
    }

    /// The next message. `bytes_max` bounds its size; safe to drop. The one before it is no longer held.
    pub async fn next(&mut self, bytes_max: usize) -> std::result::Result<PgWireFrontendMessage, Broken> {
        if self.dropping.is_some() {
            return Err(self.read_past().await);
        }
        if let Some(charge) = &mut self.charge {
            let is_large = self.buffer.len() > EVERYDAY_BYTES_MAX;
            charge.shrink_to(if is_large { self.buffer.len() } else { 0 });
        }
        while self.buffer.len() < 5 {
            self.fill().await?;
        }
        let tag = self.buffer[0];
        if !b"QPBDECHSXFpdcf".contains(&tag) {
            return Err(protocol(&format!("invalid frontend message type {tag}")));
        }
        let length = self.length_at(1);
        if length < 4 {
            return Err(protocol("invalid message length"));
        }
        if length > bytes_max {
            return Err(protocol(&format!("a message of {length} bytes is longer than {bytes_max}")));
        }
        if length > SMALL_BYTES_MAX && b"DECSHXcf".contains(&tag) {
            return Err(protocol("invalid message length"));
        }
        if let Some(error) = self.refusal(tag, length) {
            return Err(self.refuse(tag, length, error).await);
        }
        if length >= EVERYDAY_BYTES_MAX && self.charge.is_some() {
            if let Err(error) = self.fill_large(length + 1).await? {
                return Err(self.refuse(tag, length, error).await);
            }
        } else {
            while self.buffer.len() < length + 1 {
                self.fill().await?;
            }
        }
        let mut frame = self.buffer.split_to(length + 1);
        if length >= EVERYDAY_BYTES_MAX {
            // What is left would keep all of the memory that the message came in.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        if !shape::fits(tag, &frame[5..]) {
            return Err(protocol("invalid message format"));
        }
        match PgWireFrontendMessage::decode(&mut frame, &self.context) {
            Ok(Some(message)) => Ok(message),
            _ => Err(protocol("invalid message format")),
        }
    }

    /// Why a message is not held, as far as its type and length tell.
    fn refusal(&self, tag: u8, length: usize) -> Option<Error> {
        let bounds = self.bounds.as_ref()?;
        // The length counts itself, and the zero that ends the text.
        let text_max = bounds.statement_bytes_max.saturating_add(5);
        match tag {
            b'Q' if length > text_max => Some(bounds.too_long.clone()),
            b'P' if length > text_max.saturating_add(PARSE_EXTRA_BYTES) => Some(bounds.too_long.clone()),
            _ if length > EVERYDAY_BYTES_MAX && length > bounds.memory.own_bytes_max() => {
                Some(bounds.memory.too_much())
            }
            _ => None,
        }
    }

    /// Reads until there are `whole` bytes, each step charged before it is read. The inner error tells that there is
    /// no memory for them.
    async fn fill_large(&mut self, whole: usize) -> std::result::Result<Result<()>, Broken> {
        let Self { inner, buffer, charge: Some(charge), .. } = self else { return Ok(Ok(())) };
        // Once, so that it need not grow by copies; memory that nothing was written to takes none.
        buffer.reserve(whole.saturating_sub(buffer.len()));
        while buffer.len() < whole {
            if buffer.len() >= charge.bytes()
                && let Err(error) = charge.resize_soon(whole.min(buffer.len() + STEP_BYTES)).await
            {
                return Ok(Err(error));
            }
            let room = whole.min(charge.bytes()) - buffer.len();
            let mut piece = (&mut *buffer).limit(room);
            match tokio::time::timeout(STALL_LIMIT, inner.read_buf(&mut piece)).await {
                Ok(Ok(read)) if read > 0 => {}
                Ok(_) => return Err(Broken::Gone),
                Err(_) => return Err(protocol("the rest of a message did not come")),
            }
        }
        Ok(Ok(()))
    }

    /// Gives back what was read of a message, and reads past what is left of it.
    async fn refuse(&mut self, tag: u8, length: usize, error: Error) -> Broken {
        let whole = length + 1;
        let left_bytes = whole.saturating_sub(self.buffer.len());
        let rest = self.buffer.get(whole..).map(BytesMut::from);
        self.buffer = rest.unwrap_or_default();
        if let Some(charge) = &mut self.charge {
            charge.shrink_to(0);
        }
        self.dropping = Some(Dropping { tag, left_bytes, error });
        self.read_past().await
    }

    async fn read_past(&mut self) -> Broken {
        while let Some(dropping) = self.dropping.as_mut().filter(|dropping| dropping.left_bytes > 0) {
            self.buffer.reserve(EVERYDAY_BYTES_MAX.min(dropping.left_bytes));
            let mut piece = (&mut self.buffer).limit(dropping.left_bytes);
            match self.inner.read_buf(&mut piece).await {
                Ok(read) if read > 0 => dropping.left_bytes -= read,
                _ => return Broken::Gone,
            }
            self.buffer.clear();
        }
        match self.dropping.take() {
            Some(Dropping { tag, error, .. }) => Broken::Refused { tag, error },
            None => Broken::Gone,
        }
    }

    /// Resolves when the client has gone. Reads ahead meanwhile, within a bound; safe to drop.
    pub async fn gone(&mut self) {
        loop {
            if self.buffer.len() >= READ_AHEAD_BYTES_MAX {
                std::future::pending::<()>().await;
            }
            if self.fill().await.is_err() {
                return;
            }
        }
    }

    /// Gives back the memory of large messages; what was read ahead stays.
    pub fn shrink(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > 0 {
            self.buffer = BytesMut::new();
        }
    }

    async fn fill(&mut self) -> std::result::Result<(), Broken> {
        match self.inner.read_buf(&mut self.buffer).await {
            Ok(read) if read > 0 => Ok(()),
            _ => Err(Broken::Gone),
        }
    }

    fn length_at(&self, at: usize) -> usize {
        let bytes: [u8; 4] = self.buffer[at..at + 4].try_into().expect("four bytes were read");
        u32::from_be_bytes(bytes) as usize
    }
}

fn protocol(message: &str) -> Broken {
    Broken::Protocol(Error::Protocol { message: message.to_owned() })
}

/// Text from a message must be UTF-8 without zero bytes.
pub fn checked_text(text: &str) -> Result<&str> {
    if text.contains('\u{fffd}') {
        return Err(Error::InvalidEncoding { message: "invalid byte sequence for encoding \"UTF8\"".into() });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use pgwire::messages::startup::PasswordMessageFamily;

    use super::*;

    /// Fixed, so that a failure can be found again.
    const SEED: u64 = 20_261_122;

    fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![tag];
        frame.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        frame.extend_from_slice(body);
        frame
    }

    #[tokio::test]
    async fn a_million_bent_frames_are_messages_or_refused() {
        const FRAMES: usize = 1_000_000;
        let seeds = [
            frame(b'Q', b"select 1\0"),
            frame(b'P', b"s\0select $1::int\0\0\x01\0\0\0\x17"),
            frame(b'B', b"\0s\0\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x07\0\x01\0\x01"),
            frame(b'D', b"Ss\0"),
            frame(b'E', b"\0\0\0\0\0"),
            frame(b'C', b"P\0"),
            frame(b'S', b""),
            frame(b'd', b"1\t2\n"),
            frame(b'f', b"no\0"),
            frame(b'p', b"SCRAM-SHA-256\0\0\0\0\x05n,,n="),
        ];
        // A panic inside the codec would fail the test: nothing here catches one.
        let mut random = StdRng::seed_from_u64(SEED);
        let (mut read, mut refused) = (0, 0);
        for _ in 0..FRAMES {
            let mut bent = seeds[random.random_range(0..seeds.len())].clone();
            for _ in 0..random.random_range(0..4) {
                let at = random.random_range(0..bent.len());
                match random.random_range(0..4) {
                    0 => bent[at] = random.random(),
                    1 => bent[at] ^= 1 << random.random_range(0..8),
                    2 => bent.truncate(at.max(1)),
                    _ => bent.insert(at, random.random()),
                }
            }
            let mut reader = FrameReader::new(bent.as_slice());
            match reader.next(1 << 20).await {
                Ok(PgWireFrontendMessage::PasswordMessageFamily(PasswordMessageFamily::Raw(body)))
                    if shape::is_first_sasl_message(&body) =>
                {
                    let first = PasswordMessageFamily::Raw(body).into_sasl_initial_response();
                    read += usize::from(first.is_ok());
                }
                Ok(_) => read += 1,
                Err(_) => refused += 1,
            }
        }
        assert!(read > FRAMES / 10 && refused > FRAMES / 10, "{read} read, {refused} refused");
    }
}
