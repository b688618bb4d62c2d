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
use tracing::warn;
use url::Url;

use super::export::{duplicate, remove, stored};

/// How far a folder was replaced.
pub enum Replaced {
    /// What was written is at the place.
    Fully,
    /// What was there is there.
    Not(Error),
    /// What was there has a hidden name: [`Beside::finish`] ends it.
    Half(Error),
}

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

    /// True when a file is at the place, or in a folder there.
    pub async fn is_taken(&self) -> Result<bool> {
        self.holds(&self.names.target).await
    }

    async fn is_file(&self, path: &str) -> Result<bool> {
        match self.store.head(&parsed(path)?).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(stored(error).into()),
        }
    }

    async fn holds(&self, path: &str) -> Result<bool> {
        let folder = parsed(path)?;
        let in_folder = async || self.store.list(Some(&folder)).try_next().await;
        Ok(self.is_file(path).await? || in_folder().await.map_err(stored)?.is_some())
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
        let target = &self.names.target;
        match self.rename(&self.names.staging, target, false, shown).await {
            // An empty folder is nothing.
            Err(Error::DuplicateLocation { .. }) if !self.holds(target).await? => {
                let _ = self.store.delete(&parsed(target)?).await;
                self.rename(&self.names.staging, target, false, shown).await
            }
            outcome => outcome,
        }
    }

    /// Shows the folder of files in place of the one that is there. What [`Self::names`] says must have been noted.
    pub async fn replace_folder(&self, shown: &str) -> Replaced {
        let Names { staging, target, replaced, .. } = &self.names;
        match self.is_file(target).await {
            Ok(false) => {}
            Ok(true) => return Replaced::Not(duplicate(shown)),
            Err(error) => return Replaced::Not(error),
        }
        if let Err(error) = self.rename(target, replaced, false, shown).await {
            return Replaced::Not(error);
        }
        let Err(error) = self.rename(staging, target, false, shown).await else { return Replaced::Fully };
        match self.rename(replaced, target, false, shown).await {
            Ok(()) => Replaced::Not(error),
            Err(_) => Replaced::Half(error),
        }
    }

    /// Ends what [`Self::replace_folder`] had begun.
    pub async fn finish(&self) -> Result<()> {
        let Names { staging, target, replaced, .. } = &self.names;
        let is_written = self.holds(staging).await?;
        match (is_written, self.holds(replaced).await?, self.holds(target).await?) {
            (_, false, _) => self.clear_staging().await,
            (true, true, false) => {
                self.rename(staging, target, false, target).await?;
                self.clear_replaced().await
            }
            (false, true, true) => self.clear_replaced().await,
            (false, true, false) => self.rename(replaced, target, false, target).await,
            (true, true, true) => {
                warn!(
                    replaced,
                    target, "somebody wrote to a place while it was replaced: what was there is kept"
                );
                self.clear_staging().await
            }
        }
    }

    /// Removes what was written and is not shown.
    pub async fn clear_staging(&self) -> Result<()> {
        remove_tree(&self.store, &parsed(&self.names.staging)?).await
    }

    /// Removes what was replaced.
    pub async fn clear_replaced(&self) -> Result<()> {
        remove_tree(&self.store, &parsed(&self.names.replaced)?).await
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
