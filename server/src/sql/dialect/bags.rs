//! `EXCEPT ALL` and `INTERSECT ALL`, which count how often each row comes. The planner's do not: rows are numbered among
//! their likes here, and the plain operations over rows with their numbers give what is meant.

use std::ops::ControlFlow;

use engine::{Error, Result};
use sqlparser::ast::{
    Ident, Select, SelectItem, SetExpr, SetOperator, SetQuantifier, Statement, TableFactor, VisitMut,
    VisitorMut,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use crate::sql::names;

const LEFT: &str = "sluice left";
const RIGHT: &str = "sluice right";

/// Rewrites those within `body`, subqueries aside.
pub fn adapt(body: &mut SetExpr) -> Result<()> {
    let SetExpr::SetOperation { op, set_quantifier, left, right } = body else { return Ok(()) };
    adapt(left)?;
    adapt(right)?;
    let counts_rows = *set_quantifier == SetQuantifier::All;
    if !counts_rows || !matches!(op, SetOperator::Except | SetOperator::Intersect) {
        return Ok(());
    }
    let Some(names) = columns(left) else {
        return Err(Error::NotSupported {
            message: format!("{op} ALL over SELECT * is not supported: name its columns"),
        });
    };
    let word = if *op == SetOperator::Except { "EXCEPT" } else { "INTERSECT" };
    let (left, right) =
        (std::mem::replace(left.as_mut(), nothing()), std::mem::replace(right.as_mut(), nothing()));
    *body = numbered(word, &names, left, right)?;
    Ok(())
}

fn nothing() -> SetExpr {
    SetExpr::Values(sqlparser::ast::Values { explicit_row: false, value_keyword: false, rows: Vec::new() })
}

/// The names of the columns of `body`, where all are written; `None` for one without a name.
fn columns(body: &SetExpr) -> Option<Vec<Option<Ident>>> {
    match body {
        SetExpr::SetOperation { left, .. } => columns(left),
        SetExpr::Query(query) => columns(&query.body),
        SetExpr::Values(values) => Some(vec![None; values.rows.first()?.content.len()]),
        SetExpr::Select(select) => select_columns(select),
        _ => None,
    }
}

fn select_columns(select: &Select) -> Option<Vec<Option<Ident>>> {
    let column = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(Some(alias.clone())),
        SelectItem::UnnamedExpr(expr) => Some(match names::column_name(expr) {
            name if name == names::UNNAMED => None,
            name => Some(Ident::with_quote('"', name)),
        }),
        _ => None,
    };
    select.projection.iter().map(column).collect()
}

fn numbered(word: &str, names: &[Option<Ident>], left: SetExpr, right: SetExpr) -> Result<SetExpr> {
    let all = (0..names.len()).map(|at| format!("c{at}")).collect::<Vec<_>>().join(", ");
    // A row without columns is like every other.
    let likes = if names.is_empty() { String::new() } else { format!("PARTITION BY {all}") };
    let side =
        |name: &str| format!("(SELECT *, row_number() OVER ({likes}) FROM (SELECT 1) AS \"{name}\"({all}))");
    let text = format!("SELECT {all} FROM ({} {word} {}) AS bag({all}, number)", side(LEFT), side(RIGHT));
    let parsed = Parser::parse_sql(&PostgreSqlDialect {}, &text).ok().and_then(|mut parsed| parsed.pop());
    let Some(Statement::Query(mut query)) = parsed else {
        return Err(Error::internal("a statement of ours cannot be read"));
    };
    let mut sides = Sides { left: Some(left), right: Some(right) };
    let _ = query.visit(&mut sides);
    let mut body = *query.body;
    if let SetExpr::Select(select) = &mut body {
        for (item, name) in select.projection.iter_mut().zip(names) {
            if let (SelectItem::UnnamedExpr(expr), Some(name)) = (&*item, name) {
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: name.clone() };
            }
        }
    }
    Ok(body)
}

/// Puts the two sides where they belong.
struct Sides {
    left: Option<SetExpr>,
    right: Option<SetExpr>,
}

impl VisitorMut for Sides {
    type Break = ();

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Derived { subquery, alias: Some(alias), .. } = factor {
            let side = match alias.name.value.as_str() {
                LEFT => self.left.take(),
                RIGHT => self.right.take(),
                _ => None,
            };
            if let Some(side) = side {
                *subquery.body = side;
            }
        }
        ControlFlow::Continue(())
    }
}
