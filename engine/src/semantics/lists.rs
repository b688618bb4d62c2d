//! Arrays: their casts, comparisons and calls, by the types that were written.

use std::sync::Arc;

use datafusion::arrow::array::Array;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, lit,
};

use super::changed;
use crate::functions::lists::{
    Operation, call, cast_function, constants, depth, item_of, leaf_of, no_such_operator, operation,
    type_of_literal, unsupported, with_leaf,
};
use crate::functions::numbers::digits;
use crate::functions::numbers::wide::{self, is_wide};

/// So many items of a constant array stand in an IN at most.
const ITEMS_MAX: usize = 1000;

/// Gives `expr` its meaning, before types are coerced.
pub fn meant(expr: Expr, schema: &DFSchema, options: &Arc<ConfigOptions>) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Cast(cast) => cast_meant(cast, schema),
        Expr::BinaryExpr(binary) if symbol(binary.op).is_some() => compared(binary, schema),
        Expr::InList(list) => Ok(in_list_meant(list, schema)),
        Expr::ScalarFunction(function) => called(function, schema, options),
        Expr::AggregateFunction(function) if function.func.name() == "array_agg" => {
            // Arrays that are written have one length; others may differ, which is an error in PostgreSQL.
            let is_written =
                |expr: &Expr| matches!(expr, Expr::ScalarFunction(call) if call.func.name() == "make_array");
            let gathers_arrays = function
                .params
                .args
                .iter()
                .any(|arg| !is_written(arg) && type_of(arg, schema).is_some_and(|kind| depth(&kind) > 0));
            if gathers_arrays {
                return Err(unsupported("array_agg of arrays is not supported".to_owned()));
            }
            Ok(Transformed::no(Expr::AggregateFunction(function)))
        }
        // Only the first items of arrays of arrays would be compared.
        Expr::AggregateFunction(function) if ["min", "max"].contains(&function.func.name()) => {
            let mut args = function.params.args.iter();
            if args.any(|arg| type_of(arg, schema).is_some_and(|kind| depth(&kind) > 1)) {
                let name = function.func.name();
                return Err(unsupported(format!("{name} of arrays of several dimensions is not supported")));
            }
            Ok(Transformed::no(Expr::AggregateFunction(function)))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Refuses `unnest` of arrays of several dimensions, which gives their innermost items in PostgreSQL.
pub fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::Unnest(unnest) = plan {
            for (_, list) in &unnest.list_type_columns {
                let is_array = |kind: &DataType| item_of(kind).is_some();
                let field = unnest.schema.field_with_unqualified_name(list.output_column.name());
                if field.is_ok_and(|field| is_array(field.data_type())) {
                    let message = "unnest of arrays of several dimensions is not supported";
                    return Err(unsupported(message.to_owned()));
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn type_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    expr.get_type(schema).ok()
}

/// A text that is a literal, which has no type of its own.
fn literal(expr: &Expr) -> Option<Option<&str>> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str(),
        _ => None,
    }
}

/// `value` as an array of `kind`.
fn array(value: Expr, kind: &DataType) -> Result<Expr> {
    let wanted = Expr::Literal(ScalarValue::try_new_null(kind)?, None);
    Ok(call(Operation::Array, vec![value, wanted]))
}

fn cast_meant(cast: Cast, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let mut target = cast.field.data_type().clone();
    if depth(&target) > 0 && *leaf_of(&target) == digits::BARE {
        // Of `numeric` each item has its own digits.
        target = with_leaf(&target, wide::TYPE);
    }
    if depth(&target) == 0 && !target.is_string() {
        return Ok(Transformed::no(Expr::Cast(cast)));
    }
    let Some(source) = type_of(&cast.expr, schema) else {
        return Ok(Transformed::no(Expr::Cast(cast)));
    };
    if depth(&target) > 0 {
        let kind = match &source {
            source if source.is_string() => match literal(&cast.expr) {
                Some(text) => type_of_literal(text, &target),
                None => with_leaf(&target, leaf_of(&target).clone()),
            },
            source if depth(source) > 0 => with_leaf(source, leaf_of(&target).clone()),
            _ => return Ok(Transformed::no(Expr::Cast(cast))),
        };
        if depth(&source) == depth(&kind) && leaf_of(&source) == leaf_of(&kind) {
            // Nothing is read: at most the list's field has another name.
            // An array's type says nothing of its dimensions: `text[]` is that of arrays of arrays, too.
            let is_as_it_is = matches!(target, DataType::FixedSizeList(..))
                || depth(&target) != depth(&source)
                || target != *cast.field.data_type();
            return Ok(if is_as_it_is {
                Transformed::yes(*cast.expr)
            } else {
                Transformed::no(Expr::Cast(cast))
            });
        }
        return Ok(Transformed::yes(array(*cast.expr, &kind)?));
    }
    if target.is_string() && depth(&source) > 0 {
        let text = call(Operation::Text, vec![*cast.expr]);
        return Ok(Transformed::yes(match target {
            DataType::Utf8 => text,
            target => datafusion::logical_expr::cast(text, target),
        }));
    }
    Ok(Transformed::no(Expr::Cast(cast)))
}

/// Comparisons, as PostgreSQL writes them.
fn symbol(op: Operator) -> Option<&'static str> {
    Some(match op {
        Operator::Eq => "=",
        Operator::NotEq => "<>",
        Operator::Lt => "<",
        Operator::LtEq => "<=",
        Operator::Gt => ">",
        Operator::GtEq => ">=",
        Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => "=",
        _ => return None,
    })
}

