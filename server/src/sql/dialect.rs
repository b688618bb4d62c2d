//! Rewrites what PostgreSQL's clients write into what DataFusion reads.
//!
//! Functions about the session become their values, so that a statement means the same on every node.
//! The looser rewrites apply only to statements over system tables: a user's own query is never bent.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    FunctionArgumentList, Ident, ObjectName, ObjectNamePart, Query, SelectItem, SetExpr,
    Statement, Value, VisitMut, VisitorMut,
};

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
            version: "PostgreSQL 16.4".into(),
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
        let has_arguments =
            matches!(&function.args, FunctionArguments::List(list) if !list.args.is_empty());
        if has_arguments {
            return None;
        }
        let text = |text: &str| Expr::value(Value::SingleQuotedString(text.to_owned()));
        Some(match name.value.to_ascii_lowercase().as_str() {
            "version" => text(&self.facts.version),
            "current_database" | "current_catalog" => text(&self.facts.database),
            "current_schema" => text(&self.facts.schema),
            "current_user" | "session_user" | "user" | "current_role" => text(&self.facts.user),
            "pg_backend_pid" => {
                Expr::value(Value::Number(self.facts.process_id.to_string(), false))
            }
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
        sqlparser::ast::GroupByExpr::Expressions(expressions, _) if expressions.is_empty()
    );
    if has_groups || select.projection.len() != 1 {
        return;
    }
    let (SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }) =
        &mut select.projection[0]
    else {
        return;
    };
    let is_aggregate = matches!(value, Expr::Function(f) if is_aggregate_name(&f.name));
    if is_aggregate {
        return;
    }
    let argument = std::mem::replace(value, Expr::value(Value::Null));
    *value = call("max", argument);
    query.order_by = None;
    query.limit_clause = None;
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
