//! Failed sign-ins are counted, and the next try from the same place for the same role waits longer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

/// The wait after a first failure; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// A place that has not failed for this long starts anew.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Places remembered at once. Past it the oldest is forgotten.
const PLACES_MAX: usize = 10_000;

/// The failures of one role from one address.
#[derive(Debug, Clone)]
pub struct FailedSignIns {
    /// Where they came from.
    pub address: IpAddr,
    /// The role that was asked for.
    pub user: String,
    /// How many in a row.
    pub failures: u32,
    /// When the last one was.
    pub last_at: SystemTime,
    noted: Instant,
}

/// The count.
#[derive(Debug, Default)]
pub struct SignInGuard {
    places: Mutex<HashMap<(IpAddr, String), FailedSignIns>>,
}

impl SignInGuard {
    /// Notes a failure and gives the time to wait before it is told.
    pub fn failed(&self, address: IpAddr, user: &str) -> Duration {
        let user = remembered(user);
        let mut places = self.places.lock();
        places.retain(|_, place| place.noted.elapsed() < FORGET_AFTER);
        if places.len() >= PLACES_MAX
            && let Some(oldest) =
                places.iter().min_by_key(|(_, place)| place.noted).map(|(key, _)| key.clone())
        {
            places.remove(&oldest);
        }
        let place = places.entry((address, user.to_owned())).or_insert_with(|| FailedSignIns {
            address,
            user: user.to_owned(),
            failures: 0,
            last_at: SystemTime::now(),
            noted: Instant::now(),
        });
        place.failures = place.failures.saturating_add(1);
        place.last_at = SystemTime::now();
        place.noted = Instant::now();
        FIRST_WAIT.saturating_mul(1 << (place.failures - 1).min(16)).min(WAIT_MAX)
    }

    /// A sign-in that succeeded ends the row.
    pub fn succeeded(&self, address: IpAddr, user: &str) {
        self.places.lock().remove(&(address, remembered(user).to_owned()));
    }

    /// Every place that has failed of late.
    pub fn list(&self) -> Vec<FailedSignIns> {
        self.places.lock().values().cloned().collect()
    }
}

/// No role has a longer name, so none is kept in full.
fn remembered(user: &str) -> &str {
    const NAME_BYTES_MAX: usize = 63;
    &user[..user.floor_char_boundary(NAME_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_waits_longer_up_to_a_bound() {
        let guard = SignInGuard::default();
        let address: IpAddr = "192.0.2.1".parse().expect("an address");
        assert_eq!(guard.failed(address, "postgres"), Duration::from_millis(100));
        assert_eq!(guard.failed(address, "postgres"), Duration::from_millis(200));
        assert_eq!(guard.failed(address, "other"), Duration::from_millis(100));
        for _ in 0..40 {
            guard.failed(address, "postgres");
        }
        assert_eq!(guard.failed(address, "postgres"), WAIT_MAX);
        guard.succeeded(address, "postgres");
        assert_eq!(guard.failed(address, "postgres"), Duration::from_millis(100));
    }
}
