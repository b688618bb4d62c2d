//! What the columns of a query were declared as, where they are columns of tables: `varchar(3)`, `character(5)`. Plans hold
//! them as what they are kept as.

use std::sync::Arc;

use catalog::Snapshot;
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::estimate;

/// The type that a column was declared with: its name, as in `pg_type`, and its modifier.
pub type Declared = Option<(String, i32)>;

/// Those of the columns of `plan`, which is not optimised yet.
pub fn of_plan(plan: &LogicalPlan, snapshot: &Snapshot) -> Vec<Declared> {
    (0..plan.schema().fields().len()).map(|at| of_column(plan, at, snapshot)).collect()
}

fn of_column(plan: &LogicalPlan, at: usize, snapshot: &Snapshot) -> Declared {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let table = snapshot.table(&estimate::name_of(scan))?;
            let name = scan.projected_schema.fields().get(at)?.name();
            let at = table.position(name)?;
            let declared = table.declared(at)?;
            Some((declared.told_name(table.file_schema.field(at).data_type()), declared.modifier))
        }
        LogicalPlan::Projection(projection) => of_expr(projection.expr.get(at)?, &projection.input, snapshot),
        LogicalPlan::Aggregate(aggregate) => {
            of_expr(aggregate.group_expr.get(at)?, &aggregate.input, snapshot)
        }
        LogicalPlan::SubqueryAlias(alias) => of_column(&alias.input, at, snapshot),
        LogicalPlan::Filter(filter) => of_column(&filter.input, at, snapshot),
        LogicalPlan::Sort(sort) => of_column(&sort.input, at, snapshot),
        LogicalPlan::Limit(limit) => of_column(&limit.input, at, snapshot),
        LogicalPlan::Distinct(distinct) => of_column(distinct.input(), at, snapshot),
        // Behind those of its input are what the functions give.
        LogicalPlan::Window(window) if at < window.input.schema().fields().len() => {
            of_column(&window.input, at, snapshot)
        }
        LogicalPlan::Union(union) => {
            let mut types = union.inputs.iter().map(|input| of_column(input, at, snapshot));
            let first = types.next()??;
            types.all(|other| other.as_ref() == Some(&first)).then_some(first)
        }
        LogicalPlan::Join(join) => {
            let (qualifier, field) = plan.schema().qualified_field(at);
            of_name(&Column::from((qualifier, field)), &[&join.left, &join.right], snapshot)
        }
        _ => None,
    }
}

fn of_expr(expr: &Expr, input: &Arc<LogicalPlan>, snapshot: &Snapshot) -> Declared {
    match expr {
        Expr::Alias(alias) => of_expr(&alias.expr, input, snapshot),
        Expr::Column(column) => of_name(column, &[input], snapshot),
        _ => None,
    }
}

fn of_name(column: &Column, inputs: &[&Arc<LogicalPlan>], snapshot: &Snapshot) -> Declared {
    inputs.iter().find_map(|input| {
        let at = input.schema().maybe_index_of_column(column)?;
        of_column(input, at, snapshot)
    })
}
