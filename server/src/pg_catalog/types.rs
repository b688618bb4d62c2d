//! How Arrow's types look to a PostgreSQL client: object identifier, size, name.
//!
//! Identifiers are those of PostgreSQL 15's `pg_type`.

use datafusion::arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

use super::columns::PG_TYPE;

/// A type as a client knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PgType {
    /// `pg_type.oid`.
    pub oid: u32,
    /// `pg_type.typname`.
    pub name: &'static str,
    /// What `format_type` prints.
    pub sql_name: &'static str,
    /// `pg_type.typlen`: bytes, or -1 for varying.
    pub size: i16,
    /// The array over it; 0 when it is one itself.
    pub array_oid: u32,
    /// `pg_type.typcategory`.
    pub category: &'static str,
}

macro_rules! types {
    ($($const:ident: $oid:literal $name:literal $sql:literal $size:literal $array:literal $category:literal;)*) => {
        $(
            #[doc = concat!("`", $sql, "`")]
            pub const $const: PgType = PgType {
                oid: $oid, name: $name, sql_name: $sql, size: $size, array_oid: $array, category: $category,
            };
        )*
        /// Every type that a column here can have.
        pub const ALL: &[PgType] = &[$($const),*];
    };
}

types! {
    BOOL: 16 "bool" "boolean" 1 1000 "B";
    BYTEA: 17 "bytea" "bytea" -1 1001 "U";
    CHAR: 18 "char" "\"char\"" 1 1002 "Z";
    NAME: 19 "name" "name" 64 1003 "S";
    INT8: 20 "int8" "bigint" 8 1016 "N";
    INT2: 21 "int2" "smallint" 2 1005 "N";
    INT4: 23 "int4" "integer" 4 1007 "N";
    TEXT: 25 "text" "text" -1 1009 "S";
    OID: 26 "oid" "oid" 4 1028 "N";
    JSON: 114 "json" "json" -1 199 "U";
    FLOAT4: 700 "float4" "real" 4 1021 "N";
    FLOAT8: 701 "float8" "double precision" 8 1022 "N";
    BPCHAR: 1042 "bpchar" "character" -1 1014 "S";
    VARCHAR: 1043 "varchar" "character varying" -1 1015 "S";
    DATE: 1082 "date" "date" 4 1182 "D";
    TIME: 1083 "time" "time without time zone" 8 1183 "D";
    TIMESTAMP: 1114 "timestamp" "timestamp without time zone" 8 1115 "D";
    TIMESTAMPTZ: 1184 "timestamptz" "timestamp with time zone" 8 1185 "D";
    INTERVAL: 1186 "interval" "interval" 16 1187 "T";
    NUMERIC: 1700 "numeric" "numeric" -1 1231 "N";
}

/// The type of a column, and its type modifier (-1 for none).
pub fn of_field(field: &Field) -> (u32, i16, i32) {
    let alias = match field.metadata().get(PG_TYPE).map(String::as_str) {
        Some("oid") => Some(OID),
        Some("name") => Some(NAME),
        Some("char") => Some(CHAR),
        _ => None,
    };
    if let Some(alias) = alias {
        return (alias.oid, alias.size, -1);
    }
    let (oid, size) = oid_and_size(field.data_type());
    (oid, size, modifier(field.data_type()))
}

/// The object identifier and size of an Arrow type.
pub fn oid_and_size(data_type: &DataType) -> (u32, i16) {
    if let DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) = data_type {
        return (of_data_type(item.data_type()).array_oid, -1);
    }
    let pg_type = of_data_type(data_type);
    (pg_type.oid, pg_type.size)
}

/// The type of Arrow values that are not lists.
pub fn of_data_type(data_type: &DataType) -> PgType {
    match data_type {
        DataType::Boolean => BOOL,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => INT2,
        DataType::Int32 | DataType::UInt16 => INT4,
        DataType::Int64 | DataType::UInt32 => INT8,
        DataType::UInt64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => NUMERIC,
        DataType::Float16 | DataType::Float32 => FLOAT4,
        DataType::Float64 => FLOAT8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            BYTEA
        }
        DataType::Date32 | DataType::Date64 => DATE,
        DataType::Time32(_) | DataType::Time64(_) => TIME,
        DataType::Timestamp(_, None) => TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => TIMESTAMPTZ,
        DataType::Interval(_) | DataType::Duration(_) => INTERVAL,
        DataType::Dictionary(_, values) => of_data_type(values),
        _ => TEXT,
    }
}

/// `numeric(p, s)` as PostgreSQL packs it; -1 for other types.
fn modifier(data_type: &DataType) -> i32 {
    match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale)
            if *scale >= 0 =>
        {
            ((i32::from(*precision) << 16) | i32::from(*scale)) + 4
        }
        _ => -1,
    }
}

/// The Arrow type a client's parameter of type `oid` is read as; `None` for types left to be implied.
pub fn parameter_type(oid: u32) -> Option<DataType> {
    Some(match oid {
        16 => DataType::Boolean,
        17 => DataType::Binary,
        20 | 26 => DataType::Int64,
        21 => DataType::Int16,
        23 => DataType::Int32,
        18 | 19 | 25 | 1042 | 1043 => DataType::Utf8,
        700 => DataType::Float32,
        701 => DataType::Float64,
        1082 => DataType::Date32,
        1083 => DataType::Time64(TimeUnit::Microsecond),
        1114 => DataType::Timestamp(TimeUnit::Microsecond, None),
        1184 => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        1186 => DataType::Interval(IntervalUnit::MonthDayNano),
        1700 => DataType::Decimal128(38, 10),
        1000 => DataType::new_list(DataType::Boolean, true),
        1005 => DataType::new_list(DataType::Int16, true),
        1007 => DataType::new_list(DataType::Int32, true),
        1016 | 1028 => DataType::new_list(DataType::Int64, true),
        1009 | 1015 => DataType::new_list(DataType::Utf8, true),
        1021 => DataType::new_list(DataType::Float32, true),
        1022 => DataType::new_list(DataType::Float64, true),
        _ => return None,
    })
}

/// What `format_type(oid, typmod)` prints.
pub fn format(oid: i64, modifier: i64) -> String {
    if let Some(found) = ALL.iter().find(|pg_type| i64::from(pg_type.oid) == oid) {
        if found.oid == NUMERIC.oid && modifier >= 4 {
            let packed = modifier - 4;
            return format!("numeric({},{})", packed >> 16, packed & 0xffff);
        }
        return found.sql_name.to_owned();
    }
    match ALL.iter().find(|pg_type| i64::from(pg_type.array_oid) == oid) {
        Some(item) => format!("{}[]", item.sql_name),
        None => "???".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_print_as_postgres_prints_them() {
        assert_eq!(format(23, -1), "integer");
        assert_eq!(format(1700, ((15 << 16) | 2) + 4), "numeric(15,2)");
        assert_eq!(format(1009, -1), "text[]");
        let decimal = Field::new("d", DataType::Decimal128(15, 2), true);
        assert_eq!(of_field(&decimal), (1700, -1, ((15 << 16) | 2) + 4));
    }
}
