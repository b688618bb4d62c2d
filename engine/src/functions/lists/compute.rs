//! The functions of arrays, over the arrays that they are given.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, StringArray, UInt64Array,
};
use datafusion::arrow::compute::{cast, concat, take};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::error::Result;

use super::Operation as Op;
use super::leaves::{Lists, Picked, depth, item_of, leaf_of};
use super::ordered_sets::{self, Share};
use super::search::{self, Comparison};
use super::{Operation, dimensions, no_such_function, order, read, shown, stamped, types};
use crate::functions::style::Display;
use crate::{Error, SqlState};

/// What `operation` gives for `values`, as `kind`.
pub(super) fn run(
    operation: Operation,
    values: &[ArrayRef],
    kind: &DataType,
    display: &Display,
) -> Result<ArrayRef> {
    let leaf = leaf_of(kind);
    let result: ArrayRef = match (operation, values) {
        (Op::Text, [lists]) => {
            let lists = Lists::of(lists)?;
            dimensions::check_level(&lists, "arrays of different lengths have no text as one array")?;
            Arc::new(StringArray::from(shown::texts(&lists, display)?))
        }
        (Op::Array, [value, _]) => read::lists(value, leaf, depth(kind))?.into_array(),
        (Op::Item, [lists, indices @ ..]) => item(&Lists::of(lists)?, indices, kind)?,
        (Op::Slice, [lists, from, to]) => slice(&Lists::of(lists)?, from, to)?,
        (Op::Level, [lists]) => {
            let refusal = "multidimensional arrays must have array expressions with matching dimensions";
            dimensions::check_level(&Lists::of(lists)?, refusal)?;
            Arc::clone(lists)
        }
        (Op::Compare, [op, left, right]) => {
            let comparison = comparison(op)?;
            let (left, right) = both(left, right)?;
            let rows = order::of_rows(&left, &right)?.into_iter();
            Arc::new(rows.map(|order| order.map(|order| comparison.holds(order))).collect::<BooleanArray>())
        }
        (Op::Contains | Op::Overlaps, [left, right]) => {
            let (left, right) = both(left, right)?;
            search::contains(&left, &right, operation == Op::Overlaps)?
        }
        (Op::Any | Op::All, [op, items, lists]) => {
            let list_leaf =
                if lists.data_type().is_string() { items.data_type() } else { leaf_of(lists.data_type()) };
            let leaf = common(list_leaf, items.data_type())?;
            let items = read::items(items, &leaf)?;
            let lists = read::lists(lists, &leaf, 1)?.leaves()?;
            search::quantified(comparison(op)?, &items, &lists, operation == Op::All)?
        }
        (Op::Append, [lists, items]) => {
            appended(&read::lists(lists, leaf, 1)?, &read::items(items, leaf)?, false)?
        }
        (Op::Prepend, [items, lists]) => {
            appended(&read::lists(lists, leaf, 1)?, &read::items(items, leaf)?, true)?
        }
        (Op::Cat, [left, right]) => {
            let read = |value: &ArrayRef| -> Result<Lists> {
                let lists = read::lists(value, leaf, depth(kind))?;
                match depth(lists.data_type()) < depth(kind) && !value.data_type().is_null() {
                    true => lists.wrapped(),
                    false => Ok(lists),
                }
            };
            joined(&read(left)?, &read(right)?, kind)?
        }
        (Op::Remove, [lists, items]) => {
            search::remove(&read::lists(lists, leaf, 1)?, &read::items(items, leaf)?)?
        }
        (Op::Replace, [lists, from, to]) => {
            let (from, to) = (read::items(from, leaf)?, read::items(to, leaf)?);
            search::replace(&read::lists(lists, leaf, 1)?, &from, &to)?
        }
        (Op::Position | Op::Positions, [lists, items, from @ ..]) => {
            let list_leaf =
                if lists.data_type().is_string() { items.data_type() } else { leaf_of(lists.data_type()) };
            let leaf = common(list_leaf, items.data_type())?;
            let (lists, items) = (read::lists(lists, &leaf, 1)?, read::items(items, &leaf)?);
            match operation {
                Op::Position => search::position(&lists, &items, from.first())?,
                _ => search::positions(&lists, &items)?,
            }
        }
        (Op::Length | Op::Upper | Op::Lower, [lists, at]) => {
            dimensions::length(&Lists::of(lists)?, at, operation == Op::Lower)?
        }
        (Op::Levels, [lists]) => dimensions::levels(&Lists::of(lists)?),
        (Op::Dimensions, [lists]) => dimensions::shown(&Lists::of(lists)?),
        (Op::Cardinality, [lists]) => dimensions::cardinality(&Lists::of(lists)?)?,
        (Op::Joined, [lists, separators, rest @ ..]) => {
            let nulls = rest.first().map(texts).transpose()?;
            join(&Lists::of(lists)?, &texts(separators)?, nulls.as_ref(), display)?
        }
        (Op::Split, [whole, separators, rest @ ..]) => {
            let nulls = rest.first().map(texts).transpose()?;
            split(&texts(whole)?, &texts(separators)?, nulls.as_ref())?
        }
        (Op::Trim, [lists, counts]) => trim(&Lists::of(lists)?, counts)?,
        (Op::Continuous | Op::Discrete, [lists, shares, descends]) => {
            let share = if operation == Op::Discrete { Share::Discrete } else { Share::Continuous };
            ordered_sets::percentiles(share, lists, shares, descends)?
        }
        (Op::Mode, [lists, descends]) => ordered_sets::modes(lists, descends)?,
        (Op::Same, [value, _]) => Arc::clone(value),
        _ => {
            let types: Vec<DataType> = values.iter().map(|value| value.data_type().clone()).collect();
            return Err(no_such_function("array", &types));
        }
    };
    if result.data_type() == kind { Ok(result) } else { Ok(cast(&result, kind)?) }
}

