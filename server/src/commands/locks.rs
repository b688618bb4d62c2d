//! `LOCK`, which is refused: nobody is kept from a table, and what two transactions change of the same rows fails for the later one.
//! That the tables are there, and that the role has a privilege on them that would take a lock, is checked first, as in PostgreSQL.

use catalog::{GrantObject, Privilege};
use engine::{Error, Result};

use super::{Outcome, current, keys, metadata};
use crate::coordinator::Coordinator;
use crate::session::{Session, TEMPORARY_SCHEMA};

const TAG: &str = "LOCK TABLE";

/// Looks at the tables in `names`.
pub fn run(
    coordinator: &Coordinator,
    session: &Session,
    names: &[(Option<String>, String)],
) -> Result<Outcome> {
    if !session.transaction.is_block() {
        let message = format!("{TAG} can only be used in transaction blocks");
        return Err(Error::NoActiveTransaction { message });
    }
    let metadata = metadata(coordinator, session);
    let role = current(&metadata, session)?.oid;
    for (schema, table) in names {
        let name = keys::find_table(coordinator, session, schema.as_deref(), table)?;
        let object = GrantObject::Table(name.clone());
        let may = |privilege| metadata.allows(role, &object, privilege);
        let takes_locks =
            [Privilege::Select, Privilege::Insert, Privilege::Update, Privilege::Delete, Privilege::Truncate];
        if name.schema != TEMPORARY_SCHEMA && !takes_locks.into_iter().any(may) {
            return Err(Error::PermissionDenied { message: format!("permission denied for {object}") });
        }
    }
    let message = "LOCK TABLE is not supported: BEGIN ISOLATION LEVEL SERIALIZABLE fails the later one of two transactions \
                   that change the catalog";
    Err(Error::NotSupported { message: message.to_owned() })
}
