//! Dates, times, instants and intervals: casts between them and texts, their arithmetic and their comparisons are PostgreSQL's,
//! where clocks are those of the session.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{
    AggregateFunction, Case, InList, InSubquery, ScalarFunction, WindowFunction,
};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawAggregateExpr, RawBinaryExpr};
use datafusion::logical_expr::{
    Between, BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, Projection,
    ReturnFieldArgs, ScalarFunctionArgs, cast, when,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::{casts, changed};
use crate::functions::arithmetic;
use crate::functions::instants::calendar::{self, DAY, Fault};
use crate::functions::instants::infinite::is_infinite;
use crate::functions::instants::totals::{self, Total};
use crate::functions::instants::values::{Kind, SPAN, instant_type};
use crate::functions::instants::{Name, failed, function, is_ours};

/// Plans what DataFusion has no type for.
#[derive(Debug)]
pub struct Instants;

impl ExprPlanner for Instants {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let op = match expr.op {
            BinaryOperator::Plus => Operator::Plus,
            BinaryOperator::Minus => Operator::Minus,
            BinaryOperator::Multiply => Operator::Multiply,
            BinaryOperator::Divide => Operator::Divide,
            BinaryOperator::StringConcat
            | BinaryOperator::PGRegexMatch
            | BinaryOperator::PGRegexIMatch
            | BinaryOperator::PGRegexNotMatch
            | BinaryOperator::PGRegexNotIMatch => {
                casts::check_operator(&expr.op.to_string(), &expr.left, &expr.right, schema)?;
                return Ok(PlannerResult::Original(expr));
            }
            BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq => return Ok(PlannerResult::Original(beside_span(expr, schema))),
            _ => return Ok(PlannerResult::Original(expr)),
        };
        match computed(op, &expr.left, &expr.right, schema)? {
            Some(planned) => Ok(PlannerResult::Planned(planned)),
            None => Ok(PlannerResult::Original(expr)),
        }
    }

    /// Whether it is of intervals is known when the types of columns are.
    fn plan_aggregate(&self, expr: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        match totals::named(expr.func.name()) {
            Some(total @ (Total::Sum | Total::Average)) if expr.args.len() == 1 => {
                let RawAggregateExpr { args, distinct, filter, order_by, null_treatment, .. } = expr;
                let function = totals::function(total);
                let planned =
                    AggregateFunction::new_udf(function, args, distinct, filter, order_by, null_treatment);
                Ok(PlannerResult::Planned(Expr::AggregateFunction(planned)))
            }
            _ => Ok(PlannerResult::Original(expr)),
        }
    }

    fn plan_extract(&self, mut args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        // The part may be written as a text.
        if let Some(Expr::Literal(ScalarValue::Utf8(Some(part)), _)) = args.first_mut() {
            *part = part.trim_matches(['\'', '"']).to_owned();
        }
        Ok(PlannerResult::Planned(call(Name::Extract, args)))
    }
}

/// A key of a range by an offset, which is computed with.
pub(super) fn finite(key: Expr) -> Expr {
    call(Name::Finite, vec![key])
}

/// A literal in quotes that is compared with an interval is one: the planner knows of no comparison of an interval and a text.
fn beside_span(mut compared: RawBinaryExpr, schema: &DFSchema) -> RawBinaryExpr {
    let is_text = |expr: &Expr| matches!(expr, Expr::Literal(value, _) if value.try_as_str().is_some());
    let literal = match (is_text(&compared.left), is_text(&compared.right)) {
        (true, false) if exact_kind_of(&compared.right, schema) == Kind::Span => &mut compared.left,
        (false, true) if exact_kind_of(&compared.left, schema) == Kind::Span => &mut compared.right,
        _ => return compared,
    };
    *literal = cast(std::mem::take(literal), SPAN);
    compared
}

fn call(name: Name, args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(function(name), args))
}

/// The kind of an operand. Chains of operators are as deep as they are long: one that is still an operator has no date and
/// no interval, and need not be descended.
fn kind_of(expr: &Expr, schema: &DFSchema) -> Kind {
    if is_chain(expr) { Kind::Number } else { exact_kind_of(expr, schema) }
}

fn exact_kind_of(expr: &Expr, schema: &DFSchema) -> Kind {
    expr.get_type(schema).map_or(Kind::Other, |kind| Kind::of(&kind))
}

fn is_chain(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(binary) => is_arithmetic(binary.op),
        Expr::ScalarFunction(call) => arithmetic::is_ours(&call.func),
        _ => false,
    }
}

