//! `array_agg` and `string_agg`: aggregates that hold every value they meet, and give them all as one.
//!
//! What they hold is declared to the memory pool by its length, but a batch's arrays are longer inside, or parts of
//! larger ones that live on with them; so they are given arrays with nothing to spare. Nor are the copies declared that
//! are made when it is given: the value itself, and its form on the way to the next stage. They declare those
//! beforehand; in a window, which is given one for each row, every one. Everything else is DataFusion's.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, make_array};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::scalar::copy_array_data;
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF,
    Signature,
};
use datafusion::physical_expr::expressions::Literal;

use super::bounded::check_growing;
use super::growth::value_bytes;
use crate::scope::Scope;

/// A list as it is held, as the value that is given, and as it is sent.
const COPIES_OF_ONE: usize = 3;
/// Lists of many groups are sent in pieces.
const COPIES_OF_GROUPS: usize = 2;

/// Share of an array's buffers that may be idle.
const IDLE_SHARE: f64 = 0.1;

/// The functions, under the names of DataFusion's.
pub fn functions() -> Vec<Arc<AggregateUDF>> {
    all_default_aggregate_functions()
        .into_iter()
        .filter(|function| matches!(function.name(), "array_agg" | "string_agg"))
        .map(|function| Arc::new(gathering(function)))
        .collect()
}

fn gathering(function: Arc<AggregateUDF>) -> AggregateUDF {
    AggregateUDF::from(Gathering { function, is_in_window: false })
}

/// The function of that name as it is called over windows; `None` for one that is not of this file.
pub fn in_window(name: &str) -> Option<Arc<AggregateUDF>> {
    let mut functions = all_default_aggregate_functions().into_iter();
    let function =
        functions.find(|known| matches!(name, "array_agg" | "string_agg") && known.name() == name)?;
    Some(Arc::new(AggregateUDF::from(Gathering { function, is_in_window: true })))
}

/// One of the functions, with all that it holds declared.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Gathering {
    function: Arc<AggregateUDF>,
    is_in_window: bool,
}

impl Gathering {
    fn inner(&self) -> &dyn AggregateUDFImpl {
        self.function.inner().as_ref()
    }
}

impl AggregateUDFImpl for Gathering {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
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
        let separator = separator(&args);
        Ok(Box::new(One::new(self.name(), separator, self.inner().accumulator(args)?)))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.inner().state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let separator = separator(&args);
        let values = self.inner().create_groups_accumulator(args)?;
        Ok(Box::new(Groups { name: self.name().to_owned(), separator, values }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let separator = separator(&args);
        Ok(Box::new(One::new(self.name(), separator, self.inner().create_sliding_accumulator(args)?)))
    }

    fn with_beneficial_ordering(
        self: Arc<Self>,
        is_ordered: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let function = self.function.as_ref().clone().with_beneficial_ordering(is_ordered)?;
        Ok(function.map(|function| {
            Arc::new(Self { function: Arc::new(function), is_in_window: self.is_in_window }) as _
        }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner().order_sensitivity()
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.inner().simplify()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        if self.is_in_window {
            // A window whose frames the planner turns round would be given back to front.
            return ReversedUDAF::NotSupported;
        }
        match self.inner().reverse_expr() {
            ReversedUDAF::Reversed(function) => ReversedUDAF::Reversed(Arc::new(gathering(function))),
            other => other,
        }
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner().coerce_types(types)
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

    fn documentation(&self) -> Option<&Documentation> {
        self.inner().documentation()
    }
}

/// What `string_agg` puts between two values, in bytes; 0 where there is nothing.
fn separator(args: &AccumulatorArgs<'_>) -> usize {
    let literal = args.exprs.get(1).and_then(|expr| expr.downcast_ref::<Literal>());
    literal.map_or(0, |literal| value_bytes(literal.value()))
}

/// `values` without what their buffers hold beside them.
fn compact(values: &[ArrayRef]) -> Vec<ArrayRef> {
    values.iter().map(compact_one).collect()
}

fn compact_one(values: &ArrayRef) -> ArrayRef {
    if let Some(views) = values.as_string_view_opt() {
        return Arc::new(views.gc());
    }
    if let Some(views) = values.as_binary_view_opt() {
        return Arc::new(views.gc());
    }
    let data = values.to_data();
    let needed = data.get_slice_memory_size().unwrap_or(usize::MAX);
    let is_idle = values.get_buffer_memory_size() as f64 * (1.0 - IDLE_SHARE) > needed as f64;
    if is_idle { make_array(copy_array_data(&data)) } else { Arc::clone(values) }
}

/// The values of one group.
#[derive(Debug)]
struct One {
    name: String,
    values: Box<dyn Accumulator>,
    given: Given,
    /// Rows taken in since it was last asked.
    arrived: usize,
    /// What stands between two values, in bytes.
    separator: usize,
}

/// What was given of one group: a window asks for all that has come so far at each row, and keeps every answer.
#[derive(Debug, Default)]
struct Given {
    bytes: usize,
    reservation: Option<MemoryReservation>,
}

impl Given {
    /// Less is not worth asking for; a group is mostly asked once.
    const SMALL: usize = 1 << 20;

    /// Before `bytes` more are given, to each of `rows` when they are of a window.
    fn add(&mut self, name: &str, bytes: usize, rows: usize) -> Result<()> {
        let Some(scope) = Scope::current() else { return Ok(()) };
        let rows = if scope.is_window() { rows } else { 1 };
        self.bytes = self.bytes.saturating_add(bytes.saturating_mul(rows));
        if self.bytes <= Self::SMALL {
            return Ok(());
        }
        scope.check()?;
        let Some(pool) = scope.pool() else { return Ok(()) };
        let reservation = self.reservation.get_or_insert_with(|| MemoryConsumer::new(name).register(pool));
        // In steps: many rows give little each.
        let wanted = self.bytes.next_multiple_of(Self::SMALL);
        if wanted > reservation.size() { reservation.try_resize(wanted) } else { Ok(()) }
    }
}

impl One {
    fn new(name: &str, separator: usize, values: Box<dyn Accumulator>) -> Self {
        Self { name: name.to_owned(), values, given: Given::default(), arrived: 0, separator }
    }

    /// Before they are taken in: what arrives is held as well until then.
    fn check(&self, arriving: &[ArrayRef]) -> Result<()> {
        let rows = arriving.first().map_or(0, |values| values.len());
        let arriving = arriving.iter().map(|values| values.to_data().get_slice_memory_size().unwrap_or(0));
        let separators = self.separator.saturating_mul(rows);
        check_growing(&self.name, self.values.size() + arriving.sum::<usize>() + separators)
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.check(values)?;
        self.arrived += values.first().map_or(0, |values| values.len());
        self.values.update_batch(&compact(values))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let rows = std::mem::take(&mut self.arrived).max(1);
        self.given.add(&self.name, self.values.size(), rows)?;
        self.values.evaluate()
    }

    fn size(&self) -> usize {
        self.values.size().saturating_mul(COPIES_OF_ONE)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.values.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.check(states)?;
        self.values.merge_batch(&compact(states))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.values.supports_retract_batch()
    }
}

/// The values of many groups.
struct Groups {
    name: String,
    separator: usize,
    values: Box<dyn GroupsAccumulator>,
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        check_growing(&self.name, self.separator.saturating_mul(groups.len()))?;
        self.values.update_batch(&compact(values), groups, filter, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.values.evaluate(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.values.state(emit_to)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.values.merge_batch(&compact(values), groups, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.values.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.values.size().saturating_mul(COPIES_OF_GROUPS)
    }
}
