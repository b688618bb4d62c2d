//! Wide numbers in plans (decision 024): what is computed of them, what they are compared by, and where decimals of several scales
//! become such.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, Case, GroupingSet, ScalarFunction};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, ExprSchemable, LogicalPlan, Operator, Projection, RecursiveQuery,
    WindowFrameBound, WindowFrameUnits,
};

use super::changed;
use super::numbers::whole_literal;
use crate::Error;
use crate::casts::name;
use crate::functions::bounded;
use crate::functions::numbers::wide::{self, Number, calls, decode, is_wide};
use crate::functions::numbers::{conversions, digits};
use crate::sqlstate::SqlState;

/// The type of `expr`; that of NULL where it is not known.
pub(super) fn type_of(expr: &Expr, schema: &DFSchema) -> DataType {
    match expr {
        Expr::Literal(value, _) => value.data_type(),
        Expr::Cast(cast) => cast.field.data_type().clone(),
        other => other.get_type(schema).unwrap_or(DataType::Null),
    }
}

fn has_wide(expr: &Expr, schema: &DFSchema) -> bool {
    is_wide(&type_of(expr, schema))
}

/// Gives `expr` its meaning, before types are coerced, where something in it is wide.
pub(super) fn meant(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::Negative(inner) if has_wide(&inner, schema) => Transformed::yes(calls::negated(*inner)),
        Expr::AggregateFunction(mut function) => {
            let name = function.func.name().to_owned();
            let tells_equals_apart =
                !BY_VALUE.contains(&name.as_str()) && !["min", "max"].contains(&name.as_str());
            if function.params.distinct
                && tells_equals_apart
                && function.params.args.iter().any(|arg| has_wide(arg, schema))
            {
                return Err(DataFusionError::NotImplemented(format!(
                    "{name}(DISTINCT …) of numeric without precision is not supported: cast the numbers to numeric(p,s)"
                )));
            }
            let is_distinct = function.params.distinct;
            let is_changed = of_arguments(&name, &mut function.params.args, is_distinct, schema);
            changed(Expr::AggregateFunction(function), is_changed)
        }
        Expr::WindowFunction(mut function) => {
            let name = function.fun.name().to_owned();
            let params = &mut function.params;
            let mut is_changed = of_arguments(&name, &mut params.args, params.distinct, schema);
            is_changed |= by_keys(params.partition_by.iter_mut(), schema);
            let has_offset = [&params.window_frame.start_bound, &params.window_frame.end_bound]
                .into_iter()
                .any(|bound| matches!(bound, WindowFrameBound::Preceding(offset) | WindowFrameBound::Following(offset) if !offset.is_null()));
            if params.window_frame.units == WindowFrameUnits::Range
                && has_offset
                && params.order_by.iter().any(|key| has_wide(&key.expr, schema))
            {
                return Err(DataFusionError::NotImplemented(
                    "RANGE with offset PRECEDING/FOLLOWING over numeric without precision is not supported: cast the \
                     key to numeric(p,s)"
                        .to_owned(),
                ));
            }
            for key in params.order_by.iter_mut().map(|key| &mut key.expr) {
                if has_wide(key, schema) {
                    *key = calls::letters(std::mem::take(key));
                    is_changed = true;
                }
            }
            changed(Expr::WindowFunction(function), is_changed)
        }
        Expr::ScalarFunction(call) => of_call(call, schema),
        other => Transformed::no(other),
    })
}

/// Aggregates whose value does not show how its arguments are written.
const BY_VALUE: [&str; 8] =
    ["sum", "avg", "var_pop", "var_samp", "stddev", "stddev_pop", "stddev_samp", "count"];
/// Aggregates of two doubles.
const OF_DOUBLES: [&str; 12] = [
    "corr",
    "covar_pop",
    "covar_samp",
    "regr_r2",
    "regr_slope",
    "regr_intercept",
    "regr_avgx",
    "regr_avgy",
    "regr_sxx",
    "regr_syy",
    "regr_sxy",
    "regr_count",
];

