//! The account of a run while it runs: what its tasks, or its plan in this process, tell.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use ballista_core::serde::protobuf::TaskStatus;
use ballista_core::serde::protobuf::failed_task::FailedReason;
use ballista_core::serde::protobuf::task_status::Status;
use datafusion::physical_plan::ExecutionPlan;
use engine::cardinality::RowGroups;
use engine::memory::TaskMemory;
use engine::telemetry::{PEAK_MEMORY, ROWS_READ, TaskProgress};
use engine::{ByteSize, Error, ExecutorId};
use parking_lot::Mutex;

use super::measure::Measured;
use super::plan::{Place, Planned};
use super::sums::{LocalRun, TaskTold, Told};
use super::{
    Operator, Profile, Recovery, Stage, StageState, TASKS_MAX, Task, TaskState, now_ms, resolved, sums,
};

/// One run, as it is known so far.
#[derive(Debug, Default)]
pub struct LiveProfile {
    inner: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    profile: Profile,
    /// By stage: what its tasks have told.
    told: HashMap<usize, Told>,
    /// The places of a plan in this process, and the plan.
    local: Option<(Vec<Place>, Option<LocalRun>)>,
    /// What it began with last.
    plan: Option<Weak<dyn ExecutionPlan>>,
    /// What it began with has been run.
    has_run: bool,
    has_ended: bool,
    /// How often each partition of a stage has been begun in the present run.
    begun: HashMap<(usize, u32), u32>,
    /// By run, stage and number: the how manieth task it was of all that were sent out.
    order: HashMap<(u32, usize, usize), usize>,
    /// Of those, how many are not listed any more.
    unlisted: usize,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("stages", &self.profile.stages.len()).finish_non_exhaustive()
    }
}

impl LiveProfile {
    /// Nothing is known yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A run that is over.
    pub fn ended_as(profile: Profile) -> Arc<Self> {
        let live = Live { profile, has_ended: true, ..Live::default() };
        Arc::new(Self { inner: Mutex::new(live) })
    }

    /// How many tasks it remembers.
    pub fn tasks(&self) -> usize {
        self.inner.lock().profile.tasks.len()
    }

    /// Forgets its tasks, and says how many they were.
    pub fn forget_tasks(&self) -> usize {
        std::mem::take(&mut self.inner.lock().profile.tasks).len()
    }

    /// How far it is, in a line for its client.
    pub fn progress(&self) -> String {
        let (counts, profile) = (self.counts(), self.read(Profile::clone));
        if profile.stages.is_empty() {
            return "it is planned, or waits for its turn".to_owned();
        }
        let mut facts = Vec::new();
        if !profile.is_distributed {
            let read = profile.stages.iter().flat_map(|stage| &stage.operators);
            let rows: u64 = read.filter(|of| of.name.contains(" Scan")).filter_map(|of| of.rows).sum();
            facts.push(format!("{rows} rows read"));
        } else {
            let done = profile.stages.iter().filter(|stage| stage.state == StageState::Finished).count();
            facts.push(format!("{done} of {} stages", profile.stages.len()));
            facts.push(format!("{} of {} tasks finished", counts.tasks_finished, counts.tasks_total));
            facts.push(format!("{} run", counts.tasks_running));
            if let Some(bytes) = counts.exchanged_bytes.filter(|bytes| *bytes > 0) {
                facts.push(format!("{} exchanged", ByteSize(bytes)));
            }
        }
        if counts.spilled_bytes > 0 {
            facts.push(format!("{} spilled", ByteSize(counts.spilled_bytes)));
        }
        if let Some(last) = profile.recoveries.last() {
            facts.push(format!("it went on after: {}", last.cause));
        }
        facts.join(", ")
    }

    /// It was admitted after so long, in milliseconds.
    pub fn admitted(&self, queued_ms: f64) {
        self.inner.lock().profile.queued_ms = Some(queued_ms);
    }

