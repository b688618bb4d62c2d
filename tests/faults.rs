//! What is lost must cost seconds, never the answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sql_tests::{Options, TestCluster, busy_executor, tpch};
use tokio_postgres::{Client, SimpleQueryMessage};

async fn rows(client: &Client, sql: &str) -> Result<Vec<Vec<String>>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    Ok(messages
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).unwrap_or("NULL").to_owned()).collect())
            }
            _ => None,
        })
        .collect())
}

async fn start(executors: usize) -> TestCluster {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "1").await.expect("data");
    let options = Options {
        locations: vec![data],
        executors,
        // Otherwise a survivor reads a dead neighbour's files by their path and hides the loss.
        environment: vec![("SLUICE_TEST_FORCE_REMOTE_READ".into(), "1".into())],
        ..Options::default()
    };
    TestCluster::start(binary, &options).await.expect("a cluster")
}

/// The work folder of a supervised executor lies below the one whose number it was started with.
fn remove_work_folder(cluster: &TestCluster, process: u32) {
    let executors = cluster.data_dir().join("executors");
    for index in std::fs::read_dir(executors).expect("executors have folders") {
        let index: PathBuf = index.expect("an entry").path();
        for work in std::fs::read_dir(index).expect("a folder").flatten() {
            let mark = work.path().join(".sluice-work-folder");
            let owner = std::fs::read_to_string(mark).unwrap_or_default();
            if owner.trim() == process.to_string() {
                let _ = std::fs::remove_dir_all(work.path());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_survives_the_kill_of_an_executor() {
    let cluster = start(3).await;
    let query = tpch::query(18).expect("a query");
    let local = cluster.connect_with("-c sluice.route=local").await.expect("a session");
    let expected = rows(&local, &query).await.expect("the local answer");
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let watcher = cluster.connect().await.expect("a session");

    let running = tokio::spawn(async move { (rows(&client, &query).await, client) });
    let victim = busy_executor(&watcher).await.expect("a busy executor");
    sql_tests::send_signal("KILL", victim).await.expect("killed");
    remove_work_folder(&cluster, victim);

    let limit = Duration::from_secs(60);
    let (actual, client) =
        tokio::time::timeout(limit, running).await.expect("it does not hang").expect("it does not panic");
    assert_eq!(actual.expect("the answer still comes"), expected);
    let retries = "select retries from sys.queries where route like 'cluster%' and state = 'finished' order by started_at desc limit 1";
    let retries = rows(&watcher, retries).await.expect("the log");
    assert_eq!(retries[0][0], "1", "the query was run again once\n{}", cluster.log());
    // The supervisor brings the third one back, and it works.
    loop {
        let alive = rows(&watcher, "select count(*) from sys.executors").await.expect("the server answers");
        if alive[0][0] == "3" {
            break;
        }
        tokio::task::yield_now().await;
    }
    let again = rows(&client, "select count(*) from lineitem").await.expect("the next query works");
    assert_eq!(again[0][0], "6001215");
}

#[tokio::test(flavor = "multi_thread")]
async fn executors_end_with_a_server_that_is_killed() {
    let cluster = start(2).await;
    let executors = cluster.executor_processes().await.expect("processes");
    assert_eq!(executors.len(), 2);
    cluster.end("KILL").await.expect("the server ends");
    let ended = async {
        for process in executors {
            while is_running(process) {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("executors end by themselves");
}

fn is_running(process: u32) -> bool {
    // A zombie has ended; its parent, which would collect it, was killed.
    std::fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_stops_the_work_on_executors() {
    let cluster = start(2).await;
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let cancel = client.cancel_token();
    let watcher = cluster.connect().await.expect("a session");
    // A join that would run for minutes.
    let query = "select count(*) from lineitem a join lineitem b on a.l_suppkey = b.l_suppkey where a.l_comment < b.l_comment";
    let running = tokio::spawn(async move { rows(&client, query).await });
    busy_executor(&watcher).await.expect("a busy executor");
    cancel.cancel_query(tokio_postgres::NoTls).await.expect("the request is sent");
    let limit = Duration::from_secs(5);
    let outcome = tokio::time::timeout(limit, running).await.expect("it ends at once").expect("no panic");
    let error = outcome.expect_err("it was cancelled");
    assert_eq!(error.code().map(|code| code.code()), Some("57014"));
    let idle = async {
        loop {
            let busy = rows(&watcher, "select coalesce(sum(tasks_running), 0) from sys.executors").await;
            if busy.expect("the server answers")[0][0] == "0" {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), idle).await.expect("no task is left behind");
}

/// What never waits while it compares, and what gives rows without end to an operator that gives none.
const NEVER_WAITING: [&str; 2] = [
    "select count(*) from lineitem a join orders b on a.l_comment < b.o_comment and a.l_orderkey + b.o_orderkey < 0",
    "select sum(a.l_orderkey % 3 + b.l_orderkey % 5) from lineitem a cross join lineitem b",
];

/// Hundredths of a second that `processes` have computed.
fn processor_ticks(processes: &[u32]) -> u64 {
    let ticks = |process: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
        // User and system time, the 14th and 15th field of proc(5), of which two come before the last bracket.
        fields.get(11..13).map_or(0, |times| times.iter().filter_map(|time| time.parse::<u64>().ok()).sum())
    };
    processes.iter().map(ticks).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_stops_joins_that_never_wait() {
    let cluster = start(1).await;
    let watcher = cluster.connect().await.expect("a session");
    let mut processes = cluster.executor_processes().await.expect("processes");
    processes.push(cluster.process_id());
    for (route, query) in
        ["local", "cluster"].iter().flat_map(|route| NEVER_WAITING.map(|query| (route, query)))
    {
        let client = cluster.connect_with(&format!("-c sluice.route={route}")).await.expect("a session");
        let cancel = client.cancel_token();
        let running = tokio::spawn(async move { rows(&client, query).await });
        // Not asked of the server: its threads may all be busy with it.
        let before = processor_ticks(&processes);
        while processor_ticks(&processes) < before + 100 {
            tokio::task::yield_now().await;
        }
        cancel.cancel_query(tokio_postgres::NoTls).await.expect("the request is sent");
        let error = running.await.expect("no panic").expect_err("it was cancelled");
        assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{route}: {query}");
        // Neither the server's threads nor the executor's are busy with it any more.
        let idle = async {
            let client = cluster.connect_with(&format!("-c sluice.route={route}")).await.expect("a session");
            rows(&client, "select count(*) from orders").await.expect("the next query runs");
            let busy = "select coalesce(sum(tasks_running), 0) from sys.executors";
            while rows(&watcher, busy).await.expect("the server answers")[0][0] != "0" {
                tokio::task::yield_now().await;
            }
        };
        let limit = Duration::from_secs(10);
        tokio::time::timeout(limit, idle).await.unwrap_or_else(|_| panic!("{route}: {query} goes on"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_executors_a_forced_query_fails_after_the_grace() {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "0.01").await.expect("data");
    let options = Options {
        locations: vec![data],
        executors: 0,
        environment: vec![("SLUICE_CLUSTER__EXECUTOR_GRACE".into(), "500ms".into())],
        ..Options::default()
    };
    let cluster = TestCluster::start(binary, &options).await.expect("a server");
    let client = cluster.connect().await.expect("a session");
    let counted = rows(&client, "select count(*) from region").await.expect("auto runs locally");
    assert_eq!(counted[0][0], "5");
    rows(&client, "set sluice.route = cluster").await.expect("set");
    let error = rows(&client, "select count(*) from region").await.expect_err("nobody can run it");
    assert_eq!(error.code().map(|code| code.code()), Some("58000"));
}
