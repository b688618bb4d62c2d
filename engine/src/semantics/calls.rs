//! Aggregates and window functions: what depends on the types of their arguments.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction};
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, WindowFrame, WindowFrameBound, WindowFrameUnits, cast,
};
use datafusion::optimizer::AnalyzerRule;

use super::changed;
use crate::functions::lists::type_name;
use crate::functions::no_such_arguments;

/// Gives calls their meaning, before types are coerced.
pub fn meant(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::AggregateFunction(function) => of_aggregate(function, schema),
        Expr::WindowFunction(function) => of_window(*function, schema),
        Expr::ScalarFunction(call) => {
            check_scalar(call.func.name(), &call.args, schema)?;
            Ok(Transformed::no(Expr::ScalarFunction(call)))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn of_aggregate(mut function: AggregateFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let params = &mut function.params;
    check_taken(function.func.name(), &params.args, schema)?;
    let mut is_changed = false;
    // What lies between two singles is a double.
    if function.func.name() == "percentile_cont" {
        let keys = params.order_by.iter_mut().map(|key| &mut key.expr);
        for part in params.args.iter_mut().chain(keys) {
            if part.get_type(schema).is_ok_and(|kind| kind == DataType::Float32) {
                *part = cast(std::mem::take(part), DataType::Float64);
                is_changed = true;
            }
        }
    }
    Ok(changed(Expr::AggregateFunction(function), is_changed))
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
                aggregate.aggr_expr.iter().try_for_each(check_own)?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(plan)
    }
}

fn check_own(expr: &Expr) -> Result<()> {
    expr.apply(|part| {
        if let Expr::AggregateFunction(AggregateFunction { params, .. }) = part {
            let parts = || params.args.iter().chain(params.filter.as_deref());
            if parts().any(Expr::contains_outer) && parts().all(|part| part.column_refs().is_empty()) {
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
    matches!(
        kind,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_)
    )
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

fn of_window(mut function: WindowFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let name = function.fun.name().to_owned();
    check_taken(&name, &function.params.args, schema)?;
    check_range(&function, schema)?;
    let is_changed =
        matches!(name.as_str(), "lag" | "lead") && with_default(&name, &mut function.params.args, schema)?;
    Ok(changed(Expr::WindowFunction(Box::new(function)), is_changed))
}

fn has_offset(frame: &WindowFrame) -> bool {
    [&frame.start_bound, &frame.end_bound].into_iter().any(|bound| match bound {
        WindowFrameBound::Preceding(offset) | WindowFrameBound::Following(offset) => !offset.is_null(),
        WindowFrameBound::CurrentRow => false,
    })
}

/// Refuses ranges by an offset over what has no distances.
fn check_range(function: &WindowFunction, schema: &DFSchema) -> Result<()> {
    let frame = &function.params.window_frame;
    if frame.units != WindowFrameUnits::Range || !has_offset(frame) {
        return Ok(());
    }
    let Some(kind) = function.params.order_by.first().and_then(|key| key.expr.get_type(schema).ok()) else {
        return Ok(());
    };
    if kind.is_numeric() || kind.is_temporal() || kind.is_null() {
        return Ok(());
    }
    Err(DataFusionError::NotImplemented(format!(
        "RANGE with offset PRECEDING/FOLLOWING is not supported for column type {}",
        type_name(&kind)
    )))
}

/// `lag(a, 1, b)` has the type that both have in common.
fn with_default(name: &str, args: &mut [Expr], schema: &DFSchema) -> Result<bool> {
    let [value, _, default] = args else { return Ok(false) };
    let (Ok(own), Ok(other)) = (value.get_type(schema), default.get_type(schema)) else { return Ok(false) };
    if own.is_string() && other.is_numeric() {
        return Err(no_such_arguments(name));
    }
    if !own.is_integer() {
        return Ok(false);
    }
    let common = match other {
        // A literal of an `integer` is told as a `bigint` here.
        DataType::Int64 if matches!(own, DataType::Int8 | DataType::Int16) => DataType::Int32,
        DataType::Decimal128(_, scale) if scale >= 0 => {
            DataType::Decimal128((20 + scale as u8).min(38), scale)
        }
        DataType::Float64 | DataType::Float32 => other,
        _ => return Ok(false),
    };
    *value = cast(std::mem::take(value), common);
    Ok(true)
}
