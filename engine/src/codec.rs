//! How plans travel between nodes: one pair of codecs for the scheduler and every executor.

use std::sync::Arc;

use ballista_core::serde::{BallistaLogicalExtensionCodec, BallistaPhysicalExtensionCodec};
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::physical_plan::PhysicalExtensionCodec;

/// The codec for logical plans.
pub fn logical() -> Arc<dyn LogicalExtensionCodec> {
    Arc::new(BallistaLogicalExtensionCodec::default())
}

/// The codec for physical plans.
pub fn physical() -> Arc<dyn PhysicalExtensionCodec> {
    Arc::new(BallistaPhysicalExtensionCodec::default())
}

/// The largest message between nodes: a plan with many files, or a batch of wide rows.
pub const MESSAGE_BYTES_MAX: u32 = 128 << 20;
