//! The local disk as a store, files whose names hold control characters included: a path of a store cannot say those, so
//! that one such name would hide the whole folder it lies in. They are listed, and opened, under names in which other
//! characters stand for them.

use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path as DiskPath, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use catalog::stand_ins;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// Folders are followed so deep, where links may lead in circles.
const DEPTH_MAX: usize = 64;

/// The local disk.
#[derive(Debug)]
pub struct LocalFiles(LocalFileSystem);

impl LocalFiles {
    /// All of it.
    pub fn new() -> Self {
        Self(LocalFileSystem::new())
    }

    /// Refuses what is no file: who opens a pipe waits until somebody writes to it.
    fn check_regular(&self, location: &Path) -> Result<()> {
        let path = match on_disk(location) {
            Some(path) => path,
            None => self.0.path_to_filesystem(location)?,
        };
        let is_other = std::fs::metadata(&path).is_ok_and(|found| {
            let kind = found.file_type();
            kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device()
        });
        if is_other {
            let source = format!("{} is not a regular file", path.display()).into();
            return Err(object_store::Error::Generic { store: "LocalFiles", source });
        }
        Ok(())
    }
}

impl fmt::Display for LocalFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for LocalFiles {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.0.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.check_regular(location)?;
        match on_disk(location) {
            None => self.0.get_opts(location, options).await,
            Some(path) => {
                let location = location.clone();
                blocking(move || opened(&path, location, options.range, options.head)).await
            }
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.check_regular(location)?;
        if on_disk(location).is_none() {
            return self.0.get_ranges(location, ranges).await;
        }
        let mut found = Vec::with_capacity(ranges.len());
        for range in ranges {
            let options =
                GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
            found.push(self.get_opts(location, options).await?.bytes().await?);
        }
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let folder = prefix.cloned().unwrap_or_default();
        if on_disk(&folder).is_some() {
            return walked(folder, HashSet::new());
        }
        // What has been given is not given again when a name is met that cannot be said.
        let begun = (self.0.list(prefix), HashSet::new(), folder);
        let given = futures::stream::try_unfold(Some(begun), async |state| {
            let Some((mut listing, mut seen, folder)) = state else { return Ok(None) };
            match listing.next().await {
                Some(Ok(file)) => {
                    seen.insert(hash_of(&file.location));
                    let one = futures::stream::iter([Ok(file)]).boxed();
                    Ok(Some((one, Some((listing, seen, folder)))))
                }
                Some(Err(object_store::Error::InvalidPath { .. })) => Ok(Some((walked(folder, seen), None))),
                Some(Err(error)) => Err(error),
                None => Ok(None),
            }
        });
        given.try_flatten().boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let offset = offset.clone();
        self.list(prefix).try_filter(move |file| std::future::ready(file.location > offset)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listed = match prefix.is_some_and(|prefix| on_disk(prefix).is_some()) {
            true => None,
            false => Some(self.0.list_with_delimiter(prefix).await),
        };
        match listed {
            None | Some(Err(object_store::Error::InvalidPath { .. })) => {
                let prefix = prefix.cloned().unwrap_or_default();
                blocking(move || {
                    let (mut objects, mut common_prefixes) = (Vec::new(), Vec::new());
                    for entry in entries(&prefix)? {
                        match entry {
                            Entry::File(file) => objects.push(file),
                            Entry::Folder(folder) => common_prefixes.push(folder),
                        }
                    }
                    common_prefixes.sort();
                    Ok(ListResult { objects, common_prefixes })
                })
                .await
            }
            Some(listed) => listed,
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.0.rename_opts(from, to, options).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

enum Entry {
    File(ObjectMeta),
    Folder(Path),
}

/// What lies right below `folder`, links followed; what leads nowhere is left out.
fn entries(folder: &Path) -> Result<Vec<Entry>> {
    let disk = on_disk(folder).unwrap_or_else(|| disk_path(folder.as_ref()));
    let failed = |error: std::io::Error| generic(&disk, error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&disk).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        let name = stand_ins::hide(&entry.file_name().to_string_lossy());
        let location = Path::parse(format!("{folder}/{name}"))?;
        // As uploads that are not complete are called.
        let is_upload = name
            .split_once('#')
            .is_some_and(|(_, end)| !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit()));
        if metadata.is_dir() {
            found.push(Entry::Folder(location));
        } else if metadata.is_file() && !is_upload {
            found.push(Entry::File(meta(location, &metadata)));
        }
    }
    Ok(found)
}

/// All below `folder` but those of the hashes `seen`.
fn walked(folder: Path, seen: HashSet<u64>) -> BoxStream<'static, Result<ObjectMeta>> {
    let all = blocking(move || {
        let mut found = Vec::new();
        walk(&folder, DEPTH_MAX, &mut found)?;
        found.retain(|file| !seen.contains(&hash_of(&file.location)));
        Ok(found)
    });
    let all = futures::stream::once(all).map_ok(|found| futures::stream::iter(found).map(Ok));
    all.try_flatten().boxed()
}

fn hash_of(location: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    location.hash(&mut hasher);
    hasher.finish()
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<ObjectMeta>) -> Result<()> {
    for entry in entries(folder)? {
        match entry {
            Entry::File(file) => found.push(file),
            Entry::Folder(folder) if depth > 0 => walk(&folder, depth - 1, found)?,
            Entry::Folder(_) => {}
        }
    }
    Ok(())
}

fn opened(path: &DiskPath, location: Path, range: Option<GetRange>, is_head: bool) -> Result<GetResult> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            object_store::Error::NotFound { path: location.to_string(), source: Box::new(error) }
        }
        _ => generic(path, error),
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let meta = meta(location.clone(), &file.metadata().map_err(failed)?);
    let range = match range {
        Some(range) if !is_head => range.as_range(meta.size).map_err(|error| {
            object_store::Error::Generic { store: "LocalFiles", source: error.to_string().into() }
        })?,
        _ => 0..meta.size,
    };
    let payload = GetResultPayload::File(file, path.to_owned());
    Ok(GetResult { payload, meta, range, attributes: Default::default() })
}

