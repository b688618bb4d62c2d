//! One bad thing never stops the house: odd and damaged files beside good tables, places that are away, a catalog of another
//! version. What can be served is, and what cannot says why.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, Decimal128Array, DictionaryArray, Float32Array, Float64Array, Int32Array, Int64Array,
    StringArray, StructArray, TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow::datatypes::{Field, Int8Type};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sql_tests::{Options, TestCluster};
use tokio_postgres::Client;

/// Every run bends the same files.
const SEED: u64 = 20_261_129;
const BENT_FILES: usize = 300;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sluice"))
}

fn write(path: &Path, columns: &[(&str, ArrayRef)]) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let batch = match columns {
        [] => {
            let options = RecordBatchOptions::new().with_row_count(Some(3));
            RecordBatch::try_new_with_options(Arc::new(arrow::datatypes::Schema::empty()), vec![], &options)
        }
        columns => RecordBatch::try_from_iter_with_nullable(
            columns.iter().map(|(name, array)| (*name, Arc::clone(array), true)),
        ),
    };
    let batch = batch.expect("a batch");
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(400)).build();
    let file = std::fs::File::create(path).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

fn ints(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn small(values: impl IntoIterator<Item = i32>) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(values))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn record(fields: Vec<(&str, ArrayRef)>) -> ArrayRef {
    let fields = fields
        .into_iter()
        .map(|(name, array)| (Arc::new(Field::new(name, array.data_type().clone(), true)), array));
    Arc::new(StructArray::from(fields.collect::<Vec<_>>()))
}

/// Questions over tables that are odd and right, with their answers.
const GOOD: &[(&str, i64)] = &[
    ("select sum(id)::bigint from plain", 6),
    // Folders: nested, with values, in another order, and files beside them.
    ("select count(*) from nested", 6),
    ("select count(*) from days", 6),
    ("select count(*) from days where day = 1", 3),
    ("select count(day) from days", 6),
    ("select count(*) from late", 9),
    ("select count(day) from late", 6),
    ("select count(*) from late where day is null", 3),
    ("select count(*) from late where day <> 1", 3),
    ("select max(day) from late", 2),
    ("select count(*) from keys where region = 'eu' and day = 2", 3),
    ("select count(*) from keys where region = 'us'", 3),
    ("select count(*) from hive_null where kind is null", 3),
    // Names.
    ("select count(*) from \"UPPER\"", 3),
    ("select count(*) from \"a#b\"", 3),
    ("select count(*) from \"a?b c\"", 3),
    ("select count(*) from \"a%20b\"", 3),
    ("select count(*) from \"a\tb\"", 3),
    ("select count(*) from odd_names", 12),
    // Types.
    ("select count(*) from widths", 9),
    ("select max(id)::bigint from widths", 5_000_000_000),
    ("select min(id)::bigint from widths", 1),
    ("select count(*) from widths where id > 3", 6),
    ("select count(*) from widths where id = 5000000000", 1),
    ("select count(*) from widths where id < 4000000000", 8),
    ("select count(*) from exact where amount = 7.5", 1),
    ("select count(*) from exact where amount >= 2", 4),
    ("select count(*) from reals where x = 0.5", 2),
    ("select max(x)::bigint from reals", 9),
    ("select count(*) from cats where kind = 'b'", 2),
    ("select count(distinct kind) from cats", 3),
    ("select count(*) from moments where at >= timestamp '2024-01-01 00:00:01'", 4),
    ("select count(*) from moments where at = timestamp '2024-01-01 00:00:02'", 2),
    ("select count(*) from loads where at < timestamp '2024-01-01 00:00:00.123456'", 3),
    ("select count(*) from loads where at <> timestamp '2024-01-01 00:00:00.123456'", 6),
    ("select count(*) from loads where at = timestamp '2024-01-01 00:00:00.123'", 3),
    ("select count(*) from points where get_field(point, 'y') is null", 3),
    ("select sum(get_field(point, 'x'))::bigint from points", 12),
    ("select count(added) from missing", 3),
    ("select count(*) from missing where added is null", 3),
];

/// Tables that cannot be read: their state, the SQLSTATE of a read, and what it says.
const BAD: &[(&str, &str, &str, &str)] = &[
    ("zero", "damaged", "XX001", "it has no bytes"),
    ("noise", "damaged", "XX001", "does not end as a Parquet file does"),
    ("half", "damaged", "XX001", "file cut.parquet is damaged"),
    ("ice", "unsupported", "0A000", "Iceberg"),
    ("delta", "unsupported", "0A000", "Delta"),
    ("deep_delta", "unsupported", "0A000", "Delta"),
    ("hollow", "unsupported", "0A000", "no columns"),
    (
        "mixed",
        "conflict",
        "42804",
        "column \"id\" is bigint in file 2023.parquet and text in file 2024.parquet",
    ),
    ("doubles", "conflict", "42804", "double precision in file b.parquet"),
    ("far", "conflict", "42804", "column \"at\" has moments"),
    ("tardy", "conflict", "42804", "has a column \"day\", which folders name"),
    ("twice", "ambiguous", "42P07", "several files or folders"),
];

