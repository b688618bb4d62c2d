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

use crate::query::QueryContext;

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
        // It would be seen where locations are: in process lists, settings and the catalog.
        (None, Some(url)) if url.password().is_some() => {
            Err(wrong("holds a password: credentials have their place in the configuration".to_owned()))
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

/// Refuses what can never be a location, whatever lies there.
pub fn check_named(location: &str) -> std::result::Result<(), CatalogError> {
    let Some((scheme, _)) = location.split_once("://") else { return Ok(()) };
    let wrong = |problem: String| CatalogError::Location { location: location.to_owned(), problem };
    if !SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) {
        let problem = format!(
            "is of the kind {scheme}://, which is not supported: use a folder, s3://, gs://, az:// or hdfs://"
        );
        return Err(wrong(problem));
    }
    if scheme == "file" {
        return Ok(());
    }
    let url = resolve(location)?;
    match url.host_str() {
        Some(host) if !host.is_empty() => Ok(()),
        _ => Err(wrong("names no bucket".to_owned())),
    }
}

/// The kinds of locations.
const SCHEMES: &[&str] =
    &["file", "s3", "s3a", "gs", "gcs", "az", "azure", "abfs", "abfss", "hdfs", "http", "https"];

/// The URL of a folder or a file that exists and lies under one of `allowed` (else 42501). What lies elsewhere is refused
/// in the same words whether it exists or not.
pub fn resolve_allowed(location: &str, allowed: &[String]) -> Result<Url> {
    let problem = match resolve(location) {
        Ok(url) => return check_allowed(&url, allowed).map(|()| url),
        Err(problem) => problem,
    };
    let path = location.strip_prefix("file://").unwrap_or(location);
    if !path.contains("://")
        && let Ok(path) = std::path::absolute(path)
    {
        // Up to where it exists.
        let known = path.ancestors().find_map(|path| path.canonicalize().ok());
        let known = known.and_then(|path| Url::from_directory_path(path).ok());
        let holds = |root: &String| {
            let root = resolve(root).ok();
            root.zip(known.as_ref()).is_some_and(|(root, known)| known.as_str().starts_with(root.as_str()))
        };
        if !allowed.iter().any(holds) {
            return Err(outside());
        }
    }
    Err(problem.into())
}

/// The URL of a folder or a file that is to be written. On the local disk it need not exist: what is there of
/// its path is resolved, and nothing in the rest may lead elsewhere.
pub fn resolve_new(location: &str, is_file: bool) -> Result<Url> {
    let wrong = |problem: &str| Error::InvalidParameterValue { message: format!("\"{location}\" {problem}") };
    // Stores take the same text for different names where a part of it is encoded.
    if location.chars().any(|c| c == '%' || c.is_control()) {
        return Err(wrong("holds a percent sign or a control character"));
    }
    let path = match Url::parse(location) {
        Ok(url) if url.scheme() != "file" => {
            let mut url = resolve(location)?;
            if matches!(url.scheme(), "http" | "https") {
                let message = format!("locations of the kind {}:// are only read", url.scheme());
                return Err(Error::NotSupported { message });
            }
            let path = url.path().trim_end_matches('/').to_owned();
            if path.is_empty() {
                return Err(wrong("is a whole bucket: name a folder in it"));
            }
            url.set_path(&if is_file { path } else { format!("{path}/") });
            return Ok(url);
        }
        Ok(url) => url.to_file_path().map_err(|()| wrong("is not a path on this machine"))?,
        Err(_) if location.contains("://") => return Err(wrong("is not a URL")),
        Err(_) => Path::new(location).to_owned(),
    };
    if !path.is_absolute() {
        return Err(wrong("is a relative path: write it from the root, or as a URL"));
    }
    let (mut known, mut rest) = (path.as_path(), Vec::new());
    let base = loop {
        match known.canonicalize() {
            Ok(base) => break base,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(wrong(&format!("cannot be looked at: {}", error.kind()))),
        }
        let name = known.file_name().ok_or_else(|| wrong("leads through a folder that does not exist"))?;
        rest.push(name);
        known = known.parent().ok_or_else(|| wrong("has no folder"))?;
    };
    let path = rest.iter().rev().fold(base, |path, name| path.join(name));
    let url = if is_file { Url::from_file_path(path) } else { Url::from_directory_path(path) };
    url.map_err(|()| wrong("is not an absolute path"))
}

