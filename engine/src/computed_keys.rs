//! What is sorted by is computed below the sort where its order cannot be told. DataFusion 55 learns how an expression is ordered
//! from the range of its parts (`EquivalenceProperties`), has no type for the range of a function or a CASE, and fails to compare
//! or negate such a range; an expression of unknown order it takes for unsorted even above its own sort. So the last check of a
//! plan refused `ORDER BY -abs(x)` and `ORDER BY coalesce(x, 0) > 1` wherever partitions were merged. Columns it knows.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{
    AggregateFunction, AggregateFunctionParams, Sort as SortKey, WindowFunction,
};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Projection, Sort, Window};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// For the end of the rules, when subqueries are joins.
#[derive(Debug)]
pub struct ComputedKeys;

impl OptimizerRule for ComputedKeys {
    fn name(&self) -> &str {
        "computed_keys"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Sort(mut sort) => {
                let mut keys = Keys::above(&sort.input);
                keys.take_all(&mut sort.expr)?;
                let Some(input) = keys.computed(&sort.input)? else {
                    return Ok(Transformed::no(LogicalPlan::Sort(sort)));
                };
                let kept = columns_of(sort.input.schema());
                let sorted = LogicalPlan::Sort(Sort { input: Arc::new(input), ..sort });
                Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(kept, Arc::new(sorted))?)))
            }
            LogicalPlan::Window(mut window) => {
                let mut keys = Keys::above(&window.input);
                for expr in &mut window.window_expr {
                    let name = expr.schema_name().to_string();
                    let WindowFunction { params, .. } = match unaliased(expr) {
                        Expr::WindowFunction(function) => function.as_mut(),
                        _ => continue,
                    };
                    for key in &mut params.partition_by {
                        keys.take(key)?;
                    }
                    keys.take_all(&mut params.order_by)?;
                    named(expr, name);
                }
                let Some(input) = keys.computed(&window.input)? else {
                    return Ok(Transformed::no(LogicalPlan::Window(window)));
                };
                let kept = columns_of(&window.schema);
                let computed = LogicalPlan::Window(Window::try_new(window.window_expr, Arc::new(input))?);
                Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(kept, Arc::new(computed))?)))
            }
            LogicalPlan::Aggregate(mut aggregate) => {
                let mut keys = Keys::above(&aggregate.input);
                for expr in &mut aggregate.aggr_expr {
                    let name = expr.schema_name().to_string();
                    if let Expr::AggregateFunction(AggregateFunction { params, .. }) = unaliased(expr) {
                        let AggregateFunctionParams { args, order_by, distinct, .. } = params;
                        // Different values are ordered by themselves, which are then columns as well.
                        for arg in args
                            .iter_mut()
                            .filter(|arg| *distinct && order_by.iter().any(|key| key.expr == **arg))
                        {
                            keys.take(arg)?;
                        }
                        keys.take_all(order_by)?;
                        named(expr, name);
                    }
                }
                let Some(input) = keys.computed(&aggregate.input)? else {
                    return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
                };
                let Aggregate { group_expr, aggr_expr, .. } = aggregate;
                let aggregate = Aggregate::try_new(Arc::new(input), group_expr, aggr_expr)?;
                Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

fn columns_of(schema: &DFSchema) -> Vec<Expr> {
    schema.iter().map(|column| Expr::Column(Column::from(column))).collect()
}

fn unaliased(expr: &mut Expr) -> &mut Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&mut alias.expr),
        other => other,
    }
}

/// Keeps the name of a column whose expression has changed.
fn named(expr: &mut Expr, name: String) {
    if expr.schema_name().to_string() != name {
        *expr = std::mem::take(expr).alias(name);
    }
}

/// Keys that are to be columns of an operator's input.
struct Keys {
    /// Those that the input has, and those to come.
    names: HashSet<String>,
    /// Each expression with its column.
    taken: Vec<(Expr, Column)>,
}

impl Keys {
    fn above(input: &LogicalPlan) -> Self {
        let names = input.schema().fields().iter().map(|field| field.name().clone()).collect();
        Self { names, taken: Vec::new() }
    }

    fn take_all(&mut self, keys: &mut [SortKey]) -> Result<()> {
        keys.iter_mut().try_for_each(|key| self.take(&mut key.expr))
    }

    /// Puts a column in the place of `key` where its order may not be told.
    fn take(&mut self, key: &mut Expr) -> Result<()> {
        if !is_untold(key)? {
            return Ok(());
        }
        let known = self.taken.iter().find(|(expr, _)| expr == key).map(|(_, column)| column.clone());
        let column = known.unwrap_or_else(|| {
            let mut name = key.schema_name().to_string();
            while !self.names.insert(name.clone()) {
                name.push('\'');
            }
            let column = Column::new_unqualified(name);
            self.taken.push((key.clone(), column.clone()));
            column
        });
        *key = Expr::Column(column);
        Ok(())
    }

    /// `input` with the keys as columns behind its own; `None` where there are none.
    fn computed(self, input: &Arc<LogicalPlan>) -> Result<Option<LogicalPlan>> {
        if self.taken.is_empty() {
            return Ok(None);
        }
        let keys = self.taken.into_iter().map(|(expr, column)| expr.alias(column.name));
        let columns = columns_of(input.schema()).into_iter().chain(keys).collect();
        Ok(Some(LogicalPlan::Projection(Projection::try_new(columns, Arc::clone(input))?)))
    }
}

/// True for an expression that compares or computes with what a call or a CASE gives.
fn is_untold(key: &Expr) -> Result<bool> {
    let is_computed = |expr: &Expr| Ok(matches!(expr, Expr::ScalarFunction(_) | Expr::Case(_)));
    key.exists(|expr| match expr {
        Expr::BinaryExpr(_) | Expr::Negative(_) | Expr::Between(_) => expr.exists(is_computed),
        _ => Ok(false),
    })
}
