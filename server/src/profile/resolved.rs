//! The operators of a stage as they run.

use std::sync::Arc;

use ballista_core::execution_plans::ShuffleReaderExec;
use datafusion::physical_plan::ExecutionPlan;

use super::plan::Place;
use super::{Operator, describe};

/// Puts the operators of `plan`, which runs as part of a stage, into `operators`, and the places of those that count into
/// `places`. What was expected of them is taken from `expected`.
pub(super) fn operators(
    plan: &Arc<dyn ExecutionPlan>,
    depth: usize,
    stage_id: usize,
    expected: &mut Vec<Operator>,
    found: &mut Vec<Operator>,
    places: &mut Vec<Place>,
) {
    let place = Place::Operator(stage_id, found.len());
    let reads = plan.downcast_ref::<ShuffleReaderExec>().map(|reader| reader.stage_id);
    let (name, detail) = match reads {
        Some(_) => ("Exchange".to_owned(), String::new()),
        None => describe::operator(plan, None),
    };
    let is_same = |of: &Operator| match reads {
        Some(stage) => of.reads_stage == Some(stage),
        // The table's name is known to who planned it.
        None => of.detail == detail && of.reads_stage.is_none() && of.name.starts_with(&name),
    };
    let known = expected.iter().position(is_same).map(|at| expected.remove(at));
    let (name, predicted_rows) = known.map_or((name, 0), |of| (of.name, of.predicted_rows));
    if plan.metrics().is_some() {
        places.push(place);
    }
    found.push(Operator { depth, name, detail, reads_stage: reads, predicted_rows, ..Operator::default() });
    for child in plan.children() {
        self::operators(child, depth + 1, stage_id, expected, found, places);
    }
}