fn of_arguments(name: &str, args: &mut [Expr], is_distinct: bool, schema: &DFSchema) -> bool {
    let mut is_changed = false;
    for arg in args {
        let kind = type_of(arg, schema);
        // Sums and variances have as many digits as what they are of.
        let is_by_digits = name == "sum" || name.starts_with("var_") || name.starts_with("stddev");
        if is_by_digits && digits::bare_scale(&kind).is_some() {
            *arg = widened(std::mem::take(arg), &kind);
            is_changed = true;
            continue;
        }
        if !is_wide(&kind) {
            continue;
        }
        let narrowed = if BY_VALUE.contains(&name) { narrowed(arg, schema) } else { None };
        let expr = std::mem::take(arg);
        (*arg, is_changed) = match narrowed {
            Some(narrowed) => (narrowed, true),
            None if OF_DOUBLES.contains(&name) => (conversions::to_double(expr), true),
            None if name == "count" && is_distinct => (calls::key(expr), true),
            None => (expr, is_changed),
        };
    }
    is_changed
}

/// Functions that take numbers as doubles where PostgreSQL's have no `numeric`.
fn of_call(mut call: ScalarFunction, schema: &DFSchema) -> Transformed<Expr> {
    let is_any_wide = call.args.iter().any(|arg| has_wide(arg, schema));
    // The parts of an array become one type below.
    if !is_any_wide || call.func.name() == "make_array" {
        return Transformed::no(Expr::ScalarFunction(call));
    }
    let fields: Option<Vec<_>> =
        call.args.iter().map(|arg| arg.to_field(schema).ok().map(|(_, field)| field)).collect();
    let Some(fields) = fields else { return Transformed::no(Expr::ScalarFunction(call)) };
    if bounded::takes(&call.func, &fields) {
        return Transformed::no(Expr::ScalarFunction(call));
    }
    for arg in &mut call.args {
        if has_wide(arg, schema) {
            *arg = conversions::to_double(std::mem::take(arg));
        }
    }
    Transformed::yes(Expr::ScalarFunction(call))
}

/// Makes keys of those that are wide. True when there are such.
pub(super) fn by_keys<'a>(keys: impl Iterator<Item = &'a mut Expr>, schema: &DFSchema) -> bool {
    let mut is_changed = false;
    for key in keys.filter(|key| has_wide(key, schema)) {
        *key = calls::key(std::mem::take(key));
        is_changed = true;
    }
    is_changed
}

/// `expr`, a number of the type `kind`, as a wide one.
pub(super) fn widened(expr: Expr, kind: &DataType) -> Expr {
    if is_wide(kind) {
        return expr;
    }
    if let Some(ScalarValue::Decimal128(Some(value), _, scale)) = conversions::literal(&expr) {
        return Expr::Literal(wide::scalar(Some(&Number::of_decimal(value, scale))), None);
    }
    match whole_literal(&expr) {
        Some(value) => Expr::Literal(wide::scalar(Some(&Number::of_whole(i128::from(value)))), None),
        None => calls::widened(expr),
    }
}

/// The number that was made wide.
fn narrow(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Literal(value, _) if value.is_null() => Some(Expr::Literal(ScalarValue::Null, None)),
        Expr::Literal(ScalarValue::LargeBinary(Some(bytes)), _) => {
            let literal = wide::literal(&decode(bytes));
            (!is_wide(&literal.data_type())).then_some(Expr::Literal(literal, None))
        }
        other => calls::narrow(other).cloned(),
    }
}

/// `expr` without what makes it wide, where that is for its look alone: the results of a CASE, and the like, that are decimals of
/// several scales.
pub(super) fn narrowed(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    match expr {
        Expr::Case(case) => {
            let mut case: Case = case.clone();
            let thens = case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut());
            narrow_all(thens.chain(case.else_expr.as_deref_mut()), schema)?;
            Some(Expr::Case(case))
        }
        Expr::ScalarFunction(call)
            if matches!(call.func.name(), "coalesce" | "nvl" | "ifnull" | "greatest" | "least") =>
        {
            let mut call = call.clone();
            narrow_all(call.args.iter_mut(), schema)?;
            Some(Expr::ScalarFunction(call))
        }
        other => narrow(other),
    }
}

