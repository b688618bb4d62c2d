//! Rewrites what PostgreSQL's clients write into what DataFusion reads.
//!
//! Functions about the session become their values, so that a statement means the same on every node.
//! The looser rewrites apply only to statements over system tables: a user's own query is never bent.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, GroupByExpr, Ident, Join, JoinOperator, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, SetExpr, Statement, TableFactor, TableWithJoins, Value, Visit, VisitMut, Visitor, VisitorMut,
};

use crate::pg_catalog;

/// What a statement may ask about its session.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    /// The signed-in role.
    pub user: String,
    /// The database.
    pub database: String,
    /// The schema that new and unqualified names mean.
    pub schema: String,
    /// The text of `version()`.
    pub version: String,
    /// The session's number, as in `pg_stat_activity.pid`.
    pub process_id: i32,
}

impl SessionFacts {
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self {
            user: "postgres".into(),
            database: "postgres".into(),
            schema: "public".into(),
            version: "PostgreSQL 15.8".into(),
            process_id: 1,
        }
    }
}

/// Adapts `statement` in place. `reads_system` allows the rewrites for system tables.
pub fn adapt(statement: &mut Statement, facts: &SessionFacts, reads_system: bool) {
    let mut adapter = Adapter { facts, reads_system };
    let _ = statement.visit(&mut adapter);
}

struct Adapter<'a> {
    facts: &'a SessionFacts,
    reads_system: bool,
}

impl VisitorMut for Adapter<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if self.reads_system
            && let SetExpr::Select(select) = query.body.as_ref()
            && is_known_empty(select)
        {
            // What it is ordered by goes away with its tables.
            query.order_by = None;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if self.reads_system && is_known_empty(select) {
            make_empty(select);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            strip_schema(&mut function.name);
            if let Some(value) = self.session_value(function) {
                *expr = value;
                return ControlFlow::Continue(());
            }
        }
        adapt_cast(expr, self.reads_system);
        if let Expr::BinaryOp { op, .. } = expr {
            adapt_operator(op);
        }
        if self.reads_system {
            adapt_system_expr(expr);
        }
        ControlFlow::Continue(())
    }
}

impl Adapter<'_> {
    fn session_value(&self, function: &Function) -> Option<Expr> {
        let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return None };
        let has_arguments = matches!(&function.args, FunctionArguments::List(list) if !list.args.is_empty());
        if has_arguments {
            return None;
        }
        let text = |text: &str| Expr::value(Value::SingleQuotedString(text.to_owned()));
        Some(match name.value.to_ascii_lowercase().as_str() {
            "version" => text(&self.facts.version),
            "current_database" | "current_catalog" => text(&self.facts.database),
            "current_schema" => text(&self.facts.schema),
            "current_user" | "session_user" | "user" | "current_role" => text(&self.facts.user),
            "pg_backend_pid" => Expr::value(Value::Number(self.facts.process_id.to_string(), false)),
            _ => return None,
        })
    }
}

/// `pg_catalog.count(*)` is `count(*)`.
fn strip_schema(name: &mut ObjectName) {
    if let [ObjectNamePart::Identifier(schema), _] = name.0.as_slice()
        && schema.value.eq_ignore_ascii_case("pg_catalog")
    {
        name.0.remove(0);
    }
}

/// Types that DataFusion knows under another name, and PostgreSQL's names for names.
fn adapt_cast(expr: &mut Expr, reads_system: bool) {
    let Expr::Cast { data_type, .. } = expr else { return };
    let DataType::Custom(name, _) = data_type else { return };
    let Some(ObjectNamePart::Identifier(last)) = name.0.last() else { return };
    let replacement = match last.value.to_ascii_lowercase().as_str() {
        "text" | "name" | "bpchar" | "varchar" | "char" => DataType::Text,
        "int2" => DataType::SmallInt(None),
        "int4" => DataType::Int(None),
        "int8" => DataType::BigInt(None),
        "oid" => DataType::BigInt(None),
        "regclass" | "regtype" | "regproc" | "regnamespace" if reads_system => DataType::Text,
        _ => return,
    };
    *data_type = replacement;
}

/// `OPERATOR(pg_catalog.~)` is `~`.
fn adapt_operator(op: &mut BinaryOperator) {
    let BinaryOperator::PGCustomBinaryOperator(parts) = op else { return };
    let replacement = match parts.last().map(String::as_str) {
        Some("~") => BinaryOperator::PGRegexMatch,
        Some("~*") => BinaryOperator::PGRegexIMatch,
        Some("!~") => BinaryOperator::PGRegexNotMatch,
        Some("!~*") => BinaryOperator::PGRegexNotIMatch,
        Some("~~") => BinaryOperator::PGLikeMatch,
        Some("=") => BinaryOperator::Eq,
        Some("<>") => BinaryOperator::NotEq,
        _ => return,
    };
    *op = replacement;
}

