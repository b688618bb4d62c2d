//! A folder for spill and shuffle files that one process made, marked and locked.
//!
//! Only folders with our mark whose lock nobody holds are ever removed, so pointing `--work-dir` at a
//! folder with other things in it loses none of them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const PREFIX: &str = "sluice-work-";
const MARK: &str = ".sluice-work-folder";
/// Whose work is in it, a line each.
const OWNERS: &str = ".sluice-owners";

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
        for abandoned in abandoned(parent)? {
            remove(&abandoned.path)?;
        }
        Self::make(parent)
    }

    /// The same for `owner`, but what dead processes left in their subfolder `name` goes over into that of the fresh
    /// folder. With it, the owners it was of.
    pub fn inherit(parent: &Path, name: &str, owner: &str) -> io::Result<(Self, Vec<String>)> {
        fs::create_dir_all(parent)?;
        // Found before there is a fresh one, and kept locked until nothing of them is left.
        let abandoned = abandoned(parent)?;
        let fresh = Self::make(parent)?;
        let here = fresh.subfolder(name)?;
        let mut owners = Vec::new();
        for abandoned in &abandoned {
            let has_work =
                fs::read_dir(abandoned.path.join(name)).is_ok_and(|mut left| left.next().is_some());
            if has_work {
                let of = fs::read_to_string(abandoned.path.join(OWNERS)).unwrap_or_default();
                owners.extend(of.lines().map(str::to_owned));
            }
        }
        // Before anything is moved: who is killed in the middle leaves two folders that have all of it together.
        let all: String =
            owners.iter().map(String::as_str).chain([owner]).map(|of| format!("{of}\n")).collect();
        fs::write(fresh.path.join(OWNERS), all)?;
        for abandoned in abandoned {
            let owned = abandoned.path.join(OWNERS);
            let left = abandoned.path.join(name);
            if owned.exists() && left.is_dir() {
                // What is there in part is nobody's.
                move_into(&left, &here).inspect_err(|_| drop(fs::remove_file(&owned)))?;
            }
            remove(&abandoned.path)?;
        }
        Ok((fresh, owners))
    }

    /// Removes it with everything in it, where dropping it does not.
    pub fn remove(&self) -> io::Result<()> {
        remove(&self.path)
    }

    fn make(parent: &Path) -> io::Result<Self> {
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
        let _ = self.remove();
    }
}

/// Whose work it was goes first: what is removed in part must not be taken for whole.
fn remove(folder: &Path) -> io::Result<()> {
    let _ = fs::remove_file(folder.join(OWNERS));
    fs::remove_dir_all(folder)
}

/// A folder of ours whose process is dead.
struct Abandoned {
    path: PathBuf,
    // Held for its lock: two that start at once must not share it.
    _mark: File,
}

fn abandoned(parent: &Path) -> io::Result<Vec<Abandoned>> {
    let mut abandoned = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX) && entry.file_type()?.is_dir();
        if !is_ours {
            continue;
        }
        let Ok(mark) = File::open(entry.path().join(MARK)) else { continue };
        if mark.try_lock().is_ok() {
            abandoned.push(Abandoned { path: entry.path(), _mark: mark });
        }
    }
    Ok(abandoned)
}

/// Moves what is in `from` into `into`, folder by folder. What is there already stays.
fn move_into(from: &Path, into: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = into.join(entry.file_name());
        if !target.exists() {
            fs::rename(entry.path(), target)?;
        } else if target.is_dir() {
            move_into(&entry.path(), &target)?;
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

    #[test]
    fn work_of_the_dead_goes_over_to_one_heir() {
        let parent = tempfile::tempdir().expect("a temporary folder can be made");
        let die = |folder: WorkFolder| {
            let WorkFolder { _mark: mark, .. } = &folder;
            mark.unlock().expect("the lock is ours");
            std::mem::forget(folder);
        };
        let write = |folder: &WorkFolder, file: &str| {
            let path = folder.path().join("shuffle/job").join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be made");
            fs::write(path, file).expect("the file can be written");
        };
        let (first, none) = WorkFolder::inherit(parent.path(), "shuffle", "first").expect("claimed");
        assert!(none.is_empty());
        let (second, none) = WorkFolder::inherit(parent.path(), "shuffle", "second").expect("claimed");
        assert!(none.is_empty(), "the first is alive");
        write(&first, "1/0/a");
        write(&second, "1/0/b");
        write(&second, "2/c");
        die(first);
        let (third, owners) = WorkFolder::inherit(parent.path(), "shuffle", "third").expect("claimed");
        assert_eq!(owners, ["first"]);
        die(second);
        die(third);
        let (heir, mut owners) = WorkFolder::inherit(parent.path(), "shuffle", "heir").expect("claimed");
        owners.sort_unstable();
        assert_eq!(owners, ["first", "second", "third"]);
        let read = |file: &str| fs::read_to_string(heir.path().join("shuffle/job").join(file)).ok();
        for file in ["1/0/a", "1/0/b", "2/c"] {
            assert_eq!(read(file).as_deref(), Some(file));
        }
        assert_eq!(fs::read_dir(parent.path()).expect("a folder").count(), 1);
    }
}
