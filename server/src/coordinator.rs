//! What every session of the server shares.

use std::sync::Arc;

use catalog::{Snapshot, SnapshotStore};
use engine::config::Config;
use engine::runtime::NodeRuntime;
use engine::session_state::SessionStates;

use crate::cluster::Cluster;
use crate::query::{Admission, QueryLog};
use crate::wire::CancelRegistry;

/// The server's shared state.
#[derive(Debug)]
pub struct Coordinator {
    /// Every setting of the process.
    pub config: Config,
    /// The tables.
    pub catalog: SnapshotStore,
    /// Memory, spill files and stores of this process.
    pub runtime: NodeRuntime,
    /// DataFusion's sessions, ready to be copied.
    pub sessions: SessionStates,
    /// Threads that compute local queries.
    pub compute: tokio::runtime::Handle,
    /// Threads with large stacks that plan: apart from those that compute, which may be busy for long.
    pub planning: tokio::runtime::Handle,
    /// The executors and the jobs on them.
    pub cluster: Arc<Cluster>,
    /// Running and finished queries.
    pub queries: Arc<QueryLog>,
    /// Who may run now.
    pub admission: Admission,
    /// Open sessions, for cancel requests.
    pub cancels: CancelRegistry,
}

impl Coordinator {
    /// The current version of the catalog.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.catalog.current()
    }
}
