//! `COPY … TO` a location: there whole or not at all, whoever is killed and whatever a store refuses.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sql_tests::{BUCKET, Options, S3Store, TestCluster, busy_executor, sqlstate, tpch};
use tokio_postgres::{Client, SimpleQueryMessage};

/// Every run kills at the same moments.
const SEED: u64 = 20_261_125;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sluice"))
}

async fn data(scale: &str) -> PathBuf {
    tpch::data(binary(), Path::new(env!("CARGO_TARGET_TMPDIR")), scale).await.expect("data")
}

async fn one_row(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let row = messages.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect())
        }
        _ => None,
    });
    row.unwrap_or_default()
}

/// The rows of the files at `location`, read as Parquet; `None` when there is no file.
async fn rows_at(client: &Client, location: &str) -> Option<Vec<String>> {
    client.batch_execute("drop table if exists looked_at").await.expect("no table");
    let create = format!("create external table looked_at stored as parquet location '{location}'");
    match client.batch_execute(&create).await {
        Ok(()) => {
            Some(one_row(client, "select count(*), sum(l_orderkey + l_linenumber) from looked_at").await)
        }
        Err(error) => {
            assert_eq!(error.code().map(|code| code.code()), Some("58P01"), "{error:?}");
            None
        }
    }
}

