//! From the text of a client to statements: the one room that knows the SQL parser.

mod classify;
mod dialect;
mod limits;
mod names;
mod parse;

pub use classify::{Command, Explain, Query, TransactionCommand};
pub use dialect::SessionFacts;
pub use names::qualify_system_tables;
pub use parse::parse;
