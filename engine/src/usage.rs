//! What this process takes of its machine: processors, disk, and the network it shares.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use sysinfo::{Networks, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Between two looks, in the mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Processors kept busy by this process.
    pub cpu_cores: f64,
    /// Bytes a second that this process reads from disks and writes to them.
    pub disk_bytes_per_second: u64,
    /// Bytes a second that the machine, or the container, receives and sends, but for what it tells itself.
    pub network_bytes_per_second: u64,
}

/// Looks at it from time to time.
pub struct UsageMeter {
    system: System,
    networks: Networks,
    pid: Option<Pid>,
    looked_at: Instant,
}

impl Default for UsageMeter {
    fn default() -> Self {
        let mut meter = Self {
            system: System::new(),
            networks: Networks::new_with_refreshed_list(),
            pid: sysinfo::get_current_pid().ok(),
            looked_at: Instant::now(),
        };
        meter.look();
        meter
    }
}

impl std::fmt::Debug for UsageMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UsageMeter").finish_non_exhaustive()
    }
}

impl UsageMeter {
    /// Since the last look. Takes well under a millisecond.
    pub fn look(&mut self) -> Usage {
        let seconds = self.looked_at.elapsed().as_secs_f64().max(0.001);
        self.looked_at = Instant::now();
        self.networks.refresh(false);
        let elsewhere = self.networks.iter().filter(|(name, _)| name.as_str() != "lo");
        let network: u64 = elsewhere.map(|(_, of)| of.received() + of.transmitted()).sum();
        let Some(pid) = self.pid else { return Usage::default() };
        let kind = ProcessRefreshKind::nothing().with_cpu().with_disk_usage().without_tasks();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, kind);
        let Some(process) = self.system.process(pid) else { return Usage::default() };
        let disk = process.disk_usage();
        Usage {
            cpu_cores: f64::from(process.cpu_usage()) / 100.0,
            disk_bytes_per_second: ((disk.read_bytes + disk.written_bytes) as f64 / seconds) as u64,
            network_bytes_per_second: (network as f64 / seconds) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_thread_is_seen() {
        let mut meter = UsageMeter::default();
        let until = Instant::now() + sysinfo::MINIMUM_CPU_UPDATE_INTERVAL * 2;
        while Instant::now() < until {
            std::hint::black_box(0);
        }
        let usage = meter.look();
        assert!(usage.cpu_cores > 0.2 && usage.cpu_cores < 1000.0, "{usage:?}");
    }
}
