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

/// The real clients, installed in a folder of `target_folder`: `venv` has what comes from Python.
pub async fn installed_clients(target_folder: &Path) -> anyhow::Result<PathBuf> {
    let installed = target_folder.join("clients");
    // One at a time: tests of a file run beside each other.
    static INSTALLING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one = INSTALLING.lock().await;
    let status = Command::new("sql-tests/clients/install").arg(&installed).status().await?;
    anyhow::ensure!(status.success(), "the clients could not be installed");
    Ok(installed)
}
