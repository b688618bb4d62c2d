//! Reads what an earlier stage left, the parts of other executors as they arrive.
//!
//! Ballista's reader collects each remote part whole before it gives the first row of it, decoded and undeclared: at
//! a cap of 256 MB a join of two large stages held 100 MB of them. Whoever asks for rows here holds a few batches.
//! Parts on this machine are read by Ballista's own reader, which streams them.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use ballista_core::client_pool::BallistaClientPool;
use ballista_core::error::BallistaError;
use ballista_core::execution_plans::ShuffleReaderExec;
use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::scheduler::PartitionLocation;
use ballista_core::utils::GrpcClientConfig;
use datafusion::arrow::compute::BatchCoalescer;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::internal_err;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, Time};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use rand::seq::SliceRandom;

/// Remote parts asked for at once: the next one's first bytes travel while one is read.
const PARTS_AHEAD: usize = 2;
const LARGE_BATCH_BYTES: usize = 1 << 20;

/// Puts this reader in the place of each of Ballista's in `plan`.
pub fn streaming(
    plan: Arc<dyn ExecutionPlan>,
    clients: &Arc<dyn BallistaClientPool>,
    work_dir: &str,
) -> Result<Arc<dyn ExecutionPlan>> {
    let replaced = plan.transform(|node| match node.downcast_ref::<ShuffleReaderExec>() {
        Some(reader) => Ok(Transformed::yes(Arc::new(StreamingShuffleReader {
            reader: reader.with_work_dir(work_dir.to_owned()),
            work_dir: work_dir.to_owned(),
            clients: Arc::clone(clients),
            metrics: ExecutionPlanMetricsSet::new(),
        }) as Arc<dyn ExecutionPlan>)),
        None => Ok(Transformed::no(node)),
    })?;
    Ok(replaced.data)
}

/// Ballista's reader, of which only the parts on this machine are left to itself.
struct StreamingShuffleReader {
    reader: ShuffleReaderExec,
    work_dir: String,
    clients: Arc<dyn BallistaClientPool>,
    metrics: ExecutionPlanMetricsSet,
}

impl fmt::Debug for StreamingShuffleReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamingShuffleReader").field("reader", &self.reader).finish_non_exhaustive()
    }
}

impl DisplayAs for StreamingShuffleReader {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.reader.fmt_as(t, f)
    }
}

