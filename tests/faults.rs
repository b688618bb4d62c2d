//! What is lost must cost seconds, never the answer.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt;
use sql_tests::{Options, TestCluster, busy_executor, tpch};
use tokio_postgres::{AsyncMessage, Client, SimpleQueryMessage};

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
    start_with(executors, &[]).await
}

async fn start_with(executors: usize, settings: &[(&str, &str)]) -> TestCluster {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "1").await.expect("data");
    let options = Options {
        locations: vec![data],
        executors,
        // Otherwise a survivor reads a dead neighbour's files by their path and hides the loss.
        environment: [("SLUICE_TEST_FORCE_REMOTE_READ", "1")]
            .iter()
            .chain(settings)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
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

/// A session on executors, and what it is told besides its answers.
async fn connect_listening(cluster: &TestCluster) -> (Client, Arc<Mutex<Vec<String>>>) {
    let (client, mut connection) = cluster
        .config()
        .options("-c sluice.route=cluster -c sluice.lint=off")
        .connect(tokio_postgres::NoTls)
        .await
        .expect("a session");
    let told = Arc::new(Mutex::new(Vec::new()));
    let notices = Arc::clone(&told);
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notice(notice) = message {
                notices.lock().expect("no panic").push(notice.message().to_owned());
            }
        }
    });
    (client, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_result_survives_its_executors() {
    let cluster = start(2).await;
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let none: [&str; 0] = [];
    let sql = "select l_orderkey, l_linenumber, l_comment from lineitem order by l_orderkey, l_linenumber";
    let result = client.query_raw(sql, none).await.expect("the query runs");
    let mut result = std::pin::pin!(result);
    let first = result.try_next().await.expect("a row").expect("the first");
    let mut last: (i64, i32) = (first.get(0), first.get(1));
    // Nothing of it is on executors any more, and then nothing of them is left.
    let executors = cluster.data_dir().join("executors");
    let gone = async {
        while shuffle_files(&executors) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .expect("a result that is here has no files there");
    for process in cluster.executor_processes().await.expect("processes") {
        sql_tests::send_signal("KILL", process).await.expect("killed");
        remove_work_folder(&cluster, process);
    }
    let mut count = 1u64;
    while let Some(row) = result.try_next().await.expect("no row is lost") {
        let next: (i64, i32) = (row.get(0), row.get(1));
        assert!(last < next, "{next:?} comes after {last:?}");
        last = next;
        count += 1;
    }
    assert_eq!(count, 6_001_215);
}

/// Files below the `shuffle` folders of executors.
fn shuffle_files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.path().is_dir() {
            true => shuffle_files(&entry.path()),
            false => usize::from(entry.path().components().any(|part| part.as_os_str() == "shuffle")),
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_survives_the_kill_of_an_executor() {
    let cluster = start(3).await;
    let query = tpch::query(18).expect("a query");
    let local = cluster.connect_with("-c sluice.route=local").await.expect("a session");
    let expected = rows(&local, &query).await.expect("the local answer");
    let (client, notices) = connect_listening(&cluster).await;
    let watcher = cluster.connect().await.expect("a session");

    let running = tokio::spawn(async move { (rows(&client, &query).await, client) });
    let victim = busy_executor(&watcher).await.expect("a busy executor");
    let name = format!("select executor_id from sys.executors where process_id = {victim}");
    let name = rows(&watcher, &name).await.expect("the server answers")[0][0].clone();
    sql_tests::send_signal("KILL", victim).await.expect("killed");
    remove_work_folder(&cluster, victim);

    let limit = Duration::from_secs(60);
    let (actual, client) =
        tokio::time::timeout(limit, running).await.expect("it does not hang").expect("it does not panic");
    assert_eq!(actual.expect("the answer still comes"), expected);
    let retries = "select retries from sys.queries where route like 'cluster%' and state = 'finished' order by started_at desc limit 1";
    let retries = rows(&watcher, retries).await.expect("the log");
    assert_eq!(retries[0][0], "1", "the query was run again once\n{}", cluster.log());
    let told = notices.lock().expect("no panic").join("\n");
    assert!(told.starts_with(&format!("executor {name} was lost: the query was run again, ")), "{told}");
    assert!(told.contains(" tasks anew, which added ") && told.lines().count() == 1, "{told}");
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
async fn who_is_told_that_executors_were_lost_is_told_where() {
    let cluster = start_with(2, &[("SLUICE_CLUSTER__EXECUTOR_LOSS_RETRIES", "0")]).await;
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let watcher = cluster.connect().await.expect("a session");
    let query = tpch::query(18).expect("a query");
    let running = tokio::spawn(async move { rows(&client, &query).await });
    let victim = busy_executor(&watcher).await.expect("a busy executor");
    let name = format!("select executor_id from sys.executors where process_id = {victim}");
    let name = rows(&watcher, &name).await.expect("the server answers")[0][0].clone();
    sql_tests::send_signal("KILL", victim).await.expect("killed");
    remove_work_folder(&cluster, victim);
    let outcome = tokio::time::timeout(Duration::from_secs(60), running).await.expect("it does not hang");
    let error = outcome.expect("it does not panic").expect_err("it is not run again");
    let error = error.as_db_error().expect("an error of the server");
    let told = error.message();
    assert_eq!(error.code().code(), "58000", "{told}");
    let lost = format!(
        "the query was run once, and executors were lost, at last: executor {name} was lost, in stage "
    );
    assert!(told.starts_with(&lost), "{told}");
    assert!(error.hint().is_some_and(|hint| hint.contains("sys.executors")), "{error:?}");
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
    // Nor a file, also of tasks that wrote when they were told: cancelled at many moments.
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let writes = "select l_orderkey, sum(l_extendedprice), count(distinct l_comment) from lineitem \
                  group by 1 order by 2 desc limit 5";
    for milliseconds in [50, 100, 150, 200, 300, 400, 500, 800] {
        client.batch_execute(&format!("set statement_timeout = {milliseconds}")).await.expect("set");
        let _ = client.simple_query(writes).await;
    }
    let executors = cluster.data_dir().join("executors");
    let gone = async {
        while shuffle_files(&executors) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("no file is left behind");
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
