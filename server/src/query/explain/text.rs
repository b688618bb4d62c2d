//! The lines of `EXPLAIN`, in the shape that readers of PostgreSQL's plans know.

use engine::ByteSize;
use engine::cache_counts::{FETCHED, FROM_CACHE};

use super::Explained;
use crate::profile::{Exchange, ExchangeKind, Input, Memory, Operator, Profile, Stage};
use crate::sql::Explain;

/// Tables are named one by one, up to so many.
const INPUTS_MAX: usize = 20;

/// The lines of `explained`.
pub fn lines(explained: &Explained) -> Vec<String> {
    let Explained { explain, profile, .. } = explained;
    let mut lines = vec![format!("Route: {}", explained.route)];
    if explain.costs {
        let has_run = explained.execution_ms.is_some();
        lines.extend(profile.input.iter().take(INPUTS_MAX).map(|of| input(of, has_run)));
        if let Some(memory) = profile.memory.as_ref().filter(|memory| memory.predicted_task_bytes > 0) {
            lines.push(remembered(memory, explain));
        }
    }
    for avoided in &profile.avoided {
        lines.push(format!("Avoided: an exchange by {}: {}", avoided.keys.join(", "), avoided.reason));
    }
    if let Some(last) = profile.stages.last() {
        lines.push(format!("Stage {}: {}", last.stage_id, partitioned(last)));
        let mut tree =
            Tree { explain, profile, lines: &mut lines, has_run: explained.execution_ms.is_some() };
        tree.stage(last, 0);
    }
    if explained.execution_ms.is_some() {
        lines.extend(profile.stages.iter().map(|stage| measured(stage, explain)));
    }
    for recovery in &profile.recoveries {
        lines.push(format!(
            "Recovery: {}: {} finished tasks were kept, {} run anew, which added about {:.1} s",
            recovery.cause,
            recovery.kept_tasks,
            recovery.rerun_tasks,
            recovery.added_ms / 1000.0
        ));
    }
    for lint in &profile.lint_list {
        lines.push(format!("Lint: {}: {}. {}", lint.code, lint.message, lint.hint));
    }
    if explain.summary && explain.timing && explained.execution_ms.is_some() {
        let ms = |name: &str, ms: Option<f64>| ms.map(|ms| format!("{name}: {ms:.3} ms"));
        lines.extend(ms("Queued Time", profile.queued_ms.filter(|ms| *ms >= 1.0)));
        lines.extend(ms("Planning Time", profile.planning_ms));
        lines.extend(ms("Execution Time", explained.execution_ms));
    }
    if let Some(plan) = &explained.plan {
        lines.push("Plan:".to_owned());
        lines.extend(plan.lines().map(|line| format!("  {line}")));
    }
    lines
}

fn input(input: &Input, has_run: bool) -> String {
    let pruned = input.files_pruned.filter(|pruned| *pruned > 0);
    let of = pruned.map(|pruned| format!(" of {}", input.files + pruned)).unwrap_or_default();
    let groups = if has_run { input.row_groups } else { input.predicted_row_groups };
    let groups = groups.map(|of| format!(", {} of {} row groups", of.read, of.read + of.pruned));
    format!(
        "Input: {}: {}{of} {}{}, {}, about {} rows",
        input.table,
        input.files,
        if input.files + pruned.unwrap_or(0) == 1 { "file" } else { "files" },
        groups.unwrap_or_default(),
        ByteSize(input.bytes),
        input.predicted_rows
    )
}

fn remembered(memory: &Memory, explain: &Explain) -> String {
    let peak = memory.peak_task_bytes.filter(|_| explain.is_analyze);
    format!(
        "Memory: a task takes about {} of {}{}, a process about {} of {}: {}",
        ByteSize(memory.predicted_task_bytes),
        ByteSize(memory.task_share_bytes),
        peak.map(|peak| format!(" (took {})", ByteSize(peak))).unwrap_or_default(),
        ByteSize(memory.predicted_executor_bytes),
        ByteSize(memory.executor_pool_bytes),
        memory.verdict
    )
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn partitioned(stage: &Stage) -> String {
    format!("{} in {}", plural(stage.partitions, "partition"), plural(stage.tasks_total, "task"))
}

/// What a stage has done.
fn measured(stage: &Stage, explain: &Explain) -> String {
    let mut facts = vec![partitioned(stage)];
    if let (true, Some(elapsed), Some(compute)) = (explain.timing, stage.elapsed_ms, stage.compute_ms) {
        facts.push(format!("{elapsed:.1} ms, computed for {compute:.1} ms"));
    }
    if let (true, Some(skew)) = (explain.timing, stage.skew.filter(|skew| *skew >= 1.5)) {
        facts.push(format!("longest task {skew:.1} x the median"));
    }
    if let Some(peak) = stage.peak_task_bytes {
        let expected = ByteSize(stage.predicted_task_bytes);
        facts.push(format!("a task took {} of memory ({expected} expected)", ByteSize(peak)));
    }
    if let Some(spilled) = stage.spilled_bytes.filter(|bytes| *bytes > 0) {
        facts.push(format!("spilled {}", ByteSize(spilled)));
    }
    format!("Stage {}: {}", stage.stage_id, facts.join(", "))
}

struct Tree<'a> {
    explain: &'a Explain,
    profile: &'a Profile,
    lines: &'a mut Vec<String>,
    has_run: bool,
}

