//! Keeps what is finished of a job when executors are lost.
//!
//! Ballista's own recovery is never asked. Its graph of the job is made anew from the plan, with the name of the job, so
//! that files are found where they are; and as its stages come to run, they are told again how those tasks ended whose
//! files are still there ([`keeping`]). To Ballista it is a job like any other, some of whose tasks end at once.
//!
//! Tasks keep their numbers, by which their files are called, and new ones are numbered behind them: nothing that an
//! earlier task still writes is ever taken for a later one's. What is told of tasks that do not count any more is not
//! passed on.

mod keeping;
mod repeatable;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ballista_core::JobId;
use ballista_core::serde::protobuf::failed_task::FailedReason;
use ballista_core::serde::protobuf::job_status::Status as JobState;
use ballista_core::serde::protobuf::task_status::Status;
use ballista_core::serde::protobuf::{FailedTask, ResultLost, RunningTask, SuccessfulTask, TaskStatus};
use ballista_scheduler::planner::DefaultDistributedPlanner;
use ballista_scheduler::state::execution_graph::{
    ExecutionGraph, ExecutionGraphBox, RunningTaskInfo, StaticExecutionGraph,
};
use ballista_scheduler::state::execution_stage::{ExecutionStage, PendingPartitions, RunningStage, TaskInfo};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use engine::{Error, Result, session_state};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::failure;
use keeping::{StageFacts, TaskFacts, TaskState};

/// A task failed for a reason that may pass, because memory ran out in the company of others, or because its executor has
/// no room for its files.
#[derive(Debug)]
pub struct Trouble {
    /// Why.
    pub error: Error,
    /// The executor that is to get no more of the job, where others may.
    pub full: Option<String>,
}

/// A job is kept away from so many executors that have no room for its files: it may be too large for any.
const FULL_MAX: usize = 2;

/// Ends of tasks that are to be told to Ballista, by executor.
pub type Told = HashMap<String, Vec<TaskStatus>>;

/// What came of an attempt to keep what is finished.
#[derive(Debug)]
pub enum Outcome {
    /// The job goes on.
    GoesOn(Repair),
    /// No executor that was lost had anything of it.
    Unconcerned,
    /// It has ended meanwhile, or does not run yet.
    Ended,
    /// Too little is finished, or something is not as it should be: the job is to be run again as a whole.
    Whole,
}

/// How a job goes on.
#[derive(Debug, Default)]
pub struct Repair {
    /// What Ballista is to be told.
    pub told: Told,
    /// Tasks that run and whose rows nobody wants any more.
    pub needless: Vec<RunningTaskInfo>,
    /// All that do not count any more: stage and number.
    pub given_up: Vec<(usize, usize)>,
    /// Finished tasks that are kept.
    pub kept: usize,
    /// Tasks that had been begun and are run anew.
    pub anew: usize,
    /// How long those that are run anew had computed, together.
    pub lost: Duration,
}

/// How long the finished tasks of a job have computed that can be kept.
#[derive(Debug, Default, Clone, Copy)]
pub struct Finished {
    /// With the files of all executors that were lost.
    pub all: Duration,
    /// What of it is kept only with them.
    pub out_of_reach: Duration,
}

/// The jobs that run, and what is kept of those that executors were lost of.
#[derive(Debug, Default)]
pub struct Ledger {
    jobs: Mutex<HashMap<JobId, Job>>,
}

#[derive(Debug)]
struct Job {
    /// Stages that have tasks and do not run yet in the present graph.
    waiting: BTreeMap<usize, Kept>,
    /// Tasks that do not count any more: stage and number.
    void: HashSet<(usize, usize)>,
    /// Stages whose tasks run alone in their executors, from the one of that number on: those before were begun in
    /// company.
    alone: HashMap<usize, usize>,
    /// Executors that had no room for its files.
    full: BTreeSet<String>,
    /// Tasks that do not count any more and that executors which were lost may still compute.
    strays: Vec<RunningTaskInfo>,
    troubles: mpsc::UnboundedSender<Trouble>,
}

