//! A catalog that is gone while its tables' files are there. A start with an empty one would hide the tables, let anybody
//! in who the lost roles kept out, and hand the files to `VACUUM` as nobody's: it is refused, before anything is made.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use catalog::table::managed::split;
use catalog::{CatalogError, StoreFailure, Warehouse};
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnv;
use engine::config::Config;
use futures::{StreamExt, TryStreamExt};

use crate::serve::ServeError;

/// Objects of a warehouse that are looked at for one of a table.
const LOOKED_AT_MAX: usize = 100_000;

/// Fails when something tells that there was a catalog.
pub async fn check(config: &Config, env: &Arc<RuntimeEnv>, warehouse: &Warehouse) -> Result<(), ServeError> {
    let catalog = place(config);
    let lost = |evidence: String, what: &str| {
        ServeError::Environment(format!(
            "{catalog} is missing or empty, but {evidence}: bring the catalog back from a backup, or move {what} away to begin anew"
        ))
    };
    let found = file_of_table(env, &warehouse.location).await.map_err(|error| {
        ServeError::Environment(format!(
            "{catalog} is missing or empty, and whether {} holds files of its tables cannot be told: {error}",
            warehouse.location
        ))
    })?;
    if let Some(file) = found {
        return Err(lost(format!("{file} is a file of a table"), &warehouse.location));
    }
    // A catalog in another database may be new where the folder is not.
    let told = config.catalog.url.is_none().then(|| history(&config.server.data_dir)).flatten();
    match told {
        Some(file) => {
            let folder = config.server.data_dir.display();
            Err(lost(format!("{} tells of queries", file.display()), &format!("the folder {folder}")))
        }
        None => Ok(()),
    }
}

/// What is wrong with the catalog that is there, and the way back.
pub fn told(config: &Config, error: CatalogError) -> ServeError {
    let catalog = place(config);
    match &error {
        CatalogError::StoreFailed { failure: StoreFailure::Damaged | StoreFailure::DamagedIndex, .. } => {
            ServeError::Environment(format!("{error} ({catalog}): bring the catalog back from a backup"))
        }
        CatalogError::StoreFailed { .. } | CatalogError::Store { .. } => {
            ServeError::Environment(format!("{error} ({catalog})"))
        }
        _ => ServeError::Catalog(error),
    }
}

/// The catalog, for people. The URL of a database may hold a password.
fn place(config: &Config) -> String {
    match &config.catalog.url {
        Some(_) => "the catalog of catalog.url".to_owned(),
        None => config.server.data_dir.join("catalog.sqlite").display().to_string(),
    }
}

/// The query history of an earlier start, where there is one.
fn history(data_dir: &Path) -> Option<PathBuf> {
    let files = ["queries.jsonl", "queries.before.jsonl"].map(|name| data_dir.join("history").join(name));
    files.into_iter().find(|file| std::fs::metadata(file).is_ok_and(|file| file.len() > 0))
}

/// A file in the warehouse that is one of a table, of ours or of DuckDB's.
async fn file_of_table(env: &RuntimeEnv, warehouse: &str) -> Result<Option<String>, engine::Error> {
    let url = match warehouse.contains("://") {
        true => warehouse.trim_end_matches('/').to_owned(),
        false => format!("file://{}", warehouse.trim_end_matches('/')),
    };
    let (store_url, prefix) = split(&format!("{url}/"))?;
    let store = env.object_store(&store_url)?;
    let depth = prefix.parts().count();
    let mut listing = store.list(Some(&prefix)).take(LOOKED_AT_MAX);
    loop {
        match listing.try_next().await {
            Ok(Some(file)) => {
                let below: Vec<String> =
                    file.location.parts().skip(depth).map(|part| part.as_ref().to_owned()).collect();
                if is_of_table(&below) {
                    return Ok(Some(format!("{url}/{}", below.join("/")).replacen("file://", "", 1)));
                }
            }
            Ok(None) | Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(DataFusionError::from(error).into()),
        }
    }
}

/// Tables of ours lie in `SCHEMA/NAME-UUID/`, files of DuckDB's are called `ducklake-…`. What sessions had for themselves
/// lies below a hidden folder, and copies have names of their users'.
fn is_of_table(path: &[String]) -> bool {
    let [schema, folder, keys @ .., file] = path else { return false };
    if schema.starts_with('.') || !file.ends_with(".parquet") {
        return false;
    }
    let id = folder.len().checked_sub(UUID_LETTERS).and_then(|at| folder.split_at_checked(at));
    let is_uuid = |id: &str| {
        let groups: Vec<usize> = id.split('-').map(str::len).collect();
        groups == [8, 4, 4, 4, 12] && id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
    };
    let is_ours = id.is_some_and(|(name, id)| name.ends_with('-') && is_uuid(id));
    let is_right_below = keys.iter().all(|key| key.contains('='));
    is_right_below && (is_ours || file.starts_with("ducklake-"))
}

const UUID_LETTERS: usize = 36;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_tables_are_told_from_others() {
        let is_of_table = |path: &str| is_of_table(&path.split('/').map(str::to_owned).collect::<Vec<_>>());
        let table = "orders-0190d6a0-0000-7000-8000-000000000001";
        for path in [
            format!("public/{table}/a.parquet"),
            format!("x/{table}/day=1/a.parquet"),
            "main/t/ducklake-1.parquet".into(),
        ] {
            assert!(is_of_table(&path), "{path}");
        }
        for path in [
            "files/orders/part-0.parquet".to_owned(),
            "orders.parquet".into(),
            format!(".temporary/{table}/a.parquet"),
            format!("public/{table}/notes.txt"),
            format!("public/{table}"),
            "ä/ä/a.parquet".into(),
            "lakes/x/main/t/ducklake-1.parquet".into(),
        ] {
            assert!(!is_of_table(&path), "{path}");
        }
    }
}
