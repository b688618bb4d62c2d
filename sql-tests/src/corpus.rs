//! The .slt files of DataFusion's own tests, asked through the wire.
//!
//! They were written for another dialect and print values in another way. So each record has an outcome, not a verdict:
//! what matters is that none is an error of ours (XX000), that the server goes on, and that both routes say the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use sqllogictest::parser::{QueryExpect, SortMode, StatementExpect};
use sqllogictest::{Condition, DefaultColumnType, Record};
use tokio::process::Command;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::{Route, TestCluster, rows};

const STATEMENT_MAX: Duration = Duration::from_secs(20);

/// What came of one record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Not asked, for a reason.
    Skipped(&'static str),
    /// As the file says.
    Expected,
    /// Other rows than the file says, or printed otherwise.
    Differs,
    /// Answered where the file wants an error.
    Accepted,
    /// Refused where the file wants an answer, with this SQLSTATE.
    Refused(String),
    /// The connection was lost.
    Lost,
}

/// One record that was looked at.
#[derive(Debug, Clone)]
pub struct Judged {
    /// Where it stands.
    pub place: String,
    /// What was asked.
    pub sql: String,
    /// What came of it.
    pub outcome: Outcome,
    /// The rows, in the order of their text, or the error. The schema is called `corpus` in it.
    pub answer: Vec<String>,
}

/// The folder of the files, fetched by cargo for a manifest in `target_folder`.
pub async fn corpus(target_folder: &Path) -> anyhow::Result<PathBuf> {
    let output = Command::new("sql-tests/corpus/install").arg(target_folder.join("corpus")).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// The files below `folder`, in the order of their names.
pub fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Asks all records of `file` on `route`, in a schema called `schema`. Files that it writes are written below `scratch`,
/// where the server has a location.
pub async fn ask(
    cluster: &TestCluster,
    file: &Path,
    route: Route,
    schema: &str,
    scratch: &Path,
) -> anyhow::Result<Vec<Judged>> {
    let records =
        sqllogictest::parse_file::<DefaultColumnType>(file).with_context(|| format!("{}", file.display()))?;
    let mut client = connect(cluster, route, schema).await?;
    let mut judged = Vec::new();
    for record in records {
        let (place, sql, conditions, wanted) = match record {
            Record::Halt { .. } => break,
            Record::Statement { loc, sql, conditions, expected, .. } => {
                let wanted = match expected {
                    StatementExpect::Error(_) => Wanted::Error,
                    _ => Wanted::Success,
                };
                (loc, sql, conditions, wanted)
            }
            Record::Query { loc, sql, conditions, expected, .. } => {
                let wanted = match expected {
                    QueryExpect::Error(_) => Wanted::Error,
                    QueryExpect::Results { results, sort_mode, .. } => Wanted::Rows(results, sort_mode),
                };
                (loc, sql, conditions, wanted)
            }
            _ => continue,
        };
        let other_engine = conditions.iter().any(|condition| match condition {
            Condition::OnlyIf { label } => label != "DataFusion",
            Condition::SkipIf { label } => label == "DataFusion",
        });
        let sql = translated(&sql, &scratch.join(schema));
        let skipped = if other_engine { Some("meant for another engine") } else { reason_to_skip(&sql) };
        let (outcome, answer) = match skipped {
            Some(reason) => (Outcome::Skipped(reason), Vec::new()),
            None => match answer(&client, &sql).await {
                Some(answer) => judge(answer, wanted),
                None => {
                    client = connect(cluster, route, schema).await?;
                    (Outcome::Lost, Vec::new())
                }
            },
        };
        let answer = answer.iter().map(|line| line.replace(schema, "corpus")).collect();
        judged.push(Judged { place: place.to_string(), sql, outcome, answer });
    }
    // Also those that the file made.
    let schemas = "select nspname from pg_namespace where nspname not in \
                   ('public', 'main', 'information_schema', 'pg_catalog', 'pg_toast', 'sys')";
    for row in rows(&client, schemas).await {
        let _ = client.batch_execute(&format!("drop schema \"{}\" cascade", row[0])).await;
    }
    for row in rows(&client, "select tablename from pg_tables where schemaname = 'public'").await {
        let _ = client.batch_execute(&format!("drop table public.\"{}\"", row[0])).await;
    }
    Ok(judged)
}

enum Wanted {
    Success,
    Rows(Vec<String>, Option<SortMode>),
    Error,
}

async fn connect(cluster: &TestCluster, route: Route, schema: &str) -> anyhow::Result<Client> {
    let client = cluster.connect_with(&format!("-c sluice.route={}", route.as_str())).await?;
    let timeout = STATEMENT_MAX.as_millis();
    let settings = format!(
        "create schema if not exists {schema}; set search_path to {schema}; set statement_timeout = {timeout}"
    );
    for setting in settings.split(';') {
        client.batch_execute(setting).await.with_context(|| setting.to_owned())?;
    }
    Ok(client)
}

/// Files that the corpus writes itself go below `scratch`, in the words that COPY has here.
fn translated(sql: &str, scratch: &Path) -> String {
    let sql = sql.replace("test_files/scratch/", &format!("{}/", scratch.display()));
    if !sql.trim_start().to_lowercase().starts_with("copy") {
        return sql;
    }
    let Some((before, format)) = stored_as(&sql) else { return sql };
    match format.split_once(char::is_whitespace) {
        Some((format, rest)) if !rest.trim().is_empty() => format!("{before} (format {format}) {rest}"),
        _ => format!("{before} (format {})", format.trim_end()),
    }
}

/// What stands before the last `STORED AS`, and behind it.
fn stored_as(sql: &str) -> Option<(&str, &str)> {
    let lower = sql.to_ascii_lowercase();
    let at = lower.rfind("stored")?;
    let rest = sql[at + "stored".len()..].trim_start();
    let is_as = rest.get(..2).is_some_and(|word| word.eq_ignore_ascii_case("as"));
    is_as.then(|| (&sql[..at], rest[2..].trim().trim_end_matches(';')))
}

/// What cannot be asked of another server than DataFusion itself.
fn reason_to_skip(sql: &str) -> Option<&'static str> {
    let words: Vec<String> = sql.split_whitespace().take(4).map(str::to_lowercase).collect();
    let text = sql.to_lowercase();
    match words.first().map(String::as_str) {
        Some("set" | "show" | "reset") => Some("names a setting of DataFusion's"),
        _ if text.contains("information_schema.df_settings") => Some("names a setting of DataFusion's"),
        _ if text.contains("test_files/") || text.contains("../") => {
            Some("reads files of DataFusion's repository")
        }
        Some("copy") if text.contains("options") => Some("names an option of DataFusion's"),
        _ => None,
    }
}

