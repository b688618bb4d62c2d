//! Who runs now, who waits, who is refused; and that a small query is not stuck behind a large one.

use std::path::Path;
use std::time::{Duration, Instant};

use sql_tests::{Options, TestCluster, busy_executor, rows, tpch};
use tokio::task::JoinHandle;
use tokio_postgres::{CancelToken, Client, NoTls};

/// Never ends by itself.
const ENDLESS: &str = "select sum(a.l_orderkey % 3 + b.l_orderkey % 5) from lineitem a cross join lineitem b";

async fn start(environment: &[(&str, &str)]) -> TestCluster {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "1").await.expect("data");
    let options = Options {
        locations: vec![data],
        environment: environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        ..Options::default()
    };
    TestCluster::start(binary, &options).await.expect("a cluster")
}

async fn connect_as(cluster: &TestCluster, user: &str, options: &str) -> Client {
    let (client, connection) =
        cluster.config().user(user).options(options).connect(NoTls).await.expect("a session");
    tokio::spawn(connection);
    client
}

type Outcome = Result<Vec<tokio_postgres::SimpleQueryMessage>, tokio_postgres::Error>;

fn spawn(client: Client, sql: &str) -> (JoinHandle<Outcome>, CancelToken) {
    let (cancel, sql) = (client.cancel_token(), sql.to_owned());
    (tokio::spawn(async move { client.simple_query(&sql).await }), cancel)
}

async fn sqlstate(client: &Client, sql: &str) -> String {
    sql_tests::sqlstate(&client.simple_query(sql).await).to_owned()
}

