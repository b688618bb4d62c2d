//! Files that `COPY … TO` writes to a place of the user's: there whole, or not at all.
//!
//! On a disk, and in a store that renames folders, they are written to a folder beside the target, which then takes
//! the target's name. In a store of objects they are uploads that nobody sees; what completes them all is noted in the data folder first, so
//! that a server which is killed in the middle of it completes the rest when it starts again.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use catalog::table::managed::split;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreRegistry;
use engine::object_stores::ObjectStores;
use engine::operators::{StagedObject, WrittenFile};
use engine::{Error, Result};
use futures::{StreamExt, TryStreamExt};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use url::Url;

use super::renamed::{self, Beside, Replaced};
use super::{LOOKS_AFTER, Writes};

/// Objects completed at once.
const COMPLETED_AT_ONCE: usize = 8;

/// A place that rows are copied to.
#[derive(Debug)]
pub struct Export {
    writes: Writes,
    write_id: String,
    /// As the user wrote it.
    shown: String,
    is_file: bool,
    overwrites: bool,
    to: To,
    _claim: Claim,
    is_over: bool,
}

#[derive(Debug)]
enum To {
    Disk { staging: PathBuf, target: PathBuf },
    Beside(Beside),
    Store { stores: Arc<ObjectStores>, url: Url, path: StorePath },
}

/// What is left to be done when the server is killed, as it stands in the data folder.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Line {
    /// A folder of files that nobody sees, or of those that were replaced.
    Staging(PathBuf),
    /// The folder of a session's own tables, or of files that nobody sees, a URL that ends in `/`.
    Temporary(String),
    /// A folder that takes the name of another.
    Replacing(renamed::Names),
    /// Objects to be completed, and then others to be removed.
    Completing { url: String, objects: Vec<(String, StagedObject)>, removed: Vec<String> },
}

/// Places that statements write to right now.
#[derive(Debug, Clone, Default)]
pub struct Claims(Arc<Mutex<HashSet<String>>>);

#[derive(Debug)]
struct Claim {
    claims: Claims,
    url: String,
}

impl Claims {
    fn take(&self, url: &Url, shown: &str) -> Result<Claim> {
        let url = url.to_string();
        // A folder, and what lies in it, are one place.
        let is_in = |inner: &str, outer: &str| outer.ends_with('/') && inner.starts_with(outer);
        let mut held = self.0.lock();
        if held.iter().any(|other| *other == url || is_in(&url, other) || is_in(other, &url)) {
            return Err(Error::LocationBusy { location: shown.to_owned() });
        }
        held.insert(url.clone());
        Ok(Claim { claims: self.clone(), url })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.0.lock().remove(&self.url);
    }
}

impl Export {
    /// Begins to write to `url`. Fails with 42P07 where something is already, unless it is to be overwritten.
    pub async fn begin(
        writes: &Writes,
        write_id: &str,
        stores: &Arc<ObjectStores>,
        url: Url,
        shown: &str,
        (is_file, overwrites): (bool, bool),
    ) -> Result<Self> {
        let claim = writes.claims.take(&url, shown)?;
        let to = match url.to_file_path() {
            Ok(target) if url.scheme() == "file" => {
                let parent = target.parent().ok_or_else(|| duplicate(shown))?;
                let staging = parent.join(format!(".sluice-{write_id}"));
                To::Disk { staging, target }
            }
            _ if ObjectStores::renames_folders(&url) => To::Beside(Beside::new(stores, &url, write_id)?),
            _ => {
                let path = StorePath::from_url_path(url.path())
                    .map_err(|error| DataFusionError::ObjectStore(Box::new(error.into())))?;
                To::Store { stores: Arc::clone(stores), url, path }
            }
        };
        let export = Self {
            writes: writes.clone(),
            write_id: write_id.to_owned(),
            shown: shown.to_owned(),
            is_file,
            overwrites,
            to,
            _claim: claim,
            is_over: false,
        };
        if !overwrites && export.is_taken().await? {
            return Err(duplicate(shown));
        }
        if let To::Beside(beside) = &export.to {
            export.note(&Line::Temporary(beside.folder()))?;
        }
        if let To::Disk { staging, .. } = &export.to {
            export.note(&Line::Staging(staging.clone()))?;
            let staging = staging.clone();
            blocking(move || std::fs::create_dir_all(staging)).await?;
        }
        Ok(export)
    }

