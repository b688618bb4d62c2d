//! `CHECK LAYOUT`: what of a table's files costs queries time, how much, and what mends it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::TableDefinition;
use catalog::table::external::FileFooter;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use engine::{ByteSize, Error, Result};

use super::{Outcome, metadata, must_own_table, snapshot, tables};
use crate::coordinator::Coordinator;
use crate::session::Session;

/// A file, as far as the catalog or the store knows it.
struct FileFacts {
    bytes: u64,
    /// Names its partition.
    partition: String,
}

/// One thing that is not as it should be.
struct Finding {
    name: &'static str,
    files: usize,
    measured: String,
    cost: String,
    fix: String,
}

/// Files below this cost more to open than to read.
const SMALL_BYTES: u64 = ByteSize::mib(32).0;
/// Files past this are read by few at once, and a lost task repeats much.
const HUGE_BYTES: u64 = ByteSize::mib(2048).0;
/// A row group with fewer rows cannot be skipped for less than it costs to look at.
const ROW_GROUP_ROWS_MIN: u64 = 10_000;
/// A row group is read by one task.
const ROW_GROUP_BYTES_MAX: u64 = ByteSize::mib(512).0;
/// The largest partition beside the median one.
const SKEW_MAX: u64 = 4;
/// Footers that are looked at.
const FOOTERS_MAX: usize = 64;

/// The columns of the answer.
pub fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("finding", DataType::Utf8, false),
        Field::new("files", DataType::Int64, false),
        Field::new("measured", DataType::Utf8, false),
        Field::new("cost", DataType::Utf8, false),
        Field::new("fix", DataType::Utf8, false),
    ]))
}

/// Looks at the files of a table.
pub async fn check(
    coordinator: &Arc<Coordinator>,
    session: &mut Session,
    schema: Option<&str>,
    table: &str,
) -> Result<Outcome> {
    let name = super::keys::find_table(coordinator, session, schema, table)?;
    must_own_table(&metadata(coordinator, session), session, &name)?;
    let table = snapshot(coordinator, session).table(&name).cloned();
    let table = table.ok_or_else(|| Error::UndefinedTable { name: name.table.clone(), position: None })?;
    if table.view.is_some() {
        return Err(Error::WrongObjectType { message: format!("\"{}\" is a view", name.table) });
    }
    let locations: Vec<(String, u64)> = match &table.managed {
        Some(managed) => managed.files.iter().map(|f| (f.location.clone(), f.file_bytes)).collect(),
        None => tables::files_of(coordinator, &table).await?,
    };
    let began = Instant::now();
    let step = locations.len().div_ceil(FOOTERS_MAX).max(1);
    let looked_at: Vec<(String, u64)> = locations.iter().step_by(step).cloned().collect();
    let footers = match table.managed.is_some() || table.files.format == catalog::ExternalFormat::Parquet {
        true => tables::footers_of(coordinator, looked_at).await?,
        false => Vec::new(),
    };
    let open = began.elapsed() / u32::try_from(footers.len().max(1)).unwrap_or(1);
    let facts = facts(&table, &locations);
    let mut findings = of_files(&table, &facts, open);
    findings.extend(of_row_groups(&footers));
    Ok(Outcome { rows: Some(batch(&findings)?), ..Outcome::tag(format!("SELECT {}", findings.len())) })
}

fn facts(table: &TableDefinition, locations: &[(String, u64)]) -> Vec<FileFacts> {
    let partition = |at: usize, location: &str| match &table.managed {
        Some(managed) => {
            let values =
                managed.files[at].partition.iter().map(|value| value.text.clone().unwrap_or_default());
            values.collect::<Vec<_>>().join("/")
        }
        None => location.split('/').filter(|part| part.contains('=')).collect::<Vec<_>>().join("/"),
    };
    let fact = |(at, (location, bytes)): (usize, &(String, u64))| FileFacts {
        bytes: *bytes,
        partition: partition(at, location),
    };
    locations.iter().enumerate().map(fact).collect()
}

fn of_files(table: &TableDefinition, files: &[FileFacts], open: Duration) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (count, bytes) = (files.len(), files.iter().map(|file| file.bytes).sum::<u64>());
    let mut partitions: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for file in files {
        let partition = partitions.entry(&file.partition).or_default();
        partition.0 += 1;
        partition.1 += file.bytes;
    }
    let rewrite = match table.managed {
        Some(_) => format!("OPTIMIZE {}", table.name),
        None => "write it again with COPY … TO or CREATE TABLE … AS, with fewer PARTITIONS".to_owned(),
    };
    // As many files as the data would fill, in each partition, are no excess.
    let needed: usize =
        partitions.values().map(|(_, bytes)| bytes.div_ceil(SMALL_BYTES * 4).max(1) as usize).sum();
    let small = files.iter().filter(|file| file.bytes < SMALL_BYTES).count();
    if small > 1 && count > needed {
        let excess = count - needed;
        findings.push(Finding {
            name: "small files",
            files: small,
            measured: format!("{small} of {count} files are smaller than {}", ByteSize(SMALL_BYTES)),
            cost: format!("{} files more than needed, {} to open them", excess, took(open, excess)),
            fix: rewrite.clone(),
        });
    }
    let huge = files.iter().filter(|file| file.bytes > HUGE_BYTES).count();
    if huge > 0 {
        let largest = files.iter().map(|file| file.bytes).max().unwrap_or(0);
        findings.push(Finding {
            name: "huge files",
            files: huge,
            measured: format!("the largest is {}", ByteSize(largest)),
            cost: "a lost task reads so much again".to_owned(),
            fix: "write it again: catalog.file_size or TARGET_FILE_SIZE bounds files".to_owned(),
        });
    }
    if partitions.len() > 8 && bytes / (partitions.len() as u64) < SMALL_BYTES / 2 {
        findings.push(Finding {
            name: "too many partitions",
            files: count,
            measured: format!(
                "{} partitions of {} on average",
                partitions.len(),
                ByteSize(bytes / partitions.len() as u64)
            ),
            cost: format!("{} to open every file of a full scan", took(open, count)),
            fix: "partition by fewer or coarser keys: year(…) or month(…) in place of a day".to_owned(),
        });
    }
    let mut sizes: Vec<u64> = partitions.values().map(|(_, bytes)| *bytes).collect();
    sizes.sort_unstable();
    if let (true, Some(largest)) = (sizes.len() > 2, sizes.last()) {
        let median = sizes[sizes.len() / 2].max(1);
        if largest / median >= SKEW_MAX && *largest > SMALL_BYTES {
            findings.push(Finding {
                name: "skew",
                files: count,
                measured: format!(
                    "the largest partition is {}, the median {}",
                    ByteSize(*largest),
                    ByteSize(median)
                ),
                cost: format!("tasks wait for one that reads {} times as much", largest / median),
                fix: "add a key that cuts the largest partition, bucket(n, column) for instance".to_owned(),
            });
        }
    }
    findings
}

