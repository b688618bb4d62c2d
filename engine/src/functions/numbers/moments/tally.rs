//! Accumulators of what is counted row by row: of one group, of many, of different values, and of frames that slide.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::common::ScalarValue;
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::error::Result;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

/// What is known of the rows so far.
pub(crate) trait Tally: Clone + Default + fmt::Debug + Send + Sync + 'static {
    /// What is counted of a row.
    type Item: Clone + fmt::Debug + Send + Sync;
    /// What tells one item from another.
    type Key: Ord + Send + Sync;

    /// The rows of a batch; `None` for those that do not count.
    fn items(values: &[ArrayRef]) -> Vec<Option<Self::Item>>;
    /// The columns that have such rows.
    fn columns_of(items: &[Self::Item], like: &[ScalarValue]) -> Result<Vec<ArrayRef>>;
    /// Two items are the same where their keys are.
    fn key(item: &Self::Item) -> Self::Key;
    fn add(&mut self, item: &Self::Item) -> Result<()>;
    fn merge(&mut self, other: &Self) -> Result<()>;
    /// As it is sent to the next stage.
    fn to_columns(tallies: &[Self]) -> Vec<ArrayRef>;
    fn from_columns(columns: &[ArrayRef]) -> Vec<Self>;
}

/// Makes the values of tallies.
pub(crate) type Answer<T> = Arc<dyn Fn(&[T]) -> Result<ArrayRef> + Send + Sync>;

fn answered<T: Tally>(answer: &Answer<T>, tally: &T) -> Result<ScalarValue> {
    ScalarValue::try_from_array(&answer(std::slice::from_ref(tally))?, 0)
}

fn sent<T: Tally>(tally: &T) -> Result<Vec<ScalarValue>> {
    let columns = T::to_columns(std::slice::from_ref(tally));
    columns.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
}

/// The tally of one group.
pub(crate) struct One<T: Tally> {
    tally: T,
    answer: Answer<T>,
}

impl<T: Tally> One<T> {
    pub(crate) fn new(answer: Answer<T>) -> Self {
        Self { tally: T::default(), answer }
    }
}

impl<T: Tally> fmt::Debug for One<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tally.fmt(f)
    }
}

impl<T: Tally> Accumulator for One<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        T::items(values).into_iter().flatten().try_for_each(|item| self.tally.add(&item))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        answered(&self.answer, &self.tally)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        sent(&self.tally)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        T::from_columns(states).iter().try_for_each(|tally| self.tally.merge(tally))
    }
}

/// Items of a block, whose tally is kept.
const BLOCK_ITEMS: usize = 1024;
/// Frames of more items are put together of blocks.
const EXACT_ITEMS_MAX: usize = 4 * BLOCK_ITEMS;

/// The tally of a frame that slides. What leaves it is not taken away again, since floating-point numbers would not give back
/// what they swallowed: the frame is counted anew for each row, as in PostgreSQL. A long one is put together of blocks, so that a
/// row costs no more than a block, and one step for each block.
pub(crate) struct Sliding<T: Tally> {
    items: VecDeque<T::Item>,
    /// Of each block that has items, the first and the last of which may not be whole.
    blocks: VecDeque<T>,
    /// How many items of the first block have left.
    gone: usize,
    answer: Answer<T>,
}

impl<T: Tally> Sliding<T> {
    pub(crate) fn new(answer: Answer<T>) -> Self {
        Self { items: VecDeque::new(), blocks: VecDeque::new(), gone: 0, answer }
    }

    fn push(&mut self, item: T::Item) -> Result<()> {
        if (self.gone + self.items.len()).is_multiple_of(BLOCK_ITEMS) {
            self.blocks.push_back(T::default());
        }
        let added = self.blocks.back_mut().map_or(Ok(()), |block| block.add(&item));
        self.items.push_back(item);
        added
    }

    fn pop(&mut self) {
        if self.items.pop_front().is_none() {
            return;
        }
        self.gone += 1;
        if self.gone == BLOCK_ITEMS {
            self.gone = 0;
            self.blocks.pop_front();
        }
    }

    fn tally(&self) -> Result<T> {
        let mut tally = T::default();
        let (one_by_one, blocks) = match self.items.len() {
            0..=EXACT_ITEMS_MAX => (self.items.len(), 0),
            // The first block lacks what has left of it.
            _ if self.gone > 0 => (BLOCK_ITEMS - self.gone, 1),
            _ => (0, 0),
        };
        self.items.iter().take(one_by_one).try_for_each(|item| tally.add(item))?;
        if one_by_one < self.items.len() {
            self.blocks.iter().skip(blocks).try_for_each(|block| tally.merge(block))?;
        }
        Ok(tally)
    }
}

impl<T: Tally> fmt::Debug for Sliding<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} items", self.items.len())
    }
}

