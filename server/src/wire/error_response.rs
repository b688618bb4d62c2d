//! Errors and notices as the protocol carries them.

use bytes::BytesMut;
use engine::Error;
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::response::{ErrorResponse, NoticeResponse};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::session::Notice;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement is over.
    Error,
    /// The session is over.
    Fatal,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

/// The longest message; what a client sent may be repeated in one, or be a part of a plan that is.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

fn bounded(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        message.push_str(" …");
    }
    message
}

/// The message for `error`.
pub fn error(error: &Error, severity: Severity) -> PgWireBackendMessage {
    let mut fields = vec![
        (b'S', severity.as_str().to_owned()),
        (b'V', severity.as_str().to_owned()),
        (b'C', error.sqlstate().to_string()),
        // A zero byte would end the field.
        (b'M', bounded(error.to_string()).replace('\0', "")),
    ];
    if let Some(detail) = error.detail() {
        fields.push((b'D', detail.to_owned()));
    }
    if let Some(hint) = error.hint() {
        fields.push((b'H', hint));
    }
    if let Some(position) = error.position() {
        fields.push((b'P', position.to_string()));
    }
    PgWireBackendMessage::ErrorResponse(ErrorResponse::new(fields))
}

/// The message for `notice`.
pub fn notice(notice: &Notice) -> PgWireBackendMessage {
    let Notice { severity, sqlstate, message, hint } = notice;
    let mut fields = vec![
        (b'S', (*severity).to_owned()),
        (b'V', (*severity).to_owned()),
        (b'C', (*sqlstate).to_owned()),
        (b'M', message.clone()),
    ];
    fields.extend(hint.iter().map(|hint| (b'H', hint.clone())));
    PgWireBackendMessage::NoticeResponse(NoticeResponse::new(fields))
}

/// Tells a client that has no session why it gets none.
pub async fn refuse(mut socket: impl AsyncWrite + Unpin, why: &Error) {
    let mut buffer = BytesMut::new();
    if error(why, Severity::Fatal).encode(&mut buffer).is_ok() {
        let _ = socket.write_all(&buffer).await;
        let _ = socket.shutdown().await;
    }
}
