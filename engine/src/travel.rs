//! What of a plan is lost when it is sent to executors. Messages say less than operators do, and who reads them takes what
//! is missing for what is usual: other rows, and no error.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::window::StandardWindowExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};

/// Whether an operator is one whose rows would be others, and why.
type Loss = (fn(&Arc<dyn ExecutionPlan>) -> bool, &'static str);

const LOSSES: &[Loss] = &[
    (groups_nothing, "it groups by an empty grouping set alone"),
    (loses_part_of_a_window, "it has a window function of which a part is lost when it is sent"),
    (has_deep_type, "it has a type that is nested too deep to be sent"),
    (exchanges_no_columns, "it exchanges rows without columns"),
    (counts_too_far, "it has a limit or an offset that is too large to be sent"),
];

/// Why `plan` would give other rows once it has been sent.
pub fn loss(plan: &Arc<dyn ExecutionPlan>) -> Option<&'static str> {
    let has =
        |is_it: &fn(&Arc<dyn ExecutionPlan>) -> bool| plan.exists(|node| Ok(is_it(node))).unwrap_or(true);
    LOSSES.iter().find(|(is_it, _)| has(is_it)).map(|(_, reason)| *reason)
}

/// What says that there is a set is lost.
fn groups_nothing(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.downcast_ref::<AggregateExec>().is_some_and(|aggregate| {
        aggregate.group_expr().is_empty() && aggregate.group_expr().has_grouping_set()
    })
}

/// The FILTER of an aggregate, IGNORE NULLS, and that rows are read from the last, which makes LEAD of LAG, are lost.
fn loses_part_of_a_window(node: &Arc<dyn ExecutionPlan>) -> bool {
    let windows = node
        .downcast_ref::<WindowAggExec>()
        .map(WindowAggExec::window_expr)
        .or_else(|| node.downcast_ref::<BoundedWindowAggExec>().map(BoundedWindowAggExec::window_expr));
    windows.is_some_and(|windows| {
        windows.iter().any(|window| match window.as_any().downcast_ref::<StandardWindowExpr>() {
            // Its function tells no other way.
            Some(window) => {
                let function = format!("{:?}", window.get_standard_func_expr());
                !function.ends_with("is_reversed: false, ignore_nulls: false }")
            }
            None => !format!("{window:?}").ends_with("filter: None }"),
        })
    })
}

/// Batches without columns lose the number of their rows.
fn exchanges_no_columns(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.is::<RepartitionExec>() && node.schema().fields().is_empty()
}

/// Messages have numbers of 32 bits for rows that are skipped and given: of larger ones a part is cut off.
fn counts_too_far(node: &Arc<dyn ExecutionPlan>) -> bool {
    let scan = node.downcast_ref::<DataSourceExec>();
    let scan = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
    let local = node.downcast_ref::<LocalLimitExec>().map(LocalLimitExec::fetch);
    let skipped = node.downcast_ref::<GlobalLimitExec>().map(GlobalLimitExec::skip);
    let counts = [node.fetch(), scan.and_then(|scan| scan.limit), local, skipped];
    counts.into_iter().flatten().any(|count| u32::try_from(count).is_err())
}

/// Types within each other that are sent; two of the 64 levels of a message are taken by each.
const DEPTH_MAX: usize = 24;

fn has_deep_type(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.schema().fields().iter().any(|field| depth(field.data_type()) > DEPTH_MAX)
}

fn depth(kind: &DataType) -> usize {
    match kind {
        DataType::List(inner)
        | DataType::LargeList(inner)
        | DataType::FixedSizeList(inner, _)
        | DataType::ListView(inner)
        | DataType::LargeListView(inner)
        | DataType::Map(inner, _) => 1 + depth(inner.data_type()),
        DataType::Struct(fields) => {
            1 + fields.iter().map(|field| depth(field.data_type())).max().unwrap_or(0)
        }
        _ => 0,
    }
}
