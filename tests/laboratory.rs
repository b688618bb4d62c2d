//! The laboratory of faults: each happens at seeded moments of queries, every one of whose answers is compared.
//!
//! With every change a few of each. `SLUICE_TEST_FAULTS=N` makes it N of each, `SLUICE_TEST_SEED` chooses which, and
//! `SLUICE_TEST_BINARY` names another binary than the one that was built, `SLUICE_TEST_SECONDS` says how long a store
//! refuses, and `SLUICE_TEST_REPORT=FILE` writes the table between the laboratory's marks in FILE:
//! `SLUICE_TEST_FAULTS=100 SLUICE_TEST_REPORT=docs/reliability.md cargo test --release --test laboratory -- --test-threads 1`.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use sql_tests::laboratory::{Fault, Laboratory, Network};
use sql_tests::{
    BUCKET, Envoy, Options, S3Store, TestCluster, chance_questions, installed_stores, rows, sqlstate, tpch,
};
use tokio_postgres::{Client, SimpleQueryMessage};

const EXECUTORS: usize = 3;
const HANGS_AFTER: Duration = Duration::from_secs(90);
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

type Rows = Vec<Vec<String>>;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// What came of the faults of one kind.
#[derive(Debug, Default)]
struct Tally {
    injected: usize,
    right: usize,
    refused: usize,
    went_on: usize,
    run_again: usize,
    added: Vec<Duration>,
}

/// A question, and what is known of it.
struct Question {
    sql: String,
    /// DuckDB's answer, where it is stored.
    stored: Option<Rows>,
}

struct Experiment {
    laboratory: Laboratory,
    random: StdRng,
    seed: u64,
    questions: Vec<Question>,
    local: Client,
    watcher: Client,
    /// By question: its rows, and how long it takes undisturbed.
    known: HashMap<usize, (Rows, Duration)>,
}

async fn start(apart: bool) -> Experiment {
    start_with(apart, "30s").await
}

async fn start_with(apart: bool, grace: &str) -> Experiment {
    let binary =
        std::env::var_os("SLUICE_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_sluice").into());
    let binary = Path::new(&binary);
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "0.1").await.expect("data");
    let options = Options {
        locations: vec![data],
        environment: vec![
            // Also the little that such queries have finished.
            ("SLUICE_CLUSTER__KEPT_WORK_MIN".into(), "0s".into()),
            ("SLUICE_CLUSTER__EXECUTOR_GRACE".into(), grace.into()),
        ],
        ..Options::default()
    };
    let seed = number("SLUICE_TEST_SEED").unwrap_or(1);
    println!("SLUICE_TEST_SEED={seed}");
    let laboratory = Laboratory::start(binary, options, EXECUTORS, apart).await.expect("a laboratory");
    let watcher = laboratory.cluster.connect().await.expect("a session");
    laboratory.until_all_are_back(&watcher).await.expect("executors join");
    let local = laboratory.cluster.connect_with("-c sluice.route=local").await.expect("a session");
    let mut questions: Vec<Question> = tpch::QUERIES
        .map(|number| Question {
            sql: tpch::query(number).expect("a query"),
            stored: Some(tpch::answer(number).expect("an answer")),
        })
        .collect();
    let by_chance = chance_questions(seed, 40).into_iter();
    questions.extend(by_chance.map(|question| Question { sql: question.over_plain, stored: None }));
    let random = StdRng::seed_from_u64(seed);
    Experiment { laboratory, random, seed, questions, local, watcher, known: HashMap::new() }
}

async fn asked(client: &Client, sql: &str) -> Result<Rows, tokio_postgres::Error> {
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect())
        }
        _ => None,
    };
    Ok(client.simple_query(sql).await?.into_iter().filter_map(row).collect())
}

fn sorted(mut rows: Rows) -> Rows {
    rows.sort_unstable();
    rows
}

