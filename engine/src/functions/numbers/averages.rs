//! `avg` of whole numbers and decimals, with PostgreSQL's digits, rounded half away from zero. DataFusion's is a double, or cut off
//! four digits behind those of its argument.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, UInt64Array};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF,
    Signature, Volatility,
};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::accumulate::NullState;

use super::conversions::numeric_overflow;
use super::moments::doubles::Total;
use super::moments::exact::Exact;
use super::moments::sums::{self, Sums};
use super::moments::tally::{Answer, Groups as Tallies, Sliding};
use super::moments::{Measure, different_fields, one_of};
use super::watched;
use super::wide::columns::Builder;
use super::wide::{self, Number, is_wide};
use crate::functions::no_such_arguments;

const PRECISION: u8 = 38;

/// The function, under the name of DataFusion's.
pub fn function() -> Arc<AggregateUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(AggregateUDF::from(Average { function: avg_udaf(), signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Average {
    function: Arc<AggregateUDF>,
    signature: Signature,
}

impl Average {
    fn inner(&self) -> &dyn AggregateUDFImpl {
        self.function.inner().as_ref()
    }
}

/// The scale of what is averaged here; others are DataFusion's.
fn scale_of(kind: &DataType) -> Option<i8> {
    match kind {
        DataType::Int64 => Some(0),
        DataType::Decimal128(_, scale) => Some(*scale),
        _ => None,
    }
}

/// The scale of the argument, where all values are averaged.
fn scale_of_all(fields: &[FieldRef], is_distinct: bool) -> Option<i8> {
    scale_of(fields.first()?.data_type()).filter(|_| !is_distinct)
}

/// What averages of different values, and of wide numbers, are counted by.
enum Way {
    Exact(Answer<Exact>),
    Wide(Answer<Sums<false>>),
}

fn way(fields: &[FieldRef], is_distinct: bool) -> Option<Way> {
    let kind = fields.first()?.data_type();
    if is_wide(kind) {
        return Some(Way::Wide(Sums::answer(Measure::Average)));
    }
    let scale = scale_of(kind).filter(|_| is_distinct)?;
    Some(Way::Exact(Exact::answer(Measure::Average, scale)))
}

impl AggregateUDFImpl for Average {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let taken = match types {
            [DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale)] => {
                DataType::Decimal128(*precision, *scale)
            }
            [kind @ (DataType::Decimal128(..) | DataType::LargeBinary | DataType::Duration(_))] => {
                kind.clone()
            }
            [DataType::UInt64] => DataType::Decimal128(20, 0),
            [kind] if kind.is_integer() => DataType::Int64,
            [kind] if kind.is_floating() || kind.is_null() => DataType::Float64,
            _ => {
                return Err(no_such_arguments(self.name()));
            }
        };
        Ok(vec![taken])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [kind] if scale_of(kind).is_some() || is_wide(kind) => Ok(wide::TYPE),
            types => self.inner().return_type(types),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match way(args.expr_fields, args.is_distinct) {
            Some(Way::Exact(answer)) => return one_of(answer, &args),
            Some(Way::Wide(answer)) => return one_of(answer, &args),
            None => {}
        }
        match scale_of_all(args.expr_fields, args.is_distinct) {
            Some(from) => Ok(Box::new(One { sum: 0, count: 0, is_lost: false, from })),
            None => {
                let is_double = args.return_field.data_type() == &DataType::Float64;
                let inner = self.inner().accumulator(args)?;
                Ok(if is_double { Box::new(watched::One::average(inner)) } else { inner })
            }
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field =
            |name: &str, kind: DataType| Arc::new(Field::new(format!("{}[{name}]", args.name), kind, true));
        if way(args.input_fields, args.is_distinct).is_some() {
            if args.is_distinct {
                return Ok(different_fields(args.name, args.input_fields));
            }
            let names = ["count", "sum", "squares"].iter().zip(sums::STATE);
            return Ok(names.map(|(name, kind)| field(name, kind)).collect());
        }
        let Some(from) = scale_of_all(args.input_fields, args.is_distinct) else {
            return self.inner().state_fields(args);
        };
        Ok(vec![field("count", DataType::UInt64), field("sum", DataType::Decimal128(PRECISION, from))])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        if way(args.expr_fields, args.is_distinct).is_some() {
            return !args.is_distinct;
        }
        scale_of_all(args.expr_fields, args.is_distinct).is_some()
            || self.inner().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        if let Some(Way::Wide(answer)) = way(args.expr_fields, args.is_distinct) {
            return Ok(Box::new(Tallies::new(answer)));
        }
        match scale_of_all(args.expr_fields, args.is_distinct) {
            Some(from) => Ok(Box::new(Groups {
                sums: Vec::new(),
                counts: Vec::new(),
                nulls: NullState::new(),
                is_lost: false,
                from,
            })),
            None => {
                let is_double = args.return_field.data_type() == &DataType::Float64;
                let inner = self.inner().create_groups_accumulator(args)?;
                Ok(if is_double { Box::new(watched::Groups::average(inner)) } else { inner })
            }
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if let Some(Way::Wide(answer)) = way(args.expr_fields, args.is_distinct) {
            return Ok(Box::new(Sliding::new(answer)));
        }
        match scale_of_all(args.expr_fields, args.is_distinct) {
            Some(_) => self.accumulator(args),
            None if args.return_field.data_type() == &DataType::Float64 => {
                Ok(Box::new(Sliding::new(Total::average())))
            }
            None => self.inner().create_sliding_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner().documentation()
    }
}

fn average(sum: i128, from: i8, count: u64) -> Result<Number> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    Number::average(&Number::of_decimal(sum, from), count).map_err(wide::error)
}

/// Adds values, and says whether that is past all that can be held.
fn add(sum: &mut i128, value: i128) -> bool {
    let (added, is_lost) = sum.overflowing_add(value);
    *sum = added;
    is_lost
}

/// The average of one group.
#[derive(Debug)]
struct One {
    sum: i128,
    count: u64,
    is_lost: bool,
    from: i8,
}

impl One {
    fn each(values: &ArrayRef, mut change: impl FnMut(i128)) {
        match values.data_type() {
            DataType::Int64 => {
                values
                    .as_primitive::<Int64Type>()
                    .iter()
                    .flatten()
                    .for_each(|value| change(i128::from(value)));
            }
            _ => values.as_primitive::<Decimal128Type>().iter().flatten().for_each(change),
        }
    }

    fn check(&self) -> Result<()> {
        if self.is_lost { Err(numeric_overflow()) } else { Ok(()) }
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(values) = values.first() else { return Ok(()) };
        self.count += (values.len() - values.null_count()) as u64;
        let (sum, is_lost) = (&mut self.sum, &mut self.is_lost);
        Self::each(values, |value| *is_lost |= add(sum, value));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.check()?;
        let average = match self.count {
            0 => None,
            count => Some(average(self.sum, self.from, count)?),
        };
        Ok(wide::scalar(average.as_ref()))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.check()?;
        let sum = (self.count > 0).then_some(self.sum);
        Ok(vec![ScalarValue::UInt64(Some(self.count)), ScalarValue::Decimal128(sum, PRECISION, self.from)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [counts, sums] = states else { return Ok(()) };
        self.count += counts.as_primitive::<UInt64Type>().iter().flatten().sum::<u64>();
        let (sum, is_lost) = (&mut self.sum, &mut self.is_lost);
        Self::each(sums, |value| *is_lost |= add(sum, value));
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(values) = values.first() else { return Ok(()) };
        self.count -= (values.len() - values.null_count()) as u64;
        let (sum, is_lost) = (&mut self.sum, &mut self.is_lost);
        Self::each(values, |value| *is_lost |= add(sum, -value));
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}

/// The averages of many groups.
struct Groups {
    sums: Vec<i128>,
    counts: Vec<u64>,
    nulls: NullState,
    is_lost: bool,
    from: i8,
}

impl Groups {
    fn resize(&mut self, total: usize) {
        self.sums.resize(total, 0);
        self.counts.resize(total, 0);
    }

    fn check(&self) -> Result<()> {
        if self.is_lost { Err(numeric_overflow()) } else { Ok(()) }
    }

    /// The decimals that whole numbers are.
    fn decimals(&self, values: &ArrayRef) -> Result<Decimal128Array> {
        let values = match values.data_type() {
            DataType::Int64 => cast(values, &DataType::Decimal128(20, 0))?,
            _ => Arc::clone(values),
        };
        Ok(values.as_primitive::<Decimal128Type>().clone())
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        let Some(values) = values.first() else { return Ok(()) };
        self.resize(total);
        let (sums, counts, is_lost) = (&mut self.sums, &mut self.counts, &mut self.is_lost);
        match values.data_type() {
            DataType::Int64 => {
                let values = values.as_primitive::<Int64Type>();
                self.nulls.accumulate(groups, values, filter, total, |group, value| {
                    *is_lost |= add(&mut sums[group], i128::from(value));
                    counts[group] += 1;
                });
            }
            _ => {
                let values = values.as_primitive::<Decimal128Type>();
                self.nulls.accumulate(groups, values, filter, total, |group, value| {
                    *is_lost |= add(&mut sums[group], value);
                    counts[group] += 1;
                });
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.check()?;
        let (counts, sums) = (emit_to.take_needed(&mut self.counts), emit_to.take_needed(&mut self.sums));
        let nulls = self.nulls.build(emit_to);
        let mut averages = Builder::new(sums.len());
        for (row, (sum, count)) in sums.into_iter().zip(counts).enumerate() {
            let is_null = count == 0 || nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
            match is_null {
                true => averages.push(None),
                false => averages.push(Some(&average(sum, self.from, count)?)),
            }
        }
        Ok(Arc::new(averages.finish()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.check()?;
        let nulls = self.nulls.build(emit_to);
        let counts = UInt64Array::new(emit_to.take_needed(&mut self.counts).into(), nulls.clone());
        let sums = Decimal128Array::new(emit_to.take_needed(&mut self.sums).into(), nulls)
            .with_precision_and_scale(PRECISION, self.from)?;
        Ok(vec![Arc::new(counts), Arc::new(sums)])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        let [partial_counts, partial_sums] = values else { return Ok(()) };
        self.resize(total);
        let (sums, counts, is_lost) = (&mut self.sums, &mut self.counts, &mut self.is_lost);
        let partial_counts = partial_counts.as_primitive::<UInt64Type>();
        self.nulls.accumulate(groups, partial_counts, None, total, |group, count| counts[group] += count);
        let partial_sums = partial_sums.as_primitive::<Decimal128Type>();
        self.nulls.accumulate(groups, partial_sums, None, total, |group, sum| {
            *is_lost |= add(&mut sums[group], sum);
        });
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let Some(values) = values.first() else { return Ok(Vec::new()) };
        let sums = self.decimals(values)?;
        let kept = filter.map(|filter| {
            let kept: Vec<bool> = filter.iter().map(|is_kept| is_kept == Some(true)).collect();
            NullBuffer::from(kept)
        });
        let nulls = NullBuffer::union(sums.nulls(), kept.as_ref());
        let counts = UInt64Array::new(vec![1u64; sums.len()].into(), nulls.clone());
        let sums = Decimal128Array::new(sums.values().clone(), nulls)
            .with_precision_and_scale(PRECISION, self.from)?;
        Ok(vec![Arc::new(counts), Arc::new(sums)])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>()
            + self.counts.capacity() * size_of::<u64>()
            + self.nulls.size()
    }
}
