//! Sums and averages of doubles that come to infinity without an infinite value: PostgreSQL's fail then (22003).

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

use super::moments::doubles::overflow;

/// An accumulator of doubles that looks at what goes in and what comes out.
#[derive(Debug)]
pub(super) struct One {
    inner: Box<dyn Accumulator>,
    seen: Seen,
    /// A sum of nothing but negative zeros is one.
    is_sum: bool,
}

impl One {
    pub(super) fn sum(inner: Box<dyn Accumulator>) -> Self {
        Self { inner, seen: Seen::default(), is_sum: true }
    }

    pub(super) fn average(inner: Box<dyn Accumulator>) -> Self {
        Self { inner, seen: Seen::default(), is_sum: false }
    }
}

/// The same of many groups.
pub(super) struct Groups {
    inner: Box<dyn GroupsAccumulator>,
    seen: Seen,
}

impl Groups {
    pub(super) fn sum() -> Self {
        let add = |sum: &mut f64, value: f64| {
            let added = *sum + value;
            let is_lost = added.is_infinite() && sum.is_finite() && value.is_finite();
            *sum = if is_lost { f64::from_bits(LOST) } else { added };
        };
        let sums = PrimitiveGroupsAccumulator::<Float64Type, _>::new(&DataType::Float64, add);
        // The only number that leaves every other as it is, negative zero too.
        Self { inner: Box::new(sums.with_starting_value(-0.0)), seen: Seen::default() }
    }

    pub(super) fn average(inner: Box<dyn GroupsAccumulator>) -> Self {
        Self { inner, seen: Seen::default() }
    }
}

/// A sum that came to infinity by itself: no number, of bits that nothing else has, which it keeps when more is added.
const LOST: u64 = 0x7ff8_5a5a_0000_0001;

/// What was among the values.
#[derive(Debug)]
struct Seen {
    has_infinite: bool,
    are_negative_zeros: bool,
}

impl Default for Seen {
    fn default() -> Self {
        Self { has_infinite: false, are_negative_zeros: true }
    }
}

/// The doubles that are columns of `values`, or the items of their arrays.
fn doubles(values: &[ArrayRef]) -> impl Iterator<Item = Float64Array> {
    values.iter().filter_map(|column| match column.data_type() {
        DataType::List(_) => column.as_list::<i32>().values().as_primitive_opt::<Float64Type>().cloned(),
        _ => column.as_primitive_opt::<Float64Type>().cloned(),
    })
}

impl Seen {
    fn look(&mut self, values: &[ArrayRef]) {
        for column in doubles(values) {
            let raw: &[f64] = column.values();
            // What stands in the place of a null is looked at only where the rest would not tell.
            if raw.iter().fold(false, |is, value| is | !value.is_finite()) {
                self.has_infinite |= column.iter().flatten().any(|value| !value.is_finite());
            }
            if self.are_negative_zeros {
                let is_negative_zero = |value: f64| value == 0.0 && value.is_sign_negative();
                self.are_negative_zeros = column.iter().flatten().all(is_negative_zero);
            }
        }
    }

    fn check(&self, results: &[ArrayRef]) -> Result<()> {
        let is_infinite = |column: &Float64Array| column.iter().flatten().any(|value| !value.is_finite());
        let has_lost = |column: &Float64Array| column.iter().flatten().any(|value| value.to_bits() == LOST);
        let is_lost = |column: Float64Array| has_lost(&column) || !self.has_infinite && is_infinite(&column);
        if doubles(results).any(is_lost) {
            return Err(overflow());
        }
        Ok(())
    }

    fn check_scalars(&self, results: &[ScalarValue]) -> Result<()> {
        let is_lost =
            |value: &ScalarValue| matches!(value, ScalarValue::Float64(Some(value)) if !value.is_finite());
        if !self.has_infinite && results.iter().any(is_lost) { Err(overflow()) } else { Ok(()) }
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.seen.look(values);
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let result = self.inner.evaluate()?;
        self.seen.check_scalars(std::slice::from_ref(&result))?;
        Ok(match result {
            ScalarValue::Float64(Some(0.0)) if self.is_sum && self.seen.are_negative_zeros => {
                ScalarValue::Float64(Some(-0.0))
            }
            other => other,
        })
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut state = self.inner.state()?;
        self.seen.check_scalars(&state)?;
        for value in &mut state {
            if self.is_sum && self.seen.are_negative_zeros && value == &ScalarValue::Float64(Some(0.0)) {
                *value = ScalarValue::Float64(Some(-0.0));
            }
        }
        Ok(state)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.seen.look(states);
        self.inner.merge_batch(states)
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
        self.seen.look(values);
        self.inner.update_batch(values, groups, filter, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let results = self.inner.evaluate(emit_to)?;
        self.seen.check(&[Arc::clone(&results)])?;
        Ok(results)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let state = self.inner.state(emit_to)?;
        self.seen.check(&state)?;
        Ok(state)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.seen.look(values);
        self.inner.merge_batch(values, groups, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
