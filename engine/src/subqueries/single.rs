//! The check that a subquery used as an expression gives one row at most.

use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::Error;
use crate::sqlstate::SqlState;

const NAME: &str = "sluice_single_row";

/// `sluice_single_row(value, rows)`: `value`, unless there were more `rows` than one (21000).
#[derive(Debug, PartialEq, Eq, Hash)]
struct SingleRow {
    signature: Signature,
}

/// The function.
pub fn function() -> Arc<ScalarUDF> {
    let signature = Signature::any(2, Volatility::Immutable);
    Arc::new(ScalarUDF::from(SingleRow { signature }))
}

impl ScalarUDFImpl for SingleRow {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.first().cloned().ok_or_else(|| DataFusionError::Plan(format!("{NAME} takes two arguments")))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, rows] = <[ColumnarValue; 2]>::try_from(args.args)
            .map_err(|_| DataFusionError::Plan(format!("{NAME} takes two arguments")))?;
        let rows = rows.into_array(args.number_rows)?;
        let counted = rows
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(|| DataFusionError::Plan(format!("{NAME} takes a number of rows")))?;
        if counted.iter().flatten().any(|rows| rows > 1) {
            let error = Error::Stamped {
                sqlstate: SqlState::from_text("21000"),
                message: "more than one row returned by a subquery used as an expression".into(),
            };
            return Err(DataFusionError::Execution(error.to_stamp()));
        }
        Ok(value)
    }
}
