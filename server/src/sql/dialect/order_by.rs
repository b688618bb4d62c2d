//! `ORDER BY name` means the output column of that name before any column of a table, as in PostgreSQL.
//!
//! The planner sees no difference between `a::text`, which is shown as `a`, and the column `a`: such a name
//! becomes the number of the output column. So does an expression that is shown: the planner would read the names in it as those
//! of output columns, which PostgreSQL does with a name that stands alone only.

use std::collections::HashSet;
use std::ops::ControlFlow;

use engine::{Error, Result, SqlState};
use sqlparser::ast::{
    Distinct, Expr, Function, FunctionArgumentClause, FunctionArguments, GroupByExpr, Ident, OrderByExpr,
    OrderByKind, Query, Select, SelectItem, SetExpr, Statement, UnaryOperator, Value, VisitMut, VisitorMut,
};

use crate::sql::names;

/// Adapts every ORDER BY of `statement`.
pub fn adapt(statement: &mut Statement) {
    let _ = statement.visit(&mut Orders);
}

/// The names, without their tables, of the tables' columns that order `query`, when nothing groups it: a
/// grouped query may group by what it shows.
pub fn columns(query: &Query) -> HashSet<String> {
    let SetExpr::Select(select) = query.body.as_ref() else { return HashSet::new() };
    let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(groups, _) if groups.is_empty());
    let Some(OrderByKind::Expressions(keys)) = query.order_by.as_ref().map(|order_by| &order_by.kind) else {
        return HashSet::new();
    };
    let name = |key: &OrderByExpr| match &key.expr {
        Expr::CompoundIdentifier(parts) => parts.last().map(names::folded),
        _ => None,
    };
    if is_grouped { HashSet::new() } else { keys.iter().filter_map(name).collect() }
}

struct Orders;

