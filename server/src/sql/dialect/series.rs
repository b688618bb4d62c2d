//! `generate_series` and `unnest` as tables: their columns are named after them, and a series of `integer`s is of `integer`s. The
//! planner's series are of 64 bits, in a column `value`.

use std::ops::ControlFlow;

use sqlparser::ast::{
    DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart,
    Query, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, TimezoneInfo, UnaryOperator, Value,
    VisitMut, VisitorMut,
};
use sqlparser::parser::Parser;

use super::calls::name_of;
use super::{REPEATED, call, cast, holds, is_named, strip_schema, take};
use crate::sql::grammar::Grammar;

const SERIES: &str = "generate_series";
/// What a bound is cast to here. Nobody writes so: it tells these casts from those of users.
const WIDENED: DataType = DataType::BigInt(Some(20));

/// Names the columns of such a function.
pub fn name_columns(factor: &mut TableFactor) {
    let (alias, function, columns) = match factor {
        TableFactor::Table { name, args: Some(_), alias, .. } if is_named(name, SERIES) => (alias, SERIES, 1),
        TableFactor::UNNEST { alias, array_exprs, .. } => (alias, "unnest", array_exprs.len()),
        _ => return,
    };
    let own = alias.as_ref().map_or_else(|| Ident::new(function), |alias| alias.name.clone());
    let alias = alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: own.clone(),
        columns: Vec::new(),
        at: None,
    });
    if !alias.columns.is_empty() {
        return;
    }
    // Of one column a table's name is the column's too.
    let name = |at: usize| match at {
        0 if columns == 1 => own.clone(),
        0 => Ident::new(function),
        at => Ident::with_quote('"', format!("{function}{REPEATED}{}", at + 1)),
    };
    alias.columns = (0..columns).map(|at| TableAliasColumnDef { name: name(at), data_type: None }).collect();
}

/// Gives literals in quotes the types that they have beside a time.
fn with_moments(arguments: &mut [FunctionArg]) {
    let moment = arguments.iter().find_map(|argument| moment_of(plain(argument)?));
    if let Some(moment) = moment {
        let kinds = [moment.clone(), moment, DataType::Interval { fields: None, precision: None }];
        for (argument, kind) in arguments.iter_mut().zip(kinds) {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument
                && (is_text(expr) || is_date(expr))
            {
                *expr = cast(take(expr), kind);
            }
        }
    }
    // A step in quotes is an interval, but of numbers.
    if let [first, _, FunctionArg::Unnamed(FunctionArgExpr::Expr(step))] = arguments
        && is_text(step)
        && !plain(first).is_some_and(is_integer)
    {
        *step = cast(take(step), DataType::Interval { fields: None, precision: None });
    }
}

/// Gives the bounds of a series of whole numbers the 64 bits that the planner wants.
pub fn widen(arguments: &mut [FunctionArg]) {
    with_moments(arguments);
    for argument in arguments {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument
            && is_whole(expr)
        {
            *expr = cast(take(expr), WIDENED);
        }
    }
}

/// Puts a query in the place of a series whose bounds are computed: the planner's are literals in FROM.
pub fn compute(factor: &mut TableFactor) {
    let written = match &*factor {
        TableFactor::Function { lateral: true, name, args, alias, with_ordinality: false }
            if is_named(name, SERIES) =>
        {
            let arguments: Vec<String> = args.iter().map(ToString::to_string).collect();
            let alias = alias.as_ref().map_or_else(String::new, |alias| {
                format!(" {}", TableAlias { explicit: true, ..alias.clone() })
            });
            Some(format!("SELECT * FROM {SERIES}({}){alias}", arguments.join(", ")))
        }
        _ => None,
    };
    if let Some(written) = written.and_then(|text| query_of(&text))
        && let SetExpr::Select(mut select) = *written.body
        && let Some(from) = select.from.pop()
    {
        *factor = from.relation;
        name_columns(factor);
    }
    let TableFactor::Table { name, args: Some(args), alias: Some(alias), with_ordinality: false, .. } =
        &*factor
    else {
        return;
    };
    let [column] = alias.columns.as_slice() else { return };
    let is_told = |argument: &FunctionArg| plain(argument).is_some_and(is_told);
    if !is_named(name, SERIES) || args.args.iter().all(is_told) {
        return;
    }
    let has_columns = |argument: &FunctionArg| plain(argument).is_some_and(names_columns);
    let lateral = args.args.iter().any(has_columns);
    // Whole numbers have been given their types where they stand in expressions.
    let written = |argument: &FunctionArg| match plain(argument) {
        Some(expr @ (Expr::Value(_) | Expr::UnaryOp { .. })) if is_integer(expr) => {
            format!("CAST({expr} AS INTEGER)")
        }
        _ => argument.to_string(),
    };
    let arguments: Vec<String> = args.args.iter().map(written).collect();
    let text = format!("SELECT {SERIES}({}) AS {}", arguments.join(", "), column.name);
    let alias = alias.clone();
    if let Some(subquery) = query_of(&text) {
        let subquery = Box::new(subquery);
        *factor = TableFactor::Derived { lateral, subquery, alias: Some(alias), sample: None };
    }
}

fn query_of(text: &str) -> Option<Query> {
    let mut parser = Parser::new(&Grammar).try_with_sql(text).ok()?;
    parser.parse_query().ok().map(|query| *query)
}

/// True for what says its value itself.
fn is_told(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) | Expr::TypedString(_) | Expr::Interval(_) => true,
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => is_told(inner),
        Expr::Cast { expr, .. } => {
            is_told(expr)
                && !matches!(expr.as_ref(), Expr::Value(value) if matches!(value.value, Value::Placeholder(_) | Value::Null))
        }
        _ => false,
    }
}

