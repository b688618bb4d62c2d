//! Files that lie somewhere, as statements tell of them: `CREATE EXTERNAL TABLE` and `COPY … FROM 'location'`.

use std::sync::Arc;

use catalog::identifier;
use catalog::table::external::Declared;
use catalog::{Compression, CsvReading, ExternalFiles, ExternalFormat};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::sql::parser::CreateExternalTable;
use engine::{Error, Result};
use sqlparser::ast::Value as SqlValue;

use super::classify::{folded, not_supported, schema_and_name};
use super::copy_files::{CopyFiles, Value, invalid};
use super::tables::column_type;

/// A table over files of one location.
#[derive(Debug, Clone)]
pub struct ExternalTable {
    /// The schema, when the name has one.
    pub schema: Option<String>,
    /// The table.
    pub table: String,
    /// Where the files are, and what they hold.
    pub files: FilesAt,
    /// What is said of the columns.
    pub declared: Declared,
    /// Whether a table of that name is fine.
    pub if_not_exists: bool,
}

/// Files that lie somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesAt {
    /// A folder or a file, or the URL of one, as written, save for a pattern of names.
    pub location: String,
    /// How they are read.
    pub files: ExternalFiles,
    /// The statement says whether there are header lines.
    pub is_header_told: bool,
}

/// Rows of files that are added to a table.
#[derive(Debug, Clone)]
pub struct CopyFrom {
    /// The schema, when the name has one.
    pub schema: Option<String>,
    /// The table.
    pub table: String,
    /// The columns that the files have; all when there are none.
    pub columns: Vec<String>,
    /// The files.
    pub from: FilesAt,
    /// The client's text.
    pub text: Arc<str>,
}

/// `CREATE EXTERNAL TABLE`.
pub fn external(create: CreateExternalTable) -> Result<ExternalTable> {
    let refused = [
        (!create.order_exprs.is_empty(), "WITH ORDER"),
        (create.or_replace, "OR REPLACE"),
        (create.temporary, "TEMPORARY"),
        (create.unbounded, "UNBOUNDED"),
        (!create.constraints.is_empty(), "constraints"),
        (create.locations.len() != 1, "several locations"),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(is_asked, _)| *is_asked) {
        return Err(not_supported(&format!("CREATE EXTERNAL TABLE with {what}")));
    }
    let (schema, table) = schema_and_name(&create.name);
    let option = |(name, value): &(String, SqlValue)| {
        let value = value.clone().into_string().unwrap_or_else(|| value.to_string());
        (name.to_ascii_lowercase(), Value::One(value))
    };
    let partitions: Vec<String> = create.table_partition_cols.iter().map(|name| as_folded(name)).collect();
    let mut columns = Vec::new();
    let mut partition_types = Vec::new();
    for column in &create.columns {
        let (name, kind) = (folded(&column.name), column_type(&column.data_type)?);
        match partitions.contains(&name) {
            true => partition_types.push((name, kind)),
            false => columns.push(Field::new(name, kind, true)),
        }
    }
    let typed = |name: String| {
        let kind: Option<DataType> =
            partition_types.iter().find(|(typed, _)| *typed == name).map(|(_, kind)| kind.clone());
        (name, kind)
    };
    Ok(ExternalTable {
        schema,
        table,
        files: files_at(
            create.locations.into_iter().next().unwrap_or_default(),
            Some(&create.file_type),
            create.options.iter().map(option),
        )?,
        declared: Declared {
            columns: (!columns.is_empty()).then(|| Arc::new(Schema::new(columns))),
            partitions: partitions.into_iter().map(typed).collect(),
        },
        if_not_exists: create.if_not_exists,
    })
}

/// A name as the parser prints it.
fn as_folded(printed: &str) -> String {
    match printed.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => identifier::fold(printed, false),
    }
}

/// The files of a `COPY … FROM 'location'`.
pub fn copied(copy: CopyFiles) -> Result<FilesAt> {
    files_at(copy.location, None, copy.options.into_iter())
}

