//! Numbers of two types beside each other. PostgreSQL compares and computes a `numeric` beside a floating-point number as doubles;
//! DataFusion takes both for decimals, of 15 digits behind the point, which are neither. A cast that rounds is a function, so that
//! the optimizer does not take it away.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Between, Case, InList, InSubquery, ScalarFunction, SetComparison};
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, Join, JoinConstraint, LogicalPlan, LogicalPlanBuilder, Operator,
    Projection, Subquery, Union, Values, cast,
};

use super::wide::type_of;
use super::wide_planner::operand_type;
use super::{changed, wide};
use crate::functions::no_such_arguments;
use crate::functions::numbers::wide::{self as numeric, calls};
use crate::functions::numbers::{conversions, digits, shown, zeros};

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Double,
    Exact,
    /// Of more digits than others.
    Wide,
    Whole,
    Other,
}

impl Kind {
    fn of(kind: &DataType) -> Self {
        match kind {
            DataType::Float16 | DataType::Float32 => Self::Single,
            DataType::Float64 => Self::Double,
            DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) => Self::Exact,
            DataType::Decimal256(..) | DataType::LargeBinary => Self::Wide,
            kind if kind.is_integer() => Self::Whole,
            _ => Self::Other,
        }
    }

    fn is_float(self) -> bool {
        matches!(self, Self::Single | Self::Double)
    }

    fn is_exact(self) -> bool {
        matches!(self, Self::Exact | Self::Wide)
    }
}

fn kind_of(expr: &Expr, schema: &DFSchema) -> Kind {
    match expr {
        Expr::Literal(value, _) => Kind::of(&value.data_type()),
        Expr::Cast(cast) => Kind::of(cast.field.data_type()),
        other => other.get_type(schema).map_or(Kind::Other, |kind| Kind::of(&kind)),
    }
}

/// Gives `expr` its meaning, before types are coerced.
pub fn meant(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    wide::meant(expr, schema)?.transform_data(|expr| of_number(expr, schema))
}

fn of_number(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::BinaryExpr(binary) => {
            let is_float = |side: &Expr| kind_of(side, schema).is_float();
            if binary.op == Operator::Modulo && (is_float(&binary.right) || is_float(&binary.left)) {
                return Err(no_such_arguments("%"));
            }
            of_pair(binary, schema)
        }
        Expr::Between(between) => of_between(between, schema),
        Expr::InList(list) => of_list(list, schema),
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            let (expr, subquery, is_changed) = beside_subquery(*expr, subquery, schema)?;
            changed(Expr::InSubquery(InSubquery { expr: Box::new(expr), subquery, negated }), is_changed)
        }
        Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => {
            let (expr, subquery, is_changed) = beside_subquery(*expr, subquery, schema)?;
            let comparison = SetComparison { expr: Box::new(expr), subquery, op, quantifier };
            changed(Expr::SetComparison(comparison), is_changed)
        }
        Expr::Case(case) => of_case(case, schema),
        Expr::Cast(cast) => of_cast(cast, schema),
        Expr::ScalarFunction(call) => of_call(call, schema)?,
        Expr::WindowFunction(mut function) => {
            let params = &mut function.params;
            let keys = params.order_by.iter_mut().map(|key| &mut key.expr);
            let is_changed = with_one_zero(keys.chain(&mut params.partition_by), schema);
            changed(Expr::WindowFunction(function), is_changed)
        }
        // Both zeros are one value.
        Expr::AggregateFunction(mut function)
            if function.params.distinct
                && function.params.args.iter().any(|arg| kind_of(arg, schema).is_float()) =>
        {
            let params = &mut function.params;
            // Different values are ordered by themselves.
            let keys = params.order_by.iter_mut().map(|key| &mut key.expr);
            let is_changed = with_one_zero(params.args.iter_mut().chain(keys), schema);
            changed(Expr::AggregateFunction(function), is_changed)
        }
        // Different whole numbers are averaged as decimals, which that is written for.
        Expr::AggregateFunction(mut function)
            if function.func.name() == "avg" && function.params.distinct =>
        {
            let mut is_changed = false;
            for arg in &mut function.params.args {
                if kind_of(arg, schema) == Kind::Whole {
                    *arg = cast(std::mem::take(arg), DataType::Decimal128(20, 0));
                    is_changed = true;
                }
            }
            changed(Expr::AggregateFunction(function), is_changed)
        }
        other => Transformed::no(other),
    })
}