impl Tree<'_> {
    fn stage(&mut self, stage: &Stage, depth: usize) {
        for operator in &stage.operators {
            let depth = depth + operator.depth;
            let exchange = operator.reads_stage.and_then(|from| {
                self.profile
                    .exchanges
                    .iter()
                    .find(|of| of.from_stage == from && of.to_stage == Some(stage.stage_id))
                    .zip(self.profile.stage(from))
            });
            match exchange {
                Some((exchange, from)) => {
                    let line = self.exchange(exchange, from);
                    self.push(depth, &line);
                    self.stage(from, depth + 1);
                }
                None => {
                    let line = self.operator(operator);
                    self.push(depth, &line);
                    if self.explain.is_verbose && !operator.counts.is_empty() {
                        let counts = operator.counts.iter().map(|(name, value)| format!("{name}={value}"));
                        let counts = counts.collect::<Vec<_>>().join(", ");
                        self.lines.push(format!("{}Counts: {counts}", " ".repeat(depth * 6 + 4)));
                    }
                }
            }
        }
    }

    fn push(&mut self, depth: usize, line: &str) {
        let arrow = if depth == 0 { "  ".to_owned() } else { format!("{}->  ", " ".repeat(depth * 6 - 4)) };
        self.lines.push(format!("{arrow}{line}"));
    }

    fn operator(&self, operator: &Operator) -> String {
        let mut line = operator.name.clone();
        if !operator.detail.is_empty() {
            line.push_str(": ");
            line.push_str(&operator.detail);
        }
        if self.explain.costs {
            line.push_str(&format!("  (rows={})", operator.predicted_rows));
        }
        if let (true, Some(rows)) = (self.has_run, operator.rows) {
            let mut facts = vec![format!("rows={rows}")];
            if let (true, Some(ms)) = (self.explain.timing, operator.compute_ms) {
                facts.push(format!("{ms:.1} ms"));
            }
            if let Some(spilled) = operator.spilled_bytes.filter(|bytes| *bytes > 0) {
                facts.push(format!("spilled {}", ByteSize(spilled)));
            }
            let count = |name: &str| operator.counts.iter().find(|(of, _)| of == name).map_or(0, |of| of.1);
            let (kept, fetched) = (count(FROM_CACHE), count(FETCHED));
            if kept + fetched > 0 {
                facts.push(format!("{} from cache, {} fetched", ByteSize(kept), ByteSize(fetched)));
            }
            line.push_str(&format!(" (actual {})", facts.join(", ")));
        }
        line
    }

    fn exchange(&self, exchange: &Exchange, from: &Stage) -> String {
        let by = if exchange.keys.is_empty() {
            String::new()
        } else {
            format!(" by {}", exchange.keys.join(", "))
        };
        let into = match exchange.kind {
            ExchangeKind::Hash | ExchangeKind::RoundRobin => " into ",
            ExchangeKind::Broadcast | ExchangeKind::Gather | ExchangeKind::Merge => " of ",
            ExchangeKind::Forward | ExchangeKind::Result => ", ",
        };
        let mut line = format!(
            "Exchange: {}{by}{into}{}",
            exchange.kind.as_str(),
            plural(exchange.partitions, "partition")
        );
        if self.explain.costs {
            let (rows, bytes) = (exchange.predicted_rows, exchange.predicted_bytes);
            let even = bytes / exchange.partitions.max(1) as u64;
            line.push_str(&format!(
                "  (rows={rows} bytes={} a partition={})",
                ByteSize(bytes),
                ByteSize(even)
            ));
        }
        if let (true, Some(rows)) = (self.has_run, exchange.rows) {
            let mut facts = vec![format!("rows={rows}")];
            facts.extend(exchange.bytes.map(|bytes| format!("bytes={}", ByteSize(bytes))));
            if let (Some(largest), Some(median)) =
                (exchange.largest_partition_bytes, exchange.median_partition_bytes)
            {
                facts.push(format!("largest={} median={}", ByteSize(largest), ByteSize(median)));
            }
            line.push_str(&format!(" (actual {})", facts.join(" ")));
        }
        line.push_str(&format!("  stage {}: {}", from.stage_id, partitioned(from)));
        line
    }
}