fn files_at(
    location: String,
    format: Option<&str>,
    options: impl Iterator<Item = (String, Value)>,
) -> Result<FilesAt> {
    let mut format = format.map(str::to_ascii_lowercase);
    let mut csv = CsvReading::default();
    let mut compression = None;
    let mut given: Option<String> = None;
    let mut is_header_told = false;
    for (name, value) in options {
        // DataFusion's names for them are understood as well.
        let name = name.strip_prefix("format.").unwrap_or(&name);
        match name {
            "format" if format.is_none() => format = Some(value.one(name)?.to_ascii_lowercase()),
            "compression" => {
                let word = value.one(name)?;
                let known = "none, gzip, bzip2, xz, zstd";
                compression = Some(Compression::named(&word).ok_or_else(|| {
                    invalid(format!("compression \"{word}\" not recognized: use one of {known}"))
                })?);
            }
            "encoding" if matches!(value.one(name)?.to_ascii_lowercase().as_str(), "utf8" | "utf-8") => {}
            _ => {
                given.get_or_insert_with(|| name.to_owned());
                match name {
                    "header" | "has_header" => {
                        csv.has_header = value.flag(name)?;
                        is_header_told = true;
                    }
                    "delimiter" => csv.delimiter = value.byte(name)?,
                    "quote" => csv.quote = value.byte(name)?,
                    "escape" => csv.escape = Some(value.byte(name)?).filter(|escape| *escape != csv.quote),
                    "comment" => csv.comment = Some(value.byte(name)?),
                    "newlines_in_values" => csv.has_newlines = value.flag(name)?,
                    // The one that is read so.
                    "null" if value.one(name)?.is_empty() => {}
                    "null" => return Err(not_supported("a NULL other than the empty text, in files,")),
                    _ => return Err(Value::unknown(name)),
                }
            }
        }
    }
    let (location, glob) = without_glob(location)?;
    let named = glob.as_deref().unwrap_or(&location);
    let (told, told_compression) = told_by_name(named);
    let compression = compression.or(told_compression).unwrap_or_default();
    let word = format.as_deref().or(told).unwrap_or("parquet");
    if let (Some(option), true) = (&given, word != "csv") {
        return Err(invalid(format!("option {} available only for CSV", option.to_uppercase())));
    }
    let format = match word {
        "parquet" => ExternalFormat::Parquet,
        "csv" => ExternalFormat::Csv(CsvReading { compression, ..csv }),
        "json" | "ndjson" | "jsonl" => ExternalFormat::Json { compression },
        "arrow" => ExternalFormat::Arrow,
        other => {
            let message = format!(
                "files of the format {} are not supported: use PARQUET, CSV, JSON or ARROW",
                other.to_uppercase()
            );
            return Err(Error::NotSupported { message });
        }
    };
    if compression != Compression::None && matches!(format, ExternalFormat::Parquet | ExternalFormat::Arrow) {
        let message = format!("{} files tell themselves how they are compressed", format.name());
        return Err(invalid(message));
    }
    Ok(FilesAt { location, files: ExternalFiles { format, glob, is_declared: false }, is_header_told })
}

/// A location and the pattern that its last part may be.
fn without_glob(location: String) -> Result<(String, Option<String>)> {
    let is_pattern = |c: char| matches!(c, '*' | '?' | '[');
    if !location.contains(is_pattern) {
        return Ok((location, None));
    }
    match location.rsplit_once('/') {
        Some((folder, glob)) if !folder.contains(is_pattern) && !glob.is_empty() => {
            Ok((format!("{folder}/"), Some(glob.to_owned())))
        }
        _ => Err(invalid(
            "a pattern may stand in the last part of a location only, as in 's3://bucket/folder/*.csv'",
        )),
    }
}

/// What the end of a name says.
fn told_by_name(name: &str) -> (Option<&'static str>, Option<Compression>) {
    let name = name.to_ascii_lowercase();
    let compressions = [Compression::Gzip, Compression::Bzip2, Compression::Xz, Compression::Zstd];
    let compression = compressions.into_iter().find(|compression| name.ends_with(compression.suffix()));
    let plain = compression.map_or(name.as_str(), |compression| name.trim_end_matches(compression.suffix()));
    let format = match plain.rsplit_once('.').map(|(_, end)| end) {
        Some("parquet") => Some("parquet"),
        Some("csv") => Some("csv"),
        Some("json" | "jsonl" | "ndjson") => Some("json"),
        Some("arrow") => Some("arrow"),
        _ => None,
    };
    (format, compression)
}

#[cfg(test)]
mod tests {
    use super::super::copy_files::tests::taken;
    use super::*;

    fn files(sql: &str) -> Result<FilesAt> {
        copied(taken(sql)?.expect("a location").0)
    }

    #[test]
    fn names_and_options_tell_how_files_are_read() {
        let found =
            files("copy t from 's3://bucket/in/2024-*.csv.gz' (delimiter ';', header)").expect("read");
        assert_eq!(
            (found.location.as_str(), found.files.glob.as_deref()),
            ("s3://bucket/in/", Some("2024-*.csv.gz"))
        );
        let ExternalFormat::Csv(csv) = found.files.format else { panic!("CSV") };
        assert_eq!((csv.delimiter, csv.compression, csv.has_header), (b';', Compression::Gzip, true));
        let found = files("copy t from '/data/in/' (format json, compression zstd)").expect("read");
        assert_eq!(found.files.format, ExternalFormat::Json { compression: Compression::Zstd });
        assert_eq!(files("copy t from '/data/in'").expect("read").files, ExternalFiles::default());
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (sql, sqlstate) in [
            ("copy t from '/data/*/x.csv'", "22023"),
            ("copy t from '/data/x.parquet' (header)", "22023"),
            ("copy t from '/data/x' (format orc)", "0A000"),
            ("copy t from '/data/x.csv' (nosuch 1)", "42601"),
            ("copy t from '/data/x.csv' (compression lzma)", "22023"),
            ("copy t from '/data/x.parquet' (compression gzip)", "22023"),
        ] {
            let error = files(sql).expect_err(sql);
            assert_eq!(error.sqlstate().as_str(), sqlstate, "{sql}: {error}");
        }
    }
}