/// Casts that types need once they are coerced: those to doubles give the nearest one.
pub fn checked(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::Cast(Cast { expr: inner, field }) = expr else { return Ok(Transformed::no(expr)) };
    if kind_of(&inner, schema) == Kind::Wide && type_of(&inner, schema) != *field.data_type() {
        return Ok(of_cast(Cast { expr: inner, field }, schema));
    }
    // A cast that is written says how many digits there are.
    let is_cast = match inner.as_ref() {
        Expr::ScalarFunction(call) => conversions::is_exact(&call.func),
        inner => matches!(inner, Expr::Cast(_)),
    };
    let is_bare = || !is_cast && inner.get_type(schema).is_ok_and(|kind| digits::bare_scale(&kind).is_some());
    if field.data_type().is_string() && (kind_of(&inner, schema).is_float() || is_bare()) {
        let text = shown::shown(*inner);
        return Ok(Transformed::yes(match field.data_type() {
            DataType::Utf8 => text,
            _ => Expr::Cast(Cast { expr: Box::new(text), field }),
        }));
    }
    let cast = Cast { expr: inner, field };
    let is_float = Kind::of(cast.field.data_type()).is_float();
    if !is_float || !kind_of(&cast.expr, schema).is_exact() {
        return Ok(Transformed::no(Expr::Cast(cast)));
    }
    Ok(match cast.field.data_type() {
        DataType::Float64 => Transformed::yes(conversions::to_double(*cast.expr)),
        DataType::Float32 => Transformed::yes(conversions::to_single(*cast.expr)),
        _ => Transformed::no(Expr::Cast(cast)),
    })
}

/// What was made wide, before it was.
fn unwidened(expr: Expr) -> Expr {
    calls::narrow(&expr).cloned().unwrap_or(expr)
}

/// As a double, whatever number it is.
fn double(expr: Expr, kind: Kind) -> Expr {
    match kind {
        Kind::Exact | Kind::Wide => conversions::to_double(unwidened(expr)),
        Kind::Double | Kind::Other => expr,
        Kind::Single | Kind::Whole => cast(expr, DataType::Float64),
    }
}

fn single(expr: Expr, kind: Kind) -> Expr {
    match kind {
        Kind::Exact | Kind::Wide => conversions::to_single(unwidened(expr)),
        Kind::Single | Kind::Other => expr,
        Kind::Double | Kind::Whole => cast(expr, DataType::Float32),
    }
}

/// True where PostgreSQL's operators take two numbers as doubles, and DataFusion's do not.
fn are_doubles(left: Kind, right: Kind) -> bool {
    match (left, right) {
        (Kind::Single, Kind::Single) => false,
        (Kind::Single, other) | (other, Kind::Single) => other.is_exact() || other == Kind::Whole,
        (Kind::Double, other) | (other, Kind::Double) => other.is_exact(),
        _ => false,
    }
}

fn of_pair(binary: BinaryExpr, schema: &DFSchema) -> Transformed<Expr> {
    let BinaryExpr { left, op, right } = binary;
    if !super::compares(op) && !op.is_numerical_operators() {
        return Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }));
    }
    let right_type = type_of(&right, schema);
    let right_kind = Kind::of(&right_type);
    if right_kind == Kind::Other {
        return Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }));
    }
    let left_type = type_of(&left, schema);
    let left_kind = Kind::of(&left_type);
    if are_doubles(left_kind, right_kind) {
        return Transformed::yes(doubles(*left, left_kind, op, *right, right_kind));
    }
    // It may be what a join looks up by.
    if matches!(op, Operator::Eq | Operator::IsNotDistinctFrom)
        && left_kind.is_float()
        && right_kind.is_float()
        && varies(&left)
        && varies(&right)
    {
        let (left, right) = (zeros::one_zero(*left), zeros::one_zero(*right));
        return Transformed::yes(Expr::BinaryExpr(BinaryExpr {
            left: Box::new(left),
            op,
            right: Box::new(right),
        }));
    }
    let is_number = |kind: Kind| kind.is_exact() || kind == Kind::Whole;
    let are_exact =
        (left_kind.is_exact() && is_number(right_kind)) || (right_kind.is_exact() && is_number(left_kind));
    if !are_exact {
        return Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }));
    }
    if op == Operator::Divide
        && let Some(quotient) = calls::quotient_of_literals(
            &exact(left.as_ref().clone(), left_kind, schema),
            &exact(right.as_ref().clone(), right_kind, schema),
        )
    {
        return Transformed::yes(quotient);
    }
    match wide::pair((&left, &left_type), op, (&right, &right_type), schema) {
        Some(pair) => Transformed::yes(pair),
        None => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
    }
}

/// Two numbers under an operator, one of which is wide, before the planner asks for the type of it; `None` beside what is no
/// number.
pub(super) fn planned(left: &Expr, op: Operator, right: &Expr, schema: &DFSchema) -> Option<Expr> {
    let types = (operand_type(left, schema), operand_type(right, schema));
    let kinds = (Kind::of(&types.0), Kind::of(&types.1));
    if are_doubles(kinds.0, kinds.1) {
        return Some(doubles(left.clone(), kinds.0, op, right.clone(), kinds.1));
    }
    let is_number = |kind: Kind, of: &DataType| kind.is_exact() || kind == Kind::Whole || of.is_null();
    if !is_number(kinds.0, &types.0) || !is_number(kinds.1, &types.1) {
        return None;
    }
    wide::pair((left, &types.0), op, (right, &types.1), schema)
}

fn doubles(left: Expr, left_kind: Kind, op: Operator, right: Expr, right_kind: Kind) -> Expr {
    let (mut left, mut right) = (double(left, left_kind), double(right, right_kind));
    if matches!(op, Operator::Eq | Operator::IsNotDistinctFrom) && varies(&left) && varies(&right) {
        (left, right) = (zeros::one_zero(left), zeros::one_zero(right));
    }
    Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(right) })
}

