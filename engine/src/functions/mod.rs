//! The functions that every node knows. An executor looks them up by name, so a function that is
//! missing here cannot be used in a distributed query.

pub mod arithmetic;
pub mod bounded;
pub mod bytes;
pub mod concatenation;
pub mod date_part;
pub mod declared;
pub mod documents;
#[cfg(test)]
mod every_function;
pub mod floats;
pub mod formatting;
pub mod gathering;
pub mod growth;
pub mod instants;
pub mod later;
pub mod lists;
pub mod matching;
pub mod numbers;
pub mod partition;
pub mod patterns;
pub mod ranks;
pub mod rounding;
pub mod signs;
pub mod sketches;
mod slices;
pub mod style;
pub mod texts;

use std::sync::Arc;

use ballista_core::registry::BallistaFunctionRegistry;
use datafusion::common::config::ConfigOptions;
use datafusion::error::DataFusionError;
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
    for function in all_default_nested_functions() {
        for name in function.aliases().iter().map(String::as_str).chain([function.name()]) {
            registry.scalar_functions.insert(name.to_owned(), Arc::clone(&function));
        }
    }
    let ours = [
        formatting::functions(),
        lists::functions(),
        bytes::functions(),
        documents::functions(),
        numbers::functions(),
        texts::functions(),
    ];
    for function in ours.into_iter().flatten() {
        registry.scalar_functions.insert(function.name().to_owned(), function);
    }
    for function in instants::functions() {
        registry.scalar_functions.insert(function.name().to_owned(), function);
    }
    for function in [
        concatenation::function(),
        declared::function(),
        matching::function(),
        partition::function(),
        patterns::function(),
        rounding::function(),
        crate::semantics::nullable(),
        crate::semantics::same(),
        crate::subqueries::function(),
    ] {
        registry.scalar_functions.insert(function.name().to_owned(), function);
    }
    let mut options = ConfigOptions::default();
    options.execution.time_zone = Some(ZONE.to_owned());
    for function in registry.scalar_functions.values_mut() {
        if let Some(zoned) = function.inner().with_updated_config(&options) {
            *function = Arc::new(zoned);
        }
        if let Some(bounded) = bounded::bounded(Arc::clone(function)) {
            *function = bounded;
        }
    }
    let aggregates = [gathering::functions(), numbers::aggregates(), instants::totals::functions()];
    for function in aggregates.into_iter().flatten() {
        registry.aggregate_functions.insert(function.name().to_owned(), function);
    }
    for function in ranks::functions() {
        registry.window_functions.insert(function.name().to_owned(), function);
    }
    Arc::new(registry)
}

/// The error for arguments that `name` does not take, which is told to clients as 42883.
pub(crate) fn no_such_arguments(name: &str) -> DataFusionError {
    DataFusionError::Plan(format!("Function '{name}' failed to match any signature: no such arguments"))
}
