//! Literals in quotes among the rows of VALUES: they are of the type that the others of their column are written with. The planner
//! takes them for texts.

use std::ops::ControlFlow;

use sqlparser::ast::{DataType, Expr, Query, SetExpr, Statement, Value, VisitMut, VisitorMut};

use super::{cast, take};

/// Gives such literals their types. An INSERT reads each as what its column is.
pub fn adapt(statement: &mut Statement) {
    if !matches!(statement, Statement::Insert(_)) {
        let _ = statement.visit(&mut Rows);
    }
}

struct Rows;

impl VisitorMut for Rows {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let SetExpr::Values(values) = query.body.as_mut() else { return ControlFlow::Continue(()) };
        let width = values.rows.first().map_or(0, |row| row.content.len());
        for at in 0..width {
            let column = || values.rows.iter().filter_map(|row| row.content.get(at));
            let mut written = column().filter(|expr| !is_open(expr)).map(kind_of);
            let Some(Some(kind)) = written.next() else { continue };
            if !written.all(|other| other.as_ref() == Some(&kind)) || !column().any(is_text) {
                continue;
            }
            let column = values.rows.iter_mut().filter_map(|row| row.content.get_mut(at));
            for text in column.filter(|expr| is_text(expr)) {
                *text = cast(take(text), kind.clone());
            }
        }
        ControlFlow::Continue(())
    }
}

/// The type that an expression is written with.
fn kind_of(expr: &Expr) -> Option<DataType> {
    match expr {
        Expr::Nested(inner) => kind_of(inner),
        Expr::Cast { data_type, .. } => Some(data_type.clone()),
        Expr::TypedString(typed) => Some(typed.data_type.clone()),
        Expr::Interval(_) => Some(DataType::Interval { fields: None, precision: None }),
        Expr::Value(value) if matches!(value.value, Value::Boolean(_)) => Some(DataType::Boolean),
        _ => None,
    }
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)))
}

fn is_open(expr: &Expr) -> bool {
    is_text(expr) || matches!(expr, Expr::Value(value) if value.value == Value::Null)
}
