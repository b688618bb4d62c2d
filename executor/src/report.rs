//! Tells the coordinator twice a second how this executor does, on one long stream.
//!
//! The stream is the sign of life as well: the coordinator holds an executor for lost as soon as it
//! breaks, far sooner than by Ballista's heartbeats, which count whole seconds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_flight::FlightData;
use arrow_flight::flight_service_client::FlightServiceClient;
use engine::ExecutorId;
use engine::runtime::NodeRuntime;
use engine::telemetry::{ExecutorReport, REPORT_INTERVAL};
use futures::StreamExt;
use tokio_stream::wrappers::IntervalStream;
use tonic::transport::Endpoint;
use tracing::{debug, warn};

use crate::stage_runner::TaskCounts;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RECONNECT_WAIT: Duration = Duration::from_millis(500);

/// What the reports are made from.
pub struct Reporter {
    /// This executor.
    pub executor_id: ExecutorId,
    /// Partitions computed at once.
    pub threads: usize,
    /// Folders under which local tables can be read.
    pub shared_paths: Vec<String>,
    /// Memory and spill files.
    pub runtime: NodeRuntime,
    /// Tasks.
    pub counts: Arc<TaskCounts>,
}

impl Reporter {
    /// Reports to `coordinator` (`HOST:PORT`) for as long as the process lives.
    pub async fn run(self: Arc<Self>, coordinator: String) {
        loop {
            match Arc::clone(&self).report_until_broken(&coordinator).await {
                Ok(()) => debug!("the coordinator closed the report stream"),
                Err(error) => warn!(%error, "cannot report to the coordinator"),
            }
            tokio::time::sleep(RECONNECT_WAIT).await;
        }
    }

    async fn report_until_broken(
        self: Arc<Self>,
        coordinator: &str,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let endpoint = Endpoint::from_shared(format!("http://{coordinator}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(1))
            .keep_alive_timeout(Duration::from_secs(2))
            .keep_alive_while_idle(true);
        let stops = Arc::clone(&self.counts.stops);
        let mut client = FlightServiceClient::new(endpoint.connect().await?);
        let reports =
            IntervalStream::new(tokio::time::interval(REPORT_INTERVAL)).map(move |_| self.message());
        let mut answers = client.do_put(reports).await?.into_inner();
        // What comes back are jobs that are to stop.
        while let Some(answer) = answers.message().await? {
            if let Ok(job) = std::str::from_utf8(&answer.app_metadata) {
                stops.stop(job);
            }
        }
        Ok(())
    }

    fn message(&self) -> FlightData {
        let report = ExecutorReport {
            executor_id: self.executor_id.clone(),
            process_id: std::process::id(),
            threads: self.threads,
            memory_cap_bytes: self.runtime.pool.cap().0,
            resident_bytes: self.runtime.pool.resident_bytes(),
            pool_reserved_bytes: self.runtime.env.memory_pool.reserved() as u64,
            pool_limit_bytes: self.runtime.pool.limit_bytes() as u64,
            spilled_bytes: self.runtime.spilled_bytes(),
            tasks_running: self.counts.running.load(Ordering::Relaxed),
            tasks_finished: self.counts.finished.load(Ordering::Relaxed),
            shared_paths: self.shared_paths.clone(),
        };
        let body = serde_json::to_vec(&report).expect("a report is plain data");
        FlightData::new().with_app_metadata(body)
    }
}
