//! A test cluster, and the harness of the `.slt` files.
//!
//! The real `sluice` binary is started on free ports in a folder of its own; the tests that own the
//! binary pass its path. Everything that a test waits for is an event: a line, an exit, a row.

mod certificates;
mod chance;
mod cluster;
pub mod corpus;
pub mod harm;
mod helpers;
pub mod http;
pub mod laboratory;
mod oracle;
pub mod questions;
mod routes;
mod stores;
pub mod tpch;

pub use certificates::Authority;
pub use chance::{ChanceQuestion, chance_questions};
pub use cluster::{Options, TestCluster, send_signal};
pub use helpers::{busy_executor, installed_browser, installed_clients, installed_stores, rows, sqlstate};
pub use oracle::Oracle;
pub use routes::{Protocol, Route, run_file};
pub use stores::{ACCESS_KEY, AzureStore, BUCKET, Envoy, FakeGcs, GcsStore, HdfsStore, S3Store, SECRET_KEY};
