//! DuckLake's names of types, and Arrow's types for them.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};

/// The Arrow type of a column that has no columns of its own inside. `None` for types that are not read here.
pub fn arrow_type(name: &str) -> Option<DataType> {
    let micros = |zone: Option<Arc<str>>| DataType::Timestamp(TimeUnit::Microsecond, zone);
    Some(match name {
        "boolean" => DataType::Boolean,
        "int8" => DataType::Int8,
        "int16" => DataType::Int16,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "uint8" => DataType::UInt8,
        "uint16" => DataType::UInt16,
        "uint32" => DataType::UInt32,
        "uint64" => DataType::UInt64,
        "float32" => DataType::Float32,
        "float64" => DataType::Float64,
        "varchar" | "json" => DataType::Utf8,
        "blob" => DataType::Binary,
        "uuid" => DataType::FixedSizeBinary(16),
        "date" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp" => micros(None),
        "timestamp_s" => DataType::Timestamp(TimeUnit::Second, None),
        "timestamp_ms" => DataType::Timestamp(TimeUnit::Millisecond, None),
        "timestamp_ns" => DataType::Timestamp(TimeUnit::Nanosecond, None),
        "timestamptz" => micros(Some(Arc::from("UTC"))),
        _ => return decimal(name),
    })
}

/// `decimal(15,2)`.
fn decimal(name: &str) -> Option<DataType> {
    let (precision, scale) = name.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    let precision = precision.trim().parse().ok().filter(|precision| (1..=38).contains(precision))?;
    Some(DataType::Decimal128(precision, scale.trim().parse().ok()?))
}

/// What numbers are stored as that have scales of their own.
const ANY_SCALE: &str = "decimal(38,16)";

/// DuckLake's name of an Arrow type, and the type that values of it are stored as: the same, or the nearest
/// that every engine knows. `None` for what cannot be stored.
pub fn stored_as(data_type: &DataType) -> Option<(String, DataType)> {
    let name = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int8 => "int8",
        DataType::Int16 => "int16",
        DataType::Int32 => "int32",
        DataType::Int64 => "int64",
        DataType::UInt8 => "uint8",
        DataType::UInt16 => "uint16",
        DataType::UInt32 => "uint32",
        DataType::UInt64 => "uint64",
        DataType::Float16 | DataType::Float32 => "float32",
        DataType::Float64 => "float64",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => "varchar",
        DataType::Binary | DataType::BinaryView => "blob",
        // Numbers of any scale, as plans have them.
        DataType::LargeBinary => return decimal(ANY_SCALE).map(|stored| (ANY_SCALE.to_owned(), stored)),
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        // PostgreSQL's have microseconds.
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::Dictionary(_, value) => return stored_as(value),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale)
            if *scale >= 0 && *scale as u8 <= (*precision).min(38) =>
        {
            let name = format!("decimal({},{scale})", (*precision).min(38));
            return decimal(&name).map(|stored| (name, stored));
        }
        _ => return None,
    };
    arrow_type(name).map(|stored| (name.to_owned(), stored))
}

/// True when every value of `from` is one of `to`: what a column may be changed to.
pub fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64};
    match (from, to) {
        (Int8, Int16 | Int32 | Int64)
        | (Int16, Int32 | Int64)
        | (Int32, Int64)
        | (UInt8, UInt16 | UInt32 | UInt64 | Int16 | Int32 | Int64)
        | (UInt16, UInt32 | UInt64 | Int32 | Int64)
        | (UInt32, UInt64 | Int64)
        | (Float32, Float64) => true,
        (Decimal128(p, s), Decimal128(to_p, to_s)) => to_s == s && to_p >= p,
        _ => from == to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_agree() {
        for name in ["boolean", "int32", "decimal(15,2)", "varchar", "timestamp", "timestamptz", "date"] {
            let kind = arrow_type(name).expect("a known type");
            assert_eq!(stored_as(&kind), Some((name.to_owned(), kind)));
        }
        assert_eq!(arrow_type("int128"), None);
        assert_eq!(arrow_type("decimal(39,2)"), None);
    }
}
