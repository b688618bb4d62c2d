//! Puts the server together, in order: tables, cluster, ports.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use catalog::{CatalogError, CatalogStore, Change, FIRST_ROLE, Metadata, Snapshot, SnapshotStore, Warehouse};
use datafusion::execution::session_state::SessionState;
use engine::config::Config;
use engine::runtime::NodeRuntime;
use engine::session_state::{Destination, SessionStates, StatementSettings, Thrift};
use engine::tls::ServerTls;
use engine::work_folder::WorkFolder;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use crate::auth::SignInGuard;
use crate::cluster::{self, Cluster, Supervisor};
use crate::coordinator::Coordinator;
use crate::data_folder::{self, DataFolder};
use crate::found_tables::FoundTables;
use crate::metrics::Metrics;
use crate::pg_catalog::Built;
use crate::planning::Planning;
use crate::query::{Admission, History, QueryLog};
use crate::session::{ClientMemory, OpenSessions};
use crate::traces::Traces;
use crate::wire::scram;
use crate::writes::Writes;
use crate::{dashboard, listener, locations, lost_catalog};

/// Why the server cannot start: one line for the one who started it.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A location is wrong, missing or unreadable.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A port, a folder or a process of this machine is in the way.
    #[error("{0}")]
    Environment(String),
}

/// A server whose ports are open.
pub struct Server {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where the dashboard is.
    pub dashboard: SocketAddr,
    /// Where executors join.
    pub cluster: SocketAddr,
    coordinator: Arc<Coordinator>,
    client_listener: TcpListener,
    dashboard_listener: TcpListener,
    supervisor: Supervisor,
    _work_folder: WorkFolder,
    _data_folder: DataFolder,
    shutdown: CancellationToken,
    cluster_end: CancellationToken,
}

/// Where the server's work is done; the network's own threads are those that call it.
#[derive(Debug, Clone)]
pub struct Threads {
    /// Runs local queries.
    pub compute: tokio::runtime::Handle,
    /// Runs those that read little: large ones compute without a pause, and the machine shares its processors between both.
    pub small: tokio::runtime::Handle,
    /// Plans them, on large stacks.
    pub planning: tokio::runtime::Handle,
    /// Runs those over system tables.
    pub watching: tokio::runtime::Handle,
    /// Hears executors, and hands out their tasks, before all that computes.
    pub cluster: tokio::runtime::Handle,
}

/// How long the catalog's database may take to be closed.
const STORE_ENDS_WITHIN: Duration = Duration::from_secs(5);

