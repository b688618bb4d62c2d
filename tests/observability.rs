//! What the server tells of itself: the views of `sys`, the dashboard's answers, Prometheus' figures, notices. They tell the
//! same of the same query.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use sql_tests::http::{Answer, request};
use sql_tests::{Options, TestCluster, rows, tpch};
use tokio_postgres::{AsyncMessage, Client};

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sluice"))
}

async fn data(scale: &str) -> PathBuf {
    tpch::data(binary(), Path::new(env!("CARGO_TARGET_TMPDIR")), scale).await.expect("data")
}

async fn start(scale: &str) -> TestCluster {
    let options = Options { locations: vec![data(scale).await], ..Options::default() };
    TestCluster::start(binary(), &options).await.expect("a cluster")
}

/// A session, and what it is told besides its answers: messages and hints.
async fn listening(cluster: &TestCluster, options: &str) -> (Client, Arc<Mutex<Vec<String>>>) {
    let (client, mut connection) =
        cluster.config().options(options).connect(tokio_postgres::NoTls).await.expect("a session");
    let told = Arc::new(Mutex::new(Vec::new()));
    let notices = Arc::clone(&told);
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notice(notice) = message {
                let hint = notice.hint().unwrap_or_default();
                notices.lock().expect("no panic").push(format!("{} {hint}", notice.message()));
            }
        }
    });
    (client, told)
}

async fn get(cluster: &TestCluster, path: &str) -> serde_json::Value {
    let answer = request(cluster.dashboard, "GET", path, &[]).await.expect("an answer");
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json().expect("JSON")
}

