//! What a statement's text says about its parameters, which DataFusion does not ask: the types of casts
//! right above them, counts of LIMIT and OFFSET, and arrays that a column is compared with.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType as ArrowType;
use datafusion::sql::parser::Statement;
use sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CastKind, DataType, ExactNumberInfo, Expr, FunctionArg,
    FunctionArgExpr, FunctionArguments, LimitClause, Query, SelectItem, SetExpr, Statement as SqlStatement,
    TableFactor, TimezoneInfo, Value, Visit, VisitMut, Visitor, VisitorMut,
};

use super::dialect;
use super::names::folded;
use crate::pg_catalog::types;

/// `int8`, which LIMIT and OFFSET take.
const COUNT_OID: u32 = 20;

/// The types of `$1`, `$2`, … that the text tells, by their numbers from 1; 0 where it tells none.
pub fn told(statement: &SqlStatement) -> BTreeMap<usize, u32> {
    #[derive(Default)]
    struct Finder(BTreeMap<usize, u32>);
    impl Finder {
        fn count(&mut self, expr: &Expr) {
            if let Some(number) = number(expr) {
                self.0.insert(number, COUNT_OID);
            }
        }
    }
    impl Visitor for Finder {
        type Break = ();

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause {
                limit.iter().for_each(|expr| self.count(expr));
                offset.iter().for_each(|offset| self.count(&offset.value));
            }
            ControlFlow::Continue(())
        }

        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            // A series with nothing said of its bounds is one of integers.
            if let TableFactor::Table { name, args: Some(arguments), .. } = factor
                && dialect::is_series(name)
            {
                for argument in &arguments.args {
                    if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument
                        && let Some(number) = number(expr)
                    {
                        self.0.insert(number, types::INT4.oid);
                    }
                }
            }
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Cast { expr: inner, data_type, .. } = expr
                && let Some(number) = number(inner)
                && let Some(oid) = types::by_written_name(&data_type.to_string())
            {
                self.0.insert(number, oid);
            }
            if let Some(number) = number(expr) {
                self.0.entry(number).or_insert(0);
            }
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder::default();
    let _ = statement.visit(&mut finder);
    finder.0
}

/// The number of a parameter.
fn number(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => name.strip_prefix('$')?.parse().ok(),
            _ => None,
        },
        Expr::Nested(inner) => number(inner),
        _ => None,
    }
}

/// Casts the array in `column = ANY($1)` to an array of the column's type, as PostgreSQL reads it; to
/// `text[]` where `type_of` does not know the column, and `is_array` does not say that the parameter has such a type.
pub fn type_arrays(
    statement: &mut Statement,
    type_of: impl Fn(&str) -> Option<ArrowType>,
    is_array: impl Fn(usize) -> bool,
) {
    let Statement::Statement(statement) = statement else { return };
    struct Caster<F, G>(F, G);
    impl<F: Fn(&str) -> Option<ArrowType>, G: Fn(usize) -> bool> VisitorMut for Caster<F, G> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            let (Expr::AnyOp { left, right, .. } | Expr::AllOp { left, right, .. }) = expr else {
                return ControlFlow::Continue(());
            };
            if let Some(number) = number(right) {
                let column = match left.as_ref() {
                    Expr::Identifier(ident) => Some(&ident.value),
                    Expr::CompoundIdentifier(parts) => parts.last().map(|ident| &ident.value),
                    _ => None,
                };
                let kind = column.and_then(|name| (self.0)(name));
                if kind.is_none() && (self.1)(number) {
                    return ControlFlow::Continue(());
                }
                let item = match kind {
                    // Numbers beside it have their own digits.
                    Some(ArrowType::Decimal128(..)) => Some(DataType::Numeric(ExactNumberInfo::None)),
                    kind => kind.and_then(|kind| written(&kind)),
                };
                let item = Box::new(item.unwrap_or(DataType::Text));
                let inner = std::mem::replace(right.as_mut(), Expr::value(Value::Null));
                **right = Expr::Cast {
                    kind: CastKind::DoubleColon,
                    expr: Box::new(inner),
                    data_type: DataType::Array(ArrayElemTypeDef::SquareBracket(item, None)),
                    array: false,
                    format: None,
                };
            }
            ControlFlow::Continue(())
        }
    }
    let _ = statement.visit(&mut Caster(type_of, is_array));
}

