//! Invented questions, each answered as PostgreSQL 15 answers it, or refused.
//!
//! `SLUICE_TEST_SEED=5 SLUICE_TEST_QUESTIONS=100000 cargo test --release --test postgres` asks others, and more.

use std::collections::BTreeMap;
use std::path::Path;

use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sql_tests::questions::{Answer, Family, Question, Verdict, shrinking};
use sql_tests::{Options, Oracle, TestCluster};
use tokio_postgres::{Client, Config, NoTls};

const ZONES: [&str; 4] = ["UTC", "America/New_York", "Asia/Kolkata", "Europe/Berlin"];
/// Of so many questions one is asked on executors, too.
const ON_EXECUTORS: usize = 10;
/// Of so many one is answered in binary, too.
const IN_BINARY: usize = 5;
/// Of so many, what differs is shown.
const SHOWN: usize = 60;
/// Of so many, in its smallest form.
const SHRUNK: usize = 10;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Those that are asked about: the one that `SLUICE_TEST_FAMILY` names, or all.
fn families() -> Vec<Family> {
    let Ok(named) = std::env::var("SLUICE_TEST_FAMILY") else { return Family::ASKED.to_vec() };
    let is_named = |family: &Family| format!("{family:?}").eq_ignore_ascii_case(&named);
    Family::ASKED.into_iter().filter(is_named).collect()
}

async fn session(config: &Config, options: &str) -> Client {
    let (client, connection) = config.clone().options(options).connect(NoTls).await.expect("a session");
    tokio::spawn(connection);
    client
}

/// A statement with fewer parts about which both differ as they do about `sql`.
async fn smallest(sql: &str, postgres: &Client, here: &Client, answers: (&Answer, &Answer)) -> String {
    let smallest = shrinking::smallest(sql, async |fewer| {
        let (expected, answer) = (Answer::of(postgres, fewer).await, Answer::of(here, fewer).await);
        answer.beside(&expected) == Verdict::Wrong && expected.is_like(answers.0) && answer.is_like(answers.1)
    });
    format!("\n    smallest: {}", smallest.await)
}

#[tokio::test(flavor = "multi_thread")]
async fn invented_expressions_mean_what_they_mean_in_postgres() {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let options = Options { executors: 1, ..Options::default() };
    let cluster = TestCluster::start(binary, &options).await.expect("a cluster");
    let oracle = Oracle::start().await.expect("a PostgreSQL");
    let mut of_oracle = Config::new();
    of_oracle.host("127.0.0.1").port(oracle.port).user("postgres").dbname("postgres");
    let (seed, count) = (number("SLUICE_TEST_SEED", 15), number("SLUICE_TEST_QUESTIONS", 2_000));
    let mut chance = StdRng::seed_from_u64(seed);
    let mut verdicts: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    let families = families();
    for (config, options) in [(&of_oracle, ""), (&cluster.config(), "")] {
        let client = session(config, options).await;
        for statement in Family::tables() {
            client.batch_execute(statement).await.expect("a table");
        }
    }
    for zone in ZONES {
        let postgres = session(&of_oracle, "").await;
        let local = session(&cluster.config(), "-c sluice.route=local -c statement_timeout=20s").await;
        let remote = session(&cluster.config(), "-c sluice.route=cluster -c statement_timeout=20s").await;
        for client in [&postgres, &local, &remote] {
            client.batch_execute(&format!("set timezone = '{zone}'")).await.expect("a zone");
        }
        for at in 0..count as usize / ZONES.len() {
            let family = families[chance.random_range(0..families.len())];
            let Question { sql, on_executors } = family.invent(&mut chance);
            let expected = Answer::of(&postgres, &sql).await;
            let mut answers = vec![("local", Answer::of(&local, &sql).await)];
            if at % ON_EXECUTORS == 0 {
                answers.push(("cluster", Answer::of(&remote, &on_executors).await));
            }
            let mut compared: Vec<_> =
                answers.into_iter().map(|(route, answer)| (route, answer, expected.clone())).collect();
            if at % IN_BINARY == 0 {
                let (expected, answer) =
                    (Answer::binary(&postgres, &sql).await, Answer::binary(&local, &sql).await);
                compared.push(("binary", answer, expected));
            }
            for (route, answer, expected) in compared {
                let verdict = answer.beside(&expected);
                *verdicts.entry(format!("{route} {verdict:?}")).or_default() += 1;
                let is_told = matches!(verdict, Verdict::Wrong)
                    || (verdict != Verdict::Same && std::env::var_os("SLUICE_TEST_VERBOSE").is_some());
                if is_told {
                    let smallest = match wrong.len() < SHRUNK && verdict == Verdict::Wrong && route == "local"
                    {
                        true => smallest(&sql, &postgres, &local, (&expected, &answer)).await,
                        false => String::new(),
                    };
                    wrong.push(format!(
                        "{route}, {zone}: {sql}\n    PostgreSQL: {expected:?}\n    here: {answer:?}{smallest}"
                    ));
                }
            }
        }
    }
    println!("seed {seed}: {verdicts:?}");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(SHOWN)].join("\n"));
}
