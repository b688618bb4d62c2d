//! A table's definition as the store keeps it: in text, so that a restart opens no file of the table.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;

use crate::{CatalogError, Result, TableStatistics};

/// A schema as an Arrow IPC stream without batches, in base64.
pub fn schema_to_text(schema: &SchemaRef) -> Result<String> {
    let mut bytes = Vec::new();
    let written = StreamWriter::try_new(&mut bytes, schema).and_then(|mut writer| writer.finish());
    written.map_err(|error| damaged(&error))?;
    Ok(BASE64.encode(bytes))
}

/// The schema that [`schema_to_text`] wrote.
pub fn schema_from_text(text: &str) -> Result<SchemaRef> {
    let bytes = BASE64.decode(text).map_err(|error| damaged(&error))?;
    let reader = StreamReader::try_new(bytes.as_slice(), None).map_err(|error| damaged(&error))?;
    Ok(RecordBatch::new_empty(reader.schema()).schema())
}

/// Partition columns as the fields of a schema.
pub fn partitions_to_schema(columns: &[(String, DataType)]) -> SchemaRef {
    let field = |(name, kind): &(String, DataType)| Field::new(name, kind.clone(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// The columns that [`partitions_to_schema`] was given.
pub fn partitions_of_schema(schema: &SchemaRef) -> Vec<(String, DataType)> {
    schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
}

/// Numbers between commas: files, bytes, rows, then the bytes of each column.
pub fn statistics_to_text(statistics: &TableStatistics) -> String {
    let TableStatistics { files, file_bytes, rows, column_bytes } = statistics;
    let numbers = [*files, *file_bytes, *rows].into_iter().chain(column_bytes.iter().copied());
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

/// The statistics that [`statistics_to_text`] wrote.
pub fn statistics_from_text(text: &str) -> Result<TableStatistics> {
    let numbers: Vec<u64> = text
        .split(',')
        .map(str::parse)
        .collect::<std::result::Result<_, std::num::ParseIntError>>()
        .map_err(|error| damaged(&error))?;
    match numbers.as_slice() {
        [files, file_bytes, rows, column_bytes @ ..] => Ok(TableStatistics {
            files: *files,
            file_bytes: *file_bytes,
            rows: *rows,
            column_bytes: column_bytes.to_vec(),
        }),
        _ => Err(damaged(&"too few numbers")),
    }
}

fn damaged(problem: &dyn std::fmt::Display) -> CatalogError {
    CatalogError::Store { problem: format!("holds a table that cannot be read: {problem}") }
}
