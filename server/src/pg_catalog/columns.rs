//! Builds a relation column by column, with the PostgreSQL type that clients should see.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int16Array, Int16Builder, Int32Array,
    Int64Array, Int64Builder, ListBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray, new_null_array,
};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, IntervalUnit, Schema, TimeUnit};

pub use catalog::{PG_TYPE, PG_TYPMOD};

use super::shapes::{INFORMATION_SCHEMA, PG_CATALOG, functions, shape, static_rows};

/// How values of a PostgreSQL type are held, and the name to tell clients when Arrow's type does not
/// say it.
fn arrow_type(pg_type: &str) -> (DataType, Option<&str>) {
    let list = |item| DataType::new_list(item, true);
    match pg_type {
        "bool" => (DataType::Boolean, None),
        "int2" => (DataType::Int16, None),
        "int4" => (DataType::Int32, None),
        "int8" => (DataType::Int64, None),
        "float4" => (DataType::Float32, None),
        "float8" => (DataType::Float64, None),
        "numeric" => (DataType::Float64, None),
        "text" => (DataType::Utf8, None),
        "bytea" => (DataType::Binary, None),
        "timestamptz" => (DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())), None),
        "interval" => (DataType::Interval(IntervalUnit::MonthDayNano), None),
        "oid" | "xid" | "regproc" | "regtype" => (DataType::Int64, Some(pg_type)),
        "_oid" | "oidvector" | "_regtype" => (list(DataType::Int64), Some(pg_type)),
        "_int2" | "int2vector" => (list(DataType::Int16), Some(pg_type)),
        "_float4" => (list(DataType::Float32), None),
        "_float8" => (list(DataType::Float64), None),
        "_bool" => (list(DataType::Boolean), None),
        "_text" => (list(DataType::Utf8), None),
        other if other.starts_with('_') || other == "anyarray" => (list(DataType::Utf8), Some(other)),
        other => (DataType::Utf8, Some(other)),
    }
}

fn field(name: &str, pg_type: &str) -> Field {
    let (data_type, told) = arrow_type(pg_type);
    let field = Field::new(name, data_type, true);
    match told {
        Some(told) => field.with_metadata(HashMap::from([(PG_TYPE.into(), told.into())])),
        None => field,
    }
}

/// One column.
#[derive(Debug, Clone)]
pub struct Column {
    field: Field,
    array: ArrayRef,
}

impl Column {
    /// A column of `pg_type` from PostgreSQL's text of its values.
    pub fn of_text<'a>(name: &str, pg_type: &str, cells: impl Iterator<Item = Option<&'a str>>) -> Self {
        let field = field(name, pg_type);
        macro_rules! parsed {
            ($array:ty) => {
                Arc::new(cells.map(|cell| cell.and_then(|cell| cell.parse().ok())).collect::<$array>())
            };
        }
        macro_rules! list {
            ($builder:expr, $convert:expr) => {{
                let mut builder = ListBuilder::new($builder);
                for cell in cells {
                    for item in cell.iter().flat_map(|cell| items(cell)) {
                        builder.values().append_option($convert(item));
                    }
                    builder.append(cell.is_some());
                }
                Arc::new(builder.finish())
            }};
        }
        let array: ArrayRef = match (field.data_type(), pg_type) {
            (DataType::Boolean, _) => {
                Arc::new(cells.map(|cell| cell.map(|cell| cell == "t")).collect::<BooleanArray>())
            }
            (DataType::Int16, _) => parsed!(Int16Array),
            (DataType::Int32, _) => parsed!(Int32Array),
            (DataType::Int64, "regproc") => {
                Arc::new(cells.map(|cell| functions().oid(cell?)).collect::<Int64Array>())
            }
            (DataType::Int64, _) => parsed!(Int64Array),
            (DataType::Float32, _) => parsed!(Float32Array),
            (DataType::Float64, _) => parsed!(Float64Array),
            (DataType::List(item), _) if *item.data_type() == DataType::Int16 => {
                list!(Int16Builder::new(), |item: String| item.parse().ok())
            }
            (DataType::List(item), _) if *item.data_type() == DataType::Int64 => {
                list!(Int64Builder::new(), |item: String| item.parse().ok())
            }
            (DataType::List(item), _) if *item.data_type() == DataType::Utf8 => {
                list!(StringBuilder::new(), Some)
            }
            (DataType::Utf8, _) => Arc::new(cells.collect::<StringArray>()),
            (other, _) => new_null_array(other, cells.count()),
        };
        Self { field, array }
    }

    /// The relation of `columns`.
    pub fn batch(columns: Vec<Self>) -> RecordBatch {
        let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().map(|c| (c.field, c.array)).unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .expect("every column has the same number of rows")
    }

    /// `rows` values that say nothing: null for what may be missing in PostgreSQL, else false, 0 or the
    /// empty text.
    fn filler(name: &str, pg_type: &str, rows: usize) -> Self {
        let value = match pg_type {
            "bool" => Some("f"),
            "oid" | "xid" | "int2" | "int4" | "int8" | "float4" | "float8" => Some("0"),
            "regproc" => Some("-"),
            "name" | "char" => Some(""),
            _ => None,
        };
        Self::of_text(name, pg_type, std::iter::repeat_n(value, rows))
    }
}