    /// The folder that the files are to be written to, ending in `/`.
    pub fn folder(&self) -> String {
        match &self.to {
            // Stores call files by their names as they are: nothing is encoded.
            To::Disk { staging, .. } => format!("file://{}/", staging.to_string_lossy()),
            To::Beside(beside) => beside.folder(),
            To::Store { url, .. } if self.is_file => {
                let (folder, _) = url.as_str().rsplit_once('/').unwrap_or((url.as_str(), ""));
                format!("{folder}/")
            }
            To::Store { url, .. } => url.to_string(),
        }
    }

    /// The name of the file, where the place is one.
    pub fn file_name(&self) -> Option<String> {
        let name = match &self.to {
            To::Disk { target, .. } => target.file_name()?.to_string_lossy().into_owned(),
            To::Beside(beside) => beside.file_name()?,
            To::Store { path, .. } => path.filename()?.to_owned(),
        };
        self.is_file.then_some(name)
    }

    /// True when the files are uploads that a commit completes.
    pub fn is_staged(&self) -> bool {
        matches!(self.to, To::Store { .. })
    }

    /// After a job that was run again: files of its lost runs lie beside `files` on a disk.
    pub async fn keep_only(&self, files: &[WrittenFile]) -> Result<()> {
        if let To::Beside(beside) = &self.to {
            return beside.keep_only(files).await;
        }
        let To::Disk { staging, .. } = &self.to else { return Ok(()) };
        let kept: HashSet<PathBuf> = files.iter().map(|written| staging.join(&written.file.path)).collect();
        let staging = staging.clone();
        blocking(move || remove_others(&staging, &kept)).await
    }

    async fn is_taken(&self) -> Result<bool> {
        match &self.to {
            To::Disk { target, .. } => {
                let (target, is_file) = (target.clone(), self.is_file);
                blocking(move || match std::fs::symlink_metadata(&target) {
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
                    Err(error) => Err(error),
                    Ok(found) if found.is_dir() && !is_file => {
                        Ok(std::fs::read_dir(&target)?.next().is_some())
                    }
                    Ok(_) => Ok(true),
                })
                .await
            }
            To::Beside(beside) => beside.is_taken().await,
            To::Store { .. } => Ok(!self.present(1).await?.is_empty()),
        }
    }

