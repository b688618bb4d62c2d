//! Settings of PostgreSQL's that say nothing here about what a statement gives: how its planner counts, how its files and
//! processes are tended. They are kept and shown, so that what clients set goes through. Those among them that could be seen
//! take the one value that holds.

use super::settings::{Kind, SettingDescription, setting};

const PLANNER: &str = "Accepted; plans are made without it.";
const UPKEEP: &str = "Accepted; files and processes are not tended by it.";
const FIXED: &str = "Said for clients that ask; has one value.";

const COST: Kind = Kind::Real(0.0, f64::MAX);
const COUNT: Kind = Kind::Integer(0, i32::MAX as i64);
const MILLISECONDS: Kind = Kind::Milliseconds;
const PAGES: Kind = Kind::Memory { unit_kb: 8, least: 0 };
const KILOBYTES: Kind = Kind::Memory { unit_kb: 1, least: 64 };

const fn planner(name: &'static str, default: &'static str, kind: Kind) -> SettingDescription {
    setting(name, default, kind, PLANNER)
}

const fn upkeep(name: &'static str, default: &'static str, kind: Kind) -> SettingDescription {
    setting(name, default, kind, UPKEEP)
}

const fn fixed(name: &'static str, default: &'static str) -> SettingDescription {
    setting(name, default, Kind::Only, FIXED)
}

const fn off(name: &'static str) -> SettingDescription {
    setting(name, "off", Kind::OnlyBool(false), FIXED)
}

