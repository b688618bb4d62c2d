//! The functions that every node knows. An executor looks them up by name, so a function that is
//! missing here cannot be used in a distributed query.

pub mod arithmetic;
pub mod bounded;
pub mod concatenation;
pub mod date_part;
pub mod gathering;
pub mod partition;
pub mod rounding;

use std::sync::Arc;

use ballista_core::registry::BallistaFunctionRegistry;
use datafusion::common::config::ConfigOptions;
use datafusion::functions_nested::all_default_nested_functions;

/// The zone of instants that functions make, wherever they are run.
pub const ZONE: &str = "UTC";

/// The registry executors decode plans with: DataFusion's own functions, and ours.
pub fn registry() -> Arc<BallistaFunctionRegistry> {
    let mut registry = BallistaFunctionRegistry::default();
    for function in arithmetic::functions() {
        registry.scalar_functions.insert(function.name().to_owned(), function);
    }
    // Those of arrays and maps, which Ballista's registry leaves out.
    for function in all_default_nested_functions().into_iter().chain(bounded::functions()) {
        registry.scalar_functions.insert(function.name().to_owned(), Arc::clone(&function));
        for alias in function.aliases() {
            registry.scalar_functions.insert(alias.clone(), Arc::clone(&function));
        }
    }
    for function in
        [concatenation::function(), date_part::function(), partition::function(), rounding::function()]
    {
        registry.scalar_functions.insert(function.name().to_owned(), function);
    }
    let mut options = ConfigOptions::default();
    options.execution.time_zone = Some(ZONE.to_owned());
    for function in registry.scalar_functions.values_mut() {
        if let Some(zoned) = function.inner().with_updated_config(&options) {
            *function = Arc::new(zoned);
        }
    }
    for function in gathering::functions() {
        registry.aggregate_functions.insert(function.name().to_owned(), function);
    }
    Arc::new(registry)
}
