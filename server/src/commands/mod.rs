//! Statements that are not queries: settings, transaction blocks, what pools reset.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use engine::{Error, Result};

use crate::session::{Session, SettingDescription, Transaction, descriptions};
use crate::sql::{Command, TransactionCommand};

/// What a command leaves to be told to the client.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The tag of CommandComplete.
    pub tag: String,
    /// Rows of a `SHOW`.
    pub rows: Option<RecordBatch>,
    /// Settings whose new value the client must be told.
    pub changed: Vec<&'static SettingDescription>,
    /// A warning to send first: SQLSTATE and message.
    pub warning: Option<(&'static str, String)>,
}

impl Outcome {
    fn tag(tag: impl Into<String>) -> Self {
        Self { tag: tag.into(), ..Self::default() }
    }
}

/// The columns a command gives, when it gives rows.
pub fn columns(command: &Command) -> Option<SchemaRef> {
    match command {
        Command::Show { name } if name == "all" => Some(text_columns(&["name", "setting", "description"])),
        Command::Show { name } => {
            let found = descriptions().iter().find(|s| s.name.eq_ignore_ascii_case(name));
            Some(text_columns(&[found.map_or(name.as_str(), |setting| setting.name)]))
        }
        _ => None,
    }
}

fn text_columns(names: &[&str]) -> SchemaRef {
    let fields: Vec<_> = names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
    Arc::new(Schema::new(fields))
}

/// Carries out `command` in `session`. Queries are not commands.
pub fn run(session: &mut Session, command: &Command) -> Result<Outcome> {
    match command {
        Command::Set { name, value, is_local } => {
            let mut outcome = Outcome::tag("SET");
            if *is_local && !session.transaction.is_block() {
                outcome.warning = Some(("25P01", "SET LOCAL can only be used in transaction blocks".into()));
                return Ok(outcome);
            }
            let changed = session.settings.set(name, value.as_deref(), *is_local)?;
            outcome.changed = changed.into_iter().collect();
            Ok(outcome)
        }
        Command::Show { name } => show(session, name),
        Command::Reset { name } => {
            let changed = session.settings.reset(name.as_deref())?;
            Ok(Outcome { changed, ..Outcome::tag("RESET") })
        }
        Command::Transaction(step) => transaction(session, *step),
        Command::Discard { is_all } => {
            if !is_all {
                return Ok(Outcome::tag("DISCARD"));
            }
            session.prepared.clear();
            let changed = session.settings.reset(None)?;
            Ok(Outcome { changed, ..Outcome::tag("DISCARD ALL") })
        }
        Command::Deallocate { name } => {
            match name {
                None => session.prepared.clear(),
                Some(name) if session.prepared.remove(name) => {}
                Some(name) => return Err(Error::UndefinedStatement { name: name.clone() }),
            }
            Ok(Outcome::tag(if name.is_none() { "DEALLOCATE ALL" } else { "DEALLOCATE" }))
        }
        Command::CloseAll => Ok(Outcome::tag("CLOSE CURSOR ALL")),
        Command::Query(_) => Err(Error::internal("a query was taken for a command")),
    }
}

fn show(session: &Session, name: &str) -> Result<Outcome> {
    let columns = columns(&Command::Show { name: name.to_owned() }).expect("SHOW gives rows");
    let arrays: Vec<Vec<String>> = if name == "all" {
        let value = |setting: &SettingDescription| shown(session, setting.name).unwrap_or_default();
        vec![
            descriptions().iter().map(|setting| setting.name.to_owned()).collect(),
            descriptions().iter().map(value).collect(),
            descriptions().iter().map(|setting| setting.description.to_owned()).collect(),
        ]
    } else {
        vec![vec![shown(session, name)?]]
    };
    let arrays = arrays.into_iter().map(|values| Arc::new(StringArray::from(values)) as _).collect();
    let rows = RecordBatch::try_new(columns, arrays).map_err(|e| Error::internal(e.to_string()))?;
    Ok(Outcome { rows: Some(rows), ..Outcome::tag("SHOW") })
}

fn shown(session: &Session, name: &str) -> Result<String> {
    if name.eq_ignore_ascii_case("sluice.last_route") {
        return Ok(session.last_route.lock().clone());
    }
    session.settings.get(name).map(str::to_owned)
}

fn transaction(session: &mut Session, step: TransactionCommand) -> Result<Outcome> {
    let in_block = session.transaction.is_block();
    let outside = |what: &str| Some(("25P01", format!("{what} can only be used in transaction blocks")));
    Ok(match step {
        TransactionCommand::Begin { is_start } => {
            let mut outcome = Outcome::tag(if is_start { "START TRANSACTION" } else { "BEGIN" });
            if in_block {
                outcome.warning = Some(("25001", "there is already a transaction in progress".into()));
            } else {
                session.transaction = Transaction::Open;
                session.settings.begin();
            }
            outcome
        }
        TransactionCommand::Commit | TransactionCommand::Rollback => {
            let is_commit = step == TransactionCommand::Commit && session.transaction != Transaction::Failed;
            let mut outcome = Outcome::tag(if is_commit { "COMMIT" } else { "ROLLBACK" });
            if in_block {
                outcome.changed = session.settings.end(is_commit);
                session.transaction = Transaction::Idle;
            } else {
                outcome.warning = Some(("25P01", "there is no transaction in progress".into()));
            }
            outcome
        }
        TransactionCommand::RollbackTo => {
            if !in_block {
                return Err(Error::InvalidQuery {
                    message: "ROLLBACK TO SAVEPOINT can only be used in transaction blocks".into(),
                });
            }
            // Nothing was written, so any savepoint's state is the present one.
            session.transaction = Transaction::Open;
            Outcome::tag("ROLLBACK")
        }
        TransactionCommand::Savepoint => Outcome {
            warning: (!in_block).then(|| outside("SAVEPOINT")).flatten(),
            ..Outcome::tag("SAVEPOINT")
        },
        TransactionCommand::Release => Outcome {
            warning: (!in_block).then(|| outside("RELEASE SAVEPOINT")).flatten(),
            ..Outcome::tag("RELEASE")
        },
        TransactionCommand::SetModes => Outcome::tag("SET"),
    })
}
