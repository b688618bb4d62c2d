//! The executors, and the jobs that run on them.
//!
//! Ballista's scheduler cuts a plan into stages and hands out tasks. Whether anything is run again, and what is kept, is
//! decided here alone: Ballista's own recovery was seen to return duplicated rows, or to hang.

mod failure;
mod fetch;
mod launcher;
mod lease;
mod membership;
mod mending;
mod recovery;
mod report_service;
mod scheduler;
mod scheduler_service;
mod secret;
mod slots;
mod stages;
mod submit;
mod supervisor;
mod watchdog;

use std::sync::Arc;

use catalog::TableDefinition;
use datafusion::common::tree_node::TreeNode;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::PhysicalPlanNode;
use engine::config::{Config, Secret};
use engine::runtime::NodeRuntime;
use engine::strain::Strain;
use engine::{ByteSize, ClusterIdentity, ExecutorId, Result, codec, priority, travel};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

pub use membership::{Member, Membership};
pub use secret::secret;
pub use supervisor::Supervisor;

use crate::profile::{Destination, JobProfiles};
use crate::query::{Estimate, Permit, Plan, QueryContext, Rows};
use scheduler::Scheduler;

/// The cluster as one coordinator sees it.
pub struct Cluster {
    membership: Arc<Membership>,
    profiles: Arc<JobProfiles>,
    scheduler: Scheduler,
    identity: ClusterIdentity,
    config: Config,
    runtime: NodeRuntime,
    /// Threads that unpack results: one row may be hundreds of megabytes, and take seconds.
    compute: Handle,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("members", &self.membership.members().len()).finish()
    }
}

