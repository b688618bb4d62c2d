//! Every setting, in one place: defaults, then a TOML file (`--config`), then the environment
//! (`SLUICE_SECTION__KEY`), then flags. Unknown keys are refused; all problems are told at once.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::Args;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

use crate::cluster_identity::SECRET_BYTES_MIN;
use crate::memory::{CAP_MIN, machine_limit};
use crate::{ByteSize, Interval, Network};

/// Everything that `sluice serve` and `sluice executor` can be told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The server.
    pub server: ServerConfig,
    /// The cluster as the server sees it.
    pub cluster: ClusterConfig,
    /// One executor.
    pub executor: ExecutorConfig,
    /// Bounds on what a client may ask for.
    pub limits: LimitsConfig,
    /// Who may sign in, and how.
    pub auth: AuthConfig,
    /// Encryption of clients' connections.
    pub tls: TlsConfig,
    /// Where the catalog persists.
    pub catalog: CatalogConfig,
    /// Credentials of object stores.
    pub stores: StoresConfig,
    /// What each process keeps of remote objects.
    pub cache: CacheConfig,
    /// Where traces are sent.
    pub telemetry: TelemetryConfig,
}

/// `[telemetry]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Who takes traces, by OTLP over gRPC: `http://collector:4317`. Without, none are made.
    pub otlp_endpoint: Option<String>,
    /// Queries that take less are not traced.
    pub traces_slower_than: Interval,
}

/// `[server]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Where Postgres clients connect.
    pub listen: SocketAddr,
    /// Where the dashboard is served. On loopback everybody of this machine may see it; elsewhere superusers, with their
    /// passwords, and who shows `dashboard_token`.
    pub dashboard: SocketAddr,
    /// Opens the dashboard, as a password or a bearer token.
    pub dashboard_token: Option<Secret>,
    /// Where the server keeps all it writes of its own.
    pub data_dir: PathBuf,
    /// Folders, files and object-store prefixes whose tables are served.
    pub locations: Vec<String>,
    /// How often locations are looked at for tables that came or went, and places that were away are tried again.
    pub location_refresh_interval: Interval,
    /// Where the tables that statements make keep their files: a folder, or a prefix in an object store. By
    /// default `warehouse` in the data folder.
    pub warehouse: Option<String>,
    /// Resident size of the server process; by default 70 % of what the machine allows, less what its
    /// supervised executors are given.
    pub memory: Option<ByteSize>,
    /// Threads that compute local queries; by default one per core.
    pub threads: Option<usize>,
    /// Spill files of the server process, at most.
    pub spill_bytes_max: ByteSize,
    /// Results of executors up to this size are fetched whole, onto the server's disk, before their first row leaves: an
    /// executor lost meanwhile costs another run and not an error. Larger ones are fetched as they are read.
    pub result_bytes_kept_max: ByteSize,
    /// Queries that may run at once, of which one role has seven eighths at most; further ones wait.
    pub concurrent_queries_max: usize,
    /// Queries that may wait; further ones are refused (53400).
    pub queued_queries_max: usize,
    /// Statements that are planned at once, each on a thread; a role has a quarter of them, and its others wait.
    pub planning_threads_max: usize,
    /// Finished queries that `sys.queries` remembers.
    pub query_history_max: usize,
    /// What they take in the data folder, at most: there they are remembered across restarts.
    pub query_history_bytes_max: ByteSize,
}

/// `[cluster]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterConfig {
    /// Where executors join. When nothing was said and its port is taken, a free one of this machine.
    pub listen: SocketAddr,
    /// `listen` was said, and is not the default.
    #[serde(skip)]
    pub(crate) is_listen_chosen: bool,
    /// The address that executors reach `listen` under, when it is not the same (`HOST:PORT`).
    pub advertise: Option<String>,
    /// What the server and its executors share, and show each other on every connection: at least 32 characters, such
    /// as `openssl rand -hex 32` gives.
    pub secret: Option<Secret>,
    /// A file that holds the secret. Without either the server makes one, `cluster.secret` in its data folder, for
    /// executors of the same machine.
    pub secret_file: Option<PathBuf>,
    /// Executors to start on this machine.
    pub executors: usize,
    /// Partitions that each of them computes at once.
    pub executor_threads: usize,
    /// Resident size of each of them.
    pub executor_memory: ByteSize,
    /// How long a query waits for an executor to appear before it fails (58000).
    pub executor_grace: Interval,
    /// How often a query is run again because an executor was lost, and how often it goes on after losses without that
    /// anything more has been finished in between.
    pub executor_loss_retries: usize,
    /// When an executor is lost, a query goes on with what is finished of it where its tasks have computed for at least
    /// this long, together; otherwise it is run again as a whole.
    pub kept_work_min: Interval,
    /// A query that reads at most this share of the server's pool runs in the server. One that reads more goes to the
    /// cluster when it writes, when it is expected to hold more than half of what is free of the pool, or when executors
    /// that this server did not start have one and a half times its threads.
    pub route_pool_share: f64,
    /// Bytes of input that one partition of a distributed scan should hold.
    pub target_partition_size: ByteSize,
    /// A query is not cut into partitions smaller than this, beyond two.
    pub partition_size_min: ByteSize,
    /// The largest build side of a join that is sent whole to every task.
    pub broadcast_bytes_max: ByteSize,
}

