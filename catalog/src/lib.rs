//! Knows tables, files and statistics. Never sees a client, a cluster or the configuration.
//!
//! A [`Snapshot`] is one immutable version of everything; a query holds one from planning to its
//! last row, so a change of the catalog can never be seen half-way through a query.

mod definition;
mod discover;
mod error;
pub mod identifier;
pub mod lake;
mod metadata;
mod provider;
mod rights;
mod role;
mod snapshot;
pub mod stand_ins;
mod store;
pub mod stored_definition;
pub mod table;
mod unavailable;

pub use definition::{
    Compression, CsvReading, ExternalFiles, ExternalFormat, Materialized, PG_TYPE, PG_TYPMOD,
    TableDefinition, TableName, TableStatistics, View, stable_oid,
};
pub use discover::{DiscoveredTable, check_apart_from_foreign, discover};
pub use error::{CatalogError, Result};
pub use metadata::{Change, CommentTarget, Metadata, NewView, NextIds, PrimaryKey};
pub use provider::{
    DATABASE, DEFAULT_SCHEMA, FILE_COLUMN, PlannedViews, SnapshotCatalog, SnapshotSchema, Target, own_schema,
    target_schema,
};
pub use rights::{GrantProblem, Granted};
pub use role::{FIRST_ROLE, FIRST_ROLE_OID, Grant, GrantObject, Membership, PUBLIC_GRANTEE, Privilege, Role};
pub use snapshot::{Snapshot, SnapshotStore};
pub use store::{CatalogStore, DeadFile, SnapshotRow, StoreFailure, Warehouse};
pub use table::StringLayout;
pub use unavailable::{LocationTrouble, Trouble, Unavailable};
