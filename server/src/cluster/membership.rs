//! Which executors are alive, by what they report.
//!
//! Every executor holds one report stream open. When it breaks, or is silent for longer than its `lease`, the
//! executor is lost at once: its jobs are told, and Ballista is told to forget it. One that is silent for half of the
//! usual lease gets nothing new.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ballista_core::JobId;
use catalog::TableDefinition;
use engine::ExecutorId;
use engine::strain::Strain;
use engine::telemetry::{ExecutorReport, SILENCE_MAX};
use parking_lot::Mutex;
use tokio::sync::{Notify, RwLock, RwLockReadGuard, broadcast};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::lease;
use super::scheduler::Scheduler;
use crate::query::Plan;

/// Losses, and stops, that a slow listener may have outstanding.
const LOSSES_BUFFERED: usize = 256;

/// How often is looked for silent executors.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// From the welcome of an executor to its first heartbeat, at most.
const JOINING_MAX: Duration = Duration::from_secs(2);

/// A live executor.
#[derive(Debug, Clone)]
pub struct Member {
    /// What it told last.
    pub report: ExecutorReport,
    /// When.
    pub heard_at: Instant,
    /// Its largest resident size so far, in bytes.
    pub resident_bytes_max: u64,
    /// Since when it takes nothing new, if it was told to end.
    pub draining_since: Option<Instant>,
    // The report stream it is heard on: an older one's end says nothing.
    stream: u64,
}

impl Member {
    /// True when it can read every one of `tables`: those in object stores, and those under a path it
    /// shares.
    pub fn can_read(&self, tables: &[Arc<TableDefinition>]) -> bool {
        tables.iter().all(|table| match table.local_path() {
            None => true,
            Some(path) => {
                let path = path.to_string_lossy();
                self.report.shared_paths.iter().any(|prefix| path.starts_with(prefix.as_str()))
            }
        })
    }
}

/// The live executors.
#[derive(Debug)]
pub struct Membership {
    members: Mutex<HashMap<ExecutorId, Member>>,
    // Registered with Ballista as well: only then can it be given tasks.
    registered: Mutex<HashMap<ExecutorId, usize>>,
    // By job name: where the tasks of running jobs may go.
    placements: Mutex<HashMap<String, Claim>>,
    // Those that run, and those whose rows are still to be fetched.
    jobs: Mutex<HashSet<String>>,
    // The latest, and when.
    ended: Mutex<VecDeque<(JobId, Instant)>>,
    // Supervised executors that were lost, until one has come in their place; the first lost is the first.
    orphans: Mutex<Vec<ExecutorId>>,
    losses: broadcast::Sender<ExecutorId>,
    stops: broadcast::Sender<JobId>,
    drains: broadcast::Sender<ExecutorId>,
    changed: Notify,
    // What this process sees of its machine.
    strain: Strain,
    // Held by who submits a job until it is known here, too.
    submitting: RwLock<()>,
}

/// What the tasks of a job ask of an executor.
#[derive(Debug, Clone)]
struct Claim {
    local_tables: Vec<Arc<TableDefinition>>,
    is_small: bool,
    made_at: Instant,
    /// Executors that had no room for its files.
    avoided: BTreeSet<String>,
}

impl Claim {
    fn new(local_tables: Vec<Arc<TableDefinition>>, is_small: bool) -> Self {
        Self { local_tables, is_small, made_at: Instant::now(), avoided: BTreeSet::new() }
    }
}

/// A job's claim on where it may run; given up when dropped.
pub struct Placement {
    membership: Arc<Membership>,
    job_name: String,
}

impl Drop for Placement {
    fn drop(&mut self) {
        self.membership.placements.lock().remove(&self.job_name);
    }
}

impl Membership {
    /// Nobody yet. `strain` is of the threads that hear them.
    pub fn new(strain: Strain) -> Arc<Self> {
        let (losses, _) = broadcast::channel(LOSSES_BUFFERED);
        let (stops, _) = broadcast::channel(LOSSES_BUFFERED);
        let (drains, _) = broadcast::channel(LOSSES_BUFFERED);
        Arc::new(Self {
            members: Mutex::default(),
            registered: Mutex::default(),
            placements: Mutex::default(),
            jobs: Mutex::default(),
            ended: Mutex::default(),
            orphans: Mutex::default(),
            losses,
            stops,
            drains,
            changed: Notify::new(),
            strain,
            submitting: RwLock::default(),
        })
    }

    /// The live executors that can be given tasks, in the order of their identifiers.
    pub fn members(&self) -> Vec<Member> {
        let registered = self.registered.lock();
        let mut members: Vec<Member> = self
            .members
            .lock()
            .values()
            .filter(|member| registered.contains_key(&member.report.executor_id))
            .cloned()
            .collect();
        members.sort_by(|a, b| a.report.executor_id.cmp(&b.report.executor_id));
        members
    }

    /// The live executors that can read every one of `tables`, and take new tasks.
    pub fn readers(&self, tables: &[Arc<TableDefinition>]) -> Vec<Member> {
        let takes = |member: &Member| member.draining_since.is_none() && member.can_read(tables);
        trusted(self.members().into_iter().filter(takes).collect())
    }