/// Gives `expr` its meaning, before types are coerced.
pub fn meant(expr: Expr, schema: &DFSchema, options: &Arc<ConfigOptions>) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Cast(cast) => {
            let from = (!is_chain(&cast.expr)).then(|| cast.expr.get_type(schema).ok()).flatten();
            let Some(from) = from else {
                return Ok(Transformed::no(Expr::Cast(cast)));
            };
            match cast_of(&cast, &from, true) {
                Some(meant) => Ok(Transformed::yes(folded(meant, options, true)?)),
                None => Ok(Transformed::no(Expr::Cast(cast))),
            }
        }
        Expr::ScalarFunction(function)
            if matches!(function.func.name(), "sluice_day_plus" | "sluice_day_minus")
                && function
                    .args
                    .iter()
                    .any(|arg| matches!(exact_kind_of(arg, schema), Kind::Timestamp | Kind::Instant)) =>
        {
            // What was planned for days has turned out to be of times, as a column of a UNION.
            let op = if function.func.name() == "sluice_day_plus" { Operator::Plus } else { Operator::Minus };
            let [left, right] = <[Expr; 2]>::try_from(function.args)
                .map_err(|_| DataFusionError::Internal("days are computed with in pairs".to_owned()))?;
            match computed(op, &left, &right, schema)? {
                Some(meant) => Ok(Transformed::yes(meant)),
                None => Err(no_operator(op, &left, &right, schema)),
            }
        }
        Expr::ScalarFunction(function) if is_ours(&function.func) => {
            let expr = Expr::ScalarFunction(function);
            let is_constant = is_constant_call(&expr);
            Ok(changed(folded(expr, options, false)?, is_constant))
        }
        Expr::ScalarFunction(function)
            if matches!(function.func.name(), "greatest" | "least" | "nullif")
                && function.args.iter().any(|arg| kind_of(arg, schema) == Kind::Span) =>
        {
            Err(not_supported(&format!("{} of intervals", function.func.name())))
        }
        Expr::ScalarFunction(mut function)
            if matches!(
                function.func.name(),
                "coalesce" | "greatest" | "least" | "nullif" | "make_array"
            ) =>
        {
            // `nullif` compares, and gives what it was given.
            let is_compared = function.func.name() == "nullif";
            let kind = common_kind(function.args.iter(), schema);
            let Some(kind) = kind.filter(|kind| differ(&function.args, *kind, schema)) else {
                return Ok(Transformed::no(Expr::ScalarFunction(function)));
            };
            if let ([value, other], true) = (function.args.as_slice(), is_compared)
                && [value, other].iter().all(|part| is_moment(kind_of(part, schema)))
            {
                let both = BinaryExpr::new(Box::new(value.clone()), Operator::Eq, Box::new(other.clone()));
                let are_equal = compared(both, schema, options)?.data;
                let nothing = Expr::Literal(ScalarValue::try_new_null(&value.get_type(schema)?)?, None);
                return Ok(Transformed::yes(when(are_equal, nothing).otherwise(value.clone())?));
            }
            let args = function.args.into_iter().map(|arg| match is_compared {
                true => read_as(arg, kind, options),
                false => as_kind(arg, kind, schema, options),
            });
            function.args = args.collect::<Result<_>>()?;
            Ok(Transformed::yes(Expr::ScalarFunction(function)))
        }
        Expr::Case(case) => in_case(case, schema, options),
        Expr::InSubquery(subquery) if kind_of(&subquery.expr, schema) == Kind::Span => {
            Err(not_supported("IN with a subquery of intervals"))
        }
        Expr::InSubquery(subquery) => searched(subquery, schema, options),
        Expr::ScalarFunction(function) if function.func.name() == "now" => {
            Ok(Transformed::yes(cast(Expr::ScalarFunction(function), instant_type())))
        }
        Expr::AggregateFunction(function) => total(function, schema),
        Expr::WindowFunction(function) => in_window(function, schema),
        Expr::BinaryExpr(binary) if is_arithmetic(binary.op) => {
            match computed(binary.op, &binary.left, &binary.right, schema)? {
                Some(meant) => {
                    // What it was made of may be constant as well.
                    let meant =
                        meant.transform_up(|expr| Ok(Transformed::yes(folded(expr, options, false)?)));
                    Ok(Transformed::yes(meant?.data))
                }
                None => Ok(Transformed::no(Expr::BinaryExpr(binary))),
            }
        }
        Expr::BinaryExpr(binary) if super::compares(binary.op) => compared(binary, schema, options),
        Expr::Between(between) => within(between, schema, options),
        Expr::InList(list) => one_of(list, schema, options),
        other => Ok(Transformed::no(other)),
    }
}

/// Has casts that were put in when types were coerced be PostgreSQL's as well.
pub fn checked(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::Cast(cast) = &expr else { return Ok(Transformed::no(expr)) };
    if is_chain(&cast.expr) {
        return Ok(Transformed::no(expr));
    }
    let Some(from) = cast.expr.get_type(schema).ok() else { return Ok(Transformed::no(expr)) };
    Ok(match cast_of(cast, &from, false) {
        Some(meant) => Transformed::yes(meant),
        None => Transformed::no(expr),
    })
}

fn is_constant_call(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.args.iter().all(|arg| matches!(arg, Expr::Literal(..))))
}