/// What is known of the tasks of a stage.
#[derive(Clone)]
struct Kept {
    /// As text: the tasks of another plan compute something else.
    plan: String,
    partitions: usize,
    tasks: Vec<TaskInfo>,
    metrics: Option<Vec<MetricsSet>>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

impl Ledger {
    /// A job runs. Its tasks' troubles arrive on the channel.
    pub fn begin(&self, job: &JobId) -> mpsc::UnboundedReceiver<Trouble> {
        let (troubles, receiver) = mpsc::unbounded_channel();
        let begun = Job {
            waiting: BTreeMap::new(),
            void: HashSet::new(),
            alone: HashMap::new(),
            full: BTreeSet::new(),
            strays: Vec::new(),
            troubles,
        };
        self.jobs.lock().insert(job.clone(), begun);
        receiver
    }

    /// Nothing is kept of a job any more.
    pub fn end(&self, job: &JobId) {
        self.jobs.lock().remove(job);
    }

    /// Tasks that an executor which is back may still compute in vain.
    pub fn strays_of(&self, executor: &str) -> Vec<RunningTaskInfo> {
        let jobs = self.jobs.lock();
        jobs.values()
            .flat_map(|job| &job.strays)
            .filter(|task| task.executor_id == executor)
            .cloned()
            .collect()
    }

    /// False for a task that does not count any more.
    pub fn counts(&self, status: &TaskStatus) -> bool {
        let task = (status.stage_id as usize, status.task_id as usize);
        let jobs = self.jobs.lock();
        jobs.get(&JobId::new(status.job_id.as_str())).is_none_or(|job| !job.void.contains(&task))
    }

    /// True when Ballista may hear how a task ended. It must not where the task does not count any more, nor where it
    /// failed for a reason that may pass: the job's troubles are told of it instead. So they are when memory runs out
    /// for a task in company, whose stage's tasks are to run alone then, and when the files of one have no room on
    /// `executor`, a few times.
    pub fn passes(&self, status: &TaskStatus, executor: &str) -> bool {
        let mut jobs = self.jobs.lock();
        let Some(job) = jobs.get_mut(&JobId::new(status.job_id.as_str())) else { return true };
        let task = (status.stage_id as usize, status.task_id as usize);
        if job.void.contains(&task) {
            return false;
        }
        let Some(Status::Failed(failed)) = &status.status else { return true };
        let error = failure::error_of(&failed.error);
        let is_full =
            failure::has_no_room(&error) && (job.full.len() < FULL_MAX || job.full.contains(executor));
        if is_full {
            job.full.insert(executor.to_owned());
        }
        let may_pass = is_full
            || error.is_passing()
            || failure::may_be_owed_to_loss(&error)
            || error.is_out_of_memory() && *job.alone.entry(task.0).or_insert(usize::MAX) > task.1;
        if may_pass {
            job.void.insert(task);
            // Nobody listens any more when the job is over.
            let full = is_full.then(|| executor.to_owned());
            let _ = job.troubles.send(Trouble { error, full });
        }
        !may_pass
    }