impl<T: Tally> Accumulator for Sliding<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        T::items(values).into_iter().flatten().try_for_each(|item| self.push(item))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        answered(&self.answer, &self.tally()?)
    }

    fn size(&self) -> usize {
        size_of_val(self)
            + self.items.capacity() * size_of::<T::Item>()
            + self.blocks.capacity() * size_of::<T>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        sent(&self.tally()?)
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        Err(crate::functions::no_such_arguments("a sliding frame"))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        T::items(values).into_iter().flatten().for_each(|_| self.pop());
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}

/// The tally of different items, in their order.
pub(crate) struct Different<T: Tally> {
    items: BTreeMap<T::Key, T::Item>,
    /// A null of each argument's type.
    like: Vec<ScalarValue>,
    answer: Answer<T>,
}

impl<T: Tally> Different<T> {
    pub(crate) fn new(like: Vec<ScalarValue>, answer: Answer<T>) -> Self {
        Self { items: BTreeMap::new(), like, answer }
    }
}

impl<T: Tally> fmt::Debug for Different<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} different items", self.items.len())
    }
}

impl<T: Tally> Accumulator for Different<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for item in T::items(values).into_iter().flatten() {
            self.items.entry(T::key(&item)).or_insert(item);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut tally = T::default();
        self.items.values().try_for_each(|item| tally.add(item))?;
        answered(&self.answer, &tally)
    }

    fn size(&self) -> usize {
        // Nodes of a tree are about two thirds full.
        size_of_val(self) + self.items.len() * (size_of::<T::Item>() + 32) * 3 / 2
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let items: Vec<T::Item> = self.items.values().cloned().collect();
        let columns = T::columns_of(&items, &self.like)?;
        Ok(columns
            .into_iter()
            .map(|column| SingleRowListArrayBuilder::new(column).with_nullable(true).build_list_scalar())
            .collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().map_or(0, |lists| lists.len());
        for row in 0..rows {
            let columns: Vec<ArrayRef> =
                states.iter().map(|lists| lists.as_list::<i32>().value(row)).collect();
            self.update_batch(&columns)?;
        }
        Ok(())
    }
}

/// The tallies of many groups.
pub(crate) struct Groups<T: Tally> {
    tallies: Vec<T>,
    answer: Answer<T>,
}

impl<T: Tally> Groups<T> {
    pub(crate) fn new(answer: Answer<T>) -> Self {
        Self { tallies: Vec::new(), answer }
    }
}

fn is_kept(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

impl<T: Tally> GroupsAccumulator for Groups<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.tallies.resize(total, T::default());
        for (row, (group, item)) in groups.iter().zip(T::items(values)).enumerate() {
            if let Some(item) = item.filter(|_| is_kept(filter, row)) {
                self.tallies[*group].add(&item)?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        (self.answer)(&emit_to.take_needed(&mut self.tallies))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(T::to_columns(&emit_to.take_needed(&mut self.tallies)))
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.tallies.resize(total, T::default());
        let parts = T::from_columns(values);
        groups.iter().zip(&parts).try_for_each(|(group, part)| self.tallies[*group].merge(part))
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut tallies = Vec::with_capacity(values.first().map_or(0, |values| values.len()));
        for (row, item) in T::items(values).into_iter().enumerate() {
            let mut tally = T::default();
            if let Some(item) = item.filter(|_| is_kept(filter, row)) {
                tally.add(&item)?;
            }
            tallies.push(tally);
        }
        Ok(T::to_columns(&tallies))
    }

    fn size(&self) -> usize {
        self.tallies.capacity() * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Float64Array;

    use super::super::doubles::Total;
    use super::*;

    fn column(values: impl IntoIterator<Item = f64>) -> [ArrayRef; 1] {
        [Arc::new(Float64Array::from_iter_values(values))]
    }

    #[test]
    fn long_frames_give_what_short_ones_do() {
        let mut frame = Sliding::<Total>::new(Total::sum());
        frame.update_batch(&column((0..10_000).map(f64::from))).expect("added");
        for gone in 0..9_990u32 {
            let sum: f64 = (gone..10_000).map(f64::from).sum();
            assert_eq!(frame.evaluate().expect("a sum"), ScalarValue::Float64(Some(sum)), "{gone}");
            frame.retract_batch(&column([f64::from(gone)])).expect("gone");
        }
    }

    #[test]
    fn what_leaves_takes_nothing_along() {
        let mut frame = Sliding::<Total>::new(Total::sum());
        frame.update_batch(&column([1e20, 1.0])).expect("added");
        frame.retract_batch(&column([1e20])).expect("gone");
        assert_eq!(frame.evaluate().expect("a sum"), ScalarValue::Float64(Some(1.0)));
    }
}
