//! The two DataFusion sessions everything is planned with: one for this process, one for the cluster.
//!
//! They differ because Ballista cuts a plan into stages that share no memory: dynamic filters would
//! wait for ever for a value set in another process, and views would drag whole buffers along.

use std::any::Any;
use std::sync::Arc;

use ballista_core::extension::SessionConfigExt;
use ballista_core::optimizer::ballista_default_optimizer_rules;
use catalog::{DATABASE, DEFAULT_SCHEMA, StringLayout};
use datafusion::catalog::CatalogProviderList;
use datafusion::common::config::{ConfigEntry, ConfigExtension, Dialect, ExtensionOptions};
use datafusion::common::config_datafusion_err;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::optimizer::Optimizer;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;

use crate::broadcast::physical_rules;
use crate::exchange;
use crate::functions::lists::ListPlanner;
use crate::functions::{
    self, bounded, bytes, declared, documents, formatting, gathering, instants, lists, numbers, ranks, signs,
    texts,
};
use crate::nullable_inputs::forgetting;
use crate::optimize_projections::careful;
use crate::planner_rules::watched;
use crate::repeated_names::by_place;
use crate::runtime::NodeRuntime;
use crate::semantics::{MergedColumns, WidePlanner, analyzer_rules, instants::Instants, same};

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
    /// How the session prints values and reads dates, as `Style::told` tells it.
    pub style: String,
    /// The largest build side that is sent whole to every task, in bytes. Cluster only.
    pub broadcast_bytes_max: usize,
    /// Hash joins, or else sort-merge joins, which can spill.
    pub prefer_hash_join: bool,
    /// What one task may count on having of its process's pool, in bytes.
    pub task_memory: usize,
    /// Bytes that the operators of each task may take, at most, on executors; as many as there are when 0.
    pub memory_max: usize,
    /// How much is given up for needing less memory.
    pub thrift: Thrift,
}

/// How much is given up for needing less memory. A statement that ran out of it is planned again, each time with
/// the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thrift {
    /// Nothing.
    #[default]
    None,
    /// Hash joins and large batches; smaller partitions.
    Frugal,
    /// Company as well: its tasks run alone in their executor, one partition at a time; in the server's own process
    /// batches are smaller still.
    Alone,
    /// Speed: a few rows at a time, for those that are too wide for more.
    Narrow,
}

impl Thrift {
    /// What to try when memory ran out; `is_wide` where it did because rows are wide.
    pub fn next(self, is_wide: bool) -> Option<Self> {
        match self {
            Self::None => Some(Self::Frugal),
            Self::Frugal | Self::Alone if is_wide => Some(Self::Narrow),
            Self::Frugal => Some(Self::Alone),
            Self::Alone | Self::Narrow => None,
        }
    }

    /// Partitions for each one that there would be otherwise, on executors, where they are computed in turn.
    pub fn partitions_factor(self) -> usize {
        match self {
            Self::None => 1,
            Self::Frugal => 4,
            Self::Alone | Self::Narrow => 8,
        }
    }
}

/// What executors are told of a task beside DataFusion's and Ballista's own settings.
#[derive(Debug, Clone, Default)]
pub struct TaskOptions {
    /// The task is to run alone in its executor.
    pub alone: bool,
    /// Bytes that its operators may take, at most; as many as there are when 0.
    pub memory_max: usize,
    /// How values are printed and dates are read, as `Style::told` tells it.
    pub style: String,
}

/// By hand: what DataFusion's macro makes lists the keys without their prefix, so that Ballista's executors, which are sent that
/// list, would know none of them.
impl ExtensionOptions for TaskOptions {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let wrong = || config_datafusion_err!("a value of \"{key}\" that is none: {value}");
        match key {
            "alone" => self.alone = value.parse().map_err(|_| wrong())?,
            "memory_max" => self.memory_max = value.parse().map_err(|_| wrong())?,
            "style" => value.clone_into(&mut self.style),
            _ => return Err(config_datafusion_err!("there is no setting {}.{key}", Self::PREFIX)),
        }
        Ok(())
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        let entry = |key: &str, value: String| ConfigEntry {
            key: format!("{}.{key}", Self::PREFIX),
            value: Some(value),
            description: "",
        };
        vec![
            entry("alone", self.alone.to_string()),
            entry("memory_max", self.memory_max.to_string()),
            entry("style", self.style.clone()),
        ]
    }
}

