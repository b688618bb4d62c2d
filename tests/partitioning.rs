//! Exchanges that the layout of written tables makes needless, and those that it does not: the plans, and the rows.

use std::path::{Path, PathBuf};

use sql_tests::{Options, TestCluster, chance_questions, rows, tpch};
use tokio_postgres::Client;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sluice"))
}

async fn data(scale: &str) -> PathBuf {
    tpch::data(binary(), Path::new(env!("CARGO_TARGET_TMPDIR")), scale).await.expect("data")
}

/// What `orders` and `lineitem` are written to, each in two statements.
const TABLES: &str = "
    create table keyed partitioned by (bucket(16, o_orderkey)) as select * from orders where o_orderkey % 3 = 0;
    insert into keyed select * from orders where o_orderkey % 3 <> 0;
    create table items partitioned by (bucket(16, l_orderkey)) as select * from lineitem where l_orderkey % 5 = 0;
    insert into items select * from lineitem where l_orderkey % 5 <> 0;
    create table items8 partitioned by (bucket(8, l_orderkey)) as select * from lineitem;
    create table plain as select * from lineitem;
    create table priorities partitioned by (o_orderpriority) as select * from orders;
    create table months partitioned by (year(o_orderdate), month(o_orderdate)) as select * from orders;
    create table pairs partitioned by (bucket(4, l_suppkey), bucket(4, l_partkey)) as select * from lineitem;
    create table holes partitioned by (bucket(16, k)) as
        select case when o_orderkey % 7 = 0 then null else o_orderkey end k, o_custkey c from orders;";

/// A question over those tables, how many exchanges by hash it needs, and what gives the same rows.
struct Question {
    sql: &'static str,
    exchanges: Exchanges,
    same: &'static str,
}

#[derive(Debug, PartialEq)]
enum Exchanges {
    None,
    Some,
}

const fn question(sql: &'static str, exchanges: Exchanges, same: &'static str) -> Question {
    Question { sql, exchanges, same }
}

