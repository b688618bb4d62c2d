//! What PostgreSQL refuses of `WITH RECURSIVE`, and what cannot be computed of `WITH`: a query that gives other rows each time
//! is computed once in PostgreSQL, and here as often as it is read.

use std::ops::ControlFlow;

use engine::{Error, Result};
use sqlparser::ast::{
    Cte, Expr, JoinOperator, LimitClause, ObjectName, ObjectNamePart, Query, Select, SetExpr, SetOperator,
    TableFactor, TableWithJoins, Visit, Visitor,
};

use crate::sql::dialect::has_aggregate;
use crate::sql::names::{CommonTables, folded};
use crate::sql::tables::VOLATILE;

/// Checks a query of `WITH RECURSIVE` that reads itself.
///
/// Fails with 42P19 and 0A000 where PostgreSQL does.
pub fn check(table: &Cte) -> Result<()> {
    let name = folded(&table.alias.name);
    if count(table.query.as_ref(), &name) == 0 {
        return Ok(());
    }
    let query = table.query.as_ref();
    let SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } = query.body.as_ref() else {
        return Err(invalid(format!(
            "recursive query \"{name}\" does not have the form non-recursive-term UNION [ALL] recursive-term"
        )));
    };
    if count(left.as_ref(), &name) > 0 {
        return Err(misplaced(&name, "within its non-recursive term"));
    }
    check_clauses(query)?;
    check_term(right, &name)?;
    match count(right.as_ref(), &name) {
        0 | 1 => Ok(()),
        _ => Err(misplaced(&name, "more than once")),
    }
}

fn invalid(message: String) -> Error {
    Error::InvalidRecursion { message }
}

fn misplaced(name: &str, place: &str) -> Error {
    invalid(format!("recursive reference to query \"{name}\" must not appear {place}"))
}

fn check_clauses(query: &Query) -> Result<()> {
    let (limit, offset) = match &query.limit_clause {
        Some(LimitClause::LimitOffset { limit, offset, .. }) => (limit.is_some(), offset.is_some()),
        Some(LimitClause::OffsetCommaLimit { .. }) => (true, true),
        None => (false, false),
    };
    let clauses = [
        (query.order_by.is_some(), "ORDER BY"),
        (offset, "OFFSET"),
        (limit || query.fetch.is_some(), "LIMIT"),
        (!query.locks.is_empty(), "FOR UPDATE/SHARE"),
    ];
    match clauses.into_iter().find(|(is_there, _)| *is_there) {
        Some((_, what)) => {
            Err(Error::NotSupported { message: format!("{what} in a recursive query is not implemented") })
        }
        None => Ok(()),
    }
}

/// Looks where in a recursive term `name` is read.
fn check_term(term: &SetExpr, name: &str) -> Result<()> {
    match term {
        SetExpr::Select(select) => check_select(select, name),
        SetExpr::Query(query) if query.with.is_none() => check_term(&query.body, name),
        SetExpr::SetOperation { op, left, right, .. } => {
            match op {
                SetOperator::Except if count(right.as_ref(), name) > 0 => {
                    Err(misplaced(name, "within EXCEPT"))
                }
                SetOperator::Intersect if count(term, name) > 0 => Err(misplaced(name, "within INTERSECT")),
                _ => Ok(()),
            }?;
            check_term(left, name)?;
            check_term(right, name)
        }
        _ => Ok(()),
    }
}

fn check_select(select: &Select, name: &str) -> Result<()> {
    if in_expressions(select, name) {
        return Err(misplaced(name, "within a subquery"));
    }
    for source in &select.from {
        check_source(source, name)?;
    }
    let reads =
        |factor: &TableFactor| matches!(factor, TableFactor::Table { name: read, .. } if is(read, name));
    let reads_itself = select
        .from
        .iter()
        .any(|source| reads(&source.relation) || source.joins.iter().any(|join| reads(&join.relation)));
    if reads_itself && (has_aggregate(&select.projection) || has_aggregate(&select.having)) {
        return Err(invalid(
            "aggregate functions are not allowed in a recursive query's recursive term".to_owned(),
        ));
    }
    Ok(())
}

/// Whether a query in an expression of `select` reads `name`.
fn in_expressions(select: &Select, name: &str) -> bool {
    let mut bare = select.clone();
    bare.from.clear();
    count(&bare, name) > 0
}

fn check_source(source: &TableWithJoins, name: &str) -> Result<()> {
    let mut before = count(&source.relation, name) > 0;
    check_factor(&source.relation, name)?;
    for join in &source.joins {
        let is_there = count(&join.relation, name) > 0;
        let is_wrong = match &join.join_operator {
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => is_there,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => before,
            JoinOperator::FullOuter(_) => is_there || before,
            _ => false,
        };
        if is_wrong {
            return Err(misplaced(name, "within an outer join"));
        }
        check_factor(&join.relation, name)?;
        before |= is_there;
    }
    Ok(())
}

fn check_factor(factor: &TableFactor, name: &str) -> Result<()> {
    match factor {
        TableFactor::Derived { subquery, .. } if subquery.with.is_none() => check_term(&subquery.body, name),
        TableFactor::NestedJoin { table_with_joins, .. } => check_source(table_with_joins, name),
        _ => Ok(()),
    }
}

fn is(read: &ObjectName, name: &str) -> bool {
    matches!(read.0.as_slice(), [ObjectNamePart::Identifier(ident)] if folded(ident) == name)
}

/// How often `part` reads `name`, where no query in it gives the name to another.
fn count(part: &impl Visit, name: &str) -> usize {
    struct Reads<'a> {
        name: &'a str,
        in_scope: CommonTables,
        found: usize,
    }
    impl Visitor for Reads<'_> {
        type Break = ();

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            self.in_scope.enter(query);
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            self.in_scope.leave(query);
            ControlFlow::Continue(())
        }

        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
            self.found += usize::from(is(relation, self.name) && !self.in_scope.has(self.name));
            ControlFlow::Continue(())
        }
    }
    let mut reads = Reads { name, in_scope: CommonTables::default(), found: 0 };
    let _ = part.visit(&mut reads);
    reads.found
}

/// Whether `query` gives other rows each time that it is computed: by what it calls, or by what it reads of `changing`.
pub fn changes(query: &Query, changing: &[&str]) -> bool {
    struct Calls;
    impl Visitor for Calls {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
            let name = function.name.0.last().and_then(ObjectNamePart::as_ident).map(folded);
            match name.is_some_and(|name| VOLATILE.contains(&name.as_str())) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    query.visit(&mut Calls).is_break() || changing.iter().any(|name| count(query, name) > 0)
}

/// Refuses a query that gives other rows each time, and is read more than once.
pub fn check_read_once(name: &str, changes: bool, times: usize) -> Result<()> {
    if !changes || times < 2 {
        return Ok(());
    }
    Err(Error::NotSupported {
        message: format!(
            "WITH query \"{name}\", which gives other rows each time that it is computed, is not supported where it is read more than once: store its rows in a table first"
        ),
    })
}
