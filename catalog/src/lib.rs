//! Knows tables, files and statistics. Never sees a client, a cluster or the configuration.
//!
//! A [`Snapshot`] is one immutable version of everything; a query holds one from planning to its
//! last row, so a change of the catalog can never be seen half-way through a query.

mod definition;
mod discover;
mod error;
pub mod identifier;
mod provider;
mod snapshot;
pub mod table;

pub use definition::{TableDefinition, TableName, TableStatistics};
pub use discover::{DiscoveredTable, discover};
pub use error::{CatalogError, Result};
pub use provider::{DATABASE, DEFAULT_SCHEMA, SnapshotCatalog, SnapshotSchema};
pub use snapshot::{Snapshot, SnapshotStore};
pub use table::StringLayout;
