//! Conditions stay above operators whose columns share a name. DataFusion finds the columns of a condition that it pushes down by
//! their names (`FilterRemapper`): of two that are called alike it takes the first. Above a join that is turned round, whose
//! columns a projection puts back, `t0.b IS NULL` was then asked of `t1.b`, and an anti join gave no rows.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterDescription, ChildPushdownResult, FilterDescription, FilterPushdownPhase,
    FilterPushdownPropagation,
};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

/// `rules`, of which those that push conditions down leave alone the ones on columns whose name tells no column.
pub fn by_place(
    rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>,
) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let by_place = |rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>| {
        if rule.name().starts_with("FilterPushdown") { Arc::new(ByPlace { rule }) as Arc<_> } else { rule }
    };
    rules.into_iter().map(by_place).collect()
}

#[derive(Debug)]
struct ByPlace {
    rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>,
}

impl PhysicalOptimizerRule for ByPlace {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let gated = plan.transform_up(|node| {
            let passed = told_by_name(&node);
            Ok(if passed.len() == node.schema().fields().len() {
                Transformed::no(node)
            } else {
                Transformed::yes(Arc::new(Gate { inner: node, passed }) as Arc<dyn ExecutionPlan>)
            })
        })?;
        let optimized = self.rule.optimize(gated.data, config)?;
        if !gated.transformed {
            return Ok(optimized);
        }
        optimized
            .transform_up(|node| {
                Ok(match node.downcast_ref::<Gate>() {
                    Some(gate) => Transformed::yes(Arc::clone(&gate.inner)),
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

/// The places of the columns of `node` whose name no other has. A filter takes in conditions that go no further, by what the
/// columns of its input are called.
fn told_by_name(node: &Arc<dyn ExecutionPlan>) -> HashSet<usize> {
    let schema = node.schema();
    let mut repeated = repeated_names(&schema);
    if let Some(filter) = node.downcast_ref::<FilterExec>() {
        repeated.extend(repeated_names(&filter.input().schema()));
    }
    let places = schema.fields().iter().enumerate();
    places.filter(|(_, field)| !repeated.contains(field.name())).map(|(place, _)| place).collect()
}

fn repeated_names(schema: &Schema) -> HashSet<String> {
    let mut seen = HashSet::new();
    let again = schema.fields().iter().filter(|field| !seen.insert(field.name()));
    again.map(|field| field.name().clone()).collect()
}

/// Stands above an operator while conditions are pushed down, and passes those on columns that their names tell.
#[derive(Debug)]
struct Gate {
    inner: Arc<dyn ExecutionPlan>,
    /// The places of the columns whose conditions pass.
    passed: HashSet<usize>,
}

impl DisplayAs for Gate {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.inner.fmt_as(t, f)
    }
}

impl ExecutionPlan for Gate {
    fn name(&self) -> &str {
        "Gate"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.inner.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.inner]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [inner] = <[_; 1]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("a gate stands above one operator".to_owned()))?;
        Ok(Arc::new(Self { inner, passed: self.passed.clone() }))
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        Err(DataFusionError::Internal("a gate was left in a plan".to_owned()))
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        let passed = ChildFilterDescription::from_child_with_allowed_indices(
            &parent_filters,
            self.passed.clone(),
            &self.inner,
        )?;
        Ok(FilterDescription::new().with_child(passed))
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        child_pushdown_result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(child_pushdown_result))
    }
}