/// `[executor]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExecutorConfig {
    /// The coordinator's cluster address.
    pub coordinator: Option<String>,
    /// Where other executors and the coordinator reach this one; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The host name told to others, when `listen` is not reachable under its own address.
    pub advertise: Option<String>,
    /// Partitions computed at once; by default one per core.
    pub threads: Option<usize>,
    /// Resident size of the process; by default 70 % of what the machine allows.
    pub memory: Option<ByteSize>,
    /// Where spill and shuffle files lie, in a subfolder of its own.
    pub work_dir: PathBuf,
    /// Spill files, at most.
    pub spill_bytes_max: ByteSize,
    /// Shuffle files, at most: results of stages, kept until their query ends.
    pub shuffle_bytes_max: ByteSize,
    /// Folders that this machine shares with the coordinator's, for tables on local paths.
    pub shared_paths: Vec<PathBuf>,
    /// Folders and prefixes in stores below which files are read and written; everywhere when there is none. Supervised
    /// executors are told those of their server.
    pub locations: Vec<String>,
    /// How long an executor that is told to end stays for the queries that it has begun with.
    pub drain_timeout: Interval,
    /// How long an executor that starts tries to reach its coordinator before it ends.
    pub join_timeout: Interval,
}

/// `[limits]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Connections at once; one more is refused (53300).
    pub connections_max: usize,
    /// Length of a statement.
    pub statement_bytes_max: ByteSize,
    /// Tokens of a statement.
    pub statement_tokens_max: usize,
    /// Nesting of a statement, and length of a chain of operators.
    pub statement_depth_max: usize,
    /// Size of one protocol message after sign-in.
    pub message_bytes_max: ByteSize,
    /// Prepared statements and portals of one session.
    pub prepared_statements_max: usize,
    /// Connections of these that only superusers may take.
    pub connections_reserved: usize,
    /// Time to complete sign-in.
    pub authentication_timeout: Interval,
    /// Time that sessions have to end when the server does.
    pub drain_timeout: Interval,
    /// Time to plan a statement.
    pub planning_timeout: Interval,
    /// Files that one query reads; one that would read more is refused (54000).
    pub plan_files_max: usize,
    /// Partitions that the stages of one query compute, together; one with more is refused (54000).
    pub plan_partitions_max: usize,
}

/// `[auth]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Rules in order; the first that fits a connection decides. By default clients of this machine are
    /// trusted, and all others sign in with a password.
    pub rules: Vec<AuthRule>,
    /// The password of the first role, `postgres`, for a catalog that is made anew.
    pub initial_password: Option<Secret>,
    /// Iterations of SCRAM-SHA-256 for passwords that are set from now on.
    pub scram_iterations: u32,
}

/// `[[auth.rules]]`, a line of PostgreSQL's `pg_hba.conf`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthRule {
    /// Which connections it is for.
    #[serde(default)]
    pub connection: RuleConnection,
    /// The role's name, or `all`.
    #[serde(default = "all")]
    pub user: String,
    /// The network the client is in, such as `10.0.0.0/8`, or `all`.
    #[serde(default = "all")]
    pub address: String,
    /// What the client must show.
    pub method: AuthMethod,
}

fn all() -> String {
    "all".to_owned()
}

/// The connections a rule is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // The words of pg_hba.conf.
pub enum RuleConnection {
    #[default]
    Host,
    HostSsl,
    HostNoSsl,
}

/// How a client shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthMethod {
    /// Not at all.
    #[serde(rename = "trust")]
    Trust,
    /// By a password, with SCRAM-SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// By a client certificate whose common name is the role's.
    #[serde(rename = "cert")]
    Certificate,
    /// In no way.
    #[serde(rename = "reject")]
    Reject,
}

