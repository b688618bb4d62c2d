//! The relations of `pg_catalog`: what psql's `\d` family and drivers' first questions need.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field};

use super::columns::{self, Columns};
use super::types::{self, ALL};
use super::{
    Builder, DATABASE_OID, INFORMATION_SCHEMA_OID, OWNER_OID, PG_CATALOG_OID, PUBLIC_OID, SYS_OID, View,
    schema_oid,
};
use crate::session;

/// Every relation that may have rows.
pub static RELATIONS: &[(&str, Builder)] = &[
    ("pg_am", pg_am),
    ("pg_attribute", pg_attribute),
    ("pg_class", pg_class),
    ("pg_database", pg_database),
    ("pg_namespace", pg_namespace),
    ("pg_roles", pg_roles),
    ("pg_settings", pg_settings),
    ("pg_tables", pg_tables),
    ("pg_type", pg_type),
];

/// Relations that never have rows here, and their columns.
static EMPTY: &[(&str, &str)] = &[
    ("pg_attrdef", "oid:oid adrelid:oid adnum:int2 adbin"),
    ("pg_collation", "oid:oid collname:name collnamespace:oid collowner:oid"),
    (
        "pg_constraint",
        "oid:oid conname:name connamespace:oid contype:char condeferrable:bool condeferred:bool convalidated:bool conrelid:oid contypid:oid conindid:oid conparentid:oid confrelid:oid conkey:int2[] confkey:int2[]",
    ),
    ("pg_description", "objoid:oid classoid:oid objsubid:int4 description"),
    ("pg_enum", "oid:oid enumtypid:oid enumsortorder enumlabel:name"),
    ("pg_extension", "oid:oid extname:name extowner:oid extnamespace:oid extversion"),
    ("pg_foreign_server", "oid:oid srvname:name srvowner:oid srvfdw:oid"),
    ("pg_foreign_table", "ftrelid:oid ftserver:oid ftoptions:text[]"),
    (
        "pg_index",
        "indexrelid:oid indrelid:oid indnatts:int2 indisunique:bool indisprimary:bool indisclustered:bool indisvalid:bool indisreplident:bool indkey:int2[] indpred",
    ),
    ("pg_inherits", "inhrelid:oid inhparent:oid inhseqno:int4 inhdetachpending:bool"),
    ("pg_matviews", "schemaname:name matviewname:name matviewowner:name definition"),
    ("pg_partitioned_table", "partrelid:oid partstrat:char partnatts:int2"),
    (
        "pg_policy",
        "oid:oid polname:name polrelid:oid polcmd:char polpermissive:bool polroles:oid[] polqual polwithcheck",
    ),
    ("pg_publication", "oid:oid pubname:name pubowner:oid puballtables:bool"),
    ("pg_publication_namespace", "oid:oid pnpubid:oid pnnspid:oid"),
    ("pg_publication_rel", "oid:oid prpubid:oid prrelid:oid prqual prattrs:int2[]"),
    ("pg_range", "rngtypid:oid rngsubtype:oid"),
    ("pg_rewrite", "oid:oid rulename:name ev_class:oid ev_type:char ev_enabled:char is_instead:bool"),
    ("pg_sequence", "seqrelid:oid seqtypid:oid seqstart:int8"),
    (
        "pg_statistic_ext",
        "oid:oid stxrelid:oid stxname:name stxnamespace:oid stxowner:oid stxstattarget:int4 stxkind:text[]",
    ),
    ("pg_tablespace", "oid:oid spcname:name spcowner:oid"),
    ("pg_trigger", "oid:oid tgrelid:oid tgparentid:oid tgname:name tgenabled:char tgisinternal:bool"),
    ("pg_views", "schemaname:name viewname:name viewowner:name definition"),
];

/// True for relations without rows.
pub fn is_empty_relation(name: &str) -> bool {
    EMPTY.iter().any(|(relation, _)| *relation == name)
}

/// The relation without rows of that name.
pub fn empty(name: &str) -> RecordBatch {
    let columns = EMPTY.iter().find(|(relation, _)| *relation == name).map_or("", |(_, c)| c);
    columns::empty(columns)
}

fn pg_am(_: &View) -> RecordBatch {
    Columns::new().oid("oid", [2]).name("amname", ["heap"]).letter("amtype", ["t"]).finish()
}

fn pg_namespace(_: &View) -> RecordBatch {
    Columns::new()
        .oid("oid", [PG_CATALOG_OID, PUBLIC_OID, INFORMATION_SCHEMA_OID, SYS_OID])
        .name("nspname", ["pg_catalog", "public", "information_schema", "sys"])
        .all_oid("nspowner", 4, OWNER_OID)
        .nulls("nspacl", 4, &DataType::new_list(DataType::Utf8, true))
        .finish()
}

