//! Chooses where a plan runs, and says why. System tables live in the server's memory, so any plan
//! that reads one stays local, however large its other inputs are.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::logical_expr::expr::NullTreatment;
use datafusion::logical_expr::{Expr, LogicalPlan, WindowFunctionDefinition};
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use engine::session_state::{Destination, Thrift};
use engine::{ByteSize, Error, Result};

use super::QueryContext;
use super::admission::Pool;
use super::estimate::Estimate;
use super::plan::{Plan, Planner};
use crate::profile;
use crate::session::RouteSetting;

/// Where a query runs, with a reason that EXPLAIN can print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// In this process.
    Local(String),
    /// On the executors.
    Cluster(String),
}

impl Route {
    /// Who computes there.
    pub fn destination(&self) -> Destination {
        match self {
            Self::Local(_) => Destination::Local,
            Self::Cluster(_) => Destination::Cluster,
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(reason) => write!(f, "local: {reason}"),
            Self::Cluster(reason) => write!(f, "cluster: {reason}"),
        }
    }
}

/// What a small query reads in this process, at most.
const SMALL_BYTES_MAX: u64 = 64 << 20;

/// Times the threads of this server that executors elsewhere must have to be worth their exchanges: with as many threads
/// they take 1.46 times as long (bench/RESULTS.md, "Router").
const WORTHWHILE_THREADS: f64 = 1.5;

/// Why a query without tables stays here.
pub const READS_NO_TABLE: &str = "it reads no table";

/// A route and the plan made for it.
pub struct Choice {
    /// Where it runs.
    pub route: Route,
    /// What runs.
    pub plan: Plan,
    /// What it reads.
    pub estimate: Estimate,
    /// True when a local run that exhausts memory may be moved to the executors.
    pub may_move_to_cluster: bool,
}

/// Chooses the route of the planner's query and plans for it.
pub async fn choose(context: &QueryContext, planner: &Arc<Planner>) -> Result<Choice> {
    let cluster = &context.coordinator.cluster;
    let (state, logical) = planner.logical(Thrift::None).await?;
    if let Some(reason) = must_be_local(planner, &logical) {
        let plan = planner.physical(state, logical).await?;
        let is_small = planner.reads_system() || !may_take_long(&plan.physical)?;
        let choice = local(reason, plan, Estimate::default(), false);
        return Ok(Choice { plan: Plan { is_small, ..choice.plan }, ..choice });
    }
    let mut estimate = planner.estimate(&state, &logical).await?;
    let threshold = threshold(context);
    let reads = ByteSize(estimate.input_bytes);
    let mut made = None;
    let route = match context.route {
        RouteSetting::Local => Route::Local("sluice.route is local".to_owned()),
        RouteSetting::Cluster => Route::Cluster("sluice.route is cluster".to_owned()),
        RouteSetting::Auto if !cluster.can_read(planner.tables()) => {
            Route::Local("no executor that can read its tables is alive".to_owned())
        }
        RouteSetting::Auto if reads <= threshold => {
            Route::Local(format!("it reads {reads}, at most {threshold}"))
        }
        // What writing holds is not in the plan.
        RouteSetting::Auto if planner.writes() => {
            Route::Cluster(format!("it writes, and reads {reads}, more than {threshold}"))
        }
        RouteSetting::Auto => {
            let here = context.coordinator.config.server_threads();
            let there = cluster.threads_elsewhere(planner.tables());
            if there as f64 >= here as f64 * WORTHWHILE_THREADS {
                Route::Cluster(format!(
                    "it reads {reads}, and executors have {there} threads where this server has {here}"
                ))
            } else {
                let plan = planner.physical(state.clone(), logical.clone()).await?;
                let plan = made.insert(plan);
                let footers = context.coordinator.runtime.env.cache_manager.get_file_metadata_cache();
                let holds = profile::held_bytes(&plan.physical, &plan.tables, footers.as_ref());
                estimate.held_bytes = Some(holds);
                weighed(context, &estimate)
            }
        }
    };
    match route {
        // What cannot be planned or sent there, a function only this process knows say, runs here.
        Route::Cluster(_) => match planner.plan_for_cluster(estimate, Thrift::None).await {
            Ok(plan) => Ok(Choice { route, plan, estimate, may_move_to_cluster: false }),
            Err(error @ (Error::PlanningTimeout | Error::Cancelled)) => Err(error),
            Err(refusal) => {
                let plan = planner.physical(state, logical).await?;
                Ok(local(format!("executors cannot run it: {refusal}"), plan, estimate, false))
            }
        },
        Route::Local(reason) => {
            let may_move = context.route == RouteSetting::Auto && cluster.can_read(planner.tables());
            let plan = match made {
                Some(plan) => plan,
                None => planner.physical(state, logical).await?,
            };
            Ok(local(reason, plan, estimate, may_move))
        }
    }
}

