//! The server's data folder, which is one server's alone: at its start a server removes what unfinished writes have left
//! there, and those of another may be going on.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

const LOCK: &str = "sluice.lock";
/// One that was told to end may take so long to be gone.
const WAIT: Duration = Duration::from_secs(3);
/// Nothing tells that a lock was given up: a thread that blocked on it could not be called back after [`WAIT`], and would
/// keep the process from ending.
const LOOKS_EVERY: Duration = Duration::from_millis(50);

/// A data folder that no other server uses until this is dropped, or the process ends.
#[derive(Debug)]
pub struct DataFolder {
    _lock: File,
}

impl DataFolder {
    /// Makes the folder where there is none. Fails with [`io::ErrorKind::ResourceBusy`] when another server goes on using
    /// it.
    pub async fn claim(path: &Path) -> io::Result<Self> {
        let is_ours = is_ours(path)?;
        fs::create_dir_all(path)?;
        if is_ours {
            make_private(path)?;
        }
        let lock = File::options().create(true).truncate(false).write(true).open(path.join(LOCK))?;
        let began_at = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { _lock: lock }),
                Err(TryLockError::WouldBlock) if began_at.elapsed() < WAIT => {
                    tokio::time::sleep(LOOKS_EVERY).await;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(io::Error::new(
                        io::ErrorKind::ResourceBusy,
                        "another server uses it: give this one a --data-dir of its own",
                    ));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

/// A folder that is new, empty, or was a server's before: one that holds other things is not ours to close to others.
fn is_ours(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none() || path.join(LOCK).exists()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Makes the folder `path`, unless it is there, for its owner alone: files of tables lie in it.
pub fn make(path: &Path) -> io::Result<()> {
    let is_new = !path.exists();
    fs::create_dir_all(path)?;
    if is_new { make_private(path) } else { Ok(()) }
}

/// It holds what roles sign in with, and their data: as of PostgreSQL's, nobody else looks into it.
fn make_private(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
            tracing::debug!(path = %path.display(), was = format!("{mode:o}"), "the data folder is its owner's alone now");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_is_one_servers() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data");
        let first = DataFolder::claim(&path).await.expect("a free folder");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&path).expect("a folder").permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
        let second = DataFolder::claim(&path).await.expect_err("a folder in use");
        assert_eq!(second.kind(), io::ErrorKind::ResourceBusy);
        drop(first);
        DataFolder::claim(&path).await.expect("a folder that is free again");
    }
}
