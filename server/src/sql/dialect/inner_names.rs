//! The columns of a query that stands as a table have PostgreSQL's names, by which they are called: `count` and not
//! `count(*)`. They are given before anything is written otherwise, since the names are those of what was written.

use std::collections::HashMap;

use sqlparser::ast::{Expr, Ident, Query, SelectItem, SetExpr, TableFactor};

use super::REPEATED;
use super::take;
use crate::sql::names::{column_name, folded};

/// True for what is called without brackets, which is no column.
fn is_word(expr: &Expr) -> bool {
    const WORDS: [&str; 10] = [
        "current_catalog",
        "current_date",
        "current_role",
        "current_schema",
        "current_timestamp",
        "current_user",
        "localtime",
        "localtimestamp",
        "session_user",
        "user",
    ];
    matches!(expr, Expr::Identifier(ident) if ident.quote_style.is_none()
        && WORDS.iter().any(|word| ident.value.eq_ignore_ascii_case(word)))
}

/// Names the columns of the common table expressions of `query`.
pub fn adapt_with(query: &mut Query) {
    for table in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
        name(&mut table.query.body, false);
    }
}

/// Names the columns of a query in FROM.
pub fn adapt_table(factor: &mut TableFactor) {
    if let TableFactor::Derived { lateral, subquery, .. } = factor {
        name(&mut subquery.body, *lateral);
    }
}

/// `is_lateral` where columns may be those of a table before it, for which the planner has names of its own.
fn name(body: &mut SetExpr, is_lateral: bool) {
    match body {
        SetExpr::Select(select) => name_items(&mut select.projection, is_lateral),
        SetExpr::Query(query) => name(&mut query.body, is_lateral),
        SetExpr::SetOperation { left, right, .. } => {
            name(left, is_lateral);
            name(right, is_lateral);
        }
        _ => {}
    }
}

fn name_items(items: &mut [SelectItem], is_lateral: bool) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for item in items {
        let (name, is_column) = match &*item {
            SelectItem::UnnamedExpr(expr) => {
                let is_column = !is_lateral
                    && !is_word(expr)
                    && matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
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
