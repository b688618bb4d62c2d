//! How a session prints values and reads dates: its `TimeZone`, `DateStyle`, `IntervalStyle`, `bytea_output` and
//! `extra_float_digits`.

use datafusion::common::config::ConfigOptions;

use super::instants::Zone;
use crate::session_state::TaskOptions;

/// The form of dates and times (`DateStyle`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dates {
    /// `1997-12-17 07:37:16-08`
    #[default]
    Iso,
    /// `12/17/1997 07:37:16.00 PST`
    Sql,
    /// `Wed Dec 17 07:37:16 1997 PST`
    Postgres,
    /// `17.12.1997 07:37:16.00 PST`
    German,
}

/// In which order the numbers of a date are read, and written in some styles (`DateStyle`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Order {
    /// Month, day, year.
    #[default]
    Mdy,
    /// Day, month, year.
    Dmy,
    /// Year, month, day.
    Ymd,
}

/// The form of intervals (`IntervalStyle`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Intervals {
    /// `1 day 02:03:04`
    #[default]
    Postgres,
    /// `@ 1 day 2 hours 3 mins 4 secs`
    Verbose,
    /// `1 2:03:04`
    Standard,
    /// `P1DT2H3M4S`
    Iso,
}

/// The settings that say how values are printed, the zone aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Style {
    /// The form of dates and times.
    pub dates: Dates,
    /// The order of a date's numbers.
    pub order: Order,
    /// The form of intervals.
    pub intervals: Intervals,
    /// `bytea` with escapes, and not in hexadecimal digits.
    pub has_escapes: bool,
    /// `extra_float_digits`: above 0, as many digits as tell a number from all others.
    pub float_digits: i8,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            dates: Dates::default(),
            order: Order::default(),
            intervals: Intervals::default(),
            has_escapes: false,
            float_digits: 1,
        }
    }
}

impl Style {
    /// That of the settings' values, as `SHOW` prints them.
    pub fn of_settings(
        date_style: &str,
        interval_style: &str,
        bytea_output: &str,
        float_digits: &str,
    ) -> Self {
        let (dates, order) = date_style.split_once(", ").unwrap_or((date_style, "MDY"));
        Self {
            dates: match dates {
                "SQL" => Dates::Sql,
                "Postgres" => Dates::Postgres,
                "German" => Dates::German,
                _ => Dates::Iso,
            },
            order: match order {
                "DMY" => Order::Dmy,
                "YMD" => Order::Ymd,
                _ => Order::Mdy,
            },
            intervals: match interval_style {
                "postgres_verbose" => Intervals::Verbose,
                "sql_standard" => Intervals::Standard,
                "iso_8601" => Intervals::Iso,
                _ => Intervals::Postgres,
            },
            has_escapes: bytea_output == "escape",
            float_digits: float_digits.parse().unwrap_or(1),
        }
    }

    /// As a statement tells it to its tasks; empty for the style that sessions begin with.
    pub fn told(&self) -> String {
        if *self == Self::default() {
            return String::new();
        }
        let dates = match self.dates {
            Dates::Iso => "ISO",
            Dates::Sql => "SQL",
            Dates::Postgres => "Postgres",
            Dates::German => "German",
        };
        let order = match self.order {
            Order::Mdy => "MDY",
            Order::Dmy => "DMY",
            Order::Ymd => "YMD",
        };
        let intervals = match self.intervals {
            Intervals::Postgres => "postgres",
            Intervals::Verbose => "postgres_verbose",
            Intervals::Standard => "sql_standard",
            Intervals::Iso => "iso_8601",
        };
        let bytes = if self.has_escapes { "escape" } else { "hex" };
        format!("{dates}, {order}|{intervals}|{bytes}|{}", self.float_digits)
    }

    /// What [`Self::told`] told.
    pub fn of_told(told: &str) -> Self {
        let parts: Vec<&str> = told.split('|').collect();
        match parts.as_slice() {
            [dates, intervals, bytes, digits] => Self::of_settings(dates, intervals, bytes, digits),
            _ => Self::default(),
        }
    }

    /// That of the session that a function is run for.
    pub fn of_options(options: &ConfigOptions) -> Self {
        options.extensions.get::<TaskOptions>().map_or_else(Self::default, |task| Self::of_told(&task.style))
    }
}

/// All that says how a session prints values.
#[derive(Debug, Clone, Copy)]
pub struct Display {
    /// Where its clocks are.
    pub zone: Zone,
    /// Everything else.
    pub style: Style,
}

impl Display {
    /// That of the session that a function is run for.
    pub fn of_options(options: &ConfigOptions) -> Self {
        let zone = Zone::of_setting(options.execution.time_zone.as_deref());
        Self { zone, style: Style::of_options(options) }
    }

    /// In UTC, as sessions begin.
    pub fn utc() -> Self {
        Self { zone: Zone::Fixed(0), style: Style::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_style_arrives_as_it_was_told() {
        assert_eq!(Style::of_told(&Style::default().told()), Style::default());
        for dates in ["ISO, DMY", "SQL, MDY", "Postgres, YMD", "German, DMY"] {
            for intervals in ["postgres", "postgres_verbose", "sql_standard", "iso_8601"] {
                let style = Style::of_settings(dates, intervals, "escape", "-15");
                assert_eq!(Style::of_told(&style.told()), style, "{dates}, {intervals}");
            }
        }
    }
}
