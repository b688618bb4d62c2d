//! Where DataFusion's silence would be a wrong answer, PostgreSQL's meaning: sums of 64-bit integers are
//! decimals, and arithmetic fails where it overflows.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::Cast;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF, cast};
use datafusion::optimizer::{Analyzer, AnalyzerRule};

use crate::functions::{arithmetic, bounded, concatenation, matching, patterns, rounding, sketches};

/// DataFusion's rules with ours around them: what changes types comes before types are coerced, what
/// depends on them after.
pub fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules = Analyzer::new().rules;
    rules.insert(0, Arc::new(Widening));
    rules.push(Arc::new(CheckedArithmetic));
    rules
}

/// `sum(bigint)` is `numeric`, as in PostgreSQL; DataFusion's wraps round. A date and an interval of hours
/// are an instant.
#[derive(Debug)]
struct Widening;

impl AnalyzerRule for Widening {
    fn name(&self) -> &str {
        "postgres_widening"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite(plan, &|expr, schema| match expr {
            Expr::AggregateFunction(mut function) if function.func.name() == "sum" => {
                let is_changed = widen(&mut function.params.args, schema);
                Ok(changed(Expr::AggregateFunction(function), is_changed))
            }
            Expr::WindowFunction(mut function) if function.fun.name() == "sum" => {
                let is_changed = widen(&mut function.params.args, schema);
                Ok(changed(Expr::WindowFunction(function), is_changed))
            }
            // A date and hours are an instant; DataFusion's are a date, and the hours are lost.
            Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Plus | Operator::Minus), right }) => {
                let adds_hours = left.get_type(schema).is_ok_and(|kind| kind == DataType::Date32)
                    && may_have_hours(&right, schema);
                let left = if adds_hours { Box::new(cast(*left, INSTANT)) } else { left };
                Ok(changed(Expr::BinaryExpr(BinaryExpr { left, op, right }), adds_hours))
            }
            other => Ok(Transformed::no(other)),
        })
    }
}

const INSTANT: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// True for intervals that are not known to be whole days.
fn may_have_hours(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) => value.nanoseconds != 0,
        Expr::Literal(ScalarValue::IntervalDayTime(Some(value)), _) => value.milliseconds != 0,
        Expr::Literal(ScalarValue::IntervalYearMonth(_), _) => false,
        other => other.get_type(schema).is_ok_and(|kind| matches!(kind, DataType::Interval(_))),
    }
}

/// Wide enough for the sum of 2^63 of the largest `bigint`.
const SUM: DataType = DataType::Decimal128(38, 0);

fn widen(arguments: &mut [Expr], schema: &DFSchema) -> bool {
    let Some(argument) = arguments.first_mut() else { return false };
    let is_bigint = matches!(argument.get_type(schema), Ok(DataType::Int64 | DataType::UInt64));
    if is_bigint {
        *argument = cast(std::mem::take(argument), SUM);
    }
    is_bigint
}

/// `+`, `-`, `*` and `/` of two numbers of one type, and `||` of two texts, become functions that check, what is cast
/// to a whole number is rounded, and every function gets its bound, whoever called it: `ARRAY[…]` and `OVERLAY` name theirs
/// without a look into any registry.
#[derive(Debug)]
struct CheckedArithmetic;

impl AnalyzerRule for CheckedArithmetic {
    fn name(&self) -> &str {
        "checked_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite(plan, &|expr, schema| {
            let expr = match expr {
                Expr::Cast(cast) if cast.field.data_type().is_integer() => return Ok(rounded(cast, schema)),
                Expr::ScalarFunction(call) => return Ok(bounded::bounded_call(call)),
                Expr::AggregateFunction(function) => {
                    sketches::check(function.func.name(), &function.params.args)?;
                    return Ok(Transformed::no(Expr::AggregateFunction(function)));
                }
                Expr::WindowFunction(function) => {
                    sketches::check(function.fun.name(), &function.params.args)?;
                    return Ok(Transformed::no(Expr::WindowFunction(function)));
                }
                Expr::Like(like) => {
                    return Ok(match patterns::checked(like) {
                        Ok(like) => Transformed::yes(Expr::Like(like)),
                        Err(like) => Transformed::no(Expr::Like(like)),
                    });
                }
                expr => expr,
            };
            let Expr::BinaryExpr(binary) = expr else {
                return Ok(Transformed::no(expr));
            };
            let BinaryExpr { left, op, right } = match matching::of(binary) {
                Ok(matched) => return Ok(Transformed::yes(matched)),
                Err(binary) => binary,
            };
            if let (Some(left_type), Some(right_type)) = (type_of(&left, schema), type_of(&right, schema))
                && left_type == right_type
                && let Some(function) = checked(op, &left_type)
            {
                let call = ScalarFunction::new_udf(function, vec![*left, *right]);
                return Ok(Transformed::yes(Expr::ScalarFunction(call)));
            }
            Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })))
        })
    }
}

fn checked(op: Operator, data_type: &DataType) -> Option<Arc<ScalarUDF>> {
    if op == Operator::StringConcat && data_type.is_string() {
        return bounded::bounded(concatenation::function());
    }
    arithmetic::checked(op, data_type)
}

/// A cast to a whole number, of the nearest one.
fn rounded(cast: Cast, schema: &DFSchema) -> Transformed<Expr> {
    let is_rounded =
        matches!(cast.expr.as_ref(), Expr::ScalarFunction(call) if rounding::is_ours(&call.func));
    let has_fraction = || type_of(&cast.expr, schema).is_some_and(|kind| rounding::has_fraction(&kind));
    if is_rounded || !has_fraction() {
        return Transformed::no(Expr::Cast(cast));
    }
    let Cast { expr, field } = cast;
    let call = ScalarFunction::new_udf(rounding::function(), vec![*expr]);
    Transformed::yes(Expr::Cast(Cast { expr: Box::new(Expr::ScalarFunction(call)), field }))
}

/// The type of an operand. Chains of operators are as deep as they are long: one that was rewritten
/// already has the type of its last operand, and need not be descended again.
fn type_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    match expr {
        Expr::ScalarFunction(call)
            if arithmetic::is_ours(&call.func) || concatenation::is_ours(&call.func) =>
        {
            type_of(call.args.last()?, schema)
        }
        Expr::Cast(cast) => Some(cast.field.data_type().clone()),
        other => other.get_type(schema).ok(),
    }
}

fn changed(expr: Expr, is_changed: bool) -> Transformed<Expr> {
    if is_changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

/// Rewrites every expression of `plan`; columns keep their names.
fn rewrite(
    plan: LogicalPlan,
    change: &impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|plan| {
        let mut schema = DFSchema::empty();
        for input in plan.inputs() {
            schema.merge(input.schema());
        }
        let names = NamePreserver::new(&plan);
        let rewritten = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let rewritten = expr.transform_up(|expr| change(expr, &schema))?;
            Ok(rewritten.update_data(|expr| name.restore(expr)))
        })?;
        if rewritten.transformed { rewritten.map_data(LogicalPlan::recompute_schema) } else { Ok(rewritten) }
    })?;
    Ok(rewritten.data)
}
