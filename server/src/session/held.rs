//! What sessions hold of what their clients sent: messages, values of parameters, prepared texts, rows of a COPY.
//!
//! It is asked of the process's pool before it is held, as an operator's rows are, so that neither one client nor all
//! of them take the process past its cap. What a session may have without asking covers everyday messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use engine::memory::CappedPool;
use engine::{ByteSize, Error, Result};
use parking_lot::Mutex;

/// Share of the pool that all sessions may hold together.
const SHARE_OF_ALL: f64 = 0.5;
/// Share of the pool that all sessions of one role may hold: others are left something.
const SHARE_OF_ROLE: f64 = 0.4;
/// Share of the pool that one session may hold.
const SHARE_OF_ONE: f64 = 1.0 / 3.0;
/// What a session holds without asking for it, in bytes.
const OWN_BYTES: usize = 64 << 10;
/// How long, and how often, what is not there is asked for again: operators that can spill give way meanwhile.
const PATIENCE: Duration = Duration::from_millis(500);
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// What all sessions hold.
#[derive(Debug)]
pub struct ClientMemory {
    reservation: MemoryReservation,
    taken: Mutex<Taken>,
    bytes_max: usize,
    role_bytes_max: usize,
    session_bytes_max: usize,
    cap: ByteSize,
}

/// By all, and by the sessions of each role.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of_roles: HashMap<u32, usize>,
}

impl ClientMemory {
    /// Bounded by parts of `pool`.
    pub fn of(pool: &Arc<CappedPool>) -> Arc<Self> {
        let share = |share: f64| (pool.limit_bytes() as f64 * share) as usize;
        Arc::new(Self {
            reservation: MemoryConsumer::new("clients").register(&pool.at_once()),
            taken: Mutex::default(),
            bytes_max: share(SHARE_OF_ALL),
            role_bytes_max: share(SHARE_OF_ROLE),
            session_bytes_max: share(SHARE_OF_ONE),
            cap: pool.cap(),
        })
    }

    fn grow(&self, role: u32, bytes: usize) -> Result<()> {
        let mut taken = self.taken.lock();
        let of_role = taken.of_roles.get(&role).copied().unwrap_or(0).saturating_add(bytes);
        let all = taken.all.saturating_add(bytes);
        let (who, most) = match () {
            () if of_role > self.role_bytes_max => ("what clients of one role sent", self.role_bytes_max),
            () if all > self.bytes_max => ("what clients sent", self.bytes_max),
            () => {
                (taken.all, _) = (all, taken.of_roles.insert(role, of_role));
                drop(taken);
                return self.reservation.try_grow(bytes).map_err(|error| {
                    self.forget(role, bytes);
                    error.into()
                });
            }
        };
        Err(Error::OutOfMemory {
            message: format!(
                "{who} already takes the {} that it may of the memory cap of {}",
                ByteSize(most as u64),
                self.cap
            ),
        })
    }

    fn forget(&self, role: u32, bytes: usize) {
        let mut taken = self.taken.lock();
        taken.all = taken.all.saturating_sub(bytes);
        if let Some(of_role) = taken.of_roles.get_mut(&role) {
            *of_role = of_role.saturating_sub(bytes);
            if *of_role == 0 {
                taken.of_roles.remove(&role);
            }
        }
    }

    fn shrink(&self, role: u32, bytes: usize) {
        self.reservation.shrink(bytes);
        self.forget(role, bytes);
    }
}

/// What one session holds.
#[derive(Debug)]
pub struct SessionMemory {
    all: Arc<ClientMemory>,
    /// Who signed in.
    role: u32,
    taken: Mutex<usize>,
}

impl SessionMemory {
    /// Nothing yet, of a session of `role`.
    pub fn open(all: &Arc<ClientMemory>, role: u32) -> Arc<Self> {
        Arc::new(Self { all: Arc::clone(all), role, taken: Mutex::new(0) })
    }

    /// The most that the session may hold, in bytes.
    pub fn own_bytes_max(&self) -> usize {
        self.all.session_bytes_max
    }

