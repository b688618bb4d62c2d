//! The cluster's ports: who is let in, what those who are may ask, and that secrets stay where they belong.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, FlightData, Ticket};
use ballista_core::serde::protobuf::executor_grpc_client::ExecutorGrpcClient;
use ballista_core::serde::protobuf::executor_grpc_server::{ExecutorGrpc, ExecutorGrpcServer};
use ballista_core::serde::protobuf::executor_resource::Resource;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    Action as BallistaAction, CancelJobParams, CancelTasksParams, CancelTasksResult, ExecuteQueryParams,
    ExecutorOperatingSystemSpecification, ExecutorRegistration, ExecutorResource, ExecutorSpecification,
    ExecutorStatus, FetchPartition, HeartBeatParams, LaunchMultiTaskParams, LaunchMultiTaskResult,
    LaunchTaskParams, LaunchTaskResult, MultiTaskDefinition, RemoveJobDataParams, RemoveJobDataResult,
    StopExecutorParams, StopExecutorResult, action::ActionType, executor_status,
};
use engine::ClusterIdentity;
use engine::telemetry::{REPORT_INTERVAL, VERSION};
use futures::StreamExt;
use prost::Message;
use sql_tests::{Authority, Options, TestCluster, tpch};
use tokio::process::Command;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};

async fn start(environment: &[(&str, &str)]) -> TestCluster {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "0.01").await.expect("data");
    let options = Options {
        locations: vec![data],
        executors: 1,
        environment: environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        ..Options::default()
    };
    TestCluster::start(binary, &options).await.expect("a cluster")
}

async fn executor_address(cluster: &TestCluster) -> String {
    let client = cluster.connect().await.expect("a session");
    client.query_one("select address from sys.executors", &[]).await.expect("one executor").get(0)
}

/// Shakes hands with a certificate or without one, whoever the other side is, and says what came of it.
const SHAKE_HANDS: &str = "
import socket, ssl, sys
host, port = sys.argv[1].rsplit(':', 1)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
context.set_alpn_protocols(['h2'])
if len(sys.argv) > 2:
    context.load_cert_chain(sys.argv[2], sys.argv[3])
try:
    with context.wrap_socket(socket.create_connection((host, int(port)), timeout=10)) as connection:
        connection.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n' + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        print('let in' if connection.recv(1) else 'closed')
except (ssl.SSLError, ConnectionError) as error:
    print('refused', error)
";