    /// Keeps the tasks of the job called `job_name` on executors that can read the tables of its `plan`.
    pub fn place(self: &Arc<Self>, job_name: &str, plan: &Plan) -> Placement {
        let local_tables = plan.tables.iter().filter(|table| table.is_on_local_path()).cloned().collect();
        self.placements.lock().insert(job_name.to_owned(), Claim::new(local_tables, plan.is_small));
        Placement { membership: Arc::clone(self), job_name: job_name.to_owned() }
    }

    /// The executors that may run tasks of the job called `job_name`: also those that were told to end after it had
    /// begun, for they stay until it has ended.
    pub fn placed(&self, job_name: &str) -> BTreeSet<String> {
        let claim = self.placements.lock().get(job_name).cloned();
        let claim = claim.unwrap_or_else(|| Claim::new(Vec::new(), false));
        let takes = |member: &Member| {
            member.draining_since.is_none_or(|since| claim.made_at < since)
                && member.can_read(&claim.local_tables)
                && !claim.avoided.contains(member.report.executor_id.as_str())
        };
        let members = trusted(self.members().into_iter().filter(takes).collect());
        members.iter().map(|member| member.report.executor_id.to_string()).collect()
    }

    /// The job called `job_name` gets no further task on `executor`.
    pub fn avoid(&self, job_name: &str, executor: &str) {
        if let Some(claim) = self.placements.lock().get_mut(job_name) {
            claim.avoided.insert(executor.to_owned());
        }
    }

    /// True when the job called `job_name` reads so little that it may run beside others.
    pub fn is_small(&self, job_name: &str) -> bool {
        self.placements.lock().get(job_name).is_some_and(|claim| claim.is_small)
    }

