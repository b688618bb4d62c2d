//! What `SET`, `SHOW` and `RESET` know: a typed registry with PostgreSQL's names, defaults and checks.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use catalog::Role;
use engine::functions::instants::Zone;
use engine::functions::style::{Display, Style};
use engine::{ByteSize, Error, Interval, Result};

use super::accepted::ACCEPTED;
use super::setting_values as values;
use crate::pg_catalog::SERVER_VERSION;

/// Which values a setting takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// As long as a name may be; longer ones are cut.
    Name,
    Bool,
    /// Within bounds.
    Integer(i64, i64),
    /// Milliseconds when no unit is written, as PostgreSQL's timeouts.
    Milliseconds,
    /// Of any length, with a unit.
    Duration,
    Size,
    /// Bounds what a role's queries take: 0 is no bound, and who is no superuser may only lower it.
    Limit(Unit),
    OneOf(&'static [&'static str]),
    /// One of those that hold here; PostgreSQL has `others`, too.
    Served {
        served: &'static [&'static str],
        others: &'static [&'static str],
    },
    /// What it is; PostgreSQL has other values, too.
    Only,
    /// The same, of what is on or off.
    OnlyBool(bool),
    /// A number within bounds.
    Real(f64, f64),
    /// At least so many units of so many kilobytes.
    Memory {
        unit_kb: u64,
        least: u64,
    },
    /// Digits of floats: all that a number has from 1 on.
    FloatDigits,
    /// A locale, of which the C locale is served.
    Locale,
    /// A character set, of which UTF-8 is served.
    Encoding,
    /// A list of schemas.
    Schemas,
    TimeZone,
    /// `ISO`, and the order of day and month.
    DateStyle,
    /// May be asked for, not set.
    ReadOnly,
    /// Whose privileges count: set by [`Session::set`](super::Session::set) alone, which knows the roles.
    Identity,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    Bytes,
    Milliseconds,
    Queries,
}

/// One setting, for `SHOW ALL` and `pg_settings`.
#[derive(Debug)]
pub struct SettingDescription {
    /// Its name as PostgreSQL spells it.
    pub name: &'static str,
    /// Its value in a new session.
    pub default: &'static str,
    /// What it does.
    pub description: &'static str,
    kind: Kind,
    /// Told to the client when it changes (ParameterStatus).
    pub is_reported: bool,
    is_for_superusers: bool,
}

impl SettingDescription {
    /// The heading `pg_settings.category` files it under.
    pub fn category(&self) -> &'static str {
        match self.name {
            name if name.starts_with("sluice.") => "Customized Options",
            "server_version"
            | "server_version_num"
            | "max_identifier_length"
            | "integer_datetimes"
            | "server_encoding"
            | "in_hot_standby"
            | "is_superuser" => "Preset Options",
            "DateStyle" | "TimeZone" | "IntervalStyle" | "client_encoding" | "extra_float_digits"
            | "lc_collate" | "lc_ctype" | "lc_messages" | "lc_monetary" | "lc_numeric" | "lc_time" => {
                "Client Connection Defaults / Locale and Formatting"
            }
            _ if ACCEPTED.iter().any(|setting| setting.name == self.name) => "Accepted",
            _ => "Client Connection Defaults / Statement Behavior",
        }
    }

    /// Who may change it, as `pg_settings.context` says it.
    pub fn context(&self) -> &'static str {
        match self.kind {
            Kind::ReadOnly => "internal",
            _ if self.is_for_superusers => "superuser",
            _ => "user",
        }
    }

    /// The type of its values, as `pg_settings.vartype` says it.
    pub fn value_type(&self) -> &'static str {
        match self.kind {
            Kind::Bool | Kind::OnlyBool(_) => "bool",
            Kind::Integer(..)
            | Kind::FloatDigits
            | Kind::Memory { .. }
            | Kind::Milliseconds
            | Kind::Duration
            | Kind::Size
            | Kind::Limit(_) => "integer",
            Kind::Real(..) => "real",
            Kind::OneOf(_) | Kind::Served { .. } => "enum",
            _ => "string",
        }
    }
}

pub(super) const fn setting(
    name: &'static str,
    default: &'static str,
    kind: Kind,
    description: &'static str,
) -> SettingDescription {
    SettingDescription { name, default, description, kind, is_reported: false, is_for_superusers: false }
}

const fn of_superusers(
    name: &'static str,
    default: &'static str,
    kind: Kind,
    description: &'static str,
) -> SettingDescription {
    SettingDescription { name, default, description, kind, is_reported: false, is_for_superusers: true }
}

const fn reported(
    name: &'static str,
    default: &'static str,
    kind: Kind,
    description: &'static str,
) -> SettingDescription {
    SettingDescription { name, default, description, kind, is_reported: true, is_for_superusers: false }
}

const ISOLATION_LEVELS: Kind =
    Kind::OneOf(&["read committed", "read uncommitted", "repeatable read", "serializable"]);
const MESSAGE_LEVELS: Kind =
    Kind::OneOf(&["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"]);

