//! A folder for spill and shuffle files that one process made, marked and locked.
//!
//! Only folders with our mark whose lock nobody holds are ever removed, so pointing `--work-dir` at a
//! folder with other things in it loses none of them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const PREFIX: &str = "sluice-work-";
const MARK: &str = ".sluice-work-folder";

/// A claimed folder; it is removed with everything in it when this is dropped.
#[derive(Debug)]
pub struct WorkFolder {
    path: PathBuf,
    // Held for its lock: another process can tell a live folder from an abandoned one.
    _mark: File,
}

impl WorkFolder {
    /// Removes what dead processes left in `parent`, then makes a fresh folder there.
    pub fn claim(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        remove_abandoned(parent)?;
        let path = parent.join(format!("{PREFIX}{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir(&path)?;
        // Paths are told to other threads and written into plans, so they must not depend on where
        // the process stands.
        let path = path.canonicalize()?;
        let mut mark = File::create(path.join(MARK))?;
        mark.lock()?;
        writeln!(mark, "{}", std::process::id())?;
        Ok(Self { path, _mark: mark })
    }

    /// The folder itself, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder inside, made on demand.
    pub fn subfolder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; the next start removes what stays.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn remove_abandoned(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX) && entry.file_type()?.is_dir();
        if !is_ours {
            continue;
        }
        let Ok(mark) = File::open(entry.path().join(MARK)) else { continue };
        if mark.try_lock().is_ok() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_abandoned_folders_of_ours_are_removed() {
        let parent = tempfile::tempdir().expect("a temporary folder can be made");
        let abandoned = WorkFolder::claim(parent.path()).expect("the folder is claimed");
        let abandoned_path = abandoned.path().to_owned();
        // Keeps the folder, gives up the lock: what a killed process leaves behind.
        let WorkFolder { _mark: mark, .. } = &abandoned;
        mark.unlock().expect("the lock is ours");
        std::mem::forget(abandoned);
        let foreign = parent.path().join("sluice-work-of-someone-else");
        fs::create_dir(&foreign).expect("the folder can be made");
        let live = WorkFolder::claim(parent.path()).expect("the folder is claimed");

        let second = WorkFolder::claim(parent.path()).expect("the folder is claimed");
        assert!(!abandoned_path.exists());
        assert!(live.path().exists());
        assert!(foreign.exists());
        let second_path = second.path().to_owned();
        drop(second);
        assert!(!second_path.exists());
    }
}
