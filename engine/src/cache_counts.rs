//! What a scan has from the data cache, and what it had to fetch.
//!
//! A scan does not know that there is a cache: stores lie in between. It reads while it is polled, on the thread that polls
//! it, and there the cache finds its counts.

use std::sync::Arc;

use datafusion::physical_plan::metrics::{Count, Metric, MetricValue};

/// The count of bytes that the cache had, as metrics name it.
pub const FROM_CACHE: &str = "bytes_from_cache";
/// The count of bytes that were fetched into the cache, as metrics name it.
pub const FETCHED: &str = "bytes_fetched";

tokio::task_local! {
    static COUNTS: CacheCounts;
}

/// The counts of one scan, in bytes of whole blocks.
#[derive(Debug, Clone, Default)]
pub struct CacheCounts {
    from_cache: Count,
    fetched: Count,
}

impl CacheCounts {
    /// Counts what is read while `poll` runs.
    pub fn during<T>(&self, poll: impl FnOnce() -> T) -> T {
        COUNTS.sync_scope(self.clone(), poll)
    }

    /// Notes a read for the scan that is polled, if one is.
    pub(crate) fn note(from_cache: usize, fetched: usize) {
        let _ = COUNTS.try_with(|counts| {
            counts.from_cache.add(from_cache);
            counts.fetched.add(fetched);
        });
    }

    /// As metrics of an operator; none where nothing was read through the cache.
    pub fn metrics(&self) -> Vec<Arc<Metric>> {
        if self.from_cache.value() + self.fetched.value() == 0 {
            return Vec::new();
        }
        let metric = |name: &'static str, count: &Count| {
            Arc::new(Metric::new(MetricValue::Count { name: name.into(), count: count.clone() }, None))
        };
        vec![metric(FROM_CACHE, &self.from_cache), metric(FETCHED, &self.fetched)]
    }
}