/// Every setting, in the order of `SHOW ALL`.
static REGISTRY: &[SettingDescription] = &[
    reported("application_name", "", Kind::Name, "Names the application in statistics and logs."),
    setting("bytea_output", "hex", Kind::OneOf(&["escape", "hex"]), "Sets the output format for bytea."),
    reported("client_encoding", "UTF8", Kind::Encoding, "Sets the client's character set."),
    setting(
        "client_min_messages",
        "notice",
        MESSAGE_LEVELS,
        "Sets the least severe message sent to the client.",
    ),
    reported(
        "DateStyle",
        "ISO, MDY",
        Kind::DateStyle,
        "Sets the display format for dates, and how ambiguous ones are read.",
    ),
    setting("default_table_access_method", "heap", Kind::OneOf(&["heap"]), "Said for clients that ask."),
    setting("default_tablespace", "", Kind::OneOf(&["", "pg_default"]), "There are no other tablespaces."),
    setting(
        "default_transaction_isolation",
        "read committed",
        ISOLATION_LEVELS,
        "Sets the isolation level of new transactions.",
    ),
    reported(
        "default_transaction_read_only",
        "off",
        Kind::Bool,
        "Sets the read-only status of new transactions.",
    ),
    setting(
        "default_transaction_deferrable",
        "off",
        Kind::Bool,
        "Whether new transactions wait for a snapshot that nothing can make fail; every snapshot is one.",
    ),
    setting("escape_string_warning", "on", Kind::Bool, "Accepted; strings conform to the standard."),
    setting("extra_float_digits", "1", Kind::FloatDigits, "Sets the digits of floating-point values."),
    setting(
        "idle_in_transaction_session_timeout",
        "0",
        Kind::Milliseconds,
        "Ends sessions that idle in a transaction.",
    ),
    setting(
        "idle_session_timeout",
        "0",
        Kind::Milliseconds,
        "Ends sessions that idle outside a transaction.",
    ),
    reported("in_hot_standby", "off", Kind::ReadOnly, "Always off."),
    reported("integer_datetimes", "on", Kind::ReadOnly, "Always on."),
    reported(
        "IntervalStyle",
        "postgres",
        Kind::OneOf(&["postgres", "postgres_verbose", "sql_standard", "iso_8601"]),
        "Sets the display format for intervals.",
    ),
    reported("is_superuser", "on", Kind::ReadOnly, "Whether the current role is a superuser."),
    setting("lc_collate", "C", Kind::ReadOnly, "The order of text."),
    setting("lc_ctype", "C.UTF-8", Kind::ReadOnly, "The classes of letters."),
    of_superusers("lc_messages", "C", Kind::Locale, "The language of messages."),
    setting("lc_monetary", "C", Kind::Locale, "The format of amounts of money."),
    setting("lc_numeric", "C", Kind::Locale, "The format of numbers."),
    setting("lc_time", "C", Kind::Locale, "The format of dates in words."),
    setting("lock_timeout", "0", Kind::Milliseconds, "Accepted; there are no locks to wait for."),
    setting("max_connections", "200", Kind::ReadOnly, "Connections at once; see limits.connections_max."),
    setting("max_index_keys", "32", Kind::ReadOnly, "Said for clients that ask; there are no indexes."),
    setting(
        "max_identifier_length",
        "63",
        Kind::ReadOnly,
        "The length of identifiers that clients may rely on.",
    ),
    setting("role", "none", Kind::Identity, "The current role."),
    setting(
        "search_path",
        "\"$user\", public",
        Kind::Schemas,
        "Sets the schemas that unqualified names are looked up in.",
    ),
    reported("server_encoding", "UTF8", Kind::ReadOnly, "The server's character set."),
    reported(
        "server_version",
        SERVER_VERSION,
        Kind::ReadOnly,
        "The PostgreSQL version this server speaks as.",
    ),
    setting("server_version_num", "150008", Kind::ReadOnly, "The same as a number."),
    reported("session_authorization", "", Kind::Identity, "The session's role, which SET ROLE starts from."),
    setting(
        "sluice.broadcast_size",
        "32MB",
        Kind::Size,
        "The largest build side of a join that is sent whole to every task.",
    ),
    setting("sluice.last_route", "", Kind::ReadOnly, "Where the last query ran, and why."),
    setting(
        "sluice.max_concurrent_queries",
        "0",
        Kind::Limit(Unit::Queries),
        "Queries of the role that run at once, further ones wait; 0 sets no bound.",
    ),
    setting(
        "sluice.max_memory",
        "0",
        Kind::Limit(Unit::Bytes),
        "Memory that one query may take for its operators, on all nodes together; 0 sets no bound.",
    ),
    setting(
        "sluice.max_time",
        "0",
        Kind::Limit(Unit::Milliseconds),
        "Ends any statement that takes longer, whatever statement_timeout says; 0 sets no bound.",
    ),
    setting(
        "sluice.planning_timeout",
        "10s",
        Kind::Milliseconds,
        "Fails a statement whose planning takes longer.",
    ),
    setting(
        "sluice.lint",
        "notice",
        Kind::OneOf(&["off", "notice", "error"]),
        "Whether a query that is slower than it need be is told so, or refused where that is known before it runs.",
    ),
    setting(
        "sluice.progress",
        "0",
        Kind::Milliseconds,
        "How often a client is told how far its query is; 0 tells nothing.",
    ),
    setting(
        "sluice.route",
        "auto",
        Kind::OneOf(&["auto", "local", "cluster"]),
        "Where queries run: auto lets the server choose.",
    ),
    setting(
        "sluice.snapshot_retention",
        "7d",
        Kind::Duration,
        "How far back VACUUM leaves the snapshots of tables.",
    ),
    setting(
        "sluice.target_partition_size",
        "256MB",
        Kind::Size,
        "How large the partitions of a distributed query are to be.",
    ),
    setting(
        "sluice.target_partitions",
        "0",
        Kind::Integer(0, 10_000),
        "Partitions of a distributed query; 0 lets the server choose.",
    ),
    of_superusers(
        "session_replication_role",
        "origin",
        Kind::OneOf(&["origin", "replica", "local"]),
        "Accepted; there are no triggers.",
    ),
    reported("standard_conforming_strings", "on", Kind::OnlyBool(true), "Backslashes are ordinary in '...'."),
    setting("ssl", "off", Kind::ReadOnly, "Whether the server offers TLS."),
    setting(
        "statement_timeout",
        "0",
        Kind::Milliseconds,
        "Ends any statement that takes longer; 0 turns it off.",
    ),
    reported(
        "TimeZone",
        "UTC",
        Kind::TimeZone,
        "Sets the time zone for displaying and interpreting time stamps.",
    ),
    setting(
        "transaction_isolation",
        "read committed",
        ISOLATION_LEVELS,
        "The current transaction's isolation level.",
    ),
    setting(
        "password_encryption",
        "scram-sha-256",
        Kind::Served { served: &["scram-sha-256"], others: &["md5"] },
        "How passwords are kept.",
    ),
    setting("transaction_deferrable", "off", Kind::Bool, "The current transaction's; see its default."),
    setting("transaction_read_only", "off", Kind::Bool, "The current transaction's read-only status."),
];

