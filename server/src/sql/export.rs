//! `COPY … TO 'location' (…)`: rows become files there, and none go to the client.

use engine::operators::{CsvLayout, FileFormat, ParquetCompression, TextCompression};
use engine::{ByteSize, Result};

use super::copy_files::{CopyFiles, Value, invalid};

/// Where rows are copied to, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportTo {
    /// A folder or a file, or the URL of one, as written.
    pub location: String,
    /// It names one file, and not a folder of files.
    pub is_file: bool,
    /// What files hold.
    pub format: FileFormat,
    /// So many files, where it is said.
    pub partitions: Option<usize>,
    /// The columns whose values become folders.
    pub partition_by: Vec<String>,
    /// A file that has grown to so many bytes is followed by another.
    pub file_bytes_max: Option<u64>,
    /// In place of what is there.
    pub overwrites: bool,
}

const PARTITIONS_MAX: usize = 10_000;

/// The options as written; `None` for those that are not.
#[derive(Default)]
struct Options {
    format: Option<String>,
    compression: Option<String>,
    partitions: Option<usize>,
    partition_by: Vec<String>,
    bloom_filters: Vec<String>,
    file_bytes_max: Option<u64>,
    overwrites: bool,
    has_header: Option<bool>,
    delimiter: Option<u8>,
    null: Option<String>,
    quote: Option<u8>,
    escape: Option<u8>,
}

/// What `copy` says, checked.
pub fn export(copy: CopyFiles) -> Result<ExportTo> {
    let mut options = Options::default();
    for (name, value) in copy.options {
        set(&mut options, &name, value)?;
    }
    checked(copy.location, options)
}

fn set(options: &mut Options, name: &str, value: Value) -> Result<()> {
    if let (Value::List(_), false) = (&value, matches!(name, "partition_by" | "bloom_filter")) {
        return Err(invalid(format!("COPY option {} takes one value", name.to_uppercase())));
    }
    let (one, flag, byte) = (|| value.one(name), || value.flag(name), || value.byte(name));
    match name {
        "format" => options.format = Some(one()?.to_ascii_lowercase()),
        "compression" => options.compression = Some(one()?),
        "partitions" => {
            let count = one()?.parse().ok().filter(|count| (1..=PARTITIONS_MAX).contains(count));
            let message =
                || invalid(format!("COPY option PARTITIONS takes a number from 1 to {PARTITIONS_MAX}"));
            options.partitions = Some(count.ok_or_else(message)?);
        }
        "partition_by" => options.partition_by = columns(name, value)?,
        "bloom_filter" => options.bloom_filters = columns(name, value)?,
        "target_file_size" => {
            let size: ByteSize = one()?.parse().map_err(invalid)?;
            if size.0 < ByteSize::MIB {
                return Err(invalid("COPY option TARGET_FILE_SIZE must be 1MB at least"));
            }
            options.file_bytes_max = Some(size.0);
        }
        "overwrite" => options.overwrites = flag()?,
        "header" => options.has_header = Some(flag()?),
        "delimiter" => options.delimiter = Some(byte()?),
        "null" => options.null = Some(one()?),
        "quote" => options.quote = Some(byte()?),
        "escape" => options.escape = Some(byte()?),
        "encoding" if matches!(one()?.to_ascii_lowercase().as_str(), "utf8" | "utf-8") => {}
        _ => return Err(Value::unknown(name)),
    }
    Ok(())
}

/// One column, or several in parentheses.
fn columns(name: &str, value: Value) -> Result<Vec<String>> {
    match value {
        Value::List(names) => Ok(names),
        other => Ok(vec![other.one(name)?]),
    }
}

/// Formats by the ends of files' names, with the compression that a further end tells.
fn told_by_name(location: &str) -> Option<(&'static str, Option<&'static str>)> {
    let name = location.rsplit('/').next()?.to_ascii_lowercase();
    let (name, compression) = match name.strip_suffix(".gz").map(|name| (name, "gzip")) {
        Some((name, compression)) => (name.to_owned(), Some(compression)),
        None => match name.strip_suffix(".zst") {
            Some(name) => (name.to_owned(), Some("zstd")),
            None => (name, None),
        },
    };
    let (_, end) = name.rsplit_once('.')?;
    match (end, compression) {
        ("parquet", None) => Some(("parquet", None)),
        ("csv", compression) => Some(("csv", compression)),
        ("json" | "jsonl" | "ndjson", compression) => Some(("json", compression)),
        _ => None,
    }
}

