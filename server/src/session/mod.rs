//! One client's session: its settings, its transaction block, its prepared statements.

mod gate;
mod held;
mod notice;
mod prepared;
mod registry;
pub mod settings;
mod temporary;
mod transaction;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

pub use gate::Scope;
pub use held::{Charge, ClientMemory, SessionMemory};
pub use notice::Notice;
pub use prepared::{Prepared, PreparedStatements};
pub use registry::OpenSessions;
pub use settings::{LintSetting, RouteSetting, SettingDescription, Settings, Values, descriptions};
pub use temporary::{TEMPORARY_SCHEMA, Temporary, is_temporary};
pub use transaction::Transaction;

use catalog::{Change, Metadata, Role, Snapshot};
use engine::{Error, Result};

use crate::pg_catalog::{self, VERSION};
use crate::profile::LiveProfile;
use crate::query::Repeats;
use crate::sql::{SessionFacts, SessionIdentity};
use crate::writes::PendingFiles;

/// Settings to change when the statement that asks for it is over: name, value (none resets it), whether only until the
/// end of the block.
pub type Effects = Arc<Mutex<Vec<(String, Option<String>, bool)>>>;

/// What a transaction block has changed in the catalog so far: seen by its own statements only.
#[derive(Debug, Default)]
pub struct Pending {
    /// The version the block's first change started from.
    pub from: Option<Arc<Metadata>>,
    /// The same with the block's changes.
    pub overlay: Option<Arc<Metadata>>,
    /// The changes.
    pub changes: Vec<Change>,
    /// The files its statements wrote: to be kept by their names when it commits, else removed. And whether
    /// the statement was run again.
    pub files: Vec<(PendingFiles, HashSet<String>, bool)>,
}

/// The state that lives as long as the connection.
#[derive(Debug)]
pub struct Session {
    /// The number clients know the session by; also the first half of its cancel key.
    pub process_id: i32,
    /// The signed-in role.
    pub user: String,
    /// The object identifiers of the roles that it acts as, by the names that it knows them by.
    oids: BTreeMap<String, u32>,
    /// The version of the catalog in which it last looked for them.
    followed: Option<u64>,
    /// The database, always the one there is.
    pub database: String,
    /// What `SET` changes.
    pub settings: Settings,
    /// Where the session stands in a transaction block.
    pub transaction: Transaction,
    /// What the block has changed.
    pub pending: Pending,
    /// The tables that are its own, once it made one.
    pub temporary: Option<Temporary>,
    /// What functions such as `set_config` ask for.
    pub effects: Effects,
    /// Named and unnamed prepared statements.
    pub prepared: PreparedStatements,
    /// Where the last query ran, and why: `local: …` or `cluster: …`. Shared with the query that
    /// writes it.
    pub last_route: Arc<Mutex<String>>,
    /// What the client is still to be told of its queries, by those who run them.
    pub told: Arc<Mutex<Vec<Notice>>>,
    /// What is known of the query that it ran last, or runs.
    pub profile: Arc<Mutex<Option<Arc<LiveProfile>>>>,
    /// What it has run lately.
    pub repeats: Arc<Mutex<Repeats>>,
}

impl Session {
    /// A session of a role that has just signed in.
    pub fn new(process_id: i32, role: &Role, database: String, prepared_max: usize) -> Self {
        Self {
            process_id,
            settings: Settings::new(&role.name),
            user: role.name.clone(),
            oids: BTreeMap::from([(role.name.clone(), role.oid)]),
            followed: None,
            database,
            transaction: Transaction::Idle,
            pending: Pending::default(),
            temporary: None,
            effects: Effects::default(),
            prepared: PreparedStatements::new(prepared_max),
            last_route: Arc::new(Mutex::new(String::new())),
            told: Arc::default(),
            profile: Arc::default(),
            repeats: Arc::default(),
        }
    }

    /// The role whose privileges count: that of `SET ROLE`, or the session's.
    pub fn current_user(&self) -> &str {
        match self.settings.get("role") {
            Ok("none") | Err(_) => self.session_user(),
            Ok(role) => role,
        }
    }

    /// The role that `SET ROLE` starts from: the signed-in one, or that of `SET SESSION AUTHORIZATION`.
    pub fn session_user(&self) -> &str {
        self.settings.get("session_authorization").unwrap_or(&self.user)
    }

    /// The catalog as the session sees it: `current`, with its block's own changes and its own tables.
    pub fn snapshot(&self, current: Arc<Snapshot>) -> Arc<Snapshot> {
        let current = match &self.pending.overlay {
            Some(_) => {
                let metadata = self.metadata(current.metadata());
                Arc::new(current.with_metadata(Arc::unwrap_or_clone(metadata)))
            }
            None => current,
        };
        match &self.temporary {
            Some(own) if own.tables().next().is_some() => {
                Arc::new(current.with_tables(own.tables().cloned()))
            }
            _ => current,
        }
    }

    /// What is known of the catalog, with its block's own changes, when `current` is what everybody knows. Rights that others
    /// took back since the block began are gone.
    pub fn metadata(&self, current: &Arc<Metadata>) -> Arc<Metadata> {
        let Pending { from, overlay, changes, .. } = &self.pending;
        match (overlay, from) {
            (Some(overlay), Some(from)) if from.version == current.version => Arc::clone(overlay),
            (Some(overlay), Some(from)) => Arc::new(overlay.with_rights_of(current, from, changes)),
            _ => Arc::clone(current),
        }
    }

    /// The schemas that names without one are looked up in, those that `snapshot` does not know left out.
    pub fn search_path(&self, snapshot: &Snapshot) -> Vec<String> {
        let named = |name: String| if name == "$user" { self.current_user().to_owned() } else { name };
        let metadata = snapshot.metadata();
        let role = metadata.roles.get(self.current_user()).map_or(0, |role| role.oid);
        // As in PostgreSQL, schemas that the role may not use are passed over.
        let is_seen = |name: &String| {
            pg_catalog::is_system_schema(name)
                || (snapshot.has_schema(name) && !metadata.is_closed_to(role, name))
        };
        let path = self.settings.search_path().into_iter().map(named).filter(is_seen);
        // A session's own tables are found first.
        let own = self.temporary.as_ref().and_then(|own| own.tables().next());
        own.map(|_| TEMPORARY_SCHEMA.to_owned()).into_iter().chain(path).collect()
    }

    /// What statements may ask about the session, whenever they run.
    pub fn facts(&self) -> SessionFacts {
        SessionFacts {
            database: self.database.clone(),
            version: VERSION.to_owned(),
            process_id: self.process_id,
        }
    }

    /// Who the session is now, with `search_path` as [`Self::search_path`] gives it.
    pub fn identity(&self, search_path: &[String]) -> SessionIdentity {
        SessionIdentity {
            user: self.current_user().to_owned(),
            session_user: self.session_user().to_owned(),
            schema: search_path.iter().find(|schema| *schema != TEMPORARY_SCHEMA).cloned(),
        }
    }

    /// Refuses `statement` in a transaction that may only read.
    pub fn check_may_write(&self, statement: &str) -> Result<()> {
        if self.settings.is_read_only() {
            return Err(Error::ReadOnlyTransaction { statement: statement.to_owned() });
        }
        Ok(())
    }
}
