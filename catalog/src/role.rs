//! Roles and what they may do.

use std::collections::BTreeMap;
use std::fmt;

use crate::TableName;

/// A role: a user when it may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its object identifier, stable for its life.
    pub oid: u32,
    /// Its name, folded.
    pub name: String,
    /// Passes every check.
    pub is_superuser: bool,
    /// May open sessions.
    pub can_login: bool,
    /// Has the privileges of the roles it is a member of without asking.
    pub inherits: bool,
    /// May create, alter and drop roles that are not superusers.
    pub creates_roles: bool,
    /// Kept for clients that show it; there is one database.
    pub creates_databases: bool,
    /// Sessions at once; -1 for no bound.
    pub connection_limit: i32,
    /// The end of its password, in microseconds since 1970 (UTC).
    pub valid_until: Option<i64>,
    /// `SCRAM-SHA-256$iterations:salt$stored key:server key`, never the password.
    pub verifier: Option<String>,
    /// What settings begin as in its sessions, by their names (`ALTER ROLE … SET`).
    pub settings: BTreeMap<String, String>,
}

/// The first role, a superuser.
pub const FIRST_ROLE: &str = "postgres";
/// Its object identifier, PostgreSQL's own.
pub const FIRST_ROLE_OID: u32 = 10;
/// The grantee that stands for every role.
pub const PUBLIC_GRANTEE: u32 = 0;

impl Role {
    /// A role that may do nothing yet.
    pub fn new(oid: u32, name: impl Into<String>) -> Self {
        Self {
            oid,
            name: name.into(),
            is_superuser: false,
            can_login: false,
            inherits: true,
            creates_roles: false,
            creates_databases: false,
            connection_limit: -1,
            valid_until: None,
            verifier: None,
            settings: BTreeMap::new(),
        }
    }

    /// The first role of every catalog.
    pub fn first() -> Self {
        Self {
            is_superuser: true,
            can_login: true,
            creates_roles: true,
            creates_databases: true,
            ..Self::new(FIRST_ROLE_OID, FIRST_ROLE)
        }
    }
}

/// What may be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // PostgreSQL's words.
pub enum Privilege {
    Select,
    Insert,
    Update,
    Delete,
    Truncate,
    References,
    Trigger,
    Usage,
    Create,
    Connect,
    Temporary,
}

impl Privilege {
    /// Those of a table, in the order PostgreSQL prints them.
    pub const OF_TABLES: [Self; 7] = [
        Self::Insert,
        Self::Select,
        Self::Update,
        Self::Delete,
        Self::Truncate,
        Self::References,
        Self::Trigger,
    ];
    /// Those of a table that its columns can have, too.
    pub const OF_COLUMNS: [Self; 4] = [Self::Insert, Self::Select, Self::Update, Self::References];
    /// Those of a schema.
    pub const OF_SCHEMAS: [Self; 2] = [Self::Usage, Self::Create];
    /// Those of a database.
    pub const OF_DATABASES: [Self; 3] = [Self::Create, Self::Temporary, Self::Connect];

    const ALL: [(Self, &'static str, char); 11] = [
        (Self::Select, "SELECT", 'r'),
        (Self::Insert, "INSERT", 'a'),
        (Self::Update, "UPDATE", 'w'),
        (Self::Delete, "DELETE", 'd'),
        (Self::Truncate, "TRUNCATE", 'D'),
        (Self::References, "REFERENCES", 'x'),
        (Self::Trigger, "TRIGGER", 't'),
        (Self::Usage, "USAGE", 'U'),
        (Self::Create, "CREATE", 'C'),
        (Self::Connect, "CONNECT", 'c'),
        (Self::Temporary, "TEMPORARY", 'T'),
    ];

    /// The word of GRANT.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(privilege, ..)| *privilege == self).map_or("", |(_, word, _)| word)
    }

    /// The letter of an access control list (PostgreSQL 15, table 5.1).
    pub fn letter(self) -> char {
        Self::ALL.iter().find(|(privilege, ..)| *privilege == self).map_or('?', |(.., letter)| *letter)
    }

    /// Reads a word of GRANT or of a `has_*_privilege` function.
    pub fn from_word(word: &str) -> Option<Self> {
        let word = word.trim();
        if word.eq_ignore_ascii_case("TEMP") {
            return Some(Self::Temporary);
        }
        Self::ALL.iter().find(|(_, known, _)| known.eq_ignore_ascii_case(word)).map(|(p, ..)| *p)
    }
}

/// What privileges are granted on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantObject {
    /// The one database.
    Database,
    /// A schema.
    Schema(String),
    /// A table.
    Table(TableName),
}

impl fmt::Display for GrantObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database => f.write_str("database"),
            Self::Schema(name) => write!(f, "schema {name}"),
            Self::Table(name) => write!(f, "table {}", name.table),
        }
    }
}

/// A role that is a member of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Membership {
    /// The role that has members.
    pub role: u32,
    /// The member.
    pub member: u32,
    /// It may make others members of `role` (`WITH ADMIN OPTION`).
    pub is_admin: bool,
    /// Who made it one.
    pub grantor: u32,
}

/// One privilege given to one role. An owner has every privilege without a grant; what it took from itself is kept as a
/// grant of the owner to the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// On what.
    pub object: GrantObject,
    /// To whom; [`PUBLIC_GRANTEE`] for every role.
    pub grantee: u32,
    /// Which.
    pub privilege: Privilege,
    /// May be passed on.
    pub is_grantable: bool,
    /// By whom.
    pub grantor: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_letters_are_those_of_postgres() {
        assert_eq!(Privilege::from_word(" select "), Some(Privilege::Select));
        assert_eq!(Privilege::from_word("temp"), Some(Privilege::Temporary));
        let letters: String = Privilege::OF_TABLES.iter().map(|p| p.letter()).collect();
        assert_eq!(letters, "arwdDxt");
    }
}
