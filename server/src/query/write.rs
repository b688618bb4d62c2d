//! Runs a query whose rows go to files: admit → plan → route → files.
//!
//! Whoever computes a partition of the rows writes it. What comes back is what each file holds, and nothing
//! of it counts until it is committed: by the catalog, or where the files lie.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use catalog::TableDefinition;
use catalog::lake::NewFile;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::MemoryCatalogProviderList;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use engine::operators::{WriteFiles, WrittenFile};
use engine::session_state::Destination;
use engine::{Error, Result};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use parking_lot::Mutex;

use super::estimate::Estimate;
use super::files::{Input, Sink, into_files, into_table, without_rows};
use super::plan::{Plan, Planner};
use super::route::{self, Choice, Route};
use super::{Permit, QueryContext, Rows, attempts, history, local, log};
use crate::sql::{Explain, Query};

/// What a query has written.
#[derive(Debug, Default)]
pub struct Written {
    /// The files, which nobody knows yet.
    pub files: Vec<WrittenFile>,
    /// True when it was run again: files of earlier runs may lie about.
    pub was_retried: bool,
}

impl Written {
    /// Rows in all files.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|written| written.file.rows).sum()
    }

    /// The files as a table takes them in.
    pub fn table_files(&self) -> Vec<NewFile> {
        self.files.iter().map(|written| written.file.clone()).collect()
    }
}

/// Writes the rows of `query` to `sink`. Dropping the future stops the work, here and on every executor.
pub async fn write(
    context: &QueryContext,
    query: &Query,
    parameters: &[ScalarValue],
    sink: &Sink,
) -> Result<Written> {
    let record = context.coordinator.queries.start(context);
    let then = history::with_history(context, query).await;
    let then = then.inspect_err(|error| record.fail(error))?;
    let context = then.as_ref().unwrap_or(context);
    let outcome = tokio::select! {
        outcome = run(context, query, parameters, sink, &record) => outcome,
        () = context.cancel.cancelled() => Err(Error::Cancelled),
    };
    match &outcome {
        Ok(_) => record.finish(),
        Err(error) => record.fail(error),
    }
    outcome
}

/// What writing the rows of `query` to `sink` is expected to take.
pub async fn explain(
    context: &QueryContext,
    query: &Query,
    parameters: &[ScalarValue],
    sink: &Sink,
    explain: Explain,
) -> Result<Rows> {
    let record = context.coordinator.queries.start(context);
    let outcome = tokio::select! {
        outcome = explained(context, query, parameters, sink, explain, &record) => outcome,
        () = context.cancel.cancelled() => Err(Error::Cancelled),
    };
    match &outcome {
        Ok(_) => record.finish(),
        Err(error) => record.fail(error),
    }
    outcome
}

async fn explained(
    context: &QueryContext,
    query: &Query,
    parameters: &[ScalarValue],
    sink: &Sink,
    explain: Explain,
    record: &log::RecordHandle,
) -> Result<Rows> {
    let then = history::with_history(context, query).await?;
    let context = then.as_ref().unwrap_or(context);
    let (_permit, _, mut choice) = chosen(context, query, parameters, sink, record).await?;
    let input = Input { estimate: choice.estimate, on: choice.route.destination() };
    choice.plan = into_files(context, choice.plan, query, sink, input)?;
    attempts::account(context, &choice.route, &choice.plan, true);
    super::explain::planned(context, &choice, explain)
}

/// Admits and plans `query`, whose rows go to `sink`.
async fn chosen(
    context: &QueryContext,
    query: &Query,
    parameters: &[ScalarValue],
    sink: &Sink,
    record: &log::RecordHandle,
) -> Result<(Permit, Arc<Planner>, Choice)> {
    let began_at = Instant::now();
    let permit = context.admit(query).await?;
    context.profile.admitted(began_at.elapsed().as_secs_f64() * 1000.0);
    let planned_at = Instant::now();
    let planner = Planner::new(context, query, parameters, Some(sink.place()))?;
    let choice = route::choose(context, &planner).await?;
    context.profile.was_planned(planned_at.elapsed().as_secs_f64() * 1000.0);
    *context.last_route.lock() = choice.route.to_string();
    record.routed(&choice.route);
    Ok((permit, planner, choice))
}