/// PostgreSQL's settings with the flag `GUC_NO_RESET_ALL`, and what follows from them.
const KEPT_BY_RESET_ALL: [&str; 6] = [
    "is_superuser",
    "role",
    "session_authorization",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
];

/// The characteristics of a transaction, and where those of the next one are kept.
const TRANSACTION: [(&str, &str); 3] = [
    ("transaction_deferrable", "default_transaction_deferrable"),
    ("transaction_isolation", "default_transaction_isolation"),
    ("transaction_read_only", "default_transaction_read_only"),
];

fn default_of(name: &str) -> Option<&'static str> {
    TRANSACTION.iter().find(|(known, _)| *known == name).map(|(_, default)| *default)
}

/// Every setting there is.
pub fn descriptions() -> impl Iterator<Item = &'static SettingDescription> + Clone {
    REGISTRY.iter().chain(ACCEPTED)
}

/// The setting of that name, without regard to case.
pub fn described(name: &str) -> Option<&'static SettingDescription> {
    descriptions().find(|setting| setting.name.eq_ignore_ascii_case(name))
}

/// What a setting is among `values`, which need not have those that nobody has set.
pub fn value_in<'a>(values: &'a Values, setting: &SettingDescription) -> &'a str {
    values.get(setting.name).map_or(setting.default, String::as_str)
}

/// The setting's name where it says whose privileges count.
pub(super) fn identity(name: &str) -> Result<Option<&'static str>> {
    let setting = find(name)?;
    Ok(matches!(setting.kind, Kind::Identity).then_some(setting.name))
}

fn find(name: &str) -> Result<&'static SettingDescription> {
    described(name).ok_or_else(|| Error::UndefinedObject {
        message: format!("unrecognized configuration parameter \"{name}\""),
    })
}

/// What is done about queries that are slower than they need be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LintSetting {
    /// Nothing is looked for.
    Off,
    /// Their clients are told.
    Notice,
    /// They are refused, where that is known before they run.
    Error,
}

/// `sluice.route`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The words of the setting itself.
pub enum RouteSetting {
    Auto,
    Local,
    Cluster,
}

/// Values by the settings' names.
pub type Values = HashMap<&'static str, String>;

/// One session's values.
#[derive(Debug, Clone)]
pub struct Settings {
    // Shared with the queries that show them; a change makes a copy.
    values: Arc<Values>,
    // What the client asked for at start-up: what RESET goes back to.
    initial: Arc<Values>,
    // As they were when the transaction block began: what ROLLBACK goes back to.
    at_begin: Option<Arc<Values>>,
    // Before SET LOCAL: what the end of the block goes back to.
    before_local: Values,
    // Both as they were at each savepoint.
    marks: Vec<(Arc<Values>, Values)>,
    // What the role's limits may not be raised above; none for superusers.
    ceilings: Values,
}

impl Settings {
    /// The defaults, for a session of `user`.
    pub fn new(user: &str) -> Self {
        let mut values: Values =
            REGISTRY.iter().map(|setting| (setting.name, setting.default.to_owned())).collect();
        values.insert("session_authorization", user.to_owned());
        let values = Arc::new(values);
        Self {
            initial: Arc::clone(&values),
            values,
            at_begin: None,
            before_local: Values::new(),
            marks: Vec::new(),
            ceilings: Values::new(),
        }
    }

