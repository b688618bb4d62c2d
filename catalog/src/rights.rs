//! What roles may do: membership, ownership and grants, counted as PostgreSQL 15 counts them (its `acl.c`).
//!
//! Being a *member* of a role allows SET ROLE to it. *Having its privileges* without that asks more: every role on the
//! way must inherit.

use std::collections::BTreeSet;

use crate::metadata::{Change, Metadata};
use crate::role::{FIRST_ROLE_OID, Grant, GrantObject, PUBLIC_GRANTEE, Privilege, Role};

/// Why privileges cannot be given or taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantProblem {
    /// A grant option was to go to PUBLIC.
    OptionForPublic,
    /// A grant option was to go back to where the grantor has it from.
    Circular,
    /// Others have privileges from the one who is to lose the option, and CASCADE was not said.
    Dependents,
}

/// Privileges on one object to be given or taken by one role.
#[derive(Debug, Clone)]
pub struct Granted<'a> {
    /// On what.
    pub object: &'a GrantObject,
    /// Which.
    pub privileges: &'a [Privilege],
    /// By whom, as [`Metadata::grantor`] finds it.
    pub grantor: u32,
}

impl Metadata {
    /// `role` and every role it is a member of, however far.
    pub fn roles_of(&self, role: u32) -> Vec<u32> {
        self.reach(role, |_| true)
    }

    /// `role` and every role whose privileges it has without SET ROLE.
    pub fn inherited_roles_of(&self, role: u32) -> Vec<u32> {
        self.reach(role, |member| self.role_by_oid(member).is_some_and(|role| role.inherits))
    }

    fn reach(&self, role: u32, goes_on_from: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut found = vec![role];
        let mut at = 0;
        while at < found.len() {
            let member = found[at];
            if goes_on_from(member) {
                // In PostgreSQL's order, which decides between grantors that are as good as each other.
                let parents = self.memberships.iter().filter(|known| known.member == member);
                let parents: BTreeSet<u32> = parents.map(|known| known.role).collect();
                let new: Vec<u32> = parents.into_iter().filter(|role| !found.contains(role)).collect();
                found.extend(new);
            }
            at += 1;
        }
        found
    }

    /// True for superusers.
    pub fn is_superuser(&self, role: u32) -> bool {
        self.role_by_oid(role).is_some_and(|role| role.is_superuser)
    }

    /// True when `member` may become `role` by SET ROLE.
    pub fn is_member(&self, member: u32, role: u32) -> bool {
        self.is_superuser(member) || self.roles_of(member).contains(&role)
    }

    /// True when `member` has what `role` has as it is.
    pub fn has_privileges_of(&self, member: u32, role: u32) -> bool {
        self.is_superuser(member) || self.inherited_roles_of(member).contains(&role)
    }

    /// True when `role` may make others members of `of`: a superuser, or by an admin option that it or a role that it is a
    /// member of was given.
    pub fn administers(&self, role: u32, of: u32) -> bool {
        let roles = self.roles_of(role);
        self.is_superuser(role)
            || self
                .memberships
                .iter()
                .any(|known| known.role == of && known.is_admin && roles.contains(&known.member))
    }

    /// The role that owns `object`.
    pub fn owner_of(&self, object: &GrantObject) -> u32 {
        match object {
            GrantObject::Table(table) => self.owner(table),
            GrantObject::Schema(schema) => self.schema_owner(schema),
            GrantObject::Database => FIRST_ROLE_OID,
        }
    }

    /// True when `role` may do with `object` what only its owner may.
    pub fn owns(&self, role: u32, object: &GrantObject) -> bool {
        self.has_privileges_of(role, self.owner_of(object))
    }

    /// True when the owner of `object` took `privilege` from itself.
    pub fn is_taken_from_owner(&self, object: &GrantObject, privilege: Privilege) -> bool {
        let owner = self.owner_of(object);
        self.on(object)
            .any(|grant| grant.grantee == owner && grant.grantor == owner && grant.privilege == privilege)
    }

    /// What was granted on `object`: without what its owner took from itself.
    pub fn grants_on(&self, object: &GrantObject) -> impl Iterator<Item = &Grant> {
        let owner = self.owner_of(object);
        self.on(object).filter(move |grant| !(grant.grantee == owner && grant.grantor == owner))
    }

