//! The functions that every node knows. An executor looks them up by name, so a function that is
//! missing here cannot be used in a distributed query.

pub mod arithmetic;
pub mod bounded;
pub mod date_part;
pub mod gathering;
pub mod partition;
pub mod rounding;

use std::sync::Arc;

use ballista_core::registry::BallistaFunctionRegistry;
use datafusion::functions_nested::all_default_nested_functions;

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
    for function in [date_part::function(), partition::function(), rounding::function()] {
        registry.scalar_functions.insert(function.name().to_owned(), function);
    }
    for function in gathering::functions() {
        registry.aggregate_functions.insert(function.name().to_owned(), function);
    }
    Arc::new(registry)
}
