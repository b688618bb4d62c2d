//! Everything that has a row in `pg_class`: tables, the system's own views, declared keys.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Field;

use catalog::{FIRST_ROLE_OID, GrantObject, PrimaryKey, Privilege, TableDefinition};

use super::columns::Columns;
use super::shapes::PG_CATALOG;
use super::{SYS_OID, View, acl, schema_oid, types};
use crate::sys;

/// A relation of ours.
struct Relation {
    oid: i64,
    name: String,
    schema: i64,
    kind: &'static str,
    owner: u32,
    columns: i16,
    pages: i32,
    rows: f32,
    has_index: bool,
    acl: Option<Vec<String>>,
}

/// The declared keys, each with its table and its own identifier.
fn keys(view: &View) -> Vec<(&TableDefinition, &PrimaryKey, i64)> {
    let keys = &view.snapshot.metadata().primary_keys;
    let table = |name| view.snapshot.table(name);
    keys.iter()
        .filter_map(|(name, key)| {
            let oid = catalog::stable_oid(&format!("{}.{} key", name.schema, name.table));
            Some((table(name)?.as_ref(), key, i64::from(oid)))
        })
        .collect()
}

/// Positions of a key's columns, counted from 1.
fn positions(table: &TableDefinition, key: &PrimaryKey) -> Vec<i16> {
    key.columns.iter().filter_map(|column| table.position(column)).map(|at| at as i16 + 1).collect()
}

/// The identifier of a view of `sys`.
pub fn sys_oid(name: &str) -> i64 {
    catalog::stable_oid(&format!("sys.{name}")).into()
}

fn relations(view: &View) -> Vec<Relation> {
    let keyed = &view.snapshot.metadata().primary_keys;
    let materialized = &view.snapshot.metadata().materialized;
    let tables = view.snapshot.tables().map(|table| Relation {
        oid: table.oid.into(),
        name: table.name.table.clone(),
        schema: schema_oid(&table.name.schema),
        kind: match (table.view.is_some(), materialized.contains_key(&table.name)) {
            (true, _) => "v",
            (false, true) => "m",
            (false, false) => "r",
        },
        owner: view.snapshot.metadata().owner(&table.name),
        columns: i16::try_from(table.fields().len()).unwrap_or(i16::MAX),
        pages: i32::try_from(table.statistics.file_bytes / 8192).unwrap_or(i32::MAX),
        rows: table.statistics.rows as f32,
        has_index: keyed.contains_key(&table.name),
        acl: acl::of(view, &GrantObject::Table(table.name.clone()), &Privilege::OF_TABLES),
    });
    let indexes = keys(view).into_iter().map(|(table, key, oid)| Relation {
        oid,
        name: key.name.clone(),
        schema: schema_oid(&table.name.schema),
        kind: "i",
        owner: view.snapshot.metadata().owner(&table.name),
        columns: key.columns.len() as i16,
        pages: 0,
        rows: 0.0,
        has_index: false,
        acl: None,
    });
    let system = sys::RELATIONS.iter().map(|(name, build)| Relation {
        oid: sys_oid(name),
        name: (*name).to_owned(),
        schema: SYS_OID,
        kind: "v",
        owner: FIRST_ROLE_OID,
        columns: build(view).num_columns() as i16,
        pages: 0,
        rows: -1.0,
        has_index: false,
        acl: Some(vec!["postgres=arwdDxt/postgres".to_owned(), "=r/postgres".to_owned()]),
    });
    tables.chain(indexes).chain(system).collect()
}

