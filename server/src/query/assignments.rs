//! Refuses (42804) values that PostgreSQL does not put into a column: texts into numbers, numbers into booleans. Literals in
//! quotes have no type of their own, and are read as one of the column's.

use std::sync::Arc;

use catalog::TableDefinition;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::DFSchema;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{DmlStatement, Expr, ExprSchemable, LogicalPlan, WriteOp};
use engine::casts::{Context, is_cast, name};
use engine::{Error, Result};

use crate::pg_catalog::types;

/// The schema that the files of a COPY are in while it runs: their values are cast to what the columns are.
pub const COPIED_SCHEMA: &str = "sluice copied";

/// Checks the values of an INSERT into `target`, which the statement casts so many times: `written`. Other plans are left
/// alone.
pub fn check_insert(plan: &LogicalPlan, target: &TableDefinition, written: &[Vec<usize>]) -> Result<()> {
    let LogicalPlan::Dml(DmlStatement { op: WriteOp::Insert(InsertOp::Append), input, .. }) = plan else {
        return Ok(());
    };
    let LogicalPlan::Projection(projection) = input.as_ref() else { return Ok(()) };
    let fields = target.declared_fields();
    for (expr, field) in projection.expr.iter().zip(&fields) {
        let column = match without_alias(expr) {
            Expr::Cast(cast) => cast.expr.as_ref(),
            expr => expr,
        };
        let Expr::Column(column) = column else { continue };
        let Some(at) = projection.input.schema().maybe_index_of_column(column) else { continue };
        check_source(&projection.input, at, field, written)?;
    }
    Ok(())
}

/// Checks the column `at` of the rows that are put into the column `field`.
fn check_source(source: &Arc<LogicalPlan>, at: usize, field: &Field, written: &[Vec<usize>]) -> Result<()> {
    match source.as_ref() {
        LogicalPlan::Values(values) => {
            let nothing = DFSchema::empty();
            values.values.iter().enumerate().try_for_each(|(number, row)| {
                let written = written.get(number).and_then(|row| row.get(at)).copied().unwrap_or(0);
                row.get(at).map_or(Ok(()), |expr| check_expr(uncast(expr, written), &nothing, field))
            })
        }
        LogicalPlan::Projection(projection) => match projection.expr.get(at) {
            Some(expr) => check_expr(expr, projection.input.schema(), field),
            None => Ok(()),
        },
        LogicalPlan::Sort(sort) => check_source(&sort.input, at, field, written),
        LogicalPlan::Limit(limit) => check_source(&limit.input, at, field, written),
        LogicalPlan::SubqueryAlias(alias) => check_source(&alias.input, at, field, written),
        plan => check_type(plan.schema().field(at).data_type(), field),
    }
}

/// What the planner cast to the type of the column: one cast more than are `written`.
fn uncast(expr: &Expr, written: usize) -> &Expr {
    match expr {
        Expr::Cast(cast) if casts(expr) > written => &cast.expr,
        expr => expr,
    }
}

fn casts(expr: &Expr) -> usize {
    match expr {
        Expr::Cast(cast) => 1 + casts(&cast.expr),
        _ => 0,
    }
}

fn check_expr(expr: &Expr, schema: &DFSchema, field: &Field) -> Result<()> {
    match without_alias(expr) {
        Expr::Literal(value, _) if value.data_type().is_string() => Ok(()),
        Expr::Placeholder(_) => Ok(()),
        expr => match expr.get_type(schema) {
            Ok(kind) => check_type(&kind, field),
            Err(_) => Ok(()),
        },
    }
}

fn without_alias(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => without_alias(&alias.expr),
        expr => expr,
    }
}

/// Refuses values of type `from` for the column `field`.
pub fn check_type(from: &DataType, field: &Field) -> Result<()> {
    let (oid, ..) = types::of_field(field);
    // What is kept as a record is told as `json`, too.
    let is_document =
        oid == types::JSON.oid && field.data_type().is_string() && !from.is_string() && !from.is_null();
    if is_cast(from, field.data_type(), Context::Assignment) && !is_document {
        return Ok(());
    }
    let message = format!(
        "column \"{}\" is of type {} but expression is of type {}",
        field.name(),
        types::format(oid.into(), -1),
        name(from)
    );
    Err(Error::TypeMismatch { message })
}
