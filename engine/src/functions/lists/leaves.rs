//! Arrays as rows of ranges, and those of several dimensions with their innermost items next to each other.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt64Array, new_null_array};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::{DataFusionError, Result};

/// The type of arrays of `element`.
pub fn list_of(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(element, true)))
}

/// How many arrays lie in each other.
pub fn depth(kind: &DataType) -> usize {
    item_of(kind).map_or(0, |item| 1 + depth(item))
}

/// The type of an array's items.
pub fn item_of(kind: &DataType) -> Option<&DataType> {
    match kind {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            Some(field.data_type())
        }
        _ => None,
    }
}

/// The type of the innermost items.
pub fn leaf_of(kind: &DataType) -> &DataType {
    item_of(kind).map_or(kind, leaf_of)
}

/// Arrays of `leaf` that lie in each other as those of `kind` do, at least one.
pub fn with_leaf(kind: &DataType, leaf: DataType) -> DataType {
    (0..depth(kind).max(1)).fold(leaf, |kind, _| list_of(kind))
}

/// Rows that are arrays.
#[derive(Debug, Clone)]
pub(super) struct Lists(ListArray);

impl Lists {
    /// The arrays that `array` holds; nulls of no type are null arrays.
    pub(super) fn of(array: &ArrayRef) -> Result<Self> {
        let array = match array.data_type() {
            DataType::List(_) => Arc::clone(array),
            DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
                cast(array, &DataType::List(Arc::clone(field)))?
            }
            DataType::Null => new_null_array(&list_of(DataType::Null), array.len()),
            other => {
                return Err(DataFusionError::Plan(format!("{other} is no array")));
            }
        };
        Ok(Self(array.as_list::<i32>().clone()))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn data_type(&self) -> &DataType {
        self.0.data_type()
    }

    pub(super) fn values(&self) -> &ArrayRef {
        self.0.values()
    }

    pub(super) fn nulls(&self) -> Option<&NullBuffer> {
        self.0.nulls()
    }

    /// Where the items of `row` lie among the values; `None` for a null.
    pub(super) fn row(&self, row: usize) -> Option<Range<usize>> {
        let offsets = self.0.value_offsets();
        self.0.is_valid(row).then(|| offsets[row] as usize..offsets[row + 1] as usize)
    }

    /// How many items there are in each dimension of `row`; none in an array without items.
    pub(super) fn dimensions(&self, row: usize) -> Vec<usize> {
        let mut lengths = Vec::new();
        let Some(mut range) = self.row(row) else { return lengths };
        let mut values = Arc::clone(self.values());
        loop {
            lengths.push(range.len());
            if range.is_empty() {
                return Vec::new();
            }
            let Some(inner) = values.as_list_opt::<i32>() else { return lengths };
            let offsets = inner.value_offsets();
            range = offsets[range.start] as usize..offsets[range.start + 1] as usize;
            let next = Arc::clone(inner.values());
            values = next;
        }
    }

    /// The same rows, of innermost items.
    pub(super) fn leaves(&self) -> Result<Self> {
        let mut list = self.0.clone();
        while item_of(list.values().data_type()).is_some() {
            let inner = Self::of(list.values())?.0;
            let (outer, inner_offsets) = (list.value_offsets(), inner.value_offsets());
            let offsets = outer.iter().map(|offset| inner_offsets[*offset as usize]).collect::<Vec<_>>();
            let field = Arc::new(Field::new_list_field(inner.values().data_type().clone(), true));
            list = ListArray::try_new(
                field,
                OffsetBuffer::new(offsets.into()),
                Arc::clone(inner.values()),
                list.nulls().cloned(),
            )?;
        }
        Ok(Self(list))
    }

    /// The same arrays over other items, which must be as many.
    pub(super) fn with_values(&self, values: ArrayRef) -> Result<Self> {
        let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        Ok(Self(ListArray::try_new(field, self.0.offsets().clone(), values, self.0.nulls().cloned())?))
    }

    /// Each row as the one item of an array.
    pub(super) fn wrapped(&self) -> Result<Self> {
        let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(1, self.len()));
        let field = Arc::new(Field::new_list_field(self.data_type().clone(), true));
        Ok(Self(ListArray::try_new(field, offsets, self.clone().into_array(), self.0.nulls().cloned())?))
    }

    pub(super) fn into_array(self) -> ArrayRef {
        Arc::new(self.0)
    }
}

/// Arrays that are made of items that are there.
#[derive(Debug, Default)]
pub(super) struct Picked {
    items: Vec<Option<u64>>,
    lengths: Vec<usize>,
    are_valid: Vec<bool>,
    begun: usize,
}

impl Picked {
    /// The next item of the array that is being made.
    pub(super) fn pick(&mut self, at: usize) {
        self.items.push(Some(at as u64));
    }

    /// Ends the array that is being made.
    pub(super) fn end(&mut self) {
        self.lengths.push(self.items.len() - self.begun);
        self.are_valid.push(true);
        self.begun = self.items.len();
    }

    /// A null in place of an array.
    pub(super) fn null(&mut self) {
        self.items.truncate(self.begun);
        self.lengths.push(0);
        self.are_valid.push(false);
    }

    /// What was made, of `values`.
    pub(super) fn of(self, values: &ArrayRef) -> Result<ArrayRef> {
        let items = take(values, &UInt64Array::from(self.items), None)?;
        let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
        let nulls = NullBuffer::from(self.are_valid);
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        Ok(Arc::new(ListArray::try_new(field, offsets, items, Some(nulls))?))
    }
}
