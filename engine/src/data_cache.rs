//! Keeps what was read of remote objects, in memory and on disk within bounds, so that it is not fetched again.
//!
//! Objects are kept in blocks, each under the object's name and its version. An object's version is known in two cases
//! alone: its name is one that a writer never uses twice, or a listing of this process told its entity tag, and then
//! what is fetched is asked for by that tag. So no byte of another version is ever given. Objects of which neither
//! is known are read past the cache. See `docs/decisions/010-a-cache-of-versions.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dashmap::DashMap;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder, RecoverMode,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use tokio::sync::OnceCell;
use tracing::warn;

use crate::ByteSize;
use crate::cache_counts::CacheCounts;

/// Large enough that a request's latency does not outweigh it, and no larger than the gap that object_store reads over
/// anyway when it joins ranges (1 MiB).
const BLOCK_BYTES: u64 = 512 << 10;
/// Blocks of one request, at most.
const BLOCKS_PER_REQUEST: u64 = 32;
const REQUESTS_AT_ONCE: usize = 8;
/// A range of more bytes is read as a stream, past the cache.
const RANGE_BYTES_MAX: u64 = BLOCK_BYTES * BLOCKS_PER_REQUEST;
/// Objects that are remembered, at most.
const OBJECTS_MAX: usize = 200_000;
const SHARD_BYTES_MIN: u64 = 16 * BLOCK_BYTES;
const SHARDS_MAX: usize = 8;
/// What an entry takes beside its bytes, about.
const ENTRY_BYTES: usize = 256;

/// What one process keeps of remote objects.
pub struct DataCache {
    memory: ByteSize,
    disk: ByteSize,
    folder: PathBuf,
    pool: Arc<dyn MemoryPool>,
    blocks: OnceCell<Blocks>,
    /// What listings, and first reads of objects that are written once, told: by store and path.
    objects: DashMap<String, ObjectMeta>,
}

struct Blocks {
    cache: HybridCache<String, Bytes>,
    _memory: MemoryReservation,
}

impl fmt::Debug for DataCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataCache").field("memory", &self.memory).field("disk", &self.disk).finish()
    }
}

impl DataCache {
    /// A cache of `memory` bytes, which it takes from `pool` once the first remote object is read, and of `disk` bytes
    /// in `folder`, which is its own.
    pub fn new(memory: ByteSize, disk: ByteSize, folder: PathBuf, pool: Arc<dyn MemoryPool>) -> Arc<Self> {
        Arc::new(Self { memory, disk, folder, pool, blocks: OnceCell::new(), objects: DashMap::new() })
    }

    /// `store` behind this cache; `place` tells it from all others.
    pub fn over(self: &Arc<Self>, store: Arc<dyn ObjectStore>, place: String) -> Arc<dyn ObjectStore> {
        Arc::new(CachedStore { store, place, cache: Arc::clone(self) })
    }

    /// Bytes that it keeps in memory now, and bytes that it has set aside of the pool for that.
    pub fn sizes(&self) -> (u64, u64) {
        self.blocks.get().map_or((0, 0), |blocks| (blocks.cache.memory().usage() as u64, self.memory.0))
    }

    /// Nothing when the process has no memory for it now.
    async fn blocks(&self) -> Option<&HybridCache<String, Bytes>> {
        let opened = self.blocks.get_or_try_init(async || {
            let reservation = MemoryConsumer::new("data cache").register(&self.pool);
            reservation.try_grow(self.memory.as_usize()).map_err(|_| ())?;
            let cache = match self.open(self.disk).await {
                Ok(cache) => cache,
                Err(error) => {
                    warn!(%error, "the data cache cannot use its folder and keeps to memory");
                    self.open(ByteSize(0)).await.map_err(|_| ())?
                }
            };
            Ok::<_, ()>(Blocks { cache, _memory: reservation })
        });
        opened.await.ok().map(|blocks| &blocks.cache)
    }