/// A call of constants as what it gives. What fails is left to the run, except for texts that cannot be read.
fn folded(expr: Expr, options: &Arc<ConfigOptions>, is_cast: bool) -> Result<Expr> {
    let Expr::ScalarFunction(call) = &expr else { return Ok(expr) };
    if !is_ours(&call.func) {
        return Ok(expr);
    }
    let mut values = Vec::with_capacity(call.args.len());
    for arg in &call.args {
        let Expr::Literal(value, _) = arg else { return Ok(expr) };
        values.push(value.clone());
    }
    let types: Vec<DataType> = values.iter().map(ScalarValue::data_type).collect();
    let outcome = call.func.coerce_types(&types).and_then(|types| {
        let cast = values.iter().zip(&types).map(|(value, kind)| {
            // Texts become dates and times, and these instants, by our own rules alone.
            let (from, to) = (Kind::of(&value.data_type()), Kind::of(kind));
            let is_zoned = from.is_temporal() && (from == Kind::Instant) != (to == Kind::Instant);
            let is_read = to.is_temporal() && (from == Kind::Text || is_zoned);
            match is_read {
                true => Err(DataFusionError::Plan("read later".to_owned())),
                false => value.cast_to(kind),
            }
        });
        let values = cast.collect::<Result<Vec<_>>>()?;
        let fields: Vec<_> = types
            .iter()
            .map(|kind| Arc::new(datafusion::arrow::datatypes::Field::new("value", kind.clone(), true)))
            .collect();
        let scalars: Vec<Option<&ScalarValue>> = values.iter().map(Some).collect();
        let return_field = call
            .func
            .return_field_from_args(ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &scalars })?;
        call.func.invoke_with_args(ScalarFunctionArgs {
            args: values.iter().cloned().map(ColumnarValue::Scalar).collect(),
            arg_fields: fields,
            number_rows: 1,
            return_field,
            config_options: Arc::clone(options),
        })
    });
    match outcome {
        Ok(ColumnarValue::Scalar(value)) => Ok(Expr::Literal(value, None)),
        Err(error) if is_cast => Err(error),
        _ => Ok(expr),
    }
}

fn named(kind: &DataType) -> &'static str {
    match Kind::of(kind) {
        Kind::Date => "date",
        Kind::Time => "time without time zone",
        Kind::Timestamp => "timestamp without time zone",
        Kind::Instant => "timestamp with time zone",
        Kind::Span => "interval",
        Kind::Text => "text",
        Kind::Whole => match kind {
            DataType::Int16 => "smallint",
            DataType::Int64 => "bigint",
            _ => "integer",
        },
        Kind::Number => match kind {
            DataType::Float32 => "real",
            DataType::Float64 => "double precision",
            _ => "numeric",
        },
        _ => "unknown",
    }
}

/// PostgreSQL's cast in the place of DataFusion's. `is_written` where the statement says it.
fn cast_of(cast: &Cast, from: &DataType, is_written: bool) -> Option<Expr> {
    let to = cast.field.data_type();
    let inner = || cast.expr.as_ref().clone();
    let (from_kind, to_kind) = (Kind::of(from), Kind::of(to));
    if from_kind.is_temporal() && to_kind == Kind::Text {
        let text = call(Name::ToText, vec![inner()]);
        return Some(if *to == DataType::Utf8 {
            text
        } else {
            datafusion::logical_expr::cast(text, to.clone())
        });
    }
    if !to_kind.is_temporal() || !(from_kind.is_temporal() || from_kind == Kind::Text) {
        // A NULL of a written type has microseconds.
        let is_null = from_kind == Kind::Null && is_written && to_kind.is_temporal();
        let kind = to_kind.data_type().filter(|kind| is_null && kind != to)?;
        return Some(datafusion::logical_expr::cast(inner(), kind));
    }
    let digits = match to {
        DataType::Timestamp(TimeUnit::Second, _) if is_written => Some(0),
        DataType::Timestamp(TimeUnit::Millisecond, _) if is_written => Some(3),
        _ => None,
    };
    let name = match to_kind {
        Kind::Date => Name::ToDate,
        Kind::Time => Name::ToTime,
        Kind::Timestamp => Name::ToTimestamp,
        Kind::Instant => Name::ToInstant,
        _ => Name::ToInterval,
    };
    if from_kind == to_kind && digits.is_none() {
        // Only the unit changes.
        let kind = to_kind.data_type()?;
        let is_ours = to == &kind || !is_written || matches!(to, DataType::Interval(_));
        return (!is_ours)
            .then(|| if *from == kind { inner() } else { datafusion::logical_expr::cast(inner(), kind) });
    }
    let mut args = vec![inner()];
    if let Some(digits) = digits {
        args.push(Expr::Literal(ScalarValue::Int64(Some(digits)), None));
    }
    let meant = call(name, args);
    // Where types were coerced the type is the one that was agreed on.
    let kind = to_kind.data_type()?;
    Some(if is_written || *to == kind { meant } else { datafusion::logical_expr::cast(meant, to.clone()) })
}

fn is_arithmetic(op: Operator) -> bool {
    matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide)
}

