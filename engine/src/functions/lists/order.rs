//! Which of two items, or of two arrays, comes first.

use std::cmp::Ordering;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, make_comparator};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float32Type, Float64Type, IntervalMonthDayNanoType, IntervalUnit,
};
use datafusion::error::Result;

use super::leaves::Lists;
use super::{type_name, unsupported};
use crate::functions::instants::beside;
use crate::functions::numbers::wide;

/// Compares an item on the left with one on the right.
pub(super) type Order<'a> = Box<dyn Fn(usize, usize) -> Ordering + 'a>;

/// The order of items of one type. Null is equal to null and comes after all others.
pub(super) fn of<'a>(left: &'a ArrayRef, right: &'a ArrayRef) -> Result<Order<'a>> {
    let order: Order<'a> = match left.data_type() {
        DataType::Null => Box::new(|_, _| Ordering::Equal),
        DataType::Float32 => floats::<Float32Type>(left, right),
        DataType::Float64 => floats::<Float64Type>(left, right),
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let (left, right) = (
                left.as_primitive::<IntervalMonthDayNanoType>(),
                right.as_primitive::<IntervalMonthDayNanoType>(),
            );
            Box::new(move |at, other| beside::order(left.value(at), right.value(other)))
        }
        // Equal numbers may be of several scales.
        DataType::LargeBinary => {
            let (left, right) = (left.as_binary::<i64>(), right.as_binary::<i64>());
            Box::new(move |at, other| wide::key(left.value(at)).cmp(wide::key(right.value(other))))
        }
        DataType::Interval(_) | DataType::Struct(_) => {
            let name = type_name(left.data_type());
            return Err(unsupported(format!("a comparison of arrays of {name} is not supported")));
        }
        _ => make_comparator(left.as_ref(), right.as_ref(), SortOptions::default())?,
    };
    let nulls = |array: &ArrayRef| array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
    let (left_nulls, right_nulls) = (nulls(left), nulls(right));
    if left_nulls.is_none() && right_nulls.is_none() {
        return Ok(order);
    }
    Ok(Box::new(move |left, right| {
        let is_null = |nulls: &Option<datafusion::arrow::buffer::NullBuffer>, at| {
            nulls.as_ref().is_some_and(|nulls| nulls.is_null(at))
        };
        match (is_null(&left_nulls, left), is_null(&right_nulls, right)) {
            (false, false) => order(left, right),
            (is_left, is_right) => is_left.cmp(&is_right),
        }
    }))
}

/// NaN is equal to itself and greater than all others, and there is one zero.
fn floats<'a, T>(left: &'a ArrayRef, right: &'a ArrayRef) -> Order<'a>
where
    T: ArrowPrimitiveType,
    T::Native: PartialOrd,
{
    let (left, right) = (left.as_primitive::<T>(), right.as_primitive::<T>());
    Box::new(move |at, other| {
        let (left, right) = (left.value(at), right.value(other));
        let is_nan = |value: T::Native| value.partial_cmp(&value).is_none();
        left.partial_cmp(&right).unwrap_or_else(|| is_nan(left).cmp(&is_nan(right)))
    })
}

/// Compares arrays, row by row, as `array_cmp` does; a row is null where one of them is.
pub(super) fn of_rows(left: &Lists, right: &Lists) -> Result<Vec<Option<Ordering>>> {
    let (left_leaves, right_leaves) = (left.leaves()?, right.leaves()?);
    let order = of(left_leaves.values(), right_leaves.values())?;
    let rows = (0..left.len()).map(|row| {
        let (ours, theirs) = (left_leaves.row(row)?, right_leaves.row(row)?);
        let lengths = ours.len().cmp(&theirs.len());
        let items = ours.zip(theirs).map(|(ours, theirs)| order(ours, theirs));
        let first_difference = items.into_iter().find(|order| order.is_ne()).unwrap_or(lengths);
        Some(first_difference.then_with(|| left.dimensions(row).cmp(&right.dimensions(row))))
    });
    Ok(rows.collect())
}
