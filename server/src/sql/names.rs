//! The tables a statement names, and the names PostgreSQL would give its columns.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use catalog::identifier;
use sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, BinaryOperator, DataType, Expr, Ident, ObjectName, ObjectNamePart, Query,
    SelectItem, SetExpr, Spanned, Statement as SqlStatement, TableFactor, TrimWhereField, Visit, Visitor,
};

use super::dialect::REPEATED;
use super::history::present_name;
use super::parse::position_of;
use crate::pg_catalog::types;

/// A table named in a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableReference {
    /// The schema, where it was written.
    pub schema: Option<String>,
    /// The table, folded.
    pub table: String,
    /// Where it stands in the statement, in characters from 1.
    pub position: Option<usize>,
}

impl TableReference {
    /// The name as PostgreSQL prints it in an error.
    pub fn shown(&self) -> String {
        let table = present_name(&self.table);
        match &self.schema {
            Some(schema) => format!("{schema}.{table}"),
            None => table.to_owned(),
        }
    }
}

/// Every table that `statement` reads, common table expressions left out.
pub fn tables(statement: &SqlStatement, sql: &str) -> Vec<TableReference> {
    let mut collector = Collector { sql, in_scope: CommonTables::default(), found: Vec::new() };
    let _ = statement.visit(&mut collector);
    collector.found
}

/// True for a SELECT of values and operators, which reads nothing, calls nothing, and has no other query in it.
pub fn is_little(statement: &SqlStatement) -> bool {
    has_no_more_than(statement, &[])
}

/// True for a SELECT of calls that end what others run, and of no more.
pub fn only_ends_runs(statement: &SqlStatement) -> bool {
    const ENDS: [&str; 2] = ["pg_cancel_backend", "pg_terminate_backend"];
    has_no_more_than(statement, &ENDS) && !is_little(statement)
}

fn has_no_more_than(statement: &SqlStatement, functions: &[&str]) -> bool {
    /// Breaks where there is more.
    struct More<'a> {
        is_first: bool,
        functions: &'a [&'a str],
    }
    impl Visitor for More<'_> {
        type Break = ();

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            let is_first = std::mem::replace(&mut self.is_first, false);
            let SetExpr::Select(select) = query.body.as_ref() else { return ControlFlow::Break(()) };
            if is_first && select.from.is_empty() && query.with.is_none() {
                return ControlFlow::Continue(());
            }
            ControlFlow::Break(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            use BinaryOperator as Op;
            match expr {
                Expr::BinaryOp {
                    op:
                        Op::Plus
                        | Op::Minus
                        | Op::Multiply
                        | Op::Divide
                        | Op::Modulo
                        | Op::Eq
                        | Op::NotEq
                        | Op::Lt
                        | Op::LtEq
                        | Op::Gt
                        | Op::GtEq
                        | Op::And
                        | Op::Or,
                    ..
                }
                | Expr::Value(_)
                | Expr::Identifier(_)
                | Expr::UnaryOp { .. }
                | Expr::Nested(_)
                | Expr::Cast { .. }
                | Expr::IsNull(_)
                | Expr::IsNotNull(_)
                | Expr::TypedString { .. } => ControlFlow::Continue(()),
                Expr::Function(call) => {
                    let name = call.name.0.last().and_then(ObjectNamePart::as_ident).map(folded);
                    match name.is_some_and(|name| self.functions.contains(&name.as_str())) {
                        true => ControlFlow::Continue(()),
                        false => ControlFlow::Break(()),
                    }
                }
                _ => ControlFlow::Break(()),
            }
        }
    }
    let mut more = More { is_first: true, functions };
    matches!(statement, SqlStatement::Query(_)) && statement.visit(&mut more).is_continue()
}

/// Every function that `statement` calls, those that stand where a table may included.
pub fn functions(statement: &SqlStatement) -> BTreeSet<String> {
    #[derive(Default)]
    struct Calls(BTreeSet<String>);
    impl Calls {
        fn note(&mut self, name: &ObjectName) {
            self.0.extend(name.0.last().and_then(ObjectNamePart::as_ident).map(folded));
        }
    }
    impl Visitor for Calls {
        type Break = ();

        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            if let TableFactor::Table { name, args: Some(_), .. } = factor {
                self.note(name);
            }
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Function(function) = expr {
                self.note(&function.name);
            }
            ControlFlow::Continue(())
        }
    }
    let mut calls = Calls::default();
    let _ = statement.visit(&mut calls);
    calls.0
}

struct Collector<'a> {
    sql: &'a str,
    in_scope: CommonTables,
    found: Vec<TableReference>,
}

/// The common table expressions that names may mean where a visitor is. One is not seen by itself, nor by those
/// before it, unless they are RECURSIVE.
#[derive(Debug, Default)]
pub struct CommonTables(Vec<OpenQuery>);

#[derive(Debug)]
struct OpenQuery {
    /// Names, each with the place of its query in memory, which a visitor does not move.
    tables: Vec<(String, usize)>,
    is_recursive: bool,
    /// As many of them are seen now.
    seen: usize,
}