pub(super) fn narrow_all<'a>(parts: impl Iterator<Item = &'a mut Expr>, schema: &DFSchema) -> Option<()> {
    const DIGITS: i32 = digits::DIGITS_MAX as i32;
    let (mut whole, mut scale) = (0, 0);
    for part in parts {
        *part = narrow(part)?;
        let (part_whole, part_scale) = match type_of(part, schema) {
            DataType::Decimal128(precision, scale) => {
                (i32::from(precision) - i32::from(scale), i32::from(scale))
            }
            kind if kind.is_integer() => (20, 0),
            kind if kind.is_null() => (0, 0),
            _ => return None,
        };
        (whole, scale) = (whole.max(part_whole), scale.max(part_scale));
    }
    (whole + scale <= DIGITS).then_some(())
}

/// What a number is, as far as its scale is known.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Look {
    Scale(i8),
    Bare,
    Wide,
    Long,
    Whole,
}

fn look(kind: &DataType) -> Option<Look> {
    Some(match kind {
        kind if digits::bare_scale(kind).is_some() => Look::Bare,
        kind if is_wide(kind) => Look::Wide,
        DataType::Decimal256(..) => Look::Long,
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => {
            Look::Scale(*scale)
        }
        kind if kind.is_integer() => Look::Whole,
        _ => return None,
    })
}

/// True for numbers that have no scale in common and no type but a wide one.
pub(super) fn are_mixed(kinds: &[DataType]) -> bool {
    let mut looks = Vec::with_capacity(kinds.len());
    for kind in kinds.iter().filter(|kind| !kind.is_null()) {
        let Some(look) = look(kind) else { return false };
        if !looks.contains(&look) {
            looks.push(look);
        }
    }
    if looks.iter().all(|look| matches!(look, Look::Whole | Look::Scale(0))) {
        return false;
    }
    looks.len() > 1
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.is_null())
}

/// Makes `parts` wide that become values of one type, where they are decimals of several scales. True when they are.
pub(super) fn mixed(parts: &mut [&mut Expr], schema: &DFSchema) -> bool {
    let kinds: Vec<DataType> =
        parts.iter().map(|part| if is_null(part) { DataType::Null } else { type_of(part, schema) }).collect();
    let are_mixed = are_mixed(&kinds);
    // A null of no type has none in common with bytes.
    let becomes_wide = are_mixed || kinds.iter().any(is_wide);
    let mut is_changed = false;
    for (part, kind) in parts.iter_mut().zip(&kinds) {
        if kind.is_null() {
            let null = match becomes_wide {
                true => wide::scalar(None),
                false => ScalarValue::Null,
            };
            if becomes_wide != has_wide(part, schema) {
                **part = Expr::Literal(null, None);
                is_changed = true;
            }
        } else if are_mixed && !is_wide(kind) {
            **part = widened(std::mem::take(*part), kind);
            is_changed = true;
        }
    }
    is_changed
}

/// Two exact numbers under an operator, where one of them or the result is wide.
pub(super) fn pair(
    (left, left_kind): (&Expr, &DataType),
    op: Operator,
    (right, right_kind): (&Expr, &DataType),
    schema: &DFSchema,
) -> Option<Expr> {
    let is_any = |is: fn(&DataType) -> bool| is(left_kind) || is(right_kind);
    if super::compares(op) {
        return is_any(is_wide).then(|| compared((left, left_kind), op, (right, right_kind), schema));
    }
    if let Some(long) = calls::long_result(left, op, right) {
        return Some(long);
    }
    let is_of_wide = is_any(|kind| is_wide(kind) || digits::bare_scale(kind).is_some());
    if !is_of_wide && op != Operator::Divide && !(op == Operator::Multiply && is_long(left_kind, right_kind))
    {
        return None;
    }
    calls::computed(left, op, right)
}

/// True for products that no decimal holds, or that would be taken for a `numeric` without precision.
pub(super) fn is_long(left: &DataType, right: &DataType) -> bool {
    let (DataType::Decimal128(precision, scale), DataType::Decimal128(other_precision, other_scale)) =
        (left, right)
    else {
        return false;
    };
    let scale = scale.saturating_add(*other_scale);
    let product =
        DataType::Decimal128(precision.saturating_add(*other_precision).saturating_add(1).min(38), scale);
    scale > 38 || digits::bare_scale(&product).is_some()
}

