//! Executors that join from elsewhere: which tables they may read, and how soon their loss is known.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use sql_tests::{Options, TestCluster, send_signal, tpch};
use tokio::process::{Child, Command};
use tokio_postgres::Client;

struct Joined {
    child: Child,
    _folder: tempfile::TempDir,
}

fn join(cluster: &TestCluster, arguments: &[&str]) -> Joined {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let child = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["executor", "--coordinator", &cluster.cluster.to_string()])
        .args(["--threads", "1", "--memory", "512MB", "--work-dir"])
        .arg(folder.path())
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the executor starts");
    Joined { child, _folder: folder }
}

async fn start() -> (TestCluster, PathBuf) {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "0.01").await.expect("data");
    let options = Options {
        locations: vec![data.clone()],
        executors: 0,
        environment: vec![("SLUICE_CLUSTER__EXECUTOR_GRACE".into(), "1s".into())],
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
