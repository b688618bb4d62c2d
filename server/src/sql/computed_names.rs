//! Names for computed columns that are called alike. To PostgreSQL they are columns at their places; DataFusion wants each once,
//! and calls what it computes by how: `d + 3` and `3 + d` are one to it, as two `EXISTS` are.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use sqlparser::ast::{Expr, Ident, Query, SelectItem, SetExpr, VisitMut, VisitorMut};

use super::dialect::REPEATED;
use super::names::column_name;

/// Gives such columns names of their own, which nobody sees.
pub fn tell_computed_apart(statement: &mut Statement) {
    if let Statement::Statement(statement) = statement {
        let _ = statement.visit(&mut Apart);
    }
}

struct Apart;

impl VisitorMut for Apart {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        in_body(&mut query.body);
        ControlFlow::Continue(())
    }
}

fn in_body(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => in_items(&mut select.projection),
        SetExpr::SetOperation { left, right, .. } => {
            in_body(left);
            in_body(right);
        }
        _ => {}
    }
}

fn in_items(items: &mut [SelectItem]) {
    let computed = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => None,
        SelectItem::UnnamedExpr(expr) => Some(column_name(expr)),
        _ => None,
    };
    let mut times: HashMap<String, usize> = HashMap::new();
    for name in items.iter().filter_map(computed) {
        *times.entry(name).or_default() += 1;
    }
    for (at, item) in items.iter_mut().enumerate() {
        let Some(name) = computed(item).filter(|name| times.get(name).is_some_and(|times| *times > 1)) else {
            continue;
        };
        if let SelectItem::UnnamedExpr(expr) = &*item {
            let alias = Ident::with_quote('"', format!("{name}{REPEATED}at {at}"));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}
