//! The session's time zone, where instants become local times and local times instants.

use chrono::{NaiveDateTime, TimeDelta};

use crate::functions::instants::Zone;

/// A time zone, by name or by its distance from Greenwich.
#[derive(Debug, Clone, Copy)]
pub struct SessionZone(Zone);

impl SessionZone {
    /// The zone of a setting's text; UTC where it says none.
    pub fn of(text: Option<&str>) -> Self {
        Self(Zone::of_setting(text))
    }

    /// The local time at `utc`, the distance from Greenwich then, in seconds, and its abbreviation.
    pub fn local(&self, utc: NaiveDateTime) -> Option<(NaiveDateTime, i64, String)> {
        let at = utc.and_utc().timestamp();
        let seconds = self.0.offset_at(at);
        Some((utc.checked_add_signed(TimeDelta::seconds(seconds))?, seconds, self.0.name_at(at)))
    }

    /// The instant of a local time. One that clocks skip is told by the clock before, one that they show twice is the second,
    /// as in PostgreSQL.
    pub fn instant(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let offset = self.0.offset_of_local(local.and_utc().timestamp());
        local.checked_sub_signed(TimeDelta::seconds(offset))
    }
}
