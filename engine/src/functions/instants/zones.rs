//! Time zones: where instants become local times and local times instants, as PostgreSQL does it.

use std::collections::HashMap;
use std::sync::LazyLock;

use chrono::{DateTime, FixedOffset, Offset, TimeZone};
use chrono_tz::{OffsetName, TZ_VARIANTS, Tz};

use super::abbreviations::{self, Stands};
use super::calendar::{Fault, Local, Outcome, PARAMETER, SECOND, days_of, is_leap, weekday};

/// A time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// A place, with its changes through the years.
    Named(Tz),
    /// Seconds east of Greenwich.
    Fixed(i32),
    /// What a place's clocks were when they had that name.
    Called(Tz, &'static str),
}

static NAMES: LazyLock<HashMap<String, Tz>> =
    LazyLock::new(|| TZ_VARIANTS.iter().map(|zone| (zone.name().to_ascii_lowercase(), *zone)).collect());

const DAY_SECONDS: i64 = 86_400;
/// The rules of a zone are known up to here; after that years repeat.
const KNOWN_YEARS: i64 = 2_088;

impl Zone {
    /// The zone of a session's setting, which was checked when it was set; UTC where it says none.
    pub fn of_setting(text: Option<&str>) -> Self {
        let text = text.unwrap_or("UTC");
        if let Ok(zone) = text.parse() {
            return Self::Named(zone);
        }
        if let Ok(offset) = text.parse::<FixedOffset>() {
            return Self::Fixed(offset.local_minus_utc());
        }
        Self::of_name(text).unwrap_or(Self::Named(Tz::UTC))
    }

    /// The zone that AT TIME ZONE names: an abbreviation, a place, or POSIX's distance.
    pub(crate) fn of_name(text: &str) -> Outcome<Self> {
        let lower = text.to_ascii_lowercase();
        if let Some(zone) = Self::of_abbreviation(&lower) {
            return Ok(zone);
        }
        Self::of_place(&lower)
            .ok_or_else(|| Fault::new(PARAMETER, format!("time zone \"{text}\" not recognized")))
    }

    /// The zone of an abbreviation in small letters.
    pub(crate) fn of_abbreviation(lower: &str) -> Option<Self> {
        Some(match abbreviations::find(lower)? {
            Stands::Seconds(seconds) => Self::Fixed(seconds),
            Stands::Place(place, name) => {
                let zone = *NAMES.get(&place.to_ascii_lowercase())?;
                if was_called(zone, name) { Self::Called(zone, name) } else { Self::Named(zone) }
            }
        })
    }

    /// The zone of a place's name in small letters, or of a distance as POSIX writes it.
    pub(crate) fn of_place(lower: &str) -> Option<Self> {
        let name = lower.strip_prefix("posix/").unwrap_or(lower);
        if let Some(zone) = NAMES.get(name) {
            return Some(Self::Named(*zone));
        }
        posix(lower).map(Self::Fixed)
    }

    /// The zone of an interval east of Greenwich.
    pub(crate) fn of_distance(seconds: i64) -> Option<Self> {
        i32::try_from(seconds).ok().map(Self::Fixed)
    }

    /// Seconds east of Greenwich at an instant.
    pub fn offset_at(&self, utc_seconds: i64) -> i64 {
        match self {
            Self::Fixed(seconds) => i64::from(*seconds),
            Self::Named(zone) => seconds_at(*zone, utc_seconds),
            Self::Called(zone, name) => called(*zone, name, utc_seconds),
        }
    }

    /// What clocks are called at an instant.
    pub(crate) fn name_at(&self, utc_seconds: i64) -> String {
        match self {
            Self::Fixed(0) => "UTC".to_owned(),
            Self::Fixed(seconds) => {
                let shown =
                    FixedOffset::east_opt(*seconds).map_or_else(String::new, |offset| offset.to_string());
                shown.strip_suffix(":00").unwrap_or(&shown).to_owned()
            }
            Self::Named(zone) => {
                let found = offset(*zone, utc_seconds);
                let abbreviation = found.and_then(|found| found.abbreviation().map(str::to_owned));
                // Where clocks have no name of their own it is their distance: `-03`, `+0545`.
                abbreviation.unwrap_or_else(|| distance_shown(seconds_at(*zone, utc_seconds)))
            }
            Self::Called(_, name) => (*name).to_owned(),
        }
    }

    /// Seconds east of Greenwich where clocks show a local time. One that they skip is told by the clock before, one that
    /// they show twice is the second.
    pub(crate) fn offset_of_local(&self, local_seconds: i64) -> i64 {
        match self {
            Self::Fixed(seconds) => i64::from(*seconds),
            Self::Called(_, _) => {
                let near = self.offset_at(local_seconds);
                self.offset_at(local_seconds - near)
            }
            Self::Named(_) => {
                let before = self.offset_at(local_seconds - DAY_SECONDS);
                let after = self.offset_at(local_seconds + DAY_SECONDS);
                if before == after {
                    // Clocks may have changed twice, or not at all.
                    let found = self.offset_at(local_seconds - before);
                    if found == before {
                        return before;
                    }
                    return if self.offset_at(local_seconds - found) == found { found } else { before };
                }
                let is_before = self.offset_at(local_seconds - before) == before;
                let is_after = self.offset_at(local_seconds - after) == after;
                if is_after {
                    after
                } else if is_before {
                    before
                } else {
                    before.min(after)
                }
            }
        }
    }

