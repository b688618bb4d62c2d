//! What a statement's text says about its parameters, which DataFusion does not ask: the types of casts
//! right above them, counts of LIMIT and OFFSET, and arrays that a column is compared with.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType as ArrowType;
use datafusion::sql::parser::Statement;
use sqlparser::ast::{
    ArrayElemTypeDef, CastKind, DataType, ExactNumberInfo, Expr, LimitClause, Query,
    Statement as SqlStatement, TimezoneInfo, Value, Visit, VisitMut, Visitor, VisitorMut,
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
/// `text[]` where `type_of` does not know the column.
pub fn type_arrays(statement: &mut Statement, type_of: impl Fn(&str) -> Option<ArrowType>) {
    let Statement::Statement(statement) = statement else { return };
    struct Caster<F>(F);
    impl<F: Fn(&str) -> Option<ArrowType>> VisitorMut for Caster<F> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            let (Expr::AnyOp { left, right, .. } | Expr::AllOp { left, right, .. }) = expr else {
                return ControlFlow::Continue(());
            };
            if number(right).is_some() {
                let column = match left.as_ref() {
                    Expr::Identifier(ident) => Some(&ident.value),
                    Expr::CompoundIdentifier(parts) => parts.last().map(|ident| &ident.value),
                    _ => None,
                };
                let kind = column.and_then(|name| (self.0)(name));
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
    let _ = statement.visit(&mut Caster(type_of));
}

/// Reads a literal that is compared with a `bytea` column as PostgreSQL does: `\x00ff` is two bytes. `is_bytea`
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