fn pg_database(_: &View) -> RecordBatch {
    Columns::new()
        .oid("oid", [DATABASE_OID])
        .name("datname", [catalog::DATABASE])
        .oid("datdba", [OWNER_OID])
        .int4("encoding", [6])
        .letter("datlocprovider", ["c"])
        .bool("datistemplate", [false])
        .bool("datallowconn", [true])
        .int4("datconnlimit", [-1])
        .oid("dattablespace", [1663])
        .text("datcollate", ["C"])
        .text("datctype", ["C.UTF-8"])
        .nulls("daticulocale", 1, &DataType::Utf8)
        .nulls("datcollversion", 1, &DataType::Utf8)
        .nulls("datacl", 1, &DataType::new_list(DataType::Utf8, true))
        .finish()
}

fn pg_roles(_: &View) -> RecordBatch {
    Columns::new()
        .oid("oid", [OWNER_OID])
        .name("rolname", ["postgres"])
        .bool("rolsuper", [true])
        .bool("rolinherit", [true])
        .bool("rolcreaterole", [true])
        .bool("rolcreatedb", [true])
        .bool("rolcanlogin", [true])
        .bool("rolreplication", [false])
        .bool("rolbypassrls", [true])
        .int4("rolconnlimit", [-1])
        .nulls("rolvaliduntil", 1, &DataType::Utf8)
        .finish()
}

fn pg_settings(view: &View) -> RecordBatch {
    let values = &view.context.settings;
    let described = session::descriptions();
    Columns::new()
        .text("name", values.iter().map(|(name, _)| *name))
        .text("setting", values.iter().map(|(_, value)| value.as_str()))
        .text("short_desc", described.iter().map(|setting| setting.description))
        .text("boot_val", described.iter().map(|setting| setting.default))
        .finish()
}

fn pg_tables(view: &View) -> RecordBatch {
    let tables: Vec<_> = view.snapshot.tables().collect();
    let rows = tables.len();
    Columns::new()
        .name("schemaname", tables.iter().map(|t| t.name.schema.as_str()))
        .name("tablename", tables.iter().map(|t| t.name.table.as_str()))
        .name("tableowner", vec!["postgres"; rows])
        .nulls("tablespace", rows, &DataType::Utf8)
        .all_bool("hasindexes", rows, false)
        .all_bool("hasrules", rows, false)
        .all_bool("hastriggers", rows, false)
        .all_bool("rowsecurity", rows, false)
        .finish()
}

fn pg_class(view: &View) -> RecordBatch {
    let tables: Vec<_> = view.snapshot.tables().collect();
    let rows = tables.len();
    Columns::new()
        .oid("oid", tables.iter().map(|t| i64::from(t.oid)))
        .name("relname", tables.iter().map(|t| t.name.table.as_str()))
        .oid("relnamespace", tables.iter().map(|t| schema_oid(&t.name.schema)))
        .all_oid("reltype", rows, 0)
        .all_oid("reloftype", rows, 0)
        .all_oid("relowner", rows, OWNER_OID)
        .all_oid("relam", rows, 2)
        .all_oid("relfilenode", rows, 0)
        .all_oid("reltablespace", rows, 0)
        .int4(
            "relpages",
            tables.iter().map(|t| i32::try_from(t.statistics.file_bytes / 8192).unwrap_or(i32::MAX)),
        )
        .float4("reltuples", tables.iter().map(|t| t.statistics.rows as f32))
        .all_int4("relallvisible", rows, 0)
        .all_oid("reltoastrelid", rows, 0)
        .all_bool("relhasindex", rows, false)
        .all_bool("relisshared", rows, false)
        .all_letter("relpersistence", rows, "p")
        .all_letter("relkind", rows, "r")
        .int2("relnatts", tables.iter().map(|t| i16::try_from(t.fields().len()).unwrap_or(i16::MAX)))
        .int2("relchecks", vec![0; rows])
        .all_bool("relhasrules", rows, false)
        .all_bool("relhastriggers", rows, false)
        .all_bool("relhassubclass", rows, false)
        .all_bool("relrowsecurity", rows, false)
        .all_bool("relforcerowsecurity", rows, false)
        .all_bool("relispopulated", rows, true)
        .all_letter("relreplident", rows, "n")
        .all_bool("relispartition", rows, false)
        .all_oid("relrewrite", rows, 0)
        .nulls("relacl", rows, &DataType::new_list(DataType::Utf8, true))
        .nulls("reloptions", rows, &DataType::new_list(DataType::Utf8, true))
        .nulls("relpartbound", rows, &DataType::Utf8)
        .finish()
}

