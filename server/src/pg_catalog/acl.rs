//! Access control lists as PostgreSQL prints them: `grantee=letters/grantor`.

use std::collections::BTreeMap;

use catalog::{FIRST_ROLE, GrantObject, PUBLIC_GRANTEE, Privilege};

use super::View;

/// The list of `object`; `None` when nothing was granted, as in PostgreSQL.
pub fn of(view: &View, object: &GrantObject, all: &[Privilege]) -> Option<Vec<String>> {
    let metadata = view.snapshot.metadata();
    let name = |oid: u32| match oid {
        PUBLIC_GRANTEE => String::new(),
        oid => metadata.role_by_oid(oid).map_or_else(|| oid.to_string(), |role| role.name.clone()),
    };
    let mut by_grantee: BTreeMap<(String, String), Vec<(Privilege, bool)>> = BTreeMap::new();
    for grant in metadata.grants.iter().filter(|grant| grant.object == *object) {
        let key = (name(grant.grantee), name(grant.grantor));
        by_grantee.entry(key).or_default().push((grant.privilege, grant.is_grantable));
    }
    if by_grantee.is_empty() {
        return None;
    }
    let letters = |granted: &[(Privilege, bool)]| {
        let letter = |privilege: &Privilege| {
            let found = granted.iter().find(|(granted, _)| granted == privilege);
            found.map(|(p, grantable)| format!("{}{}", p.letter(), if *grantable { "*" } else { "" }))
        };
        all.iter().filter_map(letter).collect::<String>()
    };
    let letters_of_all: String = all.iter().map(|privilege| privilege.letter()).collect();
    let owner = match object {
        GrantObject::Table(table) => quoted(&name(metadata.owner(table))),
        GrantObject::Schema(_) | GrantObject::Database => FIRST_ROLE.to_owned(),
    };
    let mut items = vec![format!("{owner}={letters_of_all}/{owner}")];
    let lists = by_grantee.iter().map(|((grantee, grantor), granted)| {
        format!("{}={}/{}", quoted(grantee), letters(granted), quoted(grantor))
    });
    items.extend(lists);
    Some(items)
}

fn quoted(role: &str) -> String {
    if role.is_empty() { String::new() } else { catalog::identifier::quote(role) }
}
