//! The dashboard in a real browser, against a live cluster. The pictures it takes lie in `dashboard` in the tests' folder of
//! the target folder.

use std::path::Path;

use sql_tests::{Options, TestCluster, busy_executor, installed_browser, rows, send_signal, tpch};
use tokio::process::Command;
use tokio_postgres::Client;

const ENDLESS: &str =
    "select count(*) from lineitem a join lineitem b on a.l_orderkey <> b.l_orderkey -- endless";
const HOSTILE: &str = "select '<img src=x onerror=alert(1)>' as \"</script><script>alert(2)</script>\", count(*) from orders -- <b>&amp;\u{202e}";

async fn start(folder: &Path) -> TestCluster {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "1").await.expect("data");
    let options = Options {
        locations: vec![data],
        data_dir: Some(folder.join("data")),
        // Otherwise a survivor reads a dead neighbour's files by their path and hides the loss.
        environment: vec![
            ("SLUICE_TEST_FORCE_REMOTE_READ".into(), "1".into()),
            ("SLUICE_CLUSTER__KEPT_WORK_MIN".into(), "0s".into()),
        ],
        ..Options::default()
    };
    TestCluster::start(binary, &options).await.expect("a cluster")
}

/// The query that runs, once it does.
async fn running(watcher: &Client, mark: &str) -> String {
    let sql = format!(
        "select query_id from sys.queries where state = 'running' and sql like '%{mark}' and sql not like '%sys.%'"
    );
    loop {
        if let Some(row) = rows(watcher, &sql).await.first() {
            return row[0].clone();
        }
        tokio::task::yield_now().await;
    }
}

/// Runs a query until it has survived the loss of an executor.
async fn survived(cluster: &TestCluster, watcher: &Client) -> String {
    for turn in 0..5 {
        let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
        let mark = format!("-- lost {turn}");
        let query = format!("{} {mark}", tpch::query(9).expect("a query").trim().trim_end_matches(';'));
        let answer = tokio::spawn(async move { rows(&client, &query).await.len() });
        let id = running(watcher, &mark).await;
        let busy = busy_executor(watcher).await.expect("an executor");
        // Where a stage has finished, its rows are lost with it.
        let finished =
            format!("select count(*) from sys.stages where query_id = '{id}' and tasks_finished > 0");
        while rows(watcher, &finished).await[0][0] == "0" {
            tokio::task::yield_now().await;
        }
        send_signal("KILL", busy).await.expect("a signal");
        assert_eq!(answer.await.expect("no panic"), 175, "the answer of TPC-H 9");
        let told = format!(
            "select count(*) from sys.recoveries r join sys.tasks t on t.query_id = r.query_id join sys.tasks a on a.query_id = r.query_id \
             where r.query_id = '{id}' and t.state = 'lost' and a.attempt > 0"
        );
        if rows(watcher, &told).await[0][0] != "0" {
            return id;
        }
        cluster_is_whole(watcher).await;
    }
    panic!("no query lost a running task in five turns");
}

async fn cluster_is_whole(watcher: &Client) {
    while rows(watcher, "select count(*) from sys.executors").await[0][0] != "2" {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_in_a_browser() {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let installed = installed_browser(temporary).await.expect("a browser");
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = start(folder.path()).await;
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    client
        .batch_execute("create table by_priority partitioned by (o_orderpriority) as select * from orders")
        .await
        .expect("a table");
    for number in [1, 3, 5, 8, 18, 21] {
        rows(&client, &tpch::query(number).expect("a query")).await;
    }
    rows(&client, HOSTILE).await;
    client
        .simple_query("select 1 / (o_orderkey - o_orderkey) from orders")
        .await
        .expect_err("a division by zero");
    client.batch_execute("set sluice.route = local").await.expect("a setting");
    for number in [6, 12, 14] {
        rows(&client, &tpch::query(number).expect("a query")).await;
    }
    let watcher = cluster.connect().await.expect("a session");
    let lost = survived(&cluster, &watcher).await;
    cluster_is_whole(&watcher).await;
    let endless = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let endless = tokio::spawn(async move { endless.simple_query(ENDLESS).await.map(drop) });
    let to_cancel = running(&watcher, "-- endless").await;

    let pictures = temporary.join("dashboard");
    let output = Command::new(installed.join("venv/bin/python"))
        .arg("sql-tests/browser/dashboard")
        .arg(format!("http://{}", cluster.dashboard))
        .arg(&pictures)
        .args(["--cancel", &to_cancel, "--lost", &lost])
        .kill_on_drop(true)
        .output()
        .await
        .expect("the script starts");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "pictures lie in {}", pictures.display());
    assert!(said.contains("ok   cancel button works") && said.contains("ok   a lost executor"), "{said}");
    let error = endless.await.expect("no panic").expect_err("it was cancelled");
    assert_eq!(error.code().map(|code| code.code()), Some("57014"));
}