/// Gives parameters their types in words, where DataFusion settles the type of what they stand in before it has their values: in
/// rows of VALUES, branches of CASE, elements of arrays, sides of set operations, operands and arguments. `type_of` tells what is
/// known of a parameter by its number from 1. A series in FROM is made of values, which `value_of` tells.
pub fn type_parameters(
    statement: &mut Statement,
    type_of: impl Fn(usize) -> Option<ArrowType>,
    value_of: impl Fn(usize) -> Option<Option<i64>>,
) {
    let Statement::Statement(statement) = statement else { return };
    let _ = statement.visit(&mut Typer { type_of, value_of });
}

struct Typer<F, G> {
    type_of: F,
    value_of: G,
}

impl<F: Fn(usize) -> Option<ArrowType>, G: Fn(usize) -> Option<Option<i64>>> Typer<F, G> {
    fn tell<'a>(&self, expressions: impl IntoIterator<Item = &'a mut Expr>) {
        for expr in expressions {
            let kind = number(expr).and_then(|number| (self.type_of)(number)).and_then(|kind| match kind {
                // A text beside others is read as one of theirs.
                kind if kind.is_string() => None,
                kind => written_parameter(&kind),
            });
            if let Some(data_type) = kind {
                let inner = Box::new(std::mem::replace(expr, Expr::value(Value::Null)));
                let kind = CastKind::DoubleColon;
                *expr = Expr::Cast { kind, expr: inner, data_type, array: false, format: None };
            }
        }
    }

    /// Puts a whole number in the place of the parameter `expr`.
    fn put_in(&self, expr: &mut Expr) -> bool {
        let kind = match number(expr).and_then(|number| (self.type_of)(number)) {
            Some(kind) if kind.is_integer() => written(&kind),
            _ => None,
        };
        let Some((kind, number)) = kind.zip(number(expr)) else { return false };
        // Whoever asks for the columns alone has no values.
        let value = (self.value_of)(number).unwrap_or(Some(1));
        *expr = dialect::series_bound(value, kind);
        true
    }

    /// What a query gives: rows of values, or sides of a set operation.
    fn tell_body(&self, body: &mut SetExpr, is_side: bool) {
        match body {
            SetExpr::Values(values) => values.rows.iter_mut().for_each(|row| self.tell(&mut row.content)),
            SetExpr::Select(select) if is_side => {
                self.tell(select.projection.iter_mut().filter_map(|item| match item {
                    SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
                    _ => None,
                }));
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.tell_body(left, true);
                self.tell_body(right, true);
            }
            SetExpr::Query(query) => self.tell_body(&mut query.body, is_side),
            _ => {}
        }
    }
}

