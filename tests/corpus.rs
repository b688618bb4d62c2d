//! DataFusion's own .slt files through the wire on both routes: no error of ours, no lost connection, and both routes
//! say the same.
//!
//! A few files with every change, chosen by `SLUICE_TEST_SEED`; `SLUICE_TEST_FILES=all` asks all of them, and
//! `SLUICE_TEST_REPORT=FILE` writes what came of it between the corpus's marks in FILE.

use std::collections::BTreeMap;
use std::path::Path;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use sql_tests::corpus::{self, Judged, Outcome};
use sql_tests::{Options, Route, TestCluster};

const FILES: usize = 30;

/// Faults of DataFusion 55 and Arrow that are met here, too.
const KNOWN: [(&str, &str); 1] = [(
    "window.slt:6285",
    "a filter that compares an expression with a constant puts the expression in the place of that constant wherever an \
     order names it, and the last check finds another order than was asked for",
)];

/// What the routes say differently. None of it is rows of one kind here and of another there.
const KNOWN_APART: [(&str, &str); 4] = [
    (
        "aggregate.slt:5540",
        "binaries of a fixed size cannot be made of views in the server, and can on executors",
    ),
    ("aggregate.slt:5548", "the same"),
    ("aggregate.slt:5558", "the same"),
    ("aggregate.slt:5569", "the same"),
];

#[tokio::test(flavor = "multi_thread")]
async fn both_routes_answer_the_files_of_datafusion() {
    let binary =
        std::env::var_os("SLUICE_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_sluice").into());
    let folder = corpus::corpus(Path::new(env!("CARGO_TARGET_TMPDIR"))).await.expect("the files are fetched");
    let seed = std::env::var("SLUICE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut files = corpus::files(&folder).expect("files");
    let all = files.len();
    if std::env::var("SLUICE_TEST_FILES").as_deref() != Ok("all") {
        files = files.into_iter().sample(&mut StdRng::seed_from_u64(seed), FILES);
    }
    println!("SLUICE_TEST_SEED={seed}: {} of {all} files", files.len());
    let cluster = TestCluster::start(Path::new(&binary), &Options::default()).await.expect("a cluster");
    let scratch = cluster.data_dir().join("warehouse/files");
    let processes = cluster.executor_processes().await.expect("processes");
    let (mut by_route, mut apart) = (Vec::new(), Vec::new());
    for (number, file) in files.iter().enumerate() {
        let mut answers = Vec::new();
        for route in [Route::Local, Route::Cluster] {
            let schema = format!("corpus_{number}_{}", route.as_str());
            let judged =
                corpus::ask(&cluster, file, route, &schema, &scratch).await.expect("the file is asked");
            answers.push(judged);
        }
        let pairs = answers[0].iter().zip(&answers[1]);
        apart.extend(
            pairs.filter(|(local, remote)| is_apart(local, remote)).map(|(a, b)| (a.clone(), b.clone())),
        );
        by_route.push(answers);
    }
    let judged: Vec<&Judged> = by_route.iter().flatten().flatten().collect();
    let ours: Vec<&&Judged> = judged
        .iter()
        .filter(|record| {
            matches!(&record.outcome, Outcome::Refused(code) if code == "XX000")
                || record.outcome == Outcome::Lost
        })
        .filter(|record| !is_listed(&KNOWN, record))
        .collect();
    let apart_in_all = apart.len();
    let apart: Vec<_> = apart.iter().filter(|(local, _)| !is_listed(&KNOWN_APART, local)).collect();
    for record in &ours {
        println!("OURS {} {:?} {:?}\n  {}", record.place, record.outcome, record.answer, record.sql);
    }
    for (local, remote) in &apart {
        println!(
            "APART {}\n  {}\n  local   {:?} {:?}\n  cluster {:?} {:?}",
            local.place, local.sql, local.outcome, local.answer, remote.outcome, remote.answer
        );
    }
    if std::env::var_os("SLUICE_TEST_VERBOSE").is_some() {
        for record in judged.iter().filter(|record| {
            matches!(record.outcome, Outcome::Refused(_) | Outcome::Differs | Outcome::Accepted)
        }) {
            println!("{:?} {} {:?}\n  {}", record.outcome, record.place, record.answer, record.sql);
        }
    }
    let local: Vec<&Judged> = by_route.iter().flat_map(|answers| &answers[0]).collect();
    let remote: Vec<&Judged> = by_route.iter().flat_map(|answers| &answers[1]).collect();
    report(&files, &local, &remote, apart_in_all);
    assert_eq!(processes, cluster.executor_processes().await.expect("processes"), "executors live on");
    assert!(ours.is_empty(), "{} records met an error of ours or lost their connection", ours.len());
    assert!(apart.is_empty(), "{} records are answered differently by the routes", apart.len());
}