    /// It was planned in so long, in milliseconds.
    pub fn was_planned(&self, planning_ms: f64) {
        self.inner.lock().profile.planning_ms = Some(planning_ms);
    }

    /// It begins with this plan, or once more with another.
    pub fn begin(&self, plan: &Arc<dyn ExecutionPlan>, planned: Planned) {
        let mut live = self.inner.lock();
        if live.has_ended {
            return;
        }
        live.plan = Some(Arc::downgrade(plan));
        live.give_up_running(|_| true);
        live.begun.clear();
        let Live { profile, told, local, has_run, .. } = &mut *live;
        let Planned { profile: plan, places, counting } = planned;
        profile.runs += u32::from(std::mem::take(has_run));
        profile.is_distributed = places.is_empty();
        profile.stages = plan.stages;
        profile.exchanges = plan.exchanges;
        profile.avoided = plan.avoided;
        profile.input = plan.input;
        profile.memory = plan.memory;
        let places_of = |places: Vec<(String, Place)>| places.into_iter().map(|(_, place)| place).collect();
        *told = counting
            .into_iter()
            .map(|(stage, places)| (stage, Told { places: places_of(places), ..Told::default() }))
            .collect();
        *local = (!places.is_empty()).then_some((places, None));
    }

    /// True when it is `plan` that it began with last, and that was not run yet.
    pub fn began_with(&self, plan: &Arc<dyn ExecutionPlan>) -> bool {
        let live = self.inner.lock();
        !live.has_run
            && live.plan.as_ref().is_some_and(|of| std::ptr::addr_eq(of.as_ptr(), Arc::as_ptr(plan)))
    }

    /// The same plan is run once more as a new job.
    pub fn begin_again(&self) {
        let mut live = self.inner.lock();
        if live.has_ended {
            return;
        }
        live.give_up_running(|_| true);
        live.begun.clear();
        live.profile.runs += 1;
        for stage in &mut live.profile.stages {
            *stage = Stage {
                stage_id: stage.stage_id,
                partitions: stage.partitions,
                tasks_total: stage.tasks_total,
                predicted_rows: stage.predicted_rows,
                predicted_bytes: stage.predicted_bytes,
                predicted_task_bytes: stage.predicted_task_bytes,
                operators: stage.operators.iter().map(unmeasured).collect(),
                ..Stage::default()
            };
        }
        for told in live.told.values_mut() {
            told.tasks.clear();
        }
    }

    /// It runs in this process: `plan` has the same nodes as the one that it began with.
    pub fn runs_here(&self, plan: &Arc<dyn ExecutionPlan>, memory: &TaskMemory) {
        let mut live = self.inner.lock();
        // What runs besides, such as the file without rows of a table without rows, is not what it began with.
        if live.has_ended || std::mem::replace(&mut live.has_run, true) {
            return;
        }
        if let Some((_, run)) = &mut live.local {
            let (plan, peak_bytes) = (Arc::clone(plan), memory.peak_bytes());
            *run = Some(LocalRun { plan, peak_bytes, started_at_ms: now_ms() });
        }
    }

    /// A task is sent to an executor, to a place there.
    pub(super) fn sent(
        &self,
        executor: &str,
        stage_id: usize,
        task_id: usize,
        partitions: Vec<u32>,
        slot: u32,
    ) {
        let mut live = self.inner.lock();
        if live.has_ended {
            return;
        }
        live.has_run = true;
        let task = Task {
            run: live.profile.runs,
            stage_id,
            task_id,
            attempt: live.attempt(stage_id, &partitions),
            executor_id: executor.into(),
            slot,
            partitions,
            state: TaskState::Running,
            started_at_ms: now_ms(),
            ended_at_ms: None,
            rows_read: 0,
            rows: 0,
            bytes: 0,
            spilled_bytes: 0,
            peak_bytes: None,
            transfer_ms: 0.0,
            compute_ms: 0.0,
            error: None,
        };
        live.list(task);
    }

