//! A disk that is full, at each request of each kind of write: 53100, nothing half, no file left, and the next statement
//! works when there is space. Disks of a few megabytes are mounted for it.
//!
//! `SLUICE_TEST_BINARY` names another binary than the one that was built.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt;
use sql_tests::laboratory::SmallDisk;
use sql_tests::{Options, TestCluster, rows, sqlstate, tpch};
use sqlx::{ConnectOptions, Connection};
use tokio_postgres::Client;

const DISK_BYTES: u64 = 24 << 20;
/// Pages of 4 kB that are left. A statement is tried with each until it succeeds.
const LEFT: &[u64] =
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 160, 320, 1024];
/// The same where executors take some themselves.
const LEFT_TO_EXECUTORS: &[u64] = &[0, 2, 6, 12, 24, 48, 96, 192, 384, 1024];
const SETTLED_WITHIN: Duration = Duration::from_secs(20);

/// A kind of statement that writes.
struct Kind {
    name: &'static str,
    before: &'static str,
    statement: &'static str,
    /// What is sent behind a `COPY … FROM STDIN`.
    sent: Option<fn() -> Bytes>,
    after: &'static str,
}

const fn kind(
    name: &'static str,
    before: &'static str,
    statement: &'static str,
    after: &'static str,
) -> Kind {
    Kind { name, before, statement, sent: None, after }
}

fn lines() -> Bytes {
    let lines = (0..20_000).map(|line| format!("{line}\tline {}\n", line * 7919 % 20_011));
    Bytes::from(lines.collect::<String>())
}

/// Statements whose rows go to files.
const OF_FILES: &[Kind] = &[
    kind(
        "CREATE TABLE AS",
        "",
        "create table made as select g as id, 'row ' || (g * 7919 % 20011) as word from generate_series(1, 20000) g",
        "drop table made",
    ),
    kind(
        "CREATE TABLE AS, cut into files",
        "",
        "create table made partitioned by (k) as
           select g as id, g % 5 as k, 'row ' || (g * 7919 % 20011) as word from generate_series(1, 20000) g",
        "drop table made",
    ),
    kind(
        "INSERT … SELECT",
        "",
        "insert into t select id + 100000, word from t",
        "delete from t where id > 20000",
    ),
    kind(
        "INSERT … VALUES",
        "",
        "insert into t values (100001, 'one'), (100002, 'two')",
        "delete from t where id > 20000",
    ),
    Kind {
        name: "COPY … FROM STDIN",
        before: "create table sent (id int, word text)",
        statement: "copy sent from stdin",
        sent: Some(lines),
        after: "drop table sent",
    },
    kind(
        "COPY … FROM a location",
        "create table sent (id bigint, word text); copy t to '{files}/given/'",
        "copy sent from '{files}/given/'",
        "drop table sent",
    ),
    kind(
        "UPDATE",
        "",
        "update t set word = word || '!' where id % 2 = 0",
        "update t set word = rtrim(word, '!')",
    ),
    kind("DELETE", "", "delete from t where id % 3 = 0", ""),
    kind("OPTIMIZE", "insert into t select id + 200000, word from t", "optimize table t", ""),
    kind(
        "CREATE MATERIALIZED VIEW",
        "",
        "create materialized view seen as select id % 9000 as k, count(*) as n, min(word) as w from t group by 1",
        "",
    ),
    kind("REFRESH MATERIALIZED VIEW", "", "refresh materialized view seen", ""),
    kind("COPY … TO a folder", "", "copy t to '{files}/copied/' (partitions 2)", ""),
    kind(
        "COPY … TO a folder, in place of it",
        "",
        "copy t to '{files}/copied/' (overwrite, partitions 2)",
        "",
    ),
    kind("COPY … TO a file", "", "copy t to '{files}/one.csv' (format csv)", ""),
    kind(
        "CREATE TEMPORARY TABLE AS",
        "",
        "create temporary table own as select g as id, 'row ' || g as word from generate_series(1, 20000) g",
        "",
    ),
    kind(
        "a block",
        "",
        "begin; insert into t select id + 300000, word from t; create table second as select * from t; commit",
        "drop table second; delete from t where id > 300000",
    ),
];

