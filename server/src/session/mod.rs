//! One client's session: its settings, its transaction block, its prepared statements.

mod prepared;
mod settings;
mod transaction;

use std::sync::Arc;

use parking_lot::Mutex;

pub use prepared::{Prepared, PreparedStatements};
pub use settings::{RouteSetting, SettingDescription, Settings, descriptions};
pub use transaction::Transaction;

use crate::pg_catalog::VERSION;
use crate::sql::SessionFacts;

/// The state that lives as long as the connection.
#[derive(Debug)]
pub struct Session {
    /// The number clients know the session by; also the first half of its cancel key.
    pub process_id: i32,
    /// The signed-in role.
    pub user: String,
    /// The database, always the one there is.
    pub database: String,
    /// What `SET` changes.
    pub settings: Settings,
    /// Where the session stands in a transaction block.
    pub transaction: Transaction,
    /// Named and unnamed prepared statements.
    pub prepared: PreparedStatements,
    /// Where the last query ran, and why: `local: …` or `cluster: …`. Shared with the query that
    /// writes it.
    pub last_route: Arc<Mutex<String>>,
}

impl Session {
    /// A session just signed in.
    pub fn new(process_id: i32, user: String, database: String, prepared_max: usize) -> Self {
        Self {
            process_id,
            settings: Settings::new(&user),
            user,
            database,
            transaction: Transaction::Idle,
            prepared: PreparedStatements::new(prepared_max),
            last_route: Arc::new(Mutex::new(String::new())),
        }
    }

    /// What statements may ask about the session.
    pub fn facts(&self) -> SessionFacts {
        SessionFacts {
            user: self.user.clone(),
            database: self.database.clone(),
            schema: catalog::DEFAULT_SCHEMA.to_owned(),
            version: VERSION.to_owned(),
            process_id: self.process_id,
        }
    }
}
