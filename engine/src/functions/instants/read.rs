//! Dates and times as PostgreSQL reads them, in the session's order of month, day and year.

use super::calendar::{
    DAY, Fault, INVALID, NOT_SUPPORTED, OVERFLOW, Outcome, PARAMETER, SECOND, civil, date, days_of, instant,
    month_days,
};
use super::fields::{Field, Kind, Unread, fraction, split, whole};
use super::infinite::LAST;
use super::words::{Special, Unit, special};
use super::zones::Zone;
use crate::functions::style::{Display, Order};

/// Where and when a text is read.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The session's zone, and its styles.
    pub display: Display,
    /// Microseconds since 1970: what `now` is.
    pub now: i64,
}

/// Which parts of a time were read.
pub(super) mod part {
    pub const YEAR: u32 = 1;
    pub const MONTH: u32 = 2;
    pub const DAY: u32 = 4;
    pub const DATE: u32 = YEAR | MONTH | DAY;
    pub const HOUR: u32 = 8;
    pub const MINUTE: u32 = 16;
    pub const SECOND: u32 = 32;
    pub const FRACTION: u32 = 64;
    pub const SECONDS: u32 = SECOND | FRACTION;
    pub const TIME: u32 = HOUR | MINUTE | SECONDS;
    pub const ZONE: u32 = 128;
    pub const SUMMER: u32 = 256;
    pub const SUMMER_WORD: u32 = 512;
    pub const YEAR_DAY: u32 = 1024;
    pub const HALF: u32 = 2048;
    pub const ERA: u32 = 4096;
    pub const WEEKDAY: u32 = 8192;
    pub const SPECIAL: u32 = 16_384;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    None,
    Morning,
    Evening,
}

/// What a whole text stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Date,
    Epoch,
    /// True for what lies behind all others.
    Infinity(bool),
}

/// What was read so far.
#[derive(Debug)]
struct Reading<'a> {
    setting: &'a Setting,
    read: u32,
    year: i64,
    month: i64,
    day: i64,
    year_day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    /// Seconds east of Greenwich.
    offset: i64,
    zone: Option<Zone>,
    stands: Stands,
    half: Half,
    has_text_month: bool,
    is_julian: bool,
    is_two_digits: bool,
    is_bc: bool,
    /// No date is wanted.
    is_time: bool,
    /// What the last word says of the next number.
    label: Option<Unit>,
}

type Step<T> = Result<T, Unread>;

impl<'a> Reading<'a> {
    fn new(setting: &'a Setting) -> Self {
        Self {
            setting,
            read: 0,
            year: 0,
            month: 0,
            day: 0,
            year_day: 0,
            hour: 0,
            minute: 0,
            second: 0,
            micros: 0,
            offset: 0,
            zone: None,
            stands: Stands::Date,
            half: Half::None,
            has_text_month: false,
            is_julian: false,
            is_two_digits: false,
            is_bc: false,
            is_time: false,
            label: None,
        }
    }

    fn set_day(&mut self, days: i64) {
        (self.year, self.month, self.day) = civil(days);
    }

    fn set_clock(&mut self, micros: i64) {
        self.hour = micros / (3600 * SECOND);
        self.minute = micros / (60 * SECOND) % 60;
        self.second = micros / SECOND % 60;
        self.micros = micros % SECOND;
    }

    fn clock(&self) -> i64 {
        ((self.hour * 60 + self.minute) * 60 + self.second) * SECOND + self.micros
    }

    fn has(&self, parts: u32) -> bool {
        self.read & parts == parts
    }

    fn take(&mut self, parts: u32) -> Step<()> {
        if parts & self.read != 0 {
            return Err(Unread::Format);
        }
        self.read |= parts;
        Ok(())
    }

    fn all(&mut self, fields: &[Field]) -> Step<()> {
        for field in fields {
            let parts = match field.kind {
                Kind::Date => self.date_field(&field.text)?,
                Kind::Time => {
                    if self.label.is_some_and(|label| label != Unit::Time) {
                        return Err(Unread::Format);
                    }
                    self.label = None;
                    self.time_field(&field.text)?
                }
                Kind::Zone => {
                    self.offset = distance(&field.text)?;
                    part::ZONE
                }
                Kind::Number => self.number_field(&field.text)?,
                Kind::Word | Kind::Signed => match self.word(&field.text)? {
                    Some(parts) => parts,
                    None => continue,
                },
            };
            self.take(parts)?;
        }
        self.check()?;
        self.apply_half()
    }

