//! `has_*_privilege` and their kin: what the catalog's grants say.

use catalog::{GrantObject, Privilege, Role, TableName};
use engine::Error;

use super::super::View;
use super::super::objects::{relation_name, relation_oid};
use super::{Body, Definition, Outcome, Value, failed, function};

/// The functions of this family.
pub const FUNCTIONS: &[Definition] = &[
    function("has_table_privilege", 2..=3, Body::Bool(has_table)),
    function("has_any_column_privilege", 2..=3, Body::Bool(has_table)),
    function("has_column_privilege", 3..=4, Body::Bool(has_column)),
    function("has_schema_privilege", 2..=3, Body::Bool(has_schema)),
    function("has_database_privilege", 2..=3, Body::Bool(has_database)),
    function("has_function_privilege", 2..=3, Body::Bool(always)),
    function("has_language_privilege", 2..=3, Body::Bool(always)),
    function("has_type_privilege", 2..=3, Body::Bool(always)),
    function("has_tablespace_privilege", 2..=3, Body::Bool(is_superuser)),
    function("has_sequence_privilege", 2..=3, Body::Bool(is_superuser)),
    function("has_server_privilege", 2..=3, Body::Bool(is_superuser)),
    function("has_foreign_data_wrapper_privilege", 2..=3, Body::Bool(is_superuser)),
    function("has_parameter_privilege", 2..=3, Body::Bool(always)),
    function("pg_has_role", 2..=3, Body::Bool(has_role)),
    function("row_security_active", 1..=1, Body::Bool(never)),
];

fn always(_: &View, _: &[Value]) -> Outcome<bool> {
    Ok(Some(true))
}

fn never(_: &View, _: &[Value]) -> Outcome<bool> {
    Ok(Some(false))
}

/// A role by name or identifier (42704 for a name nobody has).
fn role<'a>(view: &'a View, value: &Value) -> Outcome<&'a Role> {
    let metadata = view.snapshot.metadata();
    match value {
        Value::Int(oid) => Ok(u32::try_from(*oid).ok().and_then(|oid| metadata.role_by_oid(oid))),
        other => {
            let name = other.text().unwrap_or_default();
            match metadata.roles.get(&name) {
                Some(role) => Ok(Some(role)),
                None => {
                    Err(failed(Error::UndefinedObject { message: format!("role \"{name}\" does not exist") }))
                }
            }
        }
    }
}

/// The role that is asked about, and the rest of the arguments: the role is left out for the current one.
fn asked<'a>(view: &View, call: &'a [Value], rest: usize) -> Outcome<(u32, &'a [Value])> {
    if call.len() == rest {
        return Ok(Some((view.context.role_oid, call)));
    }
    Ok(role(view, &call[0])?.map(|role| (role.oid, &call[1..])))
}

/// A privilege that is asked about, and whether it must be one to pass on.
type Asked = (Privilege, bool);

/// `SELECT, INSERT WITH GRANT OPTION`: any of them is enough.
fn privileges(value: &Value) -> Result<Vec<Asked>, datafusion::error::DataFusionError> {
    let text = value.text().unwrap_or_default();
    let word = |word: &str| {
        let asked = word.trim().to_ascii_uppercase();
        let bare = asked.strip_suffix("WITH GRANT OPTION");
        let privilege = Privilege::from_word(bare.unwrap_or(&asked).trim()).ok_or_else(|| {
            failed(Error::InvalidParameterValue {
                message: format!("unrecognized privilege type: \"{}\"", word.trim()),
            })
        })?;
        Ok((privilege, bare.is_some()))
    };
    text.split(',').map(word).collect()
}

fn allows_any(view: &View, role: u32, object: &GrantObject, wanted: &[Asked]) -> bool {
    let metadata = view.snapshot.metadata();
    wanted.iter().any(|(privilege, to_pass_on)| match to_pass_on {
        true => metadata.may_pass_on(role, object, *privilege),
        false => metadata.allows(role, object, *privilege),
    })
}

fn has_table(view: &View, call: &[Value]) -> Outcome<bool> {
    let Some((role, rest)) = asked(view, call, 2)? else { return Ok(None) };
    let wanted = privileges(&rest[1])?;
    on_relation(view, role, &rest[0], &wanted)
}

fn has_column(view: &View, call: &[Value]) -> Outcome<bool> {
    let Some((role, rest)) = asked(view, call, 3)? else { return Ok(None) };
    let wanted = privileges(&rest[2])?;
    on_relation(view, role, &rest[0], &wanted)
}

