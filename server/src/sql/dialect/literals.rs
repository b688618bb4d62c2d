//! Whole numbers that fit are `integer`, as in PostgreSQL, and those past `bigint` are `numeric`; DataFusion takes every whole
//! number for a `bigint`, signed or not.
//!
//! Numbers that are positions or counts stay bare: those of ORDER BY, GROUP BY, LIMIT and window frames,
//! and the arguments of window functions, which must be literals to the planner.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::{cast, take};
use sqlparser::ast::{
    DataType, ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr,
    LimitClause, OrderByKind, Query, Select, Statement, TableFactor, UnaryOperator, Value, VisitMut,
    VisitorMut, WindowType,
};
use sqlparser::tokenizer::{Location, Span};

/// Types the whole numbers of `statement`.
pub fn adapt(statement: &mut Statement) {
    let _ = statement.visit(&mut Literals::default());
}

#[derive(Default)]
struct Literals {
    // Where the numbers stand that stay bare.
    bare: HashSet<Location>,
}

impl Literals {
    fn keep(&mut self, expr: &Expr) {
        match expr {
            Expr::Value(value) => {
                self.bare.insert(value.span.start);
            }
            Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => self.keep(inner),
            _ => {}
        }
    }

    fn keep_arguments(&mut self, function: &Function) {
        let FunctionArguments::List(list) = &function.args else { return };
        for argument in &list.args {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument {
                self.keep(expr);
            }
        }
    }
}

impl VisitorMut for Literals {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(OrderByKind::Expressions(order)) = query.order_by.as_ref().map(|order| &order.kind) {
            order.iter().for_each(|item| self.keep(&item.expr));
        }
        match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, limit_by }) => {
                limit.iter().for_each(|expr| self.keep(expr));
                offset.iter().for_each(|offset| self.keep(&offset.value));
                limit_by.iter().for_each(|expr| self.keep(expr));
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                self.keep(offset);
                self.keep(limit);
            }
            None => {}
        }
        if let Some(quantity) = query.fetch.as_ref().and_then(|fetch| fetch.quantity.as_ref()) {
            self.keep(quantity);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let GroupByExpr::Expressions(groups, _) = &select.group_by {
            groups.iter().for_each(|expr| self.keep(expr));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { args: Some(args), .. } = factor {
            for argument in &args.args {
                if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument {
                    self.keep(expr);
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => {
                if let Some(WindowType::WindowSpec(window)) = &function.over {
                    for item in &window.order_by {
                        self.keep(&item.expr);
                    }
                    if let Some(frame) = &window.window_frame {
                        for bound in
                            [Some(&frame.start_bound), frame.end_bound.as_ref()].into_iter().flatten()
                        {
                            use sqlparser::ast::WindowFrameBound::{Following, Preceding};
                            if let Preceding(Some(expr)) | Following(Some(expr)) = bound {
                                self.keep(expr);
                            }
                        }
                    }
                }
                if function.over.is_some() || !function.within_group.is_empty() {
                    self.keep_arguments(function);
                }
            }
            // A cast names the type itself, and a negative number is one number.
            Expr::Cast { expr: inner, .. } => self.keep(inner),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = expr
            && let Value::Number(digits, false) = &value.value
            && value.span != Span::empty()
            && !self.bare.contains(&value.span.start)
            && let Some(kind) = kind_of(digits)
        {
            *expr = cast(take(expr), kind);
        } else {
            keep_least(expr);
        }
        // The least one has digits that are no integer without their sign.
        if let Expr::UnaryOp { op: UnaryOperator::Minus, expr: number } = expr
            && let Expr::Value(value) = number.as_ref()
            && matches!(&value.value, Value::Number(digits, false) if digits == LEAST)
            && !self.bare.contains(&value.span.start)
        {
            *expr = cast(Expr::Nested(Box::new(take(expr))), DataType::Int(None));
        }
        ControlFlow::Continue(())
    }
}

/// The digits of the least `integer`.
const LEAST: &str = "2147483648";

/// The type of a whole number, where it is not the `bigint` that the planner takes it for.
fn kind_of(digits: &str) -> Option<DataType> {
    if digits.parse::<i32>().is_ok() {
        return Some(DataType::Int(None));
    }
    let is_wide = digits.parse::<i64>().is_err() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let count = digits.trim_start_matches('0').len() as u64;
    (is_wide && count <= 38).then_some(DataType::Numeric(ExactNumberInfo::PrecisionAndScale(count, 0)))
}

/// `-9223372036854775808` is one number, and a `bigint`.
fn keep_least(expr: &mut Expr) {
    if let Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } = expr
        && let Expr::Cast { expr: number, .. } = inner.as_mut()
        && matches!(number.as_ref(), Expr::Value(value)
            if matches!(&value.value, Value::Number(digits, _) if digits == "9223372036854775808"))
    {
        **inner = take(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(sql: &str) -> String {
        let dialect = sqlparser::dialect::PostgreSqlDialect {};
        let mut statements = sqlparser::parser::Parser::parse_sql(&dialect, sql).expect("parsed");
        adapt(&mut statements[0]);
        statements[0].to_string()
    }

    #[test]
    fn values_are_integers_and_positions_stay() {
        assert_eq!(
            adapted("SELECT 1 + a FROM t ORDER BY 1 LIMIT 2"),
            "SELECT 1::INT + a FROM t ORDER BY 1 LIMIT 2"
        );
        assert_eq!(adapted("SELECT -2147483648, 2147483648"), "SELECT (-2147483648)::INT, 2147483648");
        assert_eq!(adapted("SELECT a, count(*) FROM t GROUP BY 1"), "SELECT a, count(*) FROM t GROUP BY 1");
        assert_eq!(adapted("SELECT 3000000000, 1.5"), "SELECT 3000000000, 1.5");
        assert_eq!(adapted("SELECT 5::BIGINT"), "SELECT 5::BIGINT");
        assert_eq!(adapted("SELECT lag(a, 1) OVER (ORDER BY a)"), "SELECT lag(a, 1) OVER (ORDER BY a)");
    }
}
