//! Columns of rarer types as the everyday ones that stand in for them, a column at a time: narrow and
//! unsigned integers, other units of time, dictionaries; structs, maps and unions as JSON.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, OffsetSizeTrait, RecordBatch,
    RecordBatchOptions, StringBuilder, UnionArray,
};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, Schema, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{
    Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder,
};
use engine::{Error, Result};

/// `batch` with columns of types that the writers know. Costs nothing where all are.
pub fn batch(batch: &RecordBatch) -> Result<RecordBatch> {
    if batch.columns().iter().all(|column| is_everyday(column.data_type())) {
        return Ok(batch.clone());
    }
    let columns = batch.columns().iter().map(column).collect::<Result<Vec<_>>>()?;
    let field = |(array, field): (&ArrayRef, &FieldRef)| {
        Field::new(field.name(), array.data_type().clone(), true).with_metadata(field.metadata().clone())
    };
    let fields: Vec<Field> = columns.iter().zip(batch.schema_ref().fields()).map(field).collect();
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &rows).map_err(bug)
}

fn is_everyday(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_everyday(item.data_type())
        }
        other => stand_in(other).is_none() && !is_json(other),
    }
}

/// The type whose values stand in for those of a rarer one.
fn stand_in(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(TimeUnit::Nanosecond) => {
            DataType::Time64(TimeUnit::Microsecond)
        }
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Nanosecond, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => return None,
        DataType::Interval(_) | DataType::Duration(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        DataType::RunEndEncoded(_, values) => values.data_type().clone(),
        DataType::ListView(item) => DataType::List(Arc::clone(item)),
        DataType::LargeListView(item) => DataType::LargeList(Arc::clone(item)),
        _ => return None,
    })
}

/// True for types that PostgreSQL has no like of, which clients get as `json`.
fn is_json(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Struct(_) | DataType::Map(..) | DataType::Union(..))
}

fn column(array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        data_type if is_everyday(data_type) => Ok(Arc::clone(array)),
        data_type if is_json(data_type) => json(array),
        DataType::List(_) => list(array.as_list::<i32>()),
        DataType::LargeList(_) => list(array.as_list::<i64>()),
        DataType::FixedSizeList(_, length) => {
            let lists = array.as_fixed_size_list();
            let items = column(lists.values())?;
            let lists =
                FixedSizeListArray::try_new(item_field(&items), *length, items, lists.nulls().cloned());
            Ok(Arc::new(lists.map_err(bug)?))
        }
        data_type => {
            let Some(stand_in) = stand_in(data_type) else { return Ok(Arc::clone(array)) };
            let options = CastOptions { safe: false, ..CastOptions::default() };
            let array = cast_with_options(array, &stand_in, &options)
                .map_err(|_| Error::OutOfRange { message: "value out of range for its type".into() })?;
            // What a dictionary holds may be rare itself.
            column(&array)
        }
    }
}

fn list<O: OffsetSizeTrait>(lists: &GenericListArray<O>) -> Result<ArrayRef> {
    let items = column(lists.values())?;
    let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
    let lists = GenericListArray::<O>::try_new(item_field(&items), offsets, items, nulls);
    Ok(Arc::new(lists.map_err(bug)?))
}

fn item_field(items: &ArrayRef) -> FieldRef {
    Arc::new(Field::new_list_field(items.data_type().clone(), true))
}

/// Each value as JSON text: structs and maps as objects, nulls in them said, unions as the value they
/// hold.
fn json(array: &ArrayRef) -> Result<ArrayRef> {
    static OPTIONS: LazyLock<EncoderOptions> = LazyLock::new(|| {
        EncoderOptions::default().with_explicit_nulls(true).with_encoder_factory(Arc::new(Unions))
    });
    let field = Arc::new(Field::new("value", array.data_type().clone(), true));
    let unsupported = |error: ArrowError| Error::NotSupported {
        message: format!("values of type {} cannot be sent: {error}", array.data_type()),
    };
    let mut encoder = make_encoder(&field, array.as_ref(), &OPTIONS).map_err(unsupported)?;
    let nulls = array.logical_nulls();
    let mut texts = StringBuilder::new();
    let mut text = Vec::new();
    for row in 0..array.len() {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            texts.append_null();
            continue;
        }
        text.clear();
        encoder.encode(row, &mut text);
        texts.append_value(std::str::from_utf8(&text).map_err(|error| Error::internal(error.to_string()))?);
    }
    Ok(Arc::new(texts.finish()))
}