/// A location of odd tables, and of files that are bent.
fn odd_lake(lake: &Path) {
    let file = |name: &str, columns: &[(&str, ArrayRef)]| write(&lake.join(name), columns);
    let one = || [("id", ints([1, 2, 3]))];
    file("plain.parquet", &one());
    file("nested/eu/2024.parquet", &one());
    file("nested/us/2023.parquet", &one());
    for name in ["days/day=1/a.parquet", "days/day=2/a.parquet"] {
        file(name, &one());
        file(&name.replace("days", "late"), &one());
    }
    file("late/new.parquet", &one());
    file("keys/day=1/region=us/a.parquet", &one());
    file("keys/region=eu/day=2/a.parquet", &one());
    file("hive_null/kind=a/a.parquet", &one());
    file("hive_null/kind=__HIVE_DEFAULT_PARTITION__/a.parquet", &one());
    for name in ["UPPER.PARQUET", "a#b.parquet", "a?b c.parquet", "a%20b.parquet", "a\tb.parquet"] {
        file(name, &one());
    }
    for name in ["a#1.parquet", "a?.parquet", "a%20b.Parquet", "a\tb.parquet"] {
        file(&format!("odd_names/{name}"), &one());
    }
    for name in ["_hidden.parquet", ".hidden.parquet", "_temporary/a.parquet", "plain_text.csv"] {
        file(name, &one());
    }
    file("odd_names/_hidden.parquet", &[("id", texts(&["x"]))]);

    file("widths/1.parquet", &[("id", small([1, 2, 3]))]);
    file("widths/2.parquet", &[("id", ints([4, 5, 5_000_000_000]))]);
    file("widths/3.parquet", &[("id", small([7, 8, 9]))]);
    let cents = Decimal128Array::from(vec![100, 750, 300]).with_precision_and_scale(10, 2).expect("a type");
    file("exact/1.parquet", &[("amount", Arc::new(cents))]);
    file("exact/2.parquet", &[("amount", ints([1, 2, 5]))]);
    file("reals/1.parquet", &[("x", Arc::new(Float32Array::from(vec![0.5, 1.0])))]);
    file("reals/2.parquet", &[("x", Arc::new(Float64Array::from(vec![0.5, 9.0])))]);
    let categories: DictionaryArray<Int8Type> = vec!["a", "b", "a"].into_iter().collect();
    file("cats/1.parquet", &[("kind", Arc::new(categories))]);
    file("cats/2.parquet", &[("kind", texts(&["b", "c"]))]);
    let second = |n: i64| 1_704_067_200 + n;
    let millis = TimestampMillisecondArray::from_iter_values((0..3).map(|n| second(n) * 1_000));
    file("moments/1.parquet", &[("at", Arc::new(millis))]);
    let nanos = TimestampNanosecondArray::from_iter_values((0..3).map(|n| second(n) * 1_000_000_000));
    file("moments/2.parquet", &[("at", Arc::new(nanos))]);
    // Every moment of a file the same, between two of the finer unit's literals.
    let loaded = TimestampMillisecondArray::from_iter_values([second(0) * 1_000 + 123; 3]);
    file("loads/1.parquet", &[("at", Arc::new(loaded))]);
    let later = (1..4).map(|n| second(n) * 1_000_000_000 + 5);
    file("loads/2.parquet", &[("at", Arc::new(TimestampNanosecondArray::from_iter_values(later)))]);
    file("tardy/day=1/a.parquet", &one());
    file("tardy/new.parquet", &[("id", ints([1, 2, 3])), ("day", ints([5, 5, 5]))]);
    file("points/1.parquet", &[("point", record(vec![("x", small([1, 2, 3]))]))]);
    let wide = record(vec![("y", texts(&["a", "b", "c"])), ("x", ints([1, 2, 3]))]);
    file("points/2.parquet", &[("point", wide)]);
    file("missing/1.parquet", &one());
    file("missing/2.parquet", &[("added", texts(&["a", "b", "c"])), ("id", small([4, 5, 6]))]);

    std::fs::write(lake.join("zero.parquet"), "").expect("written");
    std::fs::write(lake.join("noise.parquet"), [7; 4096]).expect("written");
    file("half/whole.parquet", &one());
    let whole = std::fs::read(lake.join("half/whole.parquet")).expect("read");
    std::fs::write(lake.join("half/cut.parquet"), &whole[..whole.len() / 2]).expect("written");
    file("ice/data/a.parquet", &one());
    std::fs::create_dir_all(lake.join("ice/metadata")).expect("a folder");
    std::fs::write(lake.join("ice/metadata/v1.metadata.json"), "{}").expect("written");
    for delta in ["delta", "deep_delta/db/t"] {
        file(&format!("{delta}/part-0.parquet"), &one());
        std::fs::create_dir_all(lake.join(delta).join("_delta_log")).expect("a folder");
        std::fs::write(lake.join(delta).join("_delta_log/00000000000000000000.json"), "{}").expect("written");
    }
    file("hollow.parquet", &[]);
    file("mixed/2023.parquet", &one());
    file("mixed/2024.parquet", &[("id", texts(&["1", "2"]))]);
    file("doubles/a.parquet", &one());
    file("doubles/b.parquet", &[("id", Arc::new(Float64Array::from(vec![1.5])))]);
    // The year 9999 in milliseconds, beside nanoseconds.
    let late = TimestampMillisecondArray::from_iter_values([253_402_300_799_000]);
    file("far/1.parquet", &[("at", Arc::new(late))]);
    file("far/2.parquet", &[("at", Arc::new(TimestampNanosecondArray::from_iter_values([1])))]);
    file("twice.parquet", &one());
    file("twice/a.parquet", &one());
}

