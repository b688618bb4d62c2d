//! Functions whose result may be far larger than what they are given: `lpad`, `repeat`, `array_repeat` and their kin.
//!
//! They allocate a whole batch of results at once and ask nobody. Their results are measured first: a value past
//! what no plan could hold is 54000, a batch of them past its bound is out of memory (53200), which smaller batches
//! may get over. Everything else of each function is DataFusion's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Int64Type, IntervalMonthDayNanoType};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::functions_nested::all_default_nested_functions;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

use crate::{ByteSize, Error};

/// What PostgreSQL lets one value have.
const VALUE_BYTES_MAX: usize = 1 << 30;
/// Share of the cap for one batch of results.
const BATCH_SHARE: u64 = 8;
/// An element of a list that is not text.
const ELEMENT_BYTES: i64 = 8;

static BATCH_BYTES_MAX: AtomicUsize = AtomicUsize::new(VALUE_BYTES_MAX);

/// Bounds a batch of results by the cap of this process.
pub fn bound_by(cap: ByteSize) {
    let bytes = (cap.0 / BATCH_SHARE).min(VALUE_BYTES_MAX as u64) as usize;
    BATCH_BYTES_MAX.store(bytes, Ordering::Relaxed);
}

/// Refuses a value that comes to `bytes` and is still growing. It is copied when it is given, sent whole, decoded where it
/// arrives into buffers that double as they grow, and copied into a batch: so it may have a quarter of what a batch may.
pub fn check_growing(name: &str, bytes: usize) -> Result<()> {
    let most = BATCH_BYTES_MAX.load(Ordering::Relaxed) / 4;
    if bytes <= most {
        return Ok(());
    }
    Err(DataFusionError::ResourcesExhausted(format!(
        "{name} asked for {} for one value; the memory cap leaves it {}",
        ByteSize(bytes as u64),
        ByteSize(most as u64)
    )))
}

/// The functions, under the names and aliases of DataFusion's.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let all =
        datafusion::functions::all_default_functions().into_iter().chain(all_default_nested_functions());
    all.filter_map(|function| {
        measure(function.name())?;
        Some(Arc::new(ScalarUDF::from(Bounded { function })))
    })
    .collect()
}

/// The least size of the result for one row, in bytes.
type Bytes = fn(&Arguments, usize) -> i64;

fn measure(name: &str) -> Option<Bytes> {
    Some(match name {
        "lpad" | "rpad" => |args, row| args.int(1, row),
        "repeat" => |args, row| args.text_bytes(0, row).saturating_mul(args.int(1, row)),
        "replace" => replaced,
        "concat" | "concat_ws" => joined,
        "array_repeat" => |args, row| args.bytes(0, row).saturating_mul(args.int(1, row)),
        "array_resize" => |args, row| args.int(1, row).saturating_mul(ELEMENT_BYTES),
        "range" | "generate_series" => series,
        _ => return None,
    })
}

fn joined(args: &Arguments, row: usize) -> i64 {
    (0..args.len()).fold(0i64, |sum, at| sum.saturating_add(args.text_bytes(at, row)))
}

fn replaced(args: &Arguments, row: usize) -> i64 {
    let (Some(text), Some(from)) = (args.text(0, row), args.text(1, row)) else { return 0 };
    let to = args.text_bytes(2, row);
    // Counted only where it could matter.
    let at_most = (text.len() as i64 / from.len().max(1) as i64).saturating_mul(to);
    if from.is_empty() || at_most < 1 << 20 {
        return 0;
    }
    (text.matches(from).count() as i64).saturating_mul(to)
}

fn series(args: &Arguments, row: usize) -> i64 {
    let last = args.len().saturating_sub(1).min(1);
    let (start, stop) = if last == 0 { (0, args.int(0, row)) } else { (args.int(0, row), args.int(1, row)) };
    let step = if args.len() > 2 { args.step(2, row) } else { 1 };
    let span = i128::from(stop) - i128::from(start);
    if step == 0 || (span < 0) != (step < 0) {
        return 0;
    }
    let elements = span / i128::from(step) + 1;
    i64::try_from(elements.saturating_mul(i128::from(ELEMENT_BYTES))).unwrap_or(i64::MAX)
}

/// What a function is given, as arrays or as values that hold for every row.
struct Arguments(Vec<Argument>);

enum Argument {
    Text(ArrayRef),
    Ints(Int64Array, Unit),
    Steps(ArrayRef),
    /// Of another type: what a row takes on average, in bytes.
    Other(i64),
}

/// What numbers count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    One,
    Day,
    Microsecond,
}

