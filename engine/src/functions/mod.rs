//! The functions that every node knows. An executor looks them up by name, so a function that is
//! missing here cannot be used in a distributed query.

use std::sync::Arc;

use ballista_core::registry::BallistaFunctionRegistry;

/// The registry executors decode plans with: DataFusion's own functions.
pub fn registry() -> Arc<BallistaFunctionRegistry> {
    Arc::new(BallistaFunctionRegistry::default())
}
