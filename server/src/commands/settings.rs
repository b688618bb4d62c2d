//! `SET`, `SHOW`, `RESET`, `DISCARD`, `DEALLOCATE`.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use engine::{Error, Result};

use super::{Outcome, metadata, must_be_outside_of_block};
use crate::coordinator::Coordinator;
use crate::query::Repeats;
use crate::session::{Notice, Scope, Session, SettingDescription, described, descriptions};
use crate::sql::Command;

/// The columns a command gives, when it gives rows.
pub fn columns(command: &Command) -> Option<SchemaRef> {
    match command {
        Command::Show { name } if name == "all" => Some(text_columns(&["name", "setting", "description"])),
        Command::Show { name } => {
            let found = described(name);
            Some(text_columns(&[found.map_or(name.as_str(), |setting| setting.name)]))
        }
        _ => None,
    }
}

fn text_columns(names: &[&str]) -> SchemaRef {
    let fields: Vec<_> = names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
    Arc::new(Schema::new(fields))
}

/// `SET name = value`.
pub fn set(
    coordinator: &Coordinator,
    session: &mut Session,
    name: &str,
    value: Option<&str>,
    is_local: bool,
) -> Result<Outcome> {
    let mut outcome = Outcome::tag("SET");
    if is_local && !session.transaction.is_block() {
        let message = "SET LOCAL can only be used in transaction blocks";
        outcome.notices.push(Notice::warning("25P01", message));
        return Ok(outcome);
    }
    let scope = if is_local { Scope::Block } else { Scope::Session };
    outcome.changed = session.set(&metadata(coordinator, session), name, value, scope)?;
    Ok(outcome)
}

/// `RESET name`, or all.
pub fn reset(coordinator: &Coordinator, session: &mut Session, name: Option<&str>) -> Result<Outcome> {
    let changed = match name {
        Some(name) => session.set(&metadata(coordinator, session), name, None, Scope::Session)?,
        None => session.reset_all(),
    };
    Ok(Outcome { changed, ..Outcome::tag("RESET") })
}

/// `DISCARD ALL`, or a part of it, of which there is nothing to discard here.
pub fn discard(coordinator: &Coordinator, session: &mut Session, what: &str) -> Result<Outcome> {
    if matches!(what, "TEMP" | "TEMPORARY") {
        // A ROLLBACK could not bring them back.
        if session.temporary.is_some() && session.transaction.is_going_on() {
            let message = "DISCARD TEMP is not supported in a transaction".to_owned();
            return Err(Error::NotSupported { message });
        }
        session.temporary = None;
    }
    if what != "ALL" {
        return Ok(Outcome::tag(format!("DISCARD {what}")));
    }
    must_be_outside_of_block(session, "DISCARD ALL")?;
    session.prepared.clear();
    session.temporary = None;
    *session.repeats.lock() = Repeats::default();
    let mut changed = session.reset_identity(&metadata(coordinator, session))?;
    changed.extend(session.reset_all());
    Ok(Outcome { changed, ..Outcome::tag("DISCARD ALL") })
}

/// `DEALLOCATE name`, or all.
pub fn deallocate(session: &mut Session, name: Option<&str>) -> Result<Outcome> {
    match name {
        None => session.prepared.clear(),
        Some(name) if session.prepared.remove(name) => {}
        Some(name) => return Err(Error::UndefinedStatement { name: name.to_owned() }),
    }
    Ok(Outcome::tag(if name.is_none() { "DEALLOCATE ALL" } else { "DEALLOCATE" }))
}

/// `SHOW name`, or all.
pub fn show(session: &Session, name: &str) -> Result<Outcome> {
    let columns = columns(&Command::Show { name: name.to_owned() }).expect("SHOW gives rows");
    let arrays: Vec<Vec<String>> = if name == "all" {
        let value = |setting: &SettingDescription| shown(session, setting.name).unwrap_or_default();
        vec![
            descriptions().map(|setting| setting.name.to_owned()).collect(),
            descriptions().map(value).collect(),
            descriptions().map(|setting| setting.description.to_owned()).collect(),
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