    /// How far a task is.
    pub fn progressed(&self, of: &TaskProgress) {
        let mut live = self.inner.lock();
        if live.has_ended {
            return;
        }
        let told = live.told.get_mut(&of.stage_id).and_then(|told| told.tasks.get_mut(&of.task_id));
        let Some(told) = told.filter(|task| task.state == TaskState::Running) else { return };
        told.rows = of.rows;
        told.spilled_bytes = of.spilled_bytes;
        told.peak_bytes = Some(of.peak_bytes);
        if let Some(task) = live.listed(of.stage_id, of.task_id) {
            (task.rows, task.rows_read) = (of.rows, of.rows_read);
            task.spilled_bytes = of.spilled_bytes;
            task.peak_bytes = Some(of.peak_bytes);
        }
    }

    /// True until [`Self::resolved`] was called for that stage.
    pub fn wants_plan(&self, stage_id: usize) -> bool {
        let live = self.inner.lock();
        live.told.get(&stage_id).is_some_and(|told| !told.is_resolved)
    }

    /// The operators of a stage as they run: Ballista may have swapped the inputs of a join when it knew their sizes.
    pub fn resolved(&self, stage_id: usize, plan: &Arc<dyn ExecutionPlan>) {
        let mut live = self.inner.lock();
        let Live { profile, told, .. } = &mut *live;
        let Some(told) = told.get_mut(&stage_id) else { return };
        told.is_resolved = true;
        let Some(stage) = profile.stage_mut(stage_id) else { return };
        let mut expected = std::mem::take(&mut stage.operators);
        let mut places = Vec::new();
        let mut operators = Vec::new();
        resolved::operators(plan, 0, stage_id, &mut expected, &mut operators, &mut places);
        stage.operators = operators;
        told.places = places;
    }

    /// A task ended on `executor`. One that succeeded and `counts` adds to its stage; others were given up before.
    pub(super) fn ended(&self, status: &TaskStatus, executor: &str, counts: bool) {
        let measured: Vec<Measured> = status.metrics.iter().map(Measured::of_task).collect();
        let mut live = self.inner.lock();
        if live.has_ended {
            return;
        }
        let (stage_id, task_id) = (status.stage_id as usize, status.task_id as usize);
        let Some(told) = live.told.get_mut(&stage_id) else { return };
        let places = told.places.len();
        let Some(task) = told.tasks.get_mut(&task_id).filter(|task| &*task.executor_id == executor) else {
            return;
        };
        if status.start_exec_time > 0 {
            task.started_at_ms = status.start_exec_time as f64;
        }
        task.ended_at_ms = Some(status.end_exec_time.max(status.start_exec_time) as f64);
        task.compute_ms = measured.iter().map(|of| of.compute_ns).sum::<u64>() as f64 / 1e6;
        task.spilled_bytes = measured.iter().map(|of| of.spilled_bytes).sum();
        task.peak_bytes = measured.first().map(|of| of.named(PEAK_MEMORY)).filter(|bytes| *bytes > 0);
        let mut error = None;
        match &status.status {
            Some(Status::Successful(success)) => {
                task.state = if counts { TaskState::Finished } else { TaskState::Lost };
                task.rows = success.partitions.iter().map(|of| of.num_rows).sum();
                task.bytes = success.partitions.iter().map(|of| of.num_bytes).sum();
                task.gave = success.partitions.iter().map(|of| (of.partition_id, of.num_bytes)).collect();
                // The first is what writes shuffle files.
                if measured.len() == places + 1 {
                    task.measured = measured[1..].iter().map(Measured::slim).collect();
                }
            }
            Some(Status::Failed(failed)) => {
                let told = Error::from_stamp(&failed.error);
                let is_cancelled = told.as_ref().is_some_and(|error| error.sqlstate().as_str() == "57014")
                    || matches!(failed.failed_reason, Some(FailedReason::TaskKilled(_)));
                // One that was given up before failed for that.
                if is_cancelled || task.state == TaskState::Lost {
                    task.state = TaskState::Lost;
                } else {
                    task.state = TaskState::Failed;
                    error =
                        Some(told.map_or_else(|| "the task failed".to_owned(), |error| error.to_string()));
                }
            }
            _ => return,
        }
        let transfer = |of: &Measured| of.named_ms("fetch_time") + of.named_ms("local_read_time");
        let transfer_ms = measured.iter().map(transfer).fold(0.0, std::ops::Add::add);
        let rows_read = measured.first().map(|of| of.named(ROWS_READ));
        let known = (task.state, task.started_at_ms, task.ended_at_ms, task.compute_ms);
        let sizes = (task.rows, task.bytes, task.spilled_bytes, task.peak_bytes);
        if let Some(task) = live.listed(stage_id, task_id) {
            (task.state, task.started_at_ms, task.ended_at_ms, task.compute_ms) = known;
            (task.rows, task.bytes, task.spilled_bytes, task.peak_bytes) = sizes;
            task.transfer_ms = transfer_ms;
            task.rows_read = rows_read.unwrap_or(task.rows_read);
            task.error = error;
        }
    }

