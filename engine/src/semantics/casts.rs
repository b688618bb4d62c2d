//! Casts that PostgreSQL lacks are refused, with functions and operators whose arguments would need one: a number never
//! becomes a text unless the statement says so. Texts and bytes become each other by what `bytea` prints.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, Like, Operator, lit};

use super::changed;
use super::numbers::whole_literal;
use crate::casts::{Context, Kind, have_common, is_cast, name};
use crate::functions::bytes;
use crate::functions::lists;
use crate::sqlstate::SqlState;
use crate::{Error, functions};

/// Gives `expr` its meaning, before types are coerced.
pub fn meant(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Cast(cast) => of_cast(cast, schema),
        Expr::ScalarFunction(call) => of_call(call, schema),
        Expr::AggregateFunction(function) => {
            check_aggregate(function.func.name(), &function.params.args, schema)?;
            Ok(Transformed::no(Expr::AggregateFunction(function)))
        }
        Expr::WindowFunction(function) => {
            check_aggregate(function.fun.name(), &function.params.args, schema)?;
            Ok(Transformed::no(Expr::WindowFunction(function)))
        }
        Expr::Case(case) => {
            let thens = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
            check_common("CASE", thens.chain(case.else_expr.as_deref()), schema)?;
            Ok(Transformed::no(Expr::Case(case)))
        }
        Expr::Like(like) => {
            check_like(&like, schema)?;
            Ok(Transformed::no(Expr::Like(like)))
        }
        Expr::BinaryExpr(binary) => of_operator(binary, schema),
        other => Ok(Transformed::no(other)),
    }
}

fn as_text(cast: Cast) -> Expr {
    let Cast { expr, field } = cast;
    let text = bytes::shown(*expr);
    match field.data_type() {
        DataType::Utf8 => text,
        _ => Expr::Cast(Cast { expr: Box::new(text), field }),
    }
}

fn of_cast(cast: Cast, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Some(from) = type_of(&cast.expr, schema) else { return Ok(Transformed::no(Expr::Cast(cast))) };
    let to = cast.field.data_type();
    if !is_cast(&from, to, Context::Explicit) {
        let message = format!("cannot cast type {} to {}", name(&from), name(to));
        return Err(refused("42846", message));
    }
    Ok(match (Kind::of(&from), Kind::of(to)) {
        (Kind::Bytea, Kind::Text) => Transformed::yes(as_text(cast)),
        (Kind::Text, Kind::Bytea) => Transformed::yes(read(*cast.expr)?),
        _ => Transformed::no(Expr::Cast(cast)),
    })
}

/// A text as bytes; what a literal says is read at once, so that the statement is refused where it says nothing.
fn read(expr: Expr) -> Result<Expr> {
    match literal(&expr) {
        Some(text) => Ok(Expr::Literal(ScalarValue::Binary(Some(bytes::bytes_of(text)?)), None)),
        None => Ok(bytes::read(expr)),
    }
}

/// A literal in quotes, which has no type of its own.
fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    }
}

/// The type of an expression, where whole numbers that fit are `integer`. `None` for literals in quotes and NULL.
fn known_type(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    if literal(expr).is_some() { None } else { type_of(expr, schema).filter(|kind| !kind.is_null()) }
}

fn type_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    let is_bare = matches!(expr, Expr::Literal(..) | Expr::Negative(_));
    match whole_literal(expr).filter(|_| is_bare) {
        Some(value) if i32::try_from(value).is_ok() => Some(DataType::Int32),
        _ => expr.get_type(schema).ok(),
    }
}

fn kind_of(expr: &Expr, schema: &DFSchema) -> Kind {
    type_of(expr, schema).map_or(Kind::Other, |kind| Kind::of(&kind))
}

