//! The rules, each over the account of one query.

use engine::ByteSize;

use super::Measures;
use crate::profile::{Exchange, ExchangeKind, Input, Lint, Operator, Profile, Stage};

/// So many pairs of rows are compared in no time.
const PAIRS_MAX: u64 = 20_000_000;
/// A side of fewer rows is a list of constants rather than a table that was to be joined.
const SIDE_MIN: u64 = 100;
/// Fewer files are opened in no time.
const FILES_MIN: u64 = 32;
/// To open a file and read its footer takes about so long, in milliseconds.
const OPEN_MS: u64 = 2;
/// So many times the mean is skewed.
const SKEW_MIN: u64 = 4;

/// What is known before a query runs.
pub fn before(profile: &Profile, is_distributed: bool, measures: &Measures) -> Vec<Lint> {
    let mut found = Vec::new();
    found.extend(profile.stages.iter().find_map(cross_join));
    found.extend(profile.input.iter().find_map(|input| small_files(input, measures)));
    found.extend(profile.input.iter().find_map(|input| unpruned_scan(input, measures)));
    if is_distributed {
        found.extend(needless_cluster(profile, measures));
    }
    found
}

/// What is known once it has run.
pub fn after(profile: &Profile, measures: &Measures) -> Vec<Lint> {
    let exchanges = || profile.exchanges.iter().filter(|exchange| exchange.kind == ExchangeKind::Hash);
    let mut found = Vec::new();
    found.extend(exchanges().find_map(|exchange| skewed_exchange(exchange, measures)));
    found.extend(exchanges().find_map(|exchange| large_partitions(exchange, measures)));
    if measures.chose_partitions {
        found.extend(exchanges().find_map(|exchange| small_partitions(exchange, measures)));
    }
    // Buckets by a value that most rows have would be as uneven.
    if profile.is_distributed && !found.iter().any(|lint| lint.code == "skewed_exchange") {
        found.extend(exchanges().find_map(|exchange| full_shuffle(profile, exchange, measures)));
    }
    found
}

fn lint(code: &str, message: String, hint: String) -> Lint {
    Lint { code: code.to_owned(), message, hint }
}

/// The operators that `operator` at `at` reads within its stage.
fn inputs(stage: &Stage, at: usize) -> impl Iterator<Item = &Operator> {
    let depth = stage.operators[at].depth;
    stage.operators[at + 1..]
        .iter()
        .take_while(move |of| of.depth > depth)
        .filter(move |of| of.depth == depth + 1)
}

fn cross_join(stage: &Stage) -> Option<Lint> {
    stage.operators.iter().enumerate().find_map(|(at, operator)| {
        let has_no_condition = operator.name == "Cross Join"
            || operator.name == "Nested Loop Join" && operator.detail.is_empty();
        if !has_no_condition {
            return None;
        }
        let sizes: Vec<u64> = inputs(stage, at).map(|input| input.predicted_rows).collect();
        let pairs = sizes.iter().copied().reduce(u64::saturating_mul)?;
        let [left, right] = sizes.as_slice() else { return None };
        (pairs > PAIRS_MAX && *left.min(right) > SIDE_MIN).then(|| {
            lint(
                "cross_join",
                format!("about {left} rows are joined with {right} without a condition: {pairs} pairs"),
                "Join on columns (JOIN … ON a.x = b.x), or aggregate before.".to_owned(),
            )
        })
    })
}

fn small_files(input: &Input, measures: &Measures) -> Option<Lint> {
    let mean = input.bytes.checked_div(input.files)?;
    let least = measures.target.0 / 64;
    (input.files >= FILES_MIN && mean < least).then(|| {
        let (table, files) = (&input.table, input.files);
        lint(
            "small_partitions",
            format!(
                "{table} is read from {files} files of {} each; to open them takes about {} ms",
                ByteSize(mean),
                files * OPEN_MS
            ),
            format!("OPTIMIZE {table}, if this server writes it, or write it anew in fewer files: CREATE TABLE … AS SELECT * FROM {table}."),
        )
    })
}

fn unpruned_scan(input: &Input, measures: &Measures) -> Option<Lint> {
    let is_large = input.bytes >= measures.target.0 / 4 && input.files > 4;
    let by_key = input.filter_columns.iter().any(|column| input.partition_columns.contains(column));
    let is_unpruned = input.files_pruned.is_some_and(|pruned| pruned * 10 <= input.files)
        && !input.partition_columns.is_empty();
    let has_filter = !input.filter_columns.is_empty();
    (is_large && is_unpruned && has_filter && !by_key).then(|| {
        let keys = input.partition_columns.join(", ");
        lint(
            "unpruned_scan",
            format!(
                "{} of {} files of {} are read ({}): its filter is on {}, and its partitions are by {keys}",
                input.files,
                input.files + input.files_pruned.unwrap_or(0),
                input.table,
                ByteSize(input.bytes),
                input.filter_columns.join(", ")
            ),
            format!("Filter on {keys} as well, or partition or sort the table by what it is filtered on."),
        )
    })
}

