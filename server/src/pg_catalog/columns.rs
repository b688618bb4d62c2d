//! Builds a relation column by column, with the PostgreSQL type that clients should see.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray, new_null_array,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// The key of a field's metadata that names its PostgreSQL type, where Arrow has no such type.
pub const PG_TYPE: &str = "sluice.pg_type";

/// Columns in the making.
#[derive(Default)]
pub struct Columns {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn push(mut self, name: &str, pg_type: Option<&str>, array: ArrayRef) -> Self {
        let mut field = Field::new(name, array.data_type().clone(), true);
        if let Some(pg_type) = pg_type {
            field = field.with_metadata(HashMap::from([(PG_TYPE.into(), pg_type.into())]));
        }
        self.fields.push(field);
        self.arrays.push(array);
        self
    }

    /// An object identifier.
    pub fn oid(self, name: &str, values: impl IntoIterator<Item = i64>) -> Self {
        self.push(name, Some("oid"), Arc::new(Int64Array::from_iter_values(values)))
    }

    /// An identifier.
    pub fn name<S: AsRef<str>>(self, name: &str, values: impl IntoIterator<Item = S>) -> Self {
        self.push(name, Some("name"), Arc::new(StringArray::from_iter_values(values)))
    }

    /// One letter.
    pub fn letter<S: AsRef<str>>(self, name: &str, values: impl IntoIterator<Item = S>) -> Self {
        self.push(name, Some("char"), Arc::new(StringArray::from_iter_values(values)))
    }

    /// Text.
    pub fn text<S: AsRef<str>>(self, name: &str, values: impl IntoIterator<Item = S>) -> Self {
        self.push(name, None, Arc::new(StringArray::from_iter_values(values)))
    }

    /// Text that may be missing.
    pub fn optional_text<S: AsRef<str>>(
        self,
        name: &str,
        values: impl IntoIterator<Item = Option<S>>,
    ) -> Self {
        self.push(name, None, Arc::new(StringArray::from_iter(values)))
    }

    /// `smallint`.
    pub fn int2(self, name: &str, values: impl IntoIterator<Item = i16>) -> Self {
        self.push(name, None, Arc::new(Int16Array::from_iter_values(values)))
    }

    /// `integer`.
    pub fn int4(self, name: &str, values: impl IntoIterator<Item = i32>) -> Self {
        self.push(name, None, Arc::new(Int32Array::from_iter_values(values)))
    }

    /// `bigint`.
    pub fn int8(self, name: &str, values: impl IntoIterator<Item = i64>) -> Self {
        self.push(name, None, Arc::new(Int64Array::from_iter_values(values)))
    }

    /// `real`.
    pub fn float4(self, name: &str, values: impl IntoIterator<Item = f32>) -> Self {
        self.push(name, None, Arc::new(Float32Array::from_iter_values(values)))
    }

    /// `double precision` that may be missing.
    pub fn float8(self, name: &str, values: impl IntoIterator<Item = Option<f64>>) -> Self {
        self.push(name, None, Arc::new(Float64Array::from_iter(values)))
    }

    /// `boolean`.
    pub fn bool(self, name: &str, values: impl IntoIterator<Item = bool>) -> Self {
        self.push(name, None, Arc::new(values.into_iter().map(Some).collect::<BooleanArray>()))
    }

    /// `timestamp with time zone`, in microseconds since 1970, that may be missing.
    pub fn time(self, name: &str, values: impl IntoIterator<Item = Option<i64>>) -> Self {
        let array = TimestampMicrosecondArray::from_iter(values).with_timezone("+00:00");
        self.push(name, None, Arc::new(array))
    }

    /// The same object identifier in every row.
    pub fn all_oid(self, name: &str, rows: usize, value: i64) -> Self {
        self.oid(name, vec![value; rows])
    }

    /// The same boolean in every row.
    pub fn all_bool(self, name: &str, rows: usize, value: bool) -> Self {
        self.bool(name, vec![value; rows])
    }

    /// The same letter in every row.
    pub fn all_letter(self, name: &str, rows: usize, value: &str) -> Self {
        self.letter(name, vec![value; rows])
    }

    /// The same `integer` in every row.
    pub fn all_int4(self, name: &str, rows: usize, value: i32) -> Self {
        self.int4(name, vec![value; rows])
    }

    /// Nothing in any row.
    pub fn nulls(self, name: &str, rows: usize, data_type: &DataType) -> Self {
        self.push(name, None, new_null_array(data_type, rows))
    }

    /// The relation.
    pub fn finish(self) -> RecordBatch {
        let schema = Arc::new(Schema::new(self.fields));
        RecordBatch::try_new(schema, self.arrays).expect("every column has the same number of rows")
    }
}

/// An empty relation from a list such as `indexrelid:oid indisprimary:bool`.
pub fn empty(columns: &str) -> RecordBatch {
    let fields: Vec<Field> = columns
        .split_ascii_whitespace()
        .map(|column| {
            let (name, kind) = column.split_once(':').unwrap_or((column, "text"));
            let (data_type, pg_type) = match kind {
                "oid" => (DataType::Int64, Some("oid")),
                "name" => (DataType::Utf8, Some("name")),
                "char" => (DataType::Utf8, Some("char")),
                "bool" => (DataType::Boolean, None),
                "int2" => (DataType::Int16, None),
                "int4" => (DataType::Int32, None),
                "int8" => (DataType::Int64, None),
                "time" => (DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())), None),
                "int2[]" => (DataType::new_list(DataType::Int16, true), None),
                "oid[]" => (DataType::new_list(DataType::Int64, true), None),
                "text[]" => (DataType::new_list(DataType::Utf8, true), None),
                _ => (DataType::Utf8, None),
            };
            let field = Field::new(name, data_type, true);
            match pg_type {
                Some(pg) => field.with_metadata(HashMap::from([(PG_TYPE.into(), pg.into())])),
                None => field,
            }
        })
        .collect();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    RecordBatch::new_empty(schema)
}
