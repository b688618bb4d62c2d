//! The one database, its schemas, its comments, its settings and its sessions.

use catalog::{CommentTarget, FIRST_ROLE_OID, GrantObject, Privilege};
use datafusion::arrow::array::RecordBatch;

use super::columns::Columns;
use super::shapes::PG_CATALOG;
use super::{
    DATABASE_OID, INFORMATION_SCHEMA_OID, PG_CATALOG_OID, PUBLIC_OID, SYS_OID, View, acl, is_system_schema,
    schema_oid,
};
use crate::{session, sys};

/// Object identifiers of the catalogs that comments name (`pg_class.oid` of each).
const PG_CLASS_CLASS: i64 = 1259;
const PG_DATABASE_CLASS: i64 = 1262;
const PG_NAMESPACE_CLASS: i64 = 2615;
const PG_AUTHID_CLASS: i64 = 1260;

/// Every schema: name and identifier.
pub const SCHEMAS: [(&str, i64); 4] = [
    ("pg_catalog", PG_CATALOG_OID),
    (catalog::DEFAULT_SCHEMA, PUBLIC_OID),
    ("information_schema", INFORMATION_SCHEMA_OID),
    ("sys", SYS_OID),
];

/// The names of all schemas.
pub fn schema_names(view: &View) -> Vec<String> {
    let users = view.snapshot.schemas().into_iter().filter(|name| name != catalog::DEFAULT_SCHEMA);
    SCHEMAS.iter().map(|(name, _)| (*name).to_owned()).chain(users).collect()
}

/// Schemas.
pub fn pg_namespace(view: &View) -> RecordBatch {
    let names = schema_names(view);
    let metadata = view.snapshot.metadata();
    let readable = || Some(vec!["postgres=UC/postgres".to_owned(), "=U/postgres".to_owned()]);
    let lists = names.iter().map(|name| match is_system_schema(name) {
        false => acl::of(view, &GrantObject::Schema(name.clone()), &Privilege::OF_SCHEMAS),
        true => readable(),
    });
    Columns::new()
        .oid("oid", names.iter().map(|name| schema_oid(name)))
        .name("nspname", names.iter().map(String::as_str))
        .oid("nspowner", names.iter().map(|name| metadata.schema_owner(name).into()))
        .texts("nspacl", "_aclitem", lists)
        .finish_as(PG_CATALOG, "pg_namespace")
}

/// The database.
pub fn pg_database(view: &View) -> RecordBatch {
    let list = acl::of(view, &GrantObject::Database, &Privilege::OF_DATABASES);
    Columns::new()
        .oid("oid", [DATABASE_OID])
        .name("datname", [catalog::DATABASE])
        .oid("datdba", [FIRST_ROLE_OID.into()])
        .int4("encoding", [6])
        .letter("datlocprovider", ["c"])
        .bool("datallowconn", [true])
        .int4("datconnlimit", [-1])
        .oid("dattablespace", [1663])
        .text("datcollate", ["C"])
        .text("datctype", ["C.UTF-8"])
        .texts("datacl", "_aclitem", [list])
        .finish_as(PG_CATALOG, "pg_database")
}

/// The two tablespaces every PostgreSQL has.
pub fn pg_tablespace(_: &View) -> RecordBatch {
    Columns::new()
        .oid("oid", [1663, 1664])
        .name("spcname", ["pg_default", "pg_global"])
        .all_oid("spcowner", 2, FIRST_ROLE_OID.into())
        .finish_as(PG_CATALOG, "pg_tablespace")
}

/// A comment's place: catalog, object, column.
pub fn comment_key(view: &View, target: &CommentTarget) -> Option<(i64, i64, i32)> {
    let table = |name| view.snapshot.table(name);
    Some(match target {
        CommentTarget::Database => (PG_DATABASE_CLASS, DATABASE_OID, 0),
        CommentTarget::Schema(name) => (PG_NAMESPACE_CLASS, schema_oid(name), 0),
        CommentTarget::Table(name) => (PG_CLASS_CLASS, table(name)?.oid.into(), 0),
        CommentTarget::Column(name, column) => {
            let definition = table(name)?;
            let at = definition.position(column)?;
            (PG_CLASS_CLASS, definition.oid.into(), at as i32 + 1)
        }
        CommentTarget::Role(name) => {
            (PG_AUTHID_CLASS, view.snapshot.metadata().roles.get(name)?.oid.into(), 0)
        }
    })
}

/// Every comment with its place.
pub fn placed_comments(view: &View) -> impl Iterator<Item = ((i64, i64, i32), &str)> {
    let comments = view.snapshot.metadata().comments.iter();
    let ours = comments.filter_map(|(target, text)| Some((comment_key(view, target)?, text.as_str())));
    ours.chain(system_comments())
}

fn comments(view: &View, is_shared: bool) -> Columns {
    let placed: Vec<_> = placed_comments(view)
        .filter(|((class, ..), _)| [PG_DATABASE_CLASS, PG_AUTHID_CLASS].contains(class) == is_shared)
        .collect();
    let columns = Columns::new()
        .oid("objoid", placed.iter().map(|((_, object, _), _)| *object))
        .oid("classoid", placed.iter().map(|((class, ..), _)| *class))
        .text("description", placed.iter().map(|(_, text)| *text));
    if is_shared { columns } else { columns.int4("objsubid", placed.iter().map(|((.., sub), _)| *sub)) }
}

