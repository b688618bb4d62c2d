//! `--memory` is a cap on the process: a sort and an aggregation several times larger finish below it.

use std::path::Path;

use futures::TryStreamExt;
use sql_tests::{Options, TestCluster, tpch};

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