impl Arguments {
    fn new(args: &[ColumnarValue]) -> Result<Self> {
        let argument = |value: &ColumnarValue| {
            Ok(Argument::of(match value {
                ColumnarValue::Array(array) => Arc::clone(array),
                ColumnarValue::Scalar(scalar) => scalar.to_array()?,
            }))
        };
        args.iter().map(argument).collect::<Result<_>>().map(Self)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    /// The row of an array, or the one that a constant has.
    fn row(array: &dyn Array, row: usize) -> Option<usize> {
        let row = if array.len() == 1 { 0 } else { row };
        (row < array.len() && array.is_valid(row)).then_some(row)
    }

    fn int(&self, at: usize, row: usize) -> i64 {
        match self.0.get(at) {
            Some(Argument::Ints(ints, _)) => Self::row(ints, row).map_or(0, |row| ints.value(row)),
            _ => 0,
        }
    }

    /// Of a series: a number, or the shortest that an interval lasts in the unit of what it is added to.
    fn step(&self, at: usize, row: usize) -> i64 {
        const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;
        match self.0.get(at) {
            Some(Argument::Ints(..)) => self.int(at, row),
            Some(Argument::Steps(steps)) => {
                let steps = steps.as_primitive::<IntervalMonthDayNanoType>();
                let Some(row) = Self::row(steps, row) else { return 0 };
                let step = steps.value(row);
                let days = i64::from(step.months) * 28 + i64::from(step.days);
                match self.0.first() {
                    Some(Argument::Ints(_, Unit::Day)) if days != 0 => days,
                    // Less than a day: more of them than can be counted by days.
                    Some(Argument::Ints(_, Unit::Day)) => 0,
                    _ => days.saturating_mul(DAY_MICROS).saturating_add(step.nanoseconds / 1000),
                }
            }
            _ => 0,
        }
    }

    fn text(&self, at: usize, row: usize) -> Option<&str> {
        let Some(Argument::Text(array)) = self.0.get(at) else { return None };
        let row = Self::row(array, row)?;
        Some(match array.data_type() {
            DataType::Utf8 => array.as_string::<i32>().value(row),
            DataType::LargeUtf8 => array.as_string::<i64>().value(row),
            _ => array.as_string_view().value(row),
        })
    }

    fn text_bytes(&self, at: usize, row: usize) -> i64 {
        self.text(at, row).map_or(0, |text| text.len() as i64)
    }

    fn bytes(&self, at: usize, row: usize) -> i64 {
        match self.0.get(at) {
            Some(Argument::Text(_)) => self.text_bytes(at, row).max(ELEMENT_BYTES),
            Some(Argument::Other(row_bytes)) => (*row_bytes).max(ELEMENT_BYTES),
            _ => ELEMENT_BYTES,
        }
    }
}

impl Argument {
    fn of(array: ArrayRef) -> Self {
        match array.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text(array),
            DataType::Interval(_) => Self::Steps(
                cast(&array, &DataType::Interval(datafusion::arrow::datatypes::IntervalUnit::MonthDayNano))
                    .unwrap_or(array),
            ),
            kind => {
                let as_micros = match kind {
                    DataType::Timestamp(_, zone) => {
                        let micros = DataType::Timestamp(
                            datafusion::arrow::datatypes::TimeUnit::Microsecond,
                            zone.clone(),
                        );
                        cast(&array, &micros).ok()
                    }
                    DataType::Date32 => cast(&array, &DataType::Int32).ok(),
                    kind if kind.is_integer() => Some(Arc::clone(&array)),
                    _ => None,
                };
                let unit = match kind {
                    DataType::Timestamp(..) => Unit::Microsecond,
                    DataType::Date32 => Unit::Day,
                    _ => Unit::One,
                };
                match as_micros.and_then(|array| cast(&array, &DataType::Int64).ok()) {
                    Some(ints) => Self::Ints(ints.as_primitive::<Int64Type>().clone(), unit),
                    None => {
                        // Of a slice the part that it shows, not all that lies behind it.
                        let bytes = array.to_data().get_slice_memory_size().unwrap_or(0);
                        Self::Other((bytes / array.len().max(1)) as i64)
                    }
                }
            }
        }
    }
}

/// Refuses texts that would be too large joined row by row, for `name`.
pub fn check_joined(name: &str, args: &ScalarFunctionArgs) -> Result<()> {
    // Mostly all that the batches hold is less, and no row needs to be looked at. Many views may be of one text.
    let at_most = |arg: &ColumnarValue| match arg {
        ColumnarValue::Array(array) => match array.as_string_view_opt() {
            Some(views) => views.lengths().fold(0usize, |sum, length| sum.saturating_add(length as usize)),
            None => array.get_buffer_memory_size(),
        },
        ColumnarValue::Scalar(scalar) => scalar.size().saturating_mul(args.number_rows),
    };
    let most = args.args.iter().fold(0usize, |sum, arg| sum.saturating_add(at_most(arg)));
    if most <= BATCH_BYTES_MAX.load(Ordering::Relaxed) {
        return Ok(());
    }
    check(name, joined, args)
}

