//! `OVER (w …)` and `WINDOW w AS (v …)`: a window that continues another has its partitions and its order. The planner forgets
//! them.

use std::ops::ControlFlow;

use engine::{Error, Result, SqlState};
use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, NamedWindowExpr,
    ObjectNamePart, Query, Select, SetExpr, UnaryOperator, Value, VisitMut, VisitorMut, WindowSpec,
    WindowType,
};

use super::calls::name_of;
use super::{frames, is_constant};
use crate::sql::names::folded;

/// Gives each window of `query` all that it has.
///
/// Fails where PostgreSQL does: 42704 for a name that there is not, 42P20 where a window would change the one that it
/// continues.
pub fn adapt(query: &mut Query) -> Result<()> {
    match query.body.as_mut() {
        SetExpr::Select(select) => {
            let windows = named(select)?;
            within(select.as_mut(), &windows)?;
            match query.order_by.as_mut() {
                Some(order) => within(order, &windows),
                None => Ok(()),
            }
        }
        body => adapt_arms(body),
    }
}

fn adapt_arms(body: &mut SetExpr) -> Result<()> {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            adapt_arms(left)?;
            adapt_arms(right)
        }
        SetExpr::Select(select) => {
            let windows = named(select)?;
            within(select.as_mut(), &windows)
        }
        _ => Ok(()),
    }
}

/// `lag(value, offset, default)` whose default differs from row to row, which the planner wants as a literal: where there is no
/// such row, the default stands in the place of what is in it.
pub fn adapt_default(expr: &mut Expr) {
    let Expr::Function(call) = &*expr else { return };
    let is_shift = matches!(name_of(call).as_str(), "lag" | "lead") && call.null_treatment.is_none();
    let FunctionArguments::List(list) = &call.args else { return };
    let [_, _, FunctionArg::Unnamed(FunctionArgExpr::Expr(default))] = list.args.as_slice() else { return };
    if !is_shift || call.over.is_none() || is_constant(default) {
        return;
    }
    let default = default.clone();
    let with = |value: Option<Expr>| {
        let mut call = call.clone();
        if let FunctionArguments::List(list) = &mut call.args {
            list.args.truncate(2);
            if let (Some(value), Some(first)) = (value, list.args.first_mut()) {
                *first = FunctionArg::Unnamed(FunctionArgExpr::Expr(value));
            }
        }
        Expr::Function(call)
    };
    let is_missing = Expr::IsNull(Box::new(with(Some(Expr::value(Value::Boolean(true))))));
    let there = with(None);
    *expr = Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition: is_missing, result: default }],
        else_result: Some(Box::new(there)),
    };
}

/// The windows of `WINDOW`, each whole, in their order.
fn named(select: &mut Select) -> Result<Vec<(String, WindowSpec)>> {
    let mut windows: Vec<(String, WindowSpec)> = Vec::new();
    for definition in &mut select.named_window {
        let whole = match &definition.1 {
            NamedWindowExpr::NamedWindow(name) => found(name, &windows)?.clone(),
            NamedWindowExpr::WindowSpec(spec) => continued(spec, &windows)?,
        };
        windows.push((folded(&definition.0), whole.clone()));
        definition.1 = NamedWindowExpr::WindowSpec(whole);
    }
    Ok(windows)
}

/// Replaces the windows of all calls in `part`. Those of queries within it were replaced before.
fn within(part: &mut impl VisitMut, windows: &[(String, WindowSpec)]) -> Result<()> {
    struct Calls<'a> {
        windows: &'a [(String, WindowSpec)],
        depth: usize,
    }
    impl VisitorMut for Calls<'_> {
        type Break = Error;

        fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
            self.depth += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
            if let Expr::Function(call) = &*expr
                && call.over.is_some()
                && let Err(error) = check_number(call)
            {
                return ControlFlow::Break(error);
            }
            if let Expr::Function(call) = expr
                && self.depth == 0
                && let Some(over) = call.over.as_mut()
            {
                let whole = match over {
                    WindowType::NamedWindow(name) => found(name, self.windows).cloned(),
                    WindowType::WindowSpec(spec) => continued(spec, self.windows),
                };
                let whole = whole.and_then(|mut whole| frames::adapt(&mut whole).map(|()| whole));
                match whole {
                    Ok(whole) => *over = WindowType::WindowSpec(whole),
                    Err(error) => return ControlFlow::Break(error),
                }
            }
            ControlFlow::Continue(())
        }
    }
    match part.visit(&mut Calls { windows, depth: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// `nth_value` and `ntile` count from one. The planner takes zero for a row that there is not.
fn check_number(call: &Function) -> Result<()> {
    let name = call.name.0.last().and_then(ObjectNamePart::as_ident).map(folded).unwrap_or_default();
    let (place, sqlstate) = match name.as_str() {
        "nth_value" => (1, "22016"),
        "ntile" => (0, "22014"),
        _ => return Ok(()),
    };
    let FunctionArguments::List(list) = &call.args else { return Ok(()) };
    match list.args.get(place) {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(number))) if is_below_one(number) => {
            Err(Error::Stamped {
                sqlstate: SqlState::from_text(sqlstate),
                message: format!("argument of {name} must be greater than zero"),
            })
        }
        _ => Ok(()),
    }
}

fn is_below_one(number: &Expr) -> bool {
    match number {
        Expr::Value(value) => matches!(&value.value, Value::Number(digits, _) if digits == "0"),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            matches!(expr.as_ref(), Expr::Value(value) if matches!(value.value, Value::Number(..)))
        }
        Expr::Nested(inner) => is_below_one(inner),
        _ => false,
    }
}

fn found<'a>(name: &Ident, windows: &'a [(String, WindowSpec)]) -> Result<&'a WindowSpec> {
    let name = folded(name);
    let window = windows.iter().find(|(known, _)| *known == name).map(|(_, window)| window);
    window.ok_or_else(|| Error::UndefinedObject { message: format!("window \"{name}\" does not exist") })
}

/// `spec` with what it takes from the window that it continues.
fn continued(spec: &WindowSpec, windows: &[(String, WindowSpec)]) -> Result<WindowSpec> {
    let Some(name) = &spec.window_name else { return Ok(spec.clone()) };
    let base = found(name, windows)?;
    let name = folded(name);
    if !spec.partition_by.is_empty() {
        return Err(windowing(format!("cannot override PARTITION BY clause of window \"{name}\"")));
    }
    if !spec.order_by.is_empty() && !base.order_by.is_empty() {
        return Err(windowing(format!("cannot override ORDER BY clause of window \"{name}\"")));
    }
    if base.window_frame.is_some() {
        let message = format!("cannot copy window \"{name}\" because it has a frame clause");
        return Err(windowing(message));
    }
    let order_by = if spec.order_by.is_empty() { &base.order_by } else { &spec.order_by };
    Ok(WindowSpec {
        window_name: None,
        partition_by: base.partition_by.clone(),
        order_by: order_by.clone(),
        window_frame: spec.window_frame.clone(),
    })
}

fn windowing(message: String) -> Error {
    Error::Windowing { message }
}
