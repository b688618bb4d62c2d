//! Statements that are short and become large: common table expressions and columns that double, subqueries within each
//! other, wide values that joins and sorts put into many rows. Each is answered or refused; the processes stay below their
//! caps, others are answered meanwhile, and nothing goes on after the end.

use std::path::Path;
use std::time::Duration;

use sql_tests::harm::{Prober, idle, peak_mb};
use sql_tests::{Options, TestCluster, rows, tpch};
use tokio_postgres::SimpleQueryMessage;

const CAP_MB: u64 = 1024;
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
const IDLE_WITHIN: Duration = Duration::from_secs(2);

/// Common table expressions of which each reads the one before twice.
fn doubled(times: usize, next: &str) -> String {
    let next = |at: usize| format!(", c{at} as ({})", next.replace("{}", &format!("c{}", at - 1)));
    let all: String = (1..=times).map(next).collect();
    format!("with c0 as (select n_nationkey as k from nation){all} select count(*) from c{times}")
}

/// A column that is computed of itself again and again.
fn nested(times: usize, first: &str, next: &str, outer: &str) -> String {
    let start = format!("(select {first} as x from nation)");
    let from = (0..times).fold(start, |from, _| format!("(select {next} as x from {from} t)"));
    outer.replace("{}", &format!("{from} t"))
}

fn subqueries(depth: usize) -> String {
    format!("select {}1{}", "(select ".repeat(depth), ")".repeat(depth))
}