    fn apply_half(&mut self) -> Step<()> {
        if self.half != Half::None && self.hour > 12 {
            return Err(Unread::Range);
        }
        match self.half {
            Half::Morning if self.hour == 12 => self.hour = 0,
            Half::Evening if self.hour != 12 => self.hour += 12,
            _ => {}
        }
        Ok(())
    }

    fn date_field(&mut self, text: &str) -> Step<u32> {
        let starts_with_digit = text.starts_with(|letter: char| letter.is_ascii_digit());
        if self.label == Some(Unit::Julian) {
            let (value, rest) = whole(text)?;
            if value < 0 {
                return Err(Unread::Range);
            }
            self.set_day(value - JULIAN_EPOCH);
            self.is_julian = true;
            self.offset = distance(rest)?;
            self.label = None;
            return Ok(part::DATE | part::TIME | part::ZONE);
        }
        if self.is_time && self.label.is_none() && starts_with_digit {
            let (digits, zone) = text.split_at(text.find('-').ok_or(Unread::Format)?);
            self.offset = distance(zone)?;
            return Ok(self.run_together(digits, self.read | part::DATE)? | part::ZONE);
        }
        if self.label.is_none() && !self.has(part::MONTH | part::DAY) {
            return self.date_parts(text);
        }
        if starts_with_digit || self.label.is_some() {
            if self.label.is_some_and(|label| label != Unit::Time) {
                return Err(Unread::Format);
            }
            self.label = None;
            if self.has(part::TIME) {
                return Err(Unread::Format);
            }
            let (digits, zone) = text.split_at(text.find('-').ok_or(Unread::Format)?);
            self.offset = distance(zone)?;
            return Ok(self.run_together(digits, self.read)? | part::ZONE);
        }
        self.zone = Some(Zone::of_place(text).ok_or_else(|| Unread::Zone(text.to_owned()))?);
        // A place says nothing without a date.
        if self.is_time { Err(Unread::Format) } else { Ok(part::ZONE) }
    }

    fn time_field(&mut self, text: &str) -> Step<u32> {
        let (hour, minute, second, micros) = clock(text)?;
        (self.hour, self.minute, self.second, self.micros) = (hour, minute, second, micros);
        if !(0..=24).contains(&hour) || self.clock() > DAY {
            return Err(Unread::Range);
        }
        Ok(part::TIME)
    }

    fn number_field(&mut self, text: &str) -> Step<u32> {
        if let Some(label) = self.label {
            let (value, rest) = whole(text)?;
            if rest.starts_with('.') {
                if !matches!(label, Unit::Julian | Unit::Time | Unit::Second) {
                    return Err(Unread::Format);
                }
            } else if !rest.is_empty() {
                return Err(Unread::Format);
            }
            let parts = match label {
                Unit::Year => {
                    self.year = value;
                    part::YEAR
                }
                Unit::Month if self.has(part::MONTH) && self.has(part::HOUR) => {
                    self.minute = value;
                    part::MINUTE
                }
                Unit::Month => {
                    self.month = value;
                    part::MONTH
                }
                Unit::Day => {
                    self.day = value;
                    part::DAY
                }
                Unit::Hour => {
                    self.hour = value;
                    part::HOUR
                }
                Unit::Minute => {
                    self.minute = value;
                    part::MINUTE
                }
                Unit::Second => {
                    self.second = value;
                    if rest.is_empty() {
                        part::SECOND
                    } else {
                        self.micros = micros(rest)?;
                        part::SECONDS
                    }
                }
                Unit::Julian => {
                    if value < 0 {
                        return Err(Unread::Range);
                    }
                    self.set_day(value - JULIAN_EPOCH);
                    self.is_julian = true;
                    if rest.is_empty() {
                        part::DATE
                    } else {
                        let day: f64 = fraction(rest)?;
                        self.set_clock((day * DAY as f64) as i64);
                        part::DATE | part::TIME
                    }
                }
                Unit::Time => {
                    let parts = self.run_together(text, self.read | part::DATE)?;
                    if parts != part::TIME {
                        return Err(Unread::Format);
                    }
                    parts
                }
                _ => return Err(Unread::Format),
            };
            self.label = None;
            self.stands = Stands::Date;
            return Ok(parts);
        }
        let point = text.find('.');
        if point.is_some() && self.read & part::DATE == 0 {
            self.date_parts(text)
        } else if point.is_some_and(|at| at > 2)
            || (text.len() >= 6 && (self.read & part::DATE == 0 || self.read & part::TIME == 0))
        {
            self.run_together(text, self.read)
        } else {
            let read = self.read;
            self.number(text, self.has_text_month, read)
        }
    }

