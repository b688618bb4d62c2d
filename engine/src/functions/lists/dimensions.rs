//! What is asked of the dimensions of arrays.

use std::fmt::Write;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array, StringArray};
use datafusion::error::Result;

use super::compute::whole_numbers;
use super::leaves::Lists;
use super::stamped;
use crate::{Error, SqlState};

/// `array_length`, and `array_upper` which is the same where subscripts begin with 1; `array_lower` gives that 1.
pub(super) fn length(lists: &Lists, dimensions: &ArrayRef, is_lower: bool) -> Result<ArrayRef> {
    let dimensions = whole_numbers(dimensions)?;
    let rows = (0..lists.len()).map(|row| {
        lists.row(row)?;
        let at = usize::try_from(dimensions.is_valid(row).then(|| dimensions.value(row))?).ok()?;
        let length = lists.dimensions(row).get(at.checked_sub(1)?).copied()?;
        Some(if is_lower { 1 } else { length as i32 })
    });
    Ok(Arc::new(rows.collect::<Int32Array>()))
}

/// `array_ndims`.
pub(super) fn levels(lists: &Lists) -> ArrayRef {
    let rows = (0..lists.len()).map(|row| {
        let levels = lists.dimensions(row).len();
        (levels > 0).then_some(levels as i32)
    });
    Arc::new(rows.collect::<Int32Array>())
}

/// `array_dims`.
pub(super) fn shown(lists: &Lists) -> ArrayRef {
    let rows = (0..lists.len()).map(|row| {
        let mut out = String::new();
        for length in lists.dimensions(row) {
            let _ = write!(out, "[1:{length}]");
        }
        (!out.is_empty()).then_some(out)
    });
    Arc::new(rows.collect::<StringArray>())
}

/// `cardinality`.
pub(super) fn cardinality(lists: &Lists) -> Result<ArrayRef> {
    let leaves = lists.leaves()?;
    let rows = (0..lists.len()).map(|row| leaves.row(row).map(|range| range.len() as i32));
    Ok(Arc::new(rows.collect::<Int32Array>()))
}

/// Refuses a row whose arrays have different lengths, or are null, with the message of `refusal`.
pub(super) fn check_level(lists: &Lists, refusal: &str) -> Result<()> {
    let refused =
        || stamped(&Error::Stamped { sqlstate: SqlState::from_text("2202E"), message: refusal.to_owned() });
    for row in 0..lists.len() {
        let Some(range) = lists.row(row) else { continue };
        let mut values = Arc::clone(lists.values());
        let mut range = range;
        while let Some(inner) = values.as_list_opt::<i32>() {
            let offsets = inner.value_offsets();
            let mut lengths =
                range.clone().map(|at| inner.is_valid(at).then(|| (offsets[at + 1] - offsets[at]) as usize));
            let first = lengths.next().unwrap_or(Some(0));
            if first.is_none() || lengths.any(|length| length != first) {
                return Err(refused());
            }
            range = match range.is_empty() {
                true => 0..0,
                false => offsets[range.start] as usize..offsets[range.end] as usize,
            };
            let next = Arc::clone(inner.values());
            values = next;
        }
    }
    Ok(())
}
