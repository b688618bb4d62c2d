//! One pool for a whole process, from which operators lend each other what they do not use.
//!
//! An operator that can spill is refused only when it would help: when all of them together have reached
//! their limit, and it has more than its fair share. A share cut off beforehand would make a sort spill
//! beside others that hold nothing; and an operator that is refused its first bytes, or those with which it
//! writes what it spills, fails instead of spilling. A part of the pool is kept from them for operators
//! that cannot spill: merges of spilled runs, build sides of joins, sinks.
//!
//! What the process holds beyond what operators declare is taken off the limit as it is measured.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use parking_lot::Mutex;

use super::TaskMemory;
use super::accounts::{Accounts, Bounds, Request, operator};
use super::resident::{ResidentSize, release_free_memory};
use crate::ByteSize;

/// What a process of ours holds before it has run anything: code, runtime, caches' floor. Measured at
/// 90 (executor) to 130 MB (server) after some queries, of which 80 to 110 MB are code.
const AT_REST: u64 = 120 * ByteSize::MIB;
/// Share of the cap, less [`AT_REST`], that operators may declare.
const POOL_SHARE: f64 = 0.65;
/// Share of the cap that the resident size is kept below by taking from the limit.
const RESIDENT_SHARE: f64 = 0.85;
/// Share of the cap past which no large piece is granted, whatever the pool says.
const RESIDENT_SHARE_MAX: f64 = 0.95;
/// Nor is anything to an operator that holds this part of the limit.
const MUCH_SHARE: f64 = 0.2;
/// Share of the cap past which memory that the allocator keeps is given back.
const RELEASE_SHARE: f64 = 0.65;
/// Not more often than this: each time costs page faults afterwards.
const RELEASE_INTERVAL_MICROS: u64 = 10_000;
/// What tasks have declared below this part of the limit tells nothing of them.
const LITTLE_SHARE: f64 = 0.01;
/// The limit is not taken below this part of itself: operators spill by small pieces then, but go on.
const LIMIT_SHARE_MIN: f64 = 0.25;
/// How many newly requested bytes may pass between two looks at the resident size.
const LOOK_BYTES: usize = 1 << 20;

/// One pool for a whole process: lent and shared among operators, bounded by the resident size.
pub struct CappedPool {
    cap: ByteSize,
    limit_bytes: usize,
    /// The limit, less what the process was last seen to hold beyond what operators declare.
    allowed_bytes: AtomicUsize,
    resident: ResidentSize,
    resident_bytes: AtomicU64,
    not_looked_bytes: AtomicUsize,
    started_at: Instant,
    released_at_micros: AtomicU64,
    accounts: Accounts,
    tasks: Mutex<Vec<Weak<TaskMemory>>>,
}

impl CappedPool {
    /// The pool of a process whose RSS must stay at or below `cap`.
    pub fn for_cap(cap: ByteSize) -> Arc<Self> {
        let above_rest = cap.0.saturating_sub(AT_REST).max(16 * ByteSize::MIB);
        let limit_bytes = (above_rest as f64 * POOL_SHARE) as usize;
        Arc::new(Self {
            cap,
            limit_bytes,
            allowed_bytes: AtomicUsize::new(limit_bytes),
            resident: ResidentSize::open(),
            resident_bytes: AtomicU64::new(0),
            not_looked_bytes: AtomicUsize::new(0),
            started_at: Instant::now(),
            released_at_micros: AtomicU64::new(0),
            accounts: Accounts::default(),
            tasks: Mutex::default(),
        })
    }

    /// Bytes that operators may declare in all.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// The cap on the process.
    pub fn cap(&self) -> ByteSize {
        self.cap
    }

    /// Bytes resident now.
    pub fn resident_bytes(&self) -> u64 {
        self.resident.bytes()
    }

    /// Looks at the resident size, and sets what operators may declare by it. Returns that size in bytes.
    pub fn look(&self) -> u64 {
        let cap = self.cap.0 as f64;
        let mut resident = self.resident.bytes();
        if resident as f64 > cap * RELEASE_SHARE && self.may_release() {
            release_free_memory();
            resident = self.resident.bytes();
        }
        self.resident_bytes.store(resident, Ordering::Relaxed);
        let undeclared = resident.saturating_sub(self.reserved() as u64);
        let room = ((cap * RESIDENT_SHARE) as u64).saturating_sub(undeclared) as usize;
        let least = (self.limit_bytes as f64 * LIMIT_SHARE_MIN) as usize;
        self.allowed_bytes.store(room.clamp(least, self.limit_bytes), Ordering::Relaxed);
        resident
    }

