//! How Arrow's types look to a PostgreSQL client: object identifier, size, name.
//!
//! Identifiers are those of PostgreSQL 15's `pg_type`.

use std::collections::HashMap;
use std::sync::LazyLock;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Field, Int16Type, Int64Type, IntervalUnit, TimeUnit};

use engine::functions::numbers::wide;

use super::columns::{PG_TYPE, PG_TYPMOD};

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

/// A row of PostgreSQL's `pg_type`.
struct TypeRow {
    oid: u32,
    name: String,
    namespace: i64,
    size: i16,
    element: u32,
    array: u32,
    is_array: bool,
}

/// Every type of PostgreSQL, by object identifier.
static TYPES: LazyLock<Vec<TypeRow>> = LazyLock::new(|| {
    let Some(batch) = super::shapes::static_rows("pg_type") else { return Vec::new() };
    let numbers = |name: &str| {
        batch
            .column_by_name(name)
            .map(|column| column.as_primitive::<Int64Type>().values().to_vec())
            .unwrap_or_default()
    };
    let (oids, elements, arrays) = (numbers("oid"), numbers("typelem"), numbers("typarray"));
    let namespaces = numbers("typnamespace");
    let Some(names) = batch.column_by_name("typname").map(|c| c.as_string::<i32>()) else {
        return Vec::new();
    };
    let Some(sizes) = batch.column_by_name("typlen").map(|c| c.as_primitive::<Int16Type>()) else {
        return Vec::new();
    };
    let categories = batch.column_by_name("typcategory").map(|c| c.as_string::<i32>());
    let row = |at: usize| TypeRow {
        oid: oids[at] as u32,
        name: names.value(at).to_owned(),
        namespace: namespaces[at],
        size: sizes.value(at),
        element: elements[at] as u32,
        array: arrays[at] as u32,
        // The vectors are arrays of another name.
        is_array: categories.is_some_and(|c| c.value(at) == "A") && names.value(at).starts_with('_'),
    };
    (0..oids.len()).map(row).collect()
});

fn row(oid: u32) -> Option<&'static TypeRow> {
    TYPES.binary_search_by_key(&oid, |row| row.oid).ok().map(|at| &TYPES[at])
}

fn row_by_name(name: &str) -> Option<&'static TypeRow> {
    static BY_NAME: LazyLock<HashMap<&'static str, usize>> =
        LazyLock::new(|| TYPES.iter().enumerate().map(|(at, row)| (row.name.as_str(), at)).collect());
    BY_NAME.get(name).map(|at| &TYPES[*at])
}

/// True for types that are found without their schema.
pub fn is_visible(oid: u32) -> bool {
    row(oid).is_some_and(|row| row.namespace == super::PG_CATALOG_OID)
}

/// `pg_type.typname` of a type.
pub fn name(oid: u32) -> &'static str {
    row(oid).map_or("unknown", |row| row.name.as_str())
}

/// The type of the items of an array type.
pub fn element(oid: u32) -> Option<u32> {
    row(oid).filter(|row| row.is_array).map(|row| row.element)
}

/// The type that a client or a statement writes: `int`, `pg_catalog.int4`, `numeric(10,2)`, `text[]`.
pub fn by_written_name(written: &str) -> Option<u32> {
    let text = written.trim();
    if let Some(item) = text.strip_suffix("[]") {
        return by_written_name(item).and_then(row).map(|row| row.array).filter(|oid| *oid != 0);
    }
    if let Some(quoted) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return row_by_name(quoted).map(|row| row.oid);
    }
    let lower = text.to_ascii_lowercase();
    let bare = lower.strip_prefix("pg_catalog.").unwrap_or(&lower);
    // `timestamp(3) with time zone` has its precision in the middle.
    let bare = match (bare.find('('), bare.find(')')) {
        (Some(from), Some(to)) if from < to => format!("{}{}", bare[..from].trim_end(), &bare[to + 1..]),
        _ => bare.to_owned(),
    };
    let bare = bare.trim().trim_matches('"');
    let alias = match bare {
        "int" => "int4",
        "decimal" | "dec" => "numeric",
        "float" | "double" => "float8",
        "string" => "text",
        "char" => "bpchar",
        other => other,
    };
    let spelled = ALL.iter().find(|pg_type| pg_type.sql_name == alias).map(|pg_type| pg_type.oid);
    let long = LONG_NAMES.iter().find(|(_, long)| *long == alias).map(|(name, _)| *name);
    spelled.or_else(|| row_by_name(long.unwrap_or(alias)).map(|row| row.oid))
}

/// Types with a name of their own in SQL, besides those a column here can have.
const LONG_NAMES: &[(&str, &str)] =
    &[("varbit", "bit varying"), ("timetz", "time with time zone"), ("bit", "bit")];

/// The type of a column, and its type modifier (-1 for none).
pub fn of_field(field: &Field) -> (u32, i16, i32) {
    if let Some(told) = field.metadata().get(PG_TYPE)
        && let Some(row) = row_by_name(told)
    {
        return (row.oid, row.size, told_modifier(field).unwrap_or(-1));
    }
    let (oid, size) = oid_and_size(field.data_type());
    (oid, size, told_modifier(field).unwrap_or_else(|| modifier(field.data_type())))
}