/// Tables, keys and the views of `sys`, behind PostgreSQL's own relations.
pub fn pg_class(view: &View) -> RecordBatch {
    let all = relations(view);
    let rows = all.len();
    Columns::new()
        .oid("oid", all.iter().map(|r| r.oid))
        .name("relname", all.iter().map(|r| r.name.as_str()))
        .oid("relnamespace", all.iter().map(|r| r.schema))
        .oid("relowner", all.iter().map(|r| r.owner.into()))
        .oid(
            "relam",
            all.iter().map(|r| match r.kind {
                "r" | "m" => 2,
                "i" => 403,
                _ => 0,
            }),
        )
        .int4("relpages", all.iter().map(|r| r.pages))
        .float4("reltuples", all.iter().map(|r| r.rows))
        .bool("relhasindex", all.iter().map(|r| r.has_index))
        .all_letter("relpersistence", rows, "p")
        .letter("relkind", all.iter().map(|r| r.kind))
        .int2("relnatts", all.iter().map(|r| r.columns))
        .all_bool("relispopulated", rows, true)
        .all_letter("relreplident", rows, "d")
        .texts("relacl", "_aclitem", all.iter().map(|r| r.acl.clone()))
        .finish_after_static("pg_class")
}

/// Their columns.
pub fn pg_attribute(view: &View) -> RecordBatch {
    let mut fields: Vec<(i64, i16, Field, bool)> = Vec::new();
    let keyed = &view.snapshot.metadata().primary_keys;
    for table in view.snapshot.tables() {
        let key = keyed.get(&table.name);
        for (field, number) in table.declared_fields().into_iter().zip(1i16..) {
            let is_in_key = key.is_some_and(|key| key.columns.contains(field.name()));
            let is_required = is_in_key || !field.is_nullable();
            fields.push((table.oid.into(), number, field, is_required));
        }
    }
    for (table, key, oid) in keys(view) {
        let columns = table.fields();
        for (name, number) in key.columns.iter().zip(1i16..) {
            if let Some(field) = columns.iter().find(|field| field.name() == name) {
                fields.push((oid, number, field.clone(), false));
            }
        }
    }
    for (name, build) in sys::RELATIONS {
        let batch = build(view);
        for (field, number) in batch.schema().fields().iter().zip(1i16..) {
            fields.push((sys_oid(name), number, field.as_ref().clone(), false));
        }
    }
    let rows = fields.len();
    let typed: Vec<(u32, i16, i32)> = fields.iter().map(|(_, _, field, _)| types::of_field(field)).collect();
    let is_text =
        |oid: u32| [types::TEXT.oid, types::VARCHAR.oid, types::BPCHAR.oid, types::NAME.oid].contains(&oid);
    Columns::new()
        .oid("attrelid", fields.iter().map(|(table, ..)| *table))
        .name("attname", fields.iter().map(|(_, _, field, _)| field.name().as_str()))
        .oid("atttypid", typed.iter().map(|(oid, ..)| i64::from(*oid)))
        .all_int4("attstattarget", rows, -1)
        .int2("attlen", typed.iter().map(|(_, size, _)| *size))
        .int2("attnum", fields.iter().map(|(_, number, ..)| *number))
        .all_int4("attcacheoff", rows, -1)
        .int4("attndims", typed.iter().map(|(oid, ..)| i32::from(types::element(*oid).is_some())))
        .int4("atttypmod", typed.iter().map(|(_, _, modifier)| *modifier))
        .bool("attbyval", typed.iter().map(|(_, size, _)| (1..=8).contains(size)))
        .letter(
            "attalign",
            typed.iter().map(|(_, size, _)| match size {
                8 => "d",
                2 => "s",
                1 => "c",
                _ => "i",
            }),
        )
        .letter(
            "attstorage",
            typed.iter().map(|(oid, size, _)| match (*oid, *size) {
                (oid, _) if oid == types::NUMERIC.oid => "m",
                (_, size) if size < 0 => "x",
                _ => "p",
            }),
        )
        .bool("attnotnull", fields.iter().map(|(.., is_required)| *is_required))
        .all_bool("attislocal", rows, true)
        .oid("attcollation", typed.iter().map(|(oid, ..)| if is_text(*oid) { 100 } else { 0 }))
        .finish_after_static("pg_attribute")
}

