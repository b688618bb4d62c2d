//! One schema for files that were written at different times: a column has a type that holds every value that any of
//! them can have, exactly, or the files contradict each other.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};

use crate::{CatalogError, Result};

/// The columns of some files, as they are found one after the other.
#[derive(Debug, Default)]
pub struct Columns {
    columns: Vec<(Field, String)>,
}

impl Columns {
    /// Adds those of one more file. Fails with [`CatalogError::Types`] where no type holds the values of it and of
    /// those before.
    pub fn add(&mut self, table: &str, schema: &Schema, file: &str) -> Result<()> {
        for (at, field) in schema.fields().iter().enumerate() {
            if schema.fields()[..at].iter().any(|other| other.name() == field.name()) {
                let problem = format!("file {file} has two columns \"{}\"", field.name());
                return Err(CatalogError::Types { table: table.to_owned(), file: file.to_owned(), problem });
            }
            let known = self.columns.iter_mut().find(|(known, _)| known.name() == field.name());
            let Some((known, first)) = known else {
                let field = field.as_ref().clone().with_nullable(true);
                self.columns.push((field, file.to_owned()));
                continue;
            };
            let Some(wider) = wider(known.data_type(), field.data_type()) else {
                let problem = format!(
                    "column \"{}\" is {} in file {first} and {} in file {file}",
                    field.name(),
                    type_name(known.data_type()),
                    type_name(field.data_type()),
                );
                return Err(CatalogError::Types { table: table.to_owned(), file: file.to_owned(), problem });
            };
            if wider != *known.data_type() {
                *first = file.to_owned();
                *known = known.clone().with_data_type(wider);
            }
        }
        Ok(())
    }

    /// All of them, in the order in which they were found.
    pub fn schema(self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.into_iter().map(|(field, _)| field).collect::<Vec<_>>()))
    }
}

/// Refuses a file that has a column whose values the table's does not hold, with both types. Columns that the table
/// does not have are no matter.
pub fn check_fits(columns: &Schema, file: &Schema, is_declared: bool) -> std::result::Result<(), String> {
    for column in columns.fields() {
        let Ok(found) = file.field_with_name(column.name()) else { continue };
        let (own, other) = (column.data_type(), found.data_type());
        let fits = holds(own, other) || is_declared && may_become(other, own);
        if !fits {
            return Err(format!(
                "column \"{}\" is {} in it and {} in the table",
                column.name(),
                type_name(other),
                type_name(own),
            ));
        }
    }
    Ok(())
}

/// True when a column of type `own` holds every value of type `other`.
pub fn holds(own: &DataType, other: &DataType) -> bool {
    wider(own, other).is_some_and(|both| plain(&both) == plain(own))
}

/// Casts that are right only where a statement asked for the type.
fn may_become(from: &DataType, to: &DataType) -> bool {
    let is_number = from.is_numeric();
    match to {
        DataType::Float64 => is_number,
        DataType::Utf8 => from.is_integer() || *from == DataType::Boolean,
        _ => false,
    }
}

/// A type that holds every value of both, and each of them as it is.
pub fn wider(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::*;
    if a == b {
        return Some(a.clone());
    }
    let (a, b) = (plain(a), plain(b));
    if a == b {
        return Some(a);
    }
    let bits = |kind: &DataType| kind.primitive_width().unwrap_or(0) * 8;
    let larger = |a: &DataType, b: &DataType| Some(if bits(a) >= bits(b) { a.clone() } else { b.clone() });
    Some(match (&a, &b) {
        (Null, other) | (other, Null) => other.clone(),
        (a, b) if a.is_signed_integer() && b.is_signed_integer() => return larger(a, b),
        (a, b) if a.is_unsigned_integer() && b.is_unsigned_integer() => return larger(a, b),
        (signed, unsigned) | (unsigned, signed)
            if signed.is_signed_integer() && unsigned.is_unsigned_integer() && bits(unsigned) < 64 =>
        {
            match bits(signed).max(bits(unsigned) * 2) {
                16 => Int16,
                32 => Int32,
                _ => Int64,
            }
        }
        (a, b) if a.is_floating() && b.is_floating() => return larger(a, b),
        // A double holds every integer of up to 53 bits.
        (float, int) | (int, float) if float.is_floating() && int.is_integer() && bits(int) <= 32 => Float64,
        (Decimal128(p, s), Decimal128(q, t)) => decimal(*p, *s, *q, *t)?,
        (Decimal128(p, s), int) | (int, Decimal128(p, s)) if int.is_integer() => {
            let digits = match bits(int) {
                8 => 3,
                16 => 5,
                32 => 10,
                _ => 20,
            };
            decimal(*p, *s, digits, 0)?
        }
        (Date32, Timestamp(unit, None)) | (Timestamp(unit, None), Date32) => Timestamp(*unit, None),
        (Timestamp(unit, zone), Timestamp(other, other_zone)) if zone == other_zone => {
            Timestamp(finer(*unit, *other), zone.clone())
        }
        (List(a), List(b)) => List(element(a, b)?),
        (LargeList(a), LargeList(b)) | (List(a), LargeList(b)) | (LargeList(a), List(b)) => {
            LargeList(element(a, b)?)
        }
        (Struct(a), Struct(b)) => Struct(fields(a, b)?),
        _ => return None,
    })
}