/// Files that were whole once, each bent in another way.
fn bent_files(lake: &Path) {
    let mut random = StdRng::seed_from_u64(SEED);
    let first = lake.join("_first.parquet");
    let names: Vec<String> = (0..1000).map(|n| format!("name {}", n % 17)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let price: ArrayRef = Arc::new(Float64Array::from_iter_values((0..1000).map(f64::from)));
    write(&first, &[("id", ints(0..1000)), ("name", texts(&names)), ("price", price)]);
    let second = lake.join("_second.parquet");
    write(&second, &[("k", small(0..50)), ("point", record(vec![("x", small(0..50)), ("y", ints(0..50))]))]);
    let wholes = [std::fs::read(first).expect("read"), std::fs::read(second).expect("read")];
    let footer = |file: &[u8]| {
        let at = file.len() - 8;
        let length = u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]) as usize;
        at - length
    };
    for n in 0..BENT_FILES {
        let whole = &wholes[n / 6 % 2];
        let mut bytes = whole.clone();
        let (end, start) = (bytes.len() - 8, footer(whole));
        match n % 6 {
            0 => bytes.truncate(random.random_range(0..bytes.len())),
            1 => {
                for _ in 0..random.random_range(1..9) {
                    let at = random.random_range(0..bytes.len());
                    bytes[at] ^= 1 << random.random_range(0..8);
                }
            }
            2 => {
                for _ in 0..random.random_range(1..5) {
                    let at = random.random_range(start..end);
                    bytes[at] ^= 1 << random.random_range(0..8);
                }
            }
            3 => {
                let other = &wholes[1 - n / 6 % 2];
                let from = footer(other) + random.random_range(0..3);
                bytes.truncate(start - random.random_range(0..3));
                bytes.extend_from_slice(&other[from..]);
            }
            4 => bytes[end..end + 4].copy_from_slice(&random.random::<u32>().to_le_bytes()),
            _ => {
                // A number of seven bits at a time, as large as it can be.
                let at = random.random_range(start..end - 10);
                let length = random.random_range(4..10);
                bytes[at..at + length].fill(0xff);
                bytes[at + length] = 0x7f;
            }
        }
        std::fs::write(lake.join(format!("bent_{n:03}.parquet")), bytes).expect("written");
    }
}

fn sqlstate<T>(outcome: Result<T, tokio_postgres::Error>) -> String {
    outcome.map_or_else(|error| told(&error).0, |_| "no error".to_owned())
}

async fn number(client: &Client, sql: &str) -> Result<i64, tokio_postgres::Error> {
    client.query_one(sql, &[]).await.map(|row| row.get(0))
}

async fn states(client: &Client) -> BTreeMap<String, (String, Option<String>, Option<String>)> {
    let sql = "select table_name, state, reason, advice from sys.tables where table_name is not null";
    let rows = client.query(sql, &[]).await.expect("states");
    rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2), row.get(3)))).collect()
}

/// What is told of an error: its SQLSTATE and message.
fn told(error: &tokio_postgres::Error) -> (String, String) {
    match error.as_db_error() {
        Some(error) => (error.code().code().to_owned(), error.message().to_owned()),
        None => panic!("the session ended: {error:?}"),
    }
}

