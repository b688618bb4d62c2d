//! `BEGIN`, `COMMIT`, `SAVEPOINT` and their kin, in all the words that PostgreSQL has for them. sqlparser leaves out some
//! (`NOT DEFERRABLE`, `RELEASE x`, `ABORT`), and takes others that PostgreSQL has not (`ISOLATION LEVEL SNAPSHOT`).

use engine::Result;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::classify::not_supported;
use super::hand_parsed::{Words, unexpected};

/// Whether a transaction may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AccessMode {
    ReadOnly,
    ReadWrite,
}

/// Modes of a transaction, where they were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransactionModes {
    /// Whether it may write.
    pub access: Option<AccessMode>,
    /// Its isolation level, in PostgreSQL's words.
    pub isolation: Option<&'static str>,
    /// Whether it may wait for a snapshot that nothing can make fail.
    pub is_deferrable: Option<bool>,
}

/// A step of a transaction block.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The words of the statements themselves.
pub enum TransactionCommand {
    Begin {
        is_start: bool,
        modes: TransactionModes,
    },
    Commit {
        is_chained: bool,
    },
    Rollback {
        is_chained: bool,
    },
    Savepoint {
        name: String,
    },
    Release {
        name: String,
    },
    RollbackTo {
        name: String,
    },
    /// `SET TRANSACTION …`, or `SET SESSION CHARACTERISTICS …` for the transactions to come.
    SetModes {
        is_session: bool,
        modes: TransactionModes,
    },
}

/// The step in `tokens`, when it is one.
pub(super) fn parse(tokens: &[TokenWithSpan]) -> Option<Result<TransactionCommand>> {
    let mut words = Words::new(tokens);
    let word = match words.peek() {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.value.to_ascii_lowercase(),
        _ => return None,
    };
    words.skip();
    Some(match word.as_str() {
        "begin" => begin(words),
        "start" => start(words),
        "commit" | "end" => commit(words),
        "rollback" | "abort" => rollback(words, word == "rollback"),
        "savepoint" => savepoint(words),
        "release" => release(words),
        "prepare" if words.take("transaction") => Err(not_supported("PREPARE TRANSACTION")),
        "set" => return set(words),
        _ => return None,
    })
}

fn begin(mut words: Words<'_>) -> Result<TransactionCommand> {
    transaction(&mut words);
    let modes = modes(&mut words)?;
    Ok(TransactionCommand::Begin { is_start: false, modes })
}

fn start(mut words: Words<'_>) -> Result<TransactionCommand> {
    expect(&mut words, "transaction")?;
    let modes = modes(&mut words)?;
    Ok(TransactionCommand::Begin { is_start: true, modes })
}

fn commit(mut words: Words<'_>) -> Result<TransactionCommand> {
    if words.take("prepared") {
        return Err(not_supported("COMMIT PREPARED"));
    }
    transaction(&mut words);
    let is_chained = chain(&mut words)?;
    Ok(TransactionCommand::Commit { is_chained })
}

fn rollback(mut words: Words<'_>, may_be_partial: bool) -> Result<TransactionCommand> {
    if may_be_partial && words.take("prepared") {
        return Err(not_supported("ROLLBACK PREPARED"));
    }
    transaction(&mut words);
    if may_be_partial && words.take("to") {
        return named(words).map(|name| TransactionCommand::RollbackTo { name });
    }
    let is_chained = chain(&mut words)?;
    Ok(TransactionCommand::Rollback { is_chained })
}

fn savepoint(mut words: Words<'_>) -> Result<TransactionCommand> {
    let name = words.name()?;
    words.end()?;
    Ok(TransactionCommand::Savepoint { name })
}

fn release(words: Words<'_>) -> Result<TransactionCommand> {
    named(words).map(|name| TransactionCommand::Release { name })
}

/// `SET TRANSACTION …`, `SET [LOCAL | SESSION] TRANSACTION …` and `SET SESSION CHARACTERISTICS AS TRANSACTION …`.
fn set(mut words: Words<'_>) -> Option<Result<TransactionCommand>> {
    let mut is_session = false;
    if words.take("session") {
        is_session = words.take("characteristics") && words.take("as");
    } else {
        words.take("local");
    }
    if !words.take("transaction") {
        return None;
    }
    if !is_session && words.take("snapshot") {
        return Some(Err(not_supported("SET TRANSACTION SNAPSHOT")));
    }
    if words.peek().is_none() {
        return Some(Err(unexpected(None)));
    }
    let modes = modes(&mut words);
    Some(modes.map(|modes| TransactionCommand::SetModes { is_session, modes }))
}

