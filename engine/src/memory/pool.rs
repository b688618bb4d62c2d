//! One pool for a whole process, from which operators lend each other what they do not use.
//!
//! An operator that can spill is refused only when it would help: when all of them together have reached
//! their limit, and it has more than its fair share. A share cut off beforehand would make a sort spill
//! beside others that hold nothing; and an operator that is refused its first bytes, or those with which it
//! writes what it spills, fails instead of spilling. A part of the pool is kept from them for operators
//! that cannot spill: merges of spilled runs, build sides of joins, sinks.
//!
//! What the process holds beyond what operators declare is taken off the limit as it is measured.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::TaskMemory;
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
/// The limit is not taken below this part of itself: operators spill by small pieces then, but go on.
const LIMIT_SHARE_MIN: f64 = 0.25;
/// Share of the limit that operators which can spill leave to the others.
const UNSPILLABLE_SHARE: f64 = 0.2;
/// The same for sorts: to write or give what they hold they merge it, by keys that take about half as much again.
const MERGE_SHARE: f64 = 0.4;
const SORT: &str = "ExternalSorter";
/// What passes through exchanges within a process comes back when it was read, not when it is asked for.
const EXCHANGE_SHARE: f64 = 0.25;
const EXCHANGE: &str = "RepartitionExec";
/// How long an operator that cannot spill waits for those that can.
const WAIT_MAX: Duration = Duration::from_millis(800);
/// Meanwhile the resident size, of whose fall nobody tells, is looked at as often.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// A reservation up to this part of the limit, or this size, is no store of rows but the means to work, by which
/// spilling ends.
const WORKING_SHARE: f64 = 1.0 / 32.0;
const WORKING_BYTES_MAX: usize = 4 << 20;
/// Such reservations may take all together so much more than the limit.
const OVERDRAFT_SHARE: f64 = 0.15;
/// How many newly requested bytes may pass between two looks at the resident size.
const LOOK_BYTES: usize = 1 << 20;
/// Operators named when memory runs out.
const NAMED: usize = 3;

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
    ledger: Mutex<Ledger>,
    given_back: Condvar,
    tasks: Mutex<Vec<Weak<TaskMemory>>>,
}

/// What is granted by, in bytes.
#[derive(Clone, Copy)]
struct Bounds {
    limit: usize,
    /// Of that, what operators which can spill go by now.
    allowed: usize,
    working_bytes: usize,
}

/// Who holds how much.
#[derive(Default)]
struct Ledger {
    accounts: HashMap<usize, Account>,
    spillable_bytes: usize,
    unspillable_bytes: usize,
    /// What operators that cannot spill wait for.
    wanted_bytes: usize,
}

struct Account {
    operator: String,
    can_spill: bool,
    bytes: usize,
}

impl Ledger {
    fn add(&mut self, consumer: &MemoryConsumer, bytes: usize) {
        if let Some(account) = self.accounts.get_mut(&consumer.id()) {
            account.bytes += bytes;
        }
        *self.total_of(consumer) += bytes;
    }

    fn take(&mut self, consumer: &MemoryConsumer, bytes: usize) {
        if let Some(account) = self.accounts.get_mut(&consumer.id()) {
            account.bytes = account.bytes.saturating_sub(bytes);
        }
        let total = self.total_of(consumer);
        *total = total.saturating_sub(bytes);
    }

    fn total_of(&mut self, consumer: &MemoryConsumer) -> &mut usize {
        if consumer.can_spill() { &mut self.spillable_bytes } else { &mut self.unspillable_bytes }
    }

    fn total(&self) -> usize {
        self.spillable_bytes + self.unspillable_bytes
    }

    /// Operators that can spill and hold more than they need to work; `consumer` counts as one.
    fn sharers(&self, consumer: &MemoryConsumer, working_bytes: usize) -> usize {
        let holds = |(id, account): &(&usize, &Account)| {
            account.can_spill && (account.bytes > working_bytes || **id == consumer.id())
        };
        self.accounts.iter().filter(holds).count().max(1)
    }

    fn held_by(&self, consumer: &MemoryConsumer) -> usize {
        self.accounts.get(&consumer.id()).map_or(0, |account| account.bytes)
    }

    /// Whether a reservation of `consumer`, of so many bytes now, may have `additional` more.
    fn grants(
        &self,
        consumer: &MemoryConsumer,
        reservation_bytes: usize,
        additional: usize,
        bounds: Bounds,
    ) -> bool {
        let Bounds { limit, allowed, working_bytes } = bounds;
        let total = self.total() + additional;
        if reservation_bytes + additional <= working_bytes {
            return total <= limit + (limit as f64 * OVERDRAFT_SHARE) as usize;
        }
        if !consumer.can_spill() {
            return total <= limit;
        }
        if self.held_by(consumer) == 0 && total <= limit {
            // Its first rows, without which it has nothing to spill.
            return true;
        }
        let operator = operator(consumer.name());
        if operator == EXCHANGE {
            let held = self.accounts.values().filter(|account| account.operator == EXCHANGE);
            let held: usize = held.map(|account| account.bytes).sum();
            return held + additional <= (allowed as f64 * EXCHANGE_SHARE) as usize && total <= limit;
        }
        let share = if operator == SORT { MERGE_SHARE } else { UNSPILLABLE_SHARE };
        let kept = (self.unspillable_bytes + self.wanted_bytes).max((allowed as f64 * share) as usize);
        let for_spillable = allowed.saturating_sub(kept);
        if self.spillable_bytes + additional <= for_spillable {
            return true;
        }
        let share = for_spillable / self.sharers(consumer, working_bytes);
        self.held_by(consumer) + additional <= share && total <= limit
    }

