//! Where aggregates, window functions and functions that give many rows may stand, and what may stand in them. The planner lets
//! some of it pass, with a meaning of its own, and refuses the rest without PostgreSQL's SQLSTATEs.

use std::ops::ControlFlow;

use engine::{Error, Result, SqlState};
use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, GroupByExpr, JoinConstraint, JoinOperator, LimitClause,
    ObjectNamePart, OrderByExpr, OrderByKind, OrderByOptions, Query, Select, SelectItem, SetExpr, Statement,
    TableFactor, UnaryOperator, Value, Visit, VisitMut, VisitorMut, WindowType,
};

use super::kinds::{Kind, kind_of};
use crate::sql::names::folded;

/// Checks every call of `statement`, and gives different values their order.
pub fn adapt(statement: &mut Statement) -> Result<()> {
    struct Calls {
        depth: usize,
    }
    impl VisitorMut for Calls {
        type Break = Error;

        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
            self.depth += 1;
            told(check_query(query, self.depth == 1))
        }

        fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }

        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
            told(check_select(select, self.depth == 1))
        }

        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
            told(match factor {
                TableFactor::Table { name, args: Some(args), .. }
                    if name.to_string().ends_with("generate_series") && args.args.iter().any(is_fraction) =>
                {
                    not_supported("generate_series of numeric is not supported".to_owned())
                }
                _ => Ok(()),
            })
        }

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
            told(match expr {
                Expr::Function(call) => check_call(call, self.depth == 1).map(|()| order_different(call)),
                Expr::Case { .. } => no_rows(expr, "CASE"),
                _ => Ok(()),
            })
        }
    }
    match statement.visit(&mut Calls { depth: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn told(outcome: Result<()>) -> ControlFlow<Error> {
    match outcome {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

fn stamped(sqlstate: &str, message: String) -> Error {
    Error::Stamped { sqlstate: SqlState::from_text(sqlstate), message }
}

fn wrong_object(message: String) -> Result<()> {
    Err(Error::WrongObjectType { message })
}

fn not_supported(message: String) -> Result<()> {
    Err(Error::NotSupported { message })
}

/// The last part of a function's name, folded.
pub(super) fn name_of(call: &Function) -> String {
    match call.name.0.last() {
        Some(ObjectNamePart::Identifier(name)) => folded(name),
        _ => String::new(),
    }
}

/// What a call stands for in the query that it is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Aggregate,
    Window,
    Rows,
}

fn sort_of(call: &Function) -> Option<Sort> {
    if call.over.is_some() {
        return Some(Sort::Window);
    }
    match kind_of(&name_of(call))? {
        Kind::Aggregate | Kind::OrderedSet => Some(Sort::Aggregate),
        Kind::Rows => Some(Sort::Rows),
        Kind::Window => None,
    }
}

/// True when a call of `sort` stands in `part`, subqueries aside.
fn has(part: &impl Visit, sort: Sort) -> bool {
    super::calls(part, |call| sort_of(call) == Some(sort))
}

/// Refuses functions that give many rows in `part`.
fn no_rows(part: &impl Visit, place: &str) -> Result<()> {
    if has(part, Sort::Rows) {
        return not_supported(format!("set-returning functions are not allowed in {place}"));
    }
    Ok(())
}

fn no_windows(part: &impl Visit, place: &str) -> Result<()> {
    if has(part, Sort::Window) {
        return Err(Error::Windowing { message: format!("window functions are not allowed in {place}") });
    }
    Ok(())
}

/// Refuses all of them in `part`. Aggregates in a subquery may be the outer query's.
fn nothing_of_many(part: &impl Visit, place: &str, is_outermost: bool) -> Result<()> {
    if is_outermost && has(part, Sort::Aggregate) {
        return Err(Error::Grouping { message: format!("aggregate functions are not allowed in {place}") });
    }
    no_windows(part, place)?;
    no_rows(part, place)
}

fn check_query(query: &Query, is_outermost: bool) -> Result<()> {
    if let SetExpr::Values(values) = query.body.as_ref() {
        nothing_of_many(values, "VALUES", is_outermost)?;
    }
    if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause {
        limit.iter().try_for_each(|limit| nothing_of_many(limit, "LIMIT", is_outermost))?;
        offset.iter().try_for_each(|offset| nothing_of_many(&offset.value, "OFFSET", is_outermost))?;
    }
    let Some(OrderByKind::Expressions(keys)) = query.order_by.as_ref().map(|order| &order.kind) else {
        return Ok(());
    };
    match keys.iter().find(|key| has(&key.expr, Sort::Rows) && !is_listed(&key.expr, &query.body)) {
        Some(_) => not_supported(
            "ORDER BY a set-returning function that is not in the select list is not supported".to_owned(),
        ),
        None => Ok(()),
    }
}

/// True for what the select list has as well.
fn is_listed(key: &Expr, body: &SetExpr) -> bool {
    let SetExpr::Select(select) = body else { return false };
    select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr == key,
        _ => false,
    })
}

fn check_select(select: &Select, is_outermost: bool) -> Result<()> {
    select.selection.iter().try_for_each(|part| nothing_of_many(part, "WHERE", is_outermost))?;
    if let Some(having) = &select.having {
        no_windows(having, "HAVING")?;
        no_rows(having, "HAVING")?;
    }
    if let GroupByExpr::Expressions(keys, _) = &select.group_by {
        for key in keys {
            no_windows(key, "GROUP BY")?;
            if is_outermost && has(key, Sort::Aggregate) {
                let message = "aggregate functions are not allowed in GROUP BY".to_owned();
                return Err(Error::Grouping { message });
            }
        }
    }
    let joins = select.from.iter().flat_map(|from| &from.joins);
    for condition in joins.filter_map(|join| condition_of(&join.join_operator)) {
        nothing_of_many(condition, "JOIN conditions", is_outermost)?;
    }
    Ok(())
}

fn condition_of(join: &JoinOperator) -> Option<&Expr> {
    let (JoinOperator::Join(constraint)
    | JoinOperator::Inner(constraint)
    | JoinOperator::Left(constraint)
    | JoinOperator::LeftOuter(constraint)
    | JoinOperator::Right(constraint)
    | JoinOperator::RightOuter(constraint)
    | JoinOperator::FullOuter(constraint)) = join
    else {
        return None;
    };
    match constraint {
        JoinConstraint::On(condition) => Some(condition),
        _ => None,
    }
}

fn check_call(call: &Function, is_outermost: bool) -> Result<()> {
    let name = name_of(call);
    let kind = kind_of(&name);
    if let Some(over) = &call.over {
        check_window(call, over, &name, kind)?;
    } else {
        check_plain(call, &name, kind, is_outermost)?;
    }
    if let Some(filter) = &call.filter {
        nothing_of_many(filter.as_ref(), "FILTER", is_outermost)?;
    }
    if name == "coalesce" {
        no_rows(&call.args, "COALESCE")?;
    }
    match &call.args {
        FunctionArguments::List(list) => check_arguments(call, list, &name, kind),
        _ => Ok(()),
    }
}

fn check_window(call: &Function, over: &WindowType, name: &str, kind: Option<Kind>) -> Result<()> {
    match kind {
        Some(Kind::OrderedSet) => {
            return not_supported(format!("OVER is not supported for ordered-set aggregate {name}"));
        }
        _ if !call.within_group.is_empty() => {
            return not_supported(format!("OVER is not supported for ordered-set aggregate {name}"));
        }
        Some(Kind::Window) if call.filter.is_some() => {
            return not_supported("FILTER is not implemented for non-aggregate window functions".to_owned());
        }
        Some(Kind::Rows) => return wrong_object(not_over(name)),
        None if is_scalar(name) => return wrong_object(not_over(name)),
        _ => {}
    }
    if has(&call.args, Sort::Window) {
        return Err(Error::Windowing { message: "window function calls cannot be nested".to_owned() });
    }
    if has(&call.args, Sort::Rows) {
        return not_supported("window function calls cannot contain set-returning function calls".to_owned());
    }
    if let WindowType::WindowSpec(spec) = over {
        no_windows(&spec.partition_by, "window definitions")?;
        no_windows(&spec.order_by, "window definitions")?;
        no_rows(&spec.partition_by, "window definitions")?;
        no_rows(&spec.order_by, "window definitions")?;
    }
    check_counts(call, name)
}

fn not_over(name: &str) -> String {
    format!("OVER specified, but {name} is not a window function nor an aggregate function")
}

/// True for functions of one row.
fn is_scalar(name: &str) -> bool {
    super::kinds::is_scalar(name)
}

/// What the arguments of window functions may be: the planner does not look at all of them.
fn check_counts(call: &Function, name: &str) -> Result<()> {
    let argument = |at: usize| plain_argument(call, at);
    match name {
        "ntile" => match argument(0).map(whole) {
            Some(Whole::Number(..=0)) => {
                Err(stamped("22014", "argument of ntile must be greater than zero".to_owned()))
            }
            Some(Whole::Null) => not_supported("ntile of NULL is not supported".to_owned()),
            _ => Ok(()),
        },
        "nth_value" => match argument(1).map(whole) {
            Some(Whole::Number(..=0)) => {
                Err(stamped("22016", "argument of nth_value must be greater than zero".to_owned()))
            }
            Some(Whole::Null) => not_supported("nth_value of row NULL is not supported".to_owned()),
            _ => Ok(()),
        },
        "lag" | "lead" => match argument(1).map(whole) {
            Some(Whole::Null) => not_supported(format!("{name} by an offset of NULL is not supported")),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn plain_argument(call: &Function, at: usize) -> Option<&Expr> {
    let FunctionArguments::List(list) = &call.args else { return None };
    match list.args.get(at)? {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

/// What a literal says.
enum Whole {
    Number(i64),
    Null,
    Other,
}

fn whole(expr: &Expr) -> Whole {
    match expr {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => whole(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => match whole(inner) {
            Whole::Number(value) => Whole::Number(-value),
            other => other,
        },
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse().map_or(Whole::Other, Whole::Number),
            Value::Null => Whole::Null,
            _ => Whole::Other,
        },
        _ => Whole::Other,
    }
}

fn check_plain(call: &Function, name: &str, kind: Option<Kind>, is_outermost: bool) -> Result<()> {
    match kind {
        Some(Kind::Window) if !call.within_group.is_empty() => {
            return not_supported(format!("the hypothetical-set aggregate {name} is not supported"));
        }
        Some(Kind::Window) => {
            return wrong_object(format!("window function {name} requires an OVER clause"));
        }
        Some(Kind::OrderedSet) => check_set(call, name)?,
        Some(Kind::Aggregate) if !call.within_group.is_empty() => return no_such_set(name),
        Some(Kind::Aggregate) => {}
        Some(Kind::Rows) => return check_scalar(call, name),
        None if is_scalar(name) => return check_scalar(call, name),
        None => return Ok(()),
    }
    if is_outermost && has(&call.args, Sort::Aggregate) {
        return Err(Error::Grouping { message: "aggregate function calls cannot be nested".to_owned() });
    }
    if has(&call.args, Sort::Window) {
        let message = "aggregate function calls cannot contain window function calls".to_owned();
        return Err(Error::Grouping { message });
    }
    if has(&call.args, Sort::Rows) {
        let message = "aggregate function calls cannot contain set-returning function calls";
        return not_supported(message.to_owned());
    }
    Ok(())
}

fn check_set(call: &Function, name: &str) -> Result<()> {
    let FunctionArguments::List(list) = &call.args else { return Ok(()) };
    let direct = usize::from(name != "mode");
    if call.within_group.is_empty() && list.args.len() == direct + 1 {
        return wrong_object(format!("WITHIN GROUP is required for ordered-set aggregate {name}"));
    }
    let not_with = |clause: &str| {
        let message = format!("cannot use {clause} with WITHIN GROUP");
        Err(Error::Syntax { message, position: None })
    };
    if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) {
        return not_with("DISTINCT");
    }
    if order_of(list).is_some() {
        return not_with("multiple ORDER BY clauses");
    }
    if has(&call.within_group, Sort::Aggregate) {
        return Err(Error::Grouping { message: "aggregate function calls cannot be nested".to_owned() });
    }
    if list.args.len() != direct || call.within_group.len() != 1 {
        return no_such_set(name);
    }
    Ok(())
}

fn no_such_set(name: &str) -> Result<()> {
    let message = format!("there is no ordered-set aggregate {name} of these arguments");
    Err(Error::UndefinedFunction { message })
}

/// Functions of one row take nothing that only aggregates do.
fn check_scalar(call: &Function, name: &str) -> Result<()> {
    let FunctionArguments::List(list) = &call.args else { return Ok(()) };
    let said = if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) {
        "DISTINCT"
    } else if order_of(list).is_some() {
        "ORDER BY"
    } else if call.filter.is_some() {
        "FILTER"
    } else if !call.within_group.is_empty() {
        "WITHIN GROUP"
    } else {
        return Ok(());
    };
    wrong_object(format!("{said} specified, but {name} is not an aggregate function"))
}

fn order_of(list: &FunctionArgumentList) -> Option<&Vec<OrderByExpr>> {
    list.clauses.iter().find_map(|clause| match clause {
        FunctionArgumentClause::OrderBy(order) => Some(order),
        _ => None,
    })
}

fn check_arguments(
    call: &Function,
    list: &FunctionArgumentList,
    name: &str,
    kind: Option<Kind>,
) -> Result<()> {
    let is_star = matches!(list.args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]);
    if is_star && list.duplicate_treatment.is_some() {
        return Err(Error::Syntax { message: "syntax error at or near \"*\"".to_owned(), position: None });
    }
    let is_aggregate = kind == Some(Kind::Aggregate);
    if is_star && name != "count" && is_aggregate {
        return Err(Error::UndefinedFunction { message: format!("function {name}() does not exist") });
    }
    if list.args.is_empty() && name == "count" {
        let message = "count(*) must be used to call a parameterless aggregate function";
        return wrong_object(message.to_owned());
    }
    if name == "generate_series" && !(2..=3).contains(&list.args.len()) {
        let message = "there is no function generate_series of these arguments".to_owned();
        return Err(Error::UndefinedFunction { message });
    }
    if name == "generate_series" && list.args.iter().any(is_fraction) {
        return not_supported("generate_series of numeric is not supported".to_owned());
    }
    let is_distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
    if call.over.is_some() && is_distinct {
        return not_supported("DISTINCT is not implemented for window functions".to_owned());
    }
    if call.over.is_some() && order_of(list).is_some() {
        return not_supported("aggregate ORDER BY is not implemented for window functions".to_owned());
    }
    match order_of(list) {
        Some(order) if is_distinct && is_aggregate => check_order(list, order),
        _ => Ok(()),
    }
}

/// A number with a point: the planner would cut it off.
fn is_fraction(argument: &FunctionArg) -> bool {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument else { return false };
    matches!(expr, Expr::Value(value) if matches!(&value.value, Value::Number(digits, _) if digits.contains('.')))
}

/// Different values can be put in order only by themselves.
fn check_order(list: &FunctionArgumentList, order: &[OrderByExpr]) -> Result<()> {
    let is_argument = |key: &OrderByExpr| {
        list.args.iter().any(|argument| {
            matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if *expr == key.expr)
        })
    };
    if order.iter().all(is_argument) {
        return Ok(());
    }
    let message = "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list";
    Err(stamped("42P10", message.to_owned()))
}

/// Different values come in their order, and a key that was there before orders nothing.
fn order_different(call: &mut Function) {
    let name = name_of(call);
    if call.over.is_some() || !matches!(name.as_str(), "array_agg" | "string_agg") {
        return;
    }
    let FunctionArguments::List(list) = &mut call.args else { return };
    let order = list.clauses.iter_mut().find_map(|clause| match clause {
        FunctionArgumentClause::OrderBy(order) => Some(order),
        _ => None,
    });
    if let Some(order) = order {
        let mut seen: Vec<Expr> = Vec::new();
        order.retain(|key| {
            let is_new = !seen.contains(&key.expr);
            seen.push(key.expr.clone());
            is_new
        });
        return;
    }
    if list.duplicate_treatment != Some(DuplicateTreatment::Distinct) {
        return;
    }
    if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))) = list.args.first() {
        let options = OrderByOptions { asc: None, nulls_first: None };
        let key = OrderByExpr { expr: expr.clone(), options, with_fill: None };
        list.clauses.push(FunctionArgumentClause::OrderBy(vec![key]));
    }
}
