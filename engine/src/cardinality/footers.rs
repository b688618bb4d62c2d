//! What a Parquet footer tells of the values of a column without being asked: how wide they are, and about how many differ.
//!
//! Writers hardly ever note the number of different values. But a column that is stored with a dictionary has it in the
//! size of the dictionary's page, and in the bits that each value takes to name its entry.

use datafusion::parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

/// The header of a page, about.
const PAGE_HEADER_BYTES: f64 = 30.0;
/// Bytes of a text of which nobody noted the length.
const TEXT_BYTES: f64 = 12.0;
/// A column whose pages are about as large as its plain values has no dictionary worth the name.
const PLAIN_SHARE: f64 = 0.85;

/// What is told of one column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Told {
    /// Bytes of the mean value, for columns of values that differ in length.
    pub value_bytes: Option<f64>,
    /// Different values in the whole file, about; none where that cannot be told.
    pub distinct: Option<f64>,
}

/// What `footer` tells of the column of that name.
pub(super) fn told(footer: &ParquetMetaData, column: &str) -> Option<Told> {
    let is_it = |path: &[String]| path.len() == 1 && path[0] == column;
    let columns = footer.file_metadata().schema_descr().columns();
    let at = columns.iter().position(|of| is_it(of.path().parts()))?;
    let chunks = || footer.row_groups().iter().filter_map(|group| group.columns().get(at));
    let rows: f64 = chunks().map(|chunk| chunk.num_values() as f64).sum();
    if rows <= 0.0 {
        return None;
    }
    let noted: Option<i64> = chunks().map(ColumnChunkMetaData::unencoded_byte_array_data_bytes).sum();
    let value_bytes = noted.map(|bytes| bytes as f64 / rows);
    let groups: Option<Vec<f64>> = chunks().map(|chunk| distinct_in(chunk, value_bytes)).collect();
    let distinct = groups.map(|groups| {
        let of_all =
            groups.iter().zip(chunks()).map(|(distinct, chunk)| all_of(*distinct, chunk.num_values() as f64));
        of_all.fold(1.0, f64::max).min(rows)
    });
    Some(Told { value_bytes, distinct })
}

/// Different values in one chunk.
fn distinct_in(chunk: &ColumnChunkMetaData, value_bytes: Option<f64>) -> Option<f64> {
    use datafusion::parquet::basic::Type;
    let rows = chunk.num_values() as f64;
    let stored = chunk.uncompressed_size() as f64;
    let value = match chunk.column_type() {
        Type::BOOLEAN => return Some(2.0),
        Type::INT32 | Type::FLOAT => 4.0,
        Type::INT64 | Type::DOUBLE => 8.0,
        Type::INT96 => 12.0,
        Type::FIXED_LEN_BYTE_ARRAY => f64::from(chunk.column_descr().type_length().max(1)),
        Type::BYTE_ARRAY => value_bytes.unwrap_or(TEXT_BYTES) + 4.0,
    };
    let at = chunk.dictionary_page_offset()?;
    let page = chunk.data_page_offset().saturating_sub(at) as f64 - PAGE_HEADER_BYTES;
    if page <= 0.0 || stored >= value * rows * PLAIN_SHARE {
        return None;
    }
    // The page is compressed: there are as many values as fit into it at least. What is stored in all is not: a dictionary
    // of more values would have left less for the rows that name them, unless these come in runs.
    let least = page / value;
    Some(named_in(stored, value, rows).max(least).clamp(1.0, rows.max(1.0)))
}

/// As many values of `value` bytes as fill `stored` bytes together with what `rows` take to name one of them each.
fn named_in(stored: f64, value: f64, rows: f64) -> f64 {
    let (mut low, mut high) = (1.0, rows.max(1.0));
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        let bits = middle.log2().ceil().max(1.0);
        if middle * value + rows * bits / 8.0 < stored { low = middle } else { high = middle }
    }
    low
}

/// So many different values were seen in `rows` drawn from all: how many there are (Cardenas, turned round).
fn all_of(seen: f64, rows: f64) -> f64 {
    if seen >= rows * 0.95 {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (seen, seen * 64.0);
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        if super::columns::drawn(middle, rows) < seen { low = middle } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use datafusion::parquet::arrow::ArrowWriter;
    use datafusion::parquet::basic::{Compression, ZstdLevel};
    use datafusion::parquet::file::properties::WriterProperties;
    use datafusion::parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;

    fn footer(values: ArrayRef, compression: Compression) -> ParquetMetaData {
        let batch = RecordBatch::try_from_iter([("c", values)]).expect("one column");
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_max_row_group_row_count(Some(50_000))
            .build();
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).expect("a writer");
        writer.write(&batch).expect("rows are written");
        writer.close().expect("a file");
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).expect("a file");
        reader.metadata().clone()
    }

    #[test]
    fn dictionaries_tell_how_many_values_differ() {
        let zstd = Compression::ZSTD(ZstdLevel::default());
        for distinct in [3_u64, 7, 25, 150, 1000, 9000] {
            let text = |n: u64| format!("value number {}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20);
            let place = |n: u64| n.wrapping_mul(0xD129_0F3B_5A6E_7C15) >> 17;
            let texts = StringArray::from_iter_values((0..200_000).map(|n| text(place(n) % distinct)));
            let numbers =
                Int64Array::from_iter_values((0..200_000).map(|n| (place(n) % distinct) as i64 * 7919));
            let columns: [ArrayRef; 2] = [Arc::new(texts), Arc::new(numbers)];
            for (column, compression) in columns.iter().flat_map(|c| [(c, Compression::SNAPPY), (c, zstd)]) {
                let told = told(&footer(Arc::clone(column), compression), "c").expect("a column");
                let guess = told.distinct.expect("it has a dictionary");
                let ratio = guess / distinct as f64;
                assert!(
                    (0.4..=2.5).contains(&ratio),
                    "{distinct} {} {compression}: {guess}",
                    column.data_type()
                );
            }
        }
    }

    #[test]
    fn keys_tell_nothing() {
        let keys = Int64Array::from_iter_values((0..200_000).map(|n| n * 31));
        let told = told(&footer(Arc::new(keys), Compression::SNAPPY), "c").expect("a column");
        assert!(told.distinct.is_none_or(|distinct| distinct > 100_000.0), "{told:?}");
    }
}
