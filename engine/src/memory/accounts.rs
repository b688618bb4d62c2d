//! Who holds how much of a pool, and who is granted more: the rules by which operators lend each other memory.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::ByteSize;

/// Share of the limit that operators which can spill leave to the others.
const UNSPILLABLE_SHARE: f64 = 0.2;
/// The same for sorts: to write or give what they hold they merge it, by keys that take about half as much again.
const MERGE_SHARE: f64 = 0.4;
const SORT: &str = "ExternalSorter";
/// What passes through exchanges within a process comes back when it was read, not when it is asked for.
const EXCHANGE_SHARE: f64 = 0.25;
const EXCHANGE: &str = "RepartitionExec";
/// How long an operator that cannot spill, or has nothing to, waits for those that can.
const WAIT_MAX: Duration = Duration::from_millis(800);
/// Meanwhile the resident size, of whose fall nobody tells, is looked at as often.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// A reservation up to this part of the limit, or this size, is no store of rows but the means to work, by which
/// spilling ends.
const WORKING_SHARE: f64 = 1.0 / 32.0;
const WORKING_BYTES_MAX: usize = 4 << 20;
/// Such reservations may take all together so much more than the limit.
const OVERDRAFT_SHARE: f64 = 0.15;
/// Operators named when memory runs out.
const NAMED: usize = 3;

/// What is granted by, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) limit: usize,
    /// Of that, what operators which can spill go by now.
    pub(super) allowed: usize,
    pub(super) working_bytes: usize,
}

/// Who holds how much.
#[derive(Default)]
pub(super) struct Ledger {
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

impl Bounds {
    /// Those of a limit that nothing is taken off.
    pub(super) fn of(limit: usize) -> Self {
        let working_bytes = ((limit as f64 * WORKING_SHARE) as usize).min(WORKING_BYTES_MAX);
        Self { limit, allowed: limit, working_bytes }
    }
}

impl Ledger {
    pub(super) fn open(&mut self, consumer: &MemoryConsumer) {
        let account = Account {
            operator: operator(consumer.name()).to_owned(),
            can_spill: consumer.can_spill(),
            bytes: 0,
        };
        self.accounts.insert(consumer.id(), account);
    }

    pub(super) fn close(&mut self, consumer: &MemoryConsumer) {
        self.accounts.remove(&consumer.id());
    }

    pub(super) fn add(&mut self, consumer: &MemoryConsumer, bytes: usize) {
        if let Some(account) = self.accounts.get_mut(&consumer.id()) {
            account.bytes += bytes;
        }
        *self.total_of(consumer) += bytes;
    }

    pub(super) fn take(&mut self, consumer: &MemoryConsumer, bytes: usize) {
        if let Some(account) = self.accounts.get_mut(&consumer.id()) {
            account.bytes = account.bytes.saturating_sub(bytes);
        }
        let total = self.total_of(consumer);
        *total = total.saturating_sub(bytes);
    }

    fn total_of(&mut self, consumer: &MemoryConsumer) -> &mut usize {
        if consumer.can_spill() { &mut self.spillable_bytes } else { &mut self.unspillable_bytes }
    }

    pub(super) fn total(&self) -> usize {
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
    pub(super) fn grants(
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

    pub(super) fn largest(&self) -> String {
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

/// An operator's wish for more.
pub(super) struct Request<'a> {
    pub(super) reservation: &'a MemoryReservation,
    /// Bytes.
    pub(super) additional: usize,
    /// What is granted by at the moment.
    pub(super) bounds: &'a dyn Fn() -> Bounds,
    /// True while nothing is granted, whatever the accounts say.
    pub(super) is_too_much: &'a dyn Fn() -> bool,
    /// True when the operator need not wait any longer.
    pub(super) is_over: &'a dyn Fn() -> bool,
}

/// A ledger that operators wait at for what others give back.
#[derive(Default)]
pub(super) struct Accounts {
    ledger: Mutex<Ledger>,
    given_back: Condvar,
}

impl Accounts {
    pub(super) fn open(&self, consumer: &MemoryConsumer) {
        self.ledger.lock().open(consumer);
    }

    pub(super) fn close(&self, consumer: &MemoryConsumer) {
        self.ledger.lock().close(consumer);
    }

    pub(super) fn add(&self, consumer: &MemoryConsumer, bytes: usize) {
        self.ledger.lock().add(consumer, bytes);
    }

    pub(super) fn take(&self, consumer: &MemoryConsumer, bytes: usize) {
        self.ledger.lock().take(consumer, bytes);
        self.given_back.notify_all();
    }

    pub(super) fn held_by(&self, consumer: &MemoryConsumer) -> usize {
        self.ledger.lock().held_by(consumer)
    }

    pub(super) fn total(&self) -> usize {
        self.ledger.lock().total()
    }

    /// What is taken in all, and by whom most.
    pub(super) fn told(&self) -> (ByteSize, String) {
        let ledger = self.ledger.lock();
        (ByteSize(ledger.total() as u64), ledger.largest())
    }

    /// Grants `request`, at once or, for an operator that cannot spill or has nothing to, once others have given back
    /// enough. False when it is refused.
    pub(super) fn grow(&self, request: &Request<'_>) -> bool {
        let Request { reservation, additional, .. } = *request;
        let consumer = reservation.consumer();
        let grant = |ledger: &mut Ledger| {
            let is_granted = ledger.grants(consumer, reservation.size(), additional, (request.bounds)());
            if is_granted {
                ledger.add(consumer, additional);
            }
            is_granted
        };
        let is_too_much = (request.is_too_much)();
        {
            let mut ledger = self.ledger.lock();
            if !is_too_much && grant(&mut ledger) {
                return true;
            }
            let may_come = is_too_much || ledger.spillable_bytes >= additional;
            // Who has nothing to spill is not helped by a refusal: a sort that has just spilled fails, because of
            // others that hold much.
            let can_help_itself = consumer.can_spill() && ledger.held_by(consumer) > 0;
            if can_help_itself || !may_come || !may_wait() {
                return false;
            }
            // Those that can spill are refused from now on, and give back what they have.
            ledger.wanted_bytes += additional;
        }
        let wait = || {
            let until = Instant::now() + WAIT_MAX;
            let mut is_granted = false;
            while !is_granted && !(request.is_over)() && Instant::now() < until {
                self.given_back.wait_for(&mut self.ledger.lock(), LOOK_AGAIN);
                is_granted = !(request.is_too_much)() && grant(&mut self.ledger.lock());
            }
            is_granted
        };
        let is_granted = tokio::task::block_in_place(wait);
        self.ledger.lock().wanted_bytes -= additional;
        is_granted
    }
}

/// True on a thread whose other work goes on elsewhere while it waits.
fn may_wait() -> bool {
    Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// A consumer's name without the partition it works on.
pub(super) fn operator(consumer: &str) -> &str {
    consumer.split(['[', ' ', '(']).next().unwrap_or(consumer)
}
