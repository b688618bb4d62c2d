//! Sorts statements: queries go to the planner, the rest to `commands/`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use datafusion::sql::parser::Statement;
use engine::{Error, Result};
use sqlparser::ast::{
    AlterRoleOperation, AlterSchemaOperation, AlterTable, AlterTableOperation, CascadeOption, CloseCursor,
    CommentObject, ContextModifier, CopySource, CopyTarget, CreateRole, Declare, Expr, GrantObjects, Grantee,
    GranteeName, GranteesType, Ident, IndexColumn, ObjectName, ObjectNamePart, ObjectType, Owner, Password,
    Privileges, Reset, ResetConfig, RoleOption, SchemaName, SelectItem, Set, SetConfigValue, SetExpr,
    SetSessionAuthorizationParamKind, Statement as SqlStatement, TableConstraint, TableFactor, Value,
    WildcardAdditionalOptions,
};

use super::clauses;
use super::copy_files::CopyFiles;
use super::copy_options::{self, CopyOptions};
use super::dialect::{self, SessionFacts};
use super::explained::Explain;
use super::export;
use super::external::{self, CopyFrom, ExternalTable};
use super::limits;
use super::names::{self, TableReference};
use super::parameters;
use super::references;
use super::tables::{
    self, Clauses, RelationKind, RowChange, TableAlter, TableDrop, TableMake, Write, WriteTo,
};
use super::transactions::TransactionCommand;
use super::views::{self, ViewMake};
use crate::pg_catalog;

/// What a statement asks for.
#[derive(Debug, Clone)]
pub enum Command {
    /// Rows.
    Query(Box<Query>),
    /// `SET name = value`; no value means the default.
    Set { name: String, value: Option<String>, is_local: bool },
    /// `SHOW name`, or `SHOW ALL`.
    Show { name: String },
    /// `RESET name`; no name means all.
    Reset { name: Option<String> },
    /// `BEGIN`, `COMMIT` and their kin.
    Transaction(TransactionCommand),
    /// `DISCARD ALL` and its parts.
    Discard { what: String },
    /// `DEALLOCATE name`; no name means all.
    Deallocate { name: Option<String> },
    /// `DECLARE name CURSOR FOR query`.
    Declare(Box<DeclareCursor>),
    /// `FETCH` and `MOVE`.
    Fetch(Fetch),
    /// `CLOSE name`; no name means all.
    Close { name: Option<String> },
    /// `PREPARE name (types) AS statement`: the statement's text, and what was written of all.
    Prepare { name: String, types: Vec<String>, command: Box<Command>, text: String, written: Arc<str> },
    /// `EXECUTE name (…)`: the arguments as a query of one row.
    Execute { name: String, arguments: Option<Box<Query>> },
    /// `COPY … TO STDOUT`.
    Copy(Box<CopyOut>),
    /// `COPY … FROM STDIN`.
    CopyIn(Box<CopyIn>),
    /// `COPY … FROM 'location'`.
    CopyFrom(Box<CopyFrom>),
    /// `LOCK`: it is refused, but the tables must be there.
    Lock(Vec<(Option<String>, String)>),
    /// `NOTIFY` and `UNLISTEN`, where nobody can listen. The tag of its answer.
    Accepted { tag: &'static str },
    /// `CREATE`, `ALTER` and `DROP ROLE`.
    Role(RoleChange),
    /// `GRANT role TO role` and its opposite.
    Membership(Membership),
    /// `GRANT … ON … TO …` and its opposite.
    Granting(Granting),
    /// `CREATE EXTERNAL TABLE`.
    CreateTable(ExternalTable),
    /// `CREATE TABLE` with columns.
    MakeTable(TableMake),
    /// Rows that go to a table: `INSERT`, `CREATE TABLE … AS`.
    Write(Box<Write>),
    /// `EXPLAIN` of one of these.
    ExplainWrite(Box<Write>, Explain),
    /// `DELETE` and `UPDATE`.
    ChangeRows(Box<RowChange>),
    /// `CREATE VIEW`.
    CreateView(Box<ViewMake>),
    /// `CREATE SCHEMA` and its kin.
    Schema(SchemaChange),
    /// `REFRESH TABLE`: an external table's files are looked at again.
    RefreshTable { schema: Option<String>, table: String },
    /// `REFRESH LOCATIONS`: the tables of the start's locations are looked for, and opened, again.
    RefreshLocations,
    /// `OPTIMIZE TABLE`, `REFRESH MATERIALIZED VIEW`: a table's files are written again.
    Rewrite(RewriteTable),
    /// `ANALYZE`; of every table when none is named.
    Analyze(Vec<NamedColumns>),
    /// `CHECK LAYOUT`.
    CheckLayout { schema: Option<String>, table: String },
    /// `VACUUM`, of the whole catalog whatever it names, which must be there; what it names is analyzed, too, where it
    /// says so.
    Vacuum { tables: Vec<NamedColumns>, analyzes: bool },
    /// `TRUNCATE`.
    Truncate(TableDrop),
    /// `ALTER TABLE`, save for keys.
    AlterTable(TableAlter),
    /// `DROP TABLE` and `DROP VIEW`.
    DropTable(TableDrop),
    /// `COMMENT ON`.
    Comment { on: CommentOn, text: Option<String> },
    /// `ALTER TABLE … ADD PRIMARY KEY … NOT ENFORCED` and its opposite.
    Key(KeyChange),
}

impl Command {
    /// True for what reads the catalog: from the first one on a transaction has its characteristics for good.
    pub fn looks(&self) -> bool {
        !matches!(
            self,
            Self::Transaction(_)
                | Self::Set { .. }
                | Self::Show { .. }
                | Self::Reset { .. }
                | Self::Fetch(_)
                | Self::Accepted { .. }
                | Self::Lock(_)
        )
    }