    fn on(&self, object: &GrantObject) -> impl Iterator<Item = &Grant> {
        self.grants.iter().filter(move |grant| grant.object == *object)
    }

    /// True when `role` may do `privilege` on `object`: as a superuser, as its owner, or by a grant to it, to a role whose
    /// privileges it has, or to all.
    pub fn allows(&self, role: u32, object: &GrantObject, privilege: Privilege) -> bool {
        self.allows_some(role, object, &[privilege])
    }

    /// The same for any of `privileges`.
    pub fn allows_some(&self, role: u32, object: &GrantObject, privileges: &[Privilege]) -> bool {
        let Some(known) = self.role_by_oid(role) else { return false };
        if known.is_superuser {
            return true;
        }
        let roles = self.inherited_roles_of(role);
        let is_owner = roles.contains(&self.owner_of(object));
        privileges.iter().any(|privilege| {
            (is_owner && !self.is_taken_from_owner(object, *privilege))
                || self.grants_on(object).any(|grant| {
                    grant.privilege == *privilege
                        && (grant.grantee == PUBLIC_GRANTEE || roles.contains(&grant.grantee))
                })
        })
    }

    /// True when `role` may not look into `schema`: it has no USAGE of it. The system's schemas, and those that do not exist,
    /// are open.
    pub fn is_closed_to(&self, role: u32, schema: &str) -> bool {
        self.schemas.contains_key(schema)
            && !self.allows(role, &GrantObject::Schema(schema.to_owned()), Privilege::Usage)
    }

    /// True when `role` may pass `privilege` on `object` on.
    pub fn may_pass_on(&self, role: u32, object: &GrantObject, privilege: Privilege) -> bool {
        self.owns(role, object) || {
            let roles = self.inherited_roles_of(role);
            roles.iter().any(|role| self.has_option(*role, object, privilege))
        }
    }

    /// Itself, not by membership.
    fn has_option(&self, role: u32, object: &GrantObject, privilege: Privilege) -> bool {
        role == self.owner_of(object) || has_option(self.grants_on(object), role, privilege)
    }

    /// In whose name `role` gives or takes `wanted` on `object`, and which of them that one may: the owner where `role` is
    /// it or a superuser, else the role whose privileges it has that may pass most of them on.
    pub fn grantor(&self, role: u32, object: &GrantObject, wanted: &[Privilege]) -> (u32, Vec<Privilege>) {
        let owner = self.owner_of(object);
        if role == owner || self.is_superuser(role) {
            return (owner, wanted.to_vec());
        }
        let mut best = (role, Vec::new());
        for candidate in self.inherited_roles_of(role) {
            let may: Vec<Privilege> = wanted
                .iter()
                .copied()
                .filter(|privilege| self.has_option(candidate, object, *privilege))
                .collect();
            if may.len() > best.1.len() {
                best = (candidate, may);
            }
        }
        best
    }

    /// The changes that give `granted` to `grantees`.
    pub fn granting(
        &self,
        granted: &Granted<'_>,
        grantees: &[u32],
        with_option: bool,
    ) -> Result<Vec<Change>, GrantProblem> {
        let owner = self.owner_of(granted.object);
        let before: Vec<Grant> = self.on(granted.object).cloned().collect();
        let mut after = before.clone();
        for grantee in grantees {
            if with_option && *grantee == PUBLIC_GRANTEE {
                return Err(GrantProblem::OptionForPublic);
            }
            for privilege in granted.privileges {
                if with_option && granted.grantor != owner && *grantee != owner {
                    let mut without = after.clone();
                    self.withdraw_option(&mut without, owner, *grantee, *privilege)?;
                    if !self.still_has_option(&without, owner, granted.grantor, *privilege) {
                        return Err(GrantProblem::Circular);
                    }
                }
                let is_same = |grant: &&mut Grant| {
                    grant.grantee == *grantee
                        && grant.grantor == granted.grantor
                        && grant.privilege == *privilege
                };
                if *grantee == owner && granted.grantor == owner {
                    // It has it without a grant, once it no longer lacks it.
                    after.retain(|grant| {
                        !(grant.grantee == owner && grant.grantor == owner && grant.privilege == *privilege)
                    });
                } else if let Some(known) = after.iter_mut().find(is_same) {
                    known.is_grantable |= with_option;
                } else {
                    after.push(Grant {
                        object: granted.object.clone(),
                        grantee: *grantee,
                        privilege: *privilege,
                        is_grantable: with_option,
                        grantor: granted.grantor,
                    });
                }
            }
        }
        Ok(differences(&before, &after))
    }

