//! How much larger than what they are given the results of functions may be.
//!
//! Most give a few times as much, at most. Those that may give more say here how much one row comes to, from the sizes of
//! its arguments and before anything is made; `bounded` looks at each function that every node knows, and a test calls
//! them all with growing arguments: one that gives more than is said here fails it.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Field, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue};
use datafusion::functions::regex;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

/// Bytes that a function gives for each that it is given, at most, when it has no growth of its own: text of a number or an
/// instant, an array's element for each character.
pub const ORDINARY: usize = 32;
/// And for each row whatever it is given: `md5`, `uuid`, the array of a few.
pub const ORDINARY_ROW: usize = 512;
/// The most that a `numeric` takes: four bytes for nine digits, and a little more.
const NUMERIC_BYTES_MAX: i64 = 60_000;
/// An element of a list that is not text.
const ELEMENT_BYTES: i64 = 8;
/// The least that an element takes as text, with what stands around it.
const SHOWN_BYTES: i64 = 32;

/// The most bytes that the result for one row takes.
type Bytes = fn(&Arguments, usize) -> i64;

/// What one row of a function's results may come to.
#[derive(Clone, Copy)]
pub struct Growth {
    /// Told by sizes alone.
    pub at_most: Bytes,
    /// Told by looking into the values, where the above may be far too much.
    pub closely: Option<Bytes>,
}

/// The growth of a function that is not ordinary.
pub fn of(name: &str) -> Option<Growth> {
    let by_size = |at_most: Bytes| Growth { at_most, closely: None };
    Some(match name {
        "lpad" | "rpad" => by_size(padded),
        "repeat" => by_size(|args, row| args.text_bytes(0, row).saturating_mul(args.int(1, row).max(0))),
        "replace" => Growth { at_most: replaced_at_most, closely: Some(replaced) },
        "regexp_replace" => Growth { at_most: matches_replaced_at_most, closely: Some(matches_replaced) },
        "regexp_match" => by_size(|args, row| {
            let groups = args.text(1, row).map_or(0, |pattern| pattern.matches('(').count() as i64 + 1);
            groups.saturating_mul(args.text_bytes(0, row) + ELEMENT_BYTES * 2)
        }),
        "concat_ws" => by_size(|args, row| {
            let separators = args.text_bytes(0, row).saturating_mul(args.len() as i64);
            joined(args, row).saturating_add(separators)
        }),
        "array_to_string" => by_size(shown),
        "array_repeat" => by_size(|args, row| {
            (args.bytes(0, row).max(ELEMENT_BYTES) + ELEMENT_BYTES).saturating_mul(args.int(1, row).max(0))
        }),
        "array_resize" => by_size(|args, row| {
            let filler = if args.len() > 2 { args.bytes(2, row) } else { ELEMENT_BYTES };
            let added = args.int(1, row).max(0).saturating_mul(filler.max(ELEMENT_BYTES) + ELEMENT_BYTES);
            added.saturating_add(args.bytes(0, row))
        }),
        "array_replace" | "array_replace_n" | "array_replace_all" => by_size(|args, row| {
            let replaced = args.elements(0, row).saturating_mul(args.bytes(2, row) + ELEMENT_BYTES);
            replaced.saturating_add(args.bytes(0, row))
        }),
        "arrays_zip" => by_size(|args, row| {
            let longest = (0..args.len()).map(|at| args.elements(at, row)).max().unwrap_or(0);
            let element = |at| args.bytes(at, row) / args.elements(at, row).max(1) + ELEMENT_BYTES * 2;
            let width = (0..args.len()).fold(0i64, |sum, at| sum.saturating_add(element(at)));
            longest.saturating_mul(width)
        }),
        // Digits of a numeric; it has no more than PostgreSQL's format holds.
        "exp" => by_size(|_, _| NUMERIC_BYTES_MAX),
        "factorial" => by_size(|args, row| args.int(0, row).saturating_mul(4).clamp(32, NUMERIC_BYTES_MAX)),
        "range" | "generate_series" => by_size(series),
        // The server's own: each place of a pattern may show the same argument.
        "format" => by_size(|args, row| {
            args.text_bytes(0, row)
                .saturating_mul(joined(args, row) / 2 + 1)
                .saturating_add(joined(args, row))
        }),
        _ => return None,
    })
}

