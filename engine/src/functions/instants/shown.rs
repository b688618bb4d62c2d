//! Dates, times, instants and intervals as PostgreSQL writes them in the style ISO: for clients, row by row into what is sent,
//! and for casts to text.

use std::io::Write;

use super::calendar::{DAY, SECOND, civil};
use super::zones::Zone;

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
        out.extend_from_slice(b" BC");
    }
}

/// `HH:MM:SS[.ffffff]` of a time of day in microseconds.
pub fn put_time(micros: i64, out: &mut Vec<u8>) {
    put_clock(micros.unsigned_abs(), out);
}

/// The same of any number of hours.
fn put_clock(micros: u64, out: &mut Vec<u8>) {
    const SECOND: u64 = super::calendar::SECOND.unsigned_abs();
    let seconds = (micros / SECOND) as i64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours < 100 {
        let ((h1, h2), (m1, m2), (s1, s2)) = (two_digits(hours), two_digits(minutes), two_digits(seconds));
        out.extend_from_slice(&[h1, h2, b':', m1, m2, b':', s1, s2]);
    } else {
        let _ = write!(out, "{hours}:{minutes:02}:{seconds:02}");
    }
    put_fraction(micros % SECOND, out);
}

fn put_fraction(micros: u64, out: &mut Vec<u8>) {
    if micros != 0 {
        let digits = format!("{micros:06}");
        out.push(b'.');
        out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
    }
}

/// `YYYY-MM-DD HH:MM:SS[.ffffff]` of microseconds since 1970, as they stand.
pub fn put_timestamp(micros: i64, out: &mut Vec<u8>) {
    if put_instant(micros, out) {
        out.extend_from_slice(b" BC");
    }
}

fn put_instant(micros: i64, out: &mut Vec<u8>) -> bool {
    let is_bc = put_civil(micros.div_euclid(DAY), out);
    out.push(b' ');
    put_time(micros.rem_euclid(DAY), out);
    is_bc
}

/// The same shown in `zone`, with its offset.
pub fn put_timestamptz(micros: i64, zone: &Zone, out: &mut Vec<u8>) {
    let offset = zone.offset_at(micros.div_euclid(SECOND));
    let is_bc = put_instant(micros.saturating_add(offset * SECOND), out);
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
        out.extend_from_slice(b" BC");
    }
}

/// An interval in PostgreSQL's own style: `1 year 2 mons 3 days 04:05:06`.
pub fn put_interval(months: i32, days: i32, micros: i64, out: &mut Vec<u8>) {
    let start = out.len();
    // After a negative part PostgreSQL writes the sign of a positive one too.
    let mut was_negative = false;
    for (amount, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if amount != 0 {
            let space = if out.len() > start { " " } else { "" };
            let sign = if was_negative && amount > 0 { "+" } else { "" };
            // PostgreSQL's plural is anything but 1, and -1 is one of those.
            let many = if amount == 1 { "" } else { "s" };
            let _ = write!(out, "{space}{sign}{amount} {unit}{many}");
            was_negative = amount < 0;
        }
    }
    if micros != 0 || out.len() == start {
        if out.len() > start {
            out.push(b' ');
        }
        if micros < 0 {
            out.push(b'-');
        } else if was_negative {
            out.push(b'+');
        }
        put_clock(micros.unsigned_abs(), out);
    }
}

/// What `put` writes, as a text.
fn text(put: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    put(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// A date.
pub fn date(days: i64) -> String {
    text(|out| put_date(days, out))
}

/// A time of day.
pub fn time(micros: i64) -> String {
    text(|out| put_time(micros, out))
}

/// A local time.
pub fn timestamp(micros: i64) -> String {
    text(|out| put_timestamp(micros, out))
}

/// An instant, where clocks are those of `zone`.
pub fn instant(micros: i64, zone: &Zone) -> String {
    text(|out| put_timestamptz(micros, zone, out))
}

/// An interval.
pub fn interval(months: i32, days: i32, micros: i64) -> String {
    text(|out| put_interval(months, days, micros, out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(19_782), "2024-02-29");
        assert_eq!(date(-719_529), "0002-12-31 BC");
        assert_eq!(timestamp(-1), "1969-12-31 23:59:59.999999");
        assert_eq!(timestamp(1_500_000), "1970-01-01 00:00:01.5");
    }

    #[test]
    fn instants_are_shown_in_the_zone() {
        let berlin = Zone::of_setting(Some("Europe/Berlin"));
        assert_eq!(instant(0, &berlin), "1970-01-01 01:00:00+01");
        let fixed = Zone::of_setting(Some("-05:30"));
        assert_eq!(instant(0, &fixed), "1969-12-31 18:30:00-05:30");
    }

    #[test]
    fn intervals_in_words() {
        assert_eq!(interval(14, 3, 14_706_000_000), "1 year 2 mons 3 days 04:05:06");
        assert_eq!(interval(0, 0, 0), "00:00:00");
        assert_eq!(interval(0, 0, i64::MIN), "-2562047788:00:54.775808");
        assert_eq!(interval(-1, 1, -1_500_000), "-1 mons +1 day -00:00:01.5");
    }
}