    /// True for what a transaction can take back, and may stand in one.
    pub fn is_undone(&self) -> bool {
        !matches!(self, Self::Transaction(_) | Self::Vacuum { .. } | Self::Discard { .. })
    }
}

/// A relation and columns of it, as written; none for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedColumns {
    /// The schema, when the name has one.
    pub schema: Option<String>,
    /// The relation.
    pub table: String,
    /// Its columns.
    pub columns: Vec<String>,
}

/// A cursor to be declared.
#[derive(Debug, Clone)]
pub struct DeclareCursor {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub query: Query,
    /// The text of its query.
    pub text: String,
    /// The text of the statement, as the client sent it.
    pub statement: Arc<str>,
    /// Lives past its transaction.
    pub is_held: bool,
    /// Sends values in binary.
    pub is_binary: bool,
}

/// Rows of a cursor to be sent or passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The cursor.
    pub cursor: String,
    /// How many; all when not given.
    pub count: Option<u64>,
    /// Passed over: `MOVE`.
    pub is_move: bool,
}

/// Rows to be copied out.
#[derive(Debug, Clone)]
pub struct CopyOut {
    /// The rows.
    pub query: Query,
    /// Their text.
    pub text: String,
    /// How they are written.
    pub options: CopyOptions,
}

/// Rows to be copied in.
#[derive(Debug, Clone)]
pub struct CopyIn {
    /// The schema, when the name has one.
    pub schema: Option<String>,
    /// The table.
    pub table: String,
    /// The columns that the data has; all when there are none.
    pub columns: Vec<String>,
    /// How it is written.
    pub options: CopyOptions,
    /// The client's text.
    pub text: Arc<str>,
}

/// What a role is to become.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)] // PostgreSQL's words; `None` leaves an attribute as it is.
pub struct RoleOptions {
    pub superuser: Option<bool>,
    pub login: Option<bool>,
    pub inherit: Option<bool>,
    pub create_role: Option<bool>,
    pub create_db: Option<bool>,
    pub replication: Option<bool>,
    pub bypass_rls: Option<bool>,
    pub connection_limit: Option<i32>,
    /// The text of a point in time, or `infinity`.
    pub valid_until: Option<String>,
    /// `Some(None)` takes the password away.
    pub password: Option<Option<String>>,
}

/// A change of roles.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum RoleChange {
    Create {
        names: Vec<String>,
        options: RoleOptions,
        in_roles: Vec<String>,
        members: Vec<String>,
        admins: Vec<String>,
    },
    Alter {
        name: String,
        options: RoleOptions,
    },
    Rename {
        name: String,
        to: String,
    },
    Set {
        name: String,
        setting: RoleSetting,
    },
    Drop {
        names: Vec<String>,
        if_exists: bool,
    },
}

/// What `ALTER ROLE … SET` and `RESET` do to the settings that a role's sessions begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleSetting {
    /// This setting begins with this value.
    To(String, String),
    /// This setting begins with what it is now.
    FromCurrent(String),
    /// This setting begins as for every role.
    Reset(String),
    /// All do.
    ResetAll,
}

/// Roles made members of roles, or no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Membership {
    pub is_grant: bool,
    pub roles: Vec<String>,
    pub members: Vec<String>,
    /// `WITH ADMIN OPTION`, or `ADMIN OPTION FOR`.
    pub is_admin: bool,
    pub granted_by: Option<String>,
}

/// What privileges are on, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum GrantOn {
    Tables(Vec<(Option<String>, String)>),
    AllTables(Vec<String>),
    Schemas(Vec<String>),
    Databases(Vec<String>),
}

/// Privileges given or taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granting {
    /// Given, or taken.
    pub is_grant: bool,
    /// Which, in words; all when there is none.
    pub privileges: Vec<String>,
    /// On what.
    pub on: GrantOn,
    /// To or from whom; `None` for PUBLIC.
    pub grantees: Vec<Option<String>>,
    /// They may be passed on; of a REVOKE, only that is taken.
    pub with_grant_option: bool,
    /// What was passed on is taken, too.
    pub is_cascade: bool,
    /// In whose name.
    pub granted_by: Option<String>,
}

