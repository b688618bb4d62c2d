//! The house's fences: who may see whom, which file may open which heavy crate, one version of each.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Files of the workspace's own code that name `word` outside comments, relative to its root.
fn files_naming(word: &str) -> BTreeSet<String> {
    let root = root();
    let mut files = Vec::new();
    for folder in ["src", "catalog/src", "engine/src", "server/src", "executor/src"] {
        rust_files(&root.join(folder), &mut files);
    }
    assert!(files.len() > 50, "the workspace has more files than {}", files.len());
    files
        .into_iter()
        .filter(|path| {
            let text = fs::read_to_string(path).expect("the file can be read");
            text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word))
        })
        .map(|path| path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned())
        .collect()
}

fn only_in(word: &str, doors: &[&str]) {
    for file in files_naming(word) {
        assert!(
            doors.iter().any(|door| file.starts_with(door)),
            "{file} names {word}, whose door is {doors:?}"
        );
    }
    assert!(!files_naming(word).is_empty(), "nothing names {word} any more: drop its fence");
}

#[test]
fn each_heavy_crate_has_one_door() {
    only_in("pgwire::", &["server/src/wire/"]);
    // DataFusion's planner of operators names them as the parser does.
    let of_operators = [
        "engine/src/functions/lists/planner.rs",
        "engine/src/semantics/instants.rs",
        "engine/src/semantics/merged_columns.rs",
        "engine/src/semantics/wide_planner.rs",
    ];
    only_in(
        "sqlparser::",
        &["server/src/sql/", of_operators[0], of_operators[1], of_operators[2], of_operators[3]],
    );
    only_in("ballista_scheduler::", &["server/src/cluster/"]);
    only_in("ballista_executor::", &["executor/src/"]);
    only_in("object_store::aws", &["engine/src/object_stores.rs"]);
    only_in("foyer::", &["engine/src/data_cache.rs"]);
    only_in("hdfs_native_object_store::", &["engine/src/object_stores.rs"]);
    only_in("LocalFileSystem", &["engine/src/local_files.rs"]);
    only_in("rcgen::", &["engine/src/cluster_identity.rs"]);
    only_in("rustls::", &["engine/src/tls.rs"]);
    only_in("sqlx::", &["catalog/src/store/", "catalog/src/error.rs"]);
    only_in("prometheus::", &["server/src/metrics.rs", "server/src/dashboard/mod.rs"]);
    only_in("opentelemetry", &["server/src/traces.rs"]);
    only_in("figment::", &["engine/src/config.rs"]);
    only_in("clap::", &["engine/src/config.rs", "src/"]);
    only_in("anyhow", &["src/"]);
}

fn dependencies(manifest: &str) -> String {
    fs::read_to_string(root().join(manifest)).expect("the manifest can be read")
}

#[test]
fn server_and_executor_never_see_each_other_and_catalog_sees_neither() {
    let server = dependencies("server/Cargo.toml");
    let executor = dependencies("executor/Cargo.toml");
    let engine = dependencies("engine/Cargo.toml");
    let catalog = dependencies("catalog/Cargo.toml");
    assert!(!server.contains("executor.workspace") && !server.contains("ballista-executor"));
    assert!(!executor.contains("server.workspace") && !executor.contains("ballista-scheduler"));
    assert!(!engine.contains("server.workspace") && !engine.contains("executor.workspace"));
    for crate_name in ["engine", "server", "executor"] {
        assert!(!catalog.contains(&format!("{crate_name}.workspace")), "catalog sees {crate_name}");
    }
}

#[test]
fn there_is_one_version_of_arrow_and_of_datafusion() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("the lock file can be read");
    for name in [
        "arrow",
        "arrow-array",
        "parquet",
        "datafusion",
        "datafusion-common",
        "sqlparser",
        "object_store",
        "ballista-core",
    ] {
        let count = lock.lines().filter(|line| *line == format!("name = \"{name}\"")).count();
        assert_eq!(count, 1, "{name} is there {count} times");
    }
}

#[test]
fn panics_never_abort_the_process() {
    let manifest = dependencies("Cargo.toml");
    assert!(!manifest.contains("panic = \"abort\""), "a panic in one session would end them all");
}
