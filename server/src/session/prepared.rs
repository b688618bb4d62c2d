//! Prepared statements by name, within a bound.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use engine::{Error, Result};
use parking_lot::Mutex;

use super::Charge;
use super::registry::now;
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

/// What a parameter takes: its type, twice.
const PARAMETER_BYTES: usize = 64;

impl Prepared {
    /// What a statement of the text `sql` with `parameters` declared is expected to hold once it is prepared, in bytes.
    pub fn bytes_of(sql: &str, parameters: usize) -> usize {
        sql.len() + tokens_of(sql) * TOKEN_BYTES + parameters * PARAMETER_BYTES
    }
}

/// About as many tokens as `sql` has: words, signs, and texts in quotes.
fn tokens_of(sql: &str) -> usize {
    let (mut tokens, mut in_word, mut in_quotes) = (1, false, false);
    for byte in sql.bytes() {
        if in_quotes {
            in_quotes = byte != b'\'';
        } else if byte == b'\'' {
            tokens += 1;
            (in_quotes, in_word) = (true, false);
        } else if byte.is_ascii_whitespace() {
            in_word = false;
        } else if byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii() {
            tokens += usize::from(!in_word);
            in_word = true;
        } else {
            tokens += 1;
            in_word = false;
        }
    }
    tokens
}

/// A session's prepared statements; its queries have them, too, for those that show them.
#[derive(Debug)]
pub struct PreparedStatements {
    by_name: Mutex<HashMap<String, Entry>>,
    max: usize,
}

#[derive(Debug)]
struct Entry {
    prepared: Arc<Prepared>,
    /// The text of the `PREPARE` that made it, when one did.
    written: Option<Written>,
    prepared_at: i64,
    bound: i64,
}

/// The text of a `PREPARE`.
#[derive(Debug)]
pub struct Written {
    /// As the client sent it.
    pub text: Arc<str>,
    /// For as long as the statement is prepared.
    pub _charge: Charge,
}

/// What is told of a prepared statement.
#[derive(Debug)]
pub struct PreparedStatement {
    /// Its name.
    pub name: String,
    /// Its text, with the `PREPARE` that it stands in.
    pub statement: Arc<str>,
    /// When it was prepared, in microseconds since 1970.
    pub prepared_at: i64,
    /// What it is.
    pub prepared: Arc<Prepared>,
    /// A `PREPARE` made it.
    pub is_from_sql: bool,
    /// How often it was given values to be run.
    pub bound: i64,
}

impl PreparedStatements {
    /// None yet, and at most `max`.
    pub fn new(max: usize) -> Self {
        Self { by_name: Mutex::default(), max }
    }

    /// Keeps a statement. The unnamed one is replaced; a named one must be new (42P05).
    pub fn insert(&self, name: String, prepared: Arc<Prepared>, written: Option<Written>) -> Result<()> {
        let mut by_name = self.by_name.lock();
        if !name.is_empty() && by_name.contains_key(&name) {
            return Err(Error::DuplicateStatement { name });
        }
        if by_name.len() >= self.max && !by_name.contains_key(&name) {
            return Err(Error::LimitReached {
                message: format!("the session already has {} prepared statements", self.max),
                hint: "Close some of them with DEALLOCATE, or raise limits.prepared_statements_max.".into(),
            });
        }
        by_name.insert(name, Entry { prepared, written, prepared_at: now(), bound: 0 });
        Ok(())
    }

    /// The statement of that name (26000 when there is none).
    pub fn get(&self, name: &str) -> Result<Arc<Prepared>> {
        let found = self.by_name.lock().get(name).map(|entry| Arc::clone(&entry.prepared));
        found.ok_or_else(|| Error::UndefinedStatement { name: name.to_owned() })
    }

    /// The same to be run, which is counted.
    pub fn bind(&self, name: &str) -> Result<Arc<Prepared>> {
        let mut by_name = self.by_name.lock();
        let missing = || Error::UndefinedStatement { name: name.to_owned() };
        let entry = by_name.get_mut(name).ok_or_else(missing)?;
        entry.bound += 1;
        Ok(Arc::clone(&entry.prepared))
    }

    /// Those that have a name, by it.
    pub fn list(&self) -> Vec<PreparedStatement> {
        let by_name = self.by_name.lock();
        let told = by_name.iter().filter(|(name, _)| !name.is_empty()).map(|(name, entry)| {
            let text = entry.written.as_ref().map_or(&entry.prepared.sql, |written| &written.text);
            PreparedStatement {
                name: name.clone(),
                statement: Arc::clone(text),
                prepared_at: entry.prepared_at,
                prepared: Arc::clone(&entry.prepared),
                is_from_sql: entry.written.is_some(),
                bound: entry.bound,
            }
        });
        let mut list: Vec<_> = told.collect();
        list.sort_by(|one, other| one.name.cmp(&other.name));
        list
    }

    /// Forgets one; tells whether it was there.
    pub fn remove(&self, name: &str) -> bool {
        self.by_name.lock().remove(name).is_some()
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.by_name.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_quotes_is_one_token() {
        assert_eq!(tokens_of("select a, b+1"), 1 + 6);
        assert_eq!(tokens_of("insert into t values ('a, b, ''c'' d')"), 1 + 4 + 2 + 3);
        let long = format!("insert into t values ('{}')", "ä, ".repeat(100_000));
        assert!(Prepared::bytes_of(&long, 0) < long.len() + 100 * TOKEN_BYTES);
    }
}
