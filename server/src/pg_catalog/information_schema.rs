//! `information_schema` in PostgreSQL's shape: what the current role may see, with declared keys as
//! constraints.

use catalog::{GrantObject, PrimaryKey, Privilege, TableDefinition};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Field;

use super::columns::Columns;
use super::database::{may_read_of, schema_names};
use super::shapes::INFORMATION_SCHEMA;
use super::{Builder, View, types};

/// Its relations that may have rows; the others have PostgreSQL's columns and none.
pub static RELATIONS: &[(&str, Builder)] = &[
    ("applicable_roles", applicable_roles),
    ("character_sets", character_sets),
    ("columns", columns),
    ("constraint_column_usage", constraint_column_usage),
    ("enabled_roles", enabled_roles),
    ("information_schema_catalog_name", catalog_name),
    ("key_column_usage", key_column_usage),
    ("role_table_grants", table_privileges),
    ("schemata", schemata),
    ("table_constraints", table_constraints),
    ("table_privileges", table_privileges),
    ("tables", tables),
    ("views", views),
];

fn database(rows: usize) -> Vec<&'static str> {
    vec![catalog::DATABASE; rows]
}

/// The tables the current role has any privilege on, as PostgreSQL's views show.
fn visible(view: &View) -> Vec<&TableDefinition> {
    let metadata = view.snapshot.metadata();
    let role = view.context.role_oid;
    let may_see = |table: &&TableDefinition| {
        // PostgreSQL's views leave materialized ones out: the standard does not know them.
        if metadata.materialized.contains_key(&table.name) {
            return false;
        }
        let object = GrantObject::Table(table.name.clone());
        Privilege::OF_TABLES.iter().any(|privilege| metadata.allows(role, &object, *privilege))
    };
    view.snapshot.tables().map(AsRef::as_ref).filter(may_see).collect()
}

fn catalog_name(_: &View) -> RecordBatch {
    Columns::new()
        .name("catalog_name", database(1))
        .finish_as(INFORMATION_SCHEMA, "information_schema_catalog_name")
}

fn character_sets(_: &View) -> RecordBatch {
    Columns::new()
        .name("character_set_name", ["UTF8"])
        .name("character_repertoire", ["UCS"])
        .name("form_of_use", ["UTF8"])
        .name("default_collate_catalog", database(1))
        .name("default_collate_schema", ["pg_catalog"])
        .finish_as(INFORMATION_SCHEMA, "character_sets")
}

fn schemata(view: &View) -> RecordBatch {
    let metadata = view.snapshot.metadata();
    let names = schema_names(view);
    let owner = |name: &String| {
        let owner = metadata.role_by_oid(metadata.schema_owner(name));
        owner.map_or(catalog::FIRST_ROLE, |role| role.name.as_str())
    };
    Columns::new()
        .name("catalog_name", database(names.len()))
        .name("schema_name", names.iter().map(String::as_str))
        .name("schema_owner", names.iter().map(owner))
        .finish_as(INFORMATION_SCHEMA, "schemata")
}

fn enabled_role_names(view: &View) -> Vec<String> {
    let metadata = view.snapshot.metadata();
    let roles = metadata.inherited_roles_of(view.context.role_oid);
    roles.iter().filter_map(|oid| metadata.role_by_oid(*oid).map(|role| role.name.clone())).collect()
}

fn enabled_roles(view: &View) -> RecordBatch {
    Columns::new().name("role_name", enabled_role_names(view)).finish_as(INFORMATION_SCHEMA, "enabled_roles")
}

fn applicable_roles(view: &View) -> RecordBatch {
    let metadata = view.snapshot.metadata();
    let name = |oid: u32| metadata.role_by_oid(oid).map(|role| role.name.clone());
    let enabled = metadata.inherited_roles_of(view.context.role_oid);
    let pairs: Vec<(String, String, bool)> = metadata
        .memberships
        .iter()
        .filter(|known| enabled.contains(&known.member))
        .filter_map(|known| Some((name(known.member)?, name(known.role)?, known.is_admin)))
        .collect();
    Columns::new()
        .name("grantee", pairs.iter().map(|(member, ..)| member))
        .name("role_name", pairs.iter().map(|(_, role, _)| role))
        .varchar("is_grantable", pairs.iter().map(|(.., admin)| Some(if *admin { "YES" } else { "NO" })))
        .finish_as(INFORMATION_SCHEMA, "applicable_roles")
}