impl<F: Fn(usize) -> Option<ArrowType>, G: Fn(usize) -> Option<Option<i64>>> VisitorMut for Typer<F, G> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.tell_body(&mut query.body, false);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Case { conditions, else_result, .. } => {
                self.tell(conditions.iter_mut().map(|branch| &mut branch.result));
                self.tell(else_result.iter_mut().map(Box::as_mut));
            }
            Expr::Array(array) => self.tell(&mut array.elem),
            // What a comparison says of its sides is what the planner asks.
            Expr::BinaryOp { left, op, right } if !is_comparison(op) => {
                self.tell([left.as_mut(), right.as_mut()]);
            }
            Expr::UnaryOp { expr, .. }
            | Expr::Extract { expr, .. }
            | Expr::Ceil { expr, .. }
            | Expr::Floor { expr, .. }
            | Expr::AtTimeZone { timestamp: expr, .. } => self.tell([expr.as_mut()]),
            Expr::Function(function) => {
                if let FunctionArguments::List(list) = &mut function.args {
                    self.tell(list.args.iter_mut().filter_map(argument));
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::UNNEST { array_exprs, .. } => self.tell(array_exprs),
            TableFactor::Table { name, args: Some(arguments), .. } if dialect::is_series(name) => {
                let bounds = arguments.args.iter_mut().filter_map(argument);
                let count = bounds.map(|bound| self.put_in(bound)).filter(|is_put| *is_put).count();
                if count > 0 {
                    dialect::narrow_series(factor);
                }
            }
            TableFactor::Table { args: Some(arguments), .. } => {
                self.tell(arguments.args.iter_mut().filter_map(argument));
            }
            TableFactor::Function { args, .. } => self.tell(args.iter_mut().filter_map(argument)),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn argument(argument: &mut FunctionArg) -> Option<&mut Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{And, Eq, Gt, GtEq, Lt, LtEq, NotEq, Or};
    matches!(op, And | Eq | Gt | GtEq | Lt | LtEq | NotEq | Or)
}

/// Cuts the blanks at the end of literals beside columns that are padded: blanks there say nothing.
pub fn trim_beside(statement: &mut Statement, is_padded: impl Fn(&str) -> bool) {
    let Statement::Statement(statement) = statement else { return };
    struct Trimmer<F>(F);
    impl<F: Fn(&str) -> bool> Trimmer<F> {
        fn trim<'a>(&self, column: &Expr, literals: impl IntoIterator<Item = &'a mut Expr>) {
            let name = match column {
                Expr::Identifier(ident) => Some(ident),
                Expr::CompoundIdentifier(parts) => parts.last(),
                _ => None,
            };
            if name.is_some_and(|name| (self.0)(&folded(name))) {
                literals.into_iter().for_each(dialect::trim_literal);
            }
        }
    }
    impl<F: Fn(&str) -> bool> VisitorMut for Trimmer<F> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            use sqlparser::ast::BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
            match expr {
                Expr::BinaryOp { left, op: Eq | NotEq | Lt | LtEq | Gt | GtEq, right }
                | Expr::IsDistinctFrom(left, right)
                | Expr::IsNotDistinctFrom(left, right) => {
                    self.trim(left, [right.as_mut()]);
                    self.trim(right, [left.as_mut()]);
                }
                Expr::Between { expr, low, high, .. } => self.trim(expr, [low.as_mut(), high.as_mut()]),
                Expr::InList { expr, list, .. } => self.trim(expr, list),
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let _ = statement.visit(&mut Trimmer(is_padded));
}

/// The type of a parameter in words: a number has the digits that it is sent with.
fn written_parameter(kind: &ArrowType) -> Option<DataType> {
    Some(match kind {
        ArrowType::Decimal128(..) | ArrowType::LargeBinary => DataType::Numeric(ExactNumberInfo::None),
        ArrowType::List(item) => {
            let item = written_parameter(item.data_type())?;
            DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(item), None))
        }
        ArrowType::Interval(_) => DataType::Interval { fields: None, precision: None },
        ArrowType::Time64(_) => DataType::Time(None, TimezoneInfo::None),
        kind => return written(kind),
    })
}

/// The type as a statement writes it.
pub(super) fn written(kind: &ArrowType) -> Option<DataType> {
    Some(match kind {
        ArrowType::Boolean => DataType::Boolean,
        ArrowType::Int16 => DataType::SmallInt(None),
        ArrowType::Int32 => DataType::Int(None),
        ArrowType::Int64 => DataType::BigInt(None),
        ArrowType::Float32 => DataType::Real,
        ArrowType::Float64 => DataType::Double(ExactNumberInfo::None),
        ArrowType::Date32 => DataType::Date,
        ArrowType::Timestamp(_, None) => DataType::Timestamp(None, TimezoneInfo::None),
        ArrowType::Timestamp(..) => DataType::Timestamp(None, TimezoneInfo::WithTimeZone),
        ArrowType::Decimal128(precision, scale) => {
            DataType::Numeric(ExactNumberInfo::PrecisionAndScale(u64::from(*precision), i64::from(*scale)))
        }
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => DataType::Text,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_and_counts_tell_types() {
        let sql = "SELECT $1::oid[], CAST($2 AS varchar(3)) FROM t WHERE a = $4 LIMIT $3";
        let dialect = sqlparser::dialect::PostgreSqlDialect {};
        let statements = sqlparser::parser::Parser::parse_sql(&dialect, sql).expect("parsed");
        let found: Vec<_> = told(&statements[0]).into_iter().collect();
        assert_eq!(found, [(1, 1028), (2, 1043), (3, 20), (4, 0)]);
    }
}
