//! `SELECT a::text, a::bigint`: a cast of a column has the column's name, as often as there are casts. The planner wants each
//! name once, and names what is computed without its casts: `sum(a), sum(a)::text`.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Ident, Select, SelectItem, VisitMut, VisitorMut};

use super::take;
use crate::sql::names::{column_name, folded};

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
            let expr = take(expr);
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
    }
    let mut computed: HashSet<String> = HashSet::new();
    for (at, item) in select.projection.iter_mut().enumerate() {
        if let SelectItem::UnnamedExpr(expr) = item
            && cast_column(expr).0.is_none()
            && !computed.insert(without_casts(expr).to_string())
        {
            let alias = mark(expr, at);
            *item = SelectItem::ExprWithAlias { expr: take(expr), alias };
        }
    }
}

/// A name for the output column `at`, by which it is shown as without one, and found.
pub fn mark(expr: &Expr, at: usize) -> Ident {
    Ident::with_quote('"', format!("{}{REPEATED}{at}", column_name(expr)))
}

fn without_casts(expr: &Expr) -> Expr {
    struct Casts;
    impl VisitorMut for Casts {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Cast { expr: inner, .. } | Expr::Nested(inner) = expr {
                *expr = take(inner);
            }
            ControlFlow::Continue(())
        }
    }
    let mut expr = expr.clone();
    let _ = expr.visit(&mut Casts);
    expr
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
