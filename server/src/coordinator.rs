//! What every session of the server shares.

use std::sync::Arc;

use catalog::{CatalogStore, Change, Metadata, Snapshot, SnapshotStore};
use engine::Result;
use engine::config::Config;
use engine::runtime::NodeRuntime;
use engine::session_state::SessionStates;
use engine::tls::ServerTls;
use tokio::sync::Semaphore;

use crate::auth::SignInGuard;
use crate::cluster::Cluster;
use crate::pg_catalog::Built;
use crate::query::{Admission, QueryLog};
use crate::session::OpenSessions;

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
    /// Places for connections.
    pub connections: Arc<Semaphore>,
    /// Who is connected.
    pub sessions_open: OpenSessions,
    /// The system tables built from one version of the catalog.
    pub system_tables: Built,
    /// Where versions of the catalog persist.
    pub store: CatalogStore,
    /// Encryption, when the server offers it.
    pub tls: Option<ServerTls>,
    /// Failed sign-ins.
    pub guard: SignInGuard,
}

impl Coordinator {
    /// The current version of the catalog.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.catalog.current()
    }

    /// Commits `changes` that were made on top of `from`, and shows them to every statement from now on.
    ///
    /// Fails with 40001 when another commit came first.
    pub async fn commit(&self, from: &Metadata, changes: &[Change]) -> Result<()> {
        let committed = self.store.commit(from, changes).await;
        let next = match committed {
            Ok(next) => next,
            Err(error) => {
                // Another server of the same catalog may have moved it on: what it did counts here too.
                if let Ok(current) = self.store.load().await {
                    self.catalog.replace_metadata(current);
                }
                return Err(error.into());
            }
        };
        self.catalog.replace_metadata(next);
        Ok(())
    }
}
