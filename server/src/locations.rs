//! Where tables may lie: only under the locations that the server was started with.
//!
//! A location is compared after `..`, links and percent-encoding are resolved, so none leads elsewhere.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use catalog::{CatalogError, TableDefinition};
use engine::{Error, Result};
use object_store::path::Path as StorePath;
use url::Url;

/// The URL of a folder or a file that exists on the local disk, or of one in an object store. A folder ends
/// in `/`.
pub fn resolve(location: &str) -> std::result::Result<Url, CatalogError> {
    let wrong = |problem: String| CatalogError::Location { location: location.to_owned(), problem };
    let url = if location.contains("://") { Url::parse(location).ok() } else { None };
    let local = match &url {
        None if location.contains("://") => return Err(wrong("is not a URL".to_owned())),
        None => Some(Path::new(location).to_owned()),
        Some(url) if url.scheme() == "file" => {
            Some(url.to_file_path().map_err(|()| wrong("is not a path on this machine".to_owned()))?)
        }
        Some(_) => None,
    };
    match (local, url) {
        (Some(path), _) => {
            let path = path.canonicalize().map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => wrong("does not exist".to_owned()),
                _ => wrong(format!("cannot be read: {error}")),
            })?;
            let url = if path.is_dir() { Url::from_directory_path(path) } else { Url::from_file_path(path) };
            url.map_err(|()| wrong("is not an absolute path".to_owned()))
        }
        (None, Some(mut url)) => {
            // Refuses `.` and `..` however they are written; what the store is asked for is what was compared.
            let path = StorePath::from_url_path(url.path())
                .map_err(|error| wrong(format!("is not a path in a store: {error}")))?;
            let is_folder =
                url.path().ends_with('/') || path.filename().is_none_or(|name| !name.contains('.'));
            url.set_path(&format!(
                "/{path}{}",
                if is_folder && !path.as_ref().is_empty() { "/" } else { "" }
            ));
            Ok(url)
        }
        (None, None) => Err(wrong("is not a location".to_owned())),
    }
}

/// Refuses a location outside of `allowed` (42501).
pub fn check_allowed(location: &Url, allowed: &[String]) -> Result<()> {
    let is_under = |root: &String| {
        resolve(root).is_ok_and(|root| {
            let folder = format!("{}/", root.as_str().trim_end_matches('/'));
            location.as_str() == root.as_str() || location.as_str().starts_with(&folder)
        })
    };
    if allowed.iter().any(is_under) {
        return Ok(());
    }
    Err(Error::PermissionDenied {
        message: "the location is outside of those that this server was started with".into(),
    })
}

/// The locations of `tables` that are not under `allowed` any more. What is kept was resolved when it was
/// made: nothing of it is opened now.
pub fn strangers<'a>(
    tables: impl Iterator<Item = &'a Arc<TableDefinition>>,
    allowed: &[String],
) -> HashSet<String> {
    let is_outside = |location: &String| match Url::parse(location) {
        Ok(url) => check_allowed(&url, allowed).is_err(),
        Err(_) => true,
    };
    // A managed table lies in the warehouse, or is refused when it is loaded.
    let external = tables.filter(|table| table.managed.is_none());
    external.map(|table| table.location.clone()).filter(is_outside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_a_location() {
        let folder = tempfile::tempdir().expect("a folder");
        let (lake, other) = (folder.path().join("lake"), folder.path().join("lake2"));
        for path in [&lake, &other, &lake.join("orders")] {
            std::fs::create_dir(path).expect("a folder");
        }
        std::os::unix::fs::symlink(&other, lake.join("link")).expect("a link");
        let allowed = [lake.to_string_lossy().into_owned(), "s3://bucket/lake".to_owned()];
        let check = |location: &str| check_allowed(&resolve(location).expect("a location"), &allowed).is_ok();
        let lake = lake.to_string_lossy();
        for inside in ["", "/orders", "/../lake/orders"] {
            assert!(check(&format!("{lake}{inside}")), "{inside}");
        }
        assert!(check(&format!("file://{lake}/orders/")));
        assert!(check("s3://bucket/lake/orders/"));
        for outside in ["/..", "/link", "/../lake2", "2"] {
            assert!(!check(&format!("{lake}{outside}")), "{outside}");
        }
        for outside in ["s3://bucket/lakes/", "s3://other/lake/", "gs://bucket/lake/"] {
            assert!(!check(outside), "{outside}");
        }
        for refused in ["s3://bucket/lake/%2e%2e/x/", "s3://bucket/lake/..%2fx"] {
            assert!(resolve(refused).map_or(true, |url| check_allowed(&url, &allowed).is_err()), "{refused}");
        }
    }
}
