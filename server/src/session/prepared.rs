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
