//! Decoded footers are kept while they are used.
//!
//! DataFusion keeps them up to a limit and lets none go before it is reached: of a table that is gone, or rewritten, for
//! ever where nothing else needs the room. They lie outside the memory pool, so that others could not have theirs either.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use catalog::table::trusted::trusted;
use datafusion::common::{HashMap as DataFusionHashMap, TableReference};
use datafusion::datasource::physical_plan::parquet::CachedParquetMetaData;
use datafusion::error::Result;
use datafusion::execution::cache::cache_manager::{CachedFileMetadataEntry, FileMetadataCache};
use datafusion::execution::cache::default_cache::DefaultCache;
use datafusion::execution::cache::{Cache, CacheEntryInfo};
use object_store::path::Path;

/// Footers of at most `bytes_max`, with what may be believed of each: it is worked out once.
pub fn cache(bytes_max: usize) -> Arc<FileMetadataCache> {
    Arc::new(Believed { inner: DefaultCache::new(bytes_max) })
}

struct Believed {
    inner: DefaultCache<Path, CachedFileMetadataEntry>,
}

impl Cache<Path, CachedFileMetadataEntry> for Believed {
    fn get(&self, path: &Path) -> Option<CachedFileMetadataEntry> {
        self.inner.get(path)
    }

    fn put(&self, path: &Path, entry: CachedFileMetadataEntry) -> Option<CachedFileMetadataEntry> {
        let told = entry.file_metadata.as_any().downcast_ref::<CachedParquetMetaData>();
        let believed = told.map(|told| trusted(Arc::clone(told.parquet_metadata())));
        let entry = match believed {
            Some(footer) => {
                CachedFileMetadataEntry::new(entry.meta, Arc::new(CachedParquetMetaData::new(footer)))
            }
            None => entry,
        };
        self.inner.put(path, entry)
    }

    fn remove(&self, path: &Path) -> Option<CachedFileMetadataEntry> {
        self.inner.remove(path)
    }

    fn contains_key(&self, path: &Path) -> bool {
        self.inner.contains_key(path)
    }

    fn len(&self) -> usize {
        self.inner.len()
    }

    fn clear(&self) {
        self.inner.clear();
    }

    fn name(&self) -> String {
        self.inner.name()
    }

    fn cache_limit(&self) -> usize {
        self.inner.cache_limit()
    }

    fn update_cache_limit(&self, limit: usize) {
        self.inner.update_cache_limit(limit);
    }

    fn cache_ttl(&self) -> Option<Duration> {
        self.inner.cache_ttl()
    }

    fn update_cache_ttl(&self, ttl: Option<Duration>) {
        self.inner.update_cache_ttl(ttl);
    }

    fn drop_table_entries(&self, table: &TableReference) -> Result<()> {
        self.inner.drop_table_entries(table)
    }

    fn list_entries(&self) -> DataFusionHashMap<Path, CacheEntryInfo<CachedFileMetadataEntry>> {
        self.inner.list_entries()
    }
}

/// One that was not asked for from one look to the next is let go.
const LOOK_EVERY: Duration = Duration::from_secs(300);

/// Looks after `cache` from a thread of its own, for as long as somebody else holds it.
pub fn forget_unused(cache: &Arc<FileMetadataCache>) {
    let weak = Arc::downgrade(cache);
    let look = move || {
        let mut seen = Seen::default();
        loop {
            std::thread::sleep(LOOK_EVERY);
            let Some(cache) = weak.upgrade() else { return };
            seen = seen.forget(cache.as_ref());
        }
    };
    std::thread::Builder::new()
        .name("footers".into())
        .spawn(look)
        .expect("a thread can be started when the process starts");
}

/// How often each had been asked for, by the hash of its path.
#[derive(Default)]
struct Seen(HashMap<u64, usize>);

impl Seen {
    /// Lets go what was not asked for since, and remembers the rest.
    fn forget(self, cache: &FileMetadataCache) -> Self {
        let mut kept = HashMap::new();
        for (path, entry) in cache.list_entries() {
            let mut hasher = DefaultHasher::new();
            (&path, entry.value.meta.last_modified).hash(&mut hasher);
            let key = hasher.finish();
            if self.0.get(&key) == Some(&entry.hits) {
                cache.remove(&path);
            } else {
                kept.insert(key, entry.hits);
            }
        }
        Self(kept)
    }
}

#[cfg(test)]
mod tests {
    use std::any::Any;

    use datafusion::execution::cache::cache_manager::FileMetadata;
    use object_store::ObjectMeta;

    use super::*;

    struct Footer;

    impl FileMetadata for Footer {
        fn as_any(&self) -> &dyn Any {
            self
        }

        fn memory_size(&self) -> usize {
            100
        }

        fn extra_info(&self) -> datafusion::common::HashMap<String, String> {
            Default::default()
        }
    }

    #[test]
    fn what_is_not_asked_for_between_two_looks_is_let_go() {
        let cache: Arc<FileMetadataCache> = Arc::new(DefaultCache::new(1 << 20));
        let (used, unused) = (Path::from("used"), Path::from("unused"));
        for path in [&used, &unused] {
            let meta = ObjectMeta {
                location: path.clone(),
                last_modified: Default::default(),
                size: 1,
                e_tag: None,
                version: None,
            };
            cache.put(path, CachedFileMetadataEntry::new(meta, Arc::new(Footer)));
        }
        let seen = Seen::default().forget(cache.as_ref());
        assert_eq!(cache.len(), 2);
        cache.get(&used);
        let seen = seen.forget(cache.as_ref());
        assert!(cache.contains_key(&used) && !cache.contains_key(&unused));
        seen.forget(cache.as_ref());
        assert_eq!(cache.len(), 0);
    }
}
