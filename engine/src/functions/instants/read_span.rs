//! Intervals as PostgreSQL reads them: words, clocks, years-months, ISO 8601.

use super::calendar::{DAY, Fault, HOUR, INVALID, MINUTE, Outcome, SECOND};
use super::fields::{Kind, Unread, fraction, split};
use super::spans::Span;
use super::words::{self, Unit};
use crate::functions::style::{Intervals, Style};

/// The fields that `interval '…' day to minute` keeps: the last of them, and whether days stand before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields {
    pub first: Unit,
    pub last: Unit,
}

#[derive(Debug, Default)]
struct Sum {
    years: i64,
    months: i64,
    days: i64,
    micros: i64,
}

type Step<T> = Result<T, Unread>;

fn narrow(value: i64) -> Step<i64> {
    i32::try_from(value).map(i64::from).map_err(|_| Unread::Range)
}

impl Sum {
    fn add_years(&mut self, value: i64, rest: f64, scale: i64) -> Step<()> {
        let years = narrow(value)?.checked_mul(scale).ok_or(Unread::Range)?;
        self.years = narrow(self.years + narrow(years)?)?;
        let months = (rest * scale as f64 * 12.0).round_ties_even();
        self.months = narrow(self.months + months as i64)?;
        Ok(())
    }

    fn add_months(&mut self, value: i64, rest: f64) -> Step<()> {
        self.months = narrow(self.months + narrow(value)?)?;
        self.add_fraction_of_days(rest, 30.0)
    }

    fn add_days(&mut self, value: i64, rest: f64, scale: i64) -> Step<()> {
        let days = narrow(narrow(value)?.checked_mul(scale).ok_or(Unread::Range)?)?;
        self.days = narrow(self.days + days)?;
        self.add_fraction_of_days(rest, scale as f64)
    }

    fn add_fraction_of_days(&mut self, rest: f64, scale: f64) -> Step<()> {
        let days = rest * scale;
        self.days = narrow(self.days + days.trunc() as i64)?;
        self.add_fraction(days - days.trunc(), DAY)
    }

    fn add_time(&mut self, value: i64, rest: f64, scale: i64) -> Step<()> {
        let micros = value.checked_mul(scale).ok_or(Unread::Range)?;
        self.micros = self.micros.checked_add(micros).ok_or(Unread::Range)?;
        self.add_fraction(rest, scale)
    }

    fn add_fraction(&mut self, rest: f64, scale: i64) -> Step<()> {
        let micros = rest * scale as f64;
        let mut found = micros.trunc() as i64;
        let left = micros - micros.trunc();
        if left > 0.5 {
            found += 1;
        } else if left < -0.5 {
            found -= 1;
        }
        self.micros = self.micros.checked_add(found).ok_or(Unread::Range)?;
        Ok(())
    }

    fn add(&mut self, unit: Unit, value: i64, rest: f64) -> Step<u32> {
        match unit {
            Unit::Microsecond => self.add_time(value, rest, 1)?,
            Unit::Millisecond => self.add_time(value, rest, 1000)?,
            Unit::Second => self.add_time(value, rest, SECOND)?,
            Unit::Minute => self.add_time(value, rest, MINUTE)?,
            Unit::Hour => self.add_time(value, rest, HOUR)?,
            Unit::Day => self.add_days(value, rest, 1)?,
            Unit::Week => self.add_days(value, rest, 7)?,
            Unit::Month => self.add_months(value, rest)?,
            Unit::Year => self.add_years(value, rest, 1)?,
            Unit::Decade => self.add_years(value, rest, 10)?,
            Unit::Century => self.add_years(value, rest, 100)?,
            Unit::Millennium => self.add_years(value, rest, 1000)?,
            _ => return Err(Unread::Format),
        }
        Ok(match unit {
            Unit::Microsecond => 1,
            Unit::Millisecond => 2,
            Unit::Second if rest == 0.0 => 4,
            Unit::Second => 7,
            Unit::Minute => 8,
            Unit::Hour => 16,
            Unit::Day => 32,
            Unit::Week => 64,
            Unit::Month => 128,
            Unit::Year => 256,
            Unit::Decade => 512,
            Unit::Century => 1024,
            _ => 2048,
        })
    }

    fn span(&self) -> Option<Span> {
        let months = self.years.checked_mul(12)?.checked_add(self.months)?;
        Some(Span {
            months: i32::try_from(months).ok()?,
            days: i32::try_from(self.days).ok()?,
            micros: self.micros,
        })
    }

