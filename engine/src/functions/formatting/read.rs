//! `to_timestamp` and `to_date`: texts read by a template.

use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime};
use datafusion::error::{DataFusionError, Result};

use super::shown::{DAYS, MONTHS, ROMAN_MONTHS};
use super::template::{Ordinal, Part, is_separator};
use super::{fault, is_of};

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// The local time, where no zone was read.
    pub time: NaiveDateTime,
    /// East of Greenwich, in seconds, where one was read.
    pub offset: Option<i64>,
    /// Digits of the fraction of a second that are kept.
    pub digits: Option<u32>,
}

/// Reads `text` by `template`.
pub fn read(text: &str, template: &[Part]) -> Result<Read> {
    let mut reader = Reader { text, rest: text, skipped: 0, is_exact: false, fields: Fields::default() };
    reader.run(template)?;
    reader.fields.moment(text)
}

/// The fields that were read; 0 is unset, as in PostgreSQL.
#[derive(Debug, Default)]
struct Fields {
    is_of_weeks: Option<bool>,
    is_of_half_days: bool,
    hour: i64,
    is_afternoon: i64,
    minute: i64,
    second: i64,
    seconds_of_day: i64,
    /// From Sunday, which is 1.
    weekday: i64,
    day: i64,
    day_of_year: i64,
    month: i64,
    milliseconds: i64,
    year: i64,
    /// Digits of the year.
    year_digits: i64,
    is_before_christ: i64,
    week: i64,
    week_of_month: i64,
    century: i64,
    julian: i64,
    microseconds: i64,
    fraction_digits: Option<u32>,
    zone_sign: i64,
    zone_hour: i64,
    zone_minute: i64,
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    /// Letters passed over beyond what the template has.
    skipped: i64,
    is_exact: bool,
    fields: Fields,
}

