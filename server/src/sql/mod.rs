//! From the text of a client to statements: the one room that knows the SQL parser.

mod classify;
mod clauses;
mod computed_names;
mod copy_files;
mod copy_options;
mod copy_words;
pub mod declared;
mod defaults;
mod dialect;
mod distribute;
mod explained;
mod export;
mod external;
mod grammar;
mod hand_parsed;
mod history;
pub mod input;
mod inserts;
mod limits;
mod names;
mod numerals;
mod parameters;
mod parse;
mod printed;
mod references;
mod scopes;
mod strings;
mod tables;
mod transactions;
mod views;

pub use classify::{
    Command, CommentOn, CopyIn, CopyOut, DeclareCursor, Fetch, GrantOn, Granting, KeyChange, Membership,
    NamedColumns, Query, RewriteTable, RoleChange, RoleOptions, RoleSetting, SchemaChange,
};
pub use computed_names::tell_computed_apart;
pub use copy_options::{CopyFormat, CopyOptions};
pub use defaults::DefaultValue;
pub use dialect::{REPEATED, SessionFacts, SessionIdentity, quantify, tell_session};
pub use explained::Explain;
pub use export::ExportTo;
pub use external::{CopyFrom, ExternalTable, FilesAt};
pub use history::{Moment, moment_of, present_name};
pub use limits::too_long;
pub use names::TableReference;
pub use parameters::{trim_beside, type_arrays, type_parameters};
pub use parse::parse;
pub use scopes::resolve;
pub use tables::{
    AlterStep, ColumnMake, InsertSource, RelationKind, RowChange, TableAlter, TableDrop, TableMake,
    ValuePlace, Write, WriteTo, cast_outputs, cast_values, check_column_name, columns_of, computed_values,
    distinct_counts_of, insert_of_files, inserted_columns, inserted_query, name_columns, read_values,
    value_casts,
};
pub use transactions::{AccessMode, TransactionCommand, TransactionModes};
pub use views::{
    Reads, ViewMake, qualify_relations, renamed as view_of_renamed, view_query,
    with_renamed_column as view_of_renamed_column,
};
