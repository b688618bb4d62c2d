//! Files that statements have written and no commit has taken in yet.
//!
//! Each running statement has a line of its own in the data folder: which files are its own, and where. It
//! goes when the statement's files are committed, or removed. What a killed server leaves is removed by the
//! next start: files are found by the statement's identifier, which their names begin with.

mod export;
mod renamed;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use catalog::CatalogStore;
use catalog::table::managed::split;
use datafusion::execution::runtime_env::RuntimeEnv;
use engine::object_stores::ObjectStores;
use engine::{Error, Result};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use tracing::{info, warn};

pub use export::Export;

/// When the files of a statement that has ended are looked for, each counted from the look before. What was told to stop,
/// here or on an executor, may be in the middle of its last file, which then comes to be.
const LOOKS_AFTER: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25)];

/// Where the lines are.
#[derive(Debug, Clone)]
pub struct Writes {
    folder: PathBuf,
    env: Arc<RuntimeEnv>,
    stores: Arc<ObjectStores>,
    claims: export::Claims,
}

/// The files of one statement. Dropping it removes them, unless they were kept.
#[derive(Debug)]
pub struct PendingFiles {
    writes: Writes,
    write_id: String,
    table_folder: String,
}

impl Writes {
    /// Keeps its lines in `data_dir`.
    pub fn open(data_dir: &Path, env: Arc<RuntimeEnv>, stores: Arc<ObjectStores>) -> std::io::Result<Self> {
        let folder = data_dir.join("writes");
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, env, stores, claims: export::Claims::default() })
    }

    /// Notes that the statement `write_id` is about to write below `table_folder`.
    pub fn begin(&self, write_id: &str, table_folder: &str) -> Result<PendingFiles> {
        self.note(write_id, table_folder)?;
        Ok(PendingFiles {
            writes: self.clone(),
            write_id: write_id.to_owned(),
            table_folder: table_folder.to_owned(),
        })
    }

    /// The identifiers of the statements that have files nobody has taken in yet.
    pub fn running(&self) -> Vec<String> {
        let lines = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        lines.map(|line| line.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Notes that a session has tables of its own in `folder`, a URL.
    pub fn begin_temporary(&self, folder: &str) -> Result<TemporaryFiles> {
        let id = format!("session-{}", engine::new_uuid());
        let line = serde_json::to_string(&export::Line::Temporary(folder.to_owned()))
            .map_err(|error| Error::internal(error.to_string()))?;
        self.note(&id, &line)?;
        Ok(TemporaryFiles { writes: self.clone(), id, folder: folder.to_owned() })
    }

    fn note(&self, write_id: &str, line: &str) -> Result<()> {
        // In one step: a kill leaves the old line or the new one. Read after a crash of this process, not of
        // the machine: it need not reach the disk.
        let (next, place) = (self.folder.join(format!(".{write_id}")), self.folder.join(write_id));
        std::fs::write(&next, line).and_then(|()| std::fs::rename(&next, &place)).map_err(|error| {
            // What was begun takes space.
            let _ = std::fs::remove_file(&next);
            Error::from(datafusion::error::DataFusionError::from(error)).of_write()
        })
    }

    fn forget(&self, write_id: &str) {
        let _ = std::fs::remove_file(self.folder.join(write_id));
    }

    /// Removes what statements of an earlier start left behind, and ends what they were about to end.
    pub async fn sweep_leftovers(&self, store: &CatalogStore) {
        let Ok(lines) = std::fs::read_dir(&self.folder) else { return };
        for line in lines.flatten() {
            let write_id = line.file_name().to_string_lossy().into_owned();
            if write_id.starts_with('.') {
                let _ = std::fs::remove_file(line.path());
                continue;
            }
            let Ok(table_folder) = std::fs::read_to_string(line.path()) else { continue };
            if let Ok(export) = serde_json::from_str(&table_folder) {
                match export::finish(&self.stores, export).await {
                    Ok(()) => self.forget(&write_id),
                    Err(error) => {
                        warn!(write.id = write_id, %error, "a copy could not be brought to its end")
                    }
                }
                continue;
            }
            let known = match store.files_of(&write_id).await {
                Ok(known) => known,
                Err(error) => {
                    warn!(%error, "cannot tell which files were committed: nothing is removed");
                    return;
                }
            };
            match self.sweep(&write_id, &table_folder, &known).await {
                Ok(removed) => {
                    if removed > 0 {
                        info!(write.id = write_id, removed, "files of an unfinished write removed");
                    }
                    let _ = std::fs::remove_file(line.path());
                }
                // The line stays: the next start tries again.
                Err(error) => {
                    warn!(write.id = write_id, %error, "files of an unfinished write could not be removed")
                }
            }
        }
    }

    /// Removes the files of a statement that has ended, save for `kept`, and forgets it.
    async fn clear(&self, write_id: &str, table_folder: &str, kept: &HashSet<String>) {
        for after in LOOKS_AFTER {
            tokio::time::sleep(after).await;
            if let Err(error) = self.sweep(write_id, table_folder, kept).await {
                // The line stays: the next start tries again.
                warn!(write.id = write_id, %error, "files of a write that has ended could not be removed");
                return;
            }
        }
        self.forget(write_id);
    }

    /// Removes the files of `write_id` below `table_folder`, save for `kept`, by their names.
    async fn sweep(&self, write_id: &str, table_folder: &str, kept: &HashSet<String>) -> Result<usize> {
        if let Some(folder) = table_folder.strip_prefix("file://") {
            let (folder, write_id, kept) = (PathBuf::from(folder), write_id.to_owned(), kept.clone());
            let swept = tokio::task::spawn_blocking(move || sweep_folder(&folder, &write_id, &kept)).await;
            return Ok(swept
                .map_err(|error| Error::internal(error.to_string()))?
                .map_err(datafusion::error::DataFusionError::from)?);
        }
        let (url, prefix) = split(table_folder)?;
        let store = self.env.object_store(&url)?;
        let found = match store.list(Some(&prefix)).try_collect::<Vec<_>>().await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(0),
            Err(error) => return Err(datafusion::error::DataFusionError::from(error).into()),
        };
        let is_ours = |name: &str| name.starts_with(write_id) && !kept.contains(name);
        let paths: Vec<_> = found
            .into_iter()
            .map(|file| file.location)
            .filter(|path| path.filename().is_some_and(is_ours))
            .collect();
        let count = paths.len();
        let paths = futures::stream::iter(paths.into_iter().map(Ok)).boxed();
        let removed: Vec<_> = store
            .delete_stream(paths)
            .try_collect()
            .await
            .map_err(datafusion::error::DataFusionError::from)?;
        debug_assert_eq!(removed.len(), count);
        Ok(count)
    }
}

