//! Runs a query whose rows go to files of a table: admit → plan → route → files.
//!
//! Whoever computes a partition of the rows writes it. What comes back is what each file holds, and nothing
//! of it counts until the catalog takes it in.

use std::fmt;
use std::sync::Arc;

use catalog::TableDefinition;
use catalog::lake::{ManagedTable, NewFile};
use catalog::stored_definition::schema_to_text;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::MemoryCatalogProviderList;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
use datafusion::physical_expr::projection::ProjectionExpr;
use datafusion::physical_expr::{
    LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr, ScalarFunctionExpr,
};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use engine::functions::partition;
use engine::operators::{PartitionColumn, WriteFiles, WriteTarget};
use engine::session_state::Destination;
use engine::{ByteSize, Error, Result};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use parking_lot::Mutex;

use super::estimate::Estimate;
use super::plan::{Plan, Planner};
use super::route::{self, Route};
use super::{QueryContext, Rows, local, log};
use crate::sql::Query;

/// What a query has written.
#[derive(Debug, Default)]
pub struct Written {
    /// The files, which nobody knows yet.
    pub files: Vec<NewFile>,
    /// True when it was run again: files of earlier runs may lie about.
    pub was_retried: bool,
}

impl Written {
    /// Rows in all files.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }
}

/// Writes the rows of `query` to files of `target`, whose columns they match by place. Dropping the future
/// stops the work, here and on every executor.
pub async fn write(
    context: &QueryContext,
    query: &Query,
    parameters: &[ScalarValue],
    target: &Arc<TableDefinition>,
) -> Result<Written> {
    let record = context.coordinator.queries.start(context);
    let outcome = tokio::select! {
        outcome = run(context, query, parameters, target, &record) => outcome,
        () = context.cancel.cancelled() => Err(Error::Cancelled),
    };
    match &outcome {
        Ok(_) => record.finish(),
        Err(error) => record.fail(error),
    }
    outcome
}