impl Experiment {
    /// One query, in the middle of which `fault` happens, or which meets it when it `is_there` already.
    async fn disturb(&mut self, fault: Fault, is_there: bool, tally: &mut Tally) {
        let which = self.random.random_range(0..self.questions.len());
        let sql = self.questions[which].sql.clone();
        let partitions = self.random.random_range(3..16);
        let session = format!("-c sluice.route=cluster -c sluice.target_partitions={partitions}");
        let client = self.laboratory.cluster.connect_with(&session).await.expect("a session");
        if !self.known.contains_key(&which) {
            let expected = asked(&self.local, &sql).await.expect("the local answer");
            if let Some(stored) = &self.questions[which].stored {
                tpch::compare(&expected, stored)
                    .unwrap_or_else(|error| panic!("not as DuckDB: {error}: {sql}"));
            }
            let started_at = Instant::now();
            // Not where nothing is undisturbed.
            let asks = if is_there { &self.local } else { &client };
            let undisturbed = sorted(rows(asks, &sql).await);
            assert!(undisturbed == sorted(expected), "wrong without any fault: {sql}");
            self.known.insert(which, (undisturbed, started_at.elapsed()));
        }
        let (expected, undisturbed) = self.known[&which].clone();
        let moment = undisturbed.mul_f64(self.random.random_range(0.05..1.0));
        let told = format!("seed {}: {fault:?} after {moment:?}, {partitions} partitions: {sql}", self.seed);
        let logged = self.laboratory.cluster.log().len();
        let started_at = Instant::now();
        let query = async {
            let answer = asked(&client, &sql).await;
            (answer, started_at.elapsed())
        };
        let faults = async {
            // The fault's moment.
            if !is_there {
                tokio::time::sleep(moment).await;
                self.laboratory.inject(fault, &mut self.random).await.expect("the fault happens");
            }
        };
        let both = tokio::time::timeout(HANGS_AFTER, async { tokio::join!(query, faults) });
        let Ok(((answer, took), ())) = both.await else { panic!("hung: {told}") };
        tally.injected += 1;
        match &answer {
            Ok(answer) => {
                assert!(sorted(answer.clone()) == expected, "WRONG: {told}");
                tally.right += 1;
                tally.added.push(took.saturating_sub(undisturbed));
            }
            Err(error) => {
                let code = sqlstate(&answer).to_owned();
                assert!(fault.may_end_in().contains(&code.as_str()), "{error:?}: {told}");
                tally.refused += 1;
            }
        }
        let log = self.laboratory.cluster.log();
        if log[logged..].contains("running the query again") {
            tally.run_again += 1;
        } else if log[logged..].contains("the job goes on") {
            tally.went_on += 1;
        }
        self.laboratory.heal().await.expect("healed");
        self.laboratory
            .until_all_are_back(&self.watcher)
            .await
            .unwrap_or_else(|error| panic!("{error}: {told}"));
        let one = async {
            let client = self.laboratory.cluster.connect().await.expect("a session");
            rows(&client, "select 1").await
        };
        let one = tokio::time::timeout(ANSWERED_WITHIN, one).await;
        assert_eq!(one.unwrap_or_else(|_| panic!("no answer in time after {told}"))[0][0], "1");
    }
}

/// True where the machine does not allow faults of this kind (root, `ip`, `iptables`, `mount` and libfiu are needed) and
/// need not. It is said, and nothing is tested.
fn is_impossible(error: Option<anyhow::Error>) -> bool {
    let Some(error) = error else { return false };
    assert!(std::env::var("SLUICE_TEST_LABORATORY").as_deref() != Ok("whole"), "{error}");
    eprintln!("NOT tested: {error}");
    true
}

fn line(fault: Fault, tally: &mut Tally) -> String {
    tally.added.sort_unstable();
    let median = tally.added.get(tally.added.len() / 2).map_or(0.0, Duration::as_secs_f64);
    let worst = tally.added.last().map_or(0.0, Duration::as_secs_f64);
    let Tally { injected, right, refused, went_on, run_again, .. } = tally;
    format!(
        "| {fault} | {injected} | {right} | {refused} | 0 | {went_on} | {run_again} | {median:.1} | {worst:.1} |"
    )
}

/// Prints what came of the faults called `of`, and writes it into the report when one is asked for.
fn report(of: &str, seed: u64, lines: &[String]) {
    let head = "| fault, in the middle of a query | times | right | refused clearly | wrong or hung | went on | run again whole | median added (s) | worst added (s) |\n|---|---|---|---|---|---|---|---|---|";
    write_down(of, &format!("Seed {seed}.\n\n{head}\n{}\n", lines.join("\n")));
}

