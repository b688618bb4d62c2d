//! `CREATE VIEW` and its kin. A view is kept as text whose names have their schemas, so that it means the same
//! whatever the search path of who reads it.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::grammar::Grammar;
use catalog::identifier;
use datafusion::sql::parser::Statement;
use engine::{Error, Result};
use sqlparser::ast::{
    CreateTableOptions, CreateView, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName,
    ObjectNamePart, Query as SqlQuery, Select, SelectItem, SetExpr, SqlOption, Statement as SqlStatement,
    TableAlias, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};
use sqlparser::parser::Parser;

use super::classify::{Query, folded, not_supported, query, schema_and_name};
use super::dialect::SessionFacts;
use super::names::CommonTables;
use super::parse::PARSER_DEPTH_MAX;
use super::printed::{self, name as quoted};

/// A view to be made.
#[derive(Debug, Clone)]
pub struct ViewMake {
    /// The schema, when the name has one.
    pub schema: Option<String>,
    /// The view.
    pub view: String,
    /// Names for its first columns.
    pub columns: Vec<String>,
    /// In place of a view of that name.
    pub or_replace: bool,
    /// Whether a relation of that name is fine.
    pub if_not_exists: bool,
    /// Its rows.
    pub query: Query,
    /// The client's text.
    pub text: Arc<str>,
    body: SqlQuery,
}

/// `CREATE VIEW`.
pub fn create(create: CreateView, sql: &str, facts: &SessionFacts) -> Result<ViewMake> {
    if create.temporary {
        return Err(not_supported("CREATE VIEW with TEMPORARY"));
    }
    check_options(&create.options)?;
    let (schema, view) = schema_and_name(&create.name);
    let body = *create.query;
    Ok(ViewMake {
        schema,
        view,
        columns: create.columns.iter().map(|column| folded(&column.name)).collect(),
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        query: query(SqlStatement::Query(Box::new(body.clone())), sql, facts),
        text: Arc::from(sql),
        body,
    })
}

/// Refuses what would make the view another one than it is without a word of it.
fn check_options(options: &CreateTableOptions) -> Result<()> {
    let (CreateTableOptions::With(options) | CreateTableOptions::Options(options)) = options else {
        return match options {
            CreateTableOptions::None => Ok(()),
            _ => Err(not_supported("CREATE VIEW with options")),
        };
    };
    for option in options {
        let (name, is_off) = match option {
            SqlOption::KeyValue { key, value } => {
                let value = value.to_string().trim_matches('\'').to_ascii_lowercase();
                (folded(key), matches!(value.as_str(), "false" | "off" | "no" | "0"))
            }
            SqlOption::Ident(name) => (folded(name), false),
            _ => return Err(not_supported("CREATE VIEW with options")),
        };
        match name.as_str() {
            "security_barrier" | "security_invoker" if is_off => {}
            "security_barrier" | "security_invoker" | "check_option" => {
                return Err(not_supported(&format!("CREATE VIEW WITH ({name})")));
            }
            _ => {
                let message = format!("unrecognized parameter \"{name}\"");
                return Err(Error::InvalidParameterValue { message });
            }
        }
    }
    Ok(())
}

impl ViewMake {
    /// Its text with the schemas that `schema_of` finds for names without one. Its query gives columns called
    /// `given`; the view's are called `columns`.
    pub fn stored_text(
        &self,
        given: &[String],
        columns: &[String],
        schema_of: impl Fn(&str) -> Option<String>,
    ) -> Result<String> {
        let mut body = self.body.clone();
        qualify(&mut body, schema_of);
        let body = printed::query(&body)?;
        let view = quoted(&self.view);
        let joined = |names: Vec<String>| names.join(", ");
        // A table that gets another column must not give the view one.
        if has_wildcard_and_names(&self.body) {
            let named = |(given, name): (&String, &String)| format!("{} AS {}", quoted(given), quoted(name));
            let outputs = joined(given.iter().zip(columns).map(named).collect());
            return Ok(format!("SELECT {outputs} FROM ({body}) AS {view}"));
        }
        if self.columns.is_empty() {
            return Ok(body);
        }
        let names = joined(columns.iter().map(|name| quoted(name)).collect());
        Ok(format!("SELECT * FROM ({body}) AS {view} ({names})"))
    }
}

/// True when a query gives all columns of something, and besides only columns that have names.
fn has_wildcard_and_names(query: &SqlQuery) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let is_wildcard =
        |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let has_name = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { .. } => true,
        SelectItem::UnnamedExpr(expr) => matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)),
        other => is_wildcard(other),
    };
    select.projection.iter().any(is_wildcard) && select.projection.iter().all(has_name)
}