    /// Begins as `role` has it: its settings, and its limits, which bind who is no superuser.
    pub fn begin_as(&mut self, role: &Role) {
        for (name, value) in &role.settings {
            // One of another version of the server may not be known to this one.
            let Ok(setting) = find(name) else { continue };
            let Ok(value) = checked(setting, value) else { continue };
            if matches!(setting.kind, Kind::ReadOnly | Kind::Identity) {
                continue;
            }
            if matches!(setting.kind, Kind::Limit(_)) && !role.is_superuser {
                self.ceilings.insert(setting.name, value.clone());
            }
            self.set_fixed(setting.name, &value);
        }
    }

    /// Sets a value asked for in the start-up packet, which RESET then goes back to.
    pub(super) fn set_initial(&mut self, name: &str, value: &str) -> Result<()> {
        let setting = find(name)?;
        self.check_may_set(setting)?;
        let value = checked(setting, value)?;
        self.check_ceiling(setting, &value)?;
        self.set_fixed(setting.name, &value);
        Ok(())
    }

    /// Refuses settings that nobody sets, those that only superusers set, and those that need the roles to be known.
    fn check_may_set(&self, setting: &SettingDescription) -> Result<()> {
        match setting.kind {
            Kind::ReadOnly => Err(Error::FixedParameter { name: setting.name.to_owned() }),
            Kind::Identity => Err(Error::internal("an identity was to be set past the gate")),
            _ if setting.is_for_superusers && self.values["is_superuser"] != "on" => {
                Err(Error::PermissionDenied {
                    message: format!("permission denied to set parameter \"{}\"", setting.name),
                })
            }
            _ => Ok(()),
        }
    }