impl ConfigExtension for TaskOptions {
    const PREFIX: &'static str = "sluice_task";
}

/// True for tasks that are to run alone in their executor.
pub fn runs_alone(config: &SessionConfig) -> bool {
    config.options().extensions.get::<TaskOptions>().is_some_and(|options| options.alone)
}

/// The same for tasks that are to run alone in their executor.
pub fn alone(config: &SessionConfig) -> SessionConfig {
    let mut config = config.clone();
    if let Some(options) = config.options_mut().extensions.get_mut::<TaskOptions>() {
        options.alone = true;
    }
    let _ = config.options_mut().set(PARTITIONS_PER_TASK, "1");
    config
}

/// Bytes that the operators of a task may take, at most; as many as there are when 0.
pub fn memory_max(config: &SessionConfig) -> usize {
    config.options().extensions.get::<TaskOptions>().map_or(0, |options| options.memory_max)
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
                // Before DataFusion's own: the first that plans an operator has planned it.
                .with_expr_planners(vec![
                    Arc::new(MergedColumns),
                    Arc::new(WidePlanner),
                    Arc::new(Instants),
                    Arc::new(ListPlanner),
                ])
                .with_default_features()
                .with_analyzer_rules(analyzer_rules())
                .with_query_planner(Arc::new(exchange::Planner))
                .with_runtime_env(Arc::clone(&runtime.env))
        };
        let local = base()
            .with_optimizer_rules(watched(Optimizer::new().rules))
            .with_physical_optimizer_rules(forgetting(careful(by_place(PhysicalOptimizer::new().rules))))
            .with_config(local_config().with_extension(Arc::clone(&runtime.stores)))
            .build();
        let cluster = base()
            .with_config(cluster_config().with_extension(Arc::clone(&runtime.stores)))
            .with_optimizer_rules(watched(ballista_default_optimizer_rules()))
            .with_physical_optimizer_rules(physical_rules())
            .build();
        Self { local: with_bounded_functions(local), cluster: with_bounded_functions(cluster) }
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
        let options = state.config_mut().options_mut();
        options.execution.target_partitions = settings.target_partitions;
        options.execution.time_zone = Some(settings.time_zone.clone());
        if !settings.style.is_empty() {
            let _ = options.set("sluice_task.style", &settings.style);
        }
        let task_memory = settings.task_memory;
        options.execution.sort_spill_reservation_bytes = (task_memory / 16).clamp(1 << 20, 10 << 20);
        options.optimizer.prefer_hash_join = settings.prefer_hash_join;
        if settings.thrift > Thrift::None {
            let rows = match settings.thrift {
                // One process runs its tasks at once: no thrift of company is left but smaller pieces.
                Thrift::Alone if destination == Destination::Local => SMALL_BATCH_ROWS,
                Thrift::Narrow => NARROW_BATCH_ROWS,
                _ => FRUGAL_BATCH_ROWS,
            };
            let _ = options.set("datafusion.execution.batch_size", &rows.to_string());
            options.optimizer.prefer_hash_join = false;
        }
        if destination == Destination::Cluster {
            // Buffered per input partition of a task, outside the pool while it is encoded.
            let _ = options.set(SHUFFLE_WRITE_BOUND, &(task_memory / 4).clamp(2 << 20, 64 << 20).to_string());
            // As it travels: compressed, and decoded outside the pool.
            let _ = options.set(SHUFFLE_READ_BOUND, &(task_memory / 16).clamp(2 << 20, 16 << 20).to_string());
            if settings.memory_max > 0 {
                let _ = options.set("sluice_task.memory_max", &settings.memory_max.to_string());
            }
            if settings.thrift >= Thrift::Alone {
                let _ = options.set("sluice_task.alone", "true");
                let _ = options.set(PARTITIONS_PER_TASK, "1");
            }
            // Ballista measures a broadcast by a bound of its own: it must be the one that was planned with.
            let _ = options.set(BROADCAST_BOUND, &settings.broadcast_bytes_max.to_string());
            options.optimizer.hash_join_single_partition_threshold = settings.broadcast_bytes_max;
            if settings.broadcast_bytes_max == 0 {
                options.optimizer.hash_join_single_partition_threshold_rows = 0;
            }
        }
        // Functions that know the session's settings are told them as they are now.
        state.mark_start_execution();
        state
    }
}

