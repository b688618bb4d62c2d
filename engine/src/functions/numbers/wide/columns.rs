//! Columns of numbers of any type, read as [`Number`]s, and columns that are made of such.

use datafusion::arrow::array::builder::LargeBinaryBuilder;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, LargeBinaryArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int64Type,
};
use datafusion::error::{DataFusionError, Result};

use super::super::digits;
use super::{Number, decode};

/// Gives the number of a row that is not null.
pub type Reader = Box<dyn Fn(usize) -> Result<Number>>;

/// Reads `values`: numbers of any type, or texts.
///
/// # Errors
///
/// 22P02 for a text that is no number, when it is read; a plan error for what has no numbers.
pub fn reader(values: &ArrayRef) -> Result<Reader> {
    Ok(match values.data_type() {
        DataType::LargeBinary => {
            let values = values.as_binary::<i64>().clone();
            Box::new(move |row| Ok(decode(values.value(row))))
        }
        kind if let Some(scale) = digits::bare_scale(kind) => {
            let values = values.as_primitive::<Decimal128Type>().clone();
            Box::new(move |row| {
                let (value, scale) = digits::least(values.value(row), scale);
                Ok(Number::of_decimal(value, scale))
            })
        }
        DataType::Decimal128(_, scale) => {
            let (values, scale) = (values.as_primitive::<Decimal128Type>().clone(), *scale);
            Box::new(move |row| Ok(Number::of_decimal(values.value(row), scale)))
        }
        DataType::Decimal256(..) => {
            let values = values.as_primitive::<Decimal256Type>().clone();
            Box::new(move |row| Number::read(&values.value_as_string(row)).map_err(super::error))
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>().clone();
            Box::new(move |row| Ok(Number::of_double(values.value(row))))
        }
        DataType::Float32 => {
            let values = values.as_primitive::<Float32Type>().clone();
            Box::new(move |row| Ok(Number::of_single(values.value(row))))
        }
        kind if kind.is_string() => {
            let texts = cast(values, &DataType::Utf8)?;
            let texts = texts.as_string::<i32>().clone();
            Box::new(move |row| Number::read(texts.value(row)).map_err(super::error))
        }
        DataType::UInt64 => {
            let values = values.as_primitive::<datafusion::arrow::datatypes::UInt64Type>().clone();
            Box::new(move |row| Ok(Number::of_whole(i128::from(values.value(row)))))
        }
        kind if kind.is_integer() || kind.is_null() => {
            let values = cast(values, &DataType::Int64)?;
            let values = values.as_primitive::<Int64Type>().clone();
            Box::new(move |row| Ok(Number::of_whole(i128::from(values.value(row)))))
        }
        other => return Err(DataFusionError::Plan(format!("{other} has no numbers"))),
    })
}

/// A column in the making.
pub struct Builder {
    column: LargeBinaryBuilder,
    /// The bytes of one number.
    bytes: Vec<u8>,
}

impl Builder {
    /// One of so many rows.
    pub fn new(rows: usize) -> Self {
        const BYTES: usize = 17;
        Self { column: LargeBinaryBuilder::with_capacity(rows, rows * BYTES), bytes: Vec::new() }
    }

    /// Adds a row.
    pub fn push(&mut self, number: Option<&Number>) {
        let Some(number) = number else { return self.column.append_null() };
        self.bytes.clear();
        number.encode(&mut self.bytes);
        self.column.append_value(&self.bytes);
    }

    /// The column.
    pub fn finish(mut self) -> LargeBinaryArray {
        self.column.finish()
    }
}

/// What `compute` makes of each row whose values are all there.
pub fn of_rows(
    columns: &[ArrayRef],
    mut compute: impl FnMut(&[Number]) -> Result<Number>,
) -> Result<LargeBinaryArray> {
    let readers = columns.iter().map(reader).collect::<Result<Vec<_>>>()?;
    let nulls: Vec<_> = columns.iter().map(|column| column.logical_nulls()).collect();
    let rows = columns.first().map_or(0, |column| column.len());
    let mut builder = Builder::new(rows);
    let mut numbers = Vec::with_capacity(readers.len());
    for row in 0..rows {
        if nulls.iter().flatten().any(|nulls| nulls.is_null(row)) {
            builder.push(None);
            continue;
        }
        numbers.clear();
        for read in &readers {
            numbers.push(read(row)?);
        }
        builder.push(Some(&compute(&numbers)?));
    }
    Ok(builder.finish())
}
