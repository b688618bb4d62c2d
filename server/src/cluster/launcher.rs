//! Sends tasks to executors. One that cannot be sent any is lost, as one whose connection ended: what Ballista would do
//! about it is not asked for.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::error::Result;
use ballista_core::serde::protobuf::MultiTaskDefinition;
use ballista_core::serde::scheduler::ExecutorMetadata;
use ballista_scheduler::state::executor_manager::ExecutorManager;
use ballista_scheduler::state::task_manager::TaskLauncher;
use engine::ExecutorId;
use tracing::warn;

use super::membership::Membership;
use crate::profile::JobProfiles;

/// Tells `membership` of executors that cannot be reached, and accounts of what was sent where.
pub struct Launcher {
    membership: Arc<Membership>,
    profiles: Arc<JobProfiles>,
    /// Where executors reach the scheduler.
    endpoint: String,
}

impl Launcher {
    /// Executors report to `endpoint` (`HOST:PORT`).
    pub fn new(membership: Arc<Membership>, profiles: Arc<JobProfiles>, endpoint: String) -> Self {
        Self { membership, profiles, endpoint }
    }
}

#[async_trait]
impl TaskLauncher for Launcher {
    async fn launch_tasks(
        &self,
        executor: &ExecutorMetadata,
        tasks: Vec<MultiTaskDefinition>,
        executors: &ExecutorManager,
    ) -> Result<HashSet<JobId>> {
        match executors.launch_multi_task(&executor.id, tasks, self.endpoint.clone()).await {
            Ok(refused) => {
                for job in &refused {
                    self.profiles.refused(job, &executor.id);
                }
                Ok(refused)
            }
            Err(error) => {
                warn!(executor.id = executor.id, %error, "tasks could not be sent");
                let id = ExecutorId::from(executor.id.clone());
                self.membership.lost(&id, "tasks could not be sent to it");
                Ok(HashSet::new())
            }
        }
    }
}
