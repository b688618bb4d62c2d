//! Walks a plan, each node before its inputs, and puts it into stages, operators and exchanges.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ballista_core::execution_plans::UnresolvedShuffleExec;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{Partitioning, PhysicalExpr, split_conjunction};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use engine::cardinality::{Cardinality, Estimated, cached_footer, row_groups};
use engine::operators::RecordedPartitioning;

use super::plan::{Place, Planned, StagePlan};
use super::tables::Tables;
use super::{Avoided, Exchange, ExchangeKind, Input, Operator, Stage, describe, wording};

fn location_of(plan: &Arc<dyn ExecutionPlan>) -> Option<(String, &FileScanConfig)> {
    let scan = plan.downcast_ref::<DataSourceExec>()?;
    let files = scan.data_source().downcast_ref::<FileScanConfig>()?;
    let file = files.file_groups.iter().flat_map(|group| group.iter()).next()?;
    Some((format!("{}{}", files.object_store_url.as_str(), file.object_meta.location), files))
}

/// The columns that the statement itself filters by: joins and sorts may add conditions of their own.
fn columns_of(condition: &Arc<dyn PhysicalExpr>) -> Vec<String> {
    let own = split_conjunction(condition).into_iter().filter(|part| !wording::is_dynamic(part));
    let columns: BTreeSet<String> =
        own.flat_map(collect_columns).map(|column| column.name().to_owned()).collect();
    columns.into_iter().collect()
}

