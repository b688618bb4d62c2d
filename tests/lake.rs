//! Tables that Sluice writes: what survives kills, who wins a race, and what other engines make of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sql_tests::{
    BUCKET, Options, S3Store, TestCluster, busy_executor, installed_clients, rows, sqlstate, tpch,
};
use tokio_postgres::Client;

/// Every run kills at the same moments.
const SEED: u64 = 20_261_123;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sluice"))
}

async fn data(scale: &str) -> PathBuf {
    tpch::data(binary(), Path::new(env!("CARGO_TARGET_TMPDIR")), scale).await.expect("data")
}

async fn number(client: &Client, sql: &str) -> i64 {
    rows(client, sql).await[0][0].parse().unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The Parquet files below `folder`.
/// Runs statements, each as a message of its own.
async fn one_by_one(client: &Client, statements: &str) {
    for statement in statements.split(';') {
        client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

fn files(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            files(&entry.path(), found);
        } else if entry.path().is_file() {
            found.insert(entry.path());
        }
    }
}

/// Waits until the files in the warehouse are those that the catalog's snapshots know.
async fn only_known_files_stay(data_dir: &Path) {
    let (warehouse, catalog) = (data_dir.join("warehouse"), data_dir.join("catalog.sqlite"));
    let settled = async {
        loop {
            let mut found = BTreeSet::new();
            files(&warehouse, &mut found);
            let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
            let found: BTreeSet<String> = found.iter().map(|path| name(path)).collect();
            let known = known_files(&catalog).await;
            assert!(known.is_subset(&found), "files are missing: {:?}", known.difference(&found));
            if found == known {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), settled)
        .await
        .expect("files that no snapshot knows are removed");
}

async fn known_files(catalog: &Path) -> BTreeSet<String> {
    use sqlx::{ConnectOptions, Connection, Row};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(catalog).read_only(true);
    let mut connection = options.connect().await.expect("the catalog opens");
    let rows = sqlx::query("select path from ducklake_data_file").fetch_all(&mut connection).await;
    let names = rows.expect("files").iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>();
    connection.close().await.expect("closed");
    names.iter().map(|path| path.rsplit('/').next().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_executor_doubles_no_row_and_leaves_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        locations: vec![data("1").await],
        executors: 2,
        data_dir: Some(folder.path().join("data")),
        environment: vec![("SLUICE_TEST_FORCE_REMOTE_READ".into(), "1".into())],
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let watcher = cluster.connect().await.expect("a session");
    let expected = rows(&watcher, "select count(*), sum(l_orderkey + l_linenumber) from lineitem").await;
    client
        .batch_execute("create table copied as select * from lineitem with no data")
        .await
        .expect("a table");
    let mut random = StdRng::seed_from_u64(SEED);
    let client = std::sync::Arc::new(client);
    for round in 0..3 {
        let insert = "insert into copied select * from lineitem";
        let inserting = tokio::spawn({
            let client = std::sync::Arc::clone(&client);
            async move { client.execute(insert, &[]).await }
        });
        busy_executor(&watcher).await.expect("a busy executor");
        // Somewhere in the second that the write takes.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..900))).await;
        let victims = cluster.executor_processes().await.expect("processes");
        let victim = victims[round % victims.len()];
        sql_tests::send_signal("KILL", victim).await.expect("killed");
        let limit = Duration::from_secs(90);
        let outcome =
            tokio::time::timeout(limit, inserting).await.expect("it does not hang").expect("no panic");
        assert_eq!(outcome.expect("the write still succeeds"), 6_001_215, "round {round}");
        let actual = rows(&watcher, "select count(*), sum(l_orderkey + l_linenumber) from copied").await;
        assert_eq!(actual, expected, "round {round}");
        only_known_files_stay(&folder.path().join("data")).await;
        client.batch_execute("truncate copied").await.expect("an empty table");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_leaves_tables_whole() {
    const ROWS: i64 = 15_000;
    // Many more by their own command: see docs/reliability.md.
    let kills = std::env::var("SLUICE_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(6);
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        locations: vec![data("0.01").await],
        executors: 0,
        data_dir: Some(folder.path().join("data")),
        ..Options::default()
    };
    let mut random = StdRng::seed_from_u64(SEED);
    let mut told = 0;
    for kill in 0..=kills {
        let opening = std::time::Instant::now();
        let cluster = TestCluster::start(binary(), &options).await.expect("the server opens");
        let client = cluster.connect().await.expect("a session");
        assert!(opening.elapsed() < Duration::from_secs(5), "kill {kill}: it opens within 5 s");
        client.batch_execute("create table if not exists a (k bigint, s text)").await.expect("a table");
        client.batch_execute("create table if not exists b (k bigint)").await.expect("a table");
        let (a, b) = (
            number(&client, "select count(*) from a").await,
            number(&client, "select count(*) from b").await,
        );
        assert_eq!((a % ROWS, a), (0, b), "kill {kill}: a block is whole or not at all");
        assert!(a >= told * ROWS, "kill {kill}: {a} rows after {told} commits");
        only_known_files_stay(&folder.path().join("data")).await;
        told = a / ROWS;
        if kill == kills {
            break;
        }
        let wait = Duration::from_micros(random.random_range(0..400_000));
        let first = told;
        let inserting = async {
            loop {
                let block = "begin;
                     insert into a select o_orderkey, o_orderstatus from orders;
                     insert into b select o_orderkey from orders;
                     commit";
                if client.batch_execute(block).await.is_err() {
                    return;
                }
                told += 1;
            }
        };
        let killing = async {
            tokio::time::sleep(wait).await;
            sql_tests::send_signal("KILL", cluster.process_id()).await.expect("a signal");
        };
        tokio::join!(inserting, killing);
        assert!(told >= first);
    }
    assert!(told > 0, "some blocks were committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_writers_one_makes_a_table_and_all_add_to_it() {
    const WRITERS: usize = 24;
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        locations: vec![data("0.01").await],
        executors: 0,
        data_dir: Some(folder.path().join("data")),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let clients: Vec<Client> =
        futures::future::try_join_all((0..WRITERS).map(|_| cluster.connect())).await.expect("sessions");
    let all = |sql: String| {
        let statements = clients.iter().map(move |client| {
            let sql = sql.clone();
            async move { client.batch_execute(&sql).await }
        });
        futures::future::join_all(statements)
    };
    let made = all("create table raced as select * from orders".into()).await;
    let winners = made.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(winners, 1);
    for outcome in made.iter().filter(|outcome| outcome.is_err()) {
        assert!(["42P07", "40001"].contains(&sqlstate(outcome)), "{outcome:?}");
    }
    assert_eq!(number(&clients[0], "select count(*) from raced").await, 15_000);
    only_known_files_stay(&folder.path().join("data")).await;

    for outcome in all("insert into raced select * from orders where o_orderkey < 100".into()).await {
        outcome.expect("rows may be added while others are");
    }
    let few = number(&clients[0], "select count(*) from orders where o_orderkey < 100").await;
    assert_eq!(number(&clients[0], "select count(*) from raced").await, 15_000 + WRITERS as i64 * few);

    // Two blocks that change the same rows: the second to commit is told.
    let (first, second) = (&clients[0], &clients[1]);
    for client in [first, second] {
        client
            .batch_execute("begin; update raced set o_comment = 'x' where o_orderkey = 1")
            .await
            .expect("a block");
    }
    first.batch_execute("commit").await.expect("the first commits");
    assert_eq!(sqlstate(&second.batch_execute("commit").await), "40001");
    assert_eq!(number(first, "select count(*) from raced where o_comment = 'x'").await, 1 + WRITERS as i64);
    only_known_files_stay(&folder.path().join("data")).await;
}

/// Runs DuckDB's statements on a catalog, and gives the rows of each.
async fn duckdb(
    catalog: &Path,
    data_path: Option<&Path>,
    statements: &[&str],
) -> Vec<Vec<Vec<Option<String>>>> {
    duckdb_in(catalog, data_path, statements, Vec::new()).await
}

async fn duckdb_in(
    catalog: &Path,
    data_path: Option<&Path>,
    statements: &[&str],
    environment: Vec<(String, String)>,
) -> Vec<Vec<Vec<Option<String>>>> {
    let installed = installed_clients(Path::new(env!("CARGO_TARGET_TMPDIR"))).await.expect("the clients");
    let output = tokio::process::Command::new(installed.join("venv/bin/python"))
        .arg("sql-tests/clients/duckdb_lake.py")
        .arg(catalog)
        .args(data_path)
        .arg("--")
        .args(statements)
        .envs(environment)
        .output()
        .await
        .expect("DuckDB starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("text");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Waits until the server has looked at what DuckDB committed, of which `table` is the last.
async fn until_seen(client: &Client, table: &str) {
    let seen = async {
        while client.simple_query(&format!("select 1 from {table}")).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), seen).await.expect("the server sees the table");
}

fn texts(rows: &[Vec<Option<String>>]) -> Vec<Vec<&str>> {
    rows.iter().map(|row| row.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_reads_what_we_wrote_and_we_read_what_it_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("data");
    let options = Options {
        locations: vec![data("0.01").await],
        executors: 1,
        data_dir: Some(data_dir.clone()),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client = cluster.connect().await.expect("a session");
    one_by_one(
        &client,
            "create table kinds (b boolean, s smallint, i int, l bigint, r real, d double precision,
               n numeric(15,2), t text, x bytea, day date, moment timestamp, atz timestamptz, hour time, tags text[]);
             insert into kinds values
               (true, 1, -2, 3, 1.5, -2.5, 12.34, 'Zürich', '\\x00ff', '2024-02-29', '2024-02-29 01:02:03.000004',
                '2024-02-29 01:02:03+00', '23:59:59', array['a', 'b']),
               (null, null, null, null, null, null, null, null, null, null, null, null, null, null);
             create table cut (k int, day date, s text) partitioned by (bucket(8, k), year(day)) sorted by (k);
             insert into cut select o_orderkey, o_orderdate, o_orderstatus from orders;
             set sluice.route = cluster;
             create table wide as select * from lineitem;
             alter table wide rename column l_comment to remark;
             alter table wide add column extra int default 7;
             insert into wide select * from lineitem where l_orderkey < 100;
             delete from wide where l_orderkey = 1;
             update wide set extra = 8 where l_orderkey = 2;
             reset sluice.route",
    )
    .await;
    let catalog = data_dir.join("catalog.sqlite");
    let questions = [
        "select count(*), sum(l_quantity), min(l_shipdate), max(l_extendedprice), sum(extra), count(remark) from wide",
        "select count(*), sum(k), min(day) from cut where year(day) = 1995 and s = 'P'",
        "select count(*), sum(k) from cut where k = 7",
        "select i, l, n, t, day, moment, hour, tags[1] from kinds order by i",
    ];
    let theirs = duckdb(&catalog, None, &questions).await;
    for (question, theirs) in questions.iter().zip(&theirs) {
        let question = question.replace("year(day)", "extract(year from day)");
        if client.simple_query(&question).await.is_err() {
            println!("{}", cluster.log());
        }
        assert_eq!(texts(theirs), rows(&client, &question).await, "{question}");
    }
    // It writes; we read within the interval in which the server looks.
    duckdb(
        &catalog,
        None,
        &[
            "insert into wide by name select 99 as l_orderkey, 5 as extra",
            "delete from wide where l_orderkey = 3",
            "update cut set s = 'new' where k = 7",
            "create table made as select range as n, 'x' || range as s from range(1000)",
            "create table main.elsewhere as select 1 as one",
        ],
    )
    .await;
    until_seen(&client, "main.elsewhere").await;
    assert_eq!(
        rows(&client, "select count(*), sum(n), max(s) from made").await,
        [["1000", "499500", "x999"]]
    );
    assert_eq!(rows(&client, "select one from main.elsewhere").await, [["1"]]);
    let theirs = duckdb(&catalog, None, &questions).await;
    for (question, theirs) in questions.iter().zip(&theirs) {
        let question = question.replace("year(day)", "extract(year from day)");
        for route in ["local", "cluster"] {
            client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
            assert_eq!(texts(theirs), rows(&client, &question).await, "{route}: {question}");
        }
    }
    // We change what it wrote, and it reads that.
    client
        .batch_execute(
            "reset sluice.route; insert into made values (1000, 'ours'); delete from made where n < 10;
             delete from wide where l_orderkey = 99",
        )
        .await
        .expect("changes");
    let found = duckdb(
        &catalog,
        None,
        &["select count(*), max(n) from made", "select count(*) from wide where l_orderkey in (3, 99)"],
    )
    .await;
    assert_eq!(texts(&found[0]), [["991", "1000"]]);
    assert_eq!(texts(&found[1]), [["0"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_that_duckdb_made_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data_dir, lake) = (folder.path().join("data"), folder.path().join("lake"));
    for folder in [&data_dir, &lake] {
        std::fs::create_dir(folder).expect("a folder");
    }
    let path = format!("{}/", lake.display());
    let made =
        ["create table t as select range as n, range % 3 as k from range(100)", "delete from t where n = 5"];
    duckdb(&data_dir.join("catalog.sqlite"), Some(Path::new(&path)), &made).await;
    let options = Options {
        locations: vec![data("0.01").await],
        executors: 0,
        data_dir: Some(data_dir),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let client = cluster.connect().await.expect("a session");
    assert_eq!(rows(&client, "select count(*), sum(n) from main.t").await, [["99", "4945"]]);
    client.batch_execute("insert into main.t values (1000, 1)").await.expect("a row");
    assert_eq!(rows(&client, "select count(*), sum(n) from main.t").await, [["100", "5945"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_duckdb_writes_into_a_cut_table_is_grouped_rightly() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("data");
    let options = Options {
        locations: vec![data("0.01").await],
        executors: 1,
        data_dir: Some(data_dir.clone()),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client = cluster.connect().await.expect("a session");
    let source =
        "select (o_orderkey % 1000)::smallint s, o_orderkey::int i, o_orderkey l, o_orderdate d, o_clerk t,
         o_orderdate + interval '1 hour' m, o_totalprice n, o_orderkey % 2 = 0 b from orders";
    // Each transform of each type that plans rely on.
    let cuts = [
        ("s", "bucket(4, s)"),
        ("i", "bucket(4, i)"),
        ("l", "bucket(4, l)"),
        ("d", "bucket(4, d)"),
        ("t", "bucket(4, t)"),
        ("d", "year(d)"),
        ("d", "month(d)"),
        ("d", "day(d)"),
        ("m", "hour(m)"),
        ("m", "month(m)"),
        ("b", "b"),
        ("s", "s"),
    ];
    let mut theirs = Vec::new();
    for (at, (_, cut)) in cuts.iter().enumerate() {
        let create = format!("create table cut_{at} partitioned by ({cut}) as {source} limit 3000");
        client.batch_execute(&create).await.unwrap_or_else(|error| panic!("{create}: {error:?}"));
        theirs.push(format!("insert into cut_{at} from cut_{at}"));
    }
    let theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
    duckdb(&data_dir.join("catalog.sqlite"), None, &theirs).await;
    client
        .batch_execute(
            "create table cut (k int, day date, t text, seen boolean) partitioned by (bucket(8, k), t);
             insert into cut select o_orderkey, o_orderdate, o_orderstatus, false from orders;
             insert into cut values (null, null, null, false);
             create table changed (k int) partitioned by (bucket(8, k));
             insert into changed select o_orderkey from orders",
        )
        .await
        .expect("tables");
    // The same rows again by the other hand, so each group has two; and a table whose cut changes.
    duckdb(
        &data_dir.join("catalog.sqlite"),
        None,
        &[
            "insert into cut select k, day, t, true from cut where k is not null",
            "insert into cut values (null, null, null, true)",
            "alter table changed set partitioned by (bucket(3, k))",
            "insert into changed select k from changed",
            "create table main.last as select 1 as one",
        ],
    )
    .await;
    until_seen(&client, "main.last").await;
    client.batch_execute("set sluice.target_partitions = 4").await.expect("a setting");
    for route in ["local", "cluster"] {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
        for (question, needs_exchange) in [
            ("select k, t, count(*) n from cut group by k, t", false),
            ("select k, count(*) n from changed group by k", true),
        ] {
            let plan = rows(&client, &format!("explain {question}")).await.concat();
            let has_exchange = plan.iter().any(|line| line.contains("Exchange: hash"));
            assert_eq!(has_exchange, needs_exchange, "{route}: {plan:#?}");
            let groups = rows(&client, &format!("select count(*), min(n), max(n) from ({question}) g")).await;
            let expected = if needs_exchange { "15000" } else { "15001" };
            assert_eq!(groups, [[expected, "2", "2"]], "{route}: {question}");
        }
        for (at, (column, cut)) in cuts.iter().enumerate() {
            let question = format!("select {column}, count(*) n from cut_{at} group by 1");
            let plan = rows(&client, &format!("explain {question}")).await.concat();
            let has_exchange = plan.iter().any(|line| line.contains("Exchange: hash"));
            assert!(!has_exchange, "{route}, {cut}: {plan:#?}");
            // Every row is there twice, once by each hand.
            let odd = format!("select count(*) from ({question}) g where n % 2 <> 0");
            assert_eq!(rows(&client, &odd).await, [["0"]], "{route}, {cut}");
            let values = format!(
                "select (select count(distinct {column}::text) from cut_{at}), (select count(*) from ({question}) g)"
            );
            let values = &rows(&client, &values).await[0];
            assert_eq!(values[0], values[1], "{route}, {cut}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_of_a_store_is_not_asked_for_again() {
    let store = S3Store::installed(Path::new(env!("CARGO_TARGET_TMPDIR"))).await.expect("a store");
    let options = Options {
        locations: vec![data("0.01").await],
        executors: 1,
        flags: vec!["--warehouse".into(), format!("s3://{BUCKET}/warehouse")],
        environment: store.environment(),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client = cluster.connect().await.expect("a session");
    client.batch_execute("create table kept as select * from lineitem").await.expect("a table");
    let place = format!("s3://{BUCKET}/warehouse/files/one.parquet");
    client.batch_execute(&format!("copy orders to '{place}'")).await.expect("a copy");
    client
        .batch_execute(&format!("create external table one stored as parquet location '{place}'"))
        .await
        .expect("a table");
    let questions = |table: &str, column: &str| format!("select count(*), sum({column}) from {table}");
    let kept = questions("kept", "l_extendedprice");
    let expected = rows(&client, &questions("lineitem", "l_extendedprice")).await;
    for route in ["local", "cluster"] {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
        store.take_requests();
        let analyzed = async || {
            let plan = rows(&client, &format!("explain (analyze, costs off) {kept}")).await.concat();
            let scan = plan.into_iter().find(|line| line.contains("Scan on public.kept"));
            scan.expect("a scan of the table")
        };
        let scan = analyzed().await;
        assert!(scan.contains(" fetched") && !scan.contains(" 0B fetched"), "{route}: {scan}");
        assert!(!store.take_requests().is_empty(), "{route}: each process has a cache of its own");
        assert_eq!(rows(&client, &kept).await, expected, "{route}");
        let asked = store.take_requests();
        assert!(asked.is_empty(), "{route}: {asked:?}");
        let scan = analyzed().await;
        assert!(scan.contains(" from cache, 0B fetched"), "{route}: {scan}");
    }
    // An object of the same name is another one.
    for rows_of in [100, 200, 300] {
        let copy = format!("copy (select * from orders limit {rows_of}) to '{place}' (overwrite)");
        client.batch_execute(&copy).await.expect("a copy");
        for route in ["local", "cluster", "local"] {
            client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
            assert_eq!(rows(&client, "select count(*) from one").await, [[rows_of.to_string()]], "{route}");
            let largest = rows(&client, "select count(distinct o_orderkey) from one").await;
            assert_eq!(largest, [[rows_of.to_string()]], "{route}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_analyze_noted_of_files_saves_opening_them() {
    let store = S3Store::installed(Path::new(env!("CARGO_TARGET_TMPDIR"))).await.expect("a store");
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        locations: vec![data("0.01").await],
        executors: 1,
        data_dir: Some(folder.path().join("data")),
        flags: vec!["--warehouse".into(), format!("s3://{BUCKET}/warehouse")],
        environment: store.environment(),
        ..Options::default()
    };
    let place = format!("s3://{BUCKET}/warehouse/parts/");
    let part = |part: usize, filter: &str| {
        format!("copy (select * from orders where {filter}) to '{place}{part}.parquet' (overwrite)")
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client = cluster.connect().await.expect("a session");
    for at in 0..4 {
        let filter = format!("o_orderkey between {} and {}", at * 15_000 + 1, at * 15_000 + 15_000);
        client.batch_execute(&part(at, &filter)).await.expect("a file");
    }
    client
        .batch_execute(&format!(
            "create external table parts stored as parquet location '{place}';
             analyze parts"
        ))
        .await
        .expect("a table");
    let told = "select reltuples from pg_class where relname = 'parts'";
    assert_eq!(rows(&client, told).await, [["15000"]]);
    drop(client);
    cluster.end("TERM").await.expect("the server ends");

    let cluster = TestCluster::start(binary(), &options).await.expect("the cluster again");
    let client = cluster.connect().await.expect("a session");
    let one = "select o_custkey from parts where o_orderkey = 30016";
    let expected = rows(&client, "select o_custkey from orders where o_orderkey = 30016").await;
    for route in ["local", "cluster"] {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
        store.take_requests();
        assert_eq!(rows(&client, one).await, expected, "{route}");
        let asked = store.take_requests();
        let is_listing = |request: &str| request.contains("list-type=2");
        let opened = asked.iter().filter(|request| !is_listing(request)).collect::<Vec<_>>();
        let is_of_file = |request: &&&String| request.contains("/parts/2.parquet");
        assert!(
            !opened.is_empty() && opened.iter().all(|request| is_of_file(&request)),
            "{route}: {asked:?}"
        );
    }
    // It holds for the files that it was noted of.
    client.batch_execute(&part(0, "o_orderkey in (30016, 30017)")).await.expect("another file");
    for route in ["local", "cluster"] {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
        let found = rows(&client, one).await;
        assert_eq!(found, [expected.clone(), expected.clone()].concat(), "{route}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_on_s3_last_and_are_pruned() {
    let store = S3Store::installed(Path::new(env!("CARGO_TARGET_TMPDIR"))).await.expect("a store");
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("data");
    let options = Options {
        locations: vec![data("0.01").await],
        executors: 2,
        data_dir: Some(data_dir.clone()),
        flags: vec!["--warehouse".into(), format!("s3://{BUCKET}/warehouse")],
        environment: store.environment(),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    client
        .batch_execute(
            "create table days (day date, k bigint, s text) partitioned by (day);
             insert into days select date '2024-01-01' + (o_orderkey % 365)::int, o_orderkey, o_orderstatus from orders",
        )
        .await
        .expect("a table");
    drop(client);
    cluster.end("TERM").await.expect("the server ends");

    let cluster = TestCluster::start(binary(), &options).await.expect("the cluster again");
    let client = cluster.connect().await.expect("a second client");
    store.take_requests();
    let one_day = "select count(*), sum(k) from days where day = '2024-03-01'";
    for route in ["local", "cluster"] {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
        let expected = "select count(*), sum(o_orderkey) from orders where o_orderkey % 365 = 60";
        let expected = rows(&client, expected).await;
        assert_eq!(rows(&client, one_day).await, expected, "{route}");
        let asked = store.take_requests();
        let is_of_day =
            |request: &&String| request.contains("/day%3D2024-03-01/") && request.starts_with("GET ");
        assert!(!asked.is_empty() && asked.iter().all(|request| is_of_day(&request)), "{route}: {asked:?}");
    }
    assert_eq!(client.execute("delete from days where day = '2024-03-01'", &[]).await.expect("a change"), 41);
    assert_eq!(client.execute("update days set s = 'x' where k = 1", &[]).await.expect("a change"), 1);
    let question = "select count(*), sum(k), count(*) filter (where s = 'x') from days";
    let catalog = data_dir.join("catalog.sqlite");
    let theirs = duckdb_in(&catalog, None, &[question], store.environment()).await;
    assert_eq!(texts(&theirs[0]), rows(&client, question).await);
}

async fn copied(client: &Client, sql: &str, data: &[u8]) -> Result<u64, tokio_postgres::Error> {
    use futures::SinkExt;
    let sink = client.copy_in(sql).await?;
    let mut sink = std::pin::pin!(sink);
    for part in data.chunks(1000) {
        sink.send(bytes::Bytes::copy_from_slice(part)).await?;
    }
    sink.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_copied_in_whole_or_not_at_all() {
    use futures::TryStreamExt;
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("data");
    let options = Options {
        locations: vec![data("0.01").await],
        executors: 0,
        data_dir: Some(data_dir.clone()),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let client = cluster.connect().await.expect("a session");
    client
        .batch_execute(
            "create table orders_2 as select * from orders with no data;
             create table t (a int not null, b text default 'x', c date, d boolean, e bytea, f numeric(10,2))",
        )
        .await
        .expect("tables");
    // What COPY gives, COPY takes.
    let before =
        rows(&client, "select count(*), sum(o_totalprice), max(o_orderdate), max(o_comment) from orders")
            .await;
    for options in [
        "",
        "(format csv)",
        "(format csv, header, delimiter ';', quote '''', force_quote (o_comment))",
        "(format binary)",
    ] {
        let out = client.copy_out(&format!("copy orders to stdout {options}")).await.expect("rows");
        let data: Vec<bytes::Bytes> = out.try_collect().await.expect("rows");
        let options = options.replace(", force_quote (o_comment)", "");
        let count = copied(&client, &format!("copy orders_2 from stdin {options}"), &data.concat()).await;
        assert_eq!(count.expect("rows go in"), 15_000, "{options}");
        let after = rows(
            &client,
            "select count(*), sum(o_totalprice), max(o_orderdate), max(o_comment) from orders_2",
        )
        .await;
        assert_eq!(after, before, "{options}");
        client.batch_execute("truncate orders_2").await.expect("an empty table");
    }
    let some = copied(&client, "copy t (c, a) from stdin", b"2024-02-29\t1\n\\N\t2\n\\.\n").await;
    assert_eq!(some.expect("rows"), 2);
    copied(&client, "copy t from stdin csv", b"3,\"\",,t,\\x00ff,1.5\n4,,infinite,no,,")
        .await
        .expect_err("a wrong date");
    copied(&client, "copy t from stdin csv", b"3,\"\",,t,\\x00ff,1.5\n").await.expect("a row");
    assert_eq!(
        rows(&client, "select a, b, c, d, e, f from t order by a").await,
        [
            ["1", "x", "2024-02-29", "NULL", "NULL", "NULL"],
            ["2", "x", "NULL", "NULL", "NULL", "NULL"],
            ["3", "", "NULL", "t", "\\x00ff", "1.50"]
        ]
    );
    for (statement, data, code) in [
        ("copy t from stdin", "1\n", "22P04"),
        ("copy t (a) from stdin", "1\t2\n", "22P04"),
        ("copy t (a) from stdin", "one\n", "22P02"),
        ("copy t (a) from stdin", "\\N\n", "23502"),
        ("copy t (a) from stdin binary", "not binary at all....", "22P04"),
        ("copy t (a, a) from stdin", "1\t1\n", "42701"),
        ("copy t (nosuch) from stdin", "1\n", "42703"),
        ("copy nosuch from stdin", "1\n", "42P01"),
        ("copy region from stdin", "1\n", "0A000"),
    ] {
        // Good rows before the bad one stay out, too.
        let data = format!(
            "{}{data}",
            if statement == "copy t (a) from stdin" { "7\n".repeat(20_000) } else { String::new() }
        );
        // The driver ends a copy that was refused at once with one Sync too many: each has its own session.
        let client = cluster.connect().await.expect("a session");
        let outcome = copied(&client, statement, data.as_bytes()).await;
        assert_eq!(sqlstate(&outcome), code, "{statement}: {outcome:?}");
    }
    assert_eq!(number(&client, "select count(*) from t").await, 3);
    // A client that leaves in the middle leaves nothing.
    let leaving = cluster.connect().await.expect("a session");
    {
        use futures::SinkExt;
        let sink = leaving.copy_in::<_, bytes::Bytes>("copy t (a) from stdin").await.expect("a copy");
        let mut sink = Box::pin(sink);
        sink.send(bytes::Bytes::from("8\n".repeat(100_000))).await.expect("data");
    }
    drop(leaving);
    client.batch_execute("begin").await.expect("a block");
    copied(&client, "copy t (a) from stdin", b"9\n").await.expect("a row");
    client.batch_execute("rollback").await.expect("an end");
    let passing = "begin; create table passing as select 1 as a; drop table passing;
         insert into t (a) values (10); delete from t where a = 10; commit";
    client.batch_execute(passing).await.expect("a block that leaves nothing");
    assert_eq!(number(&client, "select count(*) from t").await, 3);
    only_known_files_stay(&data_dir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_have_owners() {
    let options = Options { locations: vec![data("0.01").await], executors: 0, ..Options::default() };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let client = cluster.connect().await.expect("a session");
    client
        .batch_execute(
            "create role maker login; create role other login; grant create on schema public to maker;
             create table ours (a int)",
        )
        .await
        .expect("roles");
    let connect = async |user: &str| {
        let mut config = cluster.config();
        let (client, connection) = config.user(user).connect(tokio_postgres::NoTls).await.expect("a session");
        tokio::spawn(connection);
        client
    };
    let (maker, other) = (connect("maker").await, connect("other").await);
    let run = async |client: &Client, sql: &str| sqlstate(&client.batch_execute(sql).await).to_owned();
    assert_eq!(run(&other, "create table theirs (a int)").await, "42501");
    assert_eq!(run(&maker, "create table theirs (a int); insert into theirs values (1)").await, "");
    assert_eq!(run(&maker, "create table copy_of as select * from theirs; drop table copy_of").await, "");
    for denied in [
        "select * from theirs",
        "insert into theirs values (2)",
        "update theirs set a = 2",
        "delete from theirs",
        "truncate theirs",
        "drop table theirs",
        "alter table theirs add column b int",
        "create table mine as select * from theirs",
    ] {
        assert_eq!(run(&other, denied).await, "42501", "{denied}");
    }
    for denied in ["insert into ours values (1)", "drop table ours", "alter table theirs owner to other"] {
        assert_eq!(run(&maker, denied).await, "42501", "{denied}");
    }
    assert_eq!(run(&maker, "grant select, insert on theirs to other").await, "");
    assert_eq!(run(&other, "insert into theirs select a + 1 from theirs").await, "");
    assert_eq!(run(&other, "delete from theirs").await, "42501");
    let owner = "select tableowner from pg_tables where tablename = 'theirs'";
    assert_eq!(rows(&client, owner).await, [["maker"]]);
    assert_eq!(run(&client, "revoke create on schema public from maker").await, "");
    assert_eq!(run(&client, "drop role maker").await, "2BP01");
    assert_eq!(run(&client, "alter table theirs owner to other; drop role maker").await, "");
    assert_eq!(run(&other, "delete from theirs; drop table theirs").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_told_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).expect("a folder");
    // Only root may mount.
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
        .arg(&disk)
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        eprintln!("no small file system could be mounted: a full disk is not tested here");
    }
    let options = Options {
        locations: vec![data("0.1").await],
        executors: 1,
        data_dir: Some(folder.path().join("data")),
        flags: vec!["--warehouse".into(), disk.join("warehouse").display().to_string()],
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client = cluster.connect().await.expect("a session");
    client.batch_execute("create table kept as select * from region").await.expect("a table");
    let known = number(&client, "select count(*) from kept").await;
    for route in ["local", "cluster"] {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
        if mounted {
            let large = "create table large as select * from lineitem";
            assert_eq!(sqlstate(&client.batch_execute(large).await), "53100", "{route}");
            assert_eq!(sqlstate(&client.query("select * from large", &[]).await), "42P01", "{route}");
        }
        // What was there is, and there is room again.
        assert_eq!(number(&client, "select count(*) from kept").await, known, "{route}");
        let settled = async {
            while client.batch_execute("insert into kept select * from region").await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), settled).await.expect("there is room again");
        client
            .batch_execute("delete from kept where r_regionkey < 100; insert into kept select * from region")
            .await
            .expect("changes");
    }
    drop(cluster);
    if mounted {
        let _ = std::process::Command::new("umount").arg("-l").arg(&disk).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_is_read_until_it_is_vacuumed() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("data");
    let options = Options {
        locations: vec![data("0.01").await],
        executors: 1,
        data_dir: Some(data_dir.clone()),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a cluster");
    let client = cluster.connect().await.expect("a session");
    client
        .batch_execute(
            "create table kept as select o_orderkey as k, o_orderstatus as s from orders;
             create view seen as select s, count(*) as n from kept group by s",
        )
        .await
        .expect("a table");
    let then = number(&client, "select max(snapshot) from sys.snapshots").await;
    one_by_one(
        &client,
        "alter table kept rename column s to status;
             delete from kept where k < 1000;
             create or replace view seen as select status as s, count(*) as n from kept group by status;
             create materialized view counted as select status, count(*) as n from kept group by status",
    )
    .await;
    let before = format!("select count(*), sum(k), count(distinct s) from kept at (snapshot => {then})");
    let expected = rows(&client, "select count(*), sum(o_orderkey), 3 from orders").await;
    for route in ["local", "cluster"] {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
        assert_eq!(rows(&client, &before).await, expected, "{route}");
        let both = format!(
            "select count(*) from kept at (snapshot => {then}) a left join kept b on a.k = b.k where b.k is null"
        );
        assert_eq!(
            number(&client, &both).await,
            number(&client, "select count(*) from orders where o_orderkey < 1000").await
        );
    }
    // DuckDB sees the same, views included.
    let catalog = data_dir.join("catalog.sqlite");
    let questions = [
        format!("select count(*), sum(k), count(distinct s) from kept at (version => {then})"),
        "select s, n from seen order by s".to_owned(),
        "select status, n from counted order by status".to_owned(),
    ];
    let theirs = duckdb(&catalog, None, &questions.each_ref().map(String::as_str)).await;
    assert_eq!(texts(&theirs[0]), expected);
    for (theirs, ours) in theirs[1..].iter().zip(&questions[1..]) {
        assert_eq!(texts(theirs), rows(&client, ours).await, "{ours}");
    }

    // Nothing is that old: all stays. Then only the newest does, and files that nobody committed go with age.
    client.batch_execute("vacuum").await.expect("vacuumed");
    assert_eq!(rows(&client, &before).await, expected);
    let mut found = BTreeSet::new();
    files(&data_dir.join("warehouse/public"), &mut found);
    let beside = found.first().expect("a file").parent().expect("a folder").to_owned();
    for (name, age) in [("old.parquet", "2 days ago"), ("new.parquet", "now")] {
        std::fs::write(beside.join(name), "nobody's").expect("a file");
        let touched =
            tokio::process::Command::new("touch").args(["-d", age]).arg(beside.join(name)).status().await;
        assert!(touched.expect("touch runs").success());
    }
    one_by_one(&client, "set sluice.snapshot_retention = '0'; vacuum").await;
    let outcome = client.batch_execute(&before).await;
    assert_eq!(sqlstate(&outcome), "42704");
    assert!(!beside.join("old.parquet").exists() && beside.join("new.parquet").exists());
    std::fs::remove_file(beside.join("new.parquet")).expect("removed");
    only_known_files_stay(&data_dir).await;
    let left = "select count(*), sum(k) from kept";
    assert_eq!(
        rows(&client, left).await,
        rows(&client, "select count(*), sum(o_orderkey) from orders where o_orderkey >= 1000").await
    );
    assert_eq!(texts(&duckdb(&catalog, None, &[left]).await[0]), rows(&client, left).await);

    // Small files become one, and are read the same on both routes.
    for k in 0..5 {
        client.batch_execute(&format!("insert into kept values ({k}, 'x')")).await.expect("a row");
    }
    let question = "select count(*), sum(k), count(*) filter (where status = 'x') from kept";
    let unoptimized = rows(&client, question).await;
    one_by_one(&client, "optimize kept; analyze kept").await;
    assert_eq!(rows(&client, question).await, unoptimized);
    assert_eq!(
        number(&client, "select count(*) from sys.snapshots where changes like '%deleted_from_table%'").await,
        1
    );
    one_by_one(&client, "drop view seen; drop materialized view counted; drop table kept; vacuum").await;
    only_known_files_stay(&data_dir).await;

    // A session's own tables go with it.
    let own = cluster.connect().await.expect("a session");
    own.batch_execute("set sluice.route = cluster; create temp table mine as select * from lineitem")
        .await
        .expect("a table");
    let folder = data_dir.join("warehouse/.temporary");
    assert_eq!(number(&own, "select count(*) from mine").await, 60_175);
    assert_eq!(sqlstate(&client.batch_execute("select * from pg_temp.mine").await), "42P01");
    assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 1);
    drop(own);
    let gone = async {
        while std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("its files are removed");
}

/// It would take what the first is writing for what a dead one has left.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_folder_does_not_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = Options {
        locations: vec![data("0.01").await],
        executors: 0,
        data_dir: Some(folder.path().to_owned()),
        ..Options::default()
    };
    let first = TestCluster::start(binary(), &options).await.expect("a server");
    let client = first.connect().await.expect("a session");
    client.batch_execute("begin; create table kept as select * from nation").await.expect("a table");
    let Err(refused) = TestCluster::start(binary(), &options).await else {
        panic!("two servers on one folder")
    };
    assert!(format!("{refused:#}").contains("another server uses it"), "{refused:#}");
    client.batch_execute("commit").await.expect("committed");
    let row =
        client.query_one("select sum(n_nationkey)::bigint from kept", &[]).await.expect("it is all there");
    assert_eq!(row.get::<_, i64>(0), 300);
}