/// Statements that change the catalog alone.
const OF_THE_CATALOG: &[Kind] = &[
    kind("CREATE TABLE", "", "create table empty (id int, word text)", ""),
    kind("ALTER TABLE", "", "alter table empty add column more bigint", ""),
    kind("PRIMARY KEY", "", "alter table empty add primary key (id) not enforced", ""),
    kind("COMMENT", "", "comment on table empty is 'nothing in it'", ""),
    kind("ANALYZE", "", "analyze t", ""),
    kind("TRUNCATE", "", "truncate t2", ""),
    kind("CREATE VIEW", "", "create view shown as select id from t", ""),
    kind(
        "CREATE EXTERNAL TABLE",
        "",
        "create external table files stored as parquet location '{files}/copied/'",
        "",
    ),
    kind("CREATE SCHEMA", "", "create schema more", ""),
    kind("CREATE ROLE", "", "create role reader login password 'secret'", ""),
    kind("GRANT", "", "grant select on t to reader", ""),
    kind("ALTER ROLE", "", "alter role reader nologin", ""),
    kind("DROP TABLE", "", "drop table empty", ""),
];

fn binary() -> PathBuf {
    std::env::var_os("SLUICE_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_sluice").into(), PathBuf::from)
}

/// True where disks cannot be mounted (root and `mount` are needed) and need not. It is said, and nothing is tested.
fn is_impossible<T>(made: &anyhow::Result<T>) -> bool {
    let Err(error) = made else { return false };
    assert!(std::env::var("SLUICE_TEST_LABORATORY").as_deref() != Ok("whole"), "{error}");
    eprintln!("NOT tested: {error}");
    true
}

struct Experiment {
    disk: SmallDisk,
    cluster: TestCluster,
    client: Client,
    watcher: Client,
}

impl Experiment {
    async fn start(disk: SmallDisk, executors: usize, session: &str) -> Self {
        let options = Options {
            data_dir: Some(disk.path().join("data")),
            executors,
            executor_memory: "512MB".into(),
            environment: vec![("SLUICE_CLUSTER__EXECUTOR_LOSS_RETRIES".into(), "1".into())],
            ..Options::default()
        };
        let cluster = TestCluster::start(&binary(), &options).await.expect("a server");
        let client = cluster.connect_with(session).await.expect("a session");
        let watcher = cluster.connect_with("-c sluice.route=local").await.expect("a session");
        let tables = "create table t as
              select g as id, 'word ' || (g * 7919 % 20011) as word from generate_series(1, 20000) g;
            create table t2 as select id from t limit 5";
        watcher.batch_execute(tables).await.expect("tables");
        Self { disk, cluster, client, watcher }
    }

    fn files(&self) -> PathBuf {
        self.disk.path().join("data/warehouse/files")
    }

    fn told(&self, sql: &str) -> String {
        sql.replace("{files}", &self.files().to_string_lossy())
    }

    /// All that a user can see of the catalog and of tables.
    async fn seen(&self) -> Vec<Vec<Vec<String>>> {
        let mut seen = Vec::new();
        for sql in [
            "select count(*), sum(id), sum(length(word)), min(word), max(word) from t",
            "select count(*) from t2",
            "select table_schema, table_name, column_name, data_type from information_schema.columns
             where table_schema not in ('pg_catalog', 'information_schema', 'sys') order by 1, 2, ordinal_position",
            "select nspname from pg_namespace where nspname not like 'pg_temp%' order by 1",
            "select rolname, rolcanlogin, rolconfig::text from pg_roles order by 1",
            "select relname, relacl::text, obj_description(oid, 'pg_class') from pg_class
             where relnamespace = 'public'::regnamespace order by 1",
            "select conname from pg_constraint order by 1",
        ] {
            seen.push(rows(&self.watcher, sql).await);
        }
        // By what ANALYZE has counted.
        let mut plan = rows(&self.watcher, "explain select word from t group by word").await;
        plan.retain(|line| line[0].contains("Finalize HashAggregate"));
        seen.push(plan);
        if seen[2].iter().any(|column| column[1] == "seen") {
            seen.push(rows(&self.watcher, "select count(*), sum(n), max(w) from seen").await);
        }
        seen
    }