fn needless_cluster(profile: &Profile, measures: &Measures) -> Option<Lint> {
    let bytes: u64 = profile.input.iter().map(|input| input.bytes).sum();
    // As stored; in memory it is a few times that.
    let fits = bytes.saturating_mul(4) <= measures.local_bytes_max.0;
    (measures.chose_cluster && fits && !profile.input.is_empty()).then(|| {
        lint(
            "needless_cluster",
            format!(
                "{} are read on executors, which the server would compute by itself: each exchange costs some 10 ms",
                ByteSize(bytes)
            ),
            "SET sluice.route = auto.".to_owned(),
        )
    })
}

fn mean_of(exchange: &Exchange) -> Option<u64> {
    exchange.bytes?.checked_div(exchange.partitions as u64)
}

fn skewed_exchange(exchange: &Exchange, measures: &Measures) -> Option<Lint> {
    let (largest, mean) = (exchange.largest_partition_bytes?, mean_of(exchange)?);
    let is_skewed = exchange.partitions > 1
        && largest >= mean.saturating_mul(SKEW_MIN).min(exchange.bytes? / 10 * 9)
        && largest > mean.saturating_mul(3) / 2
        && largest >= measures.target.0 / 16;
    is_skewed.then(|| {
        let keys = exchange.keys.join(", ");
        lint(
            "skewed_exchange",
            format!(
                "of {} partitions by {keys}, the largest has {} of {}: one task computes most of it",
                exchange.partitions,
                ByteSize(largest),
                ByteSize(exchange.bytes.unwrap_or(0))
            ),
            format!("Filter out the value of {keys} that most rows have (often null or a default), or aggregate by more columns first."),
        )
    })
}

fn large_partitions(exchange: &Exchange, measures: &Measures) -> Option<Lint> {
    let (mean, target) = (mean_of(exchange)?, measures.target.0.max(1));
    (mean > target.saturating_mul(4)).then(|| {
        let wanted = exchange.bytes.unwrap_or(0).div_ceil(target);
        lint(
            "large_partitions",
            format!(
                "an exchange by {} has {} partitions of {} each",
                exchange.keys.join(", "),
                exchange.partitions,
                ByteSize(mean)
            ),
            format!("SET sluice.target_partitions = {wanted}, or add executors."),
        )
    })
}

fn small_partitions(exchange: &Exchange, measures: &Measures) -> Option<Lint> {
    let mean = mean_of(exchange)?;
    (exchange.partitions >= 16 && mean < measures.target.0 / 256).then(|| {
        lint(
            "small_partitions",
            format!(
                "an exchange by {} has {} partitions of {} each, and each costs a file and some scheduling",
                exchange.keys.join(", "),
                exchange.partitions,
                ByteSize(mean)
            ),
            "RESET sluice.target_partitions: the server then chooses by size.".to_owned(),
        )
    })
}

/// Most of a table goes through an exchange by its own columns: its files could lie that way.
fn full_shuffle(profile: &Profile, exchange: &Exchange, measures: &Measures) -> Option<Lint> {
    let bytes = exchange.bytes?;
    let stage = profile.stage(exchange.from_stage)?;
    if bytes < measures.target.0 / 2 || exchange.keys.is_empty() {
        return None;
    }
    let is_plain = |key: &String| key.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    let only_reads = stage.operators.iter().all(|of| {
        ["Filter", "Project", "Cooperative"].contains(&of.name.as_str()) || of.name.contains(" Scan on ")
    });
    let scan = stage.operators.iter().find(|of| of.name.contains(" Scan on "))?;
    let table = scan.name.split(" Scan on ").nth(1)?;
    let kept = exchange.rows? as f64 / scan.rows?.max(1) as f64;
    (only_reads && exchange.keys.iter().all(is_plain) && kept > 0.5).then(|| {
        let keys = exchange.keys.join(", ");
        let bucket = |key: &String| format!("bucket(16, {key})");
        let buckets: Vec<String> = exchange.keys.iter().take(1).map(bucket).collect();
        lint(
            "full_shuffle",
            format!("{} of {table} go through an exchange by {keys}, {:.0} % of its rows", ByteSize(bytes), kept * 100.0),
            format!(
                "Write it so that it needs none: CREATE TABLE … PARTITIONED BY ({}) AS SELECT * FROM {table}, or keep the result in a materialized view.",
                buckets.join(", ")
            ),
        )
    })
}