    /// At most `count` of the objects that are at the place.
    async fn present(&self, count: usize) -> Result<Vec<StorePath>> {
        let To::Store { stores, url, path } = &self.to else { return Ok(Vec::new()) };
        let store = stores.get_store(url)?;
        let found = if self.is_file {
            match store.head(path).await {
                Ok(found) => Ok(vec![found.location]),
                Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        } else {
            store.list(Some(path)).take(count).map_ok(|found| found.location).try_collect().await
        };
        match found {
            Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
            found => Ok(found.map_err(stored)?),
        }
    }

    fn note(&self, line: &Line) -> Result<()> {
        let text = serde_json::to_string(line).map_err(|error| Error::internal(error.to_string()))?;
        self.writes.note(&self.write_id, &text)
    }

    /// Shows `files`, which are all that was written, at the place.
    pub async fn commit(mut self, files: Vec<WrittenFile>) -> Result<()> {
        match &self.to {
            To::Disk { staging, target } => {
                let (staging, target) = (staging.clone(), target.clone());
                let (is_file, overwrites) = (self.is_file, self.overwrites);
                blocking(move || place(&staging, &target, is_file, overwrites)).await.map_err(|error| {
                    match error {
                        Error::DuplicateLocation { .. } => duplicate(&self.shown),
                        other => other,
                    }
                })
                // Dropping the export removes the staging folder, with what was replaced.
            }
            To::Beside(beside) => {
                if self.is_file {
                    beside.place_file(self.overwrites, &self.shown).await
                } else if self.overwrites && beside.is_taken().await? {
                    let beside = beside.clone();
                    self.replace(&beside).await
                } else {
                    beside.place_folder(&self.shown).await
                }
            }
            To::Store { .. } => {
                let outcome = self.complete(files).await;
                self.is_over = true;
                outcome
            }
        }
    }

    async fn replace(&mut self, beside: &Beside) -> Result<()> {
        self.note(&Line::Replacing(beside.names().clone()))?;
        // Nothing is removed from here on but what is known to be of no use.
        self.is_over = true;
        match beside.replace_folder(&self.shown).await {
            Replaced::Fully => {
                // The place has what was written: a folder that stays is removed by the next start.
                match beside.clear_replaced().await {
                    Ok(()) => self.writes.forget(&self.write_id),
                    Err(error) => warn!(%error, "a folder that was replaced could not be removed"),
                }
                Ok(())
            }
            Replaced::Not(error) => {
                self.note(&Line::Temporary(beside.folder()))?;
                self.is_over = false;
                Err(error)
            }
            Replaced::Half(error) => {
                warn!(%error, "a folder was not replaced, and has a hidden name until the next start");
                Err(error)
            }
        }
    }

    async fn complete(&self, files: Vec<WrittenFile>) -> Result<()> {
        let To::Store { stores, url, path } = &self.to else { return Ok(()) };
        let folder = if self.is_file { None } else { Some(path) };
        let mut objects = Vec::with_capacity(files.len());
        for written in files {
            let at = match folder {
                // Parsed, not joined: what is encoded already stays as it is.
                Some(folder) => StorePath::parse(format!("{folder}/{}", written.file.path))
                    .map_err(|error| DataFusionError::ObjectStore(Box::new(error.into())))?,
                None => path.clone(),
            };
            let staged = written.staged.ok_or_else(|| Error::internal("an upload was completed early"))?;
            objects.push((at, staged));
        }
        let (store, uploads) = (stores.get_store(url)?, stores.uploads(url)?);
        let present = self.present(usize::MAX).await?;
        if !self.overwrites && !present.is_empty() {
            self.take_back(&uploads, &store, &objects).await;
            return Err(duplicate(&self.shown));
        }
        // A file that is replaced has the name of the one that comes.
        let removed = if self.is_file { Vec::new() } else { present };
        self.note(&Line::Completing {
            url: url.to_string(),
            objects: objects.iter().map(|(at, staged)| (at.to_string(), staged.clone())).collect(),
            removed: removed.iter().map(ToString::to_string).collect(),
        })?;
        // Each is waited for: one that was given up might still be completed when all are taken back.
        let outcomes: Vec<_> = futures::stream::iter(objects.clone())
            .map(|(at, staged)| complete_one(Arc::clone(&uploads), at, staged))
            .buffer_unordered(COMPLETED_AT_ONCE)
            .collect()
            .await;
        if let Some(error) = outcomes.into_iter().find_map(std::result::Result::err) {
            self.take_back(&uploads, &store, &objects).await;
            return Err(Error::from(stored(error)).of_write());
        }
        match remove(&store, removed).await {
            Ok(()) => self.writes.forget(&self.write_id),
            // The line stays: the next start removes them.
            Err(error) => warn!(%error, "files that were replaced could not be removed"),
        }
        Ok(())
    }

    /// After a commit that failed: nothing of it stays. What the store does not let go, the next start removes.
    async fn take_back(
        &self,
        uploads: &Arc<dyn MultipartStore>,
        store: &Arc<dyn ObjectStore>,
        objects: &[(StorePath, StagedObject)],
    ) {
        for (at, staged) in objects {
            // One that was completed is none any more.
            let _ = uploads.abort_multipart(at, &staged.upload_id).await;
        }
        // A file that was there has the name of the one that did not come.
        let paths: Vec<StorePath> = match self.is_file {
            true => Vec::new(),
            false => objects.iter().map(|(at, _)| at.clone()).collect(),
        };
        let removed = paths.iter().map(ToString::to_string).collect();
        match remove(store, paths).await {
            Ok(()) => self.writes.forget(&self.write_id),
            Err(error) => {
                warn!(%error, "files of a copy that failed could not be removed");
                if let To::Store { url, .. } = &self.to {
                    let line = Line::Completing { url: url.to_string(), objects: Vec::new(), removed };
                    let _ = self.note(&line);
                }
            }
        }
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if let To::Beside(beside) = &self.to {
            let (writes, write_id, beside) = (self.writes.clone(), self.write_id.clone(), beside.clone());
            let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
            runtime.spawn(async move {
                for after in LOOKS_AFTER {
                    tokio::time::sleep(after).await;
                    if let Err(error) = beside.clear_staging().await {
                        warn!(write.id = write_id, %error, "a staging folder could not be removed");
                        return;
                    }
                }
                writes.forget(&write_id);
            });
        }
        if let To::Disk { staging, .. } = &self.to {
            let (writes, write_id, staging) = (self.writes.clone(), self.write_id.clone(), staging.clone());
            let Ok(runtime) = tokio::runtime::Handle::try_current() else {
                let _ = remove_folder(&staging);
                return;
            };
            runtime.spawn(async move {
                // A file that is written to its end meanwhile keeps the folder until the next look.
                let mut removed = Ok(());
                for after in LOOKS_AFTER {
                    tokio::time::sleep(after).await;
                    let staging = staging.clone();
                    removed = blocking(move || remove_folder(&staging)).await;
                }
                match removed {
                    Ok(()) => writes.forget(&write_id),
                    Err(error) => warn!(write.id = write_id, %error, "a staging folder could not be removed"),
                }
            });
        }
    }
}

/// Does what `line` of a killed server says is left to be done.
pub(super) async fn finish(stores: &ObjectStores, line: Line) -> Result<()> {
    match line {
        Line::Staging(folder) => {
            info!("a copy that was not finished is removed");
            blocking(move || remove_folder(&folder)).await
        }
        Line::Temporary(folder) => remove_all(stores, &folder).await,
        Line::Replacing(names) => Beside::left(stores, names)?.finish().await,
        Line::Completing { url, objects, removed } => {
            let url = Url::parse(&url).map_err(|error| Error::internal(error.to_string()))?;
            let (store, uploads) = (stores.get_store(&url)?, stores.uploads(&url)?);
            let parsed = |path: &String| {
                StorePath::parse(path).map_err(|error| DataFusionError::ObjectStore(Box::new(error.into())))
            };
            for (at, staged) in objects {
                let at = parsed(&at)?;
                if let Err(error) = complete_one(Arc::clone(&uploads), at.clone(), staged).await
                    // An upload that was completed is none any more.
                    && store.head(&at).await.is_err()
                {
                    return Err(stored(error).into());
                }
            }
            info!("a copy whose commit had begun is completed");
            let removed = removed.iter().map(parsed).collect::<std::result::Result<Vec<_>, _>>()?;
            remove(&store, removed).await
        }
    }
}

/// Removes everything below `folder`, a URL.
pub(super) async fn remove_all(stores: &ObjectStores, folder: &str) -> Result<()> {
    if let Some(path) = folder.strip_prefix("file://") {
        let path = PathBuf::from(path);
        return blocking(move || remove_folder(&path)).await;
    }
    let (url, prefix) = split(folder.trim_end_matches('/'))?;
    let store = stores.get_store(url.as_ref())?;
    if ObjectStores::renames_folders(url.as_ref()) {
        return renamed::remove_tree(&store, &prefix).await;
    }
    let found: Vec<StorePath> =
        store.list(Some(&prefix)).map_ok(|file| file.location).try_collect().await.map_err(stored)?;
    remove(&store, found).await
}

/// Gives what `staging` holds the name `target`.
fn place(staging: &Path, target: &Path, is_file: bool, overwrites: bool) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let from = match (is_file, target.file_name()) {
        (true, Some(name)) => staging.join(name),
        _ => staging.to_owned(),
    };
    match (is_file, overwrites && target.exists()) {
        (_, true) if target.is_dir() == is_file => Err(std::io::Error::from(ErrorKind::AlreadyExists)),
        (true, true) => std::fs::rename(&from, target),
        (true, false) => Ok(renameat_with(CWD, &from, CWD, target, RenameFlags::NOREPLACE)?),
        // The folder that was there goes with the staging folder, whose name it now has.
        (false, true) => Ok(renameat_with(CWD, &from, CWD, target, RenameFlags::EXCHANGE)?),
        // Takes the place of an empty folder, and of no other.
        (false, false) => std::fs::rename(&from, target),
    }
}

