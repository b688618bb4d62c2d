//! Traces by OTLP: one for each query, whose identifier is the query's own.
//!
//! A trace is made when its query has ended, from the account of the run: the times of its tasks are those that executors
//! told. So one trace holds all of it, executors included, and nothing is sent while a query runs. The spans lie in each
//! other: connection (as far as this query took it), query, job, stage, task.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanId, SpanKind, Status, TraceContextExt, TraceId, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, IdGenerator, RandomIdGenerator, SdkTracer, SdkTracerProvider,
};
use parking_lot::Mutex;
use tracing::warn;

use crate::profile::{Profile, Stage, Task, TaskState, time_at};
use crate::query::QueryRecord;

/// Queries whose traces wait to be made.
const WAITING_MAX: usize = 1024;
/// Spans that wait to be sent: a query of many tasks has one for each.
const SPANS_WAITING_MAX: usize = 20_000;

thread_local! {
    /// The identifier of the trace that begins next on this thread.
    static NEXT_TRACE: Cell<Option<TraceId>> = const { Cell::new(None) };
}

/// Gives a trace the identifier of its query.
#[derive(Debug, Default)]
struct QueryIds(RandomIdGenerator);

impl IdGenerator for QueryIds {
    fn new_trace_id(&self) -> TraceId {
        NEXT_TRACE.take().unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}

/// Who asked.
#[derive(Debug, Clone, Default)]
pub struct Asker {
    /// Where the client is.
    pub address: String,
    /// What it calls itself.
    pub application_name: String,
}

/// Sends traces.
#[derive(Debug)]
pub struct Traces {
    sender: Mutex<Option<SyncSender<(QueryRecord, Asker)>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    provider: SdkTracerProvider,
    slower_than: Duration,
}

impl Traces {
    /// Sends those of queries that take longer than `slower_than` to `endpoint` (`http://HOST:4317`, OTLP over gRPC). Must be
    /// called within a Tokio runtime.
    pub fn start(endpoint: &str, slower_than: Duration) -> Result<Self, String> {
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build();
        let exporter = exporter.map_err(|error| error.to_string())?;
        let batches = BatchConfigBuilder::default().with_max_queue_size(SPANS_WAITING_MAX).build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_id_generator(QueryIds::default())
            .with_resource(Resource::builder().with_service_name("sluice").build())
            .build();
        let tracer = provider.tracer("sluice");
        let (sender, records) = sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("traces".into())
            .spawn(move || make(&tracer, &records))
            .map_err(|error| error.to_string())?;
        Ok(Self { sender: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)), provider, slower_than })
    }

    /// A query of `asker` has ended.
    pub fn ended(&self, record: &QueryRecord, asker: impl FnOnce() -> Asker) {
        let elapsed = record.ended_at.and_then(|end| end.duration_since(record.started_at).ok());
        if record.only_watches || elapsed.is_none_or(|elapsed| elapsed < self.slower_than) {
            return;
        }
        if let Some(sender) = &*self.sender.lock()
            && sender.try_send((record.clone(), asker())).is_err()
        {
            warn!(query.id = %record.id, "a query is not traced: too many wait for it");
        }
    }

    /// Sends what waits. Takes some seconds where the receiver does not answer.
    pub fn close(&self) {
        drop(self.sender.lock().take());
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
        if let Err(error) = self.provider.shutdown() {
            warn!(%error, "the last traces could not be sent");
        }
    }
}

fn make(tracer: &SdkTracer, records: &Receiver<(QueryRecord, Asker)>) {
    for (record, asker) in records {
        record.profile.read(|profile| trace(tracer, &record, &asker, profile));
    }
}

/// One span that is over, with what lies in it.
struct Span<'a> {
    name: String,
    kind: SpanKind,
    began: SystemTime,
    ended: SystemTime,
    attributes: Vec<KeyValue>,
    error: Option<&'a str>,
}

impl Span<'_> {
    fn within(self, tracer: &SdkTracer, parent: &Context) -> Context {
        let builder = tracer
            .span_builder(self.name)
            .with_kind(self.kind)
            .with_start_time(self.began)
            .with_attributes(self.attributes);
        let span = builder.start_with_context(tracer, parent);
        let context = parent.with_span(span);
        if let Some(error) = self.error {
            context.span().set_status(Status::error(error.to_owned()));
        }
        context.span().end_with_timestamp(self.ended);
        context
    }
}

