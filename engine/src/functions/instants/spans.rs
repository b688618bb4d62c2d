//! Intervals: months, days and a time of hours, which are never turned into each other by themselves.

use super::calendar::{DAY, Fault, Local, OVERFLOW, Outcome, SECOND, days_of, instant, month_days};
use super::shown;
use crate::functions::style::Style;

/// An interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub months: i32,
    pub days: i32,
    pub micros: i64,
}

const MONTH_DAYS: i64 = 30;

pub fn out_of_range() -> Fault {
    Fault::new(OVERFLOW, "interval out of range")
}

impl Span {
    /// An interval of its parts.
    pub fn new(months: i32, days: i32, micros: i64) -> Self {
        Self { months, days, micros }
    }

    /// What intervals are compared by: microseconds of months of 30 days and days of 24 hours.
    pub fn length(&self) -> i128 {
        let days = i64::from(self.months) * MONTH_DAYS + i64::from(self.days);
        i128::from(days) * i128::from(DAY) + i128::from(self.micros)
    }

    /// The other way.
    pub fn negated(&self) -> Outcome<Self> {
        let parts = (self.months.checked_neg(), self.days.checked_neg(), self.micros.checked_neg());
        match parts {
            (Some(months), Some(days), Some(micros)) => Ok(Self { months, days, micros }),
            _ => Err(out_of_range()),
        }
    }

    /// Both together.
    pub fn plus(&self, other: &Self) -> Outcome<Self> {
        let months = self.months.checked_add(other.months);
        let days = self.days.checked_add(other.days);
        match (months, days, self.micros.checked_add(other.micros)) {
            (Some(months), Some(days), Some(micros)) => Ok(Self { months, days, micros }),
            _ => Err(out_of_range()),
        }
    }

    /// Less another.
    pub fn minus(&self, other: &Self) -> Outcome<Self> {
        let months = self.months.checked_sub(other.months);
        let days = self.days.checked_sub(other.days);
        match (months, days, self.micros.checked_sub(other.micros)) {
            (Some(months), Some(days), Some(micros)) => Ok(Self { months, days, micros }),
            _ => Err(out_of_range()),
        }
    }

    /// So many times it. What is no whole month goes to the days, and what is no whole day to the hours.
    pub fn times(&self, factor: f64) -> Outcome<Self> {
        let months = whole(f64::from(self.months) * factor)?;
        let days = whole(f64::from(self.days) * factor)?;
        self.scaled(months, days, self.micros as f64 * factor, |part| f64::from(part) * factor)
    }

    /// A part of it.
    pub fn divided(&self, by: f64) -> Outcome<Self> {
        if by == 0.0 {
            return Err(Fault::new("22012", "division by zero"));
        }
        let months = f64::from(self.months) / by;
        let days = f64::from(self.days) / by;
        if months.is_nan() || days.is_nan() {
            return Err(out_of_range());
        }
        let (months, days) = (whole(months)?, whole(days)?);
        self.scaled(months, days, self.micros as f64 / by, |part| f64::from(part) / by)
    }

    fn scaled(&self, months: i32, days: i32, micros: f64, scale: impl Fn(i32) -> f64) -> Outcome<Self> {
        let mut days = days;
        let month_rest = to_micros((scale(self.months) - f64::from(months)) * MONTH_DAYS as f64);
        let mut seconds =
            to_micros((scale(self.days) - f64::from(days) + month_rest - month_rest.trunc()) * 86_400.0);
        if seconds.is_nan() {
            return Err(out_of_range());
        }
        // A fraction may round up to a whole day.
        if seconds.abs() >= 86_400.0 {
            let more = (seconds / 86_400.0) as i32;
            days = days.checked_add(more).ok_or_else(out_of_range)?;
            seconds -= f64::from(more) * 86_400.0;
        }
        let days = days.checked_add(month_rest as i32).ok_or_else(out_of_range)?;
        let time = (micros + seconds * SECOND as f64).round_ties_even();
        if time.is_nan() || !(-9.223_372_036_854_776e18..9.223_372_036_854_776e18).contains(&time) {
            return Err(out_of_range());
        }
        Ok(Self { months, days, micros: time as i64 })
    }

    /// Months of 30 days out of its days.
    pub fn justified_days(&self) -> Outcome<Self> {
        let whole = self.days / 30;
        let mut months = self.months.checked_add(whole).ok_or_else(out_of_range)?;
        let mut days = self.days - whole * 30;
        if months > 0 && days < 0 {
            days += 30;
            months -= 1;
        } else if months < 0 && days > 0 {
            days -= 30;
            months += 1;
        }
        Ok(Self { months, days, micros: self.micros })
    }

    /// Days out of its hours.
    pub fn justified_hours(&self) -> Outcome<Self> {
        let whole = i32::try_from(self.micros / DAY).map_err(|_| out_of_range())?;
        let mut micros = self.micros - i64::from(whole) * DAY;
        let mut days = self.days.checked_add(whole).ok_or_else(out_of_range)?;
        if days > 0 && micros < 0 {
            micros += DAY;
            days -= 1;
        } else if days < 0 && micros > 0 {
            micros -= DAY;
            days += 1;
        }
        Ok(Self { months: self.months, days, micros })
    }