/// `left op right`, where one of them is a date, a time or an interval.
fn computed(op: Operator, left: &Expr, right: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
    use Kind::{Date, Instant, Number, Span, Text, Time, Timestamp, Whole};
    let (left_kind, right_kind) = (kind_of(left, schema), kind_of(right, schema));
    if !left_kind.is_temporal() && !right_kind.is_temporal() {
        return Ok(None);
    }
    let (left_kind, right_kind) = (exact_kind_of(left, schema), exact_kind_of(right, schema));
    let of = |name: Name, first: &Expr, second: &Expr| Some(call(name, vec![first.clone(), second.clone()]));
    let moment = |expr: &Expr, kind: Kind| {
        if kind == Date { call(Name::ToTimestamp, vec![expr.clone()]) } else { expr.clone() }
    };
    let span = |expr: &Expr, kind: Kind| {
        if kind == Span { expr.clone() } else { call(Name::ToInterval, vec![expr.clone()]) }
    };
    let is_literal = |expr: &Expr| matches!(expr, Expr::Literal(..));
    let is_bigint = |expr: &Expr| matches!(expr.get_type(schema), Ok(DataType::Int64 | DataType::UInt64));
    // Days are counted in `integer`s.
    if (left_kind == Date && right_kind == Whole && is_bigint(right))
        || (left_kind == Whole && right_kind == Date && is_bigint(left))
    {
        return Err(no_operator(op, left, right, schema));
    }
    let planned = match (op, left_kind, right_kind) {
        (Operator::Plus, Date, Time) => of(Name::Join, left, right),
        (Operator::Plus, Time, Date) => of(Name::Join, right, left),
        (Operator::Plus, Span, Span) => of(Name::SpanPlus, left, right),
        (Operator::Minus, Span, Span) => of(Name::SpanMinus, left, right),
        (Operator::Plus | Operator::Minus, Date, Whole) => {
            let days = match op {
                Operator::Plus => right.clone(),
                _ => Expr::Negative(Box::new(cast(right.clone(), DataType::Int64))),
            };
            Some(call(Name::DayPlus, vec![left.clone(), days]))
        }
        (Operator::Plus, Whole, Date) => of(Name::DayPlus, right, left),
        (Operator::Plus, Date | Time | Timestamp | Instant, Span)
        | (Operator::Plus, Timestamp | Instant, Time) => {
            Some(call(Name::Move, vec![moment(left, left_kind), span(right, right_kind)]))
        }
        (Operator::Plus, Span, Date | Time | Timestamp | Instant)
        | (Operator::Plus, Time, Timestamp | Instant) => {
            Some(call(Name::Move, vec![moment(right, right_kind), span(left, left_kind)]))
        }
        (Operator::Minus, Date | Time | Timestamp | Instant, Span)
        | (Operator::Minus, Date | Timestamp | Instant, Time) => {
            Some(call(Name::MoveBack, vec![moment(left, left_kind), span(right, right_kind)]))
        }
        (Operator::Minus, Date, Date) => of(Name::DayMinus, left, right),
        (Operator::Minus, Date | Timestamp | Instant, Date | Timestamp | Instant) => {
            let is_instant = left_kind == Instant || right_kind == Instant;
            let whole = |expr: &Expr, kind: Kind| match kind {
                Instant => expr.clone(),
                _ if is_instant => call(Name::ToInstant, vec![expr.clone()]),
                kind => moment(expr, kind),
            };
            Some(call(Name::Between, vec![whole(left, left_kind), whole(right, right_kind)]))
        }
        (Operator::Minus, Time, Time) => of(Name::Between, left, right),
        // What a literal without a type is: of the type of the other side, or what is added to it.
        (Operator::Minus, Date | Timestamp | Instant, Text) if is_literal(right) => {
            match to_name(left_kind) {
                Some(name) => return computed(op, left, &call(name, vec![right.clone()]), schema),
                None => None,
            }
        }
        (Operator::Plus, Timestamp | Instant | Span, Text) if is_literal(right) => {
            return computed(op, left, &span(right, Text), schema);
        }
        (Operator::Plus, Text, Timestamp | Instant | Span) if is_literal(left) => {
            return computed(op, &span(left, Text), right, schema);
        }
        (Operator::Minus, Span, Text) if is_literal(right) => {
            return computed(op, left, &span(right, Text), schema);
        }
        (Operator::Multiply | Operator::Divide, Span, Text) if is_literal(right) => {
            return computed(op, left, &cast(right.clone(), DataType::Float64), schema);
        }
        (Operator::Plus, Date, Text) if is_literal(right) => {
            let message = "operator is not unique: date + unknown";
            return Err(failed(Fault::new("42725", message)));
        }
        (Operator::Multiply, Span, Whole | Number) => {
            Some(call(Name::SpanTimes, vec![left.clone(), cast(right.clone(), DataType::Float64)]))
        }
        (Operator::Multiply, Whole | Number, Span) => {
            Some(call(Name::SpanTimes, vec![right.clone(), cast(left.clone(), DataType::Float64)]))
        }
        (Operator::Divide, Span, Whole | Number) => {
            Some(call(Name::SpanDivide, vec![left.clone(), cast(right.clone(), DataType::Float64)]))
        }
        // A NULL or a parameter may be of any type.
        (_, Kind::Null | Kind::Other, _) | (_, _, Kind::Null | Kind::Other) => None,
        (op, _, _) => return Err(no_operator(op, left, right, schema)),
    };
    Ok(planned)
}