/// True when `select` reads a relation that never has rows here in a place where that leaves it
/// without rows too. Clients ask such things (policies, triggers, publications) in shapes DataFusion
/// cannot plan.
fn is_known_empty(select: &Select) -> bool {
    let has_wildcard = select
        .projection
        .iter()
        .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    // An aggregate over no rows is still a row.
    !has_wildcard && !has_aggregate(&select.projection) && select.from.iter().any(is_empty_source)
}

/// True when an aggregate stands in `part`, subqueries aside: theirs are of their own rows.
fn has_aggregate(part: &impl Visit) -> bool {
    #[derive(Default)]
    struct Finder {
        depth: usize,
    }
    impl Visitor for Finder {
        type Break = ();

        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Function(function) if self.depth == 0 && is_aggregate_name(&function.name) => {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    part.visit(&mut Finder::default()).is_break()
}

fn is_empty_source(source: &TableWithJoins) -> bool {
    let is_empty = |factor: &TableFactor| match factor {
        TableFactor::Table { name, .. } => {
            let parts: Vec<_> = name.0.iter().filter_map(ObjectNamePart::as_ident).collect();
            let is_in_catalog = |schema: &Ident| schema.value.eq_ignore_ascii_case("pg_catalog");
            match parts.as_slice() {
                [table] => pg_catalog::is_empty_relation(&table.value.to_ascii_lowercase()),
                [schema, table] if is_in_catalog(schema) => {
                    pg_catalog::is_empty_relation(&table.value.to_ascii_lowercase())
                }
                _ => false,
            }
        }
        _ => false,
    };
    let keeps_left =
        |join: &Join| matches!(join.join_operator, JoinOperator::Left(_) | JoinOperator::LeftOuter(_));
    let keeps_other = |join: &Join| {
        matches!(
            join.join_operator,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)
        )
    };
    if source.joins.iter().any(keeps_other) {
        return false;
    }
    is_empty(&source.relation)
        || source.joins.iter().any(|join| !keeps_left(join) && is_empty(&join.relation))
}

/// The same columns, and no row.
fn make_empty(select: &mut Select) {
    for item in &mut select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                *expr = Expr::value(Value::Null);
            }
            _ => {}
        }
    }
    // Columns of one name are refused, and unnamed nulls would all have one.
    for (index, item) in select.projection.iter_mut().enumerate() {
        if let SelectItem::UnnamedExpr(expr) = item {
            let alias = Ident::new(format!("column{index}"));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
    select.from = Vec::new();
    select.distinct = None;
    select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
    select.having = None;
    select.selection = Some(Expr::value(Value::Boolean(false)));
}

fn adapt_system_expr(expr: &mut Expr) {
    match expr {
        Expr::Collate { expr: inner, .. } => {
            let inner = std::mem::replace(inner.as_mut(), Expr::value(Value::Null));
            *expr = inner;
        }
        // A correlated subquery that gives one value must say so: DataFusion wants an aggregate.
        Expr::Subquery(query) => take_one_row(query),
        _ => {}
    }
}

fn take_one_row(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let has_groups = !matches!(
        &select.group_by,
        GroupByExpr::Expressions(expressions, _) if expressions.is_empty()
    );
    if has_groups || select.projection.len() != 1 || select.from.is_empty() {
        return;
    }
    let (SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }) =
        &mut select.projection[0]
    else {
        return;
    };
    // Only over system tables, where such a subquery finds one row at most.
    let is_systems = select.from.iter().all(|source| {
        matches!(&source.relation, TableFactor::Table { name, .. }
            if name.0.last().and_then(ObjectNamePart::as_ident).is_some_and(|t| t.value.starts_with("pg_")))
    });
    if !is_systems || query.limit_clause.is_some() || has_aggregate(value) {
        return;
    }
    let argument = std::mem::replace(value, Expr::value(Value::Null));
    *value = call("max", argument);
    query.order_by = None;
}

fn is_aggregate_name(name: &ObjectName) -> bool {
    name.0.last().and_then(ObjectNamePart::as_ident).is_some_and(|ident| {
        ["count", "sum", "min", "max", "avg", "array_agg", "string_agg", "bool_or", "bool_and"]
            .contains(&ident.value.to_ascii_lowercase().as_str())
    })
}

fn call(name: &str, argument: Expr) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))],
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
