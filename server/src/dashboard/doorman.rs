//! Who may see the dashboard: everybody of this machine where it listens on loopback alone, else who knows the password of a
//! superuser or the token of the configuration.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use engine::config::AuthMethod;
use parking_lot::Mutex;
use ring::digest;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::refusal;
use crate::auth::{Peer, method};
use crate::coordinator::Coordinator;
use crate::wire::{is_expired, scram, wait_after_failure};

/// For so long who has shown a password need not be computed with again.
const TRUSTED_FOR: Duration = Duration::from_secs(60);
/// Those who are remembered, at most.
const TRUSTED_MAX: usize = 256;
/// Passwords that are computed with at the same time, at most: whoever sends many must not keep queries from running.
const CHECKS_MAX: usize = 2;

/// Lets people in.
pub struct Doorman {
    coordinator: Arc<Coordinator>,
    is_loopback: bool,
    /// By the hash of what they show.
    trusted: Mutex<HashMap<Vec<u8>, Instant>>,
    checks: Semaphore,
}

impl Doorman {
    /// For a dashboard that listens on loopback alone, or not.
    pub fn new(coordinator: Arc<Coordinator>, is_loopback: bool) -> Self {
        Self { coordinator, is_loopback, trusted: Mutex::default(), checks: Semaphore::new(CHECKS_MAX) }
    }

    /// True when what a request shows opens the door.
    async fn knows(&self, headers: &HeaderMap, peer: SocketAddr) -> bool {
        let Some(shown) = headers.get(header::AUTHORIZATION).and_then(|shown| shown.to_str().ok()) else {
            return false;
        };
        let hash = digest::digest(&digest::SHA256, shown.as_bytes()).as_ref().to_vec();
        if self.trusted.lock().get(&hash).is_some_and(|since| since.elapsed() < TRUSTED_FOR) {
            return true;
        }
        let (user, password) = match shown.split_once(' ') {
            Some((kind, token)) if kind.eq_ignore_ascii_case("bearer") => (String::new(), token.to_owned()),
            Some((kind, encoded)) if kind.eq_ignore_ascii_case("basic") => {
                let decoded = STANDARD.decode(encoded.trim()).ok().and_then(|of| String::from_utf8(of).ok());
                let Some(decoded) = decoded else { return false };
                match decoded.split_once(':') {
                    Some((user, password)) => (user.to_owned(), password.to_owned()),
                    None => return false,
                }
            }
            _ => return false,
        };
        if self.is_token(&password) || self.is_password(&user, password, peer).await {
            self.coordinator.guard.succeeded(peer.ip(), &user);
            let mut trusted = self.trusted.lock();
            trusted.retain(|_, since| since.elapsed() < TRUSTED_FOR);
            if trusted.len() < TRUSTED_MAX {
                trusted.insert(hash, Instant::now());
            }
            return true;
        }
        wait_after_failure(&self.coordinator, peer.ip(), &user).await;
        false
    }

    fn is_token(&self, shown: &str) -> bool {
        let token = self.coordinator.config.server.dashboard_token.as_ref();
        let hash = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
        let token = token.filter(|token| !token.reveal().is_empty());
        token.is_some_and(|token| hash(token.reveal()).as_ref().ct_eq(hash(shown).as_ref()).into())
    }

    /// True for the password of a superuser who could sign in with it from there without TLS: the dashboard shows what
    /// every role runs, and has no TLS.
    async fn is_password(&self, user: &str, password: String, peer: SocketAddr) -> bool {
        let config = &self.coordinator.config;
        let peer = Peer { address: peer.ip().to_canonical(), is_encrypted: false };
        let may_sign_in =
            matches!(method(&config.auth, &peer, user), AuthMethod::ScramSha256 | AuthMethod::Trust);
        if !may_sign_in || config.tls.require {
            return false;
        }
        let snapshot = self.coordinator.snapshot();
        let role = snapshot
            .metadata()
            .roles
            .get(user)
            .filter(|role| role.is_superuser && role.can_login && !is_expired(role));
        let verifier = role.and_then(|role| role.verifier.clone());
        let (user, iterations) = (user.to_owned(), config.auth.scram_iterations);
        let Ok(_check) = self.checks.acquire().await else { return false };
        // Thousands of rounds of a hash: not on a thread of the network.
        let check = move || scram::fits(&user, verifier.as_deref(), &password, iterations);
        tokio::task::spawn_blocking(check).await.unwrap_or(false)
    }
}

/// Passes on what may be seen.
pub async fn admit(
    State(doorman): State<Arc<Doorman>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::GET && !comes_from_here(request.headers()) {
        return refusal(StatusCode::FORBIDDEN, "this request comes from another page");
    }
    if doorman.is_loopback || doorman.knows(request.headers(), peer).await {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"Sluice\", charset=\"UTF-8\"")];
    let told =
        "sign in with the name and password of a superuser, or with server.dashboard_token as password\n";
    (StatusCode::UNAUTHORIZED, challenge, told).into_response()
}

/// True unless a browser says that another page has sent it.
fn comes_from_here(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin") {
        return false;
    }
    match (text("origin"), text("host")) {
        (None, _) => true,
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, named)| named == host),
        (Some(_), None) => false,
    }
}

/// On loopback, answers only to loopback's own names: a page elsewhere whose name was made to point
/// here must not read it.
pub async fn protect(is_loopback: bool, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if is_loopback && !["localhost", "127.0.0.1", "[::1]"].contains(&name) {
        return (StatusCode::FORBIDDEN, "unknown host").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_SECURITY_POLICY, "default-src 'self'; frame-ancestors 'none'");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CACHE_CONTROL, "no-store");
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_our_own_page_may_act() {
        assert!(comes_from_here(&headers(&[("host", "localhost:8787")])));
        assert!(comes_from_here(&headers(&[
            ("host", "localhost:8787"),
            ("origin", "http://localhost:8787")
        ])));
        assert!(!comes_from_here(&headers(&[("host", "localhost:8787"), ("origin", "http://evil.example")])));
        assert!(!comes_from_here(&headers(&[("host", "localhost:8787"), ("origin", "null")])));
        assert!(!comes_from_here(&headers(&[("host", "localhost:8787"), ("sec-fetch-site", "cross-site")])));
    }
}
