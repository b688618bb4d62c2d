//! Rewrites what PostgreSQL's clients write into what DataFusion reads.
//!
//! Functions about the session become their values, so that a statement means the same on every node.
//! The looser rewrites apply only to statements over system tables: a user's own query is never bent.

mod bags;
mod calls;
mod casts;
mod collations;
mod documents;
pub use casts::bytea;
pub use documents::check_columns as check_document_columns;
mod frames;
mod inner_names;
mod instants;
mod kinds;
mod literals;
mod meaning;
pub use meaning::adapt as give_meaning;
mod names_of_things;
mod numbers;
mod order_by;
mod ordered_sets;
mod quantified;
pub use quantified::adapt as quantify;
mod repeated;
pub use repeated::REPEATED;
mod rows;
mod series;
mod set_returning;
mod subscripts;
mod system;
mod texts;
pub use texts::trim_literal;
mod unnest;
mod untyped;
mod values;
mod windows;

pub use series::{is_series, narrow as narrow_series, series_bound};
use std::collections::HashSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CastKind, DataType, ExactNumberInfo, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, Join, JoinOperator,
    ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr, Statement, TableFactor, TableWithJoins,
    TimezoneInfo, Value, Visit, VisitMut, Visitor, VisitorMut,
};

use datafusion::sql::parser::Statement as DataFusionStatement;

use super::names;
use crate::pg_catalog;

/// What a statement may ask about its session that stays the same as long as the session does.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    /// The database.
    pub database: String,
    /// The text of `version()`.
    pub version: String,
    /// The session's number, as in `pg_stat_activity.pid`.
    pub process_id: i32,
}

impl SessionFacts {
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self { database: "postgres".into(), version: "PostgreSQL 15.8".into(), process_id: 1 }
    }
}

/// Who a session is, and where its tables are: what a statement may change for those after it.
#[derive(Debug, Clone)]
pub struct SessionIdentity {
    /// The role whose privileges count.
    pub user: String,
    /// The role that SET ROLE starts from.
    pub session_user: String,
    /// The first schema of the search path that the role may use.
    pub schema: Option<String>,
}

/// Adapts `statement` in place. `reads_system` allows the rewrites for system tables. True when it asks who the session is,
/// or where its tables are: that is told when it runs, by [`tell_session`].
pub fn adapt(statement: &mut Statement, facts: &SessionFacts, reads_system: bool) -> bool {
    order_by::adapt(statement);
    literals::adapt(statement);
    values::adapt(statement);
    let mut adapter = Adapter { facts, reads_system, asks_session: false };
    let _ = statement.visit(&mut adapter);
    if let Statement::Query(query) = statement {
        show_names_in(&mut query.body, reads_system);
        tell_apart(query);
    }
    adapter.asks_session
}

/// Puts what the session is now in the place of `current_user` and its kin. A statement may be prepared, or stand behind a
/// SET ROLE in the same message: what it was when the text was read does not count.
pub fn tell_session(statement: &mut DataFusionStatement, identity: &SessionIdentity) {
    struct Teller<'a>(&'a SessionIdentity);
    impl VisitorMut for Teller<'_> {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Function(function) = expr
                && let Some(asked) = asked_of_session(function)
            {
                let text = |text: &str| Expr::value(Value::SingleQuotedString(text.to_owned()));
                let schema = self.0.schema.as_deref();
                *expr = match asked {
                    Asked::User => text(&self.0.user),
                    Asked::SessionUser => text(&self.0.session_user),
                    Asked::Schema => schema.map_or_else(|| Expr::value(Value::Null), text),
                };
            }
            ControlFlow::Continue(())
        }
    }
    if let DataFusionStatement::Statement(statement) = statement {
        let _ = statement.visit(&mut Teller(identity));
    }
}

/// What a session may change of itself.
enum Asked {
    User,
    SessionUser,
    Schema,
}

fn asked_of_session(function: &Function) -> Option<Asked> {
    Some(match plain_name(function)?.as_str() {
        "current_schema" => Asked::Schema,
        "session_user" => Asked::SessionUser,
        "current_user" | "user" | "current_role" => Asked::User,
        _ => return None,
    })
}

/// The name of a function that is called without schema and arguments, folded.
fn plain_name(function: &Function) -> Option<String> {
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return None };
    let has_arguments = matches!(&function.args, FunctionArguments::List(list) if !list.args.is_empty());
    (!has_arguments).then(|| name.value.to_ascii_lowercase())
}

