//! Which files of a place are a table's, and what the names of their folders tell.

use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::Session;
use datafusion::common::ScalarValue;
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::definition::ExternalFiles;
use crate::{CatalogError, Result, stand_ins};

/// The folder of Hive's for rows without a value of the key.
pub const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// What may not stand in the path of a URL as it is.
const IN_URL: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'?').add(b'#').add(b'"').add(b'<').add(b'>');

/// The URL of `path` in the store of `url`.
pub fn url_of(url: &ListingTableUrl, path: &Path) -> String {
    format!("{}{}", url.object_store(), utf8_percent_encode(path.as_ref(), IN_URL))
}

/// The place of a table: what is listed, and which of it is meant.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where its files lie, with the pattern of their names where there is one.
    pub url: ListingTableUrl,
    /// What their names end with; nothing where they are chosen otherwise.
    suffix: String,
}

impl Place {
    /// The place `location` of `files`.
    pub fn new(location: &str, files: &ExternalFiles) -> DataFusionResult<Self> {
        let url = ListingTableUrl::try_new(
            url::Url::parse(location).map_err(|error| DataFusionError::External(Box::new(error)))?,
            None,
        )?;
        // A file that was named, or a pattern of names, says itself which files are meant.
        let is_chosen = files.glob.is_some() || !location.ends_with('/');
        let suffix = if is_chosen { String::new() } else { files.format.extension() };
        let url = match &files.glob {
            Some(glob) => url.with_glob(glob)?,
            None => url,
        };
        Ok(Self { url, suffix })
    }

    /// All that lies there, in the order of the paths: what is hidden, too.
    pub async fn listed(
        &self,
        session: &dyn Session,
        store: &dyn ObjectStore,
    ) -> DataFusionResult<Vec<ObjectMeta>> {
        // Without the pattern: what tells whose folder it is may not fit it.
        let mut all = ListingTableUrl::try_new(self.url.get_url().clone(), None)?;
        if let Some(table) = self.url.get_table_ref() {
            all = all.with_table_ref(table.clone());
        }
        // Boxed: the compiler cannot tell the lifetimes of such a stream when it is sent to another thread.
        let mut found: Vec<ObjectMeta> = all.list_all_files(session, store, "").await?.try_collect().await?;
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    /// True when `file` is one of the table's.
    pub fn is_own(&self, file: &ObjectMeta) -> bool {
        let path = file.location.as_ref();
        let Some(parts) = self.url.strip_prefix(&file.location) else { return false };
        let fits_suffix = || {
            let end = path.len().checked_sub(self.suffix.len()).and_then(|at| path.get(at..));
            end.is_some_and(|end| end.eq_ignore_ascii_case(&self.suffix))
        };
        let is_pattern_hidden =
            self.url.get_glob().as_ref().is_some_and(|glob| glob.as_str().starts_with(['.', '_']));
        match self.url.get_glob() {
            Some(_) => (is_pattern_hidden || !is_hidden(parts)) && self.url.contains(&file.location, true),
            None => fits_suffix() && !is_hidden(parts),
        }
    }

    /// The path of a file below the place, for people.
    pub fn shown(&self, file: &Path) -> String {
        let below: Vec<&str> = self.url.strip_prefix(file).map(Iterator::collect).unwrap_or_default();
        match below.is_empty() {
            true => stand_ins::show(file.filename().unwrap_or_default()),
            false => stand_ins::show(&below.join("/")),
        }
    }

    /// The keys and values of the folders above a file. `None` stands for no value.
    pub fn folder_values(&self, file: &Path) -> Vec<(String, Option<String>)> {
        let mut parts: Vec<&str> = self.url.strip_prefix(file).map(Iterator::collect).unwrap_or_default();
        parts.pop();
        let pairs =
            parts.into_iter().filter_map(|part| part.split_once('=')).filter(|(key, _)| !key.is_empty());
        pairs.map(|(key, value)| (key.to_owned(), folder_value(value))).collect()
    }

    /// The values that the folders of `file` have for `columns`; null where they have none.
    pub fn partition_values(&self, file: &Path, columns: &[(String, DataType)]) -> Result<Vec<ScalarValue>> {
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let mut parts: Vec<&str> = self.url.strip_prefix(file).map(Iterator::collect).unwrap_or_default();
        parts.pop();
        let value = |(name, kind): &(String, DataType)| {
            let of_column =
                |part: &&str| part.strip_prefix(name.as_str())?.strip_prefix('=').map(str::to_owned);
            let value = match parts.iter().find_map(of_column).as_deref().and_then(folder_value) {
                Some(text) => ScalarValue::try_from_string(text, kind),
                None => ScalarValue::try_from(kind),
            };
            value.map_err(|_| self.misfit(file, name, kind))
        };
        columns.iter().map(value).collect()
    }

    fn misfit(&self, file: &Path, column: &str, kind: &DataType) -> CatalogError {
        let (file, kind) = (self.shown(file), super::widening::type_name(kind));
        let problem = format!("the folder of file {file} has a value of \"{column}\" that is no {kind}");
        CatalogError::Types { table: String::new(), file, problem }
    }
}

/// The value that a folder's name tells, as text. `None` stands for no value.
fn folder_value(text: &str) -> Option<String> {
    let value = percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some(value).filter(|value| value != HIVE_NULL)
}

/// Hidden and temporary entries are no tables and no files of one, as in Hive and Spark.
pub fn is_hidden_name(name: &str) -> bool {
    name.starts_with('.') || (name.starts_with('_') && !name.contains('='))
}

fn is_hidden<'a>(mut parts: impl Iterator<Item = &'a str>) -> bool {
    parts.any(is_hidden_name)
}