impl Reader<'_> {
    fn run(&mut self, template: &[Part]) -> Result<()> {
        for (at, part) in template.iter().enumerate() {
            if self.rest.is_empty() {
                break;
            }
            let is_field = matches!(part, Part::Field { .. });
            let begins_exact = matches!(part, Part::Field { name: "FX" | "fx", .. });
            if !self.is_exact && !begins_exact && (is_field || at == 0) {
                self.skip_spaces();
            }
            match *part {
                Part::Space(_) | Part::Separator(_) => {
                    if self.is_exact {
                        self.skip_letter();
                        continue;
                    }
                    self.skipped -= 1;
                    if self.rest.starts_with(|letter| is_space(letter) || is_separator(letter)) {
                        self.skip_letter();
                        self.skipped += 1;
                    }
                }
                Part::Letter(_) => {
                    if !self.is_exact && self.skipped > 0 {
                        self.skipped -= 1;
                    } else {
                        self.skip_letter();
                    }
                }
                Part::Field { name, is_filled, ordinal } => {
                    let slurps = is_filled || is_before_separator(ordinal, template.get(at + 1));
                    self.field(name, slurps, ordinal)?;
                    if !self.is_exact {
                        self.skipped = 0;
                        self.skip_spaces();
                    }
                }
            }
        }
        Ok(())
    }

    fn skip_spaces(&mut self) {
        let behind = self.rest.trim_start_matches(is_space);
        self.skipped += (self.rest.len() - behind.len()) as i64;
        self.rest = behind;
    }

    fn skip_letter(&mut self) {
        let mut letters = self.rest.chars();
        letters.next();
        self.rest = letters.as_str();
    }

    fn field(&mut self, name: &'static str, slurps: bool, ordinal: Ordinal) -> Result<()> {
        let upper = name.to_ascii_uppercase();
        match upper.as_str() {
            "DDD" | "DD" | "D" | "MM" | "MONTH" | "MON" | "RM" | "WW" | "W" | "Y,YYY" | "YYYY" | "YYY"
            | "YY" | "Y" => self.mode(false)?,
            "IDDD" | "ID" | "IW" | "IYYY" | "IYY" | "IY" | "I" => self.mode(true)?,
            _ => {}
        }
        let length = name.len();
        macro_rules! whole {
            ($field:ident, $length:expr) => {{
                let (value, digits) = self.whole(name, $length, slurps)?;
                set(&mut self.fields.$field, value, name)?;
                digits
            }};
        }
        match upper.as_str() {
            "FX" => {
                self.is_exact = true;
                return Ok(());
            }
            "A.M." | "P.M." => {
                let half = self.choice(name, &["a.m.", "p.m."])?;
                set(&mut self.fields.is_afternoon, half, name)?;
                self.fields.is_of_half_days = true;
                return Ok(());
            }
            "AM" | "PM" => {
                let half = self.choice(name, &["am", "pm"])?;
                set(&mut self.fields.is_afternoon, half, name)?;
                self.fields.is_of_half_days = true;
                return Ok(());
            }
            "HH" | "HH12" => {
                whole!(hour, 2);
                self.fields.is_of_half_days = true;
            }
            "HH24" => {
                whole!(hour, 2);
            }
            "MI" => {
                whole!(minute, length);
            }
            "SS" => {
                whole!(second, length);
            }
            "MS" => {
                let digits = whole!(milliseconds, 3);
                self.fields.milliseconds *= scale(digits, 3);
            }
            "FF1" | "FF2" | "FF3" | "FF4" | "FF5" | "FF6" | "US" => {
                let digits: Option<u32> = name[2..].parse().ok();
                self.fields.fraction_digits = digits.or(self.fields.fraction_digits);
                let digits = whole!(microseconds, digits.unwrap_or(6) as usize);
                self.fields.microseconds *= scale(digits, 6);
            }
            "SSSS" | "SSSSS" => {
                whole!(seconds_of_day, length);
            }
            "TZ" | "OF" => {
                let message = format!("formatting field \"{name}\" is only supported in to_char");
                return Err(fault(is_of::NOT_SUPPORTED, message));
            }
            "TZH" => {
                let before = self.text[..self.text.len() - self.rest.len()].chars().next_back();
                self.fields.zone_sign = match self.rest.chars().next() {
                    Some(sign @ ('+' | '-' | ' ')) => {
                        self.skip_letter();
                        if sign == '-' { -1 } else { 1 }
                    }
                    // A sign that was passed over as a separator.
                    _ if self.skipped > 0 && before == Some('-') => -1,
                    _ => 1,
                };
                whole!(zone_hour, 2);
                return Ok(());
            }
            "TZM" => {
                if self.fields.zone_sign == 0 {
                    self.fields.zone_sign = 1;
                }
                whole!(zone_minute, 2);
                return Ok(());
            }
            "A.D." | "B.C." => {
                let era = self.choice(name, &["a.d.", "b.c."])?;
                set(&mut self.fields.is_before_christ, era, name)?;
                return Ok(());
            }
            "AD" | "BC" => {
                let era = self.choice(name, &["ad", "bc"])?;
                set(&mut self.fields.is_before_christ, era, name)?;
                return Ok(());
            }
            "MONTH" => {
                let month = self.choice(name, &MONTHS)?;
                set(&mut self.fields.month, month + 1, name)?;
                return Ok(());
            }
            "MON" => {
                let month = self.choice(name, &MONTHS.map(|month| &month[..3]))?;
                set(&mut self.fields.month, month + 1, name)?;
                return Ok(());
            }
            "MM" => {
                whole!(month, length);
            }
            "DAY" => {
                let day = self.choice(name, &DAYS)?;
                set(&mut self.fields.weekday, day, name)?;
                self.fields.weekday += 1;
                return Ok(());
            }
            "DY" => {
                let day = self.choice(name, &DAYS.map(|day| &day[..3]))?;
                set(&mut self.fields.weekday, day, name)?;
                self.fields.weekday += 1;
                return Ok(());
            }
            "DDD" => {
                whole!(day_of_year, length);
            }
            "IDDD" => {
                whole!(day_of_year, 3);
            }
            "DD" => {
                whole!(day, length);
            }
            "D" => {
                whole!(weekday, length);
            }
            "ID" => {
                whole!(weekday, 1);
                // From Monday there, from Sunday here.
                self.fields.weekday = if self.fields.weekday + 1 > 7 { 1 } else { self.fields.weekday + 1 };
            }
            "WW" | "IW" => {
                whole!(week, length);
            }
            // Read, and passed over: it is not told which day of the quarter is meant.
            "Q" => {
                self.whole(name, length, slurps)?;
            }
            "CC" => {
                whole!(century, length);
            }
            "Y,YYY" => {
                let year = self.year_with_comma()?;
                set(&mut self.fields.year, year, name)?;
                self.fields.year_digits = 4;
            }
            "YYYY" | "IYYY" => {
                whole!(year, length);
                self.fields.year_digits = 4;
            }
            "YYY" | "IYY" | "YY" | "IY" | "Y" | "I" => {
                let digits = whole!(year, length);
                if digits < 4 {
                    self.fields.year = near_2020(self.fields.year);
                }
                self.fields.year_digits = upper.len() as i64;
            }
            "RM" => {
                let month = self.choice(name, &ROMAN_MONTHS)?;
                set(&mut self.fields.month, 12 - month, name)?;
                return Ok(());
            }
            "W" => {
                whole!(week_of_month, length);
            }
            "J" => {
                whole!(julian, length);
            }
            _ => {}
        }
        if ordinal != Ordinal::None {
            self.skip_letter();
            self.skip_letter();
        }
        Ok(())
    }

    fn mode(&mut self, is_of_weeks: bool) -> Result<()> {
        match self.fields.is_of_weeks.replace(is_of_weeks) {
            Some(before) if before != is_of_weeks => {
                Err(fault(is_of::INVALID_DATETIME, "invalid combination of date conventions".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// A whole number of `length` letters, or of as many digits as there are when it `slurps`; and how many letters of the
    /// text it took.
    fn whole(&mut self, name: &str, length: usize, slurps: bool) -> Result<(i64, usize)> {
        let begin = self.rest;
        self.rest = self.rest.trim_start_matches(is_space);
        let copy: String = self.rest.chars().take(length).collect();
        let number = if slurps {
            let (number, behind) = leading_number(begin);
            self.rest = behind;
            number
        } else {
            if copy.len() < length {
                let message = format!("source string too short for \"{name}\" formatting field");
                return Err(fault(is_of::INVALID_DATETIME, message));
            }
            let (number, behind) = leading_number(&copy);
            let used = copy.len() - behind.len();
            if used > 0 && used < length {
                return Err(invalid(&copy, name));
            }
            self.rest = &self.rest[used..];
            number
        };
        if self.rest.len() == begin.len() {
            return Err(invalid(&copy, name));
        }
        match number {
            Some(number) if i32::try_from(number).is_ok() => Ok((number, begin.len() - self.rest.len())),
            _ => {
                let message = format!("value for \"{name}\" in source string is out of range");
                Err(fault(is_of::OUT_OF_RANGE, message))
            }
        }
    }

    /// Which of `names` the text begins with, whatever its case.
    fn choice(&mut self, name: &str, names: &[&str]) -> Result<i64> {
        let begins = |candidate: &&str| {
            self.rest
                .as_bytes()
                .get(..candidate.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(candidate.as_bytes()))
        };
        match names.iter().position(begins) {
            Some(at) => {
                self.rest = &self.rest[names[at].len()..];
                Ok(at as i64)
            }
            None => {
                let word = self.rest.split(is_space).next().unwrap_or_default();
                Err(invalid(word, name))
            }
        }
    }

    /// `2,024`.
    fn year_with_comma(&mut self) -> Result<i64> {
        let wrong = || fault(is_of::INVALID_DATETIME, "invalid input string for \"Y,YYY\"".to_owned());
        let (thousands, behind) = leading_number(self.rest);
        let behind = behind.strip_prefix(',').ok_or_else(wrong)?;
        let digits: String = behind.chars().take_while(char::is_ascii_digit).take(3).collect();
        let years: i64 = digits.parse().map_err(|_| wrong())?;
        let thousands = thousands.ok_or_else(wrong)?;
        self.rest = &behind[digits.len()..];
        Ok(years + thousands.saturating_mul(1000))
    }
}

impl Fields {
    /// What the fields of `text` mean together.
    fn moment(&self, text: &str) -> Result<Read> {
        let out_of_range =
            || fault(is_of::OUT_OF_RANGE, format!("date/time field value out of range: \"{text}\""));
        let of_day = self.seconds_of_day;
        let set_or = |value: i64, other: i64| if value == 0 { other } else { value };
        let mut hour = set_or(self.hour, of_day / 3600);
        let minute = set_or(self.minute, of_day % 3600 / 60);
        let second = set_or(self.second, of_day % 60);
        if self.is_of_half_days {
            if !(1..=12).contains(&hour) {
                let message = format!("hour \"{hour}\" is invalid for the 12-hour clock");
                return Err(fault(is_of::INVALID_DATETIME, message));
            }
            let is_afternoon = self.is_afternoon == 1;
            hour = hour % 12 + if is_afternoon { 12 } else { 0 };
        }
        let is_before_christ = self.is_before_christ == 1;
        let (mut year, mut month, mut day) = (0, 1, 1);
        if self.year != 0 {
            if self.century != 0 && self.year_digits <= 2 {
                let century = if is_before_christ { -self.century } else { self.century };
                year = self.year % 100;
                year = match (year, century < 0) {
                    (0, is_before) => century * 100 + i64::from(is_before),
                    (year, true) => (century + 1) * 100 - year + 1,
                    (year, false) => year + (century - 1) * 100,
                };
            } else {
                year = if is_before_christ { -self.year } else { self.year };
                if year < 0 {
                    year += 1;
                }
            }
        } else if self.century != 0 {
            let century = if is_before_christ { -self.century } else { self.century };
            year = if century >= 0 { (century - 1) * 100 + 1 } else { century * 100 + 1 };
        }
        if self.julian != 0 {
            (year, month, day) = date_of_julian(self.julian).ok_or_else(out_of_range)?;
        }
        let mut day_of_year = self.day_of_year;
        if self.week != 0 {
            if self.is_of_weeks == Some(true) {
                let monday = monday_of(year, self.week).ok_or_else(out_of_range)?;
                let offset = match self.weekday {
                    0 => 0,
                    1 => 6,
                    weekday => weekday - 2,
                };
                (year, month, day) = moved(monday, offset).ok_or_else(out_of_range)?;
            } else {
                day_of_year = (self.week - 1) * 7 + 1;
            }
        }
        day = if self.week_of_month == 0 { set_or(self.day, day) } else { (self.week_of_month - 1) * 7 + 1 };
        month = set_or(self.month, month);
        if day_of_year != 0 && (month <= 1 || day <= 1) {
            if year == 0 && !is_before_christ {
                let message = "cannot calculate day of year without year information".to_owned();
                return Err(fault(is_of::INVALID_DATETIME, message));
            }
            if self.is_of_weeks == Some(true) {
                let monday = monday_of(year, 1).ok_or_else(out_of_range)?;
                (year, month, day) = moved(monday, day_of_year - 1).ok_or_else(out_of_range)?;
            } else {
                let first = first_of(year).ok_or_else(out_of_range)?;
                let of_year =
                    first.checked_add_days(Days::new(u64::try_from(day_of_year - 1).unwrap_or(u64::MAX)));
                let of_year =
                    of_year.filter(|date| i64::from(date.year()) == year).ok_or_else(out_of_range)?;
                if month <= 1 {
                    month = i64::from(of_year.month());
                }
                if day <= 1 {
                    day = i64::from(of_year.day());
                }
            }
        }
        let date = i32::try_from(year).ok().zip(u32::try_from(month).ok()).zip(u32::try_from(day).ok());
        let date = date.and_then(|((year, month), day)| NaiveDate::from_ymd_opt(year, month, day));
        let microsecond = self.milliseconds.saturating_mul(1000).saturating_add(self.microseconds);
        let time = [hour, minute, second, microsecond].map(|value| u32::try_from(value).unwrap_or(u32::MAX));
        let [hour, minute, second, microsecond] = time;
        let time = (microsecond < 1_000_000)
            .then(|| NaiveTime::from_hms_micro_opt(hour, minute, second, microsecond))
            .flatten();
        let (Some(date), Some(time)) = (date, time) else { return Err(out_of_range()) };
        if julian_of(year, month, day) < 0 {
            return Err(out_of_range());
        }
        let offset = match self.zone_sign {
            0 => None,
            _ if !(0..=15).contains(&self.zone_hour) || !(0..60).contains(&self.zone_minute) => {
                return Err(out_of_range());
            }
            sign => Some(sign * (self.zone_hour * 3600 + self.zone_minute * 60)),
        };
        Ok(Read { time: date.and_time(time), offset, digits: self.fraction_digits })
    }
}

fn set(field: &mut i64, value: i64, name: &str) -> Result<()> {
    if *field != 0 && *field != value {
        let message = format!("conflicting values for \"{name}\" field in formatting string");
        return Err(fault(is_of::INVALID_DATETIME, message));
    }
    *field = value;
    Ok(())
}

fn invalid(value: &str, name: &str) -> DataFusionError {
    fault(is_of::INVALID_DATETIME, format!("invalid value \"{value}\" for \"{name}\""))
}

fn is_space(letter: char) -> bool {
    letter.is_ascii_whitespace() || letter == '\u{b}'
}

/// True when what follows a field cannot be a digit: then the field has as many as there are.
fn is_before_separator(ordinal: Ordinal, next: Option<&Part>) -> bool {
    if ordinal != Ordinal::None {
        return true;
    }
    match next {
        None => true,
        Some(Part::Field { name, .. }) => !is_number(name),
        Some(Part::Letter(letter)) => !letter.is_ascii_digit(),
        Some(Part::Separator(_) | Part::Space(_)) => true,
    }
}

/// True for fields that are read as numbers.
fn is_number(name: &str) -> bool {
    !matches!(
        name.to_ascii_uppercase().as_str(),
        "A.D."
            | "A.M."
            | "AD"
            | "AM"
            | "B.C."
            | "BC"
            | "DAY"
            | "DY"
            | "FX"
            | "MONTH"
            | "MON"
            | "OF"
            | "P.M."
            | "PM"
            | "RM"
            | "TZH"
            | "TZ"
    )
}

/// As `strtol`: spaces, a sign, digits; `None` when they are past 64 bits. What stands behind is the text itself when there
/// is no digit.
fn leading_number(text: &str) -> (Option<i64>, &str) {
    let trimmed = text.trim_start_matches(is_space);
    let unsigned = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    let behind = unsigned.trim_start_matches(|letter: char| letter.is_ascii_digit());
    if behind.len() == unsigned.len() {
        return (Some(0), text);
    }
    (trimmed[..trimmed.len() - behind.len()].parse().ok(), behind)
}

/// What a fraction of so many letters is multiplied by, of one of `width`.
fn scale(letters: usize, width: u32) -> i64 {
    match letters as u32 {
        letters if (1..width).contains(&letters) => 10i64.pow(width - letters),
        _ => 1,
    }
}

/// A year of fewer than four digits as the nearest to 2020.
fn near_2020(year: i64) -> i64 {
    match year {
        year if year < 70 => year + 2000,
        year if year < 100 => year + 1900,
        year if year < 520 => year + 2000,
        year if year < 1000 => year + 1000,
        year => year,
    }
}

fn first_of(year: i64) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, 1, 1)
}

/// The Monday of a week of a year of weeks.
fn monday_of(year: i64, week: i64) -> Option<NaiveDate> {
    let fourth = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, 1, 4)?;
    let back = i64::from(fourth.weekday().num_days_from_monday());
    fourth.checked_add_signed(chrono::TimeDelta::try_days((week - 1).checked_mul(7)? - back)?)
}

fn moved(date: NaiveDate, days: i64) -> Option<(i64, i64, i64)> {
    let date = date.checked_add_signed(chrono::TimeDelta::try_days(days)?)?;
    Some((i64::from(date.year()), i64::from(date.month()), i64::from(date.day())))
}

fn date_of_julian(julian: i64) -> Option<(i64, i64, i64)> {
    let days = i32::try_from(julian - 1_721_425).ok()?;
    let date = NaiveDate::from_num_days_from_ce_opt(days)?;
    Some((i64::from(date.year()), i64::from(date.month()), i64::from(date.day())))
}

/// The Julian day of a year, month and day that need not be one of a calendar, by PostgreSQL's arithmetic (`date2j`).
pub fn julian_of(year: i64, month: i64, day: i64) -> i64 {
    let (month, year) = if month > 2 { (month + 1, year + 4800) } else { (month + 13, year + 4799) };
    let century = year / 100;
    year * 365 - 32167 + year / 4 - century + century / 4 + 7834 * month / 256 + day
}
