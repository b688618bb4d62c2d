//! Writes the eight tables of TPC-H as Parquet, one file each, with a progress bar.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context;
use arrow::array::RecordBatch;
use indicatif::{ProgressBar, ProgressStyle};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow,
    SupplierArrow,
};

/// Small enough that two threads share even the smaller tables, large enough to compress well.
const ROW_GROUP_ROWS: usize = 500_000;

type Batches = Box<dyn Iterator<Item = arrow::error::Result<RecordBatch>> + Send>;

/// A table, its rows at scale factor 1, and how it is made.
type Table = (&'static str, u64, fn(f64) -> Batches);

/// Largest first, so that the last file to finish is a small one.
const TABLES: [Table; 8] = [
    ("lineitem", 6_001_215, |sf| Box::new(LineItemArrow::new(LineItemGenerator::new(sf, 1, 1)))),
    ("orders", 1_500_000, |sf| Box::new(OrderArrow::new(OrderGenerator::new(sf, 1, 1)))),
    ("partsupp", 800_000, |sf| Box::new(PartSuppArrow::new(PartSuppGenerator::new(sf, 1, 1)))),
    ("part", 200_000, |sf| Box::new(PartArrow::new(PartGenerator::new(sf, 1, 1)))),
    ("customer", 150_000, |sf| Box::new(CustomerArrow::new(CustomerGenerator::new(sf, 1, 1)))),
    ("supplier", 10_000, |sf| Box::new(SupplierArrow::new(SupplierGenerator::new(sf, 1, 1)))),
    ("nation", 25, |sf| Box::new(NationArrow::new(NationGenerator::new(sf, 1, 1)))),
    ("region", 5, |sf| Box::new(RegionArrow::new(RegionGenerator::new(sf, 1, 1)))),
];

/// Fills `folder` with the tables at `scale_factor`, unless it is there already. A folder that exists
/// is complete: it is renamed to its name only when every table is written.
pub fn generate(folder: &Path, scale_factor: &str) -> anyhow::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let factor: f64 = scale_factor
        .parse()
        .ok()
        .filter(|factor| *factor > 0.0 && *factor <= 1000.0)
        .with_context(|| format!("--scale-factor {scale_factor:?} is not a number above 0"))?;
    let unfinished = folder.with_extension(format!("unfinished-{}", std::process::id()));
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished)
        .with_context(|| format!("cannot make the folder {}", unfinished.display()))?;
    let rows: f64 = TABLES.iter().map(|(_, rows, _)| *rows as f64 * factor).sum();
    let progress = ProgressBar::new(rows as u64).with_style(
        ProgressStyle::with_template("generating TPC-H [{bar:40}] {percent}% {msg}")
            .expect("the template is a literal")
            .progress_chars("=> "),
    );
    let waiting = Mutex::new(VecDeque::from(TABLES));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(TABLES.len());
    let outcome: anyhow::Result<()> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    while let Some((name, _, make)) = next(&waiting) {
                        progress.set_message(name);
                        let path = unfinished.join(format!("{name}.parquet"));
                        write_table(&path, make(factor), &progress)
                            .with_context(|| format!("cannot write {}", path.display()))?;
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a generator does not panic"))
    });
    if let Err(error) = outcome {
        let _ = fs::remove_dir_all(&unfinished);
        return Err(error);
    }
    progress.finish_and_clear();
    if let Err(error) = fs::rename(&unfinished, folder) {
        let _ = fs::remove_dir_all(&unfinished);
        // Another process may have finished the same data first.
        if !folder.is_dir() {
            return Err(error).with_context(|| format!("cannot make the folder {}", folder.display()));
        }
    }
    Ok(())
}

fn next(waiting: &Mutex<VecDeque<Table>>) -> Option<Table> {
    waiting.lock().expect("no worker panics while it holds the queue").pop_front()
}

fn write_table(path: &Path, batches: Batches, progress: &ProgressBar) -> anyhow::Result<()> {
    let mut batches = batches.peekable();
    let Some(Ok(first)) = batches.peek() else { anyhow::bail!("the generator gave no rows") };
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let mut writer = ArrowWriter::try_new(File::create(path)?, first.schema(), Some(properties))?;
    for batch in batches {
        let batch = batch?;
        progress.inc(batch.num_rows() as u64);
        writer.write(&batch)?;
    }
    writer.close()?;
    Ok(())
}
