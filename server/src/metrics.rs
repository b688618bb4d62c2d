//! Figures for Prometheus, by its conventions for names and units.
//!
//! What only grows is counted as queries end. What goes up and down is looked at when it is asked for.

use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::coordinator::Coordinator;
use crate::profile::{Profile, TaskState};

/// Bounds of the histogram of times, in seconds: a light query takes milliseconds, a heavy one minutes.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
];

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    queries: IntCounterVec,
    durations: HistogramVec,
    queued: Histogram,
    rows: IntCounter,
    retries: IntCounter,
    tasks: IntCounterVec,
    exchanged_bytes: IntCounter,
    spilled_bytes_total: IntCounter,
    recoveries: IntCounter,
    lints: IntCounterVec,
    running: IntGauge,
    waiting: IntGauge,
    tasks_running: IntGauge,
    tasks_pending: IntGauge,
    connections: IntGauge,
    executors: IntGauge,
    slots: IntGauge,
    memory: IntGaugeVec,
    executor_cap: IntGaugeVec,
    executor_resident: IntGaugeVec,
    executor_tasks: IntGaugeVec,
}

/// One query, as it is counted when it ends.
pub struct Ended<'a> {
    /// `finished`, `failed` or `cancelled`.
    pub state: &'static str,
    /// `local`, `cluster`, or empty when it ended before that was decided.
    pub route: &'a str,
    /// How long it took.
    pub elapsed: Duration,
    /// Rows that its client was given.
    pub rows: u64,
    /// How often any of it was run again.
    pub retries: u32,
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let counter =
            |name: &str, help: &str| IntCounter::new(name, help).expect("a name that Prometheus takes");
        let counters = |name: &str, help: &str, label: &str| {
            IntCounterVec::new(Opts::new(name, help), &[label]).expect("names")
        };
        let gauge = |name: &str, help: &str| IntGauge::new(name, help).expect("a name that Prometheus takes");
        let gauges = |name: &str, help: &str, label: &str| {
            IntGaugeVec::new(Opts::new(name, help), &[label]).expect("names")
        };
        let histogram = |name: &str, help: &str| HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        let metrics = Self {
            queries: counters("sluice_queries_total", "Queries that have ended.", "state"),
            durations: HistogramVec::new(
                histogram(
                    "sluice_query_duration_seconds",
                    "From a query's start to its last row, or its failure.",
                ),
                &["route"],
            )
            .expect("names"),
            queued: Histogram::with_opts(histogram(
                "sluice_query_queued_seconds",
                "How long queries waited to be admitted.",
            ))
            .expect("names"),
            rows: counter("sluice_rows_sent_total", "Rows given to clients."),
            retries: counter("sluice_query_retries_total", "How often any of a query was run again."),
            tasks: counters("sluice_tasks_total", "Tasks on executors that have ended.", "state"),
            exchanged_bytes: counter(
                "sluice_exchanged_bytes_total",
                "Bytes that moved between stages on executors.",
            ),
            spilled_bytes_total: counter(
                "sluice_spilled_bytes_total",
                "Bytes written to disk for want of memory.",
            ),
            recoveries: counter("sluice_recoveries_total", "Losses that queries went on after."),
            lints: counters("sluice_lints_total", "What was found to make queries slow.", "code"),
            running: gauge("sluice_queries_running", "Queries that run."),
            waiting: gauge("sluice_queries_queued", "Queries that wait to be admitted."),
            tasks_running: gauge("sluice_tasks_running", "Tasks that run on executors."),
            tasks_pending: gauge("sluice_tasks_pending", "Tasks that could run and have no slot."),
            connections: gauge("sluice_connections", "Open connections of clients."),
            executors: gauge("sluice_executors_alive", "Executors that are alive."),
            slots: gauge("sluice_executor_slots", "Partitions that all executors compute at once."),
            memory: gauges("sluice_memory_bytes", "The server's memory.", "kind"),
            executor_cap: gauges(
                "sluice_executor_memory_cap_bytes",
                "The most an executor may have resident.",
                "executor",
            ),
            executor_resident: gauges(
                "sluice_executor_resident_bytes",
                "What an executor has resident.",
                "executor",
            ),
            executor_tasks: gauges(
                "sluice_executor_tasks_running",
                "Tasks that an executor runs.",
                "executor",
            ),
            registry,
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&self) {
        let all: Vec<Box<dyn prometheus::core::Collector>> = vec![
            Box::new(self.queries.clone()),
            Box::new(self.durations.clone()),
            Box::new(self.queued.clone()),
            Box::new(self.rows.clone()),
            Box::new(self.retries.clone()),
            Box::new(self.tasks.clone()),
            Box::new(self.exchanged_bytes.clone()),
            Box::new(self.spilled_bytes_total.clone()),
            Box::new(self.recoveries.clone()),
            Box::new(self.lints.clone()),
            Box::new(self.running.clone()),
            Box::new(self.waiting.clone()),
            Box::new(self.tasks_running.clone()),
            Box::new(self.tasks_pending.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.executors.clone()),
            Box::new(self.slots.clone()),
            Box::new(self.memory.clone()),
            Box::new(self.executor_cap.clone()),
            Box::new(self.executor_resident.clone()),
            Box::new(self.executor_tasks.clone()),
            Box::new(prometheus::process_collector::ProcessCollector::for_self()),
        ];
        for collector in all {
            self.registry.register(collector).expect("each is registered once");
        }
        // A state that has not come up yet is 0, not absent.
        for state in ["finished", "failed", "cancelled"] {
            self.queries.with_label_values(&[state]);
        }
        for state in [TaskState::Finished, TaskState::Failed, TaskState::Lost] {
            self.tasks.with_label_values(&[state.as_str()]);
        }
    }

    /// Counts a query that has ended.
    pub fn count(&self, ended: &Ended<'_>, profile: &Profile) {
        self.queries.with_label_values(&[ended.state]).inc();
        if !ended.route.is_empty() {
            self.durations.with_label_values(&[ended.route]).observe(ended.elapsed.as_secs_f64());
        }
        if let Some(ms) = profile.queued_ms {
            self.queued.observe(ms / 1000.0);
        }
        self.rows.inc_by(ended.rows);
        self.retries.inc_by(ended.retries.into());
        for task in &profile.tasks {
            self.tasks.with_label_values(&[task.state.as_str()]).inc();
        }
        if !profile.tasks.is_empty() {
            self.exchanged_bytes.inc_by(profile.exchanged_bytes());
        }
        self.spilled_bytes_total.inc_by(profile.spilled_bytes());
        self.recoveries.inc_by(profile.recoveries.len() as u64);
        for lint in &profile.lint_list {
            self.lints.with_label_values(&[lint.code.as_str()]).inc();
        }
    }

    /// All figures as Prometheus reads them.
    pub fn exposition(&self, coordinator: &Coordinator) -> String {
        self.look(coordinator);
        let mut text = Vec::new();
        let written = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        written.map(|()| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    fn look(&self, coordinator: &Coordinator) {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let waiting = coordinator.admission.positions().len();
        let (mut tasks_running, mut tasks_pending) = (0, 0);
        let running = coordinator.queries.running();
        for record in &running {
            let counts = record.profile.counts();
            tasks_running += counts.tasks_running;
            if record.route.starts_with("cluster") {
                tasks_pending += counts.tasks_ready;
            }
        }
        self.running.set(running.len().saturating_sub(waiting) as i64);
        self.waiting.set(waiting as i64);
        self.tasks_running.set(tasks_running as i64);
        self.tasks_pending.set(tasks_pending as i64);
        let (most, free) =
            (coordinator.config.limits.connections_max, coordinator.connections.available_permits());
        self.connections.set(most.saturating_sub(free) as i64);
        let own = &coordinator.runtime;
        let (cached, _) = own.stores.cached_bytes();
        for (kind, bytes) in [
            ("cap", own.pool.cap().0),
            ("resident", own.pool.resident_bytes()),
            ("pool_limit", own.pool.limit_bytes() as u64),
            ("pool_reserved", own.env.memory_pool.reserved() as u64),
            ("cached", cached),
            ("spilled_to_disk", own.spilled_bytes()),
        ] {
            self.memory.with_label_values(&[kind]).set(signed(bytes));
        }
        // Those that are gone are not told of any more.
        self.executor_cap.reset();
        self.executor_resident.reset();
        self.executor_tasks.reset();
        let members = coordinator.cluster.members();
        self.executors.set(members.len() as i64);
        self.slots.set(members.iter().map(|member| member.report.threads as i64).sum());
        for member in &members {
            let (report, id) = (&member.report, [member.report.executor_id.as_str()]);
            self.executor_cap.with_label_values(&id).set(signed(report.memory_cap_bytes));
            self.executor_resident.with_label_values(&id).set(signed(report.resident_bytes));
            self.executor_tasks.with_label_values(&id).set(report.tasks_running as i64);
        }
    }
}
