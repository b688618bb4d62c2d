//! The ordered-set aggregates, of the arrays in which `array_agg` has gathered their values.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, IntervalMonthDayNanoArray, UInt64Array,
};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Float64Type, IntervalMonthDayNanoType, IntervalUnit};
use datafusion::error::{DataFusionError, Result};

use super::leaves::{Lists, Picked};
use super::{order, read, stamped};
use crate::functions::floats;
use crate::functions::instants::beside;
use crate::{Error, SqlState};

/// What is asked of the values of a row, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Share {
    /// The first value at which so much of all is reached: `percentile_disc`.
    Discrete,
    /// What lies there between two values: `percentile_cont`.
    Continuous,
}

/// `percentile_cont` and `percentile_disc`: `shares` are numbers, or arrays of them, of which each has its value.
pub(super) fn percentiles(
    share: Share,
    lists: &ArrayRef,
    shares: &ArrayRef,
    descends: &ArrayRef,
) -> Result<ArrayRef> {
    let gathered = Lists::of(lists)?;
    let leaf = match (share, gathered.values().data_type()) {
        (Share::Discrete, kind) | (Share::Continuous, kind @ DataType::Interval(_)) => kind.clone(),
        (Share::Continuous, _) => DataType::Float64,
    };
    let gathered = gathered.with_values(read::items(gathered.values(), &leaf)?)?;
    let sorted = Sorted::of(&gathered, descends)?;
    let Some(wanted) = many(shares)? else {
        let shares = read::items(shares, &DataType::Float64)?;
        let shares = shares.as_primitive::<Float64Type>();
        let places = (0..gathered.len()).map(|row| {
            let Some(share_of_row) = shares.is_valid(row).then(|| shares.value(row)) else { return Ok(None) };
            check(share_of_row)?;
            Ok(sorted.place(row, share_of_row, share))
        });
        return sorted.values_at(&places.collect::<Result<Vec<_>>>()?);
    };
    let values = read::items(wanted.values(), &DataType::Float64)?;
    let values = values.as_primitive::<Float64Type>();
    let (mut places, mut picked) = (Vec::new(), Picked::default());
    for row in 0..gathered.len() {
        match wanted.row(row).filter(|_| !sorted.row(row).is_empty()) {
            None => picked.null(),
            Some(range) => {
                for at in range {
                    picked.pick(places.len());
                    places.push(match values.is_null(at) {
                        true => None,
                        false => {
                            check(values.value(at))?;
                            sorted.place(row, values.value(at), share)
                        }
                    });
                }
                picked.end();
            }
        }
    }
    picked.of(&sorted.values_at(&places)?)
}

/// `mode`: of the values that there are most of, the first in their order.
pub(super) fn modes(lists: &ArrayRef, descends: &ArrayRef) -> Result<ArrayRef> {
    let gathered = Lists::of(lists)?;
    let sorted = Sorted::of(&gathered, descends)?;
    let order = order::of(gathered.values(), gathered.values())?;
    let most = (0..gathered.len()).map(|row| {
        let (mut best, mut most) = (None, 0);
        for run in sorted.row(row).chunk_by(|one, other| order(*one as usize, *other as usize).is_eq()) {
            if run.len() > most {
                (best, most) = (run.first().copied(), run.len());
            }
        }
        best
    });
    Ok(take(gathered.values(), &most.collect::<UInt64Array>(), None)?)
}

fn many(shares: &ArrayRef) -> Result<Option<Lists>> {
    Ok(if super::depth(shares.data_type()) > 0 { Some(Lists::of(shares)?) } else { None })
}

fn check(share: f64) -> Result<()> {
    if (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    let message = format!("percentile value {} is not between 0 and 1", floats::double_shown(share));
    Err(stamped(&Error::Stamped { sqlstate: SqlState::from_text("22003"), message }))
}

/// Where a value lies in the order of its row: at `lower`, or between it and `upper`.
#[derive(Debug, Clone, Copy)]
struct Place {
    lower: u64,
    upper: u64,
    between: f64,
}

/// The values of each row in their order, without nulls.
struct Sorted<'a> {
    values: &'a ArrayRef,
    places: Vec<u64>,
    rows: Vec<Range<usize>>,
}

impl<'a> Sorted<'a> {
    fn of(lists: &'a Lists, descends: &ArrayRef) -> Result<Self> {
        let values = lists.values();
        let order = order::of(values, values)?;
        let nulls = values.logical_nulls();
        let descends = descends.as_boolean();
        let (mut places, mut rows) = (Vec::new(), Vec::new());
        for row in 0..lists.len() {
            let begun = places.len();
            let all = lists.row(row).unwrap_or_default();
            places.extend(
                all.filter(|at| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*at))).map(|at| at as u64),
            );
            let is_descending = descends.value(row);
            places[begun..].sort_by(|one, other| {
                let ascending = order(*one as usize, *other as usize);
                if is_descending { Ordering::reverse(ascending) } else { ascending }
            });
            rows.push(begun..places.len());
        }
        Ok(Self { values, places, rows })
    }

    fn row(&self, row: usize) -> &[u64] {
        &self.places[self.rows[row].clone()]
    }

    fn place(&self, row: usize, share_of_row: f64, share: Share) -> Option<Place> {
        let places = self.row(row);
        let last = places.len().checked_sub(1)?;
        match share {
            Share::Discrete => {
                let at = ((share_of_row * places.len() as f64).ceil() as usize).saturating_sub(1).min(last);
                Some(Place { lower: places[at], upper: places[at], between: 0.0 })
            }
            Share::Continuous => {
                let at = share_of_row * last as f64;
                let (lower, upper) = (at.floor() as usize, (at.ceil() as usize).min(last));
                Some(Place { lower: places[lower], upper: places[upper], between: at - at.floor() })
            }
        }
    }

    fn values_at(&self, places: &[Option<Place>]) -> Result<ArrayRef> {
        if places.iter().flatten().all(|place| place.lower == place.upper) {
            let lowers = places.iter().map(|place| place.map(|place| place.lower));
            return Ok(take(self.values, &lowers.collect::<UInt64Array>(), None)?);
        }
        match self.values.data_type() {
            DataType::Float64 => {
                let values = self.values.as_primitive::<Float64Type>();
                let between = places.iter().map(|place| {
                    place.map(|place| {
                        let lower = values.value(place.lower as usize);
                        if place.lower == place.upper {
                            return lower;
                        }
                        lower + place.between * (values.value(place.upper as usize) - lower)
                    })
                });
                Ok(Arc::new(between.collect::<Float64Array>()))
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                let values = self.values.as_primitive::<IntervalMonthDayNanoType>();
                let between = places.iter().map(|place| {
                    place.map(|place| {
                        let at = |at: u64| values.value(at as usize);
                        beside::between(at(place.lower), at(place.upper), place.between)
                    })
                });
                let between = between.map(Option::transpose).collect::<Result<Vec<_>>>()?;
                Ok(Arc::new(IntervalMonthDayNanoArray::from(between)))
            }
            other => Err(DataFusionError::Internal(format!("nothing lies between values of {other}"))),
        }
    }
}
