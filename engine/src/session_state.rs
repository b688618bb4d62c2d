//! The two DataFusion sessions everything is planned with: one for this process, one for the cluster.
//!
//! They differ because Ballista cuts a plan into stages that share no memory: dynamic filters would
//! wait for ever for a value set in another process, and views would drag whole buffers along.

use std::sync::Arc;

use ballista_core::extension::SessionConfigExt;
use ballista_core::optimizer::ballista_default_optimizer_rules;
use catalog::{DATABASE, DEFAULT_SCHEMA, StringLayout};
use datafusion::catalog::CatalogProviderList;
use datafusion::common::config::Dialect;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::prelude::SessionConfig;

use crate::broadcast::physical_rules;
use crate::exchange;
use crate::functions::date_part::QuickDateParts;
use crate::runtime::NodeRuntime;
use crate::semantics::analyzer_rules;

/// Where a plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Destination {
    /// This process.
    Local,
    /// The executors.
    Cluster,
}

impl Destination {
    /// How tables declare their strings to plans for this destination.
    pub fn string_layout(self) -> StringLayout {
        match self {
            Self::Local => StringLayout::View,
            Self::Cluster => StringLayout::Plain,
        }
    }
}

/// What differs from one statement to the next.
#[derive(Debug, Clone)]
pub struct StatementSettings {
    /// Partitions that scans and exchanges are planned with.
    pub target_partitions: usize,
    /// The session's time zone, an IANA name or an offset.
    pub time_zone: String,
    /// The largest build side that is sent whole to every task, in bytes. Cluster only.
    pub broadcast_bytes_max: usize,
    /// Hash joins, or else sort-merge joins, which can spill. Cluster only.
    pub prefer_hash_join: bool,
}

/// Makes sessions. Building one from nothing registers hundreds of functions; copying is cheap.
#[derive(Debug)]
pub struct SessionStates {
    local: SessionState,
    cluster: SessionState,
}

impl SessionStates {
    /// Sessions over the shared resources of `runtime`.
    pub fn new(runtime: &NodeRuntime) -> Self {
        let base = || {
            SessionStateBuilder::new()
                .with_default_features()
                .with_analyzer_rules(analyzer_rules())
                .with_query_planner(Arc::new(exchange::Planner))
                .with_runtime_env(Arc::clone(&runtime.env))
        };
        let local = base()
            .with_optimizer_rule(Arc::new(QuickDateParts))
            .with_config(local_config().with_extension(Arc::clone(&runtime.stores)))
            .build();
        let cluster = base()
            .with_config(cluster_config().with_extension(Arc::clone(&runtime.stores)))
            .with_optimizer_rules(ballista_default_optimizer_rules())
            .with_physical_optimizer_rules(physical_rules())
            .build();
        Self { local, cluster }
    }

    /// A session for one statement that sees the tables in `catalogs`.
    pub fn for_statement(
        &self,
        destination: Destination,
        catalogs: Arc<dyn CatalogProviderList>,
        settings: &StatementSettings,
    ) -> SessionState {
        let mut state = match destination {
            Destination::Local => self.local.clone(),
            Destination::Cluster => self.cluster.clone(),
        };
        state.register_catalog_list(catalogs);
        state.mark_start_execution();
        let options = state.config_mut().options_mut();
        options.execution.target_partitions = settings.target_partitions;
        options.execution.time_zone = Some(settings.time_zone.clone());
        if destination == Destination::Cluster {
            // Ballista measures a broadcast by a bound of its own: it must be the one that was planned with.
            let _ = options.set(BROADCAST_BOUND, &settings.broadcast_bytes_max.to_string());
            options.optimizer.hash_join_single_partition_threshold = settings.broadcast_bytes_max;
            if settings.broadcast_bytes_max == 0 {
                options.optimizer.hash_join_single_partition_threshold_rows = 0;
            }
            options.optimizer.prefer_hash_join = settings.prefer_hash_join;
        }
        state
    }
}

const BROADCAST_BOUND: &str = "ballista.optimizer.broadcast_join_threshold_bytes";

/// The settings an executor with `runtime` decodes tasks with before the task's own are laid over them.
pub fn executor_config(runtime: &NodeRuntime) -> SessionConfig {
    cluster_config().with_extension(Arc::clone(&runtime.stores))
}

fn local_config() -> SessionConfig {
    common(SessionConfig::new())
}

fn cluster_config() -> SessionConfig {
    // Without Ballista's restrictions a plan does not fail on the cluster, it hangs.
    let config = common(SessionConfig::new_with_ballista())
        // Chosen per statement: sort-merge joins everywhere cost 2.6 times as much over TPC-H at SF 1.
        .set_bool("datafusion.optimizer.prefer_hash_join", true)
        .set_bool("ballista.planner.adaptive.enabled", false)
        .set_u64("ballista.client.grpc_max_message_size", u64::from(crate::codec::MESSAGE_BYTES_MAX))
        // Buffered per input partition of a task; the pool is asked as well.
        .set_u64("ballista.shuffle.sort_based.memory_limit_per_task_bytes", 64 << 20)
        .set_u64("ballista.shuffle.reader.max_bytes_in_flight", 16 << 20)
        .set_u64("ballista.client.io_retry_wait_time_ms", 200);
    if std::env::var_os(FORCE_REMOTE_READ).is_some() {
        config.set_bool("ballista.shuffle.force_remote_read", true)
    } else {
        config
    }
}

/// Makes executors on one machine fetch each other's shuffle files over the network, as they would
/// from elsewhere. For fault tests: otherwise a survivor reads a dead neighbour's files and hides the
/// loss.
pub const FORCE_REMOTE_READ: &str = "SLUICE_TEST_FORCE_REMOTE_READ";

fn common(config: SessionConfig) -> SessionConfig {
    let mut config = config
        .with_default_catalog_and_schema(DATABASE, DEFAULT_SCHEMA)
        .with_create_default_catalog_and_schema(false)
        // Ours has PostgreSQL's shape.
        .with_information_schema(false)
        .with_collect_statistics(true);
    let options = config.options_mut();
    options.sql_parser.dialect = Dialect::PostgreSQL;
    // Known before functions are made: now() has a zone only when there is one.
    options.execution.time_zone = Some("UTC".to_owned());
    // 0.06 + 0.01 must be 0.07, as in PostgreSQL.
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.collect_spans = true;
    // A sort that streams into its successor may hold this much outside the pool; the default is 1 GiB.
    options.execution.sort_pushdown_buffer_capacity = 64 << 20;
    config
}