/// True for functions that may take far longer than their arguments are long: each is computed in short pieces.
pub fn is_slow(name: &str) -> bool {
    takes_pattern(name) || name == "levenshtein"
}

/// True for functions whose second argument is a regular expression.
pub fn takes_pattern(name: &str) -> bool {
    name.starts_with("regexp_") || name == super::matching::NAME
}

fn joined(args: &Arguments, row: usize) -> i64 {
    (0..args.len()).fold(0i64, |sum, at| sum.saturating_add(args.bytes(at, row)))
}

fn padded(args: &Arguments, row: usize) -> i64 {
    // A letter of the filling, or of the text, may take four bytes.
    let is_plain = |at| args.text(at, row).is_none_or(str::is_ascii);
    let letter = if is_plain(0) && is_plain(2) { 1 } else { 4 };
    args.int(1, row).max(0).saturating_mul(letter)
}

fn replaced_at_most(args: &Arguments, row: usize) -> i64 {
    let (text, from, to) = (args.text_bytes(0, row), args.text_bytes(1, row), args.text_bytes(2, row));
    if from == 0 || to <= from { text } else { (text / from).saturating_mul(to).saturating_add(text) }
}

fn replaced(args: &Arguments, row: usize) -> i64 {
    let (Some(text), Some(from)) = (args.text(0, row), args.text(1, row)) else { return 0 };
    if from.is_empty() {
        return text.len() as i64;
    }
    let found = text.matches(from).count() as i64;
    found.saturating_mul(args.text_bytes(2, row)).saturating_add(text.len() as i64)
}

/// Every letter matches, and every reference to a group gives all of it.
fn matches_replaced_at_most(args: &Arguments, row: usize) -> i64 {
    let (text, to) = (args.text_bytes(0, row), args.text(2, row).unwrap_or_default());
    let references = references(to);
    let found = if is_for_all(args, row) { text + 1 } else { 1 };
    expanded(text, found, to.len() as i64, references)
}

fn matches_replaced(args: &Arguments, row: usize) -> i64 {
    let (Some(text), Some(pattern)) = (args.text(0, row), args.text(1, row)) else { return 0 };
    let to = args.text(2, row).unwrap_or_default();
    let found = if is_for_all(args, row) {
        // What cannot be counted fails when it is computed, and says why.
        count_matches(text, pattern, args.text(3, row).unwrap_or_default()).unwrap_or(0)
    } else {
        1
    };
    expanded(text.len() as i64, found, to.len() as i64, references(to))
}

/// Matches do not overlap: all of them together have a text once for each reference.
fn expanded(text: i64, found: i64, to: i64, references: i64) -> i64 {
    found.saturating_mul(to).saturating_add(references.saturating_mul(text)).saturating_add(text)
}

fn references(to: &str) -> i64 {
    to.bytes().filter(|byte| matches!(byte, b'\\' | b'$')).count() as i64
}

fn is_for_all(args: &Arguments, row: usize) -> bool {
    args.text(3, row).is_some_and(|flags| flags.contains('g'))
}

/// How often `pattern` matches, as DataFusion's own function counts.
fn count_matches(text: &str, pattern: &str, flags: &str) -> Option<i64> {
    let flags: String = flags.chars().filter(|flag| *flag != 'g').collect();
    let utf8 = |value: &str| ScalarValue::Utf8(Some(value.to_owned()));
    let mut values = vec![utf8(text), utf8(pattern), ScalarValue::Int64(Some(1))];
    if !flags.is_empty() {
        values.push(utf8(&flags));
    }
    let field = |value: &ScalarValue| Arc::new(Field::new("value", value.data_type(), true));
    let counted = regex::regexp_count().invoke_with_args(ScalarFunctionArgs {
        arg_fields: values.iter().map(field).collect(),
        args: values.into_iter().map(ColumnarValue::Scalar).collect(),
        number_rows: 1,
        return_field: Arc::new(Field::new("count", DataType::Int64, true)),
        config_options: Arc::new(ConfigOptions::default()),
    });
    match counted {
        Ok(ColumnarValue::Scalar(ScalarValue::Int64(count))) => count,
        _ => None,
    }
}

