//! A disk of a few megabytes, of which a test decides how much is left: where the machine allows it.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::ensure;
use tempfile::TempDir;
use tokio::process::Command;

/// A page of the disk: it gives out no less.
pub const PAGE_BYTES: u64 = 4096;

/// A small disk in memory. It goes when it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts a disk of so many bytes. The error says that the machine does not allow it.
    pub async fn mount(bytes: u64) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let size = format!("size={bytes}");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder.path())
            .status()
            .await?;
        ensure!(status.success(), "a small disk could not be mounted");
        Ok(Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }

    /// Takes all space but so many pages.
    pub fn leave(&self, pages: u64) -> anyhow::Result<()> {
        let mut ballast = File::options().create(true).append(true).open(self.ballast())?;
        // By much at first, and then by little.
        for bytes in [1 << 20, PAGE_BYTES as usize] {
            let taken = vec![1; bytes];
            loop {
                match ballast.write_all(&taken) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let length = ballast.metadata()?.len();
        ballast.set_len((length / PAGE_BYTES).saturating_sub(pages) * PAGE_BYTES)?;
        Ok(())
    }

    /// Gives all space back.
    pub fn free(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.ballast())?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that was killed a moment ago may still have files open.
        let _ = std::process::Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}
