//! What `extract` takes out of dates, times and intervals, and where `date_trunc` cuts them off.

use super::calendar::{
    DAY, Fault, HOUR, Local, MINUTE, NOT_SUPPORTED, Outcome, PARAMETER, SECOND, civil, days_of, instant,
    iso_week, weekday,
};
use super::read::JULIAN_EPOCH;
use super::spans::Span;
use super::words::{Unit, extracted, unit};
use super::zones::Zone;

/// What is taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Whole {
    Date,
    Time,
    Timestamp,
    Instant,
    Interval,
}

impl Whole {
    /// PostgreSQL's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Date => "date",
            Self::Time => "time without time zone",
            Self::Timestamp => "timestamp without time zone",
            Self::Instant => "timestamp with time zone",
            Self::Interval => "interval",
        }
    }
}

/// The part that `name` names, which values of `whole` have.
pub fn part_of(name: &str, whole: Whole) -> Outcome<Unit> {
    let shown = name.to_ascii_lowercase();
    let found = extracted(name).ok_or_else(|| {
        Fault::new(PARAMETER, format!("unit \"{shown}\" not recognized for type {}", whole.name()))
    })?;
    let has = match found {
        Unit::Microsecond | Unit::Millisecond | Unit::Second | Unit::Minute | Unit::Hour => {
            whole != Whole::Date
        }
        Unit::Epoch => true,
        Unit::Day
        | Unit::Month
        | Unit::Quarter
        | Unit::Year
        | Unit::Decade
        | Unit::Century
        | Unit::Millennium => whole != Whole::Time,
        Unit::Week | Unit::Julian | Unit::IsoYear | Unit::Weekday | Unit::IsoWeekday | Unit::YearDay => {
            !matches!(whole, Whole::Time | Whole::Interval)
        }
        Unit::Zone | Unit::ZoneHour | Unit::ZoneMinute => whole == Whole::Instant,
        Unit::Time => false,
    };
    if has {
        return Ok(found);
    }
    Err(Fault::new(NOT_SUPPORTED, format!("unit \"{shown}\" not supported for type {}", whole.name())))
}

/// Digits behind the point of a part; `None` where they depend on the value.
pub fn scale(part: Unit, whole: Whole) -> Option<u32> {
    match part {
        Unit::Second => Some(6),
        Unit::Millisecond => Some(3),
        Unit::Epoch if whole == Whole::Date => Some(0),
        Unit::Epoch => Some(6),
        Unit::Julian if whole != Whole::Date => None,
        _ => Some(0),
    }
}

/// A part of a local time, in units of its scale. `offset` is of its zone.
pub fn of_local(part: Unit, time: i64, offset: i64) -> i64 {
    let local = Local::of(time);
    let of_minute = local.micros % MINUTE;
    match part {
        Unit::Microsecond | Unit::Second | Unit::Millisecond => of_minute,
        Unit::Minute => local.micros / MINUTE % 60,
        Unit::Hour => local.micros / HOUR,
        Unit::Epoch => time - offset * SECOND,
        Unit::Zone => offset,
        Unit::ZoneHour => offset / 3600,
        Unit::ZoneMinute => offset / 60 % 60,
        part => of_day(part, local.days),
    }
}

/// A part of a day, in whole numbers.
pub fn of_day(part: Unit, days: i64) -> i64 {
    let (year, month, day) = civil(days);
    // There is no year 0.
    let shown = if year > 0 { year } else { year - 1 };
    match part {
        Unit::Day => day,
        Unit::Month => month,
        Unit::Quarter => (month - 1) / 3 + 1,
        Unit::Year => shown,
        Unit::Decade => year.div_euclid(10),
        Unit::Century => periods(year, 100),
        Unit::Millennium => periods(year, 1000),
        Unit::Julian => days + JULIAN_EPOCH,
        Unit::IsoYear => {
            let (year, _) = iso_week(days);
            if year > 0 { year } else { year - 1 }
        }
        Unit::Week => iso_week(days).1,
        Unit::Weekday => weekday(days),
        Unit::IsoWeekday => (weekday(days) + 6) % 7 + 1,
        Unit::YearDay => days - days_of(year, 1, 1) + 1,
        Unit::Epoch => days * 86_400,
        _ => 0,
    }
}

/// Hundreds or thousands of years, counted from 1 and from -1.
fn periods(year: i64, length: i64) -> i64 {
    if year > 0 { (year + length - 1) / length } else { -((length - 1 - (year - 1)) / length) }
}

/// A part of a time of day.
pub fn of_time(part: Unit, micros: i64) -> i64 {
    match part {
        Unit::Epoch => micros,
        part => of_local(part, micros, 0),
    }
}