    fn negate(&mut self) -> Step<()> {
        self.years = narrow(-self.years)?;
        self.months = narrow(-self.months)?;
        self.days = narrow(-self.days)?;
        self.micros = self.micros.checked_neg().ok_or(Unread::Range)?;
        Ok(())
    }
}

const TIME: u32 = 4 | 8 | 16 | 7;

/// An interval of `text`, of which `fields` are kept, with `precision` digits of a second.
///
/// In the style of the standard a sign before all stands for the rest too, where nothing else has one.
pub fn read_span(text: &str, fields: Option<Fields>, precision: Option<u32>, style: &Style) -> Outcome<Span> {
    let is_standard = style.intervals == Intervals::Standard;
    let read = match words_of(text, fields, is_standard) {
        Err(Unread::Format) => iso(text),
        other => other,
    };
    let sum = read.map_err(|unread| match unread {
        Unread::Range => Fault::new("22015", format!("interval field value out of range: \"{text}\"")),
        _ => Fault::new(INVALID, format!("invalid input syntax for type interval: \"{text}\"")),
    })?;
    let span = sum.span().ok_or_else(super::spans::out_of_range)?;
    Ok(kept(span, fields, precision))
}

fn kept(mut span: Span, fields: Option<Fields>, precision: Option<u32>) -> Span {
    let cut = |micros: i64, unit: i64| micros / unit * unit;
    match fields.map(|fields| fields.last) {
        None | Some(Unit::Second) => {}
        Some(Unit::Year) => span = Span::new(span.months / 12 * 12, 0, 0),
        Some(Unit::Month) => span = Span::new(span.months, 0, 0),
        Some(Unit::Day) => span.micros = 0,
        Some(Unit::Hour) => span.micros = cut(span.micros, HOUR),
        Some(_) => span.micros = cut(span.micros, MINUTE),
    }
    if let Some(digits) = precision.filter(|digits| *digits < 6) {
        let unit = 10i64.pow(6 - digits);
        let half = span.micros.signum() * (unit / 2);
        span.micros = span.micros.saturating_add(half) / unit * unit;
    }
    span
}

fn words_of(text: &str, range: Option<Fields>, is_standard: bool) -> Step<Sum> {
    let fields = split(text)?;
    // In the standard's style one sign before all is that of each part.
    let is_negative_whole = match fields.as_slice() {
        [first, rest @ ..] if is_standard => {
            first.text.starts_with('-') && !rest.iter().any(|field| field.text.starts_with(['-', '+']))
        }
        _ => false,
    };
    let signed = |value: i64| if is_negative_whole { -value.saturating_abs() } else { value };
    let mut sum = Sum::default();
    let mut read = 0u32;
    // What the next number counts; none yet.
    let mut unit: Option<Unit> = None;
    let mut is_before = false;
    for field in fields.iter().rev() {
        let mut parts = 0;
        match field.kind {
            Kind::Time => {
                // PostgreSQL forgets the hours of what follows.
                sum.micros = signed(clock(&field.text, range)?);
                parts = TIME;
                unit = Some(Unit::Day);
            }
            Kind::Zone if field.text[1..].contains(':') && clock(&field.text[1..], range).is_ok() => {
                let time = clock(&field.text[1..], range)?;
                sum.micros = signed(if field.text.starts_with('-') { -time } else { time });
                parts = TIME;
                unit = Some(Unit::Day);
            }
            Kind::Zone | Kind::Date | Kind::Number => {
                let is_negative = field.text.starts_with('-');
                let mut of = unit.unwrap_or_else(|| range.map_or(Unit::Second, |range| range.last));
                let (mut value, rest) = long(&field.text)?;
                let mut share = 0.0;
                if let Some(months) = rest.strip_prefix('-') {
                    let (months, rest) = super::fields::whole(months)?;
                    if !(0..12).contains(&months) {
                        return Err(Unread::Range);
                    }
                    if !rest.is_empty() {
                        return Err(Unread::Format);
                    }
                    of = Unit::Month;
                    value = value.checked_mul(12).ok_or(Unread::Range)?;
                    value =
                        value.checked_add(if is_negative { -months } else { months }).ok_or(Unread::Range)?;
                } else if rest.starts_with('.') {
                    share = fraction(rest)?;
                    if is_negative {
                        share = -share;
                    }
                } else if !rest.is_empty() {
                    return Err(Unread::Format);
                }
                if is_negative_whole {
                    (value, share) = (signed(value), -share.abs());
                }
                parts = sum.add(of, value, share)?;
                unit = Some(if of == Unit::Hour { Unit::Day } else { of });
            }
            Kind::Word | Kind::Signed => match field.text.as_str() {
                "ago" => {
                    is_before = true;
                    // No number may stand before it.
                    unit = Some(Unit::Time);
                }
                word => match words::unit(word) {
                    Some(found) => unit = Some(found),
                    None => match words::special(word) {
                        Some(words::Special::Unit(found)) => unit = Some(found),
                        Some(words::Special::Ignored) => continue,
                        _ => return Err(Unread::Format),
                    },
                },
            },
        }
        if parts & read != 0 {
            return Err(Unread::Format);
        }
        read |= parts;
    }
    if read == 0 {
        return Err(Unread::Format);
    }
    if is_before {
        sum.negate()?;
    }
    Ok(sum)
}

