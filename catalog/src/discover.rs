//! Finds the tables in a location: each `NAME.parquet` and each folder `NAME/` that holds Parquet
//! files is the table NAME. One listing of the location's own level, then one probe per folder.

use std::sync::Arc;

use datafusion::datasource::listing::ListingTableUrl;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, path::Path};

use crate::{CatalogError, Result};

/// How deep below a table's folder a Parquet file may lie for the folder to count as a table.
const PROBE_FILES_MAX: usize = 10_000;

/// A table found in a location, not yet opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredTable {
    /// The table's name: the file's without `.parquet`, or the folder's.
    pub name: String,
    /// URL of the file, or of the folder with a trailing `/`.
    pub location: String,
}

/// Lists the tables of `location` (a folder, or an object-store prefix) in the order of their names.
///
/// Fails with [`CatalogError::Location`] when the location is missing, or holds no table.
pub async fn discover(
    store: &Arc<dyn ObjectStore>,
    location: &ListingTableUrl,
    shown_as: &str,
) -> Result<Vec<DiscoveredTable>> {
    let unlistable = |error: object_store::Error| CatalogError::Location {
        location: shown_as.to_owned(),
        problem: format!("cannot be listed: {error}"),
    };
    let prefix = location.prefix();
    let listing = store.list_with_delimiter(Some(prefix)).await.map_err(unlistable)?;
    let url_of = |path: &Path| format!("{}{}", location.object_store(), path);

    let mut tables = Vec::new();
    for file in &listing.objects {
        let name = file.location.filename().unwrap_or_default();
        if let Some(stem) = name.strip_suffix(".parquet")
            && is_table_name(stem)
        {
            tables.push(DiscoveredTable { name: stem.to_owned(), location: url_of(&file.location) });
        }
    }
    for folder in &listing.common_prefixes {
        let name = folder.filename().unwrap_or_default();
        if is_table_name(name) && holds_parquet(store, folder).await.map_err(unlistable)? {
            tables.push(DiscoveredTable { name: name.to_owned(), location: format!("{}/", url_of(folder)) });
        }
    }
    if tables.is_empty() {
        let problem = "holds no NAME.parquet file and no folder of Parquet files".to_owned();
        return Err(CatalogError::Location { location: shown_as.to_owned(), problem });
    }
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tables)
}

/// Hidden and temporary entries are not tables, as in Hive and Spark.
fn is_table_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(['.', '_'])
}

async fn holds_parquet(
    store: &Arc<dyn ObjectStore>,
    folder: &Path,
) -> std::result::Result<bool, object_store::Error> {
    store
        .list(Some(folder))
        .take(PROBE_FILES_MAX)
        .try_any(|file| {
            let found = file.location.as_ref().ends_with(".parquet");
            async move { found }
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
            store.put(&Path::from(*path), "x".into()).await.expect("in-memory put succeeds");
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
            "lake/plain.csv",
        ])
        .await;
        let found = discover(&store, &url(), "lake").await.expect("tables are found");
        let names: Vec<_> = found.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["events", "orders"]);
        assert!(found[0].location.ends_with("/lake/events/"));
        assert!(found[1].location.ends_with("/lake/orders.parquet"));
    }

    #[tokio::test]
    async fn a_location_without_tables_says_so() {
        let store = store_with(&["lake/plain.csv"]).await;
        let error = discover(&store, &url(), "./lake").await.expect_err("nothing is a table");
        assert!(error.to_string().contains("holds no NAME.parquet"), "{error}");
    }
}
