//! Statements that make, change and fill tables.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::grammar::Grammar;
use catalog::lake::DeclaredType;
use catalog::{TableDefinition, TableName};
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::sql::parser::Statement;
use engine::{Error, Result};
use sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, ArrayElemTypeDef, AssignmentTarget,
    BinaryOperator, CastKind, ColumnDef, ColumnOption, CreateTable, CreateTableOptions, CreateView,
    DataType as SqlType, Delete, DropBehavior, ExactNumberInfo, Expr, FromTable, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, Ident, Insert, ObjectName, ObjectNamePart, OnCommit,
    RenameTableNameKind, SelectItem, SetExpr, SqlOption, Statement as SqlStatement, TableFactor, TableObject,
    TableWithJoins, Truncate, Update, Value, Visit, Visitor,
};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::classify::{Command, Query, folded, last_name, not_supported, owner_name, query, schema_and_name};
use super::copy_files::{self, CopyFiles};
use super::declared;
use super::defaults::{self, DefaultValue};
use super::dialect::{self, SessionFacts};
use super::export::ExportTo;
use super::inserts;
use super::printed::{self, name as quote};
use super::views::{self, ViewMake};
use crate::pg_catalog::types;

/// `DROP TABLE a, b`, and its like.
#[derive(Debug, Clone)]
pub struct TableDrop {
    /// Schema, where the name has one, and table.
    pub names: Vec<(Option<String>, String)>,
    /// Whether a name of no table is fine.
    pub if_exists: bool,
    /// What the names are said to be.
    pub kind: RelationKind,
    /// The views over it go as well.
    pub is_cascade: bool,
}

/// What a relation is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RelationKind {
    Table,
    View,
    MaterializedView,
}

/// A table whose rows are ours to write.
#[derive(Debug, Clone)]
pub struct TableMake {
    /// The schema, when the name has one.
    pub schema: Option<String>,
    /// The table.
    pub table: String,
    /// Whether a table of that name is fine.
    pub if_not_exists: bool,
    /// Its columns; for `AS`, names for those of the query, or none.
    pub columns: Vec<ColumnMake>,
    /// The columns that cut it into files, with their transforms.
    pub partition_by: Vec<(String, String)>,
    /// The order of its rows: column, from the largest, nulls first.
    pub sorted_by: Vec<(String, bool, bool)>,
    /// It is the session's own, and goes with it.
    pub is_temporary: bool,
    /// So many files, where it is said.
    pub partitions: Option<usize>,
    /// Its rows stay those of the query.
    pub materialized: Option<Box<ViewMake>>,
}

/// A column to be made.
#[derive(Debug, Clone)]
pub struct ColumnMake {
    /// Its name.
    pub name: String,
    /// Its type; `Null` for a name of a query's column.
    pub data_type: DataType,
    /// It may be null.
    pub is_nullable: bool,
    /// The literal that stands where a row names no value.
    pub default: Option<DefaultValue>,
    /// The type as it was written, where the one that it is kept as says less.
    pub declared: Option<DeclaredType>,
}

impl ColumnMake {
    /// A name for a query's column.
    fn named(name: String) -> Self {
        Self { name, data_type: DataType::Null, is_nullable: true, default: None, declared: None }
    }
}

/// Rows to be written.
#[derive(Debug, Clone)]
pub struct Write {
    /// Where to.
    pub to: WriteTo,
    /// Which.
    pub query: Query,
    /// The client's text.
    pub text: Arc<str>,
}

/// Where rows are written.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum WriteTo {
    /// `INSERT INTO`.
    Insert { schema: Option<String>, table: String },
    /// `CREATE TABLE … AS`; without rows for `WITH NO DATA`.
    Create(TableMake),
    /// Files in place of others: `DELETE`, `UPDATE`, `OPTIMIZE`, `REFRESH`.
    Rewrite,
    /// `COPY … TO 'location'`: files that no catalog knows.
    Location(Box<ExportTo>),
}

impl WriteTo {
    /// True for a table of the session's own that is to be made.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Create(make) if make.is_temporary)
    }

    /// The statement's name.
    pub fn statement(&self) -> &'static str {
        match self {
            Self::Insert { .. } => "INSERT",
            Self::Create(make) if make.materialized.is_some() => "CREATE MATERIALIZED VIEW",
            Self::Create(_) => "CREATE TABLE AS",
            Self::Rewrite => "UPDATE",
            Self::Location(_) => "COPY",
        }
    }
}

/// `DELETE` and `UPDATE`: rows that go, or become others. Both are queries over the table's files, once it is
/// known.
#[derive(Debug, Clone)]
pub struct RowChange {
    /// The schema, when the name has one.
    pub schema: Option<String>,
    /// The table.
    pub table: String,
    /// The name it has in the statement.
    alias: Option<String>,
    /// Which rows; all when not given.
    selection: Option<Expr>,
    /// What they become: column and value. `None` for rows that go.
    assignments: Option<Vec<(String, Expr)>>,
    facts: SessionFacts,
    /// The client's text.
    pub text: Arc<str>,
}

/// A change of a table.
#[derive(Debug, Clone)]
pub struct TableAlter {
    /// The schema, when the name has one.
    pub schema: Option<String>,
    /// The table.
    pub table: String,
    /// What it is said to be: a table may be anything, where it can be done to it.
    pub said: RelationKind,
    /// No table of that name is fine.
    pub if_exists: bool,
    /// What is done, in order.
    pub steps: Vec<AlterStep>,
}

/// One step of an `ALTER TABLE`.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // PostgreSQL's words.
pub enum AlterStep {
    Rename { to: String },
    OwnerTo { role: String },
    AddColumn { column: ColumnMake, if_not_exists: bool },
    DropColumn { name: String, if_exists: bool, is_cascade: bool },
    RenameColumn { name: String, to: String },
    SetType { name: String, data_type: DataType, declared: Option<DeclaredType> },
    SetDefault { name: String, default: Option<DefaultValue> },
    SetNullable { name: String, is_nullable: bool },
}

