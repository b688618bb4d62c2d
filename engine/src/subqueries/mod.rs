//! Subqueries become joins, with PostgreSQL's meaning of NULL, of no rows and of too many.
//!
//! DataFusion's own rules turn the plain ones into joins well ([`plain`] says which). All others are computed for each
//! distinct combination of the outer columns that they name, their *domain* (Neumann and Kemper, "Unnesting arbitrary
//! queries", BTW 2015): the domain is pushed down into the subquery, which then gives its rows beside the outer values that
//! they are for, and is joined to the outer rows by them.

mod domain;
mod hosts;
mod lateral;
mod plain;
mod pushing;
mod single;
mod values;

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use crate::Error;

pub use single::function;

/// The rule. It comes before types are coerced: what it makes is coerced as what was written.
#[derive(Debug)]
pub struct Unnesting;

impl AnalyzerRule for Unnesting {
    fn name(&self) -> &str {
        "unnest_subqueries"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        if !has_any(&plan)? {
            return Ok(plan);
        }
        Unnester::default().plan(plan, false)
    }
}

/// Gives the columns that are made names that no other has.
#[derive(Debug, Default)]
struct Unnester {
    made: usize,
}

impl Unnester {
    /// `plan` without the subqueries that DataFusion's rules would not compute, or not rightly. `is_nested` where `plan` is
    /// itself a subquery that is to be unnested, or stands in one.
    fn plan(&mut self, plan: LogicalPlan, is_nested: bool) -> Result<LogicalPlan> {
        let plan = plan.map_children(|child| self.plan(child, is_nested).map(Transformed::yes))?.data;
        let plan = plan
            .map_expressions(|expr| {
                expr.transform_up(|expr| match expr {
                    Expr::ScalarSubquery(subquery) => {
                        Ok(Transformed::yes(Expr::ScalarSubquery(self.subquery(subquery)?)))
                    }
                    Expr::Exists(exists) => {
                        let subquery = self.subquery(exists.subquery)?;
                        Ok(Transformed::yes(Expr::Exists(Exists { subquery, ..exists })))
                    }
                    Expr::InSubquery(within) => {
                        let subquery = self.subquery(within.subquery)?;
                        Ok(Transformed::yes(Expr::InSubquery(InSubquery { subquery, ..within })))
                    }
                    Expr::SetComparison(compared) => {
                        let subquery = self.subquery(compared.subquery)?;
                        Ok(Transformed::yes(Expr::SetComparison(SetComparison { subquery, ..compared })))
                    }
                    other => Ok(Transformed::no(other)),
                })
            })?
            .data;
        if let LogicalPlan::Join(join) = plan {
            let join = match lateral::right_of(&join) {
                Some(right) if is_nested || !plain::is_lateral(&right) => {
                    return self.lateral(join, right);
                }
                _ => join,
            };
            return self.host(LogicalPlan::Join(join));
        }
        self.host(plan)
    }

    fn subquery(&mut self, subquery: Subquery) -> Result<Subquery> {
        let Subquery { subquery, outer_ref_columns, spans } = subquery;
        let plan = self.plan(Arc::unwrap_or_clone(subquery), true)?;
        let outer_ref_columns = if outer_ref_columns.is_empty() { outer_ref_columns } else { free(&plan)? };
        Ok(Subquery { subquery: Arc::new(plan), outer_ref_columns, spans })
    }

    /// A name for a column that is made.
    fn name(&mut self, what: &str) -> String {
        self.made += 1;
        format!("__{what}_{}", self.made)
    }
}

/// True when a node of `plan` has a subquery, or joins one that names columns beside it.
fn has_any(plan: &LogicalPlan) -> Result<bool> {
    let mut has = false;
    plan.apply(|node| {
        has |= matches!(node, LogicalPlan::Subquery(_));
        node.apply_expressions(|expr| {
            has |= has_subquery(expr)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(if has { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(has)
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_))
}

fn has_subquery(expr: &Expr) -> Result<bool> {
    expr.exists(|expr| Ok(is_subquery(expr)))
}

/// The columns of outer queries that nodes of `plan` name, each once, as they are named. Those that subqueries in it name are
/// columns of its own nodes.
fn free(plan: &LogicalPlan) -> Result<Vec<Expr>> {
    let mut found: Vec<Expr> = Vec::new();
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if matches!(expr, Expr::OuterReferenceColumn(..)) && !found.contains(expr) {
                    found.push(expr.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// Those of `free` that are columns of `schema`.
fn bound(free: &[Expr], schema: &DFSchema) -> Vec<Column> {
    let of_schema = |expr: &Expr| match expr {
        Expr::OuterReferenceColumn(_, column) if schema.has_column(column) => Some(column.clone()),
        _ => None,
    };
    free.iter().filter_map(of_schema).collect()
}

/// A clause that cannot be computed.
fn refused(what: &str) -> DataFusionError {
    let message = format!("{what} is not supported");
    DataFusionError::External(Box::new(Error::NotSupported { message }))
}