    async fn open(
        &self,
        disk: ByteSize,
    ) -> std::result::Result<HybridCache<String, Bytes>, Box<dyn std::error::Error + Send + Sync>> {
        let builder = HybridCacheBuilder::new()
            .with_name("data")
            .memory(self.memory.as_usize())
            // A shard holds an entry however small its share is: with too many the bound would not hold.
            .with_shards(((self.memory.0 / SHARD_BYTES_MIN) as usize).clamp(1, SHARDS_MAX))
            .with_weighter(|key: &String, block: &Bytes| key.len() + block.len() + ENTRY_BYTES)
            .storage();
        if disk.0 == 0 {
            return Ok(builder.build().await?);
        }
        std::fs::create_dir_all(&self.folder)?;
        let device = FsDeviceBuilder::new(&self.folder).with_capacity(disk.as_usize()).build()?;
        // The folder is the process's own and goes with it.
        let builder = builder.with_recover_mode(RecoverMode::None);
        Ok(builder.with_engine_config(BlockEngineConfig::new(device)).build().await?)
    }
}

/// True for the names of files that their writers never use a second time: ours of tables and of copies, and
/// DuckDB's of a lake. Each holds an identifier that is made for the file.
fn is_written_once(name: &str) -> bool {
    let Some((stem, _)) = name.split_once('.') else { return false };
    let is_id = |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(id) = stem.strip_prefix("ducklake-") {
        return uuid::Uuid::try_parse(id).is_ok();
    }
    match stem.split('-').collect::<Vec<_>>().as_slice() {
        [statement, file] => is_id(statement) && is_id(file),
        ["part", _, _, file] => is_id(file),
        _ => false,
    }
}

/// The version of an object that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Version {
    Only,
    Tagged(String),
}

impl Version {
    fn name(&self) -> &str {
        match self {
            Self::Only => "",
            Self::Tagged(tag) => tag,
        }
    }
}

#[derive(Debug)]
struct CachedStore {
    store: Arc<dyn ObjectStore>,
    place: String,
    cache: Arc<DataCache>,
}

impl fmt::Display for CachedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

impl CachedStore {
    fn key(&self, path: &Path) -> String {
        format!("{}/{path}", self.place)
    }

    fn remember(&self, object: &ObjectMeta) {
        let key = self.key(&object.location);
        // A weak tag does not tell one content from another.
        let has_tag = object.e_tag.as_ref().is_some_and(|tag| !tag.starts_with("W/"));
        if has_tag || object.location.filename().is_some_and(is_written_once) {
            if self.cache.objects.len() >= OBJECTS_MAX {
                self.cache.objects.clear();
            }
            self.cache.objects.insert(key, object.clone());
        } else {
            self.cache.objects.remove(&key);
        }
    }

    fn forget(&self, path: &Path) {
        self.cache.objects.remove(&self.key(path));
    }

    fn version(&self, path: &Path) -> Option<Version> {
        if path.filename().is_some_and(is_written_once) {
            return Some(Version::Only);
        }
        self.cache.objects.get(&self.key(path))?.e_tag.clone().map(Version::Tagged)
    }

