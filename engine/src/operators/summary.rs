//! What a file's footer tells about its columns, in the words of the catalog.

use catalog::lake::{FileColumn, NewFile, field_id, values};
use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use datafusion::parquet::file::metadata::ParquetMetaData;

/// What the catalog keeps of a file with `footer` and columns `schema`, which is `file_bytes` long. It has no
/// path yet.
pub fn summarise(footer: &ParquetMetaData, schema: &SchemaRef, file_bytes: u64) -> Result<NewFile> {
    let columns = schema.fields().iter().map(|field| column(footer, field)).collect::<Result<Vec<_>>>()?;
    Ok(NewFile {
        path: String::new(),
        rows: footer.file_metadata().num_rows().max(0) as u64,
        file_bytes,
        footer_bytes: 0,
        columns: columns.into_iter().flatten().collect(),
        partition: Vec::new(),
    })
}

fn column(footer: &ParquetMetaData, field: &Field) -> Result<Option<FileColumn>> {
    let Some(id) = field_id(field) else { return Ok(None) };
    let descriptor = footer.file_metadata().schema_descr();
    let leaves: Vec<usize> = (0..descriptor.num_columns())
        .filter(|at| descriptor.column(*at).path().parts().first() == Some(field.name()))
        .collect();
    let chunks = || footer.row_groups().iter().flat_map(|group| leaves.iter().map(|at| group.column(*at)));
    let bytes: i64 = chunks().map(|chunk| chunk.compressed_size()).sum();
    let mut summary = FileColumn { id, bytes: bytes.max(0) as u64, ..FileColumn::default() };
    let [leaf] = leaves.as_slice() else { return Ok(Some(summary)) };
    if field.data_type().is_nested() {
        return Ok(Some(summary));
    }
    let converter = StatisticsConverter::from_column_index(*leaf, field, descriptor)?;
    let groups = || footer.row_groups().iter();
    let nulls = converter.row_group_null_counts(groups())?;
    let all: i64 = chunks().map(|chunk| chunk.num_values()).sum();
    if nulls.null_count() == 0 {
        let count: u64 = nulls.iter().flatten().sum();
        summary.nulls = Some(count);
        summary.values = Some((all.max(0) as u64).saturating_sub(count));
    }
    let holds_values: Vec<bool> =
        groups().zip(nulls.iter()).map(|(group, nulls)| nulls != Some(group.num_rows() as u64)).collect();
    summary.min = bound(&converter.row_group_mins(groups())?, &holds_values, |new, old| new < old)?;
    summary.max = bound(&converter.row_group_maxes(groups())?, &holds_values, |new, old| new > old)?;
    Ok(Some(summary))
}

/// The outermost of the row groups' bounds; none when a group that holds values has none.
fn bound(
    groups: &ArrayRef,
    holds_values: &[bool],
    is_further: fn(&ScalarValue, &ScalarValue) -> bool,
) -> Result<Option<String>> {
    let mut found: Option<ScalarValue> = None;
    for row in (0..groups.len()).filter(|row| holds_values[*row]) {
        let value = ScalarValue::try_from_array(groups, row)?;
        if value.is_null() {
            return Ok(None);
        }
        if found.as_ref().is_none_or(|old| is_further(&value, old)) {
            found = Some(value);
        }
    }
    Ok(found.as_ref().and_then(values::to_text))
}