impl Server {
    /// Opens tables and ports and starts the supervised executors. `shutdown` ends everything, clients first.
    pub async fn start(
        config: Config,
        config_file: Option<PathBuf>,
        threads: Threads,
        shutdown: CancellationToken,
    ) -> Result<Self, ServeError> {
        // Taken, and not opened: who connects before statements can be answered is refused at once.
        let client_port = Port::take(config.server.listen, "--listen")?;
        let dashboard_port = Port::take(config.server.dashboard, "--dashboard")?;
        let cluster_port = take_cluster_port(&config)?;
        if let Some((wanted, has)) = config.memory_beyond_machine() {
            warn!(%wanted, %has, "server and executors may take more memory than this machine has: see --memory");
        }
        let data_folder = DataFolder::claim(&config.server.data_dir)
            .await
            .map_err(|error| unusable(&config.server.data_dir, &error))?;
        let work_folder = WorkFolder::claim(&config.server.data_dir.join("work"))
            .map_err(|error| unusable(&config.server.data_dir, &error))?;
        let runtime = NodeRuntime::new(
            &config,
            config.server_memory(),
            &work_folder,
            config.server.spill_bytes_max,
            None,
        )
        .map_err(internal)?;
        let sessions = SessionStates::new(&runtime);
        let (store, metadata) = open_catalog(&config, &runtime).await?;
        let writes =
            Writes::open(&config.server.data_dir, Arc::clone(&runtime.env), Arc::clone(&runtime.stores))
                .map_err(|error| unusable(&config.server.data_dir, &error))?;
        writes.sweep_leftovers(&store).await;
        let tls = ServerTls::load(&config.tls).map_err(ServeError::Environment)?;
        let mut allowed = config.server.locations.clone();
        allowed.push(store.data_folder().to_owned());
        for location in &config.server.locations {
            locations::check_named(location)?;
        }
        let found_tables = FoundTables::new(
            opening_session(&config, &sessions),
            threads.planning.clone(),
            &config.server.locations,
            own_folders(&config, store.data_folder()),
        );
        let snapshot = first_snapshot(metadata, &found_tables, &allowed).await;

        let cluster_listener = match cluster_port.open() {
            // Another server took the same one at the same moment.
            Err(_) if !config.is_cluster_listen_chosen() => {
                let any = SocketAddr::new(config.cluster.listen.ip(), 0);
                Port::take(any, "--cluster-listen")?.open()?
            }
            opened => opened?,
        };
        let cluster_address = address(&cluster_listener)?;
        // Executors outlive the clients: statements that run when the server is told to end need them.
        let cluster_end = CancellationToken::new();
        let secret = cluster::secret(&config).map_err(ServeError::Environment)?;
        scram::salt_unknown_roles_by(secret.reveal());
        let cluster = {
            let (config, secret, end) = (config.clone(), secret.clone(), cluster_end.clone());
            let work = (runtime.clone(), threads.compute.clone());
            let starting = async move { Cluster::start(&config, &secret, work, cluster_listener, end).await };
            let started = threads.cluster.spawn(starting).await;
            started.map_err(|error| ServeError::Environment(error.to_string()))?.map_err(internal)?
        };
        let supervisor = Supervisor::start(
            &config,
            config_file,
            reachable(cluster_address).to_string(),
            &secret,
            &locations::places(&allowed),
            &cluster,
            &cluster_end,
        )
        .map_err(|error| ServeError::Environment(format!("cannot start executors: {error}")))?;
        let history = config.server.data_dir.join("history");
        let metrics = Arc::new(Metrics::default());
        let telemetry = &config.telemetry;
        let traces = telemetry.otlp_endpoint.as_deref().map(|endpoint| {
            Traces::start(endpoint, telemetry.traces_slower_than.0).map_err(|error| {
                ServeError::Environment(format!("cannot send traces to {endpoint}: {error}"))
            })
        });
        let traces = traces.transpose()?;
        let (kept, kept_bytes) = (config.server.query_history_max, config.server.query_history_bytes_max);
        let queries = QueryLog::open(&history, kept_bytes, kept, Arc::clone(&metrics), traces)
            .map_err(|error| unusable(&history, &error))?;
        let coordinator = Arc::new(Coordinator {
            catalog: SnapshotStore::new(snapshot),
            client_memory: ClientMemory::of(&runtime.pool),
            runtime,
            sessions,
            compute: threads.compute,
            small: threads.small,
            planning: Planning::new(threads.planning, config.server.planning_threads_max),
            watching: threads.watching,
            cluster,
            queries,
            metrics,
            admission: Admission::new(config.server.concurrent_queries_max, config.server.queued_queries_max),
            connections: Arc::new(Semaphore::new(config.limits.connections_max)),
            sessions_open: OpenSessions::default(),
            system_tables: Built::default(),
            store,
            committing: tokio::sync::Mutex::new(()),
            writes,
            found_tables,
            history: History::default(),
            tls,
            guard: SignInGuard::default(),
            config,
        });
        let (client_listener, dashboard_listener) = (client_port.open()?, dashboard_port.open()?);
        Ok(Self {
            listen: address(&client_listener)?,
            dashboard: address(&dashboard_listener)?,
            cluster: cluster_address,
            coordinator,
            client_listener,
            dashboard_listener,
            supervisor,
            _work_folder: work_folder,
            _data_folder: data_folder,
            shutdown,
            cluster_end,
        })
    }

    /// The names of the tables that are served.
    pub fn table_names(&self) -> Vec<String> {
        let snapshot = self.coordinator.snapshot();
        let served = snapshot.tables().filter(|table| table.unavailable.is_none());
        served.map(|table| table.name.table.clone()).collect()
    }

