//! Literals in quotes have no type until what stands beside them has one: `n = '1.004'` compares two numbers, of which neither is
//! rounded to the digits of the other, and `b = 't'` two booleans.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, JoinType, NullEquality, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, ExprSchemable, Join, LogicalPlan, Projection, Union, cast, lit,
};

use crate::Error;
use crate::casts::{Kind, have_common, name};
use crate::functions::bytes;
use crate::functions::numbers::conversions;
use crate::sqlstate::SqlState;

/// What a literal beside others is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Beside {
    Numeric,
    Boolean,
    Bytea,
    /// Another number, where the literal becomes one of its type.
    Number(DataType),
}

/// Gives the literals of `expr` the types of what they stand beside.
pub fn known(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { mut left, op, mut right }) if super::compares(op) => {
            let is_changed = read([left.as_mut(), right.as_mut()], schema)?;
            Ok(super::changed(Expr::BinaryExpr(BinaryExpr { left, op, right }), is_changed))
        }
        Expr::Between(mut between) => {
            let parts = [between.expr.as_mut(), between.low.as_mut(), between.high.as_mut()];
            let is_changed = read(parts, schema)?;
            Ok(super::changed(Expr::Between(between), is_changed))
        }
        Expr::InList(mut list) => {
            let parts = std::iter::once(list.expr.as_mut()).chain(&mut list.list);
            let is_changed = read(parts, schema)?;
            Ok(super::changed(Expr::InList(list), is_changed))
        }
        Expr::Case(mut case) => {
            let mut is_changed = false;
            if let Some(base) = case.expr.as_mut() {
                let whens = case.when_then_expr.iter_mut().map(|(when, _)| when.as_mut());
                is_changed |= read(std::iter::once(base.as_mut()).chain(whens), schema)?;
            }
            let thens = case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut());
            is_changed |= read_common(thens.chain(case.else_expr.as_deref_mut()), schema)?;
            Ok(super::changed(Expr::Case(case), is_changed))
        }
        Expr::ScalarFunction(mut call)
            if matches!(
                call.func.name(),
                "coalesce" | "nullif" | "greatest" | "least" | "make_array" | "nvl" | "ifnull"
            ) =>
        {
            let is_changed = match call.func.name() {
                "nullif" => read(&mut call.args, schema)?,
                _ => read_common(&mut call.args, schema)?,
            };
            Ok(super::changed(Expr::ScalarFunction(call), is_changed))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Reads the literals among `parts` as what they are compared with. True when there were some.
fn read<'a>(parts: impl IntoIterator<Item = &'a mut Expr>, schema: &DFSchema) -> Result<bool> {
    let mut parts: Vec<&mut Expr> = parts.into_iter().collect();
    if !parts.iter().any(|part| text_of(part).is_some()) {
        return Ok(false);
    }
    let known = parts.iter().find_map(|part| match text_of(part) {
        Some(_) => None,
        None => compared_with(&part.get_type(schema).ok()?),
    });
    read_all(&mut parts, known)
}

/// Reads a literal in quotes among two operands, one of which is a wide number.
pub(super) fn beside_number(pair: [Expr; 2], schema: &DFSchema) -> Result<[Expr; 2]> {
    let [mut left, mut right] = pair;
    let is_text = (text_of(&left).is_some(), text_of(&right).is_some());
    if is_text.0 != is_text.1 {
        read([&mut left, &mut right], schema)?;
    }
    Ok([left, right])
}

fn compared_with(kind: &DataType) -> Option<Beside> {
    match Kind::of(kind) {
        Kind::Numeric => Some(Beside::Numeric),
        Kind::Bool => Some(Beside::Boolean),
        Kind::Bytea => Some(Beside::Bytea),
        _ => None,
    }
}

/// The same for `parts` that become values of one type.
fn read_common<'a>(parts: impl IntoIterator<Item = &'a mut Expr>, schema: &DFSchema) -> Result<bool> {
    let mut parts: Vec<&mut Expr> = parts.into_iter().collect();
    if !parts.iter().any(|part| text_of(part).is_some()) {
        return Ok(false);
    }
    let others = parts.iter().filter(|part| text_of(part).is_none());
    let known = common(others.filter_map(|part| part.get_type(schema).ok()));
    read_all(&mut parts, known)
}

