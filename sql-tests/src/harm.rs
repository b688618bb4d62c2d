//! What statements that do harm leave behind: how large processes have been, whether they still compute, how long others
//! waited meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::Client;

/// The largest resident size that a process has had, in MB.
pub fn peak_mb(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the kernel tells");
    line.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") >> 10
}

/// What the process has computed so far.
fn computed(process: u32) -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process runs");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    let ticks: Vec<u32> =
        after_name.split_ascii_whitespace().skip(11).take(2).map(|n| n.parse().expect("a number")).collect();
    TICK * (ticks[0] + ticks[1])
}

/// Waits until none of the processes computes, and tells how long that took.
pub async fn idle(processes: &[u32]) -> Duration {
    const LOOK: Duration = Duration::from_millis(100);
    let started = Instant::now();
    let mut before: Vec<Duration> = processes.iter().map(|process| computed(*process)).collect();
    loop {
        let looked = Instant::now();
        tokio::time::sleep(LOOK).await;
        let now: Vec<Duration> = processes.iter().map(|process| computed(*process)).collect();
        // The one that asks for SELECT 1, heartbeats and the dashboard take a part.
        let is_idle = |(now, before): (&Duration, &Duration)| *now - *before < looked.elapsed() / 3;
        if now.iter().zip(&before).all(is_idle) {
            return started.elapsed().saturating_sub(LOOK);
        }
        if started.elapsed() > Duration::from_secs(60) {
            return started.elapsed();
        }
        before = now;
    }
}

/// Asks for `SELECT 1` again and again, until it is stopped.
pub struct Prober {
    stop: Arc<AtomicBool>,
    waits: JoinHandle<Vec<Duration>>,
}

impl Prober {
    /// Begins to ask.
    pub fn start(client: Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let waits = tokio::spawn(async move {
            let mut waits = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let asked = Instant::now();
                client.simple_query("select 1").await.expect("an answer");
                waits.push(asked.elapsed());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            waits
        });
        Self { stop, waits }
    }

    /// How long it waited: in half of the times, in 99 of 100, at most.
    pub async fn stop(self) -> [Duration; 3] {
        self.stop.store(true, Ordering::Relaxed);
        let mut waits = self.waits.await.expect("no panic");
        waits.sort();
        let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
        [at(0.5), at(0.99), at(1.0)]
    }
}