/// The items of `{a,b}` or of a vector `1 2`. The data files hold no quoted items with commas but in
/// access control lists, whose items need no quotes.
fn items(cell: &str) -> Vec<String> {
    let inner = cell.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let parts: Vec<&str> = match inner {
        Some("") => Vec::new(),
        Some(inner) => inner.split(',').collect(),
        None => cell.split_ascii_whitespace().collect(),
    };
    parts.into_iter().map(|part| part.trim_matches('"').to_owned()).collect()
}

/// Columns in the making.
#[derive(Default)]
pub struct Columns {
    columns: Vec<Column>,
}

impl Columns {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn push(mut self, name: &str, pg_type: &str, array: ArrayRef) -> Self {
        self.columns.push(Column { field: field(name, pg_type), array });
        self
    }

    /// An object identifier.
    pub fn oid(self, name: &str, values: impl IntoIterator<Item = i64>) -> Self {
        self.push(name, "oid", Arc::new(Int64Array::from_iter_values(values)))
    }

    /// An identifier.
    pub fn name<S: AsRef<str>>(self, name: &str, values: impl IntoIterator<Item = S>) -> Self {
        self.push(name, "name", Arc::new(StringArray::from_iter_values(values)))
    }

    /// One letter.
    pub fn letter<S: AsRef<str>>(self, name: &str, values: impl IntoIterator<Item = S>) -> Self {
        self.push(name, "char", Arc::new(StringArray::from_iter_values(values)))
    }

    /// Text.
    pub fn text<S: AsRef<str>>(self, name: &str, values: impl IntoIterator<Item = S>) -> Self {
        self.push(name, "text", Arc::new(StringArray::from_iter_values(values)))
    }

    /// Text that may be missing.
    pub fn optional_text<S: AsRef<str>>(
        self,
        name: &str,
        values: impl IntoIterator<Item = Option<S>>,
    ) -> Self {
        self.push(name, "text", Arc::new(StringArray::from_iter(values)))
    }

    /// `character varying`, as information_schema's domains are told.
    pub fn varchar<S: AsRef<str>>(self, name: &str, values: impl IntoIterator<Item = Option<S>>) -> Self {
        self.push(name, "varchar", Arc::new(StringArray::from_iter(values)))
    }

    /// `smallint`.
    pub fn int2(self, name: &str, values: impl IntoIterator<Item = i16>) -> Self {
        self.push(name, "int2", Arc::new(Int16Array::from_iter_values(values)))
    }

    /// `integer`.
    pub fn int4(self, name: &str, values: impl IntoIterator<Item = i32>) -> Self {
        self.push(name, "int4", Arc::new(Int32Array::from_iter_values(values)))
    }

    /// `integer` that may be missing.
    pub fn optional_int4(self, name: &str, values: impl IntoIterator<Item = Option<i32>>) -> Self {
        self.push(name, "int4", Arc::new(Int32Array::from_iter(values)))
    }

    /// `bigint`.
    pub fn int8(self, name: &str, values: impl IntoIterator<Item = i64>) -> Self {
        self.push(name, "int8", Arc::new(Int64Array::from_iter_values(values)))
    }

    /// `bigint` that may be missing.
    pub fn optional_int8(self, name: &str, values: impl IntoIterator<Item = Option<i64>>) -> Self {
        self.push(name, "int8", Arc::new(Int64Array::from_iter(values)))
    }

    /// `real`.
    pub fn float4(self, name: &str, values: impl IntoIterator<Item = f32>) -> Self {
        self.push(name, "float4", Arc::new(Float32Array::from_iter_values(values)))
    }