/// What a comment is on, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CommentOn {
    Database(String),
    Schema(String),
    Relation(RelationKind, Option<String>, String),
    Column(Option<String>, String, String),
    Role(String),
}

/// A table whose files are to be written again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewriteTable {
    /// The schema, when the name has one.
    pub schema: Option<String>,
    /// The table.
    pub table: String,
    /// As what its query gives now: `REFRESH`; else as they are: `OPTIMIZE`.
    pub is_refresh: bool,
    /// The client's text.
    pub text: Arc<str>,
}

/// A change of schemas.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // PostgreSQL's words.
pub enum SchemaChange {
    Create { name: Option<String>, owner: Option<String>, if_not_exists: bool },
    Drop { names: Vec<String>, if_exists: bool, is_cascade: bool },
    OwnerTo { name: String, role: String },
}

/// A primary key declared or dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The table's schema, where it was written.
    pub schema: Option<String>,
    /// The table.
    pub table: String,
    /// The constraint's name, where it was written.
    pub name: Option<String>,
    /// Its columns; none to drop it.
    pub columns: Vec<String>,
    /// A key that is not there is no error to drop.
    pub if_exists: bool,
}

/// A statement that gives rows.
#[derive(Debug, Clone)]
pub struct Query {
    /// The statement, rewritten to what DataFusion reads.
    pub statement: Statement,
    /// The tables it names.
    pub tables: Vec<TableReference>,
    /// The functions it calls, folded.
    pub functions: BTreeSet<String>,
    /// PostgreSQL's names for its columns, from the left and from the right.
    pub output_names: (Vec<Option<String>>, Vec<Option<String>>),
    /// PostgreSQL's types for columns that are casts: identifier and modifier.
    pub output_types: Vec<Option<(u32, i32)>>,
    /// The types of parameters that its text tells, by number; 0 where it tells none.
    pub parameters: BTreeMap<usize, u32>,
    /// It asks who the session is: see [`tell_session`](super::tell_session).
    pub asks_session: bool,
    /// What stands before it.
    pub explain: Option<Explain>,
    /// Only its columns are wanted: `WITH NO DATA`.
    pub is_empty: bool,
    /// A short SELECT of values and operators alone: it is planned and computed in a moment, whatever else runs.
    pub is_little: bool,
    /// It ends what others run, and does no more.
    pub only_ends_runs: bool,
}

/// Sorts one statement of `sql`. `is_user` says that a role was spelled `USER`, which logs in.
pub fn classify(
    statement: Statement,
    clauses: Clauses,
    sql: &str,
    facts: &SessionFacts,
    is_user: bool,
) -> Result<Command> {
    if let Statement::Statement(inner) = &statement {
        limits::check_columns(inner)?;
        limits::check_reads(inner)?;
        clauses::check(inner)?;
        references::check(inner)?;
    }
    match statement {
        Statement::Statement(inner) => match *inner {
            SqlStatement::CreateTable(create) => tables::create(create, clauses, sql, facts),
            SqlStatement::CreateView(create) if create.materialized => {
                tables::materialized(create, clauses, sql, facts)
            }
            SqlStatement::Copy { source, .. } if clauses.copy.is_some() => {
                let files = clauses.copy.ok_or_else(|| Error::internal("a COPY without files"))?;
                copy_files(source, files, sql, facts)
            }
            other => classify_sql(other, sql, facts, is_user),
        },
        Statement::Explain(_) => Err(not_supported("EXPLAIN of EXPLAIN")),
        Statement::Reset(reset) => Ok(reset_command(&reset.to_string())),
        Statement::CreateExternalTable(create) => Ok(Command::CreateTable(external::external(create)?)),
        Statement::CopyTo(_) => Err(not_supported("COPY")),
    }
}

