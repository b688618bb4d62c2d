//! Statements whose constants and functions ask for far more time and memory than there is: the server plans and answers
//! others meanwhile, stays below its cap, and is idle again soon after the cancel.
//!
//! A few with every change. `SLUICE_TEST_STATEMENTS=N` makes it N on each route, `SLUICE_TEST_SEED` chooses which, and
//! `SLUICE_TEST_REPORT=FILE` writes the table between the marks called `hostile functions` in FILE:
//! `SLUICE_TEST_STATEMENTS=300 SLUICE_TEST_REPORT=docs/reliability.md cargo test --release --test hostile_functions statements`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use sql_tests::harm::{Prober, idle, peak_mb};
use sql_tests::{Options, TestCluster, tpch};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

const CAP_MB: u64 = 1024;
/// What another session waits for `SELECT 1`, in 99 of 100 times.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
const IDLE_WITHIN: Duration = Duration::from_secs(2);
/// Sessions that do harm at the same time.
const SESSIONS: usize = 6;

async fn start() -> TestCluster {
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
    let admin = cluster.connect().await.expect("a session");
    admin
        .batch_execute("create role eve login; grant select on all tables in schema public to eve")
        .await
        .expect("a role");
    cluster
}

async fn connect_as_eve(cluster: &TestCluster, options: &str) -> Client {
    let (client, connection) =
        cluster.config().user("eve").options(options).connect(NoTls).await.expect("a session");
    tokio::spawn(connection);
    client
}

async fn processes(cluster: &TestCluster) -> Vec<u32> {
    let mut processes = cluster.executor_processes().await.expect("processes");
    processes.push(cluster.process_id());
    processes
}