    /// Files of tables and copies, with their lengths.
    fn stored(&self) -> BTreeMap<PathBuf, u64> {
        let mut found = BTreeMap::new();
        files(&self.disk.path().join("data/warehouse"), &mut found);
        found
    }

    /// SQLite writes to its journal from the beginning again: what is written next would need no space.
    async fn cut_journal(&self) {
        let options =
            sqlx::sqlite::SqliteConnectOptions::new().filename(self.disk.path().join("data/catalog.sqlite"));
        let mut connection = options.connect().await.expect("the catalog opens");
        sqlx::query("pragma wal_checkpoint(truncate)")
            .execute(&mut connection)
            .await
            .expect("its journal is cut");
        connection.close().await.expect("closed");
    }

    async fn attempt(&self, kind: &Kind) -> Result<(), tokio_postgres::Error> {
        let statement = self.told(kind.statement);
        let Some(sent) = kind.sent else { return self.client.batch_execute(&statement).await };
        let sink = self.client.copy_in(&statement).await?;
        let mut sink = std::pin::pin!(sink);
        let sent = sent();
        for at in (0..sent.len()).step_by(8192) {
            // The error comes with the end.
            if sink.send(sent.slice(at..sent.len().min(at + 8192))).await.is_err() {
                break;
            }
        }
        sink.finish().await.map(drop)
    }

    /// Lets `kind` fail for want of space at every place where it does, and then succeed. Gives the failures.
    async fn disturb(&self, kind: &Kind, left: &[u64]) -> usize {
        self.watcher
            .batch_execute(&self.told(kind.before))
            .await
            .unwrap_or_else(|e| panic!("{}: {e:?}", kind.name));
        let (seen, stored) = (self.seen().await, self.stored());
        self.cut_journal().await;
        let mut failures = 0;
        for pages in left {
            let told = format!("{} with {pages} pages left", kind.name);
            self.disk.leave(*pages).expect("a disk that is full");
            let outcome = self.attempt(kind).await;
            self.disk.free().expect("a disk with space");
            if outcome.is_ok() {
                break;
            }
            failures += 1;
            let error = outcome.as_ref().expect_err("a failure").as_db_error().cloned();
            let error = error.unwrap_or_else(|| panic!("{told}: {outcome:?}"));
            assert_eq!(sqlstate(&outcome), "53100", "{told}: {error:?}");
            assert!(error.message().contains("no space left"), "{told}: {error:?}");
            assert!(error.hint().is_some_and(|hint| hint.contains("space")), "{told}: {error:?}");
            self.client.batch_execute("rollback").await.expect("the session lives on");
            assert_eq!(self.seen().await, seen, "{told}: half of it is there");
            let settled = async {
                while self.stored() != stored {
                    tokio::task::yield_now().await;
                }
            };
            if tokio::time::timeout(SETTLED_WITHIN, settled).await.is_err() {
                assert_eq!(self.stored(), stored, "{told}: files are left");
            }
            // With space, what is asked next is done, by this session and by others.
            for client in [&self.client, &self.watcher] {
                let next = format!("comment on schema public is '{told}'");
                client.batch_execute(&next).await.unwrap_or_else(|error| panic!("after {told}: {error:?}"));
            }
        }
        assert!(failures < left.len(), "{} does not succeed with {:?} pages", kind.name, left.last());
        assert_ne!((self.seen().await, self.stored()), (seen, stored), "{} did nothing", kind.name);
        self.watcher
            .batch_execute(&self.told(kind.after))
            .await
            .unwrap_or_else(|e| panic!("{}: {e:?}", kind.name));
        // Free for the next kind, too.
        for statement in ["set sluice.snapshot_retention = '0s'", "vacuum"] {
            self.watcher.batch_execute(statement).await.expect("vacuum");
        }
        failures
    }
}

