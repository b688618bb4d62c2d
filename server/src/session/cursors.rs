//! The cursors that a session has open, for those of its queries that show them.
//!
//! The connection has the cursors themselves, which it drops in many places: each takes itself off the list.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// A session's open cursors by name.
#[derive(Debug, Default)]
pub struct OpenCursors {
    by_name: Mutex<BTreeMap<String, OpenCursor>>,
}

/// What is told of one.
#[derive(Debug, Clone)]
pub struct OpenCursor {
    /// The text of its `DECLARE`.
    pub statement: Arc<str>,
    /// It may outlive its transaction: `WITH HOLD`.
    pub is_held: bool,
    /// It sends values in binary.
    pub is_binary: bool,
    /// When it was declared, in microseconds since 1970.
    pub declared_at: i64,
}

impl OpenCursors {
    /// A cursor is there, for as long as what this gives.
    pub fn open(self: &Arc<Self>, name: &str, cursor: OpenCursor) -> Listed {
        self.by_name.lock().insert(name.to_owned(), cursor);
        Listed { cursors: Arc::clone(self), name: name.to_owned() }
    }

    /// All, by name.
    pub fn list(&self) -> Vec<(String, OpenCursor)> {
        self.by_name.lock().iter().map(|(name, cursor)| (name.clone(), cursor.clone())).collect()
    }
}

/// Takes a cursor off the list when it is dropped.
#[derive(Debug)]
pub struct Listed {
    cursors: Arc<OpenCursors>,
    name: String,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.cursors.by_name.lock().remove(&self.name);
    }
}