struct Adapter<'a> {
    facts: &'a SessionFacts,
    reads_system: bool,
    asks_session: bool,
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
        numbers::open_recursion(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Values(values) = query.body.as_mut() {
            values.rows.iter_mut().flat_map(|row| &mut row.content).for_each(numbers::keep_cast);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if self.reads_system {
            system::adapt_select(select);
            if is_known_empty(select) {
                make_empty(select);
            }
        }
        unnest::adapt(select);
        documents::name_columns(select);
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                series::as_rows(expr);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: Some(_), .. } = factor {
            strip_schema(name);
        }
        series::name_columns(factor);
        series::compute(factor);
        if let TableFactor::Table { name, args: Some(args), .. } = factor
            && series::is_series(name)
        {
            series::widen(&mut args.args);
        }
        if self.reads_system {
            system::adapt_table(factor);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        series::narrow(factor);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        // Nobody looks at its columns, and the planner wants one.
        if let Expr::Exists { subquery, .. } = expr
            && let SetExpr::Select(select) = subquery.body.as_mut()
            && select.projection.is_empty()
        {
            select.projection.push(SelectItem::UnnamedExpr(Expr::value(Value::Number("1".into(), false))));
        }
        if self.reads_system {
            system::adapt_before(expr);
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
            self.asks_session |= asked_of_session(function).is_some();
            instants::adapt_age(function, self.reads_system);
        }
        collations::adapt(expr);
        ordered_sets::adapt(expr);
        windows::adapt_default(expr);
        names_of_things::adapt_cast(expr, self.reads_system);
        documents::adapt(expr);
        if !self.reads_system {
            texts::adapt_names(expr);
        }
        adapt_cast(expr);
        texts::adapt(expr);
        casts::adapt(expr);
        numbers::adapt(expr);
        instants::adapt_local(expr);
        match expr {
            Expr::BinaryOp { left, op: BinaryOperator::PGExp, right } => {
                // A literal in quotes is a `double precision`.
                let number = |side: &mut Expr| match side {
                    Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)) => {
                        cast(take(side), DataType::Double(ExactNumberInfo::None))
                    }
                    side => take(side),
                };
                *expr = call("power", vec![number(left), number(right)]);
            }
            Expr::BinaryOp { op, .. } => adapt_operator(op),
            _ => {}
        }
        if self.reads_system {
            system::adapt_after(expr);
        }
        ControlFlow::Continue(())
    }
}