const QUESTIONS: &[Question] = &[
    // Groups.
    question(
        "select o_orderkey, count(*), sum(o_totalprice) from keyed group by o_orderkey",
        Exchanges::None,
        "select o_orderkey, count(*), sum(o_totalprice) from orders group by o_orderkey",
    ),
    question(
        "select l_linenumber, l_orderkey, sum(l_tax) from items where l_quantity > 10 group by 1, 2 having count(*) > 0",
        Exchanges::None,
        "select l_linenumber, l_orderkey, sum(l_tax) from lineitem where l_quantity > 10 group by 1, 2",
    ),
    question(
        "select l_orderkey, count(distinct l_suppkey) from items group by l_orderkey",
        Exchanges::None,
        "select l_orderkey, count(distinct l_suppkey) from lineitem group by l_orderkey",
    ),
    question(
        "select o_orderpriority, count(*) from priorities group by 1",
        Exchanges::None,
        "select o_orderpriority, count(*) from orders group by 1",
    ),
    question(
        "select o_orderdate, count(*) from months group by 1",
        Exchanges::None,
        "select o_orderdate, count(*) from orders group by 1",
    ),
    question(
        "select k, count(*), sum(c) from holes group by k",
        Exchanges::None,
        "select case when o_orderkey % 7 = 0 then null else o_orderkey end, count(*), sum(o_custkey) from orders group by 1",
    ),
    question(
        "select l_partkey, l_suppkey, count(*) from pairs group by 1, 2",
        Exchanges::None,
        "select l_partkey, l_suppkey, count(*) from lineitem group by 1, 2",
    ),
    question(
        "select distinct l_orderkey from items",
        Exchanges::None,
        "select distinct l_orderkey from lineitem",
    ),
    // A part of the key, another column, a function of it: rows of one group are in several files.
    question(
        "select l_partkey, count(*) from pairs group by 1",
        Exchanges::Some,
        "select l_partkey, count(*) from lineitem group by 1",
    ),
    question(
        "select o_custkey, count(*) from keyed group by 1",
        Exchanges::Some,
        "select o_custkey, count(*) from orders group by 1",
    ),
    question(
        "select o_orderkey / 2, count(*) from keyed group by 1",
        Exchanges::Some,
        "select o_orderkey / 2, count(*) from orders group by 1",
    ),
    question(
        "select o_orderstatus, count(*) from months group by 1",
        Exchanges::Some,
        "select o_orderstatus, count(*) from orders group by 1",
    ),
    // Windows.
    question(
        "select l_orderkey, l_linenumber, sum(l_quantity) over (partition by l_orderkey order by l_linenumber) from items",
        Exchanges::None,
        "select l_orderkey, l_linenumber, sum(l_quantity) over (partition by l_orderkey order by l_linenumber)
         from lineitem",
    ),
    question(
        "select l_suppkey, rank() over (partition by l_suppkey order by l_orderkey, l_linenumber) from items",
        Exchanges::Some,
        "select l_suppkey, rank() over (partition by l_suppkey order by l_orderkey, l_linenumber) from lineitem",
    ),
    // Joins of tables that are cut alike.
    question(
        "select o_orderpriority, l_linenumber, l_tax from keyed join items on o_orderkey = l_orderkey",
        Exchanges::None,
        "select o_orderpriority, l_linenumber, l_tax from orders join lineitem on o_orderkey = l_orderkey",
    ),
    question(
        "select o_orderkey, l_linenumber from (select * from keyed where o_custkey % 4 <> 0) o
         full join (select * from items where l_partkey % 5 <> 0) i on o_orderkey = l_orderkey",
        Exchanges::None,
        "select o_orderkey, l_linenumber from (select * from orders where o_custkey % 4 <> 0) o
         full join (select * from lineitem where l_partkey % 5 <> 0) i on o_orderkey = l_orderkey",
    ),
    question(
        "select o_orderkey, l_linenumber from keyed left join (select * from items where l_partkey % 3 = 0) i
         on l_orderkey = o_orderkey and l_linenumber > 2",
        Exchanges::None,
        "select o_orderkey, l_linenumber from orders left join (select * from lineitem where l_partkey % 3 = 0) i
         on l_orderkey = o_orderkey and l_linenumber > 2",
    ),
    question(
        "select l_orderkey, l_linenumber from items where not exists
         (select 1 from keyed where o_orderkey = l_orderkey and o_totalprice > 100000)",
        Exchanges::None,
        "select l_orderkey, l_linenumber from lineitem where not exists
         (select 1 from orders where o_orderkey = l_orderkey and o_totalprice > 100000)",
    ),
    question(
        "select l_orderkey, o_orderdate, sum(l_extendedprice) from keyed join items on o_orderkey = l_orderkey
         group by l_orderkey, o_orderdate",
        Exchanges::None,
        "select l_orderkey, o_orderdate, sum(l_extendedprice) from orders join lineitem on o_orderkey = l_orderkey
         group by l_orderkey, o_orderdate",
    ),
    question(
        "select a.k, a.n, b.s from (select l_orderkey k, count(*) n from items group by 1) a
         join (select o_orderkey k, sum(o_totalprice) s from keyed group by 1) b on a.k = b.k",
        Exchanges::None,
        "select a.k, a.n, b.s from (select l_orderkey k, count(*) n from lineitem group by 1) a
         join (select o_orderkey k, sum(o_totalprice) s from orders group by 1) b on a.k = b.k",
    ),
    // Joins with tables that are cut otherwise, or not at all.
    question(
        "select o_orderpriority, l_linenumber, l_tax from keyed join items8 on o_orderkey = l_orderkey",
        Exchanges::Some,
        "select o_orderpriority, l_linenumber, l_tax from orders join lineitem on o_orderkey = l_orderkey",
    ),
    question(
        "select o_orderkey, l_linenumber from keyed full join (select * from plain where l_partkey % 5 <> 0) i
         on o_orderkey = l_orderkey",
        Exchanges::Some,
        "select o_orderkey, l_linenumber from orders full join (select * from lineitem where l_partkey % 5 <> 0) i
         on o_orderkey = l_orderkey",
    ),
    question(
        "select o_orderkey, l_linenumber from keyed join items on o_orderkey = l_orderkey and o_custkey = l_suppkey",
        Exchanges::None,
        "select o_orderkey, l_linenumber from orders join lineitem on o_orderkey = l_orderkey and o_custkey = l_suppkey",
    ),
    // The same columns in other places of the key.
    question(
        "select count(*), sum(l_tax) from keyed join items on o_orderkey = l_suppkey and o_custkey = l_orderkey",
        Exchanges::Some,
        "select count(*), sum(l_tax) from orders join lineitem on o_orderkey = l_suppkey and o_custkey = l_orderkey",
    ),
    // Several stages, and a small table that is sent whole.
    question(
        "select n_name, count(*) from (select o_orderkey, o_custkey from keyed group by 1, 2) o
         join customer on c_custkey = o_custkey join nation on n_nationkey = c_nationkey group by n_name",
        Exchanges::Some,
        "select n_name, count(*) from (select o_orderkey, o_custkey from orders group by 1, 2) o
         join customer on c_custkey = o_custkey join nation on n_nationkey = c_nationkey group by n_name",
    ),
    question(
        "select l_orderkey, min(n_name) from items join supplier on s_suppkey = l_suppkey
         join nation on n_nationkey = s_nationkey group by l_orderkey",
        Exchanges::None,
        "select l_orderkey, min(n_name) from lineitem join supplier on s_suppkey = l_suppkey
         join nation on n_nationkey = s_nationkey group by l_orderkey",
    ),
    question(
        "select o_orderkey from keyed union all (select l_orderkey from items group by l_orderkey)",
        Exchanges::None,
        "select o_orderkey from orders union all (select l_orderkey from lineitem group by l_orderkey)",
    ),
    // Two halves of a union that are cut alike, and what else reads a cut table twice.
    question(
        "select l_orderkey, count(*) from items group by l_orderkey
         union all select l_orderkey, count(*) from items where l_linenumber = 1 group by l_orderkey",
        Exchanges::None,
        "select l_orderkey, count(*) from lineitem group by l_orderkey
         union all select l_orderkey, count(*) from lineitem where l_linenumber = 1 group by l_orderkey",
    ),
    question(
        "select o_orderkey from keyed where o_orderkey in (select l_orderkey from items where l_tax > 0.05)",
        Exchanges::None,
        "select o_orderkey from orders where o_orderkey in (select l_orderkey from lineitem where l_tax > 0.05)",
    ),
    question(
        "select l_orderkey from items intersect select o_orderkey from keyed where o_custkey % 2 = 0",
        Exchanges::None,
        "select l_orderkey from lineitem intersect select o_orderkey from orders where o_custkey % 2 = 0",
    ),
    question(
        "select k, row_number() over (partition by k order by n) from
         (select o_orderkey k, l_linenumber n from keyed join items on o_orderkey = l_orderkey) j",
        Exchanges::None,
        "select k, row_number() over (partition by k order by n) from
         (select o_orderkey k, l_linenumber n from orders join lineitem on o_orderkey = l_orderkey) j",
    ),
    question(
        "select count(*), sum(l_tax), sum(o_totalprice) from keyed join items on o_orderkey = l_orderkey",
        Exchanges::None,
        "select count(*), sum(l_tax), sum(o_totalprice) from orders join lineitem on o_orderkey = l_orderkey",
    ),
    // What is asked for stays.
    question(
        "select o_orderkey, o_custkey from keyed distribute by o_orderkey into 3 partitions",
        Exchanges::Some,
        "select o_orderkey, o_custkey from orders",
    ),
];