    fn may_release(&self) -> bool {
        let now = self.started_at.elapsed().as_micros() as u64;
        let before = self.released_at_micros.load(Ordering::Relaxed);
        now.saturating_sub(before) >= RELEASE_INTERVAL_MICROS
            && self
                .released_at_micros
                .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn look_now_and_then(&self, additional: usize) {
        let pending = self.not_looked_bytes.fetch_add(additional, Ordering::Relaxed) + additional;
        if pending >= LOOK_BYTES {
            self.not_looked_bytes.store(0, Ordering::Relaxed);
            self.look();
        }
    }

    fn bounds(&self) -> Bounds {
        Bounds { allowed: self.allowed_bytes.load(Ordering::Relaxed), ..Bounds::of(self.limit_bytes) }
    }

    /// True when `additional` bytes would take the process too near its cap, whatever operators have declared. Who
    /// holds little is let grow by little: most often the allocator has it, and a refusal would end what cannot
    /// spill. Who holds much is not, since much comes of little too.
    fn is_too_much(&self, consumer: &MemoryConsumer, additional: usize) -> bool {
        let most = (self.cap.0 as f64 * RESIDENT_SHARE_MAX) as u64;
        let is_past = |resident: u64| resident + additional as u64 > most;
        if !is_past(self.resident_bytes.load(Ordering::Relaxed)) {
            return false;
        }
        let much = (self.limit_bytes as f64 * MUCH_SHARE) as usize;
        let is_large =
            additional > self.bounds().working_bytes || self.accounts.held_by(consumer) + additional > much;
        is_large && is_past(self.look())
    }

    /// As [`MemoryPool::try_grow`], for an operator that stops waiting once `is_over`.
    pub(super) fn try_grow_unless(
        &self,
        reservation: &MemoryReservation,
        additional: usize,
        is_over: &dyn Fn() -> bool,
    ) -> DataFusionResult<()> {
        self.look_now_and_then(additional);
        let consumer = reservation.consumer();
        let request = Request {
            reservation,
            additional,
            bounds: &|| self.bounds(),
            is_too_much: &|| self.is_too_much(consumer, additional),
            is_over,
        };
        if self.accounts.grow(&request) {
            return Ok(());
        }
        let (taken, largest) = self.accounts.told();
        Err(DataFusionError::ResourcesExhausted(format!(
            "{} asked for {} more; of the {} that the memory cap of {} leaves to operators, {taken} is taken ({largest})",
            operator(consumer.name()),
            ByteSize(additional as u64),
            ByteSize(self.limit_bytes as u64),
            self.cap,
        )))
    }

    pub(super) fn list(&self, task: &Arc<TaskMemory>) {
        let mut tasks = self.tasks.lock();
        tasks.retain(|task| task.strong_count() > 0);
        tasks.push(Arc::downgrade(task));
    }

    /// The task, of those not told to end, whose operators have declared most. Where all have declared little, what the
    /// process holds is nobody's, and the oldest has had most time to make it.
    pub(super) fn largest_task(&self) -> Option<Arc<TaskMemory>> {
        let little = (self.limit_bytes as f64 * LITTLE_SHARE) as usize;
        // In the order in which they began: of several that are alike the first is taken.
        let tasks: Vec<_> = self.tasks.lock().iter().filter_map(Weak::upgrade).collect();
        let declared = |task: &Arc<TaskMemory>| task.reserved_bytes().saturating_sub(little);
        tasks.into_iter().rev().filter(|task| !task.is_condemned()).max_by_key(declared)
    }
}

impl fmt::Debug for CappedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CappedPool").field("cap", &self.cap).field("limit", &self.limit_bytes).finish()
    }
}

impl fmt::Display for CappedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "capped({})", self.cap)
    }
}

