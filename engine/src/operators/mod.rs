//! Operators of ours in physical plans. Each travels to executors by `codec`, but for `stoppable`, `bounded_input`,
//! `bounded_projection` and `claimed_sizes`, which are put in where a plan runs.

mod bounded_input;
mod bounded_projection;
mod claimed_sizes;
mod file_format;
mod guards;
mod kept_side;
mod nullable_input;
mod number_rows;
mod recorded_partitioning;
mod stalled_filters;
mod stoppable;
mod summary;
mod text_writer;
mod upload;
pub mod wide_rows;
mod write_files;

pub use file_format::{CsvLayout, FileFormat, ParquetCompression, TextCompression};
pub use kept_side::KeptSide;
pub use nullable_input::NullableInput;
pub use number_rows::NumberRows;
pub use recorded_partitioning::RecordedPartitioning;
pub use stoppable::stoppable;
pub use upload::StagedObject;
pub use write_files::{FileNames, PartitionColumn, WriteFiles, WriteTarget, WrittenFile};