impl ExecutionPlan for StreamingShuffleReader {
    fn name(&self) -> &str {
        self.reader.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.reader.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.reader.apply_expressions(f)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("a shuffle reader has no inputs") }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let partition = if self.reader.broadcast { 0 } else { partition };
        let Some(parts) = self.reader.partition.get(partition) else {
            return internal_err!("the stage read from has no partition {partition}");
        };
        let config = context.session_config();
        let reads_files = !config.ballista_shuffle_reader_force_remote_read();
        let is_here = |part: &PartitionLocation| {
            reads_files && part.path(&self.work_dir).is_ok_and(|path| path.exists())
        };
        let (here, mut elsewhere): (Vec<_>, Vec<_>) = parts.iter().cloned().partition(is_here);
        // So that tasks that start together do not all ask the same executor first.
        elsewhere.shuffle(&mut rand::rng());
        let schema = self.schema();
        let rows_max = config.batch_size();
        let metric = || MetricBuilder::new(&self.metrics);
        metric().counter("local_partitions", partition).add(here.len());
        metric().counter("remote_partitions", partition).add(elsewhere.len());
        let local = timed(self.local(here, &context), metric().subset_time("local_read_time", partition));
        let client_config = Arc::new(GrpcClientConfig::from(&config.ballista_config()));
        let remote = fetched(Arc::clone(&self.clients), client_config, elsewhere);
        let remote = timed(remote, metric().subset_time("fetch_time", partition));
        let rows = coalesced(local.chain(remote), Arc::clone(&schema), rows_max);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

impl StreamingShuffleReader {
    /// The rows of `parts`, which lie here. Each has a reader of its own, for one puts all that it reads together.
    fn local(
        &self,
        parts: Vec<PartitionLocation>,
        context: &Arc<TaskContext>,
    ) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static {
        let (stage_id, schema) = (self.reader.stage_id, self.schema());
        let (work_dir, context) = (self.work_dir.clone(), Arc::clone(context));
        let read = move |part| {
            let one = Partitioning::UnknownPartitioning(1);
            ShuffleReaderExec::try_new(stage_id, vec![vec![part]], Arc::clone(&schema), one)?
                .with_work_dir(work_dir.clone())
                .execute(0, Arc::clone(&context))
        };
        futures::stream::iter(parts).map(read).try_flatten()
    }
}

/// The same batches; adds to `time` how long each was waited for.
fn timed(
    batches: impl Stream<Item = Result<RecordBatch>> + Send,
    time: Time,
) -> impl Stream<Item = Result<RecordBatch>> + Send {
    let mut batches = Box::pin(batches);
    let mut asked_at = None;
    futures::stream::poll_fn(move |context| {
        let since = *asked_at.get_or_insert_with(Instant::now);
        let polled = batches.as_mut().poll_next(context);
        if polled.is_ready() {
            time.add_duration(since.elapsed());
            asked_at = None;
        }
        polled
    })
}

/// The rows of `parts`, one part after the other.
fn fetched(
    clients: Arc<dyn BallistaClientPool>,
    config: Arc<GrpcClientConfig>,
    parts: Vec<PartitionLocation>,
) -> impl Stream<Item = Result<RecordBatch>> + Send {
    futures::stream::iter(parts)
        .map(move |part| {
            let (clients, config) = (Arc::clone(&clients), Arc::clone(&config));
            async move { fetch(clients.as_ref(), &config, &part).await.map_err(lost) }
        })
        .buffered(PARTS_AHEAD)
        .try_flatten()
}

async fn fetch(
    clients: &dyn BallistaClientPool,
    config: &GrpcClientConfig,
    part: &PartitionLocation,
) -> std::result::Result<SendableRecordBatchStream, BallistaError> {
    let executor = &part.executor_meta;
    let mut client = clients.acquire(&executor.host, executor.port, config, None).await?;
    let stream =
        client.fetch_partition(&executor.id, &part.partition_id, part.file_id, part.layout(), false).await;
    if stream.is_err() {
        client.discard();
    }
    stream
}

/// Wrapped, so that it is found again as what it is: something passing.
fn lost(error: BallistaError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Parts hold batches as small as they were written; operators want them of `rows_max` rows. Those that take much
/// are given as they are: putting them together copies them.
fn coalesced(
    batches: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
    schema: SchemaRef,
    rows_max: usize,
) -> impl Stream<Item = Result<RecordBatch>> + Send {
    let state = Coalescing {
        batches: batches.boxed(),
        coalescer: BatchCoalescer::new(schema, rows_max),
        large: None,
        is_done: false,
    };
    futures::stream::try_unfold(state, |mut state| async move {
        Ok(state.next().await?.map(|batch| (batch, state)))
    })
}

struct Coalescing {
    batches: BoxStream<'static, Result<RecordBatch>>,
    coalescer: BatchCoalescer,
    /// Waits for those before it.
    large: Option<RecordBatch>,
    is_done: bool,
}

impl Coalescing {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.coalescer.next_completed_batch().or_else(|| self.large.take()) {
                return Ok(Some(batch));
            }
            if self.is_done {
                return Ok(None);
            }
            match self.batches.next().await.transpose()? {
                Some(batch) if batch.get_array_memory_size() > LARGE_BATCH_BYTES => {
                    self.coalescer.finish_buffered_batch()?;
                    self.large = Some(batch);
                }
                Some(batch) => self.coalescer.push_batch(batch)?,
                None => {
                    self.is_done = true;
                    self.coalescer.finish_buffered_batch()?;
                }
            }
        }
    }
}