fn transaction(words: &mut Words<'_>) {
    let _ = words.take("work") || words.take("transaction");
}

/// `[SAVEPOINT] name`, and nothing behind it.
fn named(mut words: Words<'_>) -> Result<String> {
    let first = words.name()?;
    let name = match first == "savepoint" && words.peek().is_some() {
        true => words.name()?,
        false => first,
    };
    words.end()?;
    Ok(name)
}

/// `[AND [NO] CHAIN]`, and nothing behind it.
fn chain(words: &mut Words<'_>) -> Result<bool> {
    let mut is_chained = false;
    if words.take("and") {
        is_chained = !words.take("no");
        expect(words, "chain")?;
    }
    words.end()?;
    Ok(is_chained)
}

/// Modes with or without commas between them, and nothing behind.
fn modes(words: &mut Words<'_>) -> Result<TransactionModes> {
    let mut modes = TransactionModes::default();
    while words.peek().is_some() {
        mode(words, &mut modes)?;
        if words.take_comma() && words.peek().is_none() {
            return Err(unexpected(None));
        }
    }
    Ok(modes)
}

fn mode(words: &mut Words<'_>, modes: &mut TransactionModes) -> Result<()> {
    if words.take("isolation") {
        expect(words, "level")?;
        modes.isolation = Some(isolation(words)?);
    } else if words.take("read") {
        modes.access = Some(match words.take("only") {
            true => AccessMode::ReadOnly,
            false => expect(words, "write").map(|()| AccessMode::ReadWrite)?,
        });
    } else if words.take("deferrable") {
        modes.is_deferrable = Some(true);
    } else {
        expect(words, "not")?;
        expect(words, "deferrable")?;
        modes.is_deferrable = Some(false);
    }
    Ok(())
}

fn isolation(words: &mut Words<'_>) -> Result<&'static str> {
    if words.take("serializable") {
        return Ok("serializable");
    }
    if words.take("repeatable") {
        return expect(words, "read").map(|()| "repeatable read");
    }
    expect(words, "read")?;
    match words.take("uncommitted") {
        true => Ok("read uncommitted"),
        false => expect(words, "committed").map(|()| "read committed"),
    }
}

fn expect(words: &mut Words<'_>, keyword: &str) -> Result<()> {
    match words.take(keyword) {
        true => Ok(()),
        false => Err(unexpected(words.peek())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlparser::dialect::PostgreSqlDialect;
    use sqlparser::tokenizer::Tokenizer;

    fn parsed(sql: &str) -> Option<Result<TransactionCommand>> {
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().expect("tokens");
        parse(&tokens)
    }

    #[test]
    fn steps_have_many_spellings() {
        let name = || "a".to_owned();
        for (sql, wanted) in [
            ("commit and chain", TransactionCommand::Commit { is_chained: true }),
            ("end work", TransactionCommand::Commit { is_chained: false }),
            ("ABORT TRANSACTION AND NO CHAIN", TransactionCommand::Rollback { is_chained: false }),
            ("rollback to a", TransactionCommand::RollbackTo { name: name() }),
            ("rollback work to savepoint A", TransactionCommand::RollbackTo { name: name() }),
            ("rollback to savepoint savepoint", TransactionCommand::RollbackTo { name: "savepoint".into() }),
            ("release a", TransactionCommand::Release { name: name() }),
            ("release savepoint a", TransactionCommand::Release { name: name() }),
        ] {
            assert_eq!(parsed(sql).expect(sql).expect(sql), wanted, "{sql}");
        }
        for wrong in ["begin read", "start", "commit and", "abort to a", "set transaction", "release"] {
            let error = parsed(wrong).expect("read here").expect_err(wrong);
            assert_eq!(error.sqlstate().as_str(), "42601", "{wrong}");
        }
        assert!(parsed("set session role ann").is_none());
        assert!(parsed("prepare p as select 1").is_none());
    }

    #[test]
    fn modes_stand_in_any_order() {
        let sql = "begin isolation level repeatable read read only, not deferrable";
        let TransactionCommand::Begin { modes, .. } = parsed(sql).expect("a step").expect("a step") else {
            panic!("{sql}")
        };
        let wanted = TransactionModes {
            access: Some(AccessMode::ReadOnly),
            isolation: Some("repeatable read"),
            is_deferrable: Some(false),
        };
        assert_eq!(modes, wanted);
    }
}