    /// `SET name = value`. Gives the setting when the client must be told of the change.
    pub(super) fn set(
        &mut self,
        name: &str,
        value: Option<&str>,
        is_local: bool,
    ) -> Result<Option<&'static SettingDescription>> {
        let setting = find(name)?;
        self.check_may_set(setting)?;
        let merged = match (setting.kind, value) {
            (Kind::DateStyle, Some(value)) => values::date_style(value, &self.values[setting.name]),
            _ => None,
        };
        let value = match merged.as_deref().or(value) {
            Some(value) => checked(setting, value)?,
            None => match default_of(setting.name) {
                Some(default) => self.values[default].clone(),
                None => value_in(&self.initial, setting).to_owned(),
            },
        };
        self.check_ceiling(setting, &value)?;
        if default_of(setting.name).is_some() {
            // It is the transaction's, and ends with it: outside of a block with this very statement.
            return Ok(self.at_begin.is_some().then(|| self.put(setting, value, true)).flatten());
        }
        let reported = self.put(setting, value, is_local);
        self.follow_defaults();
        Ok(reported)
    }

    /// The name of a setting that says what the transaction may do, and whether `value` would be another one than it has.
    pub(super) fn characteristic(
        &self,
        name: &str,
        value: Option<&str>,
    ) -> Result<Option<(&'static str, bool)>> {
        let setting = find(name)?;
        let Some(default) = default_of(setting.name) else { return Ok(None) };
        let value = match value {
            Some(value) => checked(setting, value)?,
            None => self.values[default].clone(),
        };
        Ok(Some((setting.name, self.values[setting.name] != value)))
    }

    /// What the transaction may do.
    pub(super) fn characteristics(&self) -> Vec<(&'static str, String)> {
        TRANSACTION.iter().map(|(name, _)| (*name, self.values[name].clone())).collect()
    }

    /// Outside of a transaction its characteristics are those that the next one will have.
    fn follow_defaults(&mut self) {
        if self.at_begin.is_some() {
            return;
        }
        for (name, default) in TRANSACTION {
            if self.values[name] != self.values[default] {
                let value = self.values[default].clone();
                Arc::make_mut(&mut self.values).insert(name, value);
            }
        }
    }

    /// Keeps a value that was checked, until the end of the block when it is local.
    fn put(
        &mut self,
        setting: &'static SettingDescription,
        value: String,
        is_local: bool,
    ) -> Option<&'static SettingDescription> {
        let before = Arc::make_mut(&mut self.values).insert(setting.name, value);
        let before = before.unwrap_or_else(|| setting.default.to_owned());
        if is_local {
            self.before_local.entry(setting.name).or_insert(before);
        } else {
            // What is set for the session outlives the block, whatever was local before.
            self.before_local.remove(setting.name);
        }
        setting.is_reported.then_some(setting)
    }

    /// Keeps values of settings that no client sets by itself: who the session is. Gives those that the client must be told.
    pub(super) fn put_identity(
        &mut self,
        values: &[(&'static str, &str)],
        is_local: bool,
    ) -> Vec<&'static SettingDescription> {
        let before = Arc::clone(&self.values);
        for (name, value) in values {
            if let Ok(setting) = find(name) {
                self.put(setting, (*value).to_owned(), is_local);
            }
        }
        changed_and_reported(&before, &self.values)
    }

    /// A role has another name, wherever it is kept as who the session is.
    pub(super) fn rename_identity(&mut self, from: &str, to: &str) {
        let initial = Arc::make_mut(&mut self.initial);
        let marks = self.marks.iter_mut().flat_map(|(values, local)| [Arc::make_mut(values), local]);
        let at_begin = self.at_begin.as_mut().map(Arc::make_mut).into_iter().chain(marks);
        let all = [Arc::make_mut(&mut self.values), initial, &mut self.before_local];
        for values in all.into_iter().chain(at_begin) {
            for setting in REGISTRY.iter().filter(|setting| matches!(setting.kind, Kind::Identity)) {
                if let Some(value) = values.get_mut(setting.name).filter(|value| *value == from) {
                    to.clone_into(value);
                }
            }
        }
    }

    /// What RESET goes back to.
    pub(super) fn initial(&self, name: &str) -> &str {
        self.initial.get(name).map_or("", String::as_str)
    }

    /// The limits that bind the session's role, by name.
    pub fn ceilings(&self) -> &Values {
        &self.ceilings
    }

    fn check_ceiling(&self, setting: &SettingDescription, value: &str) -> Result<()> {
        let Kind::Limit(unit) = setting.kind else { return Ok(()) };
        let Some(ceiling) = self.ceilings.get(setting.name) else { return Ok(()) };
        let (most, wanted) = (unit.amount(ceiling), unit.amount(value));
        if most == 0 || (wanted > 0 && wanted <= most) {
            return Ok(());
        }
        Err(Error::PermissionDenied {
            message: format!(
                "permission denied to raise \"{}\" above {ceiling}, which an administrator set for this role",
                setting.name
            ),
        })
    }

    fn limit(&self, name: &str, unit: Unit) -> Option<u64> {
        Some(unit.amount(&self.values[name])).filter(|amount| *amount > 0)
    }

    /// Bytes that one query may take for its operators, on all nodes together, when that is bounded.
    pub fn max_memory(&self) -> Option<u64> {
        self.limit("sluice.max_memory", Unit::Bytes)
    }

    /// Queries of the role that may run at once, when that is bounded.
    pub fn max_concurrent_queries(&self) -> Option<usize> {
        self.limit("sluice.max_concurrent_queries", Unit::Queries).map(|queries| queries as usize)
    }

    /// All of them as they are now.
    pub fn values(&self) -> Arc<Values> {
        Arc::clone(&self.values)
    }

    /// `SHOW name`.
    pub fn get(&self, name: &str) -> Result<&str> {
        Ok(value_in(&self.values, find(name)?))
    }

    /// `RESET ALL`. Who the session is and what its transaction may do stay. Gives the settings whose change the client
    /// must be told of.
    pub(super) fn reset_all(&mut self) -> Vec<&'static SettingDescription> {
        let before = Arc::clone(&self.values);
        let is_reset = |setting: &&SettingDescription| {
            !KEPT_BY_RESET_ALL.contains(&setting.name) && before.contains_key(setting.name)
        };
        for setting in descriptions().filter(is_reset) {
            self.put(setting, value_in(&self.initial, setting).to_owned(), false);
        }
        self.follow_defaults();
        changed_and_reported(&before, &self.values)
    }

    /// A transaction block begins.
    pub fn begin(&mut self) {
        self.at_begin = Some(Arc::clone(&self.values));
    }

    /// A transaction block ends. Gives the settings whose change the client must be told of.
    pub fn end(&mut self, is_commit: bool) -> Vec<&'static SettingDescription> {
        let before = Arc::clone(&self.values);
        match (is_commit, self.at_begin.take()) {
            (false, Some(values)) => self.values = values,
            _ if self.before_local.is_empty() => {}
            _ => Arc::make_mut(&mut self.values).extend(self.before_local.drain()),
        }
        self.before_local.clear();
        self.follow_defaults();
        changed_and_reported(&before, &self.values)
    }

    /// A savepoint is set.
    pub(super) fn mark(&mut self) {
        self.marks.push((Arc::clone(&self.values), self.before_local.clone()));
    }

    /// Savepoints from this one on are gone.
    pub(super) fn release_marks(&mut self, from: usize) {
        self.marks.truncate(from);
    }

    /// A savepoint and those since are gone, and what was set stays. As in PostgreSQL, what a part of a transaction may do ends
    /// with the part.
    pub(super) fn release_mark(&mut self, at: usize) {
        const ACCESS: &str = "transaction_read_only";
        let before = self.marks.get(at).map(|(values, _)| values[ACCESS].clone());
        self.release_marks(at);
        if let Some(before) = before.filter(|before| self.values[ACCESS] != *before) {
            Arc::make_mut(&mut self.values).insert(ACCESS, before);
        }
    }

    /// All is as at that savepoint, which stays. Gives the settings whose change the client must be told of.
    pub(super) fn return_to_mark(&mut self, at: usize) -> Vec<&'static SettingDescription> {
        self.marks.truncate(at + 1);
        let Some((values, local)) = self.marks.last() else { return Vec::new() };
        let before = std::mem::replace(&mut self.values, Arc::clone(values));
        self.before_local.clone_from(local);
        changed_and_reported(&before, &self.values)
    }

    /// Where queries run.
    pub fn route(&self) -> RouteSetting {
        match self.values["sluice.route"].as_str() {
            "local" => RouteSetting::Local,
            "cluster" => RouteSetting::Cluster,
            _ => RouteSetting::Auto,
        }
    }

    /// How long a statement may take, when that is bounded.
    pub fn statement_timeout(&self) -> Option<Duration> {
        let chosen =
            Some(milliseconds(&self.values["statement_timeout"])).filter(|timeout| !timeout.is_zero());
        let most = self.limit("sluice.max_time", Unit::Milliseconds).map(Duration::from_millis);
        chosen.into_iter().chain(most).min()
    }

    /// How long planning may take.
    pub fn planning_timeout(&self) -> Option<Duration> {
        Some(milliseconds(&self.values["sluice.planning_timeout"])).filter(|timeout| !timeout.is_zero())
    }

    /// Partitions of a distributed query, when the session chose.
    pub fn target_partitions(&self) -> Option<usize> {
        self.values["sluice.target_partitions"].parse().ok().filter(|partitions| *partitions > 0)
    }

    /// How large the partitions of a distributed query are to be. Smaller ones than 64 kB are all overhead.
    pub fn target_partition_size(&self) -> ByteSize {
        const LEAST: ByteSize = ByteSize(64 << 10);
        self.values["sluice.target_partition_size"].parse().unwrap_or(LEAST).max(LEAST)
    }

    /// How often the client is told how far its query is, if it is to be told.
    pub fn progress(&self) -> Option<Duration> {
        const OFTEN: Duration = Duration::from_millis(100);
        let interval = milliseconds(&self.values["sluice.progress"]);
        (!interval.is_zero()).then(|| interval.max(OFTEN))
    }

    /// What is done about queries that are slower than they need be.
    pub fn lint(&self) -> LintSetting {
        match self.values["sluice.lint"].as_str() {
            "off" => LintSetting::Off,
            "error" => LintSetting::Error,
            _ => LintSetting::Notice,
        }
    }

    /// The largest build side that is broadcast.
    pub fn broadcast_size(&self) -> ByteSize {
        self.values["sluice.broadcast_size"].parse().unwrap_or_default()
    }

    /// The schemas that names without one are looked up in, as they were set.
    pub fn search_path(&self) -> Vec<String> {
        values::schemas(&self.values["search_path"]).unwrap_or_default()
    }

    /// How far back VACUUM leaves snapshots.
    pub fn snapshot_retention(&self) -> Duration {
        milliseconds(&self.values["sluice.snapshot_retention"])
    }

    /// How long a session may idle; `in_block` says whether it does so in a transaction block.
    pub fn idle_timeout(&self, in_block: bool) -> Option<Duration> {
        let name = if in_block { "idle_in_transaction_session_timeout" } else { "idle_session_timeout" };
        Some(milliseconds(&self.values[name])).filter(|timeout| !timeout.is_zero())
    }

    /// True when the transaction may not write.
    pub fn is_read_only(&self) -> bool {
        self.values["transaction_read_only"] == "on"
    }

    /// True when all statements of the transaction see the same moment.
    pub fn sees_one_moment(&self) -> bool {
        matches!(self.values["transaction_isolation"].as_str(), "repeatable read" | "serializable")
    }

    /// True when a transaction is to be as if it had run alone.
    pub fn is_serializable(&self) -> bool {
        self.values["transaction_isolation"] == "serializable"
    }

    /// Sets what no client may set.
    pub fn set_fixed(&mut self, name: &'static str, value: &str) {
        Arc::make_mut(&mut self.values).insert(name, value.to_owned());
        Arc::make_mut(&mut self.initial).insert(name, value.to_owned());
        self.follow_defaults();
    }

    /// How values are printed and dates are read, the zone aside.
    pub fn style(&self) -> Style {
        let value = |name: &str| self.values[name].as_str();
        Style::of_settings(
            value("DateStyle"),
            value("IntervalStyle"),
            value("bytea_output"),
            value("extra_float_digits"),
        )
    }

    /// How values are printed.
    pub fn display(&self) -> Display {
        Display { zone: Zone::of_setting(Some(&self.time_zone())), style: self.style() }
    }

    /// The time zone, as an IANA name or an offset.
    pub fn time_zone(&self) -> Cow<'_, str> {
        values::zone_offset(&self.values["TimeZone"])
    }
}