/// True for what differs from row to row.
fn varies(expr: &Expr) -> bool {
    !expr.column_refs().is_empty() || expr.contains_outer()
}

/// Gives keys that are floating-point numbers one zero. True when there are such.
fn with_one_zero<'a>(keys: impl Iterator<Item = &'a mut Expr>, schema: &DFSchema) -> bool {
    let mut is_changed = false;
    for key in keys.filter(|key| kind_of(key, schema).is_float()) {
        *key = zeros::one_zero(std::mem::take(key));
        is_changed = true;
    }
    is_changed
}

/// A number of less than 64 bits, or a whole one, as a decimal.
fn exact(expr: Expr, kind: Kind, schema: &DFSchema) -> Expr {
    if let Ok(DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale)) =
        expr.get_type(schema)
    {
        return cast(expr, DataType::Decimal128(precision, scale));
    }
    match (whole_literal(&expr), kind) {
        (Some(value), Kind::Whole) => {
            let digits = value.unsigned_abs().checked_ilog10().map_or(1, |digits| digits + 1);
            Expr::Literal(ScalarValue::Decimal128(Some(i128::from(value)), digits as u8, 0), None)
        }
        (None, Kind::Whole) => cast(expr, DataType::Decimal128(20, 0)),
        _ => expr,
    }
}

/// The whole number that `expr` is, with its sign and its cast.
pub fn whole_literal(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(value, _) => match value {
            ScalarValue::Int8(value) => value.map(i64::from),
            ScalarValue::Int16(value) => value.map(i64::from),
            ScalarValue::Int32(value) => value.map(i64::from),
            ScalarValue::Int64(value) => *value,
            _ => None,
        },
        Expr::Negative(inner) => whole_literal(inner)?.checked_neg(),
        Expr::Cast(cast) if cast.field.data_type().is_signed_integer() => {
            let value = whole_literal(&cast.expr)?;
            let fits = match cast.field.data_type() {
                DataType::Int8 => i8::try_from(value).is_ok(),
                DataType::Int16 => i16::try_from(value).is_ok(),
                DataType::Int32 => i32::try_from(value).is_ok(),
                _ => true,
            };
            fits.then_some(value)
        }
        _ => None,
    }
}

fn of_between(between: Between, schema: &DFSchema) -> Transformed<Expr> {
    let Between { expr, negated, low, high } = between;
    let kinds = [&expr, &low, &high].map(|part| kind_of(part, schema));
    let has_wide = kinds.contains(&Kind::Wide);
    if !has_wide && !are_doubles(kinds[0], kinds[1]) && !are_doubles(kinds[0], kinds[2]) {
        return Transformed::no(Expr::Between(Between { expr, negated, low, high }));
    }
    // Each bound is compared for itself.
    let side = |bound: Expr, op: Operator| {
        of_pair(BinaryExpr { left: expr.clone(), op, right: Box::new(bound) }, schema).data
    };
    let within = side(*low, Operator::GtEq).and(side(*high, Operator::LtEq));
    Transformed::yes(if negated { Expr::Not(Box::new(within)) } else { within })
}

/// More elements than this stay a list.
const COMPARED_MAX: usize = 32;

fn of_list(list: InList, schema: &DFSchema) -> Transformed<Expr> {
    let InList { expr, list, negated } = list;
    let own = kind_of(&expr, schema);
    let kinds: Vec<Kind> = list.iter().map(|item| kind_of(item, schema)).collect();
    let is_float = own.is_float() || kinds.iter().any(|kind| kind.is_float());
    let is_wide = own == Kind::Wide || kinds.contains(&Kind::Wide);
    if !(is_float || is_wide) || own == Kind::Other {
        return Transformed::no(Expr::InList(InList { expr, list, negated }));
    }
    if !is_float {
        let mut parts: Vec<Expr> = list.clone();
        if own != Kind::Wide && wide::narrow_all(parts.iter_mut(), schema).is_some() {
            return Transformed::yes(Expr::InList(InList { expr, list: parts, negated }));
        }
        let items = list.into_iter().map(|item| {
            let pair = BinaryExpr { left: expr.clone(), op: Operator::Eq, right: Box::new(item) };
            of_pair(pair, schema).data
        });
        return Transformed::yes(any_of(items.collect(), negated));
    }
    // Lists of constants have one type; others are compared one by one.
    let is_constant = |item: &Expr| item.column_refs().is_empty() && !item.contains_outer();
    let constants = list.iter().filter(|item| is_constant(item)).count();
    if constants > 1 && constants == list.len() {
        let is_double = own == Kind::Double || kinds.contains(&Kind::Double);
        let as_one = |expr: Expr, kind: Kind| if is_double { double(expr, kind) } else { single(expr, kind) };
        let expr = Box::new(as_one(*expr, own));
        let mut list: Vec<Expr> =
            list.into_iter().zip(kinds).map(|(item, kind)| as_one(item, kind)).collect();
        if list.len() > COMPARED_MAX && list.iter().all(|item| matches!(item, Expr::Literal(..))) {
            list.extend(other_zeros(&list));
            return Transformed::yes(Expr::InList(InList { expr, list, negated }));
        }
        let items = list.into_iter().map(|item| equal(expr.as_ref().clone(), item)).collect();
        return Transformed::yes(any_of(items, negated));
    }
    let items = list.into_iter().map(|item| {
        let pair = BinaryExpr { left: expr.clone(), op: Operator::Eq, right: Box::new(item) };
        of_pair(pair, schema).data
    });
    Transformed::yes(any_of(items.collect(), negated))
}

