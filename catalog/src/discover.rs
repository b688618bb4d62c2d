//! Finds the tables in a location: each `NAME.parquet` and each folder `NAME/` that holds Parquet files is the table
//! NAME; a location of folders `key=value/` is one table itself, and so is one that is a file. One listing of the
//! location's own level, then one probe per folder.

use std::sync::Arc;

use datafusion::datasource::listing::ListingTableUrl;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, path::Path};

use crate::table::files::{foreign_format, is_hidden_name, url_of};
use crate::{CatalogError, Result, Trouble, Unavailable, stand_ins};

/// How many files below a folder are looked at for one that makes it a table.
const PROBE_FILES_MAX: usize = 10_000;
const SUFFIX: &str = ".parquet";

/// A table found in a location, not yet opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredTable {
    /// The table's name: the file's without `.parquet`, or the folder's.
    pub name: String,
    /// URL of the file, or of the folder with a trailing `/`.
    pub location: String,
    /// Why it cannot be opened, when that is known already.
    pub problem: Option<Unavailable>,
}

/// Lists the tables of `location` (a file, a folder, or an object-store prefix) in the order of their names.
///
/// Fails with [`CatalogError::Location`] when the location holds no table, with [`CatalogError::Unreadable`] when it
/// cannot be listed.
pub async fn discover(
    store: &Arc<dyn ObjectStore>,
    location: &ListingTableUrl,
    shown_as: &str,
) -> Result<Vec<DiscoveredTable>> {
    let own_name = own_name(location);
    let whole = |problem: Option<Unavailable>| DiscoveredTable {
        name: own_name.clone(),
        location: match url_of(location, location.prefix()) {
            url if location.is_collection() && !url.ends_with('/') => url + "/",
            url => url,
        },
        problem,
    };
    if !location.is_collection() {
        return Ok(vec![whole(None)]);
    }
    let unlistable = |error: object_store::Error| CatalogError::Unreadable {
        name: shown_as.to_owned(),
        file: None,
        source: error.into(),
    };
    let prefix = Some(location.prefix()).filter(|prefix| !prefix.as_ref().is_empty());
    let listing = store.list_with_delimiter(prefix).await.map_err(unlistable)?;
    let mut folders = Vec::new();
    for folder in &listing.common_prefixes {
        let name = folder.filename().unwrap_or_default();
        if foreign_format(name, None).is_some()
            || name == "metadata" && holds_foreign(store, folder).await.map_err(unlistable)?
        {
            return Ok(vec![whole(None)]);
        }
        if is_hidden_name(name) {
            continue;
        }
        match holds_table(store, folder).await {
            Ok(true) => folders.push((folder, name, None)),
            Ok(false) => {}
            Err(error) => folders.push((folder, name, Some(unlistable_folder(&error)))),
        }
    }
    let is_key = |name: &str| name.split_once('=').is_some_and(|(key, _)| !key.is_empty());
    let mut tables = Vec::new();
    match folders.iter().filter(|(_, name, _)| is_key(name)).count() {
        0 => {}
        count if count == folders.len() => return Ok(vec![whole(None)]),
        _ => {
            let reason = "folders of the form key=value lie beside folders of other tables".to_owned();
            let advice = "move them into a folder of their own".to_owned();
            tables.push(whole(Some(Unavailable { trouble: Trouble::Conflict, reason, file: None, advice })));
            folders.retain(|(_, name, _)| !is_key(name));
        }
    }
    for file in &listing.objects {
        let name = file.location.filename().unwrap_or_default();
        if let Some(stem) = stem(name) {
            let location = url_of(location, &file.location);
            tables.push(DiscoveredTable { name: stand_ins::show(stem), location, problem: None });
        }
    }
    for (folder, name, problem) in folders {
        let location = format!("{}/", url_of(location, folder));
        tables.push(DiscoveredTable { name: stand_ins::show(name), location, problem });
    }
    if tables.is_empty() {
        let problem = "holds no NAME.parquet file and no folder of Parquet files".to_owned();
        return Err(CatalogError::Location { location: shown_as.to_owned(), problem });
    }
    tables.sort_by(|a, b| (&a.name, &a.location).cmp(&(&b.name, &b.location)));
    Ok(tables)
}

/// What a table is called that is the whole of `location`: as its last part, or as its bucket.
fn own_name(location: &ListingTableUrl) -> String {
    match location.prefix().filename() {
        Some(name) if location.is_collection() => stand_ins::show(name),
        Some(name) => match name.rsplit_once('.') {
            Some((stem, _)) if !stem.is_empty() => stem.to_owned(),
            _ => name.to_owned(),
        },
        None => location.get_url().host_str().unwrap_or("files").to_owned(),
    }
}

/// The name of a table that is the file `name`.
fn stem(name: &str) -> Option<&str> {
    let end = name.len().checked_sub(SUFFIX.len())?;
    let is_parquet = name.get(end..)?.eq_ignore_ascii_case(SUFFIX);
    (is_parquet && end > 0 && !is_hidden_name(name)).then(|| &name[..end])
}

fn unlistable_folder(error: &object_store::Error) -> Unavailable {
    tracing::warn!(%error, "a folder of a location cannot be listed");
    Unavailable {
        trouble: Trouble::Away,
        reason: "its folder cannot be listed".to_owned(),
        file: None,
        advice: "see that the server may read it; it is tried again".to_owned(),
    }
}

/// Folders above a place that are looked at.
const ABOVE_MAX: usize = 8;