fn place(query: &Query) -> usize {
    std::ptr::from_ref(query) as usize
}

impl CommonTables {
    /// The visitor enters `query`.
    pub fn enter(&mut self, query: &Query) {
        if let Some(outer) = self.0.last_mut().filter(|outer| !outer.is_recursive)
            && let Some(at) = outer.tables.iter().position(|(_, known)| *known == place(query))
        {
            outer.seen = at;
        }
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        let tables: Vec<_> = tables.map(|table| (folded(&table.alias.name), place(&table.query))).collect();
        let is_recursive = query.with.as_ref().is_some_and(|with| with.recursive);
        self.0.push(OpenQuery { seen: tables.len(), tables, is_recursive });
    }

    /// The visitor leaves `query`.
    pub fn leave(&mut self, query: &Query) {
        self.0.pop();
        if let Some(outer) = self.0.last_mut()
            && outer.tables.iter().any(|(_, known)| *known == place(query))
        {
            outer.seen = outer.tables.len();
        }
    }

    /// True when `name` means one of them.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|open| open.tables[..open.seen].iter().any(|(known, _)| known == name))
    }
}

impl Visitor for Collector<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.in_scope.enter(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.in_scope.leave(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let mut parts: Vec<&Ident> = relation.0.iter().filter_map(ObjectNamePart::as_ident).collect();
        let Some(table) = parts.pop() else { return ControlFlow::Continue(()) };
        let schema = parts.pop().map(folded);
        let name = folded(table);
        let is_cte = schema.is_none() && self.in_scope.has(&name);
        if !is_cte {
            let start = relation.span().start;
            let position = position_of(self.sql, start.line, start.column);
            self.found.push(TableReference { schema, table: name, position });
        }
        ControlFlow::Continue(())
    }
}

/// A name as the catalog knows it: in lower case unless it was quoted.
pub fn folded(ident: &Ident) -> String {
    identifier::fold(&ident.value, ident.quote_style.is_some())
}

/// PostgreSQL's types for the columns of a query that are casts, where Arrow has no such type:
/// identifier and modifier, counted from the left up to a wildcard.
pub fn output_types(statement: &SqlStatement) -> Vec<Option<(u32, i32)>> {
    let SqlStatement::Query(query) = statement else { return Vec::new() };
    let mut body = query.body.as_ref();
    while let SetExpr::SetOperation { left, .. } = body {
        body = left.as_ref();
    }
    let SetExpr::Select(select) = body else { return Vec::new() };
    let told = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => cast_type(expr),
        _ => None,
    };
    let is_wildcard =
        |item: &&SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    select.projection.iter().take_while(|item| !is_wildcard(item)).map(told).collect()
}

/// Types that are held as text or as a number, and told as themselves; a text may be one that was told as another.
const TOLD_AS_CAST: [&str; 10] =
    ["int8", "text", "varchar", "bpchar", "name", "json", "jsonb", "uuid", "oid", "xid"];

fn cast_type(expr: &Expr) -> Option<(u32, i32)> {
    let data_type = match expr {
        Expr::Cast { data_type, .. } => data_type.to_string(),
        Expr::TypedString(typed) => typed.data_type.to_string(),
        Expr::Nested(inner) => return cast_type(inner),
        _ => return None,
    };
    let oid = types::by_written_name(&data_type)?;
    let arguments =
        data_type.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(inner, _)| inner);
    if types::name(oid) == "numeric" {
        let (precision, scale) = arguments?.split_once(',').unwrap_or((arguments?, "0"));
        let (precision, scale): (i32, i32) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
        return Some((oid, ((precision << 16) | (scale & 0x7ff)) + 4));
    }
    if !TOLD_AS_CAST.contains(&types::name(oid)) {
        return None;
    }
    let length = arguments.and_then(|length| length.trim().parse::<i32>().ok());
    let is_bare = data_type.to_ascii_lowercase().contains("bpchar");
    let length = length.or((types::name(oid) == "bpchar" && !is_bare).then_some(1));
    let has_length = ["varchar", "bpchar"].contains(&types::name(oid));
    Some((oid, if has_length { length.map_or(-1, |length| length + 4) } else { -1 }))
}

/// PostgreSQL's names for the columns of a query, where its text decides them: `None` where the
/// column is a plain one, or stands under a wildcard.
///
/// The first list counts columns from the left, the second from the right, for queries with a
/// wildcard in the middle.
pub fn output_names(statement: &SqlStatement) -> (Vec<Option<String>>, Vec<Option<String>>) {
    let SqlStatement::Query(query) = statement else { return Default::default() };
    let mut body = query.body.as_ref();
    while let SetExpr::SetOperation { left, .. } = body {
        body = left.as_ref();
    }
    let SetExpr::Select(select) = body else {
        return match body {
            SetExpr::Query(inner) => output_names(&SqlStatement::Query(inner.clone())),
            _ => Default::default(),
        };
    };
    let name = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => Some(column_name(expr)),
        SelectItem::ExprWithAlias { alias, .. } => Some(without_mark(folded(alias))),
        _ => None,
    };
    let is_wildcard =
        |item: &&SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let left: Vec<_> = select.projection.iter().take_while(|i| !is_wildcard(i)).map(name).collect();
    if left.len() == select.projection.len() {
        return (left, Vec::new());
    }
    let right = select.projection.iter().rev().take_while(|i| !is_wildcard(i)).map(name).collect();
    (left, right)
}

