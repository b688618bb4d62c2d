//! The functions that every node knows. An executor looks them up by name, so a function that is
//! missing here cannot be used in a distributed query.

pub mod arithmetic;
pub mod partition;

use std::sync::Arc;

use ballista_core::registry::BallistaFunctionRegistry;

/// The registry executors decode plans with: DataFusion's own functions, and ours.
pub fn registry() -> Arc<BallistaFunctionRegistry> {
    let mut registry = BallistaFunctionRegistry::default();
    for function in arithmetic::functions() {
        registry.scalar_functions.insert(function.name().to_owned(), function);
    }
    let partition = partition::function();
    registry.scalar_functions.insert(partition.name().to_owned(), partition);
    Arc::new(registry)
}