    fn word(&mut self, text: &str) -> Step<Option<u32>> {
        if let Some(zone) = Zone::of_abbreviation(text) {
            let parts = match zone {
                Zone::Fixed(seconds) => {
                    self.offset = i64::from(seconds);
                    let is_summer = super::words::is_summer(text);
                    if is_summer { part::ZONE | part::SUMMER } else { part::ZONE }
                }
                zone => {
                    self.zone = Some(zone);
                    part::ZONE
                }
            };
            return Ok(Some(parts));
        }
        let Some(special) = special(text) else {
            self.zone = Some(Zone::of_place(text).filter(|_| !self.is_time).ok_or(Unread::Format)?);
            return Ok(Some(part::ZONE));
        };
        let today = |reading: &Self| {
            let now = reading.setting.now;
            reading.setting.display.zone.local(now).unwrap_or(now).div_euclid(DAY)
        };
        Ok(Some(match special {
            Special::Ignored => return Ok(None),
            Special::Now => {
                let now = self.setting.now;
                let offset = self.setting.display.zone.offset_at(now.div_euclid(SECOND));
                let local = now + offset * SECOND;
                self.set_day(local.div_euclid(DAY));
                self.set_clock(local.rem_euclid(DAY));
                self.offset = offset;
                self.stands = Stands::Date;
                part::DATE | part::TIME | part::ZONE
            }
            Special::Day(shift) => {
                self.set_day(today(self) + shift);
                self.stands = Stands::Date;
                part::DATE
            }
            Special::Zulu => {
                self.set_clock(0);
                self.offset = 0;
                self.stands = Stands::Date;
                part::TIME | part::ZONE
            }
            Special::Epoch | Special::Infinity(_) if self.is_time => return Err(Unread::Format),
            Special::Epoch => {
                self.stands = Stands::Epoch;
                part::SPECIAL
            }
            Special::Infinity(is_late) => {
                self.stands = Stands::Infinity(is_late);
                part::SPECIAL
            }
            Special::Month(month) => {
                let parts = if self.has(part::MONTH)
                    && !self.has_text_month
                    && !self.has(part::DAY)
                    && (1..=31).contains(&self.month)
                {
                    self.day = self.month;
                    part::DAY
                } else {
                    part::MONTH
                };
                self.has_text_month = true;
                self.month = month;
                parts
            }
            Special::SummerWord if self.is_time => return Err(Unread::Format),
            Special::SummerWord => {
                self.offset += 3600;
                part::SUMMER_WORD | part::SUMMER
            }
            Special::Half(is_evening) => {
                self.half = if is_evening { Half::Evening } else { Half::Morning };
                part::HALF
            }
            Special::Era(is_bc) => {
                self.is_bc = is_bc;
                part::ERA
            }
            Special::Weekday => part::WEEKDAY,
            Special::Unit(Unit::Time) => {
                if !self.is_time && !self.has(part::DATE) {
                    return Err(Unread::Format);
                }
                self.label = Some(Unit::Time);
                0
            }
            Special::Unit(unit) => {
                self.label = Some(unit);
                0
            }
        }))
    }