/// The query of a view's text, which was kept by [`ViewMake::stored_text`] or by another engine.
pub fn view_query(text: &str, facts: &SessionFacts) -> Result<Query> {
    let unreadable = || Error::InvalidQuery {
        message: "a view of another engine's dialect cannot be read here".to_owned(),
    };
    let dialect = Grammar;
    let parser = Parser::new(&dialect).with_recursion_limit(PARSER_DEPTH_MAX);
    let mut parser = parser.try_with_sql(text).map_err(|_| unreadable())?;
    match parser.parse_statement() {
        Ok(statement @ SqlStatement::Query(_)) => Ok(query(statement, text, facts)),
        // DuckDB keeps the whole statement.
        Ok(SqlStatement::CreateView(create)) => Ok(query(SqlStatement::Query(create.query), text, facts)),
        _ => Err(unreadable()),
    }
}

/// A view's text with the relation `from` under its new name; `None` where a column is written with the relation's schema.
pub fn renamed(text: &str, from: (&str, &str), to: &str) -> Result<Option<String>> {
    let mut body = parsed(text)?;
    match VisitMut::visit(&mut body, &mut Renamer { from, to }) {
        ControlFlow::Continue(()) => printed::query(&body).map(Some),
        ControlFlow::Break(()) => Ok(None),
    }
}

/// The query in a view's text.
fn parsed(text: &str) -> Result<SqlQuery> {
    let unreadable = || Error::InvalidQuery { message: "a view's text cannot be read".to_owned() };
    let parser = Parser::new(&Grammar).with_recursion_limit(PARSER_DEPTH_MAX);
    let mut parser = parser.try_with_sql(text).map_err(|_| unreadable())?;
    match parser.parse_statement() {
        Ok(SqlStatement::Query(query)) => Ok(*query),
        Ok(SqlStatement::CreateView(create)) => Ok(*create.query),
        _ => Err(unreadable()),
    }
}

/// The text of a view of one table, whose column `name` is called `to`; `None` where it is not plain what a name stands for.
pub fn with_renamed_column(text: &str, name: &str, to: &str) -> Result<Option<String>> {
    let mut body = parsed(text)?;
    let SetExpr::Select(select) = body.body.as_mut() else { return Ok(None) };
    let is_one_table = matches!(select.from.as_slice(),
        [from] if from.joins.is_empty() && matches!(from.relation, TableFactor::Table { args: None, .. }));
    let is_plain = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(_) => true,
        // The column itself may be shown by either name.
        SelectItem::ExprWithAlias { alias, expr } => {
            ![name, to].contains(&folded(alias).as_str()) || is_column(expr, name)
        }
        _ => false,
    };
    if !is_one_table || !select.projection.iter().all(is_plain) {
        return Ok(None);
    }
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && is_column(expr, name)
        {
            let alias = Ident::with_quote('"', name);
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
    let mut renamer = ColumnRenamer { name, to, queries: 0 };
    let _ = VisitMut::visit(&mut body, &mut renamer);
    if renamer.queries > 1 {
        return Ok(None);
    }
    printed::query(&body).map(Some)
}

fn is_column(expr: &Expr, name: &str) -> bool {
    match expr {
        Expr::Identifier(last) => folded(last) == name,
        Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|last| folded(last) == name),
        _ => false,
    }
}

fn last_part(expr: &mut Expr) -> Option<&mut Ident> {
    match expr {
        Expr::Identifier(last) => Some(last),
        Expr::CompoundIdentifier(parts) => parts.last_mut(),
        _ => None,
    }
}

struct ColumnRenamer<'a> {
    name: &'a str,
    to: &'a str,
    queries: usize,
}

impl VisitorMut for ColumnRenamer<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut SqlQuery) -> ControlFlow<()> {
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(last) = last_part(expr)
            && folded(last) == self.name
        {
            *last = Ident::with_quote('"', self.to);
        }
        ControlFlow::Continue(())
    }
}

struct Renamer<'a> {
    from: (&'a str, &'a str),
    to: &'a str,
}

impl Renamer<'_> {
    fn is_it(&self, parts: &[&Ident]) -> bool {
        matches!(parts, [schema, table, ..] if (folded(schema).as_str(), folded(table).as_str()) == self.from)
    }
}