/// `[tls]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The server's certificate and its chain, in PEM.
    pub certificate: Option<PathBuf>,
    /// The key of the certificate, in PEM.
    pub key: Option<PathBuf>,
    /// Authorities that client certificates must come from, in PEM.
    pub client_ca: Option<PathBuf>,
    /// Refuse connections that are not encrypted.
    pub require: bool,
}

/// `[catalog]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CatalogConfig {
    /// A PostgreSQL database, `postgres://user:password@host/database`; by default a file in the data
    /// folder. Servers that share one, and other engines that write to it, see each other's changes within
    /// `refresh_interval`.
    pub url: Option<Secret>,
    /// How often the server looks for changes that others made.
    pub refresh_interval: Interval,
    /// A written file that has grown to this size is followed by another.
    pub file_size: ByteSize,
}

impl Default for CatalogConfig {
    fn default() -> Self {
        Self { url: None, refresh_interval: seconds(1), file_size: ByteSize::mib(512) }
    }
}

/// `[cache]`: what the server, and each executor, keeps of remote objects.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Bytes in memory, a part of the process's own; a sixteenth of it when not given, none when 0.
    pub memory: Option<ByteSize>,
    /// Bytes on disk, in the folder for spill files, besides.
    pub disk: ByteSize,
}

/// `[stores]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoresConfig {
    /// Requests to one store that wait for their answer at once.
    pub requests_max: usize,
    /// How long one request may take, its body included.
    pub request_timeout: Interval,
    /// How long a request that fails is tried again, with growing pauses, before the statement is told.
    pub retry_timeout: Interval,
    /// S3 and compatible stores.
    pub s3: S3Config,
    /// Google Cloud Storage.
    pub gcs: GcsConfig,
    /// Azure Blob Storage.
    pub azure: AzureConfig,
    /// HDFS.
    pub hdfs: HdfsConfig,
    /// Buckets with an access of their own, each under a name that is only for people.
    pub named: BTreeMap<String, NamedStoreConfig>,
}

impl Default for StoresConfig {
    fn default() -> Self {
        Self {
            requests_max: 256,
            request_timeout: seconds(60),
            retry_timeout: seconds(30),
            s3: S3Config::default(),
            gcs: GcsConfig::default(),
            azure: AzureConfig::default(),
            hdfs: HdfsConfig::default(),
            named: BTreeMap::new(),
        }
    }
}

/// `[stores.named.NAME]`: how some buckets are entered. One of `s3`, `gcs` and `azure` is given; nothing of it is taken
/// from the environment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NamedStoreConfig {
    /// The buckets (Azure: containers) that it is for.
    pub buckets: Vec<String>,
    /// They are buckets of S3 or a compatible store.
    pub s3: Option<S3Config>,
    /// They are buckets of Google Cloud Storage.
    pub gcs: Option<GcsConfig>,
    /// They are containers of Azure Blob Storage.
    pub azure: Option<AzureConfig>,
}

/// `[stores.s3]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3Config {
    /// Another address than that of AWS.
    pub endpoint: Option<String>,
    /// The region of the buckets.
    pub region: Option<String>,
    /// The name of the key that requests are signed with.
    pub access_key_id: Option<Secret>,
    /// The key itself.
    pub secret_access_key: Option<Secret>,
    /// What AWS gives with keys that end.
    pub session_token: Option<Secret>,
    /// The endpoint may be without TLS.
    pub allow_http: bool,
}

/// `[stores.gcs]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GcsConfig {
    /// Another address than Google's.
    pub endpoint: Option<String>,
    /// A file with the key of a service account, in JSON.
    pub service_account_path: Option<String>,
    /// The same as text.
    pub service_account_key: Option<Secret>,
    /// Requests are not signed: for buckets that everybody may read.
    pub anonymous: bool,
    /// The endpoint may be without TLS.
    pub allow_http: bool,
}

/// `[stores.azure]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AzureConfig {
    /// The storage account.
    pub account: Option<String>,
    /// Its key.
    pub access_key: Option<Secret>,
    /// Another address than Azure's, with the account in its path where it is one of an emulator.
    pub endpoint: Option<String>,
    /// The endpoint may be without TLS.
    pub allow_http: bool,
}

/// `[stores.hdfs]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HdfsConfig {
    /// Hadoop's own settings, above those of the files in `HADOOP_CONF_DIR`.
    pub settings: BTreeMap<String, String>,
}