fn remove_folder(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

fn remove_others(folder: &Path, kept: &HashSet<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_others(&entry.path(), kept)?;
        } else if !kept.contains(&entry.path()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

async fn complete_one(
    uploads: Arc<dyn MultipartStore>,
    at: StorePath,
    staged: StagedObject,
) -> object_store::Result<()> {
    let parts = staged.parts.into_iter().map(|content_id| PartId { content_id }).collect();
    uploads.complete_multipart(&at, &staged.upload_id, parts).await.map(drop)
}

pub(super) async fn remove(store: &Arc<dyn ObjectStore>, paths: Vec<StorePath>) -> Result<()> {
    let paths = futures::stream::iter(paths.into_iter().map(Ok)).boxed();
    let mut removed = store.delete_stream(paths);
    while let Some(outcome) = removed.next().await {
        match outcome {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(stored(error).into()),
        }
    }
    Ok(())
}

pub(super) fn stored(error: object_store::Error) -> DataFusionError {
    DataFusionError::ObjectStore(Box::new(error))
}

pub(super) fn duplicate(shown: &str) -> Error {
    Error::DuplicateLocation { location: shown.to_owned() }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let outcome =
        tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal(error.to_string()))?;
    outcome.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory => duplicate(""),
        ErrorKind::PermissionDenied => {
            Error::WriteRefused { message: "the folder may not be written to".into() }
        }
        _ => Error::from(DataFusionError::from(error)).of_write(),
    })
}
