//! From the text of a client to statements: the one room that knows the SQL parser.

mod classify;
mod dialect;
mod hand_parsed;
pub mod input;
mod limits;
mod names;
mod parameters;
mod parse;
mod tables;

pub use classify::{
    AccessMode, Command, CommentOn, CopyFormat, CopyIn, CopyOptions, CopyOut, DeclareCursor, Explain, Fetch,
    GrantOn, Granting, KeyChange, Membership, Query, RoleChange, RoleOptions, TransactionCommand,
    TransactionModes,
};
pub use dialect::SessionFacts;
pub use names::qualify_system_tables;
pub use parameters::{read_bytea, type_arrays};
pub use parse::parse;
pub use tables::{
    AlterStep, ColumnMake, ExternalTable, InsertSource, RowChange, TableAlter, TableDrop, TableMake, Write,
    WriteTo, name_columns, read_values,
};
