//! Which tasks of a job are kept when executors are lost: a rule over plain facts.
//!
//! A task is kept when what it wrote can still be read, or when nobody will read it: every stage that reads it has ended.
//! What is kept must fit what is run anew. A stage that is run anew in part may give other rows than before, or the same
//! to other readers, when it is not repeatable (a LIMIT, say); then no reader of it is kept, for a row could be seen
//! twice or never.

use std::collections::{BTreeMap, BTreeSet};

/// What the rule looks at of one stage.
#[derive(Debug, Clone)]
pub struct StageFacts {
    /// How many partitions its tasks compute together.
    pub partitions: usize,
    /// The stages that read it; none read the last.
    pub readers: Vec<usize>,
    /// Its tasks give the same rows to the same readers, however often they are run.
    pub is_repeatable: bool,
    /// It reads no other stage, so that nothing it reads is lost.
    pub is_leaf: bool,
    /// All that have been begun.
    pub tasks: Vec<TaskFacts>,
}

/// What the rule looks at of one task.
#[derive(Debug, Clone)]
pub struct TaskFacts {
    /// The partitions that it computes.
    pub partitions: Vec<usize>,
    /// How far it is.
    pub state: TaskState,
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// It runs on an executor that is alive.
    Running,
    /// It has ended well, and what it wrote can be read.
    Finished,
    /// It has ended well, on an executor that is gone with what it wrote.
    Gone,
    /// It failed, was lost while it ran, or does not count any more.
    Over,
}

/// For each stage, which of its tasks are kept. `None` when the facts contradict each other.
pub fn kept(stages: &BTreeMap<usize, StageFacts>) -> Option<BTreeMap<usize, Vec<bool>>> {
    let is_known = |stage: &StageFacts| stage.readers.iter().all(|reader| stages.contains_key(reader));
    if !stages.values().all(is_known) {
        return None;
    }
    // Stages none of whose tasks fit what will be run anew.
    let mut stale: BTreeSet<usize> = BTreeSet::new();
    loop {
        let incomplete = incomplete(stages, &stale)?;
        let upset = |id: &usize| {
            let stage = &stages[id];
            if stage.is_repeatable { Vec::new() } else { stage.readers.clone() }
        };
        let before = stale.len();
        stale.extend(incomplete.iter().flat_map(upset));
        if stale.len() == before {
            let keeps = |(id, stage): (&usize, &StageFacts)| {
                let is_wanted = is_wanted(stage, &incomplete);
                let keeps = |task: &TaskFacts| is_kept(stage, task, is_wanted, stale.contains(id));
                (*id, stage.tasks.iter().map(keeps).collect())
            };
            return Some(stages.iter().map(keeps).collect());
        }
    }
}

/// The stages that have partitions to run. Readers are looked at before what they read: that asks whether they have.
fn incomplete(stages: &BTreeMap<usize, StageFacts>, stale: &BTreeSet<usize>) -> Option<BTreeSet<usize>> {
    let mut incomplete = BTreeSet::new();
    let mut seen = BTreeSet::new();
    while seen.len() < stages.len() {
        let ready: Vec<usize> = stages
            .iter()
            .filter(|(id, stage)| {
                !seen.contains(*id) && stage.readers.iter().all(|reader| seen.contains(reader))
            })
            .map(|(id, _)| *id)
            .collect();
        // A circle of stages.
        if ready.is_empty() {
            return None;
        }
        for id in ready {
            let stage = &stages[&id];
            let is_wanted = is_wanted(stage, &incomplete);
            let mut covered = vec![false; stage.partitions];
            let kept = stage.tasks.iter().filter(|task| is_kept(stage, task, is_wanted, stale.contains(&id)));
            for partition in kept.flat_map(|task| &task.partitions) {
                // Twice the same rows, or rows of nothing.
                if std::mem::replace(covered.get_mut(*partition)?, true) {
                    return None;
                }
            }
            if covered.contains(&false) {
                incomplete.insert(id);
            }
            seen.insert(id);
        }
    }
    Some(incomplete)
}

