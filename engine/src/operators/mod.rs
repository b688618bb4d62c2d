//! Operators of ours in physical plans. Each travels to executors by `codec`.

mod summary;
mod upload;
mod write_files;

pub use write_files::{PartitionColumn, WriteFiles, WriteTarget};
