//! What several test files wait for or need installed.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::process::Command;
use tokio_postgres::{Client, SimpleQueryMessage};

/// Waits until some executor runs a task, and gives its process.
pub async fn busy_executor(watcher: &Client) -> anyhow::Result<u32> {
    let busy = "select process_id from sys.executors where tasks_running > 0 limit 1";
    loop {
        for message in watcher.simple_query(busy).await? {
            if let SimpleQueryMessage::Row(row) = message {
                return row.get(0).context("an executor has a process")?.parse().context("a process");
            }
        }
        tokio::task::yield_now().await;
    }
}

/// The rows that `sql` gives, as text; a null is `NULL`.
pub async fn rows(client: &Client, sql: &str) -> Vec<Vec<String>> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect())
        }
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// The SQLSTATE of a failure, nothing for a success.
pub fn sqlstate<T>(outcome: &Result<T, tokio_postgres::Error>) -> &str {
    match outcome {
        Ok(_) => "",
        Err(error) => error.code().map_or("no code", |code| code.code()),
    }
}

/// The real clients, installed in a folder of `target_folder`: `venv` has what comes from Python.
pub async fn installed_clients(target_folder: &Path) -> anyhow::Result<PathBuf> {
    installed(target_folder, "clients").await
}

/// The stores that tables are tested in, installed in a folder of `target_folder`.
pub async fn installed_stores(target_folder: &Path) -> anyhow::Result<PathBuf> {
    installed(target_folder, "stores").await
}

/// What drives a browser, installed in a folder of `target_folder`: `venv` has Playwright.
pub async fn installed_browser(target_folder: &Path) -> anyhow::Result<PathBuf> {
    installed(target_folder, "browser").await
}

async fn installed(target_folder: &Path, what: &str) -> anyhow::Result<PathBuf> {
    let folder = target_folder.join(what);
    // One at a time: tests of a file run beside each other.
    static INSTALLING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one = INSTALLING.lock().await;
    let script = Path::new("sql-tests").join(what).join("install");
    let status = Command::new(script).arg(&folder).status().await?;
    anyhow::ensure!(status.success(), "the {what} could not be installed");
    Ok(folder)
}