/// A part of an interval.
pub fn of_span(part: Unit, span: &Span) -> i128 {
    let (months, micros) = (i64::from(span.months), span.micros);
    let of_year = months % 12;
    i128::from(match part {
        Unit::Microsecond | Unit::Second | Unit::Millisecond => micros % MINUTE,
        Unit::Minute => micros / MINUTE % 60,
        Unit::Hour => micros / HOUR,
        Unit::Day => i64::from(span.days),
        Unit::Month => of_year,
        Unit::Quarter => of_year / 3 + 1,
        Unit::Year => months / 12,
        Unit::Decade => months / 12 / 10,
        Unit::Century => months / 12 / 100,
        Unit::Millennium => months / 12 / 1000,
        Unit::Epoch => {
            // Years of 365.25 days, months of 30.
            let years = i128::from(months / 12) * (365 * 4 + 1) * 86_400 / 4;
            let days = (i128::from(of_year) * 30 + i128::from(span.days)) * 86_400;
            return (years + days) * i128::from(SECOND) + i128::from(micros);
        }
        _ => 0,
    })
}

/// The seconds of an interval, added up as doubles in PostgreSQL's order (`interval_part_common`, timestamp.c).
pub fn span_epoch(span: &Span) -> f64 {
    const DAY_SECONDS: f64 = 86_400.0;
    let (years, months) = (span.months / 12, span.months % 12);
    let micros = span.micros as f64 / 1_000_000.0;
    let years = micros + 365.25 * DAY_SECONDS * f64::from(years);
    let months = years + 30.0 * DAY_SECONDS * f64::from(months);
    months + DAY_SECONDS * f64::from(span.days)
}

/// The Julian day with its fraction.
pub fn julian(time: i64) -> f64 {
    let local = Local::of(time);
    (local.days + JULIAN_EPOCH) as f64 + local.micros as f64 / DAY as f64
}

/// What `date_trunc` cuts off at.
pub fn cut_of(name: &str, whole: Whole) -> Outcome<Unit> {
    let lower = name.to_ascii_lowercase();
    let not = |code, what| Fault::new(code, format!("unit \"{lower}\" {what} for type {}", whole.name()));
    let Some(found) = unit(&lower) else {
        return Err(not(PARAMETER, "not recognized"));
    };
    match found {
        Unit::Week if whole == Whole::Interval => Err(not(NOT_SUPPORTED, "not supported")),
        Unit::Zone | Unit::ZoneHour | Unit::ZoneMinute => Err(not(NOT_SUPPORTED, "not supported")),
        found => Ok(found),
    }
}

/// A local time cut off.
pub fn cut_local(unit: Unit, time: i64) -> Option<i64> {
    let local = Local::of(time);
    let within = |micros: i64| local.micros / micros * micros;
    let first = |year: i64, month: i64| instant(days_of(year, month, 1), 0);
    let period = |length: i64| {
        if local.year > 0 {
            (local.year + length - 1) / length * length - (length - 1)
        } else {
            -((length - 1 - (local.year - 1)) / length * length) + 1
        }
    };
    match unit {
        Unit::Microsecond => Some(time),
        Unit::Millisecond => instant(local.days, within(1000)),
        Unit::Second => instant(local.days, within(SECOND)),
        Unit::Minute => instant(local.days, within(MINUTE)),
        Unit::Hour => instant(local.days, within(HOUR)),
        Unit::Day => instant(local.days, 0),
        Unit::Week => instant(local.days - (weekday(local.days) + 6) % 7, 0),
        Unit::Month => first(local.year, local.month),
        Unit::Quarter => first(local.year, (local.month - 1) / 3 * 3 + 1),
        Unit::Year => first(local.year, 1),
        Unit::Decade => {
            let year =
                if local.year > 0 { local.year / 10 * 10 } else { -((8 - (local.year - 1)) / 10 * 10) };
            first(year, 1)
        }
        Unit::Century => first(period(100), 1),
        Unit::Millennium => first(period(1000), 1),
        _ => Some(time),
    }
}

/// An instant cut off where clocks are those of `zone`. Units below a day are of the offset that holds then.
pub fn cut_instant(unit: Unit, time: i64, zone: &Zone) -> Option<i64> {
    let offset = zone.offset_at(time.div_euclid(SECOND)) * SECOND;
    let cut = cut_local(unit, time.checked_add(offset)?)?;
    let is_below_day =
        matches!(unit, Unit::Microsecond | Unit::Millisecond | Unit::Second | Unit::Minute | Unit::Hour);
    let found = if is_below_day { cut.checked_sub(offset)? } else { zone.instant(cut)? };
    instant(0, found)
}

/// An interval cut off.
pub fn cut_span(unit: Unit, span: &Span) -> Span {
    let Span { months, days, micros } = *span;
    let of_months = |unit: i32| Span::new(months / unit * unit, 0, 0);
    let of_time = |unit: i64| Span::new(months, days, micros / unit * unit);
    match unit {
        Unit::Millennium => of_months(12_000),
        Unit::Century => of_months(1200),
        Unit::Decade => of_months(120),
        Unit::Year => of_months(12),
        Unit::Quarter => of_months(3),
        Unit::Month => of_months(1),
        Unit::Day => Span::new(months, days, 0),
        Unit::Hour => of_time(HOUR),
        Unit::Minute => of_time(MINUTE),
        Unit::Second => of_time(SECOND),
        Unit::Millisecond => of_time(1000),
        _ => *span,
    }
}