fn tables(view: &View) -> RecordBatch {
    let tables = visible(view);
    let system: Vec<(&str, String)> = super::system_relations();
    let rows = tables.len() + system.len();
    let schemas =
        tables.iter().map(|t| t.name.schema.as_str()).chain(system.iter().map(|(schema, _)| *schema));
    let names =
        tables.iter().map(|t| t.name.table.as_str()).chain(system.iter().map(|(_, name)| name.as_str()));
    let kind = |table: &&TableDefinition| if table.view.is_some() { "VIEW" } else { "BASE TABLE" };
    let kinds = tables.iter().map(kind).chain(system.iter().map(|_| "VIEW"));
    Columns::new()
        .name("table_catalog", database(rows))
        .name("table_schema", schemas)
        .name("table_name", names)
        .varchar("table_type", kinds.map(Some))
        .varchar("is_insertable_into", vec![Some("NO"); rows])
        .varchar("is_typed", vec![Some("NO"); rows])
        .finish_as(INFORMATION_SCHEMA, "tables")
}

fn views(view: &View) -> RecordBatch {
    let views: Vec<_> = visible(view).into_iter().filter(|table| table.view.is_some()).collect();
    let text = |table: &&TableDefinition| table.view.as_ref().map(|view| view.sql.clone());
    Columns::new()
        .name("table_catalog", database(views.len()))
        .name("table_schema", views.iter().map(|t| t.name.schema.as_str()))
        .name("table_name", views.iter().map(|t| t.name.table.as_str()))
        .varchar("view_definition", views.iter().map(text))
        .varchar("check_option", vec![Some("NONE"); views.len()])
        .varchar("is_updatable", vec![Some("NO"); views.len()])
        .varchar("is_insertable_into", vec![Some("NO"); views.len()])
        .finish_as(INFORMATION_SCHEMA, "views")
}

/// One column of one table as `columns` tells it.
struct Described<'a> {
    table: &'a TableDefinition,
    field: Field,
    position: i32,
    oid: u32,
    modifier: i32,
    is_required: bool,
}

