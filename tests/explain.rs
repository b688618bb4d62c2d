//! The plans of TPC-H as `EXPLAIN` shows them, on both routes: snapshots. `INSTA_UPDATE=always cargo test --release --test
//! explain` accepts what has changed.

use std::path::Path;

use sql_tests::{Options, TestCluster, rows, tpch};
use tokio_postgres::Client;

async fn start() -> TestCluster {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "0.01").await.expect("data");
    let options = Options {
        locations: vec![data],
        // Plans have as many partitions as there are threads.
        environment: vec![("SLUICE_SERVER__THREADS".into(), "2".into())],
        ..Options::default()
    };
    TestCluster::start(binary, &options).await.expect("a cluster")
}

async fn explained(client: &Client, options: &str, query: &str) -> String {
    let rows = rows(client, &format!("explain {options} {query}")).await;
    rows.concat().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plans_of_tpch() {
    let cluster = start().await;
    for route in ["local", "cluster"] {
        let client = cluster.connect_with(&format!("-c sluice.route={route}")).await.expect("a session");
        for number in 1..=22 {
            let query = tpch::query(number).expect("a query");
            let plan = explained(&client, "(costs off)", &query).await;
            insta::assert_snapshot!(format!("{route}_q{number:02}"), plan);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_explain_tells() {
    let cluster = start().await;
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let query = "select o_orderpriority, count(*) from orders group by 1 order by 1";
    let text = explained(&client, "", query).await;
    for expected in [
        "Route: cluster: sluice.route is cluster",
        "Input: public.orders: 1 file, ",
        "Memory: a task takes about ",
        ": fits",
        "Exchange: hash by o_orderpriority into 2 partitions  (rows=",
        "Gather Merge: o_orderpriority",
        "->  ",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing:\n{text}");
    }
    assert!(!text.contains("actual"), "{text}");
    for route in ["local", "cluster"] {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
        let text = explained(&client, "analyze", query).await;
        for expected in
            ["(actual rows=5", "(actual rows=15000", "Planning Time: ", "Execution Time: ", " computed for "]
        {
            assert!(text.contains(expected), "{route}: {expected:?} is missing:\n{text}");
        }
        let text = explained(&client, "(analyze, timing off, costs off)", query).await;
        let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("Lint: ")).collect();
        let text = text.join("\n");
        assert!(
            text.contains("actual rows=5)") && !text.contains(" ms") && !text.contains("Memory: "),
            "{route}:\n{text}"
        );
        let json = explained(&client, "(analyze, verbose, buffers, format json)", query).await;
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let plan = &json[0]["Plan"];
        assert_eq!(plan["Actual Rows"], 5, "{route}: {json:#}");
        assert!(json[0]["Profile"]["stages"].as_array().is_some_and(|stages| !stages.is_empty()), "{json:#}");
        let mut deepest = plan;
        while let Some(input) = deepest["Plans"].get(0) {
            deepest = input;
        }
        assert_eq!(deepest["Relation Name"], "public.orders", "{route}: {json:#}");
        assert_eq!(deepest["Actual Rows"], 15000, "{route}: {json:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_groups_are_counted_before_and_after() {
    let cluster = start().await;
    let client = cluster.connect_with("-c sluice.route=local").await.expect("a session");
    // Row groups end after 1,048,576 rows.
    let made = "create table numbers as select value as n, value % 7 as r from generate_series(1, 3000000) g(value) order by 1";
    client.batch_execute(made).await.expect("a table");
    // Its footer is known from then on.
    assert_eq!(rows(&client, "select count(*) from numbers where r = 1").await[0][0], "428572");
    for (condition, groups) in [
        ("n < 1000", "1 of 3"),
        ("n > 1500000", "2 of 3"),
        ("r = 1", "3 of 3"),
        ("n between 1048000 and 1049000", "2 of 3"),
    ] {
        for route in ["local", "cluster"] {
            client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
            // A sum, since the least and the greatest prune while they run.
            let query = format!("select sum(r) from numbers where {condition}");
            let told = format!("Input: public.numbers: 1 file, {groups} row groups, ");
            let plan = explained(&client, "", &query).await;
            assert!(plan.contains(&told), "{route}: {told:?} is missing:\n{plan}");
            let plan = explained(&client, "analyze", &query).await;
            assert!(plan.contains(&told), "{route}, analyzed: {told:?} is missing:\n{plan}");
        }
    }
}

/// Files that do not have all columns of their table, and columns that no file has.
#[tokio::test(flavor = "multi_thread")]
async fn row_groups_are_counted_whatever_columns_files_have() {
    let cluster = start().await;
    let client = cluster.connect_with("-c sluice.route=local").await.expect("a session");
    let files = cluster.data_dir().join("warehouse/files");
    let files = files.display();
    let made = format!(
        "copy (select 1 as x) to '{files}/grown/a.parquet';
         copy (select 2::bigint as y, 2 as x) to '{files}/grown/b.parquet';
         copy (select 7 as x, 1 as k union all select 8, 2) to '{files}/keyed/' (partition_by (k));
         create external table grown stored as parquet location '{files}/grown/';
         create external table keyed stored as parquet partitioned by (k int) location '{files}/keyed/';
         select * from grown; select * from keyed"
    );
    client.batch_execute(&made).await.expect("tables");
    for (query, answer) in [
        ("select count(*) from grown where y = 2", "1"),
        ("select count(*) from grown where y is null", "1"),
        ("select count(*) from grown where x = 1 or y = 5", "1"),
        ("select count(*) from keyed where k = 1 or x = 8", "2"),
        ("select count(*) from keyed where k = 1 and x = 7", "1"),
        ("select count(*) from keyed where k + x = 8", "1"),
        // Read as a constant, not as one of the engine's.
        ("select count(*) from nation where n_name = 'Decimal128(Some(12345),1,3)'", "0"),
    ] {
        let plan = explained(&client, "", query).await;
        assert!(plan.contains("Route: local"), "{query}:\n{plan}");
        assert_eq!(rows(&client, query).await[0][0], answer, "{query}");
    }
    let plan = explained(&client, "", "select x from grown where y = 2").await;
    assert!(plan.contains("1 of 2 row groups"), "a file without the column has no such row:\n{plan}");
}

/// Small inputs, what fits into the server's memory, what does not, and what is written.
#[tokio::test(flavor = "multi_thread")]
async fn the_route_is_chosen_by_what_a_query_reads_and_holds() {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "0.1").await.expect("data");
    let options = Options {
        locations: vec![data],
        environment: vec![
            ("SLUICE_SERVER__THREADS".into(), "2".into()),
            ("SLUICE_CLUSTER__ROUTE_POOL_SHARE".into(), "0.01".into()),
        ],
        memory: "192MB".into(),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary, &options).await.expect("a cluster");
    let client = cluster.connect().await.expect("a session");
    for (query, route) in [
        ("select count(*) from nation where n_regionkey = 1", "Route: local: it reads "),
        ("select sum(l_quantity), max(l_comment) from lineitem", "Route: local: it reads "),
        (
            "select count(*) from (select distinct l_orderkey, l_comment from lineitem) x",
            "Route: cluster: it reads ",
        ),
        ("select l_comment from lineitem order by l_comment", "Route: cluster: it reads "),
    ] {
        let plan = explained(&client, "", query).await;
        let first = plan.lines().next().unwrap_or_default();
        assert!(first.starts_with(route), "{query}: {first}");
        let is_weighed = first.contains(" and holds about ");
        assert_eq!(is_weighed, !query.contains("nation"), "{query}: {first}");
        rows(&client, query).await;
        let last = &rows(&client, "show sluice.last_route").await[0][0];
        assert_eq!(&format!("Route: {last}"), first, "what is told is what is done");
    }
    client
        .batch_execute("create table copy as select l_orderkey, l_comment from lineitem")
        .await
        .expect("a table");
    let last = &rows(&client, "show sluice.last_route").await[0][0];
    assert!(last.starts_with("cluster: it writes, and reads "), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_explained_and_not_done() {
    let cluster = start().await;
    for route in ["local", "cluster"] {
        let client = cluster.connect_with(&format!("-c sluice.route={route}")).await.expect("a session");
        let make = "create table made partitioned by (o_orderpriority) as select * from orders";
        let plan = explained(&client, "", make).await;
        for expected in [
            "Input: public.orders: 1 file, ",
            "Memory: ",
            "Write Files: ",
            "partitioned by [o_orderpriority]",
        ] {
            assert!(plan.contains(expected), "{route}: {expected:?} is missing:\n{plan}");
        }
        let missing = client.simple_query("select * from made").await.expect_err("nothing was made");
        assert_eq!(missing.code().map(|code| code.code()), Some("42P01"));
        client.batch_execute(make).await.expect("a table");
        let plan = explained(&client, "(costs off)", "insert into made select * from orders").await;
        assert!(plan.contains("Write Files"), "{route}:\n{plan}");
        let json = client
            .query(
                "explain (format json) insert into made select * from orders where o_orderkey < $1",
                &[&10i64],
            )
            .await
            .expect("by the extended protocol");
        assert!(json[0].get::<_, &str>(0).contains("Write Files"));
        assert_eq!(rows(&client, "select count(*) from made").await[0][0], "15000", "{route}");
        client.batch_execute("drop table made").await.expect("it goes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_explain_refuses() {
    let cluster = start().await;
    let client = cluster.connect().await.expect("a session");
    for (statement, code) in [
        ("explain (format xml) select 1", "0A000"),
        ("explain (format toast) select 1", "22023"),
        ("explain (depth) select 1", "42601"),
        ("explain (analyze maybe) select 1", "42601"),
        ("explain (analyze select 1", "42601"),
        ("explain explain select 1", "0A000"),
        ("explain create table t (a int)", "0A000"),
        ("explain analyze create table t as select 1 as a", "0A000"),
        ("explain delete from orders", "0A000"),
        ("explain create table orders as select 1 as a", "42P07"),
        ("explain insert into nowhere select 1", "42P01"),
        ("explain select * from nowhere", "42P01"),
        ("explain analyze select 1 / 0 from nation", "22012"),
        ("explain", "42601"),
    ] {
        let error = client.simple_query(statement).await.err().and_then(|error| error.code().cloned());
        let error = error.map(|code| code.code().to_owned());
        assert_eq!(error.as_deref(), Some(code), "{statement}");
    }
    assert_eq!(rows(&client, "explain (select 1)").await[0][0], "Route: local: it reads no table");
}