fn is_listed(list: &[(&str, &str)], record: &Judged) -> bool {
    list.iter().any(|(place, _)| record.place.ends_with(place))
}

/// What the routes may not say differently. Of rows without an order only what is there is compared.
fn is_apart(local: &Judged, remote: &Judged) -> bool {
    let by_chance = [
        "random(",
        "uuid(",
        "now(",
        "current_",
        "limit",
        "offset",
        "array_agg",
        "first_value",
        "last_value",
        "any_value",
        "string_agg",
        "row_number",
        "approx_",
        "input_file_name",
        "tablesample",
        "today(",
        "information_schema",
        "explain",
        "describe",
        "arrow_",
    ];
    let sql = local.sql.to_lowercase();
    let may_differ = by_chance.iter().any(|word| sql.contains(word));
    // Refused, or answered, by one of them alone; or other rows, in whatever order.
    let is_refused = |judged: &Judged| matches!(judged.outcome, Outcome::Refused(_) | Outcome::Lost);
    let other_rows = !is_refused(local) && local.answer != remote.answer;
    !may_differ && (is_refused(local) != is_refused(remote) || other_rows)
}

fn report(files: &[std::path::PathBuf], local: &[&Judged], remote: &[&Judged], apart: usize) {
    let (at_home, afar) = (corpus::counted(local.iter().copied()), corpus::counted(remote.iter().copied()));
    let mut lines: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (counts, is_local) in [(&at_home, true), (&afar, false)] {
        for (outcome, count) in counts {
            let line = lines.entry(named(outcome)).or_default();
            *(if is_local { &mut line.0 } else { &mut line.1 }) += count;
        }
    }
    let asked = |counts: &BTreeMap<Outcome, usize>| -> usize {
        counts
            .iter()
            .filter(|(outcome, _)| !matches!(outcome, Outcome::Skipped(_)))
            .map(|(_, count)| count)
            .sum()
    };
    let rows: Vec<String> =
        lines.iter().map(|(name, (local, remote))| format!("| {name} | {local} | {remote} |")).collect();
    let table = format!(
        "{} files, {} records on each route; asked: {:.1} % in the server, {:.1} % on executors. {apart} answered differently by the routes.\n\n| what came of it | in the server | on executors |\n|---|---|---|\n{}\n",
        files.len(),
        local.len(),
        asked(&at_home) as f64 * 100.0 / local.len() as f64,
        asked(&afar) as f64 * 100.0 / remote.len() as f64,
        rows.join("\n")
    );
    println!("{table}");
    let Ok(file) = std::env::var("SLUICE_TEST_REPORT") else { return };
    let (begin, end) = ("<!-- corpus: begin -->", "<!-- corpus: end -->");
    let text = std::fs::read_to_string(&file).expect("the report");
    let (before, rest) = text.split_once(begin).expect("the report has the mark");
    let (_, after) = rest.split_once(end).expect("the report has the end mark");
    std::fs::write(&file, format!("{before}{begin}\n{table}{end}{after}")).expect("the report is written");
}

fn named(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Skipped(reason) => format!("not asked: {reason}"),
        Outcome::Expected => "as the file says".to_owned(),
        Outcome::Differs => "other rows, or printed otherwise".to_owned(),
        Outcome::Accepted => "answered where the file wants an error".to_owned(),
        Outcome::Refused(code) => format!("refused with {code}"),
        Outcome::Lost => "connection lost".to_owned(),
    }
}
