//! What clients send is held below the cap, and beside it others are served: unfinished messages, parameters, rows of a
//! COPY, prepared statements, portals, connections that never sign in.
//!
//! `SLUICE_HELD_MESSAGES=full cargo test --release --test held_messages` sends 500 messages, opens 5,000 connections and
//! signs 2,000 in byte by byte.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sql_tests::{Options, TestCluster};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};

/// The seed is fixed, so that a failure can be found again.
const SEED: u64 = 20_261_129;
const CAP: &str = "512MB";
const CAP_BYTES: u64 = 512 << 20;
const P99_MAX: Duration = Duration::from_secs(1);
const MB: usize = 1_000_000;

fn is_full() -> bool {
    std::env::var("SLUICE_HELD_MESSAGES").is_ok_and(|size| size == "full")
}

async fn start(connections: usize) -> TestCluster {
    let options = Options {
        executors: 0,
        memory: CAP.to_owned(),
        environment: vec![("SLUICE_LIMITS__CONNECTIONS_MAX".into(), connections.to_string())],
        ..Options::default()
    };
    TestCluster::start(Path::new(env!("CARGO_BIN_EXE_sluice")), &options).await.expect("a server")
}

fn peak_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the kernel tells");
    let kib: u64 = line.split_ascii_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kib * 1024
}

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![tag];
    frame.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

fn parse(sql: &str) -> Vec<u8> {
    frame(b'P', format!("\0{sql}\0\0\0").as_bytes())
}

/// Binds the unnamed statement to one value.
fn bind(portal: &str, format: u8, value: &[u8]) -> Vec<u8> {
    let mut body = format!("{portal}\0\0").into_bytes();
    body.extend([0, 1, 0, format, 0, 1]);
    body.extend((value.len() as u32).to_be_bytes());
    body.extend_from_slice(value);
    body.extend([0, 0]);
    frame(b'B', &body)
}

/// A session whose messages the test writes itself.
struct Raw(TcpStream);

impl Raw {
    async fn connect(cluster: &TestCluster) -> Self {
        let mut raw = Self(TcpStream::connect(cluster.address).await.expect("connected"));
        raw.send(&startup()).await;
        assert_eq!(raw.until_ready().await, Vec::<String>::new());
        raw
    }

    /// A write may fail half-way, because the server has closed; the answer then shows it.
    async fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
    }

    /// The tags of the answers up to one of `ends`, and the SQLSTATEs of the errors among them.
    async fn until(&mut self, end: u8) -> Vec<String> {
        let mut errors = Vec::new();
        loop {
            let mut head = [0; 5];
            self.0.read_exact(&mut head).await.expect("the session lives");
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut body = vec![0; length - 4];
            self.0.read_exact(&mut body).await.expect("a whole message");
            if head[0] == b'E' {
                let code = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&b'C'));
                errors.push(String::from_utf8_lossy(&code.expect("a code")[1..]).into_owned());
            }
            if head[0] == end {
                return errors;
            }
        }
    }

    async fn until_ready(&mut self) -> Vec<String> {
        let ready = tokio::time::timeout(Duration::from_secs(60), self.until(b'Z')).await;
        ready.expect("an answer within a minute")
    }

    async fn query(&mut self, sql: &str) -> Vec<String> {
        self.send(&frame(b'Q', format!("{sql}\0").as_bytes())).await;
        self.until_ready().await
    }
}

fn startup() -> Vec<u8> {
    let body = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    let mut packet = (body.len() as u32 + 4).to_be_bytes().to_vec();
    packet.extend_from_slice(body);
    packet
}

/// Asks `SELECT 1` over and over, and measures how long each takes.
struct Witness {
    over: Arc<AtomicBool>,
    asking: JoinHandle<Vec<Duration>>,
}

impl Witness {
    async fn of(cluster: &TestCluster) -> Self {
        let client = cluster.connect().await.expect("a session");
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let asking = tokio::spawn(async move {
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let asked_at = Instant::now();
                client.simple_query("select 1").await.expect("others are served");
                times.push(asked_at.elapsed());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            times
        });
        Self { over, asking }
    }

