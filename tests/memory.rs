//! `--memory` is a cap on the process: what is several times larger finishes below it, or is refused with a reason.

use std::path::Path;

use futures::TryStreamExt;
use sql_tests::{Options, TestCluster, tpch};
use tokio_postgres::Client;

const CAP: &str = "400MB";
const CAP_BYTES: u64 = 400 << 20;

fn peak_resident_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the kernel tells");
    let kib: u64 = line.split_ascii_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kib * 1024
}

/// Puts `process` into a memory control group of the cap's size, where the machine lets us make one.
fn confine(process: u32) -> Option<std::path::PathBuf> {
    let group = Path::new("/sys/fs/cgroup/memory").join(format!("sluice-test-{process}"));
    std::fs::create_dir(&group).ok()?;
    std::fs::write(group.join("memory.limit_in_bytes"), CAP_BYTES.to_string()).ok()?;
    std::fs::write(group.join("cgroup.procs"), process.to_string()).ok()?;
    Some(group)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sort_and_an_aggregation_larger_than_the_cap_stay_below_it() {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "1").await.expect("data");
    let options = Options {
        locations: vec![data],
        executors: 1,
        executor_memory: CAP.to_owned(),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary, &options).await.expect("a cluster");
    let process = cluster.executor_processes().await.expect("processes")[0];
    match confine(process) {
        Some(group) => println!("the executor is confined by {}", group.display()),
        None => println!("this machine gives no memory control group; the peak is read afterwards"),
    }
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");

    // Some 6 million rows of 10 columns: about 1 GB once decoded.
    let sort = "select l_comment, l_orderkey, l_partkey, l_suppkey, l_linenumber, l_quantity, \
                l_extendedprice, l_discount, l_tax, l_shipdate from lineitem order by l_comment";
    let none: [&str; 0] = [];
    let rows = client.query_raw(sort, none).await.expect("the sort runs");
    let mut rows = std::pin::pin!(rows);
    let (mut count, mut last) = (0u64, String::new());
    while let Some(row) = rows.try_next().await.expect("the sort finishes") {
        let comment: &str = row.get(0);
        assert!(last.as_str() <= comment, "{last:?} comes before {comment:?}");
        last.clear();
        last.push_str(comment);
        count += 1;
    }
    assert_eq!(count, 6_001_215);
    println!("peak after the sort: {} MB", peak_resident_bytes(process) >> 20);

    let groups = "select count(*), sum(n) from (select l_orderkey, l_partkey, l_comment, count(*) as n \
                  from lineitem group by l_orderkey, l_partkey, l_comment) g";
    let row = client.query_one(groups, &[]).await.expect("the aggregation finishes");
    assert_eq!(row.get::<_, i64>(0), 6_001_215);
    println!("peak after the aggregation: {} MB", peak_resident_bytes(process) >> 20);

    let spilled = cluster.executor_processes().await.expect("processes");
    assert_eq!(spilled, [process], "the executor lived through it");
    let peak = peak_resident_bytes(process);
    assert!(peak <= CAP_BYTES, "the peak was {} MB, the cap is {CAP}", peak >> 20);
}

async fn start(scale_factor: &str, options: Options) -> TestCluster {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let data = tpch::data(binary, folder, scale_factor).await.expect("data");
    let options = Options { locations: vec![data], ..options };
    TestCluster::start(binary, &options).await.expect("a cluster")
}

async fn state(client: &Client, sql: &str) -> (String, String) {
    match client.simple_query(sql).await {
        Ok(_) => ("00000".to_owned(), String::new()),
        Err(error) => {
            let error = error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error}"));
            (error.code().code().to_owned(), error.message().to_owned())
        }
    }
}

/// The rows of both sides are wider than the planner can know: it takes a hash join to fit.
const LARGE_JOIN: &str = "with wide as (select l_orderkey, l_linenumber, repeat(l_comment, 6) as text \
    from lineitem where l_linenumber <= 3) \
    select count(*), count(distinct a.l_orderkey) from wide a \
    join wide b on a.l_orderkey = b.l_orderkey and a.l_linenumber = b.l_linenumber \
    where a.text || b.text <> 'x'";

