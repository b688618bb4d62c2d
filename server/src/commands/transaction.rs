//! `BEGIN`, `COMMIT` and their kin.

use std::collections::{HashMap, HashSet};

use engine::{Error, Result};

use super::{Outcome, metadata};
use crate::coordinator::Coordinator;
use crate::session::{Notice, Pending, Scope, Session, SettingDescription, Transaction};
use crate::sql::{AccessMode, TransactionCommand, TransactionModes};

/// Takes one step.
pub async fn run(
    coordinator: &Coordinator,
    session: &mut Session,
    step: &TransactionCommand,
) -> Result<Outcome> {
    match step {
        TransactionCommand::Begin { is_start, modes } => begin(coordinator, session, *is_start, modes),
        TransactionCommand::Commit { is_chained } => end(coordinator, session, true, *is_chained).await,
        TransactionCommand::Rollback { is_chained } => end(coordinator, session, false, *is_chained).await,
        TransactionCommand::Savepoint { name } => {
            must_be_in_block(session, "SAVEPOINT")?;
            session.set_savepoint(name)?;
            Ok(Outcome::tag("SAVEPOINT"))
        }
        TransactionCommand::Release { name } => {
            must_be_in_block(session, "RELEASE SAVEPOINT")?;
            session.release_savepoint(name)?;
            Ok(Outcome::tag("RELEASE"))
        }
        TransactionCommand::RollbackTo { name } => {
            must_be_in_block(session, "ROLLBACK TO SAVEPOINT")?;
            let (number, changed) = session.roll_back_to(name)?;
            Ok(Outcome { changed, back_to: Some(number), ..Outcome::tag("ROLLBACK") })
        }
        TransactionCommand::SetModes { is_session: true, modes } => {
            set_modes(coordinator, session, modes, ("default_", Scope::Session))?;
            Ok(Outcome::tag("SET"))
        }
        TransactionCommand::SetModes { is_session: false, modes } => {
            let mut outcome = Outcome::tag("SET");
            if session.transaction.is_block() {
                set_modes(coordinator, session, modes, ("", Scope::Block))?;
            } else {
                let message = "SET TRANSACTION can only be used in transaction blocks";
                outcome.notices.push(Notice::warning("25P01", message));
            }
            Ok(outcome)
        }
    }
}

/// The statements of one message are a block for those that need one, and no place for what ends with a part of it.
fn must_be_in_block(session: &Session, what: &str) -> Result<()> {
    match session.transaction.is_explicit() {
        true => Ok(()),
        false => {
            let message = format!("{what} can only be used in transaction blocks");
            Err(Error::NoActiveTransaction { message })
        }
    }
}

/// What the message, or the pipeline, did before becomes a part of the block.
fn begin(
    coordinator: &Coordinator,
    session: &mut Session,
    is_start: bool,
    modes: &TransactionModes,
) -> Result<Outcome> {
    let mut outcome = Outcome::tag(if is_start { "START TRANSACTION" } else { "BEGIN" });
    match session.transaction {
        Transaction::Idle => session.begin(Transaction::Open),
        Transaction::Pipelined | Transaction::Implicit => {}
        Transaction::Open | Transaction::Failed => {
            let message = "there is already a transaction in progress";
            outcome.notices.push(Notice::warning("25001", message));
        }
    }
    set_modes(coordinator, session, modes, ("", Scope::Block))?;
    if !session.transaction.is_explicit() {
        session.transaction = Transaction::Open;
    }
    Ok(outcome)
}

fn set_modes(
    coordinator: &Coordinator,
    session: &mut Session,
    modes: &TransactionModes,
    (prefix, scope): (&str, Scope),
) -> Result<()> {
    let on_or_off = |flag: bool| if flag { "on" } else { "off" };
    let values = [
        ("transaction_isolation", modes.isolation),
        ("transaction_read_only", modes.access.map(|access| on_or_off(access == AccessMode::ReadOnly))),
        ("transaction_deferrable", modes.is_deferrable.map(on_or_off)),
    ];
    let metadata = metadata(coordinator, session);
    for (name, value) in values {
        if let Some(value) = value {
            session.set(&metadata, &format!("{prefix}{name}"), Some(value), scope)?;
        }
    }
    Ok(())
}

/// Ends the block, and begins another like it where that is asked for.
async fn end(
    coordinator: &Coordinator,
    session: &mut Session,
    wants_commit: bool,
    is_chained: bool,
) -> Result<Outcome> {
    let is_explicit = session.transaction.is_explicit();
    if is_chained && !is_explicit {
        let what = if wants_commit { "COMMIT AND CHAIN" } else { "ROLLBACK AND CHAIN" };
        must_be_in_block(session, what)?;
    }
    let is_commit = wants_commit && session.transaction != Transaction::Failed;
    let characteristics = session.characteristics();
    let changed = finish(coordinator, session, is_commit).await?;
    let tag = if is_commit { "COMMIT" } else { "ROLLBACK" };
    let mut outcome = Outcome { changed, ended: Some(is_commit), ..Outcome::tag(tag) };
    if !is_explicit {
        outcome.notices.push(Notice::warning("25P01", "there is no transaction in progress"));
    }
    if is_chained {
        session.begin(Transaction::Open);
        let metadata = metadata(coordinator, session);
        for (name, value) in characteristics {
            session.set(&metadata, name, Some(&value), Scope::Block)?;
        }
    }
    Ok(outcome)
}

/// Ends the transaction, if there is one. A commit that fails leaves the session outside of it, with nothing changed. Gives
/// the settings whose change the client must be told of.
pub async fn finish(
    coordinator: &Coordinator,
    session: &mut Session,
    is_commit: bool,
) -> Result<Vec<&'static SettingDescription>> {
    if !session.transaction.is_going_on() {
        return Ok(Vec::new());
    }
    let Pending { from, changes, files, .. } = std::mem::take(&mut session.pending);
    let is_serializable = session.settings.is_serializable();
    let committed = match from.filter(|_| is_commit) {
        Some(from) => coordinator.commit(&from, &changes, is_serializable).await,
        None => Ok(()),
    };
    let changed = session.end(is_commit && committed.is_ok());
    if let Err(error) = committed {
        if matches!(error, Error::CommitUnknown) {
            files.into_iter().for_each(|(pending, ..)| pending.leave());
        }
        return Err(error);
    }
    if is_commit {
        let snapshot = coordinator.snapshot();
        let mut known: HashMap<String, HashSet<String>> = HashMap::new();
        for (pending, names, was_retried) in files {
            // What the block itself took out again, or wrote to a table that it dropped, nobody knows.
            let folder = pending.table_folder().to_owned();
            let known = known.entry(folder).or_insert_with_key(|folder| snapshot.file_names(folder));
            let kept: HashSet<String> = names.intersection(known).cloned().collect();
            let has_leftovers = was_retried || kept.len() < names.len();
            pending.keep(kept, has_leftovers);
        }
    }
    Ok(changed)
}
