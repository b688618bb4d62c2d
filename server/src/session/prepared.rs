//! Prepared statements by name, within a bound.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use engine::{Error, Result};

use super::Charge;
use crate::query::SingleRow;
use crate::sql::Command;

/// A statement that was parsed and described, ready to be bound.
#[derive(Debug)]
pub struct Prepared {
    /// Its text.
    pub sql: Arc<str>,
    /// What it asks for; `None` for an empty statement.
    pub command: Option<Command>,
    /// The types of `$1`, `$2`, …
    pub parameter_types: Vec<DataType>,
    /// The types as the client is told them.
    pub parameter_oids: Vec<u32>,
    /// Its columns, under the names the client sees; `None` when it gives no rows.
    pub columns: Option<SchemaRef>,
    /// The query ready to be computed, when it gives one row of no table.
    pub single_row: Option<Arc<SingleRow>>,
    /// For as long as somebody holds it.
    pub _charge: Charge,
}

/// What a token becomes, about: a node of a parsed statement, and of a plan.
const TOKEN_BYTES: usize = 512;

impl Prepared {
    /// What a statement of the text `sql` is expected to hold once it is prepared, in bytes.
    pub fn bytes_of(sql: &str) -> usize {
        // Each token but words is of such letters, and each two words have one between them.
        let marks = sql.bytes().filter(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').count();
        sql.len() + (marks + 1) * TOKEN_BYTES
    }
}

/// A session's prepared statements.
#[derive(Debug)]
pub struct PreparedStatements {
    by_name: HashMap<String, Arc<Prepared>>,
    max: usize,
}

impl PreparedStatements {
    /// None yet, and at most `max`.
    pub fn new(max: usize) -> Self {
        Self { by_name: HashMap::new(), max }
    }

    /// Keeps a statement. The unnamed one is replaced; a named one must be new (42P05).
    pub fn insert(&mut self, name: String, prepared: Arc<Prepared>) -> Result<()> {
        if !name.is_empty() && self.by_name.contains_key(&name) {
            return Err(Error::DuplicateStatement { name });
        }
        if self.by_name.len() >= self.max && !self.by_name.contains_key(&name) {
            return Err(Error::LimitReached {
                message: format!("the session already has {} prepared statements", self.max),
                hint: "Close some of them with DEALLOCATE, or raise limits.prepared_statements_max.".into(),
            });
        }
        self.by_name.insert(name, prepared);
        Ok(())
    }

    /// The statement of that name (26000 when there is none).
    pub fn get(&self, name: &str) -> Result<Arc<Prepared>> {
        self.by_name.get(name).cloned().ok_or_else(|| Error::UndefinedStatement { name: name.to_owned() })
    }

    /// Forgets one; tells whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        self.by_name.remove(name).is_some()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.by_name.clear();
    }
}
