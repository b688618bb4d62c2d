//! The distinct combinations of outer values that a subquery is computed for.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::error::Result;
use datafusion::logical_expr::{Distinct, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};

use super::{Unnester, refused};
use crate::functions::numbers::wide::is_wide;

/// Outer columns, and where their values come from.
#[derive(Debug, Clone)]
pub struct Domain {
    /// The outer columns, as the subquery names them.
    pub outer: Vec<Column>,
    /// The columns of [`Self::plan`], and of what it was pushed into, that have their values.
    pub inner: Vec<Column>,
    /// Each combination once.
    pub plan: LogicalPlan,
}

impl Domain {
    /// The column that has the values of `column`, when it is one of the domain's.
    pub fn inner_of(&self, column: &Column) -> Option<&Column> {
        self.outer.iter().position(|outer| outer == column).and_then(|at| self.inner.get(at))
    }

    /// The columns as expressions.
    pub fn exprs(&self) -> impl Iterator<Item = Expr> + '_ {
        self.inner.iter().cloned().map(Expr::Column)
    }

    /// `plan`, which has the domain's columns, with them under other names; and these.
    pub fn renamed(&self, unnester: &mut Unnester, plan: LogicalPlan) -> Result<(LogicalPlan, Vec<Column>)> {
        let names: Vec<String> = self.inner.iter().map(|_| unnester.name("outer")).collect();
        let exprs: Vec<Expr> = plan
            .schema()
            .columns()
            .into_iter()
            .map(|column| match self.inner.iter().position(|inner| *inner == column) {
                Some(at) => Expr::Column(column).alias(&names[at]),
                None => Expr::Column(column),
            })
            .collect();
        let plan = LogicalPlanBuilder::from(plan).project(exprs)?.build()?;
        Ok((plan, names.into_iter().map(Column::from_name).collect()))
    }
}

impl Unnester {
    /// The values of `columns` of `plan`.
    ///
    /// Fails with 0A000 where they would be others when they are computed a second time.
    pub fn domain(&mut self, plan: &LogicalPlan, columns: &[Column]) -> Result<Domain> {
        let (source, columns_there) = traced(plan, columns.to_vec());
        if !is_repeatable(&source)? {
            return Err(refused(
                "a subquery that names columns whose values may differ each time they are computed",
            ));
        }
        let names: Vec<String> = columns.iter().map(|_| self.name("outer")).collect();
        let exprs =
            columns_there.iter().zip(&names).map(|(column, name)| Expr::Column(column.clone()).alias(name));
        let plan = LogicalPlanBuilder::from(source).project(exprs)?.distinct()?.build()?;
        let inner = names.into_iter().map(Column::from_name).collect();
        Ok(Domain { outer: columns.to_vec(), inner, plan })
    }
}

/// The deepest node below `plan` that has `columns`, perhaps with more values, and their names there: what only picks, orders
/// or repeats rows adds no values.
fn traced(plan: &LogicalPlan, columns: Vec<Column>) -> (LogicalPlan, Vec<Column>) {
    let below = |input: &Arc<LogicalPlan>| {
        let are_there = columns.iter().all(|column| input.schema().has_column(column));
        are_there.then(|| (Arc::clone(input), columns.clone()))
    };
    let next = match plan {
        LogicalPlan::Sort(sort) => below(&sort.input),
        LogicalPlan::Limit(limit) => below(&limit.input),
        LogicalPlan::Window(window) => below(&window.input),
        LogicalPlan::Distinct(Distinct::All(input)) => below(input),
        LogicalPlan::Filter(filter) if !is_repeatable(plan).unwrap_or(false) => below(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => {
            // Its columns are the input's in their places.
            let there = |column: &Column| {
                let at = alias.schema.maybe_index_of_column(column)?;
                Some(Column::from(alias.input.schema().qualified_field(at)))
            };
            columns
                .iter()
                .map(there)
                .collect::<Option<Vec<_>>>()
                .map(|there| (Arc::clone(&alias.input), there))
        }
        LogicalPlan::Projection(projection) => {
            let there = |column: &Column| {
                let at = projection.schema.maybe_index_of_column(column)?;
                match projection.expr.get(at)?.clone().unalias() {
                    Expr::Column(column) => Some(column),
                    _ => None,
                }
            };
            columns
                .iter()
                .map(there)
                .collect::<Option<Vec<_>>>()
                .map(|there| (Arc::clone(&projection.input), there))
        }
        LogicalPlan::Join(join) => match join.join_type {
            JoinType::Inner => below(&join.left).or_else(|| below(&join.right)),
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                below(&join.left)
            }
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                below(&join.right)
            }
            JoinType::Full => None,
        },
        _ => None,
    };
    match next {
        Some((input, columns)) => traced(&input, columns),
        None => (plan.clone(), columns),
    }
}

/// Whether `plan` gives the same rows when it is computed again: not where rows are picked without an order, and not where
/// sums of floating-point numbers depend on the order in which they are added.
fn is_repeatable(plan: &LogicalPlan) -> Result<bool> {
    let mut is_repeatable = true;
    plan.apply_with_subqueries(|node| {
        is_repeatable &= match node {
            LogicalPlan::Limit(_) | LogicalPlan::Window(_) | LogicalPlan::Distinct(Distinct::On(_)) => false,
            LogicalPlan::Aggregate(aggregate) => aggregate.aggr_expr.iter().all(|expr| {
                let inner = expr.clone().unalias();
                let Expr::AggregateFunction(function) = inner else { return false };
                let is_exact =
                    matches!(function.func.name(), "count" | "min" | "max" | "bool_and" | "bool_or");
                is_exact || !has_floats(&function.params.args, aggregate.input.schema())
            }),
            _ => true,
        };
        node.apply_expressions(|expr| {
            is_repeatable &= !expr.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(if is_repeatable { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(is_repeatable)
}

fn has_floats(arguments: &[Expr], schema: &DFSchema) -> bool {
    // An aggregate of texts or lists depends on the order as well.
    arguments.iter().any(|argument| {
        argument
            .get_type(schema)
            .map_or(true, |kind| !kind.is_integer() && !kind.is_decimal() && !is_wide(&kind))
    })
}

/// Whether an expression in `plan` gives another value each time.
pub fn is_volatile(plan: &LogicalPlan) -> Result<bool> {
    let mut is_volatile = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            is_volatile |= expr.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(is_volatile)
}