/// What literals are beside values of `kinds`: where those are numbers, the one that holds them all.
fn common(kinds: impl IntoIterator<Item = DataType>) -> Option<Beside> {
    const RANK: [Kind; 6] = [Kind::Int2, Kind::Int4, Kind::Int8, Kind::Numeric, Kind::Float4, Kind::Float8];
    let rank = |kind: &DataType| RANK.iter().position(|known| *known == Kind::of(kind));
    let mut widest: Option<DataType> = None;
    for kind in kinds {
        match compared_with(&kind) {
            Some(Beside::Numeric) | None => {}
            known => return known,
        }
        if rank(&kind) > widest.as_ref().and_then(rank) {
            widest = Some(kind);
        }
    }
    let widest = widest?;
    Some(compared_with(&widest).unwrap_or(Beside::Number(widest)))
}

fn read_all(parts: &mut [&mut Expr], known: Option<Beside>) -> Result<bool> {
    let Some(known) = known else { return Ok(false) };
    for part in parts {
        if text_of(part).is_some() {
            **part = read_as(std::mem::take(*part), &known)?;
        }
    }
    Ok(true)
}

/// The literal `expr` as what it stands beside.
fn read_as(expr: Expr, known: &Beside) -> Result<Expr> {
    let text = text_of(&expr).unwrap_or_default();
    Ok(match known {
        Beside::Boolean => lit(boolean(text)?),
        Beside::Bytea => Expr::Literal(ScalarValue::Binary(Some(bytes::bytes_of(text)?)), None),
        Beside::Numeric => conversions::read_literal(text)?,
        // At once: what nobody computes is still refused where it says nothing.
        Beside::Number(DataType::Float64) => lit(conversions::read_double(text)?),
        Beside::Number(DataType::Float32) => lit(conversions::read_single(text)?),
        Beside::Number(kind) => lit(ScalarValue::from(text).cast_to(kind)?),
    })
}

/// Reads the literals that are columns of a UNION as what the other queries have there. Refuses (42804) columns that have no
/// common type.
pub fn in_union(plan: LogicalPlan, options: &Arc<ConfigOptions>) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Union(mut union) = plan else { return Ok(Transformed::no(plan)) };
    let mut is_changed = false;
    for at in 0..union.schema.fields().len() {
        let types: Vec<DataType> = union
            .inputs
            .iter()
            .filter(|input| column_of(input, at).is_none_or(|(expr, _)| text_of(expr).is_none()))
            .filter_map(|input| Some(input.schema().fields().get(at)?.data_type().clone()))
            .collect();
        check_union(&types)?;
        let known = common(types.iter().cloned());
        for input in &mut union.inputs {
            let Some((expr, schema)) = column_of(input, at) else { continue };
            let read = match (&known, text_of(expr)) {
                (Some(known), Some(_)) => Some(read_as(expr.clone(), known)?),
                _ => super::instants::beside(expr, &types, schema, options)?,
            };
            if let Some(read) = read {
                *input = with_column(input, at, read)?;
                is_changed = true;
            }
        }
    }
    if !is_changed {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    Ok(Transformed::yes(LogicalPlan::Union(Union::try_new_with_loose_types(union.inputs)?)))
}

/// Gives the columns of EXCEPT and INTERSECT, which the planner makes joins of all columns of both sides, the types that they
/// would have in a UNION.
pub fn in_set_operation(plan: LogicalPlan, options: &Arc<ConfigOptions>) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Join(mut join) = plan else { return Ok(Transformed::no(plan)) };
    let kinds = |side: &LogicalPlan| -> Vec<DataType> {
        side.schema().fields().iter().map(|field| field.data_type().clone()).collect()
    };
    let (left_kinds, right_kinds) = (kinds(&join.left), kinds(&join.right));
    let is_of_all = join.null_equality == NullEquality::NullEqualsNull
        && matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.on.len() == left_kinds.len()
        && join.on.len() == right_kinds.len();
    if !is_of_all || left_kinds == right_kinds {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    let (left, is_distinct) = match join.left.as_ref() {
        LogicalPlan::Distinct(Distinct::All(input)) => (Arc::clone(input), true),
        _ => (Arc::clone(&join.left), false),
    };
    let union = Union::try_new_with_loose_types(vec![left, Arc::clone(&join.right)])?;
    let union = in_union(LogicalPlan::Union(union), options)?.data;
    let LogicalPlan::Union(union) = super::numbers::aligned(union)?.data else {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    };
    let [left, right] = union.inputs.as_slice() else { return Ok(Transformed::no(LogicalPlan::Join(join))) };
    let targets: Vec<Option<DataType>> = kinds(left).iter().zip(kinds(right)).map(of_both).collect();
    let left = as_types(left, &targets)?;
    join.left = if is_distinct { Arc::new(LogicalPlan::Distinct(Distinct::All(left))) } else { left };
    join.right = as_types(right, &targets)?;
    let join = Join::try_new(
        join.left,
        join.right,
        join.on,
        join.filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    Ok(Transformed::yes(LogicalPlan::Join(join)))
}

/// The type of a column of two sides, where they are still of two.
fn of_both((left, right): (&DataType, DataType)) -> Option<DataType> {
    if *left == right || right.is_null() {
        return None;
    }
    if left.is_null() {
        return Some(right);
    }
    let is_plain = |kind: &DataType| kind.is_numeric() || kind.is_temporal();
    if is_plain(left) && is_plain(&right) { comparison_coercion(left, &right) } else { None }
}

fn as_types(plan: &Arc<LogicalPlan>, targets: &[Option<DataType>]) -> Result<Arc<LogicalPlan>> {
    let is_other = |(field, target): (&Arc<Field>, &Option<DataType>)| {
        target.as_ref().is_some_and(|target| target != field.data_type())
    };
    if !plan.schema().fields().iter().zip(targets).any(is_other) {
        return Ok(Arc::clone(plan));
    }
    let columns = plan.schema().iter().zip(targets).map(|((qualifier, field), target)| {
        let column = Expr::from((qualifier, field));
        match target {
            Some(target) if target != field.data_type() => {
                cast(column, target.clone()).alias_qualified(qualifier.cloned(), field.name())
            }
            _ => column,
        }
    });
    Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(columns.collect(), Arc::clone(plan))?)))
}

