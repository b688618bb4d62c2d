//! `SELECT a::text, a::bigint`: a cast of a column has the column's name, as often as there are casts. The planner wants each
//! name once.

use std::collections::HashMap;

use sqlparser::ast::{Expr, Ident, Select, SelectItem};

use crate::sql::names::folded;

/// What comes after a name that is not the first of its kind. No name that is written has it.
pub const REPEATED: char = '\u{1}';

/// Gives the casts of `select` that have the name of another column names of their own.
pub fn adapt_select(select: &mut Select) {
    let mut columns: HashMap<String, usize> = HashMap::new();
    for item in &select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && let (Some(name), false) = cast_column(expr)
        {
            *columns.entry(name).or_default() += 1;
        }
    }
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let (Some(name), true) = cast_column(expr) else { continue };
        let before = columns.entry(name.clone()).or_default();
        *before += 1;
        if *before > 1 {
            let alias = Ident::with_quote('"', format!("{name}{REPEATED}{before}"));
            let expr = std::mem::replace(
                expr,
                Expr::Wildcard(sqlparser::ast::helpers::attached_token::AttachedToken::empty()),
            );
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
    }
}

/// The name of the column that `expr` is, or is a cast of, and whether it is a cast.
fn cast_column(expr: &Expr) -> (Option<String>, bool) {
    match expr {
        Expr::Identifier(name) => (Some(folded(name)), false),
        Expr::CompoundIdentifier(parts) => (parts.last().map(folded), false),
        Expr::Nested(inner) => cast_column(inner),
        Expr::Cast { expr, .. } => (cast_column(expr).0, true),
        _ => (None, false),
    }
}