/// Waits until no folder of files that nobody sees is left in `folder`.
async fn no_leftovers(folder: &Path) {
    let is_clean = || {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        !names.iter().any(|name| name.starts_with('.'))
    };
    let settled = async {
        while !is_clean() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), settled).await.expect("leftovers are removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_executor_doubles_no_row_of_a_copy() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        locations: vec![data("1").await],
        executors: 2,
        data_dir: Some(folder.path().join("data")),
        environment: vec![("SLUICE_TEST_FORCE_REMOTE_READ".into(), "1".into())],
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client = Arc::new(cluster.connect_with("-c sluice.route=cluster").await.expect("a session"));
    let watcher = cluster.connect().await.expect("a session");
    let expected = one_row(&watcher, "select count(*), sum(l_orderkey + l_linenumber) from lineitem").await;
    let files = folder.path().join("data/warehouse/files");
    let mut random = StdRng::seed_from_u64(SEED);
    for round in 0..2 {
        let target = format!("{}/{round}/", files.display());
        let copy = format!("copy lineitem to '{target}' (partitions 4)");
        let copying = tokio::spawn({
            let client = Arc::clone(&client);
            async move { client.execute(&copy, &[]).await }
        });
        let victim = busy_executor(&watcher).await.expect("a busy executor");
        // Somewhere in the second that the write takes: the injected kill, not a wait.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..900))).await;
        sql_tests::send_signal("KILL", victim).await.expect("killed");
        let limit = Duration::from_secs(90);
        let outcome =
            tokio::time::timeout(limit, copying).await.expect("it does not hang").expect("no panic");
        assert_eq!(outcome.expect("the copy still succeeds"), 6_001_215, "round {round}");
        assert_eq!(rows_at(&watcher, &target).await, Some(expected.clone()), "round {round}");
        no_leftovers(&files).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_leaves_a_copy_whole_or_absent() {
    // Many more by their own command: see docs/reliability.md.
    let kills = std::env::var("SLUICE_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(6);
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        locations: vec![data("0.1").await],
        executors: 0,
        data_dir: Some(folder.path().join("data")),
        ..Options::default()
    };
    let files = folder.path().join("data/warehouse/files");
    let mut random = StdRng::seed_from_u64(SEED);
    let mut whole = 0;
    for kill in 0..kills {
        let cluster = TestCluster::start(binary(), &options).await.expect("the server opens");
        let client = cluster.connect().await.expect("a session");
        let target = format!("{}/{kill}/", files.display());
        let copy = format!("copy lineitem to '{target}' (partitions 3)");
        let copying = client.batch_execute(&copy);
        let wait = Duration::from_millis(random.random_range(0..900));
        let killing = async {
            tokio::time::sleep(wait).await;
            sql_tests::send_signal("KILL", cluster.process_id()).await.expect("a signal");
        };
        let (copied, ()) = tokio::join!(copying, killing);
        let cluster = TestCluster::start(binary(), &options).await.expect("the server opens again");
        let client = cluster.connect().await.expect("a session");
        let expected =
            one_row(&client, "select count(*), sum(l_orderkey + l_linenumber) from lineitem").await;
        match rows_at(&client, &target).await {
            Some(rows) => {
                assert_eq!(rows, expected, "kill {kill}");
                whole += 1;
            }
            None => assert!(copied.is_err(), "kill {kill}: a copy that was told is there"),
        }
        no_leftovers(&files).await;
    }
    println!("{whole} of {kills} copies were whole, the others absent");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_writers_to_a_place_one_wins() {
    const WRITERS: usize = 24;
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        locations: vec![data("0.01").await],
        executors: 0,
        data_dir: Some(folder.path().join("data")),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let files = folder.path().join("data/warehouse/files");
    for target in ["place/", "place.parquet"] {
        let clients = futures::future::try_join_all((0..WRITERS).map(|_| cluster.connect())).await;
        let clients = clients.expect("sessions");
        let copy = format!("copy lineitem to '{}/{target}'", files.display());
        let outcomes =
            futures::future::join_all(clients.iter().map(|client| client.batch_execute(&copy))).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{target}");
        for outcome in outcomes.iter().filter(|outcome| outcome.is_err()) {
            assert!(["42P07", "40001"].contains(&sqlstate(outcome)), "{target}: {outcome:?}");
        }
        no_leftovers(&files).await;
    }
    // A statement that is cancelled leaves nothing.
    let client = cluster.connect().await.expect("a session");
    let cancel = client.cancel_token();
    let copy = format!("copy (select a.* from lineitem a, lineitem b) to '{}/big/'", files.display());
    let watcher = cluster.connect().await.expect("a session");
    let cancelling = async {
        while one_row(
            &watcher,
            "select 1 from sys.queries where state = 'running' and sql like 'copy (select a.%'",
        )
        .await
        .is_empty()
        {
            tokio::task::yield_now().await;
        }
        cancel.cancel_query(tokio_postgres::NoTls).await.expect("cancelled");
    };
    let (outcome, ()) = tokio::join!(client.batch_execute(&copy), cancelling);
    assert_eq!(sqlstate(&outcome), "57014");
    no_leftovers(&files).await;
    assert!(!files.join("big").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_is_asked_for_is_planned() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        locations: vec![data("0.01").await],
        executors: 1,
        data_dir: Some(folder.path().join("data")),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client = cluster.connect().await.expect("a session");
    for route in ["local", "cluster"] {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
        for (clause, expected) in [
            ("distribute by o_custkey into 7 partitions", "Exchange: hash by o_custkey into 7 partitions"),
            ("distribute into 5 partitions", "Exchange: hash by row number into 5 partitions"),
        ] {
            let explain = format!("explain select o_orderkey, o_custkey from orders {clause}");
            let plan = client.simple_query(&explain).await.expect("a plan");
            let lines: Vec<String> = plan
                .into_iter()
                .filter_map(|message| match message {
                    SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                    _ => None,
                })
                .collect();
            assert!(lines.iter().any(|line| line.contains(expected)), "{route}, {clause}: {lines:#?}");
        }
    }
}

/// The columns that every row group of the first Parquet file below `folder` has a Bloom filter of.
fn filtered_columns(folder: &Path) -> Vec<String> {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "parquet") {
                let file = std::fs::File::open(path).expect("a file");
                let reader = SerializedFileReader::new(file).expect("Parquet");
                let columns = reader.metadata().row_group(0).columns().iter();
                let filtered = columns.filter(|column| column.bloom_filter_offset().is_some());
                return filtered.map(|column| column.column_path().string()).collect();
            }
        }
    }
    panic!("no file");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_have_the_bloom_filters_that_are_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let warehouse = folder.path().join("data/warehouse");
    let options = Options {
        locations: vec![data("0.01").await],
        executors: 1,
        data_dir: Some(folder.path().join("data")),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client = cluster.connect().await.expect("a session");
    for route in ["local", "cluster"] {
        let place = warehouse.join(format!("files/{route}"));
        let statements = format!(
            "set sluice.route = {route};
             copy orders to '{}/' (bloom_filter (o_orderkey, o_clerk));
             create table cut_{route} partitioned by (bucket(2, o_orderkey)) as select * from orders",
            place.display()
        );
        client.batch_execute(&statements).await.expect("files");
        assert_eq!(filtered_columns(&place), ["o_orderkey", "o_clerk"], "{route}");
        let external = format!(
            "create external table copied_{route} stored as parquet location '{}/'; set sluice.route = local",
            place.display()
        );
        client.batch_execute(&external).await.expect("a table");
        // Between its neighbours, and not there.
        for (table, key) in [(format!("copied_{route}"), 9), (format!("cut_{route}"), 9)] {
            let explain =
                format!("explain (analyze, verbose) select * from {table} where o_orderkey = {key}");
            let plan = client.simple_query(&explain).await.expect("a plan");
            let texts = plan.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            });
            let text = texts.collect::<Vec<_>>().join("\n");
            assert!(text.contains("row_groups_pruned_bloom_filter_pruned="), "{text}");
            assert_eq!(
                one_row(&client, &format!("select count(*) from {table} where o_orderkey = {key}")).await,
                ["0"]
            );
            assert_eq!(
                one_row(&client, &format!("select count(*) from {table} where o_orderkey = 7")).await,
                ["1"]
            );
        }
        assert_eq!(filtered_columns(&warehouse.join("public")), ["o_orderkey"], "{route}");
        client
            .batch_execute(&format!("set sluice.route = {route}; drop table cut_{route}"))
            .await
            .expect("gone");
        client.batch_execute("vacuum").await.expect("a vacuum");
    }
    for (options, code) in [
        ("bloom_filter nothing", "42703"),
        ("bloom_filter o_clerk, partition_by o_clerk", "22023"),
        // Both zeros are one number, and have other bytes.
        ("bloom_filter f", "0A000"),
        ("format csv, bloom_filter o_clerk", "22023"),
    ] {
        let orders = "(select *, o_totalprice::float8 f from orders)";
        let copy = format!("copy {orders} to '{}/files/refused/' ({options})", warehouse.display());
        assert_eq!(sqlstate(&client.batch_execute(&copy).await), code, "{options}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_leaves_a_copy_whole_or_absent() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = S3Store::installed(Path::new(env!("CARGO_TARGET_TMPDIR"))).await.expect("a store");
    let options = Options {
        locations: vec![data("0.01").await],
        executors: 1,
        data_dir: Some(folder.path().join("data")),
        flags: vec!["--warehouse".into(), format!("s3://{BUCKET}/warehouse/")],
        environment: store.environment(),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client = cluster.connect().await.expect("a session");
    let expected = one_row(&client, "select count(*), sum(l_orderkey + l_linenumber) from lineitem").await;
    let place = |name: &str| format!("s3://{BUCKET}/warehouse/files/{name}/");
    // Each request that writes is the first to be refused, in turn, until none is.
    let mut refused = 0;
    for route in ["local", "cluster"] {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
        for writes in 0.. {
            let target = place(&format!("{route}-{writes}"));
            store.refuse_writes_after(Some(writes));
            let outcome = client.batch_execute(&format!("copy lineitem to '{target}' (partitions 3)")).await;
            store.refuse_writes_after(None);
            let found = rows_at(&client, &target).await;
            if outcome.is_ok() {
                assert_eq!(found, Some(expected.clone()), "{route}, {writes} writes");
                break;
            }
            assert_eq!(sqlstate(&outcome), "58030", "{route}, {writes} writes: {outcome:?}");
            assert_eq!(found, None, "{route}, {writes} writes");
            refused += 1;
        }
    }
    // To begin, to send and to complete three uploads.
    assert!(refused >= 2 * 9, "{refused} requests were refused");

    // In place of what is there, and not of what is not.
    let target = place("again");
    client
        .batch_execute(&format!("copy (select * from lineitem limit 5) to '{target}'"))
        .await
        .expect("a copy");
    let taken = client.batch_execute(&format!("copy lineitem to '{target}'")).await;
    assert_eq!(sqlstate(&taken), "42P07");
    client.batch_execute(&format!("copy lineitem to '{target}' (overwrite)")).await.expect("a copy");
    assert_eq!(rows_at(&client, &target).await, Some(expected.clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_commit_had_begun_is_completed_by_the_next_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = S3Store::installed(Path::new(env!("CARGO_TARGET_TMPDIR"))).await.expect("a store");
    let options = Options {
        locations: vec![data("0.01").await],
        executors: 0,
        data_dir: Some(folder.path().join("data")),
        flags: vec!["--warehouse".into(), format!("s3://{BUCKET}/warehouse/")],
        environment: store.environment(),
        ..Options::default()
    };
    let target = format!("s3://{BUCKET}/warehouse/files/half/");
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let client = cluster.connect().await.expect("a session");
    let expected = one_row(&client, "select count(*), sum(l_orderkey + l_linenumber) from lineitem").await;
    client
        .batch_execute(&format!("copy (select * from lineitem limit 1) to '{target}'"))
        .await
        .expect("a copy");
    // One of three uploads is completed when the server dies.
    store.hold_completions_after(Some(1));
    let copy = format!("copy lineitem to '{target}' (partitions 3, overwrite)");
    let killing = async {
        store.completion_held().await;
        sql_tests::send_signal("KILL", cluster.process_id()).await.expect("a signal");
    };
    let (outcome, ()) = tokio::join!(client.batch_execute(&copy), killing);
    outcome.expect_err("the server died");
    store.hold_completions_after(None);
    let cluster = TestCluster::start(binary(), &options).await.expect("the server again");
    let client = cluster.connect().await.expect("a session");
    assert_eq!(rows_at(&client, &target).await, Some(expected));
    let lines = std::fs::read_dir(folder.path().join("data/writes")).expect("a folder").count();
    assert_eq!(lines, 0, "nothing is left to be done");
}
