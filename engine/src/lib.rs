//! One DataFusion, configured once for every node. Never sees a socket.
//!
//! The scheduler and every executor must agree on functions, codecs and settings; both are built from
//! the one place here, so they cannot differ.

pub mod broadcast;
pub mod cache_counts;
pub mod cardinality;
pub mod casts;
mod cluster_identity;
pub mod codec;
mod computed_keys;
pub mod config;
mod data_cache;
mod empty_inputs;
mod error;
pub mod exchange;
mod fence;
mod footers;
pub mod functions;
mod ids;
mod local_files;
pub mod memory;
mod nullable_inputs;
pub mod object_stores;
pub mod operators;
mod optimize_projections;
pub mod panics;
pub mod plan_size;
mod planner_rules;
pub mod priority;
mod recorded_partitioning;
mod repeated_names;
mod request_limit;
pub mod runtime;
pub mod scope;
pub mod semantics;
pub mod session_state;
mod sqlstate;
pub mod strain;
pub mod subqueries;
pub mod telemetry;
pub mod tls;
pub mod travel;
mod union_inputs;
mod units;
mod unordered_unions;
pub mod usage;
mod whole_listings;
pub mod work_folder;

pub use cluster_identity::ClusterIdentity;
pub use error::{Error, INTERMEDIATE_RESULTS, Result};
pub use ids::{ExecutorId, QueryId, new_uuid};
pub use sqlstate::SqlState;
pub use units::{ByteSize, Interval, Network};
