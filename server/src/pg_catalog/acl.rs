//! Access control lists as PostgreSQL prints them: `grantee=letters/grantor`.

use std::collections::BTreeMap;

use catalog::{GrantObject, PUBLIC_GRANTEE, Privilege};

use super::View;

/// The list of `object`; `None` when nothing was granted, as in PostgreSQL.
pub fn of(view: &View, object: &GrantObject, all: &[Privilege]) -> Option<Vec<String>> {
    let metadata = view.snapshot.metadata();
    let name = |oid: u32| match oid {
        PUBLIC_GRANTEE => String::new(),
        oid => metadata.role_by_oid(oid).map_or_else(|| oid.to_string(), |role| role.name.clone()),
    };
    let mut by_grantee: BTreeMap<(String, String), Vec<(Privilege, bool)>> = BTreeMap::new();
    for grant in metadata.grants_on(object) {
        let key = (name(grant.grantee), name(grant.grantor));
        by_grantee.entry(key).or_default().push((grant.privilege, grant.is_grantable));
    }
    let owners: Vec<(Privilege, bool)> = all
        .iter()
        .filter(|privilege| !metadata.is_taken_from_owner(object, **privilege))
        .map(|privilege| (*privilege, false))
        .collect();
    if by_grantee.is_empty() && owners.len() == all.len() {
        return None;
    }
    let letters = |granted: &[(Privilege, bool)]| {
        let letter = |privilege: &Privilege| {
            let found = granted.iter().find(|(granted, _)| granted == privilege);
            found.map(|(p, grantable)| format!("{}{}", p.letter(), if *grantable { "*" } else { "" }))
        };
        all.iter().filter_map(letter).collect::<String>()
    };
    let owner = quoted(&name(metadata.owner_of(object)));
    let mut items = Vec::new();
    if !owners.is_empty() {
        items.push(format!("{owner}={}/{owner}", letters(&owners)));
    }
    let lists = by_grantee.iter().map(|((grantee, grantor), granted)| {
        format!("{}={}/{}", quoted(grantee), letters(granted), quoted(grantor))
    });
    items.extend(lists);
    Some(items)
}

fn quoted(role: &str) -> String {
    if role.is_empty() { String::new() } else { catalog::identifier::quote_symbols(role) }
}