async fn check_odd_tables(cluster: &TestCluster) {
    for route in ["local", "cluster"] {
        let client = cluster.connect_with(&format!("-c sluice.route={route}")).await.expect("a session");
        for (sql, right) in GOOD {
            match number(&client, sql).await {
                Ok(found) => assert_eq!(found, *right, "{route}: {sql}"),
                Err(error) => panic!("{route}: {sql}: {error:?}\n{}", cluster.log()),
            }
        }
        for (table, _, code, words) in BAD {
            let error = client.query(&format!("select * from {table}"), &[]).await.expect_err(table);
            let (found, message) = told(&error);
            assert_eq!(found, *code, "{table}: {message}");
            assert!(message.contains(words), "{table}: {message}");
            assert!(error.as_db_error().is_some_and(|error| error.hint().is_some()), "{table}: {error:?}");
        }
    }
    let client = cluster.connect().await.expect("a session");
    let states = states(&client).await;
    for (table, state, _, words) in BAD {
        let (found, reason, advice) = &states[*table];
        assert_eq!(found, state, "{table}");
        assert!(reason.as_ref().is_some_and(|reason| reason.contains(words)), "{table}: {reason:?}");
        assert!(advice.is_some(), "{table}");
    }
    for hidden in ["_hidden", ".hidden", "_temporary", "plain_text"] {
        assert!(!states.contains_key(hidden), "{hidden}");
    }
    let log = cluster.log();
    for table in ["mixed", "zero", "delta"] {
        let line =
            log.lines().find(|line| line.contains("WARN") && line.contains(&format!("table=\"{table}\"")));
        assert!(line.is_some(), "{table} is in the log");
    }
}

/// Reads every bent table, which may be whole enough. Gives how many cannot be.
async fn check_bent_tables(cluster: &TestCluster, route: &str, step: usize) -> usize {
    let client = cluster.connect_with(&format!("-c sluice.route={route}")).await.expect("a session");
    let mut refused = 0;
    for n in (0..BENT_FILES).step_by(step) {
        let counted = number(&client, &format!("select count(*) from bent_{n:03}")).await;
        let rows = client.query(&format!("select * from bent_{n:03}"), &[]).await;
        match (counted, rows) {
            (Ok(counted), Ok(rows)) => assert_eq!(counted, rows.len() as i64, "{route}: bent_{n:03}"),
            (Err(error), Ok(_)) => panic!("{route}: bent_{n:03} is read and not counted: {error:?}"),
            (_, Err(error)) => {
                refused += 1;
                let (code, message) = told(&error);
                assert_ne!(code, "XX000", "{route}: bent_{n:03}: {message}\n{}", cluster.log());
            }
        }
    }
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_and_damaged_files_stop_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = folder.path().join("lake");
    odd_lake(&lake);
    bent_files(&lake);
    let options = Options {
        locations: vec![lake.clone()],
        executors: 1,
        data_dir: Some(folder.path().join("data")),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    check_odd_tables(&cluster).await;
    let refused = check_bent_tables(&cluster, "local", 1).await;
    assert!((BENT_FILES / 2..BENT_FILES).contains(&refused), "{refused} are refused");
    check_bent_tables(&cluster, "cluster", 5).await;
    let seen = states(&cluster.connect().await.expect("a session")).await;
    cluster.end("TERM").await.expect("an end");

    for _ in 0..2 {
        let cluster = TestCluster::start(binary(), &options).await.expect("the server again");
        check_odd_tables(&cluster).await;
        assert_eq!(states(&cluster.connect().await.expect("a session")).await, seen);
        cluster.end("TERM").await.expect("an end");
    }
}

/// Files that other readers were found to differ over are read or refused as a whole.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_is_what_there_are_rows_of() {
    let odd = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql-tests/odd");
    let options = Options { locations: vec![odd.clone()], executors: 1, ..Options::default() };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    for route in ["local", "cluster"] {
        let client = cluster.connect_with(&format!("-c sluice.route={route}")).await.expect("a session");
        let states = states(&client).await;
        assert!(states.len() > 15, "{states:?}");
        for (table, (state, ..)) in &states {
            let counted = number(&client, &format!("select count(*) from \"{table}\"")).await;
            let rows = client.query(&format!("select * from \"{table}\""), &[]).await;
            match (counted, rows) {
                (Ok(counted), Ok(rows)) => {
                    assert_eq!(counted, rows.len() as i64, "{route}: {table}");
                    assert_eq!(state, "served", "{route}: {table}");
                }
                (Err(error), Err(_)) => {
                    assert_ne!(told(&error).0, "XX000", "{route}: {table}: {error:?}");
                }
                // Of a damaged page nothing is known before it is read.
                (Ok(_), Err(error)) => {
                    let (code, message) = told(&error);
                    assert!(DAMAGED_PAGES.contains(&table.as_str()), "{route}: {table}: {message}");
                    assert_ne!(code, "XX000", "{route}: {table}: {message}");
                }
                (Err(error), Ok(_)) => panic!("{route}: {table} is read and not counted: {error:?}"),
            }
        }
    }
}

