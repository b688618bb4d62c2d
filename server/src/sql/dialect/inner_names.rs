//! The columns of a query that stands as a table have PostgreSQL's names, by which they are called: `count` and not
//! `count(*)`. They are given before anything is written otherwise, since the names are those of what was written.

use std::collections::HashMap;

use sqlparser::ast::{Expr, Ident, Query, SelectItem, SetExpr, TableFactor};

use super::REPEATED;
use super::take;
use crate::sql::names::{column_name, folded};

/// Names the columns of the common table expressions of `query`.
pub fn adapt_with(query: &mut Query) {
    for table in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
        name(&mut table.query.body);
    }
}

/// Names the columns of a query in FROM.
pub fn adapt_table(factor: &mut TableFactor) {
    if let TableFactor::Derived { subquery, .. } = factor {
        name(&mut subquery.body);
    }
}

fn name(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => name_items(&mut select.projection),
        SetExpr::Query(query) => name(&mut query.body),
        SetExpr::SetOperation { left, right, .. } => {
            name(left);
            name(right);
        }
        _ => {}
    }
}

fn name_items(items: &mut [SelectItem]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for item in items {
        let (name, is_column) = match &*item {
            SelectItem::UnnamedExpr(expr) => {
                let is_column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                (column_name(expr), is_column)
            }
            SelectItem::ExprWithAlias { alias, .. } => (folded(alias), true),
            _ => continue,
        };
        let times = seen.entry(name.clone()).or_default();
        *times += 1;
        if *times == 1 && is_column {
            continue;
        }
        let named = if *times == 1 { name } else { format!("{name}{REPEATED}{times}") };
        let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else { continue };
        *item = SelectItem::ExprWithAlias { expr: take(expr), alias: Ident::with_quote('"', named) };
    }
}