fn equal(left: Expr, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op: Operator::Eq, right: Box::new(right) })
}

fn any_of(items: Vec<Expr>, negated: bool) -> Expr {
    let any =
        items.into_iter().reduce(Expr::or).unwrap_or_else(|| Expr::Literal(ScalarValue::from(false), None));
    if negated { Expr::Not(Box::new(any)) } else { any }
}

/// Both zeros are equal; a list tells them apart.
fn other_zeros(list: &[Expr]) -> Vec<Expr> {
    let zero = |value: ScalarValue| Expr::Literal(value, None);
    let other = |item: &Expr| match item {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) if *value == 0.0 => {
            Some(zero(ScalarValue::Float64(Some(-value))))
        }
        Expr::Literal(ScalarValue::Float32(Some(value)), _) if *value == 0.0 => {
            Some(zero(ScalarValue::Float32(Some(-value))))
        }
        _ => None,
    };
    list.iter().filter_map(other).collect()
}

/// What is compared with the only column of a subquery.
fn beside_subquery(expr: Expr, subquery: Subquery, schema: &DFSchema) -> Result<(Expr, Subquery, bool)> {
    let own = kind_of(&expr, schema);
    let theirs = subquery.subquery.schema().fields().first().map_or(Kind::Other, |f| Kind::of(f.data_type()));
    let are_floats = own.is_float() && theirs.is_float();
    let are_exact = own != Kind::Other
        && theirs != Kind::Other
        && !own.is_float()
        && !theirs.is_float()
        && (own == Kind::Wide || theirs == Kind::Wide);
    if !are_floats && !are_exact && !are_doubles(own, theirs) {
        return Ok((expr, subquery, false));
    }
    let Subquery { subquery: plan, outer_ref_columns, spans } = subquery;
    let (qualifier, field) = plan.schema().qualified_field(0);
    let column = Expr::Column(Column::from((qualifier, field)));
    if are_exact {
        let kinds = (type_of(&expr, schema), field.data_type().clone());
        let Some((expr, column)) = wide::keys_of((&expr, &kinds.0), (&column, &kinds.1)) else {
            return Ok((expr, Subquery { subquery: plan, outer_ref_columns, spans }, false));
        };
        let column = column.alias(field.name());
        let plan = Arc::new(LogicalPlan::Projection(Projection::try_new(vec![column], Arc::clone(&plan))?));
        return Ok((expr, Subquery { subquery: plan, outer_ref_columns, spans }, true));
    }
    let (mut expr, mut column) = (expr, column);
    if own != theirs || !are_floats {
        (expr, column) = (double(expr, own), double(column, theirs));
    }
    let (expr, column) = (zeros::one_zero(expr), zeros::one_zero(column).alias(field.name()));
    let plan = Arc::new(LogicalPlan::Projection(Projection::try_new(vec![column], Arc::clone(&plan))?));
    Ok((expr, Subquery { subquery: plan, outer_ref_columns, spans }, true))
}

/// The type that PostgreSQL gives several numbers of which some are floating-point ones and others decimals.
fn common(kinds: &[Kind]) -> Option<DataType> {
    if !kinds.iter().any(|kind| kind.is_exact()) {
        return None;
    }
    if kinds.contains(&Kind::Double) {
        return Some(DataType::Float64);
    }
    kinds.contains(&Kind::Single).then_some(DataType::Float32)
}

/// The type of whole and floating-point numbers of several sizes, which what stands above must know: a sum of `bigint`s is no
/// `bigint`, and one of `bigint` and `double precision` no `numeric`.
fn widest(types: &[DataType]) -> Option<DataType> {
    use DataType::{Float32, Float64, Int16, Int32, Int64};
    let known = || types.iter().filter(|kind| !kind.is_null());
    let first = known().next()?;
    let are_plain = known().all(|kind| matches!(kind, Int16 | Int32 | Int64 | Float32 | Float64));
    if !are_plain || known().all(|kind| kind == first) {
        return None;
    }
    [Float64, Float32, Int64, Int32].into_iter().find(|kind| types.contains(kind))
}

fn as_common(expr: Expr, kind: Kind, target: &DataType) -> Expr {
    if *target == DataType::Float64 { double(expr, kind) } else { single(expr, kind) }
}

