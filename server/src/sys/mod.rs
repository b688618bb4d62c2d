//! The system as SQL: the views of the schema `sys`. What they show is told column by column in [`reference`].

mod processes;
mod queries;
pub mod reference;
mod runs;
mod settings;
mod sign_ins;
mod tables;

use std::time::SystemTime;

use crate::pg_catalog::Builder;

pub use tables::{health, kind, partition_keys};

/// Every view of the schema.
pub static RELATIONS: &[(&str, Builder)] = &[
    ("caches", processes::caches),
    ("estimates", runs::estimates),
    ("exchanges", runs::exchanges),
    ("executors", processes::executors),
    ("failed_sign_ins", sign_ins::failed_sign_ins),
    ("lints", runs::lints),
    ("materialized_views", tables::materialized_views),
    ("memory", processes::memory),
    ("operators", runs::operators),
    ("partitions", tables::partitions),
    ("queries", queries::queries),
    ("recoveries", runs::recoveries),
    ("settings", settings::settings),
    ("snapshots", tables::snapshots),
    ("stages", runs::stages),
    ("tables", tables::tables),
    ("tasks", runs::tasks),
];

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A time in milliseconds since 1970.
fn micros_of(ms: f64) -> i64 {
    (ms * 1000.0) as i64
}

fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn optional_count(n: Option<u64>) -> Option<i64> {
    n.map(count)
}