impl MemoryPool for CappedPool {
    fn name(&self) -> &str {
        "capped"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.accounts.open(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.accounts.close(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.accounts.add(reservation.consumer(), additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.accounts.take(reservation.consumer(), shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DataFusionResult<()> {
        self.try_grow_unless(reservation, additional, &|| false)
    }

    fn reserved(&self) -> usize {
        self.accounts.total()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn pool() -> (Arc<CappedPool>, Arc<dyn MemoryPool>) {
        // Far larger than the test process, so that accounts alone decide.
        let pool = CappedPool::for_cap(ByteSize(64 * ByteSize::GIB));
        (Arc::clone(&pool), pool)
    }

    fn reservation(pool: &Arc<dyn MemoryPool>, name: &str, can_spill: bool) -> MemoryReservation {
        MemoryConsumer::new(name).with_can_spill(can_spill).register(pool)
    }

    #[test]
    fn the_pool_leaves_headroom_below_the_cap() {
        let pool = CappedPool::for_cap(ByteSize(ByteSize::GIB));
        assert!((pool.limit_bytes() as u64) < ByteSize::GIB * 65 / 100);
        assert!((pool.limit_bytes() as u64) > ByteSize::GIB / 2);
    }

    #[test]
    fn a_process_past_its_cap_is_refused_more_than_it_needs_to_work() {
        // The test process itself is larger than 1 MiB, so this cap is already exceeded.
        let pool: Arc<dyn MemoryPool> = CappedPool::for_cap(ByteSize::mib(1));
        let sort = reservation(&pool, "ExternalSorter[0]", true);
        sort.try_grow(MIB / 4).expect("enough to write what it spills");
        let refused = sort.try_grow(8 * MIB).expect_err("nothing more may be had").to_string();
        assert!(refused.contains("ExternalSorter asked for 8MB more"), "{refused}");
        assert!(refused.contains("the memory cap of 1MB"), "{refused}");
    }

    #[test]
    fn one_operator_may_have_what_others_do_not_use_and_gives_way_when_they_do() {
        let (capped, pool) = pool();
        let usable = capped.limit_bytes() / 10 * 8;
        let first = reservation(&pool, "GroupedHashAggregateStream[0]", true);
        let second = reservation(&pool, "GroupedHashAggregateStream[1]", true);
        first.try_grow(usable - MIB).expect("the second holds nothing");
        assert!(first.try_grow(2 * MIB).is_err(), "all that may be spilled is taken");
        second.try_grow(16 * MIB).expect("it has less than its share");
        assert!(first.try_grow(MIB).is_err(), "it has more than its share, and spills");
        first.free();
        second.try_grow(usable / 2).expect("what was given back is there");
    }

    #[test]
    fn operators_that_cannot_spill_have_a_part_of_their_own() {
        let (capped, pool) = pool();
        let sort = reservation(&pool, "ExternalSorter[0]", true);
        while sort.try_grow(64 * MIB).is_ok() {}
        let merge = reservation(&pool, "ExternalSorterMerge[0]", false);
        merge.try_grow(capped.limit_bytes() / 3).expect("the sort left it room");
        let build = reservation(&pool, "HashJoinInput[0]", false);
        let refused = build.try_grow(capped.limit_bytes() / 5).expect_err("not that much").to_string();
        assert!(refused.contains("(ExternalSorter "), "{refused}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_has_nothing_to_spill_waits_for_those_who_have() {
        let (capped, pool) = pool();
        let other = reservation(&pool, "GroupedHashAggregateStream[0]", true);
        other.try_grow(16 * MIB).expect("nobody holds anything");
        let merge = reservation(&pool, "ExternalSorterMerge[0]", false);
        merge.try_grow(capped.limit_bytes() - 24 * MIB).expect("most of the limit");
        let sort = reservation(&pool, "ExternalSorter[0]", true);
        let waits = tokio::spawn(async move { sort.try_grow(16 * MIB).map(|()| sort.size()) });
        // Whoever has something is refused while somebody waits.
        while other.try_grow(8 * MIB).is_ok() {
            other.shrink(8 * MIB);
            assert!(!waits.is_finished(), "it was refused what may come");
            tokio::task::yield_now().await;
        }
        merge.free();
        assert_eq!(waits.await.expect("it ends").expect("it got what the merge gave back"), 16 * MIB);
    }
}
