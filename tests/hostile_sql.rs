//! Statements and files made to do harm: each has its answer, and leaves the server, its executors and their memory as
//! they were. What travels below SQL is in `hostile.rs`, what asks the cluster's ports in `cluster_security.rs`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sql_tests::{Options, TestCluster, tpch};
use tokio_postgres::Client;

/// What bounds a statement is found before anything is planned: a second is plenty.
const AT_ONCE: Duration = Duration::from_secs(1);
const TIMEOUT: &str = "500ms";

async fn start(environment: &[(&str, &str)]) -> TestCluster {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "0.01").await.expect("data");
    let options = Options {
        locations: vec![data],
        executors: 1,
        executor_memory: "512MB".to_owned(),
        memory: "512MB".to_owned(),
        environment: environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        ..Options::default()
    };
    TestCluster::start(binary, &options).await.expect("a cluster")
}

async fn sqlstate(client: &Client, sql: &str) -> (String, String) {
    match client.simple_query(sql).await {
        Ok(_) => ("00000".to_owned(), String::new()),
        Err(error) => match error.as_db_error() {
            Some(error) => (error.code().code().to_owned(), error.message().to_owned()),
            None => ("no answer".to_owned(), error.to_string()),
        },
    }
}

fn resident_bytes(process: u32) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{process}/statm")).expect("it runs");
    let pages: u64 = pages.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
    pages * 4096
}

/// What must be as before, whatever was asked.
struct Before {
    processes: Vec<u32>,
    resident_bytes: BTreeMap<u32, u64>,
}

impl Before {
    async fn of(cluster: &TestCluster) -> Self {
        let mut processes = cluster.executor_processes().await.expect("processes");
        processes.push(cluster.process_id());
        let resident_bytes = processes.iter().map(|process| (*process, resident_bytes(*process))).collect();
        Self { processes, resident_bytes }
    }

    /// A new session is answered within a second, by the same processes.
    async fn check(&self, cluster: &TestCluster, after: &str) {
        let started = Instant::now();
        let client = cluster.connect().await.unwrap_or_else(|error| panic!("after {after}: {error:?}"));
        client.query_one("select 1", &[]).await.unwrap_or_else(|error| panic!("after {after}: {error:?}"));
        assert!(started.elapsed() < AT_ONCE, "after {after} it took {:?}", started.elapsed());
        let now = Self::of(cluster).await;
        assert_eq!(now.processes, self.processes, "after {after}");
    }

