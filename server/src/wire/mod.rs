//! The Postgres wire protocol: our own connection loop on pgwire's messages.
//!
//! pgwire's ready-made handlers collect a whole result before sending any of it, and stop listening
//! for cancels once rows flow; see the frames and the portal here for what replaces them.

mod cancel;
mod connection;
mod encode;
mod error_response;
mod extended_query;
mod frames;
mod parameters;
mod portal;
mod simple_query;
mod startup;

pub use cancel::CancelRegistry;
pub use connection::serve_connection;
pub use error_response::refuse;
