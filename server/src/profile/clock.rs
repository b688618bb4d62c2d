//! Times as accounts and pages have them: milliseconds since 1970.

use std::time::{Duration, SystemTime};

/// Now, in milliseconds since 1970.
pub fn now_ms() -> f64 {
    ms_of(SystemTime::now())
}

/// `time` in milliseconds since 1970.
pub fn ms_of(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1000.0
}

/// The time that is `ms` milliseconds after 1970.
pub fn time_at(ms: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
}