impl Unit {
    /// How much a value is.
    fn amount(self, value: &str) -> u64 {
        match self {
            Self::Bytes => value.parse::<ByteSize>().unwrap_or_default().0,
            Self::Milliseconds => milliseconds(value).as_millis() as u64,
            Self::Queries => value.parse().unwrap_or(0),
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Bytes => Kind::Size,
            Self::Milliseconds => Kind::Milliseconds,
            Self::Queries => Kind::Integer(0, 1_000_000),
        }
    }
}

/// A setting's name as it is spelt, and the value as it is kept, for a role whose sessions are to begin with it. `true`
/// says that it is for superusers to set: a limit, say.
pub fn for_role(name: &str, value: &str) -> Result<(&'static str, String, bool)> {
    let setting = find(name)?;
    if matches!(setting.kind, Kind::ReadOnly) {
        return Err(Error::FixedParameter { name: setting.name.to_owned() });
    }
    if matches!(setting.kind, Kind::Identity) {
        return Err(Error::NotSupported {
            message: format!("parameter \"{}\" cannot be set for a role", setting.name),
        });
    }
    let is_for_superusers = setting.is_for_superusers || matches!(setting.kind, Kind::Limit(_));
    Ok((setting.name, checked(setting, value)?, is_for_superusers))
}

