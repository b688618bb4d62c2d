//! Speaks the Postgres wire protocol to clients, plans and routes their queries, and coordinates the
//! executors that run the large ones.

mod auth;
mod cluster;
mod commands;
mod coordinator;
mod dashboard;
mod data_folder;
mod found_tables;
mod listener;
mod locations;
mod lost_catalog;
mod metrics;
mod pg_catalog;
mod planning;
mod profile;
mod query;
mod serve;
mod session;
mod sql;
mod sys;
mod traces;
mod wire;
mod writes;

pub use serve::{ServeError, Server, Threads};