/// True for the addresses under which clouds tell a machine its secrets.
fn is_of_instance(url: &Url) -> bool {
    if !matches!(url.scheme(), "http" | "https") {
        return false;
    }
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_link_local(),
        Some(url::Host::Ipv6(address)) => {
            address.is_unicast_link_local()
                || address.segments()[0] == 0xfd00
                || address.to_ipv4_mapped().is_some_and(|address| address.is_link_local())
        }
        Some(url::Host::Domain(name)) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            name == "metadata" || name == "metadata.google.internal" || name == "instance-data"
        }
        None => false,
    }
}

/// Refuses a location outside of `allowed` (42501).
pub fn check_allowed(location: &Url, allowed: &[String]) -> Result<()> {
    let is_under = |root: &String| {
        root_of(root).is_some_and(|root| {
            let folder = format!("{}/", root.as_str().trim_end_matches('/'));
            location.as_str() == root.as_str() || location.as_str().starts_with(&folder)
        })
    };
    if is_of_instance(location) {
        return Err(Error::PermissionDenied {
            message: "the location is an address at which a cloud tells a machine its secrets".into(),
        });
    }
    if allowed.iter().any(is_under) {
        return Ok(());
    }
    Err(outside())
}

fn outside() -> Error {
    Error::PermissionDenied {
        message: "the location is outside of those that this server was started with".into(),
    }
}

/// The places that `allowed` names, as disks and stores call them: also one that is not there yet, where nothing in the
/// rest of its path may lead elsewhere later.
pub fn places(allowed: &[String]) -> Vec<String> {
    allowed.iter().filter_map(|root| root_of(root)).map(|root| decoded(&root)).collect()
}

/// The URL of a location of the start, of which the folders that exist are resolved.
fn root_of(root: &str) -> Option<Url> {
    resolve(root).ok().or_else(|| {
        let is_file = root.to_ascii_lowercase().ends_with(".parquet");
        let path = std::path::absolute(root.strip_prefix("file://").unwrap_or(root)).ok()?;
        resolve_new(path.to_str()?, is_file).ok()
    })
}

/// Refuses a place that holds, or lies among, files that are the catalog's (42501): those below `reserved`, folders
/// that end in `/`.
pub fn check_apart(location: &Url, reserved: &[String]) -> Result<()> {
    let location = format!("{}/", decoded(location).trim_end_matches('/'));
    let meets = |folder: &String| {
        let folder = Url::parse(folder).map_or_else(|_| folder.clone(), |folder| decoded(&folder));
        let folder = format!("{}/", folder.trim_end_matches('/'));
        location.starts_with(&folder) || folder.starts_with(&location)
    };
    if reserved.iter().any(meets) {
        let message = "the location is where the files of tables lie".to_owned();
        return Err(Error::PermissionDenied { message });
    }
    Ok(())
}

/// Refuses to write to a place that is, or holds, what is served: all of a location of the start, or the files of
/// a table among others (42501). A table's own folder may be replaced.
pub fn check_holds_nothing<'a>(
    location: &Url,
    allowed: &[String],
    tables: impl Iterator<Item = &'a Arc<TableDefinition>>,
) -> Result<()> {
    let folder = format!("{}/", decoded(location).trim_end_matches('/'));
    let place = |url: &Url| format!("{}/", decoded(url).trim_end_matches('/'));
    let holds_root =
        allowed.iter().filter_map(|root| resolve(root).ok()).any(|root| place(&root).starts_with(&folder));
    let mut tables = tables.filter_map(|table| Url::parse(&table.location).ok()).map(|url| place(&url));
    if holds_root || tables.any(|table| table != folder && table.starts_with(&folder)) {
        let message = "the location holds tables that are served: name a folder of its own".to_owned();
        return Err(Error::PermissionDenied { message });
    }
    Ok(())
}

/// A location as the disk or the store calls it, whichever way it was written.
pub fn decoded(url: &Url) -> String {
    let path = match url.to_file_path() {
        Ok(path) if url.scheme() == "file" => path.to_string_lossy().into_owned(),
        _ => StorePath::from_url_path(url.path())
            .map_or_else(|_| url.path().to_owned(), |path| format!("/{path}")),
    };
    format!("{}{path}", &url[..url::Position::BeforePath])
}

/// Who names a location reads or writes what lies there, whatever was granted on the tables over it (42501).
pub fn must_be_superuser(context: &QueryContext, what: &str) -> Result<()> {
    let role = context.snapshot.metadata().role_by_oid(context.role_oid);
    if role.is_some_and(|role| role.is_superuser) {
        return Ok(());
    }
    Err(Error::PermissionDenied { message: format!("must be superuser to {what}") })
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
