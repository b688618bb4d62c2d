//! Savepoints: what a transaction had changed when one was set, so that it can go back there.

use std::sync::Arc;

use catalog::Metadata;
use engine::{Error, Result};

use super::{Session, SettingDescription, Transaction};

/// Each keeps a version of the catalog.
const SAVEPOINTS_MAX: usize = 1_000;

/// A place in a transaction.
#[derive(Debug)]
pub struct Savepoint {
    name: String,
    /// Cursors that were opened since have this number, or a higher one.
    number: u64,
    changes: usize,
    files: usize,
    from: Option<Arc<Metadata>>,
    overlay: Option<Arc<Metadata>>,
    /// The session's own tables.
    own: Option<Arc<Metadata>>,
}

impl Session {
    /// `SAVEPOINT name`.
    pub fn set_savepoint(&mut self, name: &str) -> Result<()> {
        if self.savepoints.len() >= SAVEPOINTS_MAX {
            return Err(Error::LimitReached {
                message: format!("the transaction already has {SAVEPOINTS_MAX} savepoints"),
                hint: "Release some of them.".into(),
            });
        }
        self.savepoints_set += 1;
        self.settings.mark();
        self.savepoints.push(Savepoint {
            name: name.to_owned(),
            number: self.savepoints_set,
            changes: self.pending.changes.len(),
            files: self.pending.files.len(),
            from: self.pending.from.clone(),
            overlay: self.pending.overlay.clone(),
            own: self.temporary.as_ref().map(|own| Arc::clone(own.metadata())),
        });
        Ok(())
    }

    /// `RELEASE name`: what was changed since stays.
    pub fn release_savepoint(&mut self, name: &str) -> Result<()> {
        let at = self.savepoint(name)?;
        self.savepoints.truncate(at);
        self.settings.release_mark(at);
        Ok(())
    }

    /// `ROLLBACK TO name`: what was changed since is gone, and a block that failed goes on. Gives the number from which on
    /// cursors are to be closed, and the settings whose change the client must be told of.
    pub fn roll_back_to(&mut self, name: &str) -> Result<(u64, Vec<&'static SettingDescription>)> {
        let at = self.savepoint(name)?;
        self.savepoints.truncate(at + 1);
        let savepoint = &self.savepoints[at];
        self.pending.changes.truncate(savepoint.changes);
        self.pending.files.truncate(savepoint.files);
        self.pending.from.clone_from(&savepoint.from);
        self.pending.overlay.clone_from(&savepoint.overlay);
        if let Some(own) = &mut self.temporary {
            own.return_to(savepoint.own.as_ref());
        }
        self.transaction = Transaction::Open;
        Ok((savepoint.number, self.settings.return_to_mark(at)))
    }

    /// The number that cursors which are opened now get.
    pub fn savepoints_set(&self) -> u64 {
        self.savepoints_set
    }

    /// The number from which on cursors end with an error.
    pub fn last_savepoint(&self) -> Option<u64> {
        self.savepoints.last().map(|savepoint| savepoint.number)
    }

    /// The transaction has ended.
    pub(super) fn forget_savepoints(&mut self) {
        self.savepoints.clear();
        self.settings.release_marks(0);
    }

    /// The place of the last one of that name.
    fn savepoint(&self, name: &str) -> Result<usize> {
        let missing = || Error::UndefinedSavepoint { name: name.to_owned() };
        self.savepoints.iter().rposition(|savepoint| savepoint.name == name).ok_or_else(missing)
    }
}