/// Elements, what stands between them, and what stands for those that are null.
fn shown(args: &Arguments, row: usize) -> i64 {
    let between = args.text_bytes(1, row).saturating_add(args.text_bytes(2, row));
    let each = between.saturating_add(SHOWN_BYTES);
    args.leaves(0, row).saturating_mul(each).saturating_add(args.bytes(0, row).saturating_mul(2))
}

fn series(args: &Arguments, row: usize) -> i64 {
    let last = args.len().saturating_sub(1).min(1);
    let (start, stop) = if last == 0 { (0, args.int(0, row)) } else { (args.int(0, row), args.int(1, row)) };
    let step = if args.len() > 2 { args.step(2, row) } else { 1 };
    let span = i128::from(stop) - i128::from(start);
    if step == 0 || (span < 0) != (step < 0) {
        return 0;
    }
    let elements = span / i128::from(step) + 1;
    i64::try_from(elements.saturating_mul(i128::from(ELEMENT_BYTES))).unwrap_or(i64::MAX)
}

/// What a function is given, as arrays or as values that hold for every row.
pub struct Arguments(Vec<Argument>);

enum Argument {
    Text(ArrayRef),
    Ints(Int64Array, Unit),
    Steps(ArrayRef),
    Lists(Lists),
    /// Of another type: what a row takes on average, in bytes.
    Other(i64),
}

/// Lists, by how many elements each has, and what those take on average.
struct Lists {
    lengths: Vec<i64>,
    element_bytes: i64,
    /// Of an element, when lists lie in lists.
    leaves: i64,
}

/// What numbers count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    One,
    Day,
    Microsecond,
}

impl Arguments {
    /// Those of a call.
    pub fn new(args: &[ColumnarValue]) -> Result<Self> {
        let argument = |value: &ColumnarValue| {
            Ok(Argument::of(match value {
                ColumnarValue::Array(array) => Arc::clone(array),
                ColumnarValue::Scalar(scalar) => scalar.to_array()?,
            }))
        };
        args.iter().map(argument).collect::<Result<_>>().map(Self)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    /// The row of an array, or the one that a constant has.
    fn row(array: &dyn Array, row: usize) -> Option<usize> {
        let row = if array.len() == 1 { 0 } else { row };
        (row < array.len() && array.is_valid(row)).then_some(row)
    }

    fn int(&self, at: usize, row: usize) -> i64 {
        match self.0.get(at) {
            Some(Argument::Ints(ints, _)) => Self::row(ints, row).map_or(0, |row| ints.value(row)),
            _ => 0,
        }
    }

    /// Of a series: a number, or the shortest that an interval lasts in the unit of what it is added to.
    fn step(&self, at: usize, row: usize) -> i64 {
        const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;
        match self.0.get(at) {
            Some(Argument::Ints(..)) => self.int(at, row),
            Some(Argument::Steps(steps)) => {
                let steps = steps.as_primitive::<IntervalMonthDayNanoType>();
                let Some(row) = Self::row(steps, row) else { return 0 };
                let step = steps.value(row);
                let days = i64::from(step.months) * 28 + i64::from(step.days);
                match self.0.first() {
                    Some(Argument::Ints(_, Unit::Day)) if days != 0 => days,
                    // Less than a day: more of them than can be counted by days.
                    Some(Argument::Ints(_, Unit::Day)) => 0,
                    _ => days.saturating_mul(DAY_MICROS).saturating_add(step.nanoseconds / 1000),
                }
            }
            _ => 0,
        }
    }

    fn text(&self, at: usize, row: usize) -> Option<&str> {
        let Some(Argument::Text(array)) = self.0.get(at) else { return None };
        let row = Self::row(array, row)?;
        Some(match array.data_type() {
            DataType::Utf8 => array.as_string::<i32>().value(row),
            DataType::LargeUtf8 => array.as_string::<i64>().value(row),
            _ => array.as_string_view().value(row),
        })
    }

    fn text_bytes(&self, at: usize, row: usize) -> i64 {
        self.text(at, row).map_or(0, |text| text.len() as i64)
    }

    fn lists(&self, at: usize, row: usize) -> Option<(&Lists, i64)> {
        let Some(Argument::Lists(lists)) = self.0.get(at) else { return None };
        let row = if lists.lengths.len() == 1 { 0 } else { row };
        Some((lists, lists.lengths.get(row).copied()?))
    }

    fn elements(&self, at: usize, row: usize) -> i64 {
        self.lists(at, row).map_or(0, |(_, length)| length)
    }

    fn leaves(&self, at: usize, row: usize) -> i64 {
        self.lists(at, row).map_or(0, |(lists, length)| length.saturating_mul(lists.leaves))
    }

    fn bytes(&self, at: usize, row: usize) -> i64 {
        match self.0.get(at) {
            Some(Argument::Text(_)) => self.text_bytes(at, row),
            Some(Argument::Lists(_)) => {
                self.lists(at, row).map_or(0, |(lists, length)| length.saturating_mul(lists.element_bytes))
            }
            Some(Argument::Other(row_bytes)) => (*row_bytes).max(ELEMENT_BYTES),
            _ => ELEMENT_BYTES,
        }
    }
}

impl Argument {
    fn of(array: ArrayRef) -> Self {
        match array.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text(array),
            DataType::Interval(_) => {
                Self::Steps(cast(&array, &DataType::Interval(IntervalUnit::MonthDayNano)).unwrap_or(array))
            }
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
                Lists::of(&array).map_or_else(|| Self::Other(held_bytes(&array) as i64), Self::Lists)
            }
            kind => {
                let as_micros = match kind {
                    DataType::Timestamp(_, zone) => {
                        let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
                        cast(&array, &micros).ok()
                    }
                    DataType::Date32 => cast(&array, &DataType::Int32).ok(),
                    kind if kind.is_integer() => Some(Arc::clone(&array)),
                    _ => None,
                };
                let unit = match kind {
                    DataType::Timestamp(..) => Unit::Microsecond,
                    DataType::Date32 => Unit::Day,
                    _ => Unit::One,
                };
                match as_micros.and_then(|array| cast(&array, &DataType::Int64).ok()) {
                    Some(ints) => Self::Ints(ints.as_primitive::<Int64Type>().clone(), unit),
                    None => Self::Other((held_bytes(&array) / array.len().max(1)) as i64),
                }
            }
        }
    }
}

