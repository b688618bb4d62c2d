//! Lets a bounded number of queries run, of all roles and of each, and lets those compute that memory is there for; the
//! others wait in order, and beyond a bound are refused.
//!
//! A query asks twice: for a slot before it is planned, and for memory once it is known what it reads and where it runs.
//! Whoever fits passes those who do not, so that a small query does not wait for a large one, until the one that was
//! passed has waited long enough. A session that holds something for another query of its own, an open cursor, is let in:
//! it would wait for itself. A query of which nobody reads for a while gives its slot to others, and takes one again when
//! it is read on.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use engine::{Error, QueryId, Result};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// A role leaves this part of the slots to others.
const OTHERS_SHARE: usize = 8;
/// Queries over system tables that one role may run at once.
const WATCHING_MAX: usize = 8;
/// A query of which no row is read for so long lends its slot.
const LENT_AFTER: Duration = Duration::from_secs(1);
/// A query that waits for memory is not passed for it any more after this.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whose memory a query takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pool {
    /// This process's.
    Local,
    /// That of all executors together.
    Cluster,
}

/// What a query asks for.
#[derive(Debug, Clone)]
enum Ask {
    /// To run, as one of the queries of a role (its oid), of which only so many may.
    Slot { role: u32, role_max: usize },
    /// To look at the system, as one of a role's.
    Watch { role: u32 },
    /// So many bytes of a pool that has `capacity_bytes`.
    Memory { pool: Pool, bytes: u64, capacity_bytes: u64 },
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The query.
    pub query: QueryId,
    /// Its session's number.
    pub session: i32,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    asker: Asker,
    ask: Ask,
    since: Instant,
    granted: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    running_by_role: HashMap<u32, usize>,
    watching_by_role: HashMap<u32, usize>,
    /// What is held, by session and query.
    holders: HashMap<i32, HashMap<QueryId, usize>>,
    reserved_bytes: HashMap<Pool, u64>,
    queue: VecDeque<Waiter>,
    tickets: u64,
}

impl State {
    fn fits(&self, ask: &Ask, running_max: usize) -> bool {
        match ask {
            Ask::Slot { role, role_max } => {
                let of_role = self.running_by_role.get(role).copied().unwrap_or(0);
                self.running < running_max && of_role < *role_max
            }
            Ask::Watch { role } => self.watching_by_role.get(role).copied().unwrap_or(0) < WATCHING_MAX,
            Ask::Memory { pool, bytes, capacity_bytes } => {
                let reserved = self.reserved_bytes.get(pool).copied().unwrap_or(0);
                // Who is alone is let in: what a pool has can shrink.
                reserved == 0 || reserved + bytes <= *capacity_bytes
            }
        }
    }

    /// True when the session holds something for another query.
    fn waits_for_itself(&self, asker: &Asker) -> bool {
        let held = self.holders.get(&asker.session);
        held.is_some_and(|queries| queries.keys().any(|query| *query != asker.query))
    }

    /// True when the query holds something.
    fn holds(&self, asker: &Asker) -> bool {
        self.holders.get(&asker.session).is_some_and(|queries| queries.contains_key(&asker.query))
    }

    fn take(&mut self, asker: &Asker, ask: &Ask) {
        let held = self.holders.entry(asker.session).or_default();
        *held.entry(asker.query.clone()).or_default() += 1;
        match ask {
            Ask::Watch { role } => *self.watching_by_role.entry(*role).or_default() += 1,
            Ask::Slot { role, .. } => {
                self.running += 1;
                *self.running_by_role.entry(*role).or_default() += 1;
            }
            Ask::Memory { pool, bytes, .. } => *self.reserved_bytes.entry(*pool).or_default() += bytes,
        }
    }

    fn give_back(&mut self, asker: &Asker, ask: &Ask) {
        if let Some(queries) = self.holders.get_mut(&asker.session) {
            one_less(queries, &asker.query);
            if queries.is_empty() {
                self.holders.remove(&asker.session);
            }
        }
        match ask {
            Ask::Slot { role, .. } => {
                self.running -= 1;
                one_less(&mut self.running_by_role, role);
            }
            Ask::Watch { role } => one_less(&mut self.watching_by_role, role),
            Ask::Memory { pool, bytes, .. } => {
                if let Some(reserved) = self.reserved_bytes.get_mut(pool) {
                    *reserved -= bytes;
                }
            }
        }
    }

