//! What each function gives for a row.

use datafusion::arrow::datatypes::DataType;

use super::calendar::{
    DAY, Fault, HOUR, MINUTE, NOT_SUPPORTED, OVERFLOW, Outcome, PARAMETER, SECOND, date, days_of, instant,
    month_days,
};
use super::infinite::is_infinite;
use super::parts::{self, Whole};
use super::read::{Setting, read_date, read_instant, read_time, read_timestamp};
use super::read_span::read_span;
use super::spans::{Span, age, between, moved, moved_days};
use super::values::{Given, Value};
use super::words::Unit;
use super::zones::Zone;
use super::{Name, shown, whole_of};

/// Computes one function, row by row.
#[derive(Debug)]
pub struct Computer {
    name: Name,
    setting: Setting,
    whole: Option<Whole>,
    /// The last zone and the last part that were named.
    zone: Option<(String, Zone)>,
    part: Option<(String, Unit)>,
}

fn out_of_range() -> Fault {
    Fault::new(OVERFLOW, "timestamp out of range")
}

fn date_out_of_range() -> Fault {
    Fault::new(OVERFLOW, "date out of range")
}

fn impossible() -> Fault {
    Fault::new("XX000", "arguments that no function takes")
}

impl Computer {
    /// For arguments of `types`.
    pub fn new(name: Name, setting: Setting, types: &[DataType]) -> Self {
        let whole = types.get(1).and_then(whole_of);
        Self { name, setting, whole, zone: None, part: None }
    }

    fn zone(&mut self, name: &str) -> Outcome<Zone> {
        if let Some((last, zone)) = &self.zone
            && last == name
        {
            return Ok(*zone);
        }
        let zone = Zone::of_name(name)?;
        self.zone = Some((name.to_owned(), zone));
        Ok(zone)
    }

    fn unit(&mut self, name: &str, read: fn(&str, Whole) -> Outcome<Unit>) -> Outcome<Unit> {
        if let Some((last, unit)) = &self.part
            && last == name
        {
            return Ok(*unit);
        }
        let unit = read(name, self.whole.ok_or_else(impossible)?)?;
        self.part = Some((name.to_owned(), unit));
        Ok(unit)
    }

    fn to_local(&self, time: i64) -> Outcome<i64> {
        self.setting.display.zone.local(time).ok_or_else(out_of_range)
    }

    fn to_instant(&self, time: i64) -> Outcome<i64> {
        self.setting.display.zone.instant(time).and_then(|time| instant(0, time)).ok_or_else(out_of_range)
    }

    fn midnight(&self, days: i64) -> Outcome<i64> {
        instant(days, 0).ok_or_else(|| Fault::new(OVERFLOW, "date out of range for timestamp"))
    }

