//! `||` of two texts, as a function, which has a bound as others have: a query that doubles a text again and again comes
//! to one that no cap could hold.

use std::sync::Arc;

use datafusion::arrow::compute::kernels::concat_elements::concat_elements_dyn;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

const NAME: &str = "sluice_concat";

/// `sluice_concat(a, b)`: two texts of one type give one of that type, and null where either is null.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Concatenation {
    signature: Signature,
}

/// The function.
pub fn function() -> Arc<ScalarUDF> {
    let signature = Signature::any(2, Volatility::Immutable);
    Arc::new(ScalarUDF::from(Concatenation { signature }))
}

/// True for the function of this file.
pub fn is_ours(function: &ScalarUDF) -> bool {
    function.name() == NAME
}

impl ScalarUDFImpl for Concatenation {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.first().cloned().ok_or_else(two_arguments)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let first = args.arg_fields.first().ok_or_else(two_arguments)?;
        let is_nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(NAME, first.data_type().clone(), is_nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [left, right] = arrays.as_slice() else { return Err(two_arguments()) };
        let joined = concat_elements_dyn(left, right)?;
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&joined, 0)?));
        }
        Ok(ColumnarValue::Array(joined))
    }
}

fn two_arguments() -> DataFusionError {
    DataFusionError::Plan(format!("{NAME} takes two arguments"))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, AsArray, StringArray, StringViewArray};
    use datafusion::common::config::ConfigOptions;

    use super::super::bounded;
    use super::*;

    fn joined(left: ColumnarValue, right: ColumnarValue) -> Result<ColumnarValue> {
        let field = |value: &ColumnarValue| Arc::new(Field::new("a", value.data_type(), true));
        let rows = match &left {
            ColumnarValue::Array(array) => array.len(),
            ColumnarValue::Scalar(_) => 1,
        };
        let function = bounded::bounded(function()).expect("it has none yet");
        function.invoke_with_args(ScalarFunctionArgs {
            arg_fields: vec![field(&left), field(&right)],
            return_field: field(&left),
            number_rows: rows,
            config_options: Arc::new(ConfigOptions::default()),
            args: vec![left, right],
        })
    }

    #[test]
    fn null_joined_to_anything_is_null() {
        let left: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
        let right = ColumnarValue::Scalar(ScalarValue::from("b"));
        let ColumnarValue::Array(both) = joined(ColumnarValue::Array(left), right).expect("texts") else {
            panic!("rows give rows")
        };
        assert_eq!(both.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("ab"), None]);
    }

    #[test]
    fn many_views_of_one_text_are_counted_each() {
        let text = "x".repeat(1 << 20);
        let one = StringViewArray::from(vec![text.as_str()]);
        let views = vec![one.views()[0]; 4096];
        let many = StringViewArray::new(views.into(), one.data_buffers().to_vec(), None);
        let many = ColumnarValue::Array(Arc::new(many));
        let refused = joined(many.clone(), many).expect_err("8 GB");
        assert!(matches!(refused, DataFusionError::ResourcesExhausted(_)), "{refused}");
    }
}
