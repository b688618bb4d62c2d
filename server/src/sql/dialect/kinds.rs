//! What PostgreSQL's functions are: of one row, of many, or giving many.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Functions that are more than a value of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Aggregate,
    /// With WITHIN GROUP.
    OrderedSet,
    /// With OVER.
    Window,
    /// They give rows.
    Rows,
}

const AGGREGATES: &[&str] = &[
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "every",
    "json_agg",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_object_agg",
    "max",
    "min",
    "range_agg",
    "range_intersect_agg",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
    "xmlagg",
];

const WINDOWS: &[&str] = &[
    "cume_dist",
    "dense_rank",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "nth_value",
    "ntile",
    "percent_rank",
    "rank",
    "row_number",
];

const ROWS: &[&str] = &[
    "generate_series",
    "generate_subscripts",
    "json_array_elements",
    "json_array_elements_text",
    "json_each",
    "json_each_text",
    "json_object_keys",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_each",
    "jsonb_each_text",
    "jsonb_object_keys",
    "jsonb_path_query",
    "regexp_matches",
    "regexp_split_to_table",
    "string_to_table",
    "unnest",
];

/// What `name` is, unless it is of one row.
pub fn kind_of(name: &str) -> Option<Kind> {
    match name {
        "mode" | "percentile_cont" | "percentile_disc" => Some(Kind::OrderedSet),
        name if AGGREGATES.contains(&name) => Some(Kind::Aggregate),
        name if WINDOWS.contains(&name) => Some(Kind::Window),
        name if ROWS.contains(&name) => Some(Kind::Rows),
        _ => None,
    }
}

/// True for a function of one row.
pub fn is_scalar(name: &str) -> bool {
    static NAMES: LazyLock<HashSet<String>> =
        LazyLock::new(|| engine::functions::registry().scalar_functions.keys().cloned().collect());
    kind_of(name).is_none() && NAMES.contains(name)
}