    /// Calls `tell` once as many executors have joined as are supervised, when there are any.
    pub fn executors_joined<F: FnOnce(usize) + Send>(
        &self,
        tell: F,
    ) -> impl Future<Output = ()> + Send + use<F> {
        let cluster = Arc::clone(&self.coordinator.cluster);
        let wanted = self.coordinator.config.cluster.executors;
        async move {
            if wanted > 0 {
                cluster.joined(wanted).await;
                tell(wanted);
            }
        }
    }

    /// Serves until the shutdown that was given to [`Self::start`], and ends the executors.
    pub async fn run(self) {
        info!(listen = %self.listen, dashboard = %self.dashboard, cluster = %self.cluster, "serving");
        let refresh = Arc::clone(&self.coordinator).follow_others(self.shutdown.clone());
        let locations = Arc::clone(&self.coordinator).follow_locations(self.shutdown.clone());
        let dashboard =
            dashboard::run(Arc::clone(&self.coordinator), self.dashboard_listener, self.shutdown.clone());
        let queries = Arc::clone(&self.coordinator.queries);
        let store = self.coordinator.store.clone();
        let clients = listener::run(self.coordinator, self.client_listener, self.shutdown);
        tokio::join!(dashboard, clients, refresh, locations);
        let _ = tokio::task::spawn_blocking(move || queries.close()).await;
        if tokio::time::timeout(STORE_ENDS_WITHIN, store.close()).await.is_err() {
            warn!("the catalog's database did not end its connections in time");
        }
        self.cluster_end.cancel();
        self.supervisor.stopped().await;
    }
}

/// A port that is this server's, and closed.
struct Port {
    socket: TcpSocket,
    address: SocketAddr,
    flag: &'static str,
}

/// Connections that the machine takes in before they are accepted.
const BACKLOG: u32 = 1024;

impl Port {
    fn take(address: SocketAddr, flag: &'static str) -> Result<Self, ServeError> {
        let taken = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // As the standard library does: a port whose last connections linger is free.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        let socket = taken().map_err(|error| unheard(address, flag, &error))?;
        Ok(Self { socket, address, flag })
    }

    fn open(self) -> Result<TcpListener, ServeError> {
        self.socket.listen(BACKLOG).map_err(|error| unheard(self.address, self.flag, &error))
    }
}

fn unheard(address: SocketAddr, flag: &str, error: &std::io::Error) -> ServeError {
    ServeError::Environment(format!("cannot listen on {address}: {error} (choose another with {flag})"))
}

fn address(listener: &TcpListener) -> Result<SocketAddr, ServeError> {
    listener.local_addr().map_err(|error| ServeError::Environment(error.to_string()))
}

/// Where executors join. Nobody who did not ask for the port counts on it: another server of the machine may have it.
fn take_cluster_port(config: &Config) -> Result<Port, ServeError> {
    let address = config.cluster.listen;
    let taken = Port::take(address, "--cluster-listen");
    if taken.is_ok() || config.is_cluster_listen_chosen() {
        return taken;
    }
    let free = Port::take(SocketAddr::new(address.ip(), 0), "--cluster-listen")?;
    info!(taken = %address, "another process has the port that executors join at by default: a free one is taken");
    Ok(free)
}

fn unusable(path: &Path, error: &std::io::Error) -> ServeError {
    ServeError::Environment(format!("cannot use the folder {}: {error}", path.display()))
}

fn internal(error: engine::Error) -> ServeError {
    ServeError::Environment(match error {
        engine::Error::Internal { message } => message,
        other => other.to_string(),
    })
}

/// Where children on this machine reach a port that may listen on every address.
fn reachable(address: SocketAddr) -> SocketAddr {
    match (address.ip().is_unspecified(), address.is_ipv4()) {
        (true, true) => SocketAddr::from(([127, 0, 0, 1], address.port())),
        (true, false) => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], address.port())),
        _ => address,
    }
}