fn told_modifier(field: &Field) -> Option<i32> {
    field.metadata().get(PG_TYPMOD)?.parse().ok()
}

/// True for types that are held in 64 bits and sent in 32: object identifiers and their like.
pub fn is_sent_as_oid(oid: u32) -> bool {
    // oid, xid, cid, regproc, regclass, regtype, regrole, regnamespace.
    [26, 28, 29, 24, 2205, 2206, 4096, 4089].contains(&oid)
}

/// True for vectors, whose text has spaces in place of an array's braces.
pub fn is_vector(oid: u32) -> bool {
    [22, 30].contains(&oid)
}

/// The object identifier and size of an Arrow type.
pub fn oid_and_size(data_type: &DataType) -> (u32, i16) {
    if let DataType::List(item)
    | DataType::LargeList(item)
    | DataType::FixedSizeList(item, _)
    | DataType::ListView(item)
    | DataType::LargeListView(item) = data_type
    {
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
        // 64 bits without a sign are what counts and row numbers come in.
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => INT8,
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..)
        | DataType::LargeBinary => NUMERIC,
        DataType::Float16 | DataType::Float32 => FLOAT4,
        DataType::Float64 => FLOAT8,
        DataType::Binary | DataType::BinaryView | DataType::FixedSizeBinary(_) => BYTEA,
        DataType::Date32 | DataType::Date64 => DATE,
        DataType::Time32(_) | DataType::Time64(_) => TIME,
        DataType::Timestamp(_, None) => TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => TIMESTAMPTZ,
        DataType::Interval(_) | DataType::Duration(_) => INTERVAL,
        DataType::Dictionary(_, values) => of_data_type(values),
        DataType::RunEndEncoded(_, values) => of_data_type(values.data_type()),
        DataType::Struct(_) | DataType::Map(..) | DataType::Union(..) => JSON,
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
        // JSON and UUIDs are held as their text.
        18 | 19 | 25 | 114 | 1042 | 1043 | 2950 | 3802 => DataType::Utf8,
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
        1115 => DataType::new_list(DataType::Timestamp(TimeUnit::Microsecond, None), true),
        1182 => DataType::new_list(DataType::Date32, true),
        // Each number has digits of its own.
        1231 => DataType::new_list(wide::TYPE, true),
        1002 | 1003 | 1014 => DataType::new_list(DataType::Utf8, true),
        _ => return None,
    })
}

/// What `format_type(oid, typmod)` prints.
pub fn format(oid: i64, modifier: i64) -> String {
    if oid == 0 {
        return "-".to_owned();
    }
    let Some(row) = u32::try_from(oid).ok().and_then(row) else { return "???".to_owned() };
    if row.is_array {
        return format!("{}[]", format(row.element.into(), modifier));
    }
    let known = ALL.iter().find(|pg_type| pg_type.oid == row.oid).map(|pg_type| pg_type.sql_name);
    let long = LONG_NAMES.iter().find(|(name, _)| *name == row.name).map(|(_, long)| *long);
    let name = known.or(long).map_or_else(|| catalog::identifier::quote(&row.name), str::to_owned);
    if modifier < 0 {
        return name;
    }
    match row.name.as_str() {
        "numeric" if modifier >= 4 => {
            format!("numeric({},{})", (modifier - 4) >> 16, (modifier - 4) & 0xffff)
        }
        "varchar" | "bpchar" if modifier >= 4 => format!("{name}({})", modifier - 4),
        "time" | "timestamp" | "timestamptz" | "timetz" => match name.split_once(' ') {
            Some((first, rest)) => format!("{first}({modifier}) {rest}"),
            None => format!("{name}({modifier})"),
        },
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_by_what_people_write() {
        for (written, oid) in [
            ("int", 23),
            ("pg_catalog.int8", 20),
            ("NUMERIC(10, 2)", 1700),
            ("timestamp(3) with time zone", 1184),
            ("text[]", 1009),
            ("\"char\"", 18),
            ("char(3)", 1042),
            ("regclass", 2205),
        ] {
            assert_eq!(by_written_name(written), Some(oid), "{written}");
        }
        assert_eq!(by_written_name("nosuch"), None);
    }

    #[test]
    fn types_print_as_postgres_prints_them() {
        assert_eq!(format(23, -1), "integer");
        assert_eq!(format(1700, ((15 << 16) | 2) + 4), "numeric(15,2)");
        assert_eq!(format(1009, -1), "text[]");
        assert_eq!(format(1043, 24), "character varying(20)");
        assert_eq!(format(1184, 3), "timestamp(3) with time zone");
        assert_eq!(format(18, -1), "\"char\"");
        assert_eq!(format(2205, -1), "regclass");
        let decimal = Field::new("d", DataType::Decimal128(15, 2), true);
        assert_eq!(of_field(&decimal), (1700, -1, ((15 << 16) | 2) + 4));
    }
}
