//! Where NULL and literals in quotes get a type though nothing beside them has one: as columns of a subquery and of two queries of a
//! set operation they are texts (`transformSetOperationTree` and `resolveTargetListUnknowns` of PostgreSQL's parser). The planner
//! would let what stands above them choose.

use sqlparser::ast::{CastKind, DataType, Expr, Ident, Query, SelectItem, SetExpr, TableFactor, Value};

use crate::sql::names;

/// Settles the columns of the set operations of `query`, and of its common table expressions.
pub fn in_query(query: &mut Query) {
    settle_sets(&mut query.body);
    query
        .with
        .iter_mut()
        .flat_map(|with| &mut with.cte_tables)
        .for_each(|table| settle(&mut table.query.body));
}

/// Settles the columns of a subquery in FROM.
pub fn in_table(factor: &mut TableFactor) {
    if let TableFactor::Derived { subquery, .. } = factor {
        settle(&mut subquery.body);
    }
}

/// Settles the column of a subquery within an expression.
pub fn in_expr(expr: &mut Expr) {
    match expr {
        Expr::Subquery(query) | Expr::InSubquery { subquery: query, .. } => settle(&mut query.body),
        Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => in_expr(right),
        _ => {}
    }
}

/// Two queries that both have no type for a column have texts there.
fn settle_sets(body: &mut SetExpr) {
    let SetExpr::SetOperation { left, right, .. } = body else { return };
    for side in [left.as_mut(), right.as_mut()] {
        match side {
            SetExpr::SetOperation { .. } => settle_sets(side),
            SetExpr::Values(_) => settle(side),
            _ => {}
        }
    }
    let (mut ours, mut theirs) = (open_columns(left), open_columns(right));
    for (one, other) in ours.iter_mut().zip(&mut theirs) {
        if let (Some(one), Some(other)) = (one, other) {
            one.settle();
            other.settle();
        }
    }
}

/// Makes texts of the columns of `body` that have no type.
fn settle(body: &mut SetExpr) {
    if let SetExpr::Values(values) = body {
        let width = values.rows.first().map_or(0, |row| row.content.len());
        for at in 0..width {
            let mut column: Vec<&mut Expr> =
                values.rows.iter_mut().filter_map(|row| row.content.get_mut(at)).collect();
            if column.iter().all(|expr| is_open(expr)) {
                column.iter_mut().for_each(|expr| make_text(expr));
            }
        }
        return;
    }
    open_columns(body).into_iter().flatten().for_each(|mut column| column.settle());
}

/// A column of a SELECT that has no type.
struct Open<'a>(&'a mut SelectItem);

impl Open<'_> {
    fn settle(&mut self) {
        match self.0 {
            SelectItem::ExprWithAlias { expr, .. } => make_text(expr),
            SelectItem::UnnamedExpr(expr) => {
                // A cast would give the column its name.
                let alias = Ident::with_quote('"', names::column_name(expr));
                let mut expr = expr.clone();
                make_text(&mut expr);
                *self.0 = SelectItem::ExprWithAlias { expr, alias };
            }
            _ => {}
        }
    }
}

/// The columns of a SELECT, with `None` for those that have types. Nothing is known of those behind a `*`.
fn open_columns(body: &mut SetExpr) -> Vec<Option<Open<'_>>> {
    let select = match body {
        SetExpr::Select(select) => select,
        SetExpr::Query(query) => return open_columns(&mut query.body),
        _ => return Vec::new(),
    };
    let is_written =
        |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
    let written = select.projection.iter().take_while(|item| is_written(item)).count();
    let columns = select.projection.iter_mut().take(written);
    columns
        .map(|item| {
            let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = &*item else {
                return None;
            };
            is_open(expr).then_some(Open(item))
        })
        .collect()
}

fn is_open(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(value.value, Value::Null | Value::SingleQuotedString(_)),
        Expr::Nested(inner) => is_open(inner),
        _ => false,
    }
}

fn make_text(expr: &mut Expr) {
    let open = std::mem::replace(expr, Expr::value(Value::Null));
    *expr = Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(open),
        data_type: DataType::Text,
        array: false,
        format: None,
    };
}