    /// `2024-01-05`, `1/5/2024`, `05-Jan-2024`.
    fn date_parts(&mut self, text: &str) -> Step<u32> {
        let bytes = text.as_bytes();
        let mut pieces: Vec<&str> = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            while at < bytes.len() && !bytes[at].is_ascii_alphanumeric() {
                at += 1;
            }
            if at == bytes.len() {
                return Err(Unread::Format);
            }
            let start = at;
            let is_digit = bytes[at].is_ascii_digit();
            while at < bytes.len()
                && (if is_digit { bytes[at].is_ascii_digit() } else { bytes[at].is_ascii_alphabetic() })
            {
                at += 1;
            }
            pieces.push(&text[start..at]);
            // What parts two pieces goes, whatever it is.
            at += 1;
        }
        let (mut read, mut parts) = (self.read, 0);
        let mut has_text_month = false;
        let mut numbers = Vec::new();
        for piece in pieces {
            if !piece.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
                numbers.push(piece);
                continue;
            }
            match special(piece) {
                Some(Special::Ignored) => continue,
                Some(Special::Month(month)) => {
                    self.month = month;
                    has_text_month = true;
                }
                _ => return Err(Unread::Format),
            }
            if read & part::MONTH != 0 {
                return Err(Unread::Format);
            }
            read |= part::MONTH;
            parts |= part::MONTH;
        }
        for piece in numbers {
            let found = self.number(piece, has_text_month, read)?;
            if read & found != 0 {
                return Err(Unread::Format);
            }
            read |= found;
            parts |= found;
        }
        if read & !(part::YEAR_DAY | part::ZONE) != part::DATE {
            return Err(Unread::Format);
        }
        Ok(parts)
    }

    /// A number that stands by itself.
    fn number(&mut self, text: &str, has_text_month: bool, read: u32) -> Step<u32> {
        let (value, rest) = whole(text)?;
        let length = text.len();
        if rest.starts_with('.') {
            if length - rest.len() > 2 {
                return self.run_together(text, read | part::DATE);
            }
            self.micros = micros(rest)?;
        } else if !rest.is_empty() {
            return Err(Unread::Format);
        }
        let of_date = read & part::DATE;
        if length == 3 && of_date == part::YEAR && (1..=366).contains(&value) {
            self.year_day = value;
            return Ok(part::YEAR_DAY | part::MONTH | part::DAY);
        }
        const YEAR_MONTH: u32 = part::YEAR | part::MONTH;
        const MONTH_DAY: u32 = part::MONTH | part::DAY;
        let order = self.setting.display.style.order;
        let found = match of_date {
            0 if length >= 3 || order == Order::Ymd => part::YEAR,
            0 if order == Order::Dmy => part::DAY,
            0 | part::YEAR | part::DAY => part::MONTH,
            part::MONTH if has_text_month && (length >= 3 || order == Order::Ymd) => part::YEAR,
            part::MONTH => part::DAY,
            YEAR_MONTH => {
                if has_text_month && length >= 3 && self.is_two_digits {
                    // The first number was the day.
                    self.day = self.year;
                    self.year = value;
                    self.is_two_digits = false;
                    return Ok(part::DAY);
                }
                part::DAY
            }
            MONTH_DAY => part::YEAR,
            part::DATE => return self.run_together(text, read),
            _ => return Err(Unread::Format),
        };
        match found {
            part::YEAR => {
                self.year = value;
                self.is_two_digits = length <= 2;
            }
            part::MONTH => self.month = value,
            _ => self.day = value,
        }
        Ok(found)
    }

    /// `20240105`, `101112.5`, `1011`.
    fn run_together(&mut self, text: &str, read: u32) -> Step<u32> {
        let (digits, has_point) = match text.find('.') {
            Some(at) => {
                self.micros = micros(&text[at..])?;
                (&text[..at], true)
            }
            None => (text, false),
        };
        let number = |from: usize, to: usize| -> i64 {
            digits.get(from..to).and_then(|digits| digits.parse::<i32>().ok()).map_or(0, i64::from)
        };
        let length = digits.len();
        if !has_point && read & part::DATE != part::DATE && length >= 6 {
            self.day = number(length - 2, length);
            self.month = number(length - 4, length - 2);
            self.year = number(0, length - 4);
            if length == 6 {
                self.is_two_digits = true;
            }
            return Ok(part::DATE);
        }
        if read & part::TIME != part::TIME {
            if length == 6 {
                (self.hour, self.minute, self.second) = (number(0, 2), number(2, 4), number(4, 6));
                return Ok(part::TIME);
            }
            if length == 4 {
                (self.hour, self.minute, self.second) = (number(0, 2), number(2, 4), 0);
                return Ok(part::TIME);
            }
        }
        Err(Unread::Format)
    }

    /// The final look at year, month and day.
    fn check(&mut self) -> Step<()> {
        if self.has(part::YEAR) && !self.is_julian {
            if self.is_bc {
                if self.year <= 0 {
                    return Err(Unread::Range);
                }
                self.year = 1 - self.year;
            } else if self.is_two_digits {
                match self.year {
                    ..0 => return Err(Unread::Range),
                    0..70 => self.year += 2000,
                    70..100 => self.year += 1900,
                    _ => {}
                }
            } else if self.year <= 0 {
                return Err(Unread::Range);
            }
        }
        if self.has(part::YEAR_DAY) {
            self.set_day(days_of(self.year, 1, 1) + self.year_day - 1);
        }
        if self.has(part::MONTH) && !(1..=12).contains(&self.month)
            || self.has(part::DAY) && !(1..=31).contains(&self.day)
            || self.has(part::DATE) && self.day > month_days(self.year, self.month)
        {
            return Err(Unread::Range);
        }
        Ok(())
    }

    /// Seconds east of Greenwich of what was read.
    fn offset_of(&self, local: i64) -> Step<i64> {
        let summer_word = self.read & part::SUMMER_WORD != 0;
        match self.zone {
            Some(_) if summer_word => Err(Unread::Format),
            Some(zone) => Ok(zone.offset_of_local(local.div_euclid(SECOND))),
            None if self.has(part::ZONE) => Ok(self.offset),
            None if summer_word => Err(Unread::Format),
            None => Ok(self.setting.display.zone.offset_of_local(local.div_euclid(SECOND))),
        }
    }
}