fn on_relation(view: &View, role: u32, relation: &Value, wanted: &[Asked]) -> Outcome<bool> {
    let oid = match relation {
        Value::Int(oid) => Some(*oid),
        other => {
            let text = other.text().unwrap_or_default();
            let (schema, name) = match text.split_once('.') {
                Some((schema, name)) => (Some(schema.to_owned()), name.to_owned()),
                None => (None, text.clone()),
            };
            let metadata = view.snapshot.metadata();
            if let Some(schema) =
                schema.as_deref().filter(|s| metadata.is_closed_to(view.context.role_oid, s))
            {
                let message = format!("permission denied for schema {schema}");
                return Err(failed(Error::PermissionDenied { message }));
            }
            let found = relation_oid(view, schema.as_deref(), &name);
            if found.is_none() {
                return Err(failed(Error::UndefinedTable { name: text, position: None }));
            }
            found
        }
    };
    let Some(oid) = oid else { return Ok(None) };
    if let Some(table) = view.snapshot.table_by_oid(oid) {
        let object = GrantObject::Table(TableName::new(&*table.name.schema, &*table.name.table));
        return Ok(Some(allows_any(view, role, &object, wanted)));
    }
    // The system's own may be read by everyone, and changed by no one.
    let is_superuser = view.snapshot.metadata().role_by_oid(role).is_some_and(|role| role.is_superuser);
    let readable = is_superuser || wanted.contains(&(Privilege::Select, false));
    Ok(relation_name(view, oid).map(|_| readable))
}

fn has_schema(view: &View, call: &[Value]) -> Outcome<bool> {
    let Some((role, rest)) = asked(view, call, 2)? else { return Ok(None) };
    let wanted = privileges(&rest[1])?;
    let system = super::super::database::SCHEMAS.iter().map(|(name, _)| *name);
    let metadata = view.snapshot.metadata();
    let mut known = system.chain(metadata.schemas.keys().map(String::as_str));
    let name = match &rest[0] {
        Value::Int(oid) => known.find(|name| super::super::schema_oid(name) == *oid).map(str::to_owned),
        other => {
            let Some(name) = other.text() else { return Ok(None) };
            if !known.any(|known| known == name) {
                return Err(failed(Error::UndefinedSchema { name, position: None }));
            }
            Some(name)
        }
    };
    let Some(name) = name else { return Ok(None) };
    if super::super::is_system_schema(&name) && wanted.contains(&(Privilege::Usage, false)) {
        return Ok(Some(true));
    }
    Ok(Some(allows_any(view, role, &GrantObject::Schema(name), &wanted)))
}

fn has_database(view: &View, call: &[Value]) -> Outcome<bool> {
    let Some((role, rest)) = asked(view, call, 2)? else { return Ok(None) };
    let wanted = privileges(&rest[1])?;
    Ok(Some(allows_any(view, role, &GrantObject::Database, &wanted)))
}

/// `MEMBER` asks about SET ROLE, `USAGE` about what a role has without it; `WITH ADMIN OPTION` of either about who may add
/// members.
fn has_role(view: &View, call: &[Value]) -> Outcome<bool> {
    let Some((member, rest)) = asked(view, call, 2)? else { return Ok(None) };
    let Some(wanted) = role(view, &rest[0])? else { return Ok(None) };
    let metadata = view.snapshot.metadata();
    let text = rest[1].text().unwrap_or_default();
    let mut has = false;
    for word in text.split(',').map(|word| word.trim().to_ascii_uppercase()) {
        has |= match word.as_str() {
            "MEMBER" => metadata.is_member(member, wanted.oid),
            "USAGE" => metadata.has_privileges_of(member, wanted.oid),
            "MEMBER WITH ADMIN OPTION"
            | "MEMBER WITH GRANT OPTION"
            | "USAGE WITH ADMIN OPTION"
            | "USAGE WITH GRANT OPTION" => metadata.administers(member, wanted.oid),
            _ => {
                let message = format!("unrecognized privilege type: \"{}\"", word);
                return Err(failed(Error::InvalidParameterValue { message }));
            }
        };
    }
    Ok(Some(has))
}

fn is_superuser(view: &View, _: &[Value]) -> Outcome<bool> {
    let current = view.snapshot.metadata().role_by_oid(view.context.role_oid);
    Ok(Some(current.is_some_and(|role| role.is_superuser)))
}
