//! Runs one task: a span, a count for the reports, and an error that survives the way back.
//!
//! Ballista reports a failed task as text, and decides by the error's type whether to run it again.
//! Every error is stamped here with its SQLSTATE and made to fail the job at once: whether anything is
//! run again is decided by the coordinator alone.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::serde::protobuf::{
    RuntimeStatsReport, ShuffleWritePartition, TaskColumnStats, WindowStateReport,
};
use ballista_executor::execution_engine::{DefaultExecutionEngine, ExecutionEngine, QueryStageExecutor};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::prelude::SessionConfig;
use engine::Error;
use tracing::{Instrument, debug, info_span};

use crate::client_pool::ClientPool;

/// How many tasks run, and have run, in this process.
#[derive(Debug, Default)]
pub struct TaskCounts {
    /// Tasks running now.
    pub running: AtomicUsize,
    /// Tasks finished since the start, failed ones included.
    pub finished: AtomicU64,
}

/// Makes stage executors that count, trace and stamp.
pub struct StageRunner {
    inner: DefaultExecutionEngine,
    counts: Arc<TaskCounts>,
}

impl StageRunner {
    /// A runner that keeps its counts in `counts`.
    pub fn new(counts: Arc<TaskCounts>) -> Self {
        let inner = DefaultExecutionEngine::with_client_pool(Arc::new(ClientPool::default()));
        Self { inner, counts }
    }
}

impl ExecutionEngine for StageRunner {
    fn create_query_stage_exec(
        &self,
        job_id: JobId,
        stage_id: usize,
        task_id: usize,
        global_output_partition_ids: Vec<usize>,
        plan: Arc<dyn ExecutionPlan>,
        work_dir: &str,
        config: &SessionConfig,
    ) -> Result<Arc<dyn QueryStageExecutor>> {
        let span = info_span!("task", job.id = %job_id, stage = stage_id, task = task_id);
        let inner = self
            .inner
            .create_query_stage_exec(
                job_id,
                stage_id,
                task_id,
                global_output_partition_ids,
                plan,
                work_dir,
                config,
            )
            .map_err(stamp)?;
        Ok(Arc::new(StageTask { inner, span, counts: Arc::clone(&self.counts) }))
    }
}

#[derive(Debug)]
struct StageTask {
    inner: Arc<dyn QueryStageExecutor>,
    span: tracing::Span,
    counts: Arc<TaskCounts>,
}

impl fmt::Display for StageTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl QueryStageExecutor for StageTask {
    async fn execute_query_stage(
        &self,
        task_id: usize,
        context: Arc<TaskContext>,
    ) -> Result<Vec<ShuffleWritePartition>> {
        let _running = Running::start(&self.counts);
        let result = self.inner.execute_query_stage(task_id, context).instrument(self.span.clone()).await;
        result.map_err(stamp)
    }

    fn collect_plan_metrics(&self) -> Vec<MetricsSet> {
        self.inner.collect_plan_metrics()
    }

    fn collect_runtime_stats_reports(&self) -> Vec<RuntimeStatsReport> {
        self.inner.collect_runtime_stats_reports()
    }

    fn collect_window_state_reports(&self) -> Result<Vec<WindowStateReport>> {
        self.inner.collect_window_state_reports()
    }

    fn collect_column_stats(&self) -> Vec<TaskColumnStats> {
        self.inner.collect_column_stats()
    }
}

/// Counts a task as running for as long as it lives, also when it is aborted.
struct Running<'a>(&'a TaskCounts);

impl<'a> Running<'a> {
    fn start(counts: &'a TaskCounts) -> Self {
        counts.running.fetch_add(1, Ordering::Relaxed);
        Self(counts)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
        self.0.finished.fetch_add(1, Ordering::Relaxed);
    }
}

fn stamp(error: DataFusionError) -> DataFusionError {
    let detail = error.to_string();
    let error = Error::from(error);
    debug!(sqlstate = %error.sqlstate(), detail, "task failed");
    DataFusionError::Execution(error.to_stamp())
}
