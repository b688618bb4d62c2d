//! A subquery in FROM that names columns of the tables before it.

use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::error::Result;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, Join, LogicalPlan, LogicalPlanBuilder, Operator, SubqueryAlias,
};

use super::{Unnester, bound, free, has_subquery, refused};

/// The right side of `join` as a plan of its own, when it is a subquery that names columns beside it.
pub fn right_of(join: &Join) -> Option<LogicalPlan> {
    opened(&join.right)
}

fn opened(plan: &LogicalPlan) -> Option<LogicalPlan> {
    match plan {
        LogicalPlan::Subquery(subquery) => Some(subquery.subquery.as_ref().clone()),
        LogicalPlan::SubqueryAlias(alias) => {
            let input = opened(&alias.input)?;
            SubqueryAlias::try_new(Arc::new(input), alias.alias.clone()).ok().map(LogicalPlan::SubqueryAlias)
        }
        LogicalPlan::Projection(projection) => {
            let input = opened(&projection.input)?;
            plan.with_new_exprs(projection.expr.clone(), vec![input]).ok()
        }
        _ => None,
    }
}

impl Unnester {
    /// `join` with `right`, its right side, for the rows of the left one.
    pub fn lateral(&mut self, join: Join, right: LogicalPlan) -> Result<LogicalPlan> {
        let outer = bound(&free(&right)?, join.left.schema());
        if outer.is_empty() {
            return self.host(LogicalPlan::Join(Join { right: Arc::new(right), ..join }));
        }
        if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
            return Err(refused("LATERAL on the right of a RIGHT or FULL JOIN"));
        }
        if join.filter.as_ref().is_some_and(|filter| has_subquery(filter).unwrap_or(true)) {
            return Err(refused("a subquery in the condition of a join with LATERAL"));
        }
        let columns = join.schema.columns();
        let domain = self.domain(&join.left, &outer)?;
        let right = self.push(&right, &domain)?;
        let keys = outer.iter().zip(&domain.inner).map(|(outer, inner)| {
            let (outer, inner) = (Expr::Column(outer.clone()), Expr::Column(inner.clone()));
            same(outer, inner)
        });
        let written = join.on.into_iter().map(|(left, right)| left.eq(right));
        let filter = conjunction(written.chain(keys).chain(join.filter));
        let joined = Join::try_new(
            join.left,
            Arc::new(right),
            Vec::new(),
            filter,
            join.join_type,
            join.join_constraint,
            join.null_equality,
            false,
        )?;
        LogicalPlanBuilder::from(LogicalPlan::Join(joined))
            .project(columns.into_iter().map(Expr::Column))?
            .build()
    }
}

/// `left IS NOT DISTINCT FROM right`.
pub fn same(left: Expr, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), Operator::IsNotDistinctFrom, Box::new(right)))
}