/// Text that is never printed.
#[derive(Clone, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being printed.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one who must present it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

const fn seconds(n: u64) -> Interval {
    Interval(Duration::from_secs(n))
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: loopback(5433),
            dashboard: loopback(8787),
            dashboard_token: None,
            data_dir: PathBuf::from("sluice-data"),
            locations: Vec::new(),
            location_refresh_interval: seconds(30),
            warehouse: None,
            memory: None,
            threads: None,
            spill_bytes_max: ByteSize(100 * ByteSize::GIB),
            result_bytes_kept_max: ByteSize(ByteSize::GIB),
            concurrent_queries_max: 32,
            queued_queries_max: 1000,
            planning_threads_max: 16,
            query_history_max: 1000,
            query_history_bytes_max: ByteSize::mib(64),
        }
    }
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            listen: loopback(50050),
            is_listen_chosen: false,
            advertise: None,
            secret: None,
            secret_file: None,
            executors: 0,
            executor_threads: 1,
            executor_memory: ByteSize(4 * ByteSize::GIB),
            executor_grace: seconds(10),
            executor_loss_retries: 3,
            kept_work_min: seconds(2),
            route_pool_share: 0.25,
            target_partition_size: ByteSize::mib(256),
            partition_size_min: ByteSize::mib(4),
            broadcast_bytes_max: ByteSize::mib(32),
        }
    }
}

impl Default for ExecutorConfig {
    fn default() -> Self {
        Self {
            coordinator: None,
            listen: loopback(0),
            advertise: None,
            threads: None,
            memory: None,
            work_dir: PathBuf::from("sluice-work"),
            spill_bytes_max: ByteSize(100 * ByteSize::GIB),
            shuffle_bytes_max: ByteSize(200 * ByteSize::GIB),
            shared_paths: Vec::new(),
            locations: Vec::new(),
            drain_timeout: seconds(60),
            join_timeout: seconds(10),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections_max: 200,
            statement_bytes_max: ByteSize::mib(1),
            statement_tokens_max: 100_000,
            statement_depth_max: 500,
            message_bytes_max: ByteSize::mib(64),
            prepared_statements_max: 1000,
            connections_reserved: 3,
            authentication_timeout: seconds(30),
            drain_timeout: seconds(10),
            planning_timeout: seconds(10),
            plan_files_max: 200_000,
            plan_partitions_max: 100_000,
        }
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        let rule = |address: &str, method| AuthRule {
            connection: RuleConnection::Host,
            user: all(),
            address: address.to_owned(),
            method,
        };
        Self {
            rules: vec![
                rule("127.0.0.0/8", AuthMethod::Trust),
                rule("::1/128", AuthMethod::Trust),
                rule("all", AuthMethod::ScramSha256),
            ],
            initial_password: None,
            scram_iterations: 4096,
        }
    }
}

/// Flags of `sluice serve`.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeFlags {
    /// Folders or object-store prefixes, in which each NAME.parquet and each folder NAME/ is the table NAME; or files
    #[arg(value_name = "LOCATION")]
    pub locations: Vec<String>,
    /// Where Postgres clients connect [default: 127.0.0.1:5433]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub listen: Option<SocketAddr>,
    /// Where the dashboard is served [default: 127.0.0.1:8787]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub dashboard: Option<SocketAddr>,
    /// Where executors join [default: 127.0.0.1:50050]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub cluster_listen: Option<SocketAddr>,
    /// A file with the secret that executors join with [default: made in the data folder]
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// Where the server keeps all it writes of its own [default: ./sluice-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where tables that are made keep their files: a folder or an object-store prefix [default:
    /// warehouse in the data folder]
    #[arg(long, value_name = "LOCATION")]
    pub warehouse: Option<String>,
    /// The server's TLS certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The key of the TLS certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Resident size of the server process [default: 70 % of the machine's, less the executors']
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<ByteSize>,
    /// Executors (workers) to start on this machine [default: 0]
    #[arg(long, value_name = "N")]
    pub executors: Option<usize>,
    /// Partitions each of them computes at once [default: 1]
    #[arg(long, value_name = "N")]
    pub executor_threads: Option<usize>,
    /// Resident size of each of them [default: 4GB]
    #[arg(long, value_name = "SIZE")]
    pub executor_memory: Option<ByteSize>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonFlags,
}

