//! Dates and times as PostgreSQL writes them in the style ISO.

use super::calendar::{DAY, HOUR, Local, MINUTE, SECOND, civil};
use super::spans::push_fraction;
use super::zones::Zone;

fn put_day(text: &mut String, days: i64) -> bool {
    let (year, month, day) = civil(days);
    let is_bc = year <= 0;
    let year = if is_bc { 1 - year } else { year };
    text.push_str(&format!("{year:04}-{month:02}-{day:02}"));
    is_bc
}

fn put_clock(text: &mut String, micros: i64) {
    let (hours, minutes) = (micros / HOUR, micros / MINUTE % 60);
    text.push_str(&format!("{hours:02}:{minutes:02}:{:02}", micros / SECOND % 60));
    push_fraction(text, micros % SECOND);
}

/// A date.
pub fn date(days: i64) -> String {
    let mut text = String::new();
    if put_day(&mut text, days) {
        text.push_str(" BC");
    }
    text
}

/// A time of day.
pub fn time(micros: i64) -> String {
    let mut text = String::new();
    put_clock(&mut text, micros);
    text
}

/// A local time.
pub fn timestamp(time: i64) -> String {
    moment(time, None)
}

/// An instant, where clocks are those of `zone`.
pub fn instant(time: i64, zone: &Zone) -> String {
    let offset = zone.offset_at(time.div_euclid(SECOND));
    moment(time.saturating_add(offset * SECOND), Some(offset))
}

fn moment(local: i64, offset: Option<i64>) -> String {
    let parts = Local::of(local);
    let mut text = String::new();
    let is_bc = put_day(&mut text, local.div_euclid(DAY));
    text.push(' ');
    put_clock(&mut text, parts.micros);
    if let Some(offset) = offset {
        let sign = if offset < 0 { '-' } else { '+' };
        let (hours, minutes, seconds) = (offset.abs() / 3600, offset.abs() / 60 % 60, offset.abs() % 60);
        text.push_str(&format!("{sign}{hours:02}"));
        if minutes != 0 || seconds != 0 {
            text.push_str(&format!(":{minutes:02}"));
        }
        if seconds != 0 {
            text.push_str(&format!(":{seconds:02}"));
        }
    }
    if is_bc {
        text.push_str(" BC");
    }
    text
}
