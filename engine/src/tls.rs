//! Encryption of clients' connections by rustls, with the server's certificate read again when its file
//! changes.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_certificate::X509Certificate;

use crate::config::TlsConfig;

/// What a client that opens TLS without asking first must speak inside it (PostgreSQL 17's direct TLS).
const ALPN: &[u8] = b"postgresql";
/// How often the files are looked at, at most.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

struct Loaded {
    acceptor: TlsAcceptor,
    /// The certificate and its chain in PEM, for channel binding.
    certificate: Arc<[u8]>,
}

/// The server's side of TLS.
pub struct ServerTls {
    config: TlsConfig,
    loaded: ArcSwap<Loaded>,
    seen: Mutex<(Instant, Vec<Option<SystemTime>>)>,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Reads the files that `config` names; `None` when it names no certificate. The error is one line
    /// for the one who starts the server.
    pub fn load(config: &TlsConfig) -> Result<Option<Self>, String> {
        if config.certificate.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            loaded: ArcSwap::from_pointee(load(config)?),
            seen: Mutex::new((Instant::now(), changed_at(config))),
            config: config.clone(),
        }))
    }

    /// Shakes hands with a client that asked for TLS. `is_direct` says that it began without asking: then
    /// it must name the protocol.
    pub async fn accept(&self, socket: TcpStream, is_direct: bool) -> std::io::Result<EncryptedStream> {
        self.look_again();
        let loaded = self.loaded.load_full();
        let stream = loaded.acceptor.accept(socket).await?;
        let (_, connection) = stream.get_ref();
        if is_direct && connection.alpn_protocol() != Some(ALPN) {
            return Err(std::io::Error::other("a direct TLS connection without the protocol's name"));
        }
        let client = connection.peer_certificates().and_then(|chain| chain.first());
        let client_name =
            client.and_then(|der| X509Certificate::from_der(der).ok()).and_then(|c| c.subject_common_name());
        let encryption = Encryption::of(connection);
        Ok(EncryptedStream { stream, client_name, certificate: Arc::clone(&loaded.certificate), encryption })
    }

    /// Reads the files again when one has changed. What cannot be read leaves the old ones in use.
    fn look_again(&self) {
        let mut seen = self.seen.lock();
        if seen.0.elapsed() < LOOK_AGAIN {
            return;
        }
        seen.0 = Instant::now();
        let now = changed_at(&self.config);
        if now == seen.1 {
            return;
        }
        // Certificate and key are two files: until both fit, the old pair stays, and is tried again.
        if let Ok(loaded) = load(&self.config) {
            seen.1 = now;
            self.loaded.store(Arc::new(loaded));
        }
    }
}

fn changed_at(config: &TlsConfig) -> Vec<Option<SystemTime>> {
    let files = [&config.certificate, &config.key, &config.client_ca];
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    files.iter().map(|path| path.as_deref().and_then(changed)).collect()
}

fn load(config: &TlsConfig) -> Result<Loaded, String> {
    let wrong = |path: &Path, problem: &dyn std::fmt::Display| format!("tls: {}: {problem}", path.display());
    let certificate_path = config.certificate.clone().unwrap_or_default();
    let key_path = config.key.clone().unwrap_or_default();
    let pem = std::fs::read(&certificate_path).map_err(|error| wrong(&certificate_path, &error))?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(&certificate_path, &error))?;
    if chain.is_empty() {
        return Err(wrong(&certificate_path, &"holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_file(&key_path).map_err(|error| wrong(&key_path, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(path, &error))? {
                let certificate = certificate.map_err(|error| wrong(path, &error))?;
                roots.add(certificate).map_err(|error| wrong(path, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| wrong(path, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut server = builder
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&certificate_path, &format!("does not go with its key: {error}")))?;
    server.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Loaded { acceptor: TlsAcceptor::from(Arc::new(server)), certificate: Arc::from(pem) })
}

/// An encrypted connection.
#[derive(Debug)]
pub struct EncryptedStream {
    stream: TlsStream<TcpStream>,
    /// The common name of the client's certificate, which an authority of ours has signed.
    pub client_name: Option<String>,
    /// The server's certificate and its chain in PEM, for channel binding.
    pub certificate: Arc<[u8]>,
    /// What was agreed on.
    pub encryption: Encryption,
}

/// What client and server agreed on, named as OpenSSL does.
#[derive(Debug, Clone)]
pub struct Encryption {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite.
    pub cipher: String,
    /// Bits of its key.
    pub bits: i32,
}

impl Encryption {
    fn of(connection: &rustls::ServerConnection) -> Self {
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let suite = connection.negotiated_cipher_suite().map(|suite| suite.suite());
        let cipher = suite.and_then(|suite| suite.as_str()).unwrap_or_default().replace("TLS13_", "TLS_");
        let bits = if cipher.contains("AES_128") { 128 } else { 256 };
        Self { version, cipher, bits }
    }
}

impl AsyncRead for EncryptedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for EncryptedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