fn columns(view: &View) -> RecordBatch {
    let keyed = &view.snapshot.metadata().primary_keys;
    let mut all = Vec::new();
    for table in visible(view) {
        let key = keyed.get(&table.name);
        for (field, position) in table.declared_fields().into_iter().zip(1..) {
            let (oid, _, modifier) = types::of_field(&field);
            let is_required = !field.is_nullable() || key.is_some_and(|k| k.columns.contains(field.name()));
            all.push(Described { table, field, position, oid, modifier, is_required });
        }
    }
    let rows = all.len();
    let precision = |c: &Described| match c.oid {
        21 => Some(16),
        23 => Some(32),
        20 => Some(64),
        700 => Some(24),
        701 => Some(53),
        1700 if c.modifier >= 4 => Some((c.modifier - 4) >> 16),
        _ => None,
    };
    let radix = |c: &Described| match c.oid {
        20 | 21 | 23 | 700 | 701 => Some(2),
        1700 => Some(10),
        _ => None,
    };
    let scale = |c: &Described| match c.oid {
        20 | 21 | 23 => Some(0),
        1700 if c.modifier >= 4 => Some((c.modifier - 4) & 0xffff),
        _ => None,
    };
    let is_text = |c: &Described| [25, 1042, 1043].contains(&c.oid);
    let length = |c: &Described| ([1042, 1043].contains(&c.oid) && c.modifier >= 4).then_some(c.modifier - 4);
    // A letter takes four bytes at most.
    let octets = |c: &Described| is_text(c).then(|| length(c).map_or(1_073_741_824, |length| 4 * length));
    let is_time = |c: &Described| [1083, 1114, 1184, 1186].contains(&c.oid);
    let instant_precision = |c: &Described| match c.oid {
        1082 => Some(0),
        _ if is_time(c) && c.modifier >= 0 => Some(c.modifier),
        _ if is_time(c) => Some(6),
        _ => None,
    };
    let data_type = |c: &Described| match types::element(c.oid) {
        Some(_) => "ARRAY".to_owned(),
        None => types::format(c.oid.into(), -1),
    };
    Columns::new()
        .name("table_catalog", database(rows))
        .name("table_schema", all.iter().map(|c| c.table.name.schema.as_str()))
        .name("table_name", all.iter().map(|c| c.table.name.table.as_str()))
        .name("column_name", all.iter().map(|c| c.field.name().as_str()))
        .int4("ordinal_position", all.iter().map(|c| c.position))
        .varchar("is_nullable", all.iter().map(|c| Some(if c.is_required { "NO" } else { "YES" })))
        .varchar("data_type", all.iter().map(|c| Some(data_type(c))))
        .optional_int4("character_maximum_length", all.iter().map(length))
        .optional_int4("character_octet_length", all.iter().map(octets))
        .optional_int4("numeric_precision", all.iter().map(precision))
        .optional_int4("numeric_precision_radix", all.iter().map(radix))
        .optional_int4("numeric_scale", all.iter().map(scale))
        .optional_int4("datetime_precision", all.iter().map(instant_precision))
        .name("udt_catalog", database(rows))
        .name("udt_schema", vec!["pg_catalog"; rows])
        .name("udt_name", all.iter().map(|c| types::name(c.oid)))
        .name("dtd_identifier", all.iter().map(|c| c.position.to_string()))
        .varchar("is_self_referencing", vec![Some("NO"); rows])
        .varchar("is_identity", vec![Some("NO"); rows])
        .varchar("identity_cycle", vec![Some("NO"); rows])
        .varchar("is_generated", vec![Some("NEVER"); rows])
        .varchar("is_updatable", vec![Some("NO"); rows])
        .finish_as(INFORMATION_SCHEMA, "columns")
}

/// The declared keys of visible tables.
fn keys(view: &View) -> Vec<(&TableDefinition, &PrimaryKey)> {
    let keyed = &view.snapshot.metadata().primary_keys;
    visible(view).into_iter().filter_map(|table| Some((table, keyed.get(&table.name)?))).collect()
}

fn table_constraints(view: &View) -> RecordBatch {
    let keys = keys(view);
    let rows = keys.len();
    Columns::new()
        .name("constraint_catalog", database(rows))
        .name("constraint_schema", keys.iter().map(|(t, _)| t.name.schema.as_str()))
        .name("constraint_name", keys.iter().map(|(_, key)| key.name.as_str()))
        .name("table_catalog", database(rows))
        .name("table_schema", keys.iter().map(|(t, _)| t.name.schema.as_str()))
        .name("table_name", keys.iter().map(|(t, _)| t.name.table.as_str()))
        .varchar("constraint_type", vec![Some("PRIMARY KEY"); rows])
        .varchar("is_deferrable", vec![Some("NO"); rows])
        .varchar("initially_deferred", vec![Some("NO"); rows])
        .varchar("enforced", vec![Some("NO"); rows])
        .finish_as(INFORMATION_SCHEMA, "table_constraints")
}

/// Every column of every key, with its position from 1.
fn key_columns<'a>(
    keys: &[(&'a TableDefinition, &'a PrimaryKey)],
) -> Vec<(&'a TableDefinition, &'a str, &'a str, i32)> {
    let of_key = |(table, key): &(&'a TableDefinition, &'a PrimaryKey)| {
        let (table, key) = (*table, *key);
        key.columns.iter().zip(1..).map(move |(column, at)| (table, key.name.as_str(), column.as_str(), at))
    };
    keys.iter().flat_map(of_key).collect()
}

