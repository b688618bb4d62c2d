//! What has happened to a running job since it was last as it should be, and what its client is told of it.

use std::collections::BTreeSet;
use std::time::Duration;

use engine::{Error, ExecutorId};
use tokio::time::Instant;

use super::recovery::{Repair, Trouble};
use super::{Cluster, failure};
use crate::session::Notice;

/// A failure that nobody can explain waits for the loss of an executor to explain it, for so long after that would be
/// noticed.
const LOSS_IS_TOLD_IN: Duration = Duration::from_millis(500);
/// So long a supervised executor that ended is waited for, at most: the one in its place has its files.
const HEIR_MAX: Duration = Duration::from_secs(3);
/// One loss makes several tasks fail, one after the other.
const SETTLES_IN: Duration = Duration::from_millis(200);
/// Tasks that were to read files of a lost executor fail for so long after it was mended, at most: some seconds go by until
/// a connection is given up (engine/src/cluster_identity.rs).
const ECHOES_FOR: Duration = Duration::from_secs(10);

/// So long a failure that nobody can explain waits.
pub fn loss_may_follow(cluster: &Cluster) -> Duration {
    cluster.membership.lease_max() + LOSS_IS_TOLD_IN
}

/// Executors that were lost and tasks that failed.
#[derive(Debug, Default)]
pub struct Damage {
    since: Option<Instant>,
    lost: BTreeSet<ExecutorId>,
    /// More were lost than could be told of.
    lost_others: bool,
    troubles: Vec<Error>,
}

impl Damage {
    /// An executor was lost; `None` when there were too many to tell.
    pub fn lost(&mut self, executor: Option<ExecutorId>) {
        self.since.get_or_insert_with(Instant::now);
        match executor {
            Some(executor) => {
                self.lost.insert(executor);
            }
            None => self.lost_others = true,
        }
    }

    /// A task failed for a reason that may pass.
    pub fn troubled(&mut self, trouble: Trouble) {
        self.since.get_or_insert_with(Instant::now);
        self.troubles.push(trouble.error);
    }

    /// True when anything happened.
    pub fn is_there(&self) -> bool {
        self.since.is_some()
    }

    /// How long ago the first of it happened.
    pub fn age(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Resolves when nothing is to be waited for any more. The one in the place of an executor that was lost is waited for
    /// no longer than `worth`: so long was computed what would be kept with its files and is not without them.
    pub async fn settled(&self, cluster: &Cluster, worth: Duration) {
        let since = self.since.unwrap_or_else(Instant::now);
        tokio::time::sleep_until(since + SETTLES_IN).await;
        let deadline = since + if self.has_loss() { HEIR_MAX.min(worth) } else { loss_may_follow(cluster) };
        let heirs = async {
            loop {
                let changed = cluster.membership.changed();
                tokio::pin!(changed);
                // Enabled before looking, so that a change in between is not missed.
                changed.as_mut().enable();
                let is_waiting = if self.has_loss() {
                    cluster.membership.awaits_heir(&self.lost)
                } else {
                    self.troubles.iter().any(may_be_owed_to_loss)
                };
                if !is_waiting {
                    return;
                }
                changed.await;
            }
        };
        let _ = tokio::time::timeout_at(deadline, heirs).await;
    }

    /// True when an executor was lost.
    pub fn has_loss(&self) -> bool {
        !self.lost.is_empty() || self.lost_others
    }

    /// What went wrong, when no loss explains it and it will not pass.
    pub fn unexplained(&self) -> Option<Error> {
        let lasts = |error: &&Error| {
            !self.has_loss()
                && !error.is_passing()
                && !error.is_out_of_memory()
                && !failure::has_no_room(error)
        };
        self.troubles.iter().find(lasts).cloned()
    }

    /// That memory ran out, if it did.
    pub fn out_of_memory(&self) -> Option<Error> {
        self.troubles.iter().find(|error| error.is_out_of_memory()).cloned()
    }

    /// That an executor had no room for files, if one did.
    pub fn has_no_room(&self) -> Option<Error> {
        self.troubles.iter().find(|error| failure::has_no_room(error)).cloned()
    }

    /// In one error.
    pub fn error(&self) -> Error {
        let which: Vec<String> = self.lost.iter().map(ToString::to_string).collect();
        let message = match which.as_slice() {
            _ if self.lost_others => "several executors were lost".to_owned(),
            [] => match self.troubles.first() {
                Some(trouble) => return trouble.clone(),
                None => "an executor was lost".to_owned(),
            },
            [one] => format!("executor {one} was lost"),
            several => format!("executors {} were lost", several.join(", ")),
        };
        Error::ExecutorLost { message }
    }
}

/// One that another executor could not be asked is lost soon, too.
fn may_be_owed_to_loss(error: &Error) -> bool {
    let is_fetch = error.is_passing() && error.to_string().contains(engine::INTERMEDIATE_RESULTS);
    is_fetch || matches!(error, Error::ExecutorLost { .. }) || failure::may_be_owed_to_loss(error)
}

/// About how much longer a job takes that waited so long for a repair, and computes on so many slots what was lost.
pub fn cost(repair: &Repair, waited: Duration, slots: usize) -> Duration {
    waited + repair.lost / u32::try_from(slots).unwrap_or(1).max(1)
}

/// What losses have cost a query.
#[derive(Debug, Default)]
pub struct Recovery {
    causes: Vec<String>,
    runs: usize,
    kept: usize,
    anew: usize,
    time: Duration,
    repairs_in_vain: usize,
    /// When an executor was last lost that the job went on without.
    lost_at: Option<Instant>,
}

impl Recovery {
    /// True for failures that a loss had which was mended a moment ago: tasks that were on their way to its files.
    pub fn has_mended(&self, damage: &Damage) -> bool {
        let is_recent = self.lost_at.is_some_and(|at| at.elapsed() < ECHOES_FOR);
        is_recent && !damage.has_loss() && damage.troubles.iter().all(may_be_owed_to_loss)
    }