/// Microseconds of a clock of any number of hours.
fn clock(text: &str, range: Option<Fields>) -> Step<i64> {
    let (mut hours, rest) = long(text)?;
    let (mut minutes, rest) = long(rest.strip_prefix(':').ok_or(Unread::Format)?)?;
    let (mut seconds, mut micros) = (0, 0);
    let share = |text: &str| -> Step<i64> { Ok((fraction(text)? * SECOND as f64).round_ties_even() as i64) };
    let is_minutes = range == Some(Fields { first: Unit::Minute, last: Unit::Second });
    if rest.is_empty() && is_minutes {
        (hours, minutes, seconds) = (0, hours, minutes);
    } else if rest.starts_with('.') {
        micros = share(rest)?;
        (hours, minutes, seconds) = (0, hours, minutes);
    } else if let Some(rest) = rest.strip_prefix(':') {
        let (found, rest) = long(rest)?;
        seconds = found;
        if rest.starts_with('.') {
            micros = share(rest)?;
        } else if !rest.is_empty() {
            return Err(Unread::Format);
        }
    } else if !rest.is_empty() {
        return Err(Unread::Format);
    }
    if hours < 0 || !(0..60).contains(&minutes) || !(0..=60).contains(&seconds) {
        return Err(Unread::Range);
    }
    let hours = hours.checked_mul(HOUR).ok_or(Unread::Range)?;
    hours.checked_add(minutes * MINUTE + seconds * SECOND + micros).ok_or(Unread::Range)
}

fn long(text: &str) -> Step<(i64, &str)> {
    let bytes = text.as_bytes();
    let from = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let to = bytes[from..].iter().position(|byte| !byte.is_ascii_digit()).map_or(bytes.len(), |at| from + at);
    if to == from {
        return Ok((0, text));
    }
    Ok((text[..to].parse().map_err(|_| Unread::Range)?, &text[to..]))
}