impl VisitorMut for Renamer<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let parts: Vec<&Ident> = name.0.iter().filter_map(ObjectNamePart::as_ident).collect();
        if parts.len() != 2 || !self.is_it(&parts) {
            return ControlFlow::Continue(());
        }
        let (schema, table) = (parts[0].clone(), parts[1].clone());
        *name = ObjectName::from(vec![schema, Ident::with_quote('"', self.to)]);
        // Its columns are still called as they were.
        if alias.is_none() {
            *alias = Some(TableAlias { explicit: true, name: table, columns: Vec::new(), at: None });
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::CompoundIdentifier(parts)
                if parts.len() > 2 && self.is_it(&parts.iter().collect::<Vec<_>>()) =>
            {
                ControlFlow::Break(())
            }
            Expr::QualifiedWildcard(name, _) if name.0.len() > 1 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// What a view's text says of columns, by which a change of a table might make it mean another one.
#[derive(Debug, Default)]
pub struct Reads {
    /// Names of columns, without those of tables before them.
    names: HashSet<String>,
    /// Tables are joined by the names that they share.
    pub has_natural_joins: bool,
    /// A name that one query does not know may be that of the query around it.
    pub has_subqueries: bool,
}

impl Reads {
    /// What `text` says.
    pub fn of(text: &str) -> Result<Self> {
        let mut reads = Self::default();
        let _ = parsed(text)?.visit(&mut reads);
        Ok(reads)
    }

    /// True when a column is called so.
    pub fn mentions(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

impl Visitor for Reads {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let joins = select.from.iter().flat_map(|from| &from.joins);
        self.has_natural_joins |= joins.into_iter().any(is_natural);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Derived { lateral, .. } => self.has_subqueries |= *lateral,
            TableFactor::NestedJoin { table_with_joins, .. } => {
                self.has_natural_joins |= table_with_joins.joins.iter().any(is_natural);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => {
                self.names.insert(folded(name));
            }
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => self.has_subqueries = true,
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn is_natural(join: &Join) -> bool {
    use JoinOperator as Op;
    match &join.join_operator {
        Op::Join(constraint)
        | Op::Inner(constraint)
        | Op::Left(constraint)
        | Op::LeftOuter(constraint)
        | Op::Right(constraint)
        | Op::RightOuter(constraint)
        | Op::FullOuter(constraint) => matches!(constraint, JoinConstraint::Natural),
        _ => false,
    }
}

/// Writes the schema that `schema_of` finds before each name of a relation that has none.
pub fn qualify_relations(statement: &mut Statement, schema_of: impl Fn(&str) -> Option<String>) {
    if let Statement::Statement(statement) = statement {
        qualify(statement.as_mut(), schema_of);
    }
}

fn qualify(statement: &mut impl VisitMut, schema_of: impl Fn(&str) -> Option<String>) {
    struct Qualifier<F> {
        schema_of: F,
        in_scope: CommonTables,
    }
    impl<F: Fn(&str) -> Option<String>> VisitorMut for Qualifier<F> {
        type Break = ();

        fn pre_visit_query(&mut self, query: &mut SqlQuery) -> ControlFlow<()> {
            self.in_scope.enter(query);
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, query: &mut SqlQuery) -> ControlFlow<()> {
            self.in_scope.leave(query);
            ControlFlow::Continue(())
        }

        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
            let TableFactor::Table { name, alias: alias @ None, args: None, .. } = factor else {
                return ControlFlow::Continue(());
            };
            let written = name.0.last().and_then(ObjectNamePart::as_ident).cloned();
            let parts = name.0.len();
            let flow = self.pre_visit_relation(name);
            // `t.*` must go on to mean it.
            if let (Some(name), true) = (written, name.0.len() > parts) {
                *alias = Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
            }
            flow
        }

        fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
            if let [ObjectNamePart::Identifier(table)] = relation.0.as_slice() {
                let name = folded(table);
                let is_cte = self.in_scope.has(&name);
                if let (false, Some(schema)) = (is_cte, (self.schema_of)(&name)) {
                    let table = match identifier::quote(&name) == name {
                        true => table.clone(),
                        false => Ident::with_quote('"', name),
                    };
                    let schema = match identifier::quote(&schema) == schema {
                        true => Ident::new(schema),
                        false => Ident::with_quote('"', schema),
                    };
                    *relation = ObjectName::from(vec![schema, table]);
                }
            }
            ControlFlow::Continue(())
        }
    }
    let _ = statement.visit(&mut Qualifier { schema_of, in_scope: CommonTables::default() });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(sql: &str) -> ViewMake {
        let parsed = Parser::parse_sql(&Grammar, sql).expect("parsed").pop();
        let Some(SqlStatement::CreateView(view)) = parsed else { panic!("a view") };
        create(view, sql, &SessionFacts::for_tests()).expect("made")
    }

    #[test]
    fn names_get_their_schemas_and_common_tables_do_not() {
        let view = make(
            "create view v as with t as (select * from a), a as (select * from a) select x + 1 from t, a, \"B\", s.c where x in (select y from b)",
        );
        let text =
            view.stored_text(&[], &[], |name| (name != "B").then(|| "public".to_owned())).expect("printed");
        assert_eq!(
            text,
            "WITH t AS (SELECT * FROM public.a AS a), a AS (SELECT * FROM public.a AS a) SELECT x + 1 \
             FROM t, a, \"B\", s.c WHERE x IN (SELECT y FROM public.b AS b)"
        );
    }

    #[test]
    fn columns_are_renamed_around_the_query() {
        let view = make("create view v (a, b) as select 1, 2, 3");
        let names = ["a".to_owned(), "b".into(), "?column?".into()];
        let text = view.stored_text(&names, &names, |_| None).expect("printed");
        assert_eq!(text, "SELECT * FROM (SELECT 1, 2, 3) AS \"v\" (\"a\", \"b\", \"?column?\")");
        let view = make("create view v (a) as select *, x as y from t");
        let text = view.stored_text(&["k".into(), "y".into()], &["a".into(), "y".into()], |_| None);
        let text = text.expect("printed");
        assert_eq!(text, "SELECT \"k\" AS \"a\", \"y\" AS \"y\" FROM (SELECT *, x AS y FROM t) AS \"v\"");
    }
}
