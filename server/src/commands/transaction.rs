//! `BEGIN`, `COMMIT` and their kin.

use std::collections::HashSet;

use engine::{Error, Result};

use super::{Outcome, metadata};
use crate::coordinator::Coordinator;
use crate::session::{Notice, Pending, Scope, Session, Transaction};
use crate::sql::{AccessMode, TransactionCommand, TransactionModes};

/// Takes one step.
pub async fn run(
    coordinator: &Coordinator,
    session: &mut Session,
    step: &TransactionCommand,
) -> Result<Outcome> {
    let in_block = session.transaction.is_block();
    let outside = |what: &str| {
        let message = format!("{what} can only be used in transaction blocks");
        if in_block { Ok(()) } else { Err(Error::NoActiveTransaction { message }) }
    };
    Ok(match step {
        TransactionCommand::Begin { is_start, modes } => {
            let mut outcome = Outcome::tag(if *is_start { "START TRANSACTION" } else { "BEGIN" });
            if in_block {
                let message = "there is already a transaction in progress";
                outcome.notices.push(Notice::warning("25001", message));
            } else {
                session.transaction = Transaction::Open;
                session.settings.begin();
                let read_only = session.settings.get("default_transaction_read_only")?.to_owned();
                let isolation = session.settings.get("default_transaction_isolation")?.to_owned();
                let metadata = metadata(coordinator, session);
                session.set(&metadata, "transaction_read_only", Some(&read_only), Scope::Block)?;
                session.set(&metadata, "transaction_isolation", Some(&isolation), Scope::Block)?;
            }
            set_modes(coordinator, session, modes)?;
            outcome
        }
        TransactionCommand::Commit => end(coordinator, session, true).await?,
        TransactionCommand::Rollback => end(coordinator, session, false).await?,
        TransactionCommand::RollbackTo => {
            outside("ROLLBACK TO SAVEPOINT")?;
            // Rows were not written, so any savepoint's state of them is the present one. Changes of the
            // catalog would have to be taken back one by one.
            let own = session.temporary.as_ref();
            if !session.pending.changes.is_empty() || own.is_some_and(|own| own.is_changed()) {
                let message = "ROLLBACK TO SAVEPOINT after a change of the catalog is not supported";
                return Err(Error::NotSupported { message: message.into() });
            }
            session.transaction = Transaction::Open;
            Outcome::tag("ROLLBACK")
        }
        TransactionCommand::Savepoint => {
            outside("SAVEPOINT")?;
            Outcome::tag("SAVEPOINT")
        }
        TransactionCommand::Release => {
            outside("RELEASE SAVEPOINT")?;
            Outcome::tag("RELEASE")
        }
        TransactionCommand::SetModes { is_session: true, modes } => {
            let metadata = metadata(coordinator, session);
            if let Some(access) = modes.access {
                let value = Some(on_or_off(access));
                session.set(&metadata, "default_transaction_read_only", value, Scope::Session)?;
            }
            if let Some(isolation) = &modes.isolation {
                session.set(&metadata, "default_transaction_isolation", Some(isolation), Scope::Session)?;
            }
            Outcome::tag("SET")
        }
        TransactionCommand::SetModes { is_session: false, modes } => {
            let mut outcome = Outcome::tag("SET");
            if in_block {
                set_modes(coordinator, session, modes)?;
            } else {
                let message = "SET TRANSACTION can only be used in transaction blocks";
                outcome.notices.push(Notice::warning("25P01", message));
            }
            outcome
        }
    })
}

fn on_or_off(access: AccessMode) -> &'static str {
    if access == AccessMode::ReadOnly { "on" } else { "off" }
}

fn set_modes(coordinator: &Coordinator, session: &mut Session, modes: &TransactionModes) -> Result<()> {
    let metadata = metadata(coordinator, session);
    if let Some(access) = modes.access {
        session.set(&metadata, "transaction_read_only", Some(on_or_off(access)), Scope::Block)?;
    }
    if let Some(isolation) = &modes.isolation {
        session.set(&metadata, "transaction_isolation", Some(isolation), Scope::Block)?;
    }
    Ok(())
}

/// Ends the block. A commit that fails leaves the session outside of it, with nothing changed.
async fn end(coordinator: &Coordinator, session: &mut Session, wants_commit: bool) -> Result<Outcome> {
    let is_commit = wants_commit && session.transaction != Transaction::Failed;
    let mut outcome = Outcome::tag(if is_commit { "COMMIT" } else { "ROLLBACK" });
    outcome.ended = Some(is_commit);
    if !session.transaction.is_block() {
        outcome.notices.push(Notice::warning("25P01", "there is no transaction in progress"));
        return Ok(outcome);
    }
    let Pending { from, changes, files, .. } = std::mem::take(&mut session.pending);
    session.transaction = Transaction::Idle;
    let outcome_of_commit = match from.filter(|_| is_commit) {
        Some(from) => coordinator.commit(&from, &changes).await,
        None => Ok(()),
    };
    if let Some(own) = &mut session.temporary {
        own.end_block(is_commit && outcome_of_commit.is_ok());
    }
    if let Err(error) = outcome_of_commit {
        if matches!(error, Error::CommitUnknown) {
            files.into_iter().for_each(|(pending, ..)| pending.leave());
        }
        session.settings.end(false);
        return Err(error);
    }
    if is_commit {
        let snapshot = coordinator.snapshot();
        for (pending, names, was_retried) in files {
            // What the block itself took out again, or wrote to a table that it dropped, nobody knows.
            let known = snapshot.file_names(pending.table_folder());
            let kept: HashSet<String> = names.intersection(&known).cloned().collect();
            let has_leftovers = was_retried || kept.len() < names.len();
            pending.keep(kept, has_leftovers);
        }
    }
    outcome.changed = session.settings.end(is_commit);
    Ok(outcome)
}
