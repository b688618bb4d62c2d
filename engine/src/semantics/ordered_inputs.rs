//! `array_agg(x)` and `string_agg(x, …)` over `(SELECT … ORDER BY …)`: PostgreSQL gathers the rows as the subquery gives them.
//! DataFusion does not keep the order of a subquery, so the aggregate is told it.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::expr::Sort as SortExpr;
use datafusion::logical_expr::{Aggregate, Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder};

/// Aggregates whose value depends on the order of rows.
const ORDERED: [&str; 6] = ["array_agg", "string_agg", "json_agg", "jsonb_agg", "first_value", "last_value"];

/// The column that tells the order.
const PLACE: &str = "__place";

/// Orders what the aggregates of `plan`, and of its subqueries, gather.
pub fn ordered(plan: LogicalPlan) -> Result<LogicalPlan> {
    let ordered = plan.transform_up_with_subqueries(|plan| {
        let LogicalPlan::Aggregate(aggregate) = plan else { return Ok(Transformed::no(plan)) };
        if !aggregate.aggr_expr.iter().any(is_unordered) {
            return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
        }
        let Some((input, place)) = with_place(&aggregate.input)? else {
            return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
        };
        let gathered = |expr: Expr| -> Result<Expr> {
            let name = expr.schema_name().to_string();
            let gathered = expr.transform_up(|expr| match expr {
                Expr::AggregateFunction(mut function)
                    if is_unordered(&Expr::AggregateFunction(function.clone())) =>
                {
                    function.params.order_by = vec![SortExpr::new(Expr::Column(place.clone()), true, false)];
                    Ok(Transformed::yes(Expr::AggregateFunction(function)))
                }
                other => Ok(Transformed::no(other)),
            })?;
            gathered.data.alias_if_changed(name)
        };
        let Aggregate { group_expr, aggr_expr, .. } = aggregate;
        let aggr_expr = aggr_expr.into_iter().map(gathered).collect::<Result<Vec<_>>>()?;
        let aggregate = Aggregate::try_new(Arc::new(input), group_expr, aggr_expr)?;
        Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
    })?;
    Ok(ordered.data)
}

fn is_unordered(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_unordered(&alias.expr),
        Expr::AggregateFunction(function) => {
            ORDERED.contains(&function.func.name())
                && function.params.order_by.is_empty()
                && !function.params.distinct
        }
        _ => false,
    }
}

/// `plan` with a column that numbers its rows in their order, when a subquery in it has one.
fn with_place(plan: &LogicalPlan) -> Result<Option<(LogicalPlan, Column)>> {
    Ok(match plan {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
            let number = row_number().order_by(sort.expr.clone()).build()?.alias(PLACE);
            let numbered = LogicalPlanBuilder::from(sort.input.as_ref().clone()).window([number])?.build()?;
            Some((numbered, Column::from_name(PLACE)))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let Some((input, _)) = with_place(&alias.input)? else { return Ok(None) };
            let aliased = LogicalPlanBuilder::from(input).alias(alias.alias.clone())?.build()?;
            Some((aliased, Column::new(Some(alias.alias.clone()), PLACE)))
        }
        LogicalPlan::Projection(projection) => {
            let Some((input, place)) = with_place(&projection.input)? else { return Ok(None) };
            let columns = projection.expr.iter().cloned().chain([Expr::Column(place.clone())]);
            Some((LogicalPlanBuilder::from(input).project(columns)?.build()?, place))
        }
        LogicalPlan::Filter(filter) => {
            let Some((input, place)) = with_place(&filter.input)? else { return Ok(None) };
            let filtered = LogicalPlanBuilder::from(input).filter(filter.predicate.clone())?.build()?;
            Some((filtered, place))
        }
        _ => None,
    })
}