/// `CREATE TABLE`, with columns or `AS` a query.
pub fn create(create: CreateTable, clauses: Clauses, sql: &str, facts: &SessionFacts) -> Result<Command> {
    let refused = [
        (create.like.is_some(), "LIKE"),
        (create.inherits.is_some(), "INHERITS"),
        (create.partition_of.is_some(), "PARTITION OF"),
        (create.partition_by.is_some(), "PARTITION BY (write PARTITIONED BY)"),
        (!matches!(create.on_commit, None | Some(OnCommit::PreserveRows)), "ON COMMIT DROP or DELETE ROWS"),
        (!matches!(create.table_options, CreateTableOptions::None), "WITH options"),
        (!create.constraints.is_empty(), "constraints (declare keys with ALTER TABLE … NOT ENFORCED)"),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(is_asked, _)| *is_asked) {
        return Err(not_supported(&format!("CREATE TABLE with {what}")));
    }
    if create.on_commit.is_some() && !create.temporary {
        let message = "ON COMMIT can only be used on temporary tables".to_owned();
        return Err(Error::InvalidTableDefinition { message });
    }
    if create.query.is_some() && !create.columns.is_empty() {
        // The types are those of the query. Names alone were taken out before it was parsed.
        let message = "syntax error at or near \"AS\"".to_owned();
        return Err(Error::Syntax { message, position: None });
    }
    let (schema, table) = schema_and_name(&create.name);
    let columns = match create.query {
        Some(_) => clauses.names.into_iter().map(ColumnMake::named).collect(),
        None => {
            create.columns.iter().map(|column| column_make(column, &table)).collect::<Result<Vec<_>>>()?
        }
    };
    let make = TableMake {
        schema,
        table,
        if_not_exists: create.if_not_exists,
        columns,
        partition_by: clauses.partitioned_by,
        sorted_by: clauses.sorted_by,
        is_temporary: create.temporary,
        partitions: None,
        materialized: None,
    };
    let Some(body) = create.query else {
        if make.columns.is_empty() {
            let message = "tables without columns are not supported".to_owned();
            return Err(Error::NotSupported { message });
        }
        return Ok(Command::MakeTable(make));
    };
    let mut query = query(SqlStatement::Query(body), sql, facts);
    // They would be texts in the table.
    dialect::check_document_columns(&query.output_types)?;
    query.is_empty = clauses.with_no_data;
    Ok(Command::Write(Box::new(Write { to: WriteTo::Create(make), query, text: Arc::from(sql) })))
}

/// `INSERT INTO`.
pub fn insert(insert: Insert, sql: &str, facts: &SessionFacts) -> Result<Command> {
    let refused = [
        (insert.on.is_some(), "ON CONFLICT (there are no unique keys)"),
        (insert.returning.is_some(), "RETURNING"),
        (insert.source.is_none(), "DEFAULT VALUES"),
        (insert.table_alias.is_some(), "an alias"),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(is_asked, _)| *is_asked) {
        return Err(not_supported(&format!("INSERT with {what}")));
    }
    let TableObject::TableName(name) = &insert.table else {
        return Err(not_supported("INSERT into anything but a table"));
    };
    let (schema, table) = schema_and_name(name);
    inserts::check_columns(&insert.columns)?;
    inserts::check_widths(&insert)?;
    let mut insert = insert;
    if let Some(source) = &mut insert.source {
        inserts::select_values(&mut source.body);
        name_outputs(&mut source.body);
    }
    let query = query(SqlStatement::Insert(insert), sql, facts);
    let to = WriteTo::Insert { schema, table };
    Ok(Command::Write(Box::new(Write { to, query, text: Arc::from(sql) })))
}

/// The INSERT that adds `columns` of the rows in `files` to `target`.
pub fn insert_of_files(
    target: &TableName,
    columns: &[String],
    files: &TableName,
    facts: &SessionFacts,
) -> Result<Query> {
    let named = |name: &TableName| format!("{}.{}", quote(&name.schema), quote(&name.table));
    let columns = columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
    let sql = format!("INSERT INTO {} ({columns}) SELECT {columns} FROM {}", named(target), named(files));
    match Parser::parse_sql(&Grammar, &sql).ok().and_then(|mut parsed| parsed.pop()) {
        Some(statement @ SqlStatement::Insert(_)) => Ok(query(statement, &sql, facts)),
        _ => Err(Error::internal("an INSERT was written that cannot be read")),
    }
}

/// The query of `columns` of the relation `name`.
pub fn columns_of(name: &TableName, columns: &[String], facts: &SessionFacts) -> Result<Query> {
    let columns = columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
    let text = format!("SELECT {columns} FROM {}.{}", quote(&name.schema), quote(&name.table));
    views::view_query(&text, facts)
}

/// The query of how many rows the relation `name` has, and how many different values `columns` of it, about.
pub fn distinct_counts_of(name: &TableName, columns: &[&str], facts: &SessionFacts) -> Result<Query> {
    let count = |column: &&str| format!("approx_distinct({})", quote(column));
    let counts: String = columns.iter().map(|column| format!(", {}", count(column))).collect();
    let text = format!("SELECT count(*){counts} FROM {}.{}", quote(&name.schema), quote(&name.table));
    views::view_query(&text, facts)
}

/// Where the rows of an INSERT that names no columns come from.
pub enum InsertSource {
    /// Values, as many in the first row.
    Values(usize),
    /// A query.
    Query(Statement),
}

impl InsertSource {
    /// `None` for any other statement.
    pub fn of(statement: &Statement) -> Option<Self> {
        let Statement::Statement(statement) = statement else { return None };
        let SqlStatement::Insert(insert) = statement.as_ref() else { return None };
        let source = insert.source.as_ref().filter(|_| insert.columns.is_empty())?;
        Some(match source.body.as_ref() {
            SetExpr::Values(values) => Self::Values(values.rows.first().map_or(0, |row| row.content.len())),
            _ => Self::Query(Statement::Statement(Box::new(SqlStatement::Query(source.clone())))),
        })
    }
}

/// How often the values of an INSERT are cast, by row and place.
pub fn value_casts(statement: &Statement) -> Vec<Vec<usize>> {
    fn casts(value: &Expr) -> usize {
        match value {
            Expr::Cast { expr, .. } => 1 + casts(expr),
            Expr::Nested(inner) => casts(inner),
            Expr::TypedString(_) => 1,
            _ => 0,
        }
    }
    let Statement::Statement(statement) = statement else { return Vec::new() };
    let SqlStatement::Insert(insert) = statement.as_ref() else { return Vec::new() };
    match insert.source.as_ref().map(|source| source.body.as_ref()) {
        Some(SetExpr::Values(values)) => {
            values.rows.iter().map(|row| row.content.iter().map(casts).collect()).collect()
        }
        _ => Vec::new(),
    }
}