impl Lists {
    fn of(array: &ArrayRef) -> Option<Self> {
        let (lengths, elements) = elements_of(array)?;
        let count = elements.len().max(1);
        let mut leaves = 1;
        let mut inner = Arc::clone(&elements);
        while let Some((_, deeper)) = elements_of(&inner) {
            leaves = (deeper.len() as i64).div_euclid(count as i64) + 1;
            inner = deeper;
        }
        let element_bytes = held_bytes(&elements).div_ceil(count) as i64;
        Some(Self { lengths, element_bytes, leaves })
    }
}

/// How many elements each list has, null ones none, and all of them.
fn elements_of(array: &ArrayRef) -> Option<(Vec<i64>, ArrayRef)> {
    let lengths = |length: &dyn Fn(usize) -> i64| {
        (0..array.len()).map(|row| if array.is_valid(row) { length(row) } else { 0 }).collect::<Vec<_>>()
    };
    match array.data_type() {
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let (from, to) = (lists.value_offsets()[0], lists.value_offsets()[lists.len()]);
            let elements = lists.values().slice(from as usize, (to - from) as usize);
            Some((lengths(&|row| i64::from(lists.value_length(row))), elements))
        }
        DataType::LargeList(_) => {
            let lists = array.as_list::<i64>();
            let (from, to) = (lists.value_offsets()[0], lists.value_offsets()[lists.len()]);
            let elements = lists.values().slice(from as usize, (to - from) as usize);
            Some((lengths(&|row| lists.value_length(row)), elements))
        }
        DataType::FixedSizeList(..) => {
            let lists = array.as_fixed_size_list();
            Some((lengths(&|_| i64::from(lists.value_length())), Arc::clone(lists.values())))
        }
        _ => None,
    }
}

/// True for types whose values take as much room as the type says.
pub fn is_flat(data_type: &DataType) -> bool {
    data_type.is_primitive() || matches!(data_type, DataType::Boolean | DataType::Null)
}

