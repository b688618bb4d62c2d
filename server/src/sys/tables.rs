//! Tables, their files, their versions.

use catalog::{Materialized, Snapshot, TableDefinition, TableName, Unavailable};
use datafusion::arrow::array::RecordBatch;
use engine::ByteSize;

use super::{count, optional_count};
use crate::pg_catalog::{Columns, View};
use crate::query::check_may_read;

/// Files below this cost more to open than to read.
const SMALL_BYTES: u64 = ByteSize::mib(32).0;
/// Files past this are read by few at once, and a lost task repeats much.
const HUGE_BYTES: u64 = ByteSize::mib(2048).0;
/// So many small files are no matter.
const SMALL_FILES_MAX: u64 = 8;
/// The largest partition may be so many medians.
const SKEW_MAX: u64 = 4;

/// How a table's files suit the queries over it, and what mends it.
pub struct Health {
    /// In a word or two.
    pub state: &'static str,
    /// What to do about it.
    pub advice: Option<String>,
    /// The file in the middle, in bytes, where files are known one by one.
    pub median_file_bytes: Option<u64>,
    /// The largest, in bytes.
    pub largest_file_bytes: Option<u64>,
}

/// What the catalog alone tells of the health of `table`.
pub fn health(table: &TableDefinition) -> Health {
    let files = table.statistics.files;
    let mut sizes: Vec<u64> = match &table.managed {
        Some(managed) => managed.files.iter().map(|file| file.file_bytes).collect(),
        None => Vec::new(),
    };
    sizes.sort_unstable();
    let (median, largest) = (sizes.get(sizes.len() / 2).copied(), sizes.last().copied());
    let mean = table.statistics.file_bytes.checked_div(files).unwrap_or(0);
    let typical = median.unwrap_or(mean);
    let name = &table.name;
    let (state, advice) = if let Some(problem) = &table.unavailable {
        ("unavailable", Some(problem.advice.clone()))
    } else if table.view.is_some() || files == 0 {
        ("unknown", None)
    } else if files > SMALL_FILES_MAX && typical < SMALL_BYTES {
        let advice = match table.managed.is_some() {
            true => format!("OPTIMIZE {name}"),
            false => format!("COPY {name} TO a folder of its own, in fewer files, or CREATE TABLE AS"),
        };
        ("small files", Some(advice))
    } else if largest.unwrap_or(mean) > HUGE_BYTES {
        ("large files", Some(format!("write {name} with a smaller catalog.file_size, or in more PARTITIONS")))
    } else if is_skewed(table) {
        ("skewed", Some(format!("partition {name} by a column whose values are more alike in number")))
    } else {
        ("good", None)
    };
    Health { state, advice, median_file_bytes: median, largest_file_bytes: largest }
}

fn is_skewed(table: &TableDefinition) -> bool {
    let mut bytes: Vec<u64> =
        partitions_of(table).into_iter().map(|partition| partition.file_bytes).collect();
    bytes.sort_unstable();
    let median = bytes.get(bytes.len() / 2).copied().unwrap_or(0);
    bytes.len() > 1 && bytes.last().is_some_and(|largest| *largest > SKEW_MAX * median.max(SMALL_BYTES))
}

/// The files of a table that share their values of its partition keys.
pub struct TablePartition {
    /// `day=2024-01-01/region=eu`; empty for a table that is not partitioned.
    pub name: String,
    /// How many files.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// The largest of them, in bytes.
    pub largest_file_bytes: u64,
}

/// The partitions of a table that this server writes, in the order in which they were first written.
pub fn partitions_of(table: &TableDefinition) -> Vec<TablePartition> {
    let Some(managed) = &table.managed else { return Vec::new() };
    let keys = partition_keys(table);
    let mut partitions: Vec<TablePartition> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for file in &managed.files {
        let value = |(at, key): (usize, &String)| {
            let value = file.partition.iter().find(|value| value.key == at as i64);
            format!("{key}={}", value.and_then(|value| value.text.as_deref()).unwrap_or("null"))
        };
        let is_current = managed.partitioning.as_ref().map(|of| of.id) == file.partitioning;
        let name = match is_current {
            true => keys.iter().enumerate().map(value).collect::<Vec<_>>().join("/"),
            false => "(written under another partitioning)".to_owned(),
        };
        let at = *places.entry(name.clone()).or_insert_with(|| {
            partitions.push(TablePartition { name, files: 0, rows: 0, file_bytes: 0, largest_file_bytes: 0 });
            partitions.len() - 1
        });
        let partition = &mut partitions[at];
        partition.files += 1;
        partition.rows += file.rows;
        partition.file_bytes += file.file_bytes;
        partition.largest_file_bytes = partition.largest_file_bytes.max(file.file_bytes);
    }
    partitions
}

