//! Runs the tasks of distributed queries under a memory cap. Meets the server only on the wire.

mod client_pool;
mod process;
mod report;
mod shuffle_files;
mod shuffle_reader;
mod stage_runner;
mod stops;
mod supervision;

pub use process::{StartError, run};
