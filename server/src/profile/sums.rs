//! What tasks, or a plan in this process, have told, added up by stage and exchange.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::physical_plan::ExecutionPlan;

use super::measure::{Measured, SlimMeasured};
use super::plan::Place;
use super::{ExchangeKind, Profile, Stage, StageState, TaskState, now_ms};

pub(super) struct LocalRun {
    pub(super) plan: Arc<dyn ExecutionPlan>,
    pub(super) peak_bytes: Arc<AtomicUsize>,
    pub(super) started_at_ms: f64,
}

/// What is known of the tasks of a stage, of the present run: all of them, however many are listed.
#[derive(Default)]
pub(super) struct Told {
    /// Where what they count belongs.
    pub(super) places: Vec<Place>,
    pub(super) is_resolved: bool,
    /// By number.
    pub(super) tasks: HashMap<usize, TaskTold>,
}

/// One task.
pub(super) struct TaskTold {
    pub(super) executor_id: Arc<str>,
    pub(super) state: TaskState,
    /// How many partitions of the stage it computes.
    pub(super) computes: usize,
    pub(super) started_at_ms: f64,
    pub(super) ended_at_ms: Option<f64>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) compute_ms: f64,
    pub(super) spilled_bytes: u64,
    pub(super) peak_bytes: Option<u64>,
    /// The partitions that it gave, and their bytes.
    pub(super) gave: Vec<(u64, u64)>,
    /// What its operators counted.
    pub(super) measured: Vec<SlimMeasured>,
}

impl Told {
    /// Bytes of each partition that the stage gave.
    fn sizes(&self) -> Vec<u64> {
        let mut sizes: BTreeMap<u64, u64> = BTreeMap::new();
        let finished = self.tasks.values().filter(|task| task.state == TaskState::Finished);
        for (partition, bytes) in finished.flat_map(|task| &task.gave) {
            *sizes.entry(*partition).or_default() += bytes;
        }
        sizes.into_values().collect()
    }

    /// What its operators have counted in tasks that succeeded.
    fn add_to(&self, stage: &mut Stage) {
        let finished = self.tasks.values().filter(|task| task.state == TaskState::Finished);
        for task in finished {
            for (place, measured) in self.places.iter().zip(&task.measured) {
                if let Place::Operator(_, at) = place
                    && let Some(operator) = stage.operators.get_mut(*at)
                {
                    measured.add_to(operator);
                }
            }
        }
    }
}

/// Adds up what is known of the tasks of `stage`.
fn of_stage(stage: &mut Stage, told: &Told) {
    let counting =
        || told.tasks.values().filter(|task| matches!(task.state, TaskState::Finished | TaskState::Running));
    let in_state = |state| told.tasks.values().filter(move |task| task.state == state);
    let (finished, running) = (in_state(TaskState::Finished).count(), in_state(TaskState::Running).count());
    let begun: usize = counting().map(|task| task.computes).sum();
    if begun >= stage.partitions && finished + running > 0 {
        stage.tasks_total = finished + running;
    } else {
        stage.tasks_total = stage.tasks_total.max(finished + running + usize::from(begun > 0));
    }
    (stage.tasks_finished, stage.tasks_running) = (finished, running);
    let is_done = finished > 0 && running == 0 && begun >= stage.partitions;
    stage.state = match (is_done, finished + running > 0) {
        (true, _) => StageState::Finished,
        (false, true) => StageState::Running,
        (false, false) if in_state(TaskState::Failed).next().is_some() => StageState::Failed,
        (false, false) => StageState::Waiting,
    };
    let began = told.tasks.values().map(|task| task.started_at_ms).fold(f64::INFINITY, f64::min);
    if began.is_finite() {
        let ended = told.tasks.values().filter_map(|task| task.ended_at_ms).fold(began, f64::max);
        stage.started_at_ms = Some(began);
        stage.elapsed_ms = Some((if is_done { ended } else { now_ms() } - began).max(0.0));
        stage.compute_ms = Some(counting().map(|task| task.compute_ms).sum());
        stage.spilled_bytes = Some(counting().map(|task| task.spilled_bytes).sum());
        stage.rows = Some(counting().map(|task| task.rows).sum());
        stage.bytes = Some(counting().map(|task| task.bytes).sum());
        stage.peak_task_bytes = told.tasks.values().filter_map(|task| task.peak_bytes).max();
    }
    let mut took: Vec<f64> = in_state(TaskState::Finished)
        .filter_map(|task| Some(task.ended_at_ms? - task.started_at_ms))
        .collect();
    took.sort_by(f64::total_cmp);
    if took.len() > 1 {
        let median = took[took.len() / 2].max(1.0);
        stage.skew = took.last().map(|longest| (longest.max(1.0) / median).max(1.0));
    }
}

