//! Items that are looked for in arrays.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::Result;

use super::compute::whole_numbers;
use super::leaves::{Lists, Picked};
use super::{order, stamped, unsupported};
use crate::{Error, SqlState};

/// `=`, `<>`, `<`, `<=`, `>` or `>=`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comparison(fn(Ordering) -> bool);

impl Comparison {
    pub(super) fn of(op: &str) -> Result<Self> {
        Ok(Self(match op {
            "=" => Ordering::is_eq,
            "<>" => Ordering::is_ne,
            "<" => Ordering::is_lt,
            "<=" => Ordering::is_le,
            ">" => Ordering::is_gt,
            ">=" => Ordering::is_ge,
            _ => return Err(unsupported(format!("arrays are not compared by {op}"))),
        }))
    }

    pub(super) fn holds(self, order: Ordering) -> bool {
        (self.0)(order)
    }
}

/// `item op ANY (array)`, or ALL of them; `lists` are of innermost items.
pub(super) fn quantified(
    comparison: Comparison,
    items: &ArrayRef,
    lists: &Lists,
    is_all: bool,
) -> Result<ArrayRef> {
    let values = lists.values();
    let order = order::of(items, values)?;
    let (item_nulls, nulls) = (items.logical_nulls(), values.logical_nulls());
    let is_null = |nulls: &Option<NullBuffer>, at| nulls.as_ref().is_some_and(|nulls| nulls.is_null(at));
    let rows = (0..lists.len()).map(|row| {
        let range = lists.row(row)?;
        if range.is_empty() {
            return Some(is_all);
        }
        if is_null(&item_nulls, row) {
            return None;
        }
        let mut has_null = false;
        for at in range {
            if is_null(&nulls, at) {
                has_null = true;
            } else if comparison.holds(order(row, at)) != is_all {
                return Some(!is_all);
            }
        }
        if has_null { None } else { Some(is_all) }
    });
    Ok(Arc::new(rows.collect::<BooleanArray>()))
}

/// True where every item of `right` is in `left`, for `@>`, or any, for `&&`. A null is in none.
pub(super) fn contains(left: &Lists, right: &Lists, is_any: bool) -> Result<ArrayRef> {
    let (left, right) = (left.leaves()?, right.leaves()?);
    let order = order::of(left.values(), right.values())?;
    let nulls = right.values().logical_nulls();
    let rows = (0..left.len()).map(|row| {
        let (ours, mut theirs) = (left.row(row)?, right.row(row)?);
        let is_in = |at: usize| {
            nulls.as_ref().is_none_or(|nulls| nulls.is_valid(at))
                && ours.clone().any(|other| order(other, at).is_eq())
        };
        Some(if is_any { theirs.any(is_in) } else { theirs.all(is_in) })
    });
    Ok(Arc::new(rows.collect::<BooleanArray>()))
}

/// Refuses arrays of arrays with PostgreSQL's words.
pub(super) fn one_dimension(lists: &Lists, doing: &str) -> Result<()> {
    if lists.values().as_list_opt::<i32>().is_some() {
        return Err(unsupported(format!("{doing} multidimensional arrays is not supported")));
    }
    Ok(())
}

/// `array_remove`.
pub(super) fn remove(lists: &Lists, items: &ArrayRef) -> Result<ArrayRef> {
    one_dimension(lists, "removing elements from")?;
    let order = order::of(lists.values(), items)?;
    let mut picked = Picked::default();
    for row in 0..lists.len() {
        match lists.row(row) {
            None => picked.null(),
            Some(range) => {
                range.filter(|at| order(*at, row).is_ne()).for_each(|at| picked.pick(at));
                picked.end();
            }
        }
    }
    picked.of(lists.values())
}

/// `array_replace`.
pub(super) fn replace(lists: &Lists, from: &ArrayRef, to: &ArrayRef) -> Result<ArrayRef> {
    one_dimension(lists, "replacing elements of")?;
    let order = order::of(lists.values(), from)?;
    let both = datafusion::arrow::compute::concat(&[lists.values().as_ref(), to.as_ref()])?;
    let mut picked = Picked::default();
    for row in 0..lists.len() {
        match lists.row(row) {
            None => picked.null(),
            Some(range) => {
                for at in range {
                    let is_replaced = order(at, row).is_eq();
                    picked.pick(if is_replaced { lists.values().len() + row } else { at });
                }
                picked.end();
            }
        }
    }
    picked.of(&both)
}

/// `array_position`.
pub(super) fn position(lists: &Lists, items: &ArrayRef, from: Option<&ArrayRef>) -> Result<ArrayRef> {
    one_dimension(lists, "searching for elements in")?;
    let order = order::of(lists.values(), items)?;
    let from = from.map(whole_numbers).transpose()?;
    let rows = (0..lists.len()).map(|row| -> Result<Option<i32>> {
        let Some(range) = lists.row(row) else { return Ok(None) };
        let first = match &from {
            Some(from) if from.is_null(row) => {
                return Err(stamped(&Error::Stamped {
                    sqlstate: SqlState::from_text("22004"),
                    message: "initial position must not be null".to_owned(),
                }));
            }
            Some(from) => usize::try_from(from.value(row).saturating_sub(1)).unwrap_or(0),
            None => 0,
        };
        let start = range.start;
        let found = range.skip(first).find(|at| order(*at, row).is_eq());
        Ok(found.map(|at| (at - start + 1) as i32))
    });
    Ok(Arc::new(rows.collect::<Result<Int32Array>>()?))
}

/// `array_positions`.
pub(super) fn positions(lists: &Lists, items: &ArrayRef) -> Result<ArrayRef> {
    one_dimension(lists, "searching for elements in")?;
    let order = order::of(lists.values(), items)?;
    let (mut found, mut lengths) = (Vec::new(), Vec::with_capacity(lists.len()));
    for row in 0..lists.len() {
        let before = found.len();
        if let Some(range) = lists.row(row) {
            let start = range.start;
            found.extend(range.filter(|at| order(*at, row).is_eq()).map(|at| (at - start + 1) as i32));
        }
        lengths.push(found.len() - before);
    }
    let field = Arc::new(Field::new_list_field(DataType::Int32, true));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(
        field,
        offsets,
        Arc::new(Int32Array::from(found)),
        lists.nulls().cloned(),
    )?))
}