fn classify_sql(statement: SqlStatement, sql: &str, facts: &SessionFacts, is_user: bool) -> Result<Command> {
    Ok(match statement {
        SqlStatement::Query(_) => Command::Query(Box::new(query(statement, sql, facts))),
        SqlStatement::Set(set) => classify_set(set)?,
        SqlStatement::ShowVariable { variable } => {
            Command::Show { name: variable_name(variable.iter().map(|i| i.value.as_str())) }
        }
        SqlStatement::Reset(reset) => match reset.reset {
            Reset::ALL => Command::Reset { name: None },
            Reset::ConfigurationParameter(name) => reset_command(&object_name(&name)),
        },
        SqlStatement::Discard { object_type } => {
            Command::Discard { what: object_type.to_string().to_ascii_uppercase() }
        }
        SqlStatement::Deallocate { name, .. } => {
            let is_all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
            Command::Deallocate { name: (!is_all).then(|| folded(&name)) }
        }
        SqlStatement::Close { cursor: CloseCursor::All } => Command::Close { name: None },
        SqlStatement::Close { cursor: CloseCursor::Specific { name } } => {
            Command::Close { name: Some(folded(&name)) }
        }
        SqlStatement::Declare { stmts } => declare(stmts, sql, facts)?,
        SqlStatement::Prepare { name, data_types, statement } => {
            let text = statement.to_string();
            let command = classify_sql(*statement, sql, facts, is_user)?;
            let types = data_types.iter().map(ToString::to_string).collect();
            let written = Arc::from("");
            Command::Prepare { name: folded(&name), types, command: Box::new(command), text, written }
        }
        SqlStatement::Execute { name: Some(name), parameters, immediate: false, .. } => {
            let arguments = match parameters.as_slice() {
                [] => None,
                values if values.iter().any(tables::holds_query) => {
                    let message = "cannot use subquery in EXECUTE parameter".to_owned();
                    return Err(Error::NotSupported { message });
                }
                _ => Some(Box::new(query(one_row(parameters), sql, facts))),
            };
            Command::Execute { name: last_name(&name), arguments }
        }
        SqlStatement::Copy {
            source, to: true, target: CopyTarget::Stdout, options, legacy_options, ..
        } => {
            let statement = copy_source(source)?;
            let text = statement.to_string();
            let options = copy_options::of(&options, &legacy_options, copy_options::Direction::To)?;
            Command::Copy(Box::new(CopyOut { query: query(statement, sql, facts), text, options }))
        }
        SqlStatement::Copy {
            source: CopySource::Table { table_name, columns },
            to: false,
            target: CopyTarget::Stdin,
            options,
            legacy_options,
            ..
        } => {
            let (schema, table) = schema_and_name(&table_name);
            Command::CopyIn(Box::new(CopyIn {
                schema,
                table,
                columns: columns.iter().map(folded).collect(),
                options: copy_options::of(&options, &legacy_options, copy_options::Direction::From)?,
                text: Arc::from(sql),
            }))
        }
        SqlStatement::Copy { to, .. } => {
            let what = if to {
                "COPY to anything but STDOUT or a location"
            } else {
                "COPY from anything but STDIN or a location"
            };
            return Err(not_supported(what));
        }
        SqlStatement::LISTEN { .. } => {
            return Err(not_supported("LISTEN"));
        }
        SqlStatement::UNLISTEN { .. } => Command::Accepted { tag: "UNLISTEN" },
        SqlStatement::NOTIFY { .. } => Command::Accepted { tag: "NOTIFY" },
        SqlStatement::Lock(lock) => {
            Command::Lock(lock.tables.iter().map(|target| schema_and_name(&target.name)).collect())
        }
        SqlStatement::CreateRole(create) => Command::Role(create_role(create, is_user)?),
        SqlStatement::AlterRole { name, operation } => Command::Role(alter_role(&name, operation)?),
        SqlStatement::Drop { object_type: ObjectType::Role, if_exists, names, .. } => {
            Command::Role(RoleChange::Drop { names: names.iter().map(last_name).collect(), if_exists })
        }
        SqlStatement::Drop {
            object_type: kind @ (ObjectType::Table | ObjectType::View | ObjectType::MaterializedView),
            if_exists,
            names,
            cascade,
            ..
        } => Command::DropTable(TableDrop {
            names: names.iter().map(schema_and_name).collect(),
            if_exists,
            kind: match kind {
                ObjectType::Table => RelationKind::Table,
                ObjectType::View => RelationKind::View,
                _ => RelationKind::MaterializedView,
            },
            is_cascade: cascade,
        }),
        SqlStatement::Drop { object_type: ObjectType::Schema, if_exists, names, cascade, .. } => {
            let names = names.iter().map(last_name).collect();
            Command::Schema(SchemaChange::Drop { names, if_exists, is_cascade: cascade })
        }
        SqlStatement::CreateSchema { schema_name, if_not_exists, .. } => {
            let (name, owner) = match &schema_name {
                SchemaName::Simple(name) => (Some(last_name(name)), None),
                SchemaName::UnnamedAuthorization(role) => (None, Some(folded(role))),
                SchemaName::NamedAuthorization(name, role) => (Some(last_name(name)), Some(folded(role))),
            };
            Command::Schema(SchemaChange::Create { name, owner, if_not_exists })
        }
        SqlStatement::AlterSchema(alter) => match alter.operations.as_slice() {
            [AlterSchemaOperation::OwnerTo { owner }] => {
                let role = owner_name(owner);
                Command::Schema(SchemaChange::OwnerTo { name: last_name(&alter.name), role })
            }
            _ => return Err(not_supported("ALTER SCHEMA other than OWNER TO a role")),
        },
        SqlStatement::CreateView(view) => Command::CreateView(Box::new(views::create(view, sql, facts)?)),
        SqlStatement::Grant(grant) if grant.current_grants.is_some() || grant.as_grantor.is_some() => {
            return Err(not_supported("this form of GRANT"));
        }
        SqlStatement::Grant(grant) => Command::Granting(Granting {
            is_grant: true,
            privileges: privileges(&grant.privileges),
            on: grant_on(grant.objects.as_ref())?,
            grantees: grantees(&grant.grantees)?,
            with_grant_option: grant.with_grant_option,
            is_cascade: false,
            granted_by: grant.granted_by.as_ref().map(folded),
        }),
        SqlStatement::Revoke(revoke) => Command::Granting(Granting {
            is_grant: false,
            privileges: privileges(&revoke.privileges),
            on: grant_on(revoke.objects.as_ref())?,
            grantees: grantees(&revoke.grantees)?,
            with_grant_option: false,
            is_cascade: matches!(revoke.cascade, Some(CascadeOption::Cascade)),
            granted_by: revoke.granted_by.as_ref().map(folded),
        }),
        SqlStatement::Comment { object_type, object_name, comment, .. } => {
            Command::Comment { on: comment_on(&object_type, &object_name)?, text: comment }
        }
        SqlStatement::Insert(insert) => tables::insert(insert, sql, facts)?,
        SqlStatement::Delete(delete) => tables::delete(delete, sql, facts)?,
        SqlStatement::Update(update) => tables::update(update, sql, facts)?,
        SqlStatement::Truncate(truncate) => tables::truncate(&truncate),
        SqlStatement::AlterTable(alter) if is_about_key(&alter) => Command::Key(key_change(alter)?),
        SqlStatement::AlterTable(alter) => tables::alter(&alter)?,
        other => return Err(not_supported(&first_words(&other.to_string()))),
    })
}