fn trace(tracer: &SdkTracer, record: &QueryRecord, asker: &Asker, profile: &Profile) {
    let (began, ended) = (record.started_at, record.ended_at.unwrap_or(record.started_at));
    NEXT_TRACE.set(TraceId::from_hex(record.id.as_str()).ok());
    let connection = Span {
        name: "connection".to_owned(),
        kind: SpanKind::Server,
        began,
        ended,
        attributes: vec![
            KeyValue::new("session.id", i64::from(record.process_id)),
            KeyValue::new("user.name", record.user.clone()),
            KeyValue::new("network.peer.address", asker.address.clone()),
            KeyValue::new("application_name", asker.application_name.clone()),
        ],
        error: None,
    }
    .within(tracer, &Context::new());
    let error = record.error.as_ref().map(|(_, message)| message.as_str());
    let mut attributes = vec![
        KeyValue::new("db.system.name", "sluice"),
        KeyValue::new("db.query.text", record.sql.to_string()),
        KeyValue::new("query.id", record.id.to_string()),
        KeyValue::new("query.route", record.route.clone()),
        KeyValue::new("query.rows", signed(record.rows)),
        KeyValue::new("query.retries", i64::from(record.retries)),
    ];
    attributes.extend(
        record.error.as_ref().map(|(code, _)| KeyValue::new("db.response.status_code", code.clone())),
    );
    let query = Span { name: "query".to_owned(), kind: SpanKind::Internal, began, ended, attributes, error }
        .within(tracer, &connection);
    let parent = match (profile.tasks.front(), &profile.tasks) {
        (Some(first), tasks) => {
            let last = tasks.iter().filter_map(|task| task.ended_at_ms).fold(first.started_at_ms, f64::max);
            Span {
                name: "job".to_owned(),
                kind: SpanKind::Internal,
                began: time_at(first.started_at_ms),
                ended: time_at(last),
                attributes: vec![KeyValue::new("job.recoveries", profile.recoveries.len() as i64)],
                error: None,
            }
            .within(tracer, &query)
        }
        (None, _) => query,
    };
    for stage in &profile.stages {
        let Some(stage_began) = stage.started_at_ms else { continue };
        let stage_ended = stage_began + stage.elapsed_ms.unwrap_or(0.0);
        let context = stage_span(stage, stage_began, stage_ended).within(tracer, &parent);
        for task in profile.tasks.iter().filter(|task| task.stage_id == stage.stage_id) {
            task_span(task).within(tracer, &context);
        }
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn stage_span(stage: &Stage, began_ms: f64, ended_ms: f64) -> Span<'static> {
    Span {
        name: format!("stage {}", stage.stage_id),
        kind: SpanKind::Internal,
        began: time_at(began_ms),
        ended: time_at(ended_ms),
        attributes: vec![
            KeyValue::new("stage.id", stage.stage_id as i64),
            KeyValue::new("stage.partitions", stage.partitions as i64),
            KeyValue::new("stage.rows", signed(stage.rows.unwrap_or(0))),
            KeyValue::new("stage.bytes", signed(stage.bytes.unwrap_or(0))),
            KeyValue::new("stage.spilled_bytes", signed(stage.spilled_bytes.unwrap_or(0))),
        ],
        error: None,
    }
}

fn task_span(task: &Task) -> Span<'_> {
    let error = match task.state {
        TaskState::Failed => Some(task.error.as_deref().unwrap_or("the task failed")),
        TaskState::Lost => Some("the task was lost"),
        TaskState::Running | TaskState::Finished => None,
    };
    Span {
        name: format!("task {}.{}", task.stage_id, task.task_id),
        kind: SpanKind::Internal,
        began: time_at(task.started_at_ms),
        ended: time_at(task.ended_at_ms.unwrap_or(task.started_at_ms)),
        attributes: vec![
            KeyValue::new("executor.id", Arc::clone(&task.executor_id)),
            KeyValue::new("task.attempt", i64::from(task.attempt + task.run)),
            KeyValue::new("task.partitions", task.partitions.len() as i64),
            KeyValue::new("task.rows_read", signed(task.rows_read)),
            KeyValue::new("task.rows", signed(task.rows)),
            KeyValue::new("task.bytes", signed(task.bytes)),
            KeyValue::new("task.spilled_bytes", signed(task.spilled_bytes)),
            KeyValue::new("task.peak_bytes", signed(task.peak_bytes.unwrap_or(0))),
        ],
        error,
    }
}