fn files(folder: &Path, found: &mut BTreeMap<PathBuf, u64>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path(), found),
            _ => {
                found.insert(entry.path(), entry.metadata().map_or(0, |metadata| metadata.len()));
            }
        }
    }
}

async fn disturb_all(experiment: &Experiment, kinds: &[Kind], left: &[u64]) {
    let process = experiment.cluster.process_id();
    for kind in kinds {
        let failures = experiment.disturb(kind, left).await;
        println!("{}: failed {failures} times", kind.name);
        assert!(failures > 0, "{} needs no space", kind.name);
    }
    assert_eq!(process, experiment.cluster.process_id());
    let log = experiment.cluster.log();
    assert!(!log.contains("panicked") && !log.contains("XX000"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_survive_a_full_disk() {
    let disk = SmallDisk::mount(DISK_BYTES).await;
    if is_impossible(&disk) {
        return;
    }
    let experiment = Experiment::start(disk.expect("a disk"), 0, "-c sluice.route=local").await;
    disturb_all(&experiment, OF_FILES, LEFT).await;
    disturb_all(&experiment, OF_THE_CATALOG, LEFT).await;
    // All that was committed is there after a restart.
    let seen = experiment.seen().await;
    let Experiment { disk, cluster, .. } = experiment;
    cluster.end("TERM").await.expect("it ends");
    let options = Options { data_dir: Some(disk.path().join("data")), executors: 0, ..Options::default() };
    let cluster = TestCluster::start(&binary(), &options).await.expect("it starts again");
    let client = cluster.connect().await.expect("a session");
    let watcher = cluster.connect().await.expect("a session");
    let again = Experiment { disk, cluster, client, watcher };
    assert_eq!(again.seen().await, seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_executors_survive_a_full_disk() {
    let disk = SmallDisk::mount(DISK_BYTES).await;
    if is_impossible(&disk) {
        return;
    }
    let session = "-c sluice.route=cluster -c sluice.target_partitions=2";
    let experiment = Experiment::start(disk.expect("a disk"), 1, session).await;
    let kinds: Vec<&Kind> = OF_FILES.iter().filter(|kind| kind.sent.is_none()).collect();
    for kind in kinds {
        let failures = experiment.disturb(kind, LEFT_TO_EXECUTORS).await;
        println!("{}: failed {failures} times", kind.name);
    }
    let executors = experiment.cluster.executor_processes().await.expect("executors");
    assert_eq!(executors.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_spill_survive_a_full_disk() {
    let disk = SmallDisk::mount(4 << 20).await;
    if is_impossible(&disk) {
        return;
    }
    let disk = disk.expect("a disk");
    let lineitem = tpch::data(&binary(), Path::new(env!("CARGO_TARGET_TMPDIR")), "1").await.expect("data");
    let options = Options {
        locations: vec![lineitem],
        data_dir: Some(disk.path().join("data")),
        executors: 0,
        memory: "240MB".into(),
        ..Options::default()
    };
    let cluster = TestCluster::start(&binary(), &options).await.expect("a server");
    let client = cluster.connect_with("-c sluice.route=local").await.expect("a session");
    let sort = "select count(*) from (select l_comment || l_shipinstruct || l_shipmode as text,
           row_number() over (order by l_comment, l_orderkey) as n from lineitem) t where n > 0 and text > ''";
    let outcome = client.simple_query(sort).await;
    assert_eq!(sqlstate(&outcome), "53100", "{outcome:?}");
    assert_eq!(rows(&client, "select count(*) from orders").await[0][0], "1500000");
    // Also what is noted of queries has no space: that is no query's matter.
    disk.leave(0).expect("a disk that is full");
    for _ in 0..50 {
        assert_eq!(rows(&client, "select 1").await[0][0], "1");
    }
    disk.free().expect("space");
    client.batch_execute("create table t as select 1 as one").await.expect("it works on");
}