/// True when somebody will read what the stage gives: the client, or a reader that has something to run.
fn is_wanted(stage: &StageFacts, incomplete: &BTreeSet<usize>) -> bool {
    stage.readers.is_empty() || stage.readers.iter().any(|reader| incomplete.contains(reader))
}

fn is_kept(stage: &StageFacts, task: &TaskFacts, is_wanted: bool, is_stale: bool) -> bool {
    match task.state {
        TaskState::Running => stage.is_leaf,
        TaskState::Finished => !is_stale,
        TaskState::Gone => !is_stale && !is_wanted,
        TaskState::Over => false,
    }
}

#[cfg(test)]
mod tests {
    use super::TaskState::{Finished, Gone, Over, Running};
    use super::*;

    /// A stage of one task per partition.
    fn stage(readers: &[usize], is_repeatable: bool, is_leaf: bool, states: &[TaskState]) -> StageFacts {
        let task = |(partition, state): (usize, &TaskState)| TaskFacts {
            partitions: vec![partition],
            state: *state,
        };
        StageFacts {
            partitions: states.len(),
            readers: readers.to_vec(),
            is_repeatable,
            is_leaf,
            tasks: states.iter().enumerate().map(task).collect(),
        }
    }

    fn kept_of(stages: &[StageFacts]) -> Option<Vec<Vec<bool>>> {
        let stages = stages.iter().cloned().enumerate().collect();
        kept(&stages).map(|kept| kept.into_values().collect())
    }

    #[test]
    fn what_can_be_read_is_kept_and_what_is_gone_is_run_anew() {
        let stages = [stage(&[1], true, true, &[Finished, Gone, Running]), stage(&[], true, false, &[])];
        let mut stages = stages.to_vec();
        stages[1].partitions = 2;
        assert_eq!(kept_of(&stages), Some(vec![vec![true, false, true], vec![]]));
    }

    #[test]
    fn what_nobody_reads_any_more_is_not_run_anew() {
        let stages = [
            stage(&[1], false, true, &[Gone, Finished]),
            stage(&[2], false, false, &[Finished, Finished]),
            stage(&[], false, false, &[Running, Over]),
        ];
        assert_eq!(kept_of(&stages), Some(vec![vec![true, true], vec![true, true], vec![false, false]]));
    }

    #[test]
    fn readers_of_what_may_come_out_differently_are_run_anew() {
        let lost = |is_repeatable| {
            vec![
                stage(&[1], is_repeatable, true, &[Gone, Finished]),
                stage(&[2], is_repeatable, false, &[Finished, Gone]),
                stage(&[], is_repeatable, false, &[Finished, Over]),
            ]
        };
        let all = Some(vec![vec![false, true], vec![true, false], vec![true, false]]);
        assert_eq!(kept_of(&lost(true)), all);
        let none = Some(vec![vec![false, true], vec![false, false], vec![false, false]]);
        assert_eq!(kept_of(&lost(false)), none);
    }

    #[test]
    fn tasks_that_read_others_are_begun_anew() {
        let stages =
            [stage(&[1], true, true, &[Finished, Finished]), stage(&[], true, false, &[Running, Finished])];
        assert_eq!(kept_of(&stages), Some(vec![vec![true, true], vec![false, true]]));
    }

    #[test]
    fn contradictions_are_refused() {
        let mut twice = stage(&[], true, true, &[Finished, Finished]);
        twice.tasks[1].partitions = vec![0];
        assert_eq!(kept_of(&[twice]), None);
        let mut beyond = stage(&[], true, true, &[Finished]);
        beyond.tasks[0].partitions = vec![1];
        assert_eq!(kept_of(&[beyond]), None);
        assert_eq!(kept_of(&[stage(&[0], true, true, &[Finished])]), None);
        assert_eq!(kept_of(&[stage(&[7], true, true, &[Finished])]), None);
    }
}