impl VisitorMut for Orders {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let Some(order_by) = &mut query.order_by else { return ControlFlow::Continue(()) };
        if let OrderByKind::Expressions(keys) = &mut order_by.kind {
            once(keys);
        }
        if let OrderByKind::Expressions(keys) = &mut order_by.kind {
            keys.iter_mut().for_each(|key| unwrap(&mut key.expr));
        }
        let SetExpr::Select(select) = query.body.as_mut() else { return ControlFlow::Continue(()) };
        // Its expressions and these must be the same.
        if matches!(select.distinct, Some(Distinct::On(_))) {
            return ControlFlow::Continue(());
        }
        if let OrderByKind::Expressions(keys) = &mut order_by.kind {
            for key in keys {
                let number = match &key.expr {
                    Expr::Identifier(name) => number_of(name, &select.projection),
                    expr => number_of_shown(expr, &select.projection),
                };
                if let Some(number) = number {
                    key.expr = Expr::value(Value::Number(number.to_string(), false));
                }
                name_numbered(&key.expr, select);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = expr {
            for clause in &mut list.clauses {
                if let FunctionArgumentClause::OrderBy(keys) = clause {
                    once(keys);
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// Leaves out what comes again: rows that are the same in it are the same. The planner counts it once in one place, and twice
/// in another.
fn once(keys: &mut Vec<OrderByExpr>) {
    let mut seen: Vec<Expr> = Vec::new();
    keys.retain(|key| {
        let is_new = !seen.contains(&key.expr);
        seen.push(key.expr.clone());
        is_new
    });
}

/// `(1)` is `1`, and `(a)` is `a`.
fn unwrap(expr: &mut Expr) {
    while let Expr::Nested(inner) = expr
        && matches!(inner.as_ref(), Expr::Nested(_) | Expr::Identifier(_) | Expr::Value(_))
    {
        *expr = super::take(inner);
    }
}

/// The number of the output column that is `expr`, which is computed.
fn number_of_shown(expr: &Expr, projection: &[SelectItem]) -> Option<usize> {
    if super::is_column(expr) || matches!(expr, Expr::Value(_)) {
        return None;
    }
    for (index, item) in projection.iter().enumerate() {
        match item {
            SelectItem::UnnamedExpr(shown) | SelectItem::ExprWithAlias { expr: shown, .. } => {
                if shown == expr {
                    return Some(index + 1);
                }
            }
            _ => return None,
        }
    }
    None
}

/// Gives what is computed of groups, and is meant by its number, a name to be found by: the planner knows the columns of
/// groups, and those that have names.
fn name_numbered(key: &Expr, select: &mut Select) {
    let Expr::Value(value) = key else { return };
    let Value::Number(digits, _) = &value.value else { return };
    let Some(at) = digits.parse::<usize>().ok().and_then(|number| number.checked_sub(1)) else { return };
    let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(groups, _) if groups.is_empty())
        || super::has_aggregate(&select.projection);
    let has_wildcard = || {
        select
            .projection
            .iter()
            .take(at + 1)
            .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)))
    };
    if !is_grouped || has_wildcard() {
        return;
    }
    if let Some(item @ SelectItem::UnnamedExpr(_)) = select.projection.get_mut(at)
        && let SelectItem::UnnamedExpr(expr) = item
        && !super::is_column(expr)
    {
        let alias = super::repeated::mark(expr, 0);
        *item = SelectItem::ExprWithAlias { expr: super::take(expr), alias };
    }
}

/// Refuses what orders or groups by a value that is written: it would have to be a column's number.
pub fn check_constants(query: &Query) -> Result<()> {
    if let Some(OrderByKind::Expressions(keys)) = query.order_by.as_ref().map(|order_by| &order_by.kind) {
        keys.iter().try_for_each(|key| check_constant(&key.expr, "ORDER BY"))?;
    }
    if let SetExpr::Select(select) = query.body.as_ref()
        && let GroupByExpr::Expressions(groups, _) = &select.group_by
    {
        groups.iter().try_for_each(|group| check_constant(group, "GROUP BY"))?;
    }
    Ok(())
}

fn check_constant(expr: &Expr, clause: &str) -> Result<()> {
    match expr {
        Expr::Nested(inner) => check_constant(inner, clause),
        // The sign of a number is a part of it.
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => match inner.as_ref() {
            Expr::Value(value) => match &value.value {
                Value::Number(digits, _) if digits.parse::<i64>().is_ok() => Err(Error::Stamped {
                    sqlstate: SqlState::from_text("42P10"),
                    message: format!("{clause} position -{digits} is not in select list"),
                }),
                Value::Number(..) => Err(not_whole(clause)),
                _ => Ok(()),
            },
            _ => Ok(()),
        },
        Expr::Value(value) => match &value.value {
            Value::Placeholder(_) => Ok(()),
            Value::Number(digits, _) if digits.parse::<i64>().is_ok() => Ok(()),
            _ => Err(not_whole(clause)),
        },
        _ => Ok(()),
    }
}

fn not_whole(clause: &str) -> Error {
    Error::Syntax { message: format!("non-integer constant in {clause}"), position: None }
}

/// The number of the one computed output column that is shown as `name`.
fn number_of(name: &Ident, projection: &[SelectItem]) -> Option<usize> {
    let name = names::folded(name);
    let mut found = None;
    for (index, item) in projection.iter().enumerate() {
        let (shown, expr) = match item {
            SelectItem::UnnamedExpr(expr) => (names::column_name(expr), expr),
            SelectItem::ExprWithAlias { expr, alias } => (names::folded(alias), expr),
            // How many columns a wildcard stands for is not known here.
            _ => return None,
        };
        if shown == name {
            if super::is_column(expr) || found.is_some() {
                return None;
            }
            found = Some(index + 1);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(sql: &str) -> String {
        let dialect = sqlparser::dialect::PostgreSqlDialect {};
        let mut statements = sqlparser::parser::Parser::parse_sql(&dialect, sql).expect("parsed");
        let mut statement = statements.remove(0);
        adapt(&mut statement);
        statement.to_string()
    }

    #[test]
    fn a_computed_column_is_meant_before_the_table_s() {
        assert_eq!(adapted("SELECT a::TEXT FROM t ORDER BY A DESC"), "SELECT a::TEXT FROM t ORDER BY 1 DESC");
        assert_eq!(
            adapted("SELECT b, -a AS a FROM t ORDER BY a, b"),
            "SELECT b, -a AS a FROM t ORDER BY 2, b"
        );
        for same in [
            "SELECT a FROM t ORDER BY a",
            "SELECT *, a::TEXT FROM t ORDER BY a",
            "SELECT a::TEXT FROM t ORDER BY a + 1",
            "SELECT a::TEXT FROM t ORDER BY t.a",
        ] {
            assert_eq!(adapted(same), same);
        }
    }
}
