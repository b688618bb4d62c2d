//! What every session of the server shares.

use std::sync::Arc;

use catalog::{CatalogError, CatalogStore, Change, Metadata, Snapshot, SnapshotStore};
use engine::config::Config;
use engine::runtime::NodeRuntime;
use engine::session_state::SessionStates;
use engine::tls::ServerTls;
use engine::{Error, Result};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use url::Url;

use crate::auth::SignInGuard;
use crate::cluster::Cluster;
use crate::found_tables::{FoundTables, Look};
use crate::metrics::Metrics;
use crate::pg_catalog::Built;
use crate::planning::Planning;
use crate::query::{Admission, History, QueryLog};
use crate::session::{ClientMemory, OpenSessions};
use crate::writes::Writes;

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
    /// Threads for those that read little.
    pub small: tokio::runtime::Handle,
    /// Threads for queries over system tables, which must be answered when those above are all busy.
    pub watching: tokio::runtime::Handle,
    /// Threads with large stacks that plan: apart from those that compute, which may be busy for long.
    pub planning: Planning,
    /// The executors and the jobs on them.
    pub cluster: Arc<Cluster>,
    /// Running and finished queries.
    pub queries: Arc<QueryLog>,
    /// Figures for operators.
    pub metrics: Arc<Metrics>,
    /// Who may run now.
    pub admission: Arc<Admission>,
    /// Places for connections.
    pub connections: Arc<Semaphore>,
    /// What sessions hold of what their clients sent.
    pub client_memory: Arc<ClientMemory>,
    /// Who is connected.
    pub sessions_open: OpenSessions,
    /// The system tables built from one version of the catalog.
    pub system_tables: Built,
    /// Where versions of the catalog persist.
    pub store: CatalogStore,
    /// Held while this server commits: its own commits need not find out about each other by failing.
    pub committing: Mutex<()>,
    /// Files that are not committed yet.
    pub writes: Writes,
    /// The tables that lie in the locations.
    pub found_tables: Arc<FoundTables>,
    /// Earlier snapshots that were read.
    pub history: History,
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

    /// The prefixes under which a statement may name a location: those of the start, and the warehouse.
    pub fn allowed_locations(&self) -> Vec<String> {
        let mut allowed = self.config.server.locations.clone();
        allowed.push(self.store.data_folder().to_owned());
        allowed
    }

    /// The folders in which no statement may name a location: those of tables, of now and of earlier snapshots.
    pub async fn reserved_locations(&self) -> Result<Vec<String>> {
        let mut reserved = self.store.schema_folders().await?;
        reserved.push(format!("{}.temporary/", self.store.data_folder()));
        reserved.extend(self.own_files());
        Ok(reserved)
    }

    /// What lies in the data folder beside the warehouse: secrets, the catalog, what executors write.
    fn own_files(&self) -> Vec<String> {
        let warehouse = Url::parse(self.store.data_folder()).ok().and_then(|url| url.to_file_path().ok());
        let entries = self.config.server.data_dir.canonicalize().and_then(std::fs::read_dir);
        let entries = entries.into_iter().flatten().flatten().map(|entry| entry.path());
        let own = entries.filter(|path| warehouse.as_ref().is_none_or(|folder| !folder.starts_with(path)));
        own.filter_map(|path| Url::from_directory_path(path).ok()).map(String::from).collect()
    }

    /// Commits `changes` that were made on top of `from`, and shows them to every statement from now on.
    ///
    /// Others may have committed in between. That is no matter where they left alone what the changes touch:
    /// rows may be added to a table while others are. Else it fails with 40001, and in any case where the transaction
    /// `is_serializable`: what it read may be what they changed.
    pub async fn commit(&self, from: &Metadata, changes: &[Change], is_serializable: bool) -> Result<()> {
        let _committing = self.committing.lock().await;
        let mut base = self.snapshot();
        loop {
            let is_same = base.version() == from.version;
            let is_allowed = |change: &Change| base.metadata().still_allows(change, from);
            if !is_same && (is_serializable || !changes.iter().all(is_allowed)) {
                return Err(Error::SerializationFailure);
            }
            let on = if is_same { from } else { base.metadata().as_ref() };
            match self.store.commit(on, changes).await {
                Ok(next) => {
                    self.catalog.replace_metadata(next);
                    return Ok(());
                }
                Err(CatalogError::Conflict) => {
                    // Somebody else's commit, of this server or another: what it did counts from now on.
                    let current = self.store.load().await?;
                    self.catalog.replace_metadata(current);
                    let seen = base.version();
                    base = self.snapshot();
                    if base.version() == seen {
                        return Err(Error::SerializationFailure);
                    }
                }
                Err(error) => {
                    warn!(%error, "the catalog was not changed");
                    return Err(error.into());
                }
            }
        }
    }

    /// Looks for what other servers and engines commit to the same catalog, until `shutdown`.
    pub async fn follow_others(self: Arc<Self>, shutdown: CancellationToken) {
        let mut looks = tokio::time::interval(self.config.catalog.refresh_interval.0);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut has_failed = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = looks.tick() => {}
            }
            // Once: it is looked again and again.
            let outcome = self.follow().await;
            if let Err(error) = &outcome
                && !has_failed
            {
                warn!(%error, "cannot look for changes of the catalog: it is served as it was");
            }
            has_failed = outcome.is_err();
        }
    }

    /// Looks for tables that came to the locations, or went, until `shutdown`.
    pub async fn follow_locations(self: Arc<Self>, shutdown: CancellationToken) {
        let interval = self.config.server.location_refresh_interval.0;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.found_tables.came_late() => {
                    let _showing = self.found_tables.showing().await;
                    self.show_found();
                }
                () = tokio::time::sleep(interval) => {
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = self.look_at_locations(Look::News) => {}
                    }
                }
            }
        }
    }

    /// Looks at the locations again, and shows every statement from now on what is there.
    pub async fn look_at_locations(&self, look: Look) {
        let _showing = self.found_tables.showing().await;
        if self.found_tables.look_again(look, &self.snapshot()).await {
            self.show_found();
        }
    }

    fn show_found(&self) {
        let (tables, troubles) = self.found_tables.current();
        self.catalog.replace_found(tables, troubles);
    }

    async fn follow(&self) -> std::result::Result<(), CatalogError> {
        if self.store.version().await? > self.snapshot().version() {
            self.catalog.replace_metadata(self.store.load().await?);
        }
        Ok(())
    }
}
