//! What a catalog's database that fails is told as, and that what comes next works.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use catalog::{CatalogError, CatalogStore, Change, Metadata, Role, StoreFailure, Warehouse};
use sql_tests::{Options, Oracle, TestCluster, sqlstate};
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::{Client, NoTls};

fn warehouse() -> Warehouse {
    Warehouse { location: "/lake".into(), is_chosen: false, may_begin: true }
}

async fn open(path: &Path) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    options.connect().await.expect("the catalog opens")
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) {
    sqlx::query(sql).execute(connection).await.expect("it runs");
}

fn failure<T: std::fmt::Debug>(outcome: Result<T, CatalogError>) -> StoreFailure {
    match outcome {
        Err(CatalogError::StoreFailed { failure, .. }) => failure,
        other => panic!("{other:?}"),
    }
}

fn role(metadata: &Metadata, name: &str) -> [Change; 1] {
    [Change::PutRole(Role::new(metadata.next_role_oid(), name))]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_another_process_holds_or_that_may_not_be_written() {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let options = Options { executors: 0, ..Options::default() };
    let server = TestCluster::start(binary, &options).await.expect("a server");
    let client = server.connect().await.expect("a session");
    let path = server.data_dir().join("catalog.sqlite");
    let told = async |sql: &str, code: &str, words: &str| {
        let outcome = client.batch_execute(sql).await;
        assert_eq!(sqlstate(&outcome), code, "{outcome:?}");
        let error = outcome.expect_err("a failure").as_db_error().cloned().expect("of the server");
        assert!(error.message().contains(words) && error.hint().is_some(), "{error:?}");
    };
    let mut other = open(&path).await;
    run(&mut other, "begin immediate").await;
    told("create role a", "55P03", "is in use by another process").await;
    run(&mut other, "rollback").await;
    client.batch_execute("create role a; create table t as select 1 as one").await.expect("it is free again");

    // A connection that may only read is not kept when writing is allowed again.
    let chattr = |flag: &str| Command::new("chattr").arg(flag).arg(&path).status().is_ok_and(|s| s.success());
    if !chattr("+i") {
        assert!(std::env::var("SLUICE_TEST_LABORATORY").as_deref() != Ok("whole"), "chattr does not work");
        eprintln!("NOT tested: a file that cannot be changed (chattr +i)");
        return;
    }
    run(&mut other, "begin immediate").await;
    told("create role b", "55P03", "is in use by another process").await;
    run(&mut other, "rollback").await;
    let read_only = async {
        told("create role b", "25006", "may not be written").await;
        told("insert into t values (2)", "25006", "may not be written").await;
    };
    read_only.await;
    assert!(chattr("-i"));
    client.batch_execute("create role b; insert into t values (2)").await.expect("it may be written again");
    assert_eq!(sql_tests::rows(&client, "select count(*) from t").await, [["2"]]);
}

/// A PostgreSQL whose role `sluice` keeps a catalog.
async fn postgres() -> (Oracle, Client, String) {
    let oracle = Oracle::start().await.expect("a PostgreSQL");
    let (client, connection) = tokio_postgres::connect(&oracle.url(), NoTls).await.expect("a session");
    tokio::spawn(connection);
    let role = "create role sluice login; alter role sluice set lock_timeout = '200ms';
        grant create on schema public to sluice";
    client.batch_execute(role).await.expect("a role");
    let url = format!("postgres://sluice@{}/postgres", oracle.address());
    (oracle, client, url)
}

const END_SESSIONS: &str = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'sluice'";

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_a_postgres_are_told_apart_and_pass() {
    let (_oracle, admin, url) = postgres().await;
    let store = CatalogStore::open_url(&url, &warehouse()).await.expect("a store");
    let mut at = store.load().await.expect("a version");
    for (cause, end, expected) in [
        (
            "alter role sluice set default_transaction_read_only = on",
            "alter role sluice reset default_transaction_read_only",
            StoreFailure::ReadOnly,
        ),
        ("alter role sluice nologin", "alter role sluice login", StoreFailure::Rejected),
        (
            "alter table ducklake_snapshot owner to postgres; revoke all on ducklake_snapshot from sluice",
            "alter table ducklake_snapshot owner to sluice; grant all on ducklake_snapshot to sluice",
            StoreFailure::Denied,
        ),
        ("begin; lock table ducklake_snapshot in access exclusive mode", "rollback", StoreFailure::Busy),
    ] {
        admin.batch_execute(cause).await.expect(cause);
        admin.batch_execute(END_SESSIONS).await.expect("sessions end");
        assert_eq!(failure(store.commit(&at, &role(&at, "refused")).await), expected, "{cause}");
        admin.batch_execute(end).await.expect(end);
        admin.batch_execute(END_SESSIONS).await.expect("sessions end");
        // Sessions that were ended are found out before they are used.
        at = store.commit(&at, &role(&at, &format!("{expected:?}"))).await.expect("the next commit");
        assert_eq!(store.load().await.expect("the version").roles, at.roles, "{cause}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_ends_with_its_session_did_not_happen() {
    let (_oracle, admin, url) = postgres().await;
    let store = CatalogStore::open_url(&url, &warehouse()).await.expect("a store");
    let at = store.load().await.expect("a version");
    let trigger = "create function fall() returns trigger language plpgsql security definer as
          $$ begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$;
        create constraint trigger falls after insert on ducklake_snapshot deferrable initially deferred
          for each row execute function fall()";
    admin.batch_execute(trigger).await.expect("a trigger");
    assert_eq!(failure(store.commit(&at, &role(&at, "a")).await), StoreFailure::Unreachable);
    admin.batch_execute("drop trigger falls on ducklake_snapshot").await.expect("no trigger");
    let next = store.commit(&at, &role(&at, "b")).await.expect("the next commit");
    assert!(next.roles.contains_key("b"));
    assert_eq!(store.load().await.expect("the version").roles, next.roles);
}

/// Passes on what is sent to `server`, and what comes back. While `falls` is set, a connection ends where it should tell
/// that a COMMIT is done.
async fn proxy(server: String, falls: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.expect("the server");
            tokio::spawn(pass(client, server, Arc::clone(&falls)));
        }
    });
    address
}

async fn pass(mut client: TcpStream, mut server: TcpStream, falls: Arc<AtomicBool>) {
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let passed = tokio::select! {
            Ok(read @ 1..) = client.read(&mut asked) => server.write_all(&asked[..read]).await,
            Ok(read @ 1..) = server.read(&mut answered) => {
                let is_done = answered[..read].windows(7).any(|word| word == b"COMMIT\0");
                if is_done && falls.swap(false, Ordering::Relaxed) {
                    return;
                }
                client.write_all(&answered[..read]).await
            }
            else => return,
        };
        if passed.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_looked_for() {
    let (oracle, _admin, _) = postgres().await;
    let falls = Arc::new(AtomicBool::new(false));
    let address = proxy(oracle.address(), Arc::clone(&falls)).await;
    let url = format!("postgres://sluice@{address}/postgres?sslmode=disable");
    let store = CatalogStore::open_url(&url, &warehouse()).await.expect("a store");
    let at = store.load().await.expect("a version");
    falls.store(true, Ordering::Relaxed);
    let next = store.commit(&at, &role(&at, "kept")).await.expect("it was carried out, and is found");
    assert!(!falls.load(Ordering::Relaxed), "an answer was lost");
    assert_eq!(next.version, at.version + 1);
    let loaded = store.load().await.expect("the version");
    assert_eq!((loaded.version, &loaded.roles), (next.version, &next.roles));
}