pub(super) fn folded(ident: &Ident) -> String {
    catalog::identifier::fold(&ident.value, ident.quote_style.is_some())
}

/// The role that a statement names as an owner; PostgreSQL's words for the session's own stay words.
pub(super) fn owner_name(owner: &Owner) -> String {
    match owner {
        Owner::Ident(role) => folded(role),
        Owner::CurrentRole | Owner::CurrentUser => "current_user".into(),
        Owner::SessionUser => "session_user".into(),
    }
}

/// Schema and name of `[schema.]name`.
pub(super) fn schema_and_name(name: &ObjectName) -> (Option<String>, String) {
    let mut parts: Vec<String> = name.0.iter().filter_map(ObjectNamePart::as_ident).map(folded).collect();
    let last = parts.pop().unwrap_or_default();
    (parts.pop(), last)
}

pub(super) fn last_name(name: &ObjectName) -> String {
    schema_and_name(name).1
}

fn declare(statements: Vec<Declare>, sql: &str, facts: &SessionFacts) -> Result<Command> {
    let [statement] = <[Declare; 1]>::try_from(statements).map_err(|_| not_supported("several DECLAREs"))?;
    let (Some(name), Some(body)) = (statement.names.first(), statement.for_query) else {
        return Err(not_supported("DECLARE of anything but a cursor"));
    };
    if statement.scroll == Some(true) {
        return Err(not_supported("DECLARE SCROLL CURSOR"));
    }
    let text = body.to_string();
    Ok(Command::Declare(Box::new(DeclareCursor {
        name: folded(name),
        query: query(SqlStatement::Query(body), sql, facts),
        text,
        statement: Arc::from(""),
        is_held: statement.hold == Some(true),
        is_binary: statement.binary == Some(true),
    })))
}

/// `SELECT a, b` of the arguments of an EXECUTE.
pub(super) fn one_row(values: Vec<Expr>) -> SqlStatement {
    let item = |(at, expr)| SelectItem::ExprWithAlias { expr, alias: Ident::new(format!("p{at}")) };
    template("SELECT NULL", values.into_iter().enumerate().map(item).collect(), None)
}

/// The statement that `text` stands for, with these columns, of that relation.
fn template(text: &str, columns: Vec<SelectItem>, relation: Option<ObjectName>) -> SqlStatement {
    let parsed = sqlparser::parser::Parser::parse_sql(&super::grammar::Grammar, text);
    let mut statement = parsed.ok().and_then(|mut statements| statements.pop()).expect("a text of ours");
    if let SqlStatement::Query(query) = &mut statement
        && let SetExpr::Select(select) = query.body.as_mut()
    {
        select.projection = columns;
        if let (Some(name), Some(from)) = (relation, select.from.first_mut())
            && let TableFactor::Table { name: place, .. } = &mut from.relation
        {
            *place = name;
        }
    }
    statement
}

/// `COPY … TO 'location'` and `COPY … FROM 'location'`.
fn copy_files(source: CopySource, files: CopyFiles, sql: &str, facts: &SessionFacts) -> Result<Command> {
    if files.is_to {
        let query = query(copy_source(source)?, sql, facts);
        let to = WriteTo::Location(Box::new(export::export(files)?));
        return Ok(Command::Write(Box::new(Write { to, query, text: Arc::from(sql) })));
    }
    let CopySource::Table { table_name, columns } = source else {
        return Err(Error::Syntax { message: "COPY query cannot be FROM".to_owned(), position: None });
    };
    let (schema, table) = schema_and_name(&table_name);
    let columns = columns.iter().map(folded).collect();
    let text = Arc::from(sql);
    Ok(Command::CopyFrom(Box::new(CopyFrom { schema, table, columns, from: external::copied(files)?, text })))
}