/// What the views of `sys` say of themselves.
fn system_comments<'a>() -> impl Iterator<Item = ((i64, i64, i32), &'a str)> {
    sys::reference::VIEWS.iter().flat_map(|view| {
        let oid = super::objects::sys_oid(view.name);
        let columns = (1..).zip(view.columns).map(move |(at, (_, text))| ((PG_CLASS_CLASS, oid, at), *text));
        std::iter::once(((PG_CLASS_CLASS, oid, 0), view.about)).chain(columns)
    })
}

/// Comments on tables, columns and schemas, and on the views of `sys`, behind PostgreSQL's own.
pub fn pg_description(view: &View) -> RecordBatch {
    comments(view, false).finish_after_static("pg_description")
}

/// Comments on the database and on roles.
pub fn pg_shdescription(view: &View) -> RecordBatch {
    comments(view, true).finish_as(PG_CATALOG, "pg_shdescription")
}

/// Settings as the session has them.
pub fn pg_settings(view: &View) -> RecordBatch {
    let values = &view.context.settings;
    let described = session::descriptions();
    Columns::new()
        .text("name", described.clone().map(|setting| setting.name))
        .text("setting", described.clone().map(|setting| session::value_in(values, setting)))
        .text("category", described.clone().map(|setting| setting.category()))
        .text("short_desc", described.clone().map(|setting| setting.description))
        .text("context", described.clone().map(|setting| setting.context()))
        .text("vartype", described.clone().map(|setting| setting.value_type()))
        .text(
            "source",
            described.clone().map(|setting| {
                if session::value_in(values, setting) == setting.default { "default" } else { "session" }
            }),
        )
        .text("boot_val", described.clone().map(|setting| setting.default))
        .text("reset_val", described.clone().map(|setting| setting.default))
        .finish_as(PG_CATALOG, "pg_settings")
}

/// Sessions and what they run.
pub fn pg_stat_activity(view: &View) -> RecordBatch {
    let sessions = view.context.coordinator.sessions_open.list();
    let rows = sessions.len();
    let name = |oid: u32| view.snapshot.metadata().role_by_oid(oid).map_or("", |role| role.name.as_str());
    // What a session does is for itself and for those above it, as in PostgreSQL.
    let is_seen: Vec<bool> = sessions.iter().map(|s| may_read_of(view, s.role_oid)).collect();
    let seen = || sessions.iter().zip(&is_seen).map(|(session, is_seen)| is_seen.then_some(session));
    Columns::new()
        .all_oid("datid", rows, DATABASE_OID)
        .name("datname", vec![catalog::DATABASE; rows])
        .int4("pid", sessions.iter().map(|s| s.process_id))
        .oid("usesysid", sessions.iter().map(|s| i64::from(s.role_oid)))
        .name("usename", sessions.iter().map(|s| name(s.role_oid)))
        .text("application_name", sessions.iter().map(|s| s.application_name.as_str()))
        .optional_text("client_addr", seen().map(|s| s.map(|s| s.address.ip().to_string())))
        .optional_int4("client_port", seen().map(|s| s.map(|s| s.address.port().into())))
        .time("backend_start", seen().map(|s| s.map(|s| s.started_at)))
        .time("query_start", seen().map(|s| s.and_then(|s| s.statement_at)))
        .time("state_change", seen().map(|s| s.and_then(|s| s.changed_at)))
        .optional_text("state", seen().map(|s| s.map(|s| s.state)))
        .text("query", sessions.iter().map(|s| shown_to(view, s.role_oid, &s.statement)))
        .optional_text("backend_type", seen().map(|s| s.map(|_| "client backend")))
        .finish_as(PG_CATALOG, "pg_stat_activity")
}

/// A statement of a role, as far as the role that asks may read it: what others write is theirs.
pub fn shown_to<'a>(view: &View, role_oid: u32, statement: &'a str) -> &'a str {
    if may_read_of(view, role_oid) { statement } else { "<insufficient privilege>" }
}

/// Whether the role that asks is this one, a member of it, or a superuser.
pub fn may_read_of(view: &View, role_oid: u32) -> bool {
    let metadata = view.snapshot.metadata();
    let asks = view.context.role_oid;
    match metadata.role_by_oid(role_oid) {
        Some(role) => metadata.has_privileges_of(asks, role.oid),
        None => metadata.is_superuser(asks),
    }
}

/// How the sessions' bytes are hidden.
pub fn pg_stat_ssl(view: &View) -> RecordBatch {
    let sessions = view.context.coordinator.sessions_open.list();
    let encryption = || sessions.iter().map(|s| s.encryption.as_ref());
    let name = |known: Option<&(_, Option<String>)>| known.and_then(|(_, name)| name.clone());
    Columns::new()
        .int4("pid", sessions.iter().map(|s| s.process_id))
        .bool("ssl", encryption().map(|known| known.is_some()))
        .optional_text("version", encryption().map(|known| known.map(|(e, _)| e.version)))
        .optional_text("cipher", encryption().map(|known| known.map(|(e, _)| e.cipher.as_str())))
        .optional_int4("bits", encryption().map(|known| known.map(|(e, _)| e.bits)))
        .optional_text("client_dn", encryption().map(|known| name(known).map(|name| format!("/CN={name}"))))
        .finish_as(PG_CATALOG, "pg_stat_ssl")
}