    /// Makes the graph of a job anew, of which what is finished is kept where `serving` says who gives it: by the
    /// executor that computed it, the one that is alive and has its files. Nothing is changed where less than
    /// `worth` of computing would be kept, or nothing needs to be.
    pub fn repair(
        &self,
        graph: &mut ExecutionGraphBox,
        scheduler_id: &str,
        serving: &HashMap<String, String>,
        worth: Duration,
    ) -> Result<Outcome> {
        let mut jobs = self.jobs.lock();
        let Some(job) = jobs.get_mut(graph.job_id()) else { return Ok(Outcome::Whole) };
        if !matches!(graph.status().status, Some(JobState::Running(_))) {
            return Ok(Outcome::Ended);
        }
        let Some(mut stages) = stages_of(graph, job) else { return Ok(Outcome::Ended) };
        let facts = facts_of(graph, job, &stages, serving);
        let Some(keeps) = keeping::kept(&facts) else { return Ok(Outcome::Whole) };
        let mut repair = Repair::default();
        let mut worth_kept = Duration::ZERO;
        let mut is_concerned = false;
        let mut strays = Vec::new();
        for (id, stage) in &mut stages {
            for (number, task) in stage.tasks.iter_mut().enumerate() {
                let state = facts[id].tasks[number].state;
                if keeps[id][number] {
                    if let Status::Successful(success) = &mut task.task_status {
                        repair.kept += 1;
                        worth_kept += computed_for(task.start_exec_time, task.end_exec_time);
                        if let Some(server) = serving.get(&success.executor_id)
                            && *server != success.executor_id
                        {
                            is_concerned = true;
                            success.executor_id.clone_from(server);
                        }
                    }
                    continue;
                }
                let was_begun = !matches!(task.task_status, Status::Failed(_));
                is_concerned |= was_begun && matches!(state, TaskState::Gone | TaskState::Over);
                if was_begun {
                    repair.anew += 1;
                    let until = if task.end_exec_time > 0 { task.end_exec_time } else { now_ms() };
                    repair.lost += computed_for(task.scheduled_time, until);
                }
                if let Status::Running(running) = &task.task_status {
                    let running = RunningTaskInfo {
                        task_id: number,
                        job_id: graph.job_id().clone(),
                        stage_id: *id,
                        executor_id: running.executor_id.clone(),
                    };
                    if state == TaskState::Running {
                        repair.needless.push(running);
                    } else {
                        strays.push(running);
                    }
                }
            }
        }
        if !is_concerned {
            return Ok(Outcome::Unconcerned);
        }
        if repair.kept == 0 || worth_kept < worth {
            return Ok(Outcome::Whole);
        }
        let Some(mut anew) = made_anew(graph, scheduler_id)? else { return Ok(Outcome::Whole) };
        for (id, stage) in &mut stages {
            for (number, task) in stage.tasks.iter_mut().enumerate() {
                if !keeps[id][number] {
                    repair.given_up.push((*id, number));
                    job.void.insert((*id, number));
                    give_up(task);
                }
            }
        }
        job.waiting = stages;
        job.strays.extend(strays);
        anew.revive();
        repair.told = job.resume(&mut anew, serving);
        *graph = anew;
        Ok(Outcome::GoesOn(repair))
    }

    /// What is finished of a job, where `serving` says who gives what executors wrote.
    pub fn finished(&self, graph: &ExecutionGraphBox, serving: &HashMap<String, String>) -> Finished {
        let jobs = self.jobs.lock();
        let Some(job) = jobs.get(graph.job_id()) else { return Finished::default() };
        let Some(stages) = stages_of(graph, job) else { return Finished::default() };
        let mut with_all = serving.clone();
        for task in stages.values().flat_map(|stage| &stage.tasks) {
            if let Status::Successful(success) = &task.task_status {
                let id = &success.executor_id;
                with_all.entry(id.clone()).or_insert_with(|| id.clone());
            }
        }
        let kept_where = |serving: &HashMap<String, String>| {
            let Some(keeps) = keeping::kept(&facts_of(graph, job, &stages, serving)) else {
                return Duration::ZERO;
            };
            let tasks = stages.iter().flat_map(|(id, stage)| stage.tasks.iter().zip(&keeps[id]));
            tasks
                .filter(|(task, is_kept)| **is_kept && matches!(task.task_status, Status::Successful(_)))
                .map(|(task, _)| computed_for(task.start_exec_time, task.end_exec_time))
                .sum()
        };
        let all: Duration = kept_where(&with_all);
        Finished { all, out_of_reach: all.saturating_sub(kept_where(serving)) }
    }

    /// True when something is kept of stages that do not run yet.
    pub fn waits(&self, job: &JobId) -> bool {
        self.jobs.lock().get(job).is_some_and(|job| !job.waiting.is_empty())
    }

    /// Tells what is kept of the stages that run since the last time, before their tasks are handed out.
    pub fn resume(&self, graph: &mut ExecutionGraphBox, serving: &HashMap<String, String>) -> Told {
        let mut jobs = self.jobs.lock();
        jobs.get_mut(graph.job_id()).map(|job| job.resume(graph, serving)).unwrap_or_default()
    }
}

impl Job {
    fn resume(&mut self, graph: &mut ExecutionGraphBox, serving: &HashMap<String, String>) -> Told {
        let mut told = Told::new();
        let (mut seen, mut changed) = (Vec::new(), Vec::new());
        let job_id = graph.job_id().clone();
        while let Some(stage) = graph.fetch_running_stage(&seen) {
            seen.push(stage.stage_id);
            let Some(kept) = self.waiting.remove(&stage.stage_id) else { continue };
            if !self.take_up(stage, kept, &job_id, serving, &mut told) {
                changed.push(stage.stage_id);
            }
        }
        // What read a stage that computes something else now does not fit it.
        while let Some(id) = changed.pop() {
            let readers =
                graph.stages().get(&id).map(|stage| stage.output_links().to_vec()).unwrap_or_default();
            for reader in readers {
                if let Some(kept) = self.waiting.get_mut(&reader) {
                    self.void.extend((0..kept.tasks.len()).map(|number| (reader, number)));
                    kept.tasks.iter_mut().for_each(give_up);
                }
                changed.push(reader);
            }
        }
        told
    }

