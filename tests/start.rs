//! What a start refuses, and when ports open.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sql_tests::{Options, TestCluster, rows, sqlstate};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

fn binary() -> PathBuf {
    std::env::var_os("SLUICE_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_sluice").into(), PathBuf::from)
}

/// The one line that a start which is refused ends with.
async fn refused(data_dir: &Path) -> String {
    let mut command = tokio::process::Command::new(binary());
    command.args(["serve", "--listen", "127.0.0.1:0", "--dashboard", "127.0.0.1:0"]);
    command.args(["--cluster-listen", "127.0.0.1:0", "--executors", "0", "--data-dir"]).arg(data_dir);
    let output = tokio::time::timeout(REFUSED_WITHIN, command.kill_on_drop(true).output()).await;
    let output = output.expect("it is not served").expect("the binary starts");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(!told.contains("panicked"), "{told}");
    let last = told.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("sluice: "), "{told}");
    last
}

const REFUSED_WITHIN: Duration = Duration::from_secs(20);

async fn started(data_dir: &Path) -> TestCluster {
    let options = Options { executors: 0, data_dir: Some(data_dir.to_owned()), ..Options::default() };
    TestCluster::start(&binary(), &options).await.expect("a server")
}

/// A data folder whose server has run `sql` and ended.
async fn filled(data_dir: &Path, sql: &str) {
    let server = started(data_dir).await;
    server.connect().await.expect("a session").batch_execute(sql).await.expect("it runs");
    let ended = server.end("TERM").await.expect("it ends");
    assert!(ended.success(), "{ended}");
}

async fn catalog(data_dir: &Path) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data_dir.join("catalog.sqlite"));
    options.connect().await.expect("the catalog opens")
}