/// Flags of `sluice executor`.
#[derive(Debug, Clone, Default, Args)]
pub struct ExecutorFlags {
    /// The coordinator's cluster address
    #[arg(long, value_name = "HOST:PORT")]
    pub coordinator: Option<String>,
    /// A file with the cluster's secret
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// Where others reach this executor; port 0 picks a free one [default: 127.0.0.1:0]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub listen: Option<SocketAddr>,
    /// The host name told to others [default: the address of --listen]
    #[arg(long, value_name = "HOST")]
    pub advertise: Option<String>,
    /// Partitions computed at once [default: one per core]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Resident size of the process [default: 70 % of the machine's]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<ByteSize>,
    /// Where spill and shuffle files lie, in a subfolder of its own [default: ./sluice-work]
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// A folder shared with the coordinator's machine, for tables on local paths; may be repeated
    #[arg(long = "shared-path", value_name = "PREFIX")]
    pub shared_paths: Vec<PathBuf>,
    /// A folder or prefix in a store below which files are read and written; may be repeated [default: everywhere]
    #[arg(long = "location", value_name = "LOCATION")]
    pub locations: Vec<String>,
    /// Ends with this process, its supervisor
    #[arg(long, hide = true, value_name = "PID")]
    pub supervisor: Option<u32>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonFlags,
}

/// An address, or the port of one of this machine.
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
        return Ok(loopback(port));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if host == "localhost"
        && let Ok(port) = port.parse::<u16>()
    {
        return Ok(loopback(port));
    }
    text.parse().map_err(|_| "it must be a port, or an address with a port: 5433, 0.0.0.0:5433".to_owned())
}

/// Flags of every verb.
#[derive(Debug, Clone, Default, Args)]
pub struct CommonFlags {
    /// A TOML file with settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Show the merged settings and exit
    #[arg(long)]
    pub print_config: bool,
}

/// Why a configuration cannot be used: every problem, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(Vec<String>);

impl ConfigError {
    /// One problem, found after the settings were merged.
    pub fn new(problem: String) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

fn checked(secret: &str, place: &str) -> Result<Secret, ConfigError> {
    if secret.len() >= SECRET_BYTES_MIN {
        return Ok(Secret(secret.to_owned()));
    }
    Err(ConfigError::new(format!(
        "the secret in {place} is too short: it needs {SECRET_BYTES_MIN} characters, such as openssl rand -hex 32 gives"
    )))
}

impl Config {
    /// Layers `--config`, the environment and the flags of `sluice serve` over the defaults.
    pub fn for_server(flags: &ServeFlags) -> Result<Self, ConfigError> {
        let mut config = Self::load(&flags.common)?;
        let ServeFlags { locations, listen, dashboard, cluster_listen, data_dir, .. } = flags.clone();
        set(&mut config.server.listen, listen);
        set(&mut config.server.dashboard, dashboard);
        set(&mut config.server.data_dir, data_dir);
        config.cluster.is_listen_chosen |= cluster_listen.is_some();
        set(&mut config.cluster.listen, cluster_listen);
        set(&mut config.cluster.executors, flags.executors);
        set(&mut config.cluster.executor_threads, flags.executor_threads);
        set(&mut config.cluster.executor_memory, flags.executor_memory);
        config.cluster.secret_file = flags.secret_file.clone().or(config.cluster.secret_file);
        config.server.warehouse = flags.warehouse.clone().or(config.server.warehouse);
        config.server.memory = flags.memory.or(config.server.memory);
        config.tls.certificate = flags.tls_cert.clone().or(config.tls.certificate);
        config.tls.key = flags.tls_key.clone().or(config.tls.key);
        if !locations.is_empty() {
            config.server.locations = locations;
        }
        config.validate()?;
        if config.cluster_secret()?.is_none() && !config.cluster.listen.ip().is_loopback() {
            return Err(ConfigError::new(format!(
                "other machines reach {}: the cluster needs a secret (openssl rand -hex 32 > FILE), given to the server \
                 and to every executor with --secret-file FILE or SLUICE_CLUSTER__SECRET",
                config.cluster.listen
            )));
        }
        Ok(config)
    }

