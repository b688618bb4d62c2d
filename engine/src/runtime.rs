//! What every query on a node shares: the memory pool, spill files, caches and object stores.

use std::sync::Arc;

use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::cache::cache_manager::CacheManagerConfig;
use datafusion::execution::disk_manager::{DiskManager, DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SpillFile, TempFileFactory};
use tokio::sync::watch;

use crate::config::Config;
use crate::data_cache::DataCache;
use crate::fence::Fence;
use crate::footers;
use crate::functions::bounded;
use crate::memory::{self, CappedPool, Pressure, TaskMemory};
use crate::object_stores::ObjectStores;
use crate::work_folder::WorkFolder;
use crate::{ByteSize, Result};

/// Footers kept decoded, at most. They live outside the memory pool, hence the share.
const METADATA_CACHE_SHARE: u64 = 32;
/// What footers tell of whole files, at most. One of 10,000 files that does not fit is read again with the other 9,999:
/// they are looked at in turn. With three columns they take some 40 MB.
const STATISTICS_CACHE_SHARE: u64 = 16;
/// Listings, at most. Of 10,000 files one takes some 3 MB.
const LISTING_CACHE_SHARE: u64 = 64;
/// What a merge of sorted runs takes of the pool for each. It would take all there is, and want for the rest.
const RUN_BYTES: usize = 12 << 20;
/// A folder listing is trusted for this long; new files show up afterwards.
const LISTING_LIFETIME: std::time::Duration = std::time::Duration::from_secs(5);

/// The shared resources of one process.
#[derive(Debug, Clone)]
pub struct NodeRuntime {
    /// What DataFusion takes its memory, spill files and stores from.
    pub env: Arc<RuntimeEnv>,
    /// The same pool as in `env`, with what only we ask of it.
    pub pool: Arc<CappedPool>,
    /// The same stores as in `env`, with what only we ask of them.
    pub stores: Arc<ObjectStores>,
    /// How near the process is to its cap.
    pub pressure: watch::Receiver<Pressure>,
}

/// Spill files of the node, for a task that merges fewer of them at once.
struct SpillFiles(Arc<DiskManager>);

impl TempFileFactory for SpillFiles {
    fn create_temp_file(&self, description: &str) -> DataFusionResult<Arc<dyn SpillFile>> {
        self.0.create_tmp_file(description)
    }
}

/// Runs that are merged at once by operators that have so many bytes.
fn fan_in(bytes: usize) -> usize {
    (bytes / RUN_BYTES).clamp(4, 256)
}

impl NodeRuntime {
    /// A runtime whose process stays below `cap` and whose spill files, at most `spill_bytes_max`, lie in `work_folder`. Files are opened
    /// at the places `allowed` alone, where it is given.
    pub fn new(
        config: &Config,
        cap: ByteSize,
        work_folder: &WorkFolder,
        spill_bytes_max: ByteSize,
        allowed: Option<&[String]>,
    ) -> Result<Self> {
        memory::use_small_pages();
        let pool = CappedPool::for_cap(cap);
        bounded::bound_by(cap);
        let pressure = memory::watch(&pool);
        let spill_folder = work_folder.subfolder("spill").map_err(DataFusionError::from)?;
        let cached = config.cache_memory(cap);
        // Without memory nothing is kept on disk either: blocks pass through it.
        let cache = (cached.0 > 0).then(|| {
            let folder = work_folder.path().join("cache");
            DataCache::new(cached, config.cache.disk, folder, Arc::clone(&pool) as _)
        });
        let fence = allowed.map(Fence::new).transpose()?;
        let stores = ObjectStores::new(config.stores.clone(), cache, fence);
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![spill_folder]))
            .with_max_temp_directory_size(spill_bytes_max.0)
            .with_max_spill_merge_fan_in(fan_in(pool.limit_bytes()));
        let footer_bytes = ByteSize(cap.0 / METADATA_CACHE_SHARE).as_usize();
        let caches =
            CacheManagerConfig::default().with_file_metadata_cache(Some(footers::cache(footer_bytes)));
        let env = RuntimeEnvBuilder::new()
            .with_cache_manager(caches)
            .with_memory_pool(Arc::clone(&pool) as _)
            .with_disk_manager_builder(disk)
            .with_metadata_cache_limit(footer_bytes)
            .with_file_statistics_cache_limit(ByteSize(cap.0 / STATISTICS_CACHE_SHARE).as_usize())
            .with_object_list_cache_limit(ByteSize(cap.0 / LISTING_CACHE_SHARE).as_usize())
            .with_object_list_cache_ttl(Some(LISTING_LIFETIME))
            .with_object_store_registry(Arc::clone(&stores) as _)
            .build_arc()?;
        footers::forget_unused(&env.cache_manager.get_file_metadata_cache());
        Ok(Self { env, pool, stores, pressure })
    }

    /// An account of its own for one task, of at most `bytes_max` when that is not 0, and the resources of the node drawn
    /// on by it.
    pub fn for_task(&self, bytes_max: usize) -> (Arc<TaskMemory>, Arc<RuntimeEnv>) {
        let memory = TaskMemory::open(&self.pool, bytes_max);
        let mut env = RuntimeEnv { memory_pool: Arc::clone(&memory) as _, ..self.env.as_ref().clone() };
        if bytes_max > 0 {
            // Merges of as many runs as the node has memory for would not fit into the task's, of which there may be two.
            let files = SpillFiles(Arc::clone(&self.env.disk_manager));
            let disk = DiskManagerBuilder::default()
                .with_temp_file_factory(Arc::new(files))
                .with_max_spill_merge_fan_in(fan_in(bytes_max / 2))
                .build()
                .expect("nothing is opened for it");
            env.disk_manager = Arc::new(disk);
        }
        (memory, Arc::new(env))
    }

    /// Bytes of spill files that exist now.
    pub fn spilled_bytes(&self) -> u64 {
        self.env.disk_manager.used_disk_space()
    }
}
