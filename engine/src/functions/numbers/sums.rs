//! `sum(numeric)`, which fails (22003) past 38 digits, where DataFusion's wraps round; `sum(real)`, which is a `real`; and sums of
//! doubles over frames that slide.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, i256};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs, Volatility,
};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

use super::moments::doubles::{SingleTotal, Total};
use super::moments::sums::{self, Sums};
use super::moments::tally::{Groups as Tallies, One as Tallied, Sliding};
use super::moments::{Measure, different_fields, different_or, one_of};
use super::wide::is_wide;
use super::{fault, is_of, watched};

/// Digits of sums that may come to more than there is room for.
const PRECISION: u8 = 38;
/// One more than the largest sum.
const LIMIT: u128 = 10u128.pow(PRECISION as u32);
/// A sum that is past all that can be held: no sum that can be given is as large.
const LOST: i128 = i128::MAX;

/// The function, under the name of DataFusion's.
pub fn function() -> Arc<AggregateUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(AggregateUDF::from(Sum { function: sum_udaf(), signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sum {
    function: Arc<AggregateUDF>,
    signature: Signature,
}

impl Sum {
    fn inner(&self) -> &dyn AggregateUDFImpl {
        self.function.inner().as_ref()
    }
}

/// The scale of sums that are looked at.
fn is_checked(args: &AccumulatorArgs<'_>) -> bool {
    !args.is_distinct && matches!(args.return_field.data_type(), DataType::Decimal128(PRECISION, _))
}

/// True for sums of singles.
fn is_single(args: &AccumulatorArgs<'_>) -> bool {
    args.return_field.data_type() == &DataType::Float32
}

fn overflow() -> datafusion::error::DataFusionError {
    fault(is_of::OUT_OF_RANGE, "value overflows numeric format".to_owned())
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [kind @ (DataType::Float32 | DataType::LargeBinary)] => Ok(kind.clone()),
            types => self.inner().return_type(types),
        }
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        match fields {
            [argument] if matches!(argument.data_type(), DataType::Float32 | DataType::LargeBinary) => {
                Ok(Arc::new(Field::new(self.name(), argument.data_type().clone(), self.is_nullable())))
            }
            fields => self.inner().return_field(fields),
        }
    }

    fn is_nullable(&self) -> bool {
        self.inner().is_nullable()
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if is_checked(&args) {
            return Ok(Box::new(One::new(args.return_field.data_type())));
        }
        if is_wide(args.return_field.data_type()) {
            return one_of(Sums::<false>::answer(Measure::Sum), &args);
        }
        if is_single(&args) {
            return different_or(args.is_distinct, args.expr_fields, SingleTotal::sum(), |sum| {
                Box::new(Tallied::new(sum))
            });
        }
        let is_double = args.return_field.data_type() == &DataType::Float64;
        let inner = self.inner().accumulator(args)?;
        Ok(if is_double { Box::new(watched::One::sum(inner)) } else { inner })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let kind = args.return_field.data_type();
        if args.is_distinct && (*kind == DataType::Float32 || is_wide(kind)) {
            return Ok(different_fields(args.name, args.input_fields));
        }
        if is_wide(kind) {
            let field = |(index, kind)| Arc::new(Field::new(format!("{}[{index}]", args.name), kind, true));
            return Ok(sums::STATE.into_iter().enumerate().map(field).collect());
        }
        self.inner().state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        if is_single(&args) || is_wide(args.return_field.data_type()) {
            return !args.is_distinct;
        }
        self.inner().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        if is_single(&args) {
            return Ok(Box::new(Tallies::new(SingleTotal::sum())));
        }
        if is_wide(args.return_field.data_type()) {
            return Ok(Box::new(Tallies::new(Sums::<false>::answer(Measure::Sum))));
        }
        if args.return_field.data_type() == &DataType::Float64 {
            return Ok(Box::new(watched::Groups::sum()));
        }
        if !is_checked(&args) {
            return self.inner().create_groups_accumulator(args);
        }
        let add = |sum: &mut i128, value: i128| {
            if *sum != LOST {
                *sum = sum.checked_add(value).unwrap_or(LOST);
            }
        };
        let sums = PrimitiveGroupsAccumulator::<Decimal128Type, _>::new(args.return_field.data_type(), add);
        Ok(Box::new(Groups { sums: Box::new(sums) }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if is_checked(&args) {
            return Ok(Box::new(One::new(args.return_field.data_type())));
        }
        match args.return_field.data_type() {
            kind if is_wide(kind) => Ok(Box::new(Sliding::new(Sums::<false>::answer(Measure::Sum)))),
            DataType::Float32 => Ok(Box::new(Sliding::new(SingleTotal::sum()))),
            DataType::Float64 => Ok(Box::new(Sliding::new(Total::sum()))),
            _ => self.inner().create_sliding_accumulator(args),
        }
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner().order_sensitivity()
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.inner().simplify()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner().reverse_expr()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if let [kind @ DataType::LargeBinary] = types {
            return Ok(vec![kind.clone()]);
        }
        if let [DataType::Float16 | DataType::Float32] = types {
            return Ok(vec![DataType::Float32]);
        }
        let fields: Vec<FieldRef> =
            types.iter().map(|kind| Arc::new(Field::new("value", kind.clone(), true))).collect();
        let coerced = fields_with_udf(&fields, self.function.as_ref())?;
        Ok(coerced.iter().map(|field| field.data_type().clone()).collect())
    }

    fn is_descending(&self) -> Option<bool> {
        self.inner().is_descending()
    }

    fn value_from_stats(&self, args: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        self.inner().value_from_stats(args)
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner().default_value(data_type)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner().supports_null_handling_clause()
    }

    fn supports_within_group_clause(&self) -> bool {
        self.inner().supports_within_group_clause()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner().set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner().documentation()
    }
}

/// One sum, of more digits than can be given: what is added may be taken away again.
#[derive(Debug)]
struct One {
    sum: i256,
    count: u64,
    data_type: DataType,
}

impl One {
    fn new(data_type: &DataType) -> Self {
        Self { sum: i256::ZERO, count: 0, data_type: data_type.clone() }
    }

    /// The sum of a batch.
    fn of(values: &ArrayRef) -> i256 {
        let values = values.as_primitive::<Decimal128Type>();
        let mut sum = i256::ZERO;
        let mut part = 0i128;
        for value in values.iter().flatten() {
            part = part.checked_add(value).unwrap_or_else(|| {
                sum = sum.wrapping_add(i256::from_i128(part));
                value
            });
        }
        sum.wrapping_add(i256::from_i128(part))
    }

    fn value(&self) -> Result<ScalarValue> {
        let DataType::Decimal128(precision, scale) = self.data_type else {
            return ScalarValue::try_from(&self.data_type);
        };
        if self.count == 0 {
            return Ok(ScalarValue::Decimal128(None, precision, scale));
        }
        let sum = self.sum.to_i128().filter(|sum| sum.unsigned_abs() < LIMIT).ok_or_else(overflow)?;
        Ok(ScalarValue::Decimal128(Some(sum), precision, scale))
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(values) = values.first() else { return Ok(()) };
        self.count += (values.len() - values.null_count()) as u64;
        self.sum = self.sum.wrapping_add(Self::of(values));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.value()
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(values) = values.first() else { return Ok(()) };
        self.count -= (values.len() - values.null_count()) as u64;
        self.sum = self.sum.wrapping_sub(Self::of(values));
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}

/// The sums of many groups.
struct Groups {
    sums: Box<dyn GroupsAccumulator>,
}

/// Refuses sums that have more digits than there is room for.
fn check(sums: &ArrayRef) -> Result<()> {
    let sums = sums.as_primitive::<Decimal128Type>();
    // What stands in the place of a null is zero.
    if sums.values().iter().any(|sum| sum.unsigned_abs() >= LIMIT) { Err(overflow()) } else { Ok(()) }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.sums.update_batch(values, groups, filter, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = self.sums.evaluate(emit_to)?;
        check(&sums)?;
        Ok(sums)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let state = self.sums.state(emit_to)?;
        state.iter().try_for_each(check)?;
        Ok(state)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.sums.merge_batch(values, groups, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.sums.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.sums.size()
    }
}