/// What a table is partitioned by: columns, with what is taken of them.
pub fn partition_keys(table: &TableDefinition) -> Vec<String> {
    let Some(managed) = &table.managed else {
        return table.partition_columns.iter().map(|(name, _)| name.clone()).collect();
    };
    let keys = managed.partitioning.iter().flat_map(|of| &of.keys);
    keys.filter_map(|key| {
        let column = managed.current_columns().find(|column| column.id == key.column)?;
        let name = column.field.name();
        Some(if key.transform == "identity" { name.clone() } else { format!("{}({name})", key.transform) })
    })
    .collect()
}

/// What a relation of the users' is.
pub fn kind(snapshot: &Snapshot, table: &TableDefinition) -> &'static str {
    let is_materialized = snapshot.metadata().materialized.contains_key(&table.name);
    match (is_materialized, table.view.is_some(), table.managed.is_some()) {
        (true, ..) => "materialized view",
        (_, true, _) => "view",
        (.., true) => "managed",
        _ => "external",
    }
}

/// Why a relation is not served, where it is not, as far as the reader may know: files are named by what is in them.
fn problem<'a>(view: &'a View, table: &'a TableDefinition) -> Option<&'a Unavailable> {
    let may_know = || check_may_read(&view.snapshot, view.context.role_oid, table).is_ok();
    table.unavailable.as_deref().filter(|_| may_know())
}

/// Every table and view, with the state of its files, and the locations that cannot be read.
pub fn tables(view: &View) -> RecordBatch {
    let all: Vec<_> = view.snapshot.tables().collect();
    let role = view.snapshot.metadata().role_by_oid(view.context.role_oid);
    let shows_locations = role.is_some_and(|role| role.is_superuser);
    let locations: Vec<_> = view.snapshot.troubles().iter().filter(|_| shows_locations).collect();
    let none = locations.len();
    let nothing = || std::iter::repeat_n(None, none);
    let no_text = || std::iter::repeat_n(None, none);
    let states: Vec<Health> = all.iter().map(|table| health(table)).collect();
    let has_files =
        |table: &&&std::sync::Arc<TableDefinition>| table.view.is_none() && table.unavailable.is_none();
    let figure = |of: fn(&TableDefinition) -> u64| {
        let figures =
            all.iter().map(|table| optional_count(Some(*table).filter(|t| has_files(&t)).map(|t| of(t))));
        figures.chain(nothing()).collect::<Vec<_>>()
    };
    let format = |table: &TableDefinition| match (&table.managed, &table.view) {
        (_, Some(_)) => None,
        (Some(_), _) => Some("parquet"),
        _ => Some(table.files.format.name()),
    };
    let of_table = |told: fn(&Unavailable) -> Option<&str>| {
        all.iter().map(move |table| problem(view, table).and_then(told))
    };
    let of_location =
        |told: fn(&Unavailable) -> Option<&str>| locations.iter().map(move |of| told(&of.problem));
    let state = |table: &TableDefinition| table.unavailable.as_ref().map_or("served", |of| of.trouble.name());
    let advice = |(table, health): (&&std::sync::Arc<TableDefinition>, &'_ Health)| {
        let is_hidden = table.unavailable.is_some() && problem(view, table).is_none();
        health.advice.clone().filter(|_| !is_hidden)
    };
    let advices: Vec<Option<String>> = all.iter().zip(&states).map(advice).collect();
    let of_all = |told: fn(&Unavailable) -> Option<&str>| of_table(told).chain(of_location(told));
    Columns::new()
        .optional_text(
            "schema_name",
            all.iter().map(|table| Some(table.name.schema.as_str())).chain(no_text()),
        )
        .optional_text("table_name", all.iter().map(|table| Some(table.name.table.as_str())).chain(no_text()))
        .text(
            "kind",
            all.iter().map(|table| kind(&view.snapshot, table)).chain(std::iter::repeat_n("location", none)),
        )
        .optional_text("format", all.iter().map(|table| format(table)).chain(no_text()))
        .optional_int8("rows", figure(|table| table.statistics.rows))
        .optional_int8("files", figure(|table| table.statistics.files))
        .optional_int8("file_bytes", figure(|table| table.statistics.file_bytes))
        .optional_int8(
            "median_file_bytes",
            states.iter().map(|of| optional_count(of.median_file_bytes)).chain(nothing()),
        )
        .optional_int8(
            "largest_file_bytes",
            states.iter().map(|of| optional_count(of.largest_file_bytes)).chain(nothing()),
        )
        .text(
            "partitioned_by",
            all.iter()
                .map(|table| partition_keys(table).join(", "))
                .chain(std::iter::repeat_n(String::new(), none)),
        )
        .text("health", states.iter().map(|of| of.state).chain(std::iter::repeat_n("unavailable", none)))
        .optional_text(
            "advice",
            advices.iter().map(Option::as_deref).chain(of_location(|of| Some(of.advice.as_str()))),
        )
        .text(
            "state",
            all.iter().map(|table| state(table)).chain(locations.iter().map(|of| of.problem.trouble.name())),
        )
        .optional_text("reason", of_all(|of| Some(of.reason.as_str())))
        .optional_text(
            "file",
            of_table(|of| of.file.as_deref()).chain(locations.iter().map(|of| Some(of.location.as_str()))),
        )
        .finish()
}

