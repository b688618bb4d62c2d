//! Projections that make large values stay above scans. A scan computes what was pushed into it for a whole batch of a file's
//! rows, asks nobody, and computes constants of its own accord: a text of 10 MB was put into each of 8192 rows.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::{CastExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};

use crate::functions::growth::{is_flat, value_bytes};

/// A constant that is no matter in each row.
const SHORT: usize = 1 << 10;

/// `rules`, of which those that push projections into scans leave alone what may grow.
pub fn careful(
    rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>,
) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let careful = |rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>| match rule.name() {
        "ProjectionPushdown" => Arc::new(Careful(rule)) as Arc<dyn PhysicalOptimizerRule + Send + Sync>,
        _ => rule,
    };
    rules.into_iter().map(careful).collect()
}

#[derive(Debug)]
struct Careful(Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl PhysicalOptimizerRule for Careful {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut is_guarded = false;
        let guarded = plan
            .transform_up(|node| {
                if !may_grow(&node)? {
                    return Ok(Transformed::no(node));
                }
                is_guarded = true;
                Ok(Transformed::yes(Arc::new(Guarded { inner: node }) as Arc<dyn ExecutionPlan>))
            })
            .data()?;
        let optimized = self.0.optimize(guarded, config)?;
        if !is_guarded {
            return Ok(optimized);
        }
        optimized
            .transform_up(|node| {
                Ok(match node.downcast_ref::<Guarded>() {
                    Some(guarded) => Transformed::yes(Arc::clone(&guarded.inner)),
                    None => Transformed::no(node),
                })
            })
            .data()
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// True for a projection right above a scan whose values may be far larger than what it is given.
fn may_grow(node: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let Some(projection) = node.downcast_ref::<ProjectionExec>() else { return Ok(false) };
    if !projection.input().is::<DataSourceExec>() {
        return Ok(false);
    }
    let mut may_grow = false;
    for part in projection.expr() {
        may_grow |= part.expr.exists(|expr| Ok(makes_much(expr)))?;
    }
    Ok(may_grow)
}

fn makes_much(expr: &Arc<dyn PhysicalExpr>) -> bool {
    if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
        // What reads a part of a record is best done by the scan.
        return call.name() != "get_field" && !is_flat(call.return_type());
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return !is_flat(cast.cast_type());
    }
    let literal = expr.downcast_ref::<Literal>();
    literal
        .is_some_and(|literal| !is_flat(&literal.value().data_type()) && value_bytes(literal.value()) > SHORT)
}

/// Stands for a projection while a rule runs that must not see it.
#[derive(Debug)]
struct Guarded {
    inner: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for Guarded {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.inner.fmt_as(t, f)
    }
}

impl ExecutionPlan for Guarded {
    fn name(&self) -> &str {
        "Guarded"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.inner.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inner.children()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.inner.maintains_input_order()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.inner.apply_expressions(f)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self { inner: Arc::clone(&self.inner).replace_children(children, options)? }))
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        Err(DataFusionError::Internal("a projection was left guarded".to_owned()))
    }
}
