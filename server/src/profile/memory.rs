//! What stages, and plans in this process, are expected to hold of memory.

use engine::ByteSize;
use engine::cardinality::Estimated;

use super::Memory;

/// What one partition of a stage holds at its peak.
#[derive(Default)]
pub(super) struct Held {
    pub(super) unspillable: f64,
    pub(super) spillable: f64,
    pub(super) spilled: f64,
    /// Sorts that set memory aside for merging.
    pub(super) sorts: usize,
}

impl Held {
    /// A stage that writes for a hash exchange buffers what it gives, a quarter of its share at most.
    pub(super) fn of(estimated: &Estimated, partitions: usize, share_bytes: u64, is_exchanged: bool) -> Self {
        const WRITE_SHARE: f64 = 0.25;
        /// What is buffered is encoded once more before it is written.
        const WRITE_FACTOR: f64 = 2.5;
        const WRITE_BYTES: f64 = 500e3;
        let mut held = Self::default();
        held.add(estimated, partitions.max(1) as f64);
        let share = share_bytes as f64;
        held.unspillable += held.sorts as f64 * (share / 16.0).clamp(f64::from(1 << 20), f64::from(10 << 20));
        let room = (share - held.unspillable).max(share * 0.1);
        if held.spillable > room {
            held.spilled = held.spillable - room;
            held.spillable = room;
        }
        if is_exchanged {
            let output = estimated.output.bytes() / partitions.max(1) as f64 * WRITE_FACTOR + WRITE_BYTES;
            held.unspillable +=
                output.min((share * WRITE_SHARE).clamp(f64::from(2 << 20), f64::from(64 << 20)));
        }
        held
    }

    pub(super) fn add(&mut self, estimated: &Estimated, partitions: f64) {
        let bytes = estimated.held_bytes / partitions;
        self.sorts += usize::from(estimated.sets_aside);
        if estimated.can_spill {
            self.spillable += bytes;
        } else {
            self.unspillable += bytes;
        }
        for input in &estimated.inputs {
            self.add(input, partitions);
        }
    }

    pub(super) fn peak(&self) -> f64 {
        self.unspillable + self.spillable
    }
}

pub(super) fn local_memory(estimated: &Estimated, pool_bytes: u64) -> Memory {
    let held = Held::of(estimated, 1, pool_bytes, false);
    let spilled = held.spilled as u64;
    let verdict = if held.unspillable > pool_bytes as f64 {
        "may not fit: it would move to the executors, if it may".to_owned()
    } else if spilled > 0 {
        format!("spills about {}", ByteSize(spilled))
    } else {
        "fits".to_owned()
    };
    Memory {
        predicted_task_bytes: held.peak() as u64,
        task_share_bytes: pool_bytes,
        predicted_executor_bytes: held.peak() as u64,
        executor_pool_bytes: pool_bytes,
        predicted_spill_bytes: spilled,
        peak_task_bytes: None,
        verdict,
    }
}