/// A column of `kind` of a UNION as what it is there.
fn as_one(column: Expr, kind: &DataType, target: &DataType) -> Expr {
    match target {
        target if kind.is_null() && *target != numeric::TYPE => cast(column, target.clone()),
        target if *target != numeric::TYPE && target.is_floating() => {
            as_common(column, Kind::of(kind), target)
        }
        _ if kind.is_null() => cast(column, target.clone()),
        target if target.is_integer() && kind.is_integer() => cast(column, target.clone()),
        target if *target == numeric::TYPE => wide::widened(column, kind),
        _ => column,
    }
}

fn of_case(case: Case, schema: &DFSchema) -> Transformed<Expr> {
    let Case { expr: base, mut when_then_expr, mut else_expr } = case;
    let mut is_changed = false;
    let base = match base {
        Some(base) => {
            let own = kind_of(&base, schema);
            let is_odd = |kind: Kind| kind.is_float() || kind == Kind::Wide;
            let are_odd = is_odd(own)
                || (own != Kind::Other
                    && when_then_expr.iter().any(|(when, _)| is_odd(kind_of(when, schema))));
            if are_odd {
                is_changed = true;
                for (when, _) in &mut when_then_expr {
                    let pair = BinaryExpr {
                        left: base.clone(),
                        op: Operator::Eq,
                        right: Box::new(std::mem::take(when.as_mut())),
                    };
                    **when = of_pair(pair, schema).data;
                }
                None
            } else {
                Some(base)
            }
        }
        None => None,
    };
    let mut results: Vec<&mut Box<Expr>> = when_then_expr.iter_mut().map(|(_, then)| then).collect();
    results.extend(else_expr.as_mut());
    let kinds: Vec<Kind> = results.iter().map(|result| kind_of(result, schema)).collect();
    if let Some(target) = common(&kinds) {
        is_changed = true;
        for (result, kind) in results.into_iter().zip(kinds) {
            **result = as_common(std::mem::take(result.as_mut()), kind, &target);
        }
    } else {
        let mut results: Vec<&mut Expr> = results.into_iter().map(|result| result.as_mut()).collect();
        let types: Vec<DataType> = results.iter().map(|result| type_of(result, schema)).collect();
        if let Some(target) = widest(&types) {
            is_changed = true;
            for (result, kind) in results.iter_mut().zip(&types) {
                if *kind != target && !kind.is_null() {
                    **result = cast(std::mem::take(*result), target.clone());
                }
            }
        }
        is_changed |= wide::mixed(&mut results, schema);
    }
    changed(Expr::Case(Case { expr: base, when_then_expr, else_expr }), is_changed)
}

/// Digits of the largest whole number.
const WHOLE_DIGITS_MAX: i32 = 20;

/// Casts that a statement has: those that round, and those that read texts.
fn of_cast(cast: Cast, schema: &DFSchema) -> Transformed<Expr> {
    let Ok(from) = cast.expr.get_type(schema) else { return Transformed::no(Expr::Cast(cast)) };
    let is_text = from.is_string();
    match (&from, cast.field.data_type()) {
        (DataType::Decimal128(from_precision, from_scale), DataType::Decimal128(precision, scale)) => {
            let whole = |precision: u8, scale: i8| i32::from(precision) - i32::from(scale);
            let is_wider =
                scale >= from_scale && whole(*precision, *scale) >= whole(*from_precision, *from_scale);
            if is_wider {
                return Transformed::no(Expr::Cast(cast));
            }
            Transformed::yes(conversions::to_exact(*cast.expr, *precision, *scale))
        }
        (
            DataType::Decimal256(..) | DataType::LargeBinary | DataType::Float32 | DataType::Float64,
            DataType::Decimal128(precision, scale),
        ) => Transformed::yes(conversions::to_exact(*cast.expr, *precision, *scale)),
        (_, DataType::Decimal128(precision, scale)) if is_text => {
            Transformed::yes(conversions::to_exact(*cast.expr, *precision, *scale))
        }
        // Whole numbers of more digits than there is room for.
        (whole, DataType::Decimal128(precision, scale))
            if whole.is_integer() && i32::from(*precision) - i32::from(*scale) < WHOLE_DIGITS_MAX =>
        {
            Transformed::yes(conversions::to_exact(*cast.expr, *precision, *scale))
        }
        (DataType::Decimal128(..) | DataType::Decimal256(..) | DataType::LargeBinary, DataType::Float64) => {
            Transformed::yes(conversions::to_double(unwidened(*cast.expr)))
        }
        (
            DataType::Decimal128(..) | DataType::Decimal256(..) | DataType::LargeBinary | DataType::Float64,
            DataType::Float32,
        ) => Transformed::yes(conversions::to_single(unwidened(*cast.expr))),
        (DataType::LargeBinary, whole) if whole.is_integer() => {
            let exact = conversions::to_exact(*cast.expr, 38, 0);
            Transformed::yes(Expr::Cast(Cast { expr: Box::new(exact), field: cast.field }))
        }
        (DataType::LargeBinary, DataType::Utf8) => Transformed::yes(shown::shown(*cast.expr)),
        (DataType::LargeBinary, text) if text.is_string() => {
            let text = shown::shown(*cast.expr);
            Transformed::yes(Expr::Cast(Cast { expr: Box::new(text), field: cast.field }))
        }
        (_, DataType::Float64) if is_text => Transformed::yes(conversions::to_double(*cast.expr)),
        (_, DataType::Float32) if is_text => Transformed::yes(conversions::to_single(*cast.expr)),
        _ => Transformed::no(Expr::Cast(cast)),
    }
}