    /// An executor is lost: its tasks will not end.
    pub fn lost(&self, executor: &ExecutorId) {
        self.inner.lock().give_up_running(|task| &*task.executor_id == executor.as_str());
    }

    /// Its tasks were not taken by the executor that they were sent to.
    pub(super) fn refused(&self, executor: &str) {
        self.inner.lock().give_up_running(|task| &*task.executor_id == executor);
    }

    /// Tasks do not count any more: what they gave is lost, or would come out differently.
    pub fn given_up(&self, tasks: &[(usize, usize)]) {
        let mut live = self.inner.lock();
        for (stage, number) in tasks {
            live.give_up(*stage, *number);
        }
    }

    /// It went on after a loss, or is run again as a whole.
    pub fn recovered(&self, recovery: Recovery) {
        self.inner.lock().profile.recoveries.push(recovery);
    }

    /// What it went on after last had more tasks to run again.
    pub fn recovered_further(&self, more: &Recovery) {
        if let Some(last) = self.inner.lock().profile.recoveries.last_mut() {
            last.kept_tasks = last.kept_tasks.max(more.kept_tasks);
            last.rerun_tasks += more.rerun_tasks;
            last.added_ms += more.added_ms;
        }
    }

    /// Something was found wrong with it.
    pub fn linted(&self, lint: super::Lint) {
        let lints = &mut self.inner.lock().profile.lint_list;
        if !lints.contains(&lint) {
            lints.push(lint);
        }
    }

    /// Looks at what is known now, but for the tasks of a run that is not over: there may be thousands.
    pub fn read<T>(&self, look: impl FnOnce(&Profile) -> T) -> T {
        let live = self.inner.lock();
        if live.has_ended {
            return look(&live.profile);
        }
        let profile = live.derived();
        // Others wait for it to tell of their tasks.
        drop(live);
        look(&profile)
    }

    /// Looks at the tasks as they are known now.
    pub fn read_tasks<T>(&self, look: impl FnOnce(&VecDeque<Task>) -> T) -> T {
        look(&self.inner.lock().profile.tasks)
    }

    /// Partitions that its stages compute, together.
    pub fn partitions(&self) -> usize {
        self.inner.lock().profile.stages.iter().map(|stage| stage.partitions).sum()
    }

    /// What is known now.
    pub fn snapshot(&self) -> Profile {
        let live = self.inner.lock();
        if live.has_ended {
            return live.profile.clone();
        }
        Profile { tasks: live.profile.tasks.clone(), ..live.derived() }
    }

    /// True once the run is over.
    pub fn is_over(&self) -> bool {
        self.inner.lock().has_ended
    }