async fn until(watcher: &Client, condition: &str) {
    let reached = async {
        while rows(watcher, condition).await[0][0] != "t" {
            tokio::task::yield_now().await;
        }
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, reached).await.unwrap_or_else(|_| panic!("never: {condition}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_have_limits_and_those_that_wait_have_places() {
    let cluster = start(&[("SLUICE_SERVER__QUEUED_QUERIES_MAX", "2")]).await;
    let admin = cluster.connect().await.expect("a session");
    for sql in [
        "create role ann login",
        "grant select on all tables in schema public to ann",
        "alter role ann set sluice.max_concurrent_queries = 1",
        "alter role ann set sluice.max_memory to '128MB'",
        "alter role ann set application_name to 'reports'",
    ] {
        admin.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    let ann = connect_as(&cluster, "ann", "-c sluice.route=local").await;
    let shown = rows(
        &ann,
        "select current_setting('sluice.max_memory') || ' ' || current_setting('application_name')",
    )
    .await;
    assert_eq!(shown[0][0], "128MB reports");
    for refused in [
        "set sluice.max_memory = '1GB'",
        "set sluice.max_concurrent_queries = 0",
        "alter role ann set sluice.max_memory = '1GB'",
        "alter role ann reset sluice.max_memory",
    ] {
        assert_eq!(sqlstate(&ann, refused).await, "42501", "{refused}");
    }
    // As in PostgreSQL, who resets all of its own leaves what a superuser set.
    ann.batch_execute("alter role ann reset all").await.expect("her own");
    let kept = connect_as(&cluster, "ann", "").await;
    let shown = rows(&kept, "select current_setting('sluice.max_memory')").await;
    assert_eq!(shown[0][0], "128MB");
    drop(kept);
    ann.batch_execute("alter role ann set statement_timeout = '1h'").await.expect("her own, and no limit");
    assert_eq!(sqlstate(&admin, "alter role ann set server_version = '9'").await, "55P02");
    assert_eq!(sqlstate(&admin, "alter role ann set no_such = '9'").await, "42704");

    // What needs more than her limit spills, or is told so, where others have room.
    let hungry = "select count(*), max(n) from (select l_comment, row_number() over (order by l_comment) as n \
                  from lineitem) t where l_comment > ''";
    let row = ann.query_one(hungry, &[]).await.expect("a sort spills");
    assert_eq!(row.get::<_, i64>(0), 6_001_215);
    // Each of the arrays is below what one value may have; together they are more than her limit.
    let reserved = "select cardinality(array_agg(l_orderkey)) + cardinality(array_agg(l_partkey)) \
                    + cardinality(array_agg(l_suppkey)) + cardinality(array_agg(l_quantity)) \
                    from lineitem where l_orderkey <= 2400000";
    let error = ann.query_one(reserved, &[]).await.expect_err("no operator can spill it");
    let error = error.as_db_error().expect("an answer");
    assert_eq!(error.code().code(), "53200");
    assert!(error.message().contains("of the 128MB that sluice.max_memory leaves"), "{error:?}");
    admin.query_one(reserved, &[]).await.expect("nothing bounds the administrator's");

    // An open cursor of hers is not what she waits for.
    for route in ["local", "cluster"] {
        for sql in [
            &format!("set sluice.route = {route}"),
            "begin",
            "declare c cursor for select * from lineitem",
            "fetch 1 from c",
            "select count(*) from orders",
            "set role none",
            "commit",
            "set sluice.route = local",
        ] {
            ann.simple_query(sql).await.unwrap_or_else(|error| panic!("{route}: {sql}: {error:?}"));
        }
    }

    let (first, cancel_first) = spawn(ann, ENDLESS);
    until(&admin, "select count(*) = 1 from sys.queries where state = 'running' and user_name = 'ann'").await;
    let (second, cancel_second) = spawn(connect_as(&cluster, "ann", "").await, "select count(*) from nation");
    until(&admin, "select count(*) = 1 from sys.queries where state = 'queued' and queue_position = 1").await;
    let (third, _) = spawn(connect_as(&cluster, "ann", "").await, "select count(*) from region");
    until(&admin, "select max(queue_position) = 2 from sys.queries").await;
    let fourth = connect_as(&cluster, "ann", "").await;
    assert_eq!(sqlstate(&fourth, "select count(*) from region").await, "53400");
    // Others have slots of their own.
    admin.query_one("select count(*) from nation", &[]).await.expect("a slot of another role");

    cancel_second.cancel_query(NoTls).await.expect("sent");
    let cancelled = second.await.expect("no panic").expect_err("cancelled");
    assert_eq!(cancelled.code().map(|code| code.code()), Some("57014"));
    until(&admin, "select max(queue_position) = 1 from sys.queries").await;
    cancel_first.cancel_query(NoTls).await.expect("sent");
    first.await.expect("no panic").expect_err("cancelled");
    third.await.expect("no panic").expect("its turn");
    admin.batch_execute("alter role ann set sluice.max_time = '50ms'").await.expect("set");
    let hurried = connect_as(&cluster, "ann", "-c sluice.route=local").await;
    hurried.batch_execute("set statement_timeout = 0").await.expect("it binds nobody");
    assert_eq!(sqlstate(&hurried, ENDLESS).await, "57014");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_answers_while_everything_else_waits() {
    let cluster =
        start(&[("SLUICE_SERVER__CONCURRENT_QUERIES_MAX", "2"), ("SLUICE_SERVER__THREADS", "2")]).await;
    let mut busy = Vec::new();
    for _ in 0..3 {
        busy.push(spawn(cluster.connect_with("-c sluice.route=local").await.expect("a session"), ENDLESS));
    }
    let watcher = cluster.connect().await.expect("a session");
    until(&watcher, "select count(*) = 1 from sys.queries where state = 'queued'").await;
    let started = Instant::now();
    for sql in ["select count(*) from sys.executors", "select count(*) from pg_class", "\\d"] {
        let sql = if sql == "\\d" {
            "select relname from pg_catalog.pg_class where relname = 'nation'"
        } else {
            sql
        };
        rows(&watcher, sql).await;
    }
    println!("three questions to the system took {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let ended = rows(
        &watcher,
        "select bool_and(pg_cancel_backend(pid)) from sys.queries where state in ('running', 'queued') \
         and pid <> pg_backend_pid()",
    );
    assert_eq!(ended.await[0][0], "t");
    for (running, _) in busy {
        let cancelled = running.await.expect("no panic").expect_err("cancelled");
        assert_eq!(cancelled.code().map(|code| code.code()), Some("57014"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_query_passes_a_large_one_on_executors() {
    let cluster = start(&[]).await;
    let watcher = cluster.connect().await.expect("a session");
    // 64 tasks over two slots: they run for many seconds, each of them for less than one.
    let large = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    large.batch_execute("set sluice.target_partitions = 64").await.expect("set");
    let (running, cancel) = spawn(
        large,
        "select count(*) from (select l_orderkey, l_partkey, count(distinct l_comment) from lineitem \
         group by l_orderkey, l_partkey) t",
    );
    busy_executor(&watcher).await.expect("it runs");
    let small = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let started = Instant::now();
    let row = small.query_one("select count(*) from nation", &[]).await.expect("an answer");
    assert_eq!(row.get::<_, i64>(0), 25);
    println!("the small query took {:?}", started.elapsed());
    assert!(!running.is_finished(), "the large one had ended already");
    cancel.cancel_query(NoTls).await.expect("sent");
    running.await.expect("no panic").expect_err("cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_nobody_reads_lends_its_slot() {
    let cluster = start(&[("SLUICE_SERVER__CONCURRENT_QUERIES_MAX", "1")]).await;
    let reader = cluster.connect_with("-c sluice.route=local").await.expect("a session");
    let expected = rows(&reader, "select c_custkey, c_nationkey from customer order by 1 limit 20").await;
    reader
        .batch_execute(
            "begin; declare half cursor for select c_custkey, c_nationkey from customer order by 1",
        )
        .await
        .expect("a cursor");
    let mut seen = rows(&reader, "fetch 10 from half").await;
    let other = cluster.connect_with("-c sluice.route=local").await.expect("a session");
    let counted = tokio::time::timeout(Duration::from_secs(20), rows(&other, "select count(*) from nation"));
    assert_eq!(counted.await.expect("the cursor's slot is free")[0][0], "25");
    // While others have all slots, the cursor, which has no memory that they could wait for, waits in its turn.
    let watcher = cluster.connect().await.expect("a session");
    let (endless, cancel) = spawn(other, ENDLESS);
    until(
        &watcher,
        "select count(*) = 1 from sys.queries where state = 'running' and sql like 'select sum(a.%'",
    )
    .await;
    let freed = async {
        until(&watcher, "select count(*) = 1 from sys.queries where queue_position = 1").await;
        cancel.cancel_query(NoTls).await.expect("a cancel");
    };
    let (more, ()) = tokio::join!(rows(&reader, "fetch 10 from half"), freed);
    seen.extend(more);
    assert_eq!(seen, expected);
    assert!(endless.await.expect("it ends").is_err());
    reader.batch_execute("commit").await.expect("the end");
}