fn copy_source(source: CopySource) -> Result<SqlStatement> {
    Ok(match source {
        CopySource::Query(query) => SqlStatement::Query(query),
        CopySource::Table { table_name, columns } => {
            let mut seen = HashSet::new();
            if let Some(twice) = columns.iter().find(|column| !seen.insert(folded(column))) {
                let message = format!("column \"{}\" specified more than once", folded(twice));
                return Err(Error::DuplicateColumn { message });
            }
            let columns = match columns.is_empty() {
                true => vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())],
                false => {
                    columns.into_iter().map(|name| SelectItem::UnnamedExpr(Expr::Identifier(name))).collect()
                }
            };
            template("SELECT * FROM t", columns, Some(table_name))
        }
    })
}

fn text_of(expr: &Expr) -> Result<String> {
    match expr {
        Expr::Value(value) => value.value.clone().into_string().or_else(|| match &value.value {
            Value::Number(number, _) => Some(number.clone()),
            _ => None,
        }),
        Expr::UnaryOp { .. } => Some(expr.to_string().replace(' ', "")),
        _ => None,
    }
    .ok_or_else(|| Error::Syntax { message: format!("syntax error at or near \"{expr}\""), position: None })
}

fn password(password: Password) -> Result<Option<String>> {
    match password {
        Password::Password(expr) => Ok(Some(text_of(&expr)?)),
        Password::NullPassword => Ok(None),
    }
}

fn connection_limit(expr: &Expr) -> Result<i32> {
    let text = text_of(expr)?;
    text.parse()
        .map_err(|_| Error::InvalidParameterValue { message: format!("invalid connection limit: {text}") })
}

fn create_role(create: CreateRole, is_user: bool) -> Result<RoleChange> {
    if create.if_not_exists {
        return Err(not_supported("CREATE ROLE IF NOT EXISTS"));
    }
    let options = RoleOptions {
        superuser: create.superuser,
        login: create.login.or(is_user.then_some(true)),
        inherit: create.inherit,
        create_role: create.create_role,
        create_db: create.create_db,
        replication: create.replication,
        bypass_rls: create.bypassrls,
        connection_limit: create.connection_limit.as_ref().map(connection_limit).transpose()?,
        valid_until: create.valid_until.as_ref().map(text_of).transpose()?,
        password: create.password.map(password).transpose()?,
    };
    Ok(RoleChange::Create {
        names: create.names.iter().map(last_name).collect(),
        options,
        in_roles: create.in_role.iter().chain(&create.in_group).map(folded).collect(),
        members: create.role.iter().chain(&create.user).map(folded).collect(),
        admins: create.admin.iter().map(folded).collect(),
    })
}

fn alter_role(name: &Ident, operation: AlterRoleOperation) -> Result<RoleChange> {
    let name = folded(name);
    let given = match operation {
        AlterRoleOperation::RenameRole { role_name } => {
            return Ok(RoleChange::Rename { name, to: folded(&role_name) });
        }
        AlterRoleOperation::WithOptions { options } => options,
        AlterRoleOperation::Set { config_name, config_value, in_database: None } => {
            let setting = object_name(&config_name);
            let setting = match config_value {
                SetConfigValue::FromCurrent => RoleSetting::FromCurrent(setting),
                SetConfigValue::Default => RoleSetting::Reset(setting),
                SetConfigValue::Value(value) => match setting_value(&value) {
                    Some(value) => RoleSetting::To(setting, value),
                    None => RoleSetting::Reset(setting),
                },
            };
            return Ok(RoleChange::Set { name, setting });
        }
        AlterRoleOperation::Reset { config_name, in_database: None } => {
            let setting = match config_name {
                ResetConfig::ALL => RoleSetting::ResetAll,
                ResetConfig::ConfigName(setting) => RoleSetting::Reset(object_name(&setting)),
            };
            return Ok(RoleChange::Set { name, setting });
        }
        AlterRoleOperation::Set { .. } | AlterRoleOperation::Reset { .. } => {
            return Err(not_supported("ALTER ROLE … IN DATABASE"));
        }
        _ => return Err(not_supported("this form of ALTER ROLE")),
    };
    let mut options = RoleOptions::default();
    for option in given {
        match option {
            RoleOption::SuperUser(flag) => options.superuser = Some(flag),
            RoleOption::Login(flag) => options.login = Some(flag),
            RoleOption::Inherit(flag) => options.inherit = Some(flag),
            RoleOption::CreateRole(flag) => options.create_role = Some(flag),
            RoleOption::CreateDB(flag) => options.create_db = Some(flag),
            RoleOption::ConnectionLimit(expr) => options.connection_limit = Some(connection_limit(&expr)?),
            RoleOption::ValidUntil(expr) => options.valid_until = Some(text_of(&expr)?),
            RoleOption::Password(given) => options.password = Some(password(given)?),
            RoleOption::BypassRLS(flag) => options.bypass_rls = Some(flag),
            RoleOption::Replication(flag) => options.replication = Some(flag),
        }
    }
    Ok(RoleChange::Alter { name, options })
}

