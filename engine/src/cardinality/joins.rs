//! How many rows joins give.

use std::sync::Arc;

use datafusion::common::{JoinSide, JoinType};
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};

use super::columns::{ColumnFacts, of_expression};
use super::{Cardinality, Estimated, filters};

struct Join<'a> {
    kind: JoinType,
    on: &'a [(PhysicalExprRef, PhysicalExprRef)],
    filter: Option<&'a JoinFilter>,
    projection: Option<&'a [usize]>,
}

/// What `plan` gives, when it is a join.
pub(super) fn output(plan: &dyn ExecutionPlan, inputs: &[Estimated]) -> Option<Cardinality> {
    let [left, right] = inputs else { return None };
    let join = if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        Join {
            kind: *join.join_type(),
            on: join.on(),
            filter: join.filter(),
            projection: join.projection.as_deref(),
        }
    } else if let Some(join) = plan.downcast_ref::<SortMergeJoinExec>() {
        Join { kind: join.join_type(), on: join.on(), filter: join.filter().as_ref(), projection: None }
    } else if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        let projection = join.projection().as_deref();
        Join { kind: *join.join_type(), on: &[], filter: join.filter(), projection }
    } else if plan.is::<CrossJoinExec>() {
        Join { kind: JoinType::Inner, on: &[], filter: None, projection: None }
    } else {
        return None;
    };
    Some(joined(&join, &left.output, &right.output))
}

fn joined(join: &Join<'_>, left: &Cardinality, right: &Cardinality) -> Cardinality {
    let keys = Keys::of(join, left, right);
    let mut matched = left.rows * right.rows * keys.share;
    if let Some(filter) = join.filter {
        matched *= share_of_filter(filter, left, right);
    }
    // Of each side, the share of rows that have a match.
    let met = |distinct: f64, other: f64, of: f64| {
        let share = if distinct > 0.0 { (other / distinct).min(1.0) } else { 0.0 };
        let filtered = if join.filter.is_some() { matched / of.max(1.0) } else { f64::INFINITY };
        share.min(filtered).min(1.0)
    };
    let (left_met, right_met) = if join.on.is_empty() {
        (met(1.0, 1.0, left.rows), met(1.0, 1.0, right.rows))
    } else {
        (
            met(keys.left_distinct, keys.right_distinct, left.rows),
            met(keys.right_distinct, keys.left_distinct, right.rows),
        )
    };
    let (rows, sides) = match join.kind {
        JoinType::Inner => (matched, Sides::Both),
        JoinType::Left => (matched.max(left.rows), Sides::Both),
        JoinType::Right => (matched.max(right.rows), Sides::Both),
        JoinType::Full => (matched.max(left.rows).max(right.rows), Sides::Both),
        JoinType::LeftSemi => (left.rows * left_met, Sides::Left),
        JoinType::LeftAnti => (left.rows * (1.0 - left_met).max(0.1), Sides::Left),
        JoinType::RightSemi => (right.rows * right_met, Sides::Right),
        JoinType::RightAnti => (right.rows * (1.0 - right_met).max(0.1), Sides::Right),
        JoinType::LeftMark => (left.rows, Sides::LeftMark),
        JoinType::RightMark => (right.rows, Sides::RightMark),
    };
    let mut columns: Vec<ColumnFacts> = Vec::new();
    let mut take = |side: &Cardinality, of: f64| {
        let share = if side.rows > 0.0 { (of / side.rows).min(1.0) } else { 1.0 };
        columns.extend(side.columns.iter().map(|column| column.after(share, rows.max(1.0))));
    };
    // A row that is joined with several is there several times: no value is lost for that.
    let reached = |side: &Cardinality, share: f64| match join.kind {
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => side.rows * share,
        _ => rows,
    };
    match sides {
        Sides::Both => {
            take(left, reached(left, left_met));
            take(right, reached(right, right_met));
        }
        Sides::Left => take(left, rows),
        Sides::Right => take(right, rows),
        Sides::LeftMark => take(left, rows),
        Sides::RightMark => take(right, rows),
    }
    if matches!(sides, Sides::LeftMark | Sides::RightMark) {
        columns.push(ColumnFacts::flag(rows));
    }
    let columns = match join.projection {
        Some(projection) => projection.iter().filter_map(|at| columns.get(*at).cloned()).collect(),
        None => columns,
    };
    Cardinality { rows, columns, schema: Arc::clone(&left.schema) }
}

enum Sides {
    Both,
    Left,
    Right,
    LeftMark,
    RightMark,
}

/// What the keys of a join tell.
struct Keys {
    /// Share of all pairs that agree in them.
    share: f64,
    left_distinct: f64,
    right_distinct: f64,
}

impl Keys {
    fn of(join: &Join<'_>, left: &Cardinality, right: &Cardinality) -> Self {
        if join.on.is_empty() {
            return Self { share: 1.0, left_distinct: left.rows, right_distinct: right.rows };
        }
        let facts = |side: &Cardinality, key: fn(&(PhysicalExprRef, PhysicalExprRef)) -> &PhysicalExprRef| {
            join.on.iter().map(|on| of_expression(key(on), side)).collect::<Vec<_>>()
        };
        let (lefts, rights) = (facts(left, |on| &on.0), facts(right, |on| &on.1));
        let (left_whole, right_whole) = (whole(&lefts), whole(&rights));
        let are_stored = lefts.iter().chain(&rights).all(|of| of.is_stored);
        let is_reference = is_unique(&lefts, left_whole) || is_unique(&rights, right_whole);
        let domain = if are_stored && is_reference {
            // One side has each value once at most, and the other refers to it: its own number of different values is
            // an upper bound that is no better known than that.
            let unique = |facts, whole| if is_unique(facts, whole) { whole } else { f64::INFINITY };
            unique(&lefts, left_whole).min(unique(&rights, right_whole))
        } else {
            left_whole.max(right_whole)
        };
        let present = |facts: &[ColumnFacts]| facts.iter().map(|of| 1.0 - of.nulls).product::<f64>();
        Self {
            share: present(&lefts) * present(&rights) / domain.max(1.0),
            left_distinct: super::columns::distinct_together(&lefts, left.rows),
            right_distinct: super::columns::distinct_together(&rights, right.rows),
        }
    }
}

/// Different values of keys in the whole of the table that they come from.
fn whole(keys: &[ColumnFacts]) -> f64 {
    let product = keys.iter().fold(1.0_f64, |product, of| (product * of.whole_distinct()).min(1e18));
    let rows = keys.iter().map(|of| of.base_rows).fold(0.0, f64::max);
    product.min(rows.max(1.0))
}

fn is_unique(keys: &[ColumnFacts], whole: f64) -> bool {
    let rows = keys.iter().map(|of| of.base_rows).fold(0.0, f64::max);
    rows > 0.0 && whole >= rows * 0.999
}

/// The share of pairs for which a condition over both sides holds.
fn share_of_filter(filter: &JoinFilter, left: &Cardinality, right: &Cardinality) -> f64 {
    let columns = filter.column_indices().iter().filter_map(|at| match at.side {
        JoinSide::Left => left.columns.get(at.index).cloned(),
        JoinSide::Right => right.columns.get(at.index).cloned(),
        JoinSide::None => None,
    });
    let both = Cardinality {
        rows: left.rows.max(right.rows),
        columns: columns.collect(),
        schema: Arc::clone(filter.schema()),
    };
    if both.columns.len() != filter.schema().fields().len() {
        return 1.0;
    }
    filters::share(filter.expression(), &both)
}