/// In the order of their names.
pub(super) static ACCEPTED: &[SettingDescription] = &[
    setting("array_nulls", "on", Kind::OnlyBool(true), "NULL in an array's text is no text."),
    setting(
        "backslash_quote",
        "safe_encoding",
        Kind::Served { served: &["safe_encoding", "on"], others: &["off"] },
        "A quote in E'...' may be written behind a backslash.",
    ),
    upkeep("check_function_bodies", "on", Kind::Bool),
    upkeep("client_connection_check_interval", "0", MILLISECONDS),
    upkeep("commit_siblings", "5", Kind::Integer(0, 1000)),
    planner("constraint_exclusion", "partition", Kind::OneOf(&["partition", "on", "off"])),
    planner("cpu_index_tuple_cost", "0.005", COST),
    planner("cpu_operator_cost", "0.0025", COST),
    planner("cpu_tuple_cost", "0.01", COST),
    planner("cursor_tuple_fraction", "0.1", Kind::Real(0.0, 1.0)),
    setting("debug_pretty_print", "on", Kind::Bool, UPKEEP),
    off("debug_print_parse"),
    off("debug_print_plan"),
    off("debug_print_rewritten"),
    planner("default_statistics_target", "100", Kind::Integer(1, 10_000)),
    fixed("default_text_search_config", "pg_catalog.english"),
    upkeep("default_toast_compression", "pglz", Kind::OneOf(&["pglz", "lz4"])),
    planner("effective_cache_size", "4GB", PAGES),
    planner("effective_io_concurrency", "1", Kind::Integer(0, 1000)),
    planner("enable_async_append", "on", Kind::Bool),
    planner("enable_bitmapscan", "on", Kind::Bool),
    planner("enable_gathermerge", "on", Kind::Bool),
    planner("enable_hashagg", "on", Kind::Bool),
    planner("enable_hashjoin", "on", Kind::Bool),
    planner("enable_incremental_sort", "on", Kind::Bool),
    planner("enable_indexonlyscan", "on", Kind::Bool),
    planner("enable_indexscan", "on", Kind::Bool),
    planner("enable_material", "on", Kind::Bool),
    planner("enable_memoize", "on", Kind::Bool),
    planner("enable_mergejoin", "on", Kind::Bool),
    planner("enable_nestloop", "on", Kind::Bool),
    planner("enable_parallel_append", "on", Kind::Bool),
    planner("enable_parallel_hash", "on", Kind::Bool),
    planner("enable_partition_pruning", "on", Kind::Bool),
    planner("enable_partitionwise_aggregate", "off", Kind::Bool),
    planner("enable_partitionwise_join", "off", Kind::Bool),
    planner("enable_seqscan", "on", Kind::Bool),
    planner("enable_sort", "on", Kind::Bool),
    planner("enable_tidscan", "on", Kind::Bool),
    off("exit_on_error"),
    planner("force_parallel_mode", "off", Kind::OneOf(&["off", "on", "regress"])),
    planner("from_collapse_limit", "8", Kind::Integer(1, i32::MAX as i64)),
    planner("geqo", "on", Kind::Bool),
    planner("geqo_effort", "5", Kind::Integer(1, 10)),
    planner("geqo_generations", "0", COUNT),
    planner("geqo_pool_size", "0", COUNT),
    planner("geqo_seed", "0", Kind::Real(0.0, 1.0)),
    planner("geqo_selection_bias", "2", Kind::Real(1.5, 2.0)),
    planner("geqo_threshold", "12", Kind::Integer(2, i32::MAX as i64)),
    upkeep("gin_fuzzy_search_limit", "0", COUNT),
    upkeep("gin_pending_list_limit", "4MB", KILOBYTES),
    planner("hash_mem_multiplier", "2", Kind::Real(1.0, 1000.0)),
    planner("jit", "off", Kind::Bool),
    planner("jit_above_cost", "100000", Kind::Real(-1.0, f64::MAX)),
    planner("jit_expressions", "on", Kind::Bool),
    planner("jit_inline_above_cost", "500000", Kind::Real(-1.0, f64::MAX)),
    planner("jit_optimize_above_cost", "500000", Kind::Real(-1.0, f64::MAX)),
    planner("jit_tuple_deforming", "on", Kind::Bool),
    planner("join_collapse_limit", "8", Kind::Integer(1, i32::MAX as i64)),
    fixed("local_preload_libraries", ""),
    fixed("log_parameter_max_length_on_error", "0"),
    upkeep("logical_decoding_work_mem", "64MB", KILOBYTES),
    upkeep("maintenance_io_concurrency", "10", Kind::Integer(0, 1000)),
    upkeep("maintenance_work_mem", "64MB", Kind::Memory { unit_kb: 1, least: 1024 }),
    planner("max_parallel_maintenance_workers", "2", Kind::Integer(0, 1024)),
    planner("max_parallel_workers", "8", Kind::Integer(0, 1024)),
    planner("max_parallel_workers_per_gather", "2", Kind::Integer(0, 1024)),
    planner("min_parallel_index_scan_size", "512kB", PAGES),
    planner("min_parallel_table_scan_size", "8MB", PAGES),
    planner("parallel_leader_participation", "on", Kind::Bool),
    planner("parallel_setup_cost", "1000", COST),
    planner("parallel_tuple_cost", "0.1", COST),
    planner("plan_cache_mode", "auto", Kind::OneOf(&["auto", "force_generic_plan", "force_custom_plan"])),
    setting(
        "quote_all_identifiers",
        "off",
        Kind::OnlyBool(false),
        "Identifiers are quoted where they must be.",
    ),
    planner("random_page_cost", "4", COST),
    planner("recursive_worktable_factor", "10", Kind::Real(0.001, 1e6)),
    fixed("restrict_nonsystem_relation_kind", ""),
    setting("row_security", "on", Kind::Bool, "Accepted; there are no policies."),
    planner("seq_page_cost", "1", COST),
    planner("stats_fetch_consistency", "cache", Kind::OneOf(&["none", "cache", "snapshot"])),
    setting("synchronize_seqscans", "on", Kind::Bool, UPKEEP),
    upkeep("synchronous_commit", "on", Kind::OneOf(&["local", "remote_write", "remote_apply", "on", "off"])),
    planner("temp_buffers", "8MB", PAGES),
    fixed("temp_tablespaces", ""),
    fixed("timezone_abbreviations", "Default"),
    off("trace_notify"),
    off("trace_sort"),
    setting("transform_null_equals", "off", Kind::OnlyBool(false), "A comparison with NULL is null."),
    fixed("vacuum_cost_delay", "0"),
    upkeep("vacuum_cost_limit", "200", Kind::Integer(1, 10_000)),
    upkeep("vacuum_cost_page_dirty", "20", Kind::Integer(0, 10_000)),
    upkeep("vacuum_cost_page_hit", "1", Kind::Integer(0, 10_000)),
    upkeep("vacuum_cost_page_miss", "2", Kind::Integer(0, 10_000)),
    upkeep("vacuum_failsafe_age", "1600000000", Kind::Integer(0, 2_100_000_000)),
    upkeep("vacuum_freeze_min_age", "50000000", Kind::Integer(0, 1_000_000_000)),
    upkeep("vacuum_freeze_table_age", "150000000", Kind::Integer(0, 2_000_000_000)),
    upkeep("vacuum_multixact_failsafe_age", "1600000000", Kind::Integer(0, 2_100_000_000)),
    upkeep("vacuum_multixact_freeze_min_age", "5000000", Kind::Integer(0, 1_000_000_000)),
    upkeep("vacuum_multixact_freeze_table_age", "150000000", Kind::Integer(0, 2_000_000_000)),
    upkeep("wal_skip_threshold", "2MB", Kind::Memory { unit_kb: 1, least: 0 }),
    setting("work_mem", "4MB", KILOBYTES, "Accepted; memory is bounded for the process, not for each sort."),
    fixed("xmlbinary", "base64"),
    fixed("xmloption", "content"),
];
