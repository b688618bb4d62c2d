//! `min` and `max`, for which NaN is larger than every other number, infinity too. DataFusion's begin groups of floating-point
//! numbers with the largest and the least finite one, and take what compares with none for less and for more.

use std::sync::Arc;

use datafusion::arrow::datatypes::{ArrowPrimitiveType, DataType, FieldRef, Float32Type, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs,
};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

/// The functions, under the names of DataFusion's.
pub fn functions() -> [Arc<AggregateUDF>; 2] {
    [(min_udaf(), false), (max_udaf(), true)]
        .map(|(function, is_largest)| Arc::new(AggregateUDF::from(Extreme { function, is_largest })))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    function: Arc<AggregateUDF>,
    is_largest: bool,
}

impl Extreme {
    fn inner(&self) -> &dyn AggregateUDFImpl {
        self.function.inner().as_ref()
    }

    /// Groups of floating-point numbers. `least` and `largest` are the ends of their order.
    fn groups<T>(&self, kind: &DataType, least: T::Native, largest: T::Native) -> Box<dyn GroupsAccumulator>
    where
        T: ArrowPrimitiveType + Send,
        T::Native: PartialOrd,
    {
        // Only NaN differs from itself.
        #[expect(clippy::eq_op, reason = "says which numbers are none")]
        let is_nan = |value: T::Native| value != value;
        if self.is_largest {
            let keep = move |kept: &mut T::Native, value: T::Native| {
                if is_nan(value) || value > *kept {
                    *kept = value;
                }
            };
            return Box::new(PrimitiveGroupsAccumulator::<T, _>::new(kind, keep).with_starting_value(least));
        }
        let keep = move |kept: &mut T::Native, value: T::Native| {
            if is_nan(*kept) || value < *kept {
                *kept = value;
            }
        };
        Box::new(PrimitiveGroupsAccumulator::<T, _>::new(kind, keep).with_starting_value(largest))
    }
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner().signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner().return_type(types)
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        self.inner().return_field(fields)
    }

    fn is_nullable(&self) -> bool {
        self.inner().is_nullable()
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.inner().accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.inner().state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        match args.return_field.data_type() {
            kind @ DataType::Float32 => Ok(self.groups::<Float32Type>(kind, f32::NEG_INFINITY, f32::NAN)),
            kind @ DataType::Float64 => Ok(self.groups::<Float64Type>(kind, f64::NEG_INFINITY, f64::NAN)),
            _ => self.inner().create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.inner().create_sliding_accumulator(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner().order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner().reverse_expr()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner().coerce_types(types)
    }

    fn is_descending(&self) -> Option<bool> {
        self.inner().is_descending()
    }

    fn value_from_stats(&self, args: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        self.inner().value_from_stats(args)
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner().set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner().documentation()
    }
}
