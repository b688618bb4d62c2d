//! What operators count, from the metrics of DataFusion here and as executors send them.

use std::collections::BTreeMap;

use ballista_core::serde::protobuf::OperatorMetricsSet;
use ballista_core::serde::protobuf::operator_metric::Metric;
use datafusion::physical_plan::metrics::{MetricValue, MetricsSet};
use engine::cache_counts::{FETCHED, FROM_CACHE};

use super::Operator;

/// What one operator, or one task of it, has counted.
#[derive(Debug, Default, Clone)]
pub struct Measured {
    /// Rows that it gave.
    pub rows: u64,
    /// Bytes that it gave, where it counts them.
    pub bytes: Option<u64>,
    /// What it computed for, in nanoseconds.
    pub compute_ns: u64,
    /// Bytes written to disk for want of memory.
    pub spilled_bytes: u64,
    /// Counts, sizes and times (in nanoseconds) by name.
    pub named: BTreeMap<String, u64>,
}

/// Counts that a reader of a plan can do something with. Others are about DataFusion's own works.
const TOLD: &[&str] = &[
    "bytes_scanned",
    FROM_CACHE,
    FETCHED,
    "files_ranges_pruned_statistics_matched",
    "files_ranges_pruned_statistics_pruned",
    "row_groups_pruned_statistics_matched",
    "row_groups_pruned_statistics_pruned",
    "row_groups_pruned_bloom_filter_pruned",
    "page_index_rows_pruned_pruned",
    "pushdown_rows_pruned",
    "build_input_rows",
    "build_mem_used",
    "fetch_retries",
    "remote_partitions",
    "local_partitions",
    "decoded_bytes",
    "spill_count",
];

impl Measured {
    /// From the metrics of a plan in this process.
    pub fn of_plan(metrics: &MetricsSet) -> Self {
        let mut measured = Self::default();
        for metric in metrics.iter() {
            match metric.value() {
                MetricValue::OutputRows(count) => measured.rows += count.value() as u64,
                MetricValue::OutputBytes(count) => {
                    *measured.bytes.get_or_insert(0) += count.value() as u64;
                }
                MetricValue::ElapsedCompute(time) => measured.compute_ns += time.value() as u64,
                MetricValue::SpilledBytes(count) => measured.spilled_bytes += count.value() as u64,
                MetricValue::SpillCount(count) => measured.add("spill_count", count.value() as u64),
                MetricValue::Count { name, count } => measured.add(name, count.value() as u64),
                MetricValue::Gauge { name, gauge } | MetricValue::PeakMemoryUsage { name, gauge } => {
                    measured.add(name, gauge.value() as u64);
                }
                MetricValue::Time { name, time } => measured.add(name, time.value() as u64),
                MetricValue::PruningMetrics { name, pruning_metrics } => {
                    measured.add(&format!("{name}_pruned"), pruning_metrics.pruned() as u64);
                    measured.add(&format!("{name}_matched"), pruning_metrics.matched() as u64);
                }
                _ => {}
            }
        }
        measured.count_reading();
        measured
    }

    /// From the metrics of one task.
    pub fn of_task(metrics: &OperatorMetricsSet) -> Self {
        let mut measured = Self::default();
        for metric in metrics.metrics.iter().filter_map(|metric| metric.metric.as_ref()) {
            match metric {
                Metric::OutputRows(rows) => measured.rows += rows,
                Metric::OutputBytes(bytes) => *measured.bytes.get_or_insert(0) += bytes,
                Metric::ElapseTime(nanos) => measured.compute_ns += nanos,
                Metric::SpilledBytes(bytes) => measured.spilled_bytes += bytes,
                Metric::SpillCount(count) => measured.add("spill_count", *count),
                Metric::Count(named) => measured.add(&named.name, named.value),
                Metric::Gauge(named) => measured.add(&named.name, named.value),
                Metric::Time(named) => measured.add(&named.name, named.value),
                Metric::PruningMetrics(named) => {
                    measured.add(&format!("{}_pruned", named.name), named.pruned);
                    measured.add(&format!("{}_matched", named.name), named.matched);
                }
                _ => {}
            }
        }
        // The shuffle writer has a name of its own for it.
        measured.spilled_bytes += measured.named("spill_bytes");
        measured.compute_ns += measured.named("repart_time") + measured.named("write_time");
        measured.count_reading();
        measured
    }

    /// Scans have a name of their own for the time in which they decode and filter.
    fn count_reading(&mut self) {
        self.compute_ns += self.named("time_elapsed_processing");
    }

    fn add(&mut self, name: &str, value: u64) {
        *self.named.entry(name.to_owned()).or_default() += value;
    }

    /// The count of that name; 0 when there is none.
    pub fn named(&self, name: &str) -> u64 {
        self.named.get(name).copied().unwrap_or(0)
    }

    /// The time of that name, in milliseconds.
    pub fn named_ms(&self, name: &str) -> f64 {
        self.named(name) as f64 / 1e6
    }

    /// What is remembered of one task's operator.
    pub fn slim(&self) -> SlimMeasured {
        let named = TOLD.iter().enumerate().filter_map(|(at, name)| {
            let value = self.named(name);
            (value > 0).then_some((at as u8, value))
        });
        SlimMeasured {
            rows: self.rows,
            bytes: self.bytes,
            compute_ns: self.compute_ns,
            spilled_bytes: self.spilled_bytes,
            named: named.collect(),
        }
    }

    /// Adds what was counted to `operator`.
    pub fn add_to(&self, operator: &mut Operator) {
        self.slim().add_to(operator);
    }
}

/// The counts that a reader of a plan can do something with, by their places in [`TOLD`]: there may be one for each
/// operator of each task.
#[derive(Debug, Default, Clone)]
pub struct SlimMeasured {
    rows: u64,
    bytes: Option<u64>,
    compute_ns: u64,
    spilled_bytes: u64,
    named: Box<[(u8, u64)]>,
}

impl SlimMeasured {
    /// Adds what was counted to `operator`.
    pub fn add_to(&self, operator: &mut Operator) {
        *operator.rows.get_or_insert(0) += self.rows;
        if let Some(bytes) = self.bytes {
            *operator.bytes.get_or_insert(0) += bytes;
        }
        *operator.compute_ms.get_or_insert(0.0) += self.compute_ns as f64 / 1e6;
        if self.spilled_bytes > 0 {
            *operator.spilled_bytes.get_or_insert(0) += self.spilled_bytes;
        }
        for (at, value) in &self.named {
            let name = TOLD[usize::from(*at)];
            match operator.counts.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known += value,
                None => operator.counts.push((name.to_owned(), *value)),
            }
        }
    }
}