/// Where the lake's files lie: what was chosen, or a folder of the data folder.
fn warehouse(config: &Config) -> Result<Warehouse, ServeError> {
    let chosen = config.server.warehouse.as_deref();
    let location = match chosen {
        Some(location) if location.contains("://") && !location.starts_with("file://") => location.to_owned(),
        chosen => {
            let path = match chosen {
                Some(path) => PathBuf::from(path.trim_start_matches("file://")),
                None => config.server.data_dir.join("warehouse"),
            };
            let made = data_folder::make(&path).and_then(|()| path.canonicalize());
            let path = made.map_err(|error| unusable(&path, &error))?;
            path.to_string_lossy().into_owned()
        }
    };
    Ok(Warehouse { location, is_chosen: chosen.is_some(), may_begin: false })
}

/// Opens the catalog's store. The first role gets the configured password, if there is one, as long as it
/// has none.
async fn open_catalog(
    config: &Config,
    runtime: &NodeRuntime,
) -> Result<(CatalogStore, Metadata), ServeError> {
    let mut warehouse = warehouse(config)?;
    let file = config.server.data_dir.join("catalog.sqlite");
    let open = async |warehouse: &Warehouse| match &config.catalog.url {
        Some(url) => CatalogStore::open_url(url.reveal(), warehouse).await,
        None => CatalogStore::open_file(&file, warehouse).await,
    };
    let store = match open(&warehouse).await {
        Err(CatalogError::NoCatalog) => {
            lost_catalog::check(config, &runtime.env, &warehouse).await?;
            warehouse.may_begin = true;
            open(&warehouse).await
        }
        opened => opened,
    };
    let store = store.map_err(|error| lost_catalog::told(config, error))?;
    if let Some(reason) = store.unreadable() {
        warn!(reason, "the managed tables cannot be read, and nothing of the catalog can be changed");
    }
    let mut metadata = store.load().await.map_err(|error| lost_catalog::told(config, error))?;
    let first = metadata.roles.get(FIRST_ROLE).cloned();
    if let (Some(password), Some(mut first)) = (&config.auth.initial_password, first) {
        if first.verifier.is_some() {
            info!(
                "auth.initial_password is ignored: role \"{FIRST_ROLE}\" has a password; ALTER ROLE changes it"
            );
        } else {
            first.verifier = Some(scram::verifier(password.reveal(), config.auth.scram_iterations));
            match store.commit(&metadata, &[Change::PutRole(first)]).await {
                Ok(changed) => metadata = changed,
                Err(error @ CatalogError::ReadOnly { .. }) => {
                    warn!(%error, "auth.initial_password is ignored");
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok((store, metadata))
}

/// A session that tables are opened in.
fn opening_session(config: &Config, sessions: &SessionStates) -> SessionState {
    let catalogs = Arc::new(datafusion::catalog::MemoryCatalogProviderList::new());
    let settings = StatementSettings {
        target_partitions: config.server_threads(),
        time_zone: "UTC".to_owned(),
        style: String::new(),
        broadcast_bytes_max: 0,
        prefer_hash_join: true,
        task_memory: 0,
        memory_max: 0,
        thrift: Thrift::None,
    };
    sessions.for_statement(Destination::Local, catalogs, &settings)
}

/// The folders that hold what the server keeps for itself: the data folder, and the warehouse.
fn own_folders(config: &Config, warehouse: &str) -> Vec<Url> {
    let data_dir = config.server.data_dir.canonicalize().ok();
    let data_dir = data_dir.and_then(|folder| Url::from_directory_path(folder).ok());
    data_dir.into_iter().chain(Url::parse(warehouse).ok()).collect()
}

/// What the catalog knows, and what lies in the locations of the start.
async fn first_snapshot(metadata: Metadata, found: &Arc<FoundTables>, allowed: &[String]) -> Snapshot {
    found.look_at_start().await;
    let refused = locations::strangers(metadata.tables.values(), allowed);
    for location in &refused {
        warn!(location, "a table lies outside of the locations of this start: it cannot be read");
    }
    let (tables, troubles) = found.current();
    Snapshot::new(metadata, tables, troubles, refused)
}
