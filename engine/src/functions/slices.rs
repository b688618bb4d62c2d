//! Computes a function in slices of a batch: between two the statement may end, and what came of them is asked of the
//! memory pool. A slice is as long as the ones before it say that a moment lasts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl};

use super::growth::{Arguments, Growth, held_bytes, is_flat, value_bytes};
use crate::scope::Scope;
use crate::{ByteSize, Error};

/// How long a slice is to take.
const MOMENT: Duration = Duration::from_millis(20);
/// What the results of one slice may come to before it is shorter.
const SLICE_BYTES: i64 = 4 << 20;
/// What is less is not worth asking for.
const SMALL: usize = 1 << 20;
/// Rows of a slice where each has a pattern of its own: all are kept, compiled, until it ends, and take up to 10 MB each.
const LARGE_PATTERNS: usize = 4;
/// The same where no pattern repeats counted times or has classes of letters.
const PATTERNS: usize = 1024;

/// What a batch is bounded by, in bytes.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Arguments of the first slice.
    pub at_once: usize,
    /// Results, of all rows and of one.
    pub result_max: usize,
}

/// The results of `function` for `args`, which come to `given` bytes. Fails with 54000 where one value, and with 53200
/// where all of them are too large.
pub fn compute(
    function: &dyn ScalarUDFImpl,
    growth: Option<Growth>,
    args: ScalarFunctionArgs,
    given: usize,
    scope: Option<&Scope>,
    limits: Limits,
) -> Result<ColumnarValue> {
    let is_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    let rows = if is_constant { 1 } else { args.number_rows };
    let mut memory = Memory::of(function.name(), scope, limits.result_max)?;
    let mut parts: Vec<ArrayRef> = Vec::new();
    let mut row = 0;
    let mut wanted = (limits.at_once / given.div_ceil(args.number_rows).max(1)).clamp(1, rows);
    let most = patterns_max(function.name(), &args).unwrap_or(rows).min(rows);
    wanted = wanted.min(most);
    while row < rows {
        if let Some(scope) = scope {
            scope.check()?;
        }
        let mut count = wanted.min(rows - row);
        let mut slice = sliced(&args, row, count, is_constant);
        let bytes = match growth {
            Some(growth) => {
                let fitting = fitting(function.name(), growth, &slice, limits.result_max)?;
                if fitting.rows < count {
                    count = fitting.rows;
                    slice = sliced(&args, row, count, is_constant);
                }
                fitting.bytes
            }
            None if is_flat(slice.return_field.data_type()) => 0,
            // About what it is given: a text that is put beside itself is twice as long.
            None => {
                let bytes = slice.args.iter().map(size).fold(0, usize::saturating_add);
                if count == 1 && bytes > limits.result_max {
                    return Err(too_large(function.name(), bytes as u64, limits.result_max));
                }
                bytes
            }
        };
        memory.expect(bytes)?;
        let since = Instant::now();
        let result = function.invoke_with_args(slice)?;
        if count == rows && parts.is_empty() {
            return Ok(result);
        }
        let part = result.into_array(count)?;
        memory.keep(held_bytes(&part), bytes)?;
        parts.push(part);
        row += count;
        let took = since.elapsed().max(Duration::from_micros(1));
        let longer = (MOMENT.as_secs_f64() / took.as_secs_f64()).clamp(0.1, 4.0);
        wanted = ((count as f64 * longer) as usize).clamp(1, most);
    }
    memory.join()?;
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    Ok(ColumnarValue::Array(concat(&parts)?))
}

fn size(argument: &ColumnarValue) -> usize {
    match argument {
        ColumnarValue::Array(array) => held_bytes(array),
        ColumnarValue::Scalar(value) => value_bytes(value),
    }
}