/// Prints `table`, and writes it into the report between the marks called `of`, when one is asked for.
fn write_down(of: &str, table: &str) {
    println!("{table}");
    let Ok(file) = std::env::var("SLUICE_TEST_REPORT") else { return };
    let (begin, end) = (format!("<!-- laboratory {of}: begin -->"), format!("<!-- laboratory {of}: end -->"));
    let text = std::fs::read_to_string(&file).expect("the report");
    let (before, rest) = text.split_once(&begin).expect("the report has the mark");
    let (_, after) = rest.split_once(&end).expect("the report has the end mark");
    std::fs::write(&file, format!("{before}{begin}\n{table}{end}{after}")).expect("the report is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_survive_executors_that_end() {
    let mut experiment = start(false).await;
    let times = number("SLUICE_TEST_FAULTS");
    // Which, and how often with every change.
    let few = [6, 6, 3, 2, 1, 2];
    let mut tallies: Vec<Tally> = Fault::OF_PROCESSES.iter().map(|_| Tally::default()).collect();
    let mut left: Vec<usize> = few.iter().map(|few| times.map_or(*few, |times| times as usize)).collect();
    // In any order: what one fault leaves behind, another meets.
    loop {
        let open: Vec<usize> = (0..left.len()).filter(|at| left[*at] > 0).collect();
        let Some(at) = open.choose(&mut experiment.random).copied() else { break };
        left[at] -= 1;
        experiment.disturb(Fault::OF_PROCESSES[at], false, &mut tallies[at]).await;
    }
    let went_on: usize = tallies.iter().map(|tally| tally.went_on).sum();
    let lines: Vec<String> =
        Fault::OF_PROCESSES.iter().zip(&mut tallies).map(|(fault, tally)| line(*fault, tally)).collect();
    report("processes", experiment.seed, &lines);
    assert!(went_on > 0, "no query went on with what was finished of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_survive_networks_that_fail() {
    if is_impossible(Network::make(1).await.err()) {
        return;
    }
    let mut experiment = start(true).await;
    let times = number("SLUICE_TEST_FAULTS").unwrap_or(1);
    let mut lines = Vec::new();
    for fault in Fault::OF_NETWORKS {
        let mut tally = Tally::default();
        for _ in 0..times {
            experiment.disturb(fault, false, &mut tally).await;
        }
        lines.push(line(fault, &mut tally));
    }
    report("networks", experiment.seed, &lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_survive_disks_that_fail() {
    if is_impossible(sql_tests::laboratory::try_disks().await.err()) {
        return;
    }
    let mut experiment = start(false).await;
    let times = number("SLUICE_TEST_FAULTS").unwrap_or(3);
    let mut lines = Vec::new();
    for fault in Fault::OF_DISKS {
        let mut tally = Tally::default();
        experiment.disturb(fault, false, &mut tally).await;
        let processes = experiment.laboratory.processes();
        // The disk stays as it is for those that follow.
        for _ in 1..times {
            experiment.disturb(fault, true, &mut tally).await;
        }
        assert_eq!(processes, experiment.laboratory.processes(), "executors live on: {fault}");
        experiment.laboratory.repair_disks().expect("sound executors");
        experiment.laboratory.until_all_are_back(&experiment.watcher).await.expect("they join");
        lines.push(line(fault, &mut tally));
    }
    report("disks", experiment.seed, &lines);
}

/// How many rows the Parquet files below `folder` have, with a sum of what is in them.
async fn rows_in(client: &Client, folder: &Path) -> Rows {
    client.batch_execute("drop table if exists looked_at").await.expect("no table");
    let location = folder.display();
    let create = format!("create external table looked_at stored as parquet location '{location}/'");
    client.batch_execute(&create).await.expect("the files can be read");
    rows(client, &format!("select {LOOKED_AT} from looked_at")).await
}

const LOOKED_AT: &str = "count(*), sum(l_orderkey + l_linenumber), min(l_comment)";

#[tokio::test(flavor = "multi_thread")]
async fn writes_survive_executors_that_end() {
    let mut experiment = start(false).await;
    let times = number("SLUICE_TEST_FAULTS").unwrap_or(3);
    let warehouse = experiment.laboratory.cluster.data_dir().join("warehouse");
    let expected = rows(&experiment.local, &format!("select {LOOKED_AT} from lineitem")).await;
    let client =
        experiment.laboratory.cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let mut lines = Vec::new();
    for (what, statement) in [
        (
            "CREATE TABLE AS",
            "create table written as select * from lineitem where l_orderkey > 0 order by l_partkey",
        ),
        ("COPY … TO", "copy (select * from lineitem order by l_partkey) to '{}' (partitions 4)"),
    ] {
        let copied = warehouse.join("files/copied");
        let statement = statement.replace("{}", &format!("{}/", copied.display()));
        let (mut went_on, mut run_again) = (0, 0);
        for time in 0..times {
            let fault =
                *[Fault::Killed, Fault::Gone, Fault::Two].choose(&mut experiment.random).expect("faults");
            // The fault's moment.
            let moment = Duration::from_millis(experiment.random.random_range(20..900));
            let told = format!("{what} {time} of seed {}: {fault:?} after {moment:?}", experiment.seed);
            let logged = experiment.laboratory.cluster.log().len();
            let faults = async {
                tokio::time::sleep(moment).await;
                experiment.laboratory.inject(fault, &mut experiment.random).await.expect("the fault happens");
            };
            let both = async { tokio::join!(client.batch_execute(&statement), faults) };
            let (outcome, ()) =
                tokio::time::timeout(HANGS_AFTER, both).await.unwrap_or_else(|_| panic!("hung: {told}"));
            outcome.unwrap_or_else(|error| panic!("{error:?}: {told}"));
            let folder = if what.starts_with("COPY") {
                copied.clone()
            } else {
                let seen = rows(&experiment.local, &format!("select {LOOKED_AT} from written")).await;
                assert_eq!(seen, expected, "{told}");
                // Where tables lie, nobody may look but through them.
                let folder = folder_called(&warehouse, "written").expect("the table has a folder");
                copy_files(&folder, &copied);
                copied.clone()
            };
            // Also of what nobody knows of: a file of a task that was run again would double its rows.
            assert_eq!(rows_in(&experiment.local, &folder).await, expected, "{told}");
            let log = experiment.laboratory.cluster.log();
            run_again += usize::from(log[logged..].contains("running the query again"));
            went_on += usize::from(log[logged..].contains("the job goes on"));
            experiment.local.batch_execute("drop table looked_at").await.expect("dropped");
            let _ = client.batch_execute("drop table if exists written").await;
            let _ = std::fs::remove_dir_all(&folder);
            experiment.laboratory.until_all_are_back(&experiment.watcher).await.expect("executors come back");
        }
        lines.push(format!("| {what}: an executor, or two, killed | {times} | {times} | 0 | 0 | {went_on} | {run_again} | | |"));
    }
    report("writes", experiment.seed, &lines);
}

/// Copies the files in `from`, and in the folders below, into the one folder `to`.
fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        if entry.path().is_dir() {
            copy_files(&entry.path(), to);
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }
}

fn folder_called(parent: &Path, name: &str) -> Option<std::path::PathBuf> {
    for entry in std::fs::read_dir(parent).ok()?.flatten().filter(|entry| entry.path().is_dir()) {
        // Its name, and a number of its own.
        if entry.file_name().to_string_lossy().starts_with(&format!("{name}-")) {
            return Some(entry.path());
        }
        if let Some(found) = folder_called(&entry.path(), name) {
            return Some(found);
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn without_executors_queries_are_refused_or_run_in_the_server() {
    const GRACE: Duration = Duration::from_secs(2);
    let mut experiment = start_with(false, "2s").await;
    let client =
        experiment.laboratory.cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    // One that takes long enough to be found running.
    let sql = "select count(*) from lineitem a join lineitem b on a.l_suppkey = b.l_suppkey \
               where a.l_comment < b.l_comment";
    let started_at = Instant::now();
    let killing = async {
        sql_tests::busy_executor(&experiment.watcher).await.expect("a busy executor");
        let started_at = Instant::now();
        experiment.laboratory.kill_all().expect("killed");
        started_at
    };
    let (outcome, killed_at) = tokio::join!(asked(&client, sql), killing);
    assert_eq!(sqlstate(&outcome), "58000", "{outcome:?}");
    // The grace, and 5 seconds: of them, 3 for those that may come in the place of the killed.
    assert!(killed_at.elapsed() < GRACE + Duration::from_secs(5), "refused after {:?}", started_at.elapsed());
    let client = experiment.laboratory.cluster.connect().await.expect("a session");
    let counted = rows(&client, "select count(*) from lineitem").await;
    assert_eq!(counted, rows(&experiment.local, "select count(*) from lineitem").await);
    assert!(rows(&client, "show sluice.last_route").await[0][0].starts_with("local"));
}

/// The server, and two executors, with the tables of TPC-H in a store behind `envoy`. Every read is a request.
async fn with_tables_in(store: &S3Store, envoy: &Envoy) -> TestCluster {
    let binary =
        std::env::var_os("SLUICE_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_sluice").into());
    let binary = Path::new(&binary);
    let mut environment = store.environment();
    environment.retain(|(name, _)| name != "AWS_ENDPOINT");
    environment.push(("AWS_ENDPOINT".into(), format!("http://{}", envoy.address)));
    environment.push(("SLUICE_CACHE__MEMORY".into(), "0".into()));
    environment.push(("SLUICE_STORES__RETRY_TIMEOUT".into(), format!("{}s", RETRIED_FOR.as_secs())));
    let options = Options {
        locations: vec![
            tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "0.1").await.expect("data"),
        ],
        flags: vec!["--warehouse".into(), format!("s3://{BUCKET}/warehouse")],
        environment,
        ..Options::default()
    };
    let cluster = TestCluster::start(binary, &options).await.expect("a cluster");
    let client = cluster.connect().await.expect("a session");
    client.batch_execute("create schema stored").await.expect("a schema");
    for table in rows(&client, "select tablename from pg_tables where schemaname = 'public'").await {
        let table = &table[0];
        let create = format!("create table stored.{table} as select * from public.{table}");
        client.batch_execute(&create).await.expect("a table in the store");
    }
    cluster
}

const RETRIED_FOR: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn queries_survive_stores_that_refuse() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let store = S3Store::installed(scratch).await.expect("a store");
    let stores = installed_stores(scratch).await.expect("the stores");
    let envoy = Envoy::start(&stores, store.port()).await.expect("a proxy");
    let cluster = with_tables_in(&store, &envoy).await;
    let seconds = number("SLUICE_TEST_SECONDS").unwrap_or(3);
    let mut random = StdRng::seed_from_u64(number("SLUICE_TEST_SEED").unwrap_or(1));
    let mut clients = Vec::new();
    for route in ["local", "cluster"] {
        let client = cluster.connect_with(&format!("-c sluice.route={route}")).await.expect("a session");
        client.batch_execute("set search_path = stored").await.expect("a schema");
        clients.push(client);
    }
    let queries: Vec<usize> = tpch::QUERIES.collect();
    let mut lines = Vec::new();
    for refused in [0, 1, 10, 30] {
        let before = envoy.injected().await.expect("counters").0;
        envoy.inject(refused, 0).await.expect("faults");
        let started_at = Instant::now();
        let mut took = Vec::new();
        while took.len() < clients.len() || started_at.elapsed() < Duration::from_secs(seconds) {
            let client = &clients[took.len() % clients.len()];
            let number = *queries.choose(&mut random).expect("queries");
            let asked_at = Instant::now();
            let sql = tpch::query(number).expect("a query");
            let answer = tokio::time::timeout(HANGS_AFTER, asked(client, &sql))
                .await
                .unwrap_or_else(|_| panic!("Q{number} hung with {refused} % refused"))
                .unwrap_or_else(|error| panic!("Q{number} with {refused} % refused: {error:?}"));
            let stored = tpch::answer(number).expect("an answer");
            tpch::compare(&answer, &stored)
                .unwrap_or_else(|error| panic!("Q{number} with {refused} % refused: {error}"));
            took.push(asked_at.elapsed());
        }
        let count = envoy.injected().await.expect("counters").0 - before;
        assert!(refused < 10 || count > 0, "nothing was refused");
        took.sort_unstable();
        let median = took[took.len() / 2].as_secs_f64();
        let asked = took.len();
        lines.push(format!("| {refused} % | {seconds} | {count} | {asked} | {asked} | {median:.2} |"));
    }
    envoy.inject(100, 0).await.expect("faults");
    for (client, route) in clients.iter().zip(["local", "cluster"]) {
        let started_at = Instant::now();
        let answer = asked(client, "select count(distinct l_comment) from lineitem").await;
        assert_eq!(sqlstate(&answer), "58030", "{route}: {answer:?}");
        // The last pause of the retries may end later.
        let took = started_at.elapsed();
        assert!(took < RETRIED_FOR * 2, "{route}: {took:?}");
        lines.push(format!(
            "| 100 %, {route} route | | | 1 | refused with 58030 | {:.1} |",
            took.as_secs_f64()
        ));
    }
    envoy.inject(0, 0).await.expect("no faults");
    for client in &clients {
        assert_eq!(asked(client, "select count(*) from nation").await.expect("an answer")[0][0], "25");
    }
    let head = "| requests refused with 503 | seconds | how many | queries | right | median (s) |\n|---|---|---|---|---|---|";
    write_down("stores", &format!("{head}\n{}\n", lines.join("\n")));
}
