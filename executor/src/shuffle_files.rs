//! Bounds what shuffle files take: the job that has most of them ends (53100) when they pass their limit.
//!
//! Ballista writes them and removes them, and counts neither. So their folder is measured once a second: a
//! disk that fills up faster is met by the error of the write itself.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ballista_core::JobId;
use datafusion::error::DataFusionError;
use engine::{ByteSize, Error};
use tokio::sync::watch;
use tracing::warn;

const INTERVAL: Duration = Duration::from_secs(1);

/// The folder of shuffle files, one folder within for each job.
#[derive(Debug, Clone)]
pub struct ShuffleFiles {
    limit: ByteSize,
    excess: watch::Receiver<Excess>,
}

#[derive(Debug, Clone, Default)]
struct Excess {
    bytes: u64,
    /// The job that has most files, while all are past the limit.
    job: Option<Arc<str>>,
}

impl ShuffleFiles {
    /// Measures `folder` from now on, by a thread that ends with the process.
    pub fn watch(folder: PathBuf, limit: ByteSize) -> Self {
        let (sender, excess) = watch::channel(Excess::default());
        let measure = move || {
            while !sender.is_closed() {
                std::thread::sleep(INTERVAL);
                let by_job = bytes_by_job(&folder);
                let bytes: u64 = by_job.values().sum();
                let largest = by_job.into_iter().max_by_key(|(_, bytes)| *bytes);
                let job = largest.filter(|_| bytes > limit.0).map(|(job, _)| Arc::from(job));
                if let Some(job) = &job {
                    warn!(job.id = %job, bytes, limit_bytes = limit.0, "shuffle files are past their limit");
                }
                sender.send_replace(Excess { bytes, job });
            }
        };
        std::thread::Builder::new()
            .name("shuffle-files".into())
            .spawn(measure)
            .expect("a thread can be started when the process starts");
        Self { limit, excess }
    }

    /// Resolves, with the error that its tasks end in, once `job` must end for its files.
    pub async fn too_many_of(&self, job: &JobId) -> DataFusionError {
        let mut excess = self.excess.clone();
        let is_it = |excess: &Excess| excess.job.as_deref() == Some(job.as_str());
        let bytes = excess.wait_for(is_it).await.map(|excess| excess.bytes).ok();
        let bytes = match bytes {
            Some(bytes) => bytes,
            // Nobody measures any more: the process ends.
            None => std::future::pending().await,
        };
        let message = format!(
            "an executor's shuffle files take {}, more than the {} that executor.shuffle_bytes_max allows",
            ByteSize(bytes),
            self.limit
        );
        DataFusionError::External(Box::new(Error::DiskFull { message }))
    }
}

fn bytes_by_job(folder: &Path) -> HashMap<String, u64> {
    let jobs = std::fs::read_dir(folder).into_iter().flatten().flatten();
    jobs.map(|job| (job.file_name().to_string_lossy().into_owned(), bytes_below(&job.path()))).collect()
}

/// Files that vanish meanwhile count nothing.
fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_by_job() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for (job, bytes) in [("a", 10), ("b", 30)] {
            let stage = folder.path().join(job).join("1").join("0");
            std::fs::create_dir_all(&stage).expect("a folder");
            std::fs::write(stage.join("data.arrow"), vec![0u8; bytes]).expect("a file");
        }
        let by_job = bytes_by_job(folder.path());
        assert_eq!((by_job["a"], by_job["b"]), (10, 30));
    }
}
