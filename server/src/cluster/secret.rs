//! The cluster's secret: the one that is configured, or one of the server's own.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use engine::config::{Config, Secret};
use rand::RngExt;

const FILE: &str = "cluster.secret";
const SECRET_BYTES: usize = 32;

/// The configured secret. Without one it is that of the data folder, which is made when there is none: a cluster of one
/// machine needs nothing else, and `Config` sees to it that it is one.
pub fn secret(config: &Config) -> Result<Secret, String> {
    if let Some(secret) = config.cluster_secret().map_err(|error| error.to_string())? {
        return Ok(secret);
    }
    let path = config.server.data_dir.join(FILE);
    own(&path).map_err(|error| format!("cannot use {}: {error}", path.display()))
}

fn own(path: &Path) -> io::Result<Secret> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().len() >= SECRET_BYTES => return Ok(Secret::new(text.trim().to_owned())),
        Ok(_) => return Err(io::Error::other("it holds no secret: remove it, and the server makes another")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let secret: String = (0..SECRET_BYTES).map(|_| format!("{:02x}", rand::rng().random::<u8>())).collect();
    // Nobody else's to read from the first byte on.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{secret}")?;
    Ok(Secret::new(secret))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_of_its_own_is_kept_and_nobody_elses() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join(FILE);
        let first = own(&path).expect("it is made");
        assert_eq!(first.reveal().len(), 2 * SECRET_BYTES);
        assert_eq!(own(&path).expect("it is read").reveal(), first.reveal());
        let mode = path.metadata().expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
