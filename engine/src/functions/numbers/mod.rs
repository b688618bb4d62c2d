//! PostgreSQL's arithmetic of numbers, where DataFusion's differs.

pub(super) mod averages;
pub mod conversions;
pub mod digits;
mod extremes;
mod mathematics;
pub(super) mod moments;
pub mod shown;
pub(super) mod sums;
mod value;
mod watched;
pub mod wide;
pub mod zeros;

use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

use crate::Error;
use crate::sqlstate::SqlState;

/// SQLSTATEs of what goes wrong here.
mod is_of {
    pub(super) const OUT_OF_RANGE: &str = "22003";
    pub(super) const DIVISION_BY_ZERO: &str = "22012";
    pub(super) const INVALID_TEXT: &str = "22P02";
    pub(super) const NOT_SUPPORTED: &str = "0A000";
    pub(super) const LOGARITHM: &str = "2201E";
    pub(super) const POWER: &str = "2201F";
    pub(super) const BUCKET: &str = "2201G";
}

/// Those that users call, in the place of DataFusion's of the same names.
pub fn named_functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = mathematics::functions();
    functions.push(conversions::bare());
    functions.extend(wide::calls::functions());
    functions.extend(wide::choices::functions());
    functions
}

/// Aggregates, in the place of DataFusion's of the same names.
pub fn aggregates() -> Vec<Arc<AggregateUDF>> {
    let mut functions = moments::functions();
    functions.extend([sums::function(), averages::function()]);
    functions.extend(extremes::functions());
    functions
}

/// Every function that plans may carry.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = conversions::functions();
    functions.extend(wide::calls::functions());
    functions.push(zeros::function());
    functions.push(shown::function());
    functions.extend(mathematics::functions());
    functions.extend(wide::choices::functions());
    functions
}

fn fault(sqlstate: &str, message: String) -> DataFusionError {
    let error = Error::Stamped { sqlstate: SqlState::from_text(sqlstate), message };
    DataFusionError::Execution(error.to_stamp())
}
