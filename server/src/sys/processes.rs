//! The server and its executors: who is alive, and what of memory and machine they take.

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::cache::{Cache, CacheKey, CacheValue};

use super::count;
use crate::pg_catalog::{Columns, View};

/// The executors that are alive.
pub fn executors(view: &View) -> RecordBatch {
    let members = view.context.coordinator.cluster.members();
    let reports = || members.iter().map(|member| &member.report);
    Columns::new()
        .text("executor_id", reports().map(|r| r.executor_id.as_str()))
        .text("state", members.iter().map(|m| if m.draining_since.is_some() { "draining" } else { "alive" }))
        .text("address", reports().map(|r| r.address.as_str()))
        .int4("process_id", reports().map(|r| r.process_id as i32))
        .int4("threads", reports().map(|r| r.threads as i32))
        .int8("memory_cap_bytes", reports().map(|r| count(r.memory_cap_bytes)))
        .int8("resident_bytes", reports().map(|r| count(r.resident_bytes)))
        .int8("resident_bytes_max", members.iter().map(|m| count(m.resident_bytes_max)))
        .int8("pool_reserved_bytes", reports().map(|r| count(r.pool_reserved_bytes)))
        .int8("pool_limit_bytes", reports().map(|r| count(r.pool_limit_bytes)))
        .int8("spilled_bytes", reports().map(|r| count(r.spilled_bytes)))
        .int8("cached_bytes", reports().map(|r| count(r.cached_bytes)))
        .float8("cpu_cores", reports().map(|r| Some(r.usage.cpu_cores)))
        .int8("disk_bytes_per_second", reports().map(|r| count(r.usage.disk_bytes_per_second)))
        .int8("network_bytes_per_second", reports().map(|r| count(r.usage.network_bytes_per_second)))
        .int4("tasks_running", reports().map(|r| r.tasks_running as i32))
        .int8("tasks_finished", reports().map(|r| count(r.tasks_finished)))
        .float8("heard_ms_ago", members.iter().map(|m| Some(m.heard_at.elapsed().as_secs_f64() * 1000.0)))
        .finish()
}

/// What one process has of memory, in bytes.
struct Holder {
    process: String,
    cap: u64,
    resident: u64,
    limit: u64,
    reserved: u64,
    cached: u64,
    cache_reserved: u64,
    spilled: u64,
}

impl Holder {
    /// What operators have declared, without the cache.
    fn operators(&self) -> u64 {
        self.reserved.saturating_sub(self.cache_reserved)
    }

    /// Resident beyond what operators have declared and the cache holds.
    fn other(&self) -> u64 {
        self.resident.saturating_sub(self.operators() + self.cached)
    }
}

fn holders(view: &View) -> Vec<Holder> {
    let coordinator = &view.context.coordinator;
    let own = &coordinator.runtime;
    let (cached, cache_reserved) = own.stores.cached_bytes();
    let server = Holder {
        process: "server".to_owned(),
        cap: own.pool.cap().0,
        resident: own.pool.resident_bytes(),
        limit: own.pool.limit_bytes() as u64,
        reserved: own.env.memory_pool.reserved() as u64,
        cached,
        cache_reserved,
        spilled: own.spilled_bytes(),
    };
    let executors = coordinator.cluster.members().into_iter().map(|member| Holder {
        process: member.report.executor_id.to_string(),
        cap: member.report.memory_cap_bytes,
        resident: member.report.resident_bytes,
        limit: member.report.pool_limit_bytes,
        reserved: member.report.pool_reserved_bytes,
        cached: member.report.cached_bytes,
        cache_reserved: member.report.cache_reserved_bytes,
        spilled: member.report.spilled_bytes,
    });
    std::iter::once(server).chain(executors).collect()
}

/// Where the memory of each process is.
pub fn memory(view: &View) -> RecordBatch {
    let all = holders(view);
    Columns::new()
        .text("process", all.iter().map(|of| of.process.as_str()))
        .int8("cap_bytes", all.iter().map(|of| count(of.cap)))
        .int8("resident_bytes", all.iter().map(|of| count(of.resident)))
        .int8("pool_limit_bytes", all.iter().map(|of| count(of.limit)))
        .int8("reserved_bytes", all.iter().map(|of| count(of.operators())))
        .int8("cached_bytes", all.iter().map(|of| count(of.cached)))
        .int8("other_bytes", all.iter().map(|of| count(of.other())))
        .int8("spilled_bytes", all.iter().map(|of| count(of.spilled)))
        .finish()
}

/// What is kept so that it need not be read again.
pub fn caches(view: &View) -> RecordBatch {
    let manager = &view.context.coordinator.runtime.env.cache_manager;
    let mut rows: Vec<(String, &'static str, i64, i64, Option<i64>)> = holders(view)
        .into_iter()
        .map(|of| (of.process.clone(), "data", count(of.cached), count(of.cache_reserved), None))
        .collect();
    let mut of_server = |name, (used, limit, entries): (i64, i64, i64)| {
        rows.push(("server".to_owned(), name, used, limit, Some(entries)));
    };
    of_server("footers", sizes(manager.get_file_metadata_cache().as_ref()));
    if let Some(listings) = manager.get_list_files_cache() {
        of_server("listings", sizes(listings.as_ref()));
    }
    if let Some(statistics) = manager.get_file_statistic_cache() {
        of_server("statistics", sizes(statistics.as_ref()));
    }
    Columns::new()
        .text("process", rows.iter().map(|row| row.0.as_str()))
        .text("cache", rows.iter().map(|row| row.1))
        .int8("used_bytes", rows.iter().map(|row| row.2))
        .int8("limit_bytes", rows.iter().map(|row| row.3))
        .optional_int8("entries", rows.iter().map(|row| row.4))
        .finish()
}

/// Bytes used, bytes allowed, and entries of a cache.
fn sizes<K: CacheKey, V: CacheValue>(cache: &dyn Cache<K, V>) -> (i64, i64, i64) {
    let used: usize = cache.list_entries().values().map(|entry| entry.size_bytes).sum();
    (count(used as u64), count(cache.cache_limit() as u64), count(cache.len() as u64))
}