fn privileges(privileges: &Privileges) -> Vec<String> {
    match privileges {
        Privileges::All { .. } => Vec::new(),
        Privileges::Actions(actions) => actions.iter().map(ToString::to_string).collect(),
    }
}

fn grant_on(objects: Option<&GrantObjects>) -> Result<GrantOn> {
    let names = |names: &[ObjectName]| names.iter().map(last_name).collect();
    Ok(match objects {
        Some(GrantObjects::Tables(tables) | GrantObjects::Views(tables)) => {
            GrantOn::Tables(tables.iter().map(schema_and_name).collect())
        }
        Some(GrantObjects::AllTablesInSchema { schemas }) => GrantOn::AllTables(names(schemas)),
        Some(GrantObjects::Schemas(schemas)) => GrantOn::Schemas(names(schemas)),
        Some(GrantObjects::Databases(databases)) => GrantOn::Databases(names(databases)),
        _ => return Err(not_supported("GRANT and REVOKE on anything but tables, schemas and databases")),
    })
}

fn grantees(grantees: &[Grantee]) -> Result<Vec<Option<String>>> {
    grantees
        .iter()
        .map(|grantee| match (&grantee.grantee_type, &grantee.name) {
            (GranteesType::Public, _) => Ok(None),
            (_, Some(GranteeName::ObjectName(name))) => {
                let name = last_name(name);
                Ok((name != "public").then_some(name))
            }
            _ => Err(not_supported("this kind of grantee")),
        })
        .collect()
}

fn comment_on(kind: &CommentObject, name: &ObjectName) -> Result<CommentOn> {
    let (schema, last) = schema_and_name(name);
    Ok(match kind {
        CommentObject::Database => CommentOn::Database(last),
        CommentObject::Schema => CommentOn::Schema(last),
        CommentObject::Table => CommentOn::Relation(RelationKind::Table, schema, last),
        CommentObject::View => CommentOn::Relation(RelationKind::View, schema, last),
        CommentObject::MaterializedView => CommentOn::Relation(RelationKind::MaterializedView, schema, last),
        CommentObject::Role | CommentObject::User => CommentOn::Role(last),
        CommentObject::Column => {
            let mut parts: Vec<String> =
                name.0.iter().filter_map(ObjectNamePart::as_ident).map(folded).collect();
            let column = parts.pop().unwrap_or_default();
            let table = parts.pop().ok_or_else(|| Error::Syntax {
                message: "column name must be qualified".into(),
                position: None,
            })?;
            CommentOn::Column(parts.pop(), table, column)
        }
        other => return Err(not_supported(&format!("COMMENT ON {other}"))),
    })
}

fn is_about_key(alter: &AlterTable) -> bool {
    use AlterTableOperation::{AddConstraint, DropConstraint};
    matches!(alter.operations.as_slice(), [AddConstraint { .. } | DropConstraint { .. }])
}

fn key_change(alter: AlterTable) -> Result<KeyChange> {
    let (schema, table) = schema_and_name(&alter.name);
    let change = |name, columns, if_exists| KeyChange { schema, table, name, columns, if_exists };
    let unsupported = || not_supported("ALTER TABLE other than ADD and DROP of a PRIMARY KEY NOT ENFORCED");
    match alter.operations.as_slice() {
        [AlterTableOperation::AddConstraint { constraint: TableConstraint::PrimaryKey(key), .. }] => {
            let is_enforced = key.characteristics.as_ref().is_none_or(|c| c.enforced != Some(false));
            if is_enforced {
                let message = "primary keys are not enforced here: write PRIMARY KEY (…) NOT ENFORCED";
                return Err(Error::NotSupported { message: message.into() });
            }
            let column = |column: &IndexColumn| match &column.column.expr {
                Expr::Identifier(ident) => Ok(folded(ident)),
                other => Err(not_supported(&format!("{other} in a primary key"))),
            };
            let columns = key.columns.iter().map(column).collect::<Result<_>>()?;
            Ok(change(key.name.as_ref().map(folded), columns, false))
        }
        [AlterTableOperation::DropConstraint { if_exists, name, .. }] => {
            Ok(change(Some(folded(name)), Vec::new(), *if_exists))
        }
        _ => Err(unsupported()),
    }
}

/// `RESET SESSION AUTHORIZATION` has a name of several words.
fn reset_command(text: &str) -> Command {
    match reset_name(text) {
        Some(name) if name.starts_with("session") && name.ends_with("authorization") => {
            Command::Reset { name: Some("session_authorization".into()) }
        }
        name => Command::Reset { name },
    }
}

/// A longer message may hold what takes long, however it looks.
const LITTLE_BYTES: usize = 1000;