fn no_operator(op: Operator, left: &Expr, right: &Expr, schema: &DFSchema) -> DataFusionError {
    let name = |expr: &Expr| expr.get_type(schema).map_or("unknown", |kind| named(&kind));
    failed(Fault::new("42883", format!("operator does not exist: {} {op} {}", name(left), name(right))))
}

fn to_name(kind: Kind) -> Option<Name> {
    Some(match kind {
        Kind::Date => Name::ToDate,
        Kind::Time => Name::ToTime,
        Kind::Timestamp => Name::ToTimestamp,
        Kind::Instant => Name::ToInstant,
        Kind::Span => Name::ToInterval,
        _ => return None,
    })
}

fn is_text_literal(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Literal(ScalarValue::Utf8(_) | ScalarValue::LargeUtf8(_) | ScalarValue::Utf8View(_), _)
    )
}

/// A literal without a type as one of `kind`.
fn read_as(expr: Expr, kind: Kind, options: &Arc<ConfigOptions>) -> Result<Expr> {
    match to_name(kind) {
        Some(name) if is_text_literal(&expr) => folded(call(name, vec![expr]), options, true),
        _ => Ok(expr),
    }
}

/// A literal without a type, or a date or time that becomes one of `kind`, as one.
fn as_kind(expr: Expr, kind: Kind, schema: &DFSchema, options: &Arc<ConfigOptions>) -> Result<Expr> {
    let own = kind_of(&expr, schema);
    match to_name(kind) {
        Some(name) if is_moment(own) && is_moment(kind) && own != kind => {
            folded(call(name, vec![expr]), options, false)
        }
        _ => read_as(expr, kind, options),
    }
}

fn is_moment(kind: Kind) -> bool {
    matches!(kind, Kind::Date | Kind::Timestamp | Kind::Instant)
}

/// True where one of `exprs` is a literal without a type, or another moment than one of `kind`.
fn differ<'a>(exprs: impl IntoIterator<Item = &'a Expr>, kind: Kind, schema: &DFSchema) -> bool {
    exprs.into_iter().any(|expr| {
        let own = kind_of(expr, schema);
        is_text_literal(expr) || (is_moment(own) && own != kind)
    })
}

/// The column `expr` of a UNION as one of what the others have: `kinds`. `None` where it need not change.
pub(super) fn beside(
    expr: &Expr,
    kinds: &[DataType],
    schema: &DFSchema,
    options: &Arc<ConfigOptions>,
) -> Result<Option<Expr>> {
    let widest = kinds.iter().map(Kind::of).filter(|kind| kind.is_temporal()).reduce(|widest, kind| {
        match (widest, kind) {
            (Kind::Date, Kind::Timestamp | Kind::Instant) | (Kind::Timestamp, Kind::Instant) => kind,
            _ => widest,
        }
    });
    match widest {
        Some(kind) if differ([expr], kind, schema) => as_kind(expr.clone(), kind, schema, options).map(Some),
        _ => Ok(None),
    }
}

/// Instants where one side is an instant: a local time is one of the session's clocks.
fn as_instant(expr: Expr, kind: Kind, options: &Arc<ConfigOptions>) -> Result<Expr> {
    match kind {
        Kind::Date | Kind::Timestamp => folded(call(Name::ToInstant, vec![expr]), options, false),
        _ => Ok(expr),
    }
}

/// Local times where one side is a local time: the engine would compare both in nanoseconds, which end in 2262.
fn as_local(expr: Expr, kind: Kind, options: &Arc<ConfigOptions>) -> Result<Expr> {
    match kind {
        Kind::Date => folded(call(Name::ToTimestamp, vec![expr]), options, false),
        _ => Ok(expr),
    }
}

/// The kind of dates and times among `exprs` that the others become.
fn common_kind<'a>(exprs: impl Iterator<Item = &'a Expr>, schema: &DFSchema) -> Option<Kind> {
    let mut found = None;
    for expr in exprs {
        let kind = kind_of(expr, schema);
        let is_wider = match (found, kind) {
            (None, kind) => kind.is_temporal(),
            (Some(Kind::Date), Kind::Timestamp | Kind::Instant) | (Some(Kind::Timestamp), Kind::Instant) => {
                true
            }
            _ => false,
        };
        if is_wider {
            found = Some(kind);
        }
    }
    found
}

/// Results of a CASE that are literals without a type are of the type of the others.
fn in_case(mut case: Case, schema: &DFSchema, options: &Arc<ConfigOptions>) -> Result<Transformed<Expr>> {
    let is_compared = in_comparisons(&mut case, schema, options)?;
    let case = results_of_case(case, schema, options)?;
    Ok(changed(case.data, case.transformed || is_compared))
}

/// Makes dates, local times and instants among `parts` values of the one kind that holds them all. True where some were of another.
pub(super) fn in_common<'a>(
    parts: impl IntoIterator<Item = &'a mut Expr>,
    schema: &DFSchema,
    options: &Arc<ConfigOptions>,
) -> Result<bool> {
    let mut parts: Vec<&mut Expr> = parts.into_iter().collect();
    let kind = common_kind(parts.iter().map(|part| &**part), schema).filter(|kind| is_moment(*kind));
    let Some(kind) = kind.filter(|kind| differ(parts.iter().map(|part| &**part), *kind, schema)) else {
        return Ok(false);
    };
    for part in &mut parts {
        **part = as_kind(std::mem::take(*part), kind, schema, options)?;
    }
    Ok(true)
}