/// The query whose rows an INSERT takes, but for VALUES.
pub fn inserted_query(statement: &Statement) -> Option<Statement> {
    let Statement::Statement(statement) = statement else { return None };
    let SqlStatement::Insert(insert) = statement.as_ref() else { return None };
    let source = insert.source.as_ref()?;
    match source.body.as_ref() {
        SetExpr::Values(_) => None,
        _ => Some(Statement::Statement(Box::new(SqlStatement::Query(source.clone())))),
    }
}

/// A value of an INSERT, by its row and its place there.
pub type ValuePlace = (usize, usize);

/// A query of the values of an INSERT that are computed, and where each stands.
pub fn computed_values(statement: &Statement) -> Option<(Statement, Vec<ValuePlace>)> {
    let Statement::Statement(statement) = statement else { return None };
    let SqlStatement::Insert(insert) = statement.as_ref() else { return None };
    let SetExpr::Values(values) = insert.source.as_ref()?.body.as_ref() else { return None };
    let mut places = Vec::new();
    let mut computed = Vec::new();
    for (row, content) in values.rows.iter().enumerate() {
        for (at, value) in content.content.iter().enumerate().filter(|(_, value)| is_computed(value)) {
            places.push((row, at));
            computed.push(value.clone());
        }
    }
    if computed.is_empty() {
        return None;
    }
    let mut query = Parser::new(&Grammar).try_with_sql("SELECT 1").ok()?.parse_query().ok()?;
    if let SetExpr::Select(select) = query.body.as_mut() {
        let item = |(at, expr)| {
            let alias = Ident::with_quote('"', format!("column {at}"));
            SelectItem::ExprWithAlias { expr, alias }
        };
        select.projection = computed.into_iter().enumerate().map(item).collect();
    }
    Some((Statement::Statement(Box::new(SqlStatement::Query(query))), places))
}

fn is_computed(value: &Expr) -> bool {
    match value {
        Expr::Nested(inner) => is_computed(inner),
        Expr::UnaryOp { expr, .. } => is_computed(expr),
        Expr::Value(_) | Expr::Identifier(_) | Expr::Cast { .. } | Expr::TypedString(_) => false,
        _ => true,
    }
}

/// Casts values of an INSERT.
pub fn cast_values(statement: &mut Statement, casts: &[(ValuePlace, DataType)]) {
    let Statement::Statement(statement) = statement else { return };
    let SqlStatement::Insert(insert) = statement.as_mut() else { return };
    let Some(SetExpr::Values(values)) = insert.source.as_mut().map(|source| source.body.as_mut()) else {
        return;
    };
    for ((row, at), kind) in casts {
        let value = values.rows.get_mut(*row).and_then(|row| row.content.get_mut(*at));
        if let (Some(value), Some(data_type)) = (value, super::parameters::written(kind)) {
            let expr = Box::new(std::mem::replace(value, Expr::value(Value::Null)));
            *value = Expr::Cast { kind: CastKind::Cast, expr, data_type, array: false, format: None };
        }
    }
}

/// The columns that an INSERT names, as they are called.
pub fn inserted_columns(statement: &Statement) -> Vec<String> {
    let Statement::Statement(statement) = statement else { return Vec::new() };
    let SqlStatement::Insert(insert) = statement.as_ref() else { return Vec::new() };
    let last = |name: &ObjectName| name.0.last().and_then(ObjectNamePart::as_ident).map(folded);
    insert.columns.iter().filter_map(last).collect()
}

/// Casts the outputs of an INSERT's query, by their places.
pub fn cast_outputs(statement: &mut Statement, casts: &[Option<DataType>]) -> Result<()> {
    let Statement::Statement(statement) = statement else { return Ok(()) };
    let SqlStatement::Insert(insert) = statement.as_mut() else { return Ok(()) };
    let Some(source) = insert.source.take() else { return Ok(()) };
    let columns: Vec<String> = (0..casts.len()).map(|at| format!("\"{at}\"")).collect();
    let outputs: Vec<String> = columns
        .iter()
        .zip(casts)
        .map(|(column, cast)| match cast.as_ref().and_then(super::parameters::written) {
            Some(kind) => format!("CAST({column} AS {kind}) AS {column}"),
            None => column.clone(),
        })
        .collect();
    let text = format!("SELECT {} FROM (SELECT 1) AS q ({})", outputs.join(", "), columns.join(", "));
    let outer = Parser::new(&Grammar).try_with_sql(&text).and_then(|mut parser| parser.parse_query());
    let mut outer = outer.map_err(|error| Error::internal(error.to_string()))?;
    if let SetExpr::Select(select) = outer.body.as_mut()
        && let Some(from) = select.from.first_mut()
        && let TableFactor::Derived { subquery, .. } = &mut from.relation
    {
        *subquery = source;
    }
    insert.source = Some(outer);
    Ok(())
}

/// Writes the names of the columns into an INSERT that has none.
pub fn name_columns(statement: &mut Statement, names: &[String]) {
    if let Statement::Statement(statement) = statement
        && let SqlStatement::Insert(insert) = statement.as_mut()
    {
        insert.columns =
            names.iter().map(|name| ObjectName::from(vec![Ident::with_quote('"', name)])).collect();
    }
}

/// Gives the columns of an INSERT's query names of their own: they go by place, and two may be alike.
fn name_outputs(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            let mut seen = HashSet::new();
            for (at, item) in select.projection.iter_mut().enumerate() {
                let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
                    continue;
                };
                // What ORDER BY may name keeps its name where it is one.
                let is_own_name = match expr {
                    Expr::Identifier(name) => seen.insert(folded(name)),
                    Expr::CompoundIdentifier(names) => {
                        names.last().is_some_and(|name| seen.insert(folded(name)))
                    }
                    _ => false,
                };
                if !is_own_name {
                    let alias = Ident::with_quote('"', format!("column {at}"));
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                }
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            name_outputs(left);
            name_outputs(right);
        }
        _ => {}
    }
}

