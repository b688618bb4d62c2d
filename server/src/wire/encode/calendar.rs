//! Dates, times and zones as PostgreSQL writes them.

use std::io::Write;

use bytes::BufMut;
use engine::functions::instants;

/// Where instants are shown.
#[derive(Debug, Clone, Copy)]
pub struct Zone(instants::Zone);

impl Zone {
    /// The zone of a session's `TimeZone` setting, which was checked when it was set.
    pub fn of_setting(name: &str) -> Self {
        Self(instants::Zone::of_setting(Some(name)))
    }

    /// Seconds east of UTC at an instant.
    fn offset_seconds(&self, unix_seconds: i64) -> i64 {
        self.0.offset_at(unix_seconds)
    }
}

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
fn civil(days: i64) -> (i64, i64, i64) {
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

/// The digits of a number below 100.
fn two_digits(number: i64) -> (u8, u8) {
    (b'0' + (number / 10) as u8, b'0' + (number % 10) as u8)
}

/// The digits of a number below 10,000, in pairs.
fn two_digits_each(number: i64) -> ((u8, u8), (u8, u8)) {
    (two_digits(number / 100), two_digits(number % 100))
}

/// Writes a date; true when it lies before the year 1 and ` BC` must follow at the end.
fn put_civil(days: i64, out: &mut Vec<u8>) -> bool {
    let (year, month, day) = civil(days);
    let is_bc = year <= 0;
    let shown = if is_bc { 1 - year } else { year };
    if shown > 9999 {
        let _ = write!(out, "{shown}-{month:02}-{day:02}");
        return is_bc;
    }
    let (century, year) = two_digits_each(shown);
    let ((m1, m2), (d1, d2)) = (two_digits(month), two_digits(day));
    out.extend_from_slice(&[century.0, century.1, year.0, year.1, b'-', m1, m2, b'-', d1, d2]);
    is_bc
}

/// `YYYY-MM-DD` of a day counted from 1970-01-01.
pub fn put_date(days: i64, out: &mut Vec<u8>) {
    if put_civil(days, out) {
        out.put_slice(b" BC");
    }
}

/// `HH:MM:SS[.ffffff]` of a time of day in microseconds.
pub fn put_time(micros: i64, out: &mut Vec<u8>) {
    let seconds = micros.div_euclid(MICROS_PER_SECOND);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours < 100 {
        let ((h1, h2), (m1, m2), (s1, s2)) = (two_digits(hours), two_digits(minutes), two_digits(seconds));
        out.extend_from_slice(&[h1, h2, b':', m1, m2, b':', s1, s2]);
    } else {
        let _ = write!(out, "{hours}:{minutes:02}:{seconds:02}");
    }
    put_fraction(micros.rem_euclid(MICROS_PER_SECOND), out);
}

fn put_fraction(micros: i64, out: &mut Vec<u8>) {
    if micros != 0 {
        let digits = format!("{micros:06}");
        out.put_u8(b'.');
        out.put_slice(digits.trim_end_matches('0').as_bytes());
    }
}

/// `YYYY-MM-DD HH:MM:SS[.ffffff]` of microseconds since 1970, as they stand.
pub fn put_timestamp(micros: i64, out: &mut Vec<u8>) {
    if put_instant(micros, out) {
        out.put_slice(b" BC");
    }
}

fn put_instant(micros: i64, out: &mut Vec<u8>) -> bool {
    let is_bc = put_civil(micros.div_euclid(MICROS_PER_DAY), out);
    out.put_u8(b' ');
    put_time(micros.rem_euclid(MICROS_PER_DAY), out);
    is_bc
}

/// The same shown in `zone`, with its offset.
pub fn put_timestamptz(micros: i64, zone: &Zone, out: &mut Vec<u8>) {
    let offset = zone.offset_seconds(micros.div_euclid(MICROS_PER_SECOND));
    let is_bc = put_instant(micros.saturating_add(offset * MICROS_PER_SECOND), out);
    let sign = if offset < 0 { '-' } else { '+' };
    let (hours, minutes) = (offset.abs() / 3600, offset.abs() / 60 % 60);
    let _ = write!(out, "{sign}{hours:02}");
    let seconds = offset.abs() % 60;
    if minutes != 0 || seconds != 0 {
        let _ = write!(out, ":{minutes:02}");
    }
    if seconds != 0 {
        let _ = write!(out, ":{seconds:02}");
    }
    if is_bc {
        out.put_slice(b" BC");
    }
}

/// An interval in PostgreSQL's own style: `1 year 2 mons 3 days 04:05:06`.
pub fn put_interval(months: i32, days: i32, micros: i64, out: &mut Vec<u8>) {
    let mut parts: Vec<String> = Vec::new();
    // After a negative part PostgreSQL writes the sign of a positive one too.
    let mut was_negative = false;
    let mut unit = |amount: i32, one: &str, many: &str| {
        if amount != 0 {
            let sign = if was_negative && amount > 0 { "+" } else { "" };
            // PostgreSQL's plural is anything but 1, and -1 is one of those.
            parts.push(format!("{sign}{amount} {}", if amount == 1 { one } else { many }));
            was_negative = amount < 0;
        }
    };
    unit(months / 12, "year", "years");
    unit(months % 12, "mon", "mons");
    unit(days, "day", "days");
    if micros != 0 || parts.is_empty() {
        let mut time = Vec::new();
        if micros < 0 {
            time.put_u8(b'-');
        } else if was_negative {
            time.put_u8(b'+');
        }
        let magnitude = i64::try_from(micros.unsigned_abs()).unwrap_or(i64::MAX);
        put_time(magnitude, &mut time);
        parts.push(String::from_utf8_lossy(&time).into_owned());
    }
    out.put_slice(parts.join(" ").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("only ASCII is written")
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(written(|o| put_date(0, o)), "1970-01-01");
        assert_eq!(written(|o| put_date(19_782, o)), "2024-02-29");
        assert_eq!(written(|o| put_date(-719_529, o)), "0002-12-31 BC");
        assert_eq!(written(|o| put_timestamp(-1, o)), "1969-12-31 23:59:59.999999");
        assert_eq!(written(|o| put_timestamp(1_500_000, o)), "1970-01-01 00:00:01.5");
    }

    #[test]
    fn instants_are_shown_in_the_zone() {
        let berlin = Zone::of_setting("Europe/Berlin");
        assert_eq!(written(|o| put_timestamptz(0, &berlin, o)), "1970-01-01 01:00:00+01");
        let fixed = Zone::of_setting("-05:30");
        assert_eq!(written(|o| put_timestamptz(0, &fixed, o)), "1969-12-31 18:30:00-05:30");
    }

    #[test]
    fn intervals_in_words() {
        assert_eq!(written(|o| put_interval(14, 3, 14_706_000_000, o)), "1 year 2 mons 3 days 04:05:06");
        assert_eq!(written(|o| put_interval(0, 0, 0, o)), "00:00:00");
        assert_eq!(written(|o| put_interval(-1, 1, -1_500_000, o)), "-1 mons +1 day -00:00:01.5");
    }
}