/// A table format whose files are not all of them the table's: which are is written in its own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Its name.
    pub format: &'static str,
    /// The folder below the place that it is, empty for the place itself.
    pub folder: String,
}

/// The table of another format that is among `found`, if any.
pub fn foreign(url: &ListingTableUrl, found: &[ObjectMeta]) -> Option<Foreign> {
    if !url.is_collection() {
        return None;
    }
    // Most folders are nobody else's, and each plan asks.
    let may_be = |file: &&ObjectMeta| {
        let path = file.location.as_ref();
        ["_delta_log/", ".hoodie/", "metadata/"].iter().any(|folder| path.contains(folder))
    };
    found.iter().filter(may_be).find_map(|file| {
        let parts: Vec<&str> = url.strip_prefix(&file.location)?.collect();
        let (name, folders) = parts.split_last()?;
        let (at, format) = folders.iter().enumerate().find_map(|(at, folder)| {
            Some((at, foreign_format(folder, Some(*name).filter(|_| at + 1 == folders.len()))?))
        })?;
        Some(Foreign { format, folder: folders[..at].join("/") })
    })
}

/// The format of a table that has a folder of that name, with a file of that name right in it.
pub fn foreign_format(folder: &str, file: Option<&str>) -> Option<&'static str> {
    match folder {
        "_delta_log" => Some("Delta"),
        ".hoodie" => Some("Hudi"),
        "metadata" => {
            let is_iceberg = |name: &str| {
                name.ends_with(".metadata.json") || name == "version-hint.text" || name.ends_with(".avro")
            };
            file.filter(|name| is_iceberg(name)).map(|_| "Iceberg")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(path: &str) -> ObjectMeta {
        ObjectMeta {
            location: Path::parse(path).expect("a path"),
            last_modified: Default::default(),
            size: 9,
            e_tag: None,
            version: None,
        }
    }

    #[test]
    fn a_folder_has_the_files_below_it_that_are_not_hidden() {
        let place = Place::new("memory:///lake/t/", &ExternalFiles::default()).expect("a place");
        let is_own = |path: &str| place.is_own(&meta(path));
        for own in ["a.parquet", "eu/2024.parquet", "X.PARQUET", "_day=1/a.parquet", "a b#c?.parquet"] {
            assert!(is_own(&format!("lake/t/{own}")), "{own}");
        }
        for other in ["a.csv", ".a.parquet", "_a.parquet", "_temporary/a.parquet", "eu/.x/a.parquet"] {
            assert!(!is_own(&format!("lake/t/{other}")), "{other}");
        }
        assert!(!is_own("lake/t2/a.parquet"));
    }

    #[test]
    fn folders_are_read_by_the_names_of_their_keys() {
        let place = Place::new("memory:///lake/t/", &ExternalFiles::default()).expect("a place");
        let columns = [("day".to_owned(), DataType::Int64), ("region".to_owned(), DataType::Utf8)];
        let values = |path: &str| {
            place.partition_values(&Path::parse(format!("lake/t/{path}")).expect("a path"), &columns)
        };
        let text = |text: Option<&str>| ScalarValue::Utf8(text.map(str::to_owned));
        let both = vec![ScalarValue::Int64(Some(1)), text(Some("e u"))];
        assert_eq!(values("day=1/region=e%20u/a.parquet").expect("values"), both);
        assert_eq!(values("region=e u/x/day=1/a.parquet").expect("values"), both);
        let none = vec![ScalarValue::Int64(None), text(None)];
        assert_eq!(values("a.parquet").expect("values"), none);
        assert_eq!(values(&format!("day={HIVE_NULL}/a.parquet")).expect("values"), none);
        assert!(values("day=x/a.parquet").is_err());
    }

    #[test]
    fn tables_of_other_formats_are_known_by_their_folders() {
        let url = ListingTableUrl::parse("memory:///lake/t/").expect("a URL");
        let format =
            |path: &str| foreign(&url, &[meta(&format!("lake/t/{path}"))]).map(|of| (of.format, of.folder));
        assert_eq!(format("_delta_log/0.json"), Some(("Delta", String::new())));
        assert_eq!(format("db/x/_delta_log/0.json"), Some(("Delta", "db/x".to_owned())));
        assert_eq!(format("metadata/v1.metadata.json"), Some(("Iceberg", String::new())));
        assert_eq!(format("metadata/a.parquet"), None);
        assert_eq!(format("data/a.parquet"), None);
    }
}