    /// Looks at it without a copy of its tasks and operators.
    pub fn counts(&self) -> Counts {
        let live = self.inner.lock();
        if live.has_ended {
            return Counts::of(&live.profile);
        }
        let mut slim = Profile {
            queued_ms: live.profile.queued_ms,
            planning_ms: live.profile.planning_ms,
            stages: live.profile.stages.iter().map(Stage::without_operators).collect(),
            exchanges: live.profile.exchanges.clone(),
            lint_list: live.profile.lint_list.clone(),
            ..Profile::default()
        };
        live.derive(&mut slim);
        Counts::of(&slim)
    }

    /// The run is over, and has succeeded or not: nothing changes any more, and plans are let go.
    pub fn end(&self, has_succeeded: bool) {
        let mut live = self.inner.lock();
        if live.has_ended {
            return;
        }
        live.give_up_running(|_| true);
        let mut profile = live.derived();
        profile.tasks = std::mem::take(&mut live.profile.tasks);
        for stage in profile.stages.iter_mut().filter(|stage| stage.state == StageState::Running) {
            let is_here = live.local.is_some();
            stage.state = if has_succeeded { StageState::Finished } else { StageState::Failed };
            (stage.tasks_running, stage.tasks_finished) = (0, if is_here { 1 } else { stage.tasks_finished });
        }
        live.profile = profile;
        live.has_ended = true;
        live.local = None;
        live.told.clear();
        live.begun.clear();
        live.order.clear();
    }
}

/// A run in a few figures.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// From its start until it was admitted, in milliseconds.
    pub queued_ms: Option<f64>,
    /// Planning and routing, in milliseconds.
    pub planning_ms: Option<f64>,
    /// Tasks of all stages.
    pub tasks_total: usize,
    /// Those that have succeeded.
    pub tasks_finished: usize,
    /// Those that run.
    pub tasks_running: usize,
    /// Those of stages that have begun and that have not been sent out.
    pub tasks_ready: usize,
    /// Bytes that moved between stages.
    pub exchanged_bytes: Option<u64>,
    /// Bytes written to disk for want of memory.
    pub spilled_bytes: u64,
    /// What was found wrong with it.
    pub lints: usize,
}

impl Counts {
    fn of(profile: &Profile) -> Self {
        let (tasks_total, tasks_finished, tasks_running) = profile.task_counts();
        let begun = profile.stages.iter().filter(|stage| stage.state == StageState::Running);
        let ready =
            begun.map(|stage| stage.tasks_total.saturating_sub(stage.tasks_finished + stage.tasks_running));
        Self {
            queued_ms: profile.queued_ms,
            planning_ms: profile.planning_ms,
            tasks_total,
            tasks_finished,
            tasks_running,
            tasks_ready: ready.sum(),
            exchanged_bytes: (tasks_total > 0).then(|| profile.exchanged_bytes()),
            spilled_bytes: profile.spilled_bytes(),
            lints: profile.lint_list.len(),
        }
    }
}

fn unmeasured(operator: &Operator) -> Operator {
    Operator {
        rows: None,
        bytes: None,
        compute_ms: None,
        spilled_bytes: None,
        counts: Vec::new(),
        ..operator.clone()
    }
}

impl Live {
    /// How often one of `partitions` has been begun in this run; they are begun once more.
    fn attempt(&mut self, stage: usize, partitions: &[u32]) -> u32 {
        let mut attempt = 0;
        for partition in partitions {
            let times = self.begun.entry((stage, *partition)).or_default();
            attempt = attempt.max(*times);
            *times += 1;
        }
        attempt
    }