/// What allocates much at once asks first, or says so.
fn with_bounded_functions(mut state: SessionState) -> SessionState {
    for function in gathering::functions().into_iter().chain(numbers::aggregates()) {
        state.register_udaf(function).expect("DataFusion's own functions may be replaced");
    }
    for function in ranks::functions() {
        state.register_udwf(function).expect("DataFusion's own functions may be replaced");
    }
    let ours = [
        formatting::functions(),
        lists::functions(),
        bytes::functions(),
        vec![declared::function()],
        signs::functions(),
        vec![same()],
        documents::functions(),
        numbers::named_functions(),
        texts::named_functions(),
        instants::functions(),
    ];
    let ours: Vec<_> = ours.into_iter().flatten().collect();
    for function in &ours {
        // DataFusion's of the name go with their other names, under which they would come back below.
        state.deregister_udf(function.name()).expect("DataFusion's own functions may be replaced");
    }
    // As they are here: some have been told the session's settings.
    let functions: Vec<_> = state.scalar_functions().values().cloned().collect();
    for function in functions.into_iter().filter_map(bounded::bounded) {
        state.register_udf(function).expect("DataFusion's own functions may be replaced");
    }
    // Last: a name of ours may be another name of one that stays.
    for function in ours {
        let function = bounded::bounded(Arc::clone(&function)).unwrap_or(function);
        state.register_udf(function).expect("DataFusion's own functions may be replaced");
    }
    state
}

const BROADCAST_BOUND: &str = "ballista.optimizer.broadcast_join_threshold_bytes";
const PARTITIONS_PER_TASK: &str = "ballista.scheduler.max_partitions_per_task";
const SHUFFLE_WRITE_BOUND: &str = "ballista.shuffle.sort_based.memory_limit_per_task_bytes";
const SHUFFLE_READ_BOUND: &str = "ballista.shuffle.reader.max_bytes_in_flight";
/// Rows of a batch where memory is scarce, an eighth of the usual: a merge holds two batches of each run.
const FRUGAL_BATCH_ROWS: usize = 1024;
/// The same where that was too much for sorts that run at once.
const SMALL_BATCH_ROWS: usize = 128;
/// The same where rows are too wide for that: a sixteenth of what a batch may come to is the most that one row may have.
const NARROW_BATCH_ROWS: usize = 16;

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
        .with_option_extension(TaskOptions::default())
        .with_default_catalog_and_schema(DATABASE, DEFAULT_SCHEMA)
        .with_create_default_catalog_and_schema(false)
        // Ours has PostgreSQL's shape.
        .with_information_schema(false)
        .with_collect_statistics(true);
    let options = config.options_mut();
    options.sql_parser.dialect = Dialect::PostgreSQL;
    // A table has the files of folders within its own, and what tells that it is of another format lies in one.
    options.execution.listing_table_ignore_subdirectory = false;
    // Known before functions are made: now() has a zone only when there is one.
    options.execution.time_zone = Some(functions::ZONE.to_owned());
    // 0.06 + 0.01 must be 0.07, as in PostgreSQL.
    options.sql_parser.parse_float_as_decimal = true;
    // A CASE whose condition keeps NULL out has a column without NULL in the one schema and with NULL in the other: groups over it
    // were refused.
    options.execution.skip_physical_aggregate_schema_check = true;
    // What reads a subquery gets its rows in their order, as in PostgreSQL.
    options.sql_parser.enable_subquery_sort_elimination = false;
    options.sql_parser.collect_spans = true;
    // A sort that streams into its successor may hold this much outside the pool; the default is 1 GiB.
    options.execution.sort_pushdown_buffer_capacity = 64 << 20;
    config
}

#[cfg(test)]
mod tests {
    use ballista_core::extension::SessionConfigHelperExt;

    use super::*;

    #[test]
    fn executors_are_told_what_a_task_is_to_be() {
        let mut sent = cluster_config();
        for (key, value) in [("alone", "true"), ("memory_max", "5"), ("style", "German, DMY|postgres|hex|1")]
        {
            sent.options_mut().set(&format!("sluice_task.{key}"), value).expect("a setting");
        }
        let taken = cluster_config().update_from_key_value_pair(&sent.to_key_value_pairs());
        assert!(runs_alone(&taken));
        assert_eq!(memory_max(&taken), 5);
        assert_eq!(
            crate::functions::style::Style::of_options(taken.options()).told(),
            "German, DMY|postgres|hex|1"
        );
    }
}