/// Days from PostgreSQL's first Julian day to 1970-01-01.
pub const JULIAN_EPOCH: i64 = 2_440_588;

/// Hours, minutes, seconds and microseconds of `10:11[:12[.5]]`.
pub(super) fn clock(text: &str) -> Step<(i64, i64, i64, i64)> {
    let (mut hour, rest) = whole(text)?;
    let (mut minute, rest) = whole(rest.strip_prefix(':').ok_or(Unread::Format)?)?;
    let (mut second, mut fraction_micros) = (0, 0);
    if rest.starts_with('.') {
        // Minutes and seconds.
        fraction_micros = micros(rest)?;
        (hour, minute, second) = (0, hour, minute);
    } else if let Some(rest) = rest.strip_prefix(':') {
        let (found, rest) = whole(rest)?;
        second = found;
        if rest.starts_with('.') {
            fraction_micros = micros(rest)?;
        } else if !rest.is_empty() {
            return Err(Unread::Format);
        }
    } else if !rest.is_empty() {
        return Err(Unread::Format);
    }
    if hour < 0 || !(0..60).contains(&minute) || !(0..=60).contains(&second) {
        return Err(Unread::Range);
    }
    Ok((hour, minute, second, fraction_micros))
}

/// Microseconds of `.5`.
fn micros(text: &str) -> Step<i64> {
    Ok((fraction(text)? * SECOND as f64).round_ties_even() as i64)
}

/// Seconds east of Greenwich of `+01`, `-0530`, `+05:30:15`.
fn distance(text: &str) -> Step<i64> {
    let sign = match text.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return Err(Unread::Format),
    };
    let (mut hours, mut rest) = whole(&text[1..]).map_err(|fault| match fault {
        Unread::Range => Unread::Displacement,
        other => other,
    })?;
    let (mut minutes, mut seconds) = (0, 0);
    if let Some(more) = rest.strip_prefix(':') {
        (minutes, rest) = whole(more)?;
        if let Some(more) = rest.strip_prefix(':') {
            (seconds, rest) = whole(more)?;
        }
    } else if rest.is_empty() && text.len() > 3 {
        minutes = hours % 100;
        hours /= 100;
    }
    if !(0..=15).contains(&hours) || !(0..60).contains(&minutes) || !(0..60).contains(&seconds) {
        return Err(Unread::Displacement);
    }
    if !rest.is_empty() {
        return Err(Unread::Format);
    }
    Ok(sign * ((hours * 60 + minutes) * 60 + seconds))
}

fn told(unread: Unread, text: &str, kind: &str) -> Fault {
    match unread {
        Unread::Format => Fault::new(INVALID, format!("invalid input syntax for type {kind}: \"{text}\"")),
        Unread::Range => Fault::new(OVERFLOW, format!("date/time field value out of range: \"{text}\"")),
        Unread::Displacement => {
            Fault::new("22009", format!("time zone displacement out of range: \"{text}\""))
        }
        Unread::Zone(name) => Fault::new(PARAMETER, format!("time zone \"{name}\" not recognized")),
    }
}