    /// The local time of an instant, both in microseconds.
    pub(crate) fn local(&self, instant: i64) -> Option<i64> {
        instant.checked_add(self.offset_at(instant.div_euclid(SECOND)) * SECOND)
    }

    /// The instant of a local time, both in microseconds.
    pub(crate) fn instant(&self, local: i64) -> Option<i64> {
        local.checked_sub(self.offset_of_local(local.div_euclid(SECOND)) * SECOND)
    }
}

/// The offset of a place and its name. Far years are looked up as ones with the same days, since rules repeat.
fn offset(zone: Tz, utc_seconds: i64) -> Option<<Tz as TimeZone>::Offset> {
    let local = Local::of(utc_seconds.saturating_mul(SECOND));
    let mut at = utc_seconds;
    if local.year >= KNOWN_YEARS && !matches!(zone, Tz::Africa__Casablanca | Tz::Africa__El_Aaiun) {
        let first = days_of(local.year, 1, 1);
        let like = (KNOWN_YEARS - 28..KNOWN_YEARS).rev().find(|year| {
            is_leap(*year) == is_leap(local.year) && weekday(days_of(*year, 1, 1)) == weekday(first)
        });
        if let Some(like) = like {
            at -= (first - days_of(like, 1, 1)) * DAY_SECONDS;
        }
    }
    let instant = DateTime::from_timestamp(at, 0)?;
    Some(zone.offset_from_utc_datetime(&instant.naive_utc()))
}

fn seconds_at(zone: Tz, utc_seconds: i64) -> i64 {
    offset(zone, utc_seconds).map_or(0, |offset| i64::from(offset.fix().local_minus_utc()))
}

/// True where the clocks of a place ever had `name`.
fn was_called(zone: Tz, name: &str) -> bool {
    (-STEPS..STEPS / 2)
        .any(|step| offset(zone, step * STEP).is_some_and(|offset| offset.abbreviation() == Some(name)))
}

const STEP: i64 = 21 * DAY_SECONDS;
const STEPS: i64 = 2_600;

/// What the clocks of a place were when they last had `name`, or next.
fn called(zone: Tz, name: &str, utc_seconds: i64) -> i64 {
    let is_called = |at: i64| {
        let found = offset(zone, at)?;
        (found.abbreviation() == Some(name)).then(|| i64::from(found.fix().local_minus_utc()))
    };
    // Before and after these years no clocks change their names.
    let from = utc_seconds.clamp(-4_100_000_000, 4_100_000_000);
    let earlier = (0..STEPS).find_map(|step| is_called(from - step * STEP));
    let later = || (1..2 * STEPS).find_map(|step| is_called(from + step * STEP));
    earlier.or_else(later).unwrap_or_else(|| seconds_at(zone, utc_seconds))
}

/// The seconds east of Greenwich of a POSIX zone without another time in summer: `<name>±hh[:mm[:ss]]`, which counts west. The name
/// may be missing.
pub fn posix(text: &str) -> Option<i32> {
    let rest = match text.strip_prefix('<') {
        Some(rest) => rest.split_once('>')?.1,
        None => text.trim_start_matches(|letter: char| {
            letter != ',' && letter != '+' && letter != '-' && !letter.is_ascii_digit()
        }),
    };
    let (sign, digits) = match rest.strip_prefix('-') {
        Some(digits) => (1, digits),
        None => (-1, rest.strip_prefix('+').unwrap_or(rest)),
    };
    let mut parts = digits.split(':');
    let mut part = |most: i32| -> Option<Option<i32>> {
        let Some(part) = parts.next() else { return Some(None) };
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let number: i32 = if is_number { part.parse().ok()? } else { return None };
        (number <= most).then_some(Some(number))
    };
    let hours = part(167)??;
    let minutes = part(59)?.unwrap_or(0);
    let seconds = part(60)?.unwrap_or(0);
    if parts.next().is_some() {
        return None;
    }
    Some(sign * (hours * 3600 + minutes * 60 + seconds))
}

/// `-03`, `+0545`.
fn distance_shown(seconds: i64) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let (hours, minutes) = (seconds.abs() / 3600, seconds.abs() / 60 % 60);
    if minutes == 0 { format!("{sign}{hours:02}") } else { format!("{sign}{hours:02}{minutes:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(name: &str, utc_seconds: i64) -> Option<i64> {
        Zone::of_name(name).ok().map(|zone| zone.offset_at(utc_seconds))
    }

    #[test]
    fn zones_have_many_names() {
        let winter = 1_704_067_200;
        assert_eq!(distance("est", winter), Some(-18_000));
        assert_eq!(distance("europe/BERLIN", winter), Some(3_600));
        assert_eq!(distance("MSK", winter), Some(10_800));
        // POSIX counts to the west.
        assert_eq!(distance("+05:30", winter), Some(-19_800));
        assert_eq!(distance("<+05>-5", winter), Some(18_000));
        assert_eq!(distance("nowhere", winter), None);
    }

    #[test]
    fn rules_hold_for_ever() {
        let berlin = Zone::Named(Tz::Europe__Berlin);
        assert_eq!(berlin.offset_at(days_of(2500, 7, 1) * DAY_SECONDS), 7_200);
        assert_eq!(berlin.offset_at(days_of(2500, 12, 1) * DAY_SECONDS), 3_600);
    }
}
