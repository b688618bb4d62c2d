//! `infinity` and `-infinity` of dates, timestamps and instants, as the last and the first numbers of their types: they sort by
//! themselves, and DuckDB keeps its own there, too. What each function gives for one is PostgreSQL's (timestamp.c, date.c).

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{Date32Type, TimestampMicrosecondType};

use super::Name;
use super::calendar::{Fault, NOT_SUPPORTED, OVERFLOW, Outcome};
use super::parts::{self, Whole};
use super::values::{Given, Value};
use super::words::Unit;

/// `infinity` in microseconds; `-infinity` is the same below 0.
pub const LAST: i64 = i64::MAX;
/// `infinity` in days; `-infinity` is the same below 0.
pub const LAST_DAY: i64 = i32::MAX as i64;

/// True for microseconds since 1970 that stand for no time.
pub fn is_infinite(time: i64) -> bool {
    time == LAST || time <= -LAST
}

/// True for days since 1970 that stand for no date.
pub fn is_infinite_day(days: i64) -> bool {
    days >= LAST_DAY || days <= -LAST_DAY
}

/// True where dates, or times of microseconds, have an infinite one among them.
pub fn has_infinite(values: &ArrayRef) -> bool {
    if let Some(times) = values.as_primitive_opt::<TimestampMicrosecondType>() {
        return times.values().iter().any(|time| is_infinite(*time));
    }
    let days = values.as_primitive_opt::<Date32Type>();
    days.is_some_and(|days| days.values().iter().any(|days| is_infinite_day(i64::from(*days))))
}

/// The end of time that `text` names, if it does: true for what lies behind all others.
pub fn read(text: &str) -> Option<bool> {
    let text = text.trim_ascii();
    let is = |wanted: &str| text.eq_ignore_ascii_case(wanted);
    if is("infinity") { Some(true) } else { is("-infinity").then_some(false) }
}

/// How an infinite value is written; `is_late` for what lies behind all others.
pub fn text(is_late: bool) -> &'static str {
    if is_late { "infinity" } else { "-infinity" }
}

/// Whether `value` is infinite, and then whether it lies behind all others.
fn end_of(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Day(days) => is_infinite_day(*days).then_some(*days > 0),
        Value::Timestamp(time) | Value::Instant(time) => is_infinite(*time).then_some(*time > 0),
        _ => None,
    }
}

fn end(is_late: bool, last: i64) -> Option<Given> {
    Some(if is_late { last } else { -last }.into())
}

/// What `name` gives for `values` of which one is infinite: `Some(None)` for NULL; `None` where all are finite.
pub(super) fn row(name: Name, values: &[Value<'_>], whole: Option<Whole>) -> Option<Outcome<Option<Given>>> {
    let is_late = values.iter().find_map(end_of)?;
    let out_of_range = |what: &str| Err(Fault::new(OVERFLOW, what));
    Some(match name {
        Name::ToDate | Name::DayPlus => Ok(end(is_late, LAST_DAY)),
        Name::Timezone
        | Name::ToTimestamp
        | Name::ToInstant
        | Name::DateTrunc
        | Name::Move
        | Name::MoveBack
        | Name::Join => Ok(end(is_late, LAST)),
        Name::DateBin if values.get(1).and_then(end_of).is_some() => Ok(end(is_late, LAST)),
        Name::DateBin => out_of_range("origin out of range"),
        Name::ToTime => Ok(None),
        Name::Extract | Name::DatePart => part(name, values, whole, is_late),
        Name::Between => out_of_range("cannot subtract infinite timestamps"),
        Name::DayMinus => out_of_range("cannot subtract infinite dates"),
        Name::Age => out_of_range("timestamp out of range"),
        Name::Finite => Err(Fault::new(
            NOT_SUPPORTED,
            "RANGE with offset PRECEDING/FOLLOWING over infinite dates and times is not supported",
        )),
        Name::IsFinite => Ok(Some(Given::Truth(false))),
        _ => return None,
    })
}

/// Years and what is counted from a day on are infinite as well; what comes again has no value.
fn part(name: Name, values: &[Value<'_>], whole: Option<Whole>, is_late: bool) -> Outcome<Option<Given>> {
    let (Some(Value::Text(part)), Some(whole)) = (values.first(), whole) else { return Ok(None) };
    let goes_on = matches!(
        parts::part_of(part, whole)?,
        Unit::Year
            | Unit::Decade
            | Unit::Century
            | Unit::Millennium
            | Unit::Julian
            | Unit::IsoYear
            | Unit::Epoch
    );
    match name {
        _ if !goes_on => Ok(None),
        Name::DatePart => Ok(Some(Given::Float(if is_late { f64::INFINITY } else { f64::NEG_INFINITY }))),
        _ => Err(Fault::new(
            NOT_SUPPORTED,
            "an infinite part of a date is not supported by extract; date_part gives it",
        )),
    }
}
