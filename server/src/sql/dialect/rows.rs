//! Rows of values, `(a, b)` and `ROW(a, b)`: compared value by value, as PostgreSQL compares them. As values of their own they are
//! refused: the planner shows them otherwise, and calls one null only when it is missing whole.

use engine::{Error, Result};
use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, OrderBy,
    OrderByExpr, OrderByKind, Select, UnaryOperator, Value,
};

use super::{call, take};
use crate::sql::names;

/// Rewrites `expr` when it compares rows, before what is in it is visited. Refuses (0A000) a row anywhere else.
pub fn adapt(expr: &mut Expr) -> Result<()> {
    if let Some(meant) = compared(expr)? {
        *expr = Expr::Nested(Box::new(meant));
        return Ok(());
    }
    match expr {
        Expr::Function(function) if is_named(function, "count") => {
            keep_counted(function);
            Ok(())
        }
        Expr::Tuple(_) => Err(refused()),
        Expr::Function(function) if is_named(function, "row") => Err(refused()),
        _ => Ok(()),
    }
}

/// `GROUP BY (a, b)` groups by both.
pub fn adapt_select(select: &mut Select) {
    if let GroupByExpr::Expressions(groups, _) = &mut select.group_by {
        let spread = |group| match group {
            Expr::Tuple(values) => values,
            group => vec![group],
        };
        *groups = std::mem::take(groups).into_iter().flat_map(spread).collect();
    }
}

/// `ORDER BY (a, b) DESC` orders by both.
pub fn adapt_order(order: Option<&mut OrderBy>) {
    let Some(OrderBy { kind: OrderByKind::Expressions(items), .. }) = order else { return };
    let spread = |item: OrderByExpr| match values(&item.expr) {
        Some(values) if item.options.nulls_first.is_none() => {
            let each = |expr| OrderByExpr { expr, options: item.options, with_fill: None };
            values.into_iter().map(each).collect()
        }
        _ => vec![item],
    };
    *items = std::mem::take(items).into_iter().flat_map(spread).collect();
}

fn compared(expr: &mut Expr) -> Result<Option<Expr>> {
    Ok(Some(match expr {
        Expr::BinaryOp { left, op, right } => {
            let Some((left, right)) = both(left, right)? else { return Ok(None) };
            match op {
                BinaryOperator::Eq => equal(left, right),
                BinaryOperator::NotEq => negated(equal(left, right)),
                BinaryOperator::Lt | BinaryOperator::LtEq | BinaryOperator::Gt | BinaryOperator::GtEq => {
                    ordered(left, right, op)
                }
                _ => return Err(refused()),
            }
        }
        Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
            let Some((left, right)) = both(left, right)? else { return Ok(None) };
            let pairs = left.into_iter().zip(right);
            let same =
                pairs.map(|(left, right)| nested(Expr::IsNotDistinctFrom(Box::new(left), Box::new(right))));
            let same = joined(same, &BinaryOperator::And);
            if matches!(expr, Expr::IsDistinctFrom(..)) { negated(same) } else { same }
        }
        Expr::IsNull(row) => {
            let Some(values) = values(row) else { return Ok(None) };
            joined(
                values.into_iter().map(|value| nested(Expr::IsNull(Box::new(value)))),
                &BinaryOperator::And,
            )
        }
        Expr::IsNotNull(row) => {
            let Some(values) = values(row) else { return Ok(None) };
            let are_there = values.into_iter().map(|value| nested(Expr::IsNotNull(Box::new(value))));
            joined(are_there, &BinaryOperator::And)
        }
        Expr::InList { expr: row, list, negated: is_negated } => {
            if values(row).is_none() && !list.iter().any(|item| values(item).is_some()) {
                return Ok(None);
            }
            let mut found = Vec::new();
            for item in list.iter_mut() {
                let (left, right) = both(row, item)?.ok_or_else(refused)?;
                found.push(nested(equal(left, right)));
            }
            let any = joined(found, &BinaryOperator::Or);
            if *is_negated { negated(any) } else { any }
        }
        Expr::Between { expr: row, negated: is_negated, low, high } => {
            if [&*row, &*low, &*high].iter().all(|side| values(side).is_none()) {
                return Ok(None);
            }
            let (left, right) = both(row, low)?.ok_or_else(refused)?;
            let from = ordered(left, right, &BinaryOperator::GtEq);
            let (left, right) = both(row, high)?.ok_or_else(refused)?;
            let to = ordered(left, right, &BinaryOperator::LtEq);
            let within = joined([nested(from), nested(to)], &BinaryOperator::And);
            if *is_negated { negated(within) } else { within }
        }
        _ => return Ok(None),
    }))
}

/// The values of both sides, when one is a row: then the other must be one of as many.
fn both(left: &Expr, right: &Expr) -> Result<Option<(Vec<Expr>, Vec<Expr>)>> {
    match (values(left), values(right)) {
        (None, None) => Ok(None),
        (Some(left), Some(right)) if left.len() == right.len() && !left.is_empty() => {
            // Each value is written more than once.
            if left.iter().chain(&right).any(changes) { Err(refused()) } else { Ok(Some((left, right))) }
        }
        (Some(_), Some(_)) => Err(Error::Syntax {
            message: "unequal number of entries in row expressions".into(),
            position: None,
        }),
        _ => Err(refused()),
    }
}

