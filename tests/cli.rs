//! What the one who starts the server sees.

use std::path::Path;
use std::process::{Command, Output};

fn sluice(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .expect("the binary starts")
}

fn one_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    assert!(!text.contains("panicked") && !text.contains("backtrace"), "{text}");
    text
}

#[test]
fn a_location_that_can_never_be_one_is_one_clear_line() {
    for (location, told) in [
        ("ftp://host/lake", "of the kind ftp://, which is not supported"),
        ("s3:///lake", "names no bucket"),
        ("s3://user:password@bucket/lake", "holds a password"),
    ] {
        let output = sluice(&[
            "serve",
            location,
            "--listen",
            "127.0.0.1:0",
            "--dashboard",
            "127.0.0.1:0",
            "--cluster-listen",
            "127.0.0.1:0",
        ]);
        assert_eq!(output.status.code(), Some(1));
        assert!(one_line(&output).contains(told), "{location}");
    }
}

#[test]
fn a_bad_flag_and_a_bad_setting_exit_64() {
    assert_eq!(sluice(&["serve", "--no-such-flag"]).status.code(), Some(64));
    let output = sluice(&["serve", "--memory", "1MB"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(one_line(&output).contains("server.memory is 1MB"));
    let output = sluice(&["executor"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(one_line(&output).contains("--coordinator HOST:PORT"));
    assert_eq!(sluice(&["serve", "--config", "/no/such.toml"]).status.code(), Some(64));
    // Others than this machine's reach it, and nobody chose a secret.
    let output = sluice(&["serve", "--cluster-listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(one_line(&output).contains("the cluster needs a secret (openssl rand -hex 32 > FILE)"));
    let output = sluice(&["executor", "--coordinator", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(one_line(&output).contains("--secret-file FILE"));
    let short = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(short.path(), "guessed\n").expect("written");
    let short = short.path().to_string_lossy().into_owned();
    let output = sluice(&["serve", "--secret-file", &short]);
    assert_eq!(output.status.code(), Some(64));
    assert!(one_line(&output).contains("is too short"));
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let output = sluice(&[
        "serve",
        "--listen",
        &address,
        "--dashboard",
        "127.0.0.1:0",
        "--cluster-listen",
        "127.0.0.1:0",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(one_line(&output).contains(&format!("cannot listen on {address}")));
}

#[test]
fn settings_merge_and_secrets_stay_hidden() {
    let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["serve", "--executors", "3", "--print-config"])
        .env("SLUICE_LIMITS__CONNECTIONS_MAX", "17")
        .env("SLUICE_STORES__S3__SECRET_ACCESS_KEY", "canary")
        .output()
        .expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("connections_max = 17") && text.contains("executors = 3"), "{text}");
    assert!(!text.contains("canary"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_and_files_become_tables_with_partition_columns() {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data =
        sql_tests::tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "0.01").await.expect("data");
    let lake = tempfile::tempdir().expect("a temporary folder");
    for (folder, day) in [("2024-01-01", 1), ("2024-01-02", 2)] {
        let partition = lake.path().join("visits").join(format!("day={folder}")).join(format!("hour={day}"));
        std::fs::create_dir_all(&partition).expect("made");
        std::fs::copy(data.join("region.parquet"), partition.join("part-0.parquet")).expect("copied");
    }
    std::fs::copy(data.join("nation.parquet"), lake.path().join("Nation.parquet")).expect("copied");
    let options =
        sql_tests::Options { locations: vec![lake.path().to_owned()], ..sql_tests::Options::default() };
    let cluster = sql_tests::TestCluster::start(binary, &options).await.expect("a cluster");
    for route in ["local", "cluster"] {
        let client = cluster.connect_with(&format!("-c sluice.route={route}")).await.expect("a session");
        let rows = client
            .query("select hour, count(*) from visits where day = '2024-01-02' group by hour", &[])
            .await
            .expect("rows");
        assert_eq!((rows.len(), rows[0].get::<_, i64>(0), rows[0].get::<_, i64>(1)), (1, 2, 5));
        let row = client
            .query_one("select count(*) from \"Nation\"", &[])
            .await
            .expect("quoted names keep their case");
        assert_eq!(row.get::<_, i64>(0), 25);
    }
}
