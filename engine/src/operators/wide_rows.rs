//! Batches whose rows are wide. Operators work on some thousand rows at once, however large each is: joins put a value into
//! all rows that it matches, and what gathers short batches makes long ones of them. A plan that meets rows too wide for
//! that fails early, and is made anew for shorter batches.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{ArrowNativeType, DataType, Schema};
use datafusion::error::{DataFusionError, Result};

use crate::ByteSize;
use crate::functions::bounded::batch_bytes_max;
use crate::functions::growth::{held_bytes, is_flat};

/// What such an error says, wherever it was met.
pub const TOO_WIDE: &str = "too wide for batches of";
/// A batch with less is no matter.
const LITTLE: usize = 4 << 20;
/// Of a longer batch, the lengths of so many texts tell what all come to.
const LOOKED_AT: usize = 128;

/// True for columns whose values may be of any size.
pub fn has_any_size(schema: &Schema) -> bool {
    schema.fields().iter().any(|field| !is_flat(field.data_type()))
}

/// True for columns of which an operator that puts a row into many makes as many copies.
pub fn is_copied(schema: &Schema) -> bool {
    let copied =
        |kind: &DataType| !is_flat(kind) && !matches!(kind, DataType::Utf8View | DataType::BinaryView);
    schema.fields().iter().any(|field| copied(field.data_type()))
}

/// Refuses a batch of which `rows` like its own would be more than a batch may have.
pub fn check_average(batch: &RecordBatch, rows: usize) -> Result<()> {
    let own = batch.num_rows();
    if own < 2 {
        return Ok(());
    }
    let bytes: usize = batch.columns().iter().map(about).fold(0, usize::saturating_add);
    if bytes < LITTLE {
        return Ok(());
    }
    check(bytes.div_ceil(own), rows)
}

/// Refuses a batch of which one row, put into `rows` others, would be more than a batch may have.
pub fn check_widest(batch: &RecordBatch, rows: usize) -> Result<()> {
    check(batch.columns().iter().map(widest).fold(0, usize::saturating_add), rows)
}

fn check(row_bytes: usize, rows: usize) -> Result<()> {
    let most = batch_bytes_max();
    if row_bytes.saturating_mul(rows) <= most {
        return Ok(());
    }
    Err(DataFusionError::ResourcesExhausted(format!(
        "rows of {} are {TOO_WIDE} {rows}; the memory cap leaves a batch {}",
        ByteSize(row_bytes as u64),
        ByteSize(most as u64)
    )))
}

/// What the values of a column come to, each of them by itself; of many texts about that.
fn about(column: &ArrayRef) -> usize {
    if is_flat(column.data_type()) {
        return 0;
    }
    let length = |row: usize| match column.data_type() {
        DataType::Utf8View => column.as_string_view().views()[row] as u32 as usize,
        _ => column.as_binary_view().views()[row] as u32 as usize,
    };
    let rows = column.len();
    match column.data_type() {
        DataType::Utf8View | DataType::BinaryView if rows > LOOKED_AT * 8 => {
            let step = rows / LOOKED_AT;
            (0..LOOKED_AT).map(|at| length(at * step)).sum::<usize>().saturating_mul(step)
        }
        _ => held_bytes(column),
    }
}

/// What the widest row of a column has that is copied with it.
fn widest(column: &ArrayRef) -> usize {
    match column.data_type() {
        DataType::Utf8 => longest(column.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => longest(column.as_string::<i64>().value_offsets()),
        DataType::Binary => longest(column.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => longest(column.as_binary::<i64>().value_offsets()),
        DataType::List(_) => {
            let lists = column.as_list::<i32>();
            within(lists.value_offsets(), lists.values())
        }
        DataType::LargeList(_) => {
            let lists = column.as_list::<i64>();
            within(lists.value_offsets(), lists.values())
        }
        DataType::Map(..) => {
            let map = column.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            within(map.value_offsets(), &entries)
        }
        DataType::Struct(_) => column.as_struct().columns().iter().map(widest).fold(0, usize::saturating_add),
        DataType::FixedSizeList(..) => held_bytes(column).div_ceil(column.len().max(1)),
        // Short, or shared by all rows that show them.
        _ => 0,
    }
}

fn longest<O: ArrowNativeType>(offsets: &[O]) -> usize {
    offsets.windows(2).map(|ends| ends[1].as_usize() - ends[0].as_usize()).max().unwrap_or(0)
}

/// Of lists: the longest, of elements as they are on average, or the one with the longest texts.
fn within<O: ArrowNativeType>(offsets: &[O], elements: &ArrayRef) -> usize {
    let texts = |ends: &dyn Fn(usize) -> usize| {
        offsets.windows(2).map(|list| ends(list[1].as_usize()) - ends(list[0].as_usize())).max().unwrap_or(0)
    };
    let of_elements = match elements.data_type() {
        DataType::Utf8 => {
            let ends = elements.as_string::<i32>().value_offsets();
            texts(&|at| ends[at] as usize)
        }
        DataType::Binary => {
            let ends = elements.as_binary::<i32>().value_offsets();
            texts(&|at| ends[at] as usize)
        }
        _ => 0,
    };
    let each = match elements.data_type() {
        DataType::Utf8View | DataType::BinaryView => 16,
        _ => held_bytes(elements).div_ceil(elements.len().max(1)),
    };
    longest(offsets).saturating_mul(each).max(of_elements)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{
        Int64Array, ListArray, StringArray, StringViewArray, builder::ListBuilder, builder::StringBuilder,
    };
    use datafusion::arrow::datatypes::Int64Type;

    fn batch(column: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter([("x", column)]).expect("a batch")
    }

    #[test]
    fn the_widest_row_counts_where_it_is_put_into_others() {
        let long = "x".repeat(1 << 20);
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", &long, "b"]));
        assert_eq!(widest(&texts), 1 << 20);
        let shared: ArrayRef = Arc::new(StringViewArray::from(vec!["a", &long, "b"]));
        assert_eq!(widest(&shared), 0);
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1)]),
            Some(vec![Some(1); 1000]),
        ]));
        assert!(widest(&lists) >= 8000);
        let mut of_texts = ListBuilder::new(StringBuilder::new());
        of_texts.append_value([Some("a")]);
        of_texts.append_value([Some(long.as_str()), Some("b")]);
        let of_texts: ArrayRef = Arc::new(of_texts.finish());
        assert!(widest(&of_texts) > 1 << 20);
        assert!(check_widest(&batch(of_texts), 1 << 20).is_err());
        assert!(check_widest(&batch(Arc::new(Int64Array::from(vec![1, 2]))), 1 << 20).is_ok());
    }

    #[test]
    fn many_wide_rows_are_too_much_for_a_long_batch() {
        let long = "x".repeat(1 << 20);
        let some: ArrayRef = Arc::new(StringViewArray::from(vec![long.as_str(); 8]));
        let error = check_average(&batch(Arc::clone(&some)), 1 << 20).expect_err("a terabyte");
        assert!(error.to_string().contains(TOO_WIDE), "{error}");
        assert!(check_average(&batch(some), 16).is_ok());
        let one: ArrayRef = Arc::new(StringViewArray::from(vec![long.as_str()]));
        assert!(check_average(&batch(one), 1 << 20).is_ok());
        let many: ArrayRef = Arc::new(StringViewArray::from(vec![long.as_str(); 2000]));
        assert!(about(&many) > 1 << 30);
    }
}
