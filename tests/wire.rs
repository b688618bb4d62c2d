//! What a Postgres client sees of the protocol.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use sql_tests::{Options, TestCluster, tpch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::NoTls;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type};

async fn start() -> TestCluster {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let data = tpch::data(binary, Path::new(env!("CARGO_TARGET_TMPDIR")), "0.1").await.expect("data");
    let options = Options { locations: vec![data], executors: 0, ..Options::default() };
    TestCluster::start(binary, &options).await.expect("a server")
}

fn sqlstate<T>(outcome: Result<T, tokio_postgres::Error>) -> String {
    match outcome {
        Ok(_) => "no error".to_owned(),
        Err(error) => error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned()),
    }
}

async fn psql(cluster: &TestCluster, command: &str) -> String {
    let output = tokio::process::Command::new("psql")
        .args(["-X", "-h", "127.0.0.1", "-U", "postgres", "-p", &cluster.address.port().to_string()])
        .args(["-c", command])
        .output()
        .await
        .expect("psql is installed (Debian package postgresql-client)");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_describes_tables() {
    let cluster = start().await;
    for command in ["\\d", "\\dt"] {
        let shown = psql(&cluster, command).await;
        assert!(shown.contains(" public | lineitem | table | postgres"), "{shown}");
        assert!(shown.contains("(8 rows)"), "{shown}");
    }
    assert!(psql(&cluster, "\\l").await.contains(" postgres | postgres | UTF8"));
    let table = psql(&cluster, "\\d lineitem").await;
    assert!(table.contains("Table \"public.lineitem\""), "{table}");
    assert!(table.contains("l_quantity      | numeric(15,2)"), "{table}");
    assert!(table.contains("l_shipdate      | date"), "{table}");
}

/// `2.5`, as `numeric` travels: one digit of four before the point and one after, two places.
#[derive(Debug, PartialEq)]
struct Numeric;

const TWO_AND_A_HALF: [u8; 12] = [0, 2, 0, 0, 0, 0, 0, 1, 0, 2, 0x13, 0x88];

impl ToSql for Numeric {
    fn to_sql(&self, _: &Type, out: &mut bytes::BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&TWO_AND_A_HALF);
        Ok(IsNull::No)
    }

    tokio_postgres::types::to_sql_checked!();

    fn accepts(kind: &Type) -> bool {
        *kind == Type::NUMERIC
    }
}

impl FromSql<'_> for Numeric {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        // The scale may be larger; the digits are the same.
        if raw.starts_with(&[0, 2, 0, 0, 0, 0]) && raw.ends_with(&[0, 2, 0x13, 0x88]) {
            return Ok(Self);
        }
        Err(format!("{raw:?}").into())
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::NUMERIC
    }
}

/// The text of a `json`.
struct Json(String);

