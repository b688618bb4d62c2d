//! Operators by the names that readers of PostgreSQL's plans know, and what they do their work with.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::{Partitioning, PhysicalSortExpr};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode, SortMergeJoinExec,
};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use engine::operators::{NullableInput, RecordedPartitioning};

use super::wording::{condition, plain, sql};

/// Longer details are cut: a list of ten thousand constants says no more than its beginning.
const DETAIL_CHARS_MAX: usize = 400;

/// The name of `plan`, and what it does its work with. `table` names the table of a scan.
pub fn operator(plan: &Arc<dyn ExecutionPlan>, table: Option<&str>) -> (String, String) {
    let (name, detail) = named(plan, table);
    (name, shortened(detail))
}

fn named(plan: &Arc<dyn ExecutionPlan>, table: Option<&str>) -> (String, String) {
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        return scanned(scan, table);
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        return ("Filter".into(), sql(filter.predicate()));
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let columns = projection.expr().iter().map(|of| {
            let text = sql(&of.expr);
            let name = plain(&of.alias);
            if is_name_of(&name, &text) { text } else { format!("{text} AS {name}") }
        });
        return ("Project".into(), joined(columns));
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return aggregated(aggregate);
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let keys = join.on().iter().map(|(left, right)| format!("{} = {}", sql(left), sql(right)));
        let broadcast =
            if *join.partition_mode() == PartitionMode::CollectLeft { ", first input broadcast" } else { "" };
        let and =
            join.filter().map(|filter| format!(" and {}", sql(filter.expression()))).unwrap_or_default();
        return (
            format!("Hash{}", join_name(*join.join_type())),
            format!("{}{and}{broadcast}", joined(keys)),
        );
    }
    if let Some(join) = plan.downcast_ref::<SortMergeJoinExec>() {
        let keys = join.on().iter().map(|(left, right)| format!("{} = {}", sql(left), sql(right)));
        return (format!("Merge{}", join_name(join.join_type())), joined(keys));
    }
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        let condition = join.filter().map(|filter| sql(filter.expression())).unwrap_or_default();
        return (format!("Nested Loop{}", join_name(*join.join_type())), condition);
    }
    if plan.is::<CrossJoinExec>() {
        return ("Cross Join".into(), String::new());
    }
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        let first = sort.fetch().map(|rows| format!(", first {rows}")).unwrap_or_default();
        return ("Sort".into(), format!("{}{first}", ordering(sort.expr().iter())));
    }
    if let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() {
        let first = merge.fetch().map(|rows| format!(", first {rows}")).unwrap_or_default();
        return ("Gather Merge".into(), format!("{}{first}", ordering(merge.expr().iter())));
    }
    if plan.is::<CoalescePartitionsExec>() {
        return ("Gather".into(), String::new());
    }
    if let Some(limit) = plan.downcast_ref::<GlobalLimitExec>() {
        let skip = if limit.skip() > 0 { format!("after {}", limit.skip()) } else { String::new() };
        let most = limit.fetch().map(|rows| format!("{rows} ")).unwrap_or_default();
        return ("Limit".into(), format!("{most}{skip}").trim().to_owned());
    }
    if let Some(limit) = plan.downcast_ref::<LocalLimitExec>() {
        return ("Limit".into(), format!("{} of each partition", limit.fetch()));
    }
    if let Some(kept) = plan.downcast_ref::<RecordedPartitioning>() {
        return ("Recorded Partitioning".into(), format!("by {}", joined(kept.keys().iter().map(sql))));
    }
    if plan.is::<NullableInput>() {
        return ("Unordered".into(), String::new());
    }
    if plan.is::<UnionExec>() {
        return ("Append".into(), String::new());
    }
    let text = DisplayableExecutionPlan::new(plan.as_ref()).one_line().to_string();
    let text = text.trim();
    let detail = text.split_once(": ").map_or("", |(_, detail)| detail);
    (spaced(plan.name().trim_end_matches("Exec")), detail.to_owned())
}

/// True when `name` is what DataFusion calls the expression `text` itself: with a number behind it where it stands twice.
fn is_name_of(name: &str, text: &str) -> bool {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let rest = name.strip_prefix(text);
    rest.is_some_and(|rest| {
        rest.is_empty() || text.ends_with(')') && rest.strip_prefix(' ').is_some_and(is_number)
    })
}