    /// Layers `--config`, the environment and the flags of `sluice executor` over the defaults.
    pub fn for_executor(flags: &ExecutorFlags) -> Result<Self, ConfigError> {
        let mut config = Self::load(&flags.common)?;
        let executor = &mut config.executor;
        let flags = flags.clone();
        set(&mut executor.listen, flags.listen);
        set(&mut executor.work_dir, flags.work_dir);
        config.cluster.secret_file = flags.secret_file.or(config.cluster.secret_file);
        executor.coordinator = flags.coordinator.or(executor.coordinator.take());
        executor.advertise = flags.advertise.or(executor.advertise.take());
        executor.threads = flags.threads.or(executor.threads);
        executor.memory = flags.memory.or(executor.memory);
        if !flags.shared_paths.is_empty() {
            executor.shared_paths = flags.shared_paths;
        }
        if !flags.locations.is_empty() {
            executor.locations = flags.locations;
        }
        config.validate()?;
        Ok(config)
    }

    /// The secret of the cluster, where one is configured: given as it is, or the first line of a file.
    pub fn cluster_secret(&self) -> Result<Option<Secret>, ConfigError> {
        if let Some(secret) = &self.cluster.secret {
            return checked(secret.reveal(), "cluster.secret").map(Some);
        }
        let Some(path) = &self.cluster.secret_file else { return Ok(None) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::new(format!("cannot read {}: {error}", path.display())))?;
        checked(text.lines().next().unwrap_or_default().trim(), &path.display().to_string()).map(Some)
    }

    fn load(flags: &CommonFlags) -> Result<Self, ConfigError> {
        let mut layers = Figment::from(Serialized::defaults(Self::default()));
        if let Some(path) = &flags.config {
            if !path.is_file() {
                return Err(ConfigError(vec![format!("config file {} does not exist", path.display())]));
            }
            layers = layers.merge(Toml::file_exact(path));
        }
        let environment =
            Env::prefixed("SLUICE_").ignore(&["LOG"]).filter(|key| key.as_str().contains("__")).split("__");
        let secrets: Vec<(String, String)> = environment
            .iter()
            .map(|(key, value)| (key.as_str().to_lowercase(), value))
            .filter(|(key, _)| key.rsplit('.').next().is_some_and(|last| SECRETS.contains(&last)))
            .collect();
        layers = layers.merge(environment);
        for (key, value) in &secrets {
            // As it was written: 0012 is a password, and no number.
            layers = layers.merge((key, value));
        }
        let is_default = |name: &str| {
            let defaults = Figment::from(Serialized::defaults(Self::default()));
            let source = |layers: &Figment| layers.find_metadata(name).map(|found| found.name.clone());
            source(&layers) == source(&defaults)
        };
        let is_listen_chosen = !is_default("cluster.listen");
        let mut config: Self = layers
            .extract()
            .map_err(|error| ConfigError(error.into_iter().map(|problem| problem.to_string()).collect()))?;
        config.cluster.is_listen_chosen = is_listen_chosen;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, problem: String| {
            if !holds {
                problems.push(problem);
            }
        };
        for (name, size) in [
            ("server.memory", self.server.memory),
            ("executor.memory", self.executor.memory),
            ("cluster.executor_memory", Some(self.cluster.executor_memory)),
        ] {
            let size = size.unwrap_or(CAP_MIN);
            require(size >= CAP_MIN, format!("{name} is {size}: it must be at least {CAP_MIN}"));
        }
        require(self.cluster.executor_threads > 0, "cluster.executor_threads must be at least 1".into());
        require(self.executor.threads != Some(0), "executor.threads must be at least 1".into());
        require(self.server.threads != Some(0), "server.threads must be at least 1".into());
        require(
            self.server.dashboard_token.as_ref().is_none_or(|token| !token.reveal().is_empty()),
            "server.dashboard_token must not be empty".into(),
        );
        require(
            self.server.concurrent_queries_max > 0,
            "server.concurrent_queries_max must be at least 1".into(),
        );
        require(
            self.server.planning_threads_max > 0,
            "server.planning_threads_max must be at least 1".into(),
        );
        require(self.limits.connections_max > 0, "limits.connections_max must be at least 1".into());
        require(
            self.limits.connections_reserved < self.limits.connections_max,
            "limits.connections_reserved must be below limits.connections_max".into(),
        );
        require(
            self.tls.certificate.is_some() == self.tls.key.is_some(),
            "tls.certificate and tls.key belong together".into(),
        );
        let has_tls = self.tls.certificate.is_some();
        require(has_tls || !self.tls.require, "tls.require needs tls.certificate and tls.key".into());
        require(has_tls || self.tls.client_ca.is_none(), "tls.client_ca needs tls.certificate".into());
        require(
            (4096..=1_000_000).contains(&self.auth.scram_iterations),
            "auth.scram_iterations must be between 4096 and 1000000".into(),
        );
        for rule in &self.auth.rules {
            require(
                rule.address == "all" || rule.address.parse::<Network>().is_ok(),
                format!("auth.rules: {:?} is not a network such as 10.0.0.0/8", rule.address),
            );
        }
        require(
            self.cluster.target_partition_size.0 >= ByteSize::MIB,
            "cluster.target_partition_size must be at least 1MB".into(),
        );
        require(
            self.server.location_refresh_interval.0 >= std::time::Duration::from_millis(100),
            "server.location_refresh_interval must be at least 100ms".into(),
        );
        problems_of_stores(&self.stores, &mut require);
        let smallest = [self.server_memory(), self.cluster.executor_memory, self.executor_memory()];
        let smallest = smallest.into_iter().min().unwrap_or(CAP_MIN);
        require(
            self.cache.memory.is_none_or(|memory| memory.0 <= smallest.0 / 4),
            format!("cache.memory must be at most a quarter of a process's memory, here of {smallest}"),
        );
        require(
            self.cache.disk.0 == 0 || self.cache.disk.0 >= 64 * ByteSize::MIB,
            "cache.disk must be 0 or at least 64MB".into(),
        );
        let share = self.cluster.route_pool_share;
        require(share > 0.0, format!("cluster.route_pool_share is {share}: it must be above 0"));
        if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
    }

