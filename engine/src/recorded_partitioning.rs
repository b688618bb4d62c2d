//! Exchanges that the layout of written tables makes needless.
//!
//! A table that is partitioned by columns has, in each file, rows of one value of each partition key: rows that agree in
//! the columns lie in files of the same values. So an exchange by a key that covers those columns can be left out, when
//! files of the same values are read by the same task.
//!
//! What lies between exchanges, a stage, relies on one thing alone: rows that agree in the key are in the same partition
//! of each of its inputs. Which function of the key says in which, is no matter, as long as it is one function for all
//! inputs. Hence all exchanges into a stage are left out together, or none; DuckLake's hash is never taken for that of
//! our exchanges, since no stage has both. The scans declare nothing to DataFusion's planner, which would take a declared
//! partitioning for its own hash and route the filters of joins by it; when it is done, `RecordedPartitioning` says in each
//! exchange's place what whoever looks at the plan later must know. See
//! `docs/decisions/011-recorded-partitioning-takes-the-place-of-exchanges.md`.

use std::any::Any;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use catalog::table::recorded::{RecordedKey, RecordedPartition};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Distribution, Partitioning, PhysicalExprRef};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::combine_partial_final_agg::CombinePartialFinalAggregate;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};

use crate::operators::{KeptSide, RecordedPartitioning};
use crate::{ByteSize, exchange};

type Plan = Arc<dyn ExecutionPlan>;

/// The largest partition may be so many times the mean; with more, an exchange pays for itself by even partitions.
const SKEW_MAX: u64 = 2;
/// No partition smaller than this is too large.
const ALWAYS_READ: ByteSize = ByteSize::mib(16);

/// `plan` without the exchanges that its tables' layouts make needless.
pub fn used(plan: Plan, config: &ConfigOptions) -> Result<Plan> {
    let mut uses = 0;
    let used = stage(&plan, &mut uses)?;
    if uses == 0 {
        return Ok(plan);
    }
    // Two halves of an aggregation with nothing between them are one.
    let used = used.transform_up(below_first_half).data()?;
    CombinePartialFinalAggregate::new().optimize(used, config)
}

/// The second half of an aggregation over its first, where what is said of the partitions stood between them: that is
/// said of the first one's input instead.
fn below_first_half(plan: Plan) -> Result<Transformed<Plan>> {
    let said = plan.downcast_ref::<AggregateExec>().and_then(|second| {
        let said = second.input().downcast_ref::<RecordedPartitioning>()?;
        let first = said.input().downcast_ref::<AggregateExec>()?;
        (*first.mode() == AggregateMode::Partial).then_some((said, first))
    });
    let Some((said, first)) = said else { return Ok(Transformed::no(plan)) };
    let groups = first.group_expr().expr();
    let group = |key: &PhysicalExprRef| groups.get(column(key)?).map(|(group, _)| Arc::clone(group));
    let Some(keys) = said.keys().iter().map(group).collect::<Option<Vec<_>>>() else {
        return Ok(Transformed::no(plan));
    };
    let input: Plan = Arc::new(RecordedPartitioning::new(Arc::clone(first.input()), keys));
    let first = replace_children_if_necessary(Arc::clone(said.input()), vec![input])?;
    replace_children_if_necessary(plan, vec![first]).map(Transformed::yes)
}

/// The stage that ends in `plan`, and those it reads.
fn stage(plan: &Plan, uses: &mut usize) -> Result<Plan> {
    let mut exchanges = Vec::new();
    inputs(plan, &mut exchanges);
    let read = exchanges.iter().map(|exchange| stage(exchange.input(), uses)).collect::<Result<Vec<_>>>()?;
    let scans = scans_in_place_of(&exchanges, &read)?;
    let is_cut_otherwise = scans.is_some();
    let mut in_place = match scans {
        Some(scans) => {
            *uses += 1;
            scans
        }
        None => exchanges
            .iter()
            .zip(read)
            .map(|(exchange, read)| exchange.with_input(read))
            .collect::<Result<Vec<_>>>()?,
    };
    in_place.reverse();
    rebuilt(plan, &mut in_place, is_cut_otherwise, uses)
}

/// True for what ends a stage, seen from above: its partitions are not those of what it reads.
fn is_boundary(plan: &Plan) -> bool {
    plan.is::<RepartitionExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<SortPreservingMergeExec>()
        || exchange::is_asked_for(plan)
}

/// Which children of `plan` are read whole by each of its partitions: stages of their own.
fn read_whole(plan: &Plan) -> Vec<bool> {
    let required = plan.input_distribution_requirements();
    let whole =
        required.per_child_distributions().map(|needed| matches!(needed, Distribution::SinglePartition));
    let mut whole: Vec<bool> = whole.collect();
    // One that says nothing of a child reads it partition by partition.
    whole.resize(plan.children().len(), false);
    whole
}