fn scanned(scan: &DataSourceExec, table: Option<&str>) -> (String, String) {
    let source = scan.data_source();
    let Some(files) = source.downcast_ref::<FileScanConfig>() else {
        return ("Values Scan".into(), String::new());
    };
    let kind = match files.file_source().file_type() {
        "parquet" => "Parquet Scan",
        "csv" => "CSV Scan",
        "json" => "JSON Scan",
        "arrow" => "Arrow Scan",
        _ => "File Scan",
    };
    let name = table.map_or_else(|| kind.to_owned(), |table| format!("{kind} on {table}"));
    let count: usize = files.file_groups.iter().map(|group| group.len()).sum();
    let bytes: u64 =
        files.file_groups.iter().flat_map(|group| group.iter()).map(|file| file.effective_size()).sum();
    let condition = files.file_source().filter().and_then(|of| condition(&of));
    let condition = condition.map(|of| format!(", {of}")).unwrap_or_default();
    let limit = files.limit.map(|rows| format!(", first {rows}")).unwrap_or_default();
    let paths =
        files.file_groups.iter().flat_map(|group| group.iter()).map(|file| &file.object_meta.location);
    let distinct = paths.collect::<HashSet<_>>().len();
    let plural = if distinct == 1 { "" } else { "s" };
    let parts = if count > distinct { format!(" in {count} parts") } else { String::new() };
    (name, format!("{distinct} file{plural}{parts}, {}{limit}{condition}", engine::ByteSize(bytes)))
}

fn aggregated(aggregate: &AggregateExec) -> (String, String) {
    let stage = match aggregate.mode() {
        AggregateMode::Partial => "Partial ",
        AggregateMode::PartialReduce => "Partial ",
        AggregateMode::Final | AggregateMode::FinalPartitioned => "Finalize ",
        AggregateMode::Single | AggregateMode::SinglePartitioned => "",
    };
    let groups = aggregate.group_expr().expr();
    let name = if groups.is_empty() { "Aggregate" } else { "HashAggregate" };
    let keys = joined(groups.iter().map(|(key, _)| sql(key)));
    let functions = joined(aggregate.aggr_expr().iter().map(|function| plain(function.name())));
    let detail = match (keys.is_empty(), functions.is_empty()) {
        (true, _) => functions,
        (false, true) => format!("by {keys}"),
        (false, false) => format!("by {keys}: {functions}"),
    };
    (format!("{stage}{name}"), detail)
}

fn join_name(kind: JoinType) -> &'static str {
    match kind {
        JoinType::Inner => " Join",
        JoinType::Left => " Left Join",
        JoinType::Right => " Right Join",
        JoinType::Full => " Full Join",
        JoinType::LeftSemi => " Semi Join",
        JoinType::RightSemi => " Right Semi Join",
        JoinType::LeftAnti => " Anti Join",
        JoinType::RightAnti => " Right Anti Join",
        JoinType::LeftMark => " Mark Join",
        JoinType::RightMark => " Right Mark Join",
    }
}

fn ordering<'a>(keys: impl Iterator<Item = &'a PhysicalSortExpr>) -> String {
    joined(keys.map(|key| {
        let direction = if key.options.descending { " DESC" } else { "" };
        format!("{}{direction}", sql(&key.expr))
    }))
}

/// The keys of a partitioning by hash.
pub fn keys(partitioning: &Partitioning) -> Vec<String> {
    match partitioning {
        Partitioning::Hash(keys, _) => keys.iter().map(|key| shortened(sql(key))).collect(),
        _ => Vec::new(),
    }
}

fn joined(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

/// `SortShuffleReader` as `Sort Shuffle Reader`.
fn spaced(name: &str) -> String {
    let mut spaced = String::new();
    let mut before_is_small = false;
    for letter in name.chars() {
        if letter.is_uppercase() && before_is_small {
            spaced.push(' ');
        }
        before_is_small = letter.is_lowercase();
        spaced.push(letter);
    }
    spaced
}

fn shortened(text: String) -> String {
    if text.chars().count() <= DETAIL_CHARS_MAX {
        return text;
    }
    let mut short: String = text.chars().take(DETAIL_CHARS_MAX).collect();
    short.push('…');
    short
}

/// How many partitions `plan` has.
pub fn partitions(plan: &Arc<dyn ExecutionPlan>) -> usize {
    plan.output_partitioning().partition_count()
}