/// Functions that take values of any type, in PostgreSQL or as DataFusion's own.
const TAKE_ANY: [&str; 12] = [
    "concat",
    "concat_ws",
    "format",
    "quote_literal",
    "quote_nullable",
    "arrow_cast",
    "arrow_try_cast",
    "arrow_typeof",
    "nullif",
    "nvl",
    "ifnull",
    "nvl2",
];

/// Functions whose first argument is a `bytea`.
const OF_BYTES: [&str; 8] =
    ["encode", "convert_from", "get_byte", "set_byte", "sha224", "sha256", "sha384", "sha512"];

fn of_call(mut call: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let function = call.func.name();
    if ["coalesce", "greatest", "least"].contains(&function) {
        check_common(&function.to_ascii_uppercase(), call.args.iter(), schema)?;
        return Ok(Transformed::no(Expr::ScalarFunction(call)));
    }
    if ["concat", "concat_ws"].contains(&function) {
        let mut is_changed = false;
        for arg in &mut call.args {
            if kind_of(arg, schema) == Kind::Bytea {
                *arg = bytes::shown(std::mem::take(arg));
                is_changed = true;
            }
        }
        return Ok(changed(Expr::ScalarFunction(call), is_changed));
    }
    if OF_BYTES.contains(&function)
        && let Some(first) = call.args.first_mut()
    {
        if literal(first).is_some() {
            *first = read(std::mem::take(first))?;
            return Ok(Transformed::yes(Expr::ScalarFunction(call)));
        }
        if kind_of(first, schema) == Kind::Text {
            let types: Vec<DataType> =
                call.args.iter().map(|arg| known_type(arg, schema).unwrap_or(DataType::Null)).collect();
            return Err(no_such_function(call.func.name(), &types));
        }
    }
    if let [of_bytes] = call.args.as_slice()
        && ["character_length", "octet_length"].contains(&function)
        && kind_of(of_bytes, schema) == Kind::Bytea
    {
        return Ok(Transformed::yes(length_of_bytes(call)));
    }
    let is_ours = function.starts_with("sluice_") || function.starts_with("pg_");
    if !is_ours && !TAKE_ANY.contains(&function) {
        check_texts(&call, schema)?;
    }
    Ok(Transformed::no(Expr::ScalarFunction(call)))
}

/// How many bytes there are: each has two letters behind the `\\x`.
fn length_of_bytes(call: ScalarFunction) -> Expr {
    let ScalarFunction { func, args } = call;
    let args = args.into_iter().map(bytes::shown).collect();
    let letters = Expr::ScalarFunction(ScalarFunction { func, args });
    let of = |left: Expr, op, number: i32| {
        Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(lit(number)) })
    };
    of(of(letters, Operator::Minus, 2), Operator::Divide, 2)
}

/// Functions that take bytes as well as texts.
const TAKE_BYTES: [&str; 8] = ["bit_length", "md5", "substr", "btrim", "ltrim", "rtrim", "strpos", "overlay"];

/// Refuses a call whose arguments would become texts.
fn check_texts(call: &ScalarFunction, schema: &DFSchema) -> Result<()> {
    let types: Vec<DataType> =
        call.args.iter().map(|arg| known_type(arg, schema).unwrap_or(DataType::Null)).collect();
    let takes_bytes = TAKE_BYTES.contains(&call.func.name());
    let is_never_text = |kind: &DataType| match Kind::of(kind) {
        Kind::Bytea => !takes_bytes,
        kind => !matches!(kind, Kind::Text | Kind::Other),
    };
    if !types.iter().any(is_never_text) {
        return Ok(());
    }
    let mut fields = Vec::with_capacity(call.args.len());
    for arg in &call.args {
        let Ok((_, field)) = arg.to_field(schema) else { return Ok(()) };
        fields.push(field);
    }
    let Ok(coerced) = fields_with_udf(&fields, call.func.as_ref()) else { return Ok(()) };
    let becomes_text = types
        .iter()
        .zip(&coerced)
        .any(|(given, taken)| is_never_text(given) && Kind::of(taken.data_type()) == Kind::Text);
    if becomes_text { Err(no_such_function(called(call.func.name()), &types)) } else { Ok(()) }
}

