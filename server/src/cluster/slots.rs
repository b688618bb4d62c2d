//! The cluster state Ballista keeps, with free slots counted from what really runs.
//!
//! A small job that has no slot where all are taken is given one more, of the executor that has none of these yet: it would
//! wait for as long as a task of a large one takes, and the machine shares its processors between both.
//!
//! Jobs over tables on a local path are bound to the executors that can read them. Those that hold fewest slots are
//! bound first, so that a small query has the next slot that a large one gives back.
//!
//! Ballista refunds slots when tasks report back, and forgets to where a stage is rolled back or a job
//! cancelled, so a small cluster is dead after one lost executor. Refunds are ignored here: before each
//! binding the free slots are those no running task of an active job holds.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::error::Result;
use ballista_core::serde::protobuf::{ExecutorHeartbeat, task_status};
use ballista_core::serde::scheduler::{ExecutorData, ExecutorMetadata};
use ballista_scheduler::cluster::{BoundTask, ClusterState, ClusterStateEventStream, ExecutorSlot};
use ballista_scheduler::config::TaskDistributionPolicy;
use ballista_scheduler::state::execution_graph::ExecutionGraphBox;
use ballista_scheduler::state::execution_stage::ExecutionStage;
use ballista_scheduler::state::task_manager::JobInfoCache;
use engine::ExecutorId;
use tokio::sync::{Mutex, mpsc};

use super::membership::Membership;
use super::recovery::{Ledger, Told};
use crate::profile::JobProfiles;

#[derive(Debug, Clone, Copy, Default)]
struct Slots {
    total: u32,
    // What the inner state believes to be free.
    believed_free: u32,
}

/// A job that is to be given slots.
struct Turn {
    job: JobId,
    /// Executors it may run on.
    placed: BTreeSet<String>,
    /// It is small, and has something to run and no slot.
    may_squeeze_in: bool,
}

/// Wraps Ballista's state.
pub struct CountedSlots {
    inner: Arc<dyn ClusterState>,
    slots: Mutex<HashMap<String, Slots>>,
    membership: Arc<Membership>,
    ledger: Arc<Ledger>,
    profiles: Arc<JobProfiles>,
    told: mpsc::UnboundedSender<Told>,
}

impl CountedSlots {
    /// Counts for `inner`, and tells `membership` who comes and goes. What `ledger` has kept of a stage that begins is
    /// told before its tasks are handed out; `profiles` are told of tasks as they are.
    pub fn new(
        inner: Arc<dyn ClusterState>,
        membership: Arc<Membership>,
        ledger: Arc<Ledger>,
        profiles: Arc<JobProfiles>,
        told: mpsc::UnboundedSender<Told>,
    ) -> Self {
        Self { inner, slots: Mutex::default(), membership, ledger, profiles, told }
    }

    async fn resume(&self, jobs: &HashMap<JobId, JobInfoCache>) {
        for (id, job) in jobs {
            if self.ledger.waits(id) {
                let mut graph = job.execution_graph.write().await;
                let told = self.ledger.resume(&mut graph, &self.membership.serving());
                // Nobody listens any more only when the server ends.
                let _ = self.told.send(told);
            }
        }
    }

    /// The jobs, those first that hold fewest slots and among them the oldest; and the slots that all of them hold, by
    /// executor.
    async fn in_turn(&self, jobs: &HashMap<JobId, JobInfoCache>) -> (Vec<Turn>, HashMap<String, u32>) {
        let mut held: HashMap<String, u32> = HashMap::new();
        let mut turns = Vec::new();
        for (id, job) in jobs {
            let graph = job.execution_graph.read().await;
            let mut of_job = 0;
            for (executor, slots) in running_tasks(&graph) {
                of_job += slots;
                *held.entry(executor.to_owned()).or_default() += slots;
            }
            let placed = self.membership.placed(graph.job_name());
            let may_squeeze_in =
                of_job == 0 && graph.available_tasks() > 0 && self.membership.is_small(graph.job_name());
            turns.push(((of_job, graph.start_time()), Turn { job: id.clone(), placed, may_squeeze_in }));
        }
        turns.sort_by_key(|(turn, _)| *turn);
        (turns.into_iter().map(|(_, turn)| turn).collect(), held)
    }
}

/// The running tasks of a job: their executors, and the slots they hold.
pub fn running_tasks(graph: &ExecutionGraphBox) -> impl Iterator<Item = (&str, u32)> {
    let stages = graph.stages().values().filter_map(|stage| match stage {
        ExecutionStage::Running(stage) => Some(stage),
        _ => None,
    });
    stages.flat_map(|stage| &stage.task_infos).filter_map(|task| match &task.task_status {
        task_status::Status::Running(running) => Some((running.executor_id.as_str(), task.vcores_consumed)),
        _ => None,
    })
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Tasks that have been begun, by stage.
    pub begun: Vec<(usize, usize)>,
    /// Those of them that have ended.
    pub ended: usize,
    /// The executors that others are with.
    pub running_on: BTreeSet<String>,
}

impl Progress {
    /// Tasks that have been begun.
    pub fn tasks_begun(&self) -> usize {
        self.begun.iter().map(|(_, tasks)| tasks).sum()
    }
}