async fn run(
    context: &QueryContext,
    query: &Query,
    parameters: &[ScalarValue],
    sink: &Sink,
    record: &log::RecordHandle,
) -> Result<Written> {
    let (permit, planner, choice) = chosen(context, query, parameters, sink, record).await?;
    let columns = choice.plan.physical.schema();
    let estimate = choice.estimate;
    let into = |plan: Plan, on| into_files(context, plan, query, sink, Input { estimate, on });
    let turn = permit.clone();
    let permit = context.reserve(permit, &choice.route, estimate).await?;
    let mut rows = attempts::run(context, &planner, choice, permit, record, into).await?;
    let mut files = files(&mut rows).await?;
    if files.is_empty()
        && let Some(plan) = without_rows(local_state(context), &columns, query, sink)?
    {
        // One file with no rows in it, for a query that has had its turn.
        files = self::files(&mut local::run(context, plan, turn).await?).await?;
    }
    let was_retried = record.retries() > 0;
    record.sent(files.iter().map(|written| written.file.rows as usize).sum());
    Ok(Written { files, was_retried })
}

/// Writes `rows`, which have the columns of `target`, in this process.
pub async fn write_rows(
    context: &QueryContext,
    rows: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
    target: &Arc<TableDefinition>,
) -> Result<Written> {
    let record = context.coordinator.queries.start(context);
    let work = async {
        let permit = context.slot().await?;
        let route = Route::Local("its rows come from the client".to_owned());
        *context.last_route.lock() = route.to_string();
        record.routed(&route);
        let nullable = |field: Field| field.with_nullable(true);
        let schema = Arc::new(Schema::new(target.fields().into_iter().map(nullable).collect::<Vec<_>>()));
        let source =
            Arc::new(FromClient { schema: Arc::clone(&schema), rows: Mutex::new(Some(rows.boxed())) });
        let physical = Arc::new(StreamingTableExec::try_new(schema, vec![source], None, [], false, None)?);
        let plan = Plan { physical, state: local_state(context), tables: Vec::new(), is_small: false };
        let plan = into_table(
            context,
            plan,
            target,
            None,
            Input { estimate: Estimate::default(), on: Destination::Local },
        )?;
        let mut rows = local::run(context, plan, permit).await?;
        let files = files(&mut rows).await?;
        Ok(Written { files, was_retried: false })
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = context.cancel.cancelled() => Err(Error::Cancelled),
    };
    match &outcome {
        Ok(_) => record.finish(),
        Err(error) => record.fail(error),
    }
    outcome
}

/// Rows that can be taken once.
struct FromClient {
    schema: SchemaRef,
    rows: Mutex<Option<BoxStream<'static, Result<RecordBatch>>>>,
}

impl fmt::Debug for FromClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromClient").finish_non_exhaustive()
    }
}

impl PartitionStream for FromClient {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().take().unwrap_or_else(|| {
            let taken = Error::internal("the client's rows were taken already");
            futures::stream::once(async { Err(taken) }).boxed()
        });
        let rows = rows.map_err(|error| DataFusionError::External(Box::new(error)));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows))
    }
}

/// A session for a plan that reads no table.
fn local_state(context: &QueryContext) -> SessionState {
    let catalogs = Arc::new(MemoryCatalogProviderList::new());
    let settings = context.statement_settings(1);
    context.coordinator.sessions.for_statement(Destination::Local, catalogs, &settings)
}

async fn files(rows: &mut Rows) -> Result<Vec<WrittenFile>> {
    let mut files = Vec::new();
    while let Some(batch) = rows.next().await {
        files.extend(WriteFiles::files(&batch?)?);
    }
    Ok(files)
}
