//! `EXPLAIN`: where a query runs and why, what it is expected to take, and with ANALYZE what it took.

mod json;
mod text;

use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use engine::{Error, Result};

use super::attempts;
use super::log::RecordHandle;
use super::plan::{Plan, Planner};
use super::route::Choice;
use super::{Permit, QueryContext, Rows};
use crate::profile::Profile;
use crate::sql::Explain;

/// What is shown of one query.
struct Explained {
    explain: Explain,
    route: String,
    profile: Profile,
    /// The plan as DataFusion prints it, when that was asked for.
    plan: Option<String>,
    /// From the first to the last row, when it has run.
    execution_ms: Option<f64>,
    rows: u64,
}

/// The columns of `EXPLAIN`.
pub fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("QUERY PLAN", DataType::Utf8, false)]))
}

/// Explains `choice`, which its account has been begun with.
pub fn planned(context: &QueryContext, choice: &Choice, explain: Explain) -> Result<Rows> {
    let mut explained = Explained::new(choice, explain);
    explained.profile = context.profile.snapshot();
    explained.rows()
}

/// Runs `choice`, and explains what it did.
pub async fn analyzed(
    context: &QueryContext,
    planner: &Arc<Planner>,
    choice: Choice,
    explain: Explain,
    permit: Permit,
    record: &RecordHandle,
) -> Result<Rows> {
    let mut explained = Explained::new(&choice, explain);
    let began_at = Instant::now();
    let mut rows = attempts::run(context, planner, choice, permit, record, |plan, _| Ok(plan)).await?;
    while let Some(batch) = rows.next().await {
        explained.rows += batch?.num_rows() as u64;
    }
    explained.execution_ms = Some(began_at.elapsed().as_secs_f64() * 1000.0);
    record.linter().after();
    context.profile.end(true);
    // It may have moved.
    explained.route = context.last_route.lock().clone();
    explained.profile = context.profile.snapshot();
    explained.rows()
}

impl Explained {
    fn new(choice: &Choice, explain: Explain) -> Self {
        Self {
            explain,
            route: choice.route.to_string(),
            profile: Profile::default(),
            plan: explain.is_verbose.then(|| shown(&choice.plan)),
            execution_ms: None,
            rows: 0,
        }
    }

    /// In the form that was asked for.
    fn rows(&self) -> Result<Rows> {
        let lines = if self.explain.is_json { vec![json::document(self)?] } else { text::lines(self) };
        let batch = RecordBatch::try_new(columns(), vec![Arc::new(StringArray::from(lines))])
            .map_err(|error| Error::internal(error.to_string()))?;
        Ok(Rows::of_batch(batch))
    }
}

/// The plan as DataFusion prints it. Where files lie is the server's own business; their names are enough to tell them
/// apart.
fn shown(plan: &Plan) -> String {
    let text = DisplayableExecutionPlan::new(plan.physical.as_ref()).indent(false).to_string();
    let folders = plan.tables.iter().filter_map(|table| folder_of(&table.location));
    folders.fold(text, |text, folder| text.replace(folder.as_str(), ""))
}

/// `data/lake/` of `file:///data/lake/orders.parquet`, as plans show it.
fn folder_of(location: &str) -> Option<String> {
    let (_, after_scheme) = location.split_once("://")?;
    let (_, path) = after_scheme.split_once('/')?;
    let (folder, _) = path.trim_end_matches('/').rsplit_once('/')?;
    Some(format!("{folder}/"))
}