async fn run(data_dir: &Path, sql: &'static str) {
    let mut connection = catalog(data_dir).await;
    sqlx::query(sql).execute(&mut connection).await.expect("it runs");
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_catalog_is_not_taken_for_a_new_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    filled(&data, "create table t as select 1 as one").await;
    let file = data.join("catalog.sqlite");
    let kept = std::fs::read(&file).expect("the catalog");
    let warehouse = data.join("warehouse");
    let is_told = |told: &str| {
        assert!(told.contains(&format!("{} is missing or empty", file.display())), "{told}");
        assert!(told.contains(&format!("{}/public/t-", warehouse.display())), "{told}");
        assert!(told.contains("bring the catalog back from a backup, or move "), "{told}");
    };
    std::fs::remove_file(&file).expect("removed");
    // What a refused start leaves is no catalog either.
    for _ in 0..2 {
        is_told(&refused(&data).await);
    }
    std::fs::write(&file, b"").expect("written");
    is_told(&refused(&data).await);

    // The way back.
    std::fs::write(&file, &kept).expect("written");
    let server = started(&data).await;
    let client = server.connect().await.expect("a session");
    assert_eq!(rows(&client, "select one from t").await, [["1"]]);
    server.end("TERM").await.expect("it ends");

    // The way on: what the history tells of is moved away, too.
    std::fs::remove_file(&file).expect("removed");
    std::fs::rename(&warehouse, folder.path().join("warehouse")).expect("moved");
    let told = refused(&data).await;
    assert!(told.contains("queries.jsonl tells of queries"), "{told}");
    std::fs::rename(data.join("history"), folder.path().join("history")).expect("moved");
    let server = started(&data).await;
    let client = server.connect().await.expect("a session");
    assert_eq!(rows(&client, "select count(*) from pg_tables where schemaname = 'public'").await, [["0"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_catalog_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    filled(&data, "create table t as select g from generate_series(1, 10) g; create role reader").await;
    let file = data.join("catalog.sqlite");
    let kept = std::fs::read(&file).expect("the catalog");
    let half = kept.len() / 2;
    let mut torn = kept.clone();
    torn[100..].fill(0x5a);
    for (what, bytes) in [
        ("garbage", (0..8192u32).map(|at| (at * 31 % 251) as u8).collect()),
        ("text", b"this is no database\n".repeat(300)),
        ("half of it", kept[..half].to_vec()),
        ("a page of it", kept[..4096].to_vec()),
        ("a piece of a page", kept[..1000].to_vec()),
        ("nothing but the header", torn),
    ] {
        std::fs::write(&file, bytes).expect("written");
        let told = refused(&data).await;
        assert!(told.contains("the catalog's database is damaged: "), "{what}: {told}");
        assert!(told.contains(&format!("({})", file.display())), "{what}: {told}");
        assert!(told.contains("bring the catalog back from a backup"), "{what}: {told}");
    }
    std::fs::remove_file(&file).expect("removed");
    {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        let mut connection = options.connect().await.expect("a database");
        sqlx::query("create table bookmarks (url text)").execute(&mut connection).await.expect("a table");
        connection.close().await.expect("closed");
    }
    let told = refused(&data).await;
    assert!(told.contains("is that of another program, and holds its table \"bookmarks\""), "{told}");
    let bookmarks = rows_of(&data, "select count(*) from bookmarks").await;
    assert_eq!(bookmarks, 0, "and it is left alone");
    std::fs::write(&file, &kept).expect("written");
    let _sound = started(&data).await;
}

async fn rows_of(data_dir: &Path, sql: &'static str) -> i64 {
    let mut connection = catalog(data_dir).await;
    let count = sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("a number");
    connection.close().await.expect("closed");
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_in_the_catalog_is_found_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    filled(
        &data,
        "create table good as select 1 as one; create table bad as select 2 as two; create view v as select 3 as three",
    )
    .await;
    let kept = std::fs::read(data.join("catalog.sqlite")).expect("the catalog");
    for (sql, problem) in [
        (
            "update ducklake_snapshot set next_file_id = 1",
            "next_file_id is 1, and ducklake_data_file has 1 already",
        ),
        ("update ducklake_snapshot set next_catalog_id = 2", "next_catalog_id is 2, and ducklake_table has "),
        (
            "delete from ducklake_snapshot where snapshot_id = (select max(snapshot_id) from ducklake_snapshot)",
            "knows of snapshot ",
        ),
        ("delete from ducklake_snapshot", "it has no snapshot any more"),
        ("update ducklake_data_file set end_snapshot = begin_snapshot - 1", "ends before it"),
        ("delete from ducklake_table where table_name = 'bad'", "it holds files of table "),
        (
            "update ducklake_table set schema_id = 99 where table_name = 'bad'",
            "table \"bad\" is in schema 99, which does not exist",
        ),
        ("update ducklake_data_file set record_count = null", "has no length or no number of rows"),
        ("update sluice_roles set oid = -1", "object identifier"),
        ("update ducklake_snapshot set next_file_id = 'many'", "a row cannot be read"),
    ] {
        std::fs::write(data.join("catalog.sqlite"), &kept).expect("written");
        run(&data, sql).await;
        let told = refused(&data).await;
        assert!(told.contains(problem), "{sql}: {told}");
        assert!(told.contains("catalog.sqlite)"), "{sql}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_of_one_table_is_that_tables_matter() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let make = "create table good as select 1 as one;
         create table bad as select g as two from generate_series(1, 5) g;
         insert into bad values (6)";
    filled(&data, make).await;
    let kept = std::fs::read(data.join("catalog.sqlite")).expect("the catalog");
    const BAD: &str = "(select table_id from ducklake_table where table_name = 'bad')";
    for (change, problem) in [
        ("ducklake_data_file set record_count = -5", "its record_count is -5"),
        ("ducklake_data_file set file_size_bytes = -1", "its file_size_bytes is -1"),
        ("ducklake_data_file set footer_size = 9999999", "its footer_size 9999999 is more than"),
        ("ducklake_data_file set path = '../../../../etc/x.parquet'", "leads out of the warehouse"),
        ("ducklake_data_file set path = 'same.parquet'", "it has the file same.parquet twice"),
        ("ducklake_table set path = '../elsewhere/'", "its folder leads out of the warehouse"),
        ("ducklake_file_column_stats set null_count = -2", "its null_count is -2"),
        ("ducklake_table_stats set next_row_id = -7", "its next_row_id is -7"),
    ] {
        std::fs::write(data.join("catalog.sqlite"), &kept).expect("written");
        let mut connection = catalog(&data).await;
        let sql = format!("update {change} where table_id = {BAD}");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.expect("it runs");
        connection.close().await.expect("closed");
        let server = started(&data).await;
        let client = server.connect().await.expect("a session");
        for sql in [
            "select count(*) from bad",
            "select * from bad where two = 3",
            "insert into bad values (7)",
            "update bad set two = 0",
            "delete from bad",
            "truncate bad",
            "optimize table bad",
        ] {
            let outcome = client.batch_execute(sql).await;
            assert_eq!(sqlstate(&outcome), "XX001", "{change}: {sql}");
            let error = outcome.expect_err("a failure").as_db_error().cloned().expect("of the server");
            let told = error.message();
            assert!(told.contains("table \"bad\": ") && told.contains(problem), "{change}: {told}");
            assert!(error.hint().is_some_and(|hint| hint.contains("backup")), "{error:?}");
        }
        client.batch_execute("analyze; insert into good values (2)").await.expect("others are served");
        assert_eq!(rows(&client, "select count(*) from good").await, [["2"]]);
        client.batch_execute("drop table bad").await.expect("it can be dropped");
        server.end("KILL").await.expect("it ends");
        // Not with what only a killed server leaves.
        for name in ["catalog.sqlite-wal", "catalog.sqlite-shm"] {
            let _ = std::fs::remove_file(data.join(name));
        }
        let added = files_of(&data.join("warehouse"), "good");
        assert!(added >= 2, "{added}");
    }
}

fn files_of(warehouse: &Path, table: &str) -> usize {
    let tables = std::fs::read_dir(warehouse.join("public")).expect("a folder").flatten();
    let folders = tables.filter(|entry| entry.file_name().to_string_lossy().starts_with(table));
    folders.map(|folder| std::fs::read_dir(folder.path()).expect("a folder").count()).sum()
}

/// A port that is free, for now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_open_when_serving_can_begin() {
    let folder = tempfile::tempdir().expect("a folder");
    // A catalog's database that takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("postgres://postgres@{}/postgres", silent.local_addr().expect("an address"));
    let ports = [free_port(), free_port(), free_port()];
    let [client, dashboard, cluster] = ports.map(|port| format!("127.0.0.1:{port}"));
    let mut child = Command::new(binary())
        .args(["serve", "--listen", &client, "--dashboard", &dashboard, "--cluster-listen", &cluster])
        .args(["--executors", "0", "--data-dir"])
        .arg(folder.path().join("data"))
        .env("SLUICE_CATALOG__URL", url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let (mut socket, _) = silent.accept().expect("the server asks for its catalog");
    for address in [&client, &dashboard, &cluster] {
        let refused = TcpStream::connect(address).expect_err("nothing can be answered yet");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{address}");
    }
    // A start that fails never opened them.
    let mut asked = [0; 8];
    let _ = socket.read(&mut asked);
    let refusal = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed\0\0";
    let mut answer = vec![b'E'];
    answer.extend((refusal.len() as u32 + 4).to_be_bytes());
    answer.extend(refusal);
    socket.write_all(&answer).expect("told");
    drop(socket);
    let probing = std::thread::spawn(move || {
        let mut opened = false;
        while child.try_wait().expect("a process").is_none() {
            opened |=
                [&client, &dashboard, &cluster].iter().any(|address| TcpStream::connect(address).is_ok());
        }
        (opened, child.wait_with_output().expect("its words"))
    });
    let (opened, output) = probing.join().expect("no panic");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!opened, "a port was open: {told}");
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("the catalog's database does not"), "{told}");
}
