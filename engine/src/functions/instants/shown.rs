//! Dates, times, instants and intervals as PostgreSQL writes them in the session's style: for clients, row by row into what is
//! sent, and for casts to text.

use std::io::Write;

use super::calendar::{DAY, SECOND, civil};
use super::infinite::{self, is_infinite, is_infinite_day};
use crate::functions::style::{Dates, Display, Intervals, Order, Style};

/// The digits of a number below 100.
fn two_digits(number: i64) -> (u8, u8) {
    (b'0' + (number / 10) as u8, b'0' + (number % 10) as u8)
}

/// The digits of a number below 10,000, in pairs.
fn two_digits_each(number: i64) -> ((u8, u8), (u8, u8)) {
    (two_digits(number / 100), two_digits(number % 100))
}

/// Writes a date, without its era; true when it lies before the year 1 and ` BC` must follow at the end.
fn put_civil(days: i64, style: &Style, out: &mut Vec<u8>) -> bool {
    let (year, month, day) = civil(days);
    let is_bc = year <= 0;
    let shown = if is_bc { 1 - year } else { year };
    let first = if style.order == Order::Dmy { (day, month) } else { (month, day) };
    let _ = match style.dates {
        Dates::Iso if shown > 9999 => write!(out, "{shown}-{month:02}-{day:02}"),
        Dates::Iso => {
            let (century, year) = two_digits_each(shown);
            let ((m1, m2), (d1, d2)) = (two_digits(month), two_digits(day));
            let text = [century.0, century.1, year.0, year.1, b'-', m1, m2, b'-', d1, d2];
            out.extend_from_slice(&text);
            Ok(())
        }
        Dates::Sql => write!(out, "{:02}/{:02}/{shown:04}", first.0, first.1),
        Dates::Postgres => write!(out, "{:02}-{:02}-{shown:04}", first.0, first.1),
        Dates::German => write!(out, "{day:02}.{month:02}.{shown:04}"),
    };
    is_bc
}