/// Reads the literals among the values of an INSERT as what the columns of `target` take for them.
pub fn read_values(statement: &mut Statement, target: &TableDefinition) -> Result<()> {
    let Statement::Statement(statement) = statement else { return Ok(()) };
    let SqlStatement::Insert(insert) = statement.as_mut() else { return Ok(()) };
    let named: Vec<Option<usize>> =
        insert.columns.iter().map(|column| target.position(&last_name(column))).collect();
    let fields = target.fields();
    let place = |at: usize| if named.is_empty() { Some(at) } else { named.get(at).copied().flatten() };
    let kind = |at: usize| place(at).and_then(|place| fields.get(place)).map(Field::data_type);
    let read = |at: usize, value: &Expr, is_default: bool| match (is_default, place(at)) {
        (true, Some(place)) => inserts::default_of(target, place).map(Some),
        _ if kind(at) == Some(&DataType::Binary) => Ok(dialect::bytea(value)),
        _ => Ok(None),
    };
    let values = match insert.source.as_mut().map(|source| source.body.as_mut()) {
        Some(SetExpr::Values(values)) => values,
        Some(body) => {
            return inserts::read_selects(body, &|at, value| {
                read(at, value, inserts::is_marked_default(value))
            });
        }
        None => return Ok(()),
    };
    for row in &mut values.rows {
        for (at, value) in row.content.iter_mut().enumerate() {
            if let Some(other) = read(at, value, inserts::is_default(value))? {
                *value = other;
            }
        }
    }
    Ok(())
}

/// `DELETE FROM`.
pub fn delete(delete: Delete, sql: &str, facts: &SessionFacts) -> Result<Command> {
    let refused = [(delete.using.is_some(), "USING"), (delete.returning.is_some(), "RETURNING")];
    if let Some((_, what)) = refused.into_iter().find(|(is_asked, _)| *is_asked) {
        return Err(not_supported(&format!("DELETE with {what}")));
    }
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = delete.from;
    change(from, delete.selection, None, sql, facts)
}

/// `UPDATE`.
pub fn update(update: Update, sql: &str, facts: &SessionFacts) -> Result<Command> {
    let refused = [(update.from.is_some(), "FROM"), (update.returning.is_some(), "RETURNING")];
    if let Some((_, what)) = refused.into_iter().find(|(is_asked, _)| *is_asked) {
        return Err(not_supported(&format!("UPDATE with {what}")));
    }
    let mut assignments: Vec<(String, Expr)> = Vec::new();
    for assignment in update.assignments {
        let pairs: Vec<(String, Expr)> = match (assignment.target, assignment.value) {
            (AssignmentTarget::ColumnName(name), value) => vec![(assigned_column(&name)?, value)],
            (AssignmentTarget::Tuple(names), Expr::Tuple(values)) if names.len() == values.len() => {
                let names = names.iter().map(assigned_column).collect::<Result<Vec<_>>>()?;
                names.into_iter().zip(values).collect()
            }
            (AssignmentTarget::Tuple(_), Expr::Tuple(_)) => {
                let message = "number of columns does not match number of values".to_owned();
                return Err(Error::Syntax { message, position: None });
            }
            (AssignmentTarget::Tuple(_), _) => return Err(not_supported("UPDATE with a row of columns")),
        };
        for (name, value) in pairs {
            if assignments.iter().any(|(known, _)| *known == name) {
                let message = format!("multiple assignments to same column \"{name}\"");
                return Err(Error::Syntax { message, position: None });
            }
            assignments.push((name, value));
        }
    }
    change(vec![update.table], update.selection, Some(assignments), sql, facts)
}

/// The column that an UPDATE sets: a name before it would be that of a column, and it a field's.
fn assigned_column(name: &ObjectName) -> Result<String> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(column)] => Ok(folded(column)),
        [ObjectNamePart::Identifier(column), ..] => {
            Err(Error::UndefinedColumn { column: folded(column), suggestion: None, position: None })
        }
        _ => Err(not_supported("UPDATE of such a column")),
    }
}

fn change(
    from: Vec<TableWithJoins>,
    selection: Option<Expr>,
    assignments: Option<Vec<(String, Expr)>>,
    sql: &str,
    facts: &SessionFacts,
) -> Result<Command> {
    let [TableWithJoins { relation: TableFactor::Table { name, alias, args: None, .. }, joins }] =
        from.as_slice()
    else {
        return Err(not_supported("DELETE and UPDATE of anything but one table"));
    };
    // `UPDATE ONLY t` is read as of a table `only` under another name, which must be quoted to be one. No table inherits.
    let (name, alias) = match (name.0.as_slice(), alias) {
        ([ObjectNamePart::Identifier(only)], Some(table))
            if only.quote_style.is_none() && !table.explicit && only.value.eq_ignore_ascii_case("only") =>
        {
            (&ObjectName::from(vec![table.name.clone()]), &None)
        }
        _ => (name, alias),
    };
    if !joins.is_empty() {
        return Err(not_supported("DELETE and UPDATE of a join"));
    }
    if let Some(selection) = &selection {
        check_condition(selection)?;
    }
    for (_, value) in assignments.iter().flatten() {
        check_value(value)?;
    }
    let (schema, table) = schema_and_name(name);
    Ok(Command::ChangeRows(Box::new(RowChange {
        schema,
        table,
        alias: alias.as_ref().map(|alias| folded(&alias.name)),
        selection,
        assignments,
        facts: facts.clone(),
        text: Arc::from(sql),
    })))
}

/// Functions that give another value each time.
pub(super) const VOLATILE: &[&str] =
    &["random", "uuid", "gen_random_uuid", "clock_timestamp", "timeofday", "nextval"];

/// A condition is evaluated more than once, and must mean the same rows each time.
fn check_condition(condition: &Expr) -> Result<()> {
    struct Finder(Option<String>);
    impl Visitor for Finder {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Function(function) = expr
                && VOLATILE.contains(&last_name(&function.name).as_str())
            {
                self.0 = Some(format!("{} in the condition of an UPDATE or DELETE", function.name));
            }
            ControlFlow::Continue(())
        }

        fn pre_visit_query(&mut self, query: &sqlparser::ast::Query) -> ControlFlow<()> {
            if query.limit_clause.is_some() || query.fetch.is_some() {
                self.0 = Some("LIMIT in the condition of an UPDATE or DELETE".to_owned());
            }
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder(None);
    let _ = condition.visit(&mut finder);
    if let Some(what) = finder.0 {
        return Err(not_supported(&what));
    }
    if !has_plain_memberships(condition) {
        let message = "[NOT] IN (subquery) can stand in the condition of an UPDATE or DELETE only beside AND and OR: write [NOT] EXISTS";
        return Err(Error::NotSupported { message: message.to_owned() });
    }
    Ok(())
}

/// True when each `IN (subquery)` of a condition stands where only its truth counts: what is planned for it is
/// false where SQL says null.
fn has_plain_memberships(condition: &Expr) -> bool {
    match condition {
        Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, right } => {
            has_plain_memberships(left) && has_plain_memberships(right)
        }
        Expr::Nested(inner) => has_plain_memberships(inner),
        Expr::InSubquery { expr, negated, .. } => !negated && !holds_membership(expr),
        other => !holds_membership(other),
    }
}

