//! A subquery's value as a column beside the outer rows.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinConstraint, JoinType, NullEquality, ScalarValue};
use datafusion::error::Result;
use datafusion::functions_aggregate::count::count;
use datafusion::functions_aggregate::first_last::first_value;
use datafusion::functions_aggregate::min_max::{max, min};
use datafusion::logical_expr::expr::{Exists, InSubquery, ScalarFunction, SetComparison, SetQuantifier};
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Operator, cast, lit,
    when,
};

use super::domain::{Domain, is_volatile};
use super::{Unnester, bound, free, plain, refused, single};
use crate::functions::numbers::wide::is_wide;

/// The rows of a subquery, each beside the outer values that it is for.
struct Beside {
    rows: LogicalPlan,
    /// The outer values; `None` where no outer columns are named.
    domain: Option<Domain>,
    /// The subquery's first column.
    value: Column,
}

impl Unnester {
    /// `expr` with the values of its subqueries, which are columns of the plan that is given with it: `input` with more
    /// columns. `keeps_scalars` where DataFusion's rules look for subqueries used as expressions.
    pub fn values(
        &mut self,
        input: LogicalPlan,
        expr: Expr,
        keeps_scalars: bool,
    ) -> Result<(LogicalPlan, Expr)> {
        let mut input = input;
        let replaced = expr.transform_up(|expr| {
            Ok(Transformed::yes(match expr {
                Expr::ScalarSubquery(subquery) => {
                    if !plain::is_scalar(&subquery, input.schema())? {
                        self.scalar(&mut input, &subquery)?
                    } else if keeps_scalars {
                        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
                    } else {
                        self.column(&mut input, Expr::ScalarSubquery(subquery))?
                    }
                }
                Expr::Exists(Exists { subquery, negated }) => {
                    let exists = self.exists(&mut input, &subquery)?;
                    if negated { !exists } else { exists }
                }
                Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                    let is_in = self.any(&mut input, *expr, Operator::Eq, &subquery)?;
                    if negated { !is_in } else { is_in }
                }
                Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => match quantifier {
                    SetQuantifier::Any => self.any(&mut input, *expr, op, &subquery)?,
                    SetQuantifier::All => !self.any(&mut input, *expr, complement(op)?, &subquery)?,
                },
                other => return Ok(Transformed::no(other)),
            }))
        })?;
        Ok((input, replaced.data))
    }

    /// `SELECT` as an expression: NULL without rows, an error with several.
    fn scalar(&mut self, input: &mut LogicalPlan, subquery: &Subquery) -> Result<Expr> {
        let beside = self.beside(input, subquery)?;
        let name = self.name("value");
        let value = Expr::Column(beside.value.clone());
        if gives_one_row(&subquery.subquery) {
            let columns = beside.keys_as_exprs().chain([value.alias(&name)]);
            let rows = LogicalPlanBuilder::from(beside.rows.clone()).project(columns)?.build()?;
            *input = joined(std::mem::take(input), rows, beside.pairs(), JoinType::Left)?;
            return Ok(named(&name));
        }
        let counted = self.name("rows");
        let columns = [first_value(value, Vec::new()).alias(&name), count(lit(1_i64)).alias(&counted)];
        let rows = LogicalPlanBuilder::from(beside.rows.clone())
            .aggregate(beside.keys_as_exprs(), columns)?
            .build()?;
        *input = joined(std::mem::take(input), rows, beside.pairs(), JoinType::Left)?;
        let call = ScalarFunction::new_udf(single::function(), vec![named(&name), named(&counted)]);
        Ok(Expr::ScalarFunction(call))
    }

    /// `EXISTS`, as a value.
    fn exists(&mut self, input: &mut LogicalPlan, subquery: &Subquery) -> Result<Expr> {
        let beside = self.beside(input, subquery)?;
        let name = self.name("mark");
        let rows = LogicalPlanBuilder::from(beside.rows.clone());
        if beside.domain.is_none() {
            let counted = [count(lit(1_i64)).alias(&name)];
            let rows = rows.limit(0, Some(1))?.aggregate(Vec::<Expr>::new(), counted)?.build()?;
            *input = with_counts(std::mem::take(input), rows, Vec::new())?;
            return Ok(named(&name).gt(lit(0_i64)));
        }
        let columns = beside.keys_as_exprs().chain([lit(true).alias(&name)]);
        let rows = rows.project(columns)?.distinct()?.build()?;
        *input = joined(std::mem::take(input), rows, beside.pairs(), JoinType::Left)?;
        Ok(named(&name).is_not_null())
    }

    /// The rows of `input` for which the subquery has rows, or none.
    pub fn where_exists(
        &mut self,
        input: LogicalPlan,
        subquery: &Subquery,
        negated: bool,
    ) -> Result<LogicalPlan> {
        let mut input = input;
        let beside = self.beside(&input, subquery)?;
        if beside.domain.is_none() {
            let exists = self.exists(&mut input, subquery)?;
            let condition = if negated { !exists } else { exists };
            return LogicalPlanBuilder::from(input).filter(condition)?.build();
        }
        let rows = LogicalPlanBuilder::from(beside.rows.clone())
            .project(beside.keys_as_exprs())?
            .distinct()?
            .build()?;
        let kind = if negated { JoinType::LeftAnti } else { JoinType::LeftSemi };
        joined(input, rows, beside.pairs(), kind)
    }

    /// The rows of `input` whose `expr` is among the subquery's values.
    pub fn where_in(&mut self, input: LogicalPlan, expr: Expr, subquery: &Subquery) -> Result<LogicalPlan> {
        let mut input = input;
        let expr = self.column(&mut input, expr)?;
        let beside = self.beside(&input, subquery)?;
        let (rows, pair) = self.matching(&input, &beside, &expr)?;
        let pairs = beside.pairs().into_iter().chain([pair]).collect();
        joined(input, rows, pairs, JoinType::LeftSemi)
    }

    /// `expr op ANY (SELECT …)`: true when it holds for a value, else NULL when it is NULL for one, else false.
    fn any(
        &mut self,
        input: &mut LogicalPlan,
        expr: Expr,
        op: Operator,
        subquery: &Subquery,
    ) -> Result<Expr> {
        let expr = self.column(input, expr)?;
        let beside = self.beside(input, subquery)?;
        let value = Expr::Column(beside.value.clone());
        let [rows_name, values_name, least, most] =
            ["rows", "values", "least", "most"].map(|what| self.name(what));
        let mut columns = vec![count(lit(1_i64)).alias(&rows_name), count(value.clone()).alias(&values_name)];
        let is_constant = matches!(expr, Expr::Literal(..));
        if op != Operator::Eq {
            columns.extend([min(value.clone()).alias(&least), max(value).alias(&most)]);
        } else if is_constant {
            let like = when(value.eq(expr.clone()), lit(1_i64)).end()?;
            columns.push(count(like).alias(&least));
        }
        let counted = LogicalPlanBuilder::from(beside.rows.clone())
            .aggregate(beside.keys_as_exprs(), columns)?
            .build()?;
        let compared = |bound: &str| {
            Expr::BinaryExpr(BinaryExpr::new(Box::new(expr.clone()), op, Box::new(named(bound))))
        };
        let holds = match op {
            // Of a constant it is enough to count its like.
            Operator::Eq if is_constant => named(&least).gt(lit(0_i64)),
            Operator::Eq => {
                let (rows, pair) = self.matching(input, &beside, &expr)?;
                let mark = pair.1.clone();
                let pairs = beside.pairs().into_iter().chain([pair]).collect();
                *input = joined(std::mem::take(input), rows, pairs, JoinType::Left)?;
                mark.is_not_null()
            }
            Operator::Gt | Operator::GtEq => compared(&least),
            Operator::Lt | Operator::LtEq => compared(&most),
            Operator::NotEq => compared(&least).or(compared(&most)),
            _ => return Err(refused("ANY and ALL of a subquery with this operator")),
        };
        // The keys are the same: they were renamed, or there would be two of each.
        let (counted, pairs) = match &beside.domain {
            Some(domain) => {
                let (counted, keys) = domain.renamed(self, counted)?;
                (counted, pairs(&domain.outer, &keys))
            }
            None => (counted, Vec::new()),
        };
        *input = with_counts(std::mem::take(input), counted, pairs)?;
        let is_unknown = named(&rows_name)
            .gt(lit(0_i64))
            .and(expr.is_null().or(named(&rows_name).gt(named(&values_name))));
        when(holds, lit(true))
            .when(is_unknown, Expr::Literal(ScalarValue::Boolean(None), None))
            .otherwise(lit(false))
    }

    /// The distinct values of the subquery that are not NULL, and the pair of keys that joins `expr` to them.
    fn matching(
        &mut self,
        input: &LogicalPlan,
        beside: &Beside,
        expr: &Expr,
    ) -> Result<(LogicalPlan, (Expr, Expr))> {
        let name = self.name("value");
        let value = Expr::Column(beside.value.clone());
        let columns = beside.keys_as_exprs().chain([value.clone().alias(&name)]);
        let rows = LogicalPlanBuilder::from(beside.rows.clone())
            .filter(value.is_not_null())?
            .project(columns)?
            .distinct()?
            .build()?;
        let mut pair = (expr.clone(), named(&name));
        // Keys of a join are not looked at as other comparisons are.
        let is_exact = |kind: &DataType| kind.is_decimal() || is_wide(kind);
        let kinds = (pair.0.get_type(input.schema())?, pair.1.get_type(rows.schema())?);
        if kinds.0.is_floating() && is_exact(&kinds.1) {
            pair.1 = cast(pair.1, DataType::Float64);
        } else if is_exact(&kinds.0) && kinds.1.is_floating() {
            pair.0 = cast(pair.0, DataType::Float64);
        }
        Ok((rows, pair))
    }

    /// `expr` as a column of `input`, which is given it if need be.
    fn column(&mut self, input: &mut LogicalPlan, expr: Expr) -> Result<Expr> {
        if matches!(expr, Expr::Column(_) | Expr::Literal(..)) {
            return Ok(expr);
        }
        let name = self.name("compared");
        let columns = input.schema().columns().into_iter().map(Expr::Column);
        let columns: Vec<Expr> = columns.chain([expr.alias(&name)]).collect();
        *input = LogicalPlanBuilder::from(std::mem::take(input)).project(columns)?.build()?;
        Ok(named(&name))
    }

    fn beside(&mut self, input: &LogicalPlan, subquery: &Subquery) -> Result<Beside> {
        let plan = subquery.subquery.as_ref();
        let columns = bound(&free(plan)?, input.schema());
        let value = Column::from(plan.schema().qualified_field(0));
        if columns.is_empty() {
            return Ok(Beside { rows: plan.clone(), domain: None, value });
        }
        if is_volatile(plan)? {
            return Err(refused("a volatile function in a subquery that names outer columns"));
        }
        let domain = self.domain(input, &columns)?;
        let rows = self.push(plan, &domain)?;
        Ok(Beside { rows, domain: Some(domain), value })
    }
}

