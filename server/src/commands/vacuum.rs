//! `VACUUM`: snapshots that are older than `sluice.snapshot_retention` are forgotten, and the files go that no
//! snapshot knows: those that only they knew, and those that nobody ever committed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use catalog::table::managed::split;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreUrl;
use engine::{ByteSize, Error, Result};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::{Outcome, analyze, current, metadata};
use crate::coordinator::Coordinator;
use crate::query::QueryContext;
use crate::session::{Notice, Session};
use crate::sql::NamedColumns;

const TAG: &str = "VACUUM";
/// A file that nobody committed is taken for forgotten when it is so old: a statement may still write it.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Forgets and removes, where the tables in `names` are there.
pub async fn run(
    coordinator: &Arc<Coordinator>,
    session: &mut Session,
    names: &[NamedColumns],
) -> Result<Outcome> {
    super::must_be_outside_of_block(session, TAG)?;
    let context = QueryContext::new(coordinator, session, Arc::from(TAG), Default::default());
    analyze::check_names(&context, names)?;
    clean(coordinator, session).await
}

async fn clean(coordinator: &Coordinator, session: &mut Session) -> Result<Outcome> {
    let metadata = metadata(coordinator, session);
    if !current(&metadata, session)?.is_superuser {
        return Err(Error::PermissionDenied { message: "must be superuser to vacuum".to_owned() });
    }
    session.check_may_write(TAG)?;
    let retention = session.settings.snapshot_retention();
    // Files that a running query may still open are not taken from under it.
    let oldest = coordinator.queries.oldest_running();
    let cutoff = SystemTime::now().checked_sub(retention).unwrap_or(SystemTime::UNIX_EPOCH).min(oldest);
    let micros = cutoff.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
    let expired = {
        let _committing = coordinator.committing.lock().await;
        coordinator.store.expire(i64::try_from(micros).unwrap_or(i64::MAX)).await?
    };
    coordinator.history.clear();
    let dead = remove_dead(coordinator).await?;
    let orphans = remove_orphans(coordinator).await?;
    let notice = format!(
        "{expired} snapshots expired; {} files removed, {} of which were never committed, {} in all",
        dead.files + orphans.files,
        orphans.files,
        ByteSize(dead.bytes + orphans.bytes),
    );
    Ok(Outcome::with_notices(TAG, vec![Notice::info("00000", notice)]))
}

#[derive(Default)]
struct Removed {
    files: usize,
    bytes: u64,
}

/// Removes the files that the catalog says are no snapshot's.
async fn remove_dead(coordinator: &Coordinator) -> Result<Removed> {
    let living = coordinator.store.living_files().await?;
    let mut removed = Removed::default();
    let mut gone = Vec::new();
    for file in coordinator.store.dead_files().await? {
        gone.push(file.id);
        if living.contains(&file.location) {
            continue;
        }
        let Ok((url, path)) = split(&file.location) else {
            tracing::warn!(
                location = file.location,
                "a file that no table has any more lies where none can: it is left alone"
            );
            continue;
        };
        let store = coordinator.runtime.env.object_store(&url)?;
        let size = match store.head(&path).await {
            Ok(meta) => meta.size,
            Err(object_store::Error::NotFound { .. }) => continue,
            Err(error) => return Err(stored(error).into()),
        };
        match store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(Error::from(stored(error)).of_write()),
        }
        removed.files += 1;
        removed.bytes += size;
    }
    coordinator.store.forget_dead_files(&gone).await?;
    Ok(removed)
}

/// Removes files in the folders of schemas that no commit and no running statement knows.
async fn remove_orphans(coordinator: &Coordinator) -> Result<Removed> {
    let oldest = SystemTime::now() - ORPHAN_AGE;
    // Listed first: what is committed meanwhile is known below.
    let mut found: HashMap<ObjectStoreUrl, Vec<(Path, u64)>> = HashMap::new();
    let schemas: Vec<String> =
        coordinator.snapshot().metadata().schemas.values().map(|schema| schema.folder.clone()).collect();
    let data_folder = coordinator.store.data_folder();
    // A schema of another engine's may have the whole warehouse for its folder: not all in it are tables' files.
    for folder in schemas.into_iter().filter(|folder| !data_folder.starts_with(folder.as_str())) {
        let (url, prefix) = split(folder.trim_end_matches('/'))?;
        let store = coordinator.runtime.env.object_store(&url)?;
        let files: std::result::Result<Vec<_>, _> = store.list(Some(&prefix)).try_collect().await;
        let files = match files {
            Err(object_store::Error::NotFound { .. }) => continue,
            files => files.map_err(stored)?,
        };
        let is_old = |file: &object_store::ObjectMeta| {
            file.location.as_ref().ends_with(".parquet") && SystemTime::from(file.last_modified) < oldest
        };
        let old = files.into_iter().filter(is_old).map(|file| (file.location, file.size));
        found.entry(url).or_default().extend(old);
    }
    let mut known: HashSet<Path> = HashSet::new();
    let dead = coordinator.store.dead_files().await?.into_iter().map(|file| file.location);
    for location in coordinator.store.living_files().await?.into_iter().chain(dead) {
        // What lies where none can is not found below.
        known.extend(split(&location).ok().map(|(_, path)| path));
    }
    let running = coordinator.writes.running();
    let is_orphan = |path: &Path| {
        let name = path.filename().unwrap_or_default();
        !known.contains(path) && !running.iter().any(|write_id| name.starts_with(write_id.as_str()))
    };
    let mut removed = Removed::default();
    for (url, files) in found {
        let store = coordinator.runtime.env.object_store(&url)?;
        let orphans: Vec<_> = files.into_iter().filter(|(path, _)| is_orphan(path)).collect();
        removed.files += orphans.len();
        removed.bytes += orphans.iter().map(|(_, size)| size).sum::<u64>();
        let paths = futures::stream::iter(orphans.into_iter().map(|(path, _)| Ok(path))).boxed();
        store.delete_stream(paths).try_collect::<Vec<_>>().await.map_err(stored)?;
    }
    Ok(removed)
}

fn stored(error: object_store::Error) -> DataFusionError {
    DataFusionError::ObjectStore(Box::new(error))
}