    /// `double precision` that may be missing.
    pub fn float8(self, name: &str, values: impl IntoIterator<Item = Option<f64>>) -> Self {
        self.push(name, "float8", Arc::new(Float64Array::from_iter(values)))
    }

    /// `boolean`.
    pub fn bool(self, name: &str, values: impl IntoIterator<Item = bool>) -> Self {
        self.push(name, "bool", Arc::new(values.into_iter().map(Some).collect::<BooleanArray>()))
    }

    /// `boolean` that may be missing.
    pub fn optional_bool(self, name: &str, values: impl IntoIterator<Item = Option<bool>>) -> Self {
        self.push(name, "bool", Arc::new(values.into_iter().collect::<BooleanArray>()))
    }

    /// `timestamp with time zone`, in microseconds since 1970, that may be missing.
    pub fn time(self, name: &str, values: impl IntoIterator<Item = Option<i64>>) -> Self {
        let array = TimestampMicrosecondArray::from_iter(values).with_timezone("+00:00");
        self.push(name, "timestamptz", Arc::new(array))
    }

    /// `smallint[]`.
    pub fn int2s(self, name: &str, values: impl IntoIterator<Item = Vec<i16>>) -> Self {
        let mut builder = ListBuilder::new(Int16Builder::new());
        for items in values {
            builder.append_value(items.into_iter().map(Some));
        }
        self.push(name, "_int2", Arc::new(builder.finish()))
    }

    /// `regtype[]`.
    pub fn regtypes(self, name: &str, values: impl IntoIterator<Item = Vec<i64>>) -> Self {
        let mut builder = ListBuilder::new(Int64Builder::new());
        for items in values {
            builder.append_value(items.into_iter().map(Some));
        }
        self.push(name, "_regtype", Arc::new(builder.finish()))
    }

    /// `text[]`, or `aclitem[]`, that may be missing.
    pub fn texts(
        self,
        name: &str,
        pg_type: &str,
        values: impl IntoIterator<Item = Option<Vec<String>>>,
    ) -> Self {
        let mut builder = ListBuilder::new(StringBuilder::new());
        for items in values {
            builder.append_option(items.map(|items| items.into_iter().map(Some)));
        }
        self.push(name, pg_type, Arc::new(builder.finish()))
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

    /// The relation, of these columns.
    pub fn finish(self) -> RecordBatch {
        Column::batch(self.columns)
    }

    /// The relation in the shape PostgreSQL gives `schema.relation`: its columns in its order, those
    /// not given filled in.
    pub fn finish_as(self, schema: &str, relation: &str) -> RecordBatch {
        let rows = self.columns.first().map_or(0, |column| column.array.len());
        let shape = shape(schema, relation).expect("the relation is one of PostgreSQL's");
        debug_assert!(
            self.columns.iter().all(|column| shape.iter().any(|(name, _)| column.field.name() == name)),
            "{relation} has no such column"
        );
        let columns = shape.iter().map(|(name, pg_type)| {
            let given = self.columns.iter().find(|column| column.field.name() == name);
            match given {
                // The type is the relation's: a name given as text is a name.
                Some(column) if *column.field.data_type() == arrow_type(pg_type).0 => {
                    Column { field: field(name, pg_type), array: Arc::clone(&column.array) }
                }
                Some(column) => {
                    debug_assert!(false, "{relation}.{name} is {pg_type}, not {}", column.field);
                    Column::filler(name, pg_type, rows)
                }
                // What the standard's views do not say of a column is NULL.
                None if schema == INFORMATION_SCHEMA => {
                    Column::of_text(name, pg_type, std::iter::repeat_n(None, rows))
                }
                None => Column::filler(name, pg_type, rows),
            }
        });
        Column::batch(columns.collect())
    }

    /// The same for a relation of `pg_catalog` that has rows in every database, behind those rows.
    pub fn finish_after_static(self, relation: &str) -> RecordBatch {
        let ours = self.finish_as(PG_CATALOG, relation);
        match static_rows(relation) {
            Some(rows) => concat_batches(&ours.schema(), [rows, &ours]).expect("one shape"),
            None => ours,
        }
    }
}

/// A relation of PostgreSQL's without rows.
pub fn empty(schema: &str, relation: &str) -> RecordBatch {
    Columns::new().finish_as(schema, relation)
}
