//! SCRAM-SHA-256 and -PLUS: verifiers, and the exchange by pgwire's state machine.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use engine::{Error, Result};
use pgwire::api::auth::sasl::scram::{
    ScramSecret, ScramServerAuth, ScramServerAuthWaitingForClientFinal, gen_salted_password,
};
use rand::RngExt;
use subtle::ConstantTimeEq;

const PREFIX: &str = "SCRAM-SHA-256$";
/// Bytes of salt, as PostgreSQL draws.
const SALT_BYTES: usize = 16;

/// The mechanisms' names.
pub const PLAIN: &str = "SCRAM-SHA-256";
/// With the connection's certificate bound in.
pub const PLUS: &str = "SCRAM-SHA-256-PLUS";

/// What the catalog keeps of `password`: `SCRAM-SHA-256$iterations:salt$stored key:server key`, in
/// PostgreSQL's own form. A text that is such a verifier already is kept as it is, as PostgreSQL does.
pub fn verifier(password: &str, iterations: u32) -> String {
    if secret(password).is_some() {
        return password.to_owned();
    }
    let salt: [u8; SALT_BYTES] = rand::rng().random();
    let salted = gen_salted_password(password, &salt, iterations as usize);
    let secret = ScramSecret::verifier_from_salted_password(salt.to_vec(), salted, iterations as usize);
    let ScramSecret::Verifier { salt, iterations, stored_key, server_key } = secret else {
        unreachable!("a verifier was asked for");
    };
    let encode = |bytes: &[u8]| STANDARD.encode(bytes);
    format!("{PREFIX}{iterations}:{}${}:{}", encode(&salt), encode(&stored_key), encode(&server_key))
}

/// Reads a verifier.
fn secret(verifier: &str) -> Option<ScramSecret> {
    let (iterations, rest) = verifier.strip_prefix(PREFIX)?.split_once(':')?;
    let (salt, keys) = rest.split_once('$')?;
    let (stored_key, server_key) = keys.split_once(':')?;
    let decode = |text: &str| STANDARD.decode(text).ok();
    let (stored_key, server_key) = (decode(stored_key)?, decode(server_key)?);
    const KEY_BYTES: usize = 32;
    if stored_key.len() != KEY_BYTES || server_key.len() != KEY_BYTES {
        return None;
    }
    Some(ScramSecret::Verifier {
        salt: decode(salt)?,
        iterations: iterations.parse().ok()?,
        stored_key,
        server_key,
    })
}

/// True when `password` is the one that the `verifier` of `user` was made of. Takes some milliseconds of computing, as long
/// without a verifier: whoever tries names learns nothing from the time.
pub fn fits(user: &str, verifier: Option<&str>, password: &str, iterations: u32) -> bool {
    let secret = verifier.and_then(secret).unwrap_or_else(|| mock(user, iterations));
    let ScramSecret::Verifier { salt, iterations, stored_key, .. } = secret else { return false };
    let salted = gen_salted_password(password, &salt, iterations);
    let shown = ScramSecret::verifier_from_salted_password(salt, salted, iterations);
    matches!(shown, ScramSecret::Verifier { stored_key: shown, .. }
        if bool::from(shown.ct_eq(&stored_key)))
}

/// A secret nobody knows the password of, for roles that have none: a client learns nothing from being
/// refused at the end rather than at the start. The same role gets the same salt, after a restart too, as one that exists.
fn mock(user: &str, iterations: u32) -> ScramSecret {
    let key = MOCK_KEY.get_or_init(|| rand::rng().random());
    let salt = gen_salted_password(user, key, 1)[..SALT_BYTES].to_vec();
    let unknown = rand::rng().random::<[u8; 32]>().to_vec();
    ScramSecret::Verifier {
        salt,
        iterations: iterations as usize,
        stored_key: unknown.clone(),
        server_key: unknown,
    }
}

static MOCK_KEY: OnceLock<[u8; 32]> = OnceLock::new();

/// Sets what the salts of roles that do not exist are made of: a secret that outlives the process.
pub fn salt_unknown_roles_by(secret: &str) {
    let key = gen_salted_password(secret, b"salts of roles that do not exist", 1);
    let key = key.try_into().expect("SHA-256 gives 32 bytes");
    let _ = MOCK_KEY.set(key);
}

/// One sign-in.
pub struct Exchange {
    server: ScramServerAuth,
    has_certificate: bool,
    waiting: Option<ScramServerAuthWaitingForClientFinal>,
}

impl Exchange {
    /// An exchange on a connection whose certificate is `certificate` (PEM), when it is encrypted.
    pub fn new(certificate: Option<&[u8]>) -> Result<Self> {
        let mut server = ScramServerAuth::new();
        if let Some(certificate) = certificate {
            server.configure_certificate(certificate).map_err(|e| Error::internal(e.to_string()))?;
        }
        Ok(Self { server, has_certificate: certificate.is_some(), waiting: None })
    }

    /// The mechanisms to offer, the better one first.
    pub fn mechanisms(&self) -> Vec<String> {
        let offered: &[&str] = if self.has_certificate { &[PLUS, PLAIN] } else { &[PLAIN] };
        offered.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Answers the client's first message. A role without a verifier is led to the end all the same.
    pub fn first(
        &mut self,
        user: &str,
        verifier: Option<&str>,
        iterations: u32,
        message: &[u8],
    ) -> Result<String> {
        let secret = verifier.and_then(secret).unwrap_or_else(|| mock(user, iterations));
        let (answer, waiting) =
            self.server.on_client_first_message_with_secret(message, secret).map_err(malformed)?;
        self.waiting = Some(waiting);
        Ok(answer)
    }

    /// Checks the client's proof and gives the server's own; `None` when the password is wrong.
    pub fn last(&mut self, message: &[u8]) -> Option<String> {
        self.waiting.take()?.on_client_final_message(message).ok()
    }
}

fn malformed(error: pgwire::error::PgWireError) -> Error {
    tracing::debug!(%error, "a SCRAM message was refused");
    Error::Protocol { message: "malformed SCRAM message".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_reads_back_and_is_kept_as_it_is() {
        let made = verifier("correct horse", 4096);
        assert!(made.starts_with("SCRAM-SHA-256$4096:"));
        assert!(secret(&made).is_some());
        assert_eq!(verifier(&made, 4096), made);
        assert_ne!(verifier("correct horse", 4096), made, "salts differ");
    }
}