fn element(a: &FieldRef, b: &FieldRef) -> Option<FieldRef> {
    let inner = wider(a.data_type(), b.data_type())?;
    Some(Arc::new(a.as_ref().clone().with_data_type(inner).with_nullable(true)))
}

/// The fields of both, by their names. Records that share none are not the same thing.
fn fields(a: &Fields, b: &Fields) -> Option<Fields> {
    if !a.iter().any(|field| b.find(field.name()).is_some()) {
        return None;
    }
    let of_first = a.iter().map(|field| match b.find(field.name()) {
        Some((_, other)) => element(field, other),
        None => Some(Arc::new(field.as_ref().clone().with_nullable(true))),
    });
    let of_second = b.iter().filter(|field| a.find(field.name()).is_none());
    let of_second = of_second.map(|field| Some(Arc::new(field.as_ref().clone().with_nullable(true))));
    of_first.chain(of_second).collect()
}

fn finer(a: TimeUnit, b: TimeUnit) -> TimeUnit {
    let order = [TimeUnit::Nanosecond, TimeUnit::Microsecond, TimeUnit::Millisecond];
    order.into_iter().find(|finer| *finer == a || *finer == b).unwrap_or(TimeUnit::Second)
}

fn decimal(p: u8, s: i8, q: u8, t: i8) -> Option<DataType> {
    let scale = s.max(t);
    let whole = (p as i8 - s).max(q as i8 - t);
    let precision = u8::try_from(whole + scale).ok()?;
    (precision <= 38).then_some(DataType::Decimal128(precision, scale))
}

/// A type without what is a matter of its layout: dictionaries, views, offsets, the names of elements, the ways to
/// write UTC.
fn plain(kind: &DataType) -> DataType {
    use DataType::*;
    let within = |field: &FieldRef| Arc::new(field.as_ref().clone().with_data_type(plain(field.data_type())));
    let element = |field: &FieldRef| Arc::new(Field::new_list_field(plain(field.data_type()), true));
    match kind {
        Dictionary(_, value) => plain(value),
        RunEndEncoded(_, value) => plain(value.data_type()),
        LargeUtf8 | Utf8View => Utf8,
        LargeBinary | BinaryView => Binary,
        List(inner) | ListView(inner) => List(element(inner)),
        LargeList(inner) | LargeListView(inner) => LargeList(element(inner)),
        FixedSizeList(inner, length) => FixedSizeList(element(inner), *length),
        Struct(fields) => Struct(
            fields
                .iter()
                .map(|field| within(&Arc::new(field.as_ref().clone().with_nullable(true))))
                .collect(),
        ),
        Map(entries, is_sorted) => Map(within(entries), *is_sorted),
        Timestamp(unit, Some(zone)) if matches!(zone.as_ref(), "UTC" | "+00:00" | "Z" | "Etc/UTC") => {
            Timestamp(*unit, Some(Arc::from("UTC")))
        }
        other => other.clone(),
    }
}

