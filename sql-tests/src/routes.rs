//! Runs an `.slt` file on one route with one protocol, and fails a record that ran elsewhere.
//!
//! A query that must stay local although the cluster is forced says so in its first line:
//! `-- stays local`. The stock runner takes that for a comment.

use std::path::Path;

use async_trait::async_trait;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use sqllogictest_engines::postgres::{PostgresExtended, PostgresSimple};
use tokio_postgres::SimpleQueryMessage;

use crate::TestCluster;

/// Which protocol carries the statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// One Query message each.
    Simple,
    /// Parse, Bind, Execute; values in binary.
    Extended,
}

/// Where queries are made to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// In the server.
    Local,
    /// On the executors.
    Cluster,
}

impl Route {
    /// The value of `sluice.route`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Cluster => "cluster",
        }
    }
}

const STAYS_LOCAL: &str = "-- stays local";

/// The name under which `.slt` files know a folder that the server may write to.
const FILES: &str = "SLUICE_FILES";

/// Runs `file` and gives its first failure. `files` is a folder that the server may write to.
pub async fn run_file(
    cluster: &TestCluster,
    file: &Path,
    files: &Path,
    route: Route,
    protocol: Protocol,
) -> anyhow::Result<()> {
    let files = files.to_string_lossy().into_owned();
    let mut config = cluster.config();
    config.options(format!("-c sluice.route={}", route.as_str()));
    match protocol {
        Protocol::Simple => {
            let connect =
                || async { Ok(Routed { engine: PostgresSimple::connect(config.clone()).await?, route }) };
            let mut runner = Runner::new(connect);
            runner.set_var(FILES.to_owned(), files);
            runner.run_file_async(file).await?;
        }
        Protocol::Extended => {
            let connect =
                || async { Ok(Routed { engine: PostgresExtended::connect(config.clone()).await?, route }) };
            let mut runner = Runner::new(connect);
            runner.set_var(FILES.to_owned(), files);
            runner.run_file_async(file).await?;
        }
    }
    Ok(())
}

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
enum RoutedError {
    // The SQLSTATE and the message, so that a record can expect either.
    #[error("{}", .0.as_db_error().map_or_else(|| .0.to_string(), |e| format!("{}: {}", e.code().code(), e.message())))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("the query was meant for {expected} and ran {actual}")]
    WrongRoute { expected: &'static str, actual: String },
}

/// An engine that checks after each query where it ran.
struct Routed<E> {
    engine: E,
    route: Route,
}

trait Inner: AsyncDB<Error = tokio_postgres::Error, ColumnType = DefaultColumnType> + Send {
    fn client(&self) -> &tokio_postgres::Client;
}

impl Inner for PostgresSimple {
    fn client(&self) -> &tokio_postgres::Client {
        self.client()
    }
}

impl Inner for PostgresExtended {
    fn client(&self) -> &tokio_postgres::Client {
        self.client()
    }
}

#[async_trait]
impl<E: Inner> AsyncDB for Routed<E> {
    type Error = RoutedError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, RoutedError> {
        let output = self.engine.run(sql).await?;
        if let Some(expected) = expected_route(sql, self.route) {
            let actual = last_route(self.engine.client()).await?;
            if !actual.starts_with(expected) {
                return Err(RoutedError::WrongRoute { expected, actual });
            }
        }
        Ok(output)
    }

    async fn shutdown(&mut self) {
        self.engine.shutdown().await;
    }

    fn engine_name(&self) -> &str {
        self.engine.engine_name()
    }

    fn error_sql_state(error: &RoutedError) -> Option<String> {
        match error {
            RoutedError::Postgres(error) => error.code().map(|code| code.code().to_owned()),
            RoutedError::WrongRoute { .. } => None,
        }
    }
}

/// Where a statement must have run; `None` for those that are no queries.
fn expected_route(sql: &str, route: Route) -> Option<&'static str> {
    let first = sql.lines().find(|line| !line.trim().is_empty() && !line.trim().starts_with("--"))?;
    let word = first.split_ascii_whitespace().next()?.to_ascii_lowercase();
    // What is inserted from tables is computed where queries are; values are not.
    let is_query = ["select", "with", "values", "table"].contains(&word.as_str())
        || word == "insert" && first.contains(" select ");
    if !is_query {
        return None;
    }
    Some(if sql.trim_start().starts_with(STAYS_LOCAL) { "local" } else { route.as_str() })
}

async fn last_route(client: &tokio_postgres::Client) -> Result<String, tokio_postgres::Error> {
    let rows = client.simple_query("show sluice.last_route").await?;
    let route = rows.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(route.unwrap_or_default())
}
