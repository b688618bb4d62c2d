//! Projections that make large values stay above scans. A scan computes what was pushed into it for a whole batch of a file's
//! rows, asks nobody, and computes constants of its own accord: a text of 10 MB was put into each of 8192 rows. And conditions
//! that stay above projections which compute what others compute: each column is put in as often as it is named.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
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

/// Parts that a condition on one column may come to have below a projection.
const PUT_IN_PARTS_MAX: usize = 2_000;

/// `rules`, of which those that push projections into scans, and conditions below projections, leave alone what may grow.
pub fn careful(
    rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>,
) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let careful = |rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>| match rule.name() {
        "ProjectionPushdown" => Arc::new(Careful { rule, is_apart: may_grow }) as Arc<_>,
        name if name.starts_with("FilterPushdown") => {
            Arc::new(Careful { rule, is_apart: would_be_put_in }) as Arc<_>
        }
        _ => rule,
    };
    rules.into_iter().map(careful).collect()
}

#[derive(Debug)]
struct Careful {
    rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>,
    /// True for what the rule must not see.
    is_apart: fn(&Arc<dyn ExecutionPlan>) -> Result<bool>,
}

impl PhysicalOptimizerRule for Careful {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut is_guarded = false;
        let guarded = plan
            .transform_up(|node| {
                if !(self.is_apart)(&node)? {
                    return Ok(Transformed::no(node));
                }
                is_guarded = true;
                Ok(Transformed::yes(Arc::new(Guarded { inner: node }) as Arc<dyn ExecutionPlan>))
            })
            .data()?;
        let optimized = self.rule.optimize(guarded, config)?;
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
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
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

/// True for a projection with a column that is a long expression of what lies below all projections under it.
fn would_be_put_in(node: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let is_long = |parts: &usize| *parts > PUT_IN_PARTS_MAX;
    Ok(node.is::<ProjectionExec>() && parts_of_columns(node)?.iter().any(is_long))
}

/// The parts of each column, of what no projection computes.
fn parts_of_columns(node: &Arc<dyn ExecutionPlan>) -> Result<Vec<usize>> {
    let columns = node.schema().fields().len();
    if node.is::<Guarded>() {
        return Ok(vec![1; columns]);
    }
    let below = node.children().into_iter().map(parts_of_columns).collect::<Result<Vec<_>>>()?;
    let Some(projection) = node.downcast_ref::<ProjectionExec>() else {
        // Which column comes from which is no matter here: none has more.
        let most = below.iter().flatten().copied().max().unwrap_or(1);
        return Ok(vec![most; columns]);
    };
    let parts = |expr: &Arc<dyn PhysicalExpr>| {
        let mut parts = 0_usize;
        expr.apply(|part| {
            let column = part.downcast_ref::<Column>().and_then(|column| below.first()?.get(column.index()));
            parts = parts.saturating_add(column.copied().unwrap_or(1));
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(parts)
    };
    projection.expr().iter().map(|part| parts(&part.expr)).collect()
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
