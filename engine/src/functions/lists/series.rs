//! `generate_series` with the types of PostgreSQL's: a series of `integer`s is of `integer`s, and one of dates is of instants.

use std::sync::Arc;

use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::functions_nested::range::gen_series_udf;
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The function, in the place of DataFusion's.
pub fn function() -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::from(Series { inner: gen_series_udf(), signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Series {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

fn are_integers(kinds: &[DataType]) -> bool {
    kinds.iter().all(|kind| matches!(kind, DataType::Int16 | DataType::Int32))
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

impl ScalarUDFImpl for Series {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        if are_integers(kinds) {
            return Ok(vec![DataType::Int32; kinds.len()]);
        }
        // Dates beside local times are such; by themselves they are midnights of the session.
        let is_zoned = kinds.iter().any(|kind| matches!(kind, DataType::Timestamp(_, Some(_))));
        let is_local = kinds.iter().any(|kind| matches!(kind, DataType::Timestamp(_, None)));
        let zone = (is_zoned || !is_local).then(|| "UTC".into());
        let moment = DataType::Timestamp(TimeUnit::Nanosecond, zone);
        let is_moment = |kind: &DataType| matches!(kind, DataType::Date32 | DataType::Timestamp(..));
        let are_moments = kinds.iter().any(is_moment);
        let wanted =
            |kind: &DataType| if are_moments && is_moment(kind) { moment.clone() } else { kind.clone() };
        let wanted: Vec<FieldRef> =
            kinds.iter().map(|kind| Arc::new(Field::new("bound", wanted(kind), true))).collect();
        let coerced = fields_with_udf(&wanted, self.inner.as_ref())?;
        Ok(coerced.iter().map(|field| field.data_type().clone()).collect())
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        if are_integers(kinds) { Ok(list_of(DataType::Int32)) } else { self.inner.return_type(kinds) }
    }

    fn with_updated_config(&self, options: &ConfigOptions) -> Option<ScalarUDF> {
        let inner = Arc::new(self.inner.inner().with_updated_config(options)?);
        Some(ScalarUDF::from(Self { inner, signature: self.signature.clone() }))
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let kinds: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        if !are_integers(&kinds) {
            return self.inner.invoke_with_args(args);
        }
        let bounds = args.args.iter().map(|bound| bound.cast_to(&DataType::Int64, None));
        args.args = bounds.collect::<Result<_>>()?;
        args.return_field = Arc::new(Field::new(self.name(), list_of(DataType::Int64), true));
        args.arg_fields =
            args.args.iter().map(|bound| Arc::new(Field::new("bound", bound.data_type(), true))).collect();
        let rows = args.number_rows;
        let series = self.inner.invoke_with_args(args)?.into_array(rows)?;
        Ok(ColumnarValue::Array(cast(&series, &list_of(DataType::Int32))?))
    }
}