/// The year of which not every instant can be held.
const LAST_YEAR: i64 = 294_247;
/// The year that PostgreSQL no longer has.
const PAST_YEARS: i64 = 294_277;

fn read<'a>(text: &str, setting: &'a Setting) -> Step<Reading<'a>> {
    let fields = split(text)?;
    let mut reading = Reading::new(setting);
    reading.all(&fields)?;
    if reading.stands == Stands::Date && !reading.has(part::DATE) {
        return Err(Unread::Format);
    }
    if reading.stands == Stands::Date {
        // A zone that cannot be applied is told of even where none is kept.
        reading.offset_of(days_of(reading.year, reading.month, reading.day).saturating_mul(DAY))?;
    }
    Ok(reading)
}

/// A date, as days since 1970.
pub fn read_date(text: &str, setting: &Setting) -> Outcome<i32> {
    let reading = read(text, setting).map_err(|unread| told(unread, text, "date"))?;
    match reading.stands {
        Stands::Epoch => return Ok(0),
        Stands::Infinity(true) => return Ok(i32::MAX),
        Stands::Infinity(false) => return Ok(-i32::MAX),
        Stands::Date => {}
    }
    date(days_of(reading.year, reading.month, reading.day))
        .ok_or_else(|| Fault::new(OVERFLOW, format!("date out of range: \"{text}\"")))
}

/// A `timestamp`, as microseconds since 1970; its zone is not looked at.
pub fn read_timestamp(text: &str, setting: &Setting) -> Outcome<i64> {
    moment(text, setting, false)
}

/// A `timestamp with time zone`.
pub fn read_instant(text: &str, setting: &Setting) -> Outcome<i64> {
    moment(text, setting, true)
}

fn moment(text: &str, setting: &Setting, has_zone: bool) -> Outcome<i64> {
    let kind = if has_zone { "timestamp with time zone" } else { "timestamp" };
    let reading = read(text, setting).map_err(|unread| told(unread, text, kind))?;
    match reading.stands {
        Stands::Epoch => return Ok(0),
        Stands::Infinity(true) => return Ok(LAST),
        Stands::Infinity(false) => return Ok(-LAST),
        Stands::Date => {}
    }
    let out_of_range = || Fault::new(OVERFLOW, format!("timestamp out of range: \"{text}\""));
    let days = days_of(reading.year, reading.month, reading.day);
    if (LAST_YEAR..PAST_YEARS).contains(&reading.year) {
        return Err(Fault::new(
            NOT_SUPPORTED,
            format!("timestamps from the year {LAST_YEAR} are not supported"),
        ));
    }
    let local = instant(days, reading.clock()).ok_or_else(out_of_range)?;
    if !has_zone {
        return Ok(local);
    }
    let offset = reading.offset_of(local).map_err(|unread| told(unread, text, kind))?;
    let found = local.checked_sub(offset * SECOND).ok_or_else(out_of_range)?;
    instant(0, found).ok_or_else(out_of_range)
}

/// A `time`, as microseconds since midnight.
pub fn read_time(text: &str, setting: &Setting) -> Outcome<i64> {
    let read = || -> Step<i64> {
        let fields = split(text)?;
        let mut reading = Reading::new(setting);
        let kind = |at: usize| fields.get(at).map(|field| field.kind);
        let has_date = kind(0) == Some(Kind::Date)
            && fields.len() >= 2
            && (kind(fields.len() - 1) == Some(Kind::Date) || kind(1) == Some(Kind::Time));
        if !has_date {
            // What would be a date is a time here.
            reading.is_time = true;
            reading.read |= part::DATE;
            (reading.year, reading.month, reading.day) = (2000, 1, 1);
        }
        reading.all(&fields)?;
        let has_summer_word = reading.read & part::SUMMER_WORD != 0;
        if reading.stands != Stands::Date || has_summer_word || !reading.has(part::TIME) {
            return Err(Unread::Format);
        }
        if !(0..=24).contains(&reading.hour)
            || !(0..60).contains(&reading.minute)
            || !(0..=60).contains(&reading.second)
            || reading.clock() > DAY
        {
            return Err(Unread::Range);
        }
        Ok(reading.clock())
    };
    let micros = read().map_err(|unread| told(unread, text, "time"))?;
    if micros >= DAY {
        return Err(Fault::new(NOT_SUPPORTED, "the time 24:00:00 is not supported"));
    }
    Ok(micros)
}

