//! From the first packet to the first ReadyForQuery. Every error here is FATAL and ends the
//! connection.

use std::collections::BTreeMap;

use bytes::{Buf, BytesMut};
use engine::{Error, Result};

/// What a client's first packet asks for.
#[derive(Debug)]
pub enum Request {
    /// To encrypt what follows.
    Encryption(Encryption),
    /// To cancel the statement of another session.
    Cancel { process_id: i32, secret: Vec<u8> },
    /// A session.
    Session(Startup),
}

/// Ways to encrypt a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// TLS.
    Tls,
    /// GSSAPI, which is not offered.
    Gss,
}

/// The parameters of a session.
#[derive(Debug, Default)]
pub struct Startup {
    /// The role.
    pub user: String,
    /// The database; the role's name when it is not given.
    pub database: String,
    /// The minor protocol version asked for.
    pub minor_version: u16,
    /// Protocol options that we do not know.
    pub unknown_options: Vec<String>,
    /// Settings to start with, those in `options` included.
    pub settings: Vec<(String, String)>,
}

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
const MAJOR_VERSION: u16 = 3;

/// Reads a first packet, its length included.
pub fn read(mut packet: BytesMut) -> Result<Request> {
    packet.advance(4);
    match packet.get_u32() {
        SSL_REQUEST => Ok(Request::Encryption(Encryption::Tls)),
        GSS_REQUEST => Ok(Request::Encryption(Encryption::Gss)),
        CANCEL_REQUEST if packet.len() >= 4 => {
            let process_id = packet.get_i32();
            Ok(Request::Cancel { process_id, secret: packet.to_vec() })
        }
        version if (version >> 16) as u16 == MAJOR_VERSION => {
            let startup = parameters(&packet, (version & 0xffff) as u16)?;
            Ok(Request::Session(startup))
        }
        version => Err(Error::Protocol {
            message: format!(
                "unsupported frontend protocol {}.{}: server supports 3.0",
                version >> 16,
                version & 0xffff
            ),
        }),
    }
}

fn parameters(body: &[u8], minor_version: u16) -> Result<Startup> {
    let invalid = |message: &str| Error::Protocol { message: message.to_owned() };
    let text = std::str::from_utf8(body).map_err(|_| invalid("the startup packet is not UTF-8"))?;
    let text = text.strip_suffix('\0').ok_or_else(|| invalid("the startup packet has no end"))?;
    let mut parts = text.split_terminator('\0');
    let mut pairs = BTreeMap::new();
    while let Some(name) = parts.next() {
        if name.is_empty() {
            break;
        }
        let value = parts.next().ok_or_else(|| invalid("a startup parameter has no value"))?;
        pairs.insert(name.to_owned(), value.to_owned());
    }
    let user = pairs.remove("user").filter(|user| !user.is_empty());
    let user = user.ok_or_else(|| invalid("no PostgreSQL user name specified in startup packet"))?;
    let database = pairs.remove("database").filter(|d| !d.is_empty()).unwrap_or_else(|| user.clone());
    let mut startup = Startup { user, database, minor_version, ..Startup::default() };
    for (name, value) in pairs {
        if name.starts_with("_pq_.") {
            startup.unknown_options.push(name);
        } else if name == "options" {
            startup.settings.extend(options(&value));
        } else if name != "replication" {
            startup.settings.push((name, value));
        }
    }
    Ok(startup)
}

/// `-c name=value` and `--name=value`, with backslashes before spaces that belong to a value.
fn options(text: &str) -> Vec<(String, String)> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => word.extend(letters.next()),
            ' ' => words.push(std::mem::take(&mut word)),
            other => word.push(other),
        }
    }
    words.push(word);
    words
        .iter()
        .filter_map(|word| word.strip_prefix("--").or_else(|| word.strip_prefix("-c")).or(Some(word)))
        .filter_map(|word| word.split_once('='))
        .map(|(name, value)| (name.trim().replace('-', "_"), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_settings() {
        let found = options(r"-c statement_timeout=5s --time-zone=Europe/Berlin -capplication_name=a\ b");
        let names: Vec<_> = found.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(
            names,
            [("statement_timeout", "5s"), ("time_zone", "Europe/Berlin"), ("application_name", "a b")]
        );
    }

    #[test]
    fn a_packet_without_user_is_refused() {
        let error = parameters(b"database\0x\0\0", 0).expect_err("no user");
        assert_eq!(error.sqlstate().as_str(), "08P01");
        let startup = parameters(b"user\0me\0\0", 0).expect("a user");
        assert_eq!(startup.database, "me");
    }
}