/// A type in PostgreSQL's words.
pub fn type_name(kind: &DataType) -> String {
    use DataType::*;
    match kind {
        Boolean => "boolean".to_owned(),
        Int8 | Int16 | UInt8 => "smallint".to_owned(),
        Int32 | UInt16 => "integer".to_owned(),
        Int64 | UInt32 => "bigint".to_owned(),
        UInt64 => "an unsigned bigint".to_owned(),
        Float16 | Float32 => "real".to_owned(),
        Float64 => "double precision".to_owned(),
        Decimal128(precision, scale) | Decimal256(precision, scale) => {
            format!("numeric({precision},{scale})")
        }
        Utf8 | LargeUtf8 | Utf8View => "text".to_owned(),
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => "bytea".to_owned(),
        Date32 | Date64 => "date".to_owned(),
        Time32(_) | Time64(_) => "time".to_owned(),
        Timestamp(_, None) => "timestamp".to_owned(),
        Timestamp(_, Some(_)) => "timestamp with time zone".to_owned(),
        Dictionary(_, value) => type_name(value),
        List(inner) | LargeList(inner) | FixedSizeList(inner, _) => {
            format!("{}[]", type_name(inner.data_type()))
        }
        Struct(fields) => {
            let fields =
                fields.iter().map(|field| format!("{} {}", field.name(), type_name(field.data_type())));
            format!("a record ({})", fields.collect::<Vec<_>>().join(", "))
        }
        Null => "null in all rows".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_type_holds_the_values_of_both() {
        use DataType::*;
        let moment = |unit| Timestamp(unit, None);
        let zoned = |zone: &str| Timestamp(TimeUnit::Microsecond, Some(zone.into()));
        let record = |names: &[(&str, DataType)]| {
            Struct(names.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect())
        };
        for (a, b, both) in [
            (Int32, Int64, Some(Int64)),
            (Int16, Int8, Some(Int16)),
            (Int32, UInt32, Some(Int64)),
            (Int64, UInt64, None),
            (Int32, Float32, Some(Float64)),
            (Int64, Float64, None),
            (Float32, Float64, Some(Float64)),
            (Decimal128(10, 2), Decimal128(8, 4), Some(Decimal128(12, 4))),
            (Decimal128(12, 2), Int32, Some(Decimal128(12, 2))),
            (Decimal128(12, 2), Int64, Some(Decimal128(22, 2))),
            (Decimal128(38, 2), Decimal128(38, 10), None),
            (Date32, moment(TimeUnit::Microsecond), Some(moment(TimeUnit::Microsecond))),
            (moment(TimeUnit::Millisecond), moment(TimeUnit::Nanosecond), Some(moment(TimeUnit::Nanosecond))),
            (moment(TimeUnit::Second), moment(TimeUnit::Millisecond), Some(moment(TimeUnit::Millisecond))),
            (zoned("UTC"), zoned("+00:00"), Some(zoned("UTC"))),
            (zoned("UTC"), moment(TimeUnit::Microsecond), None),
            (zoned("UTC"), zoned("Europe/Zurich"), None),
            (Utf8, Utf8View, Some(Utf8)),
            (Dictionary(Box::new(Int8), Box::new(Utf8)), Utf8, Some(Utf8)),
            (Dictionary(Box::new(Int8), Box::new(Utf8)), Int32, None),
            (Null, Boolean, Some(Boolean)),
            (Int32, Utf8, None),
            (Boolean, Int8, None),
            (
                DataType::new_list(Int32, true),
                DataType::new_list(Int64, true),
                Some(DataType::new_list(Int64, true)),
            ),
            (DataType::new_list(Int32, true), DataType::new_list(Utf8, true), None),
            (record(&[("x", Int32)]), record(&[("y", Int32)]), None),
            (record(&[("x", Int32)]), record(&[("x", Utf8)]), None),
        ] {
            assert_eq!(wider(&a, &b), both, "{a} and {b}");
            assert_eq!(wider(&b, &a), both, "{b} and {a}");
        }
        let (one, two) = (record(&[("x", Int32)]), record(&[("y", Utf8), ("x", Int64)]));
        assert_eq!(wider(&one, &two), Some(record(&[("x", Int64), ("y", Utf8)])));
    }

    #[test]
    fn a_contradiction_names_the_column_and_both_files() {
        let of = |kind: DataType| Schema::new(vec![Field::new("id", kind, true)]);
        let mut columns = Columns::default();
        columns.add("t", &of(DataType::Int32), "a.parquet").expect("the first");
        columns.add("t", &of(DataType::Int64), "b.parquet").expect("a wider one");
        let error = columns.add("t", &of(DataType::Utf8), "c.parquet").expect_err("text");
        let told = error.to_string();
        assert!(
            told.contains("column \"id\" is bigint in file b.parquet and text in file c.parquet"),
            "{told}"
        );
    }

    #[test]
    fn a_declared_type_holds_what_a_cast_gives() {
        let of = |kind: DataType| Schema::new(vec![Field::new("x", kind, true)]);
        let (double, whole) = (of(DataType::Float64), of(DataType::Int64));
        assert!(check_fits(&double, &whole, false).is_err());
        assert!(check_fits(&double, &whole, true).is_ok());
        assert!(check_fits(&whole, &double, true).is_err());
        assert!(check_fits(&whole, &of(DataType::Int32), false).is_ok());
    }
}