    /// What a row gives.
    pub fn row(&mut self, values: &[Value<'_>]) -> Outcome<Given> {
        let setting = self.setting;
        Ok(match (self.name, values) {
            (Name::Timezone, [zone, whole]) => {
                let zone = match zone {
                    Value::Text(name) => self.zone(name)?,
                    Value::Span(span) => zone_of(span)?,
                    _ => return Err(impossible()),
                };
                match whole {
                    Value::Instant(time) => zone.local(*time).ok_or_else(out_of_range)?.into(),
                    Value::Timestamp(time) => {
                        let found = zone.instant(*time).and_then(|time| instant(0, time));
                        found.ok_or_else(out_of_range)?.into()
                    }
                    _ => return Err(impossible()),
                }
            }
            (Name::ToDate, [value]) => match value {
                Value::Text(text) => i64::from(read_date(text, &setting)?).into(),
                Value::Day(days) => (*days).into(),
                Value::Timestamp(time) => time.div_euclid(DAY).into(),
                Value::Instant(time) => self.to_local(*time)?.div_euclid(DAY).into(),
                _ => return Err(impossible()),
            },
            (Name::ToTime, [value]) => match value {
                Value::Text(text) => read_time(text, &setting)?.into(),
                Value::Time(time) => (*time).into(),
                Value::Timestamp(time) => time.rem_euclid(DAY).into(),
                Value::Instant(time) => self.to_local(*time)?.rem_euclid(DAY).into(),
                Value::Span(span) => span.micros.rem_euclid(DAY).into(),
                _ => return Err(impossible()),
            },
            (Name::ToTimestamp, [value, digits @ ..]) => {
                let time = match value {
                    Value::Text(text) => read_timestamp(text, &setting)?,
                    Value::Day(days) => self.midnight(*days)?,
                    Value::Timestamp(time) => *time,
                    Value::Instant(time) => self.to_local(*time)?,
                    _ => return Err(impossible()),
                };
                rounded(time, digits).into()
            }
            (Name::ToInstant, [value, digits @ ..]) => {
                let time = match value {
                    Value::Text(text) => read_instant(text, &setting)?,
                    Value::Day(days) => self.to_instant(self.midnight(*days)?)?,
                    Value::Timestamp(time) => self.to_instant(*time)?,
                    Value::Instant(time) => *time,
                    _ => return Err(impossible()),
                };
                rounded(time, digits).into()
            }
            (Name::ToInterval, [value]) => Given::Span(match value {
                Value::Text(text) => read_span(text, None, None, &self.setting.display.style)?,
                Value::Time(time) => Span::new(0, 0, *time),
                Value::Span(span) => *span,
                _ => return Err(impossible()),
            }),
            (Name::ToText, [value]) => Given::Text(match value {
                Value::Day(days) => shown::date(*days, &setting.display.style),
                Value::Time(time) => shown::time(*time),
                Value::Timestamp(time) => shown::timestamp(*time, &setting.display.style),
                Value::Instant(time) => shown::instant(*time, &setting.display),
                Value::Span(span) => {
                    shown::interval(span.months, span.days, span.micros, &setting.display.style)
                }
                _ => return Err(impossible()),
            }),
            (Name::Extract | Name::DatePart, [Value::Text(part), value]) => {
                let part = self.unit(part, parts::part_of)?;
                let whole = self.whole.ok_or_else(impossible)?;
                if self.name == Name::DatePart
                    && part == Unit::Julian
                    && let Some(time) = local_time(value, &setting)
                {
                    return Ok(Given::Float(parts::julian(time)));
                }
                if let (Name::DatePart, Unit::Epoch, Value::Span(span)) = (self.name, part, value) {
                    return Ok(Given::Float(parts::span_epoch(span)));
                }
                let found = self.part(part, value)?;
                match self.name {
                    Name::Extract => Given::Whole(found),
                    _ => {
                        let scale = parts::scale(part, whole).unwrap_or(0);
                        Given::Float(found as f64 / 10f64.powi(scale as i32))
                    }
                }
            }
            (Name::DateTrunc, [Value::Text(unit), value]) => {
                let unit = self.unit(unit, parts::cut_of)?;
                match value {
                    Value::Timestamp(time) => parts::cut_local(unit, *time).ok_or_else(out_of_range)?.into(),
                    Value::Instant(time) => parts::cut_instant(unit, *time, &setting.display.zone)
                        .ok_or_else(out_of_range)?
                        .into(),
                    Value::Span(span) => Given::Span(parts::cut_span(unit, span)),
                    _ => return Err(impossible()),
                }
            }
            (Name::DateTrunc, [Value::Text(unit), Value::Instant(time), Value::Text(zone)]) => {
                let zone = self.zone(zone)?;
                let unit = self.unit(unit, parts::cut_of)?;
                parts::cut_instant(unit, *time, &zone).ok_or_else(out_of_range)?.into()
            }
            (
                Name::DateBin,
                [Value::Span(stride), Value::Timestamp(time), Value::Timestamp(origin)]
                | [Value::Span(stride), Value::Instant(time), Value::Instant(origin)],
            ) => binned(stride, *time, *origin)?.into(),
            (Name::Move | Name::MoveBack, [value, Value::Span(span)]) => {
                let is_back = self.name == Name::MoveBack;
                if let Value::Time(time) = value {
                    let micros = span.micros % DAY;
                    let moved = if is_back { time - micros } else { time + micros };
                    return Ok(moved.rem_euclid(DAY).into());
                }
                let span = if is_back { span.negated().map_err(|_| out_of_range())? } else { *span };
                match value {
                    Value::Timestamp(time) => moved(*time, &span).ok_or_else(out_of_range)?.into(),
                    Value::Instant(time) => self.moved_instant(*time, &span)?.into(),
                    _ => return Err(impossible()),
                }
            }
            (
                Name::Between,
                [Value::Timestamp(later), Value::Timestamp(earlier)]
                | [Value::Instant(later), Value::Instant(earlier)],
            ) => Given::Span(between(*later, *earlier)?),
            (Name::Between, [Value::Time(later), Value::Time(earlier)]) => {
                Given::Span(Span::new(0, 0, later - earlier))
            }
            (Name::DayPlus, [Value::Day(day), Value::Whole(days)]) => {
                let found = day.checked_add(*days).and_then(date).ok_or_else(date_out_of_range)?;
                i64::from(found).into()
            }
            (Name::DayMinus, [Value::Day(later), Value::Day(earlier)]) => (later - earlier).into(),
            (Name::Join, [Value::Day(days), Value::Time(time)]) => {
                instant(*days, *time).ok_or_else(out_of_range)?.into()
            }
            (Name::SpanPlus, [Value::Span(left), Value::Span(right)]) => Given::Span(left.plus(right)?),
            (Name::SpanMinus, [Value::Span(left), Value::Span(right)]) => Given::Span(left.minus(right)?),
            (Name::SpanTimes, [Value::Span(span), Value::Float(factor)]) => Given::Span(span.times(*factor)?),
            (Name::SpanDivide, [Value::Span(span), Value::Float(by)]) => Given::Span(span.divided(*by)?),
            (Name::SpanLength, [Value::Span(span)]) => Given::Whole(span.length()),
            (Name::JustifyDays, [Value::Span(span)]) => Given::Span(span.justified_days()?),
            (Name::JustifyHours, [Value::Span(span)]) => Given::Span(span.justified_hours()?),
            (Name::JustifyInterval, [Value::Span(span)]) => Given::Span(span.justified()?),
            (Name::Age, [value]) => {
                let today = self.to_local(setting.now)?.div_euclid(DAY) * DAY;
                let time = local_time(value, &setting).ok_or_else(impossible)?;
                Given::Span(age(today, time))
            }
            (Name::Age, [later, earlier]) => {
                let time = |value: &Value<'_>| local_time(value, &setting).ok_or_else(impossible);
                Given::Span(age(time(later)?, time(earlier)?))
            }
            (Name::MakeDate, [Value::Whole(year), Value::Whole(month), Value::Whole(day)]) => {
                make_date(*year, *month, *day)?.into()
            }
            (Name::MakeTime, [Value::Whole(hour), Value::Whole(minute), Value::Float(second)]) => {
                let time = make_time(*hour, *minute, *second)?;
                if time >= DAY {
                    return Err(Fault::new(NOT_SUPPORTED, "the time 24:00:00 is not supported"));
                }
                time.into()
            }
            (
                Name::MakeTimestamp | Name::MakeTimestampTz,
                [
                    Value::Whole(year),
                    Value::Whole(month),
                    Value::Whole(day),
                    Value::Whole(hour),
                    Value::Whole(minute),
                    Value::Float(second),
                    zone @ ..,
                ],
            ) => {
                let days = make_date(*year, *month, *day)?;
                let local = instant(days, make_time(*hour, *minute, *second)?).ok_or_else(out_of_range)?;
                match (self.name, zone) {
                    (Name::MakeTimestamp, []) => local.into(),
                    (_, []) => self.to_instant(local)?.into(),
                    (_, [Value::Text(zone)]) => {
                        // Here a distance is east of Greenwich.
                        let zone = match zone.strip_prefix(['+', '-']) {
                            Some(_) => distance(zone)?,
                            None if zone.starts_with(|letter: char| letter.is_ascii_digit()) => {
                                let message =
                                    format!("invalid input syntax for type numeric time zone: \"{zone}\"");
                                return Err(Fault::new(PARAMETER, message));
                            }
                            None => self.zone(zone)?,
                        };
                        let found = zone.instant(local).and_then(|time| instant(0, time));
                        found.ok_or_else(out_of_range)?.into()
                    }
                    _ => return Err(impossible()),
                }
            }
            (
                Name::MakeInterval,
                [
                    Value::Whole(years),
                    Value::Whole(months),
                    Value::Whole(weeks),
                    Value::Whole(days),
                    Value::Whole(hours),
                    Value::Whole(minutes),
                    Value::Float(seconds),
                ],
            ) => Given::Span(make_interval([*years, *months, *weeks, *days, *hours, *minutes], *seconds)?),
            (Name::Finite, [Value::Day(time) | Value::Timestamp(time) | Value::Instant(time)]) => {
                (*time).into()
            }
            (Name::IsFinite, [_]) => Given::Truth(true),
            _ => return Err(impossible()),
        })
    }

    fn part(&self, part: Unit, value: &Value<'_>) -> Outcome<i128> {
        Ok(match value {
            Value::Day(days) => parts::of_day(part, *days).into(),
            Value::Time(time) => parts::of_time(part, *time).into(),
            Value::Timestamp(time) => parts::of_local(part, *time, 0).into(),
            Value::Instant(time) => {
                let offset = self.setting.display.zone.offset_at(time.div_euclid(SECOND));
                let local = time.checked_add(offset * SECOND).ok_or_else(out_of_range)?;
                parts::of_local(part, local, offset).into()
            }
            Value::Span(span) => parts::of_span(part, span),
            _ => return Err(impossible()),
        })
    }

    /// Months and days are of the clock where the session is; hours are of all clocks.
    fn moved_instant(&self, time: i64, span: &Span) -> Outcome<i64> {
        let mut time = time;
        if span.months != 0 || span.days != 0 {
            // Each by itself, as PostgreSQL does it.
            for part in [Span::new(span.months, 0, 0), Span::new(0, span.days, 0)] {
                if part != Span::default() {
                    let local = moved_days(self.to_local(time)?, &part).ok_or_else(out_of_range)?;
                    time = self.to_instant(local)?;
                }
            }
        }
        time.checked_add(span.micros).and_then(|time| instant(0, time)).ok_or_else(out_of_range)
    }
}

/// A local time of what has one.
fn local_time(value: &Value<'_>, setting: &Setting) -> Option<i64> {
    match value {
        Value::Timestamp(time) => Some(*time),
        Value::Instant(time) => setting.display.zone.local(*time),
        _ => None,
    }
}

fn zone_of(span: &Span) -> Outcome<Zone> {
    if span.months != 0 || span.days != 0 {
        let message = format!("interval time zone \"{}\" must not include months or days", span.shown());
        return Err(Fault::new(PARAMETER, message));
    }
    Zone::of_distance(span.micros / SECOND).ok_or_else(out_of_range)
}

/// A time with so many digits of a fraction, rounded away from 2000.
fn rounded(time: i64, digits: &[Value<'_>]) -> i64 {
    const EPOCH: i64 = 946_684_800 * SECOND;
    let digits = match digits {
        [Value::Whole(digits)] if (0..6).contains(digits) => *digits as u32,
        _ => return time,
    };
    if is_infinite(time) {
        return time;
    }
    let unit = 10i64.pow(6 - digits);
    let since = time.saturating_sub(EPOCH);
    EPOCH + since.signum() * ((since.abs() + unit / 2) / unit * unit)
}

fn binned(stride: &Span, time: i64, origin: i64) -> Outcome<i64> {
    if stride.months != 0 {
        let message = "timestamps cannot be binned into intervals containing months or years";
        return Err(Fault::new(NOT_SUPPORTED, message));
    }
    let days = i64::from(stride.days).checked_mul(DAY);
    let length = days.and_then(|days| days.checked_add(stride.micros));
    let length = length.ok_or_else(super::spans::out_of_range)?;
    if length <= 0 {
        return Err(Fault::new(OVERFLOW, "stride must be greater than zero"));
    }
    let since = time.checked_sub(origin).ok_or_else(super::spans::out_of_range)?;
    let found = origin.checked_add(since.div_euclid(length) * length);
    found.and_then(|time| instant(0, time)).ok_or_else(out_of_range)
}

fn make_date(year: i64, month: i64, day: i64) -> Outcome<i64> {
    let wrong = || Fault::new(OVERFLOW, format!("date field value out of range: {year}-{month:02}-{day:02}"));
    // Years before 1 are counted from -1.
    let of = if year < 0 { year + 1 } else { year };
    if year == 0 || !(1..=12).contains(&month) || day < 1 || day > month_days(of, month) {
        return Err(wrong());
    }
    let days = days_of(of, month, day);
    date(days)
        .ok_or_else(|| Fault::new(OVERFLOW, format!("date out of range: {year}-{month:02}-{day:02}")))?;
    Ok(days)
}

fn make_time(hour: i64, minute: i64, second: f64) -> Outcome<i64> {
    let micros = (second * SECOND as f64).round_ties_even();
    let fits = (0..=24).contains(&hour)
        && (0..60).contains(&minute)
        && (0.0..=60.0).contains(&second)
        && !second.is_nan();
    let time = hour * HOUR + minute * MINUTE + micros as i64;
    if fits && time <= DAY {
        return Ok(time);
    }
    let shown = if second.is_nan() { "NaN".to_owned() } else { c_shown(second) };
    Err(Fault::new(OVERFLOW, format!("time field value out of range: {hour}:{minute:02}:{shown}")))
}

/// A number as C's `%02g` writes those that are not far from 1.
fn c_shown(number: f64) -> String {
    let text = format!("{number}");
    if text.len() < 2 { format!("0{text}") } else { text }
}

fn distance(text: &str) -> Outcome<Zone> {
    let wrong =
        || Fault::new(PARAMETER, format!("invalid input syntax for type numeric time zone: \"{text}\""));
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let mut parts = Vec::new();
    for part in text[1..].split(':') {
        let is_number = !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
        parts.push(if is_number { part.parse::<i64>().map_err(|_| wrong())? } else { return Err(wrong()) });
    }
    let (hours, minutes, seconds) = match parts.as_slice() {
        [hours] if text.len() > 3 => (hours / 100, hours % 100, 0),
        [hours] => (*hours, 0, 0),
        [hours, minutes] => (*hours, *minutes, 0),
        [hours, minutes, seconds] => (*hours, *minutes, *seconds),
        _ => return Err(wrong()),
    };
    if hours > 15 || minutes > 59 || seconds > 59 {
        return Err(Fault::new(PARAMETER, format!("numeric time zone \"{text}\" out of range")));
    }
    Zone::of_distance(sign * (hours * 3600 + minutes * 60 + seconds)).ok_or_else(wrong)
}

fn make_interval(parts: [i64; 6], seconds: f64) -> Outcome<Span> {
    let [years, months, weeks, days, hours, minutes] = parts;
    let wrong = super::spans::out_of_range;
    let narrow = |value: Option<i64>| value.and_then(|value| i32::try_from(value).ok()).ok_or_else(wrong);
    let months = narrow(years.checked_mul(12).and_then(|years| years.checked_add(months)))?;
    let days = narrow(weeks.checked_mul(7).and_then(|weeks| weeks.checked_add(days)))?;
    let micros = (seconds * SECOND as f64).round_ties_even();
    if !seconds.is_finite() || micros.abs() >= 9.2e18 {
        return Err(wrong());
    }
    let time = hours.checked_mul(HOUR).and_then(|hours| hours.checked_add(minutes.checked_mul(MINUTE)?));
    let micros = time.and_then(|time| time.checked_add(micros as i64)).ok_or_else(wrong)?;
    Ok(Span::new(months, days, micros))
}
