//! `CREATE VIEW` and its kin. A view is kept as text whose names have their schemas, so that it means the same
//! whatever the search path of who reads it.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::grammar::Grammar;
use catalog::identifier;
use datafusion::sql::parser::Statement;
use engine::{Error, Result};
use sqlparser::ast::{
    CreateTableOptions, CreateView, Expr, Ident, ObjectName, ObjectNamePart, Query as SqlQuery, SelectItem,
    SetExpr, SqlOption, Statement as SqlStatement, TableAlias, TableFactor, VisitMut, VisitorMut,
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
    let refused = [
        (create.temporary, "TEMPORARY"),
        (create.or_alter || create.secure, "that kind of view"),
        (create.to.is_some(), "TO"),
        (!create.cluster_by.is_empty(), "CLUSTER BY"),
        (create.with_no_schema_binding, "NO SCHEMA BINDING"),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(is_asked, _)| *is_asked) {
        return Err(not_supported(&format!("CREATE VIEW with {what}")));
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
