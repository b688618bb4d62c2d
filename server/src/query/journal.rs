//! The last queries on disk, so that they are remembered across a restart.
//!
//! One line of JSON for each in the data folder, in two files of which the older goes when the newer has half of what is
//! allowed. A line that was cut short by the end of the process is passed over. Lines are written on a thread of their
//! own: where it cannot follow, the queries are remembered in memory alone.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use engine::{ByteSize, QueryId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::log::{QueryRecord, QueryState};
use crate::profile::{LiveProfile, Profile, ms_of, time_at};

/// Queries that wait to be written.
const WAITING_MAX: usize = 1024;
/// Shorter queries in the server are remembered without their operators: there may be thousands a second.
const SHORT_MS: f64 = 50.0;

/// The journal.
#[derive(Debug)]
pub struct Journal {
    writer: Mutex<Option<(SyncSender<QueryRecord>, JoinHandle<()>)>>,
    is_behind: AtomicBool,
}

/// A query as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    query_id: String,
    pid: i32,
    user_name: String,
    /// None of earlier versions: for superusers alone.
    #[serde(default)]
    role_oid: u32,
    sql: String,
    state: QueryState,
    route: String,
    started_at_ms: f64,
    ended_at_ms: Option<f64>,
    rows: u64,
    retries: u32,
    error: Option<(String, String)>,
    slot: u32,
    profile: Profile,
}

impl Line {
    fn of(record: &QueryRecord) -> Self {
        let elapsed = record.ended_at.and_then(|end| end.duration_since(record.started_at).ok());
        let is_short = elapsed.is_some_and(|elapsed| elapsed.as_secs_f64() * 1000.0 < SHORT_MS);
        let profile = record.profile.read(|profile| {
            if is_short && !profile.is_distributed && record.state == QueryState::Finished {
                let (queued_ms, planning_ms) = (profile.queued_ms, profile.planning_ms);
                return Profile {
                    queued_ms,
                    planning_ms,
                    lint_list: profile.lint_list.clone(),
                    ..Profile::default()
                };
            }
            profile.clone()
        });
        Self {
            query_id: record.id.to_string(),
            pid: record.process_id,
            user_name: record.user.clone(),
            role_oid: record.role_oid,
            sql: record.sql.to_string(),
            state: record.state,
            route: record.route.clone(),
            started_at_ms: ms_of(record.started_at),
            ended_at_ms: record.ended_at.map(ms_of),
            rows: record.rows,
            retries: record.retries,
            error: record.error.clone(),
            slot: record.slot,
            profile,
        }
    }

    fn record(self) -> QueryRecord {
        QueryRecord {
            id: QueryId::from(self.query_id),
            process_id: self.pid,
            user: self.user_name,
            role_oid: self.role_oid,
            sql: Arc::from(self.sql),
            state: self.state,
            route: self.route,
            started_at: time_at(self.started_at_ms),
            ended_at: self.ended_at_ms.map(time_at),
            rows: self.rows,
            retries: self.retries,
            error: self.error,
            profile: LiveProfile::ended_as(self.profile),
            cancel: CancellationToken::new(),
            only_watches: false,
            slot: self.slot,
        }
    }
}

impl Journal {
    /// The journal in `folder`, of at most `bytes_max`, and the last `queries_max` queries in it, the latest last.
    pub fn open(
        folder: &Path,
        bytes_max: ByteSize,
        queries_max: usize,
    ) -> std::io::Result<(Self, Vec<QueryRecord>)> {
        std::fs::create_dir_all(folder)?;
        let (current, before) = (folder.join("queries.jsonl"), folder.join("queries.before.jsonl"));
        let mut records = read(&before);
        records.extend(read(&current));
        let surplus = records.len().saturating_sub(queries_max);
        let file = Written::open(current, before, bytes_max.0 / 2)?;
        let (sender, records_ended) = sync_channel(WAITING_MAX);
        let thread =
            std::thread::Builder::new().name("journal".into()).spawn(move || write(file, &records_ended))?;
        let journal = Self { writer: Mutex::new(Some((sender, thread))), is_behind: AtomicBool::new(false) };
        Ok((journal, records.split_off(surplus)))
    }

    /// Notes a query that has ended.
    pub fn note(&self, record: &QueryRecord) {
        let Some(writer) = self.writer.lock().as_ref().map(|(writer, _)| writer.clone()) else { return };
        let is_behind = writer.try_send(record.clone()).is_err();
        if is_behind && !self.is_behind.load(Ordering::Relaxed) {
            warn!(query.id = %record.id, "queries are not noted on disk from here on: too many wait for it");
        }
        self.is_behind.store(is_behind, Ordering::Relaxed);
    }