/// How far the job of `graph` is.
pub fn progress(graph: &ExecutionGraphBox) -> Progress {
    let mut begun: Vec<(usize, usize)> = graph
        .stages()
        .iter()
        .filter_map(|(id, stage)| match stage {
            ExecutionStage::Running(stage) => Some((*id, stage.task_infos.len())),
            ExecutionStage::Successful(stage) => Some((*id, stage.task_infos.len())),
            _ => None,
        })
        .collect();
    begun.sort_unstable();
    let running: Vec<&str> = running_tasks(graph).map(|(executor, _)| executor).collect();
    let all: usize = begun.iter().map(|(_, tasks)| tasks).sum();
    Progress {
        begun,
        ended: all - running.len(),
        running_on: running.into_iter().map(str::to_owned).collect(),
    }
}

#[async_trait]
impl ClusterState for CountedSlots {
    async fn init(&self) -> Result<()> {
        self.inner.init().await
    }

    async fn bind_schedulable_tasks(
        &self,
        distribution: TaskDistributionPolicy,
        active_jobs: Arc<HashMap<JobId, JobInfoCache>>,
        executors: Option<HashSet<String>>,
    ) -> Result<Vec<BoundTask>> {
        self.membership.all_submitted().await;
        // Held over the binding: two at once would hand out the same slot.
        let mut slots = self.slots.lock().await;
        self.resume(&active_jobs).await;
        let (turns, mut held) = self.in_turn(&active_jobs).await;
        for (executor_id, slots) in slots.iter_mut() {
            let free = slots.total.saturating_sub(held.get(executor_id).copied().unwrap_or(0));
            if free > slots.believed_free {
                let refund = vec![(executor_id.clone(), free - slots.believed_free)];
                self.inner.unbind_tasks(refund).await?;
                slots.believed_free = free;
            }
        }
        let mut bound = Vec::new();
        for Turn { job: id, placed, may_squeeze_in } in turns {
            let Some(job) = active_jobs.get(&id) else { continue };
            let mut offered: HashSet<String> = match &executors {
                Some(offered) => placed.into_iter().filter(|id| offered.contains(id)).collect(),
                None => placed.into_iter().collect(),
            };
            let is_free = |id: &String| slots.get(id).is_some_and(|slots| slots.believed_free > 0);
            if may_squeeze_in && !offered.iter().any(is_free) {
                let has_room = |id: &&String| {
                    let held = held.get(*id).copied().unwrap_or(0);
                    slots.get(*id).is_some_and(|slots| held <= slots.total)
                };
                let Some(roomy) = offered.iter().filter(has_room).min_by_key(|id| held.get(*id)).cloned()
                else {
                    continue;
                };
                self.inner.unbind_tasks(vec![(roomy.clone(), 1)]).await?;
                slots.entry(roomy.clone()).and_modify(|slots| slots.believed_free += 1);
                offered = HashSet::from([roomy]);
            }
            let job = Arc::new(HashMap::from([(id, job.clone())]));
            let tasks =
                match self.inner.bind_schedulable_tasks(distribution.clone(), job, Some(offered)).await {
                    Ok(tasks) => tasks,
                    // What is bound already must be launched, or it would be waited for in vain.
                    Err(error) => {
                        tracing::error!(%error, "tasks could not be bound");
                        continue;
                    }
                };
            for (executor_id, task) in &tasks {
                *held.entry(executor_id.clone()).or_default() += task.vcores_consumed;
                if let Some(slots) = slots.get_mut(executor_id) {
                    slots.believed_free = slots.believed_free.saturating_sub(task.vcores_consumed);
                }
                let (key, partitions) = (&task.key, &task.global_input_partition_ids);
                self.profiles.sent(executor_id, &key.job_id, key.stage_id, key.task_id, partitions);
            }
            bound.extend(tasks);
        }
        Ok(bound)
    }

    async fn unbind_tasks(&self, _: Vec<ExecutorSlot>) -> Result<()> {
        Ok(())
    }

    async fn register_executor(&self, metadata: ExecutorMetadata, spec: ExecutorData) -> Result<()> {
        let (id, total) = (metadata.id.clone(), spec.available_vcores);
        // Held over both: a binding in between would use slots that nobody counts.
        let mut slots = self.slots.lock().await;
        self.inner.register_executor(metadata, spec).await?;
        slots.insert(id.clone(), Slots { total, believed_free: total });
        drop(slots);
        self.membership.registered(ExecutorId::from(id), total as usize);
        Ok(())
    }

    async fn save_executor_metadata(&self, metadata: ExecutorMetadata) -> Result<()> {
        self.inner.save_executor_metadata(metadata).await
    }

    async fn get_executor_metadata(&self, executor_id: &str) -> Result<ExecutorMetadata> {
        self.inner.get_executor_metadata(executor_id).await
    }

    async fn registered_executor_metadata(&self) -> Vec<ExecutorMetadata> {
        self.inner.registered_executor_metadata().await
    }

    async fn save_executor_heartbeat(&self, heartbeat: ExecutorHeartbeat) -> Result<()> {
        self.inner.save_executor_heartbeat(heartbeat).await
    }

    async fn remove_executor(&self, executor_id: &str) -> Result<()> {
        let mut slots = self.slots.lock().await;
        slots.remove(executor_id);
        self.inner.remove_executor(executor_id).await?;
        drop(slots);
        self.membership.unregistered(&ExecutorId::from(executor_id.to_owned()));
        Ok(())
    }

    fn executor_heartbeats(&self) -> HashMap<String, ExecutorHeartbeat> {
        self.inner.executor_heartbeats()
    }

    fn get_executor_heartbeat(&self, executor_id: &str) -> Option<ExecutorHeartbeat> {
        self.inner.get_executor_heartbeat(executor_id)
    }

    async fn cluster_state_events(&self) -> Result<ClusterStateEventStream> {
        self.inner.cluster_state_events().await
    }
}
