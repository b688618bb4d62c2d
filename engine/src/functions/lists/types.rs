//! The types of what the functions of arrays give.

use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;

use super::Operation as Op;
use super::leaves::{depth, item_of, leaf_of, list_of, with_leaf};
use super::{ALL, Operation, no_such_function, no_such_operator, unsupported};
use crate::functions::numbers::wide::{TYPE, is_wide};

/// The type that two items have in common; a text beside another type is read as one of it.
pub(super) fn common(left: &DataType, right: &DataType) -> Option<DataType> {
    let are_times = |left: &DataType, right: &DataType| {
        let is_time = |kind: &DataType| matches!(kind, DataType::Date32 | DataType::Timestamp(..));
        is_time(left) && is_time(right)
    };
    match (left, right) {
        (left, right) if left == right => Some(left.clone()),
        (DataType::Null, other) | (other, DataType::Null) => Some(other.clone()),
        (left, right) if left.is_string() && right.is_string() => Some(DataType::Utf8),
        (text, other) | (other, text) if text.is_string() && depth(other) == 0 => Some(other.clone()),
        (left, right) if is_wide(left) || is_wide(right) => {
            let other = if is_wide(left) { right } else { left };
            match other {
                other if other.is_floating() => Some(DataType::Float64),
                other => other.is_numeric().then_some(TYPE),
            }
        }
        // Each item keeps the digits that it is written with.
        (DataType::Decimal128(_, scale), DataType::Decimal128(_, other)) if scale != other => Some(TYPE),
        (DataType::Decimal128(_, 1..), whole) | (whole, DataType::Decimal128(_, 1..))
            if whole.is_integer() =>
        {
            Some(TYPE)
        }
        (left, right) if left.is_numeric() && right.is_numeric() => comparison_coercion(left, right),
        (left, right) if are_times(left, right) => comparison_coercion(left, right),
        _ => None,
    }
}

/// The type of the innermost items of two arrays, or of texts in their place.
pub(super) fn common_leaf(left: &DataType, right: &DataType) -> Option<DataType> {
    match (is_text(left), is_text(right)) {
        (true, true) => None,
        (true, false) => Some(leaf_of(right).clone()),
        (false, true) => Some(leaf_of(left).clone()),
        (false, false) => common(leaf_of(left), leaf_of(right)),
    }
}

fn is_text(kind: &DataType) -> bool {
    kind.is_string()
}

fn is_array(kind: &DataType) -> bool {
    item_of(kind).is_some() || kind.is_null()
}