fn common(left: &DataType, right: &DataType) -> Result<DataType> {
    types::common(left, right).ok_or_else(|| super::no_such_operator("=", left, right))
}

/// Two arrays, of items of one type.
fn both(left: &ArrayRef, right: &ArrayRef) -> Result<(Lists, Lists)> {
    let (left_type, right_type) = (left.data_type(), right.data_type());
    let leaf = types::common_leaf(left_type, right_type)
        .ok_or_else(|| super::no_such_operator("=", left_type, right_type))?;
    let dimensions = depth(left_type).max(depth(right_type)).max(1);
    Ok((read::lists(left, &leaf, dimensions)?, read::lists(right, &leaf, dimensions)?))
}

fn comparison(op: &ArrayRef) -> Result<Comparison> {
    let op = texts(op)?;
    Comparison::of(if op.is_empty() { "=" } else { op.value(0) })
}

fn texts(values: &ArrayRef) -> Result<StringArray> {
    Ok(cast(values, &DataType::Utf8)?.as_string::<i32>().clone())
}

/// Subscripts and counts.
pub(super) fn whole_numbers(values: &ArrayRef) -> Result<Int64Array> {
    Ok(cast(values, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

fn item(lists: &Lists, indices: &[ArrayRef], kind: &DataType) -> Result<ArrayRef> {
    let is_whole = indices.len() == depth(lists.data_type());
    let indices: Vec<Int64Array> = indices.iter().map(whole_numbers).collect::<Result<_>>()?;
    let leaves = lists.leaves()?;
    let picked: UInt64Array = (0..lists.len())
        .map(|row| {
            if !is_whole {
                return None;
            }
            let range = leaves.row(row)?;
            let mut at = 0;
            // Rows of an array without items have no dimensions.
            let lengths = lists.dimensions(row);
            for (dimension, index) in indices.iter().enumerate() {
                let length = lengths.get(dimension).copied()?;
                let index = usize::try_from(index.is_valid(row).then(|| index.value(row))?).ok()?;
                at = at * length + index.checked_sub(1).filter(|index| *index < length)?;
            }
            Some((range.start + at) as u64)
        })
        .collect();
    let items = take(leaves.values(), &picked, None)?;
    if items.data_type() == kind { Ok(items) } else { Ok(cast(&items, kind)?) }
}

fn slice(lists: &Lists, from: &ArrayRef, to: &ArrayRef) -> Result<ArrayRef> {
    let (from, to) = (whole_numbers(from)?, whole_numbers(to)?);
    let mut picked = Picked::default();
    for row in 0..lists.len() {
        match lists.row(row) {
            Some(range) if from.is_valid(row) && to.is_valid(row) => {
                let first = usize::try_from(from.value(row).saturating_sub(1)).unwrap_or(0);
                let end = usize::try_from(to.value(row)).unwrap_or(0).min(range.len());
                (first..end.max(first)).for_each(|at| picked.pick(range.start + at));
                picked.end();
            }
            _ => picked.null(),
        }
    }
    picked.of(lists.values())
}

fn trim(lists: &Lists, counts: &ArrayRef) -> Result<ArrayRef> {
    let counts = whole_numbers(counts)?;
    let mut picked = Picked::default();
    for row in 0..lists.len() {
        match lists.row(row) {
            Some(range) if counts.is_valid(row) => {
                let count = usize::try_from(counts.value(row)).ok().filter(|count| *count <= range.len());
                let Some(count) = count else {
                    return Err(stamped(&Error::Stamped {
                        sqlstate: SqlState::from_text("2202E"),
                        message: format!("number of elements to trim must be between 0 and {}", range.len()),
                    }));
                };
                (range.start..range.end - count).for_each(|at| picked.pick(at));
                picked.end();
            }
            _ => picked.null(),
        }
    }
    picked.of(lists.values())
}

/// `array_append`, or `array_prepend`: to a null as to an array without items.
fn appended(lists: &Lists, items: &ArrayRef, is_first: bool) -> Result<ArrayRef> {
    if item_of(lists.values().data_type()).is_some() {
        return Err(stamped(&Error::DataException {
            message: "argument must be empty or one-dimensional array".to_owned(),
        }));
    }
    let values = concat(&[lists.values().as_ref(), items.as_ref()])?;
    let mut picked = Picked::default();
    for row in 0..items.len() {
        let new = lists.values().len() + row;
        if is_first {
            picked.pick(new);
        }
        lists.row(row).into_iter().flatten().for_each(|at| picked.pick(at));
        if !is_first {
            picked.pick(new);
        }
        picked.end();
    }
    picked.of(&values)
}

/// `array_cat`: null only where both are.
fn joined(left: &Lists, right: &Lists, kind: &DataType) -> Result<ArrayRef> {
    let value_type = item_of(kind).cloned().unwrap_or(DataType::Null);
    let of = |lists: &Lists| -> Result<ArrayRef> {
        let is_of_it = lists.values().data_type() == &value_type;
        Ok(if is_of_it { Arc::clone(lists.values()) } else { cast(lists.values(), &value_type)? })
    };
    let (left_values, right_values) = (of(left)?, of(right)?);
    let values = concat(&[left_values.as_ref(), right_values.as_ref()])?;
    let mut picked = Picked::default();
    for row in 0..left.len() {
        let (ours, theirs) = (left.row(row), right.row(row));
        if ours.is_none() && theirs.is_none() {
            picked.null();
            continue;
        }
        ours.into_iter().flatten().for_each(|at| picked.pick(at));
        theirs.into_iter().flatten().for_each(|at| picked.pick(left_values.len() + at));
        picked.end();
    }
    let joined = picked.of(&values)?;
    if depth(kind) > 1 {
        dimensions::check_level(&Lists::of(&joined)?, "cannot concatenate incompatible arrays")?;
    }
    Ok(joined)
}

fn join(
    lists: &Lists,
    separators: &StringArray,
    nulls: Option<&StringArray>,
    display: &Display,
) -> Result<ArrayRef> {
    let leaves = lists.leaves()?;
    let write = shown::writer(leaves.values(), display)?;
    let rows = (0..lists.len()).map(|row| {
        let range = leaves.row(row)?;
        let separator = separators.is_valid(row).then(|| separators.value(row))?;
        let null = nulls.filter(|nulls| nulls.is_valid(row)).map(|nulls| nulls.value(row));
        let mut out = String::new();
        let mut is_first = true;
        for at in range {
            let is_null = leaves.values().is_null(at);
            if is_null && null.is_none() {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                out.push_str(separator);
            }
            match null.filter(|_| is_null) {
                Some(null) => out.push_str(null),
                None => write(at, &mut out),
            }
        }
        Some(out)
    });
    Ok(Arc::new(rows.collect::<StringArray>()))
}

fn split(whole: &StringArray, separators: &StringArray, nulls: Option<&StringArray>) -> Result<ArrayRef> {
    let mut items: Vec<Option<&str>> = Vec::new();
    let (mut lengths, mut are_valid) = (Vec::new(), Vec::new());
    for row in 0..whole.len() {
        let before = items.len();
        are_valid.push(whole.is_valid(row));
        if whole.is_valid(row) && !whole.value(row).is_empty() {
            let text = whole.value(row);
            let null = nulls.filter(|nulls| nulls.is_valid(row)).map(|nulls| nulls.value(row));
            let mut push = |item| items.push(Some(item).filter(|item| Some(*item) != null));
            if separators.is_null(row) {
                text.char_indices().for_each(|(at, letter)| push(&text[at..at + letter.len_utf8()]));
            } else if separators.value(row).is_empty() {
                push(text);
            } else {
                text.split(separators.value(row)).for_each(push);
            }
        }
        lengths.push(items.len() - before);
    }
    let field = Arc::new(Field::new_list_field(DataType::Utf8, true));
    let offsets = datafusion::arrow::buffer::OffsetBuffer::from_lengths(lengths);
    let nulls = datafusion::arrow::buffer::NullBuffer::from(are_valid);
    Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(StringArray::from(items)), Some(nulls))?))
}