    /// Both, with one sign throughout.
    pub fn justified(&self) -> Outcome<Self> {
        let (mut months, mut days, mut micros) = (self.months, self.days, self.micros);
        let more_months = |months: i32, by: i32| months.checked_add(by).ok_or_else(out_of_range);
        // First where that keeps the days from overflowing.
        if (days > 0 && micros > 0) || (days < 0 && micros < 0) {
            let whole = days / 30;
            days -= whole * 30;
            months = more_months(months, whole)?;
        }
        let whole = micros / DAY;
        micros -= whole * DAY;
        days = i32::try_from(i64::from(days) + whole).map_err(|_| out_of_range())?;
        let whole = days / 30;
        days -= whole * 30;
        months = more_months(months, whole)?;
        if months > 0 && (days < 0 || (days == 0 && micros < 0)) {
            days += 30;
            months -= 1;
        } else if months < 0 && (days > 0 || (days == 0 && micros > 0)) {
            days -= 30;
            months += 1;
        }
        if days > 0 && micros < 0 {
            micros += DAY;
            days -= 1;
        } else if days < 0 && micros > 0 {
            micros -= DAY;
            days += 1;
        }
        Ok(Self { months, days, micros })
    }

    /// As PostgreSQL writes it in its own style.
    pub fn shown(&self) -> String {
        shown::interval(self.months, self.days, self.micros, &Style::default())
    }
}

/// The whole number towards zero, if it is an `integer`.
fn whole(number: f64) -> Outcome<i32> {
    let fits = (-2_147_483_648.0..2_147_483_648.0).contains(&number);
    if fits { Ok(number as i32) } else { Err(out_of_range()) }
}

/// Rounded to a millionth.
fn to_micros(number: f64) -> f64 {
    (number * 1_000_000.0).round_ties_even() / 1_000_000.0
}

/// A local time and an interval: months first, then days, then hours.
pub fn moved(time: i64, span: &Span) -> Option<i64> {
    let days = moved_days(time, span)?;
    instant(0, days.checked_add(span.micros)?)
}

/// The same of months and days alone.
pub fn moved_days(time: i64, span: &Span) -> Option<i64> {
    let mut local = Local::of(time);
    if span.months != 0 {
        let months = local.year * 12 + local.month - 1 + i64::from(span.months);
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        let day = local.day.min(month_days(year, month));
        local.days = days_of(year, month, day);
    }
    instant(local.days + i64::from(span.days), local.micros)
}

/// The days and hours between two times.
pub fn between(later: i64, earlier: i64) -> Outcome<Span> {
    let micros = later.checked_sub(earlier).ok_or_else(out_of_range)?;
    let days = i32::try_from(micros / DAY).map_err(|_| out_of_range())?;
    Ok(Span { months: 0, days, micros: micros % DAY })
}

/// The years, months and days between two local times.
pub fn age(later: i64, earlier: i64) -> Span {
    let is_negative = later < earlier;
    let (first, second) = (Local::of(later), Local::of(earlier));
    let sign = if is_negative { -1 } else { 1 };
    let mut years = (first.year - second.year) * sign;
    let mut months = (first.month - second.month) * sign;
    let mut days = (first.day - second.day) * sign;
    let mut micros = (first.micros - second.micros) * sign;
    if micros < 0 {
        micros += DAY;
        days -= 1;
    }
    while days < 0 {
        // Of the month that the earlier of the two lies in.
        let of = if is_negative { &first } else { &second };
        days += month_days(of.year, of.month);
        months -= 1;
    }
    while months < 0 {
        months += 12;
        years -= 1;
    }
    Span {
        months: i32::try_from((years * 12 + months) * sign).unwrap_or(i32::MAX),
        days: i32::try_from(days * sign).unwrap_or(i32::MAX),
        micros: micros * sign,
    }
}

#[cfg(test)]
mod tests {
    use super::super::calendar::HOUR;
    use super::super::calendar::days_of;
    use super::*;

    fn at(year: i64, month: i64, day: i64, micros: i64) -> i64 {
        instant(days_of(year, month, day), micros).expect("a time")
    }

    #[test]
    fn parts_go_down_and_never_up() {
        assert_eq!(Span::new(0, 1, 0).times(2.5).expect("one").shown(), "2 days 12:00:00");
        assert_eq!(Span::new(1, 0, 0).divided(4.0).expect("one").shown(), "7 days 12:00:00");
        assert_eq!(Span::new(0, 1, 0).divided(0.0).expect_err("none").code, "22012");
        assert_eq!(Span::new(1, 0, -HOUR).justified().expect("one").shown(), "29 days 23:00:00");
        assert_eq!(Span::new(1, 0, 0).length(), Span::new(0, 30, 0).length());
        assert_eq!(Span::new(-1, 1, -1_500_000).shown(), "-1 mons +1 day -00:00:01.5");
    }

    #[test]
    fn months_have_their_last_days() {
        let moved_by = |months| moved(at(2024, 1, 31, 0), &Span::new(months, 0, 0));
        assert_eq!(moved_by(1), Some(at(2024, 2, 29, 0)));
        assert_eq!(moved_by(-11), Some(at(2023, 2, 28, 0)));
        assert_eq!(age(at(2024, 3, 10, 0), at(2023, 1, 31, HOUR)).shown(), "1 year 1 mon 9 days 23:00:00");
        let span = between(at(2024, 1, 10, 18 * HOUR), at(2024, 1, 2, 0)).expect("an interval");
        assert_eq!(span.shown(), "8 days 18:00:00");
    }
}