fn meta(location: Path, metadata: &std::fs::Metadata) -> ObjectMeta {
    let last_modified = metadata.modified().map(Into::into).unwrap_or_default();
    ObjectMeta { location, last_modified, size: metadata.len(), e_tag: None, version: None }
}

fn generic(path: &DiskPath, error: std::io::Error) -> object_store::Error {
    tracing::warn!(path = %path.display(), %error, "a folder or a file cannot be read");
    object_store::Error::Generic { store: "LocalFiles", source: Box::new(error) }
}

/// Where a file lies whose name has characters that stand for others; `None` for every other.
fn on_disk(location: &Path) -> Option<PathBuf> {
    stand_ins::are_in(location.as_ref()).then(|| disk_path(&stand_ins::show(location.as_ref())))
}

fn disk_path(text: &str) -> PathBuf {
    PathBuf::from(format!("/{text}"))
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;

    #[tokio::test]
    async fn a_name_with_a_tab_hides_nothing_and_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("in\tner")).expect("a folder");
        for name in ["plain.parquet", "a\tb.parquet", "in\tner/c.parquet", "d#e?f%20.parquet"] {
            std::fs::write(folder.path().join(name), name).expect("written");
        }
        let store = LocalFiles::new();
        let prefix = Path::from_absolute_path(folder.path().canonicalize().expect("a path")).expect("a path");
        let listed: Vec<ObjectMeta> = store.list(Some(&prefix)).try_collect().await.expect("a listing");
        assert_eq!(listed.len(), 4);
        let mut read = Vec::new();
        for file in &listed {
            let whole = store.get(&file.location).await.expect("opened").bytes().await.expect("read");
            read.push(String::from_utf8(whole.to_vec()).expect("text"));
            let part = store.get_range(&file.location, 1..3).await.expect("a part");
            assert_eq!(part.len(), 2);
        }
        read.sort();
        assert_eq!(read, ["a\tb.parquet", "d#e?f%20.parquet", "in\tner/c.parquet", "plain.parquet"]);
        let level = store.list_with_delimiter(Some(&prefix)).await.expect("a listing");
        assert_eq!((level.objects.len(), level.common_prefixes.len()), (3, 1));
    }
}