/// The same on this machine's disk, where a file that is not whole yet has a name that no listing shows.
fn sweep_folder(folder: &Path, write_id: &str, kept: &HashSet<String>) -> std::io::Result<usize> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            removed += sweep_folder(&entry.path(), write_id, kept)?;
        } else if name.starts_with(write_id) && !kept.contains(&name) {
            match std::fs::remove_file(entry.path()) {
                Ok(()) => removed += 1,
                // Whoever wrote it has given it up, or its name, meanwhile: the others are still there.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(removed)
}

/// The files of a session's own tables, removed when dropped.
#[derive(Debug)]
pub struct TemporaryFiles {
    writes: Writes,
    id: String,
    folder: String,
}

impl TemporaryFiles {
    /// Their folder, a URL that ends in `/`.
    pub fn folder(&self) -> &str {
        &self.folder
    }
}

impl Drop for TemporaryFiles {
    fn drop(&mut self) {
        let (writes, id) = (self.writes.clone(), std::mem::take(&mut self.id));
        let folder = std::mem::take(&mut self.folder);
        // Without a runtime the next start does it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            match export::remove_all(&writes.stores, &folder).await {
                Ok(()) => writes.forget(&id),
                Err(error) => warn!(%error, "files of a session's own tables could not be removed"),
            }
        });
    }
}

impl PendingFiles {
    /// The folder of the table they were written for.
    pub fn table_folder(&self) -> &str {
        &self.table_folder
    }

    /// Nobody knows whether the catalog has taken the files in. The next start asks it, and removes those that it does
    /// not know.
    pub fn leave(mut self) {
        warn!(write.id = self.write_id, "files of a commit without an answer are left until the next start");
        self.write_id.clear();
    }

    /// The catalog has taken in `files`, by their names. Where the statement `was_retried`, others of its
    /// runs lie about: they are removed.
    pub fn keep(mut self, files: HashSet<String>, was_retried: bool) {
        let write_id = std::mem::take(&mut self.write_id);
        let line = self.writes.folder.join(&write_id);
        if !was_retried {
            let _ = std::fs::remove_file(line);
            return;
        }
        let (writes, table_folder) = (self.writes.clone(), self.table_folder.clone());
        tokio::spawn(async move { writes.clear(&write_id, &table_folder, &files).await });
    }
}

impl Drop for PendingFiles {
    fn drop(&mut self) {
        if self.write_id.is_empty() {
            return;
        }
        let (writes, write_id) = (self.writes.clone(), std::mem::take(&mut self.write_id));
        let table_folder = std::mem::take(&mut self.table_folder);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move { writes.clear(&write_id, &table_folder, &HashSet::new()).await });
    }
}
