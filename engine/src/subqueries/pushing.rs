//! A domain is pushed down into a subquery: each of its rows comes to stand beside the outer values that it is for.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, NullEquality};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{AggregateFunction, GroupingSet, Sort as SortExpr};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, Expr, ExprFunctionExt, FetchType, Join, Limit, LogicalPlan,
    LogicalPlanBuilder, SkipType, Union, Values, lit,
};

use super::domain::Domain;
use super::hosts::under_names;
use super::lateral::same;
use super::values::joined;
use super::{Unnester, free, refused};
use crate::functions::ranks;

impl Unnester {
    /// The columns of `plan` and those of `domain`; the outer columns are the domain's.
    pub fn push(&mut self, plan: &LogicalPlan, domain: &Domain) -> Result<LogicalPlan> {
        if !names(plan, domain)? {
            return LogicalPlanBuilder::from(plan.clone()).cross_join(domain.plan.clone())?.build();
        }
        match plan {
            LogicalPlan::Projection(projection) => {
                let input = self.push(&projection.input, domain)?;
                let exprs = replaced_all(&projection.expr, domain)?;
                LogicalPlanBuilder::from(input).project(exprs.into_iter().chain(domain.exprs()))?.build()
            }
            LogicalPlan::Filter(filter) => {
                let input = self.push(&filter.input, domain)?;
                let predicate = replaced(filter.predicate.clone(), domain)?;
                LogicalPlanBuilder::from(input).filter(predicate)?.build()
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let input = self.push(&alias.input, domain)?;
                let aliased = LogicalPlanBuilder::from(input).alias(alias.alias.clone())?.build()?;
                // The domain's columns were given the alias too.
                let exprs: Vec<Expr> = aliased
                    .schema()
                    .columns()
                    .into_iter()
                    .map(|column| match domain.inner.iter().find(|inner| inner.name == column.name) {
                        Some(inner) => Expr::Column(column).alias(&inner.name),
                        None => Expr::Column(column),
                    })
                    .collect();
                LogicalPlanBuilder::from(aliased).project(exprs)?.build()
            }
            LogicalPlan::Aggregate(aggregate) => self.push_aggregate(aggregate, domain),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                LogicalPlanBuilder::from(self.push(input, domain)?).distinct()?.build()
            }
            LogicalPlan::Distinct(Distinct::On(distinct)) => {
                let input = self.push(&distinct.input, domain)?;
                let sort = distinct.sort_expr.as_ref().map(|sort| {
                    let keys = domain.exprs().map(|key| SortExpr::new(key, true, false));
                    let rest = sort.iter().map(|sort| replaced_sort(sort, domain));
                    keys.map(Ok).chain(rest).collect::<Result<Vec<_>>>()
                });
                let on = domain.exprs().chain(replaced_all(&distinct.on_expr, domain)?).collect();
                let select = replaced_all(&distinct.select_expr, domain)?.into_iter().chain(domain.exprs());
                let distinct = DistinctOn::try_new(on, select.collect(), sort.transpose()?, Arc::new(input))?;
                Ok(LogicalPlan::Distinct(Distinct::On(distinct)))
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                let input = self.push(&sort.input, domain)?;
                let by: Result<Vec<_>> = sort.expr.iter().map(|sort| replaced_sort(sort, domain)).collect();
                LogicalPlanBuilder::from(input).sort(by?)?.build()
            }
            LogicalPlan::Limit(limit) => self.push_limit(limit, &limit.input, domain),
            LogicalPlan::Window(window) => {
                let input = self.push(&window.input, domain)?;
                let (kept, added) = (window.input.schema().fields().len(), domain.inner.len());
                let by_domain = |expr: Expr| {
                    expr.transform_up(|expr| match expr {
                        Expr::WindowFunction(mut function) => {
                            function.params.partition_by.extend(domain.exprs());
                            Ok(Transformed::yes(Expr::WindowFunction(function)))
                        }
                        other => Ok(Transformed::no(other)),
                    })
                };
                let exprs: Result<Vec<Expr>> = window
                    .window_expr
                    .iter()
                    .map(|expr| Ok(by_domain(replaced(expr.clone(), domain)?)?.data))
                    .collect();
                // The input's own columns first, whatever stands between them.
                let order =
                    window.input.schema().columns().into_iter().map(Expr::Column).chain(domain.exprs());
                let input = LogicalPlanBuilder::from(input).project(order)?.build()?;
                let windowed = LogicalPlanBuilder::from(input).window(exprs?)?.build()?;
                with_domain(windowed, &window.schema, kept, added, domain)
            }
            LogicalPlan::Join(join) => self.push_join(join, domain),
            LogicalPlan::Union(union) => {
                let mut inputs = Vec::new();
                for input in &union.inputs {
                    let order: Vec<Expr> = input
                        .schema()
                        .columns()
                        .into_iter()
                        .map(Expr::Column)
                        .chain(domain.exprs())
                        .collect();
                    let pushed = self.push(input, domain)?;
                    inputs.push(Arc::new(LogicalPlanBuilder::from(pushed).project(order)?.build()?));
                }
                let all = LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?);
                let count = union.schema.fields().len();
                with_domain(all, &union.schema, count, 0, domain)
            }
            LogicalPlan::Values(values) => push_values(values, domain),
            LogicalPlan::Unnest(_) => {
                let Some(input) = plan.inputs().first().copied() else { return Err(refused_here()) };
                let input = self.push(input, domain)?;
                let exprs = replaced_all(&plan.expressions(), domain)?;
                plan.with_new_exprs(exprs, vec![input])
            }
            _ => Err(refused_here()),
        }
    }

    fn push_aggregate(&mut self, aggregate: &Aggregate, domain: &Domain) -> Result<LogicalPlan> {
        let input = self.push(&aggregate.input, domain)?;
        let aggregates = replaced_all(&aggregate.aggr_expr, domain)?;
        if aggregate.group_expr.is_empty() {
            // One row for each of the domain's, of none but those that are its own.
            let mark = self.name("mark");
            let columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
            let marked = LogicalPlanBuilder::from(input)
                .project(columns.into_iter().chain([lit(true).alias(&mark)]))?
                .build()?;
            let (marked, keys) = domain.renamed(self, marked)?;
            let pairs = domain.exprs().zip(keys.into_iter().map(Expr::Column)).collect();
            let beside = joined(domain.plan.clone(), marked, pairs, JoinType::Left)?;
            let is_own = Expr::Column(Column::from_name(&mark)).is_not_null();
            let own: Result<Vec<Expr>> = aggregates.into_iter().map(|expr| filtered(expr, &is_own)).collect();
            let grouped = LogicalPlanBuilder::from(beside).aggregate(domain.exprs(), own?)?.build()?;
            return with_domain(grouped, &aggregate.schema, 0, domain.inner.len(), domain);
        }
        let group: Vec<Expr> = match aggregate.group_expr.as_slice() {
            [Expr::GroupingSet(GroupingSet::GroupingSets(sets))]
                if sets.iter().all(|set| !set.is_empty()) =>
            {
                let sets = sets
                    .iter()
                    .map(|set| Ok(domain.exprs().chain(replaced_all(set, domain)?).collect()))
                    .collect::<Result<Vec<_>>>()?;
                vec![Expr::GroupingSet(GroupingSet::GroupingSets(sets))]
            }
            exprs if exprs.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) => {
                return Err(refused("a grouping of all rows in a subquery that names outer columns"));
            }
            exprs => domain.exprs().chain(replaced_all(exprs, domain)?).collect(),
        };
        let grouped = LogicalPlanBuilder::from(input).aggregate(group, aggregates)?.build()?;
        with_domain(grouped, &aggregate.schema, 0, domain.inner.len(), domain)
    }

    /// The rows of `input` that `limit` lets pass for each row of the domain.
    fn push_limit(&mut self, limit: &Limit, input: &LogicalPlan, domain: &Domain) -> Result<LogicalPlan> {
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
            (limit.get_skip_type()?, limit.get_fetch_type()?)
        else {
            return Err(refused("LIMIT of other than a constant in a subquery that names outer columns"));
        };
        // What computes columns row by row may as well come after.
        match input {
            LogicalPlan::Projection(projection) if projection.input.schema().fields().is_empty() => {}
            LogicalPlan::Projection(projection) if !has_unnest(&projection.expr)? => {
                let limited = self.push_limit(limit, &projection.input, domain)?;
                let exprs = replaced_all(&projection.expr, domain)?;
                return LogicalPlanBuilder::from(limited)
                    .project(exprs.into_iter().chain(domain.exprs()))?
                    .build();
            }
            _ => {}
        }
        let (below, order) = match input {
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                let order: Result<Vec<_>> =
                    sort.expr.iter().map(|sort| replaced_sort(sort, domain)).collect();
                (sort.input.as_ref(), order?)
            }
            other => (other, Vec::new()),
        };
        let columns: Vec<Expr> =
            input.schema().columns().into_iter().map(Expr::Column).chain(domain.exprs()).collect();
        let pushed = self.push(below, domain)?;
        let name = self.name("number");
        let mut numbered = ranks::row_number().partition_by(domain.exprs().collect());
        if !order.is_empty() {
            numbered = numbered.order_by(order);
        }
        let numbered = numbered.build()?.alias(&name);
        let number = Expr::Column(Column::from_name(&name));
        let as_number = |rows: usize| lit(i64::try_from(rows).unwrap_or(i64::MAX));
        let mut passes = vec![number.clone().gt(as_number(skip))];
        if let Some(fetch) = fetch {
            passes.push(number.lt_eq(as_number(skip.saturating_add(fetch))));
        }
        LogicalPlanBuilder::from(pushed)
            .window([numbered])?
            .filter(conjunction(passes).unwrap_or_else(|| lit(true)))?
            .project(columns)?
            .build()
    }

    fn push_join(&mut self, join: &Join, domain: &Domain) -> Result<LogicalPlan> {
        let names_left = names(&join.left, domain)?;
        let names_right = names(&join.right, domain)?;
        let keeps_right = matches!(
            join.join_type,
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark
        );
        let both = match join.join_type {
            JoinType::Inner => names_left && names_right,
            JoinType::Full => return Err(refused("FULL JOIN in a subquery that names outer columns")),
            _ if keeps_right => names_left,
            _ => names_right,
        };
        let to_left = both || !(keeps_right || (join.join_type == JoinType::Inner && names_right));
        let mut left =
            if to_left || both { self.push(&join.left, domain)? } else { join.left.as_ref().clone() };
        let mut right =
            if !to_left || both { self.push(&join.right, domain)? } else { join.right.as_ref().clone() };
        let replace_pair = |(left, right): &(Expr, Expr)| -> Result<(Expr, Expr)> {
            Ok((replaced(left.clone(), domain)?, replaced(right.clone(), domain)?))
        };
        let mut on = join.on.iter().map(replace_pair).collect::<Result<Vec<_>>>()?;
        let filter = join.filter.clone().map(|filter| replaced(filter, domain)).transpose()?;
        let mut conditions: Vec<Expr> = filter.into_iter().collect();
        let mut null_equality = join.null_equality;
        if both {
            let keys = if keeps_right {
                let (renamed, keys) = domain.renamed(self, left)?;
                left = renamed;
                keys
            } else {
                let (renamed, keys) = domain.renamed(self, right)?;
                right = renamed;
                keys
            };
            let other = keys.into_iter().map(Expr::Column);
            let pairs = domain
                .exprs()
                .zip(other)
                .map(|(kept, other)| if keeps_right { (other, kept) } else { (kept, other) });
            if null_equality == NullEquality::NullEqualsNull {
                on.extend(pairs);
            } else {
                conditions.extend(pairs.map(|(left, right)| same(left, right)));
                // Equality of the join's own keys is another than that of the domain's.
                conditions.extend(on.drain(..).map(|(left, right)| left.eq(right)));
                null_equality = NullEquality::NullEqualsNothing;
            }
        }
        if on.is_empty() && conditions.is_empty() {
            conditions.push(lit(true));
        }
        let joined = LogicalPlan::Join(Join::try_new(
            Arc::new(left),
            Arc::new(right),
            on,
            conjunction(conditions),
            join.join_type,
            join.join_constraint,
            null_equality,
            join.null_aware,
        )?);
        let columns = join.schema.columns().into_iter().map(Expr::Column).chain(domain.exprs());
        LogicalPlanBuilder::from(joined).project(columns)?.build()
    }
}