    /// Checks that it was answered in time, and that the process stayed below its cap.
    async fn tell(self, cluster: &TestCluster, what: &str) {
        self.over.store(true, Ordering::Relaxed);
        let mut times = self.asking.await.expect("it was answered");
        times.sort();
        let p99 = times[times.len() * 99 / 100];
        let peak = peak_bytes(cluster.process_id());
        println!("{what}: peak {} MB, p99 of {} is {} ms", peak >> 20, times.len(), p99.as_millis());
        assert!(peak <= CAP_BYTES, "{what}: the peak was {} MB, the cap is {CAP}", peak >> 20);
        assert!(p99 <= P99_MAX, "{what}: SELECT 1 took {} ms", p99.as_millis());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_messages_stay_below_the_cap() {
    const SESSIONS: usize = 30;
    const SENT: usize = 55 * MB;
    let cluster = start(100).await;
    let witness = Witness::of(&cluster).await;
    let message = Arc::new(bind("", 0, &vec![b'x'; 60 * MB]));
    let mut sending = JoinSet::new();
    for _ in 0..SESSIONS {
        let mut raw = Raw::connect(&cluster).await;
        let message = Arc::clone(&message);
        sending.spawn(async move {
            raw.send(&parse("select length($1::text)")).await;
            raw.send(&message[..SENT]).await;
            raw
        });
    }
    let held = sending.join_all().await;
    // All of them are finished, and their sessions go on.
    for mut raw in held {
        raw.send(&message[SENT..]).await;
        raw.send(&frame(b'S', b"")).await;
        let errors = raw.until_ready().await;
        assert!(errors.is_empty() || errors == ["53200"], "{errors:?}");
        assert_eq!(raw.query("select 1").await, Vec::<String>::new());
    }
    witness.tell(&cluster, "unfinished messages").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_charged_before_they_are_read() {
    let cluster = start(100).await;
    let witness = Witness::of(&cluster).await;
    let text = format!("{{{}1}}", "1,".repeat(30 * MB - 2));
    let mut nulls: Vec<u8> = [1i32, 1, 23, 15_000_000, 1].map(i32::to_be_bytes).concat();
    nulls.resize(nulls.len() + 4 * 15_000_000, 0xff);
    let digits = vec![b'7'; 60 * MB];
    let few = format!("{{{}1}}", "1,".repeat(MB));
    let mut raw = Raw::connect(&cluster).await;
    for (sql, format, value, expected) in [
        ("select cardinality($1::int[])", 0, text.as_bytes(), &["53200"][..]),
        ("select cardinality($1::int[])", 1, &nulls, &["53200"]),
        ("select cardinality($1::text[])", 0, text.as_bytes(), &["53200"]),
        ("select $1::numeric + 1", 0, &digits[..20 * MB], &["22P02"]),
        ("select $1::date", 0, &digits[..20 * MB], &["22P02"]),
        ("select cardinality($1::int[])", 0, few.as_bytes(), &[]),
        ("select length($1::text)", 0, &digits[..10 * MB], &[]),
        // As often as it stands there, it would be copied.
        ("select length($1::text || $1 || $1 || $1 || $1 || $1 || $1)", 0, &digits[..20 * MB], &["53200"]),
    ] {
        raw.send(&parse(sql)).await;
        raw.send(&bind("", format, value)).await;
        raw.send(&frame(b'E', b"\0\0\0\0\0")).await;
        raw.send(&frame(b'S', b"")).await;
        assert_eq!(raw.until_ready().await, expected, "{sql}, {} bytes", value.len());
    }
    assert_eq!(raw.query(&format!("select '{}'", "x".repeat(50 * MB))).await, ["54000"]);
    assert_eq!(raw.query("select 1").await, Vec::<String>::new());
    witness.tell(&cluster, "parameters").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_copy_are_counted_before_they_are_taken_apart() {
    let cluster = start(100).await;
    let witness = Witness::of(&cluster).await;
    let mut raw = Raw::connect(&cluster).await;
    assert_eq!(raw.query("create table taken (a text, b text)").await, Vec::<String>::new());
    let piece = 64 << 10;
    for (format, letter, bytes, expected) in [
        ("text", b'\t', 60 * MB, &["22P04", "53200"][..]),
        ("csv", b',', 60 * MB, &["22P04", "53200"]),
        ("csv", b'"', 60 * MB, &["22P04", "53200"]),
        ("text", b'x', 60 * MB, &["22P04", "53200"]),
        ("binary", b'x', 60 * MB, &["22P04", "53200"]),
    ] {
        for at_once in [true, false] {
            raw.send(&frame(b'Q', format!("copy taken from stdin (format {format})\0").as_bytes())).await;
            assert_eq!(raw.until(b'G').await, Vec::<String>::new());
            let mut data = vec![letter; bytes];
            data.push(b'\n');
            let pieces = data.chunks(if at_once { data.len() } else { piece });
            for piece in pieces {
                raw.send(&frame(b'd', piece)).await;
            }
            raw.send(&frame(b'c', b"")).await;
            let errors = raw.until_ready().await;
            let is_one = errors.len() == 1 && expected.contains(&errors[0].as_str());
            assert!(is_one, "{format} {}, at once: {at_once}: {errors:?}", char::from(letter));
        }
    }
    // What is no such thing arrives.
    raw.send(&frame(b'Q', b"copy taken from stdin\0")).await;
    raw.until(b'G').await;
    raw.send(&frame(b'd', "left\tright\n".repeat(MB).as_bytes())).await;
    raw.send(&frame(b'c', b"")).await;
    assert_eq!(raw.until_ready().await, Vec::<String>::new());
    let client = cluster.connect().await.expect("a session");
    let row = client.query_one("select count(*), max(b) from taken", &[]).await.expect("the rows");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1)), (MB as i64, "right"));
    witness.tell(&cluster, "rows of a copy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_and_portals_are_bounded_by_their_bytes() {
    const KEPT_MAX: usize = 900;
    let cluster = start(100).await;
    let witness = Witness::of(&cluster).await;
    let mut raw = Raw::connect(&cluster).await;
    let long = "x".repeat(900_000);
    for statement in
        ["prepare n{} as select length('{long}')", "declare n{} cursor for select length('{long}')"]
    {
        for round in 0..2 {
            assert_eq!(raw.query("begin").await, Vec::<String>::new());
            let mut kept = 0;
            let refused = loop {
                let sql = statement.replace("{}", &kept.to_string()).replace("{long}", &long);
                let errors = raw.query(&sql).await;
                if !errors.is_empty() {
                    break errors;
                }
                kept += 1;
                assert!(kept < KEPT_MAX, "{statement}: no bound");
            };
            assert_eq!(refused, ["53200"], "{statement}, {kept} kept, round {round}");
            assert!(kept > 10, "{statement}: {kept} kept");
            // What is given back is there again.
            assert_eq!(raw.query("rollback").await, Vec::<String>::new());
            assert_eq!(raw.query("deallocate all").await, Vec::<String>::new());
        }
    }
    let value = "x".repeat(MB);
    for _ in 0..2 {
        raw.send(&parse("select length($1::text)")).await;
        for portal in 0..200 {
            raw.send(&bind(&format!("p{portal}"), 0, value.as_bytes())).await;
        }
        raw.send(&frame(b'S', b"")).await;
        assert_eq!(raw.until_ready().await, ["53200"]);
    }
    witness.tell(&cluster, "prepared statements and portals").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_do_not_sign_in_give_way() {
    let (open, slow, places) = if is_full() { (5000, 2000, 200) } else { (300, 100, 50) };
    let cluster = start(places).await;
    let witness = Witness::of(&cluster).await;
    let mut held = Vec::with_capacity(open);
    for _ in 0..open {
        held.push(TcpStream::connect(cluster.address).await.expect("connected"));
    }
    // Somebody gets in beside them, within the time for which a newcomer may keep its place.
    let begun_at = Instant::now();
    while let Err(error) = cluster.connect().await {
        assert!(begun_at.elapsed() < Duration::from_secs(5), "nobody gets in: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut signing_in = JoinSet::new();
    for _ in 0..slow {
        let address = cluster.address;
        signing_in.spawn(async move {
            let mut socket = TcpStream::connect(address).await.expect("connected");
            for byte in &startup()[..30] {
                if socket.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    signing_in.join_all().await;
    let begun_at = Instant::now();
    while let Err(error) = cluster.connect().await {
        assert!(begun_at.elapsed() < Duration::from_secs(5), "nobody gets in: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(held);
    witness.tell(&cluster, "connections that do not sign in").await;
}

/// Messages of all kinds and sizes, drawn by seed: many at once, some never finished.
#[tokio::test(flavor = "multi_thread")]
async fn messages_made_to_hold_memory() {
    let messages = if is_full() { 500 } else { 40 };
    let cluster = start(100).await;
    let witness = Witness::of(&cluster).await;
    let mut random = StdRng::seed_from_u64(SEED);
    let mut sent = 0;
    while sent < messages {
        let mut sending = JoinSet::new();
        for _ in 0..20.min(messages - sent) {
            let mut raw = Raw::connect(&cluster).await;
            let size = random.random_range(MB..60 * MB);
            let kind = random.random_range(0..6);
            let is_whole = random.random_bool(0.7);
            sending.spawn(async move {
                let (before, message) = match kind {
                    0 => (parse("select length($1::text)"), bind("", 0, &vec![b'x'; size])),
                    1 => {
                        let items = format!("{{{}1}}", "1,".repeat(size / 2));
                        (parse("select cardinality($1::int[])"), bind("", 0, items.as_bytes()))
                    }
                    2 => {
                        let count = size / 4;
                        let mut nulls: Vec<u8> = [1, 1, 20, count as i32, 1].map(i32::to_be_bytes).concat();
                        nulls.resize(nulls.len() + 4 * count, 0xff);
                        (parse("select cardinality($1::bigint[])"), bind("", 1, &nulls))
                    }
                    3 => (Vec::new(), parse(&"(".repeat(size))),
                    4 => (Vec::new(), frame(b'Q', format!("{}\0", "x".repeat(size)).as_bytes())),
                    _ => (parse("select length($1::bytea)"), bind("", 1, &vec![0; size])),
                };
                raw.send(&before).await;
                if !is_whole {
                    raw.send(&message[..message.len() - 100]).await;
                    return;
                }
                raw.send(&message).await;
                raw.send(&frame(b'E', b"\0\0\0\0\0")).await;
                raw.send(&frame(b'S', b"")).await;
                let errors = raw.until_ready().await;
                assert!(errors.len() <= 1, "kind {kind} of {size} bytes: {errors:?}");
            });
            sent += 1;
        }
        sending.join_all().await;
    }
    witness.tell(&cluster, "messages made to hold memory").await;
}