    /// The changes that take `granted` from `grantees`, or only the option to pass it on. With `is_cascade` also what those
    /// have passed on.
    pub fn revoking(
        &self,
        granted: &Granted<'_>,
        grantees: &[u32],
        only_option: bool,
        is_cascade: bool,
    ) -> Result<Vec<Change>, GrantProblem> {
        let owner = self.owner_of(granted.object);
        let before: Vec<Grant> = self.on(granted.object).cloned().collect();
        let mut after = before.clone();
        for grantee in grantees {
            for privilege in granted.privileges {
                let is_meant = |grant: &Grant| {
                    grant.grantee == *grantee
                        && grant.grantor == granted.grantor
                        && grant.privilege == *privilege
                };
                if *grantee == owner && granted.grantor == owner {
                    // An owner may always pass on; what it takes from itself is kept as a grant to itself.
                    if !only_option && !after.iter().any(is_meant) {
                        after.push(Grant {
                            object: granted.object.clone(),
                            grantee: owner,
                            privilege: *privilege,
                            is_grantable: false,
                            grantor: owner,
                        });
                    }
                    continue;
                }
                let lost_option = after.iter().any(|grant| is_meant(grant) && grant.is_grantable);
                if only_option {
                    after
                        .iter_mut()
                        .filter(|grant| is_meant(grant))
                        .for_each(|grant| grant.is_grantable = false);
                } else {
                    after.retain(|grant| !is_meant(grant));
                }
                if lost_option {
                    self.withdraw_passed_on(&mut after, owner, *grantee, *privilege, is_cascade)?;
                }
            }
        }
        Ok(differences(&before, &after))
    }

    /// Takes every option of `grantee` to pass `privilege` on, and what it has passed on.
    fn withdraw_option(
        &self,
        grants: &mut Vec<Grant>,
        owner: u32,
        grantee: u32,
        privilege: Privilege,
    ) -> Result<(), GrantProblem> {
        let mut lost_option = false;
        for grant in
            grants.iter_mut().filter(|grant| grant.grantee == grantee && grant.privilege == privilege)
        {
            lost_option |= std::mem::take(&mut grant.is_grantable);
        }
        match lost_option {
            true => self.withdraw_passed_on(grants, owner, grantee, privilege, true),
            false => Ok(()),
        }
    }

    /// Takes what `grantor`, who lost an option, has passed on, unless it has the option in another way too. Who loses an
    /// option by that is looked at again each time another one does: the way in which it had it may have gone.
    fn withdraw_passed_on(
        &self,
        grants: &mut Vec<Grant>,
        owner: u32,
        grantor: u32,
        privilege: Privilege,
        is_cascade: bool,
    ) -> Result<(), GrantProblem> {
        let mut losers = vec![grantor];
        while let Some(at) = grants.iter().position(|grant| {
            losers.contains(&grant.grantor)
                && grant.privilege == privilege
                && !self.still_has_option(grants, owner, grant.grantor, privilege)
        }) {
            if !is_cascade {
                return Err(GrantProblem::Dependents);
            }
            let lost = grants.remove(at);
            if lost.is_grantable {
                losers.push(lost.grantee);
            }
        }
        Ok(())
    }

    /// Whether `grants` leave `role` an option: its own, or that of a role whose privileges it has.
    fn still_has_option(&self, grants: &[Grant], owner: u32, role: u32, privilege: Privilege) -> bool {
        self.has_privileges_of(role, owner)
            || grants.iter().any(|grant| {
                grant.privilege == privilege
                    && grant.is_grantable
                    && self.has_privileges_of(role, grant.grantee)
            })
    }