#[tokio::test(flavor = "multi_thread")]
async fn joins_that_do_not_fit_are_planned_for_less_memory() {
    let options = Options {
        executors: 2,
        executor_memory: "192MB".to_owned(),
        memory: "300MB".to_owned(),
        ..Options::default()
    };
    let cluster = start("1", options).await;
    let processes = cluster.executor_processes().await.expect("processes");
    for route in ["cluster", "local"] {
        let client = cluster.connect_with(&format!("-c sluice.route={route}")).await.expect("a session");
        client.batch_execute("set sluice.target_partitions = 8").await.expect("set");
        let row =
            client.query_one(LARGE_JOIN, &[]).await.unwrap_or_else(|error| panic!("{route}: {error:?}"));
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (3_857_222, 1_500_000), "{route}");
        let again = "select max(retries) from sys.queries where sql like '%count(distinct a.l_orderkey)%' \
                     and sql not like '%sys.queries%'";
        let again: i32 = client.query_one(again, &[]).await.expect("the log").get(0);
        assert!(again > 0, "{route}: it was to run out of memory once");
        // Straight after it, what is small fits.
        let row = client.query_one("select count(*) from orders", &[]).await.expect("a small query");
        assert_eq!(row.get::<_, i64>(0), 1_500_000, "{route}");
    }
    assert_eq!(cluster.executor_processes().await.expect("processes"), processes, "all lived through it");
    for (process, cap) in processes.iter().map(|process| (*process, 192)).chain([(cluster.process_id(), 300)])
    {
        let peak = peak_resident_bytes(process) >> 20;
        assert!(peak <= cap, "the peak was {peak} MB, the cap is {cap} MB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_nowhere_is_refused_by_name() {
    let options = Options {
        executors: 1,
        executor_memory: "256MB".to_owned(),
        memory: "256MB".to_owned(),
        ..Options::default()
    };
    let cluster = start("1", options).await;
    let executor = cluster.executor_processes().await.expect("processes")[0];
    // One list of all comments: no operator can spill it.
    let hog = "select cardinality(array_agg(l_comment)) from lineitem";
    for route in ["cluster", "local"] {
        let client = cluster.connect_with(&format!("-c sluice.route={route}")).await.expect("a session");
        let (code, message) = state(&client, hog).await;
        assert_eq!(code, "53200", "{route}: {message}");
        // Which of its bounds it meets first is a matter of moments.
        assert!(message.contains("asked for") || message.contains("largest task"), "{route}: {message}");
        assert!(message.contains("memory cap"), "{route}: {message}");
        for (sql, expected) in [
            ("select lpad('x', 2147483647, 'y')", "54000"),
            ("select repeat('x', 2000000000)", "54000"),
            ("select count(lpad(l_comment, 2000000000)) from lineitem", "54000"),
            ("select max(length(lpad(l_comment, 20000))) from lineitem where l_orderkey < 5000", "00000"),
            ("select cardinality(array_repeat(1, 2000000000))", "54000"),
            (
                "select max(length(replace(repeat(l_comment, 1000), 'e', repeat('x', 100000)))) from lineitem",
                "54000",
            ),
        ] {
            let (code, message) = state(&client, sql).await;
            assert_eq!(code, expected, "{route}: {sql}: {message}");
        }
        assert_eq!(state(&client, "select count(*) from lineitem").await.0, "00000", "{route}");
    }
    assert_eq!(cluster.executor_processes().await.expect("processes"), [executor], "the executor lived");
    for process in [executor, cluster.process_id()] {
        let peak = peak_resident_bytes(process) >> 20;
        assert!(peak <= 256, "the peak was {peak} MB, the cap is 256 MB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spill_and_shuffle_files_have_limits() {
    let sort = "select count(*) from (select l_comment || l_shipinstruct || l_shipmode as text, \
                row_number() over (order by l_comment, l_orderkey) as n from lineitem) t \
                where n > 0 and text > ''";
    for (variable, route) in [
        ("SLUICE_EXECUTOR__SHUFFLE_BYTES_MAX", "cluster"),
        ("SLUICE_EXECUTOR__SPILL_BYTES_MAX", "cluster"),
        ("SLUICE_SERVER__SPILL_BYTES_MAX", "local"),
    ] {
        let options = Options {
            executors: 1,
            executor_memory: "240MB".to_owned(),
            memory: "240MB".to_owned(),
            environment: vec![(variable.into(), "2MB".into())],
            ..Options::default()
        };
        let cluster = start("1", options).await;
        let client = cluster.connect_with(&format!("-c sluice.route={route}")).await.expect("a session");
        let (code, message) = state(&client, sort).await;
        assert_eq!(code, "53100", "{variable}: {message}");
        assert_eq!(state(&client, "select count(*) from orders").await.0, "00000", "{variable}");
    }
}

/// The library that takes memory in an executor and never gives it back.
async fn held_memory() -> std::path::PathBuf {
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("held_memory.so");
    let compiled = tokio::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([library.as_path(), Path::new("sql-tests/faults/held_memory.c")])
        .status()
        .await
        .expect("a compiler, as Rust needs one");
    assert!(compiled.success());
    library
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_never_gives_its_memory_back_is_started_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let once = folder.path().join("once");
    std::fs::write(&once, "").expect("a file");
    let options = Options {
        executors: 1,
        executor_memory: "192MB".to_owned(),
        environment: vec![
            ("LD_PRELOAD".into(), held_memory().await.to_string_lossy().into_owned()),
            ("HELD_MEMORY_ONCE".into(), once.to_string_lossy().into_owned()),
            ("HELD_MEMORY_BYTES".into(), (160 << 20).to_string()),
        ],
        ..Options::default()
    };
    let cluster = start("0.1", options).await;
    assert!(!once.exists(), "the first executor holds memory");
    let client = cluster.connect_with("-c sluice.route=cluster").await.expect("a session");
    let first = cluster.executor_processes().await.expect("processes");
    let replaced = async {
        loop {
            let now = cluster.executor_processes().await.expect("processes");
            if now.len() == 1 && now != first {
                return;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), replaced).await.expect("another comes");
    assert!(cluster.log().contains("it holds memory that nothing needs"), "it ended by itself");
    let counted = "select count(*), count(distinct l_orderkey) from lineitem";
    assert_eq!(sql_tests::rows(&client, counted).await, [["600572", "150000"]]);
}

/// A file of some kilobytes whose one page is as large as the process may be.
fn page_of(bytes: usize, file: &Path) {
    use parquet::basic::{Compression, ZstdLevel};
    let text = arrow::array::StringArray::from(vec!["a".repeat(bytes)]);
    let batch = arrow::array::RecordBatch::try_from_iter([("text", std::sync::Arc::new(text) as _)]);
    let batch = batch.expect("a batch");
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        .build();
    let file = std::fs::File::create(file).expect("a file");
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_claims_more_than_there_is_is_asked_for_first() {
    const CAP_MB: u64 = 512;
    let folder = tempfile::tempdir().expect("a folder");
    page_of(450 << 20, &folder.path().join("large.parquet"));
    page_of(1 << 20, &folder.path().join("small.parquet"));
    let options = Options {
        locations: vec![folder.path().to_owned()],
        executors: 1,
        executor_memory: format!("{CAP_MB}MB"),
        memory: format!("{CAP_MB}MB"),
        ..Options::default()
    };
    let cluster =
        TestCluster::start(Path::new(env!("CARGO_BIN_EXE_sluice")), &options).await.expect("a cluster");
    for route in ["local", "cluster"] {
        let client = cluster.connect_with(&format!("-c sluice.route={route}")).await.expect("a session");
        let (code, message) = state(&client, "select length(text) from large").await;
        assert_eq!(code, "53200", "{route}: {message}");
        let length = client.query_one("select max(length(text)) from small", &[]).await.expect("rows");
        assert_eq!(length.get::<_, i32>(0), 1 << 20, "{route}");
    }
    let mut processes = cluster.executor_processes().await.expect("processes");
    processes.push(cluster.process_id());
    for process in processes {
        let peak = peak_resident_bytes(process) >> 20;
        assert!(peak <= CAP_MB, "the peak was {peak} MB");
    }
}
