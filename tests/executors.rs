//! Executors that join from elsewhere: which tables they may read, and how soon their loss is known.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use sql_tests::{Options, TestCluster, busy_executor, send_signal, tpch};
use tokio::process::{Child, Command};
use tokio_postgres::Client;

struct Joined {
    child: Child,
    folder: tempfile::TempDir,
}

fn join(cluster: &TestCluster, arguments: &[&str]) -> Joined {
    join_at(cluster.cluster, &cluster.secret_file(), arguments)
}

fn join_at(coordinator: SocketAddr, secret_file: &Path, arguments: &[&str]) -> Joined {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let child = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["executor", "--coordinator", &coordinator.to_string()])
        .arg("--secret-file")
        .arg(secret_file)
        .args(["--threads", "1", "--memory", "512MB", "--work-dir"])
        .arg(folder.path())
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the executor starts");
    Joined { child, folder }
}

async fn start() -> (TestCluster, PathBuf) {
    start_with(&[]).await
}

async fn start_with(settings: &[(&str, &str)]) -> (TestCluster, PathBuf) {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "0.01").await.expect("data");
    let options = Options {
        locations: vec![data.clone()],
        executors: 0,
        environment: [("SLUICE_CLUSTER__EXECUTOR_GRACE", "1s")]
            .iter()
            .chain(settings)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Options::default()
    };
    (TestCluster::start(binary, &options).await.expect("a server"), data)
}

async fn alive(client: &Client) -> i64 {
    client.query_one("select count(*) from sys.executors", &[]).await.expect("an answer").get(0)
}

