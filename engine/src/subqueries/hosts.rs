//! The nodes that have subqueries in their expressions.

use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, TableReference};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder, Operator, lit,
};

use super::{Unnester, bound, free, has_subquery, is_subquery, plain, refused};

impl Unnester {
    /// `plan`, whose inputs are unnested, without the subqueries of its own expressions that are not plain.
    pub fn host(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let mut has = false;
        plan.apply_expressions(|expr| {
            has |= has_subquery(expr)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        if !has {
            return Ok(plan);
        }
        match plan {
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Projection(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Sort(_) => self.other(plan),
            other if has_free_scalars_alone(&other)? => Ok(other),
            _ => Err(refused("a subquery in this place")),
        }
    }

    fn filter(&mut self, filter: Filter) -> Result<LogicalPlan> {
        let columns = filter.input.schema().columns();
        let mut input = Arc::unwrap_or_clone(filter.input);
        let (mut rest, mut nested) = (Vec::new(), Vec::new());
        for condition in split_conjunction_owned(filter.predicate) {
            let is_kept = !has_subquery(&condition)? || stays(&condition, input.schema())?;
            if is_kept { rest.push(condition) } else { nested.push(condition) }
        }
        if nested.is_empty() {
            let predicate = conjunction(rest).unwrap_or_else(|| lit(true));
            return LogicalPlanBuilder::from(input).filter(predicate)?.build();
        }
        for condition in nested {
            let condition = match condition {
                Expr::Not(inner) => match *inner {
                    Expr::Exists(Exists { subquery, negated }) => {
                        Expr::Exists(Exists { subquery, negated: !negated })
                    }
                    inner => Expr::Not(Box::new(inner)),
                },
                condition => condition,
            };
            match condition {
                Expr::Exists(Exists { subquery, negated }) => {
                    input = self.where_exists(input, &subquery, negated)?;
                }
                Expr::InSubquery(InSubquery { expr, subquery, negated: false }) if !has_subquery(&expr)? => {
                    input = self.where_in(input, *expr, &subquery)?;
                }
                condition => {
                    let (with_values, condition) = self.values(input, condition, true)?;
                    input = with_values;
                    rest.push(condition);
                }
            }
        }
        let mut builder = LogicalPlanBuilder::from(input);
        if let Some(predicate) = conjunction(rest) {
            builder = builder.filter(predicate)?;
        }
        builder.project(columns.into_iter().map(Expr::Column))?.build()
    }

    /// Any other node with one input.
    fn other(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let Some(input) = plan.inputs().first().copied().cloned() else { return Ok(plan) };
        let keeps_scalars = matches!(plan, LogicalPlan::Projection(_));
        let before = input.schema().fields().len();
        let old_columns = input.schema().columns();
        let mut input = input;
        let mut exprs = Vec::new();
        for expr in plan.expressions() {
            let name = expr.schema_name().to_string();
            let is_changed = has_subquery(&expr)?;
            let (with_values, replaced) = self.values(input, expr, keeps_scalars)?;
            input = with_values;
            // Columns of a SELECT keep the names that they have.
            let renames = is_changed && matches!(plan, LogicalPlan::Projection(_));
            exprs.push(if renames { replaced.alias_if_changed(name)? } else { replaced });
        }
        let added = input.schema().fields().len() - before;
        if added == 0 {
            return Ok(plan);
        }
        let old = Arc::clone(plan.schema());
        let new = plan.with_new_exprs(exprs, vec![input])?;
        match &new {
            LogicalPlan::Projection(_) => Ok(new),
            LogicalPlan::Aggregate(_) => renamed(new, &old, 0, 0),
            LogicalPlan::Window(_) => renamed(new, &old, before, added),
            _ => LogicalPlanBuilder::from(new).project(old_columns.into_iter().map(Expr::Column))?.build(),
        }
    }

    fn join(&mut self, join: Join) -> Result<LogicalPlan> {
        let columns = join.schema.columns();
        for (left, right) in &join.on {
            if has_subquery(left)? || has_subquery(right)? {
                return Err(refused("a subquery in a join's condition of this form"));
            }
        }
        let Some(condition) = join.filter.clone() else { return Ok(LogicalPlan::Join(join)) };
        let (mut rest, mut nested) = (Vec::new(), Vec::new());
        for condition in split_conjunction_owned(condition) {
            if has_subquery(&condition)? { nested.push(condition) } else { rest.push(condition) }
        }
        if nested.is_empty() {
            return Ok(LogicalPlan::Join(join));
        }
        if join.join_type == JoinType::Inner {
            let joined = LogicalPlan::Join(Join { filter: conjunction(rest), ..join });
            let predicate = conjunction(nested).unwrap_or_else(|| lit(true));
            return self.filter(Filter::try_new(predicate, Arc::new(joined))?);
        }
        let (mut left, mut right) = (Arc::unwrap_or_clone(join.left), Arc::unwrap_or_clone(join.right));
        for condition in nested {
            let replaced = self.on_sides(&mut left, &mut right, condition)?;
            rest.push(replaced);
        }
        let joined = Join::try_new(
            Arc::new(left),
            Arc::new(right),
            join.on,
            conjunction(rest),
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?;
        LogicalPlanBuilder::from(LogicalPlan::Join(joined))
            .project(columns.into_iter().map(Expr::Column))?
            .build()
    }

    /// `condition` of an outer join, with each subquery's value computed beside the rows of the side that it is of.
    fn on_sides(&mut self, left: &mut LogicalPlan, right: &mut LogicalPlan, condition: Expr) -> Result<Expr> {
        let replaced = condition.transform_down(|expr| {
            if !is_subquery(&expr) {
                return Ok(Transformed::no(expr));
            }
            let side = if is_of(&expr, left.schema())? {
                &mut *left
            } else if is_of(&expr, right.schema())? {
                &mut *right
            } else {
                return Err(refused("a subquery of both sides in the condition of an outer join"));
            };
            let (with_values, replaced) = self.values(std::mem::take(side), expr, false)?;
            *side = with_values;
            Ok(Transformed::new(replaced, true, TreeNodeRecursion::Jump))
        })?;
        Ok(replaced.data)
    }
}

/// Whether the columns that a subquery and what it is compared with name are all of `schema`.
fn is_of(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    let (compared, subquery) = match expr {
        Expr::ScalarSubquery(subquery) => (None, subquery),
        Expr::Exists(exists) => (None, &exists.subquery),
        Expr::InSubquery(within) => (Some(&within.expr), &within.subquery),
        Expr::SetComparison(compared) => (Some(&compared.expr), &compared.subquery),
        _ => return Ok(false),
    };
    let free = free(&subquery.subquery)?;
    let names_alone = bound(&free, schema).len() == free.len();
    let columns = compared.map(|expr| expr.column_refs().into_iter().cloned().collect::<Vec<Column>>());
    Ok(names_alone && columns.is_none_or(|columns| columns.iter().all(|column| schema.has_column(column))))
}

/// A condition of a filter that DataFusion's rules compute rightly.
fn stays(condition: &Expr, outer: &DFSchema) -> Result<bool> {
    match condition {
        Expr::Not(inner) if matches!(inner.as_ref(), Expr::Exists(_)) => fits(inner, true, outer),
        Expr::InSubquery(within) if within.negated => {
            Ok(!has_subquery(&within.expr)? && plain::is_anti_join(within)?)
        }
        condition => fits(condition, true, outer),
    }
}

/// `is_monotone` where NULL is as good as false.
fn fits(expr: &Expr, is_monotone: bool, outer: &DFSchema) -> Result<bool> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => {
            Ok(fits(left, is_monotone, outer)? && fits(right, is_monotone, outer)?)
        }
        Expr::Exists(exists) => plain::is_semi_join(&exists.subquery, outer),
        Expr::InSubquery(within) => Ok(is_monotone
            && !within.negated
            && !has_subquery(&within.expr)?
            && plain::is_semi_join(&within.subquery, outer)?),
        Expr::SetComparison(_) => Ok(false),
        Expr::ScalarSubquery(subquery) => plain::is_scalar(subquery, outer),
        other => {
            let mut all = true;
            other.apply_children(|child| {
                all &= fits(child, false, outer)?;
                Ok(TreeNodeRecursion::Continue)
            })?;
            Ok(all)
        }
    }
}

fn has_free_scalars_alone(plan: &LogicalPlan) -> Result<bool> {
    let mut all = true;
    plan.apply_expressions(|expr| {
        all &= are_free_scalars(expr)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(all)
}

/// True when the only subqueries of `expr` are expressions without outer columns.
fn are_free_scalars(expr: &Expr) -> Result<bool> {
    let mut all = true;
    expr.apply(|expr| {
        all &= match expr {
            Expr::ScalarSubquery(subquery) => free(&subquery.subquery)?.is_empty(),
            other => !is_subquery(other),
        };
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(all)
}

/// The columns of `plan` under the names of `old`, without `left_out` columns after the first `kept`.
fn renamed(plan: LogicalPlan, old: &DFSchema, kept: usize, left_out: usize) -> Result<LogicalPlan> {
    let columns = under_names(&plan, old, kept, left_out);
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// The same as expressions.
pub fn under_names(plan: &LogicalPlan, old: &DFSchema, kept: usize, left_out: usize) -> Vec<Expr> {
    let columns = plan.schema().columns();
    let named = |(at, (qualifier, field)): (usize, (Option<&TableReference>, &FieldRef))| {
        let column = columns[if at < kept { at } else { at + left_out }].clone();
        if column.relation.as_ref() == qualifier && column.name == *field.name() {
            Expr::Column(column)
        } else {
            Expr::Column(column).alias_qualified(qualifier.cloned(), field.name())
        }
    };
    old.iter().enumerate().map(named).collect()
}