/// True when no column stands in `expr`.
fn is_constant(expr: &Expr) -> bool {
    struct Columns;
    impl Visitor for Columns {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    expr.visit(&mut Columns).is_continue()
}

fn is_named(name: &ObjectName, wanted: &str) -> bool {
    matches!(name.0.as_slice(), [ObjectNamePart::Identifier(ident)] if ident.value.eq_ignore_ascii_case(wanted))
}

/// Identifiers that the outermost query shows are shown by the names they stand for, as PostgreSQL's
/// `reg*` types print.
fn show_names_in(body: &mut SetExpr, reads_system: bool) {
    match body {
        SetExpr::Select(select) => {
            for item in &mut select.projection {
                if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                    names_of_things::show(expr, reads_system);
                }
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            show_names_in(left, reads_system);
            show_names_in(right, reads_system);
        }
        SetExpr::Query(query) => show_names_in(&mut query.body, reads_system),
        _ => {}
    }
}

/// Columns of one name are refused by the planner and fine for PostgreSQL: all but the first get a name
/// of their own, and so does a computed column with the name of a table's column that orders the rows. What
/// the client sees is decided elsewhere, from the text.
fn tell_apart(query: &mut Query) {
    let ordered_by = order_by::columns(query);
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let mut seen: HashSet<String> = HashSet::new();
    for (index, item) in select.projection.iter_mut().enumerate() {
        let is_clear = match &*item {
            // Constants of one value may be written in many ways.
            SelectItem::UnnamedExpr(expr) if index > 0 && is_constant(expr) => false,
            // The planner names a cast like what is cast.
            SelectItem::UnnamedExpr(expr @ Expr::Cast { .. })
                if ordered_by.contains(&names::column_name(expr)) =>
            {
                false
            }
            SelectItem::UnnamedExpr(expr) => seen.insert(expr.to_string()),
            SelectItem::ExprWithAlias { expr, alias } => {
                seen.insert(alias.to_string())
                    && (is_column(expr) || !ordered_by.contains(&names::folded(alias)))
            }
            _ => continue,
        };
        if !is_clear && let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = &*item {
            let alias = Ident::with_quote('"', format!("{} {index}", expr));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

impl Adapter<'_> {
    /// What stays the same as long as the session does.
    fn session_value(&self, function: &Function) -> Option<Expr> {
        let text = |text: &str| Expr::value(Value::SingleQuotedString(text.to_owned()));
        Some(match plain_name(function)?.as_str() {
            "version" => text(&self.facts.version),
            "current_database" | "current_catalog" => text(&self.facts.database),
            "pg_backend_pid" => Expr::value(Value::Number(self.facts.process_id.to_string(), false)),
            _ => return None,
        })
    }
}

/// `pg_catalog.count(*)` is `count(*)`.
fn strip_schema(name: &mut ObjectName) {
    if let [ObjectNamePart::Identifier(schema), _] = name.0.as_slice()
        && (schema.value.eq_ignore_ascii_case("pg_catalog")
            || schema.value.eq_ignore_ascii_case("information_schema"))
    {
        name.0.remove(0);
    }
}

/// Types that DataFusion knows under another name, and PostgreSQL's names for names.
fn adapt_cast(expr: &mut Expr) {
    let Expr::Cast { data_type, .. } = expr else { return };
    if let Some(replacement) = known_type(data_type) {
        *data_type = replacement;
    }
}

fn known_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Custom(name, _) => {
            let ObjectNamePart::Identifier(last) = name.0.last()? else { return None };
            Some(match last.value.to_ascii_lowercase().as_str() {
                "text" | "name" | "bpchar" | "varchar" | "char" | "cstring" | "unknown" => DataType::Text,
                "int2" => DataType::SmallInt(None),
                "int4" => DataType::Int(None),
                "int8" | "oid" | "xid" | "xid8" => DataType::BigInt(None),
                "float4" => DataType::Real,
                "float8" => DataType::Double(ExactNumberInfo::None),
                "bool" => DataType::Boolean,
                "numeric" => DataType::Numeric(ExactNumberInfo::None),
                "timestamptz" => DataType::Timestamp(None, TimezoneInfo::WithTimeZone),
                "timestamp" => DataType::Timestamp(None, TimezoneInfo::None),
                "date" => DataType::Date,
                "json" | "jsonb" | "inet" | "cidr" => DataType::Text,
                _ => return None,
            })
        }
        // A JSON value is its text here.
        DataType::JSON | DataType::JSONB => Some(DataType::Text),
        DataType::Array(ArrayElemTypeDef::SquareBracket(item, size)) => {
            let item = known_type(item)?;
            Some(DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(item), *size)))
        }
        _ => None,
    }
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
pub(super) fn has_aggregate(part: &impl Visit) -> bool {
    calls(part, |function| is_aggregate_name(&function.name))
}

/// True when a function that is `wanted` is called in `part`, subqueries aside.
fn calls(part: &impl Visit, wanted: impl Fn(&Function) -> bool) -> bool {
    holds(part, |expr| matches!(expr, Expr::Function(function) if wanted(function)))
}

/// True when an expression that is `wanted` stands in `part`, subqueries aside.
fn holds(part: &impl Visit, wanted: impl Fn(&Expr) -> bool) -> bool {
    struct Finder<F> {
        wanted: F,
        depth: usize,
    }
    impl<F: Fn(&Expr) -> bool> Visitor for Finder<F> {
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
            match self.depth == 0 && (self.wanted)(expr) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    part.visit(&mut Finder { wanted, depth: 0 }).is_break()
}

fn is_empty_source(source: &TableWithJoins) -> bool {
    let is_empty = |factor: &TableFactor| match factor {
        // No relation here has storage options.
        TableFactor::Table { name, args: Some(args), .. }
            if name.to_string().ends_with("unnest")
                && args.args.iter().any(|a| a.to_string().ends_with("reloptions")) =>
        {
            true
        }
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

fn is_aggregate_name(name: &ObjectName) -> bool {
    name.0.last().and_then(ObjectNamePart::as_ident).is_some_and(|ident| {
        ["count", "sum", "min", "max", "avg", "array_agg", "string_agg", "bool_or", "bool_and"]
            .contains(&ident.value.to_ascii_lowercase().as_str())
    })
}

/// `expr::data_type`.
fn cast(expr: Expr, data_type: DataType) -> Expr {
    let expr = Box::new(expr);
    Expr::Cast { kind: CastKind::DoubleColon, expr, data_type, array: false, format: None }
}

/// Takes an expression out of its place, to be put into another.
fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::value(Value::Null))
}

pub(super) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let arguments =
        arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments.collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
