//! `DISTRIBUTE BY`: an exchange that a statement asks for, so many partitions by the hash of columns, or of about one
//! size.
//!
//! DataFusion's rules take every exchange of a plan out and put in what they need, so an asked-for one is hidden from
//! them in an operator of ours, and becomes an exchange when they are done. They are told nothing of how it cuts the
//! rows: nothing above relies on it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, Partitioning as LogicalPartitioning, Repartition, UserDefinedLogicalNode,
    UserDefinedLogicalNodeCore,
};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExpr;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr, PhysicalExprRef};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use crate::operators::NumberRows;
use crate::recorded_partitioning;

/// `plan` with the exchanges that its statement asks for hidden from the optimizer.
pub fn kept(plan: LogicalPlan) -> Result<LogicalPlan> {
    let hidden = plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::Repartition(Repartition {
            input,
            partitioning_scheme: LogicalPartitioning::DistributeBy(keys),
        }) = node
        else {
            return Ok(Transformed::no(node));
        };
        let (counts, keys): (Vec<Expr>, Vec<Expr>) = keys.into_iter().partition(|key| count(key).is_some());
        let partitions = counts.last().and_then(count);
        let input = Arc::unwrap_or_clone(input);
        let node = Arc::new(Exchange { input, keys, partitions });
        Ok(Transformed::yes(LogicalPlan::Extension(Extension { node })))
    })?;
    Ok(hidden.data)
}

/// What `'10 partitions'` among the keys says.
fn count(key: &Expr) -> Option<usize> {
    let Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) = key else {
        return None;
    };
    text.strip_suffix(" partitions")?.parse().ok().filter(|count| *count > 0)
}

/// An exchange that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
struct Exchange {
    input: LogicalPlan,
    /// What rows are hashed by; of about one size when there is none.
    keys: Vec<Expr>,
    /// As many as the plan has elsewhere, when not given.
    partitions: Option<usize>,
}

impl UserDefinedLogicalNodeCore for Exchange {
    fn name(&self) -> &str {
        "Exchange"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.keys.clone()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exchange")
    }

    fn with_exprs_and_inputs(&self, keys: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let [input] = <[_; 1]>::try_from(inputs).map_err(|_| one_input())?;
        Ok(Self { input, keys, partitions: self.partitions })
    }
}

fn one_input() -> DataFusionError {
    DataFusionError::Internal("an exchange has one input".to_owned())
}

/// DataFusion's planner, which knows the exchanges that statements ask for.
#[derive(Debug)]
pub struct Planner;

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        logical_plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Exchanges)]);
        let plan = planner.create_physical_plan(logical_plan, session).await?;
        // Behind DataFusion's last check, which knows nothing of what is recorded of files.
        shown(recorded_partitioning::used(plan, session.config_options())?)
    }
}

struct Exchanges;

#[async_trait]
impl ExtensionPlanner for Exchanges {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(exchange) = node.as_any().downcast_ref::<Exchange>() else { return Ok(None) };
        let [input] = physical_inputs else { return Err(one_input()) };
        let schema = exchange.input.schema();
        let key = |key: &Expr| planner.create_physical_expr(key, schema, session, context);
        let keys = exchange.keys.iter().map(key).collect::<Result<Vec<_>>>()?;
        let partitions = exchange.partitions.unwrap_or(session.config().target_partitions());
        Ok(Some(Arc::new(Hidden::new(Arc::clone(input), keys, partitions))))
    }
}

/// An exchange that the optimizer takes for something else.
#[derive(Debug)]
struct Hidden {
    input: Arc<dyn ExecutionPlan>,
    keys: Vec<PhysicalExprRef>,
    partitions: usize,
    properties: Arc<PlanProperties>,
}

impl Hidden {
    fn new(input: Arc<dyn ExecutionPlan>, keys: Vec<PhysicalExprRef>, partitions: usize) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { input, keys, partitions, properties: Arc::new(properties) }
    }

    /// The exchange it stands for. Rows of no key are numbered, because executors exchange by hash alone.
    fn shown(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let exchanged = |input, keys| -> Result<Arc<dyn ExecutionPlan>> {
            Ok(Arc::new(RepartitionExec::try_new(input, Partitioning::Hash(keys, self.partitions))?))
        };
        if !self.keys.is_empty() {
            return exchanged(Arc::clone(&self.input), self.keys.clone());
        }
        let schema = self.input.schema();
        let numbered: Arc<dyn ExecutionPlan> = Arc::new(NumberRows::new(Arc::clone(&self.input)));
        let at = schema.fields().len();
        let number: PhysicalExprRef = Arc::new(Column::new(numbered.schema().field(at).name(), at));
        let columns = schema.fields().iter().enumerate().map(|(at, field)| ProjectionExpr {
            expr: Arc::new(Column::new(field.name(), at)),
            alias: field.name().clone(),
        });
        let exchange = exchanged(numbered, vec![number])?;
        Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), exchange)?))
    }
}

impl DisplayAs for Hidden {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exchange: partitions={}", self.partitions)
    }
}

impl ExecutionPlan for Hidden {
    fn name(&self) -> &str {
        "Exchange"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        apply: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for key in &self.keys {
            if apply(key)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = <[_; 1]>::try_from(children).map_err(|_| one_input())?;
        Ok(Arc::new(Self::new(input, self.keys.clone(), self.partitions)))
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        Err(DataFusionError::Internal("an exchange was not put in its place".to_owned()))
    }
}

/// `plan` with the exchanges that were asked for in their places.
fn shown(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| match node.downcast_ref::<Hidden>() {
        Some(hidden) => Ok(Transformed::yes(hidden.shown()?)),
        None => Ok(Transformed::no(node)),
    })
    .data()
}

/// True for an exchange that was asked for, before it is shown.
pub fn is_asked_for(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<Hidden>()
}

/// True when `plan` ends in an exchange that was asked for: DataFusion itself puts none there.
pub fn is_last(plan: &Arc<dyn ExecutionPlan>) -> bool {
    match plan.downcast_ref::<ProjectionExec>() {
        Some(projection) => is_last(projection.input()),
        None => plan.is::<RepartitionExec>(),
    }
}
