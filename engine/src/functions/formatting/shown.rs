//! `to_char` of instants and of intervals.

use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};

use super::read::julian_of;
use super::template::{Ordinal, Part, with_ordinal};
use super::{fault, is_of};

pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
/// From the last to the first month, as PostgreSQL has them.
pub const ROMAN_MONTHS: [&str; 12] =
    ["XII", "XI", "X", "IX", "VIII", "VII", "VI", "V", "IV", "III", "II", "I"];
/// Names of months and days are padded to the longest.
const NAME_WIDTH: usize = 9;
const ROMAN_WIDTH: usize = 4;

/// What is shown: an instant where it is, or an interval.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// Year 0 is 1 BC.
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    microsecond: i64,
    day_of_year: i64,
    /// Nothing of an interval.
    date: Option<NaiveDate>,
    zone: Option<Zone<'a>>,
}

/// The zone that an instant is shown in.
#[derive(Debug, Clone, Copy)]
pub struct Zone<'a> {
    /// Its abbreviation then.
    pub name: &'a str,
    /// East of Greenwich, in seconds.
    pub offset: i64,
}

impl<'a> Moment<'a> {
    /// A local time, and where it is.
    pub fn of(time: NaiveDateTime, zone: Option<Zone<'a>>) -> Self {
        Self {
            year: i64::from(time.year()),
            month: i64::from(time.month()),
            day: i64::from(time.day()),
            hour: i64::from(time.hour()),
            minute: i64::from(time.minute()),
            second: i64::from(time.second()),
            microsecond: i64::from(time.nanosecond() / 1000),
            day_of_year: i64::from(time.ordinal()),
            date: Some(time.date()),
            zone,
        }
    }

    /// An interval of months, days and microseconds.
    pub fn of_interval(months: i64, days: i64, microseconds: i64) -> Self {
        const SECOND: i64 = 1_000_000;
        let (year, month) = (months / 12, months % 12);
        Self {
            year,
            month,
            day: days,
            hour: microseconds / (3600 * SECOND),
            minute: microseconds / (60 * SECOND) % 60,
            second: microseconds / SECOND % 60,
            microsecond: microseconds % SECOND,
            // What PostgreSQL tells as about the whole span.
            day_of_year: months * 30 + days,
            date: None,
            zone: None,
        }
    }

    /// The moment as `template` shows it.
    pub fn shown(&self, template: &[Part]) -> datafusion::error::Result<String> {
        let mut shown = String::new();
        for part in template {
            match *part {
                Part::Letter(letter) | Part::Separator(letter) | Part::Space(letter) => shown.push(letter),
                Part::Field { name, is_filled, ordinal } => {
                    shown.push_str(&self.field(name, is_filled, ordinal)?);
                }
            }
        }
        Ok(shown)
    }

