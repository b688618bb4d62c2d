//! Real clients, each from its own registry, against the server on both routes, with a PostgreSQL 15 as
//! the oracle: the same programs, tables and rows, and every line of their output compared.

use std::path::Path;

use sql_tests::{Options, Oracle, TestCluster, tpch};
use sqlx::{Connection, Row};
use tokio::process::Command;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sluice"))
}

async fn start() -> TestCluster {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let data = tpch::data(binary(), temporary, "0.1").await.expect("data");
    let options = Options { locations: vec![data], ..Options::default() };
    TestCluster::start(binary(), &options).await.expect("a cluster")
}

/// Runs one of the scripts in sql-tests/clients; its output is the test's.
async fn script(name: &str, arguments: &[&str]) {
    let program = Path::new("sql-tests/clients").join(name);
    let status = Command::new(&program).args(arguments).status().await.expect("the script starts");
    assert!(status.success(), "{} {arguments:?}: {status}", program.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_sees_what_it_sees_of_postgres() {
    let installed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    let installed = installed.to_string_lossy();
    script("install", &[&installed]).await;
    let oracle = Oracle::start().await.expect("a PostgreSQL");
    let cluster = start().await;
    script("load", &[&cluster.address.port().to_string(), &oracle.port.to_string()]).await;
    script("compare", &[&cluster.address.to_string(), &oracle.address(), &installed]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlx_reads_typed_rows_on_both_routes() {
    let cluster = start().await;
    for route in ["local", "cluster"] {
        let url = format!(
            "postgres://postgres@{}/postgres?sslmode=disable&options[sluice.route]={route}",
            cluster.address
        );
        let mut connection = sqlx::PgConnection::connect(&url).await.expect("a session");
        let rows = sqlx::query("select n_nationkey, n_name from nation where n_regionkey = $1 order by 1")
            .bind(3_i64)
            .fetch_all(&mut connection)
            .await
            .expect("rows");
        let first: (i64, String) = (rows[0].get(0), rows[0].get(1));
        assert_eq!((rows.len(), first), (5, (6, "FRANCE".to_owned())), "{route}");
        let failed = sqlx::query("select 1 / (n_nationkey - n_nationkey) from nation")
            .fetch_all(&mut connection)
            .await
            .expect_err("a division by zero");
        let code = failed.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
        assert_eq!(code.as_deref(), Some("22012"), "{route}");
    }
}