    /// True when somebody has waited for that memory too long to be passed.
    fn is_owed(&self, ask: &Ask) -> bool {
        let Ask::Memory { pool, .. } = ask else { return false };
        self.queue.iter().any(|waiter| {
            matches!(&waiter.ask, Ask::Memory { pool: other, .. } if other == pool)
                && waiter.since.elapsed() > PATIENCE
        })
    }

    /// Lets everybody in who fits now.
    fn dispatch(&mut self, running_max: usize) {
        let mut owed: Vec<Pool> = Vec::new();
        let mut at = 0;
        while at < self.queue.len() {
            let waiter = &self.queue[at];
            let is_owed = matches!(&waiter.ask, Ask::Memory { pool, .. } if owed.contains(pool));
            if !is_owed && self.fits(&waiter.ask, running_max) {
                let waiter = self.queue.remove(at).expect("it was looked at");
                self.take(&waiter.asker, &waiter.ask);
                // Whoever has left meanwhile gives it back by its ticket.
                let _ = waiter.granted.send(());
                continue;
            }
            if let Ask::Memory { pool, .. } = &waiter.ask
                && waiter.since.elapsed() > PATIENCE
            {
                owed.push(*pool);
            }
            at += 1;
        }
    }
}

fn one_less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The gate.
#[derive(Debug)]
pub struct Admission {
    state: Mutex<State>,
    running_max: usize,
    waiting_max: usize,
}

/// The right to run, or to compute; returned when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Permit {
    turn: Arc<Held>,
    _memory: Option<Arc<Held>>,
    watches: bool,
}

impl Permit {
    /// The slot, to be lent while nobody reads.
    pub fn turn(&self) -> Turn {
        Turn { held: Arc::downgrade(&self.turn), lending: None }
    }

    /// True for a query that only looks at the system.
    pub fn watches(&self) -> bool {
        self.watches
    }
}

#[derive(Debug)]
struct Held {
    admission: Arc<Admission>,
    asker: Asker,
    ask: Ask,
    /// Nobody reads what it is for.
    rests: AtomicBool,
    /// Given to others for now. Like the above changed under the lock of the state.
    is_lent: AtomicBool,
}

impl Held {
    fn new(admission: &Arc<Admission>, asker: Asker, ask: Ask) -> Self {
        let (rests, is_lent) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { admission: Arc::clone(admission), asker, ask, rests, is_lent }
    }

    fn lend(&self) {
        let mut state = self.admission.state.lock();
        if self.rests.load(Ordering::Relaxed) && !self.is_lent.swap(true, Ordering::Relaxed) {
            state.give_back(&self.asker, &self.ask);
            state.dispatch(self.admission.running_max);
        }
    }

    async fn take_back(&self) {
        {
            let mut state = self.admission.state.lock();
            self.rests.store(false, Ordering::Relaxed);
            if !self.is_lent.load(Ordering::Relaxed) {
                return;
            }
            // Whoever has the slots may wait for the memory that this query has.
            if state.holds(&self.asker) {
                state.take(&self.asker, &self.ask);
                self.is_lent.store(false, Ordering::Relaxed);
                return;
            }
        }
        match self.admission.wait(&self.asker, self.ask.clone()).await {
            // It is this one's from here on.
            Ok(another) => another.is_lent.store(true, Ordering::Relaxed),
            // What has begun is not refused because many wait.
            Err(_) => self.admission.state.lock().take(&self.asker, &self.ask),
        }
        self.is_lent.store(false, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if *self.is_lent.get_mut() {
            return;
        }
        let mut state = self.admission.state.lock();
        state.give_back(&self.asker, &self.ask);
        state.dispatch(self.admission.running_max);
    }
}

/// The slot of a query some of whose rows are out, for as long as the query has it.
#[derive(Debug)]
pub struct Turn {
    held: Weak<Held>,
    lending: Option<AbortHandle>,
}

impl Turn {
    /// Nobody reads for now: after a while, others have the slot.
    pub fn rest(&mut self) {
        let Some(held) = self.held.upgrade() else { return };
        held.rests.store(true, Ordering::Relaxed);
        let held = Arc::downgrade(&held);
        let lending = tokio::spawn(async move {
            tokio::time::sleep(LENT_AFTER).await;
            if let Some(held) = held.upgrade() {
                held.lend();
            }
        });
        self.lending = Some(lending.abort_handle());
    }