/// Statements, and the answers that they may have: a SQLSTATE, or the one value of the one row.
fn statements() -> Vec<(&'static str, String, &'static [&'static str])> {
    let wide = "(select repeat(n_name, 100000) as x, n_nationkey from nation) n";
    vec![
        ("unions, small", doubled(6, "select k from {} union all select k from {}"), &["1600"]),
        ("unions", doubled(40, "select k from {} union all select k from {}"), &["54001"]),
        ("joins", doubled(40, "select a.k from {} a join {} b on a.k = b.k"), &["54001"]),
        ("subqueries that double", doubled(40, "select k from {} where k in (select k from {})"), &["54001"]),
        (
            "a sum under a condition",
            nested(60, "n_nationkey", "x * 1 + x * 0", "select count(*) from {} where x > 5"),
            &["19"],
        ),
        (
            "a choice under a condition",
            nested(60, "n_nationkey", "case when x > 0 then x else x end", "select count(*) from {} where x > 5"),
            &["19"],
        ),
        (
            "a text under a condition",
            nested(60, "n_name", "coalesce(nullif(x, ''), x)", "select count(*) from {} where x > 'M'"),
            &["9"],
        ),
        (
            "a sum that is grouped and joined",
            nested(
                60,
                "n_nationkey",
                "x * 1 + x * 0",
                "select count(*) from (select x, count(*) from {} group by x having x > 5) a join nation on x = n_nationkey",
            ),
            &["19"],
        ),
        ("a sum that is sorted", nested(60, "n_nationkey", "x * 1 + x * 0", "select max(x) from {}"), &["24"]),
        (
            "concat",
            nested(40, "n_name", "concat(x, x)", "select max(length(x)) from {}"),
            &["53200", "54000", "57014"],
        ),
        ("||", nested(25, "n_name", "x || x", "select max(length(x)) from {}"), &["53200", "54000", "57014"]),
        (
            "a list that doubles",
            nested(40, "array[n_nationkey]", "array_cat(x, x)", "select max(cardinality(x)) from {}"),
            &["53200", "54000", "57014"],
        ),
        ("subqueries, some", subqueries(8), &["1"]),
        ("subqueries", subqueries(80), &["54001"]),
        (
            "a summary of any size",
            "select approx_percentile_cont(n_nationkey, 0.5, 100000000000000) from nation".into(),
            &["22023"],
        ),
        (
            "wide rows that are joined and sorted",
            format!(
                "select length(x) from {wide} join lineitem l on l.l_linenumber = n.n_nationkey \
                 order by x desc, l_comment limit 3"
            ),
            &["53200", "57014", "700000\n700000\n700000"],
        ),
        (
            "wide rows that are joined and grouped",
            format!(
                "select count(*) from (select l_orderkey, max(x) from {wide} \
                 join lineitem l on l.l_linenumber = n.n_nationkey group by l_orderkey) t"
            ),
            &["150000", "53200", "54000", "57014"],
        ),
        (
            "wide rows that are compared with all",
            format!("select count(*) from {wide}, lineitem l where n.x < l_comment || 'x'"),
            &["12703750", "53200", "57014"],
        ),
        (
            "a list of all beside each row",
            "select count(*) from (select array_agg(l_comment) as a from lineitem) t, lineitem \
             where a is not null and cardinality(a) + l_orderkey < 0"
                .into(),
            &["0", "53200", "57014"],
        ),
        (
            "a long subquery in each row",
            "select max(length(x)) from (select (select repeat(n_name, 1000000) from nation order by n_nationkey \
             limit 1) as x from lineitem) t where x <> 'a'"
                .into(),
            &["7000000", "53200", "57014"],
        ),
        (
            "a long subquery in a choice",
            "select max(length(case when l_orderkey > 5 then (select repeat(n_name, 1000000) from nation \
             order by n_nationkey limit 1) else l_comment end)) from lineitem"
                .into(),
            &["7000000", "53200", "57014"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn short_statements_that_become_large_stop_nobody() {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "0.1").await.expect("data");
    let options = Options {
        locations: vec![data],
        executors: 1,
        executor_memory: format!("{CAP_MB}MB"),
        memory: format!("{CAP_MB}MB"),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary, &options).await.expect("a cluster");
    let mut processes = cluster.executor_processes().await.expect("processes");
    processes.push(cluster.process_id());
    let mut wrong = Vec::new();
    for route in ["local", "cluster"] {
        for (name, sql, expected) in statements() {
            let client = cluster
                .connect_with(&format!("-c sluice.route={route} -c statement_timeout=4s"))
                .await
                .expect("a session");
            let prober = Prober::start(cluster.connect().await.expect("a session"));
            let outcome = client.simple_query(&sql).await;
            let answer = match &outcome {
                Ok(messages) => {
                    let values = messages.iter().filter_map(|message| match message {
                        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL")),
                        _ => None,
                    });
                    values.collect::<Vec<_>>().join("\n")
                }
                Err(_) => sql_tests::sqlstate(&outcome).to_owned(),
            };
            if !expected.contains(&answer.as_str()) {
                wrong.push(format!("{route}: {name}: {answer} ({outcome:?}), not {expected:?}"));
            }
            let idle_after = idle(&processes).await;
            let [_, p99, _] = prober.stop().await;
            let peaks: Vec<u64> = processes.iter().map(|process| peak_mb(*process)).collect();
            println!("{route}: {name}: {answer}, idle after {idle_after:?}, p99 {p99:?}, peaks {peaks:?} MB");
            if idle_after > IDLE_WITHIN {
                wrong.push(format!("{route}: {name} went on for {idle_after:?}"));
            }
            if p99 > ANSWERED_WITHIN {
                wrong.push(format!("{route}: {name}: SELECT 1 waited for {p99:?}"));
            }
        }
    }
    for process in &processes {
        let peak = peak_mb(*process);
        if peak > CAP_MB {
            wrong.push(format!("the peak was {peak} MB"));
        }
    }
    let mut now = cluster.executor_processes().await.expect("processes");
    now.push(cluster.process_id());
    assert_eq!(now, processes, "all live");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn views_that_double_end_where_plans_do() {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let options = Options { executors: 0, ..Options::default() };
    let cluster = TestCluster::start(binary, &options).await.expect("a server");
    let client = cluster.connect().await.expect("a session");
    client.batch_execute("create table t (k int); create view v0 as select k from t").await.expect("made");
    let mut refused = None;
    for at in 1..40 {
        let before = at - 1;
        let sql = format!("create view v{at} as select k from v{before} union all select k from v{before}");
        if let Err(error) = client.batch_execute(&sql).await {
            refused = Some((at, sql_tests::sqlstate::<()>(&Err(error)).to_owned()));
            break;
        }
    }
    let (at, code) = refused.expect("it has an end");
    assert_eq!(code, "54001", "v{at}");
    assert!(at > 8, "v{at} is refused");
    client.query_one(&format!("select count(*) from v{}", 6), &[]).await.expect("the others are read");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_values_in_messages_and_settings_are_not_kept() {
    const RESTS_BELOW_MB: u64 = 500;
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let options = Options { executors: 0, memory: format!("{CAP_MB}MB"), ..Options::default() };
    let cluster = TestCluster::start(binary, &options).await.expect("a server");
    for _ in 0..20 {
        let client = cluster.connect().await.expect("a session");
        let outcome = client.simple_query("select cast(repeat('9', 20000000) as int)").await;
        assert!(["22003", "54000", "53200"].contains(&sql_tests::sqlstate(&outcome)), "{outcome:?}");
        let long = format!("set search_path = '{}'", "x".repeat(500_000));
        assert_eq!(sql_tests::sqlstate(&client.simple_query(&long).await), "22023");
        client
            .simple_query(&format!("set application_name = '{}'", "x".repeat(900_000)))
            .await
            .expect("it is cut");
        assert_eq!(rows(&client, "show application_name").await[0][0], "x".repeat(63));
    }
    let resident = || {
        let statm =
            std::fs::read_to_string(format!("/proc/{}/statm", cluster.process_id())).expect("it runs");
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number");
        pages >> 8
    };
    let back = async {
        while resident() > RESTS_BELOW_MB {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back)
        .await
        .unwrap_or_else(|_| panic!("{} MB are kept", resident()));
    let client = cluster.connect().await.expect("a session");
    let kept = rows(&client, "select max(length(error)) < 10000 from sys.queries").await;
    assert_eq!(kept, [["t"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_that_rest_are_counted() {
    const SESSIONS: usize = 12;
    const CURSORS: usize = 60;
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "0.1").await.expect("data");
    let options =
        Options { locations: vec![data], executors: 0, memory: format!("{CAP_MB}MB"), ..Options::default() };
    let cluster = TestCluster::start(binary, &options).await.expect("a server");
    let prober = Prober::start(cluster.connect().await.expect("a session"));
    let mut sessions = Vec::new();
    let (mut open, mut refused) = (0, 0);
    for session in 0..SESSIONS {
        let client = cluster.connect_with("-c statement_timeout=2s").await.expect("a session");
        // Of one session's many, and then of many sessions' few.
        let count = if session == 0 { CURSORS } else { 2 };
        client.batch_execute("begin").await.expect("a block");
        for cursor in 0..count {
            let named = format!("savepoint s; declare c{cursor} cursor for select * from lineitem");
            client.batch_execute(&named).await.expect("a cursor");
            let outcome = client.simple_query(&format!("fetch 1 from c{cursor}")).await;
            println!(
                "session {session}, cursor {cursor}: {}, {} MB",
                sql_tests::sqlstate(&outcome),
                peak_mb(cluster.process_id())
            );
            if outcome.is_ok() {
                open += 1;
                continue;
            }
            // Refused, or it waits for what the others have set aside.
            assert!(["53200", "57014"].contains(&sql_tests::sqlstate(&outcome)), "{outcome:?}");
            client.batch_execute("rollback to s").await.expect("the block goes on");
            refused += 1;
        }
        sessions.push(client);
    }
    let [_, p99, _] = prober.stop().await;
    let peak = peak_mb(cluster.process_id());
    println!("{open} open, {refused} refused, p99 {p99:?}, peak {peak} MB");
    assert!(peak <= CAP_MB, "the peak was {peak} MB");
    assert!(p99 <= ANSWERED_WITHIN, "SELECT 1 waited for {p99:?}");
    assert!(open > SESSIONS, "{open} cursors were open");
    drop(sessions);
    let client = cluster.connect().await.expect("a session");
    assert_eq!(rows(&client, "select count(*) from lineitem").await, [["600572"]]);
}