/// True for what becomes a text only where it is cast to one.
fn is_never_text(kind: &DataType) -> bool {
    !matches!(Kind::of(kind), Kind::Text | Kind::Array | Kind::Other)
}

/// PostgreSQL's name of a function that has another one in the planner.
fn called(function: &str) -> &str {
    match function {
        "character_length" => "length",
        other => other,
    }
}

fn no_such_function(function: &str, types: &[DataType]) -> DataFusionError {
    let types: Vec<String> = types.iter().map(name).collect();
    refused("42883", format!("function {function}({}) does not exist", types.join(", ")))
}

/// Refuses aggregates of values that they do not take, and that the planner would have cast.
fn check_aggregate(function: &str, args: &[Expr], schema: &DFSchema) -> Result<()> {
    let Some(first) = args.first() else { return Ok(()) };
    let Some(given) = known_type(first, schema) else { return Ok(()) };
    let kind = Kind::of(&given);
    let is_refused = match function {
        "string_agg" => {
            let second = args.get(1).and_then(|arg| known_type(arg, schema)).map(|kind| Kind::of(&kind));
            if kind == Kind::Bytea {
                return Err(refused("0A000", "string_agg of bytea is not supported".to_owned()));
            }
            let fits = |kind: Kind| matches!(kind, Kind::Text | Kind::Other);
            !fits(kind) || second.is_some_and(|kind| !fits(kind))
        }
        "sum" | "avg" | "stddev" | "stddev_samp" | "stddev_pop" | "var" | "var_samp" | "var_pop" => {
            matches!(
                kind,
                Kind::Bool | Kind::Text | Kind::Bytea | Kind::Date | Kind::Timestamp | Kind::Instant
            )
        }
        "min" | "max" => matches!(kind, Kind::Bool | Kind::Bytea),
        "bool_and" | "bool_or" => !matches!(kind, Kind::Bool | Kind::Other),
        _ => false,
    };
    if !is_refused {
        return Ok(());
    }
    let types: Vec<DataType> =
        args.iter().map(|arg| known_type(arg, schema).unwrap_or(DataType::Null)).collect();
    Err(no_such_function(function, &types))
}

/// Refuses values of types that have no common one.
fn check_common<'a>(construct: &str, parts: impl Iterator<Item = &'a Expr>, schema: &DFSchema) -> Result<()> {
    let types: Vec<DataType> = parts.filter_map(|part| known_type(part, schema)).collect();
    // Arrays of texts are no arrays of something else.
    let is_of_texts = |kind: &DataType| lists::depth(kind) > 0 && lists::leaf_of(kind).is_string();
    let is_of_others = |kind: &DataType| {
        let leaf = lists::leaf_of(kind);
        lists::depth(kind) > 0 && !leaf.is_string() && !leaf.is_null()
    };
    if let (Some(texts), Some(others)) =
        (types.iter().find(|kind| is_of_texts(kind)), types.iter().find(|kind| is_of_others(kind)))
    {
        let message = format!("{construct} could not convert type {} to {}", name(texts), name(others));
        return Err(refused("42846", message));
    }
    if have_common(types.iter().map(Kind::of)) {
        return Ok(());
    }
    let Some(first) = types.first() else { return Ok(()) };
    let other = types.iter().find(|kind| !have_common([Kind::of(first), Kind::of(kind)]));
    let other = other.unwrap_or(first);
    let message = format!("{construct} types {} and {} cannot be matched", name(first), name(other));
    Err(refused("42804", message))
}

fn check_like(like: &Like, schema: &DFSchema) -> Result<()> {
    let symbol = match (like.case_insensitive, like.negated) {
        (false, false) => "~~",
        (false, true) => "!~~",
        (true, false) => "~~*",
        (true, true) => "!~~*",
    };
    check_text_operator(symbol, &like.expr, &like.pattern, schema)
}