    /// Somebody reads on. Waits for a slot where others have it, as long as they need it.
    pub async fn go_on(&mut self) {
        if let Some(lending) = self.lending.take() {
            lending.abort();
        }
        if let Some(held) = self.held.upgrade() {
            held.take_back().await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(lending) = self.lending.take() {
            lending.abort();
        }
    }
}

/// A place in the queue; given up also when the waiting client leaves.
struct Ticket<'a> {
    admission: &'a Arc<Admission>,
    number: u64,
    asker: Asker,
    ask: Option<Ask>,
}

impl Ticket<'_> {
    fn claim(mut self) -> Held {
        let ask = self.ask.take().expect("it is claimed once");
        Held::new(self.admission, self.asker.clone(), ask)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let Some(ask) = &self.ask else { return };
        let mut state = self.admission.state.lock();
        let before = state.queue.len();
        state.queue.retain(|waiter| waiter.ticket != self.number);
        if state.queue.len() == before {
            // It was granted a moment ago.
            state.give_back(&self.asker, ask);
        }
        state.dispatch(self.admission.running_max);
    }
}

impl Admission {
    /// A gate for `running_max` queries, before which `waiting_max` may wait.
    pub fn new(running_max: usize, waiting_max: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), running_max, waiting_max })
    }

    /// Waits for a slot, as one of at most `role_max` queries of `role`. Fails with 53400 when too many wait already.
    pub async fn admit(
        self: &Arc<Self>,
        asker: &Asker,
        role: u32,
        role_max: Option<usize>,
    ) -> Result<Permit> {
        // Whatever one role asks for, another finds a slot.
        let role_max = role_max.unwrap_or(self.running_max - self.running_max / OTHERS_SHARE);
        let ask = Ask::Slot { role, role_max };
        let turn = self.wait(asker, ask).await?;
        Ok(Permit { turn: Arc::new(turn), _memory: None, watches: false })
    }

    /// Lets a query in that only looks at the system, whatever else runs: it is asked for most when everything waits. A
    /// role has a few at once.
    pub async fn watch(self: &Arc<Self>, asker: &Asker, role: u32) -> Result<Permit> {
        let turn = self.wait(asker, Ask::Watch { role }).await?;
        Ok(Permit { turn: Arc::new(turn), _memory: None, watches: true })
    }

    /// Waits for `bytes` of a pool that has `capacity_bytes`, or for half of it where they are more: who needs more
    /// than there is spills, and must not need all. They take the place of what `permit` has of another pool. Fails
    /// with 53400 when too many wait already.
    pub async fn reserve(
        self: &Arc<Self>,
        mut permit: Permit,
        asker: &Asker,
        pool: Pool,
        bytes: u64,
        capacity_bytes: u64,
    ) -> Result<Permit> {
        /// Less is not worth a place in a queue.
        const SMALL_SHARE: u64 = 64;
        permit._memory = None;
        if bytes > capacity_bytes / SMALL_SHARE {
            let ask = Ask::Memory { pool, bytes: bytes.min(capacity_bytes / 2), capacity_bytes };
            permit._memory = Some(Arc::new(self.wait(asker, ask).await?));
        }
        Ok(permit)
    }

    /// Bytes of a pool that queries have been given leave to take.
    pub fn reserved_bytes(&self, pool: Pool) -> u64 {
        self.state.lock().reserved_bytes.get(&pool).copied().unwrap_or(0)
    }

    /// True when the session holds something for another query: one whose rows it has not read to the end.
    pub fn holds_others(&self, asker: &Asker) -> bool {
        self.state.lock().waits_for_itself(asker)
    }

    /// The places of those that wait, from 1.
    pub fn positions(&self) -> HashMap<QueryId, usize> {
        let state = self.state.lock();
        state.queue.iter().enumerate().map(|(at, waiter)| (waiter.asker.query.clone(), at + 1)).collect()
    }

    async fn wait(self: &Arc<Self>, asker: &Asker, ask: Ask) -> Result<Held> {
        let (granted, grant) = oneshot::channel();
        let ticket = {
            let mut state = self.state.lock();
            let fits = state.fits(&ask, self.running_max) && !state.is_owed(&ask);
            if fits || state.waits_for_itself(asker) {
                state.take(asker, &ask);
                return Ok(Held::new(self, asker.clone(), ask));
            }
            if state.queue.len() >= self.waiting_max {
                return Err(Error::LimitReached {
                    message: format!("{} queries are already waiting to run", self.waiting_max),
                    hint: "Try again later, or raise server.queued_queries_max.".into(),
                });
            }
            state.tickets += 1;
            let number = state.tickets;
            let (asker, since) = (asker.clone(), Instant::now());
            state.queue.push_back(Waiter {
                ticket: number,
                asker: asker.clone(),
                ask: ask.clone(),
                since,
                granted,
            });
            Ticket { admission: self, number, asker, ask: Some(ask) }
        };
        grant.await.expect("whoever is in the queue is granted, or leaves it by its ticket");
        Ok(ticket.claim())
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use futures::FutureExt;

    use super::*;

    const ROLE: u32 = 10;

    fn ready<T>(future: impl Future<Output = Result<T>>) -> Option<Result<T>> {
        future.now_or_never()
    }

    /// A query of a session of its own.
    fn asker(session: i32) -> Asker {
        Asker { query: QueryId::generate(), session }
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_permits_return() {
        let admission = Admission::new(1, 0);
        let first = admission.admit(&asker(1), ROLE, None).await.expect("a free slot");
        let refused = admission.admit(&asker(2), ROLE, None).await.expect_err("nobody may wait");
        assert_eq!(refused.sqlstate().as_str(), "53400");
        drop(first);
        admission.admit(&asker(3), ROLE, None).await.expect("the slot is free again");
    }

    #[tokio::test]
    async fn roles_have_bounds_of_their_own_and_pass_each_other() {
        let admission = Admission::new(3, 10);
        let (a, b, c) = (asker(1), asker(2), asker(3));
        let held = admission.admit(&a, ROLE, Some(1)).await.expect("the first of its role");
        let mut second = Box::pin(admission.admit(&b, ROLE, Some(1)));
        assert!(ready(&mut second).is_none(), "its role may run one");
        let other = ready(admission.admit(&c, ROLE + 1, Some(1)));
        let other = other.expect("another role has its own").expect("in");
        assert_eq!(admission.positions(), HashMap::from([(b.query.clone(), 1)]));
        drop(held);
        let second = ready(&mut second).expect("its turn").expect("in");
        drop((second, other));
        let state = admission.state.lock();
        assert!(state.running == 0 && state.holders.is_empty() && state.running_by_role.is_empty());
    }

    #[tokio::test]
    async fn memory_is_waited_for_and_small_queries_pass() {
        let admission = Admission::new(9, 9);
        let slot = async |asker: &Asker| admission.admit(asker, ROLE, None).await.expect("a slot");
        let askers: Vec<Asker> = (0..6).map(asker).collect();
        let mut permits = Vec::new();
        for asker in &askers {
            permits.push(slot(asker).await);
        }
        let reserve =
            |at: usize, bytes| admission.reserve(permits[at].clone(), &askers[at], Pool::Local, bytes, 1000);
        let first = ready(reserve(0, 800)).expect("half is free").expect("in");
        let second = ready(reserve(1, 400)).expect("400 more fit").expect("in");
        let mut third = Box::pin(reserve(2, 500));
        assert!(ready(&mut third).is_none(), "900 of 1000 are taken");
        let small = ready(reserve(3, 100)).expect("it fits beside them").expect("in");
        ready(reserve(4, 10)).expect("too small to be counted").expect("in");
        let elsewhere = admission.reserve(permits[5].clone(), &askers[5], Pool::Cluster, 800, 1000);
        drop(ready(elsewhere).expect("another pool").expect("in"));
        drop((second, small));
        let third = ready(&mut third).expect("it is there now").expect("in");
        drop((first, third));
        assert!(admission.state.lock().reserved_bytes.values().all(|bytes| *bytes == 0));
    }

    #[tokio::test]
    async fn who_leaves_the_queue_gives_up_what_was_granted() {
        let admission = Admission::new(1, 9);
        let held = admission.admit(&asker(1), ROLE, None).await.expect("a free slot");
        let (a, b) = (asker(2), asker(3));
        let mut left = Box::pin(admission.admit(&a, ROLE, None));
        assert!(ready(&mut left).is_none());
        let mut next = Box::pin(admission.admit(&b, ROLE, None));
        assert!(ready(&mut next).is_none());
        drop(held);
        // Granted to the one that leaves before it hears of it.
        drop(left);
        ready(&mut next).expect("the slot was passed on").expect("in");
    }

    #[tokio::test]
    async fn a_slot_is_lent_and_taken_back() {
        let admission = Admission::new(1, 1);
        let permit = admission.admit(&asker(1), ROLE, None).await.expect("a free slot");
        permit.turn.lend();
        assert_eq!(admission.state.lock().running, 1, "it is read");
        permit.turn.rests.store(true, Ordering::Relaxed);
        permit.turn.lend();
        permit.turn.lend();
        let other = ready(admission.admit(&asker(2), ROLE, None)).expect("it is lent").expect("in");
        let mut back = Box::pin(permit.turn.take_back());
        assert!((&mut back).now_or_never().is_none(), "the other has it");
        drop(other);
        (&mut back).now_or_never().expect("it is free again");
        drop(back);
        assert_eq!(admission.state.lock().running, 1);
        permit.turn.rests.store(true, Ordering::Relaxed);
        permit.turn.lend();
        drop(permit);
        let state = admission.state.lock();
        assert_eq!((state.running, state.holders.len()), (0, 0));
    }

    #[tokio::test]
    async fn a_cursor_with_memory_does_not_wait_for_who_waits_for_its_memory() {
        let admission = Admission::new(1, 9);
        let (cursor, other) = (asker(1), asker(2));
        let permit = admission.admit(&cursor, ROLE, None).await.expect("a free slot");
        let permit = admission.reserve(permit, &cursor, Pool::Local, 500, 1000).await.expect("free memory");
        permit.turn.rests.store(true, Ordering::Relaxed);
        permit.turn.lend();
        let slot = ready(admission.admit(&other, ROLE, None)).expect("it is lent").expect("in");
        let mut waits = Box::pin(admission.reserve(slot, &other, Pool::Local, 400, 800));
        assert!(ready(&mut waits).is_none(), "900 of 800");
        permit.turn.take_back().now_or_never().expect("the cursor goes on");
        drop(permit);
        drop(ready(&mut waits).expect("the cursor is closed").expect("in"));
        assert_eq!(admission.state.lock().running, 0);
    }

    #[tokio::test]
    async fn a_session_does_not_wait_for_itself() {
        let admission = Admission::new(1, 9);
        let (cursor, next, other) = (asker(1), asker(1), asker(2));
        let cursor = admission.admit(&cursor, ROLE, Some(1)).await.expect("a free slot");
        let next = ready(admission.admit(&next, ROLE, Some(1))).expect("its session holds one").expect("in");
        let mut other = Box::pin(admission.admit(&other, ROLE, Some(1)));
        assert!(ready(&mut other).is_none());
        drop(next);
        assert!(ready(&mut other).is_none(), "the cursor is open");
        drop(cursor);
        ready(&mut other).expect("its turn").expect("in");
    }

    #[tokio::test]
    async fn who_watches_waits_for_its_own_role_alone() {
        let admission = Admission::new(1, 9);
        let _held = admission.admit(&asker(1), ROLE, None).await.expect("a free slot");
        let mut watching = Vec::new();
        for session in 2..2 + WATCHING_MAX as i32 {
            watching.push(ready(admission.watch(&asker(session), ROLE)).expect("at once").expect("in"));
        }
        let more = asker(99);
        let mut more = Box::pin(admission.watch(&more, ROLE));
        assert!(ready(&mut more).is_none());
        ready(admission.watch(&asker(100), ROLE + 1)).expect("another role's").expect("in");
        watching.pop();
        ready(&mut more).expect("its turn").expect("in");
    }
}