fn pg_attribute(view: &View) -> RecordBatch {
    let fields: Vec<(i64, i16, Field)> = view
        .snapshot
        .tables()
        .flat_map(|table| {
            let numbered = table.fields().into_iter().zip(1i16..);
            numbered.map(|(field, number)| (i64::from(table.oid), number, field)).collect::<Vec<_>>()
        })
        .collect();
    let rows = fields.len();
    let typed: Vec<(u32, i16, i32)> = fields.iter().map(|(_, _, f)| types::of_field(f)).collect();
    Columns::new()
        .oid("attrelid", fields.iter().map(|(table, _, _)| *table))
        .name("attname", fields.iter().map(|(_, _, field)| field.name().as_str()))
        .oid("atttypid", typed.iter().map(|(oid, _, _)| i64::from(*oid)))
        .int2("attlen", typed.iter().map(|(_, size, _)| *size))
        .int2("attnum", fields.iter().map(|(_, number, _)| *number))
        .all_int4("attndims", rows, 0)
        .int4("atttypmod", typed.iter().map(|(_, _, modifier)| *modifier))
        .bool("attnotnull", fields.iter().map(|(_, _, field)| !field.is_nullable()))
        .all_bool("atthasdef", rows, false)
        .all_letter("attidentity", rows, "")
        .all_letter("attgenerated", rows, "")
        .all_bool("attisdropped", rows, false)
        .all_bool("attislocal", rows, true)
        .all_oid("attcollation", rows, 0)
        .all_letter("attstorage", rows, "p")
        .all_letter("attcompression", rows, "")
        .all_int4("attstattarget", rows, -1)
        .nulls("attacl", rows, &DataType::new_list(DataType::Utf8, true))
        .finish()
}

fn pg_type(_: &View) -> RecordBatch {
    struct Row {
        oid: i64,
        name: String,
        size: i16,
        element: i64,
        array: i64,
        category: &'static str,
    }
    let scalars = ALL.iter().map(|t| Row {
        oid: t.oid.into(),
        name: t.name.to_owned(),
        size: t.size,
        element: 0,
        array: t.array_oid.into(),
        category: t.category,
    });
    let arrays = ALL.iter().map(|t| Row {
        oid: t.array_oid.into(),
        name: format!("_{}", t.name),
        size: -1,
        element: t.oid.into(),
        array: 0,
        category: "A",
    });
    let types: Vec<Row> = scalars.chain(arrays).collect();
    let rows = types.len();
    Columns::new()
        .oid("oid", types.iter().map(|t| t.oid))
        .name("typname", types.iter().map(|t| t.name.as_str()))
        .all_oid("typnamespace", rows, PG_CATALOG_OID)
        .all_oid("typowner", rows, OWNER_OID)
        .int2("typlen", types.iter().map(|t| t.size))
        .bool("typbyval", types.iter().map(|t| (1..=8).contains(&t.size)))
        .all_letter("typtype", rows, "b")
        .letter("typcategory", types.iter().map(|t| t.category))
        .all_bool("typispreferred", rows, false)
        .all_bool("typisdefined", rows, true)
        .all_letter("typdelim", rows, ",")
        .all_oid("typrelid", rows, 0)
        .oid("typelem", types.iter().map(|t| t.element))
        .oid("typarray", types.iter().map(|t| t.array))
        .text("typinput", types.iter().map(|t| function_name(&t.name, t.element, "in")))
        .text("typoutput", types.iter().map(|t| function_name(&t.name, t.element, "out")))
        .text("typreceive", types.iter().map(|t| function_name(&t.name, t.element, "recv")))
        .text("typsend", types.iter().map(|t| function_name(&t.name, t.element, "send")))
        .all_bool("typnotnull", rows, false)
        .all_oid("typbasetype", rows, 0)
        .all_int4("typtypmod", rows, -1)
        .all_int4("typndims", rows, 0)
        .all_oid("typcollation", rows, 0)
        .nulls("typdefault", rows, &DataType::Utf8)
        .nulls("typacl", rows, &DataType::new_list(DataType::Utf8, true))
        .finish()
}

fn function_name(type_name: &str, element: i64, suffix: &str) -> String {
    let underscore =
        matches!(type_name, "numeric" | "date" | "time" | "timestamp" | "timestamptz" | "interval" | "json");
    match (element, underscore) {
        (0, true) => format!("{type_name}_{suffix}"),
        (0, false) => format!("{type_name}{suffix}"),
        _ => format!("array_{suffix}"),
    }
}