    /// Gives `stage`, which begins, its earlier tasks. False when they computed something else.
    fn take_up(
        &mut self,
        stage: &mut RunningStage,
        mut kept: Kept,
        job_id: &JobId,
        serving: &HashMap<String, String>,
        told: &mut Told,
    ) -> bool {
        let is_same = text_of(stage.plan.as_ref()) == kept.plan && stage.partitions == kept.partitions;
        if !is_same {
            tracing::warn!(job.id = %job_id, stage = stage.stage_id, "a stage is planned differently: it is run anew");
            self.void.extend((0..kept.tasks.len()).map(|number| (stage.stage_id, number)));
            kept.tasks.iter_mut().for_each(give_up);
        }
        let mut covered = BTreeSet::new();
        for (number, task) in kept.tasks.iter_mut().enumerate() {
            match &task.task_status {
                Status::Failed(_) => continue,
                Status::Successful(success) => {
                    // Whoever is heard of; what nobody will read may have been computed by one that is gone.
                    let Some(teller) = serving.get(&success.executor_id).or_else(|| serving.values().next())
                    else {
                        self.void.insert((stage.stage_id, number));
                        give_up(task);
                        continue;
                    };
                    told.entry(teller.clone())
                        .or_default()
                        .push(told_again(task, success, job_id, stage, number));
                    let running = RunningTask { executor_id: teller.clone() };
                    covered.extend(task.global_input_partition_ids.iter().copied());
                    task.task_status = Status::Running(running);
                }
                Status::Running(_) => covered.extend(task.global_input_partition_ids.iter().copied()),
            }
        }
        stage.pending = PendingPartitions::empty(stage.partitions);
        stage.pending.reschedule((0..stage.partitions).filter(|partition| !covered.contains(partition)));
        stage.task_infos = kept.tasks;
        if is_same {
            stage.stage_metrics = kept.metrics;
        }
        if let Some(first) = self.alone.get_mut(&stage.stage_id) {
            *first = stage.task_infos.len().min(*first);
            stage.session_config = Arc::new(session_state::alone(&stage.session_config));
        }
        is_same
    }
}

fn told_again(
    task: &TaskInfo,
    success: &SuccessfulTask,
    job_id: &JobId,
    stage: &RunningStage,
    number: usize,
) -> TaskStatus {
    TaskStatus {
        task_id: number as u32,
        job_id: job_id.as_str().to_owned(),
        stage_id: stage.stage_id as u32,
        stage_attempt_num: stage.stage_attempt_num as u32,
        launch_time: task.launch_time as u64,
        start_exec_time: task.start_exec_time as u64,
        end_exec_time: task.end_exec_time as u64,
        metrics: Vec::new(),
        status: Some(Status::Successful(success.clone())),
    }
}

/// The stages of a job that have tasks, in the present graph or waiting for their turn in it.
fn stages_of(graph: &ExecutionGraphBox, job: &Job) -> Option<BTreeMap<usize, Kept>> {
    let mut stages = BTreeMap::new();
    for (id, stage) in graph.stages() {
        let kept = match stage {
            ExecutionStage::Running(stage) => Some(Kept {
                plan: text_of(stage.plan.as_ref()),
                partitions: stage.partitions,
                tasks: stage.task_infos.clone(),
                metrics: stage.stage_metrics.clone(),
            }),
            ExecutionStage::Successful(stage) => Some(Kept {
                plan: text_of(stage.plan.as_ref()),
                partitions: stage.partitions,
                tasks: stage.task_infos.clone(),
                metrics: (!stage.stage_metrics.is_empty()).then(|| stage.stage_metrics.clone()),
            }),
            ExecutionStage::UnResolved(_) | ExecutionStage::Resolved(_) => None,
            // The job has failed.
            ExecutionStage::Failed(_) => return None,
        };
        // One that runs and waits for its turn as well has not been given its earlier tasks yet.
        if let Some(kept) = job.waiting.get(id).cloned().or(kept) {
            stages.insert(*id, kept);
        }
    }
    Some(stages)
}

fn facts_of(
    graph: &ExecutionGraphBox,
    job: &Job,
    stages: &BTreeMap<usize, Kept>,
    serving: &HashMap<String, String>,
) -> BTreeMap<usize, StageFacts> {
    let reading: HashSet<usize> =
        graph.stages().values().flat_map(|stage| stage.output_links().to_vec()).collect();
    let facts = graph.stages().iter().map(|(id, stage)| {
        let kept = stages.get(id);
        let task = |(number, task): (usize, &TaskInfo)| TaskFacts {
            partitions: task.global_input_partition_ids.clone(),
            state: if job.void.contains(&(*id, number)) { TaskState::Over } else { state_of(task, serving) },
        };
        let facts = StageFacts {
            // Of one that has not begun, it is enough to know that there is something to run.
            partitions: kept.map_or(1, |kept| kept.partitions),
            readers: stage.output_links().to_vec(),
            is_repeatable: repeatable::is_repeatable(stage.plan()),
            is_leaf: !reading.contains(id),
            tasks: kept.into_iter().flat_map(|kept| kept.tasks.iter().enumerate().map(task)).collect(),
        };
        (*id, facts)
    });
    let mut facts: BTreeMap<usize, StageFacts> = facts.collect();
    // What reads something that may come out differently may come out differently itself.
    let mut upset: Vec<usize> =
        facts.iter().filter(|(_, stage)| !stage.is_repeatable).map(|(id, _)| *id).collect();
    while let Some(id) = upset.pop() {
        for reader in facts[&id].readers.clone() {
            if let Some(stage) = facts.get_mut(&reader).filter(|stage| stage.is_repeatable) {
                stage.is_repeatable = false;
                upset.push(reader);
            }
        }
    }
    facts
}

fn state_of(task: &TaskInfo, serving: &HashMap<String, String>) -> TaskState {
    match &task.task_status {
        // Alive itself: an heir has files, not what ran.
        Status::Running(running) if serving.get(&running.executor_id) == Some(&running.executor_id) => {
            TaskState::Running
        }
        Status::Successful(success) if serving.contains_key(&success.executor_id) => TaskState::Finished,
        Status::Successful(_) => TaskState::Gone,
        Status::Running(_) | Status::Failed(_) => TaskState::Over,
    }
}

/// The graph as it was before anything ran. `None` when it does not come out the same.
fn made_anew(graph: &ExecutionGraphBox, scheduler_id: &str) -> Result<Option<ExecutionGraphBox>> {
    let Some(JobState::Running(running)) = &graph.status().status else { return Ok(None) };
    let anew = StaticExecutionGraph::new(
        scheduler_id,
        graph.job_id(),
        graph.job_name(),
        graph.session_id(),
        graph.physical_plan(),
        running.queued_at,
        graph.session_config(),
        &mut DefaultDistributedPlanner::new(),
        None,
    )?;
    let is_same = anew.stages().len() == graph.stages().len()
        && graph.stages().iter().all(|(id, stage)| {
            let links =
                |stage: &ExecutionStage| stage.output_links().iter().copied().collect::<BTreeSet<_>>();
            anew.stages().get(id).is_some_and(|other| links(other) == links(stage))
        });
    Ok(is_same.then(|| Box::new(anew) as ExecutionGraphBox))
}

/// Ballista takes nothing in any more of a task that is marked so.
fn give_up(task: &mut TaskInfo) {
    if !matches!(task.task_status, Status::Failed(_)) {
        task.task_status = Status::Failed(FailedTask {
            error: "lost".to_owned(),
            retryable: false,
            count_to_failures: false,
            failed_reason: Some(FailedReason::ResultLost(ResultLost {})),
        });
    }
}

fn text_of(plan: &dyn ExecutionPlan) -> String {
    displayable(plan).indent(false).to_string()
}

fn computed_for(from_ms: u128, until_ms: u128) -> Duration {
    Duration::from_millis(u64::try_from(until_ms.saturating_sub(from_ms)).unwrap_or_default())
}

fn now_ms() -> u128 {
    chrono::Utc::now().timestamp_millis().try_into().unwrap_or_default()
}