/// True for the limits, which superusers set for others.
pub fn is_limit(name: &str) -> bool {
    find(name).is_ok_and(|setting| matches!(setting.kind, Kind::Limit(_)))
}

/// True for what a superuser must set.
pub fn is_for_superusers(name: &str) -> bool {
    find(name).is_ok_and(|setting| setting.is_for_superusers || matches!(setting.kind, Kind::Limit(_)))
}

fn changed_and_reported(before: &Values, after: &Values) -> Vec<&'static SettingDescription> {
    REGISTRY
        .iter()
        .filter(|setting| setting.is_reported && before.get(setting.name) != after.get(setting.name))
        .collect()
}

/// The value as it is kept, or why it cannot be.
fn checked(setting: &SettingDescription, value: &str) -> Result<String> {
    checked_as(setting, setting.kind, value)
}

fn checked_as(setting: &SettingDescription, kind: Kind, value: &str) -> Result<String> {
    /// Every session keeps its values, some of them several times.
    const VALUE_BYTES_MAX: usize = 16 << 10;
    let name = setting.name;
    if value.len() > VALUE_BYTES_MAX && !matches!(kind, Kind::Name) {
        let message = format!("value for parameter \"{name}\" is longer than {VALUE_BYTES_MAX} bytes");
        return Err(Error::InvalidParameterValue { message });
    }
    let invalid = || Error::InvalidParameterValue {
        message: format!("invalid value for parameter \"{name}\": \"{value}\""),
    };
    Ok(match kind {
        Kind::ReadOnly | Kind::Identity => value.to_owned(),
        Kind::Name => values::name_of(value),
        Kind::Bool => match values::flag(value) {
            Some(flag) => on_or_off(flag).to_owned(),
            None => return Err(not_bool(name)),
        },
        Kind::OnlyBool(served) => match values::flag(value) {
            Some(flag) if flag == served => on_or_off(served).to_owned(),
            Some(_) => return Err(not_served(setting, value)),
            None => return Err(not_bool(name)),
        },
        Kind::Only => match value.trim().eq_ignore_ascii_case(setting.default) {
            true => setting.default.to_owned(),
            false => return Err(not_served(setting, value)),
        },
        Kind::Served { served, others } => match values::choice(served, value) {
            Some(choice) => choice.to_owned(),
            None if values::choice(others, value).is_some() => return Err(not_served(setting, value)),
            None => return Err(invalid()),
        },
        Kind::Real(least, most) => values::real(name, value, least, most)?,
        Kind::Memory { unit_kb, least } => values::memory(name, value, unit_kb, least)?,
        Kind::FloatDigits => checked_as(setting, Kind::Integer(-15, 3), value)?,
        Kind::Locale => match values::is_c_locale(value) {
            true => value.to_owned(),
            false => return Err(not_served(setting, value)),
        },
        Kind::Encoding => match values::encoding(value) {
            Some("UTF8") => "UTF8".to_owned(),
            Some(_) => return Err(not_served(setting, value)),
            None => return Err(invalid()),
        },
        Kind::Schemas => values::schemas(value).map(|_| value.to_owned()).ok_or_else(invalid)?,
        Kind::Integer(least, most) => {
            let number: i64 = value.trim().parse().map_err(|_| invalid())?;
            if !(least..=most).contains(&number) {
                return Err(Error::InvalidParameterValue {
                    message: format!(
                        "{number} is outside the valid range for parameter \"{name}\" ({least} .. {most})"
                    ),
                });
            }
            number.to_string()
        }
        Kind::Milliseconds => {
            let text = value.trim();
            match text.parse::<u64>() {
                Ok(number) if number <= MILLISECONDS_MAX => number.to_string(),
                Ok(_) => return Err(invalid()),
                Err(_) => {
                    let interval = text.parse::<Interval>().map_err(|_| invalid())?;
                    if interval.0.as_millis() > u128::from(MILLISECONDS_MAX) {
                        return Err(invalid());
                    }
                    interval.to_string()
                }
            }
        }
        Kind::Duration => match value.trim() {
            "0" => "0".to_owned(),
            text => text.parse::<Interval>().map_err(|_| invalid())?.to_string(),
        },
        Kind::Size => value.parse::<ByteSize>().map_err(|_| invalid())?.to_string(),
        Kind::Limit(unit) => {
            let value = checked_as(setting, unit.kind(), value)?;
            if matches!(unit, Unit::Bytes) && (1..MEMORY_LIMIT_MIN).contains(&unit.amount(&value)) {
                return Err(Error::InvalidParameterValue {
                    message: format!(
                        "{value} is outside the valid range for parameter \"{name}\": it is 0, or at least {}",
                        ByteSize(MEMORY_LIMIT_MIN)
                    ),
                });
            }
            value
        }
        Kind::OneOf(choices) => values::choice(choices, value).ok_or_else(invalid)?.to_owned(),
        Kind::DateStyle => values::date_style(value, setting.default).ok_or_else(invalid)?,
        Kind::TimeZone => match values::time_zone(value.trim()) {
            Some(zone) => zone,
            None => return Err(invalid()),
        },
    })
}

