//! Functions of texts, where DataFusion's give something else than PostgreSQL's.

mod dialect;
pub(super) mod encodings;
mod letters;
mod matches;
mod patterns;
mod replaced;

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ScalarUDF;

pub use self::patterns::{expression, is_expression};
use crate::Error;
use crate::sqlstate::SqlState;

/// SQLSTATEs of what goes wrong here.
mod is_of {
    pub(super) const INVALID_PARAMETER: &str = "22023";
    pub(super) const NOT_SUPPORTED: &str = "0A000";
    pub(super) const EXPRESSION: &str = "2201B";
    pub(super) const ESCAPE: &str = "22025";
    pub(super) const INVALID_TEXT: &str = "22P02";
    pub(super) const LIMIT: &str = "54000";
}

/// Those that users call, in the place of DataFusion's of the same names.
pub fn named_functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = letters::functions();
    functions.extend(matches::functions());
    functions.extend(patterns::functions());
    functions.extend(replaced::functions());
    functions
}

/// Every function that plans may carry.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    named_functions()
}

fn fault(sqlstate: &str, message: String) -> DataFusionError {
    let error = Error::Stamped { sqlstate: SqlState::from_text(sqlstate), message };
    DataFusionError::Execution(error.to_stamp())
}

fn told(problem: dialect::Problem) -> DataFusionError {
    use dialect::Problem;
    match problem {
        Problem::Invalid(reason) => fault(is_of::EXPRESSION, format!("invalid regular expression: {reason}")),
        Problem::Unsupported(reason) => fault(is_of::NOT_SUPPORTED, reason.to_owned()),
        Problem::Option(letter) => {
            fault(is_of::INVALID_PARAMETER, format!("invalid regular expression option: \"{letter}\""))
        }
        Problem::Escape => fault(is_of::ESCAPE, "invalid escape string".to_owned()),
    }
}

/// What `values` are as plain texts.
fn texts(values: &ArrayRef) -> Result<StringArray> {
    Ok(cast(values, &DataType::Utf8)?.as_string::<i32>().clone())
}

fn text_at(values: &StringArray, row: usize) -> Option<&str> {
    values.is_valid(row).then(|| values.value(row))
}
