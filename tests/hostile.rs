//! Frames that no client sends: a mutation fuzzer against the live server, idle sessions by the
//! thousand, and what a session may keep.

use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sql_tests::{Options, TestCluster};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The seed is fixed, so that a failure can be found again.
const SEED: u64 = 20_261_122;
/// Connections that send bent frames; the codec alone reads a million of them in its own test.
const CONNECTIONS: usize = 2000;
/// Frames in one write; the server closes the connection at the first that is malformed.
const FRAMES_PER_CONNECTION: usize = 20;

async fn start(connections: &str) -> TestCluster {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let options = Options {
        executors: 0,
        environment: vec![("SLUICE_LIMITS__CONNECTIONS_MAX".into(), connections.into())],
        ..Options::default()
    };
    TestCluster::start(binary, &options).await.expect("a server")
}

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![tag];
    frame.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

fn startup() -> Vec<u8> {
    let body = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    let mut packet = (body.len() as u32 + 4).to_be_bytes().to_vec();
    packet.extend_from_slice(body);
    packet
}

/// Frames as clients send them, to be bent.
fn seeds() -> Vec<Vec<u8>> {
    vec![
        frame(b'Q', b"select 1\0"),
        frame(b'P', b"s\0select $1::int\0\0\x01\0\0\0\x17"),
        frame(b'B', b"\0s\0\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x07\0\x01\0\x01"),
        frame(b'D', b"Ss\0"),
        frame(b'D', b"P\0"),
        frame(b'E', b"\0\0\0\0\0"),
        frame(b'C', b"Ss\0"),
        frame(b'S', b""),
        frame(b'H', b""),
        frame(b'd', b"1\t2\n"),
        frame(b'c', b""),
        frame(b'f', b"no\0"),
        frame(b'p', b"SCRAM-SHA-256\0\0\0\0\x05n,,n="),
        frame(b'X', b""),
    ]
}

fn mutate(frame: &mut Vec<u8>, random: &mut StdRng) {
    for _ in 0..random.random_range(0..4) {
        let at = random.random_range(0..frame.len());
        match random.random_range(0..6) {
            0 => frame[at] = random.random(),
            1 => frame[at] ^= 1 << random.random_range(0..8),
            2 => frame.truncate(at.max(1)),
            3 => frame.insert(at, random.random()),
            4 => frame.extend_from_slice(&[0xff; 3]),
            _ => {
                // The length itself: small, huge or negative.
                let length = [0u32, 3, 4, 5, 0x7fff_ffff, 0xffff_ffff][random.random_range(0..6)];
                let end = frame.len().min(5);
                frame[1.min(end)..end].copy_from_slice(&length.to_be_bytes()[..end - 1.min(end)]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bent_frames_end_nothing_but_their_sessions() {
    let cluster = start("500").await;
    let seeds = seeds();
    let mut random = StdRng::seed_from_u64(SEED);
    let witness = cluster.connect().await.expect("a session");
    for round in 0..CONNECTIONS {
        let mut bytes = if round % 10 == 0 { Vec::new() } else { startup() };
        for _ in 0..FRAMES_PER_CONNECTION {
            let mut bent = seeds[random.random_range(0..seeds.len())].clone();
            mutate(&mut bent, &mut random);
            bytes.extend_from_slice(&bent);
        }
        let mut socket = TcpStream::connect(cluster.address).await.expect("connected");
        // A write may fail half-way, because the server has closed: that is its right.
        let _ = socket.write_all(&bytes).await;
        let _ = socket.shutdown().await;
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "round {round}: the server neither answers nor closes");
    }
    witness.query_one("select 1", &[]).await.expect("other sessions never notice");
    assert!(!cluster.log().contains("panicked"), "{}", cluster.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_are_bounded_and_garbage_is_no_tls() {
    let cluster = start("50").await;
    let client = cluster.connect().await.expect("a session");
    let mut kept = Vec::new();
    let refused = loop {
        match client.prepare("select 1").await {
            Ok(statement) => kept.push(statement),
            Err(error) => break error,
        }
        assert!(kept.len() < 100_000, "no bound");
    };
    assert_eq!(refused.code().map(|code| code.code()), Some("53400"));
    drop(kept);
    client.batch_execute("deallocate all").await.expect("room again");
    client.prepare("select 1").await.expect("a statement");
    let mut socket = TcpStream::connect(cluster.address).await.expect("connected");
    socket.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.expect("sent");
    let mut answer = Vec::new();
    let _ =
        tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut answer)).await.expect("closed");
    client.query_one("select 1", &[]).await.expect("other sessions never notice");
}

/// Resident memory of a process, in KiB.
fn resident_kib(process_id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process_id}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a resident size");
    line.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_sessions_are_small() {
    const SESSIONS: usize = 2000;
    const KIB_EACH_MAX: u64 = 100;
    let cluster = start("2100").await;
    let before = resident_kib(cluster.process_id());
    let mut sockets = Vec::with_capacity(SESSIONS);
    for _ in 0..SESSIONS {
        let mut socket = TcpStream::connect(cluster.address).await.expect("connected");
        socket.write_all(&startup()).await.expect("sent");
        let mut greeting = Vec::new();
        while !greeting.ends_with(b"Z\0\0\0\x05I") {
            assert!(socket.read_buf(&mut greeting).await.expect("a greeting") > 0, "closed");
        }
        sockets.push(socket);
    }
    let each = (resident_kib(cluster.process_id()) - before) / SESSIONS as u64;
    assert!(each <= KIB_EACH_MAX, "an idle session takes {each} KiB");
    println!("an idle session takes {each} KiB");
}