fn key_column_usage(view: &View) -> RecordBatch {
    let columns = key_columns(&keys(view));
    let rows = columns.len();
    Columns::new()
        .name("constraint_catalog", database(rows))
        .name("constraint_schema", columns.iter().map(|(t, ..)| t.name.schema.as_str()))
        .name("constraint_name", columns.iter().map(|(_, key, ..)| key))
        .name("table_catalog", database(rows))
        .name("table_schema", columns.iter().map(|(t, ..)| t.name.schema.as_str()))
        .name("table_name", columns.iter().map(|(t, ..)| t.name.table.as_str()))
        .name("column_name", columns.iter().map(|(_, _, column, _)| column))
        .int4("ordinal_position", columns.iter().map(|(.., at)| *at))
        .optional_int4("position_in_unique_constraint", vec![None; rows])
        .finish_as(INFORMATION_SCHEMA, "key_column_usage")
}

fn constraint_column_usage(view: &View) -> RecordBatch {
    let columns = key_columns(&keys(view));
    let rows = columns.len();
    Columns::new()
        .name("table_catalog", database(rows))
        .name("table_schema", columns.iter().map(|(t, ..)| t.name.schema.as_str()))
        .name("table_name", columns.iter().map(|(t, ..)| t.name.table.as_str()))
        .name("column_name", columns.iter().map(|(_, _, column, _)| column))
        .name("constraint_catalog", database(rows))
        .name("constraint_schema", columns.iter().map(|(t, ..)| t.name.schema.as_str()))
        .name("constraint_name", columns.iter().map(|(_, key, ..)| key))
        .finish_as(INFORMATION_SCHEMA, "constraint_column_usage")
}

fn table_privileges(view: &View) -> RecordBatch {
    let metadata = view.snapshot.metadata();
    let name = |oid: u32| match oid {
        catalog::PUBLIC_GRANTEE => "PUBLIC".to_owned(),
        oid => metadata.role_by_oid(oid).map_or_else(|| oid.to_string(), |role| role.name.clone()),
    };
    let mut rows: Vec<(u32, u32, &TableDefinition, Privilege, bool)> = Vec::new();
    for table in visible(view) {
        let object = GrantObject::Table(table.name.clone());
        let owner = metadata.owner_of(&object);
        let owned = Privilege::OF_TABLES.into_iter().filter(|p| !metadata.is_taken_from_owner(&object, *p));
        rows.extend(owned.map(|p| (owner, owner, table, p, true)));
        let granted = metadata.grants_on(&object);
        rows.extend(granted.map(|g| (g.grantor, g.grantee, table, g.privilege, g.is_grantable)));
    }
    // As in PostgreSQL, what concerns other roles is not told.
    rows.retain(|(grantor, grantee, ..)| {
        *grantee == catalog::PUBLIC_GRANTEE
            || [*grantor, *grantee].into_iter().any(|role| may_read_of(view, role))
    });
    let yes_or_no = |flag: bool| Some(if flag { "YES" } else { "NO" });
    Columns::new()
        .name("grantor", rows.iter().map(|(grantor, ..)| name(*grantor)))
        .name("grantee", rows.iter().map(|(_, grantee, ..)| name(*grantee)))
        .name("table_catalog", database(rows.len()))
        .name("table_schema", rows.iter().map(|(_, _, t, ..)| t.name.schema.as_str()))
        .name("table_name", rows.iter().map(|(_, _, t, ..)| t.name.table.as_str()))
        .varchar("privilege_type", rows.iter().map(|(_, _, _, p, _)| Some(p.as_str())))
        .varchar("is_grantable", rows.iter().map(|(.., grantable)| yes_or_no(*grantable)))
        .varchar("with_hierarchy", rows.iter().map(|(_, _, _, p, _)| yes_or_no(*p == Privilege::Select)))
        .finish_as(INFORMATION_SCHEMA, "table_privileges")
}