/// Their footers say nothing wrong.
const DAMAGED_PAGES: &[&str] = &["ARROW-GH-45185", "ARROW-GH-47662", "ARROW-RS-GH-6229-LEVELS"];

#[tokio::test(flavor = "multi_thread")]
async fn tables_come_and_go_without_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (lake, away) = (folder.path().join("lake"), folder.path().join("away"));
    write(&lake.join("plain.parquet"), &[("id", small([1, 2, 3]))]);
    write(&lake.join("grows/1.parquet"), &[("id", small([1, 2, 3]))]);
    let options = Options {
        locations: vec![lake.clone(), away.clone()],
        executors: 0,
        environment: vec![("SLUICE_SERVER__LOCATION_REFRESH_INTERVAL".to_owned(), "200ms".to_owned())],
        ..Options::default()
    };
    let cluster =
        TestCluster::start(binary(), &options).await.expect("a server without one of its locations");
    let client = cluster.connect().await.expect("a session");
    let location = "select state, reason, file from sys.tables where kind = 'location'";
    let row = client.query_one(location, &[]).await.expect("a location that is away");
    assert_eq!((row.get(0), row.get(1)), ("away", "it does not exist"));
    assert_eq!(row.get::<_, String>(2), away.display().to_string());
    assert_eq!(number(&client, "select count(*) from plain").await.expect("rows"), 3);

    // By itself.
    write(&away.join("back.parquet"), &[("id", ints([1]))]);
    write(&lake.join("new.parquet"), &[("id", ints([1, 2]))]);
    std::fs::remove_file(lake.join("plain.parquet")).expect("removed");
    until(&client, "select (select count(*) from back) + (select count(*) from new)", Ok(3)).await;
    until(&client, "select count(*) from plain", Err("42P01")).await;
    assert!(client.query_opt(location, &[]).await.expect("locations").is_none(), "none is away");

    // A file whose values the table does not hold is refused, until the table is opened again; then it is wider.
    write(&lake.join("grows/2.parquet"), &[("id", ints([5_000_000_000]))]);
    until(&client, "select max(id)::bigint from grows", Ok(5_000_000_000)).await;
    write(&lake.join("grows/3.parquet"), &[("id", texts(&["x"]))]);
    client.batch_execute("refresh locations").await.expect("looked at again");
    until(&client, "select count(*) from grows", Err("42804")).await;
    std::fs::remove_file(lake.join("grows/3.parquet")).expect("removed");
    client.batch_execute("refresh locations").await.expect("looked at again");
    assert_eq!(number(&client, "select count(*) from grows").await.expect("rows"), 4);

    // At once.
    write(&lake.join("asked.parquet"), &[("id", ints([1]))]);
    client.batch_execute("refresh locations").await.expect("looked at again");
    assert_eq!(number(&client, "select count(*) from asked").await.expect("rows"), 1);
    client.batch_execute("create role reader login").await.expect("a role");
    let mut config = cluster.config();
    let (reader, connection) = config.user("reader").connect(tokio_postgres::NoTls).await.expect("a session");
    tokio::spawn(connection);
    assert_eq!(sqlstate(reader.batch_execute("refresh locations").await), "42501");
    std::fs::write(lake.join("grows/4.parquet"), "").expect("written");
    client.batch_execute("refresh locations").await.expect("looked at again");
    assert_eq!(sqlstate(client.query("select * from grows", &[]).await), "XX001");
    // Who may not read it is not told what is in its files.
    assert_eq!(sqlstate(reader.query("select * from grows", &[]).await), "42501");
    let told = "select count(*) from sys.tables where reason is not null or advice is not null";
    assert_eq!(number(&reader, told).await.expect("a count"), 0);
    assert_eq!(number(&client, told).await.expect("a count"), 1);
}