/// Whether `plan` names a column of `domain`.
fn names(plan: &LogicalPlan, domain: &Domain) -> Result<bool> {
    Ok(free(plan)?.iter().any(
        |expr| matches!(expr, Expr::OuterReferenceColumn(_, column) if domain.inner_of(column).is_some()),
    ))
}

/// `expr` with the domain's columns in place of the outer ones, under its name.
fn replaced(expr: Expr, domain: &Domain) -> Result<Expr> {
    let name = expr.schema_name().to_string();
    let replaced = expr.transform_up(|expr| match &expr {
        Expr::OuterReferenceColumn(_, column) => match domain.inner_of(column) {
            Some(inner) => Ok(Transformed::yes(Expr::Column(inner.clone()))),
            None => Ok(Transformed::no(expr)),
        },
        _ => Ok(Transformed::no(expr)),
    })?;
    if !replaced.transformed {
        return Ok(replaced.data);
    }
    match replaced.data {
        // Conditions have no names.
        Expr::BinaryExpr(_) | Expr::Column(_) | Expr::Alias(_) if name.is_empty() => Ok(replaced.data),
        data => data.alias_if_changed(name),
    }
}

fn replaced_all(exprs: &[Expr], domain: &Domain) -> Result<Vec<Expr>> {
    exprs.iter().map(|expr| replaced(expr.clone(), domain)).collect()
}