    /// The changes that go with a new owner of `object`: what the old one had granted is the new one's to take back.
    pub fn with_owner(&self, object: &GrantObject, owner: u32) -> Vec<Change> {
        let old = self.owner_of(object);
        if old == owner {
            return Vec::new();
        }
        let before: Vec<Grant> = self.on(object).cloned().collect();
        let mut after: Vec<Grant> = Vec::new();
        for grant in &before {
            let is_own = grant.grantee == old && grant.grantor == old;
            let renamed = |oid: u32| if oid == old { owner } else { oid };
            let moved =
                Grant { grantee: renamed(grant.grantee), grantor: renamed(grant.grantor), ..grant.clone() };
            // What the two granted to each other or to themselves, the new owner has now without; nobody lacks it any more.
            let is_granted = |grant: &Grant| {
                !(grant.grantee == old && grant.grantor == old)
                    && renamed(grant.grantee) == owner
                    && renamed(grant.grantor) == owner
                    && grant.privilege == moved.privilege
            };
            let has_it = if is_own { before.iter().any(is_granted) } else { is_granted(grant) };
            if has_it {
                continue;
            }
            let is_same = |known: &&mut Grant| {
                (known.grantee, known.grantor, known.privilege)
                    == (moved.grantee, moved.grantor, moved.privilege)
            };
            match after.iter_mut().find(is_same) {
                Some(known) => known.is_grantable |= moved.is_grantable,
                None => after.push(moved),
            }
        }
        differences(&before, &after)
    }

    /// A grant to `role` or by it, which must go before the role does.
    pub fn grant_that_names(&self, role: &Role) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.grantee == role.oid || grant.grantor == role.oid)
    }
}

fn has_option<'a>(mut grants: impl Iterator<Item = &'a Grant>, role: u32, privilege: Privilege) -> bool {
    grants.any(|grant| grant.grantee == role && grant.privilege == privilege && grant.is_grantable)
}