fn compared(binary: BinaryExpr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (Some(left_type), Some(right_type)) = (type_of(&binary.left, schema), type_of(&binary.right, schema))
    else {
        return Ok(Transformed::no(Expr::BinaryExpr(binary)));
    };
    let (left_depth, right_depth) = (depth(&left_type), depth(&right_type));
    if left_depth + right_depth == 0 {
        return Ok(Transformed::no(Expr::BinaryExpr(binary)));
    }
    let BinaryExpr { left, op, right } = binary;
    let symbol = symbol(op).unwrap_or("=");
    // Texts that are no literals are no arrays.
    let (left, left_type) = as_array(*left, left_type, &right_type)?;
    let (right, right_type) = as_array(*right, right_type, &left_type)?;
    if left_type.is_null() || right_type.is_null() {
        let binary = BinaryExpr { left: Box::new(left), op, right: Box::new(right) };
        return Ok(Transformed::no(Expr::BinaryExpr(binary)));
    }
    let (left_leaf, right_leaf) = (leaf_of(&left_type), leaf_of(&right_type));
    let is_exact = |kind: &DataType| kind.is_decimal() || is_wide(kind);
    let are_alike = left_leaf == right_leaf
        || left_leaf.is_null()
        || right_leaf.is_null()
        || (left_leaf.is_string() && right_leaf.is_string())
        || (is_exact(left_leaf) && is_exact(right_leaf));
    if depth(&left_type) == 0 || depth(&right_type) == 0 || !are_alike {
        return Err(no_such_operator(symbol, &left_type, &right_type));
    }
    let is_same = depth(&left_type) == depth(&right_type)
        && (left_leaf == right_leaf || (left_leaf.is_string() && right_leaf.is_string()))
        && !left_leaf.is_floating()
        && !is_wide(left_leaf)
        && !matches!(left_leaf, DataType::Interval(_));
    let is_equality = matches!(op, Operator::Eq | Operator::NotEq);
    let tells_nulls_apart = matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom);
    if tells_nulls_apart && !is_same {
        return Err(unsupported("IS DISTINCT FROM of such arrays is not supported".to_owned()));
    }
    if is_same && (is_equality || tells_nulls_apart) {
        let binary = BinaryExpr { left: Box::new(left), op, right: Box::new(right) };
        return Ok(Transformed::yes(Expr::BinaryExpr(binary)));
    }
    if depth(&left_type) != depth(&right_type) {
        let message = "a comparison of arrays of different dimensions is not supported";
        return Err(unsupported(message.to_owned()));
    }
    Ok(Transformed::yes(call(Operation::Compare, vec![lit(symbol), left, right])))
}