async fn plan(client: &Client, sql: &str) -> Vec<String> {
    rows(client, &format!("explain {sql}")).await.concat()
}

/// How many rows, and what they add up to, whichever order they come in.
async fn digest(client: &Client, sql: &str) -> (usize, Vec<Vec<String>>) {
    let mut rows = rows(client, sql).await;
    rows.sort_unstable();
    (rows.len(), rows)
}

/// Tasks of several partitions: what one reads must not be taken by its neighbour.
async fn cluster(scale: &str, folder: &Path) -> TestCluster {
    let options = Options {
        locations: vec![data(scale).await],
        executors: 2,
        executor_threads: 2,
        data_dir: Some(folder.join("data")),
        environment: vec![
            ("SLUICE_SERVER__THREADS".into(), "4".into()),
            ("SLUICE_CLUSTER__BROADCAST_BYTES_MAX".into(), "64kB".into()),
            // As many partitions as slots, however little they hold.
            ("SLUICE_CLUSTER__PARTITION_SIZE_MIN".into(), "0B".into()),
        ],
        ..Options::default()
    };
    TestCluster::start(binary(), &options).await.expect("a cluster")
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_go_where_files_are_cut_by_the_key_and_rows_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = cluster("0.1", folder.path()).await;
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    client.batch_execute(TABLES).await.expect("tables");
    let mut wrong = Vec::new();
    for question in QUESTIONS {
        client.batch_execute("set sluice.route = local").await.expect("a route");
        let expected = digest(&client, question.same).await;
        for route in ["local", "cluster"] {
            client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
            let plan = plan(&client, question.sql).await;
            let is_exchange = |line: &&String| line.contains("Exchange: hash");
            let exchanges =
                if plan.iter().any(|line| is_exchange(&line)) { Exchanges::Some } else { Exchanges::None };
            if exchanges != question.exchanges {
                wrong.push(format!("{route}: {}\n  has {exchanges:?}\n{}", question.sql, plan.join("\n")));
            }
            let counted = format!("select count(*) from ({}) q", question.sql);
            let count = rows(&client, &counted).await[0][0].clone();
            if count != expected.0.to_string() {
                wrong.push(format!("{route}: {counted}\n  {count} for {}", expected.0));
            }
            let actual = digest(&client, question.sql).await;
            if actual != expected {
                wrong.push(format!(
                    "{route}: {}\n  {} rows for {}\n{}",
                    question.sql,
                    actual.0,
                    expected.0,
                    plan.join("\n")
                ));
            }
        }
    }
    // What is written without an exchange.
    let joined = "select o_orderkey k, l_linenumber n from keyed join items on o_orderkey = l_orderkey";
    client
        .batch_execute(&format!("create table made partitioned by (bucket(4, k)) as {joined}"))
        .await
        .expect("a table");
    if digest(&client, "select * from made").await != digest(&client, joined).await {
        wrong.push("a table made of a join".into());
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}

/// `SLUICE_TEST_QUESTIONS` asks for more, `SLUICE_TEST_SEED` for others.
#[tokio::test(flavor = "multi_thread")]
async fn questions_made_by_chance_have_the_rows_of_uncut_tables() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (count, seed) =
        (number("SLUICE_TEST_QUESTIONS").unwrap_or(60), number("SLUICE_TEST_SEED").unwrap_or(4));
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = cluster("0.01", folder.path()).await;
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    client.batch_execute(TABLES).await.expect("tables");
    // As one row, and as they are: what lies below a gathering is planned once more on the cluster.
    let summed = |sql: &str| {
        format!("select count(*), sum(k), sum(a), sum(v), sum((k * 31 + a * 17 + v) % 1009) from ({sql}) q")
    };
    let (mut wrong, mut spared) = (Vec::new(), 0);
    for (at, question) in chance_questions(seed, count as usize).into_iter().enumerate() {
        client.batch_execute("set sluice.route = local").await.expect("a route");
        let expected = rows(&client, &summed(&question.over_plain)).await;
        let is_short = expected[0][0].parse::<u64>().is_ok_and(|rows| rows < 10_000);
        let expected_rows = if is_short { Some(digest(&client, &question.over_plain).await) } else { None };
        for route in ["local", "cluster"] {
            let partitions = [2, 3, 4, 7][at % 4];
            let settings = format!("set sluice.route = {route}; set sluice.target_partitions = {partitions}");
            client.batch_execute(&settings).await.expect("settings");
            let plan = plan(&client, &question.over_cut).await;
            spared +=
                usize::from(plan.iter().any(|line| {
                    line.contains("Avoided: an exchange by") && line.contains("partitioned by it")
                }));
            let sum = rows(&client, &summed(&question.over_cut)).await;
            if sum != expected {
                wrong.push(format!(
                    "{at} {route}: {}\n  {sum:?} for {expected:?}",
                    summed(&question.over_cut)
                ));
            }
            if let Some(expected) = &expected_rows
                && digest(&client, &question.over_cut).await != *expected
            {
                wrong.push(format!("{at} {route}: {}\n  other rows\n{}", question.over_cut, plan.join("\n")));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n\n"));
    let plans = 2 * count;
    assert!(spared as u64 * 10 > plans, "only {spared} of {plans} plans left an exchange out");
}

/// Where a join's inputs turn out larger than planned, Ballista turns its sides round.
#[tokio::test(flavor = "multi_thread")]
async fn rows_keep_their_order_above_joins() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = cluster("0.01", folder.path()).await;
    let client = cluster.connect().await.expect("a session");
    for sql in [
        "select y.k, y.a from (select l_orderkey k from lineitem where (l_orderkey + l_partkey) % 3 < 3) x
         join (select o_orderkey k, o_custkey a from orders) y on x.k = y.k order by y.a, y.k",
        "select k, rank() over (partition by k order by a) from
         (select x.k, y.a from (select l_partkey k from lineitem where l_partkey % 3 = 2) x
          join (select o_orderkey k, o_custkey a from orders) y on x.k = y.k) x
         where k in (select l_partkey k from lineitem where (l_orderkey + l_partkey) % 3 < 3) order by 1, 2",
        // Sorted by one of two columns that the join makes equal.
        "select k, rank() over (partition by k order by a), count(*) over (partition by a) from
         (select x.k, y.a from (select l_orderkey k, l_suppkey v from lineitem) x
          join (select l_orderkey a, l_suppkey v from lineitem) y on x.k = y.a and x.v = y.v) w order by 1, 2, 3",
    ] {
        client.batch_execute("set sluice.route = local").await.expect("a route");
        let expected = rows(&client, sql).await;
        client.batch_execute("set sluice.route = cluster").await.expect("a route");
        // Not compared as one: there are ten thousands of rows.
        let actual = rows(&client, sql).await;
        let first = actual.iter().zip(&expected).position(|(actual, expected)| actual != expected);
        assert_eq!((actual.len(), first), (expected.len(), None), "{sql}");
    }
}

/// Ballista plans stages anew, and knows less then than was known of the whole.
#[tokio::test(flavor = "multi_thread")]
async fn executors_give_the_rows_that_the_server_gives() {
    const HALF: &str =
        "(select t.b, sum(n) c from (select l_orderkey k, count(*) n from lineitem group by 1) x
        join (select k a, k2 b from pair where k = k2) t on t.a = x.k group by t.b)";
    const OTHER_HALF: &str =
        "(select t.b, sum(n) c from (select o_orderkey k, count(*) n from orders group by 1) x
        join (select k a, k2 b from pair where k = k2) t on t.a = x.k group by t.b)";
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = cluster("0.01", folder.path()).await;
    let client = cluster.connect().await.expect("a session");
    client
        .batch_execute(
            "create table pair as select o_orderkey k,
             case when o_orderkey % 4 = 0 then o_orderkey else o_orderkey + 1 end k2 from orders where o_orderkey < 3000;
             create table many as select
             case when l_orderkey = 1 and l_linenumber = 1 then 1000000000 else l_orderkey end k from lineitem",
        )
        .await
        .expect("a table");
    let questions = [
        // Two columns are equal, and only an earlier stage knows it.
        format!("select count(*) n, sum(p.c) c, sum(q.c) d from {HALF} p join {OTHER_HALF} q on p.b = q.b"),
        format!("select count(*) n, sum(p.c) c, sum(q.c) d from {HALF} p full join {OTHER_HALF} q on p.b = q.b"),
        format!(
            "select count(*) n, sum(b) b, sum(c) c, sum(m) m from {HALF} q
             full join (select o_orderkey z, sum(o_custkey) m from orders group by 1) y on y.z = q.b"
        ),
        format!("select count(*) n, sum(b) b from (select * from {HALF} p union all select * from {OTHER_HALF} q) u"),
        format!("select b, sum(c) c from (select * from {HALF} p union all select * from {OTHER_HALF} q) u group by b"),
        "select count(*) n, sum(c) c, sum(d) d from
         (select x.l_suppkey s, count(*) c from lineitem x join orders on o_orderkey = x.l_orderkey
          where x.l_orderkey = x.l_suppkey group by x.l_suppkey) a
         full join (select l_orderkey k, count(*) d from lineitem group by 1) b on a.s = b.k"
            .to_owned(),
        "select l_suppkey, sum(n) n, sum(r) r from
         (select l_orderkey, l_suppkey, n, rank() over (partition by l_orderkey order by n) r from
          (select l_orderkey, l_suppkey, count(*) n from lineitem where l_orderkey = l_suppkey group by 1, 2) q) w
         group by l_suppkey"
            .to_owned(),
        // A branch of a union whose join, turned round, each task would run whole.
        "select count(*) n from (select k from (select distinct k from many where k < 3000) x cross join supplier
         union all select l_orderkey from lineitem) q"
            .to_owned(),
        "select count(*) n from (select x.k from (select distinct k from many where k < 3000) x
         join (select s_suppkey b from supplier) y on x.k > y.b + 2000
         union all select l_orderkey from lineitem) q"
            .to_owned(),
        "select count(*) n from (select x.k from (select distinct k from many where k < 3000) x
         right join (select s_suppkey b from supplier) y on x.k > y.b + 2000
         union all select l_orderkey from lineitem) q"
            .to_owned(),
        "select k, count(*) n from (select k from (select distinct k from many where k < 300) x where exists
         (select 1 from supplier where s_suppkey < x.k) union all select l_orderkey from lineitem) q group by k"
            .to_owned(),
        // Rows without a match, which each task would give.
        "select count(*) n, sum(k) k from (select o_orderkey k from orders where o_orderkey < 300) a
         left join (select l_orderkey j from lineitem where l_orderkey < 300) b on a.k > b.j + 250"
            .to_owned(),
        "select count(*) n from (select o_orderkey k from orders where o_orderkey < 300) a
         full join (select l_orderkey j from lineitem where l_orderkey < 300) b on a.k > b.j + 250"
            .to_owned(),
        "select o_orderkey from orders where o_orderkey < 300 and not exists
         (select 1 from lineitem where l_orderkey < 300 and l_orderkey > o_orderkey + 200 and l_suppkey <> o_custkey)"
            .to_owned(),
    ];
    for question in &questions {
        client.batch_execute("set sluice.route = local").await.expect("a route");
        let expected = digest(&client, question).await;
        for settings in ["set sluice.target_partitions = 7", "reset sluice.target_partitions"] {
            let route = format!("set sluice.route = cluster; {settings}");
            client.batch_execute(&route).await.expect("settings");
            assert_eq!(digest(&client, question).await, expected, "{settings}: {question}");
            // Written, what ends the plan is planned anew too.
            let write = format!("create temp table written as {question}");
            client.batch_execute(&write).await.unwrap_or_else(|error| panic!("{write}: {error:?}"));
            let written = digest(&client, "select * from written").await;
            assert_eq!(written, expected, "{settings}: {write}");
            client.batch_execute("drop table written").await.expect("dropped");
        }
    }
}