/// Refuses what would be too large.
fn check(name: &str, bytes: Bytes, args: &ScalarFunctionArgs) -> Result<()> {
    let arguments = Arguments::new(&args.args)?;
    let is_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    let rows = if is_constant { 1 } else { args.number_rows };
    let batch_max = BATCH_BYTES_MAX.load(Ordering::Relaxed) as i64;
    let mut total = 0i64;
    for row in 0..rows {
        let bytes = bytes(&arguments, row).max(0);
        if bytes > batch_max {
            let message = format!(
                "a value of {} from {name} is too large: at most {} fit here",
                ByteSize(bytes as u64),
                ByteSize(batch_max as u64)
            );
            let hint = "Ask for less, or give the process more --memory.".to_owned();
            return Err(DataFusionError::External(Box::new(Error::TooLarge { message, hint })));
        }
        total = total.saturating_add(bytes);
    }
    if total > batch_max {
        return Err(DataFusionError::ResourcesExhausted(format!(
            "{name} asked for {} at once, for {rows} values; the memory cap leaves it {}",
            ByteSize(total as u64),
            ByteSize(batch_max as u64)
        )));
    }
    Ok(())
}

/// A function of DataFusion's whose results are measured first.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    function: Arc<ScalarUDF>,
}

impl Bounded {
    fn inner(&self) -> &dyn ScalarUDFImpl {
        self.function.inner().as_ref()
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner().schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner().return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner().return_field_from_args(args)
    }

    fn is_strict(&self) -> bool {
        self.inner().is_strict()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let Some(bytes) = measure(self.name()) {
            check(self.name(), bytes, &args)?;
        }
        self.inner().invoke_with_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner().simplify(args, info)
    }

    fn short_circuits(&self) -> bool {
        self.inner().short_circuits()
    }

    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner().conditional_arguments(args)
    }

    fn evaluate_bounds(&self, input: &[&Interval]) -> Result<Interval> {
        self.inner().evaluate_bounds(input)
    }

    fn propagate_constraints(
        &self,
        interval: &Interval,
        inputs: &[&Interval],
    ) -> Result<Option<Vec<Interval>>> {
        self.inner().propagate_constraints(interval, inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner().output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner().preserves_lex_ordering(inputs)
    }

    fn strictly_order_preserving(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner().strictly_order_preserving(inputs)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner().coerce_types(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner().documentation()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::StringArray;
    use datafusion::common::ScalarValue;

    fn bytes(name: &str, args: &[ColumnarValue]) -> i64 {
        let measure = measure(name).expect("it is measured");
        measure(&Arguments::new(args).expect("plain arguments"), 0)
    }

    fn int(value: i64) -> ColumnarValue {
        ColumnarValue::Scalar(ScalarValue::Int64(Some(value)))
    }

    fn text(value: &str) -> ColumnarValue {
        ColumnarValue::Array(Arc::new(StringArray::from(vec![value])))
    }

    #[test]
    fn results_are_measured_before_they_are_made() {
        assert_eq!(bytes("lpad", &[text("x"), int(1 << 31), text("y")]), 1 << 31);
        assert_eq!(bytes("repeat", &[text("abc"), int(1_000_000)]), 3_000_000);
        assert_eq!(bytes("repeat", &[text("abc"), int(i64::MAX)]), i64::MAX);
        assert_eq!(bytes("concat", &[text("abc"), text("de")]), 5);
        assert_eq!(bytes("range", &[int(0), int(10), int(2)]), 6 * 8);
        assert_eq!(bytes("range", &[int(10), int(0), int(2)]), 0);
        assert_eq!(bytes("range", &[int(i64::MIN), int(i64::MAX)]), i64::MAX);
        let long = "ab".repeat(1 << 20);
        assert_eq!(bytes("replace", &[text(&long), text("a"), text("cd")]), 2 << 20);
        assert_eq!(bytes("replace", &[text(&long), text("z"), text("cd")]), 0);
    }

    #[test]
    fn series_of_instants_and_dates_are_counted_by_their_steps() {
        let days = |days| ScalarValue::new_interval_mdn(0, days, 0);
        let instant = |micros| ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(Some(micros), None));
        let date = |days| ColumnarValue::Scalar(ScalarValue::Date32(Some(days)));
        let day = 24 * 3600 * 1_000_000;
        assert_eq!(bytes("range", &[instant(0), instant(4 * day), ColumnarValue::Scalar(days(1))]), 5 * 8);
        assert_eq!(bytes("range", &[date(0), date(4), ColumnarValue::Scalar(days(2))]), 3 * 8);
    }

    #[test]
    fn each_function_is_found() {
        let names: Vec<String> = functions().iter().map(|function| function.name().to_owned()).collect();
        for name in [
            "lpad",
            "rpad",
            "repeat",
            "replace",
            "concat",
            "concat_ws",
            "array_repeat",
            "array_resize",
            "range",
        ] {
            assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
        }
    }
}
