//! How plans travel between nodes: one pair of codecs for the scheduler and every executor.

use std::sync::Arc;

use ballista_core::serde::{BallistaLogicalExtensionCodec, BallistaPhysicalExtensionCodec};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::PhysicalHashRepartition;
use prost::Message;

use crate::operators::{KeptSide, NullableInput, NumberRows, RecordedPartitioning, WriteFiles, WriteTarget};

/// The codec for logical plans.
pub fn logical() -> Arc<dyn LogicalExtensionCodec> {
    Arc::new(BallistaLogicalExtensionCodec::default())
}

/// The codec for physical plans: Ballista's operators, and ours.
pub fn physical() -> Arc<dyn PhysicalExtensionCodec> {
    Arc::new(PhysicalCodec::default())
}

/// What an operator of ours begins with. Ballista's are Protobuf messages, whose first byte is never 0.
const OURS: u8 = 0;
/// What comes next tells which it is.
const WRITE_FILES: u8 = 1;
const NUMBER_ROWS: u8 = 2;
const RECORDED_PARTITIONING: u8 = 3;
const KEPT_SIDE: u8 = 4;
const NULLABLE_INPUT: u8 = 5;

#[derive(Debug, Default)]
struct PhysicalCodec {
    ballista: BallistaPhysicalExtensionCodec,
}

impl PhysicalExtensionCodec for PhysicalCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some((&OURS, body)) = bytes.split_first() else {
            return self.ballista.try_decode(bytes, inputs, context, converter);
        };
        let [input] = inputs else {
            return Err(DataFusionError::Internal(
                "an operator has more or fewer inputs than one".to_owned(),
            ));
        };
        let input = Arc::clone(input);
        match body.split_first() {
            Some((&WRITE_FILES, target)) => {
                let target: WriteTarget = serde_json::from_slice(target)
                    .map_err(|error| DataFusionError::External(Box::new(error)))?;
                Ok(Arc::new(WriteFiles::new(input, target)?))
            }
            Some((&NUMBER_ROWS, _)) => Ok(Arc::new(NumberRows::new(input))),
            Some((&KEPT_SIDE, _)) => Ok(Arc::new(KeptSide::new(input))),
            Some((&NULLABLE_INPUT, _)) => Ok(Arc::new(NullableInput::new(input))),
            Some((&RECORDED_PARTITIONING, keys)) => {
                let keys = PhysicalHashRepartition::decode(keys)
                    .map_err(|error| DataFusionError::External(Box::new(error)))?;
                let context = PhysicalPlanDecodeContext::new(context, self);
                let schema = input.schema();
                let key = |key| converter.proto_to_physical_expr(key, &schema, &context);
                let keys = keys.hash_expr.iter().map(key).collect::<Result<_>>()?;
                Ok(Arc::new(RecordedPartitioning::new(input, keys)))
            }
            _ => Err(DataFusionError::Internal("a plan has an operator that is not known here".to_owned())),
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        if node.is::<NumberRows>() {
            bytes.extend([OURS, NUMBER_ROWS]);
            return Ok(());
        }
        if node.is::<KeptSide>() {
            bytes.extend([OURS, KEPT_SIDE]);
            return Ok(());
        }
        if node.is::<NullableInput>() {
            bytes.extend([OURS, NULLABLE_INPUT]);
            return Ok(());
        }
        if let Some(recorded) = node.downcast_ref::<RecordedPartitioning>() {
            bytes.extend([OURS, RECORDED_PARTITIONING]);
            let key = |key| converter.physical_expr_to_proto(key, self);
            let hash_expr = recorded.keys().iter().map(key).collect::<Result<_>>()?;
            let partition_count = recorded.properties().output_partitioning().partition_count() as u64;
            return PhysicalHashRepartition { hash_expr, partition_count }
                .encode(bytes)
                .map_err(|error| DataFusionError::External(Box::new(error)));
        }
        let Some(write) = node.downcast_ref::<WriteFiles>() else {
            return self.ballista.try_encode(node, bytes, converter);
        };
        bytes.extend([OURS, WRITE_FILES]);
        serde_json::to_writer(bytes, write.target())
            .map_err(|error| DataFusionError::External(Box::new(error)))
    }

    fn try_decode_udf(&self, name: &str, bytes: &[u8]) -> Result<Arc<ScalarUDF>> {
        self.ballista.try_decode_udf(name, bytes)
    }

    fn try_encode_udf(&self, node: &ScalarUDF, bytes: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_udf(node, bytes)
    }

    fn try_decode_udaf(&self, name: &str, bytes: &[u8]) -> Result<Arc<AggregateUDF>> {
        self.ballista.try_decode_udaf(name, bytes)
    }

    fn try_encode_udaf(&self, node: &AggregateUDF, bytes: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_udaf(node, bytes)
    }

    fn try_decode_udwf(&self, name: &str, bytes: &[u8]) -> Result<Arc<WindowUDF>> {
        self.ballista.try_decode_udwf(name, bytes)
    }

    fn try_encode_udwf(&self, node: &WindowUDF, bytes: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_udwf(node, bytes)
    }
}

/// The largest message between nodes: a plan with many files, or a batch of wide rows.
pub const MESSAGE_BYTES_MAX: u32 = 128 << 20;
