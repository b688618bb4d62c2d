//! Certificates for tests: an authority, and what it signs.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// An authority that tests trust.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    pub fn new() -> anyhow::Result<Self> {
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "test authority");
        Ok(Self { issuer: CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)? })
    }

    /// Writes its certificate, in PEM.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        Ok(std::fs::write(path, self.issuer.pem())?)
    }

    /// Writes a certificate for `common_name`, which is also a host's name, and its key.
    pub fn issue(&self, common_name: &str, certificate: &Path, key: &Path) -> anyhow::Result<()> {
        let mut parameters = CertificateParams::new(vec![common_name.to_owned()])?;
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        let pair = KeyPair::generate()?;
        let signed = parameters.signed_by(&pair, &self.issuer)?;
        std::fs::write(certificate, signed.pem())?;
        std::fs::write(key, pair.serialize_pem())?;
        // psql refuses a key that others may read.
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        Ok(std::fs::set_permissions(key, private)?)
    }
}
