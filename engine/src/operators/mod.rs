//! Operators of ours in physical plans. Each travels to executors by `codec`.

mod file_format;
mod number_rows;
mod ordered_input;
mod recorded_partitioning;
mod summary;
mod text_writer;
mod upload;
mod write_files;

pub use file_format::{CsvLayout, FileFormat, ParquetCompression, TextCompression};
pub use number_rows::NumberRows;
pub use ordered_input::OrderedInput;
pub use recorded_partitioning::RecordedPartitioning;
pub use upload::StagedObject;
pub use write_files::{FileNames, PartitionColumn, WriteFiles, WriteTarget, WrittenFile};
