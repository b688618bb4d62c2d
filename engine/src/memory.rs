//! The cap on a process's memory, and the pool that keeps operators below it.
//!
//! `--memory` is the resident size (RSS) of the whole process. DataFusion's pool counts only what
//! operators declare; decoded Parquet pages, shuffle buffers, kernels' results and what the allocator
//! keeps back come on top (a sort was measured at three times its pool). So the pool is given a share
//! of the cap, and besides looks at the real RSS: when the process nears its cap, a request for more is
//! refused although the pool has room, and operators that can spill do so.

use std::fmt;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, TrackConsumersPool,
};

use crate::ByteSize;

/// What a process of ours holds before it has run anything: code, runtime, caches' floor. Measured at
/// 60 to 110 MB for server and executor after a first query.
const AT_REST: u64 = 96 * ByteSize::MIB;
/// Share of the cap, less [`AT_REST`], that operators may declare.
const POOL_SHARE: f64 = 0.6;
/// Share of the cap at which requests for more are refused whatever the pool says.
const RSS_SHARE: f64 = 0.82;
/// The smallest cap that leaves operators something to work with.
pub const CAP_MIN: ByteSize = ByteSize::mib(192);
/// How many newly requested bytes may pass between two looks at the RSS.
const RSS_CHECK_BYTES: usize = 1 << 20;

/// The resident size of this process, from `/proc/self/statm`.
#[derive(Debug)]
pub struct ResidentSize {
    statm: Option<File>,
    page_bytes: u64,
}

impl ResidentSize {
    /// Opens the file once; a read then costs about a microsecond.
    pub fn open() -> Self {
        Self { statm: File::open("/proc/self/statm").ok(), page_bytes: 4096 }
    }

    /// Bytes resident now; 0 where the system does not tell.
    pub fn bytes(&self) -> u64 {
        let Some(statm) = &self.statm else { return 0 };
        let mut buffer = [0u8; 128];
        let read = statm.read_at(&mut buffer, 0).unwrap_or(0);
        std::str::from_utf8(&buffer[..read])
            .ok()
            .and_then(|line| line.split_ascii_whitespace().nth(1))
            .and_then(|pages| pages.parse::<u64>().ok())
            .unwrap_or(0)
            * self.page_bytes
    }
}

/// The memory that this machine, or the control group this process lives in, allows.
pub fn machine_limit() -> ByteSize {
    let total = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
            line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .map_or(u64::MAX, |kib| kib * 1024);
    let control_group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok())
        .unwrap_or(u64::MAX);
    ByteSize(total.min(control_group))
}

/// Gives memory that the allocator keeps for later back to the system.
fn release_free_memory() {
    // SAFETY: mi_collect takes no pointers and may be called from any thread at any time. In a process
    // that does not use mimalloc as its allocator it finds nothing to release.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

/// One pool for a whole process: shared fairly among operators that can spill, bounded by the RSS.
pub struct CappedPool {
    inner: TrackConsumersPool<FairSpillPool>,
    limit_bytes: usize,
    cap: ByteSize,
    rss_limit_bytes: u64,
    rss: ResidentSize,
    unchecked_bytes: AtomicUsize,
    refusals: AtomicU64,
}

impl CappedPool {
    /// The pool of a process whose RSS must stay at or below `cap`.
    pub fn for_cap(cap: ByteSize) -> Arc<Self> {
        let above_rest = cap.0.saturating_sub(AT_REST).max(16 * ByteSize::MIB);
        let limit_bytes = (above_rest as f64 * POOL_SHARE) as usize;
        let named = NonZeroUsize::new(3).expect("three is not zero");
        Arc::new(Self {
            inner: TrackConsumersPool::new(FairSpillPool::new(limit_bytes), named),
            limit_bytes,
            cap,
            rss_limit_bytes: (cap.0 as f64 * RSS_SHARE) as u64,
            rss: ResidentSize::open(),
            unchecked_bytes: AtomicUsize::new(0),
            refusals: AtomicU64::new(0),
        })
    }

    /// Bytes that operators may declare in all.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// The cap on the process.
    pub fn cap(&self) -> ByteSize {
        self.cap
    }

    /// Bytes resident now.
    pub fn resident_bytes(&self) -> u64 {
        self.rss.bytes()
    }

    /// How often a request was refused since the start because the process was near its cap.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    fn check_resident_size(&self, additional: usize) -> DataFusionResult<()> {
        let pending = self.unchecked_bytes.fetch_add(additional, Ordering::Relaxed) + additional;
        if pending < RSS_CHECK_BYTES {
            return Ok(());
        }
        self.unchecked_bytes.store(0, Ordering::Relaxed);
        let asked = additional as u64;
        if self.rss.bytes() + asked <= self.rss_limit_bytes {
            return Ok(());
        }
        release_free_memory();
        if self.rss.bytes() + asked <= self.rss_limit_bytes {
            return Ok(());
        }
        self.refusals.fetch_add(1, Ordering::Relaxed);
        Err(DataFusionError::ResourcesExhausted(format!(
            "{} more would take the process past its memory cap of {}",
            ByteSize(asked),
            self.cap
        )))
    }
}

impl fmt::Debug for CappedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CappedPool").field("cap", &self.cap).field("limit", &self.limit_bytes).finish()
    }
}

impl fmt::Display for CappedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "capped({})", self.cap)
    }
}

impl MemoryPool for CappedPool {
    fn name(&self) -> &str {
        "capped"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.inner.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.inner.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.inner.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.inner.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DataFusionResult<()> {
        self.check_resident_size(additional)?;
        self.inner.try_grow(reservation, additional)
    }

    fn reserved(&self) -> usize {
        self.inner.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_leaves_headroom_below_the_cap() {
        let pool = CappedPool::for_cap(ByteSize(ByteSize::GIB));
        assert!((pool.limit_bytes() as u64) < ByteSize::GIB * 6 / 10);
        assert!((pool.limit_bytes() as u64) > ByteSize::GIB / 2);
    }

    #[test]
    fn a_process_past_its_cap_is_refused_more() {
        // The test process itself is larger than 16 MiB, so this cap is already exceeded.
        let pool: Arc<dyn MemoryPool> = CappedPool::for_cap(ByteSize::mib(1));
        let reservation = MemoryConsumer::new("test").with_can_spill(true).register(&pool);
        let refused = reservation.try_grow(2 << 20).expect_err("nothing more may be had");
        assert!(refused.to_string().contains("memory cap"), "{refused}");
    }

    #[test]
    fn this_process_is_resident_and_the_machine_has_a_limit() {
        assert!(ResidentSize::open().bytes() > ByteSize::MIB);
        assert!(machine_limit().0 > ByteSize::GIB / 2);
    }
}