fn compared(
    (left, left_kind): (&Expr, &DataType),
    op: Operator,
    (right, right_kind): (&Expr, &DataType),
    schema: &DFSchema,
) -> Expr {
    let plain = |expr: &Expr, kind: &DataType| match is_wide(kind).then(|| narrowed(expr, schema)).flatten() {
        Some(narrowed) => {
            let kind = type_of(&narrowed, schema);
            (narrowed, kind)
        }
        None => (expr.clone(), kind.clone()),
    };
    let ((mut left, left_kind), (mut right, right_kind)) = (plain(left, left_kind), plain(right, right_kind));
    if is_wide(&left_kind) || is_wide(&right_kind) {
        left = calls::key(widened(left, &left_kind));
        right = calls::key(widened(right, &right_kind));
    }
    Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(right) })
}

/// Both sides as keys, where one of two exact numbers is wide.
pub(super) fn keys_of(
    (left, left_kind): (&Expr, &DataType),
    (right, right_kind): (&Expr, &DataType),
) -> Option<(Expr, Expr)> {
    if !is_wide(left_kind) && !is_wide(right_kind) {
        return None;
    }
    let are_numbers = [left_kind, right_kind].iter().all(|kind| look(kind).is_some());
    let key = |expr: &Expr, kind: &DataType| calls::key(widened(expr.clone(), kind));
    are_numbers.then(|| (key(left, left_kind), key(right, right_kind)))
}