    fn field(&self, name: &str, is_filled: bool, ordinal: Ordinal) -> datafusion::error::Result<String> {
        let in_width = |value: i64, width: usize| {
            let width = if is_filled { 0 } else { width };
            with_ordinal(format!("{value:0width$}"), ordinal)
        };
        // The sign of a negative number has a place of its own.
        let padded = |value: i64, width: usize| in_width(value, width + usize::from(value < 0));
        let plain = |value: i64| with_ordinal(value.to_string(), ordinal);
        let in_case = |text: &str| match name {
            name if name.starts_with(|letter: char| letter.is_ascii_lowercase()) => text.to_ascii_lowercase(),
            name if name[1..].starts_with(|letter: char| letter.is_ascii_lowercase()) => text.to_owned(),
            _ => text.to_ascii_uppercase(),
        };
        let full = |text: &str| {
            let width = if is_filled { 0 } else { NAME_WIDTH };
            format!("{:width$}", in_case(text))
        };
        let upper = name.to_ascii_uppercase();
        let year = |year: i64| if self.date.is_some() && year <= 0 { 1 - year } else { year };
        let date = || self.date.ok_or_else(not_of_intervals);
        let month_name = || usize::try_from(self.month - 1).ok().and_then(|at| MONTHS.get(at)).copied();
        let is_late = self.hour % 24 >= 12;
        // Years have room for the sign of the calendar's.
        let of_year = |value: i64, width: usize| in_width(value, width + usize::from(year(self.year) < 0));
        Ok(match upper.as_str() {
            "A.M." | "P.M." => in_case(if is_late { "P.M." } else { "A.M." }),
            "AM" | "PM" => in_case(if is_late { "PM" } else { "AM" }),
            "HH" | "HH12" => padded(if self.hour % 12 == 0 { 12 } else { self.hour % 12 }, 2),
            "HH24" => padded(self.hour, 2),
            "MI" => padded(self.minute, 2),
            "SS" => padded(self.second, 2),
            "FF1" => self.fraction(100_000, 1, ordinal),
            "FF2" => self.fraction(10_000, 2, ordinal),
            "FF3" | "MS" => self.fraction(1_000, 3, ordinal),
            "FF4" => self.fraction(100, 4, ordinal),
            "FF5" => self.fraction(10, 5, ordinal),
            "FF6" | "US" => self.fraction(1, 6, ordinal),
            "SSSS" | "SSSSS" => plain(self.hour * 3600 + self.minute * 60 + self.second),
            "TZ" => {
                date()?;
                let zone = self.zone.map_or("", |zone| zone.name);
                if name == "tz" { zone.to_ascii_lowercase() } else { zone.to_owned() }
            }
            "TZH" => {
                date()?;
                let offset = self.offset();
                format!("{}{:02}", sign(offset), offset.abs() / 3600)
            }
            "TZM" => {
                date()?;
                format!("{:02}", self.offset().abs() % 3600 / 60)
            }
            "OF" => {
                date()?;
                let offset = self.offset();
                let width = if is_filled { 0 } else { 2 };
                let minutes = offset.abs() % 3600 / 60;
                let minutes = if offset % 3600 == 0 { String::new() } else { format!(":{minutes:02}") };
                format!("{}{:0width$}{minutes}", sign(offset), offset.abs() / 3600)
            }
            "A.D." | "B.C." => {
                date()?;
                in_case(if self.year <= 0 { "B.C." } else { "A.D." })
            }
            "AD" | "BC" => {
                date()?;
                in_case(if self.year <= 0 { "BC" } else { "AD" })
            }
            "MONTH" => {
                date()?;
                month_name().map_or_else(String::new, full)
            }
            "MON" => {
                date()?;
                month_name().map_or_else(String::new, |month| in_case(&month[..3]))
            }
            "MM" => padded(self.month, 2),
            "DAY" => full(DAYS[weekday(date()?)]),
            "DY" => in_case(&DAYS[weekday(date()?)][..3]),
            "DDD" => in_width(self.day_of_year, 3),
            "IDDD" => in_width(self.iso_day_of_year(), 3),
            "DD" => in_width(self.day, 2),
            "D" => plain(weekday(date()?) as i64 + 1),
            "ID" => plain(iso_day(date()?)),
            "WW" => in_width((self.day_of_year - 1) / 7 + 1, 2),
            "IW" => in_width(self.iso_week().1, 2),
            "Q" if self.month == 0 => String::new(),
            "Q" => plain((self.month - 1) / 3 + 1),
            "CC" => {
                let century = match self.date {
                    None => self.year / 100,
                    Some(_) if self.year > 0 => (self.year - 1) / 100 + 1,
                    Some(_) => self.year / 100 - 1,
                };
                if century.abs() <= 99 { padded(century, 2) } else { plain(century) }
            }
            "Y,YYY" => {
                let year = year(self.year);
                with_ordinal(format!("{},{:03}", year / 1000, year % 1000), ordinal)
            }
            "YYYY" => of_year(year(self.year), 4),
            "YYY" => of_year(year(self.year) % 1000, 3),
            "YY" => of_year(year(self.year) % 100, 2),
            "Y" => plain(year(self.year) % 10),
            "IYYY" => of_year(year(self.iso_week().0), 4),
            "IYY" => of_year(year(self.iso_week().0) % 1000, 3),
            "IY" => of_year(year(self.iso_week().0) % 100, 2),
            "I" => plain(year(self.iso_week().0) % 10),
            "RM" if self.month == 0 && self.year == 0 => String::new(),
            "RM" => {
                let at = match self.month {
                    0 if self.year >= 0 => 0,
                    0 => 11,
                    month if month < 0 => -(month + 1),
                    month => 12 - month,
                };
                let width = if is_filled { 0 } else { ROMAN_WIDTH };
                let month = usize::try_from(at).ok().and_then(|at| ROMAN_MONTHS.get(at)).copied();
                format!("{:width$}", in_case(month.unwrap_or_default()))
            }
            "W" => plain((self.day - 1) / 7 + 1),
            "J" => plain(self.julian()),
            // FX tells how to read.
            _ => String::new(),
        })
    }

    fn fraction(&self, unit: i64, width: usize, ordinal: Ordinal) -> String {
        let value = self.microsecond / unit;
        with_ordinal(format!("{value:0width$}"), ordinal)
    }

    fn offset(&self) -> i64 {
        self.zone.map_or(0, |zone| zone.offset)
    }

    fn julian(&self) -> i64 {
        julian_of(self.year, self.month, self.day)
    }

    /// The year of weeks, and the week of it: PostgreSQL's `date2isoyear` and `date2isoweek`, which take the fields of an
    /// interval for a date, too.
    fn iso_week(&self) -> (i64, i64) {
        let day = self.julian();
        let mut year = self.year;
        if day < first_monday(year) {
            year -= 1;
        }
        let week = (day - first_monday(year)) / 7 + 1;
        if week >= 52 && day >= first_monday(year + 1) {
            return (year + 1, (day - first_monday(year + 1)) / 7 + 1);
        }
        (year, week)
    }

    fn iso_day_of_year(&self) -> i64 {
        self.julian() - first_monday(self.iso_week().0) + 1
    }
}

/// The Julian day on which the first week of a year of weeks begins.
fn first_monday(year: i64) -> i64 {
    let fourth = julian_of(year, 1, 4);
    fourth - fourth.rem_euclid(7)
}

fn sign(offset: i64) -> char {
    if offset >= 0 { '+' } else { '-' }
}

/// From Sunday, which is 0.
fn weekday(date: NaiveDate) -> usize {
    date.weekday().num_days_from_sunday() as usize
}

/// From Monday, which is 1.
fn iso_day(date: NaiveDate) -> i64 {
    i64::from(date.weekday().number_from_monday())
}

fn not_of_intervals() -> datafusion::error::DataFusionError {
    fault(is_of::INVALID_DATETIME, "invalid format specification for an interval value".to_owned())
}
