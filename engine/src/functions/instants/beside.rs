//! Intervals beside each other, as the functions of arrays compare them and go from one to the other.

use std::cmp::Ordering;

use datafusion::arrow::datatypes::IntervalMonthDayNano;
use datafusion::error::Result;

use super::failed;
use super::spans::{Span, out_of_range};

fn span(value: IntervalMonthDayNano) -> Span {
    Span::new(value.months, value.days, value.nanoseconds / 1000)
}

/// Which of two is shorter.
pub(crate) fn order(left: IntervalMonthDayNano, right: IntervalMonthDayNano) -> Ordering {
    span(left).length().cmp(&span(right).length())
}

/// What lies `share` of the way from `lower` to `upper`.
pub(crate) fn between(
    lower: IntervalMonthDayNano,
    upper: IntervalMonthDayNano,
    share: f64,
) -> Result<IntervalMonthDayNano> {
    let (lower, upper) = (span(lower), span(upper));
    let between = upper.minus(&lower).and_then(|way| way.times(share)?.plus(&lower)).map_err(failed)?;
    let nanos = between.micros.checked_mul(1000).ok_or_else(|| failed(out_of_range()))?;
    Ok(IntervalMonthDayNano::new(between.months, between.days, nanos))
}