fn values(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(values) => Some(values.clone()),
        Expr::Nested(inner) => values(inner),
        Expr::Function(function) if is_named(function, "row") => {
            let FunctionArguments::List(list) = &function.args else { return None };
            let value = |arg: &FunctionArg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                _ => None,
            };
            list.args.iter().map(value).collect()
        }
        _ => None,
    }
}

fn is_named(function: &Function, name: &str) -> bool {
    let last = function.name.0.last().and_then(|part| part.as_ident());
    function.name.0.len() == 1 && last.is_some_and(|ident| names::folded(ident) == name)
}

/// True for what may have another value each time.
fn changes(expr: &Expr) -> bool {
    use std::ops::ControlFlow;

    use sqlparser::ast::{Visit, Visitor};
    struct Changing;
    impl Visitor for Changing {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            const CHANGING: [&str; 6] =
                ["random", "uuid", "gen_random_uuid", "clock_timestamp", "nextval", "timeofday"];
            let is_changing = |function: &Function| CHANGING.iter().any(|name| is_named(function, name));
            match expr {
                Expr::Function(function) if is_changing(function) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    expr.visit(&mut Changing).is_break()
}

fn equal(left: Vec<Expr>, right: Vec<Expr>) -> Expr {
    let pairs = left.into_iter().zip(right);
    joined(pairs.map(|(left, right)| binary(left, BinaryOperator::Eq, right)), &BinaryOperator::And)
}

/// `a < c OR (a = c AND (b < d OR …))`, with `op` between the last two.
fn ordered(left: Vec<Expr>, right: Vec<Expr>, op: &BinaryOperator) -> Expr {
    let strict = match op {
        BinaryOperator::Lt | BinaryOperator::LtEq => BinaryOperator::Lt,
        _ => BinaryOperator::Gt,
    };
    let mut pairs = left.into_iter().zip(right).rev();
    let Some((left, right)) = pairs.next() else { return Expr::value(Value::Null) };
    pairs.fold(binary(left, op.clone(), right), |rest, (left, right)| {
        let comes_first = binary(left.clone(), strict.clone(), right.clone());
        let is_same = binary(left, BinaryOperator::Eq, right);
        let decided_later = joined([is_same, nested(rest)], &BinaryOperator::And);
        joined([comes_first, nested(decided_later)], &BinaryOperator::Or)
    })
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    let [left, right] = [left, right].map(|side| match side {
        side @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) | Expr::Nested(_)) => side,
        side => nested(side),
    });
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn joined(parts: impl IntoIterator<Item = Expr>, op: &BinaryOperator) -> Expr {
    let both =
        |left: Expr, right| Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: Box::new(right) };
    parts.into_iter().reduce(both).unwrap_or_else(|| Expr::value(Value::Null))
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

fn negated(expr: Expr) -> Expr {
    Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(nested(expr)) }
}

/// `count(DISTINCT (a, b))`: rows that are only told apart may stay rows.
fn keep_counted(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    if list.duplicate_treatment.is_none() {
        return;
    }
    for arg in &mut list.args {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg
            && let Some(values) = values(expr)
        {
            let _ = take(expr);
            *expr = call("struct", values);
        }
    }
}

fn refused() -> Error {
    Error::NotSupported {
        message: "a row of values is supported only where it is compared with another one".into(),
    }
}

#[cfg(test)]
mod tests {
    use sqlparser::parser::Parser;

    use super::*;

    fn adapted(sql: &str) -> String {
        let dialect = crate::sql::grammar::Grammar;
        let mut parser = Parser::new(&dialect).try_with_sql(sql).expect("tokens");
        let mut expr = parser.parse_expr().expect("an expression");
        match adapt(&mut expr) {
            Ok(()) => expr.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn rows_are_compared_value_by_value() {
        for (sql, right) in [
            ("(a, b) = (c, d)", "(a = c AND b = d)"),
            ("ROW(a, b) <> (c, d)", "(NOT (a = c AND b = d))"),
            ("(a, b) < (c, d)", "(a < c OR (a = c AND (b < d)))"),
            ("(a, b) >= (c, d)", "(a > c OR (a = c AND (b >= d)))"),
            ("(a, b) IN ((1, 2), (3, 4))", "((a = 1 AND b = 2) OR (a = 3 AND b = 4))"),
            ("(a, b) IS NULL", "((a IS NULL) AND (b IS NULL))"),
            ("(a, b) IS NOT NULL", "((a IS NOT NULL) AND (b IS NOT NULL))"),
            ("a = b", "a = b"),
            ("a IN (1, 2)", "a IN (1, 2)"),
        ] {
            assert_eq!(adapted(sql), right);
        }
        assert_eq!(adapted("(a, b) = (c, d, e)"), "unequal number of entries in row expressions");
        assert!(adapted("(a, b) = c").contains("supported only"));
        assert!(adapted("(random(), b) = (c, d)").contains("supported only"));
    }
}