/// What reads nothing may compute for long all the same: by functions that the planner left to it, by rows that a function
/// makes, by pairs of rows, by going over its own again.
fn may_take_long(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let is_quick = plan.is::<ProjectionExec>()
        || plan.is::<FilterExec>()
        || plan.is::<PlaceholderRowExec>()
        || plan.is::<EmptyExec>()
        || plan.is::<DataSourceExec>()
        || plan.is::<CooperativeExec>();
    let mut calls = false;
    plan.apply_expressions(&mut |expr| {
        calls |= expr.exists(|part| Ok(part.is::<ScalarFunctionExpr>()))?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    if calls || !is_quick {
        return Ok(true);
    }
    for input in plan.children() {
        if may_take_long(input)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn local(reason: impl Into<String>, plan: Plan, estimate: Estimate, may_move: bool) -> Choice {
    let plan = Plan { is_small: estimate.input_bytes <= SMALL_BYTES_MAX, ..plan };
    Choice { route: Route::Local(reason.into()), plan, estimate, may_move_to_cluster: may_move }
}

/// Here when a query that reads and holds so much fits into this process's memory.
fn weighed(context: &QueryContext, estimate: &Estimate) -> Route {
    let pool = &context.coordinator.runtime.pool;
    let capacity = pool.limit_bytes() as u64;
    // Who was let in a moment ago has taken little yet.
    let taken = (pool.reserved() as u64).max(context.coordinator.admission.reserved_bytes(Pool::Local));
    let free = capacity.saturating_sub(taken);
    let fits = estimate.set_aside(capacity).is_some_and(|bytes| bytes <= free);
    let (reads, holds) = (ByteSize(estimate.input_bytes), ByteSize(estimate.held_bytes.unwrap_or(0)));
    let free = ByteSize(free);
    if fits {
        Route::Local(format!(
            "it reads {reads} and holds about {holds}, which fits into the {free} that are free"
        ))
    } else {
        Route::Cluster(format!(
            "it reads {reads} and holds about {holds}, which may not fit into the {free} that are free here"
        ))
    }
}

/// A share of this process's pool: what reads no more is not weighed.
pub fn threshold(context: &QueryContext) -> ByteSize {
    let share = context.coordinator.config.cluster.route_pool_share;
    ByteSize((context.coordinator.runtime.pool.limit_bytes() as f64 * share) as u64)
}

fn must_be_local(planner: &Planner, plan: &LogicalPlan) -> Option<&'static str> {
    if planner.reads_system() {
        return Some("it reads system tables");
    }
    let mut is_recursive = false;
    let mut reads_tables = false;
    let mut calls_function = false;
    let mut may_give_rows = false;
    let mut ignores_nulls = false;
    let _ = plan.apply_with_subqueries(|node| {
        is_recursive |= matches!(node, LogicalPlan::RecursiveQuery(_));
        if let LogicalPlan::TableScan(scan) = node {
            let is_table = planner.is_users_table(scan);
            reads_tables |= is_table;
            calls_function |= !is_table;
        }
        // Executors join with the subquery's rows, and would join with each of several.
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::ScalarSubquery(query) => {
                        may_give_rows |= query.subquery.max_rows().is_none_or(|rows| rows > 1);
                    }
                    Expr::WindowFunction(window) => {
                        ignores_nulls |= matches!(window.fun, WindowFunctionDefinition::WindowUDF(_))
                            && window.params.null_treatment == Some(NullTreatment::IgnoreNulls);
                    }
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(TreeNodeRecursion::Continue)
    });
    if is_recursive {
        return Some("executors cannot run a recursive query");
    }
    if may_give_rows {
        return Some("a subquery may give more than one row, which executors do not check");
    }
    // It is lost on the way to them: they would give other rows.
    if ignores_nulls {
        return Some("executors are not told that a window function ignores nulls");
    }
    if calls_function {
        return Some("it reads a table function");
    }
    match (reads_tables, planner.tables().is_empty()) {
        (true, _) => None,
        (false, true) => Some(READS_NO_TABLE),
        (false, false) => Some("its answer is known without reading a table"),
    }
}