    /// Asks for `bytes`, to be given back when the charge is dropped (53200 when they are not there).
    pub fn charge(self: &Arc<Self>, bytes: usize) -> Result<Charge> {
        let mut charge = self.nothing();
        charge.resize(bytes)?;
        Ok(charge)
    }

    /// A charge of nothing, to grow.
    pub fn nothing(self: &Arc<Self>) -> Charge {
        Charge { session: Arc::clone(self), bytes: 0 }
    }

    /// What is said when more is claimed than one session may ever hold.
    pub fn too_much(&self) -> Error {
        Error::OutOfMemory {
            message: format!(
                "what a session holds of its client's messages, values and statements may take {} of the memory cap \
                 of {}",
                ByteSize(self.all.session_bytes_max as u64),
                self.all.cap
            ),
        }
    }

    fn grow(&self, bytes: usize) -> Result<()> {
        let mut taken = self.taken.lock();
        let next = taken.saturating_add(bytes);
        if next > self.all.session_bytes_max {
            return Err(self.too_much());
        }
        let asked = asked_for(next) - asked_for(*taken);
        if asked > 0 {
            self.all.grow(self.role, asked)?;
        }
        *taken = next;
        Ok(())
    }

    fn shrink(&self, bytes: usize) {
        let mut taken = self.taken.lock();
        let next = taken.saturating_sub(bytes);
        let given_back = asked_for(*taken) - asked_for(next);
        if given_back > 0 {
            self.all.shrink(self.role, given_back);
        }
        *taken = next;
    }
}

/// Of what a session holds, what was asked of the pool.
fn asked_for(taken: usize) -> usize {
    taken.saturating_sub(OWN_BYTES)
}

/// Bytes that a session holds, given back when this is dropped.
#[derive(Debug)]
pub struct Charge {
    session: Arc<SessionMemory>,
    bytes: usize,
}

impl Charge {
    /// How many there are.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Asks for more, or gives back, so that there are `bytes` (53200, and as many as before, when they are not there).
    pub fn resize(&mut self, bytes: usize) -> Result<()> {
        if bytes > self.bytes {
            self.session.grow(bytes - self.bytes)?;
            self.bytes = bytes;
        } else {
            self.shrink_to(bytes);
        }
        Ok(())
    }

    /// The same for what others may give back soon; safe to drop.
    pub async fn resize_soon(&mut self, bytes: usize) -> Result<()> {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.resize(bytes) {
                Err(_) if bytes <= self.session.own_bytes_max() && tokio::time::Instant::now() < until => {
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Gives back what is more than `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        if bytes < self.bytes {
            self.session.shrink(self.bytes - bytes);
            self.bytes = bytes;
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn one_session_and_all_together_are_bounded_and_give_back() {
        // Far larger than the test process, so that accounts alone decide.
        let pool = CappedPool::for_cap(ByteSize(64 * ByteSize::GIB));
        let all = ClientMemory::of(&pool);
        let first = SessionMemory::open(&all, 1);
        let mut held = first.charge(first.own_bytes_max()).expect("a session's own part");
        assert_eq!(first.charge(1).expect_err("no more").sqlstate().as_str(), "53200");
        let second = SessionMemory::open(&all, 2);
        assert!(second.charge(second.own_bytes_max()).is_err(), "both together have a bound");
        let third = SessionMemory::open(&all, 1);
        assert!(
            third.charge(all.role_bytes_max - first.own_bytes_max() + 3 * OWN_BYTES).is_err(),
            "a role has one, too"
        );
        second.charge(OWN_BYTES).expect("what is everyday is not asked for");
        held.shrink_to(MIB);
        second.charge(second.own_bytes_max()).expect("it was given back");
        held.resize(2 * MIB).expect("there is room");
        drop(held);
        assert_eq!((*first.taken.lock(), *second.taken.lock()), (0, 0));
        let taken = all.taken.lock();
        assert_eq!((all.reservation.size(), taken.all, taken.of_roles.len()), (0, 0, 0));
    }
}