/// An exchange by hash.
struct HashExchange<'a> {
    plan: &'a Plan,
    exchange: &'a RepartitionExec,
    keys: &'a [PhysicalExprRef],
    partitions: usize,
}

impl<'a> HashExchange<'a> {
    fn of(plan: &'a Plan) -> Option<Self> {
        let exchange = plan.downcast_ref::<RepartitionExec>()?;
        match exchange.partitioning() {
            Partitioning::Hash(keys, partitions) => {
                Some(Self { plan, exchange, keys, partitions: *partitions })
            }
            _ => None,
        }
    }

    fn input(&self) -> &'a Plan {
        self.exchange.input()
    }

    fn with_input(&self, input: Plan) -> Result<Plan> {
        replace_children_if_necessary(Arc::clone(self.plan), vec![input])
    }
}

/// The exchanges by hash that `plan`'s stage reads, from left to right.
fn inputs<'a>(plan: &'a Plan, found: &mut Vec<HashExchange<'a>>) {
    if is_boundary(plan) {
        found.extend(HashExchange::of(plan));
        return;
    }
    for (child, is_whole) in plan.children().into_iter().zip(read_whole(plan)) {
        if !is_whole {
            inputs(child, found);
        }
    }
}

/// `plan`'s stage with `in_place`, the last first, in the places of its exchanges by hash.
fn rebuilt(plan: &Plan, in_place: &mut Vec<Plan>, is_cut_otherwise: bool, uses: &mut usize) -> Result<Plan> {
    if is_boundary(plan) {
        if HashExchange::of(plan).is_some() {
            return in_place.pop().ok_or_else(|| internal("a stage has an exchange more than it had"));
        }
        let children = plan.children().into_iter().map(|child| stage(child, uses));
        return replace_children_if_necessary(Arc::clone(plan), children.collect::<Result<_>>()?);
    }
    let mut children = Vec::new();
    for (child, is_whole) in plan.children().into_iter().zip(read_whole(plan)) {
        children.push(match is_whole {
            true => stage(child, uses)?,
            false => rebuilt(child, in_place, is_cut_otherwise, uses)?,
        });
    }
    if children.is_empty() {
        return Ok(Arc::clone(plan));
    }
    let plan = replace_children_if_necessary(Arc::clone(plan), children)?;
    match plan.downcast_ref::<HashJoinExec>() {
        // Its filter for the probe side would be told which partition a row is in by DataFusion's hash.
        Some(join) if is_cut_otherwise && *join.partition_mode() == PartitionMode::Partitioned => {
            join.builder().reset_state().build_exec()
        }
        _ => Ok(plan),
    }
}

/// What takes the places of a stage's exchanges, when all of them are needless; `read` is what they read.
fn scans_in_place_of(exchanges: &[HashExchange<'_>], read: &[Plan]) -> Result<Option<Vec<Plan>>> {
    let Some(first) = exchanges.first() else { return Ok(None) };
    let mut sources = Vec::with_capacity(exchanges.len());
    for (exchange, read) in exchanges.iter().zip(read) {
        let is_alike = exchange.partitions == first.partitions && exchange.keys.len() == first.keys.len();
        // One that keeps an order has its rows read in it.
        match Source::of(read, exchange.keys).filter(|_| is_alike && !exchange.exchange.preserve_order()) {
            Some(source) => sources.push(source),
            None => return Ok(None),
        }
    }
    if sources.iter().any(|source| source.cut != sources[0].cut) {
        return Ok(None);
    }
    let Some(places) = places(&sources, first.partitions) else { return Ok(None) };
    let scans = sources.iter().zip(exchanges).map(|(source, exchange)| {
        let scan = source.read_by(&places, exchange.partitions)?;
        Ok(Arc::new(RecordedPartitioning::new(scan, exchange.keys.to_vec())) as Plan)
    });
    scans.collect::<Result<Vec<_>>>().map(Some)
}

/// What an exchange reads: one scan, below operators that leave rows in their partitions.
struct Source<'a> {
    top: &'a Plan,
    config: &'a FileScanConfig,
    /// How the table is cut into files, in terms of the exchange's key.
    cut: Vec<Cut>,
    files: Vec<RecordedFile<'a>>,
}

/// A function of one column of an exchange's key.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    /// The column's place in the key.
    place: usize,
    transform: String,
    data_type: DataType,
}

/// A file, or a range of one.
struct RecordedFile<'a> {
    file: &'a PartitionedFile,
    /// Its value of each cut.
    values: Vec<ScalarValue>,
}

impl RecordedFile<'_> {
    fn bytes(&self) -> u64 {
        match &self.file.range {
            Some(range) => range.end.abs_diff(range.start),
            None => self.file.object_meta.size,
        }
    }
}

