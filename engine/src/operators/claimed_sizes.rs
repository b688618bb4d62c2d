//! What a scan holds of Parquet files, asked of the memory pool before it is read: the parts of columns of one row group, and
//! what they claim to be once they are unpacked. A cursor that rests holds the row group it is in, and forty of them that
//! nobody had counted were 1.6 GB; and four kilobytes were seen to say that they are a page of two gigabytes, which the
//! reader makes room for. And what of a footer is to be believed: it passes here on its way to who prunes by it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use catalog::table::trusted::trusted;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::scope::Scope;

/// A part of a column that is smaller, unpacked, needs not be asked for.
const LARGE: i64 = 64 << 20;
/// Nor does one of which each byte becomes fewer: it has many pages, and one of them is unpacked at a time.
const RATIO: i64 = 250;

/// The scan `node`, when it is one of Parquet, with readers that ask.
pub fn asking(node: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let scan = node.downcast_ref::<DataSourceExec>()?;
    let config = scan.data_source().downcast_ref::<FileScanConfig>()?;
    let source = config.file_source().downcast_ref::<ParquetSource>()?;
    let inner = Arc::clone(source.parquet_file_reader_factory()?);
    let source = source.clone().with_parquet_file_reader_factory(Arc::new(AskingReaders { inner }));
    let config = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source)).build();
    Some(DataSourceExec::from_data_source(config))
}

#[derive(Debug)]
struct AskingReaders {
    inner: Arc<dyn ParquetFileReaderFactory>,
}

impl ParquetFileReaderFactory for AskingReaders {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let inner = self.inner.create_reader(partition, file, metadata_size_hint, metrics)?;
        Ok(Box::new(AskingReader { inner, metadata: None, memory: None }))
    }
}

struct AskingReader {
    inner: Box<dyn AsyncFileReader + Send>,
    metadata: Option<Arc<ParquetMetaData>>,
    /// For what is read now: of a row group, of which one follows the other.
    memory: Option<MemoryReservation>,
}

impl fmt::Debug for AskingReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskingReader").finish_non_exhaustive()
    }
}

impl AskingReader {
    /// Before `ranges` of the file are read.
    fn ask(&mut self, ranges: &[Range<u64>]) -> ParquetResult<()> {
        let packed = ranges.iter().fold(0, |sum: u64, range| sum.saturating_add(range.end - range.start));
        let is_read = |start: &u64| ranges.iter().any(|range| range.contains(start));
        let read =
            self.metadata.iter().flat_map(|metadata| suspects(metadata)).filter(|(start, _)| is_read(start));
        let unpacked = read.fold(0, |sum: usize, (_, bytes)| sum.saturating_add(bytes));
        let bytes = usize::try_from(packed).unwrap_or(usize::MAX).saturating_add(unpacked);
        let Some(pool) = Scope::current().and_then(|scope| scope.pool().cloned()) else { return Ok(()) };
        let memory = self.memory.get_or_insert_with(|| MemoryConsumer::new("ParquetScan").register(&pool));
        memory.try_resize(bytes).map_err(|error| ParquetError::External(Box::new(error)))
    }
}

/// Where parts of columns begin that would be far larger unpacked, and how large. Few files have one: those are looked
/// for at each read.
fn suspects(metadata: &ParquetMetaData) -> impl Iterator<Item = (u64, usize)> {
    let columns = metadata.row_groups().iter().flat_map(|group| group.columns());
    let is_suspect = |packed: i64, unpacked: i64| unpacked > LARGE && unpacked / packed.max(1) > RATIO;
    columns.filter(move |column| is_suspect(column.compressed_size(), column.uncompressed_size())).map(
        |column| (column.byte_range().0, usize::try_from(column.uncompressed_size()).unwrap_or(usize::MAX)),
    )
}

impl AsyncFileReader for AskingReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        if let Err(error) = self.ask(std::slice::from_ref(&range)) {
            return std::future::ready(Err(error)).boxed();
        }
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        if let Err(error) = self.ask(&ranges) {
            return std::future::ready(Err(error)).boxed();
        }
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let metadata = trusted(self.inner.get_metadata(options).await?);
            self.metadata = Some(Arc::clone(&metadata));
            Ok(metadata)
        }
        .boxed()
    }
}