async fn shake_hands(address: &str, certificate: Option<(&Path, &Path)>) -> String {
    let mut python = Command::new("python3");
    python.args(["-c", SHAKE_HANDS, address]);
    if let Some((certificate, key)) = certificate {
        python.arg(certificate).arg(key);
    }
    let output = python.output().await.expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_not_listened_to() {
    let cluster = start(&[]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let authority = Authority::new().expect("an authority");
    authority.issue("node.sluice.internal", &certificate, &key).expect("a certificate");
    for address in [cluster.cluster.to_string(), executor_address(&cluster).await] {
        // Without TLS: connected, since nobody spoke yet, but nothing is answered.
        let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address").connect().await;
        if let Ok(channel) = channel {
            let asked = RemoveJobDataParams { job_id: "a".into(), remove_stage_ids: vec![] };
            let answer = ExecutorGrpcClient::new(channel).remove_job_data(asked).await;
            let code = answer.expect_err("no answer").code();
            assert!(
                matches!(code, Code::Unknown | Code::Unavailable | Code::Internal | Code::Cancelled),
                "{code}"
            );
        }
        for certificate in [None, Some((certificate.as_path(), key.as_path()))] {
            let answer = shake_hands(&address, certificate).await;
            assert!(answer.starts_with("refused") || answer == "closed", "{address}: {answer}");
        }
        let other = ClusterIdentity::of(&"another secret ".repeat(3)).expect("an identity");
        let refused = other.endpoint(&address).expect("an address").connect().await;
        refused.expect_err("it is of another cluster");
    }
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let row = client.query_one("select count(*) from nation", &[]).await.expect("the cluster goes on");
    assert_eq!(row.get::<_, i64>(0), 25);
}

async fn channel(cluster: &TestCluster, address: &str) -> Channel {
    let secret = std::fs::read_to_string(cluster.secret_file()).expect("the server's own secret");
    let identity = ClusterIdentity::of(secret.trim()).expect("an identity");
    identity.endpoint(address).expect("an address").connect().await.expect("a node of the cluster is let in")
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_may_ask_for_no_more_than_nodes_need() {
    let cluster = start(&[]).await;
    let address = executor_address(&cluster).await;
    let outside = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(outside.path().join("data.arrow"), "precious").expect("a file");
    let outside_path = outside.path().to_string_lossy().into_owned();
    let executor = channel(&cluster, &address).await;
    for job in ["", "..", "../../..", outside_path.as_str(), "a/../../b", "a\0b"] {
        let mut tasks = ExecutorGrpcClient::new(executor.clone());
        let asked = RemoveJobDataParams { job_id: job.into(), remove_stage_ids: vec![] };
        assert_eq!(
            tasks.remove_job_data(asked).await.expect_err(job).code(),
            Code::InvalidArgument,
            "{job:?}"
        );
        let stage = MultiTaskDefinition { job_id: job.into(), ..MultiTaskDefinition::default() };
        let asked = LaunchMultiTaskParams { multi_tasks: vec![stage], scheduler_endpoint: String::new() };
        assert_eq!(
            tasks.launch_multi_task(asked).await.expect_err(job).code(),
            Code::InvalidArgument,
            "{job:?}"
        );
        let fetch = FetchPartition { job_id: job.into(), ..FetchPartition::default() };
        let ticket =
            BallistaAction { action_type: Some(ActionType::FetchPartition(fetch)), settings: vec![] };
        let ticket = ticket.encode_to_vec();
        let mut files = FlightServiceClient::new(executor.clone());
        let got = files.do_get(Ticket { ticket: ticket.clone().into() }).await.map(drop);
        assert_eq!(got.expect_err(job).code(), Code::InvalidArgument, "{job:?}");
        let action = Action { r#type: "IO_BLOCK_TRANSPORT".into(), body: ticket.into() };
        let got = files.do_action(action).await.map(drop);
        assert_eq!(got.expect_err(job).code(), Code::InvalidArgument, "{job:?}");
    }
    assert!(outside.path().join("data.arrow").exists());

    let coordinator = channel(&cluster, &cluster.cluster.to_string()).await;
    let mut scheduler = SchedulerGrpcClient::new(coordinator.clone());
    let plan = scheduler.execute_query(ExecuteQueryParams::default()).await.map(drop);
    assert_eq!(plan.expect_err("no plan of others").code(), Code::PermissionDenied);
    let cancel = scheduler.cancel_job(CancelJobParams { job_id: "a".into() }).await.map(drop);
    assert_eq!(cancel.expect_err("no job of others").code(), Code::PermissionDenied);

    // An executor of another version is told so.
    let report = r#"{"version": "0.0.0", "executor_id": "a", "address": "a:1", "process_id": 1, "threads": 1,
        "memory_cap_bytes": 1, "resident_bytes": 1, "pool_reserved_bytes": 0, "pool_limit_bytes": 1,
        "spilled_bytes": 0, "allowance_ms": 0, "is_draining": false, "tasks_running": 0, "tasks_finished": 0, "is_supervised": false,
        "inherited": [], "shared_paths": [], "tasks": [], "cached_bytes": 0, "cache_reserved_bytes": 0,
        "usage": {"cpu_cores": 0.0, "disk_bytes_per_second": 0, "network_bytes_per_second": 0}}"#;
    for (report, told) in [(report, "this executor is 0.0.0"), ("{}", "another version")] {
        let report = FlightData::new().with_app_metadata(report.as_bytes().to_vec());
        let reports = futures::stream::iter([report]);
        let refused = FlightServiceClient::new(coordinator.clone()).do_put(reports).await.map(drop);
        let refused = refused.expect_err("it would not be understood");
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains(told), "{}", refused.message());
    }
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let row = client.query_one("select count(*) from nation", &[]).await.expect("the cluster goes on");
    assert_eq!(row.get::<_, i64>(0), 25);
}

/// An executor that takes every task, and runs none.
struct Idler;

#[tonic::async_trait]
impl ExecutorGrpc for Idler {
    async fn launch_multi_task(
        &self,
        _: Request<LaunchMultiTaskParams>,
    ) -> Result<Response<LaunchMultiTaskResult>, Status> {
        Ok(Response::new(LaunchMultiTaskResult { failed_jobs: vec![] }))
    }

    async fn launch_task(&self, _: Request<LaunchTaskParams>) -> Result<Response<LaunchTaskResult>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn stop_executor(
        &self,
        _: Request<StopExecutorParams>,
    ) -> Result<Response<StopExecutorResult>, Status> {
        Ok(Response::new(StopExecutorResult {}))
    }

    async fn cancel_tasks(
        &self,
        _: Request<CancelTasksParams>,
    ) -> Result<Response<CancelTasksResult>, Status> {
        Ok(Response::new(CancelTasksResult { cancelled: true }))
    }

    async fn remove_job_data(
        &self,
        _: Request<RemoveJobDataParams>,
    ) -> Result<Response<RemoveJobDataResult>, Status> {
        Ok(Response::new(RemoveJobDataResult {}))
    }
}

/// Joins `cluster` as an executor that runs nothing.
async fn join_idly(cluster: &TestCluster) {
    let secret = std::fs::read_to_string(cluster.secret_file()).expect("the server's own secret");
    let identity = ClusterIdentity::of(secret.trim()).expect("an identity");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = u32::from(listener.local_addr().expect("bound").port());
    let server = Server::builder()
        .tls_config(identity.server())
        .expect("TLS")
        .add_service(ExecutorGrpcServer::new(Idler))
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(server);
    let coordinator = channel(cluster, &cluster.cluster.to_string()).await;
    let report = format!(
        r#"{{"version": "{VERSION}", "executor_id": "idler", "address": "127.0.0.1:{port}", "process_id": 1,
        "threads": 2, "memory_cap_bytes": 1000000000, "resident_bytes": 1, "pool_reserved_bytes": 0,
        "pool_limit_bytes": 500000000, "spilled_bytes": 0, "allowance_ms": 0, "is_draining": false, "tasks_running": 0,
        "tasks_finished": 0, "is_supervised": false, "inherited": [], "shared_paths": ["/"], "tasks": [],
        "cached_bytes": 0, "cache_reserved_bytes": 0,
        "usage": {{"cpu_cores": 0.0, "disk_bytes_per_second": 0, "network_bytes_per_second": 0}}}}"#
    );
    let every = tokio_stream::wrappers::IntervalStream::new(tokio::time::interval(REPORT_INTERVAL));
    let reports = every.map(move |_| FlightData::new().with_app_metadata(report.as_bytes().to_vec()));
    let mut flight = FlightServiceClient::new(coordinator.clone());
    let answers = flight.do_put(reports).await.expect("it is taken in").into_inner();
    let vcores = ExecutorResource { resource: Some(Resource::Vcores(2)) };
    let registration = ExecutorRegistration {
        id: "idler".into(),
        host: Some("127.0.0.1".into()),
        port,
        grpc_port: port,
        specification: Some(ExecutorSpecification { resources: vec![vcores] }),
        os_info: Some(ExecutorOperatingSystemSpecification::default()),
        ballista_protocol_version: ballista_core::BALLISTA_PROTOCOL_VERSION,
    };
    let mut scheduler = SchedulerGrpcClient::new(coordinator);
    tokio::spawn(async move {
        let _answers = answers;
        loop {
            let status = ExecutorStatus { status: Some(executor_status::Status::Active(String::new())) };
            let beat = HeartBeatParams {
                executor_id: "idler".into(),
                metrics: vec![],
                status: Some(status),
                metadata: Some(registration.clone()),
            };
            if scheduler.heart_beat_from_executor(beat).await.is_err() {
                return;
            }
            tokio::time::sleep(REPORT_INTERVAL).await;
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_nobody_runs_is_found() {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "0.01").await.expect("data");
    let options = Options {
        locations: vec![data],
        executors: 0,
        environment: vec![("SLUICE_CLUSTER__EXECUTOR_LOSS_RETRIES".into(), "0".into())],
        ..Options::default()
    };
    let cluster = TestCluster::start(binary, &options).await.expect("a server");
    join_idly(&cluster).await;
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let until = async {
        let joined = "select count(*) from sys.executors";
        while client.query_one(joined, &[]).await.expect("an answer").get::<_, i64>(0) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), until).await.expect("it joins");
    let query = client.query_one("select count(*) from nation", &[]);
    let error = tokio::time::timeout(Duration::from_secs(40), query).await.expect("it does not hang");
    let error = error.expect_err("nobody ran it");
    let error = error.as_db_error().expect("an answer");
    assert_eq!(error.code().code(), "58000");
    assert!(error.message().contains("no executor did anything for it"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_with_another_secret_is_told_so() {
    let cluster = start(&[]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let executor = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["executor", "--coordinator", &cluster.cluster.to_string(), "--work-dir"])
        .arg(folder.path())
        .env("SLUICE_CLUSTER__SECRET", "0123456789abcdef0123456789abcdef")
        .stdin(Stdio::null())
        .output();
    let output =
        tokio::time::timeout(Duration::from_secs(20), executor).await.expect("it ends").expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("it has another cluster secret than this executor"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_nowhere_to_be_seen() {
    let canaries = [
        ("SLUICE_CLUSTER__SECRET", "canary-of-the-cluster-0123456789abcdef"),
        ("SLUICE_STORES__S3__ACCESS_KEY_ID", "canary-key-id"),
        ("SLUICE_STORES__S3__SECRET_ACCESS_KEY", "canary-access-key"),
        ("SLUICE_AUTH__INITIAL_PASSWORD", "canary-password"),
    ];
    let mut environment = canaries.to_vec();
    environment.push(("SLUICE_LOG", "debug"));
    environment.push(("SLUICE_STORES__RETRY_TIMEOUT", "1s"));
    environment.push(("SLUICE_STORES__S3__ENDPOINT", "http://127.0.0.1:9"));
    environment.push(("SLUICE_STORES__S3__ALLOW_HTTP", "true"));
    let cluster = start(&environment).await;
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for route in ["local", "cluster"] {
        let client = cluster.connect_with(&format!("-c sluice.route={route}")).await.expect("a session");
        let views = client
            .query("select table_name from information_schema.tables where table_schema = 'sys'", &[])
            .await
            .expect("the views of the system");
        let mut statements: Vec<String> =
            views.iter().map(|view| format!("select * from sys.{}", view.get::<_, &str>(0))).collect();
        for statement in [
            "explain verbose select count(*) from nation join region on n_regionkey = r_regionkey",
            "explain analyze select n_name, count(*) from nation group by n_name",
            "select n_name::int from nation",
            "create external table away (a int) stored as parquet location 's3://bucket/away/'",
            "copy nation to 's3://bucket/copy/'",
            "show all",
            "select * from pg_settings",
            "select * from pg_roles",
            "select current_setting('cluster.secret')",
        ] {
            statements.push(statement.to_owned());
        }
        for sql in statements {
            let answer = match client.simple_query(&sql).await {
                Ok(rows) => format!("{rows:?}"),
                Err(error) => format!("{error:?}"),
            };
            seen.insert(format!("{route}: {sql}"), answer);
        }
    }
    let processes = cluster.executor_processes().await.expect("processes");
    for process in processes.into_iter().chain([cluster.process_id()]) {
        let line = std::fs::read(format!("/proc/{process}/cmdline")).expect("it runs");
        seen.insert(format!("arguments of {process}"), String::from_utf8_lossy(&line).into_owned());
    }
    seen.insert("log".to_owned(), cluster.log());
    let mut folders = vec![cluster.data_dir()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let text =
                    String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap_or_default()).into_owned();
                seen.insert(entry.path().display().to_string(), text);
            }
        }
    }
    assert!(seen["log"].contains("job submitted"), "the log tells what happened");
    for (place, text) in &seen {
        for (_, canary) in canaries {
            assert!(!text.contains(canary), "{canary} is seen in {place}");
        }
    }
}