/// A name without what tells it from others.
fn without_mark(mut name: String) -> String {
    if let Some(at) = name.find(REPEATED) {
        name.truncate(at);
    }
    name
}

/// The rule of PostgreSQL's `FigureColname` (parse_target.c) for the expressions that occur here.
pub fn column_name(expr: &Expr) -> String {
    figured(expr).map_or_else(unnamed, |(name, _)| name)
}

/// How good a name is: a cast and a CASE take their own only where there is no better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strength {
    Weak,
    Strong,
}

fn figured(expr: &Expr) -> Option<(String, Strength)> {
    let strong = |name: &str| Some((name.to_owned(), Strength::Strong));
    let weak_unless_strong = |inner: Option<(String, Strength)>, own: String| match inner {
        Some((name, Strength::Strong)) => Some((name, Strength::Strong)),
        _ => Some((own, Strength::Weak)),
    };
    match expr {
        Expr::Identifier(ident) => strong(&folded(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().and_then(|part| strong(&folded(part))),
        Expr::CompoundFieldAccess { root, access_chain } => match access_chain.last() {
            Some(AccessExpr::Dot(Expr::Identifier(field))) => strong(&folded(field)),
            _ => figured(root),
        },
        Expr::Function(function) => {
            let name = function.name.0.last().and_then(ObjectNamePart::as_ident).map(folded)?;
            // What a literal of the type is written as.
            if name == "sluice_interval" {
                Some(("interval".to_owned(), Strength::Weak))
            } else {
                strong(&name)
            }
        }
        Expr::Cast { expr, data_type, .. } => weak_unless_strong(figured(expr), type_name(data_type)),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figured(inner),
        Expr::Case { else_result, .. } => {
            weak_unless_strong(else_result.as_deref().and_then(figured), "case".to_owned())
        }
        Expr::Exists { negated: false, .. } => strong("exists"),
        Expr::Extract { .. } => strong("extract"),
        Expr::Substring { shorthand: true, .. } => strong("substr"),
        Expr::Substring { .. } => strong("substring"),
        Expr::Trim { trim_where: Some(TrimWhereField::Leading), .. } => strong("ltrim"),
        Expr::Trim { trim_where: Some(TrimWhereField::Trailing), .. } => strong("rtrim"),
        Expr::Trim { .. } => strong("btrim"),
        Expr::Overlay { .. } => strong("overlay"),
        Expr::Position { .. } => strong("position"),
        Expr::Ceil { .. } => strong("ceil"),
        Expr::Floor { .. } => strong("floor"),
        Expr::AtTimeZone { .. } => strong("timezone"),
        Expr::Array(_) => strong("array"),
        Expr::Tuple(_) => strong("row"),
        Expr::Interval(_) => Some(("interval".to_owned(), Strength::Weak)),
        Expr::TypedString(typed) => Some((type_name(&typed.data_type), Strength::Weak)),
        // It has the name of its column, even when that is none.
        Expr::Subquery(query) => match output_names(&SqlStatement::Query(query.clone())).0.first() {
            Some(Some(name)) => strong(name),
            _ => None,
        },
        _ => None,
    }
}

/// The name of a column that has none, as PostgreSQL shows it.
pub const UNNAMED: &str = "?column?";

fn unnamed() -> String {
    UNNAMED.to_owned()
}

/// PostgreSQL's internal name of a type, which it uses as a column name for casts of constants.
fn type_name(kind: &DataType) -> String {
    let kind = match kind {
        DataType::Array(ArrayElemTypeDef::SquareBracket(item, _)) => return type_name(item),
        kind => kind.to_string(),
    };
    if let Some(quoted) = kind.rsplit('.').next().and_then(|name| name.strip_prefix('"')) {
        return quoted.trim_end_matches('"').to_owned();
    }
    let bare = kind.to_ascii_lowercase();
    // The digits of `timestamp(3) with time zone` stand within its name.
    let bare = match (bare.find('('), bare.find(')')) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &bare[..from], &bare[to + 1..]),
        _ => bare,
    };
    match bare.trim() {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "real" => "float4",
        "double precision" | "float" | "double" => "float8",
        "boolean" => "bool",
        "decimal" | "dec" => "numeric",
        "character varying" | "char varying" => "varchar",
        "character" | "char" => "bpchar",
        "timestamp with time zone" => "timestamptz",
        "timestamp without time zone" => "timestamp",
        "time with time zone" => "timetz",
        "time without time zone" => "time",
        "bit varying" => "varbit",
        other => other.rsplit('.').next().unwrap_or(other),
    }
    .to_owned()
}
