//! Speaks the Postgres wire protocol to clients, plans and routes their queries, and coordinates the
//! executors that run the large ones.

mod auth;
mod cluster;
mod commands;
mod coordinator;
mod dashboard;
mod listener;
mod locations;
mod pg_catalog;
mod query;
mod serve;
mod session;
mod sql;
mod sys;
mod wire;
mod writes;

pub use serve::{ServeError, Server, Threads};
