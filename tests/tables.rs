//! Tables that statements make: what they read, who may make them, what survives a restart and a kill.

use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sql_tests::{Options, TestCluster, tpch};

/// Every run kills at the same moments.
const SEED: u64 = 20_261_122;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sluice"))
}

async fn data() -> PathBuf {
    tpch::data(binary(), Path::new(env!("CARGO_TARGET_TMPDIR")), "0.01").await.expect("data")
}

fn sqlstate<T>(outcome: Result<T, tokio_postgres::Error>) -> String {
    match outcome {
        Ok(_) => "no error".to_owned(),
        Err(error) => error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned()),
    }
}

async fn number(client: &tokio_postgres::Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

async fn connect_as(cluster: &TestCluster, user: &str) -> tokio_postgres::Client {
    let mut config = cluster.config();
    let (client, connection) = config.user(user).connect(tokio_postgres::NoTls).await.expect("a session");
    tokio::spawn(connection);
    client
}

/// A lake with one partitioned table, `days`: five regions on each of two days.
fn lake(data: &Path, folder: &Path) -> PathBuf {
    let lake = folder.join("lake");
    for day in ["2024-01-01", "2024-01-02"] {
        let partition = lake.join(format!("days/day={day}"));
        std::fs::create_dir_all(&partition).expect("a folder");
        std::fs::copy(data.join("region.parquet"), partition.join("part.parquet")).expect("a copy");
    }
    lake
}

#[tokio::test(flavor = "multi_thread")]
async fn external_tables_are_read_on_both_routes_and_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = data().await;
    let lake = lake(&data, folder.path());
    let options = Options {
        locations: vec![data.clone(), lake.clone()],
        executors: 1,
        data_dir: Some(folder.path().join("data")),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let client = cluster.connect().await.expect("a session");
    let (lake, file) = (lake.display(), data.join("orders.parquet").display().to_string());
    client
        .batch_execute(&format!(
            "create external table by_day stored as parquet partitioned by (day) location '{lake}/days';
             create external table if not exists \"Orders 2\" stored as parquet location 'file://{file}';
             create external table if not exists by_day stored as parquet location '{lake}/days';
             comment on table by_day is 'regions by day';
             alter table by_day add primary key (r_regionkey) not enforced"
        ))
        .await
        .expect("tables");
    let both = "select count(*) from by_day where day = date '2024-01-02'";
    let joined = "select count(*) from \"Orders 2\" a join orders b on a.o_orderkey = b.o_orderkey";
    for route in ["local", "cluster"] {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
        assert_eq!(number(&client, both).await, 5, "{route}");
        assert_eq!(number(&client, joined).await, 15_000, "{route}");
        let last = client.query_one("show sluice.last_route", &[]).await.expect("a route");
        assert!(last.get::<_, &str>(0).starts_with(route), "{route}");
    }
    client.batch_execute("create role reader; grant select on by_day to reader").await.expect("a grant");
    let oid = number(&client, "select oid::bigint from pg_class where relname = 'by_day'").await;

    // A block's tables are its own until it ends.
    let other = cluster.connect().await.expect("a session");
    let create = format!("create external table later stored as parquet location '{lake}/days'");
    client
        .batch_execute(&format!("begin; {create}; comment on table later is 'mine'"))
        .await
        .expect("a block");
    assert_eq!(number(&client, "select count(*) from later").await, 10);
    assert_eq!(sqlstate(other.query("select * from later", &[]).await), "42P01");
    client.batch_execute("rollback").await.expect("an end");
    assert_eq!(sqlstate(client.query("select * from later", &[]).await), "42P01");
    cluster.end("TERM").await.expect("an end");

    // A start without the lake's location knows its table and does not read it.
    let without = Options { locations: vec![data.clone()], ..options.clone() };
    let cluster = TestCluster::start(binary(), &without).await.expect("the server without the lake");
    let client = cluster.connect().await.expect("a session");
    let refused = client.query(both, &[]).await.expect_err("outside");
    assert!(refused.as_db_error().is_some_and(|error| error.message().contains("outside")), "{refused:?}");
    assert_eq!(number(&client, joined).await, 15_000);
    cluster.end("TERM").await.expect("an end");

    let cluster = TestCluster::start(binary(), &options).await.expect("the same server again");
    let client = cluster.connect().await.expect("a session");
    assert_eq!(number(&client, both).await, 5);
    assert_eq!(number(&client, "select oid::bigint from pg_class where relname = 'by_day'").await, oid);
    let comment = "select obj_description('by_day'::regclass, 'pg_class')";
    assert_eq!(client.query_one(comment, &[]).await.expect("a comment").get::<_, &str>(0), "regions by day");
    assert!(lake_file(&data).exists());
    client.batch_execute("drop table by_day, \"Orders 2\"; drop table if exists by_day").await.expect("gone");
    assert!(lake_file(&data).exists(), "the files stay");
    assert_eq!(sqlstate(client.query("select * from by_day", &[]).await), "42P01");
    client.batch_execute("drop role reader").await.expect("its grant went with the table");
}

fn lake_file(data: &Path) -> PathBuf {
    data.join("orders.parquet")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_table_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = data().await;
    let lake = lake(&data, folder.path());
    std::fs::create_dir(lake.join("empty")).expect("a folder");
    // Hidden from what is found at the start, as what one writes and renames is.
    std::fs::create_dir(lake.join("_bad")).expect("a folder");
    std::fs::write(lake.join("_bad/a.parquet"), b"PAR1 not at all PAR1").expect("a file");
    std::os::unix::fs::symlink(&data, lake.join("out")).expect("a link");
    let options = Options { locations: vec![lake.clone()], executors: 0, ..Options::default() };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let client = cluster.connect().await.expect("a session");
    let lake = lake.display();
    let create = |rest: &str| {
        format!("create external table t stored as parquet {}", rest.replace("LAKE", &lake.to_string()))
    };
    for (rest, right) in [
        (format!("location '{}/orders.parquet'", data.display()), "42501"),
        ("location 'LAKE/out/orders.parquet'".to_owned(), "42501"),
        ("location 'LAKE/../lake/../../etc'".to_owned(), "42501"),
        ("location '/etc'".to_owned(), "42501"),
        ("location 'http://169.254.169.254/latest/'".to_owned(), "42501"),
        ("location 's3://elsewhere/lake/'".to_owned(), "42501"),
        ("location 'LAKE/missing'".to_owned(), "58P01"),
        ("location 'LAKE/empty'".to_owned(), "58P01"),
        ("location 'LAKE/_bad'".to_owned(), "XX001"),
        ("partitioned by (month) location 'LAKE/days'".to_owned(), "42P16"),
        ("location 'LAKE/days' options (a 'b')".to_owned(), "42601"),
    ] {
        let statement = create(&rest);
        assert_eq!(sqlstate(client.batch_execute(&statement).await), right, "{statement}");
    }
    let days = create("location 'LAKE/days'");
    assert_eq!(sqlstate(client.batch_execute(&days.replace(" t ", " days ")).await), "42P07");
    assert_eq!(sqlstate(client.batch_execute(&days.replace(" t ", " nosuch.t ")).await), "3F000");
    assert_eq!(sqlstate(client.batch_execute(&days.replace(" t ", " pg_catalog.t ")).await), "42501");
    assert_eq!(sqlstate(client.batch_execute(&days.replace("parquet", "csv")).await), "58P01");
    assert_eq!(sqlstate(client.batch_execute(&days.replace("parquet", "orc")).await), "0A000");
    // A file that went is missing, and not a table without rows.
    let gone = folder.path().join("lake/gone.parquet");
    std::fs::copy(data.join("region.parquet"), &gone).expect("a file");
    let create_gone = format!("create external table gone stored as parquet location '{}'", gone.display());
    client.batch_execute(&create_gone).await.expect("a table");
    assert_eq!(number(&client, "select count(*) from gone").await, 5);
    std::fs::remove_file(&gone).expect("removed");
    for query in ["select count(*) from gone", "select * from gone where r_regionkey = 1"] {
        assert_eq!(sqlstate(client.batch_execute(query).await), "58P01", "{query}");
    }
    client.batch_execute("drop table gone").await.expect("forgotten");
    assert_eq!(sqlstate(client.batch_execute("drop table days").await), "0A000");
    assert_eq!(sqlstate(client.batch_execute("drop table t").await), "42P01");
    assert_eq!(sqlstate(client.batch_execute(&format!("begin read only; {days}")).await), "25006");
    client.batch_execute("rollback").await.expect("an end");

    let reserved = days.replace(" t ", " pg_class ");
    assert_eq!(sqlstate(client.batch_execute(&reserved).await), "42939");

    // Who names a location reads what lies there: that is for superusers.
    client
        .batch_execute("create role maker login; grant create on schema public to maker")
        .await
        .expect("a role");
    let maker = connect_as(&cluster, "maker").await;
    assert_eq!(sqlstate(maker.batch_execute(&days).await), "42501");
    client.batch_execute(&days).await.expect("a table");
    assert_eq!(sqlstate(maker.query("select * from t", &[]).await), "42501");
    assert_eq!(sqlstate(maker.batch_execute("drop table t").await), "42501");
    client.batch_execute("grant select on t to maker").await.expect("a grant");
    assert_eq!(number(&maker, "select count(*) from t").await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_survives_kills() {
    const KILLS: usize = 12;
    let folder = tempfile::tempdir().expect("a folder");
    let data = data().await;
    let options = Options {
        locations: vec![data.clone()],
        executors: 0,
        data_dir: Some(folder.path().join("data")),
        ..Options::default()
    };
    let region = data.join("region.parquet").display().to_string();
    let mut random = StdRng::seed_from_u64(SEED);
    let mut committed = 0;
    for kill in 0..KILLS {
        let cluster = TestCluster::start(binary(), &options).await.expect("the server opens");
        let client = cluster.connect().await.expect("a session");
        // Of each pair both are there, or neither.
        let made = number(&client, "select count(*) from pg_class where relname like 'made%'").await;
        let commented = "select count(*) from pg_description where description = 'pair'";
        assert_eq!(made % 2, 0, "kill {kill}");
        assert_eq!(number(&client, commented).await * 2, made, "kill {kill}");
        assert!(made >= 2 * committed, "kill {kill}: {made} of {} tables", 2 * committed);
        committed = made / 2;
        let mut next = committed;
        // Right after a commit was told, the next statement is on its way.
        let kill_at = committed + random.random_range(0..4);
        let (told, mut heard) = tokio::sync::watch::channel(committed);
        let making = async {
            loop {
                let pair = format!(
                    "begin;
                     create external table made_{next}_a stored as parquet location '{region}';
                     create external table made_{next}_b stored as parquet location '{region}';
                     comment on table made_{next}_a is 'pair';
                     commit"
                );
                if client.batch_execute(&pair).await.is_err() {
                    break;
                }
                next += 1;
                told.send_replace(next);
            }
        };
        let killing = async {
            heard.wait_for(|told| *told >= kill_at).await.expect("the pairs are made");
            sql_tests::send_signal("KILL", cluster.process_id()).await.expect("a signal");
        };
        tokio::join!(making, killing);
        committed = next;
    }
    assert!(committed > 0, "some pairs were made");
}