async fn until(client: &Client, sql: &str, right: Result<i64, &str>) {
    let began = Instant::now();
    loop {
        let found = number(client, sql).await;
        let found = found.map_err(|error| told(&error).0);
        if found.as_ref().map_err(String::as_str) == right.as_ref().map_err(|code| *code) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{sql}: {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_contradict_each_other_are_read_as_they_are_declared() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = folder.path().join("lake");
    write(&lake.join("doubles/a.parquet"), &[("id", ints([1, 2]))]);
    write(&lake.join("doubles/b.parquet"), &[("id", Arc::new(Float64Array::from(vec![1.5])))]);
    let options = Options { locations: vec![lake.clone()], executors: 1, ..Options::default() };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let client = cluster.connect().await.expect("a session");
    let create = |kind: &str| {
        let lake = lake.display();
        format!("create external table doubles (id {kind}) stored as parquet location '{lake}/doubles/'")
    };
    assert_eq!(sqlstate(client.batch_execute(&create("bigint")).await), "42804");
    client.batch_execute(&create("double precision")).await.expect("a table");
    for route in ["local", "cluster"] {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("a route");
        let row =
            client.query_one("select sum(id), max(id) from doubles where id > 1", &[]).await.expect("a sum");
        assert_eq!((row.get::<_, f64>(0), row.get::<_, f64>(1)), (3.5, 2.0), "{route}");
    }
}

/// A partitioned table, or a file, is a location of one table.
#[tokio::test(flavor = "multi_thread")]
async fn a_location_may_be_one_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let events = folder.path().join("events");
    write(&events.join("day=2024-01-01/a.parquet"), &[("id", ints([1]))]);
    write(&events.join("day=2024-01-02/a.parquet"), &[("id", ints([2]))]);
    let file = folder.path().join("orders.PARQUET");
    write(&file, &[("id", ints([1, 2, 3]))]);
    let delta = folder.path().join("delta");
    write(&delta.join("part-0.parquet"), &[("id", ints([1]))]);
    std::fs::create_dir(delta.join("_delta_log")).expect("a folder");
    std::fs::write(delta.join("_delta_log/0.json"), "{}").expect("written");
    let options = Options { locations: vec![events, file, delta], executors: 1, ..Options::default() };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    for route in ["local", "cluster"] {
        let client = cluster.connect_with(&format!("-c sluice.route={route}")).await.expect("a session");
        assert_eq!(
            number(&client, "select id from events where day = '2024-01-02'").await.expect("a row"),
            2
        );
        assert_eq!(number(&client, "select count(*) from orders").await.expect("rows"), 3);
        assert_eq!(sqlstate(client.query("select * from delta", &[]).await), "0A000");
        let names: Vec<String> = states(&client).await.into_keys().collect();
        assert_eq!(names, ["delta", "events", "orders"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_no_end() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("lake/plain.parquet"), &[("id", ints([1, 2, 3]))]);
    let closed =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let options = Options {
        locations: vec![folder.path().join("lake"), "s3://away/lake".into()],
        executors: 0,
        environment: vec![
            variable("SLUICE_STORES__S3__ENDPOINT", &format!("http://{closed}")),
            variable("SLUICE_STORES__S3__ALLOW_HTTP", "true"),
            variable("SLUICE_STORES__S3__ACCESS_KEY_ID", "key"),
            variable("SLUICE_STORES__S3__SECRET_ACCESS_KEY", "secret"),
            variable("SLUICE_STORES__RETRY_TIMEOUT", "1s"),
            variable("SLUICE_SERVER__LOCATION_REFRESH_INTERVAL", "200ms"),
        ],
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let client = cluster.connect().await.expect("a session");
    assert_eq!(number(&client, "select count(*) from plain").await.expect("rows"), 3);
    let row = client
        .query_one("select state, reason, file, advice from sys.tables where kind = 'location'", &[])
        .await
        .expect("the location");
    assert_eq!((row.get(0), row.get(2)), ("away", "s3://away/lake"));
    let reason: &str = row.get(1);
    assert!(reason.contains("could not be reached"), "{reason}");
    assert!(!reason.contains("127.0.0.1"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_of_another_version_leaves_the_rest_served() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("lake/plain.parquet"), &[("id", ints([1, 2, 3]))]);
    let data_dir = folder.path().join("data");
    let options = Options {
        locations: vec![folder.path().join("lake")],
        executors: 0,
        data_dir: Some(data_dir.clone()),
        ..Options::default()
    };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let client = cluster.connect().await.expect("a session");
    let external = folder.path().join("lake/plain.parquet").display().to_string();
    client
        .batch_execute(&format!(
            "create table kept as select 1 id; create role ann login; grant select on plain to ann;
             create external table named stored as parquet location '{external}'"
        ))
        .await
        .expect("tables");
    cluster.end("TERM").await.expect("an end");
    let url = format!("sqlite://{}", data_dir.join("catalog.sqlite").display());
    let set_version = async |version: &str| {
        let pool = sqlx::SqlitePool::connect(&url).await.expect("the catalog");
        let sql = "update ducklake_metadata set \"value\" = $1 where \"key\" = 'version'";
        sqlx::query(sql).bind(version.to_owned()).execute(&pool).await.expect("changed");
        pool.close().await;
    };
    set_version("1.1").await;

    let cluster =
        TestCluster::start(binary(), &options).await.expect("a server over a lake it does not know");
    let client = cluster.connect().await.expect("a session");
    assert_eq!(number(&client, "select count(*) from plain").await.expect("rows"), 3);
    assert_eq!(number(&client, "select count(*) from named").await.expect("rows"), 3);
    let row = "select state || ': ' || reason from sys.tables where table_name = 'kept' and kind = 'managed'";
    let row: String = client.query_one(row, &[]).await.expect("the table").get(0);
    assert!(row.starts_with("unsupported: ") && row.contains("DuckLake of version \"1.1\""), "{row}");
    for refused in [
        "select * from kept",
        "insert into kept values (2)",
        "create table other as select 1 id",
        "create table other (id int)",
        "drop table kept",
        "create role other",
        "vacuum",
    ] {
        let error = client.batch_execute(refused).await.expect_err(refused);
        let (code, message) = told(&error);
        assert_eq!(code, "0A000", "{refused}: {message}");
        assert!(message.contains("1.1"), "{refused}: {message}");
    }
    let mut config = cluster.config();
    let (ann, connection) = config.user("ann").connect(tokio_postgres::NoTls).await.expect("a session");
    tokio::spawn(connection);
    assert_eq!(number(&ann, "select count(*) from plain").await.expect("rows"), 3);
    assert_eq!(sqlstate(ann.query("select * from named", &[]).await), "42501");
    cluster.end("TERM").await.expect("an end");

    set_version("1.0").await;
    let cluster = TestCluster::start(binary(), &options).await.expect("the server of before");
    let client = cluster.connect().await.expect("a session");
    assert_eq!(number(&client, "select count(*) from kept").await.expect("rows"), 1);
    client.batch_execute("insert into kept values (2)").await.expect("a row");
}

/// Part of a Delta or an Iceberg table is not a table of its own, whichever way it is named.
#[tokio::test(flavor = "multi_thread")]
async fn parts_of_foreign_tables_are_no_tables() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = folder.path().join("lake");
    write(&lake.join("delta/day=1/part-0.parquet"), &[("id", ints([1, 2, 3]))]);
    std::fs::create_dir_all(lake.join("delta/_delta_log")).expect("a folder");
    std::fs::write(lake.join("delta/_delta_log/00000000000000000000.json"), "{}").expect("written");
    write(&lake.join("ice/data/a.parquet"), &[("id", ints([1, 2, 3]))]);
    std::fs::create_dir_all(lake.join("ice/metadata")).expect("a folder");
    std::fs::write(lake.join("ice/metadata/v1.metadata.json"), "{}").expect("written");
    write(&lake.join("plain.parquet"), &[("id", ints([1, 2, 3]))]);
    let locations = vec![lake.join("delta/day=1/part-0.parquet"), lake.join("ice/data"), lake.clone()];
    let options = Options { locations, executors: 0, ..Options::default() };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let client = cluster.connect().await.expect("a session");
    assert_eq!(number(&client, "select count(*) from plain").await.expect("rows"), 3);
    let rows = "select reason from sys.tables where table_name is null";
    let reasons: Vec<String> =
        client.query(rows, &[]).await.expect("reasons").iter().map(|row| row.get(0)).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("delta/ is a Delta table")), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("ice/ is an Iceberg table")), "{reasons:?}");
    for place in ["delta/day=1/", "ice/data/", "ice/data/a.parquet"] {
        let place = lake.join(place);
        let sql = format!("create external table x stored as parquet location '{}'", place.display());
        let error = client.batch_execute(&sql).await.expect_err("it is a part of another");
        assert_eq!(told(&error).0, "0A000", "{sql}: {error:?}");
    }
}

/// A disk that is not mounted any more lists nothing, which is not what its tables hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_gone_is_no_table_without_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = folder.path().join("lake");
    write(&lake.join("events/a.parquet"), &[("id", ints([1, 2, 3]))]);
    let options = Options { locations: vec![lake.clone()], executors: 0, ..Options::default() };
    let cluster = TestCluster::start(binary(), &options).await.expect("a server");
    let client = cluster.connect().await.expect("a session");
    assert_eq!(number(&client, "select count(*) from events").await.expect("rows"), 3);
    std::fs::rename(lake.join("events"), folder.path().join("elsewhere")).expect("moved");
    // The listing is kept for a while, and with it the count.
    match number(&client, "select count(*) from events").await {
        Ok(rows) => assert_eq!(rows, 3),
        Err(error) => assert_eq!(told(&error).0, "58P01"),
    }
    assert_eq!(sqlstate(client.query("select * from events where id > 1", &[]).await), "58P01");
    std::fs::rename(folder.path().join("elsewhere"), lake.join("events")).expect("moved");
    assert_eq!(number(&client, "select count(*) from events").await.expect("rows"), 3);
}