    /// Held while a job is submitted, until what its tasks tell has a place: they may end before whoever submitted it goes
    /// on, since what hands them out comes first.
    pub async fn submitting(&self) -> RwLockReadGuard<'_, ()> {
        self.submitting.read().await
    }

    /// Resolves when every job that was submitted is known.
    pub async fn all_submitted(&self) {
        drop(self.submitting.write().await);
    }

    /// A job runs, or its rows are kept.
    pub fn begin(&self, job: &JobId) {
        self.jobs.lock().insert(job.as_str().to_owned());
    }

    /// Nobody asks for anything of a job any more.
    pub fn end(&self, job: &JobId) {
        self.jobs.lock().remove(job.as_str());
        let mut ended = self.ended.lock();
        ended.push_back((job.clone(), Instant::now()));
        while ended.front().is_some_and(|(_, at)| at.elapsed() > JOINING_MAX) {
            ended.pop_front();
        }
    }

    /// The jobs that ended so lately that an executor which has just joined may have been welcomed with them.
    pub fn ended_lately(&self) -> Vec<JobId> {
        let ended = self.ended.lock();
        ended.iter().filter(|(_, at)| at.elapsed() < JOINING_MAX).map(|(job, _)| job.clone()).collect()
    }

    /// The jobs that run, and those whose rows are kept.
    pub fn jobs(&self) -> Vec<String> {
        self.jobs.lock().iter().cloned().collect()
    }

    /// Who gives what executors wrote: each that is alive its own, and what it has inherited.
    pub fn serving(&self) -> HashMap<String, String> {
        let members = self.members();
        let inherited = members.iter().flat_map(|member| {
            let heir = member.report.executor_id.to_string();
            member.report.inherited.iter().map(move |id| (id.to_string(), heir.clone()))
        });
        let own = members.iter().map(|member| {
            let id = member.report.executor_id.to_string();
            (id.clone(), id)
        });
        inherited.chain(own).collect()
    }

    /// True while one of `lost` may still be replaced by an executor that has its files.
    pub fn awaits_heir(&self, lost: &BTreeSet<ExecutorId>) -> bool {
        let orphans = self.orphans.lock();
        lost.iter().any(|id| orphans.contains(id))
    }

    /// Tells of every executor lost from now on.
    pub fn losses(&self) -> broadcast::Receiver<ExecutorId> {
        self.losses.subscribe()
    }

    /// Tells executors that compute for `job` to stop.
    pub fn stop(&self, job: &JobId) {
        let _ = self.stops.send(job.clone());
    }

    /// Tells of every job that is to stop from now on.
    pub fn stops(&self) -> broadcast::Receiver<JobId> {
        self.stops.subscribe()
    }

    /// Tells an executor to finish what it has begun, and to end. False when none of that identifier is alive.
    pub fn drain(&self, executor: &ExecutorId) -> bool {
        self.is_registered(executor) && self.drains.send(executor.clone()).is_ok()
    }

    /// Tells of every executor that is to end from now on.
    pub fn drains(&self) -> broadcast::Receiver<ExecutorId> {
        self.drains.subscribe()
    }

    /// Resolves when an executor joined after this was called.
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// An executor began to report, on the stream of that number.
    pub fn joined(&self, stream: u64, report: ExecutorReport) {
        self.enter(stream, report);
        self.changed.notify_waiters();
    }

    /// An executor reported on the stream of that number. False when it is held for lost.
    pub fn heard(&self, stream: u64, report: ExecutorReport) -> bool {
        let is_member = self.members.lock().get(&report.executor_id).is_some_and(|m| m.stream == stream);
        if is_member {
            self.enter(stream, report);
        }
        is_member
    }

    fn enter(&self, stream: u64, report: ExecutorReport) {
        let mut members = self.members.lock();
        let before = members.get(&report.executor_id);
        let id = report.executor_id.clone();
        let resident_bytes_max = before.map_or(0, |m| m.resident_bytes_max).max(report.resident_bytes);
        let heard_at = Instant::now();
        let draining_since =
            before.and_then(|m| m.draining_since).or_else(|| report.is_draining.then_some(heard_at));
        members.insert(id, Member { report, heard_at, resident_bytes_max, draining_since, stream });
    }

    /// True when Ballista knows the executor.
    pub fn is_registered(&self, id: &ExecutorId) -> bool {
        self.registered.lock().contains_key(id)
    }

    /// Ballista accepted an executor with that many slots.
    pub fn registered(&self, id: ExecutorId, slots: usize) {
        info!(executor.id = %id, slots, "executor joined");
        let report = self.members.lock().get(&id).map(|member| member.report.clone());
        self.registered.lock().insert(id.clone(), slots);
        // After it is one of those that serve: who waits for an heir looks for it then.
        self.replaced(&id, report.as_ref());
        self.changed.notify_waiters();
    }

    /// An executor has come that may be in the place of one that was lost.
    fn replaced(&self, id: &ExecutorId, report: Option<&ExecutorReport>) {
        let mut orphans = self.orphans.lock();
        let before = orphans.len();
        let inherited = report.map_or(&[][..], |report| &report.inherited);
        orphans.retain(|orphan| orphan != id && !inherited.contains(orphan));
        // It has found nothing of the one before it: nobody else will.
        let comes_without = inherited.is_empty() && report.is_some_and(|report| report.is_supervised);
        if comes_without && orphans.len() == before && before > 0 {
            orphans.remove(0);
        }
    }

    /// Ballista let an executor go.
    pub fn unregistered(&self, id: &ExecutorId) {
        if self.registered.lock().remove(id).is_some() {
            self.lost(id, "the scheduler removed it");
        }
    }

    /// An executor that nobody needs any more has ended.
    pub fn left(&self, id: &ExecutorId) {
        self.registered.lock().remove(id);
        if self.members.lock().remove(id).is_some() {
            info!(executor.id = %id, "executor left");
        }
    }

    /// An executor is gone.
    pub fn lost(&self, id: &ExecutorId, why: &str) {
        let member = self.members.lock().remove(id);
        if let Some(member) = member {
            warn!(executor.id = %id, why, "executor lost");
            if member.report.is_supervised {
                self.orphans.lock().push(id.clone());
            }
            let _ = self.losses.send(id.clone());
        }
    }

    /// The report stream of that number ended.
    pub fn stream_ended(&self, stream: u64, id: &ExecutorId) {
        let is_current = self.members.lock().get(id).is_some_and(|member| member.stream == stream);
        if is_current {
            self.lost(id, "its connection ended");
        }
    }

    /// The executor that runs as process `process_id` on this machine is gone.
    pub fn lost_process(&self, process_id: u32) {
        let id = self
            .members
            .lock()
            .values()
            .find(|member| member.report.process_id == process_id)
            .map(|member| member.report.executor_id.clone());
        if let Some(id) = id {
            self.lost(&id, "its process ended");
        }
    }

    fn silent(&self) -> Vec<ExecutorId> {
        let members = self.members.lock();
        let is_silent = |member: &Member| member.heard_at.elapsed() > lease::of(member, &self.strain);
        members.iter().filter(|(_, member)| is_silent(member)).map(|(id, _)| id.clone()).collect()
    }

    /// So long it takes, at most, until an executor that has fallen silent is lost.
    pub fn lease_max(&self) -> Duration {
        let members = self.members.lock();
        members.values().map(|member| lease::of(member, &self.strain)).max().unwrap_or(SILENCE_MAX)
    }
}

/// `members` without those that may be lost, as long as there are others.
fn trusted(members: Vec<Member>) -> Vec<Member> {
    if members.iter().all(lease::is_suspect) {
        return members;
    }
    members.into_iter().filter(|member| !lease::is_suspect(member)).collect()
}

/// Declares silent executors lost, and tells Ballista of every loss.
pub fn watch(membership: Arc<Membership>, scheduler: Scheduler, shutdown: CancellationToken) {
    let mut losses = membership.losses();
    tokio::spawn(async move {
        // Reports are read on these threads: what keeps this timer waiting keeps them waiting, too.
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // What has been told is known before anybody is held for silent.
                biased;
                () = shutdown.cancelled() => return,
                due = tick.tick() => {
                    membership.strain.late(due.elapsed());
                    for id in membership.silent() {
                        membership.lost(&id, "it fell silent");
                    }
                }
                loss = losses.recv() => match loss {
                    Ok(id) => scheduler.forget(&id).await,
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            }
        }
    });
}