/// True when an `IN (subquery)` is in `expr` itself, not within a subquery of it.
fn holds_membership(expr: &Expr) -> bool {
    struct Finder {
        depth: usize,
        is_found: bool,
    }
    impl Visitor for Finder {
        type Break = ();

        fn pre_visit_query(&mut self, _: &sqlparser::ast::Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _: &sqlparser::ast::Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            self.is_found |= self.depth == 0
                && matches!(expr, Expr::InSubquery { .. } | Expr::AnyOp { .. } | Expr::AllOp { .. });
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder { depth: 0, is_found: false };
    let _ = expr.visit(&mut finder);
    finder.is_found
}

/// A value is that of one row.
fn check_value(value: &Expr) -> Result<()> {
    struct Finder(bool);
    impl Visitor for Finder {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            self.0 |= matches!(expr, Expr::Function(function) if function.over.is_some());
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder(false);
    let _ = value.visit(&mut finder);
    if finder.0 { Err(not_supported("a window function in UPDATE")) } else { Ok(()) }
}

impl RowChange {
    /// True for a `DELETE`.
    pub fn is_delete(&self) -> bool {
        self.assignments.is_none()
    }

    /// True when every row is meant.
    pub fn is_of_all(&self) -> bool {
        self.selection.is_none()
    }

    /// True when its condition or its values ask for columns of `table`, which it changes: who runs it must be allowed to read
    /// them, too.
    pub fn reads_itself(&self, table: &TableDefinition) -> bool {
        struct Finder<'a>(&'a TableDefinition);
        impl Visitor for Finder<'_> {
            type Break = ();

            fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
                let column = match expr {
                    Expr::Identifier(column) => Some(column),
                    Expr::CompoundIdentifier(parts) => parts.last(),
                    Expr::QualifiedWildcard(..) | Expr::Wildcard(_) => return ControlFlow::Break(()),
                    _ => None,
                };
                match column {
                    Some(column) if self.0.position(&folded(column)).is_some() => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                }
            }

            fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
                let (schema, _) = schema_and_name(relation);
                match schema {
                    Some(schema) if catalog::own_schema(&schema) != schema => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                }
            }
        }
        let values = self.assignments.iter().flatten().map(|(_, value)| value);
        self.selection.iter().chain(values).any(|expr| expr.visit(&mut Finder(table)).is_break())
    }

    fn condition(&self) -> Result<String> {
        self.selection.as_ref().map_or_else(|| Ok("TRUE".to_owned()), printed::expression)
    }

    /// How many rows of which file are meant.
    pub fn find(&self, table: &TableDefinition) -> Result<Query> {
        let selection = self.condition()?;
        let file = quote(catalog::FILE_COLUMN);
        let from = self.from(table);
        self.query(&format!("SELECT {file}, count(*) FROM {from} WHERE {selection} GROUP BY {file}"))
    }

    /// What the files hold afterwards in which rows are meant.
    pub fn rest(&self, table: &TableDefinition) -> Result<Query> {
        let from = self.from(table);
        let names: Vec<String> =
            table.fields().iter().map(|field| self.qualified(table, field.name())).collect();
        let selection = self.condition()?;
        let untouched = format!("({selection}) IS NOT TRUE");
        let Some(assignments) = &self.assignments else {
            return self.query(&format!("SELECT {} FROM {from} WHERE {untouched}", names.join(", ")));
        };
        for (name, _) in assignments {
            if table.position(name).is_none() {
                let column = name.clone();
                return Err(Error::UndefinedColumn { column, suggestion: None, position: None });
            }
        }
        let value = |field: &Field| {
            let (_, value) = assignments.iter().find(|(name, _)| name == field.name())?;
            let (oid, _, modifier) = types::of_field(field);
            let kind = types::format(oid.into(), modifier.into());
            Some(assigned(table, field, value).map(|value| format!("CAST({value} AS {kind})")))
        };
        let has_subquery = self.selection.as_ref().is_some_and(holds_query)
            || assignments.iter().any(|(_, value)| holds_query(value));
        let fields = table.fields();
        let columns = fields.iter().zip(&names);
        if !has_subquery {
            let columns: Vec<String> = columns
                .map(|(field, name)| match value(field).transpose()? {
                    Some(value) => Ok(format!(
                        "CASE WHEN {selection} THEN {value} ELSE {name} END AS {}",
                        quote(field.name())
                    )),
                    None => Ok(name.clone()),
                })
                .collect::<Result<_>>()?;
            return self.query(&format!("SELECT {} FROM {from}", columns.join(", ")));
        }
        // A subquery is planned as a join only where it stands in a WHERE.
        let changed: Vec<String> = columns
            .map(|(field, name)| {
                let value = value(field).transpose()?.unwrap_or_else(|| name.clone());
                Ok(format!("{value} AS {}", quote(field.name())))
            })
            .collect::<Result<_>>()?;
        self.query(&format!(
            "SELECT {} FROM {from} WHERE {selection} UNION ALL SELECT {} FROM {from} WHERE {untouched}",
            changed.join(", "),
            names.join(", ")
        ))
    }

    /// The query of the assigned values that have a type of their own, with the columns that they are for. `None` where
    /// there are none, or the types of parameters tell theirs.
    pub fn typed_values(&self, table: &TableDefinition) -> Result<Option<(Query, Vec<Field>)>> {
        let fields = table.declared_fields();
        let mut columns = Vec::new();
        let mut values = Vec::new();
        for (name, value) in self.assignments.iter().flatten().filter(|(_, value)| !is_unknown(value)) {
            let Some(field) = table.position(name).and_then(|at| fields.get(at)) else { continue };
            values.push(format!("{} AS {}", assigned(table, field, value)?, quote(name)));
            columns.push(field.clone());
        }
        if columns.is_empty() {
            return Ok(None);
        }
        let query = self.query(&format!("SELECT {} FROM {}", values.join(", "), self.from(table)))?;
        Ok(query.parameters.is_empty().then_some((query, columns)))
    }

    fn from(&self, table: &TableDefinition) -> String {
        let schema = quote(&catalog::target_schema(&table.name.schema));
        let alias = self.alias.as_ref().unwrap_or(&table.name.table);
        format!("{schema}.{} AS {}", quote(&table.name.table), quote(alias))
    }

    fn qualified(&self, table: &TableDefinition, column: &str) -> String {
        format!("{}.{}", quote(self.alias.as_ref().unwrap_or(&table.name.table)), quote(column))
    }

    fn query(&self, text: &str) -> Result<Query> {
        let parsed = Parser::new(&Grammar)
            .with_recursion_limit(super::parse::PARSER_DEPTH_MAX)
            .try_with_sql(text)
            .and_then(|mut parser| parser.parse_statement());
        let statement =
            parsed.map_err(|_| Error::internal("a statement was printed so that it cannot be read"))?;
        Ok(query(statement, text, &self.facts))
    }
}

