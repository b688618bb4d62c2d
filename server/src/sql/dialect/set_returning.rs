//! Functions that give rows where one value is wanted: the planner makes them arrays there, which nobody asked for.

use engine::{Error, Result};
use sqlparser::ast::{Expr, Function, OrderBy, OrderByKind, Query, SelectItem, SetExpr, Visit};

/// Those that the planner knows.
const FUNCTIONS: [&str; 3] = ["generate_series", "unnest", "generate_subscripts"];

/// Aggregates that would take an array for a value.
const AGGREGATES: [&str; 12] = [
    "min",
    "max",
    "sum",
    "avg",
    "count",
    "array_agg",
    "string_agg",
    "bool_and",
    "bool_or",
    "every",
    "json_agg",
    "jsonb_agg",
];

/// Refuses them in VALUES, and in an ORDER BY that is not that of a column of the same rows.
pub fn check_query(query: &Query) -> Result<()> {
    if let SetExpr::Values(values) = query.body.as_ref()
        && values.rows.iter().flat_map(|row| &row.content).any(has_rows)
    {
        return Err(not_supported("set-returning functions are not allowed in VALUES"));
    }
    let SetExpr::Select(select) = query.body.as_ref() else { return Ok(()) };
    let Some(OrderBy { kind: OrderByKind::Expressions(keys), .. }) = &query.order_by else {
        return Ok(());
    };
    let is_shown = |key: &Expr| {
        select.projection.iter().any(|item| match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr == key,
            _ => false,
        })
    };
    match keys.iter().any(|key| has_rows(&key.expr) && !is_shown(&key.expr)) {
        true => Err(not_supported("a set-returning function in ORDER BY is not supported")),
        false => Ok(()),
    }
}

/// Refuses them in the arguments of aggregates and window functions.
pub fn check_call(expr: &Expr) -> Result<()> {
    let Expr::Function(function) = expr else { return Ok(()) };
    let is_window = function.over.is_some();
    if !is_window && !is_one_of(function, &AGGREGATES) || !has_rows(&function.args) {
        return Ok(());
    }
    let kind = if is_window { "window" } else { "aggregate" };
    Err(not_supported(&format!("{kind} function calls cannot contain set-returning function calls")))
}

fn not_supported(message: &str) -> Error {
    Error::NotSupported { message: message.to_owned() }
}

fn is_one_of(function: &Function, names: &[&str]) -> bool {
    names.iter().any(|name| super::is_named(&function.name, name))
}

/// True when one of them is called, but for queries within.
fn has_rows(part: &impl Visit) -> bool {
    super::calls(part, |function| is_one_of(function, &FUNCTIONS))
}
