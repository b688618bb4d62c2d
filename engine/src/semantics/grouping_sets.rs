//! What grouping sets group by becomes columns of their input: an expression among them has no name of its own, so one that is given
//! its meaning would be called otherwise than those that ask for it.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr::GroupingSet;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder};

/// `plan` with columns in its grouping sets.
pub fn of_columns(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Aggregate(aggregate) = plan else { return Ok(Transformed::no(plan)) };
    let mut computed: Vec<Expr> = Vec::new();
    for expr in aggregate.group_expr.iter().flat_map(parts) {
        if !matches!(expr, Expr::Column(_)) && !computed.contains(expr) {
            computed.push(expr.clone());
        }
    }
    if !aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) || computed.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let Aggregate { input, group_expr, aggr_expr, .. } = aggregate;
    let columns = input.schema().columns().into_iter().map(Expr::Column);
    let named = computed.iter().map(|expr| expr.clone().alias(expr.schema_name().to_string()));
    let input = LogicalPlanBuilder::from(input.as_ref().clone()).project(columns.chain(named))?.build()?;
    let as_column = |expr: Expr| match computed.contains(&expr) {
        true => Expr::Column(Column::from_name(expr.schema_name().to_string())),
        false => expr,
    };
    let in_sets = |expr: Expr| match expr {
        Expr::GroupingSet(GroupingSet::Rollup(exprs)) => {
            Expr::GroupingSet(GroupingSet::Rollup(exprs.into_iter().map(as_column).collect()))
        }
        Expr::GroupingSet(GroupingSet::Cube(exprs)) => {
            Expr::GroupingSet(GroupingSet::Cube(exprs.into_iter().map(as_column).collect()))
        }
        Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => {
            let sets = sets.into_iter().map(|set| set.into_iter().map(as_column).collect());
            Expr::GroupingSet(GroupingSet::GroupingSets(sets.collect()))
        }
        other => as_column(other),
    };
    let group_expr = group_expr.into_iter().map(in_sets).collect();
    let told = |expr: Expr| -> Result<Expr> {
        let name = expr.schema_name().to_string();
        let told = expr.transform_down(|expr| match expr {
            Expr::AggregateFunction(mut function) if function.func.name() == "grouping" => {
                let args = std::mem::take(&mut function.params.args);
                function.params.args = args.into_iter().map(as_column).collect();
                Ok(Transformed::yes(Expr::AggregateFunction(function)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        told.data.alias_if_changed(name)
    };
    let aggr_expr = aggr_expr.into_iter().map(told).collect::<Result<Vec<_>>>()?;
    let aggregate = Aggregate::try_new(Arc::new(input), group_expr, aggr_expr)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}

fn parts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::GroupingSet(GroupingSet::Rollup(exprs) | GroupingSet::Cube(exprs)) => exprs.iter().collect(),
        Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => sets.iter().flatten().collect(),
        other => vec![other],
    }
}
