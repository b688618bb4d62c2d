//! The last hour of each process, in samples five seconds apart.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use engine::usage::{Usage, UsageMeter};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Desk;
use crate::coordinator::Coordinator;
use crate::profile::now_ms;

const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// An hour.
const SAMPLES_MAX: usize = 720;
/// The processes that are remembered: one that was restarted often leaves many.
const PROCESSES_MAX: usize = 256;
/// The process that stands for the server itself.
const SERVER: &str = "server";

/// One process at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at_ms: f64,
    resident_bytes: u64,
    pool_reserved_bytes: u64,
    cached_bytes: u64,
    spilled_bytes: u64,
    usage: Usage,
    tasks_running: usize,
}

/// The samples, and the server's own use of its machine.
pub struct Samples {
    processes: Mutex<BTreeMap<String, VecDeque<Sample>>>,
    meter: Mutex<(UsageMeter, Usage, Instant)>,
}

impl Samples {
    /// Samples until `shutdown`.
    pub fn start(coordinator: &Arc<Coordinator>, shutdown: CancellationToken) -> Arc<Self> {
        let meter = Mutex::new((UsageMeter::default(), Usage::default(), Instant::now()));
        let samples = Arc::new(Self { processes: Mutex::default(), meter });
        let (this, coordinator) = (Arc::clone(&samples), Arc::clone(coordinator));
        tokio::spawn(async move {
            let mut turns = tokio::time::interval(SAMPLE_EVERY);
            turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    _ = turns.tick() => this.sample(&coordinator),
                }
            }
        });
        samples
    }

    /// What the server takes of its machine: since the last look, or the last one's answer when that was just now.
    pub fn usage(&self) -> Usage {
        const FRESH: Duration = Duration::from_millis(900);
        let mut meter = self.meter.lock();
        let (machine, usage, looked_at) = &mut *meter;
        if looked_at.elapsed() >= FRESH {
            *usage = machine.look();
            *looked_at = Instant::now();
        }
        *usage
    }

    fn sample(&self, coordinator: &Coordinator) {
        let at_ms = now_ms();
        let own = &coordinator.runtime;
        let (cached_bytes, cache_reserved) = own.stores.cached_bytes();
        let server = Sample {
            at_ms,
            resident_bytes: own.pool.resident_bytes(),
            pool_reserved_bytes: (own.env.memory_pool.reserved() as u64).saturating_sub(cache_reserved),
            cached_bytes,
            spilled_bytes: own.spilled_bytes(),
            usage: self.usage(),
            tasks_running: 0,
        };
        let members = coordinator.cluster.members();
        let executors = members.iter().map(|member| {
            let report = &member.report;
            let sample = Sample {
                at_ms,
                resident_bytes: report.resident_bytes,
                pool_reserved_bytes: report.pool_reserved_bytes.saturating_sub(report.cache_reserved_bytes),
                cached_bytes: report.cached_bytes,
                spilled_bytes: report.spilled_bytes,
                usage: report.usage,
                tasks_running: report.tasks_running,
            };
            (report.executor_id.to_string(), sample)
        });
        let mut processes = self.processes.lock();
        for (process, sample) in std::iter::once((SERVER.to_owned(), server)).chain(executors) {
            let samples = processes.entry(process).or_default();
            if samples.len() >= SAMPLES_MAX {
                samples.pop_front();
            }
            samples.push_back(sample);
        }
        let oldest = at_ms - (SAMPLE_EVERY * SAMPLES_MAX as u32).as_secs_f64() * 1000.0;
        processes.retain(|_, samples| samples.back().is_some_and(|sample| sample.at_ms > oldest));
        while processes.len() > PROCESSES_MAX {
            processes.pop_first();
        }
    }
}

/// The series of every process.
pub async fn series(State(desk): State<Desk>) -> Json<Value> {
    let processes = desk.samples.processes.lock();
    let series: serde_json::Map<String, Value> = processes
        .iter()
        .map(|(process, samples)| {
            let column = |of: fn(&Sample) -> f64| samples.iter().map(of).collect::<Vec<f64>>();
            let series = json!({
                "at_ms": column(|s| s.at_ms),
                "resident_bytes": column(|s| s.resident_bytes as f64),
                "pool_reserved_bytes": column(|s| s.pool_reserved_bytes as f64),
                "cached_bytes": column(|s| s.cached_bytes as f64),
                "spilled_bytes": column(|s| s.spilled_bytes as f64),
                "cpu_cores": column(|s| s.usage.cpu_cores),
                "network_bytes_per_second": column(|s| s.usage.network_bytes_per_second as f64),
                "disk_bytes_per_second": column(|s| s.usage.disk_bytes_per_second as f64),
                "tasks_running": column(|s| s.tasks_running as f64),
            });
            (process.clone(), series)
        })
        .collect();
    Json(json!({ "now_ms": now_ms(), "interval_ms": SAMPLE_EVERY.as_millis() as u64, "executors": series }))
}