/// Declared keys, as the indexes that clients look for them in.
pub fn pg_index(view: &View) -> RecordBatch {
    let keys = keys(view);
    let rows = keys.len();
    Columns::new()
        .oid("indexrelid", keys.iter().map(|(.., oid)| *oid))
        .oid("indrelid", keys.iter().map(|(table, ..)| table.oid.into()))
        .int2("indnatts", keys.iter().map(|(_, key, _)| key.columns.len() as i16))
        .int2("indnkeyatts", keys.iter().map(|(_, key, _)| key.columns.len() as i16))
        .all_bool("indisunique", rows, true)
        .all_bool("indisprimary", rows, true)
        .all_bool("indimmediate", rows, true)
        .all_bool("indisvalid", rows, true)
        .all_bool("indisready", rows, true)
        .all_bool("indislive", rows, true)
        .int2s("indkey", keys.iter().map(|(table, key, _)| positions(table, key)))
        .int2s("indoption", keys.iter().map(|(_, key, _)| vec![0; key.columns.len()]))
        .finish_as(PG_CATALOG, "pg_index")
}

/// Declared keys as constraints.
pub fn pg_constraint(view: &View) -> RecordBatch {
    let keys = keys(view);
    let rows = keys.len();
    Columns::new()
        .oid("oid", keys.iter().map(|(.., oid)| oid + 1))
        .name("conname", keys.iter().map(|(_, key, _)| key.name.as_str()))
        .oid("connamespace", keys.iter().map(|(table, ..)| schema_oid(&table.name.schema)))
        .all_letter("contype", rows, "p")
        .all_bool("convalidated", rows, false)
        .oid("conrelid", keys.iter().map(|(table, ..)| table.oid.into()))
        .oid("conindid", keys.iter().map(|(.., oid)| *oid))
        .all_letter("confupdtype", rows, " ")
        .all_letter("confdeltype", rows, " ")
        .all_letter("confmatchtype", rows, " ")
        .all_bool("conislocal", rows, true)
        .all_bool("connoinherit", rows, true)
        .int2s("conkey", keys.iter().map(|(table, key, _)| positions(table, key)))
        .finish_as(PG_CATALOG, "pg_constraint")
}

/// The text of a key for `pg_get_constraintdef` and `pg_get_indexdef`, by either's identifier.
pub fn key_definition(view: &View, oid: i64) -> Option<(&TableDefinition, &PrimaryKey)> {
    let found = keys(view).into_iter().find(|(.., index)| *index == oid || *index + 1 == oid);
    found.map(|(table, key, _)| (table, key))
}

/// The name of any relation, and its schema's.
pub fn relation_name(view: &View, oid: i64) -> Option<(i64, String)> {
    if let Some(table) = view.snapshot.table_by_oid(oid) {
        return Some((schema_oid(&table.name.schema), table.name.table.clone()));
    }
    if let Some((table, key, _)) = keys(view).into_iter().find(|(.., index)| *index == oid) {
        return Some((schema_oid(&table.name.schema), key.name.clone()));
    }
    if let Some((name, _)) = sys::RELATIONS.iter().find(|(name, _)| sys_oid(name) == oid) {
        return Some((SYS_OID, (*name).to_owned()));
    }
    super::static_class(|static_oid, _, _| static_oid == oid).map(|(_, name, schema)| (schema, name))
}

/// The identifier of a relation by name; without a schema, `pg_catalog` is looked in first, as PostgreSQL
/// does.
pub fn relation_oid(view: &View, schema: Option<&str>, name: &str) -> Option<i64> {
    let in_catalog = |wanted: i64| {
        super::static_class(|_, relation, schema| relation == name && schema == wanted).map(|(oid, ..)| oid)
    };
    let in_users = |schema: &str| {
        let table = view.snapshot.table(&catalog::TableName::new(schema, name)).map(|t| i64::from(t.oid));
        let key = || {
            let mut keys = keys(view).into_iter();
            keys.find(|(t, k, _)| t.name.schema == schema && k.name == name).map(|(.., oid)| oid)
        };
        table.or_else(key)
    };
    match schema {
        Some("sys") => sys::RELATIONS.iter().any(|(known, _)| *known == name).then(|| sys_oid(name)),
        Some(schema @ ("pg_catalog" | "information_schema")) => in_catalog(schema_oid(schema)),
        Some(schema) => in_users(schema),
        None => {
            let path = view.context.search_path.iter();
            in_catalog(super::PG_CATALOG_OID)
                .or_else(|| path.into_iter().find_map(|schema| relation_oid(view, Some(schema), name)))
        }
    }
}

