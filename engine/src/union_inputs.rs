//! Unions some of whose inputs have no rows.
//!
//! Columns of a union are those at the same place, under the names of its first input. DataFusion 55 takes inputs without rows away
//! (`PropagateEmptyRelation`) and looks for the union's columns by their names in what is left: where
//! `select a, b … union select b, a …` loses its first side, the columns change places, and where names differ there are none.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, Projection, Union};

/// What `plan`, a union, is without the inputs that have no rows; `None` where all have, or none.
pub fn without_empty_inputs(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let LogicalPlan::Union(Union { inputs, schema }) = plan else { return Ok(None) };
    let has_rows = |input: &&Arc<LogicalPlan>| {
        !matches!(input.as_ref(), LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, .. }))
    };
    let mut left: Vec<Arc<LogicalPlan>> = inputs.iter().filter(has_rows).cloned().collect();
    if left.len() == inputs.len() {
        return Ok(None);
    }
    let Some(first) = left.first_mut() else { return Ok(None) };
    let columns = first.schema().iter().zip(schema.iter());
    let columns = columns.map(|(known, (qualifier, field))| {
        Expr::from(known).alias_qualified(qualifier.cloned(), field.name())
    });
    *first = Arc::new(LogicalPlan::Projection(Projection::try_new(columns.collect(), Arc::clone(first))?));
    Ok(Some(match left.len() {
        1 => left.remove(0).as_ref().clone(),
        _ => LogicalPlan::Union(Union { inputs: left, schema: Arc::clone(schema) }),
    }))
}