/// What a CASE compares, as values of one kind. True where some were of another.
fn in_comparisons(case: &mut Case, schema: &DFSchema, options: &Arc<ConfigOptions>) -> Result<bool> {
    let Some(base) = &mut case.expr else { return Ok(false) };
    let whens = case.when_then_expr.iter_mut().map(|(when, _)| when.as_mut());
    in_common(std::iter::once(base.as_mut()).chain(whens), schema, options)
}

fn results_of_case(
    mut case: Case,
    schema: &DFSchema,
    options: &Arc<ConfigOptions>,
) -> Result<Transformed<Expr>> {
    let results =
        || case.when_then_expr.iter().map(|(_, then)| then.as_ref()).chain(case.else_expr.as_deref());
    let kind = common_kind(results(), schema).filter(|kind| differ(results(), *kind, schema));
    let Some(kind) = kind else { return Ok(Transformed::no(Expr::Case(case))) };
    for (_, then) in &mut case.when_then_expr {
        **then = as_kind(std::mem::take(then.as_mut()), kind, schema, options)?;
    }
    if let Some(otherwise) = &mut case.else_expr {
        **otherwise = as_kind(std::mem::take(otherwise.as_mut()), kind, schema, options)?;
    }
    Ok(Transformed::yes(Expr::Case(case)))
}

fn compared(
    binary: BinaryExpr,
    schema: &DFSchema,
    options: &Arc<ConfigOptions>,
) -> Result<Transformed<Expr>> {
    let (left_kind, right_kind) = (kind_of(&binary.left, schema), kind_of(&binary.right, schema));
    let original = |binary| Ok(Transformed::no(Expr::BinaryExpr(binary)));
    if !left_kind.is_temporal() && !right_kind.is_temporal() {
        return original(binary);
    }
    let BinaryExpr { left, op, right } = binary;
    let is_read = is_text_literal(&left) || is_text_literal(&right);
    let (left, right) = (read_as(*left, right_kind, options)?, read_as(*right, left_kind, options)?);
    let (left_kind, right_kind) =
        if is_read { (kind_of(&left, schema), kind_of(&right, schema)) } else { (left_kind, right_kind) };
    let of = |left: Expr, op: Operator, right: Expr| {
        Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(right) })
    };
    let meant = match (left_kind, right_kind) {
        (Kind::Span, Kind::Span | Kind::Time) | (Kind::Time, Kind::Span) => {
            let length = |expr: Expr, kind: Kind| {
                let span = if kind == Kind::Time { call(Name::ToInterval, vec![expr]) } else { expr };
                folded(call(Name::SpanLength, vec![span]), options, false)
            };
            of(length(left, left_kind)?, op, length(right, right_kind)?)
        }
        (Kind::Instant, Kind::Date | Kind::Timestamp) => {
            of(left, op, as_instant(right, right_kind, options)?)
        }
        (Kind::Date | Kind::Timestamp, Kind::Instant) => of(as_instant(left, left_kind, options)?, op, right),
        (Kind::Date, Kind::Timestamp) => match beside_day(op, &right) {
            Some((op, day)) => of(left, op, day),
            None => of(as_local(left, left_kind, options)?, op, right),
        },
        (Kind::Timestamp, Kind::Date) => match op.swap().and_then(|op| beside_day(op, &left)) {
            Some((op, day)) => of(right, op, day),
            None => of(left, op, as_local(right, right_kind, options)?),
        },
        (Kind::Text | Kind::Whole | Kind::Number, kind) | (kind, Kind::Text | Kind::Whole | Kind::Number)
            if kind.is_temporal() =>
        {
            return Err(no_operator(op, &left, &right, schema));
        }
        _ => of(left, op, right),
    };
    Ok(changed(meant, true))
}

/// The comparison of a day with a constant local time as one with a day, by which files are left out.
fn beside_day(op: Operator, time: &Expr) -> Option<(Operator, Expr)> {
    let Expr::Literal(ScalarValue::TimestampMicrosecond(Some(time), None), _) = time else { return None };
    if is_infinite(*time) {
        let day = if *time > 0 { i32::MAX } else { -i32::MAX };
        return Some((op, Expr::Literal(ScalarValue::Date32(Some(day)), None)));
    }
    let day = i32::try_from(time.div_euclid(DAY)).ok()?;
    let is_midnight = time.rem_euclid(DAY) == 0;
    let op = match op {
        op if is_midnight => op,
        Operator::Lt | Operator::LtEq => Operator::LtEq,
        Operator::Gt | Operator::GtEq => Operator::Gt,
        _ => return None,
    };
    Some((op, Expr::Literal(ScalarValue::Date32(Some(day)), None)))
}