async fn until_alive(client: &Client, wanted: i64) {
    let reached = async {
        while alive(client).await != wanted {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reached).await.expect("executors come and go");
}

#[tokio::test(flavor = "multi_thread")]
async fn local_tables_are_read_only_where_their_folder_is_shared() {
    let (cluster, data) = start().await;
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let stranger = join(&cluster, &[]);
    until_alive(&client, 1).await;
    let refused = client.query_one("select count(*) from nation", &[]).await.expect_err("nobody can read it");
    assert_eq!(refused.code().map(|code| code.code()), Some("58000"));

    // With one that can, the tasks go there and only there.
    let shared = data.parent().expect("the data has a folder").to_string_lossy().into_owned();
    let friend = join(&cluster, &["--shared-path", &shared]);
    until_alive(&client, 2).await;
    for _ in 0..5 {
        let row =
            client.query_one("select count(*) from nation join region on n_regionkey = r_regionkey", &[]);
        assert_eq!(row.await.expect("an answer").get::<_, i64>(0), 25);
    }
    assert!(tasks_finished_by_now(&client, &friend).await > 0, "the friend did the work");
    assert_eq!(tasks_finished_by_now(&client, &stranger).await, 0, "the stranger was given tasks");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_keeps_to_its_locations_whatever_it_is_asked() {
    let (cluster, data) = start().await;
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let data = data.to_string_lossy().into_owned();
    let nation = format!("{data}/nation.parquet");
    let _kept = join(&cluster, &["--shared-path", &data, "--location", &nation]);
    until_alive(&client, 1).await;
    let inside = client.query_one("select count(*) from nation", &[]).await.expect("it may read that");
    assert_eq!(inside.get::<_, i64>(0), 25);
    let refused =
        client.query_one("select sum(r_regionkey) from region", &[]).await.expect_err("and not this");
    assert_eq!(refused.code().map(|code| code.code()), Some("42501"), "{refused:?}");
}

/// What fits into the server stays there, until executors elsewhere have one and a half times its threads.
#[tokio::test(flavor = "multi_thread")]
async fn executors_with_more_threads_are_sent_what_would_fit() {
    let settings = [("SLUICE_SERVER__THREADS", "2"), ("SLUICE_CLUSTER__ROUTE_POOL_SHARE", "0.00001")];
    let (cluster, data) = start_with(&settings).await;
    let client = cluster.connect().await.expect("a session");
    let shared = data.parent().expect("the data has a folder").to_string_lossy().into_owned();
    let mut joined = Vec::new();
    for (executors, route) in [
        (0, "no executor that can read its tables is alive"),
        (2, "which fits into the "),
        (3, "and executors have 3 threads where this server has 2"),
    ] {
        joined.resize_with(executors, || join(&cluster, &["--shared-path", &shared]));
        until_alive(&client, executors as i64).await;
        client.query("select max(l_comment) from lineitem", &[]).await.expect("an answer");
        let last = client.query_one("show sluice.last_route", &[]).await.expect("a route");
        assert!(last.get::<_, &str>(0).contains(route), "{executors}: {}", last.get::<_, &str>(0));
    }
}

/// What the executor says in a report that it made after this was called.
async fn tasks_finished_by_now(client: &Client, executor: &Joined) -> i64 {
    let process = executor.child.id().expect("it runs") as i32;
    let asked = Instant::now();
    let reported = async {
        loop {
            let row = client
                .query_one(
                    "select heard_ms_ago, tasks_finished from sys.executors where process_id = $1",
                    &[&process],
                )
                .await
                .expect("it is alive");
            if row.get::<_, f64>(0) < asked.elapsed().as_secs_f64() * 1000.0 - REPORT_INTERVAL_MS {
                return row.get::<_, i64>(1);
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reported).await.expect("it goes on reporting")
}

/// A report is on its way for far less than the time between two.
const REPORT_INTERVAL_MS: f64 = 500.0;

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_is_known_within_two_seconds_and_a_hang_within_four() {
    let (cluster, _) = start().await;
    let client = cluster.connect().await.expect("a session");
    let mut killed = join(&cluster, &[]);
    until_alive(&client, 1).await;
    let started = Instant::now();
    killed.child.kill().await.expect("killed");
    until_alive(&client, 0).await;
    println!("killed: known after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());

    // One that hangs without its connection breaking: two seconds of silence, and the look at it.
    let stopped = join(&cluster, &[]);
    until_alive(&client, 1).await;
    let process = stopped.child.id().expect("it runs");
    let started = Instant::now();
    send_signal("STOP", process).await.expect("stopped");
    until_alive(&client, 0).await;
    println!("stopped: known after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    // It comes back when it goes on.
    send_signal("CONT", process).await.expect("continued");
    until_alive(&client, 1).await;
}

/// A query that keeps two executors of one thread busy for seconds: a report tells it.
const LONG: &str = "select count(*), sum(length(replace(a.l_comment || b.l_comment, 'e', 'x')))::bigint \
    from lineitem a join lineitem b on a.l_suppkey = b.l_suppkey";

async fn counts(client: &Client, sql: &str) -> (i64, i64) {
    let row = client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_is_told_to_end_finishes_what_it_has_begun() {
    let (cluster, data) = start().await;
    let data = data.to_string_lossy().into_owned();
    let mut joined =
        vec![join(&cluster, &["--shared-path", &data]), join(&cluster, &["--shared-path", &data])];
    let watcher = cluster.connect().await.expect("a session");
    until_alive(&watcher, 2).await;
    let local = cluster.connect_with("-c sluice.route=local").await.expect("a session");
    let expected = counts(&local, LONG).await;
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let running = tokio::spawn(async move { (counts(&client, LONG).await, client) });
    let process = busy_executor(&watcher).await.expect("one is given tasks");
    let is_leaving = |joined: &Joined| joined.child.id() == Some(process);
    let mut leaving = joined.remove(joined.iter().position(is_leaving).expect("it is one of ours"));
    let staying = joined.remove(0);
    send_signal("TERM", process).await.expect("told to end");
    let (answer, client) = running.await.expect("no panic");
    assert_eq!(answer, expected);
    let ended = tokio::time::timeout(Duration::from_secs(20), leaving.child.wait()).await;
    assert!(ended.expect("it ends").expect("it ran").success());
    until_alive(&watcher, 1).await;
    // While it ends, and afterwards, others go on as if nothing was.
    assert_eq!(counts(&client, LONG).await, expected);
    let again = "select coalesce(sum(retries), 0)::bigint from sys.queries where route like 'cluster%'";
    assert_eq!(
        watcher.query_one(again, &[]).await.expect("the log").get::<_, i64>(0),
        0,
        "{}",
        cluster.log()
    );
    assert!(tasks_finished_by_now(&watcher, &staying).await > 0);
    assert!(!cluster.log().contains("executor lost"), "{}", cluster.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn executors_join_the_server_that_comes_after_one_that_was_killed() {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "0.01").await.expect("data");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut options = Options {
        locations: vec![data.clone()],
        executors: 0,
        data_dir: Some(folder.path().to_owned()),
        ..Options::default()
    };
    let first = TestCluster::start(binary, &options).await.expect("a server");
    let secret_file = folder.path().join("cluster.secret");
    let data = data.to_string_lossy().into_owned();
    let own = folder.path().to_string_lossy().into_owned();
    let executor = join_at(first.cluster, &secret_file, &["--shared-path", &data, "--shared-path", &own]);
    let process = executor.child.id().expect("it runs");
    let client = first.connect_with("-c sluice.route=cluster").await.expect("a session");
    until_alive(&client, 1).await;
    client.batch_execute("create table kept as select * from nation").await.expect("a table");
    let running = tokio::spawn(async move { client.query_one(LONG, &[]).await.map(drop) });
    let watcher = first.connect().await.expect("a session");
    busy_executor(&watcher).await.expect("it is busy");
    options.cluster_listen = Some(first.cluster);
    first.end("KILL").await.expect("it ends");
    running.await.expect("no panic").expect_err("its server is gone");

    let second = TestCluster::start(binary, &options).await.expect("it starts again");
    let client = second.connect_with("-c sluice.route=cluster").await.expect("a session");
    until_alive(&client, 1).await;
    assert_eq!(second.executor_processes().await.expect("processes"), [process], "it is the same one");
    let row = client.query_one("select count(*) from kept", &[]).await.expect("the table is there");
    assert_eq!(row.get::<_, i64>(0), 25);
    // Nothing is left of what was begun for the first.
    let idle = async {
        let running = "select count(*) from sys.executors where tasks_running > 0";
        while client.query_one(running, &[]).await.expect("an answer").get::<_, i64>(0) > 0
            || jobs_with_files(&executor) > 0
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), idle).await.expect("no task and no file is left");
}

/// Jobs that have shuffle files in the executor's work folder.
fn jobs_with_files(executor: &Joined) -> usize {
    let works = std::fs::read_dir(executor.folder.path()).expect("its folder").flatten();
    works.map(|work| std::fs::read_dir(work.path().join("shuffle")).map_or(0, Iterator::count)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_frozen_answers_rightly() {
    let (cluster, data) = start().await;
    let data = data.to_string_lossy().into_owned();
    let _executor = join(&cluster, &["--shared-path", &data]);
    let watcher = cluster.connect().await.expect("a session");
    until_alive(&watcher, 1).await;
    let local = cluster.connect_with("-c sluice.route=local").await.expect("a session");
    let expected = counts(&local, LONG).await;
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let running = tokio::spawn(async move { counts(&client, LONG).await });
    busy_executor(&watcher).await.expect("it is busy");
    // Long enough for the executor to give the connection up, and for tasks to end meanwhile.
    send_signal("STOP", cluster.process_id()).await.expect("stopped");
    tokio::time::sleep(Duration::from_secs(5)).await;
    send_signal("CONT", cluster.process_id()).await.expect("continued");
    let answer = tokio::time::timeout(Duration::from_secs(60), running).await.expect("it does not hang");
    assert_eq!(answer.expect("no panic"), expected);
}
