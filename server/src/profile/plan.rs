//! A physical plan as stages, operators and exchanges, with what is expected of each.

use std::collections::HashMap;
use std::sync::Arc;

use catalog::TableDefinition;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::ExecutionPlan;
use engine::ByteSize;
use engine::cardinality::{self, Cardinality};

use super::memory::{Held, local_memory};
use super::tables::{Facts, Tables};
use super::walk::Walk;
use super::{Memory, Profile};

/// One stage of a plan for executors: what runs in it, and how it cuts its rows for the next.
#[derive(Debug, Clone)]
pub struct StagePlan {
    /// Its number, as Ballista has it.
    pub id: usize,
    /// Its operators, without the one that writes shuffle files.
    pub plan: Arc<dyn ExecutionPlan>,
    /// How its rows are partitioned anew; as they are, when not.
    pub output: Option<Partitioning>,
}

/// Where a plan runs, and what it has there.
#[derive(Debug, Clone)]
pub enum Destination {
    /// In this process, whose operators may take so many bytes.
    Local {
        /// Bytes.
        pool_bytes: u64,
    },
    /// On executors, in these stages.
    Cluster {
        /// Inputs before what reads them.
        stages: Vec<StagePlan>,
        /// What a task may count on, in bytes.
        task_share_bytes: u64,
        /// What operators of the smallest executor may take together, in bytes.
        pool_bytes: u64,
        /// Executors that may run it.
        executors: usize,
        /// Partitions that each computes at once.
        threads: usize,
    },
}

/// Where what a node of a plan counts belongs, in the order in which plans are walked: each node before its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// An operator of a stage: its number and the operator's index.
    Operator(usize, usize),
    /// It only stands for an exchange: that of the stage which it reads.
    Exchange(usize),
}

/// A plan's account before it runs.
#[derive(Debug, Clone, Default)]
pub struct Planned {
    /// What is expected.
    pub profile: Profile,
    /// Of a plan in this process: where each of its nodes belongs.
    pub places: Vec<Place>,
    /// Of a plan on executors, by stage: where those of its nodes belong that count, without the one that writes
    /// shuffle files.
    pub counting: HashMap<usize, Vec<(String, Place)>>,
}

/// Bytes that `plan` is expected to hold at its peak when it runs in this process, with what it would spill; `footers`
/// has some of the footers of `tables`.
pub fn held_bytes(
    plan: &Arc<dyn ExecutionPlan>,
    tables: &[Arc<TableDefinition>],
    footers: &FileMetadataCache,
) -> u64 {
    let tables = Tables::of(tables);
    let known = Facts { tables: &tables, footers, stages: &HashMap::new() };
    let mut held = Held::default();
    held.add(&cardinality::estimate(plan, &known), 1.0);
    held.peak() as u64
}

/// The account of `plan` over `tables`, of whose files `footers` has some, before it runs. With the row groups that it will
/// read when it `is_explained`.
pub fn planned(
    plan: &Arc<dyn ExecutionPlan>,
    tables: &[Arc<TableDefinition>],
    footers: &FileMetadataCache,
    destination: &Destination,
    is_explained: bool,
) -> Planned {
    let shown = is_explained.then_some(footers);
    let tables = Tables::of(tables);
    let mut planned = Planned::default();
    match destination {
        Destination::Local { pool_bytes } => {
            let known = Facts { tables: &tables, footers, stages: &HashMap::new() };
            let estimated = cardinality::estimate(plan, &known);
            let mut walk = Walk::new(&tables, shown, true);
            walk.stage(plan, &estimated);
            walk.finish_local(&mut planned);
            planned.profile.memory = Some(local_memory(&estimated, *pool_bytes));
        }
        Destination::Cluster { stages, task_share_bytes, pool_bytes, executors, threads } => {
            let mut outputs: HashMap<usize, Cardinality> = HashMap::new();
            let mut walk = Walk::new(&tables, shown, false);
            for stage in stages {
                let known = Facts { tables: &tables, footers, stages: &outputs };
                let estimated = cardinality::estimate(&stage.plan, &known);
                walk.cluster_stage(stage, stages, &estimated);
                outputs.insert(stage.id, estimated.output.clone());
                let last = walk.stages.last_mut().expect("the stage was just walked");
                let per_task = last.partitions.div_ceil((*executors).max(1)).clamp(1, (*threads).max(1));
                last.tasks_total = last.partitions.div_ceil(per_task).max(1);
                let held = Held::of(&estimated, last.partitions, *task_share_bytes, stage.output.is_some());
                last.predicted_task_bytes = (held.peak() * per_task as f64) as u64;
                walk.spills += held.spilled * last.partitions as f64;
                walk.is_tight |= held.unspillable > *task_share_bytes as f64;
            }
            let at_once = (*threads).max(1);
            let predicted_task_bytes = walk.stages.iter().map(|s| s.predicted_task_bytes).max().unwrap_or(0);
            let widest = walk.stages.iter().map(|stage| {
                let per_task = stage.partitions.div_ceil(stage.tasks_total.max(1)).max(1) as u64;
                stage.predicted_task_bytes / per_task * at_once.min(stage.partitions) as u64
            });
            let spilled = walk.spills as u64;
            let verdict = if walk.is_tight {
                "may not fit: it would be planned again with smaller partitions".to_owned()
            } else if spilled > 0 {
                format!("spills about {}", ByteSize(spilled))
            } else {
                "fits".to_owned()
            };
            let memory = Memory {
                predicted_task_bytes,
                task_share_bytes: *task_share_bytes,
                predicted_executor_bytes: widest.max().unwrap_or(0),
                executor_pool_bytes: *pool_bytes,
                predicted_spill_bytes: spilled,
                peak_task_bytes: None,
                verdict,
            };
            walk.finish_cluster(&mut planned);
            planned.profile.memory = Some(memory);
        }
    }
    planned
}