fn of_call(mut call: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match call.func.name() {
        "coalesce" | "greatest" | "least" | "make_array" | "nvl" | "ifnull" => {
            let kinds: Vec<Kind> = call.args.iter().map(|arg| kind_of(arg, schema)).collect();
            let Some(target) = common(&kinds) else {
                let mut args: Vec<&mut Expr> = call.args.iter_mut().collect();
                let is_changed = wide::mixed(&mut args, schema);
                return Ok(changed(Expr::ScalarFunction(call), is_changed));
            };
            let args = call.args.into_iter().zip(kinds);
            call.args = args.map(|(arg, kind)| as_common(arg, kind, &target)).collect();
            Ok(Transformed::yes(Expr::ScalarFunction(call)))
        }
        "nullif" if call.args.len() == 2 => {
            let kinds = [kind_of(&call.args[0], schema), kind_of(&call.args[1], schema)];
            let are_numbers = !kinds.contains(&Kind::Other);
            let types = [type_of(&call.args[0], schema), type_of(&call.args[1], schema)];
            if !are_numbers || (types[0] == types[1] && !kinds[0].is_float() && kinds[0] != Kind::Wide) {
                return Ok(Transformed::no(Expr::ScalarFunction(call)));
            }
            let mut args = call.args.into_iter();
            let (Some(first), Some(second)) = (args.next(), args.next()) else {
                return Ok(Transformed::no(Expr::Literal(ScalarValue::Null, None)));
            };
            // It has the type as which its first argument is compared.
            let first = match (kinds[0], kinds[1]) {
                _ if are_doubles(kinds[0], kinds[1]) => double(first, kinds[0]),
                (Kind::Whole, other) if other.is_exact() => wide::widened(first, &types[0]),
                _ => first,
            };
            let nothing = Expr::Literal(ScalarValue::try_from(&first.get_type(schema)?)?, None);
            let pair =
                BinaryExpr { left: Box::new(first.clone()), op: Operator::Eq, right: Box::new(second) };
            let equal = of_pair(pair, schema).data;
            let case = Case {
                expr: None,
                when_then_expr: vec![(Box::new(equal), Box::new(nothing))],
                else_expr: Some(Box::new(first)),
            };
            Ok(Transformed::yes(Expr::Case(case)))
        }
        // What is exact stays as it is.
        conversions::BARE
            if matches!(
                call.args[0].get_type(schema),
                Ok(DataType::Decimal128(..) | DataType::LargeBinary)
            ) =>
        {
            Ok(Transformed::yes(call.args.into_iter().next().unwrap_or_default()))
        }
        conversions::BARE => match literal_text(&call.args[0]) {
            Some(text) => Ok(Transformed::yes(conversions::read_literal(text)?)),
            None => Ok(Transformed::no(Expr::ScalarFunction(call))),
        },
        "round" | "trunc" if call.args.len() == 2 => of_places(call, schema),
        _ => Ok(Transformed::no(Expr::ScalarFunction(call))),
    }
}

fn literal_text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    }
}

/// `round` and `trunc` to so many places as the statement says: the result has as many.
fn of_places(call: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    const WHOLE_DIGITS: u8 = 20;
    let (precision, scale) = match call.args[0].get_type(schema) {
        Ok(DataType::Decimal128(precision, scale)) => (precision, scale),
        Ok(kind) if kind.is_integer() => (WHOLE_DIGITS, 0),
        Ok(kind) if numeric::is_wide(&kind) => (digits::DIGITS_MAX as u8, 0),
        _ => return Ok(Transformed::no(Expr::ScalarFunction(call))),
    };
    let Some(places) = whole_literal(&call.args[1]) else {
        // Each row has as many digits as it says.
        let mut call = call;
        let kind = call.args[0].get_type(schema)?;
        call.args[0] = wide::widened(std::mem::take(&mut call.args[0]), &kind);
        return Ok(Transformed::yes(Expr::ScalarFunction(call)));
    };
    let places = places.clamp(-38, 37) as i8;
    let to = places.max(0);
    // One digit more: of 9.9 comes 10. No more digits than there are room for.
    let whole = (i32::from(precision) - i32::from(scale)).max(0) + 1;
    let precision = (whole + i32::from(to)).clamp(1, 38) as u8;
    let is_bare = digits::bare_scale(&DataType::Decimal128(precision, to)).is_some();
    let precision = precision - u8::from(is_bare);
    let name = call.func.name().to_owned();
    if name == "round" && places >= 0 {
        let first = call.args.into_iter().next().unwrap_or_default();
        return Ok(Transformed::yes(conversions::to_exact(first, precision, to)));
    }
    // What is computed has the scale of the argument at most.
    let call = Expr::ScalarFunction(call);
    Ok(Transformed::yes(conversions::to_exact(call, precision, to)))
}

