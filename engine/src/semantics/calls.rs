//! Aggregates and window functions: what depends on the types of their arguments.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{AggregateFunction, Case, WindowFunction};
use datafusion::logical_expr::type_coercion::binary::type_union_resolution;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition, cast, lit,
};
use datafusion::optimizer::AnalyzerRule;

use super::{changed, instants, numbers, unknowns};
use crate::Error;
use crate::casts::{Kind, have_common};
use crate::functions::gathering;
use crate::functions::instants::is_negative_interval;
use crate::functions::lists::type_name;
use crate::functions::no_such_arguments;
use crate::sqlstate::SqlState;

/// Gives calls their meaning, before types are coerced.
pub fn meant(expr: Expr, schema: &DFSchema, options: &Arc<ConfigOptions>) -> Result<Transformed<Expr>> {
    match expr {
        Expr::AggregateFunction(function) => {
            check_taken(function.func.name(), &function.params.args, schema)?;
            Ok(Transformed::no(Expr::AggregateFunction(function)))
        }
        Expr::WindowFunction(function) => of_window(*function, schema, options),
        Expr::ScalarFunction(call) => {
            check_scalar(call.func.name(), &call.args, schema)?;
            Ok(Transformed::no(Expr::ScalarFunction(call)))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Refuses aggregates in subqueries that are of columns of an outer query alone: PostgreSQL computes them over the rows of that
/// query. It comes before subqueries are made joins of, whose columns are all their own.
#[derive(Debug)]
pub struct OuterAggregates;

impl AnalyzerRule for OuterAggregates {
    fn name(&self) -> &str {
        "outer_aggregates"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.apply_with_subqueries(|part| {
            if let LogicalPlan::Aggregate(aggregate) = part {
                let own = aggregate.input.schema();
                aggregate.aggr_expr.iter().try_for_each(|expr| check_own(expr, own))?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(plan)
    }
}

/// `own` are the columns of the query that the aggregate stands in.
fn check_own(expr: &Expr, own: &DFSchema) -> Result<()> {
    expr.apply(|part| {
        if let Expr::AggregateFunction(AggregateFunction { params, .. }) = part {
            let parts = || params.args.iter().chain(params.filter.as_deref());
            let (mut has_own, mut has_outer) = (false, false);
            for part in parts() {
                has_own |= !part.column_refs().is_empty();
                has_outer |= part.contains_outer();
                // What subqueries in it take of around them is its own, or of further out.
                part.apply(|part| {
                    let taken = match part {
                        Expr::ScalarSubquery(subquery) => &subquery.outer_ref_columns,
                        Expr::Exists(exists) => &exists.subquery.outer_ref_columns,
                        Expr::InSubquery(within) => &within.subquery.outer_ref_columns,
                        Expr::SetComparison(comparison) => &comparison.subquery.outer_ref_columns,
                        _ => return Ok(TreeNodeRecursion::Continue),
                    };
                    for column in taken {
                        let is_own = matches!(column, Expr::OuterReferenceColumn(_, column)
                            if own.is_column_from_schema(column));
                        (has_own, has_outer) = (has_own | is_own, has_outer | !is_own);
                    }
                    Ok(TreeNodeRecursion::Continue)
                })?;
            }
            if has_outer && !has_own {
                return Err(DataFusionError::NotImplemented(OUTER.to_owned()));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

const OUTER: &str = "an aggregate of columns of an outer query alone is not supported in a subquery: compute it in the outer \
                     query, to which it belongs";

/// Functions whose first arguments are texts: DataFusion's take the text of anything.
const OF_TEXTS: [(&str, usize); 13] = [
    ("character_length", 1),
    ("concat_ws", 1),
    ("current_setting", 1),
    ("format", 1),
    ("left", 1),
    ("lpad", 1),
    ("parse_ident", 1),
    ("quote_ident", 1),
    ("regexp_instr", 2),
    ("reverse", 1),
    ("right", 1),
    ("rpad", 1),
    ("string_agg", 2),
];

fn kind_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    match expr.get_type(schema).ok()? {
        DataType::Dictionary(_, kind) => Some(*kind),
        kind => Some(kind),
    }
}

fn is_binary(kind: &DataType) -> bool {
    matches!(kind, DataType::Binary | DataType::BinaryView | DataType::FixedSizeBinary(_))
}

/// What DataFusion's functions of the name take and PostgreSQL's do not.
fn check_scalar(name: &str, args: &[Expr], schema: &DFSchema) -> Result<()> {
    check_texts(name, args, schema)?;
    let is_any =
        |of: fn(&DataType) -> bool| args.iter().any(|arg| kind_of(arg, schema).is_some_and(|kind| of(&kind)));
    match name {
        // Only decimals have a logarithm of another base.
        "log" if args.len() == 2 && is_any(DataType::is_floating) => Err(no_such_arguments(name)),
        "sha224" | "sha256" | "sha384" | "sha512" if !is_any(is_binary) => Err(no_such_arguments(name)),
        "overlay" | "concat" if is_any(is_binary) => {
            Err(DataFusionError::NotImplemented(format!("{name} of bytea is not supported")))
        }
        _ => Ok(()),
    }
}

fn check_texts(name: &str, args: &[Expr], schema: &DFSchema) -> Result<()> {
    let Some((_, count)) = OF_TEXTS.iter().find(|(known, _)| *known == name) else { return Ok(()) };
    let is_text = |arg: &Expr| {
        kind_of(arg, schema).is_none_or(|kind| kind.is_string() || kind.is_null())
            || (name == "character_length" && kind_of(arg, schema).is_some_and(|kind| is_binary(&kind)))
    };
    if args.iter().take(*count).all(is_text) {
        return Ok(());
    }
    Err(no_such_arguments(if name == "character_length" { "length" } else { name }))
}

/// DataFusion's take more than PostgreSQL's.
fn check_taken(name: &str, args: &[Expr], schema: &DFSchema) -> Result<()> {
    check_texts(name, args, schema)?;
    let is_taken = match name {
        "count" => args.len() <= 1,
        "min" | "max" | "sluice_interval_min" | "sluice_interval_max" => {
            let kind = args.first().and_then(|arg| arg.get_type(schema).ok());
            !matches!(kind, Some(DataType::Boolean | DataType::Binary | DataType::BinaryView))
        }
        _ => true,
    };
    if is_taken { Ok(()) } else { Err(no_such_arguments(name.trim_start_matches("sluice_interval_"))) }
}

fn of_window(
    mut function: WindowFunction,
    schema: &DFSchema,
    options: &Arc<ConfigOptions>,
) -> Result<Transformed<Expr>> {
    let name = function.fun.name().to_owned();
    check_taken(&name, &function.params.args, schema)?;
    let is_ranged = ranged(&mut function, schema)?;
    let has_default = matches!(name.as_str(), "lag" | "lead")
        && with_default(&name, &mut function.params.args, schema, options)?;
    let windowed = gathering::in_window(&name);
    let is_changed = is_ranged || has_default || windowed.is_some();
    if let Some(windowed) = windowed {
        function.fun = WindowFunctionDefinition::AggregateUDF(windowed);
    }
    Ok(changed(Expr::WindowFunction(Box::new(function)), is_changed))
}

/// The offsets of a frame, as they are written.
fn offsets(frame: &WindowFrame) -> impl Iterator<Item = &ScalarValue> {
    [&frame.start_bound, &frame.end_bound].into_iter().filter_map(|bound| match bound {
        WindowFrameBound::Preceding(offset) | WindowFrameBound::Following(offset) if !offset.is_null() => {
            Some(offset)
        }
        _ => None,
    })
}

/// What the key of a range by an offset becomes, so that the offset does not lead out of it. Refuses ranges over what has no
/// such distances, by PostgreSQL's `in_range` functions.
fn ranged(function: &mut WindowFunction, schema: &DFSchema) -> Result<bool> {
    let frame = &function.params.window_frame;
    if frame.units != WindowFrameUnits::Range || offsets(frame).next().is_none() {
        return Ok(false);
    }
    let Some(key) = function.params.order_by.first_mut().map(|key| &mut key.expr) else { return Ok(false) };
    let Ok(kind) = key.get_type(schema) else { return Ok(false) };
    let mut wider = None;
    for offset in offsets(frame) {
        let text = offset.to_string();
        let is_number = text.parse::<f64>().is_ok();
        let whole = text.parse::<i64>().ok();
        let refuse = |offset_type: &str| {
            Err(DataFusionError::NotImplemented(format!(
                "RANGE with offset PRECEDING/FOLLOWING is not supported for column type {} and offset type {offset_type}",
                type_name(&kind)
            )))
        };
        if !is_number && kind.is_temporal() && is_negative_interval(&text) {
            let message = "invalid preceding or following size in window function".to_owned();
            let error = Error::Stamped { sqlstate: SqlState::from_text("22013"), message };
            return Err(DataFusionError::Plan(error.to_stamp()));
        }
        match (&kind, whole) {
            (kind, Some(offset)) if kind.is_integer() => {
                let is_small = i32::try_from(offset).is_ok() && kind != &DataType::Int64;
                let room = if is_small { DataType::Int64 } else { DataType::Decimal128(38, 0) };
                wider = match wider {
                    Some(DataType::Decimal128(..)) => wider,
                    _ => Some(room),
                };
            }
            (kind, _) if kind.is_integer() => return refuse(if is_number { "numeric" } else { "interval" }),
            (kind, _) if kind.is_numeric() && !is_number => return refuse("interval"),
            (DataType::Time32(_) | DataType::Time64(_), _) => return refuse("interval"),
            (kind, _) if kind.is_temporal() && is_number => return refuse("integer"),
            (kind, _) if kind.is_numeric() || kind.is_temporal() || kind.is_null() => {}
            _ => return refuse(if is_number { "integer" } else { "unknown" }),
        }
    }
    if matches!(kind, DataType::Date32 | DataType::Timestamp(..)) {
        *key = instants::finite(std::mem::take(key));
        return Ok(true);
    }
    let Some(wider) = wider.filter(|wider| *wider != kind) else { return Ok(false) };
    *key = cast(std::mem::take(key), wider);
    Ok(true)
}

/// `lag(a, 1, b)` has the type that both have in common, as the results of a CASE do.
fn with_default(
    name: &str,
    args: &mut [Expr],
    schema: &DFSchema,
    options: &Arc<ConfigOptions>,
) -> Result<bool> {
    let [value, _, default] = args else { return Ok(false) };
    let is_literal =
        |expr: &Expr| matches!(expr, Expr::Literal(literal, _) if literal.data_type().is_string());
    let kinds =
        [&*value, &*default].map(|part| part.get_type(schema).map_or(Kind::Other, |kind| Kind::of(&kind)));
    if !is_literal(value) && !is_literal(default) && !have_common(kinds) {
        return Err(no_such_arguments(name));
    }
    if let Some(read) = instants::beside(default, &[value.get_type(schema)?], schema, options)?
        .filter(|_| is_literal(default))
    {
        *default = read;
        return Ok(true);
    }
    // A literal of an `integer` is told as a `bigint` here.
    let is_small = |kind: &DataType| matches!(kind, DataType::Int8 | DataType::Int16 | DataType::Int32);
    if value.get_type(schema).is_ok_and(|kind| is_small(&kind)) && is_integer(default) {
        *default = cast(std::mem::take(default), DataType::Int32);
    }
    let both = Expr::Case(Case {
        expr: None,
        when_then_expr: vec![(Box::new(lit(true)), Box::new(value.clone()))],
        else_expr: Some(Box::new(default.clone())),
    });
    let meant = unknowns::known(both, schema)?.transform_data(|both| numbers::meant(both, schema))?;
    if let Expr::Case(Case { mut when_then_expr, else_expr: Some(other), .. }) = meant.data
        && let Some((_, then)) = when_then_expr.pop()
    {
        (*value, *default) = (*then, *other);
    }
    let (Ok(own), Ok(other)) = (value.get_type(schema), default.get_type(schema)) else {
        return Ok(meant.transformed);
    };
    let is_unknown = is_literal(default);
    if !is_unknown && instants::in_common([&mut *value, &mut *default], schema, options)? {
        return Ok(true);
    }
    let target = match (&own, &other) {
        (own, other) if own == other || is_unknown || other.is_null() => return Ok(meant.transformed),
        (own, other) => match type_union_resolution(&[own.clone(), other.clone()]) {
            Some(target) => target,
            None => return Ok(meant.transformed),
        },
    };
    if own != target {
        *value = cast(std::mem::take(value), target.clone());
    }
    if other != target {
        // The planner wants a literal.
        *default = match std::mem::take(default) {
            Expr::Literal(literal, _) => Expr::Literal(literal.cast_to(&target)?, None),
            other => cast(other, target),
        };
    }
    Ok(true)
}

/// True for a literal that is an `integer`.
fn is_integer(expr: &Expr) -> bool {
    numbers::whole_literal(expr).is_some_and(|value| i32::try_from(value).is_ok())
}