fn within(between: Between, schema: &DFSchema, options: &Arc<ConfigOptions>) -> Result<Transformed<Expr>> {
    let kind = kind_of(&between.expr, schema);
    if !kind.is_temporal() {
        return Ok(Transformed::no(Expr::Between(between)));
    }
    let Between { expr, negated, low, high } = between;
    let (mut low, mut high) = (read_as(*low, kind, options)?, read_as(*high, kind, options)?);
    let mut expr = *expr;
    let kinds = [kind, kind_of(&low, schema), kind_of(&high, schema)];
    if kinds.iter().all(|kind| *kind == Kind::Span) {
        let length = |expr| folded(call(Name::SpanLength, vec![expr]), options, false);
        (expr, low, high) = (length(expr)?, length(low)?, length(high)?);
    } else if kinds.contains(&Kind::Instant) {
        let [of_expr, of_low, of_high] = kinds;
        expr = as_instant(expr, of_expr, options)?;
        low = as_instant(low, of_low, options)?;
        high = as_instant(high, of_high, options)?;
    } else if kind == Kind::Date {
        if let Some((op, day)) = beside_day(Operator::GtEq, &low) {
            let after = match (op, &day) {
                (Operator::Gt, Expr::Literal(ScalarValue::Date32(Some(day)), _)) => day.checked_add(1),
                (_, Expr::Literal(ScalarValue::Date32(Some(day)), _)) => Some(*day),
                _ => None,
            };
            if let Some(day) = after {
                low = Expr::Literal(ScalarValue::Date32(Some(day)), None);
            }
        }
        if let Some((_, day)) = beside_day(Operator::LtEq, &high) {
            high = day;
        }
    }
    let kinds = [&expr, &low, &high].map(|part| kind_of(part, schema));
    if kinds.contains(&Kind::Timestamp) && !kinds.contains(&Kind::Instant) {
        let [of_expr, of_low, of_high] = kinds;
        expr = as_local(expr, of_expr, options)?;
        low = as_local(low, of_low, options)?;
        high = as_local(high, of_high, options)?;
    }
    Ok(Transformed::yes(Expr::Between(Between {
        expr: Box::new(expr),
        negated,
        low: Box::new(low),
        high: Box::new(high),
    })))
}

pub(super) fn one_of(
    list: InList,
    schema: &DFSchema,
    options: &Arc<ConfigOptions>,
) -> Result<Transformed<Expr>> {
    let kind = kind_of(&list.expr, schema);
    if !kind.is_temporal() {
        return Ok(Transformed::no(Expr::InList(list)));
    }
    let InList { expr, list, negated } = list;
    let mut expr = *expr;
    let mut items = list.into_iter().map(|item| read_as(item, kind, options)).collect::<Result<Vec<_>>>()?;
    let kinds: Vec<Kind> = items.iter().map(|item| kind_of(item, schema)).collect();
    if kind == Kind::Span {
        let length = |expr| folded(call(Name::SpanLength, vec![expr]), options, false);
        expr = length(expr)?;
        items = items.into_iter().map(length).collect::<Result<_>>()?;
    } else if kind == Kind::Instant || kinds.contains(&Kind::Instant) {
        expr = as_instant(expr, kind, options)?;
        let items_of = items.into_iter().zip(kinds);
        items = items_of.map(|(item, kind)| as_instant(item, kind, options)).collect::<Result<_>>()?;
    } else if kind == Kind::Timestamp || kinds.contains(&Kind::Timestamp) {
        expr = as_local(expr, kind, options)?;
        let items_of = items.into_iter().zip(kinds);
        items = items_of.map(|(item, kind)| as_local(item, kind, options)).collect::<Result<_>>()?;
    }
    Ok(Transformed::yes(Expr::InList(InList { expr: Box::new(expr), list: items, negated })))
}

/// Days, local times and instants among each other, as they are compared.
fn searched(
    search: InSubquery,
    schema: &DFSchema,
    options: &Arc<ConfigOptions>,
) -> Result<Transformed<Expr>> {
    let InSubquery { expr, mut subquery, negated } = search;
    let column = subquery
        .subquery
        .schema()
        .iter()
        .next()
        .map(|column| (Column::from(column), column.1.data_type().clone()));
    let of_expr = kind_of(&expr, schema);
    let of_rows = column.as_ref().map_or(Kind::Other, |(_, kind)| Kind::of(kind));
    let whole = |expr: Box<Expr>, subquery, is_changed| {
        Ok(changed(Expr::InSubquery(InSubquery { expr, subquery, negated }), is_changed))
    };
    let as_other = match (of_expr, of_rows) {
        (Kind::Date | Kind::Timestamp, Kind::Instant) | (Kind::Instant, Kind::Date | Kind::Timestamp) => {
            as_instant
        }
        (Kind::Date, Kind::Timestamp) | (Kind::Timestamp, Kind::Date) => as_local,
        _ => return whole(expr, subquery, false),
    };
    let expr = Box::new(as_other(*expr, of_expr, options)?);
    if let Some((column, _)) = column {
        let name = column.name.clone();
        let found = as_other(Expr::Column(column), of_rows, options)?.alias(name);
        let rows = Projection::try_new(vec![found], Arc::clone(&subquery.subquery))?;
        subquery.subquery = Arc::new(LogicalPlan::Projection(rows));
    }
    whole(expr, subquery, true)
}

