//! Copies to a store that gives a folder another name in one step, as HDFS does: written beside the place, and shown by
//! taking its name.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreRegistry;
use engine::object_stores::ObjectStores;
use engine::operators::WrittenFile;
use engine::{Error, Result};
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, RenameOptions, RenameTargetMode};
use serde::{Deserialize, Serialize};
use url::Url;

use super::export::{duplicate, remove, stored};

/// Files beside the place that they are for.
#[derive(Debug, Clone)]
pub struct Beside {
    store: Arc<dyn ObjectStore>,
    names: Names,
}

/// Where they lie in their store. Also what is left to be done when the server is killed while it replaces a folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Names {
    /// The store, a URL that ends in `/`.
    url: String,
    /// The folder of files that nobody looks for.
    staging: String,
    target: String,
    /// What was at the place.
    replaced: String,
}

impl Beside {
    /// Beside `url`, for the statement `write_id`.
    pub fn new(stores: &ObjectStores, url: &Url, write_id: &str) -> Result<Self> {
        let target = Path::from_url_path(url.path())
            .map_err(|error| DataFusionError::ObjectStore(Box::new(error.into())))?;
        let parent = match target.as_ref().rsplit_once('/') {
            Some((parent, _)) => format!("{parent}/"),
            None => String::new(),
        };
        let names = Names {
            url: format!("{}/", &url[..url::Position::BeforePath]),
            staging: format!("{parent}.sluice-{write_id}"),
            target: target.to_string(),
            replaced: format!("{parent}.sluice-{write_id}-replaced"),
        };
        Ok(Self { store: stores.get_store(url)?, names })
    }

    /// What a killed server that was about to replace a folder left.
    pub fn left(stores: &ObjectStores, names: Names) -> Result<Self> {
        let url = Url::parse(&names.url).map_err(|error| Error::internal(error.to_string()))?;
        Ok(Self { store: stores.get_store(&url)?, names })
    }

    /// What must be noted before a folder is replaced.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The folder that the files are to be written to, ending in `/`.
    pub fn folder(&self) -> String {
        format!("{}{}/", self.names.url, self.names.staging)
    }

    /// The last part of the place's name.
    pub fn file_name(&self) -> Option<String> {
        self.names.target.rsplit('/').next().map(str::to_owned)
    }

    /// True when something is at the place.
    pub async fn is_taken(&self) -> Result<bool> {
        self.holds(&self.names.target).await
    }

    async fn holds(&self, path: &str) -> Result<bool> {
        let path = parsed(path)?;
        match self.store.head(&path).await {
            Ok(_) => return Ok(true),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(stored(error).into()),
        }
        Ok(self.store.list(Some(&path)).try_next().await.map_err(stored)?.is_some())
    }

    /// Removes what lost runs of a job wrote beside `files`.
    pub async fn keep_only(&self, files: &[WrittenFile]) -> Result<()> {
        let name = |written: &WrittenFile| format!("{}/{}", self.names.staging, written.file.path);
        let kept: HashSet<String> = files.iter().map(name).collect();
        let folder = parsed(&self.names.staging)?;
        let found: Vec<Path> = self
            .store
            .list(Some(&folder))
            .map_ok(|file| file.location)
            .try_collect()
            .await
            .map_err(stored)?;
        let lost = found.into_iter().filter(|path| !kept.contains(path.as_ref())).collect();
        remove(&self.store, lost).await
    }

    /// Shows the one file that was written, at the place.
    pub async fn place_file(&self, overwrites: bool, shown: &str) -> Result<()> {
        let name = self.file_name().unwrap_or_default();
        let from = format!("{}/{name}", self.names.staging);
        self.rename(&from, &self.names.target, overwrites, shown).await
    }

    /// Shows the folder of files at the place, where nothing is.
    pub async fn place_folder(&self, shown: &str) -> Result<()> {
        // An empty folder is nothing; one that is not stays, and has the name that is asked for.
        let _ = self.store.delete(&parsed(&self.names.target)?).await;
        self.rename(&self.names.staging, &self.names.target, false, shown).await
    }

    /// Shows the folder of files in place of what is there, which must have been noted before.
    pub async fn replace_folder(&self, shown: &str) -> Result<()> {
        let Names { staging, target, replaced, .. } = &self.names;
        self.rename(target, replaced, false, shown).await?;
        if let Err(error) = self.rename(staging, target, false, shown).await {
            self.rename(replaced, target, false, shown).await?;
            return Err(error);
        }
        Ok(())
    }

    /// Ends what [`Self::replace_folder`] had begun when the server was killed.
    pub async fn finish(&self) -> Result<()> {
        let Names { staging, target, replaced, .. } = &self.names;
        if self.holds(replaced).await? && !self.holds(target).await? {
            self.rename(staging, target, false, target).await?;
        }
        self.clear().await
    }

    /// Removes what nobody is to find.
    pub async fn clear(&self) -> Result<()> {
        for folder in [&self.names.staging, &self.names.replaced] {
            remove_tree(&self.store, &parsed(folder)?).await?;
        }
        Ok(())
    }

    async fn rename(&self, from: &str, to: &str, overwrites: bool, shown: &str) -> Result<()> {
        let mode = if overwrites { RenameTargetMode::Overwrite } else { RenameTargetMode::Create };
        let options = RenameOptions::new().with_target_mode(mode);
        match self.store.rename_opts(&parsed(from)?, &parsed(to)?, options).await {
            Ok(()) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => Err(duplicate(shown)),
            Err(error) => Err(Error::from(stored(error)).of_write()),
        }
    }
}

fn parsed(path: &str) -> Result<Path> {
    Ok(Path::parse(path).map_err(|error| DataFusionError::ObjectStore(Box::new(error.into())))?)
}

/// Removes `folder` with all in it, the folders too: there they are more than parts of names.
pub fn remove_tree<'a>(store: &'a Arc<dyn ObjectStore>, folder: &'a Path) -> BoxFuture<'a, Result<()>> {
    async move {
        let found = store.list_with_delimiter(Some(folder)).await.map_err(stored)?;
        remove(store, found.objects.into_iter().map(|file| file.location).collect()).await?;
        for inner in &found.common_prefixes {
            remove_tree(store, inner).await?;
        }
        // One that is not there, or that somebody has put something into since, stays as it is.
        let _ = store.delete(folder).await;
        Ok(())
    }
    .boxed()
}
