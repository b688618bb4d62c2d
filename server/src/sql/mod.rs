//! From the text of a client to statements: the one room that knows the SQL parser.

mod classify;
mod copy_files;
mod dialect;
mod distribute;
mod explained;
mod export;
mod external;
mod grammar;
mod hand_parsed;
mod history;
pub mod input;
mod limits;
mod names;
mod parameters;
mod parse;
mod printed;
mod tables;
mod transactions;
mod views;

pub use classify::{
    Command, CommentOn, CopyFormat, CopyIn, CopyOptions, CopyOut, DeclareCursor, Fetch, GrantOn, Granting,
    KeyChange, Membership, Query, RewriteTable, RoleChange, RoleOptions, RoleSetting, SchemaChange,
};
pub use dialect::{REPEATED, SessionFacts, SessionIdentity, quantify, tell_session};
pub use explained::Explain;
pub use export::ExportTo;
pub use external::{CopyFrom, ExternalTable, FilesAt};
pub use history::{Moment, moment_of, present_name};
pub use limits::too_long;
pub use names::TableReference;
pub use parameters::{read_bytea, type_arrays};
pub use parse::parse;
pub use tables::{
    AlterStep, ColumnMake, InsertSource, RelationKind, RowChange, TableAlter, TableDrop, TableMake, Write,
    WriteTo, columns_of, distinct_counts_of, insert_of_files, name_columns, read_values,
};
pub use transactions::{AccessMode, TransactionCommand, TransactionModes};
pub use views::{ViewMake, qualify_relations, view_query};