fn of_operator(binary: BinaryExpr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match binary.op {
        Operator::RegexMatch => check_text_operator("~", &binary.left, &binary.right, schema)?,
        Operator::RegexNotMatch => check_text_operator("!~", &binary.left, &binary.right, schema)?,
        Operator::RegexIMatch => check_text_operator("~*", &binary.left, &binary.right, schema)?,
        Operator::RegexNotIMatch => check_text_operator("!~*", &binary.left, &binary.right, schema)?,
        Operator::StringConcat => return joined(binary, schema),
        _ => {}
    }
    Ok(Transformed::no(Expr::BinaryExpr(binary)))
}

/// The same before the planner looks for a type of its own. `symbol` is `||`, `~`, or one of its kin.
pub(super) fn check_operator(symbol: &str, left: &Expr, right: &Expr, schema: &DFSchema) -> Result<()> {
    if symbol != "||" {
        return check_text_operator(symbol, left, right, schema);
    }
    if matches!(left, Expr::BinaryExpr(_)) {
        return Ok(());
    }
    let types = [left, right].map(|side| known_type(side, schema).unwrap_or(DataType::Null));
    let are_bytes = types.iter().any(|kind| Kind::of(kind) == Kind::Bytea);
    match types.iter().all(is_never_text) && !are_bytes {
        true => Err(no_such_operator(symbol, &types)),
        false => Ok(()),
    }
}

/// Refuses an operator of texts between others.
fn check_text_operator(symbol: &str, left: &Expr, right: &Expr, schema: &DFSchema) -> Result<()> {
    let types = [left, right].map(|side| known_type(side, schema).unwrap_or(DataType::Null));
    let are_bytes = types.iter().any(|kind| Kind::of(kind) == Kind::Bytea);
    if are_bytes || !types.iter().any(is_never_text) {
        return Ok(());
    }
    Err(no_such_operator(symbol, &types))
}

fn no_such_operator(symbol: &str, [left, right]: &[DataType; 2]) -> DataFusionError {
    refused("42883", format!("operator does not exist: {} {symbol} {}", name(left), name(right)))
}

/// `||` takes a text on one side at least, or bytes on both.
fn joined(binary: BinaryExpr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let BinaryExpr { mut left, op, mut right } = binary;
    // Chains are as deep as they are long: what is one already is a text.
    let is_chain = |side: &Expr| {
        matches!(side, Expr::BinaryExpr(inner) if inner.op == Operator::StringConcat)
            || matches!(side, Expr::ScalarFunction(call) if functions::concatenation::is_ours(&call.func))
    };
    if is_chain(&left) {
        return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
    }
    let types = [&left, &right].map(|side| known_type(side, schema).unwrap_or(DataType::Null));
    let kinds = [Kind::of(&types[0]), Kind::of(&types[1])];
    let mut is_changed = false;
    if kinds.contains(&Kind::Bytea) {
        for side in [&mut left, &mut right] {
            if literal(side).is_some() {
                **side = read(std::mem::take(side.as_mut()))?;
                is_changed = true;
            } else if kinds.contains(&Kind::Text) && kind_of(side, schema) == Kind::Bytea {
                **side = bytes::shown(std::mem::take(side.as_mut()));
                is_changed = true;
            }
        }
    } else if is_never_text(&types[0]) && is_never_text(&types[1]) {
        return Err(no_such_operator("||", &types));
    }
    Ok(changed(Expr::BinaryExpr(BinaryExpr { left, op, right }), is_changed))
}

fn refused(sqlstate: &str, message: String) -> DataFusionError {
    let error = Error::Stamped { sqlstate: SqlState::from_text(sqlstate), message };
    DataFusionError::Plan(error.to_stamp())
}