/// Tables as `pg_tables` lists them.
pub fn pg_tables(view: &View) -> RecordBatch {
    let materialized = &view.snapshot.metadata().materialized;
    let is_table =
        |t: &&std::sync::Arc<TableDefinition>| t.view.is_none() && !materialized.contains_key(&t.name);
    let tables: Vec<_> = view.snapshot.tables().filter(is_table).collect();
    let keyed = &view.snapshot.metadata().primary_keys;
    Columns::new()
        .name("schemaname", tables.iter().map(|t| t.name.schema.as_str()))
        .name("tablename", tables.iter().map(|t| t.name.table.as_str()))
        .name("tableowner", tables.iter().map(|table| owner_name(view, table)))
        .bool("hasindexes", tables.iter().map(|t| keyed.contains_key(&t.name)))
        .finish_as(PG_CATALOG, "pg_tables")
}

/// Views as `pg_views` lists them.
pub fn pg_views(view: &View) -> RecordBatch {
    let views: Vec<_> = view.snapshot.tables().filter(|table| table.view.is_some()).collect();
    Columns::new()
        .name("schemaname", views.iter().map(|t| t.name.schema.as_str()))
        .name("viewname", views.iter().map(|t| t.name.table.as_str()))
        .name("viewowner", views.iter().map(|table| owner_name(view, table)))
        .text("definition", views.iter().filter_map(|table| table.view.as_ref()).map(|v| v.sql.as_str()))
        .finish_as(PG_CATALOG, "pg_views")
}

/// Materialized views as `pg_matviews` lists them.
pub fn pg_matviews(view: &View) -> RecordBatch {
    let materialized = &view.snapshot.metadata().materialized;
    let known = materialized.iter().filter_map(|(name, of)| Some((view.snapshot.table(name)?, of)));
    let known: Vec<_> = known.collect();
    Columns::new()
        .name("schemaname", known.iter().map(|(t, _)| t.name.schema.as_str()))
        .name("matviewname", known.iter().map(|(t, _)| t.name.table.as_str()))
        .name("matviewowner", known.iter().map(|(table, _)| owner_name(view, table)))
        .bool("hasindexes", known.iter().map(|_| false))
        .bool("ispopulated", known.iter().map(|(_, of)| !of.is_unpopulated))
        .text("definition", known.iter().map(|(_, of)| of.sql.as_str()))
        .finish_as(PG_CATALOG, "pg_matviews")
}

fn owner_name<'a>(view: &'a View, table: &TableDefinition) -> &'a str {
    let metadata = view.snapshot.metadata();
    metadata.role_by_oid(metadata.owner(&table.name)).map_or(catalog::FIRST_ROLE, |role| role.name.as_str())
}

/// The counters clients read for row estimates. Nothing is counted per table yet but what it holds.
pub fn pg_stat_user_tables(view: &View) -> RecordBatch {
    let tables: Vec<_> = view.snapshot.tables().filter(|table| table.view.is_none()).collect();
    Columns::new()
        .oid("relid", tables.iter().map(|t| t.oid.into()))
        .name("schemaname", tables.iter().map(|t| t.name.schema.as_str()))
        .name("relname", tables.iter().map(|t| t.name.table.as_str()))
        .int8("n_live_tup", tables.iter().map(|t| i64::try_from(t.statistics.rows).unwrap_or(i64::MAX)))
        .finish_as(PG_CATALOG, "pg_stat_user_tables")
}