/// Gives the columns of `plan` that are made of several their types.
pub fn aligned(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Union(union) => aligned_union(union),
        LogicalPlan::RecursiveQuery(recursive) => {
            wide::check_recursion(&recursive)?;
            Ok(Transformed::no(LogicalPlan::RecursiveQuery(recursive)))
        }
        LogicalPlan::Values(values) => aligned_values(values),
        LogicalPlan::Join(join) => Ok(aligned_join(join)),
        LogicalPlan::Sort(mut sort) => {
            // What comes behind a key orders those that are equal by it.
            let behind = sort.expr.len().saturating_sub(1);
            let schema = Arc::clone(sort.input.schema());
            let keys = sort.expr.iter_mut().take(behind).map(|key| &mut key.expr);
            let mut is_changed = with_one_zero(keys, &schema);
            let keys = sort.expr.iter_mut().take(behind).map(|key| &mut key.expr);
            is_changed |= wide::by_keys(keys, &schema);
            let plan = LogicalPlan::Sort(sort);
            Ok(if is_changed { Transformed::yes(plan) } else { Transformed::no(plan) })
        }
        other => wide::grouped(other),
    }
}

fn aligned_union(union: Union) -> Result<Transformed<LogicalPlan>> {
    let columns = union.schema.fields().len();
    let targets: Vec<Option<DataType>> = (0..columns)
        .map(|at| {
            let types: Vec<DataType> = union
                .inputs
                .iter()
                .filter_map(|input| input.schema().fields().get(at).map(|field| field.data_type().clone()))
                .collect();
            let kinds: Vec<Kind> = types.iter().map(Kind::of).collect();
            let exact = common(&kinds).or_else(|| wide::are_mixed(&types).then_some(numeric::TYPE));
            exact.or_else(|| widest(&types)).or_else(|| {
                // The first tells the type of the column.
                let is_null = types.first().is_some_and(DataType::is_null);
                types.into_iter().find(|kind| is_null && kind.is_numeric())
            })
        })
        .collect();
    if targets.iter().all(Option::is_none) {
        let first = union.inputs.first().map(|input| input.schema());
        let is_stale = first.is_some_and(|first| {
            first.fields().len() == columns
                && first
                    .fields()
                    .iter()
                    .zip(union.schema.fields())
                    .any(|(theirs, ours)| theirs.data_type() != ours.data_type())
        });
        if is_stale {
            let union = Union::try_new_with_loose_types(union.inputs)?;
            return Ok(Transformed::yes(LogicalPlan::Union(union)));
        }
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let inputs = union.inputs.into_iter().map(|input| {
        let columns = input.schema().iter().zip(&targets).map(|((qualifier, field), target)| {
            let column = Expr::Column(Column::from((qualifier, field)));
            match target {
                Some(target) if field.data_type() != target => {
                    let typed = as_one(column, field.data_type(), target);
                    typed.alias_qualified(qualifier.cloned(), field.name())
                }
                _ => column,
            }
        });
        let projection = Projection::try_new(columns.collect(), Arc::clone(&input))?;
        Ok(Arc::new(LogicalPlan::Projection(projection)))
    });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    Ok(Transformed::yes(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?)))
}

/// The types that DataFusion gives a floating-point number beside a decimal.
fn is_mixture(kind: &DataType) -> bool {
    matches!(kind, DataType::Decimal128(30.., 15) | DataType::Decimal128(14.., 7))
}

fn aligned_values(values: Values) -> Result<Transformed<LogicalPlan>> {
    let Values { schema, mut values } = values;
    // What was rewritten has kept its name, which no column is called by here.
    for expr in values.iter_mut().flatten() {
        if let Expr::Alias(alias) = expr {
            *expr = std::mem::take(alias.expr.as_mut());
        }
    }
    let nothing = DFSchema::empty();
    let mut is_changed = false;
    for (at, field) in schema.fields().iter().enumerate() {
        if let DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Nanosecond, zone) =
            field.data_type()
        {
            // A NULL beside times, which all have microseconds.
            for expr in values.iter_mut().filter_map(|row| row.get_mut(at)) {
                if matches!(expr, Expr::Literal(value, _) if value.is_null()) {
                    *expr = Expr::Literal(ScalarValue::TimestampMicrosecond(None, zone.clone()), None);
                    is_changed = true;
                }
            }
        }
        if matches!(field.data_type(), DataType::Decimal128(..) | DataType::LargeBinary) {
            is_changed |= widened_values(&mut values, at, field.data_type())?;
        }
        if !is_mixture(field.data_type()) {
            continue;
        }
        // What the planner cast to the type that it gave them all.
        let written = |expr: &Expr| match expr {
            Expr::Cast(cast) if cast.field.data_type() == field.data_type() => kind_of(&cast.expr, &nothing),
            Expr::ScalarFunction(call) if conversions::is_exact(&call.func) => {
                call.args.first().map_or(Kind::Other, |arg| kind_of(arg, &nothing))
            }
            other => kind_of(other, &nothing),
        };
        let kinds: Vec<Kind> = values.iter().filter_map(|row| row.get(at)).map(written).collect();
        let Some(target) = common_of_all(&kinds) else { continue };
        is_changed = true;
        for (row, kind) in values.iter_mut().zip(kinds) {
            let Some(expr) = row.get_mut(at) else { continue };
            let inner = match std::mem::take(expr) {
                Expr::Cast(cast) if cast.field.data_type() == field.data_type() => *cast.expr,
                Expr::ScalarFunction(call) if conversions::is_exact(&call.func) => {
                    call.args.into_iter().next().unwrap_or_default()
                }
                other => other,
            };
            *expr = as_common(inner, kind, &target);
        }
    }
    let is_stale = values.iter().any(|row| {
        row.iter().zip(schema.fields()).any(|(expr, field)| {
            !matches!(expr, Expr::Literal(ScalarValue::Null, _))
                && expr.get_type(&nothing).is_ok_and(|kind| kind != *field.data_type())
        })
    });
    if is_changed || is_stale {
        // NULLs alone keep the type that they were given.
        for (at, field) in schema.fields().iter().enumerate() {
            let is_null = |expr: &Expr| expr.get_type(&nothing).is_ok_and(|kind| kind.is_null());
            if values.iter().filter_map(|row| row.get(at)).all(is_null)
                && let Some(first) = values.first_mut().and_then(|row| row.get_mut(at))
            {
                *first = Expr::Literal(ScalarValue::try_from(field.data_type())?, None);
            }
        }
        return Ok(Transformed::yes(LogicalPlanBuilder::values(values)?.build()?));
    }
    Ok(Transformed::no(LogicalPlan::Values(Values { schema, values })))
}