/// Groups, and rows that are to differ, by what equal numbers have in common: each shows the first of its numbers, as in
/// PostgreSQL.
pub(super) fn grouped(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => of_groups(aggregate),
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let schema = input.schema();
            if !schema.fields().iter().any(|field| is_wide(field.data_type())) {
                return Ok(Transformed::no(LogicalPlan::Distinct(Distinct::All(input))));
            }
            let columns = schema.columns().into_iter().map(Expr::Column).collect();
            let aggregate = Aggregate::try_new(Arc::clone(&input), columns, Vec::new())?;
            of_groups(aggregate)
        }
        LogicalPlan::Distinct(Distinct::On(mut on)) => {
            let schema = Arc::clone(on.input.schema());
            let is_changed = by_keys(on.on_expr.iter_mut(), &schema);
            if let Some(sorts) = on.sort_expr.as_mut() {
                by_keys(sorts.iter_mut().take(on.on_expr.len()).map(|sort| &mut sort.expr), &schema);
            }
            let plan = LogicalPlan::Distinct(Distinct::On(on));
            Ok(if is_changed { Transformed::yes(plan) } else { Transformed::no(plan) })
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Refuses a recursion that would round its numbers to the scale of those that it begins with, as PostgreSQL does.
pub(super) fn check_recursion(recursive: &RecursiveQuery) -> Result<()> {
    let begun = recursive.static_term.schema();
    if recursive.is_distinct && begun.fields().iter().any(|field| is_wide(field.data_type())) {
        return Err(DataFusionError::NotImplemented(
            "a recursive UNION over numeric without precision is not supported: cast the numbers to numeric(p,s), \
             or use UNION ALL"
                .to_owned(),
        ));
    }
    let LogicalPlan::Projection(rounds) = recursive.recursive_term.as_ref() else { return Ok(()) };
    for (at, (field, expr)) in begun.fields().iter().zip(&rounds.expr).enumerate() {
        let cast_from = match unaliased(expr) {
            Expr::Cast(cast) => Some(cast.expr.as_ref()),
            Expr::ScalarFunction(call) if conversions::is_exact(&call.func) => call.args.first(),
            _ => None,
        };
        let Some(from) = cast_from.map(|from| type_of(from, rounds.input.schema())) else { continue };
        let is_exact = |kind: &DataType| kind.is_decimal() || is_wide(kind);
        let is_number = |kind: &DataType| is_exact(kind) || kind.is_integer();
        let are_numbers = is_number(field.data_type()) && (is_exact(&from) || from.is_floating());
        if are_numbers && from != *field.data_type() {
            let message = format!(
                "recursive query \"{}\" column {} has type {} in non-recursive term but type numeric overall: cast \
                 the output of the non-recursive term to numeric",
                recursive.name,
                at + 1,
                shown_type(field.data_type())
            );
            let error = Error::Stamped { sqlstate: SqlState::from_text("42804"), message };
            return Err(DataFusionError::Plan(error.to_stamp()));
        }
    }
    Ok(())
}

fn shown_type(kind: &DataType) -> String {
    match kind {
        DataType::Decimal128(precision, scale) => format!("numeric({precision},{scale})"),
        kind => name(kind),
    }
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

fn of_groups(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(aggregate.input.schema());
    let mut wide: Vec<Expr> = Vec::new();
    for expr in aggregate.group_expr_for_keys() {
        let expr = unaliased(expr).clone();
        if has_wide(&expr, &schema) && !wide.contains(&expr) {
            wide.push(expr);
        }
    }
    if wide.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let as_key = |expr: Expr| {
        let keyed = expr.transform_down(|expr| {
            Ok(if wide.contains(unaliased(&expr)) {
                let key = calls::key(unaliased(&expr).clone());
                Transformed::new(key, true, datafusion::common::tree_node::TreeNodeRecursion::Jump)
            } else {
                Transformed::no(expr)
            })
        });
        keyed.map(|keyed| keyed.data)
    };
    let Aggregate { input, group_expr, aggr_expr, schema: shown, .. } = aggregate;
    let group_expr = group_expr.into_iter().map(as_key).collect::<Result<Vec<_>>>()?;
    let named = |index: usize| format!("__first_{index}");
    let mut aggr_expr = aggr_expr
        .into_iter()
        .map(|expr| match unaliased(&expr) {
            // What is asked of a key is asked of what stands for it.
            Expr::AggregateFunction(function) if function.func.name() == "grouping" => {
                let name = expr.schema_name().to_string();
                Ok(as_key(expr)?.alias(name))
            }
            _ => Ok(expr),
        })
        .collect::<Result<Vec<_>>>()?;
    for (index, expr) in wide.iter().enumerate() {
        let first =
            AggregateFunction::new_udf(first_value_udaf(), vec![expr.clone()], false, None, Vec::new(), None);
        aggr_expr.push(Expr::AggregateFunction(first).alias(named(index)));
    }
    let grouped = Aggregate::try_new(input, group_expr, aggr_expr)?;
    let columns = shown
        .iter()
        .zip(grouped.schema.iter())
        // Which set a row is of is told by what asks for it.
        .filter(|(_, (_, field))| field.name() != Aggregate::INTERNAL_GROUPING_ID)
        .map(|((qualifier, field), (new_qualifier, new_field))| {
            let column = Expr::Column(Column::from((new_qualifier, new_field)));
            let is_same = qualifier == new_qualifier && field.name() == new_field.name();
            let at = wide.iter().position(|expr| {
                let (of, name) = calls::key(expr.clone()).qualified_name();
                of.as_ref() == new_qualifier && name == *new_field.name()
            });
            match at {
                // Of sets of keys that lack this one it is null.
                Some(at) => {
                    let first = Expr::Column(Column::from_name(named(at)));
                    let there = Case {
                        expr: None,
                        when_then_expr: vec![(Box::new(column.is_not_null()), Box::new(first))],
                        else_expr: None,
                    };
                    Expr::Case(there).alias_qualified(qualifier.cloned(), field.name())
                }
                None if is_same => column,
                None => column.alias_qualified(qualifier.cloned(), field.name()),
            }
        })
        .collect();
    let grouped = Arc::new(LogicalPlan::Aggregate(grouped));
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(columns, grouped)?)))
}

/// The expressions that an aggregate groups by, those of its sets too.
trait Keys {
    fn group_expr_for_keys(&self) -> Vec<&Expr>;
}

impl Keys for Aggregate {
    fn group_expr_for_keys(&self) -> Vec<&Expr> {
        let parts = self.group_expr.iter().map(|expr| match expr {
            Expr::GroupingSet(GroupingSet::Rollup(exprs) | GroupingSet::Cube(exprs)) => {
                exprs.iter().collect()
            }
            Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => sets.iter().flatten().collect::<Vec<_>>(),
            other => vec![other],
        });
        parts.flatten().collect()
    }
}