/// Walks a plan, each node before its inputs.
pub(super) struct Walk<'a> {
    tables: &'a Tables,
    /// To look for row groups in, when somebody asks for them.
    footers: Option<&'a FileMetadataCache>,
    is_local: bool,
    pub(super) stages: Vec<Stage>,
    exchanges: Vec<Exchange>,
    avoided: Vec<Avoided>,
    input: Vec<Input>,
    places: Vec<Place>,
    counting: HashMap<usize, Vec<(String, Place)>>,
    pub(super) spills: f64,
    pub(super) is_tight: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(tables: &'a Tables, footers: Option<&'a FileMetadataCache>, is_local: bool) -> Self {
        Self {
            tables,
            footers,
            is_local,
            stages: Vec::new(),
            exchanges: Vec::new(),
            avoided: Vec::new(),
            input: Vec::new(),
            places: Vec::new(),
            counting: HashMap::new(),
            spills: 0.0,
            is_tight: false,
        }
    }

    /// A stage of a plan in this process, and all below it; numbered by the order in which they are met for now.
    pub(super) fn stage(&mut self, plan: &Arc<dyn ExecutionPlan>, estimated: &Estimated) -> usize {
        let at = self.stages.len();
        self.stages.push(Stage {
            stage_id: at,
            partitions: describe::partitions(plan),
            tasks_total: 1,
            predicted_rows: whole(estimated.output.rows),
            predicted_bytes: whole(estimated.output.bytes()),
            predicted_task_bytes: 0,
            ..Stage::default()
        });
        self.node(plan, estimated, at, 0);
        at
    }

    pub(super) fn cluster_stage(&mut self, stage: &StagePlan, all: &[StagePlan], estimated: &Estimated) {
        let at = self.stages.len();
        self.stages.push(Stage {
            stage_id: stage.id,
            partitions: describe::partitions(&stage.plan),
            predicted_rows: whole(estimated.output.rows),
            predicted_bytes: whole(written(stage, &estimated.output)),
            ..Stage::default()
        });
        self.node(&stage.plan, estimated, at, 0);
        self.inputs_of(&stage.plan, None, stage, all);
        if all.last().is_some_and(|last| last.id == stage.id) {
            let partitions = describe::partitions(&stage.plan);
            self.exchanges.push(exchange(stage.id, None, ExchangeKind::Result, Vec::new(), partitions));
        }
    }

    /// The exchanges that `stage` reads.
    fn inputs_of(
        &mut self,
        plan: &Arc<dyn ExecutionPlan>,
        above: Option<&Arc<dyn ExecutionPlan>>,
        stage: &StagePlan,
        all: &[StagePlan],
    ) {
        if let Some(input) = plan.downcast_ref::<UnresolvedShuffleExec>() {
            let writer = all.iter().find(|other| other.id == input.stage_id);
            let output = writer.and_then(|writer| writer.output.as_ref());
            let (kind, keys) = match output {
                _ if input.broadcast => (ExchangeKind::Broadcast, Vec::new()),
                Some(output) => (ExchangeKind::Hash, describe::keys(output)),
                None if above.is_some_and(|above| above.is::<SortPreservingMergeExec>()) => {
                    (ExchangeKind::Merge, Vec::new())
                }
                None if above.is_some_and(|above| above.is::<CoalescePartitionsExec>()) => {
                    (ExchangeKind::Gather, Vec::new())
                }
                None => (ExchangeKind::Forward, Vec::new()),
            };
            let partitions = input.upstream_partition_count;
            self.exchanges.push(exchange(input.stage_id, Some(stage.id), kind, keys, partitions));
        }
        for child in plan.children() {
            self.inputs_of(child, Some(plan), stage, all);
        }
    }

    fn node(&mut self, plan: &Arc<dyn ExecutionPlan>, estimated: &Estimated, stage: usize, depth: usize) {
        if let Some(input) = plan.downcast_ref::<UnresolvedShuffleExec>() {
            let (at, id) = (self.stages[stage].operators.len(), self.stages[stage].stage_id);
            self.count(id, "ShuffleReaderExec", Place::Operator(id, at));
            self.stages[stage].operators.push(reading(input.stage_id, depth, &estimated.output));
            return;
        }
        if let Some(exchanged) = plan.downcast_ref::<RepartitionExec>().filter(|_| self.is_local) {
            let (kind, keys) = match exchanged.partitioning() {
                hash @ Partitioning::Hash(..) => (ExchangeKind::Hash, describe::keys(hash)),
                _ => (ExchangeKind::RoundRobin, Vec::new()),
            };
            self.exchanged(plan, estimated, stage, depth, kind, keys);
            return;
        }
        if let Some(kept) = plan.downcast_ref::<RecordedPartitioning>() {
            let keys = kept.keys().iter().map(wording::sql).collect();
            let reason = "the tables' files are partitioned by it".to_owned();
            self.avoid(Avoided { keys, reason });
        }
        if let Some(join) = plan.downcast_ref::<HashJoinExec>()
            && *join.partition_mode() == PartitionMode::CollectLeft
            && describe::partitions(join.right()) > 1
        {
            let keys = join.on().iter().map(|(_, right)| wording::sql(right)).collect();
            self.avoid(Avoided {
                keys,
                reason: "the other input is small enough to be broadcast".to_owned(),
            });
        }
        let scan = location_of(plan);
        let table = scan.as_ref().and_then(|(location, _)| self.tables.find(location));
        let (name, detail) = describe::operator(plan, table.map(|table| table.name.as_str()));
        if let Some((table, (_, files))) = table.zip(scan.as_ref()) {
            let count: usize = files.file_groups.iter().map(|group| group.len()).sum();
            let paths: BTreeSet<_> = files
                .file_groups
                .iter()
                .flat_map(|group| group.iter())
                .map(|f| &f.object_meta.location)
                .collect();
            let bytes = files
                .file_groups
                .iter()
                .flat_map(|group| group.iter())
                .map(|file| file.effective_size())
                .sum();
            let condition = files.file_source().filter();
            let groups = self.footers.and_then(|of| row_groups(files, |file| cached_footer(of, file)));
            let files = paths.len().min(count) as u64;
            let known = table.files.max(files);
            self.input.push(Input {
                table: table.name.clone(),
                files,
                files_pruned: Some(known - files),
                bytes,
                predicted_rows: whole(estimated.output.rows),
                predicted_row_groups: groups,
                row_groups: None,
                filter_columns: condition.iter().flat_map(columns_of).collect(),
                partition_columns: table.keys.clone(),
            });
        }
        let (at, id) = (self.stages[stage].operators.len(), self.stages[stage].stage_id);
        self.places.push(Place::Operator(id, at));
        if plan.metrics().is_some() {
            self.count(id, plan.name(), Place::Operator(id, at));
        }
        self.stages[stage].operators.push(Operator {
            depth,
            name,
            detail,
            predicted_rows: whole(estimated.output.rows),
            ..Operator::default()
        });
        let gathers = plan.is::<CoalescePartitionsExec>() || plan.is::<SortPreservingMergeExec>();
        for (child, input) in plan.children().into_iter().zip(&estimated.inputs) {
            if self.is_local && gathers && describe::partitions(child) > 1 {
                let is_merge = plan.is::<SortPreservingMergeExec>();
                let kind = if is_merge { ExchangeKind::Merge } else { ExchangeKind::Gather };
                let from = self.stage(child, input);
                self.stages[stage].operators.push(reading(from, depth + 1, &input.output));
                self.exchanges.push(exchange(from, Some(id), kind, Vec::new(), describe::partitions(child)));
            } else {
                self.node(child, input, stage, depth + 1);
            }
        }
    }

    /// A node of a plan in this process that is nothing but an exchange.
    fn exchanged(
        &mut self,
        plan: &Arc<dyn ExecutionPlan>,
        estimated: &Estimated,
        stage: usize,
        depth: usize,
        kind: ExchangeKind,
        keys: Vec<String>,
    ) {
        let id = self.stages[stage].stage_id;
        let place = self.places.len();
        self.places.push(Place::Exchange(0));
        let (Some(child), Some(input)) = (plan.children().into_iter().next(), estimated.inputs.first())
        else {
            return;
        };
        // Before what lies below it: operators of a stage are in the order of its plan.
        let at = self.stages[stage].operators.len();
        self.stages[stage].operators.push(reading(0, depth, &estimated.output));
        let from = self.stage(child, input);
        self.stages[stage].operators[at].reads_stage = Some(from);
        self.places[place] = Place::Exchange(from);
        self.exchanges.push(exchange(from, Some(id), kind, keys, describe::partitions(plan)));
    }

    fn avoid(&mut self, avoided: Avoided) {
        if !self.avoided.contains(&avoided) {
            self.avoided.push(avoided);
        }
    }

    fn count(&mut self, stage: usize, name: &str, place: Place) {
        if !self.is_local {
            self.counting.entry(stage).or_default().push((name.to_owned(), place));
        }
    }

    /// Numbers the stages from those that are met last on, so that each has a higher number than its inputs.
    pub(super) fn finish_local(mut self, planned: &mut Planned) {
        let last = self.stages.len();
        let number = |at: usize| last - at;
        for stage in &mut self.stages {
            stage.stage_id = number(stage.stage_id);
            for operator in &mut stage.operators {
                operator.reads_stage = operator.reads_stage.map(number);
            }
        }
        for exchange in &mut self.exchanges {
            exchange.from_stage = number(exchange.from_stage);
            exchange.to_stage = exchange.to_stage.map(number);
        }
        for place in &mut self.places {
            *place = match *place {
                Place::Operator(stage, at) => Place::Operator(number(stage), at),
                Place::Exchange(stage) => Place::Exchange(number(stage)),
            };
        }
        self.stages.reverse();
        let partitions = self.stages.last().map_or(1, |stage| stage.partitions);
        self.exchanges.push(exchange(last, None, ExchangeKind::Result, Vec::new(), partitions));
        planned.places = std::mem::take(&mut self.places);
        self.finish(planned);
    }

    pub(super) fn finish_cluster(mut self, planned: &mut Planned) {
        planned.counting = std::mem::take(&mut self.counting);
        self.finish(planned);
    }

    fn finish(mut self, planned: &mut Planned) {
        for exchange in &mut self.exchanges {
            let from = self.stages.iter().find(|stage| stage.stage_id == exchange.from_stage);
            exchange.predicted_rows = from.map_or(0, |stage| stage.predicted_rows);
            exchange.predicted_bytes = from.map_or(0, |stage| stage.predicted_bytes);
        }
        self.exchanges.sort_by_key(|exchange| exchange.from_stage);
        planned.profile.stages = self.stages;
        planned.profile.exchanges = self.exchanges;
        planned.profile.avoided = self.avoided;
        planned.profile.input = self.input;
    }
}

fn reading(stage: usize, depth: usize, output: &Cardinality) -> Operator {
    Operator {
        depth,
        name: "Exchange".to_owned(),
        reads_stage: Some(stage),
        predicted_rows: whole(output.rows),
        ..Operator::default()
    }
}

fn exchange(
    from_stage: usize,
    to_stage: Option<usize>,
    kind: ExchangeKind,
    keys: Vec<String>,
    partitions: usize,
) -> Exchange {
    Exchange {
        from_stage,
        to_stage,
        kind,
        keys,
        partitions,
        predicted_rows: 0,
        predicted_bytes: 0,
        rows: None,
        bytes: None,
        largest_partition_bytes: None,
        median_partition_bytes: None,
    }
}

/// Bytes that a stage gives, as they are told: those that are cut for an exchange as they were in memory, others as they
/// were written.
fn written(stage: &StagePlan, output: &Cardinality) -> f64 {
    let from = describe::partitions(&stage.plan);
    match &stage.output {
        Some(into) => output.cut_bytes(from, into.partition_count()),
        None => output.stored_bytes(from),
    }
}

fn whole(figure: f64) -> u64 {
    figure.round().clamp(0.0, 1e18) as u64
}
