//! `EXPLAIN`: the route and its reason, then the plan that would run there.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use engine::operators::stoppable;
use engine::{Error, Result};
use tokio_util::sync::CancellationToken;

use super::route::{Choice, Route};
use super::{Permit, QueryContext, Rows, local};

/// The columns of `EXPLAIN`.
pub fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("QUERY PLAN", DataType::Utf8, false)]))
}

/// Explains `choice`; with ANALYZE, runs it here first and adds what was measured.
pub async fn run(
    context: &QueryContext,
    choice: Choice,
    explain: crate::sql::Explain,
    permit: Permit,
) -> Result<Rows> {
    let mut lines = vec![format!("Route: {}", choice.route)];
    if choice.estimate.input_bytes > 0 {
        lines.push(format!(
            "Input: {} in {} files",
            engine::ByteSize(choice.estimate.input_bytes),
            choice.estimate.files
        ));
    }
    let mut choice = choice;
    let stop = CancellationToken::new();
    if explain.is_analyze {
        // Done here, so that what ran is what is shown.
        choice.plan.physical = stoppable(choice.plan.physical, &stop)?;
    }
    let _stop = stop.drop_guard();
    let physical = Arc::clone(&choice.plan.physical);
    // Where files lie is the server's own business; their names are enough to tell them apart.
    let folders: Vec<String> =
        choice.plan.tables.iter().filter_map(|table| folder_of(&table.location)).collect();
    let shown = |text: String| folders.iter().fold(text, |text, folder| text.replace(folder.as_str(), ""));
    if explain.is_analyze {
        if matches!(choice.route, Route::Cluster(_)) {
            let message = "EXPLAIN ANALYZE of a distributed query is not supported: SET sluice.route = local";
            return Err(Error::NotSupported { message: message.into() });
        }
        let mut rows = local::run(context, choice.plan, permit).await?;
        while let Some(batch) = rows.next().await {
            batch?;
        }
        let plan = shown(DisplayableExecutionPlan::with_metrics(physical.as_ref()).indent(false).to_string());
        lines.extend(plan.lines().map(str::to_owned));
    } else {
        let plan = shown(DisplayableExecutionPlan::new(physical.as_ref()).indent(false).to_string());
        lines.extend(plan.lines().map(str::to_owned));
    }
    let batch = RecordBatch::try_new(columns(), vec![Arc::new(StringArray::from(lines))])
        .map_err(|error| Error::internal(error.to_string()))?;
    Ok(Rows::of_batch(batch))
}

/// `data/lake/` of `file:///data/lake/orders.parquet`, as plans show it.
fn folder_of(location: &str) -> Option<String> {
    let (_, after_scheme) = location.split_once("://")?;
    let (_, path) = after_scheme.split_once('/')?;
    let (folder, _) = path.trim_end_matches('/').rsplit_once('/')?;
    Some(format!("{folder}/"))
}