impl FromSql<'_> for Json {
    fn from_sql(kind: &Type, raw: &[u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(<&str>::from_sql(&Type::TEXT, raw).map_err(|error| format!("{kind}: {error}"))?.to_owned()))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::JSON
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_postgres_has_no_type_for_is_sent_as_json() {
    let cluster = start().await;
    let client = cluster.connect().await.expect("a session");
    let values =
        "select named_struct('n', 1::int, 't', 'a \"b\"'), map(['k'], [1::int]), [named_struct('n', 1)]";
    let in_text = client.simple_query(values).await.expect("text");
    let rows: Vec<_> = in_text
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })
        .collect();
    let right = [r#"{"n":1,"t":"a \"b\""}"#, r#"{"k":1}"#, r#"{"{\"n\":1}"}"#];
    assert_eq!([0, 1, 2].map(|column| rows[0].get(column).expect("a value")), right);
    let row = client.query_one(values, &[]).await.expect("binary");
    assert_eq!(row.columns()[0].type_(), &Type::JSON);
    assert_eq!(row.columns()[2].type_(), &Type::JSON_ARRAY);
    assert_eq!(row.get::<_, Json>(0).0, right[0]);
    assert_eq!(row.get::<_, Vec<Json>>(2)[0].0, r#"{"n":1}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_and_results_travel_in_binary() {
    let cluster = start().await;
    let client = cluster.connect().await.expect("a session");
    let statement = client.prepare("select $1::int + 1").await.expect("prepared");
    for number in [1i32, -7, 2_000_000_000] {
        let row = client.query_one(&statement, &[&number]).await.expect("a row");
        assert_eq!(row.get::<_, i32>(0), number + 1);
    }
    let found = client
        .query(
            "select n_name from nation where n_regionkey = $1 and n_name like $2 order by 1",
            &[&3i64, &"%R%"],
        )
        .await
        .expect("rows");
    let names: Vec<&str> = found.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, ["FRANCE", "GERMANY", "ROMANIA", "RUSSIA"]);
    let row = client
        .query_one(
            "select $1::bool, $2::bigint, $3::float8, $4::text, $5::bytea",
            &[&true, &(1i64 << 40), &0.1f64, &"ü", &[0u8, 255].as_slice()],
        )
        .await
        .expect("a row");
    assert!(row.get::<_, bool>(0));
    assert_eq!(row.get::<_, i64>(1), 1 << 40);
    assert_eq!(row.get::<_, f64>(2), 0.1);
    assert_eq!(row.get::<_, &str>(3), "ü");
    assert_eq!(row.get::<_, &[u8]>(4), [0, 255]);
    let none: Option<i32> = None;
    let row = client.query_one("select $1::int", &[&none]).await.expect("a row");
    assert_eq!(row.get::<_, Option<i32>>(0), None);
    let row = client.query_one("select make_array(1, 2, null)", &[]).await.expect("a row");
    assert_eq!(row.get::<_, Vec<Option<i32>>>(0), [Some(1), Some(2), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_a_table_is_computed_anew_for_each_set_of_values() {
    let cluster = start().await;
    let client = cluster.connect().await.expect("a session");
    let sum = client.prepare("select $1::int + 1 as n, $1::int is null, 'x'").await.expect("prepared");
    for value in [Some(1), None, Some(-5)] {
        let row = client.query_one(&sum, &[&value]).await.expect("a row");
        assert_eq!(row.get::<_, Option<i32>>(0), value.map(|value: i32| value + 1));
        assert_eq!((row.get::<_, bool>(1), row.get::<_, &str>(2)), (value.is_none(), "x"));
    }
    assert_eq!(sqlstate(client.query(&sum, &[&Some(i32::MAX)]).await), "22003");
    let ratio = client.prepare("select $1::float8 / $2::float8").await.expect("prepared");
    assert_eq!(sqlstate(client.query(&ratio, &[&1.0f64, &0.0f64]).await), "22012");
    let row = client.query_one(&ratio, &[&1.0f64, &4.0f64]).await.expect("a row after an error");
    assert!((row.get::<_, f64>(0) - 0.25).abs() < f64::EPSILON);
    // A number brings its own scale.
    let number = client.prepare_typed("select $1", &[Type::NUMERIC]).await.expect("prepared");
    let row = client.query_one(&number, &[&Numeric]).await.expect("a row");
    assert_eq!(row.get::<_, Numeric>(0), Numeric);
    // A zone that was set after the statement was prepared counts.
    let day = client.prepare("select ($1::text)::timestamptz = '2024-01-01 00:00:00+00'").await;
    let day = day.expect("prepared");
    for (zone, is_utc) in [("UTC", true), ("America/New_York", false)] {
        client.batch_execute(&format!("set timezone = '{zone}'")).await.expect("a zone");
        let row = client.query_one(&day, &[&"2024-01-01 00:00:00"]).await.expect("a row");
        assert_eq!(row.get::<_, bool>(0), is_utc, "{zone}");
    }
    // What calls a function is planned each time: now() moves.
    let now = client.prepare("select now()::text").await.expect("prepared");
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(client.query_one(&now, &[]).await.expect("a row").get::<_, String>(0));
    }
    assert_ne!(seen[0], seen[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn portals_are_suspended_and_go_on() {
    let cluster = start().await;
    let mut client = cluster.connect().await.expect("a session");
    let transaction = client.transaction().await.expect("a block");
    let portal = transaction
        .bind("select l_orderkey from lineitem order by l_orderkey limit 25", &[])
        .await
        .expect("bound");
    let mut counts = Vec::new();
    loop {
        let rows = transaction.query_portal(&portal, 10).await.expect("rows");
        counts.push(rows.len());
        if rows.len() < 10 {
            break;
        }
    }
    assert_eq!(counts, [10, 10, 5]);
    transaction.commit().await.expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_row_leaves_before_the_last_exists_and_a_stalled_client_stops_the_scan() {
    let cluster = start().await;
    let client = cluster.connect().await.expect("a session");
    // 360 billion rows: this can only answer at once if rows stream.
    let none: [&str; 0] = [];
    let started = Instant::now();
    let rows = client
        .query_raw("select a.l_comment from lineitem a cross join lineitem b", none)
        .await
        .expect("the query starts");
    let mut rows = std::pin::pin!(rows);
    rows.try_next().await.expect("no error").expect("a first row");
    assert!(started.elapsed() < Duration::from_secs(20));
    // Nobody reads now: what the server has sent stops growing.
    let watcher = cluster.connect().await.expect("a session");
    let sent = async || {
        let row = watcher.query_one("select rows from sys.queries where state = 'running' and sql like '%cross join%' and sql not like '%sys.%'", &[]).await;
        row.expect("the query runs").get::<_, i64>(0)
    };
    let mut before = sent().await;
    let stalled = async {
        let mut interval = tokio::time::interval(Duration::from_millis(500));
        interval.tick().await;
        loop {
            interval.tick().await;
            let now = sent().await;
            if now == before {
                return;
            }
            before = now;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), stalled).await.expect("the scan stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_end_at_their_timeout_and_on_cancel() {
    let cluster = start().await;
    let client = cluster.connect().await.expect("a session");
    let endless = "select count(*) from lineitem a join lineitem b on a.l_suppkey = b.l_suppkey join lineitem c on b.l_suppkey = c.l_suppkey";
    client.batch_execute("set statement_timeout = '300ms'").await.expect("set");
    let started = Instant::now();
    assert_eq!(sqlstate(client.simple_query(endless).await), "57014");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    client.batch_execute("reset statement_timeout").await.expect("reset");

    let cancel = client.cancel_token();
    let running = client.simple_query(endless);
    let cancelled = async {
        let watcher = cluster.connect().await.expect("a session");
        loop {
            let running = watcher.query_one("select count(*) from sys.queries where state = 'running' and route like 'local%' and sql like '%join lineitem c%' and sql not like '%sys.%'", &[]).await;
            if running.expect("the log").get::<_, i64>(0) == 1 {
                break;
            }
        }
        let started = Instant::now();
        cancel.cancel_query(NoTls).await.expect("the request is sent");
        started
    };
    let (outcome, started) = tokio::join!(running, cancelled);
    assert_eq!(sqlstate(outcome), "57014");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    client.query_one("select 1", &[]).await.expect("the session goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_blocks_fail_and_end_as_in_postgres() {
    let cluster = start().await;
    let client = cluster.connect().await.expect("a session");
    client.batch_execute("begin").await.expect("a block");
    assert_eq!(sqlstate(client.simple_query("select nosuch").await), "42703");
    assert_eq!(sqlstate(client.simple_query("select 1").await), "25P02");
    client.batch_execute("rollback").await.expect("the block ends");
    client
        .batch_execute("select 1; select 2; set application_name = 'x'; show application_name")
        .await
        .expect("several");
    assert_eq!(sqlstate(client.prepare("select 1; select 2").await), "42601");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_past_their_bounds_are_refused_and_the_server_stays_up() {
    let cluster = start().await;
    let client = cluster.connect().await.expect("a session");
    for (statement, expected) in [
        (format!("select 1{}", " + 1".repeat(20_000)), "54001"),
        (format!("select 1{}", " or true".repeat(20_000)), "54001"),
        (format!("select 1{}", " union all select 1".repeat(5000)), "54001"),
        (format!("select {}1{}", "(".repeat(10_000), ")".repeat(10_000)), "54001"),
        (format!("select '{}'", "x".repeat(2 << 20)), "54000"),
        (format!("select 1{}", " + 1".repeat(450)), "no error"),
    ] {
        assert_eq!(sqlstate(client.simple_query(&statement).await), expected, "{}", &statement[..40]);
    }
    let again = cluster.connect().await.expect("a new session");
    again.query_one("select 1", &[]).await.expect("an answer");
}

/// Sends bytes to a fresh connection and gives what comes back until the server closes it.
async fn exchange(cluster: &TestCluster, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(cluster.address).await.expect("connected");
    socket.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut answer)).await;
    // A reset is an end too: the server closed with our bytes unread.
    let _ = read.expect("the server closes the connection");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_first_packets_are_closed_at_once() {
    let cluster = start().await;
    let startup = b"\0\0\0\x22\0\x03\0\0user\0postgres\0database\0x\0\0\0";
    for bytes in [
        b"\xff\xff\xff\xff".as_slice(),
        b"\0\0\0\x03",
        b"\0\0\x27\x11\0\x03\0\0",
        b"\0\0\0\x09\0\x03\0\0\0",
        b"\0\0\0\x08\0\x09\0\0",
        // Plaintext stuffed behind the request for encryption.
        b"\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\x08\0\x03\0\0",
        startup,
    ] {
        let answer = exchange(&cluster, bytes).await;
        assert!(!answer.windows(1).any(|w| w == b"Z") || answer.first() == Some(&b'E'), "{answer:?}");
    }
    // A query before sign-in, a gigabyte long by its header.
    exchange(&cluster, b"Q\x3f\xff\xff\xfe").await;
    let client = cluster.connect().await.expect("a session");
    client.query_one("select 1", &[]).await.expect("an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_messages_after_sign_in_end_only_their_session() {
    let cluster = start().await;
    let startup = b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    for message in [
        // Bind that claims 65,535 parameters; Bind and Query shorter than their content; no such type.
        b"B\0\0\0\x0a\0\0\0\0\xff\xff".as_slice(),
        b"B\0\0\0\x05\0",
        b"Q\0\0\0\x03",
        b"Q\x3f\xff\xff\xfe",
        b"\xff\0\0\0\x04",
    ] {
        let mut socket = TcpStream::connect(cluster.address).await.expect("connected");
        socket.write_all(startup).await.expect("sent");
        let mut greeting = [0u8; 4096];
        let mut read = 0;
        while !greeting[..read].ends_with(b"Z\0\0\0\x05I") {
            read += socket.read(&mut greeting[read..]).await.expect("a greeting");
        }
        socket.write_all(message).await.expect("sent");
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut answer)).await;
        let _ = ended.expect("the session ends");
        assert!(answer.is_empty() || answer.windows(5).any(|w| w == b"08P01"), "{message:?}: {answer:?}");
    }
    let client = cluster.connect().await.expect("a session");
    client.query_one("select 1", &[]).await.expect("an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_told_so() {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let options = Options {
        executors: 0,
        environment: vec![
            ("SLUICE_LIMITS__CONNECTIONS_MAX".into(), "2".into()),
            ("SLUICE_LIMITS__CONNECTIONS_RESERVED".into(), "0".into()),
        ],
        ..Options::default()
    };
    let cluster = TestCluster::start(binary, &options).await.expect("a server");
    let first = cluster.connect().await.expect("a session");
    let _second = cluster.connect().await.expect("a session");
    let refused = cluster.connect().await.expect_err("a third is one too many");
    let error = refused.downcast_ref::<tokio_postgres::Error>().expect("an answer of the server");
    assert_eq!(error.code().map(|code| code.code()), Some("53300"));
    first.query_one("select 1", &[]).await.expect("others are served");
}
