//! Runs a planned query, and plans it again for less memory when that runs out.
//!
//! Nothing has left before a run fails so: a local one is started again only before its first row, and a
//! job's rows leave once it has succeeded. First it moves to the executors, if it may; then hash joins, large
//! batches and company are given up, one after the other. What then still does not fit is an error.

use std::sync::Arc;
use std::time::Duration;

use engine::session_state::{Destination, Thrift};
use engine::{Error, Result};
use tracing::warn;

use super::log::RecordHandle;
use super::plan::{Plan, Planner};
use super::route::{Choice, Route};
use super::{Permit, QueryContext, Rows, local};
use crate::profile;

/// Between two runs, so that what the first one held is given back.
const SETTLING: Duration = Duration::from_millis(300);

/// Runs `choice`. Each plan becomes what is run by `made`: the plan itself, or one that writes its rows.
pub async fn run(
    context: &QueryContext,
    planner: &Arc<Planner>,
    choice: Choice,
    mut permit: Permit,
    record: &RecordHandle,
    made: impl Fn(Plan, Destination) -> Result<Plan>,
) -> Result<Rows> {
    let Choice { mut route, mut plan, estimate, mut may_move_to_cluster } = choice;
    let mut thrift = Thrift::None;
    loop {
        let outcome = match &route {
            Route::Local(_) => {
                let plan = made(plan, Destination::Local)?;
                account(context, &route, &plan, false);
                local::run(context, plan, permit.clone()).await
            }
            Route::Cluster(_) => {
                let plan = made(plan, Destination::Cluster)?;
                account(context, &route, &plan, false);
                context.coordinator.cluster.run(context, plan, permit.clone()).await
            }
        };
        let error = match outcome {
            Err(error) if error.is_out_of_memory() => error,
            outcome => return outcome,
        };
        let is_wide = error.is_too_wide();
        let was_local = matches!(route, Route::Local(_));
        (route, plan) = match &route {
            Route::Local(_) if std::mem::take(&mut may_move_to_cluster) => {
                match planner.plan_for_cluster(estimate, thrift).await {
                    Ok(plan) => (Route::Cluster(format!("it did not fit in this process: {error}")), plan),
                    Err(_) => (route, locally(planner, &mut thrift, error.clone()).await?),
                }
            }
            Route::Local(_) => (route, locally(planner, &mut thrift, error.clone()).await?),
            Route::Cluster(_) => {
                thrift = thrift.next(is_wide).ok_or_else(|| error.clone())?;
                // A plan that must not be cut finer is no better than none.
                let plan = planner.plan_for_cluster(estimate, thrift).await.map_err(|_| error.clone())?;
                (route, plan)
            }
        };
        if was_local && matches!(route, Route::Cluster(_)) {
            permit = context.reserve(permit, &route, estimate).await?;
        }
        *context.last_route.lock() = route.to_string();
        record.routed(&route);
        context.coordinator.queries.retried(&context.id);
        warn!(query.id = %context.id, ?thrift, %error, "memory ran out: the query is planned anew");
        // It holds nothing yet that failed at the first wide batch.
        if !is_wide {
            tokio::time::sleep(SETTLING).await;
        }
    }
}

/// Begins the account of what `plan` is expected to do, and does; in more detail when it `is_explained`.
pub fn account(context: &QueryContext, route: &Route, plan: &Plan, is_explained: bool) {
    if context.profile.began_with(&plan.physical) {
        return;
    }
    let coordinator = &context.coordinator;
    let here = profile::Destination::Local { pool_bytes: coordinator.runtime.pool.limit_bytes() as u64 };
    let destination = match route {
        Route::Local(_) => Some(here),
        Route::Cluster(_) => coordinator.cluster.destination(plan),
    };
    if let Some(destination) = destination {
        let footers = coordinator.runtime.env.cache_manager.get_file_metadata_cache();
        context.profile.begin(
            &plan.physical,
            profile::planned(&plan.physical, &plan.tables, footers.as_ref(), &destination, is_explained),
        );
    }
}

/// A plan for this process that needs less, or `error` when there is none.
async fn locally(planner: &Arc<Planner>, thrift: &mut Thrift, error: Error) -> Result<Plan> {
    *thrift = thrift.next(error.is_too_wide()).ok_or(error)?;
    let (state, logical) = planner.logical(*thrift).await?;
    planner.physical(state, logical).await
}