/// Arrow's own encoders know no unions.
#[derive(Debug)]
struct Unions;

impl EncoderFactory for Unions {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> std::result::Result<Option<NullableEncoder<'a>>, ArrowError> {
        let DataType::Union(fields, _) = array.data_type() else { return Ok(None) };
        let values = array.as_union();
        let children = fields
            .iter()
            .map(|(id, field)| Ok((id, make_encoder(field, values.child(id).as_ref(), options)?)))
            .collect::<std::result::Result<Vec<_>, ArrowError>>()?;
        Ok(Some(NullableEncoder::new(Box::new(UnionEncoder { values, children }), array.logical_nulls())))
    }
}

struct UnionEncoder<'a> {
    values: &'a UnionArray,
    children: Vec<(i8, NullableEncoder<'a>)>,
}

impl Encoder for UnionEncoder<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let (id, at) = (self.values.type_id(row), self.values.value_offset(row));
        match self.children.iter_mut().find(|(child, _)| *child == id) {
            Some((_, child)) if !child.is_null(at) => child.encode(at, out),
            _ => out.extend_from_slice(b"null"),
        }
    }
}

fn bug(error: ArrowError) -> Error {
    Error::internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int32Array, ListArray, StringArray, StructArray, UInt64Array};
    use datafusion::arrow::buffer::{OffsetBuffer, ScalarBuffer};
    use datafusion::arrow::datatypes::UnionFields;

    use super::*;

    fn texts(array: &ArrayRef) -> Vec<Option<String>> {
        let converted = column(array).expect("a column that can be sent");
        converted.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
    }

    fn pairs() -> StructArray {
        let fields = [
            Arc::new(Field::new("n", DataType::Int32, true)),
            Arc::new(Field::new("t", DataType::Utf8, true)),
        ];
        let (n, t) = (Int32Array::from(vec![Some(1), None]), StringArray::from(vec!["a\"b", "c"]));
        StructArray::new(fields.to_vec().into(), vec![Arc::new(n), Arc::new(t)], None)
    }

    #[test]
    fn structs_and_unions_are_json() {
        let structs: ArrayRef = Arc::new(pairs());
        let right = [r#"{"n":1,"t":"a\"b"}"#, r#"{"n":null,"t":"c"}"#];
        assert_eq!(texts(&structs), right.map(|text| Some(text.to_owned())));
        let fields = UnionFields::try_new(
            [3, 5],
            [Field::new("n", DataType::Int32, true), Field::new("t", DataType::Utf8, true)],
        );
        let children: Vec<ArrayRef> =
            vec![Arc::new(Int32Array::from(vec![7])), Arc::new(StringArray::from(vec!["x"]))];
        let (ids, offsets) = (ScalarBuffer::from(vec![5i8, 3]), ScalarBuffer::from(vec![0i32, 0]));
        let union = UnionArray::try_new(fields.expect("two fields"), ids, Some(offsets), children);
        let union: ArrayRef = Arc::new(union.expect("a union"));
        assert_eq!(texts(&union), [Some("\"x\"".to_owned()), Some("7".to_owned())]);
    }

    #[test]
    fn items_of_lists_are_converted_in_place() {
        let items: ArrayRef = Arc::new(pairs());
        let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0, 2]));
        let lists: ArrayRef = Arc::new(ListArray::new(item_field(&items), offsets, items, None));
        let converted = column(&lists).expect("a list");
        assert_eq!(converted.as_list::<i32>().value(0).as_string::<i32>().value(1), r#"{"n":null,"t":"c"}"#);
    }

    #[test]
    fn a_number_that_does_not_fit_is_an_error() {
        let numbers: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        assert_eq!(column(&numbers).expect_err("too large").sqlstate().as_str(), "22003");
    }
}
