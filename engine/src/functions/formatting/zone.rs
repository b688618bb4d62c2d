//! The session's time zone, where instants become local times and local times instants.

use chrono::{FixedOffset, LocalResult, NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::{OffsetName, Tz};

/// A time zone, by name or by its distance from Greenwich.
#[derive(Debug, Clone, Copy)]
pub enum SessionZone {
    Named(Tz),
    Fixed(FixedOffset),
}

impl SessionZone {
    /// The zone of a setting's text; UTC where it says none.
    pub fn of(text: Option<&str>) -> Self {
        let text = text.unwrap_or("UTC");
        if let Ok(zone) = text.parse() {
            return Self::Named(zone);
        }
        text.parse().map_or(Self::Named(Tz::UTC), Self::Fixed)
    }

    /// The local time at `utc`, the distance from Greenwich then, in seconds, and its abbreviation.
    pub fn local(&self, utc: NaiveDateTime) -> Option<(NaiveDateTime, i64, String)> {
        let (offset, name) = match self {
            Self::Named(zone) => {
                let offset = zone.offset_from_utc_datetime(&utc);
                (offset.fix(), offset.abbreviation().unwrap_or_default().to_owned())
            }
            Self::Fixed(offset) => (*offset, offset.to_string()),
        };
        let seconds = i64::from(offset.local_minus_utc());
        Some((utc.checked_add_signed(TimeDelta::seconds(seconds))?, seconds, name))
    }

    /// The instant of a local time. One that clocks skip is told by the clock before, one that they show twice is the second,
    /// as in PostgreSQL.
    pub fn instant(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let offset = match self {
            Self::Named(zone) => match zone.offset_from_local_datetime(&local) {
                LocalResult::Single(offset) | LocalResult::Ambiguous(_, offset) => offset.fix(),
                LocalResult::None => {
                    let before = local.checked_sub_signed(TimeDelta::days(1))?;
                    zone.offset_from_local_datetime(&before).latest()?.fix()
                }
            },
            Self::Fixed(offset) => *offset,
        };
        local.checked_sub_signed(TimeDelta::seconds(i64::from(offset.local_minus_utc())))
    }
}
