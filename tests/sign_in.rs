//! Who gets a session, how it is encrypted, and what the catalog remembers.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sql_tests::{Authority, Options, TestCluster, tpch};
use tokio_postgres::NoTls;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sluice"))
}

async fn data() -> PathBuf {
    tpch::data(binary(), Path::new(env!("CARGO_TARGET_TMPDIR")), "0.01").await.expect("data")
}

/// Options of a server that asks everyone for a password.
fn with_passwords(data: PathBuf, folder: &Path) -> Options {
    let config = folder.join("sluice.toml");
    std::fs::write(&config, "[[auth.rules]]\nmethod = \"scram-sha-256\"\n").expect("a config file");
    Options {
        locations: vec![data],
        executors: 0,
        data_dir: Some(folder.join("data")),
        flags: vec!["--config".into(), config.to_string_lossy().into_owned()],
        environment: vec![("SLUICE_AUTH__INITIAL_PASSWORD".into(), "first secret".into())],
        ..Options::default()
    }
}

async fn sign_in(
    cluster: &TestCluster,
    user: &str,
    password: &str,
) -> Result<tokio_postgres::Client, String> {
    let mut config = cluster.config();
    config.user(user).password(password);
    match config.connect(NoTls).await {
        Ok((client, connection)) => {
            tokio::spawn(connection);
            Ok(client)
        }
        Err(error) => Err(error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned())),
    }
}

fn sqlstate<T>(outcome: Result<T, tokio_postgres::Error>) -> String {
    match outcome {
        Ok(_) => "no error".to_owned(),
        Err(error) => error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned()),
    }
}

