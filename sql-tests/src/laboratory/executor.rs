//! An executor process of which a test decides where it runs, and when and how it ends.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// Where an executor runs, and what it joins.
#[derive(Debug, Clone)]
pub struct Place {
    /// The program.
    pub binary: PathBuf,
    /// The coordinator, `HOST:PORT`.
    pub coordinator: String,
    /// The file of the cluster's secret.
    pub secret_file: PathBuf,
    /// A network namespace, and the address to listen on in it.
    pub space: Option<(String, String)>,
    /// Partitions computed at once.
    pub threads: usize,
    /// The cap on its memory.
    pub memory: String,
}

/// A running executor. It is killed when dropped.
#[derive(Debug)]
pub struct Executor {
    child: Child,
    /// Where its files are.
    pub folder: PathBuf,
}

impl Executor {
    /// Starts an executor at `place` with its files in `folder`: as a server starts its own, when `is_supervised`, so
    /// that the one in its place is waited for. `before` stands before the program.
    pub fn start(
        place: &Place,
        folder: &Path,
        is_supervised: bool,
        before: &[String],
    ) -> anyhow::Result<Self> {
        let mut words: Vec<String> = Vec::new();
        if let Some((space, _)) = &place.space {
            words.extend(["ip", "netns", "exec", space].map(str::to_owned));
        }
        words.extend_from_slice(before);
        words.push(place.binary.to_string_lossy().into_owned());
        words.extend(
            ["executor", "--coordinator", &place.coordinator, "--shared-path", "/"].map(str::to_owned),
        );
        words.extend(["--threads".to_owned(), place.threads.to_string()]);
        words.extend(["--memory".to_owned(), place.memory.clone()]);
        words.extend(["--work-dir".to_owned(), folder.to_string_lossy().into_owned()]);
        if let Some((_, address)) = &place.space {
            words.extend(["--listen".to_owned(), format!("{address}:0")]);
        }
        if is_supervised {
            words.extend(["--supervisor".to_owned(), std::process::id().to_string()]);
        } else {
            words.extend(["--secret-file".to_owned(), place.secret_file.to_string_lossy().into_owned()]);
        }
        let log = std::fs::File::options().create(true).append(true).open(folder.with_extension("log"))?;
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {words:?}"))?;
        if is_supervised {
            let secret = std::fs::read_to_string(&place.secret_file)?;
            let stdin = child.stdin.as_mut().context("standard input is piped")?;
            writeln!(stdin, "{}", secret.trim())?;
        }
        Ok(Self { child, folder: folder.to_owned() })
    }

    /// Its process.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it, and waits for its end.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