/// Rows of a slice, at most, when each has a regular expression of its own.
pub fn patterns_max(name: &str, args: &ScalarFunctionArgs) -> Option<usize> {
    let Some(ColumnarValue::Array(patterns)) = args.args.get(1) else { return None };
    if !super::growth::takes_pattern(name) {
        return None;
    }
    // What repeats, and classes of letters, may be large once compiled.
    let is_large = |pattern: &str| pattern.contains(['{', '[', '\\', '?']);
    let any_is_large = match patterns.data_type() {
        DataType::Utf8 => patterns.as_string::<i32>().iter().flatten().any(is_large),
        DataType::LargeUtf8 => patterns.as_string::<i64>().iter().flatten().any(is_large),
        DataType::Utf8View => patterns.as_string_view().iter().flatten().any(is_large),
        _ => return None,
    };
    Some(if any_is_large { LARGE_PATTERNS } else { PATTERNS })
}

/// Rows of a slice whose results may be made at once, and what those come to at most.
struct Fitting {
    rows: usize,
    bytes: usize,
}

fn fitting(name: &str, growth: Growth, slice: &ScalarFunctionArgs, result_max: usize) -> Result<Fitting> {
    let arguments = Arguments::new(&slice.args)?;
    let mut bytes = 0i64;
    for row in 0..slice.number_rows {
        let mut one = (growth.at_most)(&arguments, row).max(0);
        if one > SLICE_BYTES
            && let Some(closely) = growth.closely
        {
            one = closely(&arguments, row).max(0);
        }
        if one > result_max as i64 {
            return Err(too_large(name, one as u64, result_max));
        }
        if row > 0 && bytes.saturating_add(one) > SLICE_BYTES {
            return Ok(Fitting { rows: row, bytes: bytes as usize });
        }
        bytes = bytes.saturating_add(one);
    }
    Ok(Fitting { rows: slice.number_rows, bytes: bytes as usize })
}

fn too_large(name: &str, bytes: u64, most: usize) -> DataFusionError {
    DataFusionError::External(Box::new(Error::TooLarge {
        message: format!(
            "a value of {} from {name} is too large: at most {} fit here",
            ByteSize(bytes),
            ByteSize(most as u64)
        ),
        hint: "Ask for less, or give the process more --memory.".to_owned(),
    }))
}

fn sliced(args: &ScalarFunctionArgs, from: usize, count: usize, is_constant: bool) -> ScalarFunctionArgs {
    let slice = |arg: &ColumnarValue| match arg {
        ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(from, count)),
        scalar => scalar.clone(),
    };
    ScalarFunctionArgs {
        args: args.args.iter().map(slice).collect(),
        arg_fields: args.arg_fields.clone(),
        number_rows: if is_constant { args.number_rows } else { count },
        return_field: Arc::clone(&args.return_field),
        config_options: Arc::clone(&args.config_options),
    }
}

/// What the results take of the task's memory until they are given.
struct Memory<'a> {
    name: &'a str,
    reservation: Option<MemoryReservation>,
    kept: usize,
    result_max: usize,
}

impl<'a> Memory<'a> {
    fn of(name: &'a str, scope: Option<&Scope>, result_max: usize) -> Result<Self> {
        let pool = scope.and_then(Scope::pool);
        let reservation = pool.map(|pool| MemoryConsumer::new(name).register(pool));
        Ok(Self { name, reservation, kept: 0, result_max })
    }

    /// Before `bytes` more are made.
    fn expect(&mut self, bytes: usize) -> Result<()> {
        match &mut self.reservation {
            Some(reservation) if bytes > SMALL => reservation.try_grow(bytes),
            _ => Ok(()),
        }
    }

    /// `bytes` were made where `expected` were asked for.
    fn keep(&mut self, bytes: usize, expected: usize) -> Result<()> {
        self.kept = self.kept.saturating_add(bytes);
        if self.kept > self.result_max {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "{} asked for more than {} at once, which is what the memory cap leaves it",
                self.name,
                ByteSize(self.result_max as u64)
            )));
        }
        if expected <= SMALL && self.kept <= SMALL {
            return Ok(());
        }
        match &mut self.reservation {
            Some(reservation) => reservation.try_resize(self.kept),
            None => Ok(()),
        }
    }

    /// Before all are copied into one.
    fn join(&mut self) -> Result<()> {
        self.expect(self.kept)
    }
}