/// The changes that lead from one list of grants on an object to another.
fn differences(before: &[Grant], after: &[Grant]) -> Vec<Change> {
    let key = |grant: &Grant| (grant.grantee, grant.privilege, grant.grantor);
    let gone = before.iter().filter(|grant| !after.iter().any(|other| key(other) == key(grant)));
    let gone = gone.map(|grant| Change::DropGrant {
        object: grant.object.clone(),
        grantee: grant.grantee,
        privilege: grant.privilege,
        grantor: grant.grantor,
    });
    let new = after.iter().filter(|grant| !before.contains(grant)).cloned().map(Change::PutGrant);
    gone.chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::Membership;
    use crate::{TableName, role};

    const TABLE_OWNER: u32 = 20_001;
    const ANN: u32 = 20_002;
    const BOB: u32 = 20_003;
    const EVE: u32 = 20_004;

    fn table() -> GrantObject {
        GrantObject::Table(TableName::new("public", "orders"))
    }

    fn house() -> Metadata {
        let mut metadata = Metadata::first();
        for (oid, name) in [(TABLE_OWNER, "owner"), (ANN, "ann"), (BOB, "bob"), (EVE, "eve")] {
            metadata.apply(&Change::PutRole(Role::new(oid, name)));
        }
        metadata.apply(&Change::SetOwner { table: TableName::new("public", "orders"), owner: TABLE_OWNER });
        metadata
    }

    fn give(metadata: &mut Metadata, by: u32, to: u32, with_option: bool) -> Result<(), GrantProblem> {
        let (grantor, privileges) = metadata.grantor(by, &table(), &[Privilege::Select]);
        let granted = Granted { object: &table(), privileges: &privileges, grantor };
        let changes = metadata.granting(&granted, &[to], with_option)?;
        changes.iter().for_each(|change| metadata.apply(change));
        Ok(())
    }

    fn take(metadata: &mut Metadata, by: u32, from: u32, is_cascade: bool) -> Result<(), GrantProblem> {
        let (grantor, privileges) = metadata.grantor(by, &table(), &[Privilege::Select]);
        let granted = Granted { object: &table(), privileges: &privileges, grantor };
        let changes = metadata.revoking(&granted, &[from], false, is_cascade)?;
        changes.iter().for_each(|change| metadata.apply(change));
        Ok(())
    }

    #[test]
    fn privileges_come_by_grant_by_membership_and_to_all() {
        let mut metadata = house();
        give(&mut metadata, TABLE_OWNER, ANN, false).expect("a grant");
        metadata.apply(&Change::AddMember(Membership {
            role: ANN,
            member: BOB,
            is_admin: false,
            grantor: FIRST_ROLE_OID,
        }));
        assert!(metadata.allows(BOB, &table(), Privilege::Select));
        assert!(!metadata.allows(BOB, &table(), Privilege::Insert));
        assert!(metadata.allows(FIRST_ROLE_OID, &table(), Privilege::Insert));
        assert!(metadata.allows(BOB, &GrantObject::Schema("public".into()), Privilege::Usage));
        metadata.apply(&Change::RemoveMember { role: ANN, member: BOB });
        assert!(!metadata.allows(BOB, &table(), Privilege::Select));
    }

    #[test]
    fn a_member_that_does_not_inherit_has_nothing_of_its_role() {
        let mut metadata = house();
        metadata.apply(&Change::PutRole(Role { inherits: false, ..Role::new(ANN, "ann") }));
        metadata.apply(&Change::AddMember(Membership {
            role: TABLE_OWNER,
            member: ANN,
            is_admin: false,
            grantor: FIRST_ROLE_OID,
        }));
        assert!(metadata.is_member(ANN, TABLE_OWNER));
        assert!(!metadata.owns(ANN, &table()));
        assert!(!metadata.allows(ANN, &table(), Privilege::Select));
        // Nor who is a member through it.
        metadata.apply(&Change::AddMember(Membership {
            role: ANN,
            member: BOB,
            is_admin: false,
            grantor: FIRST_ROLE_OID,
        }));
        assert!(metadata.is_member(BOB, TABLE_OWNER) && !metadata.owns(BOB, &table()));
    }

    #[test]
    fn what_was_passed_on_goes_with_its_grantor() {
        let mut metadata = house();
        give(&mut metadata, TABLE_OWNER, ANN, true).expect("an option");
        give(&mut metadata, ANN, BOB, true).expect("an option");
        give(&mut metadata, BOB, EVE, false).expect("a grant");
        assert_eq!(give(&mut metadata, BOB, ANN, true), Err(GrantProblem::Circular));
        assert_eq!(
            give(&mut metadata, TABLE_OWNER, role::PUBLIC_GRANTEE, true),
            Err(GrantProblem::OptionForPublic)
        );
        // Nobody takes what another one gave.
        take(&mut metadata, ANN, EVE, true).expect("nothing of hers");
        assert!(metadata.allows(EVE, &table(), Privilege::Select));
        assert_eq!(take(&mut metadata, TABLE_OWNER, ANN, false), Err(GrantProblem::Dependents));
        take(&mut metadata, TABLE_OWNER, ANN, true).expect("all of it");
        for role in [ANN, BOB, EVE] {
            assert!(!metadata.allows(role, &table(), Privilege::Select));
        }
        assert!(metadata.grants_on(&table()).next().is_none());
    }

    #[test]
    fn a_grant_without_the_option_leaves_an_option_there_is() {
        let mut metadata = house();
        give(&mut metadata, TABLE_OWNER, ANN, true).expect("an option");
        give(&mut metadata, TABLE_OWNER, ANN, false).expect("a grant");
        assert!(metadata.may_pass_on(ANN, &table(), Privilege::Select));
    }

    #[test]
    fn an_owner_may_take_from_itself_and_give_back() {
        let mut metadata = house();
        take(&mut metadata, TABLE_OWNER, TABLE_OWNER, false).expect("its own");
        assert!(!metadata.allows(TABLE_OWNER, &table(), Privilege::Select));
        assert!(metadata.may_pass_on(TABLE_OWNER, &table(), Privilege::Select));
        assert!(metadata.grants_on(&table()).next().is_none());
        give(&mut metadata, TABLE_OWNER, TABLE_OWNER, false).expect("its own");
        assert!(metadata.allows(TABLE_OWNER, &table(), Privilege::Select));
        assert_eq!(metadata, house());
    }

    #[test]
    fn grants_follow_the_owner() {
        let mut metadata = house();
        give(&mut metadata, TABLE_OWNER, ANN, false).expect("a grant");
        give(&mut metadata, TABLE_OWNER, BOB, false).expect("a grant");
        let mut changes = metadata.with_owner(&table(), BOB);
        changes.push(Change::SetOwner { table: TableName::new("public", "orders"), owner: BOB });
        changes.iter().for_each(|change| metadata.apply(change));
        let left: Vec<_> = metadata.grants_on(&table()).map(|grant| (grant.grantee, grant.grantor)).collect();
        assert_eq!(left, [(ANN, BOB)]);
        assert!(!metadata.allows(TABLE_OWNER, &table(), Privilege::Select));
        take(&mut metadata, BOB, ANN, false).expect("a grant of the new owner's");
        assert!(!metadata.allows(ANN, &table(), Privilege::Select));
    }
}
