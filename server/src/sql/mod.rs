//! From the text of a client to statements: the one room that knows the SQL parser.

mod classify;
mod dialect;
mod hand_parsed;
mod limits;
mod names;
mod parse;

pub use classify::{
    AccessMode, Command, CommentOn, CopyFormat, CopyOptions, CopyOut, DeclareCursor, Explain, Fetch, GrantOn,
    Granting, KeyChange, Membership, Query, RoleChange, RoleOptions, TransactionCommand, TransactionModes,
};
pub use dialect::SessionFacts;
pub use names::qualify_system_tables;
pub use parse::parse;