    /// `ranges` of an object whose version is known, out of the cache and into it. Nothing where the cache cannot give
    /// them: the store says what is wrong with them, if something is.
    async fn cached(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Option<Vec<Bytes>>> {
        let Some(version) = self.version(path) else { return Ok(None) };
        if ranges.iter().any(|range| range.start >= range.end) {
            return Ok(None);
        }
        let Some(cache) = self.cache.blocks().await else { return Ok(None) };
        let indices = ranges.iter().flat_map(touched).collect();
        let blocks = self.blocks(cache, path, &version, &indices).await?;
        Ok(ranges.iter().map(|range| cut(&blocks, range)).collect())
    }

    /// A short range of a known object, asked for by itself.
    async fn cached_range(&self, path: &Path, options: &GetOptions) -> Result<Option<GetResult>> {
        let Some(GetRange::Bounded(range)) = options.range.clone() else { return Ok(None) };
        let is_plain = !options.head
            && options.version.is_none()
            && [&options.if_match, &options.if_none_match].iter().all(|tag| tag.is_none())
            && [&options.if_modified_since, &options.if_unmodified_since].iter().all(|time| time.is_none());
        let object = self.cache.objects.get(&self.key(path)).map(|object| object.clone());
        let Some(meta) = object.filter(|object| is_plain && range.end <= object.size) else {
            return Ok(None);
        };
        if range.end.saturating_sub(range.start) > RANGE_BYTES_MAX {
            return Ok(None);
        }
        let Some(bytes) = self.cached(path, std::slice::from_ref(&range)).await? else { return Ok(None) };
        let payload = GetResultPayload::Stream(futures::stream::iter(bytes.into_iter().map(Ok)).boxed());
        Ok(Some(GetResult { payload, meta, range, attributes: Attributes::default() }))
    }

    fn remembering(
        &self,
        objects: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = Self {
            store: Arc::clone(&self.store),
            place: self.place.clone(),
            cache: Arc::clone(&self.cache),
        };
        objects.inspect_ok(move |object| listed.remember(object)).boxed()
    }

    /// The blocks `indices` of an object; those that the cache does not hold are fetched.
    async fn blocks(
        &self,
        cache: &HybridCache<String, Bytes>,
        path: &Path,
        version: &Version,
        indices: &BTreeSet<u64>,
    ) -> Result<BTreeMap<u64, Bytes>> {
        let object = format!("{}\0{}\0", self.key(path), version.name());
        let key = |index: u64| format!("{object}{index}");
        let asked = indices.iter().map(|index| async {
            // What the disk cannot give is fetched.
            let found = cache.get(&key(*index)).await.ok().flatten();
            (*index, found.map(|entry| entry.value().clone()))
        });
        let (mut blocks, mut missing): (BTreeMap<u64, Bytes>, _) = (BTreeMap::new(), Vec::new());
        for (index, found) in futures::future::join_all(asked).await {
            match found {
                Some(block) => drop(blocks.insert(index, block)),
                None => missing.push(index),
            }
        }
        let from_cache: usize = blocks.values().map(Bytes::len).sum();
        let fetched = futures::stream::iter(runs(&missing)).map(|run| async move {
            let bytes = self.fetch(path, version, run.start * BLOCK_BYTES..run.end * BLOCK_BYTES).await?;
            Ok::<_, object_store::Error>((run, bytes))
        });
        let mut fetched = fetched.buffer_unordered(REQUESTS_AT_ONCE);
        while let Some((run, bytes)) = fetched.try_next().await? {
            for (index, block) in run.zip(bytes.chunks(BLOCK_BYTES as usize)) {
                // Copied: a slice would keep all of the answer.
                let block = Bytes::copy_from_slice(block);
                cache.insert(key(index), block.clone());
                blocks.insert(index, block);
            }
        }
        let all: usize = blocks.values().map(Bytes::len).sum();
        CacheCounts::note(from_cache, all - from_cache);
        Ok(blocks)
    }

    async fn fetch(&self, path: &Path, version: &Version, range: Range<u64>) -> Result<Bytes> {
        let mut options = GetOptions::new().with_range(Some(GetRange::Bounded(range)));
        if let Version::Tagged(tag) = version {
            options = options.with_if_match(Some(tag.clone()));
        }
        let answer = self.store.get_opts(path, options).await;
        if let Err(object_store::Error::Precondition { .. } | object_store::Error::NotFound { .. }) = &answer
        {
            self.forget(path);
        }
        answer?.bytes().await
    }
}

/// `indices`, which ascend, as ranges of consecutive ones.
fn runs(indices: &[u64]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for &index in indices {
        match runs.last_mut() {
            Some(run) if run.end == index && run.end - run.start < BLOCKS_PER_REQUEST => run.end += 1,
            _ => runs.push(index..index + 1),
        }
    }
    runs
}

/// The bytes of `range`, out of the blocks that hold them; nothing when the object ends before.
fn cut(blocks: &BTreeMap<u64, Bytes>, range: &Range<u64>) -> Option<Bytes> {
    let part = |index: u64| {
        let start = index * BLOCK_BYTES;
        let from = range.start.max(start) - start;
        let to = range.end.min(start + BLOCK_BYTES) - start;
        let block = blocks.get(&index)?;
        (to <= block.len() as u64).then(|| block.slice(from as usize..to as usize))
    };
    let mut parts = touched(range).map(part);
    let first = parts.next()??;
    if first.len() as u64 == range.end - range.start {
        return Some(first);
    }
    let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
    bytes.extend_from_slice(&first);
    for part in parts {
        bytes.extend_from_slice(&part?);
    }
    Some(bytes.into())
}

fn touched(range: &Range<u64>) -> Range<u64> {
    range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for CachedStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.forget(path);
        self.store.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.forget(path);
        self.store.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        if let Some(answer) = self.cached_range(path, &options).await? {
            return Ok(answer);
        }
        let is_head = options.head;
        let answer = self.store.get_opts(path, options).await?;
        if is_head || path.filename().is_some_and(is_written_once) {
            self.remember(&answer.meta);
        }
        Ok(answer)
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match self.cached(path, ranges).await? {
            Some(found) => Ok(found),
            None => self.store.get_ranges(path, ranges).await,
        }
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.remembering(self.store.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.remembering(self.store.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listing = self.store.list_with_delimiter(prefix).await?;
        listing.objects.iter().for_each(|object| self.remember(object));
        Ok(listing)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.forget(to);
        self.store.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.forget(from);
        self.forget(to);
        self.store.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    const ONCE: &str = "t/0192a000000070008000000000000001-0192a000000070008000000000000002.parquet";

    /// Counts what is fetched.
    #[derive(Debug)]
    struct Counted {
        inner: InMemory,
        fetched: AtomicUsize,
    }

    impl fmt::Display for Counted {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("counted")
        }
    }

    #[async_trait]
    impl ObjectStore for Counted {
        async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
            self.inner.put_opts(path, payload, options).await
        }

        async fn put_multipart_opts(
            &self,
            path: &Path,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.inner.put_multipart_opts(path, options).await
        }

        async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
            self.fetched.fetch_add(1, Ordering::SeqCst);
            self.inner.get_opts(path, options).await
        }

        fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
            self.inner.delete_stream(paths)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.inner.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.inner.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.inner.copy_opts(from, to, options).await
        }
    }

    struct Fixture {
        counted: Arc<Counted>,
        cached: Arc<dyn ObjectStore>,
    }

    impl Fixture {
        fn new(memory: u64, disk: u64, folder: &std::path::Path) -> Self {
            let counted = Arc::new(Counted { inner: InMemory::new(), fetched: AtomicUsize::new(0) });
            let pool = Arc::new(GreedyMemoryPool::new(64 << 20));
            let cache = DataCache::new(ByteSize(memory), ByteSize(disk), folder.join("cache"), pool);
            let cached = cache.over(Arc::clone(&counted) as _, "s3://b".into());
            Self { counted, cached }
        }

        fn fetches(&self) -> usize {
            self.counted.fetched.swap(0, Ordering::SeqCst)
        }
    }

    fn content(length: usize, salt: usize) -> Vec<u8> {
        (0..length).map(|at| ((at * 31 + at / 977 + salt) % 251) as u8).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_read_is_not_fetched_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = content(3 * BLOCK_BYTES as usize + 1234, 0);
        let length = all.len() as u64;
        for disk in [0, 64 << 20] {
            let fixture = Fixture::new(32 << 20, disk, folder.path());
            let path = Path::from(ONCE);
            fixture.counted.inner.put(&path, all.clone().into()).await.expect("put");
            let ranges =
                [0..8, length - 8..length, 100..BLOCK_BYTES + 7, 0..length, BLOCK_BYTES..2 * BLOCK_BYTES];
            for round in 0..2 {
                for range in &ranges {
                    let read = fixture.cached.get_ranges(&path, std::slice::from_ref(range)).await;
                    let expected = &all[range.start as usize..range.end as usize];
                    assert_eq!(read.expect("read")[0], expected, "{range:?}");
                }
                assert_eq!(fixture.fetches() > 0, round == 0, "round {round}, {disk} bytes of disk");
            }
            // Of one range asked for by itself, the first answer tells what the object is.
            for round in 0..3 {
                let read = fixture.cached.get_range(&path, 5..BLOCK_BYTES + 5).await.expect("read");
                assert_eq!(read, all[5..BLOCK_BYTES as usize + 5]);
                assert_eq!(fixture.fetches() > 0, round == 0, "round {round}");
            }
            fixture.cached.get_range(&path, length..length + 1).await.expect_err("past the end");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn another_version_is_never_given() {
        let folder = tempfile::tempdir().expect("a folder");
        let fixture = Fixture::new(32 << 20, 0, folder.path());
        let path = Path::from("t/data.parquet");
        let (first, second) = (content(900_000, 1), content(900_000, 2));
        let read = async || fixture.cached.get_range(&path, 10..700_000).await;
        fixture.counted.inner.put(&path, first.clone().into()).await.expect("put");
        // Of no known version: always fetched.
        for _ in 0..2 {
            assert_eq!(read().await.expect("read"), first[10..700_000]);
            assert!(fixture.fetches() > 0);
        }
        let list = async || fixture.cached.list(None).try_collect::<Vec<_>>().await.expect("a listing");
        list().await;
        assert_eq!(fixture.cached.get_range(&path, 0..10).await.expect("read"), first[..10]);
        // The object is replaced behind our back: what is kept is of the version that was listed, the rest is refused.
        fixture.counted.inner.put(&path, second.clone().into()).await.expect("put");
        let refused = read().await;
        assert!(matches!(refused, Err(object_store::Error::Precondition { .. })), "{refused:?}");
        list().await;
        fixture.fetches();
        for round in 0..2 {
            assert_eq!(read().await.expect("read"), second[10..700_000]);
            assert_eq!(fixture.fetches() > 0, round == 0, "round {round}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_keeps_to_its_memory_and_yields_to_the_pool() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = Path::from(ONCE);
        let all = content(16 * BLOCK_BYTES as usize, 3);
        let counted = Arc::new(Counted { inner: InMemory::new(), fetched: AtomicUsize::new(0) });
        counted.inner.put(&path, all.clone().into()).await.expect("put");
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(4 << 20));
        let open = |memory: u64| {
            DataCache::new(ByteSize(memory), ByteSize(0), folder.path().to_owned(), Arc::clone(&pool))
        };
        let whole = std::slice::from_ref(&(0..all.len() as u64)).to_vec();
        let small = open(2 << 20);
        let read = small.over(Arc::clone(&counted) as _, "s3://b".into()).get_ranges(&path, &whole).await;
        assert_eq!(read.expect("read")[0], all);
        assert_eq!(pool.reserved(), 2 << 20);
        let kept = small.blocks().await.expect("open").memory().usage();
        assert!(kept > 0 && kept <= 2 << 20, "{kept} bytes");
        // No room: the object is read all the same.
        let large = open(3 << 20);
        let read = large.over(Arc::clone(&counted) as _, "s3://b".into()).get_ranges(&path, &whole).await;
        assert_eq!(read.expect("read")[0], all);
        assert_eq!(pool.reserved(), 2 << 20);
    }

    #[test]
    fn names_that_are_used_once_are_known() {
        for once in [
            "0192a000000070008000000000000001-0192a000000070008000000000000002.parquet",
            "part-00000-001-0192a000000070008000000000000002.csv.gz",
            "ducklake-0192a000-0000-7000-8000-000000000001.parquet",
        ] {
            assert!(is_written_once(once), "{once}");
        }
        for often in [
            "data.parquet",
            "0192a000000070008000000000000001.parquet",
            "part-0.parquet",
            "ducklake-1.parquet",
            "a-b.parquet",
            "latest-0192a000000070008000000000000002.parquet",
        ] {
            assert!(!is_written_once(often), "{often}");
        }
    }
}
