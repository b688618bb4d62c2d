//! The transforms that cut a table into files, as DuckLake 1.0 defines them: calendar fields of an instant,
//! and buckets by a hash. The hash is not the one of our exchanges: see the decision on written layouts.

use std::io::Cursor;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use datafusion::arrow::compute::{DatePart, cast, date_part};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// `sluice_partition(transform, value)`: the value of a partition key, a bigint; null of null.
pub fn function() -> Arc<ScalarUDF> {
    let signature = Signature::any(2, Volatility::Immutable);
    Arc::new(ScalarUDF::from(Partition { signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Partition {
    signature: Signature,
}

impl ScalarUDFImpl for Partition {
    fn name(&self) -> &str {
        "sluice_partition"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [transform, value] = <[ColumnarValue; 2]>::try_from(args.args)
            .map_err(|_| DataFusionError::Plan("sluice_partition takes two arguments".to_owned()))?;
        let ColumnarValue::Scalar(ScalarValue::Utf8(Some(transform))) = transform else {
            return Err(DataFusionError::Plan("the transform of a partition is a constant".to_owned()));
        };
        let values = value.into_array(args.number_rows)?;
        Ok(ColumnarValue::Array(transformed(&transform, &values)?))
    }
}

/// True when a column of that type can be cut by `transform`.
pub fn is_defined(transform: &str, data_type: &DataType) -> bool {
    match transform {
        "identity" => !data_type.is_nested(),
        "hour" => matches!(data_type, DataType::Timestamp(..)),
        "year" | "month" | "day" => matches!(data_type, DataType::Date32 | DataType::Timestamp(..)),
        _ => buckets(transform).is_some() && hashed_as(data_type).is_some(),
    }
}

fn buckets(transform: &str) -> Option<u32> {
    let count = transform.strip_prefix("bucket(")?.strip_suffix(')')?;
    count.trim().parse().ok().filter(|count| *count > 0)
}

fn transformed(transform: &str, values: &ArrayRef) -> Result<ArrayRef> {
    let part = match transform {
        "year" => DatePart::Year,
        "month" => DatePart::Month,
        "day" => DatePart::Day,
        "hour" => DatePart::Hour,
        _ => return bucketed(transform, values),
    };
    Ok(cast(&date_part(values, part)?, &DataType::Int64)?)
}

/// What the hash of a value is taken of.
enum Hashed {
    /// Eight bytes of a whole number, the least first.
    Whole,
    /// Eight bytes of a double.
    Float,
    /// The bytes of a text or of a blob.
    Bytes,
    /// The bytes of its text.
    Text,
}

fn hashed_as(data_type: &DataType) -> Option<Hashed> {
    Some(match data_type {
        DataType::Boolean | DataType::Date32 | DataType::Time64(_) | DataType::Timestamp(..) => Hashed::Whole,
        kind if kind.is_signed_integer() => Hashed::Whole,
        DataType::Decimal128(precision, _) if *precision <= 18 => Hashed::Whole,
        DataType::Float32 | DataType::Float64 => Hashed::Float,
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => Hashed::Text,
        DataType::Binary | DataType::BinaryView | DataType::LargeBinary => Hashed::Bytes,
        DataType::Decimal128(..) => Hashed::Text,
        kind if kind.is_unsigned_integer() => Hashed::Text,
        _ => return None,
    })
}

fn bucketed(transform: &str, values: &ArrayRef) -> Result<ArrayRef> {
    let unknown = || DataFusionError::Plan(format!("there is no transform {transform} of these values"));
    let count = buckets(transform).ok_or_else(unknown)?;
    let bucket = |bytes: &[u8]| -> Result<i64> {
        let hash = murmur3::murmur3_32(&mut Cursor::new(bytes), 0)?;
        Ok(i64::from((hash & 0x7fff_ffff) % count))
    };
    let rows = 0..values.len();
    let buckets: Vec<Option<i64>> = match hashed_as(values.data_type()).ok_or_else(unknown)? {
        Hashed::Whole => {
            let numbers = whole(values)?;
            let numbers = numbers.as_primitive::<Int64Type>();
            rows.map(|row| {
                numbers.is_valid(row).then(|| bucket(&numbers.value(row).to_le_bytes())).transpose()
            })
            .collect::<Result<_>>()?
        }
        Hashed::Float => {
            let numbers = cast(values, &DataType::Float64)?;
            let numbers = numbers.as_primitive::<Float64Type>();
            // Both zeros are one.
            let bytes = |row: usize| (numbers.value(row) + 0.0).to_le_bytes();
            rows.map(|row| numbers.is_valid(row).then(|| bucket(&bytes(row))).transpose())
                .collect::<Result<_>>()?
        }
        Hashed::Bytes => {
            let bytes = cast(values, &DataType::Binary)?;
            let bytes = bytes.as_binary::<i32>();
            rows.map(|row| bytes.is_valid(row).then(|| bucket(bytes.value(row))).transpose())
                .collect::<Result<_>>()?
        }
        Hashed::Text => {
            let texts = cast(values, &DataType::Utf8)?;
            let texts = texts.as_string::<i32>();
            rows.map(|row| texts.is_valid(row).then(|| bucket(texts.value(row).as_bytes())).transpose())
                .collect::<Result<_>>()?
        }
    };
    Ok(Arc::new(Int64Array::from(buckets)))
}

/// Values as the whole numbers they are stored as.
fn whole(values: &ArrayRef) -> Result<ArrayRef> {
    Ok(match values.data_type() {
        DataType::Decimal128(..) => {
            let unscaled = values.as_primitive::<datafusion::arrow::datatypes::Decimal128Type>();
            let numbers: Int64Array = unscaled.iter().map(|value| value.map(|value| value as i64)).collect();
            Arc::new(numbers)
        }
        DataType::Date32 => cast(&cast(values, &DataType::Int32)?, &DataType::Int64)?,
        DataType::Timestamp(_, zone) => {
            let micros = cast(values, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
            cast(&micros, &DataType::Int64)?
        }
        _ => cast(values, &DataType::Int64)?,
    })
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Date32Array, StringArray};

    use super::*;

    // The buckets are those that DuckDB 1.5.5 wrote.
    #[test]
    fn buckets_are_ducklakes() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), Some(3), None]));
        let buckets = transformed("bucket(16)", &numbers).expect("integers have buckets");
        assert_eq!(*buckets, Int64Array::from(vec![Some(4), Some(4), Some(3), None]));
        let days: ArrayRef = Arc::new(Date32Array::from(vec![19_782]));
        for (transform, value) in [("year", 2024), ("month", 2), ("day", 29)] {
            let found = transformed(transform, &days).expect("dates have parts");
            assert_eq!(*found, Int64Array::from(vec![value]), "{transform}");
        }
        let texts: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>]));
        assert_eq!(transformed("bucket(4)", &texts).expect("texts have buckets").null_count(), 1);
    }
}