    /// Memory comes back to what it was, but for what caches and code take once.
    async fn check_memory(&self) {
        const ONCE: u64 = 160 << 20;
        let back = async {
            for process in &self.processes {
                while resident_bytes(*process) > self.resident_bytes[process] + ONCE {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), back).await;
        let now: Vec<u64> = self.processes.iter().map(|process| resident_bytes(*process) >> 20).collect();
        in_time.unwrap_or_else(|_| panic!("memory stays at {now:?} MB; it was {:?}", self.resident_bytes));
    }
}

/// Statements, and the SQLSTATEs that are an answer to them.
fn statements() -> Vec<(&'static str, String, &'static [&'static str])> {
    let chain = |first: &str, link: &str, count: usize| format!("{first}{}", link.repeat(count));
    vec![
        ("parentheses", format!("select {}1{}", "(".repeat(10_000), ")".repeat(10_000)), &["54001"]),
        ("2,000 additions", chain("select 1", "+1", 2_000), &["54001"]),
        ("20,000 additions", chain("select 1", "+1", 20_000), &["54001"]),
        (
            "20,000 alternatives",
            chain("select * from nation where n_nationkey = 1", " or n_nationkey = 2", 20_000),
            &["54001"],
        ),
        ("5,000 unions", chain("select 1", " union all select 1", 5_000), &["54001"]),
        ("nested functions", format!("select {}1{}", "abs(".repeat(5_000), ")".repeat(5_000)), &["54001"]),
        (
            "nested subqueries",
            format!("select * from {}nation{}", "(select * from ".repeat(2_000), ") t".repeat(2_000)),
            &["54001"],
        ),
        ("20,000 columns", chain("select 1", ", n_name", 20_000) + " from nation", &["54011"]),
        ("an identifier of 1 MB", format!("select 1 as \"{}\"", "x".repeat(1_000_000)), &["00000"]),
        (
            "a list of 200,000",
            chain("select * from nation where n_nationkey in (1", ", 2", 200_000) + ")",
            &["54000"],
        ),
        (
            "endless recursion",
            "with recursive r as (select 1 as n union all select n + 1 from r) select count(*) from r".into(),
            &["57014"],
        ),
        ("a long series", "select count(*) from generate_series(1, 1000000000000000000)".into(), &["57014"]),
        (
            "a cross join",
            "select count(*) from lineitem a, lineitem b, lineitem c where a.l_tax + b.l_tax + c.l_tax < 0"
                .into(),
            &["57014"],
        ),
        ("lpad", "select lpad('x', 2147483647, 'y')".into(), &["54000"]),
        ("lpad of rows", "select max(length(lpad(l_comment, 2000000000))) from lineitem".into(), &["54000"]),
        (
            "a text that doubles for ever",
            "with recursive doubled(n, t) as (select 1, repeat('x', 1000000) union all \
             select n + 1, t || t from doubled where n < 20) select n, length(t) from doubled"
                .into(),
            &["54000", "53200", "57014"],
        ),
        ("repeat", "select repeat('x', 2000000000)".into(), &["54000"]),
        ("range", "select range(1, 10000000000)".into(), &["54000"]),
        (
            "a list of all",
            "select cardinality(array_agg(a.l_comment || b.l_comment)) from lineitem a, lineitem b".into(),
            &["53200", "57014"],
        ),
        ("overflow", "select 9223372036854775807 + 1".into(), &["22003"]),
        (
            "overflow of rows",
            "select max(l_orderkey * 9223372036854775807) from lineitem where l_orderkey > 1".into(),
            &["22003"],
        ),
        ("division", "select 1 / 0".into(), &["22012"]),
        (
            "division of rows",
            "select max(l_orderkey / (l_orderkey - l_orderkey)) from lineitem".into(),
            &["22012"],
        ),
        ("a number", "select cast('abc' as int)".into(), &["22P02"]),
        ("a number of rows", "select max(cast(l_comment as int)) from lineitem".into(), &["22P02"]),
        ("an interval", "select interval '999999999999 years'".into(), &["22015"]),
        ("a slow pattern", format!("select '{}!' ~ '(a+)+$'", "a".repeat(1000)), &["00000"]),
        (
            "a large pattern",
            "select l_comment ~ '((a{1,100}){1,100}){1,100}' from lineitem".into(),
            &["2201B"],
        ),
        ("NUL", "select E'a\\000b'".into(), &["42601"]),
        ("passwords", "create external table x stored as csv location '/etc/passwd'".into(), &["42501"]),
        (
            "no such file",
            "create external table x stored as csv location '/etc/no-such-file'".into(),
            &["42501"],
        ),
        ("a folder", "create external table x stored as csv location 'file:///etc/'".into(), &["42501"]),
        (
            "the way up",
            "create external table x stored as csv location '../../../../etc/passwd'".into(),
            &["42501"],
        ),
        (
            "a process",
            "create external table x stored as csv location '/proc/self/environ'".into(),
            &["42501"],
        ),
        (
            "metadata of a cloud",
            "create external table x stored as csv location 'http://169.254.169.254/latest/meta-data/'"
                .into(),
            &["42501"],
        ),
        ("a file elsewhere", "copy nation to '/tmp/sluice-hostile'".into(), &["42501"]),
        ("a bucket elsewhere", "copy nation to 's3://other/x/'".into(), &["42501"]),
        ("an encoded way up", "copy nation to 's3://other/%2e%2e%2fx/'".into(), &["22023"]),
        ("a file to read", "copy own from '/etc/passwd'".into(), &["42501"]),
        ("a program", "copy nation to program 'cat > /tmp/sluice-hostile'".into(), &["0A000"]),
        ("a function of files", "select pg_read_file('/etc/passwd')".into(), &["42883"]),
        ("a table function of files", "select * from read_parquet('/etc/passwd')".into(), &["42P01"]),
        ("a file as a table", "select * from '/etc/passwd'".into(), &["42P01"]),
        ("a setting of the engine", "set datafusion.execution.batch_size = 0".into(), &["42704"]),
        (
            "a setting of the cluster",
            "set ballista.shuffle.reader.max_bytes_in_flight = 0".into(),
            &["42704"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_made_to_do_harm_have_answers() {
    let cluster = start(&[]).await;
    let mut wrong = Vec::new();
    for route in ["local", "cluster"] {
        let client = cluster
            .connect_with(&format!("-c sluice.route={route} -c statement_timeout={TIMEOUT}"))
            .await
            .expect("a session");
        for sql in ["select count(*) from lineitem", "create table if not exists own (line text)"] {
            client.simple_query(sql).await.expect("an answer");
        }
        let before = Before::of(&cluster).await;
        for (name, sql, expected) in statements() {
            let started = Instant::now();
            let (code, message) = sqlstate(&client, &sql).await;
            let took = started.elapsed();
            if !expected.contains(&code.as_str()) {
                wrong.push(format!("{route}: {name}: {code} {message}, not {expected:?}"));
            }
            if expected[0].starts_with("540") && took > AT_ONCE {
                wrong.push(format!("{route}: {name} took {took:?}"));
            }
            before.check(&cluster, name).await;
        }
        before.check_memory().await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let told = |sql: &'static str| async {
        let client = cluster.connect().await.expect("a session");
        sqlstate(&client, sql).await.1
    };
    let there = told("create external table x stored as csv location '/etc/passwd'").await;
    let not_there = told("create external table x stored as csv location '/etc/passwe'").await;
    assert_eq!(
        there.replace("passwd", ""),
        not_there.replace("passwe", ""),
        "what is there is nobody's business"
    );
    assert!(!Path::new("/tmp/sluice-hostile").exists());
    let internal = "select count(*) from sys.queries where sqlstate = 'XX000'";
    let client = cluster.connect().await.expect("a session");
    assert_eq!(
        client.query_one(internal, &[]).await.expect("the log").get::<_, i64>(0),
        0,
        "{}",
        cluster.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_makes_the_server_call_elsewhere() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let cluster = start(&[]).await;
    let client = cluster.connect().await.expect("a session");
    for sql in [
        format!("create external table x stored as csv location 'http://{address}/x.csv'"),
        format!(
            "create external table x stored as parquet location 's3://b/x/' options ('aws.endpoint' 'http://{address}')"
        ),
        format!("copy nation to 's3://b/x/' options ('endpoint' 'http://{address}')"),
        format!("copy region from 'http://{address}/x.csv'"),
        format!("create external table x stored as parquet location 'hdfs://{address}/x/'"),
    ] {
        let (code, message) = sqlstate(&client, &sql).await;
        assert!(["42501", "0A000", "22023", "42601"].contains(&code.as_str()), "{sql}: {code} {message}");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 0, "somebody was called");
}

/// Bends a copy of a file: bits, bytes, lengths, order.
fn bend(bytes: &mut Vec<u8>, random: &mut StdRng) {
    let length = bytes.len();
    let at = random.random_range(0..length);
    match random.random_range(0..7) {
        0 => bytes[at] ^= 1 << random.random_range(0..8),
        1 => bytes[at..].iter_mut().take(8).for_each(|byte| *byte = 0xff),
        2 => bytes.truncate(at),
        // The footer is where lengths and offsets are.
        3 => {
            let at = length - 1 - random.random_range(0..length.min(4096));
            bytes[at] = random.random();
        }
        4 => {
            let footer = length - 8;
            bytes[footer..footer + 4].copy_from_slice(&random.random::<u32>().to_le_bytes());
        }
        5 => {
            let (a, b) = (at, random.random_range(0..length));
            bytes.swap(a, b);
        }
        _ => {
            let end = (at + 64).min(length);
            bytes.drain(at..end);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bent_parquet_is_an_error_or_rows() {
    let seed: u64 = std::env::var("SLUICE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let count: usize =
        std::env::var("SLUICE_TEST_FILES").ok().and_then(|count| count.parse().ok()).unwrap_or(150);
    println!("SLUICE_TEST_SEED={seed} SLUICE_TEST_FILES={count}");
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "0.01").await.expect("data");
    let folder = tempfile::tempdir().expect("a temporary folder");
    // A location has a table.
    std::fs::copy(data.join("region.parquet"), folder.path().join("region.parquet")).expect("copied");
    let options = Options {
        locations: vec![folder.path().to_owned()],
        executors: 1,
        executor_memory: "512MB".to_owned(),
        memory: "512MB".to_owned(),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary, &options).await.expect("a cluster");
    let client = cluster.connect().await.expect("a session");
    client.batch_execute("set statement_timeout = '20s'").await.expect("set");
    // What a process holds once it has done such things: most of it is code.
    let whole = folder.path().join("region.parquet").display().to_string();
    let make = format!("create external table t stored as parquet location '{whole}'");
    client.batch_execute(&make).await.expect("a table");
    for route in ["local", "cluster"] {
        client.batch_execute(&format!("set sluice.route = {route}; select * from t")).await.expect("rows");
    }
    client.batch_execute("drop table t").await.expect("dropped");
    let before = Before::of(&cluster).await;
    let mut random = StdRng::seed_from_u64(seed);
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for number in 0..count {
        let table = ["nation", "orders", "customer"][number % 3];
        let mut bytes = std::fs::read(data.join(format!("{table}.parquet"))).expect("a table");
        for _ in 0..random.random_range(1..4) {
            bend(&mut bytes, &mut random);
        }
        let path = folder.path().join(format!("bent-{number}.parquet"));
        std::fs::write(&path, &bytes).expect("a file");
        let location = path.display();
        let (made, message) =
            sqlstate(&client, &format!("create external table t stored as parquet location '{location}'"))
                .await;
        let mut told = vec![(made.clone(), message)];
        if made == "00000" {
            for route in ["local", "cluster"] {
                client.batch_execute(&format!("set sluice.route = {route}")).await.expect("set");
                told.push(sqlstate(&client, "select * from t").await);
                told.push(sqlstate(&client, "select count(*) from t").await);
            }
            client.batch_execute("drop table t").await.expect("dropped");
        }
        for (code, message) in told {
            let is_answer = [
                "00000", "XX001", "22P04", "58030", "53200", "54000", "42P17", "0A000", "22021", "42883",
                "42703", "42804",
            ];
            assert!(
                is_answer.contains(&code.as_str()),
                "seed {seed}, file {number}: {code} {message}\n{}",
                cluster.log()
            );
            *outcomes.entry(code).or_default() += 1;
        }
        std::fs::remove_file(&path).expect("removed");
        if number % 25 == 0 {
            before.check(&cluster, &format!("file {number}")).await;
        }
    }
    println!("{outcomes:?}");
    before.check(&cluster, "all files").await;
    before.check_memory().await;
    assert!(outcomes.keys().any(|code| code == "XX001"), "files were bent, and found to be: {outcomes:?}");
}