/// The type of what `operation` gives for arguments of `types`.
pub(super) fn result(operation: Operation, types: &[DataType]) -> Result<DataType> {
    let name = ALL.iter().find(|(known, ..)| *known == operation).map_or("", |(_, name, ..)| *name);
    let wrong = || no_such_function(name, types);
    let kind = match (operation, types) {
        (Op::Text, [list]) if is_array(list) => DataType::Utf8,
        (Op::Array, [value, wanted]) if is_array(value) || is_text(value) => wanted.clone(),
        (Op::Item, [list, indices @ ..]) if is_array(list) && indices.iter().all(is_index) => {
            leaf_of(list).clone()
        }
        (Op::Slice, [list, from, to]) if is_array(list) && is_index(from) && is_index(to) => list.clone(),
        (Op::Level, [list]) => list.clone(),
        (Op::Compare | Op::Contains | Op::Overlaps, [.., left, right]) => {
            common_leaf(left, right).ok_or_else(wrong)?;
            DataType::Boolean
        }
        (Op::Any | Op::All, [_, item, list]) if is_array(list) || is_text(list) => {
            let leaf = if is_text(list) { item } else { leaf_of(list) };
            common(leaf, item).ok_or_else(|| no_such_operator("=", item, leaf))?;
            DataType::Boolean
        }
        (Op::Append, [list, item]) | (Op::Prepend, [item, list]) => appended(list, item).ok_or_else(wrong)?,
        (Op::Cat, [left, right]) => {
            let deepest = if depth(left) >= depth(right) { left } else { right };
            let are_arrays = (is_array(left) || is_text(left)) && (is_array(right) || is_text(right));
            if !are_arrays || depth(left).abs_diff(depth(right)) > 1 && depth(left) > 0 && depth(right) > 0 {
                return Err(wrong());
            }
            let leaf = common_leaf(left, right).ok_or_else(wrong)?;
            with_leaf(deepest, leaf)
        }
        (Op::Remove, [list, item]) => appended(list, item).ok_or_else(wrong)?,
        (Op::Replace, [list, from, to]) => {
            let list = appended(list, from).ok_or_else(wrong)?;
            appended(&list, to).ok_or_else(wrong)?
        }
        (Op::Position, [list, item, rest @ ..]) if rest.iter().all(is_index) => {
            appended(list, item).ok_or_else(wrong)?;
            DataType::Int32
        }
        (Op::Positions, [list, item]) => {
            appended(list, item).ok_or_else(wrong)?;
            list_of(DataType::Int32)
        }
        (Op::Length | Op::Upper | Op::Lower, [list, dimension]) if is_array(list) && is_index(dimension) => {
            DataType::Int32
        }
        (Op::Levels | Op::Cardinality, [list]) if is_array(list) => DataType::Int32,
        (Op::Dimensions, [list]) if is_array(list) => DataType::Utf8,
        (Op::Joined, [list, rest @ ..]) if is_array(list) && rest.iter().all(is_text_or_null) => {
            DataType::Utf8
        }
        (Op::Split, texts) if texts.iter().all(is_text_or_null) => list_of(DataType::Utf8),
        (Op::Trim, [list, count]) if is_array(list) && is_index(count) => list.clone(),
        (Op::Continuous | Op::Discrete, [list, share, DataType::Boolean]) => {
            let of_one = percentile(operation, item_of(list).unwrap_or(&DataType::Null), share)
                .ok_or_else(|| no_such_set(name, share, list))?;
            if depth(share) == 0 { of_one } else { list_of(of_one) }
        }
        (Op::Mode, [list, DataType::Boolean]) if depth(list) == 1 => leaf_of(list).clone(),
        (Op::Same, [value, _]) => value.clone(),
        _ => return Err(wrong()),
    };
    if depth(&kind) > super::text::DIMENSIONS_MAX {
        return Err(unsupported("arrays of more than six dimensions are not supported".to_owned()));
    }
    Ok(kind)
}

fn appended(list: &DataType, item: &DataType) -> Option<DataType> {
    if is_text(list) {
        // The text of an array beside an item: of items of its type.
        return (depth(item) == 0).then(|| list_of(item.clone()));
    }
    if !is_array(list) {
        return None;
    }
    Some(with_leaf(list, common(leaf_of(list), item)?))
}

/// The type of one percentile of values of `kind`.
fn percentile(operation: Operation, kind: &DataType, share: &DataType) -> Option<DataType> {
    if !(leaf_of(share).is_numeric() || is_wide(leaf_of(share)) || share.is_null())
        || depth(share) > 1
        || depth(kind) > 0
    {
        return None;
    }
    match kind {
        kind if operation == Op::Discrete => Some(kind.clone()),
        DataType::Interval(_) => Some(kind.clone()),
        kind if kind.is_numeric() || kind.is_null() || is_wide(kind) => Some(DataType::Float64),
        _ => None,
    }
}

/// There is no ordered-set aggregate `name` for values like those of `list`.
fn no_such_set(name: &str, share: &DataType, list: &DataType) -> DataFusionError {
    let kind = item_of(list).unwrap_or(list);
    no_such_function(name.trim_start_matches("sluice_"), &[share.clone(), kind.clone()])
}

fn is_index(kind: &DataType) -> bool {
    kind.is_integer() || kind.is_null()
}

fn is_text_or_null(kind: &DataType) -> bool {
    is_text(kind) || kind.is_null()
}