impl Cluster {
    /// Starts the scheduler on `listener`. Executors that know `secret` may join from then on, until `shutdown`. The threads
    /// that this is called on hear them; results are unpacked on those of `compute`.
    pub async fn start(
        config: &Config,
        secret: &Secret,
        (runtime, compute): (NodeRuntime, Handle),
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<Arc<Self>> {
        let membership = Membership::new(Strain::new(priority::come_first()));
        let identity = ClusterIdentity::of(secret.reveal())?;
        let profiles = Arc::new(JobProfiles::default());
        let seen = (Arc::clone(&membership), Arc::clone(&profiles));
        let scheduler = Scheduler::start(config, listener, &identity, seen, shutdown.clone()).await?;
        membership::watch(Arc::clone(&membership), scheduler.clone(), shutdown);
        Ok(Arc::new(Self {
            membership,
            profiles,
            scheduler,
            identity,
            config: config.clone(),
            runtime,
            compute,
        }))
    }

    /// The executors that are alive.
    pub fn members(&self) -> Vec<Member> {
        self.membership.members()
    }

    /// Tells an executor to finish what it has begun, and to end. False when none of that identifier is alive.
    pub fn drain(&self, executor: &ExecutorId) -> bool {
        self.membership.drain(executor)
    }

    /// Resolves when `wanted` executors are alive.
    pub async fn joined(&self, wanted: usize) {
        loop {
            let changed = self.membership.changed();
            tokio::pin!(changed);
            // Enabled before looking, so that a change in between is not missed.
            changed.as_mut().enable();
            if self.membership.members().len() >= wanted {
                return;
            }
            changed.await;
        }
    }

    /// True when at least one executor is alive that can read `tables`.
    pub fn can_read(&self, tables: &[Arc<TableDefinition>]) -> bool {
        !self.membership.readers(tables).is_empty()
    }

    /// Why `plan` cannot be sent to executors, when that is so. `writes` when its rows go to files.
    pub fn refusal(&self, plan: &Plan, writes: bool) -> Option<String> {
        // Ballista waits for ever for a task whose operators tell less than another's of its stage.
        let has = |is_it: fn(&Arc<dyn ExecutionPlan>) -> bool| {
            plan.physical.exists(|node| Ok(is_it(node))).unwrap_or(true)
        };
        if has(|node| node.is::<UnionExec>()) && has(|node| node.is::<PlaceholderRowExec>()) {
            return Some("it unites rows of tables with a row of constants".to_owned());
        }
        if let Some(reason) = travel::loss(&plan.physical) {
            return Some(reason.to_owned());
        }
        let encoded =
            PhysicalPlanNode::try_from_physical_plan(Arc::clone(&plan.physical), codec::physical().as_ref());
        if encoded.is_err() {
            return Some("its plan has an operator that cannot be sent".to_owned());
        }
        let config = plan.state.config_options();
        stages::problem(&plan.physical, config, writes).map(str::to_owned)
    }

    /// Partitions for a query that reads `estimate` of `tables`: about `target` bytes each, at least one
    /// per slot where that leaves none too small, and not more than four per slot, for every further one costs files and
    /// scheduling: less so than memory that runs short.
    pub fn target_partitions(
        &self,
        tables: &[Arc<TableDefinition>],
        estimate: Estimate,
        target: ByteSize,
    ) -> usize {
        const PARTITIONS_PER_SLOT_MAX: u64 = 4;
        const PARTITIONS_PER_SLOT_SCARCE_MAX: u64 = 16;
        let readers = self.membership.readers(tables);
        let alive: usize = readers.iter().map(|member| member.report.threads).sum();
        let slots = alive.max(self.expected_slots()).max(1) as u64;
        // Whole rounds over the slots, so that none idles while the last partitions run.
        let rounds =
            |bytes: u64, max: u64| estimate.input_bytes.div_ceil(bytes.max(1)).div_ceil(slots).clamp(1, max);
        let by_size = rounds(target.0, PARTITIONS_PER_SLOT_MAX);
        let by_memory = rounds(self.task_memory() as u64, PARTITIONS_PER_SLOT_SCARCE_MAX);
        let most = slots * by_size.max(by_memory);
        let least_bytes = self.config.cluster.partition_size_min.0.min(target.0);
        // Two at least: what is exchanged between two is computed as it is among many.
        let worth = estimate.input_bytes.checked_div(least_bytes).unwrap_or(u64::MAX).max(2);
        most.min(worth) as usize
    }

    /// True when the build side of a join over that much input fits into a task's share of an executor's
    /// pool. The smaller side of a join is at most half of what is read.
    pub fn hash_joins_fit(&self, estimate: Estimate, partitions: usize) -> bool {
        estimate.input_bytes / 2 / partitions.max(1) as u64 <= self.task_memory() as u64
    }

    /// What each task may count on having of its executor's pool, in bytes.
    pub fn task_memory(&self) -> usize {
        let share = |member: &Member| member.report.pool_limit_bytes as usize / member.report.threads.max(1);
        let smallest = self.membership.members().iter().map(share).min();
        smallest.unwrap_or(self.config.cluster.executor_memory.as_usize() / 2)
    }

    /// What the operators of all executors together may take, in bytes.
    pub fn pool_bytes(&self) -> u64 {
        self.membership.members().iter().map(|member| member.report.pool_limit_bytes).sum()
    }

    /// Tasks that run at once, at most.
    pub fn slots(&self) -> usize {
        self.membership.members().iter().map(|member| member.report.threads).sum::<usize>().max(1)
    }

    /// Partitions that those executors compute at once which can read `tables` and lie on other machines, as far as is
    /// known: those that this server started share its cores.
    pub fn threads_elsewhere(&self, tables: &[Arc<TableDefinition>]) -> usize {
        let readers = self.membership.readers(tables);
        readers.iter().filter(|member| !member.report.is_supervised).map(|member| member.report.threads).sum()
    }

    /// Slots of the supervised executors, also while they still start.
    fn expected_slots(&self) -> usize {
        self.config.cluster.executors * self.config.cluster.executor_threads
    }

    /// Where `plan` runs on executors, in which stages, and what it has there. None when Ballista cannot cut it.
    pub fn destination(&self, plan: &Plan) -> Option<Destination> {
        let stages = stages::cut(&plan.physical, plan.state.config_options())?;
        let readers = self.membership.readers(&plan.tables);
        let pools = readers.iter().map(|member| member.report.pool_limit_bytes);
        let threads = readers.iter().map(|member| member.report.threads).max();
        Some(Destination::Cluster {
            stages,
            task_share_bytes: self.task_memory() as u64,
            pool_bytes: pools.min().unwrap_or(self.config.cluster.executor_memory.0 / 2),
            executors: readers.len().max(self.config.cluster.executors).max(1),
            threads: threads.unwrap_or(self.config.cluster.executor_threads).max(1),
        })
    }

    /// Runs `plan` as a job and gives its rows once it has succeeded.
    pub async fn run(&self, context: &QueryContext, plan: Plan, permit: Permit) -> Result<Rows> {
        submit::run(self, context, plan, permit).await
    }
}