    /// Writes what waits. Nothing is noted from then on.
    pub fn close(&self) {
        let writer = self.writer.lock().take();
        if let Some((sender, thread)) = writer {
            drop(sender);
            let _ = thread.join();
        }
    }
}

fn read(path: &Path) -> Vec<QueryRecord> {
    let Ok(file) = File::open(path) else { return Vec::new() };
    let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
    lines.filter_map(|line| serde_json::from_slice::<Line>(&line).ok()).map(Line::record).collect()
}

/// The file that is written to now.
struct Written {
    file: File,
    bytes: u64,
    current: PathBuf,
    before: PathBuf,
    bytes_max: u64,
}

impl Written {
    fn open(current: PathBuf, before: PathBuf, bytes_max: u64) -> std::io::Result<Self> {
        let mut file = appended(&current)?;
        let bytes = file.metadata()?.len();
        if bytes > 0 {
            // What a process that was killed left unfinished must not take the next line with it.
            file.write_all(b"\n")?;
        }
        Ok(Self { file, bytes, current, before, bytes_max })
    }

    fn append(&mut self, line: &[u8]) -> std::io::Result<()> {
        // One that alone is past it is not worth the others.
        if line.len() as u64 > self.bytes_max {
            return Ok(());
        }
        if self.bytes + line.len() as u64 > self.bytes_max {
            std::fs::rename(&self.current, &self.before)?;
            self.file = appended(&self.current)?;
            self.bytes = 0;
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

/// Statements may hold what is nobody else's business.
fn appended(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn write(mut file: Written, records: &Receiver<QueryRecord>) {
    let mut has_failed = false;
    for record in records {
        let Ok(mut bytes) = serde_json::to_vec(&Line::of(&record)) else { continue };
        bytes.push(b'\n');
        match file.append(&bytes) {
            Ok(()) => has_failed = false,
            Err(error) if !has_failed => {
                has_failed = true;
                warn!(%error, "queries cannot be noted on disk");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> QueryRecord {
        Line {
            query_id: name.to_owned(),
            pid: 1,
            user_name: "ann".to_owned(),
            role_oid: 10,
            sql: format!("select '{name}'\n"),
            state: QueryState::Failed,
            route: "local: it reads no table".to_owned(),
            started_at_ms: 1000.0,
            ended_at_ms: Some(3000.0),
            rows: 3,
            retries: 0,
            error: Some(("22012".to_owned(), "division by zero".to_owned())),
            slot: 0,
            profile: Profile { planning_ms: Some(2.5), ..Profile::default() },
        }
        .record()
    }

    fn names(records: &[QueryRecord]) -> Vec<&str> {
        records.iter().map(|record| record.id.as_str()).collect()
    }

    #[test]
    fn queries_are_remembered_within_bounds_and_past_a_torn_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let (journal, before) = Journal::open(folder.path(), ByteSize(1 << 20), 10).expect("a journal");
        assert!(before.is_empty());
        for name in ["a", "b", "c"] {
            journal.note(&record(name));
        }
        journal.close();
        let current = folder.path().join("queries.jsonl");
        appended(&current).expect("a file").write_all(b"{\"query_id\": \"torn").expect("written");
        let (journal, before) = Journal::open(folder.path(), ByteSize(1 << 20), 2).expect("a journal");
        assert_eq!(names(&before), ["b", "c"]);
        assert_eq!(before[0].error.as_ref().map(|error| error.0.as_str()), Some("22012"));
        assert_eq!(before[0].profile.snapshot().planning_ms, Some(2.5));
        journal.note(&record("d"));
        journal.close();
        let (journal, before) = Journal::open(folder.path(), ByteSize(2000), 10).expect("a journal");
        assert_eq!(names(&before), ["a", "b", "c", "d"]);
        for name in ["e", "f", "g", "h", "i", "j"] {
            journal.note(&record(name));
        }
        journal.close();
        let (_, before) = Journal::open(folder.path(), ByteSize(2000), 100).expect("a journal");
        assert_eq!(names(&before).last(), Some(&"j"));
        let bytes: u64 = std::fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("a file").metadata().expect("its length").len())
            .sum();
        assert!(bytes <= 2002, "{bytes}");
    }
}