/// `None` when the connection is lost, else rows or the SQLSTATE and message.
#[allow(clippy::type_complexity)] // Said in the line above.
async fn answer(client: &Client, sql: &str) -> Option<Result<Vec<Vec<String>>, (String, String)>> {
    let asked = tokio::time::timeout(STATEMENT_MAX * 2, client.simple_query(sql)).await;
    let Ok(asked) = asked else { return None };
    match asked {
        Ok(messages) => {
            let row = |message| match message {
                SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|at| row.get(at).map_or("NULL".to_owned(), printed)).collect())
                }
                _ => None,
            };
            Some(Ok(messages.into_iter().filter_map(row).collect()))
        }
        Err(error) => {
            error.as_db_error().map(|db| Err((db.code().code().to_owned(), db.message().to_owned())))
        }
    }
}

fn printed(value: &str) -> String {
    if value.is_empty() { "(empty)".to_owned() } else { value.to_owned() }
}

fn judge(answer: Result<Vec<Vec<String>>, (String, String)>, wanted: Wanted) -> (Outcome, Vec<String>) {
    let rows = match answer {
        Err((code, message)) => {
            let outcome = match wanted {
                Wanted::Error if code != "XX000" => Outcome::Expected,
                _ if code == "42P01" => Outcome::Skipped("its table could not be made"),
                _ => Outcome::Refused(code.clone()),
            };
            return (outcome, vec![format!("{code}: {message}")]);
        }
        Ok(rows) => rows,
    };
    let mut actual: Vec<String> = rows.iter().map(|row| normal(&row.join(" "))).collect();
    let mut kept = actual.clone();
    kept.sort_unstable();
    let outcome = match wanted {
        Wanted::Success => Outcome::Expected,
        Wanted::Error => Outcome::Accepted,
        Wanted::Rows(expected, sort_mode) => {
            let mut expected: Vec<String> = expected.iter().map(|line| normal(line)).collect();
            match sort_mode {
                Some(SortMode::RowSort) => {
                    actual.sort_unstable();
                    expected.sort_unstable();
                }
                Some(SortMode::ValueSort) => {
                    actual = rows.iter().flatten().map(|value| normal(value)).collect();
                    actual.sort_unstable();
                    expected.sort_unstable();
                }
                _ => {}
            }
            let is_same = actual.len() == expected.len()
                && actual.iter().zip(&expected).all(|(actual, expected)| is_same(actual, expected));
            if is_same { Outcome::Expected } else { Outcome::Differs }
        }
    };
    (outcome, kept)
}

/// One way of printing for what two servers print in two.
fn normal(line: &str) -> String {
    let line: Vec<&str> = line.split_whitespace().collect();
    let mut line = line.join(" ").replace('[', "{").replace(']', "}").replace(", ", ",");
    // 2020-01-01T10:00:00 and 2020-01-01 10:00:00.
    let is_digit = |at: usize, line: &str| line.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let instants: Vec<usize> = line
        .match_indices('T')
        .map(|(at, _)| at)
        .filter(|at| *at > 0 && is_digit(at - 1, &line) && is_digit(at + 1, &line))
        .collect();
    for at in instants {
        line.replace_range(at..=at, " ");
    }
    line
}

fn is_same(actual: &str, expected: &str) -> bool {
    if actual == expected {
        return true;
    }
    let words = |text: &str| text.split([' ', ',', '{', '}']).map(str::to_owned).collect::<Vec<_>>();
    let (actual, expected) = (words(actual), words(expected));
    actual.len() == expected.len() && actual.iter().zip(&expected).all(|(a, e)| is_same_word(a, e))
}

fn is_same_word(actual: &str, expected: &str) -> bool {
    let as_number = |text: &str| text.parse::<f64>().ok();
    actual == expected
        || matches!((actual, expected), ("t", "true") | ("f", "false"))
        || match (as_number(actual), as_number(expected)) {
            (Some(a), Some(e)) => {
                a == e || (a - e).abs() <= 1e-9 * a.abs().max(e.abs()) || a.is_nan() && e.is_nan()
            }
            _ => false,
        }
}

/// How many records had each outcome.
pub fn counted<'a>(judged: impl IntoIterator<Item = &'a Judged>) -> BTreeMap<Outcome, usize> {
    let mut counts = BTreeMap::new();
    for record in judged {
        *counts.entry(record.outcome.clone()).or_default() += 1;
    }
    counts
}
