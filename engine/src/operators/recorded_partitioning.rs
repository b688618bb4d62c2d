//! Stands where an exchange was left out, and says to the planner what the exchange would have said.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{PhysicalExpr, PhysicalExprRef};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
    Statistics,
};

/// Gives the rows of its input as they are: those that agree in the keys lie in one partition already.
///
/// To DataFusion this is a hash of the keys. It is not its own hash, so all inputs of a stage must be cut alike, and
/// nothing may compute from the key which partition a row is in.
#[derive(Debug)]
pub struct RecordedPartitioning {
    input: Arc<dyn ExecutionPlan>,
    keys: Vec<PhysicalExprRef>,
    properties: Arc<PlanProperties>,
}

impl RecordedPartitioning {
    /// Says that the partitions of `input` are cut by `keys`.
    pub fn new(input: Arc<dyn ExecutionPlan>, keys: Vec<PhysicalExprRef>) -> Self {
        let partitions = input.output_partitioning().partition_count();
        let partitioning = Partitioning::Hash(keys.clone(), partitions);
        let properties = PlanProperties::clone(input.properties()).with_partitioning(partitioning);
        Self { input, keys, properties: Arc::new(properties) }
    }

    /// What it reads.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// What its partitions are cut by.
    pub fn keys(&self) -> &[PhysicalExprRef] {
        &self.keys
    }
}

impl DisplayAs for RecordedPartitioning {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordedPartitioning: keys=[")?;
        for (at, key) in self.keys.iter().enumerate() {
            write!(f, "{}{key}", if at == 0 { "" } else { ", " })?;
        }
        write!(f, "], partitions={}", self.properties.output_partitioning().partition_count())
    }
}

impl ExecutionPlan for RecordedPartitioning {
    fn name(&self) -> &str {
        "RecordedPartitioning"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    /// Else a rule would put an exchange between it and what it reads.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        apply: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for key in &self.keys {
            if apply(key)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = <[_; 1]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("a partitioning is that of one input".to_owned()))?;
        Ok(Arc::new(Self::new(input, self.keys.clone())))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let [input] = input_stats else {
            return Err(DataFusionError::Internal("a partitioning is that of one input".to_owned()));
        };
        Ok(Arc::clone(input))
    }
}