#[tokio::test(flavor = "multi_thread")]
async fn constants_that_are_too_much_stop_nobody() {
    let cluster = start().await;
    let before = processes(&cluster).await;
    // Of the same role as those that do harm, and of another.
    let probers = [
        Prober::start(connect_as_eve(&cluster, "").await),
        Prober::start(cluster.connect().await.expect("a session")),
    ];
    let statements = [
        "select length(regexp_replace(repeat('a',100000),'a',repeat('b',100000),'g'))",
        "select length(array_to_string(array_repeat(1,100000), repeat('x',100000)))",
    ];
    let mut harm = Vec::new();
    for session in 0..4 {
        let client = connect_as_eve(&cluster, "-c statement_timeout=2s").await;
        harm.push(tokio::spawn(async move {
            let until = Instant::now() + Duration::from_secs(6);
            let mut codes = Vec::new();
            while Instant::now() < until {
                let outcome = client.simple_query(statements[session % 2]).await;
                codes.push(sql_tests::sqlstate(&outcome).to_owned());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            codes
        }));
    }
    let mut codes: BTreeMap<String, usize> = BTreeMap::new();
    for one in harm {
        for code in one.await.expect("no panic") {
            *codes.entry(code).or_default() += 1;
        }
    }
    let idle_after = idle(&before).await;
    println!("they got {codes:?}; idle after {idle_after:?}");
    assert!(codes.keys().all(|code| ["54000", "53200", "57014"].contains(&code.as_str())), "{codes:?}");
    for prober in probers {
        let [_, p99, worst] = prober.stop().await;
        println!("SELECT 1: p99 {p99:?}, at most {worst:?}");
        assert!(p99 <= ANSWERED_WITHIN, "{p99:?}");
    }
    assert!(idle_after <= IDLE_WITHIN, "{idle_after:?}");
    for process in &before {
        assert!(peak_mb(*process) <= CAP_MB, "the peak was {} MB", peak_mb(*process));
    }
    assert_eq!(processes(&cluster).await, before, "all live");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_planner_leaves_is_computed_where_it_runs() {
    let cluster = start().await;
    for route in ["local", "cluster"] {
        let client = connect_as_eve(&cluster, &format!("-c sluice.route={route}")).await;
        for (sql, expected) in [
            ("select length(repeat('ab', 100000))", "200000"),
            ("select length(regexp_replace(repeat('a', 30000), 'a', 'bcd', 'g'))", "90000"),
            (
                "select length(x) from (values (repeat('a', 70000)), ('b')) v(x) order by 1 desc limit 1",
                "70000",
            ),
            (
                "select sum(length(x)) from (values (repeat('a', 70000)), ('b'), (repeat('c', 80000))) v(x)",
                "150001",
            ),
            ("select count(*) from nation where length(repeat(n_name, 100000)) > 700000", "7"),
            ("select cardinality(array_repeat(1, 100000))", "100000"),
            ("select count(*) from nation where repeat('a', 70000) ~ '^a{70,}$' and n_nationkey < 5", "5"),
            (
                "select max(length(array_to_string(array_repeat(n_nationkey, 10000), '--'))) from nation",
                "39998",
            ),
        ] {
            let rows = sql_tests::rows(&client, sql).await;
            assert_eq!(rows, [[expected]], "{route}: {sql}");
        }
        for sql in [
            "select string_agg(l_comment, repeat(',', 100)) over (order by l_orderkey) from lineitem",
            "select array_agg(l_comment) over (order by l_orderkey, l_linenumber) from lineitem",
            "select count(*) from (select repeat(l_comment, 100000) as x from lineitem) t where x > ''",
        ] {
            client.batch_execute("set statement_timeout = '20s'").await.expect("set");
            let code = sql_tests::sqlstate(&client.simple_query(sql).await).to_owned();
            assert!(["53200", "54000", "57014", "00000"].contains(&code.as_str()), "{route}: {sql}: {code}");
        }
    }
    for process in processes(&cluster).await {
        assert!(peak_mb(process) <= CAP_MB, "the peak was {} MB", peak_mb(process));
    }
}

/// Makes statements: sizes and shapes over all functions that every node knows.
struct Generator {
    random: StdRng,
    functions: Vec<String>,
    aggregates: Vec<String>,
}

impl Generator {
    fn new(seed: u64) -> Self {
        let registry = engine::functions::registry();
        let mut functions: Vec<String> = registry.scalar_functions.keys().cloned().collect();
        let mut aggregates: Vec<String> = registry.aggregate_functions.keys().cloned().collect();
        functions.retain(|name| !name.starts_with("sluice_"));
        functions.extend(["format", "quote_literal", "to_json", "json_build_array"].map(str::to_owned));
        functions.sort();
        aggregates.sort();
        Self { random: StdRng::seed_from_u64(seed), functions, aggregates }
    }

    fn one(&mut self, of: &[&str]) -> String {
        (*of.choose(&mut self.random).expect("some")).to_owned()
    }

    fn count(&mut self) -> String {
        self.one(&["1", "1000", "100000", "10000000", "2147483647", "l_orderkey", "l_linenumber * 100000"])
    }

    /// A value of any type; of columns where they are read.
    fn value(&mut self, depth: usize) -> String {
        let choice = self.random.random_range(0..if depth == 0 { 9 } else { 12 });
        match choice {
            0 => self.one(&[
                "'a'",
                "','",
                "'(a{1,50}){1,50}'",
                "'%s%1$s%1$s'",
                "'g'",
                "'(((a)))'",
                "'\\1\\1\\1'",
            ]),
            1 => self.one(&["l_comment", "l_shipmode", "l_orderkey", "l_shipdate", "l_extendedprice"]),
            2 => format!("repeat('a', {})", self.count()),
            3 => format!("repeat(l_comment, {})", self.one(&["10", "1000", "100000"])),
            4 => self.count(),
            5 => format!("array_repeat('ab', {})", self.one(&["10", "10000", "1000000", "100000000"])),
            6 => format!("range(1, {})", self.one(&["10", "10000", "10000000", "100000000000"])),
            7 => format!("string_to_array(repeat('a,', {}), ',')", self.one(&["10", "100000", "10000000"])),
            8 => self.one(&[
                "interval '1 second'",
                "date '2000-01-01'",
                "timestamp '2000-01-01'",
                "1.5",
                "true",
            ]),
            _ => self.call(depth - 1),
        }
    }

    fn call(&mut self, depth: usize) -> String {
        // Those that can grow more often than the rest.
        let function = if self.random.random_bool(0.4) {
            self.one(&[
                "regexp_replace",
                "array_to_string",
                "repeat",
                "lpad",
                "replace",
                "concat_ws",
                "array_repeat",
                "array_resize",
                "regexp_match",
                "translate",
                "overlay",
                "format",
                "array_replace_all",
                "levenshtein",
                "make_array",
                "array_concat",
                "to_char",
                "regexp_count",
                "string_to_array",
                "array_append",
            ])
        } else {
            self.functions.choose(&mut self.random).expect("some").clone()
        };
        let arity = self.random.random_range(1..=4);
        let args: Vec<String> = (0..arity).map(|_| self.value(depth)).collect();
        format!("{function}({})", args.join(", "))
    }

    fn statement(&mut self) -> String {
        let call = self.call(2);
        let other = self.value(1);
        let separator = self.one(&["','", "repeat(',', 1000000)", "l_comment"]);
        let aggregate = self.aggregates.choose(&mut self.random).expect("some").clone();
        match self.random.random_range(0..16) {
            0 => format!("select {call} from lineitem"),
            1 => format!("select count(*) from lineitem where length(cast({call} as text)) > 10"),
            2 => format!("select {call}, count(*) from lineitem group by 1"),
            3 => format!("select length(cast({} as text))", without_columns(&call)),
            4 => format!("values ({}), ({})", without_columns(&call), without_columns(&call)),
            5 => format!("select count(*) from (select {call} as x from lineitem) t where x is not null"),
            6 => format!(
                "select l_orderkey from lineitem limit length(cast({} as text))",
                without_columns(&call)
            ),
            7 => format!("select length(string_agg(cast({call} as text), {separator})) from lineitem"),
            8 => format!("select {aggregate}({call}) from lineitem"),
            9 => format!(
                "select string_agg(cast({call} as text), ',') over (order by l_orderkey) from lineitem"
            ),
            10 => format!("select array_agg({call}) over () from lineitem"),
            11 => format!("select l_orderkey from lineitem order by {call}, {other} limit 5"),
            12 => format!(
                "select count(*) from lineitem a join lineitem b on a.l_comment = b.l_comment where {} is not null",
                call.replace("l_", "a.l_")
            ),
            13 => format!("select case when {call} is null then {other} else {call} end from lineitem"),
            14 => format!("select cast({call} as text) ~ cast({other} as text) from lineitem"),
            _ => format!(
                "select {} from generate_series(1, 1000000) s(i)",
                without_columns(&call).replace("100000", "i")
            ),
        }
    }
}

/// A constant in the place of each column.
fn without_columns(call: &str) -> String {
    let mut call = call.to_owned();
    for (column, constant) in [
        ("l_comment", "'furiously even deposits'"),
        ("l_shipmode", "'AIR'"),
        ("l_orderkey", "5000000"),
        ("l_linenumber", "7"),
        ("l_shipdate", "date '1995-01-01'"),
        ("l_extendedprice", "901.5"),
    ] {
        call = call.replace(column, constant);
    }
    call
}

/// What came of the statements of one route.
#[derive(Default)]
struct Tally {
    codes: BTreeMap<String, usize>,
    waits: Vec<[Duration; 3]>,
    idle_max: Duration,
    slow: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_made_by_chance_stop_nobody() {
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<usize>().ok());
    let seed = number("SLUICE_TEST_SEED").unwrap_or(22);
    let statements = number("SLUICE_TEST_STATEMENTS").unwrap_or(30);
    println!("SLUICE_TEST_SEED={seed} SLUICE_TEST_STATEMENTS={statements}");
    let cluster = start().await;
    let before = processes(&cluster).await;
    let mut generator = Generator::new(seed as u64);
    let mut lines = Vec::new();
    let mut wrong = Vec::new();
    for route in ["local", "cluster"] {
        let mut tally = Tally::default();
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            sessions.push(Arc::new(
                connect_as_eve(&cluster, &format!("-c sluice.route={route} -c statement_timeout=10s")).await,
            ));
        }
        let mut made = 0;
        while made < statements {
            let prober = Prober::start(cluster.connect().await.expect("a session"));
            let mut running = Vec::new();
            for client in &sessions {
                let (statement, asked) = accepted(&mut generator, client).await;
                println!("{route}: {statement}");
                running.push((Arc::clone(client), statement, asked));
                made += 1;
            }
            tokio::time::sleep(Duration::from_millis(generator.random.random_range(300..1500))).await;
            for (client, ..) in &running {
                let _ = client.cancel_token().cancel_query(NoTls).await;
            }
            let cancelled = Instant::now();
            for (_, statement, asked) in running {
                let (code, message) = asked.await.expect("no panic");
                if cancelled.elapsed() > IDLE_WITHIN {
                    tally.slow.push(statement.clone());
                }
                if ["XX000", "no answer"].contains(&code.as_str()) {
                    wrong.push(format!("{route}: {statement}: {code} {message}"));
                }
                *tally.codes.entry(code).or_default() += 1;
            }
            let idle_after = idle(&before).await + cancelled.elapsed().min(Duration::ZERO);
            if idle_after > IDLE_WITHIN {
                println!("NOT IDLE for {idle_after:?}");
            }
            tally.idle_max = tally.idle_max.max(idle_after);
            tally.waits.push(prober.stop().await);
        }
        let peaks: Vec<u64> = before.iter().map(|process| peak_mb(*process)).collect();
        let p99 = tally.waits.iter().map(|[_, p99, _]| *p99).max().unwrap_or_default();
        println!("{route}: {:?}", tally.codes);
        lines.push(format!(
            "| {route} | {made} | {} | {} | {:.2} | {:.2} |",
            tally
                .codes
                .iter()
                .map(|(code, times)| format!("{code} × {times}"))
                .collect::<Vec<_>>()
                .join(", "),
            peaks.iter().map(|peak| format!("{peak} MB")).collect::<Vec<_>>().join(", "),
            p99.as_secs_f64(),
            tally.idle_max.as_secs_f64(),
        ));
        if p99 > ANSWERED_WITHIN {
            wrong.push(format!("{route}: SELECT 1 waited for {p99:?}"));
        }
        if tally.idle_max > IDLE_WITHIN {
            wrong.push(format!("{route}: idle {:?} after the cancel", tally.idle_max));
        }
        wrong.extend(
            tally.slow.iter().map(|statement| format!("{route}: went on after the cancel: {statement}")),
        );
        wrong.extend(
            peaks
                .iter()
                .filter(|peak| **peak > CAP_MB)
                .map(|peak| format!("{route}: the peak was {peak} MB")),
        );
        if processes(&cluster).await != before {
            wrong.push(format!("{route}: a process ended"));
            break;
        }
    }
    let table = format!(
        "Seed {seed}, {SESSIONS} sessions of one role at a time, each cancelled after 0.3 to 1.5 s; every process has a cap of {CAP_MB} MB.\n\n\
         | route | statements | answers | peak of the executor, of the server | `SELECT 1` of another session, p99 of the worst round (s) | idle after the cancel, at most (s) |\n\
         |---|---|---|---|---|---|\n{}\n",
        lines.join("\n")
    );
    write_down(&table);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A statement that is not refused for its types at once, and the answer that it will have.
async fn accepted(generator: &mut Generator, client: &Arc<Client>) -> (String, JoinHandle<(String, String)>) {
    const TRIES: usize = 12;
    let mut tries = 0;
    loop {
        let statement = generator.statement();
        let (client, sql) = (Arc::clone(client), statement.clone());
        let mut asked = tokio::spawn(async move {
            match client.simple_query(&sql).await {
                Ok(_) => ("00000".to_owned(), String::new()),
                Err(error) => match error.as_db_error() {
                    Some(error) => (error.code().code().to_owned(), error.message().to_owned()),
                    None => ("no answer".to_owned(), error.to_string()),
                },
            }
        });
        tries += 1;
        match tokio::time::timeout(Duration::from_millis(100), &mut asked).await {
            Ok(Ok((code, _))) if code.starts_with("42") && tries < TRIES => {}
            Ok(answer) => return (statement, tokio::spawn(async move { answer.expect("no panic") })),
            Err(_) => return (statement, asked),
        }
    }
}

/// Prints `table`, and writes it into the report, when one is asked for.
fn write_down(table: &str) {
    println!("{table}");
    let Ok(file) = std::env::var("SLUICE_TEST_REPORT") else { return };
    let (begin, end) = ("<!-- hostile functions: begin -->", "<!-- hostile functions: end -->");
    let text = std::fs::read_to_string(&file).expect("the report");
    let (before, rest) = text.split_once(begin).expect("the report has the mark");
    let (_, after) = rest.split_once(end).expect("the report has the end mark");
    std::fs::write(&file, format!("{before}{begin}\n{table}{end}{after}")).expect("the report is written");
}