async fn run(
    context: &QueryContext,
    query: &Query,
    parameters: &[ScalarValue],
    target: &Arc<TableDefinition>,
    record: &log::RecordHandle,
) -> Result<Written> {
    let permit = context.coordinator.admission.admit().await?;
    let planner = Planner::new(context, query, parameters, Some(target))?;
    let choice = route::choose(context, &planner).await?;
    let told = |route: &Route| {
        *context.last_route.lock() = route.to_string();
        record.routed(route);
    };
    told(&choice.route);
    let mut rows = match choice.route {
        Route::Local(_) => {
            let plan = into_files(context, choice.plan, target, Some(choice.estimate))?;
            match local::run(context, plan, permit).await {
                Err(Error::OutOfMemory { message }) if choice.may_move_to_cluster => {
                    told(&Route::Cluster(format!("it did not fit in this process: {message}")));
                    let permit = context.coordinator.admission.admit().await?;
                    let plan = planner.plan_for_cluster(choice.estimate).await?;
                    let plan = into_files(context, plan, target, None)?;
                    context.coordinator.cluster.run(context, plan, permit).await?
                }
                outcome => outcome?,
            }
        }
        Route::Cluster(_) => {
            let plan = into_files(context, choice.plan, target, None)?;
            context.coordinator.cluster.run(context, plan, permit).await?
        }
    };
    let files = files(&mut rows).await?;
    let was_retried = record.retries() > 0;
    record.sent(files.iter().map(|file| file.rows as usize).sum());
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
        let permit = context.coordinator.admission.admit().await?;
        let route = Route::Local("its rows come from the client".to_owned());
        *context.last_route.lock() = route.to_string();
        record.routed(&route);
        let nullable = |field: Field| field.with_nullable(true);
        let schema = Arc::new(Schema::new(target.fields().into_iter().map(nullable).collect::<Vec<_>>()));
        let source =
            Arc::new(FromClient { schema: Arc::clone(&schema), rows: Mutex::new(Some(rows.boxed())) });
        let physical = Arc::new(StreamingTableExec::try_new(schema, vec![source], None, [], false, None)?);
        let settings = context.statement_settings(1);
        let catalogs = Arc::new(MemoryCatalogProviderList::new());
        let state = context.coordinator.sessions.for_statement(Destination::Local, catalogs, &settings);
        let plan = into_files(context, Plan { physical, state, tables: Vec::new() }, target, None)?;
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

async fn files(rows: &mut Rows) -> Result<Vec<NewFile>> {
    let mut files = Vec::new();
    while let Some(batch) = rows.next().await {
        files.extend(WriteFiles::files(&batch?)?);
    }
    Ok(files)
}

/// `plan` with its rows written to `target`. On this process `local` tells what it reads: a little goes to
/// one file, whoever computes it.
fn into_files(
    context: &QueryContext,
    plan: Plan,
    target: &Arc<TableDefinition>,
    local: Option<Estimate>,
) -> Result<Plan> {
    let managed = target.managed.as_deref().ok_or_else(|| Error::internal("a table has no files of ours"))?;
    let Plan { physical, state, mut tables } = plan;
    let columns = managed.current_columns().count();
    let width = physical.schema().fields().len();
    if width != columns {
        return Err(Error::internal(format!("{width} columns for a table of {columns}")));
    }
    let (physical, partition_by) = cut(physical, &state, managed)?;
    let physical = if partition_by.is_empty() { gathered(physical, local)? } else { physical };
    let physical = sorted(physical, managed, columns)?;
    let write = WriteTarget {
        folder: target.location.clone(),
        schema: schema_to_text(&managed.write_schema())?,
        partition_by,
        file_bytes_max: context.file_bytes_max,
        write_id: context.id.to_string(),
    };
    tables.push(Arc::clone(target));
    Ok(Plan { physical: Arc::new(WriteFiles::new(physical, write)?), state, tables })
}

/// Few rows in one file rather than in as many as there are partitions.
fn gathered(plan: Arc<dyn ExecutionPlan>, local: Option<Estimate>) -> Result<Arc<dyn ExecutionPlan>> {
    /// Decoded bytes read for each file written: on disk they are a quarter or less.
    const BYTES_PER_FILE: u64 = 4 * ByteSize::mib(128).0;
    let partitions = plan.output_partitioning().partition_count();
    let Some(estimate) = local else { return Ok(plan) };
    let wanted = estimate.input_bytes.div_ceil(BYTES_PER_FILE).clamp(1, partitions as u64) as usize;
    Ok(match wanted {
        wanted if wanted >= partitions => plan,
        1 => Arc::new(CoalescePartitionsExec::new(plan)),
        wanted => Arc::new(RepartitionExec::try_new(plan, Partitioning::RoundRobinBatch(wanted))?),
    })
}

/// `plan` with the values of the partition keys behind its columns, and all rows of one value in one
/// partition, together.
fn cut(
    plan: Arc<dyn ExecutionPlan>,
    state: &SessionState,
    managed: &ManagedTable,
) -> Result<(Arc<dyn ExecutionPlan>, Vec<PartitionColumn>)> {
    let Some(partitioning) = &managed.partitioning else { return Ok((plan, Vec::new())) };
    let schema = plan.schema();
    let mut outputs: Vec<ProjectionExpr> = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(at, field)| ProjectionExpr {
            expr: Arc::new(Column::new(field.name(), at)),
            alias: field.name().clone(),
        })
        .collect();
    let mut keys: Vec<PartitionColumn> = Vec::new();
    for (at, key) in partitioning.keys.iter().enumerate() {
        let found = managed.current_columns().enumerate().find(|(_, column)| column.id == key.column);
        let (place, stored) = found.ok_or_else(|| Error::internal("a partition key has no column"))?;
        let stored = &stored.field;
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(schema.field(place).name(), place));
        let word = key.transform.split('(').next().unwrap_or_default();
        let expr = match key.transform.as_str() {
            "identity" => column,
            transform => {
                // The value as it is stored is what is hashed.
                let value = Arc::new(CastExpr::new(column, stored.data_type().clone(), None));
                applied(state, transform, value)
            }
        };
        let name = if word == "identity" { stored.name().clone() } else { word.to_owned() };
        let is_taken = keys.iter().any(|key| key.name == name);
        let name = if is_taken { format!("{name}_{}", stored.name()) } else { name };
        outputs.push(ProjectionExpr { expr, alias: format!("partition key {at}") });
        keys.push(PartitionColumn { key: at as i64, name });
    }
    let columns = schema.fields().len();
    let plan: Arc<dyn ExecutionPlan> = Arc::new(ProjectionExec::try_new(outputs, plan)?);
    let values = || (columns..columns + keys.len()).map(|at| key_column(&plan, at));
    let partitions = plan.output_partitioning().partition_count();
    let hashed = Partitioning::Hash(values().collect(), partitions);
    let plan: Arc<dyn ExecutionPlan> =
        if partitions > 1 { Arc::new(RepartitionExec::try_new(Arc::clone(&plan), hashed)?) } else { plan };
    Ok((plan, keys))
}

fn key_column(plan: &Arc<dyn ExecutionPlan>, at: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(plan.schema().field(at).name(), at))
}

/// A call of the transform.
fn applied(state: &SessionState, transform: &str, value: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    let function = partition::function();
    let transform = Arc::new(Literal::new(ScalarValue::Utf8(Some(transform.to_owned()))));
    let field = Arc::new(Field::new(function.name(), DataType::Int64, true));
    let name = function.name().to_owned();
    let options = Arc::clone(state.config_options());
    Arc::new(ScalarFunctionExpr::new(&name, function, vec![transform, value], field, options))
}

/// The rows of each partition in the order of the table: by its partition keys, which cut them into files,
/// then as it says.
fn sorted(
    plan: Arc<dyn ExecutionPlan>,
    managed: &ManagedTable,
    columns: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut order: Vec<PhysicalSortExpr> = (columns..plan.schema().fields().len())
        .map(|at| PhysicalSortExpr { expr: key_column(&plan, at), options: SortOptions::default() })
        .collect();
    for sort in &managed.sort {
        let at = managed.current_columns().position(|column| *column.field.name() == sort.column);
        if let Some(at) = at {
            let options = SortOptions { descending: sort.is_descending, nulls_first: sort.nulls_first };
            order.push(PhysicalSortExpr { expr: key_column(&plan, at), options });
        }
    }
    Ok(match LexOrdering::new(order) {
        None => plan,
        Some(order) => Arc::new(SortExec::new(order, plan).with_preserve_partitioning(true)),
    })
}