#[cfg(test)]
mod tests {
    use super::super::shown;
    use super::*;
    use crate::functions::style::Style;

    fn setting(zone: &str) -> Setting {
        let display = Display { zone: Zone::of_setting(Some(zone)), ..Display::utc() };
        Setting { display, now: 1_700_000_000_000_000 }
    }

    fn told<T>(outcome: Outcome<T>, show: impl Fn(T) -> String) -> String {
        outcome.map_or_else(|fault| format!("{}: {}", fault.code, fault.message), show)
    }

    #[test]
    fn dates_as_postgres_reads_them() {
        let read =
            |text| told(read_date(text, &setting("UTC")), |days| shown::date(days.into(), &Style::default()));
        for text in ["05 Jan 2024", "2024/01/05", "20240105", "2024-1-5", "1/5/24", "2024.005", "J2460315"] {
            assert_eq!(read(text), "2024-01-05", "{text}");
        }
        assert_eq!(read("0044-03-15 BC"), "0044-03-15 BC");
        assert_eq!(read("tomorrow"), "2023-11-15");
        assert_eq!(read("2024-02-30"), "22008: date/time field value out of range: \"2024-02-30\"");
        assert_eq!(read("soon"), "22007: invalid input syntax for type date: \"soon\"");
        assert_eq!(read("2024-01-05 Foo/Bar"), "22023: time zone \"foo/bar\" not recognized");
        assert_eq!(
            read("2024-01-05 10:00+16"),
            "22009: time zone displacement out of range: \"2024-01-05 10:00+16\""
        );
        assert_eq!(read("infinity"), "infinity");
        assert_eq!(read(" -infinity"), "-infinity");
    }

    // Expected texts are those of a PostgreSQL 15.
    #[test]
    fn dates_have_the_sessions_order() {
        let read = |text: &str, order| {
            let mut setting = setting("UTC");
            setting.display.style.order = order;
            told(read_date(text, &setting), |days| shown::date(days.into(), &Style::default()))
        };
        assert_eq!(read("1/8/1999", Order::Dmy), "1999-08-01");
        assert_eq!(read("01/02/03", Order::Dmy), "2003-02-01");
        assert_eq!(read("01/02/03", Order::Ymd), "2001-02-03");
        assert_eq!(read("99-Jan-08", Order::Ymd), "1999-01-08");
        assert_eq!(read("08-Jan-1999", Order::Ymd), "1999-01-08");
        let refused = "22008: date/time field value out of range: \"1/18/1999\"";
        assert_eq!(read("1/18/1999", Order::Dmy), refused);
        assert_eq!(read("1999-01-08", Order::Dmy), "1999-01-08");
    }

    #[test]
    fn instants_are_of_their_zone_or_the_sessions() {
        let denver = setting("America/Denver");
        let read = |text| told(read_instant(text, &denver), |time| shown::instant(time, &denver.display));
        assert_eq!(read("2024-01-01 10:30+00"), "2024-01-01 03:30:00-07");
        assert_eq!(read("2024-07-01T10:30:00.1234567"), "2024-07-01 10:30:00.123457-06");
        assert_eq!(read("2024-03-10 02:30"), "2024-03-10 03:30:00-06");
        assert_eq!(read("2024-11-03 01:30"), "2024-11-03 01:30:00-07");
        assert_eq!(read("2024-07-01 10:00 PM EST"), "2024-07-01 21:00:00-06");
        assert_eq!(read("epoch"), "1969-12-31 17:00:00-07");
    }

    #[test]
    fn times_of_day() {
        let read = |text| told(read_time(text, &setting("UTC")), shown::time);
        assert_eq!(read("101112.5"), "10:11:12.5");
        assert_eq!(read("T10:30 PM"), "22:30:00");
        assert_eq!(read("2024-01-01 10:30"), "10:30:00");
        assert_eq!(read("25:00"), "22008: date/time field value out of range: \"25:00\"");
    }
}