/// The identifier of the query whose text holds `mark`.
async fn id_of(client: &Client, mark: &str) -> String {
    let sql = format!("select query_id from sys.queries where sql like '%{mark}%' and sql not like '%sys.%'");
    rows(client, &sql).await[0][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tell_the_same_of_a_query() {
    let cluster = start("0.1").await;
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let query = format!("{} -- marked", tpch::query(3).expect("a query").trim().trim_end_matches(';'));
    let answer = rows(&client, &query).await;
    let id = id_of(&client, "-- marked").await;
    let told = get(&cluster, &format!("/api/queries/{id}")).await;
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or(-1.0) as i64;
    assert_eq!(number(&told["rows"]), answer.len() as i64, "{told:#}");
    assert_eq!(
        (told["route"].as_str(), told["state"].as_str()),
        (Some("cluster"), Some("finished")),
        "{told:#}"
    );

    // Stages.
    let stages = client
        .query(
            "select stage_id, rows, bytes, tasks_finished, state, operators from sys.stages \
             join (select stage_id s, count(*) operators from sys.operators where query_id = $1 group by 1) o on s = stage_id \
             where query_id = $1 order by stage_id",
            &[&id],
        )
        .await
        .expect("stages");
    let told_stages = told["stages"].as_array().expect("stages");
    assert_eq!(stages.len(), told_stages.len());
    assert!(stages.len() > 3, "{told:#}");
    for (row, told) in stages.iter().zip(told_stages) {
        let shown: (i32, i64, i64, i32, &str, i64) =
            (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5));
        assert_eq!(shown.4, "finished");
        assert_eq!(i64::from(shown.0), number(&told["stage_id"]));
        assert_eq!((shown.1, shown.2), (number(&told["rows"]), number(&told["bytes"])));
        assert_eq!(i64::from(shown.3), number(&told["tasks_finished"]));
        assert_eq!(shown.5, told["operators"].as_array().expect("operators").len() as i64);
    }

    // Tasks add up to stages, stages to what moves.
    let sums = "select t.stage_id from \
        (select stage_id, sum(rows) r, sum(bytes) b, count(*) n from sys.tasks where query_id = $1 and state = 'finished' group by 1) t \
        join sys.stages s on s.query_id = $1 and s.stage_id = t.stage_id \
        join sys.exchanges e on e.query_id = $1 and e.from_stage = t.stage_id \
        where s.rows = t.r and s.bytes = t.b and s.tasks_finished = t.n and e.rows = t.r and e.bytes = t.b";
    let agreeing = client.query(sums, &[&id]).await.expect("sums");
    assert_eq!(agreeing.len(), stages.len(), "stages whose tasks and exchanges agree");
    let tasks: i64 = client
        .query_one("select count(*) from sys.tasks where query_id = $1", &[&id])
        .await
        .expect("tasks")
        .get(0);
    assert_eq!(told["tasks"].as_array().expect("tasks").len() as i64, tasks);
    // Tasks that read what others gave tell how long they read, or waited for it.
    let readers = "select count(*), count(*) filter (where transfer_ms > 0) from sys.tasks where query_id = $1 \
        and state = 'finished' and stage_id in (select to_stage from sys.exchanges where query_id = $1)";
    let readers = client.query_one(readers, &[&id]).await.expect("tasks");
    let (all, told_of): (i64, i64) = (readers.get(0), readers.get(1));
    assert!(all > 1 && told_of == all, "{told_of} of {all}");
    let scanned: i64 = client
        .query_one(
            "select rows from sys.operators where query_id = $1 and name = 'Parquet Scan on public.lineitem'",
            &[&id],
        )
        .await
        .expect("the scan")
        .get(0);
    let lineitem = rows(&client, "select count(*) from lineitem").await;
    assert_eq!(scanned.to_string(), lineitem[0][0]);

    // The stream of tasks, and what was expected.
    let stream = get(&cluster, "/api/tasks?since_ms=0").await;
    let at = stream["queries"].as_array().expect("queries").iter().position(|known| *known == id.as_str());
    let of_query =
        stream["query"].as_array().expect("a column").iter().filter(|q| q.as_u64() == at.map(|a| a as u64));
    assert_eq!(of_query.count() as i64, tasks);
    let estimates = rows(
        &client,
        &format!("select count(*), count(actual) from sys.estimates where query_id = '{id}' and what = 'exchange rows'"),
    )
    .await;
    assert_eq!(estimates[0][0], estimates[0][1]);
    assert_eq!(estimates[0][0], stages.len().to_string());

    // The report needs nothing else.
    let report =
        request(cluster.dashboard, "GET", &format!("/api/queries/{id}/report"), &[]).await.expect("a report");
    assert!(report.body.contains(&id) && !report.body.contains("src=\""), "{}", report.body);
    assert!(report.header("content-disposition").is_some_and(|value| value.starts_with("attachment")));

    // Prometheus counts it.
    let metrics = request(cluster.dashboard, "GET", "/metrics", &[]).await.expect("figures").body;
    let figure = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok())
            .unwrap_or_else(|| panic!("{name}: {metrics}"))
    };
    assert!(figure("sluice_tasks_total{state=\"finished\"}") >= tasks as f64);
    assert!(figure("sluice_queries_total{state=\"finished\"}") >= 1.0);
    assert_eq!(figure("sluice_executors_alive"), 2.0);
    assert!(figure("sluice_query_duration_seconds_count{route=\"cluster\"}") >= 1.0);
    assert!(figure("sluice_exchanged_bytes_total") > 0.0);
    assert!(figure("process_resident_memory_bytes") > 1e6);
    let mut linter = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("promtool is installed");
    linter.stdin.take().expect("its input").write_all(metrics.as_bytes()).expect("it reads");
    let found = linter.wait_with_output().expect("it ends");
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_in_the_server_has_stages_too() {
    let cluster = start("0.1").await;
    let client = cluster.connect_with("-c sluice.route=local").await.expect("a session");
    let sql = "select o_orderpriority, count(*) from orders group by 1 order by 1 /* here */";
    rows(&client, sql).await;
    let id = id_of(&client, "/* here */").await;
    let stages = rows(
        &client,
        &format!("select state, rows from sys.stages where query_id = '{id}' order by stage_id"),
    )
    .await;
    assert!(stages.len() >= 2 && stages.iter().all(|stage| stage[0] == "finished"), "{stages:?}");
    assert_eq!(stages.last().expect("a stage")[1], "5");
    let kinds = rows(
        &client,
        &format!("select distinct kind from sys.exchanges where query_id = '{id}' and kind = 'hash'"),
    )
    .await;
    assert_eq!(kinds, [["hash"]]);
    assert_eq!(
        rows(&client, &format!("select count(*) from sys.tasks where query_id = '{id}'")).await,
        [["0"]]
    );
    // Every view can be read, and joined with users' tables.
    let views =
        rows(&client, "select table_name from information_schema.tables where table_schema = 'sys'").await;
    assert!(views.len() >= 17, "{views:?}");
    for view in &views {
        rows(&client, &format!("select * from sys.{}", view[0])).await;
    }
    let joined = "select count(*) > 0 from sys.tables t join region r on true where t.table_name = 'region'";
    assert_eq!(rows(&client, joined).await, [["t"]]);
    let memory = rows(
        &client,
        "select count(*), bool_and(resident_bytes > 0 and cap_bytes >= resident_bytes) from sys.memory",
    )
    .await;
    assert_eq!(memory, [["3", "t"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_remembered_across_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        locations: vec![data("0.01").await],
        data_dir: Some(folder.path().join("data")),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    rows(&client, "select count(*) from orders join customer on o_custkey = c_custkey /* kept */").await;
    client
        .simple_query("select 1 / (o_orderkey - o_orderkey) from orders /* kept */")
        .await
        .expect_err("a division");
    let sql = "select sql, state, route, rows, sqlstate from sys.queries where sql like '%kept%' and sql not like '%sys.%'";
    let stages = "select count(*), sum(s.rows) from sys.stages s join sys.queries q using (query_id) where q.sql like '%join customer%' and q.sql not like '%sys.%'";
    let before = (rows(&client, sql).await, rows(&client, stages).await);
    assert_eq!(before.0.len(), 2);
    drop(client);
    cluster.end("TERM").await.expect("the server ends");
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client = cluster.connect().await.expect("a session");
    assert_eq!((rows(&client, sql).await, rows(&client, stages).await), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_how_far_their_queries_are() {
    let cluster = start("0.1").await;
    for route in ["local", "cluster"] {
        let options = format!(
            "-c sluice.route={route} -c sluice.progress=100ms -c statement_timeout=3s -c sluice.lint=off"
        );
        let (client, told) = listening(&cluster, &options).await;
        let endless = "select count(*) from lineitem a join lineitem b on a.l_orderkey <> b.l_orderkey";
        let error = client.simple_query(endless).await.expect_err("it takes too long");
        assert_eq!(error.code().map(|code| code.code()), Some("57014"));
        let told = told.lock().expect("no panic").clone();
        assert!(
            told.len() > 3 && told.iter().all(|text| text.starts_with("progress: ")),
            "{route}: {told:?}"
        );
        let expected = if route == "local" { " rows read" } else { " tasks finished" };
        assert!(told.iter().any(|text| text.contains(expected)), "{route}: {told:?}");
    }
}

async fn refused(answer: anyhow::Result<Answer>, status: u16) {
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, status, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_is_for_whom_it_is_meant() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        executors: 0,
        data_dir: Some(folder.path().join("data")),
        environment: vec![
            ("SLUICE_SERVER__DASHBOARD_TOKEN".into(), "open sesame".into()),
            ("SLUICE_AUTH__INITIAL_PASSWORD".into(), "her secret".into()),
        ],
        dashboard: SocketAddr::from(([0, 0, 0, 0], 0)),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let at = SocketAddr::from(([127, 0, 0, 1], cluster.dashboard.port()));
    for open in ["/healthz", "/readyz", "/metrics"] {
        refused(request(at, "GET", open, &[]).await, 200).await;
    }
    refused(request(at, "GET", "/", &[]).await, 401).await;
    refused(request(at, "GET", "/api/queries", &[("Authorization", "Bearer wrong")]).await, 401).await;
    refused(request(at, "GET", "/api/queries", &[("Authorization", "Bearer open sesame")]).await, 200).await;
    // postgres:her secret, and with a wrong password.
    let (right, wrong) = ("Basic cG9zdGdyZXM6aGVyIHNlY3JldA==", "Basic cG9zdGdyZXM6aGlzIHNlY3JldA==");
    refused(request(at, "GET", "/api/queries", &[("Authorization", right)]).await, 200).await;
    refused(request(at, "GET", "/api/queries", &[("Authorization", wrong)]).await, 401).await;
    drop(cluster);

    let cluster = TestCluster::start(binary(), &Options { executors: 0, ..Options::default() })
        .await
        .expect("a server");
    let page = request(cluster.dashboard, "GET", "/", &[]).await.expect("the page");
    assert_eq!(page.header("content-security-policy"), Some("default-src 'self'; frame-ancestors 'none'"));
    refused(request(cluster.dashboard, "GET", "/", &[("Host", "evil.example")]).await, 403).await;
    let foreign = [("Origin", "http://evil.example")];
    refused(request(cluster.dashboard, "POST", "/api/queries/x/cancel", &foreign).await, 403).await;
    refused(request(cluster.dashboard, "POST", "/api/queries/x/cancel", &[]).await, 404).await;
    refused(request(cluster.dashboard, "GET", "/..%2f..%2fetc%2fpasswd", &[]).await, 404).await;
    refused(request(cluster.dashboard, "GET", "/api/queries/nobody", &[]).await, 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_cancelled_and_an_executor_drained_from_the_dashboard() {
    let cluster = start("0.1").await;
    let watcher = cluster.connect().await.expect("a session");
    for route in ["local", "cluster"] {
        let client = cluster.connect_with(&format!("-c sluice.route={route}")).await.expect("a session");
        let endless = format!(
            "select count(*) from lineitem a join lineitem b on a.l_orderkey <> b.l_orderkey -- {route}"
        );
        let running = tokio::spawn(async move { client.simple_query(&endless).await.map(drop) });
        let sql = format!(
            "select query_id from sys.queries where state = 'running' and route like '{route}%' and sql like '%-- {route}' and sql not like '%sys.%'"
        );
        let id = loop {
            if let Some(row) = rows(&watcher, &sql).await.first() {
                break row[0].clone();
            }
            tokio::task::yield_now().await;
        };
        let answer = request(cluster.dashboard, "POST", &format!("/api/queries/{id}/cancel"), &[]).await;
        refused(answer, 204).await;
        let error = running.await.expect("no panic").expect_err("it was cancelled");
        assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{route}: {error:?}");
    }
    let before = rows(&watcher, "select executor_id from sys.executors order by 1").await;
    let drained = before[0][0].clone();
    let answer = request(cluster.dashboard, "POST", &format!("/api/executors/{drained}/drain"), &[]).await;
    refused(answer, 204).await;
    // It ends, and another comes in its place.
    loop {
        let now = rows(&watcher, "select executor_id from sys.executors order by 1").await;
        if now.len() == 2 && !now.iter().any(|row| row[0] == drained) {
            break;
        }
        tokio::task::yield_now().await;
    }
}

/// Takes traces as a collector does.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let spans = resources.flat_map(|of| of.scope_spans).flat_map(|of| of.spans);
        self.spans.lock().expect("no panic").extend(spans);
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_one_trace() {
    let collector = Collector::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
    let service = TraceServiceServer::new(collector.clone());
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    let options = Options {
        locations: vec![data("0.01").await],
        environment: vec![("SLUICE_TELEMETRY__OTLP_ENDPOINT".into(), endpoint)],
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client =
        cluster.connect_with("-c sluice.route=cluster -c application_name=tracer").await.expect("a session");
    rows(&client, "select o_orderpriority, count(*) from orders group by 1 order by 1 /* traced */").await;
    let id = id_of(&client, "/* traced */").await;
    let tasks =
        rows(&client, &format!("select count(*) from sys.tasks where query_id = '{id}'")).await[0][0].clone();
    // They are sent at the end of the server at the latest.
    cluster.end("TERM").await.expect("the server ends");
    let spans = collector.spans.lock().expect("no panic").clone();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let trace: Vec<&Span> = spans.iter().filter(|span| hex(&span.trace_id) == id).collect();
    let of_kind = |kind: &str| {
        trace.iter().filter(|span| span.name.split(' ').next() == Some(kind)).collect::<Vec<_>>()
    };
    assert_eq!(of_kind("task").len().to_string(), tasks, "{spans:#?}");
    let parent =
        |span: &Span| trace.iter().find(|of| of.span_id == span.parent_span_id).map(|of| of.name.clone());
    for task in of_kind("task") {
        let stage =
            format!("stage {}", task.name.trim_start_matches("task ").split('.').next().expect("a stage"));
        assert_eq!(parent(task), Some(stage));
        assert!(task.attributes.iter().any(|of| of.key == "executor.id"), "{task:#?}");
        assert!(task.end_time_unix_nano >= task.start_time_unix_nano);
    }
    for (kind, above) in [("stage", "job"), ("job", "query"), ("query", "connection")] {
        assert!(!of_kind(kind).is_empty());
        assert!(of_kind(kind).iter().all(|span| parent(span).as_deref() == Some(above)), "{trace:#?}");
    }
    let connection = of_kind("connection")[0];
    assert!(connection.parent_span_id.is_empty());
    assert!(format!("{:?}", connection.attributes).contains("tracer"), "{connection:#?}");
}