/// Runs psql with a connection string and gives what it printed, or its error.
async fn psql(connection: &str, command: &str) -> Result<String, String> {
    let output = tokio::process::Command::new("psql")
        .args(["-X", "-A", "-t", "-d", connection, "-c", command])
        .output()
        .await
        .expect("psql is installed (Debian package postgresql-client)");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_roles_and_grants_hold_across_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = with_passwords(data().await, folder.path());
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    assert_eq!(sign_in(&cluster, "postgres", "wrong").await.err().as_deref(), Some("28P01"));
    assert_eq!(sign_in(&cluster, "nobody", "x").await.err().as_deref(), Some("28P01"));
    let owner = sign_in(&cluster, "postgres", "first secret").await.expect("the first role");
    owner
        .batch_execute(
            "create role reader; grant select on nation to reader;
             create user ann password 'ann''s secret' in role reader;
             create user bob password 'b' valid until '2001-01-01';
             create role team; grant select on all tables in schema public to team with grant option;
             comment on table nation is 'countries';
             alter table nation add primary key (n_nationkey) not enforced",
        )
        .await
        .expect("roles");
    assert_eq!(sqlstate(owner.batch_execute("create role ann").await), "42710");
    assert_eq!(sqlstate(owner.batch_execute("drop role reader").await), "2BP01");
    assert_eq!(sqlstate(owner.batch_execute("grant select on nosuch to ann").await), "42P01");
    assert_eq!(sqlstate(owner.batch_execute("grant usage on nation to ann").await), "0LP01");
    let defaults = "alter default privileges in schema public grant select on tables to ann";
    assert_eq!(sqlstate(owner.batch_execute(defaults).await), "0A000");
    assert_eq!(sqlstate(owner.batch_execute("drop owned by ann").await), "0A000");
    let stored = owner.query_one("select rolpassword from pg_authid where rolname = 'ann'", &[]).await;
    assert_eq!(stored.expect("a row").get::<_, &str>(0), "********");
    assert_eq!(sign_in(&cluster, "bob", "b").await.err().as_deref(), Some("28P01"));
    assert_eq!(sign_in(&cluster, "reader", "").await.err().as_deref(), Some("28P01"));
    cluster.end("TERM").await.expect("an end");
    let catalog = std::fs::metadata(folder.path().join("data/catalog.sqlite")).expect("the catalog");
    assert_eq!(catalog.permissions().mode() & 0o777, 0o600, "it holds what roles sign in with");

    let cluster = TestCluster::start(binary(), &options).await.expect("the same server again");
    let ann = sign_in(&cluster, "ann", "ann's secret").await.expect("a role of the catalog");
    ann.query_one("select count(*) from nation", &[]).await.expect("what was granted");
    assert_eq!(sqlstate(ann.query_one("select count(*) from region", &[]).await), "42501");
    let hidden = "with region as (select * from region) select * from region";
    assert_eq!(sqlstate(ann.query(hidden, &[]).await), "42501");
    assert_eq!(sqlstate(ann.simple_query(hidden).await), "42501");
    assert_eq!(sqlstate(ann.batch_execute("create role eve").await), "42501");
    for secret in ["select * from pg_authid", "select count(*) from sys.failed_sign_ins"] {
        assert_eq!(sqlstate(ann.query(secret, &[]).await), "42501", "{secret}");
    }
    let owner = sign_in(&cluster, "postgres", "first secret").await.expect("the first role");
    owner.query_one("select count(*), 'mine' from region", &[]).await.expect("a count");
    for told in ["select query from pg_stat_activity", "select sql from sys.queries"] {
        let rows = ann.query(told, &[]).await.expect("what others run");
        let texts: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert!(texts.iter().any(|text| text == "<insufficient privilege>"), "{texts:?}");
        assert!(!texts.iter().any(|text| text.contains("'mine'")), "{texts:?}");
    }
    let grants = "select count(*) from information_schema.table_privileges where grantee = 'postgres'";
    assert_eq!(ann.query_one(grants, &[]).await.expect("a count").get::<_, i64>(0), 0);
    assert_eq!(sqlstate(ann.batch_execute("set role postgres").await), "42501");
    assert_eq!(sqlstate(ann.batch_execute("comment on table nation is 'mine'").await), "42501");
    let told = ann
        .query_one(
            "select has_table_privilege('nation', 'select'), has_table_privilege('region', 'select'),
                    obj_description('nation'::regclass, 'pg_class'), current_user::text,
                    (select count(*) from information_schema.tables where table_schema = 'public')",
            &[],
        )
        .await
        .expect("the catalog's word");
    assert!(told.get::<_, bool>(0) && !told.get::<_, bool>(1));
    assert_eq!(told.get::<_, &str>(2), "countries");
    assert_eq!(told.get::<_, &str>(3), "ann");
    assert_eq!(told.get::<_, i64>(4), 1);
    ann.batch_execute("alter role ann password 'another'").await.expect("one's own password");
    assert_eq!(sign_in(&cluster, "ann", "ann's secret").await.err().as_deref(), Some("28P01"));
    sign_in(&cluster, "ann", "another").await.expect("the new password");
    let owner = sign_in(&cluster, "postgres", "first secret").await.expect("the first role");
    let failures: i32 = owner
        .query_one("select failures from sys.failed_sign_ins where user_name = 'ann'", &[])
        .await
        .map_or(0, |row| row.get(0));
    assert_eq!(failures, 0, "a sign-in that succeeds ends the row");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_catalog_belong_to_their_transaction() {
    let options = Options { locations: vec![data().await], executors: 0, ..Options::default() };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let one = cluster.connect().await.expect("a session");
    let other = cluster.connect().await.expect("a session");
    let count = "select count(*) from pg_roles where rolname = 'eve'";
    let seen = |row: tokio_postgres::Row| row.get::<_, i64>(0);
    one.batch_execute("begin; create role eve").await.expect("a role");
    assert_eq!(seen(one.query_one(count, &[]).await.expect("a count")), 1);
    assert_eq!(seen(other.query_one(count, &[]).await.expect("a count")), 0);
    one.batch_execute("rollback").await.expect("an end");
    assert_eq!(seen(one.query_one(count, &[]).await.expect("a count")), 0);
    one.batch_execute("begin; create role eve").await.expect("a role");
    other.batch_execute("create role adam").await.expect("a role");
    assert_eq!(sqlstate(one.batch_execute("commit").await), "40001");
    assert_eq!(seen(one.query_one(count, &[]).await.expect("a count")), 0);
    one.batch_execute("begin; create role eve; commit").await.expect("the second try");
    assert_eq!(seen(other.query_one(count, &[]).await.expect("a count")), 1);
    assert_eq!(sqlstate(one.batch_execute("begin read only; create role cain").await), "25006");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_encrypted_and_bound_to_the_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let authority = Authority::new().expect("an authority");
    authority.write(&path("ca.pem")).expect("written");
    authority.issue("localhost", &path("server.pem"), &path("server.key")).expect("issued");
    authority.issue("ann", &path("ann.pem"), &path("ann.key")).expect("issued");
    let mut options = with_passwords(data().await, folder.path());
    std::fs::write(
        path("sluice.toml"),
        "[tls]\nrequire = true\n
         [[auth.rules]]\nuser = \"ann\"\nmethod = \"cert\"\n
         [[auth.rules]]\nmethod = \"scram-sha-256\"\n",
    )
    .expect("a config file");
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    options.flags.extend(["--tls-cert".into(), text(path("server.pem"))]);
    options.flags.extend(["--tls-key".into(), text(path("server.key"))]);
    options.environment.push(("SLUICE_TLS__CLIENT_CA".into(), text(path("ca.pem"))));
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let port = cluster.address.port();
    let root = text(path("ca.pem"));
    let base = format!("host=localhost hostaddr=127.0.0.1 port={port} dbname=postgres sslrootcert={root}");
    let as_owner = format!("{base} user=postgres password='first secret'");
    let full = format!("{as_owner} sslmode=verify-full");

    let bound = psql(&format!("{full} channel_binding=require"), "show ssl").await;
    assert_eq!(bound.as_deref(), Ok("on"));
    let own = "select ssl, version, client_dn from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(psql(&full, own).await.as_deref(), Ok("t|TLSv1.3|"));
    let plain = psql(&format!("{as_owner} sslmode=disable"), "select 1").await;
    assert!(plain.as_ref().is_err_and(|error| error.contains("encrypted")), "{plain:?}");
    psql(&full, "create role ann login").await.expect("a role");
    let certificate = format!("sslcert={} sslkey={}", text(path("ann.pem")), text(path("ann.key")));
    let with_certificate = format!("{base} user=ann sslmode=verify-full {certificate}");
    assert_eq!(psql(&with_certificate, "select current_user").await.as_deref(), Ok("ann"));
    assert_eq!(psql(&with_certificate, own).await.as_deref(), Ok("t|TLSv1.3|/CN=ann"));
    let without = psql(&format!("{base} user=ann sslmode=verify-full"), "select 1").await;
    assert!(without.is_err_and(|error| error.contains("certificate authentication failed")));

    // A certificate that is renewed is used without a restart; one that does not fit its key is not.
    let renewed = Authority::new().expect("an authority");
    renewed.issue("localhost", &path("server.pem"), &path("server.key")).expect("issued");
    let old_root = || psql(&full, "select 1");
    let reloaded = async {
        while old_root().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), reloaded).await.expect("the new certificate");
    renewed.write(&path("ca.pem")).expect("written");
    assert_eq!(psql(&full, "select 1").await.as_deref(), Ok("1"));
}