/// What an array holds of its own: of a slice the part that it shows, of views the texts that they show, each.
pub fn held_bytes(array: &ArrayRef) -> usize {
    const VIEW_BYTES: usize = 16;
    if let Some(views) = array.as_string_view_opt() {
        return views
            .lengths()
            .fold(views.len() * VIEW_BYTES, |sum, length| sum.saturating_add(length as usize));
    }
    if let Some(views) = array.as_binary_view_opt() {
        return views
            .lengths()
            .fold(views.len() * VIEW_BYTES, |sum, length| sum.saturating_add(length as usize));
    }
    if let Some((lengths, elements)) = elements_of(array) {
        return lengths.len() * 8 + held_bytes(&elements);
    }
    if let Some(structs) = array.as_struct_opt() {
        return structs.columns().iter().map(held_bytes).fold(0, usize::saturating_add);
    }
    if let Some(map) = array.as_map_opt() {
        let (from, to) = (map.value_offsets()[0], map.value_offsets()[map.len()]);
        let entries: ArrayRef = Arc::new(map.entries().slice(from as usize, (to - from) as usize));
        return map.len() * 8 + held_bytes(&entries);
    }
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        let values = dictionary.values();
        return array.len() * (8 + held_bytes(values) / values.len().max(1));
    }
    array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_buffer_memory_size())
}

/// What a value holds, in bytes.
pub fn value_bytes(value: &ScalarValue) -> usize {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => {
            text.as_ref().map_or(0, String::len)
        }
        ScalarValue::Binary(bytes) | ScalarValue::LargeBinary(bytes) | ScalarValue::BinaryView(bytes) => {
            bytes.as_ref().map_or(0, Vec::len)
        }
        flat if flat.data_type().is_primitive() => 16,
        other => other.to_array().map_or_else(|_| other.size(), |array| held_bytes(&array)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Date32Array, StringArray, TimestampMicrosecondArray};
    use datafusion::arrow::datatypes::IntervalMonthDayNano;

    fn bytes(name: &str, args: &[ColumnarValue]) -> i64 {
        let growth = of(name).expect("it is measured");
        let args = Arguments::new(args).expect("plain arguments");
        growth.closely.unwrap_or(growth.at_most)(&args, 0)
    }

    fn int(value: i64) -> ColumnarValue {
        ColumnarValue::Scalar(ScalarValue::Int64(Some(value)))
    }

    fn text(value: &str) -> ColumnarValue {
        ColumnarValue::Array(Arc::new(StringArray::from(vec![value])))
    }

    #[test]
    fn results_are_measured_before_they_are_made() {
        assert_eq!(bytes("lpad", &[text("x"), int(1 << 31), text("y")]), 1 << 31);
        assert_eq!(bytes("lpad", &[text("x"), int(1 << 20), text("ü")]), 4 << 20);
        assert_eq!(bytes("repeat", &[text("abc"), int(1_000_000)]), 3_000_000);
        assert_eq!(bytes("repeat", &[text("abc"), int(i64::MAX)]), i64::MAX);
        assert_eq!(bytes("repeat", &[text("abc"), int(-1)]), 0);
        assert_eq!(bytes("range", &[int(0), int(1000), int(-1)]), 0);
        assert_eq!(bytes("range", &[int(i64::MIN), int(i64::MAX)]), i64::MAX);
        assert_eq!(bytes("replace", &[text("abab"), text("a"), text("12345")]), 2 * 5 + 4);
        assert_eq!(bytes("regexp_replace", &[text("abab"), text("a"), text("12345"), text("g")]), 2 * 5 + 4);
        assert_eq!(
            bytes("regexp_replace", &[text("aabb"), text("(a+)"), text("\\1\\1"), text("")]),
            4 + 2 * 4 + 4
        );
    }

    #[test]
    fn series_of_dates_and_instants_are_counted_by_their_steps() {
        let days = |days| ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, days, 0)));
        let instant = |micros| ColumnarValue::Array(Arc::new(TimestampMicrosecondArray::from(vec![micros])));
        let date = |days| ColumnarValue::Array(Arc::new(Date32Array::from(vec![days])));
        let day = 24 * 3600 * 1_000_000;
        assert_eq!(bytes("range", &[instant(0), instant(4 * day), ColumnarValue::Scalar(days(1))]), 5 * 8);
        assert_eq!(bytes("range", &[date(0), date(4), ColumnarValue::Scalar(days(2))]), 3 * 8);
    }
}