    /// True when somebody said where executors join.
    pub fn is_cluster_listen_chosen(&self) -> bool {
        // Who is told of a port must find this server there.
        self.cluster.is_listen_chosen || self.cluster.advertise.is_some()
    }

    /// What the server and the executors that it starts may take together, and what this machine has, when that is
    /// less.
    pub fn memory_beyond_machine(&self) -> Option<(ByteSize, ByteSize)> {
        let executors = self.cluster.executor_memory.0.saturating_mul(self.cluster.executors as u64);
        let wanted = ByteSize(self.server_memory().0.saturating_add(executors));
        let has = machine_limit();
        (wanted > has).then_some((wanted, has))
    }

    /// Resident size of the server process.
    pub fn server_memory(&self) -> ByteSize {
        self.server.memory.unwrap_or_else(|| {
            let own = machine_limit().0 as f64 * 0.7;
            let executors = self.cluster.executor_memory.0 * self.cluster.executors as u64;
            ByteSize((own as u64).saturating_sub(executors)).max(ByteSize::mib(512))
        })
    }

    /// Threads that compute local queries.
    pub fn server_threads(&self) -> usize {
        self.server.threads.unwrap_or_else(cores)
    }

    /// Resident size of the executor process.
    pub fn executor_memory(&self) -> ByteSize {
        self.executor.memory.unwrap_or_else(|| ByteSize((machine_limit().0 as f64 * 0.7) as u64))
    }

    /// Partitions that the executor computes at once.
    pub fn executor_threads(&self) -> usize {
        self.executor.threads.unwrap_or_else(cores)
    }

    /// Bytes that a process of resident size `cap` keeps of remote objects in memory.
    pub fn cache_memory(&self, cap: ByteSize) -> ByteSize {
        const SHARE: u64 = 16;
        self.cache.memory.unwrap_or(ByteSize(cap.0 / SHARE))
    }

    /// The merged settings as TOML, secrets hidden.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("the settings are plain data")
    }

    /// Every setting by its name, `section.key`; secrets are hidden.
    pub fn settings(&self) -> Vec<(String, String)> {
        let mut settings = Vec::new();
        let all = toml::Table::try_from(self).expect("the settings are plain data");
        flatten("", &toml::Value::Table(all), &mut settings);
        settings
    }
}

/// The keys whose values are [`Secret`]s.
const SECRETS: &[&str] = &[
    "access_key",
    "access_key_id",
    "dashboard_token",
    "initial_password",
    "secret",
    "secret_access_key",
    "service_account_key",
    "session_token",
    "url",
];

fn flatten(name: &str, value: &toml::Value, settings: &mut Vec<(String, String)>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(&name, value, settings);
            }
        }
        toml::Value::String(text) => settings.push((name.to_owned(), text.clone())),
        other => settings.push((name.to_owned(), other.to_string())),
    }
}