/// A literal beside an array of `other`'s type is read as one.
fn as_array(expr: Expr, kind: DataType, other: &DataType) -> Result<(Expr, DataType)> {
    match literal(&expr) {
        Some(text) if depth(other) > 0 => {
            let kind = type_of_literal(text, other);
            check_text(text, &kind)?;
            Ok((array(expr, &kind)?, kind))
        }
        _ => Ok((expr, kind)),
    }
}

/// Refuses a text that is no array of `kind`, also where nobody computes it.
fn check_text(text: Option<&str>, kind: &DataType) -> Result<()> {
    let values = [ScalarValue::Utf8(text.map(str::to_owned)), ScalarValue::try_new_null(kind)?];
    let field = |kind: &DataType| Arc::new(Field::new("value", kind.clone(), true));
    let arg_fields = values.iter().map(|value| field(&value.data_type())).collect();
    cast_function().invoke_with_args(ScalarFunctionArgs {
        args: values.map(ColumnarValue::Scalar).to_vec(),
        arg_fields,
        number_rows: 1,
        return_field: field(kind),
        config_options: Arc::new(ConfigOptions::default()),
    })?;
    Ok(())
}

fn in_list_meant(list: InList, schema: &DFSchema) -> Transformed<Expr> {
    let Some(kind) = type_of(&list.expr, schema).filter(|kind| depth(kind) > 0) else {
        return Transformed::no(Expr::InList(list));
    };
    let mut is_changed = false;
    let InList { expr, list, negated } = list;
    let read = |item: Expr| match literal(&item) {
        Some(_) => match array(item.clone(), &kind) {
            Ok(read) => {
                is_changed = true;
                read
            }
            Err(_) => item,
        },
        None => item,
    };
    let list = list.into_iter().map(read).collect();
    changed(Expr::InList(InList { expr, list, negated }), is_changed)
}

fn called(
    mut function: ScalarFunction,
    schema: &DFSchema,
    options: &Arc<ConfigOptions>,
) -> Result<Transformed<Expr>> {
    let is_array = |expr: &Expr| type_of(expr, schema).is_some_and(|kind| depth(&kind) > 0);
    match function.func.name() {
        "make_array" if function.args.iter().any(is_array) => {
            let rows = Expr::ScalarFunction(function);
            return Ok(Transformed::yes(call(Operation::Level, vec![rows])));
        }
        "concat" | "concat_ws" | "format" if function.args.iter().any(is_array) => {
            let shown = |arg| if is_array(&arg) { call(Operation::Text, vec![arg]) } else { arg };
            function.args = function.args.into_iter().map(shown).collect();
            return Ok(Transformed::yes(Expr::ScalarFunction(function)));
        }
        "coalesce" | "nvl" if function.args.iter().any(is_array) => {
            let kinds = function.args.iter().filter_map(|arg| type_of(arg, schema));
            let Some(kind) = kinds.into_iter().find(|kind| depth(kind) > 0) else {
                return Ok(Transformed::no(Expr::ScalarFunction(function)));
            };
            let read = |arg| Ok(as_array(arg, DataType::Utf8, &kind)?.0);
            let is_read = function.args.iter().any(|arg| literal(arg).is_some());
            function.args = function.args.into_iter().map(read).collect::<Result<_>>()?;
            return Ok(changed(Expr::ScalarFunction(function), is_read));
        }
        _ => {}
    }
    match operation(&function.func) {
        Some(operation @ (Operation::Any | Operation::All)) => {
            quantified(operation, function, schema, options)
        }
        Some(
            Operation::Append
            | Operation::Prepend
            | Operation::Remove
            | Operation::Replace
            | Operation::Position
            | Operation::Positions,
        ) => {
            check_items(&function, schema)?;
            Ok(Transformed::no(Expr::ScalarFunction(function)))
        }
        _ => Ok(Transformed::no(Expr::ScalarFunction(function))),
    }
}