fn check_union(types: &[DataType]) -> Result<()> {
    let Some(first) = types.iter().find(|kind| Kind::of(kind) != Kind::Other) else { return Ok(()) };
    let Some(other) = types.iter().find(|kind| !have_common([Kind::of(first), Kind::of(kind)])) else {
        return Ok(());
    };
    let message = format!("UNION types {} and {} cannot be matched", name(first), name(other));
    let error = Error::Stamped { sqlstate: SqlState::from_text("42804"), message };
    Err(DataFusionError::Plan(error.to_stamp()))
}

/// What a query of a UNION computes for a column, and what it is computed of.
fn column_of(plan: &LogicalPlan, at: usize) -> Option<(&Expr, &DFSchema)> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let expr = match projection.expr.get(at)? {
                Expr::Alias(alias) => alias.expr.as_ref(),
                expr => expr,
            };
            Some((expr, projection.input.schema()))
        }
        _ => None,
    }
}

fn with_column(plan: &LogicalPlan, at: usize, read: Expr) -> Result<Arc<LogicalPlan>> {
    let LogicalPlan::Projection(projection) = plan else { return Ok(Arc::new(plan.clone())) };
    let mut columns = projection.expr.clone();
    if let Some(column) = columns.get_mut(at) {
        let (qualifier, named) = column.qualified_name();
        *column = read.alias_qualified(qualifier, named);
    }
    let projection = Projection::try_new(columns, Arc::clone(&projection.input))?;
    Ok(Arc::new(LogicalPlan::Projection(projection)))
}

fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(
            ScalarValue::Utf8(Some(text))
            | ScalarValue::LargeUtf8(Some(text))
            | ScalarValue::Utf8View(Some(text)),
            _,
        ) => Some(text),
        _ => None,
    }
}

/// A boolean in one of the forms of `boolin` (bool.c): a word or the beginning of one, where that is no other's.
fn boolean(text: &str) -> Result<bool> {
    let word = text.trim_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']).to_ascii_lowercase();
    let begins = |whole: &str, least: usize| word.len() >= least && whole.starts_with(word.as_str());
    if begins("true", 1) || begins("yes", 1) || word == "on" || word == "1" {
        return Ok(true);
    }
    if begins("false", 1) || begins("no", 1) || begins("off", 2) || word == "0" {
        return Ok(false);
    }
    let message = format!("invalid input syntax for type boolean: \"{text}\"");
    Err(DataFusionError::External(Box::new(Error::InvalidText { message })))
}

#[cfg(test)]
mod tests {
    use super::boolean;

    #[test]
    fn booleans_are_read_as_postgres_reads_them() {
        for text in ["t", "tru", "TRUE", " yes ", "y", "on", "1"] {
            assert_eq!(boolean(text).ok(), Some(true), "{text}");
        }
        for text in ["f", "fals", "n", "no", "of", "OFF", "0"] {
            assert_eq!(boolean(text).ok(), Some(false), "{text}");
        }
        for text in ["", "o", "truee", "2", "nope"] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }
}