/// True for what has no type of its own: a literal in quotes, NULL, DEFAULT, a parameter.
fn is_unknown(value: &Expr) -> bool {
    match value {
        Expr::Value(value) => !matches!(value.value, Value::Number(..) | Value::Boolean(_)),
        Expr::Identifier(ident) => ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"),
        Expr::Nested(inner) => is_unknown(inner),
        _ => false,
    }
}

/// The text of an assigned value; `DEFAULT` is the column's own.
fn assigned(table: &TableDefinition, field: &Field, value: &Expr) -> Result<String> {
    match table.position(field.name()).filter(|_| inserts::is_default(value)) {
        Some(place) => printed::expression(&inserts::default_of(table, place)?),
        None => printed::expression(value),
    }
}

pub(super) fn holds_query(expr: &Expr) -> bool {
    struct Finder(bool);
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_query(&mut self, _: &sqlparser::ast::Query) -> ControlFlow<()> {
            self.0 = true;
            ControlFlow::Break(())
        }
    }
    let mut finder = Finder(false);
    let _ = expr.visit(&mut finder);
    finder.0
}

/// `TRUNCATE`.
pub fn truncate(truncate: &Truncate) -> Command {
    let names = truncate.table_names.iter().map(|target| schema_and_name(&target.name)).collect();
    let (if_exists, kind) = (truncate.if_exists, RelationKind::Table);
    Command::Truncate(TableDrop { names, if_exists, kind, is_cascade: false })
}

/// `CREATE MATERIALIZED VIEW`: a table whose rows stay those of its query.
pub fn materialized(
    create: CreateView,
    clauses: Clauses,
    sql: &str,
    facts: &SessionFacts,
) -> Result<Command> {
    let partitions = match &create.options {
        CreateTableOptions::None => None,
        CreateTableOptions::With(options) => partitions(options)?,
        _ => return Err(not_supported("CREATE MATERIALIZED VIEW with such options")),
    };
    if create.or_replace {
        return Err(not_supported("CREATE OR REPLACE MATERIALIZED VIEW"));
    }
    let view = views::create(CreateView { options: CreateTableOptions::None, ..create }, sql, facts)?;
    let column = |name: &String| ColumnMake::named(name.clone());
    let make = TableMake {
        schema: view.schema.clone(),
        table: view.view.clone(),
        if_not_exists: view.if_not_exists,
        columns: view.columns.iter().map(column).collect(),
        partition_by: clauses.partitioned_by,
        sorted_by: clauses.sorted_by,
        is_temporary: false,
        partitions,
        materialized: Some(Box::new(view.clone())),
    };
    let mut query = view.query;
    // They would be texts in the table.
    dialect::check_document_columns(&query.output_types)?;
    query.is_empty = clauses.with_no_data;
    Ok(Command::Write(Box::new(Write { to: WriteTo::Create(make), query, text: Arc::from(sql) })))
}

/// `partitions = n`, the one option.
fn partitions(options: &[SqlOption]) -> Result<Option<usize>> {
    const PARTITIONS_MAX: usize = 10_000;
    let mut found = None;
    for option in options {
        let SqlOption::KeyValue { key, value } = option else {
            return Err(not_supported(&format!("the option {option}")));
        };
        let count = value.to_string().parse().ok().filter(|count| (1..=PARTITIONS_MAX).contains(count));
        match (folded(key).as_str(), count) {
            ("partitions", Some(count)) => found = Some(count),
            ("partitions", None) => {
                let message = format!("partitions takes a number from 1 to {PARTITIONS_MAX}");
                return Err(Error::InvalidParameterValue { message });
            }
            (other, _) => {
                return Err(Error::InvalidParameterValue {
                    message: format!("unrecognized parameter \"{other}\""),
                });
            }
        }
    }
    Ok(found)
}

/// `ALTER TABLE`, save for keys.
pub fn alter(alter: &AlterTable) -> Result<Command> {
    let (schema, table) = schema_and_name(&alter.name);
    let mut steps = Vec::with_capacity(alter.operations.len());
    for operation in &alter.operations {
        match operation {
            AlterTableOperation::RenameTable { table_name } => {
                let (RenameTableNameKind::As(to) | RenameTableNameKind::To(to)) = table_name;
                steps.push(AlterStep::Rename { to: last_name(to) });
            }
            AlterTableOperation::AddColumn { column_def, if_not_exists, .. } => {
                steps.push(AlterStep::AddColumn {
                    column: column_make(column_def, &table)?,
                    if_not_exists: *if_not_exists,
                })
            }
            AlterTableOperation::DropColumn { column_names, if_exists, drop_behavior, .. } => {
                let is_cascade = matches!(drop_behavior, Some(DropBehavior::Cascade));
                for name in column_names {
                    steps.push(AlterStep::DropColumn {
                        name: folded(name),
                        if_exists: *if_exists,
                        is_cascade,
                    });
                }
            }
            AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
                let (name, to) = (folded(old_column_name), folded(new_column_name));
                steps.push(AlterStep::RenameColumn { name, to });
            }
            AlterTableOperation::AlterColumn { column_name, op } => {
                steps.push(alter_column(folded(column_name), op)?);
            }
            AlterTableOperation::OwnerTo { new_owner } => {
                steps.push(AlterStep::OwnerTo { role: owner_name(new_owner) });
            }
            _ => return Err(not_supported("this ALTER TABLE")),
        }
    }
    let said = RelationKind::Table;
    Ok(Command::AlterTable(TableAlter { schema, table, said, if_exists: alter.if_exists, steps }))
}