/// Adds up what tasks have told.
pub(super) fn of_tasks(profile: &mut Profile, told: &HashMap<usize, Told>) {
    let mut peak = 0;
    for stage in &mut profile.stages {
        let Some(told) = told.get(&stage.stage_id) else { continue };
        told.add_to(stage);
        of_stage(stage, told);
        peak = peak.max(stage.peak_task_bytes.unwrap_or(0));
    }
    if let Some(memory) = &mut profile.memory
        && peak > 0
    {
        memory.peak_task_bytes = Some(peak);
    }
    for exchange in &mut profile.exchanges {
        let Some(stage) = profile.stages.iter().find(|stage| stage.stage_id == exchange.from_stage) else {
            continue;
        };
        (exchange.rows, exchange.bytes) = (stage.rows, stage.bytes);
        let mut sizes = told.get(&exchange.from_stage).map(Told::sizes).unwrap_or_default();
        if sizes.is_empty() {
            continue;
        }
        // Those without rows are not told of.
        if exchange.kind == ExchangeKind::Hash {
            sizes.resize(sizes.len().max(exchange.partitions), 0);
        }
        sizes.sort_unstable();
        exchange.largest_partition_bytes = sizes.last().copied();
        exchange.median_partition_bytes = sizes.get(sizes.len() / 2).copied();
    }
}

/// What a plan in this process has counted so far.
pub(super) fn of_plan(profile: &mut Profile, places: &[Place], run: &LocalRun) {
    let mut nodes = Vec::with_capacity(places.len());
    fn walk<'a>(plan: &'a Arc<dyn ExecutionPlan>, nodes: &mut Vec<&'a Arc<dyn ExecutionPlan>>) {
        nodes.push(plan);
        plan.children().into_iter().for_each(|child| walk(child, nodes));
    }
    walk(&run.plan, &mut nodes);
    if nodes.len() != places.len() {
        return;
    }
    let mut exchanged: HashMap<usize, Measured> = HashMap::new();
    for (node, place) in nodes.iter().zip(places) {
        let Some(metrics) = node.metrics() else { continue };
        let measured = Measured::of_plan(&metrics);
        match place {
            Place::Operator(stage, at) => {
                if let Some(operator) = profile.stage_mut(*stage).and_then(|of| of.operators.get_mut(*at)) {
                    measured.add_to(operator);
                }
            }
            Place::Exchange(stage) => {
                exchanged.insert(*stage, measured);
            }
        }
    }
    let now = now_ms();
    for stage in &mut profile.stages {
        let last = stage.operators.iter().find(|of| of.reads_stage.is_none()).or(stage.operators.first());
        stage.rows = last.and_then(|of| of.rows);
        let width = stage.predicted_bytes as f64 / stage.predicted_rows.max(1) as f64;
        let counted = last.and_then(|of| of.bytes);
        stage.bytes = counted.or(stage.rows.map(|rows| (rows as f64 * width) as u64));
        stage.compute_ms = Some(stage.operators.iter().filter_map(|of| of.compute_ms).sum());
        stage.spilled_bytes = Some(stage.operators.iter().filter_map(|of| of.spilled_bytes).sum());
        stage.started_at_ms = Some(run.started_at_ms);
        stage.elapsed_ms = Some(now - run.started_at_ms);
        stage.tasks_running = 1;
        stage.state = StageState::Running;
    }
    for exchange in &mut profile.exchanges {
        let Some(stage) = profile.stages.iter().find(|stage| stage.stage_id == exchange.from_stage) else {
            continue;
        };
        (exchange.rows, exchange.bytes) = (stage.rows, stage.bytes);
    }
    for stage in &mut profile.stages {
        for operator in &mut stage.operators {
            if let Some(measured) = operator.reads_stage.and_then(|from| exchanged.get(&from)) {
                operator.rows = Some(measured.rows);
                operator.compute_ms = Some(measured.compute_ns as f64 / 1e6);
            }
        }
    }
    if let Some(memory) = &mut profile.memory {
        memory.peak_task_bytes = Some(run.peak_bytes.load(Ordering::Relaxed) as u64);
    }
}
