//! The one way to a setting's value, and so to who a session acts as.
//!
//! SET, SET LOCAL, RESET, DISCARD, `set_config`, start-up parameters and options all come through [`Session::set`]. A role
//! is taken only by who is a member of it, another session's identity only by who signed in as a superuser.

use std::sync::Arc;

use catalog::{Metadata, Role};
use engine::{Error, Result};

use super::settings;
use super::{Session, SettingDescription};

/// For how long a value is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// From the start of the session: what RESET goes back to.
    Start,
    /// Until the session ends or sets another one.
    Session,
    /// Until the transaction block ends.
    Block,
}

impl Session {
    /// Sets `name`; without a value to what the session began with. Gives the settings whose change the client must be told
    /// of.
    ///
    /// Fails with 42704 for a setting that does not exist, 55P02 for one that nobody sets, 22023 for a wrong value and 42501
    /// for one that the session's role may not set.
    pub fn set(
        &mut self,
        metadata: &Metadata,
        name: &str,
        value: Option<&str>,
        scope: Scope,
    ) -> Result<Vec<&'static SettingDescription>> {
        match settings::identity(name)? {
            Some("role") => self.set_role(metadata, value, scope),
            Some(_) => self.set_authorization(metadata, value, scope),
            None if scope == Scope::Start => {
                self.settings.set_initial(name, value.unwrap_or_default())?;
                Ok(Vec::new())
            }
            None => {
                self.check_characteristic(name, value)?;
                Ok(self.settings.set(name, value, scope == Scope::Block)?.into_iter().collect())
            }
        }
    }

    /// What a transaction may do is said before it does anything, and not in a part of it.
    fn check_characteristic(&self, name: &str, value: Option<&str>) -> Result<()> {
        if !self.transaction.is_going_on() {
            return Ok(());
        }
        let Some((name, is_other)) = self.settings.characteristic(name, value)? else { return Ok(()) };
        let is_part = !self.savepoints.is_empty();
        let refused = match name {
            "transaction_isolation" if is_other && self.has_queried => {
                "SET TRANSACTION ISOLATION LEVEL must be called before any query"
            }
            "transaction_isolation" if is_other && is_part => {
                "SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction"
            }
            "transaction_read_only" if is_other && self.settings.is_read_only() && is_part => {
                "cannot set transaction read-write mode inside a read-only transaction"
            }
            "transaction_read_only" if is_other && self.settings.is_read_only() && self.has_queried => {
                "transaction read-write mode must be set before any query"
            }
            "transaction_deferrable" if is_part => {
                "SET TRANSACTION [NOT] DEFERRABLE cannot be called within a subtransaction"
            }
            "transaction_deferrable" if self.has_queried => {
                "SET TRANSACTION [NOT] DEFERRABLE must be called before any query"
            }
            _ => return Ok(()),
        };
        Err(Error::ActiveTransaction { message: refused.to_owned() })
    }

    /// What the transaction may do, by the settings' names.
    pub fn characteristics(&self) -> Vec<(&'static str, String)> {
        self.settings.characteristics()
    }

    /// Goes on under the names that its roles have now: another role that has one of the old ones since is not the session's.
    /// Fails with 28000 when one of them is no more.
    pub fn follow(&mut self, current: &Arc<Metadata>) -> Result<()> {
        if self.followed == Some(current.version) {
            return Ok(());
        }
        let metadata = self.metadata(current);
        let role = self.settings.get("role").unwrap_or("none");
        let names = [self.user.as_str(), self.session_user(), role].map(str::to_owned);
        for name in names {
            let Some(&oid) = self.oids.get(&name) else { continue };
            if metadata.roles.get(&name).is_some_and(|role| role.oid == oid) {
                continue;
            }
            let Some(role) = metadata.role_by_oid(oid) else {
                let message = format!("role \"{name}\" does not exist any more");
                return Err(Error::InvalidAuthorization { message });
            };
            self.oids.remove(&name);
            self.oids.insert(role.name.clone(), oid);
            if self.user == name {
                self.user.clone_from(&role.name);
            }
            self.settings.rename_identity(&name, &role.name);
        }
        self.followed = Some(current.version);
        Ok(())
    }

    /// Sets all as the session began, save for who it is.
    pub fn reset_all(&mut self) -> Vec<&'static SettingDescription> {
        self.settings.reset_all()
    }

    /// The role that signed in goes on, as itself.
    pub fn reset_identity(&mut self, metadata: &Metadata) -> Result<Vec<&'static SettingDescription>> {
        let mut changed = self.set_authorization(metadata, None, Scope::Session)?;
        changed.extend(self.set_role(metadata, None, Scope::Session)?);
        Ok(changed)
    }

    fn set_role(
        &mut self,
        metadata: &Metadata,
        value: Option<&str>,
        scope: Scope,
    ) -> Result<Vec<&'static SettingDescription>> {
        let name = value.unwrap_or_else(|| self.settings.initial("role")).to_owned();
        let session_user = named(metadata, self.session_user())?;
        let acts_as = match name.as_str() {
            "none" => session_user,
            name => named(metadata, name)?,
        };
        if !metadata.is_member(session_user.oid, acts_as.oid) {
            let message = format!("permission denied to set role \"{name}\"");
            return Err(Error::PermissionDenied { message });
        }
        let is_superuser = on_or_off(acts_as.is_superuser);
        self.oids.insert(acts_as.name.clone(), acts_as.oid);
        Ok(self.assume(&[("role", &name), ("is_superuser", is_superuser)], scope))
    }

    fn set_authorization(
        &mut self,
        metadata: &Metadata,
        value: Option<&str>,
        scope: Scope,
    ) -> Result<Vec<&'static SettingDescription>> {
        let name = value.unwrap_or(&self.user).to_owned();
        let wanted = named(metadata, &name)?;
        let signed_in = named(metadata, &self.user)?;
        if wanted.oid != signed_in.oid && !signed_in.is_superuser {
            let message = format!("permission denied to set session authorization \"{name}\"");
            return Err(Error::PermissionDenied { message });
        }
        if scope == Scope::Start {
            // As in PostgreSQL, who signs in begins as itself.
            return Ok(Vec::new());
        }
        let is_superuser = on_or_off(wanted.is_superuser);
        self.oids.insert(wanted.name.clone(), wanted.oid);
        let values =
            [("session_authorization", name.as_str()), ("role", "none"), ("is_superuser", is_superuser)];
        Ok(self.assume(&values, scope))
    }

    fn assume(&mut self, values: &[(&'static str, &str)], scope: Scope) -> Vec<&'static SettingDescription> {
        if scope == Scope::Start {
            values.iter().for_each(|(name, value)| self.settings.set_fixed(name, value));
            return Vec::new();
        }
        self.settings.put_identity(values, scope == Scope::Block)
    }
}

fn on_or_off(flag: bool) -> &'static str {
    if flag { "on" } else { "off" }
}

fn named<'a>(metadata: &'a Metadata, name: &str) -> Result<&'a Role> {
    metadata
        .roles
        .get(name)
        .ok_or_else(|| Error::InvalidParameterValue { message: format!("role \"{name}\" does not exist") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use catalog::{Change, FIRST_ROLE_OID, Membership};

    fn house() -> Metadata {
        let mut metadata = Metadata::first();
        for (oid, name) in [(20_001, "ann"), (20_002, "readers"), (20_003, "bob")] {
            metadata.apply(&Change::PutRole(Role::new(oid, name)));
        }
        metadata.apply(&Change::AddMember(Membership {
            role: 20_002,
            member: 20_001,
            is_admin: false,
            grantor: FIRST_ROLE_OID,
        }));
        metadata
    }

    fn session_of(user: &str) -> Session {
        Session::new(1, &house().roles[user], "postgres".to_owned(), 10)
    }

    #[test]
    fn a_session_keeps_its_role_and_not_the_name() {
        let mut metadata = house();
        let (mut ann, mut bob) = (session_of("ann"), session_of("bob"));
        ann.set(&metadata, "role", Some("readers"), Scope::Session).expect("a role of hers");
        let renamed = |metadata: &Metadata, name: &str, to: &str| {
            Change::PutRole(Role { name: to.to_owned(), ..metadata.roles[name].clone() })
        };
        for (name, to) in [("bob", "bob_left"), ("readers", "guests")] {
            let change = renamed(&metadata, name, to);
            metadata.apply(&change);
        }
        let mut other = Role::new(20_009, "bob");
        other.is_superuser = true;
        metadata.apply(&Change::PutRole(other));
        metadata.version += 1;
        let current = Arc::new(metadata);
        ann.follow(&current).expect("her roles are there");
        bob.follow(&current).expect("his role is there");
        assert_eq!((ann.current_user(), ann.session_user()), ("guests", "ann"));
        assert_eq!((bob.current_user(), bob.user.as_str()), ("bob_left", "bob_left"));

        let mut metadata = Metadata::clone(&current);
        metadata.apply(&Change::DropRole { oid: 20_003 });
        metadata.apply(&Change::PutRole(Role::new(20_010, "bob_left")));
        metadata.version += 1;
        let error = bob.follow(&Arc::new(metadata)).expect_err("another role has its name");
        assert_eq!(error.sqlstate().as_str(), "28000");
    }

    #[test]
    fn a_role_is_taken_by_its_members_alone() {
        let metadata = house();
        let mut ann = session_of("ann");
        for scope in [Scope::Start, Scope::Session, Scope::Block] {
            for (name, value) in [("role", "postgres"), ("ROLE", "bob"), ("session_authorization", "bob")] {
                let refused = ann.set(&metadata, name, Some(value), scope).expect_err(name);
                assert_eq!(refused.sqlstate().as_str(), "42501", "{name} {value} {scope:?}");
            }
            assert_eq!((ann.current_user(), ann.session_user()), ("ann", "ann"));
        }
        ann.set(&metadata, "role", Some("readers"), Scope::Session).expect("a role of hers");
        assert_eq!((ann.current_user(), ann.session_user()), ("readers", "ann"));
        // What the current role is a member of does not count.
        ann.set(&metadata, "role", None, Scope::Session).expect("back");
        assert_eq!(ann.current_user(), "ann");
        let missing = ann.set(&metadata, "role", Some("nobody"), Scope::Session).expect_err("no role");
        assert_eq!(missing.sqlstate().as_str(), "22023");
    }

    #[test]
    fn a_superuser_takes_any_identity_and_comes_back() {
        let metadata = house();
        let mut session = session_of("postgres");
        let changed = session
            .set(&metadata, "session_authorization", Some("ann"), Scope::Session)
            .expect("a superuser may");
        assert!(changed.iter().any(|setting| setting.name == "is_superuser"));
        assert_eq!((session.current_user(), session.session_user()), ("ann", "ann"));
        session.set(&metadata, "role", Some("bob"), Scope::Session).expect_err("ann may not");
        session.set(&metadata, "role", Some("readers"), Scope::Session).expect("ann may");
        session.reset_all();
        assert_eq!(session.current_user(), "readers");
        session.reset_identity(&metadata).expect("back");
        assert_eq!((session.current_user(), session.session_user()), ("postgres", "postgres"));
        assert_eq!(session.settings.get("is_superuser").expect("a setting"), "on");
    }

    #[test]
    fn an_identity_of_a_block_ends_with_it() {
        let metadata = house();
        let mut session = session_of("postgres");
        session.settings.begin();
        session.set(&metadata, "role", Some("ann"), Scope::Block).expect("a role");
        assert_eq!(session.current_user(), "ann");
        session.settings.end(true);
        assert_eq!(session.current_user(), "postgres");
        assert_eq!(session.settings.get("is_superuser").expect("a setting"), "on");
        session.settings.begin();
        session.set(&metadata, "role", Some("ann"), Scope::Session).expect("a role");
        session.settings.end(false);
        assert_eq!(session.current_user(), "postgres");
    }
}
