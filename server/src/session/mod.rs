//! One client's session: its settings, its transaction block, its prepared statements.

mod accepted;
mod cursors;
mod gate;
mod held;
mod notice;
mod prepared;
mod registry;
mod savepoint;
mod setting_values;
pub mod settings;
mod temporary;
mod transaction;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

pub use cursors::{Listed, OpenCursor, OpenCursors};
pub use gate::Scope;
pub use held::{Charge, ClientMemory, SessionMemory};
pub use notice::Notice;
pub use prepared::{Prepared, PreparedStatements, Written};
pub use registry::{OpenSessions, now};
use savepoint::Savepoint;
pub use settings::{
    LintSetting, RouteSetting, SettingDescription, Settings, Values, described, descriptions, value_in,
};
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
    /// The places that it can go back to.
    savepoints: Vec<Savepoint>,
    /// How many the session has set so far.
    savepoints_set: u64,
    /// True once a statement of the transaction has read the catalog.
    has_queried: bool,
    /// What a transaction sees that sees one moment only.
    pinned: Option<Arc<Snapshot>>,
    /// The tables that are its own, once it made one.
    pub temporary: Option<Temporary>,
    /// What functions such as `set_config` ask for.
    pub effects: Effects,
    /// Named and unnamed prepared statements.
    pub prepared: Arc<PreparedStatements>,
    /// Its open cursors, as they are told.
    pub cursors: Arc<OpenCursors>,
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
            savepoints: Vec::new(),
            savepoints_set: 0,
            has_queried: false,
            pinned: None,
            temporary: None,
            effects: Effects::default(),
            prepared: Arc::new(PreparedStatements::new(prepared_max)),
            cursors: Arc::default(),
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

    /// A transaction begins, with those that the session has chosen as its characteristics.
    pub fn begin(&mut self, transaction: Transaction) {
        self.transaction = transaction;
        self.has_queried = false;
        self.settings.begin();
    }

    /// The transaction is over. Gives the settings whose change the client must be told of.
    pub fn end(&mut self, is_commit: bool) -> Vec<&'static SettingDescription> {
        self.transaction = Transaction::Idle;
        self.pinned = None;
        self.forget_savepoints();
        if let Some(own) = &mut self.temporary {
            own.end_block(is_commit);
        }
        self.settings.end(is_commit)
    }

    /// The transaction has failed, and is no block that would wait for its end. Gives the settings whose change the client
    /// must be told of.
    pub fn roll_back(&mut self) -> Vec<&'static SettingDescription> {
        if !self.transaction.is_going_on() {
            return Vec::new();
        }
        self.pending = Pending::default();
        self.end(false)
    }

    /// A statement is about to read the catalog, which is `current` now. A transaction that sees one moment only sees this
    /// one from now on.
    pub fn look(&mut self, current: impl FnOnce() -> Arc<Snapshot>) {
        if !self.transaction.is_going_on() {
            return;
        }
        self.has_queried = true;
        if self.pinned.is_none() && self.settings.sees_one_moment() {
            self.pinned = Some(current());
        }
    }

    /// The catalog as the session sees it: `current`, with its block's own changes and its own tables.
    pub fn snapshot(&self, current: Arc<Snapshot>) -> Arc<Snapshot> {
        let is_as_it_was = self.pinned.as_ref().is_none_or(|pinned| pinned.version() == current.version());
        let metadata = match (&self.pending.overlay, is_as_it_was) {
            (None, true) => None,
            _ => Some(self.metadata(current.metadata())),
        };
        let seen = self.pinned.clone().unwrap_or(current);
        let current = match metadata {
            Some(metadata) => Arc::new(seen.with_metadata(Arc::unwrap_or_clone(metadata))),
            None => seen,
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
            _ => match &self.pinned {
                Some(pinned) if pinned.version() != current.version => {
                    Arc::new(pinned.metadata().with_rights_of(current, pinned.metadata(), &[]))
                }
                _ => Arc::clone(current),
            },
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