/// Fails with [`CatalogError::Foreign`] when `location` lies within a table of another format: its files are not all of them
/// that table's, nor are the rows in them. What may not be looked at tells nothing.
pub async fn check_apart_from_foreign(
    store: &Arc<dyn ObjectStore>,
    location: &ListingTableUrl,
) -> Result<()> {
    let parts = location.prefix().parts_count();
    for length in (1..parts).rev().take(ABOVE_MAX) {
        let folder: Path = location.prefix().parts().take(length).collect();
        for log in ["_delta_log", ".hoodie", "metadata"] {
            let Ok(listing) = store.list_with_delimiter(Some(&folder.clone().join(log))).await else {
                continue;
            };
            let mut names = listing.objects.iter().filter_map(|file| file.location.filename());
            if let Some(format) = names.find_map(|name| foreign_format(log, Some(name))) {
                let place = format!("{}/", stand_ins::show(folder.filename().unwrap_or_default()));
                return Err(CatalogError::Foreign { place, format });
            }
        }
    }
    Ok(())
}

async fn holds_foreign(
    store: &Arc<dyn ObjectStore>,
    folder: &Path,
) -> std::result::Result<bool, object_store::Error> {
    let listing = store.list_with_delimiter(Some(folder)).await?;
    let mut names = listing.objects.iter().filter_map(|file| file.location.filename());
    Ok(names.any(|name| foreign_format("metadata", Some(name)).is_some()))
}

/// True when a Parquet file that is not hidden lies below `folder`, or what tells that the folder is a table of
/// another format.
async fn holds_table(
    store: &Arc<dyn ObjectStore>,
    folder: &Path,
) -> std::result::Result<bool, object_store::Error> {
    let depth = folder.parts_count();
    store
        .list(Some(folder))
        .take(PROBE_FILES_MAX)
        .try_any(|file| {
            let parts: Vec<&str> = file.location.as_ref().split('/').skip(depth).collect();
            let is_table = parts.split_last().is_some_and(|(name, folders)| {
                let is_foreign = |folder: &&str| foreign_format(folder, Some(name)).is_some();
                let is_visible = || !folders.iter().any(|folder| is_hidden_name(folder));
                (stem(name).is_some() && is_visible()) || folders.iter().any(is_foreign)
            });
            async move { is_table }
        })
        .await
}

#[cfg(test)]
mod tests {
    use object_store::{ObjectStoreExt, memory::InMemory};

    use super::*;

    async fn store_with(paths: &[&str]) -> Arc<dyn ObjectStore> {
        let store = InMemory::new();
        for path in paths {
            store
                .put(&Path::parse(*path).expect("a path"), "x".into())
                .await
                .expect("in-memory put succeeds");
        }
        Arc::new(store)
    }

    fn url() -> ListingTableUrl {
        ListingTableUrl::parse("memory:///lake/").expect("a literal URL parses")
    }

    #[tokio::test]
    async fn files_and_folders_of_parquet_are_tables() {
        let store = store_with(&[
            "lake/orders.parquet",
            "lake/events/day=1/a.parquet",
            "lake/notes/readme.txt",
            "lake/_temporary/a.parquet",
            "lake/_hidden.parquet",
            "lake/secret/_a.parquet",
            "lake/plain.csv",
            "lake/sales/eu/2024.parquet",
            "lake/a#b c%20d.PARQUET",
            "lake/delta/_delta_log/0.json",
        ])
        .await;
        let found = discover(&store, &url(), "lake").await.expect("tables are found");
        let names: Vec<_> = found.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["a#b c%20d", "delta", "events", "orders", "sales"]);
        assert!(found[0].location.ends_with("/lake/a%23b%20c%2520d.PARQUET"), "{}", found[0].location);
        assert!(found[2].location.ends_with("/lake/events/"));
        assert!(found[3].location.ends_with("/lake/orders.parquet"));
    }

    #[tokio::test]
    async fn a_location_of_folders_with_values_is_one_table() {
        let store = store_with(&["lake/day=1/a.parquet", "lake/day=2/a.parquet", "lake/late.parquet"]).await;
        let found = discover(&store, &url(), "lake").await.expect("a table");
        let names: Vec<_> = found.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["lake"]);
        assert!(found[0].location.ends_with("/lake/") && found[0].problem.is_none());

        // What else lies there is tables still.
        let store = store_with(&["lake/day=1/a.parquet", "lake/users/a.parquet"]).await;
        let found = discover(&store, &url(), "lake").await.expect("tables");
        let names: Vec<_> = found.iter().map(|t| (t.name.as_str(), t.problem.is_some())).collect();
        assert_eq!(names, [("lake", true), ("users", false)]);
    }

    #[tokio::test]
    async fn a_location_may_be_a_file_or_a_table_of_another_format() {
        let store = store_with(&["lake/orders.v2.parquet"]).await;
        let file = ListingTableUrl::parse("memory:///lake/orders.v2.parquet").expect("a URL");
        let found = discover(&store, &file, "file").await.expect("a table");
        assert_eq!((found.len(), found[0].name.as_str()), (1, "orders.v2"));
        assert!(found[0].location.ends_with("/lake/orders.v2.parquet"));
        for log in ["lake/_delta_log/0.json", "lake/metadata/v1.metadata.json"] {
            let store = store_with(&[log, "lake/part-0.parquet", "lake/data/a.parquet"]).await;
            let found = discover(&store, &url(), "lake").await.expect("a table");
            let names: Vec<_> = found.iter().map(|t| t.name.as_str()).collect();
            assert_eq!(names, ["lake"], "{log}");
        }
    }

    #[tokio::test]
    async fn a_location_without_tables_says_so() {
        let store = store_with(&["lake/plain.csv"]).await;
        let error = discover(&store, &url(), "./lake").await.expect_err("nothing is a table");
        assert!(error.to_string().contains("holds no NAME.parquet"), "{error}");
    }
}