impl Beside {
    fn keys_as_exprs(&self) -> impl Iterator<Item = Expr> + '_ {
        self.domain.iter().flat_map(Domain::exprs)
    }

    fn pairs(&self) -> Vec<(Expr, Expr)> {
        self.domain.as_ref().map(|domain| pairs(&domain.outer, &domain.inner)).unwrap_or_default()
    }
}

/// Outer columns, each with the one that has its values.
fn pairs(outer: &[Column], keys: &[Column]) -> Vec<(Expr, Expr)> {
    outer.iter().cloned().map(Expr::Column).zip(keys.iter().cloned().map(Expr::Column)).collect()
}

/// `left` joined to `right` where all `pairs` are the same, NULL being the same as NULL.
pub fn joined(
    left: LogicalPlan,
    right: LogicalPlan,
    pairs: Vec<(Expr, Expr)>,
    kind: JoinType,
) -> Result<LogicalPlan> {
    let filter = pairs.is_empty().then(|| lit(true));
    Ok(LogicalPlan::Join(Join::try_new(
        Arc::new(left),
        Arc::new(right),
        pairs,
        filter,
        kind,
        JoinConstraint::On,
        NullEquality::NullEqualsNull,
        false,
    )?))
}

/// `input` beside the aggregates of a subquery's rows: one row of them for each combination of `pairs`, or, without pairs, one
/// row, whatever there is.
fn with_counts(input: LogicalPlan, counts: LogicalPlan, pairs: Vec<(Expr, Expr)>) -> Result<LogicalPlan> {
    if pairs.is_empty() {
        return LogicalPlanBuilder::from(input).cross_join(counts)?.build();
    }
    joined(input, counts, pairs, JoinType::Left)
}

fn named(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

/// The operator that holds where `op` does not.
fn complement(op: Operator) -> Result<Operator> {
    Ok(match op {
        Operator::Eq => Operator::NotEq,
        Operator::NotEq => Operator::Eq,
        Operator::Lt => Operator::GtEq,
        Operator::GtEq => Operator::Lt,
        Operator::Gt => Operator::LtEq,
        Operator::LtEq => Operator::Gt,
        _ => return Err(refused("ANY and ALL of a subquery with this operator")),
    })
}

/// Whether `plan` gives one row at most.
fn gives_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => gives_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => gives_one_row(&alias.input),
        LogicalPlan::Filter(filter) => gives_one_row(&filter.input),
        LogicalPlan::Sort(sort) => gives_one_row(&sort.input),
        LogicalPlan::Distinct(Distinct::All(input)) => gives_one_row(input),
        LogicalPlan::Window(window) => gives_one_row(&window.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::Limit(limit) => {
            let is_one =
                matches!(limit.fetch.as_deref(), Some(Expr::Literal(ScalarValue::Int64(Some(0 | 1)), _)));
            is_one || gives_one_row(&limit.input)
        }
        _ => false,
    }
}