fn checked(location: String, options: Options) -> Result<ExportTo> {
    let told = told_by_name(&location);
    let is_file = told.is_some();
    if is_file && (options.partitions.is_some_and(|count| count > 1) || !options.partition_by.is_empty()) {
        return Err(invalid(
            "PARTITIONS and PARTITION_BY write a folder of files: end the location in \"/\"",
        ));
    }
    let name = options.format.as_deref().or(told.map(|(format, _)| format)).unwrap_or("parquet");
    let is_csv = name == "csv";
    let only_csv = [
        ("HEADER", options.has_header.is_some()),
        ("DELIMITER", options.delimiter.is_some()),
        ("NULL", options.null.is_some()),
        ("QUOTE", options.quote.is_some()),
        ("ESCAPE", options.escape.is_some()),
    ];
    if let Some((option, _)) = only_csv.into_iter().find(|(_, is_given)| *is_given && !is_csv) {
        return Err(invalid(format!("COPY {option} available only in CSV mode")));
    }
    if !options.bloom_filters.is_empty() && name != "parquet" {
        return Err(invalid("COPY BLOOM_FILTER available only in Parquet mode"));
    }
    let compression = options.compression.as_deref().or(told.and_then(|(_, compression)| compression));
    let unknown = |known: &str| {
        let given = compression.unwrap_or_default();
        invalid(format!("COPY compression \"{given}\" not recognized for {name}: use one of {known}"))
    };
    let of_text = || match compression {
        None => Ok(TextCompression::None),
        Some(given) => TextCompression::named(given).ok_or_else(|| unknown("none, gzip, zstd")),
    };
    let format = match name {
        "parquet" => FileFormat::Parquet {
            compression: match compression {
                None => ParquetCompression::default(),
                Some(given) => ParquetCompression::named(given)
                    .ok_or_else(|| unknown("none, snappy, gzip, brotli, lz4, zstd"))?,
            },
            bloom_filters: options.bloom_filters,
        },
        "csv" => FileFormat::Csv { layout: csv_layout(&options)?, compression: of_text()? },
        "json" => FileFormat::Json { compression: of_text()? },
        other => {
            let message = format!("COPY format \"{other}\" not recognized: files are parquet, csv or json");
            return Err(invalid(message));
        }
    };
    Ok(ExportTo {
        location,
        is_file,
        format,
        partitions: options.partitions,
        partition_by: options.partition_by,
        file_bytes_max: options.file_bytes_max,
        overwrites: options.overwrites,
    })
}

fn csv_layout(options: &Options) -> Result<CsvLayout> {
    let quote = options.quote.unwrap_or(b'"');
    let layout = CsvLayout {
        has_header: options.has_header.unwrap_or(true),
        delimiter: options.delimiter.unwrap_or(b','),
        null: options.null.clone().unwrap_or_default(),
        quote,
        escape: options.escape.unwrap_or(quote),
    };
    if layout.delimiter == layout.quote {
        return Err(invalid("COPY delimiter and quote must be different"));
    }
    if layout.null.bytes().any(|byte| byte == layout.delimiter || byte == layout.quote) {
        return Err(invalid("COPY null must hold neither the delimiter nor the quote"));
    }
    Ok(layout)
}

#[cfg(test)]
mod tests {
    use super::super::copy_files::tests::taken as copied;
    use super::*;

    fn taken(sql: &str) -> Result<Option<(ExportTo, String)>> {
        let Some((copy, rest)) = copied(sql)? else { return Ok(None) };
        Ok(Some((export(copy)?, rest)))
    }

    #[test]
    fn the_location_and_its_options_are_taken_out() {
        let sql = "COPY (select a, 'to' from t) TO 's3://bucket/out/' \
                   (FORMAT parquet, PARTITIONS 10, PARTITION_BY (\"Year\", b), COMPRESSION 'snappy', \
                   TARGET_FILE_SIZE '512 MiB', BLOOM_FILTER a, OVERWRITE)";
        let (export, rest) = taken(sql).expect("read").expect("an export");
        assert_eq!(rest, "COPY (select a, 'to' from t) TO STDOUT");
        assert_eq!(export.location, "s3://bucket/out/");
        assert_eq!(export.partition_by, ["Year", "b"]);
        assert_eq!((export.partitions, export.file_bytes_max), (Some(10), Some(512 << 20)));
        assert_eq!(
            export.format,
            FileFormat::Parquet {
                compression: ParquetCompression::Snappy,
                bloom_filters: vec!["a".to_owned()],
            }
        );
        assert!(export.overwrites && !export.is_file);
    }

    #[test]
    fn a_name_tells_the_format() {
        let (export, _) = taken("copy t to '/data/out.csv.gz'").expect("read").expect("an export");
        assert!(export.is_file);
        assert_eq!(export.format.extension(), "csv.gz");
        let (export, _) = taken("copy t to '/data/2024.01'").expect("read").expect("an export");
        assert!(!export.is_file);
        assert_eq!(export.format, FileFormat::parquet());
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (options, sqlstate) in [
            ("(format orc)", "22023"),
            ("(format csv, bloom_filter (a))", "22023"),
            ("(partitions 0)", "22023"),
            ("(compression lzma)", "22023"),
            ("(header)", "22023"),
            ("(format csv, delimiter '||')", "22023"),
            ("(format csv, null ',')", "22023"),
            ("(target_file_size 10)", "22023"),
            ("(size 10)", "42601"),
            ("(format csv", "42601"),
            ("csv header", "42601"),
        ] {
            let error = taken(&format!("copy t to '/data/out/' {options}")).expect_err(options);
            assert_eq!(error.sqlstate().as_str(), sqlstate, "{options}: {error}");
        }
    }
}