/// The partitions of the tables that this server writes, and the files in each.
pub fn partitions(view: &View) -> RecordBatch {
    let rows: Vec<_> = view
        .snapshot
        .tables()
        // Their names are values of its rows.
        .filter(|table| check_may_read(&view.snapshot, view.context.role_oid, table).is_ok())
        .flat_map(|table| partitions_of(table).into_iter().map(move |partition| (table, partition)))
        .collect();
    Columns::new()
        .text("schema_name", rows.iter().map(|(table, _)| table.name.schema.as_str()))
        .text("table_name", rows.iter().map(|(table, _)| table.name.table.as_str()))
        .text("partition", rows.iter().map(|(_, of)| of.name.as_str()))
        .int8("files", rows.iter().map(|(_, of)| count(of.files)))
        .int8("rows", rows.iter().map(|(_, of)| count(of.rows)))
        .int8("file_bytes", rows.iter().map(|(_, of)| count(of.file_bytes)))
        .int8("largest_file_bytes", rows.iter().map(|(_, of)| count(of.largest_file_bytes)))
        .finish()
}

/// Queries whose rows are kept, and whether what they read has changed since. That of tables over files that
/// others may change cannot be told: it is null.
pub fn materialized_views(view: &View) -> RecordBatch {
    let snapshot = &view.snapshot;
    let all: Vec<_> = snapshot.metadata().materialized.iter().collect();
    let table = |name| snapshot.table(name);
    let is_stale = |of: &Materialized| {
        let states = of.inputs.iter().map(|(schema, name, then)| {
            let now = snapshot.table(&TableName::new(schema.as_str(), name.as_str()));
            match (then, now.map(|table| table.contents())) {
                (_, None) => Some(true),
                (Some(then), Some(now)) => Some(now.as_ref() != Some(then)),
                (None, Some(_)) => None,
            }
        });
        let states: Vec<Option<bool>> = states.collect();
        if states.contains(&Some(true)) {
            Some(true)
        } else if states.contains(&None) {
            None
        } else {
            Some(false)
        }
    };
    Columns::new()
        .text("schema_name", all.iter().map(|(name, _)| name.schema.as_str()))
        .text("view_name", all.iter().map(|(name, _)| name.table.as_str()))
        .int8("snapshot", all.iter().map(|(_, of)| count(of.snapshot)))
        .optional_bool("is_stale", all.iter().map(|(_, of)| is_stale(of)))
        .int8("rows", all.iter().map(|(name, _)| count(table(name).map_or(0, |t| t.statistics.rows))))
        .int8("files", all.iter().map(|(name, _)| count(table(name).map_or(0, |t| t.statistics.files))))
        .int8(
            "file_bytes",
            all.iter().map(|(name, _)| count(table(name).map_or(0, |t| t.statistics.file_bytes))),
        )
        .text("definition", all.iter().map(|(_, of)| of.sql.as_str()))
        .finish()
}

/// The versions of the tables that this server writes, the newest last.
pub fn snapshots(view: &View) -> RecordBatch {
    let all = &view.context.snapshots;
    Columns::new()
        .int8("snapshot", all.iter().map(|row| i64::try_from(row.snapshot).unwrap_or(i64::MAX)))
        .time("committed_at", all.iter().map(|row| Some(row.committed_at)))
        .optional_text("changes", all.iter().map(|row| row.changes.as_ref()))
        .optional_text("author", all.iter().map(|row| row.author.as_ref()))
        .finish()
}