fn on_or_off(flag: bool) -> &'static str {
    if flag { "on" } else { "off" }
}

fn not_bool(name: &str) -> Error {
    Error::InvalidParameterValue { message: format!("parameter \"{name}\" requires a Boolean value") }
}

/// A value that PostgreSQL has, and that would change what statements mean.
fn not_served(setting: &SettingDescription, value: &str) -> Error {
    let (name, default) = (setting.name, setting.default);
    let message =
        format!("setting parameter \"{name}\" to \"{value}\" is not supported: it stays \"{default}\"");
    Error::NotSupported { message }
}

/// With less a query cannot even spill.
const MEMORY_LIMIT_MIN: u64 = 64 << 20;

/// PostgreSQL keeps its timeouts in 32 bits.
const MILLISECONDS_MAX: u64 = i32::MAX as u64;

fn milliseconds(value: &str) -> Duration {
    match value.parse::<u64>() {
        Ok(number) => Duration::from_millis(number),
        Err(_) => value.parse::<Interval>().map(|interval| interval.0).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_and_units_understood() {
        let mut settings = Settings::new("postgres");
        settings.set("STATEMENT_TIMEOUT", Some("2s"), false).expect("a duration");
        assert_eq!(settings.statement_timeout(), Some(Duration::from_secs(2)));
        settings.set("statement_timeout", Some("150"), false).expect("milliseconds");
        assert_eq!(settings.statement_timeout(), Some(Duration::from_millis(150)));
        assert!(settings.set("sluice.route", Some("moon"), false).is_err());
        let fixed = settings.set("server_version", Some("9"), false).expect_err("fixed");
        assert_eq!(fixed.sqlstate().as_str(), "55P02");
        for identity in ["role", "session_authorization"] {
            settings.set(identity, Some("postgres"), false).expect_err("the gate's");
            settings.set_initial(identity, "postgres").expect_err("the gate's");
        }
        let unknown = settings.set("no_such", Some("1"), false).expect_err("unknown");
        assert_eq!(unknown.sqlstate().as_str(), "42704");
    }

    #[test]
    fn a_rolled_back_block_leaves_settings_as_they_were() {
        let mut settings = Settings::new("postgres");
        settings.begin();
        settings.set("sluice.route", Some("local"), false).expect("a route");
        settings.end(false);
        assert_eq!(settings.route(), RouteSetting::Auto);
        settings.begin();
        settings.set("sluice.route", Some("local"), true).expect("a route");
        settings.set("application_name", Some("me"), false).expect("a text");
        settings.end(true);
        assert_eq!(settings.route(), RouteSetting::Auto);
        assert_eq!(settings.get("application_name").expect("a setting"), "me");
        settings.set("application_name", Some(&"ü".repeat(500)), false).expect("a long text");
        assert_eq!(settings.get("application_name").expect("a setting"), "?".repeat(63));
        settings.set("application_name", Some("me"), false).expect("a text");
        settings.begin();
        settings.set("sluice.route", Some("local"), true).expect("a route");
        settings.set("sluice.route", Some("cluster"), false).expect("a route");
        settings.end(true);
        assert_eq!(settings.route(), RouteSetting::Cluster);
    }

    #[test]
    fn limits_of_a_role_may_be_lowered_and_not_raised() {
        let mut role = Role::new(20, "ann");
        role.settings.insert("sluice.max_memory".to_owned(), "1GB".to_owned());
        role.settings.insert("sluice.max_time".to_owned(), "10s".to_owned());
        let mut settings = Settings::new("ann");
        settings.begin_as(&role);
        assert_eq!(settings.max_memory(), Some(1 << 30));
        settings.set("sluice.max_memory", Some("512MB"), false).expect("lower");
        for raised in ["2GB", "0"] {
            let refused = settings.set("sluice.max_memory", Some(raised), false).expect_err(raised);
            assert_eq!(refused.sqlstate().as_str(), "42501");
        }
        settings.set("sluice.max_memory", None, false).expect("back to the role's");
        assert_eq!(settings.max_memory(), Some(1 << 30));
        settings.set("statement_timeout", Some("1h"), false).expect("a time");
        assert_eq!(settings.statement_timeout(), Some(Duration::from_secs(10)));
        settings.set("statement_timeout", Some("1s"), false).expect("a time");
        assert_eq!(settings.statement_timeout(), Some(Duration::from_secs(1)));
        role.is_superuser = true;
        let mut settings = Settings::new("ann");
        settings.begin_as(&role);
        settings.set("sluice.max_memory", Some("0"), false).expect("nothing binds a superuser");
    }
}