pub(super) fn query(mut statement: SqlStatement, sql: &str, facts: &SessionFacts) -> Query {
    let output_names = names::output_names(&statement);
    let output_types = names::output_types(&statement);
    let parameters = parameters::told(&statement);
    let reads_system = names::tables(&statement, sql).iter().any(|table| {
        // A user's own table of such a name is found in its schema, `public`.
        pg_catalog::is_system_table(table.schema.as_deref(), &table.table)
            || pg_catalog::is_catalog_function(&table.table)
    });
    let is_little = sql.len() <= LITTLE_BYTES && names::is_little(&statement);
    let only_ends_runs = sql.len() <= LITTLE_BYTES && names::only_ends_runs(&statement);
    let asks_session = dialect::adapt(&mut statement, facts, reads_system);
    // After the rewrites, which may leave out what cannot have rows.
    let tables = names::tables(&statement, sql);
    let functions = names::functions(&statement);
    let statement = Statement::Statement(Box::new(statement));
    Query {
        statement,
        tables,
        functions,
        output_names,
        output_types,
        parameters,
        asks_session,
        explain: None,
        is_empty: false,
        is_little,
        only_ends_runs,
    }
}

fn classify_set(set: Set) -> Result<Command> {
    Ok(match set {
        Set::SingleAssignment { scope, variable, values, .. } => {
            let is_local = matches!(scope, Some(ContextModifier::Local));
            let name = object_name(&variable);
            let values: Vec<Option<String>> = values.iter().map(setting_value).collect();
            let value = match values.as_slice() {
                [None] => None,
                _ => Some(joined(&name, values.into_iter().flatten().collect())?),
            };
            Command::Set { name, value, is_local }
        }
        Set::SetTimeZone { local, value } => {
            let value = setting_value(&value).filter(|v| !v.eq_ignore_ascii_case("local"));
            Command::Set { name: "timezone".into(), value, is_local: local }
        }
        Set::SetNames { charset_name, .. } => {
            Command::Set { name: "client_encoding".into(), value: Some(charset_name.value), is_local: false }
        }
        Set::SetRole { context_modifier, role_name } => Command::Set {
            name: "role".into(),
            value: Some(role_name.as_ref().map_or_else(|| "none".to_owned(), folded)),
            is_local: matches!(context_modifier, Some(ContextModifier::Local)),
        },
        Set::SetSessionAuthorization(to) => Command::Set {
            name: "session_authorization".into(),
            value: match to.kind {
                SetSessionAuthorizationParamKind::Default => None,
                SetSessionAuthorizationParamKind::User(name) => Some(folded(&name)),
            },
            is_local: matches!(to.scope, ContextModifier::Local),
        },
        other => return Err(not_supported(&first_words(&other.to_string()))),
    })
}

/// The values of a SET as one text. In a list of names each is quoted where it must be, as in PostgreSQL.
fn joined(name: &str, values: Vec<String>) -> Result<String> {
    const LISTS_OF_NAMES: [&str; 3] = ["search_path", "temp_tablespaces", "local_preload_libraries"];
    if LISTS_OF_NAMES.contains(&name) {
        let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
        return Ok(values.join(", "));
    }
    if values.len() > 1 && name != "datestyle" {
        return Err(Error::InvalidParameterValue { message: format!("SET {name} takes only one argument") });
    }
    Ok(values.join(", "))
}

fn quoted(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    match is_plain {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// The text of a setting's value; `None` stands for DEFAULT.
fn setting_value(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident)
            if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default") =>
        {
            None
        }
        // A word without quotes is folded, as every name.
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::Value(value) => Some(match &value.value {
            Value::Number(number, _) => number.clone(),
            Value::Boolean(flag) => flag.to_string(),
            other => other.clone().into_string().unwrap_or_else(|| other.to_string()),
        }),
        other => Some(other.to_string()),
    }
}

fn object_name(name: &ObjectName) -> String {
    variable_name(name.0.iter().filter_map(ObjectNamePart::as_ident).map(|i| i.value.as_str()))
}

/// Settings are found without regard to case; a few have names of several words.
fn variable_name<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let name = parts.collect::<Vec<_>>().join(".").to_ascii_lowercase();
    match name.as_str() {
        "time.zone" => "timezone".to_owned(),
        "transaction.isolation.level" => "transaction_isolation".to_owned(),
        "session.authorization" => "session_authorization".to_owned(),
        _ => name,
    }
}

fn reset_name(text: &str) -> Option<String> {
    let name = text.trim().trim_start_matches("RESET").trim();
    let name = variable_name(name.split(['.', ' ']).filter(|word| !word.is_empty()));
    (name != "all").then_some(name)
}

pub(super) fn not_supported(what: &str) -> Error {
    Error::NotSupported { message: format!("{what} is not supported") }
}

/// The first words of a statement name its kind.
fn first_words(text: &str) -> String {
    let words: Vec<&str> = text
        .split_ascii_whitespace()
        .take_while(|word| word.chars().all(|c| c.is_ascii_uppercase()))
        .take(2)
        .collect();
    if words.is_empty() { "this statement".to_owned() } else { words.join(" ") }
}