fn alter_column(name: String, operation: &AlterColumnOperation) -> Result<AlterStep> {
    Ok(match operation {
        AlterColumnOperation::SetNotNull => AlterStep::SetNullable { name, is_nullable: false },
        AlterColumnOperation::DropNotNull => AlterStep::SetNullable { name, is_nullable: true },
        AlterColumnOperation::SetDefault { value } => {
            AlterStep::SetDefault { name, default: defaults::literal(value)? }
        }
        AlterColumnOperation::DropDefault => AlterStep::SetDefault { name, default: None },
        AlterColumnOperation::SetDataType { data_type, using: None, .. } => {
            let declared = declared::of(data_type)?;
            AlterStep::SetType { name, data_type: column_type(data_type)?, declared }
        }
        _ => return Err(not_supported("this ALTER COLUMN")),
    })
}

fn column_make(column: &ColumnDef, table: &str) -> Result<ColumnMake> {
    let mut make = ColumnMake::named(folded(&column.name));
    let name = make.name.clone();
    check_column_name(&name)?;
    make.data_type = column_type(&column.data_type)?;
    make.declared = declared::of(&column.data_type)?;
    let wrong = |what: &str| Error::Syntax {
        message: format!("{what} for column \"{name}\" of table \"{table}\""),
        position: None,
    };
    let (mut is_null, mut has_default) = (None, false);
    for option in &column.options {
        match &option.option {
            ColumnOption::Null | ColumnOption::NotNull => {
                let said = matches!(option.option, ColumnOption::Null);
                if is_null.replace(said).is_some_and(|before| before != said) {
                    return Err(wrong("conflicting NULL/NOT NULL declarations"));
                }
                make.is_nullable = said;
            }
            ColumnOption::Default(value) => {
                if std::mem::replace(&mut has_default, true) {
                    return Err(wrong("multiple default values specified"));
                }
                make.default = defaults::literal(value)?;
            }
            ColumnOption::Collation(collation) => check_collation(collation, &make.data_type)?,
            other => {
                let what = format!("column option {other}");
                return Err(not_supported(&what));
            }
        }
    }
    Ok(make)
}

/// Refuses the name of a column that every table of PostgreSQL's has (42701).
pub fn check_column_name(name: &str) -> Result<()> {
    const SYSTEM: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];
    match SYSTEM.contains(&name) {
        false => Ok(()),
        true => Err(Error::DuplicateColumn {
            message: format!("column name \"{name}\" conflicts with a system column name"),
        }),
    }
}

/// Texts are ordered byte by byte, and in no other way.
fn check_collation(collation: &ObjectName, of: &DataType) -> Result<()> {
    let (schema, name) = schema_and_name(collation);
    if *of != DataType::Utf8 {
        let (oid, _) = types::oid_and_size(of);
        let kind = types::format(oid.into(), -1);
        let message = format!("collations are not supported by type {kind}");
        return Err(Error::TypeMismatch { message });
    }
    let is_known = schema.as_deref().is_none_or(|schema| schema == "pg_catalog");
    match is_known && matches!(name.as_str(), "C" | "POSIX" | "default" | "ucs_basic") {
        true => Ok(()),
        false => Err(not_supported(&format!("the collation \"{name}\" (there is \"C\")"))),
    }
}

/// The Arrow type that a column of a written type is kept as.
pub fn column_type(written: &SqlType) -> Result<DataType> {
    if let SqlType::Array(
        ArrayElemTypeDef::SquareBracket(item, _)
        | ArrayElemTypeDef::AngleBracket(item)
        | ArrayElemTypeDef::Parenthesis(item),
    ) = written
    {
        return Ok(DataType::new_list(column_type(item)?, true));
    }
    if let SqlType::Numeric(info) | SqlType::Decimal(info) | SqlType::Dec(info) = written {
        return decimal(info);
    }
    let text = written.to_string();
    let oid = types::by_written_name(&text);
    let unknown = || Error::UndefinedObject {
        message: format!("type \"{}\" does not exist", text.to_ascii_lowercase()),
    };
    let micros = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    Ok(match types::name(oid.ok_or_else(unknown)?) {
        "bool" => DataType::Boolean,
        "int2" => DataType::Int16,
        "int4" => DataType::Int32,
        "int8" => DataType::Int64,
        "float4" => DataType::Float32,
        "float8" => DataType::Float64,
        "text" | "varchar" | "bpchar" | "name" | "json" => DataType::Utf8,
        "bytea" => DataType::Binary,
        "date" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp" => micros(None),
        "timestamptz" => micros(Some("UTC")),
        name => return Err(not_supported(&format!("a column of type {name}"))),
    })
}

fn decimal(info: &ExactNumberInfo) -> Result<DataType> {
    let (precision, scale) = match info {
        // As numbers without a precision are everywhere here.
        ExactNumberInfo::None => (38, 10),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    if !(1..=38).contains(&precision) || scale < 0 || scale as u64 > precision {
        let message = format!("numeric({precision},{scale}) is not supported: at most 38 digits");
        return Err(Error::NotSupported { message });
    }
    Ok(DataType::Decimal128(precision as u8, scale as i8))
}

/// What a statement says that the parser does not read.
#[derive(Debug, Clone, Default)]
pub struct Clauses {
    /// Where a COPY finds or puts its files.
    pub(super) copy: Option<CopyFiles>,
    /// `PARTITIONED BY (column, year(column), bucket(16, column))`.
    partitioned_by: Vec<(String, String)>,
    /// `SORTED BY (column [ASC | DESC] [NULLS FIRST | LAST])`.
    sorted_by: Vec<(String, bool, bool)>,
    /// `CREATE TABLE name (a, b) AS`: names for the query's columns.
    names: Vec<String>,
    /// `WITH NO DATA`.
    with_no_data: bool,
}

/// Takes the clauses out of a `CREATE TABLE` or a `COPY` that the parser would not read.
pub fn take_clauses(tokens: &mut Vec<TokenWithSpan>) -> Result<Clauses> {
    let mut clauses = Clauses { copy: copy_files::take(tokens)?, ..Clauses::default() };
    let words = |tokens: &[TokenWithSpan], at: usize, wanted: &[&str]| -> Option<usize> {
        let mut at = at;
        for word in wanted {
            at = next_token(tokens, at)?;
            let Token::Word(found) = &tokens[at].token else { return None };
            if found.quote_style.is_some() || !found.value.eq_ignore_ascii_case(word) {
                return None;
            }
            at += 1;
        }
        Some(at)
    };
    let makes: [&[&str]; 4] = [
        &["create", "table"],
        &["create", "temp", "table"],
        &["create", "temporary", "table"],
        &["create", "materialized", "view"],
    ];
    if makes.iter().all(|wanted| words(tokens, 0, wanted).is_none()) {
        return Ok(clauses);
    }
    clauses.names = take_names(tokens);
    let mut depth = 0_usize;
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            Token::Word(word) if depth == 0 => {
                let is_partition = words(tokens, at, &["partitioned", "by"]);
                if let Some(after) = is_partition.or_else(|| words(tokens, at, &["sorted", "by"])) {
                    let list = taken_list(tokens, at, after)?;
                    if is_partition.is_some() {
                        clauses.partitioned_by = partition_keys(list)?;
                    } else {
                        clauses.sorted_by = sort_keys(list)?;
                    }
                    continue;
                }
                if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("as") {
                    break;
                }
            }
            _ => {}
        }
        at += 1;
    }
    // Behind the query there is at most one more clause.
    for (wanted, no_data) in [(["with", "no", "data"].as_slice(), true), (&["with", "data"], false)] {
        let from = (at..tokens.len()).rev().find(|from| {
            words(tokens, *from, wanted).is_some_and(|after| next_token(tokens, after).is_none())
        });
        if let Some(from) = from {
            tokens.truncate(from);
            clauses.with_no_data = no_data;
        }
    }
    Ok(clauses)
}