/// A text beside an array of something else is read as an item when it is a literal; another one is an error.
fn check_items(function: &ScalarFunction, schema: &DFSchema) -> Result<()> {
    let types: Vec<_> = function.args.iter().filter_map(|arg| type_of(arg, schema)).collect();
    let Some(list) = types.iter().find(|kind| depth(kind) > 0) else { return Ok(()) };
    let is_of_texts = leaf_of(list).is_string() || leaf_of(list).is_null();
    for (arg, kind) in function.args.iter().zip(&types) {
        let differs = depth(kind) == 0 && kind.is_string() != is_of_texts && !kind.is_null();
        // Of an optional position, a number is no item.
        if differs && literal(arg).is_none() && kind.is_string() {
            return Err(no_such_operator("=", leaf_of(list), kind));
        }
    }
    Ok(())
}

/// `x = ANY (ARRAY[…])` is `x IN (…)`, and `x <> ALL (…)` is `x NOT IN (…)`: files are left out by those.
fn quantified(
    operation: Operation,
    function: ScalarFunction,
    schema: &DFSchema,
    options: &Arc<ConfigOptions>,
) -> Result<Transformed<Expr>> {
    let whole = |function| Ok(Transformed::no(Expr::ScalarFunction(function)));
    let [op, item, list] = function.args.as_slice() else { return whole(function) };
    let (Some(Some(op)), Some(item_type), Some(list_type)) =
        (literal(op), type_of(item, schema), type_of(list, schema))
    else {
        return whole(function);
    };
    let is_membership = matches!((operation, op), (Operation::Any, "=") | (Operation::All, "<>"));
    let negated = operation == Operation::All;
    // Numbers beside a decimal have their own digits.
    let read_as = if item_type.is_decimal() { wide::TYPE } else { item_type.clone() };
    if let Some(Some(text)) = literal(list)
        && is_membership
        && !item_type.is_floating()
        && let Some(items) = constants(text, &read_as)
        && (1..=ITEMS_MAX).contains(&items.len())
    {
        let list = items.into_iter().map(|value| Expr::Literal(value, None)).collect();
        let list = InList { expr: Box::new(item.clone()), list, negated };
        let meant = super::instants::one_of(list, schema, options)?;
        let meant = meant.transform_data(|list| super::numbers::meant(list, schema))?;
        return Ok(Transformed::yes(meant.data));
    }
    let leaf = leaf_of(&list_type);
    let is_literal = literal(item).is_some() || literal(list).is_some();
    if depth(&list_type) > 0 && !leaf.is_null() && !item_type.is_null() {
        let are_alike = leaf.is_string() == item_type.is_string();
        if !are_alike && !is_literal {
            return Err(no_such_operator(op, &item_type, leaf));
        }
        let has_plain_items = !leaf.is_floating() && depth(&list_type) == 1;
        if is_membership
            && are_alike
            && has_plain_items
            && let Some(items) = items(list)
            && !items.is_empty()
        {
            let list = InList { expr: Box::new(item.clone()), list: items, negated };
            let meant = super::instants::one_of(list, schema, options)?;
            let meant = meant.transform_data(|list| super::numbers::meant(list, schema))?;
            return Ok(Transformed::yes(meant.data));
        }
    }
    whole(function)
}

/// The items of an array that is written, or constant.
fn items(list: &Expr) -> Option<Vec<Expr>> {
    match list {
        Expr::ScalarFunction(call) if call.func.name() == "make_array" => Some(call.args.clone()),
        Expr::Literal(ScalarValue::List(list), _) if list.len() == 1 && list.is_valid(0) => {
            let values = list.value(0);
            if values.len() > ITEMS_MAX {
                return None;
            }
            let item = |at| ScalarValue::try_from_array(&values, at).ok();
            (0..values.len()).map(|at| item(at).map(|value| Expr::Literal(value, None))).collect()
        }
        _ => None,
    }
}
