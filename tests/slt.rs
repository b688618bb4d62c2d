//! Every `.slt` file, on both routes, with both protocols, with the same expected output.

use std::path::{Path, PathBuf};

use sql_tests::{Options, Protocol, Route, TestCluster, run_file, tpch};

fn slt_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            slt_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            found.push(path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_agrees_on_both_routes() {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "0.01").await.expect("data");
    let options = Options { locations: vec![data], ..Options::default() };
    let cluster = TestCluster::start(binary, &options).await.expect("a cluster");
    let written = cluster.data_dir().join("warehouse/files");
    let mut files = Vec::new();
    slt_files(Path::new("sql-tests/slt"), &mut files);
    files.sort();
    assert!(!files.is_empty(), "there are .slt files");
    let mut failures = Vec::new();
    for file in &files {
        for route in [Route::Local, Route::Cluster] {
            for protocol in [Protocol::Simple, Protocol::Extended] {
                if let Err(error) = run_file(&cluster, file, &written, route, protocol).await {
                    failures.push(format!("{} {route:?} {protocol:?}: {error}", file.display()));
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} runs failed:\n{}",
        failures.len(),
        files.len() * 4,
        failures.join("\n\n")
    );
}