fn names_columns(expr: &Expr) -> bool {
    holds(expr, |expr| matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)))
}

/// True for the name of such a function.
pub fn is_series(name: &ObjectName) -> bool {
    is_named(name, SERIES)
}

/// A bound of type `kind`, as [`widen`] leaves it.
pub fn series_bound(value: Option<i64>, kind: DataType) -> Expr {
    let number = |value: i64| Expr::value(Value::Number(value.unsigned_abs().to_string(), false));
    let bound = match value {
        None => return Expr::value(Value::Null),
        Some(value @ ..0) => Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(number(value)) },
        Some(value) => number(value),
    };
    cast(cast(bound, kind), WIDENED)
}

/// Puts a series of `integer`s in the place of one that was made of them.
pub fn narrow(factor: &mut TableFactor) {
    let TableFactor::Table { name, args: Some(args), alias: Some(alias), .. } = &*factor else { return };
    let [column] = alias.columns.as_slice() else { return };
    if !is_named(name, SERIES) || !args.args.iter().all(|arg| plain(arg).is_some_and(is_widened_integer)) {
        return;
    }
    let (alias, column) = (alias.clone(), &column.name);
    let text = format!("SELECT CAST({column} AS INTEGER) AS {column} FROM {factor}");
    if let Some(subquery) = query_of(&text) {
        let subquery = Box::new(subquery);
        *factor = TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None };
    }
}

/// `SELECT generate_series(1, 3)` gives a row for each number; DataFusion's gives one array.
pub fn as_rows(expr: &mut Expr) {
    struct Series {
        depth: usize,
    }
    impl VisitorMut for Series {
        type Break = ();

        fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if self.depth == 0 {
                one_as_rows(expr);
            }
            ControlFlow::Continue(())
        }
    }
    let _ = expr.visit(&mut Series { depth: 0 });
}

fn one_as_rows(expr: &mut Expr) {
    let Expr::Function(function) = expr else { return };
    strip_schema(&mut function.name);
    if is_named(&function.name, SERIES) {
        if let FunctionArguments::List(list) = &mut function.args {
            with_moments(&mut list.args);
        }
        let are_integers = matches!(&function.args, FunctionArguments::List(list)
            if list.args.iter().all(|argument| plain(argument).is_some_and(is_integer)));
        let rows = call("unnest", vec![take(expr)]);
        *expr = if are_integers { cast(rows, DataType::Integer(None)) } else { rows };
    }
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)))
}

fn is_date(expr: &Expr) -> bool {
    match expr {
        Expr::Cast { data_type, .. } => *data_type == DataType::Date,
        Expr::TypedString(typed) => typed.data_type == DataType::Date,
        _ => false,
    }
}

/// The type of an argument that says it is a time.
fn moment_of(expr: &Expr) -> Option<DataType> {
    let kind = match expr {
        Expr::Cast { data_type, .. } => data_type,
        Expr::TypedString(typed) => &typed.data_type,
        _ => return None,
    };
    match kind {
        DataType::Timestamp(..) => Some(kind.clone()),
        // A series of dates is one of instants.
        DataType::Date => Some(DataType::Timestamp(None, TimezoneInfo::WithTimeZone)),
        _ => None,
    }
}

fn plain(argument: &FunctionArg) -> Option<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

fn is_whole(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(value.value, Value::Number(..)),
        Expr::Function(function) => !OF_MOMENTS.contains(&name_of(function).as_str()),
        Expr::Cast { data_type, .. } => {
            matches!(data_type, DataType::Int(_) | DataType::Integer(_) | DataType::SmallInt(_))
                || is_custom(data_type, |name| name.contains("int"))
        }
        _ => false,
    }
}

fn is_custom(kind: &DataType, is: impl Fn(&str) -> bool) -> bool {
    let last = |name: &ObjectName| {
        name.0.last().and_then(ObjectNamePart::as_ident).map(|name| name.value.to_ascii_lowercase())
    };
    matches!(kind, DataType::Custom(name, _) if last(name).is_some_and(|name| is(&name)))
}

/// Functions that give a time or an interval.
const OF_MOMENTS: [&str; 11] = [
    "current_date",
    "current_timestamp",
    "date_trunc",
    "localtimestamp",
    "make_date",
    "make_interval",
    "make_timestamp",
    "now",
    "sluice_interval",
    "to_date",
    "to_timestamp",
];

/// Functions that give an `integer`.
const OF_INTEGERS: [&str; 8] = [
    "length",
    "char_length",
    "character_length",
    "octet_length",
    "array_length",
    "array_lower",
    "array_upper",
    "cardinality",
];

fn is_integer(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_integer(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => is_integer(expr),
        Expr::Value(value) => {
            matches!(&value.value, Value::Number(digits, _) if digits.parse::<i32>().is_ok())
                || value.value == Value::Null
        }
        Expr::Function(function) => OF_INTEGERS.contains(&name_of(function).as_str()),
        Expr::Cast { data_type, .. } => {
            matches!(
                data_type,
                DataType::Int(_)
                    | DataType::Integer(_)
                    | DataType::Int4(_)
                    | DataType::SmallInt(_)
                    | DataType::Int2(_)
            ) || is_custom(data_type, |name| matches!(name, "int4" | "int2"))
        }
        _ => false,
    }
}

fn is_widened_integer(expr: &Expr) -> bool {
    match expr {
        Expr::Cast { expr, data_type, .. } if *data_type == WIDENED => is_integer(expr),
        other => is_integer(other),
    }
}