    /// A run came to nothing, in which `tasks` had been begun.
    pub fn run_again(&mut self, error: &Error, tasks: usize, time: Duration) {
        self.note(error);
        self.runs += 1;
        // Of a run that came to nothing, nothing is kept.
        (self.kept, self.repairs_in_vain, self.lost_at) = (0, 0, None);
        self.anew += tasks;
        self.time += time;
    }

    /// A job went on after `damage`, which cost it so much. With it, how often it has since more was finished.
    pub fn kept(&mut self, damage: &Damage, repair: &Repair, cost: Duration) -> usize {
        // Of memory that ran out nothing is told: it is planned for.
        let is_mended = self.has_mended(damage);
        if damage.has_loss() || damage.out_of_memory().is_none() && !is_mended {
            self.note(&damage.error());
        }
        if !is_mended {
            self.lost_at = damage.has_loss().then(Instant::now);
        }
        self.anew += repair.anew;
        self.time += cost;
        self.repairs_in_vain = if repair.kept > self.kept { 1 } else { self.repairs_in_vain + 1 };
        self.kept = self.kept.max(repair.kept);
        self.repairs_in_vain
    }

    fn note(&mut self, error: &Error) {
        self.causes.push(error.to_string());
    }

    /// What the client is told.
    pub fn notice(&self) -> Option<Notice> {
        if self.causes.is_empty() {
            return None;
        }
        let causes = self.causes.join("; ");
        let (kept, anew, seconds) = (self.kept, self.anew, self.time.as_secs_f64());
        let message = if self.runs > 0 {
            format!("{causes}: the query was run again, {anew} tasks anew, which added {seconds:.1} s")
        } else {
            format!(
                "{causes}: {kept} finished tasks were kept, {anew} run anew, which added about {seconds:.1} s"
            )
        };
        Some(Notice::info("00000", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn troubled(error: Error) -> Damage {
        let mut damage = Damage::default();
        damage.troubled(Trouble { error, full: None });
        damage
    }

    #[tokio::test]
    async fn what_follows_a_loss_is_no_second_one() {
        let fetch =
            || troubled(Error::Io { message: format!("{} could not be read", engine::INTERMEDIATE_RESULTS) });
        let lost = |name: &str| {
            let mut damage = fetch();
            damage.lost(Some(ExecutorId::from(name.to_owned())));
            damage
        };
        let (mut recovery, repair) = (Recovery::default(), Repair { kept: 3, anew: 2, ..Repair::default() });
        assert!(!recovery.has_mended(&fetch()), "nothing was lost before");
        recovery.kept(&lost("a"), &repair, Duration::ZERO);
        assert!(recovery.has_mended(&fetch()));
        assert!(!recovery.has_mended(&lost("b")), "another loss");
        assert!(!recovery.has_mended(&troubled(Error::OutOfMemory { message: String::new() })));
        recovery.kept(&fetch(), &repair, Duration::ZERO);
        let told = recovery.notice().expect("a notice").message;
        assert_eq!(told.matches("was lost").count(), 1, "{told}");
        assert!(told.contains("4 run anew"), "{told}");
        recovery.run_again(&Error::ExecutorLost { message: String::new() }, 5, Duration::ZERO);
        assert!(!recovery.has_mended(&fetch()), "the files are others");
    }
}
