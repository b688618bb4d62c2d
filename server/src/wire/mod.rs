//! The Postgres wire protocol: our own connection loop on pgwire's messages.
//!
//! pgwire's ready-made handlers collect a whole result before sending any of it, and stop listening
//! for cancels once rows flow; see the frames and the portal here for what replaces them.

mod connection;
mod copy;
mod copy_in;
mod copy_rows;
mod cursor;
mod encode;
mod error_response;
mod extended_query;
mod frames;
mod parameters;
mod portal;
pub mod scram;
mod shape;
mod sign_in;
mod simple_query;
mod startup;
mod stream;

pub use connection::{Ends, serve_connection, turn_away};
pub use sign_in::{is_expired, wait_after_failure};