impl<'a> Source<'a> {
    /// `None` when `top`, exchanged by `keys`, is not that, or when rows that agree in `keys` may be in files of
    /// different values.
    fn of(top: &'a Plan, keys: &[PhysicalExprRef]) -> Option<Self> {
        let mut plan = top;
        let mut places: Vec<Option<usize>> = keys.iter().map(column).collect();
        let config = loop {
            if let Some(config) = file_scan(plan) {
                break config;
            }
            let step = Step::below(plan)?;
            places = places.into_iter().map(|place| step.column_below(place?)).collect();
            plan = step.child;
        };
        // Unknown is what is said below, where files were put together already.
        let is_told =
            !matches!(config.output_partitioning, None | Some(Partitioning::UnknownPartitioning(_)));
        if !config.output_ordering.is_empty() || is_told {
            return None;
        }
        let names: Vec<_> = places.into_iter().map(|place| scanned_column(config, place?)).collect();
        let files: Vec<&PartitionedFile> = config.file_groups.iter().flat_map(FileGroup::iter).collect();
        let recorded =
            files.iter().map(|file| file.extension()).collect::<Option<Vec<&RecordedPartition>>>()?;
        let keys = &recorded.first()?.keys;
        if recorded.iter().any(|file| file.keys != *keys) {
            return None;
        }
        let cut = |(at, key): (usize, &RecordedKey)| {
            let place = names.iter().position(|name| name.as_deref() == Some(key.column.as_str()))?;
            Some((Cut { place, transform: key.transform.clone(), data_type: key.data_type.clone() }, at))
        };
        let mut cuts = keys.iter().enumerate().map(cut).collect::<Option<Vec<_>>>()?;
        // One order for all tables, whichever each of them names its keys in.
        cuts.sort_by(|(a, _), (b, _)| (a.place, &a.transform).cmp(&(b.place, &b.transform)));
        let files = files.into_iter().zip(recorded).map(|(file, recorded)| {
            let values = cuts.iter().map(|(_, at)| recorded.values[*at].clone()).collect();
            RecordedFile { file, values }
        });
        let files = files.collect();
        Some(Self { top, config, cut: cuts.into_iter().map(|(cut, _)| cut).collect(), files })
    }

    /// The same with each file in the partition that `places` gives its values.
    fn read_by(&self, places: &Places, partitions: usize) -> Result<Plan> {
        let mut groups = vec![Vec::new(); partitions];
        for RecordedFile { file, values } in &self.files {
            let place = places.get(values).copied();
            let place = place.ok_or_else(|| internal("a file was not given a partition"))?;
            groups[place].push((*file).clone());
        }
        // Said to be unknown, not left unsaid: else a partition that is idle takes files from its neighbours.
        let config = FileScanConfigBuilder::from(self.config.clone())
            .with_file_groups(groups.into_iter().map(FileGroup::new).collect())
            .with_output_partitioning(Some(Partitioning::UnknownPartitioning(partitions)))
            .build();
        above(self.top, DataSourceExec::from_data_source(config))
    }
}

/// `top` over `scan` in place of its own.
fn above(top: &Plan, scan: Plan) -> Result<Plan> {
    if file_scan(top).is_some() {
        return Ok(scan);
    }
    let step = Step::below(top).ok_or_else(|| internal("a scan is not where it was"))?;
    let child = above(step.child, scan)?;
    if matches!(step.columns, Columns::Spread) {
        return Ok(child);
    }
    let is_it = |other: &&Plan| Arc::ptr_eq(other, step.child);
    let children = top.children().into_iter();
    let children = children.map(|other| Arc::clone(if is_it(&other) { &child } else { other }));
    replace_children_if_necessary(Arc::clone(top), children.collect())
}

/// An operator that leaves the rows of one child in their partitions.
struct Step<'a> {
    child: &'a Plan,
    columns: Columns<'a>,
}