/// Two servers of one machine: the port that executors join at is nobody's who did not ask for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_takes_another_cluster_port() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("lake/plain.parquet"), &[("id", ints([1]))]);
    let start = |name: &str| {
        let mut command = tokio::process::Command::new(binary());
        command
            .arg("serve")
            .arg(folder.path().join("lake"))
            .args(["--listen", "0", "--dashboard", "0", "--memory", "900GB", "--data-dir"])
            .arg(folder.path().join(name))
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true);
        command.spawn().expect("a server")
    };
    use tokio::io::{AsyncBufReadExt, BufReader};
    let (mut first, mut second) = (start("one"), start("two"));
    for server in [&mut first, &mut second] {
        let mut lines = BufReader::new(server.stdout.take().expect("its output")).lines();
        let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await;
        let line = line.expect("in time").expect("a line").unwrap_or_default();
        assert!(line.starts_with("serving 1 tables on 127.0.0.1:"), "{line}");
    }
    first.start_kill().expect("stopped");
    let mut log = BufReader::new(first.stderr.take().expect("its log")).lines();
    let mut warned = false;
    while let Ok(Some(line)) = log.next_line().await {
        warned |= line.contains("may take more memory than this machine has");
    }
    assert!(warned, "900 GB are more than the machine has");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_too_deep_or_too_wide_stop_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let of = |name: &str| folder.path().join(name);
    write(&of("good.parquet"), &[("id", ints(0..3))]);
    let deep = |levels: usize| (0..levels).fold(small(0..3), |inner, _| record(vec![("x", inner)]));
    for levels in [10, 40, 100] {
        write(&of(&format!("deep{levels}.parquet")), &[("x", deep(levels))]);
    }
    let wide: Vec<(String, ArrayRef)> = (0..5_000).map(|at| (format!("c{at}"), small(0..3))).collect();
    let wide: Vec<(&str, ArrayRef)> =
        wide.iter().map(|(name, array)| (name.as_str(), Arc::clone(array))).collect();
    write(&of("wide.parquet"), &wide);
    for place in ["pipe.parquet", "piped/pipe.parquet"] {
        std::fs::create_dir_all(of(place).parent().expect("a folder")).expect("a folder");
        let made = std::process::Command::new("mkfifo").arg(of(place)).status().expect("mkfifo runs");
        assert!(made.success());
    }
    let options = Options { executors: 1, locations: vec![folder.path().to_owned()], ..Options::default() };
    let cluster = TestCluster::start(binary(), &options).await.expect("it starts");
    let client = cluster.connect().await.expect("a session");
    client.batch_execute("refresh locations").await.expect("they are looked at again");
    let states = states(&client).await;
    for (name, expected) in [
        ("good", "served"),
        ("deep10", "served"),
        ("deep40", "damaged"),
        ("deep100", "damaged"),
        ("wide", "damaged"),
        ("pipe", "away"),
    ] {
        let state = states.get(name).map(|(state, ..)| state.as_str());
        assert_eq!(state, Some(expected), "{name}: {states:?}");
    }
    for route in ["local", "cluster"] {
        client.batch_execute(&format!("set sluice.route = {route}")).await.expect("set");
        for table in ["good", "deep10"] {
            let sql = format!("select count(*) from {table}");
            assert_eq!(number(&client, &sql).await.expect("rows"), 3, "{route}: {table}");
        }
        let whole = client.simple_query("select * from deep10 order by 1 limit 1").await;
        assert!(whole.is_ok(), "{route}: {whole:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_folders_are_no_tables() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("good.parquet"), &[("id", ints(0..3))]);
    write(&folder.path().join("x/one.parquet"), &[("id", ints(0..3))]);
    let data_dir = folder.path().join("sluice-data");
    let start = async || {
        let options = Options {
            executors: 0,
            locations: vec![folder.path().to_owned()],
            data_dir: Some(data_dir.clone()),
            ..Options::default()
        };
        TestCluster::start(binary(), &options).await.expect("it starts")
    };
    let cluster = start().await;
    let client = cluster.connect().await.expect("a session");
    client
        .batch_execute("create table secret (id bigint); insert into secret values (7)")
        .await
        .expect("made");
    cluster.end("TERM").await.expect("it ends");
    let cluster = start().await;
    let client = cluster.connect().await.expect("a session");
    let names = states(&client).await;
    assert!(names.keys().all(|name| !name.contains("sluice")), "{names:?}");
    assert!(names.contains_key("good") && names.contains_key("x"), "{names:?}");
    let own = data_dir.canonicalize().expect("it is there");
    for sql in [
        format!("create external table k stored as csv location '{}/cluster.secret'", own.display()),
        format!("create external table k stored as csv location '{}/'", own.display()),
        format!("copy good to '{}/history/'", own.display()),
    ] {
        let refused = client.simple_query(&sql).await;
        assert_eq!(sql_tests::sqlstate(&refused), "42501", "{sql}: {refused:?}");
    }
}
