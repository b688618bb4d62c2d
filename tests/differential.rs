//! Random questions, each answered alike by the local route, by executors and by DuckDB.

use std::path::Path;

use sql_tests::{Options, TestCluster, installed_clients, tpch};
use tokio::process::Command;

/// A number from the environment: `SLUICE_TEST_SEED=11 SLUICE_TEST_QUESTIONS=5000 cargo test --test differential` asks
/// others, and more.
fn number(name: &str, default: u64) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_routes_answer_as_duckdb_does() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, folder, "0.01").await.expect("data");
    let installed = installed_clients(folder).await.expect("the clients");
    let options = Options { locations: vec![data.clone()], executors: 2, ..Options::default() };
    let cluster = TestCluster::start(binary, &options).await.expect("a cluster");
    let output = Command::new(installed.join("venv/bin/python"))
        .arg("sql-tests/clients/differential.py")
        .args(["--port", &cluster.address.port().to_string(), "--data"])
        .arg(&data)
        .args(["--seed", &number("SLUICE_TEST_SEED", 7), "--count", &number("SLUICE_TEST_QUESTIONS", 150)])
        .output()
        .await
        .expect("Python starts");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let client = cluster.connect().await.expect("a session");
    let internal = "select count(*) from sys.queries where sqlstate = 'XX000'";
    assert_eq!(client.query_one(internal, &[]).await.expect("the log").get::<_, i64>(0), 0);
}
