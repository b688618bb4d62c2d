//! `generate_series` and `unnest` as tables: their columns are named after them, and a series of `integer`s is of `integer`s. The
//! planner's series are of 64 bits, in a column `value`.

use std::ops::ControlFlow;

use sqlparser::ast::{
    DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart,
    Query, TableAlias, TableAliasColumnDef, TableFactor, TimezoneInfo, UnaryOperator, Value, VisitMut,
    VisitorMut,
};

use super::calls::name_of;
use super::{REPEATED, call, cast, is_named, strip_schema, take};

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

/// Puts a series of `integer`s in the place of one that was made of them.
pub fn narrow(factor: &mut TableFactor) {
    let TableFactor::Table { name, args: Some(args), alias: Some(alias), .. } = &*factor else { return };
    let [column] = alias.columns.as_slice() else { return };
    if !is_named(name, SERIES) || !args.args.iter().all(|arg| plain(arg).is_some_and(is_widened_integer)) {
        return;
    }
    let (alias, column) = (alias.clone(), &column.name);
    let text = format!("SELECT CAST({column} AS INTEGER) AS {column} FROM {factor}");
    let dialect = crate::sql::grammar::Grammar;
    let parsed = sqlparser::parser::Parser::new(&dialect).try_with_sql(&text);
    if let Ok(subquery) = parsed.and_then(|mut parser| parser.parse_query()) {
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