/// True for a decimal, and for NULL.
fn is_decimal(expr: &Expr) -> bool {
    let kind = type_of(expr, &DFSchema::empty());
    kind.is_null() || (kind.is_decimal() && digits::bare_scale(&kind).is_none())
}

/// Makes a column of VALUES wide whose numbers are decimals of several scales. True when it is.
fn widened_values(values: &mut [Vec<Expr>], at: usize, cast_to: &DataType) -> Result<bool> {
    let nothing = DFSchema::empty();
    // What the planner cast to the type that it gave them all.
    let written = |expr: &Expr| -> Result<Expr> {
        let written = match expr {
            Expr::Cast(cast) if cast.field.data_type() == cast_to => cast.expr.as_ref(),
            Expr::ScalarFunction(call) if conversions::is_exact(&call.func) => {
                call.args.first().unwrap_or(expr)
            }
            other => other,
        };
        match (literal_text(written), written) {
            (Some(text), _) => conversions::read_literal(text),
            (None, Expr::Literal(value, _)) if value.is_null() => Ok(Expr::Literal(ScalarValue::Null, None)),
            (None, written) => Ok(written.clone()),
        }
    };
    let mut parts =
        values.iter().filter_map(|row| row.get(at)).map(written).collect::<Result<Vec<Expr>>>()?;
    let mut all: Vec<&mut Expr> = parts.iter_mut().collect();
    let is_bare = digits::bare_scale(cast_to).is_some();
    let is_wide = wide::mixed(&mut all, &nothing);
    // Decimals of one scale beside a null of no precision.
    let has_one_scale = is_bare && all.iter().all(|part| is_decimal(part));
    if !is_wide && !has_one_scale {
        return Ok(false);
    }
    for (row, part) in values.iter_mut().zip(parts) {
        if let Some(expr) = row.get_mut(at) {
            *expr = part;
        }
    }
    Ok(true)
}

/// The same where decimals may be those that the planner made of whole numbers.
fn common_of_all(kinds: &[Kind]) -> Option<DataType> {
    if kinds.contains(&Kind::Double) {
        return Some(DataType::Float64);
    }
    kinds.contains(&Kind::Single).then_some(DataType::Float32)
}

/// What a join compares by USING.
fn aligned_join(mut join: Join) -> Transformed<LogicalPlan> {
    let mut is_changed = false;
    for (left, right) in &mut join.on {
        let types = (type_of(left, join.left.schema()), type_of(right, join.right.schema()));
        if let Some(keys) = wide::keys_of((left, &types.0), (right, &types.1)) {
            (*left, *right) = keys;
            is_changed = true;
            continue;
        }
        let (left_kind, right_kind) =
            (kind_of(left, join.left.schema()), kind_of(right, join.right.schema()));
        if are_doubles(left_kind, right_kind) {
            *left = double(std::mem::take(left), left_kind);
            *right = double(std::mem::take(right), right_kind);
            is_changed = true;
        }
        let are_doubles = are_doubles(left_kind, right_kind);
        if are_doubles || (left_kind.is_float() && right_kind.is_float()) {
            *left = zeros::one_zero(std::mem::take(left));
            *right = zeros::one_zero(std::mem::take(right));
            is_changed = true;
        }
    }
    if is_changed {
        // What USING names are columns.
        join.join_constraint = JoinConstraint::On;
    }
    let plan = LogicalPlan::Join(join);
    if is_changed { Transformed::yes(plan) } else { Transformed::no(plan) }
}