/// Every bucket is entered in one way.
fn problems_of_stores(stores: &StoresConfig, require: &mut impl FnMut(bool, String)) {
    require(stores.requests_max > 0, "stores.requests_max must be at least 1".into());
    let mut seen = BTreeMap::new();
    for (name, store) in &stores.named {
        let at = format!("stores.named.{name}");
        let kinds = [store.s3.is_some(), store.gcs.is_some(), store.azure.is_some()];
        let kind = kinds.iter().position(|is_given| *is_given);
        require(
            kinds.iter().filter(|is_given| **is_given).count() == 1,
            format!("{at} needs one of s3, gcs and azure"),
        );
        require(!store.buckets.is_empty(), format!("{at}.buckets must name the buckets it is for"));
        for bucket in &store.buckets {
            if let Some(other) = seen.insert((kind, bucket), name) {
                require(false, format!("{at}: bucket {bucket} is also of stores.named.{other}"));
            }
        }
    }
}

fn cores() -> usize {
    // The system reads several files to tell.
    static CORES: LazyLock<usize> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
    *CORES
}

fn set<T>(target: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *target = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_unknown_keys_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("sluice.toml");
        std::fs::write(&path, "[cluster]\nexecutors = 3\nexecutor_memory = \"2GB\"\n").expect("written");
        let mut flags = ServeFlags { executors: Some(5), ..Default::default() };
        flags.common.config = Some(path.clone());
        let config = Config::for_server(&flags).expect("the settings are valid");
        assert_eq!(config.cluster.executors, 5);
        assert_eq!(config.cluster.executor_memory, ByteSize(2 << 30));

        std::fs::write(&path, "[cluster]\nexecuters = 3\n").expect("written");
        let refused = Config::for_server(&flags).expect_err("the key is unknown");
        assert!(refused.to_string().contains("executers"), "{refused}");
    }

    #[test]
    fn a_port_alone_is_one_of_this_machine() {
        let of = |text: &str| address(text).map(|address| address.to_string());
        assert_eq!(of("5433"), Ok("127.0.0.1:5433".to_owned()));
        assert_eq!(of(":5433"), Ok("127.0.0.1:5433".to_owned()));
        assert_eq!(of("localhost:5433"), Ok("127.0.0.1:5433".to_owned()));
        assert_eq!(of("0.0.0.0:5433"), Ok("0.0.0.0:5433".to_owned()));
        assert_eq!(of("[::1]:5433"), Ok("[::1]:5433".to_owned()));
        for wrong in ["", "host", "70000", "host:5433"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn whether_a_port_was_chosen_is_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sluice.toml");
        std::fs::write(&path, "[cluster]\nlisten = \"127.0.0.1:50050\"\n").expect("written");
        let common = CommonFlags { config: Some(path), ..CommonFlags::default() };
        let flags = ServeFlags { common, ..ServeFlags::default() };
        assert!(Config::for_server(&flags).expect("a configuration").cluster.is_listen_chosen);
        let flags = ServeFlags::default();
        assert!(!Config::for_server(&flags).expect("a configuration").cluster.is_listen_chosen);
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let flags =
            ServeFlags { memory: Some(ByteSize::mib(1)), executor_threads: Some(0), ..Default::default() };
        let refused = Config::for_server(&flags).expect_err("two settings are wrong");
        assert_eq!(refused.to_string().lines().count(), 2, "{refused}");
    }

    #[test]
    fn a_bucket_is_entered_in_one_way() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("sluice.toml");
        let mut flags = ServeFlags::default();
        flags.common.config = Some(path.clone());
        let problems = |text: &str| {
            std::fs::write(&path, text).expect("written");
            Config::for_server(&flags).err().map_or(0, |refused| refused.to_string().lines().count())
        };
        let store = |name: &str, rest: &str| format!("[stores.named.{name}]\nbuckets = [\"b\"]\n{rest}\n");
        let s3 = "s3 = { access_key_id = \"k\" }";
        assert_eq!(problems(&store("one", s3)), 0);
        assert_eq!(problems(&(store("one", s3) + &store("two", "azure = { account = \"a\" }"))), 0);
        assert_eq!(problems(&(store("one", s3) + &store("two", s3))), 1);
        assert_eq!(problems(&store("one", "")), 1);
        assert_eq!(problems("[stores.named.one]\n"), 2);
    }

    #[test]
    fn secrets_never_print() {
        let mut config = Config::default();
        config.stores.s3.secret_access_key = Some(Secret("canary".into()));
        let gcs = GcsConfig { service_account_key: Some(Secret("canary".into())), ..GcsConfig::default() };
        let named = NamedStoreConfig { gcs: Some(gcs), ..NamedStoreConfig::default() };
        config.stores.named.insert("archive".into(), named);
        assert!(!config.to_toml().contains("canary"));
        assert!(!format!("{config:?}").contains("canary"));
    }
}