/// Totals of intervals are our own, all others DataFusion's.
fn total(mut function: AggregateFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let ours = totals::ours(&function.func);
    let is_span = match function.params.args.as_slice() {
        [argument] => kind_of(argument, schema) == Kind::Span,
        _ => false,
    };
    if function.params.distinct && function.params.args.iter().any(|arg| self::is_span(arg, schema)) {
        return Err(not_supported("an aggregate of distinct intervals"));
    }
    let func = match ours.or_else(|| totals::named(function.func.name())) {
        Some(total) if is_span && ours.is_none() => totals::function(total),
        Some(total) if !is_span && ours.is_some() => total.general(),
        _ => return Ok(Transformed::no(Expr::AggregateFunction(function))),
    };
    function.func = func;
    Ok(Transformed::yes(Expr::AggregateFunction(function)))
}

/// Rows are ordered by the lengths of intervals; what a window makes of intervals is not known.
fn in_window(mut function: Box<WindowFunction>, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let is_span = |expr: &Expr| is_span(expr, schema);
    let orders = matches!(function.fun.name(), "min" | "max") && function.params.args.iter().any(is_span);
    if orders || function.params.partition_by.iter().any(is_span) {
        return Err(not_supported("a window over intervals"));
    }
    let mut is_changed = false;
    for order in &mut function.params.order_by {
        if let Some(length) = length_of(&order.expr, schema) {
            order.expr = length;
            is_changed = true;
        }
    }
    Ok(changed(Expr::WindowFunction(function), is_changed))
}

/// Rows are ordered by the lengths of intervals. Groups of intervals of one length are one group, which cannot be told.
pub fn ordered(plan: LogicalPlan) -> Result<LogicalPlan> {
    let ordered = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Sort(mut sort) => {
            let mut is_changed = false;
            for order in &mut sort.expr {
                if let Some(length) = length_of(&order.expr, sort.input.schema()) {
                    order.expr = length;
                    is_changed = true;
                }
            }
            let plan = LogicalPlan::Sort(sort);
            Ok(if is_changed { Transformed::yes(plan) } else { Transformed::no(plan) })
        }
        LogicalPlan::Join(mut join) => {
            let mut is_changed = false;
            for (left, right) in &mut join.on {
                let lengths = (length_of(left, join.left.schema()), length_of(right, join.right.schema()));
                if let (Some(of_left), Some(of_right)) = lengths {
                    (*left, *right) = (of_left, of_right);
                    is_changed = true;
                }
                let kinds = (kind_of(left, join.left.schema()), kind_of(right, join.right.schema()));
                is_changed |= meet(left, right, kinds);
            }
            let plan = LogicalPlan::Join(join);
            Ok(if is_changed { Transformed::yes(plan) } else { Transformed::no(plan) })
        }
        LogicalPlan::Aggregate(aggregate) => {
            let schema = aggregate.input.schema();
            if aggregate.group_expr.iter().any(|expr| may_be_uneven(expr, schema)) {
                return Err(grouped());
            }
            Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)))
        }
        LogicalPlan::Distinct(distinct) => {
            let fields = distinct.input().schema().fields();
            if fields.iter().any(|field| *field.data_type() == SPAN) {
                return Err(grouped());
            }
            Ok(Transformed::no(LogicalPlan::Distinct(distinct)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(ordered.data)
}

fn grouped() -> DataFusionError {
    not_supported("a group of intervals")
}

fn not_supported(what: &str) -> DataFusionError {
    failed(Fault::new(calendar::NOT_SUPPORTED, format!("{what} is not supported")))
}

/// True for intervals that may be of one length and yet not of the same months, days and hours.
fn may_be_uneven(expr: &Expr, schema: &DFSchema) -> bool {
    let is_difference = match expr.clone().unalias() {
        Expr::ScalarFunction(call) => call.func.name() == function(Name::Between).name(),
        _ => false,
    };
    !is_difference && is_span(expr, schema)
}

/// Makes a day or a local time a local time or an instant where the other side of an equality is one. True when it does.
fn meet(left: &mut Expr, right: &mut Expr, kinds: (Kind, Kind)) -> bool {
    let (narrower, name) = match kinds {
        (Kind::Date, Kind::Timestamp) => (left, Name::ToTimestamp),
        (Kind::Timestamp, Kind::Date) => (right, Name::ToTimestamp),
        (Kind::Date | Kind::Timestamp, Kind::Instant) => (left, Name::ToInstant),
        (Kind::Instant, Kind::Date | Kind::Timestamp) => (right, Name::ToInstant),
        _ => return false,
    };
    *narrower = call(name, vec![std::mem::take(narrower)]);
    true
}

fn is_span(expr: &Expr, schema: &DFSchema) -> bool {
    !is_chain(expr) && expr.get_type(schema).is_ok_and(|kind| kind == SPAN)
}

/// The expression by which intervals are ordered and told apart; `None` for what is none.
fn length_of(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    is_span(expr, schema).then(|| call(Name::SpanLength, vec![expr.clone()]))
}
