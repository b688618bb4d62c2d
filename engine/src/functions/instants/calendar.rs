//! The proleptic Gregorian calendar, days counted from 1970-01-01, and what PostgreSQL says goes wrong with it.

/// What went wrong: PostgreSQL's SQLSTATE and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub code: &'static str,
    pub message: String,
}

impl Fault {
    /// A fault under `code`.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What reading and computing give.
pub type Outcome<T> = Result<T, Fault>;

pub const INVALID: &str = "22007";
pub const OVERFLOW: &str = "22008";
pub const PARAMETER: &str = "22023";
pub const NOT_SUPPORTED: &str = "0A000";

pub const SECOND: i64 = 1_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;
/// The day before which PostgreSQL has none: 4714-11-24 BC.
pub const FIRST_DAY: i64 = -2_440_588;
/// The first microsecond of it.
pub const FIRST_INSTANT: i64 = FIRST_DAY * DAY;
/// The day after PostgreSQL's last.
pub const END_DAY: i64 = 2_147_483_494 - 2_440_588;

/// Year, month and day of a number of days since 1970-01-01; the year before 1 is 0.
///
/// Howard Hinnant, "chrono-compatible low-level date algorithms".
pub fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970-01-01 of a date.
pub fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_index = (month + 9).rem_euclid(12);
    let day_of_year = (153 * month_index + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// True for years with a 29th of February.
pub fn is_leap(year: i64) -> bool {
    year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0)
}

/// Days of a month.
pub fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The day of the week, 0 for Sunday.
pub fn weekday(days: i64) -> i64 {
    (days + 4).rem_euclid(7)
}

/// The Monday of the first ISO week of a year.
fn first_monday(year: i64) -> i64 {
    let fourth = days_of(year, 1, 4);
    fourth - (weekday(fourth) + 6) % 7
}

/// The ISO year and week of a day.
pub fn iso_week(days: i64) -> (i64, i64) {
    let (mut year, _, _) = civil(days);
    if days < first_monday(year) {
        year -= 1;
    } else if days >= first_monday(year + 1) {
        year += 1;
    }
    (year, (days - first_monday(year)) / 7 + 1)
}

/// A local time in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    pub days: i64,
    pub year: i64,
    pub month: i64,
    pub day: i64,
    pub micros: i64,
}

impl Local {
    /// The parts of microseconds since 1970.
    pub fn of(time: i64) -> Self {
        let days = time.div_euclid(DAY);
        let (year, month, day) = civil(days);
        Self { days, year, month, day, micros: time.rem_euclid(DAY) }
    }
}

/// A time within PostgreSQL's range, if it can be held as well.
pub fn instant(days: i64, micros: i64) -> Option<i64> {
    let time = days.checked_mul(DAY)?.checked_add(micros)?;
    (time >= FIRST_INSTANT).then_some(time)
}

/// The same of a date.
pub fn date(days: i64) -> Option<i32> {
    (FIRST_DAY..END_DAY).contains(&days).then(|| i32::try_from(days).ok()).flatten()
}
