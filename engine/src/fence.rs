//! Keeps a process to the places that it may use, whatever a plan says: the last of the checks on a location, where its
//! files are opened.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use catalog::table::managed::split;
use datafusion::error::Result as DataFusionResult;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

use crate::Error;

/// Where files may be opened.
#[derive(Debug, Clone)]
pub struct Fence(Vec<(String, Path)>);

impl Fence {
    /// Allows what lies at or below `places`: folders, or prefixes as their stores call them (nothing is decoded).
    pub fn new(places: &[String]) -> DataFusionResult<Self> {
        let place = |place: &String| {
            let url = if place.contains("://") { place.clone() } else { format!("file://{place}") };
            let url = if url.matches('/').count() < 3 { format!("{url}/") } else { url };
            let (store, path) = split(&url)?;
            Ok((store.as_str().trim_end_matches('/').to_owned(), path))
        };
        places.iter().map(place).collect::<DataFusionResult<_>>().map(Self)
    }

    /// `objects` of the store `key` (`s3://bucket`, `file://`), to be used at the allowed places alone.
    pub fn around(&self, objects: Arc<dyn ObjectStore>, key: &str) -> Arc<dyn ObjectStore> {
        Arc::new(Fenced { inner: objects, allowed: self.of(key) })
    }

    /// The same for uploads.
    pub fn around_uploads(&self, uploads: Arc<dyn MultipartStore>, key: &str) -> Arc<dyn MultipartStore> {
        Arc::new(Fenced { inner: uploads, allowed: self.of(key) })
    }

    fn of(&self, key: &str) -> Vec<Path> {
        let key = key.trim_end_matches('/');
        self.0
            .iter()
            .filter(|(store, _)| store.trim_end_matches('/') == key)
            .map(|(_, path)| path.clone())
            .collect()
    }
}

#[derive(Debug)]
struct Fenced<S> {
    inner: S,
    allowed: Vec<Path>,
}

impl<S: fmt::Display> fmt::Display for Fenced<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<S> Fenced<S> {
    fn check(&self, path: &Path) -> Result<()> {
        if self.allowed.iter().any(|allowed| path.prefix_matches(allowed)) {
            return Ok(());
        }
        let message = "the location is outside of those that an executor may use".to_owned();
        // Readers of footers keep the text alone of what they met.
        let stamp = Error::PermissionDenied { message }.to_stamp();
        Err(object_store::Error::Generic { store: "fence", source: stamp.into() })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Fenced<Arc<dyn ObjectStore>> {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.check(path)?;
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.check(path)?;
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.check(path)?;
        self.inner.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.check(path)?;
        self.inner.get_ranges(path, ranges).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let fence = Fenced { inner: (), allowed: self.allowed.clone() };
        let checked = paths.map(move |path| {
            let path = path?;
            fence.check(&path).map(|()| path)
        });
        self.inner.delete_stream(checked.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.check(prefix.unwrap_or(&Path::ROOT)) {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.check(prefix.unwrap_or(&Path::ROOT)) {
            Ok(()) => self.inner.list_with_offset(prefix, offset),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.check(prefix.unwrap_or(&Path::ROOT))?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.check(from)?;
        self.check(to)?;
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.check(from)?;
        self.check(to)?;
        self.inner.rename_opts(from, to, options).await
    }
}

#[async_trait]
impl MultipartStore for Fenced<Arc<dyn MultipartStore>> {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.check(path)?;
        self.inner.create_multipart(path).await
    }

    async fn put_part(&self, path: &Path, id: &MultipartId, part: usize, data: PutPayload) -> Result<PartId> {
        self.check(path)?;
        self.inner.put_part(path, id, part, data).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        self.check(path)?;
        self.inner.complete_multipart(path, id, parts).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.check(path)?;
        self.inner.abort_multipart(path, id).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn nothing_outside_is_opened() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        for path in ["lake/a", "lake/x/b", "lakes/c", "d"] {
            store.put(&Path::from(path), "x".into()).await.expect("put");
        }
        let fence =
            Fence::new(&["/lake/".into(), "s3://all".into(), "s3://part/lake/x/".into()]).expect("places");
        for (key, inside, outside) in [
            ("file://", vec!["lake/a", "lake/x/b"], vec!["lakes/c", "d"]),
            ("s3://all", vec!["lake/a", "lakes/c", "d"], vec![]),
            ("s3://part", vec!["lake/x/b"], vec!["lake/a", "lakes/c"]),
            ("s3://other", vec![], vec!["lake/a", "d"]),
        ] {
            let fenced = fence.around(Arc::clone(&store), key);
            for path in inside {
                fenced.get(&Path::from(path)).await.unwrap_or_else(|error| panic!("{key}, {path}: {error}"));
            }
            for path in outside {
                let path = Path::from(path);
                for outcome in
                    [fenced.get(&path).await.map(drop), fenced.put(&path, "y".into()).await.map(drop)]
                {
                    let error =
                        Error::from(datafusion::error::DataFusionError::from(outcome.expect_err(key)));
                    assert_eq!(error.sqlstate().as_str(), "42501", "{key}, {path}");
                }
                fenced.delete(&path).await.expect_err(key);
            }
        }
        let listed = fence.around(store, "file://").list(None).collect::<Vec<_>>().await;
        assert!(listed.iter().all(Result::is_err), "{listed:?}");
    }
}