/// Which of the child's columns an operator gives.
enum Columns<'a> {
    Same,
    /// The same, and rows are spread over partitions, for nothing but more of them.
    Spread,
    /// The same, and others behind these.
    First(usize),
    Chosen(&'a [usize]),
    Projected(&'a ProjectionExec),
    Grouped(&'a AggregateExec),
    Probed(&'a HashJoinExec),
}

impl<'a> Step<'a> {
    fn below(plan: &'a Plan) -> Option<Self> {
        let (child, columns) = if let Some(filter) = plan.downcast_ref::<FilterExec>() {
            let columns =
                filter.projection().as_ref().map_or(Columns::Same, |chosen| Columns::Chosen(chosen));
            (filter.input(), columns)
        } else if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            (projection.input(), Columns::Projected(projection))
        } else if let Some(exchange) = plan.downcast_ref::<RepartitionExec>() {
            if !matches!(exchange.partitioning(), Partitioning::RoundRobinBatch(_)) {
                return None;
            }
            (exchange.input(), Columns::Spread)
        } else if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
            // All but the first are here only where the exchange below them was left out.
            let in_partitions = matches!(
                aggregate.mode(),
                AggregateMode::Partial | AggregateMode::FinalPartitioned | AggregateMode::SinglePartitioned
            );
            if !in_partitions || !aggregate.group_expr().is_single() {
                return None;
            }
            (aggregate.input(), Columns::Grouped(aggregate))
        } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            let keeps_probe = matches!(
                join.join_type(),
                JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti
            );
            if *join.partition_mode() != PartitionMode::CollectLeft || !keeps_probe {
                return None;
            }
            (join.right(), Columns::Probed(join))
        } else if let Some(sort) = plan.downcast_ref::<SortExec>() {
            if !sort.preserve_partitioning() || sort.fetch().is_some() {
                return None;
            }
            (sort.input(), Columns::Same)
        } else if plan.is::<BoundedWindowAggExec>() || plan.is::<WindowAggExec>() {
            let child = *plan.children().first()?;
            (child, Columns::First(child.schema().fields().len()))
        } else if plan.is::<CooperativeExec>() || plan.is::<RecordedPartitioning>() || plan.is::<KeptSide>() {
            (*plan.children().first()?, Columns::Same)
        } else {
            return None;
        };
        Some(Self { child, columns })
    }

    /// The child's column that the operator gives as its column `place`, unchanged in each row.
    fn column_below(&self, place: usize) -> Option<usize> {
        match self.columns {
            Columns::Same | Columns::Spread => Some(place),
            Columns::First(count) => (place < count).then_some(place),
            Columns::Chosen(chosen) => chosen.get(place).copied(),
            Columns::Projected(projection) => column(&projection.expr().get(place)?.expr),
            Columns::Grouped(aggregate) => column(&aggregate.group_expr().expr().get(place)?.0),
            Columns::Probed(join) => {
                let place = match &join.projection {
                    Some(chosen) => *chosen.get(place)?,
                    None => place,
                };
                let build = join.left().schema().fields().len();
                match join.join_type() {
                    JoinType::RightSemi | JoinType::RightAnti => Some(place),
                    _ if place >= build => Some(place - build),
                    // A column that the other side equals in every row that is left.
                    JoinType::Inner => {
                        let is_it =
                            |(left, _): &&(PhysicalExprRef, PhysicalExprRef)| column(left) == Some(place);
                        column(&join.on().iter().find(is_it)?.1)
                    }
                    _ => None,
                }
            }
        }
    }
}

fn file_scan(plan: &Plan) -> Option<&FileScanConfig> {
    let source: &dyn Any = plan.downcast_ref::<DataSourceExec>()?.data_source().as_ref();
    source.downcast_ref()
}

/// The name of the table's column that a scan gives as its column `place`.
fn scanned_column(config: &FileScanConfig, place: usize) -> Option<String> {
    let at = match config.file_source().projection() {
        Some(projection) => column(&projection.iter().nth(place)?.expr)?,
        None => place,
    };
    Some(config.file_source().table_schema().table_schema().fields().get(at)?.name().clone())
}

fn column(expr: &PhysicalExprRef) -> Option<usize> {
    expr.downcast_ref::<Column>().map(Column::index)
}

/// The partition in which files of some values are read.
type Places = HashMap<Vec<ScalarValue>, usize>;

/// Spreads the values of all `sources` over `partitions`, the largest first, each to the smallest partition so far.
/// `None` when that leaves one much larger than the others.
fn places(sources: &[Source<'_>], partitions: usize) -> Option<Places> {
    let mut bytes: HashMap<&Vec<ScalarValue>, u64> = HashMap::new();
    for file in sources.iter().flat_map(|source| &source.files) {
        *bytes.entry(&file.values).or_default() += file.bytes();
    }
    let mut by_size: Vec<_> = bytes.into_iter().collect();
    // Plans of one statement are alike.
    by_size.sort_by_cached_key(|(values, bytes)| (Reverse(*bytes), format!("{values:?}")));
    let mut read = vec![0; partitions];
    let mut places = Places::new();
    for (values, bytes) in by_size {
        let (place, least) = read.iter_mut().enumerate().min_by_key(|(_, bytes)| **bytes)?;
        *least += bytes;
        places.insert(values.clone(), place);
    }
    let (largest, all) = (read.iter().max()?, read.iter().sum::<u64>());
    let is_even = *largest <= ALWAYS_READ.0 || largest * partitions as u64 <= SKEW_MAX * all;
    is_even.then_some(places)
}

fn internal(problem: &str) -> DataFusionError {
    DataFusionError::Internal(problem.to_owned())
}