/// Takes the names of columns out of `CREATE TABLE name (a, b) …`, which the parser wants types with: whoever wrote no types
/// wrote names of a query's.
fn take_names(tokens: &mut Vec<TokenWithSpan>) -> Vec<String> {
    let Some(open) = tokens.iter().position(|token| token.token == Token::LParen) else { return Vec::new() };
    let ends = |token: &TokenWithSpan| token.token == Token::RParen;
    let Some(close) = tokens[open..].iter().position(ends).map(|at| open + at) else { return Vec::new() };
    let is_as =
        |token: &TokenWithSpan| matches!(&token.token, Token::Word(word) if word.keyword == Keyword::AS);
    // In CREATE MATERIALIZED VIEW the parser reads them itself; behind AS they are the query's.
    let is_view =
        |token: &TokenWithSpan| matches!(&token.token, Token::Word(word) if word.keyword == Keyword::VIEW);
    // Behind BY and WITH stands what the table is parted, sorted and made by.
    let is_clause = |token: &TokenWithSpan| matches!(&token.token, Token::Word(word) if matches!(word.keyword, Keyword::BY | Keyword::WITH));
    if tokens[..open].iter().any(|token| is_as(token) || is_view(token) || is_clause(token)) {
        return Vec::new();
    }
    let mut names = Vec::new();
    let inner: Vec<&TokenWithSpan> =
        tokens[open + 1..close].iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
    for (at, token) in inner.iter().enumerate() {
        match (&token.token, at % 2) {
            (Token::Word(word), 0) => {
                names.push(catalog::identifier::fold(&word.value, word.quote_style.is_some()));
            }
            (Token::Comma, 1) => {}
            _ => return Vec::new(),
        }
    }
    if inner.len() % 2 == 1 {
        tokens.drain(open..=close);
    }
    names
}

pub(super) fn next_token(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    (from..tokens.len()).find(|at| !matches!(tokens[*at].token, Token::Whitespace(_) | Token::EOF))
}

/// Removes the tokens from `from` to the end of the list in parentheses that begins at `after`, and gives
/// the list's.
fn taken_list(tokens: &mut Vec<TokenWithSpan>, from: usize, after: usize) -> Result<Vec<TokenWithSpan>> {
    let wrong =
        || Error::Syntax { message: "syntax error: expected a list in parentheses".into(), position: None };
    let open = next_token(tokens, after).filter(|at| tokens[*at].token == Token::LParen).ok_or_else(wrong)?;
    let mut depth = 0;
    for at in open..tokens.len() {
        match tokens[at].token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let list = tokens[open + 1..at].to_vec();
            tokens.drain(from..=at);
            return Ok(list);
        }
    }
    Err(wrong())
}

fn parse_list<T>(
    tokens: Vec<TokenWithSpan>,
    parse: impl FnMut(&mut Parser<'_>) -> std::result::Result<T, sqlparser::parser::ParserError>,
) -> Result<Vec<T>> {
    let dialect = Grammar;
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    parser.parse_comma_separated(parse).map_err(|error| Error::Syntax {
        message: format!("syntax error: {}", error.to_string().trim_start_matches("sql parser error: ")),
        position: None,
    })
}

fn partition_keys(tokens: Vec<TokenWithSpan>) -> Result<Vec<(String, String)>> {
    let wrong = |expr: &Expr| Error::InvalidTableDefinition {
        message: format!(
            "a table cannot be partitioned by {expr}: name a column, or year, month, day, hour or bucket of one"
        ),
    };
    let column = |expr: &Expr| match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        _ => None,
    };
    let key = |expr: &Expr| -> Option<(String, String)> {
        match expr {
            Expr::Identifier(ident) => Some((folded(ident), "identity".to_owned())),
            Expr::Function(Function { name, args: FunctionArguments::List(list), .. }) => {
                let arguments: Vec<&Expr> = list
                    .args
                    .iter()
                    .filter_map(|argument| match argument {
                        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                        _ => None,
                    })
                    .collect();
                let transform = last_name(name);
                match (transform.as_str(), arguments.as_slice()) {
                    ("year" | "month" | "day" | "hour", [of]) => Some((column(of)?, transform)),
                    ("bucket", [count, of]) => {
                        let count: u32 = count.to_string().parse().ok().filter(|count| *count > 0)?;
                        Some((column(of)?, format!("bucket({count})")))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    };
    let keys = parse_list(tokens, |parser| parser.parse_expr())?;
    keys.iter().map(|expr| key(expr).ok_or_else(|| wrong(expr))).collect()
}

fn sort_keys(tokens: Vec<TokenWithSpan>) -> Result<Vec<(String, bool, bool)>> {
    let keys = parse_list(tokens, |parser| parser.parse_order_by_expr())?;
    keys.iter()
        .map(|key| match &key.expr {
            Expr::Identifier(ident) => {
                let is_descending = key.options.asc == Some(false);
                Ok((folded(ident), is_descending, key.options.nulls_first.unwrap_or(is_descending)))
            }
            other => Err(Error::InvalidTableDefinition {
                message: format!("a table cannot be sorted by {other}: name columns"),
            }),
        })
        .collect()
}