/// `P1Y2M3DT4H5M6S`, `P1-2-3T4:5:6`, `P00010203T040506`.
fn iso(text: &str) -> Step<Sum> {
    let mut rest = text.strip_prefix('P').filter(|rest| !rest.is_empty()).ok_or(Unread::Format)?;
    let mut sum = Sum::default();
    let (mut is_date, mut has_field) = (true, false);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T') {
            (rest, is_date, has_field) = (after, false, false);
            continue;
        }
        let start = rest;
        let (value, share, after) = number(rest)?;
        let unit = after.chars().next();
        let width = start.trim_start_matches('-').bytes().take_while(u8::is_ascii_digit).count();
        rest = unit.map_or(after, |unit| &after[unit.len_utf8()..]);
        match (is_date, unit) {
            (true, Some('Y')) => sum.add_years(value, share, 1)?,
            (true, Some('M')) => sum.add_months(value, share)?,
            (true, Some('W')) => sum.add_days(value, share, 7)?,
            (true, Some('D')) => sum.add_days(value, share, 1)?,
            (true, Some('T') | None) if width == 8 && !has_field => {
                sum.add_years(value / 10_000, 0.0, 1)?;
                sum.add_months(value / 100 % 100, 0.0)?;
                sum.add_days(value % 100, share, 1)?;
                is_date = false;
                continue;
            }
            (true, Some('T' | '-') | None) => {
                if has_field {
                    return Err(Unread::Format);
                }
                sum.add_years(value, share, 1)?;
                match unit {
                    None => return Ok(sum),
                    Some('T') => {
                        is_date = false;
                        continue;
                    }
                    _ => {}
                }
                let (value, share, after) = number(rest)?;
                sum.add_months(value, share)?;
                match after.chars().next() {
                    None => return Ok(sum),
                    Some('T') => rest = after,
                    Some('-') => {
                        let (value, share, after) = number(&after[1..])?;
                        sum.add_days(value, share, 1)?;
                        match after.chars().next() {
                            None => return Ok(sum),
                            Some('T') => rest = after,
                            Some(_) => return Err(Unread::Format),
                        }
                    }
                    Some(_) => return Err(Unread::Format),
                }
                continue;
            }
            (false, Some('H')) => sum.add_time(value, share, HOUR)?,
            (false, Some('M')) => sum.add_time(value, share, MINUTE)?,
            (false, Some('S')) => sum.add_time(value, share, SECOND)?,
            (false, None) if width == 6 && !has_field => {
                sum.add_time(value / 10_000, 0.0, HOUR)?;
                sum.add_time(value / 100 % 100, 0.0, MINUTE)?;
                sum.add_time(value % 100, 0.0, SECOND)?;
                sum.add_fraction(share, 1)?;
                return Ok(sum);
            }
            (false, Some(':') | None) => {
                if has_field {
                    return Err(Unread::Format);
                }
                sum.add_time(value, share, HOUR)?;
                if unit.is_none() {
                    return Ok(sum);
                }
                let (value, share, after) = number(rest)?;
                sum.add_time(value, share, MINUTE)?;
                if after.is_empty() {
                    return Ok(sum);
                }
                let (value, share, after) = number(after.strip_prefix(':').ok_or(Unread::Format)?)?;
                sum.add_time(value, share, SECOND)?;
                return if after.is_empty() { Ok(sum) } else { Err(Unread::Format) };
            }
            _ => return Err(Unread::Format),
        }
        has_field = true;
    }
    Ok(sum)
}

/// A number with a fraction, and the rest of the text.
fn number(text: &str) -> Step<(i64, f64, &str)> {
    let bytes = text.as_bytes();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let from = at;
    at = digits(at);
    let mut has_digits = at > from;
    if bytes.get(at) == Some(&b'.') {
        let end = digits(at + 1);
        has_digits |= end > at + 1;
        at = end;
    }
    if !has_digits {
        return Err(Unread::Format);
    }
    // With a power of ten, as C reads it.
    if bytes.get(at).is_some_and(|byte| byte.eq_ignore_ascii_case(&b'e')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let end = digits(at + 1 + sign);
        if end > at + 1 + sign {
            at = end;
        }
    }
    let value: f64 = text[..at].parse().map_err(|_| Unread::Format)?;
    if !(-1e15..=1e15).contains(&value) {
        return Err(Unread::Range);
    }
    let whole = value.trunc();
    Ok((whole as i64, value - whole, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        read_span(text, None, None, &Style::default())
            .map_or_else(|fault| fault.code.to_owned(), |span| span.shown())
    }

    #[test]
    fn intervals_as_postgres_reads_them() {
        assert_eq!(read("1.5 weeks"), "10 days 12:00:00");
        assert_eq!(read("1-2"), "1 year 2 mons");
        assert_eq!(read("-1 year +2 days -03:00"), "-1 years +2 days -03:00:00");
        assert_eq!(read("2 days 1 hour ago"), "-2 days -01:00:00");
        assert_eq!(read("P1Y2M3DT4H5M6.7S"), "1 year 2 mons 3 days 04:05:06.7");
        assert_eq!(read("P00010203T040506"), "1 year 2 mons 3 days 04:05:06");
        assert_eq!(read("1.1 years"), "1 year 1 mon");
        assert_eq!(read("0.1 month"), "3 days");
        assert_eq!(read("1 fortnight"), "22007");
        assert_eq!(read("9999999999 days"), "22015");
    }

    #[test]
    fn fields_cut_off_what_is_below_them() {
        let read = |text, first, last, digits| {
            let fields = Some(Fields { first, last });
            read_span(text, fields, digits, &Style::default()).expect("an interval").shown()
        };
        assert_eq!(read("90", Unit::Day, Unit::Day, None), "90 days");
        assert_eq!(read("1 2:03:04", Unit::Day, Unit::Minute, None), "1 day 02:03:00");
        assert_eq!(read("1:02", Unit::Minute, Unit::Second, None), "00:01:02");
        assert_eq!(read("1:02:03.456", Unit::Second, Unit::Second, Some(1)), "01:02:03.5");
    }
}
