//! Columns of rarer types as the everyday ones that stand in for them, a column at a time: narrow and
//! unsigned integers, other units of time, dictionaries; structs, maps and unions as JSON.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, GenericListArray, OffsetSizeTrait,
    RecordBatch, RecordBatchOptions, StringBuilder, UnionArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options, nullif};
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
            let items = column(&without(lists.values(), lists.nulls(), *length as usize)?)?;
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
    // Items of rows that were cut off are not sent, and need not fit.
    let (first, last) = (lists.offsets()[0].as_usize(), lists.offsets()[lists.len()].as_usize());
    let items = column(&lists.values().slice(first, last - first))?;
    let lengths = lists.offsets().windows(2).map(|two| (two[1] - two[0]).as_usize());
    let (offsets, nulls) = (OffsetBuffer::<O>::from_lengths(lengths), lists.nulls().cloned());
    let lists = GenericListArray::<O>::try_new(item_field(&items), offsets, items, nulls);
    Ok(Arc::new(lists.map_err(bug)?))
}

/// `items` with nulls where the list of `length` that they stand in is null: what lies there is no value.
fn without(items: &ArrayRef, lists: Option<&NullBuffer>, length: usize) -> Result<ArrayRef> {
    let Some(lists) = lists else { return Ok(Arc::clone(items)) };
    let is_hidden: BooleanArray =
        (0..items.len()).map(|at| Some(lists.is_null(at / length.max(1)))).collect();
    nullif(items.as_ref(), &is_hidden).map_err(bug)
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
    let array = &with_text_keys(array)?;
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

/// JSON's keys are text; those of a map may be of any type.
fn with_text_keys(array: &ArrayRef) -> Result<ArrayRef> {
    let kind = array.data_type();
    let wanted = text_keyed(kind);
    if wanted == *kind { Ok(Arc::clone(array)) } else { cast(array, &wanted).map_err(bug) }
}

fn text_keyed(kind: &DataType) -> DataType {
    let with = |field: &FieldRef, kind: DataType| Arc::new(field.as_ref().clone().with_data_type(kind));
    let same = |field: &FieldRef| with(field, text_keyed(field.data_type()));
    match kind {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(same).collect()),
        DataType::List(item) => DataType::List(same(item)),
        DataType::LargeList(item) => DataType::LargeList(same(item)),
        DataType::Map(entries, is_sorted) => {
            let DataType::Struct(pair) = entries.data_type() else { return kind.clone() };
            let [key, value] = pair.as_ref() else { return kind.clone() };
            let pair = [with(key, DataType::Utf8), same(value)];
            DataType::Map(with(entries, DataType::Struct(pair.to_vec().into())), *is_sorted)
        }
        other => other.clone(),
    }
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
    use datafusion::arrow::array::{
        Int32Array, Int32Builder, ListArray, MapBuilder, StringArray, StructArray, UInt64Array,
    };
    use datafusion::arrow::buffer::ScalarBuffer;
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
    fn a_number_that_does_not_fit_is_an_error_when_it_is_sent() {
        let numbers: ArrayRef = Arc::new(UInt64Array::from(vec![1, u64::MAX]));
        assert_eq!(column(&numbers).expect_err("too large").sqlstate().as_str(), "22003");
        let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0, 1, 2]));
        let lists = ListArray::new(item_field(&numbers), offsets, Arc::clone(&numbers), None);
        assert_eq!(column(&(Arc::new(lists.slice(0, 1)) as ArrayRef)).expect("one list").len(), 1);
        let nulls = Some(NullBuffer::from(vec![true, false]));
        let fixed = FixedSizeListArray::new(item_field(&numbers), 1, numbers, nulls);
        assert_eq!(column(&(Arc::new(fixed) as ArrayRef)).expect("a list and none").len(), 2);
    }

    #[test]
    fn keys_of_maps_become_text() {
        let mut map = MapBuilder::new(None, Int32Builder::new(), Int32Builder::new());
        map.keys().append_value(7);
        map.values().append_value(8);
        map.append(true).expect("one entry");
        let maps: ArrayRef = Arc::new(map.finish());
        assert_eq!(texts(&maps), [Some(r#"{"7":8}"#.to_owned())]);
    }
}