fn of_row_groups(footers: &[FileFooter]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let groups: usize = footers.iter().map(|footer| footer.row_groups.len()).sum();
    let is_tiny = |footer: &&FileFooter| {
        footer.row_groups.len() > 1
            && footer.row_groups.iter().map(|group| group.rows).sum::<u64>()
                / (footer.row_groups.len() as u64)
                < ROW_GROUP_ROWS_MIN
    };
    let tiny = footers.iter().filter(is_tiny).count();
    if tiny > 0 {
        findings.push(Finding {
            name: "tiny row groups",
            files: tiny,
            measured: format!("{groups} row groups in {} files that were looked at", footers.len()),
            cost: format!(
                "each is a request of its own in an object store; fewer than {ROW_GROUP_ROWS_MIN} rows"
            ),
            fix: "write it again: row groups are then of a million rows or 64 MB".to_owned(),
        });
    }
    let is_giant = |footer: &&FileFooter| footer.row_groups.iter().any(|g| g.bytes > ROW_GROUP_BYTES_MAX);
    let giant = footers.iter().filter(is_giant).count();
    if giant > 0 {
        findings.push(Finding {
            name: "giant row groups",
            files: giant,
            measured: format!("row groups past {}", ByteSize(ROW_GROUP_BYTES_MAX)),
            cost: "one task reads each, and holds much of it".to_owned(),
            fix: "write it again: row groups are then of a million rows or 64 MB".to_owned(),
        });
    }
    let blind = footers.iter().filter(|footer| footer.columns_without_bounds > 0).count();
    if blind > 0 {
        let columns = footers.iter().map(|footer| footer.columns_without_bounds).max().unwrap_or(0);
        findings.push(Finding {
            name: "missing statistics",
            files: blind,
            measured: format!("up to {columns} columns have no bounds in their row groups"),
            cost: "filters on them skip nothing".to_owned(),
            fix: "write it again: bounds are kept of every column but those of floating point".to_owned(),
        });
    }
    findings
}

fn took(open: Duration, files: usize) -> String {
    format!("{:.1} ms", open.as_secs_f64() * 1000.0 * files as f64)
}

fn batch(findings: &[Finding]) -> Result<RecordBatch> {
    let texts = |text: &dyn Fn(&Finding) -> String| -> ArrayRef {
        Arc::new(findings.iter().map(|finding| Some(text(finding))).collect::<StringArray>())
    };
    let files = findings.iter().map(|finding| finding.files as i64);
    let arrays: Vec<ArrayRef> = vec![
        texts(&|finding| finding.name.to_owned()),
        Arc::new(Int64Array::from_iter_values(files)),
        texts(&|finding| finding.measured.clone()),
        texts(&|finding| finding.cost.clone()),
        texts(&|finding| finding.fix.clone()),
    ];
    RecordBatch::try_new(columns(), arrays).map_err(|error| Error::internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(sizes: &[(u64, &str)]) -> Vec<FileFacts> {
        let file = |(mebibytes, partition): &(u64, &str)| FileFacts {
            bytes: ByteSize::mib(*mebibytes).0,
            partition: (*partition).to_owned(),
        };
        sizes.iter().map(file).collect()
    }

    fn names(sizes: &[(u64, &str)]) -> Vec<&'static str> {
        let table = TableDefinition::of_folder("file:///t/".to_owned());
        of_files(&table, &files(sizes), Duration::from_millis(1)).iter().map(|finding| finding.name).collect()
    }

    #[test]
    fn only_what_is_wrong_is_told() {
        assert_eq!(names(&[(200, ""), (300, "")]), Vec::<&str>::new());
        assert_eq!(names(&[(5, "")]), Vec::<&str>::new());
        assert_eq!(names(&[(5, ""), (6, ""), (7, "")]), ["small files"]);
        assert_eq!(names(&[(5, "a"), (6, "b"), (7, "c")]), Vec::<&str>::new());
        assert_eq!(names(&[(3000, ""), (200, "")]), ["huge files"]);
        assert_eq!(names(&[(100, "a"), (100, "b"), (1500, "c")]), ["skew"]);
        let days: Vec<String> = (0..30).map(|day| format!("day={day}")).collect();
        let days: Vec<(u64, &str)> = days.iter().map(|day| (1, day.as_str())).collect();
        assert_eq!(names(&days), ["too many partitions"]);
    }
}