fn replaced_sort(sort: &SortExpr, domain: &Domain) -> Result<SortExpr> {
    let expr = replaced(sort.expr.clone(), domain)?.unalias();
    Ok(SortExpr { expr, ..*sort })
}

/// An aggregate of the rows alone for which `condition` holds.
fn filtered(expr: Expr, condition: &Expr) -> Result<Expr> {
    let filtered = expr.transform_up(|expr| match expr {
        Expr::AggregateFunction(AggregateFunction { func, mut params }) => {
            let filter =
                params.filter.take().map_or_else(|| condition.clone(), |own| own.and(condition.clone()));
            params.filter = Some(Box::new(filter));
            Ok(Transformed::yes(Expr::AggregateFunction(AggregateFunction { func, params })))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(filtered.data)
}

fn has_unnest(exprs: &[Expr]) -> Result<bool> {
    for expr in exprs {
        if expr.exists(|expr| Ok(matches!(expr, Expr::Unnest(_))))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// VALUES, whose expressions name outer columns: a row of each for every row of the domain.
fn push_values(values: &Values, domain: &Domain) -> Result<LogicalPlan> {
    let mut inputs = Vec::new();
    for row in &values.values {
        let columns = row
            .iter()
            .zip(values.schema.fields())
            .map(|(expr, field)| Ok(replaced(expr.clone(), domain)?.unalias().alias(field.name())));
        let columns = columns.collect::<Result<Vec<_>>>()?.into_iter().chain(domain.exprs());
        inputs.push(Arc::new(LogicalPlanBuilder::from(domain.plan.clone()).project(columns)?.build()?));
    }
    let all = if inputs.len() == 1 {
        inputs.remove(0).as_ref().clone()
    } else {
        LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?)
    };
    let count = values.schema.fields().len();
    with_domain(all, &values.schema, count, 0, domain)
}

/// The columns of `plan` under the names of `old`, of which `added` after the first `kept` are left out, and the domain's.
fn with_domain(
    plan: LogicalPlan,
    old: &DFSchema,
    kept: usize,
    added: usize,
    domain: &Domain,
) -> Result<LogicalPlan> {
    let columns = plan.schema().columns();
    let keys = domain.inner.iter().map(|inner| {
        // A union's columns have the qualifiers of its first input's, or none.
        let there = columns.iter().find(|column| column.name == inner.name).unwrap_or(inner);
        Expr::Column(there.clone()).alias(&inner.name)
    });
    let exprs: Vec<Expr> = under_names(&plan, old, kept, added).into_iter().chain(keys).collect();
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

fn refused_here() -> DataFusionError {
    refused("an outer column in this part of a subquery")
}
