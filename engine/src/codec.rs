//! How plans travel between nodes: one pair of codecs for the scheduler and every executor.

use std::sync::Arc;
use std::time::Duration;

use ballista_core::extension::BallistaConfigGrpcEndpoint;
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

/// How a connection between nodes is opened: a peer that does not answer, or stops answering, is found
/// out within seconds.
pub fn peer_endpoint() -> Arc<BallistaConfigGrpcEndpoint> {
    const PATIENCE: Duration = Duration::from_secs(2);
    Arc::new(BallistaConfigGrpcEndpoint::new(Arc::new(|endpoint| {
        Ok(endpoint
            .connect_timeout(PATIENCE)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PATIENCE / 2)
            .keep_alive_timeout(PATIENCE)
            .keep_alive_while_idle(true))
    })))
}
