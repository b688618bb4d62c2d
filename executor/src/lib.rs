//! Runs the tasks of distributed queries under a memory cap. Meets the server only on the wire.

mod client_pool;
mod data_service;
mod exhaustion;
mod link;
mod process;
mod shuffle_files;
mod shuffle_reader;
mod stage_runner;
mod stops;
mod supervision;
mod task_service;
mod tasks;

pub use process::{StartError, run};
pub use tasks::{ThreadHandles, Threads};
