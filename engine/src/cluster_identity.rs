//! Who belongs to a cluster: every node that knows its secret.
//!
//! The secret makes the key of an authority, the same on every node, with which each signs a certificate for a key of
//! its own. Connections between nodes are TLS in which both sides show such a certificate: nobody else is listened to,
//! and the secret itself never travels. See docs/decisions/014-the-executor-is-ours.md.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ballista_core::extension::{BallistaConfigGrpcEndpoint, EndpointOverrideFn};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519,
};
use ring::hkdf;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, ServerTlsConfig};

use crate::Error;

/// Shorter secrets could be guessed: whoever reaches a node's port can try as many as he likes in his own time.
pub const SECRET_BYTES_MIN: usize = 32;

/// The name in every node's certificate. Nodes are told apart by their addresses; this says that they are nodes.
const NODE: &str = "node.sluice.internal";
const AUTHORITY: &str = "Sluice cluster";
/// Told apart from anything else that might ever be made of the same secret.
const PURPOSE: &[u8] = b"sluice cluster authority 1";
/// What precedes the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410, section 7).
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// A peer that does not answer is found out within seconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// One that stops answering may share its processor with others that keep it busy.
const PONG_WAIT_MAX: Duration = Duration::from_secs(10);
/// The same for one that is to take a connection. Where its process has ended, the machine says so at once.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// One node's certificate, its key, and the authority that its peers' must come from.
#[derive(Clone)]
pub struct ClusterIdentity {
    authority: Certificate,
    node: Identity,
}

impl fmt::Debug for ClusterIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterIdentity").finish_non_exhaustive()
    }
}

impl ClusterIdentity {
    /// A new identity in the cluster that `secret` is of.
    pub fn of(secret: &str) -> crate::Result<Self> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(Error::internal(format!(
                "the cluster's secret must have at least {SECRET_BYTES_MIN} characters"
            )));
        }
        Self::signed(secret).map_err(|error| Error::internal(format!("cannot make a certificate: {error}")))
    }

    fn signed(secret: &str) -> Result<Self, rcgen::Error> {
        let authority_key = authority_key(secret)?;
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        authority.distinguished_name.push(DnType::CommonName, AUTHORITY);
        let certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);

        let node_key = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut node = CertificateParams::new(vec![NODE.to_owned()])?;
        node.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let signed = node.signed_by(&node_key, &issuer)?;
        Ok(Self {
            authority: Certificate::from_pem(certificate.pem()),
            node: Identity::from_pem(signed.pem(), node_key.serialize_pem()),
        })
    }

    /// How a port of this node is served: to nodes of the cluster alone.
    pub fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.node.clone())
            .client_ca_root(self.authority.clone())
            .timeout(PATIENCE * 5)
    }

    fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificate(self.authority.clone())
            .identity(self.node.clone())
            .domain_name(NODE)
    }

    /// The node at `address` (`HOST:PORT`).
    pub fn endpoint(&self, address: &str) -> Result<Endpoint, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("https://{address}"))?.tls_config(self.client())?;
        Ok(attentive(endpoint))
    }

    /// The same for connections that Ballista opens. One that it would open without TLS loses what Ballista has set on
    /// it, which an endpoint does not tell.
    pub fn peers(&self) -> EndpointOverrideFn {
        let identity = self.clone();
        Arc::new(move |endpoint| {
            let is_encrypted = endpoint.uri().scheme_str() == Some("https");
            if is_encrypted {
                return Ok(attentive(endpoint.tls_config(identity.client())?));
            }
            let address = endpoint.uri().authority().map(ToString::to_string).unwrap_or_default();
            Ok(identity.endpoint(&address)?)
        })
    }

    /// [`Self::peers`] as Ballista's Flight client takes it.
    pub fn flight_peers(&self) -> Arc<BallistaConfigGrpcEndpoint> {
        Arc::new(BallistaConfigGrpcEndpoint::new(self.peers()))
    }
}

fn attentive(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_MAX)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PATIENCE / 2)
        .keep_alive_timeout(PONG_WAIT_MAX)
        .keep_alive_while_idle(true)
}

/// The authority's key. A secret has enough in it to need no slow function to make a key of it.
fn authority_key(secret: &str) -> Result<KeyPair, rcgen::Error> {
    let unavailable = |_| rcgen::Error::KeyGenerationUnavailable;
    let mut seed = [0u8; 32];
    hkdf::Salt::new(hkdf::HKDF_SHA256, PURPOSE)
        .extract(secret.as_bytes())
        .expand(&[b"ed25519"], hkdf::HKDF_SHA256)
        .and_then(|key| key.fill(&mut seed))
        .map_err(unavailable)?;
    let pkcs8 = [ED25519_PKCS8.as_slice(), &seed].concat();
    KeyPair::try_from(pkcs8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_secret_makes_one_authority() {
        let key = |secret: &str| authority_key(secret).expect("a key").public_key_raw().to_vec();
        let (one, other) = ("a".repeat(SECRET_BYTES_MIN), "b".repeat(SECRET_BYTES_MIN));
        assert_eq!(key(&one), key(&one));
        assert_ne!(key(&one), key(&other));
        ClusterIdentity::of(&one).expect("an identity");
        ClusterIdentity::of("short").expect_err("it could be guessed");
    }
}