/// A day counted from 1970-01-01: `YYYY-MM-DD`, or in another style.
pub fn put_date(days: i64, style: &Style, out: &mut Vec<u8>) {
    if is_infinite_day(days) {
        return out.extend_from_slice(infinite::text(days > 0).as_bytes());
    }
    if put_civil(days, style, out) {
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

/// Microseconds since 1970, as they stand: `YYYY-MM-DD HH:MM:SS[.ffffff]`, or in another style.
pub fn put_timestamp(micros: i64, style: &Style, out: &mut Vec<u8>) {
    if is_infinite(micros) {
        return out.extend_from_slice(infinite::text(micros > 0).as_bytes());
    }
    if put_moment(micros, style, out) {
        out.extend_from_slice(b" BC");
    }
}

/// Writes a local time, without its era; true when ` BC` must follow at the end.
fn put_moment(micros: i64, style: &Style, out: &mut Vec<u8>) -> bool {
    let (days, time) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    if style.dates != Dates::Postgres {
        let is_bc = put_civil(days, style, out);
        out.push(b' ');
        put_time(time, out);
        return is_bc;
    }
    let (year, month, day) = civil(days);
    let is_bc = year <= 0;
    let shown = if is_bc { 1 - year } else { year };
    // 1970-01-01 was a Thursday.
    let weekday = WEEKDAYS[(days + 4).rem_euclid(7) as usize];
    let month = MONTHS[(month - 1).rem_euclid(12) as usize];
    let _ = match style.order {
        Order::Dmy => write!(out, "{weekday} {day:02} {month} "),
        _ => write!(out, "{weekday} {month} {day:02} "),
    };
    put_time(time, out);
    let _ = write!(out, " {shown:04}");
    is_bc
}

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The same shown in the session's zone, with its offset, or with its name in other styles than ISO.
pub fn put_timestamptz(micros: i64, display: &Display, out: &mut Vec<u8>) {
    if is_infinite(micros) {
        return out.extend_from_slice(infinite::text(micros > 0).as_bytes());
    }
    let (zone, style) = (&display.zone, &display.style);
    let at = micros.div_euclid(SECOND);
    let offset = zone.offset_at(at);
    let is_bc = put_moment(micros.saturating_add(offset * SECOND), style, out);
    if style.dates == Dates::Iso {
        put_offset(offset, out);
    } else {
        let _ = write!(out, " {}", zone.name_at(at));
    }
    if is_bc {
        out.extend_from_slice(b" BC");
    }
}

/// `+HH[:MM[:SS]]`.
fn put_offset(offset: i64, out: &mut Vec<u8>) {
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
}

/// An interval in the session's style (`EncodeInterval` of datetime.c).
pub fn put_interval(months: i32, days: i32, micros: i64, style: &Style, out: &mut Vec<u8>) {
    match style.intervals {
        Intervals::Postgres => put_words(months, days, micros, out),
        Intervals::Verbose => put_verbose(months, days, micros, out),
        Intervals::Standard => put_standard(months, days, micros, out),
        Intervals::Iso => put_iso(months, days, micros, out),
    }
}

/// PostgreSQL's own style: `1 year 2 mons 3 days 04:05:06`.
fn put_words(months: i32, days: i32, micros: i64, out: &mut Vec<u8>) {
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

/// Hours, minutes and microseconds, which all have the sign of the whole.
fn clock_parts(micros: i64) -> (i64, i64, i64) {
    (micros / (3600 * SECOND), micros / (60 * SECOND) % 60, micros % (60 * SECOND))
}

/// Seconds without their sign, of at least so many digits before the point.
fn put_seconds(micros: i64, digits: usize, out: &mut Vec<u8>) {
    let micros = micros.unsigned_abs();
    let _ = write!(out, "{:0digits$}", micros / SECOND.unsigned_abs());
    put_fraction(micros % SECOND.unsigned_abs(), out);
}

/// `@ 1 year 2 mons 3 days 4 hours 5 mins 6 secs ago`.
fn put_verbose(months: i32, days: i32, micros: i64, out: &mut Vec<u8>) {
    let (hours, minutes, seconds) = clock_parts(micros);
    let parts = [
        (i64::from(months / 12), "year"),
        (i64::from(months % 12), "mon"),
        (i64::from(days), "day"),
        (hours, "hour"),
        (minutes, "min"),
    ];
    let mut is_before = None;
    out.push(b'@');
    for (amount, unit) in parts.into_iter().filter(|(amount, _)| *amount != 0) {
        // The first part has no sign: it says of the whole whether it lies before.
        let amount = if *is_before.get_or_insert(amount < 0) { -amount } else { amount };
        let _ = write!(out, " {amount} {unit}{}", if amount == 1 { "" } else { "s" });
    }
    if seconds != 0 {
        let is_turned = *is_before.get_or_insert(seconds < 0);
        out.push(b' ');
        if (seconds < 0) != is_turned {
            out.push(b'-');
        }
        put_seconds(seconds, 1, out);
        out.extend_from_slice(if seconds.abs() == SECOND { b" sec" } else { b" secs" });
    }
    match is_before {
        None => out.extend_from_slice(b" 0"),
        Some(true) => out.extend_from_slice(b" ago"),
        Some(false) => {}
    }
}

/// `1-2` of years and months, `3 4:05:06` of days and times, and all with their signs where they come together.
fn put_standard(months: i32, days: i32, micros: i64, out: &mut Vec<u8>) {
    let is_negative = months < 0 || days < 0 || micros < 0;
    let is_positive = months > 0 || days > 0 || micros > 0;
    let (has_months, has_time) = (months != 0, days != 0 || micros != 0);
    let (years, rest) = ((months / 12).unsigned_abs(), (months % 12).unsigned_abs());
    let (hours, minutes, seconds) = clock_parts(micros);
    let (hours, minutes) = (hours.unsigned_abs(), minutes.unsigned_abs());
    if !is_negative && !is_positive {
        out.push(b'0');
        return;
    }
    if (is_negative && is_positive) || (has_months && has_time) {
        let sign = |is_negative: bool| if is_negative { '-' } else { '+' };
        let _ = write!(
            out,
            "{}{years}-{rest} {}{} {}{hours}:{minutes:02}:",
            sign(months < 0),
            sign(days < 0),
            days.unsigned_abs(),
            sign(micros < 0),
        );
        return put_seconds(seconds, 2, out);
    }
    if is_negative {
        out.push(b'-');
    }
    let _ = match (has_months, days) {
        (true, _) => write!(out, "{years}-{rest}"),
        (false, 0) => write!(out, "{hours}:{minutes:02}:"),
        (false, days) => write!(out, "{} {hours}:{minutes:02}:", days.unsigned_abs()),
    };
    if !has_months {
        put_seconds(seconds, 2, out);
    }
}

/// `P1Y2M3DT4H5M6S`.
fn put_iso(months: i32, days: i32, micros: i64, out: &mut Vec<u8>) {
    if months == 0 && days == 0 && micros == 0 {
        out.extend_from_slice(b"PT0S");
        return;
    }
    let (hours, minutes, seconds) = clock_parts(micros);
    out.push(b'P');
    for (amount, unit) in [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')] {
        if amount != 0 {
            let _ = write!(out, "{amount}{unit}");
        }
    }
    if micros != 0 {
        out.push(b'T');
    }
    for (amount, unit) in [(hours, 'H'), (minutes, 'M')] {
        if amount != 0 {
            let _ = write!(out, "{amount}{unit}");
        }
    }
    if seconds != 0 {
        if seconds < 0 {
            out.push(b'-');
        }
        put_seconds(seconds, 1, out);
        out.push(b'S');
    }
}

/// What `put` writes, as a text.
fn text(put: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    put(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// A date.
pub fn date(days: i64, style: &Style) -> String {
    text(|out| put_date(days, style, out))
}

/// A time of day.
pub fn time(micros: i64) -> String {
    text(|out| put_time(micros, out))
}

/// A local time.
pub fn timestamp(micros: i64, style: &Style) -> String {
    text(|out| put_timestamp(micros, style, out))
}

/// An instant, where clocks are those of the session's zone.
pub fn instant(micros: i64, display: &Display) -> String {
    text(|out| put_timestamptz(micros, display, out))
}

/// An interval.
pub fn interval(months: i32, days: i32, micros: i64, style: &Style) -> String {
    text(|out| put_interval(months, days, micros, style, out))
}

#[cfg(test)]
mod tests {
    use super::super::zones::Zone;
    use super::*;

    const ISO: Style = Style {
        dates: Dates::Iso,
        order: Order::Mdy,
        intervals: Intervals::Postgres,
        has_escapes: false,
        float_digits: 1,
    };

    #[test]
    fn dates_and_times() {
        assert_eq!(date(0, &ISO), "1970-01-01");
        assert_eq!(date(19_782, &ISO), "2024-02-29");
        assert_eq!(date(-719_529, &ISO), "0002-12-31 BC");
        assert_eq!(timestamp(-1, &ISO), "1969-12-31 23:59:59.999999");
        assert_eq!(timestamp(1_500_000, &ISO), "1970-01-01 00:00:01.5");
    }

    #[test]
    fn dates_in_other_styles() {
        let all = |dates, order| {
            let style = Style { dates, order, ..ISO };
            let zone = Zone::of_setting(Some("America/Los_Angeles"));
            (date(10_212, &style), instant(882_373_036_500_000, &Display { zone, style }))
        };
        let text = |date: &str, time: &str| (date.to_owned(), time.to_owned());
        assert_eq!(all(Dates::Sql, Order::Mdy), text("12/17/1997", "12/17/1997 07:37:16.5 PST"));
        assert_eq!(all(Dates::Sql, Order::Dmy), text("17/12/1997", "17/12/1997 07:37:16.5 PST"));
        assert_eq!(all(Dates::German, Order::Dmy), text("17.12.1997", "17.12.1997 07:37:16.5 PST"));
        assert_eq!(all(Dates::Postgres, Order::Mdy), text("12-17-1997", "Wed Dec 17 07:37:16.5 1997 PST"));
        assert_eq!(all(Dates::Postgres, Order::Dmy), text("17-12-1997", "Wed 17 Dec 07:37:16.5 1997 PST"));
        assert_eq!(date(-719_529, &Style { dates: Dates::Postgres, ..ISO }), "12-31-0002 BC");
    }

    #[test]
    fn instants_are_shown_in_the_zone() {
        let berlin = Display { zone: Zone::of_setting(Some("Europe/Berlin")), style: ISO };
        assert_eq!(instant(0, &berlin), "1970-01-01 01:00:00+01");
        let fixed = Display { zone: Zone::of_setting(Some("-05:30")), style: ISO };
        assert_eq!(instant(0, &fixed), "1969-12-31 18:30:00-05:30");
    }

    #[test]
    fn intervals_in_words() {
        assert_eq!(interval(14, 3, 14_706_000_000, &ISO), "1 year 2 mons 3 days 04:05:06");
        assert_eq!(interval(0, 0, 0, &ISO), "00:00:00");
        assert_eq!(interval(0, 0, i64::MIN, &ISO), "-2562047788:00:54.775808");
        assert_eq!(interval(-1, 1, -1_500_000, &ISO), "-1 mons +1 day -00:00:01.5");
    }

    // Expected texts are those of a PostgreSQL 15.
    #[test]
    fn intervals_in_other_styles() {
        let of = |intervals| {
            let style = Style { intervals, ..ISO };
            move |months, days, micros| interval(months, days, micros, &style)
        };
        let verbose = of(Intervals::Verbose);
        assert_eq!(verbose(14, 3, 14_706_700_000), "@ 1 year 2 mons 3 days 4 hours 5 mins 6.7 secs");
        assert_eq!(verbose(-10, -3, 14_106_700_000), "@ 10 mons 3 days -3 hours -55 mins -6.7 secs ago");
        assert_eq!(verbose(0, 0, 0), "@ 0");
        assert_eq!(verbose(0, 0, -1_000_000), "@ 1 sec ago");
        let standard = of(Intervals::Standard);
        assert_eq!(standard(14, 0, 0), "1-2");
        assert_eq!(standard(0, -1, -7_384_000_000), "-1 2:03:04");
        assert_eq!(standard(14, -3, 14_706_789_000), "+1-2 -3 +4:05:06.789");
        assert_eq!(standard(0, 0, 0), "0");
        let iso = of(Intervals::Iso);
        assert_eq!(iso(14, -3, -14_706_700_000), "P1Y2M-3DT-4H-5M-6.7S");
        assert_eq!(iso(0, 0, 0), "PT0S");
        assert_eq!(iso(0, 0, -500_000), "PT-0.5S");
    }
}