    fn list(&mut self, task: Task) {
        let told = TaskTold {
            executor_id: Arc::clone(&task.executor_id),
            state: task.state,
            computes: task.partitions.len(),
            started_at_ms: task.started_at_ms,
            ended_at_ms: None,
            rows: 0,
            bytes: 0,
            compute_ms: 0.0,
            spilled_bytes: 0,
            peak_bytes: None,
            gave: Vec::new(),
            measured: Vec::new(),
        };
        self.told.entry(task.stage_id).or_default().tasks.insert(task.task_id, told);
        let at = self.unlisted + self.profile.tasks.len();
        self.order.insert((task.run, task.stage_id, task.task_id), at);
        self.profile.tasks.push_back(task);
        if self.profile.tasks.len() > TASKS_MAX
            && let Some(first) = self.profile.tasks.pop_front()
        {
            self.order.remove(&(first.run, first.stage_id, first.task_id));
            self.unlisted += 1;
        }
    }

    /// A task of the present run, while it is listed.
    fn listed(&mut self, stage: usize, task: usize) -> Option<&mut Task> {
        let at = self.order.get(&(self.profile.runs, stage, task))?.checked_sub(self.unlisted)?;
        self.profile.tasks.get_mut(at)
    }

    fn give_up(&mut self, stage: usize, number: usize) {
        let now = now_ms();
        let told = self.told.get_mut(&stage).and_then(|told| told.tasks.get_mut(&number));
        let Some(told) = told.filter(|task| task.state != TaskState::Failed) else { return };
        told.state = TaskState::Lost;
        told.ended_at_ms.get_or_insert(now);
        (told.gave, told.measured) = (Vec::new(), Vec::new());
        if let Some(task) = self.listed(stage, number) {
            task.state = TaskState::Lost;
            task.ended_at_ms.get_or_insert(now);
        }
    }

    fn give_up_running(&mut self, is_meant: impl Fn(&TaskTold) -> bool) {
        let tasks = self
            .told
            .iter()
            .flat_map(|(stage, told)| told.tasks.iter().map(move |(n, task)| (*stage, *n, task)));
        let meant: Vec<(usize, usize)> = tasks
            .filter(|(.., task)| task.state == TaskState::Running && is_meant(task))
            .map(|(stage, number, _)| (stage, number))
            .collect();
        for (stage, number) in meant {
            self.give_up(stage, number);
        }
    }

    /// What is known, without the list of tasks.
    fn derived(&self) -> Profile {
        let known = &self.profile;
        let mut profile = Profile {
            queued_ms: known.queued_ms,
            planning_ms: known.planning_ms,
            input: known.input.clone(),
            memory: known.memory.clone(),
            stages: known.stages.clone(),
            exchanges: known.exchanges.clone(),
            avoided: known.avoided.clone(),
            recoveries: known.recoveries.clone(),
            lint_list: known.lint_list.clone(),
            tasks: VecDeque::new(),
            runs: known.runs,
            is_distributed: known.is_distributed,
        };
        self.derive(&mut profile);
        profile
    }

    /// Adds up what is known of stages and exchanges.
    fn derive(&self, profile: &mut Profile) {
        match &self.local {
            Some((places, Some(run))) => sums::of_plan(profile, places, run),
            Some((_, None)) => {}
            None => sums::of_tasks(profile, &self.told),
        }
        for stage in &mut profile.stages {
            let scans = stage.operators.iter().filter(|of| of.name.contains(" Scan on "));
            for scan in scans {
                let count =
                    |name: &str| scan.counts.iter().find(|(known, _)| known == name).map_or(0, |of| of.1);
                let (read, pruned) = (
                    count("row_groups_pruned_statistics_matched"),
                    count("row_groups_pruned_statistics_pruned"),
                );
                let table = scan.name.split(" Scan on ").nth(1);
                if read + pruned > 0
                    && let Some(input) = profile
                        .input
                        .iter_mut()
                        .find(|input| Some(input.table.as_str()) == table && input.row_groups.is_none())
                {
                    input.row_groups = Some(RowGroups { read, pruned });
                }
            }
        }
    }
}