    fn largest(&self) -> String {
        let mut accounts: Vec<&Account> =
            self.accounts.values().filter(|account| account.bytes > 0).collect();
        accounts.sort_by_key(|account| std::cmp::Reverse(account.bytes));
        let named: Vec<String> = accounts
            .iter()
            .take(NAMED)
            .map(|account| format!("{} {}", account.operator, ByteSize(account.bytes as u64)))
            .collect();
        if named.is_empty() { "nothing".to_owned() } else { named.join(", ") }
    }
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
            ledger: Mutex::default(),
            given_back: Condvar::new(),
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
        let working_bytes = ((self.limit_bytes as f64 * WORKING_SHARE) as usize).min(WORKING_BYTES_MAX);
        Bounds { limit: self.limit_bytes, allowed: self.allowed_bytes.load(Ordering::Relaxed), working_bytes }
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
        let is_large = additional > self.bounds().working_bytes
            || self.ledger.lock().held_by(consumer) + additional > much;
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
        let is_too_much = self.is_too_much(consumer, additional);
        let grant = |ledger: &mut Ledger| {
            let is_granted = ledger.grants(consumer, reservation.size(), additional, self.bounds());
            if is_granted {
                ledger.add(consumer, additional);
            }
            is_granted
        };
        let mut ledger = self.ledger.lock();
        if !is_too_much && grant(&mut ledger) {
            return Ok(());
        }
        let may_come = is_too_much || ledger.spillable_bytes >= additional;
        if consumer.can_spill() || !may_come || !may_wait() {
            return Err(self.refusal(&ledger, consumer, additional));
        }
        // Those that can spill are refused from now on, and give back what they have.
        ledger.wanted_bytes += additional;
        drop(ledger);
        let wait = || {
            let until = Instant::now() + WAIT_MAX;
            let mut is_granted = false;
            while !is_granted && !is_over() && Instant::now() < until {
                self.given_back.wait_for(&mut self.ledger.lock(), LOOK_AGAIN);
                is_granted = !self.is_too_much(consumer, additional) && grant(&mut self.ledger.lock());
            }
            is_granted
        };
        let is_granted = tokio::task::block_in_place(wait);
        let mut ledger = self.ledger.lock();
        ledger.wanted_bytes -= additional;
        if is_granted { Ok(()) } else { Err(self.refusal(&ledger, consumer, additional)) }
    }

    pub(super) fn list(&self, task: &Arc<TaskMemory>) {
        let mut tasks = self.tasks.lock();
        tasks.retain(|task| task.strong_count() > 0);
        tasks.push(Arc::downgrade(task));
    }

    /// The task, of those not told to end, whose operators have declared most.
    pub(super) fn largest_task(&self) -> Option<Arc<TaskMemory>> {
        let tasks: Vec<_> = self.tasks.lock().iter().filter_map(Weak::upgrade).collect();
        tasks.into_iter().filter(|task| !task.is_condemned()).max_by_key(|task| task.reserved_bytes())
    }

    fn refusal(&self, ledger: &Ledger, consumer: &MemoryConsumer, additional: usize) -> DataFusionError {
        DataFusionError::ResourcesExhausted(format!(
            "{} asked for {} more; of the {} that the memory cap of {} leaves to operators, {} is taken ({})",
            operator(consumer.name()),
            ByteSize(additional as u64),
            ByteSize(self.limit_bytes as u64),
            self.cap,
            ByteSize(ledger.total() as u64),
            ledger.largest(),
        ))
    }
}

/// True on a thread whose other work goes on elsewhere while it waits.
fn may_wait() -> bool {
    Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// A consumer's name without the partition it works on.
fn operator(consumer: &str) -> &str {
    consumer.split(['[', ' ', '(']).next().unwrap_or(consumer)
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
        let account = Account {
            operator: operator(consumer.name()).to_owned(),
            can_spill: consumer.can_spill(),
            bytes: 0,
        };
        self.ledger.lock().accounts.insert(consumer.id(), account);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.ledger.lock().accounts.remove(&consumer.id());
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.ledger.lock().add(reservation.consumer(), additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.ledger.lock().take(reservation.consumer(), shrink);
        self.given_back.notify_all();
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DataFusionResult<()> {
        self.try_grow_unless(reservation, additional, &|| false)
    }

    fn reserved(&self) -> usize {
        self.ledger.lock().total()
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
}
